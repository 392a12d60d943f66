/* SPDX-License-Identifier: Apache-2.0
 *
 * The directive of the session module.
 */
#include "session_int.h"

/* RFC 6265 4.1.1: names are tokens, paths have no `;`. */
static bool is_plain(cn_str_t s, const char * not )
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= 0x20 || (signed char)s.p[i] < 0 || s.p[i] == 0x7f ||
            strchr(not, s.p[i]))
            return false;
    return s.n > 0;
}

static cn_rc set_option(cn_conf_t *cf, cn_session_conf_t *c, cn_str_t arg)
{
    cn_str_t key, value;

    if (c->cookie.n && cn_str_eq(arg, CN_STR("permanent"))) {
        c->permanent = true;
        return CN_OK;
    }
    if (!cn_conf_keyval(arg, &key, &value))
        key = CN_STR_NULL;
    if (cn_str_eq(key, CN_STR("ttl")) && cn_conf_parse_ms(value, &c->ttl_ms) == CN_OK)
        return CN_OK;
    if (cn_str_eq(key, CN_STR("idle")) && cn_conf_parse_ms(value, &c->idle_ms) == CN_OK)
        return CN_OK;
    if (c->cookie.n && cn_str_eq(key, CN_STR("path")) && is_plain(value, ";")) {
        c->path = value;
        return CN_OK;
    }
    return cn_conf_error(cf, "\"%.*s\": expected ttl=TIME, idle=TIME%s", CN_STR_ARG(arg),
                         c->cookie.n ? ", path=PATH or permanent" : "");
}

static cn_rc set_name(cn_conf_t *cf, cn_session_conf_t *c, const cn_str_t *argv)
{
    bool cookie = cn_str_eq(argv[1], CN_STR("cookie"));
    const char *refused = cn_edit_refused(argv[2]);

    if (!cookie && !cn_str_eq(argv[1], CN_STR("header")))
        return cn_conf_error(cf, "\"%.*s\": expected cookie NAME, header NAME or off",
                             CN_STR_ARG(argv[1]));
    if (cookie && is_plain(argv[2], "()<>@,;:\\\"/[]?={}")) {
        c->cookie = argv[2];
        return CN_OK;
    }
    if (cookie || refused)
        return cn_conf_error(cf, "\"%.*s\" cannot carry a session: %s", CN_STR_ARG(argv[2]),
                             cookie ? "not a cookie's name" : refused);
    c->header = cn_pool_lower(cn_conf_pool(cf), argv[2]);
    return CN_OK;
}

static cn_rc set_session(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                         const cn_str_t *argv, unsigned argc)
{
    cn_session_conf_t *c = conf;

    *c = (cn_session_conf_t){0};
    if (argc == 2 && cn_str_eq(argv[1], CN_STR("off")))
        return CN_OK;
    if (argc == 2)
        return cn_conf_error(cf, "expected cookie NAME, header NAME or off");
    if (set_name(cf, c, argv) != CN_OK)
        return CN_ERR;
    for (unsigned i = 3; i < argc; i++)
        if (set_option(cf, c, argv[i]) != CN_OK)
            return CN_ERR;
    if (c->permanent && !c->ttl_ms)
        return cn_conf_error(cf, "a permanent cookie needs ttl=TIME");
    return CN_OK;
}

const cn_directive_t cn_session_directives[] = {
    {.name = "session",
     .where = CN_AT_SERVICE | CN_AT_ROUTE,
     .args = CN_ARGS(1, 7),
     .set = set_session,
     .syntax = "session cookie NAME [ttl=TIME] [idle=TIME] [path=PATH] [permanent], or "
               "session header NAME [ttl=TIME] [idle=TIME], or session off",
     .help = "Requests of one client go to the same backend and endpoint as long as those are "
             "there and fit to serve. The first response brings what the client has to send along, "
             "in a cookie or a header. A session ends with ttl after its beginning and with idle "
             "after its last request; a permanent cookie outlives the browser, up to ttl. A "
             "route's own line takes the place of its service's; off: none."},
    {.name = NULL}};
