"""Where a net looks: class activation maps, Grad-CAM, boxes, and how localization is judged.

Design: hooks take what one layer puts out; the net is run as in evaluation and left as it was.
``class_activation_maps`` is for nets whose logits are a linear function of the mean of maps (or
that mean itself, as in NIN), and says so of others; ``grad_cam`` is for any net and any layer that
puts out maps, and equals the class activation map, up to the factor 1 / (H W) and what is below 0,
where both apply.  Maps have the size of the layer's output; ``upsample`` brings them to the
image's.  Nothing here draws: see ``zoo/cli/explain.py``.

A box is (left, top, right, bottom) in pixels, right and bottom not included.

Sources: Zhou et al. 2016, "Learning deep features for discriminative localization"; Selvaraju et
al. 2017, "Grad-CAM"; Russakovsky et al. 2015, section 4.2 (the rule of the ILSVRC).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import minigrad as mg
from minigrad import Tensor, nn
from minigrad.errors import ArgError, ShapeError

Array = NDArray[Any]
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
PART_OF_PEAK = 0.2  # Zhou et al. 2016, section 3.2


class Output(NamedTuple):
    """What one call of one layer put out: name in the net, layer, its input, its output."""

    name: str
    layer: nn.Module
    x: Tensor
    y: Tensor


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """The net in evaluation mode; every module gets its own mode back."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def outputs_of(net: nn.Module, x: Tensor) -> tuple[Tensor, list[Output]]:
    """(logits, what each layer put out in the order of running), without a tape."""
    found: list[Output] = []
    removers = []
    for name, module in net.named_modules():
        if name:

            def note(layer: nn.Module, xs: tuple[Any, ...], y: Any, name: str = name) -> None:
                if isinstance(y, Tensor):
                    found.append(Output(name, layer, xs[0], y))

            removers.append(module.register_forward_hook(note))
    try:
        with evaluating(net), mg.no_grad():
            return net(x), found
    finally:
        for remove in removers:
            remove()


