// Group penalties sum_g kappa_g ||w_g||_2 in the three slots of an update; an l1 part, as
// in the sparse group lasso, is left to update.hpp, whose soft threshold comes first.
//
//   coupled     grad_g <- grad_g + kappa_g w_g / ||w_g||
//   decoupled   w_g <- (1 - lr kappa_g / ||w_g||)_+ w_g, after soft threshold by lr l1
//   proximal    prox in the optimizer's metric D, at step tau
#pragma once
#include <cmath>
#include <cstddef>
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

    ptrdiff_t line_size() const { return by_columns ? rows : cols; }
    ptrdiff_t stride() const { return by_columns ? cols : 1; }
    ptrdiff_t start(ptrdiff_t line) const {
        return begin + (by_columns ? line : line * cols);
    }
    ptrdiff_t largest() const {
        ptrdiff_t most = 0;
        for (size_t g = 0; g + 1 < bounds.size(); ++g)
            most = bounds[g + 1] - bounds[g] > most ? bounds[g + 1] - bounds[g] : most;
        return most * line_size();
    }
};

// out <- the entries of group g, side by side; returns their number.
template <typename T>
ptrdiff_t gather_group(const GroupBlock &block, size_t g, const T *w, T *out) {
    const ptrdiff_t size = block.line_size(), stride = block.stride();
    ptrdiff_t n = 0;
    for (ptrdiff_t k = block.bounds[g]; k < block.bounds[g + 1]; ++k) {
        const T *line = w + block.start(block.lines[k]);
        for (ptrdiff_t j = 0; j < size; ++j) out[n++] = line[j * stride];
    }
    return n;
}

template <typename T>
void scatter_group(const GroupBlock &block, size_t g, const T *values, T *w) {
    const ptrdiff_t size = block.line_size(), stride = block.stride();
    ptrdiff_t n = 0;
    for (ptrdiff_t k = block.bounds[g]; k < block.bounds[g + 1]; ++k) {
        T *line = w + block.start(block.lines[k]);
        for (ptrdiff_t j = 0; j < size; ++j) line[j * stride] = values[n++];
    }
}

template <typename T> SKREG_CLONES double norm(const T *u, ptrdiff_t n) {
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (ptrdiff_t i = 0; i < n; ++i) sum += double(u[i]) * double(u[i]);
    return std::sqrt(sum);
}

template <typename T> SKREG_CLONES void scale(T *__restrict u, T factor, ptrdiff_t n) {
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; ++i) u[i] *= factor;
}

template <typename T>
SKREG_CLONES void soft_threshold_run(T *__restrict u, T cut, ptrdiff_t n) {
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; ++i) u[i] = soft_threshold(u[i], cut);
}

// phi = sum p^2 / (s d + kappa)^2 and psi = sum p^2 d / (s d + kappa)^3.
template <typename T>
SKREG_CLONES void secular(const T *__restrict p, const T *__restrict d, ptrdiff_t n, T s,
                          T kappa, double &phi_out, double &psi_out) {
    T phi = T(0), psi = T(0);
#pragma omp simd reduction(+ : phi, psi)
    for (ptrdiff_t i = 0; i < n; ++i) {
        const T inverse = T(1) / (s * d[i] + kappa), q = p[i] * inverse;
        phi += q * q;
        psi += q * q * d[i] * inverse;
    }
    phi_out = double(phi);
    psi_out = double(psi);
}

// u <- argmin_z sum d_i (z_i - u_i)^2 / 2 + kappa ||z||, with p = d u as scratch.
//
// The minimizer is u_i s d_i / (s d_i + kappa), where s = ||z|| is the root of phi = 1
// above: the secular equation of trust-region methods, whose phi^(-1/2) - 1 is concave
// and increasing, so that Newton's iteration from below is monotone.
template <typename T>
void metric_group_prox(T *__restrict u, const T *__restrict d, T *__restrict p,
                       ptrdiff_t n, T kappa) {
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; ++i) p[i] = d[i] * u[i];
    const double excess = norm(p, n) - double(kappa);
    if (excess <= 0.0) {
        for (ptrdiff_t i = 0; i < n; ++i) u[i] = T(0);
        return;
    }
    double s = excess / norm(d, n);
    constexpr double precise = sizeof(T) == 4 ? 1e-6 : 1e-14;
    for (int iteration = 0; iteration < 20; ++iteration) {
        double phi, psi;
        secular(p, d, n, T(s), kappa, phi, psi);
        const double move = (phi * std::sqrt(phi) - phi) / psi;
        s += move;
        if (!(std::abs(move) > precise * s)) break;
    }
    const T root = T(s);
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; ++i) u[i] *= root * d[i] / (root * d[i] + kappa);
}

// max(1 - cut / ||u||, 0), and 0 for u = 0.
template <typename T> T block_shrinkage(const T *u, ptrdiff_t n, double cut) {
    const double length = norm(u, n);
    return length > cut ? T(1.0 - cut / length) : T(0);
}

// What a group penalty does before the optimizer's move: coupled and decoupled.
// `buffer` holds 3 * largest() entries, here and below.
template <typename T>
void groups_before(const GroupBlock &block, double lr, T *w, T *grad, T *buffer) {
    if (block.slot != COUPLED && block.slot != DECOUPLED) return;
    T *other = buffer + block.largest();
    for (size_t g = 0; g < block.kappa.size(); ++g) {
        const ptrdiff_t n = gather_group(block, g, w, buffer);
        if (block.slot == COUPLED) {
            const double length = norm(buffer, n);
            if (length == 0.0) continue;
            gather_group(block, g, grad, other);
            const T factor = T(block.kappa[g] / length);
            for (ptrdiff_t i = 0; i < n; ++i) other[i] += factor * buffer[i];
            scatter_group(block, g, other, grad);
        } else {
            soft_threshold_run(buffer, T(lr * block.l1), n);
            scale(buffer, block_shrinkage(buffer, n, lr * block.kappa[g]), n);
            scatter_group(block, g, buffer, w);
        }
    }
}

// The prox after the move, at step tau. `metric` is null where D = 1; else it maps the
// entries of `second` to D.
template <typename T, typename Metric>
void groups_after(const GroupBlock &block, double tau, const T *second, bool adaptive,
                  Metric metric, T *w, T *buffer) {
    if (block.slot != PROXIMAL) return;
    T *d = buffer + block.largest(), *p = d + block.largest();
    for (size_t g = 0; g < block.kappa.size(); ++g) {
        const ptrdiff_t n = gather_group(block, g, w, buffer);
        const double kappa = tau * block.kappa[g];
        if (adaptive) {
            gather_group(block, g, second, d);
            for (ptrdiff_t i = 0; i < n; ++i) d[i] = metric(d[i]);
            metric_group_prox(buffer, d, p, n, T(kappa));
        } else {
            scale(buffer, block_shrinkage(buffer, n, kappa), n);
        }
        scatter_group(block, g, buffer, w);
    }
}

}  // namespace skreg
