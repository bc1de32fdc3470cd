# shellcheck shell=bash disable=SC2154
# cut.sh - part of stack.sh: the daemon is killed in the middle of a roll, when its first broker is back, and in the middle of a drill,
# while a broker is stopped by a signal. The next daemon, which systemd starts, does the rest.
steps() { happened "$1" && jq -c "select(.kind == \"$2\")" "$seen/$1.events"; } # NAME KIND: events since `from_here`
nothing_left() { [ ! -e $root/state/operation.json ] && [ ! -e $root/state/unrolled.json ] && whole; }
of_journal() { journalctl -b -o cat --no-pager -u "$unit" | grep -F -- "$1"; }

step "kill -9 of the daemon in the middle of a roll"
await "every replica is in sync before the roll" whole
status cut-before
from_here
before=$(main_pid)
cdc-supervisor roll >"$seen/cut.text" 2>&1 &
rolling=$!
back() { # the first broker that was restarted has entered an ISR again
  happened cut
  jq -se '([.[] | select(.kind == "started" and .reason == "roll")][0].node) as $first | $first != null and
    ([.[] | select(.node == $first) | .kind] | .[index("started"):] | any(. == "isr-expanded"))' "$seen/cut.events" >/dev/null
}
await "the first broker of the roll is back" back
kill -9 "$before"
wait $rolling; saw cut.rc $?
at_it() { status cut-told && jq -e '.cut_short.resume == "runs"' "$seen/cut-told.json" >/dev/null; }
await "the next daemon is at the rest of the roll" at_it
cdc-supervisor status >"$seen/cut-told.text" 2>&1
finished() { steps cut operation-ended | grep -q restarted && nothing_left; }
await "the rest of the roll is done" finished
happened cut
status cut-after
saw cut.pids "$before" "$(main_pid)"
saw cut.unit "$(systemctl is-active "$unit")"
of_journal 'roll' >"$seen/cut.journal"

step "kill -9 of the daemon in the middle of a drill"
from_here
before=$(main_pid)
stopped() { # the process of a broker that is stopped by a signal
  local name pid
  for name in broker-1 broker-2 broker-3; do
    pid=$(jq ".nodes[] | select(.name == \"$name\") | .pid" "$seen/cut-after.json")
    grep -q '^State:.T' "/proc/$pid/status" && echo "$pid" && return
  done
  return 1
}
begun() { # brokers that have just been started may be too slow for a load, here: then nothing was broken, and it is ordered again
  stopped && return
  kill -0 "$drilling" 2>/dev/null && return 1
  cdc-supervisor drill broker-pause --for 60s --rate 50 --confirm broker-pause >>"$seen/torn.text" 2>&1 &
  drilling=$!
  return 1
}
drilling=none
await "the drill has stopped a broker" begun >"$seen/torn.stopped"
kill -9 "$before"
wait "$drilling"; saw torn.rc $?
undone() { steps torn operation-left | grep -q 'removed its topics' && nothing_left; }
await "the drill is undone" undone
happened torn
status torn-after
saw torn.pids "$before" "$(main_pid)"
saw torn.still "$(stopped)"
of_journal 'drill broker-pause' >"$seen/torn.journal"
