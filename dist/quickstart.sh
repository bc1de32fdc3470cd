#!/bin/bash
# quickstart.sh [ROOT] [OPTION...] - from a clone to a running stack: installs what is missing, builds, and runs
# `cdc-supervisor up` with this repository's supervisor.toml. ROOT is where everything is kept (default: the product's own,
# /var/lib/cdc-supervisor for root); the options go to `up`. Ctrl-C stops the stack in order.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
root=()
case ${1-} in
  -h | --help) sed -n '2,4s/^# //p' "$0"; exit 0 ;;
  '' | -*) ;;
  *) root=(--root "$(realpath -m -- "$1")"); shift ;;
esac

"$repository/dist/check-rust.sh"
"$repository/dist/install-tools.sh" build run
cd "$repository"
cargo build --release --locked
exec target/release/cdc-supervisor --config "$repository/supervisor.toml" "${root[@]}" up "$@"
