# shellcheck shell=sh
# setup.sh - what an installation does besides copying files, and what it looks at before. Read by install.sh, and written into
# the maintainer scripts of the package by build-deb.sh, so that both ways do the same.
unit=cdc-supervisor.service
user=cdc-supervisor
etc=/etc/cdc-supervisor
config=$etc/supervisor.toml
state=/var/lib/cdc-supervisor # of the units (StateDirectory=), the root where nothing else is named, and the user's home
oldest_systemd=254 # the first with DelegateSubgroup= (systemd.resource-control(5))

say() { printf '%-10s %s\n' "$1" "$2"; } # LABEL TEXT
fail() { # CODE TEXT [HINT]
  printf 'error: %s\n' "$2" >&2
  [ -z "${3-}" ] || printf 'hint: %s\n' "$3" >&2
  exit "$1"
}
booted() { [ -d /run/systemd/system ]; } # sd_booted(3); not while an image is being made
is_active() { systemctl -q is-active "$unit"; }
main_pid() { systemctl show -P MainPID "$unit"; }
has_daemon() { [ "$(main_pid)" != 0 ]; } # also one that starts
is_replaced() { # the daemon that runs is not the program that is installed (proc_pid_exe(5))
  case $(readlink "/proc/$(main_pid)/exe") in
    *' (deleted)') ;;
    *) return 1 ;;
  esac
}
settles() { # the unit's start, reload or stop comes to its end: until then no daemon is handed over. READY=1 comes after 75 s at last
  restarts=$(systemctl show -P NRestarts "$unit")
  for second in $(seq 90); do
    [ "$second" != 4 ] || echo "waiting for $unit, which is $(systemctl show -P ActiveState "$unit"), for 90 s at most" >&2
    case $(systemctl show -P ActiveState "$unit") in
      activating | reloading | refreshing | deactivating) ;;
      *) return ;;
    esac
    # a daemon that crashes again and again needs no hand-over: the next one is the program that is installed
    [ "$(systemctl show -P NRestarts "$unit")" = "$restarts" ] || return 0
    sleep 1
  done
  return 1
}
check_settled() { # before the first change
  ! booted || settles ||
    fail 8 "$unit is $(systemctl show -P ActiveState "$unit") for more than 90 s, and its daemon cannot be replaced meanwhile" \
      "systemctl status $unit says what it waits for; again when that is over"
}
nodes_run() { # processes are in the nodes' groups, in whichever slice the unit is
  find /sys/fs/cgroup -path "*/$unit/nodes/cgroup.events" -exec grep -q '^populated 1$' {} \; -print 2>/dev/null | grep -q .
}
as_user() { setpriv --reuid="$user" --regid="$user" --init-groups -- "$@"; }
# What is put back when a version does not become the daemon: the programs, and the units that fit to them.
version_files() {
  for file in /usr/bin/cdc-supervisor /usr/bin/cdc-shim /usr/lib/systemd/system/cdc-supervisor.service \
    /usr/lib/systemd/system/cdc-supervisor-fetch.service /usr/lib/systemd/system/cdc-supervisor-nodes.service; do
    [ ! -e "$file" ] || echo "$file"
  done
}
keep_version() { # TO: those that are installed; the directory is there when all of them are in it
  rm -rf "$1.part"
  mkdir -p "$1.part"
  version_files | while read -r file; do cp -p "$file" "$1.part/"; done
  find "$1.part" -exec sync {} +
  rm -rf "$1"
  mv "$1.part" "$1"
}
put_version() { # FROM: by rename, so that a running program is never written into
  for kept in "$1"/*; do
    [ -e "$kept" ] || continue # there was none
    case $kept in
      *.service) place=/usr/lib/systemd/system/${kept##*/} ;;
      *) place=/usr/bin/${kept##*/} ;;
    esac
    cp -p "$kept" "$place.cdc-new"
    sync -- "$place.cdc-new"
    mv -f "$place.cdc-new" "$place"
  done
  ! booted || systemctl daemon-reload
}
run_again() { # the programs that were put back are the daemon again, also where the unit has failed for good
  is_active && return
  systemctl reset-failed "$unit" 2>/dev/null || true
  systemctl start "$unit"
}
asked() { # VERB: what a program of ours says of the unit's configuration; fails where none is there, or none that can tell
  [ -e "$config" ] || return
  for program in "${release:+$release/bin/}cdc-supervisor" cdc-supervisor; do
    ! "$program" --config "$config" "$1" 2>/dev/null || return 0
  done
  return 1
}
data_root() { # the root that the unit's configuration names, as the program reads it
  found=$(asked root) || found=''
  [ -n "$found" ] || found=$(sed -n 's/^root *= *"\(\/[^"]*\)".*/\1/p' "$config" 2>/dev/null | head -1)
  printf '%s\n' "${found:-$state}"
}
named_in() { # FILE KEYS: the paths that it gives to these keys, in each way that TOML has for it, one a line
  grep -v '^[[:space:]]*#' "$1" 2>/dev/null |
    grep -oE "(^|[[:space:].{,\"'])($2)[\"']?[[:space:]]*=[[:space:]]*(\"/[^\"]*\"|'/[^']*')" |
    sed -n "s/^[^=]*=[[:space:]]*[\"']\(.*\)[\"']\$/\1/p" || true
}
linked() { # ROOT: the directories elsewhere to which links in it lead: snapshots, the store, nodes and their data
  real=$(realpath -m -- "$1")
  for link in "$1"/* "$1"/nodes/* "$1"/nodes/*/*; do
    [ -L "$link" ] && [ -d "$link" ] || continue
    target=$(realpath -- "$link")
    case $target/ in
      "$real"/*) ;;
      *) printf '%s\n' "$target" ;;
    esac
  done
}
places() { # where data lie: by the configuration, by what was applied last, and where links lead, one a line
  # dpkg takes the configuration before it asks for the purge (deb-postrm(5)): then as it was when the package was removed
  [ -e "$config" ] || [ ! -s "$etc/places" ] || { cat "$etc/places"; return; }
  if where=$(asked places); then
    printf '%s\n' "$where" | sed 's/^[a-z]* //'
    return
  fi
  # no program that could tell, or a file that is wrong: as it can be seen without
  data_root
  named_in "$config" 'root|data_dir|store|files'
  linked "$(data_root)"
}
node_pids() { # NAME PID of every node, from the daemon
  cdc-supervisor --config "$config" status --json | tr '{' '\n' |
    sed -n 's/^"name":"\([^"]*\)".*"pid":\([0-9]*\)[,}].*/\1 \2/p'
}

