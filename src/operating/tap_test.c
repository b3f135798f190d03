/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of TAP ports against the kernel: frames of all lengths, offloads, queues, life of the interface. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/wait.h>
#include "operating/net_rig.h"

static const struct mac_addr mac_a = { { 0x02, 0, 0, 0, 0, 0x0a } }, mac_b = { { 0x02, 0, 0, 0, 0, 0x0b } };

static struct port *tap_open(struct wire *wire, struct rig *rig, unsigned side, const struct port_tap_options *options)
{
	struct port_callbacks callbacks;
	struct dpu_error err = { 0 };
	struct port *port = NULL;

	wire_callbacks(wire, rig, side, &callbacks);
	if (port_tap_open(options, side ? "tap-b" : "tap-a", rig->loop, test_pool(), &callbacks, &port, &err) < 0)
		fail_msg("%s: %s", err.path, err.message);
	assert_true(atomic_load(&port->up));
	return port;
}

struct pair {
	struct rig rig;
	struct wire wire;
	struct netns a, b;
};

/* 10.0.0.1 in a, 10.0.0.2 in b, joined by a wire between their TAPs. */
static void pair_up(struct pair *pair, unsigned workers, unsigned queues, uint16_t mtu)
{
	struct port_tap_options options = { .name = "vnic0", .queue_pairs = (uint16_t)queues, .mtu = mtu };

	memset(&pair->wire, 0, sizeof(pair->wire));
	rig_up(&pair->rig, workers, WORKER_BALANCED);
	netns_up(&pair->a);
	netns_up(&pair->b);
	options.netns = pair->a.path;
	options.mac = mac_a;
	struct port *port = tap_open(&pair->wire, &pair->rig, 0, &options);
	assert_true(mac_equal(&port->mac, &mac_a));
	options.netns = pair->b.path;
	options.mac = mac_b;
	tap_open(&pair->wire, &pair->rig, 1, &options);
	run_in(&pair->a, "ip addr add 10.0.0.1/24 dev vnic0 && ip addr add fd00::1/64 dev vnic0 nodad");
	run_in(&pair->b, "ip addr add 10.0.0.2/24 dev vnic0 && ip addr add fd00::2/64 dev vnic0 nodad");
}

static void pair_down(struct pair *pair)
{
	wire_close(&pair->wire);
	assert_false(try_in(&pair->a, "ip link show vnic0 2>/dev/null"));
	netns_down(&pair->a);
	netns_down(&pair->b);
	rig_down(&pair->rig);
}

static void configured(void **state)
{
	static struct pair pair;

	pair_up(&pair, 1, 1, 1400);
	run_in(&pair.a, "ip link show vnic0 | grep -q \"mtu 1400\"");
	run_in(&pair.a, "ip link show vnic0 | grep -q 02:00:00:00:00:0a");
	run_in(&pair.a, "ip link show vnic0 | grep -q LOWER_UP");
	assert_false(try_in(NULL, "ip link show vnic0 2>/dev/null")); /* not in our namespace */
	pair_down(&pair);
}

static void another_mtu(void **state)
{
	static struct pair pair;
	struct dpu_error err = { 0 };

	pair_up(&pair, 1, 1, 1400);
	assert_int_equal(port_set_mtu(pair.wire.ports[0], 9000, &err), 0);
	run_in(&pair.a, "ip link show vnic0 | grep -q \"mtu 9000\"");
	assert_int_equal(pair.wire.ports[0]->mtu, 9000);
	assert_true(port_set_mtu(pair.wire.ports[0], 1, &err) < 0);
	assert_string_equal(err.path, "mtu");
	run_in(&pair.a, "ip link show vnic0 | grep -q \"mtu 9000\"");
	pair_down(&pair);
}

