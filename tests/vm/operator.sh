#!/bin/bash
# Runs in the guest as root: what an administrator does beside the running unit. needrestart, orders by several users, and another target
# in which the unit is not. Leaves what it saw in /run/host/seen, one file per look. It judges nothing; operator.rs does.
# shellcheck source=tests/vm/head.sh
. /run/host/head.sh
nodes=cdc-supervisor-nodes.service
rule=/etc/needrestart/conf.d/cdc-supervisor.conf
step "install, as a package would, without what it brings for needrestart"
install_by_hand
two_commands
systemd-tmpfiles --create /usr/lib/tmpfiles.d/cdc-supervisor.conf
systemctl daemon-reload
systemctl -q enable "$unit"
begin_unit
both_ready() { is calm .state ready && is second .state ready; }

shim_of() { ps -o ppid= -p "$(node "$1" .pid)" | tr -d ' '; }
library=$(ldd /usr/local/bin/fake-daemon | sed -n 's/^.*libgcc_s[^ ]* => \([^ ]*\) .*/\1/p')
replaced() { # NAME: the programs, and a library that they use, come anew, as an upgrade brings them
  install -m 755 $share/bin/cdc-supervisor $share/bin/cdc-shim /usr/bin/ # which removes the old file, and what runs has that
  install -m 755 $share/bin/fake-daemon /usr/local/bin/
  install -m 644 "$library" /var/tmp/library
  install -m 644 /var/tmp/library "$library"
  saw "$1.runs" "$(readlink "/proc/$(main_pid)/exe" "/proc/$(shim_of calm)/exe" "/proc/$(node calm .pid)/exe")"
  saw "$1.library" "$(for pid in $(main_pid) $(node calm .pid); do grep -c 'libgcc_s.*(deleted)' "/proc/$pid/maps"; done)"
}
looked() { # NAME: needrestart, as an administrator or apt asks it
  status "$1-before"
  saw "$1.main-before" "$(main_pid)"
  ran "$1.batch" needrestart -b
  ran "$1.list" needrestart -r l
  ran "$1.restart" needrestart -r a
  await "both are ready behind needrestart" both_ready
  saw "$1.main" "$(main_pid)"
  status "$1-after"
}
# whatever it thinks of the guest itself: its end would be the end of this script
printf '$nrconf{override_rc}{qr(^guest-test)} = 0;\n' >/etc/needrestart/conf.d/guest.conf
step "needrestart without our rule"
replaced bare
looked bare
step "needrestart with our rule"
install -m 644 $share/systemd/needrestart.conf $rule
replaced ruled
looked ruled
saw ruled.runs-on "$(readlink "/proc/$(main_pid)/exe" "/proc/$(shim_of calm)/exe" "/proc/$(node calm .pid)/exe")"

