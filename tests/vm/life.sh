#!/bin/bash
# Runs in the guest as root, once per boot of the same disk: installs, upgrades, crashes, switches off and on, removes, and leaves
# what it saw in /run/host/seen, one file per look. It judges nothing; life.rs does.
# shellcheck source=tests/vm/head.sh
. /run/host/head.sh
label="boot $boot "
nodes=cdc-supervisor-nodes.service
configure() { # the small stack of this guest
  mkdir -p $etc
  cat >$etc/supervisor.toml <<'TOML'
[host]
os_floor = "64M"
[command.calm]
argv = ["/usr/local/bin/fake-daemon", "tick=1000"]
memory_max = "64M"
nofile = 262144
[command.second]
argv = ["/usr/local/bin/fake-daemon", "tick=1000"]
memory_max = "64M"
after = ["calm"]
TOML
}
unpacked() { # everything a package or a tree brings, by name, size and owner, without the two programs
  find /usr/lib/systemd/system /usr/lib/sysusers.d /usr/lib/tmpfiles.d /usr/share/man /usr/share/bash-completion /usr/share/zsh \
    /usr/share/fish /etc/needrestart /usr/share/doc/cdc-supervisor /usr/lib/cdc-supervisor /usr/bin $etc \
    \( -name '*cdc*' -o -path '*cdc-supervisor*' -o -name 'supervisor.toml*' \) -type f -printf '%m %u %p\n' 2>/dev/null | sort
}
sums() { unpacked | cut -d' ' -f3 | xargs -r sha256sum; }
powered_off() { # in order, as a person does it; the script's own unit must not cut it short
  mkdir -p /run/systemd/system/guest-test.service.d
  printf '[Service]\nExecStopPost=\n' >/run/systemd/system/guest-test.service.d/in-order.conf
  systemctl daemon-reload
  keep_journal
  systemctl --no-block poweroff
  exit 0
}
boot_1() {
  install -m 755 $share/bin/fake-daemon /usr/local/bin/
  later=$share/packed/later
  now=$share/packed/now

  step "refused before anything is changed"
  saw empty.before "$(unpacked)"
  echo foreign >/usr/bin/cdc-shim
  ran foreign $now/dist/install.sh
  rm /usr/bin/cdc-shim
  pretend() { # NAME PROGRAM WORDS: install.sh where a program of the system says this
    mkdir -p "/run/pretend/$1"
    printf '#!/bin/sh\ncase " $* " in *"%s"*) printf "%s\\n" ;; *) exec "/usr/bin/%s" "$@" ;; esac\n' "$3" "$4" "$2" \
      >"/run/pretend/$1/$2"
    chmod 755 "/run/pretend/$1/$2"
    ran "$1" env "PATH=/run/pretend/$1:$PATH" $now/dist/install.sh
  }
  pretend old systemctl ' --version ' 'systemd 252 (252.39)'
  pretend hybrid stat ' -f -c %T /sys/fs/cgroup ' tmpfs
  pretend memoryless cat ' /sys/fs/cgroup/cgroup.controllers ' 'cpuset cpu io pids'
  pretend room df ' -Pk /usr ' 'Filesystem 1024-blocks Used Available\\n/dev/x 9 8 1024'
  ran user setpriv --reuid=65534 --regid=65534 --clear-groups $now/dist/install.sh
  cp -r $now /var/tmp/torn && echo >>/var/tmp/torn/supervisor.toml
  ran torn /var/tmp/torn/dist/install.sh
  sed 's/^machine=.*/machine=riscv64/' $now/RELEASE >/var/tmp/torn/RELEASE
  cp $now/supervisor.toml /var/tmp/torn/
  (cd /var/tmp/torn && sed -i "s/^[0-9a-f]*  RELEASE$/$(sha256sum RELEASE | cut -d' ' -f1)  RELEASE/" SHA256SUMS)
  ran machine /var/tmp/torn/dist/install.sh
  rm -r /var/tmp/torn
  printf '[host]\nos_floor = "64M"\n[command.x]\nargv = ["/bin/sleep", "1000"]\nmemory_max = "16M"\n' >/var/tmp/x.toml
  $share/bin/cdc-supervisor --config /var/tmp/x.toml --root /var/tmp/x up --detach >/dev/null 2>&1
  ran another $now/dist/install.sh
  $share/bin/cdc-supervisor --config /var/tmp/x.toml --root /var/tmp/x down >/dev/null 2>&1
  ran purge-install $now/dist/install.sh --purge
  ran tree-uninstall $now/dist/install.sh uninstall --release $now
  saw empty.after "$(unpacked)"

  step "install.sh, twice"
  ran install $now/dist/install.sh
  saw install.files "$(unpacked)"
  saw install.enabled "$(systemctl is-enabled "$unit")"
  saw install.active "$(state)"
  sums >"$seen/install.sums"
  ran again $now/dist/install.sh
  sums >"$seen/again.sums"

  step "a configuration of one's own is kept"
  configure
  chown root:cdc-supervisor $etc/supervisor.toml
  sha256sum <$etc/supervisor.toml >"$seen/own.before"
  ran start systemctl start "$unit"
  status start
  systemctl status --no-pager -n 0 "$unit" >"$seen/start.status" 2>&1
  saw start.oom "$(cat "/proc/$(main_pid)/oom_score_adj")" "$(cat "/proc/$(node calm .pid)/oom_score_adj")"
  saw start.node-limits "$(awk '/^Max open files/ { print $4, $5 }' "/proc/$(node calm .pid)/limits")"
  saw start.limits "$(awk '/^Max open files/ { print $4, $5 }' "/proc/$(main_pid)/limits")" \
    "$(cat /sys/fs/cgroup/system.slice/$unit/pids.max)"

  step "a version that cannot be the daemon: the programs of before come back"
  mkdir -p /usr/local/lib/real
  cp $later/bin/cdc-supervisor $later/bin/cdc-shim /usr/local/lib/real/
  echo 101 >/usr/local/lib/real/code
  saw rollback.before "$(main_pid)"
  ran rollback $share/packed/unfit/dist/install.sh
  await "a daemon of before is back" is calm .state ready
  saw rollback.after "$(main_pid)"
  saw rollback.version "$(cdc-supervisor --version)"
  unfit_units() { grep -l unfit /usr/lib/systemd/system/cdc-supervisor*.service; }
  saw rollback.units "$(unfit_units)"
  await "the unit is active with the programs of before" active
  saw rollback.state "$(state)"
  status rollback

  step "a newer version: the nodes keep their pids"
  saw upgrade.before "$(main_pid)"
  ran upgrade $later/dist/install.sh
  saw upgrade.after "$(main_pid)"
  status upgrade
  sha256sum <$etc/supervisor.toml >"$seen/own.after"
  saw upgrade.version "$(cdc-supervisor --version)"
  ran upgrade-again $later/dist/install.sh
  status upgrade-again

  step "a unit that was edited in place is not overwritten"
  sed -i 's/^KillMode=.*/KillMode=control-group/' /usr/lib/systemd/system/$unit
  ran edited $now/dist/install.sh
  sed -i 's/^KillMode=.*/KillMode=process/' /usr/lib/systemd/system/$unit

  step "a downgrade that the state cannot take"
  cp $root/state/nodes/calm.json /var/tmp/calm.json
  sed -i 's/"schema": *1/"schema":99/' $root/state/nodes/second.json
  ran downgrade $now/dist/install.sh
  saw downgrade.version "$(cdc-supervisor --version)"
  status downgrade
  sed -i 's/"schema":99/"schema":1/' $root/state/nodes/second.json

  step "another version while the unit starts: it waits, and the daemon becomes that one"
  cp $config /var/tmp/quick.toml
  cat >>$config <<'TOML'
[command.slow]
argv = ["/usr/local/bin/fake-daemon", "after=15000", "notify=READY=1"]
memory_max = "16M"
[command.slow.probe]
notify = true
TOML
  systemctl stop "$unit"
  systemctl start --no-block "$unit"
  await "calm is ready while the unit starts" is calm .state ready
  status starting-before
  saw starting.state "$(state)"
  ran starting $now/dist/install.sh
  status starting
  cp /var/tmp/quick.toml $config
  systemctl reload "$unit"

  step "a package over what install.sh has installed"
  ran deb-over dpkg --force-confold -i $share/packed/cdc-supervisor_0*.deb
  status deb-over
  echo '# by hand' >>/etc/needrestart/conf.d/cdc-supervisor.conf

  step "uninstall keeps configuration and data"
  ran uninstall /usr/lib/cdc-supervisor/install.sh uninstall
  saw uninstall.left "$(of_user)"
  saw uninstall.files "$(unpacked)"
  saw uninstall.kept "$(ls $root/state/nodes 2>&1)"
  rm /etc/needrestart/conf.d/cdc-supervisor.conf

  step "the package"
  echo foreign >/usr/bin/cdc-shim
  ran deb-beside dpkg --force-confold -i $share/packed/cdc-supervisor_0*.deb
  saw deb-beside.shim "$(cat /usr/bin/cdc-shim)"
  rm /usr/bin/cdc-shim
  ran deb-install dpkg --force-confold -i $share/packed/cdc-supervisor_0*.deb
  saw deb.files "$(unpacked)"
  ran deb-foreign $now/dist/install.sh
  ran deb-start systemctl start "$unit"
  status deb-start

  step "a package that cannot be the daemon: the programs of before come back"
  echo 4 >/usr/local/lib/real/code # systemd does not try that again (RestartPreventExitStatus=)
  ran deb-unfit env DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i $share/packed/of-unfit/cdc-supervisor_9*.deb
  await "a daemon of before is back after a package" is calm .state ready
  saw deb-unfit.version "$(cdc-supervisor --version)"
  saw deb-unfit.status "$(dpkg-query -W -f '${db:Status-Status} ${Version}' cdc-supervisor)"
  ran deb-unfit-again dpkg --configure cdc-supervisor
  await "a daemon of before is back after a second try" is calm .state ready
  saw deb-unfit.units "$(unfit_units)"
  saw deb-unfit-again.version "$(cdc-supervisor --version)"
  await "the unit is active after a package that cannot be the daemon" active
  saw deb-unfit.state "$(state)"
  status deb-unfit
  rm -r /usr/local/lib/real

  saw deb.before "$(main_pid)"
  $share/bin/cdc-supervisor --config /var/tmp/x.toml --root /var/tmp/x up --detach >/dev/null 2>&1 # of somebody's own
  ran deb-upgrade env DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i $share/packed/cdc-supervisor_9*.deb
  saw deb.after "$(main_pid)"
  $share/bin/cdc-supervisor --config /var/tmp/x.toml --root /var/tmp/x down >"$seen/deb-beside.down" 2>&1
  status deb-upgrade
  sha256sum <$etc/supervisor.toml >"$seen/own.deb"
  saw deb.kept "$(ls /usr/lib/cdc-supervisor 2>&1)"
  sed -i 's/^KillMode=.*/KillMode=control-group/' /usr/lib/systemd/system/$unit
  ran deb-edited dpkg --force-confold -i $share/packed/cdc-supervisor_9*.deb
  saw deb-edited.line "$(grep '^KillMode' /usr/lib/systemd/system/$unit)"
  sed -i 's/^KillMode=.*/KillMode=process/' /usr/lib/systemd/system/$unit
  sed -i 's/"schema": *1/"schema":99/' $root/state/nodes/second.json
  ran deb-downgrade dpkg -i $share/packed/cdc-supervisor_0*.deb
  saw deb-downgrade.version "$(cdc-supervisor --version)"
  status deb-downgrade
  sed -i 's/"schema":99/"schema":1/' $root/state/nodes/second.json

  step "needrestart leaves the unit alone"
  # as needrestart reads its rules: each file is Perl, the keys are patterns for a unit's name, 0 means no restart
  perl -e 'our $nrconf = {}; our %nrconf = (override_rc => {}); do "/etc/needrestart/conf.d/cdc-supervisor.conf"; die $@ if $@;
    for my $rule (keys %{$nrconf{override_rc}}) { print "$nrconf{override_rc}{$rule}\n" if "cdc-supervisor.service" =~ /$rule/ }
    for my $rule (keys %{$nrconf{override_rc}}) { print "other\n" if "ssh.service" =~ /$rule/ }' >"$seen/needrestart" 2>&1

  step "eight crashes in a row"
  # systemd gives up a unit that is started more often than five times in ten seconds (systemd.unit(5)), unless the unit says
  # otherwise. Here it would with the second start in ten seconds: a busy machine takes longer for six.
  for each in "$unit" cdc-supervisor-fetch.service cdc-supervisor-nodes.service; do
    mkdir -p "/etc/systemd/system/$each.d"
    printf '[Unit]\nStartLimitBurst=1\n' >"/etc/systemd/system/$each.d/burst.conf"
  done
  systemctl daemon-reload
  status crashes-before
  restarts_before=$(systemctl show -P NRestarts "$unit")
  for _ in 1 2 3 4 5 6 7 8; do
    before=$(main_pid)
    kill -9 "$before"
    changed() { [ "$(main_pid)" != "$before" ] && [ "$(main_pid)" != 0 ]; }
    await "a daemon after a crash" changed
  done
  await "the unit is active after eight crashes" active
  await "calm is ready after eight crashes" is calm .state ready
  status crashes
  saw crashes.state "$(state)" "$(($(systemctl show -P NRestarts "$unit") - restarts_before))"
  saw crashes.nodes "$(systemctl show -P ActiveState cdc-supervisor-nodes.service)"
  saw crashes.fetch "$(journalctl -b -o cat --no-pager -u cdc-supervisor-fetch.service | grep -c 'repeated too quickly')"
  rm /etc/systemd/system/cdc-supervisor*.service.d/burst.conf
  systemctl daemon-reload

  step "stop while the daemon is dead and waits for its restart"
  cp $config /var/tmp/without-stubborn.toml
  cat >>$config <<'TOML'
[command.stubborn]
argv = ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.2; done"]
env = { PATH = "/usr/bin:/bin" }
memory_max = "16M"
grace = "9s"
after = ["second"]
TOML
  systemctl reload "$unit"
  await "stubborn is ready before the daemon is dead" is stubborn .state ready
  overrule RestartSec=60
  # shellcheck disable=SC2046  # lines without blanks
  overrule -u $nodes $(instead -u $nodes TimeoutStopSec=6) # less than stubborn's grace: it must be asked for
  kill -9 "$(main_pid)"
  await "the unit waits for its restart" waits
  saw dead.nodes "$(pgrep -c fake-daemon)"
  ran dead-stop systemctl stop "$unit"
  saw dead.left "$(of_user)"
  saw dead.state "$(state)"
  journalctl -b -o cat --no-pager -u $nodes | sed -n 's|.* \([a-z]*\): stopped (.*|\1|p' >"$seen/dead.order"
  overrule -u $nodes
  cp /var/tmp/without-stubborn.toml $config

  step "stop while the daemon is dead and the unit has failed"
  overrule Restart=no
  systemctl start "$unit"
  kill -9 "$(main_pid)"
  await "the unit has failed" failed
  saw failed.nodes "$(pgrep -c fake-daemon)"
  ran failed-stop systemctl stop "$unit"
  saw failed.left "$(of_user)"
  overrule
  systemctl reset-failed "$unit"

  step "the machine is switched off in order"
  systemctl start "$unit"
  status off
  # a network that is not there at the next boot, and who wants it
  printf '%s\n' '[Unit]' Before=network-online.target '[Service]' Type=oneshot 'ExecStart=/bin/sleep 1000' \
    >/etc/systemd/system/late-network.service
  systemctl -q add-wants network-online.target late-network.service
  systemctl -q add-wants guest-test.service network-online.target
  powered_off
}

