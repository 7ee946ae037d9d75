"""Streams: every example once an epoch, in an order that the seed alone decides, and bounded."""

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import cnn_jax as cnn


def numbered(size):
    """A source whose pictures hold their own number."""
    images = np.arange(size, dtype=np.float32).reshape(-1, 1, 1, 1)
    labels = np.arange(size, dtype=np.int32) % 3
    return cnn.data.InMemory(cnn.data.Dataset(images, labels, ("a", "b", "c")))


def collect(stream):
    with stream:
        return [jax.tree.map(np.asarray, batch) for batch in stream]


def same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        for one, two in zip(batch, other, strict=True):
            np.testing.assert_array_equal(one, two)


@given(
    size=st.integers(1, 23),
    batch_size=st.integers(1, 30),
    seed=st.none() | st.integers(0, 2**32 - 1),
    epochs=st.integers(1, 3),
)
def test_every_example_comes_once_an_epoch(size, batch_size, seed, epochs):
    source = numbered(size)
    stream = cnn.data.stream(source, batch_size, seed=seed, epochs=epochs)
    per_epoch = stream.batches_per_epoch
    assert per_epoch == -(-size // min(batch_size, size))
    assert len(stream) == epochs * per_epoch
    batches = collect(stream)
    assert len(batches) == epochs * per_epoch
    assert {len(batch.labels) for batch in batches} == {min(batch_size, size)}
    for epoch in range(epochs):
        part = batches[epoch * per_epoch : (epoch + 1) * per_epoch]
        numbers = np.concatenate([batch.images.ravel() for batch in part])
        weights = np.concatenate([batch.weights for batch in part])
        labels = np.concatenate([batch.labels for batch in part])
        np.testing.assert_array_equal(labels, numbers % 3)
        counted = numbers[weights == 1]
        assert sorted(counted) == list(range(size))
        assert set(weights) <= {0, 1}
        if seed is None:
            np.testing.assert_array_equal(counted, np.arange(size))
        # What fills up comes last, and is of the same batch.
        count = min(batch_size, size)
        last = counted[(stream.batches_per_epoch - 1) * count :]
        np.testing.assert_array_equal(numbers[-count:], np.resize(last, count))


@given(start=st.integers(0, 12), threads=st.integers(1, 4), ahead=st.integers(1, 5), data=st.data())
def test_a_stream_goes_on_where_another_was(start, threads, ahead, data):
    """The order depends on nothing but the seed, and a position is all that is to be kept."""
    source = numbered(10)
    whole = collect(cnn.data.stream(source, 3, seed=5, epochs=3))
    options = {"seed": 5, "epochs": 3, "threads": threads, "ahead": ahead}
    if data.draw(st.booleans()):
        options["device"] = jax.devices()[0]
    with cnn.data.stream(source, 3, **options) as first:
        for _ in range(start):
            next(first)
        assert first.position == start
        assert len(first) == 12 - start
        position = first.position
    same(collect(cnn.data.stream(source, 3, start=position, **options)), whole[start:])


def test_epochs_and_seeds_differ():
    source = numbered(50)
    one, two = (collect(cnn.data.stream(source, 50, seed=seed, epochs=3)) for seed in (0, 1))
    orders = [batch.images.ravel().tobytes() for batch in one + two]
    assert len(set(orders)) == 6


def test_the_order_is_the_same_for_ever():
    batch = collect(cnn.data.stream(numbered(12), 12, seed=7))[0]
    assert batch.images.ravel().astype(int).tolist() == [5, 11, 0, 1, 7, 3, 4, 10, 9, 6, 2, 8]


def test_batches_are_on_the_device():
    device = jax.devices()[1]
    with cnn.data.stream(numbered(7), 2, device=device) as stream:
        batch = next(stream)
    for leaf in batch:
        assert isinstance(leaf, jax.Array)
        assert leaf.devices() == {device}


def test_a_sharding_will_do():
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    with cnn.data.stream(numbered(8), 4, device=sharding) as stream:
        assert next(stream).images.sharding == sharding


class Counting:
    """A source that counts what is read, and can be told to wait or to fail."""

    def __init__(self, size, fail_at=None):
        self.inner = numbered(size)
        self.labels, self.class_names = self.inner.labels, self.inner.class_names
        self.shape, self.dtype = self.inner.shape, self.inner.dtype
        self.lock, self.read_batches, self.fail_at = threading.Lock(), 0, fail_at

    def read(self, indices):
        with self.lock:
            self.read_batches += 1
        if self.fail_at is not None and self.fail_at in indices:
            raise ValueError("pictures/cat/7.png: the picture is broken: cut off")
        return self.inner.read(indices)


@pytest.mark.parametrize(("ahead", "device"), [(1, None), (3, None), (2, "cpu")])
def test_queues_are_bounded(ahead, device):
    """However long the consumer takes, no more is read than the queues hold."""
    source = Counting(100)
    device = device and jax.devices(device)[0]
    with cnn.data.stream(source, 1, ahead=ahead, threads=2, device=device) as stream:
        for taken in range(1, 4):
            next(stream)
            deadline = time.monotonic() + 5
            expected = taken + ahead * (2 if device else 1)
            while source.read_batches < expected and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.05)
            assert expected <= source.read_batches <= expected + 1


