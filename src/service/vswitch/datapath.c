/* SPDX-License-Identifier: BSD-3-Clause */
/* One worker's half of the switch: connects its path to the policy, to the ports and to the other workers. */
#include "service/vswitch/datapath_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <rte_ring.h>
#include "operating/handoff.h"
#include "operating/port.h"

/* ---- to other workers ---- */

unsigned worker_of_hash(const struct dp_worker *worker, uint32_t hash)
{
	return atomic_load_explicit(&worker->dp->config->slot_owner[path_slot(hash)], memory_order_acquire);
}

static uint64_t tag_of(enum handoff_kind kind, uint16_t iface)
{
	return (uint64_t)kind << 16 | iface;
}

void worker_handoff(struct dp_worker *worker, unsigned to, struct rte_mbuf *m, enum handoff_kind kind, uint16_t iface)
{
	struct handoff *rings = worker->dp->handoff;
	bool sent = rings && to != worker->index && to < worker->dp->worker_count &&
		    handoff_send(rings, worker->index, to, m, tag_of(kind, iface));
	if (!sent)
		path_drop(worker->path, m, DROP_HANDOFF_FULL, iface, 0);
}

void worker_handoff_miss(struct dp_worker *worker, unsigned to, struct rte_mbuf *m, const struct packet_info *info)
{
	if (rte_pktmbuf_headroom(m) < sizeof(*info)) {
		path_drop(worker->path, m, DROP_NO_BUFFER, info->in_iface, info->key.vpc);
		return;
	}
	memcpy(rte_pktmbuf_mtod(m, uint8_t *) - sizeof(*info), info, sizeof(*info));
	worker_handoff(worker, to, m, HANDOFF_MISS, info->in_iface);
}

static void handoff(void *ctx, struct path *path, unsigned to, struct rte_mbuf *m, uint16_t in_iface)
{
	worker_handoff(ctx, to, m, HANDOFF_INPUT, in_iface);
}

/* ---- to ports ---- */

static void count_lost(struct dp_worker *worker, uint16_t iface, const struct port_tx_result *result)
{
	struct {
		enum drop_reason reason;
		unsigned packets;
	} lost[] = {
		{ DROP_TX_FULL, result->full },
		{ DROP_TX_TOO_LONG, result->too_long },
		{ DROP_SEGMENTATION, result->failed },
	};
	for (unsigned i = 0; i < RTE_DIM(lost); i++)
		if (lost[i].packets)
			path_count_drops(worker->path, lost[i].reason, iface, 0, lost[i].packets);
}

static void transmit(struct dp_worker *worker, struct port *port, unsigned queue, uint16_t iface,
		     struct rte_mbuf **packets, unsigned count)
{
	struct port_tx_result result = { 0 };
	port_transmit(port, queue, packets, count, &result);
	path_count_sent(worker->path, iface, result.packets, result.bytes);
	if (unlikely(result.full | result.too_long | result.failed))
		count_lost(worker, iface, &result);
}

/* The queue for a packet, or -1: it was given to the worker that must send it, or dropped. */
static int queue_for(struct dp_worker *worker, struct port *port, uint16_t iface, struct rte_mbuf *m)
{
	unsigned owner;
	int queue = port_tx_queue(port, worker->index, m->hash.rss, &owner);
	if (likely(queue >= 0))
		return queue;
	if (queue == -1 && owner != worker->index) {
		worker_handoff(worker, owner, m, HANDOFF_OUTPUT, iface);
	} else {
		path_drop(worker->path, m, DROP_TX_DOWN, iface, 0);
	}
	return -1;
}

/* At most PATH_BURST packets. Those of one queue go together, in their order: what a queue gets in ones and twos costs
 * both its ends far more. */
