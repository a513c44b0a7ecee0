"""The only place that names BLAS: SciPy's, for products that matmul.hpp leaves."""
from scipy.linalg.cython_blas cimport dgemm, sgemm


cdef extern from "matmul.hpp" namespace "skreg" nogil:
    void use_blas(void* sgemm, void* dgemm)


cdef inline void hand_over_blas() noexcept:
    use_blas(<void*> sgemm, <void*> dgemm)
