"""Running a Python program of the tests under another instruction set, in a process of its own."""

import os
import subprocess
import sys


def printed(isa: str, *program: str, **variables: str) -> str | None:
    """What `python *program` prints under an instruction set; None if this CPU lacks it."""
    run = subprocess.run(
        [sys.executable, *program],
        env={**os.environ, "MINIGRAD_ISA": isa, **variables},
        capture_output=True,
        text=True,
    )
    if "this CPU does not have" in run.stderr:
        return None
    assert run.returncode == 0, run.stderr
    return run.stdout
