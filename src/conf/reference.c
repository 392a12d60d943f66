/* SPDX-License-Identifier: Apache-2.0
 *
 * The directive tables as a document (`cairn -D`): what the reference says and
 * what the parser accepts come from the same table.
 */
#include "conf/section.h"

#include "conf/conf_int.h"

/* Tables of blocks inside blocks; a table may name itself. */
#define DEPTH_MAX 6u

/* Whether all of it was written is asked of the stream at the end. */
static void put(FILE *out, const char *fmt, ...) CN_PRINTF(2, 3);
static void put(FILE *out, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vfprintf(out, fmt, ap);
    va_end(ap);
}

static void put_text(FILE *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        switch (*p) {
        case '<':
            put(out, "&lt;");
            break;
        case '>':
            put(out, "&gt;");
            break;
        case '&':
            put(out, "&amp;");
            break;
        case '"':
            put(out, "&quot;");
            break;
        default:
            put(out, "%c", *p);
        }
    }
}

static void put_row(FILE *out, const char *head, const char *text, bool code)
{
    put(out, "<tr><th>%s</th><td>%s", head, code ? "<code>" : "");
    put_text(out, text);
    put(out, "%s</td></tr>\n", code ? "</code>" : "");
}

static void put_places(FILE *out, unsigned where, const char *block)
{
    static const char *const names[CN_LV_MAX] = {"main", "service", "route", "cluster"};
    const char *between = "";

    put(out, "<tr><th>Stands in</th><td>");
    for (int lv = 0; lv < CN_LV_MAX; lv++) {
        if (where & 1u << lv) {
            put(out, "%s%s", between, names[lv]);
            between = ", ";
        }
    }
    if (block)
        put(out, "%s<code>%s</code>", between, block);
    put(out, "%s%s</td></tr>\n", where & CN_D_REPEAT ? "; may be given several times" : "",
        where & CN_D_STRUCTURAL ? "; a change starts new workers" : "");
}

/* One entry; path makes the anchor: proxy.mesh.identity. */
static void put_directive(FILE *out, const cn_directive_t *d, const char *path, const char *block)
{
    put(out, "<section id=\"%s.%s\">\n<h3>%s</h3>\n<table>\n", path, d->name, d->name);
    put_row(out, "Syntax", d->syntax ? d->syntax : d->name, true);
    if (d->deflt)
        put_row(out, "Default", d->deflt, true);
    put_places(out, d->where, block);
    put(out, "</table>\n<p>");
    put_text(out, d->help ? d->help : "");
    put(out, "</p>\n</section>\n");
}

static void put_table(FILE *out, const cn_directive_t *table, const char *path, const char *block,
                      unsigned depth)
{
    for (const cn_directive_t *d = table; d && d->name; d++) {
        char inner[256];

        put_directive(out, d, path, block);
        if (!cn_conf_table(d) || depth == DEPTH_MAX)
            continue;
        (void)snprintf(inner, sizeof(inner), "%s.%s", path, d->name);
        put_table(out, cn_conf_table(d), inner, d->name, depth + 1);
    }
}

static void put_unit(FILE *out, const char *name, const cn_directive_t *table)
{
    if (!table || !table->name)
        return;
    put(out, "<h2 id=\"%s\">", name);
    put_text(out, name);
    put(out, "</h2>\n");
    put_table(out, table, name, NULL, 0);
}

/* One line of links to what a unit knows on the levels, not inside its blocks. */
static void put_links(FILE *out, const char *name, const cn_directive_t *table)
{
    if (!table || !table->name)
        return;
    put(out, "<tr><td><a href=\"#%s\">%s</a></td><td>", name, name);
    for (const cn_directive_t *d = table; d->name; d++)
        put(out, "%s<a href=\"#%s.%s\"><code>%s</code></a>", d == table ? "" : " ", name, d->name,
            d->name);
    put(out, "</td></tr>\n");
}

void cn_conf_reference(const cn_units_t *units, FILE *out)
{
    put(out, "<table>\n<tr><th>Part</th><th>Directives</th></tr>\n");
    put_links(out, "blocks", cn_gen_directives);
    for (unsigned i = 0; i < units->n; i++)
        put_links(out, units->v[i].name, units->v[i].directives);
    put(out, "</table>\n");
    put_unit(out, "blocks", cn_gen_directives);
    for (unsigned i = 0; i < units->n; i++)
        put_unit(out, units->v[i].name, units->v[i].directives);
}
