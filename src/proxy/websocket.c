/* SPDX-License-Identifier: Apache-2.0
 *
 * WebSocket through the proxy: the message of a handshake is a GET that asks
 * for the upgrade and a 101 that grants it, whatever HTTP version carried them
 * (the muxes turn RFC 8441's CONNECT into that and back).  Here: the keys that
 * only HTTP/1.1 needs, answers that grant nothing, and both directions of bytes,
 * each of which ends by itself.
 *
 * HTTP/2 takes no notice of keys (RFC 8441 5), but a proxy like Envoy makes a
 * handshake of HTTP/1.1 of what it gets without making a key: so they go along.
 */
#include "http/websocket.h"

#include "proxy/req_int.h"

static const cn_str_t key_name = CN_STR("sec-websocket-key");
static const cn_str_t accept_name = CN_STR("sec-websocket-accept");

/* A client of HTTP/2 sent no key, and a host of HTTP/1.1 wants one. */
void cn_websocket_begin(cn_req_t *req)
{
    cn_msg_t *msg = &req->msg;

    if (!msg->upgrade_websocket || cn_msg_find(&msg->headers, key_name, NULL))
        return;
    cn_msg_add(msg, &msg->headers, key_name, cn_websocket_key(req->pool, &req->w->rand));
    req->ws_key = true;
}

static cn_str_t expected(cn_req_t *req)
{
    const cn_header_t *key = cn_msg_find(&req->msg.headers, key_name, NULL);

    return key ? cn_websocket_accept(req->pool, key->value) : CN_STR_NULL;
}

/* The client checks the host's word itself where it made the key. */
static cn_rc granted(cn_req_t *req)
{
    cn_msg_t *resp = &req->resp;
    const cn_header_t *said = cn_msg_find(&resp->headers, accept_name, NULL);

    if (resp->version != CN_HTTP_2 && req->msg.version == CN_HTTP_2 &&
        (!said || !cn_str_eq(said->value, expected(req))))
        return CN_ERR;
    if (req->ws_key && req->msg.version == CN_HTTP_2)
        cn_msg_remove(&resp->headers, accept_name);
    else if (resp->version == CN_HTTP_2)
        cn_msg_set(resp, &resp->headers, accept_name, expected(req));
    return CN_OK;
}

cn_rc cn_websocket_answered(cn_req_t *req)
{
    unsigned status = req->resp.status;

    if (!req->msg.upgrade_websocket)
        return CN_OK;
    if (status == 101) {
        if (granted(req) == CN_OK)
            return CN_OK;
        cn_req_reply(req, 502, CN_STR("upstream sent a wrong sec-websocket-accept"),
                     CN_STR("websocket_handshake_unsuccessful"), CN_FLAG_UPE);
        return CN_DONE;
    }
    if (status / 100 != 2)
        return CN_OK;
    /* facts/verified 1.2 */
    cn_req_reply(req, 200, CN_STR_NULL, CN_STR("websocket_handshake_unsuccessful"), 0);
    return CN_DONE;
}

/* Bytes both ways.  A direction that ended leaves the other open. */
cn_rc cn_websocket_run(cn_req_t *req)
{
    cn_rc up = cn_req_pump_request(req), down = CN_DONE;

    if (up == CN_ERR)
        return CN_ERR;
    if (!req->ws_down)
        down = cn_req_pump_response(req);
    if (down == CN_ERR)
        return CN_ERR;
    if (up == CN_DONE && down == CN_AGAIN && !req->ws_down && !(req->f.flags & CN_FLAG_DC)) {
        /* who ends first is what logs tell (facts/verified 1.2) */
        req->f.flags |= CN_FLAG_DC;
        req->f.details = CN_STR("downstream_remote_disconnect");
    }
    req->ws_down = req->ws_down || down == CN_DONE;
    return up == CN_DONE && req->ws_down ? CN_DONE : CN_AGAIN;
}
