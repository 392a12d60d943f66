/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTPRoute: what each rule matches, where it sends, and what of it cannot be
 * done.  A part that cannot be done costs as little as it can: an impossible
 * match is dropped, a filter that would change the meaning of requests makes
 * its rule answer 500, anything else is left out of an otherwise working rule.
 */
#include "kube/model.h"

#include "http/regex.h"

#define MAX_VALUE 4096 /* bytes of a header, parameter or path to match */
#define MAX_WEIGHT 1000000
#define MAX_BACKENDS 1000 /* of a rule; the API server allows 16 */
#define MAX_CONF_NAME 255 /* bytes of a block's name in the conf */

typedef struct {
    cn_reader_t r;
    cn_http_route_t *route;
    char rule_name[32]; /* "spec.rules[0]", for messages */
} route_reader_t;

#define warn(x, node, ...) cn_store_warn((x)->r.w->diag, (x)->r.obj, node, __VA_ARGS__)
#define error(x, node, ...) cn_store_error((x)->r.w->diag, (x)->r.obj, node, __VA_ARGS__)

/* ---- matches ---- */

static bool is_plain(cn_str_t s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    return s.n <= MAX_VALUE;
}

static bool is_token(cn_str_t s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

        if (!alnum && (!c || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return s.n > 0 && s.n <= 256;
}

static bool check_regex(route_reader_t *x, const cn_node_t *node, const char *what, cn_str_t value)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_regex_t *regex;
    cn_str_t why = CN_STR_NULL;
    cn_rc rc = cn_regex_compile(pool, value, &regex, &why);

    why = cn_pool_dup(x->r.w->pool, why);
    cn_pool_destroy(pool);
    if (rc == CN_OK)
        return true;
    error(x, node, "%s: %s: \"%.*s\" cannot be used, so this match never holds: %.*s", x->rule_name,
          what, CN_STR_ARG(value), CN_STR_ARG(why));
    return false;
}

static bool read_path(route_reader_t *x, const cn_node_t *node, cn_value_match_t *m)
{
    const cn_node_t *path = cn_node_get(node, "path");
    cn_str_t type = cn_read_text(&x->r, path, "type"), value = cn_read_text(&x->r, path, "value");

    *m = (cn_value_match_t){CN_MATCH_PREFIX, CN_STR_NULL, value.n ? value : CN_STR("/")};
    if (cn_str_eq(type, CN_STR("Exact")))
        m->kind = CN_MATCH_EXACT;
    else if (cn_str_eq(type, CN_STR("RegularExpression")))
        m->kind = CN_MATCH_REGEX;
    else if (type.n && !cn_str_eq(type, CN_STR("PathPrefix"))) {
        error(x, path,
              "%s: path.type \"%.*s\" is none of Exact, PathPrefix, RegularExpression; this "
              "match never holds",
              x->rule_name, CN_STR_ARG(type));
        return false;
    }
    if (!is_plain(m->value)) {
        error(x, path, "%s: path.value: holds what no path holds, so this match never holds",
              x->rule_name);
        return false;
    }
    if (m->kind == CN_MATCH_REGEX)
        return check_regex(x, path, "path", m->value);
    if (m->value.p[0] != '/') {
        error(x, path,
              "%s: path.value \"%.*s\" does not begin with \"/\", so this match never holds",
              x->rule_name, CN_STR_ARG(m->value));
        return false;
    }
    while (m->kind == CN_MATCH_PREFIX && m->value.n > 1 && m->value.p[m->value.n - 1] == '/')
        m->value.n--;
    return true;
}

static bool read_method(route_reader_t *x, const cn_node_t *node, cn_str_t *method)
{
    static const char *const known[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                        "CONNECT", "OPTIONS", "TRACE", "PATCH"};

    *method = cn_read_text(&x->r, node, "method");
    if (method->n == 0)
        return true;
    for (size_t i = 0; i < CN_COUNT(known); i++)
        if (cn_str_eq(*method, cn_str_c(known[i])))
            return true;
    error(x, cn_node_get(node, "method"),
          "%s: method \"%.*s\" is not one of HTTP's (in capitals), so this "
          "match never holds",
          x->rule_name, CN_STR_ARG(*method));
    return false;
}

static void put_value(route_reader_t *x, cn_vec_t *list, cn_value_match_t m)
{
    cn_value_match_t *v = list->v;

    for (uint32_t i = 0; i < list->n; i++)
        if (cn_str_eq(v[i].name, m.name)) { /* as in Istio, the last one of a name counts */
            v[i] = m;
            return;
        }
    *(cn_value_match_t *)cn_vec_push(x->r.w->pool, list, sizeof(m)) = m;
}

static bool read_value(route_reader_t *x, const cn_node_t *node, const char *what, bool header,
                       cn_vec_t *list)
{
    cn_str_t type = cn_read_text(&x->r, node, "type"), name = cn_read_text(&x->r, node, "name");
    cn_value_match_t m = {CN_MATCH_EXACT, name, cn_read_text(&x->r, node, "value")};

    if (cn_str_eq(type, CN_STR("RegularExpression")))
        m.kind = CN_MATCH_REGEX;
    else if (type.n && !cn_str_eq(type, CN_STR("Exact"))) {
        error(x, node,
              "%s: %s: type \"%.*s\" is none of Exact, RegularExpression; this match never holds",
              x->rule_name, what, CN_STR_ARG(type));
        return false;
    }
    if (header ? !is_token(name) : name.n == 0 || !is_plain(name)) {
        error(x, node, "%s: %s: \"%.*s\" is no name of one, so this match never holds",
              x->rule_name, what, CN_STR_ARG(name));
        return false;
    }
    if (!is_plain(m.value)) {
        error(x, node, "%s: %s: the value of %.*s cannot occur, so this match never holds",
              x->rule_name, what, CN_STR_ARG(name));
        return false;
    }
    if (header) {
        char *lower = cn_pool_bytes(x->r.w->pool, name.n);

        cn_str_lower(lower, name.p, name.n);
        m.name.p = lower;
    }
    if (m.kind == CN_MATCH_REGEX && !check_regex(x, node, what, m.value))
        return false;
    put_value(x, list, m);
    return true;
}

static bool read_match(route_reader_t *x, const cn_node_t *node, cn_http_match_t *m)
{
    const cn_node_item_t *items = NULL;
    uint32_t n;
    bool ok = read_path(x, node, &m->path);

    ok = read_method(x, node, &m->method) && ok;
    n = cn_read_list(&x->r, node, "headers", &items);
    for (uint32_t i = 0; i < n; i++)
        ok = read_value(x, items[i].value, "headers", true, &m->headers) && ok;
    n = cn_read_list(&x->r, node, "queryParams", &items);
    for (uint32_t i = 0; i < n; i++)
        ok = read_value(x, items[i].value, "queryParams", false, &m->query) && ok;
    return ok;
}

static void read_matches(route_reader_t *x, const cn_node_t *rule, cn_http_rule_t *out)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, rule, "matches", &items);

    for (uint32_t i = 0; i < n; i++) {
        cn_http_match_t m = {0};

        if (read_match(x, items[i].value, &m))
            *(cn_http_match_t *)cn_vec_push(x->r.w->pool, &out->matches, sizeof(m)) = m;
    }
    if (n == 0)
        ((cn_http_match_t *)cn_vec_push(x->r.w->pool, &out->matches, sizeof(cn_http_match_t)))
            ->path = (cn_value_match_t){CN_MATCH_PREFIX, CN_STR_NULL, CN_STR("/")};
}

