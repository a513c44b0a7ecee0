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

from skreg._engines._forms import penalty_form
from skreg._engines._torch_passes import (
    Layout,
    Pass,
    Stream,
    Tables,
    computing,
    predict,
)
from skreg._engines._torch_training import MOMENTS, Networks

_PASS_ENTRIES = 2**25  # of the activations, in a pass over many rows
_MEMORY_SHARE = 0.8  # of what is free
_NETWORKS_AT_ONCE = 64  # where the free memory is not known


# Devices -----------------------------------------------------------------------------


def torch_device(device):
    """Return the torch device that the `device` parameter of an estimator names.

    Parameters
    ----------
    device : str
        "cuda" or "cuda:1"; or any device of torch, as "torch:cpu" or "torch:mps".

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If there is no such device.
    """
    name = device.removeprefix("torch:")
    try:
        found = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"device={device!r} is no device of torch. Use 'cpu', 'cuda', 'cuda:1', or "
            "'torch:' and the name of a torch device."
        ) from error
    if found.type == "mps":
        raise ValueError(
            f"device={device!r}: sums of losses need float64, which mps has not. Use "
            "device='cpu'."
        )
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r} needs a GPU, and torch {torch.__version__} sees none. "
            "Use device='cpu', or install a driver and a build of torch for CUDA."
        )
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={device!r}: torch sees {torch.cuda.device_count()} GPU(s), "
            "counted from 0."
        )
    return found


# Rows --------------------------------------------------------------------------------


