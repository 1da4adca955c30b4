"""Modules that hold modules: one after another, or in a list.

Design: children are attributes named "0", "1", ..., so `state_dict` keys are PyTorch's
("0.weight").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

from minigrad.errors import ArgError
from minigrad.nn.fused import steps
from minigrad.nn.module import Module


class ModuleList(Module):
    """A list of modules that `parameters()` and `state_dict()` see; it has no forward of its
    own."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...
    def __getitem__(self, index: int | slice) -> Any:
        """The module at an index (any: its class is the caller's to know), or a shorter
        container."""
        modules = list(self.children())
        return type(self)._of(modules[index]) if isinstance(index, slice) else modules[index]

    def __setitem__(self, index: int, module: Module) -> None:
        names = [name for name, _ in self.named_children()]
        self._set(names[index], module)

    @classmethod
    def _of(cls, modules: list[Module]) -> ModuleList:
        return cls(modules)

    def _set(self, name: str, module: Module) -> None:
        if not isinstance(module, Module):
            raise TypeError(
                f"{type(self).__name__}: expected a Module, got {type(module).__name__}"
            )
        self.add_module(name, module)

    def append(self, module: Module) -> ModuleList:
        """Add a module at the end. Returns the list."""
        self._set(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Add modules at the end. Returns the list."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> None:
        """Put a module before the one at `index`; those behind it move up by one."""
        modules = list(self.children())
        modules.insert(index, module)
        for i, m in enumerate(modules):
            self._set(str(i), m)


class Sequential(ModuleList):
    """f_n(...f_2(f_1(x))): `Sequential(a, b, c)`, or `Sequential({"name": a, ...})` to name the
    children."""

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, named in modules[0].items():
                self._set(name, named)
            return
        for i, module in enumerate(modules):
            if not isinstance(module, Module):
                hint = "; unpack it: Sequential(*modules)" if isinstance(module, list) else ""
                raise TypeError(
                    f"Sequential: argument {i} is {type(module).__name__}, not a Module{hint}"
                )
            self.append(module)

    @classmethod
    def _of(cls, modules: list[Module]) -> ModuleList:
        return Sequential(*modules)

    def forward(self, x: Any) -> Any:
        """Apply the modules in order, as few passes over memory as `steps` can make of them."""
        for step in steps(self.children()):
            x = step(x)
        return x

    def append(self, module: Module) -> Sequential:
        """Add a module at the end, named by its position. Returns the container."""
        name = str(len(self))
        if name in self.__dict__:
            raise ArgError(
                f"Sequential: a child is called {name!r} already; name the new one with add_module"
            )
        self._set(name, module)
        return self
