/* SPDX-License-Identifier: Apache-2.0
 * Making and comparing hosts; for cluster.c.
 */
#ifndef CN_UPSTREAM_HOST_H
#define CN_UPSTREAM_HOST_H

#include "upstream/cluster.h"

/* One reference, the caller's.  like: another host, or NULL; texts in which
 * both are the same are kept once: pods of a service have one identity. */
cn_host_t *cn_host_create(const cn_endpoint_t *, const cn_host_t *like);
/* Takes over what may change while the endpoint stays the same: weight, health
 * and attributes. */
void cn_host_set(cn_host_t *, const cn_endpoint_t *, const cn_host_t *like);
/* The same endpoint: address, tunnel and identity agree.  Another identity
 * under the same IP is another pod. */
bool cn_host_is(const cn_host_t *, const cn_endpoint_t *);
/* Of an address with its port, for tables of hosts. */
uint64_t cn_host_hash(const cn_addr_t *);

#endif
