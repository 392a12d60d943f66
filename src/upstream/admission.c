/* SPDX-License-Identifier: Apache-2.0
 *
 * All of the modules' admission hooks as one.  Knows nothing of what they
 * count.
 */
#include "upstream/admission.h"

#include <stdlib.h>

void cn_admission_init(cn_admissions_t *all, cn_admission_t *v, unsigned n)
{
    all->v = v;
    all->n = n;
    cn_list_init(&all->waiting);
}

void cn_admission_fini(cn_admissions_t *all)
{
    CN_BUG_ON(!cn_list_empty(&all->waiting));
    free(all->v);
}

static const void *conf_of(const cn_section_t *section, const cn_admission_t *a)
{
    return section ? section->confs[a->unit] : NULL;
}

static void release(const cn_admissions_t *all, unsigned n, const cn_ticket_t *t)
{
    for (unsigned i = n; i-- > 0;) {
        const cn_admission_t *a = &all->v[i];

        if (a->ops->release)
            a->ops->release(a->wctx, t->cluster, conf_of(t->section, a), t->kind);
    }
}

static bool admit(const cn_admissions_t *all, const cn_ticket_t *want)
{
    for (unsigned i = 0; i < all->n; i++) {
        const cn_admission_t *a = &all->v[i];

        if (a->ops->admit &&
            !a->ops->admit(a->wctx, want->cluster, conf_of(want->section, a), want->kind)) {
            release(all, i, want);
            return false;
        }
    }
    return true;
}

static bool take(cn_admissions_t *all, const cn_ticket_t *want, bool may_be_beyond, cn_ticket_t *t)
{
    CN_BUG_ON(t->cluster);
    if (!all || all->n == 0)
        return true;
    *t = *want;
    t->beyond = !admit(all, want);
    if (t->beyond && !may_be_beyond) {
        *t = (cn_ticket_t){0};
        return false;
    }
    if (t->kind == CN_ADMIT_CONNECTION)
        t->cluster->connections++;
    cn_cluster_ref(t->cluster);
    if (t->section)
        cn_section_ref(t->section);
    return true;
}

bool cn_admission_take(cn_admissions_t *all, cn_cluster_t *c, cn_admit_kind kind, cn_ticket_t *t)
{
    const cn_ticket_t want = {c, c->section, kind, false};

    return take(all, &want, false, t);
}

bool cn_admission_take_shared(cn_admissions_t *all, cn_cluster_t *c, cn_ticket_t *t)
{
    const cn_ticket_t want = {c, c->section, CN_ADMIT_CONNECTION, false};

    return take(all, &want, c->connections == 0, t);
}

void cn_admission_return(cn_admissions_t *all, cn_ticket_t *t)
{
    cn_ticket_t had = *t;

    if (!had.cluster)
        return;
    *t = (cn_ticket_t){0};
    if (!had.beyond)
        release(all, all->n, &had);
    if (had.kind == CN_ADMIT_CONNECTION) {
        had.cluster->connections--;
        cn_admission_wake(all, had.cluster);
    }
    cn_section_unref(had.section);
    cn_cluster_unref(had.cluster);
}

void cn_admission_wait(cn_admissions_t *all, cn_waiter_t *w)
{
    if (cn_list_empty(&w->link))
        cn_list_push(&all->waiting, &w->link);
    for (unsigned i = 0; i < all->n; i++) {
        const cn_admission_t *a = &all->v[i];

        if (a->ops->wait)
            a->ops->wait(a->wctx, w->cluster, conf_of(w->cluster->section, a));
    }
}

static bool is_waited_for(const cn_admissions_t *all, const cn_cluster_t *c)
{
    cn_list_each (node, &all->waiting)
        if (cn_list_entry(node, cn_waiter_t, link)->cluster == c)
            return true;
    return false;
}

bool cn_admission_spare(const cn_admissions_t *all, cn_cluster_t *c)
{
    for (unsigned i = 0; all && i < all->n; i++) {
        const cn_admission_t *a = &all->v[i];

        if (a->ops->spare &&
            a->ops->spare(a->wctx, c, conf_of(c->section, a), is_waited_for(all, c)))
            return true;
    }
    return false;
}

/* It goes to the end of the line: when it finds nothing, the next wake is for
 * another. */
void cn_admission_wake(cn_admissions_t *all, const cn_cluster_t *c)
{
    if (!all)
        return;
    cn_list_each (node, &all->waiting) {
        cn_waiter_t *w = cn_list_entry(node, cn_waiter_t, link);

        if (w->cluster != c)
            continue;
        cn_list_remove(&w->link);
        cn_list_push(&all->waiting, &w->link);
        cn_task_wake(w->task, w->why);
        return;
    }
}

bool cn_cluster_admits(cn_cluster_t *c, const cn_pick_t *pick, cn_host_t *host)
{
    const cn_admissions_t *all = pick->admissions;

    for (unsigned i = 0; all && i < all->n; i++) {
        const cn_admission_t *a = &all->v[i];

        if (a->ops->usable && !a->ops->usable(a->wctx, c, conf_of(c->section, a), host))
            return false;
    }
    return true;
}

cn_cluster_look_t cn_cluster_look(cn_cluster_t *c, const cn_pick_t *pick)
{
    const cn_admissions_t *all = pick->admissions;
    cn_cluster_look_t look = {0, 0};

    for (unsigned i = 0; all && i < all->n; i++) {
        const cn_admission_t *a = &all->v[i];

        if (a->ops->look)
            a->ops->look(a->wctx, c, conf_of(c->section, a), &look);
    }
    return look;
}

void cn_admission_report(const cn_admissions_t *all, cn_cluster_t *c, cn_host_t *host,
                         const cn_outcome_t *outcome)
{
    for (unsigned i = 0; all && i < all->n; i++) {
        const cn_admission_t *a = &all->v[i];

        if (a->ops->report)
            a->ops->report(a->wctx, c, conf_of(c->section, a), host, outcome);
    }
}

void cn_admission_describe(const cn_admissions_t *all, cn_cluster_t *c, const cn_host_t *host,
                           const cn_describe_t *out)
{
    for (unsigned i = 0; all && i < all->n; i++) {
        const cn_admission_t *a = &all->v[i];

        if (a->ops->describe)
            a->ops->describe(a->wctx, c, conf_of(c->section, a), host, out);
    }
}
