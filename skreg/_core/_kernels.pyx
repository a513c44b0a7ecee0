# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Forward and backward passes and runs of mini-batches; see the package docstring."""

import numpy as np

from cython cimport floating
from libc.string cimport memcpy, memset
from libcpp.vector cimport vector

from skreg._core._blas cimport gemm


cdef extern from "activations.hpp" namespace "skreg" nogil:
    bint stores_slope(int activation)
    void activate[T](int activation, T* z, T* slope, Py_ssize_t size)
    void backprop_activation[T](int activation, T* delta, const T* a, const T* slope,
                                Py_ssize_t rows, Py_ssize_t cols, T* sums)
    void backprop_one_output[T](int activation, const T* f, const T* v, T* a,
                                const T* slope, Py_ssize_t rows, Py_ssize_t cols,
                                T* sums, T* grad)
    void column_sums[T](const T* a, Py_ssize_t rows, Py_ssize_t cols, T* sums)

cdef extern from "denormals.hpp" namespace "skreg" nogil:
    unsigned int flush_denormals()
    void restore_denormals(unsigned int state)

cdef extern from "lbfgs.hpp" namespace "skreg" nogil:
    cdef cppclass LbfgsMemory:
        Py_ssize_t n, pushed
        LbfgsMemory()
        LbfgsMemory(double* vectors, Py_ssize_t n, Py_ssize_t capacity) except +
        void push(const double* s, const double* y)
        void restrict_to(const unsigned char* support)
    void lbfgs_multiply(LbfgsMemory& memory, double least_cosine, bint is_longer,
                        double initial, double* q) except +

cdef extern from "losses.hpp" namespace "skreg" nogil:
    double loss_and_delta[T](int loss, double param, T* f, const T* y, const T* s,
                             Py_ssize_t rows, Py_ssize_t cols, T scale)

cdef extern from "shuffle.hpp" namespace "skreg" nogil:
    cdef cppclass Twister "skreg::MersenneTwister":
        unsigned int[624] key
        Py_ssize_t position
        void temper()
    void shuffle_with "skreg::shuffle" (Twister& stream, Py_ssize_t* order,
                                        Py_ssize_t n)

cdef extern from "sparse.hpp" namespace "skreg" nogil:
    void gather[X, T](const X* x, const Py_ssize_t* rows, Py_ssize_t start,
                      Py_ssize_t n, Py_ssize_t cols, T* out)
    void csr_forward[X, T](const X* data, const int* indices, const long long* indptr,
                           const Py_ssize_t* rows, Py_ssize_t start, Py_ssize_t n,
                           Py_ssize_t cols, const T* w, const T* bias, T* z)
    void csr_backward[X, T](const X* data, const int* indices, const long long* indptr,
                            const Py_ssize_t* rows, Py_ssize_t start, Py_ssize_t n,
                            Py_ssize_t cols, const T* delta, T* grad)

cdef extern from "groups.hpp" namespace "skreg" nogil:
    cdef cppclass GroupBlock:
        Py_ssize_t begin, rows, cols
        bint by_columns
        int slot
        double l1
        vector[Py_ssize_t] bounds, lines
        vector[double] kappa

cdef extern from "update.hpp" namespace "skreg" nogil:
    cdef cppclass UpdateRule:
        int method
        double[4] hyper
        vector[double] segments
        void add_group(const GroupBlock& block)
    void update[T](UpdateRule& rule, double lr, double t, T* theta, T* grad, T* first,
                   T* second)
    double penalty_value[T](UpdateRule& rule, const T* theta)
    void metric[T](const UpdateRule& rule, double t, Py_ssize_t n, const T* second,
                   T* out)


cdef const void* _address(array):
    return <const void*> <size_t> array.__array_interface__["data"][0]


