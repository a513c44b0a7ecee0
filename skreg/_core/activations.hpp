// Activations of the hidden layers; backward, fused with the sums that give the
// intercepts' gradient.
//
// value(z) gives phi(z), and slope(a) gives phi' from it. Where it does not follow from
// the value, `stores_slope`, it is stored beside it, by value(z, slope).
#pragma once
#include <cstddef>

#include "isa.hpp"
#include "list.hpp"
#include "vecmath.hpp"

namespace skreg {

// An activation is a struct here, its place in the list below, and its name in
// skreg/_network.py.
struct Identity {
    static constexpr bool stores_slope = false;
    template <typename T> static T value(T z) { return z; }
    template <typename T> static T slope(T) { return T(1); }
};
struct Logistic {
    static constexpr bool stores_slope = false;
    template <typename T> static T value(T z) { return logistic(z); }
    template <typename T> static T slope(T a) { return a * (T(1) - a); }
};
struct Tanh {
    static constexpr bool stores_slope = false;
    template <typename T> static T value(T z) { return tanh(z); }
    template <typename T> static T slope(T a) { return T(1) - a * a; }
};
// NaN passes through both rectifiers, so that a diverged fit is seen as such.
struct Relu {
    static constexpr bool stores_slope = false;
    template <typename T> static T value(T z) { return z < T(0) ? T(0) : z; }
    template <typename T> static T slope(T a) { return select(a > T(0), T(1), T(0)); }
};
struct LeakyRelu {
    static constexpr bool stores_slope = false;
    template <typename T> static T value(T z) { return z < T(0) ? T(0.01) * z : z; }
    template <typename T> static T slope(T a) { return select(a > T(0), T(1), T(0.01)); }
};
// x Phi(x), with the exact normal distribution function (Hendrycks & Gimpel, 2016).
struct Gelu {
    static constexpr bool stores_slope = true;
    template <typename T> static T value(T z, T &slope) {
        const T c = clip(z, T(-40), T(40));  // beyond, the limits are reached
        const T cdf = T(0.5) * std::erfc(c * T(-0.70710678118654752440));
        slope = cdf + c * T(0.39894228040143267794) * exp(T(-0.5) * c * c);
        return z < c ? T(0) : z * cdf;
    }
};
// x sigma(x) (Elfwing, Uchibe & Doya, 2018).
struct Silu {
    static constexpr bool stores_slope = true;
    template <typename T> static T value(T z, T &slope) {
        const T c = clip(z, Format<T>::exp_min, Format<T>::exp_max), p = logistic(c);
        slope = p * (T(1) + c * (T(1) - p));
        return z < T(2) * Format<T>::exp_min ? T(0) : z * p;
    }
};

template <typename F, typename T>
SKREG_CLONES void activate_each(T *__restrict z, ptrdiff_t size) {
#pragma omp simd
    for (ptrdiff_t i = 0; i < size; ++i) z[i] = F::value(z[i]);
}

template <typename F, typename T>
SKREG_CLONES void activate_each_with_slope(T *__restrict z, T *__restrict slope,
                                           ptrdiff_t size) {
#pragma omp simd
    for (ptrdiff_t i = 0; i < size; ++i) z[i] = F::value(z[i], slope[i]);
}

// In the order of ACTIVATIONS in skreg/_network.py.
using Activations = List<Identity, Logistic, Tanh, Relu, LeakyRelu, Gelu, Silu>;
constexpr int IDENTITY = 0;

inline bool stores_slope(int activation) {
    bool stores = false;
    dispatch(Activations(), activation, [&](auto f) { stores = f.stores_slope; });
    return stores;
}

// z <- phi(z); `slope` receives phi' for the activations that store it.
template <typename T> void activate(int activation, T *z, T *slope, ptrdiff_t size) {
    if (activation == IDENTITY) return;
    dispatch(Activations(), activation, [=](auto f) {
        using F = decltype(f);
        if constexpr (F::stores_slope)
            activate_each_with_slope<F>(z, slope, size);
        else
            activate_each<F>(z, size);
    });
}

// sums <- sums + column sums of a.
template <typename T>
SKREG_CLONES void column_sums(const T *__restrict a, ptrdiff_t rows, ptrdiff_t cols,
                              T *__restrict sums) {
    if (cols == 1) {
        T total = T(0);
#pragma omp simd reduction(+ : total)
        for (ptrdiff_t i = 0; i < rows; ++i) total += a[i];
        sums[0] += total;
        return;
    }
    for (ptrdiff_t i = 0; i < rows; ++i, a += cols) {
#pragma omp simd
        for (ptrdiff_t j = 0; j < cols; ++j) sums[j] += a[j];
    }
}

// delta <- delta * slope, four rows at a time so that the sums stay in registers.
template <typename Slope, typename T>
SKREG_CLONES void scale_and_sum(Slope slope, T *__restrict delta, const T *__restrict a,
                                ptrdiff_t rows, ptrdiff_t cols, T *__restrict sums) {
    ptrdiff_t i = 0;
    for (; i + 4 <= rows; i += 4, delta += 4 * cols, a += 4 * cols) {
#pragma omp simd
        for (ptrdiff_t j = 0; j < cols; ++j) {
            const T d0 = delta[j] * slope(a[j]);
            const T d1 = delta[j + cols] * slope(a[j + cols]);
            const T d2 = delta[j + 2 * cols] * slope(a[j + 2 * cols]);
            const T d3 = delta[j + 3 * cols] * slope(a[j + 3 * cols]);
            delta[j] = d0;
            delta[j + cols] = d1;
            delta[j + 2 * cols] = d2;
            delta[j + 3 * cols] = d3;
            sums[j] += (d0 + d1) + (d2 + d3);
        }
    }
    for (; i < rows; ++i, delta += cols, a += cols) {
#pragma omp simd
        for (ptrdiff_t j = 0; j < cols; ++j) {
            delta[j] *= slope(a[j]);
            sums[j] += delta[j];
        }
    }
}

// A layer with one output, rows of f, under weights v: a <- delta = f v' * phi', its
// column sums, and the gradient a' f of v, in one pass; the sums are added to `sums` and
// `grad`. `source`, the argument of phi', may be a.
template <typename Slope, typename T>
SKREG_CLONES void spread_and_sum(Slope slope, const T *__restrict f,
                                 const T *__restrict v, T *a, const T *source,
                                 ptrdiff_t rows, ptrdiff_t cols, T *__restrict sums,
                                 T *__restrict grad) {
    ptrdiff_t i = 0;
    for (; i + 4 <= rows; i += 4, a += 4 * cols, source += 4 * cols) {
        const T f0 = f[i], f1 = f[i + 1], f2 = f[i + 2], f3 = f[i + 3];
#pragma omp simd
        for (ptrdiff_t j = 0; j < cols; ++j) {
            const ptrdiff_t j1 = j + cols, j2 = j1 + cols, j3 = j2 + cols;
            const T d0 = f0 * v[j] * slope(source[j]), d1 = f1 * v[j] * slope(source[j1]);
            const T d2 = f2 * v[j] * slope(source[j2]),
                    d3 = f3 * v[j] * slope(source[j3]);
            grad[j] += (f0 * a[j] + f1 * a[j1]) + (f2 * a[j2] + f3 * a[j3]);
            sums[j] += (d0 + d1) + (d2 + d3);
            a[j] = d0;
            a[j1] = d1;
            a[j2] = d2;
            a[j3] = d3;
        }
    }
    for (; i < rows; ++i, a += cols, source += cols) {
#pragma omp simd
        for (ptrdiff_t j = 0; j < cols; ++j) {
            const T d = f[i] * v[j] * slope(source[j]);
            grad[j] += f[i] * a[j];
            sums[j] += d;
            a[j] = d;
        }
    }
}

// run(phi', its argument): phi' as a function of the value, or of itself where stored.
template <typename T, typename Run>
SKREG_INLINE void with_slope(int activation, const T *a, const T *slope, Run run) {
    dispatch(Activations(), activation, [=](auto f) {
        using F = decltype(f);
        if constexpr (F::stores_slope)
            run([](T v) { return v; }, slope);
        else
            run([](T v) { return F::slope(v); }, a);
    });
}

// delta <- delta * phi'; its column sums (the intercepts' gradient) are added to `sums`.
template <typename T>
void backprop_activation(int activation, T *delta, const T *a, const T *slope,
                         ptrdiff_t rows, ptrdiff_t cols, T *sums) {
    if (activation == IDENTITY) return column_sums(delta, rows, cols, sums);
    with_slope(activation, a, slope, [=](auto derivative, const T *source) {
        scale_and_sum(derivative, delta, source, rows, cols, sums);
    });
}

// The same below a layer with one output; see spread_and_sum.
template <typename T>
void backprop_one_output(int activation, const T *f, const T *v, T *a, const T *slope,
                         ptrdiff_t rows, ptrdiff_t cols, T *sums, T *grad) {
    with_slope(activation, a, slope, [=](auto derivative, const T *source) {
        spread_and_sum(derivative, f, v, a, source, rows, cols, sums, grad);
    });
}

// sums <- sums + column sums of a, in the order of scale_and_sum.
template <typename T>
SKREG_CLONES void column_sums_by_fours(const T *__restrict a, ptrdiff_t rows,
                                       ptrdiff_t cols, T *__restrict sums) {
    ptrdiff_t i = 0;
    for (; i + 4 <= rows; i += 4, a += 4 * cols) {
#pragma omp simd
        for (ptrdiff_t j = 0; j < cols; ++j)
            sums[j] += (a[j] + a[j + cols]) + (a[j + 2 * cols] + a[j + 3 * cols]);
    }
    for (; i < rows; ++i, a += cols) {
#pragma omp simd
        for (ptrdiff_t j = 0; j < cols; ++j) sums[j] += a[j];
    }
}

template <typename Slope, typename T>
SKREG_CLONES void scale_each(Slope slope, T *__restrict delta, const T *__restrict a,
                             ptrdiff_t size) {
#pragma omp simd
    for (ptrdiff_t i = 0; i < size; ++i) delta[i] *= slope(a[i]);
}

// delta <- delta * phi', without sums.
template <typename T>
void scale_by_slope(int activation, T *delta, const T *a, const T *slope,
                    ptrdiff_t size) {
    if (activation == IDENTITY) return;
    with_slope(activation, a, slope, [=](auto derivative, const T *source) {
        scale_each(derivative, delta, source, size);
    });
}

template <typename Slope, typename T>
SKREG_CLONES void spread_each(Slope slope, const T *__restrict f, const T *__restrict v,
                              const T *__restrict source, ptrdiff_t rows, ptrdiff_t cols,
                              T *__restrict delta) {
    for (ptrdiff_t i = 0; i < rows; ++i, source += cols, delta += cols) {
#pragma omp simd
        for (ptrdiff_t j = 0; j < cols; ++j) delta[j] = f[i] * v[j] * slope(source[j]);
    }
}

// delta <- f v' * phi' below a layer with one output, without sums.
template <typename T>
void spread(int activation, const T *f, const T *v, const T *a, const T *slope,
            ptrdiff_t rows, ptrdiff_t cols, T *delta) {
    with_slope(activation, a, slope, [=](auto derivative, const T *source) {
        spread_each(derivative, f, v, source, rows, cols, delta);
    });
}

}  // namespace skreg
