/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the rate_limit_service module: what is asked of an
 * Envoy rate limit service (RLS v3), and what is done with its answer.
 */
#ifndef RLS_INT_H
#define RLS_INT_H

#include <cairn/module.h>

/* Services of one level; descriptors of one of them; entries of a descriptor. */
#define RLS_MAX 8
#define RLS_DESCRIPTORS 32
#define RLS_ENTRIES 16

typedef enum {
    RLS_VALUE,
    RLS_HEADER,
    RLS_QUERY,
    RLS_REMOTE_IP,
    RLS_PRINCIPAL,
    RLS_NAMESPACE,
    RLS_SERVICE_ACCOUNT,
    RLS_METHOD,
    RLS_PATH,
    RLS_HOST,
    RLS_SERVICE,
    RLS_ROUTE,
    RLS_CLUSTER
} rls_source;

/* One key and where its value comes from. */
typedef struct {
    cn_str_t key;
    rls_source source;
    cn_str_t arg;   /* the value, or the name of a header (lower case) or parameter */
    uint8_t v4, v6; /* bits of an address that count */
    bool optional;  /* without a value the entry is left out, not the descriptor */
} rls_entry_t;

typedef struct {
    cn_vec_t entries; /* rls_entry_t */
    cn_rules_t rules;
    cn_rule_run_t match; /* of rules; none: every request */
    uint32_t hits;       /* 0: those of the request */
    uint32_t limit;      /* 0: the service's own; else requests per unit */
    int unit;            /* envoy.type.v3.RateLimitUnit */
} rls_descriptor_t;

typedef struct {
    cn_str_t name, value;
} rls_header_t;

typedef enum {
    RLS_OK,
    RLS_OVER_LIMIT,
    RLS_SHADOW_OVER_LIMIT,
    RLS_ERROR,
    RLS_TIMEOUT,
    RLS_OUTCOMES
} rls_outcome;

/* Series found once; change although the settings are constant, since they are
 * this process's own. */
typedef struct {
    cn_series_t *series[RLS_OUTCOMES];
    bool asked[RLS_OUTCOMES];
} rls_count_t;

typedef struct {
    cn_str_t name, domain, cluster;
    uint64_t timeout_ms;
    bool deny;            /* when the service fails: 500 */
    cn_vec_t descriptors; /* rls_descriptor_t */
    cn_rules_t rules;
    cn_rule_run_t match; /* of rules; none: every request */
    uint32_t hits;
    bool shadow, show_headers;
    uint32_t status;
    int grpc_status;
    cn_str_t body;    /* when the service gives none */
    cn_vec_t headers; /* rls_header_t: of the refusal */
    rls_count_t *count;
} rls_t;

/* Settings of the levels MAIN, SERVICE and ROUTE. */
typedef struct {
    cn_vec_t services; /* rls_t * */
} rls_conf_t;

static inline const rls_t *rls_at(const rls_conf_t *c, uint32_t i)
{
    return ((rls_t *const *)c->services.v)[i];
}

/* ---- compile.c ---- */

extern const cn_directive_t rls_directives[];

#endif
