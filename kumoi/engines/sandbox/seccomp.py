"""The system calls that a task may not make, as a classic BPF program for `bwrap --seccomp`.

A batch job never needs them, and they have been the ways out of sandboxes: mounts and namespaces, other
processes' memory, keys, kernel programs and modules, raw handles, rare socket families. Everything else is
allowed; calls of another architecture kill. libseccomp makes the program; it is loaded in a process of
its own, which prints the program, so that the plane neither waits for it nor carries it.
"""

import errno
import os
import sys

import pyseccomp  # type: ignore[import-untyped]

_CLONE_NAMESPACES = (
    0x00020000,  # mount
    0x02000000,  # cgroup
    0x04000000,  # uts
    0x08000000,  # ipc
    0x10000000,  # user
    0x20000000,  # pid
    0x40000000,  # net
)
_TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX: type on somebody else's terminal
_SOCKET_FAMILIES = (0, 1, 2, 10, 16)  # unspecified, unix, inet, inet6, netlink
_SOCKET_FAMILY_MAX = 16

NOT_PERMITTED = (
    *("mount", "umount", "umount2", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick"),
    *("mount_setattr", "open_tree_attr", "pivot_root", "chroot", "unshare", "setns"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "process_madvise"),
    *("keyctl", "add_key", "request_key", "bpf", "perf_event_open", "userfaultfd", "lookup_dcookie"),
    *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "create_module"),
    *("query_module", "get_kernel_syms", "uselib", "ustat", "sysfs", "_sysctl", "nfsservctl", "vhangup"),
    *("acct", "quotactl", "quotactl_fd", "swapon", "swapoff", "reboot", "sethostname", "setdomainname"),
    *("settimeofday", "clock_settime", "stime", "syslog", "iopl", "ioperm", "vm86", "vm86old"),
    *("modify_ldt", "open_by_handle_at", "name_to_handle_at", "fanotify_init", "remap_file_pages"),
)
NOT_THERE = ("io_uring_setup", "io_uring_enter", "io_uring_register", "clone3", "memfd_secret")
_UNKNOWN = -1
_NEWER_THAN_LIBRARY = {"open_tree_attr": 467}  # the same number on every architecture


def seccomp_program() -> bytes:
    """The BPF program for this machine. OSError if libseccomp cannot make it."""
    filter_ = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    filter_.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
    filter_.set_attr(pyseccomp.Attr.CTL_OPTIMIZE, 2)
    refuse = pyseccomp.ERRNO(errno.EPERM)
    for name in NOT_PERMITTED:
        _deny(filter_, refuse, name)
    for name in NOT_THERE:
        _deny(filter_, pyseccomp.ERRNO(errno.ENOSYS), name)
    for flag in _CLONE_NAMESPACES:
        _deny(filter_, refuse, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    for request in _TERMINAL_INPUT:
        _deny(filter_, refuse, "ioctl", pyseccomp.Arg(1, pyseccomp.MASKED_EQ, 0xFFFFFFFF, request))
    rare = pyseccomp.ERRNO(errno.EAFNOSUPPORT)
    for family in range(_SOCKET_FAMILY_MAX):
        if family not in _SOCKET_FAMILIES:
            _deny(filter_, rare, "socket", pyseccomp.Arg(0, pyseccomp.EQ, family))
    _deny(filter_, rare, "socket", pyseccomp.Arg(0, pyseccomp.GT, _SOCKET_FAMILY_MAX))
    with os.fdopen(os.memfd_create("seccomp", os.MFD_CLOEXEC), "w+b") as memory:
        filter_.export_bpf(memory)
        memory.seek(0)
        return memory.read()


def _deny(filter_: pyseccomp.SyscallFilter, action: int, name: str, *when: pyseccomp.Arg) -> None:
    """Add one rule; a call that this library does not know yet or this machine never had has no rule."""
    number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    if number == _UNKNOWN:
        number = _NEWER_THAN_LIBRARY.get(name, _UNKNOWN)
    if number >= 0:
        filter_.add_rule(action, number, *when)


def main() -> None:
    """Print the program."""
    sys.stdout.buffer.write(seccomp_program())