step "who gives orders beside the unit"
incarnation=$(node second .incarnation)
kill -9 "$(node second .pid)"
again() { is second .incarnation $((incarnation + 1)) && is second .state ready; }
await "second is back, with an incident" again
for name in kim lee sam; do useradd -m -s /bin/sh "$name"; done
chmod 700 /home/* # as Debian makes them
usermod -aG cdc-supervisor lee
echo 'kim ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/kim
chmod 440 /etc/sudoers.d/kim
at_home() { echo runuser -u "$1" -- env -C "/home/$1" "HOME=/home/$1"; } # NAME: as after a login
cap=64
verbs() { # NAME COMMAND...: every verb of a day's work, by who runs this command
  local name=$1
  shift
  ran "$name.status" "$@" status
  ran "$name.json" "$@" status --json
  ran "$name.logs" "$@" logs -n 3 calm
  ran "$name.journal" "$@" logs --journal -n 3 supervisor
  ran "$name.events" "$@" events -n 3
  ran "$name.incidents" "$@" incidents
  ran "$name.incident" "$@" incidents 1
  ran "$name.stop" "$@" stop second
  saw "$name.stopped" "$(node second .state)"
  ran "$name.start" "$@" start second
  saw "$name.started" "$(node second .state)"
  saw "$name.by" "$(jq -r 'select(.kind == "order" and (.text | test("stop second"))) | .by.uid' $root/state/events.jsonl | tail -1)"
  cap=$((cap + 1))
  sed -i "/^.command.calm/,/^.command.second/s/^memory_max = .*/memory_max = \"${cap}M\"/" $config
  ran "$name.plan" "$@" plan
  ran "$name.reload" "$@" reload
  saw "$name.cap" "$(node calm .memory.cap_bytes) $((cap << 20))"
  ran "$name.doctor" "$@" doctor
}
status orders-before
saw uids "$(id -u cdc-supervisor)" 0 "$(id -u lee)"
# shellcheck disable=SC2046  # words
{
  verbs unit $(at_home kim) sudo -u cdc-supervisor cdc-supervisor
  verbs root $(at_home kim) sudo cdc-supervisor
  verbs member $(at_home lee) cdc-supervisor
  status strangers-before
  verbs stranger $(at_home sam) cdc-supervisor
  verbs named $(at_home sam) cdc-supervisor --root $root
  { echo "root = \"$root\""; cat $config; } >/home/sam/own.toml
  chmod 644 /home/sam/own.toml
  verbs guessed $(at_home sam) cdc-supervisor --config /home/sam/own.toml
  ran stranger.down $(at_home sam) cdc-supervisor down
  ran named.down $(at_home sam) cdc-supervisor --root $root down
  status strangers-after
}
saw modes "$(find $root -maxdepth 2 -printf '%m %U:%G %p\n' | sort -k3)"

step "another target, in which the unit is not"
mkdir -p /etc/systemd/system/guest-test.service.d /etc/systemd/system/rescue.service.d
printf '[Unit]\nIgnoreOnIsolate=yes\n' >/etc/systemd/system/guest-test.service.d/stays.conf
printf '[Service]\nType=exec\nExecStartPre=\nExecStart=\nExecStart=/bin/sleep infinity\n' >/etc/systemd/system/rescue.service.d/quiet.conf
systemctl daemon-reload
ordered() { # NAME SINCE: in which order `down` has stopped the nodes without a daemon
  journalctl -b -o cat --no-pager -S "@$2" -u "$unit" -u $nodes | sed -n 's|.* \([a-z]*\): stopped (.*|\1|p' >"$seen/$1.order"
}
no_job() { ! systemctl list-jobs --no-legend "$unit" $nodes | grep -q .; }
isolated() { # NAME: and back
  local since
  since=$(date +%s)
  ran "$1" systemctl isolate rescue.target
  await "what that target has not is stopped" no_job # it is only waited for the target itself
  saw "$1.left" "$(of_user)"
  saw "$1.state" "$(state)" "$(systemctl is-active multi-user.target)"
  saw "$1.session" "$(ls $root/state/session.json 2>&1)"
  ordered "$1" "$since"
  ran "$1-back" systemctl isolate multi-user.target
  await "both are ready in the usual target again" both_ready
  status "$1-back"
}
isolated away
step "another target while the unit has failed and its nodes run"
overrule Restart=no
kill -9 "$(main_pid)"
await "the unit has failed" failed
saw failed-away.nodes "$(pgrep -c fake-daemon)"
isolated failed-away

step "what has a start before it leaves the nodes to the next daemon"
overrule Restart=no
kill -9 "$(main_pid)"
await "the unit has failed once more" failed
saw anew.before "$(pgrep fake-daemon | paste -sd' ')"
ran anew.nodes systemctl restart $nodes
saw anew.between "$(pgrep fake-daemon | paste -sd' ')"
overrule
ran anew systemctl restart "$unit"
await "both are ready with the next daemon" both_ready
saw anew.after "$(pgrep fake-daemon | paste -sd' ')"
keep_journal
saw end reached
