// One optimizer step: the only place where the optimizers' directions and the three
// slots of the penalty meet; and the values of the penalties.
//
//   coupled     g <- g + l1 sign(w) + l2 w              before the statistics
//   decoupled   w <- S((1 - lr l2)_+ w, lr l1)          before the move, no metric
//   proximal    w <- S(u, t l1) / (1 + t l2), u = w - lr d / D, t = tau / D
//
// MCP and SCAD are l1 |w| whose slope falls linearly to 0 on the ramp (start, stop); they
// fill the coupled and the proximal slot.
//
// with soft threshold S, direction d and diagonal metric D of the optimizer (D = 1
// without one), and tau = lr / (1 - momentum): the step that heavy-ball momentum
// takes in the end, so that the fixed point is the minimum for the stated lambda.
#pragma once
#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "groups.hpp"
#include "isa.hpp"
#include "list.hpp"
#include "vecmath.hpp"

namespace skreg {

// One elementwise penalty, in the precision of the arrays.
template <typename T> struct Strengths {
    T l1, l2, start, stop;
};

// Scalars of one step, in the precision of the arrays. For Adam, bias corrections are
// folded in: move = lr / (1 - beta_1^t), metric_scale = 1 / sqrt(1 - beta_2^t).
// new_k = 1 - beta_k, rounded once.
template <typename T> struct StepScalars {
    T lr, move, tau, momentum, beta_1, beta_2, new_1, new_2, metric_scale, epsilon;
};

// An optimizer is a struct here, its place in the list below, and its row in
// skreg/_optimizers.py. From a gradient, `direction` updates the moments of a parameter
// that the optimizer keeps, and gives its direction and its metric.
struct Sgd {
    static constexpr bool is_heavy = false, is_adaptive = false, is_corrected = false;
    template <typename T> static T direction(T g, T *, T *, const StepScalars<T> &, T &) {
        return g;
    }
};
struct Momentum {
    static constexpr bool is_heavy = true, is_adaptive = false, is_corrected = false;
    template <typename T>
    static T direction(T g, T *first, T *, const StepScalars<T> &s, T &) {
        return *first = s.momentum * *first + g;
    }
};
struct Nesterov {
    static constexpr bool is_heavy = true, is_adaptive = false, is_corrected = false;
    template <typename T>
    static T direction(T g, T *first, T *, const StepScalars<T> &s, T &) {
        *first = s.momentum * *first + g;
        return g + s.momentum * *first;
    }
};
struct RmsProp {
    static constexpr bool is_heavy = false, is_adaptive = true, is_corrected = false;
    template <typename T>
    static T direction(T g, T *, T *second, const StepScalars<T> &s, T &metric) {
        *second = s.beta_2 * *second + s.new_2 * g * g;
        metric = std::sqrt(*second) * s.metric_scale + s.epsilon;
        return g;
    }
};
struct Adam {
    static constexpr bool is_heavy = false, is_adaptive = true, is_corrected = true;
    template <typename T>
    static T direction(T g, T *first, T *second, const StepScalars<T> &s, T &metric) {
        *second = s.beta_2 * *second + s.new_2 * g * g;
        metric = std::sqrt(*second) * s.metric_scale + s.epsilon;
        return *first = s.beta_1 * *first + s.new_1 * g;
    }
};

// In the order of the codes in skreg/_optimizers.py.
using Methods = List<Sgd, Momentum, Nesterov, RmsProp, Adam>;

constexpr int N_METHODS = length(Methods());

inline bool is_adaptive(int method) {
    bool adaptive = false;
    dispatch(Methods(), method, [&](auto f) { adaptive = f.is_adaptive; });
    return adaptive;
}

// Prox of a folded concave penalty at threshold t = step * l1. Short steps keep the
// problem convex; long ones jump between the two local minima, 0 or soft and u.
template <typename T> inline T concave_prox(T u, T t, T start, T stop) {
    const T size = u < T(0) ? -u : u, soft = max(size - t, T(0));
    const T room = stop - start - t, sum = start + stop;
    const T ramp = size - t * (stop - size) / (room > T(0) ? room : T(1));
    const T convex = size <= start + t ? soft : (size < stop ? ramp : size);
    const T jump = t < sum ? T(0.5) * (sum + t) : std::sqrt(sum * t);
    const T folded = size <= jump ? soft : size;
    return sign(u) * (room > T(0) ? convex : folded);
}

template <typename F, typename T, int slot>
SKREG_CLONES void update_run(T *__restrict w, T *__restrict grad, T *__restrict first,
                             T *__restrict second, ptrdiff_t n, StepScalars<T> s,
                             Strengths<T> penalty) {
    const T l1 = penalty.l1, l2 = penalty.l2, start = penalty.start, stop = penalty.stop;
    const T keep = max(T(1) - s.lr * l2, T(0)), cut = s.lr * l1;
    const T prox_l1 = s.tau * l1, prox_l2 = s.tau * l2;
    const T prox_factor = T(1) / (T(1) + prox_l2);
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; ++i) {
        T g = grad[i], weight = w[i];
        if constexpr (slot == COUPLED) g += l1 * sign(weight) + l2 * weight;
        if constexpr (slot == COUPLED_CONCAVE) {
            const T size = weight < T(0) ? -weight : weight;
            const T left = (stop - size) / (stop - start);
            g += l1 * sign(weight) * (left > T(1) ? T(1) : max(left, T(0)));
        }
        if constexpr (slot == DECOUPLED) weight = soft_threshold(keep * weight, cut);

        T metric = T(1);
        const T direction = F::direction(g, first + i, second + i, s, metric);
        if constexpr (F::is_adaptive) {
            if constexpr (slot == PROXIMAL) {
                // The formula above times D / D: one division.
                const T rate = T(1) / (metric + prox_l2);
                weight =
                    soft_threshold(metric * weight - s.move * direction, prox_l1) * rate;
                grad[i] = rate;  // for a group penalty that follows
            } else {
                weight -= s.move * direction / metric;
            }
        } else {
            weight -= s.move * direction;
            if constexpr (slot == PROXIMAL)
                weight = soft_threshold(weight, prox_l1) * prox_factor;
        }
        if constexpr (slot == PROXIMAL_CONCAVE)
            weight = concave_prox(weight, prox_l1 / metric, start, stop);
        w[i] = weight;
    }
}

