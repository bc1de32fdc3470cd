#!/bin/bash
# Runs in the guest as root: the daemon or a shim is killed at a failpoint around the life of a node's cgroup, and a task of the daemon
# panics. What is there afterwards is left in /run/host/seen/CASE.*. It judges nothing; cgroups.rs and panics.rs do. The cases stand in
# /run/host/cases, one a line: what is done, the point.
set -u
share=/run/host
seen=$share/seen
unit=cdc-supervisor.service
nodes=/sys/fs/cgroup/system.slice/$unit/nodes
home=/var/lib/cdc-supervisor
root=$home/root
bin=$home/bin # not /usr/bin: what is armed stands beside the program, and the sandbox lets it be taken away only here
config=/etc/cdc-supervisor/supervisor.toml
step() { echo "$(cut -d' ' -f1 /proc/uptime) $1" >>"$seen/steps"; }
status() { "$bin/cdc-supervisor" status --json 2>/dev/null; }
node() { status | jq -r ".nodes[] | select(.name == \"$1\") | $2"; }
await() { # WHAT COMMAND... - up to 40 s; what never came is named
  local what=$1
  shift
  for _ in $(seq 400); do "$@" && return; sleep .1; done
  echo "$case: $what" >>"$seen/never"
}
hit() { [ -e $bin/failpoints.hit ]; }
is() { [ "$(node "$1" "$2")" = "$3" ]; } # NODE FIELD VALUE
all_ready() { is a .state ready && is b .state ready; }
groups() { (cd $nodes && find . -mindepth 1 -type d | sort | tr '\n' ' '); }
gone() { [ ! -e "${nodes%/nodes}" ]; }
parked() { [ "$(systemctl show -P SubState $unit)" = auto-restart ]; }
arm() { install -o cdc-supervisor -m 600 /dev/null $bin/failpoints; echo "$1 ${2-kill}" >$bin/failpoints; } # POINT [ACTION]
anew() { # nothing is armed, no root, no node
  rm -rf $root $home/alone $bin/failpoints $bin/failpoints.hit
  install -d -o cdc-supervisor $home/alone
  file 32M
}
file() { # MEMORY_OF_B
  cat >$config <<TOML
root = "$root"
[host]
os_floor = "64M"
[command.a]
argv = ["/usr/local/bin/fake-daemon", "alone=$home/alone/a", "tick=1000"]
memory_max = "48M"
[command.b]
argv = ["/usr/local/bin/fake-daemon", "alone=$home/alone/b", "tick=1000"]
memory_max = "$1"
TOML
}

