/* SPDX-License-Identifier: Apache-2.0
 *
 * hbload: HBONE load generator.  Opens C mutually authenticated TLS 1.3 and
 * HTTP/2 connections with S CONNECT tunnels on each, and runs HTTP/1.1
 * keep-alive requests in every tunnel: back to back, or at a fixed total rate
 * with latency counted from when each request was due.  With -P it speaks
 * HTTP/1.1 over plain TCP instead, one "tunnel" per connection; with -2 HTTP/2
 * in each tunnel, with gRPC messages of -b bytes, -M of them a call.  With -n
 * each request gets a new tunnel, with -N a new connection.  With -I tunnels
 * are opened and do nothing; a first line says when all are.
 *
 * With -F it follows the server as a ztunnel does, for tests of reload, drain
 * and upgrade: after GOAWAY, or when a connection is lost, further tunnels open
 * on a new connection, and each request that fails is counted by its cause and
 * named on standard error.  SIGTERM ends the load early and in order.
 *
 * Prints one JSON object: counts, rate, latency quantiles in microseconds, and
 * the CPU microseconds per request of the processes named with -p.
 *
 * One thread; a client (a source pod) owns its tunnels and lives until exit;
 * a connection lives until the end of the loop's round in which it ended.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "inner.h"

enum { BODY_HEAD = -1, BODY_CHUNKED = -2 };
#define METHODS_MAX 8
#define PATIENCE_S 10.0  /* for an answer, with -F */
#define RECONNECT_S 0.02 /* after a connection that failed */
#define SHOWN_FAILURES 50u

/* Why a request failed: no byte of an answer came, its end did not come, it
 * did not come in time, or it said 5xx. */
enum cause { LOST, CUT, HUNG, STATUS, CAUSES };
static const char *const cause_names[CAUSES] = {"lost", "cut", "hung", "status"};

struct request {
    const char *method;
    char *bytes;
    size_t len;
    uint64_t done, failed[CAUSES];
};

struct conn;
struct client;

struct tunnel {
    struct client *client;
    struct conn *conn; /* NULL: none now */
    const struct request *request;
    unsigned turn;        /* which of the methods is next */
    int32_t id;           /* of the HTTP/2 stream; 0: not open */
    bool busy;            /* a request is on its way */
    bool ready;           /* CONNECT was answered with 200 */
    bool ending;          /* nothing more will be sent */
    bool last;            /* the answer said `connection: close` */
    unsigned long status; /* of the answer */
    size_t sent;          /* request bytes given to the connection */
    char head[16384];     /* response head so far */
    size_t head_len;
    long body;    /* bytes of the body still to come, or BODY_* */
    char tail[5]; /* last bytes of a chunked body */
    size_t tail_len;
    struct inner *inner; /* with -2 */
    double due;          /* when this request was to start */
    struct tunnel *next; /* idle list */
};

struct conn {
    int fd;
    bool up, dead;
    bool leaving; /* GOAWAY came: no tunnel opens here any more */
    unsigned open;
    SSL *ssl;
    nghttp2_session *h2;
    struct client *client;
    struct conn *next; /* of those that ended in this round */
};

/* A source pod. */
struct client {
    struct conn *conn; /* for further tunnels; NULL: at retry_at */
    double retry_at;
    struct tunnel *tunnels;
};

static struct {
    unsigned conns, tunnels;
    double seconds, rate;
    bool plain, fresh; /* fresh: a new tunnel for every request */
    bool renew;        /* and a new connection */
    bool http2, idle;
    unsigned messages;
    bool follow;
    const char *target, *authority, *host, *path, *method, *cert, *key, *roots, *pids;
    unsigned long body;
} opt = {.conns = 8,
         .tunnels = 8,
         .seconds = 5,
         .target = "127.0.0.1:15008",
         .authority = "10.0.0.1:9080",
         .host = "reviews",
         .path = "/",
         .method = "GET",
         .cert = "client.pem",
         .key = "client.key",
         .roots = "ca.pem"};

