/* SPDX-License-Identifier: Apache-2.0
 *
 * Formats: text with %OPERATOR(X?Y):Z% compiled to a list, and Istio's default
 * JSON object.  A value that is not there prints "-" in text, null in JSON.
 */
#include <stdlib.h>

#include "access_log.h"

const char al_format_istio[] =
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% "
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" "
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% "
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%";

/* Istio's JSON keys, facts/observability 2.2 */
static const char *const json_fields[][2] = {
    {"start_time", "%START_TIME%"},
    {"route_name", "%ROUTE_NAME%"},
    {"method", "%REQ(:METHOD)%"},
    {"path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"},
    {"protocol", "%PROTOCOL%"},
    {"response_code", "%RESPONSE_CODE%"},
    {"response_flags", "%RESPONSE_FLAGS%"},
    {"response_code_details", "%RESPONSE_CODE_DETAILS%"},
    {"connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"},
    {"bytes_received", "%BYTES_RECEIVED%"},
    {"bytes_sent", "%BYTES_SENT%"},
    {"duration", "%DURATION%"},
    {"upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"},
    {"x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"},
    {"user_agent", "%REQ(USER-AGENT)%"},
    {"request_id", "%REQ(X-REQUEST-ID)%"},
    {"authority", "%REQ(:AUTHORITY)%"},
    {"upstream_host", "%UPSTREAM_HOST%"},
    {"upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"},
    {"upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"},
    {"downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"},
    {"downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"},
    {"requested_server_name", "%REQUESTED_SERVER_NAME%"},
    {"upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"},
};

/* "X?Y" */
static void set_arguments(cn_pool_t *pool, cn_str_t args, al_op_t *op)
{
    cn_str_t first = args;

    if (cn_str_split(&args, '?', &first))
        op->other = cn_pool_lower(pool, args);
    op->text = cn_pool_lower(pool, first);
}

/* spec: what stands between the percent signs, "NAME", "NAME(X?Y)", with ":Z". */
static cn_rc parse_operator(cn_pool_t *pool, cn_str_t spec, al_op_t *op, cn_str_t *why)
{
    size_t open = cn_str_find(spec, '('), close = cn_str_find(spec, ')');
    size_t name_end = open < spec.n ? open : cn_str_find(spec, ':');
    size_t tail = open < spec.n ? close + 1 : name_end;
    cn_str_t name = cn_str_make(spec.p, name_end);
    uint64_t max = 0;

    op->op = al_operator_find(name);
    if (!op->op) {
        *why = cn_pool_printf(pool, "unknown operator %%%.*s%%; known are: %.*s", CN_STR_ARG(name),
                              CN_STR_ARG(al_operator_names(pool)));
        return CN_ERR;
    }
    if (op->op->args != (open < spec.n) || (open < spec.n && close == spec.n)) {
        *why = cn_pool_printf(pool, "%%%.*s%% %s", CN_STR_ARG(name),
                              op->op->args ? "needs (HEADER) behind it" : "takes no argument");
        return CN_ERR;
    }
    if (op->op->args)
        set_arguments(pool, cn_str_make(spec.p + open + 1, close - open - 1), op);
    if (tail < spec.n &&
        (spec.p[tail] != ':' ||
         cn_str_u64(cn_str_make(spec.p + tail + 1, spec.n - tail - 1), 1u << 20, &max) != CN_OK)) {
        *why = cn_pool_printf(pool, "%%%.*s%%: expected :LENGTH at its end", CN_STR_ARG(spec));
        return CN_ERR;
    }
    op->max = (uint32_t)max;
    return CN_OK;
}

static void add_literal(cn_pool_t *pool, al_format_t *f, cn_str_t text)
{
    if (text.n)
        ((al_op_t *)cn_vec_push(pool, &f->ops, sizeof(al_op_t)))->text = cn_pool_dup(pool, text);
}

