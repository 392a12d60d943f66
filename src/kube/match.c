/* SPDX-License-Identifier: Apache-2.0
 *
 * Matches of the Gateway API's HTTP and gRPC routes.
 */
#include "kube/match.h"

#define pool_of(x) ((x)->r.w->pool)

bool cn_match_regex_ok(cn_action_t *x, const cn_node_t *node, const char *what, cn_str_t value)
{
    cn_str_t why;

    if (cn_value_is_regex(pool_of(x), value, &why))
        return true;
    cn_action_error(x, node, "%s: %s: \"%.*s\" cannot be used, so this match never holds: %.*s",
                    x->where, what, CN_STR_ARG(value), CN_STR_ARG(why));
    return false;
}

cn_http_match_t cn_match_all(void)
{
    return (cn_http_match_t){.path = {CN_MATCH_PREFIX, CN_STR_NULL, CN_STR("/")}};
}

void cn_match_put(cn_pool_t *pool, cn_vec_t *list, cn_value_match_t m)
{
    cn_value_match_t *v = list->v;

    for (uint32_t i = 0; i < list->n; i++)
        if (cn_str_eq(v[i].name, m.name)) {
            v[i] = m;
            return;
        }
    *(cn_value_match_t *)cn_vec_push(pool, list, sizeof(m)) = m;
}

/* "Exact" unless RegularExpression; false: another word (said). */
static bool read_type(cn_action_t *x, const cn_node_t *node, const char *what, cn_match_kind *kind)
{
    cn_str_t type = cn_read_text(&x->r, node, "type");

    *kind = cn_str_eq(type, CN_STR("RegularExpression")) ? CN_MATCH_REGEX : CN_MATCH_EXACT;
    if (type.n == 0 || *kind == CN_MATCH_REGEX || cn_str_eq(type, CN_STR("Exact")))
        return true;
    cn_action_error(
        x, node,
        "%s: %s: type \"%.*s\" is none of Exact, RegularExpression; this match never holds",
        x->where, what, CN_STR_ARG(type));
    return false;
}

/* ---- HTTP ---- */

static bool check_path(cn_action_t *x, const cn_node_t *path, cn_value_match_t *m)
{
    if (!cn_value_is_plain(m->value)) {
        cn_action_error(x, path,
                        "%s: path.value: holds what no path holds, so this match never holds",
                        x->where);
        return false;
    }
    if (m->kind == CN_MATCH_REGEX)
        return cn_match_regex_ok(x, path, "path", m->value);
    if (m->value.p[0] != '/') {
        cn_action_error(
            x, path, "%s: path.value \"%.*s\" does not begin with \"/\", so this match never holds",
            x->where, CN_STR_ARG(m->value));
        return false;
    }
    while (m->kind == CN_MATCH_PREFIX && m->value.n > 1 && m->value.p[m->value.n - 1] == '/')
        m->value.n--;
    return true;
}

static bool read_path(cn_action_t *x, const cn_node_t *node, cn_value_match_t *m)
{
    const cn_node_t *path = cn_node_get(node, "path");
    cn_str_t type = cn_read_text(&x->r, path, "type"), value = cn_read_text(&x->r, path, "value");

    *m = (cn_value_match_t){CN_MATCH_PREFIX, CN_STR_NULL, value.n ? value : CN_STR("/")};
    if (cn_str_eq(type, CN_STR("Exact")))
        m->kind = CN_MATCH_EXACT;
    else if (cn_str_eq(type, CN_STR("RegularExpression")))
        m->kind = CN_MATCH_REGEX;
    else if (type.n && !cn_str_eq(type, CN_STR("PathPrefix"))) {
        cn_action_error(
            x, path,
            "%s: path.type \"%.*s\" is none of Exact, PathPrefix, RegularExpression; this "
            "match never holds",
            x->where, CN_STR_ARG(type));
        return false;
    }
    return check_path(x, path, m);
}

static bool read_method(cn_action_t *x, const cn_node_t *node, cn_value_match_t *m)
{
    static const char *const known[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                        "CONNECT", "OPTIONS", "TRACE", "PATCH"};

    m->value = cn_read_text(&x->r, node, "method");
    if (m->value.n == 0)
        return true;
    for (size_t i = 0; i < CN_COUNT(known); i++)
        if (cn_str_eq(m->value, cn_str_c(known[i])))
            return true;
    cn_action_error(x, cn_node_get(node, "method"),
                    "%s: method \"%.*s\" is not one of HTTP's (in capitals), so this "
                    "match never holds",
                    x->where, CN_STR_ARG(m->value));
    return false;
}

static bool read_value(cn_action_t *x, const cn_node_t *node, const char *what, bool header,
                       cn_vec_t *list)
{
    cn_value_match_t m = {CN_MATCH_EXACT, cn_read_text(&x->r, node, "name"),
                          cn_read_text(&x->r, node, "value")};

    if (!read_type(x, node, what, &m.kind))
        return false;
    if (header ? !cn_value_is_token(m.name) : m.name.n == 0 || !cn_value_is_plain(m.name)) {
        cn_action_error(x, node, "%s: %s: \"%.*s\" is no name of one, so this match never holds",
                        x->where, what, CN_STR_ARG(m.name));
        return false;
    }
    if (!cn_value_is_plain(m.value)) {
        cn_action_error(x, node,
                        "%s: %s: the value of %.*s cannot occur, so this match never holds",
                        x->where, what, CN_STR_ARG(m.name));
        return false;
    }
    if (header)
        m.name = cn_pool_lower(pool_of(x), m.name);
    if (m.kind == CN_MATCH_REGEX && !cn_match_regex_ok(x, node, what, m.value))
        return false;
    cn_match_put(pool_of(x), list, m);
    return true;
}

