/* SPDX-License-Identifier: BSD-3-Clause */
/* The host's side of NVMe/TCP, for loads: reads and writes of namespace 1, in queues of connections of their own. Or a
 * bare echo of as many bytes, without a handshake, which a target is measured against.
 *
 * Single thread; what is added is sent, and what has arrived is taken, without waiting. What the target does wrong, or
 * answers with an error, ends the process with a sentence. */
#pragma once

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	NVME_CLIENT_BYTES = 4096,
	NVME_CLIENT_REQUEST_BYTES = 72,
	NVME_CLIENT_ANSWER_BYTES = 4168,
	NVME_CLIENT_DEPTH_MAX = 512,
	NVME_CLIENT_BYTES_MAX = 128 << 10,
};

struct nvme_client {
	unsigned depth;   /* of each queue, up to NVME_CLIENT_DEPTH_MAX */
	uint32_t bytes;   /* of a request: a multiple of NVME_CLIENT_BYTES; 0: so many. Longer writes go by R2T */
	unsigned digests; /* NVME_TCP_DGST_… */
	bool echo;
	/* from here on ours */
	struct sockaddr_in to;
	const char *nqn;
	uint64_t blocks; /* of the namespace, of `bytes` */
	unsigned shift;
	int admin;
	uint16_t cntlid;
	unsigned queues;
};

struct nvme_queue {
	struct nvme_client *client;
	int fd;
	uint8_t *in;
	size_t have;
	uint8_t *out; /* requests to be sent */
	size_t out_bytes, out_sent;
};

/* nqn: NULL for an echo. */
void nvme_client_open(struct nvme_client *client, const char *address, const char *port, const char *nqn);
void nvme_client_close(struct nvme_client *client);
void nvme_queue_open(struct nvme_queue *queue, struct nvme_client *client);
void nvme_queue_close(struct nvme_queue *queue);

/* One request, which is that of cid until it is answered. */
void nvme_queue_add(struct nvme_queue *queue, uint16_t cid, bool write, uint64_t block);
void nvme_queue_send(struct nvme_queue *queue);
/* At most so many bytes from the connection; done is called for each request that was answered. */
void nvme_queue_receive(struct nvme_queue *queue, size_t bytes, void (*done)(void *ctx, uint16_t cid), void *ctx);
