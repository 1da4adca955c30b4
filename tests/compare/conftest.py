"""Design: these files import torch, which pytest's search for examples must not do."""

collect_ignore = ["torch_side.py"]
