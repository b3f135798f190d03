/* SPDX-License-Identifier: BSD-3-Clause */
/* The later stages of a burst: hash all keys, look all sessions up, apply all actions; then see to the packets that
 * need more. Each stage is compiled for bursts of IPv4 alone, of IPv6 alone, and mixed ones. */
#include "device/packet/parse_fast.h"
#include "device/packet/path_apply.h"
#include "device/packet/segment.h"
#include "device/packet/session_table_inline.h"

enum family { FAMILY_V4 = 1, FAMILY_V6 = 2, FAMILY_MIXED = 3 };

static inline bool is_v6(enum family family, const struct packet_info *info)
{
	return family == FAMILY_MIXED ? flow_key_is_v6(&info->key) : family == FAMILY_V6;
}

/* ---- packets of other workers ---- */

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
	/* The outer checksum was good; what has moved from the outer header into the inner one is not in it. */
	if (m->ol_flags & RTE_MBUF_F_RX_OUTER_L4_CKSUM_GOOD)
		m->packet_type = RTE_PTYPE_TUNNEL_VXLAN;
	m->data_off -= length;
	m->data_len += length;
	m->pkt_len += length;
	return true;
}

void path_hand_off(struct path *path, struct rte_mbuf *m, const struct packet_info *info)
{
	unsigned worker = atomic_load_explicit(&path->config->slot_owner[path_slot(info->hash)], memory_order_relaxed);
	uint16_t in_iface = path->burst.in_iface;

	if (worker == path->worker) /* the slot is ours, but its table is not open */
		path_drop(path, m, DROP_SESSION_TABLE_FULL, in_iface, info->key.vpc);
	else if (path->burst.uplink && !encap_again(m, info->outer_length))
		path_drop(path, m, DROP_SEGMENTATION, in_iface, info->key.vpc);
	else
		path->service.handoff(path->service.ctx, path, worker, m, in_iface);
}

/* ---- stages ---- */

/* Hashes all keys and asks for the buckets of the index; packets of other workers leave. */
static __rte_always_inline void hash_all(struct path *path, enum family family)
{
	struct path_burst *b = &path->burst;
	const uint64_t seed = path->seed;
	unsigned n = 0;

	for (unsigned i = 0; i < b->count; i++) {
		struct packet_info *info = &b->info[i];
		bool v6 = is_v6(family, info);
		unsigned direction;
		uint32_t hash = v6 ? flow_key_hash_v6(&info->key, seed, &direction)
				   : flow_key_hash_v4(&info->key, seed, &direction);
		struct session_table *table = path->tables[2 * path_slot(hash) + v6];
		info->hash = hash;
		if (unlikely(!table)) {
			path_hand_off(path, b->m[i], info);
			continue;
		}
		const struct record_bucket *bucket = record_bucket_of(session_table_view(table), hash);
		__builtin_prefetch(bucket);
		if (unlikely(n != i)) {
			b->info[n] = *info;
			b->m[n] = b->m[i];
			b->vpc[n] = b->vpc[i];
		}
		b->bucket[n] = bucket;
		b->table[n] = table;
		b->direction[n++] = direction;
	}
	b->count = n;
}

/* Stands for "no candidate": no key has these flags, so nothing matches it. */
static struct session_v6 nobody = { .session.dir = { { .rest = UINT64_MAX }, { .rest = UINT64_MAX } } };

/* session_lookup_candidate() with the bucket known; the line of the direction is on its way then. */
static __rte_always_inline struct session *candidate(const struct path_burst *b, unsigned i, enum family family,
						     unsigned *direction)
{
	const struct record_view *view = session_table_view(b->table[i]);
	bool v6 = is_v6(family, &b->info[i]);
	unsigned hits = record_bucket_hits(b->bucket[i], b->info[i].hash);

	if (unlikely(!hits))
		return &nobody.session;
	uint32_t number = b->bucket[i]->numbers[__builtin_ctz(hits)];
	*direction ^= number >> 31;
	number &= SESSION_NUMBER_MASK;
	size_t block = number >> RECORD_BLOCK_INDEX_BITS, cell = number & RECORD_BLOCK_INDEX_MASK;
	struct session *session = (struct session *)(view->records + (block << RECORD_BLOCK_SHIFT) +
						     cell * (v6 ? sizeof(struct session_v6) : sizeof(struct session)));
	__builtin_prefetch(&session->dir[*direction], 1);
	if (v6)
		__builtin_prefetch(((struct session_v6 *)session)->address);
	return session;
}

