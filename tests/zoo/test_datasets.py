"""Data sets by name and by path; fashion-mini is what its checksums say."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import zoo.datasets
from minigrad.data import ArrayDataset, write_idx
from minigrad.errors import ArgError, DataFormatError, MinigradError
from zoo.datasets import (
    catalog,
    data_folder,
    get_dataset,
    get_test_set,
    list_datasets,
    make_fashion_mini,
)
from zoo.datasets.paths import channel_statistics

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
SHARED = Path(__file__).parents[3] / "shared" / "data" / "cifar10_jpeg.zip"
EMBEDDED = Path(zoo.datasets.__file__).parent


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGRAD_DATA", str(tmp_path / "data"))


def test_fashion_mini_has_the_bytes_it_was_made_with():
    for name, sha256 in make_fashion_mini.MINI.items():
        path = EMBEDDED / f"fashion_mini_{name}.gz"
        assert make_fashion_mini.unpacked_sha256(path) == sha256
        assert path.read_bytes()[4:8] == bytes(4)  # no time in the gzip header
    assert sum(p.stat().st_size for p in EMBEDDED.glob("*.gz")) < 2_700_000
    assert "Zalando" in (EMBEDDED / "fashion_mini_LICENSE.txt").read_text()


def test_fashion_mini_has_500_and_100_images_of_each_class():
    train, test, info = get_dataset("fashion-mini")
    for part, count in ((train, 500), (test, 100)):
        assert part.arrays[0].shape == (10 * count, 28, 28)
        assert np.bincount(part.arrays[1]).tolist() == [count] * 10
    assert info.channels == 1 and info.size == (28, 28) and len(info.classes) == 10


def test_the_statistics_of_fashion_mini_are_its_own():
    train, _, info = get_dataset("fashion-mini")
    mean, std = channel_statistics(train.arrays[0])
    np.testing.assert_allclose((info.mean, info.std), (mean, std), atol=5e-5)
    x = train.arrays[0] / 255
    np.testing.assert_allclose((mean[0], std[0]), (x.mean(), x.std()), atol=1e-12)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's dataset-fashion-mnist")
def test_the_script_reproduces_fashion_mini_from_the_original(tmp_path, capsys):
    assert make_fashion_mini.main([str(DEBIAN), "--out", str(tmp_path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    for path in tmp_path.iterdir():
        if path.suffix == ".gz":
            assert path.read_bytes() == (EMBEDDED / path.name).read_bytes()


def test_the_script_refuses_other_files(tmp_path):
    for prefix in ("train", "t10k"):
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", np.zeros((2, 2, 2), np.uint8))
    with pytest.raises(DataFormatError, match="not the original"):
        make_fashion_mini.make(tmp_path, tmp_path)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's dataset-fashion-mnist")
def test_fashion_mnist_is_found_where_debian_puts_it():
    train, test, info = get_dataset("fashion-mnist", fetch=False)
    assert len(train) == 60_000 and len(test) == 10_000
    mean, std = channel_statistics(train.arrays[0])
    np.testing.assert_allclose((info.mean, info.std), (mean, std), atol=5e-5)


def test_mnist_is_read_from_the_data_folder():
    folder = data_folder() / "mnist"
    folder.mkdir(parents=True)
    for prefix in ("train", "t10k"):
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", np.ones((3, 28, 28), np.uint8))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", np.array([9, 0, 1], np.uint8))
    train, _, info = get_dataset("mnist", fetch=False)
    assert train[0][1] == 9 and info.classes[9] == "9"


@pytest.mark.parametrize("place", ["cifar10/cifar-10-binary.tar.gz", "cifar-10-binary.tar.gz"])
def test_cifar_is_read_from_its_archive_in_the_data_folder(place):
    path = data_folder() / place
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as tar:
        for name in [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]:
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = 3073
            tar.addfile(member, io.BytesIO(b"\7" + bytes(3072)))
    train, test, info = get_dataset("cifar10", fetch=False)
    assert len(train) == 5 and len(test) == 1 and info.classes[test[0][1]] == "horse"
    by_path, _, found = get_dataset(path)
    assert len(by_path) == 5 and found.channels == 3 and found.size == (32, 32)


def test_a_set_that_is_absent_says_what_belongs_where():
    with pytest.raises(FileNotFoundError) as caught:
        get_dataset("cifar100", fetch=False)
    for part in ("cifar-100-binary.tar.gz", str(data_folder()), "https://www.cs.toronto.edu"):
        assert part in str(caught.value)


def test_named_sets_are_downloaded_and_checked(monkeypatch):
    files = {}
    for prefix in ("train", "t10k"):
        for kind, shape in (("images-idx3", (4, 28, 28)), ("labels-idx1", (4,))):
            path = data_folder() / f"{prefix}-{kind}-ubyte.gz"
            path.parent.mkdir(exist_ok=True)
            write_idx(path, np.zeros(shape, np.uint8))
            files[path.name] = path.read_bytes()
            path.unlink()
    asked = []

    def deliver(url, path, *, sha256, progress):
        asked.append((url, sha256))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(files[path.name])

    monkeypatch.setattr(zoo.datasets, "download", deliver)
    train, _, _ = get_dataset("mnist")
    assert len(train) == 4
    source = catalog.SOURCES["mnist"]
    assert asked == [(source.base + name, sha256) for name, sha256 in source.files]


def test_offline_every_named_set_names_the_file_and_its_place(monkeypatch):
    def refuse(url, path, *, sha256, progress):
        raise zoo.datasets.DownloadError(f"cannot download {path.name}; put it at {path}")

    monkeypatch.setattr(zoo.datasets, "download", refuse)
    source = catalog.SOURCES["fashion-mnist"]
    monkeypatch.setitem(
        catalog.SOURCES, "fashion-mnist", type(source)(**{**vars(source), "folders": ()})
    )
    with pytest.raises(MinigradError, match=r"put it at .*apt install dataset-fashion-mnist"):
        get_dataset("fashion-mnist")


def test_checksums_are_sha256_and_classes_are_distinct():
    for source in catalog.SOURCES.values():
        assert all(len(bytes.fromhex(sha256)) == 32 for _, sha256 in source.files)
        assert len(set(source.info.classes)) == len(source.info.classes) in (10, 100)
        assert len(source.info.mean) == len(source.info.std) == source.info.channels


def test_unknown_names_get_a_suggestion_and_the_list():
    with pytest.raises(ArgError) as caught:
        get_dataset("fashon-mini")
    assert "did you mean fashion-mini?" in str(caught.value)
    assert all(name in str(caught.value) for name in list_datasets())
    with pytest.raises(ArgError, match=r"unknown data set 'zebra'; available"):
        get_dataset("zebra")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz: no such file"):
        get_dataset("nowhere.npz")


def test_a_folder_of_idx_files(tmp_path):
    for prefix in ("train", "t10k"):
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte", np.full((3, 5, 6), 51, np.uint8))
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte", np.array([46, 0, 1], np.uint8))
    train, _, info = get_dataset(tmp_path)
    assert len(train) == 3 and len(info.classes) == 47 and info.size == (5, 6)
    assert info.mean == pytest.approx((0.2,)) and info.std == (1.0,)  # constant images


def test_npz_with_and_without_a_test_set(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)
    y = np.arange(40) % 4
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[:7], y_test=y[:7])
    train, test, info = get_dataset(tmp_path / "a.npz")
    assert (len(train), len(test), info.channels, info.size) == (40, 7, 3, (6, 5))
    np.testing.assert_allclose(info.std, (x / 255).std(axis=(0, 1, 2)), atol=1e-9)
    np.savez(tmp_path / "b.npz", x=x.transpose(0, 3, 1, 2) / 255, y=y)
    train, test, info = get_dataset(tmp_path / "b.npz")
    assert (len(train), len(test)) == (36, 4) and train.arrays[0].dtype == np.float32
    assert (info.channels, info.size, info.classes) == (3, (6, 5), ("0", "1", "2", "3"))
    np.savez(tmp_path / "c.npz", x=x.astype(np.int64), y=y)
    with pytest.raises(DataFormatError, match="images are int64"):
        get_dataset(tmp_path / "c.npz")


def test_image_folders_with_and_without_a_test_set(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="Pillow is the extra 'images'")
    for split, count in (("train", 5), ("val", 2)):
        for k, name in enumerate(("dog", "cat")):
            (tmp_path / "a" / split / name).mkdir(parents=True)
            for i in range(count):
                picture = image.new("RGB", (8, 6), (40 * k, i, 0))
                picture.save(tmp_path / "a" / split / name / f"{i}.png")
    train, test, info = get_dataset(tmp_path / "a")
    assert isinstance(train, ArrayDataset) and (len(train), len(test)) == (10, 4)
    assert info.classes == ("cat", "dog") and info.channels == 3 and info.size == (6, 8)
    train, test, info = get_dataset(tmp_path / "a" / "train", size=4)
    assert (len(train), len(test)) == (9, 1) and info.size == (4, 4)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        for path in (tmp_path / "a").rglob("*.png"):
            z.write(path, path.relative_to(tmp_path / "a"))
    again, _, _ = get_dataset(tmp_path / "a.zip")
    np.testing.assert_array_equal(again.arrays[0], get_dataset(tmp_path / "a")[0].arrays[0])


def pictures(root, sizes=(6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6)):
    """Two classes of gray pictures of the given heights, each of one level, in root/k."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is the extra 'images'")
    for k in range(2):
        (root / f"class{k}").mkdir(parents=True)
        for i, size in enumerate(sizes):
            image.new("L", (8, size), 100 * k + i).save(root / f"class{k}" / f"{i}.png")


