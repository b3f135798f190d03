/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of uplinks by device string: every kind, and every way to write it wrong. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "operating/net_rig.h"

struct bench {
	struct rig rig;
	struct wire wire;
};

static struct port *try_open(struct bench *bench, unsigned side, const char *device, uint16_t mtu, unsigned queues,
			     struct dpu_error *err)
{
	struct port_callbacks callbacks;
	struct port *port = NULL;

	memset(err, 0, sizeof(*err));
	wire_callbacks(&bench->wire, &bench->rig, side, &callbacks);
	int status = port_uplink_open(device, side ? "right" : "left", mtu, queues, bench->rig.loop, test_pool(),
				      &callbacks, &port, err);
	assert_int_equal(status == 0, port != NULL);
	return port;
}

static struct port *must_open(struct bench *bench, unsigned side, const char *device, unsigned queues)
{
	struct dpu_error err;
	struct port *port = try_open(bench, side, device, 0, queues, &err);

	if (!port)
		fail_msg("%s: %s: %s", device, err.path, err.message);
	return port;
}

static void bench_up(struct bench *bench, unsigned workers)
{
	memset(&bench->wire, 0, sizeof(bench->wire));
	rig_up(&bench->rig, workers, WORKER_BALANCED);
}

static void bench_down(struct bench *bench)
{
	wire_close(&bench->wire);
	rig_down(&bench->rig);
}

/* ---- strings ---- */

static void wrong_devices(void **state)
{
	static const struct {
		const char *device;
		enum dpu_error_code code;
		const char *says;
	} cases[] = {
		{ "", DPU_E_INVALID, "write af_packet:INTERFACE" },
		{ "eth0", DPU_E_INVALID, "write af_packet:INTERFACE" },
		{ "af-packet:eth0", DPU_E_INVALID, "write af_packet:INTERFACE" },
		{ "AF_PACKET:lo", DPU_E_INVALID, "write af_packet:INTERFACE" },
		{ " af_packet:lo", DPU_E_INVALID, "write af_packet:INTERFACE" },
		{ "af_packet", DPU_E_INVALID, "write af_packet:INTERFACE" },
		{ "af_packet:", DPU_E_INVALID, "no interface name" },
		{ "af_packet:a/../b", DPU_E_INVALID, "no interface name" },
		{ "af_packet:eth0 ", DPU_E_INVALID, "no interface name" },
		{ "af_packet:0123456789abcdef", DPU_E_INVALID, "no interface name" },
		{ "af_packet:eth0,queues=2", DPU_E_INVALID, "no interface name" },
		{ "af_packet:nosuch", DPU_E_NOT_FOUND, "no Ethernet interface \"nosuch\"" },
		{ "af_packet:lo", DPU_E_NOT_FOUND, "no Ethernet interface \"lo\"" },
		{ "af_xdp:", DPU_E_INVALID, "no interface name" },
		{ "af_xdp:nosuch", DPU_E_NOT_FOUND, "no interface \"nosuch\"" },
		{ "af_xdp:eth0,queue_count=3", DPU_E_INVALID, "no interface name" },
		{ "tap:", DPU_E_INVALID, "no interface name" },
		{ "tap:%d", DPU_E_INVALID, "no interface name" },
		{ "tap:..", DPU_E_INVALID, "no interface name" },
		{ "tap:lo", DPU_E_EXISTS, "no TAP" },
		{ "memif:", DPU_E_INVALID, "no absolute path" },
		{ "memif:relative.sock", DPU_E_INVALID, "no absolute path" },
		{ "memif:,server", DPU_E_INVALID, "no absolute path" },
		{ "memif:/a b", DPU_E_INVALID, "blanks" },
		{ "memif:/tmp/x,serve", DPU_E_INVALID, "\"serve\" is no option of memif" },
		{ "memif:/tmp/x,", DPU_E_INVALID, "\"\" is no option" },
		{ "memif:/tmp/x,queues=", DPU_E_INVALID, "N from 1 to 64" },
		{ "memif:/tmp/x,queues=0", DPU_E_INVALID, "N from 1 to 64" },
		{ "memif:/tmp/x,queues=65", DPU_E_INVALID, "N from 1 to 64" },
		{ "memif:/tmp/x,queues=-1", DPU_E_INVALID, "N from 1 to 64" },
		{ "memif:/tmp/x,queues=2x", DPU_E_INVALID, "N from 1 to 64" },
		{ "memif:/tmp/x,queues=99999999999999999999", DPU_E_INVALID, "N from 1 to 64" },
		{ "memif:/no/such/folder/x,server", DPU_E_NOT_FOUND, "no folder \"/no/such/folder\"" },
		{ "memif:/dev/null,server", DPU_E_EXISTS, "is no socket" },
		{ "net_", DPU_E_INVALID, "write af_packet:INTERFACE" },
		{ "net_null0,copy=1 --file-prefix x", DPU_E_INVALID, "write af_packet:INTERFACE" },
		{ "net_no/such", DPU_E_INVALID, "write af_packet:INTERFACE" },
		{ "net_nosuchdriver0", DPU_E_IO, "cannot be plugged in" },
		{ "net_null0,nosuchkey=1", DPU_E_IO, "DPDK says" },
		{ "crypto_null", DPU_E_INVALID, "write af_packet:INTERFACE" },
		{ "00:00", DPU_E_INVALID, "write af_packet:INTERFACE" },
		{ "0000:zz:00.0", DPU_E_INVALID, "write af_packet:INTERFACE" },
		{ "0000:fe:1f.7", DPU_E_IO, "cannot be plugged in" },
	};
	struct bench bench;
	char longest[2000];

	bench_up(&bench, 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct dpu_error err;
		struct port *port = try_open(&bench, 0, cases[i].device, 0, 1, &err);
		if (port)
			fail_msg("\"%s\" is opened", cases[i].device);
		if (err.code != cases[i].code || strcmp(err.path, "device") != 0 || !strstr(err.message, cases[i].says))
			fail_msg("\"%s\": %d %s: %s", cases[i].device, err.code, err.path, err.message);
	}
	struct dpu_error err;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_null(try_open(&bench, 0, longest, 0, 1, &err));
	memcpy(longest, "memif:/", 7);
	longest[200] = '\0';
	assert_null(try_open(&bench, 0, longest, 0, 1, &err));
	assert_non_null(strstr(err.message, "at most 107 bytes"));
	assert_null(try_open(&bench, 0, "net_null0", 0, 0, &err));
	assert_string_equal(err.path, "queues");
	assert_null(try_open(&bench, 0, "net_null0", 0, 65, &err));
	assert_string_equal(err.path, "queues");
	assert_null(try_open(&bench, 0, "net_null0", 67, 1, &err));
	assert_string_equal(err.path, "mtu");
	assert_null(try_open(&bench, 0, "net_null0", 9217, 1, &err));
	assert_string_equal(err.path, "mtu");
	bench_down(&bench);
}

