/* SPDX-License-Identifier: BSD-3-Clause */
/* The rings between workers. */
#include "operating/handoff.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <rte_mbuf.h>

enum { DEFAULT_SIZE = 512, MAX_SIZE = 1 << 20 };

/* Positions run freely; an item is at position & mask. */
struct ring {
	/* The producer's. */
	_Alignas(64) _Atomic uint32_t published;
	uint32_t staged;     /* written so far, not all published */
	uint32_t taken_seen; /* what `taken` was when last read */
	/* The consumer's. */
	_Alignas(64) _Atomic uint32_t taken;
	struct handoff_item items[];
};

/* What a worker has for itself. */
struct station {
	_Alignas(64) struct worker_source source;
	struct handoff *handoff;
	unsigned index;
	uint64_t staged_for; /* bit per worker with unpublished items */
};

struct handoff {
	struct workers *workers;
	unsigned count, added; /* workers; those that have our source */
	uint32_t size, mask;
	size_t ring_bytes, rings_bytes;
	uint8_t *rings; /* count × count; mapped, so that what is never used costs nothing */
	void (*receive)(void *ctx, struct worker *worker, const struct handoff_item *items, unsigned count);
	void (*discard)(struct rte_mbuf *m);
	void *ctx;
	unsigned removing;
	void (*done)(void *arg);
	void *arg;
	struct station stations[];
};

static struct ring *ring_of(const struct handoff *handoff, unsigned from, unsigned to)
{
	return (struct ring *)(handoff->rings + ((size_t)from * handoff->count + to) * handoff->ring_bytes);
}

/* ---- sender ---- */

static void publish(struct handoff *handoff, struct station *station, unsigned to)
{
	struct ring *ring = ring_of(handoff, station->index, to);

	station->staged_for &= ~(UINT64_C(1) << to);
	atomic_store_explicit(&ring->published, ring->staged, memory_order_release);
	worker_wake(workers_get(handoff->workers, to));
}

bool handoff_send(struct handoff *handoff, unsigned from, unsigned to, struct rte_mbuf *m, uint64_t tag)
{
	struct station *station = &handoff->stations[from];
	struct ring *ring = ring_of(handoff, from, to);

	if (ring->staged - ring->taken_seen == handoff->size) {
		ring->taken_seen = atomic_load_explicit(&ring->taken, memory_order_acquire);
		if (ring->staged - ring->taken_seen == handoff->size)
			return false;
	}
	ring->items[ring->staged++ & handoff->mask] = (struct handoff_item){ .m = m, .tag = tag };
	station->staged_for |= UINT64_C(1) << to;
	if (ring->staged % HANDOFF_BURST == 0)
		publish(handoff, station, to);
	return true;
}

void handoff_flush(struct handoff *handoff, unsigned from)
{
	struct station *station = &handoff->stations[from];

	while (station->staged_for)
		publish(handoff, station, (unsigned)__builtin_ctzll(station->staged_for));
}

/* ---- receiver ---- */

static unsigned receive_from(struct handoff *handoff, struct ring *ring, struct worker *worker)
{
	struct handoff_item items[HANDOFF_BURST];
	uint32_t taken = atomic_load_explicit(&ring->taken, memory_order_relaxed);
	uint32_t count = atomic_load_explicit(&ring->published, memory_order_acquire) - taken;

	if (count == 0)
		return 0;
	if (count > HANDOFF_BURST)
		count = HANDOFF_BURST;
	for (uint32_t i = 0; i < count; i++)
		items[i] = ring->items[(taken + i) & handoff->mask];
	atomic_store_explicit(&ring->taken, taken + count, memory_order_release);
	handoff->receive(handoff->ctx, worker, items, count);
	return count;
}

static unsigned station_poll(struct worker_source *source, struct worker *worker)
{
	struct station *station = (struct station *)source;
	struct handoff *handoff = station->handoff;
	unsigned work = 0;

	for (unsigned from = 0; from < handoff->count; from++)
		if (from != station->index)
			work += receive_from(handoff, ring_of(handoff, from, station->index), worker);
	handoff_flush(handoff, station->index);
	return work;
}

