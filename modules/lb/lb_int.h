/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the lb module.
 *
 * A cluster's state (cn_lb_t) has a view for each place that requests come
 * from; a view has levels in the order of preference, a level has groups, and a
 * group is the hosts that one balancer chooses from.  Without locality settings
 * there is one view with one level of one group.
 */
#ifndef CN_LB_INT_H
#define CN_LB_INT_H

#include <cairn/module.h>

typedef enum {
    CN_LB_ROUND_ROBIN,
    CN_LB_LEAST_REQUEST,
    CN_LB_RANDOM,
    CN_LB_RING_HASH,
    CN_LB_MAGLEV
} cn_lb_kind;

/* ---- settings (conf.c), of MAIN and CLUSTER ---- */

typedef enum {
    CN_LB_KEY_HEADER,
    CN_LB_KEY_COOKIE,
    CN_LB_KEY_QUERY,
    CN_LB_KEY_SOURCE_IP
} cn_lb_key_kind;

typedef struct {
    cn_lb_key_kind kind;
    cn_str_t name;
    bool generate;  /* cookies: one is given to who has none ... */
    uint64_t ttl_s; /* ... for so long; 0: until the browser ends */
    cn_str_t path;
} cn_lb_key_t;

/* A place that requests come from. */
typedef struct {
    cn_locality_t locality;
    cn_str_t node, network, labels;
    cn_str_t app, version, canonical_name, canonical_revision; /* of a client pod */
} cn_lb_place_t;

typedef enum {
    CN_LB_ANYWHERE,
    CN_LB_PREFER,     /* levels by how many of `words` (topology words) agree, from the first on */
    CN_LB_PRIORITY,   /* the same with labels */
    CN_LB_FAILOVER,   /* subzone, zone, region, then the regions in `words`: FROM TO ... */
    CN_LB_DISTRIBUTE, /* shares by `splits` */
    CN_LB_LOCALITY_OFF
} cn_lb_locality_kind;

typedef struct {
    cn_locality_t to; /* a part "*" or missing: any */
    uint32_t weight;
} cn_lb_share_t;

typedef struct {
    cn_locality_t from;
    cn_vec_t shares; /* cn_lb_share_t */
} cn_lb_split_t;

#define CN_LB_CURVE 64u /* steps of a warm-up */
#define CN_LB_ONE 1024u /* a whole share */

typedef struct {
    cn_lb_place_t here;   /* MAIN: the waypoint's */
    bool origin_waypoint; /* whose place counts */
    bool local;           /* hosts of the same node only */
    bool affinity;        /* by client pod, whatever the balancer */
    cn_vec_t keys;        /* cn_lb_key_t */
    uint64_t ring_min, ring_max;
    uint32_t table;
    uint64_t warm_ns;                /* 0: at once */
    uint32_t warm_min;               /* of a hundred */
    uint32_t warm_aggression;        /* in thousandths */
    uint16_t curve[CN_LB_CURVE + 1]; /* share after so many steps, of CN_LB_ONE */
    cn_lb_locality_kind locality;
    cn_vec_t words;  /* cn_str_t */
    cn_vec_t splits; /* cn_lb_split_t */
} cn_lb_conf_t;

extern const cn_directive_t cn_lb_directives[];
cn_rc cn_lb_conf_init(cn_conf_t *, void *conf, const void *parent); /* of MAIN */
/* For a cluster that has no settings (tests). */
extern const cn_lb_conf_t cn_lb_conf_default;

/* ---- one choice ---- */

typedef struct {
    cn_cluster_t *cluster;
    const cn_pick_t *pick;
    const cn_lb_conf_t *conf;
    bool panic;      /* ejected hosts too */
    bool fresh_only; /* none that this request has tried */
    uint64_t now_ns; /* 0: nobody warms up */
    uint64_t hash;
} cn_lb_ask_t;

/* May it be chosen: it can have become unhealthy or left since. */
bool cn_lb_set_usable(const cn_lb_ask_t *, cn_host_t *);
bool cn_lb_set_tried(const cn_pick_t *, const cn_host_t *);

/* ---- hosts that are chosen from (set.c) ---- */

