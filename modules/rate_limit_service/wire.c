/* SPDX-License-Identifier: Apache-2.0
 *
 * The rate limit protocol's messages in gRPC's frames.  What comes back is
 * hostile until it was looked at: sizes are bounded, everything lives in the
 * request's pool, and a header is taken only when it could not change the
 * framing or the routing of a message.
 */
#include "rls_int.h"

#include "rls.pb-c.h"

#define FRAME 5u /* a flag and four bytes of length */

/* ---- protobuf-c in a pool ---- */

static void *pool_alloc(void *pool, size_t n)
{
    return cn_pool_alloc(pool, n);
}

static void pool_free(void *pool CN_UNUSED, void *p CN_UNUSED)
{
}

/* ---- the question ---- */

/* A protobuf string is UTF-8, and a service that reads one which is not may
 * fail, which could let a client pass: what is none becomes '!'. */
static size_t utf8_length(const unsigned char *p, size_t n)
{
    size_t more = p[0] < 0x80                   ? 0
                  : p[0] >= 0xc2 && p[0] < 0xe0 ? 1
                  : (p[0] & 0xf0) == 0xe0       ? 2
                  : p[0] >= 0xf0 && p[0] < 0xf5 ? 3
                                                : SIZE_MAX;

    if (more == SIZE_MAX || more >= n)
        return 0;
    for (size_t i = 1; i <= more; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) ||
        (p[0] == 0xed && p[1] > 0x9f) || /* long forms, surrogates */
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return more + 1;
}

static char *text(cn_pool_t *pool, cn_str_t s)
{
    char *out = cn_pool_cstr(pool, s);

    for (size_t i = 0; i < s.n;) {
        size_t n = out[i] ? utf8_length((const unsigned char *)out + i, s.n - i) : 0;

        if (n == 0) {
            out[i] = '!';
            n = 1;
        }
        i += n;
    }
    return out;
}

static void write_limit(const rls_descriptor_t *d, cn_pool_t *pool, Rls__Descriptor *out)
{
    if (d->limit) {
        out->limit = cn_pool_alloc(pool, sizeof(*out->limit));
        rls__override__init(out->limit);
        out->limit->requests_per_unit = d->limit;
        out->limit->unit = (uint32_t)d->unit;
    }
    if (d->hits) {
        out->hits_addend = cn_pool_alloc(pool, sizeof(*out->hits_addend));
        rls__number__init(out->hits_addend);
        out->hits_addend->value = d->hits;
    }
}

static Rls__Descriptor *write_descriptor(const rls_filled_t *f, cn_pool_t *pool)
{
    Rls__Descriptor *d = cn_pool_alloc(pool, sizeof(*d));

    rls__descriptor__init(d);
    d->entries = cn_pool_alloc(pool, f->n * sizeof(*d->entries));
    for (d->n_entries = 0; d->n_entries < f->n; d->n_entries++) {
        Rls__Entry *e = cn_pool_alloc(pool, sizeof(*e));

        rls__entry__init(e);
        e->key = text(pool, f->pairs[d->n_entries].key);
        e->value = text(pool, f->pairs[d->n_entries].value);
        d->entries[d->n_entries] = e;
    }
    write_limit(f->from, pool, d);
    return d;
}

static void put_frame(uint8_t *p, size_t n)
{
    p[0] = 0; /* not compressed */
    for (unsigned i = 0; i < 4; i++)
        p[1 + i] = (uint8_t)(n >> (24 - 8 * i));
}

void rls_write(const rls_t *s, const cn_vec_t *filled, cn_pool_t *pool, cn_chain_t *out)
{
    const rls_filled_t *f = filled->v;
    Rls__Request msg;
    uint8_t *bytes;
    size_t n;

    rls__request__init(&msg);
    msg.domain = text(pool, s->domain);
    msg.hits_addend = s->hits;
    msg.descriptors = cn_pool_alloc(pool, filled->n * sizeof(*msg.descriptors));
    for (msg.n_descriptors = 0; msg.n_descriptors < filled->n; msg.n_descriptors++)
        msg.descriptors[msg.n_descriptors] = write_descriptor(&f[msg.n_descriptors], pool);
    n = rls__request__get_packed_size(&msg);
    bytes = cn_pool_alloc(pool, FRAME + n);
    put_frame(bytes, n);
    rls__request__pack(&msg, bytes + FRAME);
    cn_chain_copy(out, bytes, FRAME + n);
}

/* ---- the answer: headers ---- */

static bool is_name(cn_str_t s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') &&
            (c == '\0' || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return s.n > 0;
}

static bool is_value(cn_str_t s)
{
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char)s.p[i] < 0x20 && s.p[i] != '\t') || s.p[i] == 0x7f)
            return false;
    return true;
}

