/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of AF_PACKET ports against the kernel over veth, whose ends keep all their offloads. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <rte_ip.h>
#include "operating/af_packet_ring.h"
#include "operating/link_watch.h"
#include "operating/net_rig.h"

struct pair {
	struct rig rig;
	struct wire wire;
	struct netns a, b;
};

static struct port *uplink_open(struct pair *pair, unsigned side, const char *device, uint16_t mtu, unsigned queues)
{
	struct port_callbacks callbacks;
	struct dpu_error err = { 0 };
	struct port *port = NULL;

	wire_callbacks(&pair->wire, &pair->rig, side, &callbacks);
	if (port_uplink_open(device, side ? "right" : "left", mtu, queues, pair->rig.loop, test_pool(), &callbacks,
			     &port, &err) < 0)
		fail_msg("%s: %s", err.path, err.message);
	return port;
}

static void veth_up(const struct netns *ns, const char *ours, unsigned mtu)
{
	run_in(NULL, "ip link add %s mtu %u type veth peer name eth0 netns %d mtu %u && ip link set %s up", ours, mtu,
	       ns->pid, mtu, ours);
	run_in(ns, "ip link set eth0 up");
}

/* 10.0.0.1 in a, 10.0.0.2 in b; each has a veth to us; the wire joins our ends. */
static void pair_up(struct pair *pair, unsigned workers, unsigned queues, uint16_t mtu)
{
	memset(&pair->wire, 0, sizeof(pair->wire));
	rig_up(&pair->rig, workers, WORKER_BALANCED);
	netns_up(&pair->a);
	netns_up(&pair->b);
	veth_up(&pair->a, "left0", 1500);
	veth_up(&pair->b, "right0", 1500);
	run_in(&pair->a,
	       "ip link set eth0 mtu %u && ip addr add 10.0.0.1/24 dev eth0 && ip addr add fd00::1/64 dev eth0 nodad",
	       mtu);
	run_in(&pair->b,
	       "ip link set eth0 mtu %u && ip addr add 10.0.0.2/24 dev eth0 && ip addr add fd00::2/64 dev eth0 nodad",
	       mtu);
	uplink_open(pair, 0, "af_packet:left0", mtu, queues);
	uplink_open(pair, 1, "af_packet:right0", mtu, queues);
	for (unsigned i = 0; i < 2; i++)
		WAIT_FOR(&pair->rig, atomic_load(&pair->wire.ports[i]->up));
}

static void pair_down(struct pair *pair)
{
	wire_close(&pair->wire);
	netns_down(&pair->a);
	netns_down(&pair->b);
	/* The namespaces take their veth ends along, in their own time. */
	try_in(NULL, "ip link del left0 2>/dev/null; ip link del right0 2>/dev/null");
	rig_down(&pair->rig);
}

/* ---- a carrier that comes while the port is being opened ---- */

static void (*while_opening)(void); /* once, when the state of the interface has been read */

int __real_af_packet_ring_open(struct af_packet_ring *ring, int ifindex, unsigned mtu);
int __wrap_af_packet_ring_open(struct af_packet_ring *ring, int ifindex, unsigned mtu);

int __wrap_af_packet_ring_open(struct af_packet_ring *ring, int ifindex, unsigned mtu)
{
	void (*now)(void) = while_opening;

	while_opening = NULL;
	if (now)
		now();
	return __real_af_packet_ring_open(ring, ifindex, mtu);
}

static void until_running(bool running)
{
	struct link_state state = { .running = !running };

	while (state.running != running)
		assert_int_equal(link_state_read("left0", &state), 0);
}

static void carrier_comes(void)
{
	run_in(NULL, "ip link set left1 up");
	until_running(true);
}

static void carrier_while_opening(void **state)
{
	struct pair pair;

	memset(&pair.wire, 0, sizeof(pair.wire));
	rig_up(&pair.rig, 1, WORKER_BALANCED);
	run_in(NULL, "ip link add left0 type veth peer name left1 && ip link set left0 up");
	until_running(false); /* only unknown at first, which counts as running */
	while_opening = carrier_comes;
	struct port *port = uplink_open(&pair, 0, "af_packet:left0", 1500, 1);
	assert_null(while_opening);
	WAIT_FOR(&pair.rig, atomic_load(&port->up));
	run_in(NULL, "ip link set left1 down");
	WAIT_FOR(&pair.rig, !atomic_load(&port->up));
	wire_close(&pair.wire);
	run_in(NULL, "ip link del left0");
	rig_down(&pair.rig);
}

