"""Candidates of a cross-validation: networks, each with a path of lambda of its own."""

from dataclasses import dataclass
from math import isqrt

from sklearn.base import clone, is_classifier
from sklearn.model_selection import ParameterGrid

from skreg import _validation as validation
from skreg._base import BaseRegMLP
from skreg.losses import REGRESSION_LOSSES

# Parameters of a candidate that are none of its network.
_OF_SEARCH = {"adaptive", "max_features"}
# What the cross-validation has for itself.
_NOT_IN_A_GRID = {"scoring", "verbose", "warm_start", "n_jobs", "max_features"}
_FEW_ROWS = 100  # below, the largest networks of "auto" are left out
# Some of "auto" read few inputs, where there are so many, but at most so many per row:
# on 2905 inputs of 126 rows they gained nothing, for half the processor time again.
_MANY_INPUTS, _MOST_PER_ROW = 20, 10
_SELECTOR = (32,)  # hidden units of the network that selects those


@dataclass(frozen=True, eq=False)
class Point:
    """One candidate.

    Parameters
    ----------
    params : dict
        Parameters in which the network differs from those of the cross-validation, and
        ``max_features`` where it shall not read all inputs.
    network : RegMLPClassifier or RegMLPRegressor
        With these parameters; its `reg_lambda` is left to the path.
    label : str
        Short description for messages.
    """

    params: dict
    network: BaseRegMLP
    label: str


def points_of(search, network, n_rows, n_features):
    """Candidates that the `param_grid` of a cross-validation stands for.

    Parameters
    ----------
    search : RegMLPClassifierCV or RegMLPRegressorCV
        Gives `param_grid`, and its name to messages.
    network : RegMLPClassifier or RegMLPRegressor
        With the parameters of the search.
    n_rows, n_features : int
        Shape of X, for "auto".

    Returns
    -------
    list of Point

    Raises
    ------
    ValueError
        Names the parameter at fault and what is allowed.
    """
    grid = search.param_grid
    if grid is None and search.max_features is None:
        return [Point({}, network, "network")]
    if grid is None or (isinstance(grid, str) and grid == "auto"):
        # Where max_features is given, all candidates read as many inputs.
        some = 0 if search.max_features is not None else n_features
        named = portfolio(network, n_rows, some)
        if grid is None:  # a new network on the selected inputs
            named = {"l2": {"penalty": "l2"}, "l1": {"penalty": "l1"}, **named}
        return [_point(network, params, label) for label, params in named.items()]
    try:
        candidates = list(ParameterGrid(grid))
        if not candidates:
            raise ValueError("it has no candidates")
    except (TypeError, ValueError) as error:
        raise validation.parameter_error(
            search,
            "param_grid",
            "None, 'auto', a dict of parameter names and lists of values, or a list "
            f"of such dicts ({error})",
        ) from error
    for params in candidates:
        validation.check_parameter_names(search, params)
        wrong = sorted(_NOT_IN_A_GRID & set(params))
        if wrong:
            raise ValueError(
                f"The 'param_grid' parameter of {type(search).__name__} must hold "
                f"parameters of the network, without {', '.join(wrong)}. Got "
                f"{search.param_grid!r} instead."
            )
    return [_point(network, params) for params in candidates]


def check_losses(search, candidates):
    """Raise a ValueError where what is asked for needs other losses of candidates.

    Parameters
    ----------
    search : RegMLPClassifierCV or RegMLPRegressorCV
    candidates : list of Data
    """
    by = [
        (data.task.loss, getattr(data.point.network, "class_weight", None))
        for data in candidates
    ]
    if search.scoring == "loss" and any(one != by[0] for one in by):
        raise validation.parameter_error(
            search,
            "scoring",
            "another than 'loss' to compare candidates that differ in 'loss', "
            "'quantile' or 'class_weight'",
        )
    losses = {loss.name for loss, _ in by}
    is_least = losses <= {"squared_error", "log_loss"}
    if search.refit == "stack" and not (is_least and len(losses) == 1):
        raise validation.parameter_error(
            search,
            "refit",
            "True, False or 'folds' with losses other than squared error and log-loss",
        )


def of_network(params):
    """Those parameters of a candidate that are its network's."""
    return {name: v for name, v in params.items() if name not in _OF_SEARCH}


def _point(network, params, label=None):
    candidate = clone(network).set_params(**of_network(params))
    validation.check_parameters(candidate)
    words = ", ".join(f"{name}={value!r}" for name, value in params.items())
    return Point(dict(params), candidate, label or words or "network")


def selector_of(network):
    """The small network by which "auto" selects inputs."""
    return clone(network).set_params(hidden_layer_sizes=_SELECTOR)


def portfolio(network, n_rows, n_features):
    """Candidates of ``param_grid="auto"``: dictionaries of parameters, by a name.

    The order breaks ties. The figures behind the choice are in the user guide.
    """
    is_smooth = is_classifier(network) or REGRESSION_LOSSES[network.loss].is_smooth
    stochastic = {
        "solver": "adam",
        "batch_size": max(1, min(32, n_rows // 2)),
        "learning_rate_init": 3e-3,
        "max_iter": 60,
        "n_iter_no_change": 60,
        "ema": 0.8,
    }
    # The exact solver needs a smooth loss.
    exact = {"solver": "lbfgs", "max_iter": 300, "ema": 0.0}
    exact = exact if is_smooth else stochastic
    wide = {"hidden_layer_sizes": (64, 64), "penalty": "l1", **stochastic}
    hidden = (32,) if is_classifier(network) else (16,)
    small = {"hidden_layer_sizes": hidden, "activation": "tanh", "penalty": "l2"}
    points = {
        "l1-silu": {"activation": "silu", **wide},
        "l1-relu": {"activation": "relu", **wide},
        "l2-tanh": {**small, **exact},
        "l2-linear": {"hidden_layer_sizes": (), "penalty": "l2", **exact},
        "l1-linear": {"hidden_layer_sizes": (), "penalty": "l1", **exact},
    }
    if n_rows < _FEW_ROWS:
        del points["l1-silu"], points["l1-relu"]
    elif max(_MANY_INPUTS, isqrt(n_rows)) <= n_features <= _MOST_PER_ROW * n_rows:
        few = min(isqrt(n_rows), n_features // 2)
        points["l1-silu-few"] = {**points["l1-silu"], "max_features": few}
        points["l1-silu-fewer"] = {**points["l1-silu"], "max_features": few // 2}
    return points
