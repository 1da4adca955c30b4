"""The nets of the zoo in plain PyTorch, for timing and for comparing results.

Design: written from the published structure, for machines that have torch without torchvision; the
keys of the state_dicts are the published ones, the starting values do not matter.  ``own`` names
torchvision's and akamaster's nets, ``timed`` those of ``nets.py``.
"""

import torch
import torch.nn.functional as F
from torch import nn


class AlexNet(nn.Module):
    """torchvision's AlexNet."""

    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for maps, k, s, p in ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1),
                              (256, 3, 1, 1)):  # fmt: skip
            layers += [nn.Conv2d(channels, maps, k, s, p), nn.ReLU()]
            if maps in (64, 192) or len(layers) == 12:
                layers.append(nn.MaxPool2d(3, 2))
            channels = maps
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096),
            nn.ReLU(), nn.Linear(4096, 1000),
        )  # fmt: skip

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 6).flatten(1))


VGG_ROWS = {  # convolutions in each block of 64, 128, 256, 512, 512 maps
    "vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}  # fmt: skip


class VGG(nn.Module):
    """torchvision's VGG."""

    def __init__(self, name):
        super().__init__()
        layers, channels = [], 3
        for n, maps in zip(VGG_ROWS[name[:5]], (64, 128, 256, 512, 512), strict=True):
            for _ in range(n):
                layers.append(nn.Conv2d(channels, maps, 3, padding=1))
                layers += [nn.BatchNorm2d(maps)] * name.endswith("_bn") + [nn.ReLU()]
                channels = maps
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(25088, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(),
            nn.Dropout(), nn.Linear(4096, 1000),
        )  # fmt: skip

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 7).flatten(1))


class ConvBN(nn.Module):
    """Convolution, batch norm with eps 1e-3, ReLU."""

    def __init__(self, channels, maps, k, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(channels, maps, k, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(maps, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """Four branches; the third has 3x3 windows in torchvision."""

    def __init__(self, c, n1, r3, n3, r5, n5, pp):
        super().__init__()
        self.branch1 = ConvBN(c, n1, 1)
        self.branch2 = nn.Sequential(ConvBN(c, r3, 1), ConvBN(r3, n3, 3, padding=1))
        self.branch3 = nn.Sequential(ConvBN(c, r5, 1), ConvBN(r5, n5, 3, padding=1))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), ConvBN(c, pp, 1))

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.children()], 1)


class Auxiliary(nn.Module):
    """An auxiliary head of GoogLeNet."""

    def __init__(self, channels):
        super().__init__()
        self.conv = ConvBN(channels, 128, 1)
        self.fc1 = nn.Linear(2048, 1024)
        self.fc2 = nn.Linear(1024, 1000)
        self.dropout = nn.Dropout(0.7)

    def forward(self, x):
        x = self.conv(F.adaptive_avg_pool2d(x, 4)).flatten(1)
        return self.fc2(self.dropout(F.relu(self.fc1(x))))


MODULES = {
    "3a": (192, 64, 96, 128, 16, 32, 32), "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64), "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64), "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128), "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}  # fmt: skip


class GoogLeNet(nn.Module):
    """torchvision's GoogLeNet with auxiliary heads; in training (logits, aux1, aux2)."""

    def __init__(self):
        super().__init__()
        self.conv1 = ConvBN(3, 64, 7, 2, 3)
        self.conv2 = ConvBN(64, 64, 1)
        self.conv3 = ConvBN(64, 192, 3, padding=1)
        for name, row in MODULES.items():
            setattr(self, f"inception{name}", Inception(*row))
        self.aux1, self.aux2 = Auxiliary(512), Auxiliary(528)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1024, 1000)

    def forward(self, x):
        x = F.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.conv3(self.conv2(x)), 3, 2, ceil_mode=True)
        kept = {}
        for name in MODULES:
            x = kept[name] = getattr(self, f"inception{name}")(x)
            if name in ("3b", "4e"):
                x = F.max_pool2d(x, 3 if name == "3b" else 2, 2, ceil_mode=True)
        logits = self.fc(self.dropout(x.mean((2, 3))))
        if not self.training:
            return logits
        return logits, self.aux1(kept["4a"]), self.aux2(kept["4d"])