def agree(name, **options):
    """Whether the test set alone is the one that comes with the training set."""
    _, test, info = get_dataset(name)
    alone = get_test_set(name, **options)
    assert alone.classes == info.classes and alone.channels == info.channels
    assert len(alone.images) == len(test)
    for i in range(len(test)):
        np.testing.assert_array_equal(alone.images[i][0], test[i][0])
        assert alone.images[i][1] == test[i][1]


@pytest.mark.parametrize("whole", [False, True])
def test_the_test_set_alone_is_the_same_for_every_kind_of_path(tmp_path, whole):
    pictures(tmp_path / "a" / "train")
    pictures(tmp_path / "a" / "val", sizes=(6, 6))
    pictures(tmp_path / "b")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as z:
        for path in (tmp_path / "b").rglob("*.png"):
            z.write(path, path.relative_to(tmp_path / "b"))
    x = np.random.default_rng(0).integers(0, 256, (40, 6, 5), dtype=np.uint8)
    np.savez(tmp_path / "c.npz", x=x, y=np.arange(40) % 4)
    (tmp_path / "d").mkdir()
    for prefix, labels in (("train", [46, 0]), ("t10k", [1, 2])):
        write_idx(tmp_path / "d" / f"{prefix}-images-idx3-ubyte", x[:2])
        write_idx(tmp_path / "d" / f"{prefix}-labels-idx1-ubyte", np.array(labels, np.uint8))
    for name in ("a", "b", "b.zip", "c.npz", "d"):
        agree(tmp_path / name, whole=whole)


