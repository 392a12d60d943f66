/* SPDX-License-Identifier: Apache-2.0
 * The proxy's part for the tests of lb, and their bed.
 */
#include "stub.h"

#include <stdio.h>

const cn_facts_t *cn_req_facts(const cn_req_t *req)
{
    return &req->facts;
}

cn_pool_t *cn_req_pool(cn_req_t *req)
{
    return req->pool;
}

cn_msg_t *cn_req_edit(cn_req_t *req)
{
    return &req->resp;
}

cn_worker_t *cn_req_worker(const cn_req_t *req CN_UNUSED)
{
    return NULL;
}

cn_str_t cn_worker_network(cn_worker_t *w CN_UNUSED)
{
    return CN_STR("net-a");
}

bool cn_req_explaining(const cn_req_t *req CN_UNUSED)
{
    return false;
}

void cn_req_explain(cn_req_t *req CN_UNUSED, const char *fmt CN_UNUSED, ...)
{
}

/* ---- the bed ---- */

static const cn_lb_ops_t *balancer(const char *name)
{
    for (const cn_lb_ops_t *const *lb = cn_module_lb.lb; *lb; lb++)
        if (strcmp((*lb)->name, name) == 0)
            return *lb;
    fail_msg("no balancer %s", name);
    return NULL;
}

static bool is_usable(void *wctx, cn_cluster_t *c CN_UNUSED, const void *conf CN_UNUSED,
                      cn_host_t *h)
{
    const bed_t *b = wctx;

    return !b->ejected[h - b->hosts];
}

static void look(void *wctx, cn_cluster_t *c CN_UNUSED, const void *conf CN_UNUSED,
                 cn_cluster_look_t *l)
{
    *l = ((const bed_t *)wctx)->look;
}

static const cn_admission_ops_t ops = {.usable = is_usable, .look = look};

static void make_request(bed_t *b)
{
    cn_req_t *r = &b->req;

    r->pool = cn_pool_create(0);
    cn_msg_init(&r->msg, r->pool);
    cn_msg_init(&r->resp, r->pool);
    r->facts.req = &r->msg;
    r->facts.tunnel = &r->tunnel;
    r->facts.source = &r->source;
    r->facts.start_ns = 12345;
    assert_int_equal(cn_inet_parse_ip(CN_STR("10.9.9.9"), &r->tunnel.source), CN_OK);
    r->facts.remote = r->tunnel.source;
}

void bed_open(bed_t *b, const char *lb, uint32_t nhosts)
{
    *b = (bed_t){.ops = balancer(lb), .conf = cn_lb_conf_default};
    for (uint32_t i = 0; i < BED_HOSTS; i++) {
        char text[CN_INET_TEXT];

        b->hosts[i] = (cn_host_t){.weight = 1, .healthy = true, .place = &b->places[i]};
        (void)snprintf(text, sizeof(text), "10.0.0.%u:8080", i + 1);
        assert_int_equal(cn_inet_parse_hostport(cn_str_c(text), false, &b->hosts[i].addr), CN_OK);
        b->v[i] = &b->hosts[i];
    }
    b->cluster = (cn_cluster_t){.lb = b->ops, .lb_conf = &b->conf, .hosts = b->v, .nhosts = nhosts};
    cn_rand_init(&b->rand, 7);
    make_request(b);
    b->pick = (cn_pick_t){.rand = &b->rand, .req = &b->req, .admissions = &b->admissions};
    b->admission = (cn_admission_t){&ops, b, 0};
    b->admissions = (cn_admissions_t){.v = &b->admission, .n = 1};
}

void bed_close(bed_t *b)
{
    b->ops->destroy(b->ctx);
    cn_pool_destroy(b->req.pool);
}

void bed_build(bed_t *b)
{
    b->cluster.lb_ctx = b->ctx = b->ops->build(&b->cluster, b->ctx);
}

void bed_eject(bed_t *b, unsigned host, bool ejected)
{
    b->ejected[host] = ejected;
    b->look.epoch++;
}

void bed_place(bed_t *b, unsigned host, const char *locality)
{
    assert_int_equal(cn_locality_parse(cn_str_c(locality), &b->places[host].locality), CN_OK);
}

void bed_client(bed_t *b, const char *locality, const char *node)
{
    b->req.source.locality = cn_str_c(locality);
    b->req.source.node = cn_str_c(node);
}

void bed_source(bed_t *b, unsigned n)
{
    char text[CN_INET_TEXT];

    (void)snprintf(text, sizeof(text), "10.9.0.%u", n);
    assert_int_equal(cn_inet_parse_ip(cn_str_c(text), &b->req.tunnel.source), CN_OK);
}

int bed_pick(bed_t *b)
{
    const cn_host_t *h = cn_cluster_pick(&b->cluster, &b->pick);

    return h ? (int)(h - b->hosts) : -1;
}

void bed_run(bed_t *b, unsigned n)
{
    memset(b->hits, 0, sizeof(b->hits));
    while (n--) {
        int i = bed_pick(b);

        assert_true(i >= 0);
        b->hits[i]++;
    }
}

/* Upper 1/1000 points of chi-square by degrees of freedom. */
static const double limits[] = {0,     10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32,
                                26.12, 27.88, 29.59, 31.26, 32.91, 34.53, 36.12, 37.70,
                                39.25, 40.79, 42.31, 43.82, 45.31, 46.80, 48.27, 49.73,
                                51.18, 52.62, 54.05, 55.48, 56.89, 58.30, 59.70, 61.10};

void bed_fits(const bed_t *b, const double *shares, unsigned nhosts)
{
    double total = 0, sum = 0, chi = 0;
    unsigned n = 0;

    for (unsigned i = 0; i < nhosts; i++) {
        total += b->hits[i];
        sum += shares[i];
    }
    for (unsigned i = 0; i < nhosts; i++) {
        double want = total * shares[i] / sum;

        if (want == 0) {
            assert_int_equal(b->hits[i], 0);
            continue;
        }
        chi += (b->hits[i] - want) * (b->hits[i] - want) / want;
        n++;
    }
    if (chi > limits[n - 1])
        fail_msg("chi-square %.2f is more than %.2f", chi, limits[n - 1]);
}
