/* SPDX-License-Identifier: Apache-2.0
 *
 * The module against itself over loopback TCP: tunnels that out.c opens are
 * accepted by in.c; and in.c against a client session that sends other things.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <unistd.h>

#include "../../../t/unit/fixture/pki.h"
#include "../hbone_int.h"
#include "core/log.h"
#include "event/listen.h"
#include "stub.h"
#include "upstream/host.h"

#define APP "spiffe://cluster.local/ns/bookinfo/sa/app"
#define CURL "spiffe://cluster.local/ns/default/sa/curl"

extern const cn_module_t cn_module_hbone;

static const char conf_text[] =
    "service app:9080 { address 10.0.0.5:9080 [fd00::5]:9080; service app bookinfo 9080; }\n"
    "service any { address 10.0.0.6:*; service any bookinfo; }\n";

static const cn_conf_ops_t no_levels[CN_LV_MAX];

typedef struct {
    cn_worker_t w;
    cn_hbone_t *hb;
    cn_pool_t *pool;
    cn_pki_t *pki;
    cn_conf_unit_t units_v[CN_UNIT_MODULES + 1];
    cn_units_t units;
    cn_tls_ctx_t *app, *curl;
    int fd;
    cn_addr_t at;
    cn_listener_t *listener;
    bool doubled; /* tunnels that are accepted carry connections */
    cn_host_t *host;
    cn_cluster_conf_t cluster_conf;
    cn_cluster_t cluster;
    cn_uasked_t asked;
    cn_talker_t near[TUNNELS_MAX];
    unsigned nnear;
    /* a client of our own */
    cn_h2_t *client;
    bool client_closed;
    cn_task_t task;
    cn_stream_t *dialled;
} world_t;

static cn_tls_ctx_t *context(world_t *t, const char *name, const char *uri)
{
    cn_str_t td = CN_STR("cluster.local"), why;
    cn_tls_conf_t conf = {.cert_file = cn_pki_path(t->pki, name, "pem"),
                          .key_file = cn_pki_path(t->pki, name, "key"),
                          .bundle_file = cn_pki_path(t->pki, "ca", "pem"),
                          .trust_domains = &td,
                          .trust_domain_n = 1};
    cn_tls_ctx_t *ctx;

    cn_pki_leaf(t->pki, name, "ca", &(cn_pki_leaf_t){.uri = uri});
    if (cn_tls_ctx_create(&conf, t->pool, &ctx, &why) != CN_OK)
        fail_msg("%.*s", CN_STR_ARG(why));
    return ctx;
}

/* Puts a configuration in force. */
static void configure(world_t *t, const char *text)
{
    cn_bundle_t *bundle = cn_bundle_create(CN_STR("/"));
    cn_conf_load_t load = {.units = &t->units, .bundle = bundle, .file = CN_STR("/c.conf")};
    cn_str_t why;

    cn_bundle_put(bundle, CN_STR("/c.conf"), cn_str_c(text));
    cn_gen_unref(t->w.gen);
    if (cn_gen_load(&load, t->pool, &t->w.gen, &why) != CN_OK)
        fail_msg("%.*s", CN_STR_ARG(why));
    cn_bundle_destroy(bundle);
    cn_module_hbone.reconfigured(&t->w, t->hb, t->w.gen->main->confs[CN_UNIT_MODULES]);
}

static void on_accept(void *ctx, int fd, const cn_addr_t *remote)
{
    world_t *t = ctx;

    cn_module_hbone.listeners[t->doubled]->accept(&t->w, t->hb, fd, remote);
}

static void listen_here(world_t *t)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);

    assert_int_equal(cn_inet_parse_hostport(CN_STR("127.0.0.1:0"), true, &t->at), CN_OK);
    assert_int_equal(cn_listen_bind(&t->at, 100, &t->fd), CN_OK);
    assert_int_equal(getsockname(t->fd, (struct sockaddr *)&ss, &len), 0);
    cn_inet_from_sockaddr(&t->at, (struct sockaddr *)&ss, len);
    t->listener = cn_listen_start(t->w.loop, t->fd, on_accept, t);
}

static cn_host_t *host_new(world_t *t, const char *addr, const char *identity)
{
    cn_endpoint_t ep = {.weight = 1, .healthy = true, .tunnel = CN_TUNNEL_HBONE};

    assert_int_equal(cn_inet_parse_hostport(cn_str_c(addr), true, &ep.addr), CN_OK);
    ep.tunnel_addr = t->at;
    ep.identity = cn_str_c(identity);
    return cn_host_create(&ep, NULL);
}

static void on_task(cn_task_t *task CN_UNUSED, uint32_t why CN_UNUSED)
{
}

