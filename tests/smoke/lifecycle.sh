#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A dpud from start to stop: readiness, permissions, a second one refused, SIGHUP, SIGTERM, kill -9 and restart, wrong options.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin life
name=$LAB-m
run=/run/softdpu/$name
pid=

# The tests here start and stop the process themselves; lab_end ends what is left.
start() {
	"$dpud" --instance "$name" "${small[@]}" --log "$LAB_DIR/m.log" >"$LAB_DIR/m.out" 2>&1 &
	pid=$!
	lab_pids+=("$pid")
	wait_until 30 "dpud answers" rpc m dpu.version
}
wait_gone() { # STATUS
	local got=0
	wait "$pid" || got=$?
	[ "$got" = "$1" ] || lab_fail "dpud ended with $got, not $1: $(tail -3 "$LAB_DIR/m.log")"
}
mode() { stat -c %a "$1"; }
refuse() { # STATUS WORDS OPTION...
	local status=$1 words=$2
	shift 2
	has "$status" "$words" timeout 20 "$dpud" "$@"
}

# ---- ready is said when the sockets answer
python3=/usr/bin/python3
cat >"$LAB_DIR/notify.py" <<'PY'
import socket, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind(sys.argv[1])
for _ in range(2):
    print(listener.recv(100).decode(), flush=True)
PY
$python3 "$LAB_DIR/notify.py" "$LAB_DIR/notify" >"$LAB_DIR/said" &
lab_pids+=($!)
wait_until 10 "the listener" test -S "$LAB_DIR/notify"
NOTIFY_SOCKET=$LAB_DIR/notify start
wait_until 10 "READY" grep -q READY=1 "$LAB_DIR/said"

# ---- who may come near
[ "$(mode "$run/dpud.sock")" = 660 ] || lab_fail "mode of the socket"
[ "$(mode "$run/dpud-ro.sock")" = 660 ] || lab_fail "mode of the read-only socket"
[ "$(mode "/var/lib/softdpu/$name")" = 700 ] || lab_fail "mode of the store"
[ "$(cat "$run/dpud.pid")" = "$pid" ] || lab_fail "pid file"
grep -q '^Max core file size *0 ' "/proc/$pid/limits" || lab_fail "a core file would be written"

# ---- one dpud an instance
refuse 1 "is used by the dpud with process id $pid" --instance "$name" "${small[@]}"
refuse 1 "is used by the dpud with process id $pid" --instance "$LAB-other" --store-dir "/var/lib/softdpu/$name" "${small[@]}"
has 0 "instance $name" ctl version

# ---- the log goes on in a new file
mv "$LAB_DIR/m.log" "$LAB_DIR/m.log.1"
kill -HUP "$pid"
wait_until 10 "a new log" test -s "$LAB_DIR/m.log"

# ---- stopped by SIGTERM while clients are there: nothing is left but what is to be kept
ok ctl tenant create blue
ok ctl vpc create blue/main vni=100
"$dpuctl" -i "$name" watch >"$LAB_DIR/events" 2>"$LAB_DIR/watch.err" &
watcher=$!
lab_pids+=("$watcher")
sleep 0.3
kill -TERM "$pid"
wait_gone 0
wait_until 10 "STOPPING" grep -q STOPPING=1 "$LAB_DIR/said"
status=0
wait "$watcher" || status=$?
[ "$status" = 3 ] || lab_fail "watch ended with $status"
grep -q "dpud closed the connection" "$LAB_DIR/watch.err" || lab_fail "watch does not say why it ends"
[ -z "$(find "$run" -name '*.sock' -o -name '*.pid')" ] || lab_fail "left in the run directory: $(ls "$run")"
has 3 "no dpud is there" ctl vnic list

# ---- what was told is there again, after a stop and after kill -9 right behind an answer
start
has 0 "main" ctl vpc list
for round in 1 2 3; do
	ok ctl tenant create "t$round"
	kill -9 "$pid"
	wait_gone 137
	[ -S "$run/dpud.sock" ] || lab_fail "kill -9 should leave the socket behind"
	has 3 "no dpud is there" ctl vnic list
	start
	has 0 "t$round" ctl tenant list
done
kill -INT "$pid"
wait_gone 0

# ---- options from a file; metrics on a loopback port and on a socket; JSON log
cat >"$LAB_DIR/dpud.conf" <<CONF
# options of this instance
instance = $name
huge-pages = off
memory = 64
log-json = true
metrics = $LAB_DIR/metrics.sock
CONF
"$dpud" --config "$LAB_DIR/dpud.conf" >"$LAB_DIR/m.log" 2>&1 &
pid=$!
lab_pids+=("$pid")
wait_until 30 "dpud answers" rpc m dpu.version
"$(dirname "$0")/metrics.py" "$LAB_DIR/metrics.sock" || lab_fail "the metrics are not valid"
$python3 -c 'import json,sys; [json.loads(line) for line in open(sys.argv[1])]' "$LAB_DIR/m.log" || lab_fail "the JSON log is none"
kill -TERM "$pid"
wait_gone 0
[ ! -e "$LAB_DIR/metrics.sock" ] || lab_fail "the metrics socket was left behind"

# ---- refused before anything is touched, in exact words
check 2 "dpud: --workers: '0' is no whole number from 1 to 64" "$dpud" --workers 0
check 2 "dpud: there is no option 'worker'; did you mean 'workers'?" "$dpud" --worker=1
check 2 "dpud: --man: there is no class 'vnci'; see dpud --manual" "$dpud" --man vnci
printf 'workers=many\n' >"$LAB_DIR/wrong.conf"
check 2 "dpud: $LAB_DIR/wrong.conf:1: workers: 'many' is no whole number from 1 to 64" "$dpud" --config "$LAB_DIR/wrong.conf"
refuse 2 "is not a loopback address" --metrics 0.0.0.0:9180
refuse 1 "there is no group 'no-such-group'" --instance "$LAB-g" --group no-such-group "${small[@]}"
refuse 1 "cannot be opened" --log /nonexistent/log
has 0 "usage: dpud" "$dpud" --help
has 0 "dpud " "$dpud" --version

# ---- a store of a newer dpud, and one that is no store, are refused and left as they are
store=/var/lib/softdpu/$name/store.db
cp "$store" "$LAB_DIR/store"
$python3 -c 'import sqlite3,sys; db=sqlite3.connect(sys.argv[1]); db.execute("UPDATE softdpu SET version = 9999"); db.commit(); db.close()' "$store"
before=$(sha256sum <"$store")
refuse 1 "written by a newer dpud" --instance "$name" "${small[@]}"
[ "$before" = "$(sha256sum <"$store")" ] || lab_fail "a newer store was changed"
rm -f "$store"*
echo "this is no database, but it is somebody's file" >"$store"
refuse 1 "cannot start" --instance "$name" "${small[@]}"
grep -q "somebody's file" "$store" || lab_fail "a file that is no store was changed"
cp "$LAB_DIR/store" "$store"
start
has 0 "main" ctl vpc list
kill -TERM "$pid"
wait_gone 0
