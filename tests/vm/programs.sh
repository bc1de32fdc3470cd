#!/bin/bash
# Runs in the guest as root: a stack whose programs must be fetched, from a server of the guest's own, and whose data lie elsewhere.
# Leaves what it saw in /run/host/seen, one file per look. It judges nothing; programs.rs does.
# shellcheck source=tests/vm/head.sh
. /run/host/head.sh
fetch=cdc-supervisor-fetch.service
patience=60 longest=120
text() { systemctl show -P StatusText "$unit"; }
says() { text | grep -q -- "$1"; } # WORDS: the unit's status has them
not_theirs() { find "$1" ! -user cdc-supervisor -printf '%u %p\n'; } # DIR: what of it is not the unit's user's
fetched() { journalctl -b --no-pager -u $fetch | grep -c 'Finished'; }
replaced() { [ "$(main_pid)" != "$before" ] && [ "$(main_pid)" != 0 ]; }
sources='sources = ["vendor"]
java_home = "/opt/java"'
configure() { # TOP ZOOKEEPER: the stack, with lines at its top, and with this table of ZooKeeper
  cat >$etc/supervisor.toml <<TOML
$1
[host]
os_floor = "64M"
[artifacts]
list = "$etc/list.toml"
$sources
[command.calm]
argv = ["/usr/local/bin/fake-daemon", "tick=1000"]
memory_max = "64M"
[command.second]
argv = ["/usr/local/bin/fake-daemon", "tick=1000"]
memory_max = "64M"
after = ["calm"]
$2
TOML
}
refused() { # NAME: a start that is
  ran "$1" systemctl start "$unit"
  saw "$1.state" "$(state)" "$(systemctl show -P ExecMainStatus "$unit")" "$(systemctl show -P NRestarts "$unit")"
  systemctl status --no-pager -n 20 "$unit" >"$seen/$1.status" 2>&1
  systemctl stop "$unit"
  systemctl reset-failed "$unit" 2>/dev/null
}
saw start.rc begun

step "install.sh"
install -m 755 $share/bin/fake-daemon /usr/local/bin/
mkdir -p /opt/java/bin /opt/java/lib/server
touch /opt/java/lib/modules /opt/java/lib/server/libjvm.so
# a Java that says who it is, trains nothing, and is the ZooKeeper that it is told to be
cat >/opt/java/bin/java <<'SH'
#!/bin/sh
case " $* " in
  *" -version "*) printf '    java.home = /opt/java\n    java.specification.version = 17\n    java.runtime.version = 17.0.1+1\n' >&2 ;;
  *ArchiveClassesAtExit*) exit 1 ;;
  *QuorumPeerMain*) exec /usr/local/bin/fake-daemon zookeeper=2181 ;;
  *) exit 1 ;;
esac
SH
chmod 755 /opt/java/bin/java
ran install $share/packed/now/dist/install.sh
cp $share/list.toml $etc/list.toml
chmod 644 $etc/list.toml
zookeeper='[zookeeper]'
configure '' "$zookeeper"

step "programs that are missing, and nobody who has them"
ran look cdc-supervisor fetch --look
ran missing systemctl start "$unit"
status missing
saw missing.statustext "$(text)"
before=$(main_pid)
sleep 5 # RestartSec is 0.2 s: restarts would have come
saw missing.state "$(state)" "$(systemctl show -P NRestarts "$unit")" "$(if replaced; then echo another; else echo same; fi)"
ran missing-reload cdc-supervisor reload
told() { journalctl -b -o cat --no-pager -u "$unit" | grep -c 'the file cannot be applied; nothing was changed'; }
told_before=$(told)
ran missing-unit-reload systemctl reload "$unit"
saw missing-unit-reload.told $(($(told) - told_before))
ran missing-check setpriv --reuid=cdc-supervisor --regid=cdc-supervisor --init-groups cdc-supervisor run --check

step "a crash while the fetch unit asks a server that says nothing"
/usr/local/bin/fake-daemon silent=8000 &
silent=$!
systemctl start --no-block $fetch
asking() { [ "$(systemctl show -P SubState $fetch)" = start ]; }
await "the fetch unit asks" asking
before=$(main_pid)
kill -9 "$before"
await "a daemon after a crash beside a fetch" replaced
await "calm is ready after a crash beside a fetch" is calm .state ready
journalctl -b --no-pager -u $fetch >"$seen/crash.fetch"
status crash
kill "$silent"

step "the server comes"
/usr/local/bin/fake-daemon serve=8000:$share/kafka.tgz &
server=$!
await "zookeeper starts by itself" is zookeeper .state ready
status came
await "the status is whole" says "3 of 3 nodes ready"
saw came.statustext "$(text)"
saw came.store "$(ls $root/artifacts)"
saw came.theirs "$(not_theirs $root)"

