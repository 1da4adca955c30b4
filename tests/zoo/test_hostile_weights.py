"""Hostile pickles of weights execute nothing, cost nothing, and are refused in one line.

Attacks are written as files that Python's own unpickler obeys (`canary` proves it for some of
them), in both formats of torch. Sources of the ideas: advisories and issues of picklescan,
fickling, modelscan, PyTorch (CVE-2025-32434, CVE-2026-24747) and CPython (115952).
Archives and damaged files: `test_hostile_files.py`.
"""

import pickle
import struct
import time
import tracemalloc

import numpy as np
import pytest

from minigrad.errors import CheckpointError
from zoo.weights import read_weights

from .torch_writer import Call, Name, Pid, Raw, Saver, emit, items, pickled

FORMATS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
ORDERED, REBUILD = Name("collections", "OrderedDict"), Name("torch._utils", "_rebuild_tensor_v2")
PROTO = b"\x80\x02"


def text(s):
    return s.encode() + b"\n"


def attacks(canary):
    """Name -> opcodes that would create the file `canary`, or change what an import gives."""
    touch = f"open({str(canary)!r}, 'w').close()"
    arguments = emit((touch,))
    run = b"cbuiltins\nexec\n" + arguments + b"R"
    return {
        "reduce": run,
        "reduce and pop": run + b"0N",
        "reduce beside a good value": b"}" + emit("x") + run + b"s",
        "reduce in a memo": b"cbuiltins\nexec\nq\x050h\x05" + arguments + b"R",
        "posix": b"cposix\nsystem\n" + emit((f"touch {canary}",)) + b"R",
        "stack global": emit("builtins") + emit("exec") + b"\x93" + arguments + b"R",
        "stack global of memo": emit("builtins") + b"q\x00" + emit("exec") + b"q\x01h\x00h\x01\x93"
        + arguments + b"R",
        "dotted name": b"\x80\x04" + emit("torch") + emit("os.system") + b"\x93"
        + emit((f"touch {canary}",)) + b"R",
        "inst": b"(" + emit(touch) + b"ibuiltins\nexec\n",
        "obj": b"(cbuiltins\nexec\n" + emit(touch) + b"o",
        "newobj": b"cbuiltins\nexec\n" + arguments + b"\x81",
        "newobj_ex": b"cbuiltins\nexec\n" + arguments + b"}\x92",
        "extension": b"\x82\x01" + arguments + b"R",
        "build of a class": b"ctorch\nFloatStorage\n" + emit({"__setstate__": touch}) + b"b",
        "build of a function": emit(REBUILD) + emit((None, {"__code__": touch})) + b"b",
        "build of an allowed call": emit(Call(ORDERED)) + run + b"b",
        "setattr of a name": emit(ORDERED) + emit((None, {"update": run and "x"})) + b"b",
        "a name called twice": emit(Call(ORDERED)) + b")R",
        "getattr": b"cbuiltins\ngetattr\n" + emit((ORDERED, "__subclasses__")) + b"R)R",
        "resolve_name": b"cpkgutil\nresolve_name\n" + emit(("builtins:exec",)) + b"R"
        + arguments + b"R",
        "torch's own loader": b"ctorch.storage\n_load_from_bytes\n" + emit(("x",)) + b"R",
        "runpy under torch": b"ctorch.utils.bottleneck.__main__\nrun_cprofile\n" + emit((touch,))
        + b"R",
        "numpy scalar": b"cnumpy.core.multiarray\nscalar\n" + emit(("O8", "x")) + b"R",
        "allowed module, other name": b"ccollections\nnamedtuple\n" + emit(("A", touch)) + b"R",
        "persistent text id": b"Pposix\n",
        "protocol 0 reduce": b"cbuiltins\nexec\n(S" + text(repr(touch)) + b"tR",
        "copyreg": b"ccopyreg\n_reconstructor\n" + emit((ORDERED, ORDERED, None)) + b"R",
        "append to a call": emit(Call(ORDERED)) + b"(" + run + b"e",
        "setitems of a list": b"](" + run + b"Nu",
    }  # fmt: skip


