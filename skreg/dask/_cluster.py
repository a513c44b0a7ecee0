"""Calls of a cluster: tasks with readable names, and faults with a clear end."""

from uuid import uuid4

import distributed
import numpy as np
from distributed.client import FutureCancelledError

# Parameters of more bytes are sent to the workers once, not with each task.
_LARGE = 100_000
_MOST_TRIES = 5


class ClusterError(RuntimeError):
    """The cluster can not go on with a fit."""


class Cluster:
    """A client, and what training asks of it.

    Values that tasks return may be lost with their worker; Dask computes them again.
    What it can not compute again are values sent from here: then the call is repeated.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client):
        self.client = client

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
        return [
            self.client.submit(
                function, item, *args, key=f"skreg-{name}-{run}-{k}", pure=False
            )
            for k, item in enumerate(items)
        ]

    def map(self, name, function, items, *args):
        """The same, but return the results, in the order of the items.

        Raises
        ------
        ClusterError
            If scheduler or workers are lost for good.
        Exception
            Of the first task that has failed.
        """
        for _ in range(_MOST_TRIES):
            self.check()
            try:
                sent = [self.send(arg) for arg in args]
                return self.client.gather(self.start(name, function, items, *sent))
            except FutureCancelledError:  # an argument is lost, or the scheduler
                continue
            except distributed.KilledWorker as error:
                raise ClusterError(
                    "The workers of the cluster died again and again in the same task, "
                    "mostly for want of memory. Use smaller blocks, or workers with "
                    f"more memory. Dask says: {error}"
                ) from error
        self.check()
        raise ClusterError(
            f"Tasks of the cluster were cancelled {_MOST_TRIES} times in a row: "
            "another client restarts it, or its workers keep dying."
        )

    def check(self):
        """Raise ClusterError unless the scheduler answers."""
        if self.client.status != "running":
            raise ClusterError(
                f"The connection to the Dask scheduler is {self.client.status}: it was "
                "stopped or restarted. Make a new client, and fit again."
            )

    def memory(self):
        """Bytes that each worker may use, by its address; infinite without a limit."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        return {
            address: worker["memory_limit"] or np.inf
            for address, worker in workers.items()
        }

    def send(self, value):
        """A value as an argument of tasks: large ones are sent only once."""
        if getattr(value, "nbytes", 0) < _LARGE:
            return value
        return self.client.scatter(value, broadcast=True, hash=False)