step "a reload to what is not in the store"
configure '' ''
ran dropped systemctl reload "$unit"
rm -rf $root/artifacts
configure '' "$zookeeper"
ran reload-by-hand cdc-supervisor reload
ran reload systemctl reload "$unit"
status reload
saw reload.theirs "$(not_theirs $root)"
saw reload.fetched "$(fetched)"
ran reload-again systemctl reload "$unit"
saw reload-again.fetched "$(fetched)"

step "a reload whose download takes longer than TimeoutStartSec="
configure '' ''
ran late-dropped systemctl reload "$unit"
rm -rf $root/artifacts
kill "$server"
wait "$server"
/usr/local/bin/fake-daemon late=8000:9000:$share/kafka.tgz &
server=$!
configure '' "$zookeeper"
# shellcheck disable=SC2046
overrule $(instead TimeoutStartSec=4)
ran late systemctl reload "$unit"
status late
overrule
kill "$server"
wait "$server"
/usr/local/bin/fake-daemon serve=8000:$share/kafka.tgz &

step "the distribution's own package client, in the sandbox of the fetch unit"
cp $share/archive/key.gpg /usr/share/keyrings/debian-archive-keyring.gpg
rm -rf /etc/apt/sources.list.d/* /var/lib/apt/lists/*
echo 'deb http://127.0.0.1:8001 trixie main' >/etc/apt/sources.list
cp -r $share/archive /srv/archive
perl /srv/archive/serve.pl 8001 /srv/archive &
before_packages=$sources
sources='sources = ["packages"]'
configure '' "$zookeeper"
ran packages systemctl reload "$unit"
status packages
saw packages.store "$(ls $root/artifacts)"
saw packages.lock "$(cat $root/artifacts/lock.toml)"
journalctl -b --no-pager -o cat -u $fetch | tail -20 >"$seen/packages.fetch"
sources=$before_packages
configure '' "$zookeeper"
ran packages-back systemctl reload "$unit"

step "root types what writes into the store"
rm -rf $root/artifacts
ran root-fetch cdc-supervisor fetch
ran root-gc cdc-supervisor artifacts gc
ran root-bundle cdc-supervisor bundle install $share/packed/empty.bundle --accept-unpinned
saw root.theirs "$(not_theirs $root)"
chown root $root/artifacts/lock
ran alien cdc-supervisor doctor --json
chown cdc-supervisor $root/artifacts/lock

step "a listener for other machines"
configure '' '[zookeeper]
bind = "0.0.0.0"'
ran lan-plan cdc-supervisor plan
ran lan-reload systemctl reload "$unit"
await "the status tells of the listener" says IPAddressDeny
saw lan.statustext "$(text)"
ran lan-doctor cdc-supervisor doctor --json
ran lan-set systemctl set-property "$unit" IPAddressAllow=10.0.0.0/8
saw lan.allowed "$(systemctl show -P IPAddressAllow "$unit")"
ran lan-again systemctl reload "$unit"
quiet() { ! says IPAddressDeny; }
await "the status tells of it no more" quiet
status lan
rm -rf "/etc/systemd/system.control/$unit.d"
systemctl daemon-reload
systemctl stop "$unit"

step "a slice that keeps the memory controller"
mkdir -p /etc/systemd/system/system.slice.d
printf '[Slice]\nDisableControllers=memory\n' >/etc/systemd/system/system.slice.d/test.conf
systemctl daemon-reload
refused keeps
saw keeps.controllers "$(cat /sys/fs/cgroup/system.slice/cgroup.subtree_control)"
rm /etc/systemd/system/system.slice.d/test.conf
systemctl daemon-reload

step "another slice"
overrule Slice=apart.slice
configure '' "$zookeeper"
ran apart systemctl start "$unit"
await "zookeeper is ready in another slice" is zookeeper .state ready
saw apart.cgroup "$(systemctl show -P ControlGroup "$unit")"
status apart-before
saw apart.before "$(fetched)"
owners() { stat -c %y /run/cdc-supervisor/port-owners.json; } # when they were written down
saw apart.owners "$(owners)"
before=$(main_pid)
# by the journal: the unit's result is that of its next start as soon as that begins, and there is one behind the daemon's own
skips() { journalctl -b --no-pager -u $fetch | grep -c "Skipped due to 'exec-condition'"; }
skipped=$(skips)
kill -9 "$before"
await "a daemon after a crash in another slice" replaced
await "calm is ready in another slice" is calm .state ready
passed_over() { [ "$(skips)" -gt "$skipped" ]; }
await "the fetch unit is passed over" passed_over
saw apart.owners-then "$(owners)"
status apart
saw apart.fetched "$(fetched)"
saw apart.skipped "$(passed_over && echo yes)"
systemctl stop "$unit"
overrule

step "root and data elsewhere"
install -d -o cdc-supervisor -g cdc-supervisor -m 750 /data/cdc /srv/zk
configure 'root = "/data/cdc"' '[zookeeper]
data_dir = "/srv/zk"'
refused elsewhere
ran elsewhere-doctor cdc-supervisor doctor --json
ran elsewhere-paths cdc-supervisor unit-paths
ran elsewhere-install $share/packed/now/dist/install.sh
ran elsewhere-start systemctl start "$unit"
await "zookeeper is ready elsewhere" is zookeeper .state ready
status elsewhere
saw elsewhere.theirs "$(not_theirs /data/cdc)" "$(not_theirs /srv/zk)"
saw elsewhere.files "$(ls -A /srv/zk)"
ran elsewhere-whole cdc-supervisor doctor --json
# the file is changed for a later window, and an upgrade comes before that
configure '' '[zookeeper]'
ran edited-install $share/packed/now/dist/install.sh
ran edited-paths cdc-supervisor unit-paths
before=$(main_pid)
kill -9 "$before"
await "a daemon after a crash with another root in its file" replaced
await "zookeeper is ready with another root in its file" is zookeeper .state ready
status edited
incarnation=$(node zookeeper .incarnation)
kill -9 "$(node zookeeper .pid)"
again() { is zookeeper .incarnation $((incarnation + 1)) && is zookeeper .state ready; }
await "zookeeper is back with another root in its file" again
overrule RestartSec=60
kill -9 "$(main_pid)"
await "the unit waits for its restart" waits
saw elsewhere.nodes "$(pgrep -u cdc-supervisor -c fake-daemon)"
ran elsewhere-stop systemctl stop "$unit"
saw elsewhere.left "$(of_user)"
overrule
ran edited-later $share/packed/now/dist/install.sh
saw edited-later.drop-ins "$(find /etc/systemd/system -path '*cdc-supervisor*' -name 'zz-*')"
configure 'root = "/data/cdc"' '[zookeeper]
data_dir = "/srv/zk"'
ran uninstall /usr/lib/cdc-supervisor/install.sh uninstall
saw uninstall.drop-ins "$(find /etc/systemd/system -path '*cdc-supervisor*' -type f)"

step "a disk that is mounted late"
ran late-disk-install $share/packed/now/dist/install.sh
mv /data /real-data
mkdir /data
printf '%s\n' '[Unit]' 'Wants=late-disk.service' 'After=late-disk.service' '[Mount]' 'What=/real-data' 'Where=/data' 'Type=none' \
  'Options=bind' >/etc/systemd/system/data.mount
printf '%s\n' '[Service]' Type=oneshot 'ExecStart=/bin/sleep 3' >/etc/systemd/system/late-disk.service
systemctl daemon-reload
ran late-disk systemctl start "$unit"
status late-disk
saw late-disk.mounted "$(mountpoint -q /data && echo yes)"
systemctl stop "$unit" data.mount
rm /etc/systemd/system/data.mount /etc/systemd/system/late-disk.service
rmdir /data
mv /real-data /data
systemctl daemon-reload
ran late-disk-uninstall /usr/lib/cdc-supervisor/install.sh uninstall

step "install.sh's purge, with the root elsewhere"
links() { # the root's, to other disks
  install -d -o cdc-supervisor -g cdc-supervisor /srv/copies /srv/copies/2026 /srv/linked /data/cdc/nodes/mysql
  ln -sfn /srv/copies /data/cdc/snapshots
  ln -sfn /srv/linked /data/cdc/nodes/mysql/data
  ln -sfn nodes /data/cdc/within
}
typed() { # NAME WORDS: the purge, and somebody types this at a terminal
  echo "$2" | timeout $longest script -qec '/usr/lib/cdc-supervisor/install.sh uninstall --purge' /dev/null >"$seen/$1.text" 2>&1
  saw "$1.rc" $?
}
there() { find /data/cdc $etc /srv/zk $root $root/artifacts/home -maxdepth 0 2>/dev/null | paste -sd' ' -; }
maven() { # what it leaves
  install -d -o cdc-supervisor -g cdc-supervisor $root/artifacts $root/artifacts/home $root/artifacts/home/.m2
}
ran again $share/packed/now/dist/install.sh
maven
links
typed purge-wrong $root
saw purge-wrong.there "$(there)"
printf '\004' | timeout $longest script -qec '/usr/lib/cdc-supervisor/install.sh uninstall --purge' /dev/null >"$seen/purge-ended.text" 2>&1
saw purge-ended.rc $?
typed purge /data/cdc
saw purge.there "$(there)"
saw purge.copies "$(ls /srv/copies)"

step "a purge of a root that is a link, that is a mount point, that lies right below /"
left() { find "$@" $etc /usr/bin/cdc-supervisor -maxdepth 0 2>/dev/null | paste -sd' ' -; }
anew() { # NAME ROOT
  mkdir -p $etc
  configure "root = \"$2\"" ''
  ran "$1" $share/packed/now/dist/install.sh
}
mkdir -p /data/real/cdc/state
ln -s /data/real/cdc /srv/link
anew link-install /srv/link
ran link /usr/lib/cdc-supervisor/install.sh uninstall --purge --confirm /srv/link
saw link.there "$(left /srv/link /data/real/cdc)"
mkdir -p /srv/mounted
mount -t tmpfs none /srv/mounted
mkdir /srv/mounted/state
touch /srv/mounted/state/file
anew mounted-install /srv/mounted
ran mounted-uninstall /usr/lib/cdc-supervisor/install.sh uninstall
# what an uninstall has kept, later
ran mounted $share/packed/now/dist/install.sh uninstall --purge --confirm /srv/mounted
saw mounted.there "$(left /srv/mounted)" "$(ls -A /srv/mounted)"
umount /srv/mounted
mkdir /one
anew one-install /one
ran one /usr/lib/cdc-supervisor/install.sh uninstall --purge --confirm /one
saw one.there "$(left /one)"
ran one-uninstall /usr/lib/cdc-supervisor/install.sh uninstall
rm -rf /one $etc

step "the package's purge, with the root elsewhere"
package=$(echo $share/packed/cdc-supervisor_*.deb)
begin() { # MYSQL: data elsewhere, and a configuration that says so, in several ways
  install -d -o cdc-supervisor -g cdc-supervisor /data/cdc/state /data/cdc/nodes /srv/sql
  mkdir -p $etc
  configure "root = \"/data/cdc\"
mysql.data_dir = $1" '[zookeeper]
  data_dir = "/srv/zk"'
  maven
  links
}
rm -rf $root
begin "'/srv/sql'"
printf '[host]\nos_floor = "64M"\n[command.x]\nargv = ["/bin/sleep", "1000"]\nmemory_max = "16M"\n' >/var/tmp/x.toml
$share/bin/cdc-supervisor --config /var/tmp/x.toml --root /var/tmp/x up --detach >/dev/null 2>&1
ran deb-another dpkg --force-confold -i "$package"
$share/bin/cdc-supervisor --config /var/tmp/x.toml --root /var/tmp/x down >/dev/null 2>&1
saw deb-another.there "$(ls /usr/bin/cdc-supervisor 2>/dev/null)"
ran deb dpkg --force-confold -i "$package"
ran deb-remove dpkg -r cdc-supervisor
ran deb-purge dpkg --purge cdc-supervisor
saw deb-purge.there "$(there)"
# as only what reads TOML reads it
begin '"/srv/\u0073ql"'
ran deb-anew dpkg --force-confold -i "$package"
ran deb-purge-data env CDC_PURGE_DATA=/data/cdc dpkg --purge cdc-supervisor
saw deb-purge-data.there "$(there)"

step "a first start, with Maven in the sandbox of the fetch unit"
if [ -e $share/maven-home ]; then
  rm -rf $root /data/cdc
  java_shown "$(cat $share/java)"
  for dir in "$(cat $share/maven-home)" /usr/share/java "$(cat $share/maven-repository)"; do shown "$dir"; done
  cp -r $share/maven-conf /etc/maven
  ln -sf "$(cat $share/java)/bin/java" "$(cat $share/maven-home)/bin/mvn" /usr/bin/
  perl /srv/archive/serve.pl 8002 "$(cat $share/maven-repository)" &
  printf '[host]\nos_floor = "64M"\n[artifacts]\nsources = ["packages"]\njava_home = "%s"\n[zookeeper]\n' "$(cat $share/java)" \
    >/var/tmp/maven.toml
  longest=400
  ran maven-install $share/packed/now/dist/install.sh
  cp /var/tmp/maven.toml $etc/supervisor.toml
  ran maven systemctl start "$unit"
  status maven
  saw maven.lock "$(cat $root/artifacts/lock.toml)"
  saw maven.jars "$(find $root/artifacts -path '*/libs/*.jar' | wc -l)"
  saw maven.home "$(find $root -name .m2)" "$(find $root/artifacts/home -name 'zookeeper-*.jar')"
  saw maven.theirs "$(not_theirs $root)"
  journalctl -b --no-pager -o cat -u $fetch | tail -20 >"$seen/maven.fetch"
fi

keep_journal
step "end"
saw end reached
