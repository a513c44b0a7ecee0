"""Matrix products, row-major: the only place that calls BLAS, by SciPy's library.

BLAS stores matrices by columns. A row-major matrix is the transpose of what BLAS
sees, so C = op(A) op(B) is asked for as C' = op(B)' op(A)' without any copy. Sizes are
`Py_ssize_t` outside and BLAS's `int` inside. Products for which our own loops are
faster go there (matmul.hpp).
"""
from cython cimport floating
from libc.string cimport memcpy
from scipy.linalg.cython_blas cimport dgemm, sgemm


cdef extern from "matmul.hpp" namespace "skreg" nogil:
    bint try_matmul[T](bint transpose_a, bint transpose_b, Py_ssize_t m, Py_ssize_t n,
                       Py_ssize_t k, const T* a, const T* b, const T* bias,
                       bint accumulate, T* c)


cdef inline void gemm(
    bint transpose_a, bint transpose_b, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
    const floating* a, const floating* b, const floating* bias, bint accumulate,
    floating* c,
) noexcept nogil:
    """C (m, n) = op(A) (m, k) @ op(B) (k, n) + bias, or added to C; all row-major.

    `bias` (n) is NULL for none, as where the product is added to C.
    """
    cdef:
        char trans_a = b"t" if transpose_a else b"n"
        char trans_b = b"t" if transpose_b else b"n"
        int rows = <int> m
        int cols = <int> n
        int inner = <int> k
        int lda = <int> (m if transpose_a else k)
        int ldb = <int> (k if transpose_b else n)
        floating one = 1
        floating beta = 1 if accumulate or bias != NULL else 0
        Py_ssize_t i
    if try_matmul(transpose_a, transpose_b, m, n, k, a, b, bias, accumulate, c):
        return
    if bias != NULL:
        for i in range(m):
            memcpy(c + i * n, bias, sizeof(floating) * n)
    if floating is float:
        sgemm(&trans_b, &trans_a, &cols, &rows, &inner, &one, <float*> b, &ldb,
              <float*> a, &lda, &beta, c, &cols)
    else:
        dgemm(&trans_b, &trans_a, &cols, &rows, &inner, &one, <double*> b, &ldb,
              <double*> a, &lda, &beta, c, &cols)
