/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the rate_limit module.
 *
 * A limit is a token bucket, or one for each value of its key.  A bucket is one
 * number in memory that all workers share: the time at which it will be full
 * again (GCRA).  A request moves that time by the interval between two tokens;
 * one that would move it further ahead than a full bucket lasts is refused.
 */
#ifndef CN_RATE_LIMIT_INT_H
#define CN_RATE_LIMIT_INT_H

#include <stdatomic.h>

#include <cairn/module.h>

/* Limits of one level. */
#define CN_RATE_LIMIT_MAX 32

typedef enum {
    CN_RATE_LIMIT_REMOTE_IP,
    CN_RATE_LIMIT_PRINCIPAL,
    CN_RATE_LIMIT_NAMESPACE,
    CN_RATE_LIMIT_SERVICE_ACCOUNT,
    CN_RATE_LIMIT_HEADER,
    CN_RATE_LIMIT_QUERY,
    CN_RATE_LIMIT_METHOD,
    CN_RATE_LIMIT_PATH
} cn_rate_limit_part;

typedef struct {
    cn_rate_limit_part part;
    cn_str_t name;  /* of a header (lower case) or parameter */
    uint8_t v4, v6; /* bits of an address that count */
} cn_rate_limit_key_t;

/* A series found once; changes although the settings are constant, since it
 * is this process's own. */
typedef enum {
    CN_RATE_LIMIT_ALLOWED,
    CN_RATE_LIMIT_LIMITED,
    CN_RATE_LIMIT_SHADOW_LIMITED,
    CN_RATE_LIMIT_DECISIONS
} cn_rate_limit_decision;
typedef struct {
    cn_series_t *series[CN_RATE_LIMIT_DECISIONS];
    bool asked[CN_RATE_LIMIT_DECISIONS];
    uint64_t told_ns, untold; /* when the log last told of a refusal, and how many it did not */
} cn_rate_limit_count_t;

typedef struct {
    cn_str_t name;
    cn_str_t bucket;   /* whose tokens it takes: the same text, the same buckets */
    uint64_t id;       /* hash of bucket, the same in all workers */
    uint64_t requests; /* per per_ms; 0: unlimited */
    uint64_t per_ms;
    uint64_t burst;       /* tokens of a full bucket */
    uint64_t interval_ns; /* between two tokens */
    uint64_t window_ns;   /* burst * interval_ns: what an empty bucket takes to fill */
    cn_vec_t keys;        /* cn_rate_limit_key_t; none: one bucket */
    cn_rule_set_t match;
    uint32_t max_keys;
    int scope;  /* CN_RATE_LIMIT_POD or _WORKER */
    bool given; /* has a `limit` */
    bool shadow, show_headers;
    cn_denial_t denial;
    cn_rate_limit_count_t *count;
} cn_rate_limit_t;

enum { CN_RATE_LIMIT_POD, CN_RATE_LIMIT_WORKER };

/* Settings of the levels MAIN, SERVICE and ROUTE. */
typedef struct {
    cn_vec_t limits;  /* cn_rate_limit_t * */
    cn_str_t service; /* name of the section; empty on MAIN level */
    uint64_t memory;  /* MAIN: bytes for buckets */
} cn_rate_limit_conf_t;

static inline const cn_rate_limit_t *cn_rate_limit_at(const cn_rate_limit_conf_t *c, uint32_t i)
{
    return ((cn_rate_limit_t *const *)c->limits.v)[i];
}

/* ---- compile.c ---- */

extern const cn_directive_t cn_rate_limit_directives[];
cn_rc cn_rate_limit_init_main(cn_conf_t *, void *conf, const void *parent);
cn_rc cn_rate_limit_init_service(cn_conf_t *, void *conf, const void *parent);

/* ---- key.c ---- */

/* What is known of a request; the rules' view is made when it is first needed. */
typedef struct {
    const cn_facts_t *facts;
    bool viewed;
    cn_rule_view_t view;
} cn_rate_limit_view_t;

const cn_rule_view_t *cn_rate_limit_view(cn_rate_limit_view_t *);
/* Is the limit for this request? */
bool cn_rate_limit_applies(const cn_rate_limit_t *, cn_rate_limit_view_t *);
/* Which of its buckets: the same number in all workers, not to be foreseen by
 * clients; never 0. */
uint64_t cn_rate_limit_tag(const cn_rate_limit_t *, cn_rate_limit_view_t *, unsigned worker);
/* The key in words, for the account of a decision: "header x-user "anna", path "/a"". */
#define CN_RATE_LIMIT_TEXT 512
void cn_rate_limit_key_text(const cn_rate_limit_t *, cn_rate_limit_view_t *,
                            char buf[CN_RATE_LIMIT_TEXT]);

/* ---- table.c ---- */

/* A bucket: tag 0 is a free place.  The worker that finds its tag nowhere
 * claims a place by swapping the tag; whoever comes in between charges one
 * request to the wrong bucket, which is the worst that a race can do. */
typedef struct {
    _Atomic uint64_t tag;
    _Atomic uint64_t full_at; /* ns on the monotonic clock; past: the bucket is full */
} cn_rate_limit_slot_t;

typedef struct {
    cn_rate_limit_slot_t *v;
    uint64_t single, keyed; /* lines for limits without a key; and with one, behind them */
} cn_rate_limit_table_t;

/* Room for this many buckets.  The smallest that works. */
#define CN_RATE_LIMIT_MEMORY_MIN 65536
/* mem: zeroed once, CN_RATE_LIMIT_MEMORY_MIN bytes or more, aligned to a cache line. */
void cn_rate_limit_table_open(cn_rate_limit_table_t *, void *mem, size_t size);

typedef enum { CN_RATE_LIMIT_FOUND, CN_RATE_LIMIT_EVICTED, CN_RATE_LIMIT_FULL } cn_rate_limit_find;
/* The bucket of a tag, a full one when it was not there.  EVICTED: another one,
 * not full, had to go for it.  FULL: *slot is NULL, since others claimed each
 * place that was tried. */
cn_rate_limit_find cn_rate_limit_table_find(const cn_rate_limit_table_t *, const cn_rate_limit_t *,
                                            uint64_t tag, uint64_t now,
                                            cn_rate_limit_slot_t **slot);

typedef struct {
    bool allowed;
    uint64_t remaining; /* tokens left */
    uint64_t wait_ns;   /* until the next token; 0 while there are some */
} cn_rate_limit_result_t;
/* Takes a token if there is one. */
cn_rate_limit_result_t cn_rate_limit_take(cn_rate_limit_slot_t *, const cn_rate_limit_t *,
                                          uint64_t now);
/* Gives a token back that was taken for a request that another limit refuses. */
void cn_rate_limit_give_back(cn_rate_limit_slot_t *, const cn_rate_limit_t *);

#endif
