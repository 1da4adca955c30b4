"""Design: a checkpoint that loads is the one that was saved; a file that is not raises
CheckpointError with the file's name, the tensor's name where there is one, and a reason. Nothing
in a file is ever executed.

Where to go next: `test_atomic.py` (what survives a crash), `test_training.py` (whole runs).
"""

import ast
import io as bytesio
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad.io
from minigrad.errors import ArgError, CheckpointError, DTypeError
from minigrad.tensor import Tensor

DTYPES = [
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
]
DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
NAMES = st.lists(st.text("abcxyz_-0123", min_size=1, max_size=4), min_size=1, max_size=3).map(
    ".".join
)
ARRAYS = hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))


@pytest.fixture(scope="module", autouse=True)
def no_waiting_for_the_disk():
    """What a power cut would lose is not the subject here; `test_atomic.py` waits."""
    with mock.patch("os.fsync"):
        yield


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A small file by `save`, as bytes."""
    path = tmp_path_factory.mktemp("sample") / "net.safetensors"
    minigrad.io.save(
        path,
        {"conv.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "steps": np.array(7)},
        {"epoch": "3"},
    )
    return path.read_bytes()


def write(folder, blob):
    path = Path(folder) / "bad.safetensors"
    path.write_bytes(blob)
    return path


def with_header(header, data=b"\0" * 16):
    """A file with a given header (an object or raw bytes), by hand."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def refuse(folder, blob, *words):
    """The blob must be refused, in one short line that names the file and says these words."""
    path = write(folder, blob)
    with pytest.raises(CheckpointError) as caught:
        minigrad.io.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    for word in words:
        assert word in message
    assert len(message) - len(str(path)) <= 220 and "\n" not in message


# ---- what was saved comes back


@given(
    st.dictionaries(NAMES, ARRAYS, max_size=4),
    st.dictionaries(st.text(max_size=9), st.text(max_size=9)),
)
def test_saved_arrays_come_back_bit_for_bit(tmp_path_factory, tensors, metadata):
    path = tmp_path_factory.getbasetemp() / "round.safetensors"
    minigrad.io.save(path, tensors, metadata)
    loaded = minigrad.io.load(path)
    assert loaded.metadata == metadata and loaded.tensors.keys() == tensors.keys()
    for name, array in tensors.items():
        back = loaded.tensors[name]
        assert back.shape == array.shape and back.dtype == array.dtype
        assert back.tobytes() == array.tobytes() and back.flags.writeable


def test_any_layout_is_saved_by_value(tmp_path):
    a = np.arange(24.0).reshape(2, 3, 4)
    views = {
        "reversed": a[::-1],
        "swapped": a.transpose(2, 0, 1),
        "repeated": np.broadcast_to(a[0], (5, 3, 4)),
        "big": a.astype(">f8"),
        "fortran": np.asfortranarray(a[0]),
    }
    minigrad.io.save(tmp_path / "a", views)
    for name, back in minigrad.io.load(tmp_path / "a").tensors.items():
        assert np.array_equal(back, views[name]) and back.dtype == np.float64


def test_tensors_are_saved_by_their_values(tmp_path):
    minigrad.io.save(tmp_path / "a", {"t": Tensor(np.ones((2, 2), np.float32))})
    assert minigrad.io.load(tmp_path / "a").tensors["t"].tolist() == [[1, 1], [1, 1]]


