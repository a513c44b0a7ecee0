// First layer on CSR rows, and the gathering of rows into a batch.
#pragma once
#include <algorithm>
#include <cstddef>

#include "isa.hpp"

namespace skreg {

// What is wrong with the places of a CSR matrix; the order of codes is that of messages
// in _kernels.pyx.
enum CsrFault { SOUND, NOT_FROM_ZERO, DECREASES, TOO_LONG, INDEX_OUTSIDE };

// The first fault of a matrix with `n_stored` entries. Rows are checked before the
// indices, of which only those in a row count.
SKREG_CLONES inline int csr_fault(const int *indices, const long long *indptr,
                                  ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t n_stored) {
    if (indptr[0] != 0) return NOT_FROM_ZERO;
    for (ptrdiff_t i = 0; i < rows; ++i)
        if (indptr[i + 1] < indptr[i]) return DECREASES;
    if (indptr[rows] > n_stored) return TOO_LONG;
    unsigned largest = 0;  // negative indices are large ones
    for (ptrdiff_t k = 0; k < indptr[rows]; ++k)
        largest = std::max(largest, unsigned(indices[k]));
    return indptr[rows] > 0 && ptrdiff_t(largest) >= cols ? INDEX_OUTSIDE : SOUND;
}

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

// grad (features, cols) += X[batch rows]' @ delta, in columns [from, to)
template <typename X, typename T>
SKREG_CLONES void csr_backward(const X *data, const int *indices, const long long *indptr,
                               const ptrdiff_t *rows, ptrdiff_t start, ptrdiff_t n,
                               ptrdiff_t cols, ptrdiff_t from, ptrdiff_t to,
                               const T *delta, T *grad) {
    for (ptrdiff_t i = 0; i < n; ++i) {
        const ptrdiff_t row = batch_row(rows, start, i);
        const T *__restrict d_row = delta + i * cols + from;
        for (long long k = indptr[row]; k < indptr[row + 1]; ++k) {
            const T x = T(data[k]);
            T *__restrict g_row = grad + ptrdiff_t(indices[k]) * cols + from;
#pragma omp simd
            for (ptrdiff_t j = 0; j < to - from; ++j) g_row[j] += x * d_row[j];
        }
    }
}

}  // namespace skreg
