/* SPDX-License-Identifier: Apache-2.0
 *
 * RateLimitPolicy and FaultPolicy (conf/k8s/crds.yaml) into directives.  A limit
 * that cannot be read is left out with an error; the others are in effect.
 */
#include "kube/limits.h"

#include <stdarg.h>
#include <stdio.h>

typedef struct {
    cn_reader_t r;
    cn_limits_policy_t *p;
    char where[64];   /* "spec.local[0]", for messages */
    const char *what; /* is read there: "limit" */
    bool said;        /* that it is left out */
} reading_t;

#define pool_of(x) ((x)->r.w->pool)
#define complain(x, node, ...) cn_store_error((x)->r.w->diag, (x)->r.obj, node, __VA_ARGS__)

/* What is being read cannot be: the one line that says so. */
static bool refuse(reading_t *x, const cn_node_t *node, const char *fmt, ...) CN_PRINTF(3, 4);
static bool refuse(reading_t *x, const cn_node_t *node, const char *fmt, ...)
{
    cn_str_t text;
    va_list ap;

    va_start(ap, fmt);
    text = cn_pool_vprintf(pool_of(x), fmt, ap);
    va_end(ap);
    complain(x, node, "%s%.*s; this %s is left out", x->where, CN_STR_ARG(text), x->what);
    x->said = true;
    return false;
}

static void begin_part(reading_t *x, const char *what)
{
    x->what = what;
    x->said = false;
}

/* For what a helper has complained about without the consequence. */
static void end_part(reading_t *x, const cn_node_t *node)
{
    if (!x->said)
        complain(x, node, "%s is left out", x->where);
}

static void add_number(const reading_t *x, cn_vec_t *list, const char *name, int64_t v)
{
    cn_dir_printf(pool_of(x), cn_dir_add(pool_of(x), list, name), "%lld", (long long)v);
}

static void add_word(const reading_t *x, cn_vec_t *list, const char *name, cn_str_t word)
{
    cn_dir_word(pool_of(x), cn_dir_add(pool_of(x), list, name), word);
}

/* ---- match: rules as an AuthorizationPolicy has them ---- */

static void put_values(const reading_t *x, cn_dir_t *d, const cn_vec_t *values)
{
    const cn_str_t *v = values->v;

    for (uint32_t i = 0; i < values->n; i++)
        cn_dir_word(pool_of(x), d, v[i]);
}

static void put_clauses(const reading_t *x, cn_vec_t *list, const char *word,
                        const cn_vec_t *clauses)
{
    const cn_policy_clause_t *c = clauses->v;

    for (uint32_t i = 0; i < clauses->n; i++) {
        cn_dir_t *block = cn_dir_block(pool_of(x), list, word);
        const cn_policy_field_t *f = c[i].fields.v;

        for (uint32_t k = 0; k < c[i].fields.n; k++)
            put_values(x, cn_dir_add(pool_of(x), &block->inner, f[k].word), &f[k].values);
    }
}

static void put_rule(const reading_t *x, cn_vec_t *list, const cn_policy_rule_t *rule)
{
    cn_dir_t *block = cn_dir_block(pool_of(x), list, "match"), *d;
    const cn_policy_when_t *w = rule->when.v;

    put_clauses(x, &block->inner, "from", &rule->from);
    put_clauses(x, &block->inner, "to", &rule->to);
    for (uint32_t i = 0; i < rule->when.n; i++) {
        d = cn_dir_add(pool_of(x), &block->inner, w[i].negated ? "when_not" : "when");
        cn_dir_word(pool_of(x), d, w[i].key);
        put_values(x, d, &w[i].values);
    }
}

/* False: there are rules, and none of them can be read (said). */
static bool put_match(reading_t *x, const cn_node_t *map, cn_vec_t *list)
{
    cn_vec_t rules = {0};
    const cn_policy_rule_t *v;

    if (!cn_node_get(map, "match"))
        return true;
    cn_model_istio_rules(x->r.w, x->r.obj, map, "match", x->where, &rules);
    v = rules.v;
    for (uint32_t i = 0; i < rules.n; i++)
        put_rule(x, list, &v[i]);
    return rules.n > 0 || refuse(x, cn_node_get(map, "match"), ".match: no rule of it can hold");
}

