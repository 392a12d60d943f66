/* SPDX-License-Identifier: Apache-2.0
 *
 * The directive engine: an nginx-like language of `name argument...;` and
 * `name argument... { ... }`, read through tables.  A unit (a module, or a part
 * of the core) brings a table of directives and, for each level it has
 * settings on, a plain struct that the engine makes, hands to the setters and
 * frees.
 *
 * Levels nest MAIN > SERVICE > ROUTE and MAIN > CLUSTER.  When a block opens,
 * each unit's struct for the new level starts as a copy of its finished parent
 * (or by the unit's own init), so directives of a level must stand before its
 * nested blocks; the engine says so when they do not.  No UNSET values.
 */
#ifndef CN_CONF_CONF_H
#define CN_CONF_CONF_H

#include "core/pool.h"

/* A file of this name in a configuration's folder: cairn-gen is moving its output
 * there, or was killed while it did.  Nothing of such a folder is read. */
#define CN_CONF_UNFINISHED ".cairn-unfinished"

typedef struct cn_conf cn_conf_t; /* a parse in progress */
typedef struct cn_directive cn_directive_t;

typedef enum { CN_LV_MAIN, CN_LV_SERVICE, CN_LV_ROUTE, CN_LV_CLUSTER, CN_LV_MAX } cn_level_t;

/* where: levels on which a directive may stand ... */
#define CN_AT_MAIN (1u << CN_LV_MAIN)
#define CN_AT_SERVICE (1u << CN_LV_SERVICE)
#define CN_AT_ROUTE (1u << CN_LV_ROUTE)
#define CN_AT_CLUSTER (1u << CN_LV_CLUSTER)
#define CN_AT_PRIVATE (1u << 8) /* inside a unit's own block (cn_conf_block) */
/* ... and properties */
#define CN_D_BLOCK (1u << 16)      /* takes `{`; the setter reads the block with cn_conf_block() */
#define CN_D_REPEAT (1u << 17)     /* may stand several times; else a second one is an error */
#define CN_D_STRUCTURAL (1u << 18) /* a change needs new workers; MAIN level only */
#define CN_D_BARE (1u << 20)       /* with arguments and `;` instead of its block, too */
#define CN_D_TABLE (1u << 19)      /* arg is the table of its block: the reference shows it too */

#define CN_ARGS(min, max) ((unsigned)(min) | (unsigned)(max) << 8)
#define CN_ARGS_ANY 255u /* as max */

/* argv[0] is the directive's name.  conf: the unit's struct of the level (or
 * what was given to cn_conf_block; NULL when the unit has none there).  Strings
 * live in the level's pool and are NUL-terminated; the array argv itself is
 * gone after the call.  On failure: return cn_conf_error(...). */
typedef cn_rc cn_setter_fn(cn_conf_t *, const cn_directive_t *, void *conf, const cn_str_t *argv,
                           unsigned argc);

struct cn_directive {
    const char *name;
    unsigned where; /* CN_AT_* | CN_D_* */
    unsigned args;  /* CN_ARGS(min, max), without the name */
    cn_setter_fn *set;
    size_t off;         /* for the standard setters: offsetof the field */
    const void *arg;    /* for the setter: range, enum table, ... */
    const char *syntax; /* "worker_processes NUMBER | auto" */
    const char *help;   /* one or two sentences; required (lint) */
    const char *deflt;  /* shown in the reference; NULL: none */
};

/* A copy of the parent shares what the parent points to, which lives at least
 * as long: never append to an inherited vec (see cn_conf_first), and a unit
 * with a fini on a level that is copied from has an init, so that nothing is
 * freed twice.  Without init, the sizes of both levels must be the same.
 * init that fails cleans up after itself; in every other case fini runs once,
 * also when the load fails later.
 *
 * Nothing changes settings later.  So a unit without init, done and fini on a
 * level other than MAIN has no copy, but the parent's struct itself or constant
 * zeros, in a block where none of its directives stands: there are thousands. */
typedef struct {
    size_t size; /* 0: nothing on this level */
    cn_rc (*init)(cn_conf_t *, void *conf,
                  const void *parent); /* NULL: copy of parent, else zeros; see cn_conf_zeros */
    cn_rc (*done)(cn_conf_t *, void *conf);        /* after the block closed: check, compile */
    void (*fini)(void *conf);                      /* the section's last reference is gone */
    cn_rc (*check)(cn_conf_t *, const void *conf); /* behind done: only looks */
} cn_conf_ops_t;

