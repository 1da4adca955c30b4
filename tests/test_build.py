"""The package and its binaries: stale builds, configuration, import time, environment switches."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import _build
from minigrad._kernels import dispatch

ROOT = Path(__file__).resolve().parent.parent


def python(code, **env):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **env}, capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip


def test_stale_binaries_are_reported_with_the_command(monkeypatch, tmp_path):
    """A binary older than a source, and a digest that differs: never used silently."""
    monkeypatch.delenv("MINIGRAD_STALE", raising=False)
    source, binary = tmp_path / "conv.c", tmp_path / "conv.so"
    source.write_text("int x;")
    binary.write_text("")
    monkeypatch.setattr(_build, "binaries", lambda: [binary])
    monkeypatch.setattr(_build, "sources", lambda: [source])
    monkeypatch.setattr(_build, "digest", lambda paths: "different")
    os.utime(source, (100, 100))
    _build.check_binaries()  # the source is older: nothing to say
    os.utime(binary, (50, 50))
    with pytest.raises(ImportError, match=r"older than the sources.*build_ext --inplace"):
        _build.check_binaries()
    monkeypatch.setattr(_build, "digest", lambda paths: dispatch.build_info()["digest"])
    _build.check_binaries()  # touched, but the same text


def test_missing_binaries_are_reported_with_the_command(monkeypatch):
    monkeypatch.setattr(_build, "binaries", list)
    with pytest.raises(ImportError, match=r"not built.*pip install -e"):
        _build.check_binaries()


def test_the_digest_is_the_one_that_setup_computes():
    paths = _build.sources()
    if os.environ.get("MINIGRAD_STALE") != "allow" and paths:
        assert _build.digest(paths) == dispatch.build_info()["digest"]


def test_show_config_names_everything_that_a_report_needs(capsys):
    mg.show_config()
    text = capsys.readouterr().out
    for word in ("minigrad", "instruction sets", "compiler", "OpenMP", "threads", "BLAS",
                 "allocator"):  # fmt: skip
        assert word in text


def test_python_dash_m_minigrad_prints_the_same():
    run = subprocess.run(
        [sys.executable, "-m", "minigrad"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "instruction sets" in run.stdout


@pytest.mark.parametrize("isa", dispatch.isas())
def test_every_built_instruction_set_can_be_forced_or_is_refused_in_words(isa):
    run = python("import minigrad; print(minigrad._kernels.dispatch.isa())", MINIGRAD_ISA=isa)
    assert run.returncode >= 0, "killed by a signal"
    if run.returncode == 0:
        assert run.stdout.strip() == isa
    else:
        assert "does not have that instruction set" in run.stderr


def test_an_unknown_instruction_set_is_refused_in_words():
    run = python("import minigrad", MINIGRAD_ISA="z80")
    assert run.returncode == 1 and "built are" in run.stderr


def test_importing_does_not_change_how_the_process_computes():
    code = (
        "import numpy as np, minigrad as mg\n"
        "x = np.float32(1e-40)\n"
        "a = mg.randn(64, 64, requires_grad=True); (a @ a).sum().backward()\n"
        "assert x * np.float32(0.5) > 0, 'denormals are flushed outside kernels'\n"
        "assert 1.0 + 2.0**-53 == 1.0"
    )
    run = python(code)
    assert run.returncode == 0, run.stderr


def test_importing_does_not_load_what_only_some_need():
    heavy = ("matplotlib", "PIL", "tqdm", "safetensors", "threadpoolctl", "urllib.request", "zoo")
    run = python(f"import sys, minigrad; print([m for m in {heavy!r} if m in sys.modules])")
    assert run.stdout.strip() == "[]", run.stderr


def test_public_names_exist_and_are_documented():
    for name in mg.__all__:
        thing = getattr(mg, name)
        assert callable(thing) or isinstance(thing, str) or hasattr(thing, "__doc__")
    assert np.dtype(np.float32) == mg.zeros(1).dtype
