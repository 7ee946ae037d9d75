"""Which kernel a pooling gets by timing all that there are."""

import functools

from cnn_jax.cpu import pooling, views
from cnn_jax.cpu.choice import Choice, stock
from cnn_jax.cpu.tuning import Candidate, Tuner

_TYPES = ("float32", "bfloat16")


def timed(
    primitive, avals_in, params, usual: Choice, order: views.Order | None, tuner: Tuner | None
) -> Choice:
    """The fastest kernel for a pooling into which nothing before it is taken, or the usual one.

    `order` is as in `choose`. Where another one than the array's own is known nothing is timed,
    since the arrays would have to lie in that.
    """
    moved = order is not None and order != views.straight(len(order))
    if tuner is None or moved or usual.build is None or avals_in[-1].dtype.name not in _TYPES:
        return usual
    plain = pooling.choose(primitive, avals_in, params, native=False)
    candidates = [Candidate(usual, usual.build, avals_in)]
    if plain.build is not None and plain.kernel != usual.kernel:
        candidates.append(Candidate(plain, plain.build, avals_in))
    own = functools.partial(primitive.bind, **params)
    candidates.append(Candidate(stock(""), own, avals_in))
    measured = {
        "pooling": primitive.name,
        "arrays": [aval.str_short() for aval in avals_in],
        "parameters": {name: str(value) for name, value in params.items()},
    }
    return tuner.fastest(measured, usual, candidates)
