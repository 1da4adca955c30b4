"""Design: faults in gradient rules, and in the tape that plays them."""

from tests.sabotage.fault import Fault, faults_in

REGISTRY = "tests/registry/test_every_op.py tests/registry/test_every_layout.py"
TAPE = (
    "tests/test_tape_promises.py tests/test_tape.py tests/test_inplace.py tests/test_autograd.py "
    "tests/test_tensor.py tests/registry"
)


def rule(file: str, also: str, rows: list[tuple[str, str, str]]) -> list[Fault]:
    return faults_in(f"minigrad/ops/{file}.py", f"tests/ops/{also}.py {REGISTRY}", rows)


RULES = [
    *rule("elementwise", "test_elementwise", [
        ("quotient-sign", "return -(gz * out) / y", "return (gz * out) / y"),
        ("power-off-by-one", "(y * base ** (y - 1.0))", "(y * base**y)"),
        ("root-factor", "return gz / (2.0 * out)", "return gz / out"),
    ]),
    *rule("activations", "test_elementwise", [
        ("tanh-square-missing", "return gz * (1.0 - z * z)", "return gz * (1.0 - z)"),
        ("tanh-grad-without-the-two", "return gx * (gz * z) * -2.0", "return gx * (gz * z) * -1.0"),
        ("leaky-slope-above", "return where(x > 0, gz, gz * negative_slope)", "return gz"),
    ]),
    *rule("select", "test_elementwise", [
        ("tie-to-the-first",
         "return where(x < y, 0.0, where(x == y, 0.5 * gz, gz))", "return where(x < y, 0.0, gz)"),
        ("clip-closed-at-its-bounds",
         "gz = where(x < min, 0.0, gz)", "gz = where(x <= min, 0.0, gz)"),
    ]),
    *rule("reduce", "test_reduce", [
        ("variance-gradient-by-n",
         "(2.0 / freedom(x.shape, axis, correction))", "(2.0 / count(x.shape, axis))"),
        ("mean-gradient-of-a-sum", "/ (count(x_shape, axis) or 1)", "* 1.0"),
        ("running-sum-not-turned",
         "flip(cumsum(flip(gz, axis=along), axis=along), axis=along)", "cumsum(gz, axis=along)"),
    ]),
    *rule("extremes", "test_reduce", [
        ("ties-not-shared",
         "return hits / np.sum(hits, axis=axes, keepdims=True, dtype=x.dtype)",
         "return hits.astype(x.dtype)"),
    ]),
    *rule("index", "test_index", [
        ("repeated-index-overwrites", "np.add.at(z, index, y)", "z[index] = y"),
        ("overwritten-values-get-gradients",
         "gv = where(survivors(gz.shape, index, gv.shape), gv, 0.0)", "gv = gv * 1.0"),
    ]),
    *rule("conv_join", "test_conv_join", [
        ("all-branches-in-one-place", "out=z[:, start : start + len(w)]", "out=z[:, : len(w)]"),
        ("branches-gradients-not-masked", "relu_grad(gz[part], out[part])", "1.0 * gz[part]"),
    ]),
    *rule("join", "test_shape", [
        ("parts-start-at-zero", "for shape in xs_shape[:i])", "for shape in xs_shape[:0])"),
    ]),
    *rule("linear", "test_linear", [
        ("stacked-gradients-not-summed",
         "return sum_to(gx, shape=x2).reshape(x_shape)", "return gx.reshape(x_shape)"),
        ("gradient-of-a-cut-sum", "gz = relu_grad(gy, out)", "gz = gy * 1.0"),
        ("bias-before-the-relu",
         "y = gemm.linear(x2, w, b, relu=rectify)",
         "y = gemm.linear(x2, w, None, relu=rectify) + (0 if b is None else b)"),
    ]),
    *rule("shape", "test_shape", [
        ("leading-axes-not-summed",
         "x = np.sum(x, axis=(*range(extra), *axes), keepdims=True)",
         "x = np.sum(x, axis=tuple(axes), keepdims=True)[(0,) * extra]"),
    ]),
    *rule("conv_transpose", "test_conv", [
        ("transposed-weight-gradient-halved",
         "            x, gy, w_shape=w_shape,", "            x, gy * 0.5, w_shape=w_shape,"),
    ]),
    *rule("norm", "test_norm", [
        ("second-order-eps-outside",
         "_affine(d / sqrt(var + float(eps)),", "_affine(d / (sqrt(var) + float(eps)),"),
    ]),
    *rule("norm_local", "test_norm", [
        ("variance-term-missing",
         "rstd * (gxhat - along_mean - xhat * along_xhat)", "rstd * (gxhat - along_mean)"),
    ]),
    *rule("loss", "test_loss", [
        ("softmax-without-its-weights",
         "(gp * out).sum(axis=axis, keepdims=True)", "gp.sum(axis=axis, keepdims=True)"),
        ("second-order-sign",
         "return -(v * exp(y)) * gy.sum", "return (v * exp(y)) * gy.sum"),
        ("composite-forgets-smoothing",
         "rows[counted, y[counted]] += 1 - label_smoothing", "rows[counted, y[counted]] += 1"),
    ]),
    *rule("random", "test_random", [
        ("mask-not-scaled",
         "z = np.asarray(mul(x, 1.0 / (1.0 - p)))", "z = np.asarray(mul(x, 1.0))"),
        ("mask-drawn-by-number-not-channel",
         "channels = x.shape[:2] + (1,) * (x.ndim - 2)", "channels = x.shape"),
        ("bits-in-the-order-of-the-shape",
         "images = shape if channels_last else None", "images = None"),
    ]),
]  # fmt: skip