static uint64_t drops(const struct port *port)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < PORT_RX_DROPS; i++)
		sum += atomic_load(&port->rx_drops[i]);
	return sum;
}

static void tcp_with_segmentation(void **state)
{
	static struct pair pair;

	pair_up(&pair, 2, 1, 1500);
	double v4 = tcp_transfer(&pair.rig, &pair.a, &pair.b, "10.0.0.2", 64 << 20);
	double v6 = tcp_transfer(&pair.rig, &pair.b, &pair.a, "fd00::1", 32 << 20);
	print_message("TCP through two AF_PACKET ports: %.0f Mb/s IPv4, %.0f Mb/s IPv6\n", v4, v6);
	assert_true(atomic_load(&pair.wire.longest[0]) > 20000);
	assert_true(atomic_load(&pair.wire.segmented[0]) > 0);
	assert_int_equal(atomic_load(&pair.wire.failed), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(atomic_load(&pair.wire.ports[i]->rx_drops[PORT_RX_BAD_HEADER]), 0);
	pair_down(&pair);
}

static void tcp_in_software(void **state)
{
	static struct pair pair;

	pair_up(&pair, 1, 1, 1500);
	for (unsigned i = 0; i < 2; i++)
		atomic_store(&pair.wire.ports[i]->tx_offloads, 0);
	double v4 = tcp_transfer(&pair.rig, &pair.a, &pair.b, "10.0.0.2", 16 << 20);
	print_message("the same, finished in software: %.0f Mb/s\n", v4);
	assert_int_equal(atomic_load(&pair.wire.failed), 0);
	pair_down(&pair);
}

/* What the interface cannot segment the kernel does, also behind a queue that bypasses its queueing discipline. */
static void tcp_on_interfaces_that_cannot_segment(void **state)
{
	static struct pair pair;

	pair_up(&pair, 1, 1, 1500);
	run_in(NULL, "ethtool -K left0 tso off gso off >/dev/null && ethtool -K right0 tso off gso off >/dev/null");
	tcp_transfer(&pair.rig, &pair.a, &pair.b, "10.0.0.2", 16 << 20);
	tcp_transfer(&pair.rig, &pair.b, &pair.a, "fd00::1", 16 << 20);
	assert_true(atomic_load(&pair.wire.segmented[0]) > 0);
	assert_int_equal(atomic_load(&pair.wire.failed), 0);
	pair_down(&pair);
}

static void datagrams_of_all_lengths(void **state)
{
	static const unsigned lengths[] = { 1, 18, 1472, 1900, 2000, 2048, 4096, 9188 };
	static struct pair pair;

	pair_up(&pair, 1, 1, 9216);
	assert_int_equal(pair.wire.ports[0]->mtu, 9216);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		assert_int_equal(udp_echo(&pair.rig, &pair.a, &pair.b, "10.0.0.2", lengths[i], 5), 5);
	assert_int_equal(atomic_load(&pair.wire.longest[0]), 9230);
	assert_int_equal(udp_echo(&pair.rig, &pair.a, &pair.b, "fd00::2", 30000, 5), 5);
	pair_down(&pair);
}

/* Frames longer than a slot come by another way, in order with the others: the MTU of the peer is larger than ours. */
static void longer_than_slots(void **state)
{
	static struct pair pair;

	pair_up(&pair, 1, 1, 1500);
	run_in(&pair.a, "ip link set eth0 mtu 9000");
	run_in(&pair.b, "ip link set eth0 mtu 9000");
	run_in(NULL, "ip link set left0 mtu 9000 && ip link set right0 mtu 9000");
	assert_int_equal(udp_echo(&pair.rig, &pair.a, &pair.b, "10.0.0.2", 8000, 10), 10);
	assert_int_equal(udp_echo(&pair.rig, &pair.a, &pair.b, "10.0.0.2", 800, 10), 10);
	assert_in_range(atomic_load(&pair.wire.longest[0]), 8042, 8042);
	assert_int_equal(drops(pair.wire.ports[0]), 0);
	pair_down(&pair);
}

static void several_queues(void **state)
{
	static struct pair pair;
	unsigned used = 0;

	pair_up(&pair, 2, 2, 1500);
	for (unsigned i = 0; i < 12; i++)
		tcp_transfer(&pair.rig, &pair.a, &pair.b, "10.0.0.2", 1 << 18);
	for (unsigned i = 0; i < 2; i++)
		used += atomic_load(&pair.wire.ends[0][i].frames) > 0;
	assert_int_equal(used, 2);
	/* Every frame came to one queue only: nothing is doubled. */
	assert_int_equal(atomic_load(&pair.wire.failed), 0);
	pair_down(&pair);
}

/* VXLAN of the kernel, whose TSO frames are segments of the inner connection. */
static void kernel_vxlan(void **state)
{
	static struct pair pair;

	pair_up(&pair, 2, 1, 1600);
	run_in(&pair.a,
	       "ip link add vx type vxlan id 42 dstport 4789 remote 10.0.0.2 local 10.0.0.1 dev eth0 && "
	       "ip link set vx mtu 1500 up && ip addr add 10.1.0.1/24 dev vx && ip addr add fd01::1/64 dev vx nodad");
	run_in(&pair.b,
	       "ip link add vx type vxlan id 42 dstport 4789 remote 10.0.0.1 local 10.0.0.2 dev eth0 && "
	       "ip link set vx mtu 1500 up && ip addr add 10.1.0.2/24 dev vx && ip addr add fd01::2/64 dev vx nodad");
	double v4 = tcp_transfer(&pair.rig, &pair.a, &pair.b, "10.1.0.2", 16 << 20);
	double v6 = tcp_transfer(&pair.rig, &pair.b, &pair.a, "fd01::1", 16 << 20);
	print_message(
		"TCP through the kernel's VXLAN over them: %.0f Mb/s IPv4, %.0f Mb/s IPv6 (%u of %u TSO frames)\n", v4,
		v6, (unsigned)atomic_load(&pair.wire.tunnelled[0]), (unsigned)atomic_load(&pair.wire.segmented[0]));
	assert_int_equal(atomic_load(&pair.wire.failed), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(atomic_load(&pair.wire.ports[i]->rx_drops[PORT_RX_BAD_HEADER]), 0);
	/* Now with outer checksums, which the kernel leaves open as well. */
	run_in(&pair.a,
	       "ip link del vx && ip link add vx type vxlan id 42 dstport 4789 remote fd00::2 local fd00::1 dev eth0 "
	       "udpcsum && ip link set vx mtu 1480 up && ip addr add 10.1.0.1/24 dev vx");
	run_in(&pair.b,
	       "ip link del vx && ip link add vx type vxlan id 42 dstport 4789 remote fd00::1 local fd00::2 dev eth0 "
	       "udpcsum && ip link set vx mtu 1480 up && ip addr add 10.1.0.2/24 dev vx");
	tcp_transfer(&pair.rig, &pair.a, &pair.b, "10.1.0.2", 8 << 20);
	assert_int_equal(atomic_load(&pair.wire.failed), 0);
	pair_down(&pair);
}

/* ---- raw frames ---- */

/* A packet socket on eth0 of ns, with virtio-net headers. */
static int raw_socket(const struct netns *ns)
{
	int ours = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC),
	    theirs = open(ns->path, O_RDONLY | O_CLOEXEC);
	int on = 1;

	assert_int_equal(setns(theirs, CLONE_NEWNET), 0);
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex("eth0"),
	};
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
	assert_int_equal(setns(ours, CLONE_NEWNET), 0);
	close(ours);
	close(theirs);
	return fd;
}

