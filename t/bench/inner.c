/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/2 inside a tunnel.  Each message of a call is a DATA frame of its own,
 * as gRPC clients send them.
 */
#include "inner.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

#define GRPC_HEAD 5 /* flag and length */

struct inner {
    nghttp2_session *h2;
    const struct inner_call *call;
    inner_done *done;
    void *user;
    unsigned left;   /* messages to send */
    size_t at;       /* in the present one */
    unsigned status; /* of the answer */
    int grpc;
    const uint8_t *out; /* made by nghttp2 and not yet given */
    size_t nout;
};

static size_t message_copy(const struct inner *in, uint8_t *to, size_t n)
{
    size_t length = in->call->message;
    uint8_t head[GRPC_HEAD] = {0, (uint8_t)(length >> 24), (uint8_t)(length >> 16),
                               (uint8_t)(length >> 8), (uint8_t)length};
    size_t k = 0;

    for (; k < n && in->at + k < GRPC_HEAD; k++)
        to[k] = head[in->at + k];
    memset(to + k, 'm', n - k);
    return n;
}

static ssize_t on_source(nghttp2_session *h2, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    struct inner *in = source->ptr;
    size_t whole = GRPC_HEAD + in->call->message, n = whole - in->at;

    (void)h2, (void)id, (void)user;
    n = message_copy(in, buf, n < len ? n : len);
    in->at += n;
    if (in->at == whole) {
        in->at = 0;
        in->left--;
    }
    if (in->left == 0)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name,
                     size_t nlen, const uint8_t *value, size_t vlen, uint8_t flags, void *user)
{
    struct inner *in = user;
    unsigned number = 0;

    (void)h2, (void)frame, (void)flags;
    for (size_t i = 0; i < vlen && i < 4 && value[i] >= '0' && value[i] <= '9'; i++)
        number = number * 10 + (unsigned)(value[i] - '0');
    if (nlen == 7 && memcmp(name, ":status", 7) == 0)
        in->status = number;
    else if (nlen == 11 && memcmp(name, "grpc-status", 11) == 0)
        in->grpc = (int)number;
    return 0;
}

static int on_close(nghttp2_session *h2, int32_t id, uint32_t code, void *user)
{
    struct inner *in = user;

    (void)h2, (void)id;
    in->done(in->user, code == NGHTTP2_NO_ERROR ? in->status : 0, in->grpc);
    return 0;
}

struct inner *inner_new(const struct inner_call *call, inner_done *done, void *user)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 4 << 20}, {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
    struct inner *in = calloc(1, sizeof *in);
    nghttp2_session_callbacks *cb;

    if (!in || nghttp2_session_callbacks_new(&cb) != 0)
        abort();
    in->call = call;
    in->done = done;
    in->user = user;
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    if (nghttp2_session_client_new(&in->h2, cb, in) != 0)
        abort();
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(in->h2, NGHTTP2_FLAG_NONE, settings, 2);
    return in;
}

void inner_free(struct inner *in)
{
    if (!in)
        return;
    nghttp2_session_del(in->h2);
    free(in);
}

#define FIELD(name, value)                                                                         \
    {                                                                                              \
        (uint8_t *)(uintptr_t)(name), (uint8_t *)(uintptr_t)(value), strlen(name), strlen(value),  \
            NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE                           \
    }

bool inner_start(struct inner *in)
{
    const struct inner_call *call = in->call;
    const nghttp2_nv fields[] = {
        FIELD(":method", call->method),
        FIELD(":scheme", "http"),
        FIELD(":path", call->path),
        FIELD(":authority", call->authority),
        FIELD("content-type", "application/grpc"),
        FIELD("te", "trailers"),
        FIELD("user-agent", "hbload"),
    };
    nghttp2_data_provider source = {.source = {.ptr = in}, .read_callback = on_source};

    in->left = call->messages;
    in->at = 0;
    in->status = 0;
    in->grpc = -1;
    return nghttp2_submit_request(in->h2, NULL, fields, sizeof fields / sizeof *fields,
                                  call->messages ? &source : NULL, NULL) > 0;
}

bool inner_take(struct inner *in, const uint8_t *bytes, size_t n)
{
    return nghttp2_session_mem_recv(in->h2, bytes, n) == (ssize_t)n;
}

size_t inner_give(struct inner *in, uint8_t *buf, size_t len)
{
    size_t given = 0;

    while (given < len) {
        size_t part;

        if (in->nout == 0) {
            ssize_t n = nghttp2_session_mem_send(in->h2, &in->out);

            if (n <= 0)
                break;
            in->nout = (size_t)n;
        }
        part = in->nout < len - given ? in->nout : len - given;
        memcpy(buf + given, in->out, part);
        in->out += part;
        in->nout -= part;
        given += part;
    }
    return given;
}
