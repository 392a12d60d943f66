/* SPDX-License-Identifier: Apache-2.0
 * Connections to hosts: which is used again, and when each of them ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "../fixture/memstream.h"
#include "../fixture/owner.h"
#include "core/hash.h"
#include "event/loop_int.h"
#include "http/h2mux.h"
#include "upstream/host.h"
#include "upstream/pool.h"

#define FAR_MAX 8
#define OK "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"

typedef struct {
    cn_loop_t *loop;
    cn_pool_t *pool;
    cn_upool_t *upool;
    cn_transport_t transport;
    cn_cluster_conf_t conf;
    cn_cluster_t cluster;
    cn_host_t *host;
    cn_http_version version;
    cn_stream_t *far[FAR_MAX];
    uint16_t port[FAR_MAX];
    unsigned nfar, retired;
} fix_t;

static cn_stream_t *on_open(void *wctx, const cn_cluster_t *cluster, cn_host_t *host,
                            const cn_uasked_t *asked, uint64_t timeout_ms, cn_task_t *owner)
{
    fix_t *f = wctx;
    cn_mempair_t pair = cn_memstream_pair(f->loop, SIZE_MAX, SIZE_MAX);

    assert_ptr_equal(cluster, &f->cluster);
    assert_ptr_equal(host, f->host);
    assert_int_equal(timeout_ms, 700);
    f->port[f->nfar] = host->addr.port ? host->addr.port : asked->dest.port;
    f->far[f->nfar++] = pair.b;
    cn_stream_own(pair.a, owner);
    return pair.a;
}

static void on_retire(void *wctx, cn_host_t *host)
{
    assert_ptr_equal(host, ((fix_t *)wctx)->host);
    ((fix_t *)wctx)->retired++;
}

static const cn_transport_ops_t ops = {CN_TUNNEL_HBONE, on_open, on_retire};

static void new_host(fix_t *f, const char *line)
{
    cn_endpoint_t ep;
    const char *why;

    cn_host_unref(f->host);
    assert_int_equal(cn_endpoint_parse(cn_str_c(line), &ep, &why), CN_OK);
    f->host = cn_host_create(&ep, NULL);
}

static int setup(void **state)
{
    fix_t *f = cn_xzalloc(sizeof(*f));

    f->loop = cn_loop_create();
    f->pool = cn_pool_create(0);
    f->transport = (cn_transport_t){&ops, f};
    f->upool = cn_upool_create(f->loop, &f->transport, 1);
    f->conf = (cn_cluster_conf_t){.connect_timeout_ms = 700, .idle_ms = 5000};
    f->cluster.conf = &f->conf;
    new_host(f, "10.0.0.1:80 tunnel=hbone");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fix_t *f = *state;

    cn_upool_destroy(f->upool);
    assert_int_equal(f->host->active, 0);
    assert_int_equal(f->host->refs, 1);
    cn_host_unref(f->host);
    for (unsigned i = 0; i < f->nfar; i++)
        if (f->far[i])
            cn_stream_close(f->far[i], false);
    cn_loop_destroy(f->loop);
    cn_pool_destroy(f->pool);
    free(f);
    return 0;
}

/* ---- one use ---- */

typedef struct {
    cn_owner_t o;
    cn_uconn_t *u;
} use_t;

static void start(fix_t *f, use_t *use, uint16_t port, bool fresh)
{
    cn_uasked_t asked = {.dest = {.port = port}};

    cn_owner_init(&use->o, f->loop, true);
    use->u = cn_upool_open(f->upool, &f->cluster, f->host, &asked, f->version, fresh, &use->o.task);
    use->o.x = use->u->exch;
    cn_task_wake(&use->o.task, CN_WAKE_USER);
    assert_int_equal(cn_owner_request(&use->o, "GET", "/", CN_LENGTH_NONE, false), CN_OK);
    cn_owner_settle(f->loop);
}

