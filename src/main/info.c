/* SPDX-License-Identifier: Apache-2.0
 *
 * What the program tells about itself, from the modules' tables: so it cannot
 * say anything else than what runs.
 */
#include "main/info.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "main/admin.h"
#include "main/build.h"
#include "main/metrics.h"
#include "proxy/phase.h"
#include "proxy/worker.h"

void cn_info_version(FILE *out)
{
    fprintf(out, "cairn version: %s\n", cn_build_version);
    fprintf(out, "built by %s\n", cn_build_compiler);
    fprintf(out, "built with OpenSSL %s, runs with %s (%s)\n", OPENSSL_VERSION_STR,
            OpenSSL_version(OPENSSL_VERSION_STRING), cn_build_openssl);
    fprintf(out, "prefix: %s\n", cn_build_prefix);
    fprintf(out, "configure arguments: %s\n", cn_build_configure);
    fprintf(out, "modules:");
    for (unsigned i = 0; i < cn_nmodules; i++)
        fprintf(out, " %s", cn_modules[i]->name);
    fprintf(out, "\n");
}

void cn_info_phases(FILE *out)
{
    for (unsigned ph = 0; ph < CN_PH_MAX; ph++) {
        fprintf(out, "%s:", cn_phase_name((cn_phase_t)ph));
        for (unsigned i = 0; i < cn_nmodules; i++) {
            /* Responses pass the modules in reverse. */
            unsigned at = ph == CN_PH_RESP_HEAD ? cn_nmodules - 1 - i : i;
            if (cn_modules[at]->phase[ph])
                fprintf(out, " %s", cn_modules[at]->name);
        }
        fprintf(out, "\n");
    }
}

static int by_name(const void *a, const void *b)
{
    const cn_metric_def_t *x = *(const cn_metric_def_t *const *)a;
    const cn_metric_def_t *y = *(const cn_metric_def_t *const *)b;

    return strcmp(x->name, y->name);
}

/* ---- the reference ---- */

static const char page_head[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<title>cairn: reference</title>\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<link rel=\"stylesheet\" href=\"style.css\">\n</head>\n<body>\n"
    "<nav><a href=\"index.html\">Manual</a><a href=\"reference.html\">Reference</a>"
    "<a href=\"architecture.html\">Architecture</a><a href=\"modules.html\">Modules</a>"
    "<a href=\"threat-model.html\">Threat model</a><a href=\"performance.html\">Performance</a><a href=\"changes.html\">Changes</a></nav>\n"
    "<h1>Reference</h1>\n"
    "<p>Written by <code>cairn -D</code> from the tables that the program itself works with: "
    "directives, <a href=\"#balancers\">balancers</a>, <a href=\"#endpoints\">endpoints</a> and "
    "<a href=\"#metrics\">metrics</a>. How the language is built is in the "
    "<a href=\"index.html#conf\">manual</a>.</p>\n";
static const char page_tail[] = "</body>\n</html>\n";

/* Texts are ours, so only the characters that occur in prose are escaped. */
static void put_escaped(FILE *out, const char *s)
{
    for (; s && *s; s++) {
        if (*s == '<')
            fputs("&lt;", out);
        else if (*s == '>')
            fputs("&gt;", out);
        else if (*s == '&')
            fputs("&amp;", out);
        else
            fputc(*s, out);
    }
}

static void put_row(FILE *out, const char *name, const char *kind, const char *help)
{
    fprintf(out, "<tr><td><code>%s</code></td><td>%s</td><td>", name, kind);
    put_escaped(out, help);
    fputs("</td></tr>\n", out);
}

static void put_metrics(FILE *out)
{
    unsigned n;
    const cn_metric_def_t **v = cn_metrics_all(&n);

    qsort((void *)(uintptr_t)v, n, sizeof(*v), by_name);
    fputs("<h2 id=\"metrics\">Metrics</h2>\n<table>\n"
          "<tr><th>Name</th><th>Kind</th><th>Meaning</th></tr>\n",
          out);
    for (unsigned i = 0; i < n; i++)
        put_row(out, v[i]->name, cn_stats_kind_name(v[i]->kind), v[i]->help);
    fputs("</table>\n", out);
    free((void *)(uintptr_t)v);
}

static void put_balancers(FILE *out)
{
    fputs("<h2 id=\"balancers\">Balancers</h2>\n<table>\n"
          "<tr><th>Name</th><th>Module</th><th>Which endpoint it chooses</th></tr>\n",
          out);
    for (unsigned i = 0; i < cn_nmodules; i++) {
        const cn_lb_ops_t *const *v = cn_modules[i]->lb;
        for (; v && *v; v++)
            put_row(out, (*v)->name, cn_modules[i]->name, (*v)->help);
    }
    fputs("</table>\n", out);
}

static void put_endpoint(FILE *out, const char *methods, const char *path, unsigned where,
                         bool local, const char *help)
{
    static const char *const names[] = {"agent", "health", "metrics", "admin"};
    const char *between = "";

    fprintf(out, "<tr><td><code>%s %s</code></td><td>", methods, path);
    for (unsigned i = 0; i < CN_COUNT(names); i++) {
        if (where & 1u << i) {
            fprintf(out, "%s%s", between, names[i]);
            between = ", ";
        }
    }
    fputs("</td><td>", out);
    put_escaped(out, help);
    fputs(local ? " (only from this host)</td></tr>\n" : "</td></tr>\n", out);
}

static void put_endpoints(FILE *out)
{
    fputs("<h2 id=\"endpoints\">Endpoints</h2>\n<table>\n"
          "<tr><th>Request</th><th>On listeners of kind</th><th>Answer</th></tr>\n",
          out);
    for (const cn_admin_page_t *p = cn_admin_pages; p->path; p++)
        put_endpoint(out, p->methods, p->path, p->where, p->local, p->help);
    for (unsigned i = 0; i < cn_nmodules; i++) {
        for (const cn_admin_t *a = cn_modules[i]->admin; a && a->path; a++)
            put_endpoint(out, a->methods, a->path, a->where, false, a->help);
    }
    fputs("</table>\n", out);
}

void cn_info_reference(const cn_units_t *units, FILE *out)
{
    fputs(page_head, out);
    cn_conf_reference(units, out);
    put_balancers(out);
    put_endpoints(out);
    put_metrics(out);
    fputs(page_tail, out);
}
