/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the dns module.
 *
 *   resolver.c  questions and answers: c-ares on the worker's loop
 *   names.c     names of clusters' endpoints, asked again and again
 *   dynamic.c   names that requests bring along
 */
#ifndef CN_DNS_INT_H
#define CN_DNS_INT_H

#include <cairn/module.h>

#define DNS_ANSWERS 256u  /* addresses that one name may have */
#define DNS_NAME_MAX 253u /* RFC 1035 2.3.4, as text */

/* ---- conf.c ---- */

typedef enum { DNS_V4_PREFERRED, DNS_V4, DNS_V6, DNS_ALL } dns_family;

typedef struct {
    cn_vec_t servers; /* cn_addr_t; none: of resolv.conf */
    uint64_t ttl_min_ms, ttl_max_ms;
    uint64_t retry_ms, timeout_ms;
    int family; /* dns_family */
} dns_main_t;

typedef struct {
    cn_str_t host; /* in lower case */
    uint32_t port;
    cn_str_t attributes; /* " weight=1 ..." for each endpoint line, or empty */
} dns_target_t;

typedef struct {
    cn_vec_t targets; /* dns_target_t */
    int logical;      /* one address at a time */
    cn_str_t suffix;  /* ".example.com" of dns_dynamic, "" of "*"; NULL: none */
    uint32_t port;
    int allow_private;
} dns_cluster_t;

extern const cn_directive_t dns_directives[];
cn_rc dns_init_main(cn_conf_t *, void *conf, const void *parent);
cn_rc dns_check_main(cn_conf_t *, void *conf);
/* Letters, digits, '-', '_' and dots between them; in lower case. */
bool dns_is_name(cn_str_t);

/* ---- resolver.c ---- */

typedef struct dns_resolver dns_resolver_t;
typedef struct dns_question dns_question_t;

typedef struct {
    cn_addr_t v[DNS_ANSWERS]; /* without ports */
    unsigned n;
    uint32_t ttl_s;    /* the least of them; 0: not said */
    bool denied;       /* the name does not exist, or has no address */
    const char *error; /* n 0: why; a constant */
} dns_answer_t;

/* The answer is good for the call only.  Never called from inside dns_ask(). */
typedef void dns_answer_cb(void *ctx, const dns_answer_t *);

dns_resolver_t *dns_resolver_create(cn_loop_t *);
void dns_resolver_destroy(dns_resolver_t *);
/* Before the first question; questions under way are asked again by whoever
 * asked them: they end with an error.  c is kept by copy. */
void dns_resolver_configure(dns_resolver_t *, const dns_main_t *c);
/* Until the answer came or dns_forget(). */
dns_question_t *dns_ask(dns_resolver_t *, cn_str_t name, dns_answer_cb *, void *ctx);
void dns_forget(dns_question_t *); /* NULL is allowed */

/* ---- a worker's ---- */

typedef struct {
    cn_worker_t *w;
    cn_loop_t *loop;
    unsigned unit;
    dns_main_t conf; /* of the generation in force; its servers too */
    dns_resolver_t *resolver;
    cn_map_t clusters; /* those that need names, by their own name */
    bool changed;      /* one of them has come, changed or gone */
    cn_map_t names;    /* names.c */
    cn_map_t dynamic;  /* dynamic.c */
    cn_list_t recent;  /* dynamic.c: the oldest first */
    unsigned ndynamic; /* clusters with dns_dynamic */
    cn_series_t *queries, *failures;
} dns_t;

/* When to ask again after an answer, in milliseconds. */
uint64_t dns_refresh_ms(const dns_t *, const dns_answer_t *);
/* After the nth failure in a row. */
uint64_t dns_retry_ms(const dns_t *, unsigned nth, bool denied);
void dns_count(dns_t *, const dns_answer_t *);

/* ---- names.c ---- */
/* Makes the names those of the clusters there are. */
void dns_names_update(dns_t *);
void dns_names_fini(dns_t *);

/* ---- dynamic.c ---- */
/* A request's ctx. */
typedef struct {
    cn_list_t link; /* of those who wait for the same name */
    cn_req_t *req;
    bool waits;
} dns_wait_t;
cn_rc dns_dynamic_hook(cn_req_t *, const void *conf, void *ctx);
void dns_dynamic_left(cn_req_t *, void *ctx);
void dns_dynamic_fini(dns_t *);

#endif
