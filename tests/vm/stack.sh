#!/bin/bash
# Runs in the guest as root: the real ZooKeeper, brokers and mysqld under the unit, with the programs of the store that the host
# shows, and a daemon that is killed again and again. Leaves what it saw in /run/host/seen; stack.rs judges.
set -u
share=/run/host
seen=$share/seen
unit=cdc-supervisor.service
root=/var/lib/cdc-supervisor
rounds=$(cat $share/rounds) starts=$(cat $share/starts) store=$(cat $share/store) java=$(cat $share/java)
step() { echo "$(cut -d' ' -f1 /proc/uptime) $1" >>"$seen/steps"; }
saw() { printf '%s\n' "${@:2}" >"$seen/$1"; }                              # NAME VALUE...
status() { cdc-supervisor status --json >"$seen/$1.json" 2>"$seen/$1.err"; } # NAME
main_pid() { systemctl show -P MainPID "$unit"; }
now() { date +%s%3N; }
next_pid() { # the pid of a daemon that is not this one any more; 0 is between two, and kill -9 0 would end this script
  for _ in $(seq 600); do
    next=$(main_pid)
    [ "$next" != "$1" ] && [ "$next" != 0 ] && break
    sleep .05
  done
  [ "$next" != 0 ] || { saw end "no daemon came after pid $1"; keep_journal; exit 1; }
  daemon=$next
}
keep_journal() {
  journalctl --no-pager -o short-precise -u "$unit" -u cdc-supervisor-fetch.service >"$seen/journal" 2>&1
  cp $root/state/events.jsonl "$seen/" 2>/dev/null
}
shown() { # DIRECTORY: the host's, under its own name
  mkdir -p "$1"
  mount -t hostfs -o "hostfs=$1" none "$1"
}

saw boot-1 begun
step "install, as a package would"
install -m 755 $share/bin/cdc-supervisor $share/bin/cdc-shim /usr/bin/
install -m 755 $share/bin/fake-daemon /usr/local/bin/
install -m 644 $share/systemd/*.service /usr/lib/systemd/system/
install -m 644 $share/systemd/cdc-supervisor.sysusers /usr/lib/sysusers.d/cdc-supervisor.conf
install -m 644 $share/systemd/cdc-supervisor.tmpfiles /usr/lib/tmpfiles.d/cdc-supervisor.conf
systemd-sysusers
shown "$store"
shown "$java"
# Debian's runtimes have links into /etc.
for conf in $(find "$java" -maxdepth 2 -type l -lname '/etc/*' -printf '%l\n' | cut -d/ -f2,3 | sort -u); do shown "/$conf"; done
mkdir -p /etc/cdc-supervisor
cat >/etc/cdc-supervisor/supervisor.toml <<TOML
root = "$root"
[host]
os_floor = "64M"
[artifacts]
store = "$store"
java_home = "$java"
offline = true
[zookeeper]
[kafka]
[mysql]
[command.ticker]
argv = ["/usr/local/bin/fake-daemon", "tick=5"]
memory_max = "16M"
TOML
systemd-tmpfiles --create /usr/lib/tmpfiles.d/cdc-supervisor.conf
systemctl daemon-reload

step "start, on an empty disk"
began=$(now)
systemctl start "$unit"; saw start.rc $?
saw start.ms $(($(now) - began))
status start
if [ "$(cat "$seen/start.rc")" != 0 ]; then # the rest would only wait
  keep_journal
  exit 1
fi
if ! jq -e '[.nodes[].state == "ready"] | all' "$seen/start.json" >/dev/null; then
  for _ in $(seq 120); do # READY=1 may come before a slow node is ready
    sleep 1
    status start
    jq -e '[.nodes[].state == "ready"] | all' "$seen/start.json" >/dev/null && break
  done
fi
cdc-supervisor status --memory >"$seen/memory.text" 2>&1
for name in zookeeper broker-1 mysql; do
  saw "$name.memory.max" "$(cat /sys/fs/cgroup/system.slice/$unit/nodes/$name/memory.max 2>&1)"
done

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
      select(.kind == "adopted" and (.at | sub("\\.(?<ms>[0-9]+)Z$"; "Z") | fromdate * 1000) >= ($began - 999)) | .node' |
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
status end
saw end.unit "$(systemctl is-active "$unit")" "$(systemctl show -P NRestarts "$unit")"
sleep 1
# Every tick of the log, over rotations: one that is missing or twice shows as a gap.
cat $root/nodes/ticker/log/@*.log $root/nodes/ticker/log/current 2>/dev/null | awk '
  /^tick / { if ($2 != next_one) bad++; next_one = $2 + 1; n++ } !/^tick / { other++ } END { print n + 0, bad + 0, other + 0 }' >"$seen/ticks"
zcat -f $root/nodes/*/log/*.gz $root/nodes/*/log/current 2>/dev/null | grep -c 'cdc-supervisor\] shim and daemon ended together' >"$seen/gaps"

step "what daemon and shims hold, at rest"
sleep 10 # the last adoption's readings are over
own=/sys/fs/cgroup/system.slice/$unit/supervisor
of_own() { sed -n "s/^$1 //p" $own/memory.stat; }
saw own "$(of_own anon)" "$(of_own kernel)" "$(of_own file)" "$(cat $own/memory.peak)"
status rest
echo 1G >$own/memory.reclaim 2>/dev/null # takes what can be had, and says that it was less
saw own.reclaimed "$(cat $own/memory.current)"

step "what runs, as plain units"
plain=/run/plain nodes="zookeeper broker-1 broker-2 broker-3 mysql"
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
for name in $nodes; do
  as_plain "$name" "$(jq ".nodes[] | select(.name == \"$name\") | .pid" "$seen/end.json")" \
    "$(cat /sys/fs/cgroup/system.slice/$unit/nodes/$name/memory.max)"
done
systemctl daemon-reload
plain_ready() { # mysqld's unit tells itself; brokers say it in their logs
  [ "$(cat $plain/broker-*.log 2>/dev/null | grep -c 'KafkaServer id=.*started')" = 3 ] && systemctl -q is-active plain-mysql
}

step "stop, and $starts warm starts of each kind in turns"
began=$(now)
systemctl stop "$unit"; saw stop.rc $?
saw stop.ms $(($(now) - began))
for _ in $(seq "$starts"); do
  began=$(now)
  systemctl start "$unit"; saw warm.rc $?
  took=$(($(now) - began))
  status warm
  jq -e '[.nodes[].state == "ready"] | all' "$seen/warm.json" >/dev/null && echo "unit $took" >>"$seen/starts"
  systemctl stop "$unit"
  rm -f $plain/*.log
  began=$(now)
  # shellcheck disable=SC2046  # one word a unit
  systemctl start $(printf 'plain-%s.service ' $nodes)
  for _ in $(seq 2400); do
    plain_ready && break
    sleep .05
  done
  took=$(($(now) - began))
  plain_ready && echo "plain $took" >>"$seen/starts"
  systemctl stop plain-broker-1 plain-broker-2 plain-broker-3 plain-mysql
  systemctl stop plain-zookeeper
done
cp $plain/* "$seen/" 2>/dev/null
keep_journal
step "end"
saw end reached
