/* SPDX-License-Identifier: BSD-3-Clause */
/* Encapsulation records: one per underlay, encapsulation and remote VTEP, counted by the mappings and routes that use
 * it. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>
#include "base/clock.h"
#include "service/vswitch/vswitch_priv.h"

struct tunnel_key {
	uint32_t underlay; /* slot */
	uint32_t kind;
	struct ip_addr vtep;
	uint8_t zero[7];
};

struct tunnel {
	struct tunnel_key key;
	struct control_underlay *underlay;
	struct neighbour *neighbour; /* the VTEP itself, or the next hop towards it */
	struct path_tunnel *record;
	uint32_t index;
	uint32_t users;
	LIST_ENTRY(tunnel) neighbour_link;
};

/* A number that was in use rests until no session that knows it can be in force any more: the epochs of their VPCs have
 * moved, and all workers have passed quiescent states since. */
struct tunnel_rest {
	uint32_t index;
	uint64_t since_ns;
};
static const uint64_t REST_NS = CLOCK_NS_PER_S;

enum { TUNNEL_TTL = 64, TUNNEL_HEADER_BYTES = 8 /* VXLAN, and Geneve without options */ };

static uint8_t *put_ether(uint8_t *at, const struct control_underlay *underlay, const struct mac_addr *to, bool v6)
{
	uint16_t type = htons(v6 ? RTE_ETHER_TYPE_IPV6 : RTE_ETHER_TYPE_IPV4), vlan = htons(RTE_ETHER_TYPE_VLAN);
	uint16_t tag = htons(underlay->object->vlan);

	memcpy(at, to->bytes, 6);
	memcpy(at + 6, underlay->record->mac.bytes, 6);
	at += 12;
	if (underlay->object->vlan) {
		memcpy(at, &vlan, 2);
		memcpy(at + 2, &tag, 2);
		at += 4;
	}
	memcpy(at, &type, 2);
	return at + 2;
}

static uint8_t *put_ip(uint8_t *at, const struct ip_addr *from, const struct ip_addr *to)
{
	if (from->family == IP_V4) {
		struct rte_ipv4_hdr ip = { .version_ihl = 0x45,
					   .fragment_offset = htons(RTE_IPV4_HDR_DF_FLAG),
					   .time_to_live = TUNNEL_TTL,
					   .next_proto_id = IPPROTO_UDP };

		memcpy(&ip.src_addr, from->bytes, 4);
		memcpy(&ip.dst_addr, to->bytes, 4);
		ip.hdr_checksum = rte_ipv4_cksum(&ip);
		memcpy(at, &ip, sizeof(ip));
		return at + sizeof(ip);
	}
	struct rte_ipv6_hdr ip = { .vtc_flow = htonl(6u << 28), .proto = IPPROTO_UDP, .hop_limits = TUNNEL_TTL };

	memcpy(&ip.src_addr, from->bytes, 16);
	memcpy(&ip.dst_addr, to->bytes, 16);
	memcpy(at, &ip, sizeof(ip));
	return at + sizeof(ip);
}

static struct path_tunnel *record_new(const struct tunnel *tunnel)
{
	static const uint8_t vxlan[TUNNEL_HEADER_BYTES] = { 0x08 },
			     geneve[TUNNEL_HEADER_BYTES] = { [2] = 0x65, [3] = 0x58 };
	const struct control_underlay *underlay = tunnel->underlay;
	const struct mac_addr *mac = neighbour_mac(tunnel->neighbour), none = { 0 };
	struct path_tunnel *record = control_alloc(sizeof(*record));
	bool geneve_kind = tunnel->key.kind == TUNNEL_GENEVE;
	struct rte_udp_hdr udp = { .dst_port = htons(geneve_kind ? GENEVE_PORT : VXLAN_PORT) };
	uint8_t *at;

	record->index = tunnel->index;
	record->kind = tunnel->key.kind;
	record->v6 = tunnel->key.vtep.family == IP_V6;
	record->udp_checksum = record->v6; /* RFC 6935 allows zero, but Linux drops it unless told otherwise */
	record->resolved = mac != NULL;
	record->out_iface = underlay->record->iface;
	at = put_ether(record->header, underlay, mac ? mac : &none, record->v6);
	record->l3_offset = at - record->header;
	at = put_ip(at, &underlay->object->address, &tunnel->key.vtep);
	memcpy(at, &udp, sizeof(udp));
	at += sizeof(udp);
	memcpy(at, geneve_kind ? geneve : vxlan, TUNNEL_HEADER_BYTES);
	record->length = at + TUNNEL_HEADER_BYTES - record->header;
	return record;
}

static void tunnel_publish(struct vswitch *vswitch, struct tunnel *tunnel)
{
	struct path_tunnel *old = tunnel->record;

	tunnel->record = record_new(tunnel);
	atomic_store_explicit(&vswitch->dp.config->tunnels[tunnel->index], tunnel->record, memory_order_release);
	if (old)
		retire(vswitch, old);
}

/* The address that must answer ARP or ND for packets to vtep to leave. */
static const struct ip_addr *next_hop(const struct underlay *underlay, const struct ip_addr *vtep)
{
	const struct ip_prefix on_link = { .addr = underlay->address, .length = underlay->prefix_length };

	return underlay->next_hop.family == IP_NONE || ip_prefix_contains(&on_link, vtep) ? vtep : &underlay->next_hop;
}

static struct tunnel_rest *rest_at(struct vswitch *vswitch, size_t number)
{
	return &vswitch->tunnel_free[(vswitch->tunnel_free_head + number) % vswitch->tunnel_free_room];
}

