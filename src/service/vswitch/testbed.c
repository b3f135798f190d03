/* SPDX-License-Identifier: BSD-3-Clause */
/* The hand-made switch of the tests. */
#include "service/vswitch/testbed.h"

#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"

static void fail(const char *what)
{
	fprintf(stderr, "testbed: %s\n", what);
	abort();
}

static void *keep(struct bed *bed, size_t bytes)
{
	void *memory = aligned_alloc(64, RTE_ALIGN_CEIL(bytes, 64));
	if (!memory || bed->garbage_count == BED_GARBAGE)
		fail("no memory");
	memset(memory, 0, bytes);
	bed->garbage[bed->garbage_count++] = memory;
	return memory;
}

static struct ip_prefix prefix_of(const char *text)
{
	struct ip_prefix prefix = { 0 };
	if (text && *text && ip_prefix_parse(text, &prefix))
		fail(text);
	return prefix;
}

static struct ip_addr ip_of(const char *text)
{
	return text && *text ? test_ip(text) : (struct ip_addr){ 0 };
}

static void free_now(void *ctx, void (*free_fn)(void *), void *memory)
{
	free_fn(memory);
}

/* ---- ports ---- */

static unsigned port_rx(struct port *port, unsigned queue, struct rte_mbuf **packets, unsigned max)
{
	return 0;
}

static unsigned port_tx(struct port *port, unsigned queue, struct rte_mbuf **packets, unsigned count,
			struct port_tx_result *ret)
{
	struct bed_port *bed_port = (struct bed_port *)port;
	unsigned taken = 0;
	bed_port->calls++;
	while (taken < count && bed_port->room) {
		if (bed_port->count == BED_SENT)
			fail("frames sent and not fetched");
		bed_port->sent[(bed_port->first + bed_port->count++) % BED_SENT] = packets[taken];
		ret->packets++;
		ret->bytes += packets[taken++]->pkt_len;
		if (bed_port->room != UINT32_MAX)
			bed_port->room--;
	}
	return taken;
}

static const struct port_ops port_ops = { .kind = "test", .rx = port_rx, .tx = port_tx };

static void port_open(struct bed *bed, uint16_t iface)
{
	struct bed_port *bed_port = &bed->ports[iface];
	bed_port->room = UINT32_MAX;
	bed_port->port = (struct port){ .ops = &port_ops, .iface = iface, .rx_queues = 1, .tx_queues = 1, .up = true };
	bed_port->port.pool = test_pool();
	atomic_init(&bed_port->port.tx_worker[0], PORT_WORKER_ANY);
	atomic_store(&bed->dp.ports[iface], &bed_port->port);
}

static void port_clear(struct bed_port *port)
{
	for (; port->count; port->count--, port->first = (port->first + 1) % BED_SENT)
		rte_pktmbuf_free(port->sent[port->first]);
}

/* ---- life ---- */

void bed_init(struct bed *bed)
{
	struct ip_addr ours = test_ip("192.0.2.1");
	test_pool();
	memset(bed, 0, sizeof(*bed));
	bed->dp.worker_count = 1;
	bed->dp.tenants = calloc(DP_MAX_TENANTS, sizeof(*bed->dp.tenants));
	bed->dp.ports = calloc(PATH_MAX_IFACES, sizeof(*bed->dp.ports));
	if (!bed->dp.tenants || !bed->dp.ports || path_config_new(&bed->dp.config))
		fail("no memory");
	path_local_set(bed->dp.config, &ours, 0, NULL, NULL);
	bed->uplink = (struct path_iface){
		.id = BED_UPLINK, .kind = PATH_IFACE_UPLINK, .mtu = 1500, .mac = test_mac("02:aa:00:00:00:01")
	};
	atomic_store(&bed->dp.config->ifaces[BED_UPLINK], &bed->uplink);
	port_open(bed, BED_UPLINK);
}

void bed_start_worker(struct bed *bed, unsigned index)
{
	struct dp_worker *worker;
	struct dpu_error err = { 0 };
	struct dp_worker_options options = {
		.index = index,
		.pool = test_pool(),
		.state_dir = bed->state_dir,
		.huge_pages = bed->huge_pages,
		.max_sessions = bed->max_sessions ? bed->max_sessions : 65536,
		.seed = 42,
	};
	if (dp_worker_new(&bed->dp, &options, &worker, &err) < 0)
		fail(err.message);
}

void bed_start(struct bed *bed)
{
	bed_start_worker(bed, 0);
}

