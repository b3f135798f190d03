/* SPDX-License-Identifier: BSD-3-Clause */
/* The burst loop: decapsulate and parse all, find all sessions, apply all, then see to those that need the policy
 * path. */
#include <assert.h>
#include "device/packet/decap_fast.h"
#include "device/packet/parse_fast.h"
#include "device/packet/path_apply.h"
#include "device/packet/segment.h"
#include "device/packet/session_table_inline.h"

/* Undoes packet_decap() for a packet that another worker will see from the start; what was trimmed stays away. */
static bool encap_again(struct rte_mbuf *m, uint16_t length)
{
	if (m->ol_flags & PATH_ENCAP_REQUESTS) {
		/* A request must be in terms of the whole frame again, if its field of 7 bits can hold that. */
		if (m->l2_len + length <= 127)
			m->l2_len += length;
		else if (packet_checksum(m))
			return false;
	}
	m->data_off -= length;
	m->data_len += length;
	m->pkt_len += length;
	return true;
}

static void hand_off(struct path *path, struct rte_mbuf *m, const struct packet_info *info)
{
	unsigned worker = atomic_load_explicit(&path->config->slot_owner[path_slot(info->hash)], memory_order_relaxed);

	if (worker == path->worker) /* the slot is ours, but its table is not open */
		path_drop(path, m, DROP_SESSION_TABLE_FULL, info->in_iface, info->key.vpc);
	else if (info->flags & PACKET_F_TUNNELLED && !encap_again(m, info->outer_length))
		path_drop(path, m, DROP_SEGMENTATION, info->in_iface, info->key.vpc);
	else
		path->service.handoff(path->service.ctx, path, worker, m, info->in_iface);
}

/* Tells the policy path what later fragments, which have another key, are part of. */
static inline bool is_first_fragment(const struct packet_info *info)
{
	return (info->flags & (PACKET_F_FRAGMENT | PACKET_F_LATER)) == PACKET_F_FRAGMENT;
}

/* For the policy path, whatever the session table says. */
static void put_aside(struct path_burst *b, struct rte_mbuf *m, const struct packet_info *info)
{
	struct packet_info *aside = &b->info[PATH_BURST - 1 - b->service_count++];

	*aside = *info;
	b->exceptions[b->exception_count++] = (struct path_exception){ m, aside, PATH_MISS, 0 };
}

/* Takes m, described by info[n], into the burst if its session is here; returns the number of packets then. */
static inline unsigned admit(struct path *path, struct rte_mbuf *m, const struct path_vpc *vpc, unsigned n,
			     uint64_t seed)
{
	struct path_burst *b = &path->burst;
	struct packet_info *info = &b->info[n];
	uint32_t hash = flow_key_hash_direction(&info->key, seed, &b->direction[n]);
	struct session_table *table = path->tables[2 * path_slot(hash) + flow_key_is_v6(&info->key)];

	info->hash = hash;
	if (unlikely(!table)) {
		hand_off(path, m, info);
		return n;
	}
	session_lookup_prefetch(table, hash);
	b->m[n] = m;
	b->vpc[n] = vpc;
	b->table[n] = table;
	return n + 1;
}

/* As admit(), for a packet that packet_parse_slow() has described: it may be for services. */
static unsigned admit_odd(struct path *path, struct rte_mbuf *m, const struct path_vpc *vpc, unsigned n)
{
	struct packet_info *info = &path->burst.info[n];

	info->flags |= PACKET_F_DETAILS;
	if (!(info->flags & PACKET_F_SERVICE) && !is_first_fragment(info))
		return admit(path, m, vpc, n, path->seed);
	info->hash = flow_key_hash(&info->key, path->seed);
	if (is_first_fragment(info) && !path_table(path, &info->key, info->hash))
		hand_off(path, m, info);
	else
		put_aside(&path->burst, m, info);
	return n;
}

static inline bool source_mac_ok(const struct path_iface *iface, const struct rte_mbuf *m)
{
	const uint8_t *source = rte_pktmbuf_mtod_offset(m, const uint8_t *, RTE_ETHER_ADDR_LEN);

	return !iface->check_mac ||
	       ((load32(source) ^ load32(iface->mac.bytes)) | (load16(source + 4) ^ load16(iface->mac.bytes + 4))) == 0;
}

/* A frame from a vNIC that packet_parse_hot() did not take, or with a wrong source. */
static unsigned input_vnic_odd(struct path *path, const struct path_iface *iface, struct rte_mbuf *m,
			       const struct path_vpc *vpc, unsigned n)
{
	struct packet_info *info = &path->burst.info[n];
	enum drop_reason drop = packet_parse_slow(m, iface->vpc, info);

	if (!drop && !source_mac_ok(iface, m))
		drop = DROP_SPOOFED_MAC;
	if (drop) {
		path_drop(path, m, drop, iface->id, iface->vpc);
		return n;
	}
	info->in_iface = iface->id;
	return admit_odd(path, m, vpc, n);
}

