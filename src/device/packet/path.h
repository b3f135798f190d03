/* SPDX-License-Identifier: BSD-3-Clause */
/* The packet path: what happens to a burst of frames from an interface. Per worker: parse → decapsulate → session
 * lookup → compiled action → output; what has no valid session goes to the service's policy, once per flow.
 *
 * Configuration is a set of immutable records in arrays of pointers (struct path_config), replaced one by one with
 * release stores by the control thread and freed after a grace period (QSBR); a burst reads each pointer once with
 * acquire. Worker state (struct path) belongs to one worker.
 *
 * Interface numbers: 0 none, 1..63 uplink ports, 64.. vNICs, 61440.. the ports of representors. An interface number is
 * stable over restarts. */
#pragma once

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <rte_mbuf.h>
#include "base/netaddr.h"
#include "device/packet/drop.h"
#include "device/packet/flow_key.h"
#include "device/packet/session.h"

enum {
	PATH_BURST = 32,
	PATH_MAX_IFACES = 65536,
	PATH_FIRST_VNIC = 64,
	PATH_FIRST_REPRESENTOR = 0xf000, /* + number; as a slot behind a VNI: no VPC, but tunnels of an eswitch */
	PATH_MAX_VPCS = 65536,
	PATH_MAX_TUNNELS = 1 << 20,
	PATH_SLOTS = 16, /* flows are spread over so many session tables, each owned by one worker */
	PATH_MAX_WORKERS = 64,
	/* mbuf headroom that encapsulation wants in front of a frame: Ethernet, VLAN, IPv6, UDP and Geneve take 74
	 * bytes. A frame with less gets its outer header in a segment of its own. */
	PATH_HEADROOM = RTE_PKTMBUF_HEADROOM,
};

enum path_iface_kind {
	PATH_IFACE_UPLINK = 1,
	PATH_IFACE_VNIC,
	/* Those that path_service.member gets. */
	PATH_IFACE_MEMBER,      /* a vNIC or uplink of an eswitch */
	PATH_IFACE_REPRESENTOR, /* where the eswitch's client sends and receives */
};

/* An interface as the hit path sees it. Services embed it as the first member of theirs. */
struct path_iface {
	uint16_t id;
	uint8_t kind;   /* enum path_iface_kind */
	bool check_mac; /* vNIC: frames must come from `mac` (anti-spoofing); uplink: unicast must be sent to `mac` */
	uint16_t vpc;   /* vNIC: VPC slot; uplink: 0 */
	uint16_t mtu;
	uint16_t representor; /* MEMBER: number of its representor, 0 = it has none; REPRESENTOR: its number */
	struct mac_addr mac;
};

enum tunnel_kind { TUNNEL_NONE = 0, TUNNEL_VXLAN, TUNNEL_GENEVE };
enum { VXLAN_PORT = 4789, GENEVE_PORT = 6081 };

struct path_vpc {
	uint16_t slot;
	uint8_t tunnel; /* enum tunnel_kind */
	uint32_t vni;
	_Atomic uint32_t
		epoch; /* moves when policy of this VPC changes; sessions compiled before are evaluated again */
};

/* A shared encapsulation record: one per remote VTEP, encapsulation and local underlay address. The VNI, lengths,
 * checksum and UDP source port (RFC 7348 5: hash of the inner flow, 49152..65535) are filled in per packet, and so are
 * the outer DSCP and ECN (copied from the inner header: RFC 2983 uniform model, RFC 6040 normal mode) and the IPv6 flow
 * label (RFC 6438). The template has TOS or traffic class 0, and DF set for IPv4. */
struct path_tunnel {
	uint32_t index;
	uint8_t kind;      /* enum tunnel_kind */
	bool v6;           /* underlay family */
	bool udp_checksum; /* outer UDP checksum filled in (IPv6; optional for IPv4) */
	bool resolved;     /* the next hop's MAC is known; else DROP_NEIGHBOUR_UNRESOLVED */
	uint8_t length;    /* of header: Ethernet to VXLAN/Geneve, without options */
	uint8_t l3_offset; /* of the outer IP header */
	uint16_t out_iface;
	uint8_t header[112]; /* template: IPv4 total length 0 and checksum computed over that, UDP length 0, VNI 0 */
};

