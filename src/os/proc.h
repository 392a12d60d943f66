/* SPDX-License-Identifier: Apache-2.0
 *
 * Processes: titles, children, daemon mode, processors, pid files.
 */
#ifndef CN_OS_PROC_H
#define CN_OS_PROC_H

#include <sched.h>
#include <sys/types.h>

#include "core/pool.h"
#include "core/str.h"

/* The memory in which the system shows our command line. */
typedef struct {
    char *base;
    size_t size;
    char **argv; /* the copy */
} cn_proc_title_t;

/* Call once, first thing in main: copies argv and the environment away.
 * Returns the copy of argv, whose entries may be moved around. */
char **cn_proc_title_init(cn_proc_title_t *, int argc, char **argv);
/* Last thing in main: the copy of argv ends; that of the environment stays. */
void cn_proc_title_fini(cn_proc_title_t *);
/* "cairn: " and the text. */
void cn_proc_title_set(const cn_proc_title_t *, const char *text);

/* How a child ended. */
typedef struct {
    pid_t pid;
    int status; /* exit status, -1 when killed */
    int signo;  /* signal that killed it, else 0 */
    bool core;
} cn_proc_end_t;
/* Collects one ended child.  False when there is none. */
bool cn_proc_reap(cn_proc_end_t *);

/* Leaves the terminal and the starter's session.  The parent stays until
 * cn_proc_daemon_ready(*parent), then ends with status 0; when this process
 * ends before, with 1.  CN_ERR with errno. */
CN_MUST cn_rc cn_proc_daemon(int *parent);
void cn_proc_daemon_ready(int parent);
/* Closes every descriptor above 2 that is not in keep (n entries, in any order). */
void cn_proc_close_others(const int *keep, unsigned n);

/* Processors that this process may use: its affinity mask, and no more than
 * its control group's quota, rounded up.  At least 1. */
unsigned cn_proc_cpus(void);
/* "MAX PERIOD" of a cgroup v2 cpu.max as whole processors, rounded up; 0: no
 * limit or not understood. */
unsigned cn_proc_quota(cn_str_t cpu_max);
/* Binds this process to the n-th processor (modulo their number) of those allowed. */
CN_MUST cn_rc cn_proc_bind_nth(unsigned n);
CN_MUST cn_rc cn_proc_bind(const cpu_set_t *);
/* A mask as nginx writes it: the lowest processor is the last digit. */
CN_MUST cn_rc cn_proc_parse_mask(cn_str_t, cpu_set_t *);

/* Creates or replaces the file.  CN_ERR with errno. */
CN_MUST cn_rc cn_proc_pid_write(const char *path, pid_t);
/* CN_ERR with errno, EINVAL when it holds no number. */
CN_MUST cn_rc cn_proc_pid_read(const char *path, pid_t *);

#endif
