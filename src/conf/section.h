/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration at run time: a table of immutable, reference-counted sections,
 * one per service port and one per cluster, swapped in place.  A request pins
 * its section, not the table: a day-long stream keeps kilobytes of old
 * configuration alive, not the whole.  Sections whose text did not change are
 * shared between generations by hash.
 */
#ifndef CN_CONF_SECTION_H
#define CN_CONF_SECTION_H

#include <stdio.h>

#include "conf/conf.h"
#include "core/inet.h"
#include "core/map.h"
#include "core/multi.h"
#include "core/pause.h"

/* One route of a service: settings of all units on ROUTE level. */
typedef struct {
    cn_str_t name;
    cn_str_t where; /* file:line */
    void **confs;   /* by unit index; NULL where the unit has no ROUTE settings */
} cn_route_t;

typedef struct cn_section {
    uint32_t refs;
    cn_level_t level; /* CN_LV_MAIN, SERVICE or CLUSTER */
    cn_str_t name;    /* argument of the block: "reviews.bookinfo:9080" */
    cn_str_t where;   /* file:line of the block when it was read */
    uint64_t hash;    /* of its text and of the MAIN settings it inherits */
    cn_pool_t *pool;
    void **confs;       /* by unit index; NULL where the unit has nothing on this level */
    cn_route_t *routes; /* services only; in file order */
    uint32_t nroutes;
    struct cn_section *parent; /* MAIN, which the settings point into; one reference */
    cn_vec_t claims;           /* cn_claim_t: addresses and hosts, for sharing */
    cn_vec_t texts;            /* cn_str_t: paths of other files it names, for sharing */
    uint64_t
        text_mac;  /* keyed hash of its text: a hash that somebody made to collide shares nothing */
    void *runtime; /* what the proxy derives once per section (phase hooks); see runtime_fini */
    void (*runtime_fini)(void *);
    const struct cn_units *units;
} cn_section_t;

cn_section_t *cn_section_ref(cn_section_t *);
void cn_section_unref(cn_section_t *); /* NULL is allowed */

/* Core units come first, at these places; module i is unit CN_UNIT_MODULES + i. */
enum { CN_UNIT_MAIN, CN_UNIT_PROXY, CN_UNIT_TUNNEL, CN_UNIT_UPSTREAM, CN_UNIT_MODULES };

/* What belongs to a module that was left out of the build, so that a
 * configuration that uses it is told which one. */
typedef struct {
    const char *directive; /* or NULL: of its other words, such as a protocol */
    const char *module;
} cn_conf_absent_t;

/* The units of this program, in the order of the indices. Constant. */
typedef struct cn_units {
    const cn_conf_unit_t *v;
    unsigned n;
    const cn_conf_absent_t *absent; /* ends with a NULL module; NULL: none */
    const char *const *balancers;   /* `lb NAME`, ends with NULL; NULL: not known here */
} cn_units_t;

/* During parsing: says that a directive or another word needs a module that
 * was left out, and returns CN_ERR; CN_DECLINE: it is none of those. */
CN_MUST cn_rc cn_conf_absent(cn_conf_t *, cn_str_t word);
/* During parsing. */
const cn_units_t *cn_conf_units(const cn_conf_t *);

/* Another file of the configuration, as one or more generations have it. */
typedef struct {
    uint32_t refs;
    cn_str_t path; /* absolute */
    cn_str_t text;
    uint64_t hash; /* of text */
    bool secret;   /* see cn_conf_secret */
} cn_text_t;

