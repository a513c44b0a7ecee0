"""The torch engine: many networks of one architecture trained together.

K networks that differ in their training rows, penalties, strengths and starts take each
step at once: one batched product per layer, and one kernel for the update of all
parameters. Networks that read the same rows in the same order form a stream, and share
the gathered batch. On CUDA a step is a graph that is replayed, its batches are gathered
from the one copy of X on the device, and the element-wise work runs in Triton kernels
(`_triton_ops`); anywhere else the same step runs in torch operations (`_torch_ops`).

Import this module where a device is asked for: it needs torch.
"""

from functools import cached_property

import numpy as np
import torch
from scipy import sparse

from skreg._engines._moments import (
    losses_of_constants,
    losses_of_outputs,
    target_spread,
)
from skreg._engines._torch_passes import (
    Layout,
    Pass,
    Stream,
    Tables,
    computing,
    predict,
)
from skreg._engines._torch_rule import penalties_of_blocks
from skreg._engines._torch_training import Networks
from skreg._network import Network
from skreg._optimizers import METHODS

_PASS_ENTRIES = 2**25  # of the activations, in a pass over many rows
_MEMORY_SHARE = 0.8  # of what is free
_NETWORKS_AT_ONCE = 64  # where the free memory is not known


# Rows --------------------------------------------------------------------------------


