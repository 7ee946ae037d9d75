"""Many trainings at once, in one program: the same network with other seeds and learning rates."""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from cnn_jax.data import Augment, Dataset, check
from cnn_jax.layers import Layer
from cnn_jax.train.batch import check_batch_size
from cnn_jax.train.epoch import make_epoch
from cnn_jax.train.evaluate import evaluate
from cnn_jax.train.fit import Record
from cnn_jax.train.measures import CLASSIFICATION, Measure, cross_entropy
from cnn_jax.train.schedules import check_learning_rate
from cnn_jax.train.state import State, create

_MEMBERS = "members"


class SweepProgress(NamedTuple):
    """What is known after an epoch of all members.

    `epoch` counts from 1; `records[i]` holds the numbers of member `i`. `states` is one `State`
    whose arrays have an axis of members in front; `member` takes one out. It is live: the next
    epoch reuses its memory.
    """

    epoch: int
    epochs: int
    states: State
    records: list[Record]


def sweep(
    model: Layer,
    optimizer: Callable[[jax.Array], optax.GradientTransformation],
    data: Dataset,
    validation: Dataset | None = None,
    *,
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    epochs: int,
    batch_size: int,
    loss: Measure = cross_entropy,
    measures: Mapping[str, Measure] = CLASSIFICATION,
    augment: Augment | None = None,
    at_once: int | None = None,
) -> Iterator[SweepProgress]:
    """Train `model` once for each pair of a learning rate and a seed, all in one jitted program.

    Member `i` is trained as `fit` would train it with `optimizer(learning_rates[i])` and
    `jax.random.key(seeds[i])`.

    - `optimizer`: from a learning rate, a traced `float32[]`, to an optax optimiser. Schedules are
      multiples: `lambda rate: optax.sgd(lambda step: rate * schedule(step))`.
    - `at_once`: how many members each device trains at the same time, by `vmap`; beyond them it
      goes on in a loop within the program. By default all of them, but 1 on a CPU, where
      convolutions with a kernel for each member are slower than the same ones in a row.
    - the rest as in `fit`.

    Members are spread over all local devices. A CPU is one device unless it is told otherwise, and
    the cores serve a sweep best if each is a device that computes on one thread. Before JAX starts:

        os.environ["OMP_NUM_THREADS"] = "1"
        jax.config.update("jax_num_cpu_devices", os.cpu_count())

    Nothing is compiled after the first epoch.

    Raises `ValueError` and `TypeError` as `fit` does, and where there are not as many learning
    rates as seeds.

    >>> import cnn_jax as cnn
    >>> train, test = cnn.data.split(cnn.data.digits())
    >>> model = cnn.serial(cnn.flatten, cnn.dense(10))
    >>> for progress in sweep(
    ...     model, optax.sgd, train, test,
    ...     learning_rates=[0.0001, 0.1, 0.1], seeds=[0, 0, 1], epochs=2, batch_size=64,
    ... ):
    ...     pass
    >>> [record["validation_accuracy"] > 0.5 for record in progress.records]
    [False, True, True]
    >>> member(progress.states, 2).params["dense_0"]["kernel"].shape
    (64, 10)
    """
    check(data)
    if validation is not None and check(validation).shape != data.shape:
        raise ValueError(
            f"sweep: validation has images of shape {list(validation.shape)}, "
            f"data {list(data.shape)}; they must have the same shape"
        )
    if epochs < 1:
        raise ValueError(f"sweep: epochs must be at least 1, not {epochs}")
    check_batch_size("sweep", batch_size)
    if at_once is not None and at_once < 1:
        raise ValueError(f"sweep: at_once must be at least 1 or None, not {at_once}")
    if len(learning_rates) != len(seeds) or not len(seeds):
        raise ValueError(
            "sweep: learning_rates and seeds must be of one length of at least 1, "
            f"not {len(learning_rates)} and {len(seeds)}"
        )
    for rate in learning_rates:
        check_learning_rate("sweep", rate)
    count = len(seeds)
    devices = jax.local_devices()[:count]
    if at_once is None:
        at_once = 1 if devices[0].platform == "cpu" else count
    spread = partial(_spread, devices=devices, at_once=at_once)
    # The last device may have fewer members of its own: it repeats some, which are then dropped.
    every = [i % count for i in range(-(-count // len(devices)) * len(devices))]
    rates = jnp.asarray([learning_rates[i] for i in every], jnp.float32)
    keys = jnp.stack([jax.random.key(operator.index(seeds[i])) for i in every])

    def train(rate: jax.Array, state: State, learn: Any, held_out: Any) -> tuple[State, Any]:
        epoch = make_epoch(
            model, optimizer(rate), loss, batch_size=batch_size, measures=measures, augment=augment
        )
        state, numbers = epoch(state, learn)
        numbers = {f"train_{name}": value for name, value in numbers.items()}
        if held_out is not None:
            options: Any = {"batch_size": batch_size, "loss": loss, "measures": measures}
            validated = evaluate(model, state.params, held_out, **options)
            numbers |= {f"validation_{name}": value for name, value in validated.items()}
        return state, numbers

    begin = spread(lambda rate, key: create(model, optimizer(rate), key, data.shape), shared=0)
    # As in `create`: it runs once, and optimising it takes longer than running it.
    options = {"xla_backend_optimization_level": 0} if devices[0].platform == "cpu" else None
    first = jax.jit(begin, compiler_options=options)(rates, keys)
    epoch = jax.jit(spread(train, shared=2), donate_argnums=1)
    everywhere = NamedSharding(_mesh(devices), PartitionSpec())
    learn = jax.device_put(data[:2], everywhere)
    held_out = None if validation is None else jax.device_put(validation[:2], everywhere)

    def run(states: State) -> Iterator[SweepProgress]:
        for number in range(1, epochs + 1):
            states, numbers = epoch(rates, states, learn, held_out)
            columns = {name: np.asarray(values) for name, values in numbers.items()}
            records = [
                {"epoch": number, **{name: float(column[i]) for name, column in columns.items()}}
                for i in range(count)
            ]
            yield SweepProgress(number, epochs, states, records)

    return run(first)


def member(states: State, index: int) -> State:
    """Return the state of one member of a sweep, on the default device; the others stay."""
    return jax.tree.map(lambda array: jax.device_put(array[index], jax.local_devices()[0]), states)


def _mesh(devices: Sequence[Any]) -> jax.sharding.Mesh:
    return jax.make_mesh((len(devices),), (_MEMBERS,), axis_types=(AxisType.Auto,), devices=devices)


def _spread(
    function: Callable[..., Any], *, shared: int, devices: Sequence[Any], at_once: int
) -> Callable[..., Any]:
    """Map `function` over the first axes of its arguments, but for the last `shared` of them."""

    def here(*arguments: Any) -> Any:
        mapped, same = arguments[: len(arguments) - shared], arguments[len(arguments) - shared :]
        size = jax.tree.leaves(mapped)[0].shape[0]

        def one(members: Any) -> Any:
            return function(*members, *same)

        if at_once >= size:
            return jax.vmap(one)(mapped)
        return lax.map(one, mapped, batch_size=at_once if at_once > 1 else None)

    def everywhere(*arguments: Any) -> Any:
        split, whole = PartitionSpec(_MEMBERS), PartitionSpec()
        specs = (split,) * (len(arguments) - shared) + (whole,) * shared
        return jax.shard_map(
            here, mesh=_mesh(devices), in_specs=specs, out_specs=split, check_vma=False
        )(*arguments)

    return everywhere
