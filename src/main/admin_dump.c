/* SPDX-License-Identifier: Apache-2.0
 *
 * What is configured and what has become of it, for an operator's eyes:
 * /config_dump and /clusters.  Names, addresses and file names only: settings
 * of modules and the contents of files are not shown, so nothing secret is.
 */
#include <jansson.h>
#include <stdlib.h>

#include "main/admin.h"
#include "main/build.h"
#include "main/conf.h"
#include "upstream/cluster.h"

/* ---- JSON, for all endpoints ---- */

static int put_json(const char *p, size_t n, void *data)
{
    cn_chain_copy(data, p, n);
    return 0;
}

void cn_admin_json(cn_admin_req_t *r, json_t *j)
{
    r->content_type = CN_STR("application/json");
    if (!j || json_dump_callback(j, put_json, &r->body, JSON_INDENT(1)) != 0)
        r->status = 500;
    json_decref(j);
}

json_t *cn_admin_text(cn_str_t s)
{
    json_t *j = json_stringn(s.p ? s.p : "", s.n);

    return j ? j : json_string("(not UTF-8)");
}

json_t *cn_admin_number(uint64_t v)
{
    return json_integer((json_int_t)v);
}

static json_t *address(const cn_addr_t *a)
{
    char buf[CN_INET_TEXT];

    cn_inet_put(buf, a, true);
    return json_string(buf);
}

static json_t *protocol(int proto)
{
    static const char *const names[] = {
        [CN_PROTO_AUTO] = "auto", [CN_PROTO_HTTP1] = "http", [CN_PROTO_HTTP2] = "http2",
        [CN_PROTO_GRPC] = "grpc", [CN_PROTO_TCP] = "tcp",    [CN_PROTO_TLS] = "tls"};

    return json_string((unsigned)proto < CN_COUNT(names) ? names[proto] : "?");
}

/* ---- sections in the order of their names ---- */

static int by_name(const void *a, const void *b)
{
    const cn_section_t *x = *(const cn_section_t *const *)a, *y = *(const cn_section_t *const *)b;

    return cn_str_cmp(x->name, y->name);
}

static const cn_section_t **sorted(const cn_map_t *map, cn_pool_t *pool, size_t *n)
{
    const cn_section_t **v = cn_pool_alloc(pool, sizeof(*v) * (map->used + 1));
    const cn_map_slot_t *slot;
    size_t iter = 0;

    *n = 0;
    while ((slot = cn_map_next(map, &iter)))
        v[(*n)++] = slot->value;
    qsort(v, *n, sizeof(*v), by_name);
    return v;
}

/* ---- /config_dump ---- */

static json_t *mesh_json(const cn_proxy_conf_t *pc)
{
    json_t *o = json_object(), *aliases = json_array();

    for (uint32_t i = 0; i < pc->trust_domain_aliases.n; i++)
        json_array_append_new(aliases,
                              cn_admin_text(((const cn_str_t *)pc->trust_domain_aliases.v)[i]));
    json_object_set_new(o, "trust_domain", cn_admin_text(pc->trust_domain));
    json_object_set_new(o, "trust_domain_aliases", aliases);
    json_object_set_new(o, "certificate_file", cn_admin_text(pc->cert_file));
    json_object_set_new(o, "trust_bundle_file", cn_admin_text(pc->bundle_file));
    json_object_set_new(o, "network", cn_admin_text(pc->network));
    json_object_set_new(o, "cluster_id", cn_admin_text(pc->cluster_id));
    return o;
}

