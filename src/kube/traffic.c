/* SPDX-License-Identifier: Apache-2.0
 *
 * Traffic policies (semantics 4.2, 4.4).  A policy is a handful of nodes of the
 * documents; merging puts the nodes of subset and port over those of the rule.
 */
#include "kube/traffic.h"

#include <stdlib.h>

#define DAY 86400000u /* milliseconds */
#define GATEWAY_NAME "gateway.networking.k8s.io/gateway-name"

/* ---- which rule ---- */

static bool host_matches(cn_str_t pattern, cn_str_t host)
{
    if (cn_str_starts(pattern, CN_STR("*")))
        return cn_str_ends(host, cn_str_make(pattern.p + 1, pattern.n - 1));
    return cn_str_eq(pattern, host);
}

/* Whether the rule is for this waypoint's pods. */
static bool selects(const cn_world_t *w, const cn_gateway_t *g, const cn_destination_t *d)
{
    cn_pod_t *const *pods = w->pods.v;
    const cn_sel_term_t *t = d->selector.terms.v;

    for (uint32_t i = 0; d->has_selector && i < w->pods.n; i++)
        if (cn_str_eq(pods[i]->obj->ns, g->obj->ns) &&
            cn_str_eq(cn_store_label(pods[i]->obj, GATEWAY_NAME), g->obj->name))
            return cn_read_selects(&d->selector, pods[i]->obj->meta, NULL, CN_STR_NULL);
    for (uint32_t i = 0; d->has_selector && i < d->selector.terms.n; i++)
        if (!cn_str_eq(t[i].key, CN_STR(GATEWAY_NAME)) ||
            !cn_str_eq(((const cn_str_t *)t[i].values.v)[0], g->obj->name))
            return false;
    return true;
}

/* The rules of one level: of a namespace, for a host. */
typedef struct {
    const cn_world_t *w;
    const cn_gateway_t *g;
    cn_str_t ns;
    bool local; /* the namespace is the waypoint's own: exportTo does not matter */
} level_t;

static bool is_of_level(const level_t *l, const cn_destination_t *d)
{
    return cn_str_eq(d->obj->ns, l->ns) &&
           (l->local || cn_model_exported(&d->exports, d->obj, l->g->obj->ns)) &&
           selects(l->w, l->g, d);
}

static bool goes_before(const cn_destination_t *a, const cn_destination_t *b)
{
    if (a->has_selector != b->has_selector)
        return a->has_selector;
    return cn_model_older(a->obj, b->obj) < 0;
}

static void add_subsets(const cn_world_t *w, const cn_destination_t *d, cn_traffic_choice_t *out)
{
    const cn_subset_t *s = d->subsets.v;

    for (uint32_t i = 0; i < d->subsets.n; i++)
        if (!cn_traffic_subset(out, s[i].name))
            *(const cn_subset_t **)cn_vec_push(w->pool, &out->subsets, sizeof(&s[i])) = &s[i];
}

/* All rules of the level for exactly this pattern; false: there is none. */
static bool take_pattern(const level_t *l, const cn_vec_t *list, cn_str_t host, bool wildcard,
                         cn_traffic_choice_t *out)
{
    cn_destination_t *const *v = list->v;

    for (uint32_t i = 0; i < list->n; i++)
        if ((v[i]->host.p[0] == '*') == wildcard && host_matches(v[i]->host, host) &&
            is_of_level(l, v[i]) && (!out->rule || goes_before(v[i], out->rule)))
            out->rule = v[i];
    if (!out->rule)
        return false;
    add_subsets(l->w, out->rule, out);
    for (uint32_t i = 0; i < list->n; i++)
        if (v[i] != out->rule && (v[i]->host.p[0] == '*') == wildcard &&
            host_matches(v[i]->host, host) && is_of_level(l, v[i]))
            add_subsets(l->w, v[i], out);
    return true;
}