static void send_raw(int fd, const struct virtio_net_hdr *header, const void *frame, size_t length)
{
	struct iovec iov[] = { { (void *)header, sizeof(*header) }, { (void *)frame, length } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };

	assert_int_equal(sendmsg(fd, &message, 0), sizeof(*header) + length);
}

/* One port whose frames are kept, and a raw socket at the other end of its veth, the only one to talk there. */
static struct pair *single_up(int *ret_fd)
{
	static struct pair pair;

	memset(&pair, 0, sizeof(pair));
	pair.wire.sink = true;
	rig_up(&pair.rig, 1, WORKER_BALANCED);
	netns_up(&pair.a);
	run_in(&pair.a, "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6 2>/dev/null; true");
	run_in(NULL, "ip link add left0 type veth peer name eth0 netns %d", pair.a.pid);
	run_in(&pair.a, "ip link set eth0 arp off up");
	uplink_open(&pair, 0, "af_packet:left0", 0, 1);
	WAIT_FOR(&pair.rig, atomic_load(&pair.wire.ports[0]->up));
	*ret_fd = raw_socket(&pair.a);
	return &pair;
}

static void single_down(struct pair *pair, int fd)
{
	close(fd);
	wire_close(&pair->wire);
	run_in(NULL, "ip link del left0");
	netns_down(&pair->a);
	rig_down(&pair->rig);
}

