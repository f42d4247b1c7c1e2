#!/usr/bin/env bash
# A run over a network that breaks: learner with reward-server and two actors on three hosts, which are network namespaces of this
# machine on one bridge. The first actor's host is cut off and comes back, then the learner's, without a word to anybody: packets
# are dropped. One actor fetches weights from the other. At the end the run must be complete, every outcome that an actor was
# told is recorded must be in the ledger as it was, and no pair may have been trained on twice.
#
#   tests/network_namespaces.sh [DIR]      logs, store and report go there (default: a temporary directory, removed when all is well)
#
# ADWRIGHT names the program (default: target/release/adwright). The hosts share this machine's disk, so the store is never cut off.
# Needs Linux, root, ip (iproute2) and python3; where one is missing or namespaces are not permitted it says so and ends with 0, or fails
# where NAMESPACES=required.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "skipped: $*"
    clean=${clean_if_well:-}
    [ "${NAMESPACES:-}" != required ]
    exit
}
fail() { echo "failed: $* (see $work)" >&2; exit 1; }
program=$(realpath "${ADWRIGHT:-target/release/adwright}")
[ -x "$program" ] || { echo "no program at $program: cargo build --release, or set ADWRIGHT" >&2; exit 64; }
[ "$(uname -s)" = Linux ] || skip "network namespaces are Linux's"
[ "$(id -u)" = 0 ] || skip "making network namespaces needs root"
command -v ip >/dev/null || skip "there is no ip; it is in iproute2"
command -v python3 >/dev/null || skip "there is no python3"

