/* SPDX-License-Identifier: BSD-3-Clause */
/* What a driver of representors (librte_net_softdpu.so in an OVS) and dpud say to each other: messages on a Unix
 * socket, rings for packets and rules of flows in shared memory.
 *
 * The driver's process is a client. It connects to ESWITCH_SOCKET (SOCK_SEQPACKET) in the instance's run directory,
 * says HELLO and gets the switch region; opens one or more ports and gets a region for each. Regions are memfds of
 * dpud's, sealed against shrinking and growing, so neither side can take memory from under the other. Both read what
 * the other has written as hostile: copied once, checked, never trusted again. All integers are in host order unless
 * rte_be*_t or "wire order" is said; regions hold offsets and numbers, never pointers.
 *
 * Dying: when the socket closes, dpud drops all rules of the client and takes its ports' links down; a client whose
 * socket closes keeps its mappings (counters hold their last value), answers with link down, and connects again. A new
 * dpud knows none of the old rules: the client installs them again. */
#pragma once

#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>
#include <rte_byteorder.h>

enum {
	ESWITCH_ABI_VERSION = 2, /* of all of this file */
	ESWITCH_NAME_BYTES = 256,
	ESWITCH_MAX_QUEUES = 16,        /* of a port, in each direction */
	ESWITCH_MAX_COMMAND_RINGS = 16, /* one per thread that installs rules */
	ESWITCH_MAX_PORTS = 4094,       /* representors of a switch; numbers are VLAN ids on the trunk */
	ESWITCH_MAX_RULES = 1 << 22,
	ESWITCH_MAX_OPS = 24,
	ESWITCH_MAX_ENCAP_BYTES = 128,
	ESWITCH_MAX_FRAME_BYTES = 65536 + 64,
};
#define ESWITCH_MAGIC  UINT32_C(0x77736573) /* "sesw" */
#define ESWITCH_SOCKET "eswitch.sock"

/* ---- messages: one struct eswitch_message each, whole; file descriptors by SCM_RIGHTS ---- */

enum eswitch_message_type {
	/* client → dpud; each but the last is answered by one ESWITCH_REPLY of the same `request` */
	ESWITCH_HELLO = 1, /* first, once. fds of the answer: switch region, eventfd that wakes dpud for commands */
	ESWITCH_OPEN_PORT, /* fds of the answer: port region; an eventfd per to_host queue (dpud wakes the client), then
			    * one per from_host queue (the client wakes dpud) */
	ESWITCH_CLOSE_PORT, /* its rules go, too */
	ESWITCH_LIST_PORTS, /* the answer's `ports` has one of them, the first with a number > `number` */
	ESWITCH_REPORT,     /* not answered: flows that the client has refused by itself, so that dpud can say why */
	/* dpud → client */
	ESWITCH_REPLY = 64,
	ESWITCH_PORT_CHANGED, /* link, MTU or MAC of an open port */
	ESWITCH_PORT_GONE,    /* the representor was deleted: the port is closed */
};

enum eswitch_status {
	ESWITCH_OK = 0,
	ESWITCH_E_VERSION,   /* another ABI version; `sentence` names both */
	ESWITCH_E_NOT_FOUND, /* no such switch or representor */
	ESWITCH_E_BUSY,      /* another client has it open */
	ESWITCH_E_INVALID,   /* a field of the request, named in `sentence` */
	ESWITCH_E_LIMIT,     /* more queues, ports or clients than there may be */
	ESWITCH_E_INTERNAL,
};

struct eswitch_port_info {
	char name[ESWITCH_NAME_BYTES]; /* of the representor, NUL-terminated */
	uint32_t number; /* 1 … ESWITCH_MAX_PORTS: in rules, and the VLAN id on the trunk; 0 = the trunk */
	uint8_t kind;    /* enum eswitch_port_kind */
	uint8_t link_up;
	uint16_t mtu;
	uint8_t mac[6]; /* that the representor has */
	uint16_t spare;
	uint64_t offloads; /* enum eswitch_packet_flags that the far side takes */
};
enum eswitch_port_kind { ESWITCH_PORT_VNIC = 1, ESWITCH_PORT_UPLINK, ESWITCH_PORT_TUNNEL, ESWITCH_PORT_TRUNK };

