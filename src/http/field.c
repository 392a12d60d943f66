/* SPDX-License-Identifier: Apache-2.0
 *
 * Request fields by name.  Lines of one name are never joined: a list that a
 * client split over two lines must not slip past a rule, or meet one, that
 * names a single member (facts measured with Envoy).
 */
#include "http/field.h"

static const cn_str_t *pseudo(const cn_msg_t *m, cn_str_t name)
{
    if (cn_str_eq(name, CN_STR(":authority")) || cn_str_eq(name, CN_STR("host")))
        return &m->authority;
    if (cn_str_eq(name, CN_STR(":method")))
        return &m->method;
    if (cn_str_eq(name, CN_STR(":path")))
        return &m->target;
    if (cn_str_eq(name, CN_STR(":scheme")))
        return &m->scheme;
    return NULL;
}

bool cn_field_next(const cn_msg_t *request, cn_str_t name, uint32_t *iter, cn_str_t *value)
{
    if (name.n && (name.p[0] == ':' || name.n == 4)) {
        const cn_str_t *s = pseudo(request, name);

        if (s) {
            *value = *s;
            return (*iter)++ == 0 && s->n > 0;
        }
    }
    while (*iter < request->headers.n) {
        const cn_header_t *h = &request->headers.v[(*iter)++];

        if (cn_str_eq(h->name, name)) {
            *value = h->value;
            return true;
        }
    }
    return false;
}
