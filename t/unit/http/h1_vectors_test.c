/* SPDX-License-Identifier: Apache-2.0
 *
 * Replays t/codec/h1_*.txt: every case whole, byte by byte and at every split
 * point must give the outcome that is written there.  The format is described
 * at the top of h1_requests.txt.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "core/chain.h"
#include "http/h1.h"

#define SPLITS_MAX 500 /* of a long input only so many points, evenly spread */

/* ---- text that grows ---- */

typedef struct {
    char *p;
    size_t n, cap;
} text_t;

static void text_add(text_t *t, const char *p, size_t n)
{
    if (t->n + n + 1 > t->cap) {
        t->cap = (t->n + n + 1) * 2;
        t->p = cn_xrealloc(t->p, t->cap);
    }
    memcpy(t->p + t->n, p, n);
    t->n += n;
    t->p[t->n] = '\0';
}

static void CN_PRINTF(2, 3) text_printf(text_t *t, const char *fmt, ...)
{
    char line[512];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    assert_true(n >= 0 && (size_t)n < sizeof(line));
    text_add(t, line, (size_t)n);
}

static void text_escaped(text_t *t, cn_str_t s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '\t')
            text_add(t, "\\t", 2);
        else if (c < 0x20 || c >= 0x7f)
            text_printf(t, "\\x%02x", c);
        else
            text_add(t, (char *)&c, 1);
    }
}

/* ---- cases ---- */

/* "\{TEXT*N}": *p stands behind the brace. */
static void unescape(text_t *out, const char *s, size_t n);

static size_t unescape_repeat(text_t *out, const char *s, size_t n)
{
    size_t depth = 1, close = 0, star = 0;
    while (depth > 0) {
        assert_true(close < n);
        if (s[close] == '{')
            depth++;
        else if (s[close] == '}')
            depth--;
        else if (s[close] == '*' && depth == 1)
            star = close;
        close++;
    }
    unsigned long times = strtoul(s + star + 1, NULL, 10);
    for (unsigned long i = 0; i < times; i++)
        unescape(out, s, star);
    return close;
}

static void unescape(text_t *out, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] != '\\') {
            text_add(out, s + i, 1);
            continue;
        }
        char c = s[++i], hex[3] = {0};
        if (c == '{') {
            i += unescape_repeat(out, s + i + 1, n - i - 1);
        } else if (c == 'x') {
            memcpy(hex, s + i + 1, 2);
            c = (char)strtoul(hex, NULL, 16);
            text_add(out, &c, 1);
            i += 2;
        } else {
            c = c == 'r' ? '\r' : c == 'n' ? '\n' : c == 't' ? '\t' : c;
            text_add(out, &c, 1);
        }
    }
}

/* ---- outcome ---- */

typedef struct {
    cn_h1_kind kind;
    cn_str_t method;
    cn_h1_parser_t parser;
    cn_chain_t in, body;
    cn_pool_t *pool;
    cn_msg_t msg;
    text_t out;
    bool in_body, failed;
} replay_t;

static const char *error_name(cn_xerr err)
{
    static const char *const names[] = {
        [CN_XERR_NONE] = "NONE",
        [CN_XERR_PROTOCOL] = "PROTOCOL",
        [CN_XERR_VERSION] = "VERSION",
        [CN_XERR_TOO_LARGE] = "TOO_LARGE",
        [CN_XERR_TOO_MANY] = "TOO_MANY",
        [CN_XERR_BAD_CHARS] = "BAD_CHARS",
        [CN_XERR_BAD_TE] = "BAD_TE",
        [CN_XERR_CL_TE] = "CL_TE",
        [CN_XERR_NO_HOST] = "NO_HOST",
        [CN_XERR_BAD_HOST] = "BAD_HOST",
        [CN_XERR_BAD_URL] = "BAD_URL",
        [CN_XERR_BAD_CONNECTION] = "BAD_CONNECTION",
        [CN_XERR_BAD_UPGRADE] = "BAD_UPGRADE",
    };
    return (size_t)err < CN_COUNT(names) && names[err] ? names[err] : "?";
}