check_host() { # whether the unit can run here; changes nothing
  [ "$(id -u)" = 0 ] || fail 4 "root is needed to install a system service" "sudo $0"
  booted || return 0
  # the units of an ordinary user ask systemd by it: without it a crash waits for a download, and a stop without a daemon stops nothing
  [ -S /run/dbus/system_bus_socket ] ||
    fail 4 "there is no system bus (/run/dbus/system_bus_socket), by which the units ask systemd" "apt-get install dbus"
  systemd=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
  [ "${systemd:-0}" -ge "$oldest_systemd" ] ||
    fail 4 "systemd ${systemd:-of unknown version} is too old: $oldest_systemd is needed (DelegateSubgroup=)" \
      "Ubuntu 24.04 and Debian 13 have a newer one; \`cdc-supervisor up\` runs without systemd, and without caps"
  kind=$(stat -f -c %T /sys/fs/cgroup)
  [ "$kind" = cgroup2fs ] ||
    fail 4 "cgroup v2 is not what systemd uses here: /sys/fs/cgroup is $kind, so no memory cap could be set" \
      "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line"
  case " $(cat /sys/fs/cgroup/cgroup.controllers) " in
    *" memory "*) ;;
    *) fail 4 "the memory controller of cgroup v2 is not there (/sys/fs/cgroup/cgroup.controllers)" \
      "boot with cgroup_enable=memory on the kernel's command line" ;;
  esac
}

