/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths, targets and authorities of any bytes.  What must hold: a normalised
 * path begins with '/', has no dot segments, with merging no empty ones, and
 * normalising it again changes nothing.
 */
#include <stdlib.h>

#include "http/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_segments(cn_str_t path, bool merged)
{
    cn_str_t rest = cn_str_make(path.p + 1, path.n - 1), segment;
    CN_BUG_ON(path.n == 0 || path.p[0] != '/');
    while (cn_str_split(&rest, '/', &segment)) {
        segment.n = cn_str_find(segment, ';');
        CN_BUG_ON(cn_str_eq(segment, CN_STR(".")) || cn_str_eq(segment, CN_STR("..")));
    }
    CN_BUG_ON(merged && cn_str_find_str(path, CN_STR("//")) < path.n);
    CN_BUG_ON(cn_str_find(path, '\\') < path.n);
}

static void check_path(cn_pool_t *pool, cn_str_t path, cn_uri_normalize how)
{
    cn_str_t once, twice;
    if (cn_uri_path_normalize(pool, path, how, &once) != CN_OK)
        return;
    check_segments(once, how != CN_URI_BASE);
    CN_BUG_ON(cn_uri_path_normalize(pool, once, how, &twice) != CN_OK);
    CN_BUG_ON(!cn_str_eq(once, twice));
}

static void check_target(cn_str_t s)
{
    cn_str_t path, query, value = CN_STR_NULL;
    bool has_query;
    cn_uri_split(s, &path, &query, &has_query);
    CN_BUG_ON(path.n + query.n + has_query > s.n);
    CN_BUG_ON(cn_str_find(path, '#') < path.n || cn_str_find(query, '#') < query.n);
    if (cn_uri_query_get(query, CN_STR("k"), &value))
        CN_BUG_ON(cn_str_find(value, '&') < value.n);
}

static void check_authority(cn_str_t s)
{
    cn_str_t host;
    uint16_t port;
    if (cn_uri_authority(s, &host, &port) != CN_OK)
        return;
    CN_BUG_ON(host.n == 0 || host.n > s.n);
    for (size_t i = 0; i < s.n; i++)
        CN_BUG_ON(s.p[i] <= ' ' || s.p[i] >= 0x7f || strchr("/@\\?#\"<>", s.p[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_str_t s = cn_str_make((const char *)data, size);
    check_path(pool, s, CN_URI_BASE);
    check_path(pool, s, CN_URI_MERGE_SLASHES);
    check_path(pool, s, CN_URI_DECODE_AND_MERGE);
    check_target(s);
    check_authority(s);
    cn_pool_destroy(pool);
    return 0;
}
