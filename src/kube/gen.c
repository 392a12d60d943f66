/* SPDX-License-Identifier: Apache-2.0
 *
 * cairn-gen: Kubernetes manifests -> the conf of a waypoint.  `render` is a
 * pure function from its input to files; `check` tells what binds to what.
 * This file is the command line only.
 */
#include <getopt.h>
#include <stdlib.h>

#include "core/hash.h"
#include "kube/check.h"
#include "kube/input.h"
#include "kube/limits.h"
#include "kube/output.h"
#include "kube/render.h"
#include "kube/yaml.h"
#include "main/build.h"

#define MAX_INPUTS 1024

typedef struct {
    const char *inputs[MAX_INPUTS];
    unsigned ninputs;
    const char *waypoint, *dir, *mesh_config;
    bool tls_files;
    cn_render_opts_t render;
} options_t;

typedef struct {
    cn_pool_t *pool;
    cn_diag_t diag;
    cn_store_t store;
    cn_mesh_t mesh;
    cn_world_t world;
    unsigned sources;
} program_t;

static void usage(FILE *to)
{
    fputs(
        "usage: cairn-gen render -f FILE|FOLDER|- ... -w NAMESPACE/NAME [-o FOLDER]\n"
        "                 [--bind ADDRESS] [--cert FILE --key FILE --roots FILE] [--mesh-config "
        "FILE]\n"
        "                 [--node NAME] [--locality REGION/ZONE/SUBZONE] [--tls-files]\n"
        "       cairn-gen check -f FILE|FOLDER|- ... [--mesh-config FILE]\n"
        "       cairn-gen -V\n"
        "\n"
        "render writes the conf of a waypoint: a tree below -o, else one file on standard output.\n"
        "check prints what each route and policy binds to, and what has no effect and why.\n"
        "\n"
        "  -f  manifests: YAML or JSON, as written by hand or as kubectl get -o yaml prints them;\n"
        "      of a folder, its .yaml, .yml and .json files\n"
        "  -w  the waypoint: namespace and name of its Gateway\n"
        "  --bind  address to listen at instead of 0.0.0.0; a loopback address is used for all\n"
        "      ports, else the admin port stays at 127.0.0.1\n"
        "  --cert, --key, --roots  PEM files as the conf shall name them, relative to the folder\n"
        "      of the conf (cert.pem, key.pem, roots.pem)\n"
        "  --mesh-config  Istio's MeshConfig, or the ConfigMap that holds it\n"
        "  --node, --locality  where the waypoint runs, for services that prefer near endpoints;\n"
        "      else what its pods in the input have in common\n"
        "  --tls-files  certificates that DestinationRules name are files of the waypoint's "
        "machine\n",
        to);
}

static bool is_word(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return false;
    return true;
}

static cn_rc take_option(options_t *o, int c, const char *arg)
{
    if (!is_word(arg))
        return CN_ERR;
    switch (c) {
    case 'f':
        if (o->ninputs == MAX_INPUTS)
            return CN_ERR;
        o->inputs[o->ninputs++] = arg;
        return CN_OK;
    case 'w':
        o->waypoint = arg;
        return CN_OK;
    case 'o':
        o->dir = arg;
        return CN_OK;
    case 'm':
        o->mesh_config = arg;
        return CN_OK;
    case 'b':
        o->render.bind = cn_str_c(arg);
        return cn_render_bind_ok(o->render.bind) ? CN_OK : CN_ERR;
    case 'c':
        o->render.cert = cn_str_c(arg);
        return CN_OK;
    case 'k':
        o->render.key = cn_str_c(arg);
        return CN_OK;
    case 'r':
        o->render.roots = cn_str_c(arg);
        return CN_OK;
    case 'n':
        o->render.node = cn_str_c(arg);
        return cn_store_is_dns_subdomain(o->render.node) ? CN_OK : CN_ERR;
    case 'l':
        o->render.locality = cn_str_c(arg);
        return o->render.locality.n ? CN_OK : CN_ERR;
    case 't':
        o->tls_files = true;
        return CN_OK;
    default:
        return CN_ERR;
    }
}

