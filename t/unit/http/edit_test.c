/* SPDX-License-Identifier: Apache-2.0
 *
 * Header edits: what may be edited, and the order in which it is done.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "http/edit.h"

static void test_what_describes_the_connection_is_not_edited(void **state CN_UNUSED)
{
    static const char *const bad[] = {"connection",
                                      "Transfer-Encoding",
                                      "CONTENT-LENGTH",
                                      "te",
                                      "upgrade",
                                      "keep-alive",
                                      ":path",
                                      ":authority",
                                      "",
                                      "a b",
                                      "a:b",
                                      "x\r",
                                      "a\x80",
                                      "x(y)"};
    static const char *const good[] = {"x-a",    "X_A",  "host",   "trailer",
                                       "server", "date", "cookie", "x-envoy-upstream-service-time"};

    for (size_t i = 0; i < CN_COUNT(bad); i++)
        if (!cn_edit_refused(cn_str_c(bad[i])))
            fail_msg("accepted: %s", bad[i]);
    for (size_t i = 0; i < CN_COUNT(good); i++)
        if (cn_edit_refused(cn_str_c(good[i])))
            fail_msg("refused: %s", good[i]);
    assert_non_null(cn_edit_refused(CN_STR("a\0b")));
}

static void test_values_have_no_control_bytes(void **state CN_UNUSED)
{
    assert_true(cn_edit_value_ok(CN_STR("")));
    assert_true(cn_edit_value_ok(CN_STR("a\tb \x80\xff")));
    assert_false(cn_edit_value_ok(CN_STR("a\r\nx: y")));
    assert_false(cn_edit_value_ok(CN_STR("a\0b")));
    assert_false(cn_edit_value_ok(CN_STR("\x7f")));
}

static void push_remove(cn_pool_t *pool, cn_edits_t *e, const char *name)
{
    *(cn_str_t *)cn_vec_push(pool, &e->removes, sizeof(cn_str_t)) = cn_str_c(name);
}

static void push_put(cn_pool_t *pool, cn_edits_t *e, const char *name, const char *value, bool add)
{
    *(cn_edit_put_t *)cn_vec_push(pool, &e->puts, sizeof(cn_edit_put_t)) =
        (cn_edit_put_t){cn_str_c(name), cn_str_c(value), add};
}

static void test_removes_come_first_then_the_rest_in_order(void **state CN_UNUSED)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_edits_t e = {0};
    char all[256] = "";
    cn_msg_t m;

    cn_msg_init(&m, pool);
    cn_msg_add(&m, &m.headers, CN_STR("a"), CN_STR("1"));
    cn_msg_add(&m, &m.headers, CN_STR("b"), CN_STR("1"));
    cn_msg_add(&m, &m.headers, CN_STR("a"), CN_STR("2"));
    cn_msg_add(&m, &m.headers, CN_STR("c"), CN_STR("1"));
    assert_true(cn_edits_none(&e));
    push_put(pool, &e, "b", "added", true);
    push_put(pool, &e, "a", "set", false);
    push_put(pool, &e, "c", "set", false);
    push_put(pool, &e, "c", "added", true);
    push_put(pool, &e, "d", "", false);
    push_remove(pool, &e, "b");
    push_remove(pool, &e, "nowhere");
    assert_false(cn_edits_none(&e));
    cn_edits_apply(&e, &m, &m.headers);
    for (uint32_t i = 0; i < m.headers.n; i++) {
        const cn_header_t *h = &m.headers.v[i];

        strncat(all, h->name.p, h->name.n);
        strncat(all, "=", 1);
        strncat(all, h->value.p, h->value.n);
        strncat(all, " ", 1);
    }
    assert_string_equal(all, "a=set c=set b=added c=added d= ");
    cn_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_describes_the_connection_is_not_edited),
        cmocka_unit_test(test_values_have_no_control_bytes),
        cmocka_unit_test(test_removes_come_first_then_the_rest_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
