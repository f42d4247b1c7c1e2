"""What a container's image has in it, from this machine: files by where they are in the container, all of them read-only, directories with their
mode and owner, and where its commands are looked for."""

import os
import sys
from pathlib import Path

PROGRAM = "/usr/local/bin/adwright"
# Whom TLS trusts, without which no client of an object store can be made.
TRUST = "/etc/ssl/certs/ca-certificates.crt"
# Where the system has what Python's packages are linked to, and how the loader finds more.
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/etc/ld.so.cache")


def of_program(program):
    """Ours: the image that was assembled around the program (assembled.py), file by file."""
    root = Path(str(program).removesuffix(PROGRAM))
    inside = {f"/{path.relative_to(root)}": path for path in root.rglob("*")}
    files = {place: str(path) for place, path in inside.items() if path.is_file()}
    directories = {place: path.stat() for place, path in inside.items() if path.is_dir()}
    owned = {place: (one.st_mode & 0o7777, one.st_uid, one.st_gid) for place, one in directories.items()}
    return {"files": files, "directories": owned, "path": str(Path(PROGRAM).parent)}


def of_python():
    """Somebody else's, whose commands are Python's: the interpreter that runs this and its packages, at the places that they name each other by,
    and the libraries of the system."""
    places = [place for place in (*SYSTEM, sys.base_prefix, sys.prefix) if os.path.exists(place)]
    found = {place: os.path.realpath(place) for place in places}
    return {"files": found, "directories": {}, "path": f"{sys.prefix}/bin:{sys.base_prefix}/bin"}
