/* SPDX-License-Identifier: Apache-2.0
 *
 * The directives of global rate limits.  A service is made by its block and
 * belongs to the pool of its level; levels below share it unless they bring
 * services of their own.
 */
#include "rls_int.h"

static cn_rc unknown_word(cn_conf_t *cf, cn_str_t word, const char *expected)
{
    return cn_conf_error(cf, "\"%.*s\": expected %s", CN_STR_ARG(word), expected);
}

/* ---- entries ---- */

typedef struct {
    const char *word;
    rls_source source;
    bool named;
} source_t;

static const source_t sources[] = {
    {"value", RLS_VALUE, true},
    {"header", RLS_HEADER, true},
    {"query", RLS_QUERY, true},
    {"remote_ip", RLS_REMOTE_IP, false},
    {"principal", RLS_PRINCIPAL, false},
    {"namespace", RLS_NAMESPACE, false},
    {"service_account", RLS_SERVICE_ACCOUNT, false},
    {"method", RLS_METHOD, false},
    {"path", RLS_PATH, false},
    {"host", RLS_HOST, false},
    {"service", RLS_SERVICE, false},
    {"route", RLS_ROUTE, false},
    {"cluster", RLS_CLUSTER, false},
};

static const source_t *find_source(cn_str_t word)
{
    for (size_t i = 0; i < CN_COUNT(sources); i++)
        if (cn_str_eq(word, cn_str_c(sources[i].word)))
            return &sources[i];
    return NULL;
}

static cn_rc set_option(cn_conf_t *cf, rls_entry_t *e, cn_str_t word)
{
    bool address = e->source == RLS_REMOTE_IP;
    cn_str_t key, value;
    uint64_t bits;

    if (e->source != RLS_VALUE && cn_str_eq(word, CN_STR("optional"))) {
        e->optional = true;
        return CN_OK;
    }
    if (address && cn_conf_keyval(word, &key, &value)) {
        if (cn_str_eq(key, CN_STR("v4")) && cn_str_u64(value, 32, &bits) == CN_OK) {
            e->v4 = (uint8_t)bits;
            return CN_OK;
        }
        if (cn_str_eq(key, CN_STR("v6")) && cn_str_u64(value, 128, &bits) == CN_OK) {
            e->v6 = (uint8_t)bits;
            return CN_OK;
        }
    }
    return unknown_word(cf, word,
                        address ? "v4=BITS (0 to 32), v6=BITS (0 to 128) or optional"
                        : e->source == RLS_VALUE ? "the end of the entry"
                                                 : "optional");
}

static cn_rc set_entry(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                       const cn_str_t *argv, unsigned argc)
{
    rls_descriptor_t *desc = conf;
    const source_t *source = find_source(argv[2]);
    unsigned next = 3;
    rls_entry_t *e;

    if (!source)
        return unknown_word(cf, argv[2],
                            "value, header, query, remote_ip, principal, namespace, "
                            "service_account, method, path, host, service, route or cluster");
    if (desc->entries.n == RLS_ENTRIES)
        return cn_conf_error(cf, "more than %d entries in one descriptor", RLS_ENTRIES);
    e = cn_vec_push(cn_conf_pool(cf), &desc->entries, sizeof(*e));
    *e = (rls_entry_t){.key = argv[1], .source = source->source, .v4 = 32, .v6 = 128};
    if (source->named) {
        if (argc < 4 || argv[3].n == 0)
            return cn_conf_error(cf, "entry ... %s needs what follows it", source->word);
        e->arg = source->source == RLS_HEADER ? cn_pool_lower(cn_conf_pool(cf), argv[3]) : argv[3];
        next = 4;
    }
    if (e->key.n == 0)
        return cn_conf_error(cf, "an entry needs a key");
    for (unsigned i = next; i < argc; i++)
        if (set_option(cf, e, argv[i]) != CN_OK)
            return CN_ERR;
    return CN_OK;
}

/* ---- descriptors ---- */

static const cn_enum_t units[] = {{"second", 1}, {"minute", 2}, {"hour", 3}, {"day", 4},
                                  {"month", 5},  {"year", 6},   {NULL, 0}};

