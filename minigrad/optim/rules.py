"""SGD, Adam, AdamW and RMSprop.

Design: a rule collects the arrays of a group and hands them to one kernel call, which updates all
parameters in one parallel sweep; the equations are in each class and, in NumPy, in
`minigrad/reference/optim.py`. Names, arguments and results are PyTorch's. Flags are keyword-only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minigrad._kernels import optim as kernels
from minigrad.errors import ArgError
from minigrad.ops.geometry import number
from minigrad.optim.optimizer import Array, Optimizer, Params, option, switch
from minigrad.tensor import Tensor


class SGD(Optimizer):
    """Gradient descent: d = g + weight_decay p; b = momentum b + (1 - dampening) d; p = p - lr b.

    At the first step b = d; with nesterov d + momentum b stands for b in the last equation;
    without momentum, d. Source: Sutskever et al. 2013 (ICML 28), in the form that keeps lr out of
    b.

    >>> from minigrad import nn, optim
    >>> p = nn.Parameter([1.0])
    >>> sgd = optim.SGD([p], lr=0.25)
    >>> (p * p).sum().backward()
    >>> sgd.step()
    >>> p.item()
    0.5
    """

    arrays = ("momentum_buffer",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        *,
        nesterov: bool = False,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def check(self, options: Mapping[str, Any]) -> None:
        """lr, momentum, weight_decay >= 0; nesterov needs momentum and no dampening."""
        for key in ("lr", "momentum", "weight_decay"):
            option(self, options, key)
        number("SGD", "dampening", options["dampening"])
        switch(self, options, "maximize")
        if switch(self, options, "nesterov") and (
            options["momentum"] == 0 or options["dampening"] != 0
        ):
            raise ArgError(
                "SGD: nesterov needs momentum > 0 and dampening = 0, got momentum "
                f"{options['momentum']} and dampening {options['dampening']}"
            )

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Array]) -> None:
        """One step. A buffer that does not exist yet begins as d: zeros, and no dampening this
        once."""
        options = {key: group[key] for key in ("lr", "momentum", "nesterov", "weight_decay")}
        if group["momentum"] == 0:
            kernels.sgd([p.data for p in params], grads, None, dampening=0.0, **options)
            return
        first = [not self.state.get(p) for p in params]
        for begins in (True, False):
            chosen = [i for i, new in enumerate(first) if new is begins]
            if chosen:
                kernels.sgd(
                    [params[i].data for i in chosen],
                    [grads[i] for i in chosen],
                    [self.remember(params[i], "momentum_buffer") for i in chosen],
                    dampening=0.0 if begins else group["dampening"],
                    **options,
                )


class Adam(Optimizer):
    """m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; p = p - lr mhat / (sqrt(vhat) +
    eps).

    mhat = m / (1 - beta1^t), vhat = v / (1 - beta2^t), t counts from 1; weight_decay p is added
    to g. Source: Kingma and Ba 2015, https://arxiv.org/abs/1412.6980, algorithm 1.
    """

    arrays = ("exp_avg", "exp_avg_sq")
    numbers = ("step",)
    decoupled = False  # whether weight decay shrinks p instead of joining g

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def check(self, options: Mapping[str, Any]) -> None:
        """lr, eps, weight_decay >= 0; both betas in [0, 1)."""
        for key in ("lr", "eps", "weight_decay"):
            option(self, options, key)
        betas = options["betas"]
        if not (isinstance(betas, (tuple, list)) and len(betas) == 2):
            raise TypeError(f"{type(self).__name__}: betas must be two numbers, got {betas!r}")
        for i, beta in enumerate(betas):
            option(self, {f"betas[{i}]": beta}, f"betas[{i}]", below=1.0)
        switch(self, options, "maximize")

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Array]) -> None:
        """One step; parameters that are equally old share a kernel call."""
        ages: dict[int, list[int]] = {}
        for i, p in enumerate(params):
            own = self.state.setdefault(p, {"step": 0})
            own["step"] += 1
            ages.setdefault(own["step"], []).append(i)
        beta1, beta2 = group["betas"]
        for step, chosen in ages.items():
            kernels.adam(
                [params[i].data for i in chosen],
                [grads[i] for i in chosen],
                [self.remember(params[i], "exp_avg") for i in chosen],
                [self.remember(params[i], "exp_avg_sq") for i in chosen],
                lr=group["lr"], beta1=beta1, beta2=beta2, eps=group["eps"],
                weight_decay=group["weight_decay"], decoupled=self.decoupled, step=step,
            )  # fmt: skip


class AdamW(Adam):
    """Adam in which weight decay does not pass through the moments: first p = (1 - lr
    weight_decay) p.

    Source: Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101, algorithm 2.
    """

    decoupled = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, maximize=maximize)


class RMSprop(Optimizer):
    """v = alpha v + (1 - alpha) g^2; d = g / (sqrt(v) + eps); p = p - lr d.

    weight_decay p is added to g. With centered, v - a^2 stands for v in d, a being the running
    mean of g; with momentum, b = momentum b + d stands for d. Source: Tieleman and Hinton 2012
    (lecture 6.5); Graves 2013, https://arxiv.org/abs/1308.0850, equations 38 to 45, for centered.
    """

    arrays = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        *,
        centered: bool = False,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
            },
        )

    def check(self, options: Mapping[str, Any]) -> None:
        """lr, alpha, eps, weight_decay, momentum >= 0."""
        for key in ("lr", "alpha", "eps", "weight_decay", "momentum"):
            option(self, options, key)
        switch(self, options, "centered")
        switch(self, options, "maximize")

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Array]) -> None:
        """One step."""

        def state(name: str) -> list[Array]:
            return [self.remember(p, name) for p in params]

        kernels.rmsprop(
            [p.data for p in params],
            grads,
            state("square_avg"),
            means=state("grad_avg") if group["centered"] else None,
            momenta=state("momentum_buffer") if group["momentum"] > 0 else None,
            lr=group["lr"], alpha=group["alpha"], eps=group["eps"],
            weight_decay=group["weight_decay"], momentum=group["momentum"],
        )  # fmt: skip
