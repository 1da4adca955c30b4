"""A PyTorch process that ``nets.py`` drives: ``child_torch.py NET BATCH train|infer FORMAT``.

Runs in an interpreter that has PyTorch and need not have minigrad: the nets are written out again.
FORMAT: nchw, channels_last, or compiled (channels_last with torch.compile).
"""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
from serve import serve
from torch import nn

IMAGES = {"mlp": (784,), "lenet": (1, 28, 28), "resnet20": (3, 32, 32), "resnet56": (3, 32, 32)}


class Block(nn.Module):
    """Two 3x3 convolutions and the option-A shortcut."""

    def __init__(self, c, k, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c, k, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(k)
        self.conv2 = nn.Conv2d(k, k, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(k)
        self.stride, self.new = stride, k - c

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.new or self.stride != 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.new // 2, self.new // 2))
        return F.relu(y + x)


def resnet(depth):
    """The 6n + 2 net of the zoo."""
    n, c = (depth - 2) // 6, 16
    layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    for k, stride in ((16, 1), (32, 2), (64, 2)):
        for i in range(n):
            layers.append(Block(c, k, stride if i == 0 else 1))
            c = k
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def build(net):
    """The same nets as the zoo's."""
    if net == "mlp":
        return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    if net == "lenet":
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
            nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
        )  # fmt: skip
    return resnet(int(net.removeprefix("resnet")))


def make_step(net, batch, mode, form):
    """One training step, or one forward pass in evaluation mode."""
    torch.set_flush_denormal(True)
    model, x = build(net), torch.randn(batch, *IMAGES[net])
    if form != "nchw" and x.dim() == 4:
        model = model.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    t = torch.arange(batch) % 10
    run = torch.compile(model) if form == "compiled" else model
    if mode == "infer":
        model.eval()

        def infer():
            with torch.inference_mode():
                return run(x)

        return infer
    sgd = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=True)

    def train():
        sgd.zero_grad()
        F.cross_entropy(run(x), t).backward()
        sgd.step()

    return train


if __name__ == "__main__":
    serve(make_step(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]))
