/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests: an NVMe/TCP target in the same thread, which does what it is told, the forbidden too. */
#pragma once

#include <netinet/in.h>
#include "device/nvme/nvme_data.h"
#include "device/nvme/nvme_tcp.h"
#include "operating/stream.h"

enum { FAKE_PORTS = 2, FAKE_HELD = 256 };

struct fake_target;
struct fake_connection;

struct fake_port {
	struct fake_target *target;
	struct stream_listener *listener;
	struct sockaddr_in address;
	enum nvme_ana_state ana;
	bool refuses;  /* closes whoever comes */
	bool mute;     /* accepts, and does not greet */
	bool no_cache; /* its controllers have no volatile one */
	unsigned unanswered;
};

/* A write that was received and not carried out. */
struct fake_held {
	struct nvme_sqe sqe;
	uint8_t *data;
	uint32_t bytes;
};

struct fake_target {
	struct stream_group *streams;
	struct fake_port ports[FAKE_PORTS];
	unsigned open; /* connections */
	struct fake_connection *connections;
	uint8_t *memory;
	uint64_t blocks;
	unsigned shift;
	uint32_t nsid;
	uint8_t uuid[16];
	/* how it behaves */
	uint32_t maxh2cdata, r2t_bytes, c2h_bytes; /* of an R2T, of a C2HData; 0: all at once */
	uint8_t cpda, digests;                     /* answers to the greeting; digests: 0xff = as asked */
	uint8_t mdts;                              /* 0: 6 */
	uint16_t ioccsz;                           /* 0: 4 + 256 */
	uint16_t queues;                           /* that it grants; 0: as many as are asked for */
	uint16_t kas;                              /* granularity of keep-alive, 100 ms */
	bool write_protected;                      /* the namespace */
	uint8_t lba_format;                        /* number of the one that is in use */
	uint32_t strangers;                        /* namespaces 1 to … beside the one that there is */
	bool success_flag, no_ready, silent, holds_writes, no_keep_alive, no_flow_control_refused;
	unsigned bad_data_digests, bad_header_digests; /* that many to come */
	uint16_t fail_status;                          /* the next `fail_count` I/O commands end so */
	unsigned fail_count;
	/* Sees every command first: true = it needs no more. */
	bool (*command)(struct fake_target *target, struct fake_connection *connection, const struct nvme_sqe *sqe);
	void *ctx;
	struct fake_held held[FAKE_HELD];
	unsigned held_count;
	struct nvme_discovery_entry entries[16];
	uint64_t entry_count, genctr;
	unsigned commands[256], reads_by_port[FAKE_PORTS], writes_by_port[FAKE_PORTS];
	unsigned terminations; /* H2CTermReq received, with the last FES and the bytes of the PDU at fault: */
	uint16_t fes;
	uint32_t quoted;
	unsigned aborts, connects, shutdowns;
	unsigned digest_errors; /* data that contradicted its digest: refused with a status, or … */
	bool digest_errors_end; /* … by the end of the connection */
};

void fake_open(struct fake_target *target, struct stream_group *streams, uint64_t bytes, unsigned shift);
/* Connections are dropped; poll the io_uring until target->open is 0, then fake_free(). */
void fake_close(struct fake_target *target);
void fake_free(struct fake_target *target);
void fake_drop(struct fake_target *target, unsigned port); /* all connections of a port */
/* Executes what was held, in order or backwards. */
void fake_release(struct fake_target *target, bool backwards);
void fake_event(struct fake_target *target, uint32_t dw0); /* on every admin queue that waits for one */
/* Raw. */
void fake_respond(struct fake_connection *connection, uint16_t cid, uint64_t result, uint16_t status);
void fake_send(struct fake_connection *connection, const void *bytes, size_t count);
void fake_data(struct fake_connection *connection, const struct nvme_sqe *sqe, const void *data, uint32_t bytes);
unsigned fake_queue(const struct fake_connection *connection);
unsigned fake_port_of(const struct fake_connection *connection);
