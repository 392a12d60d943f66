/* SPDX-License-Identifier: Apache-2.0
 *
 * Being told of changes in folders (inotify), as far as the file system tells
 * all of them: on one that other machines write to, nothing is watched.
 */
#ifndef CN_OS_WATCH_H
#define CN_OS_WATCH_H

#include "core/pool.h"

typedef struct cn_watch cn_watch_t;

/* NULL with errno: not possible. */
cn_watch_t *cn_watch_create(void);
void cn_watch_destroy(cn_watch_t *); /* NULL is allowed */
/* Watches a folder (an absolute path, once is enough).  CN_DECLINE: it cannot
 * be, or it is reached through links, which may lead elsewhere tomorrow. */
CN_MUST cn_rc cn_watch_folder(cn_watch_t *, cn_str_t path);
/* Watches it as far as it goes, by whatever way it is reached: names that come
 * and go and files that are closed after writing, when this machine does it.
 * For who looks anyway and only wants to look sooner.  CN_DECLINE: not at all. */
CN_MUST cn_rc cn_watch_hint(cn_watch_t *, cn_str_t path);
/* Readable when something has happened; the watch's own. */
int cn_watch_fd(const cn_watch_t *);
/* Takes all that has happened: fn for each name in a folder, which may be told
 * several times.  CN_DECLINE: more was missed, so anything may have changed. */
typedef void cn_watch_cb(void *ctx, cn_str_t folder, cn_str_t name);
CN_MUST cn_rc cn_watch_take(cn_watch_t *, cn_watch_cb *fn, void *ctx);

#endif
