/* SPDX-License-Identifier: Apache-2.0
 *
 * Known pods by IP, and pods as a `baggage` header describes them.
 */
#include "upstream/workload.h"

#include "core/hash.h"
#include "core/map.h"
#include "tls/spiffe.h"
#include "upstream/locality.h"

struct cn_workloads {
    uint32_t refs;
    cn_pool_t *pool;
    cn_map_t by_ip; /* 17 bytes: family and address -> cn_workload_t */
};

typedef struct {
    const char *key;
    size_t off;
} field_t;

#define FIELD(key, member)                                                                         \
    {                                                                                              \
        key, offsetof(cn_workload_t, member)                                                       \
    }

static const field_t line_fields[] = {FIELD("name", name),
                                      FIELD("namespace", ns),
                                      FIELD("service_account", service_account),
                                      FIELD("workload", workload),
                                      FIELD("type", type),
                                      FIELD("canonical_name", canonical_name),
                                      FIELD("canonical_revision", canonical_revision),
                                      FIELD("cluster", cluster),
                                      FIELD("trust_domain", trust_domain),
                                      FIELD("app", app),
                                      FIELD("version", version),
                                      FIELD("locality", locality),
                                      FIELD("node", node)};

/* hbone.md 1.3 and 3.1: ztunnel's keys and those that Envoy adds */
static const field_t baggage_fields[] = {FIELD("k8s.cluster.name", cluster),
                                         FIELD("k8s.namespace.name", ns),
                                         FIELD("k8s.deployment.name", workload),
                                         FIELD("k8s.cronjob.name", workload),
                                         FIELD("k8s.job.name", workload),
                                         FIELD("k8s.pod.name", workload),
                                         FIELD("k8s.instance.name", name),
                                         FIELD("service.name", canonical_name),
                                         FIELD("service.version", canonical_revision),
                                         FIELD("app.name", app),
                                         FIELD("app.version", version)};

static cn_str_t *field(cn_workload_t *w, const field_t *fields, size_t n, cn_str_t key)
{
    for (size_t i = 0; i < n; i++)
        if (cn_str_eq(cn_str_c(fields[i].key), key))
            return (cn_str_t *)((char *)w + fields[i].off);
    return NULL;
}

static uint64_t id_of(const cn_workload_t *w)
{
    uint64_t parts[CN_COUNT(line_fields)];

    for (size_t i = 0; i < CN_COUNT(line_fields); i++)
        parts[i] = cn_hash_sip(*(const cn_str_t *)((const char *)w + line_fields[i].off));
    return cn_hash_sip(cn_str_make((const char *)parts, sizeof(parts)));
}

#define KEY_LEN 17

static void make_key(char key[KEY_LEN], const cn_addr_t *addr)
{
    key[0] = (char)addr->family;
    memcpy(key + 1, addr->ip, sizeof(addr->ip));
}

static const char *parse_line(cn_workloads_t *ws, cn_str_t line)
{
    cn_workload_t *w = cn_pool_zalloc(ws->pool, sizeof(*w));
    char *key = cn_pool_bytes(ws->pool, KEY_LEN);
    cn_locality_t locality;
    cn_str_t word;
    cn_addr_t addr;

    if (!cn_str_split(&line, ' ', &word) || cn_inet_parse_ip(word, &addr) != CN_OK)
        return "expected an IP address first";
    make_key(key, &addr);
    while (cn_str_split(&line, ' ', &word)) {
        size_t eq = cn_str_find(word, '=');
        cn_str_t *to;

        if (word.n == 0)
            continue;
        if (eq == word.n)
            return "expected KEY=VALUE behind the address";
        to = field(w, line_fields, CN_COUNT(line_fields), cn_str_make(word.p, eq));
        if (!to)
            return "unknown key";
        *to = cn_pool_dup(ws->pool, cn_str_make(word.p + eq + 1, word.n - eq - 1));
    }
    w->id = id_of(w);
    if (w->locality.n && cn_locality_parse(w->locality, &locality) != CN_OK)
        return "locality: expected REGION/ZONE/SUBZONE, the last two may be missing";
    cn_map_put(&ws->by_ip, cn_str_make(key, KEY_LEN), w);
    return NULL;
}

cn_rc cn_workloads_parse(cn_str_t text, const cn_pause_t *pause, cn_pool_t *pool,
                         cn_workloads_t **out, cn_str_t *why)
{
    cn_pool_t *own = cn_pool_exempt(cn_pool_create(0));
    cn_workloads_t *ws = cn_pool_zalloc(own, sizeof(*ws));
    cn_str_t line;

    ws->refs = 1;
    ws->pool = own;
    cn_map_init(&ws->by_ip);
    for (unsigned n = 1; cn_str_split(&text, '\n', &line); n++) {
        const char *error;

        cn_pause(pause);
        line = cn_str_trim(line);
        if (line.n == 0 || line.p[0] == '#')
            continue;
        error = parse_line(ws, line);
        if (error) {
            *why = cn_pool_printf(pool, "line %u: %s", n, error);
            cn_workloads_unref(ws);
            return CN_ERR;
        }
    }
    *out = ws;
    return CN_OK;
}

cn_workloads_t *cn_workloads_ref(cn_workloads_t *ws)
{
    ws->refs++;
    return ws;
}

void cn_workloads_unref(cn_workloads_t *ws)
{
    if (!ws || --ws->refs)
        return;
    cn_map_fini(&ws->by_ip);
    cn_pool_destroy(ws->pool);
}

const cn_workload_t *cn_workloads_find(const cn_workloads_t *ws, const cn_addr_t *addr)
{
    char key[KEY_LEN];

    if (!ws || addr->family == 0)
        return NULL;
    make_key(key, addr);
    return cn_map_get(&ws->by_ip, cn_str_make(key, KEY_LEN));
}

cn_workload_t *cn_workload_dup(cn_pool_t *pool, const cn_workload_t *w)
{
    cn_workload_t *copy = cn_pool_alloc(pool, sizeof(*copy));

    *copy = *w;
    for (size_t i = 0; i < CN_COUNT(line_fields); i++) {
        cn_str_t *s = (cn_str_t *)((char *)copy + line_fields[i].off);

        if (s->n)
            *s = cn_pool_dup(pool, *s);
    }
    return copy;
}

/* "k=v,k=v": split on ',' then on '='; the second piece only, the last one
 * wins, unknown keys are ignored and an empty value is no value. */
bool cn_workload_from_baggage(cn_pool_t *pool, cn_str_t value, cn_workload_t *out)
{
    cn_str_t member, piece, *to;
    bool known = false;

    *out = (cn_workload_t){0};
    while (cn_str_split(&value, ',', &member)) {
        member = cn_str_trim(member);
        if (!cn_str_split(&member, '=', &piece))
            continue;
        to = field(out, baggage_fields, CN_COUNT(baggage_fields), cn_str_trim(piece));
        if (!to || !cn_str_split(&member, '=', &piece))
            continue;
        piece = cn_str_trim(piece);
        if (piece.n == 0)
            continue;
        *to = cn_pool_dup(pool, piece);
        known = true;
    }
    out->id = id_of(out);
    return known;
}

bool cn_workload_from_peer(cn_pool_t *pool, cn_str_t value, cn_str_t identity, cn_workload_t *out)
{
    cn_spiffe_t id;

    if (!cn_workload_from_baggage(pool, value, out) || cn_spiffe_parse(identity, &id) != CN_OK)
        return false;
    out->trust_domain = id.trust_domain;
    out->ns = id.ns;
    out->service_account = id.sa;
    out->id = id_of(out);
    return true;
}
