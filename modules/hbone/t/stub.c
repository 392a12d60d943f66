/* SPDX-License-Identifier: Apache-2.0
 * See the header.
 */
#include "stub.h"

cn_loop_t *cn_worker_loop(cn_worker_t *w)
{
    return w->loop;
}

const cn_gen_t *cn_worker_gen(cn_worker_t *w)
{
    return w->gen;
}

cn_tls_ctx_t *cn_worker_tls(cn_worker_t *w)
{
    return w->tls;
}

cn_rand_t *cn_worker_rand(cn_worker_t *w)
{
    return &w->rand;
}

cn_str_t cn_worker_network(cn_worker_t *w)
{
    return w->network;
}

const cn_workloads_t *cn_worker_workloads(cn_worker_t *w)
{
    return w->workloads;
}

bool cn_worker_admit(cn_worker_t *w)
{
    return !w->full;
}

cn_stats_t *cn_worker_stats(cn_worker_t *w CN_UNUSED)
{
    return NULL;
}

unsigned cn_worker_metric(cn_worker_t *w CN_UNUSED, const cn_metric_def_t *def CN_UNUSED)
{
    return 0;
}

void cn_tunnel_serve(cn_worker_t *w, cn_tunnel_t *t, cn_stream_t *s)
{
    CN_BUG_ON(w->nserved == TUNNELS_MAX);
    w->served[w->nserved] = *t;
    cn_talker_init(&w->far[w->nserved], w->loop, s);
    w->far[w->nserved].echo = true;
    w->nserved++;
}

void cn_tunnel_refused(cn_worker_t *w, const cn_peer_t *peer, cn_str_t authority CN_UNUSED,
                       unsigned status, cn_str_t details CN_UNUSED)
{
    w->refused_from = peer->remote;
    if (w->nrefused < CN_COUNT(w->refused))
        w->refused[w->nrefused] = status;
    w->nrefused++;
}

void cn_worker_refused(cn_worker_t *w CN_UNUSED, const cn_refusal_t *r CN_UNUSED)
{
}
