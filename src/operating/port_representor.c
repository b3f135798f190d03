/* SPDX-License-Identifier: BSD-3-Clause */
/* The representor port: dpud's end of the packet rings that it shares with the driver of a control plane. */
#include "operating/port_representor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/event_signal.h"
#include "base/multiversion.h"
#include "dpu/eswitch_ring.h"
#include "operating/port_priv.h"
#include "operating/vnet_header.h"

enum { SLOTS_MIN = 64, SLOTS_MAX = 32768, BURST = 64, QUEUE_ALIGN = 128 };

/* One worker sends to host, perhaps another receives: lines of their own, in pairs as processors fetch them. */
struct queue {
	alignas(QUEUE_ALIGN) struct eswitch_ring_end to_host;
	alignas(QUEUE_ALIGN) struct eswitch_ring_end from_host;
	uint64_t faults; /* of from_host, as counted so far */
};

struct port_representor {
	struct port port; /* first */
	struct port_life life;
	struct eswitch_port_region *region;
	uint64_t region_bytes;
	int region_fd;
	uint32_t slots;
	int wake_fds[2 * ESWITCH_MAX_QUEUES]; /* to_host's, then from_host's */
	struct queue queues[];
};

static struct queue *queue_of(struct port *port, unsigned index)
{
	return &((struct port_representor *)port)->queues[index];
}

/* ---- offloads ---- */

static const struct {
	uint32_t flag;
	uint8_t gso_type;
} segmentations[] = {
	{ ESWITCH_PACKET_TSO4, VIRTIO_NET_HDR_GSO_TCPV4 },
	{ ESWITCH_PACKET_TSO6, VIRTIO_NET_HDR_GSO_TCPV6 },
	{ ESWITCH_PACKET_USO, VIRTIO_NET_GSO_UDP_L4 },
};

/* What the client asks for, checked against the frame; false when it contradicts it. */
static __rte_noinline bool apply_requests(struct rte_mbuf *m, const struct eswitch_meta *meta)
{
	struct virtio_net_hdr header = { 0 };

	if (meta->slot.flags & ESWITCH_PACKET_CSUM) {
		header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		header.csum_start = meta->request.csum_start;
		header.csum_offset = meta->request.csum_offset;
	}
	for (size_t i = 0; i < RTE_DIM(segmentations); i++)
		if (meta->slot.flags & segmentations[i].flag)
			header.gso_type = segmentations[i].gso_type;
	header.gso_size = meta->request.gso_bytes;
	header.hdr_len = meta->request.header_bytes;
	return virtio_net_header_apply(m, &header, VNET_FEATURES);
}

static inline bool read_requests(struct rte_mbuf *m, const struct eswitch_meta *meta)
{
	if (meta->slot.flags & ESWITCH_PACKET_CSUM_GOOD)
		m->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	return likely(!(meta->slot.flags & ESWITCH_PACKET_REQUESTS)) || apply_requests(m, meta);
}

