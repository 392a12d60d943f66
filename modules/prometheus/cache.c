/* SPDX-License-Identifier: Apache-2.0
 *
 * A table with one place per hash: whoever comes later takes it.  Entries are
 * found by what the labels are made of, not by pointers, since pods, clusters
 * and services are replaced under running requests; texts are stood for by
 * keyed hashes, so that a client cannot be counted as another one.
 */
#include "cache.h"

#include <stdlib.h>

#define PLACES 1024u /* a power of 2 */

/* Everything that prom_labels_put() looks at. */
typedef struct {
    uint64_t identity, source, destination, service, cluster;
    uint32_t flags;
    uint16_t status;
    int16_t grpc_status;
    bool grpc, mutual_tls;
    uint8_t fill[6]; /* the whole is hashed and compared as bytes */
} prom_key_t;

/* Free, or without room in the statistics: no series of requests. */
typedef struct {
    prom_key_t key;
    prom_http_series_t series;
} entry_t;

struct prom_cache {
    entry_t v[PLACES];
};

prom_cache_t *prom_cache_create(void)
{
    return cn_xzalloc(sizeof(prom_cache_t));
}

void prom_cache_destroy(prom_cache_t *cache)
{
    free(cache);
}

static bool put_workload(uint64_t *id, const cn_workload_t *w)
{
    *id = w ? w->id : 0;
    return !w || w->id;
}

static bool make_key(prom_key_t *key, const cn_facts_t *f)
{
    memset(key, 0, sizeof(*key));
    key->identity = cn_hash_sip(f->tunnel->identity);
    key->service = f->section->text_mac;
    key->cluster = f->cluster ? f->cluster->section->text_mac : 0;
    key->flags = f->flags;
    key->status = f->status;
    key->grpc_status = f->grpc_status;
    key->grpc = f->grpc;
    key->mutual_tls = f->mutual_tls;
    return put_workload(&key->source, f->source) && put_workload(&key->destination, f->destination);
}

bool prom_cache_find(prom_cache_t *cache, const cn_facts_t *f, prom_http_series_t **out)
{
    prom_key_t key;
    entry_t *e;

    *out = NULL;
    if (!make_key(&key, f))
        return false;
    e = &cache->v[cn_hash_xxh(cn_str_make((const char *)&key, sizeof(key)), 0) & (PLACES - 1)];
    *out = &e->series;
    if (e->series.requests && memcmp(&e->key, &key, sizeof(key)) == 0)
        return true;
    e->key = key;
    return false;
}
