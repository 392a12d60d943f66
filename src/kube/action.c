/* SPDX-License-Identifier: Apache-2.0
 *
 * What rules do.
 */
#include "kube/action.h"

#include "http/edit.h"

#define pool_of(x) ((x)->r.w->pool)

/* ---- headers ---- */

/* "%REQ(x)%" and the like are Envoy's; here text is text. */
static bool has_operator(cn_str_t s)
{
    for (size_t i = 0; i + 2 < s.n; i++)
        if (s.p[i] == '%' && s.p[i + 1] >= 'A' && s.p[i + 1] <= 'Z') {
            size_t k = i + 1;

            while (k < s.n && ((s.p[k] >= 'A' && s.p[k] <= 'Z') || s.p[k] == '_'))
                k++;
            if (k < s.n && (s.p[k] == '%' || s.p[k] == '('))
                return true;
        }
    return false;
}

static bool is_host(cn_str_t name)
{
    return cn_str_ieq(name, CN_STR("host")) || cn_str_ieq(name, CN_STR(":authority"));
}

/* The first of a name counts, as the Gateway API says. */
static bool is_known(const cn_vec_t *list, const char *directive, const char *what, cn_str_t name)
{
    cn_dir_t *const *d = list->v;

    for (uint32_t i = 0; i < list->n; i++) {
        const cn_str_t *w = d[i]->words.v;

        if (d[i]->words.n > 2 && cn_str_eq(w[0], cn_str_c(directive)) &&
            cn_str_eq(w[1], cn_str_c(what)) && cn_str_eq(w[2], name))
            return true;
    }
    return false;
}

bool cn_action_has(const cn_vec_t *list, const char *name)
{
    cn_dir_t *const *d = list->v;

    for (uint32_t i = 0; i < list->n; i++)
        if (cn_str_eq(((const cn_str_t *)d[i]->words.v)[0], cn_str_c(name)))
            return true;
    return false;
}

static bool set_host(cn_action_t *x, cn_vec_t *list, const cn_node_t *at, bool request,
                     const char *what, cn_str_t value)
{
    bool remove = strcmp(what, "remove") == 0;

    if (request && !remove && cn_value_is_word(value)) {
        if (cn_action_has(list, "rewrite_host"))
            return true;
        cn_dir_word(pool_of(x), cn_dir_add(pool_of(x), list, "rewrite_host"), value);
        return true;
    }
    cn_action_error(x, at, "%s: the host %s", x->where,
                    request && remove ? "cannot be removed; the rest is in effect"
                                      : "cannot be changed like this; the rest is in effect");
    return false;
}

bool cn_action_header(cn_action_t *x, cn_vec_t *list, const cn_node_t *at, bool request,
                      const char *what, cn_str_t name, cn_str_t value)
{
    const char *directive = request ? "request_header" : "response_header";
    cn_str_t lower;
    cn_dir_t *d;

    if (is_host(name))
        return set_host(x, list, at, request, what, value);
    if (!cn_value_is_token(name) || !cn_value_is_header(value)) {
        cn_action_error(x, at, "%s: \"%.*s: %.*s\" is no header: control characters, or no name",
                        x->where, CN_STR_ARG(name), CN_STR_ARG(value));
        return false;
    }
    if (cn_edit_refused(cn_pool_lower(pool_of(x), name))) {
        cn_action_warn(x, at, "%s: header \"%.*s\" has no effect: %s", x->where, CN_STR_ARG(name),
                       cn_edit_refused(cn_pool_lower(pool_of(x), name)));
        return true;
    }
    if (has_operator(value))
        cn_action_warn(x, at,
                       "%s: header %.*s: \"%.*s\" is sent as it stands: operators of Envoy are "
                       "not evaluated",
                       x->where, CN_STR_ARG(name), CN_STR_ARG(value));
    lower = cn_pool_lower(pool_of(x), name);
    if (is_known(list, directive, what, lower))
        return true;
    d = cn_dir_add(pool_of(x), list, directive);
    cn_dir_word(pool_of(x), d, cn_str_c(what));
    cn_dir_word(pool_of(x), d, lower);
    if (strcmp(what, "remove") != 0)
        cn_dir_word(pool_of(x), d, value);
    return true;
}

/* ---- retries ---- */

