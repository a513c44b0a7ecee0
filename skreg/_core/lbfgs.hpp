// The inverse Hessian of L-BFGS times a vector, restricted to an index set J: the two
// loops of Nocedal and Wright (2006), Numerical Optimization, algorithm 7.4, with all
// inner products over J.
#pragma once
#include <cmath>
#include <cstddef>
#include <vector>

#include "isa.hpp"

namespace skreg {

// Pairs (s, y) in a ring of `capacity` rows of 2n entries: the k-th lies in row
// k % capacity, and the last ones of `pushed` are remembered.
template <typename T> struct LbfgsPairs {
    const T *rows;
    ptrdiff_t n, capacity, pushed;

    const T *s(ptrdiff_t k) const { return rows + k % capacity * 2 * n; }
    const T *y(ptrdiff_t k) const { return s(k) + n; }
    ptrdiff_t oldest() const { return pushed > capacity ? pushed - capacity : 0; }
};

// q <- H q, for q that is zero outside of J; `inside` is 1 on J and 0 outside. Only pairs
// whose s and y have a cosine above `least_cosine` on J are used, and without any, H is
// `initial` times the identity.
template <typename T>
SKREG_CLONES void lbfgs_multiply(const LbfgsPairs<T> &pairs, const T *__restrict inside,
                                 T least_cosine, T initial, T *__restrict q) {
    const ptrdiff_t n = pairs.n, oldest = pairs.oldest();
    std::vector<T> alpha(pairs.pushed - oldest), curvature(pairs.pushed - oldest);
    bool is_newest = true;
    for (ptrdiff_t k = pairs.pushed - 1; k >= oldest; --k) {
        const T *__restrict s = pairs.s(k), *__restrict y = pairs.y(k);
        T ss = 0, sy = 0, yy = 0, sq = 0;
#pragma omp simd reduction(+ : ss, sy, yy, sq)
        for (ptrdiff_t i = 0; i < n; ++i) {
            const T masked_s = inside[i] * s[i], masked_y = inside[i] * y[i];
            ss += masked_s * s[i];
            sy += masked_s * y[i];
            yy += masked_y * y[i];
            sq += s[i] * q[i];
        }
        if (!(sy > least_cosine * std::sqrt(ss * yy))) continue;
        const T a = sq / sy;
#pragma omp simd
        for (ptrdiff_t i = 0; i < n; ++i) q[i] -= a * inside[i] * y[i];
        alpha[k - oldest] = a;
        curvature[k - oldest] = sy;
        if (is_newest) initial = sy / yy;
        is_newest = false;
    }
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; ++i) q[i] *= initial;
    for (ptrdiff_t k = oldest; k < pairs.pushed; ++k) {
        if (curvature[k - oldest] == 0) continue;
        const T *__restrict s = pairs.s(k), *__restrict y = pairs.y(k);
        T yq = 0;
#pragma omp simd reduction(+ : yq)
        for (ptrdiff_t i = 0; i < n; ++i) yq += y[i] * q[i];
        const T b = alpha[k - oldest] - yq / curvature[k - oldest];
#pragma omp simd
        for (ptrdiff_t i = 0; i < n; ++i) q[i] += b * inside[i] * s[i];
    }
}

}  // namespace skreg
