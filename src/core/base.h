/* SPDX-License-Identifier: Apache-2.0
 *
 * What every file of cairn may rely on: the result codes, attributes and
 * invariant checks.  Knows nothing of the rest of the tree.
 */
#ifndef CN_CORE_BASE_H
#define CN_CORE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The result of anything that can do other than succeed.  Never an HTTP
 * status and never an errno: causes are stored where they arise. */
typedef enum {
    CN_OK,      /* done, or progress was made */
    CN_AGAIN,   /* nothing now; the owner's task is woken when there is */
    CN_DECLINE, /* not mine, ask the next one */
    CN_DONE,    /* orderly end: end of stream, reply produced */
    CN_ERR      /* failed; the cause has been recorded by whoever found it */
} cn_rc;

#define CN_MUST __attribute__((warn_unused_result))
#define CN_NORETURN __attribute__((noreturn))
#define CN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define CN_UNUSED __attribute__((unused))

#define CN_LIKELY(x) __builtin_expect(!!(x), 1)
#define CN_UNLIKELY(x) __builtin_expect(!!(x), 0)

#define CN_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define cn_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Built with AddressSanitizer: what keeps or shares memory then does not, so that its use after
 * the end is seen. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define CN_ASAN 1
#else
#define CN_ASAN 0
#endif

CN_NORETURN void cn_base_bug(const char *cond, const char *file, int line);

/* Cheap invariants, checked in every build: a proxy that has lost track of
 * itself must stop, and its master starts another. */
#define CN_BUG_ON(cond)                                                                            \
    do {                                                                                           \
        if (CN_UNLIKELY(cond))                                                                     \
            cn_base_bug(#cond, __FILE__, __LINE__);                                                \
    } while (0)

/* Costly invariants, only in builds made with --with-debug. */
#ifdef CN_DEBUG
#define CN_DBG(cond) CN_BUG_ON(!(cond))
#else
#define CN_DBG(cond) ((void)0)
#endif

#endif
