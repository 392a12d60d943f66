/* SPDX-License-Identifier: Apache-2.0
 *
 * MAIN-level settings of the program itself: processes, logs and listeners.
 *
 * Paths of files that the program writes (pid, error_log) are relative to the
 * prefix (-p); paths of files that the configuration reads (include,
 * endpoints, identity) are relative to the folder of the conf file.
 */
#ifndef CN_MAIN_CONF_H
#define CN_MAIN_CONF_H

#include <sched.h>

#include "conf/section.h"
#include "core/log.h"
#include "os/priv.h"

typedef struct {
    cn_addr_t addr;
    cn_str_t protocol; /* the word of the directive */
    cn_str_t where;    /* file:line */
    unsigned admin;    /* CN_ADMIN_*; 0: a module's listener */
    bool optional;     /* left out where the machine has no such address */
    unsigned server;   /* its number, for cn_main_server() */
    uint32_t backlog;
} cn_main_listen_t;

typedef enum { CN_KEEPER_AUTO, CN_KEEPER_ON, CN_KEEPER_OFF } cn_main_keeper;

typedef struct {
    bool daemon;
    bool pid_off;
    bool pid_given; /* by the user: failing to write it is an error */
    cn_str_t pid;
    bool has_user;
    cn_priv_t user;
    uint32_t workers; /* 0: auto */
    bool affinity_auto;
    cn_vec_t affinity;    /* cpu_set_t; the i-th worker takes element i modulo n */
    uint32_t nofile;      /* 0: as it is */
    uint64_t shutdown_ms; /* 0: no limit */
    uint64_t watchdog_ms; /* 0: off */
    int keeper;           /* cn_main_keeper */
    uint64_t watch_ms;    /* quiet time after which a change on disk is taken; 0: off */
    bool accept_balance;
    int sigterm;             /* 1: as QUIT */
    uint64_t drain_delay_ms; /* from "not ready" to draining, when the program ends */
    cn_str_t error_log;      /* empty: standard error */
    cn_log_level error_level;
    uint64_t stats_memory; /* per worker */
    cn_vec_t listens;      /* cn_main_listen_t */
} cn_main_conf_t;

extern const cn_conf_unit_t cn_main_unit;
const cn_main_conf_t *cn_main_conf(const cn_gen_t *);
/* What modules serve connections with, by number from 0 on, and the module's
 * index in cn_modules.  NULL: there are not so many. */
const struct cn_listener_ops *cn_main_server(unsigned number, unsigned *module);
/* The i-th listener. */
const cn_main_listen_t *cn_main_listen(const cn_main_conf_t *, unsigned i);
/* How many workers are meant. */
unsigned cn_main_workers(const cn_main_conf_t *);
/* A path of ours against the prefix, NUL-terminated. */
char *cn_main_path(cn_pool_t *, cn_str_t prefix, cn_str_t path);

/* Where the master's process number is unless the configuration says otherwise. */
#define CN_MAIN_PID "logs/cairn.pid"

/* Enough for any machine, and few enough that the tables stay small. */
#define CN_MAIN_WORKERS_MAX 128

#endif
