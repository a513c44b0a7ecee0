// A network as a list of layers, and its passes over rows of a batch.
#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

#include "activations.hpp"
#include "losses.hpp"
#include "matmul.hpp"
#include "sparse.hpp"

namespace skreg {

// a = phi(A W + b) for A of the layer below, W of shape (in, out).
struct Layer {
    ptrdiff_t in, out;
    ptrdiff_t w, b;               // where W and b lie in theta
    ptrdiff_t act, slope, delta;  // where a, phi' (if stored) and dJ/dz lie in scratch
    ptrdiff_t transposed;         // where W' lies in scratch
    int activation;
};

// Layers, loss, and where the rest lies in scratch: inputs, targets, weights of a batch.
struct Network {
    std::vector<Layer> layers;
    int loss = 0;
    double loss_param = 0.0;
    ptrdiff_t capacity = 0, n_weights = 0, n_parameters = 0, n_targets = 0;
    ptrdiff_t x = 0, y = 0, s = 0, scratch_size = 0;

    Network() = default;
    Network(const std::vector<ptrdiff_t> &units, int activation, int loss,
            double loss_param, ptrdiff_t capacity, ptrdiff_t n_targets)
        : loss(loss), loss_param(loss_param), capacity(capacity), n_targets(n_targets) {
        const size_t n_layers = units.size() - 1;
        scratch_size = capacity * units[0];
        for (size_t l = 0; l < n_layers; ++l) {
            Layer layer{units[l],
                        units[l + 1],
                        n_weights,
                        0,
                        scratch_size,
                        0,
                        0,
                        0,
                        l + 1 < n_layers ? activation : int(IDENTITY)};
            n_weights += layer.in * layer.out;
            scratch_size += capacity * layer.out;
            layer.slope = scratch_size;
            if (stores_slope(layer.activation)) scratch_size += capacity * layer.out;
            layer.delta = scratch_size;
            if (l + 1 < n_layers) scratch_size += capacity * layer.out;
            layers.push_back(layer);
        }
        layers.back().delta = layers.back().act;  // the loss leaves it in place
        n_parameters = n_weights;
        for (Layer &layer : layers) {
            layer.b = n_parameters;
            n_parameters += layer.out;
        }
        y = scratch_size;
        s = y + capacity * n_targets;
        scratch_size = s + capacity;
        for (size_t l = 1; l < n_layers; ++l) {
            layers[l].transposed = scratch_size;
            scratch_size += layers[l].in * layers[l].out;
        }
    }

    ptrdiff_t n_outputs() const { return layers.back().out; }
};

// Rows as they are read: dense row-major or CSR inputs, targets, weights.
struct Rows {
    const void *x, *y, *s;
    const int *indices;
    const long long *indptr;
    bool widen;  // float32 inputs under float64 parameters
    ptrdiff_t n_rows, n_features, n_targets;

