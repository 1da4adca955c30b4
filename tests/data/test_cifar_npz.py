"""CIFAR's binary files and NumPy's archives: right arrays or a DataFormatError."""

import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.data import Npz, read_cifar, read_cifar_file, read_npz
from minigrad.data.cifar import CIFAR10, CIFAR100, parse_cifar
from minigrad.errors import DataFormatError


def record(labels: bytes, seed: int) -> bytes:
    return labels + np.random.default_rng(seed).bytes(3072)


def ten(seed: int = 0) -> bytes:
    return b"".join(record(bytes([k]), seed + k) for k in range(3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


def test_a_record_is_a_label_and_three_planes():
    red = bytes(range(256)) * 4
    content = b"\x05" + red + bytes(1024) + b"\xff" * 1024
    x, y = parse_cifar(content, classes=10, name="x")
    assert x.shape == (1, 32, 32, 3) and y.tolist() == [5]
    np.testing.assert_array_equal(x[0, :, :, 0], np.frombuffer(red, np.uint8).reshape(32, 32))
    assert (x[..., 1] == 0).all() and (x[..., 2] == 255).all()


def test_cifar_100_has_a_coarse_and_a_fine_label():
    content = record(b"\x13\x63", 1)
    assert parse_cifar(content, classes=100, name="x")[1] == [0x63]
    assert parse_cifar(content, classes=20, name="x")[1] == [0x13]


@pytest.mark.parametrize(
    ("content", "classes", "message"),
    [
        (ten()[:-1], 10, "9218 bytes; expected a multiple of 3073"),
        (ten(), 100, "9219 bytes; expected a multiple of 3074"),
        (b"", 10, "0 bytes"),
        (record(b"\x00", 1) + record(b"\xc8", 2), 10, "label 200 at index 1; expected 0 to 9"),
        (record(b"\x00\x64", 1), 100, "label 100 at index 0; expected 0 to 99"),
    ],
)
def test_wrong_sizes_and_labels_are_refused(content, classes, message):
    with pytest.raises(DataFormatError, match=message):
        parse_cifar(content, classes=classes, name="x")


@given(st.data())
def test_changed_bytes_give_the_right_array_or_a_data_format_error(folder, data):
    content = bytearray(ten())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.sampled_from([len(content), 3073, 3074, 0, 6146]))]
    path = folder / "batch.bin"
    path.write_bytes(bytes(content))
    try:
        x, y = read_cifar_file(path).arrays
    except DataFormatError:
        return
    planes = x.transpose(0, 3, 1, 2).reshape(len(y), -1)
    again = np.concatenate([y.astype(np.uint8)[:, None], planes], axis=1)
    assert again.tobytes() == bytes(content)