NAMES = sorted(attacks("x"))


@FORMATS
@pytest.mark.parametrize("name", NAMES)
def test_an_attack_executes_nothing(tmp_path, legacy, name):
    canary = tmp_path / "canary"
    code = PROTO + attacks(canary)[name] + b"."
    write = Saver.write_legacy if legacy else Saver.write_zip
    path = write(Saver(legacy=legacy), tmp_path / "evil.pth", code)
    with pytest.raises(CheckpointError, match=r"evil\.pth: ") as error:
        read_weights(path)
    assert not canary.exists()
    assert "\n" not in str(error.value) and len(str(error.value)) < 350 + len(str(path))


@pytest.mark.parametrize(
    "name", ["reduce", "reduce and pop", "posix", "stack global of memo", "inst", "obj"]
)
def test_the_same_bytes_are_an_attack_on_python_itself(tmp_path, name):
    canary = tmp_path / "canary"
    pickle.loads(PROTO + attacks(canary)[name] + b".")
    assert canary.exists()


def test_the_message_names_the_global_and_the_way_out(tmp_path):
    code = PROTO + attacks("x")["posix"] + b"."
    path = Saver().write_zip(tmp_path / "evil.pth", code)
    with pytest.raises(CheckpointError) as error:
        read_weights(path)
    for words in ("'posix.system'", "nothing was executed", "model.state_dict()"):
        assert words in str(error.value)
    Saver().write_zip(path, PROTO + b"cos\x1b[2J\nsystem\n.")
    with pytest.raises(CheckpointError, match=r"'os\\x1b\[2J\.system'"):
        read_weights(path)


def test_every_pickle_of_a_legacy_file_is_restricted(tmp_path):
    canary = tmp_path / "canary"
    evil = Raw(attacks(canary)["reduce"])
    for change in ({"magic": evil}, {"version": evil}, {"little": evil}):
        with pytest.raises(CheckpointError, match=r"builtins\.exec"):
            read_weights(Saver().write_legacy(tmp_path / "a.th", pickled({}), **change))
    good = Saver(legacy=True).write(tmp_path / "a.th", {}).read_bytes()
    (tmp_path / "a.th").write_bytes(good.replace(pickled([]), pickled(evil)))
    with pytest.raises(CheckpointError, match=r"builtins\.exec"):
        read_weights(tmp_path / "a.th")
    (tmp_path / "a.npz").write_bytes(b"")
    np.savez(tmp_path / "a.npz", x=np.array([object()], object))
    with pytest.raises(CheckpointError, match="no pickle here"):
        read_weights(tmp_path / "a.npz")
    assert not canary.exists()


def nested(levels, make):
    """Opcodes of a value that contains the level below twice, by way of the memo."""
    code = b"K\x01q\x00"
    for level in range(levels):
        code += make(b"h" + bytes([level])) + b"q" + bytes([level + 1])
    return code


BOMBS = {
    "memo index": b"N" + b"r" + struct.pack("<I", 2**32 - 1),
    "nested tuple as a key": b"}" + nested(60, lambda b: b + b + b"\x86") + b"Ns",
    "nested list as a length": b"(" + emit("storage") + b"ctorch\nFloatStorage\n" + emit("0")
    + emit("cpu") + nested(60, lambda b: b"](" + b + b + b"e") + b"tQ",
    "nested dicts": nested(200, lambda b: b"}" + emit("a") + b + b"s" + b"}" + emit("b") + b + b"s"
                           + b"\x86"),
    "text longer than the file": b"\x8d" + struct.pack("<Q", 2**62),
    "bytes longer than the file": b"B" + struct.pack("<I", 2**32 - 1),
    "frame longer than the file": b"\x95" + struct.pack("<Q", 2**62),
    "marks without end": b"(" * 100_000,
    "deep lists": b"]" * 100_000 + b"a" * 99_999,
    "deep tuples": b")" + b"\x85" * 100_000,
    "equal hashes": b"}(" + b"".join(
        emit(k * (2**61 - 1)) + b"N" for k in range(1, 20_000)) + b"u",
    "lists copied again and again": emit([["a", 1]] * 10_000) + b"q\x00"
    + (emit(ORDERED) + b"h\x00\x85R") * 10_000,
    "names without end": b"c" + b"a" * 100_000,
    "protocol 255": b"\x80\xff",
}  # fmt: skip


