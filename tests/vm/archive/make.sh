#!/bin/bash
# make.sh - makes what lies beside it: a package archive with one small package in it, and the key that has signed it. The package is
# called as the one with a Java runtime and has a program that only says that it is one. Run by hand, with gpg and dpkg-deb, when
# something of it has to change; the key's other half is thrown away.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export SOURCE_DATE_EPOCH=1767225600 # 2026: not later than the clock of whoever reads it
home=usr/lib/jvm/java-17-openjdk-amd64
mkdir -p "$work/tree/DEBIAN" "$work/tree/$home/bin" "$work/tree/$home/lib/server"
cat >"$work/tree/DEBIAN/control" <<'CONTROL'
Package: openjdk-17-jre-headless
Version: 17.0.2+2-1
Architecture: all
Maintainer: nobody <nobody@localhost>
Description: says that it is a Java runtime
CONTROL
mkdir -p "$work/tree/etc/java-17-openjdk"
touch "$work/tree/etc/java-17-openjdk/net.properties" "$work/tree/$home/lib/modules" "$work/tree/$home/lib/server/libjvm.so"
cat >"$work/tree/$home/bin/java" <<'SH'
#!/bin/sh
home=$(dirname "$(dirname "$(readlink -f "$0")")")
case " $* " in
  *" -version "*) printf '    java.home = %s\n    java.specification.version = 17\n    java.runtime.version = 17.0.2+2\n' "$home" >&2 ;;
  *ArchiveClassesAtExit*) exit 1 ;;
  *-Xshare:dump*) touch "$home/lib/server/classes.jsa" ;;
  *QuorumPeerMain*) exec /usr/local/bin/fake-daemon zookeeper=2181 ;;
  *) exit 1 ;;
esac
SH
chmod 755 "$work/tree/$home/bin/java"
find "$work/tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
rm -rf dists pool
mkdir -p pool dists/trixie/main/binary-amd64
dpkg-deb --root-owner-group -Zgzip --build "$work/tree" pool/openjdk-17-jre-headless_17.0.2+2-1_all.deb >/dev/null
deb=$(echo pool/*.deb)
{
  cat "$work/tree/DEBIAN/control"
  printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
} >dists/trixie/main/binary-amd64/Packages
index=main/binary-amd64/Packages
{
  printf 'Origin: Debian\nLabel: Debian\nSuite: stable\nCodename: trixie\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n'
  printf 'Architectures: all amd64\nComponents: main\nSHA256:\n %s %s %s\n' \
    "$(sha256sum "dists/trixie/$index" | cut -d' ' -f1)" "$(stat -c %s "dists/trixie/$index")" "$index"
} >"$work/Release"
export GNUPGHOME=$work/keys
mkdir -m 700 "$GNUPGHOME"
sign() { gpg --batch --quiet --faked-system-time 20260101T000000! --passphrase '' "$@"; }
sign --quick-gen-key 'test <test@localhost>' rsa3072 sign never
sign --export >key.gpg
sign --digest-algo SHA512 --clearsign -o dists/trixie/InRelease "$work/Release"