static int setup(void **state)
{
    world_t *t = cn_xzalloc(sizeof(*t));

    cn_log_set_level(CN_LOG_ERROR);
    t->pool = cn_pool_create(0);
    t->pki = cn_pki_create();
    cn_pki_ca(t->pki, "ca", NULL);
    t->app = context(t, "app", APP);
    t->curl = context(t, "curl", CURL);
    t->w.loop = cn_loop_create();
    cn_rand_init(&t->w.rand, 7);
    t->w.tls = t->app;
    cn_rand_init(&t->w.rand, 0);
    t->w.network = CN_STR("net1");
    t->units_v[CN_UNIT_MAIN] = (cn_conf_unit_t){"main", NULL, no_levels};
    t->units_v[CN_UNIT_PROXY] = (cn_conf_unit_t){"proxy", NULL, no_levels};
    t->units_v[CN_UNIT_TUNNEL] = cn_tunnel_unit;
    t->units_v[CN_UNIT_UPSTREAM] = cn_upstream_unit;
    t->units_v[CN_UNIT_MODULES] =
        (cn_conf_unit_t){"hbone", cn_module_hbone.directives, cn_module_hbone.conf};
    t->units = (cn_units_t){.v = t->units_v, .n = CN_UNIT_MODULES + 1};
    assert_int_equal(cn_module_hbone.worker_init(&t->w, (void **)&t->hb), CN_OK);
    cn_task_init(&t->task, t->w.loop, on_task);
    configure(t, conf_text);
    listen_here(t);
    t->host = host_new(t, "10.0.0.5:9080", APP);
    t->cluster.conf = &t->cluster_conf;
    *state = t;
    return 0;
}

static void give_back(world_t *t)
{
    for (unsigned i = 0; i < t->nnear; i++)
        cn_talker_fini(&t->near[i], true);
    for (unsigned i = 0; i < t->w.nserved; i++) {
        cn_talker_fini(&t->w.far[i], true);
        cn_section_unref(t->w.served[i].section);
        cn_pool_destroy(t->w.served[i].pool);
    }
    t->nnear = t->w.nserved = 0;
}

static int teardown(void **state)
{
    world_t *t = *state;

    give_back(t);
    if (t->dialled)
        cn_stream_close(t->dialled, true);
    if (t->client && !t->client_closed)
        cn_h2_destroy(t->client);
    if (t->listener)
        cn_listen_stop(t->listener);
    close(t->fd);
    cn_talker_settle(t->w.loop);
    cn_module_hbone.worker_fini(&t->w, t->hb);
    cn_host_unref(t->host);
    cn_gen_unref(t->w.gen);
    cn_workloads_unref(t->w.workloads);
    cn_task_fini(&t->task);
    cn_loop_destroy(t->w.loop);
    cn_tls_ctx_unref(t->app);
    cn_tls_ctx_unref(t->curl);
    cn_pki_destroy(t->pki);
    cn_pool_destroy(t->pool);
    free(t);
    return 0;
}

static void assert_text(cn_str_t got, const char *expected)
{
    if (!cn_str_eq(got, cn_str_c(expected)))
        fail_msg("\"%.*s\" should be \"%s\"", CN_STR_ARG(got), expected);
}

/* Until it is so, with a bound that only a failure reaches. */
#define UNTIL(t, condition)                                                                        \
    do {                                                                                           \
        bool done_ = false;                                                                        \
        for (int n_ = 0; n_ < 2000 && !(done_ = (condition)); n_++)                                \
            cn_loop_round((t)->w.loop, 5);                                                         \
        assert_true(done_);                                                                        \
    } while (0)

static cn_talker_t *open_to(world_t *t, cn_host_t *host, uint16_t port)
{
    cn_talker_t *k = &t->near[t->nnear++];

    t->asked.dest.port = port;
    cn_talker_init(
        k, t->w.loop,
        cn_module_hbone.transport->open(t->hb, &t->cluster, host, &t->asked, 10000, NULL));
    k->seed = 3;
    k->peer_seed = 3;
    return k;
}

/* ---- both halves ---- */

static void test_a_tunnel_goes_from_one_half_to_the_other(void **state)
{
    world_t *t = *state;
    cn_talker_t *k = open_to(t, t->host, 9080);

    UNTIL(t, k->ready || k->failed);
    cn_talker_send(k, 500000, true);
    UNTIL(t, k->ended);
    assert_true(k->got == 500000 && !k->garbled);
    assert_int_equal(t->w.nserved, 1);
    assert_true(cn_str_eq(t->w.served[0].authority, CN_STR("10.0.0.5:9080")));
    assert_true(cn_str_eq(t->w.served[0].identity, CN_STR(APP)));
    assert_true(cn_str_eq(t->w.served[0].local_identity, CN_STR(APP)));
    assert_int_equal(t->w.served[0].dest.port, 9080);
    assert_true(cn_str_eq(t->w.served[0].section->name, CN_STR("app:9080")));
    assert_int_equal(t->w.served[0].source.family, AF_INET);
    assert_int_not_equal(t->w.served[0].source.port, 0);
    assert_false(t->w.served[0].foreign_network);
}

