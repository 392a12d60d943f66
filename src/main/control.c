/* SPDX-License-Identifier: Apache-2.0
 *
 * Both ends of the control channel.  A caller asks one thing and is told twice:
 * ACCEPTED or REFUSED after the check, IN_FORCE once the workers have it.  Who
 * goes away earlier is forgotten; the reload goes on.
 *
 * The callers' channels belong to cn_control_t; nothing here outlives it.
 */
#include "main/control.h"

#include <errno.h>
#include <unistd.h>

#include "core/log.h"
#include "os/channel.h"

enum { RELOAD = 1, ACCEPTED, REFUSED, IN_FORCE };

/* The checker's own patience is shorter; starting workers may take a while. */
#define ANSWER_MS (180 * 1000)

static cn_str_t name_of(pid_t pid, cn_pool_t *pool)
{
    return cn_pool_printf(pool, "cairn/%ld", (long)pid);
}

/* ---- in the master ---- */

void cn_control_open(cn_control_t *c, cn_loop_t *loop, cn_task_t *task)
{
    cn_pool_t *pool = cn_pool_create(0);

    *c = (cn_control_t){.fd = -1};
    for (unsigned i = 0; i < CN_CONTROL_CALLERS; i++)
        c->v[i].channel = -1;
    if (cn_channel_listen(name_of(getpid(), pool), &c->fd) != CN_OK) {
        cn_log(CN_LOG_WARN, "master", "no control channel: %s; `-s reload` cannot wait",
               strerror(errno));
    } else if (cn_io_open(&c->io, loop, c->fd, task) != CN_OK) {
        close(c->fd);
        c->fd = -1;
    }
    cn_pool_destroy(pool);
}

static void forget(cn_caller_t *caller)
{
    if (caller->channel < 0)
        return;
    cn_io_close(&caller->io);
    close(caller->channel);
    *caller = (cn_caller_t){.channel = -1};
}

void cn_control_close(cn_control_t *c)
{
    if (c->fd < 0)
        return;
    for (unsigned i = 0; i < CN_CONTROL_CALLERS; i++)
        forget(&c->v[i]);
    cn_io_close(&c->io);
    close(c->fd);
    c->fd = -1;
}

static void answer(cn_caller_t *caller, uint32_t type, uint64_t gen, cn_str_t why)
{
    cn_channel_msg_t msg;

    cn_channel_msg_init(&msg, type, gen);
    cn_channel_msg_text(&msg, why);
    if (cn_channel_send(caller->channel, &msg) != CN_OK || type != ACCEPTED)
        forget(caller);
}

static void take_callers(cn_control_t *c, cn_task_t *task)
{
    int channel;

    while (cn_channel_accept(c->fd, &channel) == CN_OK) {
        cn_caller_t *free_one = NULL;

        for (unsigned i = 0; i < CN_CONTROL_CALLERS && !free_one; i++)
            free_one = c->v[i].channel < 0 ? &c->v[i] : NULL;
        if (!free_one || cn_io_open(&free_one->io, task->loop, channel, task) != CN_OK)
            close(channel);
        else
            free_one->channel = channel;
    }
}

static void hear(cn_caller_t *caller, cn_control_ask_cb *ask, void *ctx)
{
    cn_channel_msg_t msg;
    cn_rc rc = cn_channel_recv(caller->channel, &msg);

    if (rc == CN_AGAIN)
        return;
    if (rc == CN_OK && msg.fd >= 0)
        close(msg.fd);
    if (rc != CN_OK || msg.type != RELOAD || caller->check) {
        forget(caller);
        return;
    }
    caller->check = ask(ctx);
    if (!caller->check)
        answer(caller, REFUSED, 0, CN_STR("the master takes no configuration now"));
}

void cn_control_listen(cn_control_t *c, cn_task_t *task, cn_control_ask_cb *ask, void *ctx)
{
    if (c->fd < 0)
        return;
    take_callers(c, task);
    for (unsigned i = 0; i < CN_CONTROL_CALLERS; i++) {
        if (c->v[i].channel >= 0)
            hear(&c->v[i], ask, ctx);
    }
}

void cn_control_checked(cn_control_t *c, unsigned check, uint64_t gen, cn_str_t why)
{
    for (unsigned i = 0; i < CN_CONTROL_CALLERS; i++) {
        cn_caller_t *caller = &c->v[i];

        if (caller->channel < 0 || !caller->check || caller->check > check || caller->gen)
            continue;
        caller->gen = gen;
        answer(caller, gen ? ACCEPTED : REFUSED, gen, why);
    }
}

void cn_control_in_force(cn_control_t *c, uint64_t gen)
{
    for (unsigned i = 0; i < CN_CONTROL_CALLERS; i++) {
        if (c->v[i].channel >= 0 && c->v[i].gen && c->v[i].gen <= gen)
            answer(&c->v[i], IN_FORCE, gen, CN_STR_NULL);
    }
}

/* ---- in a command ---- */

static cn_rc await(int channel, bool serving, cn_pool_t *pool, cn_str_t *why)
{
    cn_channel_msg_t *msg = cn_pool_alloc(pool, sizeof(*msg));

    for (;;) {
        if (cn_channel_wait(channel, ANSWER_MS) != CN_OK) {
            *why = CN_STR("the master does not answer");
            return CN_ERR;
        }
        if (cn_channel_recv(channel, msg) != CN_OK) {
            *why = CN_STR("the master ended");
            return CN_ERR;
        }
        if (msg->type == REFUSED) {
            *why = cn_str_make(msg->text, msg->len);
            return CN_ERR;
        }
        if (msg->type == IN_FORCE || !serving)
            return CN_OK;
    }
}

cn_rc cn_control_reload(pid_t pid, bool serving, cn_pool_t *pool, cn_str_t *why)
{
    cn_channel_msg_t msg;
    int channel;

    if (cn_channel_connect(name_of(pid, pool), pid, &channel) != CN_OK)
        return CN_DECLINE;
    cn_channel_msg_init(&msg, RELOAD, 0);
    cn_rc rc = cn_channel_send(channel, &msg);
    if (rc == CN_OK)
        rc = await(channel, serving, pool, why);
    else
        *why = CN_STR("the master does not listen");
    close(channel);
    return rc == CN_OK ? CN_OK : CN_ERR;
}
