/* SPDX-License-Identifier: Apache-2.0
 * Claims about core/list.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/list.h"

typedef struct {
    int id;
    cn_list_t link;
} item_t;

static int joined(cn_list_t *l)
{
    int v = 0;
    cn_list_each (node, l)
        v = v * 10 + cn_list_entry(node, item_t, link)->id;
    return v;
}

static void test_order_of_push_and_push_front(void **state)
{
    cn_list_t l;
    item_t a = {.id = 1}, b = {.id = 2}, c = {.id = 3};
    (void)state;
    cn_list_init(&l);
    assert_true(cn_list_empty(&l));
    cn_list_push(&l, &b.link);
    cn_list_push(&l, &c.link);
    cn_list_push_front(&l, &a.link);
    assert_int_equal(joined(&l), 123);
}

static void test_removing_twice_is_harmless(void **state)
{
    cn_list_t l;
    item_t a = {.id = 1}, b = {.id = 2};
    (void)state;
    cn_list_init(&l);
    cn_list_push(&l, &a.link);
    cn_list_push(&l, &b.link);
    cn_list_remove(&a.link);
    cn_list_remove(&a.link);
    assert_int_equal(joined(&l), 2);
    assert_true(cn_list_empty(&a.link));
}

static void test_current_node_may_be_removed_in_a_walk(void **state)
{
    cn_list_t l;
    item_t v[5];
    (void)state;
    cn_list_init(&l);
    for (int i = 0; i < 5; i++) {
        v[i].id = i + 1;
        cn_list_push(&l, &v[i].link);
    }
    cn_list_each (node, &l) {
        if (cn_list_entry(node, item_t, link)->id % 2 == 1)
            cn_list_remove(node);
    }
    assert_int_equal(joined(&l), 24);
}

static void test_splice_appends_and_empties_the_source(void **state)
{
    cn_list_t l, m;
    item_t a = {.id = 1}, b = {.id = 2}, c = {.id = 3};
    (void)state;
    cn_list_init(&l);
    cn_list_init(&m);
    cn_list_splice(&l, &m);
    assert_true(cn_list_empty(&l));
    cn_list_push(&l, &a.link);
    cn_list_push(&m, &b.link);
    cn_list_push(&m, &c.link);
    cn_list_splice(&l, &m);
    assert_int_equal(joined(&l), 123);
    assert_true(cn_list_empty(&m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_of_push_and_push_front),
        cmocka_unit_test(test_removing_twice_is_harmless),
        cmocka_unit_test(test_current_node_may_be_removed_in_a_walk),
        cmocka_unit_test(test_splice_appends_and_empties_the_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