static void test_a_tunnel_of_bytes_names_its_service_and_client(void **state)
{
    world_t *t = *state;
    cn_talker_t *k;

    t->cluster_conf.host = CN_STR("reviews.bookinfo.svc.cluster.local");
    assert_int_equal(cn_inet_parse_hostport(CN_STR("[fd00::7]:40000"), false, &t->asked.source),
                     CN_OK);
    k = open_to(t, t->host, 9080);
    UNTIL(t, k->ready || k->failed);
    assert_text(t->w.served[0].forwarded,
                "for=\"[fd00::7]:40000\";host=reviews.bookinfo.svc.cluster.local");
    t->asked.spoken = CN_SPOKEN_HTTP1; /* others may use it later */
    k = open_to(t, t->host, 9080);
    UNTIL(t, k->ready || k->failed);
    assert_text(t->w.served[1].forwarded, "host=reviews.bookinfo.svc.cluster.local");
    t->cluster_conf.host = CN_STR("a;host=b");
    k = open_to(t, t->host, 9080);
    UNTIL(t, k->ready || k->failed);
    assert_text(t->w.served[2].forwarded, "");
    assert_text(t->w.served[2].baggage, "");
}

static void know_ourselves(world_t *t)
{
    cn_str_t why;

    assert_int_equal(
        cn_workloads_parse(CN_STR("127.0.0.1 namespace=bookinfo workload=wp type=deployment "
                                  "canonical_name=wp canonical_revision=v1 cluster=c1 "
                                  "locality=eu/eu-1/a\n"),
                           NULL, t->pool, &t->w.workloads, &why),
        CN_OK);
}

static void test_a_tunnel_describes_the_waypoint_by_its_own_record(void **state)
{
    world_t *t = *state;
    cn_talker_t *k;

    know_ourselves(t);
    k = open_to(t, t->host, 9080);
    UNTIL(t, k->ready || k->failed);
    assert_text(t->w.served[0].baggage,
                "k8s.cluster.name=c1,k8s.namespace.name=bookinfo,k8s.deployment.name=wp,"
                "service.name=wp,service.version=v1,cloud.region=eu,"
                "cloud.availability_zone=eu-1");
}

static void test_what_tunnels_say_can_be_turned_off(void **state)
{
    world_t *t = *state;
    cn_talker_t *k;

    know_ourselves(t);
    t->cluster_conf.host = CN_STR("app");
    configure(t, "hbone_forwarded off; hbone_baggage off;\n"
                 "service app:9080 { address 10.0.0.5:9080; service app bookinfo 9080; }\n");
    k = open_to(t, t->host, 9080);
    UNTIL(t, k->ready || k->failed);
    assert_text(t->w.served[0].forwarded, "");
    assert_text(t->w.served[0].baggage, "");
}

static void test_tunnels_share_a_connection(void **state)
{
    world_t *t = *state;

    for (int i = 0; i < 20; i++)
        open_to(t, t->host, 9080);
    UNTIL(t, t->w.nserved == 20);
    assert_int_equal(cn_module_hbone.listeners[0]->active(t->hb), 1);
}

static void test_another_connection_takes_what_one_has_no_room_for(void **state)
{
    world_t *t = *state;

    for (int i = 0; i < 250; i++)
        open_to(t, t->host, 9080);
    UNTIL(t, t->w.nserved == 250);
    assert_int_equal(cn_module_hbone.listeners[0]->active(t->hb), 3);
}

static void test_a_port_that_the_host_lacks_is_the_clients(void **state)
{
    world_t *t = *state;
    cn_host_t *any = host_new(t, "10.0.0.6:0", APP);
    cn_talker_t *k = open_to(t, any, 7777);

    UNTIL(t, k->ready || k->failed);
    assert_true(cn_str_eq(t->w.served[0].authority, CN_STR("10.0.0.6:7777")));
    cn_host_unref(any);
}

static void test_an_ipv6_pod_stands_in_brackets(void **state)
{
    world_t *t = *state;
    cn_host_t *six = host_new(t, "[fd00::5]:9080", APP);
    cn_talker_t *k = open_to(t, six, 9080);

    UNTIL(t, k->ready || k->failed);
    assert_true(cn_str_eq(t->w.served[0].authority, CN_STR("[fd00::5]:9080")));
    cn_host_unref(six);
}

