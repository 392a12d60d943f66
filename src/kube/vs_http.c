/* SPDX-License-Identifier: Apache-2.0
 *
 * What a VirtualService's http rule does.  A field of a delegate goes before
 * the same field of its root.
 */
#include "kube/vs_http.h"

#include "core/b64.h"
#include "kube/match.h"

#define MAX_ROUTES 1000

#define pool_of(v) ((v)->x.r.w->pool)
#define actions_of(v) (&(v)->x.rule->actions)

static const cn_node_t *get(const cn_vs_http_t *v, const char *key)
{
    const cn_node_t *node = cn_node_get(v->x.rule->node, key);

    return node ? node : cn_node_get(v->root, key);
}

static void word(const cn_vs_http_t *v, cn_dir_t *d, cn_str_t text)
{
    cn_dir_word(pool_of(v), d, text);
}

static cn_dir_t *add(const cn_vs_http_t *v, const char *directive)
{
    return cn_dir_add(pool_of(v), actions_of(v), directive);
}

/* Text of a field that is written into requests or answers; empty: absent or refused. */
static cn_str_t plain(cn_vs_http_t *v, const cn_node_t *map, const char *key)
{
    cn_str_t s = cn_value_read_plain(&v->x.r, map, key, v->x.where);

    if (s.n == 0 || cn_value_is_word(s))
        return s;
    cn_action_error(&v->x, cn_node_get(map, key), "%s.%s: \"%.*s\" has blanks; it has no effect",
                    v->x.where, key, CN_STR_ARG(s));
    return CN_STR_NULL;
}

/* ---- destinations ---- */

cn_str_t cn_vs_http_full_host(cn_pool_t *pool, cn_str_t host, cn_str_t ns)
{
    if (cn_str_find(host, '.') < host.n || cn_str_eq(host, CN_STR("*")))
        return cn_pool_lower(pool, host);
    host = cn_pool_lower(pool, host);
    return cn_pool_printf(pool, "%.*s.%.*s.svc.cluster.local", CN_STR_ARG(host), CN_STR_ARG(ns));
}

bool cn_vs_http_destination(const cn_reader_t *r, const cn_node_t *node, const char *where,
                            cn_backend_t *b)
{
    const cn_node_t *port = cn_node_get(node, "port");
    cn_str_t host = cn_read_text(r, node, "host");
    int64_t number = 0;

    b->node = node;
    b->weight = 1;
    b->subset = cn_read_text(r, node, "subset");
    if (!cn_value_is_domain(host, true) || (b->subset.n && !cn_store_is_label_value(b->subset))) {
        cn_store_error(r->w->diag, r->obj, node, "%s: destination \"%.*s\" is no host%s", where,
                       CN_STR_ARG(host), b->subset.n ? ", or its subset is no name" : "");
        return false;
    }
    b->host = cn_vs_http_full_host(r->w->pool, host, r->obj->ns);
    if (port && !cn_read_number(r, port, "number", 1, 65535, &number))
        return false;
    b->port = (uint16_t)number;
    return true;
}

/* ---- headers ---- */

static void put_header_map(cn_vs_http_t *v, cn_vec_t *list, const cn_node_t *ops, const char *what,
                           bool request)
{
    const cn_node_t *map = cn_node_get(ops, what);

    for (uint32_t i = 0; map && map->kind == CN_NODE_MAP && i < map->n; i++) {
        const cn_node_item_t *it = &map->items[i];

        (void)cn_action_header(&v->x, list, it->value, request, what, it->key,
                               it->value->kind < CN_NODE_LIST ? it->value->text : CN_STR_NULL);
    }
}

static void put_header_ops(cn_vs_http_t *v, cn_vec_t *list, const cn_node_t *ops, bool request)
{
    cn_vec_t names = {0};
    const cn_str_t *name;

    cn_read_texts(&v->x.r, ops, "remove", &names);
    name = names.v;
    for (uint32_t i = 0; i < names.n; i++)
        (void)cn_action_header(&v->x, list, ops, request, "remove", name[i], CN_STR_NULL);
    put_header_map(v, list, ops, "set", request);
    put_header_map(v, list, ops, "add", request);
}

