/* SPDX-License-Identifier: Apache-2.0
 *
 * The watcher (conf_watch): a process that looks whether the configuration on
 * disk is still what the last check read, and tells the master when it is not.
 * It decides nothing: the master reloads as if it had been signalled, and hands
 * over what the check has read, whether that was accepted or not.
 *
 * A process, since a file system may not answer for as long as it likes.
 */
#ifndef CN_MAIN_WATCHER_H
#define CN_MAIN_WATCHER_H

#include "main/reload.h"
#include "os/proc.h"

typedef struct {
    pid_t pid;   /* 0: none */
    int channel; /* non-blocking; readable when there are news */
    uint64_t settle_ms;
} cn_watcher_t;

/* CN_ERR with errno.  It knows nothing until it is told. */
CN_MUST cn_rc cn_watcher_start(cn_watcher_t *, const cn_proc_title_t *, uint64_t settle_ms);
/* What a check has read: a bundle, which stays the caller's; part: a keeper's.
 * CN_ERR: it does not listen; end it, and start another. */
CN_MUST cn_rc cn_watcher_tell(const cn_watcher_t *, int bundle, bool part);

typedef enum { CN_WATCHER_CHANGED = 1, CN_WATCHER_UNFINISHED, CN_WATCHER_NO_HINTS } cn_watcher_kind;
typedef struct {
    cn_watcher_kind kind;
    unsigned n;    /* of CHANGED: so many files and patterns; of NO_HINTS: errno */
    cn_str_t path; /* of CHANGED: one of them; in pool */
} cn_watcher_news_t;
/* CN_AGAIN: there are none; CN_ERR: it has ended. */
CN_MUST cn_rc cn_watcher_heard(const cn_watcher_t *, cn_pool_t *pool, cn_watcher_news_t *);
/* It has ended, or is ended now. */
void cn_watcher_end(cn_watcher_t *);

#endif
