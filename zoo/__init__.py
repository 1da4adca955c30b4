"""zoo: the case studies of a deep-learning lecture as runnable, tested code.

Design: one family of networks a file, the constructor is the paper's table.  The zoo imports only
minigrad's public names.  ``python -m zoo`` trains, evaluates and checks them.
"""

from . import history
from .registry import get_model, list_models
from .summary import summary
from .weights import load_weights

__all__ = ["get_model", "history", "list_models", "load_weights", "summary"]
