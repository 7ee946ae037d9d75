"""Which kernel an operation gets: the first that applies and is known to win, else XLA's own."""

from jax import lax

from cnn_jax.cpu import choose_convolution, dense, pooling, sums
from cnn_jax.cpu.choice import Choice, Place, elsewhere, stock
from cnn_jax.cpu.settings import FAMILIES
from cnn_jax.cpu.tuning import Tuner
from cnn_jax.cpu.views import Order

POOLING = (
    lax.reduce_window_max_p,
    lax.reduce_window_min_p,
    lax.reduce_window_sum_p,
    lax.select_and_scatter_add_p,
    lax.select_and_gather_add_p,
)
PRIMITIVES = (lax.conv_general_dilated_p, *POOLING, sums.PRIMITIVE)


def concerned(primitive, avals_in, avals_out, params, kernels: tuple[str, ...] = FAMILIES) -> bool:
    """Whether there is a choice at all: most sums and products stay XLA's."""
    if primitive is sums.PRIMITIVE:
        return sums.concerned(avals_in, avals_out, params, kernels)
    if primitive is dense.PRIMITIVE:
        return dense.concerned(avals_in, avals_out, params, kernels)
    return primitive in PRIMITIVES


def choose(
    primitive,
    avals_in,
    avals_out,
    params,
    place: Place = Place.HERE,
    kernels: tuple[str, ...] = FAMILIES,
    fixed: tuple[bool, ...] = (False, False),
    order: Order | None = None,
    tuner: Tuner | None = None,
) -> Choice:
    """The kernel for one equation, from its abstract values and parameters.

    A convolution's operands are `fixed` that lie in memory already as they are given. What is
    pooled lies in memory in that `order`, if that is known to be another one than its own. A
    `tuner` times the kernels for a convolution that runs here instead.
    """
    sizes = [size for aval in (*avals_in, *avals_out) for size in aval.shape]
    if not all(isinstance(size, int) for size in sizes):
        return stock("a size is not known when the program is compiled")
    if primitive is lax.conv_general_dilated_p:
        return choose_convolution.choose(avals_in, avals_out, params, place, kernels, fixed, tuner)
    if primitive is sums.PRIMITIVE:
        return sums.choose(avals_in, params)
    if primitive is dense.PRIMITIVE:
        return dense.choose(avals_in, avals_out, params, elsewhere(place))
    if "pooling" not in kernels:
        return stock("the pooling kernels are switched off")
    return pooling.choose(primitive, avals_in, params, native=place is Place.HERE, order=order)
