/* SPDX-License-Identifier: BSD-3-Clause */
/* For the tests and the fuzzer of what control takes from the underlay: a switch with three underlays on one port and
 * nothing else in it, without a loop or workers.
 *
 *	fabric 192.0.2.1 and fabric6 2001:db8::1, untagged; backbone 198.51.100.1, VLAN 12
 *	neighbours: 192.0.2.2, 2001:db8::2, 198.51.100.2
 */
#pragma once

#include "device/packet/testlib.h"
#include "service/vswitch/vswitch_priv.h"

enum { UNDERLAY_RIG_COUNT = 3, UNDERLAY_RIG_IFACE = 1, UNDERLAY_RIG_VLAN = 12 };

#define UNDERLAY_RIG_MAC "02:aa:00:00:00:01"

struct underlay_rig {
	struct vswitch vswitch;
	struct dpu dpu;
	struct path_config *config;
	struct underlay object[UNDERLAY_RIG_COUNT];
	struct dp_local_vtep record[UNDERLAY_RIG_COUNT];
	struct control_underlay underlay[UNDERLAY_RIG_COUNT];
	struct ip_addr neighbour_address[UNDERLAY_RIG_COUNT];
	struct neighbour *neighbour[UNDERLAY_RIG_COUNT];
};

static inline void underlay_rig_up(struct underlay_rig *rig)
{
	static const char *const address[] = { "192.0.2.1", "2001:db8::1", "198.51.100.1" };
	static const char *const neighbour[] = { "192.0.2.2", "2001:db8::2", "198.51.100.2" };

	*rig = (struct underlay_rig){ .dpu.pool = test_pool(), .vswitch.dpu = &rig->dpu };
	if (path_config_new(&rig->config) != 0 ||
	    rcu_map_new(sizeof(uint32_t) + sizeof(struct ip_addr) + 3, NULL, NULL, &rig->vswitch.neighbours) != 0)
		abort();
	for (unsigned i = 0; i < UNDERLAY_RIG_COUNT; i++) {
		struct ip_addr ours = test_ip(address[i]);

		rig->object[i].base.slot = i;
		rig->record[i] = (struct dp_local_vtep){ .address = ours,
							 .prefix_length = ours.family == IP_V4 ? 24 : 64,
							 .mac = test_mac(UNDERLAY_RIG_MAC),
							 .iface = UNDERLAY_RIG_IFACE,
							 .vlan = i == 2 ? UNDERLAY_RIG_VLAN : 0,
							 .slot = i };
		rig->underlay[i] = (struct control_underlay){ .vswitch = &rig->vswitch,
							      .object = &rig->object[i],
							      .record = &rig->record[i] };
		rig->vswitch.underlays[i] = &rig->underlay[i];
		if (path_local_set(rig->config, &ours, rig->record[i].vlan, NULL, NULL) != 0)
			abort();
		rig->neighbour_address[i] = test_ip(neighbour[i]);
		rig->neighbour[i] = neighbour_get(&rig->vswitch, &rig->underlay[i], &rig->neighbour_address[i]);
	}
}

static inline void underlay_rig_down(struct underlay_rig *rig)
{
	for (unsigned i = 0; i < UNDERLAY_RIG_COUNT; i++)
		neighbour_put(&rig->vswitch, rig->neighbour[i]);
	rcu_map_free(rig->vswitch.neighbours);
	path_config_free(rig->config);
}

/* As if nothing had been learnt. */
static inline void underlay_rig_forget(struct underlay_rig *rig)
{
	for (unsigned i = 0; i < UNDERLAY_RIG_COUNT; i++) {
		struct ip_addr address = rig->neighbour_address[i];

		neighbour_put(&rig->vswitch, rig->neighbour[i]);
		rig->neighbour[i] = neighbour_get(&rig->vswitch, &rig->underlay[i], &address);
	}
}

/* As the path does it: what is neither dropped nor decapsulated goes to control. The answer, or NULL. */
static inline struct rte_mbuf *underlay_rig_input(struct underlay_rig *rig, struct rte_mbuf *m)
{
	struct packet_info info = { 0 };
	bool local = false;
	uint16_t vpc;
	enum drop_reason drop = packet_decap(rig->config, m, &vpc, &info, &local);

	if (drop || !local) {
		rte_pktmbuf_free(m);
		return NULL;
	}
	m->port = UNDERLAY_RIG_IFACE;
	return underlay_receive(&rig->vswitch, m);
}
