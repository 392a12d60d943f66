/* SPDX-License-Identifier: Apache-2.0
 *
 * What a process is allowed to do: user and group, resource limits.
 */
#ifndef CN_OS_PRIV_H
#define CN_OS_PRIV_H

#include <sys/types.h>

#include "core/base.h"

typedef struct {
    uid_t uid;
    gid_t gid;
    char name[64]; /* for supplementary groups; empty for a numeric user */
} cn_priv_t;

bool cn_priv_is_root(void);
/* user: a name or a number; group: the same, or NULL for the user's own.
 * CN_ERR: *why is a constant text. */
CN_MUST cn_rc cn_priv_lookup(const char *user, const char *group, cn_priv_t *, const char **why);
/* Becomes that user for good: groups, gid, uid, no way back, no new privileges
 * through exec.  CN_ERR with errno: the process must end. */
CN_MUST cn_rc cn_priv_drop(const cn_priv_t *);
/* Open files that the process may have; raises the hard limit when allowed. */
CN_MUST cn_rc cn_priv_nofile(uint64_t n);
/* For a process that only computes: at most so many seconds of CPU and bytes of
 * address space (0: as they are), no core file. */
CN_MUST cn_rc cn_priv_confine(uint64_t cpu_s, uint64_t bytes);

#endif
