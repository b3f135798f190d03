/* SPDX-License-Identifier: BSD-3-Clause */
/* An eswitch with four members and a client that a test plays. */
#include "device/flow/flow_world.h"
#include "device/packet/packet_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void member(void *ctx, struct path *path, const struct path_iface *iface, struct rte_mbuf **packets,
		   unsigned count)
{
	struct flow_world *w = ctx;

	(void)path;
	flow_input(w->flow, iface, packets, count);
}

static void output(void *ctx, struct path *path, uint16_t iface, struct rte_mbuf **packets, unsigned count)
{
	struct flow_world *w = ctx;

	void (*meanwhile)(struct flow_world * w) = w->meanwhile;

	w->meanwhile = NULL;
	if (meanwhile)
		meanwhile(w);
	w->sent += count;
	for (unsigned i = 0; i < count && !w->count_only; i++) {
		if (w->out_count == WORLD_KEEP) {
			path_drop(path, packets[i], DROP_TX_FULL, iface, 0);
			continue;
		}
		w->out_iface[w->out_count] = iface;
		w->out[w->out_count++] = packets[i];
	}
}

static void need(int rc, const char *what)
{
	if (rc) {
		fprintf(stderr, "flow world: %s: %d\n", what, rc);
		abort();
	}
}

static void add_iface(struct flow_world *w, struct path_iface *iface, uint16_t id, enum path_iface_kind kind,
		      uint16_t number)
{
	*iface = (struct path_iface){ .id = id, .kind = kind, .mtu = 1500, .representor = number };
	atomic_store(&w->config->ifaces[id], iface);
}

static void bind_port(struct flow_world *w, uint16_t number)
{
	struct flow_port port = { .number = number,
				  .representor = flow_world_representor(number),
				  .member = flow_world_member(number),
				  .mtu = 1500 };

	add_iface(w, &w->members[number], flow_world_member(number), PATH_IFACE_MEMBER, number);
	add_iface(w, &w->representors[number], flow_world_representor(number), PATH_IFACE_REPRESENTOR, number);
	need(flow_port_set(w->sw, &port), "flow_port_set");
	need(flow_port_open(w->sw, number, w->client), "flow_port_open");
}

struct flow_world *flow_world_new(void)
{
	return flow_world_new_sized(WORLD_RULES, 0, false);
}

struct flow_world *flow_world_new_sized(uint32_t rules, uint32_t entries, bool huge_pages)
{
	struct flow_world *w = calloc(1, sizeof(*w));
	struct dpu_error err;

