#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# PostgreSQL in a guest judges two volumes: one of a pool here, one of a pool on a namespace of another DPU by NVMe/TCP. What was acknowledged to
# clients outside is kept there, while each dpud is killed with -9; then all are killed at once, guest too, and what nobody flushed is lost, as in
# a power failure (volatile.c). Each commit is there, sums agree, checksums, indexes and file systems are sound.
# POSTGRES_KILLS=N, POSTGRES_FAILURES=N: by hand, more of them.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
[ -n "${IN_OWN_MACHINE:-}" ] || "$top/devtools/guest/postgres" "${GUEST_IMAGE:-$top/build/guest}" # while there is a network
# shellcheck disable=SC2034 # for machine.sh
machine_guests=1
. "$(dirname "$0")/../lib/machine.sh"
. "$(dirname "$0")/../lib/lab.sh"
lab_begin pg
nqn=nqn.2025-01.org.example:far
ports=(5001 5002) # near, far
export PGUSER=postgres PGCONNECT_TIMEOUT=10

# ---- a cluster with pgbench's tables, and a payment that does what its transaction does
root=$LAB_DIR/root
as_user="/bin/setpriv --reuid=$(id -u nobody) --regid=$(id -g nobody) --clear-groups"
within() { chroot "$root" "$@"; }
cluster() {
	cp -a "$lab_image/postgres" "$root"
	cp -a /dev/null /dev/urandom "$root/dev"
	mkdir "$root"/{near,far,cluster}
	chown nobody "$root/cluster"
	# shellcheck disable=SC2086 # several words
	within $as_user /programs/initdb -U postgres -k -N -A trust --locale=C -E UTF8 --wal-segsize=1 -D /cluster/data
	cat >>"$root/cluster/data/postgresql.conf" <<-CONF
		listen_addresses = '*'
		unix_socket_directories = '/tmp'
		dynamic_shared_memory_type = mmap
		shared_buffers = 16MB
		max_wal_size = 8MB
		min_wal_size = 2MB
		timezone = 'GMT'
		log_timezone = 'GMT'
	CONF
	echo "host all all all trust" >>"$root/cluster/data/pg_hba.conf"
	# shellcheck disable=SC2086
	within $as_user /programs/pg_ctl -w -D /cluster/data -l /cluster/log -o "-c fsync=off" start
	within /programs/pgbench -q -i -h /tmp postgres
	within /programs/psql -v ON_ERROR_STOP=1 -h /tmp postgres <<-'SQL'
		CREATE EXTENSION amcheck;
		CREATE TABLE paid (client int, number int, filler text, PRIMARY KEY (client, number));
		CREATE FUNCTION pay(client int, number int) RETURNS text LANGUAGE plpgsql AS $$
		DECLARE
			account int := 1 + random() * 99999;
			teller int := 1 + random() * 9;
			amount int := random() * 10000 - 5000;
		BEGIN
			UPDATE pgbench_accounts SET abalance = abalance + amount WHERE aid = account;
			UPDATE pgbench_tellers SET tbalance = tbalance + amount WHERE tid = teller;
			UPDATE pgbench_branches SET bbalance = bbalance + amount WHERE bid = 1;
			INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (teller, 1, account, amount, CURRENT_TIMESTAMP);
			INSERT INTO paid VALUES (client, number, repeat(md5(number::text), 8));
			RETURN client || ' ' || number;
		END $$;
	SQL
	# shellcheck disable=SC2086
	within $as_user /programs/pg_ctl -w -m fast -D /cluster/data stop
	mke2fs -q -t ext4 -d "$root/cluster" "$LAB_DIR/images/cluster.raw" 128M
	rm -r "$root/cluster"
	mke2fs -q -t ext4 -O ^has_journal -d "$root" "$LAB_DIR/root.img" 128M
}
mkdir "$LAB_DIR/images" "$LAB_DIR/modules"
(set -e; cluster) >"$LAB_DIR/cluster.log" 2>&1 || lab_fail "no cluster"
gcc -I"$lab_top/include" -O2 -std=gnu17 -fPIC -shared -fvisibility=hidden -o "$LAB_DIR/modules/volatile.so" "$(dirname "$0")/volatile.c"
truncate -s 256M "$LAB_DIR/near.img" "$LAB_DIR/far.img"