/* 64 KiB frames pass whole, with their checksums left open; nothing is harmed. */
static void tcp_with_segmentation(void **state)
{
	static struct pair pair;

	pair_up(&pair, 2, 1, 1500);
	double v4 = tcp_transfer(&pair.rig, &pair.a, &pair.b, "10.0.0.2", 64 << 20);
	double v6 = tcp_transfer(&pair.rig, &pair.b, &pair.a, "fd00::1", 32 << 20);
	print_message("TCP through two TAPs: %.0f Mb/s IPv4, %.0f Mb/s IPv6\n", v4, v6);
	assert_true(atomic_load(&pair.wire.longest[0]) > 20000);
	assert_true(atomic_load(&pair.wire.longest[1]) > 20000);
	assert_true(atomic_load(&pair.wire.segmented[0]) > 0);
	assert_int_equal(atomic_load(&pair.wire.failed), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(atomic_load(&pair.wire.ports[i]->rx_drops[PORT_RX_BAD_HEADER]), 0);
	pair_down(&pair);
}

/* The same where the far side can do nothing itself: all is finished in software. */
static void tcp_in_software(void **state)
{
	static struct pair pair;

	pair_up(&pair, 1, 1, 1500);
	for (unsigned i = 0; i < 2; i++) {
		atomic_store(&pair.wire.ports[i]->tx_offloads, 0);
		atomic_store(&pair.wire.ports[i]->tx_tunnel_offloads, 0);
	}
	double v4 = tcp_transfer(&pair.rig, &pair.a, &pair.b, "10.0.0.2", 16 << 20);
	double v6 = tcp_transfer(&pair.rig, &pair.b, &pair.a, "fd00::1", 8 << 20);
	print_message("the same, finished in software: %.0f Mb/s IPv4, %.0f Mb/s IPv6\n", v4, v6);
	assert_true(atomic_load(&pair.wire.segmented[0]) > 0);
	assert_int_equal(atomic_load(&pair.wire.failed), 0);
	assert_int_equal(atomic_load(&pair.wire.too_long), 0);
	pair_down(&pair);
}

static void datagrams_of_all_lengths(void **state)
{
	static const unsigned lengths[] = { 1, 17, 18, 1000, 1472, 2040, 2048, 4096, 9188 };
	static struct pair pair;

	pair_up(&pair, 1, 1, 9216);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		assert_int_equal(udp_echo(&pair.rig, &pair.a, &pair.b, "10.0.0.2", lengths[i], 5), 5);
	assert_in_range(atomic_load(&pair.wire.longest[0]), 9230, 9230); /* unfragmented */
	/* With fragments, and alternating between long and short. */
	assert_int_equal(udp_echo(&pair.rig, &pair.a, &pair.b, "fd00::2", 30000, 5), 5);
	pair_down(&pair);
}

static void several_queues(void **state)
{
	static struct pair pair;
	unsigned used[2] = { 0 };

	pair_up(&pair, 2, 4, 1500);
	for (unsigned i = 0; i < 12; i++)
		tcp_transfer(&pair.rig, &pair.a, &pair.b, "10.0.0.2", 1 << 18);
	for (unsigned side = 0; side < 2; side++)
		for (unsigned i = 0; i < 4; i++)
			used[side] += atomic_load(&pair.wire.ends[side][i].frames) > 0;
	assert_true(used[0] > 1 || used[1] > 1);
	assert_int_equal(atomic_load(&pair.wire.failed), 0);
	pair_down(&pair);
}

static uint64_t cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * CLOCK_NS_PER_S + (uint64_t)used.tv_nsec;
}

/* Ten vNICs with nothing to do cost next to nothing, and still answer at once. */
static void idle(void **state)
{
	static struct wire wires[10];
	struct rig rig;
	struct netns ns;
	char name[16];

	rig_up(&rig, 2, WORKER_BALANCED);
	netns_up(&ns);
	run_in(&ns, "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6 2>/dev/null; true");
	for (unsigned i = 0; i < 10; i++) {
		struct port_tap_options options = { .name = name, .netns = ns.path, .queue_pairs = 2, .mtu = 1500 };
		memset(&wires[i], 0, sizeof(wires[i]));
		wires[i].sink = true;
		snprintf(name, sizeof(name), "vnic%u", i);
		tap_open(&wires[i], &rig, 0, &options);
	}
	for (uint64_t end = clock_ns() + CLOCK_NS_PER_S; clock_ns() < end;)
		assert_int_equal(loop_once(rig.loop, 100), 0);
	uint64_t start = clock_ns(), used = cpu_ns();
	for (uint64_t end = start + 2 * CLOCK_NS_PER_S; clock_ns() < end;)
		assert_int_equal(loop_once(rig.loop, 100), 0);
	double percent = (double)(cpu_ns() - used) * 100 / (double)(clock_ns() - start);
	print_message("ten idle TAPs with two queues each, two workers: %.3f %% of a core\n", percent);
	assert_true(percent < 2);
	for (unsigned i = 0; i < 10; i++) {
		run_in(&ns, "ip addr add 10.%u.0.1/24 dev vnic%u && bash -c \"echo x > /dev/udp/10.%u.0.9/9\"", i, i,
		       i);
		WAIT_FOR(&rig, atomic_load(&wires[i].kept_count) > 0); /* it asks for the neighbour, at least */
		wire_close(&wires[i]);
	}
	netns_down(&ns);
	rig_down(&rig);
}

/* ---- life ---- */

