#!/bin/sh
# install.sh [--release DIR] [--bundle FILE --sha256 HEX] - installs the tree that dist/release.sh made, or this one when it lies in it:
#   programs, unit, configuration, manual pages, completions. Run again it brings a newer version, and no node restarts.
#   --bundle FILE     the programs that nodes run, from `cdc-supervisor bundle create`; no network is used then
#   --sha256 HEX      the digest that it printed; --accept-unpinned instead takes the file as it is
#   --root DIR        only the files, below DIR, for packaging
# install.sh uninstall [--purge [--confirm TEXT]] - stops everything and removes it; --purge also the data. TEXT is what it
#   asks for: the root's path.
# Everything is looked at before anything is changed. A run that was cut short, by a kill or a loss of power, is finished by the
# next one, of either kind. Exit codes are those of cdc-supervisor: 2 usage, 4 the machine,
# 5 the tree or the bundle, 8 refused.
set -eu
umask 022
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=dist/setup.sh
. "$here/setup.sh"
lib=/usr/lib/cdc-supervisor
manifest=$lib/installed
begun=$lib/begun       # there from the first change to the last: whether it is a first installation, and in `old` what ran before
removing=$lib/removing # there from the first file that goes to the last, with the root in it
usage() { sed -n '2,11s/^# //p' "$0" >&2; exit 2; }
given() { [ -n "$1" ] || usage; }

do=install release='' bundle='' proof='' target='' purge=no text=''
while [ $# -gt 0 ]; do
  case $1 in
    uninstall) do=uninstall ;;
    --release) given "${2-}"; release=$2; shift ;;
    --bundle) given "${2-}"; bundle=$2; shift ;;
    --sha256) given "${2-}"; proof=--sha256=$2; shift ;;
    --accept-unpinned) proof=--accept-unpinned ;;
    --root) given "${2-}"; target=$2; shift ;;
    --purge) purge=yes ;;
    --purge=*) purge=yes text=${1#*=} ;;
    --confirm) given "${2-}"; text=$2; shift ;;
    *) usage ;;
  esac
  shift
done
case $do in
  install) [ $purge = no ] || usage ;;
  uninstall) [ -z "$release$bundle$proof$target" ] || usage ;;
esac

is_packaged() { [ "$(dpkg-query -W -f '${db:Status-Status}' cdc-supervisor 2>/dev/null)" = installed ]; }

alone() { # two at once would take each other's for what a cut has left; by the directory's own lock no file is made
  exec 9</usr/lib
  flock -n 9 || fail 8 "another install.sh runs" "wait for its end"
}

sweep() { # what a run that was cut short has left of its own
  for left in /usr/lib/.cdc-supervisor.* /var/lib/.cdc-supervisor.*; do
    [ "$left" = "${work-}" ] || rm -rf -- "$left"
  done
  rm -f -- "$(data_root)/.bundle"
}

