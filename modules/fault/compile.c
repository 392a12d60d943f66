/* SPDX-License-Identifier: Apache-2.0
 *
 * The directive of the fault module.
 */
#include "fault_int.h"

static cn_rc set_abort(cn_conf_t *cf, cn_str_t arg, cn_fault_rule_t *r)
{
    cn_str_t key, value;
    uint64_t n;

    r->grpc_status = -1;
    if (cn_conf_keyval(arg, &key, &value)) {
        if (!cn_str_eq(key, CN_STR("grpc")) || cn_str_u64(value, 16, &n) != CN_OK)
            return cn_conf_error(cf, "\"%.*s\": expected a status or grpc=N, 0 to 16",
                                 CN_STR_ARG(arg));
        r->grpc_status = (int32_t)n;
        return CN_OK;
    }
    if (cn_str_u64(arg, 599, &n) != CN_OK || n < 200)
        return cn_conf_error(cf, "\"%.*s\": expected a status from 200 to 599, or grpc=N",
                             CN_STR_ARG(arg));
    r->status = (uint32_t)n;
    return CN_OK;
}

static cn_rc set_delay(cn_conf_t *cf, cn_str_t arg, cn_fault_rule_t *r)
{
    if (cn_conf_parse_ms(arg, &r->delay_ms) != CN_OK)
        return cn_conf_error(cf, "\"%.*s\" is not a time: expected a number with ms, s, m, h or d",
                             CN_STR_ARG(arg));
    return CN_OK;
}

static cn_rc set_percent(cn_conf_t *cf, cn_str_t arg, cn_fault_rule_t *r)
{
    cn_str_t key, value;

    if (cn_conf_keyval(arg, &key, &value) && cn_str_eq(key, CN_STR("percent")) &&
        cn_conf_parse_percent(value, &r->parts) == CN_OK)
        return CN_OK;
    return cn_conf_error(cf, "\"%.*s\": expected percent=P, 0 to 100 with up to four decimals",
                         CN_STR_ARG(arg));
}

static cn_rc add_header(cn_conf_t *cf, cn_fault_rule_t *r, const cn_str_t *argv, unsigned argc)
{
    cn_fault_header_t *h;

    if (!cn_str_eq(argv[0], CN_STR("header")) || argc < 3 || argv[1].n == 0)
        return cn_conf_error(cf, "\"%.*s\": expected header NAME VALUE", CN_STR_ARG(argv[0]));
    h = cn_vec_push(cn_conf_pool(cf), &r->headers, sizeof(*h));
    *h = (cn_fault_header_t){cn_pool_lower(cn_conf_pool(cf), argv[1]), argv[2]};
    return CN_OK;
}

static cn_rc set_fault(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                       unsigned argc)
{
    cn_fault_conf_t *c = conf;
    cn_fault_rule_t r = {0};
    bool delay = cn_str_eq(argv[1], CN_STR("delay"));
    cn_rc rc;

    if (cn_conf_first(cf))
        *c = (cn_fault_conf_t){0};
    if (argc == 2 && cn_str_eq(argv[1], CN_STR("off")))
        return CN_OK;
    if (argc < 4 || (!delay && !cn_str_eq(argv[1], CN_STR("abort"))))
        return cn_conf_error(cf, "expected \"%s\"", d->syntax);
    rc = delay ? set_delay(cf, argv[2], &r) : set_abort(cf, argv[2], &r);
    if (rc == CN_OK)
        rc = set_percent(cf, argv[3], &r);
    for (unsigned i = 4; i < argc && rc == CN_OK; i += 3)
        rc = add_header(cf, &r, argv + i, argc - i);
    if (rc == CN_OK && r.parts)
        *(cn_fault_rule_t *)cn_vec_push(cn_conf_pool(cf), delay ? &c->delays : &c->aborts,
                                        sizeof(r)) = r;
    return rc;
}

const cn_directive_t cn_fault_directives[] = {
    {.name = "fault",
     .where = CN_AT_SERVICE | CN_AT_ROUTE | CN_D_REPEAT,
     .args = CN_ARGS(1, 60),
     .set = set_fault,
     .syntax = "fault delay TIME percent=P [header NAME VALUE]..., or "
               "fault abort STATUS | grpc=N percent=P [header NAME VALUE]..., or fault off",
     .help = "Lets a share of requests wait, or answers them with a status, to see how clients "
             "cope. P has up to four decimals. With headers only requests that have all of them "
             "are meant; of several delays, and of several aborts, the first one whose headers are "
             "there counts. The delay comes first. A route's own lines take the place of its "
             "service's; off: none."},
    {.name = NULL}};
