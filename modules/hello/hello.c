/* SPDX-License-Identifier: Apache-2.0
 *
 * hello: the template that html/modules.html walks through.  `hello "text";`
 * in the main part or in a service adds a header `x-hello: text` to every
 * response, and /hello on the admin listener says the main part's text.
 *
 * Settings are copied from level to level, so a service without the directive
 * answers with the main part's text.  The text itself belongs to the pool of
 * the section that it was read in, which a request keeps until it ends.
 */
#include <stdlib.h>

#include <cairn/module.h>

typedef struct {
    cn_str_t text; /* empty: off */
} hello_conf_t;

typedef struct {
    cn_pool_t *pool; /* remade with each configuration */
    cn_str_t text;
} hello_worker_t;

static const cn_directive_t directives[] = {
    {
        .name = "hello",
        .where = CN_AT_MAIN | CN_AT_SERVICE,
        .args = CN_ARGS(1, 1),
        .set = cn_set_str,
        .off = offsetof(hello_conf_t, text),
        .syntax = "hello TEXT",
        .help =
            "Adds a header x-hello with this text to every response. An empty text turns it off.",
    },
    {0}};

static bool active(const void *conf, cn_phase_t phase)
{
    const hello_conf_t *c = conf;
    (void)phase;
    return c->text.n > 0;
}

static cn_rc on_response(cn_req_t *req, const void *conf, void *ctx)
{
    const hello_conf_t *c = conf;
    cn_msg_t *resp = cn_req_edit(req);
    (void)ctx;
    cn_msg_set(resp, &resp->headers, CN_STR("x-hello"), c->text);
    return CN_OK;
}

static cn_rc worker_init(cn_worker_t *w, void **wctx)
{
    (void)w;
    *wctx = cn_xzalloc(sizeof(hello_worker_t));
    return CN_OK;
}

/* The main part's settings end with their generation: what outlives them is copied. */
static void reconfigured(cn_worker_t *w, void *wctx, const void *main)
{
    hello_worker_t *h = wctx;
    const hello_conf_t *c = main;
    (void)w;
    cn_pool_destroy(h->pool);
    h->pool = cn_pool_create(256);
    h->text = cn_pool_dup(h->pool, c->text);
}

static void worker_fini(cn_worker_t *w, void *wctx)
{
    hello_worker_t *h = wctx;
    (void)w;
    cn_pool_destroy(h->pool);
    free(h);
}

static void on_admin(cn_worker_t *w, void *wctx, cn_admin_req_t *req)
{
    const hello_worker_t *h = wctx;
    (void)w;
    cn_chain_puts(&req->body, CN_STR("hello "));
    cn_chain_puts(&req->body, h->text);
    cn_chain_puts(&req->body, CN_STR("\n"));
}

static const cn_admin_t admin[] = {
    {"/hello", CN_ADMIN_ADMIN, "GET", on_admin, "The text of `hello` in the main part."}, {0}};

const cn_module_t cn_module_hello = {
    .abi = CN_MODULE_ABI,
    .name = "hello",
    .directives = directives,
    .conf[CN_LV_MAIN] = {.size = sizeof(hello_conf_t)},
    .conf[CN_LV_SERVICE] = {.size = sizeof(hello_conf_t)},
    .admin = admin,
    .worker_init = worker_init,
    .reconfigured = reconfigured,
    .worker_fini = worker_fini,
    .phase[CN_PH_RESP_HEAD] = on_response,
    .active = active,
};
