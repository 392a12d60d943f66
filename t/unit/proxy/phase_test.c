/* SPDX-License-Identifier: Apache-2.0
 * Which hooks a section and its routes have, and decisions explained without
 * sending anything.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "expect.h"

#define CONF                                                                                       \
    "cluster web { endpoint 10.1.0.1:80 tunnel=hbone; }"                                           \
    "service web { address 10.0.0.1:80; protocol http; cluster web; "                              \
    "route with { } route without { without_two on; } }"                                           \
    "service bare { without_two on; address 10.0.0.2:80; protocol tcp; cluster web; }"

static int setup(void **state)
{
    cn_rig_setup(state);
    assert_int_equal(cn_rig_load(*state, CONF, NULL), CN_OK);
    return 0;
}

static cn_section_t *section(cn_rig_t *rig, const char *name)
{
    return cn_map_get(&rig->w.gen->services, cn_str_c(name));
}

static void test_every_phase_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(cn_phase_name(CN_PH_TUNNEL), "tunnel");
    assert_string_equal(cn_phase_name(CN_PH_RESP_HEAD), "resp_head");
    assert_string_equal(cn_phase_name(CN_PH_LOG), "log");
    for (unsigned ph = 0; ph < CN_PH_MAX; ph++)
        assert_non_null(cn_phase_name((cn_phase_t)ph));
}

static void test_only_modules_with_something_to_do_are_called(void **state)
{
    cn_rig_t *rig = *state;
    cn_section_t *web = section(rig, "web"), *bare = section(rig, "bare");
    const cn_hooks_t *own = cn_phase_hooks(web, rig->w.gen->main, NULL);

    assert_int_equal(own->phase[CN_PH_AUTHZ].n, 2);
    assert_int_equal(cn_phase_hooks(web, rig->w.gen->main, &web->routes[0])->phase[CN_PH_LOG].n, 2);
    assert_int_equal(cn_phase_hooks(web, rig->w.gen->main, &web->routes[1])->phase[CN_PH_LOG].n, 1);
    assert_int_equal(cn_phase_hooks(bare, rig->w.gen->main, NULL)->phase[CN_PH_TUNNEL].n, 1);
}

static void test_hooks_are_built_once_and_in_reverse_for_responses(void **state)
{
    cn_rig_t *rig = *state;
    cn_section_t *web = section(rig, "web");
    const cn_hooks_t *own = cn_phase_hooks(web, rig->w.gen->main, NULL);

    assert_ptr_equal(cn_phase_hooks(web, rig->w.gen->main, NULL), own);
    assert_int_equal(own->phase[CN_PH_AUTHZ].v[0].module, 0);
    assert_int_equal(own->phase[CN_PH_RESP_HEAD].v[0].module, 1);
    assert_int_equal(own->phase[CN_PH_RESP_HEAD].v[1].module, 0);
}

/* ---- explain ---- */

static cn_rc deny(cn_req_t *req)
{
    cn_req_explain(req, "line %d", 1);
    cn_req_reply(req, 403, CN_STR("no"), CN_STR("denied_by_test"), 0);
    return CN_DONE;
}

static cn_rc refuse(cn_req_t *req)
{
    cn_req_refuse(req, CN_STR("refused_by_test"));
    return CN_DONE;
}

static void explain(cn_rig_t *rig, cn_explain_t *ex, const char *service, const char *method)
{
    cn_msg_t *msg = cn_pool_zalloc(rig->pool, sizeof(*msg));

    *ex = (cn_explain_t){
        .tunnel = {.pool = rig->pool, .section = cn_section_ref(section(rig, service))}};
    cn_msg_init(msg, rig->pool);
    msg->method = cn_str_c(method);
    msg->target = msg->path = CN_STR("/x");
    msg->authority = CN_STR("web");
    ex->msg = *method ? msg : NULL;
    cn_req_explain_run(&rig->w, ex);
    cn_rig_settle(rig);
    assert_int_equal(rig->w.tunnels, 0);
    assert_string_equal(cn_rig_metric(rig, "cairn_tunnels_open"), "0");
    assert_int_equal(rig->nlog, 0);
    assert_int_equal(rig->nhost, 0);
}

static void expect_str(cn_str_t s, const char *text)
{
    assert_int_equal(s.n, strlen(text));
    assert_memory_equal(s.p, text, s.n);
}

static void test_explaining_says_where_a_request_would_go(void **state)
{
    cn_explain_t ex;

    explain(*state, &ex, "web", "GET");
    assert_int_equal(ex.status, 0);
    expect_str(ex.cluster, "web");
    expect_str(ex.host, "10.1.0.1:80 through its HBONE tunnel");
}

static void test_explaining_says_why_a_request_is_denied(void **state)
{
    cn_rig_t *rig = *state;
    cn_explain_t ex;

    rig->hook[0][CN_PH_AUTHZ] = deny;
    explain(rig, &ex, "web", "GET");
    assert_int_equal(ex.status, 403);
    expect_str(ex.details, "denied_by_test");
    assert_int_equal(ex.lines.n, 1);
    expect_str(((const cn_str_t *)ex.lines.v)[0], "line 1");
    assert_int_equal(rig->ctx_finis, 1);
}

static void test_explaining_a_connection_runs_its_own_phase(void **state)
{
    cn_rig_t *rig = *state;
    cn_explain_t ex;

    explain(rig, &ex, "bare", "");
    assert_int_equal(ex.status, 0);
    assert_int_equal(rig->calls[0][CN_PH_TUNNEL], 1);
    assert_int_equal(rig->calls[0][CN_PH_HEAD], 0);
    rig->hook[0][CN_PH_TUNNEL] = refuse;
    explain(rig, &ex, "bare", "");
    assert_int_equal(ex.status, 403);
    expect_str(ex.details, "refused_by_test");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, cn_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_phase_has_a_name),
        T(test_only_modules_with_something_to_do_are_called),
        T(test_hooks_are_built_once_and_in_reverse_for_responses),
        T(test_explaining_says_where_a_request_would_go),
        T(test_explaining_says_why_a_request_is_denied),
        T(test_explaining_a_connection_runs_its_own_phase),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
