# shellcheck shell=bash disable=SC2154
# change.sh - part of stack.sh: what an installation goes through while the products run: another configuration, a node over its cap, a
# newer version, a restart.
of_config() { sed -i "$1" $config; }

step "systemctl reload: a broker property, and a cap that is changed in place"
await "every replica is in sync before the reload" whole
status before
of_config 's/^# log.retention.hours = 72/offsets.retention.minutes = 20160/'
of_config '/^\[mysql\]/,/^\[mysql.log\]/s/^memory_max = .*/memory_max = "1152M"/'
ran plan cdc-supervisor plan
from_here
began=$(now)
ran reload systemctl reload "$unit"
saw reload.ms $(($(now) - began))
happened reload
status reload
caps reload
for name in broker-1 broker-2 broker-3; do
  saw "reload.$name.property" "$(grep -c '^offsets.retention.minutes=20160' $root/nodes/$name/conf/server.properties)"
done
await "every replica is in sync after the reload" whole

step "a broker over its cap: clients announce requests of 32 MB, it makes room for each, and somebody lowers the cap"
start=$(node broker-3 .incarnation)
holders=()
hold() { # a broker allocates a request as soon as its length came (NetworkReceive.readFrom, 3.5); nothing of it follows
  (
    exec 3<>/dev/tcp/127.0.0.1/9094 && printf '\x02\x00\x00\x00' >&3 && exec sleep 120
  ) >/dev/null 2>&1 &
  holders+=($!)
}
anon() { [ "$(node broker-3 .memory.anon_bytes)" -gt 400000000 ]; }
record_is_there() { [ -n "$(record broker-3 "$start")" ]; }
for _ in 1 2 3 4 5 6 7 8 9 10; do hold; done
await "broker-3 holds ten of them" anon
sleep 11 # a death's record tells what the last round has seen, and rounds are ten seconds apart
# The JVM's own limits keep a broker below its cap: only a cap below what it uses can be met.
saw oom.anon "$(sed -n 's/^anon //p' $group/nodes/broker-3/memory.stat)"
echo $((256 << 20)) >$group/nodes/broker-3/memory.max
await "broker-3's death is on record" record_is_there
kill "${holders[@]}" 2>/dev/null
wait "${holders[@]}" 2>/dev/null
back() { is broker-3 .state ready && whole; }
await "broker-3 is back in every ISR" back
is_closed() { [ "$(jq -r .outcome.state "$(record broker-3 "$start")")" != open ]; }
await "the record says how it ended" is_closed
cp "$(record broker-3 "$start")" "$seen/oom.json"
cdc-supervisor incidents "$(jq .id "$seen/oom.json")" >"$seen/oom.text" 2>&1
status oom-after
saw oom.unit "$(systemctl is-active "$unit")"

step "install.sh of a later version: the nodes run on"
saw upgrade.before "$(main_pid)"
ran upgrade $later/dist/install.sh
saw upgrade.after "$(main_pid)"
saw upgrade.version "$(cdc-supervisor --version)"
status upgrade

step "systemctl restart"
from_here
began=$(now)
ran restart systemctl restart "$unit"
saw restart.ms $(($(now) - began))
await "every node is ready after the restart" all_ready
await "every replica is in sync after the restart" whole
happened restart
status restart

step "verify"
ran verify cdc-supervisor verify
