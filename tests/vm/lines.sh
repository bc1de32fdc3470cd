# shellcheck shell=bash disable=SC2154
# lines.sh - part of in-guest.sh: what single lines of the three units are there for, each looked at where it works. lines.rs judges.
fetch=cdc-supervisor-fetch.service nodes=cdc-supervisor-nodes.service

step "what the sandboxes refuse"
mkdir -p /home/open /usr/lib/modules/open
mkdir -m 777 /opt/open
chmod 755 /home /home/open
echo open | tee /home/open/file >/tmp/open
chmod 644 /home/open/file /tmp/open
ip addr add 10.9.8.7/32 dev lo
install -m 755 $share/probe.sh /usr/local/lib/probe.sh
probe() { echo "/bin/bash /usr/local/lib/probe.sh $root/probe.$1 $(readlink /proc/self/ns/uts) $(readlink /proc/self/ns/net)"; }
probed() { [ -e "$root/probe.$1" ]; }
cat >>$config <<TOML
[command.probe]
argv = ["/bin/sh", "-c", "$(probe main); exec sleep 1000"]
env = { PATH = "/usr/bin:/bin", HOME = "/root" }
memory_max = "32M"
TOML
# Nobody but root has the right to what RestrictRealtime= refuses; and this kernel (RT_GROUP_SCHED) refuses it to every group below one
# that shares out the processor, as systemd lets the slice do for this unit's sake, whichever unit is started.
right=LimitRTPRIO=1 no_cpu=(Delegate= 'Delegate=memory pids io')
overrule $right "${no_cpu[@]}"
systemctl start "$unit"
await "the sandbox of a node is tried" probed main
stat -c '%a %U %G' $root >"$seen/state.main"
saw watchdog "$(systemctl show -P WatchdogUSec "$unit")" # known of a unit that runs

step "who may speak for the unit"
forge() { # as a process of the node calm; it says it where systemd listens
  sh -c "echo \$\$ >$group/nodes/calm/cgroup.procs; NOTIFY_SOCKET=/run/systemd/notify exec setpriv --reuid=cdc-supervisor \
    --regid=cdc-supervisor --clear-groups systemd-notify --status=forged"
}
forge; saw forged.rc $?
saw forged "$(systemctl show -P StatusText "$unit")"
systemctl stop "$unit"
# its list of system calls hides what else refuses some of them
sed -i 's|/probe\.main |/probe.unfiltered |' $config
overrule $right "${no_cpu[@]}" SystemCallFilter=
systemctl start "$unit"
await "the sandbox of a node is tried without its list of system calls" probed unfiltered
systemctl stop "$unit"
overrule "${no_cpu[@]}"
cp /var/tmp/good.toml $config

overrule -u $fetch $right ExecCondition= ExecStart= "ExecStart=$(probe fetch)"
ran fetch-probe systemctl start $fetch
stat -c '%a %U %G' $root >"$seen/state.fetch"
overrule -u $nodes $right ExecStart= "ExecStart=$(probe nodes)"
ran nodes-probe systemctl start $nodes
systemctl stop $nodes
overrule -u $nodes
# shellcheck disable=SC2046  # words
prlimit --rtprio=1 setpriv --reuid=cdc-supervisor --regid=cdc-supervisor --clear-groups env "HOME=/root" $(probe outside)
cp $root/probe.* "$seen/"
for one in main fetch nodes; do
  of=cdc-supervisor-$one.service
  systemd-analyze security --no-pager --json=short "${of/-main/}" >"$seen/security-$one.json" 2>&1
done

step "a configuration in /"
echo 'nonsense = "here"' >/supervisor.toml
ran stray systemctl start "$unit"
(cd /var/tmp && status stray)
saw stray.failed "$(systemctl --failed --no-legend --plain 'cdc-supervisor*')"
ran stray-reload systemctl reload "$unit"
overrule RestartSec=60
kill -9 "$(main_pid)"
await "the unit waits for its restart with a configuration in /" waits
ran stray-stop systemctl stop "$unit"
saw stray.left "$(of_user)"
rm /supervisor.toml
overrule

step "a configuration directory that is a link"
mv $etc /srv/conf
ln -s /srv/conf $etc
sed -i '/^root = /d' $config
ran linked systemctl start "$unit"
(cd /srv/conf && status linked)
saw linked.served "$(cat $root/served-root)" "$(find $root -maxdepth 1 -name .local)"
systemctl stop "$unit"
echo 'nonsense = "here"' >>$config
ran linked-broken systemctl start "$unit"
shown_as linked-broken
rm $etc
mv /srv/conf $etc
cp /var/tmp/good.toml $config
systemctl reset-failed "$unit"

step "systemctl kill"
systemctl start "$unit"
status kill-before
incarnation=$(node calm .incarnation)
systemctl kill -s KILL "$unit"
anew() { is calm .incarnation $((incarnation + 1)) && is calm .state ready && active; }
await "calm is back after systemctl kill -s KILL" anew
status kill-after
ran kill-incidents cdc-supervisor incidents --json calm
systemctl kill "$unit"
at_rest() { [ "$(state)" = inactive ]; }
await "the unit is at rest after systemctl kill" at_rest
sleep 1 # RestartSec is 0.2 s: a restart would have come
saw kill.state "$(state)"
saw kill.left "$(of_user)"

step "which exit codes are tried again"
ends() { # UNIT CODE: what the unit is after its program has ended with it
  echo "$2" >/run/code
  systemctl start "$1" >/dev/null 2>&1
  echo "$2 $(systemctl show -P ActiveState "$1") $(systemctl show -P Result "$1")"
  systemctl stop "$1"
  systemctl reset-failed "$1" 2>/dev/null
}
says_code=(ExecCondition= ExecStart= 'ExecStart=/bin/sh -c "exit $$(cat /run/code)"')
overrule RestartSec=60 "${says_code[@]}"
overrule -u $fetch ExecCondition= ExecStart= ExecStart=/bin/true # quickly
for code in 1 2 3 4 8; do ends "$unit" $code; done >"$seen/codes.main"
overrule -u $fetch "${says_code[@]}"
for code in 1 2 3 130; do ends $fetch $code; done >"$seen/codes.fetch"
overrule -u $fetch

step "what takes longer than TimeoutStartSec="
cat >>$config <<'TOML'
[command.slow]
argv = ["/usr/local/bin/fake-daemon", "after=8000", "notify=READY=1"]
memory_max = "16M"
[command.slow.probe]
notify = true
TOML
mapfile -t short < <(instead TimeoutStartSec=6)
overrule "${short[@]}"
ran slow-start systemctl start "$unit"
status slow-start
sed -i 's/after=8000/after=8001/' $config
ran slow-reload systemctl reload "$unit"
status slow-reload
sed -i 's/after=8001/after=8002/' $config
overrule "${short[@]}" NotifyAccess=main # the reload cannot ask for its time
ran mute-reload systemctl reload "$unit"
saw mute-reload.state "$(state)"
renewed() { is slow .incarnation 3 && is slow .state ready; }
await "what the reload has begun goes on" renewed
status mute-reload
systemctl stop "$unit"
cp /var/tmp/good.toml $config
overrule
saw after "$(systemctl show -P After "$unit")"
for one in "$unit" $fetch $nodes; do
  saw "times.${one%.service}" "$(systemctl show -p TimeoutStartUSec -p TimeoutStopUSec -p RestartUSec \
    -p RestartSteps -p RestartMaxDelayUSec -p MemoryMax -p OOMScoreAdjust "$one")"
done
