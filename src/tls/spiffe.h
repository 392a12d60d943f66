/* SPDX-License-Identifier: Apache-2.0
 *
 * SPIFFE identities as the mesh uses them: spiffe://TD/ns/NS/sa/SA, the first
 * URI SAN of exactly that shape (ztunnel's rule; CN and DNS names never count).
 */
#ifndef CN_TLS_SPIFFE_H
#define CN_TLS_SPIFFE_H

#include "core/str.h"

typedef struct {
    cn_str_t uri; /* whole; the parts below point into it */
    cn_str_t trust_domain, ns, sa;
} cn_spiffe_t;

CN_MUST cn_rc cn_spiffe_parse(cn_str_t uri, cn_spiffe_t *);

#endif
