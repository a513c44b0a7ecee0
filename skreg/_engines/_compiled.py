"""The compiled engine: the cores of one processor."""

from functools import cached_property

import numpy as np

from skreg._core import (
    Data,
    Net,
    loss_gradient,
    loss_sum,
    most_threads,
    raw_predictions,
    step,
    train,
    write_metric,
)
from skreg._engines._moments import (
    losses_of_constants,
    losses_of_outputs,
    target_spread,
    weighted_moments,
)
from skreg._matrix import engine_matrix, take_rows
from skreg._network import ACTIVATIONS, Network
from skreg._threads import effective_n_threads

# Rows per full-batch block: about this many scratch entries stay in a core's cache.
_BLOCK_ENTRIES = 2**18
# Floating-point operations of each thread per call of the core: Python, and with it
# Ctrl-C, is served in between, some tens of times per second.
_FLOPS_PER_CALL = 1e9


def block_rows(network, n_rows):
    """Rows per pass over `n_rows`: all of them, or blocks that bound the memory."""
    rows = max(64, _BLOCK_ENTRIES // sum(network.units))
    return max(1, n_rows) if n_rows <= 4 * rows else rows


def _compile(network, capacity, dtype, loss=None, n_targets=1):
    """Return (Net, scratch) for passes of at most `capacity` rows."""
    code, param = (loss.code, loss.param) if loss else (0, 0.0)
    activation = ACTIVATIONS.index(network.activation)
    net = Net(network.units, activation, code, param, capacity, n_targets)
    return net, np.empty(net.scratch_size, dtype)


def _n_threads(n_jobs, net, data, n_rows):
    """Threads for passes over `n_rows` rows at a time."""
    most = most_threads(net, data, n_rows)
    return min(most, effective_n_threads(n_jobs)) if most > 1 else 1


def predict_raw(network, theta, X, n_jobs=1):
    """Output layer before its activation.

    Parameters
    ----------
    network : Network
    theta : ndarray of shape (n_parameters,)
    X : C-ordered ndarray of shape (n, n_inputs), or CSR
        Of at most the precision of theta.
    n_jobs : int or None, default=1
        Threads, as in the estimators.

    Returns
    -------
    ndarray of shape (n, n_outputs)
        In the precision of theta.
    """
    out = np.empty((X.shape[0], network.units[-1]), theta.dtype)
    rows = block_rows(network, X.shape[0])
    net, scratch = _compile(network, rows, theta.dtype)
    data = Data(X, theta.dtype)
    n_threads = _n_threads(n_jobs, net, data, X.shape[0])
    flops = 2.0 * network.n_weights * rows / n_threads
    per_call = rows * max(1, int(_FLOPS_PER_CALL // flops))
    for start in range(0, X.shape[0], per_call):  # Ctrl-C is served between
        part = slice(start, start + per_call)
        if per_call < X.shape[0]:
            data = Data(engine_matrix(X[part], X.dtype), theta.dtype)
        raw_predictions(net, data, theta, out[part], scratch, n_threads)
    return out


class CompiledRows:
    """Data term over rows in memory; see `skreg._engines.DataTerm`.

    Parameters
    ----------
    X : ndarray of shape (n, p), C-ordered, or CSR with int32 indices, int64 indptr
        Inputs, float32 or float64; not copied. Of less precision than `dtype`, it is
        widened batch by batch.
    targets : ndarray of shape (n, n_targets)
        As the loss reads them.
    weights : ndarray of shape (n,) or None
        Non-negative.
    loss : Loss
    n_outputs : int
        Output units of the networks.
    dtype : dtype, default=np.float64
        Of the parameters.
    rows : ndarray of intp or None
        Training rows; None for all.
    n_jobs : int or None, default=1
        Threads of passes that are long enough, as in the estimators.
    """

    def __init__(
        self,
        X,
        targets,
        weights,
        loss,
        n_outputs,
        dtype=np.float64,
        rows=None,
        n_jobs=1,
    ):
        self.loss = loss
        self.n_jobs = n_jobs
        self.dtype = np.dtype(dtype)
        self._X, self._weights, self._rows = X, weights, rows
        self._targets = targets
        self._data = Data(X, self.dtype, *self._encoded())
        y, s = self._training_targets()
        self.n_rows, self.n_targets = y.shape
        self.weight_sum = float(self.n_rows if s is None else s.sum(dtype=np.float64))
        self._offset = loss.mean_constant(y, s)
        self.null_prediction = None
        if self.weight_sum > 0:
            self.null_prediction = loss.link(mean_target(y, s, loss, n_outputs))
        self._passes = {}

    def _encoded(self):
        """Targets and weights of all rows as the core reads them."""
        y, s = self._targets, self._weights
        s = None if s is None else np.ascontiguousarray(s, self.dtype)
        return np.ascontiguousarray(y, self.dtype), s

    def _training_targets(self):
        """The same of the training rows."""
        rows = self._rows
        return (a if rows is None or a is None else a[rows] for a in self._encoded())

    def _full_batch(self, network):
        """Buffers of passes over all rows, made once per network."""
        if network not in self._passes:
            self._passes[network] = self._compile(network, self.n_rows)
        return self._passes[network]

    def _compile(self, network, n_rows):
        """(Net, scratch, number of threads) for passes over `n_rows` rows."""
        capacity = block_rows(network, n_rows)
        net, scratch = _compile(
            network, capacity, self.dtype, self.loss, self.n_targets
        )
        return net, scratch, _n_threads(self.n_jobs, net, self._data, n_rows)

    def mean(self, loss_total):
        """Data term whose losses have this sum, but for their constants."""
        return loss_total / self.weight_sum + self._offset

    def value(self, network, theta):
        """Data term at theta; a forward pass in blocks of rows."""
        if self._rows is not None:
            return self.value_grad(network, theta)[0]
        net, scratch, n_threads = self._full_batch(network)
        return self.mean(loss_sum(net, self._data, theta, scratch, n_threads))

    def value_grad(self, network, theta):
        """Data term and its gradient at theta, in blocks of rows."""
        net, scratch, n_threads = self._full_batch(network)
        grad = np.empty_like(theta)
        total = loss_gradient(
            net,
            self._data,
            self._rows,
            0,
            self.n_rows,
            theta,
            grad,
            1.0 / self.weight_sum,
            scratch,
            n_threads,
        )
        return self.mean(total), grad

    def batch_gradient(self, network, batch_size):
        """Return a function for the gradients of batches.

        Parameters
        ----------
        network : Network
        batch_size : int
            Rows of most batches.

        Returns
        -------
        callable
            Takes the order of the rows (None as they lie), first and last row of a
            batch in it, theta, an array of its shape for the gradient, and the factor
            of the latter. Returns the sum of the losses.
        """
        net, scratch, n_threads = self._compile(network, batch_size)

        def gradient(order, start, stop, theta, grad, scale):
            return loss_gradient(
                net,
                self._data,
                self._rows if order is None else order,
                start,
                stop,
                theta,
                grad,
                scale,
                scratch,
                n_threads,
            )

        return gradient

    def losses_of_outputs(self, network, theta):
        """Data term of each output; see `DataTerm`."""
        X = self._X if self._rows is None else take_rows(self._X, self._rows)
        raw = predict_raw(network, theta, X, self.n_jobs)
        y, s = self._training_targets()
        return losses_of_outputs(self.loss, y, raw, s)

    @cached_property
    def losses_of_constants(self):
        """Data terms of each output at two constants; see `DataTerm`."""
        y, s = self._training_targets()
        return losses_of_constants(self.loss, y, self.null_prediction, s)

    @cached_property
    def null_value(self):
        """Data term of the network that predicts `null_prediction` everywhere."""
        n_outputs = len(self.null_prediction)
        network = Network((1, n_outputs), "identity")
        theta = np.zeros(2 * n_outputs, self.dtype)
        theta[n_outputs:] = self.null_prediction
        X = np.zeros((self.n_rows, 1), self.dtype)
        data = Data(X, self.dtype, *self._training_targets())
        net, scratch, n_threads = self._compile(network, self.n_rows)
        return self.mean(loss_sum(net, data, theta, scratch, n_threads))

    @property
    def input_mean(self):
        """Weighted mean of the training rows of X, of shape (p,)."""
        return self._input_moments[0]

    @property
    def input_spread(self):
        """Weighted standard deviation of the training rows of X, of shape (p,)."""
        return self._input_moments[1]

    @cached_property
    def _input_moments(self):
        share = np.zeros(self._X.shape[0])
        rows = slice(None) if self._rows is None else self._rows
        share[rows] = 1.0 if self._weights is None else self._weights[rows]
        share /= self.weight_sum
        return weighted_moments(self._X, share)

    @property
    def target_spread(self):
        """Typical standard deviation of the targets; see `DataTerm`."""
        rows = slice(None) if self._rows is None else self._rows
        s = None if self._weights is None else self._weights[rows]
        return target_spread(self.loss, self._targets[rows], self.null_prediction, s)

    @property
    def largest_target(self):
        """Largest |y|."""
        return float(np.abs(self._targets).max())

    def row_order(self):
        """Indices of the training rows, as they lie, for a shuffle; a copy."""
        return np.arange(self.n_rows) if self._rows is None else self._rows.copy()

    def epochs(self, network, optimizer, penalties, theta, moments, batch_size):
        """Return a `CompiledEpochs` that starts from theta and moments."""
        return CompiledEpochs(
            self, network, optimizer, penalties, theta, moments, batch_size
        )


def mean_target(y, s, loss, n_outputs):
    """Weighted mean of the targets, or shares of the classes, of shape (n_outputs,)."""
    if loss.out_activation != "softmax":
        return y.mean(axis=0) if s is None else np.average(y, axis=0, weights=s)
    counts = np.bincount(y[:, 0].astype(np.intp), s, n_outputs)
    return (counts / counts.sum()).astype(y.dtype)


class CompiledEpochs:
    """Mini-batch training; see `skreg._engines.EpochRunner`.

    Buffers live as long as a fit. Penalties that the core does not know act in Python,
    one call per step.

    Attributes
    ----------
    grad : ndarray of shape (n_parameters,)
        Gradient that `step` takes, for those who compute it themselves.
    """

    def __init__(self, rows, network, optimizer, penalties, theta, moments, batch_size):
        self._rows, self._optimizer = rows, optimizer
        self._batch_size = batch_size
        self._net, self._scratch, self._n_threads = rows._compile(network, batch_size)
        self._rule = penalties.rule(optimizer.code, optimizer.hyper)
        self._python_terms = penalties.others
        self.theta = theta.copy()
        self.moments = {name: m.copy() for name, m in moments.items()}
        self.grad = np.empty_like(theta)
        # The core asks for two moments and ignores what a method lacks.
        self._first = self.moments.get("first", self.grad)
        self._second = self.moments.get("second", self.grad)
        flops = 6.0 * batch_size * network.n_weights / self._n_threads
        self._batches_per_call = max(1, int(_FLOPS_PER_CALL // flops))
        if self._python_terms:
            self._batches_per_call = 1
            self._metric = np.empty_like(theta)
        arrays = self.theta, *self.moments.values()  # which stay where they are
        self._saved = [(a, a.copy()) for a in arrays]

    def run(self, order, rates, n_steps):
        """Train on every row once; return the mean data loss."""
        run = self._run_in_python if self._python_terms else self._run_compiled
        n, size, total = self._rows.n_rows, self._batch_size, 0.0
        order = self._rows._rows if order is None else order
        for begin in range(0, len(rates), self._batches_per_call):
            end = min(begin + self._batches_per_call, len(rates))
            span = begin * size, min(end * size, n)
            total += run(order, *span, rates[begin:end], n_steps + begin)
        return self._rows.mean(total)

    def _run_compiled(self, order, start, stop, rates, n_steps):
        rows = self._rows
        return train(
            self._net,
            rows._data,
            order,
            start,
            stop,
            self._batch_size,
            rows.n_rows / rows.weight_sum,
            self._rule,
            rates,
            n_steps,
            self.theta,
            self.grad,
            self._first,
            self._second,
            self._scratch,
            self._n_threads,
        )

    def _run_in_python(self, order, start, stop, rates, n_steps):
        """One step for penalties that the core does not know; same order of slots."""
        rows = self._rows
        scale = rows.n_rows / rows.weight_sum / (stop - start)
        total = loss_gradient(
            self._net,
            rows._data,
            order,
            start,
            stop,
            self.theta,
            self.grad,
            scale,
            self._scratch,
            self._n_threads,
        )
        self.step(rates[0], n_steps + 1)
        return total

    def step(self, lr, t):
        """Make the t-th step, from 1, along `grad`, with the penalties in their slots.

        `grad` is overwritten.
        """
        theta, grad = self.theta, self.grad
        for term in self._python_terms:
            if term.mode == "coupled":
                slope = term.penalty.gradient(term.of(theta), term.lam)
                grad[term.where] += slope.ravel()
            elif term.mode == "decoupled":
                shrunk = term.penalty.shrink(term.of(theta), lr, term.lam)
                theta[term.where] = shrunk.ravel()
        step(self._rule, theta, grad, self._first, self._second, lr, t)
        self._prox_in_python(self._optimizer.prox_step(lr), t)

    def _prox_in_python(self, tau, t):
        for term in self._python_terms:
            if term.mode != "proximal":
                continue
            tau_block = tau
            if self._optimizer.is_adaptive:
                write_metric(self._rule, self._second, t, self._metric)
                tau_block = tau / term.of(self._metric)
            new = term.penalty.prox(term.of(self.theta), tau_block, term.lam)
            self.theta[term.where] = new.ravel()

    def snapshot(self):
        """Remember parameters and moments."""
        for current, saved in self._saved:
            np.copyto(saved, current)

    def restore(self):
        """Return to what `snapshot` has remembered."""
        for current, saved in self._saved:
            np.copyto(current, saved)