/* ---- filters ---- */

/* Leaving these out still sends the request where the rule says. */
static bool is_harmless(cn_str_t type)
{
    static const char *const types[] = {"RequestHeaderModifier", "ResponseHeaderModifier",
                                        "RequestMirror", "CORS"};

    for (size_t i = 0; i < CN_COUNT(types); i++)
        if (cn_str_eq(type, cn_str_c(types[i])))
            return true;
    return false;
}

/* Why requests must not be sent on, or empty. */
static cn_str_t read_filters(route_reader_t *x, const cn_node_t *node, const char *where,
                             bool backend)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, node, "filters", &items);
    cn_str_t broken = CN_STR_NULL;

    for (uint32_t i = 0; i < n; i++) {
        cn_str_t type = cn_read_text(&x->r, items[i].value, "type");
        bool headers = cn_str_ends(type, CN_STR("HeaderModifier"));

        if (is_harmless(type) && (headers || !backend)) {
            warn(x, items[i].value,
                 "%s.filters[%u]: %.*s: not supported yet and has no effect; the rest of "
                 "the rule is in effect",
                 where, i, CN_STR_ARG(type));
            continue;
        }
        warn(x, items[i].value, "%s.filters[%u]: %.*s: not supported yet, so %s answers 500", where,
             i, CN_STR_ARG(type.n ? type : CN_STR("a filter without type")),
             backend ? "this backend's share" : "this rule");
        broken = cn_pool_printf(x->r.w->pool, "filter %.*s is not supported", CN_STR_ARG(type));
    }
    return broken;
}

