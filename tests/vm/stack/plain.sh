# shellcheck shell=bash disable=SC2154
# plain.sh - part of stack.sh: the same command lines as plain units, against the unit, so many warm starts of each in turns.
[ "$starts" -gt 0 ] || return 0
step "what runs, as plain units; $starts warm starts of each kind in turns"
plain=/run/plain
mkdir -p $plain
as_plain() { # NAME PID MEMORY_MAX: a unit with the command line, environment, directory and cap of a process of ours
  {
    echo '#!/bin/bash'
    printf 'cd %q\n' "$(readlink "/proc/$2/cwd")"
    # shellcheck disable=SC2016  # the unit's own
    printf 'exec env -i ${NOTIFY_SOCKET:+NOTIFY_SOCKET="$NOTIFY_SOCKET"} %s %s\n' \
      "$(grep -zv '^NOTIFY_SOCKET=' "/proc/$2/environ" | xargs -0 printf '%q ')" "$(xargs -0 printf '%q ' <"/proc/$2/cmdline")"
  } >"$plain/$1"
  chmod 755 "$plain/$1"
  local type=exec after=plain-zookeeper.service
  [ "$1" != mysql ] || type=notify
  case $1 in zookeeper | mysql) after= ;; esac
  printf '%s\n' '[Unit]' "After=$after" '[Service]' "Type=$type" "User=cdc-supervisor" "ExecStart=/bin/bash $plain/$1" \
    "StandardOutput=truncate:$plain/$1.log" StandardError=inherit LimitNOFILE=262144 "MemoryMax=$3" MemorySwapMax=0 \
    SuccessExitStatus=143 TimeoutStopSec=60 >"/run/systemd/system/plain-$1.service"
}
for name in $products; do
  as_plain "$name" "$(jq ".nodes[] | select(.name == \"$name\") | .pid" "$seen/killed.json")" \
    "$(cat $group/nodes/"$name"/memory.max)"
done
systemctl daemon-reload
plain_ready() { # mysqld's unit tells itself; brokers say it in their logs
  [ "$(cat $plain/broker-*.log 2>/dev/null | grep -c 'KafkaServer id=.*started')" = 3 ] && systemctl -q is-active plain-mysql
}
for _ in $(seq "$starts"); do
  systemctl stop "$unit"
  rm -f $plain/*.log
  began=$(now)
  # shellcheck disable=SC2046,SC2086  # one word a unit
  systemctl start $(printf 'plain-%s.service ' $products)
  for _ in $(seq 2400); do
    plain_ready && break
    sleep .05
  done
  took=$(($(now) - began))
  plain_ready && echo "plain $took" >>"$seen/starts"
  systemctl stop plain-broker-1 plain-broker-2 plain-broker-3 plain-mysql
  systemctl stop plain-zookeeper
  began=$(now)
  systemctl start "$unit"
  for _ in $(seq 600); do # one may be degraded for a moment behind its own readiness
    all_ready && break
    sleep .05
  done
  took=$(($(now) - began))
  all_ready && echo "unit $took" >>"$seen/starts"
done
cp $plain/* "$seen/" 2>/dev/null
await "every node is ready after the plain units" all_ready
