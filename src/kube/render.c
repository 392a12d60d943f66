/* SPDX-License-Identifier: Apache-2.0
 *
 * cn_out_t -> conf text.  Every value was checked by the model; words are
 * quoted and comments cleaned by text.c all the same, so no name can break out
 * of its place.
 */
#include "kube/render.h"

static const char *const protocols[] = {
    [CN_PROTOCOL_AUTO] = "auto", [CN_PROTOCOL_HTTP] = "http",     [CN_PROTOCOL_HTTP2] = "http2",
    [CN_PROTOCOL_GRPC] = "grpc", [CN_PROTOCOL_GRPC_WEB] = "grpc", [CN_PROTOCOL_TCP] = "tcp",
    [CN_PROTOCOL_TLS] = "tls"};

/* ---- pieces ---- */

static void put_words(cn_kube_text_t *t, const char *indent, const char *name,
                      const cn_str_t *words, uint32_t n)
{
    cn_text_printf(t, "%s%s", indent, name);
    for (uint32_t i = 0; i < n; i++) {
        cn_text_add(t, CN_STR(" "));
        cn_text_word(t, words[i]);
    }
    cn_text_add(t, CN_STR(";\n"));
}

static void put_comment(cn_kube_text_t *t, cn_str_t comment)
{
    cn_text_add(t, CN_STR(" # "));
    cn_text_comment(t, comment);
    cn_text_add(t, CN_STR("\n"));
}

static void open_block(cn_kube_text_t *t, const char *indent, const char *kind, cn_str_t name,
                       cn_str_t comment)
{
    cn_text_printf(t, "%s%s ", indent, kind);
    cn_text_word(t, name);
    cn_text_add(t, CN_STR(" {"));
    put_comment(t, comment);
}

static void put_address(cn_kube_text_t *t, const cn_addr_t *addr)
{
    char text[CN_INET_TEXT];

    if (addr->port) {
        cn_inet_put(text, addr, true);
        cn_text_printf(t, " %s", text);
    } else {
        cn_inet_put(text, addr, false);
        cn_text_printf(t, addr->family == AF_INET6 ? " [%s]:*" : " %s:*", text);
    }
}

/* ---- clusters ---- */

/* A ztunnel in front captures what the waypoint sends, too: no HBONE of our own then. */
static void put_endpoint(cn_kube_text_t *t, const cn_out_t *out, const cn_out_cluster_t *c,
                         const cn_endpoint_out_t *ep)
{
    char text[CN_INET_TEXT];
    cn_str_t labels;

    if (ep->addr.port) {
        cn_inet_put(text, &ep->addr, true);
        cn_text_printf(t, "%s", text);
    } else {
        cn_inet_put(text, &ep->addr, false);
        cn_text_printf(t, ep->addr.family == AF_INET6 ? "[%s]:0" : "%s:0", text);
    }
    cn_text_printf(t, " weight=%u health=%s", ep->weight, ep->healthy ? "ok" : "unhealthy");
    if (ep->identity.n && !out->waypoint->proxy_port)
        cn_text_printf(t, " tunnel=hbone identity=%.*s", CN_STR_ARG(ep->identity));
    if (ep->locality.n)
        cn_text_printf(t, " locality=%.*s", CN_STR_ARG(ep->locality));
    if (ep->node.n && c->with_nodes)
        cn_text_printf(t, " node=%.*s", CN_STR_ARG(ep->node));
    labels = cn_translate_labels(out->world->pool, ep->owner, &c->labels);
    if (labels.n)
        cn_text_printf(t, " labels=%.*s", CN_STR_ARG(labels));
}

/* Who the requests are for, as metrics and logs name it. */
static void put_owner(cn_kube_text_t *t, const cn_service_t *s, uint16_t port)
{
    cn_str_t name = s->is_entry ? s->host : s->obj->name;

    put_words(t, "    ", "host", &s->host, 1);
    cn_text_add(t, CN_STR("    service "));
    cn_text_word(t, name);
    cn_text_printf(t, " %.*s %u;\n", CN_STR_ARG(s->obj->ns), port);
}

