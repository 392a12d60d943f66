/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters of the Gateway API's HTTP and gRPC routes (semantics 3.4, 3.6).
 */
#include "kube/filter.h"

#include "core/hash.h"
#include "http/edit.h"

#define pool_of(x) ((x)->r.w->pool)

/* What a filter came to. */
typedef enum { DONE, REFUSED, UNKNOWN } outcome_t;

typedef struct {
    cn_action_t *x;
    cn_vec_t *list; /* where its directives go */
    bool grpc, backend;
    char where[128];
} filters_t;

/* ---- headers ---- */

static bool put_pairs(filters_t *f, const cn_node_t *node, const char *key, bool request)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&f->x->r, node, key, &items);
    bool ok = true;

    for (uint32_t i = 0; i < n; i++)
        ok = cn_action_header(f->x, f->list, items[i].value, request, key,
                              cn_read_text(&f->x->r, items[i].value, "name"),
                              cn_read_text(&f->x->r, items[i].value, "value")) &&
             ok;
    return ok;
}

static outcome_t put_headers(filters_t *f, const cn_node_t *filter, const char *field, bool request)
{
    const cn_node_t *node = cn_node_get(filter, field);
    cn_vec_t names = {0};
    const cn_str_t *v;
    bool ok = node != NULL;

    cn_read_texts(&f->x->r, node, "remove", &names);
    v = names.v;
    for (uint32_t i = 0; i < names.n; i++)
        ok = cn_action_header(f->x, f->list, node, request, "remove", v[i], CN_STR_NULL) && ok;
    ok = put_pairs(f, node, "set", request) && ok;
    return put_pairs(f, node, "add", request) && ok ? DONE : REFUSED;
}

/* ---- redirect and rewrite ---- */

typedef struct {
    cn_str_t full, prefix;
    bool has_full, has_prefix, ok;
} path_change_t;

static bool is_path(cn_str_t s)
{
    return cn_value_is_word(s) && s.p[0] == '/';
}

static path_change_t read_path(filters_t *f, const cn_node_t *node)
{
    static const char *const types[] = {"ReplaceFullPath", "ReplacePrefixMatch", NULL};
    const cn_node_t *path = cn_node_get(node, "path");
    int type = cn_value_read_word(&f->x->r, path, "type", f->where, types);
    path_change_t c = {.ok = !path || type >= 0};

    c.has_full = type == 0;
    c.has_prefix = type == 1;
    c.full = cn_value_read_plain(&f->x->r, path, "replaceFullPath", f->where);
    c.prefix = cn_value_read_plain(&f->x->r, path, "replacePrefixMatch", f->where);
    if (c.full.n == 0)
        c.full = CN_STR("/");
    if (c.prefix.n == 0)
        c.prefix = CN_STR("/");
    if (!is_path(c.full) || !is_path(c.prefix)) {
        cn_action_error(f->x, path, "%s: a path begins with \"/\" and has no blanks", f->where);
        c.ok = false;
    }
    while (c.prefix.n > 1 && c.prefix.p[c.prefix.n - 1] == '/')
        c.prefix.n--;
    return c;
}

static bool read_host(filters_t *f, const cn_node_t *node, cn_str_t *host)
{
    *host = cn_read_text(&f->x->r, node, "hostname");
    if (host->n == 0 || cn_value_is_host(*host))
        return true;
    cn_action_error(f->x, cn_node_get(node, "hostname"), "%s: hostname \"%.*s\" is no host name",
                    f->where, CN_STR_ARG(*host));
    return false;
}

static const char *status_of(filters_t *f, const cn_node_t *node)
{
    static const char *const codes[] = {"301", "302", "303", "307", "308", NULL};
    int i = cn_value_read_word(&f->x->r, node, "statusCode", f->where, codes);

    if (i < 0 && cn_node_get(node, "statusCode"))
        return NULL;
    return i < 0 ? "302" : codes[i];
}

