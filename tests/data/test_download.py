"""Fetching from a server on loopback that is honest, wrong, cut off, slow or gone."""

import errno
import hashlib
import io
import socket
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import cnn_jax as cnn
from cnn_jax.commands.fetch import fetch_named
from cnn_jax.data.download import read_registry


class Server(ThreadingHTTPServer):
    """Serves `files`; of those named in `cut` only the first bytes, of `stuck` nothing."""

    daemon_threads = False  # so that closing waits for them, and no socket stays open

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.asked = {}, set(), []
        self.stuck, self.released = set(), threading.Event()

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self):
        name = self.path.lstrip("/")
        self.server.asked.append(name)
        if name in self.server.stuck:
            self.server.released.wait(10)
            return
        if name not in self.server.files:
            self.send_error(404)
            return
        content = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if name in self.server.cut else content)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """The server is here, whatever the environment says of the rest of the network."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def sha(content, algorithm="sha256"):
    return hashlib.new(algorithm, content).hexdigest()


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


CONTENT = np.random.default_rng(0).bytes(300_000)


def test_a_file_is_fetched_once(server, tmp_path):
    server.files["x"] = CONTENT
    path = tmp_path / "deep" / "x"
    for checksum in (sha(CONTENT), f"sha256:{sha(CONTENT).upper()}", f"md5:{sha(CONTENT, 'md5')}"):
        assert cnn.data.fetch(server.url("x"), path, checksum) == path
    assert path.read_bytes() == CONTENT
    assert server.asked == ["x"]
    assert files_in(tmp_path) == ["deep/x"]


def test_a_wrong_checksum(server, tmp_path, raises):
    server.files["x"] = CONTENT
    wrong = f"sha256:{sha(b'other')}"
    message = (
        f"{server.url('x')}: the file that came does not have the checksum {wrong}; it was not kept"
    )
    with raises(ValueError, message):
        cnn.data.fetch(server.url("x"), tmp_path / "x", wrong)
    assert files_in(tmp_path) == []


def test_a_file_that_is_damaged_is_fetched_anew_and_kept_until_then(server, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"damaged")
    server.files["x"] = b"wrong too"
    with pytest.raises(ValueError, match="does not have the checksum"):
        cnn.data.fetch(server.url("x"), path, sha(CONTENT))
    assert path.read_bytes() == b"damaged"
    server.files["x"] = CONTENT
    cnn.data.fetch(server.url("x"), path, sha(CONTENT))
    assert path.read_bytes() == CONTENT
    assert files_in(tmp_path) == ["x"]


def one_line(caught, url):
    text = str(caught.value)
    assert text.startswith(f"{url}: the file did not come (")
    assert "\n" not in text
    assert caught.value.strerror is None  # so that a command prints the text as it is


def test_a_transfer_that_is_cut_off(server, tmp_path):
    server.files["x"] = CONTENT
    server.cut.add("x")
    with pytest.raises(OSError, match="the file did not come") as caught:
        cnn.data.fetch(server.url("x"), tmp_path / "x", sha(CONTENT))
    one_line(caught, server.url("x"))
    assert files_in(tmp_path) == []
    server.cut.clear()
    cnn.data.fetch(server.url("x"), tmp_path / "x", sha(CONTENT))
    assert files_in(tmp_path) == ["x"]


def test_a_file_that_the_server_does_not_have(server, tmp_path):
    with pytest.raises(OSError, match=r"404 .*Not Found") as caught:
        cnn.data.fetch(server.url("x"), tmp_path / "x", sha(CONTENT))
    one_line(caught, server.url("x"))
    assert files_in(tmp_path) == []


def test_a_server_that_is_silent(server, tmp_path):
    server.stuck.add("x")
    with pytest.raises(OSError, match=r"[Tt]imed? ?out") as caught:
        cnn.data.fetch(server.url("x"), tmp_path / "x", sha(CONTENT), timeout=0.2)
    one_line(caught, server.url("x"))
    assert files_in(tmp_path) == []


def test_no_server(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
        with pytest.raises(OSError, match="refused") as caught:
            cnn.data.fetch(url, tmp_path / "x", sha(CONTENT))
    one_line(caught, url)
    assert files_in(tmp_path) == []


def test_a_full_disk(server, tmp_path, monkeypatch):
    class Full:
        def __init__(self, **_):
            pass

        def __call__(self, url, output_file, pooch):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pooch.HTTPDownloader", Full)
    with pytest.raises(OSError, match="No space left") as caught:
        cnn.data.fetch(server.url("x"), tmp_path / "x", sha(CONTENT))
    assert caught.value.filename == str(tmp_path / "x")
    assert files_in(tmp_path) == []


def test_progress_is_told(server, tmp_path):
    class Progress:
        total = 0
        done = 0

        def update(self, amount):
            self.done += amount

        def reset(self):
            self.done = 0

        def close(self):
            pass

    server.files["x"], progress = CONTENT, Progress()
    cnn.data.fetch(server.url("x"), tmp_path / "x", sha(CONTENT), progress=progress)
    assert progress.total == progress.done == len(CONTENT)


def archive(kind, content):
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as opened:
            for name, data in content.items():
                opened.writestr(name, data)
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as opened:
            for name, data in content.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                opened.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def registry(server, tmp_path):
    """Write a registry of data sets, each a dict of files by name, and serve them."""

    def write(**data_sets):
        lines = ["# data sets of our own", ""]
        for name, files in data_sets.items():
            for file, content in files.items():
                server.files[f"{name}/{file}"] = content
                lines.append(f"{name}/{file} sha256:{sha(content)} {server.url(f'{name}/{file}')}")
        path = tmp_path / "registry.txt"
        path.write_text("\n".join(lines))
        return path

    return write


@pytest.fixture
def idx_files(tmp_path, noise):
    folder = tmp_path / "made"
    folder.mkdir()
    for part in ("train", "t10k"):
        cnn.data.write_idx(folder / f"{part}-images-idx3-ubyte.gz", noise(4, 6, 5))
        cnn.data.write_idx(
            folder / f"{part}-labels-idx1-ubyte.gz", np.array([0, 1, 1, 0], np.uint8)
        )
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_data_set_of_several_files(server, tmp_path, registry, idx_files, noise):
    listed = registry(tiny=idx_files)
    assert cnn.data.downloadable(listed) == ("tiny",)
    kept = tmp_path / "kept"
    folder = cnn.data.download("tiny", folder=kept, registry=listed)
    assert cnn.data.download("tiny", folder=kept, registry=listed) == folder
    assert folder == kept / "tiny"
    assert sorted(server.asked) == sorted(f"tiny/{name}" for name in idx_files)
    assert files_in(folder) == sorted(idx_files)
    np.testing.assert_array_equal(cnn.data.load(folder, "test").images[..., 0], noise(4, 6, 5))


def test_the_files_that_came_are_kept_where_another_did_not(server, tmp_path, registry, idx_files):
    listed = registry(tiny=idx_files)
    last = list(idx_files)[-1]
    server.cut.add(f"tiny/{last}")
    with pytest.raises(OSError, match="the file did not come"):
        cnn.data.download("tiny", folder=tmp_path / "kept", registry=listed)
    assert files_in(tmp_path / "kept" / "tiny") == sorted(set(idx_files) - {last})
    server.cut.clear()
    server.asked.clear()
    cnn.data.download("tiny", folder=tmp_path / "kept", registry=listed)
    assert server.asked == [f"tiny/{last}"]


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
@pytest.mark.parametrize("top", ["", "tiny-files/"])
def test_archives_are_unpacked_and_not_kept(server, tmp_path, registry, idx_files, kind, top):
    packed = archive(kind, {top + name: data for name, data in idx_files.items()})
    listed = registry(tiny={f"tiny.{kind}": packed})
    folder = cnn.data.download("tiny", folder=tmp_path / "kept", registry=listed)
    assert cnn.data.download("tiny", folder=tmp_path / "kept", registry=listed) == folder
    assert folder == tmp_path / "kept" / "tiny" / "unpacked" / top.rstrip("/")
    assert files_in(tmp_path / "kept") == sorted(f"tiny/unpacked/{top}{name}" for name in idx_files)
    assert server.asked == [f"tiny/tiny.{kind}"]
    assert cnn.data.load(folder).size == 4


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_archives_that_are_broken(tmp_path, registry, kind):
    packed = archive(kind, {"a": CONTENT})
    listed = registry(cut={f"x.{kind}": packed[: len(packed) // 2]})
    with pytest.raises(ValueError, match=r": the archive can't be unpacked: "):
        cnn.data.download("cut", folder=tmp_path / "kept", registry=listed)
    assert [path.name for path in (tmp_path / "kept" / "cut").iterdir()] == [f"x.{kind}"]


def test_archives_that_reach_outside(tmp_path, registry):
    """Even with the right checksum nothing is written outside the data set's folder."""
    kept, content = tmp_path / "kept", {"a": b"1", "../../../outside": b"2"}
    listed = registry(
        tar={"x.tar.gz": archive("tar.gz", content)}, zip={"x.zip": archive("zip", content)}
    )
    with pytest.raises(ValueError, match=r"x\.tar\.gz: the archive can't be unpacked: "):
        cnn.data.download("tar", folder=kept, registry=listed)
    # Of names in a zip what leads outside is left away.
    cnn.data.download("zip", folder=kept, registry=listed)
    assert files_in(kept) == ["tar/x.tar.gz", "zip/unpacked/a", "zip/unpacked/outside"]
    assert not (tmp_path / "outside").exists()


