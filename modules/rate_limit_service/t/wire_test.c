/* SPDX-License-Identifier: Apache-2.0
 *
 * What is asked about a request and how it is written, and what is taken from
 * an answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "../rls_int.h"
#include "rls.pb-c.h"

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

/* ---- the question ---- */

typedef struct {
    cn_facts_t facts;
    cn_tunnel_t tunnel;
    cn_section_t section;
    cn_msg_t msg;
} made_t;

static void make(made_t *m, cn_pool_t *pool)
{
    *m = (made_t){.section.name = CN_STR("s.ns:80")};
    cn_msg_init(&m->msg, pool);
    m->msg.method = CN_STR("GET");
    m->msg.authority = CN_STR("shop.example:8080");
    m->msg.path = CN_STR("/a");
    m->tunnel.identity = CN_STR("spiffe://td/ns/n1/sa/s1");
    assert_int_equal(cn_inet_parse_ip(CN_STR("10.1.2.3"), &m->tunnel.source), CN_OK);
    m->facts = (cn_facts_t){.req = &m->msg, .tunnel = &m->tunnel, .section = &m->section};
}

static rls_t service_of(cn_pool_t *pool, const rls_entry_t *entries, uint32_t n)
{
    rls_t s = {.domain = CN_STR("d"), .hits = 1};
    rls_descriptor_t *d = cn_vec_push(pool, &s.descriptors, sizeof(*d));

    for (uint32_t i = 0; i < n; i++)
        *(rls_entry_t *)cn_vec_push(pool, &d->entries, sizeof(*entries)) = entries[i];
    return s;
}

/* "k=v, k2=v2", or "-" when the descriptor is not sent. */
static cn_str_t asked(cn_pool_t *pool, const made_t *m, const rls_entry_t *entries, uint32_t n)
{
    rls_t s = service_of(pool, entries, n);
    cn_vec_t out = {0};

    rls_fill(&s, &m->facts, pool, &out);
    return out.n ? rls_text(out.v, pool) : CN_STR("-");
}

static void assert_text(cn_str_t got, const char *expected)
{
    if (!cn_str_eq(got, cn_str_c(expected)))
        fail_msg("%.*s, not %s", CN_STR_ARG(got), expected);
}

static void test_a_missing_value_drops_the_descriptor_or_its_entry(void **state)
{
    made_t m;
    rls_entry_t e[] = {{.key = CN_STR("a"), .source = RLS_METHOD},
                       {.key = CN_STR("b"), .source = RLS_HEADER, .arg = CN_STR("x-b")}};

    make(&m, *state);
    assert_text(asked(*state, &m, e, 2), "-");
    e[1].optional = true;
    assert_text(asked(*state, &m, e, 2), "a=GET");
    assert_text(asked(*state, &m, e + 1, 1), "-"); /* nothing is left of it */
    cn_msg_add(&m.msg, &m.msg.headers, CN_STR("x-b"), CN_STR("1"));
    cn_msg_add(&m.msg, &m.msg.headers, CN_STR("x-b"), CN_STR("2"));
    assert_text(asked(*state, &m, e, 2), "a=GET, b=1,2");
}

static void test_values_of_all_sources(void **state)
{
    made_t m;
    const rls_entry_t e[] = {
        {.key = CN_STR("v"), .source = RLS_VALUE, .arg = CN_STR("x y")},
        {.key = CN_STR("n"), .source = RLS_NAMESPACE},
        {.key = CN_STR("s"), .source = RLS_SERVICE_ACCOUNT},
        {.key = CN_STR("h"), .source = RLS_HOST},
        {.key = CN_STR("i"), .source = RLS_REMOTE_IP, .v4 = 32, .v6 = 128},
        {.key = CN_STR("m"), .source = RLS_REMOTE_IP, .v4 = 12, .v6 = 64},
        {.key = CN_STR("0"), .source = RLS_REMOTE_IP, .v4 = 0, .v6 = 0},
        {.key = CN_STR("p"), .source = RLS_PATH},
    };

    make(&m, *state);
    m.msg.query = CN_STR("q=1");
    m.msg.has_query = true;
    assert_text(asked(*state, &m, e, CN_COUNT(e)),
                "v=x y, n=n1, s=s1, h=shop.example, i=10.1.2.3, m=10.0.0.0/12, 0=0.0.0.0/0, "
                "p=/a?q=1");
    m.tunnel.identity = CN_STR_NULL;
    assert_text(asked(*state, &m, e + 1, 1), "-");
}