static struct {
    uint64_t done, errors, broken, tunnels, refused, bytes, late;
    uint64_t connections, goaways, unconnected;
    uint64_t status[6];
    double *latency;
    size_t nlatency, cap;
} stat;

static struct inner_call inner_call;
static struct request requests[METHODS_MAX];
static unsigned nrequests;
static double t_start, t_begin, t_end, next_due;
static int poll_fd;
static struct tunnel *idle;
static struct client *clients;
static struct conn *gone;
static struct sockaddr_in server;
static SSL_CTX *tls;
static nghttp2_session_callbacks *callbacks;
static volatile sig_atomic_t told_to_end;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    perror(what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* ---- failures ---- */

static void request_fail(struct tunnel *t, enum cause cause)
{
    static unsigned shown;
    struct request *r = &requests[t->request - requests];

    r->failed[cause]++;
    if (!opt.follow || shown++ >= SHOWN_FAILURES)
        return;
    fprintf(stderr, "%.3f s: %s %s, status %lu, stream %d of connection %d\n", now() - t_start,
            r->method, cause_names[cause], t->head_len ? t->status : 0, t->id,
            t->conn ? t->conn->fd : -1);
}

static void idle_remove(const struct tunnel *t)
{
    struct tunnel **at = &idle;

    while (*at && *at != t)
        at = &(*at)->next;
    if (*at)
        *at = t->next;
}

/* The stream, or the connection under it, has ended. */
static void tunnel_lost(struct tunnel *t)
{
    if (t->busy)
        request_fail(t, t->head_len ? CUT : LOST);
    else if (t->ready)
        idle_remove(t);
    if (t->id)
        t->conn->open--;
    t->busy = t->ready = false;
    t->id = 0;
    t->conn = NULL;
    inner_free(t->inner);
    t->inner = NULL;
}

static void conn_end(struct conn *c)
{
    struct client *client = c->client;

    if (c->dead)
        return;
    c->dead = true;
    epoll_ctl(poll_fd, EPOLL_CTL_DEL, c->fd, NULL);
    close(c->fd);
    for (unsigned i = 0; i < opt.tunnels; i++) {
        if (client->tunnels[i].conn == c)
            tunnel_lost(&client->tunnels[i]);
    }
    if (client->conn == c) {
        client->conn = NULL;
        client->retry_at = now() + (c->up ? 0 : RECONNECT_S);
    }
    c->next = gone;
    gone = c;
}

static void conn_die(struct conn *c)
{
    if (c->dead)
        return;
    stat.errors++;
    stat.unconnected += !c->up;
    conn_end(c);
}

/* ---- requests ---- */

static void request_start(struct tunnel *t, double due)
{
    t->request = &requests[t->turn++ % nrequests];
    t->busy = true;
    t->sent = 0;
    t->head_len = 0;
    t->body = BODY_HEAD;
    t->tail_len = 0;
    t->due = due;
    if (t->inner && !inner_start(t->inner))
        stat.errors++;
    if (!opt.plain) {
        nghttp2_session_resume_data(t->conn->h2, t->id);
        return;
    }
    /* Requests are far smaller than a socket buffer. */
    if (write(t->conn->fd, t->request->bytes, t->request->len) != (ssize_t)t->request->len)
        conn_die(t->conn);
}

/* The tunnel is free: at once again, or when the next request is due. */
static void request_next(struct tunnel *t)
{
    if (opt.rate == 0 && now() < t_end) {
        request_start(t, now());
        return;
    }
    t->next = idle;
    idle = t;
}

static void request_done(struct tunnel *t)
{
    double at = now();
    t->busy = false;
    requests[t->request - requests].done++;
    if (t->status >= 500)
        request_fail(t, STATUS);
    if (at >= t_begin && at <= t_end) {
        stat.done++;
        if (stat.nlatency == stat.cap) {
            stat.cap = stat.cap ? stat.cap * 2 : 1 << 20;
            stat.latency = realloc(stat.latency, stat.cap * sizeof *stat.latency);
            if (!stat.latency)
                fail("memory");
        }
        stat.latency[stat.nlatency++] = at - t->due;
    }
    if (opt.fresh || opt.renew || t->last) {
        /* Orderly: a peer that resets its streams by the thousand is cut off. */
        t->ready = false;
        t->ending = true;
        nghttp2_session_resume_data(t->conn->h2, t->id);
    } else {
        request_next(t);
    }
}

/* Starts what is due, as far as tunnels are free; the rest starts late. */
static void request_pace(double at)
{
    while (opt.rate > 0 && next_due <= at && idle) {
        struct tunnel *t = idle;
        idle = t->next;
        request_start(t, next_due);
        if (!opt.plain && nghttp2_session_send(t->conn->h2) != 0)
            conn_die(t->conn);
        next_due += 1 / opt.rate;
    }
    if (opt.rate > 0 && next_due <= at)
        stat.late++;
}

/* How long nothing is due. */
static long request_wait_ns(void)
{
    double left = next_due - now();
    if (opt.rate == 0 || !idle || left > 0.1)
        return 100000000;
    return left > 0 ? (long)(left * 1e9) : 0;
}

/* ---- responses ---- */

static size_t head_take(struct tunnel *t, const char *d, size_t len)
{
    size_t room = sizeof t->head - 1 - t->head_len, old = t->head_len;
    size_t n = len < room ? len : room;
    memcpy(t->head + t->head_len, d, n);
    t->head_len += n;
    t->head[t->head_len] = 0;

    char *end = strstr(t->head, "\r\n\r\n");
    if (!end) {
        if (t->head_len == sizeof t->head - 1) {
            stat.broken++;
            conn_die(t->conn);
        }
        return len;
    }
    end[2] = 0;
    unsigned long status = t->head_len > 12 ? strtoul(t->head + 9, NULL, 10) : 0;
    t->status = status;
    t->last = !opt.plain && strcasestr(t->head, "\r\nconnection: close");
    if (status >= 100 && status < 600)
        stat.status[status / 100]++;
    const char *length = strcasestr(t->head, "\r\ncontent-length:");
    t->body = 0;
    if (strcmp(t->request->method, "HEAD") == 0 || status == 204 || status == 304)
        t->body = 0;
    else if (length)
        t->body = strtol(length + strlen("\r\ncontent-length:"), NULL, 10);
    else if (strcasestr(t->head, "transfer-encoding: chunked"))
        t->body = BODY_CHUNKED;
    return (size_t)(end + 4 - t->head) - old;
}

/* Chunked bodies end with 0 CRLF CRLF; nothing else is looked at. */
static size_t chunked_take(struct tunnel *t, const char *d, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (t->tail_len == sizeof t->tail) {
            memmove(t->tail, t->tail + 1, sizeof t->tail - 1);
            t->tail_len--;
        }
        t->tail[t->tail_len++] = d[i];
        if (t->tail_len == sizeof t->tail && memcmp(t->tail, "0\r\n\r\n", sizeof t->tail) == 0) {
            t->body = 0;
            return i + 1;
        }
    }
    return len;
}

