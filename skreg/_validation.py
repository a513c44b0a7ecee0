"""Checks of parameters.

Every message names the parameter, its value and what is allowed.
"""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from itertools import pairwise
from typing import ParamSpec

import numpy as np
from sklearn import utils
from sklearn.metrics import check_scoring

from skreg._coordinates import common_log
from skreg._engines._device import DEVICES, PRECISIONS, is_device_name
from skreg._network import ACTIVATIONS
from skreg._numbers import as_float, is_boolean, is_integer, seeded
from skreg._penalty import check_methods
from skreg._solvers._decay import DECAY_MODES, SOLVERS
from skreg._solvers._schedules import SCHEDULES
from skreg._warnings import warn
from skreg.losses import REGRESSION_LOSSES
from skreg.penalties import GroupLasso, check_penalty, without_groups

_LARGEST_NETWORK = 2**31 - 1  # parameters; 16 GiB for each of several vectors
_MOST_LAMBDAS = 10_000
_MOST_THREADS = 1024

# Names of the strength in other libraries, and here where λ is chosen.
_OTHER_NAMES = {"alpha", "lambda", "lambda_", "C", "weight_decay", "reg_lambda"}

P = ParamSpec("P")


def _interval(low, high, closed="both"):
    """(predicate, description) of a real interval; closed: both, left or neither."""
    left = "(" if closed == "neither" else "["
    right = "]" if closed == "both" and np.isfinite(high) else ")"

    def is_allowed(value):
        number = as_float(value)  # the number that solvers see; NaN if it is none
        above = number > low if left == "(" else number >= low
        return above and (number <= high if right == "]" else number < high)

    return is_allowed, f"a float in {left}{low:g}, {high:g}{right}"


def _integer(low):
    return lambda value: is_integer(value) and value >= low, f"an int >= {low}"


def _options(options):
    return (
        lambda value: isinstance(value, str) and value in options,
        "one of " + ", ".join(repr(option) for option in options),
    )


def _either(value, shown, other):
    """(predicate, description) of one more value, of the type of `value`."""
    is_allowed, description = other

    def is_either(given):
        return (isinstance(given, type(value)) and given == value) or is_allowed(given)

    return is_either, f"{description} or {shown}"


def optional(constraint):
    """(predicate, description) that allows None as well."""
    is_allowed, description = constraint
    return lambda value: value is None or is_allowed(value), f"None or {description}"


_BOOLEAN = (is_boolean, "True or False")
_WEIGHT = _interval(0, np.inf)[0]


def _is_class_weight(value):
    """Weights of classes; for a multilabel y there may be a list with one per label."""
    if isinstance(value, list):
        return all(isinstance(part, dict) and _is_class_weight(part) for part in value)
    if isinstance(value, dict):
        return all(_WEIGHT(weight) for weight in value.values())
    return value is None or (isinstance(value, str) and value == "balanced")


COUNT = _integer(1)
EPS = _interval(0, 1, "neither")
START = (
    lambda value: isinstance(value, str) and value in ("warm", "cold"),
    "'warm' or 'cold'",
)
N_JOBS = optional(
    (
        lambda value: is_integer(value) and 0 < abs(value) <= _MOST_THREADS,
        f"an int from -{_MOST_THREADS} to {_MOST_THREADS}, not 0",
    )
)
VERBOSE = (
    lambda value: is_boolean(value) or (is_integer(value) and value >= 0),
    "a bool or an int >= 0",
)

# Each predicate looks at the type before the value.
_CONSTRAINTS = {
    "activation": _options(ACTIVATIONS),
    "l1_ratio": _interval(0, 1),
    "decay_mode": _options(DECAY_MODES),
    "penalize_intercepts": _BOOLEAN,
    "loss": _options(tuple(REGRESSION_LOSSES)),
    "quantile": _interval(0, 1),
    "class_weight": (
        _is_class_weight,
        "None, 'balanced', a dict of finite weights >= 0, or a list of such dicts",
    ),
    "solver": _options(SOLVERS),
    "learning_rate": _options(SCHEDULES),
    "learning_rate_init": _interval(0, np.inf, "neither"),
    "power_t": _interval(0, np.inf),
    "momentum": _interval(0, 1, "left"),
    "nesterovs_momentum": _BOOLEAN,
    "beta_1": _interval(0, 1, "left"),
    "beta_2": _interval(0, 1, "left"),
    "rho": _interval(0, 1, "left"),
    "epsilon": _interval(0, np.inf, "neither"),
    "batch_size": _either("auto", "'auto'", COUNT),
    "max_iter": COUNT,
    "max_fun": COUNT,
    "tol": _interval(0, np.inf),
    "shuffle": _BOOLEAN,
    "early_stopping": _BOOLEAN,
    "validation_fraction": _interval(0, 1, "neither"),
    "n_iter_no_change": _either(np.inf, "np.inf", COUNT),
    "ema": _interval(0, 1, "left"),
    "scoring": (
        lambda value: value is None or isinstance(value, str) or callable(value),
        "None, 'loss', the name of a scorer or a callable",
    ),
    "warm_start": _BOOLEAN,
    "device": (is_device_name, DEVICES),
    "precision": _options(PRECISIONS),
    "verbose": VERBOSE,
    "n_jobs": N_JOBS,
}