static void test_another_pod_at_the_address_is_not_used(void **state)
{
    world_t *t = *state;
    cn_host_t *other = host_new(t, "10.0.0.5:9080", CURL);
    cn_talker_t *k = open_to(t, other, 9080);

    UNTIL(t, k->ready || k->failed);
    assert_true(k->failed);
    assert_int_equal(k->s->err, CN_SERR_IDENTITY);
    assert_int_equal(t->w.nserved, 0);
    cn_host_unref(other);
}

static void test_a_pod_of_unknown_identity_is_accepted_from_the_mesh(void **state)
{
    world_t *t = *state;
    cn_host_t *any = host_new(t, "10.0.0.5:9080", "");
    cn_talker_t *k = open_to(t, any, 9080);

    UNTIL(t, k->ready || k->failed);
    assert_true(k->ready);
    cn_host_unref(any);
}

static void test_a_pod_that_is_gone_refuses(void **state)
{
    world_t *t = *state;
    cn_talker_t *k;

    cn_listen_stop(t->listener);
    t->listener = NULL;
    close(t->fd);
    k = open_to(t, t->host, 9080);
    UNTIL(t, k->failed);
    assert_int_equal(k->s->err, CN_SERR_REFUSED);
    t->fd = -1;
}

static void test_what_is_not_served_is_refused_with_503(void **state)
{
    world_t *t = *state;
    cn_host_t *unknown = host_new(t, "10.9.9.9:9080", APP);
    cn_talker_t *k = open_to(t, unknown, 9080);

    UNTIL(t, k->failed);
    assert_int_equal(k->s->err, CN_SERR_REFUSED);
    assert_int_equal(t->w.nrefused, 1);
    assert_int_equal(t->w.refused[0], 503);
    assert_int_equal(t->w.refused_from.family, AF_INET);
    cn_host_unref(unknown);
}

static void test_no_more_is_taken_than_admitted(void **state)
{
    world_t *t = *state;
    cn_talker_t *k;

    t->w.full = true;
    k = open_to(t, t->host, 9080);
    UNTIL(t, k->failed);
    assert_int_equal(t->w.refused[0], 503);
    assert_int_equal(t->w.nserved, 0);
}

static void test_without_an_identity_nothing_is_opened(void **state)
{
    world_t *t = *state;
    cn_talker_t *k;

    t->w.tls = NULL;
    k = open_to(t, t->host, 9080);
    UNTIL(t, k->failed);
    assert_int_equal(k->s->err, CN_SERR_LOCAL);
}

static void test_drain_ends_connections_behind_their_tunnels(void **state)
{
    world_t *t = *state;
    cn_talker_t *k = open_to(t, t->host, 9080);

    UNTIL(t, k->ready);
    cn_module_hbone.listeners[0]->drain(&t->w, t->hb);
    cn_talker_send(k, 1000, false);
    UNTIL(t, k->got == 1000);
    assert_int_equal(cn_module_hbone.listeners[0]->active(t->hb), 1);
    cn_talker_send(k, 0, true);
    UNTIL(t, k->ended && cn_module_hbone.listeners[0]->active(t->hb) == 0);
}

static void test_drain_ends_idle_connections_at_once(void **state)
{
    world_t *t = *state;
    cn_talker_t *k = open_to(t, t->host, 9080);

    UNTIL(t, k->ready);
    cn_talker_send(k, 0, true);
    UNTIL(t, k->ended);
    give_back(t);
    cn_module_hbone.listeners[0]->drain(&t->w, t->hb);
    UNTIL(t, cn_module_hbone.listeners[0]->active(t->hb) == 0);
}

/* Configured with another rotation time, to be another configuration. */
static void rotate_in(world_t *t, const char *time)
{
    char text[512];

    snprintf(text, sizeof(text), "hbone_rotation %s;\nservice app:9080 { address 10.0.0.5:9080; }",
             time);
    configure(t, text);
}

static void test_another_identity_moves_connections_behind_their_tunnels(void **state)
{
    world_t *t = *state;
    cn_talker_t *k;

    rotate_in(t, "1ms");
    k = open_to(t, t->host, 9080);
    UNTIL(t, k->ready);
    rotate_in(t, "2ms");
    assert_false(cn_timer_is_set(&t->hb->rotation));
    t->w.tls = t->curl;
    rotate_in(t, "1ms");
    UNTIL(t, !cn_timer_is_set(&t->hb->rotation));
    cn_talker_send(k, 1000, false);
    UNTIL(t, k->got == 1000);
    assert_int_equal(cn_module_hbone.listeners[0]->active(t->hb), 1);
    cn_talker_send(k, 0, true);
    UNTIL(t, k->ended && cn_module_hbone.listeners[0]->active(t->hb) == 0);
}