/* The most specific host first: the name itself, then wildcards from the longest. */
static bool take_level(const level_t *l, cn_str_t host, cn_traffic_choice_t *out)
{
    const cn_vec_t *list = cn_map_get(&l->w->destination_map, host);
    cn_str_t rest = host, cut;

    if (list && take_pattern(l, list, host, host.p[0] == '*', out))
        return true;
    while (cn_str_split(&rest, '.', &cut) && rest.n) {
        list = cn_map_get(&l->w->destination_map, rest);
        if (list && take_pattern(l, list, host, true, out))
            return true;
    }
    list = cn_map_get(&l->w->destination_map, CN_STR("*"));
    return list && take_pattern(l, list, host, true, out);
}

void cn_traffic_choose(const cn_world_t *w, const cn_gateway_t *g, const cn_service_t *svc,
                       cn_traffic_choice_t *out)
{
    level_t l = {w, g, g->obj->ns, true};

    *out = (cn_traffic_choice_t){0};
    if (w->destinations.n == 0 || take_level(&l, svc->host, out))
        return;
    l = (level_t){w, g, svc->obj->ns, false};
    if (take_level(&l, svc->host, out))
        return;
    l.ns = w->mesh.root_namespace;
    (void)take_level(&l, svc->host, out);
}

const cn_subset_t *cn_traffic_subset(const cn_traffic_choice_t *c, cn_str_t name)
{
    const cn_subset_t *const *v = c->subsets.v;

    for (uint32_t i = 0; i < c->subsets.n; i++)
        if (cn_str_eq(v[i]->name, name))
            return v[i];
    return NULL;
}

/* ---- merging ---- */

typedef struct {
    const cn_object_t *obj; /* for messages */
    const cn_node_t *pool, *lb, *outlier, *tls, *proxy, *budget, *tunnel;
} policy_t;

static void put_over(policy_t *p, const cn_node_t *policy, bool whole)
{
    const struct {
        const char *key;
        const cn_node_t **to;
    } parts[] = {{"connectionPool", &p->pool},
                 {"loadBalancer", &p->lb},
                 {"outlierDetection", &p->outlier},
                 {"tls", &p->tls},
                 {"proxyProtocol", &p->proxy},
                 {"retryBudget", &p->budget},
                 {"tunnel", &p->tunnel}};

    for (size_t i = 0; policy && i < CN_COUNT(parts); i++) {
        const cn_node_t *v = cn_node_get(policy, parts[i].key);

        if (v || (whole && i < 4)) /* settings of a port do not inherit these four */
            *parts[i].to = v;
    }
}

static const cn_node_t *port_policy(const cn_reader_t *r, const cn_node_t *policy, uint16_t port)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_node_list(policy, "portLevelSettings", &items);
    int64_t number;

    for (uint32_t i = 0; i < n; i++)
        if (cn_read_number(r, cn_node_get(items[i].value, "port"), "number", 1, 65535, &number) &&
            number == port)
            return items[i].value;
    return NULL;
}

static policy_t merge(const cn_traffic_t *t)
{
    const cn_destination_t *rule = t->choice->rule;
    const cn_node_t *top = rule ? cn_node_get(rule->obj->spec, "trafficPolicy") : NULL,
                    *of_subset = t->subset ? cn_node_get(t->subset->node, "trafficPolicy") : NULL;
    policy_t p = {.obj = rule ? rule->obj : t->svc->obj};

    put_over(&p, top, false);
    put_over(&p, port_policy(&(cn_reader_t){t->w, p.obj}, top, t->port->port), true);
    put_over(&p, of_subset, false);
    if (of_subset)
        p.obj = t->subset->obj;
    put_over(&p, port_policy(&(cn_reader_t){t->w, p.obj}, of_subset, t->port->port), true);
    return p;
}

/* ---- pieces ---- */

typedef struct {
    cn_traffic_t *t;
    cn_reader_t r;
} part_t;

