/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "core/pool.h"
#include "tls/spiffe.h"

static void test_the_parts_of_an_identity_are_found(void **state)
{
    cn_spiffe_t id;
    (void)state;
    assert_int_equal(cn_spiffe_parse(CN_STR("spiffe://cluster.local/ns/book-info/sa/a.b_C"), &id),
                     CN_OK);
    assert_true(cn_str_eq(id.trust_domain, CN_STR("cluster.local")));
    assert_true(cn_str_eq(id.ns, CN_STR("book-info")));
    assert_true(cn_str_eq(id.sa, CN_STR("a.b_C")));
    assert_true(cn_str_eq(id.uri, CN_STR("spiffe://cluster.local/ns/book-info/sa/a.b_C")));
}

static void test_other_shapes_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "spiffe://",
        "spiffe://td",
        "spiffe://td/",
        "spiffe://td/ns/a/sa",
        "spiffe://td/ns/a/sa/",
        "spiffe://td/ns/a/sa/b/",
        "spiffe://td/ns/a/sa/b/c",
        "spiffe://td/ns//sa/b",
        "spiffe:///ns/a/sa/b",
        "spiffe://td/sa/a/ns/b",
        "spiffe://td/NS/a/sa/b",
        "SPIFFE://td/ns/a/sa/b",
        "https://td/ns/a/sa/b",
        "spiffe://td/ns/../sa/b",
        "spiffe://td/ns/./sa/b",
        "spiffe://td/ns/a b/sa/c",
        "spiffe://td/ns/a\"/sa/c",
        "spiffe://td/ns/a,b/sa/c",
        "spiffe://td:80/ns/a/sa/c",
        "spiffe://u@td/ns/a/sa/c",
        "spiffe://td/ns/a/sa/b?x",
        "spiffe://td/ns/a/sa/b#x",
        "spiffe://td/ns/%61/sa/b",
        "spiffe://td/ns/\xc3\xa9/sa/b",
        " spiffe://td/ns/a/sa/b",
    };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(bad); i++) {
        cn_spiffe_t id;
        if (cn_spiffe_parse(cn_str_c(bad[i]), &id) != CN_ERR)
            fail_msg("accepted: %s", bad[i]);
    }
}

static void test_a_nul_byte_is_no_end(void **state)
{
    cn_spiffe_t id;
    (void)state;
    assert_int_equal(cn_spiffe_parse(CN_STR("spiffe://td/ns/a/sa/b\0evil"), &id), CN_ERR);
}

static void test_length_is_bounded(void **state)
{
    char uri[3000];
    cn_spiffe_t id;
    (void)state;
    memset(uri, 'a', sizeof(uri));
    memcpy(uri, "spiffe://td/ns/a/sa/", 20);
    assert_int_equal(cn_spiffe_parse(cn_str_make(uri, 2048), &id), CN_OK);
    assert_int_equal(cn_spiffe_parse(cn_str_make(uri, 2049), &id), CN_ERR);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_parts_of_an_identity_are_found),
        cmocka_unit_test(test_other_shapes_are_refused),
        cmocka_unit_test(test_a_nul_byte_is_no_end),
        cmocka_unit_test(test_length_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