static void put_headers(cn_vs_http_t *v, cn_vec_t *list, const cn_node_t *headers)
{
    put_header_ops(v, list, cn_node_get(headers, "request"), true);
    put_header_ops(v, list, cn_node_get(headers, "response"), false);
}

/* ---- redirect, direct response, rewrite ---- */

/* As Envoy does it: a new host has no port unless it says so, the same one keeps its own. */
static void put_redirect_port(cn_vs_http_t *v, const cn_node_t *node, cn_str_t scheme,
                              cn_str_t host, cn_dir_t *d)
{
    static const char *const from[] = {"FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT", NULL};
    size_t colon = cn_str_find(host, ':');
    int64_t port = 0;
    int derive = cn_value_read_word(&v->x.r, node, "derivePort", v->x.where, from);

    if (cn_node_get(node, "port") && cn_read_number(&v->x.r, node, "port", 1, 65535, &port))
        cn_dir_printf(pool_of(v), d, "port=%u", (unsigned)port);
    else if (derive == 1)
        word(v, d, CN_STR("port=service"));
    else if (derive < 0 && colon < host.n)
        cn_dir_printf(pool_of(v), d, "port=%.*s", (int)(host.n - colon - 1), host.p + colon + 1);
    else if (derive == 0 || host.n)
        cn_dir_printf(pool_of(v), d, "port=%d", cn_str_eq(scheme, CN_STR("https")) ? 443 : 80);
    else if (scheme.n == 0)
        word(v, d, CN_STR("port=host"));
}

/* "example.com" or "example.com:8080" */
static bool is_authority(cn_str_t s)
{
    size_t colon = s.n && s.p[0] == '[' ? s.n : cn_str_find(s, ':');
    uint64_t port;

    return cn_value_is_host(cn_str_make(s.p, colon)) &&
           (colon == s.n ||
            (cn_str_u64(cn_str_make(s.p + colon + 1, s.n - colon - 1), 65535, &port) == CN_OK &&
             port > 0));
}

static void put_redirect_target(cn_vs_http_t *v, const cn_node_t *node, cn_dir_t *d)
{
    cn_str_t scheme = plain(v, node, "scheme"), host = plain(v, node, "authority"),
             uri = plain(v, node, "uri"), prefix = plain(v, node, "prefixRewrite");

    if ((scheme.n == 0 && cn_node_str(node, "scheme").n) ||
        (uri.n == 0 && cn_node_str(node, "uri").n) ||
        (host.n == 0 && cn_node_str(node, "authority").n) ||
        (scheme.n && !cn_str_eq(scheme, CN_STR("http")) && !cn_str_eq(scheme, CN_STR("https"))) ||
        (host.n && !is_authority(host))) {
        /* a part of it alone may lead a client back to where it came from, for ever */
        cn_action_error(&v->x, node,
                        "%s.redirect: scheme, authority or uri cannot be one, so this rule answers "
                        "500",
                        v->x.where);
        v->x.rule->broken = CN_STR("redirect cannot be done");
        return;
    }
    if (scheme.n)
        cn_dir_printf(pool_of(v), d, "scheme=%.*s", CN_STR_ARG(scheme));
    if (host.n)
        cn_dir_printf(pool_of(v), d, "host=%.*s",
                      (int)(host.p[0] == '[' ? host.n : cn_str_find(host, ':')), host.p);
    put_redirect_port(v, node, scheme, host, d);
    if (cn_str_starts(uri, CN_STR("%PREFIX()%"))) {
        prefix = cn_str_make(uri.p + 10, uri.n - 10);
        uri = CN_STR_NULL;
    }
    if (uri.n)
        cn_dir_printf(pool_of(v), d, "path=%.*s", CN_STR_ARG(uri));
    if (prefix.n)
        cn_dir_printf(pool_of(v), d, "path_prefix=%.*s", CN_STR_ARG(prefix));
}

static void put_redirect(cn_vs_http_t *v, const cn_node_t *node)
{
    static const char *const codes[] = {"301", "302", "303", "307", "308", NULL};
    int code = cn_value_read_word(&v->x.r, node, "redirectCode", v->x.where, codes);
    cn_dir_t *d = add(v, "redirect");

    v->x.rule->answers = true;
    cn_dir_printf(pool_of(v), d, "status=%s", codes[code < 0 ? 0 : code]);
    put_redirect_target(v, node, d);
}

