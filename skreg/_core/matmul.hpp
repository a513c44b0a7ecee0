// Matrix products from registers and caches: with AVX2 or AVX-512 for all sizes, and for
// those where a BLAS call costs more than the work.
//
// After Goto & van de Geijn (2008), Anatomy of High-Performance Matrix Multiplication: a
// tile of C stays in registers while a few rows of A run along a panel of B, one to three
// vectors wide, which stays in the first cache. Copies replace what lies far apart in
// memory; they change no order of sums.
#pragma once
#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>

#include "isa.hpp"
#include "transpose.hpp"
#include "vecmath.hpp"

namespace skreg {

// Blocks of a size that n entries fill, the last one in part.
constexpr ptrdiff_t n_blocks(ptrdiff_t n, ptrdiff_t size) {
    return (n + size - 1) / size;
}

#ifdef __GNUC__
// A panel and a few rows of A share the first cache: some rows where they lie, or, but
// for AVX-512, more in a copy.
constexpr ptrdiff_t PANEL_ROWS = 128, COPIED_ROWS = 256;
template <int bytes>
constexpr ptrdiff_t MOST_ROWS = bytes < 64 ? COPIED_ROWS : PANEL_ROWS;
// A panel is worth a copy for so many rows of A, rows of A for so many columns of B; so
// many of them stay in the second cache, or near it.
constexpr ptrdiff_t COPY_FROM = 24, MANY_COLUMNS = 512, ROWS_AT_ONCE = 1032;
// Below this many multiplications own loops win over any BLAS.
constexpr ptrdiff_t SMALL_PRODUCT = 128 * 128 * 128;
// So few columns would leave most of a vector empty; rows that take their place at once.
constexpr ptrdiff_t FEW_COLUMNS = 12, BLOCK_ROWS = 64;

// Whether pieces of k rows of n entries would leave the first cache between uses: there
// are too many, or they fall into few of its sets.
template <typename T> constexpr bool is_far(ptrdiff_t k, ptrdiff_t n) {
    const ptrdiff_t row = n * ptrdiff_t(sizeof(T));
    return k * row > (row % 256 == 0 ? 64 : 256) * 1024;
}

// In registers, and as it lies in memory, without alignment.
template <typename T, int bytes> struct Vector {
    typedef T type __attribute__((vector_size(bytes)));
    typedef T stored __attribute__((vector_size(bytes), aligned(alignof(T)), may_alias));
    static constexpr ptrdiff_t width = bytes / sizeof(T);
};

// All bits in the first lanes of a vector and none in the rest, to be read from the
// middle.
template <typename T, ptrdiff_t width> struct LaneMasks {
    typename Format<T>::Int entry[2 * width];
    constexpr LaneMasks() : entry() {
        for (ptrdiff_t j = 0; j < width; ++j) entry[j] = -1;
    }
    static const LaneMasks table;
};
template <typename T, ptrdiff_t width>
constexpr LaneMasks<T, width> LaneMasks<T, width>::table{};

// A row-major matrix or its transpose: entry (i, j) lies at data[i * row + j * col].
template <typename T> struct Operand {
    const T *data;
    ptrdiff_t row, col;
    Operand from(ptrdiff_t i, ptrdiff_t j) const {
        return {data + i * row + j * col, row, col};
    }
    const T *row_at(ptrdiff_t i) const { return data + i * row; }
};

// A copy of k columns in groups of `rows` rows, one group after the other, each column by
// column.
template <int rows, typename T> struct CopiedRows {
    const T *data;
    ptrdiff_t k;
    static constexpr ptrdiff_t row = 1, col = rows;
    const T *row_at(ptrdiff_t i) const { return data + i / rows * rows * k + i % rows; }
};
template <int rows, typename T>
void copy_rows(Operand<T> a, ptrdiff_t m, ptrdiff_t k, T *copy) {
    for (ptrdiff_t i = 0; i < m; i += rows, copy += rows * k) {
        const T *group = a.row_at(i);
        if (a.row == 1 && i + rows <= m) {
            for (ptrdiff_t p = 0; p < k; ++p)
                std::copy_n(group + p * a.col, rows, copy + p * rows);
            continue;
        }
        const ptrdiff_t n = std::min(ptrdiff_t(rows), m - i);
        if (a.col == 1) {
            if (n == rows)  // a known number, for the compiler
                transpose(group, a.row, rows, k, copy, rows);
            else
                transpose(group, a.row, n, k, copy, rows);
            continue;
        }
        for (ptrdiff_t r = 0; r < n; ++r)
            for (ptrdiff_t p = 0; p < k; ++p)
                copy[p * rows + r] = group[r * a.row + p * a.col];
    }
}

// Memory of this thread for such copies, or nothing where there is none left.
template <typename T> T *copying_space(ptrdiff_t size) {
    static thread_local std::unique_ptr<T[]> space;
    static thread_local ptrdiff_t capacity = 0;
    if (size > capacity) {
        space.reset(new (std::nothrow) T[size]);
        capacity = space ? size : 0;
    }
    return space.get();
}

// The first n columns of B, filled up with zeros to `width`.
template <ptrdiff_t width, typename T>
SKREG_INLINE void copy_panel(Operand<T> b, ptrdiff_t k, ptrdiff_t n, T *panel) {
    if (b.col == 1 && n >= width) {  // of a known number, for the compiler
        for (ptrdiff_t p = 0; p < k; ++p)
            std::copy_n(b.data + p * b.row, width, panel + p * width);
        return;
    }
    if (n < width) std::fill_n(panel, k * width, T(0));
    n = std::min(n, width);
    if (b.col == 1) {
        for (ptrdiff_t p = 0; p < k; ++p)
            for (ptrdiff_t j = 0; j < n; ++j)
                panel[p * width + j] = b.data[p * b.row + j];
    } else if (n == width) {
        transpose(b.data, b.col, width, k, panel, width);
    } else {
        transpose(b.data, b.col, n, k, panel, width);
    }
}

// Some columns of B, as wide as one to three vectors. Its rows are read beyond the last
// column where that is part of the next row; the last row is a copy. The products are
// added to `bias`.
template <typename T> struct Panel {
    const T *rows;
    ptrdiff_t stride, n_rows;
    const T *last, *bias;
    const T *row(ptrdiff_t p) const { return p + 1 < n_rows ? rows + p * stride : last; }
};

// Where a product goes: m rows of n entries, `stride` apart.
template <typename T> struct Target {
    T *data;
    ptrdiff_t m, n, stride;
    bool accumulate;
    const T *end() const { return data + (m - 1) * stride + n; }
};

// A tile of C: `rows` rows from the i-th on, `vectors` vectors wide, but for what is
// beyond the last column.
template <int rows, int vectors, int bytes, typename Left, typename T>
SKREG_INLINE void tile(Left a, Panel<T> b, ptrdiff_t i, Target<T> c) {
    using V = typename Vector<T, bytes>::type;
    using Stored = typename Vector<T, bytes>::stored;
    using Bits = typename Vector<typename Format<T>::Int, bytes>::type;
    using StoredBits = typename Vector<typename Format<T>::Int, bytes>::stored;
    constexpr ptrdiff_t width = Vector<T, bytes>::width;
    V sum[rows][vectors] = {};
    const T *column = a.row_at(i);
    if constexpr (bytes < 64)  // rows of C may lie pages apart
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r) __builtin_prefetch(c.data + (i + r) * c.stride, 1);
    for (ptrdiff_t p = 0; p < b.n_rows; ++p, column += a.col) {
        const T *row = b.row(p);
        V entries[vectors];
#pragma GCC unroll 3
        for (int v = 0; v < vectors; ++v) entries[v] = *(const Stored *)(row + v * width);
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r)
#pragma GCC unroll 3
            for (int v = 0; v < vectors; ++v) sum[r][v] += entries[v] * column[r * a.row];
    }
    const ptrdiff_t n_last = std::min(width, c.n - (vectors - 1) * width);
    const Bits keep =
        *(const StoredBits *)(LaneMasks<T, width>::table.entry + width - n_last);
    const T *end = c.end();
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 3
        for (int v = 0; v < vectors; ++v) {
            T *out = c.data + (i + r) * c.stride + v * width;
            const T *addend = c.accumulate ? out : b.bias + v * width;
            const ptrdiff_t n = c.n - v * width;
            const bool fits = out + width <= end;
            // In rows shorter than a vector, what is beyond will be written later.
            if (n >= width || (fits && c.stride < width && !c.accumulate)) {
                *(Stored *)out = *(const Stored *)addend + sum[r][v];
            } else if (fits && c.stride >= width) {
                const V entry = *(const Stored *)addend + sum[r][v];
                const V old = *(const Stored *)out;
                *(Stored *)out = (V)(((Bits)entry & keep) | ((Bits)old & ~keep));
            } else {
                T entries[width];
                *(Stored *)entries = sum[r][v];
                for (ptrdiff_t j = 0; j < n; ++j) out[j] = addend[j] + entries[j];
            }
        }
    }
}