# ---- two DPUs
lab_netns m
lab_netns t
lab_veth m up0 t up0
inside m ip address add 10.9.0.1/24 dev up0
inside t ip address add 10.9.0.2/24 dev up0
inside m ip tuntap add tap0 mode tap
inside m ip address add 10.8.0.1/24 dev tap0
inside m ip link set tap0 up
options=(--huge-pages off --memory 64 --module-dir "$LAB_DIR/modules")
lab_dpud t t "${options[@]}"
lab_dpud m m "${options[@]}" --image-dir "$LAB_DIR/images"
cat >"$LAB_DIR/t.yaml" <<-YAML
	version: 1
	tenants: [{name: blue}]
	media: [{name: far, kind: module, module: volatile, arguments: "path=$LAB_DIR/far.img"}]
	pools: [{name: far, media: [far]}]
	volumes: [{name: far, tenant: blue, pool: far, size: 224M}]
	nvmf_listeners: [{name: here, address: 10.9.0.2}]
	nvmf_subsystems: [{name: far, tenant: blue, nqn: "$nqn", allow_any_host: true}]
	nvmf_namespaces: [{name: far, tenant: blue, subsystem: far, volume: far, nsid: 1}]
YAML
dpu t apply -f "$LAB_DIR/t.yaml" >/dev/null
cat >"$LAB_DIR/m.yaml" <<-YAML
	version: 1
	tenants: [{name: blue}]
	media:
	  - {name: root, path: $LAB_DIR/root.img, cached: true}
	  - {name: near, kind: module, module: volatile, arguments: "path=$LAB_DIR/near.img"}
	nvmf_remotes: [{name: far, nqn: "$nqn", addresses: [10.9.0.2], nsid: 1, keep_alive: 1000, quiesce: 100}]
	pools: [{name: near, media: [near]}, {name: far, remotes: [far]}]
	volumes:
	  - {name: near, tenant: blue, pool: near, size: 128M}
	  - {name: far, tenant: blue, pool: far, size: 128M}
YAML
dpu m apply -f "$LAB_DIR/m.yaml" >/dev/null
ready() { [ "$(dpu m -t blue -o json volume show "$1" | json "d['state']")" = ready ]; }
for volume in near far; do
	wait_until 30 "volume $volume" ready $volume
	dpu m -t blue volume import-image $volume file=cluster.raw wait=true >/dev/null
	dpu m -t blue disk create $volume volume=$volume "socket=$LAB_DIR/$volume.sock" queues=1
done
dpu m -t blue disk create root medium=root "socket=$LAB_DIR/root.sock" queues=1

