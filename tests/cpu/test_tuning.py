"""install(tune=...) takes the kernel that was timed as the fastest, whichever that is, once."""

import json
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax

from cnn_jax import cpu
from cnn_jax.cpu import measurements, tuning
from cnn_jax.cpu.__main__ import main

LAST = ("NHWC", "HWIO", "NHWC")
X = jnp.linspace(-1, 1, 4 * 9 * 9 * 16, dtype=jnp.float32).reshape(4, 9, 9, 16)
KERNEL = jnp.sin(jnp.arange(3 * 3 * 16 * 16, dtype=jnp.float32)).reshape(3, 3, 16, 16)


def correlate(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=LAST)


def loss(x, kernel):
    return jnp.sum(jnp.sin(correlate(x, kernel)))


def kernels_of(function, *args):
    return [row.kernel for row in cpu.explain(function, *args).rows]


@pytest.fixture
def timed(monkeypatch):
    """Seconds by kernel, in place of those measured; and the kernels of every measurement."""
    seconds, asked = {}, []

    def time(runs):
        asked.append(list(runs))
        for run in runs.values():
            run()
        return {name: seconds.get(name, 1.0) for name in runs}

    monkeypatch.setattr(tuning, "_time", time)
    return seconds, asked


def test_the_fastest_is_taken_and_told(native, timed):
    seconds, _ = timed
    seconds.update({"stock XLA": 2e-3, "oneDNN": 3e-3, "Winograd": 1e-3})
    with cpu.installed(keep_memory=False, tune=True, kernels=["winograd", "onednn"]):
        (row,) = cpu.explain(correlate, X, KERNEL).rows
        jax.jit(correlate)(X, KERNEL)
        counted = cpu.status().chosen
    assert row.kernel == "Winograd"
    assert row.reason == "timed: 1 ms (oneDNN 3 ms, stock XLA 2 ms)"
    assert counted == {("conv_general_dilated", row.kernel, row.reason): 1}
    seconds["stock XLA"] = 1e-4
    with cpu.installed(keep_memory=False, tune=True):
        text = jax.jit(correlate).lower(X, KERNEL).as_text()
        assert kernels_of(correlate, X, KERNEL) == ["stock XLA"]
    with cpu.uninstalled():
        assert text == jax.jit(correlate).lower(X, KERNEL).as_text()


@pytest.mark.parametrize(("other", "kernel"), [(0.97e-3, "oneDNN"), (0.9e-3, "Winograd")])
def test_the_usual_kernel_stays_unless_another_is_clearly_faster(native, timed, other, kernel):
    timed[0].update({"oneDNN": 1e-3, "Winograd": other})
    with cpu.installed(keep_memory=False, tune=True):
        assert kernels_of(correlate, X, KERNEL) == [kernel]


def test_each_convolution_is_timed_once(native, timed):
    _, asked = timed
    with cpu.installed(keep_memory=False, tune=True):
        for _ in range(2):
            jax.jit(lambda x, k: correlate(correlate(x, k), k))(X, KERNEL)
            cpu.explain(correlate, X, KERNEL)
        assert cpu.status().tuned == 1
        assert len(asked) == 1
        jax.jit(jax.grad(loss, (0, 1)))(X, KERNEL)
        assert cpu.status().tuned == len(asked) == 3
    assert all("oneDNN" in kernels and "stock XLA" in kernels for kernels in asked)


def test_only_the_families_that_may_be_used_are_timed(native, timed):
    _, asked = timed
    with cpu.installed(keep_memory=False, tune=True, kernels=["onednn"]):
        jax.jit(correlate)(X, KERNEL)
    with cpu.installed(keep_memory=False, tune=True, kernels=["xla"]):
        jax.jit(correlate)(X, KERNEL)
    assert asked == [["oneDNN", "stock XLA"]]


def pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")


