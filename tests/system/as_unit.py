"""Runs a command as a systemd unit would be run, without systemd: as_unit.py UNIT STATE COMMAND...

What of the unit file is carried out: ExecStartPre (with STATE for /var/lib/stagepost), SupplementaryGroups,
CapabilityBoundingSet, NoNewPrivileges, UMask, SystemCallFilter (with
systemd's own lists), RestrictAddressFamilies, MemoryDenyWriteExecute, and ProtectSystem=strict, where
STATE alone can be written to. Needs root.
"""
import ctypes
import errno
import os
import shutil
import socket
import subprocess
import sys

ALLOW, ERRNO_EPERM = 0x7FFF0000, 0x00050000 | errno.EPERM
EQUAL, MASKED_EQUAL = 4, 7
PROT_WRITE, PROT_EXEC = 2, 4
CLONE_NEWNS, MS_RDONLY, MS_BIND, MS_REMOUNT, MS_REC, MS_PRIVATE = (
    0x20000, 1, 4096, 32, 16384, 1 << 18)


def analyzer():
    """(systemd-analyze, its environment), or None: of the system, or unpacked below build/."""
    path = shutil.which("systemd-analyze")
    if path:
        return path, dict(os.environ)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    below = os.path.join(root, "build/systemd/usr")
    path = os.path.join(below, "bin/systemd-analyze")
    if not os.path.exists(path):
        return None
    libraries = [folder for folder, _, names in os.walk(os.path.join(below, "lib"))
                 if any(".so" in n for n in names)]
    return path, dict(os.environ, LD_LIBRARY_PATH=":".join(libraries))


def settings(path):
    """The unit's settings: the words of all lines of each name."""
    out = {}
    with open(path, encoding="utf-8") as f:
        for line in f:
            if "=" in line and not line.startswith(("#", ";")):
                name, value = line.strip().split("=", 1)
                out.setdefault(name, []).append(value.split())
    return out


def calls_of(name):
    """A system call, or all of a group (@name)."""
    if not name.startswith("@"):
        return {name}
    program, env = analyzer()
    text = subprocess.run([program, "--no-pager", "syscall-filter", name], check=True, env=env,
                          capture_output=True, text=True).stdout
    words = [w.strip() for w in text.splitlines() if w.startswith("    ")]
    return set().union(*(calls_of(w) for w in words if w[0] not in "#"))


def allowed_calls(unit):
    allowed = set(calls_of("@default"))
    for words in unit["SystemCallFilter"]:
        deny = words[0].startswith("~")
        calls = set().union(*(calls_of(w.lstrip("~")) for w in words))
        allowed = allowed - calls if deny else allowed | calls
    return allowed


class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64),
                ("b", ctypes.c_uint64)]


def conditions(name, families):
    """For calls that are allowed with some arguments only: each condition that allows."""
    if name == "socket":
        return [Compare(0, EQUAL, family, 0) for family in families]
    both = PROT_WRITE | PROT_EXEC
    if name == "mmap":
        return [Compare(2, MASKED_EQUAL, both, value) for value in (0, PROT_WRITE, PROT_EXEC)]
    if name in ("mprotect", "pkey_mprotect"):
        return [Compare(2, MASKED_EQUAL, PROT_EXEC, 0)]
    return None


def filter_calls(unit):
    lib = ctypes.CDLL("libseccomp.so.2")
    lib.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(lib.seccomp_init(ERRNO_EPERM))
    families = [getattr(socket, name) for name in unit["RestrictAddressFamilies"][0]]
    for name in allowed_calls(unit):
        number = lib.seccomp_syscall_resolve_name(name.encode())
        some = conditions(name, families)
        for one in [None] if some is None else some:
            n, array = (0, None) if one is None else (1, ctypes.byref(one))
            lib.seccomp_rule_add_array(context, ALLOW, number, n, array)
    if lib.seccomp_load(context) != 0:
        raise OSError("no filter")


def check(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def protect_system(state):
    """Where namespaces may be made: in some containers not even root may."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        return
    os.makedirs(state, mode=0o711, exist_ok=True)
    check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    check(libc.mount(state.encode(), state.encode(), None, MS_BIND, None))
    check(libc.mount(b"none", b"/", None, MS_REMOUNT | MS_BIND | MS_RDONLY, None))
    os.chdir("/")


def start_pre(unit, state):
    os.makedirs(state, mode=0o711, exist_ok=True)
    for words in unit.get("ExecStartPre", []):
        words[0] = words[0].removeprefix("+")
        subprocess.run([w.replace("/var/lib/stagepost", state) for w in words], check=True)


def main(unit_path, state, *command):
    unit = settings(unit_path)
    start_pre(unit, state)
    groups = ",".join(unit["SupplementaryGroups"][0])
    caps = ",".join("+" + c.removeprefix("CAP_").lower() for c in unit["CapabilityBoundingSet"][0])
    protect_system(state)
    os.umask(int(unit["UMask"][0][0], 8))
    filter_calls(unit)
    os.execvp("setpriv", ["setpriv", "--no-new-privs", "--inh-caps=-all", f"--groups={groups}",
                          f"--bounding-set=-all,{caps}", *command])


if __name__ == "__main__":
    main(*sys.argv[1:])