static cn_rc take_options(options_t *o, int argc, char **argv)
{
    static const struct option longs[] = {{"bind", required_argument, NULL, 'b'},
                                          {"cert", required_argument, NULL, 'c'},
                                          {"key", required_argument, NULL, 'k'},
                                          {"roots", required_argument, NULL, 'r'},
                                          {"mesh-config", required_argument, NULL, 'm'},
                                          {"node", required_argument, NULL, 'n'},
                                          {"locality", required_argument, NULL, 'l'},
                                          {"tls-files", no_argument, NULL, 't'},
                                          {NULL, 0, NULL, 0}};
    int c;

    *o = (options_t){.render = {.cert = CN_STR("cert.pem"),
                                .key = CN_STR("key.pem"),
                                .roots = CN_STR("roots.pem")}};
    while ((c = getopt_long(argc, argv, "f:w:o:", longs, NULL)) != -1)
        if (c == '?' || take_option(o, c, optarg ? optarg : "") != CN_OK) {
            if (c != '?')
                fprintf(stderr, "cairn-gen: \"%s\" cannot be the value of that option\n", optarg);
            return CN_ERR;
        }
    if (optind < argc) {
        fprintf(stderr, "cairn-gen: unexpected argument \"%s\": give each input with -f\n",
                argv[optind]);
        return CN_ERR;
    }
    if (o->ninputs == 0)
        fprintf(stderr, "cairn-gen: no input: give at least one -f\n");
    return o->ninputs ? CN_OK : CN_ERR;
}

/* ---- input ---- */

static void take_manifests(void *arg, const cn_source_t *src, cn_str_t text)
{
    program_t *p = arg;

    cn_yaml_read(p->pool, &p->diag, src, text, cn_store_add, &p->store);
}

static void take_mesh_config(void *arg, const cn_source_t *src, cn_str_t text)
{
    program_t *p = arg;

    if (cn_meshconfig_read(&p->mesh, p->pool, &p->diag, src, text) != CN_OK)
        cn_diag_warn(&p->diag, (cn_place_t){src, 0}, "the mesh's defaults are in effect");
}

static cn_rc load(program_t *p, const options_t *o)
{
    p->pool = cn_pool_create(1 << 16);
    cn_diag_init(&p->diag, p->pool);
    cn_store_init(&p->store, p->pool, &p->diag);
    cn_meshconfig_default(&p->mesh);
    for (unsigned i = 0; i < o->ninputs; i++)
        if (cn_input_read(p->pool, &p->diag, o->inputs[i], &p->sources, take_manifests, p) != CN_OK)
            return CN_ERR;
    if (o->mesh_config &&
        cn_input_read(p->pool, &p->diag, o->mesh_config, &p->sources, take_mesh_config, p) != CN_OK)
        return CN_ERR;
    p->mesh.rules_name_files = o->tls_files;
    cn_store_finish(&p->store);
    cn_model_init(&p->world, &p->store, &p->mesh);
    cn_attach_all(&p->world);
    if (p->store.documents == 0)
        cn_diag_error(&p->diag, (cn_place_t){NULL, 0}, "the input holds no Kubernetes object");
    return p->store.documents ? CN_OK : CN_ERR;
}

