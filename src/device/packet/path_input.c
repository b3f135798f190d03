/* SPDX-License-Identifier: BSD-3-Clause */
/* The burst loop: decapsulate and parse all, find all sessions, apply all, then see to those that need the policy
 * path. */
#include <assert.h>
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
	else if (info->outer_length && !encap_again(m, info->outer_length))
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

/* Takes m, described by the next free info, into the burst. */
static inline void admit(struct path *path, struct rte_mbuf *m, struct packet_info *info, const struct path_vpc *vpc)
{
	struct path_burst *b = &path->burst;

	if (unlikely(info->flags & PACKET_F_SERVICE)) {
		info->hash = flow_key_hash(&info->key, path->seed);
		put_aside(b, m, info);
		return;
	}
	info->hash = flow_key_hash_direction(&info->key, path->seed, &b->direction[b->count]);
	struct session_table *table = path->tables[2 * path_slot(info->hash) + flow_key_is_v6(&info->key)];
	if (unlikely(!table)) {
		hand_off(path, m, info);
		return;
	}
	if (unlikely(is_first_fragment(info))) {
		put_aside(b, m, info);
		return;
	}
	session_lookup_prefetch(table, info->hash);
	b->m[b->count] = m;
	b->vpc[b->count] = vpc;
	b->table[b->count] = table;
	b->count++;
}

static inline enum drop_reason parse(struct rte_mbuf *m, uint16_t vpc, struct packet_info *info)
{
	return likely(packet_parse_fast(m, vpc, info)) ? DROP_NONE : packet_parse_slow(m, vpc, info);
}

static void input_vnic(struct path *path, const struct path_iface *iface, struct rte_mbuf **packets, unsigned count)
{
	const struct path_vpc *vpc = path_vpc(path, iface->vpc);
	uint64_t mac = 0;

	memcpy(&mac, iface->mac.bytes, sizeof(iface->mac.bytes));
	for (unsigned i = 0; i < count; i++) {
		struct packet_info *info = &path->burst.info[path->burst.count];
		struct rte_mbuf *m = packets[i];
		enum drop_reason drop = vpc ? parse(m, iface->vpc, info) : DROP_UNKNOWN_INTERFACE;
		if (likely(!drop) && iface->check_mac) {
			uint64_t source = 0;
			memcpy(&source, packet_at(m, RTE_ETHER_ADDR_LEN), RTE_ETHER_ADDR_LEN);
			if (unlikely(source != mac))
				drop = DROP_SPOOFED_MAC;
		}
		if (unlikely(drop)) {
			path_drop(path, m, drop, iface->id, iface->vpc);
			continue;
		}
		info->in_iface = iface->id;
		info->outer_length = 0;
		info->outer_src.family = IP_NONE;
		admit(path, m, info, vpc);
	}
}

/* Inner packets for our own tunnel endpoint would have us decapsulate again. */
static bool tunnel_in_tunnel(const struct path *path, const struct flow_key *key)
{
	if (key->proto != IPPROTO_UDP ||
	    (key->dst_port != RTE_BE16(VXLAN_PORT) && key->dst_port != RTE_BE16(GENEVE_PORT)))
		return false;
	return flow_key_is_v6(key) ? path_local_v6(path->config, key->v6.dst)
				   : path_local_v4(path->config, &key->v4.dst);
}

/* What remains of an uplink frame once its outer headers are gone. */
static enum drop_reason input_inner(struct path *path, const struct path_iface *iface, struct rte_mbuf *m,
				    const struct path_vpc *vpc, struct packet_info *info)
{
	path_tap(path, CAPTURE_DECAP, DROP_NONE, iface->id, m);
	enum drop_reason drop = parse(m, vpc->slot, info);
	if (unlikely(drop))
		return drop;
	if (unlikely(tunnel_in_tunnel(path, &info->key)))
		return DROP_TUNNEL_IN_TUNNEL;
	info->flags |= PACKET_F_TUNNELLED;
	info->in_iface = iface->id;
	counter_add(&path->vpc_counters[vpc->slot].decapsulated, 1);
	admit(path, m, info, vpc);
	return DROP_NONE;
}

static bool uplink_mac_ok(const struct path_iface *iface, const struct rte_mbuf *m)
{
	const uint8_t *frame = packet_at(m, 0);

	return !iface->check_mac || m->data_len < ETHER_BYTES || frame[0] & 1 ||
	       memcmp(frame, iface->mac.bytes, sizeof(iface->mac.bytes)) == 0;
}

static void input_uplink(struct path *path, const struct path_iface *iface, struct rte_mbuf **packets, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct packet_info *info = &path->burst.info[path->burst.count];
		struct rte_mbuf *m = packets[i];
		const struct path_vpc *vpc = NULL;
		uint16_t slot = 0;
		bool local = false;
		enum drop_reason drop =
			uplink_mac_ok(iface, m) ? packet_decap(path->config, m, &slot, info, &local) : DROP_NOT_FOR_US;
		if (unlikely(local)) {
			path->service.underlay(path->service.ctx, path, m, iface->id);
			continue;
		}
		if (likely(!drop)) {
			vpc = path_vpc(path, slot);
			drop = likely(vpc) ? input_inner(path, iface, m, vpc, info) : DROP_UNKNOWN_VNI;
		}
		if (unlikely(drop))
			path_drop(path, m, drop, iface->id, vpc ? vpc->slot : 0);
	}
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
		if (unlikely(kind))
			except(b, i, kind, dir->mtu);
		else
			path_rewrite(path, b->m[i], info, dir, b->vpc[i], tunnel);
	}
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

/* After all hits: only now may sessions be removed and created. */
static void burst_except(struct path *path)
{
	struct path_burst *b = &path->burst;
	bool missed = false;

	for (unsigned i = 0; i < b->exception_count; i++) {
		struct path_exception *e = &b->exceptions[i];
		if (e->kind == PATH_FRAGMENT || (e->kind == PATH_MISS && missed &&
						 !(e->info->flags & PACKET_F_SERVICE) && !is_first_fragment(e->info)))
			again(path, e);
		else
			path_except(path, e->m, e->info, e->kind, e->mtu);
		missed |= e->kind == PATH_MISS;
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
