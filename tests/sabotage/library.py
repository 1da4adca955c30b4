"""Design: faults above the ops: layers, optimizers, schedules, data, files; gradcheck itself."""

from tests.sabotage.fault import faults_in

LOADER = "tests/data/test_loader.py tests/data/test_loader_tensors.py"
CHECK = "tests/test_gradcheck.py"

FAULTS = [
    *faults_in("minigrad/functional/normalization.py",
               "tests/nn/test_norm.py tests/test_functional.py", [
        ("running-variance-biased", "return var * (count / (count - 1))", "return var"),
        ("momentum-of-the-old", "old *= 1 - momentum", "old *= momentum"),
    ]),
    *faults_in("minigrad/nn/norm.py", "tests/nn/test_norm.py", [
        ("plain-average-of-one-batch-less", "return 1.0 / (1 + int(", "return 1.0 / (2 + int("),
        ("evaluation-uses-the-batch",
         "if not self.training and self.running_mean is not None:", "if False:"),
    ]),
    *faults_in("minigrad/nn/utils.py", "tests/nn/test_utils.py", [
        ("small-gradients-scaled-up", "if not factor >= 1.0:", "if True:"),
    ]),
    *faults_in("minigrad/nn/branches.py", "tests/nn/test_branches.py", [
        ("hooks-of-the-last-layers-sleep", "    if watched:\n        return None\n", ""),
        ("batches-statistics-are-known", "or norm.training", "or False"),
    ]),
    *faults_in("minigrad/nn/fixed.py", "tests/nn/test_fixed.py", [
        ("fixed-weights-stay-writable", "array.flags.writeable = False", "pass"),
        ("all-weights-writable-after", "if _writable.pop(id(array)):", "if True:"),
    ]),
    *faults_in("minigrad/nn/init.py", "tests/nn/test_init.py", [
        ("fan-in-for-fan-out",
         'fan = fans(t)[mode == "fan_out"]', 'fan = fans(t)[mode == "fan_in"]'),
    ]),
    *faults_in("minigrad/optim/rules.py", "tests/optim/test_rules.py", [
        ("first-step-dampened",
         'dampening=0.0 if begins else group["dampening"]', 'dampening=group["dampening"]'),
        ("adam-forgets-its-age", 'own["step"] += 1', 'own["step"] = 1'),
    ]),
    *faults_in("minigrad/optim/one_cycle.py", "tests/optim/test_schedules.py", [
        ("cosine-of-half-the-way",
         "math.cos(math.pi * reached)", "math.cos(math.pi / 2 * reached)"),
    ]),
    *faults_in("minigrad/data/loader.py", LOADER, [
        ("all-batches-draw-alike",
         "_stream(job.seed, job.epoch, 1 + job.number)", "_stream(job.seed, job.epoch, 1)"),
        ("all-epochs-in-one-order", "_stream(seed, epoch, ORDER)", "_stream(seed, 0, ORDER)"),
        ("batches-overlap-by-one",
         "order[k * size : (k + 1) * size]", "order[k * size : (k + 1) * size + 1]"),
        ("resumed-a-batch-early",
         "for done, batch in enumerate(batches, start + 1):",
         "for done, batch in enumerate(batches, start):"),
        ("last-batch-always-dropped",
         "return n // self.batch_size if self.drop_last else -(-n // self.batch_size)",
         "return n // self.batch_size"),
        ("workers-out-of-order", "waiting.popleft().result()", "waiting.pop().result()"),
    ]),
    *faults_in("minigrad/io/checkpoint.py", "tests/io/test_checkpoint.py", [
        ("digest-not-compared",
         "if (found := digest(array)) != digests[name]:",
         "if (found := digest(array)) != found:"),
    ]),
    *faults_in("minigrad/io/atomic.py", "tests/io/test_atomic.py", [
        ("file-not-forced-to-disk", "os.fsync(file.fileno())", "pass"),
        ("temporary-file-left-behind",
         "with contextlib.suppress(OSError):\n            os.unlink(temporary)\n        raise",
         "raise"),
    ]),
    *faults_in("minigrad/gradcheck.py", CHECK, [
        ("verdict-is-always-yes", "not worst.error <= 1:", "not worst.error <= 1e9:"),
        ("tolerance-is-absolute",
         "tol * scale * float(np.linalg.norm(ju)) + floor", "1e-6 + floor"),
        ("kinks-not-noticed", "if bend > 1e3 * noise:", "if bend > 1e9:"),
        ("elements-not-probed", "for place in elements(rng, target.shape, limit):",
         "for place in []:"),
    ]),
]  # fmt: skip