// Tiles of `rows` rows, from row i on as long as there are as many.
template <int rows, int vectors, int bytes, typename Left, typename T>
SKREG_INLINE void tiles(Left a, Panel<T> b, ptrdiff_t &i, Target<T> c) {
    for (; i + rows <= c.m; i += rows) tile<rows, vectors, bytes>(a, b, i, c);
}

// C = bias + A (m, k) @ B (k, n), or added to C, for n up to `vectors` vectors.
template <int rows, int vectors, int bytes, typename Left, typename T>
SKREG_INLINE void panel_product(Left a, Operand<T> b, ptrdiff_t k, bool copies,
                                const T *bias, Target<T> c) {
    constexpr ptrdiff_t width = vectors * Vector<T, bytes>::width;
    alignas(64) T copy[MOST_ROWS<bytes> * width], last[width], start[width] = {};
    if (bias) std::copy_n(bias, std::min(c.n, width), start);
    Panel<T> panel{b.data, b.row, k, last, start};
    if (b.col != 1 || b.row + c.n < width || copies) {
        copy_panel<width>(b, k, c.n, copy);
        panel.rows = copy;
        panel.stride = width;
    }
    copy_panel<width>(b.from(k - 1, 0), 1, c.n, last);
    ptrdiff_t i = 0;
    tiles<rows, vectors, bytes>(a, panel, i, c);
    if constexpr (rows > 8) tiles<8, vectors, bytes>(a, panel, i, c);
    tiles<4, vectors, bytes>(a, panel, i, c);
    tiles<2, vectors, bytes>(a, panel, i, c);
    tiles<1, vectors, bytes>(a, panel, i, c);
}

