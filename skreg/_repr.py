"""HTML forms in notebooks: links to the documentation, and tables."""

# The site that docs/ becomes; the same address as under [project.urls] in pyproject.
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
    """Text of a table, a header above rows with a name each, that notebooks draw."""

    def _repr_html_(self):
        head, *rows = (line.split() for line in self.splitlines())
        head = "".join(f"<th>{name}</th>" for name in ("", *head))
        cells = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        return f"<table><tr>{head}</tr>{body}</table>"
