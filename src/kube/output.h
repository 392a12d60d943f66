/* SPDX-License-Identifier: Apache-2.0
 *
 * Puts a rendered tree on disk: what did not change untouched, what is no longer
 * part of it removed.  Killed at any moment, it leaves what was there before, or
 * the new tree, or a folder that cairn refuses to read until the next run.
 */
#ifndef CN_KUBE_OUTPUT_H
#define CN_KUBE_OUTPUT_H

#include "kube/render.h"

/* CN_ERR: said to diag.  Files that cairn-gen did not write are never replaced
 * or removed. */
CN_MUST cn_rc cn_output_write(cn_pool_t *, cn_diag_t *, const char *dir, const cn_vec_t *files);

#endif
