/* SPDX-License-Identifier: Apache-2.0
 *
 * /explain: the account of a made-up request by the configuration in force and
 * the state that this worker is in.
 */
#include <stdlib.h>

#include "main/admin.h"
#include "main/explain.h"

static int hex_of(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, c | 0x20) : NULL;

    return at && c != '@' ? (int)(at - digits) : -1;
}

/* As of a form: %XX and '+'. */
static cn_str_t decoded(cn_pool_t *pool, cn_str_t s)
{
    char *out = cn_pool_bytes(pool, s.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        bool coded =
            s.p[i] == '%' && i + 2 < s.n && hex_of(s.p[i + 1]) >= 0 && hex_of(s.p[i + 2]) >= 0;

        if (coded)
            out[n++] = (char)(hex_of(s.p[i + 1]) * 16 + hex_of(s.p[i + 2]));
        else
            out[n++] = (char)(s.p[i] == '+' ? ' ' : s.p[i]);
        i += coded ? 2 : 0;
    }
    return cn_str_make(out, n);
}

/* What has a control character is no question: it would break the account's lines. */
static bool is_plain(cn_str_t s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    return true;
}

static cn_rc take(cn_explain_ask_t *a, cn_str_t name, cn_str_t value)
{
    static const char *const names[] = {
        [CN_EXPLAIN_FROM] = "from",     [CN_EXPLAIN_IP] = "ip",     [CN_EXPLAIN_TO] = "to",
        [CN_EXPLAIN_METHOD] = "method", [CN_EXPLAIN_PATH] = "path", [CN_EXPLAIN_HEADER] = "header"};

    for (size_t i = 0; i < CN_COUNT(names); i++)
        if (cn_str_eq(name, cn_str_c(names[i])) && is_plain(value))
            return cn_explain_set(a, (int)i, value);
    a->why = cn_pool_printf(a->pool, "unknown argument, or control characters in it: %.*s",
                            is_plain(name) ? (int)name.n : 1, is_plain(name) ? name.p : "?");
    return CN_ERR;
}

static cn_rc read_question(cn_explain_ask_t *a, cn_str_t query)
{
    cn_str_t part;

    while (cn_str_split(&query, '&', &part)) {
        size_t eq = cn_str_find(part, '=');
        cn_str_t value = eq < part.n ? cn_str_make(part.p + eq + 1, part.n - eq - 1) : CN_STR_NULL;

        if (part.n && take(a, cn_str_make(part.p, eq), decoded(a->pool, value)) != CN_OK)
            return CN_ERR;
    }
    if ((a->method.n == 0) != (a->target.n == 0))
        a->why = CN_STR("method and path belong together");
    return a->to.n && a->why.n == 0 ? CN_OK : CN_ERR;
}

void cn_admin_explain(cn_admin_server_t *s, cn_admin_req_t *r)
{
    cn_explain_ask_t a = {.pool = r->pool};
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    int status = CN_EXPLAIN_USAGE;

    CN_BUG_ON(!f);
    if (read_question(&a, r->query) == CN_OK)
        status = cn_explain_answer(cn_admin_worker(s), &a, f);
    (void)fclose(f);
    if (status == CN_EXPLAIN_USAGE) {
        r->status = 400;
        cn_admin_printf(r,
                        "%.*s%suse ?to=HOST_OR_IP:PORT[&from=spiffe://TD/ns/NS/sa/SA][&ip=ADDRESS]"
                        "[&method=METHOD&path=PATH][&header=NAME:+VALUE]...\n",
                        CN_STR_ARG(a.why), a.why.n ? "; " : "");
    } else {
        cn_admin_printf(r, "%.*s", (int)n, text);
    }
    free(text);
}
