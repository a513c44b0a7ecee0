"""Displays: what is stored, what is drawn, and that matplotlib stays optional."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import NotFittedError

from skreg import (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPRegressor,
    RegMLPRegressorCV,
    displays,
    reg_mlp_path,
)
from skreg.displays import (
    ChoiceDisplay,
    LambdaPathDisplay,
    LambdaValidationDisplay,
    LossCurveDisplay,
    PenaltyDisplay,
    ShrinkageDisplay,
    WeightsDisplay,
)
from skreg.penalties import (
    L1,
    L2,
    MCP,
    SCAD,
    ElasticNet,
    GroupLasso,
    Penalty,
    SparseGroupLasso,
)

LAMBDAS = np.array([0.01, 0.1, 1.0])
SCORES = np.array([[0.7, 0.9, 0.6], [0.8, 0.9, 0.5]])


@pytest.fixture
def plt():
    """pyplot without a screen, and without figures left behind."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.close("all")
    yield pyplot
    pyplot.close("all")


GRID = np.array([0.001, 0.01, 0.1])


@pytest.fixture(scope="module")
def frame():
    """Inputs with names, of which the target depends on the first alone."""
    pandas = pytest.importorskip("pandas")
    X = np.random.RandomState(0).normal(size=(60, 2))
    return pandas.DataFrame(X, columns=["age", "bmi"]), X[:, 0]


def search(frame, *, is_classifier=False, **params):
    """A fitted search over GRID."""
    kind = RegMLPClassifierCV if is_classifier else RegMLPRegressorCV
    options = {"penalty": "l1", "solver": "lbfgs", "reg_lambdas": GRID, "cv": 3}
    options["max_iter"] = 5000  # how many it takes depends on rounding
    X, y = frame
    model = kind((3,), activation="tanh", random_state=0, **{**options, **params})
    return model.fit(X, y > 0 if is_classifier else y)


def one_of_each():
    """A display of each class, from arrays, and its number of panels."""
    curves = np.array([[0.9, -0.3], [0.5, 0.0], [0.0, 0.0]])
    matrices = [np.array([[0.0, 1.0], [-2.0, 0.5]]), np.array([[1.0], [0.0]])]
    functions = np.array([[[1.0, 0.0, 1.0]], [[-1.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]]])
    steps = np.array([[[1.0, 0.5, 0.0], [1.0, 0.0, 0.0], [1.0, 0.9, 0.8]]])
    choice = ("l1", "l2"), [LAMBDAS, LAMBDAS / 2], [SCORES, SCORES - 0.1], [3.0, 1.0]
    chosen = {"chosen": 0, "reg_lambda": 0.1}
    return [
        (ChoiceDisplay(*choice, **chosen), 2),
        (ChoiceDisplay(*choice, **chosen, frequencies=[1.0, 0.5]), 3),
        (LambdaPathDisplay(LAMBDAS, curves, reg_lambda=0.1), 1),
        (LambdaValidationDisplay(LAMBDAS, SCORES, SCORES + 0.1), 1),
        (LossCurveDisplay([3.0, 2.0], [0.0005, 0.6], validation=[0.1, 0.2]), 1),
        (WeightsDisplay(matrices), 2),
        (WeightsDisplay(matrices, kind="histogram"), 2),
        (WeightsDisplay(matrices[:1]), 1),
        (PenaltyDisplay([-1.0, 0.0, 1.0], *functions, ["mine"]), 3),
        (ShrinkageDisplay(steps, ["mine"]), 1),
        (ShrinkageDisplay(np.concatenate([steps, steps]), ["mine", "yours"]), 2),
    ]


def name_of(case):
    return f"{type(case[0]).__name__}-{case[1]}"


over_displays = pytest.mark.parametrize("case", one_of_each(), ids=name_of)


def lines(ax):
    """Curves by label."""
    return {line.get_label(): line for line in ax.get_lines()}


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def legends(figure):
    return [ax.get_legend() for ax in figure.axes if ax.get_legend()]


def is_image(display):
    """The color bar of an image needs no legend."""
    return getattr(display, "kind", None) == "image"


def is_within(box, figure):
    inside = figure.bbox.padded(1.0)
    return (
        inside.x0 <= box.x0 <= box.x1 <= inside.x1
        and inside.y0 <= box.y0 <= box.y1 <= inside.y1
    )


# What holds for every display --------------------------------------------------------


@over_displays
def test_arrays_alone_can_be_drawn(plt, case, tmp_path):
    display, n_panels = case
    assert display.plot() is display
    assert np.size(display.ax_) == n_panels
    panels = np.atleast_1d(display.ax_)
    assert all(ax.figure is display.figure_ for ax in panels)
    assert all(ax.get_xlabel() for ax in panels)
    assert len(legends(display.figure_)) == (not is_image(display))
    display.figure_.savefig(tmp_path / "picture.png")  # the layout succeeds


