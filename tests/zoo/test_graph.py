"""Architecture drawings: what is read off the tape, how it is folded, what the picture says."""

import re
from xml.etree import ElementTree

import pytest

import minigrad as mg
import minigrad.functional as F
import zoo
from minigrad import nn
from minigrad.errors import ArgError
from zoo.cli import main
from zoo.graph import Box, Repeat, Split, architecture, fold, name_of, rows, structure, trace
from zoo.graph_svg import NARROW, WIDTH, columns, height, series_height, svg
from zoo.registry import image_of

SVG = "{http://www.w3.org/2000/svg}"


def boxes_in(items):
    """Every box, those in branches too; repeated ones as often as they come."""
    found = []
    for item in items:
        inner, count = (item.item, item.count) if isinstance(item, Repeat) else (item, 1)
        if isinstance(inner, Box):
            found += [inner] * count
        else:
            inside = [box for branch in inner.branches for box in boxes_in(branch)]
            found += [*inside, inner.join] * count
    return found


def splits(items):
    return [i.item if isinstance(i, Repeat) else i for i in items if not isinstance(i, Box)]


def traced(net, image):
    return structure(trace(net.eval(), image))


def labels(items):
    return [item.label for item in items if isinstance(item, Box)]


def test_vgg16_is_the_columns_of_the_table():
    found = architecture("vgg16")
    kinds = "".join(box.kind[0] for box in found)
    assert kinds == "i" + "ccp" * 2 + "cccp" * 3 + "lll"  # three 256s: the lecture draws two
    assert labels(found)[:4] == ["image, 3×224×224", "3×3 conv, 64", "3×3 conv, 64",
                                 "2×2 max pool, /2"]  # fmt: skip
    assert labels(found)[-3:] == ["linear, 4096", "linear, 4096", "linear, 1000"]


def test_alexnet_pools_after_the_first_second_and_fifth_convolution():
    found = architecture("alexnet")  # the lecture's drawing pools after the third
    kinds = [box.kind for box in found]
    assert kinds == [
        "image", "conv", "norm", "pool", "conv", "norm", "pool", "conv", "conv", "conv", "pool",
        "linear", "linear", "linear",
    ]  # fmt: skip
    assert [box.shape for box in found if box.kind == "pool"] == [
        (96, 27, 27), (256, 13, 13), (256, 6, 6),
    ]  # fmt: skip


def test_two_gpus_are_two_halves_of_a_box():
    grouped = [box for box in architecture("alexnet_grouped") if box.groups == 2]
    assert [box.label for box in grouped] == ["5×5 conv, 128", "3×3 conv, 192", "3×3 conv, 128"]


def test_resnet50_has_sixteen_blocks_in_eight_drawings():
    found = architecture("resnet50")
    counts = [i.count if isinstance(i, Repeat) else 1 for i in found if not isinstance(i, Box)]
    assert counts == [1, 2, 1, 3, 1, 5, 1, 2]
    assert sum(box.kind.startswith("conv") for box in boxes_in(found)) == 53
    first, second = splits(found)[:2]
    assert sorted(map(len, first.branches)) == [1, 3] and sorted(map(len, second.branches)) == [
        0,
        3,
    ]
    assert [name_of(s) for s in splits(found)[:3]] == ["layer1.0", "layer1.1", "layer2.0"]


def test_googlenet_has_nine_modules_of_four_branches_and_two_heads():
    found = architecture("googlenet")
    modules = splits(found)
    assert len(modules) == 9 and all(len(m.branches) == 4 for m in modules)
    assert [m.join.shape[0] for m in modules] == [256, 480, 512, 512, 512, 528, 832, 832, 1024]
    first = modules[0]
    assert [[b.label for b in branch] for branch in first.branches] == [
        ["1×1 conv, 64"], ["1×1 conv, 96", "3×3 conv, 128"], ["1×1 conv, 16", "5×5 conv, 32"],
        ["3×3 max pool", "1×1 conv, 32"],
    ]  # fmt: skip
    heads = {name_of(m): [b.label for b in m.join.side] for m in modules if m.join.side}
    head = ["5×5 avg pool, /3", "1×1 conv, 128", "linear, 1024", "linear, 1000"]
    assert heads == {"inception4a": head, "inception4d": head}


def test_the_shortcut_without_parameters_is_dashed_and_a_plain_net_has_none():
    found = architecture("resnet20")
    assert sum(any(s.dashed) for s in splits(found)) == 2
    assert not splits(architecture("plain20"))
    assert all(not any(s.dashed) for s in splits(architecture("resnet20", shortcut="B")))