/* A generation: everything one configuration says. */
typedef struct cn_gen {
    uint32_t refs;
    uint64_t id;              /* counts up with each published configuration */
    uint64_t structural_hash; /* of the CN_D_STRUCTURAL directives */
    cn_section_t *main;
    cn_map_t services;   /* name -> cn_section_t */
    cn_map_t clusters;   /* name -> cn_section_t */
    cn_map_t addresses;  /* claimed address or host -> cn_section_t; see cn_gen_find */
    cn_map_t texts;      /* path -> cn_text_t: other files that were read (endpoints, keys) */
    cn_multi_t by_file;  /* services and clusters by the file that they were read from */
    cn_multi_t by_text;  /* the same by each text that they name */
    cn_vec_t main_files; /* cn_str_t: files with MAIN settings in them */
    uint64_t main_hash;  /* of the MAIN settings that sections inherit */
    cn_str_t prefix;
    cn_pool_t *pool;
} cn_gen_t;

/* The files of one configuration, path -> bytes: read once, then the same for
 * the checker, the master and every worker (a sealed memfd). */
typedef struct cn_bundle cn_bundle_t;

/* Reads from disk as files are asked for, and remembers them.  Relative paths
 * begin at prefix, which is absolute.  CN_STR_NULL: reads no disk, knows only what is put. */
cn_bundle_t *cn_bundle_create(cn_str_t prefix);
/* Adds or replaces a text as if it were a file (tests, `-g`). */
void cn_bundle_put(cn_bundle_t *, cn_str_t path, cn_str_t text);
/* Writes everything remembered into a sealed memfd (close-on-exec). CN_ERR with
 * errno.  Other files, such as endpoints, are in it only after a load that was
 * not main_only. */
CN_MUST cn_rc cn_bundle_save(const cn_bundle_t *, int *fd);
/* From such a memfd, which may be closed then; its file offset plays no role,
 * so processes may share it.  Reads no disk any more. CN_ERR: not a bundle. */
CN_MUST cn_rc cn_bundle_open(int fd, cn_bundle_t **);
/* The same with pauses. */
CN_MUST cn_rc cn_bundle_open_pausing(int fd, const cn_pause_t *, cn_bundle_t **);
void cn_bundle_destroy(cn_bundle_t *);

/* What is other in one bundle than in another: paths, absolute. */
typedef struct {
    cn_vec_t conf;    /* cn_str_t: files that are included: new ones, or with another text */
    cn_vec_t texts;   /* cn_str_t: other files (cn_conf_text, cn_conf_secret) */
    cn_vec_t removed; /* cn_str_t: files that a pattern does not match any more */
    cn_vec_t lost;    /* cn_str_t: texts that are not there; not in a part: nobody may need them */
} cn_bundle_diff_t;

/* Reads again what has changed on disk since it was read; gen is what was made
 * of it.  CN_DECLINE: a file cannot be read now, so make a new bundle; nothing
 * can be said of this one any more. */
CN_MUST cn_rc cn_bundle_refresh(cn_bundle_t *, const struct cn_gen *gen, cn_pool_t *pool,
                                cn_bundle_diff_t *);
/* From now on refreshing looks only at files that the system says were touched,
 * where it can be relied on.  To be called before the files are read. */
void cn_bundle_watch(cn_bundle_t *);
/* Has cairn-gen written to the prefix, or begun to, since reading from there
 * began, with the bundle or with cn_bundle_refresh()?  Or somebody else there. */
bool cn_bundle_is_torn(const cn_bundle_t *);
/* A sealed memfd with only what the diff names and the texts that `more`
 * (paths, cn_str_t) names; for cn_gen_patch() elsewhere. */
CN_MUST cn_rc cn_bundle_save_part(const cn_bundle_t *, const cn_bundle_diff_t *,
                                  const cn_vec_t *more, int *fd);
/* What such a part says; views the bundle. */
void cn_bundle_part(const cn_bundle_t *, cn_pool_t *pool, cn_bundle_diff_t *);
/* Do both hold the same files with the same bytes? */
bool cn_bundle_same(const cn_bundle_t *, const cn_bundle_t *);

