/* SPDX-License-Identifier: Apache-2.0
 *
 * From files to a configuration that may be put in force.  The files are read
 * and judged in a short-lived child, the checker: whatever a bad configuration
 * does there, it cannot harm the master.  What comes back is one sealed memfd
 * with every file's bytes, from which master and workers load.
 */
#ifndef CN_MAIN_RELOAD_H
#define CN_MAIN_RELOAD_H

#include <stdio.h>
#include <sys/types.h>

#include "conf/section.h"

struct cn_worker;

/* Where the configuration is; constant once the command line has been read. */
typedef struct {
    cn_str_t prefix; /* absolute: files that we write are relative to it */
    cn_str_t file;   /* the conf file, absolute */
    cn_str_t dir;    /* its folder: files that it names are relative to it */
    cn_str_t extra;  /* of -g */
    const cn_units_t *units;
} cn_reload_source_t;

/* Loads everything from disk.  *bundle (may be NULL) holds what was read, also
 * when it is refused; the caller's.  dump: -T, or NULL.  CN_ERR: *why, in pool. */
CN_MUST cn_rc cn_reload_read(const cn_reload_source_t *, FILE *dump, bool main_only,
                             cn_pool_t *pool, cn_bundle_t **bundle, cn_gen_t **out, cn_str_t *why);
/* The same without -T, sharing what prev (may be NULL) has already. */
CN_MUST cn_rc cn_reload_read_again(const cn_reload_source_t *, const cn_gen_t *prev,
                                   cn_pool_t *pool, cn_bundle_t **bundle, cn_gen_t **out,
                                   cn_str_t *why);
/* The patch that a keeper's memfd means to gen; the caller's.  CN_ERR: it is
 * not meant for it. */
CN_MUST cn_rc cn_reload_open_part(const cn_reload_source_t *, int fd, const cn_gen_t *gen,
                                  cn_patch_t **out);
/* Loads from a checker's memfd, which stays the caller's.  pause: see
 * cn_conf_load_t; NULL: in one go. */
CN_MUST cn_rc cn_reload_open(const cn_reload_source_t *, int fd, bool main_only,
                             const cn_gen_t *prev, const cn_pause_t *pause, cn_pool_t *pool,
                             cn_gen_t **out, cn_str_t *why);
/* A running check. */
typedef struct {
    pid_t pid;   /* 0: none */
    int channel; /* readable when there is a result; non-blocking */
    bool kept;   /* by a keeper, whose channel it is */
} cn_reload_check_t;
/* Forks the checker.  cert_hash: of the certificate in force, 0: none.  CN_ERR
 * with errno. */
CN_MUST cn_rc cn_reload_check_start(cn_reload_check_t *, const cn_reload_source_t *,
                                    uint64_t cert_hash);
typedef enum {
    CN_CHECKED_ALL = 1, /* the bundle is a whole configuration */
    CN_CHECKED_PART,    /* it says what is other than in the one before */
    CN_CHECKED_SAME,    /* it is the one in force as a whole: nobody needs to take it */
    CN_CHECKED_BAD
} cn_reload_kind;
typedef struct {
    cn_reload_kind kind;
    int bundle;         /* the sealed memfd, the caller's; of BAD: what was looked at, or -1 */
    uint64_t expires_s; /* of our certificate; 0: none */
    uint64_t cert_hash; /* of it */
} cn_reload_checked_t;
/* For whoever checks: sends a result, and gives the descriptor back. */
CN_MUST cn_rc cn_reload_answer(int channel, const cn_reload_checked_t *, cn_str_t why);
/* Would a worker take it?  Puts it in force in one that serves nothing, and tells
 * of our certificate.  cert_hash: as above. */
CN_MUST cn_rc cn_reload_prove(cn_gen_t *, uint64_t cert_hash, cn_pool_t *pool,
                              cn_reload_checked_t *, cn_str_t *why);
/* Our certificate, as the worker has it in force. */
void cn_reload_tell_cert(const struct cn_worker *, cn_reload_checked_t *);
/* CN_AGAIN: not yet; CN_ERR: refused, *why in pool.  out->kind is then
 * CN_CHECKED_BAD when the checker said so, else (0, no bundle) what it holds is
 * not known. */
CN_MUST cn_rc cn_reload_check_result(const cn_reload_check_t *, cn_pool_t *pool,
                                     cn_reload_checked_t *, cn_str_t *why);
/* After the result: closes the channel.  The child ends by itself and is reaped
 * by whoever reaps. */
void cn_reload_check_end(cn_reload_check_t *);
/* Without having waited for a result. */
void cn_reload_check_abort(cn_reload_check_t *);

#endif
