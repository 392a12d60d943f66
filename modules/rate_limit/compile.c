/* SPDX-License-Identifier: Apache-2.0
 *
 * The directives of rate limits.  A limit is made by its block and belongs to
 * the pool of its level; levels below share it unless they bring limits of
 * their own.
 */
#include "rate_limit_int.h"

/* More tokens than one in 100 ns would round the interval by over 0.5 %. */
#define MIN_INTERVAL_NS 100u
#define MAX_WINDOW_NS (UINT64_MAX / 4)

/* ---- limit ---- */

static cn_rc unknown_word(cn_conf_t *cf, cn_str_t word, const char *expected)
{
    return cn_conf_error(cf, "\"%.*s\": expected %s", CN_STR_ARG(word), expected);
}

static cn_rc set_limit_word(cn_conf_t *cf, cn_rate_limit_t *l, cn_str_t word)
{
    cn_str_t key, value;

    if (cn_conf_keyval(word, &key, &value)) {
        if (cn_str_eq(key, CN_STR("per")) && cn_conf_parse_ms(value, &l->per_ms) == CN_OK &&
            l->per_ms > 0)
            return CN_OK;
        if (cn_str_eq(key, CN_STR("burst")) && cn_str_u64(value, UINT32_MAX, &l->burst) == CN_OK &&
            l->burst > 0)
            return CN_OK;
    }
    return unknown_word(cf, word, "per=TIME or burst=NUMBER, neither of them 0");
}

static cn_rc finish_limit(cn_conf_t *cf, cn_rate_limit_t *l)
{
    const uint64_t per_ns = l->per_ms * 1000000;

    if (l->per_ms == 0)
        return cn_conf_error(cf, "a limit needs its time: per=TIME");
    if (l->burst == 0)
        l->burst = l->requests;
    if (l->per_ms > UINT64_MAX / 4000000 || per_ns / l->requests > MAX_WINDOW_NS / l->burst)
        return cn_conf_error(cf, "a bucket of this burst and rate takes too long to fill");
    if (per_ns / l->requests < MIN_INTERVAL_NS)
        return cn_conf_error(cf, "at most 10000 requests per millisecond can be counted");
    l->interval_ns = (per_ns + l->requests / 2) / l->requests;
    l->window_ns = l->interval_ns * l->burst;
    return CN_OK;
}

static cn_rc set_limit(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                       const cn_str_t *argv, unsigned argc)
{
    cn_rate_limit_t *l = conf;

    l->given = true;
    if (argc == 2 && cn_str_eq(argv[1], CN_STR("unlimited")))
        return CN_OK;
    if (cn_str_u64(argv[1], UINT32_MAX, &l->requests) != CN_OK || l->requests == 0)
        return unknown_word(cf, argv[1], "a number of requests, 1 or more, or unlimited");
    for (unsigned i = 2; i < argc; i++)
        if (set_limit_word(cf, l, argv[i]) != CN_OK)
            return CN_ERR;
    return finish_limit(cf, l);
}

/* ---- key ---- */

typedef struct {
    const char *word;
    cn_rate_limit_part part;
    bool named;
} part_t;

static const part_t parts[] = {
    {"remote_ip", CN_RATE_LIMIT_REMOTE_IP, false},
    {"principal", CN_RATE_LIMIT_PRINCIPAL, false},
    {"namespace", CN_RATE_LIMIT_NAMESPACE, false},
    {"service_account", CN_RATE_LIMIT_SERVICE_ACCOUNT, false},
    {"header", CN_RATE_LIMIT_HEADER, true},
    {"query", CN_RATE_LIMIT_QUERY, true},
    {"method", CN_RATE_LIMIT_METHOD, false},
    {"path", CN_RATE_LIMIT_PATH, false},
};

static const part_t *find_part(cn_str_t word)
{
    for (size_t i = 0; i < CN_COUNT(parts); i++)
        if (cn_str_eq(word, cn_str_c(parts[i].word)))
            return &parts[i];
    return NULL;
}

static cn_rc set_prefix(cn_conf_t *cf, cn_rate_limit_key_t *k, cn_str_t word)
{
    cn_str_t key, value;
    uint64_t bits;

    if (cn_conf_keyval(word, &key, &value)) {
        if (cn_str_eq(key, CN_STR("v4")) && cn_str_u64(value, 32, &bits) == CN_OK) {
            k->v4 = (uint8_t)bits;
            return CN_OK;
        }
        if (cn_str_eq(key, CN_STR("v6")) && cn_str_u64(value, 128, &bits) == CN_OK) {
            k->v6 = (uint8_t)bits;
            return CN_OK;
        }
    }
    return unknown_word(cf, word, "v4=BITS (0 to 32) or v6=BITS (0 to 128)");
}