static json_t *listeners_json(const cn_main_conf_t *m)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < m->listens.n; i++) {
        const cn_main_listen_t *l = cn_main_listen(m, i);
        json_t *o = json_object();

        json_object_set_new(o, "address", address(&l->addr));
        json_object_set_new(o, "protocol", cn_admin_text(l->protocol));
        json_object_set_new(o, "where", cn_admin_text(l->where));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *service_json(const cn_section_t *s)
{
    const cn_service_conf_t *c = cn_tunnel_service(s);
    json_t *o = json_object(), *addresses = json_array(), *routes = json_array();

    for (uint32_t i = 0; i < c->addresses.n; i++)
        json_array_append_new(addresses, address((const cn_addr_t *)c->addresses.v + i));
    for (uint32_t i = 0; i < s->nroutes; i++) {
        json_t *r = json_object();
        json_object_set_new(r, "name", cn_admin_text(s->routes[i].name));
        json_object_set_new(r, "where", cn_admin_text(s->routes[i].where));
        json_array_append_new(routes, r);
    }
    json_object_set_new(o, "name", cn_admin_text(s->name));
    json_object_set_new(o, "where", cn_admin_text(s->where));
    json_object_set_new(o, "addresses", addresses);
    json_object_set_new(o, "host", cn_admin_text(c->host));
    json_object_set_new(o, "service", cn_admin_text(c->service_name));
    json_object_set_new(o, "namespace", cn_admin_text(c->service_namespace));
    json_object_set_new(o, "port", cn_admin_number(c->service_port));
    json_object_set_new(o, "protocol", protocol(c->protocol));
    json_object_set_new(o, "cluster", cn_admin_text(c->cluster));
    json_object_set_new(o, "routes", routes);
    return o;
}

static json_t *cluster_json(const cn_section_t *s)
{
    const cn_cluster_conf_t *c = s->confs[CN_UNIT_UPSTREAM];
    json_t *o = json_object();

    json_object_set_new(o, "name", cn_admin_text(s->name));
    json_object_set_new(o, "where", cn_admin_text(s->where));
    json_object_set_new(o, "host", cn_admin_text(c->host));
    json_object_set_new(o, "alias", cn_admin_text(c->alias));
    json_object_set_new(o, "protocol", protocol(c->protocol));
    json_object_set_new(o, "lb", cn_admin_text(c->lb));
    json_object_set_new(o, "connect_timeout_ms", cn_admin_number(c->connect_timeout_ms));
    json_object_set_new(o, "endpoints_file", cn_admin_text(c->endpoints));
    return o;
}

static json_t *sections_json(const cn_map_t *map, cn_pool_t *pool,
                             json_t *(*one)(const cn_section_t *))
{
    size_t n;
    const cn_section_t **v = sorted(map, pool, &n);
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, one(v[i]));
    return list;
}

void cn_admin_config_dump(cn_admin_server_t *s, cn_admin_req_t *r)
{
    const cn_worker_t *w = cn_admin_worker(s);
    json_t *o = json_object();

    json_object_set_new(o, "version", json_string(cn_build_version));
    json_object_set_new(o, "configuration", cn_admin_number(w->gen->id));
    json_object_set_new(o, "mesh", mesh_json(w->conf));
    json_object_set_new(o, "listeners", listeners_json(cn_main_conf(w->gen)));
    json_object_set_new(o, "services", sections_json(&w->gen->services, r->pool, service_json));
    json_object_set_new(o, "clusters", sections_json(&w->gen->clusters, r->pool, cluster_json));
    cn_admin_json(r, o);
}

/* ---- /clusters ---- */

/* A line for each number that admission hooks tell. */
typedef struct {
    cn_admin_req_t *r;
    const cn_cluster_t *c;
    const char *host; /* NULL: of the cluster */
} number_lines_t;

static void put_line(void *ctx, const char *name, uint64_t value)
{
    const number_lines_t *l = ctx;

    cn_admin_printf(l->r, "%.*s::%s%s%s::%llu\n", CN_STR_ARG(l->c->section->name),
                    l->host ? l->host : "", l->host ? "::" : "", name, (unsigned long long)value);
}

static void put_member(void *ctx, const char *name, uint64_t value)
{
    json_object_set_new(ctx, name, cn_admin_number(value));
}

static cn_str_t health_flags(cn_worker_t *w, cn_cluster_t *c, cn_host_t *h, cn_pool_t *pool)
{
    const cn_pick_t pick = {.admissions = &w->admissions};
    bool ejected = !cn_cluster_admits(c, &pick, h);

    if (h->healthy && !ejected)
        return CN_STR("healthy");
    return cn_pool_printf(pool, "%s%s", ejected ? "/failed_outlier_check" : "",
                          h->healthy ? "" : "/failed_eds_health");
}

