/* SPDX-License-Identifier: Apache-2.0
 *
 * The directives of route_actions.  What is read lives in the section's pool.
 */
#include "actions_int.h"

/* ---- redirect ---- */

static cn_rc redirect_status(cn_conf_t *cf, cn_str_t value, cn_route_actions_redirect_t *r)
{
    uint64_t status;

    if (cn_str_u64(value, 308, &status) == CN_OK &&
        (status == 301 || status == 302 || status == 303 || status == 307 || status == 308)) {
        r->status = (uint32_t)status;
        return CN_OK;
    }
    return cn_conf_error(cf, "status \"%.*s\": a redirect has 301, 302, 303, 307 or 308",
                         CN_STR_ARG(value));
}

static cn_rc redirect_port(cn_conf_t *cf, cn_str_t value, cn_route_actions_redirect_t *r)
{
    uint64_t port;

    if (cn_str_eq(value, CN_STR("service"))) {
        r->port = CN_ROUTE_ACTIONS_PORT_SERVICE;
    } else if (cn_str_eq(value, CN_STR("host"))) {
        r->port = CN_ROUTE_ACTIONS_PORT_HOST;
    } else if (cn_str_u64(value, 65535, &port) == CN_OK && port > 0) {
        r->port = CN_ROUTE_ACTIONS_PORT_GIVEN;
        r->number = (uint16_t)port;
    } else {
        return cn_conf_error(cf, "port \"%.*s\": expected 1 to 65535, service or host",
                             CN_STR_ARG(value));
    }
    return CN_OK;
}

/* What goes into a header or a request line as it is. */
static cn_rc plain(cn_conf_t *cf, cn_str_t value)
{
    for (size_t i = 0; i < value.n; i++)
        if ((unsigned char)value.p[i] <= 0x20 || value.p[i] == 0x7f)
            return cn_conf_error(cf, "\"%.*s\" has blanks or control bytes", CN_STR_ARG(value));
    return CN_OK;
}

static cn_rc redirect_option(cn_conf_t *cf, cn_str_t arg, cn_route_actions_redirect_t *r)
{
    cn_str_t key, value;

    if (!cn_conf_keyval(arg, &key, &value))
        key = CN_STR_NULL;
    if (cn_str_eq(key, CN_STR("status")))
        return redirect_status(cf, value, r);
    if (cn_str_eq(key, CN_STR("port")))
        return redirect_port(cf, value, r);
    if (cn_str_eq(key, CN_STR("scheme")) && value.n)
        r->scheme = value;
    else if (cn_str_eq(key, CN_STR("host")) && value.n)
        r->host = value;
    else if (cn_str_eq(key, CN_STR("path")) && value.n)
        r->path = value;
    else if (cn_str_eq(key, CN_STR("path_prefix"))) {
        r->prefix = value;
        r->has_prefix = true;
    } else
        return cn_conf_error(cf,
                             "\"%.*s\": expected status=, scheme=, host=, port=, path= or "
                             "path_prefix=",
                             CN_STR_ARG(arg));
    return plain(cf, value);
}

static cn_rc set_redirect(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                          const cn_str_t *argv, unsigned argc)
{
    cn_route_actions_redirect_t *r = cn_pool_zalloc(cn_conf_pool(cf), sizeof(*r));

    r->status = 301;
    for (unsigned i = 1; i < argc; i++)
        if (redirect_option(cf, argv[i], r) != CN_OK)
            return CN_ERR;
    if (r->path.n && r->has_prefix)
        return cn_conf_error(cf, "path= and path_prefix= exclude each other");
    ((cn_route_actions_conf_t *)conf)->redirect = r;
    return CN_OK;
}

/* ---- rewrites ---- */

static cn_rc set_word(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                      unsigned argc CN_UNUSED)
{
    if (argv[1].n == 0)
        return cn_conf_error(cf, "\"%s\" must not be empty", d->name);
    *(cn_str_t *)(void *)((char *)conf + d->off) = argv[1];
    return plain(cf, argv[1]);
}

static cn_rc set_rewrite_prefix(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                                const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    cn_route_actions_rewrite_t *r = &((cn_route_actions_conf_t *)conf)->rewrite;

    r->prefix = argv[1];
    r->has_prefix = true;
    return plain(cf, argv[1]);
}