	test_pool();
	if (!w)
		abort();
	need(path_config_new(&w->config), "path_config_new");
	struct path_service service = { .member = member, .output = output, .ctx = w };
	struct path_options options = { .config = w->config, .service = &service, .max_sessions = 64, .seed = 1 };
	need(path_new(&options, &w->path, &err), "path_new");
	struct flow_switch_options sw = { .config = w->config,
					  .workers = WORLD_WORKERS,
					  .max_rules = rules,
					  .max_entries = entries,
					  .huge_pages = huge_pages };
	need(flow_switch_new(&sw, &w->sw, &err), "flow_switch_new");
	need(flow_new(w->sw, w->path, test_pool(), 0, &w->flow, &err), "flow_new");
	need(flow_client_new(w->sw, 1, 0, &w->client, &err), "flow_client_new");
	int fd = flow_client_region(w->client, &w->region_bytes);
	w->region = mmap(NULL, w->region_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(w->region == MAP_FAILED, "mmap");
	add_iface(w, &w->representors[0], flow_world_representor(0), PATH_IFACE_REPRESENTOR, 0);
	for (uint16_t i = 1; i <= WORLD_PORTS; i++)
		bind_port(w, i);
	return w;
}

/* ---- tunnels ---- */

static uint32_t outer_l3(const struct tunnel_spec *spec)
{
	return ETHER_BYTES + (spec->vlan ? RTE_VLAN_HLEN : 0);
}

void flow_world_encap(const struct tunnel_spec *spec, struct frame *ret)
{
	static const struct frame nothing;

	frame_tunnel(ret, spec, &nothing);
	uint8_t *ip = ret->bytes + outer_l3(spec);
	bool v6 = ip[0] >> 4 == 6;
	memset(ip + (v6 ? 4 : 2), 0, 2);
	if (!v6)
		memset(ip + 10, 0, 2);
	uint8_t *udp = ip + (v6 ? IPV6_BYTES : IPV4_BYTES);
	memset(udp, 0, 2);
	memset(udp + 4, 0, 4);
}

void flow_world_tunnel(struct flow_world *w, uint16_t number, const struct tunnel_spec *spec)
{
	struct path_tunnel *tunnel = &w->tunnels[number - WORLD_PORTS - 1];
	struct flow_port port = { .number = number,
				  .representor = flow_world_representor(number),
				  .mtu = 1450,
				  .tunnelled = true,
				  .tunnel = number,
				  .vni = spec->vni };
	struct frame header;

	flow_world_encap(spec, &header);
	uint8_t *ip = header.bytes + outer_l3(spec);
	bool v6 = ip[0] >> 4 == 6;
	if (!v6)
		store_be16(ip + 10, reference_checksum(ip, IPV4_BYTES, 0));
	memset(header.bytes + header.length - 4, 0, 4); /* the VNI is the port's */
	*tunnel = (struct path_tunnel){ .index = number,
					.kind = spec->geneve ? TUNNEL_GENEVE : TUNNEL_VXLAN,
					.v6 = v6,
					.udp_checksum = spec->udp_checksum,
					.resolved = true,
					.length = (uint8_t)header.length,
					.l3_offset = (uint8_t)outer_l3(spec),
					.out_iface = WORLD_UPLINK };
	memcpy(tunnel->header, header.bytes, header.length);
	atomic_store(&w->config->tunnels[number], tunnel);
	need(flow_port_set(w->sw, &port), "flow_port_set");
	flow_port_open(w->sw, number, w->client); /* unless it is */
}

void flow_world_clear(struct flow_world *w)
{
	rte_pktmbuf_free_bulk(w->out, w->out_count);
	w->out_count = 0;
}

void flow_world_free(struct flow_world *w)
{
	flow_world_clear(w);
	flow_client_close(w->client);
	while (!flow_client_drained(w->client))
		flow_client_poll(w->client, w->flow);
	munmap(w->region, w->region_bytes);
	flow_client_free(w->client);
	flow_free(w->flow);
	flow_switch_free(w->sw);
	path_free(w->path);
	path_config_free(w->config);
	free(w);
}

void flow_world_input_iface(struct flow_world *w, uint16_t iface, struct rte_mbuf *m)
{
	path_input(w->path, iface, &m, 1);
}

void flow_world_input_mbuf(struct flow_world *w, unsigned number, struct rte_mbuf *m)
{
	flow_world_input_iface(w, flow_world_member(number), m);
}

void flow_world_input(struct flow_world *w, unsigned number, const struct frame *frame)
{
	flow_world_input_mbuf(w, number, frame_mbuf(frame));
}

void flow_world_push(struct flow_world *w, enum eswitch_command_code code, const struct eswitch_rule *rule)
{
	struct eswitch_command_ring *ring = &w->region->rings[0];
	uint32_t head = atomic_load(&ring->head);
	struct eswitch_command *commands = (void *)((uint8_t *)w->region + ring->commands_offset);
	struct eswitch_command *command = &commands[head & (ring->slots - 1)];
	unsigned ops = RTE_MIN(rule->op_count, (unsigned)ESWITCH_MAX_OPS);

	command->code = code;
	memcpy(&command->rule, rule, offsetof(struct eswitch_rule, ops) + ops * sizeof(rule->ops[0]));
	atomic_store_explicit(&ring->head, head + 1, memory_order_release);
}

uint32_t flow_world_command(struct flow_world *w, enum eswitch_command_code code, const struct eswitch_rule *rule)
{
	_Atomic uint32_t *states = (void *)((uint8_t *)w->region + w->region->states_offset);

	flow_world_push(w, code, rule);
	while (flow_client_poll(w->client, w->flow))
		;
	return rule->index < w->region->max_rules ? atomic_load(&states[rule->index]) : UINT32_MAX;
}

uint32_t flow_world_install(struct flow_world *w, struct eswitch_rule *rule)
{
	return flow_world_command(w, ESWITCH_INSTALL, rule) & 0xff;
}

void flow_world_counter(const struct flow_world *w, uint32_t index, uint64_t *ret_packets, uint64_t *ret_bytes)
{
	struct eswitch_counter *counters = (void *)((uint8_t *)w->region + w->region->counters_offset);

	*ret_packets = atomic_load(&counters[index].packets);
	*ret_bytes = atomic_load(&counters[index].bytes);
}
