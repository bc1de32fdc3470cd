#!/bin/bash
# release.sh DIR - builds the tree that is installed on a machine (dist/install.sh --release DIR), and that build-deb.sh packs.
#
# build-release.sh builds the programs and says why they are built as they are; tree.sh puts the tree together.
set -euo pipefail
[ $# = 1 ] || { sed -n '2s/^# //p' "$0" >&2; exit 2; }
repository=$(cd "$(dirname "$0")/.." && pwd)
out=$(realpath -m -- "$1")
[ ! -e "$out" ] || { echo "error: $out exists; name a directory that does not" >&2; exit 8; }
"$repository/dist/check-rust.sh"
"$repository/dist/install-tools.sh" build
cd "$repository"
dist/build-release.sh
dist/tree.sh "$out" target/release/cdc-supervisor target/shim/cdc-shim
echo "$out: $("$out/bin/cdc-supervisor" --version), shim $(stat -c %s "$out/bin/cdc-shim") bytes"
