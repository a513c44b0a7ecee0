"""Networks of skreg in ONNX files, through skl2onnx.

Call `register` once; ``skl2onnx.to_onnx`` then converts the estimators of skreg, alone
and as steps of pipelines and other meta-estimators. Needs the extra ``onnx``.
"""

import numpy as np
from scipy.special import erfcx
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import (
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    guess_proto_type,
)
from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
from skl2onnx.common.utils import check_input_and_output_numbers

from skreg._cv._ensemble import Ensemble
from skreg._cv._search import RegMLPClassifierCV, RegMLPRegressorCV
from skreg._export import is_multilabel, used_inputs
from skreg._mlp import RegMLPClassifier, RegMLPRegressor

__all__ = ["register"]

_OPSET = 13  # of the operators used; all of them are unchanged since
_INT64, _STRING = 7, 8  # ONNX's codes of element types
_CLASSIFIER_OPTIONS = {
    "zipmap": [True, False, "columns"],
    "nocl": [True, False],
    "output_class_labels": [False, True],
    "raw_scores": [True, False],
}


def register() -> None:
    """Teach skl2onnx the estimators of skreg.

    Covers all activations, losses and targets, float32 and float64, networks that
    `compact` and `refit_on_support` return, which read a part of the inputs, and the
    means of networks of ``refit="folds"`` and ``refit="stack"``. The input type of the
    ONNX model sets the precision of its arithmetic and of its outputs.

    See Also
    --------
    skl2onnx.to_onnx : Converts a fitted estimator or pipeline.

    Notes
    -----
    Classifiers take skl2onnx's options. ``zipmap=False`` returns probabilities as an
    array and not as dictionaries, which ONNX has in float32 only: float64 needs it.
    ``raw_scores=True`` returns what `decision_function` does (as two columns, of
    opposite sign, for two classes).

    Examples
    --------
    >>> from skl2onnx import to_onnx
    >>> from sklearn.datasets import load_iris
    >>> from skreg import RegMLPClassifier
    >>> import skreg.onnx
    >>> X, y = load_iris(return_X_y=True)
    >>> model = RegMLPClassifier((), solver="lbfgs", random_state=0).fit(X, y)
    >>> skreg.onnx.register()
    >>> onnx_model = to_onnx(model, X[:1], options={"zipmap": False})
    >>> [output.name for output in onnx_model.graph.output]
    ['label', 'probabilities']
    """
    for regressor in (RegMLPRegressor, RegMLPRegressorCV):
        update_registered_converter(
            regressor,
            f"Skreg{regressor.__name__}",
            _regressor_shapes,
            _convert_regressor,
        )
    for classifier in (RegMLPClassifier, RegMLPClassifierCV):
        update_registered_converter(
            classifier,
            f"Skreg{classifier.__name__}",
            _classifier_shapes,
            _convert_classifier,
            options=_CLASSIFIER_OPTIONS,
        )


# Shapes ------------------------------------------------------------------------------


def _float_type(operator):
    """Type of the outputs: float64 where the input is, else float32."""
    is_double = isinstance(operator.inputs[0].type, DoubleTensorType)
    return DoubleTensorType if is_double else FloatTensorType


def _regressor_shapes(operator):
    check_input_and_output_numbers(operator, input_count_range=1, output_count_range=1)
    n_rows = operator.inputs[0].get_first_dimension()
    shape = [n_rows, operator.raw_operator.n_outputs_]
    operator.outputs[0].type = _float_type(operator)(shape)


def _classifier_shapes(operator):
    calculate_linear_classifier_output_shapes(operator)
    model = operator.raw_operator
    if is_multilabel(model):
        shape = [operator.inputs[0].get_first_dimension(), model.n_outputs_]
        operator.outputs[0].type = Int64TensorType(shape)
        operator.outputs[1].type = _float_type(operator)(shape)


# Graphs ------------------------------------------------------------------------------


