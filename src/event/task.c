/* SPDX-License-Identifier: Apache-2.0
 *
 * The run queue, first in first out, in passes: a pass takes what is queued at
 * its start; tasks woken meanwhile, by others or by themselves, form the next.
 * The loop decides how many passes make a round.
 *
 * A task belongs to the object that embeds it and may be freed by its own
 * run(), so nothing here touches a task after calling it.
 */
#include "event/loop_int.h"

void cn_task_init(cn_task_t *t, cn_loop_t *loop, cn_task_cb *run)
{
    *t = (cn_task_t){.loop = loop, .run = run};
    cn_list_init(&t->link);
}

void cn_task_fini(cn_task_t *t)
{
    cn_list_remove(&t->link);
    t->why = 0;
}

void cn_task_wake(cn_task_t *t, uint32_t why)
{
    t->why |= why;
    if (cn_list_empty(&t->link))
        cn_list_push(&t->loop->queue, &t->link);
}

size_t cn_task_pass(cn_loop_t *loop)
{
    size_t ran = 0;
    cn_list_t now;

    cn_list_init(&now);
    cn_list_splice(&now, &loop->queue);
    while (!cn_list_empty(&now)) {
        cn_task_t *t = cn_list_entry(now.next, cn_task_t, link);
        uint32_t why = t->why;
        cn_list_remove(&t->link);
        t->why = 0;
        t->run(t, why);
        ran++;
    }
    loop->pass++;
    return ran;
}
