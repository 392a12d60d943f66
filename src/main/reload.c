/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading and judging configurations.  Runs the same code that a worker runs
 * to take one, in a process that has no sockets and may end at any point.
 * Knows nothing of signals, workers or when to reload: that is master.c.
 *
 * The channel to the checker belongs to cn_reload_check_t; the memfd to whoever took
 * the result.
 */
#include "main/reload.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "event/loop.h"
#include "os/channel.h"
#include "os/priv.h"
#include "os/sig.h"
#include "proxy/worker.h"

/* A configuration that needs more than this to be read is a mistake. */
#define CHECK_CPU_S 60u
/* A folder that changes all the time is taken as it is. */
#define TRIES_MAX 3

static cn_rc load(const cn_reload_source_t *s, cn_bundle_t *bundle, FILE *dump, bool main_only,
                  const cn_gen_t *prev, cn_pool_t *pool, cn_gen_t **out, cn_str_t *why)
{
    const cn_conf_load_t how = {
        .units = s->units,
        .bundle = bundle,
        .file = s->file,
        .extra = s->extra,
        .prev = prev,
        .main_only = main_only,
        .dump = dump,
    };

    return cn_gen_load(&how, pool, out, why);
}

/* When cairn-gen has written meanwhile, some files are of before and some of
 * after, whatever came of it: they are read again. */
static cn_rc load_whole(const cn_reload_source_t *s, bool watch, FILE *dump, bool main_only,
                        const cn_gen_t *prev, cn_pool_t *pool, cn_bundle_t **bundle, cn_gen_t **out,
                        cn_str_t *why)
{
    for (int tries = 1;; tries++) {
        cn_bundle_t *b = cn_bundle_create(s->dir);

        if (watch)
            cn_bundle_watch(b);
        *bundle = b;
        cn_rc rc = load(s, b, dump, main_only, prev, pool, out, why);
        if (dump || tries == TRIES_MAX || !cn_bundle_is_torn(b))
            return rc;
        cn_gen_unref(*out);
        cn_bundle_destroy(b);
    }
}

cn_rc cn_reload_read(const cn_reload_source_t *s, FILE *dump, bool main_only, cn_pool_t *pool,
                     cn_bundle_t **bundle, cn_gen_t **out, cn_str_t *why)
{
    cn_bundle_t *b;
    cn_rc rc = load_whole(s, false, dump, main_only, NULL, pool, &b, out, why);

    if (bundle)
        *bundle = b;
    else
        cn_bundle_destroy(b);
    return rc;
}

cn_rc cn_reload_read_again(const cn_reload_source_t *s, const cn_gen_t *prev, cn_pool_t *pool,
                           cn_bundle_t **bundle, cn_gen_t **out, cn_str_t *why)
{
    return load_whole(s, true, NULL, false, prev, pool, bundle, out, why);
}

cn_rc cn_reload_open_part(const cn_reload_source_t *s, int fd, const cn_gen_t *gen,
                          cn_patch_t **out)
{
    cn_conf_load_t how = {.units = s->units, .file = s->file, .prev = gen, .part = true};
    cn_pool_t *pool = cn_pool_create(0);
    cn_bundle_diff_t diff;
    cn_bundle_t *b;
    cn_rc rc = cn_bundle_open(fd, &b);

    if (rc == CN_OK) {
        how.bundle = b;
        cn_bundle_part(b, pool, &diff);
        rc = cn_gen_patch(&how, &diff, false, out);
        cn_bundle_destroy(b);
    }
    cn_pool_destroy(pool);
    return rc == CN_OK ? CN_OK : CN_ERR;
}

cn_rc cn_reload_open(const cn_reload_source_t *s, int fd, bool main_only, const cn_gen_t *prev,
                     const cn_pause_t *pause, cn_pool_t *pool, cn_gen_t **out, cn_str_t *why)
{
    cn_conf_load_t how = {
        .units = s->units,
        .file = s->file,
        .extra = s->extra,
        .prev = prev,
        .main_only = main_only,
        .pause = pause,
    };

    if (cn_bundle_open_pausing(fd, pause, &how.bundle) != CN_OK) {
        *why = CN_STR("the checked configuration cannot be read back");
        return CN_ERR;
    }
    cn_rc rc = cn_gen_load(&how, pool, out, why);
    cn_bundle_destroy(how.bundle);
    return rc;
}

void cn_reload_tell_cert(const cn_worker_t *w, cn_reload_checked_t *out)
{
    int64_t s = w->tls ? cn_tls_ctx_not_after(w->tls) : 0;

    out->expires_s = s > 0 ? (uint64_t)s : 0;
    out->cert_hash = w->cert_hash;
}