/* What of a flow was refused. */
enum eswitch_report {
	ESWITCH_REPORT_ATTRIBUTE,
	ESWITCH_REPORT_PATTERN,
	ESWITCH_REPORT_ACTION,
	ESWITCH_REPORT_RESOURCE, /* it is a good one, but there is no room, or no dpud */
	ESWITCH_REPORTS,
};

struct eswitch_message {
	uint32_t type;    /* enum eswitch_message_type */
	uint32_t request; /* chosen by the client, repeated in the answer; 0 in what dpud says of itself */
	uint32_t status;  /* enum eswitch_status */
	uint32_t spare;
	char sentence[256]; /* what was wrong and what would be right, NUL-terminated */
	union {
		struct {
			uint32_t magic, version;
			uint32_t pid;
			uint32_t command_rings;           /* wanted, 1 … ESWITCH_MAX_COMMAND_RINGS */
			char program[64];                 /* for logs: "ovs-vswitchd" */
			char eswitch[ESWITCH_NAME_BYTES]; /* "" = the only one there is */
		} hello;
		struct {
			uint64_t region_bytes;
			uint32_t max_rules, command_rings;
			char eswitch[ESWITCH_NAME_BYTES];
		} hello_reply;
		struct {
			char name[ESWITCH_NAME_BYTES]; /* of the representor; "" = the trunk */
			uint16_t to_host_queues, from_host_queues;
			uint32_t ring_slots; /* of each queue, a power of two, 64 … 32768 */
			uint32_t spare;
			uint64_t offloads; /* enum eswitch_packet_flags that the client takes in to_host; the rest is
					    * finished before */
		} open_port;
		struct {
			struct eswitch_port_info info;
			uint64_t region_bytes;
		} open_port_reply;
		struct {
			uint32_t count;    /* flows since the last report of the same sentence */
			uint32_t what;     /* enum eswitch_report */
			uint8_t match[64]; /* struct eswitch_fields of the last of them, as far as it was read */
			uint8_t mask[64];
		} report;                      /* the reason is `sentence` */
		struct eswitch_port_info port; /* LIST_PORTS' answer (NOT_FOUND: no more), PORT_CHANGED */
		uint32_t number;               /* CLOSE_PORT, LIST_PORTS, PORT_GONE */
	};
};

/* ---- packets: port region ---- */

/* Requests and facts about a frame. Checksums as virtio has them: csum_start and csum_offset say where the partial one
 * is. */
enum eswitch_packet_flags {
	ESWITCH_PACKET_NEXT = 1 << 0,      /* the frame goes on in the next slot */
	ESWITCH_PACKET_CSUM = 1 << 1,      /* the checksum is to be completed (to_host: need not be, it is partial) */
	ESWITCH_PACKET_CSUM_GOOD = 1 << 2, /* was verified */
	ESWITCH_PACKET_TSO4 = 1 << 3,      /* with gso_bytes, header_bytes */
	ESWITCH_PACKET_TSO6 = 1 << 4,
	ESWITCH_PACKET_USO = 1 << 5,
	ESWITCH_PACKET_MARK = 1 << 6, /* mark is that of the rule that sent it up */
};

struct eswitch_slot {    /* of the first slot of a frame; of the others only length and flags */
	uint32_t length; /* bytes in this slot's buffer */
	uint32_t flags;  /* enum eswitch_packet_flags */
	uint32_t hash;   /* of the flow, 0 = not known */
	uint32_t mark;
};
_Static_assert(sizeof(struct eswitch_slot) == 16, "four slots a cache line, and one store each");

/* In an array behind the ring's slots, for frames that have CSUM, TSO or USO among their flags: few have. */
struct eswitch_request {
	uint16_t csum_start, csum_offset;
	uint16_t gso_bytes, header_bytes;
};

