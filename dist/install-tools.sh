#!/bin/bash
# install-tools.sh GROUP... - makes the programs of these groups available:
#   build  a C compiler for librdkafka        run  Maven and a Java runtime, which the package source of artifacts uses
#   test   what the tests call                vm   what makes and boots the guest of tests/vm
#   peers  the supervisors that dist/bench.sh measures against
# As root it installs what is missing with apt-get; as anybody else, or without apt-get, it says what to install and exits 4.
# A program that is there is never installed again, whichever way it came.
set -euo pipefail

declare -A package=()
need() { # COMMAND PACKAGE
  command -v "$1" >/dev/null || package[$2]=1
}

for group in "$@"; do
  case $group in
    build)
      need cc gcc && need gcc gcc
      need g++ g++
      need make make
      ;;
    run)
      need mvn maven
      need java openjdk-17-jre-headless
      ;;
    test)
      need ip iproute2
      need unshare util-linux
      need setpriv util-linux
      need ps procps
      need javac openjdk-17-jdk-headless
      need shellcheck shellcheck
      ;;
    vm)
      need mke2fs e2fsprogs
      need mmdebstrap mmdebstrap
      ;;
    peers)
      need runsvdir runit
      need s6-svscan s6
      ;;
    *)
      echo "install-tools.sh: no such group: $group (build, run, test, vm, peers)" >&2
      exit 2
      ;;
  esac
done
[ ${#package[@]} -gt 0 ] || exit 0
missing=$(printf '%s\n' "${!package[@]}" | sort | paste -sd' ')

if ! command -v apt-get >/dev/null; then
  echo "error: needed and not installed: $missing (Debian's package names)" >&2
  echo "hint: install them with this system's package manager, then run this again" >&2
  exit 4
fi
if [ "$(id -u)" != 0 ]; then
  echo "error: needed and not installed: $missing" >&2
  echo "hint: sudo apt-get update && sudo apt-get install -y --no-install-recommends $missing" >&2
  exit 4
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "installing $missing"
# shellcheck disable=SC2086  # a list of words
if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
  tail -15 "$log" >&2
  echo "error: apt-get could not install $missing" >&2
  exit 4
fi