// The same for all columns. Panels of two vectors, and one of three where a single one
// would be left, unless its fewer rows at a time do not fit those of a copy.
template <int bytes, int rows, typename Left, typename T>
SKREG_INLINE void all_panels(Left a, Operand<T> b, ptrdiff_t k, bool copies,
                             const T *bias, Target<T> c) {
    constexpr ptrdiff_t width = Vector<T, bytes>::width;
    constexpr int rows_of_three = rows > 8 ? 8 : 4;
    constexpr bool is_copied = std::is_same_v<Left, CopiedRows<rows, T>>;
    for (ptrdiff_t j = 0; j < c.n;) {
        const Operand<T> right = b.from(0, j);
        const T *const offset = bias ? bias + j : nullptr;
        const Target<T> out{c.data + j, c.m, c.n - j, c.stride, c.accumulate};
        if (out.n <= width) {
            panel_product<rows, 1, bytes>(a, right, k, copies, offset, out);
            j += width;
        } else if (!is_copied && out.n > 2 * width && out.n <= 3 * width) {
            panel_product<rows_of_three, 3, bytes>(a, right, k, copies, offset, out);
            j += 3 * width;
        } else {
            panel_product<rows, 2, bytes>(a, right, k, copies, offset, out);
            j += 2 * width;
        }
    }
}