    bool is_sparse() const { return indices != nullptr; }
};

// Rows order[start], ..., or, without an order, start, ..., of which there are n.
struct Batch {
    const ptrdiff_t *order;
    ptrdiff_t start, n;
};

// Run f(x) with the inputs in their precision.
template <typename T, typename F> void with_inputs(const Rows &rows, F f) {
    if (rows.widen)
        f(static_cast<const float *>(rows.x));
    else
        f(static_cast<const T *>(rows.x));
}

// Where the dense inputs of a batch lie side by side: in scratch if they are gathered.
template <typename T>
const T *inputs(const Network &net, const Rows &rows, const Batch &batch, T *scratch) {
    if (rows.widen || batch.order) return scratch + net.x;
    return static_cast<const T *>(rows.x) + batch.start * rows.n_features;
}

// Fill the activations of rows first, ..., first + n - 1 of a batch; the raw predictions
// are those of the last layer.
template <typename T>
void forward(const Network &net, const Rows &rows, const Batch &batch, ptrdiff_t first,
             ptrdiff_t n, const T *theta, T *scratch) {
    const ptrdiff_t start = batch.start + first;
    const T *below = nullptr;
    if (!rows.is_sparse()) {
        below = inputs(net, rows, batch, scratch) + first * rows.n_features;
        if (rows.widen || batch.order)
            with_inputs<T>(rows, [&](auto x) {
                gather(x, batch.order, start, n, rows.n_features,
                       scratch + net.x + first * rows.n_features);
            });
    }
    for (const Layer &layer : net.layers) {
        T *z = scratch + layer.act + first * layer.out;
        const T *w = theta + layer.w, *bias = theta + layer.b;
        if (below)
            matmul(false, false, n, layer.out, layer.in, below, layer.in, w, layer.out,
                   bias, false, z);
        else
            with_inputs<T>(rows, [&](auto x) {
                csr_forward(x, rows.indices, rows.indptr, batch.order, start, n,
                            layer.out, w, bias, z);
            });
        activate(layer.activation, z, scratch + layer.slope + first * layer.out,
                 n * layer.out);
        below = z;
    }
}

// Sum of s_i l_i over a batch; its raw predictions become scale * s_i * dl/df.
template <typename T>
double loss(const Network &net, const Rows &rows, const Batch &batch, double scale,
            T *scratch) {
    const T *y = static_cast<const T *>(rows.y), *s = static_cast<const T *>(rows.s);
    if (batch.order) {
        gather(y, batch.order, batch.start, batch.n, rows.n_targets, scratch + net.y);
        y = scratch + net.y;
        if (s) {
            gather(s, batch.order, batch.start, batch.n, ptrdiff_t(1), scratch + net.s);
            s = scratch + net.s;
        }
    } else {
        y += batch.start * rows.n_targets;
        if (s) s += batch.start;
    }
    return loss_and_delta(net.loss, net.loss_param, scratch + net.layers.back().act, y, s,
                          batch.n, net.n_outputs(), T(scale));
}

// Gradient of all parameters from the output's delta; added where `accumulate`. Below a
// layer with one output, activations are overwritten by delta.
template <typename T>
void backward(const Network &net, const Rows &rows, const Batch &batch, const T *theta,
              T *grad, bool accumulate, T *scratch) {
    const ptrdiff_t n = batch.n;
    const T *delta = scratch + net.layers.back().delta;
    if (!accumulate) std::fill(grad + net.n_weights, grad + net.n_parameters, T(0));
    column_sums(delta, n, net.n_outputs(), grad + net.layers.back().b);
    for (size_t l = net.layers.size() - 1; l > 0; --l) {
        const Layer &layer = net.layers[l], &below = net.layers[l - 1];
        T *g = grad + layer.w, *a = scratch + below.act;
        if (layer.out == 1) {
            if (!accumulate) std::fill_n(g, layer.in, T(0));
            backprop_one_output(below.activation, delta, theta + layer.w, a,
                                scratch + below.slope, n, layer.in, grad + below.b, g);
            delta = a;
            continue;
        }
        matmul<T>(true, false, layer.in, layer.out, n, a, layer.in, delta, layer.out,
                  nullptr, accumulate, g);
        T *next = scratch + below.delta;
        matmul<T>(false, true, n, layer.in, layer.out, delta, layer.out, theta + layer.w,
                  layer.out, nullptr, false, next);
        backprop_activation(below.activation, next, a, scratch + below.slope, n, layer.in,
                            grad + below.b);
        delta = next;
    }
    const Layer &layer = net.layers.front();
    if (!rows.is_sparse()) {
        matmul<T>(true, false, layer.in, layer.out, n, inputs(net, rows, batch, scratch),
                  layer.in, delta, layer.out, nullptr, accumulate, grad);
        return;
    }
    if (!accumulate) std::fill_n(grad, layer.in * layer.out, T(0));
    with_inputs<T>(rows, [&](auto x) {
        csr_backward(x, rows.indices, rows.indptr, batch.order, batch.start, n, layer.out,
                     ptrdiff_t(0), layer.out, delta, grad);
    });
}

// The deltas of rows first, ..., first + n - 1 alone, given those of the output and W' in
// scratch; activations stay.
template <typename T>
void deltas(const Network &net, ptrdiff_t first, ptrdiff_t n, T *scratch) {
    for (size_t l = net.layers.size() - 1; l > 0; --l) {
        const Layer &layer = net.layers[l], &below = net.layers[l - 1];
        const ptrdiff_t place = first * layer.in;
        const T *delta = scratch + layer.delta + first * layer.out;
        T *next = scratch + below.delta + place;
        if (layer.out == 1) {
            spread(below.activation, delta, scratch + layer.transposed,
                   scratch + below.act + place, scratch + below.slope + place, n,
                   layer.in, next);
            continue;
        }
        // The transpose of one line is itself, and in `backward` no product with a
        // vector.
        matmul<T>(false, layer.in == 1, n, layer.in, layer.out, delta, layer.out,
                  scratch + layer.transposed, layer.in == 1 ? layer.out : layer.in,
                  nullptr, false, next);
        scale_by_slope(below.activation, next, scratch + below.act + place,
                       scratch + below.slope + place, n * layer.in);
    }
}

// Gradient of m rows of W_l, from the i-th on, given all deltas. The sums have the order
// of `backward`.
template <typename T>
void weight_gradient(const Network &net, const Rows &rows, const Batch &batch, size_t l,
                     ptrdiff_t i, ptrdiff_t m, T *grad, bool accumulate, T *scratch) {
    const Layer &layer = net.layers[l];
    const T *a =
        l == 0 ? inputs(net, rows, batch, scratch) : scratch + net.layers[l - 1].act;
    const T *delta = scratch + layer.delta;
    T *g = grad + layer.w + i * layer.out;
    gradient_product(layer.in, m, layer.out, batch.n, a + i, delta, accumulate, g);
}

// Gradient of b_l, likewise.
template <typename T>
void bias_gradient(const Network &net, const Batch &batch, size_t l, T *grad,
                   bool accumulate, T *scratch) {
    const Layer &layer = net.layers[l];
    T *sums = grad + layer.b;
    if (!accumulate) std::fill_n(sums, layer.out, T(0));
    const bool is_last = l + 1 == net.layers.size();
    if (is_last || (layer.activation == IDENTITY && net.layers[l + 1].out > 1))
        column_sums(scratch + layer.delta, batch.n, layer.out, sums);
    else
        column_sums_by_fours(scratch + layer.delta, batch.n, layer.out, sums);
}

// W_l' into scratch: lines [i, i + m) of W_l.
template <typename T>
void transpose_rows(const Layer &layer, ptrdiff_t i, ptrdiff_t m, const T *theta,
                    T *scratch) {
    const T *w = theta + layer.w;
    T *out = scratch + layer.transposed;
    constexpr ptrdiff_t side = 16;  // one or two lines of the cache
    for (ptrdiff_t r = i; r < i + m; r += side)
        transpose(w + r * layer.out, layer.out, std::min(side, i + m - r), layer.out,
                  out + r, layer.in);
}

}  // namespace skreg
