# shellcheck shell=bash disable=SC2154
# fence.sh - part of stack.sh: a broker that is killed while something else is in its group, which is no child of it and holds nothing
# of it but memory: the group is empty before anybody says that the broker is dead.
step "kill -9 of a broker, with a process of somebody else in its group"
await "every replica is in sync before the broker is killed" whole
status fence-before
start=$(node broker-2 .incarnation)
(sleep 1000 >/dev/null 2>&1 & echo $! >/run/planted)
planted=$(cat /run/planted)
echo "$planted" >$group/nodes/broker-2/cgroup.procs
saw fence.group "$(cgroup_of "$planted")"
from_here
kill -9 "$(node broker-2 .pid)"
died() { [ -e "$root/nodes/broker-2/run/exit.$start" ]; }
closed() { happened fence && grep '"kind":"fenced"' "$seen/fence.events" | grep -q '"node":"broker-2"'; }
await "the end of broker-2 is on record" died
cp "$root/nodes/broker-2/run/exit.$start" "$seen/fence.record"
await "the session of broker-2 is closed" closed
saw fence.planted "$(if [ -e "/proc/$planted" ]; then echo lives; else echo gone; fi)"
renewed() { is broker-2 .incarnation $((start + 1)) && is broker-2 .state ready && whole; }
await "broker-2 is back in every ISR after kill -9" renewed
happened fence
status fence-after
