/* SPDX-License-Identifier: Apache-2.0
 *
 * Fibers by ucontext.  The stack is mapped with a page below it that may not be
 * touched, so running over its end is a crash and not somebody else's memory;
 * pages that are never reached cost nothing.
 */
#include "os/fiber.h"

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "core/pool.h"

#include <stdlib.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#define STACK_BYTES (4u << 20) /* its frames are several times as large */
#else
#define STACK_BYTES (1u << 20)
#endif

typedef enum { NEW, RUNNING, PAUSED, ENDED } state_t;

struct cn_fiber {
    ucontext_t own, caller;
    void (*fn)(void *);
    void *arg;
    char *map;
    size_t map_len;
    state_t state;
    /* For the address sanitizer, which must be told of each change of stacks. */
    void *fake;
    const void *caller_stack;
    size_t caller_len;
};

/* ---- stacks, as the sanitizer is told of them ---- */

static void leave_for(void **fake CN_UNUSED, const void *stack CN_UNUSED, size_t n CN_UNUSED)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(fake, stack, n);
#endif
}

static void arrive(void *fake CN_UNUSED, const void **from CN_UNUSED, size_t *n CN_UNUSED)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake, from, n);
#endif
}

/* ---- life ---- */

/* makecontext() hands on ints only, so a pointer comes in two. */
static void enter(unsigned high, unsigned low)
{
    cn_fiber_t *f = (cn_fiber_t *)((uintptr_t)high << 32 | low);

    arrive(NULL, &f->caller_stack, &f->caller_len);
    f->fn(f->arg);
    f->state = ENDED;
    leave_for(NULL, f->caller_stack, f->caller_len); /* for good */
    setcontext(&f->caller);
}

static cn_rc make_stack(cn_fiber_t *f)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    f->map_len = STACK_BYTES + page;
    f->map = mmap(NULL, f->map_len, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (f->map == MAP_FAILED)
        return CN_ERR;
    if (mprotect(f->map, page, PROT_NONE) != 0) {
        munmap(f->map, f->map_len);
        return CN_ERR;
    }
    f->own.uc_stack.ss_sp = f->map + page;
    f->own.uc_stack.ss_size = STACK_BYTES;
    return CN_OK;
}

cn_fiber_t *cn_fiber_create(void (*fn)(void *), void *arg)
{
    cn_fiber_t *f = cn_xzalloc(sizeof(*f));

    f->fn = fn;
    f->arg = arg;
    if (getcontext(&f->own) != 0 || make_stack(f) != CN_OK) {
        free(f);
        return NULL;
    }
    makecontext(&f->own, (void (*)(void))(uintptr_t)enter, 2, (unsigned)((uintptr_t)f >> 32),
                (unsigned)(uintptr_t)f);
    return f;
}

bool cn_fiber_resume(cn_fiber_t *f)
{
    void *fake = NULL;

    CN_BUG_ON(f->state == RUNNING || f->state == ENDED);
    f->state = RUNNING;
    leave_for(&fake, f->own.uc_stack.ss_sp, f->own.uc_stack.ss_size);
    CN_BUG_ON(swapcontext(&f->caller, &f->own) != 0);
    arrive(fake, NULL, NULL);
    return f->state == ENDED;
}

void cn_fiber_pause(cn_fiber_t *f)
{
    CN_BUG_ON(f->state != RUNNING);
    f->state = PAUSED;
    leave_for(&f->fake, f->caller_stack, f->caller_len);
    CN_BUG_ON(swapcontext(&f->own, &f->caller) != 0);
    arrive(f->fake, &f->caller_stack, &f->caller_len);
}

void cn_fiber_destroy(cn_fiber_t *f)
{
    if (!f)
        return;
    CN_BUG_ON(f->state == RUNNING || f->state == PAUSED);
    munmap(f->map, f->map_len);
    free(f);
}