void bed_stop(struct bed *bed)
{
	for (unsigned i = 0; i < DP_MAX_WORKERS; i++)
		dp_worker_free(bed->dp.worker_states[i]);
}

static int free_value(void *arg, const void *key, void *value)
{
	free(value);
	return 0;
}

void bed_fini(struct bed *bed)
{
	bed_stop(bed);
	for (unsigned i = 0; i < BED_PORTS; i++)
		port_clear(&bed->ports[i]);
	for (unsigned i = 0; i < PATH_MAX_VPCS; i++) {
		struct dp_vpc *vpc = dp_vpc_of(&bed->dp, (uint16_t)i);
		if (!vpc)
			continue;
		rcu_map_each(vpc->endpoints, free_value, NULL);
		rcu_map_free(vpc->endpoints);
		rcu_map_each(vpc->link_locals, free_value, NULL);
		rcu_map_free(vpc->link_locals);
		rcu_map_free(vpc->routes);
		free(atomic_load(&vpc->subnets));
	}
	for (unsigned i = PATH_FIRST_VNIC; i < PATH_MAX_IFACES; i++) {
		struct dp_vnic *vnic = dp_vnic_of(&bed->dp, (uint16_t)i);
		for (unsigned family = 0; vnic && family < 2; family++) {
			dp_rules_free((void *)vnic->egress[family]);
			dp_rules_free((void *)vnic->ingress[family]);
		}
	}
	path_config_free(bed->dp.config);
	free(bed->dp.tenants);
	free(bed->dp.ports);
	for (unsigned i = 0; i < bed->garbage_count; i++)
		free(bed->garbage[i]);
	if (test_pool_used())
		fail("mbufs were lost");
}

/* ---- records ---- */

struct dp_tenant *bed_tenant(struct bed *bed, uint32_t slot)
{
	struct dp_tenant *tenant = keep(bed, sizeof(*tenant));
	tenant->slot = slot;
	tenant->incarnation = 1;
	atomic_store(&bed->dp.tenants[slot], tenant);
	return tenant;
}

struct dp_vpc *bed_vpc(struct bed *bed, uint16_t slot, uint32_t vni)
{
	struct dp_vpc *vpc = keep(bed, sizeof(*vpc));
	vpc->path = (struct path_vpc){ .slot = slot, .tunnel = TUNNEL_VXLAN, .vni = vni };
	atomic_store(&vpc->path.epoch, ++bed->epoch);
	snprintf(vpc->name, sizeof(vpc->name), "t%u/net", slot);
	vpc->router_mac = (struct mac_addr){ { 2, 0xff, 0, 0, 0, (uint8_t)slot } };
	vpc->validate_vtep = true;
	if (rcu_map_new(sizeof(struct ip_addr), free_now, NULL, &vpc->endpoints) ||
	    rcu_map_new(sizeof(struct ip_addr), free_now, NULL, &vpc->link_locals) ||
	    rcu_map_new(sizeof(struct ip_prefix), free_now, NULL, &vpc->routes))
		fail("no memory");
	atomic_store(&bed->dp.config->vpcs[slot], &vpc->path);
	path_vni_set(bed->dp.config, TUNNEL_VXLAN, vni, slot, NULL, NULL);
	return vpc;
}

static struct ip_addr first_address(const struct ip_prefix *prefix)
{
	struct ip_addr address = prefix->addr;
	if (address.family)
		address.bytes[address.family == IP_V4 ? 3 : 15] |= 1;
	return address;
}

struct dp_subnet *bed_subnet(struct bed *bed, struct dp_vpc *vpc, const char *v4, const char *v6)
{
	struct dp_subnet *subnet = keep(bed, sizeof(*subnet));
	struct dp_subnets *before = atomic_load(&vpc->subnets);
	struct dp_subnet *all[BED_SUBNETS] = { subnet };
	unsigned count = 1;
	for (unsigned i = 0; before && i < before->v4_count + before->v6_count; i++) {
		bool seen = false;
		for (unsigned j = 0; j < count; j++)
			seen |= all[j] == before->sorted[i];
		if (!seen && count == BED_SUBNETS)
			fail("too many subnets");
		if (!seen)
			all[count++] = before->sorted[i];
	}
	subnet->slot = 100 + count - 1;
	subnet->vpc = vpc;
	subnet->v4 = prefix_of(v4);
	subnet->v6 = prefix_of(v6);
	subnet->gateway_v4 = first_address(&subnet->v4);
	subnet->gateway_v6 = first_address(&subnet->v6);
	if (subnet->v6.addr.family)
		subnet->gateway_link_local = test_ip("fe80::1");
	subnet->gateway_mac = vpc->router_mac;
	subnet->dhcp = true;
	subnet->lease_seconds = 3600;
	struct dp_subnets *after = dp_subnets_new(all, count);
	if (!after)
		fail("no memory");
	free(before);
	atomic_store(&vpc->subnets, after);
	return subnet;
}

