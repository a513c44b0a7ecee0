"""Structure of the source: who imports whom, what is lazy, and how long things are."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import skreg

ROOT = Path(skreg.__file__).parent

# From the bottom to the top: a module imports from its own layer or from below.
LAYERS = [
    {
        "_arrays",
        "_core",
        "_forms",
        "_groups",
        "_numbers",
        "_matrix",
        "_repr",
        "_warnings",
    },
    {
        "losses",
        "_penalty",
        "_typing",
        "penalties",
        "_network",
        "_lambda",
        "_optimizers",
        "_threads",
        "_callbacks",
        "_coordinates",
        "_docs",
        "_split",
    },
    {"_engines"},
    {"_problem"},
    {"_solvers"},
    {"_validation", "_task", "_rows", "_prune", "_fitted"},
    {"_judgement", "_training"},
    {"_export", "_base", "_mlp"},
    {"_paths"},
    {"_cv"},
    {"_drawing", "_choice_display", "_penalty_displays", "displays", "onnx", "dask"},
    {"__init__", "__main__"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

HEAVY = {"matplotlib", "pandas", "polars", "dask", "torch", "triton"}
# Made of a heavy library, and therefore imported inside functions themselves.
LAZY = {
    "_engines._torch",
    "_engines._torch_ops",
    "_engines._torch_passes",
    "_engines._torch_rule",
    "_engines._torch_training",
    "_engines._triton_ops",
    "dask",
    "dask._cluster",
    "dask._collections",
    "dask._epochs",
    "dask._estimators",
    "dask._folds",
    "dask._search",
    "dask._term",
}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 700, 60


def sources(*suffixes):
    return sorted(p for p in ROOT.rglob("*") if p.suffix in (suffixes or (".py",)))


def name_of(path):
    """Dotted name below the package: "_solvers._lbfgs", or "_core" for its package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and parts[:-1] else parts)


MODULES = {name_of(path): path for path in sources()}


def over_modules(names=None):
    return pytest.mark.parametrize("module", names or MODULES)