static bool read_values(cn_action_t *x, const cn_node_t *node, const char *key, bool header,
                        cn_vec_t *list)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, node, key, &items);
    bool ok = true;

    for (uint32_t i = 0; i < n; i++)
        ok = read_value(x, items[i].value, key, header, list) && ok;
    return ok;
}

static bool read_http(cn_action_t *x, const cn_node_t *node, cn_http_match_t *m)
{
    bool ok = read_path(x, node, &m->path);

    ok = read_method(x, node, &m->method) && ok;
    ok = read_values(x, node, "headers", true, &m->headers) && ok;
    return read_values(x, node, "queryParams", false, &m->query) && ok;
}

/* ---- gRPC: a method is a path (semantics 3.3) ---- */

static bool is_grpc_name(cn_str_t s, bool dots)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_' || (dots && c == '.')))
            return false;
    }
    return s.n <= 1024;
}

static cn_value_match_t exact_method(cn_pool_t *pool, cn_str_t service, cn_str_t method)
{
    cn_value_match_t m = {CN_MATCH_EXACT, CN_STR_NULL, CN_STR_NULL};

    if (service.n && method.n) {
        m.value = cn_pool_printf(pool, "/%.*s/%.*s", CN_STR_ARG(service), CN_STR_ARG(method));
    } else if (service.n) {
        m.kind = CN_MATCH_TEXT_PREFIX;
        m.value = cn_pool_printf(pool, "/%.*s/", CN_STR_ARG(service));
    } else {
        m.kind = CN_MATCH_REGEX;
        m.value = cn_pool_printf(pool, "/[^/]+/%.*s", CN_STR_ARG(method));
    }
    return m;
}

static cn_value_match_t regex_method(cn_pool_t *pool, cn_str_t service, cn_str_t method)
{
    cn_value_match_t m = {CN_MATCH_REGEX, CN_STR_NULL, CN_STR_NULL};

    if (service.n && method.n)
        m.value = cn_pool_printf(pool, "/%.*s/%.*s", CN_STR_ARG(service), CN_STR_ARG(method));
    else if (service.n)
        m.value = cn_pool_printf(pool, "/%.*s/.+", CN_STR_ARG(service));
    else
        m.value = cn_pool_printf(pool, "/[^/]+/%.*s", CN_STR_ARG(method));
    return m;
}

static bool read_grpc_method(cn_action_t *x, const cn_node_t *node, cn_value_match_t *m)
{
    const cn_node_t *at = cn_node_get(node, "method");
    cn_str_t service = cn_read_text(&x->r, at, "service"),
             method = cn_read_text(&x->r, at, "method");
    cn_match_kind kind;

    if (!read_type(x, at, "method", &kind))
        return false;
    if (service.n == 0 && method.n == 0) {
        *m = cn_match_all().path;
        return true;
    }
    if (kind == CN_MATCH_REGEX) {
        *m = regex_method(pool_of(x), service, method);
        return cn_match_regex_ok(x, at, "method", m->value);
    }
    if (!is_grpc_name(service, true) || !is_grpc_name(method, false)) {
        cn_action_error(x, at,
                        "%s: method: \"%.*s/%.*s\" is no gRPC method, so this match never holds",
                        x->where, CN_STR_ARG(service), CN_STR_ARG(method));
        return false;
    }
    *m = exact_method(pool_of(x), service, method);
    return true;
}

static bool read_grpc(cn_action_t *x, const cn_node_t *node, cn_http_match_t *m)
{
    bool ok = read_grpc_method(x, node, &m->path);

    return read_values(x, node, "headers", true, &m->headers) && ok;
}

/* ---- */

static void read_all(cn_action_t *x, const cn_node_t *rule,
                     bool (*read_one)(cn_action_t *, const cn_node_t *, cn_http_match_t *))
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, rule, "matches", &items);
    cn_vec_t *out = &x->rule->matches;

    for (uint32_t i = 0; i < n; i++) {
        cn_http_match_t m = {0};

        if (read_one(x, items[i].value, &m))
            *(cn_http_match_t *)cn_vec_push(pool_of(x), out, sizeof(m)) = m;
        else
            x->rule->dropped++;
    }
    if (x->rule->dropped)
        x->rule->reason = "UnsupportedValue";
    if (n == 0)
        *(cn_http_match_t *)cn_vec_push(pool_of(x), out, sizeof(cn_http_match_t)) = cn_match_all();
}

void cn_match_read_http(cn_action_t *x, const cn_node_t *rule)
{
    read_all(x, rule, read_http);
}

void cn_match_read_grpc(cn_action_t *x, const cn_node_t *rule)
{
    read_all(x, rule, read_grpc);
}