step "install"
case=install
install -m 755 $share/bin/cdc-supervisor $share/bin/cdc-shim /usr/bin/
install -m 755 $share/bin/fake-daemon /usr/local/bin/
install -m 644 $share/systemd/*.service /usr/lib/systemd/system/
install -m 644 $share/systemd/cdc-supervisor.sysusers /usr/lib/sysusers.d/cdc-supervisor.conf
install -m 644 $share/systemd/cdc-supervisor.tmpfiles /usr/lib/tmpfiles.d/cdc-supervisor.conf
systemd-sysusers
mkdir -p /etc/cdc-supervisor "/etc/systemd/system/$unit.d"
file 32M
systemd-tmpfiles --create /usr/lib/tmpfiles.d/cdc-supervisor.conf
install -d -o cdc-supervisor -m 755 $home $bin
install -o cdc-supervisor -m 755 $share/bin/cdc-supervisor $share/bin/cdc-shim $bin/
printf '[Service]\nRestartSec=2\nExecStart=\nExecStart=%s run\nExecReload=\nExecReload=%s reload\nExecStopPost=\n' \
  $bin/cdc-supervisor $bin/cdc-supervisor >"/etc/systemd/system/$unit.d/test.conf"
systemctl daemon-reload
echo 0 >"$seen/start.rc" # guest.rs asks whether the guest got this far

while read -r does point; do
  case=$does-$point
  step "$case"
  anew
  b=ready
  cap=32M
  left=
  case $does in
    start)
      arm "$point"
      systemctl start --no-block $unit
      await "the point" hit
      ;;
    *)
      systemctl start $unit
      await "both are ready" all_ready
      arm "$point"
      ;;&
    respawn) kill -9 "$(node b .pid)" && await "the point" hit ;;
    stop)
      "$bin/cdc-supervisor" stop b >/dev/null 2>&1
      await "the point" hit
      # systemd removes the unit's empty groups when the daemon dies; what gets empty after that is left to the next daemon
      if [ "$point" = engine.end-heard ]; then
        await "systemd waits with the next daemon" parked
        install -d -o cdc-supervisor $nodes/b $nodes/strange
        left=$(groups)
      fi
      await "the next daemon answers" is a .state ready
      "$bin/cdc-supervisor" stop b >"$seen/$case.stop" 2>&1
      b=down
      ;;
    reload)
      file 40M
      cap=40M
      systemctl reload $unit 2>/dev/null
      await "the point" hit
      await "the next daemon answers" is a .state ready
      "$bin/cdc-supervisor" reload >"$seen/$case.reload" 2>&1 || echo "$case: the second reload: $(cat "$seen/$case.reload")" >>"$seen/never"
      ;;
  esac
  await "a is ready" is a .state ready
  await "b is $b" is b .state $b
  rm -f $bin/failpoints
  {
    for name in a b; do
      pid=$(node $name .pid)
      echo "$name.cgroup $(sed -n 's/^0:://p' "/proc/$pid/cgroup" 2>/dev/null)"
      echo "$name.cap $(cat "$nodes/$name/memory.max" 2>/dev/null)"
      echo "$name.swap $(cat "$nodes/$name/memory.swap.max" 2>/dev/null)"
    done
    echo "b.wanted $cap"
    echo "b.state $b"
    echo "groups $(groups)"
    echo "groups.left $left"
    echo "copies $(pgrep -c -x fake-daemon)"
    echo "twice $(ls $home/alone/*.twice 2>/dev/null | tr '\n' ' ')"
    echo "left $(find $root/state $root/nodes/*/run -name '*.tmp' -o -name '*.bad' 2>/dev/null | tr '\n' ' ')"
    echo "events $("$bin/cdc-supervisor" events --json -n 10000 | jq -r .kind | grep -c .)"
    echo "lines $("$bin/cdc-supervisor" events --json -n 10000 | grep -c .)"
  } >"$seen/$case.state" 2>&1
  status >"$seen/$case.json"
  systemctl stop $unit
  systemctl reset-failed $unit 2>/dev/null
  # a shim that the last daemon did not start is nobody's child that the daemon waits for: it ends a moment later
  await "the unit's group is gone" gone
  {
    echo "processes $(ps -o pid=,args= -u cdc-supervisor | tr '\n' ';')"
    echo "group $(if [ -e "${nodes%/nodes}" ]; then echo present; else echo gone; fi)"
  } >"$seen/$case.stopped"
done <$share/cases

case=panic
step "$case"
anew
main() { systemctl show -P MainPID $unit; }
restarts() { systemctl show -P NRestarts $unit; }
echo WatchdogSec=3 >>"/etc/systemd/system/$unit.d/test.conf"
systemctl daemon-reload
systemctl start $unit
await "both are ready" all_ready
status >"$seen/panic-before.json"
before=$(main)
file 40M
arm reload.begun panic
"$bin/cdc-supervisor" reload >"$seen/panic.reload" 2>&1
await "the point" hit
another() { [ "$(main)" != "$before" ] && [ "$(main)" != 0 ]; }
await "the watchdog brings another daemon" another
await "both are ready under it" all_ready
status >"$seen/panic-after.json"
echo "$before $(main) $(restarts)" >"$seen/panic.mains"
"$bin/cdc-supervisor" events --json -n 10000 >"$seen/panic.events" 2>&1
journalctl -b -o cat --no-pager -u $unit >"$seen/panic.systemd"
"$bin/cdc-supervisor" reload >"$seen/panic.again" 2>&1
echo $? >"$seen/panic.again.rc"
sleep 5 # longer than the watchdog's time: a daemon that has all of its tasks feeds it
echo "$before $(main) $(restarts)" >"$seen/panic.later"
systemctl stop $unit

journalctl --no-pager -o short-precise -u $unit >"$seen/journal" 2>&1
step "end"
echo reached >"$seen/end"