#define pool_of(x) ((x)->t->w->pool)

static cn_dir_t *add(part_t *x, const char *directive)
{
    return cn_dir_add(pool_of(x), x->t->dirs, directive);
}

static void put_time(part_t *x, const char *directive, uint64_t ms)
{
    cn_dir_word(pool_of(x), add(x, directive), cn_dir_time(pool_of(x), ms));
}

/* What the proxy takes: a value outside would keep the whole conf from loading. */
static uint64_t within(part_t *x, const cn_node_t *at, const char *key, uint64_t v, uint64_t min,
                       uint64_t max)
{
    uint64_t to = v < min ? min : v > max ? max : v;

    if (to != v)
        cn_store_warn(x->r.w->diag, x->r.obj, at, "%s: brought from %llu to %llu, which is the %s",
                      key, (unsigned long long)v, (unsigned long long)to,
                      v < min ? "least" : "most");
    return to;
}

/* "name=N" on *d, which is made when it is the first; less than min means the default. */
static void put_number(part_t *x, cn_dir_t **d, const char *directive, const cn_node_t *node,
                       const char *key, const char *name, int64_t min, int64_t max)
{
    int64_t n;

    if (!cn_node_get(node, key) || !cn_read_number(&x->r, node, key, 0, UINT32_MAX, &n) || n < min)
        return;
    if (!*d)
        *d = add(x, directive);
    cn_dir_printf(
        pool_of(x), *d, "%s=%llu", name,
        (unsigned long long)within(x, cn_node_get(node, key), key, (uint64_t)n, 0, (uint64_t)max));
}

static void put_duration(part_t *x, cn_dir_t **d, const char *directive, const cn_node_t *node,
                         const char *key, const char *name, uint64_t min, uint64_t max)
{
    cn_str_t text;
    uint64_t ms;

    if (!cn_value_read_duration(&x->r, node, key, directive, &ms))
        return;
    if (!*d)
        *d = add(x, directive);
    text = cn_dir_time(pool_of(x), within(x, cn_node_get(node, key), key, ms, min, max));
    cn_dir_printf(pool_of(x), *d, "%s=%.*s", name, CN_STR_ARG(text));
}

static void put_breaker(part_t *x, const cn_node_t *tcp, const cn_node_t *http)
{
    cn_dir_t *d = NULL;

    put_number(x, &d, "breaker", tcp, "maxConnections", "max_connections", 1, UINT32_MAX);
    put_number(x, &d, "breaker", http, "http1MaxPendingRequests", "max_pending", 1, UINT32_MAX);
    put_number(x, &d, "breaker", http, "http2MaxRequests", "max_requests", 1, UINT32_MAX);
    put_number(x, &d, "breaker", http, "maxRetries", "max_retries", 1, UINT32_MAX);
}

/* "name N;" */
static void put_count(part_t *x, const cn_node_t *node, const char *key, const char *directive)
{
    int64_t n;

    if (cn_node_get(node, key) && cn_read_number(&x->r, node, key, 0, UINT32_MAX, &n) && n > 0)
        cn_dir_printf(pool_of(x), add(x, directive), "%lld", (long long)n);
}

static void put_lives(part_t *x, const cn_node_t *tcp, const cn_node_t *http)
{
    uint64_t ms;

    put_count(x, http, "maxRequestsPerConnection", "max_requests_per_connection");
    put_count(x, http, "maxConcurrentStreams", "max_concurrent_streams");
    if (cn_value_read_duration(&x->r, tcp, "maxConnectionDuration", "connectionPool.tcp", &ms) &&
        ms)
        put_time(x, "max_connection_duration", ms);
}

static void put_keepalive(part_t *x, const cn_node_t *node)
{
    cn_dir_t *d = NULL;

    put_number(x, &d, "tcp_keepalive", node, "probes", "probes", 1, 127);
    put_duration(x, &d, "tcp_keepalive", node, "time", "idle", 1000, 32767000);
    put_duration(x, &d, "tcp_keepalive", node, "interval", "interval", 1000, 32767000);
}

