/* SPDX-License-Identifier: Apache-2.0
 *
 * The path that a request goes on with.  Pure, but for the pool.  What is
 * replaced is the normalised path, so nobody decides on one path and serves
 * another.
 */
#include "actions_int.h"

static cn_str_t concat(cn_pool_t *pool, cn_str_t a, cn_str_t b)
{
    return cn_pool_printf(pool, "%.*s%.*s", CN_STR_ARG(a), CN_STR_ARG(b));
}

cn_str_t cn_route_actions_prefix(cn_pool_t *pool, cn_str_t path, size_t matched, bool segments,
                                 cn_str_t prefix)
{
    cn_str_t rest = cn_str_make(path.p + matched, path.n - matched);

    if (segments && prefix.n && prefix.p[prefix.n - 1] == '/')
        prefix.n--;
    if (prefix.n + rest.n == 0)
        return CN_STR("/");
    return concat(pool, prefix, rest);
}

static cn_rc new_path(cn_pool_t *pool, const cn_route_actions_rewrite_t *r, const cn_facts_t *facts,
                      cn_str_t *path)
{
    cn_rc rc;

    *path = facts->req->path;
    if (r->path.n)
        *path = r->path;
    else if (r->has_prefix)
        *path = cn_route_actions_prefix(pool, *path, facts->matched, facts->matched_segments,
                                        r->prefix);
    else if (r->regex) {
        rc = cn_regex_replace(pool, r->regex, *path, r->subst, path);
        if (rc == CN_ERR)
            return CN_ERR;
    }
    /* a target that does not begin so is none that a host could serve */
    if (path->n == 0 || path->p[0] != '/')
        *path = concat(pool, CN_STR("/"), *path);
    return CN_OK;
}

cn_rc cn_route_actions_target(cn_pool_t *pool, const cn_route_actions_rewrite_t *r,
                              const cn_facts_t *facts, cn_str_t *target)
{
    const cn_msg_t *msg = facts->req;
    cn_str_t path;

    *target = msg->target;
    if (r->path.n == 0 && !r->has_prefix && !r->regex)
        return CN_OK;
    if (new_path(pool, r, facts, &path) != CN_OK)
        return CN_ERR;
    *target = path;
    if (msg->has_query)
        *target = cn_pool_printf(pool, "%.*s?%.*s", CN_STR_ARG(path), CN_STR_ARG(msg->query));
    return CN_OK;
}
