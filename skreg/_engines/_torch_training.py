"""Mini-batch training of many networks at once, epoch by epoch."""

from dataclasses import dataclass

import numpy as np
import torch

from skreg._engines._torch_passes import Layout, Pass, Tables, computing
from skreg._engines._torch_rule import BatchedRule
from skreg._optimizers import METHODS

_CHUNK_ENTRIES = 2**24  # of a look at all parameters
_STEPS_PER_GRAPH = 8


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


class Networks:
    """K networks of one architecture that train together, one epoch per call.

    Parameters
    ----------
    data : TorchRows
    network : Network
    optimizer : Optimizer
    penalties : list of list of (slot, Form)
        Of each network, those of each block; networks of one stream side by side.
    streams : list of Stream
    bounds : list of int
        Networks bounds[i] .. bounds[i + 1] - 1 train on streams[i].
    state : State
    batch_size : int
    """

    def __init__(
        self, data, network, optimizer, penalties, streams, bounds, state, batch_size
    ):
        self.data, self.network, self.optimizer = data, network, optimizer
        self.penalties, self.streams, self.bounds = penalties, streams, bounds
        self.layout, self.state = Layout(network), state
        self.batch_size = batch_size
        self.sizes = np.diff(bounds)
        self.stream_of = np.repeat(np.arange(len(streams)), self.sizes)
        self.rule = BatchedRule(optimizer, penalties, self.layout, data)
        self.n_steps = [-(-s.n_rows // batch_size) for s in streams]
        self._pass = Pass(data, network, self.layout, bounds, batch_size)
        self._tables = Tables(
            max(self.n_steps), len(streams), batch_size, bounds[-1], data
        )
        self._write_batches()
        self._graphs = {}

    @classmethod
    def start(
        cls, data, network, optimizer, penalties, streams, bounds, thetas, batch_size
    ):
        """Networks with the parameters `thetas` of shape (K, n_parameters)."""
        thetas = np.asarray(thetas, data.dtype)
        theta = Layout(network).to_device(thetas, data.device)
        moments = {name: None for name in ("first", "second")}
        for name in METHODS[optimizer.method].moments:
            moments[name] = torch.zeros_like(theta)
        state = State(theta, torch.zeros_like(theta), **moments)
        return cls(
            data, network, optimizer, penalties, streams, bounds, state, batch_size
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
        self._pass.total.zero_()
        self.run_steps()
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

    def run_steps(self):
        """All steps of an epoch, by the tables as they are."""
        n_steps = max(self.n_steps)
        self._tables.step.zero_()
        with computing(self.data.device, self.data.precision):
            if self.data.device.type == "cuda":
                self._replay(n_steps)
                return
            for _ in range(n_steps):
                self._step()

    def _replay(self, n_steps):
        many = min(_STEPS_PER_GRAPH, n_steps)
        for size, times in ((many, n_steps // many), (1, n_steps % many)):
            if times and size not in self._graphs:
                self._graphs[size] = self._capture(size)
            for _ in range(times):
                self._graphs[size].replay()

    def _capture(self, n_steps):
        """A CUDA graph of this many steps.

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
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
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
        return self.rule.penalty_values(self.state.theta)

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
            [self.penalties[k] for k in members],
            streams,
            bounds,
            State(theta, torch.zeros_like(theta), first, second),
            self.batch_size,
        )