template <typename F, typename T>
void update_slot(int slot, T *w, T *grad, T *first, T *second, ptrdiff_t n,
                 const StepScalars<T> &s, const Strengths<T> &penalty) {
    switch (slot) {
    case UNPENALIZED:
        return update_run<F, T, UNPENALIZED>(w, grad, first, second, n, s, penalty);
    case COUPLED: return update_run<F, T, COUPLED>(w, grad, first, second, n, s, penalty);
    case DECOUPLED:
        return update_run<F, T, DECOUPLED>(w, grad, first, second, n, s, penalty);
    case PROXIMAL:
        return update_run<F, T, PROXIMAL>(w, grad, first, second, n, s, penalty);
    case COUPLED_CONCAVE:
        return update_run<F, T, COUPLED_CONCAVE>(w, grad, first, second, n, s, penalty);
    case PROXIMAL_CONCAVE:
        return update_run<F, T, PROXIMAL_CONCAVE>(w, grad, first, second, n, s, penalty);
    }
}

// Fold what is common to all parameters of a step.
template <typename T>
StepScalars<T> step_scalars(int method, double lr, double t, const double *hyper) {
    StepScalars<T> s;
    bool heavy = false, corrected = false;
    dispatch(Methods(), method, [&](auto f) {
        heavy = f.is_heavy;
        corrected = f.is_corrected;
    });
    s.lr = T(lr);
    s.move = T(corrected ? lr / (1.0 - std::pow(hyper[1], t)) : lr);
    s.tau = T(heavy ? lr / (1.0 - hyper[0]) : lr);
    s.momentum = T(hyper[0]);
    s.beta_1 = T(hyper[1]);
    s.beta_2 = T(hyper[2]);
    s.new_1 = T(1.0 - hyper[1]);
    s.new_2 = T(1.0 - hyper[2]);
    s.metric_scale = T(corrected ? 1.0 / std::sqrt(1.0 - std::pow(hyper[2], t)) : 1.0);
    s.epsilon = T(hyper[3]);
    return s;
}

