#!/usr/bin/env bash
# Renders what is under k8s/, checks every object against schemas and every overlay against the rules of k8s/policy, plays the alerts
# (policy/tried.py), holds what `adwright launch` writes to the same (policy/launched.py), and starts the
# roles of three overlays as their pods would run them, in plain text and under mTLS, the store of `local` too (policy/started.py).
#
#   check.sh              all of this
#   check.sh DIRECTORY    an overlay of your own: schemas and rules, and its alerts where there is promtool; nothing is started
#
# CRDS=DIR, a directory of CustomResourceDefinitions: objects are checked against these as well, and our schemas are compared with them (README.md).
#
# Needs kubectl, Python 3.11 and PyPI; without one of them it says so and checks nothing, or fails where K8S=required or a directory is named. Alerts
# want promtool; without it that is said, or fails where PROMTOOL=required. Roles are started as root on Linux; elsewhere it says so and starts none, or
# fails where PODS=required. ADWRIGHT names the program that is started (default: target/debug/adwright, which the tests build); VENV a directory
# that keeps the packages.
set -euo pipefail
[ $# -le 1 ] && [ -d "${1:-.}" ] || { echo "usage: check.sh [DIRECTORY]; no directory: $*" >&2; exit 64; }
own=${1:+$(cd "$1" && pwd)}
[ -z "$own" ] || K8S=required
[ -z "${CRDS:-}" ] || { [ -d "$CRDS" ] || { echo "no directory: CRDS=$CRDS" >&2; exit 64; }; CRDS=$(cd "$CRDS" && pwd); export CRDS; }
cd "$(dirname "$0")"
skip() {
    echo "k8s not checked: $*"
    [ "${K8S:-}" != required ]
    exit
}

command -v kubectl >/dev/null || skip "no kubectl"
command -v python3 >/dev/null || skip "no python3"
python3 -c 'import tomllib' 2>/dev/null || skip "Python 3.11 is needed"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${VENV:-$work/venv}
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement policy/requirements.txt || skip "no packages from PyPI"
"$venv/bin/python" policy/check.py ${own:+"$own"}
if command -v promtool >/dev/null; then
    "$venv/bin/python" policy/tried.py ${own:+"$own"}
else
    echo "alerts not tried: no promtool"
    [ "${PROMTOOL:-}" != required ]
fi
[ -z "$own" ] || exit 0
program=${ADWRIGHT:-${CARGO_TARGET_DIR:-../target}/debug/adwright}
"$venv/bin/python" policy/sbom.py --check
"$venv/bin/python" policy/launched.py "$program"
"$venv/bin/python" policy/started.py "$program"
