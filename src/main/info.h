/* SPDX-License-Identifier: Apache-2.0
 *
 * What the program tells about itself: -V, -L, -D.
 */
#ifndef CN_MAIN_INFO_H
#define CN_MAIN_INFO_H

#include <stdio.h>

#include "conf/section.h"

void cn_info_version(FILE *);
/* The phase table: in each phase, the modules in the order in which they run. */
void cn_info_phases(FILE *);
/* Directives, balancers, endpoints and metrics as the page html/reference.html. */
void cn_info_reference(const cn_units_t *, FILE *);

#endif
