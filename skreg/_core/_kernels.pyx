# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, freethreading_compatible=True
"""Forward and backward passes and runs of mini-batches; see the package docstring."""

import numpy as np

from cython cimport floating
from libcpp.vector cimport vector

from skreg._core._blas cimport hand_over_blas


cdef extern from "denormals.hpp" namespace "skreg" nogil:
    unsigned int flush_denormals()
    void restore_denormals(unsigned int state)

cdef extern from "isa.hpp" namespace "skreg" nogil:
    int isa_level()

cdef extern from "lbfgs.hpp" namespace "skreg" nogil:
    cdef cppclass LbfgsMemory:
        Py_ssize_t n, pushed
        LbfgsMemory()
        LbfgsMemory(double* vectors, Py_ssize_t n, Py_ssize_t capacity) except +
        void push(const double* s, const double* y)
        void restrict_to(const unsigned char* support)
    void lbfgs_multiply(LbfgsMemory& memory, double least_cosine, bint is_longer,
                        double initial, double* q) except +

cdef extern from "network.hpp" namespace "skreg" nogil:
    cdef cppclass Network:
        Py_ssize_t capacity, n_weights, n_parameters, n_targets, scratch_size
        Network()
        Network(const vector[Py_ssize_t]& units, int activation, int loss,
                double loss_param, Py_ssize_t capacity, Py_ssize_t n_targets)
        Py_ssize_t n_outputs()
    cdef cppclass Rows:
        const void* x
        const void* y
        const void* s
        const int* indices
        const long long* indptr
        bint widen
        Py_ssize_t n_rows, n_features, n_targets

cdef extern from "shuffle.hpp" namespace "skreg" nogil:
    cdef cppclass Twister "skreg::MersenneTwister":
        unsigned int[624] key
        Py_ssize_t position
        void temper()
    void shuffle_with "skreg::shuffle" (Twister& stream, Py_ssize_t* order,
                                        Py_ssize_t n)

cdef extern from "sparse.hpp" namespace "skreg" nogil:
    int csr_fault(const int* indices, const long long* indptr, Py_ssize_t rows,
                  Py_ssize_t cols, Py_ssize_t n_stored)

cdef extern from "groups.hpp" namespace "skreg" nogil:
    cdef cppclass GroupBlock:
        Py_ssize_t begin, rows, cols
        bint by_columns
        int slot
        double l1
        vector[Py_ssize_t] bounds, lines
        vector[double] kappa

cdef extern from "update.hpp" namespace "skreg" nogil:
    enum:
        N_METHODS "skreg::N_METHODS"
        N_SLOTS "skreg::N_SLOTS"
    cdef cppclass UpdateRule:
        int method
        double[4] hyper
        vector[double] segments
        size_t buffer_size
        void add_group(const GroupBlock& block)
    void update[T](const UpdateRule& rule, double lr, double t, Py_ssize_t n, T* theta,
                   T* grad, T* first, T* second, T* buffer)
    double penalty_value[T](const UpdateRule& rule, const T* theta) except +
    void metric[T](const UpdateRule& rule, double t, Py_ssize_t n, const T* second,
                   T* out)

cdef extern from "training.hpp" namespace "skreg" nogil:
    int count_threads "skreg::most_threads"(const Network& net, const Rows& rows,
                                            Py_ssize_t n)
    double run_gradient "skreg::loss_gradient"[T](
        const Network& net, const Rows& rows, const Py_ssize_t* order, Py_ssize_t start,
        Py_ssize_t stop, double scale, const T* theta, T* grad, T* scratch,
        int n_threads) except +
    double run_training "skreg::train"[T](
        const Network& net, const Rows& rows, const Py_ssize_t* order, Py_ssize_t start,
        Py_ssize_t stop, Py_ssize_t batch_size, double scale, const UpdateRule& rule,
        const double* rates, Py_ssize_t steps, T* theta, T* grad, T* first, T* second,
        T* scratch, int n_threads) except +
    void run_predictions "skreg::raw_predictions"[T](
        const Network& net, const Rows& rows, const T* theta, T* out, T* scratch,
        int n_threads) except +
    double run_loss_sum "skreg::loss_sum"[T](
        const Network& net, const Rows& rows, const T* theta, T* scratch,
        int n_threads) except +