static struct rte_mbuf *next_kept(struct pair *pair)
{
	WAIT_FOR(&pair->rig, atomic_load(&pair->wire.kept_count) > 0);
	assert_int_equal(atomic_load(&pair->wire.kept_count), 1);
	struct rte_mbuf *m = atomic_load(&pair->wire.kept[0]);
	atomic_store(&pair->wire.kept_count, 0);
	return m;
}

static void assert_frame(const struct rte_mbuf *m, const uint8_t *frame, uint32_t length)
{
	uint8_t copy[70000];

	assert_int_equal(m->pkt_len, length);
	assert_memory_equal(rte_pktmbuf_read(m, 0, length, copy), frame, length);
}

static void vlan_tags_are_kept(void **state)
{
	static const uint8_t tags[][10] = {
		{ 0x81, 0x00, 0x20, 0x64, 0x08, 0x00 },                         /* priority 1, VLAN 100 */
		{ 0x81, 0x00, 0xef, 0xfe, 0x86, 0xdd },                         /* priority 7, VLAN 4094 */
		{ 0x88, 0xa8, 0x00, 0x0a, 0x81, 0x00, 0x00, 0x14, 0x08, 0x00 }, /* 802.1ad and 802.1Q */
		{ 0x81, 0x00, 0x00, 0x0a, 0x81, 0x00, 0x00, 0x14, 0x08, 0x00 }, /* two of 802.1Q */
		{ 0x88, 0xb5 },                                                 /* none */
	};
	static const uint32_t lengths[] = { 60, 64, 1500, 1514 };
	struct virtio_net_hdr none = { 0 };
	uint8_t frame[1600];
	int fd;
	struct pair *pair = single_up(&fd);

	for (size_t i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)(i * 7);
	memset(frame, 0xff, 6);
	memcpy(frame + 6, "\x02\0\0\0\0\x01", 6);
	for (size_t t = 0; t < sizeof(tags) / sizeof(tags[0]); t++) {
		memcpy(frame + 12, tags[t], sizeof(tags[t]));
		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			send_raw(fd, &none, frame, lengths[i]);
			struct rte_mbuf *m = next_kept(pair);
			assert_frame(m, frame, lengths[i]);
			assert_int_equal(m->ol_flags, 0);
			rte_pktmbuf_free(m);
		}
	}
	single_down(pair, fd);
}

/* An IPv4 UDP frame behind tag bytes of VLAN tag; returns its length. */
static uint32_t udp_frame(uint8_t *frame, uint32_t tag, uint32_t payload)
{
	uint8_t *ip = frame + 14 + tag, *udp = ip + 20;
	uint16_t total = (uint16_t)(28 + payload), length = (uint16_t)(8 + payload);

	memset(frame, 0xff, 6);
	memcpy(frame + 6, "\x02\0\0\0\0\x01\x81\0\x20\x64", 10);
	memcpy(frame + 12 + tag, "\x08\0", 2);
	memcpy(ip, "\x45\0\0\0\0\0\0\0\x40\x11\0\0\x0a\0\0\x01\x0a\0\0\x02", 20);
	ip[2] = (uint8_t)(total >> 8);
	ip[3] = (uint8_t)total;
	uint16_t sum = rte_ipv4_cksum((struct rte_ipv4_hdr *)ip);
	memcpy(ip + 10, &sum, 2);
	memcpy(udp, "\x13\x89\x13\x89\0\0\0\0", 8);
	udp[4] = (uint8_t)(length >> 8);
	udp[5] = (uint8_t)length;
	sum = rte_ipv4_phdr_cksum((struct rte_ipv4_hdr *)ip, 0);
	memcpy(udp + 6, &sum, 2);
	for (uint32_t i = 0; i < payload; i++)
		udp[8 + i] = (uint8_t)(i * 31);
	return 14 + tag + total;
}