/* Where tunnelled packets end: (underlay address, kind, VNI) → VPC. Looked up per packet; RCU hash inside. */
struct path_config {
	struct path_iface *_Atomic ifaces[PATH_MAX_IFACES];
	struct path_vpc *_Atomic vpcs[PATH_MAX_VPCS];
	struct path_tunnel *_Atomic tunnels[PATH_MAX_TUNNELS];
	_Atomic uint8_t slot_owner[PATH_SLOTS]; /* worker that owns the slot's sessions */
	struct path_vnis *vnis;
	struct path_locals *locals; /* local VTEP addresses */
	uint64_t vtep_secret;       /* of path_vtep_tag() for IPv6 */
};

/* One zeroed configuration (9 MiB of address space; untouched parts cost nothing), with empty tables. */
int path_config_new(struct path_config **ret);
void path_config_free(struct path_config *config);

/* Stands for a tunnel endpoint's address in a session: an IPv4 address itself, of an IPv6 one a keyed hash. Never 0 for
 * an address that a packet can come from. */
static inline uint32_t path_vtep_tag(const struct path_config *config, const uint8_t *address, bool v6)
{
	uint32_t tag;

	if (v6)
		return (uint32_t)flow_key_fold(flow_key_load64(address) ^ config->vtep_secret,
					       flow_key_load64(address + 8) ^ ~config->vtep_secret) |
		       1;
	memcpy(&tag, address, sizeof(tag));
	return tag;
}

/* Writers (control thread). Readers are workers; memory given back is handed to `retire`, which frees it after a grace
 * period (NULL: there are no readers yet, free at once). 0, -EINVAL or -ENOMEM. */
typedef void path_retire_fn(void *ctx, void (*free_fn)(void *), void *memory);
int path_vni_set(struct path_config *config, enum tunnel_kind kind, uint32_t vni, uint16_t vpc_slot,
		 path_retire_fn *retire, void *ctx);
void path_vni_clear(struct path_config *config, enum tunnel_kind kind, uint32_t vni, path_retire_fn *retire, void *ctx);
/* The address is ours on every uplink, in frames with this VLAN tag alone; 0: in untagged and priority-tagged ones. */
int path_local_set(struct path_config *config, const struct ip_addr *address, uint16_t vlan, path_retire_fn *retire,
		   void *ctx);
void path_local_clear(struct path_config *config, const struct ip_addr *address, path_retire_fn *retire, void *ctx);

/* What the parser found out about a frame. Offsets are from the start of the (inner, after decapsulation) frame.
 * All headers up to l4_length are contiguous in the first segment when parsing succeeded. */
enum packet_flags {
	PACKET_F_IPV4 = 1 << 0,
	PACKET_F_IPV6 = 1 << 1,
	PACKET_F_L4 = 1 << 2,       /* l4 header present (not a later fragment), checked for length */
	PACKET_F_FRAGMENT = 1 << 3, /* any fragment */
	PACKET_F_LATER = 1 << 4,    /* … but the first */
	PACKET_F_ICMP_ERROR = 1 << 5,
	PACKET_F_TUNNELLED = 1 << 6, /* was decapsulated; outer_* are valid */
	PACKET_F_L4_CSUM_BAD = 1 << 7,
	PACKET_F_MULTICAST = 1 << 8, /* destination MAC or address */
	PACKET_F_ARP = 1 << 9,
	PACKET_F_SERVICE = 1 << 10, /* ARP, ND, DHCP from clients: for the first-hop services; never put in a session */
};

struct packet_info {
	alignas(64) struct flow_key key; /* valid for IPv4 and IPv6 */
	uint32_t hash;                   /* of key, by the path */
	uint32_t flags;                  /* enum packet_flags */
	uint16_t in_iface;               /* by the path */
	uint16_t l3_offset, l4_offset;
	uint16_t payload_offset; /* behind the l4 header, if PACKET_F_L4 */
	uint16_t l3_length;      /* IP total length as the header says (IPv6: 40 + payload length) */
	uint8_t ttl, tos;
	uint8_t tcp_flags;
	uint8_t proto; /* upper protocol, behind IPv6 extension headers */
	uint16_t ether_type;

	uint32_t fragment_id;
	uint16_t fragment_offset; /* bytes */
	bool more_fragments;
	uint8_t icmp_type, icmp_code;
	uint32_t outer_tag;       /* path_vtep_tag() of outer_src */
	uint16_t outer_length;    /* bytes that packet_decap() stripped, 0 if none */
	struct ip_addr outer_src; /* the sending VTEP */
};

/* Parses the frame that starts at the mbuf's data (Ethernet). vpc is put into the key. Linearises headers that straddle
 * segments; the first segment must be writable (not shared). Sets every field but those of the path and of
 * packet_decap(). Returns DROP_NONE or why the frame is refused. Never reads beyond the frame. */
