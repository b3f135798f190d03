/* SPDX-License-Identifier: BSD-3-Clause */
/* The miss path: a packet without a valid session gets one, or its fate. Also what keeps sessions true to the
 * configuration: evaluation again when the VPC's epoch has moved, or when packets arrive by another way. */
#include "service/vswitch/datapath_priv.h"

#include <netinet/in.h>

enum { TCP_FIN = 0x01, TCP_SYN = 0x02, TCP_RST = 0x04, TCP_ACK = 0x10 };
enum { ICMP4_ECHO_REPLY = 0, ICMP6_ECHO_REPLY = 129 };

static void drop(struct dp_worker *worker, struct rte_mbuf *m, const struct packet_info *info, enum drop_reason reason)
{
	path_drop(worker->path, m, reason, info->in_iface, info->key.vpc);
}

static bool is_uplink(const struct dp_worker *worker, uint16_t iface)
{
	const struct path_iface *record =
		atomic_load_explicit(&worker->dp->config->ifaces[iface], memory_order_acquire);
	return record && record->kind == PATH_IFACE_UPLINK;
}

bool session_is_stale(const struct dp_worker *worker, const struct session *session, unsigned direction, uint16_t vpc)
{
	const struct dp_vpc *record = dp_vpc_of(worker->dp, vpc);
	return !record ||
	       session->dir[direction].epoch != atomic_load_explicit(&record->path.epoch, memory_order_acquire);
}

bool session_vtep_is_right(const struct session_dir *dir, const struct packet_info *info)
{
	return !(info->flags & PACKET_F_TUNNELLED) || !dir->tunnel || dir->tunnel == info->outer_tag;
}

static void session_set(struct session *session, const struct dp_verdict *verdict)
{
	unsigned first = session->initiator;
	session_set_action(session, first, &verdict->forward);
	session_set_action(session, !first, &verdict->reverse);
	session->vnic[0] = verdict->src_vnic;
	session->vnic[1] = verdict->dst_vnic;
	session->tenant = verdict->tenant;
	session->rule[0] = verdict->rule[0];
	session->rule[1] = verdict->rule[1];
}

/* ---- evaluating again ---- */

/* Where the initiator's packets would come in by now, when it is the other side that has just sent one: the address may
 * have moved between hosts since the session was made. */
static uint16_t initiator_iface(const struct dp_worker *worker, const struct flow_key *key, uint16_t before)
{
	const struct dp_vpc *vpc = dp_vpc_of(worker->dp, key->vpc);
	struct ip_addr src, dst;
	key_addresses(key, &src, &dst);
	const struct dp_endpoint *owner = vpc ? dp_endpoint_find(vpc, &src) : NULL;
	if (!owner)
		return before;
	if (owner->kind == DP_ENDPOINT_LOCAL)
		return is_uplink(worker, before) ? owner->iface : before;
	const struct dp_vnic *vnic = dp_vnic_of(worker->dp, before);
	if (is_uplink(worker, before) || (vnic && !vnic->port_security))
		return before;
	const struct path_tunnel *tunnel =
		owner->tunnel < PATH_MAX_TUNNELS
			? atomic_load_explicit(&worker->dp->config->tunnels[owner->tunnel], memory_order_acquire)
			: NULL;
	return tunnel ? tunnel->out_iface : before;
}

static bool is_spoof(enum drop_reason reason)
{
	return reason == DROP_SPOOFED_MAC || reason == DROP_SPOOFED_ADDRESS || reason == DROP_SPOOFED_TUNNEL;
}

static void charge_again(struct dp_worker *worker, struct session *session, const struct dp_verdict *verdict)
{
	bool moved = session->vnic[0] != verdict->src_vnic || session->vnic[1] != verdict->dst_vnic ||
		     session->tenant != verdict->tenant;
	if (moved)
		quota_give(&worker->quota, session);
	session_set(session, verdict);
	if (moved)
		quota_charge(&worker->quota, session);
}

/* Whether an answer may come in where this one did: from another uplink as well as from the expected one, but from no
 * other vNIC. */
