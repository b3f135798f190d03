/* SPDX-License-Identifier: BSD-3-Clause */
/* Namespaces, transfers and wires for tests of ports. */
#include "operating/net_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <netinet/in.h>

enum { TEST_PORT = 5001, SKIPPED = 77, CHUNK = 1 << 16 };

/* ---- set-up ---- */

/* DPDK's af_xdp driver loses these when a device is unplugged. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:xsk_umem__create\n";
}

void net_rig_init(void)
{
	struct eal_options options = { .memory_mb = 160 };
	struct dpu_error err;

	if (unshare(CLONE_NEWNET) < 0) {
		fprintf(stderr, "skipped: no new network namespace: %s\n", strerror(errno));
		exit(SKIPPED);
	}
	signal(SIGPIPE, SIG_IGN);
	if (eal_start(&options, &err) < 0) {
		fprintf(stderr, "%s\n", err.message);
		exit(1);
	}
	run_in(NULL, "ip link set lo up");
}

struct rte_mempool *test_pool(void)
{
	static struct rte_mempool *pool;
	struct dpu_error err;

	if (!pool)
		pool = packet_pool_new("test", 16384, 0, &err);
	if (!pool)
		fail_msg("%s", err.message);
	return pool;
}

/* The keeper dies with us, and the namespace with it. */
static void keep_namespace(int ready)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	char ok = unshare(CLONE_NEWNET) == 0;
	if (write(ready, &ok, 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

void netns_up(struct netns *ns)
{
	int ready[2];
	char ok = 0;

	assert_int_equal(pipe(ready), 0);
	ns->pid = fork();
	assert_true(ns->pid >= 0);
	if (ns->pid == 0)
		keep_namespace(ready[1]);
	assert_int_equal(read(ready[0], &ok, 1), 1);
	assert_true(ok);
	close(ready[0]);
	close(ready[1]);
	snprintf(ns->path, sizeof(ns->path), "/proc/%d/ns/net", ns->pid);
	run_in(ns, "ip link set lo up");
}

void netns_down(struct netns *ns)
{
	kill(ns->pid, SIGKILL);
	waitpid(ns->pid, NULL, 0);
}

static int run_command(const struct netns *ns, const char *fmt, va_list args)
{
	char command[1024], whole[1200];

	vsnprintf(command, sizeof(command), fmt, args);
	if (ns)
		snprintf(whole, sizeof(whole), "nsenter --net=%s sh -c '%s'", ns->path, command);
	else
		snprintf(whole, sizeof(whole), "%s", command);
	return system(whole);
}

void run_in(const struct netns *ns, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	int status = run_command(ns, fmt, args);
	va_end(args);
	if (status != 0)
		fail_msg("command failed: %s", fmt);
}

bool try_in(const struct netns *ns, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	int status = run_command(ns, fmt, args);
	va_end(args);
	return status == 0;
}

void exec_self(const char *argument)
{
	const char *emulator = getenv("MESON_EXE_WRAPPER");
	char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (length < 0)
		return;
	path[length] = '\0';
	if (emulator)
		execl(emulator, emulator, path, argument, NULL);
	else
		execl(path, path, argument, NULL);
}

/* ---- traffic ---- */

static int enter(const struct netns *ns)
{
	int fd = open(ns->path, O_RDONLY | O_CLOEXEC);
	int status = fd < 0 ? -1 : setns(fd, CLONE_NEWNET);

	close(fd);
	return status;
}

static socklen_t resolve(const char *address, struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(TEST_PORT);
		return sizeof(*v4);
	}
	inet_pton(AF_INET6, address, &v6->sin6_addr);
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(TEST_PORT);
	return sizeof(*v6);
}

static void fill(uint8_t *bytes, size_t length, uint64_t at)
{
	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)((at + i) * 2654435761u >> 13);
}

static bool set_timeouts(int fd)
{
	struct timeval timeout = { .tv_sec = 15 };

	return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) == 0 &&
	       setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) == 0;
}

