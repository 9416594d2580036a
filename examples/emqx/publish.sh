#!/usr/bin/env bash
# Publish a retained message over EMQX's REST API, look it up again, and list who is connected.
# Usage: publish.sh TOPIC PAYLOAD; EMQX_API, EMQX_API_KEY and EMQX_API_SECRET say where and as whom.
set -euo pipefail

api=${EMQX_API:-http://127.0.0.1:18083/api/v5}
topic=${1:?usage: publish.sh TOPIC PAYLOAD}
payload=${2:?usage: publish.sh TOPIC PAYLOAD}
: "${EMQX_API_KEY:?is not set}" "${EMQX_API_SECRET:?is not set}"

# The key goes in by a file descriptor: what stands on a command line is there for everybody to see.
call() {
    curl --silent --show-error --fail-with-body --max-time 10 \
        --config <(printf 'user = "%s:%s"\n' "$EMQX_API_KEY" "$EMQX_API_SECRET") "$@"
}
json() { python3 -c 'import json, sys; print(json.dumps(dict(zip(sys.argv[1::2], sys.argv[2::2])) | {"qos": 1, "retain": True}))' "$@"; }
encode() { python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.argv[1], safe=""))' "$1"; }

echo "== publish"
call --header 'Content-Type: application/json' --data "$(json topic "$topic" payload "$payload")" "$api/publish"
echo
echo "== the retained message"
call "$api/mqtt/retainer/message/$(encode "$topic")"
echo
echo "== clients"
call --get --data-urlencode 'conn_state=connected' --data-urlencode 'fields=clientid,username,ip_address' "$api/clients"
echo