static void put_idle(part_t *x, const cn_node_t *tcp, const cn_node_t *http)
{
    uint64_t ms;

    if (cn_value_read_duration(&x->r, tcp, "idleTimeout", "connectionPool.tcp", &ms)) {
        put_time(x, "tcp_idle_timeout", ms);
        if (!cn_node_get(http, "idleTimeout"))
            put_time(x, "keepalive_timeout", ms);
    }
    if (cn_value_read_duration(&x->r, http, "idleTimeout", "connectionPool.http", &ms))
        put_time(x, "keepalive_timeout", ms);
}

/* Envoy's defaults where one of the two is left out. */
static void put_http2_keepalive(part_t *x, const cn_node_t *node)
{
    cn_dir_t *d = NULL;

    put_duration(x, &d, "http2_keepalive", node, "interval", "interval", 1, DAY);
    if (d)
        put_duration(x, &d, "http2_keepalive", node, "timeout", "timeout", 1, DAY);
    else if (node)
        cn_store_warn(x->r.w->diag, x->r.obj, node,
                      "connectionPool.http.http2KeepAlive without an interval has no effect");
}

/* Which version of HTTP is spoken to endpoints. */
static void put_version(part_t *x, const cn_node_t *http)
{
    static const char *const words[] = {"DEFAULT", "DO_NOT_UPGRADE", "UPGRADE", NULL};
    int word = cn_value_read_word(&x->r, http, "h2UpgradePolicy", "connectionPool.http", words);
    bool upgrade = word == 2 || (word <= 0 && x->t->w->mesh.upgrade_h2);

    if (upgrade && x->t->protocol == CN_PROTOCOL_HTTP)
        x->t->protocol = CN_PROTOCOL_HTTP2;
    if (cn_value_read_bool(&x->r, http, "useClientProtocol", "connectionPool.http", false) &&
        x->t->protocol != CN_PROTOCOL_TCP)
        cn_dir_flag(pool_of(x), x->t->dirs, "client_protocol", "on");
    put_http2_keepalive(x, cn_node_get(http, "http2KeepAlive"));
}

static void put_pool(part_t *x, const cn_node_t *pool)
{
    const cn_node_t *tcp = cn_node_get(pool, "tcp"), *http = cn_node_get(pool, "http"),
                    *keepalive = cn_node_get(tcp, "tcpKeepalive");
    cn_str_t timeout = x->t->w->mesh.connect_timeout;
    uint64_t ms;

    put_version(x, http);
    if (cn_value_read_duration(&x->r, tcp, "connectTimeout", "connectionPool.tcp", &ms) && ms)
        timeout = cn_dir_time(pool_of(x), ms);
    cn_dir_word(pool_of(x), add(x, "connect_timeout"), timeout);
    put_idle(x, tcp, http);
    put_breaker(x, tcp, http);
    put_lives(x, tcp, http);
    put_keepalive(x, keepalive ? keepalive : x->t->w->mesh.keepalive);
}

