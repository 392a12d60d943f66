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

cn_tls_ctx_t *cn_worker_tls(cn_worker_t *w CN_UNUSED)
{
    return NULL;
}

bool cn_worker_trusts(cn_worker_t *w CN_UNUSED, cn_str_t trust_domain)
{
    return cn_str_eq(trust_domain, CN_STR("cluster.local"));
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
    w->rx[w->nserved] = s->rx;
    cn_talker_init(&w->far[w->nserved], w->loop, s);
    w->far[w->nserved].echo = true;
    w->nserved++;
}

void cn_tunnel_refused(cn_worker_t *w, const cn_peer_t *peer, cn_str_t authority, unsigned status,
                       cn_str_t details CN_UNUSED)
{
    CN_BUG_ON(authority.n >= sizeof(w->refused_authority));
    memcpy(w->refused_authority, authority.p, authority.n);
    w->refused_from = peer->remote;
    w->refused_status = status;
    w->nrefused++;
}