static void cluster_text(cn_worker_t *w, cn_admin_req_t *r, cn_cluster_t *c)
{
    char addr[CN_INET_TEXT];
    number_lines_t numbers = {r, c, NULL};
    const cn_describe_t out = {put_line, &numbers};

    cn_admission_describe(&w->admissions, c, NULL, &out);
    numbers.host = addr;
    for (uint32_t i = 0; i < c->nhosts; i++) {
        cn_host_t *h = c->hosts[i];
        const struct {
            const char *what;
            cn_str_t value;
        } lines[] = {
            {"health_flags", health_flags(w, c, h, r->pool)},
            {"weight", cn_pool_printf(r->pool, "%u", h->weight)},
            {"rq_active", cn_pool_printf(r->pool, "%u", h->active)},
            {"tunnel", cn_host_tunnel(h)},
            {"identity", h->identity},
        };
        cn_inet_put(addr, &h->addr, true);
        for (size_t k = 0; k < CN_COUNT(lines); k++)
            cn_admin_printf(r, "%.*s::%s::%s::%.*s\n", CN_STR_ARG(c->section->name), addr,
                            lines[k].what, CN_STR_ARG(lines[k].value));
        cn_admission_describe(&w->admissions, c, h, &out);
    }
}

static json_t *locality_json(const cn_locality_t *l)
{
    json_t *o = json_object();

    json_object_set_new(o, "region", cn_admin_text(l->region));
    json_object_set_new(o, "zone", cn_admin_text(l->zone));
    json_object_set_new(o, "sub_zone", cn_admin_text(l->subzone));
    return o;
}

static json_t *host_json(cn_worker_t *w, cn_cluster_t *c, cn_host_t *h)
{
    const cn_pick_t pick = {.admissions = &w->admissions};
    json_t *numbers = json_object();
    const cn_describe_t out = {put_member, numbers};
    char ip[CN_INET_TEXT];

    cn_inet_put(ip, &h->addr, false);
    cn_admission_describe(&w->admissions, c, h, &out);
    return json_pack("{s:{s:{s:s,s:i}},s:I,s:{s:s,s:b},s:I,s:o,s:o,s:o,s:o}", "address",
                     "socket_address", "address", ip, "port_value", (int)h->addr.port, "weight",
                     (json_int_t)h->weight, "health_status", "eds_health_status",
                     h->healthy    ? "HEALTHY"
                     : h->draining ? "DRAINING"
                                   : "UNHEALTHY",
                     "failed_outlier_check", !cn_cluster_admits(c, &pick, h), "active",
                     (json_int_t)h->active, "tunnel", cn_admin_text(cn_host_tunnel(h)), "identity",
                     cn_admin_text(h->identity), "locality", locality_json(&h->place->locality),
                     "stats", numbers);
}

static json_t *cluster_hosts_json(cn_worker_t *w, cn_str_t name, cn_cluster_t *c)
{
    json_t *hosts = json_array(), *numbers = json_object();
    const cn_describe_t out = {put_member, numbers};

    cn_admission_describe(&w->admissions, c, NULL, &out);
    for (uint32_t k = 0; k < c->nhosts; k++)
        json_array_append_new(hosts, host_json(w, c, c->hosts[k]));
    return json_pack("{s:o,s:o,s:o}", "name", cn_admin_text(name), "stats", numbers,
                     "host_statuses", hosts);
}

void cn_admin_clusters(cn_admin_server_t *s, cn_admin_req_t *r)
{
    cn_worker_t *w = cn_admin_worker(s);
    bool as_json = cn_str_eq(cn_admin_arg(r, "format"), CN_STR("json"));
    size_t n;
    const cn_section_t **v = sorted(&w->gen->clusters, r->pool, &n);
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++) {
        cn_cluster_t *c = cn_clusters_find(w->clusters, v[i]->name);
        if (!c)
            continue;
        if (as_json)
            json_array_append_new(list, cluster_hosts_json(w, v[i]->name, c));
        else
            cluster_text(w, r, c);
    }
    if (as_json)
        cn_admin_json(r, json_pack("{s:o}", "cluster_statuses", list));
    else
        json_decref(list);
}