def check_parameters(estimator):
    """Check all parameters that need nothing but their own value.

    Raises
    ------
    ValueError
        Names the parameter, its value and what is allowed.
    """
    parameters = vars(estimator)  # get_params would read the signature again
    for name, (is_allowed, description) in _CONSTRAINTS.items():
        if name in parameters and not is_allowed(parameters[name]):
            raise parameter_error(estimator, name, description)


def parameter_error(estimator, name, allowed):
    """ValueError for one parameter of an estimator."""
    return ValueError(
        f"The {name!r} parameter of {type(estimator).__name__} must be {allowed}. "
        f"Got {getattr(estimator, name)!r} instead."
    )


def check_value(name, value, constraint):
    """Raise a ValueError unless an argument of a function is allowed.

    Parameters
    ----------
    name : str
    value : object
    constraint : tuple
        (predicate, description), such as `COUNT`.
    """
    is_allowed, description = constraint
    if not is_allowed(value):
        raise ValueError(f"{name!r} must be {description}. Got {value!r}.")


def check_random_state(estimator):
    """Return a RandomState for the parameter of that name.

    NumPy's global one, to which all threads have access, only gives a seed.
    """
    try:
        if is_boolean(estimator.random_state):  # which NumPy takes for 0 or 1
            raise ValueError
        if is_integer(estimator.random_state):
            return seeded(estimator.random_state)
        rng = utils.check_random_state(estimator.random_state)
    except (ValueError, TypeError):  # of its message, given a tuple
        raise parameter_error(
            estimator, "random_state", "an int in [0, 2**32), a RandomState or None"
        ) from None
    if rng is utils.check_random_state(None):
        return np.random.RandomState(rng.randint(2**32, dtype=np.uint32))
    return rng


def check_no_average(estimator):
    """Raise a ValueError where weights are to be averaged without mini-batches."""
    if estimator.ema > 0:
        raise ValueError(
            f"ema={estimator.ema!r} averages the weights over the epochs of a "
            f"mini-batch solver, and solver={estimator.solver!r} has none. Use "
            "solver='adam', 'sgd' or 'rmsprop', or ema=0."
        )


def check_scorer(estimator):
    """Return the scorer of the `scoring` parameter; None for "loss" and None."""
    if estimator.scoring is None or estimator.scoring == "loss":
        return None
    return check_scoring(estimator, scoring=estimator.scoring)


def score_by(scorer, scoring, model, X, y, **options):
    """Call a scorer.

    Parameters
    ----------
    scorer : callable
    scoring : str or callable
        What the user has called it, for messages.
    model : fitted estimator
    X, y
        Data in the user's terms.
    **options : dict
        Further arguments, such as sample_weight.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Where the scorer fails, or returns no number; names `scoring`.
    """
    try:
        score = scorer(model, X, y, **options)
    except Exception as error:
        raise ValueError(
            f"scoring={scoring!r} failed with {type(error).__name__}: {error} "
            f"It must fit {type(model).__name__} and y."
        ) from error
    if np.ndim(score) == 0 and np.asarray(score).dtype.kind in "biuf":
        return float(score)
    raise ValueError(f"scoring={scoring!r} must return a number. Got {score!r}.")


def unknown_parameter_hint(name, parameters):
    """What to write instead of a name for λ that an estimator does not know.

    Parameters
    ----------
    name : str
        The unknown parameter.
    parameters : collection of str
        Those which the estimator has.

    Returns
    -------
    str
        A sentence, or "" where `name` stands for no strength of regularization.
    """
    if name not in _OTHER_NAMES or name in parameters:
        return ""
    if "reg_lambdas" in parameters:
        return (
            "The strength of regularization is chosen among 'reg_lambdas', an int or a "
            "grid; skreg.convert_lambda converts strengths of other libraries."
        )
    return (
        "The strength of regularization is 'reg_lambda'; skreg.convert_lambda converts "
        "strengths of other libraries."
    )


def check_parameter_names(estimator, names):
    """Raise a ValueError where a name is that of another library for λ.

    Other unknown names are left to scikit-learn's `set_params`.
    """
    parameters = estimator._get_param_names()
    for name in names:
        hint = unknown_parameter_hint(name, parameters)
        if hint:
            raise ValueError(
                f"Invalid parameter {name!r} for estimator "
                f"{type(estimator).__name__}. {hint}"
            )