static void finish(use_t *use)
{
    cn_upool_close(use->u);
    use->o.x = NULL;
    cn_owner_fini(&use->o);
}

/* Answered by far end i. */
static void answer(fix_t *f, use_t *use, unsigned i)
{
    cn_owner_drain(f->pool, f->far[i]);
    cn_owner_write(f->far[i], OK);
    cn_owner_settle(f->loop);
    assert_int_equal(use->o.body_rc, CN_DONE);
    finish(use);
    cn_owner_settle(f->loop);
}

static void pass(fix_t *f, uint64_t ms)
{
    f->loop->now_ns += ms * 1000000;
    cn_timer_expire(f->loop);
    while (cn_task_pass(f->loop))
        continue;
}

static unsigned closed(const fix_t *f, unsigned i)
{
    return cn_memstream_peer_closed(f->far[i]);
}

/* ---- tests ---- */

static void test_the_connection_used_last_is_used_first(void **state)
{
    fix_t *f = *state;
    use_t a, b, c;

    start(f, &a, 80, false);
    start(f, &b, 80, false);
    assert_int_equal(f->nfar, 2);
    assert_int_equal(f->host->active, 2);
    answer(f, &b, 1);
    answer(f, &a, 0);
    assert_int_equal(cn_upool_idle(f->upool), 2);
    assert_int_equal(f->host->active, 0);
    start(f, &c, 80, false);
    assert_true(c.u->exch->reused);
    assert_true(cn_memstream_pending(f->far[0]) > 0);
    assert_int_equal(cn_memstream_pending(f->far[1]), 0);
    answer(f, &c, 0);
    assert_int_equal(f->nfar, 2);
}

static void test_a_fresh_connection_can_be_asked_for(void **state)
{
    fix_t *f = *state;
    use_t a, b;

    start(f, &a, 80, false);
    answer(f, &a, 0);
    start(f, &b, 80, true);
    assert_false(b.u->exch->reused);
    assert_int_equal(f->nfar, 2);
    answer(f, &b, 1);
}

static void test_a_workload_keeps_connections_by_port(void **state)
{
    fix_t *f = *state;
    use_t a, b, c;

    new_host(f, "10.0.0.1:0 tunnel=hbone");
    start(f, &a, 80, false);
    answer(f, &a, 0);
    start(f, &b, 8080, false);
    assert_int_equal(f->nfar, 2);
    assert_int_equal(f->port[0], 80);
    assert_int_equal(f->port[1], 8080);
    answer(f, &b, 1);
    start(f, &c, 80, false);
    assert_true(cn_memstream_pending(f->far[0]) > 0);
    answer(f, &c, 0);
}

static void test_a_host_with_a_port_is_asked_at_that_port(void **state)
{
    fix_t *f = *state;
    use_t a, b;

    start(f, &a, 8080, false);
    assert_int_equal(f->port[0], 80);
    answer(f, &a, 0);
    start(f, &b, 9090, false);
    assert_int_equal(f->nfar, 1);
    answer(f, &b, 0);
}

static void test_an_idle_connection_that_the_host_ends_is_forgotten(void **state)
{
    fix_t *f = *state;
    use_t a;

    start(f, &a, 80, false);
    answer(f, &a, 0);
    cn_stream_close(f->far[0], false);
    f->far[0] = NULL;
    cn_owner_settle(f->loop);
    assert_int_equal(cn_upool_idle(f->upool), 0);
    assert_int_equal(f->host->refs, 1);
}

static void test_a_connection_that_ends_in_this_round_is_not_used_again(void **state)
{
    fix_t *f = *state;
    use_t a, b;

    start(f, &a, 80, false);
    answer(f, &a, 0);
    cn_stream_close(f->far[0], false);
    f->far[0] = NULL;
    start(f, &b, 80, false);
    assert_int_equal(f->nfar, 2);
    assert_false(b.u->exch->reused);
    assert_int_equal(cn_upool_idle(f->upool), 0);
    answer(f, &b, 1);
}