static __rte_always_inline void lookup_all(struct path_burst *b, enum family family)
{
	const bool encap = b->encap;

	for (unsigned i = 0; i < b->count; i++) {
		unsigned direction = b->direction[i];
		b->session[i] = candidate(b, i, family, &direction);
		b->direction[i] = direction;
		if (encap) /* where the outer header will be written */
			__builtin_prefetch(rte_pktmbuf_mtod(b->m[i], uint8_t *) - 64, 1);
	}
}

static void except(struct path_burst *b, unsigned i, unsigned kind, uint16_t mtu)
{
	b->exceptions[b->exception_count++] = (struct path_exception){ b->m[i], &b->info[i], (uint16_t)kind, mtu };
}

/* What dir->in_iface and dir->epoch must be, as they lie in memory: entered where it should, compiled under today's
 * policy. out_iface, between them, is masked. */
struct validity {
	uint64_t value, mask;
};

static inline uint64_t validity_word(uint16_t in_iface, uint16_t out_iface, uint32_t epoch)
{
	struct session_dir dir = { .in_iface = in_iface, .out_iface = out_iface, .epoch = epoch };

	return load64((const uint8_t *)&dir + offsetof(struct session_dir, in_iface));
}

static inline struct validity validity_of(uint16_t in_iface, const struct path_vpc *vpc)
{
	return (struct validity){ validity_word(in_iface, 0, atomic_load_explicit(&vpc->epoch, memory_order_relaxed)),
				  validity_word(UINT16_MAX, 0, UINT32_MAX) };
}

static inline bool is_valid(const struct session_dir *dir, struct validity validity)
{
	uint64_t word = load64((const uint8_t *)dir + offsetof(struct session_dir, in_iface));

	return ((word ^ validity.value) & validity.mask) == 0;
}

/* A packet from the underlay comes from the tunnel endpoint that the session was compiled for. */
static __rte_always_inline bool vtep_ok(const struct session_dir *dir, const struct packet_info *info, bool uplink)
{
	return !uplink || !dir->tunnel || dir->tunnel == info->outer_tag || dir->ops & SESSION_OP_ENCAP;
}

/* Whatever is not plain sailing: the exact checks, one by one. The candidate may be missing or of another key; the
 * right session is stored. PATH_OK or what to do with the packet. */
static __rte_noinline unsigned judge(struct path *path, unsigned i)
{
	struct path_burst *b = &path->burst;
	struct packet_info *info = &b->info[i];
	const struct path_tunnel *tunnel;
	struct session *session =
		session_lookup_finish(b->table[i], b->session[i], &info->key, info->hash, &b->direction[i]);

	b->session[i] = session ? session : &nobody.session;
	if (!session)
		return PATH_MISS;
	struct session_dir *dir = &session->dir[b->direction[i]];
	if (!is_valid(dir, validity_of(b->in_iface, b->vpc[i])) || dir->ops & SESSION_OP_SLOW ||
	    !vtep_ok(dir, info, b->uplink))
		return PATH_MISS;
	path_info_complete(path, b->m[i], info);
	return path_admit(path, b->m[i], info, dir, b->direction[i], &tunnel);
}

static __rte_always_inline bool matches(const struct session *session, const struct session_dir *dir,
					const struct packet_info *info, bool v6)
{
	if (!v6)
		return dir->rest == info->key.rest && dir->v4_addresses == load64(&info->key.v4);
	return session_matches(session, (unsigned)(dir - session->dir), &info->key);
}