/* A directive's words are limited; there are fewer statuses and conditions that make sense. */
#define MAX_WORDS 60
#define MAX_BACKOFF 3600000u /* milliseconds: what the proxy takes */

static void put_list(cn_pool_t *pool, cn_vec_t *inner, const char *name, const cn_vec_t *words)
{
    const cn_str_t *v = words->v;
    cn_dir_t *d;

    if (words->n == 0)
        return;
    d = cn_dir_add(pool, inner, name);
    for (uint32_t i = 0; i < words->n && i < MAX_WORDS; i++)
        cn_dir_word(pool, d, v[i]);
}

void cn_action_retry(cn_pool_t *pool, cn_vec_t *list, const cn_action_retry_t *r)
{
    cn_dir_t *d;

    if (r->attempts <= 0) {
        cn_dir_flag(pool, list, "retry", "off");
        return;
    }
    d = cn_dir_block(pool, list, "retry");
    cn_dir_printf(pool, cn_dir_add(pool, &d->inner, "attempts"), "%lld", (long long)r->attempts);
    put_list(pool, &d->inner, "on", &r->tokens);
    put_list(pool, &d->inner, "codes", &r->codes);
    if (r->backoff_ms)
        cn_action_time(pool, &d->inner, "backoff",
                       r->backoff_ms < MAX_BACKOFF ? r->backoff_ms : MAX_BACKOFF);
    if (r->keep_tried)
        cn_dir_flag(pool, &d->inner, "avoid_tried", "off");
    if (r->other_localities)
        cn_dir_flag(pool, &d->inner, "other_localities", "on");
}

static void push(const cn_reader_t *r, cn_vec_t *list, cn_str_t word)
{
    const cn_str_t *v = list->v;

    for (uint32_t i = 0; i < list->n; i++)
        if (cn_str_eq(v[i], word))
            return;
    *(cn_str_t *)cn_vec_push(r->w->pool, list, sizeof(word)) = word;
}

void cn_action_retry_default(const cn_reader_t *r, cn_action_retry_t *out)
{
    static const char *const words[] = {"connect-failure", "refused-stream", "unavailable",
                                        "cancelled"};

    for (size_t i = 0; i < CN_COUNT(words); i++)
        push(r, &out->tokens, cn_str_c(words[i]));
}

static bool is_token(cn_str_t word)
{
    static const char *const words[] = {"5xx",
                                        "gateway-error",
                                        "reset",
                                        "reset-before-request",
                                        "connect-failure",
                                        "envoy-ratelimited",
                                        "retriable-4xx",
                                        "refused-stream",
                                        "cancelled",
                                        "deadline-exceeded",
                                        "internal",
                                        "resource-exhausted",
                                        "unavailable"};

    for (size_t i = 0; i < CN_COUNT(words); i++)
        if (cn_str_eq(word, cn_str_c(words[i])))
            return true;
    return false;
}

void cn_action_retry_on(const cn_reader_t *r, const cn_node_t *at, cn_str_t list,
                        cn_action_retry_t *out)
{
    cn_str_t word;
    uint64_t code;

    while (cn_str_split(&list, ',', &word)) {
        word = cn_str_trim(word);
        if (word.n == 0 || cn_str_eq(word, CN_STR("retriable-status-codes")))
            continue;
        if (is_token(word))
            push(r, &out->tokens, word);
        else if (cn_str_u64(word, 599, &code) == CN_OK && code >= 100)
            push(r, &out->codes, word);
        else if (cn_str_eq(word, CN_STR("retriable-headers")) ||
                 cn_str_eq(word, CN_STR("http3-post-connect-failure")))
            cn_store_warn(r->w->diag, r->obj, at,
                          "retryOn: %.*s: has no effect here; the rest is in effect",
                          CN_STR_ARG(word));
        else
            cn_store_error(r->w->diag, r->obj, at,
                           "retryOn: \"%.*s\" is no condition of Envoy's and no status code; the "
                           "rest is in effect",
                           CN_STR_ARG(word));
    }
}

void cn_action_time(cn_pool_t *pool, cn_vec_t *list, const char *directive, uint64_t ms)
{
    cn_dir_word(pool, cn_dir_add(pool, list, directive), cn_dir_time(pool, ms));
}
