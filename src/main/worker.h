/* SPDX-License-Identifier: Apache-2.0
 *
 * The worker process, and what it and the master say to each other.
 */
#ifndef CN_MAIN_WORKER_H
#define CN_MAIN_WORKER_H

#include <sys/types.h>

#include "main/board.h"
#include "main/reload.h"
#include "main/sockets.h"
#include "os/proc.h"
#include "proxy/shared.h"

/* Master to worker. */
enum {
    CN_TO_RELOAD = 1, /* number: configuration; fd: its bundle */
    CN_TO_RETIRE,     /* another worker takes over: close listeners, finish, end */
    CN_TO_QUIT,       /* the program ends: as RETIRE, but keep answering "not ready" */
    CN_TO_DRAIN,      /* as QUIT, but stay when nothing is open any more */
    CN_TO_REOPEN,     /* log files */
    CN_TO_LEVEL,      /* number: cn_log_level */
    CN_TO_PATCH,      /* number: configuration; fd: what is other than in the one before */
    CN_TO_UNREADY,    /* the program is about to end: say so, and go on */
    CN_TO_CONN,       /* a connection that another has accepted; number: module */
    CN_TO_SERVE,      /* to a spare worker: open the listeners.  number: nth among the workers */
    CN_TO_GO          /* to a leaving one that said IDLE: no connection comes any more */
};

/* Worker to master. */
enum {
    CN_FROM_READY = 64, /* number: configuration in force; listeners are open */
    CN_FROM_ACK,        /* number: configuration in force */
    CN_FROM_NACK,       /* number: configuration refused; text: why */
    CN_FROM_CONN,       /* fd is for the worker in slot number >> 16; the rest is the module */
    CN_FROM_IDLE,       /* it leaves and has nothing open */
    CN_FROM_ASK         /* an operator's wish, made at this worker: number: a CN_TO_* */
};
/* ASK only: read the configuration again. */
#define CN_ASK_RELOAD CN_TO_RELOAD

/* Exit status of a worker that could not start. */
#define CN_WORKER_INIT_FAILED 2

/* Everything that a new worker is given. */
typedef struct {
    const cn_reload_source_t *source;
    const cn_proc_title_t *title;
    const cn_sockets_t *sockets;
    cn_board_t *board;
    unsigned slots;      /* on the board */
    void *stats;         /* shared region ... */
    unsigned stats_slot; /* ... and our slot in it */
    cn_shared_t *shared; /* the modules' regions */
    int bundle;          /* configuration to start with ... */
    const int *parts;    /* ... and what was changed in it since */
    unsigned nparts;
    int channel;                /* its end */
    uint64_t gen;               /* number of that configuration, with all parts */
    unsigned slot;              /* on the board */
    unsigned nth;               /* among the workers, for processor affinity */
    bool spare;                 /* opens no listener before CN_TO_SERVE */
    const cn_main_conf_t *main; /* of that configuration; readable until the process ends */
    cn_log_level level;         /* when level_set: as changed at run time */
    bool level_set;
} cn_worker_start_t;

/* In the freshly forked process; ends it. */
CN_NORETURN void cn_worker_main(const cn_worker_start_t *);

#endif
