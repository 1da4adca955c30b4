"""What all optimizers share: parameter groups, state per parameter, saving both.

Design: an optimizer changes parameters in place, behind the tape's back, and says so
(`mutated_`). Options that may differ between parameters live in groups (dictionaries), which
schedulers edit; arrays that a rule remembers (momentum) live in `state`. The rules themselves are
in `rules.py`; learning-rate schedules in `lr_scheduler.py`. The layout of `state_dict` is
PyTorch's: state by the position of the parameter, groups with positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from minigrad.autograd import enable_grad
from minigrad.errors import ArgError, CheckpointError, DTypeError
from minigrad.inplace import read_only
from minigrad.ops.geometry import number
from minigrad.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]
Params = Iterable[Tensor] | Iterable[dict[str, Any]]


class Optimizer:
    """Base class: a subclass names its options in `defaults`, checks them in `check` and updates
    in `update`."""

    arrays: tuple[
        str, ...
    ] = ()  # names of the arrays that state may hold, each of its parameter's shape
    numbers: tuple[str, ...] = ()  # names of the numbers

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        name = type(self).__name__
        if isinstance(params, (Tensor, str, dict, set)):
            raise TypeError(
                f"{name}: params must be a list of Tensors or of groups, "
                f"got {type(params).__name__}; use net.parameters(), or [tensor]"
            )
        self.check(defaults)
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        given: list[Any] = list(params)
        if not given:
            raise ArgError(f"{name}: there is no parameter to optimize; params is empty")
        groups = given if isinstance(given[0], dict) else [{"params": given}]
        for group in groups:
            self.add_param_group(group)

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise TypeError or ArgError for options that make no sense."""
        raise NotImplementedError

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Array]) -> None:
        """Change parameters of one dtype, given their gradients, by one step."""
        raise NotImplementedError

    def remember(self, p: Tensor, name: str) -> Array:
        """The array called `name` in the state of p; zeros at first."""
        own = self.state.setdefault(p, {})
        if name not in own:
            own[name] = np.zeros_like(p.data)
        array: Array = own[name]
        return array

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add `{"params": Tensors, option: value...}`; options not given are those of the
        constructor.

        Raises TypeError for what is no Tensor or group and ArgError for an empty group, an
        unknown or senseless option, a parameter that comes twice or was computed by an op; then
        nothing is added.
        """
        name, index = type(self).__name__, len(self.param_groups)
        if not isinstance(group, dict) or "params" not in group:
            raise TypeError(
                f"{name}: group {index} must be a dict with the key 'params', "
                f"got {type(group).__name__}"
            )
        if strange := group.keys() - self.defaults.keys() - {"params", "initial_lr"}:
            raise ArgError(
                f"{name}: group {index} has the unknown option {min(strange)!r}; "
                f"options are {', '.join(self.defaults)}"
            )
        params = group["params"]
        if isinstance(params, set):
            raise TypeError(f"{name}: params of group {index} must be in order; a set has none")
        params = [params] if isinstance(params, Tensor) else list(params)
        taken = {id(p) for other in self.param_groups for p in other["params"]}
        for i, p in enumerate(params):
            self._check_parameter(p, f"{name}: parameter {i} of group {index}", taken)
            taken.add(id(p))
        if not params:
            raise ArgError(f"{name}: group {index} has no parameter to optimize")
        full = {**self.defaults, **group, "params": params}
        self.check(full)
        self.param_groups.append(full)

    @staticmethod
    def _check_parameter(p: object, what: str, taken: set[int]) -> None:
        if not isinstance(p, Tensor):
            raise TypeError(f"{what} is {type(p).__name__}, not a Tensor")
        if not p.is_leaf:
            raise ArgError(
                f"{what}, shape {p.shape}, was computed by an op; only leaves can be optimized: "
                "use .detach() first"
            )
        if p.dtype.kind != "f":
            raise DTypeError(f"{what} is {p.dtype}; only float32 and float64 can be optimized")
        if id(p) in taken:
            raise ArgError(
                f"{what}, shape {p.shape}, comes twice; every parameter may be listed once"
            )

    def zero_grad(self, *, set_to_none: bool = True) -> None:
        """Forget all gradients (default: their memory is free again), or fill them with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if set_to_none:
                    p.grad = None
                else:
                    p.grad.data.fill(0)
                    p.grad.mutated_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient. `closure`, if given, computes loss and
        gradients first.

        Returns what the closure returned, or None.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        self._check_writable()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            for kind in dict.fromkeys([p.data.dtype.char for p in params]):  # a kernel call each
                chosen = [p for p in params if p.data.dtype.char == kind]
                grads = [p.grad.data for p in chosen]
                self.update(group, chosen, [-g for g in grads] if group["maximize"] else grads)
                for p in chosen:
                    p.mutated_()
        return loss

    def _check_writable(self) -> None:
        """Before anything is changed: GraphError where a parameter could not be."""
        for i, p in enumerate(self._parameters()):
            if not p.data.flags.writeable and p.grad is not None:
                raise read_only(f"{type(self).__name__}.step: parameter {i}, shape {p.shape}", p)

    # -- state ------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """A copy of everything that must survive: `{"state": {position: {...}}, "param_groups":
        [...]}`."""
        position = {p: i for i, p in enumerate(self._parameters())}
        state = {
            position[p]: {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in own.items()}
            for p, own in self.state.items()
        }
        groups = [
            {**group, "params": [position[p] for p in group["params"]]}
            for group in self.param_groups
        ]
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def check_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raise what `load_state_dict` would raise, change nothing."""
        name = f"{type(self).__name__}: the state"
        if not isinstance(state, Mapping) or not {"state", "param_groups"} <= state.keys():
            raise CheckpointError(f"{name} has no 'state' and 'param_groups'")
        sizes = [len(group["params"]) for group in state["param_groups"]]
        own = [len(group["params"]) for group in self.param_groups]
        if sizes != own:
            raise CheckpointError(
                f"{name} has groups of {sizes} parameters, the optimizer of {own}"
            )
        for group in state["param_groups"]:
            if strange := self.defaults.keys() ^ (group.keys() - {"params", "initial_lr"}):
                raise CheckpointError(
                    f"{name} is another optimizer's: the option {min(strange)!r} is not in both"
                )
        parameters = self._parameters()
        for i, values in state["state"].items():
            if not (isinstance(i, int) and 0 <= i < len(parameters)):
                raise CheckpointError(
                    f"{name} is about parameter {i!r}; there are {len(parameters)}"
                )
            for key, value in values.items():
                self._check_entry(f"{name}[{i}][{key!r}]", key, value, parameters[i])

    def _check_entry(self, what: str, key: str, value: Any, p: Tensor) -> None:
        if key in self.numbers and isinstance(value, (int, float)):
            return
        if key not in self.arrays:
            raise CheckpointError(f"{what} means nothing to this optimizer")
        if np.shape(value) != p.shape:
            raise CheckpointError(f"{what} has shape {np.shape(value)}, the parameter {p.shape}")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state and its options, all of it or nothing. Raises CheckpointError
        saying what differs."""
        self.check_state_dict(state)
        parameters = self._parameters()
        self.state = {
            parameters[i]: {
                key: np.array(value, dtype=parameters[i].dtype) if key in self.arrays else value
                for key, value in values.items()
            }
            for i, values in state["state"].items()
        }
        for group, saved in zip(self.param_groups, state["param_groups"], strict=True):
            group.update({key: value for key, value in saved.items() if key != "params"})

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def __repr__(self) -> str:
        text = f"{type(self).__name__} ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}"
            for key in sorted(group.keys() - {"params"}):
                text += f"\n    {key}: {group[key]}"
        return text + "\n)"


def option(
    optimizer: object, options: Mapping[str, Any], key: str, *, below: float = math.inf
) -> float:
    """The option as a float with 0 <= value < below; TypeError or ArgError naming optimizer and
    option otherwise."""
    name = type(optimizer).__name__
    value = number(name, key, options[key])
    if not 0.0 <= value < below:
        least = "finite and 0 or more" if math.isinf(below) else f"at least 0 and less than {below}"
        raise ArgError(f"{name}: {key} must be {least}, got {value}")
    return value


def switch(optimizer: object, options: Mapping[str, Any], key: str) -> bool:
    """The option if it is True or False; TypeError otherwise."""
    if not isinstance(options[key], bool):
        raise TypeError(
            f"{type(optimizer).__name__}: {key} must be True or False, got {options[key]!r}"
        )
    return bool(options[key])