static cn_rc set_rewrite_regex(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                               const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    cn_route_actions_rewrite_t *r = &((cn_route_actions_conf_t *)conf)->rewrite;
    cn_str_t why;

    if (cn_regex_compile_find(cn_conf_pool(cf), argv[1], &r->regex, &why) != CN_OK)
        return cn_conf_error(cf, "regular expression \"%.*s\": %.*s", CN_STR_ARG(argv[1]),
                             CN_STR_ARG(why));
    if (cn_regex_subst_check(cn_conf_pool(cf), r->regex, argv[2], &why) != CN_OK)
        return cn_conf_error(cf, "substitution \"%.*s\": %.*s", CN_STR_ARG(argv[2]),
                             CN_STR_ARG(why));
    r->subst = argv[2];
    return plain(cf, argv[2]);
}

static cn_rc set_direct(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                        const cn_str_t *argv, unsigned argc)
{
    cn_route_actions_conf_t *c = conf;
    uint64_t status;

    if (cn_str_u64(argv[1], 599, &status) != CN_OK || status < 200)
        return cn_conf_error(cf, "\"%.*s\" is not a status from 200 to 599", CN_STR_ARG(argv[1]));
    c->direct_status = (uint32_t)status;
    c->direct_body = argc > 2 ? argv[2] : CN_STR_NULL;
    return CN_OK;
}

/* ---- mirror ---- */

static cn_rc mirror_share(cn_conf_t *cf, cn_str_t arg, cn_route_actions_mirror_t *m)
{
    cn_str_t key, value, over = CN_STR_NULL;
    uint64_t n, of;
    size_t slash;

    if (!cn_conf_keyval(arg, &key, &value))
        key = CN_STR_NULL;
    if (cn_str_eq(key, CN_STR("percent")) && cn_conf_parse_percent(value, &m->parts) == CN_OK)
        return CN_OK;
    slash = cn_str_find(value = key.n ? value : arg, '/');
    if (slash < value.n)
        over = cn_str_make(value.p + slash + 1, value.n - slash - 1);
    value.n = slash;
    if (!cn_str_eq(key, CN_STR("fraction")) || cn_str_u64(over, INT32_MAX, &of) != CN_OK ||
        of == 0 || cn_str_u64(value, of, &n) != CN_OK)
        return cn_conf_error(cf,
                             "\"%.*s\": expected percent=P (0 to 100, up to four decimals) or "
                             "fraction=N/D (N not above D)",
                             CN_STR_ARG(arg));
    m->parts = (uint32_t)n;
    m->of = (uint32_t)of;
    return CN_OK;
}

static cn_rc set_mirror(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                        const cn_str_t *argv, unsigned argc)
{
    cn_route_actions_mirror_t m = {argv[1], CN_PARTS, CN_PARTS};
    cn_route_actions_conf_t *c = conf;

    if (argv[1].n == 0)
        return cn_conf_error(cf, "\"mirror\" needs a cluster");
    if (argc > 2 && mirror_share(cf, argv[2], &m) != CN_OK)
        return CN_ERR;
    *(cn_route_actions_mirror_t *)cn_vec_push(cn_conf_pool(cf), &c->mirrors, sizeof(m)) = m;
    return CN_OK;
}

/* ---- cors ---- */

static cn_rc set_origin(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                        const cn_str_t *argv, unsigned argc)
{
    static const cn_enum_t hows[] = {{"any", CN_ROUTE_ACTIONS_ORIGIN_ANY},
                                     {"exact", CN_ROUTE_ACTIONS_ORIGIN_EXACT},
                                     {"prefix", CN_ROUTE_ACTIONS_ORIGIN_PREFIX},
                                     {"regex", CN_ROUTE_ACTIONS_ORIGIN_REGEX},
                                     {NULL, 0}};
    cn_route_actions_cors_t *c = conf;
    cn_route_actions_origin_t *o = cn_vec_push(cn_conf_pool(cf), &c->origins, sizeof(*o));
    const cn_enum_t *how = hows;
    cn_str_t why;

    while (how->word && !cn_str_eq(argv[1], cn_str_c(how->word)))
        how++;
    if (!how->word || (argc == 2) != (how->value == CN_ROUTE_ACTIONS_ORIGIN_ANY))
        return cn_conf_error(cf, "\"%.*s\": expected exact, prefix or regex and an origin, or any",
                             CN_STR_ARG(argv[1]));
    o->how = (cn_route_actions_origin_how)how->value;
    o->text = argc > 2 ? argv[2] : CN_STR_NULL;
    if (o->how != CN_ROUTE_ACTIONS_ORIGIN_REGEX ||
        cn_regex_compile(cn_conf_pool(cf), o->text, &o->regex, &why) == CN_OK)
        return CN_OK;
    return cn_conf_error(cf, "regular expression \"%.*s\": %.*s", CN_STR_ARG(o->text),
                         CN_STR_ARG(why));
}

