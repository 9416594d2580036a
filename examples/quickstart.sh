#!/usr/bin/env bash
# Start a server in an empty directory and go through the README's steps; ends with "quickstart: ok".
# Needs curl, and wardenmq and its Python on PATH (`make quickstart` sees to that). Without the mosquitto tools,
# paho-mqtt takes their place.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
server=
listener=

finish() {
    status=$?
    for process in $listener $server; do
        kill "$process" 2>/dev/null && wait "$process" 2>/dev/null || true
    done
    if [ $status -ne 0 ]; then
        echo "quickstart: failed; the server said:" >&2
        cat "$work/server.err" >&2 || true
    fi
    rm -rf "$work"
    exit $status
}
trap finish EXIT

fail() { echo "quickstart: $1" >&2; exit 1; }
step() { echo "== $1"; }

# Wait up to 20 seconds for a line that matches $1 in file $2.
await() {
    for _ in $(seq 200); do
        if grep -q -- "$1" "$2" 2>/dev/null; then return; fi
        if ! kill -0 "$server" 2>/dev/null; then fail "the server ended"; fi
        sleep 0.1
    done
    fail "'$1' did not come"
}

field() { python -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"; }
call() { curl -fsS --max-time 10 -u "$key:$secret" -H 'Content-Type: application/json' "$@"; }

if ! command -v mosquitto_pub >/dev/null || ! command -v mosquitto_sub >/dev/null; then
    mosquitto_pub() { python "$here/paho_tools.py" pub "$@"; }
    mosquitto_sub() { python "$here/paho_tools.py" sub "$@"; }
fi

cd "$work"
step "start"
wardenmq serve --data-dir data --mqtt 127.0.0.1:0 --ws 127.0.0.1:0 --api 127.0.0.1:0 >server.out 2>server.err &
server=$!
await '^wardenmq ready ' server.out
sed -n 's/^wardenmq ready //p' server.out >ready.json
address=$(field ready.json mqtt)
host=${address%:*} port=${address##*:}
api=$(field ready.json api)/api/v5
key=$(field data/initial-credentials.json api_key)
secret=$(field data/initial-credentials.json api_secret)

step "create a user and a rule"
call "$api/authentication/password_based:built_in_database/users" \
    -d '{"user_id": "sensor", "password": "correct-horse"}' >/dev/null
call "$api/authorization/sources/built_in_database/rules/users" -d '[{"username": "sensor",
    "rules": [{"topic": "sensors/${username}/#", "permission": "allow", "action": "all"}]}]' >/dev/null

step "publish and subscribe"
client=(-h "$host" -p "$port" -u sensor -P correct-horse -q 1)
mosquitto_pub "${client[@]}" -r -t sensors/sensor/temperature -m 21.5
heard=$(mosquitto_sub "${client[@]}" -v -C 1 -W 10 -t 'sensors/sensor/#')
[ "$heard" = "sensors/sensor/temperature 21.5" ] || fail "heard '$heard'"

step "a wrong password and a topic without a rule are refused"
if mosquitto_pub -h "$host" -p "$port" -u sensor -P wrong -t sensors/sensor/x -m 1 2>/dev/null; then
    fail "a wrong password was let in"
fi
if [ -n "$(mosquitto_sub "${client[@]}" -C 1 -W 1 -t '#' 2>/dev/null || true)" ]; then
    fail "a subscription that no rule allows was granted"
fi

step "see a client and kick it"
mosquitto_sub "${client[@]}" -i listener -v -t 'sensors/sensor/#' >listener.out 2>&1 &
listener=$!
await 'temperature 21.5' listener.out
call "$api/clients/listener" | grep -q '"connected": *true' || fail "the client is not seen"
call -X DELETE "$api/clients/listener"

step "stop"
kill -TERM "$server"
wait "$server" || fail "the server ended with status $?"
server=
echo "quickstart: ok"
