"""``python -m skreg``: what a report of a bug should say about the installation."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from skreg import __version__, _core
from skreg._threads import effective_n_threads

PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "joblib",
    "matplotlib",
    "pandas",
    "torch",
    "dask",
    "skl2onnx",
    "skops",
)


def describe():
    """Versions, processor and GPU, as pairs of strings."""
    yield "skreg", __version__
    yield "python", sys.version.replace("\n", " ")
    yield "machine", platform.platform()
    for package in PACKAGES:
        yield package, _version(package)
    yield "instruction level", f"x86-64-v{_core.instruction_level()} or the compiler's"
    yield "threads of a fit", str(effective_n_threads())
    yield "GPU", _gpu()


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _gpu():
    try:
        import torch
    except ImportError:
        return "none: PyTorch is not installed"
    if not torch.cuda.is_available():
        return "none that PyTorch can use"
    return torch.cuda.get_device_name()


if __name__ == "__main__":
    try:
        for name, value in describe():
            print(f"{name:>18}: {value}", flush=True)
    except BrokenPipeError:  # as of `| head`; nor shall the interpreter flush again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
