"""What is known about each named data set: classes, statistics, files, addresses, checksums.

Design: facts only, so that the code in ``__init__.py`` stays short.  Means and deviations are per
channel over the training pixels, on the scale where white is 1; the tests recompute those of
fashion-mini.  Checksums are SHA-256 of the files as their authors serve them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DIGITS = tuple("0123456789")
CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CIFAR10 = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
CIFAR100 = tuple(
    """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
    crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
    keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse
    mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy
    porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper
    snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television
    tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True)
class DatasetInfo:
    """What a model and a transform must know about a data set.

    ``classes``     names in label order
    ``mean, std``   per channel, on the scale where white is 1
    ``channels``    1 or 3, as a rule
    ``size``        (height, width) in pixels; None where images differ
    """

    name: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: int
    size: tuple[int, int] | None

    def to_json(self) -> str:
        """As text, for the file of a trained net."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DatasetInfo:
        """What ``to_json`` wrote. Raises ValueError or TypeError for anything else."""
        facts: dict[str, Any] = dict(json.loads(text))
        for name, value in facts.items():
            facts[name] = tuple(value) if isinstance(value, list) else value
        return cls(**facts)


@dataclass(frozen=True)
class Source:
    """Where a named set comes from: its format and files, each with an address and SHA-256."""

    info: DatasetInfo
    format: str  # "idx" or "cifar"
    base: str = ""
    files: tuple[tuple[str, str], ...] = ()
    folders: tuple[Path, ...] = ()  # where the system may have put it already
    hint: str = ""


def _gray(name: str, classes: tuple[str, ...], mean: float, std: float) -> DatasetInfo:
    return DatasetInfo(name, classes, (mean,), (std,), 1, (28, 28))


FASHION_MINI = _gray("fashion-mini", CLOTHES, 0.2873, 0.3544)

SOURCES = {
    "fashion-mnist": Source(
        _gray("fashion-mnist", CLOTHES, 0.2860, 0.3530),
        "idx",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            ("train-images-idx3-ubyte.gz",
             "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            ("train-labels-idx1-ubyte.gz",
             "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            ("t10k-images-idx3-ubyte.gz",
             "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            ("t10k-labels-idx1-ubyte.gz",
             "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ),
        (Path("/usr/share/datasets/fashion-mnist"),),
        "on Debian: apt install dataset-fashion-mnist",
    ),
    "mnist": Source(
        _gray("mnist", DIGITS, 0.1307, 0.3081),
        "idx",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        (
            ("train-images-idx3-ubyte.gz",
             "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            ("train-labels-idx1-ubyte.gz",
             "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            ("t10k-images-idx3-ubyte.gz",
             "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            ("t10k-labels-idx1-ubyte.gz",
             "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ),
    ),
    "cifar10": Source(
        DatasetInfo(
            "cifar10", CIFAR10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), 3, (32, 32)
        ),
        "cifar",
        "https://www.cs.toronto.edu/~kriz/",
        (("cifar-10-binary.tar.gz",
          "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),),
    ),
    "cifar100": Source(
        DatasetInfo(
            "cifar100", CIFAR100, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), 3, (32, 32)
        ),
        "cifar",
        "https://www.cs.toronto.edu/~kriz/",
        (("cifar-100-binary.tar.gz",
          "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),),
    ),
}  # fmt: skip