@over_displays
def test_given_axes_are_used(plt, case):
    display, n_panels = case
    figure, axes = plt.subplots(1, n_panels)
    display.plot(axes)
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]
    assert_array_equal(np.atleast_1d(display.ax_), np.atleast_1d(axes))


@over_displays
def test_one_axes_is_divided_among_the_panels(plt, case):
    display, n_panels = case
    figure, ax = plt.subplots()
    display.plot(ax)
    assert display.figure_ is figure
    assert np.size(display.ax_) == n_panels
    assert ax.axison == (n_panels == 1)


@over_displays
def test_drawing_twice_gives_two_figures(plt, case):
    display, _ = case
    first = display.plot().figure_
    assert display.plot().figure_ is not first


@over_displays
def test_the_legend_lies_outside_the_data(plt, case):
    figure = case[0].plot().figure_
    figure.canvas.draw()
    for box in (legend.get_window_extent() for legend in legends(figure)):
        assert is_within(box, figure)
        for ax in np.atleast_1d(case[0].ax_):
            assert not box.overlaps(ax.get_window_extent())


@pytest.mark.parametrize("is_divided", [False, True])
@over_displays
def test_nothing_is_cut_off_from_given_axes_without_a_layout(plt, case, is_divided):
    display, n_panels = case
    figure, axes = plt.subplots(1, 1 if is_divided else n_panels, figsize=(6, 4))
    display.plot(axes)
    figure.canvas.draw()
    assert all(is_within(box.get_window_extent(), figure) for box in legends(figure))
    assert all(is_within(ax.get_tightbbox(), figure) for ax in figure.axes)


def test_legends_keep_inside_after_tight_layout(plt):
    figure, ax = plt.subplots()
    figure.tight_layout()  # has an effect once
    LambdaValidationDisplay(LAMBDAS, SCORES).plot(ax)
    figure.canvas.draw()
    assert is_within(legends(figure)[0].get_window_extent(), figure)


def test_axes_without_a_place_in_a_grid_are_not_divided(plt):
    ax = plt.figure().add_axes((0.1, 0.1, 0.8, 0.8))
    assert LambdaValidationDisplay(LAMBDAS, SCORES).plot(ax).ax_ is ax
    with pytest.raises(ValueError, match="`ax` must be made by `subplots`, or 3 Axes"):
        PenaltyDisplay.from_penalties(ax=ax)


def test_a_wrong_number_of_axes_is_refused(plt):
    _, axes = plt.subplots(1, 2)
    with pytest.raises(ValueError, match="`ax` must be None, one Axes or 3; got 2"):
        PenaltyDisplay.from_penalties(ax=axes)


@over_displays
def test_without_matplotlib_the_error_names_the_extra(monkeypatch, case):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install skreg\[plot\]") as caught:
        case[0].plot()
    assert type(case[0]).__name__ in str(caught.value)


def test_import_and_construction_load_no_matplotlib():
    code = (
        "import sys, skreg; from skreg.displays import WeightsDisplay; "
        "WeightsDisplay([[[1.0]]]); assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", displays.__all__)
def test_docstrings_follow_numpydoc(name):
    validate = pytest.importorskip("numpydoc.validate").validate
    checks = ("GL08", "PR01", "PR02", "PR03", "PR04", "PR06", "PR07", "PR10", "SS03")
    for owner in (name, f"{name}.plot"):
        errors = validate(f"skreg.displays.{owner}")["errors"]
        assert not [error for error in errors if error[0] in checks]


over_fitted_displays = pytest.mark.parametrize(
    "display",
    [
        ChoiceDisplay,
        LambdaPathDisplay,
        LambdaValidationDisplay,
        LossCurveDisplay,
        WeightsDisplay,
    ],
)


@over_fitted_displays
@pytest.mark.parametrize("estimator", [RegMLPClassifier, RegMLPClassifierCV])
def test_estimators_must_be_fitted(display, estimator):
    with pytest.raises(NotFittedError):
        display.from_estimator(estimator())


@over_fitted_displays
def test_estimators_of_another_kind_are_refused(display):
    other = DummyRegressor().fit([[0.0], [1.0]], [0.0, 1.0])
    with pytest.raises(TypeError, match=f"{display.__name__} cannot draw .*Dummy"):
        display.from_estimator(other)
    with pytest.raises(TypeError, match="cannot draw this `estimator`, 'network'"):
        display.from_estimator("network")


# LambdaPathDisplay -------------------------------------------------------------------