hand_over_blas()

# In the order of CsrFault in sparse.hpp.
_CSR_FAULTS = (
    "indptr must start with 0",
    "indptr must not decrease",
    "indptr ends beyond the {n_stored} entries of data and indices",
    "indices must be in [0, {n_features})",
)


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
        Network network
        Py_ssize_t n_inputs

    def __init__(self, units, int activation, int loss, double loss_param,
                 Py_ssize_t capacity, Py_ssize_t n_targets):
        if capacity < 1:
            raise ValueError("capacity must be at least one row")
        if len(units) < 2 or min(units) < 1:
            raise ValueError(f"units must be two or more positive numbers. Got {units}")
        if n_targets < 0:
            raise ValueError(f"n_targets must not be negative. Got {n_targets}")
        self.n_inputs = units[0]
        self.network = Network(units, activation, loss, loss_param, capacity, n_targets)

    @property
    def n_weights(self):
        """Number of entries of all weight matrices."""
        return self.network.n_weights

    @property
    def n_parameters(self):
        """Length of theta."""
        return self.network.n_parameters

    @property
    def capacity(self):
        """Largest number of rows in one pass."""
        return self.network.capacity

    @property
    def scratch_size(self):
        """Entries of scratch that a pass needs."""
        return self.network.scratch_size


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
        Rows rows
        object owners
        readonly Py_ssize_t itemsize

    def __init__(self, X, dtype, y=None, sample_weight=None):
        self.rows.n_rows, self.rows.n_features = X.shape
        self.itemsize = dtype.itemsize
        self.rows.indices = NULL
        values = X
        if hasattr(X, "indptr"):
            values = X.data
            if X.indices.itemsize != 4 or X.indptr.itemsize != 8:
                raise TypeError("CSR input needs int32 indices and int64 indptr")
            if X.indices.dtype.kind != "i" or X.indptr.dtype.kind != "i":
                raise TypeError("CSR input needs int32 indices and int64 indptr")
            for array in (X.indices, X.indptr):
                if not array.flags.c_contiguous:
                    raise TypeError("arrays must be C-ordered")
            self.rows.indices = <const int*> _address(X.indices)
            self.rows.indptr = <const long long*> _address(X.indptr)
            self._check_csr(X)
        if values.dtype.char not in "fd":
            raise TypeError("X must be float32 or float64")
        if values.itemsize > dtype.itemsize:
            raise TypeError("X has more precision than the parameters")
        self.rows.widen = values.itemsize < dtype.itemsize
        for array in (y, sample_weight):
            if array is not None and array.dtype != dtype:
                raise TypeError("targets and weights need the dtype of the parameters")
        for array in (y, sample_weight):
            if array is not None and array.shape[0] != self.rows.n_rows:
                raise ValueError("X, targets and weights differ in length")
        for array in (values, y, sample_weight):
            if array is not None and not array.flags.c_contiguous:
                raise TypeError("arrays must be C-ordered")
        self.owners = (X, y, sample_weight)
        self.rows.x = _address(values)
        self.rows.y = _address(y) if y is not None else NULL
        self.rows.s = _address(sample_weight) if sample_weight is not None else NULL
        self.rows.n_targets = y.shape[1] if y is not None else 0

    cdef _check_csr(self, X):
        cdef:
            Py_ssize_t n_stored = min(len(X.indices), len(X.data))
            int fault
        if len(X.indptr) != self.rows.n_rows + 1:
            raise ValueError(
                f"CSR input of {self.rows.n_rows} rows needs {self.rows.n_rows + 1} "
                f"entries of indptr. Got {len(X.indptr)}."
            )
        with nogil:
            fault = csr_fault(self.rows.indices, self.rows.indptr, self.rows.n_rows,
                              self.rows.n_features, n_stored)
        if fault:
            reason = _CSR_FAULTS[fault - 1].format(
                n_stored=n_stored, n_features=self.rows.n_features
            )
            raise ValueError(f"X is no valid CSR matrix: {reason}.")


