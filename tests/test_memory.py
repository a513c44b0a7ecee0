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

path, n_rows, options = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
warnings.simplefilter("ignore")  # one epoch does not converge


def anonymous():
    with open("/proc/self/status") as status:
        lines = [line.split() for line in status if line.startswith("RssAnon")]
    return int(lines[0][1]) / 1024


def watch(peak, stop):
    while not stop.wait(0.002):
        peak.append(anonymous())


def growth(work):
    tracemalloc.reset_peak()
    before, peak, stop = tracemalloc.get_traced_memory()[0], [], threading.Event()
    watcher = threading.Thread(target=watch, args=(peak, stop))
    has_rss = True
    try:
        start = anonymous()
        watcher.start()
    except (OSError, IndexError):
        has_rss = False
    work()
    stop.set()
    if has_rss:
        watcher.join()
    return {
        "numpy": (tracemalloc.get_traced_memory()[1] - before) / 2**20,
        "anonymous": max(peak) - start if has_rss and peak else None,
    }


X = np.load(path, mmap_mode="r")[:n_rows]
y = np.arange(len(X)) % 3
model = RegMLPClassifier((8,), max_iter=1, random_state=0, **options)
model.fit(X[:300].copy(), y[:300]).predict(X[:300])  # what is loaded once
tracemalloc.start()
report = {"fit": growth(lambda: model.fit(X, y))}
report["partial_fit"] = None
if not options.get("early_stopping"):
    report["partial_fit"] = growth(lambda: model.partial_fit(X, y))
report["predict"] = growth(lambda: model.predict(X))
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("memory") / "X.npy"
    block = np.random.default_rng(0).normal(size=(1000, N_INPUTS)).astype(np.float32)
    shape = (N_ROWS, N_INPUTS)
    X = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    for start in range(0, N_ROWS, 1000):
        X[start : start + 1000] = block + start / N_ROWS  # no two rows are equal
    X.flush()
    assert X.nbytes == 200_000_000
    del X
    yield path
    path.unlink()


def measure(path, n_rows=N_ROWS, **options):
    """Growth in MB of the memory of each method, over what it was before."""
    command = [sys.executable, "-c", SCRIPT, str(path), str(n_rows)]
    output = subprocess.run(
        [*command, json.dumps(options)], capture_output=True, text=True, check=True
    ).stdout
    return json.loads(output.splitlines()[-1])


@pytest.mark.parametrize("options", [{}, {"early_stopping": True}], ids=str)
def test_a_memory_map_is_not_copied(path, options):
    report = measure(path, **options)
    for method, growth in report.items():
        if growth is None:
            continue
        # Early stopping takes out the rows of its validation set, a tenth.
        held_out = 20 if options and method == "fit" else 0
        assert growth["numpy"] < LIMIT_MB, method
        assert growth["numpy"] < 15 + held_out, method
        if growth["anonymous"] is not None:
            assert growth["anonymous"] < LIMIT_MB, method


def test_the_measurement_sees_a_copy(path):
    # Labels that wander: float64 parameters are asked for by an integer X.
    script = SCRIPT.replace("model.fit(X, y))}", "model.fit(X + 0, y))}")
    assert script != SCRIPT
    command = [sys.executable, "-c", script, str(path), str(N_ROWS), "{}"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    growth = json.loads(run.stdout.splitlines()[-1])["fit"]
    assert growth["numpy"] > 180
    assert growth["anonymous"] is None or growth["anonymous"] > 180