static void dump_framing(replay_t *r)
{
    switch (r->parser.framing) {
    case CN_H1_FRAME_NONE:
        text_printf(&r->out, " none");
        break;
    case CN_H1_FRAME_LENGTH:
        text_printf(&r->out, " length=%llu", (unsigned long long)r->msg.content_length);
        break;
    case CN_H1_FRAME_CHUNKED:
        text_printf(&r->out, " chunked");
        break;
    case CN_H1_FRAME_EOF:
        text_printf(&r->out, " eof");
        break;
    }
    text_printf(&r->out, r->parser.keep_alive ? " keep" : " close");
}

static void dump_flags(replay_t *r)
{
    const cn_msg_t *m = &r->msg;
    uint64_t length = m->content_length;
    if (r->kind == CN_H1_REQUEST) {
        if (cn_str_eq(m->scheme, CN_STR("https")))
            text_printf(&r->out, " https");
        if (length == 0)
            text_printf(&r->out, " zero");
        if (m->expect_continue)
            text_printf(&r->out, " expect");
        assert_int_equal(m->has_body,
                         r->parser.framing != CN_H1_FRAME_NONE || m->upgrade_websocket);
    } else {
        if (m->version == CN_HTTP_10)
            text_printf(&r->out, " 1.0");
        if (r->parser.framing == CN_H1_FRAME_NONE && length != CN_LENGTH_NONE)
            text_printf(&r->out, " length=%llu", (unsigned long long)length);
    }
    if (m->upgrade_websocket)
        text_printf(&r->out, " websocket");
    text_printf(&r->out, "\n");
}

static void dump_fields(replay_t *r, const cn_headers_t *h, const char *prefix)
{
    for (uint32_t i = 0; i < h->n; i++) {
        assert_int_equal(h->v[i].token, cn_token_find(h->v[i].name));
        text_printf(&r->out, "%s", prefix);
        text_escaped(&r->out, h->v[i].name);
        text_printf(&r->out, ": ");
        text_escaped(&r->out, h->v[i].value);
        text_printf(&r->out, "\n");
    }
}

static void dump_head(replay_t *r)
{
    if (r->kind == CN_H1_REQUEST) {
        text_escaped(&r->out, r->msg.method);
        text_printf(&r->out, " ");
        text_escaped(&r->out, r->msg.target);
        text_printf(&r->out, " @");
        text_escaped(&r->out, r->msg.authority);
    } else {
        text_printf(&r->out, "%u", r->msg.status);
    }
    dump_framing(r);
    dump_flags(r);
    dump_fields(r, &r->msg.headers, "  ");
}

static void dump_body(replay_t *r)
{
    if (r->body.bytes > 0) {
        text_printf(&r->out, "body \"");
        while (r->body.bytes > 0) {
            cn_str_t s = cn_chain_front(&r->body);
            text_escaped(&r->out, s);
            cn_chain_skip(&r->body, s.n);
        }
        text_printf(&r->out, "\"\n");
    }
    dump_fields(r, &r->msg.trailers, "trailer ");
}

static void dump_error(replay_t *r)
{
    text_printf(&r->out, "error %s", error_name(r->parser.err));
    assert_non_null(r->parser.err_text);
    if (!r->in_body && r->msg.method.n > 0) {
        text_printf(&r->out, " ");
        text_escaped(&r->out, r->msg.method);
        /* A long target would tell nothing more. */
        if (r->msg.target.n > 0 && r->msg.target.n < 100) {
            text_printf(&r->out, " ");
            text_escaped(&r->out, r->msg.target);
        }
    }
    text_printf(&r->out, "\n");
    r->failed = true;
}

/* ---- replaying ---- */

static bool step(replay_t *r)
{
    cn_rc rc;
    if (!r->in_body) {
        cn_msg_init(&r->msg, r->pool);
        rc = cn_h1_parse_head(&r->parser, &r->in, &r->msg);
        if (rc == CN_OK)
            dump_head(r);
        r->in_body = rc == CN_OK;
    } else {
        rc = cn_h1_parse_body(&r->parser, &r->in, &r->body, 7, &r->msg);
        if (rc == CN_DONE) {
            dump_body(r);
            cn_h1_parser_next(&r->parser);
            r->in_body = false;
        }
    }
    if (rc == CN_ERR) {
        if (r->in_body)
            dump_body(r);
        dump_error(r);
    }
    return rc == CN_OK || rc == CN_DONE;
}

