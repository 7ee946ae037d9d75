"""Part 7: the gradient of a small network by hand, by `jax.grad`, and put to use by SGD."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from cnn_jax import ops, reference
from cnn_jax.lecture.board import beside, matrix, number, paragraph, table, titled
from cnn_jax.lecture.figures import Grid, panels, side_by_side, style
from cnn_jax.plots.style import BLUE, FAINT, ORANGE, PlainLogFormatter, styled

# One example, with numbers small enough to follow by hand.
SIGNAL = (1.0, 2.0, -1.0, 0.0, 3.0)
TARGET = 3.0
W1 = (1.0, -1.0, 2.0)
W2 = (1.0, -1.0, 2.0, -1.0, 1.0)

# The network that the training data come from: a detector of lonely pixels, counted by place.
TEACHER = ((-1.0, 1.0, -1.0), (1.0, 2.0, 3.0, 2.0, 1.0))
EXAMPLES = 64
LEARNING_RATE = 0.01
GOOD_ENOUGH = 1e-6
MAX_EPOCHS = 40
STARTS = 10

Weights = dict[str, jax.Array]


class Result(NamedTuple):
    """The forward pass, the three factors of the gradient, its checks, and a training run."""

    z1: jax.Array
    """`[5]`: the signal, padded, correlated with W1."""
    a1: jax.Array
    """`[5]`: ReLU of `z1`."""
    a2: float
    loss: float
    dz1_dw1: jax.Array
    """`[3, 5]`: column i is the window of the signal that Z1_i saw."""
    da1_dz1: jax.Array
    """`[5, 5]`: diagonal, 1 where ReLU lets its input through."""
    dloss_da1: jax.Array
    """`[5, 1]`."""
    by_hand: jax.Array
    """`[3]`: the product of the three factors."""
    by_grad: jax.Array
    """`[3]`: `jax.grad`'s."""
    by_differences: np.ndarray
    """`[3]`: central differences of the NumPy reference in float64."""
    jacobians: tuple[jax.Array, jax.Array, jax.Array]
    """The three factors as `jax.jacobian` finds them."""
    losses: list[np.ndarray]
    """For each start, the mean training loss before the first epoch and after every one."""
    fitted: list[bool]
    """For each start, whether the loss fell below `GOOD_ENOUGH`."""
    targets: np.ndarray
    """`[64]`: what the network was to learn; this and the rest are of the first start that fits."""
    before: np.ndarray
    """`[64]`: its predictions before training."""
    after: np.ndarray
    """`[64]`: its predictions after it."""
    learnt_w1: np.ndarray
    """`[3]`: W1 after training, scaled so that its middle is 1."""
    learnt_w2: np.ndarray
    """`[5]`: W2 after training, scaled the other way."""


class Run(NamedTuple):
    """One training run: its first and last weights and its mean losses."""

    first: Weights
    last: Weights
    losses: np.ndarray


