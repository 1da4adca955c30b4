"""Design: `explain` says what runs, and what runs is seen in the bits.

Winograd's algorithm and the direct one round differently, so on real numbers the bits of "auto"
show which of the two was taken. Environments are tried in processes of their own.
"""

import functools
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import minigrad
from minigrad import nn
from minigrad._kernels import conv as kernel
from minigrad._kernels import conv_choice, dispatch
from minigrad.errors import ArgError, ShapeError
from minigrad.explain import Explanation, Pass
from minigrad.ops.geometry import pair, quad
from tests.layouts import same

PASSES = ("forward", "grad_x", "grad_w")
LAYERS = {  # x, w, keyword arguments of conv2d, whether Winograd's algorithm applies
    "3x3": ((2, 64, 14, 15), (48, 64, 3, 3), {"padding": 1}, True),
    "3x3 few channels": ((2, 3, 14, 15), (4, 3, 3, 3), {"padding": 1}, True),
    "3x3 one channel": ((2, 1, 28, 28), (1, 1, 3, 3), {}, True),
    "3x3 one to many": ((2, 1, 28, 28), (64, 1, 3, 3), {}, True),
    "3x3 on one pixel": ((1, 16, 1, 1), (16, 16, 3, 3), {"padding": 1}, True),
    "3x3 many channels, one tile": ((1, 256, 4, 4), (256, 256, 3, 3), {"padding": 1}, True),
    "3x3 uneven padding": ((2, 32, 14, 15), (48, 32, 3, 3), {"padding": (0, 4, 2, 1)}, True),
    "3x3 same": ((2, 32, 14, 15), (48, 32, 3, 3), {"padding": "same"}, True),
    "5x5": ((2, 48, 14, 15), (32, 48, 5, 5), {"padding": 2}, True),
    "5x5 small": ((1, 6, 5, 6), (16, 6, 5, 5), {}, True),
    "groups": ((2, 48, 14, 15), (64, 24, 3, 3), {"padding": 1, "groups": 2}, True),
    "many groups": ((2, 48, 9, 8), (48, 2, 3, 3), {"padding": 1, "groups": 24}, True),
    "stride": ((2, 64, 14, 15), (48, 64, 3, 3), {"stride": 2}, False),
    "stride of one axis": ((2, 64, 14, 15), (48, 64, 3, 3), {"stride": (1, 2)}, False),
    "dilation": ((2, 64, 14, 15), (48, 64, 3, 3), {"dilation": 2}, False),
    "depthwise": ((2, 64, 14, 15), (64, 1, 3, 3), {"groups": 64}, False),
    "depthwise, two each": ((2, 64, 14, 15), (128, 1, 3, 3), {"groups": 64}, False),
    "1x1": ((2, 64, 14, 15), (48, 64, 1, 1), {}, False),
    "7x7": ((2, 64, 14, 15), (48, 64, 7, 7), {"padding": 3}, False),
    "3x5": ((2, 64, 14, 15), (48, 64, 3, 5), {}, False),
}


@functools.cache
def runs(name, dtype="float32"):
    """{(pass, algorithm): result} of a layer, for every algorithm that it can take, and of auto."""
    x_shape, w_shape, kw, applies = LAYERS[name]
    rng = np.random.default_rng(len(name))
    x, w = (rng.standard_normal(s).astype(dtype) for s in (x_shape, w_shape))
    padding = (1, 1, 1, 1) if kw.get("padding") == "same" else quad("test", kw.get("padding", 0))
    exact = {
        "stride": pair("test", "stride", kw.get("stride", 1), 1),
        "padding": padding,
        "dilation": pair("test", "dilation", kw.get("dilation", 1), 1),
        "groups": kw.get("groups", 1),
    }
    gy = rng.standard_normal(kernel.conv2d(x, w, **exact).shape).astype(dtype)
    found = {}
    for algorithm in (None, "auto", "direct", *(["winograd"] if applies else [])):
        how = {**exact, "algorithm": algorithm}
        found["forward", algorithm] = kernel.conv2d(x, w, **how)
        found["grad_x", algorithm] = kernel.conv2d_grad_x(gy, w, x_shape=x_shape, **how)
        found["grad_w", algorithm] = kernel.conv2d_grad_w(gy, x, w_shape=w_shape, **how)
    return found


@pytest.fixture(autouse=True)
def choosing(monkeypatch):
    """The choice is free, whatever MINIGRAD_CONV says of the run of these tests."""
    monkeypatch.setattr(conv_choice, "wish", "auto")


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_explained_is_what_runs(name):
    x_shape, w_shape, kw, applies = LAYERS[name]
    explained = minigrad.explain(w_shape, x_shape, **kw)
    assert isinstance(explained, Explanation)
    assert (explained.x_shape, explained.w_shape) == (x_shape, w_shape)
    assert tuple(p.name for p in explained.passes) == PASSES and explained.dtype == "float32"
    found = runs(name)
    for p in explained.passes:
        assert isinstance(p, Pass)
        assert same(found[p.name, None], found[p.name, p.algorithm])
        assert same(found[p.name, "auto"], found[p.name, p.algorithm])
        if applies:
            assert not same(found[p.name, "direct"], found[p.name, "winograd"])
            assert p.direct > 0 and p.winograd > 0
            assert p.algorithm == ("winograd" if p.winograd < p.direct else "direct")
            assert p.reason.startswith(f"{p.algorithm} is estimated ")
        else:
            assert p.algorithm == "direct" and p.direct is p.winograd is None


