/* SPDX-License-Identifier: Apache-2.0
 *
 * decisions: /decisions on the admin port tells what the waypoint has refused,
 * connections and tunnels too, and what has failed in it lately, each with the
 * reason and with the question to /explain that tells all of it.  What a pod has
 * answered by itself is its own affair and not here.
 */
#include <stdlib.h>

#include "ring.h"

#define MOST 4096u /* entries of a worker */
#define SHOWN 500u

extern const cn_module_t cn_module_decisions;

typedef struct {
    uint32_t entries;
} decisions_conf_t;

typedef struct {
    cn_shm_view_t view; /* mem is NULL before the first generation */
} worker_t;

/* ---- settings ---- */

static cn_rc init_main(cn_conf_t *cf CN_UNUSED, void *conf, const void *parent CN_UNUSED)
{
    ((decisions_conf_t *)conf)->entries = 128;
    return CN_OK;
}

static const cn_range_t range = {0, MOST};
static const cn_directive_t directives[] = {
    {.name = "decisions",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 1),
     .set = cn_set_u32,
     .off = offsetof(decisions_conf_t, entries),
     .arg = &range,
     .syntax = "decisions NUMBER",
     .help = "How many refusals and failures each worker keeps for /decisions; those that follow "
             "one another and are alike count as one. 0: none. Takes effect at the start only.",
     .deflt = "128"},
    {0}};

static size_t shm_size(const void *main, unsigned slots)
{
    const decisions_conf_t *c = main;

    return c->entries ? cn_decisions_ring_size(c->entries) * slots : 64;
}

static const cn_shm_def_t shm[] = {{.name = "decisions", .size = shm_size}, {.name = NULL}};

/* ---- what is kept ---- */

/* A client that went away and a delay on purpose are no failures. */
static bool is_of_note(const cn_facts_t *f)
{
    uint32_t flags = f->flags & ~(uint32_t)(CN_FLAG_DC | CN_FLAG_DI);

    if (!f->req)
        return flags || f->termination_details.n;
    return flags || (f->status >= 400 && f->upstream_ns == 0);
}

static cn_str_t address_of(cn_pool_t *pool, const cn_addr_t *addr, bool port)
{
    char text[CN_INET_TEXT];
    size_t n = addr->family ? cn_inet_put(text, addr, port) : 0;

    return cn_pool_dup(pool, cn_str_make(text, n));
}

static void on_log_texts(cn_req_t *req, cn_str_t *texts)
{
    const cn_facts_t *f = cn_req_facts(req);
    cn_pool_t *pool = cn_req_pool(req);

    if (f->tunnel) {
        texts[CN_DECISIONS_FROM] = f->tunnel->identity;
        texts[CN_DECISIONS_ADDRESS] = address_of(pool, &f->tunnel->source, false);
        texts[CN_DECISIONS_TO] = f->tunnel->authority;
    }
    if (f->req) {
        cn_str_t target = f->original_path.n ? f->original_path : f->req->target;

        texts[CN_DECISIONS_METHOD] = f->req->method;
        texts[CN_DECISIONS_PATH] = cn_str_make(target.p, cn_str_find(target, '?'));
    }
    texts[CN_DECISIONS_SERVICE] = f->section ? f->section->name : CN_STR_NULL;
    texts[CN_DECISIONS_ROUTE] = f->route ? f->route->name : CN_STR_NULL;
    texts[CN_DECISIONS_CLUSTER] = f->cluster_name;
    texts[CN_DECISIONS_HOST] = f->host ? address_of(pool, &f->host->addr, true) : CN_STR_NULL;
    texts[CN_DECISIONS_WHY] = f->req ? f->details : f->termination_details;
    if (f->upstream_failure.n)
        texts[CN_DECISIONS_WHY] =
            cn_pool_printf(pool, "%.*s: %.*s", CN_STR_ARG(texts[CN_DECISIONS_WHY]),
                           CN_STR_ARG(f->upstream_failure));
}

static cn_rc on_log(cn_req_t *req, const void *conf CN_UNUSED, void *ctx CN_UNUSED)
{
    const worker_t *dw = cn_worker_module(cn_req_worker(req), &cn_module_decisions);
    cn_str_t texts[CN_DECISIONS_TEXTS] = {{0}};

    if (!dw->view.mem || !is_of_note(cn_req_facts(req)))
        return CN_OK;
    on_log_texts(req, texts);
    cn_decisions_ring_put(&dw->view, cn_req_facts(req)->status, cn_req_facts(req)->flags, texts);
    return CN_OK;
}