static void test_a_connection_with_unasked_bytes_is_not_used_again(void **state)
{
    fix_t *f = *state;
    use_t a, b;

    start(f, &a, 80, false);
    answer(f, &a, 0);
    cn_owner_write(f->far[0], OK);
    start(f, &b, 80, false);
    assert_int_equal(b.o.head_rc, CN_AGAIN);
    assert_int_equal(f->nfar, 2);
    answer(f, &b, 1);
    assert_true(closed(f, 0));
}

static void test_an_unanswered_connection_is_not_kept(void **state)
{
    fix_t *f = *state;
    use_t a;

    start(f, &a, 80, false);
    finish(&a);
    cn_owner_settle(f->loop);
    assert_int_equal(cn_upool_idle(f->upool), 0);
    assert_true(cn_memstream_peer_aborted(f->far[0]));
}

static void test_an_idle_connection_ends_after_its_time(void **state)
{
    fix_t *f = *state;
    use_t a;

    start(f, &a, 80, false);
    answer(f, &a, 0);
    pass(f, 4000);
    assert_int_equal(cn_upool_idle(f->upool), 1);
    pass(f, 1500);
    assert_int_equal(cn_upool_idle(f->upool), 0);
    assert_true(closed(f, 0));
}

static void test_a_host_that_leaves_loses_what_idles_and_keeps_what_is_busy(void **state)
{
    fix_t *f = *state;
    use_t a, b;

    start(f, &a, 80, false);
    start(f, &b, 80, false);
    answer(f, &a, 0);
    f->host->gone = true;
    cn_upool_retire(f->upool, f->host);
    assert_int_equal(f->retired, 1);
    cn_owner_settle(f->loop);
    assert_int_equal(cn_upool_idle(f->upool), 0);
    assert_true(closed(f, 0));
    assert_false(closed(f, 1));
    answer(f, &b, 1);
    assert_int_equal(cn_upool_idle(f->upool), 0);
    assert_true(closed(f, 1));
}

static void test_a_connection_serves_only_so_many_requests(void **state)
{
    fix_t *f = *state;
    use_t u;

    f->conf.max_conn_requests = 2;
    for (unsigned i = 0; i < 4; i++) {
        start(f, &u, 80, false);
        assert_int_equal(f->nfar, i / 2 + 1);
        answer(f, &u, i / 2);
        assert_int_equal(cn_upool_idle(f->upool), i % 2 ? 0 : 1);
    }
    assert_true(closed(f, 0));
}

static void test_a_connection_serves_only_for_so_long(void **state)
{
    fix_t *f = *state;
    use_t u;

    f->conf.max_conn_ms = 60000; /* far from what the machine takes for a test */
    f->conf.idle_ms = 600000;
    start(f, &u, 80, false);
    answer(f, &u, 0);
    assert_int_equal(cn_upool_idle(f->upool), 1);
    pass(f, 30000);
    assert_int_equal(cn_upool_idle(f->upool), 1);
    pass(f, 31000);
    assert_int_equal(cn_upool_idle(f->upool), 0); /* while idle */
    start(f, &u, 80, false);
    cn_owner_drain(f->pool, f->far[1]);
    cn_owner_write(f->far[1], OK);
    cn_owner_settle(f->loop);
    pass(f, 200000); /* settling took the clock back to what it is */
    finish(&u);
    assert_int_equal(cn_upool_idle(f->upool), 0); /* or when its request ends */
}

static void test_a_raw_stream_is_the_callers(void **state)
{
    fix_t *f = *state;
    cn_uasked_t asked = {.dest = {.port = 80}};
    cn_stream_t *s = cn_upool_stream(f->upool, &f->cluster, f->host, &asked, NULL);

    cn_owner_write(s, "bytes");
    assert_string_equal(cn_owner_drain(f->pool, f->far[0]), "bytes");
    cn_stream_close(s, false);
}

/* ---- layers ---- */

static bool layer_applies(const void *conf)
{
    return *(const bool *)conf;
}

