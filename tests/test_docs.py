"""Documentation: examples run, and what exists is documented."""

import doctest
import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import skreg
from skreg import RegMLPClassifier, RegMLPRegressor

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.rst")) + sorted(ROOT.glob("docs/guide/*.rst"))
ESTIMATORS = [RegMLPClassifier, RegMLPRegressor]

# What both estimators promise; a task adds its own.
PARAMETERS = """
    hidden_layer_sizes activation penalty reg_lambda l1_ratio decay_mode
    penalize_intercepts solver learning_rate_init learning_rate power_t momentum
    nesterovs_momentum beta_1 beta_2 rho epsilon batch_size max_iter max_fun tol shuffle
    random_state early_stopping validation_fraction n_iter_no_change ema scoring
    warm_start verbose device precision n_jobs
""".split()
ATTRIBUTES = """
    coefs_ intercepts_ n_iter_ t_ loss_ best_loss_ loss_curve_ data_loss_curve_
    penalty_curve_ validation_scores_ best_validation_score_ decay_mode_ n_layers_
    n_outputs_ out_activation_ n_features_in_ feature_names_in_ feature_importances_
""".split()
TASK_PARAMETERS = {
    RegMLPClassifier: ["class_weight"],
    RegMLPRegressor: ["loss", "quantile"],
}
TASK_ATTRIBUTES = {RegMLPClassifier: ["classes_"], RegMLPRegressor: []}

# Checks of numpydoc: sections known and in order, parameters all there, in the order of
# the signature and with type and description, return values described.
CHECKS = set(
    "GL05 GL06 GL07 GL08 GL10 PR01 PR02 PR03 PR04 PR05 PR06 PR07 PR10 RT01 RT02 "
    "SS01 SS02 SS03 SS04 SS05".split()
)


def public_objects():
    """Dotted name and object of all that users import."""
    modules = ["skreg", "skreg.displays", "skreg.losses", "skreg.penalties"]
    if importlib.util.find_spec("skl2onnx"):
        modules.append("skreg.onnx")
    if importlib.util.find_spec("distributed"):
        modules.append("skreg.dask")
    for module in modules:
        names = importlib.import_module(module).__all__
        for name in names:
            thing = getattr(importlib.import_module(module), name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield f"{module}.{name}", thing


def public_methods(cls):
    """Methods of a class that this package defines, inherited ones included."""
    for name, method in inspect.getmembers(cls, inspect.isroutine):
        if not name.startswith("_") and method.__module__.startswith("skreg"):
            yield name, method


PUBLIC = dict(public_objects())


def section(thing, title):
    """Names that a section of a numpydoc docstring describes."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}$", inspect.getdoc(thing), flags=re.M)
    body = dict(zip(parts[1::2], parts[2::2])).get(title, "")
    heads = re.findall(r"^(\w.*?) : ", body, flags=re.M)
    return [name for head in heads for name in head.split(", ")]


# Examples ----------------------------------------------------------------------------


def n_examples(thing, name):
    """Number of examples in one docstring, which run and show what they say."""
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    tests = finder.find(thing, name, globs={})
    assert sum(runner.run(test).failed for test in tests) == 0
    return sum(len(test.examples) for test in tests)


def test_examples_of_exports_run():
    pytest.importorskip("torch")
    result = doctest.testmod(importlib.import_module("skreg._export"))
    assert result.attempted > 0
    assert result.failed == 0


def is_on_a_cluster(name):
    return name.startswith("skreg.dask.")


# Those of skreg.dask need a cluster: test_dask.py runs them.
@pytest.mark.parametrize("name", [name for name in PUBLIC if not is_on_a_cluster(name)])
def test_every_public_object_has_an_example_that_runs(name):
    if name.startswith("skreg.displays"):
        pytest.importorskip("matplotlib").use("agg")
    assert n_examples(PUBLIC[name], name) > 0


METHODS = {
    method.__qualname__: method
    for thing in PUBLIC.values()
    if inspect.isclass(thing)
    for _, method in public_methods(thing)
    if ">>>" in (method.__doc__ or "")
}


@pytest.mark.parametrize("name", METHODS)
def test_examples_of_a_method_run(name):
    assert n_examples(METHODS[name], name) > 0


def code_blocks(language):
    text = README.read_text(encoding="utf-8") if README.exists() else ""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_code_of_the_readme_runs(tmp_path, monkeypatch):
    blocks = code_blocks("python")
    if any("plot" in block or "Display" in block for block in blocks):
        pytest.importorskip("matplotlib").use("agg")
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "readme"}
    for block in blocks:  # each builds on the ones before
        exec(compile(block, README.name, "exec"), namespace)


def test_sessions_of_the_readme_show_what_is_printed():
    sessions = "\n".join(code_blocks("pycon"))
    test = doctest.DocTestParser().get_doctest(sessions, {}, "README", None, None)
    assert doctest.DocTestRunner().run(test).failed == 0


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(p, marks=[pytest.mark.slow] if p.stem == "choosing" else [])
        for p in PAGES
    ],
    ids=lambda page: page.stem,
)
def test_sessions_of_a_page_show_what_is_printed(page, tmp_path, monkeypatch):
    text = page.read_text(encoding="utf-8")
    for module in ("onnxruntime", "skl2onnx", "skops", "skrub"):
        if f"import {module}" in text or f"from {module} import" in text:
            pytest.importorskip(module)
    if "torch:cpu" in text:
        pytest.importorskip("torch")
    if "skreg.displays" in text:
        pytest.importorskip("matplotlib").use("agg")
    if "sklearn.callback" in text:
        pytest.importorskip("sklearn.callback", reason="scikit-learn below 1.9")
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    assert doctest.DocTestRunner().run(test).failed == 0


def test_links_of_the_readme_lead_to_files():
    text = README.read_text(encoding="utf-8") if README.exists() else ""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / target).exists(), target


# Docstrings --------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_parameters_are_those_promised_and_documented_in_order(estimator):
    signature = list(inspect.signature(estimator).parameters)
    assert set(signature) == {*PARAMETERS, *TASK_PARAMETERS[estimator]}
    assert section(estimator, "Parameters") == signature


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_defaults_are_those_of_the_signature(estimator):
    doc = inspect.getdoc(estimator)
    heads = re.findall(r"^(\w[\w, ]*) : .*?default=(.*)$", doc, re.M)
    documented = {}
    for names, defaults in heads:
        names = names.split(", ")
        values = [defaults] if len(names) == 1 else defaults.split(", ")
        documented.update(zip(names, map(eval, values), strict=True))
    parameters = inspect.signature(estimator).parameters.values()
    assert documented == {p.name: p.default for p in parameters}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_fitted_attributes_are_those_promised_and_documented(estimator):
    promised = {*ATTRIBUTES, *TASK_ATTRIBUTES[estimator]}
    assert promised <= set(section(estimator, "Attributes"))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("sizes", [(), (3,)])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_fitted_and_documented_attributes_are_the_same(
    estimator, early_stopping, sizes
):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    X = pandas.DataFrame(rng.normal(size=(30, 2)), columns=["a", "b"])
    y = rng.integers(2, size=30)
    model = estimator(sizes, max_iter=2, early_stopping=early_stopping).fit(X, y)
    fitted = {
        name
        for name in dir(model)
        if name.endswith("_") and not name.startswith("_") and hasattr(model, name)
    }
    linear = {"coef_", "intercept_"} if sizes else set()
    assert fitted | linear == set(section(estimator, "Attributes"))
    assert not fitted & linear


def methods():
    for name, thing in PUBLIC.items():
        if inspect.isclass(thing):
            for method, _ in public_methods(thing):
                yield f"{name}.{method}"


@pytest.mark.parametrize("name", list(methods()))
def test_every_public_method_has_a_docstring(name):
    owner, _, method = name.rpartition(".")
    assert inspect.getdoc(getattr(PUBLIC[owner], method))


def fully_documented():
    """Estimators with all their methods, functions, and classes.

    Penalties describe their methods once, in the base class, and a Loss is a dataclass
    that describes its fields as attributes.
    """
    for name, thing in PUBLIC.items():
        if thing is not skreg.losses.Loss:
            yield name
        if thing in ESTIMATORS:
            yield from (f"{name}.{method}" for method, _ in public_methods(thing))


@pytest.mark.parametrize("name", list(fully_documented()))
def test_docstrings_follow_numpydoc(name):
    validate = pytest.importorskip("numpydoc.validate").validate
    # The estimators of skreg.dask describe client, and refer to the local ones.
    checks = CHECKS - {"PR01", "PR02"} if is_on_a_cluster(name) else CHECKS
    errors = [error for error in validate(name)["errors"] if error[0] in checks]
    assert not errors


@pytest.mark.parametrize("name", PUBLIC)
def test_references_are_those_that_are_cited(name):
    methods = public_methods(PUBLIC[name]) if inspect.isclass(PUBLIC[name]) else ()
    for thing in (PUBLIC[name], *(method for _, method in methods)):
        doc = inspect.getdoc(thing) or ""
        cited = re.findall(r"\[(\d+)\]_", doc)
        listed = re.findall(r"^\.\. \[(\d+)\] ", doc, flags=re.M)
        assert set(cited) == set(listed), thing
        assert listed == [str(k) for k in range(1, len(listed) + 1)], thing
        text = re.sub(r"^(>>>|\.\.\.|array).*$", "", doc, flags=re.M)
        assert not re.search(r"[^\W\d_][ ,(]+\[\d+\](?!_)", text), thing


def test_fields_of_a_loss_are_documented_as_attributes():
    loss = skreg.losses.Loss
    assert section(loss, "Attributes") == list(inspect.signature(loss).parameters)


def test_objects_name_the_parameters_of_their_constructor():
    for name, thing in PUBLIC.items():
        if name.startswith("skreg.penalties.") and inspect.isclass(thing):
            parameters = inspect.signature(thing).parameters
            documented = section(thing, "Parameters") if parameters else []
            assert set(documented) == set(parameters), name
