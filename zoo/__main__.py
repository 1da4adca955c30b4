"""``python -m zoo``: see ``zoo/cli``.

Design: a program, unlike a library, may choose how its threads wait.  Waiting threads sleep instead
of spinning, unless the environment says otherwise: on a machine whose other cores are busy, a
training step is then several times faster, and on an idle one it costs next to nothing.
"""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read once, when OpenMP is loaded

try:
    from .cli import main

    code = main()
except KeyboardInterrupt:  # before a command has begun
    code = 130
sys.exit(code)