cdef int _check(Net net, Data data, Py_ssize_t itemsize, Py_ssize_t theta_size,
                Py_ssize_t scratch_size) except -1:
    if data.itemsize != itemsize:
        raise TypeError("theta and the data must share one dtype")
    if (theta_size != net.network.n_parameters
            or scratch_size < net.network.scratch_size):
        raise ValueError("theta or scratch has the wrong size")
    if data.rows.n_features != net.n_inputs:
        raise ValueError("the data and the network differ in the number of features")
    return 0


cdef int _check_targets(Net net, Data data) except -1:
    if data.rows.y == NULL or data.rows.n_targets != net.network.n_targets:
        raise ValueError("the data and the network differ in the number of targets")
    return 0


cdef int _check_rows(Data data, const Py_ssize_t[::1] order, Py_ssize_t start,
                     Py_ssize_t stop) except -1:
    cdef Py_ssize_t n = data.rows.n_rows if order is None else order.shape[0]
    cdef Py_ssize_t i
    cdef size_t largest = 0  # negative rows are large ones
    if not 0 <= start <= stop <= n:
        raise ValueError(f"rows {start} to {stop} of {n}")
    if order is None:
        return 0
    for i in range(start, stop):
        largest = max(largest, <size_t> order[i])
    if stop > start and largest >= <size_t> data.rows.n_rows:
        raise ValueError(f"rows must be in [0, {data.rows.n_rows})")
    return 0


def instruction_level():
    """Return the x86-64 level of the code in use: 4 (AVX-512), 3 (AVX2) or 1."""
    return isa_level()


def most_threads(Net net, Data data, Py_ssize_t n_rows):
    """Number of threads beyond which more do not pay in passes over `n_rows` rows."""
    return count_threads(net.network, data.rows, n_rows)


def raw_predictions(Net net, Data data, const floating[::1] theta, floating[:, ::1] out,
                    floating[::1] scratch, int n_threads=1):
    """Write f(x_i) of every row into `out` (n, n_outputs), in blocks of rows."""
    _check(net, data, sizeof(floating), theta.shape[0], scratch.shape[0])
    if (out.shape[0] != data.rows.n_rows
            or out.shape[1] != net.network.n_outputs()):
        raise ValueError("out has the wrong shape")
    if out.shape[0] > 0:
        with nogil:
            run_predictions(net.network, data.rows, &theta[0], &out[0, 0], &scratch[0],
                            n_threads)


def loss_sum(Net net, Data data, const floating[::1] theta, floating[::1] scratch,
             int n_threads=1):
    """Sum of s_i l_i over all rows: a forward pass in blocks of rows."""
    cdef double total
    _check(net, data, sizeof(floating), theta.shape[0], scratch.shape[0])
    _check_targets(net, data)
    with nogil:
        total = run_loss_sum(net.network, data.rows, &theta[0], &scratch[0], n_threads)
    return total