static cn_rc set_override(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                          const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    rls_descriptor_t *desc = conf;
    cn_str_t key, value;
    uint64_t n;

    if (cn_str_u64(argv[1], UINT32_MAX, &n) != CN_OK || n == 0)
        return unknown_word(cf, argv[1], "a number of requests, 1 or more");
    desc->limit = (uint32_t)n;
    if (cn_conf_keyval(argv[2], &key, &value) && cn_str_eq(key, CN_STR("per")))
        for (const cn_enum_t *u = units; u->word; u++)
            if (cn_str_eq(value, cn_str_c(u->word))) {
                desc->unit = u->value;
                return CN_OK;
            }
    return unknown_word(cf, argv[2], "per=second, minute, hour, day, month or year");
}

static const cn_range_t hits_range = {1, 1000000000};

static const cn_directive_t descriptor_table[] = {
    {.name = "entry",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(2, 5),
     .set = set_entry,
     .syntax = "entry KEY value TEXT | header NAME | query NAME | remote_ip [v4=BITS] [v6=BITS] | "
               "principal | namespace | service_account | method | path | host | service | route | "
               "cluster [optional]",
     .help = "One key of the descriptor and where its value comes from; the order is kept. When "
             "there is no value the descriptor is not sent, or with optional only this entry is "
             "left out. service and route are the names in this file, cluster is where the request "
             "goes; host is without its port; path is the normalised one with its query; a shorter "
             "remote_ip is written as a block, 10.1.0.0/16."},
    {.name = "match",
     .where = CN_AT_PRIVATE | CN_D_BLOCK | CN_D_REPEAT | CN_D_TABLE,
     .args = CN_ARGS(0, 0),
     .set = cn_rule_set_block,
     .off = offsetof(rls_descriptor_t, match),
     .arg = cn_rule_directives,
     .syntax = "match { ... }",
     .help = "For which requests the descriptor is sent, in the words of an authorization rule; of "
             "several match blocks, one must hold. Without any, for all."},
    {.name = "hits",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_u32,
     .off = offsetof(rls_descriptor_t, hits),
     .arg = &hits_range,
     .syntax = "hits NUMBER",
     .help = "What a request counts for this descriptor, for services that know that field."},
    {.name = "limit",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(2, 2),
     .set = set_override,
     .syntax = "limit REQUESTS per=second | minute | hour | day | month | year",
     .help = "Takes the place of the limit that the service itself has for the descriptor."},
    {.name = NULL}};

static cn_rc set_descriptor(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                            const cn_str_t *argv CN_UNUSED, unsigned argc CN_UNUSED)
{
    rls_t *s = conf;
    rls_descriptor_t *desc;

    if (s->descriptors.n == RLS_DESCRIPTORS)
        return cn_conf_error(cf, "more than %d descriptors", RLS_DESCRIPTORS);
    desc = cn_vec_push(cn_conf_pool(cf), &s->descriptors, sizeof(*desc));
    if (cn_conf_block(cf, descriptor_table, desc) != CN_OK)
        return CN_ERR;
    return desc->entries.n ? CN_OK : cn_conf_error(cf, "a descriptor needs an entry");
}

/* ---- services ---- */

static cn_rc set_failure(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                         const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    rls_t *s = conf;

    s->deny = cn_str_eq(argv[1], CN_STR("deny"));
    return s->deny || cn_str_eq(argv[1], CN_STR("allow"))
               ? CN_OK
               : unknown_word(cf, argv[1], "allow or deny");
}

#define F(field) offsetof(rls_t, field)

