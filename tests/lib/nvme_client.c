// SPDX-License-Identifier: BSD-3-Clause
/* The host's side of NVMe/TCP, for loads. */
#include "nvme_client.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "device/nvme/nvme_data.h"
#include "device/nvme/nvme_tcp.h"
#include "engine/crc32c/crc32c.h"

enum { RECEIVE_BYTES = 1 << 20 };

static void die(const char *what)
{
	fprintf(stderr, "NVMe/TCP client: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void require(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "NVMe/TCP client: %s\n", what);
	exit(1);
}

static int dial(const struct sockaddr_in *to)
{
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) != 0)
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static void put_flags(int fd, const void *bytes, size_t count, int flags)
{
	if (send(fd, bytes, count, flags | MSG_NOSIGNAL) != (ssize_t)count)
		die("send");
}

static void put(int fd, const void *bytes, size_t count)
{
	put_flags(fd, bytes, count, 0);
}

/* … and more follows at once. */
static void put_more(int fd, const void *bytes, size_t count)
{
	put_flags(fd, bytes, count, MSG_MORE);
}

static void get(int fd, void *bytes, size_t count)
{
	if (recv(fd, bytes, count, MSG_WAITALL) != (ssize_t)count)
		die("the target closed the connection");
}

/* ---- a queue's handshake ---- */

/* Header and digest, then data and digest, as they were agreed on. */
static size_t capsule_make(const struct nvme_client *client, struct nvme_sqe *sqe, const void *data, uint32_t bytes,
			   uint8_t *to)
{
	bool hdgst = client->digests & NVME_TCP_DGST_HEADER, ddgst = bytes && (client->digests & NVME_TCP_DGST_DATA);
	uint32_t end = NVME_CLIENT_REQUEST_BYTES + (hdgst ? 4u : 0u), digest;
	struct nvme_tcp_capsule_cmd pdu = {
		.header = { .type = NVME_TCP_CAPSULE_CMD,
			    .flags = (uint8_t)((hdgst ? NVME_TCP_HDGSTF : 0) | (ddgst ? NVME_TCP_DDGSTF : 0)),
			    .hlen = NVME_CLIENT_REQUEST_BYTES,
			    .pdo = bytes ? (uint8_t)end : 0,
			    .plen = end + bytes + (ddgst ? 4u : 0u) },
		.sqe = *sqe,
	};

	pdu.sqe.flags |= NVME_PSDT_SGL;
	memcpy(to, &pdu, sizeof(pdu));
	digest = hdgst ? crc32c(0, &pdu, sizeof(pdu)) : 0;
	if (hdgst)
		memcpy(to + NVME_CLIENT_REQUEST_BYTES, &digest, sizeof(digest));
	if (bytes)
		memcpy(to + end, data, bytes);
	digest = ddgst ? crc32c(0, data, bytes) : 0;
	if (ddgst)
		memcpy(to + end + bytes, &digest, sizeof(digest));
	return pdu.header.plen;
}

/* Sends a command and waits; data to us is copied to in. */
static struct nvme_cqe command(const struct nvme_client *client, int fd, struct nvme_sqe *sqe, const void *data,
			       uint32_t bytes, uint8_t *in)
{
	uint8_t pdu[8192];
	struct nvme_tcp_header header;

	put(fd, pdu, capsule_make(client, sqe, data, bytes, pdu));
	for (;;) {
		get(fd, &header, sizeof(header));
		require(header.plen <= sizeof(pdu) && header.plen > sizeof(header), "a PDU of a strange length");
		memcpy(pdu, &header, sizeof(header));
		get(fd, pdu + sizeof(header), header.plen - sizeof(header));
		if (header.type == NVME_TCP_C2H_DATA) {
			memcpy(in, pdu + header.pdo, 4096);
			continue;
		}
		require(header.type == NVME_TCP_CAPSULE_RESP, "the target refuses");
		return ((struct nvme_tcp_capsule_resp *)pdu)->cqe;
	}
}

