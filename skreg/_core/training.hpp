// Runs of mini-batches, full-batch gradients and predictions, on one or more threads.
//
// On several threads, a batch goes in phases, after each of which all wait:
//
//   forward   blocks of rows, through all layers; the last thread takes the loss
//   deltas    blocks of rows, back to the first hidden layer
//   slabs     blocks of rows of each W_l: gradient over all rows of the batch and, in the
//             cache, the update; W_l' for the next deltas
//   groups    blocks of group penalties, before or after the move, where there are any
//
// Nothing is summed across threads: every number has one owner and one order of terms,
// that of one thread.
#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

#include "denormals.hpp"
#include "network.hpp"
#include "team.hpp"
#include "update.hpp"

namespace skreg {

// A thread with fewer operations than this in a batch, about 50 microseconds, would lose
// to the waits between its phases.
constexpr double LEAST_WORK_PER_THREAD = 5e6;

// Most threads that pay in passes over n rows at a time. Products that go to BLAS may sum
// blocks in another order: there, one thread keeps the bits.
inline int most_threads(const Network &net, const Rows &rows, ptrdiff_t n) {
    double products = double(net.n_weights);
    if (rows.is_sparse() && rows.n_rows > 0) {
        const Layer &layer = net.layers.front();
        const double stored = double(rows.indptr[rows.n_rows]) / double(rows.n_rows);
        products += (stored - double(layer.in)) * double(layer.out);
    }
    const double work = 6.0 * double(n) * products + 10.0 * double(net.n_weights);
    if (!products_are_own()) return 1;
    return int(std::clamp(work / LEAST_WORK_PER_THREAD, 1.0, 1e6));
}

// Threads that shall work on them, of so many asked for.
inline int threads_for(int n_threads, const Network &net, const Rows &rows, ptrdiff_t n) {
    return std::max(1, std::min(n_threads, most_threads(net, rows, n)));
}

// Blocks and slabs do not change a sum, so they may depend on the number of threads: two
// tiles of a product or more, and several for each thread, as some take longer; fewer
// with AVX2, where each copies the panels of its products.
struct Shares {
    ptrdiff_t tile_rows, blocks, slabs;  // the latter for each thread
};
inline Shares shares() {
    return isa_level() == 4 ? Shares{Avx512::rows, 3, 8} : Shares{Avx2::rows, 2, 4};
}

inline ptrdiff_t rows_per_block(ptrdiff_t n, int n_threads) {
    const Shares share = shares();
    const ptrdiff_t tiles = n_blocks(n, share.tile_rows * share.blocks * n_threads);
    return share.tile_rows * std::max(ptrdiff_t(2), tiles);
}

// m rows of W_l from the i-th on, their parameters [from, to).
struct Slab {
    size_t l;
    ptrdiff_t i, m, from, to;
};

inline std::vector<Slab> slabs_of(const Network &net, int n_threads) {
    const Shares share = shares();
    const ptrdiff_t entries = n_blocks(net.n_weights, share.slabs * n_threads);
    std::vector<Slab> slabs;
    for (size_t l = 0; l < net.layers.size(); ++l) {
        const Layer &layer = net.layers[l];
        const ptrdiff_t rows =
            share.tile_rows *
            std::max(ptrdiff_t(2), entries / share.tile_rows / layer.out);
        for (ptrdiff_t i = 0; i < layer.in; i += rows) {
            const ptrdiff_t m = std::min(rows, layer.in - i);
            const ptrdiff_t from = layer.w + i * layer.out;
            slabs.push_back({l, i, m, from, from + m * layer.out});
        }
    }
    return slabs;
}

// The phases of one batch, called by all members of a team.
template <typename T> class SharedPasses {
  public:
    SharedPasses(const Network &net, const Rows &rows, const T *theta, T *scratch,
                 int n_threads)
        : net_(net), rows_(rows), theta_(theta), scratch_(scratch), n_threads_(n_threads),
          slabs_(slabs_of(net, n_threads)) {}

    // Sum of the losses: a batch in several passes counts by its own sum, as on one
    // thread.
    double total() const { return earlier_ + batch_total_; }

    void transpose(Team &team) const {
        team.share(slabs_.size(), [&](ptrdiff_t k) { transpose(slabs_[k]); });
    }

    // Gradient of a batch. `finish` takes each slab, or the intercepts, as its gradient
    // is there; the first layer's slabs of CSR rows go to `finish_sparse`, a phase later.
    template <typename Finish>
    void gradient(Team &team, const Batch &batch, double scale, T *grad, bool accumulate,
                  Finish finish) {
        const ptrdiff_t size = rows_per_block(batch.n, n_threads_);
        const auto rows_in = [&](ptrdiff_t first) {
            return std::min(size, batch.n - first);
        };
        team.share(
            n_blocks(batch.n, size),
            [&](ptrdiff_t k) {
                forward(net_, rows_, batch, k * size, rows_in(k * size), theta_,
                        scratch_);
            },
            [&] {
                if (!accumulate) earlier_ += batch_total_, batch_total_ = 0.0;
                batch_total_ += loss(net_, rows_, batch, scale, scratch_);
            });
        if (net_.layers.size() > 1)
            team.share(n_blocks(batch.n, size), [&](ptrdiff_t k) {
                deltas(net_, k * size, rows_in(k * size), scratch_);
            });
        // Strips of columns of the gradient for CSR rows, whose entries come in any
        // order.
        const Layer &bottom = net_.layers.front();
        constexpr ptrdiff_t strip = 64;
        const ptrdiff_t n_layers = net_.layers.size(), n_slabs = slabs_.size();
        const ptrdiff_t n_strips = rows_.is_sparse() ? n_blocks(bottom.out, strip) : 0;
        const ptrdiff_t n_sparse =
            rows_.is_sparse()
                ? std::count_if(slabs_.begin(), slabs_.end(),
                                [](const Slab &slab) { return slab.l == 0; })
                : 0;
        team.share(n_strips + n_slabs - n_sparse + n_layers, [&](ptrdiff_t k) {
            if (k < n_strips)
                return strip_gradient(batch, k * strip, strip, grad, accumulate);
            k += n_sparse - n_strips;
            if (k < n_slabs) {
                const Slab &slab = slabs_[k];
                weight_gradient(net_, rows_, batch, slab.l, slab.i, slab.m, grad,
                                accumulate, scratch_);
                return finish(slab.from, slab.to, &slab);
            }
            const Layer &layer = net_.layers[k - n_slabs];
            bias_gradient(net_, batch, k - n_slabs, grad, accumulate, scratch_);
            finish(layer.b, layer.b + layer.out, nullptr);
        });
        if (n_sparse > 0)
            team.share(n_sparse, [&](ptrdiff_t k) {
                finish(slabs_[k].from, slabs_[k].to, nullptr);
            });
    }

    void transpose(const Slab &slab) const {
        if (slab.l > 0)
            transpose_rows(net_.layers[slab.l], slab.i, slab.m, theta_, scratch_);
    }

    // update(from, to) for all parameters, shared.
    template <typename Update> void each_range(Team &team, Update update) const {
        const ptrdiff_t n_slabs = slabs_.size();
        team.share(n_slabs + 1, [&](ptrdiff_t k) {
            if (k < n_slabs) return update(slabs_[k].from, slabs_[k].to);
            update(net_.n_weights, net_.n_parameters);
        });
    }

  private:
    void strip_gradient(const Batch &batch, ptrdiff_t from, ptrdiff_t width, T *grad,
                        bool accumulate) const {
        const Layer &layer = net_.layers.front();
        const ptrdiff_t to = std::min(from + width, layer.out);
        if (!accumulate)
            for (ptrdiff_t i = 0; i < layer.in; ++i)
                std::fill(grad + i * layer.out + from, grad + i * layer.out + to, T(0));
        with_inputs<T>(rows_, [&](auto x) {
            csr_backward(x, rows_.indices, rows_.indptr, batch.order, batch.start,
                         batch.n, layer.out, from, to, scratch_ + layer.delta, grad);
        });
    }

    const Network &net_;
    const Rows &rows_;
    const T *theta_;
    T *scratch_;
    int n_threads_;
    double earlier_ = 0.0, batch_total_ = 0.0;
    std::vector<Slab> slabs_;
};

// The blocks of at most net.capacity rows of order[start:stop].
inline Batch block_of(const Network &net, const ptrdiff_t *order, ptrdiff_t start,
                      ptrdiff_t stop, ptrdiff_t k) {
    const ptrdiff_t first = start + k * net.capacity;
    return {order, first, std::min(net.capacity, stop - first)};
}

// Sum of s_i l_i over order[start:stop] and scale * its gradient, on one thread.
template <typename T>
double gradient(const Network &net, const Rows &rows, const ptrdiff_t *order,
                ptrdiff_t start, ptrdiff_t stop, double scale, const T *theta, T *grad,
                T *scratch) {
    double total = 0.0;
    for (ptrdiff_t k = 0; k < n_blocks(stop - start, net.capacity); ++k) {
        const Batch batch = block_of(net, order, start, stop, k);
        forward(net, rows, batch, 0, batch.n, theta, scratch);
        total += loss(net, rows, batch, scale, scratch);
        backward(net, rows, batch, theta, grad, k > 0, scratch);
    }
    return total;
}

// The same on several threads; blocks of rows bound the memory.
template <typename T>
double loss_gradient(const Network &net, const Rows &rows, const ptrdiff_t *order,
                     ptrdiff_t start, ptrdiff_t stop, double scale, const T *theta,
                     T *grad, T *scratch, int n_threads) {
    n_threads = threads_for(n_threads, net, rows, std::min(net.capacity, stop - start));
    if (n_threads == 1)
        return gradient(net, rows, order, start, stop, scale, theta, grad, scratch);
    SharedPasses<T> passes(net, rows, theta, scratch, n_threads);
    Team::run(n_threads, [&](Team &team, int) {
        passes.transpose(team);
        for (ptrdiff_t k = 0; k < n_blocks(stop - start, net.capacity); ++k)
            passes.gradient(team, block_of(net, order, start, stop, k), scale, grad,
                            k > 0, [](ptrdiff_t, ptrdiff_t, const Slab *) {});
    });
    return passes.total();
}

// Mini-batches over order[start:stop], one optimizer step each, `steps` before. Returns
// the sum of s_i l_i, each batch taken just before its step.
template <typename T>
double train(const Network &net, const Rows &rows, const ptrdiff_t *order,
             ptrdiff_t start, ptrdiff_t stop, ptrdiff_t batch_size, double scale,
             const UpdateRule &rule, const double *rates, ptrdiff_t steps, T *theta,
             T *grad, T *first, T *second, T *scratch, int n_threads) {
    const ptrdiff_t n_batches = n_blocks(stop - start, batch_size);
    n_threads = threads_for(n_threads, net, rows,
                            std::min({net.capacity, batch_size, stop - start}));
    std::vector<T> buffers(rule.buffer_size * n_threads);
    if (n_threads == 1) {
        double total = 0.0;
        const unsigned state = flush_denormals();
        for (ptrdiff_t k = 0; k < n_batches; ++k) {
            const ptrdiff_t from = start + k * batch_size;
            const ptrdiff_t to = std::min(from + batch_size, stop);
            total += gradient(net, rows, order, from, to, scale / double(to - from),
                              theta, grad, scratch);
            update(rule, rates[k], double(steps + k + 1), net.n_parameters, theta, grad,
                   first, second, buffers.data());
        }
        restore_denormals(state);
        return total;
    }
    bool acts_before = false;
    for (const GroupBlock &block : rule.groups) acts_before |= block.slot != PROXIMAL;
    const ptrdiff_t n_groups = rule.groups.size();
    SharedPasses<T> passes(net, rows, theta, scratch, n_threads);
    Team::run(n_threads, [&](Team &team, int member) {
        const unsigned state = flush_denormals();
        T *buffer = buffers.data() + rule.buffer_size * member;
        passes.transpose(team);
        for (ptrdiff_t k = 0; k < n_batches; ++k) {
            const ptrdiff_t from = start + k * batch_size;
            const ptrdiff_t to = std::min(from + batch_size, stop);
            const ptrdiff_t n_passes = n_blocks(to - from, net.capacity);
            const StepScalars<T> s =
                step_scalars<T>(rule.method, rates[k], double(steps + k + 1), rule.hyper);
            const auto move = [&](ptrdiff_t begin, ptrdiff_t end) {
                update_range(rule, s, begin, end, theta, grad, first, second);
            };
            for (ptrdiff_t p = 0; p < n_passes; ++p)
                passes.gradient(team, block_of(net, order, from, to, p),
                                scale / double(to - from), grad, p > 0,
                                [&](ptrdiff_t begin, ptrdiff_t end, const Slab *slab) {
                                    if (acts_before || p + 1 < n_passes) return;
                                    move(begin, end);
                                    if (slab && n_groups == 0) passes.transpose(*slab);
                                });
            if (n_groups == 0) continue;
            if (acts_before) {
                team.share(n_groups, [&](ptrdiff_t g) {
                    before_move(rule.groups[g], rates[k], theta, grad, buffer);
                });
                passes.each_range(team, move);
            }
            team.share(n_groups, [&](ptrdiff_t g) {
                after_move(rule, rule.groups[g], s, theta, grad, buffer);
            });
            passes.transpose(team);
        }
        restore_denormals(state);
    });
    return passes.total();
}

// done(k, batch, scratch) after a forward pass over each block of rows. Each thread has a
// scratch of its own; a single block is not shared.
template <typename T, typename Done>
void each_forward(const Network &net, const Rows &rows, const T *theta, T *scratch,
                  int n_threads, Done done) {
    const ptrdiff_t blocks = n_blocks(rows.n_rows, net.capacity);
    n_threads = int(std::min(ptrdiff_t(threads_for(n_threads, net, rows, rows.n_rows)),
                             std::max(blocks, ptrdiff_t(1))));
    std::vector<T> others(net.scratch_size * (n_threads - 1));
    Team::run(n_threads, [&](Team &team, int member) {
        T *own = member == 0 ? scratch : others.data() + net.scratch_size * (member - 1);
        team.share(blocks, [&](ptrdiff_t k) {
            const Batch batch = block_of(net, nullptr, 0, rows.n_rows, k);
            forward(net, rows, batch, 0, batch.n, theta, own);
            done(k, batch, own);
        });
    });
}

// f(x_i) of every row into `out` (n, n_outputs).
template <typename T>
void raw_predictions(const Network &net, const Rows &rows, const T *theta, T *out,
                     T *scratch, int n_threads) {
    each_forward(net, rows, theta, scratch, n_threads,
                 [&](ptrdiff_t, const Batch &batch, const T *own) {
                     std::copy_n(own + net.layers.back().act, batch.n * net.n_outputs(),
                                 out + batch.start * net.n_outputs());
                 });
}

// Sum of s_i l_i over all rows, block by block.
template <typename T>
double loss_sum(const Network &net, const Rows &rows, const T *theta, T *scratch,
                int n_threads) {
    std::vector<double> sums(n_blocks(rows.n_rows, net.capacity));
    each_forward(net, rows, theta, scratch, n_threads,
                 [&](ptrdiff_t k, const Batch &batch, T *own) {
                     sums[k] = loss(net, rows, batch, 1.0, own);
                 });
    double total = 0.0;
    for (const double sum : sums) total += sum;
    return total;
}

}  // namespace skreg