def test_poolings_are_timed_too_with_their_gradients(native, timed):
    seconds, asked = timed

    def loss(x):
        return jnp.sum(jnp.sin(pool(x)))

    expected = jax.jit(jax.grad(loss))(X)
    for kernel in ("native windows", "slices", "first-match mask", "stock XLA"):
        seconds.clear()
        seconds[kernel] = 1e-3
        with cpu.installed(keep_memory=False, tune=True):
            got = jax.jit(jax.grad(loss))(X)
            kernels = kernels_of(jax.grad(loss), X)
            counted = {kernel for _, kernel, _ in cpu.status().chosen}
        np.testing.assert_allclose(got, expected, rtol=1e-6)
        assert kernel in kernels
        assert set(kernels) == counted
    assert asked[:2] == [
        ["native windows", "slices", "stock XLA"],
        ["native windows", "first-match mask", "stock XLA"],
    ]


def test_a_pooling_with_a_bias_and_a_relu_before_it_is_not_timed(native, timed):
    seconds, asked = timed
    seconds["stock XLA"] = 1e-9

    def layer(x, kernel, bias):
        return pool(jax.nn.relu(correlate(x, kernel) + bias))

    # Large enough for the three to be computed in one pass.
    x, bias = jnp.tile(X, (4, 2, 2, 1)), jnp.ones((1, 1, 1, 16))
    expected = jax.jit(layer)(x, KERNEL, bias)
    with cpu.installed(keep_memory=False, tune=True, kernels=["pooling"]):
        got = jax.jit(layer)(x, KERNEL, bias)
        chosen = {kernel for name, kernel, _ in cpu.status().chosen if "window" in name}
    assert chosen == {"native windows"}
    assert asked == []
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_a_pooling_of_what_was_converted_is_not_timed(native, timed):
    _, asked = timed

    def widened(x):
        return pool(x.astype(jnp.float32))

    x = X.astype(jnp.float16)
    with cpu.installed(keep_memory=False, tune=True):
        got = jax.jit(widened)(x)
        chosen = {kernel for _, kernel, _ in cpu.status().chosen}
        assert set(kernels_of(widened, x)) == chosen
    assert asked == []
    np.testing.assert_array_equal(got, jax.jit(widened)(x))


CONVOLUTIONS = st.fixed_dictionaries(
    {
        "rank": st.integers(1, 3),
        "batch": st.sampled_from([1, 2, 5]),
        "groups": st.sampled_from([1, 1, 1, 2, 3]),
        "each": st.tuples(st.sampled_from([1, 2, 16]), st.sampled_from([1, 3, 16])),
        "dtype": st.sampled_from(["float32", "float32", "bfloat16"]),
        "first": st.booleans(),
        "axes": st.lists(
            st.fixed_dictionaries(
                {
                    "size": st.integers(1, 7),
                    "window": st.sampled_from([1, 2, 3, 3]),
                    "stride": st.integers(1, 3),
                    "dilation": st.integers(1, 2),
                    "gaps": st.sampled_from([1, 1, 1, 2]),
                    "padding": st.tuples(st.integers(-1, 3), st.integers(-1, 3)),
                }
            ),
            min_size=3,
            max_size=3,
        ),
    }
)


@settings(max_examples=40)
@given(CONVOLUTIONS, st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_every_kernel_that_may_be_taken_computes_the_convolution(case, place, seed):
    rank = case["rank"]
    axes, spatial = case["axes"][:rank], "DHW"[-rank:]
    inputs, outputs = case["groups"] * case["each"][0], case["groups"] * case["each"][1]
    pictures = ("NC" + spatial) if case["first"] else ("N" + spatial + "C")
    sizes = {"N": case["batch"], "C": inputs, "I": case["each"][0], "O": outputs}
    sizes_of = {letter: axis["size"] for letter, axis in zip(spatial, axes, strict=True)}
    window = [axis["window"] for axis in axes] + [sizes["I"], outputs]
    for axis in axes:
        dilated = (axis["size"] - 1) * axis["gaps"] + 1 + sum(axis["padding"])
        assume(dilated >= (axis["window"] - 1) * axis["dilation"] + 1)
    draw = np.random.default_rng(seed)
    x = draw.integers(-3, 4, [{**sizes, **sizes_of}[letter] for letter in pictures])
    kernel = draw.integers(-3, 4, window)

    def convolve(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel,
            [axis["stride"] for axis in axes],
            [axis["padding"] for axis in axes],
            [axis["gaps"] for axis in axes],
            [axis["dilation"] for axis in axes],
            (pictures, spatial + "IO", pictures),
            case["groups"],
        )

    def all_three(x, kernel):
        y, pullback = jax.vjp(convolve, x, kernel)
        return y, *pullback(jnp.round(y % 3))

    def fastest(runs):
        chosen = sorted(runs)[place % len(runs)]
        return {name: 1e-6 if name == chosen else 1.0 for name in runs}

    given_ = jnp.asarray(x, case["dtype"]), jnp.asarray(kernel, case["dtype"])
    with cpu.installed(keep_memory=False, kernels=["xla"]):
        expected = jax.jit(all_three)(*(array.astype(jnp.float32) for array in given_))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "_time", fastest)
        with cpu.installed(keep_memory=False, tune=True):
            got = jax.jit(all_three)(*given_)
    # Small integers: sums in any order are exact in float32, and rounded once in bfloat16.
    tolerance = 1e-5 if case["dtype"] == "float32" else 2e-2
    for mine, true in zip(got, expected, strict=True):
        scale = max(1.0, float(jnp.abs(true).max(initial=0)))
        np.testing.assert_allclose(
            np.asarray(mine, np.float32), np.asarray(true), atol=tolerance * scale, rtol=0
        )