def test_reading_runs_ahead_of_the_consumer():
    source = Counting(10)
    with cnn.data.stream(source, 1, ahead=4) as stream:
        next(stream)
        deadline = time.monotonic() + 5
        while source.read_batches < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert source.read_batches >= 4


@pytest.mark.parametrize("device", [None, "cpu"])
def test_an_error_in_reading_comes_out_and_ends_the_stream(raises, device):
    source = Counting(10, fail_at=7)
    device = device and jax.devices(device)[0]
    stream = cnn.data.stream(source, 2, seed=None, device=device)
    with raises(ValueError, "pictures/cat/7.png: the picture is broken: cut off"):
        list(stream)
    with pytest.raises(StopIteration):
        next(stream)


def test_closing_stops_the_threads():
    before = threading.active_count()
    stream = cnn.data.stream(Counting(1000), 1)
    next(stream)
    stream.close()
    stream.close()
    del stream
    gc.collect()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_a_stream_that_is_over():
    source = numbered(4)
    assert collect(cnn.data.stream(source, 2, start=2)) == []
    stream = cnn.data.stream(source, 2)
    assert len(list(stream)) == 2
    assert list(stream) == []
    assert stream.position == 2


def test_a_streamed_epoch_trains_as_an_epoch_by_hand():
    """`make_step` takes the batches, and what fills up the last one leaves no trace."""
    data = cnn.data.digits()
    few = cnn.data.Dataset(data.images[:50], data.labels[:50], data.class_names)
    model, optimizer = cnn.serial(cnn.flatten, cnn.dense(10)), optax.sgd(0.1)
    step = cnn.train.make_step(model, optimizer)

    def train(batches):
        state = cnn.train.create(model, optimizer, jax.random.key(0), (8, 8, 1))
        for batch in batches:
            state, _ = step(state, batch)
        return state.params

    streamed = train(cnn.data.stream(cnn.data.InMemory(few), 20, seed=None))
    by_hand = train(cnn.data.batches(few, 20))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), streamed, by_hand)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"batch_size": 0}, ValueError, "stream: batch_size must be at least 1, not 0"),
        ({"batch_size": 2.0}, TypeError, "stream: batch_size must be an int, not 2.0"),
        ({"batch_size": True}, TypeError, "stream: batch_size must be an int, not True"),
        ({"epochs": 0}, ValueError, "stream: epochs must be at least 1, not 0"),
        ({"workers": -1}, ValueError, "stream: workers must be at least 0, not -1"),
        ({"threads": 0}, ValueError, "stream: threads must be at least 1, not 0"),
        ({"ahead": 0}, ValueError, "stream: ahead must be at least 1, not 0"),
        ({"seed": -1}, ValueError, "stream: seed must be at least 0, not -1"),
        ({"seed": 2**32}, ValueError, "stream: seed must be below 2**32, not 4294967296"),
        (
            {"start": 5, "epochs": 2},
            ValueError,
            "stream: start must be at most 4, the number of batches in 2 epochs, not 5",
        ),
    ],
)
def test_wrong_numbers(raises, options, kind, message):
    with raises(kind, message):
        cnn.data.stream(numbered(3), **{"batch_size": 2} | options)


