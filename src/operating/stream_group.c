// SPDX-License-Identifier: BSD-3-Clause
/* What the streams of a worker share: what the kernel can do, buffers to receive into, memory for system calls. */
#include "operating/stream_priv.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BUFFERS = 256, BUFFERS_MAX = 32768, BUFFER_BYTES = 16 << 10, BUFFER_BYTES_MAX = 1 << 20 };

static size_t ring_bytes(const struct stream_group *group)
{
	return group->buffers * sizeof(struct io_uring_buf);
}

/* One that is provided has been ours until now, and nothing else asks for room in it: it holds them all. */
void stream_buffer_give(struct stream_group *group, unsigned number)
{
	io_uring_buf_ring_add(group->ring, stream_buffer(group, number), group->buffer_bytes, (unsigned short)number,
			      io_uring_buf_ring_mask(group->buffers), 0);
	io_uring_buf_ring_advance(group->ring, 1);
}

uint8_t *stream_buffer(const struct stream_group *group, unsigned number)
{
	return group->memory + (size_t)number * group->buffer_bytes;
}

/* The kernel takes them in turn. All of them would be more than the caches hold, so that no byte is received into one
 * that is warm. */
void stream_buffers_more(struct stream_group *group, unsigned more)
{
	for (; more > 0 && group->provided < group->buffers; more--)
		stream_buffer_give(group, group->provided++);
}

static bool ring_make(struct stream_group *group)
{
	void *ring = mmap(NULL, ring_bytes(group), PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);

	if (ring == MAP_FAILED)
		return false;
	group->number = uring_buffer_group(group->uring);
	struct io_uring_buf_reg registration = {
		.ring_addr = (uintptr_t)ring,
		.ring_entries = group->buffers,
		.bgid = group->number,
	};
	if (io_uring_register_buf_ring(uring_ring(group->uring), &registration, 0) < 0) {
		munmap(ring, ring_bytes(group));
		return false;
	}
	group->ring = ring;
	io_uring_buf_ring_init(group->ring);
	group->provided = 0;
	stream_buffers_more(group, FIRST_BUFFERS);
	return true;
}

void stream_group_ready(struct stream_group *group)
{
	if (group->ready)
		return;
	group->ready = true;
	if ((group->features & STREAM_BUFFER_RING) && !ring_make(group))
		group->features &= ~(unsigned)STREAM_BUFFER_RING;
}

/* ---- memory for system calls ---- */

struct stream_call *stream_call_take(struct stream *stream)
{
	struct stream_group *group = stream->group;
	struct stream_call *call = group->free_calls;

	if (call)
		group->free_calls = call->next;
	else if (!(call = malloc(sizeof(*call))))
		return NULL;
	call->stream = stream;
	call->next = NULL;
	call->message = (struct msghdr){ .msg_iov = call->iov };
	call->bytes = 0;
	call->first = NULL;
	call->tail = &call->first;
	call->zero_copy = call->sent = call->released = false;
	return call;
}

void stream_call_give(struct stream_call *call)
{
	struct stream_group *group = call->stream->group;

	call->next = group->free_calls;
	group->free_calls = call;
}

/* ---- life ---- */

unsigned stream_group_features(const struct stream_group *group)
{
	return group->features;
}

struct uring *stream_group_uring(const struct stream_group *group)
{
	return group->uring;
}

void stream_group_stats(const struct stream_group *group, struct stream_stats *ret)
{
	*ret = group->stats;
}

/* Multishot receive has no code of its own: it came with SEND_ZC. */
static unsigned features(const struct stream_group_options *options)
{
	unsigned has = STREAM_BUFFER_RING;

	if (uring_can(options->uring, IORING_OP_SEND_ZC))
		has |= STREAM_MULTISHOT;
	if (uring_can(options->uring, IORING_OP_SENDMSG_ZC))
		has |= STREAM_ZERO_COPY;
	return has & ~options->without;
}

static int check(const struct stream_group_options *options, struct dpu_error *err)
{
	if (options->buffers > BUFFERS_MAX || (options->buffers & (options->buffers - 1)) != 0)
		return error_set(err, DPU_E_INVALID, "buffers", "%u buffers: must be a power of two up to %d.",
				 options->buffers, BUFFERS_MAX);
	if (options->buffer_bytes > BUFFER_BYTES_MAX)
		return error_set(err, DPU_E_INVALID, "buffer_bytes", "%u bytes: a buffer has at most %d.",
				 options->buffer_bytes, BUFFER_BYTES_MAX);
	return 0;
}

int stream_group_new(const struct stream_group_options *options, struct stream_group **ret, struct dpu_error *err)
{
	int r = check(options, err);

	if (r < 0)
		return r;
	struct stream_group *group = calloc(1, sizeof(*group));
	if (!group)
		return error_set(err, DPU_E_LIMIT, NULL, "No memory for streams.");
	group->uring = options->uring;
	group->features = features(options);
	group->buffers = options->buffers ? options->buffers : BUFFERS;
	group->buffer_bytes = options->buffer_bytes ? options->buffer_bytes : BUFFER_BYTES;
	group->zero_copy_bytes = options->zero_copy_bytes == UINT_MAX ? SIZE_MAX
				 : options->zero_copy_bytes           ? options->zero_copy_bytes
								      : STREAM_ZERO_COPY_BYTES;
	group->report_copied = true;
	/* Not touched before it is used: without the kernel's choice only the first. */
	group->memory = mmap(NULL, (size_t)group->buffers * group->buffer_bytes, PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE | MAP_NORESERVE, -1, 0);
	if (group->memory == MAP_FAILED) {
		free(group);
		return error_set(err, DPU_E_LIMIT, NULL, "No memory for %u receive buffers of %u bytes.",
				 options->buffers, options->buffer_bytes);
	}
	*ret = group;
	return 0;
}

void stream_group_free(struct stream_group *group)
{
	struct stream_call *next;

	if (!group)
		return;
	if (group->ring) {
		/* Refused in a thread that is not the worker: then the kernel holds the pages until uring_free(). */
		io_uring_unregister_buf_ring(uring_ring(group->uring), group->number);
		munmap(group->ring, ring_bytes(group));
	}
	munmap(group->memory, (size_t)group->buffers * group->buffer_bytes);
	for (struct stream_call *call = group->free_calls; call; call = next) {
		next = call->next;
		free(call);
	}
	free(group);
}
