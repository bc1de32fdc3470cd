# shellcheck shell=bash disable=SC2154
# end.sh - part of stack.sh: an installation's end, and the end of what it has left.
step "uninstall: stopped in order, the data stay"
from_here
began=$(now)
ran uninstall /usr/lib/cdc-supervisor/install.sh uninstall
saw uninstall.ms $(($(now) - began))
happened uninstall
keep_journal
saw uninstall.left "$(of_user)"
saw uninstall.files "$(find /usr/bin /usr/lib /usr/share -name '*cdc-s*' 2>/dev/null)"
saw uninstall.kept "$(find $root/nodes -name meta.properties -o -name ibdata1 -o -name 'log.*' -path '*/version-2/*' | sed 's|.*/nodes/||' | sort)" \
  "$(grep -c '^offsets.retention.minutes' $config)"

step "installed once more, for --purge"
ran again $later/dist/install.sh
saw again.config "$(grep -c '^offsets.retention.minutes' $config)"
ran purge-unasked /usr/lib/cdc-supervisor/install.sh uninstall --purge
ran purge /usr/lib/cdc-supervisor/install.sh uninstall --purge --confirm $root
saw purge.left "$(ls -d $root $etc 2>/dev/null)"
