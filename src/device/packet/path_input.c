/* SPDX-License-Identifier: BSD-3-Clause */
/* The first stage of a burst: decapsulate and parse all, put aside what is for services, drop what is refused. */
#include <assert.h>
#include "device/packet/decap_fast.h"
#include "device/packet/parse_fast.h"
#include "device/packet/path_apply.h"

/* Packets whose frames are on their way while one is parsed. */
enum { PREFETCH_AHEAD = 8 };

/* A port has just written the buffers, or a guest has, on another core. */
static inline void prefetch_frame(const struct rte_mbuf *m, bool two_lines)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);

	rte_prefetch0(frame);
	if (two_lines)
		rte_prefetch0(frame + 64);
}

/* Tells the policy path what later fragments, which have another key, are part of. */
static bool is_first_fragment(const struct packet_info *info)
{
	return (info->flags & (PACKET_F_FRAGMENT | PACKET_F_LATER)) == PACKET_F_FRAGMENT;
}

/* For the policy path, whatever the session table says. */
static void put_aside(struct path_burst *b, struct rte_mbuf *m, const struct packet_info *info)
{
	struct packet_info *aside = &b->info[PATH_BURST - 1 - b->service_count++];

	*aside = *info;
	b->exceptions[b->exception_count++] = (struct path_exception){ m, aside, PATH_POLICY, 0 };
}

/* Takes a packet that packet_parse_slow() has described in info[n] into the burst, unless it is for services; returns
 * the number of packets then. */
static unsigned take_odd(struct path *path, struct rte_mbuf *m, const struct path_vpc *vpc, unsigned n)
{
	struct path_burst *b = &path->burst;
	struct packet_info *info = &b->info[n];

	info->in_iface = b->in_iface;
	if (!(info->flags & PACKET_F_SERVICE) && !is_first_fragment(info)) {
		b->families |= flow_key_is_v6(&info->key) ? 2 : 1;
		b->m[n] = m;
		b->vpc[n] = vpc;
		return n + 1;
	}
	info->hash = flow_key_hash(&info->key, path->seed);
	if (is_first_fragment(info) && !path_table(path, &info->key, info->hash))
		path_hand_off(path, m, info);
	else
		put_aside(b, m, info);
	return n;
}

/* A MAC as eight bytes of a frame have it, and which of them to compare: none if it is not checked. */
struct mac_check {
	uint64_t mac, mask;
};

static struct mac_check mac_check_of(const struct path_iface *iface)
{
	struct mac_check check = { 0 };

	if (!iface->check_mac)
		return check;
	memcpy(&check.mac, iface->mac.bytes, sizeof(iface->mac.bytes));
	memset(&check.mask, 0xff, sizeof(iface->mac.bytes));
	return check;
}

static inline bool mac_ok(struct mac_check check, const uint8_t *mac)
{
	return ((load64(mac) ^ check.mac) & check.mask) == 0;
}

/* ---- from vNICs ---- */

/* A frame that packet_parse_hot() did not take, or with a wrong source. */
static unsigned receive_vnic_odd(struct path *path, const struct path_iface *iface, struct rte_mbuf *m,
				 const struct path_vpc *vpc, unsigned n)
{
	enum drop_reason drop = packet_parse_slow(m, iface->vpc, &path->burst.info[n]);

	if (!drop && !mac_ok(mac_check_of(iface), packet_at(m, RTE_ETHER_ADDR_LEN)))
		drop = DROP_SPOOFED_MAC;
	if (!drop)
		return take_odd(path, m, vpc, n);
	path_drop(path, m, drop, iface->id, iface->vpc);
	return n;
}

static void receive_vnic(struct path *path, const struct path_iface *iface, struct rte_mbuf **packets, unsigned count)
{
	struct path_burst *b = &path->burst;
	const struct path_vpc *vpc = path_vpc(path, iface->vpc);
	const struct mac_check check = mac_check_of(iface);
	const uint16_t slot = iface->vpc;
	const bool long_headers = b->long_headers;
	unsigned families = 0, n = 0;

	if (unlikely(!vpc)) {
		for (unsigned i = 0; i < count; i++)
			path_drop(path, packets[i], DROP_UNKNOWN_INTERFACE, iface->id, 0);
		return;
	}
	for (unsigned i = 0; i < count; i++) {
		struct rte_mbuf *m = packets[i];
		const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
		prefetch_frame(packets[RTE_MIN(i + PREFETCH_AHEAD, count - 1)], long_headers);
		if (likely(packet_parse_hot(m, frame, slot, &b->info[n], &families) &&
			   mac_ok(check, frame + RTE_ETHER_ADDR_LEN))) {
			b->m[n] = m;
			b->vpc[n++] = vpc;
		} else {
			n = receive_vnic_odd(path, iface, m, vpc, n);
		}
	}
	b->families |= families;
	b->count = n;
}

