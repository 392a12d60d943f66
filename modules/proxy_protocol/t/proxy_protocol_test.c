/* SPDX-License-Identifier: Apache-2.0
 *
 * The listener over loopback TCP, before a proxy that echoes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "event/listen.h"
#include "stub.h"

#define CURL "spiffe://cluster.local/ns/default/sa/curl"
#define V2_FIXED 16u

extern const cn_module_t cn_module_proxy_protocol;

static const char services[] =
    "service app:9080 { address 10.96.0.1:9080 [fd00::1]:9080; service app bookinfo 9080;"
    " host app.bookinfo.svc.cluster.local; }\n"
    "service other:9080 { address 10.96.0.2:9080; service other bookinfo 9080;"
    " host other.bookinfo.svc.cluster.local; }\n"
    "service any { address 10.0.0.6:*; service any bookinfo; }\n";

static const cn_conf_ops_t no_levels[CN_LV_MAX];

typedef struct {
    cn_worker_t w;
    pproxy_t *pp;
    cn_pool_t *pool;
    cn_conf_unit_t units_v[CN_UNIT_MODULES + 1];
    cn_units_t units;
    int fd;
    cn_addr_t at;
    cn_listener_t *listener;
    cn_stream_t *near;
    cn_task_t task;
    char got[1024];
    size_t ngot;
    bool ended;
} world_t;

static cn_rc load(world_t *t, const char *text, cn_str_t *why)
{
    cn_bundle_t *bundle = cn_bundle_create(CN_STR("/"));
    cn_conf_load_t conf = {.units = &t->units, .bundle = bundle, .file = CN_STR("/c.conf")};
    cn_gen_t *gen = NULL;
    cn_rc rc;

    cn_bundle_put(bundle, CN_STR("/c.conf"), cn_str_c(text));
    rc = cn_gen_load(&conf, t->pool, &gen, why);
    cn_bundle_destroy(bundle);
    if (rc != CN_OK)
        return rc;
    cn_gen_unref(t->w.gen);
    t->w.gen = gen;
    cn_module_proxy_protocol.reconfigured(&t->w, t->pp, gen->main->confs[CN_UNIT_MODULES]);
    return CN_OK;
}

/* Puts directives of ours before the services in force. */
static void configure(world_t *t, const char *directives)
{
    char text[1024];
    cn_str_t why;

    assert_true((size_t)snprintf(text, sizeof(text), "%s%s", directives, services) < sizeof(text));
    if (load(t, text, &why) != CN_OK)
        fail_msg("%.*s", CN_STR_ARG(why));
}