static void output_queues(struct dp_worker *worker, struct port *port, uint16_t iface, struct rte_mbuf **packets,
			  unsigned count)
{
	struct rte_mbuf *waiting[PATH_BURST], *together[PATH_BURST];
	int queues[PATH_BURST];
	unsigned left = 0;
	for (unsigned i = 0; i < count; i++) {
		waiting[left] = packets[i];
		queues[left] = queue_for(worker, port, iface, packets[i]);
		left += queues[left] >= 0;
	}
	while (left > 0) {
		unsigned others = 0, length = 0;
		int queue = queues[0];
		for (unsigned i = 0; i < left; i++) {
			bool its = queues[i] == queue;
			together[length] = waiting[others] = waiting[i];
			queues[others] = queues[i];
			length += its;
			others += !its;
		}
		left = others;
		transmit(worker, port, (unsigned)queue, iface, together, length);
	}
}

static void output_one_queue(struct dp_worker *worker, struct port *port, uint16_t iface, struct rte_mbuf **packets,
			     unsigned count)
{
	unsigned owner;
	if (likely(port_tx_queue(port, worker->index, 0, &owner) == 0)) {
		transmit(worker, port, 0, iface, packets, count);
		return;
	}
	for (unsigned i = 0; i < count; i++)
		queue_for(worker, port, iface, packets[i]);
}

static void output(void *ctx, struct path *path, uint16_t iface, struct rte_mbuf **packets, unsigned count)
{
	struct dp_worker *worker = ctx;
	struct port *port = atomic_load_explicit(&worker->dp->ports[iface], memory_order_acquire);
	if (unlikely(!port)) {
		for (unsigned i = 0; i < count; i++)
			path_drop(path, packets[i], DROP_TX_DOWN, iface, 0);
		return;
	}
	if (port->tx_queues == 1)
		output_one_queue(worker, port, iface, packets, count);
	else
		for (unsigned done = 0; done < count; done += PATH_BURST)
			output_queues(worker, port, iface, packets + done, RTE_MIN(count - done, (unsigned)PATH_BURST));
}

/* ---- to control ---- */

static void underlay(void *ctx, struct path *path, struct rte_mbuf *m, uint16_t in_iface)
{
	struct dp_worker *worker = ctx;
	m->port = in_iface;
	if (!worker->dp->punt || rte_ring_mp_enqueue(worker->dp->punt, m) != 0)
		path_drop(path, m, DROP_HANDOFF_FULL, in_iface, 0);
}

/* ---- to who forwards for members ---- */

static void member(void *ctx, struct path *path, const struct path_iface *iface, struct rte_mbuf **packets,
		   unsigned count)
{
	struct dp_worker *worker = ctx;
	const struct dp_members *members = worker->dp->members;

	if (likely(members)) {
		members->input(members->ctx, worker->index, iface, packets, count);
		return;
	}
	for (unsigned i = 0; i < count; i++)
		path_drop(path, packets[i], DROP_UNBOUND_INTERFACE, iface->id, 0);
}

static void tunnel_member(void *ctx, struct path *path, uint16_t in_iface, struct rte_mbuf **packets,
			  const uint16_t *slots, const uint32_t *tags, unsigned count)
{
	struct dp_worker *worker = ctx;
	const struct dp_members *members = worker->dp->members;

	if (likely(members)) {
		members->tunnel_input(members->ctx, worker->index, in_iface, packets, slots, tags, count);
		return;
	}
	for (unsigned i = 0; i < count; i++)
		path_drop(path, packets[i], DROP_UNKNOWN_VNI, in_iface, 0);
}

static void session_removed(void *ctx, struct path *path, struct session *session)
{
	struct dp_worker *worker = ctx;
	quota_give(&worker->quota, session);
}

static void capture(void *ctx, struct path *path, enum capture_stage stage, enum drop_reason reason, uint16_t iface,
		    const struct rte_mbuf *m)
{
	const struct dp_worker *worker = ctx;
	(void)path;
	if (worker->dp->capture)
		worker->dp->capture(worker->dp->capture_ctx, worker->index, stage, reason, iface, m);
}

static const struct path_service service = {
	.miss = miss_input,
	.member = member,
	.tunnel_member = tunnel_member,
	.underlay = underlay,
	.too_big = icmp_send_too_big,
	.ttl_expired = icmp_send_ttl_expired,
	.output = output,
	.handoff = handoff,
	.capture = capture,
	.session_removed = session_removed,
};

/* ---- from other workers ---- */