def path_of_matrices():
    """For each of 3 lambdas two matrices, of shapes (2, 3) and (3, 1)."""
    rng = np.random.RandomState(0)
    return [[rng.normal(size=(2, 3)), rng.normal(size=(3, 1))] for _ in LAMBDAS]


@pytest.mark.parametrize(
    "kind, layer, curves",
    [
        ("inputs", 0, lambda W: np.sqrt((W**2).sum(axis=1))),
        ("inputs", 1, lambda W: np.abs(W[:, 0])),
        ("units", 0, lambda W: np.sqrt((W**2).sum(axis=0))),
        ("weights", 0, np.ravel),
    ],
)
def test_curves_of_a_path_are_norms_or_weights(kind, layer, curves):
    coefs = path_of_matrices()
    display = LambdaPathDisplay(LAMBDAS, coefs, kind=kind, layer=layer)
    assert_allclose(display.values, [curves(matrices[layer]) for matrices in coefs])
    alone = [matrices[layer] for matrices in coefs]
    again = LambdaPathDisplay(LAMBDAS, alone, kind=kind)
    assert_array_equal(display.values, again.values)


def test_path_is_drawn_in_the_order_of_lambda_with_the_choice_marked(plt):
    values = np.array([[0.0], [2.0], [1.0]])
    display = LambdaPathDisplay([1.0, 0.01, 0.1], values, reg_lambda=0.1, names=["w"])
    ax = display.plot().ax_
    assert_array_equal(lines(ax)["w"].get_xdata(), [0.01, 0.1, 1.0])
    assert_array_equal(lines(ax)["w"].get_ydata(), [2.0, 1.0, 0.0])
    assert_array_equal(lines(ax)["chosen λ = 0.1"].get_xdata(), [0.1, 0.1])
    assert [text.get_text() for text in ax.texts] == ["1", "1", "0"]  # nonzero curves
    assert ax.get_xscale() == "log"


def test_path_names_the_curves_that_are_largest_at_the_choice(plt):
    values = np.vstack([np.arange(9.0), np.arange(9.0)[::-1], np.zeros(9)])
    ax = LambdaPathDisplay(LAMBDAS, values, reg_lambda=0.1).plot().ax_
    expected = ["0", "1", "2", "3", "4", "5", "others (3)", "chosen λ = 0.1"]
    assert legend_texts(ax) == expected


