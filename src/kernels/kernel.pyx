# cython: language_level=3
"""A compiled function of one or two operands, in the form in which the tape can call it.

Design. An op may name a compiled twin of its forward (`class Mul(Op, kernel=elementwise.mul)`). The
tape must reach it without a Python call, and must not know which kernels exist; so the twin is an
object that carries C function pointers. The pointer answers None when the operands are not what it
was written for (other dtypes, shapes that differ, memory that is not dense): never a wrong result,
never an error. The op's own `forward` then runs; it stays the definition.

Not here: any kernel. Those are made in `elementwise.pyx`, the next file to read.
"""


cdef class Kernel:
    """A compiled twin of an op's forward. `kernel(x)` or `kernel(x, y)`; None means "not mine".

    Fields  name: the op's name
    Raises  TypeError when called with a number of operands that the kernel has no form for
    """

    def __call__(self, x, y=None):
        if y is None:
            if self.call1 == NULL:
                raise TypeError(f"{self.name}: this kernel takes two operands")
            return self.call1(self, x)
        if self.call2 == NULL:
            raise TypeError(f"{self.name}: this kernel takes one operand")
        return self.call2(self, x, y)

    def __repr__(self):
        return f"<kernel {self.name}>"
