#!/bin/bash
# test.sh [--long] - installs what is missing and runs every test, layer by layer; exits 0 when all passed.
# Each layer has a headline and its time; the last line is the sum of all. --long adds what takes minutes and changes rarely
# (licences and bans by cargo-deny, which is built first; the release tree with the static shim; the long form of every test:
# 2,000 out-of-memory kills, 50 kills of the daemon beside the real stack and 20 cuts of the power in the guest, 100 faults).
# With CI=true a test that would skip itself fails instead.
#
# What waits for time to pass leaves processors to others, so two pairs of layers overlap (not with --long: those are measurements).
# `lints` runs beside `it`: a compiler beside tests of which most wait. It begins when they run, for cargo holds a lock while it builds.
# Guests of small programs, one at a time, run beside `real`, which waits a third of its time for sessions, deadlines and looks; those with the
# real products begin when it is done (CDC_VM_BESIDE, tests/vm/seats.rs). Never beside `faults`, which builds other programs in the
# same place. The layer that began first is shown whole when the other has ended, with the time it took itself and how long it was waited for.
set -euo pipefail
cd "$(dirname "$0")/.."
long=no
for argument in "$@"; do
  case $argument in
    --long) long=yes ;;
    *) sed -n '2,6s/^# //p' "$0" >&2; exit 2 ;;
  esac
done

[ $long = no ] || export CDC_TEST_LONG=1
dist/check-rust.sh fmt clippy
tools=(build run test)
# the guest is made by root only; others' tests of it skip themselves, aloud. A peer that is missing is said in its figure.
[ "$(id -u)" != 0 ] || tools+=(vm peers)
dist/install-tools.sh "${tools[@]}"
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 RUST_BACKTRACE=1
host=$(rustc -vV | sed -n 's/^host: //p')
runner=CARGO_TARGET_$(printf %s "$host" | tr a-z- A-Z_)_RUNNER
kept=$(mktemp -d)
log=$kept/log
background=()
trap 'for pid in "${background[@]}"; do kill -KILL -- "-$pid" 2>/dev/null || true; done; rm -rf "$kept"' EXIT
# one store of artifacts for all layers: filled once over the network, then used without it
: "${CDC_TEST_STORE:=$PWD/target/test-store}"
export CDC_TEST_STORE CDC_TEST_SKIPS=$kept/skips
: >"$CDC_TEST_SKIPS"
failed_layers=()

layer() { # NAME COMMAND... - runs it, shows its output and time, goes on when it fails
  local name=$1 started=$SECONDS status=0 verdict
  shift
  printf '\n== %s\n' "$name"
  "$@" 2>&1 | tee -a "$log" || status=$?
  if [ $status = 0 ]; then verdict=ok; else verdict=FAILED; fi
  printf "== %s: %s after %s s\n" "$name" "$verdict" $((SECONDS - started))
  [ $status = 0 ] || failed_layers+=("$name")
}
beside() { # LAYER OTHER - the first begins before the second, goes on while that runs, and is shown behind it
  local pid waited
  if [ $long = yes ]; then
    tests "$2"
    tests "$1"
    return
  fi
  printf '\n== %s begins; it is shown behind %s\n' "$1" "$2"
  touch "$kept/beside" "$kept/$1.out"
  set -m # a process group, to be ended with everything in it
  (
    failed_layers=() log=/dev/null
    tests "$1"
    [ ${#failed_layers[@]} = 0 ]
  ) </dev/null >"$kept/$1.out" 2>&1 &
  set +m
  pid=$!
  background+=("$pid")
  until grep -q '^running ' "$kept/$1.out" || ! kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
  tests "$2"
  rm "$kept/beside"
  waited=$SECONDS
  tail -n +1 --follow --pid="$pid" "$kept/$1.out" | tee -a "$log"
  wait "$pid" || failed_layers+=("$1")
  background=()
  printf '== waited %s s for %s behind %s\n' $((SECONDS - waited)) "$1" "$2"
}
isolated() { # COMMAND... - with cargo's tests in a network of their own
  env "$runner=$PWD/dist/in-own-network" "$@"
}
lints() { # both: each feature hides code from the other
  local status=0
  cargo clippy --locked --all-targets -- -D warnings || status=$?
  cargo clippy --locked --features failpoints --test faults -- -D warnings || status=$?
  return $status
}
tests() { # LAYER - how the test program tests/LAYER, or the lints, are run
  [ -e "tests/$1/main.rs" ] || [ "$1" = lints ] || return 0
  case $1 in
    lints) layer "$1" lints ;;
    # most of them wait most of the time
    it) layer "$1" isolated cargo test --locked --test "$1" -- --test-threads=4 ;;
    # asks the package clients, so it needs the machine's network; fills the shared store
    artifact) layer "$1" cargo test --locked --test "$1" ;;
    # five real nodes at once: one test at a time on a small machine
    real) layer "$1" isolated cargo test --locked --test "$1" -- --test-threads=1 ;;
    # the programs with failpoints; the plain ones come back with the next layer's build. Its guest is made before, while there
    # is a network to get packages from
    faults)
      [ "$(id -u)" != 0 ] || layer guest tests/vm/build-guest.sh
      # one waits for a guest, one at a time has the real products' ports
      layer "$1" isolated cargo test --locked --features failpoints --test "$1" -- --test-threads=4
      ;;
    # The guest itself has no network. Many tests wait for one guest: a thread for each, or the other guests would wait for them.
    vm) layer "$1" env CDC_VM_BESIDE="$kept/beside" cargo test --locked --test "$1" -- --test-threads=256 ;;
    *) layer "$1" isolated cargo test --locked --test "$1" ;;
  esac
}