static void put_outlier(part_t *x, const cn_node_t *node)
{
    const cn_node_t *five = cn_node_get(node, "consecutive5xxErrors");
    cn_dir_t *d = add(x, "outlier");

    if (!five)
        cn_dir_word(pool_of(x), d, CN_STR("consecutive_5xx=5"));
    put_number(x, &d, "outlier", node, "consecutive5xxErrors", "consecutive_5xx", 0, UINT32_MAX);
    put_number(x, &d, "outlier", node,
               cn_node_get(node, "consecutiveGatewayErrors") ? "consecutiveGatewayErrors"
                                                             : "consecutiveErrors",
               "consecutive_gateway", 0, UINT32_MAX);
    if (cn_value_read_bool(&x->r, node, "splitExternalLocalOriginErrors", "outlierDetection",
                           false)) {
        cn_dir_word(pool_of(x), d, CN_STR("split_local=on"));
        put_number(x, &d, "outlier", node, "consecutiveLocalOriginFailures", "consecutive_local", 0,
                   UINT32_MAX);
    }
    put_duration(x, &d, "outlier", node, "interval", "interval", 1, DAY);
    put_duration(x, &d, "outlier", node, "baseEjectionTime", "base_ejection", 1, DAY);
    put_number(x, &d, "outlier", node, "maxEjectionPercent", "max_ejection_percent", 0, 100);
    put_number(x, &d, "outlier", node, "minHealthPercent", "min_health_percent", 0, 100);
    if (cn_node_get(node, "outlierDetectionHttpErrorCodes"))
        cn_store_warn(x->r.w->diag, x->r.obj, cn_node_get(node, "outlierDetectionHttpErrorCodes"),
                      "outlierDetection.outlierDetectionHttpErrorCodes: has no effect at a "
                      "waypoint, as in Istio: every 5xx counts");
}

/* ---- load balancing ---- */

/* What the hash is taken of.  False: nothing (said). */
static bool put_hash(part_t *x, const cn_node_t *node)
{
    const cn_node_t *cookie = cn_node_get(node, "httpCookie");
    cn_str_t header = cn_read_text(&x->r, node, "httpHeaderName"),
             query = cn_value_read_plain(&x->r, node, "httpQueryParameterName", "consistentHash"),
             name = cn_read_text(&x->r, cookie, "name");
    uint64_t ms;
    cn_dir_t *d = add(x, "lb_hash");

    if (header.n && cn_value_is_token(header)) {
        cn_dir_word(pool_of(x), d, CN_STR("header"));
        cn_dir_word(pool_of(x), d, header);
    } else if (name.n && cn_value_is_token(name)) {
        cn_str_t path = cn_value_read_plain(&x->r, cookie, "path", "httpCookie");

        cn_dir_word(pool_of(x), d, CN_STR("cookie"));
        cn_dir_word(pool_of(x), d, name);
        if (cn_value_read_duration(&x->r, cookie, "ttl", "httpCookie", &ms)) {
            cn_str_t ttl = cn_dir_time(pool_of(x), ms);

            cn_dir_printf(pool_of(x), d, "ttl=%.*s", CN_STR_ARG(ttl));
        }
        if (cn_value_is_word(path) && path.p[0] == '/' && cn_str_find(path, ';') == path.n)
            cn_dir_printf(pool_of(x), d, "path=%.*s", CN_STR_ARG(path));
    } else if (query.n) {
        cn_dir_word(pool_of(x), d, CN_STR("query"));
        cn_dir_word(pool_of(x), d, query);
    } else if (cn_value_read_bool(&x->r, node, "useSourceIp", "consistentHash", false)) {
        cn_dir_word(pool_of(x), d, CN_STR("source_ip"));
    } else {
        cn_store_error(x->r.w->diag, x->r.obj, node,
                       "consistentHash: nothing to hash is named: a header, cookie, parameter or "
                       "useSourceIp; requests are balanced by the fewest requests");
        return false;
    }
    return true;
}

static bool is_prime(int64_t n)
{
    for (int64_t i = 2; i * i <= n; i++)
        if (n % i == 0)
            return false;
    return n > 1;
}