static __rte_noinline bool write_requests(struct rte_mbuf *m, struct eswitch_meta *meta)
{
	struct virtio_net_hdr header;

	if (!vnet_from_mbuf(m, &header))
		return false;
	if (header.flags & VIRTIO_NET_HDR_F_DATA_VALID)
		meta->slot.flags |= ESWITCH_PACKET_CSUM_GOOD;
	if (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		meta->slot.flags |= ESWITCH_PACKET_CSUM;
	for (size_t i = 0; i < RTE_DIM(segmentations); i++)
		if ((header.gso_type & ~VIRTIO_NET_HDR_GSO_ECN) == segmentations[i].gso_type)
			meta->slot.flags |= segmentations[i].flag;
	meta->request = (struct eswitch_request){ .csum_start = header.csum_start,
						  .csum_offset = header.csum_offset,
						  .gso_bytes = header.gso_size,
						  .header_bytes = header.hdr_len };
	return true;
}

/* ---- workers ---- */

static void count_faults(struct port *port, struct queue *queue)
{
	port_rx_drop(port, PORT_RX_TOO_LONG, queue->from_host.faults - queue->faults);
	queue->faults = queue->from_host.faults;
}

MULTIVERSION_LINES static unsigned rx(struct port *port, unsigned index, struct rte_mbuf **packets, unsigned max)
{
	struct queue *queue = queue_of(port, index);
	struct eswitch_meta metas[BURST];
	unsigned taken, count = 0;

	taken = eswitch_ring_take(&queue->from_host, port->pool, packets, metas, RTE_MIN(max, (unsigned)BURST));
	eswitch_ring_publish(&queue->from_host);
	if (unlikely(queue->from_host.faults != queue->faults))
		count_faults(port, queue);
	for (unsigned i = 0; i < taken; i++) {
		if (likely(read_requests(packets[i], &metas[i]))) {
			packets[count++] = packets[i];
			continue;
		}
		rte_pktmbuf_free(packets[i]);
		port_rx_drop(port, PORT_RX_BAD_HEADER, 1);
	}
	return count;
}

/* What is said of the frames, up to the first, if any, whose requests cannot be met; returns how many those are. */
static inline unsigned describe(struct rte_mbuf **packets, unsigned count, struct eswitch_meta *metas)
{
	for (unsigned i = 0; i < count; i++) {
		struct rte_mbuf *m = packets[i];
		metas[i].slot = (struct eswitch_slot){ .hash = m->hash.rss };
		if (unlikely(m->ol_flags & RTE_MBUF_F_RX_FDIR_ID)) {
			metas[i].slot.flags = ESWITCH_PACKET_MARK;
			metas[i].slot.mark = m->hash.fdir.hi;
		}
		if (unlikely(m->ol_flags & (PORT_TX_REQUESTS | RTE_MBUF_F_RX_L4_CKSUM_MASK)) &&
		    !write_requests(m, &metas[i]))
			return i;
	}
	return count;
}

MULTIVERSION_LINES static unsigned tx(struct port *port, unsigned index, struct rte_mbuf **packets, unsigned count,
				      struct port_tx_result *ret)
{
	struct eswitch_ring_end *end = &queue_of(port, index)->to_host;
	struct eswitch_meta metas[BURST];
	struct eswitch_ring_sent sent = { 0 };
	unsigned done = 0;

	while (done < count) {
		unsigned part = RTE_MIN(count - done, (unsigned)BURST);
		unsigned good = describe(packets + done, part, metas);
		unsigned put = eswitch_ring_put_burst(end, packets + done, metas, good, &sent);
		done += put;
		if (put < good)
			break;
		ret->failed += good < part;
		done += good < part;
	}
	if (eswitch_ring_publish(end))
		event_signal(((struct port_representor *)port)->wake_fds[index]);
	eswitch_ring_free(packets, done);
	ret->packets += sent.packets;
	ret->bytes += sent.bytes;
	ret->too_long += sent.too_long;
	return done;
}

static int queue_fd(struct port *port, unsigned index)
{
	return ((struct port_representor *)port)->wake_fds[port->rx_queues + index];
}

static int arm(struct port *port, unsigned index)
{
	return eswitch_ring_arm(&queue_of(port, index)->from_host);
}

static void disarm(struct port *port, unsigned index)
{
	eswitch_ring_disarm(&queue_of(port, index)->from_host);
	event_clear(queue_fd(port, index));
}

/* ---- control ---- */

static void describe_queue(const struct port *port, unsigned index, struct port_queue_state *ret)
{
	const struct port_representor *representor = (const struct port_representor *)port;
	const struct queue *queue = &representor->queues[index];

	ret->sizes[0] = ret->sizes[1] = representor->slots;
	if (queue->from_host.broken || queue->to_host.broken)
		ret->broken = "the client has moved its counter by more than there are slots";
}

static void representor_free(struct port_representor *representor)
{
	if (representor->region)
		munmap(representor->region, representor->region_bytes);
	if (representor->region_fd >= 0)
		close(representor->region_fd);
	for (size_t i = 0; i < RTE_DIM(representor->wake_fds); i++)
		if (representor->wake_fds[i] >= 0)
			close(representor->wake_fds[i]);
	free(representor);
}

static void free_port(struct port *port)
{
	representor_free((struct port_representor *)port);
}

static int shut(struct port *port)
{
	return 0;
}

static void close_port(struct port *port, void (*done)(void *arg), void *arg)
{
	port_life_close(&((struct port_representor *)port)->life, done, arg);
}

static const struct port_ops representor_ops = {
	.kind = "representor",
	.rx = rx,
	.tx = tx,
	.arm = arm,
	.disarm = disarm,
	.fd = queue_fd,
	.describe_queue = describe_queue,
	.close = close_port,
};

/* ---- opening ---- */

static int options_check(const struct port_representor_options *options, struct dpu_error *err)
{
	if (options->queue_pairs < 1 || options->queue_pairs > ESWITCH_MAX_QUEUES)
		return error_set(err, DPU_E_INVALID, "queues", "%u queues: there can be 1 to %d.", options->queue_pairs,
				 ESWITCH_MAX_QUEUES);
	if (options->slots < SLOTS_MIN || options->slots > SLOTS_MAX || !rte_is_power_of_2(options->slots))
		return error_set(err, DPU_E_INVALID, "slots",
				 "Rings of %u slots: it must be a power of two from %d to %d.", options->slots,
				 SLOTS_MIN, SLOTS_MAX);
	return 0;
}

static int region_make(struct port_representor *representor, uint32_t pairs)
{
	uint64_t bytes = eswitch_region_bytes(2 * pairs, representor->slots);
	int fd = memfd_create("softdpu-representor", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	representor->region_fd = fd;
	representor->region_bytes = bytes;
	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	void *region = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (region == MAP_FAILED)
		return -errno;
	representor->region = region;
	*representor->region = (struct eswitch_port_region){
		.magic = ESWITCH_MAGIC,
		.version = ESWITCH_ABI_VERSION,
		.bytes = bytes,
		.to_host_queues = pairs,
		.from_host_queues = pairs,
		.slots = representor->slots,
	};
	return 0;
}

static int queues_make(struct port_representor *representor, uint32_t pairs)
{
	for (uint32_t i = 0; i < 2 * pairs; i++) {
		struct eswitch_ring *ring = &representor->region->rings[i];
		struct queue *queue = &representor->queues[i % pairs];
		bool to_host = i < pairs;

		ring->slots = representor->slots;
		ring->slots_offset = eswitch_region_slots_offset(2 * pairs, i, representor->slots);
		ring->buffers_offset = eswitch_region_buffers_offset(2 * pairs, i, representor->slots);
		representor->wake_fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (representor->wake_fds[i] < 0)
			return -errno;
		eswitch_ring_end_init(to_host ? &queue->to_host : &queue->from_host, representor->region, 2 * pairs, i,
				      representor->slots, to_host);
	}
	return 0;
}

/* Segments need their checksums. */
static uint64_t tx_offloads(uint64_t taken)
{
	uint64_t offloads = 0;

	if (!(taken & ESWITCH_PACKET_CSUM))
		return 0;
	offloads = RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_UDP_CKSUM;
	if (taken & ESWITCH_PACKET_TSO4 && taken & ESWITCH_PACKET_TSO6)
		offloads |= RTE_MBUF_F_TX_TCP_SEG;
	if (taken & ESWITCH_PACKET_USO)
		offloads |= RTE_MBUF_F_TX_UDP_SEG;
	return offloads;
}

static struct port_representor *allocate(const struct port_representor_options *options, const char *name,
					 struct rte_mempool *pool, const struct port_callbacks *callbacks)
{
	size_t bytes = sizeof(struct port_representor) + options->queue_pairs * sizeof(struct queue);
	struct port_representor *representor = aligned_alloc(QUEUE_ALIGN, RTE_ALIGN_CEIL(bytes, (size_t)QUEUE_ALIGN));

	if (!representor)
		return NULL;
	memset(representor, 0, bytes);
	port_init(&representor->port, &representor_ops, name, pool, callbacks);
	representor->port.rx_queues = representor->port.tx_queues = options->queue_pairs;
	representor->port.mtu = options->mtu;
	representor->port.mac = options->mac;
	atomic_init(&representor->port.tx_offloads, tx_offloads(options->offloads));
	representor->slots = options->slots;
	representor->region_fd = -1;
	memset(representor->wake_fds, 0xff, sizeof(representor->wake_fds));
	representor->life = (struct port_life){
		.port = &representor->port,
		.tx_worker = PORT_WORKER_OFF,
		.shut = shut,
		.free = free_port,
	};
	return representor;
}

int port_representor_open(const struct port_representor_options *options, const char *name, struct loop *loop,
			  struct rte_mempool *pool, const struct port_callbacks *callbacks, struct port **ret,
			  struct dpu_error *err)
{
	int status = options_check(options, err);

	if (status < 0)
		return status;
	struct port_representor *representor = allocate(options, name, pool, callbacks);
	if (!representor)
		return error_set(err, DPU_E_LIMIT, NULL, "There is no memory for a representor's port.");
	status = region_make(representor, options->queue_pairs);
	if (status == 0)
		status = queues_make(representor, options->queue_pairs);
	if (status == 0)
		status = port_life_init(&representor->life, loop);
	if (status < 0) {
		representor_free(representor);
		return error_set(err, DPU_E_LIMIT, NULL,
				 "The rings of representor %s (%u queues of %u slots) cannot be had: %s.", name,
				 options->queue_pairs, options->slots, strerror(-status));
	}
	atomic_store(&representor->port.up, true);
	*ret = &representor->port;
	port_life_start(&representor->life);
	return 0;
}

void port_representor_share(const struct port *port, struct port_representor_share *ret)
{
	const struct port_representor *representor = (const struct port_representor *)port;

	*ret = (struct port_representor_share){
		.region_fd = representor->region_fd,
		.region_bytes = representor->region_bytes,
		.wake_fds = representor->wake_fds,
		.wake_fd_count = 2u * port->rx_queues,
	};
}
