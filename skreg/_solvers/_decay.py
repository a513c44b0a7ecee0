"""Where a penalty acts: which of the three slots of an update it fills.

| slot      | per step                                                  |
|-----------|-----------------------------------------------------------|
| coupled   | added to the gradient, before the optimizer's statistics  |
| decoupled | shrinks the weights, outside the statistics               |
| proximal  | prox after the move, in the optimizer's metric            |
"""

from skreg._optimizers import METHODS

# Those with heavy momentum are "sgd" for users.
STOCHASTIC_SOLVERS = tuple(name for name, row in METHODS.items() if not row.is_heavy)
SOLVERS = (*STOCHASTIC_SOLVERS, "lbfgs")
DECAY_MODES = ("auto", "coupled", "decoupled", "proximal")


def resolve_decay_mode(decay_mode, penalty, solver):
    """Return the mode in which `penalty` acts under `solver`.

    Parameters
    ----------
    decay_mode : {"auto", "coupled", "decoupled", "proximal"}
        "auto" takes the mode in which lambda has its canonical meaning: coupled for
        smooth penalties, proximal for nonsmooth ones.
    penalty : Penalty or None
    solver : {"sgd", "rmsprop", "adam", "lbfgs"}

    Returns
    -------
    {"coupled", "decoupled", "proximal"}

    Raises
    ------
    ValueError
        If the combination has no meaning; the message names the parameters and the
        alternatives.
    """
    if penalty is None:
        if decay_mode == "decoupled" and solver == "lbfgs":
            raise _no_meaning(decay_mode, penalty, solver, _LBFGS_DECOUPLED)
        return "coupled" if decay_mode == "auto" else decay_mode
    if decay_mode == "auto":
        decay_mode = "coupled" if penalty.is_smooth else "proximal"
    if solver == "lbfgs":
        if decay_mode == "decoupled":
            raise _no_meaning(decay_mode, penalty, solver, _LBFGS_DECOUPLED)
        if decay_mode == "coupled" and not penalty.is_smooth:
            raise _no_meaning(
                decay_mode,
                penalty,
                solver,
                "a penalty with a kink has no gradient there. Use decay_mode='proximal'"
                " or 'auto', or a stochastic solver.",
            )
    if decay_mode == "coupled" and not penalty.has_gradient:
        raise _no_meaning(
            decay_mode,
            penalty,
            solver,
            "this penalty has no gradient. Use decay_mode='proximal' or 'auto'.",
        )
    if decay_mode == "decoupled" and not penalty.has_shrink:
        raise _no_meaning(
            decay_mode,
            penalty,
            solver,
            "this penalty has no decoupled shrink. Use decay_mode='proximal', 'coupled'"
            " or 'auto'.",
        )
    is_adaptive = solver in METHODS and METHODS[solver].is_adaptive
    if decay_mode == "proximal" and is_adaptive and not penalty.has_metric_prox:
        raise _no_meaning(
            decay_mode,
            penalty,
            solver,
            "this penalty has no prox in a diagonal metric. Use solver='sgd' or "
            "'lbfgs', or another decay_mode.",
        )
    return decay_mode


_LBFGS_DECOUPLED = (
    "a line search minimizes the objective, of which decoupled decay is no part. Use "
    "decay_mode='auto', or one of solver='sgd', 'rmsprop', 'adam'."
)


def _no_meaning(decay_mode, penalty, solver, why):
    return ValueError(
        f"decay_mode={decay_mode!r} has no meaning for penalty={penalty!r} with "
        f"solver={solver!r}: {why}"
    )