/* ---- where values come from ---- */

typedef struct {
    const char *type, *word;
    bool named, for_keys;
} source_t;

static const source_t sources[] = {{"Value", "value", true, false},
                                   {"Header", "header", true, true},
                                   {"QueryParam", "query", true, true},
                                   {"RemoteIP", "remote_ip", false, true},
                                   {"Principal", "principal", false, true},
                                   {"Namespace", "namespace", false, true},
                                   {"ServiceAccount", "service_account", false, true},
                                   {"Method", "method", false, true},
                                   {"Path", "path", false, true},
                                   {"Host", "host", false, false},
                                   {"Service", "service", false, false},
                                   {"Route", "route", false, false},
                                   {"Cluster", "cluster", false, false}};

static const source_t *find_source(reading_t *x, const cn_node_t *node, bool for_key)
{
    cn_str_t type = cn_read_text(&x->r, node, "type");

    for (size_t i = 0; i < CN_COUNT(sources); i++)
        if (cn_str_eq(type, cn_str_c(sources[i].type)) && (sources[i].for_keys || !for_key))
            return &sources[i];
    refuse(x, node,
           ": \"%.*s\" is no type: there are Header, QueryParam, RemoteIP, Principal, "
           "Namespace, ServiceAccount, Method, Path%s",
           CN_STR_ARG(type), for_key ? "" : ", Host, Service, Route, Cluster, Value");
    return NULL;
}

static bool put_prefix(reading_t *x, const cn_node_t *node, const char *key, const char *word,
                       int64_t most, cn_dir_t *d)
{
    int64_t bits;

    if (!cn_node_get(node, key))
        return true;
    if (!cn_read_number(&x->r, node, key, 0, most, &bits))
        return false;
    cn_dir_printf(pool_of(x), d, "%s=%lld", word, (long long)bits);
    return true;
}

/* The rest of a `key` or `entry` directive. */
static bool put_source(reading_t *x, const cn_node_t *node, bool for_key, cn_dir_t *d)
{
    const source_t *s = find_source(x, node, for_key);
    cn_str_t name;

    if (!s)
        return false;
    cn_dir_word(pool_of(x), d, cn_str_c(s->word));
    if (s->named) {
        bool value = cn_str_eq(cn_str_c(s->word), CN_STR("value"));

        name = cn_value_read_plain(&x->r, node, value ? "value" : "name", x->where);
        if (name.n == 0 ||
            (cn_str_eq(cn_str_c(s->word), CN_STR("header")) && !cn_value_is_token(name)))
            return refuse(x, node, ": type %s needs a %s", s->type, value ? "value" : "name");
        cn_dir_word(pool_of(x), d, name);
    }
    if (cn_str_eq(cn_str_c(s->word), CN_STR("remote_ip")))
        return put_prefix(x, node, "prefixV4", "v4", 32, d) &&
               put_prefix(x, node, "prefixV6", "v6", 128, d);
    return true;
}

/* ---- local limits ---- */

static bool put_limit(reading_t *x, const cn_node_t *node, cn_vec_t *list)
{
    const cn_node_t *limit = cn_node_get(node, "limit");
    int64_t requests, burst;
    uint64_t ms;
    cn_str_t time;
    cn_dir_t *d;

    if (!cn_node_get(limit, "requests") || !cn_node_get(limit, "interval"))
        return refuse(x, limit ? limit : node, ".limit needs requests and interval");
    if (!cn_read_number(&x->r, limit, "requests", 1, UINT32_MAX, &requests) ||
        !cn_value_read_duration(&x->r, limit, "interval", x->where, &ms))
        return false;
    if (ms == 0 || ms > (uint64_t)366 * 86400000 || (uint64_t)requests > ms * 10000)
        return refuse(x, limit,
                      ".limit: an interval of 1ms to 366 days, and at most 10000 requests a "
                      "millisecond");
    d = cn_dir_add(pool_of(x), list, "limit");
    cn_dir_printf(pool_of(x), d, "%lld", (long long)requests);
    time = cn_dir_time(pool_of(x), ms);
    cn_dir_printf(pool_of(x), d, "per=%.*s", CN_STR_ARG(time));
    if (!cn_node_get(limit, "burst"))
        return true;
    if (!cn_read_number(&x->r, limit, "burst", 1, 1000000000, &burst))
        return false;
    cn_dir_printf(pool_of(x), d, "burst=%lld", (long long)burst);
    return true;
}

