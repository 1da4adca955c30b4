"""Optimizers and learning-rate schedules, under PyTorch's names.

Design: read `optimizer.py` (groups and state), then `rules.py` (the equations), then
`lr_scheduler.py`.
"""

from minigrad.optim import lr_scheduler
from minigrad.optim.optimizer import Optimizer
from minigrad.optim.rules import SGD, Adam, AdamW, RMSprop

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
