/* SPDX-License-Identifier: Apache-2.0
 *
 * The two shapes of EnvoyFilter that people limit rates with: the local limit
 * of a whole listener, and the global limit with its route actions.  They
 * become what the native policy would be; each other patch is one warning.
 *
 * The global shape needs two patches, often in two objects: the filter names
 * the service, the actions say what it is asked.  So actions are gathered by
 * target first, and every filter of the same target gets all of them.
 */
#include "kube/limits.h"

#include <stdio.h>

#define LOCAL "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
#define GLOBAL "envoy.extensions.filters.http.ratelimit.v3.RateLimit"

typedef struct {
    cn_reader_t r;
    cn_limits_policy_t *p;
    cn_vec_t clusters; /* const cn_node_t *: values of added clusters */
    char where[48];
} reading_t;

#define pool_of(x) ((x)->r.w->pool)
#define say(x, node, ...) cn_store_warn((x)->r.w->diag, (x)->r.obj, node, __VA_ARGS__)

/* What was read of one EnvoyFilter and is put together at the end. */
struct cn_envoyfilter {
    cn_limits_policy_t *policy;
    cn_vec_t actions; /* cn_dir_t *: descriptor blocks */
};
typedef struct cn_envoyfilter filter_t;

/* ---- values of Envoy's JSON ---- */

/* The filter's settings when they are of that type, given plainly or as TypedStruct. */
static const cn_node_t *config_of(const cn_node_t *value, const char *type)
{
    const cn_node_t *config = cn_node_get(value, "typed_config");
    cn_str_t url = cn_node_str(config, "@type");

    if (!config)
        config = cn_node_get(value, "typedConfig"), url = cn_node_str(config, "@type");
    if (cn_str_ends(url, CN_STR(".TypedStruct"))) {
        url = cn_node_str(config, "type_url");
        config = cn_node_get(config, "value");
    }
    return cn_str_ends(url, cn_str_c(type)) ? config : NULL;
}

/* 0, 100, or -1 for a share between. */
static int percent_of(const cn_node_t *fraction)
{
    const cn_node_t *v = cn_node_get(fraction, "default_value");
    cn_str_t unit = cn_node_str(v, "denominator");
    uint64_t n = 0, of = cn_str_eq(unit, CN_STR("MILLION"))        ? 1000000
                         : cn_str_eq(unit, CN_STR("TEN_THOUSAND")) ? 10000
                                                                   : 100;

    if (cn_node_str(v, "numerator").n && cn_str_u64(cn_node_str(v, "numerator"), 1u << 30, &n))
        return -1;
    return n == 0 ? 0 : n >= of ? 100 : -1;
}

/* ---- the local limit ---- */

static bool put_bucket(reading_t *x, const cn_node_t *config, cn_vec_t *list)
{
    const cn_node_t *bucket = cn_node_get(config, "token_bucket");
    int64_t burst, tokens = 1;
    uint64_t ms;
    cn_str_t time;
    cn_dir_t *d;

    if (!cn_read_number(&x->r, bucket, "max_tokens", 1, 1000000000, &burst) ||
        !cn_value_read_duration(&x->r, bucket, "fill_interval", x->where, &ms) || ms == 0) {
        say(x, config, "%s: has no effect: no token_bucket with max_tokens and fill_interval",
            x->where);
        return false;
    }
    if (cn_node_get(bucket, "tokens_per_fill") &&
        !cn_read_number(&x->r, bucket, "tokens_per_fill", 1, 1000000000, &tokens))
        return false;
    if ((uint64_t)tokens > ms * 10000) {
        say(x, bucket, "%s: has no effect: more than 10000 tokens a millisecond", x->where);
        return false;
    }
    d = cn_dir_add(pool_of(x), list, "limit");
    cn_dir_printf(pool_of(x), d, "%lld", (long long)tokens);
    time = cn_dir_time(pool_of(x), ms);
    cn_dir_printf(pool_of(x), d, "per=%.*s", CN_STR_ARG(time));
    cn_dir_printf(pool_of(x), d, "burst=%lld", (long long)burst);
    return true;
}

/* False: the filter is off. */
static bool put_mode(reading_t *x, const cn_node_t *config, cn_vec_t *list)
{
    int enabled = percent_of(cn_node_get(config, "filter_enabled")),
        enforced = percent_of(cn_node_get(config, "filter_enforced"));

    if (enabled == 0) {
        say(x, config,
            "%s: has no effect: filter_enabled is 0 %%, as in Envoy when it is not given",
            x->where);
        return false;
    }
    if (enabled < 0 || enforced < 0)
        say(x, config,
            "%s: filter_enabled and filter_enforced: a share of requests is not supported and "
            "taken for all of them",
            x->where);
    if (enforced == 0)
        cn_dir_flag(pool_of(x), list, "shadow", "on");
    return true;
}