@pytest.mark.parametrize(
    "name",
    ["lenet", "resnet20", "plain44", "preact_resnet20", "preact_resnet164", "nin_cifar10",
     "vgg11_lrn", "resnet18", "googlenet_bn"],
)  # fmt: skip
def test_every_layer_that_runs_is_drawn_once(name):
    with nn.meta():
        net = zoo.get_model(name)
    found = trace(net, image_of(name))
    side = [box for b in found for box in b.side]
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    drawn = [b for b in [*found, *side] if b.kind in ("conv", "conv1", "linear")]
    assert len(drawn) == len(layers)
    folded = fold(structure(found))
    assert sorted(map(id, boxes_in(structure(found)))) == sorted(map(id, found))
    assert len(boxes_in(folded)) == len(found)


def test_long_nets_are_folded_and_short_ones_are_not():
    assert rows(structure(trace(zoo.get_model("plain44"), (3, 32, 32)))) > 40
    assert [i.count for i in architecture("plain44") if isinstance(i, Repeat)] == [15, 13, 13]
    assert not any(isinstance(i, Repeat) for i in architecture("vgg19"))


class Nested(nn.Module):
    """A sum inside of a branch of a sum, and a split that begins where another ends."""

    def __init__(self, *, extra=False, crossed=False):
        super().__init__()
        self.crossed = crossed
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.extra = nn.Conv2d(3, 3, 1) if extra else None

    def forward(self, x):
        x = F.relu(self.a(x))
        inner = self.b(x)
        inner = inner + self.c(inner)
        x = x + inner
        y = mg.concat(x, self.a(x), axis=1)
        if self.extra is None:
            return y
        return y[:, :3] + self.extra(x if self.crossed else y[:, 3:])


def test_splits_inside_of_splits():
    found = traced(Nested(), (3, 8, 8))
    assert [type(item) for item in found] == [Box, Box, Split, Split]
    outer, last = found[2], found[3]
    assert outer.join.kind == "add" and last.join.kind == "concat"
    longer = max(outer.branches, key=len)
    assert [type(item) for item in longer] == [Box, Split] and longer[1].join.kind == "add"
    assert [] in outer.branches and [] in longer[1].branches


def test_another_net_gives_another_drawing():
    a, b = (traced(Nested(extra=extra), (3, 8, 8)) for extra in (False, True))
    assert len(boxes_in(b)) == len(boxes_in(a)) + 2
    assert svg([("a", "", a)]) != svg([("a", "", b)])


def test_branches_that_cross_are_refused():
    with pytest.raises(ArgError, match="branches meet"):
        traced(Nested(extra=True, crossed=True), (3, 8, 8))


@pytest.mark.parametrize("name", ["googlenet", "resnet50", "preact_resnet164", "alexnet_grouped"])
def test_a_picture_is_valid_and_its_text_fits_its_boxes(name):
    root = ElementTree.fromstring(svg([(name, "a note", architecture(name))]))
    width, height_ = float(root.get("width")), float(root.get("height"))
    rects = [{k: float(r.get(k)) for k in ("x", "y", "width", "height")}
             for r in root.iter(f"{SVG}rect") if r.get("x")]  # fmt: skip
    for r in rects:
        assert r["x"] >= 0 and r["x"] + r["width"] <= width
        assert r["y"] >= 0 and r["y"] + r["height"] <= height_
    letter = 0.56 * 11  # of Helvetica's mean width
    for text in root.iter(f"{SVG}text"):
        x, y, words = float(text.get("x")), float(text.get("y")), text.text
        if text.get("text-anchor") == "middle" and re.search("conv|pool|linear|concat", words):
            inside = [r for r in rects if r["x"] < x < r["x"] + r["width"]
                      and r["y"] < y < r["y"] + r["height"] <= r["y"] + 30]  # fmt: skip
            assert inside and len(words) * letter <= inside[-1]["width"], words


def test_boxes_of_a_column_do_not_overlap():
    found = architecture("resnet50")
    for column in columns(found):
        assert series_height(column) >= sum(height(item) for item in column)
    assert sum(map(len, columns(found))) == len(found) and len(columns(found)) == 2
    assert NARROW < WIDTH


def test_the_command_writes_one_picture_of_several_nets(tmp_path, capsys):
    path = tmp_path / "both.svg"
    assert main(["graph", "lenet", "resnet20", "--out", str(path)]) == 0
    text = path.read_text()
    assert "61,706 parameters" in text and "40,551,040 multiply-adds" in text
    assert main(["graph", "resnt20", "--out", str(path)]) == 2
    assert "did you mean resnet20" in capsys.readouterr().err
    assert main(["graph", "lenet", "--out", str(tmp_path / "a.png")]) == 2
    assert main(["graph", "lenet", "--variant", "torchvision", "--out", str(path)]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["both.svg"]