// What a step needs to know besides its rate. Each segment (begin, end, slot, l1, l2,
// start, stop) is a run of consecutive parameters under one penalty; together they cover
// all parameters. `hyper` is (momentum, beta_1, beta_2, epsilon), with RMSProp's
// rho as beta_2.
struct UpdateRule {
    int method = 0;
    double hyper[4] = {0.0, 0.0, 0.0, 0.0};
    std::vector<double> segments;
    std::vector<GroupBlock> groups;
    size_t buffer_size = 0;  // for the most lines of a block

    void add_group(GroupBlock block) {
        if (block.by_columns && block.cols == 1) {  // a single column lies like a row
            std::swap(block.rows, block.cols);
            block.by_columns = false;
        }
        // Rows that are groups come in parts that stay in the first cache.
        const bool apart = !block.by_columns && block.bounds.empty();
        const ptrdiff_t most = std::max(ptrdiff_t(1), 4096 / block.cols);
        const ptrdiff_t step = apart ? std::min(most, block.rows) : block.rows;
        for (ptrdiff_t row = 0; apart && row < block.rows; row += step) {
            const ptrdiff_t rows = std::min(step, block.rows - row);
            const auto kappa = block.kappa.begin() + row;
            groups.push_back({block.begin + row * block.cols,
                              rows,
                              block.cols,
                              false,
                              block.slot,
                              block.l1,
                              {},
                              {},
                              {kappa, kappa + rows}});
        }
        if (!apart) groups.push_back(block);
        const size_t needed = 4 * (block.by_columns ? block.cols : step);
        buffer_size = std::max(buffer_size, needed);
    }
};

// A segment of a rule, as far as it lies in [from, to).
template <typename T>
void update_segment(int method, const double *segment, ptrdiff_t from, ptrdiff_t to,
                    T *theta, T *grad, T *first, T *second, const StepScalars<T> &s) {
    const ptrdiff_t begin = std::max(from, ptrdiff_t(segment[0]));
    const ptrdiff_t n = std::min(to, ptrdiff_t(segment[1])) - begin;
    if (n <= 0) return;
    const int slot = int(segment[2]);
    const Strengths<T> penalty{T(segment[3]), T(segment[4]), T(segment[5]),
                               T(segment[6])};
    T *w = theta + begin, *m = first + begin, *v = second + begin;
    T *g = grad + begin;
    dispatch(Methods(), method,
             [&](auto f) { update_slot<decltype(f)>(slot, w, g, m, v, n, s, penalty); });
}

// The move of parameters [from, to) with their elementwise penalties. `first` and
// `second` are the optimizer's moments, of which a method ignores what it lacks; `grad`
// is scratch afterwards.
template <typename T>
void update_range(const UpdateRule &rule, const StepScalars<T> &s, ptrdiff_t from,
                  ptrdiff_t to, T *theta, T *grad, T *first, T *second) {
    for (size_t k = 0; k < rule.segments.size(); k += 7)
        update_segment(rule.method, &rule.segments[k], from, to, theta, grad, first,
                       second, s);
}