static cn_rc set_name(cn_conf_t *cf, cn_rate_limit_key_t *k, cn_str_t name)
{
    if (name.n == 0)
        return cn_conf_error(cf, "a key needs the name of its header or parameter");
    k->name = k->part == CN_RATE_LIMIT_HEADER ? cn_pool_lower(cn_conf_pool(cf), name) : name;
    return CN_OK;
}

static cn_rc set_key(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                     const cn_str_t *argv, unsigned argc)
{
    cn_rate_limit_t *l = conf;
    const part_t *part = find_part(argv[1]);
    cn_rate_limit_key_t *k;

    if (!part)
        return unknown_word(cf, argv[1],
                            "remote_ip, principal, namespace, service_account, header, query, "
                            "method or path");
    if (part->part != CN_RATE_LIMIT_REMOTE_IP && argc != (part->named ? 3 : 2))
        return cn_conf_error(cf, "key %s takes %s", part->word, part->named ? "a name" : "no more");
    k = cn_vec_push(cn_conf_pool(cf), &l->keys, sizeof(*k));
    *k = (cn_rate_limit_key_t){.part = part->part, .v4 = 32, .v6 = 128};
    if (part->named)
        return set_name(cf, k, argv[2]);
    for (unsigned i = 2; i < argc; i++)
        if (set_prefix(cf, k, argv[i]) != CN_OK)
            return CN_ERR;
    return CN_OK;
}

/* ---- the rest of a limit ---- */

static cn_rc set_bucket(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                        const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    cn_rate_limit_t *l = conf;

    l->bucket = cn_pool_printf(cn_conf_pool(cf), "bucket %.*s", CN_STR_ARG(argv[1]));
    return CN_OK;
}

static const cn_range_t keys_range = {1, 1u << 24};
static const cn_enum_t scopes[] = {
    {"pod", CN_RATE_LIMIT_POD}, {"worker", CN_RATE_LIMIT_WORKER}, {NULL, 0}};

#define F(field) offsetof(cn_rate_limit_t, field)

static const cn_directive_t limit_table[] = {
    {.name = "limit",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 3),
     .set = set_limit,
     .syntax = "limit REQUESTS per=TIME [burst=NUMBER] | limit unlimited",
     .help = "Tokens come back one by one, REQUESTS of them in TIME; up to burst of them (REQUESTS "
             "when it is not given) wait for a request. A limit that is unlimited lets everything "
             "pass: it frees a service or route of the limits of an outer level."},
    {.name = "key",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(1, 3),
     .set = set_key,
     .syntax = "key remote_ip [v4=BITS] [v6=BITS] | principal | namespace | service_account | "
               "header NAME | query NAME | method | path",
     .help = "Requests that differ in it have a bucket each; of several keys, in any of them. "
             "Without a key all requests share one. What a request does not have counts as a value "
             "of its own. remote_ip is the client's address, or the first BITS of it; path is the "
             "normalised one without its query."},
    {.name = "match",
     .where = CN_AT_PRIVATE | CN_D_BLOCK | CN_D_REPEAT | CN_D_TABLE,
     .args = CN_ARGS(0, 0),
     .set = cn_rule_set_block,
     .off = F(match),
     .arg = cn_rule_directives,
     .syntax = "match { ... }",
     .help = "Which requests the limit is for, in the words of an authorization rule: a from "
             "block, a to block and every when must hold. Of several match blocks, one. Without "
             "any, all requests."},
    {.name = "max_keys",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_u32,
     .off = F(max_keys),
     .arg = &keys_range,
     .syntax = "max_keys NUMBER",
     .help = "Values of the key that are remembered at a time. Beyond it the bucket that is "
             "nearest to full is forgotten, so that many new values cannot free one that is at "
             "its limit.",
     .deflt = "10000"},
    {.name = "scope",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_enum,
     .off = F(scope),
     .arg = scopes,
     .syntax = "scope pod | worker",
     .help = "Whether all workers share the tokens or each has its own.",
     .deflt = "pod"},
    {.name = "bucket",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = set_bucket,
     .syntax = "bucket NAME",
     .help = "Limits with the same bucket take from the same tokens, wherever they stand. Without "
             "it a limit has tokens of its own, shared by all services and routes below the place "
             "where it stands."},
    {.name = "shadow",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_flag,
     .off = F(shadow),
     .syntax = "shadow on | off",
     .help = "Only count, log (level info) and explain what the limit would refuse.",
     .deflt = "off"},
    CN_DENIAL_STATUS(F(denial)),
    {.name = "body",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_str,
     .off = F(denial.body),
     .syntax = "body TEXT",
     .help = "Of a refusal; text/plain unless a header says otherwise.",
     .deflt = "local_rate_limited"},
    CN_DENIAL_HEADER(F(denial)),
    {.name = "ratelimit_headers",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_flag,
     .off = F(show_headers),
     .syntax = "ratelimit_headers on | off",
     .help = "Say x-ratelimit-limit, -remaining and -reset (seconds until the next token) in every "
             "response that the limit is for; of several limits, those of the one with the fewest "
             "tokens left.",
     .deflt = "off"},
    CN_DENIAL_GRPC_STATUS(F(denial)),
    {.name = NULL}};

