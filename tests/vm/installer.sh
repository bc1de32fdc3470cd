#!/bin/bash
# installer.sh SHARE ALL - runs dist/install.sh as root in namespaces of its own, with layers over /usr, /etc and /var that take what it
# writes: it is refused, and killed before each of the commands by which it changes something. systemctl is a stand-in; users, modes,
# files, disks and the C library are the machine's. ALL=yes: before every command, also of files that are put there like another.
# Leaves what it saw in SHARE/seen; it judges nothing, installer.rs does.
set -u
all=$2
# Nothing of the machine itself can be written from here on, whatever goes wrong: its root is read-only in these namespaces.
must() { "$@" || { echo "installer.sh: $*" >&2; exit 1; }; }
must mount --make-rprivate /
must mount -t tmpfs none /mnt
share=/mnt/share seen=/mnt/share/seen cut=/mnt/cut base=/mnt/base below=/mnt/below
mkdir -p $share $cut/bin $cut/real $below $base/{usr,etc,var}
must mount --bind "$1" $share
must mount -o remount,bind,ro /
must mount -t tmpfs none /tmp
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
for top in usr etc var; do must mount --bind /$top $base/$top; done
saw() { printf '%s\n' "${@:2}" >"$seen/$1"; }

# What may not be the machine's own: systemd, its bus, its memory controller, and a sync of all disks.
cat >$cut/real/systemctl <<'SH'
#!/bin/sh
wants=/etc/systemd/system/multi-user.target.wants
case " $* " in
  " --version ") echo 'systemd 257 (257.9-1)' ;;
  *" is-active "*) exit 3 ;;
  *" MainPID "*) echo 0 ;;
  *" enable "*) /bin/mkdir -p $wants && /bin/ln -sf /usr/lib/systemd/system/cdc-supervisor.service $wants/ ;;
  *" disable "*) /bin/rm -f $wants/cdc-supervisor.service ;;
