/* SPDX-License-Identifier: Apache-2.0
 *
 * The directives of a match block.
 */
#include "route_int.h"

typedef struct {
    const char *word;
    cn_http_route_how how;
} how_t;

/* The kinds that a directive takes, ending with NULL, and how they are told. */
typedef struct {
    const how_t *hows;
    const char *expected;
} kinds_t;

static const kinds_t path_kinds = {(const how_t[]){{"exact", CN_HTTP_ROUTE_EXACT},
                                                   {"prefix", CN_HTTP_ROUTE_SEGMENTS},
                                                   {"text_prefix", CN_HTTP_ROUTE_PREFIX},
                                                   {"regex", CN_HTTP_ROUTE_REGEX},
                                                   {NULL, 0}},
                                   "exact, prefix, text_prefix or regex, and a path"};
static const kinds_t header_kinds = {(const how_t[]){{"exact", CN_HTTP_ROUTE_EXACT},
                                                     {"prefix", CN_HTTP_ROUTE_PREFIX},
                                                     {"suffix", CN_HTTP_ROUTE_SUFFIX},
                                                     {"regex", CN_HTTP_ROUTE_REGEX},
                                                     {"present", CN_HTTP_ROUTE_ANY},
                                                     {NULL, 0}},
                                     "exact, prefix, suffix or regex and a value, or present"};
static const kinds_t value_kinds = {(const how_t[]){{"exact", CN_HTTP_ROUTE_EXACT},
                                                    {"prefix", CN_HTTP_ROUTE_PREFIX},
                                                    {"regex", CN_HTTP_ROUTE_REGEX},
                                                    {"present", CN_HTTP_ROUTE_ANY},
                                                    {NULL, 0}},
                                    "exact, prefix or regex and a value, or present"};
static const kinds_t text_kinds = {(const how_t[]){{"exact", CN_HTTP_ROUTE_EXACT},
                                                   {"prefix", CN_HTTP_ROUTE_PREFIX},
                                                   {"regex", CN_HTTP_ROUTE_REGEX},
                                                   {NULL, 0}},
                                   "exact, prefix or regex, and a text"};

static cn_rc set_regex(cn_conf_t *cf, cn_http_route_test_t *t)
{
    cn_str_t why;

    if (cn_regex_compile(cn_conf_pool(cf), t->text, &t->regex, &why) != CN_OK)
        return cn_conf_error(cf, "regular expression \"%.*s\": %.*s", CN_STR_ARG(t->text),
                             CN_STR_ARG(why));
    return CN_OK;
}

/* "HOW TEXT" or "present". */
static cn_rc parse_test(cn_conf_t *cf, cn_http_route_test_t *t, const cn_str_t *argv, unsigned argc,
                        const kinds_t *kinds)
{
    for (const how_t *h = kinds->hows; h->word; h++) {
        if (!cn_str_eq(argv[0], cn_str_c(h->word)))
            continue;
        if ((h->how == CN_HTTP_ROUTE_ANY) != (argc == 1))
            break;
        t->how = h->how;
        t->text = argc > 1 ? argv[1] : CN_STR_NULL;
        return t->how == CN_HTTP_ROUTE_REGEX ? set_regex(cf, t) : CN_OK;
    }
    return cn_conf_error(cf, "\"%.*s\": expected %s", CN_STR_ARG(argv[0]), kinds->expected);
}

static cn_rc set_path(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                      const cn_str_t *argv, unsigned argc)
{
    cn_http_route_match_t *m = conf;

    if (parse_test(cf, &m->path, argv + 1, argc - 1, &path_kinds) != CN_OK)
        return CN_ERR;
    if (m->path.how == CN_HTTP_ROUTE_REGEX)
        return CN_OK;
    if (m->path.text.n == 0 || m->path.text.p[0] != '/')
        return cn_conf_error(cf, "path \"%.*s\" does not begin with /", CN_STR_ARG(m->path.text));
    if (m->path.how == CN_HTTP_ROUTE_SEGMENTS && m->path.text.p[m->path.text.n - 1] == '/')
        m->path.text.n--;
    return CN_OK;
}

static cn_rc set_method(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                        const cn_str_t *argv, unsigned argc)
{
    cn_http_route_match_t *m = conf;

    if (argc > 2)
        return parse_test(cf, &m->method, argv + 1, argc - 1, &text_kinds);
    m->method.how = CN_HTTP_ROUTE_EXACT;
    m->method.text = argv[1];
    return CN_OK;
}

static cn_rc set_part(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                      unsigned argc)
{
    cn_http_route_test_t *t = (cn_http_route_test_t *)(void *)((char *)conf + d->off);

    return parse_test(cf, t, argv + 1, argc - 1, &text_kinds);
}

static cn_http_route_field_t *add_field(cn_conf_t *cf, cn_vec_t *fields, cn_str_t name)
{
    cn_http_route_field_t *f = cn_vec_push(cn_conf_pool(cf), fields, sizeof(*f));

    f->name = name;
    return f;
}