static void put_cluster(cn_kube_text_t *t, const cn_out_t *out, const cn_out_cluster_t *c,
                        bool inline_endpoints)
{
    const cn_endpoint_out_t *ep = c->endpoints.v;

    open_block(t, "", "cluster", c->name, c->comment);
    if (c->svc)
        put_owner(t, c->svc, c->port);
    put_words(t, "    ", "alias", &c->alias, 1);
    cn_text_printf(t, "    protocol %s;\n",
                   c->protocol == CN_PROTOCOL_TLS ? "tcp" : protocols[c->protocol]);
    cn_dir_put(t, &c->dirs, 1);
    if (c->file.n && !inline_endpoints) {
        cn_text_add(t, CN_STR("    endpoints "));
        cn_text_word(t, cn_pool_printf(out->world->pool, "endpoints.d/%.*s", CN_STR_ARG(c->file)));
        cn_text_add(t, CN_STR(";\n}\n"));
        return;
    }
    for (uint32_t i = 0; i < c->endpoints.n; i++) {
        cn_text_add(t, CN_STR("    endpoint "));
        put_endpoint(t, out, c, &ep[i]);
        cn_text_add(t, CN_STR(";\n"));
    }
    cn_text_add(t, CN_STR("}\n"));
}

/* ---- policies ---- */

static void put_clauses(cn_kube_text_t *t, const char *word, const cn_vec_t *clauses)
{
    const cn_policy_clause_t *c = clauses->v;

    for (uint32_t i = 0; i < clauses->n; i++) {
        const cn_policy_field_t *f = c[i].fields.v;

        cn_text_printf(t, "                %s {\n", word);
        for (uint32_t k = 0; k < c[i].fields.n; k++)
            put_words(t, "                    ", f[k].word, f[k].values.v, f[k].values.n);
        cn_text_add(t, CN_STR("                }\n"));
    }
}

static void put_rule(cn_kube_text_t *t, const cn_policy_rule_t *r)
{
    const cn_policy_when_t *when = r->when.v;

    cn_text_add(t, CN_STR("            rule {\n"));
    put_clauses(t, "from", &r->from);
    put_clauses(t, "to", &r->to);
    for (uint32_t i = 0; i < r->when.n; i++) {
        const cn_str_t *v = when[i].values.v;

        cn_text_printf(t, "                %s ", when[i].negated ? "when_not" : "when");
        cn_text_word(t, when[i].key);
        put_words(t, "", "", v, when[i].values.n);
    }
    cn_text_add(t, CN_STR("            }\n"));
}

static void put_policies(cn_kube_text_t *t, const cn_out_service_t *s)
{
    static const char *const actions[] = {
        [CN_ACTION_ALLOW] = "allow", [CN_ACTION_DENY] = "deny", [CN_ACTION_AUDIT] = "audit"};
    const cn_policy_t *const *p = s->policies.v;

    if (s->policies.n == 0)
        return;
    cn_text_add(t, CN_STR("    authz {\n"));
    for (uint32_t i = 0; i < s->policies.n; i++) {
        const cn_policy_rule_t *rules = p[i]->rules.v;

        cn_text_add(t, CN_STR("        policy "));
        cn_text_word(t, p[i]->obj->id);
        cn_text_printf(t, " %s%s {", actions[p[i]->action], p[i]->dry_run ? " dry_run" : "");
        put_comment(t, p[i]->obj->label);
        for (uint32_t k = 0; k < p[i]->rules.n; k++)
            put_rule(t, &rules[k]);
        cn_text_add(t, CN_STR("        }\n"));
    }
    cn_text_add(t, CN_STR("    }\n"));
}

/* ---- routes ---- */

static void put_value_match(cn_kube_text_t *t, const char *what, const cn_value_match_t *m)
{
    static const char *const kinds[] = {[CN_MATCH_EXACT] = "exact",
                                        [CN_MATCH_PREFIX] = "prefix",
                                        [CN_MATCH_TEXT_PREFIX] = "prefix",
                                        [CN_MATCH_REGEX] = "regex",
                                        [CN_MATCH_PRESENT] = "present"};
    bool text = m->kind == CN_MATCH_TEXT_PREFIX && strcmp(what, "path") == 0;

    cn_text_printf(t, " %s ", what);
    if (m->name.n) {
        cn_text_word(t, m->name);
        cn_text_add(t, CN_STR(" "));
    }
    cn_text_add(t, text ? CN_STR("text_prefix") : cn_str_c(kinds[m->kind]));
    if (m->kind != CN_MATCH_PRESENT) {
        cn_text_add(t, CN_STR(" "));
        cn_text_word(t, m->value);
    }
    cn_text_add(t, CN_STR(";"));
}

