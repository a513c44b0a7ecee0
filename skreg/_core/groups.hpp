// Group penalties sum_g kappa_g ||w_g||_2 in the three slots of an update; an l1 part, as
// in the sparse group lasso, is left to update.hpp, whose soft threshold comes first.
//
//   coupled     grad_g <- grad_g + kappa_g w_g / ||w_g||
//   decoupled   w_g <- (1 - lr kappa_g / ||w_g||)_+ w_g, after soft threshold by lr l1
//   proximal    prox in the optimizer's metric D, at step tau
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "isa.hpp"
#include "vecmath.hpp"

namespace skreg {

// Codes shared with skreg/_solvers/_stochastic.py.
enum Slot {
    UNPENALIZED,
    COUPLED,
    DECOUPLED,
    PROXIMAL,
    COUPLED_CONCAVE,  // MCP and SCAD
    PROXIMAL_CONCAVE
};

// A weight matrix (rows, cols) at `begin` whose rows, or columns, fall into groups:
// group g holds lines[bounds[g]] ... lines[bounds[g + 1] - 1], with strength kappa[g].
struct GroupBlock {
    ptrdiff_t begin, rows, cols;
    bool by_columns;
    int slot;
    double l1;
    std::vector<ptrdiff_t> bounds, lines;
    std::vector<double> kappa;
    bool in_place = false;  // whether the entries of each group lie side by side

    ptrdiff_t line_size() const { return by_columns ? rows : cols; }
    ptrdiff_t stride() const { return by_columns ? cols : 1; }
    ptrdiff_t start(ptrdiff_t line) const {
        return begin + (by_columns ? line : line * cols);
    }
    ptrdiff_t size(size_t g) const { return (bounds[g + 1] - bounds[g]) * line_size(); }
    ptrdiff_t largest() const {
        ptrdiff_t most = 0;
        for (size_t g = 0; g < kappa.size(); ++g) most = std::max(most, size(g));
        return most;
    }
    bool are_side_by_side() const {
        if (line_size() > 1 && stride() > 1) return false;
        for (size_t g = 0; g < kappa.size(); ++g)
            for (ptrdiff_t k = bounds[g]; k + 1 < bounds[g + 1]; ++k)
                if (start(lines[k + 1]) != start(lines[k]) + line_size()) return false;
        return true;
    }
};

// The entries of group g side by side: where they lie, or copied to `buffer`.
template <typename T>
SKREG_INLINE T *load_group(const GroupBlock &block, size_t g, T *array,
                           std::remove_const_t<T> *buffer) {
    if (block.in_place) return array + block.start(block.lines[block.bounds[g]]);
    const ptrdiff_t size = block.line_size(), stride = block.stride();
    ptrdiff_t n = 0;
    for (ptrdiff_t k = block.bounds[g]; k < block.bounds[g + 1]; ++k) {
        const T *line = array + block.start(block.lines[k]);
        for (ptrdiff_t j = 0; j < size; ++j) buffer[n++] = line[j * stride];
    }
    return buffer;
}

// Write loaded entries back, if they were copied.
template <typename T>
SKREG_INLINE void store_group(const GroupBlock &block, size_t g, const T *values,
                              T *array) {
    if (block.in_place) return;
    const ptrdiff_t size = block.line_size(), stride = block.stride();
    ptrdiff_t n = 0;
    for (ptrdiff_t k = block.bounds[g]; k < block.bounds[g + 1]; ++k) {
        T *line = array + block.start(block.lines[k]);
        for (ptrdiff_t j = 0; j < size; ++j) line[j * stride] = values[n++];
    }
}

template <typename T> SKREG_INLINE T norm(const T *u, ptrdiff_t n) {
    T sum = T(0);
#pragma omp simd reduction(+ : sum)
    for (ptrdiff_t i = 0; i < n; ++i) sum += u[i] * u[i];
    return std::sqrt(sum);
}

// u <- (1 - cut / ||u||)_+ u
template <typename T>
SKREG_INLINE void shrink_group(T *__restrict u, ptrdiff_t n, T cut) {
    const T length = norm(u, n), factor = length > cut ? T(1) - cut / length : T(0);
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; ++i) u[i] *= factor;
}