/* ---- DPDK devices ---- */

static void null_device(void **state)
{
	struct bench bench;
	struct dpu_error err;

	for (int i = 0; i < 3; i++) { /* plugged in and out again and again */
		bench_up(&bench, 1);
		struct port *port = must_open(&bench, 0, "net_null0,size=100", 1);
		assert_string_equal(port->ops->kind, "ethdev");
		assert_true(atomic_load(&port->up));
		assert_int_equal(atomic_load(&port->tx_worker[0]), 0);
		assert_null(try_open(&bench, 1, "net_null0,size=100", 0, 1, &err));
		assert_int_equal(err.code, DPU_E_EXISTS);
		must_open(&bench, 1, "net_null1,size=64", 1);
		WAIT_FOR(&bench.rig, atomic_load(&bench.wire.ends[0][0].frames) > 10000);
		WAIT_FOR(&bench.rig, atomic_load(&bench.wire.ends[1][0].frames) > 10000);
		bench_down(&bench);
		assert_int_equal(rte_mempool_in_use_count(test_pool()), 0);
	}
}

struct socket_dir {
	char dir[32], path[48];
};

static void socket_dir_new(struct socket_dir *ret)
{
	snprintf(ret->dir, sizeof(ret->dir), "/tmp/softdpu-%d", (int)getpid());
	snprintf(ret->path, sizeof(ret->path), "%s/memif.sock", ret->dir);
	mkdir(ret->dir, 0700);
}

static void socket_dir_free(struct socket_dir *dir)
{
	unlink(dir->path);
	rmdir(dir->dir);
}

static struct rte_mbuf *frame_of(uint32_t length, unsigned number)
{
	struct rte_mbuf *head = rte_pktmbuf_alloc(test_pool()), *last = head;

