/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of places, read and compared.
 */
#include "upstream/locality.h"

cn_rc cn_locality_parse(cn_str_t text, cn_locality_t *l)
{
    cn_str_t *const part[] = {&l->region, &l->zone, &l->subzone};
    unsigned n = 0;
    bool ended = false;

    *l = (cn_locality_t){0};
    for (cn_str_t word; cn_str_split(&text, '/', &word); n++) {
        if (n == CN_COUNT(part) || word.n > CN_LOCALITY_NAME || (ended && word.n > 0))
            return CN_ERR;
        ended = word.n == 0;
        *part[n] = word;
    }
    return l->region.n > 0 ? CN_OK : CN_ERR;
}

unsigned cn_locality_common(const cn_locality_t *a, const cn_locality_t *b)
{
    if (a->region.n == 0 || !cn_str_eq(a->region, b->region))
        return 0;
    if (!cn_str_eq(a->zone, b->zone))
        return 1;
    return cn_str_eq(a->subzone, b->subzone) ? 3 : 2;
}
