"""Design: the tape in Python passes what the compiled one passes; here, a slice of it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_op_owes_the_same_on_the_tape_in_python():
    wanted = "recorded or definition or subsets or gone"
    command = [
        sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header",
        "tests/registry/test_every_op.py", "tests/registry/test_every_layout.py", "-k", wanted,
    ]  # fmt: skip
    environment = {**os.environ, "MINIGRAD_TAPE": "reference"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout
