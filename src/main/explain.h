/* SPDX-License-Identifier: Apache-2.0
 *
 * `cairn explain`: what would become of a request, and why.
 */
#ifndef CN_MAIN_EXPLAIN_H
#define CN_MAIN_EXPLAIN_H

#include "main/reload.h"

enum {
    CN_EXPLAIN_ALLOWED = 0,
    CN_EXPLAIN_USAGE = 2, /* or the configuration cannot be loaded */
    CN_EXPLAIN_DENIED = 3,
    CN_EXPLAIN_NO_ROUTE = 4
};

/* The arguments behind the word `explain` and its -c and -p, which the caller
 * has turned into the source.  Returns the exit status. */
int cn_explain_main(const cn_reload_source_t *, int argc, char **argv);
void cn_explain_usage(void);

#endif