static void input_vnic(struct path *path, const struct path_iface *iface, struct rte_mbuf **packets, unsigned count)
{
	const struct path_vpc *vpc = path_vpc(path, iface->vpc);
	const uint64_t seed = path->seed;
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++) {
		struct packet_info *info = &path->burst.info[n];
		struct rte_mbuf *m = packets[i];
		if (unlikely(!vpc)) {
			path_drop(path, m, DROP_UNKNOWN_INTERFACE, iface->id, 0);
		} else if (likely(packet_parse_hot(m, iface->vpc, info) && source_mac_ok(iface, m))) {
			info->in_iface = iface->id;
			n = admit(path, m, vpc, n, seed);
		} else {
			n = input_vnic_odd(path, iface, m, vpc, n);
		}
	}
	path->burst.count = n;
}

/* Inner packets for our own tunnel endpoint would have us decapsulate again. */
static inline bool tunnel_in_tunnel(const struct path *path, const struct flow_key *key)
{
	if (likely(key->proto != IPPROTO_UDP ||
		   (key->dst_port != RTE_BE16(VXLAN_PORT) && key->dst_port != RTE_BE16(GENEVE_PORT))))
		return false;
	return flow_key_is_v6(key) ? path_local_v6(path->config, key->v6.dst)
				   : path_local_v4(path->config, &key->v4.dst);
}

static inline bool uplink_mac_ok(const struct path_iface *iface, const struct rte_mbuf *m)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);

	return !iface->check_mac || m->data_len < ETHER_BYTES || frame[0] & 1 ||
	       ((load32(frame) ^ load32(iface->mac.bytes)) | (load16(frame + 4) ^ load16(iface->mac.bytes + 4))) == 0;
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
static unsigned input_inner_odd(struct path *path, const struct path_iface *iface, struct rte_mbuf *m,
				const struct path_vpc *vpc, unsigned n)
{
	struct packet_info *info = &path->burst.info[n];
	enum drop_reason drop = packet_parse_slow(m, vpc->slot, info);

	if (!drop && tunnel_in_tunnel(path, &info->key))
		drop = DROP_TUNNEL_IN_TUNNEL;
	if (drop) {
		path_drop(path, m, drop, iface->id, vpc->slot);
		return n;
	}
	info->flags |= PACKET_F_TUNNELLED;
	info->in_iface = iface->id;
	return admit_odd(path, m, vpc, n);
}

static void input_uplink(struct path *path, const struct path_iface *iface, struct rte_mbuf **packets, unsigned count)
{
	const uint64_t seed = path->seed;
	struct path_tally tally = { 0 };
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++) {
		struct packet_info *info = &path->burst.info[n];
		struct rte_mbuf *m = packets[i];
		int slot = likely(uplink_mac_ok(iface, m)) ? packet_decap_hot(path->config, m, info) : -1;
		if (unlikely(slot < 0)) {
			slot = decap_odd(path, iface, m, info);
			if (slot < 0)
				continue;
		}
		const struct path_vpc *vpc = path_vpc(path, (uint16_t)slot);
		if (unlikely(!vpc)) {
			path_drop(path, m, DROP_UNKNOWN_VNI, iface->id, 0);
			continue;
		}
		path_tap(path, CAPTURE_DECAP, DROP_NONE, iface->id, m);
		tally_switch(path, &tally, vpc);
		tally.decapsulated++;
		if (likely(packet_parse_hot(m, vpc->slot, info) && !tunnel_in_tunnel(path, &info->key))) {
			info->flags |= PACKET_F_TUNNELLED;
			info->in_iface = iface->id;
			n = admit(path, m, vpc, n, seed);
		} else {
			n = input_inner_odd(path, iface, m, vpc, n);
		}
	}
	if (tally.vpc)
		tally_flush(path, &tally);
	path->burst.count = n;
}

static void except(struct path_burst *b, unsigned i, unsigned kind, uint16_t mtu)
{
	b->exceptions[b->exception_count++] = (struct path_exception){ b->m[i], &b->info[i], (uint16_t)kind, mtu };
}

/* The session's direction if it may be used for this packet: entered where it should, compiled under today's policy. */
static inline struct session_dir *usable(struct session *session, unsigned direction, const struct packet_info *info,
					 const struct path_vpc *vpc)
{
	if (unlikely(!session))
		return NULL;
	struct session_dir *dir = &session->dir[direction];
	uint32_t epoch = atomic_load_explicit(&vpc->epoch, memory_order_relaxed);
	if (unlikely(dir->in_iface != info->in_iface || dir->epoch != epoch || dir->ops & SESSION_OP_SLOW))
		return NULL;
	return dir;
}

static void burst_lookup(struct path_burst *b)
{
	for (unsigned i = 0; i < b->count; i++)
		b->session[i] = session_lookup_candidate(b->table[i], b->info[i].hash, &b->direction[i]);
}