static outcome_t put_redirect(filters_t *f, const cn_node_t *filter)
{
    static const char *const schemes[] = {"http", "https", NULL};
    const cn_node_t *node = cn_node_get(filter, "requestRedirect");
    int scheme = cn_value_read_word(&f->x->r, node, "scheme", f->where, schemes);
    const char *status = status_of(f, node);
    path_change_t path = read_path(f, node);
    int64_t port = 0;
    cn_str_t host;
    cn_dir_t *d;

    if (!node || !status || !path.ok || !read_host(f, node, &host) ||
        (scheme < 0 && cn_node_get(node, "scheme")))
        return REFUSED;
    d = cn_dir_add(pool_of(f->x), f->list, "redirect");
    f->x->rule->answers = true;
    cn_dir_printf(pool_of(f->x), d, "status=%s", status);
    if (scheme >= 0)
        cn_dir_printf(pool_of(f->x), d, "scheme=%s", schemes[scheme]);
    if (host.n)
        cn_dir_printf(pool_of(f->x), d, "host=%.*s", CN_STR_ARG(host));
    if (cn_read_number(&f->x->r, node, "port", 1, 65535, &port)) /* else the scheme's, or ours */
        cn_dir_printf(pool_of(f->x), d, "port=%u", (unsigned)port);
    if (path.has_full)
        cn_dir_printf(pool_of(f->x), d, "path=%.*s", CN_STR_ARG(path.full));
    if (path.has_prefix)
        cn_dir_printf(pool_of(f->x), d, "path_prefix=%.*s", CN_STR_ARG(path.prefix));
    return DONE;
}

static outcome_t put_rewrite(filters_t *f, const cn_node_t *filter)
{
    const cn_node_t *node = cn_node_get(filter, "urlRewrite");
    path_change_t path = read_path(f, node);
    cn_str_t host;

    if (!node || !path.ok || !read_host(f, node, &host))
        return REFUSED;
    if (f->backend && (path.has_full || path.has_prefix)) {
        cn_action_error(f->x, node, "%s: a backend can have its own hostname, not its own path",
                        f->where);
        return REFUSED;
    }
    if (host.n)
        cn_dir_word(pool_of(f->x), cn_dir_add(pool_of(f->x), f->list, "rewrite_host"), host);
    if (path.has_full)
        cn_dir_word(pool_of(f->x), cn_dir_add(pool_of(f->x), f->list, "rewrite_path"), path.full);
    if (path.has_prefix)
        cn_dir_word(pool_of(f->x), cn_dir_add(pool_of(f->x), f->list, "rewrite_prefix"),
                    path.prefix);
    return DONE;
}

/* ---- mirror ---- */

static bool read_share(filters_t *f, const cn_node_t *node, uint32_t *parts)
{
    const cn_node_t *fraction = cn_node_get(node, "fraction");
    int64_t percent = 100, n = 0, d = 100;

    if (cn_node_get(node, "percent") &&
        !cn_read_number(&f->x->r, node, "percent", 0, 100, &percent))
        return false;
    *parts = (uint32_t)percent * CN_VALUE_PERCENT;
    if (!fraction)
        return true;
    if (!cn_read_number(&f->x->r, fraction, "numerator", 0, INT32_MAX, &n) ||
        (cn_node_get(fraction, "denominator") &&
         !cn_read_number(&f->x->r, fraction, "denominator", 1, INT32_MAX, &d)))
        return false;
    *parts = n >= d ? 100 * CN_VALUE_PERCENT : (uint32_t)(n * 100 * CN_VALUE_PERCENT / d);
    return true;
}

static outcome_t put_mirror(filters_t *f, const cn_node_t *filter)
{
    const cn_node_t *node = cn_node_get(filter, "requestMirror"),
                    *ref = cn_node_get(node, "backendRef");
    cn_mirror_t m = {{.node = ref}, 0};

    if (!ref || !read_share(f, node, &m.percent))
        return REFUSED;
    cn_filter_backend_ref(f->x, ref, &m.to);
    if (m.to.invalid.n)
        cn_action_warn(f->x, ref,
                       "%s: %.*s, so nothing is mirrored; the rest of the rule is in effect",
                       f->where, CN_STR_ARG(m.to.invalid));
    else if (m.percent)
        *(cn_mirror_t *)cn_vec_push(pool_of(f->x), &f->x->rule->mirrors, sizeof(m)) = m;
    return DONE;
}

/* ---- CORS ---- */

