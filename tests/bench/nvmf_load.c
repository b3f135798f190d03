// SPDX-License-Identifier: BSD-3-Clause
/* Load for an NVMe/TCP target, and the bare TCP echo that it is measured against: requests of 72 bytes, answers of
 * 4,168.
 *
 *   nvmf_load read ADDRESS PORT NQN [queues=1] [depth=32] [seconds=5] [digests=0..3] [write|fill]
 *   nvmf_load echo-server ADDRESS PORT          until it is killed
 *   nvmf_load echo ADDRESS PORT [queues=1] [depth=32] [seconds=5]
 *
 * One thread; random reads (or writes) of 4 KiB over the whole of namespace 1, or all of it written once, from the
 * beginning (fill). Prints JSON. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "base/clock.h"
#include "device/nvme/nvme_data.h"
#include "device/nvme/nvme_tcp.h"
#include "engine/crc32c/crc32c.h"

enum {
	IO_BYTES = 4096,
	REQUEST_BYTES = 72,
	ANSWER_BYTES = 4168,
	QUEUES_MAX = 64,
	DEPTH_MAX = 512,
	RECEIVE_BYTES = 1 << 20,
};

struct load {
	unsigned queues, depth, seconds, digests;
	bool write, fill, echo;
	uint64_t next; /* of fill */
	uint64_t blocks;
	unsigned shift;
	uint64_t done;
	uint64_t random;
};

struct connection {
	int fd;
	uint8_t *in;
	size_t have;
	uint8_t *out; /* requests to be sent */
	size_t out_bytes, out_sent;
};

static void die(const char *what)
{
	fprintf(stderr, "nvmf_load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void require(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "nvmf_load: %s\n", what);
	exit(1);
}

static struct sockaddr_in address_of(const char *address, const char *port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };

	require(inet_pton(AF_INET, address, &in.sin_addr) == 1, "not an IPv4 address");
	return in;
}

static int dial(const struct sockaddr_in *to)
{
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) != 0)
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static void put(int fd, const void *bytes, size_t count)
{
	if (send(fd, bytes, count, MSG_NOSIGNAL) != (ssize_t)count)
		die("send");
}

static void get(int fd, void *bytes, size_t count)
{
	if (recv(fd, bytes, count, MSG_WAITALL) != (ssize_t)count)
		die("the target closed the connection");
}

/* ---- a queue's handshake ---- */

/* Header and digest, then data and digest, as they were agreed on. */
static size_t capsule_make(const struct load *load, struct nvme_sqe *sqe, const void *data, uint32_t bytes, uint8_t *to)
{
	bool hdgst = load->digests & NVME_TCP_DGST_HEADER, ddgst = bytes && (load->digests & NVME_TCP_DGST_DATA);
	uint32_t end = REQUEST_BYTES + (hdgst ? 4u : 0u), digest;
	struct nvme_tcp_capsule_cmd pdu = {
		.header = { .type = NVME_TCP_CAPSULE_CMD,
			    .flags = (uint8_t)((hdgst ? NVME_TCP_HDGSTF : 0) | (ddgst ? NVME_TCP_DDGSTF : 0)),
			    .hlen = REQUEST_BYTES,
			    .pdo = bytes ? (uint8_t)end : 0,
			    .plen = end + bytes + (ddgst ? 4u : 0u) },
		.sqe = *sqe,
	};

	pdu.sqe.flags |= NVME_PSDT_SGL;
	memcpy(to, &pdu, sizeof(pdu));
	digest = hdgst ? crc32c(0, &pdu, sizeof(pdu)) : 0;
	if (hdgst)
		memcpy(to + REQUEST_BYTES, &digest, sizeof(digest));
	if (bytes)
		memcpy(to + end, data, bytes);
	digest = ddgst ? crc32c(0, data, bytes) : 0;
	if (ddgst)
		memcpy(to + end + bytes, &digest, sizeof(digest));
	return pdu.header.plen;
}