def explains_unknown_names(init: Callable[P, None]) -> Callable[P, None]:
    """Let the TypeError for another library's name of λ say what to write instead.

    Parameters
    ----------
    init : callable
        An `__init__`; what is returned has its signature.

    Returns
    -------
    callable
    """

    @wraps(init)
    def __init__(*args: P.args, **kwargs: P.kwargs) -> None:
        for name in kwargs:
            if hint := unknown_parameter_hint(name, parameters):
                raise TypeError(
                    f"{init.__qualname__}() got an unexpected keyword argument "
                    f"{name!r}. {hint}"
                )
        init(*args, **kwargs)

    parameters = signature(init).parameters
    return __init__


def check_hidden_layer_sizes(estimator):
    """Hidden layer sizes as a tuple of int; an int counts as one layer."""
    sizes = estimator.hidden_layer_sizes
    if is_integer(sizes):
        sizes = (sizes,)
    elif isinstance(sizes, np.ndarray) or not isinstance(sizes, list | tuple):
        sizes = np.asarray(sizes, dtype=object).ravel().tolist()
    if not all(is_integer(size) and size >= 1 for size in sizes):
        raise parameter_error(
            estimator, "hidden_layer_sizes", "an int >= 1 or a sequence of them"
        )
    sizes = tuple(int(size) for size in sizes)
    check_network_size(estimator, (1, *sizes, 1))
    return sizes


def check_network_size(estimator, units):
    """Raise a ValueError where a network of these layers is too large to be trained.

    Parameters
    ----------
    estimator : BaseRegMLP
    units : sequence of int
        Units of each layer: inputs, hidden layers, outputs.
    """
    n_parameters = sum((before + 1) * after for before, after in pairwise(units))
    if n_parameters > _LARGEST_NETWORK:
        raise ValueError(
            f"hidden_layer_sizes={estimator.hidden_layer_sizes!r} of "
            f"{type(estimator).__name__} makes a network of more than "
            f"{_LARGEST_NETWORK} parameters, which is the most that is allowed: its "
            f"layers would have {list(units)} units."
        )


def check_reg_lambdas(reg_lambdas):
    """Return the number of λ as an int, or an array of them.

    Returns
    -------
    int or ndarray of shape (n_lambdas,) or (n_lambdas, n_layers)
        Distinct values in increasing order; a table with one column per layer as it is.

    Raises
    ------
    ValueError
        For anything but an int in [2, 10000] or a sequence, or a table, of finite
        floats >= 0.
    """
    if is_integer(reg_lambdas) and 2 <= reg_lambdas <= _MOST_LAMBDAS:
        return int(reg_lambdas)
    grid = reg_lambdas
    for name in ("tolist", "to_list"):  # of arrays and of polars
        grid = getattr(grid, name)() if hasattr(grid, name) else grid
    if isinstance(grid, list | tuple | range) and 0 < len(grid) <= _MOST_LAMBDAS:
        rows = [row.tolist() if hasattr(row, "tolist") else row for row in grid]
        if all(isinstance(row, list | tuple) and row for row in rows):
            if len(set(map(len, rows))) == 1:
                values = np.array([[as_float(value) for value in row] for row in rows])
                if ((values >= 0) & (values < np.inf)).all():
                    return values
        else:
            values = np.unique([as_float(value) for value in rows])
            if 0 <= values[0] and values[-1] < np.inf:  # NaN is last
                return values
    raise ValueError(
        f"'reg_lambdas' must be an int in [2, {_MOST_LAMBDAS}] or a sequence of up to "
        f"{_MOST_LAMBDAS} finite floats >= 0, or a table of these with one column per "
        f"layer. Got {reg_lambdas!r} instead."
    )


def check_order(who, reg_lambdas):
    """Raise a ValueError for a table where `who` needs one lambda for all layers."""
    if np.ndim(reg_lambdas) == 2:
        raise ValueError(
            f"{who} needs 'reg_lambdas' with an order: one lambda for all layers. Got "
            f"an array of shape {reg_lambdas.shape}."
        )


