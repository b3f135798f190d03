// SPDX-License-Identifier: BSD-3-Clause
/* Sending on a stream: all that is queued goes in one system call, one at a time; what was sent in place is given back
 * in order, when the kernel no longer looks at it. */
#include "operating/stream_priv.h"

#include <errno.h>

/* Not in the headers of liburing 2.3 (Linux 6.2): tell whether it was copied nevertheless. */
#define SEND_ZC_REPORT_USAGE (1U << 3)
#define NOTIF_COPIED         (1U << 31)

static void on_flushed(struct uring_op *op, int32_t result);

void stream_send(struct stream *stream, struct stream_send *send)
{
	send->next = NULL;
	send->segment = 0;
	send->skip = 0;
	send->left = 0;
	for (unsigned i = 0; i < send->segments; i++)
		send->left += send->iov[i].iov_len;
	stream->unsent += send->left;
	*stream->sends_tail = send;
	stream->sends_tail = &send->next;
	stream_wake(stream);
}

size_t stream_unsent(const struct stream *stream)
{
	return stream->unsent;
}

void stream_shutdown(struct stream *stream)
{
	stream->shutdown_wanted = true;
	stream_wake(stream);
}

/* ---- what has been sent ---- */

/* Flushes at the head of the order whose buffers are free: their sends are done. */
static void flushes_release(struct stream *stream)
{
	struct stream_call *call;

	while ((call = stream->flushes) && call->sent && call->released) {
		struct stream_send *send = call->first, *next;

		stream->flushes = call->next;
		if (!stream->flushes)
			stream->flushes_tail = &stream->flushes;
		stream_call_give(call);
		for (; send; send = next) {
			next = send->next;
			send->done(send, 0);
		}
	}
}

static struct stream_send *sends_take(struct stream *stream)
{
	struct stream_send *send = stream->sends;

	stream->sends = send->next;
	if (!stream->sends)
		stream->sends_tail = &stream->sends;
	send->next = NULL;
	return send;
}

/* The kernel has taken so many bytes of what is queued: sends that end there end with this flush. */
static void sends_advance(struct stream *stream, struct stream_call *call, size_t bytes)
{
	stream->unsent -= bytes;
	while (stream->sends) {
		struct stream_send *send = stream->sends;

		if (send->left <= bytes) {
			bytes -= send->left;
			*call->tail = sends_take(stream);
			call->tail = &send->next;
			if (bytes == 0)
				break;
			continue;
		}
		send->left -= bytes;
		send->skip += bytes;
		while (send->segment < send->segments && send->skip >= send->iov[send->segment].iov_len)
			send->skip -= send->iov[send->segment++].iov_len;
		if (send->segment == send->segments) { /* its owner has changed it meanwhile */
			stream->broken = true;
			stream_end(stream, -EFAULT);
		}
		break;
	}
}

/* What will never be sent, in order: after what is still to be released. */
static void sends_fail(struct stream *stream)
{
	while (stream->sends && !stream->flushes) {
		struct stream_send *send = sends_take(stream);

		stream->unsent -= send->left;
		send->done(send, stream->closing ? -ECANCELED : stream->error ? stream->error : -EPIPE);
	}
}

static void flush_failed(struct stream *stream, struct stream_call *call, int error)
{
	/* An older kernel's: without the report, then without sending in place. */
	if (call->zero_copy && (error == -EINVAL || error == -EOPNOTSUPP)) {
		if (stream->group->report_copied && error == -EINVAL)
			stream->group->report_copied = false;
		else
			stream->zero_copy = false;
		return;
	}
	if (error == -EINTR || error == -EAGAIN || (call->zero_copy && error == -ENOMEM)) {
		stream->zero_copy &= error != -ENOMEM; /* of pinned memory there is a limit */
		return;
	}
	stream->broken = true;
	stream_end(stream, error);
}