cdef class Net:
    """Shape and codes of a network, and where its parameters and scratch lie.

    Parameters
    ----------
    units : sequence of int
        Inputs, hidden units, outputs; all weight matrices first in `theta`, then all
        intercepts.
    activation, loss : int
        Codes of activations.hpp and losses.hpp.
    loss_param : float
        Huber's threshold or the quantile; other losses ignore it.
    capacity : int
        Largest number of rows in one pass.
    """
    cdef:
        vector[Py_ssize_t] units      # 0..L
        vector[Py_ssize_t] weights    # offset of W_l in theta, l = 1..L
        vector[Py_ssize_t] biases     # offset of b_l in theta, l = 1..L
        vector[Py_ssize_t] act        # offset of A_l in scratch, l = 0..L
        vector[Py_ssize_t] slope      # offset of phi'(Z_l), where it is stored
        Py_ssize_t[2] delta           # two buffers, used in turn
        Py_ssize_t y, s
        int n_layers, activation, loss
        double loss_param
        readonly Py_ssize_t n_weights, n_parameters, capacity, scratch_size
        readonly Py_ssize_t n_targets

    def __init__(self, units, int activation, int loss, double loss_param,
                 Py_ssize_t capacity, Py_ssize_t n_targets):
        cdef Py_ssize_t l, size = 0, widest = 0
        if capacity < 1:
            raise ValueError("capacity must be at least one row")
        self.n_layers = len(units) - 1
        self.activation, self.loss, self.loss_param = activation, loss, loss_param
        self.capacity, self.n_targets = capacity, n_targets
        self.units = units
        self.weights.push_back(0)
        for l in range(1, self.n_layers + 1):
            self.weights.push_back(size)
            size += self.units[l - 1] * self.units[l]
        self.n_weights = size
        self.biases.push_back(0)
        for l in range(1, self.n_layers + 1):
            self.biases.push_back(size)
            size += self.units[l]
            widest = max(widest, self.units[l])
        self.n_parameters = size
        self._lay_out_scratch(widest, n_targets)

    cdef _lay_out_scratch(self, Py_ssize_t widest, Py_ssize_t n_targets):
        cdef Py_ssize_t l, offset = 0
        self.slope.resize(self.n_layers + 1)
        for l in range(self.n_layers + 1):
            self.act.push_back(offset)
            offset += self.capacity * self.units[l]
        for l in range(1, self.n_layers):
            if stores_slope(self.activation):
                self.slope[l] = offset
                offset += self.capacity * self.units[l]
        for l in range(2):
            self.delta[l] = offset
            offset += self.capacity * widest
        self.y = offset
        offset += self.capacity * n_targets
        self.s = offset
        self.scratch_size = offset + self.capacity


cdef class Data:
    """Rows as the kernels read them: dense row-major or CSR X, targets, weights.

    Parameters
    ----------
    X : ndarray of shape (n, p), C-ordered, or CSR with int32 indices, int64 indptr
        float32 or float64; read only, never copied as a whole: float32 rows under
        float64 parameters are converted batch by batch.
    dtype : dtype
        Of the parameters, and of the two arrays below.
    y : ndarray of shape (n, n_targets), C-ordered, or None
    sample_weight : ndarray of shape (n,) or None
    """
    cdef:
        const void* x
        const int* indices
        const long long* indptr
        const void* y
        const void* s
        object owners
        bint widen                    # float32 X under float64 parameters
        readonly Py_ssize_t n_rows, n_features, n_targets
        readonly Py_ssize_t itemsize

    def __init__(self, X, dtype, y=None, sample_weight=None):
        self.n_rows, self.n_features = X.shape
        self.itemsize = dtype.itemsize
        self.indices = NULL
        values = X
        if hasattr(X, "indptr"):
            values = X.data
            if X.indices.itemsize != 4 or X.indptr.itemsize != 8:
                raise TypeError("CSR input needs int32 indices and int64 indptr")
            self.indices = <const int*> _address(X.indices)
            self.indptr = <const long long*> _address(X.indptr)
        if values.dtype.char not in "fd":
            raise TypeError("X must be float32 or float64")
        if values.itemsize > dtype.itemsize:
            raise TypeError("X has more precision than the parameters")
        self.widen = values.itemsize < dtype.itemsize
        for array in (y, sample_weight):
            if array is not None and array.dtype != dtype:
                raise TypeError("targets and weights need the dtype of the parameters")
        for array in (y, sample_weight):
            if array is not None and array.shape[0] != self.n_rows:
                raise ValueError("X, targets and weights differ in length")
        for array in (values, y, sample_weight):
            if array is not None and not array.flags.c_contiguous:
                raise TypeError("arrays must be C-ordered")
        self.owners = (X, y, sample_weight)
        self.x = _address(values)
        self.y = _address(y) if y is not None else NULL
        self.s = _address(sample_weight) if sample_weight is not None else NULL
        self.n_targets = y.shape[1] if y is not None else 0