/* Text, or base64 of bytes.  False: it cannot stand in a conf. */
static bool read_body(cn_vs_http_t *v, const cn_node_t *body, cn_str_t *out)
{
    cn_str_t bytes = cn_read_text(&v->x.r, body, "bytes");
    bool ok = true;

    *out = cn_read_text(&v->x.r, body, "string");
    if (bytes.n)
        ok = cn_b64_decode(pool_of(v), bytes, out) == CN_OK;
    for (size_t i = 0; ok && i < out->n; i++)
        ok = ((unsigned char)out->p[i] >= 0x20 && out->p[i] != 0x7f) || out->p[i] == '\n' ||
             out->p[i] == '\t';
    return ok && out->n <= CN_VALUE_MAX * 16;
}

static void put_direct_response(cn_vs_http_t *v, const cn_node_t *node)
{
    cn_str_t body;
    int64_t status = 0;
    cn_dir_t *d;

    if (!cn_read_number(&v->x.r, node, "status", 200, 599, &status)) {
        cn_action_error(&v->x, node, "%s.directResponse: without a status this rule answers 500",
                        v->x.where);
        v->x.rule->broken = CN_STR("directResponse without a status");
        return;
    }
    if (!read_body(v, cn_node_get(node, "body"), &body)) {
        cn_action_error(
            &v->x, node,
            "%s.directResponse.body holds control characters, or is no base64; an empty "
            "one is sent",
            v->x.where);
        body = CN_STR_NULL;
    }
    d = add(v, "direct_response");
    v->x.rule->answers = true;
    cn_dir_printf(pool_of(v), d, "%u", (unsigned)status);
    if (body.n)
        word(v, d, body);
}

static void put_regex_rewrite(cn_vs_http_t *v, const cn_node_t *node)
{
    cn_str_t match = plain(v, node, "match"), with = plain(v, node, "rewrite"), why;
    cn_dir_t *d;

    if (!cn_value_is_subst(pool_of(v), match, with, &why)) {
        cn_action_error(&v->x, node,
                        "%s.rewrite.uriRegexRewrite: \"%.*s\" to \"%.*s\" cannot be "
                        "used, so this rule answers 500: %.*s",
                        v->x.where, CN_STR_ARG(match), CN_STR_ARG(with), CN_STR_ARG(why));
        v->x.rule->broken = CN_STR("uriRegexRewrite cannot be used");
        return;
    }
    d = add(v, "rewrite_regex");
    word(v, d, match);
    word(v, d, with);
}

static void put_rewrite(cn_vs_http_t *v, const cn_node_t *node)
{
    cn_str_t host = plain(v, node, "authority"), uri = plain(v, node, "uri");

    if (host.n)
        word(v, add(v, "rewrite_host"), host);
    if (uri.n)
        word(v, add(v, "rewrite_prefix"), uri);
    else if (cn_node_get(node, "uriRegexRewrite"))
        put_regex_rewrite(v, cn_node_get(node, "uriRegexRewrite"));
}

/* ---- fault ---- */

/* percentage.value, or the older whole number; none: nothing is hit (as in Istio). */
static bool read_percent(cn_vs_http_t *v, const cn_node_t *node, const char *key, const char *older,
                         uint32_t otherwise, uint32_t *parts)
{
    const cn_node_t *percent = cn_node_get(node, key),
                    *value = percent ? cn_node_get(percent, "value") : cn_node_get(node, older);

    *parts = percent ? 0 : otherwise;
    if (!value)
        return true;
    if (value->kind < CN_NODE_LIST && cn_value_percent(value->text, parts) == CN_OK)
        return true;
    cn_action_error(&v->x, value, "%s: \"%.*s\" is no percentage from 0 to 100; it has no effect",
                    v->x.where, CN_STR_ARG(value->text));
    return false;
}

static void put_percent(cn_vs_http_t *v, cn_dir_t *d, uint32_t parts)
{
    cn_str_t text = cn_value_percent_text(pool_of(v), parts);

    cn_dir_printf(pool_of(v), d, "percent=%.*s", CN_STR_ARG(text));
}

