"""A PyTorch process that ``nets.py`` drives: ``child_torch.py NET BATCH train|infer FORMAT``.

Runs in an interpreter that has PyTorch and need not have minigrad: the nets are written out again.
FORMAT: nchw, channels_last, or compiled (channels_last with torch.compile; for inference with
frozen weights, which are then packed once).
"""

from __future__ import annotations

import sys

import torch
import torch._inductor.config
import torch.nn.functional as F
from serve import IMAGES, serve
from torch_nets import timed


def make_step(net, batch, mode, form):
    """One training step, or one forward pass in evaluation mode."""
    torch.set_flush_denormal(True)
    model, x = timed(net), torch.randn(batch, *IMAGES[net])
    if form != "nchw" and x.dim() == 4:
        model = model.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    t = torch.arange(batch) % 10
    torch._inductor.config.freezing = mode == "infer"  # what nn.fixed_weights is on the other side
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
