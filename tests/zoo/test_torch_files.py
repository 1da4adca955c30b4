"""Files of torch.save, zip and legacy, are read as torch reads them, without torch."""

import _pickle
import ast
import pickle
from pathlib import Path

import numpy as np
import pytest

import zoo.weights
from minigrad import io
from minigrad.errors import CheckpointError
from zoo.weights import read_weights

from .torch_writer import Call, Name, Raw, Saver, emit, ordered, pickled

FORMATS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
DTYPES = ("f8", "f4", "i8", "i4", "i2", "i1", "u1", "b1")


def same(found, wanted):
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    np.testing.assert_array_equal(found, wanted)


@FORMATS
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (2, 3), (2, 0, 3), (2, 3, 4, 5)])
def test_every_dtype_and_shape_comes_back(tmp_path, legacy, dtype, shape):
    rng = np.random.default_rng(0)
    x = rng.integers(-100, 100, shape).astype(dtype)
    x = np.asarray(x, dtype)
    saver = Saver(legacy=legacy)
    found = read_weights(saver.write(tmp_path / "a.pth", {"x": saver.tensor(x)}))
    same(found.arrays["x"], x)
    assert found.format == ("torch legacy" if legacy else "torch zip")


@FORMATS
def test_half_and_bfloat16_become_float32_exactly(tmp_path, legacy):
    x = np.array([0, -0.0, 1, -2.5, 65504, 6e-8, np.inf, -np.inf, np.nan], np.float32)
    half = x.astype(np.float16)
    upper = (x.view(np.uint32) >> 16).astype(np.uint16)  # bfloat16, rounded towards zero
    saver = Saver(legacy=legacy)
    tree = {
        "half": saver.tensor(half),
        "brain": saver.view(saver.storage(upper.tobytes(), "BFloat16", count=9), (3, 3), (3, 1)),
    }
    arrays = read_weights(saver.write(tmp_path / "a.pth", tree)).arrays
    same(arrays["half"], half.astype(np.float32))
    same(arrays["brain"], (upper.astype(np.uint32) << 16).view(np.float32).reshape(3, 3))


@FORMATS
def test_views_share_a_storage_and_may_be_transposed_or_strided(tmp_path, legacy):
    x = np.arange(24, dtype=np.float32)
    saver = Saver(legacy=legacy)
    base = saver.storage(x, key="7")
    tree = {
        "all": saver.view(base, (4, 6), (6, 1)),
        "transposed": saver.view(base, (6, 4), (1, 6)),
        "column": saver.view(base, (4,), (6,), 2),
        "every_third": saver.view(base, (2, 3), (12, 3), 3),
        "one": saver.view(base, (), (), 23),
        "none": saver.view(base, (0,), (1,), 24),
    }
    arrays = read_weights(saver.write(tmp_path / "a.pth", tree)).arrays
    square = x.reshape(4, 6)
    same(arrays["all"], square)
    same(arrays["transposed"], square.T)
    same(arrays["column"], square[:, 2])
    same(arrays["every_third"], np.array([[3, 6, 9], [15, 18, 21]], np.float32))
    same(arrays["one"], np.array(23, np.float32))
    assert arrays["none"].shape == (0,)
    assert all(a.flags.c_contiguous and a.flags.aligned for a in arrays.values())
    assert list(arrays) == list(tree)


def test_a_legacy_storage_may_be_a_view_of_another(tmp_path):
    x = np.arange(10, dtype=np.float32)
    saver = Saver(legacy=True)
    whole = saver.storage(x, key="base")
    part = saver.again("base", "Float", 10, ("part", 4, 6))
    tree = {"whole": saver.view(whole, (10,), (1,)), "part": saver.view(part, (2, 2), (3, 1), 1)}
    arrays = read_weights(saver.write(tmp_path / "a.th", tree)).arrays
    same(arrays["part"], np.array([[5, 6], [8, 9]], np.float32))


