/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the loop, shared by loop.c, io.c, task.c and timer.c.  Nobody
 * outside src/event includes this, but for unit tests that set the clock.
 */
#ifndef CN_EVENT_LOOP_INT_H
#define CN_EVENT_LOOP_INT_H

#include <sys/epoll.h>

#include "event/loop.h"

#define CN_LOOP_EVENTS 256

/* The key may be earlier than the timer's at_ms: pushing back only changes the
 * latter, and the heap learns of it when the key is due. */
typedef struct {
    uint64_t key_ms;
    cn_timer_t *timer;
} cn_timer_slot_t;

/* gen changes whenever the slot changes hands. */
typedef struct {
    cn_io_t *io; /* NULL: free */
    uint32_t gen;
    uint32_t next_free; /* index + 1; 0 ends */
} cn_io_slot_t;

typedef struct {
    void (*fn)(void *);
    void *p;
    uint64_t pass; /* number of the pass in which it was retired */
} cn_retired_t;

struct cn_loop {
    int epfd;
    bool stop;
    uint64_t now_ns;
    uint64_t longest_ns; /* turn, since somebody asked */
    uint64_t lost_ms;    /* in which timers did not run, because we did not */
    unsigned late_left;  /* rounds for what came meanwhile, before timers run again */

    cn_list_t queue; /* tasks woken, for the next pass */
    uint64_t pass;   /* passes over the queue that have ended */

    cn_timer_slot_t *heap;
    uint32_t heap_n, heap_cap;

    cn_io_slot_t *slots;
    uint32_t slots_n, slots_cap, slots_free;

    cn_retired_t *retired;
    size_t retired_n, retired_cap;
    cn_list_t leavers;

    struct epoll_event events[CN_LOOP_EVENTS];
};

/* Sets flags and wakes for one event; drops it when its slot changed hands. */
void cn_io_event(cn_loop_t *, const struct epoll_event *);
/* Milliseconds until the earliest key, at most max (-1: no bound); 0 when due. */
int cn_timer_wait_ms(const cn_loop_t *, int max);
/* How long ago the earliest key was due. */
uint64_t cn_timer_late_ms(const cn_loop_t *);
/* Wakes the tasks of all timers that are due. */
void cn_timer_expire(cn_loop_t *);
/* One pass: runs each task that is in the queue now, once.  Returns how many ran. */
size_t cn_task_pass(cn_loop_t *);

#endif
