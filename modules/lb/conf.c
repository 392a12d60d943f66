/* SPDX-License-Identifier: Apache-2.0
 *
 * Settings of lb.  Clusters start with a copy of the main part's.
 */
#include <math.h>

#include "lb_int.h"

#define RING_MAX (8u << 20) /* points; Envoy's limit */
#define TABLE_MAX 5000011u
#define TOPOLOGY "network, region, zone, subzone or node"
#define WORDS_MAX 16

const cn_lb_conf_t cn_lb_conf_default = {.ring_min = 1024,
                                         .ring_max = RING_MAX,
                                         .table = 65537,
                                         .warm_min = 10,
                                         .warm_aggression = 1000};

cn_rc cn_lb_conf_init(cn_conf_t *cf CN_UNUSED, void *conf, const void *parent CN_UNUSED)
{
    *(cn_lb_conf_t *)conf = cn_lb_conf_default;
    return CN_OK;
}

/* ---- keys ---- */

static cn_rc set_cookie_option(cn_conf_t *cf, cn_lb_key_t *key, cn_str_t arg)
{
    cn_str_t name, value;
    uint64_t ms;

    if (cn_conf_keyval(arg, &name, &value)) {
        if (cn_str_eq(name, CN_STR("ttl")) && cn_conf_parse_ms(value, &ms) == CN_OK) {
            key->generate = true;
            key->ttl_s = (ms + 999) / 1000;
            return CN_OK;
        }
        if (cn_str_eq(name, CN_STR("path")) && value.n && value.p[0] == '/') {
            key->path = value;
            return CN_OK;
        }
    }
    return cn_conf_error(cf, "\"%.*s\": expected ttl=TIME or path=/PATH", CN_STR_ARG(arg));
}

static cn_rc set_hash(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                      unsigned argc)
{
    static const char *const kinds[] = {"header", "cookie", "query", "source_ip"};
    cn_lb_conf_t *c = conf;
    cn_lb_key_t *key;
    unsigned kind = 0;

    while (kind < CN_COUNT(kinds) && !cn_str_eq(argv[1], cn_str_c(kinds[kind])))
        kind++;
    if (kind == CN_COUNT(kinds) || (kind == CN_LB_KEY_SOURCE_IP) != (argc == 2) ||
        (kind != CN_LB_KEY_COOKIE && argc > 3))
        return cn_conf_error(cf, "expected \"%s\"", d->syntax);
    if (c->keys.n == WORDS_MAX)
        return cn_conf_error(cf, "at most %u keys, please", WORDS_MAX);
    key = cn_vec_push(cn_conf_pool(cf), &c->keys, sizeof(*key));
    *key = (cn_lb_key_t){.kind = (cn_lb_key_kind)kind, .name = argc > 2 ? argv[2] : CN_STR_NULL};
    if (kind == CN_LB_KEY_HEADER)
        key->name = cn_pool_lower(cn_conf_pool(cf), argv[2]);
    for (unsigned i = 3; i < argc; i++)
        if (set_cookie_option(cf, key, argv[i]) != CN_OK)
            return CN_ERR;
    return CN_OK;
}

static cn_rc set_affinity(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                          unsigned argc)
{
    cn_lb_conf_t *c = conf;
    cn_str_t name, value;
    uint64_t ms;

    if (!cn_str_eq(argv[1], CN_STR("client_ip")) ||
        (argc > 2 &&
         (!cn_conf_keyval(argv[2], &name, &value) || !cn_str_eq(name, CN_STR("timeout")) ||
          cn_conf_parse_ms(value, &ms) != CN_OK)))
        return cn_conf_error(cf, "expected \"%s\"", d->syntax);
    c->affinity = true;
    return CN_OK;
}

/* ---- tables ---- */

static cn_rc set_ring(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                      unsigned argc)
{
    cn_lb_conf_t *c = conf;
    cn_str_t name, value;
    uint64_t n;

    for (unsigned i = 1; i < argc; i++) {
        if (!cn_conf_keyval(argv[i], &name, &value) || cn_str_u64(value, RING_MAX, &n) != CN_OK ||
            n == 0)
            return cn_conf_error(cf, "\"%.*s\": expected \"%s\", each from 1 to %u",
                                 CN_STR_ARG(argv[i]), d->syntax, RING_MAX);
        if (cn_str_eq(name, CN_STR("min")))
            c->ring_min = n;
        else if (cn_str_eq(name, CN_STR("max")))
            c->ring_max = n;
        else
            return cn_conf_error(cf, "\"%.*s\": expected \"%s\"", CN_STR_ARG(argv[i]), d->syntax);
    }
    if (c->ring_min > c->ring_max)
        return cn_conf_error(cf, "min=%llu is more than max=%llu", (unsigned long long)c->ring_min,
                             (unsigned long long)c->ring_max);
    return CN_OK;
}

