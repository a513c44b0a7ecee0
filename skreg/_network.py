"""Architecture of a network and the layout of its parameters."""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import numpy as np

# In the order of the codes in _core/activations.hpp.
ACTIVATIONS = ("identity", "logistic", "tanh", "relu", "leaky_relu", "gelu", "silu")


@dataclass(frozen=True)
class Network:
    """Fully connected network, independent of data and parameters.

    ``theta`` holds W_1, ..., W_L row by row, W_l of shape ``(n_in, n_out)``, then
    b_1, ..., b_L.

    Parameters
    ----------
    units : tuple of int
        Inputs, hidden units, outputs; two entries make a generalized linear model.
    activation : str
        One of `ACTIVATIONS`, for the hidden layers.
    """

    units: tuple
    activation: str

    @property
    def n_layers(self):
        """Number of weight matrices."""
        return len(self.units) - 1

    @property
    def is_smooth(self):
        """Whether predictions are differentiable in the parameters."""
        return self.n_layers == 1 or self.activation not in ("relu", "leaky_relu")

    @property
    def is_homogeneous(self):
        """Whether the activation satisfies a(c z) = c a(z) for c > 0."""
        return self.activation in ("identity", "relu", "leaky_relu")

    @cached_property
    def shapes(self):
        """Shape (n_in, n_out) of each weight matrix."""
        return tuple(pairwise(self.units))

    @cached_property
    def slices(self):
        """Where each W_l, then each b_l, lies in theta: 2 L slices."""
        sizes = [n_in * n_out for n_in, n_out in self.shapes] + list(self.units[1:])
        ends = accumulate(sizes)
        return tuple(slice(end - size, end) for size, end in zip(sizes, ends))

    @property
    def n_weights(self):
        """Number of entries of all weight matrices: the prefix of theta."""
        return self.slices[self.n_layers - 1].stop

    @property
    def n_parameters(self):
        """Length of theta."""
        return self.slices[-1].stop

    def coefs(self, theta):
        """Views of the weight matrices in theta, as a list."""
        return [theta[s].reshape(shape) for s, shape in zip(self.slices, self.shapes)]

    def intercepts(self, theta):
        """Views of the intercepts in theta, as a list."""
        return [theta[s] for s in self.slices[self.n_layers :]]

    def pack(self, coefs, intercepts, dtype):
        """Copy weights and intercepts into a new theta.

        Raises
        ------
        ValueError
            If the shapes are not those of this network.
        """
        given = [np.shape(a) for a in (*coefs, *intercepts)]
        needed = [*self.shapes, *((n,) for n in self.units[1:])]
        if given != needed:
            raise ValueError(
                f"The weights and intercepts have shapes {given}, but this network "
                f"needs {needed}."
            )
        return np.concatenate([np.ravel(a) for a in (*coefs, *intercepts)]).astype(
            dtype, copy=False
        )

    def initial_theta(self, rng, dtype):
        """Draw initial weights and intercepts, those of scikit-learn for one seed.

        Uniform on ±sqrt(6 / (n_in + n_out)), or 2 in place of 6 for logistic units
        (Glorot & Bengio, 2010, equation 16).
        """
        factor = 2.0 if self.activation == "logistic" else 6.0
        coefs, intercepts = [], []
        for n_in, n_out in self.shapes:
            bound = np.sqrt(factor / (n_in + n_out))
            coefs.append(rng.uniform(-bound, bound, (n_in, n_out)))
            intercepts.append(rng.uniform(-bound, bound, n_out))
        return self.pack(coefs, intercepts, dtype)
