/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to src/conf: the lexer, the state of a parse in progress, and what
 * its files call in each other.
 *
 *   lex.c        text -> tokens with line numbers
 *   parse.c      tokens -> directives -> setters; knows blocks, not their meaning
 *   slot.c       the standard setters
 *   disk.c       what is on disk
 *   bundle.c     files
 *   look.c       whether they are still as they were read
 *   settle.c     when a burst of changes has ended
 *   section.c    settings of one block: making, sharing, freeing
 *   gen.c        include, service, cluster and route blocks; the whole of a configuration
 *   peek.c       one directive of a configuration that need not be good
 *   reference.c  the tables as a document
 */
#ifndef CN_CONF_CONF_INT_H
#define CN_CONF_CONF_INT_H

#include <sys/stat.h>
#include <time.h>

#include "conf/conf.h"
#include "conf/section.h"

/* What a configuration may at most be; all of it is checked. */
#define CN_CONF_WORD_MAX 65536u  /* bytes in a word */
#define CN_CONF_WORDS_MAX 65536u /* words in a directive */
#define CN_CONF_DEPTH_MAX 16u    /* blocks inside each other */
#define CN_CONF_INCLUDE_DEPTH_MAX 8u
#define CN_CONF_FILE_MAX (64u << 20)   /* bytes in a file */
#define CN_CONF_TOTAL_MAX (512u << 20) /* bytes in all files */
#define CN_CONF_FILES_MAX 262144u
#define CN_CONF_NAME_MAX 255u /* bytes in the name of a service, cluster, route or host */
#define CN_CONF_TABLE_MAX 64u /* directives in a table given to cn_conf_block */

/* ---- lex.c ---- */

typedef enum {
    CN_LEX_WORD,
    CN_LEX_SEMI,
    CN_LEX_OPEN,
    CN_LEX_CLOSE,
    CN_LEX_END,
    CN_LEX_ERROR /* lexer's why says what is wrong */
} cn_lex_kind;

typedef struct {
    cn_lex_kind kind;
    bool escaped; /* raw holds escapes */
    uint32_t line;
    cn_str_t raw; /* a word's bytes as written, without the quotes; views the text */
} cn_lex_token_t;

/* Copying one saves the place. */
typedef struct {
    cn_str_t file; /* for messages */
    cn_str_t text;
    size_t at;
    uint32_t line;
    const char *why;
} cn_lex_t;

void cn_lex_init(cn_lex_t *, cn_str_t file, cn_str_t text);
/* CN_LEX_END and CN_LEX_ERROR repeat. */
cn_lex_token_t cn_lex_next(cn_lex_t *);
/* The value of a word, copied and NUL-terminated. */
cn_str_t cn_lex_value(cn_pool_t *, const cn_lex_token_t *);
/* Behind a `{` that is the depth-th open one: goes on to behind its `}`, and
 * returns that token, or CN_LEX_END or CN_LEX_ERROR.  hash may be NULL. */
cn_lex_token_t cn_lex_skip(cn_lex_t *, unsigned depth, uint64_t *hash);
/* Hash of what a token says, regardless of blanks and comments around it. */
uint64_t cn_lex_hash(const cn_lex_token_t *, uint64_t seed);

/* ---- parse.c ---- */

/* Properties of the engine's own directives, beside those of conf.h. */
#define CN_D_NESTED (1u << 24)  /* opens a level; settings must stand before it */
#define CN_D_NEUTRAL (1u << 25) /* may stand anywhere among settings and nested blocks */
#define CN_D_ENGINE (1u << 26)  /* the engine's own: its words do not outlive the load */

typedef struct {
    cn_str_t file;
    uint32_t line; /* 0: none */
} cn_pos_t;

/* A directive of a level, with what a load remembers of it. */
typedef struct cn_conf_entry {
    const cn_directive_t *directive;
    const char *owner;          /* the unit's name */
    unsigned unit;              /* index; the engine's own: not used */
    bool given;                 /* by -g: the files' ones do not count */
    struct cn_conf_entry *next; /* same name */
    struct {
        uint32_t scope;
        cn_pos_t first;
    } seen[CN_LV_MAX]; /* the last block of each level in which it stood */
} cn_conf_entry_t;