/* ---- from uplinks ---- */

/* Inner packets for our own tunnel endpoint would have us decapsulate again. */
static inline bool tunnel_in_tunnel(const struct path *path, const struct flow_key *key)
{
	if (likely(key->proto != IPPROTO_UDP ||
		   (key->dst_port != RTE_BE16(VXLAN_PORT) && key->dst_port != RTE_BE16(GENEVE_PORT))))
		return false;
	return flow_key_is_v6(key) ? path_local_v6(path->config, key->v6.dst, PATH_ANY_VLAN)
				   : path_local_v4(path->config, &key->v4.dst, PATH_ANY_VLAN);
}

static bool uplink_mac_ok(const struct path_iface *iface, const struct rte_mbuf *m)
{
	const uint8_t *frame = packet_at(m, 0);

	return !iface->check_mac || m->data_len < ETHER_BYTES || frame[0] & 1 ||
	       memcmp(frame, iface->mac.bytes, sizeof(iface->mac.bytes)) == 0;
}

/* Decapsulates what packet_decap_hot() did not; returns the VPC's slot, or -1 if the frame ends here. */
static int decap_odd(struct path *path, const struct path_iface *iface, struct rte_mbuf *m, struct packet_info *info)
{
	uint16_t slot = 0;
	bool local = false;
	enum drop_reason drop =
		uplink_mac_ok(iface, m) ? packet_decap(path->config, m, &slot, info, &local) : DROP_NOT_FOR_US;

	if (local)
		path->service.underlay(path->service.ctx, path, m, iface->id);
	else if (drop)
		path_drop(path, m, drop, iface->id, 0);
	else
		return slot;
	return -1;
}

/* An inner frame that packet_parse_hot() did not take, or that is for a tunnel endpoint. */
static unsigned receive_inner_odd(struct path *path, const struct path_iface *iface, struct rte_mbuf *m,
				  const struct path_vpc *vpc, unsigned n)
{
	struct packet_info *info = &path->burst.info[n];
	enum drop_reason drop = packet_parse_slow(m, vpc->slot, info);

	if (!drop && tunnel_in_tunnel(path, &info->key))
		drop = DROP_TUNNEL_IN_TUNNEL;
	if (!drop)
		return take_odd(path, m, vpc, n);
	path_drop(path, m, drop, iface->id, vpc->slot);
	return n;
}

/* A frame out of a tunnel that is no VPC's. */
static void receive_tunnelled(struct path *path, const struct path_iface *iface, struct rte_mbuf *m, uint16_t slot,
			      uint32_t tag)
{
	struct path_burst *b = &path->burst;

	if (slot < PATH_FIRST_REPRESENTOR || !path->service.tunnel_member) {
		path_drop(path, m, DROP_UNKNOWN_VNI, iface->id, 0);
		return;
	}
	path_tap(path, CAPTURE_DECAP, DROP_NONE, iface->id, m);
	b->tunnelled[b->tunnelled_count] = m;
	b->tunnelled_slot[b->tunnelled_count] = slot;
	b->tunnelled_tag[b->tunnelled_count++] = tag;
}

static void receive_uplink(struct path *path, const struct path_iface *iface, struct rte_mbuf **packets, unsigned count)
{
	struct path_burst *b = &path->burst;
	const struct mac_check check = mac_check_of(iface);
	struct path_tally tally = { 0 };
	const bool first = !path->handed;
	unsigned families = 0, n = 0;

	for (unsigned i = 0; i < count; i++) {
		struct packet_info *info = &b->info[n];
		struct rte_mbuf *m = packets[i];
		int slot = -1;
		prefetch_frame(packets[RTE_MIN(i + PREFETCH_AHEAD, count - 1)], true);
		if (likely(m->data_len >= DECAP_HOT_BYTES && mac_ok(check, packet_at(m, 0))))
			slot = packet_decap_hot(path->config, m, info);
		if (unlikely(slot < 0)) {
			slot = decap_odd(path, iface, m, info);
			if (slot < 0)
				continue;
		}
		const struct path_vpc *vpc = path_vpc(path, (uint16_t)slot);
		if (unlikely(!vpc)) {
			receive_tunnelled(path, iface, m, (uint16_t)slot, info->outer_tag);
			continue;
		}
		if (likely(first))
			path_tap(path, CAPTURE_DECAP, DROP_NONE, iface->id, m);
		tally_switch(path, &tally, vpc);
		tally.decapsulated += first;
		if (likely(packet_parse_hot(m, packet_at(m, 0), (uint16_t)slot, info, &families) &&
			   !tunnel_in_tunnel(path, &info->key))) {
			b->m[n] = m;
			b->vpc[n++] = vpc;
		} else {
			n = receive_inner_odd(path, iface, m, vpc, n);
		}
	}
	if (tally.vpc)
		tally_flush(path, &tally);
	b->families |= families;
	b->count = n;
}

