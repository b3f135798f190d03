/* SPDX-License-Identifier: BSD-3-Clause */
/* What all ports have in common: transmission with software offloads, choice of queue, reports. */
#include "operating/port.h"

#include <stdarg.h>
#include <stdio.h>
#include <rte_branch_prediction.h>
#include <rte_pause.h>
#include "device/packet/segment.h"
#include "operating/port_priv.h"

enum {
	SEGMENTS_MAX = 256, /* frames that one TSO frame may become: 64 KiB down to a segment size of 256 */
	STALLS_MAX = 3,     /* tries on a full queue that takes nothing */
	STALL_PAUSES = 32,
};

const char *port_rx_drop_name(enum port_rx_drop drop)
{
	static const char *const names[PORT_RX_DROPS] = {
		[PORT_RX_NO_BUFFER] = "no-buffer",
		[PORT_RX_BAD_HEADER] = "bad-virtio-header",
		[PORT_RX_TOO_LONG] = "too-long",
		[PORT_RX_TOO_SHORT] = "too-short",
		[PORT_RX_MISSED] = "missed",
		[PORT_RX_BAD_DESCRIPTOR] = "bad-descriptor",
		[PORT_RX_BAD_BUFFER] = "bad-receive-buffer",
	};

	return names[drop];
}

/* ---- transmission ---- */

static void send_all(struct port *port, unsigned queue, struct rte_mbuf **packets, unsigned count,
		     struct port_tx_result *ret)
{
	for (unsigned stalls = 0; count > 0;) {
		unsigned taken = port->ops->tx(port, queue, packets, count, ret);
		packets += taken;
		count -= taken;
		if (taken > 0)
			continue;
		if (++stalls > STALLS_MAX)
			break;
		for (unsigned i = 0; i < STALL_PAUSES; i++)
			rte_pause();
	}
	if (count > 0) {
		ret->full += count;
		rte_pktmbuf_free_bulk(packets, count);
	}
}

static uint64_t beyond(uint64_t flags, uint64_t plain, uint64_t tunnelled)
{
	return flags & PORT_TX_REQUESTS & ~(flags & RTE_MBUF_F_TX_TUNNEL_MASK ? tunnelled : plain);
}

static bool too_many_segments(const struct port *port, const struct rte_mbuf *m)
{
	return port->tx_max_segments > 0 && m->nb_segs > port->tx_max_segments;
}

/* Puts together what the port wants in fewer buffers; false when it cannot be. */
static bool fit_segments(const struct port *port, struct rte_mbuf *m)
{
	return !too_many_segments(port, m) || rte_pktmbuf_linearize(m) == 0;
}

static void send_segmented(struct port *port, unsigned queue, struct rte_mbuf *m, struct port_tx_result *ret)
{
	struct rte_mbuf *frames[SEGMENTS_MAX];
	unsigned count, fitting = 0;

	if (packet_segment(m, port->pool, frames, SEGMENTS_MAX, &count) != DROP_NONE) {
		ret->failed++;
		rte_pktmbuf_free(m);
		return;
	}
	for (unsigned i = 0; i < count; i++) {
		if (fit_segments(port, frames[i])) {
			frames[fitting++] = frames[i];
		} else {
			ret->too_long++;
			rte_pktmbuf_free(frames[i]);
		}
	}
	send_all(port, queue, frames, fitting, ret);
}

/* Some packets need work first. Those that do not wait in packets[0..ready). */
static void send_prepared(struct port *port, unsigned queue, struct rte_mbuf **packets, unsigned count, uint64_t plain,
			  uint64_t tunnelled, struct port_tx_result *ret)
{
	unsigned ready = 0;

	for (unsigned i = 0; i < count; i++) {
		struct rte_mbuf *m = packets[i];
		uint64_t requests = beyond(m->ol_flags, plain, tunnelled);

		if (requests && m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)) {
			send_all(port, queue, packets, ready, ret); /* order */
			ready = 0;
			send_segmented(port, queue, m, ret);
		} else if (requests && packet_checksum(m) != DROP_NONE) {
			ret->failed++;
			rte_pktmbuf_free(m);
		} else if (!fit_segments(port, m)) {
			ret->too_long++;
			rte_pktmbuf_free(m);
		} else {
			packets[ready++] = m;
		}
	}
	send_all(port, queue, packets, ready, ret);
}

