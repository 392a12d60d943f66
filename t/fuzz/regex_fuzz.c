/* SPDX-License-Identifier: Apache-2.0
 *
 * Regular expressions and subjects: the expression is the first line.  What is
 * accepted must stay accepted, and say the same, inside a group and as both
 * sides of an alternative.
 */
#include "http/regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static cn_rc run(cn_pool_t *pool, cn_str_t pattern, cn_str_t subject)
{
    cn_regex_t *re;
    cn_str_t why = CN_STR_NULL;

    if (cn_regex_compile(pool, pattern, &re, &why) != CN_OK) {
        CN_BUG_ON(why.n == 0);
        return CN_AGAIN;
    }
    return cn_regex_match(re, subject);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cn_str_t all = cn_str_make(size ? (const char *)data : "", size);
    cn_str_t pattern = cn_str_make(all.p, cn_str_find(all, '\n'));
    cn_str_t subject = CN_STR_NULL;
    cn_pool_t *pool;
    cn_rc rc, grouped;

    if (pattern.n < all.n)
        subject = cn_str_make(all.p + pattern.n + 1, all.n - pattern.n - 1);
    if (pattern.n > 256 || subject.n > 1024)
        return 0;
    pool = cn_pool_create(0);
    rc = run(pool, pattern, subject);
    CN_BUG_ON(rc == CN_DONE);
    /* a quotation may run to the end of the expression: it would swallow the ')' */
    if (rc != CN_AGAIN && cn_str_find_str(pattern, CN_STR("\\Q")) == pattern.n) {
        grouped = run(pool, cn_pool_printf(pool, "(?:%.*s)", CN_STR_ARG(pattern)), subject);
        CN_BUG_ON(memchr(pattern.p, 0, pattern.n) == NULL && rc != CN_ERR && grouped != CN_ERR &&
                  grouped != CN_AGAIN && grouped != rc);
    }
    cn_pool_destroy(pool);
    return 0;
}
