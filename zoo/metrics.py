"""How often a net is wrong: the top-k error of the ImageNet challenge (ILSVRC).

Design: one definition of the place of the right class among all, and ties are part of it: equal
scores are ordered as ``argmax`` orders them, the class of lower index first.  So the top-1 error is
exactly 1 - the accuracy that training prints, and a net that gives every class the same score is
right as often as class 0 is.  An image with a NaN among its scores counts as wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad.errors import ArgError, DTypeError, ShapeError


def checked(logits: Any, y: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scores (N, classes) and labels (N,) as arrays. Raises ShapeError, DTypeError, ArgError."""
    scores, labels = np.asarray(logits), np.asarray(y)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ShapeError(
            f"topk_error: expected logits (N, classes) and labels (N,), got {scores.shape} and "
            f"{labels.shape}"
        )
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"topk_error: labels must be integers, got {labels.dtype}")
    if not labels.size:
        raise ArgError("topk_error: no images")
    classes = scores.shape[1]
    if labels.min() < 0 or labels.max() >= classes:
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise ArgError(f"topk_error: label {wrong} is not one of {classes} classes")
    return scores, labels


def places(logits: Any, y: Any) -> NDArray[np.int64]:
    """The place of the right class among the scores of its image, (N,); 0 is the first.

    logits: (N, classes); y: (N,) integers. A row with NaN gives `classes`, behind the last place.
    Raises ShapeError, DTypeError, ArgError.

    >>> places([[0.1, 0.7, 0.2], [0.5, 0.0, 0.5]], [2, 2]).tolist()
    [1, 1]
    """
    scores, labels = checked(logits, y)
    own = np.take_along_axis(scores, labels[:, None], axis=1)  # (N, 1)
    before = np.arange(scores.shape[1]) < labels[:, None]  # (N, classes)
    place = ((scores > own) | ((scores == own) & before)).sum(axis=1)
    return np.where(np.isnan(scores).any(axis=1), scores.shape[1], place)


def topk_error(logits: Any, y: Any, k: int = 1) -> float:
    """The share of images whose right class is not among the k with the highest scores, in [0, 1].

    logits: (N, classes); y: (N,) integers; 1 <= k <= classes. Never grows with k. Raises
    ShapeError, DTypeError, ArgError. Source: Russakovsky et al. 2015, "ImageNet large scale visual
    recognition challenge", section 4.1 (there the classes of an image are a list of five).

    >>> topk_error([[0.1, 0.7, 0.2], [0.5, 0.0, 0.5]], [2, 2], 1)
    1.0
    >>> topk_error([[0.1, 0.7, 0.2], [0.5, 0.0, 0.5]], [2, 2], 2)
    0.0
    """
    found = places(logits, y)
    classes = np.shape(logits)[1]
    if type(k) is not int or not 1 <= k <= classes:
        raise ArgError(f"topk_error: k must be an integer from 1 to {classes}, got {k!r}")
    return float((found >= k).mean())