static uint32_t index_take(struct vswitch *vswitch)
{
	if (vswitch->tunnel_free_count > 0 && clock_ns() - rest_at(vswitch, 0)->since_ns >= REST_NS) {
		uint32_t index = rest_at(vswitch, 0)->index;

		vswitch->tunnel_free_head = (vswitch->tunnel_free_head + 1) % vswitch->tunnel_free_room;
		vswitch->tunnel_free_count--;
		return index;
	}
	return vswitch->tunnel_next < PATH_MAX_TUNNELS ? vswitch->tunnel_next++ : 0;
}

static void index_give(struct vswitch *vswitch, uint32_t index)
{
	if (vswitch->tunnel_free_count == vswitch->tunnel_free_room) {
		size_t room = vswitch->tunnel_free_room ? 2 * vswitch->tunnel_free_room : 64;
		struct tunnel_rest *bigger = control_alloc(room * sizeof(*bigger));

		for (size_t i = 0; i < vswitch->tunnel_free_count; i++)
			bigger[i] = *rest_at(vswitch, i);
		free(vswitch->tunnel_free);
		vswitch->tunnel_free = bigger;
		vswitch->tunnel_free_head = 0;
		vswitch->tunnel_free_room = room;
	}
	*rest_at(vswitch, vswitch->tunnel_free_count++) =
		(struct tunnel_rest){ .index = index, .since_ns = clock_ns() };
}

static void neighbour_attach(struct vswitch *vswitch, struct tunnel *tunnel)
{
	tunnel->neighbour =
		neighbour_get(vswitch, tunnel->underlay, next_hop(tunnel->underlay->object, &tunnel->key.vtep));
	LIST_INSERT_HEAD(neighbour_tunnels(tunnel->neighbour), tunnel, neighbour_link);
}

struct tunnel *tunnel_get(struct vswitch *vswitch, struct control_underlay *underlay, enum tunnel_kind kind,
			  const struct ip_addr *vtep)
{
	struct tunnel_key key = { .underlay = underlay->object->base.slot, .kind = kind, .vtep = *vtep };
	struct tunnel *tunnel = rcu_map_find(vswitch->tunnels, &key);
	uint32_t index;

	if (tunnel) {
		tunnel->users++;
		return tunnel;
	}
	index = index_take(vswitch);
	if (index == 0)
		return NULL;
	tunnel = control_alloc(sizeof(*tunnel));
	*tunnel = (struct tunnel){ .key = key, .underlay = underlay, .index = index, .users = 1 };
	if (rcu_map_set(vswitch->tunnels, &tunnel->key, tunnel, NULL) != 0)
		abort();
	neighbour_attach(vswitch, tunnel);
	underlay->tunnels++;
	tunnel_publish(vswitch, tunnel);
	return tunnel;
}

void tunnel_put(struct vswitch *vswitch, struct tunnel *tunnel)
{
	if (!tunnel || --tunnel->users > 0)
		return;
	rcu_map_remove(vswitch->tunnels, &tunnel->key);
	tunnel->underlay->tunnels--;
	atomic_store_explicit(&vswitch->dp.config->tunnels[tunnel->index], NULL, memory_order_release);
	retire(vswitch, tunnel->record);
	index_give(vswitch, tunnel->index);
	LIST_REMOVE(tunnel, neighbour_link);
	neighbour_put(vswitch, tunnel->neighbour);
	free(tunnel);
}

uint32_t tunnel_index(const struct tunnel *tunnel)
{
	return tunnel->index;
}

void tunnels_of_neighbour(struct vswitch *vswitch, struct neighbour *neighbour)
{
	struct tunnel *tunnel;

	LIST_FOREACH(tunnel, neighbour_tunnels(neighbour), neighbour_link)
	{
		tunnel_publish(vswitch, tunnel);
	}
}

struct republish {
	struct vswitch *vswitch;
	struct control_underlay *underlay;
};

static int republish_one(void *arg, const void *key, void *value)
{
	struct republish *republish = arg;
	struct tunnel *tunnel = value;
	struct neighbour *former = tunnel->neighbour;

	(void)key;
	if (tunnel->underlay != republish->underlay)
		return 0;
	LIST_REMOVE(tunnel, neighbour_link);
	neighbour_attach(republish->vswitch, tunnel);
	neighbour_put(republish->vswitch, former);
	tunnel_publish(republish->vswitch, tunnel);
	return 0;
}

void tunnels_of_underlay(struct vswitch *vswitch, struct control_underlay *underlay)
{
	struct republish republish = { .vswitch = vswitch, .underlay = underlay };

	rcu_map_each(vswitch->tunnels, republish_one, &republish);
}

static int count_resolved(void *arg, const void *key, void *value)
{
	struct underlay *copy = arg;
	const struct tunnel *tunnel = value;

	(void)key;
	if (tunnel->underlay->object->base.slot == copy->base.slot)
		copy->tunnels_resolved += tunnel->record->resolved;
	return 0;
}

void control_underlay_observe(void *ctx, const struct object *object, struct object *copy)
{
	struct vswitch *vswitch = ctx;
	struct control_underlay *underlay = object->runtime;
	struct underlay *out = (struct underlay *)copy;

	out->tunnels = underlay->tunnels;
	out->tunnels_resolved = 0;
	rcu_map_each(vswitch->tunnels, count_resolved, out);
	out->mac = underlay->record->mac;
	const struct mac_addr *mac = underlay->next_hop ? neighbour_mac(underlay->next_hop) : NULL;

	out->resolved = mac || !underlay->next_hop;
	if (mac)
		out->next_hop_mac = *mac;
}
