/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration language with the made-up units of the unit tests.  The
 * input is split at lines `@@ NAME` into files: the first is the main file,
 * `e` is what `endpoints e;` reads, `-g` is the extra text.  It is loaded, then
 * loaded again on top of itself, where every section has to be shared; then a
 * shortened form is loaded on top of that.  Nothing reads the disk.
 */
#include "../unit/fixture/conf_units.h"

#include "core/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Cuts the next file off the input. */
static bool next_file(cn_str_t *rest, cn_str_t *name, cn_str_t *text)
{
    size_t line;
    size_t end;

    if (!cn_str_starts(*rest, CN_STR("@@ ")))
        return false;
    line = cn_str_find(*rest, '\n');
    *name = cn_str_make(rest->p + 3, line - 3);
    *rest = cn_str_make(rest->p + line, rest->n - line);
    end = cn_str_find_str(*rest, CN_STR("\n@@ "));
    *text = cn_str_make(rest->p, end);
    if (end < rest->n)
        end++;
    *rest = cn_str_make(rest->p + end, rest->n - end);
    return true;
}

static cn_gen_t *load(cn_bundle_t *b, cn_str_t extra, const cn_gen_t *prev, bool main_only)
{
    cn_conf_load_t it = {.units = &cn_fixture_units,
                         .bundle = b,
                         .file = CN_STR("main"),
                         .extra = extra,
                         .prev = prev,
                         .main_only = main_only};
    cn_pool_t *pool = cn_pool_create(0);
    cn_str_t why = CN_STR_NULL;
    cn_gen_t *gen;

    if (cn_gen_load(&it, pool, &gen, &why) != CN_OK) {
        CN_BUG_ON(gen || why.n == 0 || cn_str_find(why, '\n') < why.n);
        gen = NULL;
    }
    cn_pool_destroy(pool);
    return gen;
}

static void expect_same(const cn_map_t *a, const cn_map_t *b)
{
    size_t iter = 0;
    const cn_map_slot_t *slot;

    CN_BUG_ON(a->used != b->used);
    while ((slot = cn_map_next(a, &iter)))
        CN_BUG_ON(cn_map_get(b, slot->key) != slot->value);
}

static void load_again(cn_bundle_t *b, cn_str_t extra, cn_str_t main, const cn_gen_t *gen)
{
    cn_gen_t *again = load(b, extra, gen, false);

    /* What was accepted once is accepted again, and shared whole. */
    CN_BUG_ON(!again || again->main != gen->main);
    expect_same(&gen->services, &again->services);
    expect_same(&gen->clusters, &again->clusters);
    expect_same(&gen->addresses, &again->addresses);
    expect_same(&gen->texts, &again->texts);
    cn_gen_unref(load(b, extra, NULL, true));
    cn_bundle_put(b, CN_STR("main"), cn_str_make(main.p, main.n / 2));
    cn_bundle_put(b, CN_STR("e"), CN_STR("changed"));
    cn_gen_unref(load(b, extra, again, false));
    cn_gen_unref(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cn_bundle_t *b = cn_bundle_create(CN_STR_NULL);
    cn_str_t rest = cn_str_make(size ? (const char *)data : "", size);
    size_t end = cn_str_find_str(rest, CN_STR("\n@@ "));
    cn_str_t main = cn_str_make(rest.p, end);
    cn_str_t extra = CN_STR_NULL;
    cn_str_t name;
    cn_str_t text;
    cn_gen_t *gen;

    cn_log_set_level(CN_LOG_EMERG);
    if (end < rest.n)
        end++;
    rest = cn_str_make(rest.p + end, rest.n - end);
    while (next_file(&rest, &name, &text)) {
        if (cn_str_eq(name, CN_STR("-g")))
            extra = text;
        else
            cn_bundle_put(b, name, text);
    }
    cn_bundle_put(b, CN_STR("main"), main);
    gen = load(b, extra, NULL, false);
    if (gen)
        load_again(b, extra, main, gen);
    cn_gen_unref(gen);
    cn_bundle_destroy(b);
    CN_BUG_ON(cn_fixture_live != 0);
    return 0;
}