@pytest.mark.parametrize("reg_lambda, named", [(None, ["1", "0"]), (0.1, ["0"])])
def test_path_names_no_curve_that_is_zero_there(plt, reg_lambda, named):
    values = [[1.0, 2.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    display = LambdaPathDisplay(LAMBDAS, values, reg_lambda=reg_lambda).plot()
    expected = [*named, f"others ({3 - len(named)})"]
    assert legend_texts(display.ax_)[: len(expected)] == expected
    styles = [lines(display.ax_)[name].get_linestyle() for name in named]
    assert len(set(styles)) == len(named)


def test_lambda_zero_has_a_place_on_the_axis(plt):
    ax = LambdaPathDisplay([0.0, 0.1, 1.0], np.ones((3, 1))).plot().ax_
    assert ax.get_xscale() == "symlog"
    assert -0.1 < ax.get_xlim()[0] < 0
    assert ax.get_xlim()[1] > 1.2
    ax = LambdaValidationDisplay([0.0], [1.0]).plot().ax_
    assert ax.get_xlim()[0] < 0 < ax.get_xlim()[1]


@pytest.mark.parametrize("is_classifier", [False, True])
def test_path_of_a_search_has_its_grid_choice_and_names(plt, frame, is_classifier):
    model = search(frame, is_classifier=is_classifier)
    display = LambdaPathDisplay.from_estimator(model)
    assert_array_equal(display.reg_lambdas, GRID)
    assert display.reg_lambda == model.reg_lambda_
    norms = [np.linalg.norm(first, axis=1) for first, _ in model.path_.coefs]
    assert_allclose(display.values, norms)
    assert display.names == ["age", "bmi"]
    assert "age" in legend_texts(display.ax_)
    units = LambdaPathDisplay.from_estimator(model, kind="units")
    assert units.names == ["0", "1", "2"]
    weights = LambdaPathDisplay.from_estimator(model, kind="weights")
    assert weights.names == [f"{x}→{k}" for x in ("age", "bmi") for k in range(3)]
    assert_array_equal(weights.values[0], model.path_.coefs[0][0].ravel())


@pytest.mark.parametrize("kind, layer", [("inputs", 0), ("weights", -1), ("units", 1)])
def test_path_of_networks_can_be_drawn(plt, frame, kind, layer):
    network = RegMLPRegressor((3,), penalty="l1", solver="lbfgs", random_state=0)
    path = reg_mlp_path(network, *frame, reg_lambdas=GRID)
    display = LambdaPathDisplay.from_estimator(path, kind=kind, layer=layer)
    assert_array_equal(display.reg_lambdas, path.reg_lambdas)
    again = LambdaPathDisplay(path.reg_lambdas, path.coefs, kind=kind, layer=layer)
    assert_array_equal(display.values, again.values)
    assert display.ax_.get_ylabel().endswith(f"layer {layer % 2 + 1}")
    assert not any("chosen" in text for text in legend_texts(display.ax_))


def test_path_refuses_what_does_not_fit(frame):
    layers = path_of_matrices()
    for message, reg_lambdas, coefs, options in (
        (r"`len\(coefs\)` must be one per λ; got 2", LAMBDAS, np.ones((2, 4)), {}),
        (r"`coefs\[0\]` must be a list", LAMBDAS, [[], [], []], {}),
        (r"`coefs\[0\]` must be a list", LAMBDAS, [1.0, 2.0, 3.0], {}),
        ("`reg_lambdas` must be at least one finite value", [], [], {}),
        ("`reg_lambdas` must be .* >= 0", [-1.0], [[1.0]], {}),
        (
            "`reg_lambda` must be None or >= 0; got -1",
            [1.0],
            [[1.0]],
            {"reg_lambda": -1},
        ),
        ("`kind` must be in .*'columns'", [1.0], [[1.0]], {"kind": "columns"}),
        (r"`layer` must be in \[-2, 1\]; got 2", LAMBDAS, layers, {"layer": 2}),
        (r"`len\(names\)` must be 2; got 1", LAMBDAS, layers, {"names": ["a"]}),
    ):
        with pytest.raises(ValueError, match=message):
            LambdaPathDisplay(reg_lambdas, coefs, **options)
    with pytest.raises(TypeError, match="no attribute 'path_'"):
        LambdaPathDisplay.from_estimator(search(frame, refit=False))


# LambdaValidationDisplay -------------------------------------------------------------


def test_folds_become_mean_and_standard_error():
    display = LambdaValidationDisplay(LAMBDAS, SCORES, SCORES[:1])
    assert_allclose(display.scores, [0.75, 0.9, 0.55])
    assert_allclose(display.std_error, [0.05, 0.0, 0.05], atol=1e-15)
    assert_array_equal(display.train_scores, SCORES[0])
    assert display.train_std_error is None  # one fold tells nothing of the spread


def test_best_lambda_and_its_error_bar_are_drawn(plt):
    order = [2, 0, 1]
    std_error = np.array([0.05, 0.01, 0.05])
    display = LambdaValidationDisplay(
        LAMBDAS[order],
        SCORES.mean(axis=0)[order],
        std_error=std_error[order],
        reg_lambda=1.0,
    ).plot()
    drawn = lines(display.ax_)
    assert drawn["best λ = 0.1"].get_xydata().tolist() == [[0.1, 0.9]]
    assert_allclose(drawn["best − 1 std. error"].get_ydata(), 0.89)
    assert_array_equal(drawn["chosen λ = 1"].get_xdata(), 1.0)
    (container,) = display.ax_.containers
    assert_array_equal(container.lines[0].get_xdata(), LAMBDAS)
    assert_allclose(container.lines[0].get_ydata(), [0.75, 0.9, 0.55])


def test_of_equal_scores_the_largest_lambda_is_best(plt):
    scores, std_error = [0.9, 0.9 - 1e-14, 0.5], np.array([0.01, 0.05, 0.1])
    display = LambdaValidationDisplay(LAMBDAS, scores, std_error=std_error).plot()
    drawn = lines(display.ax_)
    assert drawn["best λ = 0.1"].get_xydata()[0, 0] == 0.1
    assert_allclose(drawn["best − 1 std. error"].get_ydata(), 0.85)


@pytest.mark.parametrize("selection", ["best", "1se"])
@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("is_classifier", [False, True])
def test_scores_of_a_search_are_those_stored(
    plt, frame, is_classifier, refit, selection
):
    options = {"is_classifier": is_classifier, "refit": refit, "selection": selection}
    model = search(frame, **options)
    display = LambdaValidationDisplay.from_estimator(model)
    assert_array_equal(display.scores, model.mean_scores_)
    assert_array_equal(display.std_error, model.std_errors_)
    assert_allclose(display.train_scores, model.train_scores_.mean(axis=0))
    assert display.ax_.get_ylabel() == ("accuracy" if is_classifier else "R²")
    texts = legend_texts(display.ax_)
    assert texts[:2] == ["validation", "training"]
    assert f"chosen λ = {model.reg_lambda_:.3g}" in texts
    best = display.ax_.get_lines()
    (best,) = (line for line in best if line.get_label().startswith("best λ"))
    assert best.get_xdata()[0] == model.reg_lambda_ or selection == "1se"


def test_scores_have_the_name_of_the_scoring(plt, frame):
    model = search(frame, scoring="neg_mean_absolute_error")
    ax = LambdaValidationDisplay.from_estimator(model).ax_
    assert ax.get_ylabel() == "neg mean absolute error"


def test_validation_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="one λ for all layers"):
        LambdaValidationDisplay(np.c_[LAMBDAS, LAMBDAS], SCORES)
    with pytest.raises(ValueError, match="`reg_lambdas` must be floats"):
        LambdaValidationDisplay([1, 10**400], SCORES)
    with pytest.raises(ValueError, match="`reg_lambdas` must be floats"):
        LambdaValidationDisplay([1, object()], SCORES)
    with pytest.raises(ValueError, match=r"`scores` must have shape \(None, 3\)"):
        LambdaValidationDisplay(LAMBDAS, SCORES.T)
    with pytest.raises(ValueError, match=r"`std_error` must have shape \(3,\)"):
        LambdaValidationDisplay(LAMBDAS, SCORES, std_error=[0.1])
    with pytest.raises(ValueError, match="`scores` must be finite for at least one"):
        LambdaValidationDisplay(LAMBDAS, [np.nan] * 3)


# ChoiceDisplay -----------------------------------------------------------------------


def test_choice_of_one_point_is_that_of_the_search(plt, frame):
    model = search(frame)
    display = ChoiceDisplay.from_estimator(model)
    assert display.labels == ["network"]
    assert_array_equal(display.reg_lambdas[0], model.reg_lambdas_)
    assert_allclose(display.mean_scores[0], model.mean_scores_)
    assert_allclose(display.std_errors[0], model.std_errors_)
    assert_allclose(display.times[0], 3 * model.cv_results_["mean_fit_time"].sum())
    star = lines(display.ax_[0])[f"chosen, λ = {model.reg_lambda_:.3g}"]
    assert_allclose(star.get_xydata(), [[model.reg_lambda_, model.best_score_]])
    kept = [network.selected_features_ for network in model.estimators_]
    assert_array_equal(display.frequencies, np.mean(kept, axis=0))
    assert display.names == ["age", "bmi"]


def test_choice_without_refit_shows_no_inputs(plt, frame):
    display = ChoiceDisplay.from_estimator(search(frame, refit=False))
    assert display.frequencies is None
    assert len(display.ax_) == 2


def test_choice_of_a_grid_has_a_curve_per_candidate(plt, frame):
    model = search(frame, param_grid={"penalty": ["l1", "l2"]}, refit="folds")
    display = ChoiceDisplay.from_estimator(model)
    assert display.labels == ["penalty='l1'", "penalty='l2'"]
    assert (
        display.labels[display.chosen] == f"penalty={model.best_params_['penalty']!r}"
    )
    together = np.concatenate(display.mean_scores)
    assert_allclose(together, model.cv_results_["mean_test_score"])
    assert not display.dropped.any()


@pytest.mark.parametrize("most_rows", [5000, 50])
def test_choice_of_a_race_marks_the_dropped(plt, frame, monkeypatch, most_rows):
    """After a race on a part of the rows, the dropped have neither scores nor times."""
    monkeypatch.setattr("skreg._cv._race.MOST_ROWS", most_rows)
    X, y = frame
    rows = X, np.abs(y)  # beyond linear networks
    model = search(rows, param_grid="auto", refit="stack")
    display = ChoiceDisplay.from_estimator(model)
    assert display.labels == list(model.race_["params"])
    assert_array_equal(display.dropped, model.race_["dropped"])
    assert display.dropped.any()
    assert not display.dropped[display.chosen]
    assert display.score_name == "minus loss"
    assert_allclose(display.mean_scores[display.chosen], model.mean_scores_)
    for k in np.flatnonzero(display.dropped):
        assert f"{display.labels[k]} (dropped)" in legend_texts(display.ax_[-1])
        assert np.isnan(display.times[k]) == (most_rows < 60)
        assert np.isnan(display.std_errors[k]).all()  # of one fold


def test_choice_draws_the_inputs_that_are_selected_most_often(plt):
    choice = ["l1"], [LAMBDAS], [SCORES], [1.0]
    shares = np.arange(20) / 20
    options = {"chosen": 0, "reg_lambda": 1.0, "frequencies": shares}
    panel = ChoiceDisplay(*choice, **options).plot().ax_[2]
    drawn = [text.get_text() for text in panel.get_yticklabels()]
    assert drawn == [str(k) for k in range(19, 7, -1)]


def test_choice_refuses_what_does_not_fit():
    choice = ["l1"], [LAMBDAS], [SCORES]
    with pytest.raises(ValueError, match="`reg_lambda` must be a value of the chosen"):
        ChoiceDisplay(*choice, [1.0], chosen=0, reg_lambda=7.0)
    with pytest.raises(ValueError, match=r"`chosen` must be in \[0, 0\]; got 1"):
        ChoiceDisplay(*choice, [1.0], chosen=1, reg_lambda=0.1)
    with pytest.raises(ValueError, match="`times` must have shape"):
        ChoiceDisplay(*choice, [1.0, 2.0], chosen=0, reg_lambda=0.1)
    with pytest.raises(ValueError, match=r"`len\(scores\)` must be 1, one per cand"):
        ChoiceDisplay(["l1"], [LAMBDAS], [], [1.0], chosen=0, reg_lambda=0.1)


# LossCurveDisplay --------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "scoring, name", [(None, "accuracy"), ("loss", "loss"), ("f1_macro", "f1 macro")]
)
def test_curves_of_a_network_add_up_to_its_objective(plt, binary, scoring, name):
    network = RegMLPClassifier(
        5, early_stopping=True, scoring=scoring, max_iter=5, random_state=0
    ).fit(*binary)
    display = LossCurveDisplay.from_estimator(network)
    assert_allclose(display.objective, network.loss_curve_)
    assert_allclose(lines(display.ax_)["objective"].get_ydata(), network.loss_curve_)
    assert legend_texts(display.ax_)[-1] == f"validation {name}"
    sign = -1 if scoring == "loss" else 1
    assert_allclose(display.validation, sign * np.array(network.validation_scores_))
    # A loss shares the axis of the losses, a score has its own.
    assert len(display.figure_.axes) == (1 if scoring == "loss" else 2)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_curves_without_validation_and_penalty(plt, regression):
    network = RegMLPRegressor(5, penalty=None, max_iter=5, random_state=0)
    display = LossCurveDisplay.from_estimator(network.fit(*regression))
    assert display.validation is None
    assert display.ax_.get_yscale() == "linear"  # the penalty is 0
    assert LossCurveDisplay([1.0], [0.1]).plot().ax_.get_yscale() == "log"


