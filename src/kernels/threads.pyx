# cython: language_level=3
"""How many threads a kernel may use: the one module that asks OpenMP.

Design. OpenMP keeps one number per thread of the program: how many threads a parallel region that
starts there gets. `OMP_NUM_THREADS` is its first value, threadpoolctl changes it from outside, and
so do we; nothing else is kept beside it, so whoever spoke last is obeyed. What `set_num_threads`
says must reach every Python thread: each call makes a new wish, and a thread that has not heard of
the newest wish adopts it when it next asks for a team. `set_own_num_threads` speaks for the calling
thread alone.

After fork() in a process that had used threads, a parallel region in the child would wait for ever
for threads that no longer exist. The child then always gets a team of one.

After a parallel region the threads of a team wait actively for a while, some milliseconds with
gcc's OpenMP. Work that is too little to wake a sleeping team is worth one that was handed out less
than AWAKE nanoseconds ago: the small products of a training step are shared, a lone one is not.

Absent on purpose: the number of threads never decides how work is cut (kernels cut it by shapes
alone), so it never changes a result. Without OpenMP every team is one.
"""
import os
import warnings

from minigrad.errors import ArgError

from cpython.exc cimport PyErr_CheckSignals

cdef extern from *:
    """
    #ifdef MINIGRAD_OPENMP
    #include <omp.h>
    #define OPENMP_DATE _OPENMP
    #else
    #define OPENMP_DATE 0
    static int omp_get_max_threads(void) { return 1; }
    static int omp_in_parallel(void) { return 0; }
    static void omp_set_num_threads(int n) { (void)n; }
    #endif

    #if defined(_MSC_VER)
    #define THREAD_LOCAL __declspec(thread)
    #define WISH_LOAD() (wish)
    #define WISH_STORE(w) (wish = (w))
    #else
    #define THREAD_LOCAL __thread
    #define WISH_LOAD() __atomic_load_n(&wish, __ATOMIC_ACQUIRE)
    #define WISH_STORE(w) __atomic_store_n(&wish, w, __ATOMIC_RELEASE)
    #endif
    static volatile long long wish = 0;          /* serial of set_num_threads << 16 | number */
    static THREAD_LOCAL long long heard = 0;     /* the wish that this thread has adopted */
    static volatile int used_threads = 0;        /* a team of more than one has been handed out */
    static volatile int serial_child = 0;        /* forked after that */
    static THREAD_LOCAL long long gathered = 0;  /* nanoseconds: when a team was last handed out */

    #ifdef _WIN32
    static void watch_fork(void) {}
    static void gather(void) {}
    static int is_awake(long long nanoseconds) { (void)nanoseconds; return 0; }
    #else
    #include <pthread.h>
    #include <time.h>
    static long long now(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec * 1000000000LL + t.tv_nsec;
    }
    static void gather(void) { gathered = now(); }
    static int is_awake(long long nanoseconds) { return now() - gathered < nanoseconds; }
    static void in_child(void) { serial_child = used_threads; }
    static void watch_fork(void) { pthread_atfork(NULL, NULL, in_child); }
    #endif

    /* The number in force in this thread, after adopting the newest wish. */
    static int current_threads(void) {
        long long newest = WISH_LOAD();
        if (newest != heard) {
            omp_set_num_threads((int)(newest & 0xffff));
            heard = newest;
        }
        return omp_get_max_threads();
    }
    static void wish_for_all(int n) { WISH_STORE((((WISH_LOAD() >> 16) + 1) << 16) | n); }
    """
    const int OPENMP_DATE
    int used_threads, serial_child
    int current_threads() noexcept nogil
    int omp_in_parallel() noexcept nogil
    void omp_set_num_threads(int n) noexcept nogil
    void wish_for_all(int n) noexcept nogil
    void watch_fork() noexcept nogil
    void gather() noexcept nogil
    bint is_awake(long long nanoseconds) noexcept nogil

cdef double WORTH_A_TEAM = 3e6       # flop: about 30 us, the price of waking a sleeping team
cdef double WORTH_ONE_AWAKE = 8e5    # a team that worked just now still spins: it costs 1 or 2 us
cdef long long AWAKE = 0 if os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive" else 1000000
cdef int LARGEST = max(16, 4 * (os.cpu_count() or 1))
watch_fork()


cdef int team(double work) noexcept nogil:
    """Threads for `work` flop-equivalents: 1 when small, nested, forked or without OpenMP."""
    cdef int n
    if work < WORTH_ONE_AWAKE or serial_child or omp_in_parallel():
        return 1
    n = min(current_threads(), LARGEST)
    if n > 1:
        if work < WORTH_A_TEAM and not is_awake(AWAKE):
            return 1
        global used_threads
        used_threads = 1
        gather()
    return n


cdef int check_signals() except -1:
    """Let Ctrl-C in between two slices of a long grid; does nothing outside the main thread."""
    return PyErr_CheckSignals()


cdef int checked(object n) except -1:
    """A number of threads from the user's argument."""
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"the number of threads must be an int, not {type(n).__name__} ({n!r})")
    wanted = n.__index__()
    if wanted < 1:
        raise ArgError(f"the number of threads must be at least 1, not {wanted}")
    if wanted > LARGEST:
        warnings.warn(
            f"{wanted} threads on {os.cpu_count()} processors only wait for each other; "
            f"using {LARGEST}", RuntimeWarning, stacklevel=2)
        wanted = LARGEST
    return wanted


def check(n):
    """`n` as a number of threads; raises what set_num_threads raises."""
    return checked(n)


def get_num_threads():
    """Threads that a large kernel called from this thread would use."""
    return 1 if serial_child else min(current_threads(), LARGEST)


def set_num_threads(n):
    """Use at most `n` threads in kernels, in every thread of this process.

    Raises  TypeError unless n is an int (bool is none), ArgError below 1; warns and takes less when
            n is far more than there are processors. In a child forked from a process that had used
            threads, and without OpenMP, kernels stay serial whatever n is.
    """
    cdef int wanted = checked(n)
    wish_for_all(wanted)
    current_threads()


def set_own_num_threads(n):
    """Like set_num_threads, for kernels called from the calling thread alone."""
    cdef int wanted = checked(n)
    current_threads()                # hear older wishes first: this one is newer
    omp_set_num_threads(wanted)


def info():
    """What `show_config` prints: dict with openmp, version, threads, processors, forked."""
    dates = {201511: "4.5", 201811: "5.0", 202011: "5.1", 202111: "5.2", 201307: "4.0",
             201107: "3.1", 200203: "2.0"}
    return {
        "openmp": OPENMP_DATE != 0,
        "version": dates.get(OPENMP_DATE, str(OPENMP_DATE)) if OPENMP_DATE else None,
        "threads": get_num_threads(),
        "processors": os.cpu_count(),
        "serial_after_fork": bool(serial_child),
    }
