/* SPDX-License-Identifier: Apache-2.0
 *
 * Signals as readable descriptors: no handler ever runs, so no code has to be
 * safe against one.
 */
#ifndef CN_OS_SIG_H
#define CN_OS_SIG_H

#include <sys/types.h>

#include "core/base.h"

/* Blocks these signals (a list that ends with 0) and gives a descriptor that
 * is readable while one is pending.  CN_ERR with errno. */
CN_MUST cn_rc cn_sig_open(const int *signals, int *fd);
/* The next pending signal, and who sent it (0: the kernel); 0: none. */
int cn_sig_next(int fd, pid_t *sender);
/* Writing to a closed peer is an error code, not a signal. */
void cn_sig_ignore_pipe(void);
/* A fresh process: nothing blocked, default actions. */
void cn_sig_reset(void);
/* "SIGHUP" and so on, for logs. */
const char *cn_sig_name(int signo);

#endif
