#!/bin/bash
# build-deb.sh OUT [DIR] - packs the release tree DIR (without it: one that is built now by release.sh) as a Debian package into
# the directory OUT. Its maintainer scripts are setup.sh, as install.sh uses it. Needs dpkg-deb.
set -euo pipefail
[ $# = 1 ] || [ $# = 2 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
command -v dpkg-deb >/dev/null || { echo "error: dpkg-deb is missing (package dpkg)" >&2; exit 4; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
release=${2-}
if [ -z "$release" ]; then
  release=$work/release
  "$here/release.sh" "$release"
fi
field() { sed -n "s/^$1=//p" "$release/RELEASE"; }
version=$(field version) machine=$(field machine) glibc=$(field glibc) schema=$(field state)
case $machine in
  x86_64) architecture=amd64 ;;
  aarch64) architecture=arm64 ;;
  *) echo "error: no Debian architecture is known for $machine" >&2; exit 4 ;;
esac

tree=$work/tree
"$release/dist/install.sh" --release "$release" --root "$tree"
doc=$tree/usr/share/doc/cdc-supervisor
{
  echo "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
  printf 'Upstream-Name: cdc-supervisor\n\nFiles: *\nCopyright: the authors of cdc-supervisor\nLicense: MIT or Apache-2.0\n\n'
  printf 'License: MIT or Apache-2.0\n The texts are in LICENSE-MIT and LICENSE-APACHE beside this file.\n'
} >"$doc/copyright"
# of the day of the tree, so that the same tree gives the same bytes
SOURCE_DATE_EPOCH=$(stat -c %Y "$release/SHA256SUMS")
export SOURCE_DATE_EPOCH
{
  printf 'cdc-supervisor (%s) stable; urgency=medium\n\n  * Version %s.\n\n' "$version" "$version"
  printf ' -- cdc-supervisor <cdc-supervisor@localhost>  %s\n' "$(date -R -u -d "@$SOURCE_DATE_EPOCH")"
} | gzip -9n >"$doc/changelog.gz"

mkdir "$tree/DEBIAN"
cat >"$tree/DEBIAN/control" <<CONTROL
Package: cdc-supervisor
Version: $version
Architecture: $architecture
Maintainer: cdc-supervisor <cdc-supervisor@localhost>
Section: database
Priority: optional
Installed-Size: $(du -sk --exclude=DEBIAN "$tree" | cut -f1)
Depends: libc6 (>= $glibc), libgcc-s1, systemd (>= 254), default-dbus-system-bus | dbus-system-bus
Recommends: ca-certificates
Suggests: openjdk-17-jre-headless | openjdk-21-jre-headless, maven, gpgv
Description: ZooKeeper, Kafka brokers and MySQL under one supervisor
 Turns a machine into a source for change data capture: ZooKeeper, three Kafka
 brokers and MySQL with a readable binlog, run natively, each under a memory
 cap, started again when they die, and independent of the supervisor's own
 life.
CONTROL
printf '%s\n' /etc/cdc-supervisor/supervisor.toml /etc/needrestart/conf.d/cdc-supervisor.conf >"$tree/DEBIAN/conffiles"

script() { # NAME: its own part comes on standard input
  {
    printf '#!/bin/sh\nset -eu\n'
    sed 1d "$release/dist/setup.sh"
    cat
  } >"$tree/DEBIAN/$1"
  chmod 755 "$tree/DEBIAN/$1"
}
# A version that cannot be the daemon is taken back by itself, as install.sh does: `before` has the version that ran, `refused-VERSION`
# the one that did not become the daemon, for the next `dpkg --configure` of it.
kept="lib=/usr/lib/cdc-supervisor
before=\$lib/before refused=\$lib/refused-$version"
script preinst <<SCRIPT
$kept
# What dpkg would overwrite without a word, and install.sh refuses: a unit that was edited in place. Not where one is there because
# a version was taken back.
check_edited() {
  sums=\$(dpkg-query --control-path cdc-supervisor md5sums 2>/dev/null) || return 0
  [ -n "\$sums" ] && ! ls "\$lib"/refused-* >/dev/null 2>&1 || return 0
  # one that is missing is put back
  edited=\$(sed -n 's|^\([0-9a-f]*  \)\(usr/lib/systemd/system/.*\)|\1/\2|p' "\$sums" | while read -r sum file; do
    [ ! -e "\$file" ] || printf '%s  %s\n' "\$sum" "\$file"
  done | md5sum -c --quiet 2>/dev/null | sed 's/: FAILED.*\$//' | paste -sd' ' -)
  [ -z "\$edited" ] || fail 8 "\$edited was changed in place, and this version would overwrite it" \
    "move it away; changes to the unit belong into \\\`systemctl edit \$unit\\\`, which no version overwrites"
}
check_foreign() { # what is there, and no package's
  [ ! -e "\$lib/installed" ] || fail 8 "install.sh has installed it here" "\$lib/install.sh uninstall, which keeps configuration and data"
  version_files | while read -r file; do
    dpkg-query -S "\$file" >/dev/null 2>&1 || fail 8 "\$file is there and is no package's" "move it away"
  done
}
case \$1 in
  install)
    check_foreign
    check_daemons
    ;;
  upgrade)
    check_edited
    ;;
