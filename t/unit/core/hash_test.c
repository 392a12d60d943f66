/* SPDX-License-Identifier: Apache-2.0
 * Claims about core/hash.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/hash.h"

/* Computed with an independent implementation (OpenSSL's SIPHASH, c-rounds 1,
 * d-rounds 3), key 00..0f, message 00 01 02 ... */
static void test_sip_agrees_with_the_reference(void **state)
{
    uint8_t key[16];
    char msg[15];
    (void)state;
    for (size_t i = 0; i < sizeof(key); i++)
        key[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof(msg); i++)
        msg[i] = (char)i;
    assert_true(cn_hash_sip_keyed(key, CN_STR_NULL) == 0xabac0158050fc4dcu);
    assert_true(cn_hash_sip_keyed(key, cn_str_make(msg, 8)) == 0x369095118d299a8eu);
    assert_true(cn_hash_sip_keyed(key, cn_str_make(msg, 15)) == 0xd320d86d2a519956u);
}

static void test_seed_changes_the_hash(void **state)
{
    (void)state;
    uint64_t before = cn_hash_sip(CN_STR("key"));
    cn_hash_seed();
    uint64_t after = cn_hash_sip(CN_STR("key"));
    assert_true(before != after);
    assert_true(after == cn_hash_sip(CN_STR("key")));
}

static void test_xxh_is_the_published_xxh64(void **state)
{
    (void)state;
    assert_true(cn_hash_xxh(CN_STR_NULL, 0) == 0xef46db3751d8e999u);
    assert_true(cn_hash_xxh(CN_STR("abc"), 0) == 0x44bc2cf5ad770999u);
    assert_true(cn_hash_xxh(CN_STR("abc"), 1) != cn_hash_xxh(CN_STR("abc"), 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sip_agrees_with_the_reference),
        cmocka_unit_test(test_seed_changes_the_hash),
        cmocka_unit_test(test_xxh_is_the_published_xxh64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
