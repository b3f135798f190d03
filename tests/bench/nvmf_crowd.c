// SPDX-License-Identifier: BSD-3-Clause
/* Thousands of connections to an NVMe/TCP target at the same time, from one thread:
 *
 *   nvmf_crowd ADDRESS PORT NQN [hosts=1024] [queues=3] [pid=PID of the target]
 *
 * Each host has an admin queue and some I/O queues. Every I/O queue writes a block of namespace 1 (of 4 KiB) and reads
 * it; then every other host breaks off in the middle of its writes, comes back, finds what was written before, and all
 * write and read again. Hosts connect in groups: all of a group send before the first answer is awaited. Prints JSON.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "device/nvme/nvme_data.h"
#include "device/nvme/nvme_tcp.h"

enum { BLOCK_BYTES = 4096, GROUP = 64, QUEUES_MAX = 16, HOSTS_MAX = 8192 };

struct queue {
	int fd;
	uint16_t qid;
	unsigned number; /* of all I/O queues: the block that it writes */
};

struct host {
	struct queue queue[1 + QUEUES_MAX]; /* the admin queue first */
	unsigned number;
	uint16_t cntlid;
};

struct crowd {
	struct sockaddr_in to;
	const char *nqn;
	unsigned hosts, queues, pid;
	struct host *host;
};

