/* SPDX-License-Identifier: Apache-2.0
 *
 * Names that requests bring along, for clusters with dns_dynamic: the host of
 * an HTTP request, or the server name of a TLS hello.  Only names below the
 * cluster's suffix are asked for, and only addresses outside this network are
 * taken unless the cluster allows more: whoever owns a name decides where it
 * leads, and must not reach what only we can.
 *
 * Names are kept for as long as their answers are good, at most so many; an
 * answer that is too old is used once more while the next is under way.
 */
#include <stdlib.h>

#include "dns_int.h"

#define KEPT_MAX 1024u
#define ADDRESSES 16u /* of one name that are used */

typedef struct {
    dns_t *d;
    cn_list_t link; /* d->recent */
    cn_list_t waiting;
    dns_question_t *question;
    cn_addr_t v[ADDRESSES];
    unsigned n, next, failures;
    uint64_t good_until_ms; /* loop time; also for a failure */
    cn_str_t host;          /* follows the struct */
} entry_t;

/* ---- where a name may lead ---- */

static bool is_in(const cn_addr_t *a, const cn_addr_t *blocks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (cn_inet_block_has(&blocks[i], a))
            return true;
    return false;
}

static bool may_lead_to(const cn_addr_t *a, bool allow_private)
{
    static const cn_addr_t never[] = {
        {AF_INET, 8, 0, {0}},         /* this network */
        {AF_INET, 8, 0, {127}},       /* loopback */
        {AF_INET, 16, 0, {169, 254}}, /* link-local, metadata services */
        {AF_INET, 3, 0, {224}},       /* multicast, reserved, broadcast */
        {AF_INET6, 127, 0, {0}},      /* unspecified, loopback */
        {AF_INET6, 10, 0, {0xfe, 0x80}} /* link-local */,
        {AF_INET6, 8, 0, {0xff}} /* multicast */,
    };
    static const cn_addr_t ours[] = {
        {AF_INET, 8, 0, {10}},           {AF_INET, 12, 0, {172, 16}},
        {AF_INET, 16, 0, {192, 168}},    {AF_INET, 10, 0, {100, 64}},
        {AF_INET, 24, 0, {192, 0, 0}},   {AF_INET, 15, 0, {198, 18}},
        {AF_INET6, 7, 0, {0xfc}},        {AF_INET6, 96, 0, {0, 0x64, 0xff, 0x9b}},
        {AF_INET6, 16, 0, {0x20, 0x02}},
    };

    if (is_in(a, never, CN_COUNT(never)))
        return false;
    return allow_private || !is_in(a, ours, CN_COUNT(ours));
}

/* One after the other of those that are allowed. */
static const cn_addr_t *choose(entry_t *e, bool allow_private)
{
    for (unsigned i = 0; i < e->n; i++) {
        const cn_addr_t *a = &e->v[(e->next + i) % e->n];

        if (may_lead_to(a, allow_private)) {
            e->next = (e->next + i + 1) % e->n;
            return a;
        }
    }
    return NULL;
}

/* ---- names ---- */

static void wake_all(entry_t *e)
{
    cn_list_each (node, &e->waiting) {
        dns_wait_t *w = cn_list_entry(node, dns_wait_t, link);

        cn_list_remove(&w->link);
        w->waits = false;
        cn_req_wake(w->req);
    }
}

static void on_answer(void *ctx, const dns_answer_t *a)
{
    entry_t *e = ctx;
    dns_t *d = e->d;
    uint64_t ms;

    e->question = NULL;
    dns_count(d, a);
    if (a->n) {
        e->failures = 0;
        e->n = a->n < ADDRESSES ? a->n : ADDRESSES;
        memcpy(e->v, a->v, e->n * sizeof(*e->v));
        ms = dns_refresh_ms(d, a);
    } else {
        if (e->failures++ == 0)
            cn_log(CN_LOG_INFO, "dns", "%.*s: %s", CN_STR_ARG(e->host), a->error);
        ms = dns_retry_ms(d, e->failures, a->denied);
    }
    e->good_until_ms = cn_loop_ms(d->loop) + ms;
    wake_all(e);
}

static void destroy(dns_t *d, entry_t *e)
{
    cn_map_del(&d->dynamic, e->host);
    cn_list_remove(&e->link);
    dns_forget(e->question);
    free(e);
}

/* False: everything kept is waited for. */
static bool make_room(dns_t *d)
{
    if (d->dynamic.used < KEPT_MAX)
        return true;
    cn_list_each (node, &d->recent) {
        entry_t *e = cn_list_entry(node, entry_t, link);

        if (!cn_list_empty(&e->waiting))
            continue;
        destroy(d, e);
        return true;
    }
    return false;
}

