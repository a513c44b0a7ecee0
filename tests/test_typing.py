"""The file that type checkers read is code that runs."""

import importlib
import importlib.util
import inspect
import runpy
from pathlib import Path

import pytest

import skreg

USER_CODE = Path(__file__).parent / "typing" / "user_code.py"


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_user_code_for_type_checkers_runs():
    pytest.importorskip("matplotlib").use("Agg")
    runpy.run_path(str(USER_CODE), run_name="__main__")


def test_the_package_says_that_it_has_types():
    assert (Path(skreg.__file__).parent / "py.typed").is_file()


def public_functions():
    modules = ["skreg", "skreg.displays"]
    needs = {"skreg.dask": "distributed", "skreg.onnx": "skl2onnx"}
    modules += [name for name, need in needs.items() if importlib.util.find_spec(need)]
    for module in map(importlib.import_module, modules):
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value):
                yield name, value
            if inspect.isclass(value):
                methods = inspect.getmembers(value, inspect.isfunction)
                for method, function in methods:
                    is_ours = function.__module__.startswith("skreg")
                    if is_ours and (not method.startswith("_") or method == "__init__"):
                        yield f"{name}.{method}", function


@pytest.mark.parametrize(("name", "function"), list(public_functions()))
def test_public_functions_have_annotations(name, function):
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    missing = [p.name for p in parameters if p.annotation is p.empty]
    assert not missing
    assert signature.return_annotation is not signature.empty or "__init__" in name
