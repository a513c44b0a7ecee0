"""
======================
λ path and 1-SE rule
======================

Which λ, and which inputs does it leave? A network of 20 units learns diabetes
progression from 10 features, with a group penalty that drops whole inputs. λ is chosen
in 10 folds; each fold is one path of warm-started fits, from the dense network to the
one that predicts a constant.
"""

# %%
# Choose λ
# --------
# The 1-SE rule takes the largest λ whose mean score is within one standard error of the
# best one: the simplest network that is not clearly worse.
import argparse

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes
from sklearn.model_selection import KFold
from sklearn.preprocessing import scale

from skreg import RegMLPRegressorCV
from skreg.displays import LambdaPathDisplay, LambdaValidationDisplay

X, y = load_diabetes(return_X_y=True, as_frame=True)
X, y = pd.DataFrame(scale(X), columns=X.columns), scale(y)
model = RegMLPRegressorCV(
    (20,),
    activation="tanh",
    penalty="group_lasso",
    solver="lbfgs",
    tol=1e-3,
    max_iter=3000,
    reg_lambdas=25,
    cv=KFold(10, shuffle=True, random_state=0),
    selection="1se",
    random_state=0,
    n_jobs=2,
).fit(X, y)

# %%
# Above, the scores; below, what the path on all data leaves of each input: the norm of
# the weights that start at it. The vertical line is the chosen λ.
figure, (above, below) = plt.subplots(
    2, 1, figsize=(7.5, 6.5), sharex=True, layout="constrained"
)
LambdaValidationDisplay.from_estimator(model, ax=above)
LambdaPathDisplay.from_estimator(model, ax=below)
above.set_xlabel(None)
below.set_ylim(-0.01, 0.35)  # the dense end lies above

# %%
best = model.reg_lambdas_[np.nanargmax(model.mean_scores_)]
kept = X.columns[model.selected_features_]
print(f"best λ = {best:.3g}, 1-SE λ = {model.reg_lambda_:.3g}")
print(f"{len(kept)} of {X.shape[1]} inputs are left: {', '.join(kept)}")

# %%
parser = argparse.ArgumentParser()
parser.add_argument("--output", default="plot_lambda_path.png")
output = parser.parse_known_args()[0].output
figure.savefig(output, dpi=120)
print(f"picture: {output}")