enum drop_reason packet_parse(struct rte_mbuf *m, uint16_t vpc, struct packet_info *ret);
/* The key that the later fragments of this fragment have (PACKET_F_FRAGMENT). For IPv6 its protocol is always 44, since
 * a later fragment does not say what the upper protocol is. */
void packet_fragment_key(const struct packet_info *info, struct flow_key *ret);
/* The flow that an ICMP error is about (its embedded packet, as that was sent); false if there is none to be read. */
bool packet_parse_icmp_error(const struct rte_mbuf *m, const struct packet_info *info, struct flow_key *ret);
/* Strips the tunnel header of an uplink frame addressed to us and sets *ret_vpc and ret->outer_src, outer_tag,
 * outer_length; DROP_NONE on success; *ret_local is true when the frame is not a tunnel packet but for the underlay's
 * own services (ARP, ND, ICMP to our address): it is then unchanged. Checks RFC 7348, RFC 8926, combines ECN by RFC
 * 6040 4.2. */
enum drop_reason packet_decap(const struct path_config *config, struct rte_mbuf *m, uint16_t *ret_vpc,
			      struct packet_info *ret, bool *ret_local);

/* ---- per worker ---- */

struct path_iface_counters {
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes; /* from the interface, and sent by it */
	uint64_t rx_drops, tx_drops;                         /* of the former; instead of the latter */
	uint64_t misses;                                     /* packets that took the policy path */
	uint64_t spare;
};
struct path_vpc_counters {
	uint64_t packets, bytes; /* delivered or sent within the VPC */
	uint64_t encapsulated, decapsulated;
	uint64_t drops;
	uint64_t sessions_created;
};

enum capture_stage {
	CAPTURE_RX,    /* as received from the interface */
	CAPTURE_DECAP, /* after decapsulation */
	CAPTURE_MISS,  /* entering policy */
	CAPTURE_DROP,  /* with its drop reason */
	CAPTURE_TX,    /* as handed to the interface */
	CAPTURE_STAGES,
};

struct path;

/* The service behind the path. All run in the worker; they own the packets they are given. */
struct path_service {
	/* Packets without a valid session; first fragments always, in the worker that owns their flow (the service
	 * prepares for the later ones). For each: drop it (path_drop), answer it (path_send), or put a session in force
	 * and forward it by path_forward(). */
	void (*miss)(void *ctx, struct path *path, struct rte_mbuf *m, struct packet_info *info);
	/* A burst from an interface of kind PATH_IFACE_MEMBER or PATH_IFACE_REPRESENTOR, as it came. NULL: dropped. */
	void (*member)(void *ctx, struct path *path, const struct path_iface *iface, struct rte_mbuf **packets,
		       unsigned count);
	/* Decapsulated frames of a burst whose VNI has a slot from PATH_FIRST_REPRESENTOR on: for each that slot, and
	 * path_vtep_tag() of who sent it. NULL: dropped. */
	void (*tunnel_member)(void *ctx, struct path *path, uint16_t in_iface, struct rte_mbuf **packets,
			      const uint16_t *slots, const uint32_t *tags, unsigned count);
	/* Uplink frames for the underlay's own addresses, and ARP. */
	void (*underlay)(void *ctx, struct path *path, struct rte_mbuf *m, uint16_t in_iface);
	/* A forwarded packet is larger than its way's MTU and must not be fragmented (IPv6, or IPv4 with DF; the path
	 * itself fragments IPv4 without DF). Owns m; ends in path_drop. */
	void (*too_big)(void *ctx, struct path *path, struct rte_mbuf *m, struct packet_info *info, uint16_t mtu);
	void (*ttl_expired)(void *ctx, struct path *path, struct rte_mbuf *m, struct packet_info *info);
	/* Transmit on an interface. Takes all packets; counts and frees what it cannot send (path_drop). mbuf.hash.rss
	 * of forwarded packets is the flow's hash. */
	void (*output)(void *ctx, struct path *path, uint16_t iface, struct rte_mbuf **packets, unsigned count);
	/* Give packets that another worker owns to it; stage as given to path_input()/… on the other side. */
	void (*handoff)(void *ctx, struct path *path, unsigned worker, struct rte_mbuf *m, uint16_t in_iface);
	/* Capture tap, set while a capture runs (path_set_capture); a copy must be made of what is kept. */
	void (*capture)(void *ctx, struct path *path, enum capture_stage stage, enum drop_reason reason, uint16_t iface,
			const struct rte_mbuf *m);
	void (*session_removed)(void *ctx, struct path *path, struct session *session);
	void *ctx;
};

