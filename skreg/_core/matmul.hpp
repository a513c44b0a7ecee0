// Products of matrices so small, or so thin, that a BLAS call costs more than the work.
#pragma once
#include <cstddef>
#include <cstring>

#include "isa.hpp"

namespace skreg {

// Limits found by measurement against OpenBLAS, and of what lies on the stack.
constexpr ptrdiff_t SMALL_PRODUCT = 128 * 128 * 128, SMALL_INNER = 256,
                    TRANSPOSE_BUFFER = 4096;

#ifdef __GNUC__
// A cache line: one register with AVX-512, two with AVX, four with SSE2.
template <typename T> struct Vector {
    typedef T type __attribute__((vector_size(64)));
    static constexpr int width = 64 / sizeof(T);
};

// A tile of C, rows x width, stays in registers over the inner dimension. Only the first
// `cols` columns are stored.
template <int rows, typename T>
inline void tile(const T *a, ptrdiff_t a_row, ptrdiff_t a_inner, const T *b, ptrdiff_t ldb,
                 ptrdiff_t k, T *c, ptrdiff_t ldc, ptrdiff_t cols, bool accumulate) {
    using V = typename Vector<T>::type;
    V sum[rows] = {};
    for (ptrdiff_t p = 0; p < k; ++p, a += a_inner, b += ldb) {
        V row;
        std::memcpy(&row, b, sizeof(row));
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r) sum[r] += row * a[r * a_row];
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r, c += ldc) {
        T out[Vector<T>::width];
        std::memcpy(out, &sum[r], sizeof(out));
        for (ptrdiff_t j = 0; j < cols; ++j) c[j] = accumulate ? c[j] + out[j] : out[j];
    }
}

// Six rows fill AVX's sixteen registers, and keep AVX-512's units nearly busy.
template <typename T>
inline void column_panel(const T *a, ptrdiff_t a_row, ptrdiff_t a_inner, const T *b,
                         ptrdiff_t ldb, ptrdiff_t m, ptrdiff_t k, T *c, ptrdiff_t ldc,
                         ptrdiff_t cols, bool accumulate) {
    ptrdiff_t i = 0;
    for (; i + 6 <= m; i += 6)
        tile<6>(a + i * a_row, a_row, a_inner, b, ldb, k, c + i * ldc, ldc, cols,
                accumulate);
    if (i + 4 <= m) {
        tile<4>(a + i * a_row, a_row, a_inner, b, ldb, k, c + i * ldc, ldc, cols,
                accumulate);
        i += 4;
    }
    if (i + 2 <= m) {
        tile<2>(a + i * a_row, a_row, a_inner, b, ldb, k, c + i * ldc, ldc, cols,
                accumulate);
        i += 2;
    }
    if (i < m)
        tile<1>(a + i * a_row, a_row, a_inner, b, ldb, k, c + i * ldc, ldc, cols,
                accumulate);
}

// C (m, n) = A (m, k) @ B (k, n), or added to C. B and C are row-major; entry (i, p) of A
// lies at a[i * a_row + p * a_inner], so that A may be transposed.
template <typename T>
SKREG_CLONES void small_matmul(const T *a, ptrdiff_t a_row, ptrdiff_t a_inner, const T *b,
                               ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, T *c,
                               bool accumulate) {
    constexpr ptrdiff_t width = Vector<T>::width;
    ptrdiff_t j = 0;
    for (; j + width <= n; j += width)
        column_panel(a, a_row, a_inner, b + j, n, m, k, c + j, n, width, accumulate);
    if (j == n) return;
    T padded[SMALL_INNER * width];  // the last columns of B, filled up with zeros
    for (ptrdiff_t p = 0; p < k; ++p)
        for (ptrdiff_t q = 0; q < width; ++q)
            padded[p * width + q] = j + q < n ? b[p * n + j + q] : T(0);
    column_panel(a, a_row, a_inner, padded, width, m, k, c + j, n, n - j, accumulate);
}
#endif

// c (m) = A (m, k) @ b (k) for row-major A.
template <typename T>
SKREG_CLONES void matvec(const T *__restrict a, const T *__restrict b, ptrdiff_t m,
                         ptrdiff_t k, T *__restrict c, bool accumulate) {
    for (ptrdiff_t i = 0; i < m; ++i, a += k) {
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

// C (m, n) = a (m) b (n)'.
template <typename T>
SKREG_CLONES void outer(const T *__restrict a, const T *__restrict b, ptrdiff_t m,
                        ptrdiff_t n, T *__restrict c) {
    for (ptrdiff_t i = 0; i < m; ++i, c += n) {
#pragma omp simd
        for (ptrdiff_t j = 0; j < n; ++j) c[j] = a[i] * b[j];
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
    if (k == 1 && !accumulate) {
        outer(a, b, m, n, c);
        return true;
    }
#ifdef __GNUC__
    if (m * n * k > SMALL_PRODUCT || k > SMALL_INNER ||
        (transpose_b && n * k > TRANSPOSE_BUFFER))
        return false;
    T transposed[TRANSPOSE_BUFFER];
    if (transpose_b) {
        for (ptrdiff_t j = 0; j < n; ++j)
            for (ptrdiff_t p = 0; p < k; ++p) transposed[p * n + j] = b[j * k + p];
        b = transposed;
    }
    small_matmul(a, transpose_a ? 1 : k, transpose_a ? m : 1, b, m, n, k, c, accumulate);
    return true;
#else
    return false;
#endif
}

}  // namespace skreg