def test_both_answers_occur():
    chosen = {
        p.algorithm
        for x_shape, w_shape, kw, applies in LAYERS.values()
        for p in minigrad.explain(w_shape, x_shape, **kw).passes
        if applies
    }
    assert chosen == {"direct", "winograd"}


REASONS = {
    "stride": "the stride is 2x2, not 1x1",
    "stride of one axis": "the stride is 1x2, not 1x1",
    "dilation": "the dilation is 2x2, not 1x1",
    "depthwise": "the convolution is depthwise",
    "depthwise, two each": "the convolution is depthwise",
    "1x1": "the filter is 1x1, not 3x3 or 5x5",
    "7x7": "the filter is 7x7, not 3x3 or 5x5",
    "3x5": "the filter is 3x5, not 3x3 or 5x5",
}


@pytest.mark.parametrize("name", [name for name in LAYERS if not LAYERS[name][3]])
def test_the_reason_is_the_obstacle_and_the_refusal_names_it(name):
    x_shape, w_shape, kw, _ = LAYERS[name]
    assert {p.reason for p in minigrad.explain(w_shape, x_shape, **kw).passes} == {REASONS[name]}
    with pytest.raises(ArgError) as caught:
        minigrad.explain(w_shape, x_shape, algorithm="winograd", **kw)
    text = str(caught.value)
    assert text.startswith("explain: ") and REASONS[name] in text and "use 'auto'" in text


@pytest.mark.parametrize("name", ["3x3", "5x5", "groups", "3x3 few channels"])
@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
def test_an_algorithm_that_was_asked_for_is_the_answer(name, algorithm):
    x_shape, w_shape, kw, _ = LAYERS[name]
    for p in minigrad.explain(w_shape, x_shape, algorithm=algorithm, **kw).passes:
        assert p.algorithm == algorithm and p.reason == f"{algorithm!r} was asked for"
        assert p.direct > 0 and p.winograd > 0


@pytest.mark.parametrize("name", ["3x3", "groups", "stride"])
def test_float64_is_always_direct(name):
    x_shape, w_shape, kw, _ = LAYERS[name]
    x = np.zeros(x_shape)
    for explained in (
        minigrad.explain(w_shape, x_shape, dtype=np.float64, **kw),
        minigrad.explain(w_shape, x_shape, dtype="float64", **kw),
        minigrad.explain(w_shape, x, **kw),
        minigrad.explain(np.zeros(w_shape), minigrad.tensor(x), **kw),
    ):
        assert explained.dtype == "float64"
        for p in explained.passes:
            assert p.algorithm == "direct" and "float64" in p.reason
    with pytest.raises(ArgError, match=r"^explain: .*float64.*use 'auto'"):
        minigrad.explain(w_shape, x, algorithm="winograd", **kw)


@pytest.mark.parametrize("name", [n for n in LAYERS if LAYERS[n][1][2] == LAYERS[n][1][3]])
def test_a_module_brings_its_own_parameters(name):
    x_shape, w_shape, kw, _ = LAYERS[name]
    module = nn.Conv2d(x_shape[1], w_shape[0], w_shape[2], **kw)
    want = minigrad.explain(w_shape, x_shape, **kw)
    for x in (x_shape, list(x_shape), np.zeros(x_shape, np.float32),
              minigrad.zeros(x_shape)):  # fmt: skip
        assert minigrad.explain(module, x) == want
    assert minigrad.explain(module.weight, x_shape, **kw) == want
    assert minigrad.explain(module.weight.numpy(), x_shape, **kw) == want


def test_a_module_runs_as_explained_forwards_and_backwards():
    module, rng = nn.Conv2d(32, 48, 3, padding=1), np.random.default_rng(0)
    x = minigrad.tensor(rng.standard_normal((2, 32, 13, 14), np.float32), requires_grad=True)
    gy = rng.standard_normal((2, 48, 13, 14), np.float32)
    explained = {p.name: p.algorithm for p in minigrad.explain(module, x).passes}
    y = module(x)
    y.backward(minigrad.tensor(gy))
    kw = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}
    w, b = module.weight.numpy(), module.bias.numpy()
    want = kernel.conv2d(x.numpy(), w, b, algorithm=explained["forward"], **kw)
    assert same(y.numpy(), want)
    how = {**kw, "algorithm": explained["grad_x"]}
    assert same(x.grad.numpy(), kernel.conv2d_grad_x(gy, w, x_shape=x.shape, **how))
    how = {**kw, "algorithm": explained["grad_w"]}
    got = module.weight.grad.numpy()
    assert same(got, kernel.conv2d_grad_w(gy, x.numpy(), w_shape=w.shape, **how))
    assert "winograd" in explained.values()