static void test_sessions_to_a_host_that_left_end_and_let_it_go(void **state)
{
    world_t *t = *state;
    cn_talker_t *k = open_to(t, t->host, 9080);

    UNTIL(t, k->ready);
    assert_int_equal(t->host->refs, 2);
    t->host->gone = true;
    cn_module_hbone.transport->retire(t->hb, t->host);
    cn_talker_send(k, 1000, true);
    UNTIL(t, k->got == 1000 && k->ended);
    UNTIL(t, t->host->refs == 1);
}

static void test_an_idle_connection_to_a_pod_ends(void **state)
{
    world_t *t = *state;
    cn_talker_t *k;

    configure(t, "hbone_idle_timeout 1ms;\n"
                 "service app:9080 { address 10.0.0.5:9080; service app bookinfo 9080; }\n");
    k = open_to(t, t->host, 9080);
    UNTIL(t, k->ready);
    cn_talker_send(k, 10, true);
    UNTIL(t, k->ended);
    give_back(t);
    UNTIL(t, t->host->refs == 1 && cn_module_hbone.listeners[0]->active(t->hb) == 0);
}

/* ---- double HBONE ---- */

static const char named[] = "service app:9080 { host app.bookinfo; service app bookinfo 9080; "
                            "address 10.0.0.5:9080; }\n";

/* A host that stands for the gateway, which here is who is behind it, too. */
static cn_host_t *gateway_new(world_t *t, const char *gateway, const char *pod)
{
    cn_endpoint_t ep = {.weight = 1, .healthy = true, .tunnel = CN_TUNNEL_HBONE, .doubled = true};

    configure(t, named);
    t->doubled = true;
    t->cluster_conf.host = CN_STR("app.bookinfo");
    t->cluster_conf.service_port = 9080;
    ep.addr = ep.tunnel_addr = t->at;
    ep.identity = cn_str_c(pod);
    ep.gateway_identity = cn_str_c(gateway);
    return cn_host_create(&ep, NULL);
}

static void test_a_doubled_tunnel_is_the_inner_peers(void **state)
{
    world_t *t = *state;
    cn_host_t *gateway = gateway_new(t, APP, APP);
    cn_talker_t *k;

    t->w.network = CN_STR("net1");
    k = open_to(t, gateway, 0);
    UNTIL(t, k->ready || k->failed);
    cn_talker_send(k, 500000, true);
    UNTIL(t, k->ended);
    assert_true(k->got == 500000 && !k->garbled);
    assert_int_equal(t->w.nserved, 1);
    assert_text(t->w.served[0].authority, "app.bookinfo:9080");
    assert_text(t->w.served[0].identity, APP);
    assert_text(t->w.served[0].section->name, "app:9080");
    assert_text(t->w.served[0].forwarded, "host=app.bookinfo");
    assert_false(t->w.served[0].foreign_network); /* it is ours in this test */
    assert_int_equal(t->w.served[0].source.family, AF_INET);
    cn_host_unref(gateway);
}

static void test_doubled_tunnels_share_the_way_to_the_gateway_only(void **state)
{
    world_t *t = *state;
    cn_host_t *gateway = gateway_new(t, APP, APP);

    for (int i = 0; i < 10; i++)
        open_to(t, gateway, 0);
    UNTIL(t, t->w.nserved == 10);
    assert_int_equal(cn_module_hbone.listeners[0]->active(t->hb), 11);
    for (int i = 0; i < 10; i++)
        cn_talker_send(&t->near[i], 1000, true);
    for (int i = 0; i < 10; i++)
        UNTIL(t, t->near[i].ended && t->near[i].got == 1000);
    give_back(t);
    UNTIL(t, cn_module_hbone.listeners[0]->active(t->hb) == 1);
    assert_true(cn_list_empty(&t->hb->inner));
    cn_host_unref(gateway);
}

static void test_gateway_and_pod_must_both_be_who_is_expected(void **state)
{
    static const char *const who[][2] = {{APP, CURL}, {CURL, APP}};
    world_t *t = *state;

    for (unsigned i = 0; i < CN_COUNT(who); i++) {
        cn_host_t *gateway = gateway_new(t, who[i][0], who[i][1]);
        cn_talker_t *k = open_to(t, gateway, 0);

        UNTIL(t, k->ready || k->failed);
        assert_true(k->failed);
        assert_int_equal(k->s->err, CN_SERR_IDENTITY);
        cn_host_unref(gateway);
    }
    assert_int_equal(t->w.nserved, 0);
}