def test_real_times_are_measured_within_any_program(native):
    def program(x, kernel):
        def body(x, _):
            return jnp.tanh(jax.checkpoint(correlate)(x, kernel)), None

        y, _ = lax.scan(body, x, length=2)
        several = jax.vmap(correlate, (None, 0))(x, jnp.stack([kernel, 2 * kernel]))
        return jnp.sum(y) + jnp.sum(jnp.sin(several))

    expected = jax.jit(jax.grad(program, (0, 1)))(X, KERNEL)
    with cpu.installed(keep_memory=False, tune=True):
        with jax.enable_x64(True), jax.debug_nans(True):
            got = jax.jit(jax.grad(program, (0, 1)))(X, KERNEL)
        # Compiled while another program is traced.
        jax.make_jaxpr(lambda x: jax.jit(correlate).lower(X, KERNEL).compile()(X, KERNEL) + x)(X)
        status = cpu.status()
    for mine, true in zip(got, expected, strict=True):
        np.testing.assert_allclose(mine, true, rtol=1e-4, atol=1e-4)
    assert status.tuned
    assert all("timed: " in reason for _, _, reason in status.chosen)
    assert f"are timed; operations so far: {status.tuned}" in str(status)


def test_threads_that_compile_at_once_choose_alike(native, timed):
    _, asked = timed
    functions = [jax.jit(lambda x, k, i=i: correlate(x, k) + i) for i in range(8)]
    results = {}

    def run(i):
        results[i] = functions[i](X, KERNEL)

    with cpu.installed(keep_memory=False, tune=True):
        threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(asked) == 1
    for i in range(8):
        np.testing.assert_array_equal(results[i] - i, functions[i](X, KERNEL) - i)


def test_it_goes_with_strictness_and_comparison(native, timed):
    seconds, _ = timed
    seconds["oneDNN"] = 1e-6
    with cpu.installed(keep_memory=False, tune=True, strict=True, compare=True):
        y = jax.jit(correlate)(X, KERNEL)
    np.testing.assert_allclose(y, correlate(X, KERNEL), rtol=1e-4, atol=1e-4)
    seconds["stock XLA"] = 1e-9
    with (
        cpu.installed(keep_memory=False, tune=True, strict=True),
        pytest.raises(cpu.FallbackError, match="timed: 1e-06 ms"),
    ):
        jax.jit(correlate)(X, KERNEL)


