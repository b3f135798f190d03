/* SPDX-License-Identifier: BSD-3-Clause */
/* memif 2.0 on the wire and in shared memory: packets between two processes of one machine, as DPDK and VPP speak it.
 *
 * A client connects to a server's SOCK_SEQPACKET socket. It owns the memory: regions (descriptors of shared memory) and
 * in them rings, each with an eventfd. In both directions the client writes a ring's head and the server its tail: to
 * the server the client fills descriptors and the server empties them; to the client the client offers empty buffers
 * and the server fills them. Numbers are in the machine's byte order. */
#pragma once

#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

enum {
	MEMIF_VERSION = 0x0200,
	MEMIF_COOKIE = 0x3e31f20,
	MEMIF_MODE_ETHERNET = 0,
	MEMIF_ADD_RING_TO_SERVER = 1,
	MEMIF_RING_MASK_INT = 1, /* the receiver looks by itself: no interrupts */
	MEMIF_DESC_NEXT = 1,     /* the frame goes on in the next descriptor */
	MEMIF_MAX_LOG2_RING = 14,
	MEMIF_MAX_REGIONS = 256,
	MEMIF_NAME_BYTES = 32,
};

/* Server and client take turns: HELLO, INIT, and ACK for INIT and each ADD_…, CONNECTED for CONNECT. */
enum memif_message_type {
	MEMIF_ACK = 1,
	MEMIF_HELLO,      /* server */
	MEMIF_INIT,       /* client, as all up to CONNECT */
	MEMIF_ADD_REGION, /* with the descriptor of the memory */
	MEMIF_ADD_RING,   /* with an eventfd */
	MEMIF_CONNECT,
	MEMIF_CONNECTED,
	MEMIF_DISCONNECT, /* either */
};

struct memif_hello {
	char name[MEMIF_NAME_BYTES];
	uint16_t min_version, max_version;
	uint16_t max_region, max_ring_to_client, max_ring_to_server; /* highest index */
	uint8_t max_log2_ring;
} __attribute__((packed));
struct memif_init {
	uint16_t version;
	uint32_t id;
	uint8_t mode;
	char secret[24];
	char name[MEMIF_NAME_BYTES];
} __attribute__((packed));
struct memif_add_region {
	uint16_t index;
	uint64_t bytes;
} __attribute__((packed));
struct memif_add_ring {
	uint16_t flags, index, region;
	uint32_t offset;
	uint8_t log2_ring;
	uint16_t private_header;
} __attribute__((packed));
struct memif_disconnect {
	uint32_t code;
	char why[96];
} __attribute__((packed));

struct memif_message {
	uint16_t type;
	union {
		struct memif_hello hello;
		struct memif_init init;
		struct memif_add_region add_region;
		struct memif_add_ring add_ring;
		char interface[MEMIF_NAME_BYTES]; /* of CONNECT and CONNECTED */
		struct memif_disconnect disconnect;
		uint8_t bytes[126];
	};
} __attribute__((packed));
_Static_assert(sizeof(struct memif_message) == 128, "memif messages have 128 bytes");

struct memif_desc {
	uint16_t flags, region;
	uint32_t length; /* of the frame's part; of an empty buffer on the way to the server: its size */
	uint32_t offset, metadata;
};
struct memif_shared_ring {
	uint32_t cookie;
	_Atomic uint16_t flags;            /* the receiver's */
	_Atomic uint16_t head;             /* the client's */
	alignas(64) _Atomic uint16_t tail; /* the server's */
	alignas(64) struct memif_desc descs[];
};
_Static_assert(sizeof(struct memif_desc) == 16 && sizeof(struct memif_shared_ring) == 128, "the ring's layout");
