"""Design: Winograd's rounding does not change what training does.

A ResNet-8 of the CIFAR kind with 16 to 64 filters learns fashion-mini, halved to 14x14 pixels, for
60 steps. The same seed (weights and batches) is run with every 3x3 convolution of stride 1 on
Winograd's algorithm and on the direct one; other seeds say what noise is. Training amplifies any
difference of bits, so the curves agree in two senses only:

  * at first, while the amplification is small: the losses of the first five steps agree to 1e-3;
  * later, on average: in every stretch of ten steps, the mean losses of the two runs of a seed
    differ by less than the range of the mean losses of the direct runs of all seeds.
"""

import functools

import numpy as np
import pytest

import minigrad
import minigrad.functional as F
from minigrad import optim
from minigrad._kernels import conv_choice
from zoo.datasets import get_dataset
from zoo.resnet_cifar import ResNetCifar

SEEDS, STEPS, BATCH = (0, 1, 2, 3), 60, 32


@functools.cache
def images():
    """(5000, 1, 14, 14) normalized images, and labels."""
    train, _, info = get_dataset("fashion-mini")
    x, labels = (np.asarray(a) for a in train.arrays)
    x = x.reshape(-1, 1, 14, 2, 14, 2).mean(axis=(3, 5), dtype=np.float32) / 255
    return (x - info.mean[0]) / info.std[0], labels


@functools.cache
def losses(algorithm, seed):
    """The loss at each step."""
    before, conv_choice.wish = conv_choice.wish, algorithm
    try:
        minigrad.manual_seed(seed)
        net = ResNetCifar(8, in_channels=1)
        steps = optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
        x, labels = images()
        rng, found = np.random.default_rng(seed), []
        for _ in range(STEPS):
            batch = rng.choice(len(x), BATCH, replace=False)
            loss = F.cross_entropy(net(minigrad.tensor(x[batch])), labels[batch])
            steps.zero_grad()
            loss.backward()
            steps.step()
            found.append(loss.item())
        return np.array(found)
    finally:
        conv_choice.wish = before


def stretches(curve):
    """Mean losses of ten steps each."""
    return curve.reshape(-1, 10).mean(axis=1)


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_the_first_steps_are_the_same(seed):
    direct, winograd = losses("direct", seed), losses("winograd", seed)
    assert abs(winograd - direct)[:5].max() <= 1e-3
    assert (winograd != direct).any(), "the two ran the same algorithm"


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_curves_agree_within_the_noise_between_seeds(seed):
    noise = np.ptp([stretches(losses("direct", s)) for s in SEEDS], axis=0)
    difference = abs(stretches(losses("winograd", seed)) - stretches(losses("direct", seed)))
    assert (difference < noise).all(), (difference, noise)
    assert stretches(losses("winograd", seed))[-1] < 0.6 * losses("winograd", seed)[0]