/* Fields that say how a message is framed or where it goes. */
static bool is_ours(cn_str_t name)
{
    static const char *const names[] = {"connection", "content-length",    "host",
                                        "keep-alive", "proxy-connection",  "te",
                                        "trailer",    "transfer-encoding", "upgrade"};

    for (size_t i = 0; i < CN_COUNT(names); i++)
        if (cn_str_eq(name, cn_str_c(names[i])))
            return true;
    return false;
}

static bool read_header(const Rls__Header *h, cn_pool_t *pool, rls_header_t *out)
{
    const ProtobufCBinaryData *value = h->raw_value.len ? &h->raw_value : &h->value;

    out->name = cn_pool_lower(pool, cn_str_make((const char *)h->key.data, h->key.len));
    out->value = cn_str_make((const char *)value->data, value->len);
    return is_name(out->name) && is_value(out->value) && !is_ours(out->name);
}

/* What may not be set is left out. */
static uint32_t read_headers(Rls__Header *const *v, size_t n, cn_pool_t *pool, rls_header_t **out)
{
    uint32_t kept = 0;

    *out = cn_pool_alloc(pool, n * sizeof(**out));
    for (size_t i = 0; i < n; i++)
        kept += read_header(v[i], pool, &(*out)[kept]);
    return kept;
}

/* ---- the answer: limits ---- */

static unsigned seconds_of(uint32_t unit)
{
    static const unsigned seconds[] = {0, 1, 60, 3600, 86400, 2592000, 31536000};

    return unit < CN_COUNT(seconds) ? seconds[unit] : 0;
}

/* Text for between quotes in a header. */
static cn_str_t quotable(const char *z)
{
    cn_str_t s = cn_str_c(z);

    return is_value(s) && cn_str_find(s, '"') == s.n && cn_str_find(s, '\\') == s.n ? s
                                                                                    : CN_STR_NULL;
}

static void read_status(const Rls__Status *s, cn_pool_t *pool, rls_answer_t *a)
{
    const Rls__Limit *l = s->current_limit;
    unsigned window = seconds_of(l->unit);
    cn_str_t name = quotable(l->name);

    if (window)
        a->policy = cn_pool_printf(pool, "%.*s, %u;w=%u", CN_STR_ARG(a->policy),
                                   l->requests_per_unit, window);
    if (window && name.n)
        a->policy =
            cn_pool_printf(pool, "%.*s;name=\"%.*s\"", CN_STR_ARG(a->policy), CN_STR_ARG(name));
    if (a->limited && s->limit_remaining >= a->remaining)
        return;
    a->limited = true;
    a->limit = l->requests_per_unit;
    a->remaining = s->limit_remaining;
    a->reset_s = s->duration_until_reset && s->duration_until_reset->seconds > 0
                     ? (uint64_t)s->duration_until_reset->seconds
                     : 0;
}

/* ---- the answer ---- */

static cn_rc read_message(const Rls__Response *r, cn_pool_t *pool, rls_answer_t *a,
                          const char **why)
{
    *a = (rls_answer_t){.over_limit = r->overall_code == 2};
    *why = "neither OK nor OVER_LIMIT";
    if (r->overall_code != 1 && r->overall_code != 2)
        return CN_ERR;
    *why = "more headers or limits than a service may send";
    if (r->n_response_headers_to_add > RLS_HEADERS_MAX ||
        r->n_request_headers_to_add > RLS_HEADERS_MAX || r->n_statuses > RLS_DESCRIPTORS)
        return CN_ERR;
    a->nto_response = read_headers(r->response_headers_to_add, r->n_response_headers_to_add, pool,
                                   &a->to_response);
    a->nto_request =
        read_headers(r->request_headers_to_add, r->n_request_headers_to_add, pool, &a->to_request);
    a->body = cn_str_make((const char *)r->raw_body.data, r->raw_body.len);
    for (size_t i = 0; i < r->n_statuses; i++)
        if (r->statuses[i]->current_limit)
            read_status(r->statuses[i], pool, a);
    return CN_OK;
}

cn_rc rls_read(cn_chain_t *body, cn_pool_t *pool, rls_answer_t *a, const char **why)
{
    ProtobufCAllocator allocator = {pool_alloc, pool_free, pool};
    uint8_t head[FRAME];
    size_t n = body->bytes - FRAME;
    Rls__Response *r;
    uint8_t *bytes;

    *why = "not one message";
    if (body->bytes < FRAME || body->bytes > RLS_ANSWER_MAX)
        return CN_ERR;
    cn_chain_peek(body, head, FRAME);
    if (head[0] != 0 ||
        ((size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4]) != n)
        return CN_ERR;
    cn_chain_skip(body, FRAME);
    bytes = cn_pool_alloc(pool, n);
    cn_chain_peek(body, bytes, n);
    cn_chain_skip(body, n);
    *why = "not a RateLimitResponse";
    r = rls__response__unpack(&allocator, n, bytes);
    return r ? read_message(r, pool, a, why) : CN_ERR;
}
