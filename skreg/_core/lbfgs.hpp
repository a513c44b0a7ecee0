// The inverse Hessian of L-BFGS times a vector, restricted to an index set J: the two
// loops of Nocedal and Wright (2006), Numerical Optimization, algorithm 7.4, with all
// inner products over J.
//
// The vectors are kept in single precision, which halves what each product reads: they
// describe a curvature that is an approximation anyway. Division by powers of 2 keeps
// them within its range. All sums are in double precision.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "isa.hpp"
#include "vecmath.hpp"

namespace skreg {

// A pair is s = 2^i s', y = 2^j y'; `ratio` is 2^(i - j). The inner products are those of
// s' and y' on J.
struct LbfgsPair {
    double ratio, ss, sy, yy;
};

// The last `capacity` pairs in a ring: the k-th of all `pushed` ones lies at k %
// capacity.
struct LbfgsMemory {
    float *vectors;                          // 2n entries per pair
    ptrdiff_t n, capacity, pushed, n_known;  // inner products are known of the first ones
    std::vector<LbfgsPair> pairs;
    std::vector<float> inside;  // 1 on J, 0 outside

    LbfgsMemory() = default;
    LbfgsMemory(float *vectors, ptrdiff_t n, ptrdiff_t capacity)
        : vectors(vectors), n(n), capacity(capacity), pushed(0), n_known(0),
          pairs(capacity), inside(n, 1.0f) {}

    float *s(ptrdiff_t k) const { return vectors + k % capacity * 2 * n; }
    float *y(ptrdiff_t k) const { return s(k) + n; }
    LbfgsPair &pair(ptrdiff_t k) { return pairs[k % capacity]; }
    ptrdiff_t oldest() const { return std::max(pushed - capacity, ptrdiff_t(0)); }

    // Let J be where `support` is not 0, or everything if it is null.
    void restrict_to(const unsigned char *support) {
        bool is_same = true;
        for (ptrdiff_t i = 0; i < n; ++i) {
            const float now = !support || support[i] ? 1.0f : 0.0f;
            is_same &= now == inside[i];
            inside[i] = now;
        }
        if (!is_same) n_known = 0;
    }
};

// Copy a vector divided by 2^i, so that its entries are at most 1, and return i.
inline int store_scaled(const double *__restrict from, ptrdiff_t n,
                        float *__restrict to) {
    double largest = 0.0;
    for (ptrdiff_t i = 0; i < n; ++i) largest = max(largest, std::abs(from[i]));
    int exponent;
    std::frexp(largest, &exponent);
    exponent = std::clamp(exponent, -1000, 1000);
    const double factor = std::ldexp(1.0, -exponent);
    for (ptrdiff_t i = 0; i < n; ++i) to[i] = float(factor * from[i]);
    return exponent;
}

inline void lbfgs_push(LbfgsMemory &memory, const double *s, const double *y) {
    const ptrdiff_t n = memory.n, k = memory.pushed++;
    const int s_exponent = store_scaled(s, n, memory.s(k));
    const int y_exponent = store_scaled(y, n, memory.y(k));
    memory.pair(k).ratio = std::ldexp(1.0, s_exponent - y_exponent);
}

// The sum of term(i) for i < n, in several registers to hide the latency of additions.
template <typename Term> SKREG_INLINE double sum_of(ptrdiff_t n, Term term) {
    constexpr int width = 4 * LANES<double>;
    double sums[width] = {};
    ptrdiff_t i = 0;
    for (; i + width <= n; i += width)
#pragma omp simd
        for (int j = 0; j < width; ++j) sums[j] += term(i + j);
    for (; i < n; ++i) sums[i % width] += term(i);
    for (int j = LANES<double>; j < width; ++j) sums[j % LANES<double>] += sums[j];
    return total(sums);
}

template <typename T>
SKREG_INLINE double dot(const float *__restrict a, const T *__restrict b, ptrdiff_t n) {
    return sum_of(n, [=](ptrdiff_t i) { return double(a[i]) * double(b[i]); });
}

// The inner products of a pair on J.
SKREG_INLINE void find_products(const float *__restrict inside, const float *__restrict s,
                                const float *__restrict y, ptrdiff_t n, LbfgsPair &pair) {
    double ss = 0.0, sy = 0.0, yy = 0.0;
#pragma omp simd reduction(+ : ss, sy, yy)
    for (ptrdiff_t i = 0; i < n; ++i) {
        const double s_inside = inside[i] * s[i], y_inside = inside[i] * y[i];
        ss += s_inside * double(s[i]);
        sy += s_inside * double(y[i]);
        yy += y_inside * double(y[i]);
    }
    pair.ss = ss, pair.sy = sy, pair.yy = yy;
}

// q <- q + factor * a on J.
SKREG_INLINE void add_inside(const float *__restrict inside, double factor,
                             const float *__restrict a, ptrdiff_t n,
                             double *__restrict q) {
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; ++i) q[i] += factor * double(inside[i] * a[i]);
}

// q <- H q, for q that is zero outside of J. Only pairs whose s and y have a cosine above
// `least_cosine` on J are used, and without any, H is `initial` times the identity.
SKREG_CLONES inline void lbfgs_multiply(LbfgsMemory &memory, double least_cosine,
                                        double initial, double *q) {
    const ptrdiff_t n = memory.n;
    const float *inside = memory.inside.data();
    std::vector<ptrdiff_t> used;  // from new to old
    for (ptrdiff_t k = memory.pushed - 1; k >= memory.oldest(); --k) {
        LbfgsPair &pair = memory.pair(k);
        if (k >= memory.n_known) find_products(inside, memory.s(k), memory.y(k), n, pair);
        if (pair.sy > least_cosine * std::sqrt(pair.ss * pair.yy)) used.push_back(k);
    }
    memory.n_known = memory.pushed;
    if (!used.empty()) {
        const LbfgsPair &newest = memory.pair(used[0]);
        initial = newest.ratio * newest.sy / newest.yy;
    }
    std::vector<double> alpha(used.size());
    for (size_t i = 0; i < used.size(); ++i) {
        alpha[i] = dot(memory.s(used[i]), q, n) / memory.pair(used[i]).sy;
        add_inside(inside, -alpha[i], memory.y(used[i]), n, q);
    }
    for (ptrdiff_t i = 0; i < n; ++i) q[i] *= initial;
    for (size_t i = used.size(); i-- > 0;) {
        const LbfgsPair &pair = memory.pair(used[i]);
        const double beta = dot(memory.y(used[i]), q, n) / pair.sy;
        add_inside(inside, pair.ratio * alpha[i] - beta, memory.s(used[i]), n, q);
    }
}

}  // namespace skreg
