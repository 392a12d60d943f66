/* SPDX-License-Identifier: Apache-2.0
 *
 * What the program tells about itself, from the modules' tables: so it cannot
 * say anything else than what runs.
 */
#include "main/info.h"

#include <stdlib.h>
#include <string.h>

#include "main/build.h"
#include "main/metrics.h"
#include "proxy/phase.h"
#include "proxy/worker.h"

void cn_info_version(FILE *out)
{
    fprintf(out, "cairn version: %s\n", cn_build_version);
    fprintf(out, "built by %s\n", cn_build_compiler);
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

/* Help texts are ours, so only the characters that occur in prose are escaped. */
static void put_escaped(FILE *out, const char *s)
{
    for (; s && *s; s++) {
        if (*s == '<')
            fputs("&lt;", out);
        else if (*s == '&')
            fputs("&amp;", out);
        else
            fputc(*s, out);
    }
}

static void put_metrics(FILE *out)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    unsigned n;
    const cn_metric_def_t **v = cn_metrics_all(&n);

    qsort((void *)(uintptr_t)v, n, sizeof(*v), by_name);
    fputs("<h1>Metrics</h1>\n<table>\n<tr><th>Name</th><th>Kind</th><th>Meaning</th></tr>\n", out);
    for (unsigned i = 0; i < n; i++) {
        fprintf(out, "<tr><td><code>%s</code></td><td>%s</td><td>", v[i]->name, kinds[v[i]->kind]);
        put_escaped(out, v[i]->help);
        fputs("</td></tr>\n", out);
    }
    fputs("</table>\n", out);
    free((void *)(uintptr_t)v);
}

void cn_info_reference(const cn_units_t *units, FILE *out)
{
    static const char close[] = "</body>\n</html>\n";
    char *page = NULL;
    size_t size = 0;
    FILE *mem = open_memstream(&page, &size);

    if (!mem)
        return;
    cn_conf_reference(units, mem);
    fclose(mem);
    /* The metrics go before the end of the page. */
    if (size >= sizeof(close) - 1 && strcmp(page + size - (sizeof(close) - 1), close) == 0)
        page[size - (sizeof(close) - 1)] = '\0';
    fputs(page, out);
    put_metrics(out);
    fputs(close, out);
    free(page);
}