/* A block being read. */
typedef struct cn_scope {
    cn_level_t level;            /* CN_LV_MAX: a unit's own block */
    void **confs;                /* of a level */
    const cn_directive_t *table; /* of a unit's own block */
    void *conf;
    cn_str_t keyword, name; /* `service`, "reviews.bookinfo:9080"; empty for MAIN */
    cn_pos_t opened;
    cn_pos_t nested;                  /* the first nested block */
    uint32_t id;                      /* never 0 */
    uint32_t seen[CN_CONF_TABLE_MAX]; /* own block: line where each one stood first */
} cn_scope_t;

struct cn_conf {
    const cn_conf_load_t *load;
    cn_gen_t *gen;
    cn_pool_t *tmp;   /* ends with the load */
    cn_str_t error;   /* the first one; in tmp */
    cn_map_t entries; /* name -> cn_conf_entry_t */

    cn_lex_t *lex; /* the file being read */
    cn_scope_t *scope;
    cn_str_t block_name; /* of the innermost section or route */
    uint32_t scopes;     /* how many there were */
    unsigned depth;      /* open blocks */
    bool extra;          /* reading -g */

    cn_pos_t pos; /* of the directive being set */
    bool first;   /* it is the first of its kind in this block */
    bool unread;  /* its block was not read yet */
    bool bare;    /* it has none */
    const cn_str_t *argv;
    unsigned argc;
    const char *arg_at; /* where the text of its arguments begins */

    cn_section_t *section; /* being filled; for MAIN too */
    cn_vec_t routes;       /* of the section */
    cn_scope_t main;
    bool main_done;
    uint64_t main_hash; /* of the MAIN settings that sections inherit */
    uint64_t structural_hash;

    cn_map_t included; /* path -> cn_pos_t: where from */
    unsigned include_depth;
    uint32_t settings; /* MAIN directives so far, but for service and cluster blocks */
};

/* Makes the table of directives.  CN_ERR: two units claim the same one. */
CN_MUST cn_rc cn_conf_begin(cn_conf_t *, const cn_conf_load_t *);
void cn_conf_end(cn_conf_t *);
/* Starts a scope of a level; name may be empty. */
void cn_conf_scope(cn_conf_t *, cn_scope_t *, cn_level_t, void **confs, cn_str_t keyword,
                   cn_str_t name);
/* Reads directives into a scope: for a block up to behind its `}`, for MAIN up to the end of the
 * text. */
CN_MUST cn_rc cn_conf_read(cn_conf_t *, cn_scope_t *);
/* As cn_conf_error for what the lexer, or the end of the text, says in tok. */
cn_rc cn_conf_error_token(cn_conf_t *, const cn_lex_token_t *);

/* ---- section.c ---- */

/* What a service answers at, as key of the generation's address map. */
typedef struct {
    cn_str_t key;
    cn_str_t text; /* for messages */
} cn_claim_t;

cn_section_t *cn_section_create(const cn_units_t *, cn_level_t, cn_str_t name, cn_str_t where,
                                cn_section_t *parent);
/* Settings of one level, each that of the nearest enclosing one or made by
 * its unit.  outer: enclosing levels from the inside out, ending with NULL. */
CN_MUST cn_rc cn_section_level_init(cn_conf_t *, cn_section_t *, cn_level_t, void **confs,
                                    void **const *outer);
/* Those of one unit, to be changed: a copy from now on, if they were an outer
 * level's.  NULL: it has none on this level. */
void *cn_section_own(cn_section_t *, cn_level_t, void **confs, unsigned unit);
CN_MUST cn_rc cn_section_level_done(cn_conf_t *, cn_level_t, void **confs);
void **cn_section_confs(cn_section_t *);

/* ---- disk.c ---- */

/* By which a file that was not touched is known; all zeros: nothing was there. */
typedef struct {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime, ctime;
    mode_t mode;
    bool sure; /* it had not just been written when it was looked at */
} cn_disk_stamp_t;

cn_disk_stamp_t cn_disk_stamp(const struct stat *);
/* Untouched for sure? */
bool cn_disk_same(const cn_disk_stamp_t *before, const cn_disk_stamp_t *now);
/* False: nothing is there. */
bool cn_disk_look(const char *path, cn_disk_stamp_t *);
/* 0, or an errno.  *buf is the caller's in either case; the stamp is from
 * before the first byte was read, and not sure when it could not be. */
int cn_disk_read(const char *path, char **buf, size_t *len, cn_disk_stamp_t *);
/* Adds what is there, then sorts.  CN_ERR: a folder cannot be read. */
CN_MUST cn_rc cn_disk_glob(const char *pattern, cn_pool_t *, cn_vec_t *paths);
/* cn_str_t in byte order, whatever the locale, and each once. */
void cn_disk_sort(cn_vec_t *paths);
bool cn_disk_lists(const cn_vec_t *sorted, cn_str_t path);
/* Each with a NUL behind it, as a pattern's text is; heap. */
cn_str_t cn_disk_join(const cn_vec_t *paths);
/* The innermost folder that holds all that can match; direct: and nothing in
 * the folders in it can. */
