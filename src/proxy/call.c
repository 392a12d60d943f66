/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests of our own: the head is given to a host at once, the body as the
 * host takes it, and the response is collected within its bound.
 *
 *   state      entered when                         leaves to
 *   UNDER WAY  started                              ENDED
 *   ENDED      the response is complete, or a       freed by cn_call_close()
 *              cause is known; the connection is
 *              given back
 *
 * A call owns itself until it is closed; worker->calls has all of them, so that
 * those of nobody (mirrors) end with the worker.  A module may hold on to one
 * that has ended for as long as it likes.
 */
#include <stdlib.h>

#include "http/uri.h"
#include "proxy/call.h"
#include "proxy/req_int.h"
#include "proxy/tally.h"

enum { WAKE_TIMEOUT = CN_WAKE_USER, WAKE_CUT = CN_WAKE_USER << 1 };

#define SLICE 65536u

struct cn_call {
    cn_task_t task;
    cn_timer_t timer;
    cn_list_t link; /* worker->calls */
    cn_worker_t *w;
    cn_pool_t *pool;
    cn_call_conf_t conf; /* cluster, msg and body are not kept in it */
    cn_cluster_t *cluster;
    cn_host_t *host;
    cn_uconn_t *up; /* while under way */
    cn_ticket_t request;
    cn_msg_t msg, resp;
    cn_chain_t kept; /* the body, for a repeat */
    cn_chain_t out, in;
    bool eos;    /* all of the body is known */
    bool sent;   /* and given to the host */
    bool headed; /* the response's head is in resp */
    bool ended;
    bool repeated;
    bool detached;
    cn_call_cause cause;
};

static void wake_owner(cn_call_t *call)
{
    if (call->conf.owner)
        cn_task_wake(call->conf.owner, call->conf.why);
}

static void give_back(cn_call_t *call)
{
    if (call->up)
        cn_upool_close(call->up);
    call->up = NULL;
    cn_admission_return(&call->w->admissions, &call->request);
    cn_chain_clear(&call->out);
    cn_chain_clear(&call->kept);
    cn_timer_stop(&call->timer);
}

static void end(cn_call_t *call, cn_call_cause cause)
{
    if (call->ended)
        return;
    call->ended = true;
    call->cause = cause;
    give_back(call);
    wake_owner(call);
}

/* ---- one attempt ---- */

static cn_host_t *pick(cn_call_t *call)
{
    cn_host_t *tried[1] = {call->host};
    cn_pick_t p = {.rand = &call->w->rand,
                   .tried = tried,
                   .ntried = call->host ? 1 : 0,
                   .admissions = &call->w->admissions};

    return cn_cluster_pick(call->cluster, &p);
}

static cn_uasked_t asked(const cn_call_t *call)
{
    cn_uasked_t a = {.dest.port = call->conf.port};
    uint16_t port;

    if (cn_uri_authority(call->msg.authority, &a.name, &port) != CN_OK)
        a.name = CN_STR_NULL;
    return a;
}

static cn_http_version version_of(const cn_call_t *call)
{
    if (call->conf.version != CN_HTTP_UNKNOWN)
        return call->conf.version;
    return cn_upool_version(call->cluster, cn_msg_is_grpc(&call->msg) ? CN_HTTP_2 : CN_HTTP_11);
}

static void attempt(cn_call_t *call, bool fresh)
{
    cn_uasked_t a = asked(call);
    cn_host_t *host = pick(call);
    cn_exch_t *x;

    if (!host) {
        end(call, CN_CALL_NO_HOST);
        return;
    }
    cn_host_ref(host);
    cn_host_unref(call->host);
    call->host = host;
    call->up = cn_upool_open(call->w->upool, call->cluster, host, &a, version_of(call), fresh,
                             &call->task);
    if (!call->up) {
        end(call, CN_CALL_OVERFLOW);
        return;
    }
    x = call->up->exch;
    call->sent = !call->msg.has_body;
    if (x->ops->send_head(x, &call->msg, call->sent) == CN_ERR)
        cn_task_wake(&call->task, CN_WAKE_CLOSED); /* recv_head says why */
}

