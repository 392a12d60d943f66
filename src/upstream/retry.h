/* SPDX-License-Identifier: Apache-2.0
 *
 * What a retry policy is; proxy/retry.c follows it.
 */
#ifndef CN_UPSTREAM_RETRY_H
#define CN_UPSTREAM_RETRY_H

#include "conf/conf.h"
#include "core/pool.h"

/* Causes that a retry may answer; names as in Envoy's x-envoy-retry-on. */
typedef enum {
    CN_RETRY_5XX = 1 << 0,
    CN_RETRY_GATEWAY_ERROR = 1 << 1, /* 502, 503, 504 */
    CN_RETRY_RESET = 1 << 2,
    CN_RETRY_RESET_BEFORE_REQUEST = 1 << 3,
    CN_RETRY_CONNECT_FAILURE = 1 << 4,
    CN_RETRY_ENVOY_RATELIMITED = 1 << 5,
    CN_RETRY_RETRIABLE_4XX = 1 << 6, /* 409 */
    CN_RETRY_REFUSED_STREAM = 1 << 7,
    CN_RETRY_STATUS_CODES = 1 << 8,
    CN_RETRY_HEADERS = 1 << 9,
    CN_RETRY_CANCELLED = 1 << 10, /* from here on: gRPC statuses in the response's head */
    CN_RETRY_DEADLINE_EXCEEDED = 1 << 11,
    CN_RETRY_INTERNAL = 1 << 12,
    CN_RETRY_RESOURCE_EXHAUSTED = 1 << 13,
    CN_RETRY_UNAVAILABLE = 1 << 14
} cn_retry_on;

typedef struct {
    uint32_t attempts; /* after the first one; 0: none */
    uint32_t on;       /* cn_retry_on */
    cn_vec_t codes;    /* uint16_t, with STATUS_CODES */
    cn_vec_t headers;  /* cn_str_t in lower case, with HEADERS: any of them in the response */
    uint64_t backoff_ms, backoff_max_ms; /* the wait before the n-th: up to backoff * 2^(n-1) */
    bool keep_tried;                     /* may choose a host again although there are others */
    bool other_localities;
} cn_retry_policy_t;
/* What applies unless a module says otherwise: Istio's 2 retries of what could
 * not have reached an application. */
extern const cn_retry_policy_t cn_retry_default;
/* The words for cn_retry_on; ends with a NULL word.  Some mean nothing here: 0. */
extern const cn_enum_t cn_retry_words[];
/* "connect-failure, refused-stream", in the pool. */
cn_str_t cn_retry_put(cn_pool_t *, uint32_t on);

#endif
