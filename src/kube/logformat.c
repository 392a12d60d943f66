/* SPDX-License-Identifier: Apache-2.0
 *
 * Walks over a format and keeps what the access_log module takes.  The list of
 * operators is that module's; a golden case gives all of them to `cairn -t`.
 */
#include "kube/logformat.h"

#include "kube/text.h"

static const char *const plain[] = {"START_TIME",
                                    "PROTOCOL",
                                    "RESPONSE_CODE",
                                    "RESPONSE_CODE_DETAILS",
                                    "RESPONSE_FLAGS",
                                    "CONNECTION_TERMINATION_DETAILS",
                                    "UPSTREAM_TRANSPORT_FAILURE_REASON",
                                    "BYTES_RECEIVED",
                                    "BYTES_SENT",
                                    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
                                    "DOWNSTREAM_WIRE_BYTES_SENT",
                                    "DURATION",
                                    "RESPONSE_DURATION",
                                    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
                                    "UPSTREAM_HOST",
                                    "UPSTREAM_REMOTE_ADDRESS",
                                    "UPSTREAM_CLUSTER",
                                    "UPSTREAM_CLUSTER_RAW",
                                    "UPSTREAM_LOCAL_ADDRESS",
                                    "DOWNSTREAM_LOCAL_ADDRESS",
                                    "DOWNSTREAM_REMOTE_ADDRESS",
                                    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
                                    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
                                    "DOWNSTREAM_PEER_URI_SAN",
                                    "DOWNSTREAM_LOCAL_URI_SAN",
                                    "REQUESTED_SERVER_NAME",
                                    "ROUTE_NAME",
                                    "GRPC_STATUS_NUMBER",
                                    "HOSTNAME",
                                    NULL};
static const char *const of_header[] = {"REQ",     "REQUEST_HEADER",   "RESP", "RESPONSE_HEADER",
                                        "TRAILER", "RESPONSE_TRAILER", NULL};

typedef struct {
    cn_str_t name, args, length; /* %NAME(ARGS):LENGTH% */
    bool has_args;
} operator_t;

static bool is_one_of(cn_str_t name, const char *const *words)
{
    for (; *words; words++)
        if (cn_str_eq(name, cn_str_c(*words)))
            return true;
    return false;
}

/* text begins behind the first '%'.  Bytes up to and with the closing one; 0:
 * there is none.  Arguments may hold '%' themselves (START_TIME). */
static size_t read_operator(cn_str_t text, operator_t *op)
{
    size_t at = 0, start;

    *op = (operator_t){0};
    while (at < text.n && !strchr("(:%", text.p[at]))
        at++;
    op->name = cn_str_make(text.p, at);
    if (at < text.n && text.p[at] == '(') {
        start = ++at;
        at += cn_str_find(cn_str_make(text.p + at, text.n - at), ')');
        op->args = cn_str_make(text.p + start, at - start);
        op->has_args = true;
        at++;
    }
    start = at;
    while (at < text.n && text.p[at] != '%')
        at++;
    if (at >= text.n)
        return 0;
    op->length = cn_str_make(text.p + start, at - start);
    return at + 1;
}

static bool is_length(cn_str_t s)
{
    uint64_t n;

    return s.n == 0 ||
           (s.p[0] == ':' && cn_str_u64(cn_str_make(s.p + 1, s.n - 1), 1u << 20, &n) == CN_OK);
}

static void put_operator(cn_kube_text_t *t, cn_diag_t *diag, cn_place_t pos, const operator_t *op)
{
    bool header = is_one_of(op->name, of_header), time = cn_str_eq(op->name, CN_STR("START_TIME"));
    bool percent = cn_str_find(op->args, '%') < op->args.n;

    if (header && op->has_args && !percent && is_length(op->length)) {
        cn_text_printf(t, "%%%.*s(%.*s)%.*s%%", CN_STR_ARG(op->name), CN_STR_ARG(op->args),
                       CN_STR_ARG(op->length));
    } else if (is_one_of(op->name, plain) && (time || !op->has_args) && is_length(op->length)) {
        cn_text_printf(t, "%%%.*s%.*s%%", CN_STR_ARG(op->name), CN_STR_ARG(op->length));
        if (op->has_args)
            cn_diag_warn(diag, pos,
                         "MeshConfig: accessLogFormat: the format of %%START_TIME%% has "
                         "no effect: not supported yet");
    } else {
        cn_text_add(t, CN_STR("-"));
        cn_diag_warn(diag, pos,
                     "MeshConfig: accessLogFormat: %%%.*s%% is not supported and prints \"-\"",
                     CN_STR_ARG(op->name));
    }
}

cn_str_t cn_logformat_clean(cn_pool_t *pool, cn_diag_t *diag, cn_place_t pos, cn_str_t format)
{
    cn_kube_text_t t = {0};
    cn_str_t out;

    while (format.n) {
        size_t percent = cn_str_find(format, '%'), n;
        operator_t op;

        cn_text_add(&t, cn_str_make(format.p, percent));
        if (percent == format.n)
            break;
        format = cn_str_make(format.p + percent + 1, format.n - percent - 1);
        n = read_operator(format, &op);
        if (n == 1 || n == 0)
            cn_text_add(&t, CN_STR("%%"));
        else
            put_operator(&t, diag, pos, &op);
        format = cn_str_make(format.p + n, format.n - n);
    }
    out = cn_pool_dup(pool, cn_text_str(&t));
    cn_text_fini(&t);
    return out;
}