	for (uint32_t at = 0; at < length;) {
		uint32_t part = length - at < 1500 ? length - at : 1500;
		if (at > 0) {
			last->next = rte_pktmbuf_alloc(test_pool());
			last = last->next;
			head->nb_segs++;
		}
		last->data_len = (uint16_t)part;
		uint8_t *bytes = rte_pktmbuf_mtod(last, uint8_t *);
		for (uint32_t i = 0; i < part; i++)
			bytes[i] = (uint8_t)((at + i) * 13 + number);
		at += part;
	}
	head->pkt_len = length;
	return head;
}

struct sending {
	struct port *port;
	uint32_t length;
	unsigned count;
	bool done;
	struct port_tx_result result;
};

static void sent(void *arg)
{
	((struct sending *)arg)->done = true;
}

static void send_frames(void *arg, struct worker *worker)
{
	struct sending *sending = arg;
	struct rte_mbuf *packets[32];
	unsigned other;

	for (unsigned i = 0; i < sending->count; i++)
		packets[i] = frame_of(sending->length, i);
	int queue = port_tx_queue(sending->port, worker_index(worker), 0, &other);
	assert_true(queue >= 0);
	port_transmit(sending->port, (unsigned)queue, packets, sending->count, &sending->result);
}

static void expect_frames(struct bench *bench, uint32_t length, unsigned count)
{
	uint8_t copy[16384];

	WAIT_FOR(&bench->rig, atomic_load(&bench->wire.kept_count) == count);
	for (unsigned i = 0; i < count; i++) {
		struct rte_mbuf *m = atomic_load(&bench->wire.kept[i]);
		assert_int_equal(m->pkt_len, length);
		const uint8_t *bytes = rte_pktmbuf_read(m, 0, length, copy);
		for (uint32_t at = 0; at < length; at++)
			assert_int_equal(bytes[at], (uint8_t)(at * 13 + i));
		rte_pktmbuf_free(m);
	}
	atomic_store(&bench->wire.kept_count, 0);
}

/* Two memif ports joined in one process, server and client; frames of all lengths; the client goes and comes back. */
static void memif_pair(void **state)
{
	static const uint32_t lengths[] = { 60, 1514, 2048, 2049, 9234 };
	struct bench bench;
	struct socket_dir dir;
	char server[80], client[80];

	socket_dir_new(&dir);
	snprintf(server, sizeof(server), "memif:%s,server", dir.path);
	snprintf(client, sizeof(client), "memif:%s", dir.path);
	bench_up(&bench, 1);
	bench.wire.sink = true;
	struct port *left = must_open(&bench, 0, server, 1);
	for (int round = 0; round < 2; round++) {
		struct port *right = must_open(&bench, 1, client, 1);
		assert_false(mac_equal(&left->mac, &right->mac));
		assert_false(mac_is_multicast(&left->mac));
		WAIT_FOR(&bench.rig, atomic_load(&left->up) && atomic_load(&right->up));
		WAIT_FOR(&bench.rig, bench.wire.attached[0] == 1 && bench.wire.attached[1] == 1);
		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			struct sending sending = { .port = right, .length = lengths[i], .count = 10 };
			assert_int_equal(worker_call(workers_get(bench.rig.workers, 0), send_frames, &sending, sent),
					 0);
			WAIT_FOR(&bench.rig, sending.done);
			expect_frames(&bench, lengths[i], 10);
			assert_int_equal(sending.result.packets, 10);
			assert_int_equal(sending.result.bytes, 10 * lengths[i]);
		}
		if (round > 0)
			break;
		wire_close_side(&bench.wire, 1);
		WAIT_FOR(&bench.rig, !atomic_load(&left->up));
	}
	bench_down(&bench);
	assert_int_equal(rte_mempool_in_use_count(test_pool()), 0);
	socket_dir_free(&dir);
}

/* The other end in a process of its own: this program again. */
static int peer_start(const char *device)
{
	int pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		exec_self(device);
		_exit(1);
	}
	return pid;
}

static void peer_kill(int pid)
{
	int status;

	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status)); /* it had not ended by itself */
}

static int peer_main(const char *device)
{
	struct eal_options options = { .memory_mb = 160 };
	struct bench bench;
	struct dpu_error err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (eal_start(&options, &err) < 0)
		return 1;
	bench_up(&bench, 1);
	bench.wire.sink = true;
	must_open(&bench, 0, device, 1);
	return loop_run(bench.rig.loop);
}

