/* SPDX-License-Identifier: Apache-2.0
 *
 * Bodies on their way: gRPC messages are counted, and modules that asked for it
 * with cn_req_filter() change them.  Requests pass the filters in module order,
 * responses in reverse; between the two, at the host's side, is what is counted.
 *
 * Where nobody looks at a body its bytes do not pass here at all.
 */
#include "proxy/req_int.h"

static void insert(cn_filters_t *list, unsigned module)
{
    unsigned i = list->n++;

    for (; i > 0 && list->module[i - 1] > module; i--)
        list->module[i] = list->module[i - 1];
    list->module[i] = (uint8_t)module;
}

void cn_req_filter(cn_req_t *req, const cn_module_t *module)
{
    unsigned m = 0;

    while (m < cn_nmodules && cn_modules[m] != module)
        m++;
    CN_BUG_ON(m == cn_nmodules || req->filters.n == CN_FILTERS_MAX || req->up);
    for (unsigned i = 0; i < req->filters.n; i++)
        if (req->filters.module[i] == m)
            return;
    insert(&req->filters, m);
    req->f.grpc = cn_msg_is_grpc(&req->msg);
}

cn_headers_t *cn_req_trailers(cn_req_t *req, bool response)
{
    return response ? &req->resp.trailers : &req->msg.trailers;
}

static cn_rc run_one(cn_req_t *req, unsigned m, bool response, cn_chain_t *data, bool eos)
{
    const cn_module_t *mod = cn_modules[m];
    cn_body_fn *fn = response ? mod->resp_body : mod->req_body;
    cn_chain_t out = {0};
    cn_rc rc;

    if (!fn)
        return CN_OK;
    rc = fn(req, req->ctx[m], data, eos, &out);
    cn_chain_clear(data);
    *data = out;
    return rc;
}

bool cn_filter_wanted(const cn_req_t *req)
{
    return req->f.grpc || req->filters.n;
}

cn_rc cn_filter_request(cn_req_t *req, cn_chain_t *data, bool eos)
{
    const cn_filters_t *list = &req->filters;

    for (unsigned i = 0; i < list->n; i++)
        if (run_one(req, list->module[i], false, data, eos) != CN_OK)
            return CN_ERR;
    if (req->f.grpc) {
        cn_grpc_count(&req->asked_count, data);
        req->f.req_messages = req->asked_count.messages;
    }
    return CN_OK;
}

cn_rc cn_filter_response(cn_req_t *req, cn_chain_t *data, bool eos)
{
    const cn_filters_t *list = &req->filters;

    if (req->f.grpc) {
        cn_grpc_count(&req->answer_count, data);
        req->f.resp_messages = req->answer_count.messages;
    }
    for (unsigned i = list->n; i-- > 0;)
        if (run_one(req, list->module[i], true, data, eos) != CN_OK)
            return CN_ERR;
    return CN_OK;
}
