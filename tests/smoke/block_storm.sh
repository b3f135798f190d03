#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Block storage under random requests: objects made, changed and deleted in any order, images, hosts, files that vanish, restarts and kills. dpud
# stays alive, answers, keeps what it said, and in the end all of it can be deleted. BLOCK_STORM_SECONDS and BLOCK_STORM_SEED say how long and which.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin storm
seed=${BLOCK_STORM_SEED:-$RANDOM}
echo "BLOCK_STORM_SEED=$seed"
timeout -k 5 $((${BLOCK_STORM_SECONDS:-10} + 180)) /usr/bin/python3 "$(dirname "$0")/block_storm.py" "$dpud" "$LAB_DIR" "$seed" "${BLOCK_STORM_SECONDS:-10}" ||
	{ tail -200 "$LAB_DIR/trace"; lab_fail "BLOCK_STORM_SEED=$seed"; }