/* Each returns 0 if all went well: exit codes of children. */
static int tcp_receive(int listener, uint64_t bytes)
{
	static uint8_t chunk[CHUNK], expected[CHUNK];
	int fd = accept(listener, NULL, NULL);
	uint64_t at = 0;

	while (at < bytes) {
		ssize_t length = recv(fd, chunk, sizeof(chunk), 0);
		if (length <= 0)
			return 2;
		fill(expected, (size_t)length, at);
		if (memcmp(chunk, expected, (size_t)length) != 0)
			return 3;
		at += (uint64_t)length;
	}
	return send(fd, "k", 1, 0) == 1 ? 0 : 4;
}

static int tcp_send(const struct sockaddr_storage *peer, socklen_t peer_length, uint64_t bytes)
{
	static uint8_t chunk[CHUNK];
	int fd = socket(peer->ss_family, SOCK_STREAM, 0);
	char answer;

	if (!set_timeouts(fd) || connect(fd, (const struct sockaddr *)peer, peer_length) < 0)
		return 2;
	for (uint64_t at = 0; at < bytes;) {
		size_t want = bytes - at < CHUNK ? (size_t)(bytes - at) : CHUNK;
		fill(chunk, want, at);
		ssize_t sent = send(fd, chunk, want, MSG_NOSIGNAL);
		if (sent <= 0)
			return 3;
		at += (uint64_t)sent;
	}
	return recv(fd, &answer, 1, 0) == 1 && answer == 'k' ? 0 : 4;
}

static int udp_answer(int fd)
{
	uint8_t datagram[CHUNK];
	struct sockaddr_storage from;

	for (;;) {
		socklen_t length = sizeof(from);
		ssize_t bytes = recvfrom(fd, datagram, sizeof(datagram), 0, (struct sockaddr *)&from, &length);
		if (bytes < 0)
			return 2;
		if (sendto(fd, datagram, (size_t)bytes, 0, (struct sockaddr *)&from, length) < 0)
			return 3;
	}
}

static int udp_ask(const struct sockaddr_storage *peer, socklen_t peer_length, unsigned length, unsigned count)
{
	static uint8_t sent[CHUNK], received[CHUNK];
	int fd = socket(peer->ss_family, SOCK_DGRAM, 0), never = IP_PMTUDISC_PROBE, good = 0;
	struct timeval timeout = { .tv_usec = 300000 };

	if (peer->ss_family == AF_INET)
		setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &never, sizeof(never));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (const struct sockaddr *)peer, peer_length) < 0)
		return 0;
	for (unsigned i = 0; i < count; i++) {
		bool answered = false;
		fill(sent, length, i);
		for (int tries = 0; tries < 10 && !answered; tries++) { /* the first ones wait for address resolution */
			if (send(fd, sent, length, 0) != (ssize_t)length)
				return good;
			/* Answers to former tries may come late. */
			while (!answered && recv(fd, received, sizeof(received), 0) == (ssize_t)length)
				answered = memcmp(sent, received, length) == 0;
		}
		good += answered;
	}
	return good;
}

static int listen_at(int type, const struct sockaddr_storage *address, socklen_t length)
{
	int fd = socket(address->ss_family, type, 0), on = 1;

	/* An IPv6 address may still be looked for by others that have it. */
	setsockopt(fd, SOL_IP, IP_FREEBIND, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)address, length) < 0)
		return -1;
	if (type == SOCK_STREAM && listen(fd, 1) < 0)
		return -1;
	return set_timeouts(fd) ? fd : -1;
}

struct job {
	const struct netns *from, *to;
	const char *address;
	int type;
	uint64_t bytes;
	unsigned length, count;
};

static int serve(const struct job *job, int ready)
{
	struct sockaddr_storage address;
	socklen_t length = resolve(job->address, &address);
	int fd = enter(job->to) == 0 ? listen_at(job->type, &address, length) : -1;

	if (fd < 0 || write(ready, "r", 1) != 1)
		return 1;
	return job->type == SOCK_STREAM ? tcp_receive(fd, job->bytes) : udp_answer(fd);
}

static int ask(const struct job *job)
{
	struct sockaddr_storage address;
	socklen_t length = resolve(job->address, &address);

	if (enter(job->from) < 0)
		return 1;
	return job->type == SOCK_STREAM ? tcp_send(&address, length, job->bytes)
					: udp_ask(&address, length, job->length, job->count);
}

