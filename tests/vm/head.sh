# shellcheck shell=bash
# head.sh - what scripts of guests have in common: where things are, what is seen and left for the tests, waits with a bound.
# Each reads it at its beginning (`. /run/host/head.sh`). Which of it a script uses is its own affair.
# shellcheck disable=SC2034
set -u
share=/run/host
seen=$share/seen
unit=cdc-supervisor.service
group=/sys/fs/cgroup/system.slice/$unit
root=/var/lib/cdc-supervisor
etc=/etc/cdc-supervisor
config=$etc/supervisor.toml
boot=$(cat $share/boot)
label=''      # before the time of each step
patience=40   # seconds that `await` waits
longest=90    # seconds that a command which is `ran` may take: one that hangs would take the whole boot with it
PATH=/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin

step() { echo "$label$(cut -d' ' -f1 /proc/uptime) $1" >>"$seen/steps"; }     # what comes now, with the guest's seconds
saw() { printf '%s\n' "${@:2}" >"$seen/$1"; }                                # NAME VALUE...
ran() { timeout $longest "${@:2}" >"$seen/$1.text" 2>&1 </dev/null; saw "$1.rc" $?; } # NAME COMMAND...: its output and code
status() { cdc-supervisor status --json >"$seen/$1.json" 2>"$seen/$1.err"; } # NAME
node() { cdc-supervisor status --json 2>/dev/null | jq -r ".nodes[] | select(.name == \"$1\") | $2"; }
is() { [ "$(node "$1" "$2")" = "$3" ]; }                                     # NODE FIELD VALUE
await() { # WHAT COMMAND...: what never came is named
  local what=$1
  shift
  for _ in $(seq $((patience * 5))); do "$@" && return; sleep .2; done
  echo "$label$what" >>"$seen/never"
  return 1
}
now() { date +%s%3N; }
main_pid() { systemctl show -P MainPID "$unit"; }
active() { systemctl -q is-active "$unit"; }
state() { systemctl show -P ActiveState "$unit"; }
shown_as() { systemctl status --no-pager -n 20 "${2-$unit}" >"$seen/$1.status" 2>&1; } # NAME [UNIT]: what a person sees
overrule() { # [-u UNIT] KEY=VALUE... of its [Service], until the next one; nothing: as shipped
  local of=$unit
  if [ "${1-}" = -u ]; then of=$2 && shift 2; fi
  mkdir -p "/etc/systemd/system/$of.d"
  printf '%s\n' '[Service]' "$@" >"/etc/systemd/system/$of.d/test.conf"
  systemctl daemon-reload
}
instead() { # [-u UNIT] KEY=VALUE...: those whose key the unit has a line for. A test of a shorter time is one of the unit's own line
  local of=$unit line
  if [ "${1-}" = -u ]; then of=$2 && shift 2; fi
  for line; do grep -q "^${line%%=*}=" "/usr/lib/systemd/system/$of" && echo "$line"; done
}
failed() { [ "$(state)" = failed ]; }
waits() { [ "$(systemctl show -P SubState "$unit")" = auto-restart ]; } # for its automatic restart
stopping() { [ "$(state)" = deactivating ]; }
cgroup_of() { sed -n 's/^0:://p' "/proc/$1/cgroup"; }
of_user() { ps -o pid=,args= -u cdc-supervisor 2>/dev/null; }
events() { jq -c "select(.kind == \"$1\" and .node == \"$2\")" $root/state/events.jsonl; } # KIND NODE
record() { find $root/state/incidents -name "*.$1.$2.json" 2>/dev/null | head -1; } # NODE INCARNATION: its file
install_by_hand() { # the programs and the units, as a package would
  install -m 755 $share/bin/cdc-supervisor $share/bin/cdc-shim /usr/bin/
  [ ! -e $share/bin/fake-daemon ] || install -m 755 $share/bin/fake-daemon /usr/local/bin/
  install -m 644 $share/systemd/*.service /usr/lib/systemd/system/
  install -m 644 $share/systemd/cdc-supervisor.sysusers /usr/lib/sysusers.d/cdc-supervisor.conf
  install -m 644 $share/systemd/cdc-supervisor.tmpfiles /usr/lib/tmpfiles.d/cdc-supervisor.conf
  systemd-sysusers
  mkdir -p $etc
}
two_commands() { # the configuration: calm, and second that starts behind it
  cat >$config <<'TOML'
[host]
os_floor = "64M"
[command.calm]
argv = ["/usr/local/bin/fake-daemon", "tick=1000"]
memory_max = "64M"
[command.second]
argv = ["/usr/local/bin/fake-daemon", "tick=1000"]
memory_max = "64M"
after = ["calm"]
TOML
}
begin_unit() { # as it is configured; a guest in which it does not start ends, for the rest would only wait
  systemctl start "$unit"; saw start.rc $?
  [ "$(cat "$seen/start.rc")" = 0 ] || { keep_journal; exit 1; }
}
user_manager() { # kim, an ordinary user whose service manager runs
  useradd -m kim
  loginctl enable-linger kim >"$seen/user.linger" 2>&1
  uid=$(id -u kim)
  await "the user's manager" test -e "/run/user/$uid/systemd/private"
}
as_kim() { runuser -u kim -- env -C /home/kim XDG_RUNTIME_DIR="/run/user/$uid" HOME=/home/kim "$@"; }
keep_journal() {
  journalctl --no-pager -b -o short-precise -u "$unit" -u cdc-supervisor-fetch.service -u cdc-supervisor-nodes.service \
    >"$seen/journal" 2>&1
  cp $root/state/events.jsonl "$seen/" 2>/dev/null
}
shown() { # DIRECTORY: the host's, under its own name, now and at every boot before the unit
  mkdir -p "$1"
  grep -q "^none $1 hostfs " /etc/fstab || echo "none $1 hostfs hostfs=$1 0 0" >>/etc/fstab
  mountpoint -q "$1" || mount "$1"
}
java_shown() { # HOME: the host's Java runtime, with what its links in /etc lead to
  shown "$1"
  local conf
  for conf in $(find "$1" -maxdepth 2 -type l -lname '/etc/*' -printf '%l\n' | cut -d/ -f2,3 | sort -u); do shown "/$conf"; done
}
install_products() { # NAME: as a user does it: install.sh, a release tree, a bundle with the real products, no network
  java_shown "$(cat $share/java)" # what the bundle has not: a runtime that is the machine's own
  ran "$1" $share/packed/now/dist/install.sh --release $share/packed/now --bundle $share/stack.bundle \
    --sha256 "$(cat $share/digest)"
}
fit_products() { # the configuration that came with it, for this guest: it has no 16 GB of memory, and Java where its host has it
  local java
  java=$(cat $share/java)
  sed -i 's/^os_floor = .*/os_floor = "64M"/' $config
  case $java in
  /usr/lib/jvm/*) ;;
  *) sed -i "s|^\[artifacts\]|&\njava_home = \"$java\"|" $config ;;
  esac
}
saw "boot-$boot" begun
