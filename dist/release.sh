#!/bin/bash
# release.sh DIR - builds the tree that is installed on a machine: both programs, the pinned artifact lists, the default
# configuration, the units, completions and licences, with SHA256SUMS over all of it.
#
# build-release.sh builds the programs and says why they are built as they are.
set -euo pipefail
[ $# = 1 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
repository=$(cd "$(dirname "$0")/.." && pwd)
out=$(realpath -m -- "$1")
[ ! -e "$out" ] || { echo "error: $out exists; name a directory that does not" >&2; exit 8; }
"$repository/dist/check-rust.sh"
"$repository/dist/install-tools.sh" build
cd "$repository"
dist/build-release.sh

# built beside the final place and renamed: a half-made tree is never found under DIR
mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$work" "$work.sums"' EXIT
install -d "$work/bin" "$work/completions" "$work/systemd" "$work/dist"
install -m 755 target/release/cdc-supervisor target/shim/cdc-shim "$work/bin"
for shell in bash zsh fish; do
  target/release/cdc-supervisor completions "$shell" >"$work/completions/cdc-supervisor.$shell"
done
find dist -maxdepth 1 -type f ! -name '*.sh' -exec install -m 644 -t "$work/dist" {} +
install -m 644 -t "$work/systemd" systemd/*
install -m 644 -t "$work" supervisor.toml README.md LICENSE-MIT LICENSE-APACHE
(cd "$work" && find . -type f -printf "%P\n" | sort | xargs sha256sum >"$work.sums")
mv "$work.sums" "$work/SHA256SUMS"
chmod 755 "$work"
mv -T "$work" "$out"
trap - EXIT
echo "$out: $("$out/bin/cdc-supervisor" --version), shim $(stat -c %s "$out/bin/cdc-shim") bytes"