static void put_local_answer(reading_t *x, const cn_node_t *config, cn_vec_t *list)
{
    const cn_node_t *status = cn_node_get(config, "status");
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_node_list(config, "response_headers_to_add", &items);
    int64_t code;

    if (cn_node_get(status, "code") && cn_read_number(&x->r, status, "code", 400, 599, &code))
        cn_dir_printf(pool_of(x), cn_dir_add(pool_of(x), list, "status"), "%lld", (long long)code);
    for (uint32_t i = 0; i < n; i++) {
        const cn_node_t *h = cn_node_get(items[i].value, "header");
        cn_str_t name = cn_node_str(h, "key"), value = cn_node_str(h, "value");
        cn_dir_t *d;

        if (!cn_value_is_token(name) || !cn_value_is_header(value))
            continue;
        d = cn_dir_add(pool_of(x), list, "header");
        cn_dir_word(pool_of(x), d, name);
        cn_dir_word(pool_of(x), d, value);
    }
}

static void put_common(reading_t *x, const cn_node_t *config, cn_vec_t *list)
{
    if (cn_node_true(config, "rate_limited_as_resource_exhausted"))
        cn_dir_flag(pool_of(x), list, "grpc_status", "resource_exhausted");
    if (cn_str_eq(cn_node_str(config, "enable_x_ratelimit_headers"), CN_STR("DRAFT_VERSION_03")))
        cn_dir_flag(pool_of(x), list, "ratelimit_headers", "on");
}

static void read_local(reading_t *x, const cn_node_t *config)
{
    static const char *const unknown[] = {"descriptors",
                                          "local_rate_limit_per_downstream_connection",
                                          "rate_limits", "local_cluster_rate_limit"};
    cn_limits_entry_t e = {.name = cn_pool_printf(pool_of(x), "%u", x->p->local.n)};

    for (size_t i = 0; i < CN_COUNT(unknown); i++)
        if (cn_node_get(config, unknown[i]))
            say(x, cn_node_get(config, unknown[i]),
                "%s: %s has no effect here; a RateLimitPolicy can say it", x->where, unknown[i]);
    if (!put_bucket(x, config, &e.inner) || !put_mode(x, config, &e.inner))
        return;
    put_local_answer(x, config, &e.inner);
    put_common(x, config, &e.inner);
    x->p->has[CN_LIMITS_LOCAL] = true;
    *(cn_limits_entry_t *)cn_vec_push(pool_of(x), &x->p->local, sizeof(e)) = e;
}

/* ---- the global limit: its service ---- */

/* "outbound|8081||ratelimit.default.svc.cluster.local" */
static bool read_istio_cluster(cn_str_t name, cn_limits_entry_t *e)
{
    cn_str_t part[4];
    uint64_t port;

    for (int i = 0; i < 4; i++)
        if (!cn_str_split(&name, '|', &part[i]))
            return false;
    if (!cn_str_eq(part[0], CN_STR("outbound")) || cn_str_u64(part[1], 65535, &port) != CN_OK)
        return false;
    e->host = part[3];
    e->port = (uint16_t)port;
    return e->host.n > 0;
}

/* A cluster that the EnvoyFilter adds itself: the first address that it has. */
static bool read_own_cluster(const reading_t *x, cn_str_t name, cn_limits_entry_t *e)
{
    const cn_node_t *const *v = x->clusters.v;
    const cn_node_item_t *eps = NULL, *lb = NULL;
    const cn_node_t *address;
    uint64_t port;

    for (uint32_t i = 0; i < x->clusters.n; i++) {
        if (!cn_str_eq(cn_node_str(v[i], "name"), name) ||
            cn_node_list(cn_node_get(v[i], "load_assignment"), "endpoints", &eps) == 0 ||
            cn_node_list(eps[0].value, "lb_endpoints", &lb) == 0)
            continue;
        address = cn_node_get(cn_node_get(cn_node_get(lb[0].value, "endpoint"), "address"),
                              "socket_address");
        e->host = cn_node_str(address, "address");
        if (e->host.n == 0 || cn_str_u64(cn_node_str(address, "port_value"), 65535, &port) != CN_OK)
            return false;
        e->port = (uint16_t)port;
        return true;
    }
    return false;
}

