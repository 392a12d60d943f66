/* SPDX-License-Identifier: Apache-2.0
 *
 * The keeper's process and the master's end of it.  What it holds: the files
 * as they were last read (bundle), what was made of them (the generation of a
 * worker that serves nothing), and whether the one still says what the other
 * does (fresh).  A reload is first tried as a patch; whatever does not fit one
 * is read anew as a whole, which also finds the words for what is wrong.
 *
 * It ends with its channel, and by itself when it cannot vouch for what it
 * holds; the next reload is then done by a checker, and the one after by
 * another keeper.
 */
#include "main/keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/log.h"
#include "event/loop.h"
#include "os/channel.h"
#include "os/priv.h"
#include "os/sig.h"
#include "os/trim.h"
#include "proxy/worker.h"

enum { ASK_CHECK = 1, ASK_WHOLE, ASK_REOPEN };

typedef struct {
    const cn_keeper_start_t *start;
    int channel;
    cn_loop_t *loop;
    cn_worker_t w;
    cn_bundle_t *bundle; /* NULL: not read since it was found to be of no use */
    bool fresh;          /* the bundle says what w has in force */
} keeper_t;

static void drop_bundle(keeper_t *k)
{
    cn_bundle_destroy(k->bundle);
    k->bundle = NULL;
    k->fresh = false;
}

/* ---- checks ---- */

static cn_rc check_whole(keeper_t *k, cn_pool_t *pool, cn_reload_checked_t *out, cn_str_t *why)
{
    cn_bundle_t *bundle;
    cn_gen_t *gen;

    drop_bundle(k);
    cn_rc rc = cn_reload_read_again(k->start->source, k->w.gen, pool, &bundle, &gen, why);
    if (rc == CN_OK)
        rc = cn_worker_apply(&k->w, gen, pool, why);
    cn_gen_unref(gen);
    if (rc == CN_OK && cn_bundle_save(bundle, &out->bundle) != CN_OK) {
        *why =
            cn_pool_printf(pool, "the configuration cannot be kept in memory: %s", strerror(errno));
        rc = CN_ERR;
    }
    out->kind = CN_CHECKED_ALL;
    k->bundle = bundle;
    k->fresh = rc == CN_OK;
    return rc;
}

/* CN_DECLINE: it takes a whole one. */
static cn_rc check_part(keeper_t *k, cn_pool_t *pool, cn_reload_checked_t *out, cn_str_t *why)
{
    const cn_conf_load_t how = {
        .units = k->start->source->units,
        .bundle = k->bundle,
        .file = k->start->source->file,
        .prev = k->w.gen,
    };
    cn_bundle_diff_t diff;
    cn_patch_t *patch;

    if (!k->fresh || cn_bundle_refresh(k->bundle, k->w.gen, pool, &diff) != CN_OK ||
        cn_gen_patch(&how, &diff, true, &patch) != CN_OK)
        return CN_DECLINE;
    if (cn_bundle_is_torn(k->bundle)) {
        cn_patch_destroy(patch);
        return CN_DECLINE;
    }
    cn_rc rc = cn_worker_patch(&k->w, patch, k->w.gen->id, pool, why);
    if (rc == CN_OK &&
        cn_bundle_save_part(k->bundle, &diff, cn_patch_texts(patch), &out->bundle) != CN_OK) {
        *why = cn_pool_printf(pool, "the change cannot be kept in memory: %s", strerror(errno));
        rc = CN_ERR;
    }
    cn_patch_destroy(patch);
    out->kind = CN_CHECKED_PART;
    return rc;
}

/* With what was looked at, of which nothing is kept. */
static void refuse(keeper_t *k, cn_reload_checked_t *result)
{
    result->kind = CN_CHECKED_BAD;
    if (k->bundle && cn_bundle_save(k->bundle, &result->bundle) != CN_OK)
        result->bundle = -1;
    drop_bundle(k);
}

static void answer(keeper_t *k, const cn_reload_checked_t *result, cn_str_t why)
{
    if (cn_reload_answer(k->channel, result, why) != CN_OK)
        _exit(1);
}

static void check(keeper_t *k)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_reload_checked_t result = {.bundle = -1};
    cn_str_t why = CN_STR_NULL;
    cn_rc rc = check_part(k, pool, &result, &why);
    bool torn = rc == CN_ERR; /* what is held says more than what is in force, or nothing */

    if (rc == CN_DECLINE)
        rc = check_whole(k, pool, &result, &why);
    if (rc == CN_OK)
        cn_reload_tell_cert(&k->w, &result);
    else
        refuse(k, &result);
    answer(k, &result, why);
    cn_pool_destroy(pool);
    if (torn)
        _exit(0);
    if (result.kind != CN_CHECKED_PART)
        cn_trim();
}

static void give_whole(keeper_t *k)
{
    cn_reload_checked_t result = {.kind = CN_CHECKED_SAME, .bundle = -1};

    if (!k->fresh || cn_bundle_save(k->bundle, &result.bundle) != CN_OK)
        result.kind = CN_CHECKED_BAD;
    answer(k, &result, CN_STR("the keeper has no whole configuration now"));
}