check_daemons() { # one that is not the unit's has our ports, and perhaps our data
  booted || return 0 # an image is being made: what runs on its host is not its own
  ours=$(main_pid)
  for process in /proc/[0-9]*; do
    [ "$(cat "$process/comm" 2>/dev/null)" = cdc-supervisor ] || continue
    [ "${process#/proc/}" != "$ours" ] || continue
    words=" $(tr '\0' ' ' 2>/dev/null <"$process/cmdline") " || continue # it has just ended
    case $words in
      *" run "*) fail 8 "another daemon runs:$words(pid ${process#/proc/})" "cdc-supervisor --root ITS-ROOT down" ;;
    esac
  done
}

check_state() { # NEWEST SCHEMA: the files of a newer program are not handed to an older one
  for file in "$(data_root)"/state/*.json "$(data_root)"/state/nodes/*.json; do
    # a newer session file says the same in more words
    [ -e "$file" ] && [ "${file##*/}" != session.json ] || continue
    schema=$(sed -n 's/^[^}]*"schema": *\([0-9]*\).*/\1/p' "$file" | head -1)
    [ "${schema:-0}" -le "$1" ] ||
      fail 8 "$file was written by a newer version (schema $schema, this one knows $1)" "install that version or a newer one"
  done
}

open_paths() { # the units may write where the configuration has its data
  cdc-supervisor --config "$config" unit-paths --write 2>/dev/null || # a configuration that is wrong is told at the start
    echo "warning: once $config is right: cdc-supervisor unit-paths --write, where its data lie outside of /var/lib/cdc-supervisor" >&2
}

set_up() { # FIRST: user, directories, unit; `yes` enables it
  systemd-sysusers /usr/lib/sysusers.d/cdc-supervisor.conf
  systemd-tmpfiles --create /usr/lib/tmpfiles.d/cdc-supervisor.conf
  ! booted || systemctl daemon-reload
  open_paths
  [ "$1" != yes ] || systemctl -q enable "$unit"
}

comes_late() { # it ended at the hand-over, and systemd's next start of it goes on with the nodes
  for _ in 1 2 3 4 5; do
    sleep 1
    ! is_active || is_replaced || { echo "warning: it had to be started twice: journalctl -u $unit says why" >&2; return; }
  done
  return 1
}

take_over() { # the running daemon becomes the installed program; fails only when it did not
  # what stops with the unit, and came with this version
  systemctl -q is-active cdc-supervisor-nodes.service || systemctl start cdc-supervisor-nodes.service
  pid_before=$(main_pid)
  nodes_before=$(node_pids)
  cdc-supervisor --config "$config" upgrade-self || comes_late || return
  # The new program runs: to put the old files back under it would only be worse. A node may end by itself meanwhile.
  [ "$(main_pid)" = "$pid_before" ] || echo "warning: the unit's main process is another one now: journalctl -u $unit" >&2
  lost=$(printf '%s\n' "$nodes_before" | while read -r name pid; do
    [ -z "$name" ] || [ -d "/proc/$pid" ] || printf '%s (pid %s) ' "$name" "$pid"
  done)
  [ -z "$lost" ] || echo "warning: these nodes have ended meanwhile: ${lost}- cdc-supervisor incidents says why" >&2
  say checked "$(printf '%s\n' "$nodes_before" | while read -r name pid; do
    [ -z "$name" ] || [ ! -d "/proc/$pid" ] || echo "$name"
  done | grep -c .) nodes run on with their pids"
}