# ---- the servers, and clients of each; what is in the file paid.PORT was acknowledged
lab_made guest vm
boot() {
	inside m "$lab_top/devtools/guest/guest" start vm --dir "$LAB_DIR" --image "$lab_image" --memory 256 --cpus 2 --tap tap0 \
		--disk "$LAB_DIR/root.sock,num-queues=1" --disk "$LAB_DIR/near.sock,num-queues=1" --disk "$LAB_DIR/far.sock,num-queues=1"
	on vm "set -e; mkdir /pg; mount -o ro /dev/vda /pg; mount -t proc proc /pg/proc; mount --bind /dev /pg/dev; mount -t tmpfs tmp /pg/tmp
		mount /dev/vdb /pg/near; mount /dev/vdc /pg/far; ip address add 10.8.0.2/24 dev eth0; ip link set eth0 up
		for place in near:5001 far:5002; do
			rm -f /pg/\${place%:*}/data/postmaster.pid
			chroot /pg $as_user /programs/postgres -D /\${place%:*}/data -p \${place#*:} >/dev/console 2>&1 </dev/null &
		done" || lab_fail "no file system: $(on vm "dmesg | tail")"
	for port in "${ports[@]}"; do wait_until 60 "PostgreSQL answers at $port" sql "$port" -c "SELECT"; done
}
sql() { inside m chroot "$root" /programs/psql -qAt -h 10.8.0.2 -p "$@" postgres; }
client=0
pay() {
	for port in "${ports[@]}" "${ports[@]}"; do
		client=$((client + 1))
		lab_background inside m bash -c "n=0; while echo \"SELECT pay($client, \$((n++)));\"; do :; done 2>/dev/null |
			chroot $root /programs/psql -qAt -v ON_ERROR_STOP=1 -h 10.8.0.2 -p $port postgres 2>/dev/null >>$LAB_DIR/paid.$port"
	done
}
paid() { wc -l <"$LAB_DIR/paid.$1"; }
goes_on() {
	local near far
	near=$(paid 5001) far=$(paid 5002)
	both() { [ "$(paid 5001)" -ge $((near + 10)) ] && [ "$(paid 5002)" -ge $((far + 10)) ]; }
	wait_until 60 "payments go on after $near and $far" both
}
judge() { # PORT
	local sums
	sql "$1" -c "SELECT client || ' ' || number FROM paid" | sort >"$LAB_DIR/there"
	sort "$LAB_DIR/paid.$1" | comm -23 - "$LAB_DIR/there" >"$LAB_DIR/lost"
	[ ! -s "$LAB_DIR/lost" ] || lab_fail "$1: $(wc -l <"$LAB_DIR/lost") of $(paid "$1") commits are lost: $(head -3 "$LAB_DIR/lost")"
	sums=$(sql "$1" -c "SELECT sum(abalance) FROM pgbench_accounts UNION SELECT sum(bbalance) FROM pgbench_branches
		UNION SELECT sum(tbalance) FROM pgbench_tellers UNION SELECT sum(delta) FROM pgbench_history")
	[ "$(wc -l <<<"$sums")" = 1 ] || lab_fail "$1: sums differ: $sums"
	inside m chroot "$root" /programs/pg_amcheck -h 10.8.0.2 -p "$1" --heapallindexed postgres || lab_fail "$1: a table or an index is damaged"
}

# ---- kills, which nobody notices; power failures, by which clients lose their connections
touch "$LAB_DIR"/paid.{5001,5002}
boot
pay
for _ in $(seq "${POSTGRES_KILLS:-1}"); do
	for name in m t; do
		goes_on
		lab_dpud_kill $name
	done
done
goes_on
for _ in $(seq "${POSTGRES_FAILURES:-1}"); do
	rm "$LAB_DIR"/{near,far}.img.cache
	kill -9 "$(cat "$LAB_DIR/vm.pid")" "$(lab_dpud_pid m)" "$(lab_dpud_pid t)"
	wait_until 10 "QEMU has ended" inside m sh -c "ip link show tap0 | grep -q NO-CARRIER"
	boot
	for port in "${ports[@]}"; do judge "$port"; done
	pay
	goes_on
done

# ---- all of it is looked at
for place in near far; do
	on vm "kill -INT \$(head -1 /pg/$place/data/postmaster.pid); while [ -e /pg/$place/data/postmaster.pid ]; do sleep 0.2; done
		chroot /pg /programs/pg_checksums -D /$place/data" >"$LAB_DIR/checksums" 2>&1 || lab_fail "$place: $(cat "$LAB_DIR/checksums")"
done
on vm "umount /pg/near /pg/far; e2fsck -fn /dev/vdb && e2fsck -fn /dev/vdc" >"$LAB_DIR/fsck" 2>&1 || lab_fail "a file system is damaged: $(cat "$LAB_DIR/fsck")"
for pool in near far; do
	dpu m pool scrub $pool wait=true >/dev/null
	[ "$(dpu m -o json pool show $pool | json "d['scrub_damaged']")" = 0 ] || lab_fail "pool $pool has damaged blocks"
done
echo "postgres: $(paid 5001) and $(paid 5002) commits are there"
