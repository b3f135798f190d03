// SPDX-License-Identifier: BSD-3-Clause
/* Receiving on a stream: into buffers that the kernel picks, or straight into a take; what is not consumed is kept. */
#include "operating/stream_priv.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* ---- what has come goes to the callbacks ---- */

static void take_finish(struct stream *stream, int error)
{
	struct stream_take *take = stream->take;

	stream->take = NULL;
	take->done(take, error);
}

static size_t take_copy(struct stream *stream, const uint8_t *bytes, size_t count)
{
	struct stream_take *take = stream->take;
	size_t moved = 0, skip = take->moved;

	if (count > take->bytes - take->moved)
		count = take->bytes - take->moved;
	for (unsigned i = 0; moved < count; i++) {
		size_t room = take->iov[i].iov_len;

		if (skip >= room) {
			skip -= room;
			continue;
		}
		size_t part = room - skip < count - moved ? room - skip : count - moved;
		memcpy((uint8_t *)take->iov[i].iov_base + skip, bytes + moved, part);
		moved += part;
		skip = 0;
	}
	take->moved += count;
	if (take->moved == take->bytes)
		take_finish(stream, 0);
	return count;
}

/* Returns how much was consumed: less than count when the stream is paused or closed. */
static size_t deliver(struct stream *stream, const uint8_t *bytes, size_t count)
{
	size_t at = 0;

	while (at < count && !stream->closing) {
		if (stream->take) {
			at += take_copy(stream, bytes + at, count - at);
			continue;
		}
		if (stream->paused)
			break;
		at += stream->ops->received(stream->ctx, bytes + at, count - at);
		if (at < count && !stream->take)
			stream->paused = true;
	}
	return at;
}

/* Until it is asked for; without memory the connection is lost, as no byte may be. */
static void keep(struct stream *stream, const uint8_t *bytes, size_t count)
{
	uint8_t *larger;

	if (count == 0 || stream->closing)
		return;
	if (stream->kept_at > 0) {
		stream->kept_bytes -= stream->kept_at;
		memmove(stream->kept, stream->kept + stream->kept_at, stream->kept_bytes);
		stream->kept_at = 0;
	}
	larger = realloc(stream->kept, stream->kept_bytes + count);
	if (!larger) {
		stream_end(stream, -ENOMEM);
		return;
	}
	stream->kept = larger;
	memcpy(stream->kept + stream->kept_bytes, bytes, count);
	stream->kept_bytes += count;
}

static void kept_drop(struct stream *stream)
{
	free(stream->kept);
	stream->kept = NULL;
	stream->kept_bytes = stream->kept_at = 0;
}

static void kept_deliver(struct stream *stream)
{
	if (!stream->kept || (stream->paused && !stream->take))
		return;
	stream->kept_at += deliver(stream, stream->kept + stream->kept_at, stream->kept_bytes - stream->kept_at);
	if (stream->kept_at == stream->kept_bytes || stream->closing)
		kept_drop(stream);
}

static void arrived(struct stream *stream, const uint8_t *bytes, size_t count)
{
	size_t used = stream->kept ? 0 : deliver(stream, bytes, count);

	keep(stream, bytes + used, count - used);
}

void stream_pause(struct stream *stream)
{
	stream->paused = true;
	stream_wake(stream);
}

void stream_resume(struct stream *stream)
{
	stream->paused = false;
	stream_wake(stream);
}

void stream_take(struct stream *stream, struct stream_take *take)
{
	take->moved = 0;
	stream->take = take;
	stream->take_copies = false;
	stream_wake(stream);
}

/* ---- what is under way ---- */

static bool in_place(const struct stream *stream)
{
	return stream->take && !stream->kept && !stream->take_copies &&
	       stream->take->bytes - stream->take->moved >= STREAM_TAKE_BYTES;
}

