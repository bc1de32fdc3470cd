#!/bin/bash
# Runs in the guest as root, once per boot and always on the same disk: the real stack under the unit, with writers that go on
# until the power is cut. Leaves what it saw in /run/host/seen; power/mod.rs cuts the power and judges.
# shellcheck source=tests/vm/head.sh
. /run/host/head.sh
cuts=$(cat $share/cuts) store=$(cat $share/store) java=$(cat $share/java)
label="boot $boot: " patience=300
pids() { cdc-supervisor status --json 2>/dev/null | jq -c '[.nodes[] | [.name, .pid, .incarnation]]'; }
all_ready() { status "ready-$boot"; jq -e '[.nodes[].state == "ready"] | length == 5 and all' "$seen/ready-$boot.json" >/dev/null 2>&1; }
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

if [ "$boot" = 1 ]; then
  step "install, as a package would"
  install_by_hand
  shown "$store"
  java_shown "$java"
  cat >/etc/cdc-supervisor/supervisor.toml <<TOML
root = "$root"
[host]
os_floor = "64M"
[artifacts]
store = "$store"
java_home = "$java"
offline = true
[zookeeper]
[kafka]
durability = "power-cut"
[mysql]
TOML
  systemctl daemon-reload
  systemd-tmpfiles --create /usr/lib/tmpfiles.d/cdc-supervisor.conf
  systemctl -q enable "$unit"
  sync # what a package manager does; nothing else is synced from here on
  step "start, on an empty disk"
  systemctl start "$unit" || fail "the unit does not start"
fi
await "every node is ready" all_ready || fail "not every node is ready"
step "every node is ready"
saw "uptime-$boot" "$(cut -d' ' -f1 /proc/uptime)"
sed -n 's/^cluster.id=//p' $root/nodes/broker-*/data/meta.properties >"$seen/cluster-$boot"
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