/* Sends a command and waits; data to us is copied to in. */
static struct nvme_cqe command(const struct load *load, int fd, struct nvme_sqe *sqe, const void *data, uint32_t bytes,
			       uint8_t *in)
{
	uint8_t pdu[8192];
	struct nvme_tcp_header header;

	put(fd, pdu, capsule_make(load, sqe, data, bytes, pdu));
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

static uint16_t queue_connect(const struct load *load, int fd, const char *nqn, uint16_t qid, uint16_t cntlid)
{
	struct nvme_tcp_icreq icreq = { .header = { .type = NVME_TCP_ICREQ, .hlen = 128, .plen = 128 },
					.dgst = (uint8_t)load->digests };
	struct nvme_tcp_icresp icresp;
	struct nvme_connect_data data = { .hostid = { 42 }, .cntlid = cntlid };
	union {
		struct nvme_connect_sqe connect;
		struct nvme_sqe sqe;
	} sqe = { .connect = { .opcode = NVME_FABRICS,
			       .fctype = NVME_FABRICS_CONNECT,
			       .sgl = { .length = sizeof(data), .type = NVME_SGL_IN_CAPSULE },
			       .qid = qid,
			       .sqsize = (uint16_t)(qid ? load->depth : 31),
			       .cattr = qid ? NVME_CATTR_NO_FLOW_CONTROL : 0 } };

	put(fd, &icreq, sizeof(icreq));
	get(fd, &icresp, sizeof(icresp));
	require(icresp.header.type == NVME_TCP_ICRESP && icresp.dgst == load->digests, "no ICResp");
	snprintf(data.subnqn, sizeof(data.subnqn), "%s", nqn);
	snprintf(data.hostnqn, sizeof(data.hostnqn), "nqn.2025-01.org.example:load");
	struct nvme_cqe cqe = command(load, fd, &sqe.sqe, &data, sizeof(data), NULL);
	require(cqe.status == 0, "Connect is refused");
	return (uint16_t)cqe.result;
}

static uint16_t controller_open(struct load *load, int fd, const char *nqn)
{
	uint16_t cntlid = queue_connect(load, fd, nqn, 0, NVME_CNTLID_DYNAMIC);
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

	require(command(load, fd, &set.sqe, NULL, 0, NULL).status == 0, "the controller does not start");
	require(command(load, fd, &identify, NULL, 0, (uint8_t *)&ns).status == 0, "no namespace 1");
	load->shift = ns.lbaf[0].log2_bytes;
	load->blocks = ns.nsze >> (12 - load->shift);
	require(load->blocks > 0, "namespace 1 is empty");
	return cntlid;
}

/* ---- load ---- */

static uint64_t random_next(struct load *load)
{
	load->random ^= load->random << 13;
	load->random ^= load->random >> 7;
	load->random ^= load->random << 17;
	return load->random;
}

static void request_add(struct load *load, struct connection *connection, uint16_t cid)
{
	static const uint8_t data[IO_BYTES] = { 1 };
	uint64_t block = load->fill ? load->next++ : random_next(load);
	uint64_t lba = block % (load->blocks ? load->blocks : 1) << (12 - load->shift);
	struct nvme_sqe sqe = {
		.opcode = load->write ? NVME_WRITE : NVME_READ,
		.cid = cid,
		.nsid = 1,
		.sgl = { .length = IO_BYTES, .type = load->write ? NVME_SGL_IN_CAPSULE : NVME_SGL_TRANSPORT_DATA },
		.cdw10 = (uint32_t)lba,
		.cdw11 = (uint32_t)(lba >> 32),
		.cdw12 = (1u << (12 - load->shift)) - 1,
	};

	connection->out_bytes +=
		capsule_make(load, &sqe, data, load->write ? IO_BYTES : 0, connection->out + connection->out_bytes);
}

static void requests_send(struct connection *connection)
{
	while (connection->out_sent < connection->out_bytes) {
		ssize_t n = send(connection->fd, connection->out + connection->out_sent,
				 connection->out_bytes - connection->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			die("send");
		connection->out_sent += (size_t)n;
	}
	connection->out_sent = connection->out_bytes = 0;
}

/* Bytes of the answer at the beginning of what was received, and whose it is; 0: not whole. */
static size_t answer_parse(const struct load *load, const uint8_t *at, size_t have, uint16_t *ret_cid, bool *ret_done)
{
	struct nvme_tcp_data pdu;

	if (load->echo) {
		*ret_done = true;
		return have < ANSWER_BYTES ? 0 : ANSWER_BYTES;
	}
	if (have < sizeof(pdu))
		return 0;
	memcpy(&pdu, at, sizeof(pdu));
	if (have < pdu.header.plen)
		return 0;
	if (pdu.header.type == NVME_TCP_C2H_DATA) {
		*ret_cid = pdu.cccid;
		*ret_done = pdu.header.flags & NVME_TCP_SUCCESS;
	} else {
		const struct nvme_cqe *cqe = &((const struct nvme_tcp_capsule_resp *)at)->cqe;

		require(pdu.header.type == NVME_TCP_CAPSULE_RESP && cqe->status == 0, "a command failed");
		*ret_cid = cqe->cid;
		*ret_done = true;
	}
	return pdu.header.plen;
}

static void answers_take(struct load *load, struct connection *connection)
{
	ssize_t n =
		recv(connection->fd, connection->in + connection->have, RECEIVE_BYTES - connection->have, MSG_DONTWAIT);
	size_t used = 0, bytes;
	uint16_t cid = 0;
	bool done;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		die("the target closed the connection");
	connection->have += (size_t)n;
	while ((bytes = answer_parse(load, connection->in + used, connection->have - used, &cid, &done)) > 0) {
		used += bytes;
		if (!done)
			continue;
		load->done++;
		request_add(load, connection, cid);
	}
	connection->have -= used;
	memmove(connection->in, connection->in + used, connection->have);
	requests_send(connection);
}

static void run(struct load *load, struct connection *connections)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	uint64_t warm = 0, begin = 0, now = clock_ns(), end = now + CLOCK_NS_PER_S * (load->seconds + 1);
	uint64_t warm_end = now + CLOCK_NS_PER_S;

	for (unsigned i = 0; i < load->queues; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = &connections[i] };

		epoll_ctl(epoll, EPOLL_CTL_ADD, connections[i].fd, &event);
		for (unsigned j = 0; j < load->depth; j++)
			request_add(load, &connections[i], (uint16_t)j);
		requests_send(&connections[i]);
	}
	while ((now = clock_ns()) < end || (load->fill && load->done < load->blocks)) {
		if (load->fill && load->done >= load->blocks)
			break;
		struct epoll_event events[QUEUES_MAX];
		int count = epoll_wait(epoll, events, QUEUES_MAX, 100);

		for (int i = 0; i < count; i++)
			answers_take(load, events[i].data.ptr);
		if (begin == 0 && now >= warm_end) {
			begin = now;
			warm = load->done;
		}
	}
	printf("{\"queues\": %u, \"depth\": %u, \"digests\": %u, \"write\": %s, \"iops\": %.0f, \"requests\": %lu}\n",
	       load->queues, load->depth, load->digests, load->write ? "true" : "false",
	       (double)(load->done - warm) * 1e9 / (double)(now - begin), load->done);
}

