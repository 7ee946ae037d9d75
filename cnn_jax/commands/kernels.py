"""The faster CPU kernels of `cnn_jax.cpu`, as the commands use them."""

import importlib.util

from cnn_jax.commands.errors import asked_for


def install_kernels(wanted: bool = True) -> str:
    """Install the CPU kernels where they exist and are wanted; say in a line what will run."""
    if not wanted:
        return "XLA's own (the CPU kernels were left off)"
    if importlib.util.find_spec("cnn_jax.cpu") is None:
        return "XLA's own (cnn_jax.cpu is not installed)"
    from cnn_jax import cpu

    # Before JAX starts its threads, which asking for the backend does.
    with asked_for():
        cpu.install()

    import jax

    if jax.default_backend() != "cpu":
        return f"XLA's own, on {jax.default_backend()}"
    # One line: runs of spaces line up columns, line ends separate entries.
    return "; ".join(" ".join(line.split()) for line in str(cpu.status()).splitlines())
