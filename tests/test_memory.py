"""Training and predicting read a large X where it lies, without a copy.

X is a memory map of 200 MB. Its pages belong to the file; what counts is anonymous
memory, measured in a process of its own: arrays of NumPy by tracemalloc, and all of it
by the kernel's RssAnon where there is one (Linux).
"""

import json
import subprocess
import sys

import numpy as np
import pytest

N_ROWS, N_INPUTS = 50_000, 1_000
LIMIT_MB = 50

SCRIPT = """
import json, sys, threading, tracemalloc, warnings
import numpy as np
from skreg import RegMLPClassifier

warnings.simplefilter("ignore")  # one epoch does not converge


def anonymous():
    try:
        with open("/proc/self/status") as status:
            lines = [line.split() for line in status if line.startswith("RssAnon")]
        return int(lines[0][1]) / 1024
    except (OSError, IndexError):
        return float("nan")


def growth(work):
    start, peak, stop = anonymous(), [], threading.Event()

    def watch():
        while not stop.wait(0.002):
            peak.append(anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    work()
    numpy = (tracemalloc.get_traced_memory()[1] - before) / 2**20
    stop.set()
    watcher.join()
    return {"numpy": numpy, "anonymous": max(peak, default=start) - start}


X = np.load(sys.argv[1], mmap_mode="r")
y = np.arange(len(X)) % 3
model = RegMLPClassifier((8,), max_iter=1, random_state=0)
stopped_early = RegMLPClassifier((8,), max_iter=1, random_state=0, early_stopping=True)
exact = RegMLPClassifier((8,), max_iter=3, random_state=0, solver="lbfgs")
for each in (model, stopped_early, exact):
    each.fit(X[:300].copy(), y[:300]).predict(X[:300])  # what is loaded once
tracemalloc.start()
report = {
    "fit": growth(lambda: model.fit(X, y)),
    "predict": growth(lambda: model.predict(X)),
    "fit with early stopping": growth(lambda: stopped_early.fit(X, y)),
    "fit on full batches": growth(lambda: exact.fit(X, y)),
    "fit of a copy": growth(lambda: model.fit(X + 0, y)),
}
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Growth in MB of the memory during each call, over what it was before."""
    path = tmp_path_factory.mktemp("memory") / "X.npy"
    block = np.random.default_rng(0).normal(size=(1000, N_INPUTS)).astype(np.float32)
    X = np.lib.format.open_memmap(path, "w+", np.float32, (N_ROWS, N_INPUTS))
    for start in range(0, N_ROWS, 1000):
        X[start : start + 1000] = block + start / N_ROWS  # no two rows are equal
    assert X.nbytes == 200_000_000
    del X
    command = [sys.executable, "-c", SCRIPT, str(path)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    path.unlink()
    return json.loads(run.stdout)


# Early stopping takes out the rows of its validation set, a tenth of X; the solver on
# full batches takes blocks of rows to float64.
LIMITS = {
    "fit": 10,
    "predict": 10,
    "fit with early stopping": 35,
    "fit on full batches": 40,
}


@pytest.mark.slow
@pytest.mark.parametrize(("call", "limit"), LIMITS.items())
def test_a_memory_map_is_not_copied(report, call, limit):
    assert report[call]["numpy"] < limit < LIMIT_MB


@pytest.mark.parametrize("call", LIMITS)
def test_anonymous_memory_stays_small(report, call):
    if np.isnan(report[call]["anonymous"]):
        pytest.skip("this system does not tell anonymous memory apart")
    assert report[call]["anonymous"] < LIMIT_MB


def test_the_measurement_sees_a_copy(report):
    assert report["fit of a copy"]["numpy"] > 180
    assert not report["fit of a copy"]["anonymous"] < 180