class _Graph:
    """Adds nodes to the container of a conversion; each returns its output's name."""

    def __init__(self, scope, container, operator):
        self.scope, self.container = scope, container
        float_type = _float_type(operator)
        self.dtype = np.float64 if float_type is DoubleTensorType else np.float32
        self.code = guess_proto_type(float_type())

    def constant(self, value):
        """A tensor in the precision of the graph."""
        value = np.asarray(value, self.dtype)
        return self._initializer(self.code, value.shape, value.ravel())

    def indices(self, value):
        value = np.asarray(value, np.int64)
        return self._initializer(_INT64, value.shape, value.ravel())

    def strings(self, values):
        return self._initializer(_STRING, [len(values)], [v.encode() for v in values])

    def _initializer(self, code, shape, values):
        name = self.scope.get_unique_variable_name("constant")
        self.container.add_initializer(name, code, shape, values)
        return name

    def node(self, kind, *inputs, out=None, **attributes):
        out = out or self.scope.get_unique_variable_name(kind.lower())
        name = self.scope.get_unique_operator_name(kind)
        self.container.add_node(
            kind, list(inputs), [out], op_version=_OPSET, name=name, **attributes
        )
        return out

    def raw(self, model, x):
        """Raw predictions of a fitted network, or mean of networks, on the tensor x."""
        if isinstance(model.fitted_, Ensemble):
            raws = [self.raw(network, x) for network in model.estimators_]
            mean = model.fitted_
            raw = self.mean_raw(raws, mean.weights, model.out_activation_)
            return self.node("Mul", raw, self.constant(mean.sharpness))
        used = used_inputs(model)
        if used is not None:
            x = self.node("Gather", x, self.indices(used), axis=1)
        for layer, (W, b) in enumerate(zip(model.coefs_, model.intercepts_)):
            if layer > 0:
                x = self.activation(model.fitted_.network.activation, x)
            x = self.node("MatMul", x, self.constant(W))
            x = self.node("Add", x, self.constant(b))
        return x

    def mean_raw(self, raws, weights, out_activation):
        """Raw prediction of the weighted mean of predictions."""
        if out_activation == "identity":
            terms = [
                self.node("Mul", f, self.constant(w)) for f, w in zip(raws, weights)
            ]
            return self.node("Sum", *terms)
        if out_activation == "exp":
            return self.log_mean(raws, weights)
        if out_activation == "softmax":
            logs = [self.node("LogSoftmax", f, axis=1) for f in raws]
            return self.log_mean(logs, weights)
        no = [self.log_sigmoid(f) for f in (self.node("Neg", f) for f in raws)]
        yes = [self.log_sigmoid(f) for f in raws]
        return self.node("Sub", self.log_mean(yes, weights), self.log_mean(no, weights))

    def log_mean(self, logs, weights):
        pairs = zip(logs, np.log(weights))
        return self.log_sum_exp(
            *(self.node("Add", f, self.constant(w)) for f, w in pairs)
        )

    def log_sigmoid(self, z):
        """−log(1 + exp(−z)); onnxruntime has Softplus for float32 only."""
        negative = self.node("Neg", z)
        return self.node("Neg", self.log_sum_exp(self.constant(0.0), negative))

    def log_sum_exp(self, *logs):
        """log Σ exp(log), whose largest term is exp(0): none overflows."""
        top = self.node("Max", *logs)
        terms = [self.node("Exp", self.node("Sub", f, top)) for f in logs]
        return self.node("Add", top, self.node("Log", self.node("Sum", *terms)))

    def activation(self, kind, z):
        if kind == "identity":
            return z
        if kind == "logistic":
            return self.node("Sigmoid", z)
        if kind == "leaky_relu":  # the slope of ONNX's LeakyRelu is a float32
            return self.node("Max", z, self.node("Mul", z, self.constant(0.01)))
        if kind == "silu":
            return self.node("Mul", z, self.node("Sigmoid", z))
        if kind == "gelu":
            return self.gelu(z)
        return self.node({"relu": "Relu", "tanh": "Tanh"}[kind], z)

    def gelu(self, z):
        """z Φ(z) = max(z, 0) − |z| Q(|z|), where Q = 1 − Φ is the tail of the normal.

        onnxruntime has Erf and Gelu for float32 only; the tail takes operators that it
        has in both precisions, and is as exact for large |z|, where 1 − erf cancels.
        """
        size = self.node("Abs", z)
        lost = self.node("Mul", size, self.normal_tail(size))
        return self.node("Sub", self.node("Relu", z), lost)

    def normal_tail(self, z):
        """Q(z) = exp(−x²) erfcx(x) / 2 for z ≥ 0, with x = z / √2.

        erfcx is smooth in t = (x − c) / (x + c), which maps [0, ∞) to [−1, 1): there a
        polynomial is enough (Schonfelder, Math. Comp. 32, 1978).
        """
        x = self.node("Mul", z, self.constant(np.sqrt(0.5)))
        center = self.constant(_TAIL_CENTER)
        t = self.node("Div", self.node("Sub", x, center), self.node("Add", x, center))
        *lower, highest = _TAIL_POLYNOMIAL
        value = self.constant(highest)
        for coefficient in reversed(lower):  # Horner's rule
            value = self.node("Mul", value, t)
            value = self.node("Add", value, self.constant(coefficient))
        decay = self.node("Exp", self.node("Neg", self.node("Mul", x, x)))
        return self.node("Mul", decay, value)