cdef int _check(Net net, Data data, Py_ssize_t itemsize, Py_ssize_t theta_size,
                Py_ssize_t scratch_size) except -1:
    if data.itemsize != itemsize:
        raise TypeError("theta and the data must share one dtype")
    if theta_size != net.n_parameters or scratch_size < net.scratch_size:
        raise ValueError("theta or scratch has the wrong size")
    if data.n_features != net.units[0]:
        raise ValueError("the data and the network differ in the number of features")
    return 0


cdef int _check_targets(Net net, Data data) except -1:
    if data.y == NULL or data.n_targets != net.n_targets:
        raise ValueError("the data and the network differ in the number of targets")
    return 0


cdef int _check_rows(Data data, const Py_ssize_t[::1] order, Py_ssize_t start,
                     Py_ssize_t stop) except -1:
    cdef Py_ssize_t n = data.n_rows if order is None else order.shape[0]
    if not 0 <= start <= stop <= n:
        raise ValueError(f"rows {start} to {stop} of {n}")
    return 0


cdef inline Py_ssize_t _n_blocks(Py_ssize_t rows, Py_ssize_t size) noexcept nogil:
    return (rows + size - 1) // size


cdef const floating* _inputs(
    Net net, Data data, const Py_ssize_t* rows, Py_ssize_t start, Py_ssize_t n,
    floating* scratch,
) noexcept nogil:
    """Dense rows of a batch, side by side: gathered, or where they lie already."""
    if data.widen:
        gather(<const float*> data.x, rows, start, n, data.n_features, scratch)
    elif rows == NULL:
        return <const floating*> data.x + start * data.n_features
    else:
        gather(<const floating*> data.x, rows, start, n, data.n_features, scratch)
    return scratch


cdef const floating* _forward(
    Net net, Data data, const Py_ssize_t* rows, Py_ssize_t start, Py_ssize_t n,
    const floating* theta, floating* scratch,
) noexcept nogil:
    """Fill A_1..A_L, raw predictions last; returns A_0 (NULL for CSR input)."""
    cdef:
        const floating* x = NULL
        const floating* below
        const floating* w
        const floating* bias
        floating* z
        int l
    if data.indices == NULL:
        x = _inputs(net, data, rows, start, n, scratch)
    below = x
    for l in range(1, net.n_layers + 1):
        w, bias = theta + net.weights[l], theta + net.biases[l]
        z = scratch + net.act[l]
        if l == 1 and data.indices != NULL:
            if data.widen:
                csr_forward(<const float*> data.x, data.indices, data.indptr, rows,
                            start, n, net.units[1], w, bias, z)
            else:
                csr_forward(<const floating*> data.x, data.indices, data.indptr, rows,
                            start, n, net.units[1], w, bias, z)
        else:
            gemm(False, False, n, net.units[l], net.units[l - 1], below, w, bias,
                 False, z)
        if l < net.n_layers:
            activate(net.activation, z, scratch + net.slope[l], n * net.units[l])
        below = z
    return x


cdef double _loss(
    Net net, Data data, const Py_ssize_t* rows, Py_ssize_t start, Py_ssize_t n,
    double scale, floating* scratch,
) noexcept nogil:
    """Sum of s_i l_i; raw predictions become scale * s_i * dl/df."""
    cdef:
        const floating* y = <const floating*> data.y
        const floating* s = <const floating*> data.s
    if rows != NULL:
        gather(y, rows, start, n, data.n_targets, scratch + net.y)
        y = scratch + net.y
        if s != NULL:
            gather(s, rows, start, n, <Py_ssize_t> 1, scratch + net.s)
            s = scratch + net.s
    else:
        y = y + start * data.n_targets
        if s != NULL:
            s = s + start
    return loss_and_delta(net.loss, net.loss_param, scratch + net.act[net.n_layers],
                          y, s, n, net.units[net.n_layers], <floating> scale)