static bool put_keys(reading_t *x, const cn_node_t *node, cn_vec_t *list)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, node, "key", &items);

    for (uint32_t i = 0; i < n; i++)
        if (!put_source(x, items[i].value, true, cn_dir_add(pool_of(x), list, "key")))
            return false;
    return true;
}

static bool put_bounds(reading_t *x, const cn_node_t *node, cn_vec_t *list)
{
    static const char *const scopes[] = {"Pod", "Worker", NULL};
    int64_t keys;
    int scope = cn_value_read_word(&x->r, node, "scope", x->where, scopes);

    if (scope == 1)
        cn_dir_flag(pool_of(x), list, "scope", "worker");
    if (cn_node_get(node, "scope") && scope < 0)
        return false;
    if (!cn_node_get(node, "maxKeys"))
        return true;
    if (!cn_read_number(&x->r, node, "maxKeys", 1, 1 << 24, &keys))
        return false;
    add_number(x, list, "max_keys", keys);
    return true;
}

/* ---- what is common to local and global limits ---- */

static void put_answer_headers(reading_t *x, const cn_node_t *response, cn_vec_t *list)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, response, "headers", &items);

    for (uint32_t i = 0; i < n; i++) {
        cn_str_t name = cn_read_text(&x->r, items[i].value, "name"),
                 value = cn_read_text(&x->r, items[i].value, "value");
        cn_dir_t *d;

        if (!cn_value_is_token(name) || !cn_value_is_header(value)) {
            complain(x, items[i].value, "spec.response.headers[%u] is no header and is left out",
                     i);
            continue;
        }
        d = cn_dir_add(pool_of(x), list, "header");
        cn_dir_word(pool_of(x), d, name);
        cn_dir_word(pool_of(x), d, value);
    }
}

static void put_response(reading_t *x, cn_vec_t *list)
{
    static const char *const headers[] = {"Off", "Draft03", NULL},
                             *const statuses[] = {"Unavailable", "ResourceExhausted", NULL},
                             *const modes[] = {"Enforce", "Shadow", NULL};
    const cn_node_t *response = cn_node_get(x->r.obj->spec, "response");
    cn_str_t body = cn_value_read_plain(&x->r, response, "body", "spec.response");
    int64_t status;

    if (cn_value_read_word(&x->r, x->r.obj->spec, "mode", "spec", modes) == 1)
        cn_dir_flag(pool_of(x), list, "shadow", "on");
    if (cn_node_get(response, "status") &&
        cn_read_number(&x->r, response, "status", 400, 599, &status))
        add_number(x, list, "status", status);
    if (body.n)
        add_word(x, list, "body", body);
    put_answer_headers(x, response, list);
    if (cn_value_read_word(&x->r, response, "ratelimitHeaders", "spec.response", headers) == 1)
        cn_dir_flag(pool_of(x), list, "ratelimit_headers", "on");
    if (cn_value_read_word(&x->r, response, "grpcStatus", "spec.response", statuses) == 1)
        cn_dir_flag(pool_of(x), list, "grpc_status", "resource_exhausted");
}

/* A name that tells limits of one policy apart: its own, or its number. */
static cn_str_t name_of(reading_t *x, const cn_node_t *node, uint32_t i)
{
    cn_str_t name = cn_read_text(&x->r, node, "name");

    if (cn_store_is_label_value(name))
        return name;
    if (name.n)
        complain(x, node, "%s.name: \"%.*s\" is no name; it is called %u", x->where,
                 CN_STR_ARG(name), i);
    return cn_pool_printf(pool_of(x), "%u", i);
}

static bool is_taken(const cn_vec_t *list, cn_str_t name)
{
    const cn_limits_entry_t *v = list->v;

    for (uint32_t i = 0; i < list->n; i++)
        if (cn_str_eq(v[i].name, name))
            return true;
    return false;
}

