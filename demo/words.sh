# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# The words of a shell inside the demonstration (./run shell), for bash to read at its start.
demo_top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tests/lib/lab.sh
. "$demo_top/tests/lib/lab.sh"
# shellcheck source=demo/place.sh
. "$demo_top/demo/place.sh"
demo_play=$(cat $LAB_DIR/play)
# shellcheck source=demo/vpc_world.sh
. "$demo_top/demo/${demo_play}_world.sh"
PATH=$lab_build/apps/dpuctl:$lab_build/src/daemon:$PATH
unset -f dpuctl
export PATH DPUCTL_INSTANCE=$LAB-${demo_dpus%% *}

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
# is_dpu NAME WORD: or it is said how the word is used.
is_dpu() {
	case " $demo_dpus " in
	*" ${1:-?} "*) ;;
	*) echo "usage: $2 ${demo_dpus// /|}" >&2; return 2 ;;
	esac
}
# log DPU: what a dpud has logged.
log() {
	is_dpu "${1:-}" log || return
	cat "$LAB_DIR/$1.log"
}
# murder DPU: kill -9 of a dpud; it comes back by itself.
murder() {
	is_dpu "${1:-}" murder || return
	lab_dpud_kill "$1"
}
# shellcheck source=demo/vpc_words.sh
. "$demo_top/demo/${demo_play}_words.sh"

if [[ $- == *i* ]]; then
	# shellcheck disable=SC1090
	[ ! -r ~/.bashrc ] || . ~/.bashrc
	[ ! -r /usr/share/bash-completion/bash_completion ] || . /usr/share/bash-completion/bash_completion
	# shellcheck disable=SC1090
	. <(dpuctl completion bash)
	complete -W "$demo_guests" on
	complete -W "$demo_dpus" use log murder
	PS1='\[\033[1m\]softdpu $DPUCTL_INSTANCE\[\033[0m\] \w \$ '
	words
fi