static void endpoint_set_in(struct rcu_map *map, const struct dp_endpoint *endpoint, const uint32_t *groups)
{
	struct dp_endpoint *copy = malloc(sizeof(*copy) + endpoint->group_count * sizeof(uint32_t));
	void *old = NULL;
	if (!copy)
		fail("no memory");
	memcpy(copy, endpoint, sizeof(*copy));
	if (groups && endpoint->group_count)
		memcpy(copy->groups, groups, endpoint->group_count * sizeof(uint32_t));
	if (rcu_map_set(map, &copy->address, copy, &old))
		fail("no memory");
	free(old);
}

/* The address, and with it the link-local one of its MAC. */
static void endpoint_set(struct dp_vpc *vpc, const struct dp_endpoint *endpoint, const uint32_t *groups)
{
	struct dp_endpoint derived = *endpoint;
	endpoint_set_in(vpc->endpoints, endpoint, groups);
	derived.home = endpoint->address;
	derived.address = ip_link_local(&endpoint->mac);
	endpoint_set_in(vpc->link_locals, &derived, groups);
}

void bed_address(struct bed *bed, struct dp_vnic *vnic, const char *address)
{
	struct dp_endpoint endpoint = {
		.address = test_ip(address),
		.kind = DP_ENDPOINT_LOCAL,
		.iface = vnic->iface.id,
		.mac = vnic->iface.mac,
		.group_count = vnic->group_count,
	};
	if (!vnic_has_address(vnic, &endpoint.address))
		vnic->addresses[vnic->address_count++] = endpoint.address;
	endpoint_set(vnic->vpc, &endpoint, vnic->groups);
}

struct dp_vnic *bed_vnic(struct bed *bed, struct dp_subnet *subnet, unsigned number, const char *v4, const char *v6)
{
	struct dp_vnic *vnic = keep(bed, sizeof(*vnic));
	struct dp_vpc *vpc = subnet->vpc;
	vnic->iface = (struct path_iface){
		.id = bed_iface(number),
		.kind = PATH_IFACE_VNIC,
		.check_mac = true,
		.vpc = vpc->path.slot,
		.mtu = 1500,
		.mac = { { 2, 0, 0, 0, (uint8_t)vpc->path.slot, (uint8_t)number } },
	};
	vnic->slot = number;
	snprintf(vnic->name, sizeof(vnic->name), "t%u/vnic%u", vpc->path.slot, number);
	vnic->vpc = vpc;
	vnic->subnet = subnet;
	vnic->tenant = atomic_load(&bed->dp.tenants[vpc->path.slot]);
	vnic->port_security = true;
	vnic->runtime = keep(bed, sizeof(*vnic->runtime));
	vnic->runtime->incarnation = 1;
	if (v4 && *v4)
		bed_address(bed, vnic, v4);
	if (v6 && *v6)
		bed_address(bed, vnic, v6);
	atomic_store(&bed->dp.config->ifaces[vnic->iface.id], &vnic->iface);
	if (vnic->iface.id >= atomic_load(&bed->dp.vnic_limit))
		atomic_store(&bed->dp.vnic_limit, vnic->iface.id + 1u);
	if (vnic->iface.id < BED_PORTS) {
		port_open(bed, vnic->iface.id);
		vnic->runtime->port = &bed->ports[vnic->iface.id].port;
	}
	return vnic;
}

static void tunnel_header(struct path_tunnel *tunnel, const struct ip_addr *vtep)
{
	static const uint8_t macs[14] = { 2, 0xbb, 0, 0, 0, 1, 2, 0xaa, 0, 0, 0, 1, 8, 0 };
	uint8_t *ip = tunnel->header + 14, *udp = ip + 20;
	memcpy(tunnel->header, macs, sizeof(macs));
	ip[0] = 0x45;
	ip[6] = 0x40;
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	memcpy(ip + 12, (uint8_t[]){ 192, 0, 2, 1 }, 4);
	memcpy(ip + 16, vtep->bytes, 4);
	uint16_t checksum = reference_checksum(ip, 20, 0);
	ip[10] = (uint8_t)(checksum >> 8);
	ip[11] = (uint8_t)checksum;
	udp[2] = VXLAN_PORT >> 8;
	udp[3] = VXLAN_PORT & 255;
	udp[8] = 8; /* VXLAN: the VNI is there */
}