class Block(nn.Module):
    """A basic block, or a bottleneck with the stride on its 3x3."""

    def __init__(self, channels, filters, stride, bottleneck):
        super().__init__()
        maps = 4 * filters if bottleneck else filters
        sizes = ((1, 1), (3, stride), (1, 1)) if bottleneck else ((3, stride), (3, 1))
        before = channels
        for i, (k, s) in enumerate(sizes, 1):
            after = maps if i == len(sizes) else filters
            setattr(self, f"conv{i}", nn.Conv2d(before, after, k, s, k // 2, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(after))
            before = after
        self.last = len(sizes)
        self.downsample = None
        if stride != 1 or channels != maps:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, maps, 1, stride, bias=False), nn.BatchNorm2d(maps)
            )

    def forward(self, x):
        y = x
        for i in range(1, self.last + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < self.last else y
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


RESNET_ROWS = {
    "resnet18": (False, (2, 2, 2, 2)), "resnet34": (False, (3, 4, 6, 3)),
    "resnet50": (True, (3, 4, 6, 3)), "resnet101": (True, (3, 4, 23, 3)),
    "resnet152": (True, (3, 8, 36, 3)),
}  # fmt: skip


class ResNet(nn.Module):
    """torchvision's ResNet."""

    def __init__(self, name):
        super().__init__()
        bottleneck, counts = RESNET_ROWS[name]
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for stage, n in enumerate(counts):
            blocks, filters = [], 64 * 2**stage
            for i in range(n):
                stride = 2 if stage and i == 0 else 1
                blocks.append(Block(channels, filters, stride, bottleneck))
                channels = filters * (4 if bottleneck else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, 1000)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.fc(x.mean((2, 3)))


class CifarBlock(nn.Module):
    """akamaster's block: option A pads the new channels on both sides, B projects."""

    def __init__(self, channels, filters, stride, option):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.changes = stride != 1 or channels != filters
        self.shortcut = nn.Sequential()
        if self.changes and option == "B":
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.changes and not len(self.shortcut):
            quarter = y.shape[1] // 4
            return F.relu(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, quarter, quarter)))
        return F.relu(y + self.shortcut(x))


class CifarResNet(nn.Module):
    """akamaster's ResNet of 6n + 2 layers for 32x32 pixels."""

    def __init__(self, depth, option):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        channels = 16
        for stage, filters in enumerate((16, 32, 64), 1):
            blocks = []
            for i in range((depth - 2) // 6):
                stride = 2 if stage > 1 and i == 0 else 1
                blocks.append(CifarBlock(channels, filters, stride, option))
                channels = filters
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


def with_relu(*convolutions):
    """Convolutions given as arguments, a ReLU after each."""
    return [m for row in convolutions for m in (nn.Conv2d(*row), nn.ReLU())]


def lecture_alexnet():
    """AlexNet in one column for 227 pixels, with response normalization after ReLU."""

    def lrn():
        return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)

    return nn.Sequential(
        *with_relu((3, 96, 11, 4)), lrn(), nn.MaxPool2d(3, 2),
        *with_relu((96, 256, 5, 1, 2)), lrn(), nn.MaxPool2d(3, 2),
        *with_relu((256, 384, 3, 1, 1), (384, 384, 3, 1, 1), (384, 256, 3, 1, 1)),
        nn.MaxPool2d(3, 2), nn.Flatten(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(),
        nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 1000),
    )  # fmt: skip


def nin_cifar10():
    """The authors' network in network."""

    def pool():
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        *with_relu((3, 192, 5, 1, 2), (192, 160, 1), (160, 96, 1)), pool(), nn.Dropout(),
        *with_relu((96, 192, 5, 1, 2), (192, 192, 1), (192, 192, 1)), pool(), nn.Dropout(),
        *with_relu((192, 192, 3, 1, 1), (192, 192, 1), (192, 10, 1)), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )  # fmt: skip


class PaperInception(nn.Module):
    """Four branches without batch norm."""

    def __init__(self, c, n1, r3, n3, r5, n5, pp):
        super().__init__()
        self.branch1 = nn.Sequential(*with_relu((c, n1, 1)))
        self.branch2 = nn.Sequential(*with_relu((c, r3, 1), (r3, n3, 3, 1, 1)))
        self.branch3 = nn.Sequential(*with_relu((c, r5, 1), (r5, n5, 5, 1, 2)))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), *with_relu((c, pp, 1)))

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.children()], 1)


def paper_googlenet():
    """GoogLeNet of the paper's table 1 without auxiliary heads."""

    def lrn():
        return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1)

    def pool():
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    modules = []
    for name, row in MODULES.items():
        modules.append(PaperInception(*row))
        if name in ("3b", "4e"):
            modules.append(pool())
    return nn.Sequential(
        *with_relu((3, 64, 7, 2, 3)), pool(), lrn(), *with_relu((64, 64, 1), (64, 192, 3, 1, 1)),
        lrn(), pool(), *modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.4),
        nn.Linear(1024, 1000),
    )  # fmt: skip


def lenet():
    """LeNet-5 as in the zoo."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip


def timed(name):
    """The net of a row of ``nets.py``."""
    made = {
        "mlp": lambda: nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10)),
        "lenet": lenet,
        "resnet20": lambda: CifarResNet(20, "A"),
        "resnet56": lambda: CifarResNet(56, "A"),
        "nin_cifar10": nin_cifar10,
        "alexnet": lecture_alexnet,
        "googlenet": paper_googlenet,
    }
    return made[name]() if name in made else own(name)


def own(name):
    """The net of this file with a name of ``tests/compare``."""
    if name.startswith("cifar_"):
        _, depth, option = name.split("_")
        return CifarResNet(int(depth), option)
    if name == "alexnet":
        return AlexNet()
    if name == "googlenet":
        return GoogLeNet()
    return VGG(name) if name.startswith("vgg") else ResNet(name)
