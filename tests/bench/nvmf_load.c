// SPDX-License-Identifier: BSD-3-Clause
/* Load for an NVMe/TCP target, and the bare TCP echo that it is measured against: requests of 72 bytes, answers of
 * 4,168.
 *
 *   nvmf_load read ADDRESS PORT NQN [queues=1] [depth=32] [bytes=4096] [seconds=5] [digests=0..3] [write|fill]
 *   nvmf_load echo-server ADDRESS PORT          until it is killed
 *   nvmf_load echo ADDRESS PORT [queues=1] [depth=32] [seconds=5]
 *
 * One thread; random reads (or writes) over the whole of namespace 1, or all of it written once, from the
 * beginning (fill). Prints JSON. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "base/clock.h"
#include "tests/lib/nvme_client.h"

enum { QUEUES_MAX = 64, REQUEST_BYTES = NVME_CLIENT_REQUEST_BYTES, ANSWER_BYTES = NVME_CLIENT_ANSWER_BYTES };

struct load {
	struct nvme_client client;
	struct nvme_queue queue[QUEUES_MAX];
	unsigned queues, seconds;
	bool write, fill;
	uint64_t next; /* of fill */
	uint64_t done;
	uint64_t random;
};

/* Whose answers are taken. */
struct taking {
	struct load *load;
	struct nvme_queue *queue;
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

/* ---- load ---- */

static uint64_t random_next(struct load *load)
{
	load->random ^= load->random << 13;
	load->random ^= load->random >> 7;
	load->random ^= load->random << 17;
	return load->random;
}

static void request_add(struct load *load, struct nvme_queue *queue, uint16_t cid)
{
	uint64_t block = load->fill ? load->next++ : random_next(load);

	nvme_queue_add(queue, cid, load->write, block % load->client.blocks);
}

static void answered(void *ctx, uint16_t cid)
{
	struct taking *taking = ctx;

	taking->load->done++;
	request_add(taking->load, taking->queue, cid);
}

static void answers_take(struct load *load, struct nvme_queue *queue)
{
	struct taking taking = { load, queue };

	nvme_queue_receive(queue, SIZE_MAX, answered, &taking);
	nvme_queue_send(queue);
}

static void run(struct load *load)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	uint64_t warm = 0, begin = 0, now = clock_ns(), end = now + CLOCK_NS_PER_S * (load->seconds + 1);
	uint64_t warm_end = now + CLOCK_NS_PER_S;

	for (unsigned i = 0; i < load->queues; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = &load->queue[i] };

		epoll_ctl(epoll, EPOLL_CTL_ADD, load->queue[i].fd, &event);
		for (unsigned j = 0; j < load->client.depth; j++)
			request_add(load, &load->queue[i], (uint16_t)j);
		nvme_queue_send(&load->queue[i]);
	}
	while ((now = clock_ns()) < end || (load->fill && load->done < load->client.blocks)) {
		if (load->fill && load->done >= load->client.blocks)
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
	       load->queues, load->client.depth, load->client.digests, load->write ? "true" : "false",
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
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	static uint64_t pending[1024];
	int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN, .data.fd = listener };

	require(inet_pton(AF_INET, address, &in.sin_addr) == 1, "not an IPv4 address");
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
		load->client.depth = number;
	else if (strncmp(word, "bytes=", 6) == 0)
		load->client.bytes = number;
	else if (strncmp(word, "seconds=", 8) == 0)
		load->seconds = number;
	else if (strncmp(word, "digests=", 8) == 0)
		load->client.digests = number;
	else if (strcmp(word, "write") == 0)
		load->write = true;
	else if (strcmp(word, "fill") == 0)
		load->write = load->fill = true;
	else
		require(false, "no such option");
}

int main(int argc, char **argv)
{
	static struct load load = { .client.depth = 32, .queues = 1, .seconds = 5, .random = 88172645463325252u };

	require(argc >= 4, "usage: nvmf_load read|echo|echo-server ADDRESS PORT …");
	if (strcmp(argv[1], "echo-server") == 0)
		echo_server(argv[2], argv[3]);
	load.client.echo = strcmp(argv[1], "echo") == 0;
	int first = load.client.echo ? 4 : 5;
	require(argc >= first, "the target's NQN is missing");
	for (int i = first; i < argc; i++)
		option(&load, argv[i]);
	require(load.queues >= 1 && load.queues <= QUEUES_MAX, "an option is out of range");
	nvme_client_open(&load.client, argv[2], argv[3], load.client.echo ? NULL : argv[4]);
	for (unsigned i = 0; i < load.queues; i++)
		nvme_queue_open(&load.queue[i], &load.client);
	run(&load);
	for (unsigned i = 0; i < load.queues; i++)
		nvme_queue_close(&load.queue[i]);
	nvme_client_close(&load.client);
	return 0;
}