uninstall() {
  [ "$(id -u)" = 0 ] || fail 4 "root is needed to remove a system service" "sudo $0 uninstall"
  ! is_packaged || fail 8 "it was installed as a package" "apt-get remove cdc-supervisor, or purge"
  alone
  installed=yes
  if [ ! -e "$manifest" ] && [ ! -e "$removing" ]; then
    # what an uninstall has kept may be purged later
    if [ $purge = yes ] && { [ -e "$config" ] || [ -e "$(data_root)" ]; }; then
      installed=no
    else
      ! rmdir "$lib" 2>/dev/null || exit 0 # the last that a run before this one would have done
      fail 8 "install.sh has installed nothing here ($manifest is missing)"
    fi
  fi
  data=$(data_root)
  [ -e "$config" ] || [ ! -s "$removing" ] || data=$(cat "$removing")
  named=$(places) # now: when nothing runs any more the served root is not known, only the file's
  [ $purge = no ] || check_purge "$data"
  if [ $purge = yes ] && [ -z "$text" ]; then
    [ -t 0 ] || fail 8 "--purge deletes $data with all data, and nobody is there to confirm it" "--confirm $data"
    printf 'This deletes %s with all data, and %s. Type the path to go on: ' "$data" "$etc"
    read -r text || echo # Ctrl-D: nothing was typed, which is refused below
  fi
  [ $purge = no ] || [ "$text" = "$data" ] || fail 8 "\"$text\" is not $data: nothing was done"
  if [ $installed = yes ]; then
    # gone already: a run before this one has stopped everything, and was cut short
    if [ ! -e "$removing" ] || [ -e /usr/bin/cdc-supervisor ]; then
      take_down
    fi
    say stopped "$unit"
    printf '%s\n' "$data" >"$removing"
    sweep
    [ -e "$manifest" ] || : >"$manifest"
    while read -r _ path; do
      rm -f -- "$path.cdc-new"
      case $path in
        "$config") continue ;;
        # one that was changed is the administrator's, until a purge
        /etc/*) [ $purge = yes ] || [ ! -e "$path" ] || is_ours "$path" || { say kept "$path, which was changed"; continue; } ;;
      esac
      rm -f -- "$path"
    done <"$manifest"
    rmdir /usr/share/doc/cdc-supervisor 2>/dev/null || true
    forget_unit
    say removed "the programs and the unit"
  elif booted && nodes_run; then
    fail 8 "nodes run here, and nothing that install.sh has installed could stop them" "cdc-supervisor --config $config down"
  fi
  if [ $purge = yes ]; then
    purge_data "$data" "$named"
    say purged "$data and $etc"
  else
    say kept "$config and $data; install.sh uses them again"
  fi
  # last: until then another run knows what is left to do
  rm -rf "$begun" "$manifest.cdc-new"
  rm -f "$manifest"
  rm -f "$removing"
  rmdir "$lib" 2>/dev/null || true
}

# every file of the tree: SOURCE MODE PLACE
layout() {
  echo "bin/cdc-shim 755 /usr/bin/cdc-shim"
  echo "bin/cdc-supervisor 755 /usr/bin/cdc-supervisor"
  for file in "$release"/systemd/*.service; do
    echo "systemd/${file##*/} 644 /usr/lib/systemd/system/${file##*/}"
  done
  echo "systemd/cdc-supervisor.sysusers 644 /usr/lib/sysusers.d/cdc-supervisor.conf"
  echo "systemd/cdc-supervisor.tmpfiles 644 /usr/lib/tmpfiles.d/cdc-supervisor.conf"
  echo "systemd/needrestart.conf 644 /etc/needrestart/conf.d/cdc-supervisor.conf"
  echo "systemd/README.md 644 /usr/share/doc/cdc-supervisor/systemd.md"
  for file in README.md LICENSE-MIT LICENSE-APACHE dist/artifacts.toml; do
    echo "$file 644 /usr/share/doc/cdc-supervisor/${file##*/}"
  done
  echo "completions/cdc-supervisor.bash 644 /usr/share/bash-completion/completions/cdc-supervisor"
  echo "completions/cdc-supervisor.zsh 644 /usr/share/zsh/vendor-completions/_cdc-supervisor"
  echo "completions/cdc-supervisor.fish 644 /usr/share/fish/vendor_completions.d/cdc-supervisor.fish"
  for file in "$release"/man/man*/*; do
    echo "${file#"$release"/} 644 /usr/share/man/${file#"$release"/man/}"
  done
  echo "supervisor.toml 644 $config"
  if [ -z "$target" ]; then # the package manager knows how to remove it
    echo "dist/setup.sh 644 $lib/setup.sh"
    echo "dist/install.sh 755 $lib/install.sh"
  fi
}

put() { # SOURCE MODE PLACE: by rename, so that a running program is never written into; on the disk before it has its name
  mkdir -p "$(dirname "$3")"
  cp -- "$1" "$3.cdc-new"
  chmod "$2" "$3.cdc-new"
  sync -- "$3.cdc-new"
  mv -f -- "$3.cdc-new" "$3"
}

check_release() {
  if [ -z "$release" ]; then
    release=${here%/dist}
    [ -e "$release/RELEASE" ] || fail 2 "$release is no release tree" "dist/release.sh DIR makes one; then --release DIR"
  fi
  [ -e "$release/RELEASE" ] ||
    fail 5 "$release is no release tree: it has no file RELEASE" "dist/release.sh DIR makes one"
  release=$(cd "$release" && pwd)
  (cd "$release" && sha256sum --quiet --strict -c SHA256SUMS) ||
    fail 5 "$release is not as it was made" "copy it again"
  version=$(field version) machine=$(field machine) glibc=$(field glibc)
}
field() { sed -n "s/^$1=//p" "$release/RELEASE"; }

check_machine() { # of the tree, against this machine
  [ "$(uname -m)" = "$machine" ] ||
    fail 4 "the programs are for $machine, this machine is $(uname -m)" "make the tree on a $(uname -m): dist/release.sh DIR"
  have=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/^glibc //')
  [ -n "$have" ] || fail 4 "this system has no GNU C library, which the programs need ($glibc)" \
    "install on Ubuntu 24.04, Debian 13 or another system with glibc"
  [ "$(printf '%s\n' "$glibc" "$have" | sort -V | tail -1)" = "$have" ] ||
    fail 4 "the programs need a GNU C library of $glibc or newer, this system has $have" \
      "build the tree on a system as old as this one"
  # `sh install.sh` starts there as well, the programs do not
  case ,$(findmnt -no OPTIONS -T "$release" 2>/dev/null), in
    *,noexec,*) fail 4 "$release lies on a file system from which no program may be started (noexec)" \
      "copy the tree to another one: cp -r $release /var/tmp/" ;;
  esac
  "$release/bin/cdc-supervisor" --version >/dev/null || fail 4 "$release/bin/cdc-supervisor does not run here" \
    "make the tree on a machine and a system like this one: dist/release.sh DIR"
}

check_room() { # of all that is written, before any of it is
  promised=''
  if [ -n "$bundle" ]; then
    packed=$(du -Lsk "$bundle" | cut -f1) unpacked=$(unpacked_of "$bundle")
    # of the file: what else is in use comes behind another root
    store=$(asked places | awk '/^root / { roots++ } roots == 1 && sub(/^store /, "") { print; exit }') || store=''
    [ -n "$store" ] || store=$(named_in "$config" store | head -1)
    # `bundle verify` unpacks it before anything is changed, and takes that away again: in a store of root's own, else where the
    # program has its temporary files (src/artifact/store.rs)
    look=${TMPDIR:-/var/tmp}
    [ "$(stat -L -c %u -- "$store" 2>/dev/null)" != 0 ] || look=$store
    has_room "$look" "$unpacked" "to look at $bundle"
    promised=''
  fi
  has_room /usr $(($(du -sk "$release" | cut -f1) * 2 + 10240)) "for cdc-supervisor $version"
  [ -n "$bundle" ] || return 0
  has_room "${store:-$(data_root)/artifacts}" "$unpacked" "for the programs in $bundle"
  # a copy that the unit's user can read
  has_room "$(data_root)" "$packed" "for a copy of $bundle"
}
unpacked_of() { # BUNDLE: kB; what is in it is its first entry's to say
  said=$(tar -xzOf "$1" --occurrence=1 bundle.toml 2>/dev/null |
    awk '/^\[/ { tree = /^\[\[trees\]\]$/ } tree && /^bytes = / { sum += $3 } END { printf "%.0f\n", sum / 1024 * 1.1 + 1024 }') || said=''
  # that is no bundle, which is told when it is looked at; some hundred files end within a block each
  [ "${said:-1024}" != 1024 ] || said=$(($(du -Lsk "$1" | cut -f1) * 2))
  echo "$said"
}
has_room() { # PLACE KB WHAT: where it is, or will be made, with what was promised on the same disk before
  place=$(realpath -m -- "$1") needed=$2
  while [ ! -d "$place" ]; do place=$(dirname -- "$place"); done
  disk=$(stat -c %d -- "$place")
  for other in $promised; do
    [ "${other%:*}" != "$disk" ] || needed=$((needed + ${other#*:}))
  done
  promised="$promised $disk:$2"
  free=$(df -Pk "$place" | awk 'NR == 2 { print $4 }')
  # the one rounded down, the other up: never two numbers that are the same
  [ "$free" -ge "$needed" ] || fail 4 "$place has $((free / 1024)) MB free, $(((needed + 1023) / 1024)) MB are needed $3" \
    "make room: \`du -xh -d 2 $place | sort -h\` shows what takes it"
}

sum() { sha256sum "$1" | cut -d' ' -f1; }
known() { # FILE PLACE: an install.sh of ours has put FILE there, or left it beside
  [ -e "$manifest" ] && grep -qxF "$(sum "$1")  $2" "$manifest"
}
is_ours() { known "$1" "$1"; }
note() { # FILE of sums and places, which install.sh knows from now on besides
  [ ! -e "$manifest" ] || cat "$manifest" >>"$1"
  sort -u "$1" >"$work/manifest"
  put "$work/manifest" 644 "$manifest"
}
begin() { # FIRST: on the disk before the first change
  mkdir -p "$lib"
  if [ -e "$begun" ]; then
    # Of a run that was cut short: what ran before it still does, or its own version has become the daemon and is what ran before
    ! is_active || cmp -s "/proc/$(main_pid)/exe" "$begun/old/cdc-supervisor" || keep_version "$begun/old"
    return
  fi
  mkdir "$work/begun"
  [ "$1" = no ] || : >"$work/begun/first"
  keep_version "$work/begun/old"
  find "$work/begun" -exec sync {} +
  mv -- "$work/begun" "$begun"
  sync -- "$lib"
}
ended() { # what is there is whole, and on the disk
  [ -e "$begun" ] || return 0
  rm -rf "$begun"
  sync -- "$lib"
}

# What differs, into $work/changed; refuses what is somebody else's.
check_files() {
  : >"$work/changed"
  while read -r source mode place; do
    if [ ! -e "$place" ]; then
      [ ! -L "$place" ] || fail 8 "$place is a link that leads nowhere" "remove it"
      echo "$source $mode $place" >>"$work/changed"
    elif cmp -s "$release/$source" "$place"; then
      continue
    elif [ "${place#/etc/}" != "$place" ]; then # the administrator's, for ever
      if known "$release/$source" "$place"; then
        continue # changed here, and the defaults are those it was changed from
      elif is_ours "$place" && [ "$place" != "$config" ]; then
        echo "$source $mode $place" >>"$work/changed"
      elif ! cmp -s "$release/$source" "$place.default"; then
        echo "$source $mode $place.default" >>"$work/changed"
      fi
    elif is_ours "$place"; then
      echo "$source $mode $place" >>"$work/changed"
    else
      fail 8 "$place is there and is not what install.sh put there" \
        "move it away; changes to the unit belong into \`systemctl edit $unit\`, which no version overwrites"
    fi
  done <"$work/layout"
}

check_upgrade() { # the new program looks at the state itself (run --check), as the unit's user
  [ -e "$config" ] && [ -d "$(data_root)" ] && id "$user" >/dev/null 2>&1 || return 0
  mkdir "$work/pair"
  cp "$release/bin/cdc-supervisor" "$release/bin/cdc-shim" "$work/pair"
  chmod 755 "$work" "$work/pair"
  code=0
  (cd / && as_user "$work/pair/cdc-supervisor" --config "$config" run --check) >"$work/check" 2>&1 || code=$?
  case $code in
    0) return ;;
    8) ;;
    # nothing runs: what is missing or wrong is told at the start
    *) has_daemon || return 0 ;;
  esac
  cat "$work/check" >&2
  fail "$code" "version $version cannot go on with what is here; nothing was changed"
}

install_all() {
  check_release
  if [ -n "$target" ]; then
    layout | while read -r source mode place; do put "$release/$source" "$mode" "$target$place"; done
    exit 0
  fi
  check_host
  booted || fail 4 "systemd does not run here" "\`cdc-supervisor up\` runs without it; --root DIR only copies the files"
  ! is_packaged || fail 8 "it was installed as a package" "dpkg -i of a newer package; or remove that one first"
  check_machine
  [ -z "$bundle" ] || [ -f "$bundle" ] || fail 2 "$bundle is no file"
  # the unit's user reads it later, and not from the directory where somebody types this
  case $bundle in
    '' | /*) ;;
    *) bundle=$PWD/$bundle ;;
  esac
  [ -z "$bundle" ] || [ -n "$proof" ] || fail 2 "nothing proves that $bundle is the bundle that was made" \
    "--sha256 and the digest that \`bundle create\` printed; --accept-unpinned takes the file as it is"
  alone
  check_room
  # beside a unit that is installed one of somebody's own is what it was before
  [ -e "$manifest" ] || check_daemons
  check_settled
  work=$(mktemp -d /usr/lib/.cdc-supervisor.XXXXXX)
  trap 'rm -rf "$work" "${probe-}"' EXIT
  layout >"$work/layout"
  check_files
  check_upgrade
  if [ -n "$bundle" ]; then
    probe=$(mktemp -d /var/lib/.cdc-supervisor.XXXXXX)
    # as on the machine where it was made: what this configuration wants must be in it
    wanted=$config
    [ -e "$wanted" ] || wanted=$release/supervisor.toml
    digest=''
    [ "$proof" = --accept-unpinned ] || digest=$proof
    "$release/bin/cdc-supervisor" --config "$wanted" --root "$probe" bundle verify "$bundle" ${digest:+"$digest"} >/dev/null ||
      fail 5 "$bundle cannot be used; nothing was changed"
    rm -rf "$probe"
  fi

  first=no cut=no
  [ -e "$manifest" ] && [ ! -e "$begun/first" ] || first=yes
  [ ! -e "$begun" ] || cut=yes
  count=$(wc -l <"$work/changed")
  # from here on to the end: a half of it would be worse
  trap '' HUP INT TERM
  sweep
  if [ "$count" != 0 ] || [ $cut = yes ]; then
    begin $first
    # old and new sums: whatever becomes of this run, of the machine's power too, the next one knows both
    while read -r source _ place; do
      printf '%s  %s\n' "$(sum "$release/$source")" "$place"
      # a file that is kept is kept against these defaults
      [ "${place%.default}" = "$place" ] || printf '%s  %s\n' "$(sum "$release/$source")" "${place%.default}"
    done <"$work/changed" >"$work/sums"
    cp "$work/sums" "$work/both"
    note "$work/both"
    # of what a run that was cut short has put there only the new ones stay in the end
    [ $cut = no ] || while read -r source _ place; do
      if cmp -s "$release/$source" "$place" || known "$release/$source" "$place"; then
        printf '%s  %s\n' "$(sum "$release/$source")" "$place"
      fi
      if cmp -s "$release/$source" "$place.default"; then
        printf '%s  %s\n' "$(sum "$release/$source")" "$place.default"
      fi
    done <"$work/layout" >>"$work/sums"
    while read -r source mode place; do
      from=$release/$source
      if [ -n "$bundle" ] && [ "$place" = "$config" ]; then
        # a machine that gets its programs in a file asks no network for them
        from=$work/config
        sed 's/^offline = false$/offline = true/' "$release/$source" >"$from"
      fi
      put "$from" "$mode" "$place"
    done <"$work/changed"
    while read -r _ _ place; do rm -f -- "$place.cdc-new"; done <"$work/layout" # of a run that was cut short
    awk 'NR == FNR { new[$2]; print; next } !($2 in new)' "$work/sums" "$manifest" | sort -u >"$work/manifest"
    put "$work/manifest" 644 "$manifest"
    set_up $first
  else
    open_paths
  fi
  replaced=no
  # somebody may have begun a start or a reload just now
  settles || true
  if is_replaced; then
    replaced=yes
    if ! take_over; then
      [ -e "$begun" ] || fail 8 "the running daemon did not become version $version, which was installed before; nodes run on" \
        "journalctl -u $unit says why"
      version_files | while read -r file; do
        kept=$begun/old/${file##*/}
        [ ! -e "$kept" ] || printf '%s  %s\n' "$(sum "$kept")" "$file"
      done >"$work/both"
      note "$work/both"
      put_version "$begun/old"
      back="the programs of before are back, and nodes run on"
      run_again || back="the programs of before are back and did not start, nodes run on alone"
      ended
      fail 8 "the running daemon did not become version $version; $back" "journalctl -u $unit says why"
    fi
  fi
  trap - HUP INT TERM
  if [ -n "$bundle" ]; then
    install -d -o "$user" -g "$user" -m 750 "$(data_root)"
    readable=$bundle
    if ! as_user test -r "$bundle"; then
      readable=$(data_root)/.bundle
      # -T: a directory or a link of that name is not written into
      install -T -o "$user" -g "$user" -m 600 "$bundle" "$readable"
    fi
    code=0
    (cd / && as_user cdc-supervisor --config "$config" bundle install "$readable" "$proof") || code=$?
    [ "$readable" = "$bundle" ] || rm -f "$readable"
    [ $code = 0 ] || fail "$code" "the programs of $bundle were not installed; everything else was"
  fi
  sync # a loss of power from here on takes nothing of it; a new file's name may be on the disk before what is in it (ext4(5))
  ended
  if [ "$count" = 0 ] && [ $cut = yes ]; then
    say finished "cdc-supervisor $version: a run before this one was cut short"
    exit 0
  fi
  if [ "$count" = 0 ] && [ $replaced = no ]; then
    say unchanged "cdc-supervisor $version is installed already"
    exit 0
  fi
  say installed "cdc-supervisor $version ($count files)"
  while read -r _ _ place; do
    case $place in
      *.default) say kept "${place%.default} as it is; what is new by default: $place" ;;
    esac
  done <"$work/changed"
  is_active || say next "look through $config, then: systemctl start cdc-supervisor"
}

case $do in
  uninstall) uninstall ;;
  install) install_all ;;
esac
