/* SPDX-License-Identifier: Apache-2.0
 *
 * Matching requests against match blocks.  Pure: no allocation, nothing is
 * written.
 *
 * Measured with Envoy (facts/verified 5): header lines are compared one by one;
 * a query parameter is its first occurrence, never decoded; a path is without
 * its query.
 */
#include "route_int.h"

/* "/foo" is stored for "/foo" and "/foo/": matches "/foo" and "/foo/...". */
static bool at_segment(cn_str_t path, size_t n)
{
    return path.n == n || path.p[n] == '/';
}

static bool starts(const cn_http_route_test_t *t, cn_str_t s)
{
    return t->ignore_case ? cn_str_istarts(s, t->text) : cn_str_starts(s, t->text);
}

static cn_rc holds(bool yes)
{
    return yes ? CN_OK : CN_DECLINE;
}

static cn_rc test_text(const cn_http_route_test_t *t, cn_str_t s)
{
    switch (t->how) {
    case CN_HTTP_ROUTE_EXACT:
        return holds(t->ignore_case ? cn_str_ieq(s, t->text) : cn_str_eq(s, t->text));
    case CN_HTTP_ROUTE_PREFIX:
        return holds(starts(t, s));
    case CN_HTTP_ROUTE_SUFFIX:
        return holds(cn_str_ends(s, t->text));
    case CN_HTTP_ROUTE_SEGMENTS:
        return holds(starts(t, s) && at_segment(s, t->text.n));
    case CN_HTTP_ROUTE_REGEX:
        return cn_regex_match(t->regex, s);
    case CN_HTTP_ROUTE_ANY:
        break;
    }
    return CN_OK;
}

/* ---- fields: any one line may pass the test ---- */

static cn_rc test_header(const cn_http_route_field_t *f, const cn_http_route_subject_t *s)
{
    cn_str_t line;
    uint32_t iter = 0;
    cn_rc rc = CN_DECLINE;

    while (rc == CN_DECLINE && cn_field_next(s->msg, f->name, &iter, &line))
        rc = test_text(&f->test, line);
    return rc;
}

static cn_rc test_query(const cn_http_route_field_t *f, const cn_http_route_subject_t *s)
{
    cn_str_t value;

    if (!cn_uri_query_get(s->msg->query, f->name, &value))
        return CN_DECLINE;
    return test_text(&f->test, value);
}

static cn_rc test_claim(const cn_http_route_field_t *f, const cn_http_route_subject_t *s)
{
    cn_str_t value;
    uint32_t iter = 0;
    cn_rc rc = CN_DECLINE;

    while (rc == CN_DECLINE && cn_req_claim_next(s->req, f->name, &iter, &value))
        rc = test_text(&f->test, value);
    return rc;
}

typedef cn_rc test_field_fn(const cn_http_route_field_t *, const cn_http_route_subject_t *);

static cn_rc test_fields(const cn_vec_t *fields, const cn_http_route_subject_t *s,
                         test_field_fn *test, const char *what, cn_http_route_miss_t *miss)
{
    const cn_http_route_field_t *f = fields->v;

    for (uint32_t i = 0; i < fields->n; i++) {
        cn_rc rc = test(&f[i], s);

        if (f[i].negate && rc != CN_ERR)
            rc = holds(rc == CN_DECLINE);
        if (rc == CN_OK)
            continue;
        if (miss)
            *miss = (cn_http_route_miss_t){
                .what = what, .name = f[i].name, .test = &f[i].test, .negate = f[i].negate};
        return rc;
    }
    return CN_OK;
}

/* ---- the request line ---- */

static cn_rc test_part(const cn_http_route_test_t *t, cn_str_t got, const char *what,
                       cn_http_route_miss_t *miss)
{
    cn_rc rc = test_text(t, got);

    if (rc != CN_OK && miss)
        *miss = (cn_http_route_miss_t){.what = what, .test = t, .got = got};
    return rc;
}

static cn_rc test_port(uint32_t want, uint16_t got, cn_http_route_miss_t *miss)
{
    if (want == 0 || want == got)
        return CN_OK;
    if (miss)
        *miss = (cn_http_route_miss_t){.what = "port", .want_port = want, .got_port = got};
    return CN_DECLINE;
}

/* Parts that few blocks name. */
static cn_rc test_rest(const cn_http_route_match_t *m, const cn_http_route_subject_t *s,
                       cn_http_route_miss_t *miss)
{
    cn_rc rc = test_port(m->port, s->port, miss);

    if (rc == CN_OK)
        rc = test_part(&m->authority, s->msg->authority, "authority", miss);
    if (rc == CN_OK)
        rc = test_part(&m->scheme, s->msg->scheme, "scheme", miss);
    return rc;
}

cn_rc cn_http_route_match(const cn_http_route_match_t *m, const cn_http_route_subject_t *s,
                          cn_http_route_miss_t *miss)
{
    cn_rc rc = test_part(&m->method, s->msg->method, "method", miss);

    if (rc == CN_OK)
        rc = test_part(&m->path, s->msg->path, "path", miss);
    if (rc == CN_OK)
        rc = test_rest(m, s, miss);
    if (rc == CN_OK)
        rc = test_fields(&m->headers, s, test_header, "header", miss);
    if (rc == CN_OK)
        rc = test_fields(&m->queries, s, test_query, "query parameter", miss);
    if (rc == CN_OK)
        rc = test_fields(&m->claims, s, test_claim, "claim", miss);
    return rc;
}

size_t cn_http_route_matched(const cn_http_route_match_t *m, cn_str_t path, bool *segments)
{
    cn_http_route_how how = m ? m->path.how : CN_HTTP_ROUTE_ANY;

    *segments = how == CN_HTTP_ROUTE_ANY || how == CN_HTTP_ROUTE_SEGMENTS;
    if (how == CN_HTTP_ROUTE_EXACT || how == CN_HTTP_ROUTE_REGEX)
        return path.n;
    return m ? m->path.text.n : 0;
}

uint32_t cn_http_route_share(const cn_http_route_t *r, uint32_t at)
{
    const cn_http_route_backend_t *b = r->backends.v;
    uint32_t i = 0;

    while (at >= b[i].weight)
        at -= b[i++].weight;
    return i;
}
