"""The half of the comparison that PyTorch computes: `PYTHON torch_side.py NAME FOLDER`.

Design: writes into FOLDER the weights as torch.save does (`net.pt`, float32), the images and labels
and what comes out: logits in evaluation (float32), and in float64, in training without dropout, the
loss, all gradients and the statistics of batch norm afterwards. `files` writes files of odd tensors
instead, with the values in an npz beside each; `facts` prints what torchvision says of its nets.
"""

import json
import pickle
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import torch_nets

LIBRARIES = []  # of torch, which end when they are collected


def torchvision_package():
    """torchvision, or None. Its wheels for CUDA lack their operators beside a torch without CUDA;
    the nets need none of them, but the package registers two by name."""
    try:
        import torchvision
    except ImportError:
        return None
    except RuntimeError:
        LIBRARIES.append(torch.library.Library("torchvision", "DEF"))
        for name in ("nms", "qnms"):
            LIBRARIES[-1].define(f"{name}(Tensor dets, Tensor scores, float threshold) -> Tensor")
        import torchvision
    return torchvision


def net_of(name):
    """(net, where it is from): torchvision's own class where the interpreter has it."""
    package = None if name.startswith("cifar_") else torchvision_package()
    if package is None:
        return torch_nets.own(name), "torch_nets.py"
    options = {"init_weights": False} if name == "googlenet" else {}
    made = getattr(package.models, name)(weights=None, **options)
    return made, f"torchvision {package.__version__}"


def fill(net):
    """Random weights, and random gamma, beta, mean and variance of batch norm."""
    torch.manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            module.num_batches_tracked.fill_(7)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.normal_(module.bias, 0, 0.1)


def loss_of(output, labels):
    """Cross-entropy; L + 0.3 L1 + 0.3 L2 of GoogLeNet, whose order does not matter."""
    if torch.is_tensor(output):
        return F.cross_entropy(output, labels)
    main, first, second = (F.cross_entropy(logits, labels) for logits in output)
    return main + 0.3 * first + 0.3 * second


def compare(name, folder, native, small):
    """Compute with one net: logits of (2, 3, native, native), gradients of (4, 3, small, small)."""
    net, source = net_of(name)
    fill(net)
    legacy = name.startswith(("cifar", "resnet18", "vgg11"))
    torch.save(net.state_dict(), folder / "net.pt", _use_new_zipfile_serialization=not legacy)
    rng = np.random.default_rng(2)
    x = rng.standard_normal((2, 3, native, native)).astype(np.float32)
    x64 = rng.standard_normal((4, 3, small, small))
    with torch.no_grad():
        logits = net.eval()(torch.from_numpy(x))
    net.double().train()
    labels = rng.integers(0, logits.shape[1], 4)
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    loss = loss_of(net(torch.from_numpy(x64)), torch.from_numpy(labels))
    loss.backward()
    arrays = {f"grad {key}": p.grad.numpy() for key, p in net.named_parameters()}
    arrays |= {f"buffer {key}": b.numpy() for key, b in net.named_buffers()}
    np.savez(
        folder / "out.npz", x=x, x64=x64, labels=labels, logits=logits.numpy(), loss=loss.item(),
        source=np.frombuffer(source.encode(), np.uint8), **arrays,
    )  # fmt: skip


def odd_tensors():
    """Checkpoints with every dtype, views, shared and empty storages, parameters and metadata."""
    base = torch.arange(24.0)
    dtypes = (
        "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()  # noqa: SIM905
    )
    kinds = {name: torch.tensor([0, 1, -3, 7]).to(getattr(torch, name)) for name in dtypes}
    bn = nn.BatchNorm2d(3)
    named = nn.Parameter(torch.ones(2, 2))
    named.note = "kept by PyTorch, dropped here"
    return {
        "kinds": kinds | {f"{k} scalar": t[1] for k, t in kinds.items()},
        "views": {
            "all": base.view(4, 6), "t": base.view(4, 6).t(), "column": base.view(4, 6)[:, 2],
            "step": base[3::5], "one": base[7], "none": base[:0],
            "cube": base.view(2, 3, 4)[1:, ::2],
        },
        "empty": {"a": torch.empty(0), "b": torch.empty(2, 0, 3), "c": torch.empty(())},
        "state": bn.state_dict(),
        "nested": {"epoch": 3, "best": 0.5, "arch": "net", "optimizer": {"state": {0: {"m": base}}},
                   "state_dict": OrderedDict(bn.state_dict())},
        "parameters": {"p": nn.Parameter(torch.ones(3)), "named": named,
                       "half": nn.Parameter(torch.ones(2).half())},
        "tied": {"a": base.view(6, 4), "b": base.view(6, 4)},
        "channels_last": {"w": torch.arange(120.0).view(2, 3, 4, 5).to(
            memory_format=torch.channels_last)},
    }  # fmt: skip


def values_of(tree):
    """The arrays that the reader should find."""
    tree = tree.get("state_dict", tree)
    wide = (torch.float16, torch.bfloat16)
    return {
        key: (t.detach().float() if t.dtype in wide else t.detach()).numpy()
        for key, t in tree.items()
    }


def files(folder):
    """Every checkpoint in both formats, with protocols 2 to 5 in turn."""
    unsigned = {f"uint{bits}": torch.tensor([1, 2]).to(getattr(torch, f"uint{bits}"))
                for bits in (16, 32, 64)}  # fmt: skip
    for name, tree in (odd_tensors() | {"unsigned": unsigned}).items():
        np.savez(folder / f"{name}.npz", **values_of(tree))
        for protocol in (2, 3, 4, 5):
            for zipped in (True, False):
                torch.save(
                    tree, folder / f"{name}.{protocol}.{'zip' if zipped else 'legacy'}.pt",
                    pickle_protocol=protocol, _use_new_zipfile_serialization=zipped,
                )  # fmt: skip
    with open(folder / "model.evil.pt", "wb") as f:
        torch.save(nn.Linear(2, 2), f, pickle_module=pickle)


def facts(names):
    """A line of JSON: {name: [parameters, 10^9 multiply-adds, top-1, top-5]}, as published."""
    package, found = torchvision_package(), {}
    for name in [] if package is None else names:
        about = package.models.get_model_weights(name).IMAGENET1K_V1.meta
        accuracy = about["_metrics"]["ImageNet-1K"]
        found[name] = [about["num_params"], about["_ops"], accuracy["acc@1"], accuracy["acc@5"]]
    print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1] == "files":
        files(Path(sys.argv[2]))
    elif sys.argv[1] == "facts":
        facts(sys.argv[2:])
    else:
        compare(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
