#!/bin/bash
# bench.sh [OPTION...] - measures the programs as they are released against runit, s6, cat and a start script, and prints one
# table. Options go to the bench (--only ROW, --rounds N, --json, --short; --help lists them). benches/README.md says what each
# row means. Takes about three quarters of an hour, on a machine that does nothing else meanwhile.
#
# `--only guest` measures the unit in a guest with systemd (tests/vm): OOM kills and their labels, kill -9 of the daemon with the real
# stack up, systemctl start against plain units, memory of daemon and shims. It needs root and an hour; CDC_OOM_ROUNDS,
# CDC_KILL_ROUNDS and CDC_START_ROUNDS set its numbers of rounds.
#
# The rows with the real products need a filled artifact store: CDC_TEST_STORE, or target/test-store as dist/test.sh fills it;
# it is filled over the network when it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
dist/check-rust.sh
dist/install-tools.sh build run test
# a peer that cannot be had is said in its row
dist/install-tools.sh peers || echo "bench.sh: goes on without the peers that are missing" >&2
dist/build-release.sh >&2
mkdir -p target/bench
# replaced, never written into: a program that still runs must not be changed under it
for program in target/release/cdc-supervisor target/shim/cdc-shim; do
  cp -L "$program" "target/bench/.new" && mv -f target/bench/.new "target/bench/$(basename "$program")"
done
: "${CDC_TEST_STORE:=$PWD/target/test-store}"
export CDC_TEST_STORE
case " $* " in
  *" --help "* | *" --only "* | *" --short "*) ;;
  *) [ -e "$CDC_TEST_STORE/lock.toml" ] || cargo test --locked --test artifact >&2 ;;
esac
[ -e "$CDC_TEST_STORE/lock.toml" ] || unset CDC_TEST_STORE
case " $* " in
  *" --help "*) ;;
  *" --only "*guest* | *"--only="*guest*)
    dist/install-tools.sh vm
    # here, while there is a network
    tests/vm/build-guest.sh >/dev/null
    CDC_VM_TEST=$(cargo test --locked --test vm --no-run --message-format json-render-diagnostics |
      sed -n 's/.*"executable":"\([^"]*\/vm-[0-9a-f]*\)".*/\1/p' | tail -1)
    export CDC_VM_TEST
    ;;
esac
host=$(rustc -vV | sed -n 's/^host: //p')
runner=CARGO_TARGET_$(printf %s "$host" | tr a-z- A-Z_)_RUNNER
# a network of its own, as the tests have: no port of the machine matters
exec env "$runner=$PWD/dist/in-own-network" cargo bench --locked --quiet --bench figures -- --programs target/bench "$@"
