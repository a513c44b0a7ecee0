"""The torch engine: many networks of one architecture trained together.

K networks that differ in their training rows, penalties, strengths and starts take each
step at once: one batched product per layer, and one kernel for the update of all
parameters. Networks that read the same rows in the same order form a stream, and share
the gathered batch. On CUDA a step is a graph that is replayed, its batches are gathered
from the one copy of X on the device, and the element-wise work runs in Triton kernels
(`_triton_ops`); anywhere else the same step runs in torch operations (`_torch_ops`).

Import this module where a device is asked for: it needs torch.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from scipy import sparse

from skreg._engines import _torch_ops
from skreg._engines._forms import COUPLED_CONCAVE, PROXIMAL_CONCAVE, penalty_form

_ALIGNMENT = 32  # entries: where blocks of parameters begin
_PASS_ENTRIES = 2**25  # of the activations, in a pass over many rows
_CHUNK_ENTRIES = 2**24  # where penalties are summed up in double precision
_STEPS_PER_GRAPH = 8
_MEMORY_SHARE = 0.8  # of what is free
_NETWORKS_AT_ONCE = 64  # where the free memory is not known
PRECISIONS = ("exact", "tf32")


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
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r} needs a GPU, and torch {torch.__version__} sees none. "
            "Use device='cpu', or install a driver and a build of torch for CUDA."
        )
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={device!r}: torch sees {torch.cuda.device_count()} GPU(s), counted "
            "from 0."
        )
    return found


def _ops(device):
    """The operations of a step on this device."""
    if device.type == "cuda":
        try:
            from skreg._engines import _triton_ops
        except ImportError:
            return _torch_ops
        return _triton_ops
    return _torch_ops


@contextmanager
def _products_in(precision):
    """Products of float32 matrices on CUDA in full precision or TF32."""
    settings = torch.backends.cuda.matmul
    before = settings.fp32_precision
    settings.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        settings.fp32_precision = before


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
        Of products of float32 matrices on CUDA.
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
        gradient, total = torch.zeros_like(parameters), 0
        with _products_in(self.precision):
            for begin in range(0, n, size):
                rows = self.stream.rows[begin : begin + size]
                tables.write_rows(0, rows, size)
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
        with _products_in(self.precision):
            for k in range(0, len(thetas), n_networks):
                theta = layout.to_device(thetas[k : k + n_networks], self)
                for i in range(0, len(X), n_rows):
                    x = X[i : i + n_rows].to(self.torch_dtype)
                    f = _predict(network, layout, theta, x)
                    out[k : k + n_networks, i : i + n_rows] = f.cpu().numpy()
        return out

    def epochs(self, network, optimizer, terms, theta, moments, batch_size):
        """Return a runner of mini-batch epochs of one network, a `TorchEpochs`."""
        return TorchEpochs(self, network, optimizer, terms, theta, moments, batch_size)

    # Many networks -------------------------------------------------------------------

    OutOfMemory = torch.OutOfMemoryError

    def networks(
        self, network, optimizer, terms, streams, bounds, thetas, batch_size
    ):
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
        free = torch.cuda.mem_get_info(self.device)[0]
        needed = self._bytes_per_network(network, optimizer, batch_size)
        return max(1, int(_MEMORY_SHARE * free / needed))

    def _bytes_per_network(self, network, optimizer, batch_size):
        hidden = network.units[1:-1]
        # Parameters, gradient and moments, and as much again while some are left out.
        per_parameter = 2 * (2 + len(_MOMENTS[optimizer.method]))
        per_row = 5 * sum(hidden) + 2 * network.units[-1] + network.units[0]
        entries = per_parameter * Layout(network).stride + batch_size * per_row
        return entries * self.dtype.itemsize

    def memory_report(self, network, optimizer, batch_size):
        """Message for a network that does not fit."""
        needed = self._bytes_per_network(network, optimizer, batch_size) / 2**30
        free = torch.cuda.mem_get_info(self.device)[0] / 2**30
        return (
            f"device={str(self.device)!r} has {free:.1f} GiB free, and one network of "
            f"units {network.units} with batches of {batch_size} rows takes "
            f"{needed:.1f} GiB. Lower 'batch_size' or 'hidden_layer_sizes', or use "
            "device='cpu'."
        )


def _to_device(X, device):
    """X as a dense tensor on a device."""
    if not sparse.issparse(X):
        if isinstance(X, torch.Tensor):
            return X.to(device).contiguous()
        return torch.tensor(np.ascontiguousarray(X), device=device)
    needed = X.shape[0] * X.shape[1] * X.dtype.itemsize
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    if free is not None and needed > 0.8 * free:
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


@dataclass(frozen=True, eq=False)
class Stream:
    """Training rows that networks share, in one order.

    Attributes
    ----------
    rows : ndarray of intp
    n_rows : int
    weight_sum : float
        Sum of their weights.
    offset : float
        Mean of the part of the loss that does not depend on predictions.
    """

    rows: np.ndarray
    n_rows: int
    weight_sum: float
    offset: float

    def mean(self, total):
        """Data term from a sum of s_i l_i over all rows."""
        return total / self.weight_sum + self.offset


# Parameters --------------------------------------------------------------------------


class Layout:
    """Where the blocks of theta lie on the device, each at an aligned place.

    Attributes
    ----------
    shapes : list of tuple
        Of W_1..W_L, then b_1..b_L.
    begins : list of int
        Where each begins.
    stride : int
        Entries from one network to the next.
    """

    def __init__(self, network):
        self.slices = network.slices
        self.n_layers = network.n_layers
        self.shapes = [*network.shapes, *((n,) for n in network.units[1:])]
        self.begins, end = [], 0
        for s in self.slices:
            self.begins.append(end)
            end += -(-(s.stop - s.start) // _ALIGNMENT) * _ALIGNMENT
        self.stride = end

    def spans(self):
        """(begin, end) of each block."""
        sizes = [s.stop - s.start for s in self.slices]
        return [(begin, begin + size) for begin, size in zip(self.begins, sizes)]

    def block(self, theta, k):
        """View of block k, of shape (K, *shape)."""
        begin, end = self.spans()[k]
        return theta[:, begin:end].unflatten(1, self.shapes[k])

    def to_device(self, thetas, rows):
        """Copy an array of shape (K, n_parameters) to the device of `rows`."""
        padded = np.zeros((len(thetas), self.stride), rows.dtype)
        for s, (begin, end) in zip(self.slices, self.spans()):
            padded[:, begin:end] = thetas[:, s]
        return torch.from_numpy(padded).to(rows.device)

    def to_host(self, theta):
        """Copy parameters back, to shape (K, n_parameters)."""
        padded = theta.cpu().numpy()
        out = np.empty((len(padded), self.slices[-1].stop), padded.dtype)
        for s, (begin, end) in zip(self.slices, self.spans()):
            out[:, s] = padded[:, begin:end]
        return out


def _aligned(shape, rows):
    """Zeros whose rows begin at aligned places."""
    width = -(-shape[-1] // 4) * 4
    full = torch.zeros(
        (*shape[:-1], width), dtype=rows.torch_dtype, device=rows.device
    )
    return full[..., : shape[-1]]


# Passes ------------------------------------------------------------------------------


@dataclass
class Batch:
    """Rows of one step, for each stream.

    Attributes
    ----------
    x : Tensor of shape (n_streams, B, p)
    y : Tensor of shape (n_streams, B, n_targets)
    s : Tensor of shape (n_streams, B)
        Weights; 0 beyond the last row of a short batch.
    """

    x: torch.Tensor
    y: torch.Tensor
    s: torch.Tensor


class Tables:
    """What the steps of an epoch read, so that a step takes no arguments.

    Attributes
    ----------
    step : Tensor of shape (1,), int64
        Number of the next step.
    rows : Tensor of shape (n_steps, n_streams, B), int64
    count : Tensor of shape (n_steps, n_streams), int32
        How many of them belong to the batch; 0 where a stream has no such step.
    scale : Tensor of shape (n_steps, n_streams)
        n / (B sum(s)): what a batch's sum of gradients is multiplied by.
    scalars : Tensor of shape (n_steps, K, 5)
        Learning rate, step of the move, step of the prox, scale of the metric, and
        whether the network takes part.
    """

    def __init__(self, n_steps, n_streams, size, n_networks, data):
        def zeros(*shape, dtype=data.torch_dtype):
            return torch.zeros(shape, dtype=dtype, device=data.device)

        self.size = size
        self.step = zeros(1, dtype=torch.int64)
        self.rows = zeros(n_steps, n_streams, size, dtype=torch.int64)
        self.count = zeros(n_steps, n_streams, dtype=torch.int32)
        self.scale = zeros(n_steps, n_streams)
        self.scalars = zeros(n_steps, n_networks, 5)

    def write_rows(self, step, rows, n_steps=1):
        """Make one step of one stream read these rows."""
        self.rows[step, 0, : len(rows)] = torch.as_tensor(rows, device=self.rows.device)
        self.rows[step, 0, len(rows) :] = int(rows[0])
        self.count[step, 0] = len(rows)


class Pass:
    """Forward and backward of K networks over a batch, in buffers of their own.

    Parameters
    ----------
    data : TorchRows
    network : Network
    layout : Layout
    bounds : list of int
        Networks bounds[i] .. bounds[i + 1] - 1 read stream i.
    size : int
        Rows of a batch.
    """

    def __init__(self, data, network, layout, bounds, size):
        K, S, units = bounds[-1], len(bounds) - 1, network.units
        self.data, self.network, self.layout, self.bounds = data, network, layout, bounds
        self.ops = _ops(data.device)
        self.batch = Batch(
            _aligned((S, size, units[0]), data),
            _aligned((S, size, data.n_targets), data).contiguous(),
            torch.zeros((S, size), dtype=data.torch_dtype, device=data.device),
        )
        sizes = np.diff(bounds)
        self.streams = torch.tensor(np.repeat(np.arange(S), sizes), device=data.device)
        self.total = torch.zeros(K, dtype=torch.float64, device=data.device)
        self.sums = [_aligned((K, size, n), data) for n in units[1:]]
        hidden = units[1:-1]
        stores_slope = network.activation in ("gelu", "silu")
        self.slopes = [
            _aligned((K, size, n), data) if stores_slope else None for n in hidden
        ]
        widest = max(hidden, default=0)
        self._deltas = [_aligned((K, size, widest), data) for _ in hidden[:2]]

    def forward(self, theta, tables):
        """Gather the batch and fill the layers, the last one without its bias."""
        network, layout = self.network, self.layout
        self.ops.gather(self.data, tables, self.batch)
        for layer in range(network.n_layers):
            W, z = layout.block(theta, layer), self.sums[layer]
            if layer == 0:
                for x, W_s, z_s in self._by_stream(W, z):
                    torch.bmm(x, W_s, out=z_s)
            else:
                torch.bmm(self.sums[layer - 1], W, out=z)
            if layer < network.n_layers - 1:
                bias = layout.block(theta, network.n_layers + layer)
                self.ops.activate(network.activation, z, bias, self.slopes[layer])

    def loss(self, theta, grad, tables):
        """Add to `total`; the last layer becomes its delta."""
        last = 2 * self.network.n_layers - 1
        self.ops.loss_and_delta(
            self.data.loss,
            self.sums[-1],
            self.layout.block(theta, last),
            self.batch,
            self.streams,
            tables,
            self.total,
            self.layout.block(grad, last),
        )

    def backward(self, theta, grad):
        """Gradient of all parameters but the last intercepts, from the last delta."""
        network, layout, delta = self.network, self.layout, self.sums[-1]
        for layer in reversed(range(network.n_layers)):
            W_grad = layout.block(grad, layer)
            if layer == 0:
                for x, delta_s, grad_s in self._by_stream(delta, W_grad):
                    torch.bmm(x.transpose(1, 2), delta_s, out=grad_s)
                return
            a = self.sums[layer - 1]
            torch.bmm(a.transpose(1, 2), delta, out=W_grad)
            below = self._deltas[layer % 2 if len(self._deltas) > 1 else 0]
            below = below[..., : a.shape[2]]
            W = layout.block(theta, layer)
            torch.bmm(delta, W.transpose(1, 2), out=below)
            self.ops.activate_backward(
                network.activation,
                below,
                a,
                self.slopes[layer - 1],
                layout.block(grad, network.n_layers + layer - 1),
            )
            delta = below

    def _by_stream(self, *tensors):
        """Yield the inputs and these tensors of the networks of each stream.

        Where each network has a stream of its own, all at once.
        """
        x, bounds = self.batch.x, self.bounds
        if len(x) == bounds[-1]:
            yield x, *tensors
            return
        for x_s, (low, high) in zip(x, pairwise(bounds)):
            yield x_s.expand(high - low, -1, -1), *(t[low:high] for t in tensors)


def _predict(network, layout, theta, x):
    """Raw predictions of all networks at the same rows x, of shape (K, n, n_outputs)."""
    a = x.expand(len(theta), -1, -1)
    for layer in range(network.n_layers):
        bias = layout.block(theta, network.n_layers + layer)
        a = torch.bmm(a, layout.block(theta, layer))
        if layer == network.n_layers - 1:
            return a + bias[:, None]
        slope = torch.empty_like(a) if network.activation in ("gelu", "silu") else None
        _torch_ops.activate(network.activation, a, bias, slope)


# Penalties and the optimizer ---------------------------------------------------------


@dataclass
class Part:
    """A block of parameters of the networks that have its penalty in one slot.

    Attributes
    ----------
    begin, end : int
        Of the block.
    slot : int
    members : slice or Tensor
        Which networks.
    strengths : Tensor of shape (n_members, 4)
        l1, l2, start and stop of each.
    """

    begin: int
    end: int
    slot: int
    members: slice | torch.Tensor
    strengths: torch.Tensor


@dataclass
class GroupPart:
    """A block of parameters of the networks that have the same groups there.

    Attributes
    ----------
    begin, end : int
    shape : tuple
    axis : {0, 1}
    slot : int
    members : slice or Tensor
    numbers : Tensor of shape (n_members,), int64
        The members one by one.
    index : Tensor of shape (n_lines,) or None
        Group of each line.
    n_groups : int
    kappa : Tensor of shape (n_members, n_lines)
    l1 : Tensor of shape (n_members,)
    """

    begin: int
    end: int
    shape: tuple
    axis: int
    slot: int
    members: slice | torch.Tensor
    numbers: torch.Tensor
    index: torch.Tensor | None
    n_groups: int
    kappa: torch.Tensor
    l1: torch.Tensor


class Rule:
    """The update of K networks: one optimizer, and the penalties of each.

    Parameters
    ----------
    optimizer : Optimizer
    forms : list of Form
        Penalties of each network.
    layout : Layout
    data : TorchRows
    """

    def __init__(self, optimizer, forms, layout, data):
        self.optimizer, self.method = optimizer, optimizer.method
        self.is_adaptive = optimizer.is_adaptive
        beta_1, beta_2 = optimizer.beta_1, optimizer.beta_2
        #: momentum, beta_1, beta_2, 1 - beta_1, 1 - beta_2, epsilon
        self.hyper = (
            optimizer.momentum,
            beta_1,
            beta_2,
            1.0 - beta_1,
            1.0 - beta_2,
            optimizer.epsilon,
        )
        self._data = data
        self.spans = layout.spans()
        self.elementwise = [form.elementwise for form in forms]
        self.parts = [
            part for block in range(len(self.spans)) for part in self._parts(block)
        ]
        self.groups = self._group_parts(forms)
        self.cache = {}  # of the operations

    def _tensor(self, values, dtype=None):
        dtype = self._data.torch_dtype if dtype is None else dtype
        return torch.tensor(values, dtype=dtype, device=self._data.device)

    def _members(self, members):
        if len(members) == len(self.elementwise):
            return slice(None)
        return self._tensor(members, torch.int64)

    def _parts(self, block):
        of_slot = {}
        for k, elementwise in enumerate(self.elementwise):
            of_slot.setdefault(elementwise[block].slot, []).append(k)
        for slot, members in of_slot.items():
            strengths = [self.elementwise[k][block].strengths for k in members]
            yield Part(
                *self.spans[block],
                slot,
                self._members(members),
                self._tensor(strengths),
            )

    def _group_parts(self, forms):
        of_key = {}
        for k, form in enumerate(forms):
            for groups in form.groups:
                of_key.setdefault(groups.key, []).append((k, groups))
        return [self._group_part(members) for members in of_key.values()]

    def _group_part(self, members):
        numbers, groups = zip(*members)
        one = groups[0]
        labelled = one.index is not None
        return GroupPart(
            *self.spans[one.block],
            one.shape,
            one.axis,
            one.slot,
            self._members(numbers),
            self._tensor(numbers, torch.int64),
            self._tensor(one.index, torch.int64) if labelled else None,
            int(one.index.max()) + 1 if labelled else len(one.kappa),
            self._tensor(np.array([g.kappa for g in groups])),
            self._tensor([g.l1 for g in groups]),
        )

    def scalars(self, rates, n_steps, takes_part):
        """What each step of each network needs, for `Tables.scalars`.

        Parameters
        ----------
        rates : ndarray of shape (n_steps, K)
            Learning rates.
        n_steps : ndarray of shape (K,)
            Steps that each network has taken before.
        takes_part : ndarray of bool, shape (n_steps, K)

        Returns
        -------
        ndarray of shape (n_steps, K, 5)
        """
        t = n_steps + np.arange(1, len(rates) + 1)[:, None]
        move, metric_scale = rates, np.ones_like(rates)
        if self.method == "adam":
            move = rates / (1.0 - self.optimizer.beta_1**t)
            metric_scale = 1.0 / np.sqrt(1.0 - self.optimizer.beta_2**t)
        tau = self.optimizer.prox_step(rates)
        return np.stack([rates, move, tau, metric_scale, takes_part], axis=2)


def _elementwise_value(part, theta):
    """Sums of the element-wise penalties of a part, of shape (n_members,), float64."""
    w = theta[part.members, part.begin : part.end]
    l1, l2, start, stop = part.strengths.double().T
    if part.slot in (COUPLED_CONCAVE, PROXIMAL_CONCAVE):
        w, start, stop = w.abs().double(), start[:, None], stop[:, None]
        width = stop - start
        left = (stop - torch.clamp(w, start, stop)) / width
        return l1 * (w.minimum(start) + 0.5 * width * (1 - left * left)).sum(1)
    norm = torch.linalg.vector_norm
    sums = norm(w, 1, 1, dtype=torch.float64)
    squares = norm(w, 2, 1, dtype=torch.float64) ** 2
    zero = torch.zeros_like(l1)  # weights may be infinite
    return torch.where(l1 > 0, l1 * sums, zero) + torch.where(
        l2 > 0, 0.5 * l2 * squares, zero
    )


def _groups_value(group, theta):
    """Sums of group penalties of a part, of shape (n_members,), float64."""
    W = theta[group.members, group.begin : group.end].unflatten(1, group.shape)
    squares = (W * W).sum(2 - group.axis, dtype=torch.float64)
    kappa = group.kappa.double()
    if group.index is not None:
        sums = squares.new_zeros(len(squares), group.n_groups)
        squares = sums.index_add_(1, group.index, squares)
        of_group = torch.zeros_like(squares)
        of_group[:, group.index] = kappa
        kappa = of_group
    l1 = group.l1.double()
    sums = W.abs().sum((1, 2), dtype=torch.float64)
    l1_value = torch.where(l1 > 0, l1 * sums, torch.zeros_like(l1))
    return (kappa * squares.sqrt()).sum(1) + l1_value


# Training ----------------------------------------------------------------------------


@dataclass
class State:
    """Parameters of K networks and what the optimizer remembers of each.

    Attributes
    ----------
    theta, grad : Tensor of shape (K, stride)
    first, second : Tensor of shape (K, stride) or None
    """

    theta: torch.Tensor
    grad: torch.Tensor
    first: torch.Tensor | None
    second: torch.Tensor | None

    def arrays(self):
        """theta and the moments that there are."""
        return [a for a in (self.theta, self.first, self.second) if a is not None]


_MOMENTS = {
    "sgd": (),
    "momentum": ("first",),
    "nesterov": ("first",),
    "rmsprop": ("second",),
    "adam": ("first", "second"),
}


class Networks:
    """K networks of one architecture that train together, one epoch per call.

    Parameters
    ----------
    data : TorchRows
    network : Network
    optimizer : Optimizer
    forms : list of Form
        Penalties of each network; networks of one stream side by side.
    streams : list of Stream
    bounds : list of int
        Networks bounds[i] .. bounds[i + 1] - 1 train on streams[i].
    state : State
    batch_size : int
    """

    def __init__(
        self, data, network, optimizer, forms, streams, bounds, state, batch_size
    ):
        self.data, self.network, self.optimizer = data, network, optimizer
        self.forms, self.streams, self.bounds = forms, streams, bounds
        self.layout, self.state = Layout(network), state
        self.batch_size = batch_size
        self.sizes = np.diff(bounds)
        self.stream_of = np.repeat(np.arange(len(streams)), self.sizes)
        self.rule = Rule(optimizer, forms, self.layout, data)
        self.n_steps = [-(-s.n_rows // batch_size) for s in streams]
        self._pass = Pass(data, network, self.layout, bounds, batch_size)
        self._tables = Tables(
            max(self.n_steps), len(streams), batch_size, bounds[-1], data
        )
        self._write_batches()
        self._graphs = {}

    @classmethod
    def start(
        cls, data, network, optimizer, forms, streams, bounds, thetas, batch_size
    ):
        """Networks with the parameters `thetas` of shape (K, n_parameters)."""
        theta = Layout(network).to_device(thetas, data)
        moments = {name: None for name in ("first", "second")}
        for name in _MOMENTS[optimizer.method]:
            moments[name] = torch.zeros_like(theta)
        state = State(theta, torch.zeros_like(theta), **moments)
        return cls(
            data, network, optimizer, forms, streams, bounds, state, batch_size
        )

    def __len__(self):
        return self.bounds[-1]

    def _write_batches(self):
        """Sizes and scales of the batches, the same in each epoch."""
        shape = max(self.n_steps), len(self.streams)
        self._count, scale = np.zeros(shape, np.int32), np.zeros(shape)
        for i, (stream, n_steps) in enumerate(zip(self.streams, self.n_steps)):
            count = np.full(n_steps, self.batch_size)
            count[-1] = stream.n_rows - (n_steps - 1) * self.batch_size
            self._count[:n_steps, i] = count
            scale[:n_steps, i] = stream.n_rows / stream.weight_sum / count
        self._copy(self._tables.scale, scale)
        self._copy(self._tables.count, self._count)
        weight_sums = np.array([s.weight_sum for s in self.streams])
        offsets = np.array([s.offset for s in self.streams])
        self._weight_sums = weight_sums[self.stream_of]
        self._offsets = offsets[self.stream_of]

    def _copy(self, tensor, array):
        tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))

    def run(self, orders, rates, n_steps, factors=1.0, is_live=True):
        """Train every network on each of its rows once.

        Parameters
        ----------
        orders : list of ndarray of intp
            Order of the rows of each stream.
        rates : list of ndarray
            Learning rate of each step of each stream.
        n_steps : ndarray of shape (n_streams,)
            Steps taken before.
        factors : ndarray of shape (K,), default=1.0
            What the rates of each network are multiplied by.
        is_live : ndarray of bool, shape (K,), default=True
            Which networks to train. The others stay as they are.

        Returns
        -------
        ndarray of shape (K,)
            Mean data loss of each, each batch taken just before its step.
        """
        tables, longest = self._tables, max(self.n_steps)
        rows = np.zeros((len(orders), longest * self.batch_size), np.int64)
        table = np.zeros((longest, len(orders)))
        for i, (order, steps) in enumerate(zip(orders, self.n_steps)):
            rows[i, : len(order)] = order
            # A short batch repeats its first row, with weight 0.
            first = (steps - 1) * self.batch_size
            rows[i, len(order) : steps * self.batch_size] = order[first]
            table[:steps, i] = rates[i]
        rows = rows.reshape(len(orders), longest, self.batch_size)
        self._copy(tables.rows, rows.transpose(1, 0, 2))
        scalars = self.rule.scalars(
            table[:, self.stream_of] * factors,
            n_steps[self.stream_of],
            (self._count[:, self.stream_of] > 0) & is_live,
        )
        self._copy(tables.scalars, scalars)
        tables.step.zero_()
        self._pass.total.zero_()
        with _products_in(self.data.precision):
            self._run_steps(longest)
        totals = self._pass.total.cpu().numpy()
        return totals / self._weight_sums + self._offsets

    def _step(self):
        """The next step of all networks; its arguments lie in the tables."""
        state, tables, one = self.state, self._tables, self._pass
        one.forward(state.theta, tables)
        one.loss(state.theta, state.grad, tables)
        one.backward(state.theta, state.grad)
        one.ops.update(self.rule, state, tables)
        tables.step += 1

    def _run_steps(self, n_steps):
        if self.data.device.type != "cuda":
            for _ in range(n_steps):
                self._step()
            return
        many = min(_STEPS_PER_GRAPH, n_steps)
        for size, times in ((many, n_steps // many), (1, n_steps % many)):
            if times and size not in self._graphs:
                self._graphs[size] = self._capture(size)
            for _ in range(times):
                self._graphs[size].replay()

    def _capture(self, n_steps):
        """A CUDA graph of so many steps.

        A first run outside of the graph compiles kernels; as no network takes part, and
        the counters are put back, it leaves no trace.
        """
        tables = self._tables
        scalars, step = tables.scalars.clone(), tables.step.clone()
        total = self._pass.total.clone()
        tables.scalars.zero_()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            self._step()
        torch.cuda.current_stream().wait_stream(aside)
        tables.step.copy_(step)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(n_steps):
                self._step()
        tables.scalars.copy_(scalars)
        tables.step.copy_(step)
        self._pass.total.copy_(total)
        return graph

    def thetas(self, members=None):
        """Parameters of all networks, or of some, of shape (K, n_parameters)."""
        theta = self.state.theta
        return self.layout.to_host(theta if members is None else theta[members])

    def is_finite(self):
        """Whether all parameters of each network are finite, of shape (K,)."""
        finite = [
            part.isfinite().all(1)
            for part in self.state.theta.split(self._networks_per_chunk())
        ]
        return torch.cat(finite).cpu().numpy()

    def penalty_values(self):
        """Sum of the penalties of each network, of shape (K,), float64."""
        value = torch.zeros(len(self), dtype=torch.float64, device=self.data.device)
        theta = self.state.theta
        for part in self.rule.parts:
            if part.slot or part.strengths.any():
                value[part.members] += _elementwise_value(part, theta)
        for group in self.rule.groups:
            value[group.members] += _groups_value(group, theta)
        return value.cpu().numpy()

    def _networks_per_chunk(self):
        return max(1, _CHUNK_ENTRIES // self.layout.stride)

    def keep(self, members):
        """Return these networks alone, in this order of the streams.

        Parameters
        ----------
        members : ndarray of int
            Increasing.
        """
        of_stream = np.bincount(self.stream_of[members], minlength=len(self.streams))
        streams = [s for s, n in zip(self.streams, of_stream) if n > 0]
        bounds = [0, *np.cumsum(of_stream[of_stream > 0]).tolist()]
        index = torch.as_tensor(members, device=self.data.device)
        state = self.state
        first, second = (
            None if a is None else a[index] for a in (state.first, state.second)
        )
        theta = state.theta[index]
        return Networks(
            self.data,
            self.network,
            self.optimizer,
            [self.forms[k] for k in members],
            streams,
            bounds,
            State(theta, torch.zeros_like(theta), first, second),
            self.batch_size,
        )


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
            for name in _MOMENTS[networks.optimizer.method]
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
