"""Design: a package, so that ``python -m docs.generate`` and its tests find each other."""
