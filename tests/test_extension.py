"""The recipes of CONTRIBUTING.md: few places, that exist, and that the text names."""

import shutil
from pathlib import Path

import pytest

from tests.extension.recipes import RECIPES, apply

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(
    not (ROOT / "skreg" / "_core" / "update.hpp").exists(), reason="no sources here"
)


def test_patches_fit_the_sources(tmp_path):
    shutil.copytree(ROOT / "skreg", tmp_path / "skreg")
    apply(tmp_path)
    with pytest.raises(ValueError, match="is not once in"):
        (tmp_path / "skreg" / "_network.py").write_text("")
        apply(tmp_path)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_take_three_places_which_the_text_names(name):
    assert len(RECIPES[name]) == 3
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    article = "An" if name[0] in "aeiou" else "A"
    recipe = text.split(f"### {article} {name}\n")[1].split("\n### ")[0]
    assert {edit.file for edit in RECIPES[name]} == {
        edit.file for edit in RECIPES[name] if f"`{edit.file}`" in recipe
    }
