"""The house rules that a machine can check: floors, sizes, pages of ops, reading order, flags."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import minigrad.ops  # fills the registry
from minigrad.op import registry

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sorted([*ROOT.glob("minigrad/**/*.py"), *ROOT.glob("zoo/**/*.py")])
COMPILED = sorted([*ROOT.glob("src/**/*.pyx"), *ROOT.glob("src/**/*.c"), *ROOT.glob("src/**/*.h")])
TESTS = sorted([*ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/**/*.py")])


def name_of(path):
    return path.relative_to(ROOT).as_posix()


# -- floors ---------------------------------------------------------------------------------------

# From the ground up; a module may import from its own floor and from lower ones.
FLOORS = [
    ["minigrad.errors", "minigrad._version"],
    ["minigrad._kernels"],
    ["minigrad.versions", "minigrad._tape", "minigrad._record", "minigrad._sweep",
     "minigrad.reference",
     "minigrad._threads", "minigrad._config", "minigrad._build"],
    ["minigrad._engine", "minigrad.spec", "minigrad.op"],
    ["minigrad.ops"],
    ["minigrad.methods", "minigrad.inplace", "minigrad.tensor", "minigrad.creation",
     "minigrad.protocols"],
    ["minigrad.autograd", "minigrad.checkpointing", "minigrad.anomaly", "minigrad.functional"],
    ["minigrad.nn", "minigrad.optim", "minigrad.data", "minigrad.io", "minigrad.gradcheck",
     "minigrad.show"],
    ["minigrad"],
    ["zoo"],
]  # fmt: skip


def floor_of(module):
    best = max(
        (
            (len(prefix), level)
            for level, names in enumerate(FLOORS)
            for prefix in names
            if module == prefix or module.startswith(prefix + ".")
        ),
        default=None,
    )
    return None if best is None else best[1]


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] in ("__init__", "__main__") else parts)


def top_level_imports(path):
    """Full names of what a file imports from minigrad and zoo (also inside functions)."""
    module = module_of(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text())
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in typing_only and path.name != "_engine.py":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, base] if base else parent)
            if base in ("minigrad", "minigrad._kernels", "minigrad.ops"):
                yield from (f"{base}.{alias.name}" for alias in node.names)
            else:
                yield base


# show_config and the memory view look down at kernels; `tensor` asks `protocols`, on its own floor
@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_no_file_imports_from_a_higher_floor(path):
    here = floor_of(module_of(path))
    if module_of(path) == "minigrad":
        return
    for target in top_level_imports(path):
        if target.split(".")[0] not in ("minigrad", "zoo"):
            continue
        there = floor_of(target)
        if target.startswith("minigrad.") and there == floor_of("minigrad"):
            there = 8 if here >= 8 else there  # a public name, for those who live above
        assert there is not None and there <= here, f"{name_of(path)} imports {target}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("zoo/**/*.py")), ids=name_of)
def test_the_zoo_imports_only_public_names(path):
    for target in top_level_imports(path):
        if target.startswith("minigrad"):
            assert not any(part.startswith("_") for part in target.split(".")), target


@pytest.mark.parametrize("path", sorted(ROOT.glob("src/kernels/*.pyx")), ids=name_of)
def test_kernels_know_no_tensor(path):
    text = path.read_text()
    assert not re.search(r"^\s*(from|import|cimport).*minigrad\.(tensor|op|_tape|ops)", text, re.M)


# -- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PYTHON, *COMPILED, *TESTS], ids=name_of)
def test_a_file_fits_a_sitting_and_a_line_fits_the_page(path):
    lines = path.read_text().splitlines()
    limit = 450 if path.suffix in (".pyx", ".c", ".h") or path in TESTS else 340
    assert len(lines) <= limit, f"{len(lines)} lines"
    long = [i + 1 for i, line in enumerate(lines) if len(line) > 100]
    assert not long, f"lines over 100 columns: {long[:5]}"


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_a_function_fits_a_screen(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = (node.end_lineno - body[0].lineno + 1) if body else 0
            assert length <= 45, f"{node.name}: {length} lines"


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_a_file_opens_with_its_design(path):
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert text, "no module docstring"


@pytest.mark.parametrize("path", [*PYTHON, *COMPILED, *TESTS], ids=name_of)
def test_no_leftovers(path):
    if path.name == "test_house.py":
        return
    text = path.read_text()
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", text)
    assert "import *" not in text
    if path.suffix == ".py" and path not in TESTS:
        assert not re.search(r"^\s*(exec|eval)\(", text, re.M)


# -- pages of ops ---------------------------------------------------------------------------------

SECTIONS = ["Shapes", "Forward", "Backward", "Keeps", "Example"]


@pytest.mark.parametrize("name", sorted(registry))
def test_an_op_is_a_page_in_the_agreed_order(name):
    op = registry[name]
    page = inspect.getdoc(op)
    assert page and not page.startswith(op.__name__ + "("), "no page"
    at = [re.search(rf"^{section}\b", page, re.M) for section in SECTIONS]
    missing = [s for s, found in zip(SECTIONS, at, strict=True) if found is None]
    assert not missing, f"sections missing: {missing}"
    order = [found.start() for found in at]
    assert order == sorted(order), "sections out of order"
    if any(op.spec.differentiable):
        assert "because" in page, "Backward does not say why"
    assert ">>>" in page, "no example that runs"
    source = inspect.getsource(op)
    assert len(source.splitlines()) <= 62, "longer than a screen and a half"


def test_the_registry_holds_what_the_issue_of_ops_lists():
    wanted = """add sub mul div neg pow exp log sqrt abs sign sin cos tanh sigmoid relu leaky_relu
    elu gelu softplus maximum minimum where clip sum mean var std max min prod logsumexp cumsum norm
    reshape flatten transpose swapaxes expand_dims squeeze broadcast_to getitem setitem
    concat stack pad flip roll repeat matmul linear einsum tensordot outer conv2d conv_transpose2d
    max_pool2d avg_pool2d adaptive_avg_pool2d global_avg_pool2d batch_norm local_response_norm
    layer_norm group_norm dropout dropout2d log_softmax softmax cross_entropy nll_loss mse_loss
    l1_loss smooth_l1_loss binary_cross_entropy_with_logits astype""".split()  # noqa: SIM905
    assert not [name for name in wanted if name not in registry]
    assert callable(minigrad.ops.split) and callable(minigrad.ops.permute)


# -- the build ------------------------------------------------------------------------------------


def test_no_flag_changes_what_arithmetic_means():
    text = (ROOT / "setup.py").read_text()
    code = re.sub(r"#.*", "", text)
    for flag in ("-ffast-math", "-Ofast", "-funsafe", "-march=native"):
        assert flag not in code


def test_only_vec_h_and_the_chooser_name_an_instruction_set():
    allowed = {"vec.h", "choose.c"}
    for path in ROOT.glob("src/simd/*"):
        if path.name not in allowed:
            code = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
            assert not re.search(r"__AVX|__SSE|__ARM|_mm\d*_|immintrin", code), path.name


# -- reading order --------------------------------------------------------------------------------

ROW = re.compile(r"^\| `([^`]+)` \| (\d+) \|", re.M)


def test_the_readme_reading_order_is_true():
    rows = ROW.findall((ROOT / "README.md").read_text())
    assert len(rows) >= 8
    for name, lines in rows:
        actual = len((ROOT / name).read_text().splitlines())
        assert abs(actual - int(lines)) <= 0.1 * actual, f"{name} has {actual} lines, not {lines}"


def test_no_file_of_the_reading_order_imports_one_that_comes_later():
    names = [n for n, _ in ROW.findall((ROOT / "README.md").read_text()) if n.endswith(".py")]
    modules = [module_of(ROOT / n) for n in names]
    for i, name in enumerate(names):
        imported = set(top_level_imports(ROOT / name))
        for later in modules[i + 1 :]:
            assert later not in imported, f"{name} imports {later}, which is read later"
