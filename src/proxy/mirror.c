/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies of requests for other clusters.  A copy is a call: it starts when the
 * request is forwarded, gets the body as the client sends it (the bytes are
 * shared, not copied) and goes on alone when the request has ended.  Whatever
 * would hold up the request ends the copy instead:
 *
 *   PENDING_MAX   bytes that the mirror has not taken yet
 *   ALONE_MAX     copies of a worker whose request has ended
 *   LIFE_MS       time for one, unless the request itself has a limit
 */
#include "proxy/req_int.h"

#define PENDING_MAX (1024u * 1024)
#define ALONE_MAX 1024u
#define LIFE_MS 60000u

void cn_req_mirror(cn_req_t *req, cn_str_t cluster)
{
    cn_mirror_t *m = cn_vec_push(req->pool, &req->mirrors, sizeof(*m));

    m->cluster = cluster;
}

static void give_up(cn_req_t *req, cn_mirror_t *m)
{
    cn_series_add(req->w->mirrors_given_up, 1);
    if (m->call)
        cn_call_close(m->call);
    m->call = NULL;
}

/* Less than what keeps new tunnels out: copies are the first to go. */
static bool has_room(const cn_worker_t *w)
{
    return w->detached < ALONE_MAX && cn_budget_used(w) < w->conf->max_memory / 2 && !w->draining;
}

static void start(cn_req_t *req, cn_mirror_t *m)
{
    cn_call_conf_t conf = {.cluster = m->cluster,
                           .msg = &req->msg,
                           .more = req->msg.has_body,
                           .discard = true,
                           .timeout_ms = req->times.request_ms ? req->times.request_ms : LIFE_MS,
                           .version = CN_HTTP_UNKNOWN,
                           .port = req->asked.dest.port};

    if (!has_room(req->w)) {
        give_up(req, m);
        return;
    }
    m->call = cn_call_start(req->w, &conf);
    if (cn_call_result(m->call) == CN_ERR)
        give_up(req, m);
    else
        cn_series_add(req->w->mirrors, 1);
}

void cn_mirror_begin(cn_req_t *req)
{
    cn_mirror_t *m = req->mirrors.v;

    for (uint32_t i = 0; i < req->mirrors.n && !req->msg.upgrade_websocket; i++)
        start(req, &m[i]);
}

void cn_mirror_body(cn_req_t *req, const cn_chain_t *taken, bool eos)
{
    cn_mirror_t *m = req->mirrors.v;
    cn_chain_t copy = {0};

    for (uint32_t i = 0; i < req->mirrors.n; i++) {
        if (!m[i].call || (taken->bytes == 0 && !eos))
            continue;
        if (cn_call_pending(m[i].call) + taken->bytes > PENDING_MAX) {
            give_up(req, &m[i]);
            continue;
        }
        cn_chain_share(&copy, taken);
        cn_call_send(m[i].call, &copy, eos);
    }
    cn_chain_clear(&copy);
}

void cn_mirror_end(cn_req_t *req)
{
    cn_mirror_t *m = req->mirrors.v;

    for (uint32_t i = 0; i < req->mirrors.n; i++) {
        if (m[i].call && !req->req_eos)
            give_up(req, &m[i]);
        else if (m[i].call)
            cn_call_detach(m[i].call);
        m[i].call = NULL;
    }
}
