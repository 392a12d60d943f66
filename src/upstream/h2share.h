/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/2 sessions to hosts, shared by the requests to them; for pool.c.
 */
#ifndef CN_UPSTREAM_H2SHARE_H
#define CN_UPSTREAM_H2SHARE_H

#include "http/h2mux.h"
#include "upstream/admission.h"

/* What a session's streams have in common beside their host. */
typedef struct {
    uint16_t port; /* asked for, where the host has none; else 0 */
    uint64_t mark; /* of the layers, see cn_layer_ops_t */
} cn_h2share_key_t;

/* All of a worker's. */
typedef struct {
    cn_loop_t *loop;
    cn_list_t all;
    uint32_t n;
    cn_admissions_t *admissions; /* or NULL */
} cn_h2shares_t;

void cn_h2share_all_init(cn_h2shares_t *, cn_loop_t *);
/* At once; no exchange may be open any more. */
void cn_h2share_all_fini(cn_h2shares_t *);

/* 0: no limit. */
typedef struct {
    uint64_t idle_ms, age_ms;
    uint64_t ping_ms, ping_timeout_ms; /* between PINGs, for an answer */
    uint32_t requests;                 /* over its life */
    uint32_t streams;                  /* at once */
} cn_h2share_limits_t;

/* A session over a stream, which it takes and which may still be connecting; and
 * with the ticket of its connection. */
void cn_h2share_create(cn_h2shares_t *, cn_host_t *, const cn_h2share_key_t *, cn_stream_t *,
                       cn_ticket_t *, const cn_h2share_limits_t *);
/* An exchange on a session of the host with room; NULL: there is none. */
cn_exch_t *cn_h2share_open(cn_host_t *, const cn_h2share_key_t *, cn_task_t *owner);
/* No new exchange on the host's sessions; they end with their last one. */
void cn_h2share_retire(cn_host_t *);

#endif
