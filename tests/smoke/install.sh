#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What is installed: programs that run, manual pages without a fault, schemas, completion, the service unit.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin install
root=$LAB_DIR/root
DESTDIR=$root meson install -C "$lab_build" --no-rebuild >"$LAB_DIR/install.log" 2>&1 || lab_fail "meson install: $(tail -5 "$LAB_DIR/install.log")"
find "$root" -type f -printf '/%P\n' | sed 's|^/usr/local||; s|^/usr||' | sort >"$LAB_DIR/files"
for file in /sbin/dpud /bin/dpuctl /share/man/man8/dpud.8 /share/man/man1/dpuctl.1 /share/man/man5/dpu-vnic.5 \
	/share/softdpu/schema.json /share/softdpu/net.schema.json /share/doc/softdpu/reference.md \
	/share/bash-completion/completions/dpuctl /lib/systemd/system/dpud@.service /include/dpu/block.h /include/dpu/block_module.h; do
	grep -qx "$file" "$LAB_DIR/files" || lab_fail "$file is not installed: $(cat "$LAB_DIR/files")"
done
# The driver is in a folder of its own: DPDK's applications load it when they are told to.
[ ! -e "$lab_build/apps/net_softdpu/librte_net_softdpu.so" ] || grep -qE '^/lib(/[^/]+)?/softdpu/librte_net_softdpu.so$' "$LAB_DIR/files" ||
	lab_fail "the driver is not installed: $(cat "$LAB_DIR/files")"
find "$root" -path '*/man/man*' -type f >"$LAB_DIR/pages"
while read -r page; do
	check 0 "" mandoc -Tlint -Wwarning "$page"
	[ "$(mandoc -Tutf8 "$page" | wc -l)" -gt 10 ] || lab_fail "$page is empty"
done <"$LAB_DIR/pages"
# A page for each class, and every class's in the reference.
for class in $(json "' '.join(row['name'] for row in d['classes'])" <"$DPUCTL_SCHEMA"); do
	grep -q "/dpu-$class.5$" "$LAB_DIR/pages" || lab_fail "class $class has no manual page"
	grep -q "$class" "$(find "$root" -name reference.md)" || lab_fail "class $class is not in the reference"
done
cmp "$(find "$root" -name schema.json)" "$DPUCTL_SCHEMA"
/usr/bin/python3 -c 'import json,sys; json.load(open(sys.argv[1]))' "$(find "$root" -name net.schema.json)"
bash -n "$(find "$root" -path '*completions/dpuctl')"
grep -q "^ExecStart=/.*/sbin/dpud --instance %i" "$(find "$root" -name 'dpud@.service')" || lab_fail "the unit does not start dpud"

# ---- the interactive shell, on a terminal of its own
lab_netns a
lab_dpud m a "${small[@]}"
ok ctl tenant create blue
HOME=$LAB_DIR /usr/bin/python3 "$(dirname "$0")/shell.py" "$dpuctl" "$LAB-m" || lab_fail "the shell"
[ "$(stat -c %a "$LAB_DIR/.dpuctl_history")" = 600 ] || lab_fail "others can read the history"
grep -q "tenant" "$LAB_DIR/.dpuctl_history" || lab_fail "nothing is in the history"
