#!/bin/bash
# check-rust.sh [COMPONENT...] - whether cargo is there, new enough for Cargo.toml's rust-version, and has these components
# (fmt, clippy). Says what to install and exits 4 otherwise: a toolchain is the user's to choose.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$repository/Cargo.toml")

if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
  echo "error: cargo is in $HOME/.cargo/bin, which is not in PATH" >&2
  echo "hint: . \"$HOME/.cargo/env\"" >&2
  exit 4
fi
if ! command -v cargo >/dev/null; then
  echo "error: Rust is not installed; this needs $wanted or newer" >&2
  echo "hint: install rustup as https://rustup.rs says, then: rustup toolchain install stable" >&2
  exit 4
fi
have=$(rustc --version | cut -d' ' -f2)
oldest=$(printf '%s\n' "$wanted" "${have%%-*}" | sort -V | head -1)
if [ "$oldest" != "$wanted" ]; then
  echo "error: rustc $have is too old; this needs $wanted or newer" >&2
  if command -v rustup >/dev/null; then
    echo "hint: rustup update stable" >&2
  else
    echo "hint: distributions carry older ones; install rustup as https://rustup.rs says" >&2
  fi
  exit 4
fi
for component in "$@"; do
  if ! cargo "$component" --version >/dev/null 2>&1; then
    echo "error: cargo $component is not installed" >&2
    echo "hint: rustup component add ${component/fmt/rustfmt}" >&2
    exit 4
  fi
done
