/* SPDX-License-Identifier: Apache-2.0
 *
 * Random numbers.  cn_rand_t is fast and for spreading load only (weights,
 * jitter, picks); secrets and identifiers come from cn_rand_secure().
 */
#ifndef CN_CORE_RAND_H
#define CN_CORE_RAND_H

#include "core/base.h"

typedef struct {
    uint64_t s[2];
} cn_rand_t;

/* Before all else: without it the first number that is asked for ends the
 * process.  seed 0: from the system. */
void cn_rand_init(cn_rand_t *, uint64_t seed);
uint64_t cn_rand_u64(cn_rand_t *);
/* Uniform in [0, bound), bound > 0, without modulo bias. */
uint32_t cn_rand_below(cn_rand_t *, uint32_t bound);
/* Fills from getrandom(2); ends the process when that fails. */
void cn_rand_secure(void *buf, size_t n);

#endif