static void test_a_gateway_that_knows_no_such_service_refuses(void **state)
{
    world_t *t = *state;
    cn_host_t *gateway = gateway_new(t, APP, APP);
    cn_talker_t *k;

    t->cluster_conf.host = CN_STR("other.bookinfo");
    k = open_to(t, gateway, 0);
    UNTIL(t, k->ready || k->failed);
    assert_int_equal(k->s->err, CN_SERR_REFUSED);
    assert_int_equal(t->w.refused[0], 503);
    t->cluster_conf.host = CN_STR_NULL;
    k = open_to(t, gateway, 0);
    UNTIL(t, k->ready || k->failed);
    assert_int_equal(k->s->err, CN_SERR_LOCAL);
    cn_host_unref(gateway);
}

static void test_the_limit_of_connections_counts_inner_ones(void **state)
{
    world_t *t = *state;
    cn_host_t *gateway = gateway_new(t, APP, APP);
    char text[300];

    snprintf(text, sizeof(text), "hbone_max_connections 3;\n%s", named);
    configure(t, text);
    for (int i = 0; i < 3; i++) {
        open_to(t, gateway, 0);
        UNTIL(t, t->near[i].ready || t->near[i].failed);
    }
    assert_true(t->near[0].ready && t->near[1].ready);
    assert_int_equal(t->near[2].s->err, CN_SERR_REFUSED);
    assert_int_equal(t->w.refused[0], 503);
    cn_host_unref(gateway);
}

static void test_drain_ends_both_connections_of_a_doubled_tunnel(void **state)
{
    world_t *t = *state;
    cn_host_t *gateway = gateway_new(t, APP, APP);
    cn_talker_t *k = open_to(t, gateway, 0);

    UNTIL(t, k->ready);
    cn_module_hbone.listeners[0]->drain(&t->w, t->hb);
    cn_talker_send(k, 1000, false);
    UNTIL(t, k->got == 1000);
    assert_int_equal(cn_module_hbone.listeners[0]->active(t->hb), 2);
    cn_talker_send(k, 0, true);
    UNTIL(t, k->ended && cn_module_hbone.listeners[0]->active(t->hb) == 0);
    cn_host_unref(gateway);
}

static void test_a_worker_may_end_amid_doubled_tunnels(void **state)
{
    world_t *t = *state;
    cn_host_t *gateway = gateway_new(t, APP, APP);
    cn_talker_t *k = open_to(t, gateway, 0);

    UNTIL(t, k->ready);
    open_to(t, gateway, 0); /* still on its way */
    cn_loop_round(t->w.loop, 0);
    cn_host_unref(gateway);
}

/* What is in the tunnel is not HBONE. */
static void test_bytes_in_a_doubled_tunnel_are_refused(void **state)
{
    world_t *t = *state;
    cn_host_t *direct;
    cn_talker_t *k;

    cn_host_unref(gateway_new(t, APP, APP));
    direct = host_new(t, "10.0.0.5:9080", APP);
    k = open_to(t, direct, 0);
    UNTIL(t, k->ready || k->failed);
    assert_true(k->ready);
    cn_talker_send(k, 1000, false);
    UNTIL(t, k->ended || k->failed);
    UNTIL(t, cn_module_hbone.listeners[0]->active(t->hb) == 1);
    assert_int_equal(t->w.nserved, 0);
    cn_host_unref(direct);
}

/* ---- in.c against other clients ---- */

static void on_client_closed(void *ctx)
{
    ((world_t *)ctx)->client_closed = true;
}

static void dial(world_t *t)
{
    static const cn_h2_cbs_t cbs = {.closed = on_client_closed};
    cn_stream_t *sock = cn_sock_connect(t->w.loop, &t->at, 0, NULL);

    t->dialled = cn_tls_client(t->w.loop, sock, t->curl, CN_STR(APP), 0, &t->task);
    UNTIL(t, cn_stream_ready(t->dialled) == CN_OK);
    t->client = cn_h2_client_create(t->w.loop, t->dialled, &cn_h2_conf_hbone, &cbs, t);
    t->dialled = NULL;
}

typedef struct {
    const char *method, *scheme, *path, *authority;
    const char *headers[8]; /* name, value, ..., NULL */
} ask_t;

static cn_exch_t *ask(world_t *t, const ask_t *a, bool eos)
{
    cn_exch_t *x = cn_h2_open(t->client, &t->task);
    cn_msg_t m;

    cn_msg_init(&m, t->pool);
    m.method = cn_str_c(a->method);
    m.scheme = cn_str_c(a->scheme);
    m.target = cn_str_c(a->path);
    m.authority = cn_str_c(a->authority);
    for (int i = 0; a->headers[i]; i += 2)
        cn_msg_add(&m, &m.headers, cn_str_c(a->headers[i]), cn_str_c(a->headers[i + 1]));
    assert_int_equal(x->ops->send_head(x, &m, eos), CN_OK);
    return x;
}

