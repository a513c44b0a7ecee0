"""Which engine computes on a device: the compiled core on "cpu", torch on any other."""

import re

import numpy as np

from skreg._engines._compiled import CompiledRows
from skreg._engines._compiled import predict_raw as _predict_on_cpu

#: Operations above which a prediction is worth the way to another device.
WORTH_THE_WAY = 1e9

#: Of products where a device of torch trains.
PRECISIONS = ("exact", "tf32")

DEVICES = "'cpu', 'cuda', 'cuda:1', or 'torch:' and the name of a torch device"


def is_device_name(name):
    """Whether a name may be one of a device; that it is there is not checked."""
    return isinstance(name, str) and bool(
        re.fullmatch(r"cpu|cuda(:\d+)?|torch:.+", name)
    )


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
    ImportError
        If torch is missing.
    ValueError
        If there is no such device.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"device={device!r} needs PyTorch: pip install 'skreg[gpu]', or use "
            "device='cpu'."
        ) from error
    name = device.removeprefix("torch:")
    try:
        found = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"device={device!r} is no device of torch. Use {DEVICES}."
        ) from error
    if found.type == "mps":
        raise ValueError(
            f"device={device!r}: sums of losses need float64, which mps has not. Use "
            "device='cpu'."
        )
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r} needs a GPU, and torch {torch.__version__} sees none. "
            "Use device='cpu', or install a driver and a build of torch for CUDA."
        )
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={device!r}: torch sees {torch.cuda.device_count()} GPU(s), "
            "counted from 0."
        )
    return found


def data_term(
    device,
    X,
    targets,
    weights,
    loss,
    n_outputs,
    dtype=np.float64,
    rows=None,
    precision="exact",
    n_jobs=1,
):
    """Return the data term over rows on a device; see `skreg._engines.DataTerm`.

    Parameters
    ----------
    device : str
        As of the estimators.
    X, targets, weights, loss, n_outputs, dtype, rows
        See `skreg._engines._compiled.CompiledRows`.
    precision : {"exact", "tf32"}, default="exact"
        See `skreg._engines._torch.TorchRows`; the compiled core is always exact.
    n_jobs : int or None, default=1
        Threads of the compiled core.
    """
    arguments = X, targets, weights, loss, n_outputs, dtype, rows
    if device == "cpu":
        return CompiledRows(*arguments, n_jobs)
    place = torch_device(device)
    from skreg._engines._torch import TorchRows

    return TorchRows(*arguments, device=place, precision=precision)


def rounds(device, precision, dtype):
    """Whether mini-batch training on a device rounds what it multiplies to 10 bits."""
    is_single = precision == "tf32" and dtype == np.float32
    return is_single and device != "cpu" and torch_device(device).type == "cuda"


def predictor(device, network, X, n_jobs=1):
    """Return a function of parameters: raw predictions at X, of (n, n_outputs).

    They are computed on the device where that pays. Where it is missing, as may be when
    a network is loaded elsewhere, the processor computes them: they are the same up to
    rounding.

    Parameters
    ----------
    device : str
    network : Network
    X : C-ordered ndarray of shape (n, n_inputs), or CSR
        Of at most the precision of the parameters.
    n_jobs : int or None, default=1
        Threads of the compiled core.
    """
    if device != "cpu" and 2.0 * network.n_weights * X.shape[0] >= WORTH_THE_WAY:
        try:
            place = torch_device(device)
        except (ImportError, ValueError):
            pass
        else:
            from skreg._engines._torch import predictor as predictor_there

            return predictor_there(network, X, place)
    return lambda theta: _predict_on_cpu(network, theta, X, n_jobs)
