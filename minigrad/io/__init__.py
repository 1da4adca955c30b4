"""Checkpoints: named arrays in the safetensors format, written atomically, with a digest for
every tensor.

Design: `save` and `load` hold arrays and text; `save_tree` and `load_tree` hold nested state;
`save_training` and `load_training` hold a run that continues bit for bit. Nothing here unpickles.
Read `checkpoint.py` first.
"""

from minigrad.io.atomic import atomic_write
from minigrad.io.checkpoint import Checkpoint, load, save
from minigrad.io.training import load_training, load_tree, save_training, save_tree

__all__ = [
    "Checkpoint",
    "atomic_write",
    "load",
    "load_training",
    "load_tree",
    "save",
    "save_training",
    "save_tree",
]
