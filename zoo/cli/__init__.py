"""The command line of the zoo: ``python -m zoo list | info | train | eval | predict | convert |
gradcheck | lecture | history | ...``, all with ``--help``.

Design: this file reads arguments and turns errors into one line and an exit code: 2 for a command
that cannot be meant, 1 for data, files and training that fail, 130 for Ctrl-C.  Each command is a
function in ``commands.py`` that takes the parsed arguments.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from minigrad.errors import ArgError, MinigradError

from ..trainer import Interrupted
from ..weights import MAPS
from . import commands
from .diagnosis import add_diagnose, add_lr_find
from .explain import add_explain
from .lecture import add_lecture
from .pictures import add_pictures
from .testing import add_ensemble, add_views, evaluate
from .training import add_recipes, add_train, assignment, positive
from .weights import convert

__all__ = ["main", "parser"]

LISTED = 4  # further lines of an error that are told in its one line


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and where all options are listed."""

    def error(self, message: str) -> NoReturn:
        """End the program with code 2."""
        name = self.prog.removeprefix("python -m ")
        self.exit(2, f"{name}: error: {message}; see {self.prog} --help\n")


def add_weights(p: argparse.ArgumentParser) -> None:
    """Options of commands that take published weights in place of a run."""
    q = p.add_argument_group(
        "published weights",
        "A file in place of a run; nothing in it is executed. Images are normalized with mean .485 "
        ".456 .406 and deviation .229 .224 .225 (torchvision's and akamaster's; torchvision's "
        "GoogLeNet: .5 and .5; Caffe's names: Caffe's mean, without scaling).",
    )
    q.add_argument("--weights", metavar="FILE", help="of torch.save, .safetensors or .npz")
    q.add_argument("--model", metavar="NAME", help="the net; default: what the file fits")
    q.add_argument("--variant", help="paper or torchvision; default: what the file fits")
    q.add_argument("--map", choices=MAPS, help="the names in the file; default: find out")


def add_predict(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``predict``."""
    p = sub.add_parser("predict", help="the most likely classes of images")
    p.add_argument("image", nargs="+", help="image files (PNG, JPEG with the extra 'images'; .npy)")
    p.add_argument("--run", dest="run_folder", metavar="RUN", help="default: the latest")
    p.add_argument("--top", type=positive, default=3)
    p.add_argument("--resize", action="store_true", help="resize images to what the net takes")
    add_weights(p)
    add_explain(p)
    p.set_defaults(run=commands.predict, data=None)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    told = "Train and look at networks."
    p: argparse.ArgumentParser = Parser(prog="python -m zoo", description=told)
    p.add_argument("--debug", action="store_true", help="show tracebacks")
    sub = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    q = sub.add_parser("list", help="names of networks and data sets")
    q.add_argument("filter", nargs="?", default="*", help="a pattern such as 'resnet*'")
    q.set_defaults(run=commands.list_models)
    q = sub.add_parser("info", help="layers, shapes, parameters, MACs and memory of a net")
    q.add_argument("model")
    q.add_argument("--variant", help="paper (the default) or torchvision")
    q.add_argument("--option", action="append", type=assignment, metavar="NAME=VALUE",
                   help="an option of the net, such as aux=false")  # fmt: skip
    q.add_argument("--shortcut", choices=["A", "B", "C"], help="the same as --option shortcut=A")
    q.add_argument("--num-classes", type=positive)
    q.add_argument("--size", type=positive, help="height and width of the image")
    q.set_defaults(run=commands.info)
    add_train(sub)
    add_recipes(sub)
    add_lr_find(sub)
    add_diagnose(sub)
    q = sub.add_parser("eval", help="accuracy of a trained net on its test set")
    q.add_argument("run_folder", nargs="?", metavar="RUN", help="default: the latest")
    q.add_argument("--data", metavar="NAME|PATH", help="another data set of the same kind")
    add_weights(q)
    add_views(q)
    q.set_defaults(run=evaluate)
    add_ensemble(sub)
    add_predict(sub)
    q = sub.add_parser("convert", help="a file of weights as .safetensors, with the zoo's names")
    q.add_argument("weights", metavar="IN", help="of torch.save (.pt, .pth), .safetensors or .npz")
    q.add_argument("output", metavar="OUT.safetensors")
    q.add_argument("--model", metavar="NAME", help="refuse weights that do not fit this net")
    q.add_argument("--variant", help="paper or torchvision; default: what the file fits")
    q.add_argument("--map", choices=MAPS, help="the names in the file; default: find out")
    q.add_argument("--force", action="store_true", help="replace OUT if it exists")
    q.set_defaults(run=convert)
    add_pictures(sub)
    q = sub.add_parser("gradcheck", help="check every parameter tensor of a net in float64")
    q.add_argument("model")
    q.add_argument("--batch-size", type=positive, default=2)
    q.add_argument("--size", type=positive, help="height and width of the images")
    q.add_argument("--seed", type=int, default=0)
    q.set_defaults(run=commands.gradcheck)
    add_lecture(sub)
    return p


def told(error: BaseException) -> str:
    """An error as one line: a file and what is wrong with it, or the message and its list."""
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}"
    if isinstance(error, OSError) and error.strerror:
        file = "" if error.filename is None else f"{error.filename}: "
        return file + error.strerror.lower()
    first, *others = (line.strip() for line in str(error).splitlines() or [type(error).__name__])
    left = len(others) - LISTED
    more = [f"{left} more lines with --debug"] if left > 0 else []
    return " ".join([first, "; ".join(others[:LISTED] + more)]).strip()


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        return int(args.run(args))
    except (Interrupted, KeyboardInterrupt) as stop:
        saved = "; the run is saved, continue with --resume" * isinstance(stop, Interrupted)
        print(f"interrupted{saved}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except (MinigradError, OSError, ImportError, MemoryError) as error:
        if args.debug:
            raise
        print(f"zoo {args.command}: error: {told(error)}", file=sys.stderr)
        return 2 if isinstance(error, ArgError) else 1
