/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of clusters' endpoints: one object per name, however many clusters use
 * it, which asks, waits for its next turn and keeps the last good answer.
 *
 *   asking    entered by           left by
 *   yes       creation, timer      answer
 *   no        answer               timer
 */
#include <stdlib.h>

#include "dns_int.h"

typedef struct {
    dns_t *d;
    cn_task_t task;
    cn_timer_t timer;
    dns_question_t *question;
    cn_addr_t *v; /* of the last good answer, in the order of the answer */
    unsigned n;
    unsigned failures; /* in a row */
    bool used;
    cn_str_t host; /* follows the struct */
} name_t;

/* ---- clusters ---- */

static const dns_cluster_t *conf_of(const dns_t *d, const cn_cluster_t *cluster)
{
    const dns_cluster_t *c = cluster->section->confs[d->unit];

    return c && c->targets.n ? c : NULL;
}

static int by_address(const void *a, const void *b)
{
    const cn_addr_t *x = a, *y = b;

    return x->family != y->family ? x->family - y->family : memcmp(x->ip, y->ip, sizeof(x->ip));
}

static void put_lines(cn_pool_t *pool, cn_str_t *text, const dns_target_t *t, const cn_addr_t *v,
                      unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char addr[CN_INET_TEXT];
        cn_addr_t a = v[i];

        a.port = (uint16_t)t->port;
        cn_inet_put(addr, &a, true);
        *text = cn_pool_printf(pool, "%.*s%s%.*s\n", CN_STR_ARG(*text), addr,
                               CN_STR_ARG(t->attributes));
    }
}

/* Sorted, so that answers in another order change nothing. */
static void put_name(cn_pool_t *pool, cn_str_t *text, const dns_target_t *t, const name_t *name,
                     bool first_only)
{
    cn_addr_t *sorted;

    if (name->n == 0)
        return;
    if (first_only) {
        put_lines(pool, text, t, name->v, 1);
        return;
    }
    sorted = cn_pool_alloc(pool, name->n * sizeof(*sorted));
    memcpy(sorted, name->v, name->n * sizeof(*sorted));
    qsort(sorted, name->n, sizeof(*sorted), by_address);
    put_lines(pool, text, t, sorted, name->n);
}

static void publish(dns_t *d, cn_cluster_t *cluster, const dns_cluster_t *c)
{
    const dns_target_t *t = c->targets.v;
    cn_pool_t *pool = cn_pool_create(4096);
    cn_str_t text = CN_STR_NULL;

    for (uint32_t i = 0; i < c->targets.n; i++) {
        const name_t *name = cn_map_get(&d->names, t[i].host);
        cn_addr_t addr;

        if (name)
            put_name(pool, &text, &t[i], name, c->logical);
        else if (cn_inet_parse_ip(t[i].host, &addr) == CN_OK)
            put_lines(pool, &text, &t[i], &addr, 1);
    }
    cn_clusters_set_resolved(cn_worker_clusters(d->w), cluster, text);
    cn_pool_destroy(pool);
}

static bool uses(const dns_cluster_t *c, cn_str_t host)
{
    const dns_target_t *t = c->targets.v;

    for (uint32_t i = 0; i < c->targets.n; i++)
        if (cn_str_eq(t[i].host, host))
            return true;
    return false;
}

/* To all clusters that use the name, or to all. */
static void publish_all(dns_t *d, const name_t *name)
{
    const cn_map_slot_t *slot;
    size_t iter = 0;

    while ((slot = cn_map_next(&d->clusters, &iter)) != NULL) {
        const dns_cluster_t *c = conf_of(d, slot->value);

        if (c && (!name || uses(c, name->host)))
            publish(d, slot->value, c);
    }
}

/* ---- names ---- */

static void keep(name_t *name, const dns_answer_t *a)
{
    name->n = a->n;
    name->v = cn_xrealloc(name->v, a->n * sizeof(*name->v));
    memcpy(name->v, a->v, a->n * sizeof(*name->v));
}

static void on_answer(void *ctx, const dns_answer_t *a)
{
    name_t *name = ctx;
    dns_t *d = name->d;

    name->question = NULL;
    dns_count(d, a);
    if (a->n) {
        name->failures = 0;
        keep(name, a);
        publish_all(d, name);
        cn_timer_set(&name->timer, dns_refresh_ms(d, a));
        return;
    }
    name->failures++;
    if (name->failures == 1)
        cn_log(CN_LOG_WARN, "dns", "%.*s: %s%s", CN_STR_ARG(name->host), a->error,
               name->n ? "; the last good answer stands" : "");
    cn_timer_set(&name->timer, dns_retry_ms(d, name->failures, a->denied));
}

static void ask(cn_task_t *task, uint32_t why CN_UNUSED)
{
    name_t *name = cn_container_of(task, name_t, task);

    if (!name->question)
        name->question = dns_ask(name->d->resolver, name->host, on_answer, name);
}

static name_t *create(dns_t *d, cn_str_t host)
{
    name_t *name = cn_xzalloc(sizeof(*name) + host.n);
    char *text = (char *)(name + 1);

    memcpy(text, host.p, host.n);
    name->host = cn_str_make(text, host.n);
    name->d = d;
    cn_task_init(&name->task, d->loop, ask);
    cn_timer_init(&name->timer, &name->task, CN_WAKE_TIMER);
    cn_map_put(&d->names, name->host, name);
    cn_task_wake(&name->task, CN_WAKE_USER);
    return name;
}

static void destroy(dns_t *d, name_t *name)
{
    cn_map_del(&d->names, name->host);
    dns_forget(name->question);
    cn_timer_stop(&name->timer);
    cn_task_fini(&name->task);
    free(name->v);
    free(name);
}

static void want(dns_t *d, const dns_cluster_t *c)
{
    const dns_target_t *t = c->targets.v;

    for (uint32_t i = 0; i < c->targets.n; i++) {
        name_t *name = cn_map_get(&d->names, t[i].host);
        cn_addr_t addr;

        if (cn_inet_parse_ip(t[i].host, &addr) == CN_OK)
            continue;
        if (!name)
            name = create(d, t[i].host);
        name->used = true;
    }
}

/* The table may not change while it is gone through. */
static name_t *next_unused(dns_t *d)
{
    cn_map_slot_t *slot;
    size_t iter = 0;

    while ((slot = cn_map_next(&d->names, &iter)) != NULL)
        if (!((name_t *)slot->value)->used)
            return slot->value;
    return NULL;
}

static void drop_unused(dns_t *d)
{
    name_t *name;

    while ((name = next_unused(d)) != NULL)
        destroy(d, name);
}

static void set_unused(dns_t *d)
{
    cn_map_slot_t *slot;
    size_t iter = 0;

    while ((slot = cn_map_next(&d->names, &iter)) != NULL)
        ((name_t *)slot->value)->used = false;
}

void dns_names_update(dns_t *d)
{
    const cn_map_slot_t *slot;
    size_t iter = 0;

    set_unused(d);
    while ((slot = cn_map_next(&d->clusters, &iter)) != NULL) {
        const dns_cluster_t *c = conf_of(d, slot->value);

        if (c)
            want(d, c);
    }
    drop_unused(d);
    publish_all(d, NULL);
}

void dns_names_fini(dns_t *d)
{
    set_unused(d);
    drop_unused(d);
    cn_map_fini(&d->names);
}