tag=adw$$
hosts=(learner one two)
switch=$tag-switch
if ! said=$(ip netns add "$switch" 2>&1); then skip "a network namespace cannot be made: $said"; fi
work=${1:-$(mktemp -d)}
mkdir -p "$work"
started=()
clean=
stop() {
    for pid in "${started[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    wait 2>/dev/null
    for host in "${hosts[@]}"; do ip netns del "$tag-$host" 2>/dev/null || true; done
    ip netns del "$switch" 2>/dev/null || true
    [ -z "$clean" ] || rm -rf "$work"
}
trap stop EXIT
[ $# -gt 0 ] || clean_if_well=1

said=$(ip -n "$switch" link add hub type bridge 2>&1) || skip "a bridge cannot be made: $said"
ip -n "$switch" link set hub up
number=0
for host in "${hosts[@]}"; do
    number=$((number + 1))
    ip netns add "$tag-$host"
    said=$(ip -n "$switch" link add "to-$host" type veth peer name wire netns "$tag-$host" 2>&1) ||
        skip "a pair of interfaces cannot be made: $said"
    ip -n "$switch" link set "to-$host" master hub up
    ip -n "$tag-$host" addr add "10.77.0.$number/24" dev wire
    ip -n "$tag-$host" link set wire up
    ip -n "$tag-$host" link set lo up
done
# What is plugged out of the switch drops what comes, in both directions; neither end sees its link go.
cut_off() { ip -n "$switch" link set "to-$1" nomaster; }
heal() { ip -n "$switch" link set "to-$1" master hub; }

cd "$work"
settings=()
for setting in endpoints.insecure_plaintext_network=true run.id=cut store.url=store \
    shopworld.products=16 pretrain.samples=2000 reward.epochs=1 \
    learner.versions="${VERSIONS:-240}" learner.pairs_per_version=8 learner.minibatch_pairs=4 learner.passes=1 learner.optimizer.learning_rate=0.00001 \
    learner.lora.rank=4 learner.lease_ttl_ms=2000 learner.lease_grace_ms=100 learner.max_attempts=1000 learner.max_staleness=2 \
    learner.linger_ms=10000 learner.relay_branches=1 \
    actor.group_size=2 actor.max_new_tokens=8 actor.tasks_per_lease=2 actor.learner_timeout_s=120 actor.reward_timeout_s=120; do
    settings+=(--set "$setting")
done
"$program" pretrain --out policy "${settings[@]}" >pretrain.log 2>&1
"$program" train-reward --out reward-model "${settings[@]}" >train-reward.log 2>&1

export RUST_LOG=info,slatedb=warn,actor::learner_client::receipts=debug
on() { # HOST LOG ARGUMENTS...
    : >"$2.log"
    ip netns exec "$tag-$1" "$program" "${@:3}" "${settings[@]}" >/dev/null 2>"$2.log" </dev/null &
    started+=($!)
}
on learner reward-server reward-server --listen 10.77.0.1:7002 --model reward-model
on learner learner learner --listen 10.77.0.1:7001 --policy policy --adapter adapter
learner=$!
peers=(--learner http://10.77.0.1:7001 --reward http://10.77.0.1:7002)
on one one actor --listen 10.77.0.2:7003 --id one "${peers[@]}"
one=$!
waits() { # SECONDS WHAT COMMAND...: until the command succeeds
    local end=$((SECONDS + $1))
    until "${@:3}"; do
        [ $SECONDS -lt $end ] || fail "$2 within $1 s"
        kill -0 $learner 2>/dev/null || fail "the learner has ended before $2: more versions are needed (VERSIONS)"
        sleep 0.1
    done
}
acknowledged() { grep -c 'outcome acknowledged' "$1.log" || true; }
published() { grep -c ' published' learner.log || true; }
more() { [ "$("$1" ${3:-})" -gt "$2" ]; }
# The first to come is the one that the other fetches from.
waits 120 "the first actor has worked" more acknowledged 0 one
on two two actor --listen 10.77.0.3:7003 --id two "${peers[@]}"
two=$!
waits 120 "the second actor has worked" more acknowledged 0 two

echo "the first actor's host is cut off"
cut_off one
sleep 1
cut=$(acknowledged one) versions=$(published) others=$(acknowledged two)
sleep 4
[ "$(acknowledged one)" = "$cut" ] || fail "an actor that is cut off was acknowledged something"
waits 30 "the run goes on with the other actor" more published "$versions"
waits 30 "the other actor works" more acknowledged "$others" two
heal one
waits 60 "the first actor works again" more acknowledged "$cut" one
echo "it works again"

echo "the learner's host is cut off"
cut_off learner
sleep 1
cut=$(($(acknowledged one) + $(acknowledged two)))
sleep 4
[ $(($(acknowledged one) + $(acknowledged two))) = $cut ] || fail "actors were acknowledged something by nobody"
kill -0 $learner $one $two || fail "somebody has ended because the learner was cut off"
after=($(acknowledged one) $(acknowledged two))
heal learner
waits 60 "the first actor works again" more acknowledged "${after[0]}" one
waits 60 "the second actor works again" more acknowledged "${after[1]}" two
echo "both actors work again"

for role in learner one two; do
    wait "${!role}" || fail "$role ended with $?"
done
"$program" ledger export "${settings[@]}" >ledger.jsonl
"$program" checkpoint list --json "${settings[@]}" >checkpoints.json
"$program" ledger inspect --json "${settings[@]}" >inspect.json
python3 - "${VERSIONS:-240}" <<'PY' || fail "the ledger does not agree with what the actors were told"
import json, re, sys

lines = [json.loads(line) for line in open("ledger.jsonl")]
by_task = {line["task"]: line for line in lines}
told = []
for name in ("one", "two"):
    for line in open(f"{name}.log"):
        if "outcome acknowledged" in line:
            task, digest = re.search(r"\btask=(\d+)", line), re.search(r"\bdigest=(\S+)", line)
            told.append((int(task[1]), digest[1]))
lost = [t for t, digest in told
        if t not in by_task or digest != by_task[t]["digest"] and by_task[t]["outcome"] != "failed"]
twice = [line["task"] for line in lines if len(line["trained_versions"]) > 1]
versions, newest = int(sys.argv[1]), json.load(open("checkpoints.json"))["checkpoints"][-1]
inspected = json.load(open("inspect.json"))
report = {
    "outcomes": len(lines), "acknowledged": len(told), "lost": len(lost), "recorded_twice": len(lines) - len(by_task),
    "trained_twice": len(twice), "version": newest["version"]["number"], "pairs_trained": inspected["pairs_trained"],
    "images": inspected["images"], "relays_given_up": sum("relay given up" in line for line in open("two.log")),
}
print(json.dumps(report))
json.dump(report, open("report.json", "w"))
sound = (told and not lost and not twice and len(lines) == len(by_task) and newest["version"]["number"] == versions
         and newest["problem"] is None and inspected["pairs_trained"] == newest["content"]["pairs_trained"] == 8 * versions
         and inspected["images"]["missing"] == 0)
sys.exit(0 if sound else 1)
PY
clean=${clean_if_well:-}
echo "complete: nothing lost, nothing trained twice"
