#!/bin/bash
# Runs in the guest as root, once per boot and always on the same disk: the real stack under the unit, as install.sh has put it there,
# with writers that go on until the power is cut; the first cut, of boot 0, comes right behind the installation, the last one in the middle
# of a drill. Leaves what it saw in /run/host/seen; power/mod.rs cuts the power and judges.
# shellcheck source=tests/vm/head.sh
. /run/host/head.sh
cuts=$(cat $share/cuts)
label="boot $boot: " patience=300 longest=420
pids() { cdc-supervisor status --json 2>/dev/null | jq -c '[.nodes[] | [.name, .pid, .incarnation]]'; }
all_ready() { status "ready-$boot"; jq -e '[.nodes[].state == "ready"] | length == 5 and all' "$seen/ready-$boot.json" >/dev/null 2>&1; }
all_ready_now() { cdc-supervisor status --json 2>/dev/null | jq -e '[.nodes[].state == "ready"] | length == 5 and all' >/dev/null; }
inside() { # WHAT: the test program's own part in here
  CDC_POWER_DO=$1 CDC_POWER_BOOT=$boot $share/bin/inside power::inside::in_the_guest --exact --ignored --nocapture \
    >>"$seen/inside-$boot" 2>&1
}
keep() { # what is to be looked at when something was not as expected
  journalctl --no-pager -o short-precise -b -u "$unit" -u cdc-supervisor-fetch.service >"$seen/journal" 2>&1
  cp $root/state/events.jsonl "$seen/events-$boot.jsonl" 2>/dev/null
  for node in $root/nodes/*; do tail -n 80 "$node/log/current" >"$seen/log-$boot-${node##*/}" 2>&1; done
  sync "$seen"/*
}
fail() { keep; saw "broken-$boot" "$1"; sync "$seen/broken-$boot"; exit 1; }

since_start() { # what the event log tells since the daemon of this boot began
  awk '/"kind":"daemon-started"/ { events = "" } { events = events $0 "\n" } END { printf "%s", events }' $root/state/events.jsonl
}

if [ "$boot" = 0 ]; then
  step "install.sh: a release tree and a bundle, no network"
  install_products install
  # Removed and put there once more without a bundle: that of the first time was synced with the programs of the bundle.
  ran remove /usr/lib/cdc-supervisor/install.sh uninstall
  ran install-again $share/packed/now/dist/install.sh --release $share/packed/now
  saw installed "$(cat "$seen/install.rc" "$seen/remove.rc" "$seen/install-again.rc" | paste -sd' ')"
  sync "$seen"/* # of the host's directory; nothing of this machine's disk is synced by hand, here and from here on
  sleep 600      # the power is cut
  exit 1
fi
if [ "$boot" = 1 ]; then
  step "what is there of what was installed when the power went"
  install_products again
  saw again.enabled "$(systemctl is-enabled "$unit")"
  fit_products
  sed -i 's/^durability = .*/durability = "power-cut"/' $config
  systemctl reset-failed "$unit" 2>/dev/null # it started by itself with the boot, and this guest was too small for it
  step "start, on an empty disk"
  systemctl start "$unit" || fail "the unit does not start"
fi
await "every node is ready" all_ready || fail "not every node is ready"
step "every node is ready"
saw "uptime-$boot" "$(cut -d' ' -f1 /proc/uptime)"
since_start >"$seen/came-back-$boot"
sed -n 's/^cluster.id=//p' $root/nodes/broker-*/data/meta.properties >"$seen/cluster-$boot"
if [ "$boot" = $((cuts + 2)) ]; then
  step "what the drill has left is removed"
  left() { ls $root/state/operation.json $root/state/drill-left.json 2>/dev/null; }
  undone() { [ -z "$(left)" ]; }
  await "what the drill has left is removed" undone || fail "what the drill has left is there"
  saw drill.left "$(left)"
  told() { since_start | jq -r 'select(.kind == "operation-left") | .text'; }
  said() { told | grep -q 'removed its table'; } # a thread of its own writes events
  await "the daemon tells what was left of the drill" said
  saw drill.told "$(told)"
  inside drill-traces || fail "what is there of the drill could not be read"
fi
if [ "$boot" = 1 ]; then
  inside setup || fail "topics and tables could not be made"
else
  inside check || fail "what is there could not be read"
fi
saw "checked-$boot" "$(cut -d' ' -f1 /proc/uptime)"
keep
if [ "$boot" -le "$cuts" ]; then
  step "writers, until the power is cut"
  inside write
  fail "the writers ended by themselves"
fi

if [ "$boot" = $((cuts + 1)) ]; then
  step "a drill, until the power is cut"
  cdc-supervisor drill broker-kill --rate 100 >"$seen/drill.text" 2>&1 &
  broken() { # a broker is dead, under its load
    jq -ce 'select(.kind == "drill" and (.step | startswith("SIGKILL to ")))' $root/state/operation.json >"$seen/drill.record" 2>/dev/null
  }
  await "the drill kills a broker" broken || fail "the drill killed nothing: $(cat "$seen/drill.text")"
  sync "$seen"/*
  saw drilling "$(cut -d' ' -f1 /proc/uptime)"
  sync "$seen/drilling"
  sleep 600 # the power is cut
  exit 1
fi

step "another drill"
timeout 400 cdc-supervisor drill broker-kill --rate 100 --json >"$seen/drill-again.json" 2>"$seen/drill-again.err"
saw drill-again.rc $?
inside drill-again-traces || fail "what is there of another drill could not be read"
await "every node is ready after another drill" all_ready_now || fail "not every node is ready after another drill"

step "kill -9 of the daemon, then what needs temporary files"
unpacked() { # how many brokers have the library that was unpacked into their own directory (it is unlinked once it is loaded)
  for pid in $(cdc-supervisor status --json 2>/dev/null | jq '.nodes[] | select(.name | startswith("broker-")) | .pid'); do
    grep -o -m 1 '/nodes/broker-[0-9]/run/tmp/.*zstd' "/proc/$pid/maps"
  done | wc -l
}
before=$(main_pid)
saw after.pids "$(pids)"
saw zstd.before "$(unpacked)"
kill -9 "$before"
restarted() { [ "$(main_pid)" != "$before" ] && [ "$(main_pid)" != 0 ] && systemctl -q is-active "$unit"; }
await "the unit is active again after kill -9 of the daemon" restarted
all_ready_again() { status after; jq -e '[.nodes[].state == "ready"] | all' "$seen/after.json" >/dev/null 2>&1; }
await "every node is the next daemon's" all_ready_again
inside after || fail "sorting or packing failed"
saw after.pids.then "$(pids)"
saw zstd.then "$(unpacked)"
step "stop"
systemctl stop "$unit"; saw stop.rc $?
keep
saw end reached