static void notified(struct stream *stream, struct stream_call *call, int32_t result)
{
	call->released = true;
	if (!stream->group->report_copied)
		return;
	bool copied = (uint32_t)result & NOTIF_COPIED;

	stream->group->stats.copied_anyway += copied;
	stream->copied = copied ? stream->copied + 1 : 0;
	if (stream->copied == COPIED_ENOUGH)
		stream->zero_copy = false;
}

static void on_flushed(struct uring_op *op, int32_t result)
{
	struct stream_call *call = (struct stream_call *)op;
	struct stream *stream = call->stream;

	if (!(op->flags & IORING_CQE_F_MORE))
		stream->under_way--;
	if (op->flags & IORING_CQE_F_NOTIF) {
		notified(stream, call, result);
	} else {
		stream->file_users--;
		stream->sending = false;
		call->sent = true;
		call->released = !(op->flags & IORING_CQE_F_MORE);
		if (result < 0) {
			flush_failed(stream, call, result);
		} else {
			stream->group->stats.partial += (size_t)result < call->bytes;
			stream->group->stats.sent_bytes += (size_t)result;
			sends_advance(stream, call, (size_t)result);
		}
	}
	flushes_release(stream);
	if (stream->sends || stream->closing || stream->broken || stream->shutdown_wanted)
		stream_wake(stream);
}

/* ---- what is to be sent ---- */

static void flush_fill(struct stream *stream, struct stream_call *call)
{
	unsigned count = 0;

	for (struct stream_send *send = stream->sends; send; send = send->next) {
		size_t skip = send->skip;

		for (unsigned i = send->segment; i < send->segments; i++, skip = 0) {
			size_t bytes = send->iov[i].iov_len - skip;

			if (bytes == 0)
				continue;
			if (count == STREAM_SEGMENTS)
				goto full;
			call->iov[count++] = (struct iovec){ (uint8_t *)send->iov[i].iov_base + skip, bytes };
			call->bytes += bytes;
		}
		stream->group->stats.sends++;
	}
full:
	call->message.msg_iovlen = count;
}

/* The kernel goes on by itself when it could take only a part (MSG_WAITALL). */
static void flush_prepare(struct stream *stream, struct stream_call *call, struct io_uring_sqe *entry)
{
	struct stream_group *group = stream->group;
	unsigned flags = MSG_NOSIGNAL | MSG_WAITALL;

	call->zero_copy = stream->zero_copy && call->bytes >= group->zero_copy_bytes;
	if (call->zero_copy) {
		io_uring_prep_sendmsg_zc(entry, stream->fd, &call->message, flags);
		entry->ioprio |= group->report_copied ? SEND_ZC_REPORT_USAGE : 0;
		group->stats.zero_copy++;
	} else {
		io_uring_prep_sendmsg(entry, stream->fd, &call->message, flags);
	}
	io_uring_sqe_set_data(entry, &call->op);
	group->stats.flushes++;
}

static void flush(struct stream *stream)
{
	struct stream_call *call = stream_call_take(stream);
	struct io_uring_sqe *entry = NULL;

	if (call) {
		call->op.done = on_flushed;
		entry = uring_entry(stream->group->uring, &call->op);
	}
	if (!entry) { /* no memory, or the kernel takes no more now */
		if (call)
			stream_call_give(call);
		stream_wake(stream);
		return;
	}
	flush_fill(stream, call);
	flush_prepare(stream, call, entry);
	*stream->flushes_tail = call;
	stream->flushes_tail = &call->next;
	stream->sending = true;
	stream->under_way++;
	stream->file_users++;
}

void stream_send_work(struct stream *stream)
{
	if (stream->broken || stream->closing) {
		if (!stream->sending)
			sends_fail(stream);
		return;
	}
	if (stream->sending || stream->connecting)
		return;
	if (stream->sends) {
		flush(stream);
	} else if (stream->shutdown_wanted && !stream->shutdown_done) {
		stream->shutdown_done = true;
		shutdown(stream->fd, SHUT_WR);
	}
}