static void put_value_matches(cn_kube_text_t *t, const char *what, const cn_vec_t *list)
{
    const cn_value_match_t *v = list->v;

    for (uint32_t i = 0; i < list->n; i++)
        put_value_match(t, what, &v[i]);
}

/* A single value; an exact method is written short, as people do. */
static void put_field(cn_kube_text_t *t, const char *what, const cn_value_match_t *m)
{
    if (m->value.n == 0 || m->kind == CN_MATCH_PRESENT)
        return;
    if (m->kind != CN_MATCH_EXACT || strcmp(what, "method") != 0) {
        put_value_match(t, what, m);
        return;
    }
    cn_text_add(t, CN_STR(" method "));
    cn_text_word(t, m->value);
    cn_text_add(t, CN_STR(";"));
}

/* namespaces: of the clients; none: all */
static void put_match(cn_kube_text_t *t, const cn_http_match_t *m, const cn_str_t *namespaces,
                      uint32_t n)
{
    cn_text_add(t, CN_STR("        match {"));
    put_value_match(t, "path", &m->path);
    if (m->ignore_case)
        cn_text_add(t, CN_STR(" ignore_case on;"));
    put_field(t, "method", &m->method);
    put_field(t, "authority", &m->authority);
    put_field(t, "scheme", &m->scheme);
    put_value_matches(t, "header", &m->headers);
    put_value_matches(t, "not_header", &m->not_headers);
    put_value_matches(t, "query", &m->query);
    put_value_matches(t, "claim", &m->claims);
    if (n) {
        cn_text_add(t, CN_STR(" client_namespace"));
        for (uint32_t i = 0; i < n; i++) {
            cn_text_add(t, CN_STR(" "));
            cn_text_word(t, namespaces[i]);
        }
        cn_text_add(t, CN_STR(";"));
    }
    cn_text_add(t, CN_STR(" }\n"));
}

static void put_matches(cn_kube_text_t *t, const cn_out_route_t *r)
{
    const cn_http_match_t *const *m = r->matches.v;

    for (uint32_t i = 0; i < r->matches.n; i++) {
        const cn_str_t *ns = r->clients.n ? &r->clients : &m[i]->client_namespace;

        put_match(t, m[i], ns, ns->n > 0);
        if (ns->n == 0 && r->named.n)
            put_match(t, m[i], r->named.v, r->named.n);
    }
}

/* Backends under a directive: what has no cluster is "invalid". */
static void put_backends(cn_kube_text_t *t, unsigned depth, const char *directive,
                         const cn_vec_t *list)
{
    const cn_out_backend_t *b = list->v;

    for (uint32_t i = 0; i < list->n; i++) {
        cn_text_printf(t, "%*s%s ", (int)depth * 4, "", directive);
        cn_text_word(t, b[i].cluster.n ? b[i].cluster : CN_STR("invalid"));
        cn_text_printf(t, " weight=%u", b[i].weight);
        if (b[i].filter.n)
            cn_text_printf(t, " filter=%.*s", CN_STR_ARG(b[i].filter));
        cn_text_add(t, CN_STR(";"));
        if (b[i].comment.n)
            put_comment(t, b[i].comment);
        else
            cn_text_add(t, CN_STR("\n"));
    }
}

static void put_route(cn_kube_text_t *t, const cn_out_route_t *r)
{
    open_block(t, "    ", "route", r->name, r->comment);
    put_matches(t, r);
    cn_dir_put(t, &r->dirs, 2);
    cn_dir_put(t, &r->filters, 2);
    put_backends(t, 2, "backend", &r->backends);
    if (r->backends.n == 0 && !r->answers)
        cn_text_add(t, CN_STR("        # no backend: answers 500\n"));
    cn_text_add(t, CN_STR("    }\n"));
}

static void put_l4(cn_kube_text_t *t, const cn_out_service_t *s)
{
    const cn_out_tls_route_t *r = s->tls_routes.v;

    for (uint32_t i = 0; i < s->tls_routes.n; i++) {
        open_block(t, "    ", "tls_route", r[i].name, r[i].comment);
        if (r[i].snis.n)
            put_words(t, "        ", "sni", r[i].snis.v, r[i].snis.n);
        put_backends(t, 2, "backend", &r[i].backends);
        cn_text_add(t, CN_STR("    }\n"));
    }
    if (s->tcp_comment.n) {
        cn_text_add(t, CN_STR("   "));
        put_comment(t, s->tcp_comment);
    }
    put_backends(t, 1, "tcp_backend", &s->tcp_backends);
}