struct inbox {
	struct rte_mbuf *packets[HANDOFF_BURST];
	uint16_t ifaces[HANDOFF_BURST];
	unsigned count;
};

static void inbox_flush(struct dp_worker *worker, struct inbox *inbox)
{
	if (inbox->count)
		path_input_handoff(worker->path, inbox->packets, inbox->ifaces, inbox->count);
	inbox->count = 0;
}

static void take(struct dp_worker *worker, struct rte_mbuf *m, enum handoff_kind kind, uint16_t iface)
{
	struct packet_info info;
	switch (kind) {
	case HANDOFF_OUTPUT:
		output(worker, worker->path, iface, &m, 1);
		break;
	case HANDOFF_MISS:
		memcpy(&info, rte_pktmbuf_mtod(m, uint8_t *) - sizeof(info), sizeof(info));
		miss_input(worker, worker->path, m, &info);
		break;
	case HANDOFF_FRAGMENT:
		fragments_note(worker, rte_pktmbuf_mtod(m, const struct fragment_note *));
		rte_pktmbuf_free(m);
		break;
	default:
		path_drop(worker->path, m, DROP_UNKNOWN_INTERFACE, iface, 0);
	}
}

static void receive(void *ctx, struct worker *thread, const struct handoff_item *items, unsigned count)
{
	struct dp *dp = ctx;
	struct dp_worker *worker = dp->worker_states[worker_index(thread)];
	struct inbox inbox;
	inbox.count = 0;
	for (unsigned i = 0; i < count; i++) {
		enum handoff_kind kind = (enum handoff_kind)(items[i].tag >> 16);
		uint16_t iface = (uint16_t)items[i].tag;
		if (kind == HANDOFF_INPUT) {
			inbox.packets[inbox.count] = items[i].m;
			inbox.ifaces[inbox.count++] = iface;
			continue;
		}
		inbox_flush(worker, &inbox);
		take(worker, items[i].m, kind, iface);
	}
	inbox_flush(worker, &inbox);
}

int dp_handoff_start(struct dp *dp, struct dpu_error *err)
{
	if (dp->worker_count < 2)
		return 0;
	struct handoff_options options = { .workers = dp->workers, .receive = receive, .ctx = dp };
	return handoff_new(&options, &dp->handoff, err);
}

void dp_handoff_stop(struct dp *dp, void (*done)(void *arg), void *arg)
{
	struct handoff *rings = dp->handoff;
	dp->handoff = NULL;
	if (rings)
		handoff_free(rings, done, arg);
	else if (done)
		done(arg);
}

/* ---- housekeeping ---- */

static uint64_t tick(struct worker_source *source, struct worker *unused, uint64_t now_ns)
{
	struct dp_worker *worker = (struct dp_worker *)source;
	uint64_t wait = path_tick(worker->path, now_ns);
	uint64_t fragments = fragments_tick(worker, now_ns);
	uint64_t advertisements = ra_tick(worker, now_ns);
	wait = RTE_MIN(wait, fragments > now_ns ? fragments - now_ns : 0);
	return RTE_MIN(wait, advertisements > now_ns ? advertisements - now_ns : 0);
}

void dp_announce(struct dp_worker *worker, uint16_t vnic_iface)
{
	const struct dp_vnic *vnic = dp_vnic_of(worker->dp, vnic_iface);
	if (!vnic)
		return;
	ra_send(worker, vnic, NULL, NULL);
	arp_announce_gateway(worker, vnic);
}

/* ---- life ---- */

static void adopt(void *arg, struct session *session)
{
	struct dp_worker *worker = arg;
	quota_charge(&worker->quota, session);
}

static void adopt_all(struct dp_worker *worker)
{
	for (unsigned i = 0; i < 2 * PATH_SLOTS; i++) {
		struct session_table *table = path_table_at(worker->path, i);
		uint32_t cursor = 0;
		while (table && session_table_scan(table, &cursor, 1 << 20, adopt, worker))
			;
	}
}

