"""The HTML form of estimators links to their pages, and explains parameters."""

import base64
import importlib
import inspect
import io
import json
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from sklearn import __version__
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import scale
from sklearn.utils.fixes import parse_version

import skreg
from skreg import penalties
from skreg._repr import DOCUMENTATION, DocumentationLinks, Table

ESTIMATORS = [
    skreg.RegMLPClassifier,
    skreg.RegMLPClassifierCV,
    skreg.RegMLPRegressor,
    skreg.RegMLPRegressorCV,
]
PENALTIES = [penalties.MCP, penalties.GroupLasso, penalties.ElasticNet]
PAGES = Path(__file__).parents[1] / "docs" / "api" / "index.rst"


def documented(cls):
    """The class with links, whether it has them or not."""
    if issubclass(cls, DocumentationLinks):
        return cls
    body = {name: getattr(cls, name) for name in ("__doc__", "__module__")}
    body["__init__"] = cls.__init__
    return type(cls.__name__, (DocumentationLinks, cls), body)


@pytest.mark.parametrize("cls", ESTIMATORS + PENALTIES)
def test_the_name_of_an_estimator_links_to_its_page(cls):
    link = documented(cls)()._get_doc_link()
    name = f"{cls.__module__}.{cls.__name__}"
    assert link == f"{DOCUMENTATION}/api/generated/{name}.html"
    assert link in documented(cls)()._repr_html_()


@pytest.mark.skipif(
    parse_version(__version__) < parse_version("1.8"), reason="shows no tooltips"
)
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_each_parameter_has_its_docstring_as_a_tooltip(cls):
    html = documented(cls)()._repr_html_()
    tooltips = re.findall(r"param-doc-link.*?--doc-link-(\w+);", html, re.S)
    assert set(tooltips) == set(inspect.signature(cls).parameters)
    assert "Where the penalty acts in an update" in html


def test_pages_exist_for_all_public_objects():
    if not PAGES.exists():
        pytest.skip("tests run without the sources of the site")
    text = PAGES.read_text(encoding="utf-8")
    listed = set(re.findall(r"^   (\w+)$", text, re.M))
    for module in ("skreg", "skreg.penalties", "skreg.displays"):
        names = importlib.import_module(module).__all__
        missing = {name for name in names if name not in listed and name not in text}
        assert not missing, module


def test_one_address_of_the_site():
    if not PAGES.exists():
        pytest.skip("tests run without the sources of the site")
    switcher = json.loads((PAGES.parents[1] / "_static" / "switcher.json").read_text())
    assert [v["url"] for v in switcher if v.get("preferred")] == [DOCUMENTATION + "/"]
    project = tomllib.loads((PAGES.parents[2] / "pyproject.toml").read_text())[
        "project"
    ]
    assert DOCUMENTATION.startswith(project["urls"]["Documentation"] + "/")


def test_tables_are_text_that_notebooks_draw():
    table = Table("      size\nbest     3\n1se      2")
    assert table == "      size\nbest     3\n1se      2"
    cells = re.findall(r"<t[hd]>([^<]*)<", table._repr_html_())
    assert cells == ["", "size", "best", "3", "1se", "2"]


@pytest.fixture(scope="module")
def shown():
    """What notebooks show as pictures: a path, and the summary of a search."""
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X), scale(y)
    params = {"penalty": "l1", "solver": "lbfgs"}
    path = skreg.reg_mlp_path(skreg.RegMLPRegressor((), **params), X, y, reg_lambdas=4)
    search = skreg.RegMLPRegressorCV((), **params, reg_lambdas=4, cv=2, refit=False)
    return {"path": path, "summary": search.fit(X, y).summary()}


def _open_figures():
    """Numbers of pyplot's figures; none where nobody has imported it."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    return [] if pyplot is None else pyplot.get_fignums()


@pytest.mark.parametrize("name", ["path", "summary"])
def test_notebooks_show_a_picture_above_the_table(shown, name):
    image = pytest.importorskip("matplotlib.image")
    figures = _open_figures()
    html = shown[name]._repr_html_()
    png = re.search(r'<img alt=".+?" src="data:image/png;base64,(.*?)">', html)
    pixels = image.imread(io.BytesIO(base64.b64decode(png[1])))
    assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 100
    assert html.index("<table>") >= png.end()
    assert _open_figures() == figures  # notebooks would show it again


@pytest.mark.parametrize("name", ["path", "summary"])
def test_without_matplotlib_the_table_is_left(shown, name, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    html = shown[name]._repr_html_()
    assert "<table>" in html and "<img" not in html


@pytest.mark.parametrize("n", [0, 1])
def test_paths_without_curves_are_tables(shown, n):
    assert "<img" not in shown["path"][:n]._repr_html_()
