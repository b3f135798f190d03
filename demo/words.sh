# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# The words of a shell inside the demonstration (./run shell), for bash to read at its start.
demo_top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tests/lib/lab.sh
. "$demo_top/tests/lib/lab.sh"
# shellcheck source=demo/world.sh
. "$demo_top/demo/world.sh"
PATH=$lab_build/apps/dpuctl:$lab_build/src/daemon:$PATH
unset -f dpuctl
export PATH DPUCTL_INSTANCE=$LAB-a

# on VM COMMAND...: runs in a VM; its output comes as it is written, and an interrupt reaches it.
on() {
	local vm=${1:-}
	case " $demo_guests " in
	*" $vm "*) ;;
	*) echo "on: there is no VM '$vm': one of $demo_guests" >&2; return 2 ;;
	esac
	shift
	[ $# -gt 0 ] || { echo "usage: on VM COMMAND..." >&2; return 2; }
	"$lab_top/devtools/guest/guest" stream "$vm" --dir "$LAB_DIR" -- "$*"
}
# box COMMAND...: runs in the container.
box() {
	[ $# -gt 0 ] || { echo "usage: box COMMAND..." >&2; return 2; }
	ip netns exec "$LAB-box" "$@"
}
# use a|b: whom dpuctl talks to.
use() {
	case ${1:-} in
	a | b) export DPUCTL_INSTANCE=$LAB-$1 ;;
	*) echo "usage: use a|b" >&2; return 2 ;;
	esac
}
# log a|b: what a dpud has logged.
log() {
	case ${1:-} in
	a | b) cat "$LAB_DIR/$1.log" ;;
	*) echo "usage: log a|b" >&2; return 2 ;;
	esac
}
# murder a|b: kill -9 of a dpud; it comes back by itself.
murder() {
	case ${1:-} in
	a | b) lab_dpud_kill "$1" ;;
	*) echo "usage: murder a|b" >&2; return 2 ;;
	esac
}
words() {
	cat <<-WORDS
		on VM COMMAND...   in a VM: $demo_guests        on blue-web ping 10.0.1.10
		box COMMAND...     in the container                        box ping 10.0.0.10
		dpuctl ...         a DPU; use a, use b: which one          dpuctl vnic list
		log a, log b       what a dpud has logged
		murder a           kill -9 of a dpud; it comes back by itself
		words              this list; dpuctl help says more
	WORDS
}

if [[ $- == *i* ]]; then
	# shellcheck disable=SC1090
	[ ! -r ~/.bashrc ] || . ~/.bashrc
	[ ! -r /usr/share/bash-completion/bash_completion ] || . /usr/share/bash-completion/bash_completion
	# shellcheck disable=SC1090
	. <(dpuctl completion bash)
	complete -W "$demo_guests" on
	complete -W "a b" use log murder
	PS1='\[\033[1m\]softdpu $DPUCTL_INSTANCE\[\033[0m\] \w \$ '
	words
fi
