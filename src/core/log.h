/* SPDX-License-Identifier: Apache-2.0
 *
 * The error log: one line per event, "TIME LEVEL PID#WORKER area: message".
 * The sink is one of the few mutable globals (lint knows): before it is
 * opened, lines go to stderr.  Never log secrets: keys, tokens, header values
 * of authorization and cookie.
 */
#ifndef CN_CORE_LOG_H
#define CN_CORE_LOG_H

#include "core/str.h"

typedef enum {
    CN_LOG_EMERG,
    CN_LOG_ERROR,
    CN_LOG_WARN,
    CN_LOG_NOTICE,
    CN_LOG_INFO,
    CN_LOG_DEBUG
} cn_log_level;

/* path NULL or "stderr": file descriptor 2.  Keeps the old sink on CN_ERR (errno set). */
CN_MUST cn_rc cn_log_open(const char *path, cn_log_level);
CN_MUST cn_rc cn_log_reopen(void);
void cn_log_set_level(cn_log_level);
CN_MUST cn_rc cn_log_parse_level(cn_str_t, cn_log_level *);
bool cn_log_enabled(cn_log_level);
/* Shown in each line; -1 for the master. */
void cn_log_set_worker(int id);

/* area: "conf", "tls", "h2", "hbone", ...  The message is one line; control
 * bytes in it are written as \xNN, so that a peer cannot forge lines. */
void cn_log_write(cn_log_level, const char *area, const char *fmt, ...) CN_PRINTF(3, 4);

#define cn_log(level, area, ...)                                                                   \
    do {                                                                                           \
        if (cn_log_enabled(level))                                                                 \
            cn_log_write(level, area, __VA_ARGS__);                                                \
    } while (0)

#endif