class TorchRows:
    """Rows on a device, and the data term over them; see `skreg._engines.DataTerm`.

    Parameters
    ----------
    X : ndarray of shape (n, p), or CSR
        Inputs, float32 or float64, of at most the precision of `dtype`. They are copied
        to the device once, sparse ones as a dense matrix.
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
        self._host = X, np.asarray(targets, self.dtype), weights
        self.rows = rows
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
        _, y, s = self._host
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
        _, y, s = self._host
        y, s = (a if a is None else a[self.stream.rows] for a in (y, s))
        if self.loss.out_activation == "softmax":
            y = y == np.arange(self.n_outputs)
        return self.loss.link(np.average(y, axis=0, weights=s))

    @cached_property
    def input_mean(self):
        """Weighted mean of the training rows of X, of shape (p,)."""
        rows = torch.as_tensor(self.stream.rows, device=self.device)
        share = torch.ones(self.n_rows, dtype=torch.float64, device=self.device)
        if self.s is not None:
            share = self.s[rows].double()
        total = torch.zeros(self.X.shape[1], dtype=torch.float64, device=self.device)
        size = max(1, _PASS_ENTRIES // self.X.shape[1])
        for part, s in zip(rows.split(size), share.split(size)):
            total += s @ self.X[part].double()
        return (total / self.weight_sum).cpu().numpy()

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
        layout = Layout(network)
        n = self.n_rows
        size = min(n, max(1, _PASS_ENTRIES // sum(network.units)))
        tables = Tables(1, 1, size, 1, self)
        tables.scale.fill_(1.0 / self.weight_sum)
        one = Pass(self, network, layout, [0, 1], size)
        parameters = layout.to_device(theta[None], self)
        gradient = torch.zeros_like(parameters)
        with computing(self.device, "exact"):
            for begin in range(0, n, size):
                rows = self.stream.rows[begin : begin + size]
                tables.write_rows(0, rows)
                one.forward(parameters, tables)
                part = torch.zeros_like(parameters)
                one.loss(parameters, part, tables)
                if grad is not None:
                    one.backward(parameters, part)
                    gradient += part
        if grad is not None:
            grad[:] = layout.to_host(gradient)[0]
        return self.stream.mean(float(one.total[0]))

    def raw(self, network, thetas, X=None, rows=None):
        """Output layers before their activation.

        Parameters
        ----------
        network : Network
        thetas : ndarray of shape (K, n_parameters)
        X : ndarray or CSR of shape (n, p), default=None
            None takes the rows of this object, all of them or those at `rows`.
        rows : ndarray of intp, default=None

        Returns
        -------
        ndarray of shape (K, n, n_outputs)
        """
        X = self.X if X is None else _to_device(X, self.device)
        if rows is not None:
            X = X[torch.as_tensor(rows, device=self.device)]
        layout = Layout(network)
        out = np.empty((len(thetas), len(X), network.units[-1]), self.dtype)
        widest = max(network.units[1:])
        n_networks = max(1, min(len(thetas), _PASS_ENTRIES // layout.stride))
        n_rows = max(1, _PASS_ENTRIES // (n_networks * 2 * widest))
        with computing(self.device, "exact"):
            for k in range(0, len(thetas), n_networks):
                theta = layout.to_device(thetas[k : k + n_networks], self)
                for i in range(0, len(X), n_rows):
                    x = X[i : i + n_rows].to(self.torch_dtype)
                    f = predict(network, layout, theta, x)
                    out[k : k + n_networks, i : i + n_rows] = f.cpu().numpy()
        return out

    def epochs(self, network, optimizer, terms, theta, moments, batch_size):
        """Return a runner of mini-batch epochs of one network, a `TorchEpochs`."""
        return TorchEpochs(self, network, optimizer, terms, theta, moments, batch_size)

    # Many networks -------------------------------------------------------------------

    OutOfMemory = torch.OutOfMemoryError

    def networks(self, network, optimizer, terms, streams, bounds, thetas, batch_size):
        """Return `Networks` under these penalties, a list of terms for each."""
        forms = [penalty_form(of_one, network.slices) for of_one in terms]
        return Networks.start(
            self, network, optimizer, forms, streams, bounds, thetas, batch_size
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
        per_parameter = 2 * (2 + len(MOMENTS[optimizer.method]))
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
    """X as a dense tensor on a device."""
    if not sparse.issparse(X):
        if isinstance(X, torch.Tensor):
            return X.to(device).contiguous()
        return torch.tensor(np.ascontiguousarray(X), device=device)
    needed = X.shape[0] * X.shape[1] * X.dtype.itemsize
    free = _free_memory(device)
    if needed > _MEMORY_SHARE * free:
        raise ValueError(
            f"Sparse X of shape {X.shape} becomes dense on device={str(device)!r}, and "
            f"takes {needed / 2**30:.1f} GiB of the {free / 2**30:.1f} GiB that are "
            "free there. Use device='cpu', which keeps it sparse."
        )
    dtype = getattr(torch, X.dtype.name)
    dense = torch.empty(X.shape, dtype=dtype, device=device)
    size = max(1, _PASS_ENTRIES // X.shape[1])
    for i in range(0, X.shape[0], size):
        dense[i : i + size] = torch.from_numpy(X[i : i + size].toarray()).to(device)
    return dense


# One network -------------------------------------------------------------------------


class TorchEpochs:
    """Mini-batch training of one network; see `skreg._engines.EpochRunner`."""

    def __init__(self, rows, network, optimizer, terms, theta, moments, batch_size):
        self._rows = rows
        forms = [penalty_form(terms, network.slices)]
        self._networks = Networks.start(
            rows,
            network,
            optimizer,
            forms,
            [rows.stream],
            [0, 1],
            theta[None],
            batch_size,
        )
        for name, moment in moments.items():
            tensor = getattr(self._networks.state, name)
            tensor.copy_(self._networks.layout.to_device(moment[None], rows))
        self._saved = None

    @property
    def theta(self):
        """Parameters, of shape (n_parameters,)."""
        return self._networks.thetas()[0]

    @property
    def moments(self):
        """Those of the optimizer, by name."""
        networks = self._networks
        return {
            name: networks.layout.to_host(getattr(networks.state, name))[0]
            for name in MOMENTS[networks.optimizer.method]
        }

    def run(self, order, rates, n_steps):
        """Train on every row once; return the mean data loss."""
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
        for saved, array in zip(self._saved, self._networks.state.arrays()):
            array.copy_(saved)