/* A partial checksum and a USO request behind a VLAN tag: the offsets count the tag. */
static void offloads_behind_vlan_tags(void **state)
{
	static uint8_t frame[65000];
	int fd;
	struct pair *pair = single_up(&fd);

	for (uint32_t tag = 0; tag <= 4; tag += 4) {
		static const uint32_t payloads[] = { 100, 1400, 20000, 60000 };
		for (size_t i = 0; i < 4; i++) {
			uint32_t length = udp_frame(frame, tag, payloads[i]);
			struct virtio_net_hdr header = {
				.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
				.csum_start = (uint16_t)(34 + tag),
				.csum_offset = 6,
			};
			if (payloads[i] > 1400) {
				header.gso_type = 5; /* VIRTIO_NET_HDR_GSO_UDP_L4 */
				header.gso_size = 1000;
				header.hdr_len = (uint16_t)(42 + tag);
			}
			send_raw(fd, &header, frame, length);
			struct rte_mbuf *m = next_kept(pair);
			assert_frame(m, frame, length);
			assert_int_equal(m->ol_flags & RTE_MBUF_F_TX_L4_MASK, RTE_MBUF_F_TX_UDP_CKSUM);
			assert_int_equal(m->l2_len, 14 + tag);
			assert_int_equal(m->l3_len, 20);
			assert_int_equal(!!(m->ol_flags & RTE_MBUF_F_TX_UDP_SEG), payloads[i] > 1400);
			if (payloads[i] > 1400)
				assert_int_equal(m->tso_segsz, 1000);
			rte_pktmbuf_free(m);
		}
	}
	single_down(pair, fd);
}

/* ---- life ---- */

static void goes_down_and_up(void **state)
{
	static struct pair pair;

	pair_up(&pair, 1, 1, 1500);
	assert_int_equal(udp_echo(&pair.rig, &pair.a, &pair.b, "10.0.0.2", 100, 3), 3);
	run_in(&pair.a, "ip link set eth0 down"); /* we lose the carrier */
	WAIT_FOR(&pair.rig, !atomic_load(&pair.wire.ports[0]->up));
	assert_int_equal(pair.wire.attached[0], 1);
	run_in(&pair.a, "ip link set eth0 up");
	WAIT_FOR(&pair.rig, atomic_load(&pair.wire.ports[0]->up));
	run_in(NULL, "ip link set left0 down");
	WAIT_FOR(&pair.rig, !atomic_load(&pair.wire.ports[0]->up));
	run_in(NULL, "ip link set left0 up");
	WAIT_FOR(&pair.rig, atomic_load(&pair.wire.ports[0]->up));
	assert_int_equal(udp_echo(&pair.rig, &pair.a, &pair.b, "10.0.0.2", 100, 3), 3);
	assert_int_equal(pair.wire.changes, 4);
	pair_down(&pair);
}

static void interface_deleted(void **state)
{
	static struct pair pair;

	pair_up(&pair, 2, 2, 1500);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(udp_echo(&pair.rig, &pair.a, &pair.b, "10.0.0.2", 100, 3), 3);
		run_in(NULL, "ip link del left0");
		WAIT_FOR(&pair.rig, pair.wire.attached[0] == 0);
		assert_false(atomic_load(&pair.wire.ports[0]->up));
		run_for(&pair.rig, 20 * CLOCK_NS_PER_MS);
		veth_up(&pair.a, "left0", 1500);
		WAIT_FOR(&pair.rig, pair.wire.attached[0] == 2);
		WAIT_FOR(&pair.rig, atomic_load(&pair.wire.ports[0]->up));
		run_in(&pair.a, "ip addr add 10.0.0.1/24 dev eth0");
	}
	assert_int_equal(udp_echo(&pair.rig, &pair.a, &pair.b, "10.0.0.2", 100, 3), 3);
	/* Deleted and made again faster than anyone looks. */
	run_in(NULL, "ip link del left0; ip link add left0 type veth peer name eth0 netns %d; ip link set left0 up",
	       pair.a.pid);
	run_in(&pair.a, "ip link set eth0 up; ip addr add 10.0.0.1/24 dev eth0");
	WAIT_FOR(&pair.rig, strstr(pair.wire.notices, "interface-back interface-lost interface-back interface-lost"));
	WAIT_FOR(&pair.rig, pair.wire.attached[0] == 2 && atomic_load(&pair.wire.ports[0]->up));
	assert_int_equal(udp_echo(&pair.rig, &pair.a, &pair.b, "10.0.0.2", 100, 3), 3);
	pair_down(&pair);
}

