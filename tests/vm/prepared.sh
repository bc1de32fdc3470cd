#!/bin/bash
# Runs in the guest as root, in three boots of one disk: what `doctor` changes of the host, and what of it the next boot still has.
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

# Everything that `doctor` can set here, and every file of /etc: what a change changes besides shows.
pages=/sys/kernel/mm/transparent_hugepage/enabled
each="swappiness max-map-count huge-pages file-max open-files reserved-ports time-sync"
login() { # USER: the hard limit of open files that a login gets, begun by a process that has a small one
  prlimit --nofile=1024:4096 su -s /bin/sh "$1" -c 'ulimit -Hn' 2>&1
}
whole() { # NAME
  local key
  {
    for key in vm.swappiness vm.max_map_count vm.overcommit_memory fs.file-max fs.aio-max-nr net.core.somaxconn \
      net.ipv4.tcp_max_syn_backlog net.ipv4.ip_local_reserved_ports net.ipv4.ip_local_port_range; do
      echo "$key $(tr '\t' ' ' <"/proc/sys/$(echo "$key" | tr . /)")"
    done
    echo "pages $(cat $pages)"
    echo "login $(login nobody) $(login root)"
    echo "ntp $(timedatectl show -p NTP --value) $(systemctl is-active systemd-timesyncd.service)"
    find /etc -type f -exec md5sum {} + | sed 's,\([0-9a-f]*\)  \(.*\),\2 \1,' | sort
    find /etc -type l -printf '%p -> %l\n' | sort
  } >"$seen/$1"
}
clock_is() { [ "$(systemctl is-active systemd-timesyncd.service)" = "$1" ]; }
clock() { await "the program that sets the clock is $1" clock_is "$1"; } # timedated(8) does not wait for it
fix() { prlimit --nofile=1024:4096 cdc-supervisor --config $config doctor "${@:2}" </dev/null >"$seen/$1.out" 2>"$seen/$1.err"; saw "$1.rc" $?; }

if [ "$boot" = 3 ]; then
  step "the boot behind them"
  whole booted
  swapon /var/swap
  # shellcheck disable=SC2086
  fix rest --fix ${each// /,}
  saw end reached
  exit
fi
if [ "$boot" = 2 ]; then
  step "the next boot"
  settings rebooted
  doctor all --fix --yes
  clock active
  doctor nothing --fix --yes

  step "each by its name, on a host that needs them all"
  rm -f /etc/sysctl.d/90-cdc-supervisor.conf /etc/tmpfiles.d/cdc-supervisor-host.conf /etc/security/limits.d/90-cdc-supervisor.conf
  fallocate -l 64M /var/swap && chmod 600 /var/swap && mkswap /var/swap && swapon /var/swap
  saw swap "$(swapon --show=NAME --noheadings)"
  if [ ! -e $pages ]; then
    # this kernel has no huge pages: a file in their place, now and before the next boot's systemd-tmpfiles
    cat >/etc/systemd/system/huge-pages.service <<'UNIT'
[Unit]
DefaultDependencies=no
Before=systemd-tmpfiles-setup.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mount -t tmpfs none /sys/kernel/mm && mkdir /sys/kernel/mm/transparent_hugepage && echo "[always] madvise never" >/sys/kernel/mm/transparent_hugepage/enabled'
[Install]
WantedBy=sysinit.target
UNIT
    systemctl -q enable huge-pages.service
    systemctl start huge-pages.service
  fi
  echo always >$pages 2>/dev/null
  [ -z "$(findmnt -n /sys/kernel/mm)" ] || echo '[always] madvise never' >$pages
  echo 60 >/proc/sys/vm/swappiness
  echo 65530 >/proc/sys/vm/max_map_count
  echo 500000 >/proc/sys/fs/file-max
  echo 40000-40002 >/proc/sys/net/ipv4/ip_local_reserved_ports
  systemctl disable --now systemd-timesyncd.service 2>/dev/null
  fix table --json
  whole 0
  # shellcheck disable=SC2086
  fix written --script $each
  prlimit --nofile=1024:4096 sh "$seen/written.out" >"$seen/written.done" 2>&1; saw written.done.rc $?
  clock active
  whole written
  sh "$seen/written.out" undo >>"$seen/written.done" 2>&1; saw written.undo.rc $?
  clock inactive
  whole unwritten
  [ -z "$(findmnt -n /sys/kernel/mm)" ] || echo '[always] madvise never' >$pages
  number=0
  for name in $each; do
    number=$((number + 1))
    fix "$number" --fix "$name"
    [ "$name" != time-sync ] || clock active
    whole $number.whole
  done
  # of a file in the place of the kernel's only as much is overwritten as is written
  [ ! -e /etc/systemd/system/huge-pages.service ] || sed -i 's/\[always\] madvise never/always/' /etc/systemd/system/huge-pages.service
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
