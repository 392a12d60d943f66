/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CN_CORE_CLOCK_H
#define CN_CORE_CLOCK_H

#include "core/base.h"

/* Monotonic; unaffected by clock changes.  For durations and timers. */
uint64_t cn_clock_mono_ns(void);
/* Processor time that this process has used: a system call. */
uint64_t cn_clock_cpu_ns(void);
/* Since 1970 UTC.  For log lines and certificate validity only. */
uint64_t cn_clock_wall_us(void);

/* "2026-11-23T11:28:13.067Z", 24 bytes, no NUL. */
#define CN_CLOCK_ISO_LEN 24
void cn_clock_put_iso(char out[CN_CLOCK_ISO_LEN], uint64_t wall_us);
/* "Mon, 23 Nov 2026 11:28:13 GMT", 29 bytes, no NUL (RFC 9110 5.6.7). */
#define CN_CLOCK_HTTP_LEN 29
void cn_clock_put_http(char out[CN_CLOCK_HTTP_LEN], uint64_t wall_us);

#endif
