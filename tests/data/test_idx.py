"""IDX files: what is written is read, and nothing else is believed."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigrad.data import read_idx, read_idx_folder, read_idx_pair, write_idx
from minigrad.errors import ArgError, DataFormatError, ShapeError

IMAGES = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 3, 4) + bytes(range(24))
LABELS = bytes([0, 0, 8, 1]) + struct.pack(">I", 2) + bytes([7, 1])
DTYPES = [np.uint8, np.int8, np.int16, np.int32, np.float32, np.float64]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("idx")


def put(folder, content: bytes, name: str = "file"):
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["a.idx", "a.idx.gz"])
@given(st.data())
def test_written_arrays_come_back(folder, name, data):
    dtype = data.draw(st.sampled_from(DTYPES))
    array = data.draw(
        hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
    )
    write_idx(folder / name, array)
    back = read_idx(folder / name)
    assert back.dtype == array.dtype and back.dtype.isnative
    np.testing.assert_array_equal(back, array)


def test_gzipped_files_are_the_same_bytes_each_time(folder):
    for name in ("one.gz", "two.gz"):
        write_idx(folder / name, np.arange(1000, dtype=np.int32))
    assert (folder / "one.gz").read_bytes() == (folder / "two.gz").read_bytes()
    assert (folder / "one.gz").read_bytes()[3:8] == bytes(5)  # no name, no time


def test_gzip_is_recognized_by_content_not_by_name(folder):
    plain, zipped = put(folder, IMAGES, "x.gz"), put(folder, gzip.compress(IMAGES), "x")
    np.testing.assert_array_equal(read_idx(plain), read_idx(zipped))
    assert read_idx(plain)[1, 2, 3] == 23


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (LABELS, "images", "0x00000801 is a label file; expected images 0x00000803"),
        (IMAGES, "labels", "0x00000803 is an image file; expected labels 0x00000801"),
        (b"\x89PNG\r\n", None, "not an IDX file, it starts with 0x89504e47"),
        (b"", None, "not an IDX file, it starts with 0x;"),
        (b"\0\0", None, "not an IDX file"),
        (bytes([0, 0, 7, 1]) + bytes(8), None, "type code 0x07; expected one of 0x08"),
        (bytes([0, 0, 8, 0]) + b"x", None, "rank 0; expected 1 to 32"),
        (bytes([0, 0, 8, 255]) + bytes(2000), None, "rank 255"),
        (IMAGES[:9], None, "the header ends after 9 of 16"),
        (IMAGES[:-1], None, "means 24 bytes of data, the file has 23"),
        (IMAGES + b"!", None, "means 24 bytes of data, the file has 25"),
        (bytes([0, 0, 8, 2]) + b"\xff" * 8, None, "asks for 18446744065119617025 bytes, the limit"),
        (bytes([0, 0, 8, 1]) + struct.pack(">I", 10**9), None, "the file has 0"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(folder, content, kind, message):
    with pytest.raises(DataFormatError, match=message):
        read_idx(put(folder, content), kind=kind)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(IMAGES)[:-9], "damaged gzip file"),
        (gzip.compress(IMAGES)[:20], "damaged gzip file"),
        (gzip.compress(IMAGES)[:-8] + bytes(8), "damaged gzip file .*CRC"),
        (gzip.compress(IMAGES) + b"garbage", "damaged gzip file"),
        (gzip.compress(IMAGES[:-1]), r"\(2, 3, 4\) means 24 bytes of data, found 23"),
        (gzip.compress(IMAGES + b"!"), "found more than 24"),
        (gzip.compress(IMAGES + gzip.compress(b"!" * 99)), "found more than 24"),
        (b"\x1f\x8b", "damaged gzip file"),
        (
            gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 10**9)),
            r"asks for 1000000000 bytes, \d+ gzipped bytes cannot hold them",
        ),
    ],
)
def test_damaged_gzip_is_refused(folder, content, message):
    with pytest.raises(DataFormatError, match=message):
        read_idx(put(folder, content))


def test_a_bomb_is_refused_before_it_unpacks(folder):
    bomb = gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 50_000_000) + bytes(50_000_000))
    assert len(bomb) < 60_000
    with pytest.raises(DataFormatError, match="asks for 50000000 bytes, the limit is 1000000"):
        read_idx(put(folder, bomb), max_bytes=1_000_000)
    assert len(read_idx(put(folder, bomb))) == 50_000_000  # honest, if compressible, data


def test_refusing_costs_no_memory(folder):
    def header(rank: int, size: int) -> bytes:
        return bytes([0, 0, 0x0E, rank]) + struct.pack(">I", size) * rank

    hostile = [header(1, 2**28), header(2, 2**32 - 1), header(32, 9), header(4, 1000)]
    hostile += [gzip.compress(h) for h in hostile] + [gzip.compress(IMAGES + bytes(10**8))]
    tracemalloc.start()
    try:
        for content in hostile:
            with pytest.raises(DataFormatError):
                read_idx(put(folder, content))
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


@given(st.data(), st.booleans())
def test_any_changed_bytes_give_the_right_array_or_a_data_format_error(folder, data, zipped):
    content = bytearray(gzip.compress(IMAGES, mtime=0) if zipped else IMAGES)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    tail = data.draw(st.binary(max_size=3))
    content = content[: data.draw(st.integers(0, len(content)))] + tail
    try:
        array = read_idx(put(folder, bytes(content)))
    except DataFormatError:
        return
    assert array.nbytes < 1000
    if not zipped:  # the array is what the bytes spell
        rank = content[3]
        shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
        assert array.shape == shape
        big_endian = array.astype(array.dtype.newbyteorder(">"))
        assert big_endian.tobytes() == bytes(content[4 + 4 * rank :])


def test_pairs_are_checked_against_each_other(folder):
    x = put(folder, IMAGES, "x")
    data = read_idx_pair(x, put(folder, LABELS, "y"))
    assert data[1][0].shape == (3, 4) and data[0][1] == 7
    assert data.arrays[1].dtype == np.int64
    with pytest.raises(DataFormatError, match="label 7 at index 0; expected 0 to 6"):
        read_idx_pair(x, folder / "y", classes=7)
    assert len(read_idx_pair(x, folder / "y", classes=8)) == 2
    three = bytes([0, 0, 8, 1]) + struct.pack(">I", 3) + bytes(3)
    with pytest.raises(DataFormatError, match=r"2 images but .* 3 labels"):
        read_idx_pair(x, put(folder, three, "three"))
    with pytest.raises(DataFormatError, match="is an image file; expected labels"):
        read_idx_pair(x, x)


def test_folders_are_read_under_all_usual_names(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no train-images-idx3-ubyte\.gz"):
        read_idx_folder(tmp_path)
    put(tmp_path, IMAGES, "train-images.idx3-ubyte")
    put(tmp_path, gzip.compress(LABELS), "train-labels-idx1-ubyte.gz")
    put(tmp_path, IMAGES, "t10k-images-idx3-ubyte")
    put(tmp_path, LABELS, "t10k-labels-idx1-ubyte")
    train, test = read_idx_folder(tmp_path)
    assert len(train) == len(test) == 2


def test_what_the_format_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ArgError, match="dtype int64 has no IDX code"):
        write_idx(tmp_path / "x", np.arange(3))
    with pytest.raises(ShapeError, match="rank 1 to 32"):
        write_idx(tmp_path / "x", np.uint8(3))
    with pytest.raises(ArgError, match="'images' or 'labels'"):
        read_idx(tmp_path / "x", kind="pictures")
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        read_idx(tmp_path)