static int spawn(const struct job *job, bool server, int ready)
{
	int pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(server ? serve(job, ready) : ask(job));
	}
	return pid;
}

/* Runs the loop until a child has ended; its exit code, or -1. */
static int wait_child(struct rig *rig, int pid)
{
	uint64_t deadline = clock_ns() + 2 * PATIENCE_NS;
	int status;

	while (waitpid(pid, &status, WNOHANG) != pid) {
		assert_int_equal(loop_once(rig->loop, 1), 0);
		if (clock_ns() > deadline) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
			return -1;
		}
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int run_job(struct rig *rig, const struct job *job)
{
	int ready[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	int server = spawn(job, true, ready[1]);
	close(ready[1]);
	bool up = read(ready[0], &byte, 1) == 1;
	close(ready[0]);
	int status = up ? wait_child(rig, spawn(job, false, -1)) : -2;
	if (job->type == SOCK_DGRAM)
		kill(server, SIGKILL);
	int served = wait_child(rig, server);
	if (job->type == SOCK_STREAM && status == 0)
		status = served;
	return status;
}

double tcp_transfer(struct rig *rig, const struct netns *from, const struct netns *to, const char *address,
		    uint64_t bytes)
{
	struct job job = { .from = from, .to = to, .address = address, .type = SOCK_STREAM, .bytes = bytes };
	uint64_t start = clock_ns();
	int status = run_job(rig, &job);

	if (status != 0)
		fail_msg("transfer to %s: status %d", address, status);
	return (double)bytes * 8e3 / (double)(clock_ns() - start);
}

unsigned udp_echo(struct rig *rig, const struct netns *from, const struct netns *to, const char *address,
		  unsigned length, unsigned count)
{
	struct job job = {
		.from = from, .to = to, .address = address, .type = SOCK_DGRAM, .length = length, .count = count
	};
	int good = run_job(rig, &job);

	return good < 0 ? 0 : (unsigned)good;
}

/* ---- wire ---- */

static void note(struct wire *wire, unsigned side, struct rte_mbuf **packets, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		const struct rte_mbuf *m = packets[i];
		rte_mbuf_sanity_check(m, 1);
		if (m->pkt_len > atomic_load(&wire->longest[side]))
			atomic_store(&wire->longest[side], m->pkt_len);
		bool segmented = m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG);
		atomic_fetch_add(&wire->segmented[side], segmented);
		atomic_fetch_add(&wire->tunnelled[side], segmented && m->ol_flags & RTE_MBUF_F_TX_TUNNEL_MASK);
	}
}

static void keep(struct wire *wire, struct rte_mbuf **packets, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		unsigned at = atomic_load(&wire->kept_count);
		if (at == 64) {
			rte_pktmbuf_free(packets[i]);
			continue;
		}
		atomic_store(&wire->kept[at], packets[i]);
		atomic_store(&wire->kept_count, at + 1);
	}
}

static void forward(struct wire_end *end, struct rte_mbuf **packets, unsigned count)
{
	struct wire *wire = end->wire;
	struct port *out = atomic_load(&wire->out[!end->side]);
	struct port_tx_result result = { 0 };
	unsigned owner;
	int queue = out ? port_tx_queue(out, end->worker, end->queue * 0x1234567u, &owner) : -2;

	if (queue < 0) {
		atomic_fetch_add(&wire->misrouted, count);
		rte_pktmbuf_free_bulk(packets, count);
		return;
	}
	port_transmit(out, (unsigned)queue, packets, count, &result);
	atomic_fetch_add(&wire->full, result.full);
	atomic_fetch_add(&wire->failed, result.failed);
	atomic_fetch_add(&wire->too_long, result.too_long);
}

static unsigned end_poll(struct worker_source *source, struct worker *worker)
{
	struct wire_end *end = (struct wire_end *)source;
	struct wire *wire = end->wire;
	struct rte_mbuf *packets[32];
	unsigned count = end->port->ops->rx(end->port, end->queue, packets, 32);

	if (count == 0)
		return 0;
	atomic_fetch_add(&end->frames, count);
	note(wire, end->side, packets, count);
	if (wire->sink)
		keep(wire, packets, count);
	else
		forward(end, packets, count);
	return count;
}

