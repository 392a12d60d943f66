/* SPDX-License-Identifier: Apache-2.0
 *
 * The way in which a command waits for what it asked of the running master:
 * `cairn -s reload` learns whether the configuration was accepted, and why not,
 * and with --wait when all workers serve it.  The master listens on a channel
 * whose name follows from its process number.
 */
#ifndef CN_MAIN_CONTROL_H
#define CN_MAIN_CONTROL_H

#include <sys/types.h>

#include "core/pool.h"
#include "event/loop.h"

#define CN_CONTROL_CALLERS 16u

/* Somebody who waits. */
typedef struct {
    int channel;    /* -1: free */
    cn_io_t io;     /* while open */
    unsigned check; /* its answer comes with this one; 0: has not asked yet */
    uint64_t gen;   /* accepted; told again when it is in force; 0: not yet */
} cn_caller_t;

typedef struct {
    int fd; /* -1: there is none, which is logged */
    cn_io_t io;
    cn_caller_t v[CN_CONTROL_CALLERS];
} cn_control_t;

/* ---- in the master ---- */

void cn_control_open(cn_control_t *, cn_loop_t *, cn_task_t *);
void cn_control_close(cn_control_t *);
/* Takes new callers and what they ask; ask(ctx) starts a reload and says which
 * check will answer it, 0: refused. */
typedef unsigned cn_control_ask_cb(void *ctx);
void cn_control_listen(cn_control_t *, cn_task_t *, cn_control_ask_cb *ask, void *ctx);
/* That check, and those before it, came to this.  gen 0: refused. */
void cn_control_checked(cn_control_t *, unsigned check, uint64_t gen, cn_str_t why);
/* This configuration is in force in all workers. */
void cn_control_in_force(cn_control_t *, uint64_t gen);

/* ---- in a command ---- */

/* Asks the master pid to reload, and waits: until it has accepted, or with
 * serving until all workers have it in force.  CN_OK; CN_ERR: refused, *why in
 * pool; CN_DECLINE: it cannot be asked, and errno says why. */
CN_MUST cn_rc cn_control_reload(pid_t pid, bool serving, cn_pool_t *pool, cn_str_t *why);

#endif