static unsigned answer_to(world_t *t, const ask_t *a, cn_chain_t *body)
{
    cn_exch_t *x = ask(t, a, false);
    cn_msg_t m;
    cn_rc rc = CN_AGAIN;

    cn_msg_init(&m, t->pool);
    UNTIL(t, (rc = x->ops->recv_head(x, &m)) != CN_AGAIN);
    assert_int_equal(rc, CN_OK);
    UNTIL(t, (rc = x->ops->recv_body(x, body, 1000)) != CN_AGAIN);
    x->ops->close(x);
    return m.status;
}

static void test_other_methods_are_not_found(void **state)
{
    world_t *t = *state;
    cn_chain_t body;

    cn_chain_init(&body);
    dial(t);
    assert_int_equal(answer_to(t, &(ask_t){"GET", "https", "/", "app", {NULL}}, &body), 404);
    assert_int_equal(body.bytes, 0);
    assert_int_equal(t->w.refused[0], 404);
    assert_false(t->client_closed);
    cn_chain_clear(&body);
}

static void test_a_malformed_authority_is_a_bad_request(void **state)
{
    static const char *const bad[] = {"10.0.0.5", "10.0.0.5:99999", "10.0.0.5:0", "a@10.0.0.5:80"};
    world_t *t = *state;

    dial(t);
    for (unsigned i = 0; i < CN_COUNT(bad); i++) {
        cn_chain_t body;

        cn_chain_init(&body);
        assert_int_equal(answer_to(t, &(ask_t){"CONNECT", NULL, NULL, bad[i], {NULL}}, &body), 400);
        cn_chain_clear(&body);
    }
    assert_false(t->client_closed);
}

static void test_the_refusal_names_what_is_not_served(void **state)
{
    world_t *t = *state;
    cn_chain_t body;
    char text[100] = {0};

    cn_chain_init(&body);
    dial(t);
    assert_int_equal(answer_to(t, &(ask_t){"CONNECT", NULL, NULL, "10.9.9.9:80", {NULL}}, &body),
                     503);
    cn_chain_peek(&body, text, sizeof(text) - 1);
    assert_string_equal(text, "no service at 10.9.9.9:80 here\n");
    cn_chain_clear(&body);
}

static void test_what_the_peer_says_of_the_client_is_kept(void **state)
{
    static const ask_t a = {"CONNECT",
                            NULL,
                            NULL,
                            "10.0.0.5:9080",
                            {"baggage", "k8s.namespace.name=a", "forwarded", "for=\"1.2.3.4:5\"",
                             "x-forwarded-for", "6.6.6.6", NULL}};
    static const ask_t b = {
        "CONNECT",
        NULL,
        NULL,
        "10.0.0.5:9080",
        {"baggage", "a=1", "baggage", "b=2", "x-forwarded-network", "net2", NULL}};
    world_t *t = *state;
    cn_exch_t *x, *y;

    dial(t);
    x = ask(t, &a, false);
    UNTIL(t, t->w.nserved == 1);
    y = ask(t, &b, false);
    UNTIL(t, t->w.nserved == 2);
    assert_true(cn_str_eq(t->w.served[0].identity, CN_STR(CURL)));
    assert_true(cn_str_eq(t->w.served[0].baggage, CN_STR("k8s.namespace.name=a")));
    assert_true(cn_str_eq(t->w.served[0].forwarded, CN_STR("for=\"1.2.3.4:5\"")));
    assert_int_equal(t->w.served[0].source.ip[0], 127); /* not what x-forwarded-for says */
    assert_false(t->w.served[0].foreign_network);
    assert_true(cn_str_eq(t->w.served[1].baggage, CN_STR("a=1,b=2")));
    assert_true(t->w.served[1].foreign_network);
    x->ops->close(x);
    y->ops->close(y);
}

static void test_an_end_with_the_connect_is_still_answered(void **state)
{
    world_t *t = *state;
    cn_exch_t *x;
    cn_msg_t m;

    dial(t);
    x = ask(t, &(ask_t){"CONNECT", NULL, NULL, "10.0.0.5:9080", {NULL}}, true);
    cn_msg_init(&m, t->pool);
    UNTIL(t, x->ops->recv_head(x, &m) == CN_OK);
    assert_int_equal(m.status, 200);
    UNTIL(t, t->w.far[0].ended);
    x->ops->close(x);
}

