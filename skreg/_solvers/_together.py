"""Mini-batch training of many networks of one architecture at once."""

from copy import copy, deepcopy
from dataclasses import dataclass

import numpy as np

from skreg._solvers._averaging import average_of, network_of
from skreg._solvers._result import Result, Status
from skreg._solvers._shuffling import shuffler
from skreg._solvers._stopping import Monitor

# Those that have finished are left out once they are so large a share.
_FINISHED_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Order:
    """Training rows, and the random stream that shuffles them.

    Attributes
    ----------
    rows : ndarray of intp or None
        None for all rows.
    rng : RandomState
        As it is before the first epoch; not changed.
    """

    rows: np.ndarray | None
    rng: np.random.RandomState


@dataclass(frozen=True, eq=False)
class Member:
    """One of the networks to train.

    Attributes
    ----------
    order : Order
        Those with the same object share each batch.
    theta : ndarray of shape (n_parameters,)
        Start; not changed.
    terms : list of Term
        Penalties in their slots.
    monitor : Monitor
        Decides when it stops; afterwards it holds the best value, and the parameters of
        the best score.
    """

    order: Order
    theta: np.ndarray
    terms: list
    monitor: Monitor


def solve_together(settings, data, network, members):
    """Train networks that differ in rows, penalties, strengths and starts.

    Each ends as it would alone: with its own order of rows, learning rate and stopping.

    Parameters
    ----------
    settings : Stochastic
        `modes` are those of the members' terms. Batches larger than a training set hold
        all of it.
    data : engine of many networks
        With `networks` and `capacity`, such as `skreg._engines._torch.TorchRows`.
    network : Network
    members : list of Member

    Returns
    -------
    list of Result
        In the order of the members, without a solver state.

    Raises
    ------
    MemoryError
        If not even one network fits into the memory of the device.
    """
    orders = {id(member.order): None for member in members}
    place = {key: i for i, key in enumerate(orders)}
    numbers = sorted(range(len(members)), key=lambda k: place[id(members[k].order)])
    needs = network, settings.optimizer, settings.batch_size
    size = data.capacity(*needs)
    results = [None] * len(members)
    while numbers:
        part = numbers[:size]
        try:
            solved = _solve(settings, data, network, [members[k] for k in part])
        except data.OutOfMemory:
            if len(part) == 1:
                raise MemoryError(data.memory_report(*needs)) from None
            size = len(part) // 2
            continue
        for k, result in zip(part, solved):
            results[k] = result
        numbers = numbers[size:]
    return results


def _solve(settings, data, network, members):
    """Train all members at the same time; nothing has changed if that fails."""
    grid = _Grid(settings, data, network, members)
    results = grid.solve()
    for member, monitor in zip(members, grid.monitors):
        vars(member.monitor).update(vars(monitor))
    return results


class _Grid:
    """Networks that train at the same time; those of one order side by side."""

    def __init__(self, settings, data, network, members):
        self.settings, self.members = settings, members
        self.monitors = [copy(member.monitor) for member in members]
        orders = list({id(m.order): m.order for m in members}.values())
        counts = [sum(m.order is order for m in members) for order in orders]
        bounds = [0, *np.cumsum(counts).tolist()]
        streams = [data.stream_of(order.rows) for order in orders]
        self.networks = data.networks(
            network,
            settings.optimizer,
            [m.terms for m in members],
            streams,
            bounds,
            np.array([m.theta for m in members]),
            settings.batch_size,
        )
        self.of_stream = {
            id(s): _Rows(s, o.rng, settings) for s, o in zip(streams, orders)
        }
        self.live = np.arange(len(members))  # which members `networks` holds
        self.is_live = np.ones(len(members), bool)  # of those
        self.factor = np.ones(len(members))  # of all members, as below
        self.averages = [None] * len(members)
        names = "data_loss", "penalty", "validation_scores"
        self.history = [{name: [] for name in names} for _ in members]
        self.results = [None] * len(members)

    def solve(self):
        """Train until each network has stopped; return a Result of each."""
        for epoch in range(self.settings.max_iter):
            self._run_epoch(epoch)
            if not self.is_live.any():
                break
            self._leave_out_finished()
        self._finish(np.flatnonzero(self.is_live), Status.MAX_ITER)
        return self.results

    def _run_epoch(self, epoch):
        networks = self.networks
        rows = [self.of_stream[id(stream)] for stream in networks.streams]
        penalties = networks.penalty_values()
        losses = networks.run(
            [r.next_order() for r in rows],
            [r.rates(self.settings, epoch) for r in rows],
            np.array([r.n_steps * epoch for r in rows]),
            self.factor[self.live],
            self.is_live,
        )
        is_finite = networks.is_finite()
        watched = any(self.monitors[k].reads_theta for k in self.live)
        needed = watched or self.settings.ema > 0
        thetas = networks.thetas() if needed else [None] * len(networks)
        ceased, stopped, diverged = [], [], []
        for i in np.flatnonzero(self.is_live):
            k = self.live[i]
            history, monitor = self.history[k], self.monitors[k]
            history["data_loss"].append(float(losses[i]))
            history["penalty"].append(float(penalties[i]))
            objective = history["data_loss"][-1] + history["penalty"][-1]
            self.averages[k] = average_of(
                self.averages[k], thetas[i], self.settings.ema
            )
            theta = network_of(self.averages[k], thetas[i])
            stops = monitor.update(epoch + 1, objective, theta, history)
            if np.isnan(losses[i]) or not is_finite[i]:
                diverged.append(i)
            elif monitor.is_stopped:
                stopped.append(i)
            elif stops and not self._lower_rate(k):
                ceased.append(i)
        self._finish(np.array(diverged, int), Status.NON_FINITE)
        self._finish(np.array(stopped, int), Status.STOPPED)
        self._finish(np.array(ceased, int), Status.CONVERGED)

    def _lower_rate(self, k):
        """Lower the rate of the adaptive schedule; False where training is to stop."""
        factor = self.settings.lowered(self.factor[k])
        if factor is None:
            return False
        self.factor[k] = factor
        self.monitors[k].count = 0
        return True

    def _finish(self, places, status):
        """Take the results of the networks at these places of `networks`."""
        if len(places) == 0:
            return
        thetas = self.networks.thetas(places)
        for i, theta in zip(places, thetas):
            k = self.live[i]
            n_iter = len(self.history[k]["data_loss"])
            theta = network_of(self.averages[k], theta)
            self.results[k] = Result(theta, n_iter, status, self.history[k])
        self.is_live[places] = False

    def _leave_out_finished(self):
        if np.mean(~self.is_live) < _FINISHED_SHARE:
            return
        self.networks = self.networks.keep(np.flatnonzero(self.is_live))
        self.live = self.live[self.is_live]
        self.is_live = np.ones(len(self.live), bool)


class _Rows:
    """The rows of a stream, epoch by epoch."""

    def __init__(self, stream, rng, settings):
        self.n_rows = stream.n_rows
        self.n_steps = -(-stream.n_rows // settings.batch_size)
        self._order = stream.rows.copy()
        self._rng = deepcopy(rng)
        self._shuffles = settings.shuffle and stream.n_rows > settings.batch_size

    def next_order(self):
        if self._shuffles:
            with shuffler(self._rng, self.n_rows) as shuffle:
                shuffle(self._order)
        return self._order

    def rates(self, settings, epoch):
        """Learning rates of the steps of an epoch, as "adaptive" begins."""
        return settings.rates(
            self.n_rows, n_samples=self.n_rows * epoch, n_epochs=epoch, factor=1.0
        )