static uint64_t layer_mark(void *wctx CN_UNUSED, cn_cluster_t *c CN_UNUSED,
                           const void *conf CN_UNUSED, const cn_uasked_t *asked)
{
    return asked->source.port;
}

static cn_stream_t *layer_wrap(void *wctx, cn_cluster_t *c CN_UNUSED, const void *conf CN_UNUSED,
                               cn_stream_t *lower, const cn_uasked_t *asked CN_UNUSED,
                               uint64_t timeout_ms, cn_task_t *owner CN_UNUSED)
{
    assert_int_equal(timeout_ms, 700);
    (*(unsigned *)wctx)++;
    return lower;
}

/* A use by the client with this port, from its request to its answer. */
static void use_as(fix_t *f, uint16_t port)
{
    cn_uasked_t asked = {.source = {.port = port}, .dest = {.port = 80}};
    unsigned had = f->nfar;
    use_t use;

    cn_owner_init(&use.o, f->loop, true);
    use.u = cn_upool_open(f->upool, &f->cluster, f->host, &asked, CN_HTTP_11, false, &use.o.task);
    use.o.x = use.u->exch;
    cn_task_wake(&use.o.task, CN_WAKE_USER);
    assert_int_equal(cn_owner_request(&use.o, "GET", "/", CN_LENGTH_NONE, false), CN_OK);
    cn_owner_settle(f->loop);
    answer(f, &use, f->nfar > had ? had : 0);
}

static void test_connections_are_reused_by_those_who_look_the_same_to_the_layers(void **state)
{
    static const cn_layer_ops_t layer_ops = {layer_applies, layer_mark, layer_wrap};
    fix_t *f = *state;
    unsigned wraps = 0;
    bool on = true;
    void *confs[] = {&on};
    cn_section_t section = {.confs = confs};
    cn_layer_t layer = {&layer_ops, &wraps, 0};

    f->cluster.section = &section;
    cn_upool_set_layers(f->upool, &layer, 1);
    use_as(f, 1);
    use_as(f, 1);
    assert_int_equal(f->nfar, 1);
    assert_int_equal(wraps, 1);
    use_as(f, 2);
    assert_int_equal(f->nfar, 2);
    assert_int_equal(wraps, 2);
    on = false;
    use_as(f, 3);
    assert_int_equal(f->nfar, 3); /* both look different from one without the layer */
    assert_int_equal(wraps, 2);
    cn_upool_retire(f->upool, f->host);
}

/* ---- HTTP/2 ---- */

/* The pod's side of session i. */
typedef struct {
    cn_h2_t *h2;
    cn_exch_t *x[FAR_MAX];
    unsigned n;
    cn_task_t idle;
} pod_t;

static void on_pod_idle(cn_task_t *task CN_UNUSED, uint32_t why CN_UNUSED)
{
}

static void on_pod_request(void *ctx, cn_exch_t *x)
{
    pod_t *pod = ctx;

    x->owner = &pod->idle;
    pod->x[pod->n++] = x;
}

static void on_pod_closed(void *ctx)
{
    ((pod_t *)ctx)->h2 = NULL;
}

static void serve(fix_t *f, pod_t *pod, unsigned i, uint32_t max_streams)
{
    static const cn_h2_cbs_t cbs = {.request = on_pod_request, .closed = on_pod_closed};
    cn_h2_conf_t conf = cn_h2_conf_hbone;

    *pod = (pod_t){0};
    conf.max_streams = max_streams;
    cn_task_init(&pod->idle, f->loop, on_pod_idle);
    pod->h2 = cn_h2_server_create(f->loop, f->far[i], &conf, &cbs, pod);
    f->far[i] = NULL;
    cn_owner_settle(f->loop);
}