static int station_arm(struct worker_source *source)
{
	struct station *station = (struct station *)source;
	struct handoff *handoff = station->handoff;

	handoff_flush(handoff, station->index); /* a tick may have sent something since */
	for (unsigned from = 0; from < handoff->count; from++) {
		struct ring *ring = ring_of(handoff, from, station->index);
		if (atomic_load_explicit(&ring->published, memory_order_relaxed) !=
		    atomic_load_explicit(&ring->taken, memory_order_relaxed))
			return 1;
	}
	return 0;
}

/* ---- life ---- */

static void discard_packet(struct rte_mbuf *m)
{
	rte_pktmbuf_free(m);
}

static void release(struct handoff *handoff)
{
	for (unsigned from = 0; from < handoff->count; from++)
		for (unsigned to = 0; to < handoff->count; to++) {
			struct ring *ring = ring_of(handoff, from, to);
			for (uint32_t i = atomic_load(&ring->taken); i != ring->staged; i++)
				handoff->discard(ring->items[i & handoff->mask].m);
		}
	void (*done)(void *) = handoff->done;
	void *arg = handoff->arg;
	munmap(handoff->rings, handoff->rings_bytes);
	free(handoff);
	if (done)
		done(arg);
}

static void source_removed(void *arg)
{
	struct handoff *handoff = arg;

	if (--handoff->removing == 0)
		release(handoff);
}

void handoff_free(struct handoff *handoff, void (*done)(void *arg), void *arg)
{
	handoff->done = done;
	handoff->arg = arg;
	handoff->removing = 1;
	for (unsigned i = 0; i < handoff->added; i++)
		if (worker_remove_source(workers_get(handoff->workers, i), &handoff->stations[i].source, source_removed,
					 handoff) == 0)
			handoff->removing++;
	source_removed(handoff);
}

static int add_sources(struct handoff *handoff)
{
	for (unsigned i = 0; i < handoff->count; i++) {
		struct station *station = &handoff->stations[i];
		station->source =
			(struct worker_source){ .poll = station_poll, .arm = station_arm, .fd = -1, .name = "handoff" };
		station->index = i;
		station->handoff = handoff;
		int status = worker_add_source(workers_get(handoff->workers, i), &station->source);
		if (status < 0)
			return status;
		handoff->added++;
	}
	return 0;
}

static struct handoff *allocate(const struct handoff_options *options, uint32_t size)
{
	unsigned count = workers_count(options->workers);
	size_t bytes = sizeof(struct handoff) + count * sizeof(struct station);
	struct handoff *handoff = aligned_alloc(64, (bytes + 63) / 64 * 64);

	if (!handoff)
		return NULL;
	memset(handoff, 0, bytes);
	handoff->workers = options->workers;
	handoff->count = count;
	handoff->size = size;
	handoff->mask = size - 1;
	handoff->receive = options->receive;
	handoff->discard = options->discard ? options->discard : discard_packet;
	handoff->ctx = options->ctx;
	handoff->ring_bytes = (sizeof(struct ring) + size * sizeof(struct handoff_item) + 63) / 64 * 64;
	handoff->rings_bytes = handoff->ring_bytes * count * count;
	handoff->rings = mmap(NULL, handoff->rings_bytes, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (handoff->rings == MAP_FAILED) {
		free(handoff);
		return NULL;
	}
	return handoff;
}

int handoff_new(const struct handoff_options *options, struct handoff **ret, struct dpu_error *err)
{
	uint32_t size = options->size ? options->size : DEFAULT_SIZE;

	if (size > MAX_SIZE || (size & (size - 1)) || size < HANDOFF_BURST)
		return error_set(err, DPU_E_INVALID, "size", "%u items per ring: a power of two from %d to %d.", size,
				 HANDOFF_BURST, MAX_SIZE);
	struct handoff *handoff = allocate(options, size);
	if (!handoff)
		return error_set(err, DPU_E_LIMIT, NULL, "No memory for the rings between %u workers.",
				 workers_count(options->workers));
	int status = add_sources(handoff);
	if (status < 0) {
		handoff_free(handoff, NULL, NULL);
		return error_set(err, DPU_E_LIMIT, NULL, "No memory for the rings between %u workers: %s.",
				 workers_count(options->workers), strerror(-status));
	}
	*ret = handoff;
	return 0;
}
