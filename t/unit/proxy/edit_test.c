/* SPDX-License-Identifier: Apache-2.0
 * Rewriting where a request goes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../fixture/owner.h"
#include "expect.h"

#define CONF                                                                                       \
    "cluster web { endpoint 10.1.0.1:80 tunnel=hbone; }"                                           \
    "service web { address 10.0.0.1:80; protocol http; cluster web; }"

#define REWRITTEN CN_STR("/new?q=1")

static int setup(void **state)
{
    cn_rig_setup(state);
    assert_int_equal(cn_rig_load(*state, CONF, NULL), CN_OK);
    return 0;
}

static cn_rc rewrite_both(cn_req_t *req)
{
    cn_req_set_authority(req, CN_STR("between"));
    cn_req_set_authority(req, CN_STR("new.host:8080"));
    cn_req_set_target(req, CN_STR("/between"));
    cn_req_set_target(req, REWRITTEN);
    assert_true(cn_str_eq(cn_req_facts(req)->req->path, CN_STR("/new")));
    assert_true(cn_str_eq(cn_req_facts(req)->req->query, CN_STR("q=1")));
    return CN_OK;
}

static cn_rc see_originals(cn_req_t *req)
{
    assert_true(cn_str_eq(cn_req_facts(req)->original_path, CN_STR("/old?a=b")));
    assert_true(cn_str_eq(cn_req_facts(req)->original_host, CN_STR("old")));
    return CN_OK;
}

static const char *forwarded(cn_rig_t *rig, const char *head)
{
    cn_stream_t *c = cn_rig_open(rig, "10.0.0.1:80", NULL);
    const char *got;

    cn_rig_send(rig, c, head);
    got = cn_rig_recv(rig, rig->host[0]);
    cn_stream_close(c, true);
    cn_rig_settle(rig);
    return got;
}

static void test_a_rewrite_is_forwarded_with_what_was_there(void **state)
{
    cn_rig_t *rig = *state;
    const char *got;

    rig->hook[0][CN_PH_POLICY] = rewrite_both;
    rig->hook[0][CN_PH_LOG] = see_originals;
    got = forwarded(rig, "GET /old?a=b HTTP/1.1\r\nhost: old\r\nx-a: b\r\n\r\n");
    assert_starts(got, "GET /new?q=1 HTTP/1.1\r\nhost: new.host:8080\r\nx-a: b\r\n");
    assert_has(got, "\r\nx-envoy-original-host: old\r\nx-envoy-original-path: /old?a=b\r\n");
    assert_int_equal(rig->calls[0][CN_PH_LOG], 1);
}

static void test_a_client_cannot_say_what_the_original_was(void **state)
{
    cn_rig_t *rig = *state;
    const char *got;

    rig->hook[0][CN_PH_POLICY] = rewrite_both;
    got = forwarded(rig, "GET /old?a=b HTTP/1.1\r\nhost: old\r\nx-envoy-original-path: /lie\r\n"
                         "x-envoy-original-path: /lie2\r\nx-envoy-original-host: lie\r\n\r\n");
    assert_lacks(got, "lie");
    assert_has(got, "\r\nx-envoy-original-path: /old?a=b\r\nx-envoy-original-host: old\r\n");
}

static void test_without_a_rewrite_nothing_is_added(void **state)
{
    assert_lacks(forwarded(*state, "GET /old HTTP/1.1\r\nhost: old\r\n\r\n"), "x-envoy-original");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, cn_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_rewrite_is_forwarded_with_what_was_there),
        T(test_a_client_cannot_say_what_the_original_was),
        T(test_without_a_rewrite_nothing_is_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
