"""Changes to batches of images: ``basic.py``, ``resize.py``, ``augment.py``.

Design: the contract that all of them keep, and the step from bytes to floats, are in ``basic.py``.
"""

from minigrad.data.transforms.augment import Cutout, PCAColorNoise, color_pca
from minigrad.data.transforms.basic import (
    CenterCrop,
    Compose,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    TenCrop,
    ToFloat,
    Transform,
)
from minigrad.data.transforms.resize import Resize

__all__ = [
    "CenterCrop",
    "Compose",
    "Cutout",
    "Normalize",
    "PCAColorNoise",
    "RandomCrop",
    "RandomHorizontalFlip",
    "Resize",
    "TenCrop",
    "ToFloat",
    "Transform",
    "color_pca",
]
