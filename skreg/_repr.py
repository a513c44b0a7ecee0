"""HTML forms in notebooks: links to the documentation, tables and pictures."""

from base64 import b64encode
from functools import singledispatch
from io import BytesIO

# The site that docs/ becomes. Where code cannot read this, in pyproject.toml and the
# switcher of versions, a test compares.
DOCUMENTATION = "https://skreg.readthedocs.io/en/stable"


class DocumentationLinks:
    """Mixin, before `BaseEstimator`: links and tooltips of scikit-learn's HTML form.

    scikit-learn links the name of an estimator to its page, and shows the docstring of
    a parameter as a tooltip, for classes of the module named here.
    """

    _doc_link_module = "skreg"
    _doc_link_template = (
        DOCUMENTATION + "/api/generated/{estimator_module}.{estimator_name}.html"
    )


class Table(str):
    """Text of a table, a header above rows with a name each, that notebooks draw.

    Parameters
    ----------
    text : str
        The table.
    of : object, default=None
        Whose picture notebooks show above the table.
    """

    def __new__(cls, text, of=None):
        table = super().__new__(cls, text)
        table.of = of
        return table

    def _repr_html_(self):
        head, *rows = (line.split() for line in self.splitlines())
        return picture(self.of) + html_table(["", *head], rows)


def html_table(head, rows):
    """Names of columns and rows of strings as an HTML table."""
    head = "".join(f"<th>{name}</th>" for name in head)
    cells = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<table><tr>{head}</tr>{body}</table>"


@singledispatch
def draw(thing, ax):
    """Draw what notebooks show of an object; `skreg.displays` registers how."""
    raise NotImplementedError


def picture(thing):
    """HTML image of an object; empty for one that `draw` does not know.

    Without matplotlib it is empty too. The figure is not one of pyplot, which notebooks
    would show a second time.
    """
    if draw.dispatch(type(thing)) is draw.dispatch(object):
        return ""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return ""
    figure, png = Figure(figsize=(6.0, 4.0), layout="constrained"), BytesIO()
    draw(thing, figure.subplots())
    figure.savefig(png, format="png")
    data = b64encode(png.getvalue()).decode()
    return f'<img alt="{type(thing).__name__}" src="data:image/png;base64,{data}">'