static void read_local(reading_t *x, const cn_node_t *node, uint32_t i)
{
    cn_limits_entry_t e = {.name = name_of(x, node, i)};

    begin_part(x, "limit");
    if (is_taken(&x->p->local, e.name)) {
        refuse(x, node, ": there is a limit \"%.*s\" already", CN_STR_ARG(e.name));
        return;
    }
    if (!put_limit(x, node, &e.inner) || !put_keys(x, node, &e.inner) ||
        !put_match(x, node, &e.inner) || !put_bounds(x, node, &e.inner)) {
        end_part(x, node);
        return;
    }
    put_response(x, &e.inner);
    *(cn_limits_entry_t *)cn_vec_push(pool_of(x), &x->p->local, sizeof(e)) = e;
}

static void read_locals(reading_t *x)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, x->r.obj->spec, "local", &items);

    x->p->has[CN_LIMITS_LOCAL] = cn_node_get(x->r.obj->spec, "local") != NULL;
    for (uint32_t i = 0; i < n; i++) {
        snprintf(x->where, sizeof(x->where), "spec.local[%u]", i);
        read_local(x, items[i].value, i);
    }
}

/* ---- global limits ---- */

static bool put_entries(reading_t *x, const cn_node_t *node, cn_vec_t *list)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, node, "entries", &items);

    for (uint32_t i = 0; i < n; i++) {
        cn_str_t key = cn_value_read_plain(&x->r, items[i].value, "key", x->where);
        cn_dir_t *d = cn_dir_add(pool_of(x), list, "entry");

        if (key.n == 0)
            return refuse(x, items[i].value, ".entries[%u] has no key", i);
        cn_dir_word(pool_of(x), d, key);
        if (!put_source(x, items[i].value, false, d))
            return false;
        if (cn_value_read_bool(&x->r, items[i].value, "optional", x->where, false))
            cn_dir_word(pool_of(x), d, CN_STR("optional"));
    }
    return n > 0 || refuse(x, node, " has no entries");
}

static bool put_override(reading_t *x, const cn_node_t *node, cn_vec_t *list)
{
    static const char *const names[] = {"Second", "Minute", "Hour", "Day", "Month", "Year", NULL},
                             *const words[] = {"second", "minute", "hour", "day", "month", "year"};
    const cn_node_t *limit = cn_node_get(node, "limitOverride");
    int unit = cn_value_read_word(&x->r, limit, "unit", x->where, names);
    int64_t requests;
    cn_dir_t *d;

    if (!limit)
        return true;
    if (unit < 0 || !cn_read_number(&x->r, limit, "requests", 1, UINT32_MAX, &requests))
        return refuse(x, limit, ".limitOverride needs requests and unit");
    d = cn_dir_add(pool_of(x), list, "limit");
    cn_dir_printf(pool_of(x), d, "%lld", (long long)requests);
    cn_dir_printf(pool_of(x), d, "per=%s", words[unit]);
    return true;
}

static bool put_hits(reading_t *x, const cn_node_t *node, cn_vec_t *list)
{
    int64_t hits;

    if (!cn_node_get(node, "hits"))
        return true;
    if (!cn_read_number(&x->r, node, "hits", 1, 1000000000, &hits))
        return false;
    add_number(x, list, "hits", hits);
    return true;
}

static bool put_descriptors(reading_t *x, const cn_node_t *global, cn_vec_t *list)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, global, "descriptors", &items), kept = 0;

    for (uint32_t i = 0; i < n; i++) {
        cn_vec_t inner = {0};

        snprintf(x->where, sizeof(x->where), "spec.global.descriptors[%u]", i);
        begin_part(x, "descriptor");
        if (put_entries(x, items[i].value, &inner) && put_match(x, items[i].value, &inner) &&
            put_hits(x, items[i].value, &inner) && put_override(x, items[i].value, &inner)) {
            cn_dir_block(pool_of(x), list, "descriptor")->inner = inner;
            kept++;
        } else {
            end_part(x, items[i].value);
        }
    }
    snprintf(x->where, sizeof(x->where), "spec.global");
    begin_part(x, "limit");
    return kept > 0 || refuse(x, global, " has no descriptor");
}

