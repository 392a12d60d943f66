/* SPDX-License-Identifier: Apache-2.0
 *
 * The files that cairn-gen is given: names, folders and standard input.
 */
#ifndef CN_KUBE_INPUT_H
#define CN_KUBE_INPUT_H

#include "kube/diag.h"

typedef void cn_input_cb(void *arg, const cn_source_t *, cn_str_t text);

/* Hands over a file, standard input ("-"), or every .yaml, .yml and .json file
 * of a folder in the order of their names.  The text is gone after the call;
 * sources live in the pool.  *count numbers the sources.  CN_ERR: said to diag. */
CN_MUST cn_rc cn_input_read(cn_pool_t *, cn_diag_t *, const char *path, unsigned *count,
                            cn_input_cb *, void *arg);

#endif
