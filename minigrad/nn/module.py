"""Module: parameters, buffers and modules inside modules, found by looking at attributes.

Design: assigning a Parameter or a Module to an attribute is all the registration there is; the
attribute order is the order of `parameters()` and of `state_dict()`, whose keys are PyTorch's
("layer1.0.conv1.weight"), so published weights load. A buffer is a Tensor attribute whose name
`register_buffer` noted. There is no device, no dtype policy and no pickle here. Next:
`layers.py`; saving is `minigrad.io`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from minigrad.errors import ArgError
from minigrad.nn import state as state_of_values
from minigrad.nn.meta import converted
from minigrad.nn.parameter import Parameter
from minigrad.nn.state import Keys
from minigrad.tensor import Tensor

M = TypeVar("M", bound="Module")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Array = np.ndarray[Any, np.dtype[Any]]
Hook = Callable[["Module", tuple[Any, ...], Any], Any]


def takes_relu(forward: F) -> F:
    """Mark a `forward` whose keyword `relu` means max(0, .) of the result: `Sequential` may then
    play a ReLU behind the layer as part of it, or leave the layer's own to what follows.

    Raises ArgError where there is no such keyword with a default.
    """
    defaults = getattr(forward, "__kwdefaults__", None) or {}
    if not isinstance(defaults.get("relu"), bool):
        name = getattr(forward, "__qualname__", repr(forward))
        raise ArgError(f"takes_relu: {name} has no keyword argument relu=False or relu=True")
    forward.relu = defaults["relu"]  # type: ignore[attr-defined]
    return forward


class Module:
    """Base of every layer and net: subclass it, assign layers in `__init__`, compute in `forward`.

    >>> from minigrad import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.fc = nn.Linear(784, 10)
    ...     def forward(self, x):               # x (N, 1, 28, 28)
    ...         return self.fc(x.flatten(1))    # (N, 10)
    >>> [(name, p.shape) for name, p in Net().named_parameters()]
    [('fc.weight', (10, 784)), ('fc.bias', (10,))]
    """

    training: bool = True
    _buffers: tuple[str, ...] = ()
    _transient: tuple[str, ...] = ()  # buffers that state_dict leaves out
    _hooks: tuple[Hook, ...] = ()

    def __init__(self) -> None:
        self.training = True

    def _no_forward(self, *inputs: Any, **options: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward method")

    forward: Callable[..., Any] = _no_forward  # every subclass has its own, with its own arguments

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """`forward`, then the hooks."""
        out = self.forward(*inputs, **options)
        for hook in self._hooks:
            changed = hook(self, inputs, out)
            out = out if changed is None else changed
        return out

    def __setattr__(self, name: str, value: Any) -> None:
        present = self.__dict__.get(name)
        if value is not None and isinstance(present, (Tensor, Module)):
            kind = next(kind for kind in (Parameter, Tensor, Module) if isinstance(present, kind))
            if not isinstance(value, kind):
                raise TypeError(
                    f"{type(self).__name__}.{name} is a {kind.__name__} and cannot become "
                    f"{type(value).__name__}; wrap it, or delete the attribute first"
                )
        object.__setattr__(self, name, value)

    # -- registration -----------------------------------------------------------------------------

    def register_buffer(self, name: str, value: Tensor | None, *, persistent: bool = True) -> None:
        """A Tensor that belongs to the state and is not trained (a running mean). None keeps the
        name free."""
        self._check_name(name)
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(
                f"register_buffer: {name!r} must be a Tensor or None, got {type(value).__name__}"
            )
        setattr(self, name, value)
        if name not in self._buffers:
            self._buffers += (name,)
        if not persistent:
            self._transient += (name,)

    def register_parameter(self, name: str, value: Parameter | None) -> None:
        """The same as assigning a Parameter (or None) to an attribute, under a name known at run
        time."""
        self._check_name(name)
        if value is not None and not isinstance(value, Parameter):
            raise TypeError(
                f"register_parameter: {name!r} must be a Parameter or None, "
                f"got {type(value).__name__}"
            )
        setattr(self, name, value)

    def add_module(self, name: str, module: Module | None) -> None:
        """The same as assigning a Module to an attribute, under a name known at run time."""
        self._check_name(name)
        if module is not None and not isinstance(module, Module):
            raise TypeError(
                f"add_module: {name!r} must be a Module or None, got {type(module).__name__}"
            )
        setattr(self, name, module)

    def _check_name(self, name: str) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise ArgError(
                f"{type(self).__name__}: {name!r} cannot be a name; it must be text without a dot"
            )
        if hasattr(self, name) and name not in self.__dict__:
            raise ArgError(f"{type(self).__name__}: the attribute {name!r} exists already")

    def register_forward_hook(self, hook: Hook) -> Callable[[], None]:
        """Call `hook(module, inputs, output)` after every forward; what it returns, if anything,
        replaces the output.

        Returns a function that removes the hook.
        """
        self._hooks += (hook,)

        def remove() -> None:
            self._hooks = tuple(h for h in self._hooks if h is not hook)

        return remove

    # -- what is inside ---------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Direct submodules with their attribute names, in order of assignment."""
        for name, value in self.__dict__.items():
            if isinstance(value, Module):
                yield name, value

    def children(self) -> Iterator[Module]:
        """Direct submodules."""
        return (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it, each once, with dotted names ("" for this one)."""
        return _once(self._walk(prefix))

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Every Parameter once, with its dotted name; a shared one under its first name."""
        return _once(
            (name, value) for name, value in self._members(prefix) if isinstance(value, Parameter)
        )

    def parameters(self) -> Iterator[Parameter]:
        """Every Parameter once, in order of assignment: what an optimizer takes."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Every buffer once, with its dotted name."""
        return _once(
            (name, value)
            for name, value in self._members(prefix)
            if not isinstance(value, Parameter)
        )

    def buffers(self) -> Iterator[Tensor]:
        """Every buffer once."""
        return (buffer for _, buffer in self.named_buffers())

    def _walk(self, prefix: str) -> Iterator[tuple[str, Module]]:
        yield prefix, self
        for name, child in self.named_children():
            yield from child._walk(f"{prefix}.{name}" if prefix else name)

    def _members(self, prefix: str, *, saved: bool = False) -> Iterator[tuple[str, Tensor]]:
        """Parameters, then buffers, of this module and of those below, shared ones under each of
        their names."""
        for path, module in self._walk(prefix):
            here = path + "." if path else ""
            for name, value in module.__dict__.items():
                if isinstance(value, Parameter):
                    yield here + name, value
            for name in module._buffers:
                value = module.__dict__.get(name)
                if value is not None and not (saved and name in module._transient):
                    yield here + name, value

    # -- changing all of it -----------------------------------------------------------------------

    def apply(self: M, fn: Callable[[Module], object]) -> M:
        """Call `fn(module)` on every module, children first, this one last (to initialise, for
        example)."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self: M, mode: bool = True) -> M:
        """Set training mode here and below: batch statistics, active dropout. Returns the
        module."""
        if not isinstance(mode, bool):
            raise TypeError(f"train: mode must be True or False, got {mode!r}")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Set evaluation mode here and below: running statistics, no dropout. Returns the
        module."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Freeze (False) or unfreeze every parameter. Returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, *, set_to_none: bool = True) -> None:
        """Forget every parameter's gradient, or fill it with zeros."""
        for parameter in self.parameters():
            if parameter.grad is None:
                continue
            if set_to_none:
                parameter.grad = None
            else:
                parameter.grad.data.fill(0)
                parameter.grad.mutated_()

    def astype(self: M, dtype: Any) -> M:
        """Convert every floating-point parameter and buffer in place (float64 to check gradients,
        for example)."""
        for value in {id(t): t for _, t in self._members("")}.values():
            if value.dtype.kind == "f":
                tracked = value.requires_grad
                value.requires_grad_(False)  # the leaf on the tape has a dtype: make a new one
                value.data = converted(value.data, dtype)
                value.requires_grad_(tracked)
        return self

    def float(self: M) -> M:
        """`astype("float32")`."""
        return self.astype("float32")

    def double(self: M) -> M:
        """`astype("float64")`."""
        return self.astype("float64")

    # -- state ------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Tensor]:
        """Dotted name -> detached Tensor, sharing memory with the module, for parameters and
        persistent buffers."""
        return {name: value.detach() for name, value in self._members("", saved=True)}

    def check_state_dict(self, state: Mapping[str, Tensor | Array], *, strict: bool = True) -> Keys:
        """Raise what `load_state_dict` would raise, change nothing."""
        own = dict(self._members("", saved=True))
        return state_of_values.check(own, state, strict=strict, name=type(self).__name__)

    def load_state_dict(self, state: Mapping[str, Tensor | Array], *, strict: bool = True) -> Keys:
        """Copy values (Tensors or arrays) by name into parameters and buffers, all of them or none.

        Floating-point values are converted to the module's dtype. `strict=False` lets keys be
        missing or unexpected and returns them; shapes must fit always. Raises CheckpointError
        listing every missing, unexpected and wrong-shaped key.
        """
        keys = self.check_state_dict(state, strict=strict)
        for name, value in self._members("", saved=True):
            if name in state:
                state_of_values.write(value, state[name])
        return keys

    # -- text -------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the parentheses of `repr`."""
        return ""

    def __repr__(self) -> str:
        lines = []
        for name, child in self.named_children():
            lines.append(f"({name}): " + repr(child).replace("\n", "\n  "))
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        return f"{type(self).__name__}({extra}\n  " + "\n  ".join(lines) + "\n)"


def _once(pairs: Iterator[tuple[str, T]]) -> Iterator[tuple[str, T]]:
    """Leave out objects that came before (under another name)."""
    seen: set[int] = set()
    for name, value in pairs:
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value
