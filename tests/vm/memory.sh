#!/bin/bash
# Runs in the guest as root: lets memory run out in every way, lets limits drift, and leaves what it saw in /run/host/seen, one
# file per look. Labels of kills are compared here, because thousands are made; everything else is judged by memory.rs.
# shellcheck source=tests/vm/head.sh
. /run/host/head.sh
rounds=$(cat $share/rounds)
patience=60
newest() { ls $root/state/incidents 2>/dev/null | sed 's/\..*//' | sort -n | tail -1 | sed 's/^0*//'; }
step "install, as a package would"
install_by_hand
{
  cat <<'TOML'
root = "/var/lib/cdc-supervisor"
[host]
os_floor = "64M"
[command.calm]
argv = ["/usr/local/bin/fake-daemon", "listen=7001", "tick=1000"]
memory_max = "64M"
memory_high = "60M"
memory_low = "8M"
cpu_weight = 300
io_weight = 50
[command.calm.probe]
tcp = 7001
[command.full]
argv = ["/usr/local/bin/fake-daemon", "meal=140"]
memory_max = "160M"
[command.big]
argv = ["/usr/local/bin/fake-daemon", "hungry=300"]
memory_max = "450M"
healthy_after = "0s"
TOML
  for n in 1 2 3 4; do
    brood='"hungry=0"'
    [ $n != 3 ] || brood='"brood=3:2", "hungry=0"'
    printf '[command.n%s]\nargv = ["/usr/local/bin/fake-daemon", %s]\nmemory_max = "24M"\nhealthy_after = "0s"\n' $n "$brood"
  done
} >/etc/cdc-supervisor/supervisor.toml
systemd-tmpfiles --create /usr/lib/tmpfiles.d/cdc-supervisor.conf
systemctl daemon-reload
begin_unit
daemon=$(main_pid)
for file in memory.max memory.swap.max memory.oom.group pids.max memory.high memory.low cpu.weight io.weight; do
  saw "calm.$file" "$(cat $group/nodes/calm/$file 2>&1)"
done
saw calm.trouble "$(events trouble calm)"

step "a node close to its cap is warned of, and again when it is not any more"
kill -USR1 "$(node full .pid)"
warned() { [ -n "$(events memory-high full)" ]; }
await "a warning for a node close to its cap" warned
saw high "$(events memory-high full)"
kill -USR1 "$(node full .pid)"
eased() { [ -n "$(events memory-eased full)" ]; }
await "word of a node that is not close to its cap any more" eased
saw eased "$(events memory-eased full)"

step "limits that drift are put right"
pid=$(node calm .pid)
mkdir $group/nodes/elsewhere
echo max >$group/nodes/calm/memory.max
echo 50 >$group/nodes/calm/cpu.weight
echo "$pid" >$group/nodes/elsewhere/cgroup.procs
saw drift.moved "$(cgroup_of "$pid")"
mended() { [ "$(cat $group/nodes/calm/memory.max)" != max ] && [ "$(cgroup_of "$pid")" = "/system.slice/$unit/nodes/calm" ]; }
await "limits that drifted are put right" mended
sleep 1 # the event log is written by a thread of its own
saw drift.pids "$pid" "$(node calm .pid)"
# one of the processes of a node, its main process being where it belongs
child=$(pgrep -P "$(node n3 .pid)" | head -1)
echo "$child" >$group/nodes/elsewhere/cgroup.procs
back() { [ "$(cgroup_of "$child")" = "/system.slice/$unit/nodes/n3" ]; }
await "a process of a node is back in its group" back
sleep 1
saw drift.child "$child" "$(events limit-drift n3)"
saw drift.memory.max "$(cat $group/nodes/calm/memory.max)"
saw drift.cpu.weight "$(cat $group/nodes/calm/cpu.weight)"
saw drift.events "$(events limit-drift calm)"
rmdir $group/nodes/elsewhere
status started
cdc-supervisor status --memory >"$seen/memory.text" 2>&1

