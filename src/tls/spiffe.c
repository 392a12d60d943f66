/* SPDX-License-Identifier: Apache-2.0
 *
 * The shape of a mesh identity.  Stricter than a URI parser: the characters
 * are those of the SPIFFE ID standard (2.1, 2.2), so an identity can stand in
 * logs, labels and headers without being quoted.
 */
#include "tls/spiffe.h"

#define SCHEME CN_STR("spiffe://")
#define URI_MAX 2048u /* SPIFFE ID 2.3 */

static bool is_segment(cn_str_t s)
{
    if (s.n == 0 || cn_str_eq(s, CN_STR(".")) || cn_str_eq(s, CN_STR("..")))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

        if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.')
            return false;
    }
    return true;
}

cn_rc cn_spiffe_parse(cn_str_t uri, cn_spiffe_t *id)
{
    cn_str_t v[5], rest, extra;

    if (uri.n > URI_MAX || !cn_str_starts(uri, SCHEME) || cn_str_ends(uri, CN_STR("/")))
        return CN_ERR;
    rest = cn_str_make(uri.p + SCHEME.n, uri.n - SCHEME.n);
    for (unsigned i = 0; i < CN_COUNT(v); i++) {
        if (!cn_str_split(&rest, '/', &v[i]) || !is_segment(v[i]))
            return CN_ERR;
    }
    if (cn_str_split(&rest, '/', &extra) || !cn_str_eq(v[1], CN_STR("ns")) ||
        !cn_str_eq(v[3], CN_STR("sa")))
        return CN_ERR;
    *id = (cn_spiffe_t){.uri = uri, .trust_domain = v[0], .ns = v[2], .sa = v[4]};
    return CN_OK;
}
