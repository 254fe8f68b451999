#!/usr/bin/env bash
# Renames the module, and with it every module of the workspace: tools/rename-module.sh example.org/you/godwit
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

new=${1:-}
if [[ $# -ne 1 || ! $new =~ ^[a-z0-9.-]+(/[A-Za-z0-9._~-]+)+$ || ${new%%/*} != *.* ]]; then
	echo "usage: tools/rename-module.sh NEW/PATH, for example example.org/you/godwit" >&2
	exit 2
fi
old=$(sed -n 's/^module //p' go.mod)

# -I leaves binary files alone; .git keeps the history under the old name.
grep -rlIF --exclude-dir=.git --exclude-dir=bin -e "$old" . | while IFS= read -r file; do
	sed -i.renamed "s|${old//./\\.}|$new|g" "$file"
	rm "$file.renamed"
	case $file in *.go) gofmt -w "$file" ;; esac # imports are sorted by path
done
echo "renamed $old to $new; go build ./... ./gateway/... checks it"
