/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "http/uri.h"

static int setup(void **state)
{
    *state = cn_pool_create(0);
    return 0;
}

static int teardown(void **state)
{
    cn_pool_destroy(*state);
    return 0;
}

static void assert_str(cn_str_t s, const char *expected, const char *what)
{
    if (!cn_str_eq(s, cn_str_c(expected)))
        fail_msg("%s: \"%.*s\" is not \"%s\"", what, CN_STR_ARG(s), expected);
}

/* NULL: unchanged from the column before (the first: from the input). */
typedef struct {
    const char *in, *base, *merged, *decoded;
} path_t;

static const path_t paths[] = {
    {"/", NULL, NULL, NULL},
    {"/a/b/c", NULL, NULL, NULL},
    {"/a/../b", "/b", NULL, NULL},
    {"/a/%2e%2e/b", "/b", NULL, NULL},
    {"/a;x=1/../b", "/b", NULL, NULL},
    {"/../x", "/x", NULL, NULL},
    {"/.%2e/x", "/x", NULL, NULL},
    {"/%2E%2e/x", "/x", NULL, NULL},
    {"/..", "/", NULL, NULL},
    {"/a/..", "/", NULL, NULL},
    {"/a/../..", "/", NULL, NULL},
    {"/.", "/", NULL, NULL},
    {"/%2e%2e/", "/", NULL, NULL},
    {"/a/./b", "/a/b", NULL, NULL},
    {"/a/.", "/a/", NULL, NULL},
    {"/a/%2e", "/a/", NULL, NULL},
    {"/a/b/..", "/a/", NULL, NULL},
    {"/a/b/../", "/a/", NULL, NULL},
    {"//a", NULL, "/a", NULL},
    {"//a//b", NULL, "/a/b", NULL},
    {"/a//../b", "/a/b", NULL, NULL},
    {"/a%2fb", NULL, NULL, "/a/b"},
    {"/a%2Fb", NULL, NULL, "/a/b"},
    {"/a%5cb", NULL, NULL, "/a/b"},
    {"/a%2f../b", NULL, NULL, "/b"},
    {"/a%2f..%2fb", NULL, NULL, "/b"},
    {"/a\\b", "/a/b", NULL, NULL},
    {"/a\\..\\b", "/b", NULL, NULL},
    {"/%41", "/A", NULL, NULL},
    {"/%7e", "/~", NULL, NULL},
    {"/%2d%5f", "/-_", NULL, NULL},
    {"/a%2e", "/a.", NULL, NULL},
    {"/a%20b", NULL, NULL, NULL},
    {"/a%3fb", NULL, NULL, NULL},
    {"/a%23b", NULL, NULL, NULL},
    {"/caf%c3%a9", NULL, NULL, NULL},
    {"/%252e%252e/x", NULL, NULL, NULL},
    {"/a%zz", NULL, NULL, NULL},
    {"/a%", NULL, NULL, NULL},
    {"/a%4", NULL, NULL, NULL},
    {"/;p", NULL, NULL, NULL},
    {"/a/..;/b", "/b", NULL, NULL},
    {"/a/...", NULL, NULL, NULL},
    {"/a/..b", NULL, NULL, NULL},
    {"/a|b\"<>{}^`", "/a%7Cb%22%3C%3E%7B%7D%5E%60", NULL, NULL},
    {"/[]+:@,!$&'()*=~", NULL, NULL, NULL},
    /* beyond the measured table: what must not come out as something new */
    {"/a/..;x=1/b", "/b", NULL, NULL},
    {"/%%32e%%32e/x", NULL, NULL, NULL},
    {"/%2%65%2%65/x", NULL, NULL, NULL},
    {"/%g%34/%/%41", "/%g4/%/A", NULL, NULL},
    {"/..;%%5c%64e", "/", NULL, "/de"},
    {"/a%2f%2f..%2f%2eb", "/a%2f%2f..%2f.b", NULL, "/a/.b"},
    {"/.a/..a/a../.", "/.a/..a/a../", NULL, NULL},
};

static void check_path(cn_pool_t *pool, const char *in, cn_uri_normalize how, const char *expected)
{
    cn_str_t out, again;
    assert_int_equal(cn_uri_path_normalize(pool, cn_str_c(in), how, &out), CN_OK);
    assert_str(out, expected, in);
    assert_int_equal(cn_uri_path_normalize(pool, out, how, &again), CN_OK);
    assert_str(again, expected, in);
}

static void test_paths_come_out_as_envoy_forwards_them(void **state)
{
    for (size_t i = 0; i < CN_COUNT(paths); i++) {
        const path_t *p = &paths[i];
        const char *base = p->base ? p->base : p->in;
        const char *merged = p->merged ? p->merged : base;
        check_path(*state, p->in, CN_URI_NONE, p->in);
        check_path(*state, p->in, CN_URI_BASE, base);
        check_path(*state, p->in, CN_URI_MERGE_SLASHES, merged);
        check_path(*state, p->in, CN_URI_DECODE_AND_MERGE, p->decoded ? p->decoded : merged);
    }
}