@FORMATS
def test_a_state_dict_with_its_metadata_is_an_ordered_dict_with_a_state(tmp_path, legacy):
    saver = Saver(legacy=legacy)
    x = np.ones((2, 2), np.float32)
    versions = ordered({"": {"version": 1}, "bn": {"version": 2}})
    tree = ordered({"w": saver.tensor(x)}, state={"_metadata": versions})
    same(read_weights(saver.write(tmp_path / "a.pth", tree)).arrays["w"], x)


@FORMATS
@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict", "net"])
def test_the_state_dict_is_found_in_a_checkpoint_with_other_things(tmp_path, legacy, wrapper):
    saver = Saver(legacy=legacy)
    moment = saver.tensor(np.zeros(3, np.float32))
    tree = {
        "epoch": 7, "arch": "resnet20", "best_prec1": 91.5,
        "size": Call(Name("torch", "Size"), ((2, 3),)),
        "device": Call(Name("torch", "device"), ("cuda:0",)), "kind": Name("torch", "float32"),
        "optimizer": {"state": {0: {"exp_avg": moment}}, "param_groups": [{"lr": 0.1}]},
        wrapper: ordered({"w": saver.tensor(np.ones(2, np.float32))}),
    }  # fmt: skip
    found = read_weights(saver.write(tmp_path / "a.pth", tree))
    assert list(found.arrays) == ["w"]
    notes = {"epoch": "7", "arch": "resnet20", "best_prec1": "91.5", "device": "cuda:0"}
    assert found.notes == notes


@FORMATS
def test_parameters_are_their_tensors(tmp_path, legacy):
    saver, hooks = Saver(legacy=legacy), Call(Name("collections", "OrderedDict"))
    x = np.ones(3, np.float32)
    utils = "torch._utils"
    tree = {
        "a": Call(Name(utils, "_rebuild_parameter"), (saver.tensor(x), True, hooks)),
        "b": Call(
            Name(utils, "_rebuild_parameter_with_state"),
            (saver.tensor(2 * x), True, hooks, {"note": 3}),
        ),
        "c": Call(Name(utils, "_rebuild_tensor"), (saver.storage(3 * x), 0, (3,), (1,))),
    }
    arrays = read_weights(saver.write(tmp_path / "a.pth", tree)).arrays
    for name, factor in (("a", 1), ("b", 2), ("c", 3)):
        same(arrays[name], factor * x)


def test_kinds_without_a_storage_type_lie_in_untyped_storages(tmp_path):
    saver, x = Saver(), np.arange(6, dtype=np.uint16)
    raw = saver.storage(x.tobytes(), "Untyped", count=12)
    rest = (False, Call(Name("collections", "OrderedDict")), Name("torch", "uint16"))
    tensor = Call(Name("torch._utils", "_rebuild_tensor_v3"), (raw, 1, (5,), (1,), *rest))
    same(read_weights(saver.write(tmp_path / "a.pth", {"x": tensor})).arrays["x"], x[1:])


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_zip_members_may_be_deflated_and_big_endian(tmp_path, deflate, order):
    saver = Saver(order=order)
    x = {name: np.arange(5).astype(name) for name in ("f8", "f4", "f2", "i8", "i2", "u1")}
    pickle = pickled({name: saver.tensor(array) for name, array in x.items()})
    saver.write_zip(tmp_path / "a.pth", pickle, deflate=deflate)
    arrays = read_weights(tmp_path / "a.pth").arrays
    for name, array in x.items():
        same(arrays[name], array.astype(np.float32) if name == "f2" else array)


def test_without_a_byteorder_record_a_zip_is_little_endian(tmp_path):
    saver, x = Saver(), np.arange(3, dtype=np.int32)
    saver.write_zip(tmp_path / "a.pth", pickled({"x": saver.tensor(x)}), order=False)
    same(read_weights(tmp_path / "a.pth").arrays["x"], x)


def test_python_2_wrote_short_strings_and_lists_of_pairs(tmp_path):
    saver, x = Saver(legacy=True), np.ones(2, np.float32)
    pair = [Raw(b"U\x06weight"), saver.tensor(x)]
    tree = Call(Name("collections", "OrderedDict"), ([pair],))
    same(read_weights(saver.write(tmp_path / "a.th", tree)).arrays["weight"], x)


