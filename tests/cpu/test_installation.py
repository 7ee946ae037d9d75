"""install() takes effect, and uninstall() leaves JAX as it was."""

import contextlib
import os
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cnn_jax import cpu
from cnn_jax.cpu import native_library, private
from cnn_jax.cpu.choose import PRIMITIVES

X = jnp.arange(2 * 6 * 6 * 3, dtype=jnp.float32).reshape(2, 6, 6, 3) % 7
KERNEL = jnp.arange(3 * 3 * 3 * 4, dtype=jnp.float32).reshape(3, 3, 3, 4) % 5


def correlate(x, kernel):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def compiled_text(function, *args) -> str:
    return jax.jit(function).lower(*args).as_text()


def test_install_changes_what_was_compiled_before_and_uninstall_changes_it_back(native):
    function = jax.jit(correlate)
    before = function(X, KERNEL)
    assert native_library.TARGET not in compiled_text(correlate, X, KERNEL)
    cpu.install(keep_memory=False)
    assert native_library.TARGET in compiled_text(correlate, X, KERNEL)
    np.testing.assert_allclose(function(X, KERNEL), before, rtol=1e-5)
    assert sum(cpu.status().chosen.values()) > 0
    cpu.uninstall()
    assert native_library.TARGET not in compiled_text(correlate, X, KERNEL)