esac
case \$1 in
  install | upgrade)
    check_host
    check_state $schema
    check_settled
    # what an install.sh of before had left under this package; an installation beside one is refused above
    rm -f "\$lib/installed" "\$lib/install.sh" "\$lib/setup.sh"
    rm -rf "\$refused" # a new copy of it is another try
    # one that is there is of an upgrade that was cut short: it ran, what lies in /usr/bin may not
    [ -e "\$before" ] || [ ! -e /usr/bin/cdc-supervisor ] || keep_version "\$before"
    ;;
esac
case \$1 in
  install) # also after a removal, of which dpkg tells postinst as of an upgrade
    mkdir -p "\$lib"
    touch "\$lib/installed-anew"
    ;;
esac
SCRIPT
{
  echo "$kept"
  cat <<'REST'
becomes() { # what is installed is the daemon, or nobody is and nobody was
  booted || return 0
  settles || true
  if is_replaced; then
    take_over
  elif [ -e "$refused" ] && systemctl -q is-failed "$unit"; then
    run_again
  fi
}
case $1 in
  configure)
    first=no
    [ -n "${2-}" ] && [ ! -e "$lib/installed-anew" ] || first=yes
    [ ! -e "$refused" ] || put_version "$refused"
    set_up $first
    if ! becomes; then
      [ -e "$refused" ] || keep_version "$refused"
      put_version "$before"
      again="and nodes run on"
      run_again || again="and did not start: nodes run on alone"
      fail 8 "the running daemon did not become this version; the programs of before are back, $again" \
        "journalctl -u $unit says why; dpkg --configure cdc-supervisor tries again, dpkg -i of another version takes its place"
    fi
    rm -rf "$before" "$lib"/refused-* "$lib"/*.part "$lib/installed-anew"
    rmdir "$lib" 2>/dev/null || true
    [ $first = no ] || echo "cdc-supervisor: look through $config, then: systemctl start cdc-supervisor"
    ;;
esac
REST
} | script postinst
script prerm <<'SCRIPT'
case $1 in
  remove)
    # what a purge would refuse later, with half of the package gone
    ! is_to_be_purged || check_purge "$CDC_PURGE_DATA"
    # for a purge, which comes after the configuration is gone; before the stop, behind which only the file's root is known
    [ ! -e "$config" ] || places >"$etc/places"
    take_down
    ;;
esac
SCRIPT
script postrm <<'SCRIPT'
case $1 in
  remove)
    forget_unit
    rm -rf /usr/lib/cdc-supervisor/before /usr/lib/cdc-supervisor/refused-* /usr/lib/cdc-supervisor/*.part \
      /usr/lib/cdc-supervisor/installed-anew
    rmdir /usr/lib/cdc-supervisor 2>/dev/null || true
    ;;
  purge)
    # Databases are not deleted in passing. The path in this variable is what a typed confirmation would be.
    if is_to_be_purged; then
      purge_data "$CDC_PURGE_DATA"
    else
      left=$(places; echo "$state")
      rm -rf -- "$etc"
      printf '%s\n' "$left" | awk '!told[$0]++' | while read -r place; do
        [ ! -d "$place" ] || say kept "$place, with what is in it: delete it when nobody needs it"
      done
    fi
    ;;
esac
SCRIPT

mkdir -p "$1"
out=$1/cdc-supervisor_${version}_$architecture.deb
find "$tree" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group --build "$tree" "$out" >/dev/null
echo "$out"