static void on_accept(void *ctx, int fd, const cn_addr_t *remote)
{
    world_t *t = ctx;

    cn_module_proxy_protocol.listeners[0]->accept(&t->w, t->pp, fd, remote);
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

/* The client: takes what comes. */
static void on_task(cn_task_t *task, uint32_t why CN_UNUSED)
{
    world_t *t = cn_container_of(task, world_t, task);
    cn_chain_t in = {0};
    cn_rc rc;

    if (!t->near)
        return;
    while ((rc = cn_stream_read(t->near, &in, 512)) == CN_OK)
        ;
    t->ngot += cn_chain_peek(&in, t->got + t->ngot, sizeof(t->got) - t->ngot);
    cn_chain_clear(&in);
    t->ended = t->ended || rc == CN_DONE || rc == CN_ERR;
}

static int setup(void **state)
{
    world_t *t = cn_xzalloc(sizeof(*t));
    void *wctx;

    cn_log_set_level(CN_LOG_ERROR);
    t->pool = cn_pool_create(0);
    t->w.loop = cn_loop_create();
    t->units_v[CN_UNIT_MAIN] = (cn_conf_unit_t){"main", NULL, no_levels};
    t->units_v[CN_UNIT_PROXY] = (cn_conf_unit_t){"proxy", NULL, no_levels};
    t->units_v[CN_UNIT_TUNNEL] = cn_tunnel_unit;
    t->units_v[CN_UNIT_UPSTREAM] = cn_upstream_unit;
    t->units_v[CN_UNIT_MODULES] = (cn_conf_unit_t){
        "proxy_protocol", cn_module_proxy_protocol.directives, cn_module_proxy_protocol.conf};
    t->units = (cn_units_t){.v = t->units_v, .n = CN_UNIT_MODULES + 1};
    assert_int_equal(cn_module_proxy_protocol.worker_init(&t->w, &wctx), CN_OK);
    t->pp = wctx;
    cn_task_init(&t->task, t->w.loop, on_task);
    configure(t, "");
    listen_here(t);
    *state = t;
    return 0;
}

static void hang_up(world_t *t)
{
    if (t->near)
        cn_stream_close(t->near, true);
    t->near = NULL;
}

static int teardown(void **state)
{
    world_t *t = *state;

    hang_up(t);
    for (unsigned i = 0; i < t->w.nserved; i++) {
        cn_talker_fini(&t->w.far[i], true);
        cn_section_unref(t->w.served[i].section);
        cn_pool_destroy(t->w.served[i].pool);
    }
    cn_listen_stop(t->listener);
    close(t->fd);
    cn_talker_settle(t->w.loop);
    cn_module_proxy_protocol.worker_fini(&t->w, t->pp);
    cn_gen_unref(t->w.gen);
    cn_task_fini(&t->task);
    cn_loop_destroy(t->w.loop);
    cn_pool_destroy(t->pool);
    free(t);
    return 0;
}

/* Until it is so, with a bound that only a failure reaches. */
#define UNTIL(t, condition)                                                                        \
    do {                                                                                           \
        bool done_ = false;                                                                        \
        for (int n_ = 0; n_ < 2000 && !(done_ = (condition)); n_++)                                \
            cn_loop_round((t)->w.loop, 5);                                                         \
        assert_true(done_);                                                                        \
    } while (0)

static void dial(world_t *t)
{
    hang_up(t);
    t->ngot = 0;
    t->ended = false;
    t->near = cn_sock_connect(t->w.loop, &t->at, 10000, &t->task);
}

static void say(world_t *t, cn_str_t bytes)
{
    cn_chain_t out = {0};

    cn_chain_puts(&out, bytes);
    for (int n = 0; n < 2000 && out.bytes; n++) {
        if (cn_stream_write(t->near, &out) == CN_ERR)
            break;
        cn_loop_round(t->w.loop, 0);
    }
    cn_chain_clear(&out);
}

static void call(world_t *t, cn_str_t bytes)
{
    dial(t);
    say(t, bytes);
}

static bool heard(const world_t *t, const char *text)
{
    return cn_str_eq(cn_str_make(t->got, t->ngot), cn_str_c(text));
}

/* A header of version 2 from 10.0.0.5:40000; NULL: no such TLV. */
typedef struct {
    char bytes[PPROXY_MAX];
    size_t n;
} header_t;

static void put(header_t *h, const void *p, size_t n)
{
    CN_BUG_ON(h->n + n > sizeof(h->bytes));
    memcpy(h->bytes + h->n, p, n);
    h->n += n;
}

static void put16(header_t *h, size_t v)
{
    put(h, (char[]){(char)(v >> 8), (char)v}, 2);
}

static void put_tlv(header_t *h, char type, const char *text)
{
    if (!text)
        return;
    put(h, &type, 1);
    put16(h, strlen(text));
    put(h, text, strlen(text));
}

static header_t header(const char *dest, const char *identity, const char *host)
{
    header_t h = {.n = 0};
    cn_addr_t to;
    size_t length;

    assert_int_equal(cn_inet_parse_hostport(cn_str_c(dest), false, &to), CN_OK);
    put(&h, "\r\n\r\n\0\r\nQUIT\n\x21", 13);
    put(&h, to.family == AF_INET ? "\x11" : "\x21", 1);
    put16(&h, 0);
    if (to.family == AF_INET)
        put(&h, "\x0a\0\0\x05", 4);
    else
        put(&h, "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05", 16);
    put(&h, to.ip, to.family == AF_INET ? 4 : 16);
    put16(&h, 40000);
    put16(&h, to.port);
    put_tlv(&h, (char)0xd1, host);
    put_tlv(&h, (char)0xd0, identity);
    length = h.n - V2_FIXED;
    h.bytes[14] = (char)(length >> 8);
    h.bytes[15] = (char)length;
    return h;
}

static void call_as(world_t *t, const char *dest, const char *identity, const char *host)
{
    header_t h = header(dest, identity, host);

    put(&h, "hello", 5);
    call(t, cn_str_make(h.bytes, h.n));
}

static void assert_refused(world_t *t)
{
    UNTIL(t, t->ended);
    assert_int_equal(t->ngot, 0);
    assert_int_equal(t->w.nserved, 0);
    assert_int_equal(cn_module_proxy_protocol.listeners[0]->active(t->pp), 0);
}

static void assert_served(world_t *t, const char *section)
{
    UNTIL(t, heard(t, "hello"));
    assert_int_equal(t->w.nserved, 1);
    assert_true(cn_str_eq(t->w.served[0].section->name, cn_str_c(section)));
    assert_int_equal(cn_module_proxy_protocol.listeners[0]->active(t->pp), 0);
}

static void assert_text(cn_str_t s, const char *text)
{
    assert_true(cn_str_eq(s, cn_str_c(text)));
}

static void assert_addr(const cn_addr_t *a, const char *text)
{
    char buf[CN_INET_TEXT];

    cn_inet_put(buf, a, true);
    assert_string_equal(buf, text);
}

/* ---- who is served ---- */

static void test_the_tunnel_is_as_the_header_says(void **state)
{
    world_t *t = *state;
    const cn_tunnel_t *served = &t->w.served[0];

    call_as(t, "10.96.0.1:9080", CURL, NULL);
    assert_served(t, "app:9080");
    assert_addr(&served->source, "10.0.0.5:40000");
    assert_addr(&served->dest, "10.96.0.1:9080");
    assert_text(served->authority, "10.96.0.1:9080");
    assert_text(served->identity, CURL);
    assert_text(served->local_identity, "");
    assert_text(served->baggage, "");
    assert_false(served->foreign_network);
}

static void test_ipv6_is_served_too(void **state)
{
    world_t *t = *state;

    call_as(t, "[fd00::1]:9080", CURL, NULL);
    assert_served(t, "app:9080");
    assert_addr(&t->w.served[0].source, "[fd00::5]:40000");
    assert_text(t->w.served[0].authority, "[fd00::1]:9080");
}

static void test_a_pods_address_is_served_on_any_port(void **state)
{
    world_t *t = *state;

    call_as(t, "10.0.0.6:7777", CURL, NULL);
    assert_served(t, "any");
    assert_int_equal(t->w.served[0].dest.port, 7777);
}

static void test_version_1_has_no_identity(void **state)
{
    world_t *t = *state;

    call(t, CN_STR("PROXY TCP4 10.0.0.5 10.96.0.1 40000 9080\r\nhello"));
    assert_served(t, "app:9080");
    assert_addr(&t->w.served[0].source, "10.0.0.5:40000");
    assert_text(t->w.served[0].identity, "");
}

static void test_version_2_without_an_identity_is_served(void **state)
{
    world_t *t = *state;

    call_as(t, "10.96.0.1:9080", NULL, NULL);
    assert_served(t, "app:9080");
    assert_text(t->w.served[0].identity, "");
}

static void test_a_host_goes_before_the_address(void **state)
{
    world_t *t = *state;

    call_as(t, "10.96.0.1:9080", CURL, "other.bookinfo.svc.cluster.local");
    assert_served(t, "other:9080");
    assert_text(t->w.served[0].authority, "other.bookinfo.svc.cluster.local:9080");
    assert_addr(&t->w.served[0].dest, "10.96.0.1:9080");
}

static void test_a_host_that_is_not_served_leaves_it_to_the_address(void **state)
{
    world_t *t = *state;

    call_as(t, "10.96.0.1:9080", CURL, "elsewhere.example.com");
    assert_served(t, "app:9080");
}

static void test_bytes_behind_the_header_are_the_tunnels(void **state)
{
    world_t *t = *state;

    call_as(t, "10.96.0.1:9080", CURL, NULL);
    assert_served(t, "app:9080");
    assert_int_equal(t->w.rx[0], 5);
    say(t, CN_STR(" and more"));
    UNTIL(t, heard(t, "hello and more"));
    assert_int_equal(t->w.far[0].s->rx, 14);
}

static void test_a_header_may_come_byte_by_byte(void **state)
{
    world_t *t = *state;
    header_t h = header("10.96.0.1:9080", CURL, "app.bookinfo.svc.cluster.local");

    dial(t);
    for (size_t i = 0; i < h.n; i++) {
        assert_int_equal(t->w.nserved, 0);
        say(t, cn_str_make(h.bytes + i, 1));
        cn_talker_settle(t->w.loop);
    }
    UNTIL(t, t->w.nserved == 1);
    assert_int_equal(t->w.rx[0], 0);
    say(t, CN_STR("hello"));
    assert_served(t, "app:9080");
}

static void test_a_half_closed_client_is_still_answered(void **state)
{
    world_t *t = *state;

    call_as(t, "10.96.0.1:9080", CURL, NULL);
    cn_stream_shutdown(t->near);
    assert_served(t, "app:9080");
    UNTIL(t, t->w.far[0].ended);
}

/* ---- who is not ---- */

static void test_what_is_not_served_is_closed_and_told(void **state)
{
    world_t *t = *state;

    call_as(t, "10.9.9.9:9080", CURL, NULL);
    assert_refused(t);
    assert_int_equal(t->w.nrefused, 1);
    assert_int_equal(t->w.refused_status, 0);
    assert_addr(&t->w.refused_from, "10.0.0.5:40000");
    assert_string_equal(t->w.refused_authority, "10.9.9.9:9080");
}

static void test_another_port_of_a_service_is_not_served(void **state)
{
    world_t *t = *state;

    call_as(t, "10.96.0.1:9081", CURL, "app.bookinfo.svc.cluster.local");
    assert_refused(t);
    assert_int_equal(t->w.nrefused, 1);
}

static void test_identities_that_do_not_hold_are_refused(void **state)
{
    static const char *const ids[] = {
        "spiffe://elsewhere.example/ns/default/sa/curl", "spiffe://cluster.local/ns/default",
        "spiffe://cluster.local/ns/default/sa/curl/",    "cluster.local/ns/default/sa/curl",
        "spiffe://CLUSTER.LOCAL/ns/default/sa/curl",     "x"};
    world_t *t = *state;

    for (size_t i = 0; i < CN_COUNT(ids); i++) {
        call_as(t, "10.96.0.1:9080", ids[i], NULL);
        assert_refused(t);
    }
}

static void test_headers_without_addresses_lead_nowhere(void **state)
{
    world_t *t = *state;

    call(t, CN_STR("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0hello"));
    assert_refused(t);
    call(t, CN_STR("\r\n\r\n\0\r\nQUIT\n\x21\x01\0\0hello"));
    assert_refused(t);
    call(t, CN_STR("PROXY UNKNOWN\r\nhello"));
    assert_refused(t);
}

static void test_other_protocols_are_closed_at_once(void **state)
{
    world_t *t = *state;

    call(t, CN_STR("G"));
    assert_refused(t);
    call(t, CN_STR("\x16\x03\x01"));
    assert_refused(t);
}

static void test_a_client_that_leaves_within_its_header_leaves_nothing(void **state)
{
    world_t *t = *state;

    call(t, CN_STR("PROXY TCP4 10.0.0.5"));
    UNTIL(t, t->pp->nwaiting == 1);
    cn_stream_shutdown(t->near);
    assert_refused(t);
    dial(t);
    UNTIL(t, t->pp->nwaiting == 1);
    hang_up(t);
    UNTIL(t, t->pp->nwaiting == 0);
}

static void test_a_header_that_does_not_come_is_not_waited_for(void **state)
{
    world_t *t = *state;

    configure(t, "proxy_protocol_timeout 20ms;\n");
    call(t, CN_STR("PROXY TCP4 10.0.0.5"));
    assert_refused(t);
}

static void test_strangers_are_closed_unread(void **state)
{
    world_t *t = *state;

    configure(t, "proxy_protocol_from 127.0.0.2 10.0.0.0/8;\nproxy_protocol_from ::1;\n");
    call_as(t, "10.96.0.1:9080", CURL, NULL);
    assert_refused(t);
    configure(t, "proxy_protocol_from 127.0.0.2 10.0.0.0/8;\nproxy_protocol_from 127.0.0.1;\n");
    call_as(t, "10.96.0.1:9080", CURL, NULL);
    assert_served(t, "app:9080");
}

static void test_no_more_wait_than_allowed(void **state)
{
    world_t *t = *state;
    cn_stream_t *first;

    configure(t, "proxy_protocol_max_waiting 1;\n");
    dial(t);
    UNTIL(t, t->pp->nwaiting == 1);
    first = t->near;
    first->owner = NULL;
    t->near = NULL;
    dial(t);
    UNTIL(t, t->ended);
    assert_int_equal(t->pp->nwaiting, 1);
    cn_stream_close(first, true);
    UNTIL(t, t->pp->nwaiting == 0);
    call_as(t, "10.96.0.1:9080", CURL, NULL);
    assert_served(t, "app:9080");
}

static void test_no_more_are_taken_than_admitted(void **state)
{
    world_t *t = *state;

    t->w.full = true;
    call_as(t, "10.96.0.1:9080", CURL, NULL);
    assert_refused(t);
}

static void test_a_waiting_connection_ends_with_the_worker(void **state)
{
    world_t *t = *state;

    call(t, CN_STR("PROXY "));
    UNTIL(t, t->pp->nwaiting == 1);
    assert_int_equal(cn_module_proxy_protocol.listeners[0]->active(t->pp), 1);
    /* teardown must not leak it */
}

static void test_settings_that_cannot_be_are_refused(void **state)
{
    static const char *const texts[] = {"proxy_protocol_from localhost;", "proxy_protocol_from;",
                                        "proxy_protocol_from 10.0.0.0/33;",
                                        "proxy_protocol_timeout 0;",
                                        "proxy_protocol_max_waiting 0;"};
    world_t *t = *state;
    cn_str_t why;

    for (size_t i = 0; i < CN_COUNT(texts); i++)
        assert_int_equal(load(t, texts[i], &why), CN_ERR);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_the_tunnel_is_as_the_header_says),
        T(test_ipv6_is_served_too),
        T(test_a_pods_address_is_served_on_any_port),
        T(test_version_1_has_no_identity),
        T(test_version_2_without_an_identity_is_served),
        T(test_a_host_goes_before_the_address),
        T(test_a_host_that_is_not_served_leaves_it_to_the_address),
        T(test_bytes_behind_the_header_are_the_tunnels),
        T(test_a_header_may_come_byte_by_byte),
        T(test_a_half_closed_client_is_still_answered),
        T(test_what_is_not_served_is_closed_and_told),
        T(test_another_port_of_a_service_is_not_served),
        T(test_identities_that_do_not_hold_are_refused),
        T(test_headers_without_addresses_lead_nowhere),
        T(test_other_protocols_are_closed_at_once),
        T(test_a_client_that_leaves_within_its_header_leaves_nothing),
        T(test_a_header_that_does_not_come_is_not_waited_for),
        T(test_strangers_are_closed_unread),
        T(test_no_more_wait_than_allowed),
        T(test_no_more_are_taken_than_admitted),
        T(test_a_waiting_connection_ends_with_the_worker),
        T(test_settings_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
