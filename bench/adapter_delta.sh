#!/usr/bin/env bash
# What it would bring to send adapters compressed, or as what differs from the version before, printed as Markdown
# (docs/results.md). Trains a run with the settings, the policy and the reward model of an earlier demo, keeps every version's
# checkpoint, and compares their adapters. Needs python3 and PyPI, and a minute.
#
#   adwright demo --quick --out out/quick && bench/adapter_delta.sh out/quick
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: bench/adapter_delta.sh DEMO" >&2; exit 64; }
here=$(cd "$(dirname "$0")" && pwd)
demo=$(cd "$1" && pwd)
program=${ADWRIGHT:-$here/../target/release/adwright}

work=$(mktemp -d)
started=()
stop() {
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$work"
}
trap stop EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet numpy zstandard

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
learner=127.0.0.1:$(port) reward=127.0.0.1:$(port)
role() {
    "$program" "$@" --config "$demo/config.toml" --store store --learner "http://$learner" --reward "http://$reward" \
        --set learner.keep_checkpoints=1000 --set run.id=delta >/dev/null 2>"$1-$RANDOM.log" &
    started+=($!)
}
role reward-server --listen "$reward" --model "$demo/reward-model"
role learner --listen "$learner" --policy "$demo/policy" --adapter adapter
training=$!
role actor --listen 127.0.0.1:0
role actor --listen 127.0.0.1:0
wait "$training" || { cat learner-*.log >&2; exit 1; }
venv/bin/python "$here/adapter_delta.py" store/runs/delta/checkpoints