struct path_options {
	const struct path_config *config;
	const struct path_service *service; /* copied */
	const char *state_dir;              /* where session files live; NULL = anonymous */
	bool huge_pages;
	uint32_t max_sessions; /* per slot and family */
	uint64_t seed;
	unsigned worker; /* own number; slots whose slot_owner is it are opened */
};

int path_new(const struct path_options *options, struct path **ret, struct dpu_error *err);
void path_free(struct path *path);
/* The seed of the session files in state_dir, which path_new() must be given for their sessions to live on; -ENOENT
 * when there is no file of this boot. All workers get the same. */
int path_saved_seed(const char *state_dir, uint64_t *ret);
uint32_t path_adopted(const struct path *path); /* sessions taken over from a former process */

/* Makes memory ready for the sessions to come, in all tables (session_table_grow_ahead()), so that the worker seldom
 * has to. From a helper thread, one at a time, every few milliseconds while sessions are created; 0, or -ENOSPC when
 * the file system of state_dir is full. */
int path_grow_ahead(struct path *path);

/* One burst (≤ PATH_BURST) from an interface, in this worker. Consumes all packets. */
void path_input(struct path *path, uint16_t in_iface, struct rte_mbuf **packets, unsigned count);
/* Packets of other workers' interfaces whose sessions are ours. */
void path_input_handoff(struct path *path, struct rte_mbuf **packets, const uint16_t *in_ifaces, unsigned count);
/* Session ageing and housekeeping; call about every millisecond when busy and before sleeping. Returns the ns until it
 * wants to run again. */
uint64_t path_tick(struct path *path, uint64_t now_ns);

/* For services: apply the session's compiled action for this packet's direction and queue it for output; outside a
 * burst it is transmitted at once, as is what path_send() gets. */
void path_forward(struct path *path, struct rte_mbuf *m, const struct packet_info *info, struct session *session,
		  unsigned direction);
/* Queue a frame of our own making (or an answer made from the request) for an interface. */
void path_send(struct path *path, uint16_t iface, struct rte_mbuf *m);
/* Encapsulate m (an inner frame) by a tunnel record and queue it; for frames of our own making. */
void path_send_tunnel(struct path *path, const struct path_tunnel *tunnel, uint32_t vni, uint32_t hash,
		      struct rte_mbuf *m);
/* Free m and count why, for its interface and VPC (0 where unknown). Reasons from DROP_TX_FULL on count for the
 * interface's transmit side. */
void path_drop(struct path *path, struct rte_mbuf *m, enum drop_reason reason, uint16_t iface, uint16_t vpc);
/* Only count, for packets that somebody else has freed, as a port does with what it cannot send. */
void path_count_drops(struct path *path, enum drop_reason reason, uint16_t iface, uint16_t vpc, unsigned packets);
/* The service says what an interface sent: as many frames as were on the wire after segmentation. */
void path_count_sent(struct path *path, uint16_t iface, unsigned packets, uint64_t bytes);
/* A frame of an interface takes the way up that the service itself looks after: counts it and shows it to captures. */
void path_count_miss(struct path *path, uint16_t iface, const struct rte_mbuf *m);
/* The service put a new session in force. */
void path_count_session(struct path *path, uint16_t vpc);

/* The slot of a key's session, by the hash of that key; its worker is path_config.slot_owner. */
static inline unsigned path_slot(uint32_t hash)
{
	return hash >> 28;
}
/* NULL where the slot is another worker's. */
struct session_table *path_table(struct path *path, const struct flow_key *key, uint32_t hash);
/* All tables of this worker, for listing and clearing: index < 2 * PATH_SLOTS, NULL where not ours. */
struct session_table *path_table_at(struct path *path, unsigned index);
uint64_t path_seed(const struct path *path);
session_tick_t path_now(const struct path *path); /* as of the current burst */
uint64_t path_now_ns(const struct path *path);

void path_set_capture(struct path *path, bool on);
/* Readable from any thread; each number is written by its worker alone (relaxed). */
const struct path_iface_counters *path_iface_counters(const struct path *path, uint16_t iface);
const struct path_vpc_counters *path_vpc_counters(const struct path *path, uint16_t vpc);
uint64_t path_drops(const struct path *path, enum drop_reason reason);
/* Of one interface, its former holders included. */
uint64_t path_iface_drops(const struct path *path, uint16_t iface, enum drop_reason reason);
uint64_t path_busy_cycles(const struct path *path);
