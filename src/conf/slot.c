/* SPDX-License-Identifier: Apache-2.0
 *
 * The setters that most directives need: one argument, turned into the field
 * at conf + off.  Words in messages are cut by the engine.
 */
#include "conf/conf_int.h"

static void *field(void *conf, const cn_directive_t *d)
{
    return (char *)conf + d->off;
}

cn_rc cn_set_flag(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                  unsigned argc CN_UNUSED)
{
    bool on = cn_str_eq(argv[1], CN_STR("on"));

    if (!on && !cn_str_eq(argv[1], CN_STR("off")))
        return cn_conf_error(cf, "\"%.*s\" is neither on nor off: expected \"%s on | off\"",
                             CN_STR_ARG(argv[1]), d->name);
    *(bool *)field(conf, d) = on;
    return CN_OK;
}

cn_rc cn_set_str(cn_conf_t *cf CN_UNUSED, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                 unsigned argc CN_UNUSED)
{
    *(cn_str_t *)field(conf, d) = argv[1];
    return CN_OK;
}

cn_rc cn_set_strs(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                  unsigned argc)
{
    cn_vec_t *list = field(conf, d);

    /* What is there now may be the parent's array. */
    if (cn_conf_first(cf))
        *list = (cn_vec_t){0};
    for (unsigned i = 1; i < argc; i++)
        *(cn_str_t *)cn_vec_push(cn_conf_pool(cf), list, sizeof(cn_str_t)) = argv[i];
    return CN_OK;
}

cn_rc cn_set_u32(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                 unsigned argc CN_UNUSED)
{
    static const cn_range_t any = {0, UINT32_MAX};
    const cn_range_t *range = d->arg ? d->arg : &any;
    uint64_t v;

    if (cn_str_u64(argv[1], range->max, &v) != CN_OK || v < range->min)
        return cn_conf_error(cf, "\"%.*s\" is not a number from %u to %u", CN_STR_ARG(argv[1]),
                             range->min, range->max);
    *(uint32_t *)field(conf, d) = (uint32_t)v;
    return CN_OK;
}

typedef struct {
    const char *suffix;
    uint64_t factor;
} unit_t;

/* Digits and a unit; the longest unit comes first. */
static cn_rc parse_unit(cn_str_t s, const unit_t *units, uint64_t *out)
{
    for (const unit_t *u = units; u->suffix; u++) {
        cn_str_t suffix = cn_str_c(u->suffix);
        uint64_t v;

        if (!cn_str_ends(s, suffix))
            continue;
        if (cn_str_u64(cn_str_make(s.p, s.n - suffix.n), UINT64_MAX / u->factor, &v) != CN_OK)
            return CN_ERR;
        *out = v * u->factor;
        return CN_OK;
    }
    return CN_ERR;
}

cn_rc cn_conf_parse_ms(cn_str_t s, uint64_t *ms)
{
    static const unit_t units[] = {{"ms", 1},      {"s", 1000},     {"m", 60000},
                                   {"h", 3600000}, {"d", 86400000}, {NULL, 0}};

    if (cn_str_eq(s, CN_STR("0"))) {
        *ms = 0;
        return CN_OK;
    }
    return parse_unit(s, units, ms);
}

cn_rc cn_conf_parse_size(cn_str_t s, uint64_t *bytes)
{
    static const unit_t units[] = {
        {"k", 1u << 10}, {"m", 1u << 20}, {"g", 1u << 30}, {"", 1}, {NULL, 0}};

    return parse_unit(s, units, bytes);
}

cn_rc cn_conf_parse_percent(cn_str_t s, uint32_t *parts)
{
    size_t dot = cn_str_find(s, '.');
    cn_str_t decimals = CN_STR_NULL;
    uint64_t whole, part = 0;

    if (dot < s.n)
        decimals = cn_str_make(s.p + dot + 1, s.n - dot - 1);
    if (cn_str_u64(cn_str_make(s.p, dot), 100, &whole) != CN_OK)
        return CN_ERR;
    if (dot < s.n && (decimals.n > 4 || cn_str_u64(decimals, 9999, &part) != CN_OK))
        return CN_ERR;
    for (size_t i = decimals.n; i < 4; i++)
        part *= 10;
    if (whole * 10000 + part > CN_PARTS)
        return CN_ERR;
    *parts = (uint32_t)(whole * 10000 + part);
    return CN_OK;
}

cn_rc cn_set_ms(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                unsigned argc CN_UNUSED)
{
    if (cn_conf_parse_ms(argv[1], field(conf, d)) != CN_OK)
        return cn_conf_error(cf, "\"%.*s\" is not a time: expected a number with ms, s, m, h or d",
                             CN_STR_ARG(argv[1]));
    return CN_OK;
}

cn_rc cn_set_size(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                  unsigned argc CN_UNUSED)
{
    if (cn_conf_parse_size(argv[1], field(conf, d)) != CN_OK)
        return cn_conf_error(cf,
                             "\"%.*s\" is not a size: expected bytes, or a number with k, m or g",
                             CN_STR_ARG(argv[1]));
    return CN_OK;
}

cn_rc cn_set_enum(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                  unsigned argc CN_UNUSED)
{
    cn_str_t words = CN_STR_NULL;

    for (const cn_enum_t *e = d->arg; e->word; e++) {
        if (cn_str_eq(argv[1], cn_str_c(e->word))) {
            *(int *)field(conf, d) = e->value;
            return CN_OK;
        }
    }
    for (const cn_enum_t *e = d->arg; e->word; e++)
        words =
            cn_pool_printf(cf->tmp, "%.*s%s%s", CN_STR_ARG(words), words.n ? " | " : "", e->word);
    return cn_conf_error(cf, "\"%.*s\" is not known here: expected \"%s %.*s\"",
                         CN_STR_ARG(argv[1]), d->name, CN_STR_ARG(words));
}

cn_rc cn_set_block(cn_conf_t *cf, const cn_directive_t *d, void *conf,
                   const cn_str_t *argv CN_UNUSED, unsigned argc CN_UNUSED)
{
    return cn_conf_block(cf, d->arg, field(conf, d));
}