/* A client's buffers hold a frame of its MTU: another MTU makes it connect again. A server has nothing to do. */
static void memif_mtu(void **state)
{
	struct bench bench;
	struct socket_dir dir;
	struct dpu_error err;
	char server[80], client[80];

	socket_dir_new(&dir);
	snprintf(server, sizeof(server), "memif:%s,server", dir.path);
	snprintf(client, sizeof(client), "memif:%s", dir.path);
	bench_up(&bench, 1);
	bench.wire.sink = true;
	struct port *left = must_open(&bench, 0, server, 1), *right = must_open(&bench, 1, client, 1);
	bench.wire.ports[0] = left;
	bench.wire.ports[1] = right;
	WAIT_FOR(&bench.rig, atomic_load(&left->up) && atomic_load(&right->up));
	assert_int_equal(port_set_mtu(left, 9000, &err), 0);
	assert_int_equal(port_set_mtu(right, 1400, &err), 0); /* the buffers do */
	run_for(&bench.rig, 50 * CLOCK_NS_PER_MS);
	assert_true(atomic_load(&left->up) && atomic_load(&right->up));
	assert_int_equal(port_set_mtu(right, 9000, &err), 0);
	WAIT_FOR(&bench.rig, !atomic_load(&right->up));
	WAIT_FOR(&bench.rig, atomic_load(&left->up) && atomic_load(&right->up));
	assert_non_null(strstr(bench.wire.notices, "memif-disconnected"));
	struct sending sending = { .port = right, .length = 9014, .count = 10 };
	assert_int_equal(worker_call(workers_get(bench.rig.workers, 0), send_frames, &sending, sent), 0);
	WAIT_FOR(&bench.rig, sending.done);
	expect_frames(&bench, 9014, 10);
	bench_down(&bench);
	assert_int_equal(rte_mempool_in_use_count(test_pool()), 0);
	socket_dir_free(&dir);
}

/* kill -9 of the peer, several times, in both roles: the port goes down and comes back. */
static void memif_peer_killed(void **state)
{
	struct bench bench;
	struct socket_dir dir;
	char ours[80], theirs[80];

	for (unsigned server = 0; server < 2; server++) {
		socket_dir_new(&dir);
		snprintf(ours, sizeof(ours), "memif:%s%s", dir.path, server ? ",server" : "");
		snprintf(theirs, sizeof(theirs), "memif:%s%s", dir.path, server ? "" : ",server");
		bench_up(&bench, 1);
		bench.wire.sink = true;
		bench.wire.ports[0] = must_open(&bench, 0, ours, 1);
		for (int i = 0; i < 3; i++) {
			int peer = peer_start(theirs);
			WAIT_FOR(&bench.rig, atomic_load(&bench.wire.ports[0]->up));
			assert_int_equal(bench.wire.attached[0], 1);
			peer_kill(peer);
			WAIT_FOR(&bench.rig, !atomic_load(&bench.wire.ports[0]->up));
		}
		bench_down(&bench);
		socket_dir_free(&dir);
	}
}

/* A client whose server is not there yet is a port that is down, and connects within a second or so. The socket file of
 * a server that died is no obstacle. */
