"""Design: what every refusal owes: its class, the op's name, one line, and operands left alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minigrad.errors import MinigradError
from minigrad.tensor import Tensor


def refuses(kind: type[Exception], pattern: str, call: Callable[..., Any], *operands: Any) -> None:
    """call(*operands) raises exactly `kind` with a message that matches; nothing is changed."""
    before = [copy_of(a) for a in operands]
    with pytest.raises(kind) as caught:
        call(*operands)
    message = str(caught.value)
    assert caught.type is kind
    assert issubclass(kind, MinigradError) or kind in (TypeError, ValueError)
    assert re.search(pattern, message), message
    assert re.match(r"[a-z0-9_]+: ", message), f"names no op: {message}"
    first = message.splitlines()[0]
    assert len(first) <= 200, f"{len(first)} characters: {first}"
    assert "mismatch" not in message and ".c" not in re.findall(r"\.\w+\b", message)
    for a, b in zip(operands, before, strict=True):
        if b is not None:
            np.testing.assert_array_equal(a.data if isinstance(a, Tensor) else a, b)


def copy_of(a: Any) -> Any:
    if isinstance(a, Tensor):
        return a.data.copy()
    return a.copy() if isinstance(a, np.ndarray) else None
