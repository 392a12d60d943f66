/* SPDX-License-Identifier: Apache-2.0
 *
 * Matching requests against routes.  Pure: no request object, no allocation.
 *
 * Measured with Envoy (facts/verified 5): header lines are compared one by one;
 * a query parameter is its first occurrence, never decoded; a path prefix is
 * one of whole segments; a path is without its query.
 */
#include "route_int.h"

/* "/foo" is stored for "/foo" and "/foo/": matches "/foo" and "/foo/...". */
static bool under(cn_str_t path, cn_str_t prefix)
{
    return cn_str_starts(path, prefix) && (path.n == prefix.n || path.p[prefix.n] == '/');
}

static cn_rc test_text(const cn_http_route_test_t *t, cn_str_t s)
{
    switch (t->how) {
    case CN_HTTP_ROUTE_EXACT:
        return cn_str_eq(s, t->text) ? CN_OK : CN_DECLINE;
    case CN_HTTP_ROUTE_PREFIX:
        return cn_str_starts(s, t->text) ? CN_OK : CN_DECLINE;
    case CN_HTTP_ROUTE_REGEX:
        return cn_regex_match(t->regex, s);
    case CN_HTTP_ROUTE_ANY:
        break;
    }
    return CN_OK;
}

static cn_rc test_path(const cn_http_route_test_t *t, cn_str_t path)
{
    if (t->how == CN_HTTP_ROUTE_PREFIX)
        return under(path, t->text) ? CN_OK : CN_DECLINE;
    return test_text(t, path);
}

static cn_rc test_header(const cn_http_route_field_t *f, const cn_msg_t *msg)
{
    cn_str_t line;
    uint32_t iter = 0;
    cn_rc rc = CN_DECLINE;

    while (rc == CN_DECLINE && cn_field_next(msg, f->name, &iter, &line))
        rc = test_text(&f->test, line);
    return rc;
}

static cn_rc test_query(const cn_http_route_field_t *f, const cn_msg_t *msg)
{
    cn_str_t value;

    if (!cn_uri_query_get(msg->query, f->name, &value))
        return CN_DECLINE;
    return test_text(&f->test, value);
}

static void tell(cn_http_route_miss_t *miss, const char *what, cn_str_t name, cn_str_t want,
                 cn_str_t got)
{
    if (miss)
        *miss = (cn_http_route_miss_t){what, name, want, got};
}

static cn_rc test_fields(const cn_vec_t *fields, const cn_msg_t *msg, bool query,
                         cn_http_route_miss_t *miss)
{
    const cn_http_route_field_t *f = fields->v;

    for (uint32_t i = 0; i < fields->n; i++) {
        cn_rc rc = query ? test_query(&f[i], msg) : test_header(&f[i], msg);

        if (rc != CN_OK) {
            tell(miss, query ? "query parameter" : "header", f[i].name, f[i].test.text,
                 CN_STR_NULL);
            return rc;
        }
    }
    return CN_OK;
}

cn_rc cn_http_route_match(const cn_http_route_match_t *m, const cn_msg_t *msg,
                          cn_http_route_miss_t *miss)
{
    cn_rc rc;

    if (m->method.n && !cn_str_eq(m->method, msg->method)) {
        tell(miss, "method", CN_STR_NULL, m->method, msg->method);
        return CN_DECLINE;
    }
    rc = test_path(&m->path, msg->path);
    if (rc != CN_OK) {
        tell(miss, "path", CN_STR_NULL, m->path.text.n ? m->path.text : CN_STR("/"), msg->path);
        return rc;
    }
    rc = test_fields(&m->headers, msg, false, miss);
    return rc == CN_OK ? test_fields(&m->queries, msg, true, miss) : rc;
}

cn_rc cn_http_route_try(const cn_http_route_t *r, const cn_msg_t *msg, uint32_t *which,
                        cn_http_route_miss_t *miss)
{
    const cn_http_route_match_t *m = r->matches.v;

    *which = 0;
    if (r->matches.n == 0)
        return CN_OK;
    for (; *which < r->matches.n; ++*which) {
        cn_rc rc = cn_http_route_match(&m[*which], msg, miss);

        if (rc != CN_DECLINE)
            return rc;
    }
    return CN_DECLINE;
}

cn_rc cn_http_route_find(const cn_vec_t *routes, const cn_msg_t *msg, uint32_t *route,
                         uint32_t *which)
{
    cn_http_route_t *const *v = routes->v;

    for (*route = 0; *route < routes->n; ++*route) {
        cn_rc rc = cn_http_route_try(v[*route], msg, which, NULL);

        if (rc != CN_DECLINE)
            return rc;
    }
    return CN_DECLINE;
}

const cn_http_route_backend_t *cn_http_route_share(const cn_http_route_t *r, uint32_t at)
{
    const cn_http_route_backend_t *b = r->backends.v;

    while (at >= b->weight)
        at -= b++->weight;
    return b;
}