/* A connection that was kept too long is no failure of the host. */
static bool may_repeat(const cn_call_t *call, const cn_exch_t *x)
{
    if (call->repeated || call->conf.more || call->headed)
        return false;
    if (x->xerr == CN_XERR_UNPROCESSED)
        return true;
    return call->conf.repeatable && x->reused &&
           (x->xerr == CN_XERR_GONE || x->xerr == CN_XERR_STREAM);
}

static cn_call_cause cause_of(const cn_exch_t *x)
{
    switch (x->xerr) {
    case CN_XERR_STREAM:
        return CN_CALL_CONNECT;
    case CN_XERR_GONE:
    case CN_XERR_UNPROCESSED:
        return CN_CALL_LOST;
    default:
        return CN_CALL_PROTOCOL;
    }
}

static cn_rc repeat(cn_call_t *call)
{
    call->repeated = true;
    cn_upool_close(call->up);
    call->up = NULL;
    cn_chain_clear(&call->out);
    cn_chain_share(&call->out, &call->kept);
    attempt(call, true);
    return call->ended ? CN_DONE : CN_OK;
}

static cn_rc failed(cn_call_t *call)
{
    const cn_exch_t *x = call->up->exch;

    if (may_repeat(call, x))
        return repeat(call);
    end(call, cause_of(x));
    return CN_DONE;
}

/* The host has left. */
static cn_rc cut(cn_call_t *call)
{
    if (!call->up || !call->host->cut)
        return CN_OK;
    cn_tally_add(call->w, call->cluster, CN_TALLY_CUT);
    if (call->conf.repeatable && !call->conf.more && !call->headed && !call->repeated)
        return repeat(call);
    end(call, CN_CALL_LOST);
    return CN_DONE;
}

/* ---- progress ---- */

/* A host that fails here is found out by recv_head. */
static void pump_body(cn_call_t *call)
{
    cn_exch_t *x = call->up->exch;

    if (call->sent || (call->out.bytes == 0 && !call->eos))
        return;
    if (x->ops->send_body(x, &call->out, call->eos, NULL) != CN_OK)
        return;
    call->sent = call->eos;
    if (!call->eos)
        wake_owner(call); /* all taken: more may come */
}

static cn_rc recv_head(cn_call_t *call)
{
    cn_exch_t *x = call->up->exch;
    cn_rc rc;

    cn_msg_init(&call->resp, call->pool);
    rc = x->ops->recv_head(x, &call->resp);
    if (rc == CN_ERR)
        return failed(call);
    if (rc == CN_OK && call->resp.status >= 200) {
        call->headed = true;
        cn_chain_clear(&call->kept);
        wake_owner(call);
    }
    return rc;
}

static cn_rc recv_body(cn_call_t *call)
{
    cn_exch_t *x = call->up->exch;
    cn_rc rc = x->ops->recv_body(x, &call->in, SLICE);

    if (call->conf.discard)
        cn_chain_clear(&call->in);
    if (rc == CN_ERR)
        return failed(call);
    if (call->in.bytes > call->conf.max_body && !call->conf.discard) {
        end(call, CN_CALL_TOO_LARGE);
        return CN_DONE;
    }
    if (rc == CN_DONE)
        end(call, CN_CALL_NONE);
    return rc;
}

static void call_run(cn_task_t *task, uint32_t why)
{
    cn_call_t *call = cn_container_of(task, cn_call_t, task);
    cn_rc rc = CN_OK;

    if (why & WAKE_TIMEOUT)
        end(call, CN_CALL_TIMEOUT);
    if (why & WAKE_CUT)
        rc = cut(call);
    while (rc == CN_OK && !call->ended) {
        pump_body(call);
        rc = call->headed ? recv_body(call) : recv_head(call);
    }
    if (call->ended && call->detached)
        cn_call_close(call);
}

/* ---- for modules ---- */

static void take_request(cn_call_t *call, const cn_call_conf_t *conf)
{
    cn_msg_copy(&call->msg, call->pool, conf->msg);
    call->eos = !conf->more;
    if (conf->body)
        cn_chain_move(&call->out, conf->body, conf->body->bytes);
    if (conf->repeatable && !conf->more)
        cn_chain_share(&call->kept, &call->out);
    call->msg.has_body = conf->more || call->out.bytes > 0;
    if (!conf->more)
        call->msg.content_length = call->out.bytes ? call->out.bytes : CN_LENGTH_NONE;
}