static void inner_answered(void *user, unsigned status, int grpc)
{
    struct tunnel *t = user;

    t->status = status;
    t->head_len = status > 0;
    stat.status[status < 600 ? status / 100 : 0]++;
    stat.broken += status == 0 || grpc != 0;
    request_done(t);
}

static void response_take(struct tunnel *t, const char *d, size_t len)
{
    stat.bytes += len;
    if (t->inner) {
        stat.broken += !inner_take(t->inner, (const uint8_t *)d, len);
        nghttp2_session_resume_data(t->conn->h2, t->id);
        return;
    }
    while (len > 0 && t->busy && !t->conn->dead) {
        size_t n = len;
        if (t->body == BODY_HEAD)
            n = head_take(t, d, len);
        else if (t->body == BODY_CHUNKED)
            n = chunked_take(t, d, len);
        else {
            if (n > (size_t)t->body)
                n = (size_t)t->body;
            t->body -= (long)n;
        }
        d += n;
        len -= n;
        if (t->body == 0)
            request_done(t);
    }
}

/* ---- HTTP/2 ---- */

static ssize_t on_source(nghttp2_session *h2, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    struct tunnel *t = source->ptr;
    (void)h2, (void)id, (void)user;
    if (t->ending) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        return 0;
    }
    if (t->inner) {
        size_t given = inner_give(t->inner, buf, len);
        return given ? (ssize_t)given : NGHTTP2_ERR_DEFERRED;
    }
    if (!t->busy || t->sent >= t->request->len)
        return NGHTTP2_ERR_DEFERRED;
    size_t n = t->request->len - t->sent;
    if (n > len)
        n = len;
    memcpy(buf, t->request->bytes + t->sent, n);
    t->sent += n;
    return (ssize_t)n;
}

