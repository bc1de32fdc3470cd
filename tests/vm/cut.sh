#!/bin/bash
# Runs in the guest as root, in three boots of one disk: install.sh is killed in the middle of upgrades beside a daemon and nodes that run,
# and loses its power in the middle of a first installation and of an upgrade. Leaves what it saw in /run/host/seen; cut.rs cuts the power
# and judges.
# shellcheck source=tests/vm/head.sh
. /run/host/head.sh
label="boot $boot: " longest=300
now=$share/packed/now later=$share/packed/later

# install.sh runs with these in front of the system's programs: the first that is called as /run/cut/at says does what /run/cut/do says.
mkdir -p /run/cut/bin
cat >/run/cut/command <<'SH'
#!/bin/sh
name=${0##*/}
read -r at </run/cut/at
read -r what </run/cut/do
# shellcheck disable=SC2254  # a pattern
case "$name $*" in
  $at)
    if [ "$what" = kill ]; then
      read -r group </run/cut/group
      kill -9 "-$group"
    fi
    echo "$name $*" >"/run/host/seen/$what"
    sync "/run/host/seen/$what"
    sleep 600 ;; # the power is cut
esac
exec "/usr/bin/$name" "$@"
SH
chmod 755 /run/cut/command
for name in mv rm systemctl systemd-sysusers cdc-supervisor; do ln -sf ../command "/run/cut/bin/$name"; done
until_there() { # NAME DO PATTERN TREE: install.sh of a tree, until it would run what fits
  echo "$3" >/run/cut/at
  echo "$2" >/run/cut/do
  ran "$1" env "PATH=/run/cut/bin:$PATH" setsid -w sh -c 'echo $$ >/run/cut/group; exec "$@"' sh "$4/dist/install.sh"
}
whole() { # NAME TREE: what is not as the tree has it, or is left of a run
  saw "$1.left" "$(for file in bin/cdc-shim bin/cdc-supervisor; do cmp "$2/$file" "/usr/$file"; done 2>&1
    for file in "$2"/systemd/*.service; do cmp "$file" "/usr/lib/systemd/system/${file##*/}"; done 2>&1
    ls -d /usr/lib/.cdc-supervisor.* /var/lib/.cdc-supervisor.* /usr/lib/cdc-supervisor/begun /usr/bin/*.cdc-new 2>/dev/null)"
}

if [ "$boot" = 1 ]; then
  step "the power goes in the middle of a first installation"
  until_there first reached-1 'mv *systemd/system/cdc-supervisor.service' $now
  exit 1
fi
if [ "$boot" = 2 ]; then
  install -m 755 $share/bin/fake-daemon /usr/local/bin/
  saw half.enabled "$(systemctl is-enabled "$unit" 2>&1)"
  saw half.state "$(state)"
  ran half $now/dist/install.sh
  whole half $now
  saw half.then "$(systemctl is-enabled "$unit" 2>&1)"
  two_commands
  ran start systemctl start "$unit"
  status start
  tree=$later
  round() { # NAME PATTERN: an upgrade, killed there; then its daemon, that the next one is of what is installed; then the upgrade
    step "an upgrade is killed: $1"
    status "$1-before"
    until_there "$1" kill "$2" $tree
    local before
    before=$(main_pid)
    kill -9 "$before"
    restarted() { [ "$(main_pid)" != "$before" ] && [ "$(main_pid)" != 0 ] && active; }
    await "a daemon after $1" restarted
    await "calm is ready after $1" is calm .state ready
    status "$1-next"
    ran "$1-again" $tree/dist/install.sh
    status "$1-again"
    whole "$1" $tree
    if [ $tree = $later ]; then tree=$now; else tree=$later; fi
  }
  round unbegun 'mv *begun *'
  round shim 'mv * /usr/bin/cdc-supervisor'
  round programs 'mv *systemd/system/cdc-supervisor.service'
  round files 'systemd-sysusers *'
  round unasked 'cdc-supervisor *upgrade-self*'
  round over 'rm -rf /usr/lib/cdc-supervisor/begun'
  step "the power goes in the middle of an upgrade"
  status upgrade-before
  until_there upgrade reached-2 'mv * /usr/bin/cdc-supervisor' $later
  exit 1
fi
step "the boot behind it"
await "calm is ready after the loss of power" is calm .state ready
await "second is ready after the loss of power" is second .state ready
status came
saw came.version "$(cdc-supervisor --version)"
ran came-again $later/dist/install.sh
status came-again
whole came $later
keep_journal
saw end reached