_TAIL_CENTER = 3.75


def _tail_polynomial(degree=20):
    """Coefficients of erfcx(x) / 2 in t, lowest first; exact to 1e-15 in z Q(z)."""

    def scaled_tail(t):
        return erfcx(_TAIL_CENTER * (1 + t) / (1 - t)) / 2

    chebyshev = np.polynomial.Chebyshev.interpolate(scaled_tail, degree)
    return chebyshev.convert(kind=np.polynomial.Polynomial).coef


_TAIL_POLYNOMIAL = _tail_polynomial()


# Converters --------------------------------------------------------------------------


def _convert_regressor(scope, operator, container):
    model, graph = operator.raw_operator, _Graph(scope, container, operator)
    raw = graph.raw(model, operator.inputs[0].full_name)
    mean = {"identity": "Identity", "exp": "Exp"}[model.out_activation_]
    graph.node(mean, raw, out=operator.outputs[0].full_name)


def _convert_classifier(scope, operator, container):
    model, graph = operator.raw_operator, _Graph(scope, container, operator)
    raw = graph.raw(model, operator.inputs[0].full_name)
    label, proba = (output.full_name for output in operator.outputs)
    options = container.get_options(model, {"raw_scores": False})
    as_scores = options["raw_scores"]
    if model.out_activation_ == "softmax":
        if as_scores:
            graph.node("Identity", raw, out=proba)
        else:
            graph.node("Softmax", raw, out=proba, axis=1)
        index = graph.node("ArgMax", raw, axis=1, keepdims=0)
    else:
        is_positive = graph.node("Greater", raw, graph.constant(0.0))
        value = "Identity" if as_scores else "Sigmoid"
        if is_multilabel(model):
            graph.node(value, raw, out=proba)
            graph.node("Cast", is_positive, out=label, to=_INT64)
            return
        both = [graph.node(value, f) for f in (graph.node("Neg", raw), raw)]
        graph.node("Concat", *both, out=proba, axis=1)
        index = graph.node("Cast", is_positive, to=_INT64)
        index = graph.node("Reshape", index, graph.indices([-1]))
    classes = model.classes_
    if classes.dtype.kind in "iub":
        table = graph.indices(classes)
    else:
        table = graph.strings([str(name) for name in classes])
    graph.node("Gather", table, index, out=label, axis=0)