static void pod_answer(fix_t *f, pod_t *pod, unsigned i)
{
    cn_msg_t head;

    cn_msg_init(&head, f->pool);
    head.status = 200;
    assert_int_equal(pod->x[i]->ops->send_head(pod->x[i], &head, true), CN_OK);
    pod->x[i]->ops->close(pod->x[i]);
    cn_owner_settle(f->loop);
}

static void pod_end(fix_t *f, pod_t *pod)
{
    cn_h2_destroy(pod->h2);
    cn_owner_settle(f->loop);
    cn_task_fini(&pod->idle);
}

static void start_h2(fix_t *f, use_t *use)
{
    f->version = CN_HTTP_2;
    start(f, use, 80, false);
}

static void test_requests_share_a_session_with_room(void **state)
{
    fix_t *f = *state;
    use_t a, b;
    pod_t pod;

    start_h2(f, &a);
    start_h2(f, &b);
    assert_int_equal(f->nfar, 1);
    assert_int_equal(f->host->active, 2);
    serve(f, &pod, 0, 100);
    assert_int_equal(pod.n, 2);
    pod_answer(f, &pod, 1);
    assert_int_equal(b.o.msg.status, 200);
    assert_int_equal(a.o.head_rc, CN_AGAIN);
    pod_answer(f, &pod, 0);
    finish(&a);
    finish(&b);
    assert_int_equal(f->host->active, 0);
    assert_int_equal(cn_upool_sessions(f->upool), 1);
    pod_end(f, &pod);
    assert_int_equal(cn_upool_sessions(f->upool), 0);
}

static void test_a_full_session_is_followed_by_another(void **state)
{
    fix_t *f = *state;
    use_t a, b, c;
    pod_t pod, second;

    start_h2(f, &a);
    serve(f, &pod, 0, 1);
    start_h2(f, &b);
    assert_int_equal(f->nfar, 2);
    serve(f, &second, 1, 1);
    pod_answer(f, &pod, 0);
    finish(&a);
    start_h2(f, &c);
    assert_int_equal(f->nfar, 2);
    assert_int_equal(pod.n, 2);
    pod_answer(f, &pod, 1);
    pod_answer(f, &second, 0);
    finish(&b);
    finish(&c);
    pod_end(f, &pod);
    pod_end(f, &second);
}

static void test_a_session_has_no_more_streams_than_configured(void **state)
{
    fix_t *f = *state;
    use_t a, b;
    pod_t pod, second;

    f->conf.max_streams = 1;
    start_h2(f, &a);
    serve(f, &pod, 0, 100);
    start_h2(f, &b);
    assert_int_equal(f->nfar, 2);
    serve(f, &second, 1, 100);
    pod_answer(f, &pod, 0);
    pod_answer(f, &second, 0);
    finish(&a);
    finish(&b);
    pod_end(f, &pod);
    pod_end(f, &second);
}

static void test_a_session_serves_only_so_many_requests_and_for_so_long(void **state)
{
    fix_t *f = *state;
    use_t a, b;
    pod_t pod, second;

    f->conf.max_conn_requests = 1;
    start_h2(f, &a);
    serve(f, &pod, 0, 100);
    f->conf.max_conn_requests = 0;
    f->conf.max_conn_ms = 1000;
    start_h2(f, &b);
    assert_int_equal(f->nfar, 2);
    serve(f, &second, 1, 100);
    pod_answer(f, &pod, 0);
    assert_int_equal(a.o.msg.status, 200);
    finish(&a);
    cn_owner_settle(f->loop);
    assert_int_equal(cn_upool_sessions(f->upool), 1);
    pod_end(f, &pod);
    pod_answer(f, &second, 0);
    finish(&b);
    assert_int_equal(cn_upool_sessions(f->upool), 1);
    pass(f, 1000);
    start_h2(f, &a); /* the old one leaves */
    assert_int_equal(f->nfar, 3);
    assert_int_equal(cn_upool_sessions(f->upool), 1);
    finish(&a);
    pod_end(f, &second);
}

