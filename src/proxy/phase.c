/* SPDX-License-Identifier: Apache-2.0
 *
 * Builds hook lists and runs them.  The order is that of cn_modules[], which
 * configure sorted by the modules' after and before.
 */
#include "proxy/phase.h"

#include <stdlib.h>

#include "proxy/req_int.h"

/* What a section keeps in its runtime: hooks of itself and of its routes. */
typedef struct {
    const cn_section_t *main; /* a reference: conf pointers lead into it */
    cn_hooks_t *own;
    cn_hooks_t **routes;
} runtime_t;

const char *cn_phase_name(cn_phase_t phase)
{
    static const char *const names[CN_PH_MAX] = {
        "tunnel", "head",   "external", "authn",     "authz",  "route", "limit",
        "fault",  "policy", "content",  "resp_head", "report", "log"};

    return names[phase];
}

static const void *conf_of(const cn_section_t *section, const cn_section_t *main,
                           const cn_route_t *route, unsigned unit)
{
    if (route && route->confs[unit])
        return route->confs[unit];
    if (section->confs[unit])
        return section->confs[unit];
    return main ? main->confs[unit] : NULL;
}

static void add_hook(cn_pool_t *pool, cn_hook_list_t *list, cn_hook_t hook)
{
    cn_hook_t *v = cn_pool_alloc(pool, (list->n + 1) * sizeof(*v));

    if (list->n)
        memcpy(v, list->v, list->n * sizeof(*v));
    v[list->n++] = hook;
    list->v = v;
}

static cn_hooks_t *build(cn_section_t *section, const cn_section_t *main, const cn_route_t *route)
{
    cn_hooks_t *hooks = cn_pool_zalloc(section->pool, sizeof(*hooks));

    for (unsigned ph = 0; ph < CN_PH_MAX; ph++) {
        for (unsigned i = 0; i < cn_nmodules; i++) {
            /* responses pass the modules in reverse */
            unsigned m = ph == CN_PH_RESP_HEAD ? cn_nmodules - 1 - i : i;
            const cn_module_t *mod = cn_modules[m];
            const void *conf = conf_of(section, main, route, CN_UNIT_MODULES + m);

            if (mod->phase[ph] && (!mod->active || mod->active(conf, (cn_phase_t)ph)))
                add_hook(section->pool, &hooks->phase[ph], (cn_hook_t){mod->phase[ph], conf, m});
        }
    }
    return hooks;
}

static void runtime_fini(void *p)
{
    runtime_t *rt = p;

    cn_section_unref((cn_section_t *)(uintptr_t)rt->main);
}

static runtime_t *runtime(cn_section_t *section, const cn_section_t *main)
{
    runtime_t *rt = section->runtime;

    if (rt)
        return rt;
    rt = cn_pool_zalloc(section->pool, sizeof(*rt));
    rt->main = main ? cn_section_ref((cn_section_t *)(uintptr_t)main) : NULL;
    rt->own = build(section, main, NULL);
    rt->routes = cn_pool_zalloc(section->pool, (section->nroutes + 1) * sizeof(cn_hooks_t *));
    section->runtime = rt;
    section->runtime_fini = runtime_fini;
    return rt;
}

const cn_hooks_t *cn_phase_hooks(cn_section_t *section, const cn_section_t *main,
                                 const cn_route_t *route)
{
    runtime_t *rt = runtime(section, main);
    size_t i;

    if (!route)
        return rt->own;
    i = (size_t)(route - section->routes);
    if (!rt->routes[i])
        rt->routes[i] = build(section, main, route);
    return rt->routes[i];
}

static void *ctx_of(cn_req_t *req, unsigned module)
{
    size_t size = cn_modules[module]->ctx_size;

    if (size == 0)
        return NULL;
    if (!req->ctx[module])
        req->ctx[module] = cn_pool_zalloc(req->pool, size);
    return req->ctx[module];
}

cn_rc cn_phase_run(cn_req_t *req, cn_phase_t phase)
{
    req->parked = false;
    if (req->phase != phase) {
        req->phase = phase;
        req->hook = 0;
        req->running = &req->hooks->phase[phase];
    }
    for (; req->hook < req->running->n; req->hook++) {
        const cn_hook_t *h = &req->running->v[req->hook];
        cn_rc rc = h->fn(req, h->conf, ctx_of(req, h->module));

        req->parked = rc == CN_AGAIN;
        if (rc == CN_AGAIN || rc == CN_DONE || rc == CN_ERR)
            return rc;
    }
    return CN_OK;
}

void cn_phase_run_all(cn_req_t *req, cn_phase_t phase)
{
    req->phase = CN_PH_MAX;
    while (cn_phase_run(req, phase) != CN_OK)
        req->hook++;
}