cdef void _backward(
    Net net, Data data, const floating* x, const Py_ssize_t* rows, Py_ssize_t start,
    Py_ssize_t n, const floating* theta, floating* grad, bint accumulate,
    floating* scratch,
) noexcept nogil:
    """Gradient of all parameters from the output's delta; added where `accumulate`.

    Below a layer with one output, activations are overwritten.
    """
    cdef:
        floating* delta = scratch + net.act[net.n_layers]
        floating* below
        int l
        Py_ssize_t fan_in, fan_out
    if not accumulate:
        memset(grad + net.n_weights, 0,
               sizeof(floating) * (net.n_parameters - net.n_weights))
    column_sums(delta, n, net.units[net.n_layers], grad + net.biases[net.n_layers])
    for l in range(net.n_layers, 0, -1):
        fan_in, fan_out = net.units[l - 1], net.units[l]
        if l == 1 and data.indices != NULL:
            if not accumulate:
                memset(grad, 0, sizeof(floating) * fan_in * fan_out)
            if data.widen:
                csr_backward(<const float*> data.x, data.indices, data.indptr, rows,
                             start, n, fan_out, delta, grad)
            else:
                csr_backward(<const floating*> data.x, data.indices, data.indptr, rows,
                             start, n, fan_out, delta, grad)
            return
        if l > 1 and fan_out == 1:
            if not accumulate:
                memset(grad + net.weights[l], 0, sizeof(floating) * fan_in)
            below = scratch + net.act[l - 1]
            backprop_one_output(net.activation, delta, theta + net.weights[l], below,
                                scratch + net.slope[l - 1], n, fan_in,
                                grad + net.biases[l - 1], grad + net.weights[l])
            delta = below
            continue
        gemm(True, False, fan_in, fan_out, n,
             x if l == 1 else scratch + net.act[l - 1], delta, NULL, accumulate,
             grad + net.weights[l])
        if l > 1:
            below = scratch + net.delta[l % 2]
            gemm(False, True, n, fan_in, fan_out, delta, theta + net.weights[l],
                 NULL, False, below)
            backprop_activation(net.activation, below, scratch + net.act[l - 1],
                                scratch + net.slope[l - 1], n, fan_in,
                                grad + net.biases[l - 1])
            delta = below


def raw_predictions(Net net, Data data, const floating[::1] theta, floating[:, ::1] out,
                    floating[::1] scratch):
    """Write f(x_i) of every row into `out` (n, n_outputs), in blocks of rows."""
    cdef Py_ssize_t k, start, n, n_outputs = net.units[net.n_layers]
    _check(net, data, sizeof(floating), theta.shape[0], scratch.shape[0])
    if out.shape[0] != data.n_rows or out.shape[1] != n_outputs:
        raise ValueError("out has the wrong shape")
    with nogil:
        for k in range(_n_blocks(data.n_rows, net.capacity)):
            start = k * net.capacity
            n = min(net.capacity, data.n_rows - start)
            _forward(net, data, NULL, start, n, &theta[0], &scratch[0])
            memcpy(&out[start, 0], &scratch[net.act[net.n_layers]],
                   sizeof(floating) * n * n_outputs)


def loss_sum(Net net, Data data, const floating[::1] theta, floating[::1] scratch):
    """Sum of s_i l_i over all rows: a forward pass in blocks of rows."""
    cdef:
        double total = 0
        Py_ssize_t k, start, n
    _check(net, data, sizeof(floating), theta.shape[0], scratch.shape[0])
    _check_targets(net, data)
    with nogil:
        for k in range(_n_blocks(data.n_rows, net.capacity)):
            start = k * net.capacity
            n = min(net.capacity, data.n_rows - start)
            _forward(net, data, NULL, start, n, &theta[0], &scratch[0])
            total += _loss(net, data, NULL, start, n, 1.0, &scratch[0])
    return total


cdef double _gradient(
    Net net, Data data, const Py_ssize_t* rows, Py_ssize_t start, Py_ssize_t stop,
    double scale, const floating* theta, floating* grad, floating* scratch,
) noexcept nogil:
    """Sum of s_i l_i and scale * its gradient; blocks of rows bound the memory."""
    cdef:
        double total = 0
        Py_ssize_t k, block, n
        const floating* x
    for k in range(_n_blocks(stop - start, net.capacity)):
        block = start + k * net.capacity
        n = min(net.capacity, stop - block)
        x = _forward(net, data, rows, block, n, theta, scratch)
        total += _loss(net, data, rows, block, n, scale, scratch)
        _backward(net, data, x, rows, block, n, theta, grad, k > 0, scratch)
    return total