static const cn_directive_t service_table[] = {
    {.name = "domain",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_str,
     .off = F(domain),
     .syntax = "domain NAME",
     .help = "Of the service's limits that are meant. Required."},
    {.name = "cluster",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_str,
     .off = F(cluster),
     .syntax = "cluster NAME",
     .help = "Where the service is; one of protocol grpc or http2. Required."},
    {.name = "timeout",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_ms,
     .off = F(timeout_ms),
     .syntax = "timeout TIME",
     .help = "How long the service may take before it has failed.",
     .deflt = "20ms"},
    {.name = "failure",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = set_failure,
     .syntax = "failure allow | deny",
     .help = "Whether a request passes when the service fails, or is answered 500.",
     .deflt = "allow"},
    {.name = "descriptor",
     .where = CN_AT_PRIVATE | CN_D_BLOCK | CN_D_REPEAT | CN_D_TABLE,
     .args = CN_ARGS(0, 0),
     .set = set_descriptor,
     .arg = descriptor_table,
     .syntax = "descriptor { ... }",
     .help = "What is asked about a request: the service has one counter for each different list "
             "of entries. Of several descriptors each is asked for. A request for which none is "
             "complete passes without asking."},
    {.name = "match",
     .where = CN_AT_PRIVATE | CN_D_BLOCK | CN_D_REPEAT | CN_D_TABLE,
     .args = CN_ARGS(0, 0),
     .set = cn_rule_set_block,
     .off = F(match),
     .arg = cn_rule_directives,
     .syntax = "match { ... }",
     .help = "Which requests are asked about, in the words of an authorization rule; of several "
             "match blocks, one must hold. Without any, all requests."},
    {.name = "hits",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_u32,
     .off = F(hits),
     .arg = &hits_range,
     .syntax = "hits NUMBER",
     .help = "What a request counts.",
     .deflt = "1"},
    {.name = "shadow",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_flag,
     .off = F(shadow),
     .syntax = "shadow on | off",
     .help = "Ask, count, log (level info) and explain, but refuse nothing.",
     .deflt = "off"},
    CN_DENIAL_STATUS(F(denial)),
    {.name = "body",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_str,
     .off = F(denial.body),
     .syntax = "body TEXT",
     .help = "Of a refusal for which the service gives none.",
     .deflt = "\"\""},
    CN_DENIAL_HEADER(F(denial)),
    {.name = "ratelimit_headers",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_flag,
     .off = F(show_headers),
     .syntax = "ratelimit_headers on | off",
     .help = "Say x-ratelimit-limit (with the quotas of all descriptors), -remaining and -reset of "
             "the descriptor with the fewest requests left, as the service reports them.",
     .deflt = "off"},
    CN_DENIAL_GRPC_STATUS(F(denial)),
    {.name = NULL}};

static cn_rc check_service(cn_conf_t *cf, const rls_t *s)
{
    const char *lacks = s->domain.n == 0        ? "domain"
                        : s->cluster.n == 0     ? "cluster"
                        : s->descriptors.n == 0 ? "descriptor"
                                                : NULL;

    if (lacks)
        return cn_conf_error(cf, "rate_limit_service \"%.*s\" has no %s", CN_STR_ARG(s->name),
                             lacks);
    if (s->timeout_ms == 0)
        return cn_conf_error(cf, "a request cannot wait for its limit for ever: timeout is 0");
    return CN_OK;
}

static cn_rc check_name(cn_conf_t *cf, const rls_conf_t *c, cn_str_t name)
{
    if (name.n == 0)
        return cn_conf_error(cf, "a rate limit service needs a name");
    for (uint32_t i = 0; i < c->services.n; i++)
        if (cn_str_eq(rls_at(c, i)->name, name))
            return cn_conf_error(cf, "there is a rate_limit_service \"%.*s\" here already",
                                 CN_STR_ARG(name));
    if (c->services.n == RLS_MAX)
        return cn_conf_error(cf, "more than %d rate limit services in one place", RLS_MAX);
    return CN_OK;
}

static cn_rc set_service(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                         const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    rls_conf_t *c = conf;
    rls_t *s = cn_pool_zalloc(cn_conf_pool(cf), sizeof(*s));

    if (cn_conf_first(cf))
        c->services = (cn_vec_t){0};
    if (check_name(cf, c, argv[1]) != CN_OK)
        return CN_ERR;
    *(rls_t **)cn_vec_push(cn_conf_pool(cf), &c->services, sizeof(s)) = s;
    *s = (rls_t){.name = argv[1],
                 .timeout_ms = 20,
                 .hits = 1,
                 .denial = {CN_DENIAL_DEFAULT},
                 .count = cn_pool_zalloc(cn_conf_pool(cf), sizeof(*s->count))};
    if (cn_conf_block(cf, service_table, s) != CN_OK)
        return CN_ERR;
    return check_service(cf, s);
}

const cn_directive_t rls_directives[] = {
    {.name = "rate_limit_service",
     .where = CN_AT_MAIN | CN_AT_SERVICE | CN_AT_ROUTE | CN_D_BLOCK | CN_D_REPEAT | CN_D_TABLE,
     .args = CN_ARGS(1, 1),
     .set = set_service,
     .arg = service_table,
     .syntax = "rate_limit_service NAME { ... }",
     .help =
         "Limits that several proxies share: each request is asked about at a service that "
         "speaks Envoy's rate limit protocol (RLS v3, gRPC). What is over its limit is answered "
         "429 with x-envoy-ratelimited: true. Asked after local limits, so what these refuse is "
         "not counted there. Services of a route stand in place of its service's, and those of "
         "a service in place of the whole waypoint's."},
    {.name = NULL}};
