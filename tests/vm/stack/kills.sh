# shellcheck shell=bash disable=SC2154
# kills.sh - part of stack.sh: a daemon that is killed again and again, and what daemon and shims hold at rest.
next_pid() { # the pid of a daemon that is not this one any more; 0 is between two, and kill -9 0 would end this script
  for _ in $(seq 600); do
    next=$(main_pid)
    [ "$next" != "$1" ] && [ "$next" != 0 ] && break
    sleep .05
  done
  [ "$next" != 0 ] || { saw end "no daemon came after pid $1"; keep_journal; exit 1; }
  daemon=$next
}

step "$rounds rounds of kill -9 of the daemon"
RANDOM=7
daemon=$(main_pid)
for round in $(seq "$rounds"); do
  sleep ".$((RANDOM % 9))"
  if [ $((round % 4)) = 0 ]; then # in the middle of an adoption
    kill -9 "$daemon"
    next_pid "$daemon"
    sleep ".0$((RANDOM % 9))"
  fi
  began=$(now)
  kill -9 "$daemon"
  for _ in $(seq 400); do
    # six adopted since the kill: five products and the ticker
    [ "$(tail -n 40 $root/state/events.jsonl | jq -c --argjson began "$began" '
      def ms: capture("(?<t>.*)\\.(?<ms>[0-9]+)Z$") | (.t + "Z" | fromdate) * 1000 + (.ms | tonumber);
      select(.kind == "adopted" and (.at | ms) >= $began) | .node' |
      sort -u | wc -l)" -ge 6 ] && break
    sleep .05
  done
  next_pid "$daemon"
  # When the daemon began and when the last node was its own, milliseconds since the kill.
  tail -n 60 $root/state/events.jsonl | jq -r --argjson began "$began" '
    def ms: capture("(?<t>.*)\\.(?<ms>[0-9]+)Z$") | (.t + "Z" | fromdate) * 1000 + (.ms | tonumber);
    select(.kind == "daemon-started" or .kind == "adopted") | (.at | ms) as $at | select($at >= $began) | "\(.kind) \($at - $began)"' |
    awk -v round="$round" '$1 == "daemon-started" { began = $2 } $1 == "adopted" { last = $2; n++ } END { print round, n, began, last }' >>"$seen/rounds"
done
await "each node was looked at by the last daemon" all_ready
status killed
saw killed.unit "$(systemctl is-active "$unit")" "$(systemctl show -P NRestarts "$unit")"
sleep 1
# Every tick of the log, over rotations: one that is missing or twice shows as a gap.
cat $root/nodes/ticker/log/@*.log $root/nodes/ticker/log/current 2>/dev/null | awk '
  /^tick / { if ($2 != next_one) bad++; next_one = $2 + 1; n++ } !/^tick / { other++ } END { print n + 0, bad + 0, other + 0 }' >"$seen/ticks"
zcat -f $root/nodes/*/log/*.gz $root/nodes/*/log/current 2>/dev/null | grep -c 'cdc-supervisor\] shim and daemon ended together' >"$seen/gaps"

step "what daemon and shims hold, at rest"
sleep 10 # the last adoption's readings are over
own=$group/supervisor
of_own() { sed -n "s/^$1 //p" $own/memory.stat; }
saw own "$(of_own anon)" "$(of_own kernel)" "$(of_own file)" "$(cat $own/memory.peak)"
# what a JVM writes of its collections: node, lines, bytes, seconds it ran
for name in zookeeper broker-1 broker-2 broker-3; do
  files=$(ls $root/nodes/$name/run/tmp/gc.log*)
  # shellcheck disable=SC2086  # one or two
  echo "$name $(cat $files | grep -c 'GC(') $(cat $files | wc -c) $(ps -o etimes= -p "$(node $name .pid)")" >>"$seen/gc"
done
echo 1G >$own/memory.reclaim 2>/dev/null # takes what can be had, and says that it was less
saw own.reclaimed "$(cat $own/memory.current)"