def imported_names(nodes):
    """Dotted names that import statements mention, each with all it selects."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def tree(module):
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def own_imports(module):
    """Modules of the package that a module imports, anywhere in its code."""
    for name in imported_names(ast.walk(tree(module))):
        package, _, rest = name.partition(".")
        if package == "skreg":
            parts = rest.split(".")
            candidates = (".".join(parts[:k]) for k in range(len(parts), 0, -1))
            yield next((c for c in candidates if c in MODULES), "__init__")


def rank(module):
    return RANK[module.split(".")[0]]


# Import directions -------------------------------------------------------------------


def test_every_module_has_its_layer():
    assert {module.split(".")[0] for module in MODULES} == set(RANK)


@over_modules()
def test_modules_import_from_their_own_layer_or_from_below(module):
    upward = {name for name in own_imports(module) if rank(name) > rank(module)}
    assert not upward, f"{module} imports {upward}, which build on it"


def test_no_two_modules_import_each_other():
    graph = {module: set(own_imports(module)) - {module} for module in MODULES}
    while graph:
        leaves = {module for module, below in graph.items() if not below & set(graph)}
        assert leaves, f"imports in a circle among {sorted(graph)}"
        graph = {m: below for m, below in graph.items() if m not in leaves}


def test_losses_penalties_and_network_do_not_know_each_other():
    for module in ("losses", "penalties", "_network"):
        assert set(own_imports(module)) <= {
            "_core",
            "_forms",
            "_groups",
            "_numbers",
            "_penalty",
            "_typing",
            "_repr",
        }


@over_modules([m for m in MODULES if m.split(".")[0] in ("_core", "_solvers")])
def test_core_and_solvers_know_no_scikit_learn(module):
    names = imported_names(ast.walk(tree(module)))
    assert not [name for name in names if name.split(".")[0] == "sklearn"]


@over_modules([m for m in MODULES if m.split(".")[0] in ("_core", "_solvers")])
def test_core_and_solvers_do_not_warn(module):
    names = imported_names(ast.walk(tree(module)))
    assert not [name for name in names if name.split(".")[0] == "warnings"]


@over_modules()
def test_nothing_private_of_scikit_learn_is_imported(module):
    names = imported_names(ast.walk(tree(module)))
    ours = [name.split(".") for name in names if name.split(".")[0] == "sklearn"]
    private = [".".join(n) for n in ours if any(part.startswith("_") for part in n)]
    assert not private


def test_only_the_blas_shim_calls_blas():
    files = sources(".py", ".pyx", ".pxd", ".hpp")
    hits = [p.name for p in files if "cython_blas" in p.read_text(encoding="utf-8")]
    assert hits == ["_blas.pxd"]


@over_modules()
def test_imports_are_absolute(module):
    relative = [
        node
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    assert not relative


def test_the_rules_see_what_they_forbid(monkeypatch, tmp_path):
    path = tmp_path / "penalties.py"
    path.write_text("def f():\n    from skreg._solvers import _lbfgs\n")
    monkeypatch.setitem(MODULES, "penalties", path)
    assert list(own_imports("penalties")) == ["_solvers._lbfgs"]
    with pytest.raises(AssertionError, match="which build on it"):
        test_modules_import_from_their_own_layer_or_from_below("penalties")
    path.write_text("from sklearn.utils import _param_validation\n")
    with pytest.raises(AssertionError):
        test_nothing_private_of_scikit_learn_is_imported("penalties")


# What stays lazy ---------------------------------------------------------------------


@over_modules([m for m in MODULES if m not in LAZY])
def test_heavy_libraries_are_imported_inside_functions(module):
    names = list(imported_names(tree(module).body))
    assert not [name for name in names if name.split(".")[0] in HEAVY]
    lazy = {f"skreg.{name}" for name in LAZY}
    assert not [n for n in names if n in lazy or n.rpartition(".")[0] in lazy]


def run(code):
    """Words that `code` prints after the imports from scikit-learn of the package."""
    names = {name for m in MODULES for name in imported_names(tree(m).body)}
    modules = {n.rpartition(".")[0] for n in names if n.startswith("sklearn.")}
    prelude = "; ".join(f"import {module}" for module in sorted(modules))
    command = [sys.executable, "-c", f"import sys; {prelude}; {code}"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_import_loads_nothing_heavy_that_scikit_learn_has_not_loaded():
    loaded = run(
        "before = set(sys.modules); import skreg, skreg.losses, skreg.penalties; "
        "print(*set(sys.modules) - before)"
    )
    assert "skreg._mlp" in loaded
    assert not loaded & HEAVY


def test_import_needs_none_of_the_heavy_libraries():
    names = [m for m in MODULES if m[0] != "_" and m.split(".")[0] not in LAZY]
    public = ", ".join(f"skreg.{m}" for m in names)
    run(f"sys.modules.update(dict.fromkeys({sorted(HEAVY)})); import skreg, {public}")


# Lengths -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", sources(".py", ".pyx", ".pxd", ".hpp"), ids=name_of)
def test_files_are_short(path):
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert n_lines <= MAX_FILE_LINES


def code_lines(function, source):
    """Number of lines of a function, but for docstrings, comments and blank lines."""
    lines = set(range(function.lineno, function.end_lineno + 1))
    for node in ast.walk(function):
        is_scope = isinstance(node, ast.FunctionDef | ast.ClassDef)
        if is_scope and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return sum(not re.match(r"\s*(#|$)", source[line - 1]) for line in lines)


def is_init_of_estimator(function):
    arguments = function.args.args + function.args.kwonlyargs
    return function.name == "__init__" and "hidden_layer_sizes" in {
        a.arg for a in arguments
    }


@over_modules()
def test_functions_are_short(module):
    source = MODULES[module].read_text(encoding="utf-8").splitlines()
    for function in ast.walk(tree(module)):
        if isinstance(function, ast.FunctionDef) and not is_init_of_estimator(function):
            length = code_lines(function, source)
            assert length <= MAX_FUNCTION_LINES, f"{function.name}: {length} lines"


def test_code_lines_are_counted_without_docstrings_comments_and_blanks():
    text = '''
def f(a,
      b):
    """Two
    lines."""

    # why
    return """not a
    docstring"""
'''
    function = ast.parse(text).body[0]
    assert code_lines(function, text.splitlines()) == 4
