"""
===============================
Three lines, four kinds of data
===============================

What do three lines give that choose penalty, network, solver and λ? Mixed columns
(adult), values (California housing), 8 classes with missing values (mice protein) and
500 inputs of which 20 matter (madelon), each after scikit-learn's usual preprocessing.

Rows are split at random; those of one mouse are near-copies, so that its accuracy, as
in the papers on these data, is one for mice that are known.

The files are read from the folder that the variable ``SKREG_DATA`` names; data that
scikit-learn ships or draws stand in for those that are missing.
"""

# %%
import argparse
import os
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import is_classifier
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_wine,
    make_classification,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skreg import RegMLPClassifierCV, RegMLPRegressorCV
from skreg.displays import ChoiceDisplay

parser = argparse.ArgumentParser()
parser.add_argument("--output", default="plot_choose_everything.png")
options = parser.parse_known_args()[0]
FOLDER = Path(os.environ.get("SKREG_DATA", "no such folder"))
N_TRAIN = 3000  # rows at most, for the sake of time


def read(name, stand_in):
    """X, y of a file, or of what stands in for it."""
    file = FOLDER / name
    if not file.exists():
        return stand_in(return_X_y=True, as_frame=True)
    if name.endswith(".csv.gz"):
        X = pd.read_csv(file, keep_default_na=False).drop(columns=["split", "fnlwgt"])
        return X, X.pop("income")
    with np.load(file) as data:
        if "X_train" in data:  # its test rows are those of the challenge
            X = np.concatenate([data["X_train"], data["X_valid"]])
            return pd.DataFrame(X), np.concatenate([data["y_train"], data["y_valid"]])
        return pd.DataFrame(data["X"]), data["y"]


def like_madelon(**_):
    shape = {"n_samples": 1200, "n_features": 100, "n_clusters_per_class": 4}
    X, y = make_classification(**shape, n_informative=5, n_redundant=5, random_state=0)
    return pd.DataFrame(X), y


def preprocessing(X):
    numbers = X.select_dtypes("number").columns
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    scaler = make_pipeline(SimpleImputer(), StandardScaler())
    others = X.columns.difference(numbers)
    return make_column_transformer((scaler, numbers), (one_hot, others))


# %%
# The three lines are a search, a pipeline, and a fit. Values are scaled as well.
auto = {"param_grid": "auto", "refit": "stack", "random_state": 0}
tasks = {
    "adult": ("adult.csv.gz", load_breast_cancer, RegMLPClassifierCV(**auto)),
    "california": ("california_housing.npz", load_diabetes, RegMLPRegressorCV(**auto)),
    "mice": ("mice_protein.npz", load_wine, RegMLPClassifierCV(**auto)),
    "madelon": ("madelon.npz", like_madelon, RegMLPClassifierCV(**auto)),
}
warnings.simplefilter("ignore", ConvergenceWarning)  # of scikit-learn's 200 epochs
scores, searches, sources = {}, {}, {}
for name, (file, stand_in, search) in tasks.items():
    X, y = read(file, stand_in)
    split = {"train_size": min(N_TRAIN, int(0.77 * len(X))), "random_state": 0}
    split["stratify"] = y if is_classifier(search) else None
    X_train, X_test, y_train, y_test = train_test_split(X, y, **split)
    plain = MLPClassifier if is_classifier(search) else MLPRegressor
    scores[name] = []
    for network in (plain(random_state=0), search):
        model = make_pipeline(preprocessing(X), network)
        if not is_classifier(search):
            model = TransformedTargetRegressor(model, transformer=StandardScaler())
        start = time.process_time()
        model.fit(X_train, y_train)
        seconds = time.process_time() - start
        metric = accuracy_score if is_classifier(search) else r2_score
        scores[name].append(metric(y_test, model.predict(X_test)))
    fitted = model if is_classifier(search) else model.regressor_
    searches[name] = fitted[-1]
    source = file if (FOLDER / file).exists() else f"stand-in: {stand_in.__name__}"
    sources[name] = source
    print(
        f"{name} ({source}): {len(X_train)} rows x {X.shape[1]} columns, "
        f"{'accuracy' if is_classifier(search) else 'R2'} {scores[name][1]:.3f}, "
        f"scikit-learn's default network {scores[name][0]:.3f}, {seconds:.0f} s, "
        f"{searches[name].selected_features_.sum()} inputs"
    )

# %%
# What was compared: scores of all candidates along λ with their standard errors (those
# that lost the race on the first fold have no error), and the choice.
figure = plt.figure(figsize=(11, 12), layout="constrained")
for part, (name, search) in zip(figure.subfigures(4, 1), searches.items()):
    display = ChoiceDisplay.from_estimator(search)
    plt.close(display.figure_)
    display.plot(part.subplots(1, 3))
    default, chosen = scores[name]
    kind = "accuracy" if is_classifier(search) else "R2"
    title = f"{name} ({sources[name]}): {kind} {chosen:.3f}"
    part.suptitle(f"{title}, scikit-learn's default network {default:.3f}")

figure.savefig(options.output, dpi=110)
print(f"picture: {options.output}")
