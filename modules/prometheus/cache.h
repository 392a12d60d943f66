/* SPDX-License-Identifier: Apache-2.0
 *
 * The series that requests were counted in before, found without making their
 * label text again.  Private to the module.
 */
#ifndef CN_PROMETHEUS_CACHE_H
#define CN_PROMETHEUS_CACHE_H

#include "labels.h"

typedef struct prom_cache prom_cache_t; /* a worker's */

/* One label set's series; each may be NULL, as cn_stats_series() says. */
typedef struct {
    cn_series_t *requests, *duration, *request_bytes, *response_bytes;
    cn_series_t *request_messages, *response_messages; /* of gRPC only */
} prom_http_series_t;

prom_cache_t *prom_cache_create(void);
void prom_cache_destroy(prom_cache_t *);
/* True: *out are the series of this request's labels.  False: the caller fills
 * *out, which is remembered; or it is NULL, since these facts cannot be told
 * from others (a pod's record without an id). */
bool prom_cache_find(prom_cache_t *, const cn_facts_t *, prom_http_series_t **out);

#endif
