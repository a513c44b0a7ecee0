// Transposed copies of matrices.
#pragma once
#include <algorithm>
#include <cstddef>

#include "isa.hpp"

// Shuffles of two vectors, which GCC has from its 12th version on.
#ifdef __has_builtin
#define SKREG_SHUFFLES __has_builtin(__builtin_shufflevector)
#else
#define SKREG_SHUFFLES 0
#endif

namespace skreg {

// C = A' for 4 rows of 4 entries; those of A lie `lda` apart, those of C `ldc`.
template <typename T>
SKREG_INLINE void transpose_square(const T *a, ptrdiff_t lda, T *c, ptrdiff_t ldc) {
#if SKREG_SHUFFLES
    typedef T V __attribute__((vector_size(4 * sizeof(T))));
    typedef V Stored __attribute__((aligned(alignof(T)), may_alias));
    const V a0 = *(const Stored *)a, a1 = *(const Stored *)(a + lda);
    const V a2 = *(const Stored *)(a + 2 * lda), a3 = *(const Stored *)(a + 3 * lda);
    const V first_above = __builtin_shufflevector(a0, a1, 0, 4, 1, 5);
    const V last_above = __builtin_shufflevector(a0, a1, 2, 6, 3, 7);
    const V first_below = __builtin_shufflevector(a2, a3, 0, 4, 1, 5);
    const V last_below = __builtin_shufflevector(a2, a3, 2, 6, 3, 7);
    *(Stored *)c = __builtin_shufflevector(first_above, first_below, 0, 1, 4, 5);
    *(Stored *)(c + ldc) = __builtin_shufflevector(first_above, first_below, 2, 3, 6, 7);
    *(Stored *)(c + 2 * ldc) =
        __builtin_shufflevector(last_above, last_below, 0, 1, 4, 5);
    *(Stored *)(c + 3 * ldc) =
        __builtin_shufflevector(last_above, last_below, 2, 3, 6, 7);
#else
    for (ptrdiff_t j = 0; j < 4; ++j)
        for (ptrdiff_t i = 0; i < 4; ++i) c[j * ldc + i] = a[i * lda + j];
#endif
}

// C (k, m) = A' for A (m, k), by squares, of which the last ones overlap the ones before.
template <typename T>
SKREG_INLINE void transpose(const T *a, ptrdiff_t lda, ptrdiff_t m, ptrdiff_t k, T *c,
                            ptrdiff_t ldc) {
    if (m < 4 || k < 4) {
        for (ptrdiff_t i = 0; i < m; ++i)
            for (ptrdiff_t p = 0; p < k; ++p) c[p * ldc + i] = a[i * lda + p];
        return;
    }
    for (ptrdiff_t j = 0; j < k; j += 4) {
        const ptrdiff_t p = std::min(j, k - 4);
        for (ptrdiff_t r = 0; r < m; r += 4) {
            const ptrdiff_t i = std::min(r, m - 4);
            transpose_square(a + i * lda + p, lda, c + p * ldc + i, ldc);
        }
    }
}

}  // namespace skreg