boot_2() {
  step "after a reboot"
  await "calm is ready after a reboot" is calm .state ready
  status reboot
  saw reboot.ended "$(jq -r 'select(.kind == "daemon-ended") | .text' $root/state/events.jsonl | tail -1)"
  journalctl -b -o cat --no-pager _PID=1 | sed -n 's/^\(Starting\|Finished\|Started\) \([^ ]*\.service\).*/\1 \2/p' \
    | grep -e late-network -e cdc-supervisor >"$seen/reboot.order"
  systemctl disable late-network.service >/dev/null 2>&1
  rm -rf /etc/systemd/system/late-network.service /etc/systemd/system/guest-test.service.wants
  systemctl kill -s KILL late-network.service
  cdc-supervisor incidents --json >"$seen/reboot-incidents.json" 2>"$seen/reboot-incidents.err"

  step "files of the state tree that belong to root"
  systemctl stop "$unit"
  chown root:root $root/state $root/state/nodes/calm.json
  chmod 700 $root/state
  ran rooted systemctl start "$unit"
  saw rooted.state "$(state)" "$(systemctl show -P NRestarts "$unit")" "$(systemctl show -P ExecMainStatus "$unit")"
  systemctl status --no-pager -n 20 "$unit" >"$seen/rooted.status" 2>&1
  chown cdc-supervisor:cdc-supervisor $root/state $root/state/nodes/calm.json
  systemctl reset-failed "$unit"

  step "the user is gone"
  cp /etc/passwd /var/tmp/passwd
  sed -i '/^cdc-supervisor:/d' /etc/passwd
  ran userless systemctl start "$unit"
  sleep 2 # RestartSec is 0.2 s: a restart would have come
  saw userless.fetch "$(systemctl show -P ActiveState cdc-supervisor-fetch.service)"
  saw userless.state "$(state)" "$(systemctl show -P NRestarts "$unit")"
  systemctl status --no-pager -n 20 "$unit" >"$seen/userless.status" 2>&1
  saw userless.left "$(pgrep -c fake-daemon)"
  cp /var/tmp/passwd /etc/passwd
  systemctl stop "$unit"
  systemctl reset-failed "$unit"

  step "the package is removed while nodes run whose user is gone"
  systemctl start "$unit"
  status orphaned
  sed -i '/^cdc-supervisor:/d' /etc/passwd
  kill -9 "$(main_pid)"
  await "the unit has failed without its user" failed
  ran orphaned-remove dpkg -r cdc-supervisor
  saw orphaned.programs "$(ls /usr/bin/cdc-supervisor)"
  saw orphaned.nodes "$(pgrep -c fake-daemon)"
  cp /var/tmp/passwd /etc/passwd
  systemctl reset-failed "$unit" $nodes 2>/dev/null
  systemctl start "$unit"
  status orphaned-again
  systemctl -q enable "$unit"
  systemctl stop "$unit"

  step "units that were edited"
  refused() { # NAME KEY=VALUE...: a start that the unit's lines do not allow
    overrule "${@:2}"
    ran "$1" systemctl start "$unit"
    saw "$1.state" "$(state)" "$(systemctl show -P NRestarts "$unit")" "$(systemctl show -P ExecMainStatus "$unit")"
    systemctl status --no-pager -n 20 "$unit" >"$seen/$1.status" 2>&1
    systemctl stop "$unit"
    systemctl reset-failed "$unit"
  }
  refused undelegated Delegate=no DelegateSubgroup=
  refused readonly ProtectControlGroups=yes
  overrule KillMode=control-group DelegateSubgroup=
  ran killmode systemctl start "$unit"
  complains() { systemctl show -P StatusText "$unit" | grep -q KillMode; }
  await "the status names what was edited" complains
  systemctl status --no-pager -n 20 "$unit" >"$seen/killmode.status" 2>&1
  status killmode
  systemctl stop "$unit"
  overrule

  step "a port that another user's program has"
  cp $etc/supervisor.toml /var/tmp/small.toml
  cat >>$etc/supervisor.toml <<'TOML'
[command.porter]
argv = ["/usr/local/bin/fake-daemon", "listen=19092"]
memory_max = "16M"
ports = ["127.0.0.1:19092"]
TOML
  setpriv --reuid=65534 --regid=65534 --clear-groups /usr/local/bin/fake-daemon listen=19092 >/dev/null 2>&1 &
  squatter=$!
  listens() { ss -Hltn 'sport = :19092' | grep -q .; }
  await "the other program listens" listens
  ran squatted systemctl start "$unit"
  saw squatted.state "$(state)" "$(systemctl show -P ExecMainStatus "$unit")"
  systemctl status --no-pager -n 20 "$unit" >"$seen/squatted.status" 2>&1
  saw squatted.mode "$(stat -c '%a %U %G' /run/cdc-supervisor /run/cdc-supervisor/port-owners.json | paste -sd' ')"
  kill $squatter
  wait $squatter
  systemctl reset-failed "$unit"
  cp /var/tmp/small.toml $etc/supervisor.toml

  step "the disk is carried to another machine, and switched off by a deadline"
  cat >>$etc/supervisor.toml <<'TOML'
[command.stubborn]
argv = ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.2; done"]
env = { PATH = "/usr/bin:/bin" }
memory_max = "16M"
grace = "10m"
after = ["second"]
[command.first-to-go]
argv = ["/usr/local/bin/fake-daemon", "tick=1000"]
memory_max = "16M"
after = ["stubborn"]
TOML
  # as it is written when products have been ready
  printf '{"schema":1,"machine":{"id":"%s","boot":"b"}}' "$(cat /etc/machine-id)" >$root/state/identity.json
  chown cdc-supervisor:cdc-supervisor $root/state/identity.json
  tr 0-9a-f 1-9a-f0 </etc/machine-id >/var/tmp/machine-id && cp /var/tmp/machine-id /etc/machine-id
  # The machine's own deadline, beside which no grace counts: systemd gives up on all units and kills what runs (systemd.unit(5)). What
  # is left is given DefaultTimeoutStopSec= between SIGTERM and SIGKILL.
  mkdir -p /etc/systemd/system/poweroff.target.d /etc/systemd/system.conf.d
  printf '[Unit]\nJobTimeoutSec=8\nJobTimeoutAction=poweroff-force\n' >/etc/systemd/system/poweroff.target.d/deadline.conf
  printf '[Manager]\nDefaultTimeoutStopSec=3s\n' >/etc/systemd/system.conf.d/deadline.conf
  systemctl daemon-reload
  systemctl start "$unit"
  await "the first to go is ready" is first-to-go .state ready
  status deadline-before
  wc -l <$root/state/events.jsonl >/var/tmp/deadline.from
  sync
  powered_off
}

