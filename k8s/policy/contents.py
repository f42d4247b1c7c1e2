"""What a container's image has in it, from this machine: files by where they are in the container, all of them read-only, and where its commands
are looked for."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = "/usr/local/bin/adwright"
# Whom TLS trusts, without which no client of an object store can be made.
TRUST = "/etc/ssl/certs/ca-certificates.crt"
# Where the system has what Python's packages are linked to, and how the loader finds more.
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/etc/ld.so.cache")


def libraries(program):
    """Files that the program is linked to, the loader included."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    words = [word for line in said.splitlines() for word in line.split() if word.startswith("/")]
    return sorted(set(words))


def of_program(program):
    """Ours, as that of the Containerfile: the program, the libraries that it is linked to and the authorities' certificates."""
    found = {PROGRAM: str(program), TRUST: TRUST}
    found.update({library: os.path.realpath(library) for library in libraries(program)})
    return {"files": found, "path": str(Path(PROGRAM).parent)}


def of_python():
    """Somebody else's, whose commands are Python's: the interpreter that runs this and its packages, at the places that they name each other by,
    and the libraries of the system."""
    places = [place for place in (*SYSTEM, sys.base_prefix, sys.prefix) if os.path.exists(place)]
    found = {place: os.path.realpath(place) for place in places}
    return {"files": found, "path": f"{sys.prefix}/bin:{sys.base_prefix}/bin"}