static bool read_service(reading_t *x, const cn_node_t *config, cn_limits_entry_t *e)
{
    const cn_node_t *grpc = cn_node_get(cn_node_get(config, "rate_limit_service"), "grpc_service");
    cn_str_t name = cn_node_str(cn_node_get(grpc, "envoy_grpc"), "cluster_name");

    e->service = config;
    if (read_istio_cluster(name, e) || read_own_cluster(x, name, e))
        return true;
    say(x, config, "%s: has no effect: its service's cluster \"%.*s\" is no service of the mesh",
        x->where, CN_STR_ARG(name));
    return false;
}

static void read_global(reading_t *x, const cn_node_t *config)
{
    cn_limits_entry_t e = {.name = cn_pool_printf(pool_of(x), "global.%u", x->p->global.n)};
    cn_str_t domain = cn_node_str(config, "domain");
    uint64_t ms;

    if (!cn_value_is_word(domain)) {
        say(x, config, "%s: has no effect: it has no domain", x->where);
        return;
    }
    cn_dir_word(pool_of(x), cn_dir_add(pool_of(x), &e.inner, "domain"), domain);
    if (!read_service(x, config, &e))
        return;
    if (cn_node_true(config, "failure_mode_deny"))
        cn_dir_flag(pool_of(x), &e.inner, "failure", "deny");
    if (cn_value_read_duration(&x->r, config, "timeout", x->where, &ms) && ms)
        cn_dir_word(pool_of(x), cn_dir_add(pool_of(x), &e.inner, "timeout"),
                    cn_dir_time(pool_of(x), ms));
    put_common(x, config, &e.inner);
    *(cn_limits_entry_t *)cn_vec_push(pool_of(x), &x->p->global, sizeof(e)) = e;
}

/* ---- the global limit: its actions ---- */

/* "entry KEY WORD [ARG] [optional]" */
static void put_entry(const reading_t *x, cn_vec_t *list, cn_str_t key, const char *word,
                      cn_str_t arg, bool optional)
{
    cn_dir_t *d = cn_dir_add(pool_of(x), list, "entry");

    cn_dir_word(pool_of(x), d, key);
    cn_dir_word(pool_of(x), d, cn_str_c(word));
    if (arg.n)
        cn_dir_word(pool_of(x), d, arg);
    if (optional)
        cn_dir_word(pool_of(x), d, CN_STR("optional"));
}

static bool put_header_action(const reading_t *x, const cn_node_t *v, cn_vec_t *list)
{
    cn_str_t name = cn_node_str(v, "header_name"), key = cn_node_str(v, "descriptor_key");

    if (key.n == 0 || !cn_value_is_plain(key))
        return false;
    if (cn_str_eq(name, CN_STR(":path")))
        put_entry(x, list, key, "path", CN_STR_NULL, false);
    else if (cn_str_eq(name, CN_STR(":method")))
        put_entry(x, list, key, "method", CN_STR_NULL, false);
    else if (cn_value_is_token(name) || cn_str_eq(name, CN_STR(":authority")))
        put_entry(x, list, key, "header", name, cn_node_true(v, "skip_if_absent"));
    else
        return false;
    return true;
}

static bool put_query_action(const reading_t *x, const cn_node_t *v, cn_vec_t *list)
{
    cn_str_t name = cn_node_str(v, "query_parameter_name"), key = cn_node_str(v, "descriptor_key");

    if (!cn_value_is_word(name) || key.n == 0 || !cn_value_is_plain(key))
        return false;
    put_entry(x, list, key, "query", name, cn_node_true(v, "skip_if_absent"));
    return true;
}

static bool put_generic_action(const reading_t *x, const cn_node_t *v, cn_vec_t *list)
{
    cn_str_t value = cn_node_str(v, "descriptor_value"), key = cn_node_str(v, "descriptor_key");

    if (value.n == 0 || !cn_value_is_plain(value) || !cn_value_is_plain(key))
        return false;
    put_entry(x, list, key.n ? key : CN_STR("generic_key"), "value", value, false);
    return true;
}

static bool put_address_action(const reading_t *x, const cn_node_t *v, cn_vec_t *list)
{
    static const struct {
        const char *key, *word;
        int64_t most;
    } parts[] = {{"v4_prefix_mask_len", "v4", 32}, {"v6_prefix_mask_len", "v6", 128}};
    cn_dir_t *d = cn_dir_add(pool_of(x), list, "entry");

    cn_dir_word(pool_of(x), d, CN_STR("masked_remote_address"));
    cn_dir_word(pool_of(x), d, CN_STR("remote_ip"));
    for (int i = 0; i < 2; i++) {
        int64_t bits;

        if (!cn_node_get(v, parts[i].key))
            continue;
        if (!cn_read_number(&x->r, v, parts[i].key, 0, parts[i].most, &bits))
            return false;
        cn_dir_printf(pool_of(x), d, "%s=%lld", parts[i].word, (long long)bits);
    }
    return true;
}

