/* SPDX-License-Identifier: Apache-2.0
 *
 * Matches of a VirtualService's http rules.  What a waypoint cannot know
 * (labels of the client) and what cannot hold drops its match only.
 */
#include "kube/match.h"
#include "kube/vs_http.h"

#define CLAIMS "@request.auth.claims"

#define pool_of(x) ((x)->r.w->pool)

static const char *const kinds[] = {"exact", "prefix", "regex"};

static const cn_node_t *kind_of(const cn_node_t *node, size_t *kind)
{
    for (*kind = 0; *kind < CN_COUNT(kinds); ++*kind)
        if (cn_node_get(node, kinds[*kind]))
            return cn_node_get(node, kinds[*kind]);
    return NULL;
}

bool cn_vs_match_text(cn_action_t *x, const cn_node_t *node, const char *what, cn_match_kind prefix,
                      cn_value_match_t *m)
{
    size_t kind;
    const cn_node_t *v = kind_of(node, &kind);
    const cn_match_kind as[] = {CN_MATCH_EXACT, prefix, CN_MATCH_REGEX};

    m->kind = CN_MATCH_PRESENT;
    if (!v && node->kind == CN_NODE_MAP && node->n == 0)
        return true;
    if (!v || v->kind >= CN_NODE_LIST) {
        cn_action_error(x, node,
                        "%s: %s: expected one of exact, prefix and regex with a text; this "
                        "match never holds",
                        x->where, what);
        return false;
    }
    if (kind == 2 && cn_str_eq(v->text, CN_STR("*"))) /* what people write for "is there" */
        return true;
    m->kind = as[kind];
    m->value = v->text;
    if (kind == 2)
        return cn_match_regex_ok(x, v, what, m->value);
    if (cn_value_is_plain(m->value))
        return true;
    cn_action_error(x, v, "%s: %s: holds what cannot occur, so this match never holds", x->where,
                    what);
    return false;
}

/* ---- a delegate's match beside its root's ---- */

/* Whether the inner test can only narrow the outer one, as Istio asks for. */
static bool refines(const cn_node_t *outer, const cn_node_t *inner)
{
    size_t ko, ki;
    const cn_node_t *o = kind_of(outer, &ko), *i = kind_of(inner, &ki);

    if (!outer || !inner)
        return true;
    return o && i && ko == 1 && ki < 2 && cn_str_starts(i->text, o->text);
}

static bool refines_map(const cn_node_t *outer, const cn_node_t *inner)
{
    for (uint32_t i = 0; outer && outer->kind == CN_NODE_MAP && i < outer->n; i++)
        for (uint32_t k = 0; inner && inner->kind == CN_NODE_MAP && k < inner->n; k++)
            if (cn_str_eq(outer->items[i].key, inner->items[k].key) &&
                !refines(outer->items[i].value, inner->items[k].value))
                return false;
    return true;
}

static bool is_refinement(const cn_node_t *root, const cn_node_t *leaf)
{
    static const char *const texts[] = {"uri", "scheme", "method", "authority"};
    static const char *const maps[] = {"headers", "withoutHeaders", "queryParams"};
    static const char *const same[] = {"port", "sourceNamespace", "ignoreUriCase"};

    for (size_t i = 0; i < CN_COUNT(texts); i++)
        if (!refines(cn_node_get(root, texts[i]), cn_node_get(leaf, texts[i])))
            return false;
    for (size_t i = 0; i < CN_COUNT(maps); i++)
        if (!refines_map(cn_node_get(root, maps[i]), cn_node_get(leaf, maps[i])))
            return false;
    for (size_t i = 0; i < CN_COUNT(same); i++)
        if (cn_node_get(root, same[i]) && cn_node_get(leaf, same[i]) &&
            !cn_str_eq(cn_node_str(root, same[i]), cn_node_str(leaf, same[i])))
            return false;
    return true;
}

/* ---- one match ---- */

typedef struct {
    const cn_node_t *leaf, *root; /* root may be NULL */
} pair_t;

static const cn_node_t *get(const pair_t *p, const char *key)
{
    const cn_node_t *v = cn_node_get(p->leaf, key);

    return v ? v : cn_node_get(p->root, key);
}

static bool read_field(cn_action_t *x, const pair_t *p, const char *key, cn_value_match_t *m)
{
    const cn_node_t *node = get(p, key);

    *m = (cn_value_match_t){0};
    return !node || cn_vs_match_text(x, node, key, CN_MATCH_TEXT_PREFIX, m);
}

