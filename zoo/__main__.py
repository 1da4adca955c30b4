"""``python -m zoo``: see ``zoo/cli``."""

import sys

from .cli import main

sys.exit(main())
