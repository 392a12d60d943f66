/* SPDX-License-Identifier: Apache-2.0
 *
 * Watched descriptors.  epoll is told a slot number and the slot's generation,
 * never a pointer: an event that was collected before its descriptor was
 * closed finds another generation and is dropped, even when descriptor number
 * and slot are in use again.
 *
 * The io object belongs to whoever embeds it; the slot table to the loop.
 */
#include "event/loop_int.h"

#include <errno.h>

#include "core/pool.h"

#define SLOTS_MIN 64u

static uint32_t slot_take(cn_loop_t *loop, cn_io_t *io)
{
    uint32_t i;
    if (loop->slots_free != 0) {
        i = loop->slots_free - 1;
        loop->slots_free = loop->slots[i].next_free;
    } else {
        if (loop->slots_n == loop->slots_cap) {
            CN_BUG_ON(loop->slots_cap > UINT32_MAX / 4);
            loop->slots_cap = loop->slots_cap ? loop->slots_cap * 2 : SLOTS_MIN;
            loop->slots = cn_xrealloc(loop->slots, loop->slots_cap * sizeof(*loop->slots));
        }
        i = loop->slots_n++;
        loop->slots[i].gen = 0;
    }
    loop->slots[i].io = io;
    return i;
}

static void slot_give(cn_loop_t *loop, uint32_t i)
{
    cn_io_slot_t *s = &loop->slots[i];
    s->io = NULL;
    s->gen++;
    s->next_free = loop->slots_free;
    loop->slots_free = i + 1;
}

static cn_rc watch(cn_io_t *io, cn_loop_t *loop, int fd, cn_task_t *task, uint32_t events)
{
    uint32_t slot = slot_take(loop, io);
    *io =
        (cn_io_t){.loop = loop, .task = task, .fd = fd, .slot = slot, .gen = loop->slots[slot].gen};
    struct epoll_event ev = {.events = events, .data.u64 = (uint64_t)io->gen << 32 | slot};
    if (epoll_ctl(loop->epfd, EPOLL_CTL_ADD, fd, &ev) == 0)
        return CN_OK;
    int cause = errno;
    slot_give(loop, slot);
    io->loop = NULL;
    errno = cause;
    return CN_ERR;
}

cn_rc cn_io_open(cn_io_t *io, cn_loop_t *loop, int fd, cn_task_t *task)
{
    return watch(io, loop, fd, task, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

cn_rc cn_io_open_listen(cn_io_t *io, cn_loop_t *loop, int fd, cn_task_t *task)
{
    return watch(io, loop, fd, task, EPOLLIN | EPOLLEXCLUSIVE);
}

void cn_io_close(cn_io_t *io)
{
    if (!io->loop)
        return;
    /* Explicit, since a copy of the descriptor in another process would keep
     * the registration alive.  It fails when the owner closed fd before: fine. */
    epoll_ctl(io->loop->epfd, EPOLL_CTL_DEL, io->fd, NULL);
    slot_give(io->loop, io->slot);
    io->loop = NULL;
    io->readable = io->writable = false;
}

void cn_io_event(cn_loop_t *loop, const struct epoll_event *ev)
{
    uint32_t slot = (uint32_t)ev->data.u64, gen = (uint32_t)(ev->data.u64 >> 32);
    uint32_t why = 0;

    if (slot >= loop->slots_n || loop->slots[slot].gen != gen || !loop->slots[slot].io)
        return;
    cn_io_t *io = loop->slots[slot].io;
    if (ev->events & (EPOLLHUP | EPOLLERR)) {
        io->hup = io->readable = io->writable = true;
        why = CN_WAKE_READ | CN_WAKE_WRITE | CN_WAKE_CLOSED;
    }
    if (ev->events & (EPOLLIN | EPOLLRDHUP)) {
        io->readable = true;
        io->hup = io->hup || (ev->events & EPOLLRDHUP);
        why |= CN_WAKE_READ;
    }
    /* Every edge reports room to write too; only who was refused wants to know. */
    if ((ev->events & EPOLLOUT) && !io->writable) {
        io->writable = true;
        why |= CN_WAKE_WRITE;
    }
    if (why != 0 && io->task)
        cn_task_wake(io->task, why);
}