static void say_no_effect(route_reader_t *x, const cn_node_t *rule)
{
    static const char *const fields[] = {"timeouts", "retry", "sessionPersistence"};

    for (size_t i = 0; i < CN_COUNT(fields); i++)
        if (cn_node_get(rule, fields[i]))
            warn(x, cn_node_get(rule, fields[i]),
                 "%s.%s: not supported yet and has no effect; the rest of "
                 "the rule is in effect",
                 x->rule_name, fields[i]);
}

/* ---- backends ---- */

static bool read_weight(route_reader_t *x, const cn_node_t *node, uint32_t *weight)
{
    int64_t n = 1;

    if (cn_node_get(node, "weight") && !cn_read_number(&x->r, node, "weight", 0, MAX_WEIGHT, &n))
        n = 0;
    *weight = (uint32_t)n;
    return n > 0;
}

static cn_str_t backend_fault(route_reader_t *x, const cn_node_t *node, cn_backend_t *b)
{
    cn_str_t group = cn_read_text(&x->r, node, "group"), kind = cn_read_text(&x->r, node, "kind");
    int64_t port = 0;

    if (kind.n &&
        !(cn_str_eq(kind, CN_STR("Service")) && (group.n == 0 || cn_str_eq(group, CN_STR("core")))))
        return cn_pool_printf(x->r.w->pool, "kind %.*s of group \"%.*s\" is not supported",
                              CN_STR_ARG(kind), CN_STR_ARG(group));
    if (!cn_store_is_dns_label(b->name) || !cn_store_is_dns_label(b->ns))
        return cn_pool_printf(x->r.w->pool,
                              "\"%.*s\" in namespace \"%.*s\" is not a Service's name",
                              CN_STR_ARG(b->name), CN_STR_ARG(b->ns));
    if (!cn_read_number(&x->r, node, "port", 1, 65535, &port))
        return CN_STR("port is missing");
    b->port = (uint16_t)port;
    return CN_STR_NULL;
}

static void read_backends(route_reader_t *x, const cn_node_t *rule, cn_http_rule_t *out)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, rule, "backendRefs", &items);

    if (n > MAX_BACKENDS) {
        error(x, rule, "%s has more than %d backends, so it answers 500", x->rule_name,
              MAX_BACKENDS);
        out->broken = CN_STR("too many backends");
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        const cn_node_t *node = items[i].value;
        cn_backend_t b = {.node = node, .name = cn_read_text(&x->r, node, "name")};
        char where[64];
        cn_str_t broken;

        snprintf(where, sizeof(where), "%s.backendRefs[%u]", x->rule_name, i);
        b.ns = cn_read_text(&x->r, node, "namespace");
        if (b.ns.n == 0)
            b.ns = x->r.obj->ns;
        b.invalid = backend_fault(x, node, &b);
        if (b.invalid.n)
            warn(x, node, "%s: %.*s, so its share answers 500", where, CN_STR_ARG(b.invalid));
        broken = read_filters(x, node, where, true);
        if (broken.n)
            b.invalid = broken;
        if (read_weight(x, node, &b.weight))
            *(cn_backend_t *)cn_vec_push(x->r.w->pool, &out->backends, sizeof(b)) = b;
    }
}

