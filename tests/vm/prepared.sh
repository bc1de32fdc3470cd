#!/bin/bash
# Runs in the guest as root, in two boots of one disk: what `doctor` changes of the host, and what of it the next boot still has.
# Leaves what it saw in /run/host/seen; prepared.rs judges.
# shellcheck source=tests/vm/head.sh
. /run/host/head.sh
settings() { # NAME: the settings of this test as they are now
  saw "$1" "$(cat /proc/sys/vm/max_map_count)" "$(cat /proc/sys/net/ipv4/ip_local_reserved_ports)" \
    "$(cat /etc/sysctl.d/90-cdc-supervisor.conf 2>/dev/null)"
}
doctor() { # NAME ARGUMENTS...
  cdc-supervisor --config $config doctor "${@:2}" </dev/null >"$seen/$1.out" 2>"$seen/$1.err"
  saw "$1.rc" $?
  settings "$1.settings"
}

if [ "$boot" = 2 ]; then
  step "the next boot"
  settings rebooted
  doctor all --fix --yes
  doctor nothing --fix --yes
  exit
fi
install -m 755 $share/bin/cdc-supervisor $share/bin/cdc-shim /usr/bin/
mkdir -p /etc/cdc-supervisor
cat >$config <<'TOML'
root = "/var/lib/cdc-supervisor"
[zookeeper]
[kafka.brokers.1]
internal_port = 33092
TOML
chmod 755 /etc/cdc-supervisor
echo 65530 >/proc/sys/vm/max_map_count
echo 40000-40002 >/proc/sys/net/ipv4/ip_local_reserved_ports
settings before
step "refused: not root, and nobody to ask"
setpriv --reuid 65534 --regid 65534 --clear-groups cdc-supervisor --config $config doctor --fix max-map-count \
  >"$seen/user.out" 2>"$seen/user.err"
saw user.rc $?
doctor unasked --fix
step "the script does it and takes it back"
cdc-supervisor --config $config doctor --script max-map-count reserved-ports >"$seen/script" 2>"$seen/script.err"
sh "$seen/script" >"$seen/script.done" 2>&1; saw script.rc $?
settings script.settings
sh "$seen/script" undo >>"$seen/script.done" 2>&1; saw undo.rc $?
settings undo.settings
step "one setting by its name"
doctor one --fix max-map-count
doctor again --fix max-map-count