static uint16_t queue_connect(const struct nvme_client *client, int fd, const char *nqn, uint16_t qid, uint16_t cntlid)
{
	struct nvme_tcp_icreq icreq = { .header = { .type = NVME_TCP_ICREQ, .hlen = 128, .plen = 128 },
					.dgst = (uint8_t)client->digests };
	struct nvme_tcp_icresp icresp;
	struct nvme_connect_data data = { .hostid = { 42 }, .cntlid = cntlid };
	union {
		struct nvme_connect_sqe connect;
		struct nvme_sqe sqe;
	} sqe = { .connect = { .opcode = NVME_FABRICS,
			       .fctype = NVME_FABRICS_CONNECT,
			       .sgl = { .length = sizeof(data), .type = NVME_SGL_IN_CAPSULE },
			       .qid = qid,
			       .sqsize = (uint16_t)(qid ? client->depth : 31),
			       .cattr = qid ? NVME_CATTR_NO_FLOW_CONTROL : 0 } };

	put(fd, &icreq, sizeof(icreq));
	get(fd, &icresp, sizeof(icresp));
	require(icresp.header.type == NVME_TCP_ICRESP && icresp.dgst == client->digests, "no ICResp");
	snprintf(data.subnqn, sizeof(data.subnqn), "%s", nqn);
	snprintf(data.hostnqn, sizeof(data.hostnqn), "nqn.2025-01.org.example:load");
	struct nvme_cqe cqe = command(client, fd, &sqe.sqe, &data, sizeof(data), NULL);
	require(cqe.status == 0, "Connect is refused");
	return (uint16_t)cqe.result;
}

static uint16_t controller_open(struct nvme_client *client, int fd, const char *nqn)
{
	uint16_t cntlid = queue_connect(client, fd, nqn, 0, NVME_CNTLID_DYNAMIC);
	union {
		struct nvme_property_sqe property;
		struct nvme_sqe sqe;
	} set = { .property = { .opcode = NVME_FABRICS,
				.fctype = NVME_FABRICS_PROPERTY_SET,
				.offset = NVME_CC,
				.value = 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT | NVME_CC_EN } };
	struct nvme_sqe identify = { .opcode = NVME_ADMIN_IDENTIFY,
				     .nsid = 1,
				     .sgl = { .length = 4096, .type = NVME_SGL_TRANSPORT_DATA } };
	static struct nvme_identify_namespace ns;

	require(command(client, fd, &set.sqe, NULL, 0, NULL).status == 0, "the controller does not start");
	require(command(client, fd, &identify, NULL, 0, (uint8_t *)&ns).status == 0, "no namespace 1");
	client->shift = ns.lbaf[0].log2_bytes;
	client->blocks = ns.nsze / (client->bytes >> client->shift);
	require(client->blocks > 0, "namespace 1 is empty");
	return cntlid;
}

/* ---- life ---- */

void nvme_client_open(struct nvme_client *client, const char *address, const char *port, const char *nqn)
{
	client->to = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	require(inet_pton(AF_INET, address, &client->to.sin_addr) == 1, "not an IPv4 address");
	require(client->depth >= 1 && client->depth <= NVME_CLIENT_DEPTH_MAX && client->digests < 4,
		"an option is out of range");
	client->bytes = client->bytes ? client->bytes : NVME_CLIENT_BYTES;
	require(client->bytes % NVME_CLIENT_BYTES == 0 && client->bytes <= NVME_CLIENT_BYTES_MAX,
		"requests are of 4 to 128 KiB");
	client->nqn = nqn;
	client->queues = 0;
	client->admin = -1;
	client->blocks = 1;
	if (client->echo)
		return;
	client->admin = dial(&client->to);
	client->cntlid = controller_open(client, client->admin, nqn);
}

void nvme_client_close(struct nvme_client *client)
{
	if (client->admin >= 0)
		close(client->admin);
}

void nvme_queue_open(struct nvme_queue *queue, struct nvme_client *client)
{
	*queue = (struct nvme_queue){ .client = client, .fd = dial(&client->to) };
	queue->in = malloc(RECEIVE_BYTES);
	queue->out = malloc((size_t)NVME_CLIENT_DEPTH_MAX * (NVME_CLIENT_REQUEST_BYTES + NVME_CLIENT_BYTES + 8));
	require(queue->in && queue->out, "no memory");
	client->queues++;
	if (!client->echo)
		queue_connect(client, queue->fd, client->nqn, (uint16_t)client->queues, client->cntlid);
}

void nvme_queue_close(struct nvme_queue *queue)
{
	close(queue->fd);
	free(queue->in);
	free(queue->out);
}

/* ---- requests ---- */

static const uint8_t data[NVME_CLIENT_BYTES_MAX] = { 1 };

void nvme_queue_add(struct nvme_queue *queue, uint16_t cid, bool write, uint64_t block)
{
	const struct nvme_client *client = queue->client;
	uint64_t lba = block * (client->bytes >> client->shift);
	bool in_capsule = write && client->bytes == NVME_CLIENT_BYTES;
	struct nvme_sqe sqe = {
		.opcode = write ? NVME_WRITE : NVME_READ,
		.cid = cid,
		.nsid = 1,
		.sgl = { .length = client->bytes, .type = in_capsule ? NVME_SGL_IN_CAPSULE : NVME_SGL_TRANSPORT_DATA },
		.cdw10 = (uint32_t)lba,
		.cdw11 = (uint32_t)(lba >> 32),
		.cdw12 = (client->bytes >> client->shift) - 1,
	};

	queue->out_bytes +=
		capsule_make(client, &sqe, data, in_capsule ? client->bytes : 0, queue->out + queue->out_bytes);
}

