#!/usr/bin/env bash
# Checks the byte vectors, then runs the client against servers that are started and stopped here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
python=/usr/bin/python3

if ! "$python" -c 'import cryptography' 2>/dev/null; then
	echo "installing python3-cryptography"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-cryptography >/dev/null
fi

scratch=$(mktemp -d)
servers=()
cleanup() {
	for server in "${servers[@]}"; do kill "$server" 2>/dev/null || true; done
	wait
	rm -rf "$scratch"
}
trap cleanup EXIT
# The development identity of these servers is not the user's.
export XDG_STATE_HOME=$scratch PYTHONDONTWRITEBYTECODE=1

(cd ../.. && go build -o "$scratch/bin/godwit" ./gateway/cmd/godwit)

serve() { # serve NAME FLAG...: starts a server on a free port and waits for its banner
	local banner=$scratch/$1.json
	"$scratch/bin/godwit" serve --listen 127.0.0.1:0 --shards 2 --drain-timeout 1s --admin off --json "${@:2}" >"$banner" 2>"$scratch/$1.log" &
	servers+=($!)
	for _ in {1..100}; do
		[[ -s $banner ]] && return
		sleep 0.1
	done
	cat "$scratch/$1.log" >&2
	return 1
}

"$python" vectors.py
serve encrypted --keylog "$scratch/secrets"
serve plain --plain
"$python" client.py "$scratch/encrypted.json" "$scratch/secrets" "$scratch/plain.json"

for server in "${servers[@]}"; do
	kill -INT "$server"
	wait "$server" || { echo "FAIL a server stops with exit code 0" && exit 1; }
done
servers=()
