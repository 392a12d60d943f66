/* SPDX-License-Identifier: Apache-2.0
 *
 * Settings of circuit_breaker.  Clusters start with a copy of the main part's,
 * in which only the sizes of the tables are set.
 */
#include "breaker_int.h"

#define ROWS_MAX (4u << 20)

cn_rc cn_circuit_breaker_conf_init(cn_conf_t *cf CN_UNUSED, void *conf,
                                   const void *parent CN_UNUSED)
{
    *(cn_circuit_breaker_conf_t *)conf = (cn_circuit_breaker_conf_t){
        .clusters = 4096,
        .hosts = 65536,
        .limit = {CN_BREAKER_NONE, CN_BREAKER_NONE, CN_BREAKER_NONE, CN_BREAKER_NONE},
        .consecutive_5xx = 5,
        .consecutive_local = 5,
        .interval_ms = 10000,
        .base_ms = 30000,
        .max_ejected = 10,
    };
    return CN_OK;
}

/* ---- KEY=VALUE words ---- */

typedef enum { NUMBER, PERCENT, TIME, FLAG } value_kind;

typedef struct {
    const char *key;
    value_kind kind;
    size_t off;
} word_t;

static cn_rc set_value(const word_t *word, void *conf, cn_str_t value)
{
    void *field = (char *)conf + word->off;
    uint64_t n;

    switch (word->kind) {
    case TIME:
        return cn_conf_parse_ms(value, field) == CN_OK && *(uint64_t *)field > 0 ? CN_OK : CN_ERR;
    case FLAG:
        *(bool *)field = cn_str_eq(value, CN_STR("on"));
        return *(bool *)field || cn_str_eq(value, CN_STR("off")) ? CN_OK : CN_ERR;
    default:
        if (cn_str_u64(value, word->kind == PERCENT ? 100 : UINT32_MAX, &n) != CN_OK)
            return CN_ERR;
        *(uint32_t *)field = (uint32_t)n;
        return CN_OK;
    }
}

static cn_rc set_words(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                       unsigned argc)
{
    static const char *const expected[] = {[NUMBER] = "a number",
                                           [PERCENT] = "a percentage from 0 to 100",
                                           [TIME] = "a time above 0, as 500ms or 30s",
                                           [FLAG] = "on or off"};

    for (unsigned i = 1; i < argc; i++) {
        const word_t *word = d->arg;
        cn_str_t key, value;

        if (!cn_conf_keyval(argv[i], &key, &value))
            return cn_conf_error(cf, "\"%.*s\": expected KEY=VALUE: %s", CN_STR_ARG(argv[i]),
                                 d->syntax);
        while (word->key && !cn_str_eq(key, cn_str_c(word->key)))
            word++;
        if (!word->key)
            return cn_conf_error(cf, "unknown word \"%.*s\": expected %s", CN_STR_ARG(key),
                                 d->syntax);
        if (set_value(word, conf, value) != CN_OK)
            return cn_conf_error(cf, "%s=%.*s: expected %s", word->key, CN_STR_ARG(value),
                                 expected[word->kind]);
    }
    return CN_OK;
}

#define AT(field) offsetof(cn_circuit_breaker_conf_t, field)

static const word_t limit_words[] = {
    {"max_connections", NUMBER, AT(limit[CN_ADMIT_CONNECTION])},
    {"max_pending", NUMBER, AT(limit[CN_ADMIT_PENDING])},
    {"max_requests", NUMBER, AT(limit[CN_ADMIT_REQUEST])},
    {"max_retries", NUMBER, AT(limit[CN_ADMIT_RETRY])},
    {NULL, NUMBER, 0},
};

static const word_t outlier_words[] = {
    {"consecutive_5xx", NUMBER, AT(consecutive_5xx)},
    {"consecutive_gateway", NUMBER, AT(consecutive_gateway)},
    {"split_local", FLAG, AT(split_local)},
    {"consecutive_local", NUMBER, AT(consecutive_local)},
    {"interval", TIME, AT(interval_ms)},
    {"base_ejection", TIME, AT(base_ms)},
    {"max_ejection_percent", PERCENT, AT(max_ejected)},
    {"min_health_percent", PERCENT, AT(min_health)},
    {NULL, NUMBER, 0},
};