enum { ESWITCH_BUFFER_BYTES = 2048 };

/* One direction of one queue: single producer, single consumer. head and tail count slots ever filled and emptied and
 * wrap around; the slot of count n is n & (slots - 1), and so are its request and its buffer. wanted: the consumer
 * sleeps, or is about to (it sets it, then looks at head again); the producer that sees it after its release of head
 * writes the eventfd. It looks with every burst, so nobody who is awake writes to that line. */
struct eswitch_ring {
	alignas(64) _Atomic uint32_t head; /* producer's line */
	alignas(64) _Atomic uint32_t tail; /* consumer's line */
	alignas(64) _Atomic uint32_t wanted;
	uint32_t slots;
	uint64_t slots_offset, buffers_offset; /* within the region; written by dpud before it is shared */
};

struct eswitch_port_region {
	uint32_t magic, version;
	uint64_t bytes;
	uint32_t to_host_queues, from_host_queues, slots, spare;
	struct eswitch_ring rings[]; /* to_host, then from_host */
};

/* ---- rules ---- */

/* Header fields that a rule can read, one cache line; wire order. Of a frame they are what its outermost headers have,
 * zero where there is none. L3 and L4 fields are read behind at most one VLAN tag. */
struct eswitch_fields {
	uint16_t in_port; /* host order; always matched exactly; 0 = the trunk, whose frames are tagged with the port */
	uint8_t flags;    /* enum eswitch_field_flags */
	uint8_t ip_proto; /* upper protocol, behind IPv6 extension headers */
	uint8_t eth_dst[6], eth_src[6];
	rte_be16_t eth_type;       /* behind the source MAC: of tagged frames the TPID */
	rte_be16_t vlan_tci;       /* of the outermost tag, without its CFI bit */
	rte_be16_t inner_type;     /* behind that tag */
	uint8_t ip_tos;            /* DSCP and ECN */
	uint8_t ip_ttl;            /* hop limit */
	rte_be16_t l4_src, l4_dst; /* ports; ICMP and ICMPv6: type and code, one byte each, in the low halves */
	rte_be16_t tcp_flags;      /* 12 bits */
	uint16_t spare;
	union {
		struct {
			rte_be32_t ip4_src, ip4_dst;
			uint8_t zero[24];
		};
		struct {
			uint8_t ip6_src[16], ip6_dst[16];
		};
	};
};
_Static_assert(sizeof(struct eswitch_fields) == 64, "fields are one cache line, and fit in a report");

enum eswitch_field_flags {
	ESWITCH_FIELD_VLAN = 1 << 0,     /* tagged */
	ESWITCH_FIELD_FRAGMENT = 1 << 1, /* any fragment */
	ESWITCH_FIELD_LATER = 1 << 2,    /* … but the first: it has no L4 fields */
};

enum eswitch_op_code {                        /* in the order of the rule; an empty list drops */
		       ESWITCH_OP_OUTPUT = 1, /* a copy of the frame as it is now leaves by `port`; by the trunk (0) the
					       * outermost tag names the port and is taken off */
		       ESWITCH_OP_UPCALL,     /* to the in-port's representor, with mark `value` if `port` is 1 */
		       ESWITCH_OP_SET_ETH_SRC,  /* bytes: 6 */
		       ESWITCH_OP_SET_ETH_DST,  /* bytes: 6 */
		       ESWITCH_OP_SET_IP4_SRC,  /* bytes: 4; checksums follow, here and below */
		       ESWITCH_OP_SET_IP4_DST,  /* bytes: 4 */
		       ESWITCH_OP_SET_IP6_SRC,  /* bytes: 16 */
		       ESWITCH_OP_SET_IP6_DST,  /* bytes: 16 */
		       ESWITCH_OP_SET_TTL,      /* value */
		       ESWITCH_OP_DEC_TTL,      /* 1 or 0 becomes: the frame goes up */
		       ESWITCH_OP_SET_DSCP,     /* value: 6 bits */
		       ESWITCH_OP_SET_TP_SRC,   /* value: port, host order */
		       ESWITCH_OP_SET_TP_DST,   /* value */
		       ESWITCH_OP_PUSH_VLAN,    /* value: TPID, host order; TCI 0 */
		       ESWITCH_OP_SET_VLAN_VID, /* value */
		       ESWITCH_OP_SET_VLAN_PCP, /* value */
		       ESWITCH_OP_POP_VLAN,
		       ESWITCH_OP_ENCAP, /* puts encap[] in front: Ethernet [VLAN] IP (UDP VXLAN | UDP Geneve … | GRE
					  * …), wire order; UDP source port 0 = chosen by the flow's hash; lengths and
					  * checksums are filled in */
};

