"""Where data meets the engine: Tensors out of the loader, seeds out of minigrad's generators."""

import numpy as np

import minigrad
from minigrad.data import ArrayDataset, DataLoader, TensorDataset, ToFloat, random_split


def images(n: int = 6) -> ArrayDataset:
    return ArrayDataset(np.arange(n * 12, dtype=np.uint8).reshape(n, 2, 2, 3), np.arange(n))


def test_images_are_float32_and_labels_int64_tensors():
    x, y = next(iter(DataLoader(images(), 4, transform=ToFloat())))
    assert isinstance(x, minigrad.Tensor) and isinstance(y, minigrad.Tensor)
    assert x.shape == (4, 3, 2, 2) and x.dtype == np.float32
    assert y.dtype == np.int64 and y.tolist() == [0, 1, 2, 3]
    assert not x.requires_grad
    assert x.numpy().transpose(0, 2, 3, 1).flags.c_contiguous


def test_narrow_labels_are_widened():
    data = ArrayDataset(np.zeros((3, 2), np.float32), np.array([1, 2, 3], np.uint8))
    _, y = next(iter(DataLoader(data, 3)))
    assert y.dtype == np.int64


def test_batches_train_a_layer_without_conversion():
    data = TensorDataset(minigrad.ones(8, 4), np.arange(8) % 2)
    w = minigrad.zeros(4, 2, requires_grad=True)
    for x, y in DataLoader(data, 4, shuffle=True, seed=0, num_workers=1):
        minigrad.functional.cross_entropy(x @ w, y).backward()
    assert w.grad is not None and w.grad.shape == (4, 2)


def test_changing_a_batch_leaves_the_dataset_alone():
    data = ArrayDataset(np.zeros((4, 2), np.float32))
    for (x,) in DataLoader(data, 2):
        x += 1
    assert (data.arrays[0] == 0).all()


def order(**options) -> list[int]:
    loader = DataLoader(images(50), 7, shuffle=True, **options)
    return [int(v) for _, y in loader for v in y.numpy()]


def test_manual_seed_fixes_the_order_of_loaders_without_a_seed():
    minigrad.manual_seed(3)
    a, b = order(), order()
    minigrad.manual_seed(3)
    assert (order(), order()) == (a, b)
    assert a != b


def test_a_generator_gives_the_seed():
    a = order(generator=minigrad.Generator(4))
    assert a == order(generator=minigrad.Generator(4)) != order(generator=minigrad.Generator(5))


def test_a_loader_that_does_not_shuffle_leaves_the_global_generator_alone():
    minigrad.manual_seed(3)
    before = minigrad.default_generator.get_state()
    list(DataLoader(images(), 2, transform=ToFloat()))
    assert minigrad.default_generator.get_state() == before


def test_parts_of_a_split_load_like_any_dataset():
    train, test = random_split(images(10), [0.8, 0.2], seed=1)
    seen = [int(v) for part in (train, test) for _, y in DataLoader(part, 3) for v in y.numpy()]
    assert sorted(seen) == list(range(10))
