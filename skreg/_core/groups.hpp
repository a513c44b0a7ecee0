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
#include <limits>
#include <vector>

#include "isa.hpp"
#include "vecmath.hpp"

namespace skreg {

// Codes shared with skreg/_rules.py.
enum Slot {
    UNPENALIZED,
    COUPLED,
    DECOUPLED,
    PROXIMAL,
    COUPLED_CONCAVE,  // MCP and SCAD
    PROXIMAL_CONCAVE,
    N_SLOTS
};

// A weight matrix (rows, cols) at `begin` whose lines, its rows or columns, fall into
// groups: group g holds lines[bounds[g]] ... lines[bounds[g + 1] - 1]. Without bounds,
// each line is a group. kappa[line] is the strength of the line's group.
struct GroupBlock {
    ptrdiff_t begin, rows, cols;
    bool by_columns;
    int slot;
    double l1;
    std::vector<ptrdiff_t> bounds, lines;
    std::vector<double> kappa;

    ptrdiff_t n_lines() const { return by_columns ? cols : rows; }
};

// Call visit(i, line) for each entry i of each line.
template <typename F> SKREG_INLINE void each_entry(const GroupBlock &block, F visit) {
    const ptrdiff_t rows = block.rows, cols = block.cols;
    for (ptrdiff_t row = 0; row < rows; ++row) {
        if (block.by_columns) {
#pragma omp simd
            for (ptrdiff_t col = 0; col < cols; ++col) visit(row * cols + col, col);
        } else {
#pragma omp simd
            for (ptrdiff_t col = 0; col < cols; ++col) visit(row * cols + col, row);
        }
    }
}

template <typename T, int N> using Sums = T[N][LANES<T>];

// Add to N sums in each of the first n lanes: add(lane, sum...).
template <typename T, int N, typename F>
SKREG_INLINE void add_to_lanes(Sums<T, N> &sums, int n, F add) {
#pragma omp simd
    for (int k = 0; k < n; ++k) {
        if constexpr (N == 1) add(k, sums[0][k]);
        if constexpr (N == 2) add(k, sums[0][k], sums[1][k]);
        if constexpr (N == 3) add(k, sums[0][k], sums[1][k], sums[2][k]);
    }
}

// The sums of group_sums over `width` columns at once.
template <int N, typename T, typename F>
SKREG_INLINE void sums_of_columns(const GroupBlock &block, ptrdiff_t col, int width,
                                  T *out, F add) {
    Sums<T, N> sums = {};
    const ptrdiff_t rows = block.rows, cols = block.cols;
    for (ptrdiff_t row = 0; row < rows; ++row)
        add_to_lanes<T, N>(sums, width, [=](int k, auto &...sum) {
            add(row * cols + col + k, col + k, sum...);
        });
    for (int j = 0; j < N; ++j) std::copy_n(sums[j], width, out + j * cols + col);
}

// The sums of group_sums over one row.
template <int N, typename T, typename F>
SKREG_INLINE void sums_of_row(const GroupBlock &block, ptrdiff_t row, T *out, F add) {
    Sums<T, N> sums = {};
    const ptrdiff_t begin = row * block.cols, end = begin + block.cols;
    ptrdiff_t i = begin;
    for (; i + LANES<T> <= end; i += LANES<T>)
        add_to_lanes<T, N>(sums, LANES<T>,
                           [=](int k, auto &...sum) { add(i + k, row, sum...); });
    add_to_lanes<T, N>(sums, int(end - i),
                       [=](int k, auto &...sum) { add(i + k, row, sum...); });
    for (int j = 0; j < N; ++j) out[j * block.rows + row] = total(sums[j]);
}

// out[j][line] <- the j-th of N sums over the group of each line, where
// add(i, line, sum...) adds what entry i contributes.
template <int N, typename T, typename F>
SKREG_INLINE void group_sums(const GroupBlock &block, T *__restrict out, F add) {
    const ptrdiff_t n = block.n_lines();
    if (block.by_columns) {
        ptrdiff_t col = 0;
        for (; col + LANES<T> <= n; col += LANES<T>)
            sums_of_columns<N>(block, col, LANES<T>, out, add);
        sums_of_columns<N>(block, col, int(n - col), out, add);
    } else {
        for (ptrdiff_t row = 0; row < n; ++row) sums_of_row<N>(block, row, out, add);
    }
    for (size_t g = 0; g + 1 < block.bounds.size(); ++g)
        for (T *sums = out; sums < out + N * n; sums += n) {
            T sum = T(0);
            for (ptrdiff_t k = block.bounds[g]; k < block.bounds[g + 1]; ++k)
                sum += sums[block.lines[k]];
            for (ptrdiff_t k = block.bounds[g]; k < block.bounds[g + 1]; ++k)
                sums[block.lines[k]] = sum;
        }
}

// w <- soft threshold by l1, then (1 - step kappa / ||w||)_+ w
template <typename T>
SKREG_INLINE void shrink_groups(const GroupBlock &block, T l1, T step, T *__restrict w,
                                T *__restrict factor) {
    group_sums<1>(block, factor, [=](ptrdiff_t i, ptrdiff_t, T &sum) {
        w[i] = soft_threshold(w[i], l1);
        sum += w[i] * w[i];
    });
#pragma omp simd
    for (ptrdiff_t k = 0; k < block.n_lines(); ++k) {
        const T length = std::sqrt(factor[k]), cut = step * T(block.kappa[k]);
        factor[k] = length > cut ? T(1) - cut / length : T(0);
    }
    each_entry(block, [=](ptrdiff_t i, ptrdiff_t k) { w[i] *= factor[k]; });
}

// w <- argmin_z sum (z_i - w_i)^2 / (2 t_i) + c ||z|| with c = step kappa
//
// The minimizer is w_i s / (s + c t_i), where s = ||z|| is the root of
//
//     phi(s) = sum w_i^2 / (s + c t_i)^2 = 1,
//
// the secular equation of trust-region methods, or 0 where phi(0) <= 1. As a function of
// c it is convex and starts from r = ||w|| with slope -<t> and curvature 3 Var(t) / s,
// where <> is a mean with weights w_i^2 / (s + c t_i)^3. So r - c <t> is a lower bound,
// and the relative error is at most 3/2 (c / s)^2 <t^2>, at c = 0: mostly less than
// rounding. Where it is more, Newton's iteration ascends from there, as phi^(-1/2) is
// concave and increasing. With psi = -phi' / 2, `mean` is that of s + c t_i, and at least
// s; the relative error after a step is at most 3/2 (1 - s / mean) (move / s)^2. All
// groups step together, as long as one needs it: no group waits for the sums and roots
// of the one before.
template <typename T>
SKREG_INLINE void metric_group_prox(const GroupBlock &block, T step, T *__restrict w,
                                    const T *__restrict t, T *__restrict buffer) {
    constexpr T epsilon = std::numeric_limits<T>::epsilon();
    constexpr T least = std::numeric_limits<T>::min();
    const ptrdiff_t n = block.n_lines();
    T *c = buffer, *s = buffer + n, *phi = buffer + 2 * n, *psi = buffer + 3 * n;
    group_sums<3>(block, s, [=](ptrdiff_t i, ptrdiff_t, T &sum, T &first, T &second) {
        const T square = w[i] * w[i], weighted = square * t[i];
        sum += square;
        first += weighted;
        second += weighted * t[i];
    });
    int n_open = 0;
#pragma omp simd reduction(+ : n_open)
    for (ptrdiff_t k = 0; k < n; ++k) {
        c[k] = step * T(block.kappa[k]);
        const T square = s[k], share = square == T(0) ? T(0) : c[k] / square;
        s[k] = positive_part(std::sqrt(square) - share * phi[k]);
        const bool close = T(1.5) * c[k] * share * psi[k] <= epsilon * s[k] * s[k];
        n_open += square > T(0) && !close ? 1 : 0;
    }
    for (int pass = 0; n_open > 0 && pass < 20; ++pass) {
        group_sums<2>(block, phi, [=](ptrdiff_t i, ptrdiff_t k, T &sum, T &slope) {
            const T a = T(1) / max(s[k] + c[k] * t[i], least), q = w[i] * a;
            sum += q * q;
            slope += q * q * a;
        });
        n_open = 0;
#pragma omp simd reduction(+ : n_open)
        for (ptrdiff_t k = 0; k < n; ++k) {
            const T excess = std::sqrt(phi[k]) - T(1);
            const T mean = psi[k] == T(0) ? T(0) : phi[k] / psi[k];
            const T next = positive_part(s[k] + excess * mean);
            const T move = next / s[k] - T(1);
            const T error = (T(1) - s[k] / mean) * move * move;
            n_open += error > epsilon && std::abs(excess) > T(8) * epsilon ? 1 : 0;
            s[k] = next;
        }
    }
    each_entry(block, [=](ptrdiff_t i, ptrdiff_t k) {
        w[i] *= s[k] / max(s[k] + c[k] * t[i], least);
    });
}

// sum_g kappa_g ||w_g||
template <typename T>
SKREG_CLONES double groups_value(const GroupBlock &block, const T *theta, T *buffer) {
    const T *w = theta + block.begin;
    group_sums<1>(block, buffer,
                  [=](ptrdiff_t i, ptrdiff_t, T &sum) { sum += w[i] * w[i]; });
    const bool alone = block.bounds.empty();
    const ptrdiff_t n = alone ? block.n_lines() : ptrdiff_t(block.bounds.size()) - 1;
    double total = 0.0;
    for (ptrdiff_t g = 0; g < n; ++g) {
        const ptrdiff_t line = alone ? g : block.lines[block.bounds[g]];
        if (block.kappa[line] > 0.0)  // weights may be infinite
            total += block.kappa[line] * std::sqrt(double(buffer[line]));
    }
    return total;
}

// What a group penalty does before the optimizer's move: coupled and decoupled.
// `buffer` holds 4 * n_lines() entries, here and below.
template <typename T>
SKREG_CLONES void groups_before(const GroupBlock &block, T lr, T *theta, T *grad,
                                T *buffer) {
    T *__restrict w = theta + block.begin, *__restrict g = grad + block.begin;
    T *__restrict factor = buffer;
    if (block.slot == DECOUPLED) shrink_groups(block, lr * T(block.l1), lr, w, buffer);
    if (block.slot != COUPLED) return;
    group_sums<1>(block, factor,
                  [=](ptrdiff_t i, ptrdiff_t, T &sum) { sum += w[i] * w[i]; });
#pragma omp simd
    for (ptrdiff_t k = 0; k < block.n_lines(); ++k)
        factor[k] = factor[k] > T(0) ? T(block.kappa[k]) / std::sqrt(factor[k]) : T(0);
    each_entry(block, [=](ptrdiff_t i, ptrdiff_t k) { g[i] += factor[k] * w[i]; });
}

// The prox after the move, at step tau, in the metric D whose reciprocals `update_run`
// left in `rates`, or with D = 1 where that is null.
template <typename T>
SKREG_CLONES void groups_after(const GroupBlock &block, T tau, const T *rates, T *theta,
                               T *buffer) {
    if (block.slot != PROXIMAL) return;
    T *w = theta + block.begin;
    if (rates)
        metric_group_prox(block, tau, w, rates + block.begin, buffer);
    else
        shrink_groups(block, T(0), tau, w, buffer);
}

}  // namespace skreg