static void put_service(cn_kube_text_t *t, const cn_out_service_t *s)
{
    const cn_addr_t *addr = s->addresses.v;
    const cn_out_route_t *routes = s->routes.v;

    open_block(t, "", "service", s->name, s->comment);
    if (s->addresses.n) {
        cn_text_add(t, CN_STR("    address"));
        for (uint32_t i = 0; i < s->addresses.n; i++)
            put_address(t, &addr[i]);
        cn_text_add(t, CN_STR(";\n"));
    }
    if (s->svc)
        put_owner(t, s->svc, s->port);
    cn_text_printf(t, "    protocol %s;\n", protocols[s->protocol]);
    if (s->protocol == CN_PROTOCOL_GRPC_WEB)
        cn_text_add(t, CN_STR("    grpc_web on;\n"));
    put_words(t, "    ", "cluster", &s->cluster, 1);
    put_policies(t, s);
    cn_dir_put(t, &s->dirs, 1);
    put_l4(t, s);
    for (uint32_t i = 0; i < s->routes.n; i++)
        put_route(t, &routes[i]);
    cn_text_add(t, CN_STR("}\n"));
}

static void put_unit(cn_kube_text_t *t, const cn_out_t *out, const cn_out_unit_t *u,
                     bool inline_endpoints)
{
    const cn_out_cluster_t *c = u->clusters.v;
    const cn_out_service_t *s = u->services.v;

    for (uint32_t i = 0; i < u->clusters.n; i++)
        put_cluster(t, out, &c[i], inline_endpoints);
    for (uint32_t i = 0; i < u->services.n; i++)
        put_service(t, &s[i]);
}

/* ---- the main file ---- */

static void put_head(cn_kube_text_t *t, const cn_out_t *out)
{
    cn_text_printf(t, CN_RENDER_MARK " for the waypoint ");
    cn_text_comment(t, out->waypoint->obj->id);
    cn_text_add(t, CN_STR("; the next run overwrites this file.\n"));
}

static void put_mesh(cn_kube_text_t *t, const cn_out_t *out, const cn_render_opts_t *o)
{
    const cn_mesh_t *m = &out->world->mesh;
    const cn_str_t identity[] = {o->cert, o->key};
    const cn_str_t *alias = m->aliases.v;

    cn_text_add(t, CN_STR("mesh {\n    trust_domain "));
    cn_text_word(t, m->trust_domain);
    for (uint32_t i = 0; i < m->aliases.n; i++) {
        cn_text_add(t, CN_STR(" "));
        cn_text_word(t, alias[i]);
    }
    cn_text_add(t, CN_STR(";\n"));
    put_words(t, "    ", "identity", identity, 2);
    put_words(t, "    ", "trust_bundle", &o->roots, 1);
    if (out->network.n)
        put_words(t, "    ", "network", &out->network, 1);
    put_words(t, "    ", "cluster_id", &m->cluster_id, 1);
    cn_text_add(t, CN_STR("}\n"));
}

static void put_listen(cn_kube_text_t *t, const cn_addr_t *ip, uint16_t port, const char *what)
{
    cn_addr_t addr = *ip;

    addr.port = port;
    cn_text_add(t, CN_STR("listen"));
    put_address(t, &addr);
    cn_text_printf(t, " %s;\n", what);
}

/* Where tunnels come in.  ztunnel hands them over on the loopback address of
 * either family; a machine may lack the second. */
static void put_door(cn_kube_text_t *t, uint16_t proxy_port, const cn_addr_t *any, bool loopback)
{
    cn_addr_t ip4, ip6;

    CN_BUG_ON(cn_inet_parse_ip(CN_STR("127.0.0.1"), &ip4) != CN_OK ||
              cn_inet_parse_ip(CN_STR("::1"), &ip6) != CN_OK);
    if (!proxy_port) {
        put_listen(t, any, 15008, "hbone");
        return;
    }
    cn_text_add(t, CN_STR("# A ztunnel in front ends HBONE (waypoint-inbound-binding).\n"));
    if (loopback) {
        put_listen(t, any, proxy_port, "proxy_protocol");
        return;
    }
    put_listen(t, &ip4, proxy_port, "proxy_protocol");
    put_listen(t, &ip6, proxy_port, "proxy_protocol optional");
}