static bool put_origin(filters_t *f, const cn_node_t *at, cn_dir_t *cors, cn_str_t origin)
{
    cn_dir_t *d;
    cn_str_t regex = CN_STR_NULL, piece, rest = origin;

    if (!cn_value_is_plain(origin) || origin.n == 0) {
        cn_action_error(f->x, at, "%s: an origin of allowOrigins cannot be one", f->where);
        return false;
    }
    d = cn_dir_add(pool_of(f->x), &cors->inner, "allow_origin");
    if (cn_str_eq(origin, CN_STR("*"))) {
        cn_dir_word(pool_of(f->x), d, CN_STR("any"));
        return true;
    }
    if (cn_str_find(origin, '*') == origin.n) {
        cn_dir_word(pool_of(f->x), d, CN_STR("exact"));
        cn_dir_word(pool_of(f->x), d, origin);
        return true;
    }
    while (cn_str_split(&rest, '*', &piece)) {
        cn_str_t quoted = cn_value_quote_regex(pool_of(f->x), piece);

        regex = cn_pool_printf(pool_of(f->x), "%.*s%s%.*s", CN_STR_ARG(regex),
                               piece.p == origin.p ? "" : ".*", CN_STR_ARG(quoted));
    }
    if (origin.p[origin.n - 1] == '*')
        regex = cn_pool_printf(pool_of(f->x), "%.*s.*", CN_STR_ARG(regex));
    cn_dir_word(pool_of(f->x), d, CN_STR("regex"));
    cn_dir_word(pool_of(f->x), d, regex);
    return true;
}

static bool put_names(filters_t *f, const cn_node_t *node, const char *key, const char *directive,
                      cn_dir_t *cors)
{
    cn_vec_t names = {0};
    const cn_str_t *v;
    cn_dir_t *d;

    cn_read_texts(&f->x->r, node, key, &names);
    if (names.n == 0)
        return true;
    d = cn_dir_add(pool_of(f->x), &cors->inner, directive);
    v = names.v;
    for (uint32_t i = 0; i < names.n; i++) {
        if (!cn_value_is_token(v[i])) {
            cn_action_error(f->x, node, "%s: %s: \"%.*s\" is no name of one", f->where, key,
                            CN_STR_ARG(v[i]));
            return false;
        }
        cn_dir_word(pool_of(f->x), d, v[i]);
    }
    return true;
}

static outcome_t put_cors(filters_t *f, const cn_node_t *filter)
{
    const cn_node_t *node = cn_node_get(filter, "cors");
    cn_dir_t *cors = cn_dir_block(pool_of(f->x), f->list, "cors");
    cn_vec_t origins = {0};
    const cn_str_t *v;
    int64_t age = 5; /* the API's default */
    bool ok = node != NULL;

    cn_read_texts(&f->x->r, node, "allowOrigins", &origins);
    v = origins.v;
    for (uint32_t i = 0; i < origins.n; i++)
        ok = put_origin(f, node, cors, v[i]) && ok;
    ok = put_names(f, node, "allowMethods", "allow_methods", cors) && ok;
    ok = put_names(f, node, "allowHeaders", "allow_headers", cors) && ok;
    ok = put_names(f, node, "exposeHeaders", "expose_headers", cors) && ok;
    if (cn_node_get(node, "maxAge"))
        ok = cn_read_number(&f->x->r, node, "maxAge", 1, INT32_MAX, &age) && ok;
    cn_dir_printf(pool_of(f->x), cn_dir_add(pool_of(f->x), &cors->inner, "max_age"), "%lld",
                  (long long)age);
    if (cn_value_read_bool(&f->x->r, node, "allowCredentials", f->where, false))
        cn_dir_flag(pool_of(f->x), &cors->inner, "allow_credentials", "on");
    cn_dir_flag(pool_of(f->x), &cors->inner, "unmatched_preflight", "answer");
    return ok ? DONE : REFUSED;
}

/* ---- all of them ---- */

static outcome_t put_filter(filters_t *f, const cn_node_t *filter, cn_str_t type)
{
    if (cn_str_eq(type, CN_STR("RequestHeaderModifier")))
        return put_headers(f, filter, "requestHeaderModifier", true);
    if (cn_str_eq(type, CN_STR("ResponseHeaderModifier")))
        return put_headers(f, filter, "responseHeaderModifier", false);
    if (cn_str_eq(type, CN_STR("RequestMirror")) && !f->backend)
        return put_mirror(f, filter);
    if (f->grpc)
        return UNKNOWN;
    if (cn_str_eq(type, CN_STR("RequestRedirect")) && !f->backend)
        return put_redirect(f, filter);
    if (cn_str_eq(type, CN_STR("URLRewrite")))
        return put_rewrite(f, filter);
    if (cn_str_eq(type, CN_STR("CORS")) && !f->backend)
        return put_cors(f, filter);
    return UNKNOWN;
}

