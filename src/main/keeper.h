/* SPDX-License-Identifier: Apache-2.0
 *
 * The keeper: a checker that stays.  It holds the configuration in force as a
 * worker does, so that a reload reads, judges and sends only what has changed.
 * Worth its memory for large configurations only; without one, each reload has
 * a checker of its own (reload.h), and the result is the same.
 */
#ifndef CN_MAIN_KEEPER_H
#define CN_MAIN_KEEPER_H

#include "main/conf.h"
#include "main/reload.h"
#include "os/proc.h"

typedef struct {
    pid_t pid;   /* 0: none */
    int channel; /* non-blocking */
} cn_keeper_t;

typedef struct {
    const cn_reload_source_t *source;
    const cn_proc_title_t *title;
    const cn_main_conf_t *main;
    int bundle; /* the configuration in force */
} cn_keeper_start_t;

/* CN_ERR with errno. */
CN_MUST cn_rc cn_keeper_start(cn_keeper_t *, const cn_keeper_start_t *);
/* Begins a check, which is then as any other; whole: nothing is read, the
 * answer is the configuration in force in one piece (CN_CHECKED_SAME).
 * CN_ERR: it does not listen. */
CN_MUST cn_rc cn_keeper_ask(const cn_keeper_t *, bool whole, cn_reload_check_t *);
/* It opens its log file by name again.  CN_ERR: it does not listen. */
CN_MUST cn_rc cn_keeper_reopen(const cn_keeper_t *);
/* It has ended, or is ended now. */
void cn_keeper_end(cn_keeper_t *);

#endif
