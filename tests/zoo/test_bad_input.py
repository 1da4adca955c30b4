"""What the command line says of bad images, damaged runs, full disks and Ctrl-C: one line, a code,
and nothing half-written."""

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest

import zoo
from minigrad import io
from zoo import cli
from zoo.cli import told
from zoo.config import TrainConfig
from zoo.run_folder import make_folder

try:
    import resource
except ImportError:  # not on Windows
    resource = None


@pytest.fixture
def run(tmp_path):
    """A run of LeNet on two classes."""
    folder = tmp_path / "run"
    make_folder(folder, {"config.json": TrainConfig(model="lenet").text()})
    facts = zoo.datasets.DatasetInfo("two", ("a", "b"), (0.5,), (0.2,), 1, (28, 28))
    net = zoo.get_model("lenet", num_classes=2)
    io.save(folder / "best.safetensors", net.state_dict(), {"data": facts.to_json()})
    return folder


def said(capsys, *arguments):
    """(exit code, what is said), which must be one line."""
    code = cli.main(list(map(str, arguments)))
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith(f"zoo {arguments[0]}: error: ")
    return code, error


def npy(shape, kind="<f4"):
    """A NumPy file whose header promises more than there is."""
    header = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    header += b" " * (117 - len(header)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def png(width, height):
    """A picture whose header promises more than there is."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


BAD_IMAGES = {
    "huge.npy": (npy((10**6, 10**6)), "not a NumPy array file"),
    "overflow.npy": (npy((10**13, 10**13)), "not a NumPy array file"),
    "negative.npy": (npy((-1, 28)), "not a NumPy array file"),
    "header.npy": (b"\x93NUMPY\x01\x00", "not a NumPy array file"),
    "objects.npy": (npy((28, 28), "|O"), "not a NumPy array file"),
    "bomb.png": (png(100_000, 100_000), "not a readable image (Image size (10000000000 pixels)"),
    "cut.png": (png(28, 28), "not a readable image ("),
    "text.png": (b"hello", "not an image of a format that Pillow knows"),
    "empty.png": (b"", "not an image of a format that Pillow knows"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_file_that_is_no_image_is_named(run, tmp_path, capsys, name):
    content, words = BAD_IMAGES[name]
    if name.endswith(".png"):
        pytest.importorskip("PIL")
    (tmp_path / name).write_bytes(content)
    code, error = said(capsys, "predict", tmp_path / name, "--run", run)
    assert code == 1 and f"{name}: {words}" in error


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((28, 28), np.nan), "floats must lie in [0, 1]"),
        (np.full((28, 28), 255.0), "floats must lie in [0, 1]"),
        (np.full((28, 28), -0.1), "floats must lie in [0, 1]"),
        (np.zeros((28, 28), np.int64), "of uint8 or floats, got int64 (28, 28)"),
        (np.zeros((28, 28), np.uint16), "of uint8 or floats, got uint16"),
        (np.zeros((28, 28, 5), np.uint8), "has 5 channels, the net takes 1"),
        (np.zeros((0, 0), np.uint8), "the image is 0x0, the net takes 28x28; crop or resize"),
        (np.zeros(784, np.uint8), "(H, W) or (H, W, C)"),
    ],
)
def test_an_array_that_is_no_image_is_explained(run, tmp_path, capsys, array, words):
    np.save(tmp_path / "a.npy", array)
    code, error = said(capsys, "predict", tmp_path / "a.npy", "--run", run, "--resize")
    assert code in (1, 2) and words in error


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float64])
def test_arrays_of_bytes_and_of_floats_are_images(run, tmp_path, capsys, dtype):
    np.save(tmp_path / "a.npy", np.ones((28, 28), dtype))
    assert cli.main(["predict", str(tmp_path / "a.npy"), "--run", str(run)]) == 0
    assert "nan" not in capsys.readouterr().out


def test_a_run_of_another_net_is_one_line_that_names_the_file(run, capsys):
    config = (run / "config.json").read_text()
    (run / "config.json").write_text(config.replace("lenet", "resnet20"))
    code, error = said(capsys, "eval", run)
    assert code == 1 and "best.safetensors: " in error and "does not fit ResNetCifar" in error
    assert "missing key: conv1.weight; " in error and "more lines with --debug" in error
    (run / "config.json").unlink()
    code, error = said(capsys, "eval", run)
    assert code == 1 and "config.json: no such file or directory" in error


@pytest.mark.parametrize("content", ["", "[]", "null", "{", '{"epochs": "a"}', "\x00"])
def test_a_damaged_configuration_is_named(run, capsys, content):
    (run / "config.json").write_text(content)
    code, error = said(capsys, "eval", run)
    assert code == 1 and "config.json: not a training configuration" in error


def test_scales_that_no_memory_holds_are_refused(run, capsys):
    code, error = said(capsys, "eval", run, "--view-scales", "9999999,28")
    assert code == 2 and "--view-scales 9999999,28: must be from 1 to 32768" in error


def test_errors_are_told_in_one_line():
    assert told(MemoryError("unable")) == "not enough memory: unable"
    assert told(OSError(28, "No space left on device")) == "no space left on device"
    assert told(FileNotFoundError(2, "No such file", "a.npz")) == "a.npz: no such file"
    assert told(FileNotFoundError("a: not here")) == "a: not here"
    assert told(ImportError("first:\n  b\n  c")) == "first: b; c"
    assert told(ValueError("first:\n" + "  x\n" * 9)).endswith("x; 5 more lines with --debug")


def test_memory_that_is_not_there_is_an_error_of_one_line(capsys, monkeypatch):
    def summary(*args, **options):
        raise MemoryError("unable to allocate 10 TiB")

    monkeypatch.setattr("zoo.cli.commands.summary", summary)
    assert said(capsys, "info", "lenet") == (
        1, "zoo info: error: not enough memory: unable to allocate 10 TiB\n"
    )  # fmt: skip


def test_ctrl_c_outside_of_training_says_so_and_ends_with_130(capsys, monkeypatch):
    def summary(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("zoo.cli.commands.summary", summary)
    assert cli.main(["info", "lenet"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from zoo import cli
sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.mark.skipif(resource is None, reason="needs limits on the size of files")
@pytest.mark.parametrize(
    ("limit", "arguments"),
    [
        (100, ["train", "--model", "lenet", "--out", "out"]),
        (1000, ["convert", "net.npz", "out.safetensors"]),
        (1000, ["graph", "lenet", "--out", "out.svg"]),
    ],
)
def test_what_cannot_be_written_whole_is_not_written(tmp_path, limit, arguments):
    np.savez(tmp_path / "net.npz", **{k: v.numpy() for k, v in zoo.get_model("lenet").state_dict()
                                      .items()})  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), *arguments], cwd=tmp_path, text=True,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1 and "file too large" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["net.npz"]


def test_a_folder_that_was_there_stays_when_writing_fails(tmp_path):
    (tmp_path / "config.json").mkdir()  # a file cannot take its place
    with pytest.raises(OSError, match="config"):
        make_folder(tmp_path, {"config.json": "{}"})
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
    with pytest.raises(OSError, match="config"):
        make_folder(tmp_path / "config.json" / "new", {"config.json/x": "{}"})
    assert not (tmp_path / "config.json" / "new").exists()
