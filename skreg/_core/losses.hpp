// Losses in raw-prediction space: value and derivative of l(y, f) in one pass.
//
// f of shape (rows, cols) enters as raw predictions and leaves as
// scale * s_i * dl/df, ready to be propagated backwards.
#pragma once
#include <cstddef>
#include <type_traits>

#include "isa.hpp"
#include "list.hpp"
#include "vecmath.hpp"

namespace skreg {

// A loss is a struct here, its place in the list below, and its row in skreg/losses.py.
// eval(y, f, param, derivative) gives l(y, f) and its derivative in f.

// log(1 + e^f) - y f, summed over columns (multilabel)
struct BinaryLogLoss {
    template <typename T> static T eval(T y, T f, T, T &derivative) {
        // One exponential serves value and derivative; neither can overflow.
        const T e = exp(f < T(0) ? f : -f);
        const T p_far = e / (T(1) + e);  // min(p, 1 - p)
        derivative = (f < T(0) ? p_far : T(1) - p_far) - y;
        return log(T(1) + e) + (f > T(0) ? f : T(0)) - y * f;
    }
};
// (f - y)^2 / 2
struct SquaredError {
    template <typename T> static T eval(T y, T f, T, T &derivative) {
        derivative = f - y;
        return T(0.5) * derivative * derivative;
    }
};
// |f - y|
struct AbsoluteError {
    template <typename T> static T eval(T y, T f, T, T &derivative) {
        const T r = f - y;
        derivative = r == r ? sign(r) : r;  // NaN stays NaN, here and below
        return std::abs(r);
    }
};
// r^2/2 if |r| <= p, else p (|r| - p/2), with r = f - y
struct Huber {
    template <typename T> static T eval(T y, T f, T p, T &derivative) {
        const T r = f - y, a = std::abs(r);
        derivative = a > p ? p * sign(r) : r;
        return a <= p ? T(0.5) * r * r : p * (a - T(0.5) * p);
    }
};
// pinball: p r if r >= 0, else (p - 1) r, with r = y - f
struct Quantile {
    template <typename T> static T eval(T y, T f, T p, T &derivative) {
        const T r = y - f;
        derivative = r > T(0) ? -p : (r < T(0) ? T(1) - p : r);
        return r >= T(0) ? p * r : (p - T(1)) * r;
    }
};
// e^f - y f
struct Poisson {
    template <typename T> static T eval(T y, T f, T, T &derivative) {
        // exp clips f; the linear term must not outgrow it, here and below.
        const T mean = exp(f);
        derivative = mean - y;
        return mean - y * (f > Format<T>::exp_max ? Format<T>::exp_max : f);
    }
};
// y e^-f + f
struct Gamma {
    template <typename T> static T eval(T y, T f, T, T &derivative) {
        const T ratio = y * exp(-f);
        derivative = T(1) - ratio;
        return ratio + (f < -Format<T>::exp_max ? -Format<T>::exp_max : f);
    }
};

// logsumexp(f) - f_y, where y holds class indices: not pointwise, see multinomial_loss.
struct MultinomialLogLoss {};

// In the order of the codes in skreg/losses.py.
using Losses = List<BinaryLogLoss, MultinomialLogLoss, SquaredError, AbsoluteError, Huber,
                    Quantile, Poisson, Gamma>;

// n entries; weight s[i], or the constant `weight` where s is null.
template <typename F, typename T>
SKREG_CLONES double pointwise_run(T *__restrict f, const T *__restrict y,
                                  const T *__restrict s, ptrdiff_t n, T weight, T param,
                                  T scale) {
    double total = 0.0;
    if (s) {
#pragma omp simd reduction(+ : total)
        for (ptrdiff_t i = 0; i < n; ++i) {
            T derivative;
            const T value = F::eval(y[i], f[i], param, derivative);
            total += double(s[i]) * double(value);
            f[i] = scale * s[i] * derivative;
        }
        return total;
    }
    const T factor = scale * weight;
#pragma omp simd reduction(+ : total)
    for (ptrdiff_t i = 0; i < n; ++i) {
        T derivative;
        total += double(F::eval(y[i], f[i], param, derivative));
        f[i] = factor * derivative;
    }
    return double(weight) * total;
}

template <typename F, typename T>
double pointwise_loss(T *f, const T *y, const T *s, ptrdiff_t rows, ptrdiff_t cols,
                      T param, T scale) {
    if (!s || cols == 1)
        return pointwise_run<F>(f, y, s, rows * cols, T(1), param, scale);
    double total = 0.0;
    for (ptrdiff_t i = 0; i < rows; ++i)
        total += pointwise_run<F, T>(f + i * cols, y + i * cols, nullptr, cols, s[i],
                                     param, scale);
    return total;
}

template <typename T>
SKREG_CLONES double multinomial_loss(T *__restrict f, const T *__restrict y,
                                     const T *__restrict s, ptrdiff_t rows,
                                     ptrdiff_t cols, T scale) {
    double total = 0.0;
    for (ptrdiff_t i = 0; i < rows; ++i) {
        T *row = f + i * cols;
        T largest = row[0];
        for (ptrdiff_t j = 1; j < cols; ++j) largest = max(row[j], largest);
        for (ptrdiff_t j = 0; j < cols; ++j) row[j] -= largest;
        total -= double(s ? s[i] : T(1)) * double(row[ptrdiff_t(y[i])]);
    }
#pragma omp simd
    for (ptrdiff_t k = 0; k < rows * cols; ++k) f[k] = exp(f[k]);
    double product = 1.0;  // of softmax sums: one logarithm for many rows
    for (ptrdiff_t i = 0; i < rows; ++i) {
        T *row = f + i * cols;
        T sum = T(0);
        for (ptrdiff_t j = 0; j < cols; ++j) sum += row[j];
        const T weight = s ? s[i] : T(1);
        if (s) {
            total += double(weight) * std::log(double(sum));
        } else {
            product *= double(sum);
            if (!(product < 1e200)) {
                total += std::log(product);
                product = 1.0;
            }
        }
        const T factor = scale * weight / sum;
        for (ptrdiff_t j = 0; j < cols; ++j) row[j] *= factor;
        row[ptrdiff_t(y[i])] -= scale * weight;
    }
    return total + std::log(product);
}

// Returns sum_i s_i l(y_i, f_i) and overwrites f by scale * s_i * dl/df.
template <typename T>
double loss_and_delta(int loss, double param, T *f, const T *y, const T *s,
                      ptrdiff_t rows, ptrdiff_t cols, T scale) {
    double total = 0.0;
    dispatch(Losses(), loss, [&](auto kind) {
        using F = decltype(kind);
        if constexpr (std::is_same_v<F, MultinomialLogLoss>)
            total = multinomial_loss(f, y, s, rows, cols, scale);
        else
            total = pointwise_loss<F>(f, y, s, rows, cols, T(param), scale);
    });
    return total;
}

}  // namespace skreg
