/* SPDX-License-Identifier: BSD-3-Clause */
/* ICMP errors that tenants and routers send: let through to the flow that they are about, and nowhere else. */
#include "service/vswitch/datapath_priv.h"

enum { ICMP4_REDIRECT = 5 };

static enum drop_reason check_sender(const struct dp_worker *worker, const struct packet_info *info,
				     const struct flow_key *about)
{
	const struct dp_vpc *vpc = dp_vpc_of(worker->dp, info->key.vpc);
	struct ip_addr src, dst;
	key_addresses(&info->key, &src, &dst);
	const struct dp_vnic *vnic = dp_vnic_of(worker->dp, info->in_iface);
	if (vnic)
		return vnic->port_security && !vnic_owns(vnic, &src) ? DROP_SPOOFED_ADDRESS : DROP_NONE;
	/* A router on the way, whose address is nobody's, sends from behind the VTEP that the flow goes to. */
	struct flow_key answer;
	flow_key_reverse(about, &answer);
	if (vtep_is_right(vpc, &info->key, &info->outer_src) || vtep_is_right(vpc, &answer, &info->outer_src))
		return DROP_NONE;
	return DROP_SPOOFED_TUNNEL;
}

/* The error goes to the sender of the packet that it quotes. */
static bool is_addressed_right(const struct packet_info *info, const struct flow_key *about)
{
	struct ip_addr src, dst, quoted_src, quoted_dst;
	key_addresses(&info->key, &src, &dst);
	key_addresses(about, &quoted_src, &quoted_dst);
	return ip_equal(&dst, &quoted_src);
}

static enum drop_reason relate(struct dp_worker *worker, struct packet_info *info, const struct flow_key *about,
			       uint32_t hash, struct session *ret, unsigned *ret_direction)
{
	struct session_table *table = path_table(worker->path, about, hash);
	unsigned direction;
	struct session *session = table ? session_find(table, about, hash, &direction) : NULL;
	if (!session)
		return DROP_ICMP_UNRELATED;
	/* The quoted packet went one way, the error takes the other. */
	unsigned back = !direction;
	enum drop_reason reason = check_sender(worker, info, about);
	if (!reason && session_is_stale(worker, session, back, info->key.vpc))
		reason = session_refresh(worker, table, session, back, info);
	if (reason)
		return reason;
	struct ip_addr src, dst;
	key_addresses(&info->key, &src, &dst);
	if (ip_is_link_local(&src) && session->dir[back].ops & SESSION_OP_DEC_TTL)
		return DROP_BAD_SOURCE; /* it would leave its link */
	bool uplinks = info->flags & PACKET_F_TUNNELLED && !dp_vnic_of(worker->dp, session->dir[back].in_iface);
	if (session->dir[back].in_iface != info->in_iface && !uplinks)
		return DROP_ICMP_UNRELATED;
	*ret = *session;
	*ret_direction = back;
	return DROP_NONE;
}

void icmp_error_input(struct dp_worker *worker, struct rte_mbuf *m, struct packet_info *info)
{
	struct flow_key about;
	/* The key says nothing about flows whose fragment session is one-way, and redirects are for neighbours. */
	bool redirect = info->flags & PACKET_F_IPV4 && info->icmp_type == ICMP4_REDIRECT;
	if (redirect || !packet_parse_icmp_error(m, info, &about) || about.flags & FLOW_KEY_F_FRAGMENT ||
	    !is_addressed_right(info, &about)) {
		path_drop(worker->path, m, DROP_ICMP_UNRELATED, info->in_iface, info->key.vpc);
		return;
	}
	uint32_t hash = flow_key_hash(&about, path_seed(worker->path));
	unsigned owner = worker_of_hash(worker, hash);
	if (owner != worker->index) {
		worker_handoff_miss(worker, owner, m, info);
		return;
	}
	/* A copy: an error neither keeps a session alive nor counts as its traffic nor moves its TCP state. */
	struct session session;
	unsigned direction;
	enum drop_reason reason = relate(worker, info, &about, hash, &session, &direction);
	if (reason) {
		path_drop(worker->path, m, reason, info->in_iface, info->key.vpc);
		return;
	}
	session.dir[direction].ops &= ~SESSION_OP_TRACK;
	path_forward(worker->path, m, info, &session, direction);
}
