#!/usr/bin/env bash
# Runs the two commands at the top of the README and puts what they print there. A measurement that says it is invalid, because the
# machine had other things to do, is repeated; if none is valid, the README stays as it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=$(mktemp -d)
trap 'kill -INT "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -r "$out"' EXIT
make build >/dev/null 2>&1
make serve >"$out/serve" 2>"$out/log" & # the log is not the banner
server=$!
for _ in $(seq 50); do
	grep -q '^  try' "$out/serve" && break
	sleep 0.2
done
if ! server=$(pgrep -P "$server" godwit); then
	cat "$out/serve" "$out/log" >&2
	exit 1
fi

sed 's/ *$//' "$out/serve" >"$out/banner" # what comes later is not the banner

for try in $(seq "${TRIES:-10}"); do
	./bin/godwit bench --rate 20000 --reference >"$out/bench"
	grep -q INVALID "$out/bench" || break
	echo "try $try was not valid:" && grep INVALID "$out/bench"
	[[ $try == "${TRIES:-10}" ]] && exit 1
	sleep 20
done

# The block after the line "$ COMMAND" ends with the fence.
awk -v dir="$out" '
	/^```$/ { skip = 0 }
	!skip { print }
	/^\$ make serve$/ { while ((getline line < (dir "/banner")) > 0) print line; skip = 1 }
	/^\$ \.\/bin\/godwit bench/ { while ((getline line < (dir "/bench")) > 0) print line; skip = 1 }
' README.md >"$out/README.md"
cp "$out/README.md" README.md
echo "README.md has what the commands print today"
