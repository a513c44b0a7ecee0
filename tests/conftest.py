"""Small data sets, and clusters, that several test modules share."""

import os
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
from sklearn.datasets import (
    make_classification,
    make_multilabel_classification,
    make_regression,
)
from sklearn.preprocessing import scale

# Read when triton is first imported: without a GPU its kernels are interpreted.
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture
def binary():
    """60 samples of the classes "no" and "yes", which the first 2 of 4 inputs tell."""
    X, y = make_classification(60, 4, shuffle=False, class_sep=2.0, random_state=0)
    return scale(X), np.array(["no", "yes"])[y]


@pytest.fixture
def multiclass():
    """60 samples of the classes 2, 5 and 7."""
    X, y = make_classification(
        60,
        5,
        n_informative=3,
        n_redundant=0,
        n_classes=3,
        class_sep=2.0,
        random_state=0,
    )
    return scale(X), np.array([2, 5, 7])[y]


@pytest.fixture
def multilabel():
    """60 samples with 3 labels each."""
    X, y = make_multilabel_classification(60, 4, n_classes=3, random_state=0)
    return scale(X), y


@pytest.fixture
def regression():
    """60 samples with a target of mean 0 and variance 1."""
    X, y = make_regression(60, 4, noise=1.0, random_state=0)
    return X, scale(y)


@pytest.fixture
def multioutput():
    """60 samples with 3 targets."""
    X, y = make_regression(60, 4, n_targets=3, noise=1.0, random_state=0)
    return X, scale(y)


@contextmanager
def _two_workers():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=":0",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client():
    """Client of two worker processes."""
    with _two_workers() as client:
        yield client


@pytest.fixture
def mortal_client():
    """One whose workers a test may kill: not all of them come back in time."""
    with _two_workers() as client:
        yield client