@FORMATS
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_neither_time_nor_memory(tmp_path, legacy, name):
    write = Saver.write_legacy if legacy else Saver.write_zip
    path = write(Saver(legacy=legacy), tmp_path / "bomb.pth", PROTO + BOMBS[name] + b".")
    size, began = path.stat().st_size, time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            read_weights(path)
        assert tracemalloc.get_traced_memory()[1] < 100 * size + 4_000_000
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - began < 20


@pytest.mark.parametrize("key", [(1, 2), 2.5, None, True, 2**61 - 1, -(2**32), ORDERED])
def test_keys_are_text_or_small_integers(tmp_path, key):
    path = Saver().write_zip(tmp_path / "a.pth", PROTO + b"}" + emit(key) + b"Ns.")
    with pytest.raises(CheckpointError, match="as a key; text and integers can be read"):
        read_weights(path)


def test_a_pickle_longer_than_any_state_dict_is_refused(tmp_path):
    code = PROTO + b"N0" * 3_000_000 + b"."
    for path in (
        Saver().write_zip(tmp_path / "a.pth", code, deflate=True),
        Saver(legacy=True).write_legacy(tmp_path / "a.th", b"\x80\x02" + b"N" * 6_000_000 + b"."),
    ):
        with pytest.raises(CheckpointError, match=r"longer than 4194304|cut short"):
            read_weights(path)


STORAGE = "its storage has 6"
BAD_TENSORS = {
    "shape beyond the storage": (((7,), (1,), 0), STORAGE),
    "stride beyond the storage": (((2, 2), (5, 1), 0), STORAGE),
    "offset beyond the storage": (((1,), (1,), 6), STORAGE),
    "empty beyond the storage": (((0,), (1,), 7), STORAGE),
    "negative size": (((-1,), (1,), 0), "is -1, not a whole number"),
    "negative stride": (((2,), (-1,), 1), "is -1, not a whole number"),
    "negative offset": (((2,), (1,), -1), "offset is -1"),
    "float size": (((2.0,), (1,), 0), "is float, not a whole number"),
    "bool size": (((True,), (1,), 0), "is bool, not a whole number"),
    "product that overflows": (((2**40, 2**40), (0, 0), 0), "larger than any memory"),
    "empty but overflowing": (((2**40, 2**40, 0), (0, 0, 0), 0), "larger than any memory"),
    "huge size": (((2**200,), (0,), 0), "not a whole number from 0 to 2"),
    "expanded": (((10**6, 6), (0, 1), 0), "repeats the 6 elements"),
    "another rank": (((2, 3), (1,), 0), "has the stride"),
    "rank 33": (((1,) * 33, (1,) * 33, 0), "tuple of at most 32"),
}


@FORMATS
@pytest.mark.parametrize("name", BAD_TENSORS)
def test_a_tensor_must_lie_within_its_storage(tmp_path, legacy, name):
    (shape, stride, offset), words = BAD_TENSORS[name]
    saver = Saver(legacy=legacy)
    tensor = saver.view(saver.storage(np.arange(6, dtype=np.float32)), shape, stride, offset)
    with pytest.raises(CheckpointError, match=r"a\.pth: ") as error:
        read_weights(saver.write(tmp_path / "a.pth", {"x": tensor}))
    assert words in str(error.value)