uint32_t bed_tunnel(struct bed *bed, const struct dp_vpc *vpc, const char *vtep)
{
	struct ip_addr address = test_ip(vtep);
	for (uint32_t i = 1; i < 64; i++) {
		struct path_tunnel *tunnel = atomic_load(&bed->dp.config->tunnels[i]);
		if (tunnel && !memcmp(tunnel->header + 30, address.bytes, 4))
			return i;
		if (tunnel)
			continue;
		tunnel = keep(bed, sizeof(*tunnel));
		*tunnel = (struct path_tunnel){
			.index = i,
			.kind = TUNNEL_VXLAN,
			.resolved = true,
			.length = 50,
			.l3_offset = 14,
			.out_iface = BED_UPLINK,
		};
		tunnel_header(tunnel, &address);
		atomic_store(&bed->dp.config->tunnels[i], tunnel);
		return i;
	}
	fail("too many tunnels");
	return 0;
}

void bed_mapping(struct bed *bed, struct dp_vpc *vpc, const char *address, const char *vtep, const char *mac)
{
	struct dp_endpoint endpoint = {
		.address = test_ip(address),
		.kind = DP_ENDPOINT_REMOTE,
		.mac = test_mac(mac),
		.tunnel = bed_tunnel(bed, vpc, vtep),
		.vtep = test_ip(vtep),
	};
	endpoint_set(vpc, &endpoint, NULL);
}

void bed_unmap(struct bed *bed, struct dp_vpc *vpc, const char *address)
{
	struct ip_addr ip = test_ip(address);
	free(rcu_map_remove(vpc->endpoints, &ip));
}

void bed_route(struct bed *bed, struct dp_vpc *vpc, const char *prefix, enum dp_route_kind kind, const char *next)
{
	struct dp_route *route = keep(bed, sizeof(*route));
	void *old;
	route->prefix = prefix_of(prefix);
	route->slot = 500 + (uint32_t)rcu_map_count(vpc->routes);
	route->kind = (uint8_t)kind;
	if (kind == DP_ROUTE_NEXT_HOP)
		route->next_hop = ip_of(next);
	if (kind == DP_ROUTE_VTEP) {
		route->vtep = ip_of(next);
		route->tunnel = bed_tunnel(bed, vpc, next);
		route->mac = test_mac("02:cc:00:00:00:01");
	}
	if (rcu_map_set(vpc->routes, &route->prefix, route, &old))
		fail("no memory");
	unsigned length = route->prefix.length;
	if (route->prefix.addr.family == IP_V4)
		atomic_fetch_or(&vpc->route_lengths_v4, UINT64_C(1) << length);
	else
		atomic_fetch_or(&vpc->route_lengths_v6[length / 64], UINT64_C(1) << length % 64);
}

/* ---- rules ---- */

static const struct {
	const char *name;
	uint8_t proto;
} protos[] = { { "any", 0 }, { "tcp", IPPROTO_TCP }, { "udp", IPPROTO_UDP }, { "icmp", IPPROTO_ICMP } };

static struct dp_rule_input rule_of(const char *text, uint8_t family)
{
	struct dp_rule_input rule = { .family = family, .port_max = UINT16_MAX };
	char copy[128], *rest = copy, *word;
	snprintf(copy, sizeof(copy), "%s", text);
	while ((word = strsep(&rest, " "))) {
		unsigned low, high;
		int ports = sscanf(word, "%u-%u", &low, &high);
		if (ports >= 1) {
			rule.port_min = (uint16_t)low;
			rule.port_max = (uint16_t)(ports == 2 ? high : low);
			continue;
		}
		for (unsigned i = 0; i < RTE_DIM(protos); i++)
			if (!strcmp(word, protos[i].name))
				rule.proto = protos[i].proto;
		if (!strcmp(word, "from"))
			rule.remote = prefix_of(strsep(&rest, " "));
		if (!strcmp(word, "group"))
			rule.remote_group = (uint32_t)atoi(strsep(&rest, " "));
	}
	return rule;
}