// What the block of groups does before the move, and after it. `buffer` has
// rule.buffer_size entries.
template <typename T>
void before_move(const GroupBlock &block, double lr, T *theta, T *grad, T *buffer) {
    groups_before(block, T(lr), theta, grad, buffer);
}
template <typename T>
void after_move(const UpdateRule &rule, const GroupBlock &block, const StepScalars<T> &s,
                T *theta, const T *grad, T *buffer) {
    groups_after(block, s.tau, is_adaptive(rule.method) ? grad : nullptr, theta, buffer);
}

// One step on all n parameters, t counting from 1.
template <typename T>
void update(const UpdateRule &rule, double lr, double t, ptrdiff_t n, T *theta, T *grad,
            T *first, T *second, T *buffer) {
    const StepScalars<T> s = step_scalars<T>(rule.method, lr, t, rule.hyper);
    for (const GroupBlock &block : rule.groups)
        before_move(block, lr, theta, grad, buffer);
    update_range(rule, s, ptrdiff_t(0), n, theta, grad, first, second);
    for (const GroupBlock &block : rule.groups)
        after_move(rule, block, s, theta, grad, buffer);
}

// Sum of an elementwise penalty over n parameters, in double precision.
template <typename T>
SKREG_CLONES double elementwise_value(const T *w, ptrdiff_t n, bool is_concave,
                                      Strengths<double> penalty) {
    double sum = 0.0, squares = 0.0;
    if (is_concave) {
        const double start = penalty.start, stop = penalty.stop, width = stop - start;
#pragma omp simd reduction(+ : sum)
        for (ptrdiff_t i = 0; i < n; ++i) {
            const double size = std::abs(double(w[i])), on_ramp = clip(size, start, stop);
            const double left = (stop - on_ramp) / width;
            sum += (size < start ? size : start) + 0.5 * width * (1.0 - left * left);
        }
        return penalty.l1 > 0.0 ? penalty.l1 * sum : 0.0;
    }
#pragma omp simd reduction(+ : sum, squares)
    for (ptrdiff_t i = 0; i < n; ++i) {
        const double weight = w[i];
        sum += std::abs(weight);
        squares += weight * weight;
    }
    // Weights may be infinite.
    return (penalty.l1 > 0.0 ? penalty.l1 * sum : 0.0) +
           (penalty.l2 > 0.0 ? 0.5 * penalty.l2 * squares : 0.0);
}

// The value of all penalties of a rule, whatever their slots.
template <typename T> double penalty_value(const UpdateRule &rule, const T *theta) {
    double total = 0.0;
    for (size_t k = 0; k < rule.segments.size(); k += 7) {
        const double *segment = &rule.segments[k];
        const ptrdiff_t begin = ptrdiff_t(segment[0]), n = ptrdiff_t(segment[1]) - begin;
        const int slot = int(segment[2]);
        if (slot == UNPENALIZED) continue;
        total += elementwise_value(theta + begin, n,
                                   slot == COUPLED_CONCAVE || slot == PROXIMAL_CONCAVE,
                                   {segment[3], segment[4], segment[5], segment[6]});
    }
    std::vector<T> buffer(rule.buffer_size);
    for (const GroupBlock &block : rule.groups) {
        total += groups_value(block, theta, buffer.data());
        if (block.slot == DECOUPLED)  // no segment has its l1
            total += elementwise_value(theta + block.begin, block.rows * block.cols,
                                       false, {block.l1, 0.0, 0.0, 0.0});
    }
    return total;
}

// The diagonal D in which a step just taken measures distance.
template <typename T>
void metric(const UpdateRule &rule, double t, ptrdiff_t n, const T *second, T *out) {
    const StepScalars<T> s = step_scalars<T>(rule.method, 1.0, t, rule.hyper);
    const bool adaptive = is_adaptive(rule.method);
    for (ptrdiff_t i = 0; i < n; ++i)
        out[i] = adaptive ? std::sqrt(second[i]) * s.metric_scale + s.epsilon : T(1);
}

}  // namespace skreg
