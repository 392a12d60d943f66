/* SPDX-License-Identifier: Apache-2.0
 *
 * Is a configuration on disk still as it was read?  Knows the files that a
 * check read, those that it could not, and what its patterns matched.  When
 * none of them is another one now, the same check would end the same way.
 *
 * Compared is what they say: a file that was merely touched or written again
 * with the same bytes has not changed.  Links are followed.  Pipes and devices
 * are not read.
 */
#ifndef CN_CONF_LOOK_H
#define CN_CONF_LOOK_H

#include "core/pool.h"

typedef struct cn_look cn_look_t;

cn_look_t *cn_look_create(void);
void cn_look_destroy(cn_look_t *);
/* From now on, what this bundle was read from: cn_bundle_save(), or with part
 * cn_bundle_save_part() of what is known already.  The descriptor stays the
 * caller's.  CN_ERR: it is not a bundle. */
CN_MUST cn_rc cn_look_take(cn_look_t *, int fd, bool part);
/* Looks at everything once.  True: something is not what it was when it was
 * last looked at. */
bool cn_look_around(cn_look_t *);

typedef struct {
    unsigned n;     /* how many files and patterns are other than they were read; 0: none */
    cn_str_t first; /* the path of one of them; until the next call that changes anything */
    uint64_t what;  /* the same for the same change */
} cn_look_news_t;
/* By the last look. */
cn_look_news_t cn_look_news(const cn_look_t *);
/* No news any more: somebody is about to read everything. */
void cn_look_accept(cn_look_t *);
/* cairn-gen is writing, or was killed while it did. */
bool cn_look_unfinished(const cn_look_t *);
/* The folders that all this is in, each once, at most max of them. */
typedef void cn_look_folder_cb(void *ctx, cn_str_t folder);
void cn_look_folders(const cn_look_t *, unsigned max, cn_look_folder_cb *, void *ctx);

#endif
