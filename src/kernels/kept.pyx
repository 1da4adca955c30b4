# cython: language_level=3, boundscheck=False, wraparound=False
"""Packed weights that are kept from call to call.

Design. A kernel packs its weights into the order in which it reads them, on every call: whether
they changed since the last one cannot be seen. While somebody vouches that an array does not change
(`hold`, `release`: `minigrad/nn/fixed.py`), what is packed from it is kept in the array's *memo*,

    memo[kind] = (key, packed)

one entry for each kind of packing, so a weight is kept at most once a kind; `key` is all that the
packing depends on besides the numbers, and another key takes the entry's place. A kernel writes its
entry when it has packed all, and holds on to what it reads: threads that pack the same weight at
the same time do so twice, into memory of their own.

An array is known by its identity, not by its address: a copy or a view of it has no memo.
"""
cimport numpy as cnp
from numpy cimport ndarray

from minigrad._kernels.memory cimport empty
from minigrad._kernels.tasks cimport run_tasks

cnp.import_array()

cdef dict held = {}                  # id: (array, times, memo)


def hold(array):
    """Keep what is packed from `array`, which must not change until as many calls of `release`."""
    _, times, memo = held.get(id(array), (array, 0, {}))
    held[id(array)] = array, times + 1, memo


def release(array):
    """Undo one `hold`. Returns whether it was the last; then what was kept is free."""
    _, times, memo = held.pop(id(array))
    if times > 1:
        held[id(array)] = array, times - 1, memo
    return times == 1


def is_held(array):
    """Whether what is packed from `array` is kept now."""
    return id(array) in held


def kept_bytes():
    """Bytes of all packed weights that are kept."""
    return sum([packed.nbytes for _, _, memo in list(held.values())
                for _, packed in list(memo.values())])


cdef dict memo_of(ndarray weight):
    if not held:
        return None
    entry = held.get(id(weight))
    return None if entry is None else entry[2]


cdef ndarray pack_once(dict memo, object kind, tuple key, Py_ssize_t nbytes, void **packed,
                       task_kernel *pack, const void *plan, Py_ssize_t tasks, double flop,
                       int threads):
    cdef ndarray room
    entry = None if memo is None else memo.get(kind)
    if entry is not None and entry[0] == key:
        room = entry[1]
        packed[0] = cnp.PyArray_DATA(room)
        return room
    room = empty(1, &nbytes, cnp.NPY_UBYTE, False)
    packed[0] = cnp.PyArray_DATA(room)
    run_tasks(pack, plan, tasks, flop, NULL, 0, threads)
    if memo is not None:
        memo[kind] = key, room
    return room