static bool put_action(const reading_t *x, const cn_node_t *action, cn_vec_t *list)
{
    if (cn_node_get(action, "request_headers"))
        return put_header_action(x, cn_node_get(action, "request_headers"), list);
    if (cn_node_get(action, "query_parameters"))
        return put_query_action(x, cn_node_get(action, "query_parameters"), list);
    if (cn_node_get(action, "generic_key"))
        return put_generic_action(x, cn_node_get(action, "generic_key"), list);
    if (cn_node_get(action, "masked_remote_address"))
        return put_address_action(x, cn_node_get(action, "masked_remote_address"), list);
    if (cn_node_item(action, "remote_address"))
        put_entry(x, list, CN_STR("remote_address"), "remote_ip", CN_STR_NULL, false);
    else if (cn_node_item(action, "destination_cluster"))
        put_entry(x, list, CN_STR("destination_cluster"), "cluster", CN_STR_NULL, false);
    else
        return false;
    return true;
}

/* One rate_limits entry is one descriptor. */
static void read_descriptor(reading_t *x, const cn_node_t *node, cn_vec_t *out)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_node_list(node, "actions", &items);
    cn_vec_t entries = {0};

    for (uint32_t i = 0; i < n; i++)
        if (!put_action(x, items[i].value, &entries)) {
            say(x, items[i].value,
                "%s: an action is not understood, so this descriptor is not sent; understood are "
                "request_headers, query_parameters, generic_key, remote_address, "
                "masked_remote_address, destination_cluster",
                x->where);
            return;
        }
    if (entries.n)
        cn_dir_block(pool_of(x), out, "descriptor")->inner = entries;
}

/* The list, which a route has below `route` and a virtual host at its top. */
static uint32_t rate_limits(const cn_node_t *value, const cn_node_item_t **items)
{
    uint32_t n = cn_node_list(value, "rate_limits", items);

    return n ? n : cn_node_list(cn_node_get(value, "route"), "rate_limits", items);
}

static bool names_a_part(const cn_node_t *match)
{
    const cn_node_t *vhost = cn_node_get(cn_node_get(match, "routeConfiguration"), "vhost");

    return cn_node_str(vhost, "name").n > 0 || cn_node_str(cn_node_get(vhost, "route"), "name").n;
}

static void read_actions(reading_t *x, const cn_node_t *patch, const cn_node_t *value,
                         cn_vec_t *out)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = rate_limits(value, &items);

    if (names_a_part(cn_node_get(patch, "match"))) {
        say(x, patch,
            "%s: has no effect: rate_limits of one virtual host or route; a RateLimitPolicy can be "
            "attached to a Service or HTTPRoute",
            x->where);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        read_descriptor(x, items[i].value, out);
}

/* ---- patches ---- */

static bool is_apply(const cn_node_t *patch, const char *to)
{
    return cn_str_eq(cn_node_str(patch, "applyTo"), cn_str_c(to));
}

static void read_patch(reading_t *x, const cn_node_t *patch, filter_t *f)
{
    const cn_node_t *value = cn_node_get(cn_node_get(patch, "patch"), "value"), *config;
    const cn_node_item_t *items = NULL;
    cn_str_t apply = cn_node_str(patch, "applyTo");

    if (is_apply(patch, "CLUSTER"))
        return; /* see collect_clusters */
    if (is_apply(patch, "HTTP_FILTER") && (config = config_of(value, LOCAL)) != NULL)
        read_local(x, config);
    else if (is_apply(patch, "HTTP_FILTER") && (config = config_of(value, GLOBAL)) != NULL)
        read_global(x, config);
    else if ((is_apply(patch, "VIRTUAL_HOST") || is_apply(patch, "HTTP_ROUTE")) &&
             rate_limits(value, &items))
        read_actions(x, patch, value, &f->actions);
    else
        say(x, patch,
            "%s (%.*s) has no effect: it patches Envoy, which this is not; only local_ratelimit, "
            "ratelimit and rate_limits are understood",
            x->where, CN_STR_ARG(apply));
}

