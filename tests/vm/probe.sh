# shellcheck shell=bash
# probe.sh - tries what the lines of a sandbox are there to refuse, and writes `LINE may` or `LINE may not` into a file; one that cannot
# be told by what happens, by what holds. Run as the unit's user, inside of a unit and outside (lines.sh). FILE NAMESPACES-OUTSIDE...
exec >"$1.new" 2>/dev/null
try() { if "${@:2}" >/dev/null; then echo "$1 may"; else echo "$1 may not"; fi; } # LINE COMMAND...
field() { sed -n "s/^$1:[[:space:]]*//p" /proc/self/status; }
mounted() { grep -q " $1 $2" /proc/self/mountinfo; } # WHERE HOW
heard() { bash -c "echo >/dev/udp/$1/9"; } # ADDRESS: a packet to it goes out (a filter of the unit says EPERM)
gained() { [ "$(field NoNewPrivs)" = 0 ]; }
capable() { [ -n "$(field CapBnd | tr -d 0)" ]; }
marked() { : >"$1.marked" && chmod 4755 "$1.marked"; } # a file of one's own, set-user-id
outside() { [ "$(readlink "/proc/self/ns/$1")" = "$2" ]; } # KIND NAMESPACE
tunable() { ! mounted /proc/sys ro; }
kernel_log() { ! mounted /proc/kmsg r; }
cgroups() { ! mounted /sys/fs/cgroup ro; }
packets() { # there is no right to it, but the family itself is to be had
  perl -MSocket -e 'exit(!socket(my $s, 17, SOCK_RAW, 0) && $!{EAFNOSUPPORT})' -MErrno
}
try NoNewPrivileges gained
try CapabilityBoundingSet capable
try ProtectSystem touch /opt/open/file
try ProtectHome cat /home/open/file
try PrivateTmp cat /tmp/open
try PrivateDevices test -e /dev/ubda
try ProtectProc test -e /proc/1
try ProtectKernelTunables tunable
try ProtectKernelModules test -e /usr/lib/modules/open
try ProtectKernelLogs kernel_log
try ProtectControlGroups cgroups
try ProtectHostname outside uts "$2"
try RestrictSUIDSGID marked "$1"
try RestrictRealtime chrt -f 1 true # with RLIMIT_RTPRIO, so that only the line can refuse it
try ProtectClock perl -e 'my $timex = "\0" x 208; exit(syscall(159, $timex) < 0)' # adjtimex(2) that only reads: everybody may, outside
# A call of another architecture's table, x32's getpid: answered with ENOSYS where the kernel has no such table (this guest's), and the
# end of whoever makes it where only the native table may be used. A 32-bit call (int 0x80) comes to nothing in this guest either way.
try SystemCallArchitectures perl -e 'syscall(0x40000027); exit 0'
try RestrictNamespaces unshare -U true
try LockPersonality setarch -R true
try SystemCallFilter perl -e 'exit syscall(101, 0, 0, 0, 0)' # PTRACE_TRACEME, of everybody; not in @system-service
try RestrictAddressFamilies packets
try IPAddressDeny heard 10.9.8.7 # of the loopback device, and no loopback address
try IPAddressAllow heard 127.0.0.1
try PrivateNetwork outside net "$3"
echo "UMask $(umask)"
echo "HOME $HOME"
try "HOME" mkdir -p "$HOME/probe"
mv "$1.new" "$1"
