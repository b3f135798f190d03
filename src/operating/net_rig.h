/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of ports: network namespaces of our own, traffic of the real kernel in them, and a wire between two ports.
 * Everything goes with the test process. Needs root; without it tests are skipped. */
#pragma once

#include "operating/port.h"
#include "operating/test_rig.h"

/* Puts this process into a new network namespace and starts DPDK; exits with 77 where that is not allowed. */
void net_rig_init(void);

/* A namespace that lives as long as its keeper process. */
struct netns {
	int pid;
	char path[40];
};
void netns_up(struct netns *ns);
void netns_down(struct netns *ns);

/* Runs a shell command in ns (NULL = ours); fails the test unless it succeeds. */
void run_in(const struct netns *ns, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool try_in(const struct netns *ns, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* This program again, with one argument; under an emulator that is run by name (MESON_EXE_WRAPPER), by it. Returns only
 * if it fails. */
void exec_self(const char *argument);

/* A TCP connection from one namespace to another that carries so many bytes of a known pattern and is checked at the
 * end. The loop runs meanwhile. Fails the test if it is not through in time; returns megabits per second. */
double tcp_transfer(struct rig *rig, const struct netns *from, const struct netns *to, const char *address,
		    uint64_t bytes);
/* UDP datagrams of this length, echoed one by one; returns how many came back unharmed. */
unsigned udp_echo(struct rig *rig, const struct netns *from, const struct netns *to, const char *address,
		  unsigned length, unsigned count);

/* Two ports, each queue polled by a worker, every frame transmitted on the other. */
struct wire_end {
	struct worker_source source;
	struct wire *wire;
	struct port *port;
	unsigned side, queue, worker;
	_Atomic uint64_t frames;
};
struct wire {
	struct rig *rig;
	struct port *ports[2];
	struct port *_Atomic out[2]; /* the same for workers; NULL before a port is closed */
	struct wire_end ends[2][PORT_MAX_QUEUES];
	unsigned attached[2]; /* queues that are polled */
	unsigned next_worker, changes;
	char notices[256]; /* names, each with a blank behind */
	/* What passed from side to side. */
	_Atomic uint64_t longest[2], segmented[2], tunnelled[2], full, failed, too_long, misrouted;
	bool sink; /* frames of side 0 are kept instead of being sent */
	struct rte_mbuf *_Atomic kept[64];
	atomic_uint kept_count;
};
void wire_callbacks(struct wire *wire, struct rig *rig, unsigned side, struct port_callbacks *ret);
void wire_close_side(struct wire *wire, unsigned side);
void wire_close(struct wire *wire);

struct rte_mempool *test_pool(void);