/* A cluster that is added serves the global limit; others would do nothing. */
static void collect_clusters(reading_t *x, const cn_node_item_t *items, uint32_t n)
{
    bool global = false;

    for (uint32_t i = 0; i < n; i++) {
        const cn_node_t *value = cn_node_get(cn_node_get(items[i].value, "patch"), "value");

        global |= config_of(value, GLOBAL) != NULL;
        if (is_apply(items[i].value, "CLUSTER") && value)
            *(const cn_node_t **)cn_vec_push(pool_of(x), &x->clusters, sizeof(value)) = value;
    }
    for (uint32_t i = 0; i < n && !global; i++)
        if (is_apply(items[i].value, "CLUSTER"))
            say(x, items[i].value,
                "spec.configPatches[%u] (CLUSTER) has no effect: it patches Envoy, which this is "
                "not",
                i);
}

static void read_targets(reading_t *x)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, x->r.obj->spec, "targetRefs", &items);

    for (uint32_t i = 0; i < n; i++) {
        cn_limits_target_t *t = cn_vec_push(pool_of(x), &x->p->targets, sizeof(*t));

        cn_model_read_target(&x->r, items[i].value, &t->ref);
    }
}

void cn_envoyfilter_read(cn_world_t *w, const cn_object_t *o)
{
    reading_t x = {.r = {w, o}, .p = cn_pool_zalloc(w->pool, sizeof(*x.p))};
    filter_t *f = cn_pool_zalloc(w->pool, sizeof(*f));
    const cn_node_item_t *items = NULL;
    uint32_t n;

    x.p->obj = o;
    f->policy = x.p;
    read_targets(&x);
    *(cn_limits_policy_t **)cn_vec_push(w->pool, &w->limits, sizeof(x.p)) = x.p;
    *(filter_t **)cn_vec_push(w->pool, &w->envoy_filters, sizeof(f)) = f;
    if (x.p->targets.n == 0)
        return; /* not for a waypoint */
    n = cn_read_list(&x.r, o->spec, "configPatches", &items);
    collect_clusters(&x, items, n);
    for (uint32_t i = 0; i < n; i++) {
        snprintf(x.where, sizeof(x.where), "spec.configPatches[%u]", i);
        read_patch(&x, items[i].value, f);
    }
}

/* ---- putting together ---- */

static bool same_target(const cn_limits_policy_t *a, const cn_limits_policy_t *b)
{
    const cn_limits_target_t *v = a->targets.v, *u = b->targets.v;

    for (uint32_t i = 0; cn_str_eq(a->obj->ns, b->obj->ns) && i < a->targets.n; i++)
        for (uint32_t k = 0; k < b->targets.n; k++)
            if (cn_str_eq(v[i].ref.kind, u[k].ref.kind) && cn_str_eq(v[i].ref.name, u[k].ref.name))
                return true;
    return false;
}

/* The actions of all EnvoyFilters of the same target, for the filters of this one. */
static void give_actions(cn_world_t *w, filter_t *f)
{
    filter_t *const *v = w->envoy_filters.v;
    cn_limits_entry_t *e = f->policy->global.v;
    cn_vec_t actions = {0};

    for (uint32_t i = 0; i < w->envoy_filters.n; i++)
        if (same_target(f->policy, v[i]->policy))
            cn_dir_append(w->pool, &actions, &v[i]->actions);
    if (actions.n == 0) {
        cn_store_warn(w->diag, f->policy->obj, e->service,
                      "its ratelimit filter has no effect: no EnvoyFilter with the same target has "
                      "rate_limits that are understood");
        f->policy->global.n = 0;
        return;
    }
    for (uint32_t i = 0; i < f->policy->global.n; i++)
        cn_dir_append(w->pool, &e[i].inner, &actions);
    f->policy->has[CN_LIMITS_GLOBAL] = true;
}

static bool has_filter(const cn_world_t *w, const filter_t *f)
{
    filter_t *const *v = w->envoy_filters.v;

    for (uint32_t i = 0; i < w->envoy_filters.n; i++)
        if (v[i]->policy->global.n && same_target(f->policy, v[i]->policy))
            return true;
    return false;
}

void cn_envoyfilter_finish(cn_world_t *w)
{
    filter_t *const *v = w->envoy_filters.v;

    for (uint32_t i = 0; i < w->envoy_filters.n; i++)
        if (v[i]->policy->global.n)
            give_actions(w, v[i]);
    for (uint32_t i = 0; i < w->envoy_filters.n; i++) {
        cn_limits_policy_t *p = v[i]->policy;

        if (p->has[CN_LIMITS_LOCAL] || p->has[CN_LIMITS_GLOBAL] || p->targets.n == 0)
            continue;
        if (v[i]->actions.n && has_filter(w, v[i]))
            p->actions_only = true;
        else
            p->invalid = CN_STR("nothing in it is understood");
    }
}