static void put_hash_lb(part_t *x, const cn_node_t *node)
{
    const cn_node_t *maglev = cn_node_get(node, "maglev"), *ring = cn_node_get(node, "ringHash");
    cn_vec_t *dirs = x->t->dirs;
    uint32_t before = dirs->n;
    cn_dir_t *d = NULL;

    cn_dir_flag(pool_of(x), dirs, "lb", maglev ? "maglev" : "ring_hash");
    if (!put_hash(x, node)) {
        dirs->n = before;
        cn_dir_flag(pool_of(x), dirs, "lb", "least_request");
        return;
    }
    if (maglev && cn_node_get(maglev, "tableSize")) {
        int64_t size = 0;

        if (!cn_read_number(&x->r, maglev, "tableSize", 3, 5000011, &size))
            return;
        if (!is_prime(size))
            cn_store_error(x->r.w->diag, x->r.obj, maglev,
                           "maglev.tableSize %lld is no prime number; the default is taken",
                           (long long)size);
        else
            cn_dir_printf(pool_of(x), add(x, "lb_table"), "%lld", (long long)size);
    } else if (!maglev) {
        put_number(x, &d, "lb_ring", ring ? ring : node, "minimumRingSize", "min", 1, 8388608);
    }
}

static void put_warmup(part_t *x, const cn_node_t *lb)
{
    const cn_node_t *warmup = cn_node_get(lb, "warmup");
    uint64_t ms = 0;
    cn_str_t aggression = cn_node_str(warmup, "aggression");
    uint32_t parts;
    cn_dir_t *d;

    if (!cn_value_read_duration(&x->r, warmup, "duration", "warmup", &ms) &&
        !cn_value_read_duration(&x->r, lb, "warmupDurationSecs", "loadBalancer", &ms))
        return;
    d = add(x, "lb_warmup");
    cn_dir_word(pool_of(x), d,
                cn_dir_time(pool_of(x), within(x, lb, "warmup.duration", ms, 1, DAY)));
    put_number(x, &d, "lb_warmup", warmup, "minimumPercent", "min", 0, 100);
    if (aggression.n == 0)
        return;
    if (cn_value_percent(aggression, &parts) == CN_OK && parts >= CN_VALUE_PERCENT / 1000)
        cn_dir_printf(pool_of(x), d, "aggression=%u.%03u", parts / CN_VALUE_PERCENT,
                      parts % CN_VALUE_PERCENT / 10);
    else
        cn_store_error(x->r.w->diag, x->r.obj, warmup,
                       "warmup.aggression \"%.*s\" is no number up to 100; it has no effect",
                       CN_STR_ARG(aggression));
}

static void put_affinity(part_t *x)
{
    const cn_node_t *spec = x->t->svc->obj->spec,
                    *config = cn_node_get(cn_node_get(spec, "sessionAffinityConfig"), "clientIP");
    static const char *const words[] = {"None", "ClientIP", NULL};
    const cn_reader_t r = {x->t->w, x->t->svc->obj};
    int64_t seconds = 10800;
    cn_dir_t *d;

    if (x->t->svc->is_entry || cn_value_read_word(&r, spec, "sessionAffinity", "spec", words) != 1)
        return;
    if (cn_node_get(config, "timeoutSeconds"))
        (void)cn_read_number(&r, config, "timeoutSeconds", 1, 86400, &seconds);
    d = add(x, "affinity");
    cn_dir_word(pool_of(x), d, CN_STR("client_ip"));
    cn_dir_printf(pool_of(x), d, "timeout=%llds", (long long)seconds);
}

static void put_lb(part_t *x, const cn_node_t *lb)
{
    static const char *const words[] = {"UNSPECIFIED", "LEAST_CONN",    "RANDOM", "PASSTHROUGH",
                                        "ROUND_ROBIN", "LEAST_REQUEST", NULL};
    static const char *const as[] = {"least_request", "least_request", "random",
                                     "least_request", "round_robin",   "least_request"};
    const cn_node_t *hash = cn_node_get(lb, "consistentHash");
    int word = cn_value_read_word(&x->r, lb, "simple", "loadBalancer", words);

    if (hash)
        put_hash_lb(x, hash);
    else
        cn_dir_flag(pool_of(x), x->t->dirs, "lb", word < 0 ? "least_request" : as[word]);
    x->t->original = !hash && word == 3;
    if (!hash && word != 2 && word != 3)
        put_warmup(x, lb);
    if (!hash)
        put_affinity(x);
    if (cn_node_get(lb, "zoneAwareLbSetting"))
        cn_store_warn(x->r.w->diag, x->r.obj, lb,
                      "loadBalancer.zoneAwareLbSetting: has no effect at a waypoint, as in Istio");
}