/* ---- life ---- */

/* Files may have changed since the configuration in force was read. */
static cn_rc load(keeper_t *k, cn_pool_t *pool, cn_str_t *why)
{
    const cn_reload_source_t *s = k->start->source;
    cn_bundle_t *in_force;
    cn_gen_t *gen;

    if (cn_reload_read_again(s, NULL, pool, &k->bundle, &gen, why) == CN_OK) {
        if (cn_bundle_open(k->start->bundle, &in_force) == CN_OK) {
            k->fresh = cn_bundle_same(k->bundle, in_force);
            cn_bundle_destroy(in_force);
        }
        if (!k->fresh)
            cn_gen_unref(gen);
    }
    if (!k->fresh)
        drop_bundle(k);
    if (!k->fresh &&
        cn_reload_open(s, k->start->bundle, false, NULL, NULL, pool, &gen, why) != CN_OK)
        return CN_ERR;
    k->w.checked = true;
    cn_rc rc = cn_worker_apply(&k->w, gen, pool, why);
    k->w.checked = false;
    cn_gen_unref(gen);
    return rc;
}

static void open_log(const cn_keeper_start_t *s, cn_pool_t *pool)
{
    if (s->main->error_log.n > 0 &&
        cn_log_open(cn_main_path(pool, s->source->prefix, s->main->error_log),
                    s->main->error_level) != CN_OK)
        cn_log(CN_LOG_ERROR, "keeper", "the error log cannot be opened: %s", strerror(errno));
}

static cn_rc begin(keeper_t *k)
{
    const int keep[] = {k->start->bundle, k->channel};
    cn_pool_t *pool = cn_pool_create(0);
    cn_str_t why = CN_STR("it cannot be set up");
    cn_rc rc = cn_log_open(NULL, CN_LOG_NOTICE);

    cn_sig_reset();
    cn_sig_ignore_pipe();
    signal(SIGHUP, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    cn_proc_close_others(keep, CN_COUNT(keep));
    cn_proc_title_set(k->start->title, "keeper process");
    open_log(k->start, pool);
    if (cn_priv_confine(0, 0) != CN_OK)
        cn_log(CN_LOG_WARN, "keeper", "its limits cannot be set: %s", strerror(errno));
    k->loop = cn_loop_create();
    if (rc == CN_OK)
        rc = cn_worker_init(&k->w, k->loop, 0, NULL);
    if (rc == CN_OK)
        rc = load(k, pool, &why);
    if (rc != CN_OK)
        cn_log(CN_LOG_ERROR, "keeper", "no configuration to keep: %.*s", CN_STR_ARG(why));
    close(k->start->bundle);
    cn_pool_destroy(pool);
    return rc;
}

static CN_NORETURN void run(const cn_keeper_start_t *s, int channel)
{
    keeper_t *k = cn_xzalloc(sizeof(*k));
    cn_channel_msg_t *msg = cn_xmalloc(sizeof(*msg));

    k->start = s;
    k->channel = channel;
    if (begin(k) != CN_OK)
        _exit(1);
    while (cn_channel_wait(channel, -1) == CN_OK && cn_channel_recv(channel, msg) == CN_OK) {
        if (msg->type == ASK_CHECK)
            check(k);
        else if (msg->type == ASK_WHOLE)
            give_whole(k);
        else if (cn_log_reopen() != CN_OK)
            cn_log(CN_LOG_ERROR, "keeper", "the error log cannot be reopened: %s", strerror(errno));
    }
    /* The master's objects are in this memory too and are not ours to end. */
    _exit(0);
}

/* ---- in the master ---- */

cn_rc cn_keeper_start(cn_keeper_t *k, const cn_keeper_start_t *s)
{
    if (cn_channel_fork(&k->pid, &k->channel, NULL) != CN_OK)
        return CN_ERR;
    if (k->pid == 0)
        run(s, k->channel);
    return CN_OK;
}

cn_rc cn_keeper_ask(const cn_keeper_t *k, bool whole, cn_reload_check_t *check)
{
    cn_channel_msg_t msg;

    cn_channel_msg_init(&msg, whole ? ASK_WHOLE : ASK_CHECK, 0);
    if (cn_channel_send(k->channel, &msg) != CN_OK)
        return CN_ERR;
    *check = (cn_reload_check_t){.pid = k->pid, .channel = k->channel, .kept = true};
    return CN_OK;
}

cn_rc cn_keeper_reopen(const cn_keeper_t *k)
{
    cn_channel_msg_t msg;

    cn_channel_msg_init(&msg, ASK_REOPEN, 0);
    return cn_channel_send(k->channel, &msg) == CN_OK ? CN_OK : CN_ERR;
}

void cn_keeper_end(cn_keeper_t *k)
{
    if (k->pid == 0)
        return;
    kill(k->pid, SIGKILL);
    close(k->channel);
    *k = (cn_keeper_t){.channel = -1};
}