boot_3() {
  step "after a shutdown with a deadline, on another machine"
  rm -r /etc/systemd/system/poweroff.target.d /etc/systemd/system.conf.d
  systemctl daemon-reload
  await "calm is ready on another machine" is calm .state ready
  await "the first to go is ready on another machine" is first-to-go .state ready
  status elsewhere
  tail -n "+$(($(cat /var/tmp/deadline.from) + 1))" $root/state/events.jsonl >"$seen/deadline.events"
  cdc-supervisor incidents --json >"$seen/deadline-incidents.json" 2>"$seen/deadline-incidents.err"
  cdc-supervisor incidents >"$seen/deadline-incidents.text" 2>&1
  for name in first-to-go stubborn second calm; do
    cat "$root/nodes/$name/run/exit.$(jq ".nodes[] | select(.name == \"$name\") | .incarnation" "$seen/deadline-before.json")" \
      >"$seen/deadline.exit.$name" 2>&1
  done
  saw elsewhere.event "$(jq -r .text $root/state/events.jsonl | grep 'machine id')"
  sed -i '/^.command.stubborn/,$d' $etc/supervisor.toml
  systemctl reload --no-block "$unit"
  await "stubborn stops, for ten minutes" is stubborn .state stopping
  kill -9 "$(node stubborn .pid)"
  gone() { [ -z "$(node stubborn .name)" ]; }
  await "stubborn is gone" gone

  step "the machine is switched off while the unit has failed and nodes run"
  overrule Restart=no
  kill -9 "$(main_pid)"
  await "the unit has failed before the machine is switched off" failed
  saw off-failed.nodes "$(pgrep -c fake-daemon)"
  cp $etc/supervisor.toml /var/tmp/good.toml
  echo 'memmory = "1G"' >>$etc/supervisor.toml
  powered_off
}