static __rte_always_inline void apply_all(struct path *path, enum family family)
{
	struct path_burst *b = &path->burst;
	struct path_tally tally = { 0 };
	struct validity validity = { 0 };
	unsigned out = path->tx_count;
	const bool uplink = b->uplink;

	for (unsigned i = 0; i < b->count; i++) {
		const struct packet_info *info = &b->info[i];
		const bool v6 = is_v6(family, info);
		struct rte_mbuf *m = b->m[i];
		struct session_dir *dir = &b->session[i]->dir[b->direction[i]];
		const struct path_tunnel *tunnel = NULL;
		if (unlikely(tally.vpc != b->vpc[i])) {
			tally_switch(path, &tally, b->vpc[i]);
			validity = validity_of(b->in_iface, b->vpc[i]);
		}
		if (unlikely(!matches(b->session[i], dir, info, v6) || !is_valid(dir, validity) ||
			     !vtep_ok(dir, info, uplink) ||
			     !path_is_plain(m, rte_pktmbuf_mtod(m, uint8_t *), info->tcp_flags, v6, dir))) {
			unsigned kind = judge(path, i);
			dir = &b->session[i]->dir[b->direction[i]];
			if (kind) {
				except(b, i, kind, dir->mtu);
				continue;
			}
		}
		if (dir->ops & SESSION_OP_ENCAP) {
			tunnel = path_tunnel(path, dir->tunnel);
			if (unlikely(!tunnel || !tunnel->resolved)) {
				except(b, i, PATH_DROPS + DROP_NEIGHBOUR_UNRESOLVED, 0);
				continue;
			}
		}
		path->tx_iface[out] = dir->out_iface;
		m = path_rewrite(path, m, rte_pktmbuf_mtod(m, uint8_t *), info, v6, dir, tunnel, &tally);
		path->tx[out] = m;
		out += m != NULL;
		if (unlikely(!m))
			path_count_drops(path, DROP_NO_BUFFER, b->in_iface, b->vpc[i]->slot, 1);
	}
	path->tx_count = out;
	b->encap = tally.encapsulated;
	if (tally.vpc)
		tally_flush(path, &tally);
}

/* ---- exceptions ---- */

/* Fragments one packet, or applies what an earlier packet of the burst has compiled; sessions may have come and gone
 * since, so look again. */
static void again(struct path *path, struct path_exception *e)
{
	const struct path_vpc *vpc = path_vpc(path, e->info->key.vpc);
	struct session_table *table = path_table(path, &e->info->key, e->info->hash);
	unsigned direction = 0;
	struct session *session = table ? session_find(table, &e->info->key, e->info->hash, &direction) : NULL;
	struct session_dir *dir = session ? &session->dir[direction] : NULL;

	if (!dir || !vpc || !is_valid(dir, validity_of(path->burst.in_iface, vpc)) || dir->ops & SESSION_OP_SLOW ||
	    !vtep_ok(dir, e->info, path->burst.uplink))
		path_except(path, e->m, e->info, PATH_MISS, 0);
	else if (e->kind == PATH_FRAGMENT)
		path_fragment(path, e->m, e->info, dir, direction, vpc);
	else
		path_forward(path, e->m, e->info, session, direction);
}

/* After all hits: only now may sessions be removed and created. */
static void except_all(struct path *path)
{
	struct path_burst *b = &path->burst;
	bool missed = false;

	for (unsigned i = 0; i < b->exception_count; i++) {
		struct path_exception *e = &b->exceptions[i];
		path_info_complete(path, e->m, e->info);
		if (e->kind == PATH_MISS && e->info->flags & PACKET_F_SERVICE)
			e->kind = PATH_POLICY;
		if (e->kind == PATH_FRAGMENT || (e->kind == PATH_MISS && missed))
			again(path, e);
		else
			path_except(path, e->m, e->info, e->kind, e->mtu);
		missed |= e->kind == PATH_MISS || e->kind == PATH_POLICY;
	}
}

static void run_v4(struct path *path)
{
	hash_all(path, FAMILY_V4);
	lookup_all(&path->burst, FAMILY_V4);
	apply_all(path, FAMILY_V4);
}

static void run_v6(struct path *path)
{
	hash_all(path, FAMILY_V6);
	lookup_all(&path->burst, FAMILY_V6);
	apply_all(path, FAMILY_V6);
}

static void run_mixed(struct path *path)
{
	hash_all(path, FAMILY_MIXED);
	lookup_all(&path->burst, FAMILY_MIXED);
	apply_all(path, FAMILY_MIXED);
}

void path_burst_run(struct path *path)
{
	static void (*const run[])(struct path *) = { NULL, run_v4, run_v6, run_mixed };
	struct path_burst *b = &path->burst;

	if (path->tx_count > PATH_TX_QUEUE - PATH_BURST)
		path_flush(path);
	if (b->count)
		run[b->families](path);
	if (unlikely(b->exception_count))
		except_all(path);
}
