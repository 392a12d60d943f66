/* SPDX-License-Identifier: Apache-2.0
 * Base64 (RFC 4648 4 and 5).
 */
#ifndef CN_CORE_B64_H
#define CN_CORE_B64_H

#include "core/pool.h"

/* Accepts either alphabet, padded or not; refuses blanks and stray bits. */
CN_MUST cn_rc cn_b64_decode(cn_pool_t *, cn_str_t in, cn_str_t *out);
cn_str_t cn_b64_encode(cn_pool_t *, cn_str_t in);

#endif
