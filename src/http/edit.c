/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading and doing header edits.  Names are checked when they are read, so
 * that no edit can change how a message is framed, or forge what only the
 * proxy may say.
 */
#include "http/edit.h"

/* RFC 9110 5.6.2 */
static bool is_token(cn_str_t s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');

        if (!alnum && (c == 0 || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return s.n > 0;
}

bool cn_edit_value_ok(cn_str_t value)
{
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

const char *cn_edit_refused(cn_str_t name)
{
    static const char *const framing[] = {"connection",        "content-length",   "http2-settings",
                                          "keep-alive",        "proxy-connection", "te",
                                          "transfer-encoding", "upgrade"};

    if (name.n && name.p[0] == ':')
        return "names that begin with : are not headers";
    if (!is_token(name))
        return "not a header's name";
    for (size_t i = 0; i < CN_COUNT(framing); i++)
        if (cn_str_ieq(name, cn_str_c(framing[i])))
            return "it describes the connection or the framing, which is the proxy's own";
    return NULL;
}

static bool is_host(cn_str_t name)
{
    return cn_str_ieq(name, CN_STR("host")) || cn_str_ieq(name, CN_STR(":authority"));
}

static cn_rc put(cn_conf_t *cf, cn_edits_t *e, cn_str_t name, cn_str_t value, bool add)
{
    cn_edit_put_t *p;

    value = cn_str_trim(value);
    if (!cn_edit_value_ok(value))
        return cn_conf_error(cf, "the value of header %.*s has control bytes", CN_STR_ARG(name));
    p = cn_vec_push(cn_conf_pool(cf), &e->puts, sizeof(*p));
    *p = (cn_edit_put_t){cn_pool_lower(cn_conf_pool(cf), name), value, add};
    return CN_OK;
}

static cn_rc set_host(cn_conf_t *cf, cn_edits_t *e, const cn_str_t *argv, bool remove)
{
    if (remove)
        return cn_conf_error(cf, "a request without %.*s is none: it cannot be removed",
                             CN_STR_ARG(argv[2]));
    e->host = cn_str_trim(argv[3]);
    if (e->host.n == 0 || !cn_edit_value_ok(e->host) || cn_str_find(e->host, ' ') < e->host.n)
        return cn_conf_error(cf, "\"%.*s\" is not a host", CN_STR_ARG(argv[3]));
    return CN_OK;
}

static cn_rc set(cn_conf_t *cf, cn_edits_t *e, const cn_str_t *argv, unsigned argc, bool request)
{
    bool add = cn_str_eq(argv[1], CN_STR("add")), remove = cn_str_eq(argv[1], CN_STR("remove"));
    const char *refused;

    if (cn_conf_first(cf))
        *e = (cn_edits_t){0};
    if (!add && !remove && !cn_str_eq(argv[1], CN_STR("set")))
        return cn_conf_error(cf, "\"%.*s\": expected set, add or remove", CN_STR_ARG(argv[1]));
    if (argc != (remove ? 3 : 4))
        return cn_conf_error(cf, remove ? "remove takes the name of a header and no value"
                                        : "set and add take the name of a header and a value");
    if (request && is_host(argv[2]))
        return set_host(cf, e, argv, remove);
    refused = cn_edit_refused(argv[2]);
    if (refused)
        return cn_conf_error(cf, "header \"%.*s\" cannot be edited: %s", CN_STR_ARG(argv[2]),
                             refused);
    if (!remove)
        return put(cf, e, argv[2], argv[3], add);
    *(cn_str_t *)cn_vec_push(cn_conf_pool(cf), &e->removes, sizeof(cn_str_t)) =
        cn_pool_lower(cn_conf_pool(cf), argv[2]);
    return CN_OK;
}

cn_rc cn_edit_set_request(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                          unsigned argc)
{
    return set(cf, (cn_edits_t *)(void *)((char *)conf + d->off), argv, argc, true);
}

cn_rc cn_edit_set_response(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                           unsigned argc)
{
    return set(cf, (cn_edits_t *)(void *)((char *)conf + d->off), argv, argc, false);
}

void cn_edits_apply(const cn_edits_t *e, cn_msg_t *msg, cn_headers_t *headers)
{
    const cn_str_t *removes = e->removes.v;
    const cn_edit_put_t *puts = e->puts.v;

    for (uint32_t i = 0; i < e->removes.n; i++)
        (void)cn_msg_remove(headers, removes[i]);
    for (uint32_t i = 0; i < e->puts.n; i++) {
        if (puts[i].add)
            cn_msg_add(msg, headers, puts[i].name, puts[i].value);
        else
            cn_msg_set(msg, headers, puts[i].name, puts[i].value);
    }
}