static void test_connections_beyond_the_limit_are_closed(void **state)
{
    world_t *t = *state;
    cn_stream_t *sock;

    configure(t, "hbone_max_connections 1;\n"
                 "service app:9080 { address 10.0.0.5:9080; service app bookinfo 9080; }\n");
    dial(t);
    sock = cn_sock_connect(t->w.loop, &t->at, 0, NULL);
    t->dialled = cn_tls_client(t->w.loop, sock, t->curl, CN_STR(APP), 0, &t->task);
    UNTIL(t, cn_stream_ready(t->dialled) == CN_ERR);
    assert_int_equal(cn_module_hbone.listeners[0]->active(t->hb), 1);
}

static void test_a_handshake_that_fails_is_forgotten(void **state)
{
    world_t *t = *state;
    cn_chain_t junk;

    t->dialled = cn_sock_connect(t->w.loop, &t->at, 0, &t->task);
    UNTIL(t, cn_module_hbone.listeners[0]->active(t->hb) == 1);
    cn_chain_init(&junk);
    cn_chain_puts(&junk, CN_STR("GET / HTTP/1.1\r\n\r\n"));
    assert_int_equal(cn_stream_write(t->dialled, &junk), CN_OK);
    cn_chain_clear(&junk);
    UNTIL(t, cn_module_hbone.listeners[0]->active(t->hb) == 0);
}

/* ---- settings ---- */

static void refused(world_t *t, const char *text, const char *reason)
{
    cn_bundle_t *bundle = cn_bundle_create(CN_STR("/"));
    cn_conf_load_t load = {.units = &t->units, .bundle = bundle, .file = CN_STR("/c.conf")};
    cn_gen_t *gen;
    cn_str_t why;

    cn_bundle_put(bundle, CN_STR("/c.conf"), cn_str_c(text));
    assert_int_equal(cn_gen_load(&load, t->pool, &gen, &why), CN_ERR);
    if (!strstr(why.p, reason))
        fail_msg("\"%s\" should say \"%s\"", why.p, reason);
    cn_bundle_destroy(bundle);
}

static void test_settings_that_make_no_sense_are_refused(void **state)
{
    refused(*state, "hbone_stream_window 1k;", "hbone_stream_window");
    refused(*state, "hbone_connection_window 100k;", "hbone_connection_window");
    refused(*state, "hbone_max_streams 0;", "from 1 to 100000");
    refused(*state, "hbone_ping_timeout 0;", "hbone_ping_timeout");
    refused(*state, "hbone_handshake_timeout 0;", "hbone_handshake_timeout");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(test_a_tunnel_goes_from_one_half_to_the_other),
        T(test_a_tunnel_of_bytes_names_its_service_and_client),
        T(test_a_tunnel_describes_the_waypoint_by_its_own_record),
        T(test_what_tunnels_say_can_be_turned_off),
        T(test_tunnels_share_a_connection),
        T(test_another_connection_takes_what_one_has_no_room_for),
        T(test_a_port_that_the_host_lacks_is_the_clients),
        T(test_an_ipv6_pod_stands_in_brackets),
        T(test_another_pod_at_the_address_is_not_used),
        T(test_a_pod_of_unknown_identity_is_accepted_from_the_mesh),
        T(test_a_pod_that_is_gone_refuses),
        T(test_what_is_not_served_is_refused_with_503),
        T(test_no_more_is_taken_than_admitted),
        T(test_without_an_identity_nothing_is_opened),
        T(test_drain_ends_connections_behind_their_tunnels),
        T(test_drain_ends_idle_connections_at_once),
        T(test_another_identity_moves_connections_behind_their_tunnels),
        T(test_sessions_to_a_host_that_left_end_and_let_it_go),
        T(test_an_idle_connection_to_a_pod_ends),
        T(test_a_doubled_tunnel_is_the_inner_peers),
        T(test_doubled_tunnels_share_the_way_to_the_gateway_only),
        T(test_gateway_and_pod_must_both_be_who_is_expected),
        T(test_a_gateway_that_knows_no_such_service_refuses),
        T(test_the_limit_of_connections_counts_inner_ones),
        T(test_drain_ends_both_connections_of_a_doubled_tunnel),
        T(test_a_worker_may_end_amid_doubled_tunnels),
        T(test_bytes_in_a_doubled_tunnel_are_refused),
        T(test_other_methods_are_not_found),
        T(test_a_malformed_authority_is_a_bad_request),
        T(test_the_refusal_names_what_is_not_served),
        T(test_what_the_peer_says_of_the_client_is_kept),
        T(test_an_end_with_the_connect_is_still_answered),
        T(test_connections_beyond_the_limit_are_closed),
        T(test_a_handshake_that_fails_is_forgotten),
        T(test_settings_that_make_no_sense_are_refused),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