/* ---- rules ---- */

static cn_str_t rule_name(route_reader_t *x, const cn_node_t *rule, uint32_t index)
{
    cn_str_t own = cn_read_text(&x->r, rule, "name"), name = x->r.obj->name, ns = x->r.obj->ns;

    if (own.n && cn_store_is_dns_subdomain(own))
        return own;
    if (name.n > MAX_CONF_NAME - 63 - 12)
        name.n = MAX_CONF_NAME - 63 - 12;
    return cn_pool_printf(x->r.w->pool, "%.*s.%.*s.%u", CN_STR_ARG(ns), CN_STR_ARG(name), index);
}

/* The API's default: one rule that matches everything and has no backend. */
static void read_no_rules(route_reader_t *x)
{
    cn_http_rule_t *rule = cn_vec_push(x->r.w->pool, &x->route->rules, sizeof(*rule));

    rule->name = rule_name(x, NULL, 0);
    read_matches(x, NULL, rule);
    warn(x, NULL, "has no rules, so requests that no other route matches answer 500");
}

static void read_rules(route_reader_t *x)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, x->r.obj->spec, "rules", &items);

    for (uint32_t i = 0; i < n; i++) {
        const cn_node_t *node = items[i].value;
        cn_http_rule_t rule = {.node = node, .index = i};

        snprintf(x->rule_name, sizeof(x->rule_name), "spec.rules[%u]", i);
        rule.name = rule_name(x, node, i);
        read_matches(x, node, &rule);
        rule.broken = read_filters(x, node, x->rule_name, false);
        say_no_effect(x, node);
        read_backends(x, node, &rule);
        if (rule.matches.n)
            *(cn_http_rule_t *)cn_vec_push(x->r.w->pool, &x->route->rules, sizeof(rule)) = rule;
    }
    if (n == 0)
        read_no_rules(x);
}

static void read_parents(route_reader_t *x)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, x->r.obj->spec, "parentRefs", &items);

    for (uint32_t i = 0; i < n; i++) {
        const cn_node_t *node = items[i].value;
        cn_parent_ref_t *p = cn_vec_push(x->r.w->pool, &x->route->parents, sizeof(*p));
        int64_t port = 0;

        p->node = node;
        /* an absent group is the Gateway API's own; an empty one is core */
        p->group = cn_node_item(node, "group") ? cn_read_text(&x->r, node, "group")
                                               : CN_STR("gateway.networking.k8s.io");
        p->kind = cn_read_text(&x->r, node, "kind");
        if (p->kind.n == 0)
            p->kind = CN_STR("Gateway");
        p->name = cn_read_text(&x->r, node, "name");
        p->ns = cn_read_text(&x->r, node, "namespace");
        if (p->ns.n == 0)
            p->ns = x->r.obj->ns;
        if (cn_read_number(&x->r, node, "port", 1, 65535, &port))
            p->port = (uint16_t)port;
        p->section = cn_node_get(node, "sectionName") != NULL;
    }
}

/* Routes of an ingress are somebody else's: nothing is said about their rules. */
static bool has_service_parent(const cn_http_route_t *route)
{
    const cn_parent_ref_t *p = route->parents.v;

    for (uint32_t i = 0; i < route->parents.n; i++)
        if (cn_str_eq(p[i].kind, CN_STR("Service")))
            return true;
    return false;
}

void cn_model_route_read(cn_world_t *w, const cn_object_t *o)
{
    cn_http_route_t *route = cn_pool_zalloc(w->pool, sizeof(*route));
    route_reader_t x = {.r = {w, o}, .route = route};
    const cn_node_item_t *items = NULL;

    route->obj = o;
    route->hostnames = cn_node_list(o->spec, "hostnames", &items) > 0;
    read_parents(&x);
    if (has_service_parent(route))
        read_rules(&x);
    *(cn_http_route_t **)cn_vec_push(w->pool, &w->routes, sizeof(route)) = route;
}