typedef struct {
    const cn_units_t *units;
    cn_bundle_t *bundle;
    cn_str_t file;           /* main conf file, as given */
    cn_str_t extra;          /* text of -g; its directives win over the file's */
    const cn_gen_t *prev;    /* sections to share, or NULL */
    bool main_only;          /* the master: skips service and cluster blocks */
    bool part;               /* the bundle is a part: what is not in it is as in prev */
    FILE *dump;              /* -T: each file's text as it is read, or NULL */
    const cn_pause_t *pause; /* before each section; NULL: in one go.  prev may not change then */
} cn_conf_load_t;

/* CN_ERR: *why is one line "file:line: message" (pool).  Warnings go to the log.
 * Neither the bundle nor prev is needed any more afterwards. */
CN_MUST cn_rc cn_gen_load(const cn_conf_load_t *, cn_pool_t *pool, cn_gen_t **out, cn_str_t *why);
/* A change of some files of load->prev, without reading the rest: what comes
 * and what goes.  judge: setters look at texts that changed; not needed for what
 * another process has judged.  CN_DECLINE: MAIN settings are touched, or it does
 * not fit the rest; load the whole, which says what is wrong. */
typedef struct cn_patch cn_patch_t;
CN_MUST cn_rc cn_gen_patch(const cn_conf_load_t *, const cn_bundle_diff_t *, bool judge,
                           cn_patch_t **out);
/* Makes the generation what the patch says, in place; requests pin sections,
 * so none is disturbed. */
void cn_gen_merge(cn_gen_t *, const cn_patch_t *);
/* Names (cn_str_t) of the clusters that are other than before, or gone. */
const cn_vec_t *cn_patch_clusters(const cn_patch_t *);
/* A text as it will be: what cn_gen_text_find() says after the merge, unless
 * nothing needs it any more. */
const cn_text_t *cn_patch_text_find(const cn_patch_t *, const cn_gen_t *, cn_str_t path);
/* Paths (cn_str_t) of the texts that it read. */
const cn_vec_t *cn_patch_texts(const cn_patch_t *);
void cn_patch_destroy(cn_patch_t *);
cn_gen_t *cn_gen_ref(cn_gen_t *);
/* The argument of a MAIN directive, by load's bundle, file and extra, even if
 * they do not make a good configuration or a folder is unfinished.  CN_DECLINE:
 * it does not stand there, as far as can be read; CN_ERR: nor can the file be
 * read.  *why: the first thing that could not be read, or empty; in pool. */
CN_MUST cn_rc cn_conf_peek(const cn_conf_load_t *, cn_str_t name, cn_pool_t *pool, cn_str_t *value,
                           cn_str_t *why);
void cn_gen_unref(cn_gen_t *);
/* The same, with pauses when it was the last reference. */
void cn_gen_drop(cn_gen_t *, const cn_pause_t *);

/* During parsing, for the core unit: this service answers at addr (port 0: any
 * port of that IP).  CN_ERR and a conf error when another service has it. */
CN_MUST cn_rc cn_conf_claim(cn_conf_t *, const cn_addr_t *);
/* The service at an address: exact port first, then any-port.  NULL: unknown. */
cn_section_t *cn_gen_find(const cn_gen_t *, const cn_addr_t *);
/* The service with this host name and port ("svc.ns.svc.cluster.local", 9080);
 * claimed with cn_conf_claim_host. */
CN_MUST cn_rc cn_conf_claim_host(cn_conf_t *, cn_str_t host, uint16_t port);
cn_section_t *cn_gen_find_host(const cn_gen_t *, cn_str_t host, uint16_t port);
/* A text that was read for the configuration (endpoints), or a NULL string.
 * path: as in the configuration, or absolute. */
cn_str_t cn_gen_text(const cn_gen_t *, cn_str_t path);
/* The same with its hash, or NULL. */
const cn_text_t *cn_gen_text_find(const cn_gen_t *, cn_str_t path);

/* Writes the directives of all units as a piece of an HTML page (`cairn -D`). */
void cn_conf_reference(const cn_units_t *, FILE *);

#endif