/* As init: zeros, although the level above has settings, of another kind. */
cn_rc cn_conf_zeros(cn_conf_t *, void *conf, const void *parent);

typedef struct {
    const char *name;
    const cn_directive_t *directives; /* ends with a NULL name; may be NULL */
    const cn_conf_ops_t *levels;      /* CN_LV_MAX entries */
} cn_conf_unit_t;

/* ---- for setters ---- */

/* Records "file:line: message" (the first one counts) and returns CN_ERR. Say
 * what was found and what was expected. */
cn_rc cn_conf_error(cn_conf_t *, const char *fmt, ...) CN_PRINTF(2, 3);
void cn_conf_warn(cn_conf_t *, const char *fmt, ...) CN_PRINTF(2, 3);
cn_pool_t *cn_conf_pool(cn_conf_t *);
/* "file:line" of the directive being set; in the pool. */
cn_str_t cn_conf_where(cn_conf_t *);
/* The directive being set is the first of its kind in its block: a list that
 * was inherited from an outer level starts anew now. */
bool cn_conf_first(const cn_conf_t *);
/* The name of the innermost section or route: "reviews.bookinfo:9080"; empty on MAIN level. */
cn_str_t cn_conf_name(const cn_conf_t *);
/* The CN_D_BARE directive being set stands without its block. */
bool cn_conf_bare(const cn_conf_t *);
/* Reads the block of a CN_D_BLOCK directive with a table of CN_AT_PRIVATE
 * directives (at most 64), up to its closing brace. */
CN_MUST cn_rc cn_conf_block(cn_conf_t *, const cn_directive_t *table, void *conf);
/* Text of another file (endpoints), relative to
 * the prefix; part of what all workers see identically.  It is there to be
 * checked: it ends with the generation, while the section may be shared with
 * later ones in which the file says something else, so keep the path and ask
 * cn_gen_text() at run time.  The setter runs again when the file changes. */
CN_MUST cn_rc cn_conf_text(cn_conf_t *, cn_str_t path, cn_str_t *text);
/* The same for a file that nobody may see: keys, and what belongs to them.  It
 * travels with the configuration, so workers need no right to read it, and all
 * have what was checked; a dump leaves it out, and its memory is wiped. */
CN_MUST cn_rc cn_conf_secret(cn_conf_t *, cn_str_t path, cn_str_t *text);
/* A path made absolute against the prefix (where conf paths begin). */
cn_str_t cn_conf_path(cn_conf_t *, cn_str_t path);
/* Splits "name=value"; false when there is no '='. */
bool cn_conf_keyval(cn_str_t arg, cn_str_t *key, cn_str_t *value);

/* ---- standard setters; the field is at conf + off ---- */
cn_setter_fn cn_set_flag;  /* bool: on | off */
cn_setter_fn cn_set_str;   /* cn_str_t */
cn_setter_fn cn_set_strs;  /* cn_vec_t of cn_str_t: all arguments appended; the first use in a
                            * block drops what was inherited */
cn_setter_fn cn_set_u32;   /* uint32_t; arg: const cn_range_t * or NULL */
cn_setter_fn cn_set_ms;    /* uint64_t milliseconds: 500ms, 10s, 5m, 1h, 1d, 0 */
cn_setter_fn cn_set_size;  /* uint64_t bytes: 512, 16k, 4m, 1g */
cn_setter_fn cn_set_enum;  /* int; arg: const cn_enum_t[] ending with NULL */
cn_setter_fn cn_set_block; /* CN_D_BLOCK | CN_D_TABLE: reads the block with arg into conf + off */
typedef struct {
    uint32_t min, max;
} cn_range_t;
typedef struct {
    const char *word;
    int value;
} cn_enum_t;
CN_MUST cn_rc cn_conf_parse_ms(cn_str_t, uint64_t *ms);
CN_MUST cn_rc cn_conf_parse_size(cn_str_t, uint64_t *bytes);
/* A percentage from 0 to 100 with up to four decimals, as parts of CN_PARTS. */
#define CN_PARTS 1000000u
CN_MUST cn_rc cn_conf_parse_percent(cn_str_t, uint32_t *parts);

#endif
