"""Links from the HTML form of estimators, in notebooks, to their documentation."""

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