static void test_an_unchanged_path_is_not_copied(void **state)
{
    cn_str_t in = CN_STR("/a/b;c=1/d.e"), out;
    assert_int_equal(cn_uri_path_normalize(*state, in, CN_URI_DECODE_AND_MERGE, &out), CN_OK);
    assert_ptr_equal(out.p, in.p);
}

static void test_nul_and_rootless_paths_are_refused(void **state)
{
    cn_str_t out;
    assert_int_equal(cn_uri_path_normalize(*state, CN_STR("/a%00b"), CN_URI_BASE, &out), CN_ERR);
    assert_int_equal(cn_uri_path_normalize(*state, CN_STR("/a%00"), CN_URI_DECODE_AND_MERGE, &out),
                     CN_ERR);
    assert_int_equal(cn_uri_path_normalize(*state, CN_STR(""), CN_URI_BASE, &out), CN_ERR);
    assert_int_equal(cn_uri_path_normalize(*state, CN_STR("*"), CN_URI_BASE, &out), CN_ERR);
    assert_int_equal(cn_uri_path_normalize(*state, CN_STR("\\a"), CN_URI_BASE, &out), CN_ERR);
}

static void test_a_target_is_split_and_its_fragment_cut(void **state CN_UNUSED)
{
    static const struct {
        const char *in, *path, *query;
    } v[] = {
        {"/a", "/a", NULL},      {"/a?", "/a", ""},     {"/a?b=c", "/a", "b=c"},
        {"/a#f", "/a", NULL},    {"/a?q#f", "/a", "q"}, {"/a#f?q", "/a", NULL},
        {"/a?b?c", "/a", "b?c"}, {"?", "", ""},         {"", "", NULL},
    };
    for (size_t i = 0; i < CN_COUNT(v); i++) {
        cn_str_t path, query;
        bool has;
        cn_uri_split(cn_str_c(v[i].in), &path, &query, &has);
        assert_str(path, v[i].path, v[i].in);
        assert_int_equal(has, v[i].query != NULL);
        assert_str(query, v[i].query ? v[i].query : "", v[i].in);
    }
}

static void test_query_parameters_are_not_decoded(void **state CN_UNUSED)
{
    static const struct {
        const char *query, *name, *value;
    } v[] = {
        {"k=v", "k", "v"},    {"a=1&k=v&k=w", "k", "v"}, {"k", "k", ""},
        {"k=", "k", ""},      {"k=a=b", "k", "a=b"},     {"k=%41+", "k", "%41+"},
        {"%6b=v", "k", NULL}, {"a=1;k=v", "k", NULL},    {"K=v", "k", NULL},
        {"", "k", NULL},      {"&&k=v", "k", "v"},       {"kk=v", "k", NULL},
    };
    for (size_t i = 0; i < CN_COUNT(v); i++) {
        cn_str_t value;
        bool found = cn_uri_query_get(cn_str_c(v[i].query), cn_str_c(v[i].name), &value);
        assert_int_equal(found, v[i].value != NULL);
        if (found)
            assert_str(value, v[i].value, v[i].query);
    }
}

static void test_authorities_are_checked_and_split(void **state CN_UNUSED)
{
    static const struct {
        const char *in, *host;
        unsigned port;
    } good[] = {
        {"a", "a", 0},
        {"a.b-c_d:80", "a.b-c_d", 80},
        {"10.0.0.1:65535", "10.0.0.1", 65535},
        {"[fd00::1]:9080", "fd00::1", 9080},
        {"[::1]", "::1", 0},
        {"a:", "a", 0},
    };
    static const char *const bad[] = {
        "",
        ":80",
        "a:80:90",
        "a:x",
        "a:65536",
        "u@h",
        "a b",
        "a/b",
        "a\\b",
        "[::1",
        "[]",
        "[a]",
        "[1.2.3.4]",
        "[::1]80",
        "a:-1",
        "a#b",
        "a?b",
        "\"a\"",
        "[fe80::1%25eth0]",
        "caf\xc3\xa9",
    };
    cn_str_t host;
    uint16_t port;
    for (size_t i = 0; i < CN_COUNT(good); i++) {
        assert_int_equal(cn_uri_authority(cn_str_c(good[i].in), &host, &port), CN_OK);
        assert_str(host, good[i].host, good[i].in);
        assert_int_equal(port, good[i].port);
    }
    for (size_t i = 0; i < CN_COUNT(bad); i++) {
        if (cn_uri_authority(cn_str_c(bad[i]), &host, &port) != CN_ERR)
            fail_msg("\"%s\" is accepted", bad[i]);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_paths_come_out_as_envoy_forwards_them),
        T(test_an_unchanged_path_is_not_copied),
        T(test_nul_and_rootless_paths_are_refused),
        cmocka_unit_test(test_a_target_is_split_and_its_fragment_cut),
        cmocka_unit_test(test_query_parameters_are_not_decoded),
        cmocka_unit_test(test_authorities_are_checked_and_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
