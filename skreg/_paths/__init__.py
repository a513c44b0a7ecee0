"""Networks along a grid of λ, each started from the one before, or all cold.

`_path` is the public function; `_walk` goes along the values of a `_grid`, and
`_branches` finds back to lower minima that a sparser network leads to.
"""