static enum drop_reason accept_reply(const struct dp_worker *worker, struct session_dir *dir,
				     const struct packet_info *info, const struct dp_verdict *verdict)
{
	if (verdict->reverse_drop)
		return verdict->reverse_drop;
	bool tunnelled = info->flags & PACKET_F_TUNNELLED;
	if (dir->in_iface != info->in_iface && (!tunnelled || !is_uplink(worker, dir->in_iface)))
		return tunnelled ? DROP_SPOOFED_TUNNEL : DROP_SPOOFED_ADDRESS;
	if (tunnelled && !vtep_is_right(dp_vpc_of(worker->dp, info->key.vpc), &info->key, &info->outer_src))
		return DROP_SPOOFED_TUNNEL;
	dir->in_iface = info->in_iface;
	return DROP_NONE;
}

enum drop_reason session_refresh(struct dp_worker *worker, struct session_table *table, struct session *session,
				 unsigned direction, const struct packet_info *info)
{
	bool from_initiator = direction == session->initiator;
	uint16_t before = session->dir[session->initiator].in_iface;
	struct flow_key key;
	session_key(table, session, session->initiator, &key);
	uint16_t in_iface = from_initiator ? info->in_iface : initiator_iface(worker, &key, before);
	const struct ip_addr *outer_src = from_initiator && info->flags & PACKET_F_TUNNELLED ? &info->outer_src : NULL;

	struct dp_verdict verdict;
	verdict.steps = NULL;
	dp_evaluate(worker->dp, &key, in_iface, outer_src, NULL, &verdict);
	if (verdict.drop) {
		/* One who only pretends to be the initiator does not end the session of the right one. */
		bool elsewhere = in_iface != before && !(is_uplink(worker, in_iface) && is_uplink(worker, before));
		if (!from_initiator || !(elsewhere || is_spoof(verdict.drop)))
			session_remove(table, session);
		return verdict.drop;
	}
	charge_again(worker, session, &verdict);
	return from_initiator ? DROP_NONE : accept_reply(worker, &session->dir[direction], info, &verdict);
}

/* ---- packets ---- */

static void forward(struct dp_worker *worker, struct rte_mbuf *m, const struct packet_info *info,
		    struct session *session, unsigned direction)
{
	bool first_fragment = info->flags & PACKET_F_FRAGMENT;
	enum drop_reason reason = first_fragment ? fragments_first(worker, info, session, direction) : DROP_NONE;
	if (reason) {
		drop(worker, m, info, reason);
		return;
	}
	struct packet_info kept = *info;
	path_forward(worker->path, m, info, session, direction);
	if (first_fragment)
		fragments_release(worker, &kept);
}

/* A packet of a session that the fast path would not take. */
static void known_flow(struct dp_worker *worker, struct session_table *table, struct session *session,
		       unsigned direction, struct rte_mbuf *m, struct packet_info *info)
{
	enum drop_reason reason = DROP_NONE;
	const struct session_dir *dir = &session->dir[direction];
	if (session_is_stale(worker, session, direction, info->key.vpc) || dir->in_iface != info->in_iface ||
	    !session_vtep_is_right(dir, info))
		reason = session_refresh(worker, table, session, direction, info);
	if (reason)
		drop(worker, m, info, reason);
	else
		forward(worker, m, info, session, direction);
}