static int end_arm(struct worker_source *source)
{
	struct wire_end *end = (struct wire_end *)source;

	return end->port->ops->arm(end->port, end->queue);
}

static void end_disarm(struct worker_source *source)
{
	struct wire_end *end = (struct wire_end *)source;

	end->port->ops->disarm(end->port, end->queue);
}

struct side {
	struct wire *wire;
	unsigned side;
};

static void queue_ready(void *ctx, struct port *port, unsigned queue)
{
	struct side *side = ctx;
	struct wire *wire = side->wire;
	struct wire_end *end = &wire->ends[side->side][queue];

	wire->ports[side->side] = port;
	atomic_store(&wire->out[side->side], port);
	*end = (struct wire_end){ .wire = wire, .port = port, .side = side->side, .queue = queue };
	end->worker = wire->next_worker++ % workers_count(wire->rig->workers);
	end->source = (struct worker_source){
		.poll = end_poll,
		.arm = port->ops->arm ? end_arm : NULL,
		.disarm = port->ops->arm ? end_disarm : NULL,
		.fd = port->ops->fd ? port->ops->fd(port, queue) : -1,
		.name = "wire",
	};
	if (atomic_load(&port->tx_worker[queue]) == PORT_WORKER_OFF)
		atomic_store(&port->tx_worker[queue], (int16_t)end->worker);
	atomic_store(&port->rx_worker[queue], (int16_t)end->worker);
	assert_int_equal(worker_add_source(workers_get(wire->rig->workers, end->worker), &end->source), 0);
	wire->attached[side->side]++;
}

struct leaving {
	struct wire *wire;
	unsigned side;
	void (*released)(void *arg);
	void *arg;
};

static void left(void *arg)
{
	struct leaving *leaving = arg;

	leaving->wire->attached[leaving->side]--;
	leaving->released(leaving->arg);
	free(leaving);
}

static void source_gone(void *arg)
{
	struct leaving *leaving = arg;

	workers_barrier(leaving->wire->rig->workers, left, leaving);
}

static void queue_gone(void *ctx, struct port *port, unsigned queue, void (*released)(void *arg), void *arg)
{
	struct side *side = ctx;
	struct wire_end *end = &side->wire->ends[side->side][queue];
	struct leaving *leaving = malloc(sizeof(*leaving));

	assert_int_equal(atomic_load(&port->tx_worker[queue]), PORT_WORKER_OFF);
	*leaving = (struct leaving){ side->wire, side->side, released, arg };
	worker_remove_source(workers_get(side->wire->rig->workers, end->worker), &end->source, source_gone, leaving);
}

static void changed(void *ctx, struct port *port)
{
	((struct side *)ctx)->wire->changes++;
}

static void notice(void *ctx, struct port *port, const char *name, const char *sentence)
{
	struct wire *wire = ((struct side *)ctx)->wire;
	size_t used = strlen(wire->notices);

	assert_true(strlen(sentence) > 10);
	snprintf(wire->notices + used, sizeof(wire->notices) - used, "%s ", name);
}

void wire_callbacks(struct wire *wire, struct rig *rig, unsigned side, struct port_callbacks *ret)
{
	static struct side sides[16];
	static unsigned used;
	struct side *own = &sides[used++ % 16];

	*own = (struct side){ wire, side };
	wire->rig = rig;
	*ret = (struct port_callbacks){
		.changed = changed,
		.queue_ready = queue_ready,
		.queue_gone = queue_gone,
		.notice = notice,
		.ctx = own,
	};
}

void wire_close_side(struct wire *wire, unsigned side)
{
	struct port *port = wire->ports[side];
	atomic_bool closed = false;

	if (!port)
		return;
	/* The grace period that queue_gone waits for is one for this, too. */
	atomic_store(&wire->out[side], NULL);
	port->ops->close(port, set_flag, &closed);
	WAIT_FOR(wire->rig, atomic_load(&closed));
	wire->ports[side] = NULL;
	assert_int_equal(wire->attached[side], 0);
}

void wire_close(struct wire *wire)
{
	wire_close_side(wire, 0);
	wire_close_side(wire, 1);
	for (unsigned i = 0; i < atomic_load(&wire->kept_count); i++)
		rte_pktmbuf_free(atomic_load(&wire->kept[i]));
}