static void interface_deleted(void **state)
{
	static struct pair pair;

	pair_up(&pair, 1, 2, 1500);
	assert_int_equal(udp_echo(&pair.rig, &pair.a, &pair.b, "10.0.0.2", 100, 3), 3);
	for (int i = 0; i < 2; i++) {
		run_in(&pair.a, "ip link del vnic0");
		WAIT_FOR(&pair.rig, pair.wire.attached[0] == 0);
		WAIT_FOR(&pair.rig, pair.wire.attached[0] == 2); /* it is made again */
		WAIT_FOR(&pair.rig, atomic_load(&pair.wire.ports[0]->up));
		run_in(&pair.a, "ip addr add 10.0.0.1/24 dev vnic0");
		assert_int_equal(udp_echo(&pair.rig, &pair.a, &pair.b, "10.0.0.2", 100, 3), 3);
	}
	assert_string_equal(pair.wire.notices, "interface-lost interface-back interface-lost interface-back ");
	pair_down(&pair);
}

static void namespace_deleted(void **state)
{
	static struct pair pair;

	pair_up(&pair, 1, 1, 1500);
	netns_down(&pair.a);
	WAIT_FOR(&pair.rig, pair.wire.attached[0] == 0);
	assert_false(atomic_load(&pair.wire.ports[0]->up));
	unsigned owner;
	assert_int_equal(port_tx_queue(pair.wire.ports[0], 0, 1, &owner), -2);
	run_for(&pair.rig, 50 * CLOCK_NS_PER_MS);
	wire_close(&pair.wire); /* while it is absent */
	netns_down(&pair.b);
	rig_down(&pair.rig);
}

/* Closed while the queues are on their way back. */
static void closed_while_losing(void **state)
{
	static struct pair pair;
	atomic_bool closed = false;

	pair_up(&pair, 1, 1, 1500);
	run_in(&pair.a, "ip link del vnic0");
	struct port *port = pair.wire.ports[0];
	for (unsigned turns = 0; atomic_load(&port->up) && turns < 1000; turns++)
		loop_once(pair.rig.loop, 1);
	assert_false(atomic_load(&port->up));
	atomic_store(&pair.wire.out[0], NULL);
	port->ops->close(port, set_flag, &closed);
	WAIT_FOR(&pair.rig, atomic_load(&closed));
	pair.wire.ports[0] = NULL;
	pair_down(&pair);
}

static unsigned index_of(const struct netns *ns)
{
	char command[128];
	unsigned index = 0;

	snprintf(command, sizeof(command), "nsenter --net=%s ip -o link show vnic0 2>/dev/null", ns->path);
	FILE *output = popen(command, "r");
	assert_non_null(output);
	if (fscanf(output, "%u:", &index) != 1)
		index = 0;
	pclose(output);
	return index;
}

static struct port_tap_options persistent(const char *netns)
{
	return (struct port_tap_options){
		.name = "vnic0", .netns = netns, .queue_pairs = 2, .mtu = 1500, .mac = mac_a, .persist = true
	};
}

/* A process that opens its vNIC and is gone without another word, as after kill -9. */
static int leave_behind(const char *netns)
{
	static struct wire wire;
	struct port_tap_options options = persistent(netns);
	struct rig rig;

	net_rig_init();
	rig_up(&rig, 1, WORKER_BALANCED);
	tap_open(&wire, &rig, 0, &options);
	_exit(0);
}

static void kept_over_restart(void **state)
{
	static struct wire wire;
	struct rig rig;
	struct netns ns;

	netns_up(&ns);
	struct port_tap_options options = persistent(ns.path);
	int status, pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		exec_self(ns.path); /* see leave_behind() */
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	run_in(&ns, "ip addr add 10.0.0.1/24 dev vnic0");
	unsigned index = index_of(&ns);
	assert_true(index > 0);

	for (int i = 0; i < 2; i++) { /* taken over, let go with keep */
		rig_up(&rig, 1, WORKER_BALANCED);
		tap_open(&wire, &rig, 0, &options);
		assert_int_equal(index_of(&ns), index);
		run_in(&ns, "ip addr show vnic0 | grep -q 10.0.0.1");
		wire.ports[0]->keep = true;
		wire_close(&wire);
		rig_down(&rig);
		assert_int_equal(index_of(&ns), index);
	}
	rig_up(&rig, 1, WORKER_BALANCED);
	options.queue_pairs = 1; /* of an interface that was made for several */
	tap_open(&wire, &rig, 0, &options);
	wire_close(&wire);
	rig_down(&rig);
	assert_int_equal(index_of(&ns), 0);
	netns_down(&ns);
}

/* ---- refusals ---- */

