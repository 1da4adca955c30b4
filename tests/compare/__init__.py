"""The same weights in PyTorch and in the zoo, by hand: `python -m tests.compare --torch PYTHON`.

Design: the two frameworks are never in one process. `torch_side.py` is run by the interpreter that
has PyTorch: it fills a net with random weights and random statistics of batch norm, saves them
with torch.save, and writes what it computes. `__main__.py` loads that file with `zoo.load_weights`,
computes the same and compares. Nets of torch are torchvision's where the interpreter has it
(`pip install --no-deps torchvision pillow`, in the release that fits its torch), else those of
`benchmarks/torch_nets.py`. Nothing here is collected by pytest.
"""
