/* SPDX-License-Identifier: Apache-2.0
 *
 * `baggage` values of any bytes.  What must hold: the pieces found are bytes of
 * the input and free of the separators and of blanks around them, so that a
 * client cannot write one label by means of another; something is known exactly
 * when a piece was found; and members that mean nothing change nothing.
 */
#include "upstream/workload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const size_t fields[] = {offsetof(cn_workload_t, name),
                                offsetof(cn_workload_t, ns),
                                offsetof(cn_workload_t, service_account),
                                offsetof(cn_workload_t, workload),
                                offsetof(cn_workload_t, type),
                                offsetof(cn_workload_t, canonical_name),
                                offsetof(cn_workload_t, canonical_revision),
                                offsetof(cn_workload_t, cluster),
                                offsetof(cn_workload_t, trust_domain),
                                offsetof(cn_workload_t, app),
                                offsetof(cn_workload_t, version)};

static cn_str_t field(const cn_workload_t *w, size_t i)
{
    return *(const cn_str_t *)((const char *)w + fields[i]);
}

static void check_piece(cn_str_t piece, cn_str_t value)
{
    CN_BUG_ON(cn_str_find_str(value, piece) == value.n);
    CN_BUG_ON(cn_str_find(piece, ',') < piece.n || cn_str_find(piece, '=') < piece.n);
    CN_BUG_ON(cn_str_trim(piece).n != piece.n);
}

static void check_same(const cn_workload_t *a, const cn_workload_t *b)
{
    for (size_t i = 0; i < CN_COUNT(fields); i++)
        CN_BUG_ON(!cn_str_eq(field(a, i), field(b, i)));
}

/* What a header field may carry in front and behind without a meaning. */
static void check_padded(cn_pool_t *pool, cn_str_t value, const cn_workload_t *expected)
{
    static const cn_str_t nothing =
        CN_STR(" ,unknown.key=v,=,k8s.namespace.name,k8s.namespace.name=");
    char *all = cn_pool_bytes(pool, 2 * nothing.n + value.n + 2);
    cn_workload_t w;
    size_t n = 0;

    memcpy(all, nothing.p, nothing.n);
    n += nothing.n;
    all[n++] = ',';
    if (value.n)
        memcpy(all + n, value.p, value.n);
    n += value.n;
    all[n++] = ',';
    memcpy(all + n, nothing.p, nothing.n);
    n += nothing.n;
    CN_BUG_ON(cn_workload_from_baggage(pool, cn_str_make(all, n), &w) !=
              cn_workload_from_baggage(pool, value, &(cn_workload_t){0}));
    check_same(&w, expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_str_t value = cn_str_make((const char *)data, size);
    cn_workload_t w;
    bool known = cn_workload_from_baggage(pool, value, &w), found = false;

    for (size_t i = 0; i < CN_COUNT(fields); i++) {
        cn_str_t piece = field(&w, i);

        found = found || piece.n;
        if (piece.n)
            check_piece(piece, value);
    }
    CN_BUG_ON(known != found);
    CN_BUG_ON(w.service_account.n || w.type.n || w.trust_domain.n);
    check_padded(pool, value, &w);
    cn_pool_destroy(pool);
    return 0;
}