static void feed(replay_t *r, const char *p, size_t n)
{
    if (r->failed)
        return;
    cn_chain_copy(&r->in, p, n);
    while (step(r))
        ;
}

static void finish(replay_t *r)
{
    if (r->failed)
        return;
    bool cut = r->in.bytes > 0 || cn_h1_parse_eof(&r->parser) != CN_DONE;
    if (r->in_body)
        dump_body(r);
    text_printf(&r->out, cut ? "cut\n" : "end\n");
}

/* piece: bytes fed at once; first: size of the first piece. */
static void replay(cn_h1_kind kind, cn_str_t method, const text_t *input, size_t first,
                   size_t piece, const char *name, const char *expected)
{
    replay_t r = {.kind = kind, .pool = cn_pool_create(0)};
    cn_h1_parser_init(&r.parser, kind,
                      kind == CN_H1_REQUEST ? &cn_h1_limits_default : &cn_h1_limits_response);
    r.parser.req_method = method;
    text_add(&r.out, "", 0);
    for (size_t at = 0, n = first; at < input->n; at += n, n = piece) {
        if (n > input->n - at)
            n = input->n - at;
        feed(&r, input->p + at, n);
    }
    finish(&r);
    if (strcmp(r.out.p, expected) != 0)
        fail_msg("%s, first %zu of %zu bytes, then %zu each:\n%sexpected:\n%s", name, first,
                 input->n, piece, r.out.p, expected);
    cn_chain_clear(&r.in);
    cn_chain_clear(&r.body);
    cn_pool_destroy(r.pool);
    free(r.out.p);
}

typedef struct {
    char *name;
    text_t input, expected;
} case_t;

static void run_case(cn_h1_kind kind, case_t *c)
{
    char *bar = strstr(c->name, " | ");
    cn_str_t method = bar ? cn_str_c(bar + 3) : CN_STR("GET");
    size_t n = c->input.n, stride = n / SPLITS_MAX + 1;
    replay(kind, method, &c->input, n, n, c->name, c->expected.p);
    if (n < 100000)
        replay(kind, method, &c->input, 1, 1, c->name, c->expected.p);
    for (size_t split = 1; split < n; split += stride)
        replay(kind, method, &c->input, split, n, c->name, c->expected.p);
}

static unsigned run_file(cn_h1_kind kind, const char *path)
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    case_t c = {0};
    bool in_expected = false;
    unsigned cases = 0;
    if (!f)
        fail_msg("%s cannot be read: run from the top of the tree", path);
    for (;;) {
        n = getline(&line, &cap, f);
        bool begins = n > 4 && strncmp(line, "--- ", 4) == 0;
        if ((begins || n < 0) && c.name) {
            run_case(kind, &c);
            cases++;
        }
        if (n < 0)
            break;
        if (begins) {
            free(c.name);
            line[n - 1] = '\0';
            c.name = strdup(line + 4);
            c.input.n = c.expected.n = 0;
            in_expected = false;
        } else if (strcmp(line, "=>\n") == 0) {
            in_expected = true;
        } else if (in_expected) {
            text_add(&c.expected, line, (size_t)n);
        } else if (c.name && line[0] != '#') {
            unescape(&c.input, line, (size_t)n - 1);
        }
    }
    free(line);
    free(c.name);
    free(c.input.p);
    free(c.expected.p);
    fclose(f);
    return cases;
}

static void test_requests_are_read_as_written_down(void **state CN_UNUSED)
{
    assert_true(run_file(CN_H1_REQUEST, "t/codec/h1_requests.txt") > 100);
}

static void test_responses_are_read_as_written_down(void **state CN_UNUSED)
{
    assert_true(run_file(CN_H1_RESPONSE, "t/codec/h1_responses.txt") > 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_are_read_as_written_down),
        cmocka_unit_test(test_responses_are_read_as_written_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