static cn_rc set_max_age(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                         const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    uint64_t seconds;

    if (cn_str_u64(argv[1], INT32_MAX, &seconds) != CN_OK)
        return cn_conf_error(cf, "\"%.*s\" is not a number of seconds", CN_STR_ARG(argv[1]));
    ((cn_route_actions_cors_t *)conf)->max_age = argv[1];
    return CN_OK;
}

static const cn_enum_t unmatched[] = {{"answer", 0}, {"forward", 1}, {NULL, 0}};

#define C(member) offsetof(cn_route_actions_cors_t, member)

static const cn_directive_t cors_directives[] = {
    {.name = "allow_origin",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(1, 2),
     .set = set_origin,
     .syntax = "allow_origin exact | prefix | regex ORIGIN, or allow_origin any",
     .help = "Origins that may ask, as https://shop.example:8443. What is allowed is answered with "
             "the request's own origin, never with a star."},
    {.name = "allow_methods",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(1, CN_ARGS_ANY),
     .set = cn_set_strs,
     .off = C(methods),
     .syntax = "allow_methods METHOD...",
     .help = "Access-Control-Allow-Methods of answered preflights. A single * stands for any: the "
             "method that was asked for is named in its place."},
    {.name = "allow_headers",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(1, CN_ARGS_ANY),
     .set = cn_set_strs,
     .off = C(headers),
     .syntax = "allow_headers NAME...",
     .help = "Access-Control-Allow-Headers of answered preflights. A single * stands for any: the "
             "headers that were asked for are named in its place."},
    {.name = "expose_headers",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(1, CN_ARGS_ANY),
     .set = cn_set_strs,
     .off = C(expose),
     .syntax = "expose_headers NAME...",
     .help = "Access-Control-Expose-Headers of responses."},
    {.name = "max_age",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = set_max_age,
     .syntax = "max_age SECONDS",
     .help = "Access-Control-Max-Age of answered preflights."},
    {.name = "allow_credentials",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_flag,
     .off = C(credentials),
     .syntax = "allow_credentials on | off",
     .help = "Access-Control-Allow-Credentials.",
     .deflt = "off"},
    {.name = "unmatched_preflight",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_enum,
     .off = C(unmatched),
     .arg = unmatched,
     .syntax = "unmatched_preflight answer | forward",
     .help = "A preflight of an origin that is not allowed is answered here without "
             "Access-Control-Allow-Origin, or goes to the backend.",
     .deflt = "answer"},
    {.name = NULL}};

static cn_str_t join(cn_pool_t *pool, const cn_vec_t *list)
{
    const cn_str_t *v = list->v;
    cn_str_t all = CN_STR_NULL;

    for (uint32_t i = 0; i < list->n; i++)
        all = cn_pool_printf(pool, "%.*s%s%.*s", CN_STR_ARG(all), i ? "," : "", CN_STR_ARG(v[i]));
    return all;
}

static cn_rc check_words(cn_conf_t *cf, const cn_vec_t *list)
{
    const cn_str_t *v = list->v;
    cn_rc rc = CN_OK;

    for (uint32_t i = 0; i < list->n && rc == CN_OK; i++)
        rc = plain(cf, v[i]);
    return rc;
}

static cn_rc set_cors(cn_conf_t *cf, const cn_directive_t *d, void *conf,
                      const cn_str_t *argv CN_UNUSED, unsigned argc CN_UNUSED)
{
    cn_route_actions_cors_t *c = cn_pool_zalloc(cn_conf_pool(cf), sizeof(*c));

    ((cn_route_actions_conf_t *)conf)->cors = c;
    if (cn_conf_block(cf, d->arg, c) != CN_OK || check_words(cf, &c->methods) != CN_OK ||
        check_words(cf, &c->headers) != CN_OK || check_words(cf, &c->expose) != CN_OK)
        return CN_ERR;
    c->methods_list = join(cn_conf_pool(cf), &c->methods);
    c->headers_list = join(cn_conf_pool(cf), &c->headers);
    c->expose_list = join(cn_conf_pool(cf), &c->expose);
    return CN_OK;
}

/* ---- levels ---- */

cn_rc cn_route_actions_check_route(cn_conf_t *cf, const void *conf)
{
    const cn_route_actions_conf_t *c = conf;
    const cn_route_actions_rewrite_t *r = &c->rewrite;

    if (c->redirect && c->direct_status)
        return cn_conf_error(cf, "\"redirect\" and \"direct_response\" exclude each other");
    if ((r->path.n > 0) + r->has_prefix + (r->regex != NULL) > 1)
        return cn_conf_error(
            cf, "\"rewrite_path\", \"rewrite_prefix\" and \"rewrite_regex\" exclude each other");
    if (r->path.n && r->path.p[0] != '/')
        return cn_conf_error(cf, "rewrite_path \"%.*s\" does not begin with /",
                             CN_STR_ARG(r->path));
    return CN_OK;
}

