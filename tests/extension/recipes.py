"""The four recipes of CONTRIBUTING.md, as patches to the sources.

Each edit is (file, the text that it is put in front of, what is put there).
"""

from pathlib import Path
from typing import NamedTuple


class Edit(NamedTuple):
    file: str
    before: str
    text: str


ACTIVATION = (  # softsign (Turian, Bergstra & Bengio, 2009): z / (1 + |z|)
    Edit(
        "skreg/_core/activations.hpp",
        "template <typename F, typename T>\nSKREG_CLONES void activate_each(",
        """\
struct Softsign {
    static constexpr bool stores_slope = false;
    template <typename T> static T value(T z) { return z / (T(1) + std::abs(z)); }
    template <typename T> static T slope(T a) {
        return (T(1) - std::abs(a)) * (T(1) - std::abs(a));
    }
};

""",
    ),
    Edit("skreg/_core/activations.hpp", ">;\nconstexpr int IDENTITY", ", Softsign"),
    Edit(
        "skreg/_network.py",
        ")\n\n\n@dataclass(frozen=True)\nclass Network",
        ', "softsign"',
    ),
)

LOSS = (  # log cosh (f - y), with derivative tanh (f - y)
    Edit(
        "skreg/_core/losses.hpp",
        "// logsumexp(f) - f_y, where y holds class indices",
        """\
struct LogCosh {
    template <typename T> static T eval(T y, T f, T, T &derivative) {
        const T r = f - y, size = std::abs(r);
        derivative = tanh(r);
        return size + log(T(1) + exp(T(-2) * size)) - T(0.69314718055994530942);
    }
};

""",
    ),
    Edit("skreg/_core/losses.hpp", ">;\n\n// n entries; weight s[i]", ", LogCosh"),
    Edit(
        "skreg/losses.py",
        "}\n\n\ndef regression_loss(",
        """\
    "log_cosh": Loss(
        "log_cosh", 8, "identity", lambda y, f, _: np.log(np.cosh(f - y))
    ),
""",
    ),
)

PENALTY = (  # |w| and ten times its square: an elastic net of its own
    Edit(
        "skreg/penalties.py",
        "_BUILT_IN = {",
        '''\
class Steep(_BuiltIn):
    """Sum of |w| + 5 w^2."""

    is_convex = is_separable = has_metric_prox = True

    def value(self, W, lam=1.0):
        W, lam = cast(W, lam)
        return float(lam * np.sum(np.abs(W) + 5 * W * W))

    def prox(self, W, step, lam=1.0):
        W, t = cast(W, np.multiply(step, lam))
        return np.sign(W) * np.maximum(np.abs(W) - t, 0) / (1 + 10 * t)

    def _form(self, lam, shape):
        return Form(l1=lam, l2=10 * lam)


''',
    ),
    Edit("skreg/penalties.py", "}\n\n\ndef without_groups(", ", Steep"),
    Edit(
        "skreg/penalties.py",
        "}\n\n\ndef check_penalty(",
        '    "steep": lambda l1_ratio: Steep(),\n',
    ),
)

OPTIMIZER = (  # Adagrad (Duchi, Hazan & Singer, 2011)
    Edit(
        "skreg/_core/update.hpp",
        "// In the order of the codes in skreg/_optimizers.py.\n",
        """\
struct Adagrad {
    static constexpr bool is_heavy = false, is_adaptive = true, is_corrected = false;
    template <typename T>
    static T direction(T g, T *, T *second, const StepScalars<T> &s, T &metric) {
        *second = *second + g * g;
        metric = std::sqrt(*second) * s.metric_scale + s.epsilon;
        return g;
    }
};

""",
    ),
    Edit("skreg/_core/update.hpp", ">;\n\nconstexpr int N_METHODS", ", Adagrad"),
    Edit(
        "skreg/_optimizers.py",
        "}\n\n\n@dataclass(frozen=True)\nclass Optimizer:",
        '    "adagrad": Method(5, ("second",), is_adaptive=True),\n',
    ),
)

RECIPES = {
    "activation": ACTIVATION,
    "loss": LOSS,
    "penalty": PENALTY,
    "optimizer": OPTIMIZER,
}


def apply(root):
    """Patch the sources below `root`.

    Raises
    ------
    ValueError
        If the place of an edit is not there exactly once.
    """
    for name, edits in RECIPES.items():
        for edit in edits:
            path = Path(root) / edit.file
            source = path.read_text(encoding="utf-8")
            if source.count(edit.before) != 1:
                raise ValueError(f"{name}: {edit.before!r} is not once in {edit.file}")
            path.write_text(source.replace(edit.before, edit.text + edit.before))


if __name__ == "__main__":
    apply(".")
