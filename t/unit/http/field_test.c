/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "http/field.h"

static cn_header_t lines[] = {{CN_STR("x-a"), CN_STR("one"), CN_TOK_NONE},
                              {CN_STR("x-b"), CN_STR(""), CN_TOK_NONE},
                              {CN_STR("x-a"), CN_STR("two"), CN_TOK_NONE}};
static cn_msg_t msg = {.method = CN_STR("GET"),
                       .authority = CN_STR("h:80"),
                       .target = CN_STR("/p?q"),
                       .headers = {lines, CN_COUNT(lines), CN_COUNT(lines)}};

static void expect(const char *name, const char *want)
{
    char got[64] = "";
    cn_str_t value;
    uint32_t iter = 0;

    while (cn_field_next(&msg, cn_str_c(name), &iter, &value)) {
        strncat(got, value.p, value.n);
        strncat(got, ";", 2);
    }
    assert_string_equal(got, want);
    assert_false(cn_field_next(&msg, cn_str_c(name), &iter, &value));
}

static void test_each_line_is_seen_alone(void **state CN_UNUSED)
{
    expect("x-a", "one;two;");
    expect("x-b", ";");
    expect("x-c", "");
}

static void test_parts_of_the_request_line_have_names(void **state CN_UNUSED)
{
    expect(":authority", "h:80;");
    expect("host", "h:80;");
    expect(":method", "GET;");
    expect(":path", "/p?q;");
    expect(":scheme", "");
    expect(":other", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_line_is_seen_alone),
        cmocka_unit_test(test_parts_of_the_request_line_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