def check_table(problem, reg_lambdas, start):
    """Check what can be one λ per layer against a network, and warn if one would do.

    Parameters
    ----------
    problem : Problem
    reg_lambdas : int or ndarray
        From `check_reg_lambdas`; only a table is checked.
    start : {"warm", "cold"}

    Raises
    ------
    ValueError
        Where the table has not one column per layer, or starts are warm.
    """
    if np.ndim(reg_lambdas) < 2:
        return
    if start != "cold":
        raise ValueError(
            "'reg_lambdas' with one column per layer need start='cold': such strengths "
            f"have no order in which a path could go. Got start={start!r}."
        )
    n_layers, shape = problem.network.n_layers, reg_lambdas.shape
    if shape[1] != n_layers:
        raise ValueError(
            f"'reg_lambdas' must have one column per layer (here {n_layers}), or be a "
            f"sequence. Got an array of shape {shape}."
        )
    several = [lam for lam in reg_lambdas if len(set(lam)) > 1]
    if any(equivalent_lambda(problem, lam) is not None for lam in several):
        warn(
            "'reg_lambdas' differ between layers, but one λ for all of them has the "
            f"same minima: with activation={problem.network.activation!r} a network "
            "can shrink one layer and grow another without changing its predictions, "
            "so that only a product of the strengths matters. Search over one number."
        )


def check_penalties(estimator, shapes):
    """Return one penalty (or None) per layer, each validated for its matrix.

    A single penalty acts on every layer; groups and factors that it names are those of
    the inputs. Above the first layer each row (or column) is a group of its own.
    """
    penalty = estimator.penalty
    if not isinstance(penalty, list | tuple):
        first = check_penalty(penalty, estimator.l1_ratio)
        penalty = [first] + [without_groups(first)] * (len(shapes) - 1)
    if len(penalty) != len(shapes):
        raise parameter_error(
            estimator,
            "penalty",
            f"one penalty, or a sequence with one per layer (here {len(shapes)})",
        )
    penalties = tuple(check_penalty(p, estimator.l1_ratio) for p in penalty)
    for p, shape in zip(penalties, shapes):
        if p is not None:
            p.validate(shape)
            if p.form(1.0, shape) is None:  # of the user's own
                check_methods(p, shape)
    return penalties


def check_support(selected):
    """Raise a ValueError where no input is selected, by a mask, for a refit."""
    if not selected.any():
        raise ValueError(
            "No input is left: the fitted network is constant. Lower 'reg_lambda' "
            "and fit again, before a refit on the support."
        )


def warn_if_vacuous(penalties, lam):
    """Warn where input groups are penalized, but a later layer is free.

    The network then shrinks the first layer and makes up for it in the free one: the
    penalty vanishes and no input is dropped.
    """
    first = penalties[0]
    grouped = isinstance(first, GroupLasso) and first.by == "inputs" and lam[0] > 0
    free = [p is None or strength == 0 for p, strength in zip(penalties, lam)]
    if grouped and any(free[1:]):
        warn(
            f"penalty={first!r} acts on the inputs, but layer "
            f"{free.index(True, 1) + 1} is not penalized: the network can shrink its "
            "first layer and grow that one, and no input is dropped. Penalize every "
            "layer, for instance by penalty=[GroupLasso(), L2()]."
        )


def equivalent_lambda(problem, lam):
    """The one λ for all layers whose J has the same minima, or None.

    Where layers can be rescaled without changing the function; see `common_log`.

    Parameters
    ----------
    problem : Problem
    lam : ndarray of shape (n_layers,)

    Returns
    -------
    float or None
        None where layers are not alike in that way, or one has no penalty.
    """
    penalties = problem.penalties
    network = problem.network
    if not network.is_homogeneous or problem.penalize_intercepts or not all(lam > 0):
        return None
    if any(penalty is None or penalty.degree is None for penalty in penalties):
        return None
    degrees = [penalty.degree for penalty in penalties]
    return float(np.exp(common_log(np.log(lam), degrees)))


def warn_if_equivalent(estimator, problem, lam):
    """Warn where λ differs between layers, but one λ for all is the same model."""
    if len(set(lam)) == 1:
        return
    single = equivalent_lambda(problem, lam)
    if single is not None:
        warn(
            f"reg_lambda={estimator.reg_lambda!r} has the same minima as reg_lambda="
            f"{single:.3g} for every layer: with activation={estimator.activation!r} "
            "a network can shrink one layer and grow another without changing its "
            "predictions, so that only a product of the strengths matters. Search over "
            "one number."
        )


def check_reg_lambda(estimator, n_layers):
    """Return lambda per layer, an array of shape (n_layers,)."""
    lam = estimator.reg_lambda
    lam = lam.tolist() if hasattr(lam, "tolist") else lam
    values = lam if isinstance(lam, list | tuple) else [lam] * n_layers
    values = [as_float(value) for value in values]
    if not all(0 <= value < np.inf for value in values):
        raise parameter_error(
            estimator, "reg_lambda", "a finite float >= 0, or one per layer"
        )
    if len(values) != n_layers:
        raise parameter_error(
            estimator,
            "reg_lambda",
            f"a float, or a sequence with one value per layer (here {n_layers})",
        )
    return np.array(values)