esac
SH
cat >$cut/real/sync <<'SH'
#!/bin/sh
[ $# = 0 ] || exec /bin/sync "$@"
SH
# Each command that changes something counts itself first, and the one whose turn it is kills everything that was started with it.
cat >$cut/command <<'SH'
#!/bin/sh
name=${0##*/}
case "$name $*" in # it only looks
  "sed -n "* | "sed s/"* | "cat /proc/"* | "cat /sys/"* | "systemctl --version" | "systemctl show "* | "systemctl -q is-active "*)
    [ ! -e "/mnt/cut/real/$name" ] || exec "/mnt/cut/real/$name" "$@"
    exec "/usr/bin/$name" "$@" ;;
esac
read -r n </mnt/cut/count
echo $((n + 1)) >/mnt/cut/count
echo "$name $*" >>/mnt/cut/trace
read -r at </mnt/cut/at
if [ "$n" = "$at" ]; then
  read -r group </mnt/cut/group
  kill -9 "-$group"
fi
[ ! -e "/mnt/cut/real/$name" ] || exec "/mnt/cut/real/$name" "$@"
exec "/usr/bin/$name" "$@"
SH
chmod 755 $cut/command $cut/real/*
for name in cat chmod cp find install mkdir mktemp mv rm rmdir sed sync systemctl systemd-sysusers systemd-tmpfiles cdc-supervisor; do
  ln -s ../command "$cut/bin/$name"
done
chmod 777 $cut

must mount -t tmpfs none /run

# The daemon on hosts without what caps need. The controllers of this machine are where its own cgroup file systems have them.
mkdir $seen/caps
printf '[host]\nos_floor = "64M"\n[command.x]\nargv = ["/bin/sleep", "1000"]\nmemory_max = "16M"\n' >/mnt/caps.toml
uncapped() { # NAME
  timeout 60 $share/bin/cdc-supervisor --config /mnt/caps.toml --root /mnt/root run --require-caps >"$seen/caps/$1.text" 2>&1
  saw "caps/$1.rc" $?
}
umount -R -l /sys/fs/cgroup
must mount -t cgroup2 none /sys/fs/cgroup
uncapped no-controller
umount /sys/fs/cgroup
must mount -t tmpfs none /sys/fs/cgroup
mkdir /sys/fs/cgroup/{memory,unified}
mount -t cgroup -o memory none /sys/fs/cgroup/memory
saw caps/mounted $?
uncapped v1
must mount -t cgroup2 none /sys/fs/cgroup/unified
uncapped hybrid
umount -R -l /sys/fs/cgroup

must mount -t cgroup2 none /sys/fs/cgroup
echo 'cpuset cpu io memory pids' >/mnt/controllers
must mount --bind /mnt/controllers /sys/fs/cgroup/cgroup.controllers
system() { # as a machine that systemd has booted
  mkdir -p /run/systemd/system /run/dbus
  cp -a $share/socket /run/dbus/system_bus_socket
}

laid=0
lay() { # [-s SIZE] [LOWER]: new layers, empty, over those of before; LOWER: what an earlier one has below them
  local size=512M top
  if [ "${1-}" = -s ]; then size=$2 && shift 2; fi
  laid=$((laid + 1))
  layer=/mnt/layer-$laid
  mkdir $layer
  must mount -t tmpfs -o "size=$size" none $layer
  for top in usr etc var; do
    mkdir -p $layer/$top $layer/.work/$top
    must mount -t overlay -o "lowerdir=${1:+$1/$top:}$base/$top,upperdir=$layer/$top,workdir=$layer/.work/$top" none /$top
  done
  layers="$layer${1:+ $1}"
}
keep() { # NAME: what has been written, for the lower layer of others
  mkdir -p "$below/$1"
  cp -a $layer/{usr,etc,var} "$below/$1/"
}
listing() { # how it differs from the machine as it is, a path a line
  local one path
  cd /
  for one in $layers; do (cd "$one" && find usr etc var -mindepth 1 -printf '%p\n'); done | sort -u | while read -r path; do
    if [ ! -e "$path" ] && [ ! -L "$path" ]; then
      [ ! -e "$base/$path" ] || echo "/$path gone"
    elif [ ! -e "$base/$path" ] && [ ! -L "$base/$path" ]; then
      echo "$path"
    elif [ ! -d "$path" ] && ! cmp -s "$path" "$base/$path"; then
      echo "$path"
    fi
  done >/mnt/names
  grep '^/' /mnt/names
  grep -v '^/' /mnt/names | xargs -r -d '\n' stat -c '/%n %a %U:%G'
  # not what is in the lock of the data: the number of who had it last
  grep -v -e '^/' -e '/artifacts/lock$' /mnt/names | while read -r path; do
    if [ -L "$path" ]; then
      echo "/$path -> $(readlink "$path")" >&3
    elif [ -f "$path" ]; then
      echo "$path"
    fi
  done 3>&1 >/mnt/files
  xargs -r -d '\n' sha256sum </mnt/files | sed 's,^\([0-9a-f]\{16\}\)[0-9a-f]*  ,\1 /,'
}
run() { # NAME AT COMMAND...: until its AT-th command that changes something; -1: to its end
  echo 0 >$cut/count
  echo "$2" >$cut/at
  : >$cut/trace
  chmod 666 $cut/count $cut/trace
  mkdir -p "$(dirname "$seen/$1")"
  PATH=$cut/bin:$PATH setsid sh -c 'echo $$ >/mnt/cut/group; exec "$@"' sh "${@:3}" >"$seen/$1.text" 2>&1 </dev/null
  saw "$1.rc" $?
  listing >"$seen/$1.list"
}

install_of() { echo "$share/packed/$1/dist/install.sh"; }
bundle=$share/packed/empty.bundle
proof=$(sha256sum <$bundle | cut -d' ' -f1)

refused() { # NAME COMMAND...: what is said, and what is there afterwards that was not there before
  run "refused/$1" -1 "${@:2}"
  rm -rf /run/*
  system
}
system
lay
(PATH=/mnt/pretend:$PATH && mkdir /mnt/pretend
 printf '#!/bin/sh\necho "glibc 2.17"\n' >/mnt/pretend/getconf && chmod 755 /mnt/pretend/getconf
 refused libc "$(install_of now)"
 printf '#!/bin/sh\nexit 1\n' >/mnt/pretend/getconf
 refused musl "$(install_of now)")
rm -r /run/systemd
refused unbooted "$(install_of now)"
rm /run/dbus/system_bus_socket
refused busless "$(install_of now)"
refused machine "$(install_of riscv)"
refused foreign "$(install_of foreign)"
mkdir /mnt/noexec
must mount --bind $share/packed/now /mnt/noexec
must mount -o remount,bind,noexec /mnt/noexec
refused noexec sh /mnt/noexec/dist/install.sh
umount /mnt/noexec
(exec 9</usr/lib && flock 9 && refused beside "$(install_of now)")
mount -t tmpfs none /sys/fs/cgroup
mkdir /sys/fs/cgroup/unified
mount -t cgroup2 none /sys/fs/cgroup/unified
refused hybrid "$(install_of now)"
umount /sys/fs/cgroup/unified
umount /sys/fs/cgroup
lay -s 4M
refused room "$(install_of now)"
lay
mount -t tmpfs -o size=1M none /var/lib
head -c 1M /dev/zero >/mnt/large.bundle
refused bundle-room "$(install_of now)" --bundle /mnt/large.bundle --accept-unpinned
umount /var/lib
lay
mkdir -p /etc/cdc-supervisor /mnt/small
mount -t tmpfs -o size=1M none /mnt/small
printf '[artifacts]\nstore = "/mnt/small/of/programs"\n' >/etc/cdc-supervisor/supervisor.toml
listing >$seen/store-room.before
refused store-room "$(install_of now)" --bundle /mnt/large.bundle --accept-unpinned
lay
refused look-room env TMPDIR=/mnt/small "$(install_of now)" --bundle /mnt/large.bundle --accept-unpinned
umount /mnt/small
printf '[[trees]]\ndirectory = "x"\nbytes = 3000000000\n[lock]\nbytes = 9000000000\n' >/mnt/bundle.toml
tar -C /mnt -czf /mnt/said.bundle bundle.toml
refused said-room "$(install_of now)" --bundle /mnt/said.bundle --accept-unpinned

every() { # FLOW LOWER COMMAND...: whole once, then killed before each command and done again, and then once more
  local flow=$1 lower=$2 at=0 line
  shift 2
  # shellcheck disable=SC2086  # none is no word
  lay $lower
  listing >"$seen/$flow.before"
  run "$flow/whole" -1 "$@"
  cp $cut/trace "$seen/$flow.trace"
  keep "$flow"
  while read -r line; do
    case $all,$line in
      yes,* | *,*/usr/bin/cdc-shim*) ;;
      # between the same two as with the first file
      *,"chmod "* | *,"sync -- "*.cdc-new | *,"mkdir -p /usr/"* | *,"mkdir -p /etc/"*)
        at=$((at + 1))
        continue ;;
      *,*/usr/bin/*) ;;
      # put there like every other
      *,*/usr/share/* | *,*/etc/needrestart* | *,*.sh* | *-fetch.service* | *-nodes.service* | *,*/sysusers.d*.cdc-new | *,*/tmpfiles.d*.cdc-new)
        at=$((at + 1))
        continue ;;
    esac
    # shellcheck disable=SC2086
    lay $lower
    run "$flow/$at" $at "$@"
    saw "$flow/$at.before" "$line"
    run "$flow/$at.again" -1 "$@"
    [ $((at % 4)) != 0 ] || run "$flow/$at.then" -1 "$@"
    at=$((at + 1))
  done <"$seen/$flow.trace"
  saw "$flow.rounds" $at
}
# as people type it, beside the bundle
every first '' env -C "${bundle%/*}" "$(install_of now)" --bundle "${bundle##*/}" --sha256 "$proof"
every upgrade $below/first "$(install_of later)"
every uninstall $below/first "$(install_of now)" uninstall
every purge $below/first "$(install_of now)" uninstall --purge --confirm /var/lib/cdc-supervisor
saw end reached