static void test_credentials_are_not_shown(void **state)
{
    made_t m;
    const rls_entry_t e = {
        .key = CN_STR("a"), .source = RLS_HEADER, .arg = CN_STR("authorization")};

    make(&m, *state);
    cn_msg_add(&m.msg, &m.msg.headers, CN_STR("authorization"), CN_STR("Bearer x"));
    assert_text(asked(*state, &m, &e, 1), "a=(not shown)");
}

static Rls__Request *written(cn_pool_t *pool, const rls_t *s, const made_t *m)
{
    cn_chain_t out = {0};
    cn_vec_t filled = {0};
    uint8_t bytes[4096];
    size_t n;

    rls_fill(s, &m->facts, pool, &filled);
    rls_write(s, &filled, pool, &out);
    n = cn_chain_peek(&out, bytes, sizeof(bytes));
    cn_chain_clear(&out);
    assert_true(n > 5 && bytes[0] == 0 && bytes[3] == (n - 5) >> 8 && bytes[4] == ((n - 5) & 255));
    return rls__request__unpack(NULL, n - 5, bytes + 5);
}

static void test_the_question_has_every_field(void **state)
{
    const rls_entry_t e = {.key = CN_STR("k"), .source = RLS_VALUE, .arg = CN_STR("v")};
    rls_t s = service_of(*state, &e, 1);
    rls_descriptor_t *d = s.descriptors.v;
    Rls__Request *r;
    made_t m;

    make(&m, *state);
    s.hits = 7;
    d->hits = 3;
    d->limit = 100;
    d->unit = 2;
    r = written(*state, &s, &m);
    assert_string_equal(r->domain, "d");
    assert_int_equal(r->hits_addend, 7);
    assert_int_equal(r->n_descriptors, 1);
    assert_string_equal(r->descriptors[0]->entries[0]->key, "k");
    assert_string_equal(r->descriptors[0]->entries[0]->value, "v");
    assert_int_equal(r->descriptors[0]->hits_addend->value, 3);
    assert_int_equal(r->descriptors[0]->limit->requests_per_unit, 100);
    assert_int_equal(r->descriptors[0]->limit->unit, 2);
    rls__request__free_unpacked(r, NULL);
}

static void test_what_is_no_utf8_is_replaced(void **state)
{
    static const struct {
        cn_str_t value;
        const char *sent;
    } cases[] = {
        {CN_STR("a\xc3\xa4z"), "a\xc3\xa4z"},
        {CN_STR("\xe2\x82\xac\xf0\x9f\x98\x80"), "\xe2\x82\xac\xf0\x9f\x98\x80"},
        {CN_STR("a\xff"), "a!"},
        {CN_STR("\xc3"), "!"},
        {CN_STR("\xe2\x82"), "!!"},
        {CN_STR("\xc0\xaf"), "!!"},
        {CN_STR("\xed\xa0\x80"), "!!!"},
        {CN_STR("\xf4\x90\x80\x80"), "!!!!"},
        {CN_STR("a\0b"), "a!b"},
    };

    for (size_t i = 0; i < CN_COUNT(cases); i++) {
        const rls_entry_t e = {.key = CN_STR("k"), .source = RLS_VALUE, .arg = cases[i].value};
        rls_t s = service_of(*state, &e, 1);
        Rls__Request *r;
        made_t m;

        make(&m, *state);
        r = written(*state, &s, &m);
        assert_string_equal(r->descriptors[0]->entries[0]->value, cases[i].sent);
        rls__request__free_unpacked(r, NULL);
    }
}

/* ---- the answer ---- */

static cn_rc read_bytes(cn_pool_t *pool, const uint8_t *p, size_t n, rls_answer_t *a)
{
    cn_chain_t body = {0};
    const char *why;
    cn_rc rc;

    cn_chain_copy(&body, p, n);
    rc = rls_read(&body, pool, a, &why);
    cn_chain_clear(&body);
    return rc;
}

static cn_rc read_answer(cn_pool_t *pool, const Rls__Response *r, rls_answer_t *a)
{
    uint8_t bytes[8192];
    size_t n = rls__response__pack(r, bytes + 5);

    memcpy(bytes, (const uint8_t[]){0, 0, 0, (uint8_t)(n >> 8), (uint8_t)n}, 5);
    return read_bytes(pool, bytes, n + 5, a);
}

static ProtobufCBinaryData data(const char *z)
{
    return (ProtobufCBinaryData){strlen(z), (uint8_t *)(uintptr_t)z};
}