def test_the_named_test_sets_alone_are_the_same(tmp_path):
    agree("fashion-mini")
    folder = data_folder() / "mnist"
    folder.mkdir(parents=True)
    for prefix, level in (("train", 1), ("t10k", 2)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", np.full((3, 28, 28), level, np.uint8))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", np.array([9, 0, level], np.uint8))
    agree("mnist", fetch=False)


def test_evaluation_decodes_no_training_image(tmp_path, monkeypatch):
    from minigrad.data import folder

    pictures(tmp_path / "a" / "train")
    pictures(tmp_path / "a" / "test", sizes=(6, 6, 6))
    decoded, decode = [], folder.decode
    monkeypatch.setattr(
        folder, "decode", lambda c, name, **o: decoded.append(name) or decode(c, name, **o)
    )
    assert len(get_test_set(tmp_path / "a").images) == 6
    assert decoded and not any("train/" in name for name in decoded)
    decoded.clear()
    assert len(get_test_set(tmp_path / "a" / "train").images) == 2 == len(decoded)


def test_test_images_of_different_sizes_need_a_size_or_stay_as_they_are(tmp_path):
    pictures(tmp_path, sizes=range(3, 23))
    with pytest.raises(DataFormatError, match="pass a size"):
        get_test_set(tmp_path)
    assert get_test_set(tmp_path, size=4).images[0][0].shape == (4, 4)
    whole = get_test_set(tmp_path, whole=True).images
    assert len({whole[i][0].shape for i in range(len(whole))}) > 1


def test_large_image_folders_stay_on_disk(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image", reason="Pillow is the extra 'images'")
    for split in ("train", "test"):
        (tmp_path / split / "k").mkdir(parents=True)
        for i in range(3):
            image.new("L", (8 + i, 8), 100).save(tmp_path / split / "k" / f"{i}.png")
    monkeypatch.setattr("zoo.datasets.paths.MEMORY", 100)
    train, _, info = get_dataset(tmp_path, size=8)
    assert train[2][0].shape == (8, 8) and info.mean == pytest.approx((100 / 255,))
    with pytest.raises(DataFormatError, match="images differ in size"):
        get_dataset(tmp_path)


def test_paths_that_hold_nothing_readable(tmp_path):
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(DataFormatError, match=r"expected a folder or \.zip of images"):
        get_dataset(tmp_path / "x.txt")
    with pytest.raises(DataFormatError, match="no images in class folders"):
        get_dataset(tmp_path)


@pytest.mark.skipif(not SHARED.is_file(), reason="needs cifar10_jpeg.zip beside the project")
def test_real_color_images_from_a_zip():
    from minigrad.data import ImageFolder

    with ImageFolder(SHARED, inside="test") as data:
        assert len(data) == 5000 and data.classes == tuple(sorted(catalog.CIFAR10))
        assert data[0][0].shape == (32, 32, 3)
