"""Published weights load into nets of the zoo, whole or not at all, from Python and by command."""

from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import zoo
from minigrad import io, nn
from minigrad.data import ArrayDataset, DataLoader, ImageFolder, Normalize
from minigrad.errors import ArgError, CheckpointError
from zoo import cli
from zoo.trainer import evaluate
from zoo.weights import caffe, read_weights

from .torch_writer import Saver, ordered

SHARED = Path(__file__).parents[3] / "shared" / "data"
PUBLISHED = SHARED / "resnet20-12fca82f.th"
PHOTOS = SHARED / "cifar10_jpeg.zip"
needs_published = pytest.mark.skipif(
    not (PUBLISHED.is_file() and PHOTOS.is_file()),
    reason="needs resnet20-12fca82f.th and cifar10_jpeg.zip beside the project",
)


def values(net):
    return {name: t.numpy().copy() for name, t in net.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def saved(path, state, *, prefix="", legacy=False, counters=True):
    """A state_dict as torch would save it, in a checkpoint if there is a prefix."""
    saver = Saver(legacy=legacy)
    tree = ordered(
        {
            prefix + name: saver.tensor(np.asarray(a))
            for name, a in state.items()
            if counters or not name.endswith("num_batches_tracked")
        }
    )
    return saver.write(path, {"state_dict": tree, "best_prec1": 91.78} if prefix else tree)


@needs_published
def test_the_published_resnet20_loads_and_classifies_real_images():
    net = zoo.get_model("resnet20")
    keys = zoo.load_weights(net, PUBLISHED)
    assert keys.missing_keys == keys.unexpected_keys == []
    assert sum(p.size for p in net.parameters()) == 269_722
    found = read_weights(PUBLISHED)
    assert found.format == "torch legacy" and len(found.arrays) == 97
    assert found.notes["best_prec1"].startswith("91.78")
    with ImageFolder(PHOTOS, inside="test") as folder:
        chosen = [i for i, (_, label) in enumerate(folder.files) if i - 500 * label < 100]
        images, labels = zip(*(folder[i] for i in chosen), strict=True)
    data = ArrayDataset(np.stack(images), np.array(labels))
    normalize = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    _, accuracy = evaluate(net, DataLoader(data, 250, transform=normalize))
    assert accuracy == pytest.approx(0.804, abs=0.005)  # 91.7 % on images that are not JPEG


@needs_published
def test_predict_takes_published_weights_and_names_the_class(tmp_path, capsys):
    with ImageFolder(PHOTOS, inside="test") as folder:
        image, label = folder[0]
    np.save(tmp_path / "plane.npy", image)
    arguments = ["predict", str(tmp_path / "plane.npy"), "--weights", str(PUBLISHED)]
    assert label == 0 and cli.main([*arguments, "--top", "1"]) == 0
    assert "airplane" in capsys.readouterr().out
    assert cli.main([*arguments, "--model", "resnet20"]) == 0
    assert cli.main([*arguments, "--model", "resnet32"]) == 1
    assert "they fit zoo.get_model('resnet20', num_classes=10)" in capsys.readouterr().err


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("counters", [False, True], ids=["before 2018", "today"])
@pytest.mark.parametrize("prefix", ["", "module."], ids=["plain", "data parallel"])
def test_a_torch_file_of_a_cifar_net_loads_exactly(tmp_path, legacy, counters, prefix):
    net, other = zoo.get_model("resnet20", shortcut="B"), zoo.get_model("resnet20", shortcut="B")
    for buffer in net.buffers():
        buffer.copy_(buffer.numpy() + 3)
    options = {"prefix": prefix, "legacy": legacy, "counters": counters}
    path = saved(tmp_path / "a.th", values(net), **options)
    assert zoo.load_weights(other, path) == ([], [])
    wanted = values(net)
    if not counters:
        wanted |= {k: np.array(0) for k in wanted if k.endswith("num_batches_tracked")}
    assert same(values(other), wanted)
    x = mg.randn(2, 3, 8, 8)
    assert (net.eval()(x).numpy() == other.eval()(x).numpy()).all()


def test_weights_go_into_a_net_without_memory_and_into_float64(tmp_path):
    net = zoo.get_model("lenet")
    io.save(tmp_path / "a.safetensors", net.state_dict())
    with nn.meta():
        empty = zoo.get_model("lenet")
    for other in (empty, zoo.get_model("lenet").double()):
        zoo.load_weights(other, tmp_path / "a.safetensors")
        assert same(values(other.float()), values(net))


def test_half_precision_files_load_as_float32(tmp_path):
    net, other = zoo.get_model("lenet"), zoo.get_model("lenet")
    half = {name: a.astype(np.float16) for name, a in values(net).items()}
    zoo.load_weights(other, saved(tmp_path / "a.pt", half))
    assert same(values(other), {k: a.astype(np.float32) for k, a in half.items()})


def test_caffe_blobs_of_an_npz_load_into_the_papers_net(tmp_path):
    with nn.meta():
        net = zoo.get_model("googlenet", num_classes=5)
        shapes = {k: t.shape for k, t in net.state_dict().items()}
    rng = np.random.default_rng(0)
    names = {"conv1": "conv1/7x7_s2", "conv2": "conv2/3x3_reduce", "conv3": "conv2/3x3",
             "aux1.conv": "loss1/conv", "aux1.fc1": "loss1/fc", "aux1.fc2": "loss1/classifier",
             "aux2.conv": "loss2/conv", "aux2.fc1": "loss2/fc", "aux2.fc2": "loss2/classifier",
             "fc": "loss3/classifier"}  # fmt: skip
    branches = {path.removesuffix(".conv"): branch for branch, path in caffe.BRANCHES.items()}
    blobs = {}
    for key, shape in shapes.items():
        path, _, word = key.rpartition(".")
        path = path.removesuffix(".conv") if path not in ("aux1.conv", "aux2.conv") else path
        module, _, branch = path.partition(".")
        layer = names.get(path) or f"inception_{module[-2:]}/{branches[branch]}"
        blobs[f"{layer}/{word == 'bias':d}"] = rng.standard_normal(shape).astype(np.float32)
    np.savez(tmp_path / "a.npz", **blobs)
    assert zoo.load_weights(net, tmp_path / "a.npz") == ([], [])
    found = values(net)
    same_blob = (found["inception4d.branch3.1.conv.weight"] == blobs["inception_4d/5x5/0"]).all()
    assert same_blob and (found["aux2.fc2.bias"] == blobs["loss2/classifier/1"]).all()
    assert (found["conv1.conv.weight"] == blobs["conv1/7x7_s2/0"][:, ::-1]).all()


def test_what_does_not_fit_changes_nothing_and_is_listed(tmp_path):
    net = zoo.get_model("lenet")
    state = values(net)
    del state["f6.bias"]
    state["c1.weight"] = np.zeros((6, 3, 5, 5), np.float32)
    state["c9.weight"] = np.zeros(1, np.float32)
    path, before = saved(tmp_path / "a.pt", state), values(net)
    with pytest.raises(CheckpointError, match=r"a\.pt: the state does not fit LeNet") as error:
        zoo.load_weights(net, path)
    for words in ("missing key: f6.bias", "unexpected key: c9.weight",
                  "c1.weight: has shape (6, 3, 5, 5), expected (6, 1, 5, 5)"):  # fmt: skip
        assert words in str(error.value)
    with pytest.raises(CheckpointError, match=r"c1\.weight: has shape"):
        zoo.load_weights(net, path, strict=False)
    assert same(values(net), before)
    state["c1.weight"] = np.ones((6, 1, 5, 5), np.float32)
    keys = zoo.load_weights(net, saved(path, state), strict=False)
    assert keys == (["f6.bias"], ["c9.weight"])
    assert (values(net)["c1.weight"] == 1).all()


def test_weights_of_another_net_are_named_in_one_line(tmp_path):
    with nn.meta():
        other = zoo.get_model("resnet18", variant="torchvision")
    path = saved(tmp_path / "a.pt", values(other) | {"fc.weight": np.zeros((1000, 512), "f4")})
    net = zoo.get_model("resnet20")
    before = values(net)
    with pytest.raises(CheckpointError) as error:
        zoo.load_weights(net, path)
    assert "\n" not in str(error.value)
    assert "these are weights of resnet18, not of this ResNetCifar (" in str(error.value)
    assert str(error.value).endswith(
        "they fit zoo.get_model('resnet18', num_classes=1000, variant='torchvision')"
    )
    assert same(values(net), before)


def test_another_dtype_is_told_as_such(tmp_path):
    net = zoo.get_model("lenet")
    np.savez(tmp_path / "a.npz", **{k: v.astype(np.int32) for k, v in values(net).items()})
    with pytest.raises(CheckpointError, match=r"a\.npz: the state does not fit LeNet") as error:
        zoo.load_weights(net, tmp_path / "a.npz")
    assert "c1.weight: has dtype int32, expected float32" in str(error.value)
    assert "fits" not in str(error.value)


@pytest.mark.parametrize("length", [0x0280, 0x4580, 0x4B50])  # like a pickle's start, or a zip's
def test_a_header_whose_length_looks_like_another_format_is_read(tmp_path, length):
    path, x = tmp_path / "a.safetensors", np.arange(3, dtype=np.float32)
    header = b'{"x":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}'.ljust(length)
    path.write_bytes(length.to_bytes(8, "little") + header + x.tobytes())
    found = read_weights(path)
    assert found.format == "safetensors" and np.array_equal(found.arrays["x"], x)


def test_another_class_count_is_told_with_the_right_one(tmp_path):
    io.save(tmp_path / "a.safetensors", zoo.get_model("lenet", num_classes=7).state_dict())
    with pytest.raises(CheckpointError, match=r"the file fits zoo\.get_model\('lenet', num_class"):
        zoo.load_weights(zoo.get_model("lenet"), tmp_path / "a.safetensors")


def test_a_map_can_be_forced(tmp_path):
    net = zoo.get_model("lenet")
    io.save(tmp_path / "a.safetensors", net.state_dict())
    zoo.load_weights(zoo.get_model("lenet"), tmp_path / "a.safetensors", "torchvision")
    with pytest.raises(CheckpointError, match="no layer of Caffe's nets"):
        zoo.load_weights(net, tmp_path / "a.safetensors", map="caffe")
    with pytest.raises(ArgError, match="map 'keras' is unknown"):
        zoo.load_weights(net, tmp_path / "a.safetensors", map="keras")


def test_convert_writes_the_zoos_names_and_says_what_it_wrote(tmp_path, capsys):
    net = zoo.get_model("resnet20")
    source = saved(tmp_path / "a.th", values(net), prefix="module.", legacy=True, counters=False)
    out = tmp_path / "a.safetensors"
    assert cli.main(["convert", str(source), str(out)]) == 0
    text = capsys.readouterr().out
    assert "torch legacy, names of akamaster; zoo.get_model('resnet20', num_classes=10)" in text
    assert "97 tensors, 269,722 parameters, float32" in text
    found = io.load(out)
    assert found.tensors.keys() == {k for k in values(net) if "num_batches" not in k}
    notes = {"best_prec1": "91.78", "source": "a.th (torch legacy)", "map": "akamaster"}
    assert found.metadata == notes
    assert cli.main(["convert", str(out), str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert cli.main(["convert", str(source), str(out), "--force", "--model", "resnet20"]) == 0
    assert "116 tensors, 269,722 parameters" in capsys.readouterr().out
    other = zoo.get_model("resnet20")
    zoo.load_weights(other, out)
    assert same(values(other), values(net) | {k: v for k, v in values(other).items() if v.ndim < 1})


def test_a_converted_caffe_net_sees_images_as_the_original_does(tmp_path, capsys):
    mg.manual_seed(3)
    net = zoo.get_model("nin_cifar10")
    blobs = {
        f"{name.split('.')[1]}/{name.endswith('bias'):d}": a * 3 for name, a in values(net).items()
    }
    np.savez(tmp_path / "a.npz", **blobs)
    image, out = tmp_path / "x.npy", str(tmp_path / "a.safetensors")
    np.save(image, np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))
    assert cli.main(["convert", str(tmp_path / "a.npz"), out]) == 0
    assert "names of caffe; zoo.get_model('nin_cifar10'" in capsys.readouterr().out
    answers = []
    for weights in (str(tmp_path / "a.npz"), out):
        assert cli.main(["predict", str(image), "--weights", weights, "--top", "10"]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] and "airplane" in answers[0]


def test_convert_keeps_what_no_net_of_the_zoo_has(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", x=np.arange(6.0).reshape(2, 3), n=np.arange(2))
    out = tmp_path / "a.safetensors"
    assert cli.main(["convert", str(tmp_path / "a.npz"), str(out)]) == 0
    assert "no net of the zoo" in capsys.readouterr().out
    assert io.load(out).tensors["x"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_bad_arguments_of_convert_write_nothing(tmp_path, capsys):
    good = saved(tmp_path / "a.pt", values(zoo.get_model("lenet")))
    (tmp_path / "bad.pt").write_bytes(b"\x80\x02cposix\nsystem\n.")
    out = str(tmp_path / "out.safetensors")
    there = sorted(tmp_path.iterdir())
    for arguments, code, words in (
        ([str(good), str(tmp_path / "out.pt")], 2, "NAME.safetensors"),
        ([str(good), str(tmp_path / ".safetensors")], 2, "NAME.safetensors"),
        ([str(good), out, "--variant", "torchvision"], 2, "--variant torchvision: needs --model"),
        ([str(tmp_path / "none.pt"), out], 1, "none.pt: no such file or directory"),
        ([str(tmp_path), out], 1, str(tmp_path)),
        ([str(tmp_path / "bad.pt"), out], 1, "'posix.system'"),
        ([str(good), out, "--model", "lennet"], 2, "did you mean lenet?"),
        ([str(good), out, "--model", "resnet20"], 1, "these are weights of lenet"),
        ([str(good), out, "--map", "caffe"], 1, "no layer of Caffe's nets"),
        ([str(good), out, "--variant", "torchvision", "--model", "lenet"], 2, "variant"),
        ([str(good), str(tmp_path / "no" / "out.safetensors")], 1, "out.safetensors"),
    ):
        assert cli.main(["convert", *arguments]) == code
        err = capsys.readouterr().err
        assert words in err and err.startswith("zoo convert: error: ") and err.count("\n") == 1
        assert sorted(tmp_path.iterdir()) == there


@pytest.fixture
def squares(tmp_path):
    """A data set of four classes for LeNet, and a LeNet of four classes in a file."""
    x = np.random.default_rng(0).integers(0, 255, (24, 28, 28), dtype=np.uint8)
    labels = np.arange(24) % 4
    np.savez(tmp_path / "data.npz", x_train=x, y_train=labels, x_test=x, y_test=labels)
    net = zoo.get_model("lenet", num_classes=4)
    return tmp_path / "data.npz", saved(tmp_path / "net.pt", values(net))


def test_eval_needs_data_and_statistics_for_a_file(squares, capsys):
    data, weights = map(str, squares)
    assert cli.main(["eval", "--weights", weights]) == 2
    assert "--weights needs --data" in capsys.readouterr().err
    assert cli.main(["eval", "--weights", weights, "--data", data]) == 2
    assert "1 channels, whose statistics are unknown" in capsys.readouterr().err
    assert cli.main(["eval", "--model", "lenet", "--data", data]) == 2
    assert "--model needs --weights" in capsys.readouterr().err
    assert cli.main(["eval", "some/run", "--weights", weights, "--data", data]) == 2
    assert "a run or --weights, not both" in capsys.readouterr().err


def test_a_net_that_the_zoo_trained_is_evaluated_from_its_file_alone(squares, tmp_path, capsys):
    data, _ = squares
    run = tmp_path / "run"
    train = ["train", "--model", "lenet", "--epochs", "1", "--batch-size", "8", "--data", str(data)]
    assert cli.main([*train, "--out", str(run)]) == 0
    assert cli.main(["eval", str(run)]) == 0
    wanted = capsys.readouterr().out.splitlines()[-1]
    best = str(run / "best.safetensors")
    assert cli.main(["eval", "--weights", best, "--data", str(data)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == wanted
    assert cli.main(["eval", "--weights", best, "--data", "fashion-mini"]) == 1
    assert "10 classes, the net was trained on 4" in capsys.readouterr().err
