#!/bin/bash
# build-guest.sh - makes (once) and caches the guest of tests/vm and prints its directory: `root.img`, an ext4 image of a
# Debian with systemd as init, and `linux`, a User-Mode-Linux kernel with the loader and C library it needs beside it.
# Nothing of it is installed on this machine. Needs root, Debian's package archive, mmdebstrap and mke2fs.
#   CDC_VM_CACHE          where the guests are kept (default: cdc-supervisor-vm in the user's cache directory)
#   CDC_VM_SUITE          the guest's suite (trixie: systemd 257; 254 is the first with DelegateSubgroup=)
#   CDC_VM_KERNEL_SUITE   the kernel's (sid). The kernels of Debian 12 and 13 die at the first process on machines whose
#                         floating point state is large (AMX): "ptrace set fp regs failed, errno = 14"; 7.x does not
set -euo pipefail
suite=${CDC_VM_SUITE:-trixie}
kernel_suite=${CDC_VM_KERNEL_SUITE:-sid}
cache=${CDC_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cdc-supervisor-vm}
packages=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,systemd-timesyncd,procps,iproute2,jq,needrestart,sudo
key=$({ echo "$suite $kernel_suite $packages"; cat "$0"; } | sha256sum | cut -c1-12)
guest=$cache/$key
say() { echo "build-guest: $*" >&2; }
fail() { say "$1"; [ ! -e "${2-}" ] || tail -8 "$2" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "root is needed to make a file system of another system's files"
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9 # two at once: the second finds it done
if [ -e "$guest/root.img" ]; then echo "$guest"; exit 0; fi
for program in mmdebstrap mke2fs dpkg-deb apt-get; do
  command -v "$program" >/dev/null || fail "$program is missing (dist/install-tools.sh vm)"
done
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keyring" ] || fail "$keyring is missing: the guest is a Debian, so its archive's key is needed"
# the archive this machine uses itself, whatever the form of its sources
# shellcheck disable=SC2016  # apt's own placeholders
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v -- '-security' | head -1)
[ -n "$archive" ] || fail "apt knows no package archive"

work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/guest"

say "kernel from $kernel_suite"
mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial" "$work/kernel"
: >"$work/apt/status"
echo "deb [signed-by=$keyring] $archive $kernel_suite main" >"$work/apt/sources.list"
private=(-o "Dir::Etc::SourceList=$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
  -o "Dir::State::Lists=$work/apt/lists" -o "Dir::State::status=$work/apt/status" -o "Dir::Cache=$work/apt"
  -o "Dir::Cache::Archives=$work/apt/archives" -o APT::Sandbox::User=root -o Acquire::Languages=none)
apt-get "${private[@]}" update >"$work/log" 2>&1 || fail "no package list of $kernel_suite" "$work/log"
(cd "$work/kernel" && apt-get "${private[@]}" download user-mode-linux) >"$work/log" 2>&1 ||
  fail "no package user-mode-linux in $kernel_suite" "$work/log"
dpkg-deb -x "$work"/kernel/*.deb "$work/kernel/tree"

say "root file system from $suite"
root=$work/root
mmdebstrap --variant=minbase --include="$packages" "$suite" "$root" "deb $archive $suite main" >"$work/log" 2>&1 ||
  fail "mmdebstrap could not make $suite" "$work/log"

# The kernel is newer than this machine's C library may be: it is started with the guest's, from its own directory. (Started
# as an argument of that loader it misjudges where its memory begins, so the loader's name inside it is replaced.)
LC_ALL=C sed 's#/lib64/ld-linux-x86-64\.so\.2\x00#./ld.so\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00#' \
  "$work/kernel/tree/usr/bin/linux.uml" >"$work/guest/linux"
[ "$(stat -c %s "$work/guest/linux")" = "$(stat -c %s "$work/kernel/tree/usr/bin/linux.uml")" ] ||
  fail "the kernel's loader could not be replaced"
chmod 755 "$work/guest/linux"
cp -L "$root/lib64/ld-linux-x86-64.so.2" "$work/guest/ld.so"
cp -L "$root/usr/lib/x86_64-linux-gnu/libc.so.6" "$work/guest/"

echo guest >"$root/etc/hostname"
echo '127.0.0.1 localhost guest' >"$root/etc/hosts"
: >"$root/etc/fstab"
: >"$root/etc/machine-id"
# The host's directory for this run, named on the kernel's command line, then the script in it; its end is the guest's end.
cat >"$root/etc/systemd/system/guest-test.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=exec
ExecStartPre=/bin/sh -c 'mkdir -p /run/host && mount -t hostfs -o "hostfs=$(sed -n "s/.*hostdir=\\([^ ]*\\).*/\\1/p" /proc/cmdline)" none /run/host'
ExecStart=/bin/bash /run/host/in-guest.sh
ExecStopPost=/bin/sh -c 'sync; systemctl poweroff --force --force'
StandardOutput=journal+console
StandardError=journal+console
TimeoutStartSec=infinity
[Install]
WantedBy=multi-user.target
UNIT
systemctl -q --root="$root" enable guest-test.service
systemctl -q --root="$root" disable systemd-timesyncd.service # installed and off, as `doctor` finds it
# What costs boot time and nothing here needs; /dev is the kernel's own.
for unit in systemd-udevd.service systemd-udev-trigger.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
  getty.target systemd-journal-catalog-update.service systemd-hwdb-update.service ldconfig.service systemd-update-done.service \
  systemd-pstore.service systemd-binfmt.service systemd-modules-load.service modprobe@.service apt-daily.timer \
  apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
rm -rf "$root"/usr/share/{doc,man,locale,info}/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*

truncate -s 8G "$work/guest/root.img" # sparse; a start wants 5G free where its data lies
mke2fs -q -t ext4 -E lazy_itable_init=1,lazy_journal_init=1 -d "$root" "$work/guest/root.img" || fail "mke2fs failed"
rm -rf "$guest"
mv -T "$work/guest" "$guest"
echo "$guest"
