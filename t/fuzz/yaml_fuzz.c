/* SPDX-License-Identifier: Apache-2.0
 *
 * Manifests from text to conf: the input is read as documents, as objects, as
 * a mesh of services and policies, and everything that could be written is.
 * The conf is then taken apart again by the simplest of readers: whatever names
 * and values were in the input, blocks must balance and lines must be whole.
 */
#include <stdio.h>

#include "core/hash.h"
#include "core/log.h"
#include "kube/check.h"
#include "kube/render.h"
#include "kube/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Behind a quote at from: behind the closing one. */
static size_t skip_quoted(cn_str_t t, size_t from)
{
    size_t at = from;

    while (t.p[at] != '"') {
        at += t.p[at] == '\\' ? 2 : 1;
        CN_BUG_ON(at >= t.n || (unsigned char)t.p[at] < 0x20);
    }
    return at + 1;
}

/* No text of the input may have opened or closed a block, or ended a comment:
 * outside of quotes and comments there are only words, and blocks balance. */
static void expect_whole(cn_str_t t)
{
    unsigned depth = 0;
    bool word = false;

    for (size_t at = 0; at < t.n;) {
        char c = t.p[at++];

        CN_BUG_ON(((unsigned char)c < 0x20 && c != '\n') || c == 0x7f);
        if (c == '#' && !word) {
            at += cn_str_find(cn_str_make(t.p + at, t.n - at), '\n');
        } else if (c == '"') {
            CN_BUG_ON(word);
            at = skip_quoted(t, at);
        } else if (c == '}') {
            CN_BUG_ON(depth == 0);
            depth--;
        } else {
            depth += c == '{';
            CN_BUG_ON((unsigned char)c >= 0x80 || c == '\'' || c == '\\');
        }
        word = !strchr(" \n;{}\"", c);
    }
    CN_BUG_ON(depth != 0);
}

static void render(cn_world_t *w, const cn_gateway_t *g)
{
    const cn_render_opts_t opts = {.cert = CN_STR("c"), .key = CN_STR("k"), .roots = CN_STR("r")};
    cn_vec_t files = {0};
    cn_kube_text_t text = {0};
    cn_out_t out;

    cn_translate_run(w, g, &out);
    cn_render_single(&out, &opts, &text);
    expect_whole(cn_text_str(&text));
    cn_text_fini(&text);
    cn_render_tree(&out, &opts, &files);
    for (uint32_t i = 0; i < files.n; i++) {
        cn_render_file_t *f = &((cn_render_file_t *)files.v)[i];

        CN_BUG_ON(cn_str_find_str(f->path, CN_STR("..")) < f->path.n || f->path.p[0] == '/');
        if (cn_str_ends(f->path, CN_STR(".conf")))
            expect_whole(f->text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_source_t src = {CN_STR("in.json"), 0};
    cn_str_t text = cn_str_make(size ? (const char *)data : "", size);
    FILE *null = fopen("/dev/null", "w");
    cn_diag_t diag;
    cn_store_t store;
    cn_mesh_t mesh;
    cn_world_t world;
    cn_gateway_t **g;

    cn_log_set_level(CN_LOG_EMERG);
    cn_diag_init(&diag, pool);
    cn_store_init(&store, pool, &diag);
    cn_meshconfig_default(&mesh);
    cn_yaml_read(pool, &diag, &src, text, cn_store_add, &store);
    if (store.documents == 0 && cn_meshconfig_read(&mesh, pool, &diag, &src, text) != CN_OK)
        cn_meshconfig_default(&mesh);
    cn_store_finish(&store);
    cn_model_init(&world, &store, &mesh);
    cn_attach_all(&world);
    g = world.gateways.v;
    for (uint32_t i = 0; i < world.gateways.n && i < 3; i++)
        render(&world, g[i]);
    if (null) {
        cn_check_print(&world, null);
        cn_diag_print(&diag, null);
        fclose(null);
    }
    cn_model_fini(&world);
    cn_store_fini(&store);
    cn_diag_fini(&diag);
    cn_pool_destroy(pool);
    return 0;
}
