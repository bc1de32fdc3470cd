#!/bin/bash
# build-release.sh - builds the two programs as they are released: target/release/cdc-supervisor, target/shim/cdc-shim.
#
# The shim is built by an invocation of its own, because its flags are per build: small and static, so that the parent of
# every node needs about 130 kB of private memory and no library of the host that an upgrade could pull away under it.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')

cargo build --release --locked --bin cdc-supervisor
# --target keeps these flags away from build scripts and procedural macros, which cannot be static
RUSTFLAGS="-C target-feature=+crt-static" \
  CARGO_PROFILE_RELEASE_OPT_LEVEL=s CARGO_PROFILE_RELEASE_PANIC=abort \
  CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
  cargo build --release --locked --bin cdc-shim --target "$host" --target-dir target/shim
ln -sf "$host/release/cdc-shim" target/shim/cdc-shim
