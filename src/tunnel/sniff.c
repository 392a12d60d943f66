/* SPDX-License-Identifier: Apache-2.0
 *
 * Is it HTTP?  Decides from the first bytes of an undeclared port as soon as
 * they exclude the other answers: at most a method's length and one more byte
 * are waited for, so bytes that merely could begin a method do not hang a TCP
 * protocol (they do behind Envoy, facts/verified 9).
 */
#include "tunnel/tunnel.h"

#define PREFACE "PRI * HTTP/2.0\r\n"
/* The longest registered method that clients of a mesh use; longer words are TCP. */
#define METHOD_MAX 16u

static bool is_method_char(char c)
{
    return (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

cn_sniff cn_tunnel_sniff(const cn_chain_t *in)
{
    char head[METHOD_MAX + 2];
    size_t n = cn_chain_peek(in, head, sizeof(head)), i = 0;
    size_t preface = n < sizeof(PREFACE) - 1 ? n : sizeof(PREFACE) - 1;

    if (n == 0)
        return CN_SNIFF_MORE;
    if (memcmp(head, PREFACE, preface) == 0 && n >= 4)
        return preface == sizeof(PREFACE) - 1 ? CN_SNIFF_HTTP2 : CN_SNIFF_MORE;
    while (i < n && i < METHOD_MAX && is_method_char(head[i]))
        i++;
    if (i == n)
        return CN_SNIFF_MORE;
    if (i == 0 || head[i] != ' ')
        return CN_SNIFF_TCP;
    if (i + 1 == n)
        return CN_SNIFF_MORE;
    /* origin-form, absolute-form or asterisk-form (RFC 9112 3.2) */
    return head[i + 1] == '/' || head[i + 1] == 'h' || head[i + 1] == '*' ? CN_SNIFF_HTTP1
                                                                          : CN_SNIFF_TCP;
}

cn_sniff cn_tunnel_sniff_http(const cn_chain_t *in)
{
    char head[sizeof(PREFACE) - 1];
    size_t n = cn_chain_peek(in, head, sizeof(head));

    if (memcmp(head, PREFACE, n) != 0)
        return CN_SNIFF_HTTP1;
    return n == sizeof(head) ? CN_SNIFF_HTTP2 : CN_SNIFF_MORE;
}