def forward(weights: Weights, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Z1 `[5]`, A1 `[5]` and A2 `[]` of one signal `[5]`.

    `Z1 = correlation of x, padded, with W1; A1 = ReLU(Z1); A2 = W2^T A1`
    """
    z1 = ops.correlate(x[:, None], weights["W1"][:, None, None], padding="SAME")[:, 0]
    a1 = ops.relu(z1)
    return z1, a1, weights["W2"] @ a1


def loss(weights: Weights, x: jax.Array, y: jax.Array) -> jax.Array:
    """`(A2 - y)^2` of one signal `[5]` and its target."""
    return (forward(weights, x)[2] - y) ** 2


def factors(weights: Weights, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The derivative by hand, as three factors `[3, 5]`, `[5, 5]`, `[5, 1]`.

    `dloss/dW1 = dZ1/dW1 dA1/dZ1 dloss/dA1`

    >>> weights = {"W1": jnp.array(W1), "W2": jnp.array(W2)}
    >>> three = factors(weights, jnp.array(SIGNAL), jnp.array(TARGET))
    >>> [factor.shape for factor in three]
    [(3, 5), (5, 5), (5, 1)]
    >>> (three[0] @ three[1] @ three[2]).ravel().tolist()
    [10.0, -2.0, -2.0]
    """
    z1, _, a2 = forward(weights, x)
    padded = jnp.pad(x, 1)
    dz1_dw1 = jnp.stack([padded[0:5], padded[1:6], padded[2:7]])
    da1_dz1 = jnp.diag((z1 > 0).astype(z1.dtype))
    dloss_da1 = 2 * (a2 - y) * weights["W2"][:, None]
    return dz1_dw1, da1_dz1, dloss_da1


def jacobians(
    weights: Weights, x: jax.Array, y: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The same three factors by `jax.jacobian`; rows there are outputs, here they are inputs."""
    z1, a1, _ = forward(weights, x)
    dz1_dw1 = jax.jacobian(lambda w1: forward({**weights, "W1": w1}, x)[0])(weights["W1"])
    da1_dz1 = jax.jacobian(ops.relu)(z1)
    dloss_da1 = jax.jacobian(lambda a1: (weights["W2"] @ a1 - y) ** 2)(a1)
    return dz1_dw1.T, da1_dz1.T, dloss_da1[:, None]


def differences(w1: ArrayLike, step: float = 1e-4) -> np.ndarray:
    """The gradient with respect to W1 by central differences, without JAX."""

    def value(w1: np.ndarray) -> float:
        x, kernel = np.array(SIGNAL)[:, None], w1[:, None, None]
        a1 = np.maximum(reference.correlate(x, kernel, padding="SAME")[:, 0], 0)
        return float((np.array(W2) @ a1 - TARGET) ** 2)

    w1 = np.asarray(w1, np.float64)
    steps = step * np.eye(w1.size)
    return np.array([(value(w1 + h) - value(w1 - h)) / (2 * step) for h in steps])


def examples() -> tuple[jax.Array, jax.Array]:
    """Signals `[64, 5]` and the targets `[64]` that the teacher gives them."""
    signals = jax.random.normal(jax.random.key(0), (EXAMPLES, 5))
    return signals, predict(_weights(*TEACHER), signals)


def predict(weights: Weights, signals: jax.Array) -> jax.Array:
    """A2 `[n]` of signals `[n, 5]`."""
    return jax.vmap(lambda x: forward(weights, x)[2])(signals)


def train(seed: int) -> Run:
    """SGD, one example at a time, until the mean loss is below `GOOD_ENOUGH`."""
    signals, targets = examples()
    key_1, key_2, shuffles = jax.random.split(jax.random.key(seed), 3)
    first = {
        "W1": 0.5 * jax.random.normal(key_1, (3,)),
        "W2": 0.5 * jax.random.normal(key_2, (5,)),
    }
    state = first, OPTIMIZER.init(first)
    losses = [float(_mean_loss(first, signals, targets))]
    while losses[-1] > GOOD_ENOUGH and len(losses) <= MAX_EPOCHS:
        order = jax.random.permutation(jax.random.fold_in(shuffles, len(losses)), EXAMPLES)
        state = _epoch(state, signals[order], targets[order])
        losses.append(float(_mean_loss(state[0], signals, targets)))
    return Run(first, state[0], np.array(losses))


def compute() -> Result:
    """Works out one gradient in three ways, then trains from several starts."""
    weights, x, y = _weights(W1, W2), jnp.array(SIGNAL), jnp.array(TARGET)
    z1, a1, a2 = forward(weights, x)
    three = factors(weights, x, y)
    runs = [train(seed) for seed in range(STARTS)]
    fitted = [bool(run.losses[-1] <= GOOD_ENOUGH) for run in runs]
    shown = runs[fitted.index(True)] if any(fitted) else runs[0]
    signals, targets = examples()
    # ReLU(c z) = c ReLU(z) for c > 0, so W1 is only determined up to a scale that W2 undoes.
    scale = shown.last["W1"][1]
    return Result(
        z1=z1,
        a1=a1,
        a2=float(a2),
        loss=float(loss(weights, x, y)),
        dz1_dw1=three[0],
        da1_dz1=three[1],
        dloss_da1=three[2],
        by_hand=(three[0] @ three[1] @ three[2])[:, 0],
        by_grad=jax.grad(loss)(weights, x, y)["W1"],
        by_differences=differences(W1),
        jacobians=jacobians(weights, x, y),
        losses=[run.losses for run in runs],
        fitted=fitted,
        targets=np.asarray(targets),
        before=np.asarray(predict(shown.first, signals)),
        after=np.asarray(predict(shown.last, signals)),
        learnt_w1=np.asarray(shown.last["W1"] / scale),
        learnt_w2=np.asarray(shown.last["W2"] * scale),
    )


def board(result: Result) -> str:
    """The forward pass, the three factors with their shapes, the checks, the training run."""
    padded = np.pad(np.array(SIGNAL), 1)
    shown = result.losses[result.fitted.index(True)] if any(result.fitted) else result.losses[0]
    return "\n".join(
        [
            "One signal of 5 pixels, one filter W1 of 3 with padding, outputs W2:",
            "",
            f"  X   {matrix(padded)}, with the padding",
            f"  W1  {matrix(W1)}",
            f"  W2  {matrix(W2)}",
            "",
            f"  Z1 = correlation of X with W1     {matrix(result.z1)}",
            f"  A1 = ReLU(Z1)                     {matrix(result.a1)}",
            f"  A2 = W2^T A1                      {number(result.a2)}",
            f"  loss = (A2 - y)² = ({number(result.a2)} - {number(TARGET)})²"
            f"          {number(result.loss)}",
            "",
            "The chain rule, back from the loss:",
            "",
            "  ∂loss/∂W1  =  ∂Z1/∂W1 · ∂A1/∂Z1 · ∂loss/∂A1",
            "     3x1          3x5       5x5        5x1",
            "",
            "  ∂Z1/∂W1     column i is the window of X that Z1_i saw",
            "  ∂A1/∂Z1     1 where ReLU let Z1_i through, else 0",
            "  ∂loss/∂A1   2 (A2 - y) W2",
            "",
            beside(
                titled("∂Z1/∂W1", matrix(result.dz1_dw1)),
                "·",
                titled("∂A1/∂Z1", matrix(result.da1_dz1)),
                "·",
                titled("∂loss/∂A1", matrix(result.dloss_da1)),
                "=",
                titled("∂loss/∂W1", matrix(result.by_hand[:, None])),
            ),
            "",
            table(
                ["∂loss/∂W1", "", "", ""],
                [
                    ["by hand", *map(number, result.by_hand)],
                    ["jax.grad", *map(number, result.by_grad)],
                    ["finite differences", *map(number, result.by_differences)],
                ],
            ),
            "",
            f"Now SGD (optax.sgd, learning rate {LEARNING_RATE}) on {EXAMPLES} signals, labelled",
            "by a network with",
            "",
            f"  W1 {matrix(TEACHER[0])}",
            f"  W2 {matrix(TEACHER[1])}",
            "",
            paragraph(
                f"From {sum(result.fitted)} of {STARTS} random starts the mean loss falls below",
                f"{GOOD_ENOUGH:g}; the others are caught in a local minimum, and still there after",
                f"{MAX_EPOCHS} epochs. The first that fits took {len(shown) - 1} epochs, from",
                f"{shown[0]:.3g} to {shown[-1]:.2g}, and learnt",
            ),
            "",
            f"  W1 {matrix(result.learnt_w1)}",
            f"  W2 {matrix(result.learnt_w2)}",
            "",
            "scaled so that the filter's middle is 1 (ReLU lets W1 grow where W2 shrinks).",
        ]
    )


def figures(result: Result) -> dict[str, Figure]:
    """The product of the three factors, and the training run."""
    product = side_by_side(
        [
            Grid(result.dz1_dw1, "∂Z1/∂W1\n3 x 5", "the windows of X"),
            "×",
            Grid(result.da1_dz1, "∂A1/∂Z1\n5 x 5", "where ReLU is open"),
            "×",
            Grid(result.dloss_da1, "∂loss/∂A1\n5 x 1", "2 (A2 - y) W2"),
            "=",
            Grid(result.by_hand[:, None], "∂loss/∂W1\n3 x 1", "as jax.grad's"),
        ],
        title="Backpropagation: the gradient is a product of three factors",
    )
    return {"backpropagation": product, "sgd": _fitting(result)}


@styled
def _fitting(result: Result) -> Figure:
    figure, (left, right) = panels("SGD until it fits", 2)
    style(left, "Mean training loss", "epoch", "mean of (A2 - y)²")
    for losses, fitted in zip(result.losses, result.fitted, strict=True):
        colour, line = (BLUE, "-") if fitted else (ORANGE, "--")
        left.semilogy(losses, line, color=colour, linewidth=1.8)
    left.yaxis.set_major_formatter(PlainLogFormatter())
    left.axhline(GOOD_ENOUGH, color=FAINT, linewidth=1, linestyle=":")
    left.annotate(
        "good enough",
        (1, GOOD_ENOUGH),
        (0, 4),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        size=9,
        color=FAINT,
    )
    legend = [
        ("-", BLUE, f"{sum(result.fitted)} of {STARTS} starts fit"),
        ("--", ORANGE, f"{result.fitted.count(False)} are caught"),
    ]
    handles = [
        left.plot([], [], line, color=colour, label=label)[0] for line, colour, label in legend
    ]
    left.legend(handles=handles, frameon=False, fontsize=10, loc="center right")
    style(right, "Predictions of the 64 targets", "target y", "prediction A2")
    span = result.targets.min(), result.targets.max()
    right.plot(span, span, color=FAINT, linewidth=1)
    right.plot(result.targets, result.before, "o", color=ORANGE, mfc="none", label="before")
    right.plot(result.targets, result.after, "o", color=BLUE, markersize=4, label="after")
    right.legend(frameon=False, fontsize=10, loc="upper left")
    return figure


OPTIMIZER = optax.sgd(LEARNING_RATE)


@jax.jit
def _epoch(state, signals, targets):
    def step(state, example):
        weights, memory = state
        gradient = jax.grad(loss)(weights, *example)
        change, memory = OPTIMIZER.update(gradient, memory)
        return (optax.apply_updates(weights, change), memory), None

    return jax.lax.scan(step, state, (signals, targets))[0]


@jax.jit
def _mean_loss(weights: Weights, signals: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.mean((predict(weights, signals) - targets) ** 2)


def _weights(w1: ArrayLike, w2: ArrayLike) -> Weights:
    return {"W1": jnp.asarray(w1), "W2": jnp.asarray(w2)}
