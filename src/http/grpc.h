/* SPDX-License-Identifier: Apache-2.0
 *
 * The framing of gRPC messages inside a body (gRPC over HTTP/2,
 * Length-Prefixed-Message), as far as a proxy looks at it: to count them.
 */
#ifndef CN_HTTP_GRPC_H
#define CN_HTTP_GRPC_H

#include "core/chain.h"

#define CN_GRPC_PREFIX 5u /* flags, and the length in four bytes */

/* All zero at first. */
typedef struct {
    uint64_t messages;
    uint32_t left; /* bytes of the current message still to come */
    uint8_t have;  /* bytes of its prefix seen */
    uint8_t prefix[CN_GRPC_PREFIX];
} cn_grpc_count_t;

/* Looks at all bytes of the chain, which come behind those seen before; a
 * message counts once its prefix is complete. */
void cn_grpc_count(cn_grpc_count_t *, const cn_chain_t *);

#endif
