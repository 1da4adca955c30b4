"""Benchmarks are run once, tiny: they print their tables; what they measure is nobody's test."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from benchmarks import kernels_conv, ladder, scaling
from benchmarks.kernels_conv import LAYERS, PASSES, Layer
from minigrad._kernels import dispatch, gemm
from minigrad.reference import conv as reference

ROOT = Path(__file__).resolve().parent.parent


def run(*args):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *args],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip


def tables(text):
    """Every Markdown table of a text: a list of rows of cells."""
    found = re.findall(r"(?:^\|.*\|$\n?)+", text, re.M)
    return [[row.strip("|").split("|") for row in t.strip().splitlines()] for t in found]


@pytest.mark.timeout(500)
@pytest.mark.parametrize("name", ["ops", "conv", "ladder", "sweep", "scaling", "memory", "nets"])
def test_a_benchmark_prints_its_table_under_the_machine_line(name):
    done = run(name, "--quick")
    assert done.returncode == 0, done.stderr
    assert "GFLOP/s" in done.stdout.splitlines()[0]
    assert len(re.findall(r"\d+\.\d+", done.stdout)) > 3
    if name != "sweep":
        assert tables(done.stdout)
    for head, rule, *rows in tables(done.stdout):
        assert rows and {len(row) for row in rows} == {len(head)} == {len(rule)}
        assert set("".join(rule)) == {"-"}


def test_an_unknown_benchmark_is_refused_with_the_list():
    done = run("speed")
    assert done.returncode == 2 and "there are ops, conv" in done.stderr


def test_an_unknown_net_is_refused_with_the_list():
    done = run("scaling", "--nets", "resnet21")
    assert done.returncode == 2 and "unknown net 'resnet21'; there are mlp, lenet" in done.stderr


# -- conv -----------------------------------------------------------------------------------------


def test_the_layers_cover_the_table_of_the_issue_and_the_nets_it_names():
    have = {layer[1:] for layer in LAYERS}
    assert len(have) == len({layer.name for layer in LAYERS}) == len(LAYERS)
    must_reach = [  # N, C, H, K, R, stride, pad, groups
        (8, 64, 56, 64, 3, 1, 1, 1), (8, 256, 28, 256, 3, 1, 1, 1), (128, 64, 8, 64, 3, 1, 1, 1),
        (8, 512, 14, 512, 3, 1, 1, 1), (128, 32, 16, 32, 3, 1, 1, 1),
        (128, 16, 32, 16, 3, 1, 1, 1),
    ]  # fmt: skip
    assert not set(must_reach) - have
    assert sum(a.r == 5 and a.stride == 1 and a.c // a.groups >= 48 for a in LAYERS) >= 3
    assert sum(a.r == 1 for a in LAYERS) >= 6
    assert sum(a.groups == a.c for a in LAYERS) >= 1
    assert {(a.r, a.stride) for a in LAYERS} >= {(1, 2), (3, 2), (7, 2), (11, 4)}


@pytest.mark.parametrize(
    "layer", [a for a in LAYERS if a.n * a.c * a.h**2 < 1e6], ids=lambda a: a.name
)
def test_the_passes_of_a_layer_are_its_convolution(layer):
    flop, runs = kernels_conv.passes(layer._replace(n=1), "float32", np.random.default_rng(0))
    y, gx, gw = (runs[name]() for name in PASSES)
    assert y.shape == (1, layer.k, layer.out, layer.out)
    assert gx.shape == (1, layer.c, layer.h, layer.h) and gw.shape == layer.w_shape
    assert flop == 2 * y.size * gw[0].size


def test_the_bound_counts_what_the_algorithm_executes():
    layer = Layer("", 2, 16, 9, 32, 3, 1, 0)  # outputs 7x7: 2x2 tiles; inputs 9x9: 3x3 tiles
    assert kernels_conv.direct_flop(layer) == 2 * 2 * 32 * 7 * 7 * 16 * 9
    count = {p: kernels_conv.executed_flop(layer, p, "winograd") for p in PASSES}
    assert count["forward"] == count["grad_w"] == 2 * 36 * (2 * 4) * 16 * 32
    assert count["grad_x"] == 2 * 36 * (2 * 9) * 16 * 32
    assert kernels_conv.executed_flop(layer, "forward", "direct") == kernels_conv.direct_flop(layer)
    moved = 4 * (2 * 16 * 81 + 2 * 32 * 49 + 32 * 16 * 9)
    assert kernels_conv.moved_bytes(layer, "float32") == moved


def test_a_row_names_the_longer_of_the_two_bounds():
    # 8 Gflop at 4 Gflop/s, 2 of them executed: half a second; a copy that takes a quarter or one
    cells = kernels_conv.row(("a",), 8e9, 2e9, 2.0, 4e9, 0.25).strip("| ").split(" | ")
    assert cells == ["a", "2000.000", "4.0", "100", "500.000", "arithmetic", "25"]
    cells = kernels_conv.row(("a",), 8e9, 2e9, 2.0, 4e9, 1.0).strip("| ").split(" | ")
    assert cells[4:] == ["1000.000", "memory", "50"]


def test_the_algorithm_of_a_row_is_what_explain_says():
    layer = next(a for a in LAYERS if a.name == "3x3 56x56 64-64")
    plan = mg.explain((64, 64, 3, 3), (8, 64, 56, 56), padding=1)
    assert kernels_conv.algorithms(layer, "float32") == {p.name: p.algorithm for p in plan.passes}
    assert set(kernels_conv.algorithms(layer, "float64").values()) == {"direct"}


# -- ladder ---------------------------------------------------------------------------------------


@pytest.fixture
def small():
    x, w = ladder.operands(ladder.QUICK)
    return x, w, reference.conv2d(x.astype(np.float64), w.astype(np.float64), **ladder.PLAIN)


def test_every_python_rung_computes_the_layer(small):
    x, w, want = small
    assert abs(ladder.seven_loops(x, w, 3, 2) - want[:1, :3, :2]).max() < 1e-5
    for product in (np.matmul, gemm.matmul):
        assert abs(ladder.im2row(x, w, product) - want).max() < 1e-5


def test_the_error_of_a_rung_is_in_units_of_the_root_mean_square(small):
    x, w, want = small
    assert ladder.error(want, x, w) < 1e-12
    off = want.copy()
    off[0, 2, 1, 3] += 0.5
    assert np.isclose(ladder.error(off, x, w), 0.5 / np.sqrt(np.mean(want[0] ** 2)))


def test_a_wrong_rung_ends_the_ladder():
    good = ladder.Rung("good", "", 1.0, 1, 1e9, 1e-6)
    assert "good" in ladder.table(ladder.QUICK, [good], {1: 1e9})
    for error in (1e-3, float("nan")):
        with pytest.raises(SystemExit, match="bad is wrong"):
            bad = good._replace(name="bad", error=error)
            ladder.table(ladder.QUICK, [good, bad], {1: 1e9})


def test_the_ladder_has_a_rung_for_every_instruction_set_up_to_the_one_in_use():
    rows = tables(run("ladder", "--quick").stdout)[0][2:]
    names = [row[0].strip() for row in rows]
    used = dispatch.isas()[dispatch.isas().index(dispatch.isa()) :]
    direct = [f"direct, {isa}" for isa in reversed(used)]
    assert names[:3] == ["seven loops in Python", "nine taps in NumPy", "im2row, NumPy's product"]
    assert names[3 : 4 + len(direct)] == [f"im2row, our product, {used[-1]}", *direct]
    last = f"winograd, {dispatch.isa()}"
    count = mg.get_num_threads()
    assert names[4 + len(direct) :] == [last, f"{last}, {count} threads"][: 1 + (count > 1)]


# -- scaling --------------------------------------------------------------------------------------


def test_batches_and_threads_go_up_to_what_was_asked():
    assert scaling.powers_of_two(512) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert scaling.powers_of_two(6) == [1, 2, 4, 6] and scaling.powers_of_two(1) == [1]
    assert scaling.thread_counts(2) == [1, 2]
    assert scaling.thread_counts(20) == [*range(1, 9), 16, 20]
    assert scaling.thread_counts(os.cpu_count())[-1] == os.cpu_count()


def test_timed_inference_keeps_its_packed_weights_until_the_process_ends():
    script = (
        "import gc, child_minigrad as child\n"
        "from minigrad._kernels import kept\n"
        "step = child.make_step('lenet', 2, 'infer')\n"
        "gc.collect(); step()\n"
        "print(kept.kept_bytes() > 0)\n"
        "child.UNTIL_THE_END.close()\n"
        "print(kept.kept_bytes() == 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT / "benchmarks", capture_output=True, text=True,
        check=False, timeout=400, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.split() == ["True", "True"], done.stderr