def test_a_source_without_examples(raises):
    with raises(ValueError, "stream: the source has no examples"):
        cnn.data.stream(cnn.data.Subset(numbered(3), []), 2)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of 24 pictures, the last of which is broken."""
    folder = tmp_path_factory.mktemp("pictures")
    pixels = np.random.default_rng(0).integers(0, 256, (24, 5, 4), np.uint8)
    for i, picture in enumerate(pixels):
        (folder / "ab"[i // 12]).mkdir(exist_ok=True)
        Image.fromarray(picture).save(folder / "ab"[i // 12] / f"{i:02}.png")
    (folder / "b" / "99.png").write_bytes(b"broken")
    return folder


def test_worker_processes_give_what_threads_give(pictures, raises):
    """In the same order, without sharing memory, with errors as they were, on the device."""
    source = cnn.data.folder_source(pictures)
    whole = cnn.data.Subset(source, np.arange(24))
    expected = collect(cnn.data.stream(whole, 5, seed=3, epochs=2))
    options = {"seed": 3, "epochs": 2, "workers": 2, "start": 3, "device": jax.devices()[0]}
    same(collect(cnn.data.stream(whole, 5, **options)), expected[3:])
    message = (
        f"{pictures / 'b' / '99.png'}: not a picture: expected one of PNG, JPEG, BMP, GIF, TIFF, "
        "WEBP, PPM"
    )
    with raises(ValueError, message):
        collect(cnn.data.stream(source, 5, workers=1))


def run(script):
    """Run a script in a fresh interpreter, where warnings are errors."""
    root = str(Path(cnn.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": root}
    return subprocess.run(
        [sys.executable, "-W", "error", script],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )


def test_a_program_that_leaves_its_stream_open_ends(tmp_path, pictures):
    """Neither threads nor processes keep it from ending, and they end without a word."""
    script = tmp_path / "leaves.py"
    script.write_text(
        textwrap.dedent(f"""
            import cnn_jax as cnn, numpy as np

            def main():
                source = cnn.data.Subset(cnn.data.folder_source({str(pictures)!r}), np.arange(24))
                global kept
                kept = [cnn.data.stream(source, 5, workers=workers) for workers in (0, 1)]
                for stream in kept:
                    print(next(stream).images.shape)
                raise SystemExit(3)

            if __name__ == "__main__":
                main()
        """)
    )
    done = run(script)
    assert (done.returncode, done.stdout, done.stderr) == (3, "(5, 5, 4, 1)\n" * 2, "")


def test_a_script_without_a_guard_is_told(tmp_path, pictures):
    script = tmp_path / "unguarded.py"
    script.write_text(
        textwrap.dedent(f"""
            import cnn_jax as cnn, numpy as np

            source = cnn.data.Subset(cnn.data.folder_source({str(pictures)!r}), np.arange(24))
            next(cnn.data.stream(source, 5, workers=1))
        """)
    )
    done = run(script)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "must do its work below `if __name__ == '__main__':`" in done.stderr
    assert len(last) < 400


def test_memory_does_not_grow_with_the_data(tmp_path):
    """The peak of a process that streams 128 MiB is that of one that streams 16 MiB."""
    script = tmp_path / "stream.py"
    script.write_text(
        textwrap.dedent("""
            import resource
            import cnn_jax as cnn

            source = cnn.data.open_source(FILE)
            total = 0
            with cnn.data.stream(source, 64) as stream:
                for batch in stream:
                    total += int(batch.weights.sum())
            assert total == len(source.labels)
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        """)
    )
    peaks = []
    for size in (256, 2048):
        images = tmp_path / f"train-{size}-images-idx3-ubyte"
        with open(images, "wb") as file:
            file.write(bytes((0, 0, 8, 3)) + size.to_bytes(4, "big") + (256).to_bytes(4, "big") * 2)
            for _ in range(size):
                file.write(bytes(256 * 256))
        labels = tmp_path / f"train-{size}-labels-idx1-ubyte"
        cnn.data.write_idx(labels, np.zeros(size, np.uint8))
        text = script.read_text().replace("FILE", repr(str(images)))
        (tmp_path / f"{size}.py").write_text(text)
        done = run(tmp_path / f"{size}.py")
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    # In KiB; the difference of the files is 112 MiB.
    assert peaks[1] - peaks[0] < 24 * 1024