def test_a_stride_of_one_element_does_not_matter(tmp_path):
    saver = Saver()
    tensor = saver.view(saver.storage(np.ones(1, np.float32)), (1, 1), (2**61, 2**61))
    assert read_weights(saver.write(tmp_path / "a.pth", {"x": tensor})).arrays["x"] == 1


@FORMATS
def test_storages_must_be_what_the_pickle_says(tmp_path, legacy):
    x = np.arange(6, dtype=np.float32)
    raw = x.tobytes()

    def tree_of(make):
        saver = Saver(legacy=legacy)
        return saver, {"x": saver.view(saver.storage(x, key="0"), (6,), (1,)), "y": make(saver)}

    cases = {
        "another dtype": lambda s: s.view(s.again("0", "Int", 6), (6,), (1,)),
        "another length": lambda s: s.view(s.again("0", "Float", 5), (5,), (1,)),
        "longer than its bytes": lambda s: s.view(s.storage(raw, "Float", count=7), (7,), (1,)),
        "shorter than its bytes": lambda s: s.view(s.storage(raw, "Float", count=5), (5,), (1,)),
        "negative length": lambda s: s.view(s.storage(raw, "Float", count=-6), (6,), (1,)),
        "no storage": lambda s: s.view(None, (6,), (1,)),
        "no type": lambda s: s.view(Pid(("storage", "Float", "0", "cpu", 6)), (6,), (1,)),
        "no dtype": lambda s: s.view(s.storage(raw, "Untyped", count=24), (6,), (1,)),
        "complex": lambda s: s.view(s.storage(raw, "ComplexFloat", count=3), (3,), (1,)),
        "id of one": lambda s: Pid(("storage",)),
        "id that is text": lambda s: Pid("storage"),
        "a module": lambda s: Pid(("module", ORDERED, "net.py", "source")),
        "five arguments of eight": lambda s: Call(REBUILD, ()),
    }  # fmt: skip
    for name, make in cases.items():
        saver, tree = tree_of(make)
        with pytest.raises(CheckpointError, match=r"a\.pth: "):
            read_weights(saver.write(tmp_path / "a.pth", tree))
            pytest.fail(name)


def test_many_tensors_of_one_storage_do_not_multiply_it(tmp_path):
    saver = Saver()
    storage = saver.storage(np.zeros(100_000, np.float32), key="0")
    tree = {f"x{k}": saver.view(storage, (100_000,), (1,)) for k in range(20)}
    with pytest.raises(CheckpointError, match="20 tensors need 8000000 bytes and share"):
        read_weights(saver.write(tmp_path / "a.pth", tree))
    del tree["x3"]
    few = dict(list(tree.items())[:5])
    assert len(read_weights(saver.write(tmp_path / "a.pth", few)).arrays) == 5


def test_legacy_storages_and_views_must_agree(tmp_path):
    x = np.arange(6, dtype=np.float32)
    for part in (("v", 3, 4), ("v", -1, 2), ("v", 0), ("v", 2.0, 1), 7):
        saver = Saver(legacy=True)
        tree = {"x": saver.view(saver.storage(x, part=part), (1,), (1,))}
        with pytest.raises(CheckpointError):
            read_weights(saver.write(tmp_path / "a.th", tree))
    saver = Saver(legacy=True)
    tree = pickled({"x": saver.tensor(x)})
    for change, words in (
        ({"tail": b"more"}, "4 bytes are left over"),
        ({"little": False}, "big-endian machine"),
        ({"version": 1002}, "is not 1001"),
        ({"magic": 5}, "not one of torch.save"),
    ):
        with pytest.raises(CheckpointError, match=words):
            read_weights(saver.write_legacy(tmp_path / "a.th", tree, **change))
    saver.storage(x)
    with pytest.raises(CheckpointError, match="not that of the tensors"):
        read_weights(saver.write_legacy(tmp_path / "a.th", tree))


def test_items_of_the_writer_are_pickles():
    assert pickle.loads(PROTO + b"}" + items({"a": 1}) + b".") == {"a": 1}