static cn_rc add_header(cn_conf_t *cf, cn_http_route_match_t *m, const cn_str_t *argv,
                        unsigned argc, bool negate)
{
    cn_http_route_field_t *f;

    if (argv[1].n == 0)
        return cn_conf_error(cf, "a header needs a name");
    f = add_field(cf, &m->headers, cn_pool_lower(cn_conf_pool(cf), argv[1]));
    f->negate = negate;
    return parse_test(cf, &f->test, argv + 2, argc - 2, &header_kinds);
}

static cn_rc set_header(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                        const cn_str_t *argv, unsigned argc)
{
    return add_header(cf, conf, argv, argc, false);
}

static cn_rc set_not_header(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                            const cn_str_t *argv, unsigned argc)
{
    return add_header(cf, conf, argv, argc, true);
}

static cn_rc set_value(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                       unsigned argc)
{
    cn_vec_t *fields = (cn_vec_t *)(void *)((char *)conf + d->off);
    cn_http_route_field_t *f = add_field(cf, fields, argv[1]);

    if (argv[1].n == 0)
        return cn_conf_error(cf, "\"%s\" needs a name", d->name);
    return parse_test(cf, &f->test, argv + 2, argc - 2, &value_kinds);
}

static const cn_range_t ports = {1, 65535};

#define F(member) offsetof(cn_http_route_match_t, member)

const cn_directive_t cn_http_route_match_directives[] = {
    {.name = "path",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(2, 2),
     .set = set_path,
     .syntax = "path exact | prefix | text_prefix | regex PATH",
     .help = "The normalised path without its query. A prefix is one of whole segments: /foo "
             "matches /foo and /foo/bar but not /foobar; a text_prefix is plain text and matches "
             "/foobar, too. A regular expression (RE2 syntax) must match the whole path."},
    {.name = "ignore_case",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_flag,
     .off = F(ignore_case),
     .syntax = "ignore_case on | off",
     .help = "Compare the path of this block without regard to upper and lower case. Not for "
             "regular expressions, which have (?i).",
     .deflt = "off"},
    {.name = "method",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 2),
     .set = set_method,
     .syntax = "method NAME, or method exact | prefix | regex TEXT",
     .help = "The request's method, as it is written."},
    {.name = "header",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(2, 3),
     .set = set_header,
     .syntax = "header NAME exact | prefix | suffix | regex VALUE, or header NAME present",
     .help = "A header of the request, any one line of it. The host is also called :authority."},
    {.name = "not_header",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(2, 3),
     .set = set_not_header,
     .syntax = "not_header NAME exact | prefix | suffix | regex VALUE, or not_header NAME present",
     .help = "No line of this header is so; a request without the header fulfils that."},
    {.name = "query",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(2, 3),
     .set = set_value,
     .off = F(queries),
     .syntax = "query NAME exact | prefix | regex VALUE, or query NAME present",
     .help = "A query parameter, the first of that name, as it was sent: nothing is decoded."},
    {.name = "authority",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(2, 2),
     .set = set_part,
     .off = F(authority),
     .syntax = "authority exact | prefix | regex HOST",
     .help = "The host that the request names, with its port if it has one, case-sensitive."},
    {.name = "scheme",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(2, 2),
     .set = set_part,
     .off = F(scheme),
     .syntax = "scheme exact | prefix | regex SCHEME",
     .help = "The request's scheme, http or https."},
    {.name = "port",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_u32,
     .off = F(port),
     .arg = &ports,
     .syntax = "port NUMBER",
     .help = "The port that the client's connection is for, as the service calls it."},
    {.name = "claim",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(2, 3),
     .set = set_value,
     .off = F(claims),
     .syntax = "claim PATH exact | prefix | regex VALUE, or claim PATH present",
     .help = "A claim of the request's verified token; dots in PATH lead into nested ones, and of "
             "a list any member counts. Matches nothing while no module verifies tokens."},
    {.name = "client_namespace",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(1, CN_ARGS_ANY),
     .set = cn_set_strs,
     .off = F(namespaces),
     .syntax = "client_namespace NAMESPACE...",
     .help = "Makes the block one for clients in these namespaces (consumer routes). Clients of a "
             "namespace that any block of the service names are routed by those blocks alone, all "
             "others by the blocks that name none."},
    {.name = NULL}};

cn_rc cn_http_route_match_done(cn_conf_t *cf, cn_http_route_match_t *m)
{
    if (!m->ignore_case)
        return CN_OK;
    if (m->path.how == CN_HTTP_ROUTE_REGEX)
        return cn_conf_error(cf, "\"ignore_case\" is not for regular expressions: write (?i)");
    m->path.text = cn_pool_lower(cn_conf_pool(cf), m->path.text);
    m->path.ignore_case = true;
    return CN_OK;
}
