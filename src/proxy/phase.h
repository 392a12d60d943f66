/* SPDX-License-Identifier: Apache-2.0
 *
 * The phase engine: for each section (and each of its routes) an array of just
 * those hooks that have something to do there, built once on first use, so an
 * idle module costs nothing.
 */
#ifndef CN_PROXY_PHASE_H
#define CN_PROXY_PHASE_H

#include "cairn/module.h"

typedef struct {
    cn_phase_fn *fn;
    const void *conf;
    unsigned module;
} cn_hook_t;

typedef struct {
    const cn_hook_t *v;
    unsigned n;
} cn_hook_list_t;

typedef struct {
    cn_hook_list_t phase[CN_PH_MAX];
} cn_hooks_t;

/* Hooks of the section (route NULL) or of one of its routes; main: the MAIN
 * section that the settings fall back to.  Live as long as the section. */
const cn_hooks_t *cn_phase_hooks(cn_section_t *, const cn_section_t *main, const cn_route_t *);

/* Runs a phase from where it was parked.  CN_OK: all passed; CN_AGAIN: parked;
 * CN_DONE: a reply was set; CN_ERR: a module failed without a reply.  The hooks
 * are those in force when the phase began, also when one of them sets a route. */
CN_MUST cn_rc cn_phase_run(cn_req_t *, cn_phase_t);
/* A phase that cannot fail or wait, from its first hook: all of them run. */
void cn_phase_run_all(cn_req_t *, cn_phase_t);

/* Phase names as `cairn -L` prints them. */
const char *cn_phase_name(cn_phase_t);

#endif