static bool read_uri(cn_action_t *x, const pair_t *p, cn_http_match_t *m)
{
    if (!read_field(x, p, "uri", &m->path))
        return false;
    if (m->path.value.n == 0) {
        m->path = cn_match_all().path;
        m->path.kind = CN_MATCH_TEXT_PREFIX;
    }
    m->ignore_case = cn_value_read_bool(&x->r, p->leaf, "ignoreUriCase", x->where, false) ||
                     cn_value_read_bool(&x->r, p->root, "ignoreUriCase", x->where, false);
    if (m->path.kind == CN_MATCH_REGEX)
        m->ignore_case = false; /* as in Istio */
    if (m->path.kind == CN_MATCH_REGEX || m->path.value.p[0] == '/' ||
        cn_str_eq(m->path.value, CN_STR("*")))
        return true;
    cn_action_warn(x, get(p, "uri"),
                   "%s: uri \"%.*s\" does not begin with \"/\", so this match never holds",
                   x->where, CN_STR_ARG(m->path.value));
    return false;
}

/* "@request.auth.claims.a.b" or "@request.auth.claims[a][b]" -> "a.b"; empty: neither. */
static cn_str_t claim_path(cn_pool_t *pool, cn_str_t name)
{
    cn_str_t rest = cn_str_make(name.p + sizeof(CLAIMS) - 1, name.n - (sizeof(CLAIMS) - 1)),
             path = CN_STR_NULL;

    if (rest.n > 1 && rest.p[0] == '.')
        return cn_str_make(rest.p + 1, rest.n - 1);
    while (rest.n > 2 && rest.p[0] == '[') {
        size_t end = cn_str_find(rest, ']');
        cn_str_t part = cn_str_make(rest.p + 1, end - 1);

        if (end == rest.n || cn_str_find(part, '.') < part.n)
            return CN_STR_NULL;
        path = cn_pool_printf(pool, "%.*s%s%.*s", CN_STR_ARG(path), path.n ? "." : "",
                              CN_STR_ARG(part));
        rest = cn_str_make(rest.p + end + 1, rest.n - end - 1);
    }
    return rest.n ? CN_STR_NULL : path;
}

static bool put_claim(cn_action_t *x, const cn_node_item_t *it, bool negated, cn_http_match_t *m,
                      cn_value_match_t v)
{
    v.name = claim_path(pool_of(x), it->key);
    if (v.name.n && cn_value_is_plain(v.name) && !negated) {
        cn_match_put(pool_of(x), &m->claims, v);
        return true;
    }
    cn_action_error(x, it->value, "%s: \"%.*s\" %s, so this match never holds", x->where,
                    CN_STR_ARG(it->key),
                    negated ? "cannot be asked for in withoutHeaders" : "names no claim");
    return false;
}

static bool read_entry(cn_action_t *x, const cn_node_item_t *it, const char *key, cn_vec_t *list,
                       cn_http_match_t *m)
{
    bool header = strcmp(key, "queryParams") != 0;
    cn_value_match_t v = {.name = it->key};

    if (it->value->kind == CN_NODE_NULL)
        v.kind = CN_MATCH_PRESENT;
    else if (!cn_vs_match_text(x, it->value, key, CN_MATCH_TEXT_PREFIX, &v))
        return false;
    if (header && cn_str_starts(it->key, CN_STR(CLAIMS)))
        return put_claim(x, it, list == &m->not_headers, m, v);
    if (header ? !cn_value_is_token(v.name) : v.name.n == 0 || !cn_value_is_plain(v.name)) {
        cn_action_error(x, it->value,
                        "%s: %s: \"%.*s\" is no name of one, so this match never holds", x->where,
                        key, CN_STR_ARG(v.name));
        return false;
    }
    if (header)
        v.name = cn_pool_lower(pool_of(x), v.name);
    cn_match_put(pool_of(x), list, v);
    return true;
}

/* Of a map: the root's entries first, the leaf's replace them. */
static bool read_map(cn_action_t *x, const pair_t *p, const char *key, cn_vec_t *list,
                     cn_http_match_t *m)
{
    const cn_node_t *const maps[] = {cn_node_get(p->root, key), cn_node_get(p->leaf, key)};
    bool ok = true;

    for (int i = 0; i < 2; i++)
        for (uint32_t k = 0; maps[i] && maps[i]->kind == CN_NODE_MAP && k < maps[i]->n; k++)
            ok = read_entry(x, &maps[i]->items[k], key, list, m) && ok;
    return ok;
}

