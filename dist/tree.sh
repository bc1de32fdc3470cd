#!/bin/bash
# tree.sh DIR SUPERVISOR SHIM - puts the tree that is installed together from two built programs: with the default configuration,
# the units, completions, manual pages and licences, and SHA256SUMS over all of it. release.sh builds the programs first.
set -euo pipefail
[ $# = 3 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
repository=$(cd "$(dirname "$0")/.." && pwd)
out=$(realpath -m -- "$1")
supervisor=$(realpath -- "$2")
shim=$(realpath -- "$3")
[ ! -e "$out" ] || { echo "error: $out exists; name a directory that does not" >&2; exit 8; }
cd "$repository"

# built beside the final place and renamed: a half-made tree is never found under DIR
mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$work" "$work.sums"' EXIT
install -d "$work/bin" "$work/completions" "$work/systemd" "$work/dist"
install -m 755 "$supervisor" "$work/bin/cdc-supervisor"
install -m 755 "$shim" "$work/bin/cdc-shim"
for shell in bash zsh fish; do
  "$work/bin/cdc-supervisor" completions "$shell" >"$work/completions/cdc-supervisor.$shell"
done
"$work/bin/cdc-supervisor" man "$work/man" >/dev/null
find "$work/man" -type f -exec gzip -9n {} +
find dist -maxdepth 1 -type f ! -name '*.sh' ! -name in-own-network -exec install -m 644 -t "$work/dist" {} +
install -m 755 -t "$work/dist" dist/install.sh
install -m 644 -t "$work/dist" dist/setup.sh
install -m 644 -t "$work/systemd" systemd/*
install -m 644 -t "$work" supervisor.toml README.md LICENSE-MIT LICENSE-APACHE
{
  echo "version=$("$work/bin/cdc-supervisor" --version | cut -d' ' -f2)"
  echo "machine=$(uname -m)"
  # the newest symbol version that one of the programs asks the C library for
  echo "glibc=$(LC_ALL=C grep -aoh 'GLIBC_2\.[0-9]*' "$work"/bin/* | sort -uV | tail -1 | cut -d_ -f2)"
  # the newest state files it reads (src/engine/persist.rs)
  echo "state=$(sed -n 's/^const SCHEMA: u32 = \([0-9]*\);$/\1/p' src/engine/persist.rs)"
} >"$work/RELEASE"
grep -q '^state=[0-9]' "$work/RELEASE" || { echo "error: the schema of state files was not found" >&2; exit 1; }
(cd "$work" && find . -type f -printf "%P\n" | sort | xargs sha256sum >"$work.sums")
mv "$work.sums" "$work/SHA256SUMS"
chmod 755 "$work"
mv -T "$work" "$out"
trap - EXIT