void bed_rules(struct bed *bed, struct dp_vnic *vnic, bool egress, uint32_t first_slot, const char *const *rules)
{
	for (unsigned family = 0; family < 2; family++) {
		struct dp_rule_input input[256];
		struct dp_rules *made;
		unsigned count = 0;
		for (unsigned i = 0; rules && rules[i]; i++) {
			struct dp_rule_input rule = rule_of(rules[i], family ? IP_V6 : IP_V4);
			if (rule.remote.addr.family && rule.remote.addr.family != rule.family)
				continue;
			rule.rule_slot = first_slot + i;
			input[count++] = rule;
		}
		if (dp_rules_new(input, count, &made))
			fail("bad rules");
		const struct dp_rules **place = egress ? &vnic->egress[family] : &vnic->ingress[family];
		dp_rules_free((void *)*place);
		*place = made;
	}
	vnic->security_groups_on = true;
}

void bed_changed(struct bed *bed, struct dp_vpc *vpc)
{
	atomic_store_explicit(&vpc->path.epoch, ++bed->epoch, memory_order_release);
}

/* ---- frames ---- */

void bed_input_burst(struct bed *bed, uint16_t iface, const struct frame *const *frames, unsigned count)
{
	struct rte_mbuf *packets[PATH_BURST];
	for (unsigned i = 0; i < count; i++)
		packets[i] = frame_mbuf(frames[i]);
	path_input(bed->dp.paths[0], iface, packets, count);
}

void bed_input(struct bed *bed, uint16_t iface, const struct frame *frame)
{
	bed_input_burst(bed, iface, &frame, 1);
}

void bed_tunnelled(struct bed *bed, const char *from, uint32_t vni, const struct frame *inner)
{
	static struct frame outer;
	struct tunnel_spec spec = {
		.src_mac = "02:bb:00:00:00:01",
		.dst_mac = "02:aa:00:00:00:01",
		.src = from,
		.dst = "192.0.2.1",
		.vni = vni,
	};
	frame_tunnel(&outer, &spec, inner);
	bed_input(bed, BED_UPLINK, &outer);
}

bool bed_sent(struct bed *bed, uint16_t iface, struct frame *ret)
{
	struct bed_port *port = &bed->ports[iface];
	if (!port->count)
		return false;
	struct rte_mbuf *m = port->sent[port->first];
	port->first = (port->first + 1) % BED_SENT;
	port->count--;
	frame_read(ret, m);
	rte_pktmbuf_free(m);
	const char *fault = frame_fault(ret->bytes, ret->length);
	if (fault) {
		frame_dump(ret);
		fail(fault);
	}
	return true;
}

bool bed_sent_inner(struct bed *bed, const char *to, uint32_t vni, struct frame *ret)
{
	static struct frame outer;
	struct ip_addr vtep = test_ip(to);
	if (!bed_sent(bed, BED_UPLINK, &outer))
		return false;
	const uint8_t *bytes = outer.bytes;
	uint32_t found = (uint32_t)bytes[46] << 16 | (uint32_t)bytes[47] << 8 | bytes[48];
	if (outer.length < 64 || memcmp(bytes + 30, vtep.bytes, 4) != 0 || found != vni) {
		frame_dump(&outer);
		fail("another tunnel than expected");
	}
	ret->length = outer.length - 50;
	memcpy(ret->bytes, bytes + 50, ret->length);
	return true;
}

bool bed_quiet(const struct bed *bed)
{
	for (unsigned i = 0; i < BED_PORTS; i++)
		if (bed->ports[i].count)
			return false;
	return true;
}

uint64_t bed_drops(const struct bed *bed, enum drop_reason reason)
{
	uint64_t drops = 0;
	for (unsigned i = 0; i < DP_MAX_WORKERS; i++)
		drops += bed->dp.paths[i] ? path_drops(bed->dp.paths[i], reason) : 0;
	return drops;
}

uint64_t bed_all_drops(const struct bed *bed)
{
	uint64_t drops = 0;
	for (enum drop_reason reason = 0; reason < DROP_REASON_COUNT; reason++)
		drops += bed_drops(bed, reason);
	return drops;
}

unsigned bed_sessions(const struct bed *bed)
{
	unsigned sessions = 0;
	for (unsigned i = 0; i < DP_MAX_WORKERS; i++)
		for (unsigned j = 0; bed->dp.paths[i] && j < 2 * PATH_SLOTS; j++) {
			struct session_table *table = path_table_at(bed->dp.paths[i], j);
			sessions += table ? session_table_count(table) : 0;
		}
	return sessions;
}

void bed_tick(struct bed *bed, uint64_t now_ns)
{
	for (unsigned i = 0; i < DP_MAX_WORKERS; i++) {
		if (!bed->dp.worker_states[i])
			continue;
		struct worker_source *source = dp_worker_source(bed->dp.worker_states[i]);
		while (source->tick(source, NULL, now_ns) == 0)
			;
	}
}