static void tunnel_open(struct tunnel *t)
{
    nghttp2_nv fields[] = {
        {(uint8_t *)":method", (uint8_t *)"CONNECT", 7, 7, NGHTTP2_NV_FLAG_NONE},
        {(uint8_t *)":authority", (uint8_t *)opt.authority, 10, strlen(opt.authority),
         NGHTTP2_NV_FLAG_NONE},
    };
    nghttp2_data_provider source = {.source = {.ptr = t}, .read_callback = on_source};
    t->busy = t->ending = t->ready = false;
    t->id = nghttp2_submit_request(t->conn->h2, NULL, fields, 2, &source, t);
    if (t->id > 0) {
        t->conn->open++;
        return;
    }
    stat.errors++;
    t->id = 0;
}

static struct conn *conn_open(struct client *client);

/* On the client's connection, or a new one when that leaves. */
static void tunnel_place(struct tunnel *t)
{
    struct client *client = t->client;

    if (now() >= t_end)
        return;
    if (!client->conn && now() >= client->retry_at)
        client->conn = conn_open(client);
    t->conn = client->conn;
    if (t->conn && t->conn->up)
        tunnel_open(t);
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name,
                     size_t nlen, const uint8_t *value, size_t vlen, uint8_t flags, void *user)
{
    struct tunnel *t = nghttp2_session_get_stream_user_data(h2, frame->hd.stream_id);
    (void)flags, (void)user;
    if (!t || nlen != 7 || memcmp(name, ":status", 7) != 0)
        return 0;
    if (vlen == 3 && value[0] == '2') {
        stat.tunnels++;
        t->ready = true;
        if (opt.http2)
            t->inner = inner_new(&inner_call, inner_answered, t);
        if (!opt.idle)
            request_next(t);
        else if (stat.tunnels == (uint64_t)opt.conns * opt.tunnels)
            (void)(printf("{\"tunnels\": %lu}\n", stat.tunnels), fflush(stdout));
    } else {
        stat.refused++;
        t->ending = true;
        nghttp2_session_resume_data(h2, t->id);
    }
    return 0;
}

/* A tunnel that the server ends while it idles is ended in return. */
static void tunnel_ended(struct tunnel *t)
{
    if (t->busy)
        request_fail(t, t->head_len ? CUT : LOST);
    else if (t->ready)
        idle_remove(t);
    t->busy = t->ready = false;
    t->ending = true;
    nghttp2_session_resume_data(t->conn->h2, t->id);
}

static int on_frame(nghttp2_session *h2, const nghttp2_frame *frame, void *user)
{
    struct conn *c = user;
    struct tunnel *t = nghttp2_session_get_stream_user_data(h2, frame->hd.stream_id);

    if (frame->hd.type == NGHTTP2_GOAWAY && opt.follow) {
        stat.goaways += !c->leaving;
        c->leaving = true;
        if (c->client->conn == c)
            c->client->conn = NULL;
    }
    if (t && frame->hd.type == NGHTTP2_DATA && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
        !t->ending)
        tunnel_ended(t);
    return 0;
}

static int on_data(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                   void *user)
{
    struct tunnel *t = nghttp2_session_get_stream_user_data(h2, id);
    (void)flags, (void)user;
    if (t)
        response_take(t, (const char *)data, len);
    return 0;
}

