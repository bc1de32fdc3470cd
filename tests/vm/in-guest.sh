#!/bin/bash
# Runs in the guest as root: installs the unit, does what the tests of main.rs ask about, and leaves what it saw in
# /run/host/seen, one file per look. It judges nothing; main.rs does.
# shellcheck source=tests/vm/head.sh
. /run/host/head.sh
look() { # PREFIX NODE: where the node is and what holds there
  local pid
  pid=$(node "$2" .pid)
  saw "$1.pid" "$pid"
  saw "$1.cgroup" "$(cgroup_of "$pid")"
  for file in memory.max memory.swap.max memory.oom.group pids.max; do
    saw "$1.$file" "$(cat "/sys/fs/cgroup$(cgroup_of "$pid")/$file" 2>&1)"
  done
}
step "install, as a package would"
install_by_hand
cat >$config <<'TOML'
root = "/var/lib/cdc-supervisor"
[host]
os_floor = "64M"
[command.calm]
argv = ["/usr/local/bin/fake-daemon", "tick=5"]
memory_max = "64M"
log = { max_bytes = "4K", keep = 1000 }
[command.hungry]
argv = ["/bin/sh", "-c", "while [ ! -e /var/lib/cdc-supervisor/hungry ]; do sleep 0.1; done; rm /var/lib/cdc-supervisor/hungry; exec /usr/local/bin/fake-daemon eat=200"]
env = { PATH = "/usr/bin:/bin" }
memory_max = "32M"
after = ["calm"]
[command.family]
argv = ["/usr/local/bin/fake-daemon", "grandchild=/var/lib/cdc-supervisor/grandchild"]
memory_max = "32M"
TOML
systemd-tmpfiles --create /usr/lib/tmpfiles.d/cdc-supervisor.conf
systemctl daemon-reload
systemd-analyze verify "$unit" cdc-supervisor-fetch.service cdc-supervisor-nodes.service >"$seen/verify" 2>&1
systemd-analyze security --no-pager "$unit" 2>&1 | tail -1 >"$seen/security"

step "start"
begin_unit
saw start.active "$(systemctl is-active "$unit")"
status start
look start calm
saw daemon.cgroup "$(cgroup_of "$(main_pid)")"
saw shim.cgroup "$(cgroup_of "$(ps -o ppid= -p "$(node calm .pid)" | tr -d ' ')")"
saw daemon.user "$(ps -o user:32= -p "$(main_pid)")"
saw calm.user "$(ps -o user:32= -p "$(node calm .pid)")"
saw modes "$(stat -c '%a %G' $root/run) $(stat -c '%a %G' $root/run/control.sock)"
saw start.statustext "$(systemctl show -P StatusText "$unit")"

step "kill -9 of the daemon"
fetched() { journalctl -b --no-pager -u cdc-supervisor-fetch.service | grep -c Finished; }
fetched_before=$(fetched)
before=$(main_pid)
owners() { stat -c %y /run/cdc-supervisor/port-owners.json; } # when they were written down
saw start.owners "$(owners)"
kill -9 "$before"
restarted() { [ "$(main_pid)" != "$before" ] && [ "$(main_pid)" != 0 ] && active; }
await "the unit is active again after kill -9 of the daemon" restarted
await "calm is ready after kill -9 of the daemon" is calm .state ready
saw killed.pids "$before" "$(main_pid)"
passed_over() { [ "$(systemctl show -P Result cdc-supervisor-fetch.service)" = exec-condition ]; }
await "the fetch unit is passed over" passed_over
saw killed.fetch $(($(fetched) - fetched_before))
saw killed.owners "$(owners)"
status killed
look killed calm

step "upgrade-self: another version in the same process"
before=$(main_pid)
version=$(cdc-supervisor --version | cut -d' ' -f2)
LC_ALL=C sed "s/${version//./\\.}/${version%?}9/g" /usr/bin/cdc-supervisor >/usr/bin/cdc-supervisor.new
chmod 755 /usr/bin/cdc-supervisor.new
mv /usr/bin/cdc-supervisor.new /usr/bin/cdc-supervisor
cdc-supervisor upgrade-self >"$seen/upgrade.text" 2>&1; saw upgrade.rc $?
saw upgrade.pids "$before" "$(main_pid)"
saw upgrade.state "$(systemctl is-active "$unit")" "$(systemctl show -P NRestarts "$unit")"
saw upgrade.version "${version%?}9"
status upgrade
look upgrade calm

