/* SPDX-License-Identifier: BSD-3-Clause */
/* Fragments without reassembly: the session that a first fragment leaves for the later ones, and the queue of those
 * that came too early. */
#include "service/vswitch/datapath_priv.h"

#include "base/clock.h"

#define HOLD_NS CLOCK_NS_PER_S

static void drop(struct dp_worker *worker, struct rte_mbuf *m, const struct packet_info *info, enum drop_reason reason)
{
	path_drop(worker->path, m, reason, info->in_iface, info->key.vpc);
}

/* ---- the session of the later fragments ---- */

static struct session *session_for(struct dp_worker *worker, struct session_table *table,
				   const struct fragment_note *note, enum drop_reason *ret_reason)
{
	unsigned direction;
	struct session *session = session_find(table, &note->key, note->hash, &direction);
	if (session)
		return session;
	struct dp_verdict holders = { .src_vnic = note->vnic[0], .dst_vnic = note->vnic[1], .tenant = note->tenant };
	uint16_t flags;
	*ret_reason = quota_take(&worker->quota, &holders, path_now_ns(worker->path), &flags);
	if (*ret_reason)
		return NULL;
	session = session_new(table, &note->key, note->hash, path_now(worker->path));
	struct session unborn = { 0 }, *charged = session ? session : &unborn;
	charged->vnic[0] = note->vnic[0];
	charged->vnic[1] = note->vnic[1];
	charged->tenant = note->tenant;
	charged->policy_flags = flags;
	if (!session) {
		quota_give(&worker->quota, &unborn);
		*ret_reason = DROP_SESSION_TABLE_FULL;
		return NULL;
	}
	session_publish(table, session, session_initial_timeout(&note->key));
	return session;
}

static enum drop_reason admit(struct dp_worker *worker, const struct fragment_note *note)
{
	enum drop_reason reason = DROP_SESSION_TABLE_FULL;
	struct session_table *table = path_table(worker->path, &note->key, note->hash);
	struct session *session = table ? session_for(worker, table, note, &reason) : NULL;
	if (!session)
		return reason;
	session_set_action(session, flow_key_direction(&note->key), &note->action);
	return DROP_NONE;
}

static enum drop_reason tell(struct dp_worker *worker, unsigned owner, const struct fragment_note *note)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(worker->pool);
	struct fragment_note *copy = m ? (void *)rte_pktmbuf_append(m, sizeof(*copy)) : NULL;
	if (!copy) {
		rte_pktmbuf_free(m);
		return DROP_NO_BUFFER;
	}
	memcpy(copy, note, sizeof(*copy));
	worker_handoff(worker, owner, m, HANDOFF_FRAGMENT, note->action.in_iface);
	return DROP_NONE;
}

enum drop_reason fragments_first(struct dp_worker *worker, const struct packet_info *info,
				 const struct session *session, unsigned direction)
{
	struct fragment_note note = {
		.action = session->dir[direction],
		.vnic = { session->vnic[0], session->vnic[1] },
		.tenant = session->tenant,
	};
	packet_fragment_key(info, &note.key);
	note.hash = flow_key_hash(&note.key, path_seed(worker->path));
	unsigned owner = worker_of_hash(worker, note.hash);
	return owner == worker->index ? admit(worker, &note) : tell(worker, owner, &note);
}

/* ---- the queue ---- */

static void take_out(struct fragment_hold *hold, unsigned at)
{
	hold->count--;
	memmove(&hold->held[at], &hold->held[at + 1], (hold->count - at) * sizeof(hold->held[0]));
}

static void release(struct dp_worker *worker, const struct flow_key *key, uint32_t hash)
{
	struct fragment_hold *hold = &worker->fragments;
	if (!hold->count)
		return;
	struct session_table *table = path_table(worker->path, key, hash);
	unsigned direction;
	struct session *session = table ? session_find(table, key, hash, &direction) : NULL;
	if (!session)
		return;
	for (unsigned i = 0; i < hold->count;) {
		struct fragment_held held = hold->held[i];
		if (!flow_key_equal(&held.info.key, key) || held.info.in_iface != session->dir[direction].in_iface ||
		    !session_vtep_is_right(&session->dir[direction], &held.info)) {
			i++;
			continue;
		}
		take_out(hold, i);
		path_forward(worker->path, held.m, &held.info, session, direction);
	}
}

void fragments_release(struct dp_worker *worker, const struct packet_info *info)
{
	struct flow_key key;
	packet_fragment_key(info, &key);
	release(worker, &key, flow_key_hash(&key, path_seed(worker->path)));
}

void fragments_note(struct dp_worker *worker, const struct fragment_note *note)
{
	if (admit(worker, note) == DROP_NONE)
		release(worker, &note->key, note->hash);
}

static void hold_back(struct dp_worker *worker, struct rte_mbuf *m, const struct packet_info *info)
{
	struct fragment_hold *hold = &worker->fragments;
	unsigned of_iface = 0;
	for (unsigned i = 0; i < hold->count; i++)
		of_iface += hold->held[i].info.in_iface == info->in_iface;
	if (hold->count == FRAGMENT_HOLD || of_iface >= FRAGMENT_HOLD_PER_IFACE) {
		drop(worker, m, info, DROP_FRAGMENT_NO_FIRST);
		return;
	}
	hold->held[hold->count++] = (struct fragment_held){
		.m = m,
		.deadline_ns = path_now_ns(worker->path) + HOLD_NS,
		.info = *info,
	};
}

void fragments_later(struct dp_worker *worker, struct rte_mbuf *m, struct packet_info *info)
{
	struct ip_addr src, dst;
	key_addresses(&info->key, &src, &dst);
	const struct dp_vnic *vnic = dp_vnic_of(worker->dp, info->in_iface);
	if (vnic && vnic->port_security && !vnic_owns(vnic, &src)) {
		drop(worker, m, info, DROP_SPOOFED_ADDRESS);
		return;
	}
	struct session_table *table = path_table(worker->path, &info->key, info->hash);
	unsigned direction;
	struct session *session = table ? session_find(table, &info->key, info->hash, &direction) : NULL;
	if (session && session->dir[direction].in_iface == info->in_iface &&
	    session_vtep_is_right(&session->dir[direction], info) &&
	    !session_is_stale(worker, session, direction, info->key.vpc))
		path_forward(worker->path, m, info, session, direction);
	else
		hold_back(worker, m, info);
}

uint64_t fragments_tick(struct dp_worker *worker, uint64_t now_ns)
{
	struct fragment_hold *hold = &worker->fragments;
	while (hold->count && hold->held[0].deadline_ns <= now_ns) {
		drop(worker, hold->held[0].m, &hold->held[0].info, DROP_FRAGMENT_NO_FIRST);
		take_out(hold, 0);
	}
	return hold->count ? hold->held[0].deadline_ns : UINT64_MAX;
}

void fragments_clear(struct dp_worker *worker)
{
	for (unsigned i = 0; i < worker->fragments.count; i++)
		rte_pktmbuf_free(worker->fragments.held[i].m);
	worker->fragments.count = 0;
}
