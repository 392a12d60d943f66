/* SPDX-License-Identifier: Apache-2.0
 *
 * Shares of faults with a fixed seed, and what a made-up request meets.  What
 * clients see is t/it/test_route_faults.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "../fault_int.h"
#include "stub.h"

extern const cn_module_t cn_module_fault;

static cn_rc run(cn_req_t *req, const cn_fault_conf_t *c)
{
    void *ctx = cn_xzalloc(cn_module_fault.ctx_size);
    cn_rc rc = cn_module_fault.phase[CN_PH_FAULT](req, c, ctx);

    free(ctx);
    return rc;
}

/* Three sigma of a binomial distribution. */
static void test_faults_have_their_share(void **state CN_UNUSED)
{
    static const struct {
        uint32_t parts;
        unsigned low, high; /* of a million */
    } v[] = {{1, 0, 4},
             {500, 433, 567},
             {333333, 331919, 334747},
             {999999, 999996, 1000000},
             {CN_PARTS, 1000000, 1000000}};
    static const cn_section_t section = {.name = CN_STR("s.ns:80")};

    for (size_t i = 0; i < CN_COUNT(v); i++) {
        cn_fault_rule_t rule = {.parts = v[i].parts, .status = 503};
        cn_fault_conf_t c = {.aborts = {&rule, 1, 1}};
        cn_msg_t msg = {.version = CN_HTTP_11};
        cn_req_t req = {.facts = {.req = &msg, .section = &section}};
        unsigned hits = 0;

        cn_rand_init(&req.worker.rand, 3);
        for (int k = 0; k < 1000000; k++)
            hits += run(&req, &c) == CN_DONE;
        if (hits < v[i].low || hits > v[i].high)
            fail_msg("row %zu: %u", i, hits);
    }
}

static void test_a_made_up_request_meets_only_what_is_certain(void **state CN_UNUSED)
{
    static const cn_section_t section = {.name = CN_STR("s.ns:80")};
    cn_fault_rule_t delay = {.parts = CN_PARTS, .delay_ms = 1000};
    cn_fault_rule_t rule = {.parts = CN_PARTS - 1, .status = 503};
    cn_fault_conf_t c = {.delays = {&delay, 1, 1}, .aborts = {&rule, 1, 1}};
    cn_msg_t msg = {.version = CN_HTTP_11};
    cn_req_t req = {.facts = {.req = &msg, .section = &section}, .dry = true};

    for (int k = 0; k < 1000; k++)
        assert_int_equal(run(&req, &c), CN_OK);
    assert_int_equal(req.flags, 0);
    rule.parts = CN_PARTS;
    assert_int_equal(run(&req, &c), CN_DONE);
    assert_int_equal(req.status, 503);
}

static void test_an_abort_with_a_grpc_status(void **state CN_UNUSED)
{
    static const cn_section_t section = {.name = CN_STR("s.ns:80")};
    cn_fault_rule_t delay = {.parts = CN_PARTS}, rule = {.parts = CN_PARTS, .grpc_status = 8};
    cn_fault_conf_t c = {.delays = {&delay, 1, 1}, .aborts = {&rule, 1, 1}};
    cn_msg_t msg = {.version = CN_HTTP_11};
    cn_req_t req = {.facts = {.req = &msg, .section = &section}};

    cn_rand_init(&req.worker.rand, 3);
    assert_int_equal(run(&req, &c), CN_DONE);
    assert_int_equal(req.status, 200);
    assert_int_equal(req.grpc_status, 8);
    assert_int_equal(req.flags, CN_FLAG_DI | CN_FLAG_FI);
    assert_true(cn_str_eq(req.body, CN_STR("fault filter abort")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults_have_their_share),
        cmocka_unit_test(test_a_made_up_request_meets_only_what_is_certain),
        cmocka_unit_test(test_an_abort_with_a_grpc_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
