"""Calls of a cluster: tasks with readable names, and faults with a clear end."""

import asyncio
import time
from concurrent import futures
from contextlib import contextmanager
from traceback import clear_frames
from uuid import uuid4
from weakref import WeakSet

import dask
import distributed
import numpy as np
from dask.utils import parse_timedelta
from distributed.client import CancelledError

# Parameters of more bytes are sent to the workers once, not with each task.
_LARGE = 100_000
_MOST_TRIES = 5
_POLL = 1.0  # seconds between looks at the cluster
_PATIENCE = "120s"  # without a worker, unless Dask's configuration tells
_PATIENCE_KEY = "distributed.scheduler.no-workers-timeout"


class ClusterError(RuntimeError):
    """The cluster cannot go on with a fit."""


class Cluster:
    """A client, and what training asks of it.

    Values that tasks return may be lost with their worker; Dask computes them again.
    What it cannot compute again are values sent from here: then the call is repeated.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client):
        self.client = client
        self._started = WeakSet()  # futures

    def start(self, name, function, items, *args):
        """Call ``function(item, *args)`` on each item; return the futures.

        Parameters
        ----------
        name : str
            Of the tasks, on the dashboard.
        function : callable
            Importable on the workers.
        items : list
            Futures, or other values.
        *args
            Plain values or futures.
        """
        run = uuid4().hex
        calls = [
            self.client.submit(
                function, item, *args, key=f"skreg-{name}-{run}-{k}", pure=False
            )
            for k, item in enumerate(items)
        ]
        self._started.update(calls)
        return calls

    def compute(self, values):
        """Compute lazy values; return the futures."""
        calls = self.client.compute(values)
        self._started.update(calls)
        return calls

    def map(self, name, function, items, *args):
        """Call ``function(item, *args)`` on each item; return the results in order.

        Raises
        ------
        ClusterError
            If scheduler or workers are lost for good.
        Exception
            Of the first task that has failed.
        """
        with self.ending():
            for _ in range(_MOST_TRIES):
                self.check()
                try:
                    sent = [self.send(arg) for arg in args]
                    calls = self.start(name, function, items, *sent)
                    return self._result(self.client.gather(calls, asynchronous=True))
                except CancelledError as error:  # an argument is lost, or the scheduler
                    clear_frames(error.__traceback__)  # which would keep futures
            self.check()
            raise ClusterError(
                f"Tasks of the cluster were cancelled {_MOST_TRIES} times in a row: "
                "another client restarts it, or its workers keep dying."
            )

    @contextmanager
    def ending(self):
        """Context that names deaths, and with an error lets go of all futures.

        A traceback would keep them, and with them tasks that have failed, which another
        fit of the same data would find in place of trying again.
        """
        try:
            yield
        except Exception as error:  # no interrupt, which ends a fit in order
            if self.client.status == "running":
                self.client.cancel(list(self._started))
            if isinstance(error, distributed.KilledWorker):
                raise ClusterError(
                    "The workers of the cluster died again and again in the same task, "
                    "mostly for want of memory. Use smaller blocks, or workers with "
                    f"more memory. Dask says: {error}"
                ) from error
            raise

    def wait(self, calls):
        """Wait until all futures are done; raise the error of one that has failed.

        Raises
        ------
        ClusterError
            If the scheduler, or all workers, are lost for good.
        """
        watch = Watch(self)
        while True:
            try:
                with self.client.as_current():
                    done = distributed.wait(calls, timeout=_POLL).done
                break
            except TimeoutError:
                watch.look()
        for call in done:
            if call.status == "error":
                call.result()

    def _result(self, coroutine):
        """Result of a coroutine of the client, which Dask would wait for without end.

        Raises
        ------
        ClusterError
            If the scheduler, or all workers, are lost for good.
        """
        loop, watch = self.client.loop.asyncio_loop, Watch(self)
        call = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            while not futures.wait([call], _POLL).done:
                watch.look()
            return call.result()
        finally:
            call.cancel()

    def check(self):
        """Raise ClusterError unless the scheduler answers."""
        if self.client.status != "running":
            raise ClusterError(
                f"The connection to the Dask scheduler is {self.client.status}: it was "
                "stopped or restarted. Make a new client, and fit again."
            )

    def memory(self):
        """Bytes that each worker may use, by its address; infinite without a limit."""
        return {
            address: worker["memory_limit"] or np.inf
            for address, worker in self.workers().items()
        }

    def free(self):
        """Bytes of that which are not taken by the process itself: left for blocks."""
        return {
            address: (worker["memory_limit"] or np.inf) - _unmanaged(worker["metrics"])
            for address, worker in self.workers().items()
        }

    def workers(self):
        """What the scheduler knows of each worker, by its address."""
        for _ in range(_MOST_TRIES):
            info = self.client.scheduler_info(n_workers=-1)
            workers = info["workers"]
            if len(workers) == info.get("n_workers", len(workers)):
                break  # The client itself asks now and then for this without workers.
        return workers

    def send(self, value):
        """A value as an argument of tasks: large ones are sent only once."""
        if getattr(value, "nbytes", 0) < _LARGE:
            return value
        options = {"broadcast": True, "hash": False, "timeout": _patience() + 60}
        for n in range(_MOST_TRIES):
            self.check()
            try:
                sent = self.client.scatter(value, **options, asynchronous=True)
                return self._result(sent)
            except OSError as error:  # a worker died meanwhile
                last = str(error)
                time.sleep(n)  # until the scheduler has noticed
        raise ClusterError(
            f"Nothing could be sent to the workers in {_MOST_TRIES} tries: {last}"
        )


def _patience():
    """Seconds that a fit waits for workers when there are none."""
    return parse_timedelta(dask.config.get(_PATIENCE_KEY, None) or _PATIENCE)


class Watch:
    """Looks at a cluster while a call of it waits.

    Parameters
    ----------
    cluster : Cluster
    """

    def __init__(self, cluster):
        self._cluster = cluster
        self._last = self._next = time.monotonic()

    def look(self):
        """Raise ClusterError if there is no scheduler, or was no worker for long."""
        self._cluster.check()
        begin = time.monotonic()
        if begin < self._next:
            return
        workers, now = self._cluster.workers().values(), time.monotonic()
        self._next = now + 20 * (now - begin)  # the more workers, the less often
        if any(_can_work(worker) for worker in workers):
            self._last = now
        elif now - self._last > _patience():
            why = "all were lost, and none was started. Start workers"
            if workers:
                why = (
                    "those that are left are paused for want of memory. Use smaller "
                    "blocks, or workers with more memory"
                )
            raise ClusterError(
                f"No worker of the cluster has been at work for {_patience():.0f} s: "
                f"{why}, and fit again. ({_PATIENCE_KEY!r} of Dask's configuration "
                "sets that time.)"
            )


def _unmanaged(metrics):
    """Bytes of a worker's process that are no results of tasks, such as libraries."""
    managed = metrics["managed_bytes"] - metrics["spilled_bytes"]["memory"]
    return max(0, metrics["memory"] - managed)


def _can_work(worker):
    """Whether a worker takes tasks, or is busy with one."""
    busy = worker["metrics"].get("task_counts", {}).get("executing", 0)
    return worker["status"] == "running" or busy > 0