static void burst_apply(struct path *path)
{
	struct path_burst *b = &path->burst;
	struct path_tally tally = { 0 };
	unsigned out;

	if (path->tx_count > PATH_TX_QUEUE - PATH_BURST)
		path_flush(path);
	out = path->tx_count;
	for (unsigned i = 0; i < b->count; i++) {
		struct packet_info *info = &b->info[i];
		const struct path_tunnel *tunnel = NULL;
		struct session *session =
			session_lookup_finish(b->table[i], b->session[i], &info->key, info->hash, &b->direction[i]);
		struct session_dir *dir = usable(session, b->direction[i], info, b->vpc[i]);
		if (unlikely(!dir)) {
			except(b, i, PATH_MISS, 0);
			continue;
		}
		unsigned kind = path_admit(path, b->m[i], info, dir, b->direction[i], &tunnel);
		if (unlikely(kind)) {
			except(b, i, kind, dir->mtu);
			continue;
		}
		tally_switch(path, &tally, b->vpc[i]);
		path->tx_iface[out] = dir->out_iface;
		path->tx[out] = path_rewrite(path, b->m[i], info, dir, tunnel, &tally);
		if (likely(path->tx[out]))
			out++;
		else
			path_count_drops(path, DROP_NO_BUFFER, info->in_iface, b->vpc[i]->slot, 1);
	}
	path->tx_count = out;
	if (tally.vpc)
		tally_flush(path, &tally);
}

/* Fragments one packet, or applies what an earlier packet of the burst has compiled; sessions may have come and gone
 * since burst_apply(), so look again. */
static void again(struct path *path, struct path_exception *e)
{
	const struct path_vpc *vpc = path_vpc(path, e->info->key.vpc);
	struct session_table *table = path_table(path, &e->info->key, e->info->hash);
	unsigned direction = 0;
	struct session *session = table ? session_find(table, &e->info->key, e->info->hash, &direction) : NULL;
	struct session_dir *dir = vpc ? usable(session, direction, e->info, vpc) : NULL;

	if (!dir)
		path_except(path, e->m, e->info, PATH_MISS, 0);
	else if (e->kind == PATH_FRAGMENT)
		path_fragment(path, e->m, e->info, dir, direction, vpc);
	else
		path_forward(path, e->m, e->info, session, direction);
}

/* Before a service sees it: fills in what packet_parse_hot() leaves out, and blanks what packet_decap() did not set. */
static void complete(struct packet_info *info)
{
	if (!(info->flags & PACKET_F_DETAILS))
		packet_info_plain(info);
	info->flags &= ~PACKET_F_DETAILS;
	if (info->flags & PACKET_F_TUNNELLED)
		return;
	info->outer_length = 0;
	info->outer_src = (struct ip_addr){ 0 };
}

/* After all hits: only now may sessions be removed and created. */
static void burst_except(struct path *path)
{
	struct path_burst *b = &path->burst;
	bool missed = false;

	for (unsigned i = 0; i < b->exception_count; i++) {
		struct path_exception *e = &b->exceptions[i];
		complete(e->info);
		if (e->kind == PATH_FRAGMENT || (e->kind == PATH_MISS && missed &&
						 !(e->info->flags & PACKET_F_SERVICE) && !is_first_fragment(e->info)))
			again(path, e);
		else
			path_except(path, e->m, e->info, e->kind, e->mtu);
		missed |= e->kind == PATH_MISS;
	}
}

/* A port has just written the buffers, or a guest has, on another core: bring their first lines here. The line before
 * the frame is where encapsulation writes. */
static void burst_prefetch(struct rte_mbuf **packets, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		rte_prefetch0(packets[i]);
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *frame = rte_pktmbuf_mtod(packets[i], const uint8_t *);
		rte_prefetch0(frame);
		rte_prefetch0(frame + 64);
		__builtin_prefetch(frame - 64, 1);
	}
}

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

static void burst(struct path *path, uint16_t in_iface, struct rte_mbuf **packets, unsigned count)
{
	const struct path_iface *iface = atomic_load_explicit(&path->config->ifaces[in_iface], memory_order_acquire);

	path->burst.count = path->burst.exception_count = path->burst.service_count = 0;
	if (unlikely(!iface)) {
		for (unsigned i = 0; i < count; i++)
			path_drop(path, packets[i], DROP_UNKNOWN_INTERFACE, in_iface, 0);
		return;
	}
	if (iface->kind == PATH_IFACE_UPLINK)
		input_uplink(path, iface, packets, count);
	else
		input_vnic(path, iface, packets, count);
	burst_lookup(&path->burst);
	burst_apply(path);
	if (unlikely(path->burst.exception_count))
		burst_except(path);
	path_flush(path);
}

static uint64_t burst_begin(struct path *path)
{
	uint64_t start = rte_rdtsc();

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
	uint64_t start = burst_begin(path);

	assert(count <= PATH_BURST);
	burst_prefetch(packets, count);
	count_rx(path, in_iface, packets, count);
	burst(path, in_iface, packets, count);
	burst_end(path, start, count);
}

void path_input_handoff(struct path *path, struct rte_mbuf **packets, const uint16_t *in_ifaces, unsigned count)
{
	uint64_t start = burst_begin(path);

	for (unsigned i = 0, n; i < count; i += n) {
		for (n = 1; n < PATH_BURST && i + n < count && in_ifaces[i + n] == in_ifaces[i]; n++)
			;
		burst(path, in_ifaces[i], packets + i, n);
	}
	burst_end(path, start, count);
}