// The same by blocks of A, of which copies are made in `space`.
template <typename Isa, typename T>
void copied_product(Operand<T> a, Operand<T> b, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k,
                    ptrdiff_t panel_rows, bool copies, const T *bias, bool accumulate,
                    T *c, T *space) {
    for (ptrdiff_t p = 0; p < k; p += panel_rows)
        for (ptrdiff_t i = 0; i < m; i += ROWS_AT_ONCE) {
            const ptrdiff_t inner = std::min(panel_rows, k - p);
            const Target<T> out{c + i * n, std::min(ROWS_AT_ONCE, m - i), n, n,
                                accumulate || p > 0};
            copy_rows<Isa::rows>(a.from(i, p), out.m, inner, space);
            Isa::block(CopiedRows<Isa::rows, T>{space, inner}, b.from(p, 0), inner,
                       copies, p == 0 ? bias : nullptr, out);
        }
}

// C (m, n) = bias + A (m, k) @ B (k, n), or added to C. The order of sums depends on n
// and k alone, and not on n where it may count rows of C'.
template <typename Isa, typename T>
SKREG_INLINE void product(Operand<T> a, Operand<T> b, ptrdiff_t m, ptrdiff_t n,
                          ptrdiff_t k, const T *bias, bool accumulate, T *c) {
    const bool may_copy = Isa::bytes < 64 && n > BLOCK_ROWS;
    const bool far = may_copy && is_far<T>(k, n), copies = far && m >= COPY_FROM;
    // No short one at the end, which would cost as much as a long one to add to C.
    const ptrdiff_t panel_rows = far ? n_blocks(k, n_blocks(k, COPIED_ROWS)) : PANEL_ROWS;
    if (may_copy && (a.col == 1 ? n >= MANY_COLUMNS : is_far<T>(k, a.col))) {
        const ptrdiff_t groups = n_blocks(std::min(ROWS_AT_ONCE, m), Isa::rows);
        if (T *space = copying_space<T>(groups * Isa::rows * std::min(panel_rows, k)))
            return copied_product<Isa>(a, b, m, n, k, panel_rows, copies, bias,
                                       accumulate, c, space);
    }
    for (ptrdiff_t p = 0; p < k; p += panel_rows)
        all_panels<Isa::bytes, Isa::rows>(
            a.from(0, p), b.from(p, 0), std::min(panel_rows, k - p), copies,
            p == 0 ? bias : nullptr, Target<T>{c, m, n, n, accumulate || p > 0});
}

// Tiles fill the registers of each instruction set: 32 of 64 bytes, 16 of 32 or 16.
// Copied rows have a function of their own, which leaves the compiler registers for
// others.
#define SKREG_PRODUCTS(Isa, target)                                                      \
    template <typename T>                                                                \
    target static void all(Operand<T> a, Operand<T> b, ptrdiff_t m, ptrdiff_t n,         \
                           ptrdiff_t k, const T *bias, bool accumulate, T *c) {          \
        product<Isa>(a, b, m, n, k, bias, accumulate, c);                                \
    }                                                                                    \
    template <typename Left, typename T>                                                 \
    target static void block(Left a, Operand<T> b, ptrdiff_t k, bool copies,             \
                             const T *bias, Target<T> c) {                               \
        all_panels<bytes, rows>(a, b, k, copies, bias, c);                               \
    }
struct Avx512 {
    static constexpr int bytes = 64, rows = 12;
    SKREG_PRODUCTS(Avx512, SKREG_V4)
};
struct Avx2 {
    static constexpr int bytes = 32, rows = 6;
    SKREG_PRODUCTS(Avx2, SKREG_V3)
};
struct Baseline {
    static constexpr int bytes = 16, rows = 4;
    SKREG_PRODUCTS(Baseline, )
};
#undef SKREG_PRODUCTS

