"""Design: the one name that examples in docstrings use without importing it: np."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def names_of_examples(doctest_namespace):
    doctest_namespace["np"] = np
