// Elementary functions written so that a compiler can vectorize loops over them:
// no branches, no calls, no tables. Both precisions share one template.
//
//   exp    x = n ln 2 + r, |r| <= ln(2)/2, e^x = 2^n (1 + q(r)); q by its Taylor series
//   log    x = 2^n m, m in [0.7, 1.42), log m = 2 atanh((m - 1) / (m + 1))
//
// Arguments outside the range of exp are clipped to it (about e^+-87 in float and
// e^+-708 in double); NaN stays NaN. Relative error is a few units in the last place.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "isa.hpp"

namespace skreg {

template <typename T> struct Format;

template <> struct Format<float> {
    using Int = std::int32_t;
    using UInt = std::uint32_t;
    static constexpr Int mantissa_bits = 23, bias = 127, half_exponent = 0x3f3504f3;
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    static constexpr float round_shift = 12582912.0f;
    static constexpr float exp_min = -87.33655f, exp_max = 88.0f;
    static constexpr float ln2_hi = 0.693359375f, ln2_lo = -2.12194440e-4f;
    static constexpr int exp_degree = 7, log_terms = 5;
};

template <> struct Format<double> {
    using Int = std::int64_t;
    using UInt = std::uint64_t;
    static constexpr Int mantissa_bits = 52, bias = 1023,
                         half_exponent = 0x3fe6a09e667f3bcdLL;
    static constexpr double round_shift = 6755399441055744.0;
    static constexpr double exp_min = -708.39642, exp_max = 709.0;
    static constexpr double ln2_hi = 6.93145751953125e-1,
                            ln2_lo = 1.42860682030941723212e-6;
    static constexpr int exp_degree = 13, log_terms = 11;
};

template <typename To, typename From> inline To bit_cast(From from) {
    static_assert(sizeof(To) == sizeof(From), "same size");
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}

// x within [low, high]; NaN stays NaN.
template <typename T> inline T clip(T x, T low, T high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

constexpr double FACTORIALS[] = {1,       1,        2,         6,         24,
                                 120,     720,      5040,      40320,     362880,
                                 3628800, 39916800, 479001600, 6227020800};

// e^x - 1 as 2^n q(r) + (2^n - 1), with `power` = 2^n.
template <typename T> inline T expm1_parts(T x, T &power) {
    using F = Format<T>;
    x = clip(x, F::exp_min, F::exp_max);
    const T shifted = x * T(1.44269504088896340736) + F::round_shift;
    const T n = shifted - F::round_shift;
    const T r = (x - n * F::ln2_hi) - n * F::ln2_lo;
    T q = T(1 / FACTORIALS[F::exp_degree]);
#pragma GCC unroll 16
    for (int k = F::exp_degree - 1; k > 0; --k) q = T(1 / FACTORIALS[k]) + r * q;
    using Int = typename F::Int;
    const Int exponent = bit_cast<Int>(shifted) - bit_cast<Int>(F::round_shift) + F::bias;
    // Unsigned: of a NaN these bits are anything, and must not overflow.
    power = bit_cast<T>(typename F::UInt(exponent) << F::mantissa_bits);
    return r * q;
}

template <typename T> inline T exp(T x) {
    T power;
    const T q = expm1_parts(x, power);
    return power + power * q;
}

template <typename T> inline T expm1(T x) {
    T power;
    const T q = expm1_parts(x, power);
    return power * q + (power - T(1));
}

// Natural logarithm of a positive, finite, normal x.
template <typename T> inline T log(T x) {
    using F = Format<T>;
    using Int = typename F::Int;
    const Int bits = bit_cast<Int>(x);
    const Int n = (bits - F::half_exponent) >> F::mantissa_bits;
    const T m = bit_cast<T>(Int(bits - n * (Int(1) << F::mantissa_bits)));
    const T s = (m - T(1)) / (m + T(1)), s2 = s * s;
    T series = T(0);
    for (int k = F::log_terms; k > 0; --k) series = s2 * (series + T(1) / T(2 * k + 1));
    const T n_real = T(n);
    return n_real * F::ln2_hi + (n_real * F::ln2_lo + (s + s) * (T(1) + series));
}

template <typename T> inline T logistic(T x) { return T(1) / (T(1) + exp(-x)); }

// tanh|x| = -e / (e + 2) with e = expm1(-2|x|): exact to the last places near 0.
template <typename T> inline T tanh(T x) {
    const T a = x < T(0) ? x : -x;
    const T e = expm1(a + a);
    const T t = e / (e + T(2));
    return x < T(0) ? t : -t;
}

// yes or no, without a branch in the scalar code that finishes a vectorized loop.
template <typename T> inline T select(bool condition, T yes, T no) {
    using Int = typename Format<T>::Int;
    const Int mask = -Int(condition);
    return bit_cast<T>(Int((bit_cast<Int>(yes) & mask) | (bit_cast<Int>(no) & ~mask)));
}

template <typename T> inline T max(T a, T b) { return a > b ? a : b; }
template <typename T> inline T sign(T x) { return T(x > T(0)) - T(x < T(0)); }

// x_+ ; NaN stays NaN.
template <typename T> inline T positive_part(T x) { return x < T(0) ? T(0) : x; }

// sign(x) (|x| - t)_+ : exactly 0 for |x| <= t.
template <typename T> inline T soft_threshold(T x, T t) { return x - clip(x, -t, t); }

// Partial sums side by side, as many as fill the widest register. (The reduction of
// `omp simd` would add them up one by one, which costs more than short lines do.)
template <typename T> constexpr int LANES = 64 / sizeof(T);

// The sum of all lanes, which are overwritten.
template <typename T> SKREG_INLINE T total(T *lanes) {
#pragma GCC unroll 16
    for (int half = LANES<T> / 2; half > 0; half /= 2)
#pragma GCC unroll 16
        for (int k = 0; k < half; ++k) lanes[k] += lanes[k + half];
    return lanes[0];
}

}  // namespace skreg