/* ---- the rest ---- */

static void put_budget(part_t *x, const cn_node_t *node)
{
    uint32_t parts = 20 * CN_VALUE_PERCENT;
    cn_str_t percent = cn_node_str(node, "percent"), text;
    cn_dir_t *d;

    if (!node) {
        if (x->t->svc->backend)
            cn_dir_append(pool_of(x), x->t->dirs, &x->t->svc->backend->cluster);
        return;
    }
    if (percent.n && cn_value_percent(percent, &parts) != CN_OK)
        cn_store_error(x->r.w->diag, x->r.obj, node,
                       "retryBudget.percent \"%.*s\" is no percentage; 20 is taken",
                       CN_STR_ARG(percent));
    d = add(x, "retry_budget");
    text = cn_value_percent_text(pool_of(x), parts);
    cn_dir_printf(pool_of(x), d, "percent=%.*s", CN_STR_ARG(text));
    if (cn_node_get(node, "minRetryConcurrency"))
        put_number(x, &d, "retry_budget", node, "minRetryConcurrency", "min", 0, 1000000);
    else
        cn_dir_word(pool_of(x), d, CN_STR("min=3"));
    put_duration(x, &d, "retry_budget", node, "budgetInterval", "interval", 1000, 3600000);
}

/* The destination is a forward proxy.  Half of it would send connections to the
 * proxy as if it were the target: rather none then. */
static void put_tunnel(part_t *x, const cn_node_t *tunnel)
{
    static const char *const words[] = {"CONNECT", "POST", NULL};
    cn_str_t host = cn_read_text(&x->r, tunnel, "targetHost");
    int64_t port = 0;
    bool ok =
        cn_value_is_host(host) && cn_read_number(&x->r, tunnel, "targetPort", 1, 65535, &port);

    if (cn_model_is_http(x->t->protocol)) {
        cn_store_warn(
            x->r.w->diag, x->r.obj, tunnel,
            "trafficPolicy.tunnel: has no effect on port %u, which is not declared as tcp "
            "or tls",
            x->t->port->port);
        return;
    }
    if (cn_value_read_word(&x->r, tunnel, "protocol", "tunnel", words) == 1)
        ok = false;
    if (!ok) {
        cn_store_error(
            x->r.w->diag, x->r.obj, tunnel,
            "trafficPolicy.tunnel: needs targetHost and targetPort, and protocol CONNECT "
            "(POST is not supported); connections fail until then");
        x->t->blocked = true;
        return;
    }
    cn_dir_printf(pool_of(x), add(x, "upstream_tunnel"), "%.*s:%lld", CN_STR_ARG(host),
                  (long long)port);
}

static void put_wire(part_t *x, const policy_t *p)
{
    static const char *const versions[] = {"V1", "V2", NULL};

    if (p->proxy) {
        int v = cn_value_read_word(&x->r, p->proxy, "version", "proxyProtocol", versions);

        cn_dir_flag(pool_of(x), x->t->dirs, "upstream_proxy_protocol", v == 1 ? "v2" : "v1");
    }
    if (p->tunnel)
        put_tunnel(x, p->tunnel);
}

void cn_traffic_build(cn_traffic_t *t)
{
    policy_t p = merge(t);
    part_t x = {t, {t->w, p.obj}};

    put_lb(&x, p.lb);
    cn_locality_build(t, p.obj, p.lb, p.outlier != NULL);
    put_pool(&x, p.pool);
    if (p.outlier)
        put_outlier(&x, p.outlier);
    put_budget(&x, p.budget);
    cn_tls_build(t, p.obj, p.tls);
    put_wire(&x, &p);
}