// u <- argmin_z sum d_i (z_i - u_i)^2 / 2 + kappa ||z||, with p = d u as scratch.
//
// The minimizer is u_i s d_i / (s d_i + kappa), where s = ||z|| is the root of
//
//     phi(s) = sum p_i^2 / (s d_i + kappa)^2 = 1,
//
// the secular equation of trust-region methods. phi^(-1/2) - 1 is concave and increasing,
// so that Newton's iteration is monotone from below; the first step, from the upper bound
// ||u||, comes close where little is shrunk. `psi` is -phi' / 2.
template <typename T>
SKREG_INLINE void metric_group_prox(T *__restrict u, const T *__restrict d,
                                    T *__restrict p, ptrdiff_t n, T kappa) {
    T uu = T(0), pp = T(0);
#pragma omp simd reduction(+ : uu, pp)
    for (ptrdiff_t i = 0; i < n; ++i) {
        p[i] = d[i] * u[i];
        uu += u[i] * u[i];
        pp += p[i] * p[i];
    }
    const T excess = std::sqrt(pp) - kappa;
    if (excess <= T(0)) {
        std::fill_n(u, n, T(0));
        return;
    }
    // Convergence is quadratic: the next step would be of the size of rounding.
    constexpr T close = sizeof(T) == 4 ? T(1e-3) : T(3e-8);
    T s = std::sqrt(uu);
    for (int iteration = 0; iteration < 50; ++iteration) {
        T phi = T(0), psi = T(0);
#pragma omp simd reduction(+ : phi, psi)
        for (ptrdiff_t i = 0; i < n; ++i) {
            const T inverse = T(1) / (s * d[i] + kappa), q = p[i] * inverse;
            phi += q * q;
            psi += q * q * d[i] * inverse;
        }
        const T move = (phi * std::sqrt(phi) - phi) / psi;
        s += move;
        if (s <= T(0))
            s = excess / norm(d, n);  // a lower bound of the root
        else if (!(std::abs(move) > close * s))
            break;
    }
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; ++i) u[i] = s * p[i] / (s * d[i] + kappa);
}

// What a group penalty does before the optimizer's move: coupled and decoupled.
// `buffer` holds 3 * largest() entries, here and below.
template <typename T>
SKREG_CLONES void groups_before(const GroupBlock &block, T lr, T *w, T *grad, T *buffer) {
    if (block.slot != COUPLED && block.slot != DECOUPLED) return;
    const T cut = lr * T(block.l1);
    for (size_t g = 0; g < block.kappa.size(); ++g) {
        const ptrdiff_t n = block.size(g);
        const T kappa = T(block.kappa[g]);
        T *__restrict u = load_group(block, g, w, buffer);
        if (block.slot == COUPLED) {
            const T length = norm(u, n), factor = kappa / length;
            if (length == T(0)) continue;
            T *__restrict slope = load_group(block, g, grad, buffer + block.largest());
#pragma omp simd
            for (ptrdiff_t i = 0; i < n; ++i) slope[i] += factor * u[i];
            store_group(block, g, slope, grad);
        } else {
#pragma omp simd
            for (ptrdiff_t i = 0; i < n; ++i) u[i] = soft_threshold(u[i], cut);
            shrink_group(u, n, lr * kappa);
            store_group(block, g, u, w);
        }
    }
}

// The prox after the move, at step tau, in the metric D that `update_run` left in
// `metric`, or with D = 1 where that is null.
template <typename T>
SKREG_CLONES void groups_after(const GroupBlock &block, T tau, const T *metric, T *w,
                               T *buffer) {
    if (block.slot != PROXIMAL) return;
    const ptrdiff_t largest = block.largest();
    T *copy = buffer + largest, *p = buffer + 2 * largest;
    for (size_t g = 0; g < block.kappa.size(); ++g) {
        const ptrdiff_t n = block.size(g);
        const T kappa = tau * T(block.kappa[g]);
        T *u = load_group(block, g, w, buffer);
        if (metric)
            metric_group_prox(u, load_group(block, g, metric, copy), p, n, kappa);
        else
            shrink_group(u, n, kappa);
        store_group(block, g, u, w);
    }
}

}  // namespace skreg