static entry_t *create(dns_t *d, cn_str_t host)
{
    entry_t *e;
    char *text;

    if (!make_room(d))
        return NULL;
    e = cn_xzalloc(sizeof(*e) + host.n);
    text = (char *)(e + 1);
    memcpy(text, host.p, host.n);
    e->host = cn_str_make(text, host.n);
    e->d = d;
    cn_list_init(&e->waiting);
    cn_list_push(&d->recent, &e->link);
    cn_map_put(&d->dynamic, e->host, e);
    return e;
}

/* The entry of a name, asked for when it is new or its answer too old.  NULL:
 * no room. */
static entry_t *find(dns_t *d, cn_str_t host)
{
    entry_t *e = cn_map_get(&d->dynamic, host);

    if (!e)
        e = create(d, host);
    if (!e)
        return NULL;
    cn_list_remove(&e->link);
    cn_list_push(&d->recent, &e->link);
    if (!e->question && cn_loop_ms(d->loop) >= e->good_until_ms)
        e->question = dns_ask(d->resolver, e->host, on_answer, e);
    return e;
}

/* ---- requests ---- */

static cn_rc refuse(cn_req_t *req, unsigned status, cn_str_t body, cn_str_t details, uint32_t flag)
{
    cn_req_explain(req, "dns: %.*s", CN_STR_ARG(details));
    if (cn_req_facts(req)->req) {
        cn_req_reply(req, status, body, details, flag);
    } else {
        cn_req_add_flags(req, flag);
        cn_req_refuse(req, details);
    }
    return CN_DONE;
}

static cn_rc fail(cn_req_t *req, cn_str_t details)
{
    return refuse(req, 503, CN_STR("DNS resolution failure"), details, CN_FLAG_DF);
}

/* In lower case; empty: the client names no host. */
static cn_str_t wanted_name(cn_req_t *req)
{
    const cn_facts_t *f = cn_req_facts(req);
    cn_str_t host = CN_STR_NULL;
    uint16_t port;

    if (!f->req)
        return f->sni;
    if (cn_uri_authority(f->req->authority, &host, &port) != CN_OK)
        return CN_STR_NULL;
    return cn_pool_lower(cn_req_pool(req), host);
}

static cn_rc go(cn_req_t *req, entry_t *e, const dns_cluster_t *c)
{
    const cn_addr_t *a = choose(e, c->allow_private);
    cn_addr_t to;

    if (!a)
        return fail(req, CN_STR("dns_private_address"));
    to = *a;
    to.port = (uint16_t)c->port;
    cn_req_set_destination(req, &to);
    return CN_OK;
}

static const dns_cluster_t *conf_of(const dns_t *d, cn_req_t *req)
{
    const cn_cluster_t *cluster =
        cn_clusters_find(cn_worker_clusters(d->w), cn_req_facts(req)->cluster_name);
    const dns_cluster_t *c = cluster ? cluster->section->confs[d->unit] : NULL;

    return c && c->suffix.n ? c : NULL;
}

extern const cn_module_t cn_module_dns;

cn_rc dns_dynamic_hook(cn_req_t *req, const void *conf CN_UNUSED, void *ctx)
{
    dns_t *d = cn_worker_module(cn_req_worker(req), &cn_module_dns);
    const dns_cluster_t *c = d->ndynamic ? conf_of(d, req) : NULL;
    dns_wait_t *w = ctx;
    cn_str_t name;
    entry_t *e;

    if (!c)
        return CN_OK;
    name = wanted_name(req);
    if (name.n <= c->suffix.n || !cn_str_ends(name, c->suffix) || !dns_is_name(name))
        return refuse(req, 404, CN_STR_NULL, CN_STR("route_not_found"), CN_FLAG_NR);
    e = find(d, name);
    if (!e)
        return fail(req, CN_STR("dns_too_many_names"));
    if (e->n)
        return go(req, e, c);
    if (!e->question)
        return fail(req, CN_STR("dns_resolution_failure"));
    w->req = req;
    w->waits = true;
    cn_list_push(&e->waiting, &w->link);
    return CN_AGAIN;
}

void dns_dynamic_left(cn_req_t *req CN_UNUSED, void *ctx)
{
    dns_wait_t *w = ctx;

    if (w->waits)
        cn_list_remove(&w->link);
}

void dns_dynamic_fini(dns_t *d)
{
    cn_list_each (node, &d->recent)
        destroy(d, cn_list_entry(node, entry_t, link));
    cn_map_fini(&d->dynamic);
}
