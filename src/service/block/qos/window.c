// SPDX-License-Identifier: BSD-3-Clause
/* How much of what is not guaranteed may be under way at the media: as much as keeps them busy, and hardly more,
 * because each request more is one that a guaranteed one has to stand behind.
 *
 * As congestion control by delay does it: with `size` requests under way that take `mean` each, where `base` would do
 * on an idle medium, size × (1 - base / mean) of them are standing in line there. The window grows while less than an
 * eighth of it stands in line, and shrinks when more than a third and one do. Requests differ, so base and mean are
 * kept by direction and size. The base is looked for again every two seconds, with half of the window for one interval:
 * media change, and what was once measured in a quiet moment may never be reached again. */
#include "service/block/qos/qos_priv.h"

#include "base/clock.h"

enum { SMALLEST = 1, LARGEST = 512, FIRST = 16, INTERVAL = 64 };
static const uint64_t PROBE_NS = 2 * CLOCK_NS_PER_S;

void window_init(struct qos_window *window)
{
	*window = (struct qos_window){ .size = FIRST };
}

static struct qos_window_class *class_of(struct qos_window *window, const struct dpu_block_request *request)
{
	unsigned size = 0;

	if (request->op != DPU_BLOCK_READ && request->op != DPU_BLOCK_WRITE)
		return NULL;
	for (uint64_t bytes = 16 << 10; size + 1 < QOS_SIZES && request->length > bytes; bytes <<= 2)
		size++;
	return &window->of[(request->op == DPU_BLOCK_WRITE) * QOS_SIZES + size];
}

/* One quick interval proves little: the base follows by an eighth. */
static void base_note(struct qos_window_class *class, uint64_t mean, bool anew)
{
	if (anew || class->base == 0)
		class->base = mean;
	else if (mean < class->base)
		class->base -= (class->base - mean) / 8;
	class->base = class->base ? class->base : 1;
}

/* Sixteenths of requests that stand in line; takes the sums out. */
static uint64_t line(struct qos_window *window, bool new_base)
{
	uint64_t expected = 0, taken = 0;

	for (unsigned i = 0; i < 2 * QOS_SIZES; i++) {
		struct qos_window_class *class = &window->of[i];
		if (class->count == 0)
			continue;
		uint64_t mean = class->sum / class->count;
		/* A few of a kind say little about what is possible. */
		if (class->count >= INTERVAL / 8)
			base_note(class, mean, new_base);
		if (class->base) {
			expected += class->base * class->count;
			taken += class->sum;
		}
		class->sum = class->count = 0;
	}
	return taken > expected ? window->size * 16 * (taken - expected) / taken : 0;
}

static void adapt(struct qos_window *window, uint64_t now_ns)
{
	bool probing = window->probing, full = window->full;
	uint64_t standing = line(window, probing), size = window->size;

	window->samples = 0;
	window->full = window->probing = false;
	if (probing) {
		window->size = window->probed_size;
		window->probe_ns = now_ns + PROBE_NS;
	} else if (standing > 16 + 16 * size / 3) {
		window->size -= window->size / 8 + 1;
	} else if (standing < 16 * size / 5 && full) {
		window->size += window->size / 8 + 1;
	}
	window->size = window->size < SMALLEST ? SMALLEST : window->size > LARGEST ? LARGEST : window->size;
	if (!probing && full && now_ns >= window->probe_ns) {
		window->probing = true;
		window->probed_size = window->size;
		window->skip = window->size;
		window->size = (window->size + 1) / 2;
	}
}

void window_sample(struct qos_window *window, const struct dpu_block_request *request, uint64_t cycles, uint64_t now_ns)
{
	struct qos_window_class *class = class_of(window, request);

	if (!class)
		return;
	if (window->skip > 0) {
		window->skip--;
		return;
	}
	class->sum += cycles;
	class->count++;
	if (++window->samples >= INTERVAL && window->samples >= 2 * window->size)
		adapt(window, now_ns);
}