static bool is_prime(uint32_t n)
{
    if (n < 3 || n % 2 == 0)
        return false;
    for (uint32_t i = 3; (uint64_t)i * i <= n; i += 2)
        if (n % i == 0)
            return false;
    return true;
}

static cn_rc set_table(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                       const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    cn_lb_conf_t *c = conf;
    uint64_t n;

    if (cn_str_u64(argv[1], TABLE_MAX, &n) != CN_OK || !is_prime((uint32_t)n))
        return cn_conf_error(cf, "\"%.*s\" is not a prime number from 3 to %u", CN_STR_ARG(argv[1]),
                             TABLE_MAX);
    c->table = (uint32_t)n;
    return CN_OK;
}

/* ---- warm-up ---- */

/* "1.5" in thousandths, at most three decimals. */
static cn_rc parse_thousandths(cn_str_t s, uint32_t *out)
{
    size_t dot = cn_str_find(s, '.');
    cn_str_t frac = dot < s.n ? cn_str_make(s.p + dot + 1, s.n - dot - 1) : CN_STR("0");
    uint64_t whole, part;

    if (frac.n > 3 || cn_str_u64(cn_str_make(s.p, dot), 1000, &whole) != CN_OK ||
        cn_str_u64(frac, 999, &part) != CN_OK)
        return CN_ERR;
    for (size_t i = frac.n; i < 3; i++)
        part *= 10;
    *out = (uint32_t)(whole * 1000 + part);
    return *out > 0 ? CN_OK : CN_ERR;
}

static cn_rc set_warmup_option(cn_conf_t *cf, cn_lb_conf_t *c, cn_str_t arg)
{
    cn_str_t name, value;
    uint64_t n;

    if (!cn_conf_keyval(arg, &name, &value))
        return cn_conf_error(cf, "\"%.*s\": expected min=PERCENT or aggression=NUMBER",
                             CN_STR_ARG(arg));
    if (cn_str_eq(name, CN_STR("min"))) {
        if (cn_str_u64(value, 100, &n) != CN_OK)
            return cn_conf_error(cf, "min: expected a percentage from 0 to 100");
        c->warm_min = (uint32_t)n;
        return CN_OK;
    }
    if (!cn_str_eq(name, CN_STR("aggression")) ||
        parse_thousandths(value, &c->warm_aggression) != CN_OK)
        return cn_conf_error(cf,
                             "\"%.*s\": expected aggression=NUMBER above 0, at most three "
                             "decimals",
                             CN_STR_ARG(arg));
    return CN_OK;
}

/* Envoy's slow start: max(min, (time / window) ^ (1 / aggression)). */
static void make_curve(cn_lb_conf_t *c)
{
    double exponent = 1000.0 / c->warm_aggression, least = c->warm_min / 100.0;

    for (unsigned i = 0; i <= CN_LB_CURVE; i++) {
        double share = pow((double)i / CN_LB_CURVE, exponent);

        c->curve[i] = (uint16_t)lround((share > least ? share : least) * CN_LB_ONE);
        if (c->curve[i] == 0)
            c->curve[i] = 1;
    }
}

static cn_rc set_warmup(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                        const cn_str_t *argv, unsigned argc)
{
    cn_lb_conf_t *c = conf;
    uint64_t ms;

    if (cn_conf_parse_ms(argv[1], &ms) != CN_OK || ms > 24ull * 3600 * 1000)
        return cn_conf_error(cf, "\"%.*s\" is not a time of at most one day", CN_STR_ARG(argv[1]));
    c->warm_ns = ms * 1000000;
    for (unsigned i = 2; i < argc; i++)
        if (set_warmup_option(cf, c, argv[i]) != CN_OK)
            return CN_ERR;
    make_curve(c);
    return CN_OK;
}

/* ---- places ---- */

static cn_rc set_here(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                      const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    cn_lb_conf_t *c = conf;

    if (cn_locality_parse(argv[1], &c->here.locality) != CN_OK)
        return cn_conf_error(cf,
                             "\"%.*s\": expected REGION/ZONE/SUBZONE, the last two may be missing",
                             CN_STR_ARG(argv[1]));
    return CN_OK;
}

static cn_rc set_origin(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                        unsigned argc CN_UNUSED)
{
    cn_lb_conf_t *c = conf;

    c->origin_waypoint = cn_str_eq(argv[1], CN_STR("waypoint"));
    if (!c->origin_waypoint && !cn_str_eq(argv[1], CN_STR("client")))
        return cn_conf_error(cf, "expected \"%s\"", d->syntax);
    return CN_OK;
}

