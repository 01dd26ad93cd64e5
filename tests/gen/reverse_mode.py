"""Reverse-mode differentiation of float64 numpy arrays: the few operations that the EPG network needs.

A `Node` holds a value and, for each input, a function from the gradient of the output to the gradient of that input.
`gradients` walks the nodes in reverse order of creation. Nothing is fast here and nothing needs to be.
"""

import contextlib
import itertools
import math

import numpy as np

_serial = itertools.count()


class Node:
    __array_ufunc__ = None  # numpy arrays on the left defer to Node

    def __init__(self, value, inputs=()):
        self.value = np.asarray(value, dtype=np.float64)
        self.inputs = inputs  # pairs (node, vjp)
        self.serial = next(_serial)

    @property
    def shape(self):
        return self.value.shape

    def __add__(self, other):
        other = node(other)
        return Node(
            self.value + other.value,
            [(self, lambda g: fit(g, self.shape)), (other, lambda g: fit(g, other.shape))],
        )

    def __mul__(self, other):
        other = node(other)
        return Node(
            self.value * other.value,
            [
                (self, lambda g: fit(g * other.value, self.shape)),
                (other, lambda g: fit(g * self.value, other.shape)),
            ],
        )

    def __pow__(self, power):
        return Node(self.value**power, [(self, lambda g: g * power * self.value ** (power - 1))])

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + -node(other)

    def __rsub__(self, other):
        return node(other) + -self

    def __truediv__(self, other):
        return self * node(other) ** -1.0

    __radd__ = __add__
    __rmul__ = __mul__

    def __matmul__(self, other):
        """Batched product; both sides have the same leading axes, or `other` is a plain matrix."""
        return Node(
            self.value @ other.value,
            [
                (self, lambda g: fit(g @ np.swapaxes(other.value, -1, -2), self.shape)),
                (other, lambda g: fit(np.swapaxes(self.value, -1, -2) @ g, other.shape)),
            ],
        )

    def __getitem__(self, index):
        def vjp(g):
            out = np.zeros(self.shape)
            np.add.at(out, index, g)
            return out

        return Node(self.value[index], [(self, vjp)])

    def reshape(self, *shape):
        return Node(self.value.reshape(*shape), [(self, lambda g: g.reshape(self.shape))])

    def transpose(self, *axes):
        back = np.argsort(axes)
        return Node(self.value.transpose(*axes), [(self, lambda g: g.transpose(*back))])

    def sum(self, axis=None, keepdims=False):
        def vjp(g):
            if axis is not None and not keepdims:
                g = np.expand_dims(g, axis)
            return np.broadcast_to(g, self.shape).copy()

        return Node(self.value.sum(axis=axis, keepdims=keepdims), [(self, vjp)])

    def mean(self, axis=None, keepdims=False):
        total = self.sum(axis, keepdims)
        return total * (total.value.size / self.value.size)


def node(value):
    return value if isinstance(value, Node) else Node(value)


def fit(gradient, shape):
    """Sums a gradient over the axes along which a value of `shape` was broadcast."""
    extra = gradient.ndim - len(shape)
    gradient = gradient.sum(axis=tuple(range(extra)))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and gradient.shape[i] != 1)
    return gradient.sum(axis=stretched, keepdims=True)


def exp(x):
    value = np.exp(x.value)
    return Node(value, [(x, lambda g: g * value)])


def log(x):
    return Node(np.log(x.value), [(x, lambda g: g / x.value)])


def relu(x):
    return Node(np.maximum(x.value, 0.0), [(x, lambda g: g * (x.value > 0.0))])


def gelu(x):
    """The exact form x * Phi(x)."""
    cdf = 0.5 * (1.0 + np.vectorize(math.erf)(x.value / math.sqrt(2.0)))
    density = np.exp(-0.5 * x.value**2) / math.sqrt(2.0 * math.pi)
    return Node(x.value * cdf, [(x, lambda g: g * (cdf + x.value * density))])


def silu(x):
    return x / (1.0 + exp(-x))


def concat(parts, axis):
    borders = np.cumsum([p.shape[axis] for p in parts])[:-1]

    def vjp(i):
        return lambda g: np.split(g, borders, axis=axis)[i]

    return Node(np.concatenate([p.value for p in parts], axis), [(p, vjp(i)) for i, p in enumerate(parts)])


_tape = None  # ("record" or "replay", values) while a finite-difference check runs


@contextlib.contextmanager
def stop_gradient_tape(mode, values):
    """Records every stop-gradient value, or puts the recorded ones back in the same order.

    With the values of the base point replayed, a finite difference of the loss equals its gradient.
    """
    global _tape
    _tape = (mode, values if mode == "record" else iter(values))
    try:
        yield
    finally:
        _tape = None


def stop_gradient(x):
    if _tape is None:
        return Node(x.value)
    mode, values = _tape
    if mode == "record":
        values.append(x.value)
        return Node(x.value)
    return Node(next(values))


def softmax(x):
    """Over the last axis."""
    e = exp(x - stop_gradient(Node(x.value.max(-1, keepdims=True))))
    return e / e.sum(-1, keepdims=True)


def logsumexp(x):
    """Over the last axis, which is dropped."""
    top = stop_gradient(Node(x.value.max(-1, keepdims=True)))
    return log(exp(x - top).sum(-1)) + top.reshape(top.shape[:-1])


def gradients(loss, wanted):
    """d loss / d node for every node in `wanted` (a dict by name); zeros where the loss does not depend on it."""
    reached, stack = {}, [loss]
    while stack:
        n = stack.pop()
        if n.serial not in reached:
            reached[n.serial] = n
            stack.extend(i for i, _ in n.inputs)
    total = {loss.serial: np.ones(loss.shape)}
    for serial in sorted(reached, reverse=True):
        g = total.get(serial)
        for source, vjp in reached[serial].inputs:
            part = vjp(g)
            total[source.serial] = total[source.serial] + part if source.serial in total else part
    return {name: total.get(n.serial, np.zeros(n.shape)) for name, n in wanted.items()}
