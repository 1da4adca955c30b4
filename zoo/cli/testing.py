"""Commands that test trained nets: ``eval`` and ``ensemble``; which net a command means.

Design: nets come from a run folder or from ``--weights``; the work is in ``zoo.evaluation``.
"""

from __future__ import annotations

import argparse
from argparse import Namespace
from typing import Any

from minigrad.errors import ArgError

from ..config import VIEWS, shown
from ..ensemble import combine, common_data, table
from ..evaluation import Subject, answers, images_for, load_run, result_line
from ..pipeline import Preparation
from ..registry import MOST
from .training import numbers
from .weights import published


def chosen(args: Namespace) -> Subject:
    """The net of a run, or of ``--weights``. Raises ArgError for options that contradict."""
    if args.weights is None:
        for option in ("model", "variant", "map"):
            if getattr(args, option) is not None:
                raise ArgError(f"--{option} needs --weights; a run knows its net")
        return load_run(args.run_folder)
    if args.run_folder is not None:
        raise ArgError(f"{args.run_folder}: give a run or --weights, not both")
    net, found, name, about = published(args)
    title = f"{name} with {args.weights}"
    return Subject(net, found, about, name, title, args.data, Preparation(about))


def add_views(p: argparse.ArgumentParser) -> None:
    """Options of test-time views."""
    told = "windows of an image whose answers are averaged; default: what the run's recipe says"
    p.add_argument("--views", choices=VIEWS, help=told)
    told = "shorter sides such as 256,384,512, in place of the view's own"
    p.add_argument("--view-scales", type=numbers(int), metavar="SIDES", help=told)


def views_of(args: Namespace, subject: Subject) -> tuple[str, tuple[int, ...]]:
    """The view that is meant, and its scales."""
    config = subject.config
    name = args.views or ("single" if config is None else config.views)
    own = () if config is None or args.views not in (None, config.views) else config.view_scales
    scales = tuple(args.view_scales or own)
    if any(not 1 <= s <= MOST for s in scales):
        raise ArgError(f"--view-scales {shown(scales)}: must be from 1 to {MOST}")
    return name, scales


def evaluate(args: Namespace) -> int:
    """Print loss and accuracy of a trained net, on its own test set or on another."""
    if args.weights and not args.data:
        raise ArgError("--weights needs --data NAME|PATH")
    subject = chosen(args)
    data = str(args.data or subject.data)
    views, scales = views_of(args, subject)
    test = images_for(subject, data, views)
    chances, labels = answers(subject, test, views, scales)
    seen = "" if views == "single" and not scales else f", view {views}"
    print(f"{subject.title} on {data}: {len(labels):,} test images{seen}")
    print(result_line(chances, labels))
    return 0


def add_ensemble(sub: Any) -> None:
    """``ensemble``."""
    p = sub.add_parser("ensemble", help="average the answers of several runs")
    p.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs on the same data")
    p.add_argument("--data", metavar="NAME|PATH", help="another data set of the same kind")
    add_views(p)
    p.set_defaults(run=ensemble)


def ensemble(args: Namespace) -> int:
    """Print what several runs score, and what the mean of their answers scores."""
    members = [load_run(run) for run in args.runs]
    data = common_data(members, args.data)
    found = []
    for member in members:
        views, scales = views_of(args, member)
        found.append(answers(member, images_for(member, data, views), views, scales))
    labels = found[0][1]
    result = combine([chances for chances, _ in found], labels)
    print(f"{data}: {len(labels):,} test images")
    print(table([member.title for member in members], result))
    gain = result.mean.error - result.together.error
    print(f"the ensemble's error is {gain:+.2%} below the members' mean; its loss is never above")
    return 0