// C (m, n) = A' (m, k) @ B (k, n), or added to C, for a few columns: C' = B' A fills
// vectors with the rows of C.
template <typename T, typename Product>
void few_columns_product(Product product, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k,
                         const T *a, ptrdiff_t lda, const T *b, bool accumulate, T *c) {
    T block[FEW_COLUMNS * BLOCK_ROWS];
    for (ptrdiff_t i = 0; i < m; i += BLOCK_ROWS, c += BLOCK_ROWS * n) {
        const ptrdiff_t rows = std::min(BLOCK_ROWS, m - i);
        product({b, 1, n}, {a + i, lda, 1}, n, rows, k, nullptr, false, block);
        for (ptrdiff_t r = 0; r < rows; ++r)
            for (ptrdiff_t j = 0; j < n; ++j)
                c[r * n + j] = block[j * rows + r] + (accumulate ? c[r * n + j] : T(0));
    }
}
#endif

// Add products of the next n entries of some rows of A with b to the lanes of their sums.
template <int rows, typename T>
SKREG_INLINE void add_products(T (&sums)[rows][LANES<T>], const T *__restrict a,
                               ptrdiff_t stride, const T *__restrict b, int n) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r)
#pragma omp simd
        for (int j = 0; j < LANES<T>; ++j)
            sums[r][j] += (j < n ? a[r * stride + j] : T(0)) * b[j];
}

// c (m) = offset + A (m, k) @ b (k) for row-major A, four rows at a time. They are read
// beyond their ends, but not beyond the end of A. All rows are summed in one order, so
// that a prediction does not depend on its place.
template <typename T>
SKREG_CLONES void matvec(const T *__restrict a, const T *__restrict b, ptrdiff_t m,
                         ptrdiff_t k, T offset, T *__restrict c) {
    const ptrdiff_t rest = k % LANES<T>, whole = k - rest;
    const ptrdiff_t n_read = rest ? whole + LANES<T> : k;
    T tail[LANES<T>] = {}, last[LANES<T>] = {};
    std::copy_n(b + whole, rest, tail);
    ptrdiff_t i = 0;
    for (; (i + 3) * k + n_read <= m * k; i += 4, a += 4 * k) {
        T sums[4][LANES<T>] = {};
        for (ptrdiff_t p = 0; p < whole; p += LANES<T>)
            add_products(sums, a + p, k, b + p, LANES<T>);
        if (rest) add_products(sums, a + whole, k, tail, int(rest));
#pragma GCC unroll 4
        for (int r = 0; r < 4; ++r) c[i + r] = offset + total(sums[r]);
    }
    for (; i < m; ++i, a += k) {
        T sums[1][LANES<T>] = {};
        for (ptrdiff_t p = 0; p < whole; p += LANES<T>)
            add_products(sums, a + p, k, b + p, LANES<T>);
        std::copy_n(a + whole, rest, last);
        if (rest) add_products(sums, last, k, tail, int(rest));
        c[i] = offset + total(sums[0]);
    }
}

// c (m) = A' b for A (k, m), whose rows lie `lda` apart, four rows at a time.
template <typename T>
SKREG_CLONES void transposed_matvec(const T *__restrict a, ptrdiff_t lda,
                                    const T *__restrict b, ptrdiff_t m, ptrdiff_t k,
                                    T *__restrict c, bool accumulate) {
    if (!accumulate)
        for (ptrdiff_t i = 0; i < m; ++i) c[i] = T(0);
    ptrdiff_t p = 0;
    for (; p + 4 <= k; p += 4, a += 4 * lda) {
#pragma omp simd
        for (ptrdiff_t i = 0; i < m; ++i)
            c[i] += (b[p] * a[i] + b[p + 1] * a[i + lda]) +
                    (b[p + 2] * a[i + 2 * lda] + b[p + 3] * a[i + 3 * lda]);
    }
    for (; p < k; ++p, a += lda) {
#pragma omp simd
        for (ptrdiff_t i = 0; i < m; ++i) c[i] += b[p] * a[i];
    }
}