step "$rounds rounds of kills"
# Each round chooses by chance; the label of each death is compared with what was done. The seed is told for a repetition.
seed=$(cat $share/seed 2>/dev/null || echo 7)
RANDOM=$seed
first=$(newest)
deaths=0
expect() { # NODE INCARNATION CAUSE LIMIT: waits for the record and compares
  local file='' got
  for _ in $(seq 400); do
    file=$(record "$1" "$2")
    [ -n "$file" ] && break
    sleep .05
  done
  deaths=$((deaths + 1))
  if [ -z "$file" ]; then
    echo "round $round ($kind): $1 start $2: no incident" >>"$seen/campaign.missed"
    return
  fi
  got=$(jq -r '.cause + " " + (.memory.limit // "none")' "$file")
  echo "$kind $got" >>"$seen/campaign.labels"
  [ "$got" = "$3 $4" ] || echo "round $round ($kind): $1 start $2: $got, not $3 $4" >>"$seen/campaign.wrong"
}
for round in $(seq "$rounds"); do
  states=$(cdc-supervisor status --json 2>/dev/null)
  ready() { jq -e '[.nodes[] | select(.name | test("^n[1-4]$")) | .state == "ready"] | all' <<<"$states" >/dev/null; }
  for _ in $(seq 100); do
    ready && break
    sleep .1
    states=$(cdc-supervisor status --json 2>/dev/null)
  done
  # NAME PID INCARNATION
  mapfile -t nodes < <(jq -r '.nodes[] | select(.name | test("^n[1-4]$")) | "\(.name) \(.pid) \(.incarnation)"' <<<"$states")
  pick=$((RANDOM % 10)) one=$((RANDOM % 4))
  cause="out-of-memory" limit="cap" victims=("${nodes[$one]}") signals=(USR1)
  case $pick in
  0 | 1 | 2) kind="itself" ;;
  3 | 4) kind="child" signals=(USR2) ;;
  5) kind="group" victims=("${nodes[2]}") ;;
  6) kind="group-child" victims=("${nodes[2]}") signals=(USR2) ;;
  7) kind="three-at-once" victims=("${nodes[0]}" "${nodes[1]}" "${nodes[3]}") signals=(USR1 USR2 USR1) ;;
  8) kind="all-at-once" victims=("${nodes[@]}") signals=(USR1 USR2 USR1 USR2) ;;
  *) kind="killed-from-outside" cause="killed-by-other" limit="none" signals=(KILL) ;;
  esac
  for at in "${!victims[@]}"; do
    read -r name pid start <<<"${victims[$at]}"
    kill -"${signals[$at]}" "$pid"
  done
  for victim in "${victims[@]}"; do
    read -r name pid start <<<"$victim"
    expect "$name" "$start" "$cause" "$limit"
  done
done
saw campaign.seed "$seed"
saw campaign.deaths "$deaths" "$(($(newest) - ${first:-0}))"
touch "$seen/campaign.wrong" "$seen/campaign.missed"

step "a limit of the unit"
start=$(node big .incarnation) round=- kind="group-above"
systemctl set-property --runtime "$unit" MemoryMax=$(($(cat $group/memory.current) + 41943040))
kill -USR1 "$(node big .pid)"
expect big "$start" out-of-memory group-above
systemctl set-property --runtime "$unit" MemoryMax=infinity
await "big is back after the limit of the unit" is big .state ready

step "a limit of the unit that another node meets: what big outlives is not what it is killed for later"
start=$(node full .incarnation) kind="another-above"
systemctl set-property --runtime "$unit" MemoryMax=$(($(cat $group/memory.current) + 41943040))
kill -USR1 "$(node full .pid)"
expect full "$start" out-of-memory group-above
systemctl set-property --runtime "$unit" MemoryMax=infinity
await "full is back after the limit of the unit" is full .state ready