static void test_a_session_that_is_too_old_ends_with_what_it_has(void **state)
{
    fix_t *f = *state;
    use_t a, b;
    pod_t pod, second;

    f->conf.max_conn_ms = 60000;
    f->conf.idle_ms = 600000;
    start_h2(f, &a);
    serve(f, &pod, 0, 100);
    pass(f, 61000);
    start_h2(f, &b); /* not on it */
    assert_int_equal(f->nfar, 2);
    assert_int_equal(cn_upool_sessions(f->upool), 2);
    serve(f, &second, 1, 100);
    pod_answer(f, &pod, 0);
    assert_int_equal(a.o.msg.status, 200);
    finish(&a);
    cn_owner_settle(f->loop);
    assert_int_equal(cn_upool_sessions(f->upool), 1);
    pod_answer(f, &second, 0);
    finish(&b);
    cn_owner_settle(f->loop);
    pass(f, 200000);
    cn_owner_settle(f->loop);
    assert_int_equal(cn_upool_sessions(f->upool), 0); /* while idle */
    cn_task_fini(&pod.idle);
    cn_task_fini(&second.idle);
}

typedef struct {
    cn_task_t task;
    unsigned woken;
} who_waits_t;

static void on_woken(cn_task_t *task, uint32_t why CN_UNUSED)
{
    cn_container_of(task, who_waits_t, task)->woken++;
}

static void test_a_freed_stream_wakes_who_waits_for_one(void **state)
{
    static const cn_admission_ops_t no_hooks = {.admit = NULL};
    fix_t *f = *state;
    cn_admissions_t all;
    cn_admission_t *v = cn_xzalloc(sizeof(*v));
    who_waits_t who = {.woken = 0};
    cn_waiter_t waiter = {.cluster = &f->cluster, .task = &who.task, .why = CN_WAKE_USER};
    use_t a;
    pod_t pod;

    v->ops = &no_hooks;
    cn_admission_init(&all, v, 1);
    f->cluster.refs = 1;
    cn_upool_set_admissions(f->upool, &all);
    cn_task_init(&who.task, f->loop, on_woken);
    cn_list_init(&waiter.link);
    f->conf.max_streams = 1;
    start_h2(f, &a);
    serve(f, &pod, 0, 100);
    cn_admission_wait(&all, &waiter);
    cn_owner_settle(f->loop);
    assert_int_equal(who.woken, 0);
    pod_answer(f, &pod, 0);
    finish(&a);
    cn_owner_settle(f->loop);
    assert_int_equal(who.woken, 1); /* the session stays, so it was the stream */
    assert_int_equal(cn_upool_sessions(f->upool), 1);
    cn_list_remove(&waiter.link);
    pod_end(f, &pod);
    cn_task_fini(&who.task);
    cn_upool_set_admissions(f->upool, NULL);
    cn_admission_fini(&all);
}

static void test_a_session_that_says_goaway_gets_no_further_request(void **state)
{
    fix_t *f = *state;
    use_t a, b;
    pod_t pod, second;

    start_h2(f, &a);
    serve(f, &pod, 0, 100);
    cn_h2_drain(pod.h2);
    cn_owner_settle(f->loop);
    start_h2(f, &b);
    assert_int_equal(f->nfar, 2);
    serve(f, &second, 1, 100);
    pod_answer(f, &pod, 0);
    assert_int_equal(a.o.msg.status, 200);
    assert_null(pod.h2);
    pod_answer(f, &second, 0);
    finish(&a);
    finish(&b);
    cn_task_fini(&pod.idle);
    pod_end(f, &second);
}

static void test_a_session_without_requests_ends_after_the_idle_time(void **state)
{
    fix_t *f = *state;
    use_t a;
    pod_t pod;

    start_h2(f, &a);
    serve(f, &pod, 0, 100);
    pod_answer(f, &pod, 0);
    finish(&a);
    cn_owner_settle(f->loop);
    pass(f, 4000);
    assert_int_equal(cn_upool_sessions(f->upool), 1);
    pass(f, 1500);
    cn_owner_settle(f->loop);
    assert_int_equal(cn_upool_sessions(f->upool), 0);
    cn_task_fini(&pod.idle);
}

