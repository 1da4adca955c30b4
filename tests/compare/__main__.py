"""`python -m tests.compare --torch PYTHON [NAMES]`: the half that minigrad computes, and the table.

Design: see `__init__.py`. An error is the largest difference over the largest value of the tensor;
for gradients the value is at least 1e-5 of the net's largest, since some are zero (biases before
batch norm). Exit code 1 if one is over its limit. All of it takes some six minutes and 6 GB on two
cores.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import minigrad as mg
import minigrad.functional as F
import zoo
from minigrad import nn
from minigrad.errors import CheckpointError
from zoo.published import PUBLISHED
from zoo.weights import read_weights

SIDE = Path(__file__).with_name("torch_side.py")
LOGITS, GRADIENTS = 1e-4, 1e-9  # limits: float32, and float64
TORCHVISION = (
    "alexnet", "vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn",
    "googlenet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
)  # fmt: skip
CIFAR = ("cifar_20_A", "cifar_20_B", "cifar_56_A", "cifar_110_A")
SMALL = {"alexnet": 127, "cifar": 17}  # pixels of the images for gradients; others 64


def empty_net(name):
    """The net of the zoo with a name of the lists above, without memory for its weights."""
    with nn.meta():
        if name.startswith("cifar_"):
            _, depth, option = name.split("_")
            return zoo.get_model(f"resnet{depth}", shortcut=option)
        return zoo.get_model(name, num_classes=1000, variant="torchvision")


def distance(found, wanted, least=0.0):
    """The largest difference over the largest value."""
    if found.shape != wanted.shape:
        return np.inf
    scale = max(float(np.abs(wanted).max(initial=0.0)), least)
    error = float(np.abs(found - wanted).max(initial=0.0))
    return error / scale if scale else error


def loss_of(output, labels):
    """As in `torch_side.py`."""
    if isinstance(output, mg.Tensor):
        return F.cross_entropy(output, labels)
    main, first, second = (F.cross_entropy(logits, labels) for logits in output)
    return main + 0.3 * first + 0.3 * second


def compare(name, python, folder):
    """One line of the table; True if all is within the limits."""
    kind = name.partition("_")[0]
    native, small = (32 if kind == "cifar" else 224), SMALL.get(kind, 64)
    began = time.perf_counter()
    command = [python, str(SIDE), name, str(folder), str(native), str(small)]
    subprocess.run(command, check=True)
    out = np.load(folder / "out.npz")
    net = empty_net(name)
    zoo.load_weights(net, folder / "net.pt")
    with mg.no_grad():
        logits = distance(net.eval()(mg.tensor(out["x"])).numpy(), out["logits"])
    net.double().train()
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    loss = loss_of(net(mg.tensor(out["x64"])), mg.tensor(out["labels"]))
    loss.backward()
    parameters = dict(net.named_parameters())
    wanted = {key[5:] for key in out.files if key.startswith("grad ")}
    if parameters.keys() != wanted:
        raise SystemExit(f"{name}: other parameters: {sorted(parameters.keys() ^ wanted)[:5]}")
    least = 1e-5 * max(float(np.abs(out[f"grad {key}"]).max()) for key in wanted)
    errors = {k: distance(p.grad.numpy(), out[f"grad {k}"], least) for k, p in parameters.items()}
    buffers = {k: distance(b.numpy(), out[f"buffer {k}"]) for k, b in net.named_buffers()}
    worst = max(errors, key=errors.get)
    loss_error = abs(loss.item() - float(out["loss"])) / float(out["loss"])
    print(
        f"{name:12} {logits:9.1e} {loss_error:9.1e} {errors[worst]:9.1e} {worst:34} "
        f"{max(buffers.values(), default=0.0):9.1e} {time.perf_counter() - began:6.0f} s  "
        f"{out['source'].tobytes().decode()}",
        flush=True,
    )
    others = max(loss_error, errors[worst], *buffers.values(), 0.0)
    return logits <= LOGITS and others <= GRADIENTS


def files(python, folder):
    """Files of torch.save in both formats against the values that torch says they have."""
    subprocess.run([python, "-W", "ignore", str(SIDE), "files", str(folder)], check=True)
    good = bad = 0
    for path in sorted(folder.glob("*.pt")):
        if "evil" in path.name:
            continue
        with np.load(folder / f"{path.name.partition('.')[0]}.npz") as wanted:
            found = read_weights(path).arrays
            same = found.keys() == set(wanted.files) and all(
                a.dtype == wanted[k].dtype and a.shape == wanted[k].shape
                and np.array_equal(a, wanted[k]) for k, a in found.items()
            )  # fmt: skip
        good, bad = good + same, bad + (not same)
        if not same:
            print(f"{path.name}: differs")
    try:
        read_weights(folder / "model.evil.pt")
        bad += 1
    except CheckpointError as error:
        print(f"a whole model: {error}")
    print(f"files of torch.save: {good} read alike, {bad} not")
    return bad == 0


def facts(python):
    """What torchvision says of its nets against what the zoo counts and quotes."""
    command = [python, str(SIDE), "facts", *TORCHVISION]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    published, wrong = json.loads(output), 0
    quoted = {p.model: (p.top1, p.top5) for p in PUBLISHED if p.variant == "torchvision"}
    for name, (parameters, billions, *accuracies) in published.items():
        found = zoo.summary(name, variant="torchvision")
        ours = (found.total("parameters"), round(found.total("macs") / 1e9, 3))
        ours += quoted.get(name, ())
        theirs = (parameters, billions, *(round(a, 2) for a in accuracies))[: len(ours)]
        if ours != theirs:
            wrong += 1
            print(f"{name}: the zoo has {ours}, torchvision {theirs}")
    if published:
        print(f"parameters, multiply-adds, accuracies: {len(published)} nets, {wrong} differ")
    else:
        print("no torchvision: its figures are not compared")
    return wrong == 0


def main():
    """Compare what was asked for, by default all of it."""
    p = argparse.ArgumentParser(prog="python -m tests.compare")
    p.add_argument("--torch", required=True, metavar="PYTHON", help="an interpreter with PyTorch")
    p.add_argument(
        "names", nargs="*", metavar="NAMES", help=f"files facts {' '.join(TORCHVISION + CIFAR)}"
    )
    args = p.parse_args()
    ok = True
    names = args.names or ["files", "facts", *CIFAR, *TORCHVISION]
    print(
        f"{'':12} {'logits':>9} {'loss':>9} {'gradient':>9} {'the worst of them':34} {'buffers':>9}"
    )
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            if name == "files":
                ok &= files(args.torch, Path(folder))
            elif name == "facts":
                ok &= facts(args.torch)
            else:
                ok &= compare(name, args.torch, Path(folder))
    print(f"limits: logits {LOGITS:g} (float32), gradients and the rest {GRADIENTS:g} (float64)")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