static void put_delay(cn_vs_http_t *v, const cn_node_t *node)
{
    uint32_t parts = 0;
    uint64_t ms = 0;
    cn_dir_t *d;

    if (cn_node_get(node, "exponentialDelay"))
        cn_action_warn(&v->x, node, "%s.fault.delay.exponentialDelay: has no effect, as in Istio",
                       v->x.where);
    if (!cn_value_read_duration(&v->x.r, node, "fixedDelay", "fault.delay", &ms) ||
        !read_percent(v, node, "percentage", "percent", 0, &parts))
        return;
    if (parts == 0) {
        cn_action_warn(&v->x, node, "%s.fault.delay: has no effect: its percentage is 0",
                       v->x.where);
        return;
    }
    d = add(v, "fault");
    word(v, d, CN_STR("delay"));
    word(v, d, cn_dir_time(pool_of(v), ms));
    put_percent(v, d, parts);
}

static bool grpc_status(cn_str_t s, unsigned *out)
{
    static const char *const names[] = {"OK",
                                        "CANCELLED",
                                        "UNKNOWN",
                                        "INVALID_ARGUMENT",
                                        "DEADLINE_EXCEEDED",
                                        "NOT_FOUND",
                                        "ALREADY_EXISTS",
                                        "PERMISSION_DENIED",
                                        "RESOURCE_EXHAUSTED",
                                        "FAILED_PRECONDITION",
                                        "ABORTED",
                                        "OUT_OF_RANGE",
                                        "UNIMPLEMENTED",
                                        "INTERNAL",
                                        "UNAVAILABLE",
                                        "DATA_LOSS",
                                        "UNAUTHENTICATED"};
    uint64_t n;

    for (*out = 0; *out < CN_COUNT(names); ++*out)
        if (cn_str_eq(s, cn_str_c(names[*out])))
            return true;
    if (cn_str_u64(s, 16, &n) != CN_OK)
        return false;
    *out = (unsigned)n;
    return true;
}

static void put_abort(cn_vs_http_t *v, const cn_node_t *node)
{
    cn_str_t grpc = cn_read_text(&v->x.r, node, "grpcStatus");
    uint32_t parts = 0;
    int64_t status = 0;
    unsigned code = 0;
    cn_dir_t *d;

    if (cn_node_get(node, "http2Error"))
        cn_action_warn(&v->x, node, "%s.fault.abort.http2Error: has no effect, as in Istio",
                       v->x.where);
    if (grpc.n && !grpc_status(grpc, &code)) {
        cn_action_error(&v->x, node,
                        "%s.fault.abort.grpcStatus: \"%.*s\" is no status of gRPC; it has "
                        "no effect",
                        v->x.where, CN_STR_ARG(grpc));
        return;
    }
    if ((grpc.n == 0 && !cn_read_number(&v->x.r, node, "httpStatus", 200, 599, &status)) ||
        !read_percent(v, node, "percentage", "percent", 0, &parts))
        return;
    if (parts == 0) {
        cn_action_warn(&v->x, node, "%s.fault.abort: has no effect: its percentage is 0",
                       v->x.where);
        return;
    }
    d = add(v, "fault");
    word(v, d, CN_STR("abort"));
    if (grpc.n)
        cn_dir_printf(pool_of(v), d, "grpc=%u", code);
    else
        cn_dir_printf(pool_of(v), d, "%u", (unsigned)status);
    put_percent(v, d, parts);
}

/* ---- timeout and retries ---- */

static void put_retries(cn_vs_http_t *v, const cn_node_t *node)
{
    const cn_reader_t *r = &v->x.r;
    cn_action_retry_t retry = {0};
    cn_str_t on = cn_read_text(r, node, "retryOn");
    uint64_t ms = 0;

    if (cn_node_get(node, "attempts"))
        (void)cn_read_number(r, node, "attempts", 0, 1000, &retry.attempts);
    if (on.n)
        cn_action_retry_on(r, cn_node_get(node, "retryOn"), on, &retry);
    else
        cn_action_retry_default(r, &retry);
    (void)cn_value_read_duration(r, node, "backoff", "retries", &retry.backoff_ms);
    retry.keep_tried = !cn_value_read_bool(r, node, "retryIgnorePreviousHosts", v->x.where, true);
    retry.other_localities =
        cn_value_read_bool(r, node, "retryRemoteLocalities", v->x.where, false);
    cn_action_retry(pool_of(v), actions_of(v), &retry);
    if (cn_value_read_duration(r, node, "perTryTimeout", "retries", &ms) && retry.attempts > 0)
        cn_action_time(pool_of(v), actions_of(v), "try_timeout", ms);
}