static void test_a_host_that_leaves_ends_its_session_with_its_last_request(void **state)
{
    fix_t *f = *state;
    use_t a;
    pod_t pod;

    start_h2(f, &a);
    serve(f, &pod, 0, 100);
    cn_upool_retire(f->upool, f->host);
    cn_owner_settle(f->loop);
    assert_int_equal(cn_upool_sessions(f->upool), 1);
    pod_answer(f, &pod, 0);
    assert_int_equal(a.o.msg.status, 200);
    finish(&a);
    cn_owner_settle(f->loop);
    assert_int_equal(cn_upool_sessions(f->upool), 0);
    cn_task_fini(&pod.idle);
}

static void test_a_session_that_fails_to_connect_says_so_to_each_request(void **state)
{
    fix_t *f = *state;
    use_t a, b;

    start_h2(f, &a);
    start_h2(f, &b);
    cn_memstream_fail(f->far[0], CN_SERR_RESET);
    cn_stream_close(f->far[0], true);
    f->far[0] = NULL;
    cn_owner_settle(f->loop);
    assert_int_equal(a.o.head_rc, CN_ERR);
    assert_int_equal(b.o.head_rc, CN_ERR);
    assert_false(a.o.x->reset);
    finish(&a);
    finish(&b);
    cn_owner_settle(f->loop);
    assert_int_equal(cn_upool_sessions(f->upool), 0);
}

static void test_a_stream_that_the_host_resets_fails_alone(void **state)
{
    fix_t *f = *state;
    use_t a, b;
    pod_t pod;

    start_h2(f, &a);
    start_h2(f, &b);
    serve(f, &pod, 0, 100);
    pod.x[0]->ops->close(pod.x[0]);
    cn_owner_settle(f->loop);
    assert_int_equal(a.o.head_rc, CN_ERR);
    assert_int_equal(a.o.x->xerr, CN_XERR_GONE);
    assert_true(a.o.x->reset);
    pod_answer(f, &pod, 1);
    assert_int_equal(b.o.msg.status, 200);
    finish(&a);
    finish(&b);
    pod_end(f, &pod);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_the_connection_used_last_is_used_first),
        T(test_a_fresh_connection_can_be_asked_for),
        T(test_a_workload_keeps_connections_by_port),
        T(test_a_host_with_a_port_is_asked_at_that_port),
        T(test_an_idle_connection_that_the_host_ends_is_forgotten),
        T(test_a_connection_that_ends_in_this_round_is_not_used_again),
        T(test_a_connection_with_unasked_bytes_is_not_used_again),
        T(test_an_unanswered_connection_is_not_kept),
        T(test_an_idle_connection_ends_after_its_time),
        T(test_a_host_that_leaves_loses_what_idles_and_keeps_what_is_busy),
        T(test_connections_are_reused_by_those_who_look_the_same_to_the_layers),
        T(test_a_connection_serves_only_so_many_requests),
        T(test_a_connection_serves_only_for_so_long),
        T(test_a_session_has_no_more_streams_than_configured),
        T(test_a_session_serves_only_so_many_requests_and_for_so_long),
        T(test_a_session_that_is_too_old_ends_with_what_it_has),
        T(test_a_freed_stream_wakes_who_waits_for_one),
        T(test_a_raw_stream_is_the_callers),
        T(test_requests_share_a_session_with_room),
        T(test_a_full_session_is_followed_by_another),
        T(test_a_session_that_says_goaway_gets_no_further_request),
        T(test_a_session_without_requests_ends_after_the_idle_time),
        T(test_a_host_that_leaves_ends_its_session_with_its_last_request),
        T(test_a_session_that_fails_to_connect_says_so_to_each_request),
        T(test_a_stream_that_the_host_resets_fails_alone),
    };

    cn_hash_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