static void put_listens(cn_kube_text_t *t, cn_str_t bind, uint16_t proxy_port)
{
    cn_addr_t any, admin;
    bool loopback;

    CN_BUG_ON(cn_inet_parse_ip(bind.n ? bind : CN_STR("0.0.0.0"), &any) != CN_OK ||
              cn_inet_parse_ip(CN_STR("127.0.0.1"), &admin) != CN_OK);
    loopback = any.family == AF_INET ? any.ip[0] == 127 : cn_str_eq(bind, CN_STR("::1"));
    put_door(t, proxy_port, &any, loopback);
    put_listen(t, &any, 15020, "agent");
    put_listen(t, &any, 15021, "health");
    put_listen(t, &any, 15090, "metrics");
    put_listen(t, loopback ? &any : &admin, 15000, "admin");
}

bool cn_render_bind_ok(cn_str_t bind)
{
    cn_addr_t addr;

    return cn_inet_parse_ip(bind, &addr) == CN_OK;
}

/* Where the waypoint is: as told, else what its pods in the input have in common. */
static void put_place(cn_kube_text_t *t, const cn_out_t *out, const cn_render_opts_t *o)
{
    cn_str_t node = o->node.n ? o->node : out->node,
             locality = o->locality.n ? o->locality : out->locality;

    if (o->node.n && o->locality.n == 0)
        locality = cn_endpoints_locality(out->world, o->node);
    if (locality.n)
        put_words(t, "", "locality", &locality, 1);
    if (node.n)
        put_words(t, "", "node", &node, 1);
    if (out->labels.n)
        put_words(t, "", "labels", &out->labels, 1);
}

static void put_access_log(cn_kube_text_t *t, const cn_mesh_t *m)
{
    if (m->log_file.n == 0) {
        cn_text_add(t, CN_STR("access_log off; # MeshConfig names no accessLogFile\n"));
        return;
    }
    cn_text_add(t, CN_STR("access_log "));
    cn_text_word(t, m->log_file);
    if (m->log_format.n)
        put_words(t, " ", "format", &m->log_format, 1);
    else
        cn_text_printf(t, " %s;\n", m->log_json ? "json" : "text");
}

/* The end is within the 30 seconds that Kubernetes gives a pod. */
static void put_process(cn_kube_text_t *t, const cn_out_t *out)
{
    cn_str_t shutdown = cn_dir_time(out->world->pool, out->shutdown_ms ? out->shutdown_ms : 20000);

    cn_text_add(t, CN_STR("worker_processes "));
    if (out->workers)
        cn_text_printf(t, "%u", out->workers);
    else
        cn_text_add(t, CN_STR("auto"));
    cn_text_add(t, CN_STR(";\ndaemon off;\nerror_log stderr info;\npid cairn.pid;\n"
                          "sigterm graceful;\ndrain_delay 5s;\n"));
    cn_text_printf(t, "worker_shutdown_timeout %.*s;\n", CN_STR_ARG(shutdown));
}

static void put_main(cn_kube_text_t *t, const cn_out_t *out, const cn_render_opts_t *o, bool tree)
{
    put_head(t, out);
    put_process(t, out);
    put_mesh(t, out, o);
    cn_text_printf(t, "path_normalization %s;\n", out->world->mesh.path_normalization);
    if (tree)
        cn_text_add(t, CN_STR("workloads endpoints.d/workloads;\n"));
    put_listens(t, o->bind, out->waypoint->proxy_port);
    put_access_log(t, &out->world->mesh);
    put_place(t, out, o);
    cn_dir_put(t, &out->defaults, 0);
    if (tree)
        cn_text_add(t, CN_STR("include conf.d/*.conf;\n"));
}

void cn_render_single(const cn_out_t *out, const cn_render_opts_t *o, cn_kube_text_t *t)
{
    const cn_out_unit_t *u = out->units.v;

    put_main(t, out, o, false);
    for (uint32_t i = 0; i < out->units.n; i++)
        put_unit(t, out, &u[i], true);
}

/* ---- the tree ---- */

static void add_file(const cn_out_t *out, cn_vec_t *files, cn_str_t path, cn_kube_text_t *t)
{
    cn_render_file_t *f = cn_vec_push(out->world->pool, files, sizeof(*f));

    f->path = path;
    f->text = cn_pool_dup(out->world->pool, cn_text_str(t));
    t->n = 0;
}