/* Deleted under a flood; nothing crashes, and the worker comes to rest. */
static void deleted_under_load(void **state)
{
	static struct pair pair;

	pair_up(&pair, 1, 1, 1500);
	int child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct virtio_net_hdr none = { 0 };
		uint8_t frame[1514] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 0 };
		int fd = raw_socket(&pair.a);
		for (;;) {
			struct iovec iov[] = { { &none, sizeof(none) }, { frame, sizeof(frame) } };
			struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };
			if (sendmsg(fd, &message, 0) < 0)
				_exit(0);
		}
	}
	WAIT_FOR(&pair.rig, atomic_load(&pair.wire.ends[0][0].frames) > 1000);
	run_in(NULL, "ip link del right0");
	WAIT_FOR(&pair.rig, pair.wire.attached[1] == 0);
	run_for(&pair.rig, 20 * CLOCK_NS_PER_MS);
	run_in(NULL, "ip link del left0");
	WAIT_FOR(&pair.rig, pair.wire.attached[0] == 0);
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	run_for(&pair.rig, 20 * CLOCK_NS_PER_MS);
	uint64_t rounds = stats_of(&pair.rig, 0).rounds;
	run_for(&pair.rig, 50 * CLOCK_NS_PER_MS);
	assert_true(stats_of(&pair.rig, 0).rounds - rounds < 100);
	pair_down(&pair);
}

/* A full ring loses frames, and says how many. */
static void missed_frames_are_counted(void **state)
{
	enum { SENT = 3000 };
	struct virtio_net_hdr none = { 0 };
	uint8_t frame[100] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 };
	int fd;
	struct pair *pair = single_up(&fd);
	struct wire_end *end = &pair->wire.ends[0][0];

	remove_and_wait(&pair->rig, 0, &end->source); /* nobody polls */
	for (int i = 0; i < SENT; i++)
		send_raw(fd, &none, frame, sizeof(frame));
	assert_int_equal(worker_add_source(workers_get(pair->rig.workers, 0), &end->source), 0);
	WAIT_FOR(&pair->rig, atomic_load(&end->frames) >= 1000);
	send_raw(fd, &none, frame, sizeof(frame)); /* the kernel tells with the next frame */
	WAIT_FOR(&pair->rig, atomic_load(&end->frames) + drops(pair->wire.ports[0]) > SENT);
	assert_int_equal(atomic_load(&end->frames) + atomic_load(&pair->wire.ports[0]->rx_drops[PORT_RX_MISSED]),
			 SENT + 1);
	assert_true(atomic_load(&end->frames) >= 1000);
	single_down(pair, fd);
}

/* An emulated kernel may have packet sockets without rings. */
static void need_rings(void)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), version = TPACKET_V2;

	if (fd >= 0 && setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) < 0 &&
	    errno == ENOPROTOOPT) {
		fprintf(stderr, "skipped: packet sockets have no rings here: PACKET_VERSION: %s\n", strerror(errno));
		exit(77);
	}
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp_with_segmentation),
		cmocka_unit_test(tcp_in_software),
		cmocka_unit_test(tcp_on_interfaces_that_cannot_segment),
		cmocka_unit_test(datagrams_of_all_lengths),
		cmocka_unit_test(longer_than_slots),
		cmocka_unit_test(several_queues),
		cmocka_unit_test(kernel_vxlan),
		cmocka_unit_test(vlan_tags_are_kept),
		cmocka_unit_test(offloads_behind_vlan_tags),
		cmocka_unit_test(carrier_while_opening),
		cmocka_unit_test(goes_down_and_up),
		cmocka_unit_test(interface_deleted),
		cmocka_unit_test(deleted_under_load),
		cmocka_unit_test(missed_frames_are_counted),
	};

	need_rings();
	net_rig_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
