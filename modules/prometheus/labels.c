/* SPDX-License-Identifier: Apache-2.0
 *
 * Label values for a finished request or connection.  Every label is always
 * present; "no value" is the word unknown, except where Istio says otherwise
 * (facts/observability 1.3).
 */
#include "labels.h"

#include <stdio.h>

#define UNKNOWN CN_STR("unknown")

typedef struct {
    char *out;
    size_t n;
} put_t;

static void put(put_t *p, const char *name, cn_str_t value)
{
    if (value.n > PROM_VALUE_MAX)
        value.n = PROM_VALUE_MAX;
    if (p->n)
        p->out[p->n++] = ',';
    for (; *name; name++)
        p->out[p->n++] = *name;
    p->out[p->n++] = '=';
    p->out[p->n++] = '"';
    p->n += cn_stats_escape(p->out + p->n, 2 * PROM_VALUE_MAX, value);
    p->out[p->n++] = '"';
}

static cn_str_t or_else(cn_str_t value, cn_str_t fallback)
{
    return value.n ? value : fallback;
}

static cn_str_t or_unknown(cn_str_t value)
{
    return or_else(value, UNKNOWN);
}

static const cn_workload_t nobody;

/* From the certificate, which cannot be made up, before what is known of the pod. */
static cn_str_t source_namespace(const cn_facts_t *f, const cn_workload_t *w)
{
    cn_spiffe_t id;

    if (cn_spiffe_parse(f->tunnel->identity, &id) == CN_OK)
        return id.ns;
    return or_unknown(w->ns);
}

static void put_source(put_t *p, const cn_facts_t *f)
{
    const cn_workload_t *w = f->source ? f->source : &nobody;
    cn_str_t service = or_unknown(w->canonical_name);
    cn_str_t revision = or_else(w->canonical_revision, CN_STR("latest"));

    put(p, "source_workload", or_unknown(w->workload));
    put(p, "source_canonical_service", service);
    put(p, "source_canonical_revision", revision);
    put(p, "source_workload_namespace", source_namespace(f, w));
    put(p, "source_principal", or_unknown(f->tunnel->identity));
    put(p, "source_app", or_else(w->app, service));
    put(p, "source_version", or_else(w->version, f->source ? revision : UNKNOWN));
    put(p, "source_cluster", or_unknown(w->cluster));
}

/* Synthesised from the pod's record (facts/observability 1.3): empty parts mean
 * cluster.local and default. */
static cn_str_t principal_of(const cn_workload_t *w, char *buf, size_t cap)
{
    cn_str_t td = or_else(w->trust_domain, CN_STR("cluster.local"));
    cn_str_t ns = or_else(w->ns, CN_STR("default"));
    cn_str_t sa = or_else(w->service_account, CN_STR("default"));
    int n = snprintf(buf, cap, "spiffe://%.*s/ns/%.*s/sa/%.*s", CN_STR_ARG(td), CN_STR_ARG(ns),
                     CN_STR_ARG(sa));

    return cn_str_make(buf, n < 0 ? 0 : (size_t)n < cap ? (size_t)n : cap - 1);
}

static void put_destination(put_t *p, const cn_facts_t *f)
{
    const cn_workload_t *w = f->destination ? f->destination : &nobody;
    const cn_cluster_conf_t *c = f->cluster ? f->cluster->conf : NULL;
    /* without a route Istio does not know the service either */
    static const cn_service_conf_t none;
    const cn_service_conf_t *s = f->flags & CN_FLAG_NR ? &none : f->service;
    char principal[512];

    put(p, "destination_workload", or_unknown(w->workload));
    put(p, "destination_workload_namespace", or_unknown(w->ns));
    put(p, "destination_principal",
        f->destination ? principal_of(w, principal, sizeof(principal)) : UNKNOWN);
    put(p, "destination_app", or_unknown(or_else(w->app, w->canonical_name)));
    put(p, "destination_version", or_unknown(or_else(w->version, w->canonical_revision)));
    put(p, "destination_service", or_unknown(c ? c->host : s->host));
    put(p, "destination_canonical_service", or_unknown(w->canonical_name));
    put(p, "destination_canonical_revision", or_unknown(w->canonical_revision));
    put(p, "destination_service_name", or_unknown(c ? c->service_name : s->service_name));
    put(p, "destination_service_namespace",
        or_unknown(c ? c->service_namespace : s->service_namespace));
    put(p, "destination_cluster", or_unknown(w->cluster));
}

static void put_number(put_t *p, const char *name, unsigned v)
{
    char digits[20];

    put(p, name, cn_str_make(digits, cn_str_put_u64(digits, v)));
}

size_t prom_labels_put(char *out, const cn_facts_t *f, prom_kind_t kind)
{
    put_t p = {out, 0};
    char flags[64];
    size_t n = cn_flags_put(flags, f->flags, kind == PROM_TCP);

    put(&p, "reporter", CN_STR("waypoint"));
    put_source(&p, f);
    put_destination(&p, f);
    if (kind == PROM_MESSAGES)
        return p.n;
    put(&p, "request_protocol",
        kind == PROM_TCP ? CN_STR("tcp")
        : f->grpc        ? CN_STR("grpc")
                         : CN_STR("http"));
    if (kind == PROM_HTTP) {
        put_number(&p, "response_code", f->status);
        if (f->grpc && f->grpc_status >= 0)
            put_number(&p, "grpc_response_status", (unsigned)f->grpc_status);
        else
            put(&p, "grpc_response_status", CN_STR(""));
    }
    put(&p, "response_flags", cn_str_make(flags, n));
    put(&p, "connection_security_policy", f->mutual_tls ? CN_STR("mutual_tls") : CN_STR("none"));
    return p.n;
}
