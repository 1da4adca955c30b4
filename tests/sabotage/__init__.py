"""Design: tests that cannot fail prove nothing, so here we plant faults and see who notices.

`fault.py` says what a fault is, `kernels.py`, `windows.py`, `rules.py` and `library.py` list them,
`workshop.py` plants one in a copy of the tree and builds what is needed. `python -m tests.sabotage`
runs the catalogue; a fault that no test notices, or whose text is not found, makes it fail.
"""
