"""Plant faults in a copy of the tree and see whether the tests notice.

    python -m tests.sabotage                  the whole catalogue
    python -m tests.sabotage --sample 12      twelve of it, always the same ones
    python -m tests.sabotage --only ID        one fault (or several: --only ID --only ID)
    python -m tests.sabotage --under src/simd only the faults in files whose path begins so
    python -m tests.sabotage --list           what there is

Before the faults, the tests run without one (`--trust` skips that). Exits with 1 when a fault
survives, cannot be planted or does not build. Faults in what only another instruction set runs are
left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from minigrad._kernels import dispatch
from tests.sabotage.catalogue import FAULTS, sample
from tests.sabotage.fault import Fault
from tests.sabotage.workshop import Workshop


def attempt(shop: Workshop, fault: Fault) -> tuple[bool, str]:
    """(whether the fault was noticed, by what or why not)."""
    problem = fault.problem(shop.clean)
    if problem:
        return False, "cannot be planted: " + problem
    try:
        shop.plant(fault)
        found = shop.noticed(fault.tests)
    except RuntimeError as error:
        return False, str(error)
    return found is not None, found or "SURVIVES " + " ".join(fault.tests)


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.sabotage", description=__doc__.split("\n")[0])
    parser.add_argument("--sample", type=int, metavar="N", help="only N faults")
    parser.add_argument("--only", action="append", metavar="ID", help="only this fault")
    parser.add_argument("--under", default="", metavar="PATH", help="only files under this path")
    parser.add_argument("--trust", action="store_true", help="do not run the tests without a fault")
    parser.add_argument("--list", action="store_true", help="print the catalogue")
    options = parser.parse_args()
    chosen = sample(options.sample) if options.sample else FAULTS
    if options.only:
        chosen = [f for f in FAULTS if f.id in options.only]
        if len(chosen) != len(options.only):
            parser.error(f"unknown fault among {options.only}; --list shows all")
    here = {"", *dispatch.isas()}
    chosen = [f for f in chosen if f.file.startswith(options.under) and f.isa in here]
    if options.list:
        print(*(f"{f.id:44} {f.file}" for f in chosen), sep="\n")
        return 0
    bad = 0
    with tempfile.TemporaryDirectory(prefix="sabotage-") as folder:
        shop = Workshop(Path(folder))
        if not options.trust:
            tests = tuple(dict.fromkeys(t for f in chosen for t in f.tests))
            complaint = shop.noticed(tests, profile="dev")
            if complaint:
                print("without any fault:", complaint)
                return 1
        for number, fault in enumerate(chosen, 1):
            start = time.monotonic()
            noticed, what = attempt(shop, fault)
            bad += not noticed
            mark = "noticed" if noticed else "MISSED "
            seconds = time.monotonic() - start
            place = f"{number:3}/{len(chosen)}"
            print(f"{place} {mark} {seconds:4.0f} s  {fault.id:42} {what}", flush=True)
    print(f"{len(chosen) - bad} of {len(chosen)} faults noticed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
