// First layer on CSR rows, and the gathering of rows into a batch.
#pragma once
#include <algorithm>
#include <cstddef>

#include "isa.hpp"

namespace skreg {

// Row i of the batch: rows[i] where an order is given, else start + i.
inline ptrdiff_t batch_row(const ptrdiff_t *rows, ptrdiff_t start, ptrdiff_t i) {
    return rows ? rows[start + i] : start + i;
}

// out[i, :] = x[row i, :], widened where the precisions differ
template <typename X, typename T>
void gather(const X *x, const ptrdiff_t *rows, ptrdiff_t start, ptrdiff_t n,
            ptrdiff_t cols, T *out) {
    if (cols == 1) {
        for (ptrdiff_t i = 0; i < n; ++i) out[i] = x[batch_row(rows, start, i)];
        return;
    }
    for (ptrdiff_t i = 0; i < n; ++i)
        std::copy_n(x + batch_row(rows, start, i) * cols, cols, out + i * cols);
}

// z (n, cols) = bias + X[batch rows] @ w, each stored entry adding one row of w.
template <typename X, typename T>
SKREG_CLONES void csr_forward(const X *data, const int *indices, const long long *indptr,
                              const ptrdiff_t *rows, ptrdiff_t start, ptrdiff_t n,
                              ptrdiff_t cols, const T *w, const T *bias, T *z) {
    for (ptrdiff_t i = 0; i < n; ++i) {
        const ptrdiff_t row = batch_row(rows, start, i);
        T *__restrict z_row = z + i * cols;
        std::copy_n(bias, cols, z_row);
        for (long long k = indptr[row]; k < indptr[row + 1]; ++k) {
            const T x = T(data[k]);
            const T *__restrict w_row = w + ptrdiff_t(indices[k]) * cols;
#pragma omp simd
            for (ptrdiff_t j = 0; j < cols; ++j) z_row[j] += x * w_row[j];
        }
    }
}

// grad (features, cols) += X[batch rows]' @ delta
template <typename X, typename T>
SKREG_CLONES void csr_backward(const X *data, const int *indices, const long long *indptr,
                               const ptrdiff_t *rows, ptrdiff_t start, ptrdiff_t n,
                               ptrdiff_t cols, const T *delta, T *grad) {
    for (ptrdiff_t i = 0; i < n; ++i) {
        const ptrdiff_t row = batch_row(rows, start, i);
        const T *__restrict d_row = delta + i * cols;
        for (long long k = indptr[row]; k < indptr[row + 1]; ++k) {
            const T x = T(data[k]);
            T *__restrict g_row = grad + ptrdiff_t(indices[k]) * cols;
#pragma omp simd
            for (ptrdiff_t j = 0; j < cols; ++j) g_row[j] += x * d_row[j];
        }
    }
}

}  // namespace skreg
