"""Arrays of other libraries, such as tensors: NumPy inside, theirs outside."""

import numpy as np
from sklearn import get_config


def _is_tensor(values):
    bases = ((c.__module__, c.__name__) for c in type(values).__mro__)
    return ("torch", "Tensor") in bases


def _is_foreign(values):
    """Whether this is an array of the array API standard, or a tensor, not NumPy's."""
    if isinstance(values, np.ndarray | np.generic):
        return False
    return hasattr(type(values), "__array_namespace__") or _is_tensor(values)


def as_numpy(values, name="X"):
    """Return an array of another library as one of NumPy; all else as it is.

    Tensors may lie on any device, and are detached from their gradients.

    Raises
    ------
    TypeError
        If NumPy has no such array, as of bfloat16.
    """
    if not _is_foreign(values):
        return values
    try:
        if _is_tensor(values):
            return values.detach().cpu().numpy()
        if hasattr(values, "get"):  # CuPy, which does not convert without being told
            return values.get()
        return np.asarray(values)
    except (TypeError, RuntimeError, BufferError) as error:
        raise TypeError(
            f"{name}, a {type(values).__name__} of {values.dtype}, cannot be an array "
            f"of NumPy: {error} Pass it as float32 or float64, dense."
        ) from error


def like(values, result):
    """Return a result in the library, and on the device, of the input.

    With ``sklearn.set_config(array_api_dispatch=True)``, and as an array of NumPy
    without it, or if it holds no numbers.

    Parameters
    ----------
    values : array-like
        Input, of any library.
    result : ndarray
    """
    is_wanted = get_config()["array_api_dispatch"] and _is_foreign(values)
    if not is_wanted or result.dtype.kind not in "biuf":
        return result
    if _is_tensor(values):
        import torch

        return torch.tensor(result, device=values.device)
    xp = values.__array_namespace__()
    if hasattr(values, "get"):  # CuPy, where a device is a context
        with values.device:
            return xp.asarray(result)
    return xp.asarray(result, device=values.device)
