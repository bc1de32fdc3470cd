#!/bin/bash
# release.sh DIR - builds the tree that is installed on a machine: both programs, the pinned artifact lists, the default
# configuration, the units, completions and licences, with SHA256SUMS over all of it.
#
# The shim is built by an invocation of its own, because its flags are per build: small and static, so that the parent of
# every node needs about 130 kB of private memory and no library of the host that an upgrade could pull away under it.
set -euo pipefail
[ $# = 1 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
repository=$(cd "$(dirname "$0")/.." && pwd)
out=$(realpath -m -- "$1")
[ ! -e "$out" ] || { echo "error: $out exists; name a directory that does not" >&2; exit 8; }
"$repository/dist/check-rust.sh"
"$repository/dist/install-tools.sh" build
cd "$repository"
host=$(rustc -vV | sed -n 's/^host: //p')

cargo build --release --locked --bin cdc-supervisor
# --target keeps these flags away from build scripts and procedural macros, which cannot be static
RUSTFLAGS="-C target-feature=+crt-static" \
  CARGO_PROFILE_RELEASE_OPT_LEVEL=s CARGO_PROFILE_RELEASE_PANIC=abort \
  CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
  cargo build --release --locked --bin cdc-shim --target "$host" --target-dir target/shim

# built beside the final place and renamed: a half-made tree is never found under DIR
mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$work" "$work.sums"' EXIT
install -d "$work/bin" "$work/completions" "$work/systemd" "$work/dist"
install -m 755 target/release/cdc-supervisor "target/shim/$host/release/cdc-shim" "$work/bin"
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
