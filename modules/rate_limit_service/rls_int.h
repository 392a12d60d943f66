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
    cn_rule_set_t match;
    uint32_t hits;  /* 0: those of the request */
    uint32_t limit; /* 0: the service's own; else requests per unit */
    int unit;       /* envoy.type.v3.RateLimitUnit */
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
    uint64_t told_ns, untold; /* when the log last told of it, and how often it did not */
} rls_count_t;

typedef struct {
    cn_str_t name, domain, cluster;
    uint64_t timeout_ms;
    bool deny;            /* when the service fails: 500 */
    cn_vec_t descriptors; /* rls_descriptor_t */
    cn_rule_set_t match;
    uint32_t hits;
    bool shadow, show_headers;
    cn_denial_t denial; /* its body when the service gives none */
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

/* ---- descriptor.c ---- */

typedef struct {
    cn_str_t key, value;
} rls_pair_t;

/* A descriptor as it is sent. */
typedef struct {
    const rls_descriptor_t *from;
    rls_pair_t pairs[RLS_ENTRIES];
    uint32_t n;
} rls_filled_t;

/* Is the service asked about this request? */
bool rls_applies(const rls_t *, const cn_facts_t *);
/* The descriptors that are complete for this request (rls_filled_t, in pool). */
void rls_fill(const rls_t *, const cn_facts_t *, cn_pool_t *, cn_vec_t *out);
/* "user=anna, plan=gold", for the account of a decision; in pool. */
cn_str_t rls_text(const rls_filled_t *, cn_pool_t *);

/* ---- wire.c ---- */

/* A gRPC message: its length and a Request. */
void rls_write(const rls_t *, const cn_vec_t *filled, cn_pool_t *, cn_chain_t *out);

/* Bytes of an answer, and headers in each of its lists: more is no answer. */
#define RLS_ANSWER_MAX 65536
#define RLS_HEADERS_MAX 64

typedef struct {
    bool over_limit;
    rls_header_t *to_response, *to_request; /* that may be set; in pool */
    uint32_t nto_response, nto_request;
    cn_str_t body; /* NULL: none */
    bool limited;  /* a limit is known: the one with the fewest requests left */
    uint32_t limit, remaining;
    uint64_t reset_s;
    cn_str_t policy; /* ", 10;w=1;name=\"x\"": of all limits */
} rls_answer_t;

/* body: a gRPC message with a Response; is used up.  CN_ERR: *why. */
CN_MUST cn_rc rls_read(cn_chain_t *body, cn_pool_t *, rls_answer_t *, const char **why);

#endif