void port_transmit(struct port *port, unsigned queue, struct rte_mbuf **packets, unsigned count,
		   struct port_tx_result *ret)
{
	uint64_t plain = atomic_load_explicit(&port->tx_offloads, memory_order_relaxed);
	uint64_t tunnelled = atomic_load_explicit(&port->tx_tunnel_offloads, memory_order_relaxed);
	uint64_t work = 0;

	*ret = (struct port_tx_result){ 0 };
	for (unsigned i = 0; i < count; i++)
		work |= beyond(packets[i]->ol_flags, plain, tunnelled) | too_many_segments(port, packets[i]);
	if (likely(!work))
		send_all(port, queue, packets, count, ret);
	else
		send_prepared(port, queue, packets, count, plain, tunnelled, ret);
}

int port_set_mtu(struct port *port, uint16_t mtu, struct dpu_error *err)
{
	if (mtu == port->mtu)
		return 0;
	if (!port->ops->set_mtu)
		return error_set(err, DPU_E_UNSUPPORTED, "mtu",
				 "A port of kind %s keeps its MTU of %u while it is open.", port->ops->kind, port->mtu);
	int status = port->ops->set_mtu(port, mtu, err);
	if (status == 0)
		port->mtu = mtu;
	return status;
}

int port_tx_queue(struct port *port, unsigned worker, uint32_t hash, unsigned *ret_worker)
{
	unsigned queues = port->tx_queues;
	/* The high bits of the hash may have chosen the worker already: mix. */
	unsigned queue = (unsigned)((uint64_t)(hash * UINT32_C(0x9e3779b1)) * queues >> 32);
	int other = PORT_WORKER_OFF;

	if (!atomic_load_explicit(&port->up, memory_order_relaxed))
		return -2;
	for (unsigned i = 0; i < queues; i++) {
		/* Acquired: what the queue is made of was written before it was opened. */
		int owner = atomic_load_explicit(&port->tx_worker[queue], memory_order_acquire);
		if (owner == (int)worker || owner == PORT_WORKER_ANY)
			return (int)queue;
		if (other < 0)
			other = owner;
		if (++queue == queues)
			queue = 0;
	}
	if (other < 0)
		return -2;
	*ret_worker = (unsigned)other;
	return -1;
}

/* ---- what the kinds begin with and report ---- */

void port_init(struct port *port, const struct port_ops *ops, const char *name, struct rte_mempool *pool,
	       const struct port_callbacks *callbacks)
{
	port->ops = ops;
	snprintf(port->name, sizeof(port->name), "%s", name);
	port->pool = pool;
	for (unsigned i = 0; i < PORT_MAX_QUEUES; i++) {
		atomic_init(&port->rx_worker[i], PORT_WORKER_ANY);
		atomic_init(&port->tx_worker[i], PORT_WORKER_OFF);
	}
	port->changed = callbacks->changed;
	port->queue_ready = callbacks->queue_ready;
	port->queue_gone = callbacks->queue_gone;
	port->notice = callbacks->notice;
	port->ctx = callbacks->ctx;
}

void port_set_up(struct port *port, bool up)
{
	if (atomic_exchange(&port->up, up) != up && port->changed)
		port->changed(port->ctx, port);
}

void port_notice(struct port *port, const char *name, const char *fmt, ...)
{
	char sentence[256];
	va_list args;

	if (!port->notice)
		return;
	va_start(args, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, args);
	va_end(args);
	port->notice(port->ctx, port, name, sentence);
}