static cn_rc set_internal(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                          unsigned argc CN_UNUSED)
{
    cn_lb_conf_t *c = conf;

    c->local = cn_str_eq(argv[1], CN_STR("local"));
    if (!c->local && !cn_str_eq(argv[1], CN_STR("cluster")))
        return cn_conf_error(cf, "expected \"%s\"", d->syntax);
    return CN_OK;
}

static cn_rc take_words(cn_conf_t *cf, cn_lb_conf_t *c, const cn_str_t *argv, unsigned argc)
{
    if (argc < 3 || argc - 2 > WORDS_MAX)
        return cn_conf_error(cf, "expected 1 to %u words behind %.*s", WORDS_MAX,
                             CN_STR_ARG(argv[1]));
    for (unsigned i = 2; i < argc; i++)
        *(cn_str_t *)cn_vec_push(cn_conf_pool(cf), &c->words, sizeof(cn_str_t)) = argv[i];
    return CN_OK;
}

static cn_rc check_topology(cn_conf_t *cf, const cn_lb_conf_t *c)
{
    static const char *const known[] = {"network", "region", "zone", "subzone", "node"};

    for (uint32_t i = 0; i < c->words.n; i++) {
        cn_str_t word = ((const cn_str_t *)c->words.v)[i];
        bool found = false;

        for (size_t k = 0; k < CN_COUNT(known); k++)
            found |= cn_str_eq(word, cn_str_c(known[k]));
        if (!found)
            return cn_conf_error(cf, "\"%.*s\": expected " TOPOLOGY, CN_STR_ARG(word));
    }
    return CN_OK;
}

/* FROM TO=WEIGHT ... */
static cn_rc take_split(cn_conf_t *cf, cn_lb_conf_t *c, const cn_str_t *argv, unsigned argc)
{
    cn_lb_split_t *split;
    uint64_t sum = 0, weight;

    if (argc < 4)
        return cn_conf_error(cf, "expected FROM TO=WEIGHT ... behind distribute");
    split = cn_vec_push(cn_conf_pool(cf), &c->splits, sizeof(*split));
    *split = (cn_lb_split_t){0};
    if (cn_locality_parse(argv[2], &split->from) != CN_OK)
        return cn_conf_error(cf, "\"%.*s\": expected REGION/ZONE/SUBZONE or parts of it, * for any",
                             CN_STR_ARG(argv[2]));
    for (unsigned i = 3; i < argc; i++) {
        cn_lb_share_t *share = cn_vec_push(cn_conf_pool(cf), &split->shares, sizeof(*share));
        cn_str_t to, value;

        if (!cn_conf_keyval(argv[i], &to, &value) || cn_locality_parse(to, &share->to) != CN_OK ||
            cn_str_u64(value, 1u << 20, &weight) != CN_OK)
            return cn_conf_error(cf, "\"%.*s\": expected REGION/ZONE/SUBZONE=WEIGHT",
                                 CN_STR_ARG(argv[i]));
        share->weight = (uint32_t)weight;
        sum += weight;
    }
    return sum ? CN_OK : cn_conf_error(cf, "all weights of %.*s are 0", CN_STR_ARG(argv[2]));
}

static cn_rc set_locality(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                          unsigned argc)
{
    static const char *const kinds[] = {"", "prefer", "priority", "failover", "distribute", "off"};
    cn_lb_conf_t *c = conf;
    unsigned kind = 1;

    while (kind < CN_COUNT(kinds) && !cn_str_eq(argv[1], cn_str_c(kinds[kind])))
        kind++;
    if (kind == CN_COUNT(kinds))
        return cn_conf_error(cf, "expected \"%s\"", d->syntax);
    if (!cn_conf_first(cf) && (kind != CN_LB_DISTRIBUTE || c->locality != CN_LB_DISTRIBUTE))
        return cn_conf_error(cf, "only lines with distribute may stand together");
    c->locality = kind == CN_LB_LOCALITY_OFF ? CN_LB_ANYWHERE : (cn_lb_locality_kind)kind;
    switch ((cn_lb_locality_kind)kind) {
    case CN_LB_PREFER:
        return take_words(cf, c, argv, argc) == CN_OK ? check_topology(cf, c) : CN_ERR;
    case CN_LB_PRIORITY:
        return take_words(cf, c, argv, argc);
    case CN_LB_FAILOVER:
        if (argc % 2)
            return cn_conf_error(cf, "expected pairs of regions, FROM TO, behind failover");
        return argc == 2 ? CN_OK : take_words(cf, c, argv, argc);
    case CN_LB_DISTRIBUTE:
        return take_split(cf, c, argv, argc);
    default:
        return argc == 2 ? CN_OK : cn_conf_error(cf, "nothing is expected behind off");
    }
}