def test_curves_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"`penalty` must have shape \(2,\)"):
        LossCurveDisplay([1.0, 2.0], [1.0])
    for validation in ([], [1.0, 2.0]):
        with pytest.raises(ValueError, match=r"`len\(validation\)` must be in"):
            LossCurveDisplay([1.0], [1.0], validation=validation)


# WeightsDisplay ----------------------------------------------------------------------


def image_of(ax):
    return ax.get_images()[0]


def test_exact_zeros_have_a_color_that_no_weight_has(plt):
    W = np.array([[0.0, 1e-12, -1e-12], [3.0, -3.0, 0.0]])
    display = WeightsDisplay([W]).plot()
    image = image_of(display.ax_)
    colors = image.cmap(image.norm(image.get_array()))
    gray = colors[0, 0]
    assert_array_equal(colors[1, 2], gray)
    scale = image.cmap(np.linspace(0, 1, 256))
    assert np.abs(scale - gray).sum(axis=1).min() > 0.25
    assert "33.3 % exact zeros" in display.ax_.get_title()
    assert_allclose(display.sparsity, [1 / 3])


def test_colors_mean_the_same_in_all_panels(plt):
    display = WeightsDisplay([np.full((2, 2), 0.1), np.full((2, 2), -5.0)]).plot()
    limits = [image_of(ax).get_clim() for ax in display.ax_]
    assert limits[0] == limits[1] == (-5.0, 5.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_without_a_color_are_refused(bad):
    with pytest.raises(ValueError, match="`coefs` must be finite; got"):
        WeightsDisplay([np.ones((2, 2)), [[0.0, bad]]])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_weights_of_a_network(plt, binary):
    network = RegMLPClassifier((4, 3), max_iter=2, random_state=0).fit(*binary)
    display = WeightsDisplay.from_estimator(network, names=["a", "b", "c"])
    for ax, W in zip(display.ax_, network.coefs_, strict=True):
        assert_allclose(image_of(ax).get_array(), W)
    assert [ax.get_title()[0] for ax in display.ax_] == ["a", "b", "c"]


def test_histogram_counts_nonzero_weights_and_zeros_apart(plt):
    W = np.concatenate([np.zeros(30), np.linspace(-1, 1, 20)]).reshape(10, 5)
    ax = WeightsDisplay([W], kind="histogram").plot().ax_
    nonzero, zeros = ax.containers
    assert sum(bar.get_height() for bar in nonzero) == 20
    assert [bar.get_height() for bar in zeros] == [30]


@pytest.mark.parametrize("kind", ["image", "histogram"])
def test_weights_that_are_all_zero_can_be_drawn(plt, kind):
    display = WeightsDisplay([np.zeros((2, 2))], kind=kind).plot()
    display.figure_.canvas.draw()
    assert "100.0 % exact zeros" in display.ax_.get_title()


@pytest.mark.parametrize("kind", ["image", "histogram"])
def test_few_weights_have_whole_numbers_at_the_ticks(plt, kind):
    W = np.array([[1.0], [0.0], [-2.0], [0.5]])
    ax = WeightsDisplay([W], kind=kind).plot().ax_
    ax.figure.canvas.draw()
    axis, (low, high) = (ax.xaxis, ax.get_xlim())
    if kind == "histogram":
        axis, (low, high) = (ax.yaxis, ax.get_ylim())
    ticks = axis.get_majorticklocs()
    ticks = ticks[(low <= ticks) & (ticks <= high)]
    assert len(ticks) > 0 and np.all(ticks % 1 == 0)


def test_weights_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"`kind` must be in .*; got 'bar'"):
        WeightsDisplay([np.eye(2)], kind="bar")
    with pytest.raises(ValueError, match=r"`len\(coefs\)` must be at least 1; got 0"):
        WeightsDisplay([])
    with pytest.raises(ValueError, match=r"`len\(names\)` must be 2; got 1"):
        WeightsDisplay([np.eye(2), np.eye(2)], names=["a"])