cn_rc al_format_parse(cn_pool_t *pool, cn_str_t text, al_format_t *f, cn_str_t *why)
{
    *f = (al_format_t){0};
    while (text.n) {
        size_t percent = cn_str_find(text, '%'), end;
        cn_str_t rest = cn_str_make(text.p + percent, text.n - percent);
        al_op_t *op;

        add_literal(pool, f, cn_str_make(text.p, percent));
        if (rest.n == 0)
            break;
        rest = cn_str_make(rest.p + 1, rest.n - 1);
        end = cn_str_find(rest, '%');
        if (end == rest.n) {
            *why = CN_STR("a % without its partner; write %% for the sign itself");
            return CN_ERR;
        }
        if (end == 0) {
            add_literal(pool, f, CN_STR("%"));
        } else {
            op = cn_vec_push(pool, &f->ops, sizeof(al_op_t));
            if (parse_operator(pool, cn_str_make(rest.p, end), op, why) != CN_OK)
                return CN_ERR;
        }
        text = cn_str_make(rest.p + end + 1, rest.n - end - 1);
    }
    return CN_OK;
}

cn_rc al_format_json(cn_pool_t *pool, al_format_t *f, cn_str_t *why)
{
    *f = (al_format_t){.json = true};
    for (size_t i = 0; i < CN_COUNT(json_fields); i++) {
        cn_str_t spec = cn_str_c(json_fields[i][1]);
        al_op_t *op = cn_vec_push(pool, &f->ops, sizeof(al_op_t));

        *(cn_str_t *)cn_vec_push(pool, &f->keys, sizeof(cn_str_t)) = cn_str_c(json_fields[i][0]);
        if (parse_operator(pool, cn_str_make(spec.p + 1, spec.n - 2), op, why) != CN_OK)
            return CN_ERR;
    }
    return CN_OK;
}

/* ---- output ---- */

void al_put(al_buf_t *b, const char *p, size_t n)
{
    if (n == 0)
        return;
    if (b->n + n > b->cap) {
        b->cap = (b->n + n) * 2;
        b->p = cn_xrealloc(b->p, b->cap);
    }
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

static bool put_value(al_buf_t *b, const cn_facts_t *f, const al_op_t *op)
{
    size_t start = b->n;
    bool there = op->op->value(b, f, op);

    if (op->max && b->n - start > op->max)
        b->n = start + op->max;
    return there;
}

static void put_text(al_buf_t *b, const al_format_t *format, const cn_facts_t *f)
{
    const al_op_t *ops = format->ops.v;

    for (uint32_t i = 0; i < format->ops.n; i++) {
        if (!ops[i].op)
            al_puts(b, ops[i].text);
        else if (!put_value(b, f, &ops[i]))
            al_put(b, "-", 1);
    }
}

/* Escapes what stands behind start, in place. */
static void escape_tail(al_buf_t *b, size_t start)
{
    cn_str_t raw = cn_str_make(b->p + start, b->n - start);
    size_t need = cn_json_escape(NULL, 0, raw);
    char *copy;

    if (need == raw.n)
        return;
    copy = cn_xmalloc(need + 1);
    cn_json_escape(copy, need, raw);
    b->n = start;
    al_put(b, copy, need);
    free(copy);
}

static void put_member(al_buf_t *b, const al_op_t *op, const cn_facts_t *f)
{
    size_t start = b->n;

    if (!op->op->number)
        al_put(b, "\"", 1);
    if (!put_value(b, f, op)) {
        b->n = start;
        al_put(b, "null", 4);
        return;
    }
    if (!op->op->number) {
        escape_tail(b, start + 1);
        al_put(b, "\"", 1);
    }
}

static void put_json(al_buf_t *b, const al_format_t *format, const cn_facts_t *f)
{
    const al_op_t *ops = format->ops.v;
    const cn_str_t *keys = format->keys.v;

    for (uint32_t i = 0; i < format->ops.n; i++) {
        al_put(b, i ? ",\"" : "{\"", 2);
        al_puts(b, keys[i]);
        al_put(b, "\":", 2);
        put_member(b, &ops[i], f);
    }
    al_put(b, "}", 1);
}

void al_format_put(al_buf_t *b, const al_format_t *format, const cn_facts_t *f)
{
    if (format->json)
        put_json(b, format, f);
    else
        put_text(b, format, f);
    al_put(b, "\n", 1);
}
