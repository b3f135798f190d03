/* SPDX-License-Identifier: BSD-3-Clause */
/* What the fuzzers of the switch share. */
#include "fuzz_world.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"

enum { AUDIT_EVERY = 64 };

static void require(bool right, const char *what)
{
	if (right)
		return;
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

static void decorate(struct dp_subnet *subnet)
{
	subnet->dns[0] = test_ip("10.0.0.2");
	subnet->dns[1] = test_ip("fd00::53");
	subnet->dns_count = 2;
	subnet->ntp[0] = test_ip("10.0.0.3");
	subnet->ntp[1] = test_ip("fd00::7b");
	subnet->ntp_count = 2;
	snprintf(subnet->domain, sizeof(subnet->domain), "example.org");
	subnet->classless_routes[0].prefix.addr = test_ip("192.168.0.0");
	subnet->classless_routes[0].prefix.length = 16;
	subnet->classless_routes[0].next_hop = test_ip("10.0.0.254");
	subnet->classless_route_count = 1;
}

void fuzz_world(void)
{
	static const char *const rules[] = { "tcp 80", "udp", "icmp", "any group 7", "any from 10.0.0.0/28", NULL };
	static bool made;
	if (made)
		return;
	made = true;
	world_build();
	decorate(world.a);
	snprintf(world.vnic[1]->hostname, sizeof(world.vnic[1]->hostname), "web1");
	world.vnic[2]->port_security = false;
	world.vnic[2]->iface.check_mac = false;
	world.vnic[3]->max_sessions = 8;
	bed_rules(&world.bed, world.vnic[3], false, 1, rules);
	bed_rules(&world.bed, world.vnic[5], true, 10, rules);
	atomic_store(&world.vnic[4]->tenant->max_sessions, 20);
	bed_start(&world.bed);
	world.bed.dp.worker_states[0]->advertise_ns = UINT64_MAX;
}

static void external_free(void *buffer, void *memory)
{
	free(memory);
}

/* One buffer: shared info in front, then headroom, then the bytes, then nothing. */
static struct rte_mbuf *segment(const uint8_t *bytes, uint32_t length, uint32_t headroom)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(test_pool());
	struct rte_mbuf_ext_shared_info *info;
	uint8_t *memory = malloc(sizeof(*info) + headroom + length);
	require(m && memory, "no memory");
	require(m->buf_len == RTE_MBUF_DEFAULT_BUF_SIZE, "an external buffer was not detached");
	info = (struct rte_mbuf_ext_shared_info *)memory;
	info->free_cb = external_free;
	info->fcb_opaque = memory;
	rte_mbuf_ext_refcnt_set(info, 1);
	rte_pktmbuf_attach_extbuf(m, memory + sizeof(*info), RTE_BAD_IOVA, (uint16_t)(headroom + length), info);
	m->data_off = (uint16_t)headroom;
	m->data_len = (uint16_t)length;
	m->pkt_len = length;
	if (length)
		memcpy(rte_pktmbuf_mtod(m, void *), bytes, length);
	return m;
}

struct rte_mbuf *fuzz_chain(const void *bytes, uint32_t length, uint32_t headroom, const uint32_t *parts)
{
	uint32_t first = *parts > 0 && *parts < length ? *parts : length, at = first;
	struct rte_mbuf *head = segment(bytes, first, headroom);
	while (at < length) {
		parts += *parts != 0;
		uint32_t part = *parts > 0 && *parts < length - at ? *parts : length - at;
		part = RTE_MIN(part, (uint32_t)UINT16_MAX);
		rte_pktmbuf_chain(head, segment((const uint8_t *)bytes + at, part, 0));
		at += part;
	}
	return head;
}

struct rte_mbuf *fuzz_mbuf(const void *bytes, uint32_t length, uint32_t split)
{
	uint32_t parts[] = { split, 0 };
	/* Some drivers leave no room in front. */
	return fuzz_chain(bytes, length, length % 7 ? RTE_PKTMBUF_HEADROOM : 0, parts);
}

void fuzz_input(uint16_t iface, const void *bytes, uint32_t length, uint32_t split)
{
	if (length > 9000)
		return;
	struct rte_mbuf *m = fuzz_mbuf(bytes, length, split);
	path_input(world.bed.dp.paths[0], iface, &m, 1);
}

void fuzz_drain(bool well_formed)
{
	static struct frame frame;
	for (unsigned iface = 0; iface < BED_PORTS; iface++) {
		struct bed_port *port = &world.bed.ports[iface];
		for (; port->count; port->count--, port->first = (port->first + 1) % BED_SENT) {
			struct rte_mbuf *m = port->sent[port->first];
			rte_mbuf_sanity_check(m, 1);
			frame_read(&frame, m);
			require(!well_formed || !frame_fault(frame.bytes, frame.length), "we have sent a wrong frame");
			rte_pktmbuf_free(m);
		}
	}
}

static uint64_t ahead_ns;

void fuzz_tick(unsigned seconds)
{
	bed_tick(&world.bed, clock_ns() + ahead_ns + seconds * CLOCK_NS_PER_S);
}

void fuzz_audit(void)
{
	static unsigned calls;
	struct dp *dp = &world.bed.dp;
	/* Fragments that wait for their first one are all that may be left. */
	fragments_clear(dp->worker_states[0]);
	require(test_pool_used() == 0, "buffers were lost");
	if (++calls % AUDIT_EVERY)
		return;
	int64_t sessions = bed_sessions(&world.bed);
	int64_t charged = dp_tenant_sessions(dp, world.vnic[1]->tenant) + dp_tenant_sessions(dp, world.vnic[4]->tenant);
	require(sessions == charged, "tenants are charged for other sessions than there are");
	require(dp_vnic_sessions(dp, world.vnic[3]) <= 8, "a vNIC holds more sessions than it may");
	require(dp_tenant_sessions(dp, world.vnic[4]->tenant) <= 20, "a tenant holds more sessions than it may");
	/* Start again with few sessions and full buckets, later than any time that was ever seen before. */
	ahead_ns += 600 * CLOCK_NS_PER_S;
	fuzz_tick(0);
	for (unsigned i = 1; i <= 5; i++) {
		world.vnic[i]->runtime->service = (struct dp_bucket){ 0 };
		world.vnic[i]->runtime->icmp_errors = (struct dp_bucket){ 0 };
	}
}

static void send_message(const struct fuzz_client *client, const char *src, const char *dst, const uint8_t *data,
			 size_t size)
{
	static struct frame frame;
	struct frame_spec spec = {
		.src_mac = mac_of(1),
		.dst_mac = "ff:ff:ff:ff:ff:ff",
		.src = src,
		.dst = dst,
		.src_port = client->port,
		.dst_port = client->service_port,
		.payload = (uint32_t)size,
	};
	frame_build(&frame, &spec);
	uint32_t headers = frame.length - (uint32_t)size;
	if (size)
		memcpy(frame.bytes + headers, data, size);
	frame_fix(&frame, 14);
	fuzz_input(bed_iface(1), frame.bytes, frame.length, size % 3 ? 0 : headers + (uint32_t)size / 2);
}

void fuzz_messages(const struct fuzz_client *client, const uint8_t *data, size_t size)
{
	if (size > 1500)
		return;
	fuzz_world();
	send_message(client, client->any, client->all, data, size);
	send_message(client, client->own, client->gateway, data, size);
	fuzz_drain(true);
	fuzz_audit();
}
