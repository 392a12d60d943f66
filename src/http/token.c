/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of interned header names.  Responsible for the mapping between
 * names and numbers, both ways; what a name means is for its users.
 */
#include "http/token.h"

static const cn_str_t names[CN_TOK_MAX] = {
#define CN_TOKEN_NAME(id, name) [CN_TOK_##id] = {name, sizeof(name) - 1},
    CN_TOKENS(CN_TOKEN_NAME)
#undef CN_TOKEN_NAME
};

static const unsigned char lengths[CN_TOK_MAX] = {
#define CN_TOKEN_LENGTH(id, name) [CN_TOK_##id] = sizeof(name) - 1,
    CN_TOKENS(CN_TOKEN_LENGTH)
#undef CN_TOKEN_LENGTH
};

cn_token cn_token_find(cn_str_t name)
{
    /* Few names share a length, so searching the lengths finds at most a
     * handful of candidates, and none at all for most unknown names. */
    size_t at = 1;
    if (name.n == 0 || name.n > UINT8_MAX)
        return CN_TOK_NONE;
    while (at < CN_TOK_MAX) {
        const unsigned char *hit = memchr(lengths + at, (int)name.n, CN_TOK_MAX - at);
        if (!hit)
            break;
        at = (size_t)(hit - lengths);
        if (memcmp(names[at].p, name.p, name.n) == 0)
            return (cn_token)at;
        at++;
    }
    return CN_TOK_NONE;
}

cn_str_t cn_token_name(cn_token token)
{
    if ((unsigned)token >= CN_TOK_MAX)
        return CN_STR_NULL;
    return names[token];
}