class TorchRows:
    """Rows on a device, and the data term over them; see `skreg._engines.DataTerm`.

    Parameters
    ----------
    X : ndarray of shape (n, p), CSR, or Tensor
        Inputs, float32 or float64, of at most the precision of `dtype`. They are copied
        to the device once, sparse ones as a dense matrix; a tensor that lies there is
        shared.
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
    device : torch.device, default=torch.device("cpu")
    precision : {"exact", "tf32"}, default="exact"
        Of products of float32 matrices in mini-batch training on CUDA. "tf32" has 10
        bits of mantissa, and takes half the time: weights differ in their third digit.
        Values, gradients and predictions are always exact.
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
        device=None,
        precision="exact",
    ):
        self.loss, self.n_outputs = loss, n_outputs
        self.dtype = np.dtype(dtype)
        self.device = torch.device("cpu") if device is None else device
        self.precision = precision
        self.torch_dtype = getattr(torch, self.dtype.name)
        self.X = _to_device(X, self.device)
        self.y = self._tensor(targets)
        self.s = None if weights is None else self._tensor(weights)
        if weights is not None:
            weights = np.asarray(weights, self.dtype)
        self._targets, self.weights = np.asarray(targets, self.dtype), weights
        self._passes = {}
        self.stream = self.stream_of(rows)
        self.n_rows, self.weight_sum = self.stream.n_rows, self.stream.weight_sum
        self.n_targets = self.y.shape[1]

    def _tensor(self, array):
        array = np.ascontiguousarray(array, self.dtype)
        return torch.tensor(array, device=self.device)

    def stream_of(self, rows=None):
        """Return what networks that train on these rows share, a `Stream`.

        Parameters
        ----------
        rows : ndarray of intp or None
            Training rows; None for all.
        """
        y, s = self._targets, self.weights
        y, s = (a if rows is None or a is None else a[rows] for a in (y, s))
        n = len(y)
        weight_sum = float(n if s is None else s.sum(dtype=np.float64))
        offset = self.loss.mean_constant(y, s) if weight_sum > 0 else 0.0
        rows = np.arange(n) if rows is None else np.asarray(rows)
        return Stream(rows, n, weight_sum, offset)

    @cached_property
    def null_prediction(self):
        """Raw prediction whose prediction is the weighted mean of the targets."""
        if not self.weight_sum > 0:
            return None
        y, s = self._training_targets()
        if self.loss.out_activation == "softmax":
            y = y == np.arange(self.n_outputs)
        return self.loss.link(np.average(y, axis=0, weights=s))

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
        """Both, as `_moments.weighted_moments` takes them, on the device."""
        rows = torch.as_tensor(self.stream.rows, device=self.device)
        share = torch.ones(self.n_rows, dtype=torch.float64, device=self.device)
        if self.s is not None:
            share = self.s[rows].double()
        share = share / self.weight_sum
        zeros = torch.zeros(self.X.shape[1], dtype=torch.float64, device=self.device)
        n_rows = max(1, _PASS_ENTRIES // self.X.shape[1])
        parts = list(zip(rows.split(n_rows), share.split(n_rows)))
        mean, size = zeros.clone(), zeros.clone()
        for part, s in parts:
            some = self.X[part].double()
            mean += s @ some
            size = torch.maximum(size, some.abs().amax(dim=0))
        unit = torch.where(size > 0, size, torch.ones_like(size))
        first, second = zeros.clone(), zeros.clone()
        for part, s in parts:
            deviations = self.X[part].double() / unit - mean / unit
            first += s @ deviations
            second += s @ deviations**2
        spread = (second - first**2).clamp(min=0).sqrt()
        return (mean + first * unit).cpu().numpy(), (spread * unit).cpu().numpy()

    @property
    def target_spread(self):
        """Typical standard deviation of the targets; see `DataTerm`."""
        y, s = self._training_targets()
        return target_spread(self.loss, y, self.null_prediction, s)

    @cached_property
    def null_value(self):
        """Data term of the network that predicts `null_prediction` everywhere."""
        n_inputs = self.X.shape[1]
        theta = np.r_[np.zeros(n_inputs * self.n_outputs), self.null_prediction]
        network = Network((n_inputs, self.n_outputs), "identity")
        return self.value(network, theta.astype(self.dtype))

    @property
    def largest_target(self):
        """Largest |y|."""
        return float(np.abs(self._targets).max())

    def losses_of_outputs(self, network, theta):
        """Data term of each output; see `DataTerm`."""
        raw = predict_many(network, theta[None], self.X, self.device)[0]
        y, s = self._training_targets()
        return losses_of_outputs(self.loss, y, raw[self.stream.rows], s)

    @cached_property
    def losses_of_constants(self):
        """Data terms of each output at two constants; see `DataTerm`."""
        y, s = self._training_targets()
        return losses_of_constants(self.loss, y, self.null_prediction, s)

    def _training_targets(self):
        rows, s = self.stream.rows, self.weights
        return self._targets[rows], None if s is None else s[rows]

    def row_order(self):
        """Indices of the training rows as they lie, to be shuffled; a copy."""
        return self.stream.rows.copy()

    def value(self, network, theta):
        """Data term at theta."""
        return self._full_batch(network, theta, None)

    def value_grad(self, network, theta):
        """Data term and its gradient at theta, of the shape of theta."""
        grad = np.empty_like(theta)
        return self._full_batch(network, theta, grad), grad

    def _full_batch(self, network, theta, grad):
        """Data term at theta; its gradient is written to `grad` unless that is None."""
        one, tables = self._pass_over_all_rows(network)
        parameters = one.layout.to_device(theta[None], self.device)
        gradient, part = torch.zeros_like(parameters), torch.zeros_like(parameters)
        one.total.zero_()
        with computing(self.device, "exact"):
            for begin in range(0, self.n_rows, tables.size):
                tables.write_rows(0, self.stream.rows[begin : begin + tables.size])
                one.forward(parameters, tables)
                one.loss(parameters, part, tables)
                if grad is not None:
                    one.backward(parameters, part)
                    gradient += part
        if grad is not None:
            grad[:] = one.layout.to_host(gradient)[0]
        return self.stream.mean(float(one.total[0]))

    def _pass_over_all_rows(self, network):
        """(Pass, Tables) of one network over blocks of rows, made once per network."""
        if network not in self._passes:
            size = max(1, _PASS_ENTRIES // sum(network.units))
            size = min(self.n_rows, size)
            tables = Tables(1, 1, size, 1, self)
            tables.scale.fill_(1.0 / self.weight_sum)
            one = Pass(self, network, Layout(network), [0, 1], size)
            self._passes[network] = one, tables
        return self._passes[network]

    def epochs(self, network, optimizer, penalties, theta, moments, batch_size):
        """Return a runner of mini-batch epochs of one network, a `TorchEpochs`."""
        terms = penalties.terms
        return TorchEpochs(self, network, optimizer, terms, theta, moments, batch_size)

    # Many networks -------------------------------------------------------------------

    OutOfMemory = torch.OutOfMemoryError

    def networks(self, network, optimizer, terms, streams, bounds, thetas, batch_size):
        """Return `Networks` under these penalties, a list of terms for each."""
        penalties = [penalties_of_blocks(of_one, network.slices) for of_one in terms]
        return Networks.start(
            self, network, optimizer, penalties, streams, bounds, thetas, batch_size
        )

    def capacity(self, network, optimizer, batch_size):
        """How many networks to train at once, by the memory that is free.

        One after the other on the processor, where nothing is gained otherwise: each
        network then has the same bits in any company.
        """
        if self.device.type == "cpu":
            return 1
        if self.device.type != "cuda":
            return _NETWORKS_AT_ONCE
        needed = self._bytes_per_network(network, optimizer, batch_size)
        return max(1, int(_MEMORY_SHARE * _free_memory(self.device) / needed))

    def _bytes_per_network(self, network, optimizer, batch_size):
        hidden = network.units[1:-1]
        # Parameters, gradient and moments, and as much again while some are left out.
        per_parameter = 2 * (2 + len(METHODS[optimizer.method].moments))
        per_row = 5 * sum(hidden) + 2 * network.units[-1] + network.units[0]
        entries = per_parameter * Layout(network).stride + batch_size * per_row
        return entries * self.dtype.itemsize

    def memory_report(self, network, optimizer, batch_size):
        """Message for a network that does not fit."""
        needed = self._bytes_per_network(network, optimizer, batch_size) / 2**30
        free = _free_memory(self.device) / 2**30
        return (
            f"device={str(self.device)!r} has {free:.1f} GiB free, and one network of "
            f"units {network.units} with batches of {batch_size} rows takes "
            f"{needed:.1f} GiB. Lower 'batch_size' or 'hidden_layer_sizes', or use "
            "device='cpu'."
        )


def _free_memory(device):
    """Bytes that are free on a device; inf where torch does not say."""
    if device.type != "cuda":
        return np.inf
    idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + idle


def _to_device(X, device):
    """X as a dense tensor on a device.

    Raises
    ------
    MemoryError
        If it does not fit there.
    """
    if isinstance(X, torch.Tensor):
        return X.to(device).contiguous()
    needed = X.shape[0] * X.shape[1] * X.dtype.itemsize
    free = _free_memory(device)
    if needed > _MEMORY_SHARE * free:
        name = "Sparse X, which becomes dense" if sparse.issparse(X) else "X"
        raise MemoryError(
            f"{name} on device={str(device)!r}, takes {needed / 2**30:.1f} GiB of the "
            f"{free / 2**30:.1f} GiB that are free there: its shape is {X.shape}. Use "
            "device='cpu'."
        )
    if not sparse.issparse(X):
        return torch.tensor(np.ascontiguousarray(X), device=device)
    dtype = getattr(torch, X.dtype.name)
    dense = torch.empty(X.shape, dtype=dtype, device=device)
    size = max(1, _PASS_ENTRIES // X.shape[1])
    for i in range(0, X.shape[0], size):
        dense[i : i + size] = torch.from_numpy(X[i : i + size].toarray()).to(device)
    return dense


# Predictions -------------------------------------------------------------------------


def predict_many(network, thetas, X, device):
    """Raw predictions of many networks at the same rows.

    Parameters
    ----------
    network : Network
    thetas : ndarray of shape (K, n_parameters)
    X : Tensor, ndarray or CSR of shape (n, p)
        Of at most the precision of `thetas`. Blocks of its rows go to the device.
    device : torch.device

    Returns
    -------
    ndarray of shape (K, n, n_outputs)
    """
    layout, n = Layout(network), X.shape[0]
    out = np.empty((len(thetas), n, network.units[-1]), thetas.dtype)
    n_networks = max(1, min(len(thetas), _PASS_ENTRIES // layout.stride))
    n_rows = max(1, _PASS_ENTRIES // (n_networks * 2 * max(network.units)))
    with computing(device, "exact"):
        for k in range(0, len(thetas), n_networks):
            theta = layout.to_device(thetas[k : k + n_networks], device)
            for i in range(0, n, n_rows):
                x = _to_device(X[i : i + n_rows], device).to(theta.dtype)
                f = predict(network, layout, theta, x)
                out[k : k + n_networks, i : i + n_rows] = f.cpu().numpy()
    return out


def predictor(network, X, device):
    """Function of theta: raw predictions at X, of shape (n, n_outputs).

    X is copied to the device once; block by block, in each call, where it does not fit.
    """
    try:
        X = _to_device(X, device)
    except MemoryError:
        pass
    return lambda theta: predict_many(network, theta[None], X, device)[0]


# One network -------------------------------------------------------------------------


class TorchEpochs:
    """Mini-batch training of one network; see `skreg._engines.EpochRunner`."""

    def __init__(self, rows, network, optimizer, terms, theta, moments, batch_size):
        self._rows, self._saved, self._theta = rows, None, None
        one = [terms], [rows.stream], [0, 1], theta[None]
        try:
            self._networks = rows.networks(network, optimizer, *one, batch_size)
        except rows.OutOfMemory:
            report = rows.memory_report(network, optimizer, batch_size)
            raise MemoryError(report) from None
        for name, moment in moments.items():
            tensor = getattr(self._networks.state, name)
            layout = self._networks.layout
            tensor.copy_(layout.to_device(moment[None], rows.device))

    @property
    def theta(self):
        """Parameters, of shape (n_parameters,)."""
        if self._theta is None:
            self._theta = self._networks.thetas()[0]
        return self._theta

    @property
    def moments(self):
        """Those of the optimizer, by name."""
        networks = self._networks
        return {
            name: networks.layout.to_host(getattr(networks.state, name))[0]
            for name in METHODS[networks.optimizer.method].moments
        }

    def run(self, order, rates, n_steps):
        """Train on every row once; return the mean data loss."""
        self._theta = None
        order = self._rows.stream.rows if order is None else order
        return float(self._networks.run([order], [rates], np.array([n_steps]))[0])

    def snapshot(self):
        """Remember parameters and moments."""
        arrays = self._networks.state.arrays()
        if self._saved is None:
            self._saved = [torch.empty_like(a) for a in arrays]
        for saved, array in zip(self._saved, arrays):
            saved.copy_(array)

    def restore(self):
        """Return to what `snapshot` has remembered."""
        self._theta = None
        for saved, array in zip(self._saved, self._networks.state.arrays()):
            array.copy_(saved)
