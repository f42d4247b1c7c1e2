"""One container as a process of this machine: its own mounts, processes and network address, its user, and nothing else.

Run as a program it becomes that container; the description is JSON on standard input. What a kubelet and a container runtime would do is done
here by hand and as far as it goes: no cgroup limits what it takes, and system calls are not filtered. What its image has is told (contents.py).
"""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWUTS, NEWIPC, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
CAPBSET_DROP, SET_PDEATHSIG, SET_NO_NEW_PRIVS = 24, 1, 38


def checked(result, what):
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def mount(source, target, kind=None, flags=0):
    arguments = [str(part).encode() if part else None for part in (source, target, kind)]
    checked(LIBC.mount(*arguments, ctypes.c_ulong(flags), None), f"mount {target}")


def enter_network(name):
    """Makes the calling process one of a named network namespace."""
    with open(f"/run/netns/{name}") as namespace:
        checked(LIBC.setns(namespace.fileno(), NEWNET), f"network {name}")


def began_at(process):
    """When a process began, in the kernel's ticks, or None when there is none: with that its number is its own, and no later process's too."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return None


def bind(source, target, read_only):
    target = Path(target)
    if Path(source).is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount(source, target, flags=BIND)
    if read_only:
        mount(None, target, flags=REMOUNT | BIND | RDONLY | NOSUID)


def build(root, wanted):
    """The container's file system below `root`, which ends up read-only."""
    mount("tmpfs", root, "tmpfs", NOSUID | NODEV)
    for path, (mode, user, group) in sorted(wanted["directories"].items()):
        directory = Path(f"{root}{path}")
        directory.mkdir()
        directory.chmod(mode)
        os.chown(directory, user, group)
    image = [{"source": source, "path": path, "read_only": True} for path, source in wanted["files"].items()]
    # What lies below something else comes after it, also a directory of the image below a volume.
    for place in sorted(image + wanted["mounts"], key=lambda one: one["path"]):
        bind(place["source"], f"{root}{place['path']}", place["read_only"])
    for device in ("null", "zero", "urandom", "random"):
        bind(f"/dev/{device}", f"{root}/dev/{device}", read_only=False)
    Path(f"{root}/etc").mkdir(exist_ok=True)
    # All addresses that a name has in the file, as names of services have them, and not its first alone.
    Path(f"{root}/etc/host.conf").write_text("multi on\n")
    bind(wanted["hosts"], f"{root}/etc/hosts", read_only=True)
    Path(f"{root}/proc").mkdir()
    mount("proc", f"{root}/proc", "proc", NOSUID | NODEV | NOEXEC)
    mount(None, root, flags=REMOUNT | RDONLY | NOSUID)


def become(wanted):
    """Everything that cannot be undone, in the order in which it is still allowed."""
    root = wanted["root"]
    mount(None, "/", flags=REC | PRIVATE)
    build(root, wanted)
    os.chroot(root)
    os.chdir("/")
    for capability in range(64):
        if LIBC.prctl(CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break
    os.setgroups([wanted["group"]])
    os.setresgid(wanted["group"], wanted["group"], wanted["group"])
    os.setresuid(wanted["user"], wanted["user"], wanted["user"])
    checked(LIBC.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    # Once more: the kernel has forgotten it with the change of the user.
    checked(LIBC.prctl(SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "end with its parent")
    os.umask(0o022)
    os.execvpe(wanted["command"][0], wanted["command"], wanted["env"])


def main():
    wanted = json.load(sys.stdin)
    enter_network(wanted["network"])
    checked(LIBC.unshare(NEWNS | NEWUTS | NEWIPC | NEWPID), "namespaces")
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    child = os.fork()
    if child == 0:
        # Process 1 of its namespace, as in a container: signals that it does not ask for do not reach it.
        LIBC.prctl(SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        try:
            become(wanted)
        except OSError as error:
            print(f"no container: {error}", file=sys.stderr)
        os._exit(126)
    print(json.dumps({"process": child, "began_at": began_at(child)}), file=sys.stderr, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