static bool is_for_mesh(cn_action_t *x, const cn_node_t *match)
{
    cn_vec_t names = {0};
    const cn_str_t *v;

    cn_read_texts(&x->r, match, "gateways", &names);
    v = names.v;
    for (uint32_t i = 0; i < names.n; i++)
        if (cn_str_eq(v[i], CN_STR("mesh")))
            return true;
    return names.n == 0;
}

/* What is asked about the client. */
static bool read_source(cn_action_t *x, const pair_t *p, cn_http_match_t *m)
{
    const cn_node_t *labels = get(p, "sourceLabels");

    if (labels && labels->n) {
        cn_action_warn(x, labels,
                       "%s: sourceLabels: a waypoint does not know the client's labels, so this "
                       "match never holds",
                       x->where);
        return false;
    }
    m->client_namespace = cn_read_text(&x->r, p->leaf, "sourceNamespace");
    if (m->client_namespace.n == 0)
        m->client_namespace = cn_read_text(&x->r, p->root, "sourceNamespace");
    if (m->client_namespace.n == 0 || cn_store_is_dns_label(m->client_namespace))
        return true;
    cn_action_error(x, get(p, "sourceNamespace"),
                    "%s: sourceNamespace \"%.*s\" is no namespace, so this match never holds",
                    x->where, CN_STR_ARG(m->client_namespace));
    return false;
}

static bool read_port(cn_action_t *x, const pair_t *p, cn_http_match_t *m)
{
    int64_t port = 0;

    if (!get(p, "port"))
        return true;
    if (!cn_read_number(&x->r, cn_node_get(p->leaf, "port") ? p->leaf : p->root, "port", 0, 65535,
                        &port))
        return false;
    m->port = (uint16_t)port;
    return true;
}

static bool read_pair(cn_action_t *x, const pair_t *p, cn_http_match_t *m)
{
    bool ok = read_uri(x, p, m);

    if (!is_for_mesh(x, p->leaf) || (p->root && !is_for_mesh(x, p->root)))
        return false; /* for a gateway: rightly without effect here */
    ok = read_field(x, p, "scheme", &m->scheme) && ok;
    ok = read_field(x, p, "method", &m->method) && ok;
    ok = read_field(x, p, "authority", &m->authority) && ok;
    ok = read_map(x, p, "headers", &m->headers, m) && ok;
    ok = read_map(x, p, "withoutHeaders", &m->not_headers, m) && ok;
    ok = read_map(x, p, "queryParams", &m->query, m) && ok;
    ok = read_source(x, p, m) && ok;
    ok = read_port(x, p, m) && ok;
    m->name = cn_read_text(&x->r, p->leaf, "name");
    if (!cn_store_is_label_value(m->name))
        m->name.n = 0;
    return ok;
}

static void add_pair(cn_vs_http_t *v, const cn_node_t *leaf, const cn_node_t *root)
{
    cn_action_t *x = &v->x;
    cn_http_match_t m = {0};
    pair_t p = {leaf ? leaf : root, leaf ? root : NULL};

    if (leaf && root && !is_refinement(root, leaf)) {
        cn_action_warn(x, leaf,
                       "%s: this match does not narrow that of the rule which delegates to it, so "
                       "it never holds",
                       x->where);
        x->rule->dropped++;
        return;
    }
    if (read_pair(x, &p, &m))
        *(cn_http_match_t *)cn_vec_push(pool_of(x), &x->rule->matches, sizeof(m)) = m;
    else
        x->rule->dropped++;
}

bool cn_vs_match_read(cn_vs_http_t *v)
{
    const cn_node_item_t *leaf = NULL, *root = NULL;
    uint32_t n = cn_read_list(&v->x.r, v->x.rule->node, "match", &leaf),
             m = cn_node_list(v->root, "match", &root);
    cn_http_match_t all = cn_match_all();

    for (uint32_t k = 0; k < (m ? m : 1); k++)
        for (uint32_t i = 0; i < (n ? n : 1); i++)
            if (n || m)
                add_pair(v, n ? leaf[i].value : NULL, m ? root[k].value : NULL);
    all.path.kind = CN_MATCH_TEXT_PREFIX; /* as a prefix rewrite of Istio takes it */
    if (n == 0 && m == 0)
        *(cn_http_match_t *)cn_vec_push(pool_of(&v->x), &v->x.rule->matches, sizeof(all)) = all;
    return v->x.rule->matches.n > 0;
}