# PenaltyDisplay ----------------------------------------------------------------------


def test_functions_of_single_weights_are_the_textbook_ones(plt):
    display = PenaltyDisplay.from_penalties(["l1", "l2"], reg_lambda=2.0, step=0.5)
    w = display.weights
    assert w.min() == -8 and w.max() == 8
    assert_allclose(display.values, [2 * np.abs(w), w**2])
    assert_allclose(display.derivatives, [2 * np.sign(w), 2 * w])
    soft = np.sign(w) * np.maximum(np.abs(w) - 1, 0)
    assert_allclose(display.proxes, [soft, w / 2], atol=1e-15)
    labels = [ax.get_ylabel() for ax in display.ax_]
    assert labels == ["penalty", "derivative", "prox"]
    assert legend_texts(display.ax_[2]) == ["L1", "L2", "prox = w"]


def test_each_penalty_has_a_color_and_dashes_of_its_own(plt):
    penalties = [L1(), L2(), ElasticNet(), GroupLasso(weighted=False)]
    penalties += [SparseGroupLasso(weighted=False), MCP(), SCAD()]
    drawn = lines(PenaltyDisplay.from_penalties(penalties).ax_[0])
    curves = [drawn[type(penalty).__name__] for penalty in penalties]
    assert len({curve.get_color() for curve in curves}) == 7
    assert len({str(curve._dash_pattern) for curve in curves}) == 7


