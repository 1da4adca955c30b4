"""Changes to batches of images: ``basic.py``, ``resize.py``, ``augment.py``, ``whiten.py``.

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
from minigrad.data.transforms.resize import RandomResizedCrop, Resize, ScaleJitterCrop
from minigrad.data.transforms.whiten import (
    GlobalContrastNormalize,
    PixelNormalize,
    Whiten,
    mean_image,
    zca,
)

__all__ = [
    "CenterCrop",
    "Compose",
    "Cutout",
    "GlobalContrastNormalize",
    "Normalize",
    "PCAColorNoise",
    "PixelNormalize",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "Resize",
    "ScaleJitterCrop",
    "TenCrop",
    "ToFloat",
    "Transform",
    "Whiten",
    "color_pca",
    "mean_image",
    "zca",
]