/* ---- mirrors ---- */

static void put_mirror(cn_vs_http_t *v, const cn_node_t *destination, const cn_node_t *share,
                       const char *key, const char *older)
{
    cn_mirror_t m = {0};

    if (!cn_vs_http_destination(&v->x.r, destination, v->x.where, &m.to) ||
        !read_percent(v, share, key, older, 100 * CN_VALUE_PERCENT, &m.percent))
        return;
    if (m.percent)
        *(cn_mirror_t *)cn_vec_push(pool_of(v), &v->x.rule->mirrors, sizeof(m)) = m;
}

static void put_mirrors(cn_vs_http_t *v)
{
    const cn_node_t *list = get(v, "mirrors"), *one = get(v, "mirror");
    const cn_node_t *share = cn_node_get(v->x.rule->node, "mirrorPercentage") ||
                                     cn_node_get(v->x.rule->node, "mirrorPercent") || !v->root
                                 ? v->x.rule->node
                                 : v->root;

    for (uint32_t i = 0; list && list->kind == CN_NODE_LIST && i < list->n; i++)
        put_mirror(v, cn_node_get(list->items[i].value, "destination"), list->items[i].value,
                   "percentage", "percent");
    if (one && !list)
        put_mirror(v, one, share, "mirrorPercentage", "mirrorPercent");
}

/* ---- CORS ---- */

static void put_origin(cn_vs_http_t *v, cn_dir_t *cors, const cn_value_match_t *m)
{
    static const char *const words[] = {
        [CN_MATCH_EXACT] = "exact", [CN_MATCH_PREFIX] = "prefix", [CN_MATCH_REGEX] = "regex"};
    cn_dir_t *d = cn_dir_add(pool_of(v), &cors->inner, "allow_origin");

    if (m->kind == CN_MATCH_PRESENT ||
        (m->kind == CN_MATCH_EXACT && cn_str_eq(m->value, CN_STR("*")))) {
        word(v, d, CN_STR("any"));
        return;
    }
    word(v, d, cn_str_c(words[m->kind]));
    word(v, d, m->value);
}

static void put_origins(cn_vs_http_t *v, cn_dir_t *cors, const cn_node_t *node)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&v->x.r, node, "allowOrigins", &items);
    cn_vec_t older = {0};
    const cn_str_t *text;
    cn_value_match_t m;

    for (uint32_t i = 0; i < n; i++) {
        m = (cn_value_match_t){0};
        if (cn_vs_match_text(&v->x, items[i].value, "allowOrigins", CN_MATCH_PREFIX, &m))
            put_origin(v, cors, &m);
    }
    if (n == 0)
        cn_read_texts(&v->x.r, node, "allowOrigin", &older);
    text = older.v;
    for (uint32_t i = 0; i < older.n; i++) {
        m = (cn_value_match_t){.kind = CN_MATCH_EXACT, .value = text[i]};
        if (cn_value_is_plain(text[i]))
            put_origin(v, cors, &m);
    }
}

static void put_names(cn_vs_http_t *v, cn_dir_t *cors, const cn_node_t *node, const char *key,
                      const char *directive)
{
    cn_vec_t names = {0};
    const cn_str_t *text;
    cn_dir_t *d = NULL;

    cn_read_texts(&v->x.r, node, key, &names);
    text = names.v;
    for (uint32_t i = 0; i < names.n; i++) {
        if (!cn_value_is_token(text[i])) {
            cn_action_error(&v->x, node,
                            "%s.corsPolicy.%s: \"%.*s\" is no name of one; it is left out",
                            v->x.where, key, CN_STR_ARG(text[i]));
            continue;
        }
        if (!d)
            d = cn_dir_add(pool_of(v), &cors->inner, directive);
        word(v, d, text[i]);
    }
}

