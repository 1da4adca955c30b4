"""The experiments: what passing means, what is written, and the exact ones."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import zoo
from minigrad import io
from minigrad.errors import ArgError
from zoo.cli import main
from zoo.experiments import (
    EXPERIMENTS,
    Settings,
    auxiliary,
    construction,
    equation_414,
    filters,
    gradient_flow,
    growth,
    heads,
    memory,
    published_weights,
    runner,
    training,
    views,
)
from zoo.experiments import experiment as named
from zoo.experiments.framework import Experiment, Plot, Result, Table, Verdict, within

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def of(result, **wanted):
    """A toy experiment that gives back `result`."""
    return Experiment("E0", "toy", "c", "p", "s", "q", lambda settings: result, **wanted)


# -- what passing means -------------------------------------------------------------------------


def test_a_verdict_compares_and_a_nan_never_passes():
    assert Verdict("w", 1.0, "<=", 1.0).passed and not Verdict("w", 1.0, "<", 1.0).passed
    assert Verdict("w", 2.0, ">=", 2.0).passed and not Verdict("w", 2.0, ">", 2.0).passed
    assert Verdict("w", 3, "==", 3).passed and not Verdict("w", 3, "==", 4).passed
    for relation in ("<=", "<", ">=", ">", "=="):
        assert not Verdict("w", math.nan, relation, math.nan).passed
    assert [v.passed for v in within("w", 5.0, 1.0, 4.0)] == [True, False]


def test_a_result_passes_when_all_verdicts_do_and_there_is_one():
    good, bad = Verdict("w", 0, "==", 0), Verdict("w", 0, "==", 1)
    assert Result([], [good, good]).passed
    assert not Result([], [good, bad]).passed
    assert not Result().passed
    assert Result(skipped="why").to_dict()["passed"] is None


def test_a_table_is_aligned_and_has_a_markdown_form():
    table = Table("title", ("net", "count"), [("a", 1_234_567), ("bb", None)])
    assert str(table).splitlines() == [
        "title", "net      count", "---  ---------", "a    1,234,567", "bb",
    ]  # fmt: skip
    assert table.markdown().splitlines()[1] == "| --- | --: |"
    bars = Table("t", ("|v|",), [("a|b",)]).markdown()
    assert bars == "| \\|v\\| |\n| --- |\n| a\\|b |"


def test_the_card_of_every_experiment_is_full():
    assert sorted(int(e.id[1:]) for e in EXPERIMENTS.values()) == list(range(1, 17))
    for name, e in EXPERIMENTS.items():
        assert name == e.name and all((e.claim, e.published, e.source, e.caveat))


def test_seeds_of_different_runs_are_different():
    assert not set(Settings(0).seeds(5)) & set(Settings(1).seeds(5))


# -- the runner ---------------------------------------------------------------------------------


def test_a_run_writes_what_it_found_with_seed_and_environment(tmp_path, capsys):
    plots = [Plot(lambda figure: figure.subplots().plot([1, 2]), (2, 2), n) for n in ("", "more")]
    result = Result([Table("t", ("a",), [(1,)])], [Verdict("v", 1.5, ">", 1.0)], plots, ["a note"])
    assert runner.run(of(result), Settings(seed=7), str(tmp_path / "new")).passed
    found = json.loads((tmp_path / "new" / "toy.json").read_text())
    assert found["settings"]["seed"] == 7 and found["environment"]["minigrad"] == mg.__version__
    assert 0 <= found["processor_seconds"] < 1 and found["seconds"] >= 0
    assert found["verdicts"][0]["passed"] is True and found["tables"][0]["rows"] == [[1]]
    for name in ("toy.png", "toy-more.png"):
        assert (tmp_path / "new" / name).read_bytes().startswith(b"\x89PNG")
    text = capsys.readouterr().out
    assert (
        "published" in text and "caveat" in text and "a note" in text and "passed, 1 of 1" in text
    )


def test_without_matplotlib_all_but_the_picture_is_done(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runner, "can_plot", lambda: False)
    result = Result([], [Verdict("v", 0, "==", 0)], [Plot(lambda figure: None)])
    runner.run(of(result), Settings(), str(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["toy.json"]
    assert "pip install" in capsys.readouterr().out


def test_the_command_lists_and_fails_and_says_what_is_meant(tmp_path, capsys):
    assert main(["experiment", "list"]) == 0
    assert all(name in capsys.readouterr().out for name in [*EXPERIMENTS][:1])
    assert main(["experiment", "degradtion", "--out", str(tmp_path)]) == 2
    assert "did you mean degradation?" in capsys.readouterr().err
    assert main(["experiment", "E9", "--data", "nothing", "--out", str(tmp_path)]) == 2
    assert main(["experiment", "E9", "--data", "./nothing", "--out", str(tmp_path)]) == 1
    assert not list(tmp_path.glob("*.json"))
    assert named("e4") is named("equation-4.14") is named("E4")


def test_the_exit_code_is_that_of_the_criteria(tmp_path, monkeypatch):
    for value, code in ((0, 0), (1, 1)):
        found = Result([], [Verdict("v", value, "==", 0)])
        monkeypatch.setitem(EXPERIMENTS, "toy", of(found))
        assert main(["experiment", "toy", "--out", str(tmp_path)]) == code
    assert main(["experiment", "published-weights", "--out", str(tmp_path)]) == 0  # skipped


# -- exact ones ---------------------------------------------------------------------------------


def test_E2_a_deepened_net_has_the_same_logits():
    for _, value in construction.exact(3, size=16, depths=(32, 56)):
        assert 0 < value <= 1e-5


def test_E2_a_block_that_is_not_the_identity_is_noticed():
    shallow = construction.random_statistics(zoo.get_model("plain20"), 0)
    deep = construction.deepen(shallow, zoo.get_model("plain32"))
    x = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
    assert construction.difference(shallow, deep, x) <= 1e-5
    last = list(deep.layer2)[-1]
    mg.nn.init.constant_(last.bn2.weight, 1.01)
    assert construction.difference(shallow, deep, x) > 1e-4
    with pytest.raises(ArgError, match="3 blocks"):
        construction.deepen(deep, zoo.get_model("plain20"))


def test_E3_batch_norm_explodes_and_sigmoid_vanishes_and_shortcuts_keep_even():
    data = training.images(Settings(), 8, 500)
    found = gradient_flow.at_start(data, [0], depths=(56,))
    assert found["plain sigmoid, Xavier", 56][0] < 1e-10
    assert 1 <= found["residual ReLU, BN", 56][0] <= 30
    assert found["plain ReLU, BN", 56][0] > 100
    assert found["residual sigmoid (after the sum)", 56][0] < 1e-10
    assert gradient_flow.rounding(data, 0) < 1e-3


@pytest.mark.parametrize("seed", [0, 1])
def test_E4_equation_414_holds_where_it_should_and_only_there(seed):
    result = named("E4").run(Settings(seed))
    assert result.passed, [str(v) for v in result.verdicts if not v.passed]
    holds = equation_414.cases(seed)
    assert all(max(forward, gradient) < 1e-13 for _, forward, gradient in holds[:2])
    assert all(gradient > 0.1 for _, _, gradient in holds[2:])


def test_E5_fields_and_weights():
    assert filters.support((3, 3, 3)) == filters.support((7,)) == (7, 7, 49)
    assert filters.support((3, 3)) == (5, 5, 25)
    assert filters.filter_counts() == [
        (3, 243, 441), (64, 110_592, 200_704), (256, 1_769_472, 3_211_264),
    ]  # fmt: skip


def test_E6_costs_of_both_modules():
    assert [c[1:] for c in filters.module_costs()] == [
        (854_196_224, 1_089_536, 672), (271_351_808, 346_112, 480),
    ]  # fmt: skip
    assert [*filters.block_weights().values()] == [69_632, 73_728, 1_179_648]


def test_E7_parameters_of_heads():
    assert heads.counts() == [
        ("vgg16, linear layers", 138_357_544, 123_642_856),
        ("vgg16, global average", 15_227_688, 513_000),
        ("nin_imagenet", 7_595_176, 0),
    ]


def test_E10_windows_stand_where_the_paper_has_them():
    assert views.ten_crop_corners() == views.expected_corners()
    assert views.ten_crop_corners(32, 24) == views.expected_corners(32, 24)
    assert all(value <= 1e-5 for value in views.dense_differences(0).values())
    assert views.multi_scale_difference(0) <= 1e-6


def test_E13_naive_modules_grow_by_416_and_reduced_ones_do_not():
    assert [maps for maps, _ in growth.stack(growth.naive, 3)] == [672, 1088, 1504]
    assert growth.stack(growth.naive, 1)[0][1] == 854_196_224
    assert [maps for maps, _ in growth.stack(growth.reduced, 3)] == [480, 480, 480]


def test_E14_vgg16_keeps_what_was_predicted():
    result = named("E14").run(Settings())
    assert result.passed, [str(v) for v in result.verdicts if not v.passed]
    assert any(v.what.startswith("peak with the tape") for v in result.verdicts)


def test_E14_the_tape_of_a_net_is_counted_once():
    net = zoo.get_model("lenet")
    kept = memory.kept(net, mg.zeros(1, 1, 28, 28))
    assert kept["total"] == sum(n for op, n in kept.items() if op != "total")
    assert memory.kept(net, mg.zeros(2, 1, 28, 28))["total"] == 2 * kept["total"]
    assert memory.kept(net, mg.zeros(1, 1, 28, 28), record=False) == {}


def test_E15_is_skipped_without_a_file_and_counts_with_one(tmp_path):
    assert "--weights" in named("E15").run(Settings()).skipped
    path = tmp_path / "w.safetensors"
    io.save(path, zoo.get_model("resnet20").state_dict())
    result = named("E15").run(Settings(weights=str(path)))
    assert result.passed and "nothing is classified" in result.notes[0]
    with pytest.raises(mg.CheckpointError):
        io.save(path, zoo.get_model("resnet32").state_dict())
        named("E15").run(Settings(weights=str(path)))


def test_E15_published_weights_on_jpegs():
    weights, data = SHARED / "resnet20-12fca82f.th", SHARED / "cifar10_jpeg.zip"
    if not (weights.exists() and data.exists()):
        pytest.skip("needs ../shared/data (see its README)")
    pytest.importorskip("PIL")
    result = published_weights.run(Settings(weights=str(weights), data=str(data)))
    assert result.passed
    assert 15 < result.tables[0].rows[-1][2] < 25  # percent wrong; about 19


@pytest.mark.parametrize("seed", [0, 1])
def test_E16_auxiliary_losses_weigh_three_tenths_and_stop_where_they_stand(seed):
    result = named("E16").run(Settings(seed))
    assert result.passed, [str(v) for v in result.verdicts if not v.passed]


def test_E16_another_weight_is_noticed(monkeypatch):
    found, _ = auxiliary.gradients(0)
    monkeypatch.setattr(auxiliary, "AUX_WEIGHT", 0.29)
    assert auxiliary.weighted_error(found, "inception4a") > 1e-3


def test_no_experiment_shares_its_settings():
    settings = Settings(seed=3)
    assert replace(settings, full=True).pick(1, 2) == 2 and settings.pick(1, 2) == 1