def loss_gradient(Net net, Data data, rows, Py_ssize_t start, Py_ssize_t stop,
                  const floating[::1] theta, floating[::1] grad, double scale,
                  floating[::1] scratch):
    """Sum of s_i l_i over rows[start:stop]; `grad` receives scale * its gradient.

    `rows` is an index array, or None for the rows as they lie.
    """
    cdef:
        double total = 0
        const Py_ssize_t[::1] order = rows
        const Py_ssize_t* index = NULL
    _check(net, data, sizeof(floating), theta.shape[0], scratch.shape[0])
    _check_targets(net, data)
    _check_rows(data, order, start, stop)
    if grad.shape[0] != theta.shape[0]:
        raise ValueError("the gradient has the wrong size")
    if order is not None:
        index = &order[0]
    with nogil:
        total = _gradient(net, data, index, start, stop, scale, &theta[0], &grad[0],
                          &scratch[0])
    return total


cdef class Rule:
    """An optimizer's update with its penalties.

    Parameters
    ----------
    method : int
        Code of update.hpp.
    hyper : sequence of 4 floats
        momentum, beta_1, beta_2 (rho for RMSProp), epsilon.
    segments : sequence of (begin, end, slot, l1, l2, start, stop)
        Consecutive parameters under one elementwise penalty; together all of theta.
        The last two are the ramp of MCP and SCAD.
    groups : sequence of (begin, rows, cols, by_columns, slot, l1, bounds, lines, kappa)
        Blocks under a group penalty: see GroupBlock in groups.hpp.
    """
    cdef UpdateRule rule

    def __init__(self, int method, hyper, segments, groups=()):
        cdef:
            GroupBlock block
            int i
        self.rule.method = method
        for i in range(4):
            self.rule.hyper[i] = hyper[i]
        for segment in segments:
            for value in segment:
                self.rule.segments.push_back(value)
        for begin, rows, cols, by_columns, slot, l1, bounds, lines, kappa in groups:
            block.begin, block.rows, block.cols = begin, rows, cols
            block.by_columns, block.slot, block.l1 = by_columns, slot, l1
            block.bounds, block.lines, block.kappa = bounds, lines, kappa
            self.rule.add_group(block)

    def penalty_value(self, const floating[::1] theta):
        """Sum of the penalties at theta."""
        return penalty_value(self.rule, &theta[0])


def step(Rule rule, floating[::1] theta, floating[::1] grad, floating[::1] first,
         floating[::1] second, double lr, Py_ssize_t t):
    """One optimizer step from a given data gradient, the t-th; see `train`."""
    cdef unsigned int state = flush_denormals()
    update(rule.rule, lr, <double> t, &theta[0], &grad[0], &first[0], &second[0])
    restore_denormals(state)


def write_metric(Rule rule, const floating[::1] second, Py_ssize_t t,
                 floating[::1] out):
    """Diagonal metric D of the step just taken, for penalties proximal in Python."""
    metric(rule.rule, <double> t, out.shape[0], &second[0], &out[0])


def train(Net net, Data data, rows, Py_ssize_t start, Py_ssize_t stop,
          Py_ssize_t batch_size, double scale, Rule rule, const double[::1] rates,
          Py_ssize_t t, floating[::1] theta, floating[::1] grad, floating[::1] first,
          floating[::1] second, floating[::1] scratch):
    """Run mini-batches over rows[start:stop], one optimizer step each.

    Parameters
    ----------
    rows : ndarray of intp or None
        Order of the rows; None trains on them as they lie, without gathering.
    scale : float
        n / sum(s): a batch of B rows estimates the mean loss by scale / B * sum.
    rule : Rule
        Optimizer and penalties.
    rates : ndarray of shape (n_batches,)
        Learning rate of each step.
    t : int
        Steps taken before this call.
    theta, first, second : ndarrays of shape (n_parameters,)
        Parameters and the optimizer's moments, updated in place.
    grad, scratch : ndarrays
        Overwritten.

    Returns
    -------
    float
        Sum of s_i l_i, each batch taken just before its step.
    """
    cdef:
        double total = 0
        const Py_ssize_t[::1] order = rows
        const Py_ssize_t* index = NULL
        Py_ssize_t k, batch, n
        unsigned int state
    _check(net, data, sizeof(floating), theta.shape[0], scratch.shape[0])
    _check_targets(net, data)
    _check_rows(data, order, start, stop)
    if grad.shape[0] != theta.shape[0]:
        raise ValueError("the gradient has the wrong size")
    if order is not None:
        index = &order[0]
    if (first.shape[0] != theta.shape[0] or second.shape[0] != theta.shape[0]
            or rates.shape[0] < _n_blocks(stop - start, batch_size)):
        raise ValueError("the moments or the rates have the wrong size")
    with nogil:
        state = flush_denormals()
        for k in range(_n_blocks(stop - start, batch_size)):
            batch = start + k * batch_size
            n = min(batch_size, stop - batch)
            total += _gradient(net, data, index, batch, batch + n, scale / n,
                               &theta[0], &grad[0], &scratch[0])
            update(rule.rule, rates[k], <double> (t + k + 1), &theta[0], &grad[0],
                   &first[0], &second[0])
        restore_denormals(state)
    return total


