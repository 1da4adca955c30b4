"""Commands that look before training: ``diagnose`` and ``lr-find``.

Design: both take the options of ``train`` and build what it would build, so what is looked at is
what would be trained.  Nothing is written except, by ``lr-find --out``, a picture.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from minigrad.errors import ArgError

from ..diagnose import Report, guessing, measure, verdicts
from ..lr_find import Found, lr_find, overfit_one_batch, rehearsal_verdict, rehearse
from ..pictures import save_figure
from ..run_folder import sparkline
from ..trainer import Trainer, training_loss
from .pictures import picture
from .training import add_config, config_from, positive

NOWHERE = Path("nowhere")  # these trainers are not saved
BATCH = 16  # images to learn by heart


def add_diagnose(sub: Any) -> None:
    """``diagnose``."""
    p = sub.add_parser("diagnose", help="statistics of every layer, and what is wrong with them")
    p.add_argument("net", nargs="?", metavar="MODEL", help="the same as --model")
    p.add_argument("--steps", type=positive, default=20, help="of a rehearsal; default 20")
    p.add_argument("--overfit", action="store_true", help="see if it can learn one batch by heart")
    add_config(p)
    p.set_defaults(run=diagnose)


def table(report: Report, lr: float) -> str:
    """The layers as text."""
    head = ("layer", "out mean", "out std", "dead", "|g|", "|w|", "step")
    rows = [head]
    for layer in report.layers:
        dead = "" if layer.dead is None else f"{layer.dead:.0%}"
        numbers = (layer.mean, layer.std, layer.gradient, layer.weight, layer.step(lr))
        mean, std, g, w, step = (f"{v:.2e}" for v in numbers)
        rows.append((layer.name, mean, std, dead, g, w, step))
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    lines = []
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(c.rjust(n) for c, n in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def trainer_for(args: Namespace) -> Trainer:
    """What ``train`` would train with these options."""
    if getattr(args, "net", None) is not None:
        if args.model not in (None, args.net):
            raise ArgError(f"{args.net} and --model {args.model}: give one of them")
        args.model = args.net
    return Trainer(config_from(args), NOWHERE)


def diagnose(args: Namespace) -> int:
    """Print a table of layers and what is suspicious; exit code 1 if something is."""
    trainer = trainer_for(args)
    net, config = trainer.net, trainer.config
    images, labels = next(iter(trainer.loader))
    chance = guessing(trainer.loader.dataset, len(trainer.info.classes))
    report = measure(net, training_loss, images, labels, chance)
    size = "x".join(map(str, images.shape))
    print(f"{config.model} on {config.data}: one batch {size}, --lr {config.lr:g}")
    print(table(report, config.lr))
    print(f"loss {report.loss:.4f}; guessing gives {report.chance:.4f}")
    found = verdicts(report, config.lr)
    start = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    losses = rehearse(net, trainer.optimizer, training_loss, trainer.loader, args.steps)
    print(f"first {len(losses)} steps: {losses[0]:.3f} {sparkline(losses)} {losses[-1]:.3f}")
    said = rehearsal_verdict(losses, report.chance, config.lr)
    found += [said] if said else []
    if args.overfit:
        net.load_state_dict(start)
        memory = overfit_one_batch(net, training_loss, images[:BATCH], labels[:BATCH])
        told = f"{memory.steps} steps of Adam on {len(labels[:BATCH])} images: loss "
        told += f"{memory.loss:.3f}, {memory.accuracy:.0%} right"
        print(told)
        if memory.accuracy < 1:
            found.append("it cannot learn one batch by heart: look at layers, loss and labels")
    for sentence in found:
        print(f"suspicious: {sentence}")
    if not found:
        print("nothing is suspicious")
    return 1 if found else 0


def add_lr_find(sub: Any) -> None:
    """``lr-find``."""
    p = sub.add_parser("lr-find", help="the loss while the learning rate grows: which one to take")
    p.add_argument("--from", dest="low", type=float, default=1e-6, metavar="LR")
    p.add_argument("--to", dest="high", type=float, default=10.0, metavar="LR")
    p.add_argument("--steps", type=positive, default=100)
    p.add_argument("--out", metavar="FILE", help="draw the curve, as PNG or SVG (needs matplotlib)")
    add_config(p)
    p.set_defaults(run=find_rate)


def find_rate(args: Namespace) -> int:
    """Print the curve and a learning rate to try."""
    path = picture(args.out, "") if args.out else None
    trainer = trainer_for(args)
    found = lr_find(
        trainer.net, trainer.optimizer, training_loss, trainer.loader, low=args.low,
        high=args.high, steps=args.steps,
    )  # fmt: skip
    thin = max(1, len(found.rates) // 20)
    for lr, loss in list(zip(found.rates, found.losses, strict=True))[::thin]:
        print(f"{lr:9.2e}  {loss:.4f}")
    print(sparkline(list(found.losses)))
    if path is not None:
        title = f"lr-find {trainer.config.model}"
        save_figure(path, lambda figure: draw(figure, found, title), (5.5, 3.6))
        print(f"curve in {path}")
    if not found.fell:
        print(
            f"the loss does not fall at any rate from {args.low:g} to {found.rates[-1]:g}; see "
            "python -m zoo diagnose"
        )
        return 1
    fastest, lowest = found.rates[found.steepest], found.rates[found.lowest]
    print(f"the loss falls fastest at {fastest:.2g} and is lowest at {lowest:.2g}")
    print(f"try --lr {fastest:.1g}; as the peak of one-cycle up to {lowest / 2:.1g}")
    return 0


def draw(figure: Any, found: Found, title: str) -> None:
    """Fill a figure of matplotlib with the curve."""
    axes = figure.subplots()
    axes.semilogx(found.rates, found.losses)
    for place, word in ((found.steepest, "falls fastest"), (found.lowest, "lowest")):
        axes.plot(found.rates[place], found.losses[place], "o", label=word)
    axes.set(xlabel="learning rate", ylabel="loss (smoothed)", title=title)
    axes.legend(frameon=False)