take_down() { # stops every node in order, then the unit is no more
  if booted; then
    systemctl stop "$unit" cdc-supervisor-nodes.service || true
  fi
  # what is left when there was no daemon to stop it
  if [ -e "$(data_root)/run" ] && id "$user" >/dev/null 2>&1; then
    as_user cdc-supervisor --config "$config" down >/dev/null ||
      fail 8 "not every node could be stopped, so nothing was removed" "cdc-supervisor --config $config down --now"
  fi
  # without their user nothing of ours can stop them
  ! booted || ! nodes_run ||
    fail 8 "nodes run on and could not be stopped$(id "$user" >/dev/null 2>&1 || echo ": the user $user is gone"); nothing was removed" \
      "bring the user back, or end them at once: echo 1 >$(dirname "$(find /sys/fs/cgroup -path "*/$unit/nodes/cgroup.kill" | head -1)")/cgroup.kill"
  systemctl -q disable "$unit" 2>/dev/null || true
}

forget_unit() { # after its files went
  rm -rf /run/cdc-supervisor
  for one in cdc-supervisor cdc-supervisor-fetch cdc-supervisor-nodes; do
    rm -f "/etc/systemd/system/$one.service.d/zz-cdc-supervisor-paths.conf" # of `unit-paths`
    rmdir "/etc/systemd/system/$one.service.d" 2>/dev/null || true
  done
  booted || return 0
  systemctl daemon-reload
  systemctl reset-failed "$unit" cdc-supervisor-fetch.service cdc-supervisor-nodes.service 2>/dev/null || true
}

check_purge() { # ROOT: before anything is stopped for its sake; not a whole file system. More is not known of it: whoever types it knows
  real=$(realpath -m -- "$1")
  for path in "$1" "$real"; do
    case $path in
      /*/*) ;;
      *) fail 8 "$path is too near to / to be deleted as a whole; nothing was done" "uninstall without --purge, then delete what is ours in it by hand" ;;
    esac
  done
}
is_to_be_purged() { # of the package: the root that CDC_PURGE_DATA names
  [ "${CDC_PURGE_DATA-}" != "" ] && [ -d "$CDC_PURGE_DATA/state" ] && [ -d "$CDC_PURGE_DATA/nodes" ]
}
wipe() { # DIR: what is in it, where a link leads too, and then it; a mount point stays, empty
  real=$(realpath -m -- "$1")
  rm -rf -- "$real" 2>/dev/null || true
  if [ -n "$(find "$real" ! -type d -print -quit 2>/dev/null)" ]; then
    fail 1 "not everything in $real could be deleted" "rm -rf $real says why"
  elif [ -d "$real" ] && [ -n "$(ls -A "$real")" ]; then
    say kept "$real, in which empty directories are left: a file system is mounted below it"
  elif [ -d "$real" ]; then
    say kept "$real, which is empty: a file system is mounted there"
  elif [ -L "$1" ]; then
    rm -f -- "$1"
  fi
}
purge_data() { # ROOT [PLACES]: configuration, programs, data, logs, secrets. PLACES: `places` while nodes ran
  check_purge "$1"
  named=$(printf '%s\n' "${2-$(places)}"; linked "$1")
  ran=$(cat "$state/served-root" 2>/dev/null) || ran=$1
  wipe "$1"
  elsewhere=$(printf '%s\n' "$named" | awk '!told[$0]++' | while read -r place; do
    [ "$place" = "$1" ] || [ ! -e "$place" ] || echo "$place"
  done | paste -sd' ' -)
  [ -z "$elsewhere" ] || say kept "$elsewhere (named in the configuration, or a link in $1 led there)"
  case " $elsewhere $1 " in
    *" $ran "*) ;;
    *) [ ! -d "$ran" ] || say kept "$ran (the root of what ran last)"
    ;;
  esac
  # Maven's files, where the root lies elsewhere (the user's home is there); whatever else is in it was not asked about
  rm -rf -- "$state/artifacts/home" "$state/.m2" "$state/served-root"
  rmdir "$state/artifacts" 2>/dev/null || true
  rmdir "$state" 2>/dev/null || [ ! -d "$state" ] || say kept "$state, which is not the root that was named: delete it when nobody needs it"
  rm -rf -- "$etc" # last: it says where the data are
  say kept "the user $user: its number shall not go to somebody who would then own what is left of it, in backups too"
}