static void require(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "nvmf_crowd: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void put(int fd, const void *bytes, size_t count)
{
	require(send(fd, bytes, count, MSG_NOSIGNAL) == (ssize_t)count, "send");
}

static void get(int fd, void *bytes, size_t count)
{
	require(recv(fd, bytes, count, MSG_WAITALL) == (ssize_t)count, "the target closed a connection");
}

/* ---- commands ---- */

static void capsule_put(int fd, const void *sqe, const void *data, uint32_t bytes)
{
	uint8_t pdu[sizeof(struct nvme_tcp_capsule_cmd) + BLOCK_BYTES];
	struct nvme_tcp_capsule_cmd capsule = { .header = { .type = NVME_TCP_CAPSULE_CMD,
							    .hlen = sizeof(capsule),
							    .pdo = bytes ? sizeof(capsule) : 0,
							    .plen = sizeof(capsule) + bytes } };

	memcpy(&capsule.sqe, sqe, sizeof(capsule.sqe));
	capsule.sqe.flags |= NVME_PSDT_SGL;
	memcpy(pdu, &capsule, sizeof(capsule));
	if (bytes)
		memcpy(pdu + sizeof(capsule), data, bytes);
	put(fd, pdu, sizeof(capsule) + bytes);
}

/* The answer; data that comes before it goes to `in`. */
static struct nvme_cqe answer_get(int fd, uint8_t *in)
{
	uint8_t pdu[sizeof(struct nvme_tcp_data) + BLOCK_BYTES];
	struct nvme_tcp_header header;

	for (;;) {
		get(fd, &header, sizeof(header));
		require(header.plen <= sizeof(pdu) && header.plen > sizeof(header), "a PDU of a strange length");
		get(fd, pdu + sizeof(header), header.plen - sizeof(header));
		if (header.type == NVME_TCP_CAPSULE_RESP)
			return ((const struct nvme_tcp_capsule_resp *)pdu)->cqe;
		require(header.type == NVME_TCP_C2H_DATA && in, "a PDU of a strange type");
		memcpy(in, pdu + header.pdo, header.plen - header.pdo);
	}
}

static void success_get(int fd, uint8_t *in)
{
	struct nvme_cqe cqe = answer_get(fd, in);

	if (cqe.status >> 1)
		fprintf(stderr, "nvmf_crowd: status %x\n", cqe.status >> 1);
	require(cqe.status >> 1 == 0, "a command fails");
}

/* ---- connecting ---- */

static void dial(const struct crowd *crowd, struct queue *queue)
{
	int on = 1;
	struct nvme_tcp_icreq icreq = {
		.header = { .type = NVME_TCP_ICREQ, .hlen = sizeof(icreq), .plen = sizeof(icreq) },
	};

	queue->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	require(queue->fd >= 0, "socket");
	require(connect(queue->fd, (const struct sockaddr *)&crowd->to, sizeof(crowd->to)) == 0, "connect");
	setsockopt(queue->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	put(queue->fd, &icreq, sizeof(icreq));
}

static void icresp_get(struct queue *queue)
{
	struct nvme_tcp_icresp icresp;

	get(queue->fd, &icresp, sizeof(icresp));
	require(icresp.header.type == NVME_TCP_ICRESP, "no ICResp");
}

static void connect_put(const struct crowd *crowd, const struct host *host, const struct queue *queue)
{
	struct nvme_connect_sqe sqe = {
		.opcode = NVME_FABRICS,
		.fctype = NVME_FABRICS_CONNECT,
		.sgl = { .length = sizeof(struct nvme_connect_data), .type = NVME_SGL_IN_CAPSULE },
		.qid = queue->qid,
		.sqsize = 31,
	};
	struct nvme_connect_data data = { .cntlid = queue->qid ? host->cntlid : NVME_CNTLID_DYNAMIC };

	memcpy(data.hostid, &host->number, sizeof(host->number));
	data.hostid[15] = 1;
	snprintf(data.subnqn, sizeof(data.subnqn), "%s", crowd->nqn);
	snprintf(data.hostnqn, sizeof(data.hostnqn), "nqn.2025-01.org.example:crowd-%u", host->number);
	capsule_put(queue->fd, &sqe, &data, sizeof(data));
}

static void enable_put(const struct queue *queue)
{
	struct nvme_property_sqe sqe = { .opcode = NVME_FABRICS,
					 .fctype = NVME_FABRICS_PROPERTY_SET,
					 .offset = NVME_CC,
					 .value = 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT | NVME_CC_EN };

	capsule_put(queue->fd, &sqe, NULL, 0);
}

/* The hosts of `list`, by the queue of each that is numbered qid. */
static void queues_open(struct crowd *crowd, struct host **list, unsigned count, uint16_t qid)
{
	for (unsigned i = 0; i < count; i++)
		dial(crowd, &list[i]->queue[qid]);
	for (unsigned i = 0; i < count; i++)
		icresp_get(&list[i]->queue[qid]);
	for (unsigned i = 0; i < count; i++)
		connect_put(crowd, list[i], &list[i]->queue[qid]);
	for (unsigned i = 0; i < count; i++) {
		struct nvme_cqe cqe = answer_get(list[i]->queue[qid].fd, NULL);

		require(cqe.status >> 1 == 0, "Connect is refused");
		if (qid == 0)
			list[i]->cntlid = (uint16_t)cqe.result;
	}
	if (qid > 0)
		return;
	for (unsigned i = 0; i < count; i++)
		enable_put(&list[i]->queue[0]);
	for (unsigned i = 0; i < count; i++)
		success_get(list[i]->queue[0].fd, NULL);
}

/* Every step-th host. */
static void hosts_open(struct crowd *crowd, unsigned step)
{
	struct host *group[GROUP];
	unsigned count = 0;

	for (unsigned i = 0; i < crowd->hosts; i += step) {
		group[count++] = &crowd->host[i];
		if (count < GROUP && i + step < crowd->hosts)
			continue;
		for (unsigned qid = 0; qid <= crowd->queues; qid++)
			queues_open(crowd, group, count, (uint16_t)qid);
		count = 0;
	}
}

/* Without a word: with a reset, in the middle of a write. */
static void hosts_break(struct crowd *crowd, unsigned step)
{
	const struct linger none = { .l_onoff = 1 };
	static const uint8_t part[4000] = { NVME_TCP_CAPSULE_CMD, 0, 72, 72, 72, 16 };

	for (unsigned i = 0; i < crowd->hosts; i += step) {
		for (unsigned qid = 0; qid <= crowd->queues; qid++) {
			int fd = crowd->host[i].queue[qid].fd;

			if (qid > 0)
				put(fd, part, 72); /* a header whose data does not come */
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
			close(fd);
		}
	}
}

/* ---- blocks ---- */

static void block_fill(uint8_t *block, unsigned number, unsigned round)
{
	for (unsigned i = 0; i < BLOCK_BYTES; i += 8) {
		uint64_t word = ((uint64_t)round << 32 | number) * UINT64_C(0x9e3779b97f4a7c15) + i;

		memcpy(block + i, &word, sizeof(word));
	}
}

static void io_put(const struct queue *queue, uint8_t opcode, const uint8_t *block)
{
	struct nvme_sqe sqe = { .opcode = opcode,
				.nsid = 1,
				.cdw10 = queue->number,
				.sgl = { .length = BLOCK_BYTES,
					 .type = block ? NVME_SGL_IN_CAPSULE : NVME_SGL_TRANSPORT_DATA } };

	capsule_put(queue->fd, &sqe, block, block ? BLOCK_BYTES : 0);
}

/* On all I/O queues at the same time. */
static void blocks_write(struct crowd *crowd, unsigned round)
{
	uint8_t block[BLOCK_BYTES];

	for (unsigned i = 0; i < crowd->hosts; i++) {
		for (unsigned qid = 1; qid <= crowd->queues; qid++) {
			block_fill(block, crowd->host[i].queue[qid].number, round);
			io_put(&crowd->host[i].queue[qid], NVME_WRITE, block);
		}
	}
	for (unsigned i = 0; i < crowd->hosts; i++)
		for (unsigned qid = 1; qid <= crowd->queues; qid++)
			success_get(crowd->host[i].queue[qid].fd, NULL);
}

static void blocks_read(struct crowd *crowd, unsigned round)
{
	uint8_t block[BLOCK_BYTES], is[BLOCK_BYTES];

	for (unsigned i = 0; i < crowd->hosts; i++)
		for (unsigned qid = 1; qid <= crowd->queues; qid++)
			io_put(&crowd->host[i].queue[qid], NVME_READ, NULL);
	for (unsigned i = 0; i < crowd->hosts; i++) {
		for (unsigned qid = 1; qid <= crowd->queues; qid++) {
			success_get(crowd->host[i].queue[qid].fd, is);
			block_fill(block, crowd->host[i].queue[qid].number, round);
			require(memcmp(block, is, BLOCK_BYTES) == 0, "what is read is not what was written");
		}
	}
}

/* ---- the whole ---- */

static uint64_t resident_bytes(unsigned pid)
{
	unsigned long pages = 0;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%u/statm", pid);
	FILE *file = pid ? fopen(path, "re") : NULL;
	if (file) {
		require(fscanf(file, "%*u %lu", &pages) == 1, "statm");
		fclose(file);
	}
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static double seconds_since(uint64_t *begin_ns)
{
	uint64_t now = clock_ns(), begin = *begin_ns;

	*begin_ns = now;
	return (double)(now - begin) / 1e9;
}

static void arguments(struct crowd *crowd, int argc, char **argv)
{
	require(argc >= 4, "usage: nvmf_crowd ADDRESS PORT NQN [hosts=N] [queues=N] [pid=N]");
	crowd->to.sin_family = AF_INET;
	crowd->to.sin_port = htons((uint16_t)atoi(argv[2]));
	require(inet_pton(AF_INET, argv[1], &crowd->to.sin_addr) == 1, "not an IPv4 address");
	crowd->nqn = argv[3];
	for (int i = 4; i < argc; i++)
		require(sscanf(argv[i], "hosts=%u", &crowd->hosts) == 1 ||
				sscanf(argv[i], "queues=%u", &crowd->queues) == 1 ||
				sscanf(argv[i], "pid=%u", &crowd->pid) == 1,
			"an argument is unknown");
	require(crowd->hosts > 0 && crowd->hosts <= HOSTS_MAX && crowd->queues <= QUEUES_MAX, "too many");
	crowd->host = calloc(crowd->hosts, sizeof(*crowd->host));
	require(crowd->host, "memory");
	for (unsigned i = 0; i < crowd->hosts; i++) {
		crowd->host[i].number = i;
		for (unsigned qid = 0; qid <= crowd->queues; qid++) {
			crowd->host[i].queue[qid].qid = (uint16_t)qid;
			crowd->host[i].queue[qid].number = i * crowd->queues + qid - 1;
		}
	}
}

int main(int argc, char **argv)
{
	struct crowd crowd = { .hosts = 1024, .queues = 3 };

	arguments(&crowd, argc, argv);
	unsigned connections = crowd.hosts * (1 + crowd.queues);
	uint64_t before = resident_bytes(crowd.pid), begin = clock_ns();

	hosts_open(&crowd, 1);
	double opening = seconds_since(&begin);
	uint64_t idle = resident_bytes(crowd.pid) - before;
	begin = clock_ns();
	blocks_write(&crowd, 1);
	blocks_read(&crowd, 1);
	double io = seconds_since(&begin);
	hosts_break(&crowd, 2);
	hosts_open(&crowd, 2);
	double again = seconds_since(&begin);
	blocks_read(&crowd, 1);
	blocks_write(&crowd, 2);
	blocks_read(&crowd, 2);
	printf("{\"connections\": %u, \"open_s\": %.2f, \"io_s\": %.2f, \"break_half_and_reopen_s\": %.2f, "
	       "\"bytes_each\": %llu}\n",
	       connections, opening, io, again, (unsigned long long)(idle / connections));
	free(crowd.host);
	return 0;
}