def test_equal_states_make_equal_files(tmp_path):
    for name in "ab":
        minigrad.io.save(
            tmp_path / name, {"x": np.ones(3), "y": np.zeros(2)}, {"p": "1", "q": "2", "r": "3"}
        )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_order_of_the_tensors_does_not_matter(tmp_path):
    tensors = {"x": np.ones(3), "y": np.zeros(2)}
    minigrad.io.save(tmp_path / "a", tensors)
    minigrad.io.save(tmp_path / "b", dict(reversed(tensors.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_readers_of_safetensors_read_our_files(sample):
    assert safetensors.numpy.load(sample)["conv.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_files_of_other_writers_load_without_digests(tmp_path):
    safetensors.numpy.save_file({"w": np.ones(3, np.float16)}, tmp_path / "a", {"format": "pt"})
    loaded = minigrad.io.load(tmp_path / "a")
    assert loaded.tensors["w"].dtype == np.float16 and loaded.metadata == {"format": "pt"}


def test_bfloat16_is_widened_to_float32(tmp_path):
    blob = with_header({"w": entry("BF16", [2], 0, 4)}, struct.pack("<HH", 0x3F80, 0xC040))
    assert minigrad.io.load(write(tmp_path, blob)).tensors["w"].tolist() == [1.0, -3.0]


# ---- damage


def test_every_flipped_bit_of_a_file_is_found(tmp_path, sample):
    for position in range(len(sample)):
        for bit in range(8) if DEEP else {position % 8, 5}:  # 5: upper and lower case
            damaged = bytearray(sample)
            damaged[position] ^= 1 << bit
            refuse(tmp_path, bytes(damaged))


def test_a_file_cut_anywhere_is_refused(tmp_path, sample):
    for length in range(len(sample)):
        refuse(tmp_path, sample[:length])


@given(st.data())
def test_random_changes_are_refused(tmp_path_factory, sample, data):
    at = data.draw(st.integers(0, len(sample) - 1))
    cut = data.draw(st.integers(0, 20))
    put = data.draw(st.binary(max_size=20))
    damaged = sample[:at] + put + sample[at + cut :]
    path = write(tmp_path_factory.getbasetemp(), damaged)
    if damaged != sample:
        with pytest.raises(CheckpointError):
            minigrad.io.load(path)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(tmp_path_factory, blob):
    with pytest.raises(CheckpointError):
        minigrad.io.load(write(tmp_path_factory.getbasetemp(), blob))


def test_damage_names_the_tensor(tmp_path, sample):
    last = bytearray(sample)
    last[-1] ^= 1
    refuse(tmp_path, bytes(last), "tensor 'conv.weight' is damaged", "SHA-256")


# ---- headers that lie


LIES = {
    "overlap": ({"a": entry("F32", [2], 0, 8), "b": entry("F32", [3], 4, 16)}, "'b'", "overlaps"),
    "hole": ({"a": entry("F32", [2], 0, 8), "b": entry("F32", [1], 12, 16)}, "'b'", "hole"),
    "rest": ({"a": entry("F32", [2], 0, 8)}, "8 bytes of data belong to no tensor"),
    "beyond": ({"a": entry("F32", [4], 0, 16), "b": entry("F32", [4], 16, 32)}, "'b'", "outside"),
    "negative": ({"a": entry("F32", [2], -8, 0), "b": entry("F32", [4], 0, 16)}, "'a'", "outside"),
    "backwards": ({"a": entry("F32", [4], 16, 0)}, "'a'", "outside"),
    "size": ({"a": entry("F32", [5], 0, 16)}, "'a'", "needs 20 bytes"),
    "product": ({"a": entry("F32", [2**62, 2**62], 0, 16)}, "'a'", "needs"),
    "minus": ({"a": entry("F32", [-4], 0, 16)}, "'a'", "negative size"),
    "dtype": ({"a": entry("F33", [4], 0, 16)}, "'a'", "dtype"),
    "exotic": ({"a": entry("F8_E4M3", [16], 0, 16)}, "'a'", "F8_E4M3"),
    "words": ({"a": entry("F32", "four", 0, 16)}, "'a'", "shape"),
    "three": ({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8, 16]}}, "'a'", "offsets"),
    "nothing": ({"a": {}}, "'a'", "entry"),
    "metadata": ({"__metadata__": {"a": 1}}, "__metadata__"),
    "newer": (
        {"__metadata__": {"minigrad": '{"minigrad_format":2,"writer":"minigrad 9"}'}},
        "minigrad 9",
        "format 2",
    ),
    "evil": ({"../../x": entry("F32", [4], 0, 16)}, "'../../x'", "path"),
    "root": ({"/etc/x": entry("F32", [4], 0, 16)}, "'/etc/x'", "path"),
    "nul": ({"a\0b": entry("F32", [4], 0, 16)}, "a\\x00b", "printed"),
    "long": ({"n" * 10_000_000: entry("F32", [4], 0, 16)}, "10000000 characters"),
    "empty name": ({"": entry("F32", [4], 0, 16)}, "0 characters"),
}


@pytest.mark.parametrize("lie", LIES)
def test_header_that_lies_is_refused(tmp_path, lie):
    header, *words = LIES[lie]
    refuse(tmp_path, with_header(header), *words)


BROKEN = {
    "no utf-8": (b'{"\xff\xfe": 1}', "UTF-8"),
    "no json": (b'{"a": ', "not JSON"),
    "deep": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested"),
    "twice": (
        b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},'
        b'"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
        "'a' comes twice",
    ),
    "huge number": (b'{"a":' + b"9" * 10_000 + b"}", "not JSON"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_header_that_is_no_json_is_refused(tmp_path, fault):
    raw, word = BROKEN[fault]
    refuse(tmp_path, with_header(raw), word)


# ---- other files


class Bomb:
    """Unpickling it would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def foreign(trap):
    """Files of other formats, each of which would act if it were unpickled."""
    bomb = Bomb(trap)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield "pickle", pickle.dumps(bomb, protocol)
    objects = bytesio.BytesIO()
    np.savez(objects, a=np.array([bomb], dtype=object))
    yield ".npz", objects.getvalue()
    archive = bytesio.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("archive/data.pkl", pickle.dumps(bomb))
    yield "torch.save", archive.getvalue()
    plain = bytesio.BytesIO()
    np.save(plain, np.ones(3))
    yield ".npy", plain.getvalue()
    yield "HDF5", b"\x89HDF\r\n\x1a\n" + b"\0" * 64
    yield "gzip", b"\x1f\x8b\x08" + b"\0" * 64
    yield "the file is empty", b""
    yield "too short", b"\0" * 7
    yield "unknown format", b"GIF89a" + b"\0" * 64


def test_foreign_files_are_named_and_never_executed(tmp_path):
    trap = str(tmp_path / "trap")
    for kind, blob in foreign(trap):
        refuse(tmp_path, blob, kind, "not a minigrad checkpoint (magic")
    assert not os.path.exists(trap)


def test_no_module_of_io_can_unpickle_or_evaluate():
    folder = Path(minigrad.io.__file__).parent
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = (
                [a.name for a in node.names]
                if isinstance(node, (ast.Import, ast.ImportFrom))
                else []
            )
            assert not {"pickle", "marshal", "shelve", "dill", "joblib", "torch"} & set(names), file
            called = node.func if isinstance(node, ast.Call) else None
            assert getattr(called, "id", "") not in ("eval", "exec", "compile", "__import__"), file


def test_errors_of_the_operating_system_pass_with_their_path(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        minigrad.io.load(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        minigrad.io.load(tmp_path)


# ---- what cannot be saved


@pytest.mark.parametrize(
    "value",
    [
        np.array([None]),
        np.array(["a"]),
        np.ones(2, complex),
        np.ones(2, np.longdouble),
        np.ma.ones(3),
        [1.0, 2.0],
        np.array(["2020-01-01"], "M8[D]"),
        np.ones(2, [("a", "f4")]),
    ],
    ids=lambda v: str(getattr(v, "dtype", type(v).__name__)),
)
def test_other_kinds_of_values_are_refused(tmp_path, value):
    with pytest.raises(DTypeError, match="tensor 'x' is "):
        minigrad.io.save(tmp_path / "a", {"x": value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", "../x", "/x", "a/../b", "a\nb", "a\0", "__metadata__", "n" * 1025, 3]
)
def test_names_that_no_loader_should_trust_are_refused(tmp_path, name):
    with pytest.raises(ArgError, match="tensor name"):
        minigrad.io.save(tmp_path / "a", {name: np.ones(2)})
    assert list(tmp_path.iterdir()) == []


def test_metadata_is_text(tmp_path):
    with pytest.raises(ArgError, match="'epoch': int"):
        minigrad.io.save(tmp_path / "a", {}, {"epoch": 3})
