/* SPDX-License-Identifier: Apache-2.0
 *
 * The Gateway API's policies of backends: BackendTLSPolicy and
 * XBackendTrafficPolicy (semantics 4.3).
 */
#include "kube/filter.h"

void cn_model_read_target(const cn_reader_t *r, const cn_node_t *node, cn_target_ref_t *t)
{
    t->node = node;
    t->group = cn_read_text(r, node, "group");
    t->kind = cn_read_text(r, node, "kind");
    t->name = cn_read_text(r, node, "name");
    t->ns = cn_read_text(r, node, "namespace");
    t->section = cn_read_text(r, node, "sectionName");
}

static void read_targets(const cn_reader_t *r, cn_vec_t *out)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(r, r->obj->spec, "targetRefs", &items);

    for (uint32_t i = 0; i < n; i++)
        cn_model_read_target(r, items[i].value,
                             cn_vec_push(r->w->pool, out, sizeof(cn_target_ref_t)));
}

/* ---- BackendTLSPolicy ---- */

static void read_sans(const cn_reader_t *r, cn_tls_policy_t *p)
{
    static const char *const types[] = {"Hostname", "URI", NULL};
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(r, p->at, "subjectAltNames", &items);

    for (uint32_t i = 0; i < n; i++) {
        int type = cn_value_read_word(r, items[i].value, "type", "subjectAltNames", types);
        cn_str_t name = cn_value_read_plain(r, items[i].value, type == 1 ? "uri" : "hostname",
                                            "subjectAltNames");

        if (name.n)
            *(cn_str_t *)cn_vec_push(r->w->pool, &p->sans, sizeof(name)) = name;
        else
            p->invalid = CN_STR("a subjectAltName is empty or unknown");
    }
}

static void read_authorities(const cn_reader_t *r, cn_tls_policy_t *p)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(r, p->at, "caCertificateRefs", &items);
    cn_str_t known = cn_read_text(r, p->at, "wellKnownCACertificates"), kind;

    if (n == 0 && cn_str_eq(known, CN_STR("System"))) {
        p->system = true;
        return;
    }
    if (n == 0) {
        p->invalid = CN_STR("it names no certificate authority");
        return;
    }
    if (n > 1)
        cn_store_warn(r->w->diag, r->obj, items[1].value,
                      "spec.validation.caCertificateRefs[1]: has no effect: the first one is used");
    kind = cn_read_text(r, items[0].value, "kind");
    p->config_map = cn_read_text(r, items[0].value, "name");
    if (!cn_str_eq(kind, CN_STR("ConfigMap")) || !cn_store_is_dns_subdomain(p->config_map))
        p->invalid = CN_STR("its caCertificateRef is no ConfigMap");
}

void cn_model_backendpolicy_tls(cn_world_t *w, const cn_object_t *o)
{
    const cn_reader_t r = {w, o};
    cn_tls_policy_t *p = cn_pool_zalloc(w->pool, sizeof(*p));

    p->obj = o;
    p->at = cn_node_get(o->spec, "validation");
    p->hostname = cn_read_text(&r, p->at, "hostname");
    if (!cn_value_is_domain(p->hostname, false))
        p->invalid = CN_STR("validation.hostname is no host name");
    read_targets(&r, &p->targets);
    read_sans(&r, p);
    read_authorities(&r, p);
    *(cn_tls_policy_t **)cn_vec_push(w->pool, &w->tls_policies, sizeof(p)) = p;
}

/* ---- XBackendTrafficPolicy ---- */

/* The proxy counts retries that are always allowed by the second. */
static void put_budget(const cn_reader_t *r, const cn_node_t *node, cn_vec_t *list)
{
    const cn_node_t *budget = cn_node_get(node, "budget"),
                    *rate = cn_node_get(node, "minRetryRate");
    int64_t percent = 20, count = 10;
    uint64_t ms = 10000, rate_ms = 1000;
    cn_str_t interval;
    cn_dir_t *d;

    if (cn_node_get(budget, "percent") && !cn_read_number(r, budget, "percent", 0, 100, &percent))
        percent = 20;
    if (cn_node_get(rate, "count") && !cn_read_number(r, rate, "count", 1, 1000000, &count))
        count = 10;
    (void)cn_value_read_duration(r, budget, "interval", "retryConstraint.budget", &ms);
    (void)cn_value_read_duration(r, rate, "interval", "retryConstraint.minRetryRate", &rate_ms);
    if (rate_ms == 0)
        rate_ms = 1000;
    if (ms < 1000 || ms > 3600000) /* what the proxy takes */
        ms = ms < 1000 ? 1000 : 3600000;
    d = cn_dir_add(r->w->pool, list, "retry_budget");
    cn_dir_printf(r->w->pool, d, "percent=%lld", (long long)percent);
    cn_dir_printf(r->w->pool, d, "min=%lld",
                  (long long)((uint64_t)(count * 1000) + rate_ms - 1) / (long long)rate_ms);
    interval = cn_dir_time(r->w->pool, ms);
    cn_dir_printf(r->w->pool, d, "interval=%.*s", CN_STR_ARG(interval));
}

void cn_model_backendpolicy_traffic(cn_world_t *w, const cn_object_t *o)
{
    const cn_reader_t r = {w, o};
    cn_backend_policy_t *p = cn_pool_zalloc(w->pool, sizeof(*p));
    const cn_node_t *session = cn_node_get(o->spec, "sessionPersistence"),
                    *retry = cn_node_get(o->spec, "retryConstraint");

    p->obj = o;
    read_targets(&r, &p->targets);
    if (retry)
        put_budget(&r, retry, &p->cluster);
    if (session)
        cn_filter_session(&r, session, "spec.sessionPersistence", o->id, &p->service);
    *(cn_backend_policy_t **)cn_vec_push(w->pool, &w->backend_policies, sizeof(p)) = p;
}
