"""Design: the specification of every kernel, in NumPy, slow and plain.

Each function here has the name and the arguments of its compiled twin in `minigrad._kernels` and
says by loops over the definition what that twin must compute. The tests hold the twin to it. The
functions are complex-safe: comparisons look at real parts and nothing is conjugated, so that a
derivative can be taken by the complex step `imag f(x + ihu) / h`, which is exact to rounding.

There is deliberately no speed here and no import of the rest of minigrad: an oracle that shared
code with what it judges would share its faults. `tape.py` is the same idea for the engine.

Where to go next: `conv.py` (the three passes of a convolution), then `pool.py`.
"""