step "the whole machine is out of memory"
start=$(node big .incarnation) kind="host"
kill -USR1 "$(node big .pid)"
ate() { [ "$(node big .memory.anon_bytes)" -gt 290000000 ]; }
await "big has eaten" ate
sleep 11 # a death's record tells what the last round has seen, and rounds are ten seconds apart
free=$(($(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo) / 1024))
choom -n -1000 -- /usr/local/bin/fake-daemon "eat=$((free + 150))" >/dev/null 2>&1 &
hog=$!
expect big "$start" out-of-memory host
kill -9 $hog
await "big is back after the machine was out of memory" is big .state ready
saw host.text "$(cdc-supervisor incidents "$(jq .id "$(record big "$start")")" 2>&1)"

step "what is told"
status end
saw end.daemon "$daemon" "$(main_pid)" "$(systemctl show -P NRestarts "$unit")" "$(systemctl is-active "$unit")"
saw cap.json "$(cat $root/state/incidents/*.n?.*.json | jq -c 'select(.memory.limit == "cap" and .memory.oom_times > 1)' | tail -1)"
cdc-supervisor incidents "$(jq .id "$seen/cap.json")" >"$seen/cap.text" 2>&1
cdc-supervisor status --memory >"$seen/memory-end.text" 2>&1

step "the journal"
journalctl -o json -u "$unit" NODE=calm | tail -50 >"$seen/journal.calm"
# of this node: two thousand kills leave more warnings of the others than fit
journalctl -o json -u "$unit" -p warning --no-pager NODE=calm | tail -50 >"$seen/journal.warnings"
cdc-supervisor logs --journal -n 12 calm >"$seen/journal.merged" 2>"$seen/journal.merged.err"; saw journal.merged.rc $?
cdc-supervisor logs --journal supervisor -n 5 >"$seen/journal.own" 2>&1; saw journal.own.rc $?
keep_journal
systemctl stop "$unit"

step "an ordinary user's up takes a scope of the user's own manager"
user_manager
as_kim systemd-run --user --scope -p Delegate=yes true >"$seen/user.systemd-run" 2>&1; saw user.systemd-run.rc $?
cat >/home/kim/supervisor.toml <<'TOML'
root = "/home/kim/cdc"
[host]
os_floor = "64M"
[command.calm]
argv = ["/usr/local/bin/fake-daemon", "hungry=0"]
memory_max = "24M"
healthy_after = "0s"
TOML
chown kim: /home/kim/supervisor.toml
as_kim cdc-supervisor up --detach >"$seen/user.up" 2>&1; saw user.up.rc $?
as_kim cdc-supervisor status --json >"$seen/user.json" 2>"$seen/user.err"
user_pid() { jq -r '.nodes[0].pid' "$seen/user.json"; }
saw user.cgroup "$(cgroup_of "$(user_pid)")"
saw user.memory.max "$(cat "/sys/fs/cgroup$(cgroup_of "$(user_pid)")/memory.max" 2>&1)"
sleep 3 # a start has a round of its own
# nothing else happens there: no probe looks, no service manager wants to hear of it
limit="/sys/fs/cgroup$(cgroup_of "$(user_pid)")/memory.max"
echo 33554432 >"$limit"
put_right() { [ "$(cat "$limit")" = 25165824 ]; }
await "a limit in the user's scope is put right though nothing happens" put_right
kill -9 "$(jq -r .supervisor.pid "$seen/user.json")"
as_kim cdc-supervisor up --detach >"$seen/user.again" 2>&1
as_kim cdc-supervisor status --json >"$seen/user-again.json" 2>&1
saw user.daemon.cgroup "$(cgroup_of "$(jq -r .supervisor.pid "$seen/user-again.json")")"
kill -USR1 "$(user_pid)"
killed() { [ "$(as_kim cdc-supervisor status --json 2>/dev/null | jq -r '.nodes[0].last_exit.oom_by')" = cap ]; }
await "a node in the user's scope meets its cap" killed
as_kim cdc-supervisor down >"$seen/user.down" 2>&1
as_kim env -C / cdc-supervisor status >"$seen/user.unit.text" 2>&1

step "end"
saw end reached