def test_times_are_kept_in_a_file(native, timed, tmp_path):
    seconds, asked = timed
    path = tmp_path / "times.jsonl"
    seconds["oneDNN"] = 1e-3
    with cpu.installed(keep_memory=False, tune=path):
        assert kernels_of(correlate, X, KERNEL) == ["oneDNN"]
        assert cpu.status().tuned_in == str(path)
    (line,) = map(json.loads, path.read_text().splitlines())
    assert line["seconds"]["oneDNN"] == 1e-3
    assert line["measured"]["convolution"]["rhs_shape"] == [3, 3, 16, 16]

    # What is kept counts, not what would be measured now.
    seconds.update({"oneDNN": 1.0, "stock XLA": 1e-9})
    with cpu.installed(keep_memory=False, tune=str(path)):
        assert (kernels_of(correlate, X, KERNEL), len(asked)) == (["oneDNN"], 1)
        kernels_of(jax.grad(loss), X, KERNEL)
        assert len(asked) == 2
    assert len(path.read_text().splitlines()) == 2

    # Other families, or another machine, are other measurements.
    with cpu.installed(keep_memory=False, tune=path, kernels=["onednn"]):
        assert kernels_of(correlate, X, KERNEL) == ["stock XLA"]
    path.write_text(path.read_text().replace(measurements._machine(), "an abacus"))
    with cpu.installed(keep_memory=False, tune=path):
        assert cpu.status().tuned == 0
        assert kernels_of(correlate, X, KERNEL) == ["stock XLA"]
    assert len(path.read_text().splitlines()) == 4


OTHERS = {
    "no JSON": "1,2",
    "another file": "[]",
    "no kernels": '{"machine": "a", "measured": {}, "seconds": {"b": 1.0}}',
    "not the kernel's": '{"machine": "a", "measured": {"kernels": ["c"]}, "seconds": {"b": 1.0}}',
    "no time": '{"machine": "a", "measured": {"kernels": ["b"]}, "seconds": {"b": -1.0}}',
}


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_a_file_of_something_else_is_refused_and_left(tmp_path, text):
    path = tmp_path / "mine.jsonl"
    path.write_text(text)
    with cpu.installed(keep_memory=False, kernels=["xla"]):
        with pytest.raises(ValueError, match=r"mine.jsonl: damaged: expected the times of kernels"):
            cpu.install(tune=path)
        assert cpu.status().kernels == ("xla",)
    assert path.read_text() == text


def test_what_can_not_be_a_file_of_times_is_refused(tmp_path, monkeypatch):
    with pytest.raises(TypeError, match="tune is True, False or the path of a file, not 3"):
        cpu.install(tune=3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"name ends in \.jsonl, not 'yess'"):
        cpu.install(tune="yess")
    with pytest.raises(ValueError, match="there is no folder"):
        cpu.install(tune=tmp_path / "nowhere" / "times.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(ValueError, match="which is a folder"):
        cpu.install(tune=tmp_path / "folder.jsonl")
    monkeypatch.setenv("CNN_JAX_CPU_TUNE", "maybe")
    with pytest.raises(ValueError, match="CNN_JAX_CPU_TUNE is 1, 0 or a file"):
        cpu.install()
    assert not cpu.status().installed


def test_a_file_that_can_not_be_written_is_warned_about(native, timed, tmp_path):
    path = tmp_path / "times.jsonl"
    with cpu.installed(keep_memory=False, tune=path):
        path.mkdir()
        with pytest.warns(RuntimeWarning, match=r"times.jsonl can't be written"):
            y = jax.jit(correlate)(X, KERNEL)
        assert cpu.status().tuned == 1
    np.testing.assert_allclose(y, correlate(X, KERNEL), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("given_by", ["variable", "option", "file"])
def test_it_is_asked_for_outside_the_program(tmp_path, monkeypatch, capsys, given_by):
    program, times = tmp_path / "program.py", tmp_path / "times.jsonl"
    program.write_text("from cnn_jax import cpu\nprint(cpu.status().tuned, cpu.status().tuned_in)")
    options = {"variable": [], "option": ["--tune"], "file": ["--tune-file", str(times)]}[given_by]
    if given_by == "variable":
        monkeypatch.setenv("CNN_JAX_CPU_TUNE", "yes")
    monkeypatch.setattr("sys.argv", [])
    monkeypatch.setattr("sys.path", ["", *sys.path])
    main(["--return-memory", *options, str(program)])
    assert capsys.readouterr().out == f"0 {times if given_by == 'file' else None}\n"


def test_what_is_exported_is_not_timed(native, timed):
    _, asked = timed
    with cpu.installed(keep_memory=False, tune=True):
        exported = jax.export.export(jax.jit(correlate))(X, KERNEL)
    assert not asked
    np.testing.assert_allclose(exported.call(X, KERNEL), correlate(X, KERNEL), rtol=1e-5)