static int finish(program_t *p, cn_rc rc)
{
    cn_diag_print(&p->diag, stderr);
    cn_model_fini(&p->world);
    cn_store_fini(&p->store);
    cn_diag_fini(&p->diag);
    cn_pool_destroy(p->pool);
    return rc == CN_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- commands ---- */

/* Says which waypoints there are when the one asked for is none of them. */
static const cn_gateway_t *find_waypoint(program_t *p, const char *name)
{
    const cn_gateway_t *g = cn_map_get(&p->world.gateway_map, cn_str_c(name));
    cn_gateway_t *const *v = p->world.gateways.v;
    cn_str_t list = CN_STR_NULL;

    if (g && g->is_waypoint)
        return g;
    for (uint32_t i = 0; i < p->world.gateways.n; i++)
        if (v[i]->is_waypoint)
            list = cn_pool_printf(p->pool, "%.*s%s%.*s", CN_STR_ARG(list), list.n ? ", " : "",
                                  CN_STR_ARG(v[i]->obj->id));
    if (list.n == 0)
        list = CN_STR("none");
    if (g)
        cn_diag_error(&p->diag, (cn_place_t){NULL, 0},
                      "Gateway %s is not a waypoint (its class is \"%.*s\"); the input "
                      "has these waypoints: %.*s",
                      name, CN_STR_ARG(g->class_name), CN_STR_ARG(list));
    else
        cn_diag_error(&p->diag, (cn_place_t){NULL, 0},
                      "there is no waypoint \"%s\" in the input, which has these: %.*s", name,
                      CN_STR_ARG(list));
    return NULL;
}

static cn_rc write_out(program_t *p, const options_t *o, const cn_out_t *out)
{
    cn_vec_t files = {0};
    cn_kube_text_t text = {0};
    cn_rc rc = CN_OK;

    if (o->dir) {
        cn_render_tree(out, &o->render, &files);
        return cn_output_write(p->pool, &p->diag, o->dir, &files);
    }
    cn_render_single(out, &o->render, &text);
    if (fwrite(text.p, 1, text.n, stdout) != text.n || fflush(stdout) != 0) {
        cn_diag_error(&p->diag, (cn_place_t){NULL, 0}, "cannot write to standard output");
        rc = CN_ERR;
    }
    cn_text_fini(&text);
    return rc;
}

static int render(const options_t *o)
{
    program_t p = {0};
    cn_rc rc = load(&p, o);
    const cn_gateway_t *g = NULL;
    cn_out_t out;

    if (rc == CN_OK)
        g = find_waypoint(&p, o->waypoint);
    if (!g)
        return finish(&p, CN_ERR);
    cn_translate_run(&p.world, g, &out);
    return finish(&p, write_out(&p, o, &out));
}

static int check(const options_t *o)
{
    program_t p = {0};
    cn_rc rc = load(&p, o);
    cn_gateway_t *const *v = p.world.gateways.v;
    cn_out_t out;

    /* translating says what is wrong inside routes and policies */
    for (uint32_t i = 0; rc == CN_OK && i < p.world.gateways.n; i++)
        if (v[i]->is_waypoint)
            cn_translate_run(&p.world, v[i], &out);
    if (rc == CN_OK) {
        cn_limits_attach_notes(&p.world);
        cn_check_print(&p.world, stdout);
    }
    return finish(&p, rc);
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    options_t o;

    cn_hash_seed();
    if (strcmp(command, "-V") == 0 || strcmp(command, "--version") == 0) {
        printf("cairn-gen version: %s\n", cn_build_version);
        return EXIT_SUCCESS;
    }
    if (strcmp(command, "-h") == 0 || strcmp(command, "--help") == 0) {
        usage(stdout);
        return EXIT_SUCCESS;
    }
    if (strcmp(command, "render") != 0 && strcmp(command, "check") != 0) {
        usage(stderr);
        return 2;
    }
    argv[1] = argv[0]; /* getopt names it in its messages */
    if (take_options(&o, argc - 1, argv + 1) != CN_OK)
        return 2;
    if (command[0] == 'c')
        return check(&o);
    if (!o.waypoint || cn_str_find(cn_str_c(o.waypoint), '/') == strlen(o.waypoint)) {
        fprintf(stderr, "cairn-gen: say which waypoint with -w NAMESPACE/NAME\n");
        return 2;
    }
    return render(&o);
}
