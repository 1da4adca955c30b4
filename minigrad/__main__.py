"""``python -m minigrad``: what was built and what is in use."""

from ._config import show_config

show_config()