/* A reset whose error a send has got looks like an end to the receive that comes after it. */
static bool was_reset(const struct stream *stream)
{
	struct tcp_info info = { 0 };
	socklen_t bytes = sizeof(info);

	return !stream->closing && !stream->shutdown_done && !stream->broken &&
	       getsockopt(stream->fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0 && info.tcpi_state == TCP_CLOSE;
}

static void receive_ended(struct stream *stream, int32_t result)
{
	if (result ==
	    -ENOBUFS) { /* there are more, or all are with callbacks or about to come back: in the next round */
		stream->group->stats.no_buffers++;
		stream_buffers_more(stream->group, 1);
	} else if (result == -EINVAL && stream->multishot) {
		stream->group->features &= ~(unsigned)STREAM_MULTISHOT;
	} else if (result == 0) {
		stream_end(stream, was_reset(stream) ? -ECONNRESET : 0);
	} else if (result < 0 && result != -ECANCELED && result != -EINTR && result != -EAGAIN) {
		stream_end(stream, result);
	}
}

/* The descriptor is readable: where the kernel cannot pick buffers. */
static int32_t read_now(struct stream *stream)
{
	struct stream_group *group = stream->group;
	ssize_t bytes = recv(stream->fd, group->memory, group->buffer_bytes, MSG_DONTWAIT);

	return bytes < 0 ? -errno : (int32_t)bytes;
}

static void on_received(struct uring_op *op, int32_t result)
{
	struct stream *stream = (struct stream *)((char *)op - offsetof(struct stream, receive));
	struct stream_group *group = stream->group;
	unsigned buffer = op->flags >> IORING_CQE_BUFFER_SHIFT;
	const uint8_t *bytes = group->memory;

	if (!(op->flags & IORING_CQE_F_MORE)) {
		stream->receiving = stream->cancelling = false;
		stream->under_way--;
		stream->file_users--;
		stream_wake(stream);
	}
	if (op->flags & IORING_CQE_F_BUFFER)
		bytes = stream_buffer(group, buffer);
	else if (result > 0)
		result = read_now(stream);
	if (result > 0) {
		group->stats.receives++;
		group->stats.received_bytes += (size_t)result;
		if (!stream->closing && !stream->over) /* a send may have failed before these were looked at */
			arrived(stream, bytes, (size_t)result);
	}
	if (op->flags & IORING_CQE_F_BUFFER)
		stream_buffer_give(group, buffer);
	if (result <= 0 && !(op->flags & IORING_CQE_F_MORE))
		receive_ended(stream, result);
}

static void on_taken(struct uring_op *op, int32_t result)
{
	struct stream_call *call = (struct stream_call *)op;
	struct stream *stream = call->stream;

	stream_call_give(call);
	stream->receiving = stream->taking = stream->cancelling = false;
	stream->under_way--;
	stream->file_users--;
	stream_wake(stream);
	if (result == -EFAULT) {
		/* Memory that a guest has taken away, which is no reason to end a connection that others use: a copy
		 * makes it ours (device/virtio/memory_fault.h). */
		stream->take_copies = true;
		return;
	}
	if (result <= 0) {
		receive_ended(stream, result);
		return;
	}
	stream->group->stats.receives++;
	stream->group->stats.received_bytes += (size_t)result;
	stream->group->stats.taken_bytes += (size_t)result;
	stream->take->moved += (size_t)result;
	if (stream->take->moved == stream->take->bytes && !stream->closing)
		take_finish(stream, 0);
}

static bool take_receive(struct stream *stream)
{
	const struct stream_take *take = stream->take;
	struct stream_call *call = stream_call_take(stream);
	struct io_uring_sqe *entry = NULL;
	size_t skip = take->moved, left = take->bytes - take->moved;

	if (call) {
		call->op.done = on_taken;
		entry = uring_entry(stream->group->uring, &call->op);
	}
	if (!entry) {
		if (call)
			stream_call_give(call);
		return false;
	}
	for (unsigned i = 0; left > 0 && call->message.msg_iovlen < STREAM_SEGMENTS; i++) {
		size_t room = take->iov[i].iov_len;

		if (skip >= room) {
			skip -= room;
			continue;
		}
		size_t part = room - skip < left ? room - skip : left;
		call->iov[call->message.msg_iovlen++] = (struct iovec){ (uint8_t *)take->iov[i].iov_base + skip, part };
		left -= part;
		skip = 0;
	}
	io_uring_prep_recvmsg(entry, stream->fd, &call->message, MSG_WAITALL);
	io_uring_sqe_set_data(entry, &call->op);
	stream->taking = true;
	stream->multishot = false;
	stream->single = SINGLE_RECEIVES;
	return true;
}

static bool buffer_receive(struct stream *stream)
{
	struct stream_group *group = stream->group;
	struct io_uring_sqe *entry;

	stream_group_ready(group);
	stream->receive.done = on_received;
	entry = uring_entry(group->uring, &stream->receive);
	if (!entry)
		return false;
	stream->multishot = false;
	if (!(group->features & STREAM_BUFFER_RING)) {
		io_uring_prep_poll_add(entry, stream->fd, POLLIN | POLLRDHUP);
	} else if ((group->features & STREAM_MULTISHOT) && stream->single == 0) {
		io_uring_prep_recv_multishot(entry, stream->fd, NULL, 0, 0);
		stream->multishot = true;
	} else {
		io_uring_prep_recv(entry, stream->fd, NULL, stream->single > 0 ? SINGLE_BYTES : 0, 0);
		stream->single -= stream->single > 0;
	}
	if (group->features & STREAM_BUFFER_RING) {
		entry->flags |= IOSQE_BUFFER_SELECT;
		entry->buf_group = group->number;
	}
	io_uring_sqe_set_data(entry, &stream->receive);
	return true;
}

/* A take that has not got all its bytes when there will be no more. */
static void take_fail(struct stream *stream)
{
	if (stream->take && !stream->taking)
		take_finish(stream, stream->closing ? -ECANCELED : stream->error ? stream->error : -ECONNRESET);
}

void stream_receive_work(struct stream *stream)
{
	if (stream->connecting)
		return;
	if (!stream->closing)
		kept_deliver(stream);
	if (stream->closing) {
		kept_drop(stream);
		take_fail(stream);
		return;
	}
	if (stream->over) {
		if (stream->error)
			kept_drop(stream);
		if (!stream->kept)
			take_fail(stream);
		return;
	}
	bool wanted = !stream->paused || stream->take;
	if (stream->receiving) {
		if (stream->taking)
			return;
		if (!wanted || (stream->multishot && in_place(stream)))
			stream_cancel(stream);
		return;
	}
	if (!wanted || (stream->kept && !stream->take))
		return;
	if (!(in_place(stream) ? take_receive(stream) : buffer_receive(stream))) {
		stream_wake(stream);
		return;
	}
	stream->receiving = true;
	stream->under_way++;
	stream->file_users++;
}
