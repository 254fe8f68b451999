#!/usr/bin/env bash
# Builds godwit-bench: bench/build.sh FILE. ENet is C, so it takes its library: as root it is installed from Debian's packages; without
# it the program says that ENet is not run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

has_enet() { command -v cc >/dev/null && echo '#include <enet/enet.h>' | cc -E - >/dev/null 2>&1; }
if ! has_enet && [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q libenet-dev gcc >/dev/null 2>&1 ||
		{ apt-get update -q >/dev/null 2>&1 && DEBIAN_FRONTEND=noninteractive apt-get install -y -q libenet-dev gcc >/dev/null 2>&1; } || true
fi
tags=()
if has_enet; then
	tags=(-tags enet)
else
	echo "bench: libenet-dev is not here: ENet is not run" >&2
fi
go build "${tags[@]}" -o "$1" ./bench/cmd/godwit-bench
