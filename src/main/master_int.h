/* SPDX-License-Identifier: Apache-2.0
 *
 * The master's state, shared by master.c (life and signals), crew.c (workers)
 * and upgrade.c (another binary).  One per master, on its stack.
 */
#ifndef CN_MAIN_MASTER_INT_H
#define CN_MAIN_MASTER_INT_H

#include "event/loop.h"
#include "main/board.h"
#include "main/conf.h"
#include "main/control.h"
#include "main/keeper.h"
#include "main/master.h"
#include "main/metrics.h"
#include "main/sockets.h"
#include "main/totals.h"
#include "main/watcher.h"
#include "main/worker.h"
#include "os/channel.h"
#include "os/shm.h"

/* So many changes are kept before they become one whole. */
#define CN_PARTS_MAX 64u

/* A configuration to have in force. */
typedef struct {
    cn_gen_t *gen;           /* MAIN level only */
    int bundle;              /* sealed memfd of all files of configuration id - nparts ... */
    int parts[CN_PARTS_MAX]; /* ... and of what was changed in it since, one by one */
    unsigned nparts;
    uint64_t id;
    uint32_t epoch; /* counts up with each structural change: those need other workers */
    unsigned workers;
    uint64_t expires_s; /* of our certificate in it; 0: none */
    uint64_t cert_hash; /* of that */
    bool announced;     /* all workers have it, and the log says so */
} cn_target_t;

/* One worker process, or the place of one.
 *
 *   FREE      nothing here
 *   WAITING   the worker died; another is forked at retry_ms
 *   STARTING  forked, not ready yet
 *   RUNNING   serves
 *   LEAVING   was told to go */
typedef enum {
    CN_CREW_FREE,
    CN_CREW_WAITING,
    CN_CREW_STARTING,
    CN_CREW_RUNNING,
    CN_CREW_LEAVING
} cn_crew_state;

typedef struct {
    cn_crew_state state;
    pid_t pid;
    int channel;
    int far; /* its end of that: what it has not read when it dies */
    cn_io_t io;
    uint32_t epoch;
    unsigned nth;     /* among the workers of its epoch */
    uint64_t gen;     /* it has this configuration in force */
    uint64_t sent;    /* and was sent this one */
    uint64_t refused; /* and could not take this one */
    unsigned reopens; /* of the master's that it knows of */
    uint64_t started_ms, retry_ms, left_ms;
    unsigned deaths; /* in a row, soon after the start */
    bool spare;      /* stands by: is none of the workers wanted */
    bool going;      /* was told GO: takes no connection */
    uint64_t beat;   /* as last seen on the board */
    unsigned still;  /* ticks since it changed */
} cn_crew_t;

typedef enum { CN_MASTER_RUNNING, CN_MASTER_QUITTING, CN_MASTER_TERMINATING } cn_master_state;

typedef struct cn_master {
    const cn_master_args_t *args;
    cn_master_state state;
    cn_loop_t *loop;
    cn_task_t task;
    cn_timer_t tick; /* each second */
    cn_timer_t due;  /* when a WAITING place is to be filled */
    cn_timer_t kill; /* when patience is over */
    cn_timer_t drain_due;
    int sig_fd;
    cn_io_t sig_io;

    cn_target_t target;
    uint64_t last_id;
    cn_sockets_t sockets;

    cn_control_t control;
    cn_keeper_t keeper;
    cn_io_t keeper_io;
    cn_watcher_t watcher;
    cn_io_t watcher_io;
    unsigned quiet; /* ticks since the last change */
    cn_reload_check_t check;
    unsigned check_nth; /* how many there were */
    bool gathering;     /* it only makes one piece of the parts */
    cn_io_t check_io;
    unsigned check_ticks;
    bool reload_again;
    unsigned retries, retry_ticks; /* of checks that came to nothing; until the next one, 0: none */
    bool beside;                   /* that was when another binary was there */
    unsigned reopens;              /* how often log files were opened anew */

    cn_shm_t *shm;
    cn_shared_t *shared; /* the modules' regions in it */
    cn_board_t *board;
    cn_totals_t totals; /* on our side a slot for each place in the crew, then ours */
    cn_metrics_t metrics;
    cn_crew_t *crew;
    unsigned crew_n;
    uint64_t lost_ms; /* cn_loop_lost_ms() at the last tick */
    bool spare_wanted;
    uint64_t spare_ms; /* no spare worker before that time */

    bool level_set;
    cn_log_level level;
    bool draining; /* as long as the program runs */
    bool paused;   /* WINCH: no workers wanted */

    char *pid_path; /* heap; NULL: no pid file of ours */
    int parent;     /* in the background: who waits for us to be up; -1: nobody */
    pid_t new_binary;
    pid_t old_binary; /* our parent, when it handed its sockets to us */
} cn_master_t;

/* ---- crew.c ---- */

void cn_crew_create(cn_master_t *, unsigned places);
void cn_crew_destroy(cn_master_t *);
/* Brings workers nearer to what is wanted; call after anything changed. */
void cn_crew_reconcile(cn_master_t *);
/* Reads what workers say. */
void cn_crew_listen(cn_master_t *);
/* A child ended.  False: it was no worker. */
bool cn_crew_reaped(cn_master_t *, const cn_proc_end_t *);
/* To all that run. */
void cn_crew_tell(cn_master_t *, uint32_t type, uint64_t number);
/* All go, in order; replaced: others take over. */
void cn_crew_dismiss(cn_master_t *, bool replaced);
void cn_crew_signal(cn_master_t *, int signo);
unsigned cn_crew_alive(const cn_master_t *);
/* Once a second. */
void cn_crew_tick(cn_master_t *);
/* Retry at once what waits: there is a new configuration. */
void cn_crew_forgive(cn_master_t *);

/* ---- upgrade.c ---- */

void cn_upgrade_start(cn_master_t *);
/* False: that child was not the new binary. */
bool cn_upgrade_reaped(cn_master_t *, const cn_proc_end_t *);

/* ---- master.c, for crew.c ---- */

/* An operator's wish, told through a worker: a CN_TO_*. */
void cn_master_asked(cn_master_t *, unsigned what, unsigned value);

#endif
