/* SPDX-License-Identifier: BSD-3-Clause */
/* `why` of a vNIC or uplink that another service forwards for: the packet in question as a frame, and who answers. */
#include <netinet/in.h>
#include <string.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include "service/vswitch/actions.h"
#include "service/vswitch/vswitch_priv.h"

/* Room for bytes behind what is there; there is always enough for headers. */
static uint8_t *more(struct rte_mbuf *m, unsigned bytes)
{
	return memset(rte_pktmbuf_append(m, bytes), 0, bytes);
}

static void put16(uint8_t *to, unsigned value)
{
	to[0] = (uint8_t)(value >> 8);
	to[1] = (uint8_t)value;
}

static void put_ethernet(struct rte_mbuf *m, const struct why_args *args, const struct mac_addr *src, bool v6)
{
	uint8_t *at = more(m, RTE_ETHER_HDR_LEN);

	memcpy(at, args->dst_mac.bytes, 6);
	memcpy(at + 6, mac_is_zero(&args->src_mac) ? src->bytes : args->src_mac.bytes, 6);
	if (args->vlan) {
		put16(at + 12, RTE_ETHER_TYPE_VLAN);
		put16(more(m, 2), args->vlan);
		at = more(m, 2) - 12;
	}
	put16(at + 12, v6 ? RTE_ETHER_TYPE_IPV6 : RTE_ETHER_TYPE_IPV4);
}

/* Ports, or type and code, where a rule looks for them; as long as the protocol's header. */
static void put_upper(struct rte_mbuf *m, const struct why_args *args, int proto)
{
	bool icmp = proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
	uint8_t *at = more(m, proto == IPPROTO_TCP ? 20 : 8);

	if (icmp) {
		at[0] = proto == IPPROTO_ICMPV6 && args->icmp_type == 8 ? 128 : args->icmp_type;
		at[1] = args->icmp_code;
		put16(at + 4, args->src_port);
		return;
	}
	put16(at, args->src_port);
	put16(at + 2, args->dst_port);
	if (proto == IPPROTO_TCP) {
		at[12] = 5 << 4;
		at[13] = 2; /* SYN */
	} else if (proto == IPPROTO_UDP) {
		put16(at + 4, 8);
	}
}

static void put_ip(struct rte_mbuf *m, const struct why_args *args, const struct ip_addr *src, int proto)
{
	bool v6 = args->dst.family == IP_V6;
	uint16_t upper = proto == IPPROTO_TCP ? 20 : 8;
	uint8_t *at = more(m, v6 ? 40 : 20);

	if (v6) {
		at[0] = 6 << 4;
		put16(at + 4, upper);
		at[6] = (uint8_t)proto;
		at[7] = 64;
		memcpy(at + 8, src->bytes, 16);
		memcpy(at + 24, args->dst.bytes, 16);
		return;
	}
	at[0] = 4 << 4 | 5;
	put16(at + 2, 20u + upper);
	at[8] = 64;
	at[9] = (uint8_t)proto;
	memcpy(at + 12, src->bytes, 4);
	memcpy(at + 16, args->dst.bytes, 4);
	uint16_t sum = rte_ipv4_cksum((const struct rte_ipv4_hdr *)at);
	memcpy(at + 10, &sum, 2);
}

static int build(struct vswitch *vswitch, const struct object *member, const struct why_args *args,
		 struct rte_mbuf **ret, struct dpu_error *err)
{
	static const struct mac_addr none;
	const struct vnic *vnic = member->class == &vnic_class ? (const struct vnic *)member : NULL;
	const struct ip_addr *src = args->src.family != IP_NONE ? &args->src : why_source(vnic, args->dst.family);
	int proto = rule_protocol(args->protocol, args->dst.family == IP_V6 ? RULE_IPV6 : RULE_IPV4);

	if (args->dst.family == IP_NONE)
		return error_set(err, DPU_E_INVALID, "dst", "must be given, or packet");
	if (!src || src->family != args->dst.family)
		return error_set(err, DPU_E_INVALID, "src", "must be given, of the family of dst");
	if (mac_is_zero(&args->dst_mac))
		return error_set(err, DPU_E_INVALID, "dst_mac",
				 "must be given: an eswitch forwards by MAC addresses, too");
	if (proto < 0)
		return error_set(err, DPU_E_INVALID, "protocol", "must be a protocol's name or a number up to 255");
	struct rte_mbuf *m = rte_pktmbuf_alloc(vswitch->dpu->pool);
	if (!m)
		return error_set(err, DPU_E_LIMIT, NULL, "no packet buffer is free");
	put_ethernet(m, args, vnic ? &vnic->mac : &none, args->dst.family == IP_V6);
	put_ip(m, args, src, proto);
	put_upper(m, args, proto);
	*ret = m;
	return 0;
}

int why_member(struct vswitch *vswitch, const struct object *member, const struct why_args *args,
	       struct rte_mbuf *frame, struct action_reply *reply, struct dpu_error *err)
{
	const struct vswitch_members *members = &vswitch->members;
	uint16_t representor = vswitch_member_attachment(member)->representor;
	json_t *result = NULL;
	int rc = frame ? 0 : build(vswitch, member, args, &frame, err);

	if (rc == 0 && (!representor || !members->why))
		rc = error_set(
			err, DPU_E_UNSUPPORTED, member->class->name,
			member->class == &vnic_class
				? "has neither subnet nor representor: all that it sends is dropped, by the name "
				  "unbound-interface"
				: "has no representor: ask by a vNIC, or with vpc for what comes out of a tunnel");
	if (rc == 0)
		rc = members->why(members->ctx, representor, &frame, &result, err);
	rte_pktmbuf_free(frame);
	if (rc == 0)
		action_answer(reply, 0, result, NULL);
	return rc;
}