def cifar_tar(path, *, leave_out=(), extra=None):
    inner, train, test, other = CIFAR10
    with tarfile.open(path, "w:gz") as tar:
        for k, name in enumerate([*train, *test, *other]):
            if name not in leave_out:
                content = ten(k)
                member = tarfile.TarInfo(f"{inner}/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        if extra is not None:
            tar.addfile(extra)
    return path


def test_the_archive_and_the_unpacked_folder_give_the_same_sets(tmp_path):
    inner, train, test, _ = CIFAR10
    (tmp_path / inner).mkdir()
    for k, name in enumerate([*train, *test]):
        (tmp_path / inner / name).write_bytes(ten(k))
    a = read_cifar(cifar_tar(tmp_path / "cifar-10-binary.tar.gz"))
    for b in (read_cifar(tmp_path), read_cifar(tmp_path / inner)):
        for left, right in zip(a, b, strict=True):
            for u, v in zip(left.arrays, right.arrays, strict=True):
                np.testing.assert_array_equal(u, v)
    assert len(a[0]) == 15 and len(a[1]) == 3


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train\.bin: missing; expected the binary"):
        read_cifar(tmp_path, classes=100)
    (tmp_path / CIFAR100[0]).mkdir()
    (tmp_path / CIFAR100[0] / "train.bin").write_bytes(record(b"\1\2", 0))
    with pytest.raises(FileNotFoundError, match=r"test\.bin"):
        read_cifar(tmp_path, classes=100)
    with pytest.raises(DataFormatError, match=r"lacks cifar-10-batches-bin/data_batch_3\.bin"):
        read_cifar(cifar_tar(tmp_path / "a.tar.gz", leave_out=["data_batch_3.bin"]))


def npz_bytes(**arrays) -> bytes:
    f = io.BytesIO()
    np.savez(f, **arrays)
    return f.getvalue()


def put(folder, content: bytes, name: str = "x.npz"):
    path = folder / name
    path.write_bytes(content)
    return path


X = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
Y = np.array([0, 1, 2, 1], np.int32)


@pytest.mark.parametrize("names", [("x_train", "y_train"), ("train_images", "train_labels")])
def test_npz_pairs_are_found_by_their_usual_names(folder, names):
    arrays = dict(zip(names, (X, Y), strict=True))
    train, test = read_npz(put(folder, npz_bytes(**arrays)))
    assert test is None
    np.testing.assert_array_equal(train.arrays[0], X)
    assert train.arrays[1].dtype == np.int64
    train, test = read_npz(put(folder, npz_bytes(x=X, y=Y[:, None], x_test=X, y_test=Y)))
    assert len(train) == len(test) == 4


def test_npz_keeps_order_dtype_and_byte_order(folder):
    arrays = {"f": np.asfortranarray(X), "b": X.astype(">f4"), "e": np.zeros((0, 3)), "s": X[::2]}
    with Npz(put(folder, npz_bytes(**arrays))) as npz:
        assert list(npz) == list(arrays) and len(npz) == 4
        for name, array in arrays.items():
            np.testing.assert_array_equal(npz[name], array)
            assert npz[name].dtype.isnative
        with pytest.raises(KeyError):
            npz["other"]


class Evil:
    """Unpickling this would be noticed."""

    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def member(name: str, content: bytes) -> bytes:
    f = io.BytesIO()
    with zipfile.ZipFile(f, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(name, content)
    return f.getvalue()


def npy_header(shape: str, descr: str = "'|u1'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npz_bytes(x_train=np.array([Evil()], object), y_train=Y), "dtype object"),
        (npz_bytes(a=X), "expected arrays x_train and y_train .* found a"),
        (npz_bytes(x=X, y=Y[:3]), "'x' has 4 rows, 'y' 3"),
        (npz_bytes(x=X, y=Y.astype(float)), "'y' is float64"),
        (npz_bytes(x=X, y=-Y), "labels >= 0"),
        (npz_bytes(x=X, y=np.array(["a"] * 4)), "dtype <U1"),
        (npz_bytes(x=X), "expected arrays"),
        (b"PK", "not a zip archive"),
        (b"", "not a zip archive"),
        (npz_bytes(x=X, y=Y)[:-30], "not a zip|damaged"),
        (pickle.dumps(1), "not a zip archive"),
    ],
)
def test_hostile_and_wrong_archives_are_refused(folder, content, message):
    with pytest.raises(DataFormatError, match=message):
        read_npz(put(folder, content))


@pytest.mark.parametrize(
    "content",
    [
        npy_header("(99999999999999,)") + b"abc",
        npy_header("(-1,)"),
        npy_header("(3,)") + b"ab",
        npy_header("(3,)") + b"abcd",
        npy_header("(1,)", "'|O'") + pickle.dumps(1),
        npy_header("(" * 50),
        npy_header("__import__('os')"),
        b"\x93NUMPY\x09\x00rest",
        b"",
    ],
)
def test_headers_are_checked_against_the_bytes_that_follow(folder, content):
    with Npz(put(folder, member("x.npy", content))) as npz, pytest.raises(DataFormatError):
        npz["x"]


@given(st.data())
def test_changed_bytes_in_an_npz_give_an_array_or_a_data_format_error(folder, data):
    content = bytearray(npz_bytes(x=X, y=Y))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        train, _ = read_npz(put(folder, bytes(content[: data.draw(st.integers(0, 10**4))])))
    except DataFormatError:
        return
    assert len(train) == 4  # a bit in a header that does not matter; contents have checksums
    np.testing.assert_array_equal(train.arrays[0], X)