typedef struct {
    cn_host_t **all; /* healthy when this was made, with a weight */
    uint32_t nall;
    cn_host_t **v; /* those of them that may be chosen now */
    uint32_t n;
    uint64_t *upto;  /* sums of weights up to and with v[i]; NULL: all weigh the same */
    int64_t *credit; /* round robin between hosts of different weight */
    uint32_t next;   /* round robin between hosts of equal weight */
    bool started;
} cn_lb_set_t;

/* Hosts of the set, by the caller; each with a weight. */
void cn_lb_set_init(cn_lb_set_t *, uint32_t cap);
void cn_lb_set_add(cn_lb_set_t *, cn_host_t *);
/* v anew, from all. */
void cn_lb_set_fill(cn_lb_set_t *, const cn_lb_ask_t *);
void cn_lb_set_fini(cn_lb_set_t *);
/* One at random, in proportion to the weights, of those that may be chosen;
 * NULL: there is none. */
cn_host_t *cn_lb_set_draw(const cn_lb_set_t *, const cn_lb_ask_t *);

/* ---- balancers without keys (pick.c) ---- */

cn_host_t *cn_lb_pick_round_robin(cn_lb_set_t *, const cn_lb_ask_t *);
cn_host_t *cn_lb_pick_least_request(cn_lb_set_t *, const cn_lb_ask_t *);
/* Share of CN_LB_ONE that a host gets while it warms up. */
uint32_t cn_lb_pick_warmth(const cn_lb_conf_t *, const cn_host_t *, uint64_t now_ns);

/* ---- tables (table.c) ---- */

typedef struct cn_lb_table cn_lb_table_t;

/* Envoy's ring and table for these hosts; NULL for none. */
cn_lb_table_t *cn_lb_table_ring(const cn_lb_set_t *, uint64_t min, uint64_t max);
cn_lb_table_t *cn_lb_table_maglev(const cn_lb_set_t *, uint32_t size);
void cn_lb_table_destroy(cn_lb_table_t *);
/* The host for ask->hash, or the next one in the table's order that may be chosen. */
cn_host_t *cn_lb_table_pick(const cn_lb_table_t *, const cn_lb_ask_t *);

/* ---- places (view.c) ---- */

typedef struct {
    cn_lb_set_t set;
    cn_lb_table_t *table; /* hashing balancers */
    uint32_t weight;      /* as configured */
    uint32_t total;       /* hosts, the unhealthy ones too */
    uint64_t effective;   /* weight by health */
} cn_lb_group_t;

typedef struct {
    cn_lb_group_t *groups;
    unsigned ngroups;
    uint32_t total;
    uint32_t load; /* of a hundred requests */
    bool panic;
} cn_lb_level_t;

typedef struct {
    uint64_t key;
    cn_lb_level_t *levels;
    unsigned nlevels;
    bool known; /* loads are as things were at this look */
    cn_cluster_look_t look;
} cn_lb_view_t;

typedef struct {
    cn_lb_kind kind;
    cn_cluster_t *cluster;
    const cn_lb_conf_t *conf;
    cn_lb_view_t **views;
    unsigned nviews, max_views;
    unsigned next_out; /* which view goes when there is no room for another */
    uint32_t turn;     /* where round robin goes on after a change */
    bool turned;
    uint64_t warm_until_ns;
} cn_lb_t;

/* Whose place it is that counts, by the settings. */
void cn_lb_view_origin(const cn_lb_conf_t *, const cn_pick_t *, cn_lb_place_t *);
/* The view of that place, its loads up to date. */
cn_lb_view_t *cn_lb_view_get(cn_lb_t *, const cn_lb_place_t *, const cn_lb_ask_t *);
void cn_lb_view_destroy(cn_lb_view_t *);

/* ---- keys (key.c) ---- */

/* The hash of a request by the settings; false: it has none of the keys. */
bool cn_lb_key_hash(const cn_lb_conf_t *, const cn_pick_t *, uint64_t *hash);
/* Cookies for who has none. */
void cn_lb_key_give(cn_req_t *, const cn_lb_conf_t *);

#endif