def loss_gradient(Net net, Data data, rows, Py_ssize_t start, Py_ssize_t stop,
                  const floating[::1] theta, floating[::1] grad, double scale,
                  floating[::1] scratch, int n_threads=1):
    """Sum of s_i l_i over rows[start:stop]; `grad` receives scale * its gradient.

    `rows` is an index array, or None for the rows as they lie. Results have the same
    bits for any number of threads.
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
    if stop == start:
        return total
    if order is not None:
        index = &order[0]
    with nogil:
        total = run_gradient(net.network, data.rows, index, start, stop, scale,
                             &theta[0], &grad[0], &scratch[0], n_threads)
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
    cdef:
        UpdateRule rule
        readonly Py_ssize_t n_parameters

    def __init__(self, int method, hyper, segments, groups=()):
        cdef:
            GroupBlock block
            int i
        if not 0 <= method < N_METHODS or len(hyper) != 4:
            raise ValueError("the method or its hyperparameters are unknown")
        self.rule.method = method
        for i in range(4):
            self.rule.hyper[i] = hyper[i]
        self.n_parameters = 0
        for segment in segments:
            if len(segment) != 7 or segment[0] != self.n_parameters:
                raise ValueError("segments must follow each other, from 0 on")
            if segment[1] < segment[0] or segment[2] not in range(N_SLOTS):
                raise ValueError(f"no valid segment: {tuple(segment)}")
            self.n_parameters = segment[1]
            for value in segment:
                self.rule.segments.push_back(value)
        for group in groups:
            self._check_group(*group)
        for begin, rows, cols, by_columns, slot, l1, bounds, lines, kappa in groups:
            block.begin, block.rows, block.cols = begin, rows, cols
            block.by_columns, block.slot, block.l1 = by_columns, slot, l1
            block.bounds, block.lines, block.kappa = bounds, lines, kappa
            self.rule.add_group(block)

    def _check_group(self, begin, rows, cols, by_columns, slot, l1, bounds, lines,
                     kappa):
        n_lines = cols if by_columns else rows
        inside = 0 <= begin <= begin + rows * cols <= self.n_parameters
        if rows < 1 or cols < 1 or not inside or slot not in range(1, 4):
            raise ValueError(
                f"no valid block of groups: {rows} x {cols} parameters from {begin} "
                f"on, of {self.n_parameters}, in slot {slot}"
            )
        if len(kappa) != n_lines:
            raise ValueError(
                f"{n_lines} lines need as many strengths. Got {len(kappa)}"
            )
        if not bounds and not lines:
            return
        if sorted(lines) != list(range(n_lines)) or (
            list(bounds) != sorted(bounds)
            or bounds[0] != 0
            or bounds[len(bounds) - 1] != n_lines
        ):
            raise ValueError("groups must part the lines of their block")

    def penalty_value(self, const floating[::1] theta):
        """Sum of the penalties at theta."""
        _check_rule(self, theta.shape[0])
        return penalty_value(self.rule, &theta[0]) if theta.shape[0] > 0 else 0.0


cdef int _check_rule(Rule rule, Py_ssize_t n_parameters) except -1:
    if rule.n_parameters != n_parameters:
        raise ValueError(
            f"the rule is for {rule.n_parameters} parameters. Got {n_parameters}"
        )
    return 0


def step(Rule rule, floating[::1] theta, floating[::1] grad, floating[::1] first,
         floating[::1] second, double lr, Py_ssize_t t):
    """One optimizer step from a given data gradient, the t-th; see `train`."""
    cdef:
        unsigned int state
        vector[floating] buffer
    _check_rule(rule, theta.shape[0])
    for size in (grad.shape[0], first.shape[0], second.shape[0]):
        if size != theta.shape[0]:
            raise ValueError("the gradient or the moments have the wrong size")
    if theta.shape[0] == 0:
        return
    buffer.resize(rule.rule.buffer_size)
    state = flush_denormals()
    update(rule.rule, lr, <double> t, theta.shape[0], &theta[0], &grad[0], &first[0],
           &second[0], buffer.data())
    restore_denormals(state)


def write_metric(Rule rule, const floating[::1] second, Py_ssize_t t,
                 floating[::1] out):
    """Diagonal metric D of the step just taken, for penalties proximal in Python."""
    if second.shape[0] != out.shape[0]:
        raise ValueError("the second moment and the metric differ in size")
    if out.shape[0] > 0:
        metric(rule.rule, <double> t, out.shape[0], &second[0], &out[0])


def train(Net net, Data data, rows, Py_ssize_t start, Py_ssize_t stop,
          Py_ssize_t batch_size, double scale, Rule rule, const double[::1] rates,
          Py_ssize_t t, floating[::1] theta, floating[::1] grad, floating[::1] first,
          floating[::1] second, floating[::1] scratch, int n_threads=1):
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
    n_threads : int, default 1
        Threads that share each step, at most `most_threads`. Results have the same
        bits for any number.

    Returns
    -------
    float
        Sum of s_i l_i, each batch taken just before its step.
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
    _check_rule(rule, theta.shape[0])
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1. Got {batch_size}")
    if order is not None:
        index = &order[0]
    if (first.shape[0] != theta.shape[0] or second.shape[0] != theta.shape[0]
            or rates.shape[0] < (stop - start + batch_size - 1) // batch_size):
        raise ValueError("the moments or the rates have the wrong size")
    if stop == start:
        return total
    with nogil:
        total = run_training(net.network, data.rows, index, start, stop, batch_size,
                             scale, rule.rule, &rates[0], t, &theta[0], &grad[0],
                             &first[0], &second[0], &scratch[0], n_threads)
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
        if n_parameters < 1 or n_pairs < 1:
            raise ValueError("the memory needs room for a pair of parameters")
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
