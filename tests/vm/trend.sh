#!/bin/bash
# Runs in the guest as root: nodes whose own memory grows at known rates for longer than it takes until there is a trend, one that meets
# its cap meanwhile, and one that fills its cap with page cache. Leaves what it saw in /run/host/seen; trend.rs judges.
# shellcheck source=tests/vm/head.sh
. /run/host/head.sh
step "install, as a package would"
install_by_hand
cat >$config <<'TOML'
root = "/var/lib/cdc-supervisor"
[host]
os_floor = "64M"
[command.leak]
argv = ["/usr/local/bin/fake-daemon", "leak=4"]
memory_max = "64M"
[command.close]
argv = ["/usr/local/bin/fake-daemon", "eat=50", "leak=7"]
memory_max = "64M"
[command.climb]
argv = ["/usr/local/bin/fake-daemon", "leak=160"]
memory_max = "48M"
restart = "never"
[command.cache]
argv = ["/usr/local/bin/fake-daemon", "fill=128:/var/lib/cdc-supervisor/filled"]
memory_max = "32M"
TOML
systemd-tmpfiles --create /usr/lib/tmpfiles.d/cdc-supervisor.conf
systemctl daemon-reload
begin_unit

step "one climbs to its cap"
patience=420
killed() { [ -n "$(record climb 1)" ]; }
await "climb meets its cap" killed
cp "$(record climb 1)" "$seen/climb.record"
status early

step "until there is a trend"
trended() { [ "$(node leak .memory.hours_to_cap)" != null ]; }
await "hours to the cap of what leaks" trended
status trend
cdc-supervisor status >"$seen/trend.text" 2>&1
cdc-supervisor status --memory >"$seen/trend.memory" 2>&1

step "until one is close to its cap"
warned() { [ -n "$(events memory-high close)" ]; }
await "a warning for what is close to its cap" warned
status warned
cp $root/state/events.jsonl "$seen/all.events"
saw end.daemon "$(systemctl show -P NRestarts "$unit")"
systemctl stop "$unit"
keep_journal
step "end"
saw end reached