static bool is_repeated(const cn_node_item_t *items, uint32_t i)
{
    cn_str_t type = cn_node_str(items[i].value, "type");

    for (uint32_t k = 0; k < i; k++)
        if (cn_str_eq(cn_node_str(items[k].value, "type"), type))
            return !cn_str_eq(type, CN_STR("RequestMirror"));
    return false;
}

/* Why requests must not be sent on, or empty. */
static cn_str_t read_filters(cn_action_t *x, const cn_node_t *node, const char *where,
                             cn_vec_t *list, bool grpc, bool backend)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, node, "filters", &items);
    cn_str_t broken = CN_STR_NULL;

    for (uint32_t i = 0; i < n; i++) {
        const cn_node_t *at = items[i].value;
        cn_str_t type = cn_read_text(&x->r, at, "type");
        filters_t f = {.x = x, .list = list, .grpc = grpc, .backend = backend};
        outcome_t done;

        snprintf(f.where, sizeof(f.where), "%s.filters[%u]", where, i);
        if (is_repeated(items, i)) {
            cn_action_warn(x, at, "%s: a second %.*s has no effect", f.where, CN_STR_ARG(type));
            continue;
        }
        done = put_filter(&f, at, type);
        if (done == DONE)
            continue;
        if (type.n == 0 || !cn_value_is_plain(type))
            type = CN_STR("a filter without type");
        cn_action_warn(x, at, "%s: %.*s: %s, so %s answers 500", f.where, CN_STR_ARG(type),
                       done == UNKNOWN ? "not supported here" : "cannot be done",
                       backend ? "this backend's share" : "this rule");
        broken = cn_pool_printf(pool_of(x), "filter %.*s %s", CN_STR_ARG(type),
                                done == UNKNOWN ? "is not supported" : "cannot be done");
    }
    return broken;
}

void cn_filter_read_rule(cn_action_t *x, const cn_node_t *rule, bool grpc)
{
    x->rule->broken = read_filters(x, rule, x->where, &x->rule->actions, grpc, false);
    if (x->rule->broken.n)
        x->rule->reason = "IncompatibleFilters";
}

void cn_filter_read_backend(cn_action_t *x, const cn_node_t *ref, cn_backend_t *b)
{
    cn_str_t broken = read_filters(x, ref, x->where, &b->filter, false, true);

    if (broken.n) {
        b->invalid = broken;
        b->reason = "InvalidFilter";
    }
}

/* ---- timeouts, retry, session ---- */

static void put_timeouts(cn_action_t *x, const cn_node_t *rule)
{
    const cn_node_t *node = cn_node_get(rule, "timeouts");
    bool retry = cn_node_get(rule, "retry") != NULL;
    uint64_t request = 0, backend = 0;
    bool has_request = cn_value_read_duration(&x->r, node, "request", "timeouts", &request);
    bool has_backend = cn_value_read_duration(&x->r, node, "backendRequest", "timeouts", &backend);

    if (has_request && has_backend && request && backend > request)
        cn_action_warn(x, node,
                       "%s.timeouts: backendRequest is longer than request, which ends first",
                       x->where);
    /* without retry there is one try, and its time is the request's (as in Istio) */
    if (has_backend && !retry && (!request || backend < request)) {
        request = backend;
        has_request = true;
    }
    if (has_request)
        cn_action_time(pool_of(x), &x->rule->actions, "request_timeout", request);
    if (has_backend && retry)
        cn_action_time(pool_of(x), &x->rule->actions, "try_timeout", backend);
}