static void expect_refusal(struct rig *rig, const struct port_tap_options *options, enum dpu_error_code code,
			   const char *path, const char *says)
{
	static struct wire unused;
	struct port_callbacks callbacks;
	struct dpu_error err = { 0 };
	struct port *port = NULL;

	wire_callbacks(&unused, rig, 0, &callbacks);
	assert_true(port_tap_open(options, "refused", rig->loop, test_pool(), &callbacks, &port, &err) < 0);
	assert_null(port);
	if (err.code != code || strcmp(err.path, path) != 0 || !strstr(err.message, says))
		fail_msg("got %d %s: %s", err.code, err.path, err.message);
}

static void refused(void **state)
{
	static struct wire wire;
	struct rig rig;
	struct netns ns;
	struct port_tap_options good = { .queue_pairs = 1, .mtu = 1500 }, options;

	rig_up(&rig, 1, WORKER_BALANCED);
	netns_up(&ns);
	good.netns = ns.path;
	static const char *const names[] = { "", "a/b", "a b", "tap%d", "..", "averyveryverylongname", "a:b", "a\nb" };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		options = good;
		options.name = names[i];
		expect_refusal(&rig, &options, DPU_E_INVALID, "name",
			       strlen(names[i]) > 15 ? "longer" : "no interface name");
	}
	good.name = "vnic0";
	options = good;
	options.netns = "no-such-namespace";
	expect_refusal(&rig, &options, DPU_E_NOT_FOUND, "netns", "/run/netns/no-such-namespace");
	options.netns = "/dev/null";
	expect_refusal(&rig, &options, DPU_E_INVALID, "netns", "no network namespace");
	options.netns = "/proc/self/ns/uts";
	expect_refusal(&rig, &options, DPU_E_INVALID, "netns", "no network namespace");
	options = good;
	options.queue_pairs = 0;
	expect_refusal(&rig, &options, DPU_E_INVALID, "queue_pairs", "1 to 64");
	options.queue_pairs = 65;
	expect_refusal(&rig, &options, DPU_E_INVALID, "queue_pairs", "1 to 64");
	options = good;
	options.mtu = 10;
	expect_refusal(&rig, &options, DPU_E_INVALID, "mtu", "MTU 10");
	options = good;
	options.mac = (struct mac_addr){ { 1, 0, 0, 0, 0, 1 } };
	expect_refusal(&rig, &options, DPU_E_INVALID, "mac", "settings");

	/* Names that are taken: by another kind of interface, by somebody's TAP, by a TAP that is open. */
	run_in(&ns, "ip link add vnic0 type veth peer name other");
	expect_refusal(&rig, &good, DPU_E_EXISTS, "name", "no TAP");
	run_in(&ns, "ip link del vnic0 && ip tuntap add vnic0 mode tun user 0");
	expect_refusal(&rig, &good, DPU_E_EXISTS, "name", "no TAP");
	run_in(&ns, "ip link del vnic0 && ip tuntap add vnic0 mode tap");
	expect_refusal(&rig, &good, DPU_E_EXISTS, "name", "nobody");
	run_in(&ns, "ip link del vnic0 && ip tuntap add vnic0 mode tap user 12345");
	expect_refusal(&rig, &good, DPU_E_EXISTS, "name", "another user");
	options = good;
	options.adopt = true;
	expect_refusal(&rig, &options, DPU_E_EXISTS, "name", "another user");
	run_in(&ns, "ip link del vnic0 && ip tuntap add vnic0 mode tap");
	options.queue_pairs = 2;
	expect_refusal(&rig, &options, DPU_E_UNSUPPORTED, "queue_pairs", "single queue");
	options.queue_pairs = 1;
	tap_open(&wire, &rig, 0, &options); /* what anybody may use, we may */
	expect_refusal(&rig, &options, DPU_E_IN_USE, "name", "open");
	wire_close(&wire);
	run_in(&ns, "ip link show vnic0 >/dev/null"); /* it was not ours to remove */
	netns_down(&ns);
	rig_down(&rig);
}

int main(int argc, char **argv)
{
	if (argc == 2)
		return leave_behind(argv[1]);

	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configured),
		cmocka_unit_test(another_mtu),
		cmocka_unit_test(tcp_with_segmentation),
		cmocka_unit_test(tcp_in_software),
		cmocka_unit_test(datagrams_of_all_lengths),
		cmocka_unit_test(several_queues),
		cmocka_unit_test(idle),
		cmocka_unit_test(interface_deleted),
		cmocka_unit_test(namespace_deleted),
		cmocka_unit_test(closed_while_losing),
		cmocka_unit_test(kept_over_restart),
		cmocka_unit_test(refused),
	};

	net_rig_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
