/* SPDX-License-Identifier: Apache-2.0
 *
 * Arithmetic of times only: whoever uses it has the clock.
 */
#include "conf/settle.h"

#define BURST_MAX 10u /* times the quiet time */
#define AGAIN_MS 1000u
#define AGAIN_MAX 6u /* doublings */

void cn_settle_init(cn_settle_t *s, uint64_t quiet_ms)
{
    *s = (cn_settle_t){.quiet_ms = quiet_ms};
}

void cn_settle_moved(cn_settle_t *s, uint64_t now_ms)
{
    if (!s->open)
        s->first_ms = now_ms;
    s->open = true;
    s->last_ms = now_ms;
}

uint64_t cn_settle_at(const cn_settle_t *s)
{
    uint64_t quiet = s->last_ms + s->quiet_ms, latest = s->first_ms + BURST_MAX * s->quiet_ms;
    uint64_t at = quiet < latest ? quiet : latest;

    if (!s->open)
        return UINT64_MAX;
    return at > s->not_before_ms ? at : s->not_before_ms;
}

bool cn_settle_is_over(const cn_settle_t *s, uint64_t now_ms)
{
    return s->open && now_ms >= cn_settle_at(s);
}

void cn_settle_wait(cn_settle_t *s, uint64_t until_ms)
{
    s->not_before_ms = until_ms;
}

void cn_settle_close(cn_settle_t *s)
{
    s->open = false;
    s->not_before_ms = 0;
}

bool cn_settle_tell(cn_settle_t *s, uint64_t what, uint64_t now_ms)
{
    bool same = s->what == what;
    uint64_t pause = same ? (uint64_t)AGAIN_MS << s->again : 0;

    if (same && now_ms < s->told_ms + pause) {
        cn_settle_wait(s, s->told_ms + pause);
        return false;
    }
    s->again = !same ? 0 : s->again < AGAIN_MAX ? s->again + 1 : s->again;
    s->what = what;
    s->told_ms = now_ms;
    cn_settle_close(s);
    return true;
}