step "kill -9 of a shim, with a grandchild in a session of its own"
grandchild=$(cat $root/grandchild)
kill -9 "$(ps -o ppid= -p "$(node family .pid)" | tr -d ' ')"
await "family is replaced after kill -9 of its shim" is family .incarnation 2
await "family is ready after kill -9 of its shim" is family .state ready
saw shim.grandchild "$(if [ -e "/proc/$grandchild" ]; then echo lives; else echo gone; fi)"
status shim

step "a node over its cap"
touch $root/hungry
chmod 666 $root/hungry
await "hungry has met its cap" is hungry '.last_exit.cause // ""' out-of-memory
await "hungry is ready again" is hungry .state ready
saw oom.active "$(systemctl is-active "$unit")"
saw oom.group "$(cat "$group"/nodes/hungry/memory.events 2>&1)"
status oom
cdc-supervisor incidents --json hungry >"$seen/incidents.json" 2>"$seen/incidents.err"
cdc-supervisor incidents "$(jq '.incidents[-1].id' "$seen/incidents.json")" >"$seen/incidents.text" 2>&1

step "restart of the unit stops and starts everything"
# shellcheck disable=SC2046  # lines without blanks
overrule $(instead WatchdogSec=2) # for the next step: a daemon is told at its start
fetched() { journalctl -b --no-pager -u cdc-supervisor-fetch.service | grep -c Finished; }
saw restart.fetched-before "$(fetched)"
systemctl restart "$unit"; saw restart.rc $?
await "calm is ready after a restart of the unit" is calm .state ready
status restart
saw restart.fetched "$(fetched)"

step "a daemon that hangs"
before=$(main_pid)
kill -STOP "$before"
await "the watchdog replaces a daemon that hangs" restarted
await "calm is ready after the watchdog" is calm .state ready
saw hang.pids "$before" "$(main_pid)"
status hang
sleep 3 # longer than the watchdog's time: a daemon that lives feeds it
saw hang.later "$(main_pid)"
overrule

step "reload: a cap is changed in place, a node with another command line restarts, a broken file changes nothing"
sed -i '/^\[command.calm\]/,/^\[/s/^memory_max = .*/memory_max = "48M"/; s|grandchild=/var/lib/cdc-supervisor/grandchild"|&, "tick=1000"|' $config
cdc-supervisor plan >"$seen/plan.text" 2>&1
systemctl reload "$unit"; saw reload.rc $?
status reload
look reload calm
echo 'nonsense = "here"' >>$config
systemctl reload "$unit" 2>/dev/null; saw reload.broken.unit $?
saw reload.broken.failed "$(systemctl --failed --no-legend --plain 'cdc-supervisor*')"
cdc-supervisor reload >"$seen/reload.broken.text" 2>&1; saw reload.broken.rc $?
saw reload.broken.active "$(systemctl is-active "$unit")"
status reload-broken
sed -i '$d' $config

step "the clock is set back and forward"
clock() { # NAME SECONDS: the clock is set so far off; hungry dies, is restarted and looked at, and so is the daemon
  date -s "@$(($(date +%s) + $2))" >/dev/null
  local start
  start=$(node hungry .incarnation)
  date -u +%Y-%m-%dT%H:%M:%SZ >"$seen/clock.$1.at"
  kill -9 "$(node hungry .pid)"
  await "hungry is back after the clock was set $1" is hungry .incarnation $((start + 1))
  await "hungry is ready after the clock was set $1" is hungry .state ready
  status "clock-$1"
  cdc-supervisor status >"$seen/clock.$1.text" 2>&1
  cdc-supervisor events --json --since "$(cat "$seen/clock.$1.at")" hungry >"$seen/clock.$1.events" 2>&1
  cdc-supervisor logs -n 5 calm >"$seen/clock.$1.log" 2>&1
}
status clock-before
clock back -86400
clock forward 172800
before=$(main_pid)
kill -9 "$before"
await "the unit is active again after the clock was set" restarted
await "calm is ready after the clock was set" is calm .state ready
status clock-after
cdc-supervisor events --json >"$seen/clock.all" 2>&1
cdc-supervisor incidents --json hungry >"$seen/clock-incidents.json" 2>"$seen/clock-incidents.err"
ls $root/nodes/calm/log >"$seen/clock.files"
date -s "@$(($(date +%s) - 86400))" >/dev/null

