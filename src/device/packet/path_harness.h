/* SPDX-License-Identifier: BSD-3-Clause */
/* A packet path with a service that a test scripts: two vNICs and an uplink, one VPC, tunnels of every kind; what comes
 * out is kept for inspection. For tests and fuzzers. */
#pragma once

#include "device/packet/path.h"
#include "device/packet/testlib.h"

enum {
	HARNESS_UPLINK = 1,
	HARNESS_A = PATH_FIRST_VNIC, /* vNIC with MAC …:01 in VPC 1 */
	HARNESS_B,                   /* vNIC with MAC …:02 in VPC 1 */
	HARNESS_VPC = 1,
	HARNESS_VNI = 5000,
	HARNESS_VLAN = 5, /* of our address HARNESS_TAGGED */
	HARNESS_KEEP = 512,
	/* Tunnel records, by kind and underlay family; all from our VTEP (192.0.2.2, 2001:db8::2) to 192.0.2.1 or
	 * 2001:db8::1. */
	HARNESS_VXLAN_V4 = 1,
	HARNESS_VXLAN_V6,
	HARNESS_GENEVE_V4,
	HARNESS_GENEVE_V6,
	HARNESS_UNRESOLVED,
	HARNESS_TUNNELS = HARNESS_UNRESOLVED,
};

#define HARNESS_TAGGED "2001:db8::5"

struct harness {
	struct path_config *config;
	struct path *path;
	struct path_iface ifaces[3]; /* uplink, A, B */
	struct path_vpc vpc;
	struct path_tunnel tunnels[HARNESS_TUNNELS + 1];

	/* What miss() does: open a session with these actions and forward, or drop. */
	bool open_sessions;
	struct session_dir forward, reverse;
	uint32_t timeout_ticks;

	unsigned misses, underlay, too_big, ttl_expired, removed;
	unsigned tunnelled; /* frames for representors behind tunnels; and whose, and from whom, the last was */
	uint16_t tunnelled_slot;
	uint32_t tunnelled_tag;
	uint16_t too_big_mtu;
	unsigned captured[CAPTURE_STAGES];
	enum drop_reason captured_reason;

	struct rte_mbuf *out[HARNESS_KEEP];
	uint16_t out_iface[HARNESS_KEEP];
	unsigned out_count;
	struct rte_mbuf *handed[HARNESS_KEEP];
	uint16_t handed_iface[HARNESS_KEEP];
	unsigned handed_worker, handed_count;
};

struct harness *harness_new(void);
/* One that is another worker than 0, who owns all sessions. */
struct harness *harness_new_worker(unsigned worker);
void harness_free(struct harness *h);
/* Frees what came out and zeroes the counts above. */
void harness_clear(struct harness *h);

/* Actions: to vNIC B (default forward), to vNIC A (default reverse), through a tunnel. */
struct session_dir harness_local(uint16_t in_iface, uint16_t out_iface);
struct session_dir harness_encap(uint16_t in_iface, uint32_t tunnel);
void harness_set_actions(struct harness *h, struct session_dir forward, struct session_dir reverse);

/* One frame from an interface. */
void harness_input(struct harness *h, uint16_t iface, const struct frame *frame);
void harness_input_mbuf(struct harness *h, uint16_t iface, struct rte_mbuf *m);