cdef class MersenneTwister:
    """The random stream of a `RandomState`, to shuffle with.

    Parameters
    ----------
    key : ndarray of shape (624,), uint32
    pos : int
        State, as in `RandomState.get_state`.
    """
    cdef Twister stream

    def __init__(self, key, Py_ssize_t pos):
        cdef:
            const unsigned int[::1] words = np.ascontiguousarray(key, np.uint32)
            Py_ssize_t i
        if words.shape[0] != 624 or not 0 <= pos <= 624:
            raise ValueError("this is not a state of MT19937")
        for i in range(624):
            self.stream.key[i] = words[i]
        self.stream.position = pos
        self.stream.temper()

    @property
    def state(self):
        """Dictionary of `key` and `pos`."""
        cdef unsigned int[::1] words = self.stream.key
        return {"key": np.array(words), "pos": self.stream.position}

    def shuffle(self, Py_ssize_t[::1] order):
        """Shuffle in place, to the permutation of `RandomState.shuffle`."""
        cdef Py_ssize_t n = order.shape[0]
        if n > 0xffffffff:
            raise ValueError("too many indices")
        if n > 1:
            with nogil:
                shuffle_with(self.stream, &order[0], n)


cdef class LBFGSMemory:
    """Inverse Hessian H from the last pairs (s, y), restricted to an index set J.

    Parameters
    ----------
    n_parameters : int
    n_pairs : int
        Number of pairs to remember; a new one replaces the oldest.
    least_cosine : float
        Pairs with a smaller cosine of s and y on J are passed over.
    is_longer : bool
        Whether H is longer than usual where no pair tells more.
    """
    cdef:
        LbfgsMemory memory
        double[:, :, ::1] vectors
        double least_cosine
        bint is_longer

    def __init__(self, Py_ssize_t n_parameters, Py_ssize_t n_pairs,
                 double least_cosine, bint is_longer):
        self.vectors = np.empty((n_pairs, 2, n_parameters))
        self.memory = LbfgsMemory(&self.vectors[0, 0, 0], n_parameters, n_pairs)
        self.least_cosine = least_cosine
        self.is_longer = is_longer

    @property
    def n_pushed(self):
        """Number of pairs seen so far."""
        return self.memory.pushed

    def push(self, const double[::1] s, const double[::1] y):
        """Remember a pair of vectors over all parameters, J and the rest."""
        if not s.shape[0] == y.shape[0] == self.memory.n:
            raise ValueError("the vectors have the wrong size")
        self.memory.push(&s[0], &y[0])

    def multiply(self, double[::1] q, support, double initial):
        """Overwrite q with H q, for q that is zero outside of J.

        Parameters
        ----------
        q : ndarray of shape (n_parameters,)
        support : ndarray of bool, shape (n_parameters,), or None
            J; None for everything.
        initial : float
            Without pairs to use, H is so many times the identity.
        """
        cdef const unsigned char[::1] inside
        cdef const unsigned char* first = NULL
        if q.shape[0] != self.memory.n:
            raise ValueError("the vectors have the wrong size")
        if support is not None:
            inside = support.view(np.uint8)
            if inside.shape[0] != self.memory.n:
                raise ValueError("the vectors have the wrong size")
            first = &inside[0]
        with nogil:
            self.memory.restrict_to(first)
            lbfgs_multiply(self.memory, self.least_cosine, self.is_longer, initial,
                           &q[0])
