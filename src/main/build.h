/* SPDX-License-Identifier: Apache-2.0
 *
 * How this program was built; defined in the generated cn_build.c.
 */
#ifndef CN_MAIN_BUILD_H
#define CN_MAIN_BUILD_H

extern const char cn_build_version[];   /* "0.1.0" */
extern const char cn_build_configure[]; /* configure's arguments */
extern const char cn_build_compiler[];  /* "cc (Debian 12.2.0) 12.2.0" */
extern const char cn_build_prefix[];    /* the default of -p */
extern const char cn_build_openssl[];   /* how it is linked: "static" or "shared" */

#endif