static const word_t memory_words[] = {
    {"clusters", NUMBER, AT(clusters)},
    {"hosts", NUMBER, AT(hosts)},
    {NULL, NUMBER, 0},
};

static cn_rc set_breaker(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                         unsigned argc)
{
    cn_circuit_breaker_conf_t *c = conf;

    if (set_words(cf, d, conf, argv, argc) != CN_OK)
        return CN_ERR;
    if (c->limit[CN_ADMIT_CONNECTION] == 0)
        return cn_conf_error(cf, "max_connections=0: without connections all requests would wait "
                                 "for ever: expected 1 or more");
    for (unsigned i = 0; i < CN_ADMIT_MAX; i++)
        c->limited = c->limited || c->limit[i] != CN_BREAKER_NONE;
    return CN_OK;
}

static cn_rc set_outlier(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                         unsigned argc)
{
    ((cn_circuit_breaker_conf_t *)conf)->outlier = true;
    return set_words(cf, d, conf, argv, argc);
}

static cn_rc set_memory(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                        unsigned argc)
{
    const cn_circuit_breaker_conf_t *c = conf;

    if (set_words(cf, d, conf, argv, argc) != CN_OK)
        return CN_ERR;
    if (c->clusters == 0 || c->clusters > ROWS_MAX || c->hosts == 0 || c->hosts > ROWS_MAX)
        return cn_conf_error(cf, "expected 1 to %u clusters and as many hosts", ROWS_MAX);
    return CN_OK;
}

const cn_directive_t cn_circuit_breaker_directives[] = {
    {.name = "breaker",
     .where = CN_AT_CLUSTER,
     .args = CN_ARGS(1, 4),
     .set = set_breaker,
     .arg = limit_words,
     .syntax = "breaker [max_connections=N] [max_pending=N] [max_requests=N] [max_retries=N]",
     .help =
         "What there may be at once of a cluster, over all workers: connections, requests that "
         "wait for one or for one that is being made, requests under way, retries under way. "
         "What is beyond max_connections waits; beyond the others it is answered 503 with "
         "x-envoy-overloaded: true and flag UO, and a retry is not made. TCP connections do not "
         "wait, but are closed. Workers take turns at the connections, so that none starves; "
         "each may have one HTTP/2 connection beyond max_connections, since those last and carry "
         "all of its requests."},
    {.name = "outlier",
     .where = CN_AT_CLUSTER,
     .args = CN_ARGS(0, 8),
     .set = set_outlier,
     .arg = outlier_words,
     .syntax = "outlier [consecutive_5xx=N] [consecutive_gateway=N] [split_local=on|off] "
               "[consecutive_local=N] [interval=TIME] [base_ejection=TIME] "
               "[max_ejection_percent=N] [min_health_percent=N]",
     .help =
         "Puts an endpoint aside after so many failures in a row, seen by all workers together: "
         "responses with 5xx, or with 502, 503 and 504; 0 turns a rule off. A host that cannot be "
         "reached counts as 503 and one that is too slow as 504, or, with split_local=on, both "
         "count for consecutive_local only. It stays away for base_ejection times the number of "
         "its ejections, at most 5 minutes or base_ejection, and returns at the next interval. At "
         "most max_ejection_percent of the endpoints are away, but of several always one may be. When "
         "fewer than min_health_percent are left, requests go to all endpoints.",
     .deflt = "off; then consecutive_5xx=5 consecutive_gateway=0 split_local=off "
              "consecutive_local=5 interval=10s base_ejection=30s max_ejection_percent=10 "
              "min_health_percent=0"},
    {.name = "breaker_memory",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 2),
     .set = set_memory,
     .arg = memory_words,
     .syntax = "breaker_memory [clusters=N] [hosts=N]",
     .help = "Rows of shared memory for clusters with breaker or outlier, and for endpoints that "
             "have failed. Without a free row nothing is limited and nobody put aside. Takes "
             "effect at the start only.",
     .deflt = "clusters=4096 hosts=65536"},
    {0}};
