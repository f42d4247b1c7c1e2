"""Starts the pods of three overlays under the constraints of their manifests: their command lines, configuration, environment, user,
read-only root with nothing in it but what the Containerfile puts there (assembled.py) and volumes, each pod at an address of its own, every probe and every declared port called, SIGTERM with the grace period that the
manifests give. `local` as it is (plays/local.py), `elastic-keda` with an evaluator under mTLS (plays/proven.py), the same with several
reward-servers behind one name and the figure that KEDA reads (plays/balanced.py, figure.py), and `jobset` with a node that goes
(plays/jobset.py); all with the models of the first one.

Where no pod can be played it says why, and fails where PODS=required.

What is changed of the configurations, for a run of seconds, is said there and in plays/stage.py. The store of each is that of `local`, as its pod
says, but for its image: that is this Python, with moto from PyPI in the same version. Left out is what the kernel would add on a node: limits of
memory and CPU, filtered system calls, and network policies."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Handshakes that are refused on purpose are no news.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import assembled  # noqa: E402
import cluster  # noqa: E402
from plays import balanced, jobset, local, proven  # noqa: E402


def played(play, place, program, *given):
    """What a play comes to, with nothing left of it but its files."""
    begun, run = time.monotonic(), play.run(place, program)
    try:
        run.open()
        run.store()
        made = play.play(run, *given)
    finally:
        run.close()
    run.gone()
    print(f"{play.__name__}, {run.overlay.name}: {time.monotonic() - begun:.0f} s", flush=True)
    return made


def main():
    reason = cluster.why_not()
    if reason:
        print(f"roles not started: {reason}")
        return 1 if os.environ.get("PODS") == "required" else 0
    program = Path(sys.argv[1]).resolve()
    if not os.access(program, os.X_OK):
        print(f"no program at {program}: cargo build, or set ADWRIGHT")
        return 64
    place = Path(tempfile.mkdtemp(prefix="adwright-started-"))
    # Users of pods go through it to what is theirs.
    place.chmod(0o755)
    try:
        program = assembled.assemble(program, place / "image")
        print(assembled.told(place / "image"), flush=True)
        models = played(local, place / "local", program)
        played(proven, place / "proven", program, models)
        played(balanced, place / "balanced", program, models)
        played(jobset, place / "jobset", program, models)
    except (AssertionError, OSError, ValueError, subprocess.SubprocessError) as error:
        print(f"failed: {error}\nlogs: {place}", file=sys.stderr)
        return 1
    shutil.rmtree(place, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
