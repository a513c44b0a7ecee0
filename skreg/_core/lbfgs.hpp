// The inverse Hessian of L-BFGS times a vector, restricted to an index set J: the two
// loops of Nocedal and Wright (2006), Numerical Optimization, algorithm 7.4, with all
// inner products over J.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "isa.hpp"
#include "vecmath.hpp"

namespace skreg {

// Inner products of a pair (s, y) on J.
struct PairProducts {
    double ss, sy, yy;
};

// The last `capacity` pairs in a ring: of all `pushed` ones, the k-th lies at the place
// k % capacity.
struct LbfgsMemory {
    double *vectors;                         // 2n entries per pair
    ptrdiff_t n, capacity, pushed, n_known;  // of the first ones, the products are known
    std::vector<PairProducts> products;
    std::vector<double> inside;  // 1 on J, 0 outside

    LbfgsMemory() = default;
    LbfgsMemory(double *vectors, ptrdiff_t n, ptrdiff_t capacity)
        : vectors(vectors), n(n), capacity(capacity), pushed(0), n_known(0),
          products(capacity), inside(n, 1.0) {}

    double *s(ptrdiff_t k) const { return vectors + k % capacity * 2 * n; }
    double *y(ptrdiff_t k) const { return s(k) + n; }
    PairProducts &of(ptrdiff_t k) { return products[k % capacity]; }
    ptrdiff_t oldest() const { return std::max(pushed - capacity, ptrdiff_t(0)); }

    void push(const double *s_new, const double *y_new) {
        std::copy_n(s_new, n, s(pushed));
        std::copy_n(y_new, n, y(pushed));
        ++pushed;
    }

    // Let J be where `support` is not 0, or everything if it is null.
    void restrict_to(const unsigned char *support) {
        bool is_same = true;
        for (ptrdiff_t i = 0; i < n; ++i) {
            const double now = !support || support[i] ? 1.0 : 0.0;
            is_same &= now == inside[i];
            inside[i] = now;
        }
        if (!is_same) n_known = 0;
    }
};

SKREG_INLINE PairProducts products_inside(const double *__restrict inside,
                                          const double *__restrict s,
                                          const double *__restrict y, ptrdiff_t n) {
    double ss = 0.0, sy = 0.0, yy = 0.0;
#pragma omp simd reduction(+ : ss, sy, yy)
    for (ptrdiff_t i = 0; i < n; ++i) {
        const double s_inside = inside[i] * s[i], y_inside = inside[i] * y[i];
        ss += s_inside * s[i];
        sy += s_inside * y[i];
        yy += y_inside * y[i];
    }
    return {ss, sy, yy};
}

// Several partial sums hide the latency of additions.
SKREG_INLINE double dot(const double *__restrict a, const double *__restrict b,
                        ptrdiff_t n) {
    constexpr int width = 4 * LANES<double>;
    double sums[width] = {};
    ptrdiff_t i = 0;
    for (; i + width <= n; i += width)
#pragma omp simd
        for (int j = 0; j < width; ++j) sums[j] += a[i + j] * b[i + j];
    for (; i < n; ++i) sums[i % width] += a[i] * b[i];
    for (int j = LANES<double>; j < width; ++j) sums[j % LANES<double>] += sums[j];
    return total(sums);
}

// q <- q + factor * a on J.
SKREG_INLINE void add_inside(const double *__restrict inside, double factor,
                             const double *__restrict a, ptrdiff_t n,
                             double *__restrict q) {
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; ++i) q[i] += factor * inside[i] * a[i];
}

// H where the used pairs, from new to old, tell nothing: a multiple of the identity. As a
// rule it is <s, y> / <y, y> of the newest pair (Nocedal and Wright, 7.20), the shorter
// step of Barzilai and Borwein. It takes the rest to be as curved as what is explored,
// but networks are flatter there, which L-BFGS then spends many steps to find out. So
// the longer one is |s| / |y|, half way to the longer step <s, s> / <s, y> (Dai, Al-Baali
// and Yang, 2015, A positive Barzilai-Borwein-like stepsize, NAO-III), as the geometric
// mean over a few pairs, since it scatters.
inline double initial_step(LbfgsMemory &memory, const std::vector<ptrdiff_t> &used,
                           bool is_longer) {
    if (!is_longer) return memory.of(used[0]).sy / memory.of(used[0]).yy;
    const size_t count = std::min(used.size(), size_t(10));
    double sum = 0.0;
    for (size_t i = 0; i < count; ++i)
        sum += std::log(memory.of(used[i]).ss / memory.of(used[i]).yy);
    return std::exp(sum / (2 * count));
}

// q <- H q, for q that is zero outside of J. Only pairs whose s and y have a cosine above
// `least_cosine` on J are used, and without any, H is `initial` times the identity.
SKREG_CLONES inline void lbfgs_multiply(LbfgsMemory &memory, double least_cosine,
                                        bool is_longer, double initial, double *q) {
    const ptrdiff_t n = memory.n;
    const double *inside = memory.inside.data();
    std::vector<ptrdiff_t> used;  // from new to old
    for (ptrdiff_t k = memory.pushed - 1; k >= memory.oldest(); --k) {
        PairProducts &pair = memory.of(k);
        if (k >= memory.n_known)
            pair = products_inside(inside, memory.s(k), memory.y(k), n);
        if (pair.sy > least_cosine * std::sqrt(pair.ss * pair.yy)) used.push_back(k);
    }
    memory.n_known = memory.pushed;
    if (!used.empty()) initial = initial_step(memory, used, is_longer);
    std::vector<double> alpha(used.size());
    for (size_t i = 0; i < used.size(); ++i) {
        alpha[i] = dot(memory.s(used[i]), q, n) / memory.of(used[i]).sy;
        add_inside(inside, -alpha[i], memory.y(used[i]), n, q);
    }
    for (ptrdiff_t i = 0; i < n; ++i) q[i] *= initial;
    for (size_t i = used.size(); i-- > 0;) {
        const double beta = dot(memory.y(used[i]), q, n) / memory.of(used[i]).sy;
        add_inside(inside, alpha[i] - beta, memory.s(used[i]), n, q);
    }
}

}  // namespace skreg