#ifdef __GNUC__
template <typename T>
using Product = void (*)(Operand<T>, Operand<T>, ptrdiff_t, ptrdiff_t, ptrdiff_t,
                         const T *, bool, T *);
template <typename T> Product<T> best_product() {
    const int level = isa_level();
    return level == 4 ? Avx512::all<T> : level == 3 ? Avx2::all<T> : Baseline::all<T>;
}
#endif

// Whether no product goes to BLAS. Then each entry is summed in one order, wherever it
// lies in a block of rows or a slab of weights.
inline bool products_are_own() {
#ifdef __GNUC__
    return isa_level() >= 3;
#else
    return false;
#endif
}

// gemm of a Fortran BLAS: handed over once, by _blas.pxd.
template <typename T>
using Gemm = void (*)(char *, char *, int *, int *, int *, T *, T *, int *, T *, int *,
                      T *, T *, int *);
template <typename T> inline Gemm<T> blas_gemm = nullptr;
inline void use_blas(void *sgemm, void *dgemm) {
    blas_gemm<float> = reinterpret_cast<Gemm<float>>(sgemm);
    blas_gemm<double> = reinterpret_cast<Gemm<double>>(dgemm);
}

// C (m, n) = op(A) op(B), plus `bias` (n) in each row where there is one, or added to C,
// all row-major. Rows of A and B lie `lda` and `ldb` apart, those of C side by side. All
// sizes are positive; a bias and `accumulate` exclude each other.
template <typename T>
void matmul(bool transpose_a, bool transpose_b, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k,
            const T *a, ptrdiff_t lda, const T *b, ptrdiff_t ldb, const T *bias,
            bool accumulate, T *c) {
    if (n == 1 && !transpose_b && transpose_a && !bias)
        return transposed_matvec(a, lda, b, m, k, c, accumulate);
    if (n == 1 && !transpose_b && !transpose_a && !accumulate && lda == k)
        return matvec(a, b, m, k, bias ? *bias : T(0), c);
#ifdef __GNUC__
    if (products_are_own() || m * n * k <= SMALL_PRODUCT) {
        const auto product = best_product<T>();
        if (transpose_a && !transpose_b && !bias && n <= FEW_COLUMNS && m > FEW_COLUMNS)
            return few_columns_product(product, m, n, k, a, lda, b, accumulate, c);
        return product({a, transpose_a ? 1 : lda, transpose_a ? lda : 1},
                       {b, transpose_b ? 1 : ldb, transpose_b ? ldb : 1}, m, n, k, bias,
                       accumulate, c);
    }
#endif
    // BLAS stores by columns: it is asked for C' = op(B)' op(A)'.
    if (bias)
        for (ptrdiff_t i = 0; i < m; ++i) std::copy_n(bias, n, c + i * n);
    char trans_a = transpose_a ? 't' : 'n', trans_b = transpose_b ? 't' : 'n';
    int rows = int(m), cols = int(n), inner = int(k), step_a = int(lda),
        step_b = int(ldb);
    T one = T(1), beta = T(accumulate || bias ? 1 : 0);
    blas_gemm<T>(&trans_b, &trans_a, &cols, &rows, &inner, &one, const_cast<T *>(b),
                 &step_b, const_cast<T *>(a), &step_a, &beta, c, &cols);
}

// m columns of A (k, lda) transposed, times B (k, n); or added to C. Each entry has the
// order of sums that it has in the product of all columns.
template <typename T>
void gradient_product(ptrdiff_t lda, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const T *a,
                      const T *b, bool accumulate, T *c) {
#ifdef __GNUC__
    if (products_are_own() && n > 1 && n <= FEW_COLUMNS && lda > FEW_COLUMNS)
        return few_columns_product(best_product<T>(), m, n, k, a, lda, b, accumulate, c);
#endif
    matmul<T>(true, false, m, n, k, a, lda, b, n, nullptr, accumulate, c);
}

}  // namespace skreg
