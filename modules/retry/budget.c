/* SPDX-License-Identifier: Apache-2.0
 *
 * Retry budgets: of what went to a cluster in the last interval, retries may be
 * so much, whichever worker sent them.  A failing service then gets little more
 * than its normal load, however many of its clients' requests could be retried.
 *
 * The interval is cut into SLICES; each is one number in shared memory, changed
 * by a single atomic, so a worker may die at any point and nothing is held for
 * what it had under way:
 *
 *   63      48 47            24 23             0
 *   [ epoch  ][   attempts     ][   retries     ]
 *
 * The epoch is the slice's number in time; another one than expected means that
 * the slice is an old one and counts as empty.
 */
#include "retry_int.h"

#include <stdatomic.h>

#define SLICES 8u
#define ROWS 4096u
#define FIELD 24u
#define FULL ((1u << FIELD) - 1)

typedef struct {
    _Atomic uint64_t slice[SLICES + 1]; /* the last one is being filled */
} row_t;

static size_t shm_size(const void *main CN_UNUSED, unsigned slots CN_UNUSED)
{
    return cn_slots_size(ROWS, sizeof(row_t));
}

const cn_shm_def_t cn_module_retry_shm[] = {{.name = "retry.budgets", .size = shm_size},
                                            {.name = NULL}};

static row_t *row_of(cn_module_retry_worker_t *rw, const cn_module_retry_budget_t *b)
{
    cn_slots_hint_t hint = {0};

    if (!rw->open) {
        cn_shm_view_t view = cn_worker_shm(rw->w, &cn_module_retry_shm[0]);

        if (!view.mem)
            return NULL;
        cn_slots_open(&rw->rows, view.mem, view.size, sizeof(row_t));
        rw->open = true;
    }
    return cn_slots_get(&rw->rows, b->key, &hint, (uint32_t)(cn_clock_mono_ns() / 1000000000));
}

static uint64_t slice_now(const cn_module_retry_budget_t *b)
{
    uint64_t ms = b->interval_ms / SLICES;

    return cn_clock_mono_ns() / 1000000 / (ms ? ms : 1);
}

static uint32_t attempts_in(uint64_t v)
{
    return (uint32_t)(v >> FIELD) & FULL;
}

static uint32_t retries_in(uint64_t v)
{
    return (uint32_t)v & FULL;
}

/* A full field stays full: the share is then that of the slice's first part. */
static uint64_t plus(uint64_t v, uint16_t epoch, bool retry)
{
    if ((uint16_t)(v >> (2 * FIELD)) != epoch)
        v = (uint64_t)epoch << (2 * FIELD);
    if (attempts_in(v) == FULL || retries_in(v) == FULL)
        return v;
    return v + (retry ? 1 : 1ull << FIELD);
}

static void count(row_t *row, uint64_t now, bool retry)
{
    _Atomic uint64_t *at = &row->slice[now % (SLICES + 1)];
    uint64_t old = atomic_load_explicit(at, memory_order_relaxed);

    while (!atomic_compare_exchange_weak_explicit(at, &old, plus(old, (uint16_t)now, retry),
                                                  memory_order_relaxed, memory_order_relaxed))
        continue;
}

typedef struct {
    uint64_t attempts, retries;
} sums_t;

static sums_t sum(const row_t *row, uint64_t now)
{
    sums_t s = {0, 0};

    for (uint64_t n = now >= SLICES ? now - SLICES : 0; n <= now; n++) {
        uint64_t v = atomic_load_explicit(&row->slice[n % (SLICES + 1)], memory_order_relaxed);

        if ((uint16_t)(v >> (2 * FIELD)) != (uint16_t)n)
            continue;
        s.attempts += attempts_in(v);
        s.retries += retries_in(v);
    }
    return s;
}

/* Attempts are requests and the retries that have begun. */
static bool allows(const cn_module_retry_budget_t *b, sums_t s)
{
    uint64_t requests = s.attempts > s.retries ? s.attempts - s.retries : 0;
    uint64_t share = requests * b->percent / CN_PARTS;
    uint64_t least = b->min * b->interval_ms / 1000;

    return s.retries < (share > least ? share : least);
}

static bool admit(void *wctx, cn_cluster_t *cluster CN_UNUSED, const void *conf, cn_admit_kind kind)
{
    const cn_module_retry_budget_t *b = conf;
    uint64_t now;
    row_t *row;

    if (!b || !b->on || (kind != CN_ADMIT_REQUEST && kind != CN_ADMIT_RETRY))
        return true;
    row = row_of(wctx, b);
    if (!row)
        return true; /* no room to count: the policy's own bound is left */
    now = slice_now(b);
    if (kind == CN_ADMIT_RETRY && !allows(b, sum(row, now)))
        return false;
    count(row, now, kind == CN_ADMIT_RETRY);
    return true;
}

const cn_admission_ops_t cn_module_retry_admission = {.admit = admit};

/* ---- retry_budget ---- */

static cn_rc set_part(cn_conf_t *cf, cn_module_retry_budget_t *b, cn_str_t arg)
{
    cn_str_t key, value;
    uint64_t n;

    if (!cn_conf_keyval(arg, &key, &value))
        return cn_conf_error(cf, "\"%.*s\": expected percent=, min= or interval=", CN_STR_ARG(arg));
    if (cn_str_eq(key, CN_STR("percent"))) {
        if (cn_conf_parse_percent(value, &b->percent) != CN_OK)
            return cn_conf_error(cf, "\"%.*s\": expected a percentage from 0 to 100",
                                 CN_STR_ARG(arg));
    } else if (cn_str_eq(key, CN_STR("min"))) {
        if (cn_str_u64(value, 1000000, &n) != CN_OK)
            return cn_conf_error(cf, "\"%.*s\": expected a number of retries a second",
                                 CN_STR_ARG(arg));
        b->min = (uint32_t)n;
    } else if (cn_str_eq(key, CN_STR("interval"))) {
        if (cn_conf_parse_ms(value, &b->interval_ms) != CN_OK || b->interval_ms < 1000 ||
            b->interval_ms > 3600000)
            return cn_conf_error(cf, "\"%.*s\": expected a time from 1s to 1h", CN_STR_ARG(arg));
    } else {
        return cn_conf_error(cf, "\"%.*s\": expected percent=, min= or interval=", CN_STR_ARG(arg));
    }
    return CN_OK;
}

cn_rc cn_module_retry_set_budget(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                                 const cn_str_t *argv, unsigned argc)
{
    cn_module_retry_budget_t *b = conf;

    *b = (cn_module_retry_budget_t){.percent = CN_PARTS / 5, .min = 3, .interval_ms = 10000};
    for (unsigned i = 1; i < argc; i++)
        if (set_part(cf, b, argv[i]) != CN_OK)
            return CN_ERR;
    b->on = true;
    b->key = cn_hash_xxh(cn_conf_name(cf), 1);
    return CN_OK;
}