static int on_close(nghttp2_session *h2, int32_t id, uint32_t code, void *user)
{
    struct tunnel *t = nghttp2_session_get_stream_user_data(h2, id);
    struct conn *c = user;
    if (!t)
        return 0;
    if (t->busy)
        stat.errors++;
    /* Streams behind a GOAWAY are refused, and nothing was sent in them. */
    if (code != 0 && !(opt.follow && code == NGHTTP2_REFUSED_STREAM))
        stat.broken++;
    tunnel_lost(t);
    if (now() >= t_end || c->dead)
        return 0;
    if (opt.renew) {
        c->leaving = true;
        c->client->conn = NULL;
        tunnel_place(t);
    } else if (opt.follow) {
        tunnel_place(t);
    } else if (nghttp2_session_check_request_allowed(h2)) {
        t->conn = c;
        tunnel_open(t);
    } else {
        /* After GOAWAY nothing opens any more: that connection is lost. */
        conn_die(c);
    }
    return 0;
}

static ssize_t on_send(nghttp2_session *h2, const uint8_t *data, size_t len, int flags, void *user)
{
    struct conn *c = user;
    (void)h2, (void)flags;
    ERR_clear_error(); /* what another connection left there would be taken for our own */
    int n = SSL_write(c->ssl, data, (int)len);
    if (n > 0)
        return n;
    int why = SSL_get_error(c->ssl, n);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? NGHTTP2_ERR_WOULDBLOCK
                                                                     : NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* ---- connections ---- */

static void conn_watch(struct conn *c, bool write)
{
    struct epoll_event ev = {.events = EPOLLIN | (write ? EPOLLOUT : 0u), .data.ptr = c};
    if (!c->dead)
        epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &ev);
}

static bool conn_handshake(struct conn *c)
{
    ERR_clear_error();
    int rc = SSL_connect(c->ssl);
    if (rc != 1) {
        int why = SSL_get_error(c->ssl, rc);
        if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
            ERR_print_errors_fp(stderr);
            conn_die(c);
        }
        conn_watch(c, why == SSL_ERROR_WANT_WRITE);
        return false;
    }
    c->up = true;
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 4 << 20},
                                               {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
    nghttp2_submit_settings(c->h2, NGHTTP2_FLAG_NONE, settings, 2);
    nghttp2_session_set_local_window_size(c->h2, NGHTTP2_FLAG_NONE, 0, 16 << 20);
    for (unsigned i = 0; i < opt.tunnels; i++) {
        if (c->client->tunnels[i].conn == c)
            tunnel_open(&c->client->tunnels[i]);
    }
    return true;
}

static void conn_read_plain(struct conn *c)
{
    static char buf[65536];
    while (!c->dead) {
        ssize_t n = read(c->fd, buf, sizeof buf);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0)
            conn_die(c);
        else
            response_take(c->client->tunnels, buf, (size_t)n);
    }
}

static void conn_send(struct conn *c)
{
    if (nghttp2_session_send(c->h2) != 0)
        conn_die(c);
    else if (c->leaving && c->open == 0)
        conn_end(c);
    else
        conn_watch(c, nghttp2_session_want_write(c->h2) != 0);
}

static void conn_run(struct conn *c)
{
    static uint8_t buf[65536];
    if (c->dead)
        return;
    if (opt.plain) {
        conn_read_plain(c);
        return;
    }
    if (!c->up && !conn_handshake(c))
        return;
    for (;;) {
        ERR_clear_error();
        int n = SSL_read(c->ssl, buf, sizeof buf);
        if (n <= 0) {
            int why = SSL_get_error(c->ssl, n);
            if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
                break;
            if (opt.follow && c->open == 0)
                conn_end(c);
            else
                conn_die(c);
            return;
        }
        if (nghttp2_session_mem_recv(c->h2, buf, (size_t)n) < 0)
            conn_die(c);
        if (c->dead)
            return;
    }
    conn_send(c);
}