cn_rc cn_reload_prove(cn_gen_t *gen, uint64_t cert_hash, cn_pool_t *pool, cn_reload_checked_t *out,
                      cn_str_t *why)
{
    cn_loop_t *loop = cn_loop_create();
    cn_worker_t w = {0};
    cn_rc rc = CN_ERR;

    if (cn_worker_init(&w, loop, 0, NULL) == CN_OK) {
        w.cert_hash = cert_hash;
        rc = cn_worker_apply(&w, gen, pool, why);
        cn_reload_tell_cert(&w, out);
        cn_worker_fini(&w);
    } else {
        *why = CN_STR("a worker could not be set up; the log says why");
    }
    cn_loop_destroy(loop);
    return rc;
}

/* ---- the checker ---- */

static cn_rc check(const cn_reload_source_t *s, uint64_t cert_hash, cn_pool_t *pool,
                   cn_reload_checked_t *out, cn_str_t *why)
{
    cn_bundle_t *bundle;
    cn_gen_t *gen;

    cn_rc rc = cn_reload_read(s, NULL, false, pool, &bundle, &gen, why);
    if (rc == CN_OK)
        rc = cn_reload_prove(gen, cert_hash, pool, out, why);
    if (cn_bundle_save(bundle, &out->bundle) != CN_OK && rc == CN_OK) {
        *why =
            cn_pool_printf(pool, "the configuration cannot be kept in memory: %s", strerror(errno));
        rc = CN_ERR;
    }
    cn_gen_unref(gen);
    cn_bundle_destroy(bundle);
    return rc;
}

cn_rc cn_reload_answer(int channel, const cn_reload_checked_t *r, cn_str_t why)
{
    cn_channel_msg_t *m = cn_xmalloc(sizeof(*m));

    cn_channel_msg_init(m, (uint32_t)r->kind, r->expires_s);
    m->fd = r->bundle;
    /* Good news need no words. */
    cn_channel_msg_text(m, r->kind == CN_CHECKED_BAD
                               ? why
                               : cn_str_make((const char *)&r->cert_hash, sizeof(r->cert_hash)));
    cn_rc rc = cn_channel_send(channel, m);
    if (m->fd >= 0)
        close(m->fd);
    free(m);
    return rc;
}

static CN_NORETURN void run_checker(const cn_reload_source_t *s, uint64_t cert_hash, int channel)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_str_t why = CN_STR_NULL;
    cn_reload_checked_t result = {.kind = CN_CHECKED_ALL, .bundle = -1};

    cn_sig_reset();
    cn_sig_ignore_pipe();
    if (cn_priv_confine(CHECK_CPU_S, 0) != CN_OK)
        cn_log(CN_LOG_WARN, "conf", "the checker's limits cannot be set: %s", strerror(errno));
    if (check(s, cert_hash, pool, &result, &why) != CN_OK)
        result.kind = CN_CHECKED_BAD;
    int status = cn_reload_answer(channel, &result, why) == CN_OK ? 0 : 1;
    /* The master's objects are in this memory too and are not ours to end. */
    _exit(status);
}

cn_rc cn_reload_check_start(cn_reload_check_t *c, const cn_reload_source_t *s, uint64_t cert_hash)
{
    if (cn_channel_fork(&c->pid, &c->channel, NULL) != CN_OK)
        return CN_ERR;
    if (c->pid == 0)
        run_checker(s, cert_hash, c->channel);
    c->kept = false;
    return CN_OK;
}

cn_rc cn_reload_check_result(const cn_reload_check_t *c, cn_pool_t *pool, cn_reload_checked_t *out,
                             cn_str_t *why)
{
    cn_channel_msg_t *m = cn_pool_alloc(pool, sizeof(*m));
    cn_rc rc = cn_channel_recv(c->channel, m);

    if (rc == CN_AGAIN)
        return CN_AGAIN;
    if (rc == CN_OK && m->type < CN_CHECKED_BAD && m->fd >= 0) {
        *out = (cn_reload_checked_t){(cn_reload_kind)m->type, m->fd, m->number, 0};
        if (m->len == sizeof(out->cert_hash))
            memcpy(&out->cert_hash, m->text, sizeof(out->cert_hash));
        return CN_OK;
    }
    if (rc == CN_OK && m->type == CN_CHECKED_BAD)
        *out = (cn_reload_checked_t){.kind = CN_CHECKED_BAD, .bundle = m->fd};
    else if (rc == CN_OK && m->fd >= 0)
        close(m->fd);
    *why = rc == CN_OK ? cn_pool_dup(pool, cn_str_make(m->text, m->len))
                       : CN_STR("the checker died while it read the configuration");
    return CN_ERR;
}

void cn_reload_check_end(cn_reload_check_t *c)
{
    if (!c->kept)
        close(c->channel);
    c->channel = -1;
    c->pid = 0;
}

void cn_reload_check_abort(cn_reload_check_t *c)
{
    kill(c->pid, SIGKILL);
    cn_reload_check_end(c);
}
