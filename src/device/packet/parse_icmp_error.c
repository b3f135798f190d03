/* SPDX-License-Identifier: BSD-3-Clause */
/* The flow that an ICMP error complains about: reads the packet embedded in it (RFC 792, RFC 4443 3). */
#include "device/packet/parse_priv.h"

enum {
	EMBEDDED_BYTES = 256, /* as much of the embedded packet as is looked at */
	MAX_EXTENSION_HEADERS = 8,
};

static bool embedded_ipv4(const uint8_t *ip, uint32_t length, struct flow_key *key)
{
	if (length < IPV4_BYTES || ip[0] >> 4 != 4)
		return false;
	uint32_t header = (ip[0] & 15) * 4;
	uint16_t fragment = load_be16(ip + 6);
	if (header < IPV4_BYTES || header + 8 > length)
		return false;
	key->proto = ip[9];
	memcpy(&key->v4, ip + 12, 8);
	if (fragment & IPV4_OFFSET) {
		key->flags |= FLOW_KEY_F_FRAGMENT;
		key->dst_port = load16(ip + 4);
	} else {
		flow_key_set_ports(key, ip + header);
	}
	return true;
}

static bool embedded_ipv6(const uint8_t *ip, uint32_t length, struct flow_key *key)
{
	if (length < IPV6_BYTES || ip[0] >> 4 != 6)
		return false;
	uint32_t offset = IPV6_BYTES;
	key->flags = FLOW_KEY_F_V6;
	key->proto = ip[6];
	memcpy(&key->v6, ip + 8, 32);
	for (unsigned i = 0; i <= MAX_EXTENSION_HEADERS; i++) {
		if (offset + 8 > length)
			return false;
		const uint8_t *header = ip + offset;
		switch (key->proto) {
		case IPPROTO_FRAGMENT:
			if (load16(header + 2) & RTE_BE16(0xfff8)) {
				key->flags |= FLOW_KEY_F_FRAGMENT;
				memcpy(&key->src_port, header + 4, 4);
				return true; /* proto stays 44: packet_fragment_key() */
			}
			key->proto = header[0];
			offset += IPV6_FRAGMENT_BYTES;
			continue;
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
			key->proto = header[0];
			offset += (header[1] + 1) * 8u;
			continue;
		default:
			flow_key_set_ports(key, header);
			return true;
		}
	}
	return false;
}

bool packet_parse_icmp_error(const struct rte_mbuf *m, const struct packet_info *info, struct flow_key *ret)
{
	uint8_t buffer[EMBEDDED_BYTES];
	struct flow_key key = { .vpc = info->key.vpc };
	uint32_t end = info->l3_offset + info->l3_length;

	if (!(info->flags & PACKET_F_ICMP_ERROR) || info->payload_offset >= end)
		return false;
	uint32_t length = RTE_MIN(end - info->payload_offset, (uint32_t)sizeof(buffer));
	const uint8_t *ip = rte_pktmbuf_read(m, info->payload_offset, length, buffer);
	if (!ip)
		return false;
	bool ok = info->flags & PACKET_F_IPV4 ? embedded_ipv4(ip, length, &key) : embedded_ipv6(ip, length, &key);
	if (ok)
		*ret = key;
	return ok;
}
