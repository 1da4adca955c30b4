"""The compiled kernels.

Design: each module here is one ``src/kernels/*.pyx`` file, which says what runs in parallel; the C
under ``src/simd`` says how one block is computed.  Kernels take and return NumPy arrays and know no
Tensor.  Their slow, readable twins are in ``minigrad.reference``.
"""
