/* SPDX-License-Identifier: BSD-3-Clause */
/* A worker's path from inside: its state, and what its files call of each other. */
#pragma once

#include <rte_cycles.h>
#include "device/packet/packet_priv.h"
#include "device/packet/path.h"
#include "device/packet/path_config_priv.h"

enum {
	PATH_TABLES = 2 * PATH_SLOTS, /* slot * 2 + family */
	PATH_TX_QUEUE = 64,
	PATH_MAX_FRAGMENTS = 64,
};

/* What a packet needs beyond its compiled action. */
enum path_exception_kind {
	PATH_OK = 0,
	PATH_MISS,   /* no session of use; look again if an earlier miss may have opened it */
	PATH_POLICY, /* as a miss, but whatever sessions there are */
	PATH_TTL,
	PATH_TOO_BIG,
	PATH_FRAGMENT,
	PATH_DROPS, /* + enum drop_reason */
};

struct path_exception {
	struct rte_mbuf *m;
	struct packet_info *info;
	uint16_t kind; /* enum path_exception_kind */
	uint16_t mtu;
};

/* A burst between the stages: index i is the same packet in all arrays. Packets for first-hop services are put aside
 * at the top end of info. */
struct path_burst {
	struct packet_info info[PATH_BURST];
	struct rte_mbuf *m[PATH_BURST];
	const struct path_vpc *vpc[PATH_BURST];
	struct session_table *table[PATH_BURST];
	const struct record_bucket *bucket[PATH_BURST];
	struct session *session[PATH_BURST];
	unsigned direction[PATH_BURST];
	unsigned count;
	uint16_t in_iface;
	bool uplink; /* all have been decapsulated */
	/* Decapsulated frames that belong to tunnels of an eswitch. */
	struct rte_mbuf *tunnelled[PATH_BURST];
	uint16_t tunnelled_slot[PATH_BURST];
	uint32_t tunnelled_tag[PATH_BURST];
	unsigned tunnelled_count;
	unsigned families; /* 1 IPv4, 2 IPv6, 3 both */
	struct path_exception exceptions[PATH_BURST];
	unsigned exception_count;
	unsigned service_count;
	/* What the last burst was like, and so the next one probably is: for prefetching. */
	bool long_headers, encap;
};

struct path {
	const struct path_config *config;
	struct path_service service;
	uint64_t seed;
	unsigned worker;
	bool capture;
	bool in_burst; /* path_send() queues; else it transmits at once */
	bool handed;   /* the burst comes from another worker, which has counted it and shown it to captures */
	session_tick_t now;
	uint64_t now_ns, now_tsc;      /* both of the last look at the clock */
	uint64_t refresh_cycles;       /* look again after so many */
	uint64_t ns_per_cycle_shifted; /* << 32 */
	uint64_t busy_cycles;
	uint32_t adopted;
	struct session_table *tables[PATH_TABLES];
	unsigned next_aged;
	struct path_iface_counters *iface_counters;
	uint64_t *iface_drops; /* by interface and reason */
	struct path_vpc_counters *vpc_counters;
	uint64_t drops[DROP_REASON_COUNT];

	unsigned tx_count;
	uint16_t tx_iface[PATH_TX_QUEUE];
	struct rte_mbuf *tx[PATH_TX_QUEUE];

	struct path_burst burst;
};

/* Written by the worker, read by anyone. */
static inline void counter_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline const struct path_vpc *path_vpc(const struct path *path, uint16_t slot)
{
	return atomic_load_explicit(&path->config->vpcs[slot], memory_order_acquire);
}

static inline void path_tap(struct path *path, enum capture_stage stage, enum drop_reason reason, uint16_t iface,
			    const struct rte_mbuf *m)
{
	if (unlikely(path->capture) && path->service.capture)
		path->service.capture(path->service.ctx, path, stage, reason, iface, m);
}

/* path_output.c */
void path_flush(struct path *path);

static inline void path_queue(struct path *path, uint16_t iface, struct rte_mbuf *m)
{
	if (unlikely(path->tx_count == PATH_TX_QUEUE))
		path_flush(path);
	path->tx_iface[path->tx_count] = iface;
	path->tx[path->tx_count++] = m;
}

/* path_input.c: fills path->burst. */
void path_receive(struct path *path, const struct path_iface *iface, struct rte_mbuf **packets, unsigned count);
/* path_burst.c: finds the sessions of path->burst and applies them; then misses and other exceptions. */
void path_burst_run(struct path *path);
/* path_burst.c: gives a packet to its slot's worker. */
void path_hand_off(struct path *path, struct rte_mbuf *m, const struct packet_info *info);

/* path_forward.c: fills in what the burst loop has left out, before anybody else sees info. */
void path_info_complete(const struct path *path, struct rte_mbuf *m, struct packet_info *info);
/* path_forward.c: calls the service, or drops, for what path_admit() found. */
void path_except(struct path *path, struct rte_mbuf *m, struct packet_info *info, unsigned kind, uint16_t mtu);
void path_fragment(struct path *path, struct rte_mbuf *m, struct packet_info *info, struct session_dir *dir,
		   unsigned direction, const struct path_vpc *vpc);

/* path.c */
void path_clock_set(struct path *path, uint64_t now_ns);
void path_clock_refresh(struct path *path);
/* Ages the next table in turn. Not between the lookups of a burst and their use. */
void path_age(struct path *path, unsigned budget);