static void put_cors(cn_vs_http_t *v, const cn_node_t *node)
{
    static const char *const preflights[] = {"UNSPECIFIED", "FORWARD", "IGNORE", NULL};
    cn_dir_t *cors = cn_dir_block(pool_of(v), actions_of(v), "cors");
    int unmatched =
        cn_value_read_word(&v->x.r, node, "unmatchedPreflights", "corsPolicy", preflights);
    uint64_t age = 0;

    put_origins(v, cors, node);
    put_names(v, cors, node, "allowMethods", "allow_methods");
    put_names(v, cors, node, "allowHeaders", "allow_headers");
    put_names(v, cors, node, "exposeHeaders", "expose_headers");
    if (cn_value_read_duration(&v->x.r, node, "maxAge", "corsPolicy", &age))
        cn_dir_printf(pool_of(v), cn_dir_add(pool_of(v), &cors->inner, "max_age"), "%llu",
                      (unsigned long long)age / 1000);
    if (cn_value_read_bool(&v->x.r, node, "allowCredentials", "corsPolicy", false))
        cn_dir_flag(pool_of(v), &cors->inner, "allow_credentials", "on");
    cn_dir_flag(pool_of(v), &cors->inner, "unmatched_preflight",
                unmatched == 2 ? "answer" : "forward");
}

/* ---- where it goes ---- */

/* Of several, those without a weight get nothing; a single one gets all. */
static void put_routes(cn_vs_http_t *v)
{
    const cn_node_item_t *items = NULL;
    const cn_node_t *node = v->x.rule->node;
    uint32_t n = cn_read_list(&v->x.r, node, "route", &items);

    for (uint32_t i = 0; i < n && i < MAX_ROUTES; i++) {
        const cn_node_t *at = items[i].value;
        cn_backend_t b = {0};
        int64_t weight = 0;

        if (!cn_vs_http_destination(&v->x.r, cn_node_get(at, "destination"), v->x.where, &b)) {
            b.node = at;
            b.invalid = CN_STR("the destination has no usable host");
        }
        if (cn_node_get(at, "weight") &&
            !cn_read_number(&v->x.r, at, "weight", 0, 1000000, &weight))
            weight = 0;
        if (n > 1 && weight == 0)
            continue;
        b.weight = n > 1 ? (uint32_t)weight : 1;
        put_headers(v, &b.filter, cn_node_get(at, "headers"));
        *(cn_backend_t *)cn_vec_push(pool_of(v), &v->x.rule->backends, sizeof(b)) = b;
    }
}

static void put_actions(cn_vs_http_t *v)
{
    const cn_node_t *rewrite = get(v, "rewrite"), *fault = get(v, "fault"),
                    *retries = get(v, "retries"), *cors = get(v, "corsPolicy");
    uint64_t ms;

    if (rewrite && !v->x.rule->answers)
        put_rewrite(v, rewrite);
    if (cn_node_get(fault, "delay"))
        put_delay(v, cn_node_get(fault, "delay"));
    if (cn_node_get(fault, "abort"))
        put_abort(v, cn_node_get(fault, "abort"));
    if (cn_value_read_duration(&v->x.r,
                               cn_node_get(v->x.rule->node, "timeout") ? v->x.rule->node : v->root,
                               "timeout", v->x.where, &ms))
        cn_action_time(pool_of(v), actions_of(v), "request_timeout", ms);
    if (retries)
        put_retries(v, retries);
    put_mirrors(v);
    if (cors)
        put_cors(v, cors);
    put_headers(v, actions_of(v), get(v, "headers"));
}

bool cn_vs_http_read(cn_vs_http_t *v)
{
    const cn_node_t *redirect = cn_node_get(v->x.rule->node, "redirect"),
                    *response = get(v, "directResponse");

    if (!cn_vs_match_read(v))
        return false;
    if (redirect)
        put_redirect(v, redirect);
    else if (response)
        put_direct_response(v, response);
    else
        put_routes(v);
    put_actions(v);
    return true;
}
