"""Makes fashion-mini, the data set inside this package, from the four files of Fashion-MNIST.

    python -m zoo.datasets.make_fashion_mini [FOLDER] [--out FOLDER]

Design: fashion-mini is the first 500 training and the first 100 test images of each class, in
the order of the original files; nothing is resampled or recompressed with loss.  The inputs are
checked by the SHA-256 of their unpacked bytes (Debian's package and Zalando's own files differ in
the gzip header only) and so are the outputs; the gzip files carry no name and no time, so one
zlib always writes the same bytes.  Fashion-MNIST is (c) 2017 Zalando SE, MIT license, see
``fashion_mini_LICENSE.txt``; Xiao, Rasul and Vollgraf, arXiv:1708.07747.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad.data import read_idx, write_idx
from minigrad.errors import DataFormatError

PER_CLASS = {"train": 500, "t10k": 100}
SOURCES = ("/usr/share/datasets/fashion-mnist",)

# SHA-256 of the unpacked files: what goes in, and what comes out.
ORIGINAL = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
MINI = {
    "train-images-idx3-ubyte": "444ed5f7ce17397f236f5eba17dd507d3f6912f04edd3e4f1701cdf82f2cc0c5",
    "train-labels-idx1-ubyte": "35d691216f65485d010cc635af5574a9dc04aa5060de9be64ab6e5cb5ead38e9",
    "t10k-images-idx3-ubyte": "7cee33c3c6414b1b86c25e665a6c4f41584269de3b7cc9768b1d351922845eef",
    "t10k-labels-idx1-ubyte": "3128d790775889812b73c4f13923559c8b9e281d112c6ea7862acf60a206a909",
}


def unpacked_sha256(path: Path) -> str:
    """The SHA-256 of what a .gz file contains."""
    with gzip.open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def first_of_each_class(labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Indices, ascending, of the first ``count`` samples of every class.  (N,) -> (K * count,)"""
    chosen = [np.flatnonzero(labels == k)[:count] for k in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def make(source: Path, out: Path) -> list[Path]:
    """Writes the four files of fashion-mini into ``out`` and returns their paths.

    Raises   DataFormatError if an input is not the original, or an output not fashion-mini
    """
    written = []
    for prefix, count in PER_CLASS.items():
        names = [f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"]
        for name in names:
            if (found := unpacked_sha256(source / f"{name}.gz")) != ORIGINAL[name]:
                raise DataFormatError(f"{source / name}.gz unpacks to {found}, not the original")
        images, labels = (read_idx(source / f"{name}.gz") for name in names)
        keep = first_of_each_class(labels, count)
        for name, array in zip(names, (images[keep], labels[keep]), strict=True):
            path = out / f"fashion_mini_{name}.gz"
            write_idx(path, array)
            if (found := unpacked_sha256(path)) != MINI[name]:
                raise DataFormatError(f"{path} unpacks to SHA-256 {found}, expected {MINI[name]}")
            written.append(path)
    return written


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="make fashion-mini from Fashion-MNIST")
    parser.add_argument("source", nargs="?", type=Path, default=Path(SOURCES[0]))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args(argv)
    for path in make(options.source, options.out):
        print(path, path.stat().st_size, "bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