/* The Service of the rate limit service. */
static bool read_service(reading_t *x, const cn_node_t *global, cn_limits_entry_t *e)
{
    const cn_node_t *service = cn_node_get(global, "service");
    int64_t port;

    e->service = service;
    e->service_name = cn_read_text(&x->r, service, "name");
    e->ns = cn_read_text(&x->r, service, "namespace");
    if (e->ns.n == 0)
        e->ns = x->r.obj->ns;
    if (!cn_store_is_dns_label(e->service_name) ||
        !cn_read_number(&x->r, service, "port", 1, 65535, &port))
        return refuse(x, global, ".service needs name and port");
    e->port = (uint16_t)port;
    return true;
}

static bool put_failure(reading_t *x, const cn_node_t *global, cn_vec_t *list)
{
    static const char *const modes[] = {"Allow", "Deny", NULL};
    uint64_t ms;

    if (cn_value_read_word(&x->r, global, "failureMode", "spec.global", modes) == 1)
        cn_dir_flag(pool_of(x), list, "failure", "deny");
    if (!cn_node_get(global, "timeout"))
        return true;
    if (!cn_value_read_duration(&x->r, global, "timeout", "spec.global", &ms) || ms == 0)
        return false;
    add_word(x, list, "timeout", cn_dir_time(pool_of(x), ms));
    return true;
}

static void read_global(reading_t *x)
{
    const cn_node_t *global = cn_node_get(x->r.obj->spec, "global");
    cn_limits_entry_t e = {.name = CN_STR("global")};
    cn_str_t domain;

    if (!global)
        return;
    snprintf(x->where, sizeof(x->where), "spec.global");
    begin_part(x, "limit");
    domain = cn_value_read_plain(&x->r, global, "domain", "spec.global");
    if (domain.n == 0)
        refuse(x, global, ".domain is required");
    else
        add_word(x, &e.inner, "domain", domain);
    if (domain.n == 0 || !read_service(x, global, &e) || !put_failure(x, global, &e.inner) ||
        !put_hits(x, global, &e.inner) || !put_match(x, global, &e.inner) ||
        !put_descriptors(x, global, &e.inner)) {
        end_part(x, global);
        return;
    }
    put_response(x, &e.inner);
    x->p->has[CN_LIMITS_GLOBAL] = true;
    *(cn_limits_entry_t *)cn_vec_push(pool_of(x), &x->p->global, sizeof(e)) = e;
}

/* ---- faults ---- */

/* "50", "0.1" or 50: what the API calls int-or-string. */
static bool read_percent(reading_t *x, const cn_node_t *node, cn_dir_t *d)
{
    const cn_node_t *v = cn_node_get(node, "percentage");
    uint32_t parts = 100 * CN_VALUE_PERCENT;
    cn_str_t text;

    if (v && (v->kind >= CN_NODE_LIST || cn_value_percent(v->text, &parts) != CN_OK))
        return refuse(x, v, ": percentage must be from 0 to 100, with up to 4 decimals");
    text = cn_value_percent_text(pool_of(x), parts);
    cn_dir_printf(pool_of(x), d, "percent=%.*s", CN_STR_ARG(text));
    return true;
}

static bool put_fault_headers(reading_t *x, const cn_node_t *fault, cn_dir_t *d)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, fault, "headers", &items);

    for (uint32_t i = 0; i < n; i++) {
        cn_str_t name = cn_read_text(&x->r, items[i].value, "name"),
                 value = cn_read_text(&x->r, items[i].value, "value");

        if (!cn_value_is_token(name) || !cn_value_is_header(value))
            return refuse(x, items[i].value, ".headers[%u] is no header", i);
        cn_dir_word(pool_of(x), d, CN_STR("header"));
        cn_dir_word(pool_of(x), d, name);
        cn_dir_word(pool_of(x), d, value);
    }
    return true;
}

