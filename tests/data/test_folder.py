"""Images in class folders, on disk and in a zip."""

import io
import zipfile

import numpy as np
import pytest

from minigrad.data import DataLoader, ImageFolder
from minigrad.data import folder as folder_module
from minigrad.errors import ArgError, DataFormatError

Image = pytest.importorskip("PIL.Image", reason="Pillow is the extra 'images'")


def png(value, size=(4, 3), mode="RGB") -> bytes:
    f = io.BytesIO()
    Image.new(mode, size, value).save(f, "PNG")
    return f.getvalue()


FILES = {
    "train/cat/b.png": png((2, 0, 0)),
    "train/cat/a.png": png((1, 0, 0)),
    "train/ant/deep/x.PNG": png((3, 0, 0)),
    "train/ant/notes.txt": b"no image",
    "train/.hidden/x.png": png((9, 0, 0)),
    "test/cat/c.png": png((4, 0, 0)),
    "__MACOSX/train/cat/a.png": b"resource fork",
}


@pytest.fixture(params=["folder", "zip"])
def root(request, tmp_path):
    if request.param == "folder":
        for name, content in FILES.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
        return tmp_path
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as z:
        for name, content in FILES.items():
            z.writestr(name, content)
    return path


def test_classes_and_files_are_in_sorted_order(root):
    with ImageFolder(root, inside="train") as data:
        assert data.classes == ("ant", "cat")
        assert [name for name, _ in data.files] == [
            "train/ant/deep/x.PNG",
            "train/cat/a.png",
            "train/cat/b.png",
        ]
        assert [(int(x[0, 0, 0]), y) for x, y in (data[i] for i in range(3))] == [
            (3, 0),
            (1, 1),
            (2, 1),
        ]
        x, y = data.load().arrays
    assert x.shape == (3, 3, 4, 3) and x.dtype == np.uint8
    assert y.tolist() == [0, 1, 1] and y.dtype == np.int64


def test_a_test_set_is_numbered_as_its_training_set(root):
    with ImageFolder(root, inside="test", classes=("ant", "cat")) as data:
        assert data[0][1] == 1
    with pytest.raises(DataFormatError, match="folder 'cat' is no class of"):
        ImageFolder(root, inside="test", classes=("ant",))


def test_the_loader_reads_it_with_threads(root):
    with ImageFolder(root, inside="train", size=2) as data:
        loader = DataLoader(data, 2, num_workers=2, as_tensors=False)
        batches = list(loader)
    assert [x.shape for x, _ in batches] == [(2, 2, 2, 3), (1, 2, 2, 3)]
    assert batches[0][1].tolist() == [0, 1]


def test_size_resizes_the_shorter_side_and_crops_the_middle():
    picture = Image.new("L", (30, 10), 0)
    picture.paste(255, (10, 0, 20, 10))
    f = io.BytesIO()
    picture.save(f, "PNG")
    assert (folder_module.decode(f.getvalue(), "x", mode="L", size=10) == 255).all()
    assert folder_module.decode(f.getvalue(), "x", size=40).shape == (40, 40, 3)


def test_gray_images_are_recognized(tmp_path):
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "x.png").write_bytes(png(7, mode="L"))
    gray, color = ImageFolder(tmp_path, mode="auto"), ImageFolder(tmp_path)
    assert gray[0][0].shape == (3, 4) and color[0][0].shape == (3, 4, 3)
    (tmp_path / "k" / "x.png").write_bytes(b"no image")
    with pytest.raises(DataFormatError, match="not a readable image"):
        ImageFolder(tmp_path, mode="auto")


def test_what_cannot_be_decoded_is_named(tmp_path, monkeypatch):
    (tmp_path / "k").mkdir()
    path = tmp_path / "k" / "x.png"
    for content in (b"", b"no image", png(1)[:40]):
        path.write_bytes(content)
        with pytest.raises(DataFormatError, match=r"'k/x\.png': not a readable image"):
            ImageFolder(tmp_path)[0]
    path.write_bytes(png(1, size=(50, 50), mode="L"))
    monkeypatch.setattr(folder_module, "IMAGE_PIXELS", 2000)
    with pytest.raises(DataFormatError, match="50 x 50 pixels; refused"):
        ImageFolder(tmp_path)[0]
    monkeypatch.setattr(folder_module, "IMAGE_BYTES", 20)
    with pytest.raises(DataFormatError, match="longer than 20 bytes"):
        ImageFolder(tmp_path)[0]


def test_sets_that_cannot_become_one_array_say_so(tmp_path):
    (tmp_path / "k").mkdir()
    for name, size in (("a.png", (4, 3)), ("b.png", (5, 3))):
        (tmp_path / "k" / name).write_bytes(png((1, 2, 3), size))
    data = ImageFolder(tmp_path)
    with pytest.raises(DataFormatError, match=r"b\.png' is \(3, 5, 3\), the first .* pass size="):
        data.load()
    with pytest.raises(DataFormatError, match="exceed 10 bytes"):
        data.load(max_bytes=10)
    assert ImageFolder(tmp_path, size=3).load().arrays[0].shape == (2, 3, 3, 3)


def test_roots_without_images_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder or \.zip"):
        ImageFolder(tmp_path / "nowhere")
    with pytest.raises(DataFormatError, match="no images in class folders"):
        ImageFolder(tmp_path)
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(DataFormatError, match="not a zip archive"):
        ImageFolder(tmp_path / "x.zip")
    with pytest.raises(ArgError, match="mode must be"):
        ImageFolder(tmp_path, mode="CMYK")
    with pytest.raises(ArgError, match="size must be at least 1"):
        ImageFolder(tmp_path, size=0)
