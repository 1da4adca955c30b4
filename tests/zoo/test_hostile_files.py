"""Tricks with zip archives, files that are none of weights, truncated and damaged ones: each is
refused in one line, or gives arrays that were in it.

Sources of the ideas as in `test_hostile_weights.py`, which is about what pickles do.
"""

import io
import pickle
import struct
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from minigrad.errors import CheckpointError
from zoo.weights import read_weights

from .torch_writer import Saver, ordered, pickled

FORMATS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


def zipped(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as out:
        for name, content in members:
            out.writestr(name, content)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_tricks_are_refused(tmp_path):
    saver = Saver()
    good = pickled({"x": saver.tensor(np.zeros(4, np.float32))})
    data, raw = ("n/data.pkl", good), bytes(16)
    zeros = bytes(100 << 20)
    cases = [
        ([data, ("n/../../evil", b""), ("n/data/0", raw)], "points outside the archive"),
        ([data, ("/n/data/0", raw)], "points outside the archive"),
        ([data, ("n/data/0", raw), ("n/data/0", raw)], "comes twice"),
        ([data, data, ("n/data/0", raw)], "comes twice"),
        ([data, ("m/data.pkl", good), ("n/data/0", raw)], "2 members data.pkl"),
        ([("n/m/data.pkl", good)], "0 members data.pkl"),
        ([data], "is missing"),
        ([data, ("n/data/0", raw[:-4])], "has 12 bytes, the pickle says 16"),
        ([data, ("n/data/0", raw), ("n/constants.pkl", b"")], "TorchScript"),
        ([data, ("n/data/0", raw), ("n/byteorder", b"middle")], "byte order is b'middle'"),
        ([data, ("n/data/0", raw), ("n/data/1", zeros)], "refused"),
        ([], "0 members data.pkl"),
    ]
    for members, words in cases:
        path = zipped(tmp_path / "a.pth", members, zipfile.ZIP_DEFLATED)
        with pytest.raises(CheckpointError, match=r"a\.pth: ") as error:
            read_weights(path)
        assert words in str(error.value)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.pth"]


def test_a_key_of_a_storage_cannot_reach_other_members(tmp_path):
    saver = Saver()
    tree = {"x": saver.view(saver.storage(bytes(4), "Float", key="../version", count=1), (), ())}
    saver.storages = {"0": (bytes(4), 1)}
    with pytest.raises(CheckpointError, match="is missing"):
        read_weights(saver.write(tmp_path / "a.pth", tree))


def test_a_flipped_bit_in_a_zip_is_found_by_its_checksum(tmp_path):
    saver = Saver()
    path = saver.write(tmp_path / "a.pth", {"x": saver.tensor(np.full(64, 1.5, np.float32))})
    blob = bytearray(path.read_bytes())
    blob[blob.find(struct.pack("<f", 1.5)) + 8] ^= 1
    path.write_bytes(blob)
    with pytest.raises(CheckpointError, match="damaged"):
        read_weights(path)


def test_what_is_no_file_of_weights_is_named(tmp_path):
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as out:
        out.addfile(tarfile.TarInfo("storages"), io.BytesIO(b""))
    cases = {
        "empty": (b"", "the file is empty"),
        "short": (b"1234567", "too short"),
        "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
        "npy": (b"\x93NUMPY" + bytes(100), "a NumPy .npy file"),
        "text": (b"hello, this is text", "unknown format"),
        "tar": (tar.getvalue(), "tar archive, as torch.save wrote before 2017"),
        "pickle": (pickle.dumps({"w": [1, 2]}, protocol=2), "not one of torch.save"),
        "old pickle": (pickle.dumps([1, 2], protocol=0), "a pickle of protocol 0"),
        "zip": (b"PK\x03\x04" + bytes(40), "not a zip archive"),
        "safetensors": (struct.pack("<Q", 2) + b"{]", "not JSON"),
    }
    for name, (content, words) in cases.items():
        path = tmp_path / f"{name}.pth"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"\.pth: ") as error:
            read_weights(path)
        assert words in str(error.value) and str(error.value).count(str(path)) == 1
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        read_weights(tmp_path)
    if Path("/dev/zero").exists():
        with pytest.raises(CheckpointError, match="not a regular file"):
            read_weights("/dev/zero")


def example(folder, legacy):
    saver = Saver(legacy=legacy)
    x = np.arange(12, dtype=np.float32)
    base = saver.storage(x, key="3")
    weights = ordered(
        {"w": saver.view(base, (3, 4), (1, 3)), "b": saver.tensor(np.ones(3, np.float16))},
        state={"_metadata": ordered({"": {"version": 1}})},
    )
    return saver.write(folder / "good.pth", {"state_dict": weights, "epoch": 3, "acc": 0.5})


@FORMATS
def test_every_truncation_is_refused(tmp_path, legacy):
    blob = example(tmp_path, legacy).read_bytes()
    path = tmp_path / "cut.pth"
    for length in range(len(blob)):
        path.write_bytes(blob[:length])
        with pytest.raises(CheckpointError):
            read_weights(path)


@FORMATS
def test_damaged_bytes_give_arrays_or_the_documented_error(tmp_path, legacy):
    blob = example(tmp_path, legacy).read_bytes()
    path, rng, good = tmp_path / "flip.pth", np.random.default_rng(0), 0
    began = time.perf_counter()
    for _ in range(800):
        damaged = bytearray(blob)
        for place in rng.integers(0, len(blob), rng.integers(1, 4)):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            arrays = read_weights(path).arrays
        except CheckpointError:
            continue
        good += 1
        assert sum(a.size for a in arrays.values()) <= len(blob)
    assert good < 600 and time.perf_counter() - began < 30


def test_damaged_pickles_with_right_checksums_give_arrays_or_the_documented_error(tmp_path):
    saver = Saver()
    tree = {"w": saver.tensor(np.arange(4, dtype=np.float32)), "n": ["a", 1, (2.5, None)]}
    code = pickled({"state_dict": tree["w"], "w": tree["w"], "n": ordered({"k": "v"})})
    rng, path = np.random.default_rng(1), tmp_path / "a.pth"
    for _ in range(600):
        damaged = bytearray(code)
        for place in rng.integers(0, len(code), rng.integers(1, 5)):
            damaged[place] = rng.integers(0, 256)
        saver.write_zip(path, bytes(damaged))
        try:
            read_weights(path)
        except CheckpointError as error:
            assert "\n" not in str(error)
