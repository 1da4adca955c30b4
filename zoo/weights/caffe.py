"""Caffe's layers and blobs under the names of the zoo.

    file (npz)                          array
    LAYER/0 or LAYER.weight             weight: convolution (K, C, R, S), inner product (O, I)
    LAYER/1 or LAYER.bias               bias
    BN/0, BN/1, BN/2                    sums of mean and variance, and how many: mean = BN/0 / BN/2
    SCALE/0, SCALE/1                    gamma and beta of the batch norm before it

Design: one function per family turns a layer's name into the path of a module; the rest of the file
turns blobs into a state_dict.  Blobs of old files with four axes, (1, 1, O, I) and (1, 1, 1, K),
lose the leading ones.  Nets for ImageNet were trained on BGR images from 0 to 255 minus a mean; the
first convolution is turned to RGB here, so that images only need ``PIXELS`` as their statistics.

Source: the layer names of BVLC's definitions of AlexNet, CaffeNet and GoogLeNet, of the released
VGG, NIN and ResNet definitions (casing and slashes as there).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad.errors import CheckpointError

Array = NDArray[Any]

PIXELS = ((123 / 255, 117 / 255, 104 / 255), (1 / 255,) * 3)  # mean and deviation of RGB on [0, 1]
MARKS = ("fc6", "conv1_1", "inception_", "res2a_", "cccp1")  # one of them is in every family
BLOB = re.compile(r"(.+?)(?:/([0-2])|\.(weight|bias))")
BRANCHES = {  # of an Inception module
    "1x1": "branch1.conv", "3x3_reduce": "branch2.0.conv", "3x3": "branch2.1.conv",
    "5x5_reduce": "branch3.0.conv", "5x5": "branch3.1.conv", "pool_proj": "branch4.1.conv",
}  # fmt: skip
GOOGLENET = {
    "conv1/7x7_s2": "conv1.conv", "conv2/3x3_reduce": "conv2.conv", "conv2/3x3": "conv3.conv",
    "loss1/conv": "aux1.conv.conv", "loss1/fc": "aux1.fc1", "loss1/classifier": "aux1.fc2",
    "loss2/conv": "aux2.conv.conv", "loss2/fc": "aux2.fc1", "loss2/classifier": "aux2.fc2",
    "loss3/classifier": "fc",
}  # fmt: skip
ALEXNET = {
    "conv1": "features.0", "conv2": "features.3", "conv3": "features.6", "conv4": "features.8",
    "conv5": "features.10", "fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6",
}  # fmt: skip
RESNET = re.compile(r"(res|bn|scale)([2-5])([a-z])([0-9]*)_branch(1|2[abc])")


def is_caffe(names: Iterable[str]) -> bool:
    """Are these names of Caffe's layers?"""
    return any(name.startswith(MARKS) for name in names)


def split(name: str) -> tuple[str, int] | None:
    """A key of the file as layer and number of the blob; None for anything else."""
    found = BLOB.fullmatch(name)
    if found is None:
        return None
    layer, number, word = found.groups()
    return layer, ("weight", "bias").index(word) if word else int(number)


def modules(layers: list[str]) -> dict[str, str]:
    """The module path of every layer, by family; layers that are not known keep their names."""
    if "conv1_1" in layers:
        known = vgg(layers)
    elif any(layer.startswith("cccp1") for layer in layers):
        known = {layer: "features." + re.sub("-1024$", "", layer) for layer in layers}
    elif "fc6" in layers:
        known = ALEXNET
    elif "conv1/7x7_s2" in layers or any(layer.startswith("inception") for layer in layers):
        known = GOOGLENET | {layer: path for layer in layers if (path := inception(layer))}
    else:
        known = {layer: path for layer in layers if (path := resnet(layer))}
    return {layer: known.get(layer, layer) for layer in layers}