static void refused(cn_worker_t *w CN_UNUSED, void *wctx, const cn_refusal_t *r)
{
    const worker_t *dw = wctx;
    cn_pool_t *pool;
    cn_str_t texts[CN_DECISIONS_TEXTS] = {[CN_DECISIONS_FROM] = r->identity,
                                          [CN_DECISIONS_TO] = r->authority,
                                          [CN_DECISIONS_WHY] = r->details};

    if (!dw->view.mem)
        return;
    pool = cn_pool_create(256);
    texts[CN_DECISIONS_ADDRESS] = address_of(pool, &r->from, false);
    cn_decisions_ring_put(&dw->view, r->status, 0, texts);
    cn_pool_destroy(pool);
}

static bool active(const void *conf, cn_phase_t phase CN_UNUSED)
{
    return ((const decisions_conf_t *)conf)->entries > 0;
}

/* ---- the page ---- */

/* Texts come from clients: no control character may forge a line. */
static cn_str_t clean(cn_pool_t *pool, cn_str_t s)
{
    char *out = cn_pool_bytes(pool, s.n + 1);

    for (size_t i = 0; i < s.n; i++)
        out[i] = (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f ? '?' : s.p[i];
    return cn_str_make(out, s.n);
}

/* As a value of a query (RFC 3986 3.4); "/" and ":" may stand there and read better. */
static cn_str_t coded(cn_pool_t *pool, cn_str_t s)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = cn_pool_bytes(pool, s.n * 3 + 1);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c && strchr("-._~/:", c));

        if (!plain)
            out[n++] = '%';
        if (!plain)
            out[n++] = hex[c >> 4];
        out[n++] = plain ? (char)c : hex[c & 15];
    }
    return cn_str_make(out, n);
}

/* The question that tells the whole of it; headers and query are not kept.  None
 * for a connection that got no tunnel. */
static cn_str_t question(cn_pool_t *pool, const cn_decisions_entry_t *e)
{
    static const struct {
        cn_decisions_text text;
        const char *name;
    } parts[] = {{CN_DECISIONS_FROM, "from"},
                 {CN_DECISIONS_ADDRESS, "ip"},
                 {CN_DECISIONS_METHOD, "method"},
                 {CN_DECISIONS_PATH, "path"}};
    cn_str_t to = coded(pool, cn_decisions_ring_text(e, CN_DECISIONS_TO));
    cn_str_t s = cn_pool_printf(pool, "/explain?to=%.*s", CN_STR_ARG(to));

    if (to.n == 0)
        return CN_STR_NULL;
    for (size_t i = 0; i < CN_COUNT(parts); i++) {
        cn_str_t v = coded(pool, cn_decisions_ring_text(e, parts[i].text));

        if (v.n)
            s = cn_pool_printf(pool, "%.*s&%s=%.*s", CN_STR_ARG(s), parts[i].name, CN_STR_ARG(v));
    }
    return s;
}

static void put_text(cn_admin_req_t *r, const cn_decisions_entry_t *e)
{
    static const char *const before[CN_DECISIONS_TEXTS] = {
        [CN_DECISIONS_METHOD] = "\n    ",  [CN_DECISIONS_PATH] = " ",
        [CN_DECISIONS_TO] = " to ",        [CN_DECISIONS_SERVICE] = ", service ",
        [CN_DECISIONS_ROUTE] = ", route ", [CN_DECISIONS_CLUSTER] = ", cluster ",
        [CN_DECISIONS_HOST] = ", host ",   [CN_DECISIONS_FROM] = "\n    from ",
        [CN_DECISIONS_ADDRESS] = " at "};
    static const cn_decisions_text order[] = {
        CN_DECISIONS_METHOD,  CN_DECISIONS_PATH,  CN_DECISIONS_TO,
        CN_DECISIONS_SERVICE, CN_DECISIONS_ROUTE, CN_DECISIONS_CLUSTER,
        CN_DECISIONS_HOST,    CN_DECISIONS_FROM,  CN_DECISIONS_ADDRESS};
    cn_str_t why = clean(r->pool, cn_decisions_ring_text(e, CN_DECISIONS_WHY)), ask;
    char when[CN_CLOCK_ISO_LEN], flags[64];

    cn_clock_put_iso(when, e->when_us);
    (void)cn_flags_put(flags, e->flags, e->status == 0);
    cn_chain_puts(&r->body,
                  cn_pool_printf(r->pool, "%.*s  %u %s  %.*s%s", CN_CLOCK_ISO_LEN, when, e->status,
                                 flags, CN_STR_ARG(why), e->status ? "" : "  connection"));
    for (size_t i = 0; i < CN_COUNT(order); i++) {
        cn_str_t v = clean(r->pool, cn_decisions_ring_text(e, order[i]));

        if (v.n)
            cn_chain_puts(&r->body,
                          cn_pool_printf(r->pool, "%s%.*s", before[order[i]], CN_STR_ARG(v)));
    }
    ask = question(r->pool, e);
    cn_chain_puts(&r->body,
                  cn_pool_printf(r->pool, "\n    %u time%s%s%.*s\n", e->times,
                                 e->times == 1 ? "" : "s", ask.n ? "; " : "", CN_STR_ARG(ask)));
}

