#!/bin/bash
# Runs in the guest as root: the real ZooKeeper, brokers and mysqld, installed by install.sh from a release tree and a bundle, under the
# unit. What is done to them follows in files of their own, in this order. Leaves what it saw in /run/host/seen; mod.rs, kills.rs,
# fence.rs, cut.rs and change.rs judge.
# shellcheck source=tests/vm/head.sh
. /run/host/head.sh
# shellcheck disable=SC2034  # the parts use them
rounds=$(cat $share/rounds) starts=$(cat $share/starts)
# shellcheck disable=SC2034
later=$share/packed/later
products="zookeeper broker-1 broker-2 broker-3 mysql"
patience=240 longest=600
all_ready() { status all && jq -e '[.nodes[].state == "ready"] | length == 6 and all' "$seen/all.json" >/dev/null; }
whole() { # every replica of every partition is in sync, of the topic of the configuration too
  cdc-supervisor status --json 2>/dev/null | jq -e '.cluster.kafka | .partitions > 0 and .under_replicated.count == 0
    and ([.brokers[].listed] | length == 3 and all) and .topics.as_configured == 1' >/dev/null
}
happened() { tail -n "+$(($(cat /run/events-before) + 1))" $root/state/events.jsonl >"$seen/$1.events"; } # NAME: since the last `from_here`
from_here() { wc -l <$root/state/events.jsonl >/run/events-before; }
caps() { # NAME: what the kernel holds of each node, and whether its process is in there
  local name file
  for name in $products; do
    for file in memory.max memory.swap.max memory.oom.group pids.max; do
      saw "$1.$name.$file" "$(cat "$group/nodes/$name/$file" 2>&1)"
    done
    saw "$1.$name.cgroup" "$(cgroup_of "$(jq ".nodes[] | select(.name == \"$name\") | .pid" "$seen/$1.json")")"
  done
}

step "install.sh: a release tree and a bundle, no network"
saw network "$(ip -o addr | grep -vc ' lo ')"
install_products install
saw install.trees "$(find $root/artifacts -maxdepth 2 -name .manifest | wc -l)" "$(find $root/artifacts -user root | wc -l)"
fit_products
# Besides, a topic to look at and a log to lose bytes of.
install -m 755 $share/bin/fake-daemon /usr/local/bin/
cat >>$config <<'TOML'
[[kafka.topic]]
name = "orders.audit"
[command.ticker]
argv = ["/usr/local/bin/fake-daemon", "tick=5"]
memory_max = "16M"
TOML
saw installed.offline "$(grep -c '^offline = true' $config)"

step "systemctl start, on an empty disk"
began=$(now)
begin_unit
saw start.ms $(($(now) - began))
await "every node is ready" all_ready # READY=1 may come before a slow node is
await "every replica is in sync" whole
saw start.ready.ms $(($(now) - began))
status start
cdc-supervisor status >"$seen/start.text" 2>&1
cdc-supervisor status --memory >"$seen/memory.text" 2>&1
systemctl status --no-pager -n 0 "$unit" >"$seen/start.status" 2>&1
caps start

for part in kills plain fence cut change end; do
  # shellcheck source=/dev/null
  . $share/$part.sh
done
keep_journal
step "end"
saw end reached