layer format cargo fmt --check
layer scripts shellcheck -x -S warning dist/*.sh dist/in-own-network tests/vm/*.sh tests/vm/*/*.sh .ci/run
layer build cargo build --locked --all-targets
layer documentation env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --lib
layer unit isolated cargo test --locked --lib --bins
for name in architecture model control clients shim; do tests "$name"; done
beside it lints
for name in artifact faults; do tests "$name"; done
beside vm real
order=(architecture model control clients shim it artifact faults real vm)
for main in tests/*/main.rs; do
  name=$(basename "$(dirname "$main")")
  case " ${order[*]} " in *" $name "*) ;; *) tests "$name" ;; esac
done
# One short round with the programs as they were built for the tests: shows that every figure can be measured, no more.
# dist/bench.sh measures them. Two rows take minutes more and have tests of the same things: durability, drill.
rows=respawn,start-9,start-200,flood,idle,adoption,fetch,real
[ $long = no ] || rows+=,durability,drill
layer figures isolated cargo test --locked --bench figures -- --short --only "$rows"
if [ $long = yes ]; then
  # `layer` looks at the status, which switches off errexit inside: hence the chains
  deny() {
    { command -v cargo-deny >/dev/null || cargo install --locked --root target/tools cargo-deny; } &&
      PATH=$PATH:$PWD/target/tools/bin cargo deny --all-features check bans licenses sources
  }
  release() {
    rm -rf target/release-tree && dist/release.sh target/release-tree &&
      (cd target/release-tree && sha256sum --quiet --check SHA256SUMS) && static
  }
  static() {
    ! ldd target/release-tree/bin/cdc-shim 2>/dev/null || { echo "the shim is not static" >&2; return 1; }
  }
  layer deny deny
  layer release release
fi

echo
if [ -s "$CDC_TEST_SKIPS" ]; then
  echo "skipped:"
  sort -u "$CDC_TEST_SKIPS" | sed 's/^/  /'
fi
skipped=$(sort -u "$CDC_TEST_SKIPS" | wc -l)
if [ ${#failed_layers[@]} != 0 ]; then
  # what each failed test said, once more: a long log is cut in its middle wherever it is shown
  awk '
    /^---- .* stdout ----$/ { printing = 1; lines = 0 }
    /^stack backtrace:$/ { printing = 0 }
    /^kept for a look/ { printing = 1 }
    /^failures:$/ { printing = 0 }
    printing && lines++ < 120 { print substr($0, 1, 1500) }' "$log"
  echo "failed layers: ${failed_layers[*]}"
fi
echo "all layers took $SECONDS s"
# A layer without tests (format, lints, ...) that failed counts as one failure; one of tests that did not even build too.
awk -v layers=${#failed_layers[@]} -v skipped="$skipped" '
  /^test result: / { passed += $4; failed += $6 }
  END {
    if (layers > 0 && failed < layers) failed = layers
    printf "%d passed, %d failed", passed - skipped, failed
    if (skipped > 0) printf ", %d skipped", skipped
    printf "\n"
  }' "$log"
[ ${#failed_layers[@]} = 0 ]
