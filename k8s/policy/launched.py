"""What `adwright launch` writes is held to the rules, and what it refuses they refuse: the program itself is called, for every overlay."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import check  # noqa: F401  all rules
import own
import schemas
from rendered import OVERLAYS, ROOT, Overlay, render
from rules import RULES, role_container

# Another run in another namespace, which needs more than the manifests give.
ASKED = (
    "run.id=spring",
    "actor.drain_timeout_s=600",
    "reward_server.drain_timeout_s=100",
    "learner.drain_ms=110001",
    "learner.scaling.max_actors=64",
    "learner.scaling.cold_start_s=1200",
    # Which somebody else runs: no policy of ours leads there.
    "telemetry.otlp=http://collector.observability:4317",
)
# Words that launch and a rule judge alike: (rule, key, word).
END = "roles end under a JobSet only"
WORDS = [(END, "actor.on_run_end", word) for word in ("idle", "exit")]
WORDS += [(END, "reward_server.on_run_end", word) for word in ("serve", "idle", "exit")]
WORDS += [
    ("state lies in the object store", "store.url", "/var/lib/adwright/store"),
    ("state lies in the object store", "catalogue.source", "products.json"),
    ("state lies in the object store", "catalogue.source", "/etc/adwright/products.json"),
    ("files are mounted", "paths.cache", "/srv/cache"),
    ("files are mounted", "paths.cache", "/var/lib/adwright/models"),
    ("endpoints are services", "endpoints.learner", "https://adwright-learner:7401"),
]


def launch(program, overlay, out, sets, *more):
    """How the program ends, and what it says."""
    words = [word for assignment in sets for word in ("--set", assignment)]
    line = [program, "launch", "--manifests", ROOT, "--overlay", overlay, "--out", out, *words, *more]
    done = subprocess.run(line, capture_output=True, text=True)
    return done.returncode, done.stderr


def written(program, overlay, of_others):
    """What is wrong with an overlay that is launched."""
    with tempfile.TemporaryDirectory() as place:
        more = ("--namespace", "ads", "--image", "registry.example/adwright:1.0")
        status, said = launch(program, overlay, place, ASKED, *more)
        if status != 0:
            return [f"launch ends with {status}: {said.strip()}"]
        return own.mistakes(own.overlay(place), of_others)[0]


def refused(program, overlay, rule, key, word):
    """Whether launch refuses a word, and whether the rule does."""
    with tempfile.TemporaryDirectory() as place:
        status, said = launch(program, overlay.name, place, [f"{key}={word}"])
    assert status in (0, 64), f"{overlay.name}: launch ends with {status}: {said.strip()}"
    copy = overlay.copy()
    for pod in copy.serving_pods():
        role_container(pod)["args"] += ["--set", f"{key}={word}"]
    return status == 64, bool(list(RULES[rule](copy)))


def main():
    program = Path(sys.argv[1]).resolve()
    if not os.access(program, os.X_OK):
        print(f"no program at {program}: cargo build, or set ADWRIGHT")
        return 64
    of_others, failures = schemas.of_others(), []
    for overlay in (Overlay(name, render(name)) for name in OVERLAYS):
        failures += [f"{overlay.name}, launched: {sentence}" for sentence in written(program, overlay.name, of_others)]
        for rule, key, word in WORDS:
            by_launch, by_rule = refused(program, overlay, rule, key, word)
            if by_launch != by_rule:
                failures.append(
                    f"{overlay.name}: {key} = {word} is refused: by launch {by_launch}, by the rules {by_rule}"
                )
    for failure in failures:
        print(f"  {failure}")
    print(
        f"{len(OVERLAYS)} overlays launched, {len(OVERLAYS) * len(WORDS)} words asked for: {check.told(failures)}"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