struct eswitch_op {
	uint16_t code; /* enum eswitch_op_code */
	uint16_t port;
	uint32_t value;
	uint8_t bytes[16];
};

struct eswitch_rule {
	uint32_t index;      /* < max_rules: the client's choice among those that are free */
	uint32_t generation; /* differs from that of the former rule of this index; never 0 */
	uint16_t op_count, encap_bytes;
	uint32_t spare;
	struct eswitch_fields match; /* bits outside the mask are ignored */
	struct eswitch_fields mask;
	uint8_t encap[ESWITCH_MAX_ENCAP_BYTES];
	struct eswitch_op ops[ESWITCH_MAX_OPS]; /* op_count of them are written */
};

enum eswitch_command_code { ESWITCH_INSTALL = 1, ESWITCH_DESTROY /* index, generation */ };

struct eswitch_command {
	uint32_t code;    /* enum eswitch_command_code */
	uint32_t sent_ns; /* low bits of CLOCK_MONOTONIC when it was written, for statistics; 0 = not said */
	struct eswitch_rule rule;
};

/* Single producer (a thread of the client's, or several behind a lock), single consumer (a worker). */
struct eswitch_command_ring {
	alignas(64) _Atomic uint32_t head;
	alignas(64) _Atomic uint32_t tail;
	_Atomic uint32_t wanted; /* dpud sleeps: as in struct eswitch_ring */
	alignas(64) uint64_t commands_offset;
	uint32_t slots;
};

/* Per rule index, written by dpud only: generation << 8 | enum eswitch_rule_state. A rule whose destruction was asked
 * for keeps its index until its state is FREE: until then workers may count. A refused rule must be destroyed, too. */
enum eswitch_rule_state {
	ESWITCH_RULE_FREE = 0, /* with the generation that was destroyed */
	ESWITCH_RULE_ACTIVE,
	ESWITCH_RULE_REFUSED, /* + enum eswitch_refusal */
};
enum eswitch_refusal {
	ESWITCH_REFUSED_PORT,   /* in-port or output is no open port, or no representor */
	ESWITCH_REFUSED_INDEX,  /* out of range, or in use */
	ESWITCH_REFUSED_MATCH,  /* bits that mean nothing */
	ESWITCH_REFUSED_ACTION, /* unknown, or impossible here: nothing to pop, encapsulation that is no header … */
	ESWITCH_REFUSED_DUPLICATE, /* the same match is there */
	ESWITCH_REFUSED_MASKS,     /* more different masks than there may be */
	ESWITCH_REFUSED_MEMORY,
	ESWITCH_REFUSALS,
};

/* Of one worker and rule; written by that worker alone, never reset: the reader subtracts. */
struct eswitch_counter {
	_Atomic uint64_t packets, bytes;
};

struct eswitch_region {
	uint32_t magic, version;
	uint64_t bytes;
	uint32_t max_rules, workers, command_rings, max_masks;
	uint64_t states_offset;   /* _Atomic uint32_t[max_rules] */
	uint64_t counters_offset; /* struct eswitch_counter[workers][max_rules] */
	_Atomic uint32_t bypass;  /* 1: nothing is offloaded at present, everything goes up */
	uint32_t spare;
	struct eswitch_command_ring rings[ESWITCH_MAX_COMMAND_RINGS];
};