void nvme_queue_send(struct nvme_queue *queue)
{
	while (queue->out_sent < queue->out_bytes) {
		ssize_t n = send(queue->fd, queue->out + queue->out_sent, queue->out_bytes - queue->out_sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			die("send");
		queue->out_sent += (size_t)n;
	}
	queue->out_sent = queue->out_bytes = 0;
}

/* What the target asks for, after what was added before; waits until it is sent. */
static void r2t_serve(struct nvme_queue *queue, const struct nvme_tcp_r2t *r2t)
{
	unsigned digests = queue->client->digests;
	struct nvme_tcp_data pdu = {
		.header = { .type = NVME_TCP_H2C_DATA,
			    .flags = (uint8_t)(NVME_TCP_LAST_PDU |
					       (digests & NVME_TCP_DGST_HEADER ? NVME_TCP_HDGSTF : 0) |
					       (digests & NVME_TCP_DGST_DATA ? NVME_TCP_DDGSTF : 0)),
			    .hlen = sizeof(pdu),
			    .pdo = (uint8_t)(sizeof(pdu) + (digests & NVME_TCP_DGST_HEADER ? 4u : 0u)) },
		.cccid = r2t->cccid,
		.ttag = r2t->ttag,
		.datao = r2t->r2to,
		.datal = r2t->r2tl,
	};
	uint32_t digest;

	require(r2t->r2tl <= queue->client->bytes, "the target asks for more than there is");
	pdu.header.plen = pdu.header.pdo + r2t->r2tl + (digests & NVME_TCP_DGST_DATA ? 4u : 0u);
	put(queue->fd, queue->out + queue->out_sent, queue->out_bytes - queue->out_sent);
	queue->out_sent = queue->out_bytes = 0;
	put_more(queue->fd, &pdu, sizeof(pdu));
	digest = crc32c(0, &pdu, sizeof(pdu));
	if (digests & NVME_TCP_DGST_HEADER)
		put_more(queue->fd, &digest, sizeof(digest));
	if (digests & NVME_TCP_DGST_DATA) {
		put_more(queue->fd, data, r2t->r2tl);
		digest = crc32c(0, data, r2t->r2tl);
		put(queue->fd, &digest, sizeof(digest));
	} else {
		put(queue->fd, data, r2t->r2tl);
	}
}

/* Bytes of the answer at the beginning of what was received, and whose it is; 0: not whole. */
static size_t answer_parse(struct nvme_queue *queue, const uint8_t *at, size_t have, uint16_t *ret_cid, bool *ret_done)
{
	struct nvme_tcp_data pdu;

	*ret_done = false;
	if (queue->client->echo) {
		*ret_done = true;
		return have < NVME_CLIENT_ANSWER_BYTES ? 0 : NVME_CLIENT_ANSWER_BYTES;
	}
	if (have < sizeof(pdu))
		return 0;
	memcpy(&pdu, at, sizeof(pdu));
	if (have < pdu.header.plen)
		return 0;
	if (pdu.header.type == NVME_TCP_C2H_DATA) {
		*ret_cid = pdu.cccid;
		*ret_done = pdu.header.flags & NVME_TCP_SUCCESS;
	} else if (pdu.header.type == NVME_TCP_R2T) {
		r2t_serve(queue, (const struct nvme_tcp_r2t *)at);
	} else {
		const struct nvme_cqe *cqe = &((const struct nvme_tcp_capsule_resp *)at)->cqe;

		require(pdu.header.type == NVME_TCP_CAPSULE_RESP && cqe->status == 0, "a command failed");
		*ret_cid = cqe->cid;
		*ret_done = true;
	}
	return pdu.header.plen;
}

void nvme_queue_receive(struct nvme_queue *queue, size_t most, void (*done)(void *ctx, uint16_t cid), void *ctx)
{
	size_t room = RECEIVE_BYTES - queue->have, used = 0, bytes;
	ssize_t n = recv(queue->fd, queue->in + queue->have, most < room ? most : room, MSG_DONTWAIT);
	uint16_t cid = 0;
	bool whole;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		die("the target closed the connection");
	queue->have += (size_t)n;
	while ((bytes = answer_parse(queue, queue->in + used, queue->have - used, &cid, &whole)) > 0) {
		used += bytes;
		if (whole)
			done(ctx, cid);
	}
	queue->have -= used;
	memmove(queue->in, queue->in + used, queue->have);
}
