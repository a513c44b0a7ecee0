"""Fitted attributes of a cross-validation, from the choice that it has made."""

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skreg._cv._choice import mean_of_folds, out_of_fold, path_of
from skreg._judgement import warn_of_verdicts
from skreg._numbers import strength_text
from skreg._validation import check_penalties
from skreg._warnings import warn

_MANY_INPUTS, _NEARLY_ALL = 20, 0.8


def outcome_of(choice, plan):
    """Fitted attributes of a choice, with warnings of what its user may not see.

    Parameters
    ----------
    choice : Choice
    plan : Plan

    Returns
    -------
    dict
        Attributes by name.
    ndarray of int, shape (2,)
        Fits that ended at a limit or diverged, and all fits.
    """
    attributes, count, verdicts = _attributes_of(choice), choice.count, choice.verdicts
    if plan.refit:
        attributes |= _networks_of(choice, plan)
        count = count + attributes.pop("path_count", 0)
        if "path_verdict" in attributes:
            verdicts = [attributes.pop("path_verdict")]
    if attributes.get("fitted_", choice).is_constant:
        _warn_of_a_constant(choice, plan.selection)
    elif any(verdicts):
        _warn_of_the_choice(choice, verdicts)
    elif plan.exponents == (0.0,) and choice.best.data.inputs is None:
        _warn_of_no_selection(choice)
    return attributes, count


def _attributes_of(choice):
    """Fitted attributes that need no network."""
    best, index = choice.best, choice.index
    table, row = choice.table()
    return {
        "best_params_": choice.params,
        "reg_lambda_": choice.reg_lambda,
        "best_score_": float(best.mean[index]),
        "best_index_": row,
        "cv_results_": table,
        "reg_lambdas_": best.reg_lambdas,
        "scores_": best.of_folds("test"),
        "train_scores_": best.of_folds("train"),
        "mean_scores_": best.mean,
        "std_errors_": best.std_error,
    } | ({} if choice.race is None else {"race_": choice.race})


def _networks_of(choice, plan):
    """Fitted attributes that hold networks, and what they predict out of fold.

    "path_count" and "path_verdict" are for warnings, of the path on all rows.
    """
    if plan.is_loo:
        return _networks_of_loo(choice, plan)
    data, folds = choice.best.data, mean_of_folds(choice, plan)
    attributes = {"folds_": folds, "fitted_": folds}
    if plan.fits_all_rows:
        path, fitted, attributes["path_verdict"] = path_of(choice, plan)
        attributes["fitted_"] = data.restored(fitted)
        attributes["path_"] = path.public(data)
        attributes["path_count"] = path.count
    raws = out_of_fold(folds, data, plan.splits)
    attributes["oof_predictions_"] = _by_row(data, plan.splits, raws)
    if data.task.classes is None:
        attributes |= _residuals(data, plan.splits, raws)
    return attributes


def _networks_of_loo(choice, plan):
    data, (path, fitted, verdict) = choice.best.data, path_of(choice, plan)
    every = np.arange(len(data.rows.y))
    raw = np.array([fold.left_out[choice.index] for fold in choice.best.folds])
    return {
        "fitted_": data.restored(fitted),
        "path_": path.public(data),
        "path_verdict": verdict,
        "oof_predictions_": _by_row(data, [(every, every)], [raw]),
    }


def _warn_of_the_choice(choice, verdicts):
    """Warn where the networks of the choice, one or those of the folds, are worse."""
    lam = strength_text(choice.reg_lambda)
    network = choice.best.data.point.network
    warn_of_verdicts(verdicts, f"of the choice, reg_lambda={lam},", network)


def _warn_of_a_constant(choice, selection):
    lam = strength_text(choice.reg_lambda)
    by = " by a standard error" if selection == "1se" else ""
    warn(
        f"The choice, reg_lambda={lam}, predicts a constant: "
        f"networks that use X do not score better{by}. Pass smaller 'reg_lambdas', or "
        "another 'selection' or 'scoring', unless X tells nothing of y.",
        ConvergenceWarning,
    )


def _warn_of_no_selection(choice):
    """Warn where a group lasso on inputs keeps nearly all until it keeps none.

    Where many inputs fit the noise together, dense networks have the lower objective at
    every lambda, so that no path can find the few inputs that matter.
    """
    best = choice.best
    shapes = [W.shape for W in best.networks(choice.index)[0].coefs]
    n_inputs = shapes[0][0]
    penalty = check_penalties(best.data.point.network, shapes)[0]
    form = None if penalty is None else penalty.form(1.0, shapes[0])
    selects = form is not None and form.groups is not None and form.groups.axis == 0
    if best.ratio is None or n_inputs < _MANY_INPUTS or not selects:
        return
    sizes = [n for k, n in enumerate(best.n_features) if not best.is_null(k)]
    if sizes and min(sizes) >= _NEARLY_ALL * n_inputs:
        warn(
            f"penalty={penalty!r} removes hardly any input: on all of its grid, "
            f"networks keep {min(sizes):.0f} of {n_inputs} inputs or more, or are "
            "constant. To keep few, pass max_features=k or adaptive=1.0."
        )


def _residuals(data, splits, raws):
    """Absolute out-of-fold residuals of rows that have weight, and their folds."""
    rows, residuals, folds = data.user, [], []
    for k, ((_, test), raw) in enumerate(zip(splits, raws)):
        error = np.abs(rows.targets[test] - data.task.loss.predict(raw))
        s = rows.sample_weight
        error = error if s is None else error[s[test] > 0]
        residuals.append(error)
        folds.append(np.full(len(error), k))
    return {
        "oof_residuals_": np.concatenate(residuals),
        "oof_folds_": np.concatenate(folds),
    }


def _by_row(data, splits, raws):
    """Mean prediction of each row out of fold; NaN for rows that no fold holds out."""
    task, n_rows = data.task, len(data.user.y)
    predict = task.loss.predict if task.classes is None else task.probabilities
    total, count = 0.0, np.zeros(n_rows)
    for (_, test), raw in zip(splits, raws):
        predicted = predict(raw)
        part = np.zeros((n_rows, predicted.shape[1]))
        np.add.at(part, test, predicted)
        total = total + part
        count += np.bincount(test, minlength=n_rows)
    with np.errstate(invalid="ignore"):
        mean = total / count[:, None]
    return mean[:, 0] if task.classes is None and mean.shape[1] == 1 else mean