static void add_endpoints(const cn_out_t *out, const cn_out_cluster_t *c, cn_kube_text_t *t,
                          cn_vec_t *files)
{
    const cn_endpoint_out_t *ep = c->endpoints.v;

    if (c->file.n == 0)
        return;
    put_head(t, out);
    cn_text_add(t, CN_STR("# Endpoints of "));
    cn_text_comment(t, c->comment);
    cn_text_add(t, CN_STR("\n"));
    for (uint32_t i = 0; i < c->endpoints.n; i++) {
        put_endpoint(t, out, c, &ep[i]);
        cn_text_add(t, CN_STR("\n"));
    }
    add_file(out, files, cn_pool_printf(out->world->pool, "endpoints.d/%.*s", CN_STR_ARG(c->file)),
             t);
}

/* app and version are the canonical ones, as Istio's workload discovery has it. */
static void put_workload(cn_kube_text_t *t, const cn_world_t *w, const cn_pod_t *p,
                         const cn_addr_t *ip)
{
    const cn_mesh_t *m = &w->mesh;
    cn_str_t locality = cn_endpoints_locality(w, p->node);
    char text[CN_INET_TEXT];

    cn_inet_put(text, ip, false);
    cn_text_printf(t, "%s name=%.*s namespace=%.*s service_account=%.*s workload=%.*s type=%s",
                   text, CN_STR_ARG(p->obj->name), CN_STR_ARG(p->obj->ns),
                   CN_STR_ARG(p->service_account), CN_STR_ARG(p->workload), p->workload_type);
    cn_text_printf(t, " canonical_name=%.*s canonical_revision=%.*s cluster=%.*s trust_domain=%.*s",
                   CN_STR_ARG(p->canonical_name), CN_STR_ARG(p->canonical_revision),
                   CN_STR_ARG(m->cluster_id), CN_STR_ARG(m->trust_domain));
    cn_text_printf(t, " app=%.*s version=%.*s", CN_STR_ARG(p->canonical_name),
                   CN_STR_ARG(p->canonical_revision));
    if (locality.n)
        cn_text_printf(t, " locality=%.*s node=%.*s", CN_STR_ARG(locality), CN_STR_ARG(p->node));
    cn_text_add(t, CN_STR("\n"));
}

static void add_workloads(const cn_out_t *out, cn_kube_text_t *t, cn_vec_t *files)
{
    const cn_pod_t *const *pods = out->pods.v;

    put_head(t, out);
    for (uint32_t i = 0; i < out->pods.n; i++) {
        const cn_addr_t *ips = pods[i]->ips.v;

        for (uint32_t k = 0; k < pods[i]->ips.n; k++) {
            char text[CN_INET_TEXT];
            size_t n = cn_inet_put(text, &ips[k], false);

            if (cn_map_get(&out->world->pods_by_ip, cn_str_make(text, n)) == pods[i])
                put_workload(t, out->world, pods[i], &ips[k]);
        }
    }
    add_file(out, files, CN_STR("endpoints.d/workloads"), t);
}

/* Certificates and keys.  Text before the first "-----BEGIN" is no part of a PEM. */
static void add_secrets(const cn_out_t *out, cn_kube_text_t *t, cn_vec_t *files)
{
    const cn_traffic_file_t *f = out->files.v;

    for (uint32_t i = 0; i < out->files.n; i++) {
        put_head(t, out);
        cn_text_add(t, f[i].text);
        add_file(out, files, f[i].path, t);
        ((cn_render_file_t *)files->v)[files->n - 1].secret = true;
    }
}

void cn_render_tree(const cn_out_t *out, const cn_render_opts_t *o, cn_vec_t *files)
{
    const cn_out_unit_t *u = out->units.v;
    cn_kube_text_t t = {0};

    add_workloads(out, &t, files);
    add_secrets(out, &t, files);
    for (uint32_t i = 0; i < out->units.n; i++) {
        const cn_out_cluster_t *c = u[i].clusters.v;

        for (uint32_t k = 0; k < u[i].clusters.n; k++)
            add_endpoints(out, &c[k], &t, files);
        put_head(&t, out);
        put_unit(&t, out, &u[i], false);
        add_file(out, files,
                 cn_pool_printf(out->world->pool, "conf.d/%.*s.conf", CN_STR_ARG(u[i].name)), &t);
    }
    put_main(&t, out, o, true);
    add_file(out, files, CN_STR("cairn.conf"), &t);
    cn_text_fini(&t);
}