def layer_of(net: nn.Module, name: str) -> nn.Module:
    """The layer of that name in the state_dict. Raises ArgError that says what may be meant."""
    layers = dict(net.named_modules())
    layers.pop("", None)
    if name not in layers:
        close = difflib.get_close_matches(name, layers, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        names = ", ".join([*layers][:6]) + (", ..." if len(layers) > 6 else "")
        raise ArgError(f"the net has no layer {name!r}; {hint}layers: {names}")
    return layers[name]


def output_of(net: nn.Module, layer: str, x: Tensor) -> Tensor:
    """What a layer puts out for images x (N, C, H, W), as features for another task.

    layer: its name in the state_dict, for example "classifier.4" for FC7 of VGG. Raises
    ArgError for a layer that is not there or does not run.
    """
    layer_of(net, layer)
    found = [output.y for output in outputs_of(net, x)[1] if output.name == layer]
    if not found:
        raise ArgError(f"layer {layer!r} does not run in evaluation")
    return found[-1]


# -- class activation maps ------------------------------------------------------------------------


def global_pooling(outputs: list[Output]) -> tuple[Tensor, nn.Linear | None] | None:
    """(maps before the global average, the only linear layer after it); None without such a net."""
    ends = [
        i
        for i, (_, layer, _, y) in enumerate(outputs)
        if isinstance(layer, nn.AdaptiveAvgPool2d) and y.shape[2:] == (1, 1)
    ]
    if not ends:
        return None
    after = [layer for _, layer, _, _ in outputs[ends[-1] :] if isinstance(layer, nn.Linear)]
    if len(after) > 1:
        return None
    return outputs[ends[-1]].x, after[0] if after else None


def class_activation_maps(net: nn.Module, x: Tensor) -> tuple[Array, Array]:
    """(maps (N, classes, h, w), bias (classes,)) of a net with global average pooling.

    M_c = sum over k of w_ck f_k (equation 2 of Zhou et al.), f (N, K, h, w) the maps before the
    pooling and w the weights of the linear layer behind; without such a layer the maps themselves.
    Logit c is the mean of M_c plus bias c. Raises ArgError for a net whose logits are not.
    """
    logits, outputs = outputs_of(net, x)
    found = global_pooling(outputs)
    if found is None:
        raise ArgError(
            "class_activation_maps: the net has no global average pooling before one linear layer; "
            "use grad_cam"
        )
    features, linear = found[0].numpy(), found[1]
    bias = np.zeros(logits.shape[1], features.dtype)
    maps = features
    if linear is not None:
        maps = np.einsum("nkhw,ck->nchw", features, linear.weight.numpy(), optimize=True)
        bias = bias if linear.bias is None else linear.bias.numpy()
    if maps.shape[:2] != logits.shape:
        raise ArgError("class_activation_maps: the pooled maps are not the net's classes")
    off = np.abs(maps.mean(axis=(2, 3)) + bias - logits.numpy()).max()
    if off > 1e-3 * (np.abs(maps).max() + np.abs(bias).max()):
        raise ArgError(
            "class_activation_maps: the logits are not a linear function of the mean of the maps; "
            "use grad_cam"
        )
    return maps, bias


# -- Grad-CAM -------------------------------------------------------------------------------------


def default_layer(net: nn.Module, x: Tensor) -> str:
    """The last layer that puts out maps of more than one pixel and is no pooling.

    Raises ArgError for a net that has none.
    """
    chosen, pooled = None, set[int]()
    outputs = outputs_of(net, x)[1]
    for name, layer, _, y in outputs:
        if isinstance(layer, POOLS):
            pooled.add(id(y))  # also what a block that ends with a pooling puts out
        if y.ndim == 4 and y.shape[2] * y.shape[3] > 1 and id(y) not in pooled:
            chosen = name
    if chosen is None:
        raise ArgError("grad_cam: no layer of the net puts out maps of more than one pixel")
    return chosen


def grad_cam(
    net: nn.Module,
    x: Tensor,
    classes: Sequence[int] | Array | None = None,
    layer: str | None = None,
) -> Array:
    """Grad-CAM of one class per image: (N, h, w), not negative.

    L = relu(sum over k of a_k A_k), a_k the mean over pixels of dy_c / dA_k (equations 1 and 2 of
    Selvaraju et al.). classes: one per image, by default the most likely. layer: any whose output
    is maps (N, K, h, w), by name; of one that runs several times, the last run; by default the last
    with maps. Raises ArgError, ShapeError.
    """
    layer = default_layer(net, x) if layer is None else layer
    taken: list[Tensor] = []

    def cut(module: nn.Module, inputs: tuple[Any, ...], y: Any) -> Tensor:
        if not isinstance(y, Tensor) or y.ndim != 4:
            raise ShapeError(
                f"grad_cam: {layer!r} puts out {getattr(y, 'shape', type(y).__name__)}, expected "
                "maps (N, K, h, w)"
            )
        taken.append(y.detach().requires_grad_())  # the tape begins here
        return taken[-1]

    remove = layer_of(net, layer).register_forward_hook(cut)
    try:
        with evaluating(net), mg.enable_grad():
            logits = net(x)
    finally:
        remove()
    if not taken:
        raise ArgError(f"grad_cam: layer {layer!r} does not run in evaluation")
    a = taken[-1]
    chosen = logits.numpy().argmax(axis=1) if classes is None else np.asarray(classes)
    n, count = logits.shape
    if chosen.shape != (n,) or chosen.dtype.kind not in "iu":
        raise ShapeError(f"grad_cam: expected one class for each of {n} images, got {classes!r}")
    if chosen.min() < 0 or chosen.max() >= count:
        raise ArgError(f"grad_cam: the net has {count} classes, got {chosen.tolist()}")
    with mg.enable_grad():
        total = logits[np.arange(n), chosen].sum()  # images do not see each other
    (g,) = mg.grad(total, a)
    assert g is not None
    weights = g.numpy().mean(axis=(2, 3))  # (N, K)
    return np.maximum(np.einsum("nk,nkhw->nhw", weights, a.numpy(), optimize=True), 0)


# -- maps and boxes -------------------------------------------------------------------------------


def upsample(maps: Array, size: tuple[int, int]) -> Array:
    """Maps (..., h, w) at `size` (H, W) pixels, bilinear between the centers of pixels."""
    found = maps
    for axis, before, after in ((-2, maps.shape[-2], size[0]), (-1, maps.shape[-1], size[1])):
        place = ((np.arange(after) + 0.5) * before / after - 0.5).clip(0, before - 1)
        low = np.minimum(place.astype(np.intp), max(before - 2, 0))
        part = (place - low).astype(maps.dtype)
        part = part if axis == -1 else part[:, None]
        high = np.minimum(low + 1, before - 1)
        found = (1 - part) * found.take(low, axis) + part * found.take(high, axis)
    return found


def components(region: NDArray[np.bool_]) -> Iterator[list[tuple[int, int]]]:
    """The pixels of each connected part (by edges) of a region (H, W), from the top left."""
    left = {(int(i), int(j)) for i, j in np.argwhere(region)}
    for start in sorted(left):
        if start not in left:
            continue
        left.remove(start)
        part = [start]
        for i, j in part:  # grows while it is read
            for near in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                if near in left:
                    left.remove(near)
                    part.append(near)
        yield part


def box_of(heat: Array, part_of_peak: float = PART_OF_PEAK) -> tuple[int, int, int, int]:
    """The box around the largest connected part of a map (H, W) above a part of its maximum.

    The first of several that are as large; the whole map where nothing is above 0. Raises
    ArgError. Source: Zhou et al. 2016, section 3.2.
    """
    if not 0 <= part_of_peak < 1:
        raise ArgError(f"box_of: part_of_peak must lie in [0, 1), got {part_of_peak}")
    peak = heat.max()
    if not peak > 0:
        return 0, 0, heat.shape[1], heat.shape[0]
    part = np.array(max(components(heat > part_of_peak * peak), key=len))
    (top, left), (bottom, right) = part.min(axis=0), part.max(axis=0) + 1
    return int(left), int(top), int(right), int(bottom)


def iou(a: Any, b: Any) -> Array:
    """Intersection over union of boxes (..., 4) and (..., 4), broadcast: (...), in [0, 1].

    Boxes without area have 0. Raises ShapeError, and ArgError for right < left or bottom < top.

    >>> float(iou((0, 0, 2, 2), (1, 0, 3, 2)))
    0.3333333333333333
    """
    p, q = np.asarray(a, float), np.asarray(b, float)
    for boxes in (p, q):
        if boxes.shape[-1:] != (4,):
            raise ShapeError(f"iou: expected boxes (..., 4), got {boxes.shape}")
        if (boxes[..., 2:] < boxes[..., :2]).any():
            raise ArgError("iou: a box ends before it begins; boxes are left, top, right, bottom")
    sides = np.minimum(p[..., 2:], q[..., 2:]) - np.maximum(p[..., :2], q[..., :2])
    both = sides.clip(0).prod(axis=-1)
    union = sum((box[..., 2:] - box[..., :2]).prod(axis=-1) for box in (p, q)) - both
    return np.divide(both, union, out=np.zeros(np.shape(both)), where=union > 0)


def is_localized(
    classes: Sequence[int] | Array, boxes: Any, label: int, truth: Any, threshold: float = 0.5
) -> bool:
    """The rule of the ILSVRC for one image: one of the (at most five) guesses has the right class
    and a box with IoU >= threshold with a true one.

    classes: (k,), k <= 5; boxes: (k, 4), one per class; truth: (M, 4), boxes of the label's
    objects. Raises ShapeError.
    """
    guesses, found = np.asarray(classes), np.asarray(boxes, float)
    if guesses.ndim != 1 or len(guesses) > 5 or found.shape != (len(guesses), 4):
        raise ShapeError(
            f"is_localized: expected at most 5 classes and a box (4,) each, got classes "
            f"{guesses.shape} and boxes {found.shape}"
        )
    overlap = iou(found[:, None], np.asarray(truth, float).reshape(-1, 4))  # (k, M)
    return bool((overlap[guesses == label] >= threshold).any())


def localization_error(
    classes: Any, boxes: Any, labels: Any, truths: Sequence[Any], threshold: float = 0.5
) -> float:
    """The share of images that ``is_localized`` rejects, in [0, 1].

    classes: (N, k); boxes: (N, k, 4); labels: (N,); truths: N arrays (M_i, 4). At least the top-k
    classification error. Raises ShapeError, and ArgError where counts differ or N = 0.
    """
    if not len(labels) or not len(classes) == len(boxes) == len(labels) == len(truths):
        counts = ", ".join(str(len(v)) for v in (classes, boxes, labels, truths))
        raise ArgError(f"localization_error: classes, boxes, labels, truths of {counts} images")
    each = zip(classes, boxes, labels, truths, strict=True)
    return float(np.mean([not is_localized(c, b, y, t, threshold) for c, b, y, t in each]))