/* ---- the echo's server ---- */

static void echo_serve(int fd, uint64_t *pending)
{
	static uint8_t answers[64 * ANSWER_BYTES];
	uint8_t requests[64 * REQUEST_BYTES];
	ssize_t n = recv(fd, requests, sizeof(requests), MSG_DONTWAIT);

	if (n <= 0) {
		if (n == 0 || errno != EAGAIN)
			close(fd);
		return;
	}
	*pending += (uint64_t)n;
	uint64_t count = *pending / REQUEST_BYTES;

	*pending %= REQUEST_BYTES;
	for (size_t left = count * ANSWER_BYTES; left > 0;) {
		ssize_t sent = send(fd, answers, left < sizeof(answers) ? left : sizeof(answers), MSG_NOSIGNAL);

		if (sent < 0)
			return;
		left -= (size_t)sent;
	}
}

static void echo_server(const char *address, const char *port)
{
	struct sockaddr_in in = address_of(address, port);
	static uint64_t pending[1024];
	int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN, .data.fd = listener };

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&in, sizeof(in)) != 0 || listen(listener, 64) != 0)
		die("listen");
	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
	for (;;) {
		struct epoll_event events[QUEUES_MAX];
		int count = epoll_wait(epoll, events, QUEUES_MAX, 0); /* it polls, as the target does under load */

		for (int i = 0; i < count; i++) {
			if (events[i].data.fd != listener) {
				echo_serve(events[i].data.fd, &pending[events[i].data.fd]);
				continue;
			}
			int fd = accept(listener, NULL, NULL);
			event = (struct epoll_event){ .events = EPOLLIN, .data.fd = fd };
			require(fd >= 0 && fd < 1024, "too many connections");
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
			epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
		}
	}
}

/* ---- begin ---- */

static void option(struct load *load, const char *word)
{
	const char *value = strchr(word, '=');
	unsigned number = value ? (unsigned)atoi(value + 1) : 0;

	if (strncmp(word, "queues=", 7) == 0)
		load->queues = number;
	else if (strncmp(word, "depth=", 6) == 0)
		load->depth = number;
	else if (strncmp(word, "seconds=", 8) == 0)
		load->seconds = number;
	else if (strncmp(word, "digests=", 8) == 0)
		load->digests = number;
	else if (strcmp(word, "write") == 0)
		load->write = true;
	else if (strcmp(word, "fill") == 0)
		load->write = load->fill = true;
	else
		require(false, "no such option");
}

int main(int argc, char **argv)
{
	static struct connection connections[QUEUES_MAX];
	struct load load = { .queues = 1, .depth = 32, .seconds = 5, .random = 88172645463325252u };

	require(argc >= 4, "usage: nvmf_load read|echo|echo-server ADDRESS PORT …");
	if (strcmp(argv[1], "echo-server") == 0)
		echo_server(argv[2], argv[3]);
	load.echo = strcmp(argv[1], "echo") == 0;
	int first = load.echo ? 4 : 5;
	require(argc >= first, "the target's NQN is missing");
	for (int i = first; i < argc; i++)
		option(&load, argv[i]);
	require(load.queues >= 1 && load.queues <= QUEUES_MAX && load.depth >= 1 && load.depth <= DEPTH_MAX &&
			load.digests < 4,
		"an option is out of range");
	struct sockaddr_in to = address_of(argv[2], argv[3]);
	int admin = -1;
	uint16_t cntlid = 0;

	if (!load.echo) {
		admin = dial(&to);
		cntlid = controller_open(&load, admin, argv[4]);
	}
	for (unsigned i = 0; i < load.queues; i++) {
		struct connection *connection = &connections[i];

		connection->fd = dial(&to);
		connection->in = malloc(RECEIVE_BYTES);
		connection->out = malloc((size_t)DEPTH_MAX * (REQUEST_BYTES + IO_BYTES + 8));
		require(connection->in && connection->out, "no memory");
		if (!load.echo)
			queue_connect(&load, connection->fd, argv[4], (uint16_t)(i + 1), cntlid);
	}
	run(&load, connections);
	if (admin >= 0)
		close(admin);
	return 0;
}