def vgg(layers: list[str]) -> dict[str, str]:
    """conv3_2 and so on, counted as torchvision does: a ReLU and a pooling are places too."""
    known = {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
    place = 0
    for block in range(1, 6):
        row = [layer for layer in layers if re.fullmatch(rf"conv{block}_\d+", layer)]
        for layer in sorted(row, key=lambda name: int(name.partition("_")[2])):
            known[layer] = f"features.{place}"
            place += 2
        place += 1
    return known


def inception(layer: str) -> str | None:
    """inception_4b/5x5 -> inception4b.branch3.1.conv."""
    module, _, branch = layer.partition("/")
    if branch not in BRANCHES or not module.startswith("inception_"):
        return None
    return f"{module.replace('_', '')}.{BRANCHES[branch]}"


def resnet(layer: str) -> str | None:
    """res3b2_branch2a -> layer2.2.conv1; bn and scale of it -> layer2.2.bn1; branch1 -> downsample.

    Blocks are a, b, c, ... or a, b1, b2, ...
    """
    whole = {"conv1": "conv1", "bn_conv1": "bn1", "scale_conv1": "bn1", "fc1000": "fc"}
    found = RESNET.fullmatch(layer)
    if found is None:
        return whole.get(layer)
    kind, stage, letter, number, branch = found.groups()
    block = int(number) if number else ord(letter) - ord("a")
    if branch == "1":
        part = "downsample.0" if kind == "res" else "downsample.1"
    else:
        part = ("conv" if kind == "res" else "bn") + str("abc".index(branch[1]) + 1)
    return f"layer{int(stage) - 1}.{block}.{part}"


def state_dict(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Named blobs as a state_dict of the zoo. Raises CheckpointError for impossible blobs."""
    blobs: dict[str, dict[int, Array]] = {}
    rest: dict[str, Array] = {}
    for name, array in arrays.items():
        place = split(name)
        if place is None:
            rest[name] = array
        else:
            blobs.setdefault(place[0], {})[place[1]] = array
    paths = modules(list(blobs))
    found: dict[str, Array] = {}
    for layer, parts in blobs.items():
        if layer.startswith("bn"):
            found |= statistics(layer, paths[layer], parts)
            continue
        for number, array in parts.items():
            word = ("weight", "bias", "2")[number]
            found[f"{paths[layer]}.{word}"] = without_ones(array, paths[layer], word)
    turn_to_rgb(found)
    return found | rest


def without_ones(array: Array, path: str, word: str) -> Array:
    """A blob with the axes that it has today."""
    if word == "bias":
        return array.reshape(-1)
    linear = path.startswith("classifier") or path.rpartition(".")[2] in ("fc", "fc1", "fc2")
    if linear and array.ndim == 4 and array.shape[:2] == (1, 1):
        return array.reshape(array.shape[2:])
    return array


def statistics(layer: str, path: str, parts: Mapping[int, Array]) -> dict[str, Array]:
    """Running mean and variance; Caffe keeps sums and the weight that they were added up with."""
    if sorted(parts) != [0, 1, 2] or parts[2].size != 1:
        raise CheckpointError(
            f"the layer {layer!r} has blobs {sorted(parts)}; batch norm has mean, variance and one "
            "number, 0, 1 and 2"
        )
    total = float(parts[2].reshape(()))
    factor = np.float32(0.0 if total == 0.0 else 1.0 / total)
    return {
        f"{path}.running_mean": parts[0].reshape(-1) * factor,
        f"{path}.running_var": parts[1].reshape(-1) * factor,
    }


def turn_to_rgb(state: dict[str, Array]) -> None:
    """Reverse the input channels of the first convolution of a net for ImageNet."""
    for path in ("features.0", "features.conv1", "conv1.conv", "conv1"):
        first = state.get(f"{path}.weight")
        if first is not None and first.ndim == 4 and first.shape[1] == 3:
            if first.shape[2] != 5:  # the 5x5 net for CIFAR-10 takes RGB
                state[f"{path}.weight"] = first[:, ::-1]
            return
