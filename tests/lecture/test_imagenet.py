"""Section 1a of the ledger: ImageNet and its challenge."""

import numpy as np
import pytest

import zoo
from minigrad.errors import ArgError
from zoo import history
from zoo.lecture import CAVEAT, LEDGER, NOTE, RIGHT
from zoo.localize import is_localized
from zoo.metrics import topk_error
from zoo.registry import entry

from .judging import judged, meta


def test_I1_22000_classes_are_680_images_each():
    assert judged("I1", CAVEAT) == {"images a class": 681}
    assert 500 <= 15_000_000 / 22_000 <= 1000


def test_I2_top_5_error_is_at_most_top_1_error_and_ties_go_to_the_first():
    assert judged("I2", RIGHT) == {"classes": 1000}
    for name in ("alexnet", "vgg11", "googlenet", "resnet18", "nin_imagenet"):
        assert list(meta(name).parameters())[-1].shape == (1000,)
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 3, (200, 12)).astype(float)  # ties everywhere
    y = rng.integers(0, 12, 200)
    first = np.argsort(-scores, axis=1, kind="stable")  # of equals the lower index first
    for k in (1, 5):
        wanted = 1 - np.mean([label in row[:k] for label, row in zip(y, first, strict=True)])
        assert topk_error(scores, y, k) == pytest.approx(wanted)
    assert topk_error(scores, y, 5) < topk_error(scores, y, 1)
    box = (0, 0, 8, 8)  # localization asks for the class and for the box
    assert is_localized([3], [box], 3, [box]) and not is_localized([4], [box], 3, [box])


def test_I3_the_training_set_has_1_28_million_images():
    assert judged("I3", CAVEAT) == {"training images": 1_280_000}
    assert "100,000 from 2012" in LEDGER["I3"].correction


def test_I4_vgg_was_second_in_2014():
    found = judged("I4", CAVEAT)
    years = ("2012", "2013", "2014", "2015")
    assert [found[y] for y in years] == ["AlexNet", "Clarifai", "GoogLeNet", "ResNet"]
    assert found["second of 2014"] == "VGG"
    assert history.winner(2014).error < history.second(2014).error
    errors = [history.winner(int(y)).error for y in years]
    assert errors == [16.4, 11.7, 6.67, 3.57]


def test_I5_published_weights_fit_by_name():
    found = judged("I5", RIGHT)
    fit = []
    for name in zoo.list_models():
        try:
            entry(name, "torchvision")
        except ArgError:
            continue
        fit.append(name)
    assert found == {"nets with a torchvision form": len(fit), "entries of resnet18": 122}
    assert {"alexnet", "vgg16", "googlenet", "resnet152"} <= set(fit)
    keys = set(meta("resnet18", variant="torchvision").state_dict())
    assert {"layer2.0.downsample.0.weight", "bn1.running_var", "fc.bias"} <= keys


def test_I6_the_figure_is_documentation_and_gates_nothing():
    assert judged("I6", NOTE) == {}
    assert not LEDGER["I6"].checked and LEDGER["I6"].correction


def test_I7_resnet_is_below_the_error_of_people():
    found = judged("I7", RIGHT)
    assert found == {"people": 5.1, "ResNet": 3.57} and found["ResNet"] < found["people"]


def test_I8_detection_improved_every_year():
    found = [*judged("I8", RIGHT).values()]
    assert found == [22.6, 43.9, 62.1] == sorted(found)


def test_I9_alexnet_without_more_images_has_16_4():
    found = [*judged("I9", CAVEAT).values()]
    assert found == [18.2, 16.4, 15.3]
    assert history.winner(2012).error == 16.4 and "15.3" in history.winner(2012).note


def test_I10_resnet_has_3_57():
    assert judged("I10", CAVEAT) == {"6 nets, test": 3.57}
    assert round(3.57, 1) == 3.6 != 3.5