def test_unknown_names(tmp_path, raises, registry):
    message = (
        "download: unknown name 'imagenet'; the data sets are cifar10, cifar100, fashion-mnist, "
        "mnist"
    )
    with raises(ValueError, message):
        cnn.data.download("imagenet", folder=tmp_path)
    listed = registry(tiny={"x": b"1"})
    message = f"download: unknown name 'mnist'; the data sets of {listed} are tiny"
    with raises(ValueError, message):
        cnn.data.download("mnist", folder=tmp_path, registry=listed)


GOOD = f"a/b sha256:{sha(b'')} http://x/y"
SHAPE = "expected DATASET/FILE, a checksum and an address, got"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a/b", f"{SHAPE} 'a/b'"),
        (f"{GOOD} z", f"{SHAPE} {GOOD + ' z'!r}"),
        (GOOD[2:], f"{SHAPE} {GOOD[2:]!r}"),
        (f"../../{GOOD}", f"{SHAPE} {'../../' + GOOD!r}"),
        (f"a/..{GOOD[1:]}", f"{SHAPE} {'a/..' + GOOD[1:]!r}"),
        ("a/b xyz http://x", "'xyz' is not a checksum such as sha256:1f2e..."),
        ("a/b crc:12 http://x", "'crc:12' is not a checksum such as sha256:1f2e..."),
        ("a/b sha256: http://x", "'sha256:' is not a checksum such as sha256:1f2e..."),
        ("a/b 12 file:///etc/passwd", "'file:///etc/passwd' is not an address of http or https"),
        ('a/b "12', "No closing quotation"),
    ],
)
def test_registries_that_are_malformed(tmp_path, raises, line, message):
    path = tmp_path / "registry"
    path.write_text(f"{GOOD}\n\n{line}\n")
    with raises(ValueError, f"{path}, line 3: {message}"):
        read_registry(path)