def test_other_weights_of_the_row_matter_to_groups(plt):
    group = GroupLasso(weighted=False)
    display = PenaltyDisplay.from_penalties(["l1", group], others=[1.5])
    w = display.weights
    assert_allclose(display.values[1], np.hypot(w, 1.5) - 1.5)
    assert_allclose(display.derivatives[1], w / np.hypot(w, 1.5))
    assert np.count_nonzero(display.proxes[1] == 0) == 1  # w = 0 itself
    assert np.count_nonzero(display.proxes[0] == 0) > 50


def test_penalties_of_one_class_are_told_apart_by_parameters(plt):
    display = PenaltyDisplay.from_penalties([MCP(gamma=2.0), MCP(), SCAD()])
    assert display.names == ["MCP(gamma=2.0)", "MCP()", "SCAD()"]


def test_jumps_are_no_steep_lines(plt):
    display = PenaltyDisplay.from_penalties(["l1"])
    derivative = lines(display.ax_[1])["L1"].get_ydata()
    drawn = np.diff(derivative)
    assert np.nanmax(np.abs(drawn)) == 0  # the jumps at 0 are gaps
    assert np.isnan(derivative).sum() == 2


def test_a_penalty_of_your_own_needs_no_gradient(plt):
    class Nonnegative(Penalty):
        def value(self, W, lam=1.0):
            return 0.0

        def prox(self, W, step, lam=1.0):
            return np.maximum(W, 0)

    display = PenaltyDisplay.from_penalties([Nonnegative()])
    assert np.isnan(display.derivatives).all()
    assert_array_equal(display.proxes[0], np.maximum(display.weights, 0))
    assert display.names == ["Nonnegative"]


