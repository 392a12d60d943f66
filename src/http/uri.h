/* SPDX-License-Identifier: Apache-2.0
 *
 * Request targets: splitting, and the path normalisation that routing, policy
 * and forwarding all see (Istio pathNormalization; facts/verified 4).
 */
#ifndef CN_HTTP_URI_H
#define CN_HTTP_URI_H

#include "core/pool.h"

typedef enum {
    CN_URI_NONE,
    CN_URI_BASE,
    CN_URI_MERGE_SLASHES,
    CN_URI_DECODE_AND_MERGE
} cn_uri_normalize;

/* Normalises an origin-form path (begins with '/', no query, no fragment).
 * The result lives in the pool or is the input itself when nothing changes.
 * CN_ERR: %00 or another form that must be refused (400 path_normalization_failed). */
CN_MUST cn_rc cn_uri_path_normalize(cn_pool_t *, cn_str_t path, cn_uri_normalize, cn_str_t *out);

/* Cuts "path?query#fragment"; the fragment is dropped. */
void cn_uri_split(cn_str_t target, cn_str_t *path, cn_str_t *query, bool *has_query);

/* Value of the first `name` in a raw query (no decoding, '&' only, value is
 * everything behind the first '='; a name without '=' has the value "").
 * False when absent. */
bool cn_uri_query_get(cn_str_t query, cn_str_t name, cn_str_t *value);

/* RFC 3986 authority as HTTP allows it: no userinfo, no blanks; non-empty.
 * Splits host (an IPv6 address without its brackets) and port (0 when absent). */
CN_MUST cn_rc cn_uri_authority(cn_str_t, cn_str_t *host, uint16_t *port);

#endif