static void test_only_harmless_headers_are_taken(void **state)
{
    static const char *const fields[][2] = {
        {"X-Good", "yes"}, {"content-length", "3"}, {"Host", "x"}, {"Transfer-Encoding", "chunked"},
        {":path", "/x"},   {"x bad", "1"},          {"", "1"},     {"x-bad", "a\nb: c"},
        {"upgrade", "h2"}, {"set-cookie", "a=b"}};
    Rls__Header headers[CN_COUNT(fields)], *v[CN_COUNT(fields)];
    Rls__Response r;
    rls_answer_t a;

    rls__response__init(&r);
    r.overall_code = 1;
    r.response_headers_to_add = v;
    r.n_response_headers_to_add = CN_COUNT(fields);
    for (size_t i = 0; i < CN_COUNT(fields); i++) {
        rls__header__init(&headers[i]);
        headers[i].key = data(fields[i][0]);
        headers[i].value = data(fields[i][1]);
        v[i] = &headers[i];
    }
    headers[5].key = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "x\0y"};
    assert_int_equal(read_answer(*state, &r, &a), CN_OK);
    assert_int_equal(a.nto_response, 2);
    assert_text(a.to_response[0].name, "x-good");
    assert_text(a.to_response[1].name, "set-cookie");
    assert_int_equal(a.nto_request, 0);
}

static void test_the_tightest_limit_and_all_quotas_are_told(void **state)
{
    Rls__Status status[3], *v[3];
    Rls__Limit limit[3];
    Rls__Duration wait;
    Rls__Response r;
    rls_answer_t a;

    rls__response__init(&r);
    r.overall_code = 2;
    r.raw_body = data("slow");
    r.statuses = v;
    r.n_statuses = 3;
    rls__duration__init(&wait);
    wait.seconds = 30;
    for (unsigned i = 0; i < 3; i++) {
        rls__status__init(&status[i]);
        rls__limit__init(&limit[i]);
        limit[i].requests_per_unit = 10 * (i + 1);
        limit[i].unit = i + 1;
        status[i].current_limit = i == 2 ? NULL : &limit[i];
        status[i].limit_remaining = i ? 1 : 5;
        status[i].duration_until_reset = i ? &wait : NULL;
        v[i] = &status[i];
    }
    limit[0].name = (char *)(uintptr_t) "x\"y";
    limit[1].name = (char *)(uintptr_t) "users";
    assert_int_equal(read_answer(*state, &r, &a), CN_OK);
    assert_true(a.over_limit && a.limited);
    assert_int_equal(a.limit, 20);
    assert_int_equal(a.remaining, 1);
    assert_int_equal(a.reset_s, 30);
    assert_text(a.policy, ", 10;w=1, 20;w=60;name=\"users\"");
    assert_text(a.body, "slow");
}

static void test_what_is_no_answer_is_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
    } cases[] = {{"", 0},
                 {"\0\0\0\0", 4},
                 {"\0\0\0\0\0", 5},                   /* an empty message has no verdict */
                 {"\0\0\0\0\3\x08\1", 7},             /* shorter than it says */
                 {"\0\0\0\0\1\x08\1", 7},             /* longer */
                 {"\1\0\0\0\2\x08\1", 7},             /* compressed */
                 {"\0\0\0\0\2\x08\3", 7},             /* no such code */
                 {"\0\0\0\0\3\x12\x05\x08", 8},       /* cut off inside */
                 {"\0\0\0\0\2\x08\1\0\0\0\0\0", 12}}; /* two messages */
    rls_answer_t a;

    for (size_t i = 0; i < CN_COUNT(cases); i++)
        assert_int_equal(read_bytes(*state, (const uint8_t *)cases[i].bytes, cases[i].n, &a),
                         CN_ERR);
    assert_int_equal(read_bytes(*state, (const uint8_t *)"\0\0\0\0\2\x08\1", 7, &a), CN_OK);
}

static void test_more_headers_than_sensible_are_refused(void **state)
{
    uint8_t bytes[5 + 2 + 2 * (RLS_HEADERS_MAX + 1)] = {0, 0, 0, 0, sizeof(bytes) - 5, 0x08, 1};
    rls_answer_t a;

    for (size_t i = 7; i < sizeof(bytes); i += 2)
        bytes[i] = 0x1a; /* response_headers_to_add, empty */
    assert_int_equal(read_bytes(*state, bytes, sizeof(bytes), &a), CN_ERR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_missing_value_drops_the_descriptor_or_its_entry),
        cmocka_unit_test(test_values_of_all_sources),
        cmocka_unit_test(test_credentials_are_not_shown),
        cmocka_unit_test(test_the_question_has_every_field),
        cmocka_unit_test(test_what_is_no_utf8_is_replaced),
        cmocka_unit_test(test_only_harmless_headers_are_taken),
        cmocka_unit_test(test_the_tightest_limit_and_all_quotas_are_told),
        cmocka_unit_test(test_what_is_no_answer_is_refused),
        cmocka_unit_test(test_more_headers_than_sensible_are_refused),
    };

    return cmocka_run_group_tests_name("wire", tests, setup, teardown);
}
