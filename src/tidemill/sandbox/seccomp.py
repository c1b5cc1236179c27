"""Filters of system calls that sandboxes add: what a program never needs, and kernels have had holes in.

The program is classic BPF over `struct seccomp_data` (linux/seccomp.h): the number of the call at offset 0, the
architecture at 4, and the low word of the first argument at 16.
"""

import errno
import platform
import struct

LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
JUMP_GREATER_OR_EQUAL = 0x35  # BPF_JMP | BPF_JGE | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

KILL = 0x80000000
REFUSE = 0x00050000  # and the errno in the low bits
ALLOW = 0x7FFF0000

X32 = 0x40000000
AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Numbers of arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
REFUSED = {
    "x86_64": {
        "ptrace": 101, "syslog": 103, "personality": 135, "pivot_root": 155, "chroot": 161, "acct": 163, "mount": 165,
        "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169, "init_module": 175, "delete_module": 176,
        "quotactl": 179, "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "migrate_pages": 256,
        "unshare": 272, "move_pages": 279, "perf_event_open": 298, "name_to_handle_at": 303,
        "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
        "finit_module": 313, "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425,
        "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429, "fsopen": 430,
        "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442,
    },
    "aarch64": {
        "umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51, "quotactl": 60, "acct": 89, "personality": 92,
        "unshare": 97, "kexec_load": 104, "init_module": 105, "delete_module": 106, "syslog": 116, "ptrace": 117,
        "reboot": 142, "add_key": 217, "request_key": 218, "keyctl": 219, "swapon": 224, "swapoff": 225,
        "migrate_pages": 238, "move_pages": 239, "perf_event_open": 241, "name_to_handle_at": 264,
        "open_by_handle_at": 265, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
        "finit_module": 273, "bpf": 280, "userfaultfd": 282, "kexec_file_load": 294, "io_uring_setup": 425,
        "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429, "fsopen": 430,
        "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442,
    },
}  # fmt: skip
SOCKET = {"x86_64": 41, "aarch64": 198}
# Calls that act on any process of the same user, by their first argument: 0 is who calls.
ON_OTHERS = {
    "x86_64": {"sched_setparam": 142, "sched_setscheduler": 144, "sched_setaffinity": 203, "prlimit64": 302,
               "sched_setattr": 314},
    "aarch64": {"sched_setparam": 118, "sched_setscheduler": 119, "sched_setaffinity": 122, "prlimit64": 261,
                "sched_setattr": 274},
}  # fmt: skip
# Those say in the first argument what the second means.
ON_MANY = {"x86_64": {"setpriority": 141, "ioprio_set": 251}, "aarch64": {"setpriority": 140, "ioprio_set": 30}}


def machine_filter(machine: str | None = None) -> bytes | None:
    """The filter for this processor, as an array of `struct sock_filter`; `None` where it is not known here."""
    machine = machine or platform.machine()
    if machine not in AUDIT_ARCH:
        return None
    refuse = REFUSE | errno.EPERM
    program = _start(machine)
    for number in REFUSED[machine].values():
        program += [_step(JUMP_EQUAL, number, 0, 1), _step(RETURN, refuse)]
    # Sockets of other families, such as those to the host of a virtual machine, know no network namespace.
    program += [
        _step(JUMP_EQUAL, SOCKET[machine], 0, 5),
        _step(LOAD_WORD, 16),
        _step(JUMP_EQUAL, AF_UNIX, 3, 0),
        _step(JUMP_EQUAL, AF_INET, 2, 0),
        _step(JUMP_EQUAL, AF_INET6, 1, 0),
        _step(RETURN, refuse),
        _step(RETURN, ALLOW),
    ]
    return b"".join(program)


def supervisor_filter(machine: str | None = None) -> bytes | None:
    """As `machine_filter`, for the process that confines programs, and so for them: what Landlock leaves to them.

    They make no socket, since those of files and of other families are not Landlock's; and they change no limit,
    priority or processor of another process, which the kernel allows among processes of one user.
    """
    machine = machine or platform.machine()
    if machine not in AUDIT_ARCH:
        return None
    refuse = REFUSE | errno.EPERM
    program = [*_start(machine), _step(JUMP_EQUAL, SOCKET[machine], 0, 1), _step(RETURN, refuse)]
    for number in ON_MANY[machine].values():
        program += [_step(JUMP_EQUAL, number, 0, 1), _step(RETURN, refuse)]
    for number in ON_OTHERS[machine].values():
        program += [
            _step(JUMP_EQUAL, number, 0, 4),
            _step(LOAD_WORD, 16),
            _step(JUMP_EQUAL, 0, 1, 0),
            _step(RETURN, refuse),
            _step(RETURN, ALLOW),
        ]
    return b"".join([*program, _step(RETURN, ALLOW)])


def _start(machine: str) -> list[bytes]:
    program = [
        _step(LOAD_WORD, 4),
        _step(JUMP_EQUAL, AUDIT_ARCH[machine], 1, 0),
        _step(RETURN, KILL),
        _step(LOAD_WORD, 0),
    ]
    if machine == "x86_64":
        program += [_step(JUMP_GREATER_OR_EQUAL, X32, 0, 1), _step(RETURN, REFUSE | errno.EPERM)]
    return program


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
