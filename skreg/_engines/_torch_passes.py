"""Passes of many networks of one architecture over batches of rows on a device."""

from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, pairwise
from threading import RLock

import numpy as np
import torch

from skreg._engines import _torch_ops

_ALIGNMENT = 32  # entries: where blocks of parameters begin
_LANES = 8  # products of as many streams run side by side on CUDA
STORE_SLOPE = ("gelu", "silu")  # whose derivative does not follow from their value


def operations(device):
    """The operations of a step on this device."""
    if device.type == "cuda":
        try:
            from skreg._engines import _triton_ops
        except ImportError:
            return _torch_ops
        return _triton_ops
    return _torch_ops


_on_cuda = RLock()


@contextmanager
def computing(device, precision):
    """On this device, with products of float32 matrices on CUDA exact or in TF32.

    torch has one setting for all threads, so that only one of them computes there.
    """
    if device.type != "cuda":
        yield
        return
    settings = torch.backends.cuda.matmul
    with _on_cuda, torch.cuda.device(device):
        before = settings.fp32_precision
        settings.fp32_precision = "tf32" if precision == "tf32" else "ieee"
        try:
            yield
        finally:
            settings.fp32_precision = before


# Rows --------------------------------------------------------------------------------


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
    shapes, matrices : list of tuple
        Of W_1..W_L, then b_1..b_L; and those of b as matrices of one row.
    begins : list of int
        Where each begins.
    stride : int
        Entries from one network to the next.
    """

    def __init__(self, network):
        self.slices = network.slices
        self.n_layers = network.n_layers
        self.shapes = [*network.shapes, *((n,) for n in network.units[1:])]
        self.matrices = [(1, *shape)[-2:] for shape in self.shapes]
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

    def to_device(self, thetas, device):
        """Copy an array of shape (K, n_parameters) to a device."""
        padded = np.zeros((len(thetas), self.stride), thetas.dtype)
        for s, (begin, end) in zip(self.slices, self.spans()):
            padded[:, begin:end] = thetas[:, s]
        return torch.from_numpy(padded).to(device)

    def to_host(self, theta):
        """Copy parameters back, to shape (K, n_parameters)."""
        padded = theta.cpu().numpy()
        out = np.empty((len(padded), self.slices[-1].stop), padded.dtype)
        for s, (begin, end) in zip(self.slices, self.spans()):
            out[:, s] = padded[:, begin:end]
        return out


def aligned(shape, rows):
    """Zeros whose rows begin at aligned places."""
    width = -(-shape[-1] // 4) * 4
    full = torch.zeros((*shape[:-1], width), dtype=rows.torch_dtype, device=rows.device)
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

    def write_rows(self, step, rows):
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
        self.data, self.network = data, network
        self.layout, self.bounds = layout, bounds
        self.ops = operations(data.device)
        self.batch = Batch(
            aligned((S, size, units[0]), data),
            aligned((S, size, data.n_targets), data).contiguous(),
            torch.zeros((S, size), dtype=data.torch_dtype, device=data.device),
        )
        sizes = np.diff(bounds)
        self.streams = torch.tensor(np.repeat(np.arange(S), sizes), device=data.device)
        self.total = torch.zeros(K, dtype=torch.float64, device=data.device)
        self.sums = [aligned((K, size, n), data) for n in units[1:]]
        hidden = units[1:-1]
        stores_slope = network.activation in STORE_SLOPE
        self.slopes = [
            aligned((K, size, n), data) if stores_slope else None for n in hidden
        ]
        widest = max(hidden, default=0)
        n_lanes = min(S, _LANES) if data.device.type == "cuda" and 1 < S < K else 0
        self._lanes = [torch.cuda.Stream(data.device) for _ in range(n_lanes)]
        self._deltas = [aligned((K, size, widest), data) for _ in hidden[:2]]

    def forward(self, theta, tables):
        """Gather the batch and fill the layers, the last one without its bias."""
        network, layout = self.network, self.layout
        self.ops.gather(self.data, tables, self.batch)
        for layer in range(network.n_layers):
            W, z = layout.block(theta, layer), self.sums[layer]
            if layer == 0:
                self._by_stream(_product, W, z)
            else:
                _product(self.sums[layer - 1], W, z)
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
                self._by_stream(_transposed_product, delta, W_grad)
                return
            a = self.sums[layer - 1]
            _transposed_product(a, delta, W_grad)
            below = self._deltas[layer % len(self._deltas)]
            below = below[..., : a.shape[2]]
            W = layout.block(theta, layer)
            _product(delta, W.transpose(1, 2), below)
            self.ops.activate_backward(
                network.activation,
                below,
                a,
                self.slopes[layer - 1],
                layout.block(grad, network.n_layers + layer - 1),
            )
            delta = below

    def _by_stream(self, product, right, out):
        """Products of the inputs, by stream, with tensors of all networks.

        They share nothing, so on CUDA those of many streams run side by side.
        """
        x, bounds = self.batch.x, self.bounds
        if len(x) == bounds[-1]:  # a stream for each network
            product(x, right, out)
            return
        with _side_by_side(self._lanes) as lanes:
            for x_s, (low, high), lane in zip(x, pairwise(bounds), cycle(lanes)):
                with torch.cuda.stream(lane):
                    x_s = x_s.expand(high - low, -1, -1)
                    product(x_s, right[low:high], out[low:high])


def _product(a, b, out):
    torch.bmm(a, b, out=out)


def _transposed_product(a, b, out):
    torch.bmm(a.transpose(1, 2), b, out=out)


@contextmanager
def _side_by_side(lanes):
    """CUDA streams that begin after what has been issued, and end before what follows.

    Without any: no stream, which is no change of the stream.
    """
    if not lanes:
        yield [None]
        return
    here = torch.cuda.current_stream()
    for lane in lanes:
        lane.wait_stream(here)
    yield lanes
    for lane in lanes:
        here.wait_stream(lane)


def predict(network, layout, theta, x):
    """Raw predictions of K networks at the same rows x, of shape (K, n, n_outputs)."""
    a = x.expand(len(theta), -1, -1)
    for layer in range(network.n_layers):
        bias = layout.block(theta, network.n_layers + layer)
        a = torch.bmm(a, layout.block(theta, layer))
        if layer == network.n_layers - 1:
            return a + bias[:, None]
        slope = torch.empty_like(a) if network.activation in STORE_SLOPE else None
        _torch_ops.activate(network.activation, a, bias, slope)