void path_receive(struct path *path, const struct path_iface *iface, struct rte_mbuf **packets, unsigned count)
{
	struct path_burst *b = &path->burst;

	b->count = b->exception_count = b->service_count = b->tunnelled_count = 0;
	b->families = 0;
	b->in_iface = iface->id;
	b->uplink = iface->kind == PATH_IFACE_UPLINK;
	/* The first ones; the loops prefetch ahead. */
	for (unsigned i = 0; i < RTE_MIN(count, (unsigned)PREFETCH_AHEAD); i++)
		prefetch_frame(packets[i], b->uplink);
	if (b->uplink)
		receive_uplink(path, iface, packets, count);
	else
		receive_vnic(path, iface, packets, count);
	b->long_headers = b->families & 2;
}

/* ---- entry ---- */

static void count_rx(struct path *path, uint16_t iface, struct rte_mbuf **packets, unsigned count)
{
	struct path_iface_counters *counters = &path->iface_counters[iface];
	uint64_t bytes = 0;

	for (unsigned i = 0; i < count; i++)
		bytes += packets[i]->pkt_len;
	counter_add(&counters->rx_packets, count);
	counter_add(&counters->rx_bytes, bytes);
	if (unlikely(path->capture))
		for (unsigned i = 0; i < count; i++)
			path_tap(path, CAPTURE_RX, DROP_NONE, iface, packets[i]);
}

static void member_input(struct path *path, const struct path_iface *iface, struct rte_mbuf **packets, unsigned count)
{
	bool bound = path->service.member && (iface->kind == PATH_IFACE_REPRESENTOR || iface->representor);

	if (likely(bound)) {
		path->service.member(path->service.ctx, path, iface, packets, count);
		return;
	}
	for (unsigned i = 0; i < count; i++)
		path_drop(path, packets[i], DROP_UNBOUND_INTERFACE, iface->id, 0);
}

static void tunnelled_input(struct path *path)
{
	struct path_burst *b = &path->burst;

	path->service.tunnel_member(path->service.ctx, path, b->in_iface, b->tunnelled, b->tunnelled_slot,
				    b->tunnelled_tag, b->tunnelled_count);
	b->tunnelled_count = 0;
}

static void burst(struct path *path, uint16_t in_iface, struct rte_mbuf **packets, unsigned count)
{
	const struct path_iface *iface = atomic_load_explicit(&path->config->ifaces[in_iface], memory_order_acquire);

	if (unlikely(!iface)) {
		for (unsigned i = 0; i < count; i++)
			path_drop(path, packets[i], DROP_UNKNOWN_INTERFACE, in_iface, 0);
		return;
	}
	if (iface->kind >= PATH_IFACE_MEMBER) {
		member_input(path, iface, packets, count);
	} else {
		path_receive(path, iface, packets, count);
		path_burst_run(path);
		if (unlikely(path->burst.tunnelled_count))
			tunnelled_input(path);
	}
	path_flush(path);
}

static uint64_t burst_begin(struct path *path, struct rte_mbuf **packets, unsigned count)
{
	uint64_t start = rte_rdtsc();

	for (unsigned i = 0; i < count; i++)
		rte_prefetch0(packets[i]);
	if (unlikely(start - path->now_tsc > path->refresh_cycles))
		path_clock_refresh(path);
	path->in_burst = true;
	return start;
}

static void burst_end(struct path *path, uint64_t start, unsigned count)
{
	path->in_burst = false;
	path_age(path, 2 * count);
	counter_add(&path->busy_cycles, rte_rdtsc() - start);
}

void path_input(struct path *path, uint16_t in_iface, struct rte_mbuf **packets, unsigned count)
{
	uint64_t start = burst_begin(path, packets, count);

	assert(count <= PATH_BURST);
	count_rx(path, in_iface, packets, count);
	burst(path, in_iface, packets, count);
	burst_end(path, start, count);
}

void path_input_handoff(struct path *path, struct rte_mbuf **packets, const uint16_t *in_ifaces, unsigned count)
{
	uint64_t start = burst_begin(path, packets, count);

	path->handed = true;
	for (unsigned i = 0, n; i < count; i += n) {
		for (n = 1; n < PATH_BURST && i + n < count && in_ifaces[i + n] == in_ifaces[i]; n++)
			;
		burst(path, in_ifaces[i], packets + i, n);
	}
	path->handed = false;
	burst_end(path, start, count);
}