static int worker_init(struct dp_worker *worker, const struct dp_worker_options *options, struct dpu_error *err)
{
	if (quota_init(&worker->quota, worker->dp) < 0)
		return error_set(err, DPU_E_LIMIT, NULL, "there is no memory for the quotas of worker %u",
				 options->index);
	struct path_service bound = service;
	bound.ctx = worker;
	struct path_options path = {
		.config = worker->dp->config,
		.service = &bound,
		.state_dir = options->state_dir,
		.huge_pages = options->huge_pages,
		.max_sessions = options->max_sessions,
		.seed = options->seed,
		.worker = options->index,
	};
	return path_new(&path, &worker->path, err);
}

int dp_worker_new(struct dp *dp, const struct dp_worker_options *options, struct dp_worker **ret, struct dpu_error *err)
{
	if (options->index >= DP_MAX_WORKERS || dp->worker_states[options->index])
		return error_set(err, DPU_E_INTERNAL, NULL, "worker %u cannot be created (twice)", options->index);
	struct dp_worker *worker = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*worker), 64));
	if (!worker)
		return error_set(err, DPU_E_LIMIT, NULL, "there is no memory for worker %u", options->index);
	memset(worker, 0, sizeof(*worker));
	worker->source = (struct worker_source){
		.tick = tick,
		.fd = -1,
		.name = "switch",
	};
	worker->dp = dp;
	worker->pool = options->pool;
	worker->index = options->index;
	int rc = worker_init(worker, options, err);
	if (rc < 0) {
		dp_worker_free(worker);
		return rc;
	}
	dp->paths[options->index] = worker->path;
	dp->worker_states[options->index] = worker;
	adopt_all(worker);
	*ret = worker;
	return 0;
}

void dp_worker_free(struct dp_worker *worker)
{
	if (!worker)
		return;
	if (worker->dp->worker_states[worker->index] == worker) {
		worker->dp->worker_states[worker->index] = NULL;
		worker->dp->paths[worker->index] = NULL;
	}
	fragments_clear(worker);
	if (worker->path)
		path_free(worker->path);
	quota_fini(&worker->quota);
	free(worker);
}

struct worker_source *dp_worker_source(struct dp_worker *worker)
{
	return &worker->source;
}

/* ---- receive queues ---- */

struct dp_rx {
	struct worker_source source;
	struct dp_worker *worker;
	struct port *port;
	unsigned queue;
};

enum { TURN_BURSTS = 4 };

/* Sources of a worker take turns, whatever a turn costs them. A disk's costs as much as some bursts of packets: so a
 * port that has more gets some. */
static unsigned poll_port(struct worker_source *source, struct worker *unused)
{
	struct dp_rx *rx = (struct dp_rx *)source;
	struct rte_mbuf *packets[PATH_BURST];
	unsigned total = 0, count = PATH_BURST;

	for (unsigned i = 0; i < TURN_BURSTS && count == PATH_BURST; i++) {
		count = rx->port->ops->rx(rx->port, rx->queue, packets, PATH_BURST);
		if (count)
			path_input(rx->worker->path, rx->port->iface, packets, count);
		total += count;
	}
	return total;
}

static int arm_port(struct worker_source *source)
{
	struct dp_rx *rx = (struct dp_rx *)source;
	return rx->port->ops->arm ? rx->port->ops->arm(rx->port, rx->queue) : -ENOTSUP;
}

static void disarm_port(struct worker_source *source)
{
	struct dp_rx *rx = (struct dp_rx *)source;
	if (rx->port->ops->disarm)
		rx->port->ops->disarm(rx->port, rx->queue);
}

int dp_rx_new(struct dp_worker *worker, struct port *port, unsigned queue, struct dp_rx **ret)
{
	struct dp_rx *rx = calloc(1, sizeof(*rx));
	if (!rx)
		return -ENOMEM;
	*rx = (struct dp_rx){
		.source = {
			.poll = poll_port,
			.arm = arm_port,
			.disarm = disarm_port,
			.fd = port->ops->fd ? port->ops->fd(port, queue) : -1,
			.name = port->name,
		},
		.worker = worker,
		.port = port,
		.queue = queue,
	};
	*ret = rx;
	return 0;
}

void dp_rx_free(struct dp_rx *rx)
{
	free(rx);
}

struct worker_source *dp_rx_source(struct dp_rx *rx)
{
	return &rx->source;
}