boot_4() {
  overrule
  saw off-failed.session "$(ls $root/state/session.json 2>&1)"
  step "a boot with a broken configuration"
  await "the unit has failed with a broken configuration" failed
  saw broken.state "$(systemctl show -P ExecMainStatus "$unit")" "$(systemctl show -P NRestarts "$unit")"
  systemctl status --no-pager -n 20 "$unit" >"$seen/broken.status" 2>&1
  cp /var/tmp/good.toml $etc/supervisor.toml
  systemctl reset-failed "$unit"

  step "the disk is full when the machine is switched on again"
  # the last blocks are root's: for the unit's user it is full before
  fallocate -l "$(df --output=avail -k / | tail -1 | tr -d ' ')K" /var/tmp/filler
  head -c 512M /dev/zero >/var/tmp/rest 2>/dev/null
  powered_off
}

boot_5() {
  step "a boot with a full disk"
  saw full.free "$(df --output=avail / | tail -1)"
  await "the unit has failed with a full disk" failed
  sleep 2 # RestartSec is 0.2 s: a restart would have come
  saw full.left "$(of_user)"
  saw full.state "$(state)" "$(systemctl show -P ExecMainStatus "$unit")" "$(systemctl show -P NRestarts "$unit")"
  systemctl status --no-pager -n 20 "$unit" >"$seen/full.status" 2>&1
  status full
  rm /var/tmp/filler /var/tmp/rest
  systemctl reset-failed "$unit"
  systemctl start "$unit"
  await "calm is ready when the disk has room" is calm .state ready
  status roomy

  step "the daemon dies in the middle of a shutdown"
  cat >>$config <<'TOML'
[command.stubborn]
argv = ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.2; done"]
env = { PATH = "/usr/bin:/bin" }
memory_max = "16M"
grace = "6s"
after = ["second"]
TOML
  systemctl reload "$unit"
  await "stubborn is ready before the shutdown" is stubborn .state ready
  status dying
  # Beside the shutdown, in a unit that it does not stop; what it sees goes to the disk, for the host's directory is unmounted early.
  cat >/var/tmp/kill.sh <<SH
  pid=$(main_pid) from=$(wc -l <$root/state/events.jsonl) dir=/var/tmp/dying
SH
  cat >>/var/tmp/kill.sh <<'SH'
  events=/var/lib/cdc-supervisor/state/events.jsonl unit=cdc-supervisor.service
  state() { systemctl show -P ActiveState $unit; }
  trap '' TERM # of the last moments
  mkdir -p $dir
  until tail -n "+$((from + 1))" $events | grep '"kind":"stopping"' | grep -q '"node":"stubborn"'; do sleep .05; done
  kill -9 "$pid"
  echo "$(state) $(systemctl is-system-running)" >$dir/state
  while [ "$(state)" = deactivating ]; do sleep .05; done
  ps -o pid=,args= -u cdc-supervisor >$dir/left
  sync $dir/*
SH
  systemd-run -q --unit=kill-daemon -p DefaultDependencies=no /bin/bash /var/tmp/kill.sh
  # a start that fails leaves what the stop has left as it is
  cp $etc/supervisor.toml /var/tmp/good.toml
  echo 'memmory = "1G"' >>$etc/supervisor.toml
  powered_off
}

boot_6() {
  step "after a shutdown that the daemon did not live to finish"
  await "the unit has failed with a broken configuration once more" failed
  saw dying.session "$(ls $root/state/session.json 2>&1)"
  cp /var/tmp/dying/left "$seen/dying.left"
  cp /var/tmp/dying/state "$seen/dying.state"
  for name in stubborn second calm; do # when each ended, as its own record tells
    cat "$root/nodes/$name/run/exit.$(jq ".nodes[] | select(.name == \"$name\") | .incarnation" "$seen/dying.json")" \
      >"$seen/dying.exit.$name"
  done
  cp /var/tmp/good.toml $etc/supervisor.toml
  systemctl reset-failed "$unit"
  from=$(wc -l <$root/state/events.jsonl)
  ran dying-start systemctl start "$unit"
  status dying-next
  tail -n "+$((from + 1))" $root/state/events.jsonl >"$seen/dying-next.events"

  step "remove and purge"
  ran remove dpkg -r cdc-supervisor
  saw remove.left "$(of_user)"
  saw remove.files "$(unpacked)"
  ran purge dpkg --purge cdc-supervisor
  saw purge.etc "$(ls -d $etc 2>&1)"
  saw purge.data "$(ls $root 2>&1)"
  ran bundle-torn $share/packed/now/dist/install.sh --bundle $share/packed/torn.bundle --accept-unpinned
  ran bundle-unproven $share/packed/now/dist/install.sh --bundle $share/packed/empty.bundle
  saw bundle-torn.files "$(unpacked)"
  proof=$(sha256sum <$share/packed/empty.bundle | cut -d' ' -f1)
  # as people type it: beside the file
  ran reinstall env -C $share/packed now/dist/install.sh --bundle empty.bundle --sha256 $proof
  saw reinstall.offline "$(grep '^offline' $etc/supervisor.toml)"
  # the unit's user can read it from here, and not by its whole path
  mkdir -m 700 /var/tmp/closed
  mkdir -m 755 /var/tmp/closed/open
  install -m 644 $share/packed/empty.bundle /var/tmp/closed/open/
  ran reinstall-again env -C /var/tmp/closed/open $share/packed/now/dist/install.sh --bundle empty.bundle --sha256 $proof
  ran purge-unasked /usr/lib/cdc-supervisor/install.sh uninstall --purge
  ran purge-wrong /usr/lib/cdc-supervisor/install.sh uninstall --purge=yes
  saw purge-wrong.data "$(ls $root 2>&1)"
  ran purge-right /usr/lib/cdc-supervisor/install.sh uninstall --purge --confirm $root
  saw purge-right.data "$(ls -d $root $etc 2>&1)"
  saw purge-right.files "$(unpacked)"
  keep_journal
  saw end reached
}

"boot_$boot"