static struct conn *conn_open(struct client *client)
{
    int one = 1;
    struct conn *c = calloc(1, sizeof *c);
    if (!c)
        fail("memory");
    c->client = client;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0)
        fail("socket");
    if (opt.follow)
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
    if (connect(c->fd, (const struct sockaddr *)&server, sizeof server) != 0 &&
        errno != EINPROGRESS && !opt.follow)
        fail(opt.target);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event ev = {.events = EPOLLIN | (opt.plain ? 0u : EPOLLOUT), .data.ptr = c};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &ev);
    stat.connections++;
    if (opt.plain) {
        stat.tunnels++;
        c->up = true;
        return c;
    }
    c->ssl = SSL_new(tls);
    SSL_set_fd(c->ssl, c->fd);
    if (nghttp2_session_client_new(&c->h2, callbacks, c) != 0)
        fail("nghttp2");
    return c;
}

static void conns_free(void)
{
    while (gone) {
        struct conn *c = gone;
        gone = c->next;
        nghttp2_session_del(c->h2);
        SSL_free(c->ssl);
        free(c);
    }
}

static void client_start(struct client *client)
{
    client->tunnels = calloc(opt.tunnels, sizeof *client->tunnels);
    if (!client->tunnels)
        fail("memory");
    client->conn = conn_open(client);
    for (unsigned i = 0; i < opt.tunnels; i++) {
        client->tunnels[i].client = client;
        client->tunnels[i].conn = client->conn;
        client->tunnels[i].turn = i;
    }
    if (opt.plain)
        request_next(client->tunnels);
}

/* What waits for a connection gets one, and who waits for too long gives up.
 * Returns how many requests are under way. */
static unsigned clients_tend(double at)
{
    unsigned busy = 0;
    for (unsigned i = 0; i < opt.conns; i++) {
        for (unsigned k = 0; k < opt.tunnels; k++) {
            struct tunnel *t = &clients[i].tunnels[k];
            if (!t->conn && opt.follow)
                tunnel_place(t);
            if (t->busy && at - t->due > PATIENCE_S && opt.follow) {
                request_fail(t, HUNG);
                t->busy = t->ready = false;
                nghttp2_submit_rst_stream(t->conn->h2, NGHTTP2_FLAG_NONE, t->id, NGHTTP2_CANCEL);
                conn_send(t->conn);
            }
            busy += t->busy;
        }
    }
    return busy;
}

static SSL_CTX *tls_make(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)"\x02h2", 3);
    if (SSL_CTX_use_certificate_chain_file(ctx, opt.cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, opt.key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_load_verify_locations(ctx, opt.roots, NULL) != 1)
        fail("certificates");
    return ctx;
}

static nghttp2_session_callbacks *callbacks_make(void)
{
    nghttp2_session_callbacks *cb;
    if (nghttp2_session_callbacks_new(&cb) != 0)
        fail("nghttp2");
    nghttp2_session_callbacks_set_send_callback(cb, on_send);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    return cb;
}

static void request_make(struct request *r, const char *method)
{
    bool bodiless = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    /* One method alone is taken at its word. */
    unsigned long body = bodiless && nrequests > 1 ? 0 : opt.body;
    char length[64] = "";
    if (body)
        snprintf(length, sizeof length, "Content-Length: %lu\r\n", body);
    int n = asprintf(&r->bytes, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: hbload\r\n%s\r\n",
                     method, opt.path, opt.host, length);
    if (n < 0)
        fail("memory");
    r->method = method;
    r->len = (size_t)n + body;
    r->bytes = realloc(r->bytes, r->len + 1);
    if (!r->bytes)
        fail("memory");
    memset(r->bytes + n, 'x', body);
}

/* -m GET,POST: each tunnel takes them in turn. */
static void requests_make(void)
{
    char *list = strdup(opt.method), *rest = list;
    const char *names[METHODS_MAX], *name;
    while (nrequests < METHODS_MAX && (name = strsep(&rest, ",")) != NULL)
        names[nrequests++] = name;
    for (unsigned i = 0; i < nrequests; i++)
        request_make(&requests[i], names[i]);
    inner_call = (struct inner_call){names[0], opt.path, opt.host, opt.body,
                                     opt.messages ? opt.messages : opt.body > 0};
}