static bool put_delay(reading_t *x, const cn_node_t *fault, cn_vec_t *list)
{
    const cn_node_t *delay = cn_node_get(fault, "delay");
    uint64_t ms;
    cn_dir_t *d;

    if (!delay)
        return true;
    if (!cn_value_read_duration(&x->r, delay, "fixed", x->where, &ms) || ms == 0)
        return refuse(x, delay, ".delay needs fixed, a time above 0");
    d = cn_dir_add(pool_of(x), list, "fault");
    cn_dir_word(pool_of(x), d, CN_STR("delay"));
    cn_dir_word(pool_of(x), d, cn_dir_time(pool_of(x), ms));
    return read_percent(x, delay, d) && put_fault_headers(x, fault, d);
}

static bool put_abort(reading_t *x, const cn_node_t *fault, cn_vec_t *list)
{
    const cn_node_t *abort = cn_node_get(fault, "abort");
    bool grpc = cn_node_get(abort, "grpcStatus") != NULL;
    int64_t status;
    cn_dir_t *d;

    if (!abort)
        return true;
    if (grpc == (cn_node_get(abort, "httpStatus") != NULL))
        return refuse(x, abort, ".abort needs httpStatus or grpcStatus");
    if (!cn_read_number(&x->r, abort, grpc ? "grpcStatus" : "httpStatus", grpc ? 1 : 200,
                        grpc ? 16 : 599, &status))
        return false;
    d = cn_dir_add(pool_of(x), list, "fault");
    cn_dir_word(pool_of(x), d, CN_STR("abort"));
    cn_dir_printf(pool_of(x), d, grpc ? "grpc=%lld" : "%lld", (long long)status);
    return read_percent(x, abort, d) && put_fault_headers(x, fault, d);
}

static void read_fault(reading_t *x, const cn_node_t *node)
{
    cn_vec_t dirs = {0};

    begin_part(x, "fault");
    if (!cn_node_get(node, "delay") && !cn_node_get(node, "abort"))
        refuse(x, node, " has neither delay nor abort");
    else if (put_delay(x, node, &dirs) && put_abort(x, node, &dirs))
        cn_dir_append(pool_of(x), &x->p->faults, &dirs);
    else
        end_part(x, node);
}

/* ---- policies ---- */

static void read_targets(reading_t *x)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, x->r.obj->spec, "targetRefs", &items);

    for (uint32_t i = 0; i < n && i < 16; i++) {
        cn_limits_target_t *t = cn_vec_push(pool_of(x), &x->p->targets, sizeof(*t));

        cn_model_read_target(&x->r, items[i].value, &t->ref);
        t->section = t->ref.section;
    }
    if (n > 16)
        complain(x, items[16].value, "spec.targetRefs: at most 16; the others have no effect");
}

static reading_t begin(cn_world_t *w, const cn_object_t *o)
{
    reading_t x = {.r = {w, o}, .p = cn_pool_zalloc(w->pool, sizeof(*x.p))};

    x.p->obj = o;
    read_targets(&x);
    *(cn_limits_policy_t **)cn_vec_push(w->pool, &w->limits, sizeof(x.p)) = x.p;
    return x;
}

void cn_model_cairn_limits(cn_world_t *w, const cn_object_t *o)
{
    reading_t x = begin(w, o);
    const cn_node_item_t *items = NULL;
    uint32_t given;

    read_locals(&x);
    read_global(&x);
    given = cn_node_list(o->spec, "local", &items) + (cn_node_get(o->spec, "global") != NULL);
    if (given && x.p->local.n + x.p->global.n == 0)
        x.p->invalid = CN_STR("none of its limits can be read");
    else if (!given && !x.p->has[CN_LIMITS_LOCAL])
        x.p->invalid = CN_STR("it has neither local nor global limits");
}

void cn_model_cairn_faults(cn_world_t *w, const cn_object_t *o)
{
    reading_t x = begin(w, o);
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x.r, o->spec, "faults", &items);

    for (uint32_t i = 0; i < n; i++) {
        snprintf(x.where, sizeof(x.where), "spec.faults[%u]", i);
        read_fault(&x, items[i].value);
    }
    x.p->has[CN_LIMITS_FAULT] = cn_node_get(o->spec, "faults") != NULL;
    if (!x.p->has[CN_LIMITS_FAULT])
        x.p->invalid = CN_STR("it has no faults");
    else if (n && x.p->faults.n == 0)
        x.p->invalid = CN_STR("none of its faults can be read");
}