def test_programs_are_the_same_after_uninstall_as_before_install():
    def network(kernel, x):
        y = correlate(x, kernel)
        pooled = lax.reduce_window(y, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return jnp.sum(pooled) + jnp.sum(
            lax.reduce_window(y, 0.0, lax.add, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
        )

    def texts():
        gradient = jax.grad(network, (0, 1))
        lowered = jax.jit(gradient).lower(KERNEL, X)
        tangent = jax.jit(lambda k, x: jax.jvp(gradient, (k, x), (k, x))).lower(KERNEL, X)
        return lowered.as_text(), lowered.compile().as_text(), tangent.as_text()

    # From one line, which the compiled texts name.
    states = contextlib.nullcontext(), cpu.installed(keep_memory=False), contextlib.nullcontext()
    collected = []
    for state in states:
        with state:
            collected.append(texts())
    before, installed, after = collected
    assert all(now != then for now, then in zip(installed, before, strict=True))
    assert after == before


def test_uninstall_restores_every_table():
    rules, common = dict(private.platform_rules()), dict(private.common_rules())
    uncacheable = set(private.uncacheable_primitives())
    cpu.install(keep_memory=False)
    assert private.common_rules() != common
    cpu.install(kernels=["pooling"], keep_memory=False)
    assert any(private.platform_rules().get(p) is not rules.get(p) for p in PRIMITIVES)
    cpu.uninstall()
    cpu.uninstall()
    assert private.platform_rules() == rules
    assert private.common_rules() == common
    assert private.uncacheable_primitives() == uncacheable


def poolings(x):
    first = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
    return jnp.sum(first * jnp.sin(first))


# Those that JAX has a rule for on one platform: convolutions, of complex numbers above all;
# products of two types; the gradient of a pooling, and its tangent.
FOR_SEVERAL = {
    "convolution and its gradients": (
        jax.value_and_grad(lambda k, x: jnp.sum(correlate(x, k) ** 2), (0, 1)),
        (KERNEL, X),
    ),
    "complex convolution": (
        correlate,
        (X.astype(jnp.complex64), KERNEL.astype(jnp.complex64)),
    ),
    "gradient of a pooling": (jax.grad(poolings), (X,)),
    "tangent of its gradient": (
        lambda x: jax.jvp(jax.grad(poolings), (x,), (x,))[1],
        (X,),
    ),
    "product of narrow numbers": (
        lambda x, y: lax.dot(x, y, preferred_element_type=jnp.float32),
        (jnp.ones((2, 3), jnp.float8_e4m3fn), jnp.ones((3, 4), jnp.float8_e4m3fn)),
    ),
    "loop": (
        lambda x: lax.fori_loop(0, 3, lambda _, y: correlate(y, KERNEL[..., :3]), x),
        (X,),
    ),
}


@pytest.mark.parametrize("name", FOR_SEVERAL)
def test_programs_for_several_platforms_are_those_of_jax_alone(name):
    function, args = FOR_SEVERAL[name]

    def exported(*platforms: str):
        return jax.export.export(jax.jit(function), platforms=platforms)(*args)

    several = [("cpu", "cuda"), ("tpu", "cpu"), ("cpu", "cuda", "rocm", "tpu"), ("cuda", "rocm")]
    states = contextlib.nullcontext(), cpu.installed(keep_memory=False), contextlib.nullcontext()
    collected = []
    for state in states:
        with state:
            collected.append([exported(*platforms) for platforms in (*several, ("tpu",))])
    before, installed, after = collected
    for now, with_them, then in zip(before, installed, after, strict=True):
        assert operations(now) == operations(with_them) == operations(then)
    for now, then in zip(installed[:2], before[:2], strict=True):
        jax.tree.map(np.testing.assert_array_equal, now.call(*args), then.call(*args))


def operations(program) -> list[str]:
    """The names of a program's operations, sorted, as JAX may put some into functions."""
    return sorted(re.findall(r"(?:stablehlo|chlo)\.\w+", program.mlir_module()))


def test_installed_is_undone_when_the_block_fails():
    def fail() -> None:
        with cpu.installed(keep_memory=False):
            assert cpu.status().installed
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not cpu.status().installed


def test_installed_puts_the_outer_settings_back():
    cpu.install(kernels=["xla"], keep_memory=False)
    with cpu.installed(kernels=["pooling"], keep_memory=False):
        assert cpu.status().kernels == ("pooling",)
    assert cpu.status().kernels == ("xla",)


def test_unknown_families_and_switches_are_refused():
    with pytest.raises(
        ValueError,
        match="'fast'; the kernel families are "
        "winograd, outer, planar, depthwise, narrow, implicit, onednn, xla, pooling, dense",
    ):
        cpu.install(kernels=["fast"])
    with pytest.raises(TypeError, match="kernels is a sequence of names, not the string 'xla'"):
        cpu.install(kernels="xla")
    with pytest.raises(TypeError, match="strict is True or False, not 1"):
        cpu.install(strict=1)  # pyright: ignore[reportArgumentType]
    assert not cpu.status().installed


def test_environment_variables_are_read(monkeypatch):
    monkeypatch.setenv("CNN_JAX_CPU_KERNELS", "pooling, xla")
    monkeypatch.setenv("CNN_JAX_CPU_STRICT", "1")
    monkeypatch.setenv("CNN_JAX_CPU_KEEP_MEMORY", "0")
    cpu.install()
    assert cpu.status().kernels == ("xla", "pooling")
    assert cpu.status().strict
    assert cpu.status().memory == "returned"
    monkeypatch.setenv("CNN_JAX_CPU_COMPARE", "perhaps")
    with pytest.raises(ValueError, match="CNN_JAX_CPU_COMPARE is 'perhaps'; it can be 1 or 0"):
        cpu.install()


def test_strict_names_the_operation_and_the_reason():
    cpu.install(strict=True, keep_memory=False)
    with pytest.raises(cpu.FallbackError, match=r"conv_general_dilated of int32\[2,6,6,3\], "):
        jax.jit(correlate)(X.astype(jnp.int32), KERNEL.astype(jnp.int32))


def test_compare_passes_what_agrees(native):
    cpu.install(compare=True, keep_memory=False)
    gradient = jax.jit(jax.grad(lambda x, k: jnp.sum(correlate(x, k) ** 2), (0, 1)))
    fast = gradient(X, KERNEL)
    cpu.uninstall()
    for mine, stock in zip(fast, gradient(X, KERNEL), strict=True):
        np.testing.assert_allclose(mine, stock, rtol=1e-4)


def test_compare_stops_what_disagrees(native, monkeypatch):
    from cnn_jax.cpu import onednn

    call = onednn.call
    monkeypatch.setattr(onednn, "call", lambda c, plan: lambda x, k: 1.01 * call(c, plan)(x, k))
    cpu.install(compare=True, keep_memory=False)
    with pytest.raises(Exception, match=r"oneDNN kernel .forward. and XLA's own disagree: by"):
        jax.block_until_ready(jax.jit(correlate)(X, KERNEL))


def test_explain_names_each_operation(native):
    def loss(kernel, x):
        y = jax.nn.relu(correlate(x, kernel))
        return jnp.sum(lax.reduce_window(y, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"))

    explanation = cpu.explain(jax.grad(loss), KERNEL, X)
    operations = [row.operation for row in explanation.rows]
    assert operations[0] == "convolution, forward"
    assert "convolution, kernel gradient" in operations
    assert "max-pool gradient" in operations
    assert explanation.rows[0].flops == 2 * 2 * 6 * 6 * 4 * 3 * 3 * 3
    assert explanation.rows[0].kernel == "oneDNN"
    assert "float32[2,6,6,3] * float32[3,3,3,4] -> float32[2,6,6,4]" in str(explanation)
    assert not cpu.status().installed


@pytest.mark.parametrize("layout", [("NHWC", "HWIO"), ("NCHW", "OIHW")])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("mapped", [(0, None), (None, 0), (0, 0)])
def test_explain_names_gradients_alike_under_vmap(layout, groups, mapped):
    def loss(kernel, x):
        y = lax.conv_general_dilated(
            x, kernel, (2, 2), "SAME", dimension_numbers=(*layout, layout[0]),
            feature_group_count=groups,
        )  # fmt: skip
        return jnp.sum(jnp.sin(y))

    sizes = {"N": 2, "C": 4, "H": 6, "W": 6}
    window = {"O": 6, "I": 4 // groups, "H": 3, "W": 3}
    shapes = [tuple(window[a] for a in layout[1]), tuple(sizes[a] for a in layout[0])]
    one = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    many = [
        array if axis is None else jax.ShapeDtypeStruct((5, *array.shape), array.dtype)
        for array, axis in zip(one, mapped, strict=True)
    ]
    gradient = jax.grad(loss, (0, 1))
    names = [row.operation for row in cpu.explain(gradient, *one).rows]
    assert sorted(names) == [
        f"convolution, {kind}" for kind in ("forward", "input gradient", "kernel gradient")
    ]
    assert [row.operation for row in cpu.explain(jax.vmap(gradient, mapped), *many).rows] == names


def test_explain_counts_the_rounds_of_a_scan():
    def rounds(x):
        return lax.scan(lambda x, _: (correlate(x, KERNEL[..., :3]), None), x, length=5)[0]

    assert [row.times for row in cpu.explain(rounds, X).rows] == [5]
    assert str(cpu.explain(lambda x: x + 1, X)) == "no convolution or pooling"


def run_program(tmp_path: pathlib.Path, *options: str, **variables: str):
    script = tmp_path / "program.py"
    script.write_text(
        "import sys\nfrom cnn_jax import cpu\n"
        "print(sys.argv[1:], __name__, cpu.status().installed, cpu.status().kernels)\n"
    )
    command = [sys.executable, "-m", "cnn_jax.cpu", *options]
    return subprocess.run(
        [part.replace("SCRIPT", str(script)) for part in command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **variables},
    )


def test_a_program_runs_with_its_own_arguments(tmp_path):
    result = run_program(tmp_path, "--kernels", "pooling", "SCRIPT", "--epochs", "3")
    assert result.stdout == "['--epochs', '3'] __main__ True ('pooling',)\n", result.stderr


def test_a_module_runs(tmp_path):
    result = run_program(tmp_path, "-m", "program", "a")
    assert result.stdout.startswith("['a'] __main__ True"), result.stderr


def test_a_wrong_family_is_one_line(tmp_path):
    result = run_program(tmp_path, "--kernels", "fast", "SCRIPT")
    assert result.returncode == 2
    families = (
        "the kernel families are "
        "winograd, outer, planar, depthwise, narrow, implicit, onednn, xla, pooling, dense"
    )
    assert families in result.stderr.splitlines()[-1]
