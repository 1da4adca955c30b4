"""Data on its way into the net: datasets, readers, transforms, the loader.

Design: everything up to the last step is NumPy on the host's memory; only ``DataLoader`` makes
Tensors.  Reading order: ``dataset.py``, ``transforms``, ``loader.py``, then the readers.
"""

from minigrad.data import transforms as transforms
from minigrad.data.cifar import read_cifar, read_cifar_file
from minigrad.data.collate import collate
from minigrad.data.dataset import (
    ArrayDataset,
    ConcatDataset,
    Dataset,
    Subset,
    TensorDataset,
    random_split,
)
from minigrad.data.download import DownloadError, download, sha256_of
from minigrad.data.folder import ImageFolder
from minigrad.data.idx import read_idx, read_idx_folder, read_idx_pair, write_idx
from minigrad.data.loader import DataLoader
from minigrad.data.npz import Npz, read_npz
from minigrad.data.transforms import (
    CenterCrop,
    Compose,
    Cutout,
    Normalize,
    PCAColorNoise,
    RandomCrop,
    RandomHorizontalFlip,
    Resize,
    TenCrop,
    ToFloat,
    color_pca,
)

__all__ = [
    "ArrayDataset",
    "CenterCrop",
    "Compose",
    "ConcatDataset",
    "Cutout",
    "DataLoader",
    "Dataset",
    "DownloadError",
    "ImageFolder",
    "Normalize",
    "Npz",
    "PCAColorNoise",
    "RandomCrop",
    "RandomHorizontalFlip",
    "Resize",
    "Subset",
    "TenCrop",
    "TensorDataset",
    "ToFloat",
    "collate",
    "color_pca",
    "download",
    "random_split",
    "read_cifar",
    "read_cifar_file",
    "read_idx",
    "read_idx_folder",
    "read_idx_pair",
    "read_npz",
    "sha256_of",
    "transforms",
    "write_idx",
]