def test_penalties_refuse_what_does_not_fit():
    rows = np.zeros((1, 5))
    with pytest.raises(ValueError, match=r"`proxes` must have shape \(1, 5\)"):
        PenaltyDisplay(np.zeros(5), rows, rows, np.zeros((2, 5)), ["mine"])
    for display in (PenaltyDisplay, ShrinkageDisplay):
        for penalties in ([None], [], "l1", L1()):
            with pytest.raises(ValueError, match="`penalties` must be a list of str"):
                display.from_penalties(penalties)
        with pytest.raises(ValueError, match="'gamma' parameter of MCP"):
            display.from_penalties([MCP(gamma=-1.0)])


@pytest.mark.parametrize("name", ["reg_lambda", "step"])
@pytest.mark.parametrize("value", [-1.0, np.nan, "1", np.ones(2), 10**400])
def test_numbers_of_penalties_are_checked(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be a finite float > 0; got"):
        PenaltyDisplay.from_penalties(**{name: value})


# ShrinkageDisplay --------------------------------------------------------------------


def test_plain_sgd_shrinks_as_the_formulas_say(plt):
    display = ShrinkageDisplay.from_penalties(["l1", "l2"])
    k = np.arange(13)
    l1, l2 = display.weights
    assert_allclose(l1, np.tile(np.maximum(5 - k / 2, 0), (3, 1)), atol=1e-15)
    assert_allclose(l2[:2], np.tile(5 * 0.5**k, (2, 1)))
    assert_allclose(l2[2], 5 * (2 / 3) ** k)
    assert_array_equal(display.zero_steps, [[10] * 3, [np.nan] * 3])
    marks = [line for line in display.ax_[0].get_lines() if line.get_marker() == "o"]
    assert [float(mark.get_xdata()[0]) for mark in marks] == [10, 10, 10]


def test_with_rate_one_l2_is_gone_in_one_step(plt):
    display = ShrinkageDisplay.from_penalties(["l2"], learning_rate=1.0)
    assert_array_equal(display.zero_steps, [[1, 1, np.nan]])


def adam_elastic_net(mode, n_steps, w=5.0, lr=0.5, l1=0.5, l2=0.5):
    """A weight without data under Adam, one step per line of the algorithm."""

    def soft(w, threshold):
        return np.sign(w) * max(abs(w) - threshold, 0.0)

    m = v = 0.0
    path = [w]
    for t in range(1, n_steps + 1):
        g = l1 * np.sign(w) + l2 * w if mode == "coupled" else 0.0
        if mode == "decoupled":
            w = soft((1 - lr * l2) * w, lr * l1)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        D = np.sqrt(v / (1 - 0.999**t)) + 1e-8
        w -= lr * m / (1 - 0.9**t) / D
        if mode == "proximal":
            w = soft(w, lr / D * l1) / (1 + lr / D * l2)
        path.append(w)
    return path


def test_steps_of_adam_are_those_of_a_naive_twin(plt):
    display = ShrinkageDisplay.from_penalties(["elasticnet"], solver="adam")
    for mode, path in zip(display.modes, display.weights[0], strict=True):
        assert_allclose(path, adam_elastic_net(mode, 12), rtol=1e-9, atol=1e-12)


def test_momentum_overshoots_where_l1_is_coupled_only(plt):
    display = ShrinkageDisplay.from_penalties(["l1"], momentum=0.9)
    coupled, decoupled, proximal = display.weights[0]
    assert coupled.min() < -1
    assert decoupled.min() == proximal.min() == 0


def test_combinations_without_meaning_are_left_out(plt):
    display = ShrinkageDisplay.from_penalties([MCP(saturation=9.0)])
    assert np.isnan(display.weights[0, 1]).all()  # no decoupled shrink
    assert np.isfinite(display.weights[0, [0, 2]]).all()
    assert display.weights[0, 2, -1] < 5


def test_a_weight_that_leaves_zero_again_is_not_there_yet():
    path = [1.0, 0.0, -1.0, 0.0, 0.0]
    display = ShrinkageDisplay([[path, [0.0] * 5, [1.0] * 5]], ["mine"])
    assert_array_equal(display.zero_steps, [[3, 0, np.nan]])
    with pytest.raises(ValueError, match=r"`weights` must have shape \(1, 3, None\)"):
        ShrinkageDisplay(np.ones((1, 2, 5)), ["mine"])


@pytest.mark.parametrize(
    "name, value",
    [
        ("weight", np.inf),
        ("weight", -(10**400)),
        ("reg_lambda", -1.0),
        ("reg_lambda", 10**400),
        ("learning_rate", -0.5),
        ("learning_rate", 10**400),
        ("learning_rate", "constant"),
        ("n_steps", -1),
        ("n_steps", 1.5),
        ("solver", "lbfgs"),
        ("momentum", 1.0),
        ("momentum", -0.1),
    ],
)
def test_parameters_of_the_steps_are_checked(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be .*; got {value!r}"):
        ShrinkageDisplay.from_penalties(**{name: value})