static void put_codes(cn_action_t *x, const cn_node_t *node, cn_action_retry_t *retry)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, node, "codes", &items);

    for (uint32_t i = 0; i < n; i++) {
        const cn_node_t *v = items[i].value;
        uint64_t code;

        if (v->kind == CN_NODE_INT && cn_str_u64(v->text, 599, &code) == CN_OK && code >= 400)
            *(cn_str_t *)cn_vec_push(pool_of(x), &retry->codes, sizeof(cn_str_t)) = v->text;
        else
            cn_action_error(x, v,
                            "%s.retry.codes[%u] must be a number from 400 to 599; it is left out",
                            x->where, i);
    }
}

static void put_retry(cn_action_t *x, const cn_node_t *rule)
{
    const cn_node_t *node = cn_node_get(rule, "retry");
    cn_action_retry_t retry = {.attempts = 2};

    if (!node)
        return;
    if (cn_node_get(node, "attempts") &&
        !cn_read_number(&x->r, node, "attempts", 0, 1000, &retry.attempts))
        retry.attempts = 2;
    cn_action_retry_default(&x->r, &retry);
    put_codes(x, node, &retry);
    (void)cn_value_read_duration(&x->r, node, "backoff", "retry", &retry.backoff_ms);
    cn_action_retry(pool_of(x), &x->rule->actions, &retry);
}

static void put_session_times(const cn_reader_t *r, const cn_node_t *node, const char *what,
                              cn_dir_t *d)
{
    uint64_t ms;

    if (cn_value_read_duration(r, node, "absoluteTimeout", what, &ms) && ms) {
        cn_str_t t = cn_dir_time(r->w->pool, ms);

        cn_dir_printf(r->w->pool, d, "ttl=%.*s", CN_STR_ARG(t));
    }
    if (cn_value_read_duration(r, node, "idleTimeout", what, &ms) && ms) {
        cn_str_t t = cn_dir_time(r->w->pool, ms);

        cn_dir_printf(r->w->pool, d, "idle=%.*s", CN_STR_ARG(t));
    }
}

void cn_filter_session(const cn_reader_t *r, const cn_node_t *node, const char *what,
                       cn_str_t owner, cn_vec_t *list)
{
    static const char *const types[] = {"Cookie", "Header", NULL};
    static const char *const lives[] = {"Session", "Permanent", NULL};
    const cn_node_t *config = cn_node_get(node, "cookieConfig");
    cn_str_t name = cn_read_text(r, node, "sessionName");
    int type = cn_value_read_word(r, node, "type", what, types);
    bool permanent;
    cn_dir_t *d;

    if (type < 0 && cn_node_get(node, "type"))
        return;
    if (name.n && (!cn_value_is_token(name) || cn_edit_refused(cn_pool_lower(r->w->pool, name)) ||
                   cn_str_ieq(name, CN_STR("host")))) {
        cn_store_error(r->w->diag, r->obj, cn_node_get(node, "sessionName"),
                       "%s.sessionName: \"%.*s\" cannot name a cookie or header; it has no effect",
                       what, CN_STR_ARG(name));
        name.n = 0;
    }
    if (name.n == 0)
        name = cn_pool_printf(r->w->pool, "cairn-session-%08x",
                              (unsigned)(cn_hash_xxh(owner, 0) & UINT32_MAX));
    permanent = cn_value_read_word(r, config, "lifetimeType", what, lives) == 1;
    if (permanent && !cn_node_get(node, "absoluteTimeout"))
        cn_store_warn(r->w->diag, r->obj, config,
                      "%s.cookieConfig.lifetimeType: Permanent needs absoluteTimeout; the cookie "
                      "is one of the session",
                      what);
    d = cn_dir_add(r->w->pool, list, "session");
    cn_dir_word(r->w->pool, d, type == 1 ? CN_STR("header") : CN_STR("cookie"));
    cn_dir_word(r->w->pool, d, name);
    put_session_times(r, node, what, d);
    if (permanent && type != 1 && cn_node_get(node, "absoluteTimeout"))
        cn_dir_word(r->w->pool, d, CN_STR("permanent"));
}

void cn_filter_read_times(cn_action_t *x, const cn_node_t *rule)
{
    const cn_node_t *session = cn_node_get(rule, "sessionPersistence");
    char what[128];

    put_timeouts(x, rule);
    put_retry(x, rule);
    snprintf(what, sizeof(what), "%s.sessionPersistence", x->where);
    if (session)
        cn_filter_session(&x->r, session, what, x->rule->name, &x->rule->actions);
}