cn_call_t *cn_call_start(cn_worker_t *w, const cn_call_conf_t *conf)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_call_t *call = cn_pool_zalloc(pool, sizeof(*call));
    cn_cluster_t *cluster = cn_clusters_find(w->clusters, conf->cluster);

    call->w = w;
    call->pool = pool;
    call->conf = *conf;
    call->conf.msg = NULL;
    call->conf.body = NULL;
    call->conf.cluster = CN_STR_NULL;
    cn_task_init(&call->task, w->loop, call_run);
    cn_timer_init(&call->timer, &call->task, WAKE_TIMEOUT);
    cn_list_push(&w->calls, &call->link);
    take_request(call, conf);
    if (!cluster || w->stopping) {
        end(call, cluster ? CN_CALL_STOPPED : CN_CALL_NO_CLUSTER);
        return call;
    }
    call->cluster = cn_cluster_ref(cluster);
    if (conf->timeout_ms)
        cn_timer_set(&call->timer, conf->timeout_ms);
    if (cn_admission_take(&w->admissions, cluster, CN_ADMIT_REQUEST, &call->request))
        attempt(call, false);
    else
        end(call, CN_CALL_OVERFLOW);
    cn_task_wake(&call->task, CN_WAKE_SELF);
    return call;
}

cn_rc cn_call_result(const cn_call_t *call)
{
    if (!call->ended)
        return CN_AGAIN;
    return call->cause == CN_CALL_NONE ? CN_OK : CN_ERR;
}

cn_call_cause cn_call_failure(const cn_call_t *call)
{
    return call->cause;
}

const char *cn_call_failure_text(const cn_call_t *call)
{
    static const char *const texts[] = {[CN_CALL_NONE] = "none",
                                        [CN_CALL_NO_CLUSTER] = "no such cluster",
                                        [CN_CALL_NO_HOST] = "no healthy endpoint",
                                        [CN_CALL_OVERFLOW] = "refused by the cluster's limits",
                                        [CN_CALL_CONNECT] = "could not connect",
                                        [CN_CALL_LOST] = "connection lost",
                                        [CN_CALL_PROTOCOL] = "malformed response",
                                        [CN_CALL_TOO_LARGE] = "response too large",
                                        [CN_CALL_TIMEOUT] = "timed out",
                                        [CN_CALL_STOPPED] = "the worker ends"};

    return texts[call->cause];
}

const cn_msg_t *cn_call_response(const cn_call_t *call)
{
    return call->headed ? &call->resp : NULL;
}

cn_chain_t *cn_call_body(cn_call_t *call)
{
    return &call->in;
}

void cn_call_send(cn_call_t *call, cn_chain_t *src, bool eos)
{
    if (call->ended || call->eos) {
        cn_chain_skip(src, src->bytes);
        return;
    }
    cn_chain_move(&call->out, src, src->bytes);
    call->eos = eos;
    cn_task_wake(&call->task, CN_WAKE_WRITE);
}

size_t cn_call_pending(const cn_call_t *call)
{
    return call->out.bytes;
}

const cn_host_t *cn_call_host(const cn_call_t *call)
{
    return call->host;
}

static void free_pool(void *pool)
{
    cn_pool_destroy(pool);
}

void cn_call_close(cn_call_t *call)
{
    give_back(call);
    cn_chain_clear(&call->in);
    cn_task_fini(&call->task);
    if (call->detached)
        call->w->detached--;
    cn_list_remove(&call->link);
    cn_host_unref(call->host);
    cn_cluster_unref(call->cluster);
    cn_loop_retire(call->w->loop, free_pool, call->pool);
}

void cn_call_detach(cn_call_t *call)
{
    call->detached = true;
    call->w->detached++;
    call->conf.owner = NULL;
    if (call->ended)
        cn_call_close(call);
}

/* ---- for the worker ---- */

void cn_call_cut_all(cn_worker_t *w)
{
    cn_list_each (node, &w->calls) {
        cn_call_t *call = cn_list_entry(node, cn_call_t, link);

        if (call->up && call->host->cut)
            cn_task_wake(&call->task, WAKE_CUT);
    }
}

void cn_call_stop_all(cn_worker_t *w)
{
    cn_list_each (node, &w->calls) {
        cn_call_t *call = cn_list_entry(node, cn_call_t, link);

        end(call, CN_CALL_STOPPED);
        if (call->detached)
            cn_call_close(call);
    }
}
