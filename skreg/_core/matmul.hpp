// Matrix products from registers and caches: for sizes where a BLAS call costs more than
// the work and, with AVX-512, for all, since some builds of BLAS leave it unused.
//
// After Goto & van de Geijn (2008), Anatomy of High-Performance Matrix Multiplication: a
// tile of C stays in registers while a few rows of A run along a panel of B, two vectors
// wide, which stays in the first cache.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstring>

#include "isa.hpp"

namespace skreg {

#ifdef __GNUC__
constexpr ptrdiff_t PANEL_ROWS = 128;  // of at most 128 bytes each
// Below this many multiplications own loops win over any BLAS.
constexpr ptrdiff_t SMALL_PRODUCT = 128 * 128 * 128;

// In registers, and as it lies in memory, without alignment.
template <typename T, int bytes> struct Vector {
    typedef T type __attribute__((vector_size(bytes)));
    typedef T stored __attribute__((vector_size(bytes), aligned(alignof(T)), may_alias));
    static constexpr ptrdiff_t width = bytes / sizeof(T);
};

// A row-major matrix or its transpose: entry (i, j) lies at data[i * row + j * col].
template <typename T> struct Operand {
    const T *data;
    ptrdiff_t row, col;
    Operand from(ptrdiff_t i, ptrdiff_t j) const {
        return {data + i * row + j * col, row, col};
    }
};

// The first n columns of B, filled up with zeros to `width`.
template <ptrdiff_t width, typename T>
SKREG_INLINE void pack_panel(Operand<T> b, ptrdiff_t k, ptrdiff_t n, T *panel) {
    if (n < width) std::fill_n(panel, k * width, T(0));
    n = std::min(n, width);
    if (b.col == 1) {
        for (ptrdiff_t p = 0; p < k; ++p)
            for (ptrdiff_t j = 0; j < n; ++j)
                panel[p * width + j] = b.data[p * b.row + j];
    } else {
        for (ptrdiff_t j = 0; j < n; ++j)
            for (ptrdiff_t p = 0; p < k; ++p)
                panel[p * width + j] = b.data[p * b.row + j * b.col];
    }
}

// A tile of `rows` times `vectors` vectors, of which C takes the first n columns.
template <int rows, int vectors, int bytes, typename T>
SKREG_INLINE void tile(Operand<T> a, const T *panel, ptrdiff_t panel_row, ptrdiff_t k,
                       ptrdiff_t n, T *c, ptrdiff_t ldc, bool accumulate) {
    using V = typename Vector<T, bytes>::type;
    using Stored = typename Vector<T, bytes>::stored;
    constexpr ptrdiff_t width = Vector<T, bytes>::width;
    V sum[rows][vectors] = {};
    for (ptrdiff_t p = 0; p < k; ++p, a.data += a.col, panel += panel_row) {
        V b[vectors];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) b[v] = *(const Stored *)(panel + v * width);
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
            for (int v = 0; v < vectors; ++v) sum[r][v] += b[v] * a.data[r * a.row];
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r, c += ldc) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) {
            T *out = c + v * width;
            if (n >= (v + 1) * width) {
                *(Stored *)out =
                    accumulate ? *(const Stored *)out + sum[r][v] : sum[r][v];
            } else {
                T entries[width];
                *(Stored *)entries = sum[r][v];
                for (ptrdiff_t j = 0; j < n - v * width; ++j)
                    out[j] = accumulate ? out[j] + entries[j] : entries[j];
            }
        }
    }
}

// Tiles of `rows` rows, from row i of A as long as there are as many.
template <int rows, int vectors, int bytes, typename T>
SKREG_INLINE void tiles(ptrdiff_t &i, ptrdiff_t m, Operand<T> a, const T *panel,
                        ptrdiff_t panel_row, ptrdiff_t k, ptrdiff_t n, T *c,
                        ptrdiff_t ldc, bool accumulate) {
    for (; i + rows <= m; i += rows)
        tile<rows, vectors, bytes>(a.from(i, 0), panel, panel_row, k, n, c + i * ldc, ldc,
                                   accumulate);
}

// C (m, n) = A (m, k) @ B (k, n), or added to C, for n up to `vectors` vectors. Rows of B
// that fill the panel are read where they lie.
template <int rows, int vectors, int bytes, typename T>
SKREG_INLINE void panel_product(Operand<T> a, Operand<T> b, ptrdiff_t m, ptrdiff_t n,
                                ptrdiff_t k, T *c, ptrdiff_t ldc, bool accumulate) {
    constexpr ptrdiff_t width = vectors * Vector<T, bytes>::width;
    alignas(64) T packed[PANEL_ROWS * width];
    const T *panel = b.data;
    ptrdiff_t panel_row = b.row, i = 0;
    if (b.col != 1 || n < width) {
        pack_panel<width>(b, k, n, packed);
        panel = packed;
        panel_row = width;
    }
    if constexpr (rows == 12) {
        tiles<12, vectors, bytes>(i, m, a, panel, panel_row, k, n, c, ldc, accumulate);
        tiles<8, vectors, bytes>(i, m, a, panel, panel_row, k, n, c, ldc, accumulate);
    }
    if constexpr (rows == 6)
        tiles<6, vectors, bytes>(i, m, a, panel, panel_row, k, n, c, ldc, accumulate);
    tiles<4, vectors, bytes>(i, m, a, panel, panel_row, k, n, c, ldc, accumulate);
    tiles<2, vectors, bytes>(i, m, a, panel, panel_row, k, n, c, ldc, accumulate);
    tiles<1, vectors, bytes>(i, m, a, panel, panel_row, k, n, c, ldc, accumulate);
}