/* ---- results ---- */

/* Seconds of user and system time of one process so far. */
static double cpu_of_pid(unsigned long pid)
{
    char name[64], line[1024];
    double seconds = 0;
    snprintf(name, sizeof name, "/proc/%lu/stat", pid);
    FILE *f = fopen(name, "r");
    if (!f)
        return 0;
    if (fgets(line, sizeof line, f)) {
        unsigned long user, sys;
        const char *rest = strrchr(line, ')');
        if (rest && sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                           &sys) == 2)
            seconds = (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
    }
    fclose(f);
    return seconds;
}

static double cpu_total(void)
{
    double total = 0;
    for (const char *p = opt.pids; p && *p;) {
        char *end;
        total += cpu_of_pid(strtoul(p, &end, 10));
        p = *end ? end + 1 : end;
    }
    return total;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(double q)
{
    return stat.nlatency ? stat.latency[(size_t)((double)(stat.nlatency - 1) * q)] * 1e6 : 0;
}

static void print_results(double seconds, double cpu)
{
    qsort(stat.latency, stat.nlatency, sizeof *stat.latency, by_value);
    printf(
        "{\"requests\": %lu, \"errors\": %lu, \"broken\": %lu, \"tunnels\": %lu, \"refused\": %lu, \"late\": %lu, ",
        stat.done, stat.errors, stat.broken, stat.tunnels, stat.refused, stat.late);
    printf("\"rate\": %.0f, \"mib_per_s\": %.1f, ", (double)stat.done / seconds,
           (double)stat.bytes / seconds / 1048576);
    printf("\"2xx\": %lu, \"3xx\": %lu, \"4xx\": %lu, \"5xx\": %lu, ", stat.status[2],
           stat.status[3], stat.status[4], stat.status[5]);
    printf("\"p50\": %.0f, \"p90\": %.0f, \"p99\": %.0f, \"p999\": %.0f, \"max\": %.0f",
           quantile(0.5), quantile(0.9), quantile(0.99), quantile(0.999), quantile(1));
    printf(", \"connections\": %lu, \"goaways\": %lu, \"unconnected\": %lu, \"methods\": {",
           stat.connections, stat.goaways, stat.unconnected);
    for (unsigned i = 0; i < nrequests; i++) {
        printf("%s\"%s\": {\"done\": %lu", i ? ", " : "", requests[i].method, requests[i].done);
        for (unsigned k = 0; k < CAUSES; k++)
            printf(", \"%s\": %lu", cause_names[k], requests[i].failed[k]);
        printf("}");
    }
    printf("}");
    if (opt.pids)
        printf(", \"mib\": %.3f, \"cpu\": %.2f", (double)stat.bytes / 1048576, cpu);
    if (opt.pids && stat.done)
        printf(", \"cpu_us\": %.2f", cpu * 1e6 / (double)stat.done);
    printf("}\n");
}

static bool options(int argc, char **argv)
{
    int o;
    while ((o = getopt(argc, argv, "c:s:d:r:t:a:H:u:m:b:E:K:A:p:M:nN2IPF")) != -1) {
        switch (o) {
        case 'c':
            opt.conns = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            opt.tunnels = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'd':
            opt.seconds = strtod(optarg, NULL);
            break;
        case 'r':
            opt.rate = strtod(optarg, NULL);
            break;
        case 't':
            opt.target = optarg;
            break;
        case 'a':
            opt.authority = optarg;
            break;
        case 'H':
            opt.host = optarg;
            break;
        case 'u':
            opt.path = optarg;
            break;
        case 'm':
            opt.method = optarg;
            break;
        case 'b':
            opt.body = strtoul(optarg, NULL, 10);
            break;
        case 'E':
            opt.cert = optarg;
            break;
        case 'K':
            opt.key = optarg;
            break;
        case 'A':
            opt.roots = optarg;
            break;
        case 'p':
            opt.pids = optarg;
            break;
        case 'n':
            opt.fresh = true;
            break;
        case 'N':
            opt.renew = true;
            break;
        case '2':
            opt.http2 = true;
            break;
        case 'M':
            opt.messages = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'I':
            opt.idle = true;
            break;
        case 'F':
            opt.follow = true;
            break;
        case 'P':
            opt.plain = true;
            break;
        default:
            return false;
        }
    }
    if (opt.plain)
        opt.tunnels = 1;
    if (opt.plain && (opt.fresh || opt.renew || opt.follow || opt.http2 || opt.idle))
        return false;
    if (opt.renew && (opt.tunnels > 1 || opt.follow))
        return false;
    return opt.conns > 0 && opt.tunnels > 0 && !((opt.fresh || opt.renew) && opt.rate > 0);
}

static void round_run(double at)
{
    struct epoll_event ev[256];
    request_pace(at);
    int n = epoll_pwait2(poll_fd, ev, 256, &(struct timespec){.tv_nsec = request_wait_ns()}, NULL);
    for (int i = 0; i < n; i++)
        conn_run(ev[i].data.ptr);
    conns_free();
}

/* With -F what is under way at the end is waited for: it must not be lost. */
static void load_end(void)
{
    double patience = now() + PATIENCE_S + 1;
    idle = NULL;
    while (opt.follow && clients_tend(now()) > 0 && now() < patience)
        round_run(now());
}

static void load(void)
{
    double at, cpu = -1, tended = 0;
    unsigned alive = opt.conns;
    while ((at = now()) < t_end && alive > 0) {
        if (cpu < 0 && at >= t_begin) {
            cpu = cpu_total();
            memset(stat.status, 0, sizeof stat.status);
            stat.bytes = stat.late = 0;
        }
        round_run(at);
        alive = 0;
        for (unsigned i = 0; i < opt.conns; i++)
            alive += clients[i].conn != NULL || opt.follow;
        if (opt.follow && at > tended + RECONNECT_S / 2) {
            (void)clients_tend(at);
            tended = at;
        }
        if (told_to_end)
            t_end = now();
    }
    double seconds = now() - t_begin, spent = cpu_total() - cpu;
    load_end();
    print_results(seconds, spent);
}

static void on_term(int signo)
{
    (void)signo;
    told_to_end = 1;
}

int main(int argc, char **argv)
{
    char ip[64];
    unsigned port;

    if (!options(argc, argv)) {
        fprintf(
            stderr,
            "usage: hbload [-c CONNS] [-s TUNNELS_EACH] [-d SECONDS] [-r REQUESTS_PER_S] [-t IP:PORT]\n"
            "    [-a AUTHORITY] [-H HOST] [-u PATH] [-m METHOD[,METHOD...]] [-b BODY_BYTES]\n"
            "    [-n new tunnel each] [-N new connection each] [-2 HTTP/2 inside] [-M MESSAGES]\n"
            "    [-I idle] [-F follow GOAWAY, reconnect] [-E CERT -K KEY -A ROOTS]\n"
            "    [-p PID,PID...] | -P plain HTTP/1.1\n");
        return 2;
    }
    if (sscanf(opt.target, "%63[^:]:%u", ip, &port) != 2 ||
        inet_pton(AF_INET, ip, &server.sin_addr) != 1)
        fail(opt.target);
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)port);
    signal(SIGTERM, on_term);
    signal(SIGPIPE, SIG_IGN);
    requests_make();
    tls = opt.plain ? NULL : tls_make();
    callbacks = callbacks_make();
    clients = calloc(opt.conns, sizeof *clients);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || poll_fd < 0)
        fail("setup");

    double warm = opt.seconds * 0.2 < 1 ? opt.seconds * 0.2 : 1;
    warm = opt.follow ? 0 : warm;
    t_start = next_due = now();
    t_begin = next_due + warm;
    t_end = t_begin + opt.seconds;
    for (unsigned i = 0; i < opt.conns; i++)
        client_start(&clients[i]);
    load();
    return stat.errors > 0 || stat.done == 0;
}
