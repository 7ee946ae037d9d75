"""All benchmarks, one after another: `python -m benchmarks`."""

import time

import typer

from benchmarks import command, kernels, naive, scaling, training

PLANS = {
    "naive": naive.plan,
    "kernels": kernels.plan,
    "training": training.plan,
    "scaling": scaling.plan,
}


def main(
    quick: command.Quick = False,
    out: command.Out = None,
    compare: command.Compare = None,
    threads: command.Threads = None,
    overwrite: command.Overwrite = False,
) -> None:
    """Run all benchmarks, in under 20 minutes on two cores; --quick takes under two.

    Each can be run alone, with more options: python -m benchmarks.naive, .kernels, .training or
    .scaling.
    """
    options = command.Options(quick, out or command.default_folder(), compare, threads, overwrite)
    plans = [make(quick) for make in PLANS.values()]
    command.check(plans, options)
    console = command.new_console()
    started = time.monotonic()
    for plan in plans:
        command.carry_out(plan, options, console)
    console.print(f"all: {time.monotonic() - started:.0f} s; see {options.out}")


if __name__ == "__main__":
    typer.run(main)