def test_the_text_names_the_problem_and_has_a_line_a_pass():
    text = str(minigrad.explain((64, 32, 3, 3), (8, 32, 20, 21), padding=1, stride=2))
    head, *lines = text.split("\n")
    for part in ("(8, 32, 20, 21)", "(64, 32, 3, 3)", "float32", dispatch.isa()):
        assert part in head
    assert [line.split()[:2] for line in lines] == [[p, "direct"] for p in PASSES]
    assert all("stride" in line for line in lines)


def test_nothing_is_allocated():
    huge = minigrad.explain((2048, 2048, 3, 3), (4096, 2048, 512, 512), padding=1)
    assert all(p.direct > 1e15 for p in huge.passes)


def test_an_empty_batch_is_explained():
    found = minigrad.explain((8, 4, 3, 3), (0, 4, 9, 9))
    assert tuple(p.name for p in found.passes) == PASSES


BAD = {
    "x of three sizes": (((8, 4, 3, 3), (4, 9, 9)), {}, ArgError, "x must be four sizes"),
    "x of a number": (((8, 4, 3, 3), 7), {}, ArgError, "x must be four sizes"),
    "weight of two sizes": (((8, 4), (1, 4, 9, 9)), {}, ArgError, "weight must be four sizes"),
    "integers": (((8, 4, 3, 3), (1, 4, 9, 9)), {"dtype": "int32"}, ArgError, "float32 or float64"),
    "algorithm": (((8, 4, 3, 3), (1, 4, 9, 9)), {"algorithm": "fft"}, ArgError, "auto, direct"),
    "channels": (((8, 5, 3, 3), (1, 4, 9, 9)), {}, ShapeError, "4"),
    "groups": (((8, 2, 3, 3), (1, 4, 9, 9)), {"groups": 3}, ShapeError, "3"),
    "does not fit": (((8, 4, 3, 3), (1, 4, 2, 9)), {}, ShapeError, "spans 3 rows"),
    "stride": (((8, 4, 3, 3), (1, 4, 9, 9)), {"stride": 0}, ArgError, "stride"),
    "padding": (((8, 4, 3, 3), (1, 4, 9, 9)), {"padding": "full"}, ArgError, "'same'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_one_line_that_starts_with_explain(name):
    args, kw, error, part = BAD[name]
    with pytest.raises(error) as caught:
        minigrad.explain(*args, **kw)
    text = str(caught.value)
    assert text.startswith("explain: ") and part in text and "\n" not in text


# -- the environment ------------------------------------------------------------------------------

CHILD = """
import json, numpy as np, minigrad
from minigrad._kernels import conv
from tests.layouts import same
rng = np.random.default_rng(0)
x = rng.standard_normal((2, 24, 9, 10)).astype(np.float32)
w = rng.standard_normal((17, 24, 3, 3)).astype(np.float32)
kw = dict(stride=(1, 1), padding=(1, 1, 1, 1), dilation=(1, 1), groups=1)
ways = ("direct", "winograd")
bits = lambda a: [n for n in ways if same(conv.conv2d(x, w, algorithm=n, **kw), a)]
strided = {**kw, "stride": (2, 2)}
print(json.dumps({
    "explained": [(p.algorithm, p.reason) for p in minigrad.explain(w, x, padding=1).passes],
    "auto": minigrad.explain(w, x, padding=1, algorithm="auto").passes[0].reason,
    "runs": bits(conv.conv2d(x, w, **kw)),
    "direct": bits(conv.conv2d(x, w, algorithm="direct", **kw)),
    "strided": bool(np.array_equal(conv.conv2d(x, w, **strided),
                                   conv.conv2d(x, w, algorithm="direct", **strided))),
    "strided reason": minigrad.explain(w, x, stride=2).passes[0].reason,
    "wide": minigrad.explain(w, x.astype(np.float64), padding=1).passes[0].algorithm,
}))
"""


def child(wish, program=CHILD):
    environment = {k: v for k, v in os.environ.items() if k != "MINIGRAD_CONV"}
    if wish is not None:
        environment["MINIGRAD_CONV"] = wish
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("wish", ["direct", "winograd"])
def test_the_environment_chooses_where_the_algorithm_applies(wish):
    run = child(wish)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["explained"] == [[wish, f"{wish!r} was asked for"]] * 3
    assert found["runs"] == [wish] and found["direct"] == ["direct"]
    assert "is estimated" in found["auto"]
    assert found["strided"] and found["strided reason"] == "the stride is 2x2, not 1x1"
    assert found["wide"] == "direct"


@pytest.mark.parametrize("wish", [None, "", "auto"])
def test_without_a_wish_the_estimate_chooses(wish):
    run = child(wish)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["runs"] == [found["explained"][0][0]]
    assert all("is estimated" in reason for _, reason in found["explained"])


def test_an_unknown_wish_is_refused_at_import():
    run = child("fft", "import minigrad")
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert "ArgError" in last and "MINIGRAD_CONV='fft'" in last and "auto, direct, winograd" in last
