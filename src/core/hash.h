/* SPDX-License-Identifier: Apache-2.0
 *
 * Hashes.  sip: keyed, for tables whose keys come from peers.  xxh: fast and
 * stable over runs, for content (section text, metric labels, LB keys).
 */
#ifndef CN_CORE_HASH_H
#define CN_CORE_HASH_H

#include "core/str.h"

/* Seeds the process key from the system's random source.  Called once at
 * start; a forked worker keeps its parent's key. */
void cn_hash_seed(void);
uint64_t cn_hash_sip(cn_str_t);
/* SipHash-1-3 under the caller's key. */
uint64_t cn_hash_sip_keyed(const uint8_t key[16], cn_str_t);
uint64_t cn_hash_xxh(cn_str_t, uint64_t seed);

#endif
