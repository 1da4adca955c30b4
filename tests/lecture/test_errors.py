"""The twelve errors of the lecture: what it says is not so, and what is."""

import re

import pytest

from zoo.lecture import CAVEAT, ERRORS, LEDGER, SLIPS, WRONG

BY_NUMBER = {error.number: error for error in ERRORS}


def found(number, *rows):
    """The numbers of an error, which is about these rows, none of them right."""
    error = BY_NUMBER[number]
    assert error.rows == rows
    assert all(LEDGER[row].verdict in (WRONG, CAVEAT) for row in rows)
    return error.compute()


def test_there_are_twelve_and_every_wrong_row_is_in_one_or_is_arithmetic():
    assert [error.number for error in ERRORS] == list(range(1, 13))
    assert all(error.said and error.right and error.why for error in ERRORS)
    about = {row for error in ERRORS for row in error.rows}
    wrong = {row.id for row in LEDGER.values() if row.verdict == WRONG}
    assert wrong - about == {"V11"}  # a slip of the pen: 243, not 213


def test_error_1_the_inception_module_costs_271_million():
    n = found(1, "N12")
    assert n["sum"] == sum(n["each"]) == 271_351_808 != 358_000_000
    assert n["naive / reduced"] == pytest.approx(854_196_224 / 271_351_808)
    assert n["sum"] + max(x for x in n["each"] if x < 1e8) == 358_055_936
    assert pytest.approx(2.39, abs=0.005) == 854_196_224 / 358_055_936


def test_error_2_vgg16_needs_61_mb():
    n = found(2, "V16")
    assert n["values"] == 15_237_608 and round(n["MB"]) == 61 and round(n["MiB"], 1) == 58.1
    assert round(24e6 * 4 / 1e6) == 96 != round(n["MB"])


def test_error_3_a_second_64896_is_missing():
    n = found(3, "A2")
    assert n["nodes"].count(64_896) == 2 and len(n["nodes"]) == 8
    assert n["nodes"][0] == 55 * 55 * 96 != n["printed in the paper for layer 1"]


def test_error_4_58_6_million_and_25_times():
    n = found(4, "A4", "A5")
    assert (n["linear"], n["convolutions"]) == (58_631_144, 2_334_080)
    assert n["two GPUs: ratio"] == pytest.approx(58_631_144 / 2_334_080)
    assert n["all"] < 65e6


def test_error_5_normalization_comes_before_pooling():
    n = found(5, "A7")
    assert n["paper"].split()[:3] == ["conv", "norm", "pool"]
    assert n["CaffeNet"].split()[:3] == ["conv", "pool", "norm"]


def test_error_6_weight_decay_is_1e_4():
    assert set(found(6, "R16").values()) == {1e-4}


def test_error_7_linear_layers_are_89_percent_of_vgg16():
    n = found(7, "N2")
    assert n["vgg16, % of all"] == pytest.approx(89.4, abs=0.05)
    assert n["122M, % of VGG-19"] == pytest.approx(85, abs=0.1)


def test_error_8_equation_4_14_needs_pre_activation():
    n = found(8, "R9")
    assert n["pre-activation"] < 1e-10 and n["ReLU after the sum"] > 0.01


def test_error_9_plain_gradients_explode_with_batch_norm():
    n = found(9, "R7")
    assert n["plain ReLU, BN, 56 layers"] > 100 > 30 > n["residual ReLU, BN, 56 layers"]


def test_error_10_1202_layers_overfit():
    n = found(10, "R18")
    assert n["resnet1202"] == 7.93 > n["resnet110"] == 6.43


def test_error_11_the_rate_falls_three_times():
    rates = found(11, "A20", "A23")["learning rates"]
    assert rates == pytest.approx([1e-2, 1e-3, 1e-4, 1e-5])


def test_error_12_the_boxes_are_drawn_wrong():
    n = found(12, "V13")
    assert n["vgg16"].split("-")[2] == "3"
    assert n["AlexNet pools after"] == ["conv1", "conv2", "conv5"]


def test_smaller_ones_name_rows_with_a_caveat_or_a_note():
    rows = [re.findall(r"\(([IAVNR]\d+)\)\.$", slip) for slip in SLIPS]
    assert all(len(found) == 1 and found[0] in LEDGER for found in rows)