def test_protocol_4_frames_memo_and_stack_globals(tmp_path):
    saver, x = Saver(), np.ones(2, np.float32)
    saver.storage(x, key="0")

    def short(text):
        return b"\x8c" + bytes([len(text)]) + text.encode() + b"\x94"

    name = short("torch") + short("FloatStorage") + b"\x93\x94"
    id_ = b"(" + short("storage") + name + short("0") + short("cpu") + b"K\x02t\x94Q"
    rebuild = short("torch._utils") + short("_rebuild_tensor_v2") + b"\x93\x94"
    call = rebuild + b"(" + id_ + b"K\x00K\x02\x85\x94K\x01\x85\x94\x89N" + b"t\x94R\x94"
    head = b"}\x94" + short("a") + call
    last = head.count(b"\x94") - 1  # the place of the tensor in the memo
    body = head + b"s" + short("b") + b"h" + bytes([last]) + b"s."
    blob = b"\x80\x04\x95" + len(body).to_bytes(8, "little") + body
    saver.write_zip(tmp_path / "a.pth", blob)
    arrays = read_weights(tmp_path / "a.pth").arrays
    same(arrays["a"], x)
    same(arrays["b"], x)


def test_safetensors_and_npz_are_read_too(tmp_path):
    x = {"a.b": np.arange(4, dtype=np.float32), "c/0": np.ones((2, 2), np.float16)}
    io.save(tmp_path / "x.safetensors", x, {"from": "here"})
    np.savez(tmp_path / "x.npz", **x)
    (tmp_path / "renamed.bin").write_bytes((tmp_path / "x.npz").read_bytes())
    for name, kind in (("x.safetensors", "safetensors"), ("x.npz", "npz"), ("renamed.bin", "npz")):
        found = read_weights(tmp_path / name)
        assert found.format == kind
        same(found.arrays["a.b"], x["a.b"])
        same(found.arrays["c/0"], x["c/0"].astype(np.float32))
    assert read_weights(tmp_path / "x.safetensors").notes == {"from": "here"}


def test_what_is_not_a_state_dict_is_named(tmp_path):
    saver = Saver()
    one = saver.tensor(np.ones(2, np.float32))
    for tree, words in (
        (one, "holds one tensor, not a state_dict"),
        ([one], "holds a value of type list, not a state_dict"),
        ({"epoch": 3, "nets": {"a": one}}, "holds no state_dict; its keys are 'epoch', 'nets'"),
        ({}, "its keys are none"),
        ({"w": one, "x": [1]}, "'x' in the state_dict is a value of type list, not a tensor"),
        ({"w": one, 5: one}, "the tensor name '5' is int, not text"),
        ({"../w": one}, "is a path out of its folder"),
    ):
        with pytest.raises(CheckpointError, match=r"a\.pth: ") as error:
            read_weights(saver.write(tmp_path / "a.pth", tree))
        assert words in str(error.value)


def test_nothing_in_the_package_can_unpickle(tmp_path, monkeypatch):
    imported = set()
    for path in Path(zoo.weights.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module)
            elif isinstance(node, ast.Name):
                assert node.id not in ("eval", "exec", "getattr", "setattr", "__import__")
    assert not imported & {"pickle", "_pickle", "marshal", "shelve", "importlib", "copyreg"}
    for module in (pickle, _pickle):
        for name in ("load", "loads", "Unpickler"):
            monkeypatch.setattr(module, name, None)
    x = np.ones(3, np.float32)
    for legacy in (False, True):
        saver = Saver(legacy=legacy)
        same(read_weights(saver.write(tmp_path / "a", {"x": saver.tensor(x)})).arrays["x"], x)


def test_the_writer_writes_what_python_pickles():
    values = {"a": [1, -5, 2**40, 2.5, None, True, ("x", ())], "b": {"c": {}}}
    assert pickle.loads(pickled(values)) == values
    assert emit(-(2**70)).startswith(b"\x8a")