step "stop leaves nothing"
ordered() { # NAME: in which order `down` has stopped the nodes, since then
  journalctl -b -o cat --no-pager -S "@$since" -u "$unit" | sed -n 's|.* \([a-z]*\): stopped (.*|\1|p' >"$seen/$1.order"
}
of_events=$(wc -l <$root/state/events.jsonl)
systemctl stop "$unit"; saw stop.rc $?
tail -n "+$((of_events + 1))" $root/state/events.jsonl >"$seen/stop.events"
saw stop.active "$(systemctl is-active "$unit")"
saw stop.left "$(of_user)"
saw stop.result "$(systemctl show -P Result "$unit")"
saw stop.cgroup "$(if [ -e "$group" ]; then echo present; else echo gone; fi)"

step "down is a stop"
systemctl start "$unit"
cdc-supervisor down >"$seen/down.text" 2>&1; saw down.rc $?
gone() { [ "$(systemctl show -P ActiveState "$unit")" = inactive ]; }
await "the unit is inactive after down" gone
sleep 1 # RestartSec is 0.2 s: a restart would have come
saw down.state "$(systemctl show -P ActiveState "$unit")" "$(systemctl show -P NRestarts "$unit")"
saw down.left "$(of_user)"

step "a stop that needs more than TimeoutStopSec= has its graces"
cp $config /var/tmp/good.toml
cat >>$config <<'TOML'
[command.stubborn]
argv = ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.2; done"]
env = { PATH = "/usr/bin:/bin" }
memory_max = "16M"
grace = "6s"
after = ["calm"]
TOML
# shellcheck disable=SC2046
overrule $(instead TimeoutStopSec=4)
systemctl start "$unit"
systemctl stop "$unit"
saw extended.result "$(systemctl show -P Result "$unit")"
saw extended.left "$(of_user)"

step "the daemon dies in the middle of a stop"
# what is left takes longer: the stop without a daemon asks for its time
# shellcheck disable=SC2046
overrule $(instead TimeoutStopSec=4)
systemctl start "$unit"
await "stubborn is ready before the stop" is stubborn .state ready
before=$(main_pid) since=$(date +%s)
systemctl stop --no-block "$unit"
await "the unit is being stopped" stopping
kill -9 "$before"
systemctl stop "$unit"
saw crossed.result "$(systemctl show -P Result "$unit")"
saw crossed.left "$(of_user)"
saw crossed.cgroup "$(if [ -e "$group" ]; then echo present; else echo gone; fi)"
saw crossed.session "$(ls $root/state/session.json 2>&1)"
ordered crossed
systemctl reset-failed "$unit"
from=$(wc -l <$root/state/events.jsonl)
ran crossed-start systemctl start "$unit"
status crossed-next
tail -n "+$((from + 1))" $root/state/events.jsonl >"$seen/crossed-next.events"
systemctl stop "$unit"

step "the daemon dies in the middle of a restart"
systemctl start "$unit"
await "stubborn is ready before the restart" is stubborn .state ready
status turned-before
before=$(main_pid)
systemctl restart --no-block "$unit"
await "the unit is being stopped for a restart" stopping
of_calm=$(node calm .pid) # whose turn comes after stubborn's
kill -9 "$before"
systemctl start "$unit"; saw turned.rc $?
await "stubborn is ready after the restart" is stubborn .state ready
status turned
saw turned.calm "$(if [ -e "/proc/$of_calm" ]; then echo lives; else echo gone; fi)"
systemctl stop "$unit"
systemctl reset-failed "$unit"