static void memif_client_first(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct bench bench;
	struct socket_dir dir;
	struct dpu_error err;
	char server[80], client[80];
	unsigned other;

	socket_dir_new(&dir);
	snprintf(server, sizeof(server), "memif:%s,server", dir.path);
	snprintf(client, sizeof(client), "memif:%s", dir.path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", dir.path);
	bench_up(&bench, 1);
	bench.wire.sink = true;
	struct port *left = must_open(&bench, 0, client, 1);
	bench.wire.ports[0] = left; /* before its queues are announced */
	run_for(&bench.rig, 100 * CLOCK_NS_PER_MS);
	assert_false(atomic_load(&left->up));
	assert_int_equal(bench.wire.attached[0], 0);
	assert_int_equal(port_tx_queue(left, 0, 0, &other), -2);
	wire_close(&bench.wire);

	int stale = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(stale, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_null(try_open(&bench, 1, server, 0, 1, &err)); /* alive */
	assert_int_equal(err.code, DPU_E_IN_USE);
	close(stale);
	left = must_open(&bench, 0, client, 1);
	bench.wire.ports[0] = left;
	int peer = peer_start(server);
	WAIT_FOR(&bench.rig, atomic_load(&left->up));
	assert_int_equal(bench.wire.attached[0], 1);
	peer_kill(peer);
	bench_down(&bench);
	socket_dir_free(&dir);
}

static void memif_queues(void **state)
{
	struct bench bench;
	struct socket_dir dir;
	char server[80], client[80];
	unsigned other;

	socket_dir_new(&dir);
	snprintf(server, sizeof(server), "memif:%s,queues=2,server", dir.path);
	snprintf(client, sizeof(client), "memif:%s,queues=2", dir.path);
	bench_up(&bench, 2);
	bench.wire.sink = true;
	struct port *left = must_open(&bench, 0, server, 1), *right = must_open(&bench, 1, client, 1);
	assert_int_equal(left->rx_queues, 2);
	assert_int_equal(right->tx_queues, 2);
	bench.wire.ports[0] = left;
	bench.wire.ports[1] = right;
	WAIT_FOR(&bench.rig, bench.wire.attached[0] == 2 && bench.wire.attached[1] == 2);
	for (unsigned worker = 0; worker < 3; worker++) /* any may transmit on any */
		assert_in_range(port_tx_queue(right, worker, worker * 77, &other), 0, 1);
	/* As many queues as both ends have. */
	wire_close_side(&bench.wire, 1);
	WAIT_FOR(&bench.rig, !atomic_load(&left->up));
	snprintf(client, sizeof(client), "memif:%s", dir.path);
	right = must_open(&bench, 1, client, 1);
	bench.wire.ports[1] = right;
	WAIT_FOR(&bench.rig, atomic_load(&left->up) && atomic_load(&right->up));
	for (uint32_t hash = 0; hash < 8; hash++)
		assert_int_equal(port_tx_queue(left, 0, hash * UINT32_C(0x33333333), &other), 0);
	bench_down(&bench);
	socket_dir_free(&dir);
}

/* ---- interfaces ---- */

static void tap_uplink(void **state)
{
	struct bench bench;
	bench_up(&bench, 1);
	bench.wire.sink = true;
	struct port *port = must_open(&bench, 0, "tap:up0", 2);
	struct mac_addr mac = port->mac;
	char text[MAC_TEXT];
	run_in(NULL, "ip link show up0 | grep -q LOWER_UP");
	assert_false(try_in(NULL, "ip link show up0 | grep -q %s", mac_format(&mac, text))); /* ours, not the host's */
	port->keep = true;
	wire_close(&bench.wire);
	port = must_open(&bench, 0, "tap:up0", 2);
	assert_true(mac_equal(&port->mac, &mac));
	bench_down(&bench);
	assert_false(try_in(NULL, "ip link show up0 2>/dev/null"));
}

static void xdp_between_veths(void **state)
{
	struct bench bench;
	struct netns a, b;

	if (syscall(SYS_bpf, 0, NULL, 0) < 0 && errno == ENOSYS) {
		print_message("no bpf system call: no AF_XDP\n");
		skip();
	}
	bench_up(&bench, 1);
	netns_up(&a);
	netns_up(&b);
	for (unsigned i = 0; i < 2; i++) {
		const struct netns *ns = i ? &b : &a;
		run_in(NULL, "ip link add xdp%u type veth peer name eth0 netns %d && ip link set xdp%u up", i, ns->pid,
		       i);
		run_in(ns, "ip link set eth0 up && ip addr add 10.0.0.%u/24 dev eth0", i + 1);
	}
	must_open(&bench, 0, "af_xdp:xdp0", 1);
	must_open(&bench, 1, "af_xdp:xdp1", 1);
	for (unsigned i = 0; i < 2; i++)
		WAIT_FOR(&bench.rig, atomic_load(&bench.wire.ports[i]->up));
	/* No checksum offload on the way: the peers must do without theirs. */
	run_in(&a, "ethtool -K eth0 tx off >/dev/null");
	run_in(&b, "ethtool -K eth0 tx off >/dev/null");
	assert_int_equal(udp_echo(&bench.rig, &a, &b, "10.0.0.2", 1000, 20), 20);
	bench_down(&bench);
	run_in(NULL, "ip link del xdp0 && ip link del xdp1");
	netns_down(&a);
	netns_down(&b);
}

int main(int argc, char **argv)
{
	if (argc == 2)
		return peer_main(argv[1]);

	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_devices),     cmocka_unit_test(null_device),
		cmocka_unit_test(memif_pair),        cmocka_unit_test(memif_client_first),
		cmocka_unit_test(memif_peer_killed), cmocka_unit_test(memif_queues),
		cmocka_unit_test(memif_mtu),         cmocka_unit_test(tap_uplink),
		cmocka_unit_test(xdp_between_veths),
	};

	net_rig_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