const char *cn_disk_folder(cn_pool_t *, cn_str_t pattern, bool *direct);
/* The stamp of that folder, if direct. */
cn_disk_stamp_t cn_disk_pattern(cn_pool_t *, cn_str_t pattern);
/* Waits until the mark of an unfinished folder goes.  False: in vain. */
CN_MUST bool cn_disk_wait(const char *mark);

/* ---- bundle.c ---- */

/* What was looked at.  MISSED and FAILED: a file, a pattern, that could not be
 * read; the text is empty then. */
typedef enum {
    CN_SEEN_FILE,
    CN_SEEN_PATTERN,
    CN_SEEN_GONE, /* in parts: is not looked at any more */
    CN_SEEN_MISSED,
    CN_SEEN_FAILED
} cn_seen_kind;
typedef struct {
    cn_seen_kind kind;
    cn_str_t path;
    cn_str_t text; /* of a pattern: matching paths in byte order, each with a NUL behind it */
    cn_disk_stamp_t stamp; /* of the file; of a pattern: cn_disk_pattern() */
} cn_seen_t;
typedef void cn_seen_cb(void *ctx, const cn_seen_t *);
void cn_bundle_each(const cn_bundle_t *, cn_seen_cb *, void *ctx);

/* The path of a file, made absolute against the prefix. */
cn_str_t cn_bundle_path(const cn_bundle_t *, cn_pool_t *, cn_str_t);
cn_str_t cn_bundle_prefix(const cn_bundle_t *);
/* path: from cn_bundle_path.  The text lives as long as the bundle.  CN_ERR:
 * *why is a constant text. */
CN_MUST cn_rc cn_bundle_read(cn_bundle_t *, cn_str_t path, cn_str_t *text, const char **why);
bool cn_bundle_has(const cn_bundle_t *, cn_str_t path);
/* Reads an unfinished folder as any other. */
void cn_bundle_unmark(cn_bundle_t *);
/* This file is one, whenever it is read: its bytes are wiped at the end. */
void cn_bundle_secret(cn_bundle_t *, cn_str_t path);
/* What a pattern, as written, matches: a vec of cn_str_t in byte order.  A
 * plain name matches itself, whether it is there or not. */
CN_MUST cn_rc cn_bundle_glob(cn_bundle_t *, cn_str_t pattern, cn_pool_t *, cn_vec_t *paths,
                             const char **why);

/* ---- gen.c ---- */

/* An empty one; the caller's. */
cn_gen_t *cn_gen_create(const cn_conf_load_t *, cn_section_t *main);
cn_map_t *cn_gen_sections(cn_gen_t *, cn_level_t);
/* cn_str_t, in any order. */
bool cn_gen_lists(const cn_vec_t *paths, cn_str_t path);
/* The file that a section was read from; views `where`. */
cn_str_t cn_section_file(const cn_section_t *);
/* A section that has been read comes into a generation's maps by name, file and
 * text, or goes out of them; references are the caller's.  Claims are not
 * touched. */
void cn_gen_enter(cn_gen_t *, cn_section_t *);
void cn_gen_remove(cn_gen_t *, cn_section_t *);
/* Sections that were read from a file, or that name a text, one by one: start
 * with *iter = 0, NULL ends. */
cn_section_t *cn_gen_next_of_file(const cn_gen_t *, cn_str_t path, size_t *iter);
cn_section_t *cn_gen_next_of_text(const cn_gen_t *, cn_str_t path, size_t *iter);
/* Reads an included file. */
CN_MUST cn_rc cn_gen_include(cn_conf_t *, cn_str_t path);
/* Enters a text of the generation; see cn_conf_text. */
CN_MUST cn_rc cn_gen_use_text(cn_conf_t *, cn_str_t path, bool secret, cn_text_t **);
void cn_gen_text_unref(cn_text_t *);

/* include, service, cluster, route. */
extern const cn_directive_t cn_gen_directives[];

/* A directive's table, when the reference may show one (CN_D_TABLE). */
static inline const cn_directive_t *cn_conf_table(const cn_directive_t *d)
{
    return d->where & CN_D_TABLE ? d->arg : NULL;
}

#endif
