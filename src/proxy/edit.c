/* SPDX-License-Identifier: Apache-2.0
 *
 * Rewriting where a request goes.  What the client asked for is kept for logs
 * and told to the host (facts/verified 3); a header of that name from the
 * client does not pass beside it.
 */
#include "http/uri.h"
#include "proxy/req_int.h"

void cn_req_set_target(cn_req_t *req, cn_str_t target)
{
    cn_msg_t *msg = &req->msg;

    if (req->f.original_path.n == 0) {
        req->f.original_path = msg->target;
        cn_msg_set(msg, &msg->headers, CN_STR("x-envoy-original-path"), msg->target);
    }
    msg->target = target;
    cn_uri_split(target, &msg->path, &msg->query, &msg->has_query);
}

void cn_req_set_authority(cn_req_t *req, cn_str_t authority)
{
    cn_msg_t *msg = &req->msg;

    if (req->f.original_host.n == 0) {
        req->f.original_host = msg->authority;
        cn_msg_set(msg, &msg->headers, CN_STR("x-envoy-original-host"), msg->authority);
    }
    msg->authority = authority;
}
