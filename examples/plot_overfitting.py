"""
================================
Under- and overfitting against λ
================================

How does λ lead from overfitting to underfitting, and where is the best place between?

A network of 50 units learns diabetes progression from 10 features and 442 patients: far
more weights than it can afford. For each λ it is fitted in 5 folds.
"""

# %%
# Scores on training and validation folds
# ---------------------------------------
import argparse
import warnings

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, validation_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skreg import RegMLPRegressor
from skreg.displays import LambdaValidationDisplay

X, y = load_diabetes(return_X_y=True)
network = RegMLPRegressor(
    (50,),
    activation="tanh",
    learning_rate="cosine",
    learning_rate_init=0.02,
    batch_size=100,
    max_iter=500,
    n_iter_no_change=500,
    random_state=0,
)
model = TransformedTargetRegressor(
    make_pipeline(StandardScaler(), network), transformer=StandardScaler()
)
reg_lambdas = np.logspace(-4, 1, 16)
warnings.simplefilter("ignore", ConvergenceWarning)  # the epochs are meant to be used
train_scores, scores = validation_curve(
    model,
    X,
    y,
    param_name="regressor__regmlpregressor__reg_lambda",
    param_range=reg_lambdas,
    cv=KFold(5, shuffle=True, random_state=0),
)

# %%
# The 1-SE rule takes the largest λ whose score is within one standard error of the
# best one: the simplest model that is not clearly worse.
display = LambdaValidationDisplay(reg_lambdas, scores.T, train_scores.T)
best = np.argmax(display.scores)
within = display.scores >= display.scores[best] - display.std_error[best]
display.reg_lambda = reg_lambdas[within].max()
display.score_name = "R²"
display.plot()

# %%
print("     λ      train  validation  std. error    gap")
for row in zip(reg_lambdas, display.train_scores, display.scores, display.std_error):
    print("{:8.2g} {:10.2f} {:11.2f} {:11.2f} {:6.2f}".format(*row, row[1] - row[2]))
print(f"best λ = {reg_lambdas[best]:.2g}, 1-SE λ = {display.reg_lambda:.2g}")

# %%
parser = argparse.ArgumentParser()
parser.add_argument("--output", default="plot_overfitting.png")
output = parser.parse_known_args()[0].output
display.figure_.savefig(output, dpi=120)
print(f"picture: {output}")