static cn_str_t json(cn_pool_t *pool, cn_str_t s)
{
    size_t n = cn_json_escape(NULL, 0, s);
    char *out = cn_pool_bytes(pool, n + 1);

    return cn_str_make(out, cn_json_escape(out, n, s));
}

static void put_json(cn_admin_req_t *r, const cn_decisions_entry_t *e, bool first)
{
    static const char *const names[CN_DECISIONS_TEXTS] = {"from", "address", "to",    "method",
                                                          "path", "service", "route", "cluster",
                                                          "host", "details"};
    char when[CN_CLOCK_ISO_LEN], flags[64];
    cn_str_t ask = json(r->pool, question(r->pool, e));

    cn_clock_put_iso(when, e->when_us);
    (void)cn_flags_put(flags, e->flags, e->status == 0);
    cn_chain_puts(&r->body,
                  cn_pool_printf(
                      r->pool, "%s\n{\"time\":\"%.*s\",\"status\":%u,\"flags\":\"%s\",\"times\":%u",
                      first ? "" : ",", CN_CLOCK_ISO_LEN, when, e->status, flags, e->times));
    for (unsigned i = 0; i < CN_DECISIONS_TEXTS; i++) {
        cn_str_t v = json(r->pool, cn_decisions_ring_text(e, (cn_decisions_text)i));

        cn_chain_puts(&r->body,
                      cn_pool_printf(r->pool, ",\"%s\":\"%.*s\"", names[i], CN_STR_ARG(v)));
    }
    cn_chain_puts(&r->body, cn_pool_printf(r->pool, ",\"explain\":\"%.*s\"}", CN_STR_ARG(ask)));
}

static void page(cn_worker_t *w CN_UNUSED, void *wctx, cn_admin_req_t *r)
{
    const worker_t *dw = wctx;
    uint32_t n;
    const cn_decisions_entry_t *v = cn_decisions_ring_read(&dw->view, r->pool, &n);
    cn_str_t format = CN_STR_NULL;
    bool as_json =
        cn_uri_query_get(r->query, CN_STR("format"), &format) && cn_str_eq(format, CN_STR("json"));

    n = n < SHOWN ? n : SHOWN;
    if (as_json)
        r->content_type = CN_STR("application/json");
    cn_chain_puts(&r->body, as_json ? CN_STR("[") : CN_STR_NULL);
    for (uint32_t i = 0; i < n; i++)
        if (as_json)
            put_json(r, &v[i], i == 0);
        else
            put_text(r, &v[i]);
    if (as_json)
        cn_chain_puts(&r->body, CN_STR("]\n"));
    else if (n == 0)
        cn_chain_puts(&r->body, CN_STR("nothing was refused and nothing has failed\n"));
}

static const cn_admin_t admin[] = {
    {"/decisions", CN_ADMIN_ADMIN, "GET", page,
     "what was refused and what failed lately, and why; ?format=json"},
    {0}};

/* ---- the worker ---- */

static cn_rc worker_init(cn_worker_t *w CN_UNUSED, void **wctx)
{
    *wctx = cn_xzalloc(sizeof(worker_t));
    return CN_OK;
}

static void reconfigured(cn_worker_t *w, void *wctx, const void *main CN_UNUSED)
{
    worker_t *dw = wctx;

    if (cn_worker_stats(w)) /* cairn explain has no shared memory */
        dw->view = cn_worker_shm(w, &shm[0]);
}

static void worker_fini(cn_worker_t *w CN_UNUSED, void *wctx)
{
    free(wctx);
}

const cn_module_t cn_module_decisions = {
    .abi = CN_MODULE_ABI,
    .name = "decisions",
    .after = "prometheus",
    .directives = directives,
    .conf[CN_LV_MAIN] = {.size = sizeof(decisions_conf_t), .init = init_main},
    .shm = shm,
    .admin = admin,
    .worker_init = worker_init,
    .reconfigured = reconfigured,
    .refused = refused,
    .worker_fini = worker_fini,
    .phase[CN_PH_LOG] = on_log,
    .active = active,
};
