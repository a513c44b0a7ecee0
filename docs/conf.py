"""Sphinx configuration: ``python -m sphinx -W -b html docs docs/_build/html``."""

import os
import sys
import tempfile
import warnings
from pathlib import Path

import matplotlib
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx_gallery.sorting import ExplicitOrder, FileNameSortKey

sys.path.insert(0, str(Path(__file__).parents[1]))

import skreg
from skreg import _lambda

matplotlib.use("agg")

project = "skreg"
author = "The skreg developers"
copyright = "The skreg developers, BSD-3-Clause"
version = release = skreg.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx.ext.doctest",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinx-mathjax-offline",
    "myst_parser",  # for the changelog alone
]
if os.environ.get("SKREG_DOCS_INTERSPHINX"):  # needs a network
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
    }
root_doc = "index"
exclude_patterns = ["_build", "_templates", "gallery/*.ipynb"]
templates_path = ["_templates"]
suppress_warnings = ["config.cache"]  # functions in sphinx_gallery_conf
default_role = "py:obj"  # `name` links where it is an object

# API ---------------------------------------------------------------------------------

autosummary_generate = True
autodoc_default_options = {"members": True, "inherited-members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
numpydoc_class_members_toctree = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
_FROM_SCIKIT_LEARN = {"get_params", "set_params"}


def skip_member(app, what, name, member, skip, options):
    """Leave out what scikit-learn adds, but for the methods everybody uses."""
    if name in _FROM_SCIKIT_LEARN or not callable(member):
        return skip
    module = getattr(member, "__module__", None) or ""
    return skip or not module.startswith("skreg")


class LambdaTable(Directive):
    """The table of `convert_lambda`, printed by the code that computes with it."""

    def run(self):
        node = nodes.container(classes=["lambda-table"])
        self.state.nested_parse(StringList(_lambda._table(), "skreg"), 0, node)
        return node.children


def setup(app):
    app.connect("autodoc-skip-member", skip_member)
    app.add_directive("lambda-table", LambdaTable)


# Gallery -----------------------------------------------------------------------------

warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")


class ArgumentsOfExamples:
    """Examples save their picture: here, where nobody looks."""

    def __call__(self, gallery_conf, script):
        folder = tempfile.mkdtemp(prefix="skreg-docs-")
        return ["--output", str(Path(folder) / "picture.png")]

    def __repr__(self):  # the same in each build, which Sphinx compares
        return "ArgumentsOfExamples()"


sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"/benchmarks/",
    "within_subsection_order": FileNameSortKey,
    "subsection_order": ExplicitOrder(["../examples"]),
    "reset_argv": ArgumentsOfExamples(),
    "remove_config_comments": True,
    "show_memory": False,
    "plot_gallery": "True",
    "doc_module": ("skreg",),
    "reference_url": {"skreg": None},
    "backreferences_dir": "api/generated/backreferences",
    "abort_on_example_error": True,
    "copyfile_regex": r".*GALLERY_HEADER\.rst",
    "matplotlib_animations": False,
}

# Pages -------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "skreg"
html_static_path = ["_static"]
html_css_files = ["skreg.css"]
html_show_sourcelink = False
html_copy_source = False
html_last_updated_fmt = None
html_baseurl = os.environ.get("SKREG_DOCS_URL", "")
html_theme_options = {
    "logo": {"text": "skreg"},
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
# The switcher reads one file for all versions: only where the site has an address.
if html_baseurl:
    html_theme_options |= {
        "switcher": {
            "json_url": html_baseurl.rstrip("/") + "/_static/switcher.json",
            "version_match": version,
        },
        "navbar_start": ["navbar-logo", "version-switcher"],
        "check_switcher": False,
    }
html_sidebars = {
    "index": [],
    "install": [],
    "getting_started": [],
    "coming_from": [],
    "faq": [],
    "whats_new": [],
    "contributing": [],
    "benchmarks": [],
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
myst_heading_anchors = 2
