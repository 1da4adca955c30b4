"""Tests of minigrad and the zoo; a package, so that two folders may each have a test_conv.py."""