enum drop_reason packet_opens_flow(const struct packet_info *info)
{
	if (info->key.proto == IPPROTO_TCP)
		return (info->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN ? DROP_NONE
											      : DROP_TCP_INVALID;
	bool v4 = info->flags & PACKET_F_IPV4;
	if (info->key.proto == (v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6) &&
	    info->icmp_type == (v4 ? ICMP4_ECHO_REPLY : ICMP6_ECHO_REPLY))
		return DROP_ICMP_UNRELATED;
	return DROP_NONE;
}

static enum drop_reason session_open(struct dp_worker *worker, struct session_table *table,
				     const struct packet_info *info, const struct dp_verdict *verdict,
				     struct session **ret)
{
	uint16_t flags;
	enum drop_reason reason = quota_take(&worker->quota, verdict, path_now_ns(worker->path), &flags);
	if (reason)
		return reason;
	struct session *session = session_new(table, &info->key, info->hash, path_now(worker->path));
	if (!session) {
		struct session unborn = {
			.vnic = { verdict->src_vnic, verdict->dst_vnic },
			.tenant = verdict->tenant,
			.policy_flags = flags,
		};
		quota_give(&worker->quota, &unborn);
		return DROP_SESSION_TABLE_FULL;
	}
	session->policy_flags = flags;
	session_set(session, verdict);
	session_publish(table, session, session_initial_timeout(&info->key));
	path_count_session(worker->path, info->key.vpc);
	*ret = session;
	return DROP_NONE;
}

static void new_flow(struct dp_worker *worker, struct session_table *table, struct rte_mbuf *m,
		     struct packet_info *info)
{
	struct dp_verdict verdict;
	struct session *session;
	verdict.steps = NULL;
	enum drop_reason reason = packet_opens_flow(info);
	if (!reason && !quota_may_miss(&worker->quota, info->in_iface, path_now_ns(worker->path)))
		reason = DROP_SESSION_RATE;
	if (!reason) {
		/* The path has checked the source MAC. */
		dp_evaluate(worker->dp, &info->key, info->in_iface,
			    info->flags & PACKET_F_TUNNELLED ? &info->outer_src : NULL, NULL, &verdict);
		reason = verdict.drop;
	}
	if (reason == DROP_SERVICE_HANDLED && first_hop_input(worker, m, info))
		return;
	if (!reason && info->ttl <= 1 && verdict.forward.ops & SESSION_OP_DEC_TTL) {
		icmp_send_ttl_expired(worker, worker->path, m, info);
		return;
	}
	if (!reason)
		reason = session_open(worker, table, info, &verdict, &session);
	if (reason)
		drop(worker, m, info, reason);
	else
		forward(worker, m, info, session, session->initiator);
}

/* For one of our own addresses, or for none that a flow may go to. */
static bool is_for_first_hop(const struct dp_worker *worker, const struct packet_info *info)
{
	if (info->flags & (PACKET_F_SERVICE | PACKET_F_ARP | PACKET_F_MULTICAST))
		return true;
	struct ip_addr src, dst;
	key_addresses(&info->key, &src, &dst);
	if (ip_is_link_local(&dst))
		return true;
	const struct dp_vnic *vnic = dp_vnic_of(worker->dp, info->in_iface);
	const struct dp_subnet *subnet = vnic ? vnic->subnet : NULL;
	return subnet && (ip_equal(&dst, &subnet->gateway_v4) || ip_equal(&dst, &subnet->gateway_v6));
}

void miss_input(void *ctx, struct path *path, struct rte_mbuf *m, struct packet_info *info)
{
	struct dp_worker *worker = ctx;
	if (is_for_first_hop(worker, info)) {
		if (first_hop_input(worker, m, info))
			return;
		if (info->flags & (PACKET_F_MULTICAST | PACKET_F_ARP)) {
			drop(worker, m, info, DROP_MULTICAST);
			return;
		}
	}
	if (!(info->flags & (PACKET_F_IPV4 | PACKET_F_IPV6))) {
		drop(worker, m, info, DROP_NOT_IP);
		return;
	}
	if (info->flags & PACKET_F_ICMP_ERROR) {
		icmp_error_input(worker, m, info);
		return;
	}
	if (info->flags & PACKET_F_LATER) {
		fragments_later(worker, m, info);
		return;
	}
	struct session_table *table = path_table(path, &info->key, info->hash);
	if (!table) {
		/* One that looked like a request to a first-hop service, wherever its session belongs. */
		worker_handoff_miss(worker, worker_of_hash(worker, info->hash), m, info);
		return;
	}
	unsigned direction;
	struct session *session = session_find(table, &info->key, info->hash, &direction);
	if (session)
		known_flow(worker, table, session, direction, m, info);
	else
		new_flow(worker, table, m, info);
}
