/* SPDX-License-Identifier: Apache-2.0
 *
 * The master process: keeps workers running by the configuration that is
 * wanted, and does what signals say.
 */
#ifndef CN_MAIN_MASTER_H
#define CN_MAIN_MASTER_H

#include "main/reload.h"
#include "os/proc.h"

typedef struct {
    const cn_reload_source_t *source;
    const cn_proc_title_t *title;
    char **argv;           /* for a binary upgrade; NULL-terminated */
    const char *inherited; /* CN_SOCKETS_ENV as an older binary left it, or NULL */
    const char *totals;    /* CN_TOTALS_ENV likewise */
} cn_master_args_t;

/* Until the program ends; returns its exit status.  What goes wrong before
 * there are workers is told on standard error. */
int cn_master_run(const cn_master_args_t *);

#endif