template <int bytes, int rows, typename T>
SKREG_INLINE void product(Operand<T> a, Operand<T> b, ptrdiff_t m, ptrdiff_t n,
                          ptrdiff_t k, bool accumulate, T *c) {
    constexpr ptrdiff_t width = Vector<T, bytes>::width;
    for (ptrdiff_t p = 0; p < k; p += PANEL_ROWS) {
        const ptrdiff_t inner = std::min(PANEL_ROWS, k - p);
        const bool add = accumulate || p > 0;
        ptrdiff_t j = 0;
        for (; j + width < n; j += 2 * width)
            panel_product<rows, 2, bytes>(a.from(0, p), b.from(p, j), m, n - j, inner,
                                          c + j, n, add);
        if (j < n)
            panel_product<rows, 1, bytes>(a.from(0, p), b.from(p, j), m, n - j, inner,
                                          c + j, n, add);
    }
}

// Tiles fill the registers of each instruction set: 32 of 64 bytes, 16 of 32 or 16.
template <typename T>
SKREG_V4 void product_v4(Operand<T> a, Operand<T> b, ptrdiff_t m, ptrdiff_t n,
                         ptrdiff_t k, bool accumulate, T *c) {
    product<64, 12>(a, b, m, n, k, accumulate, c);
}
template <typename T>
SKREG_V3 void product_v3(Operand<T> a, Operand<T> b, ptrdiff_t m, ptrdiff_t n,
                         ptrdiff_t k, bool accumulate, T *c) {
    product<32, 6>(a, b, m, n, k, accumulate, c);
}
template <typename T>
void product_baseline(Operand<T> a, Operand<T> b, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k,
                      bool accumulate, T *c) {
    product<16, 4>(a, b, m, n, k, accumulate, c);
}
#endif

// c (m) = A (m, k) @ b (k) for row-major A, four rows at a time.
template <typename T>
SKREG_CLONES void matvec(const T *__restrict a, const T *__restrict b, ptrdiff_t m,
                         ptrdiff_t k, T *__restrict c, bool accumulate) {
    ptrdiff_t i = 0;
    for (; i + 4 <= m; i += 4, a += 4 * k) {
        T s0 = T(0), s1 = T(0), s2 = T(0), s3 = T(0);
#pragma omp simd reduction(+ : s0, s1, s2, s3)
        for (ptrdiff_t p = 0; p < k; ++p) {
            s0 += a[p] * b[p];
            s1 += a[p + k] * b[p];
            s2 += a[p + 2 * k] * b[p];
            s3 += a[p + 3 * k] * b[p];
        }
        const T sums[4] = {s0, s1, s2, s3};
        for (int r = 0; r < 4; ++r) c[i + r] = accumulate ? c[i + r] + sums[r] : sums[r];
    }
    for (; i < m; ++i, a += k) {
        T sum = T(0);
#pragma omp simd reduction(+ : sum)
        for (ptrdiff_t p = 0; p < k; ++p) sum += a[p] * b[p];
        c[i] = accumulate ? c[i] + sum : sum;
    }
}

// c (m) = A' b for row-major A (k, m), four rows at a time.
template <typename T>
SKREG_CLONES void transposed_matvec(const T *__restrict a, const T *__restrict b,
                                    ptrdiff_t m, ptrdiff_t k, T *__restrict c,
                                    bool accumulate) {
    if (!accumulate)
        for (ptrdiff_t i = 0; i < m; ++i) c[i] = T(0);
    ptrdiff_t p = 0;
    for (; p + 4 <= k; p += 4, a += 4 * m) {
#pragma omp simd
        for (ptrdiff_t i = 0; i < m; ++i)
            c[i] += (b[p] * a[i] + b[p + 1] * a[i + m]) +
                    (b[p + 2] * a[i + 2 * m] + b[p + 3] * a[i + 3 * m]);
    }
    for (; p < k; ++p, a += m) {
#pragma omp simd
        for (ptrdiff_t i = 0; i < m; ++i) c[i] += b[p] * a[i];
    }
}

// C (m, n) = op(A) op(B), or added to C, where own loops are faster; false where the
// product is one for BLAS, and nothing was done.
template <typename T>
bool try_matmul(bool transpose_a, bool transpose_b, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k,
                const T *a, const T *b, bool accumulate, T *c) {
    if (n == 1 && !transpose_b) {
        transpose_a ? transposed_matvec(a, b, m, k, c, accumulate)
                    : matvec(a, b, m, k, c, accumulate);
        return true;
    }
#ifdef __GNUC__
    const int level = isa_level();
    if (level < 4 && m * n * k > SMALL_PRODUCT) return false;
    const Operand<T> left{a, transpose_a ? 1 : k, transpose_a ? m : 1};
    const Operand<T> right{b, transpose_b ? 1 : n, transpose_b ? k : 1};
    const auto run = level == 4   ? product_v4<T>
                     : level == 3 ? product_v3<T>
                                  : product_baseline<T>;
    run(left, right, m, n, k, accumulate, c);
    return true;
#else
    return false;
#endif
}

}  // namespace skreg