step "the next daemon begins and gets nowhere"
systemctl start "$unit"
await "stubborn is ready before a daemon that gets nowhere" is stubborn .state ready
status begins-before
restarts() { systemctl show -P NRestarts "$unit"; }
restarts_before=$(restarts)
hangs=(ExecStart= 'ExecStart=/bin/sleep 1000')
# shellcheck disable=SC2046
overrule "${hangs[@]}" $(instead TimeoutStartSec=3)
kill -9 "$(main_pid)"
tried() { [ $(($(restarts) - restarts_before)) -ge 3 ]; }
await "a start that gets nowhere is tried again" tried
saw begins.pids "$(for name in calm second hungry family stubborn; do jq -r ".nodes[] | select(.name == \"$name\") | .pid" \
  "$seen/begins-before.json"; done | while read -r pid; do [ -e "/proc/$pid" ] || echo "$pid is gone"; done)"
overrule "${hangs[@]}"
begins() { [ "$(systemctl show -P SubState "$unit")" = start ] && [ "$(main_pid)" != 0 ]; }
await "the next daemon has begun" begins
ran begins-stop systemctl stop "$unit"
saw begins.left "$(of_user)"
saw begins.state "$(state)"
overrule
systemctl reset-failed "$unit" 2>/dev/null

step "a stop that takes too long: the nodes are stopped through their shims"
# without the daemon's word for it systemd knows of no progress (a watchdog would let it speak all the same)
# shellcheck disable=SC2046
overrule Type=exec NotifyAccess=none WatchdogSec=0 $(instead TimeoutStopSec=4)
systemctl start "$unit"
await "stubborn is ready" is stubborn .state ready
since=$(date +%s)
systemctl stop "$unit"
saw late.result "$(systemctl show -P Result "$unit")"
saw late.left "$(of_user)"
ordered late
systemctl reset-failed "$unit"
cp /var/tmp/good.toml $config
overrule

step "a broken configuration ends the unit once, with its own code"
echo 'nonsense = "here"' >>$config
systemctl start "$unit"; saw broken.rc $?
sleep 1 # RestartSec is 0.2 s: a restart would have come
saw broken.state "$(systemctl show -P ActiveState "$unit")" "$(systemctl show -P NRestarts "$unit")" \
  "$(systemctl show -P ExecMainStatus "$unit")"
cp /var/tmp/good.toml $config
systemctl reset-failed "$unit"

step "a bad file with live nodes: the next daemon adopts by the plan it had"
systemctl start "$unit"
await "calm is ready once more" is calm .state ready
status plan-before
echo 'nonsense = "here"' >>$config
before=$(main_pid)
kill -9 "$before"
await "the unit is active again with a bad file" restarted
await "the daemon answers with a bad file" is calm .state ready
status plan-after
cp /var/tmp/good.toml $config
# shellcheck disable=SC2046  # names without blanks
ran idle-stop cdc-supervisor stop $(jq -r '.nodes[].name' "$seen/plan-after.json")
echo 'nonsense = "here"' >>$config
systemctl reload "$unit" 2>/dev/null; saw reload.idle.unit $?
saw reload.idle.failed "$(systemctl --failed --no-legend --plain 'cdc-supervisor*')"
cp /var/tmp/good.toml $config
systemctl stop "$unit"

step "a file that names another root while nodes run: they are looked after and stopped where they are"
systemctl start "$unit"
status moved-before
sed -i 's|^root = .*|root = "/var/lib/cdc-supervisor/other"|' $config
ran moved-reload systemctl reload "$unit"
before=$(main_pid)
kill -9 "$before"
await "the unit is active again with another root in its file" restarted
await "the daemon answers with another root in its file" is calm .state ready
status moved-after
says_so() { systemctl show -P StatusText "$unit" | grep -q 'names the root'; }
await "the status says which root is served" says_so
saw moved.text "$(systemctl show -P StatusText "$unit")"
overrule RestartSec=60
kill -9 "$(main_pid)"
await "the unit waits for its restart with another root in its file" waits
saw moved.nodes "$(pgrep -u cdc-supervisor -c fake-daemon)"
ran moved-stop systemctl stop "$unit"
saw moved.left "$(of_user)"
cp /var/tmp/good.toml $config
overrule

# shellcheck source=tests/vm/lines.sh
. $share/lines.sh
keep_journal
step "end"
saw end reached
