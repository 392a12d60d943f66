/* SPDX-License-Identifier: Apache-2.0
 *
 * The event loop: tasks, timers and descriptor readiness.  One loop per
 * process, single-threaded.
 *
 * A round is: wait for descriptors -> set flags and wake owners -> expired
 * timers -> run queue until it is empty -> free what was retired.  (Tasks that
 * keep the queue busy for long make the round end early; the next one goes on
 * without waiting.)  Lower
 * layers never call up: they set flags and cn_task_wake(); an object's state
 * changes only inside its own task's run().
 */
#ifndef CN_EVENT_LOOP_H
#define CN_EVENT_LOOP_H

#include "core/list.h"

typedef struct cn_loop cn_loop_t;
typedef struct cn_task cn_task_t;
typedef struct cn_timer cn_timer_t;
typedef struct cn_io cn_io_t;

/* ---- tasks ---- */

/* Why a task runs; bits accumulate between runs. */
enum {
    CN_WAKE_READ = 1 << 0,   /* something to read, or end of stream, or failure */
    CN_WAKE_WRITE = 1 << 1,  /* room to write again */
    CN_WAKE_TIMER = 1 << 2,  /* a timer of the owner expired */
    CN_WAKE_STATE = 1 << 3,  /* handshake, connect or shutdown progressed */
    CN_WAKE_CLOSED = 1 << 4, /* the other side is gone */
    CN_WAKE_SELF = 1 << 5,   /* used its budget, continue */
    CN_WAKE_USER = 1 << 8    /* from here on: the owner's own reasons */
};

typedef void cn_task_cb(cn_task_t *, uint32_t why);

/* Embedded in the object that owns it. */
struct cn_task {
    cn_list_t link; /* in the run queue while woken */
    cn_loop_t *loop;
    cn_task_cb *run;
    uint32_t why;
};

void cn_task_init(cn_task_t *, cn_loop_t *, cn_task_cb *run);
/* The task will not run any more (until woken again). */
void cn_task_fini(cn_task_t *);
/* Idempotent: runs once, with all reasons given since the last run.  A task
 * woken by its own run() goes to the end of the queue. */
void cn_task_wake(cn_task_t *, uint32_t why);

/* ---- timers ---- */

/* Embedded; when it expires the task is woken with why. */
struct cn_timer {
    cn_task_t *task;
    uint64_t at_ms; /* of the timers' clock */
    uint32_t why;
    uint32_t pos; /* place in the heap + 1; 0: not set */
};

void cn_timer_init(cn_timer_t *, cn_task_t *, uint32_t why);
/* (Re)starts it: expires ms from now, not counting time in which the process was
 * stopped: a limit on a peer is not over before what it did was looked at.
 * Cheap when it is merely pushed back. */
void cn_timer_set(cn_timer_t *, uint64_t ms);
/* Until it expires; UINT64_MAX: it is not set. */
uint64_t cn_timer_left_ms(const cn_timer_t *);
/* A wake that was given before stays given: check the state when it comes. */
void cn_timer_stop(cn_timer_t *);
static inline bool cn_timer_is_set(const cn_timer_t *t)
{
    return t->pos != 0;
}

/* ---- descriptors ---- */

/* A watched descriptor: edge-triggered, both directions registered once.  The
 * flags say what may be tried; whoever gets EAGAIN clears them. */
struct cn_io {
    cn_loop_t *loop;
    cn_task_t *task; /* woken on every edge; may be changed at any time, NULL allowed */
    int fd;
    uint32_t gen; /* guards against stale events for a reused descriptor */
    uint32_t slot;
    bool readable, writable;
    bool hup; /* the end was announced: a short read does not mean drained */
};

/* Starts watching fd, which must be non-blocking.  CN_ERR with errno. */
CN_MUST cn_rc cn_io_open(cn_io_t *, cn_loop_t *, int fd, cn_task_t *);
/* As cn_io_open for a listening socket shared by workers: level-triggered with
 * EPOLLEXCLUSIVE, read only. */
CN_MUST cn_rc cn_io_open_listen(cn_io_t *, cn_loop_t *, int fd, cn_task_t *);
/* Stops watching; does not close fd. */
void cn_io_close(cn_io_t *);

/* ---- loop ---- */

/* Ends the process, with a line on standard error, when the system has none. */
cn_loop_t *cn_loop_create(void);
void cn_loop_destroy(cn_loop_t *);
/* Until cn_loop_stop(). */
void cn_loop_run(cn_loop_t *);
/* One round; waits at most max_ms (-1: until something happens). */
void cn_loop_round(cn_loop_t *, int max_ms);
void cn_loop_stop(cn_loop_t *);
/* Milliseconds and nanoseconds of the monotonic clock as of this round's start. */
uint64_t cn_loop_ms(const cn_loop_t *);
uint64_t cn_loop_ns(const cn_loop_t *);
/* Milliseconds, in all, by which timers came late because the process did not run. */
uint64_t cn_loop_lost_ms(const cn_loop_t *);
/* The longest turn since the last call: from the look at the descriptors to the
 * next one. */
uint64_t cn_loop_longest_ns(cn_loop_t *);
/* fn(p) after the current round's run queue is empty: late events may still
 * mention an object that ended in this round. */
void cn_loop_retire(cn_loop_t *, void (*fn)(void *), void *p);

/* Embedded in what outlives its owner for a while, such as a stream that still
 * delivers what it took: fn ends it at once when the loop goes first. */
typedef struct cn_leaver {
    cn_list_t link;
    void (*fn)(struct cn_leaver *);
} cn_leaver_t;
/* Until cn_list_remove(&l->link). */
void cn_loop_leave(cn_loop_t *, cn_leaver_t *, void (*fn)(cn_leaver_t *));

#endif
