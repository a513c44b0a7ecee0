"""Choosing λ and the rest by cross-validation, and selecting inputs by stability.

candidates ─▶ grids ─▶ folds (─▶ race) ─▶ extended grids ─▶ choice ─▶ networks

`_search` holds the public classes, `_search_base` what they share, `_choice` the steps
above; `_crossval` fits and scores one candidate on folds, `_results` keeps its scores.
"""
