"""A shell's words for the kernel's limits of each process. They count from there on, for all that come of it."""

from tidemill.core.execution import Limits

BLOCK = 512  # of `ulimit -f`, in a shell that keeps to POSIX
KIB = 1024
REFUSED = 125


def words(limits: Limits, *, processes: bool) -> str:
    """Commands joined by `&&`: processor time, data, files, descriptors, no core, no locked memory.

    Args:
        limits: what one run may use.
        processes: whether processes and threads are bounded, too; the kernel counts them by user and user namespace.
    """
    wanted = [
        f"ulimit -St {limits.cpu_seconds}",  # a signal that tells why; the second kills
        f"ulimit -Ht {limits.cpu_seconds + 1}",
        f"ulimit -d {-(-limits.memory_bytes // KIB)}",
        f"ulimit -f {-(-limits.files_bytes // BLOCK)}",
        f"ulimit -n {limits.open_files}",
        "ulimit -c 0",
        "ulimit -l 0",
    ]
    if processes:  # bash has another letter for it than all others
        wanted.append(f"{{ ulimit -p {limits.processes} 2>/dev/null || ulimit -u {limits.processes}; }}")
    return " && ".join(wanted)