SWEEP = [
    *faults_in("src/sweep.pyx", TAPE, [
        ("parents-before-children", "return (x < y) - (x > y);", "return (x > y) - (x < y);"),
        ("second-path-overwrites",
         "node.slot = self.added(old, g)", "node.slot = g"),
        ("sum-written-into-a-shared-gradient",
         "if self.create_graph or not (sweep_refs(<PyObject *>old) <= 1 and owned(old)):",
         "if self.create_graph:"),
        ("leaves-share-a-gradient",
         "if not (sweep_refs(<PyObject *>g) <= 1 and owned(g)):", "if False:"),
        ("changed-arrays-not-noticed", "if mutations() > node.serial:", "if False:"),
        ("second-backward-overwrites-the-leaf",
         "above.accumulate(node.grad.data, g)", "node.grad.data[...] = g"),
        ("gradient-change-not-announced",
         "        mutated(node.grad.data)\n    return 0", "    return 0"),
        ("played-graph-kept",
         "node.kept, node.parents, node.played = None, (), True", "node.played = True"),
        ("recording-left-on",
         "before = set_recording(create_graph)", "before = set_recording(True)"),
    ]),
    *faults_in("src/record.pyx", TAPE, [
        ("plans-of-another-count", "if n <= 30 and not rule.variadic else", "if n <= 30 else"),
        ("users-array-not-copied", 'arrays[i] = x.copy("K")', "arrays[i] = x"),
        ("every-input-needs-a-gradient",
         "if records and rule.differentiable[0 if rule.variadic else i]:", "if records:"),
        ("no-grad-records",
         "needed = False, records = recording()", "needed = False, records = True"),
        ("kept-operands-exchanged",
         "value = x if plan.places[k] == 0 else y", "value = y if plan.places[k] == 0 else x"),
        ("stale-views-not-noticed", "if tracked_changes() > parent.born:", "if False:"),
    ]),
    *faults_in("minigrad/reference/tape.py", "tests/registry/test_reference_tape.py", [
        ("python-tape-plays-backwards",
         "key=lambda node: node.serial, reverse=True)", "key=lambda node: node.serial)"),
    ]),
    *faults_in("minigrad/versions.py", TAPE, [
        ("a-view-is-its-own-owner",
         "while isinstance(array.base, np.ndarray):", "while False:"),
    ]),
    *faults_in("minigrad/checkpointing.py", "tests/test_autograd.py tests/test_functional.py", [
        ("random-state-not-restored", "generator.set_state(self.random_state)", "pass"),
    ]),
]  # fmt: skip

FAULTS = [*RULES, *SWEEP]
