"""The errors that minigrad raises.

Design: every error is a ``MinigradError`` and also the builtin that a caller would expect, so
``except ValueError`` keeps working.  A message names the op, both sides and the way out.  This
module is below every other: it imports nothing.
"""


class MinigradError(Exception):
    """Base of every error that minigrad raises on purpose."""


class ShapeError(MinigradError, ValueError):
    """Shapes do not fit together, or a size is impossible."""


class DTypeError(MinigradError, TypeError):
    """A dtype is not supported, or two dtypes are mixed."""


class ArgError(MinigradError, ValueError):
    """An argument has the right type and a value that makes no sense."""


class GraphError(MinigradError, RuntimeError):
    """The tape cannot do what was asked: played twice, changed since, not recorded."""


class CheckpointError(MinigradError, ValueError):
    """A checkpoint file is damaged, foreign, or does not fit the model."""


class DataFormatError(MinigradError, ValueError):
    """A data file is not what it claims to be."""


class NonDifferentiableError(MinigradError, ValueError):
    """The gradient checker met a kink: no derivative exists there."""


class GradientError(MinigradError, AssertionError):
    """The gradient checker found a gradient that is not the derivative."""