const cn_directive_t cn_lb_directives[] = {
    {.name = "locality",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 1),
     .set = set_here,
     .syntax = "locality REGION[/ZONE[/SUBZONE]]",
     .help = "Where this waypoint runs; counts for clients whose own place is not known, and with "
             "lb_origin waypoint for all."},
    {.name = "node",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 1),
     .set = cn_set_str,
     .off = offsetof(cn_lb_conf_t, here.node),
     .syntax = "node NAME",
     .help = "The node that this waypoint runs on."},
    {.name = "labels",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 1),
     .set = cn_set_str,
     .off = offsetof(cn_lb_conf_t, here.labels),
     .syntax = "labels KEY=VALUE,...",
     .help = "Labels of this waypoint's pod, for lb_locality priority."},
    {.name = "lb_origin",
     .where = CN_AT_MAIN | CN_AT_CLUSTER,
     .args = CN_ARGS(1, 1),
     .set = set_origin,
     .syntax = "lb_origin client | waypoint",
     .help = "Whose place counts for lb_locality and internal_traffic: the client pod's, when its "
             "line among the workloads has a locality or a node, or always the waypoint's, as "
             "with Istio's own waypoint.",
     .deflt = "client"},
    {.name = "lb_hash",
     .where = CN_AT_CLUSTER | CN_D_REPEAT,
     .args = CN_ARGS(1, 4),
     .set = set_hash,
     .syntax = "lb_hash header NAME | cookie NAME [ttl=TIME] [path=PATH] | query NAME | source_ip",
     .help = "What lb ring_hash and lb maglev hash a request by; several are combined. A cookie "
             "with a ttl is given to clients that have none, with ttl=0 until their browser ends. "
             "source_ip is the client's address. A request that has none of the keys goes to any "
             "endpoint."},
    {.name = "lb_ring",
     .where = CN_AT_CLUSTER,
     .args = CN_ARGS(1, 2),
     .set = set_ring,
     .syntax = "lb_ring [min=POINTS] [max=POINTS]",
     .help = "Points on the ring of lb ring_hash: at least min, more when that gives each endpoint "
             "a whole number by its weight, at most max.",
     .deflt = "min=1024 max=8388608"},
    {.name = "lb_table",
     .where = CN_AT_CLUSTER,
     .args = CN_ARGS(1, 1),
     .set = set_table,
     .syntax = "lb_table SLOTS",
     .help = "Slots in the table of lb maglev, a prime number.",
     .deflt = "65537"},
    {.name = "lb_warmup",
     .where = CN_AT_CLUSTER,
     .args = CN_ARGS(1, 3),
     .set = set_warmup,
     .syntax = "lb_warmup TIME [min=PERCENT] [aggression=NUMBER]",
     .help = "With round_robin and least_request an endpoint that is new, or healthy again, gets "
             "min percent of its share at first and all of it after TIME; an aggression above 1 "
             "gives more of it earlier.",
     .deflt = "0 min=10 aggression=1"},
    {.name = "lb_locality",
     .where = CN_AT_CLUSTER | CN_D_REPEAT,
     .args = CN_ARGS(1, 64),
     .set = set_locality,
     .syntax = "lb_locality off | prefer WORD ... | priority LABEL ... | failover [FROM TO] ... | "
               "distribute FROM TO=WEIGHT ...",
     .help =
         "Near endpoints first. prefer: those that agree with the origin in the most of the words, "
         "from the first on (" TOPOLOGY "). priority: the same with labels (KEY, or KEY=VALUE for "
         "a value of its own). failover: the same subzone, zone, region, then the region TO for "
         "the region FROM, then others. Farther ones take over in the measure in which fewer than "
         "71 % of the nearer ones are healthy. distribute: shares of the places TO for requests "
         "from FROM, both REGION/ZONE/SUBZONE with * for any; may be repeated.",
     .deflt = "off"},
    {.name = "internal_traffic",
     .where = CN_AT_CLUSTER,
     .args = CN_ARGS(1, 1),
     .set = set_internal,
     .syntax = "internal_traffic cluster | local",
     .help = "local: only endpoints on the origin's node, and none when there are none "
             "(internalTrafficPolicy of a Service).",
     .deflt = "cluster"},
    {.name = "affinity",
     .where = CN_AT_CLUSTER,
     .args = CN_ARGS(1, 2),
     .set = set_affinity,
     .syntax = "affinity client_ip [timeout=TIME]",
     .help =
         "Requests of a client pod go to one endpoint (sessionAffinity of a Service), chosen by "
         "the hash of its address, so that it needs no memory and holds over all waypoints; "
         "the timeout is therefore not needed. When endpoints change, a part of the clients "
         "moves."},
    {0}};