def test_a_registry_that_is_no_text(tmp_path, raises):
    path = tmp_path / "registry"
    path.write_bytes(b"\xff\xfe\xfa")
    with raises(ValueError, f"{path}: expected a registry in UTF-8 text"):
        read_registry(path)


def test_the_registry_of_the_package():
    data_sets = read_registry()
    assert {name: len(files) for name, files in data_sets.items()} == {
        "mnist": 4,
        "fashion-mnist": 4,
        "cifar10": 1,
        "cifar100": 1,
    }
    for files in data_sets.values():
        for file in files:
            assert file.url.endswith(file.name)
            algorithm, digits = file.checksum.split(":")
            assert (algorithm, len(digits)) == ("sha256", 64)


def test_the_folder_for_data(tmp_path, monkeypatch):
    monkeypatch.setenv("CNN_JAX_DATA", str(tmp_path))
    assert cnn.data.data_folder() == tmp_path
    monkeypatch.delenv("CNN_JAX_DATA")
    assert cnn.data.data_folder().name == "cnn_jax"


def test_load_fetches_by_name(server, tmp_path, monkeypatch, registry, idx_files):
    """All of it at once: a name, the user's cache, the files, the class names."""
    listed = registry(mnist=idx_files)
    monkeypatch.setenv("CNN_JAX_DATA", str(tmp_path / "cache"))
    entries = read_registry(listed)
    monkeypatch.setattr("cnn_jax.data.formats.downloadable", lambda: tuple(entries))
    monkeypatch.setattr(
        "cnn_jax.data.formats.download", lambda name: cnn.data.download(name, registry=listed)
    )
    assert cnn.data.parts("mnist") == ("train", "test")
    data = cnn.data.load("mnist", "test")
    assert (data.size, len(data.class_names)) == (4, 10)
    assert files_in(tmp_path / "cache" / "mnist") == sorted(idx_files)
    assert len(server.asked) == 4


def test_commands_show_what_is_fetched(server, registry, tmp_path, monkeypatch, capsys):
    path = registry(ours={"a": CONTENT, "b": CONTENT})
    module = sys.modules["cnn_jax.data.download"]
    read = read_registry
    monkeypatch.setattr(module, "read_registry", lambda given=None: read(given or path))
    monkeypatch.setenv("CNN_JAX_DATA", str(tmp_path / "kept"))
    fetch_named("ours")
    assert files_in(tmp_path / "kept") == ["ours/a", "ours/b"]
    assert capsys.readouterr().err.count("fetching ours") == 2
    fetch_named("ours")  # it is there
    fetch_named(str(tmp_path))  # a path, not a name
    assert capsys.readouterr().err == ""
    assert server.asked == ["ours/a", "ours/b"]