#define F(member) offsetof(cn_route_actions_conf_t, member)

const cn_directive_t cn_route_actions_directives[] = {
    {.name = "request_header",
     .where = CN_AT_SERVICE | CN_AT_ROUTE | CN_D_REPEAT,
     .args = CN_ARGS(2, 3),
     .set = cn_edit_set_request,
     .off = F(request),
     .syntax = "request_header set | add NAME VALUE, or request_header remove NAME",
     .help = "Edits the header of requests before they go to the backend: what is removed first, "
             "then what is set or added, in order. To set host is to rewrite the host. A route's "
             "own lines take the place of its service's."},
    {.name = "response_header",
     .where = CN_AT_SERVICE | CN_AT_ROUTE | CN_D_REPEAT,
     .args = CN_ARGS(2, 3),
     .set = cn_edit_set_response,
     .off = F(response),
     .syntax = "response_header set | add NAME VALUE, or response_header remove NAME",
     .help = "Edits the header of responses: those of the backend, and those that the waypoint "
             "itself gives to requests of this route, denials too, but not answers to preflights. "
             "A route's own lines take the place of its service's."},
    {.name = "cors",
     .where = CN_AT_SERVICE | CN_AT_ROUTE | CN_D_BLOCK | CN_D_TABLE,
     .args = CN_ARGS(0, 0),
     .set = set_cors,
     .arg = cors_directives,
     .syntax = "cors { ... }",
     .help = "Cross-origin requests of browsers: preflights are answered here, other responses are "
             "marked. A route's block takes the place of its service's."},
    {.name = "redirect",
     .where = CN_AT_ROUTE,
     .args = CN_ARGS(0, 5),
     .set = set_redirect,
     .syntax = "redirect [status=N] [scheme=S] [host=H] [port=N | port=service | port=host] "
               "[path=P | path_prefix=P]",
     .help = "Answers with a redirect. What is not given is the request's own; its query is kept. "
             "Without port: the port that belongs to a given scheme, else the one that the "
             "client's connection is for; port=host: the one that the request's host names. "
             "80 of http and 443 of https are left out. path_prefix takes the place of what "
             "the route's path condition names.",
     .deflt = "status=301"},
    {.name = "direct_response",
     .where = CN_AT_ROUTE,
     .args = CN_ARGS(1, 2),
     .set = set_direct,
     .syntax = "direct_response STATUS [BODY]",
     .help = "Answers with this status and body instead of a backend."},
    {.name = "rewrite_host",
     .where = CN_AT_ROUTE,
     .args = CN_ARGS(1, 1),
     .set = set_word,
     .off = F(rewrite.host),
     .syntax = "rewrite_host HOST",
     .help = "The host that requests to the backend name; x-envoy-original-host has the old one."},
    {.name = "rewrite_path",
     .where = CN_AT_ROUTE,
     .args = CN_ARGS(1, 1),
     .set = set_word,
     .off = F(rewrite.path),
     .syntax = "rewrite_path PATH",
     .help = "Takes the place of the whole path; the query is kept. x-envoy-original-path has the "
             "old one."},
    {.name = "rewrite_prefix",
     .where = CN_AT_ROUTE,
     .args = CN_ARGS(1, 1),
     .set = set_rewrite_prefix,
     .syntax = "rewrite_prefix PREFIX",
     .help = "Takes the place of what the route's path condition names: of a prefix, or of the "
             "whole path where the condition is an exact one or a regular expression. Behind a "
             "prefix of whole segments exactly one / stands at the joint. The query is kept."},
    {.name = "rewrite_regex",
     .where = CN_AT_ROUTE,
     .args = CN_ARGS(2, 2),
     .set = set_rewrite_regex,
     .syntax = "rewrite_regex PATTERN SUBSTITUTION",
     .help = "Replaces every match of a regular expression (RE2 syntax) in the path; \\1 to "
             "\\9 in the substitution stand for its groups, \\0 for the match. The query is "
             "kept."},
    {.name = "mirror",
     .where = CN_AT_ROUTE | CN_D_REPEAT,
     .args = CN_ARGS(1, 2),
     .set = set_mirror,
     .syntax = "mirror CLUSTER [percent=P | fraction=N/D]",
     .help = "Sends a copy of requests to another cluster, whose answers are dropped. Of several "
             "mirrors each draws for itself; percent has up to four decimals.",
     .deflt = "percent=100"},
    {.name = NULL}};