/* ---- a limit ---- */

/* Where it stands and its name, so that editing another line of the file does
 * not fill the buckets again. */
static cn_str_t own_bucket(cn_conf_t *cf, const cn_rate_limit_conf_t *c, cn_str_t name)
{
    cn_str_t here = cn_conf_name(cf);

    if (cn_str_eq(here, c->service))
        here = CN_STR_NULL;
    return cn_pool_printf(cn_conf_pool(cf), "%.*s|%.*s|%.*s", CN_STR_ARG(c->service),
                          CN_STR_ARG(here), CN_STR_ARG(name));
}

static bool has_name(const cn_rate_limit_conf_t *c, cn_str_t name)
{
    for (uint32_t i = 0; i < c->limits.n; i++)
        if (cn_str_eq(cn_rate_limit_at(c, i)->name, name))
            return true;
    return false;
}

static cn_rc check_name(cn_conf_t *cf, const cn_rate_limit_conf_t *c, cn_str_t name)
{
    if (name.n == 0)
        return cn_conf_error(cf, "a limit needs a name");
    if (has_name(c, name))
        return cn_conf_error(cf, "there is a limit \"%.*s\" here already", CN_STR_ARG(name));
    if (c->limits.n == CN_RATE_LIMIT_MAX)
        return cn_conf_error(cf, "more than %d limits in one place", CN_RATE_LIMIT_MAX);
    return CN_OK;
}

static cn_rc read_limit(cn_conf_t *cf, cn_rate_limit_t *l)
{
    if (cn_conf_block(cf, limit_table, l) != CN_OK)
        return CN_ERR;
    if (!l->given)
        return cn_conf_error(cf, "rate_limit \"%.*s\" has no limit", CN_STR_ARG(l->name));
    l->id = cn_hash_xxh(l->bucket, 0);
    return CN_OK;
}

static cn_rc set_rate_limit(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                            const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    cn_rate_limit_conf_t *c = conf;
    cn_rate_limit_t *l = cn_pool_zalloc(cn_conf_pool(cf), sizeof(*l));

    if (cn_conf_first(cf))
        c->limits = (cn_vec_t){0};
    if (check_name(cf, c, argv[1]) != CN_OK)
        return CN_ERR;
    *(cn_rate_limit_t **)cn_vec_push(cn_conf_pool(cf), &c->limits, sizeof(l)) = l;
    l->name = argv[1];
    l->bucket = own_bucket(cf, c, argv[1]);
    l->max_keys = 10000;
    l->denial = (cn_denial_t){CN_DENIAL_DEFAULT, .body = CN_STR("local_rate_limited")};
    l->count = cn_pool_zalloc(cn_conf_pool(cf), sizeof(*l->count));
    return read_limit(cf, l);
}

static cn_rc set_memory(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                        const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    cn_rate_limit_conf_t *c = conf;

    if (cn_conf_parse_size(argv[1], &c->memory) != CN_OK || c->memory < CN_RATE_LIMIT_MEMORY_MIN ||
        c->memory > 1ull << 36)
        return unknown_word(cf, argv[1], "a size, 64k to 64g");
    return CN_OK;
}

const cn_directive_t cn_rate_limit_directives[] = {
    {.name = "rate_limit",
     .where = CN_AT_MAIN | CN_AT_SERVICE | CN_AT_ROUTE | CN_D_BLOCK | CN_D_REPEAT | CN_D_TABLE,
     .args = CN_ARGS(1, 1),
     .set = set_rate_limit,
     .arg = limit_table,
     .syntax = "rate_limit NAME { ... }",
     .help = "How many requests pass; what is beyond is answered 429, flag RL. Counted after "
             "authorization, so that a request that is denied costs nothing. All limits of a level "
             "apply; limits of a route stand in place of its service's, and those of a service in "
             "place of the whole waypoint's."},
    {.name = "rate_limit_memory",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 1),
     .set = set_memory,
     .syntax = "rate_limit_memory SIZE",
     .help =
         "Memory for the buckets of all limits, 24 bytes for each of max_keys, shared by the workers; taken "
         "from the system as it is used.",
     .deflt = "16m"},
    {.name = NULL}};

cn_rc cn_rate_limit_init_main(cn_conf_t *cf CN_UNUSED, void *conf, const void *parent CN_UNUSED)
{
    cn_rate_limit_conf_t *c = conf;

    c->memory = 16u << 20;
    return CN_OK;
}

cn_rc cn_rate_limit_init_service(cn_conf_t *cf, void *conf, const void *parent)
{
    cn_rate_limit_conf_t *c = conf;

    *c = *(const cn_rate_limit_conf_t *)parent;
    c->service = cn_conf_name(cf);
    return CN_OK;
}
