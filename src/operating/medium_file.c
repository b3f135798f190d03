// SPDX-License-Identifier: BSD-3-Clause
/* Requests to a file by io_uring. */
#include "operating/medium_file_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* What write zeroes writes where the file system cannot do it itself. */
enum { ZEROES_BYTES = 64 << 10 };
static const uint8_t zeroes[ZEROES_BYTES] __attribute__((aligned(4096)));

static void request_start(struct medium_file *file, struct dpu_block_request *request);

static enum dpu_block_status status_of(int error)
{
	switch (error) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return DPU_BLOCK_NO_SPACE;
	case EROFS:
	case EBADF:
		return DPU_BLOCK_READ_ONLY;
	case EOPNOTSUPP:
		return DPU_BLOCK_UNSUPPORTED;
	default:
		return DPU_BLOCK_IO_ERROR;
	}
}

static void copy_out(struct file_op *op)
{
	const struct dpu_block_request *request = op->request;
	const uint8_t *from = op->copy;

	for (unsigned i = 0; i < request->segments; i++) {
		memcpy(request->iov[i].iov_base, from, request->iov[i].iov_len);
		from += request->iov[i].iov_len;
	}
}

static void closed_check(struct medium_file *file)
{
	if (!file->closing || file->under_way > 0 || file->waiting.first)
		return;
	void (*closed)(void *arg) = file->closed;
	void *arg = file->closed_arg;

	fixed_file_remove(uring_fixed(file->uring), file->number);
	close(file->fd);
	free(file);
	if (closed)
		closed(arg);
}

static void op_finish(struct file_op *op, int error)
{
	struct medium_file *file = op->file;
	struct dpu_block_request *request = op->request;

	if (!error && op->copy && request->op == DPU_BLOCK_READ)
		copy_out(op);
	if (error && error != EFAULT) { /* EFAULT: a guest has taken its memory away, and the medium is sound */
		file->stats.errors++;
		file->stats.last_errno = error;
		file->stats.last_offset = request->offset;
	}
	free(op->copy);
	free(op->rest);
	op->copy = NULL;
	op->rest = NULL;
	op->next = file->free;
	file->free = op;
	/* Who closes in done finds us still there. */
	dpu_block_complete(request, error ? status_of(error) : DPU_BLOCK_OK);
	file->under_way--;
	struct dpu_block_request *next = file->free ? block_queue_take(&file->waiting) : NULL;
	if (next)
		request_start(file, next);
	closed_check(file);
}

/* ---- what goes to the kernel ---- */

static void op_send(struct file_op *op);

/* The segments of what is left after a transfer that did less. */
static bool rest_make(struct file_op *op)
{
	const struct dpu_block_request *request = op->request;
	const struct iovec *from = op->copy ? &op->copied : request->iov;
	unsigned count = op->copy ? 1 : request->segments, left = 0;
	uint64_t skip = op->moved;

	if (!op->rest)
		op->rest = malloc(count * sizeof(*op->rest));
	if (!op->rest)
		return false;
	for (unsigned i = 0; i < count; i++) {
		if (skip >= from[i].iov_len) {
			skip -= from[i].iov_len;
			continue;
		}
		op->rest[left].iov_base = (uint8_t *)from[i].iov_base + skip;
		op->rest[left++].iov_len = from[i].iov_len - skip;
		skip = 0;
	}
	memset(&op->rest[left], 0, (count - left) * sizeof(*op->rest));
	return true;
}

static int allocate_mode(const struct file_op *op)
{
	bool keep = op->request->op == DPU_BLOCK_WRITE_ZEROES && (op->request->flags & DPU_BLOCK_KEEP);

	return FALLOC_FL_KEEP_SIZE | (keep ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE);
}

/* What was interrupted, or what the kernel had no memory for. */
static bool again(struct file_op *op, int32_t result)
{
	if (result != -EINTR && result != -EAGAIN)
		return false;
	op_send(op);
	return true;
}

static void on_transfer(struct uring_op *uring_op, int32_t result)
{
	struct file_op *op = (struct file_op *)uring_op;

	if (again(op, result))
		return;
	if (result <= 0) { /* the end of a file that somebody has cut off, too */
		op_finish(op, result < 0 ? -result : EIO);
		return;
	}
	op->moved += (uint32_t)result;
	if (op->moved == op->request->length)
		op_finish(op, 0);
	else if (!op->zeroing && !rest_make(op))
		op_finish(op, ENOMEM);
	else
		op_send(op);
}

/* Flushes, and the flush after an operation that must be durable. */
static void on_flushed(struct uring_op *uring_op, int32_t result)
{
	struct file_op *op = (struct file_op *)uring_op;

	if (!again(op, result))
		op_finish(op, result < 0 ? -result : 0);
}

static void on_allocated(struct uring_op *uring_op, int32_t result)
{
	struct file_op *op = (struct file_op *)uring_op;
	bool unsupported = result == -EOPNOTSUPP || result == -ENOSYS || result == -EINVAL;

	if (again(op, result))
		return;
	if (unsupported) {
		op->zeroing = true;
		op_send(op);
	} else if (result < 0) {
		op_finish(op, -result);
	} else if (op->request->flags & DPU_BLOCK_FUA) {
		op->op.done = on_flushed;
		op_send(op);
	} else {
		op_finish(op, 0);
	}
}

/* One segment: the kernel fetches no vector, and looks for no pages in registered memory. */
static void single_prepare(struct file_op *op, struct io_uring_sqe *entry, int fd, const struct iovec *iov,
			   uint64_t offset)
{
	int buffer = fixed_buffer(uring_fixed(op->file->uring), iov->iov_base, iov->iov_len);
	unsigned bytes = (unsigned)iov->iov_len; /* at most DPU_BLOCK_MAX_BYTES */
	bool reads = op->request->op == DPU_BLOCK_READ;

	if (buffer != FIXED_NONE)
		op->file->stats.fixed++;
	if (buffer == FIXED_NONE && reads)
		io_uring_prep_read(entry, fd, iov->iov_base, bytes, offset);
	else if (buffer == FIXED_NONE)
		io_uring_prep_write(entry, fd, iov->iov_base, bytes, offset);
	else if (reads)
		io_uring_prep_read_fixed(entry, fd, iov->iov_base, bytes, offset, buffer);
	else
		io_uring_prep_write_fixed(entry, fd, iov->iov_base, bytes, offset, buffer);
}

static void entry_prepare(struct file_op *op, struct io_uring_sqe *entry)
{
	const struct dpu_block_request *request = op->request;
	const struct iovec *iov = op->rest ? op->rest : op->copy ? &op->copied : request->iov;
	unsigned count = op->copy ? 1 : request->segments;
	uint64_t offset = request->offset + op->moved;
	int fd = op->file->number != FIXED_NONE ? op->file->number : op->file->fd,
	    sync = request->flags & DPU_BLOCK_FUA ? RWF_DSYNC : 0;

	if (op->op.done == on_flushed) {
		io_uring_prep_fsync(entry, fd, IORING_FSYNC_DATASYNC);
	} else if (op->zeroing) {
		uint64_t left = request->length - op->moved;

		io_uring_prep_write(entry, fd, zeroes, left < ZEROES_BYTES ? (unsigned)left : ZEROES_BYTES, offset);
		entry->rw_flags = sync;
	} else if (op->op.done == on_allocated) {
		io_uring_prep_fallocate(entry, fd, allocate_mode(op), (off_t)request->offset, (off_t)request->length);
	} else if (count == 1) {
		single_prepare(op, entry, fd, iov, offset);
		entry->rw_flags = request->op == DPU_BLOCK_READ ? 0 : sync;
	} else if (request->op == DPU_BLOCK_READ) {
		io_uring_prep_readv(entry, fd, iov, count, offset);
	} else {
		io_uring_prep_writev2(entry, fd, iov, count, offset, sync);
	}
	if (op->file->number != FIXED_NONE)
		entry->flags |= IOSQE_FIXED_FILE;
}

static void op_send(struct file_op *op)
{
	struct io_uring_sqe *entry;

	if (op->zeroing)
		op->op.done = on_transfer;
	entry = uring_entry(op->file->uring, &op->op);
	if (!entry) { /* the kernel takes no more now */
		uring_later(op->file->uring, &op->op, -EAGAIN);
		return;
	}
	entry_prepare(op, entry);
	io_uring_sqe_set_data(entry, &op->op);
}

/* ---- from the request ---- */

static bool aligned(const struct medium_file *file, const struct dpu_block_request *request)
{
	uintptr_t bits = 0;

	for (unsigned i = 0; i < request->segments; i++)
		bits |= (uintptr_t)request->iov[i].iov_base | request->iov[i].iov_len;
	return bits % file->memory_alignment == 0;
}

static bool copy_make(struct file_op *op)
{
	const struct dpu_block_request *request = op->request;

	op->copy = aligned_alloc(DPU_BLOCK_BYTES,
				 (request->length + DPU_BLOCK_BYTES - 1) & ~(uint64_t)(DPU_BLOCK_BYTES - 1));
	if (!op->copy)
		return false;
	op->copied = (struct iovec){ op->copy, request->length };
	if (request->op == DPU_BLOCK_WRITE) {
		uint8_t *to = op->copy;

		for (unsigned i = 0; i < request->segments; i++) {
			memcpy(to, request->iov[i].iov_base, request->iov[i].iov_len);
			to += request->iov[i].iov_len;
		}
	}
	return true;
}

static void (*done_of(uint8_t op))(struct uring_op *op, int32_t result)
{
	switch (op) {
	case DPU_BLOCK_FLUSH:
		return on_flushed;
	case DPU_BLOCK_DISCARD:
	case DPU_BLOCK_WRITE_ZEROES:
		return on_allocated;
	default:
		return on_transfer;
	}
}

static void request_start(struct medium_file *file, struct dpu_block_request *request)
{
	struct file_op *op = file->free;

	file->free = op->next;
	if (!file->asked) {
		file->asked = true;
		file->number = fixed_file_add(uring_fixed(file->uring), file->fd);
	}
	file->under_way++;
	op->request = request;
	op->moved = 0;
	op->zeroing = false;
	op->op.done = done_of(request->op);
	if (request->op == DPU_BLOCK_COMPARE)
		uring_later(file->uring, &op->op, -EOPNOTSUPP);
	else if (op->op.done == on_transfer && !aligned(file, request) && !copy_make(op))
		uring_later(file->uring, &op->op, -ENOMEM);
	else
		op_send(op);
}

static void file_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct medium_file *file = (struct medium_file *)device;

	block_queue_add(&file->waiting, request);
	if (file->free)
		request_start(file, block_queue_take(&file->waiting));
}

static void file_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	struct medium_file *file = (struct medium_file *)device;

	file->closing = true;
	file->closed = done;
	file->closed_arg = arg;
	closed_check(file);
}

static const struct dpu_block_ops file_ops = { .submit = file_submit, .close = file_close };

int medium_file_open(const struct medium_file_options *options, struct dpu_block_device **ret, struct dpu_error *err)
{
	size_t path_bytes = strlen(options->path) + 1;
	struct medium_file *file = calloc(1, sizeof(*file) + path_bytes);

	if (!file)
		return error_set(err, DPU_E_LIMIT, options->path, "no memory for a medium");
	memcpy(file->path, options->path, path_bytes);
	int r = medium_file_attach(file, options, err);
	if (r < 0) {
		free(file);
		return r;
	}
	file->uring = options->uring;
	file->number = FIXED_NONE;
	file->device.ops = &file_ops;
	file->device.name = file->path;
	file->device.max_bytes = DPU_BLOCK_MAX_BYTES;
	file->device.alignment = 1;
	block_queue_init(&file->waiting);
	for (unsigned i = 0; i < FILE_OPS; i++) {
		file->ops[i].file = file;
		file->ops[i].next = file->free;
		file->free = &file->ops[i];
	}
	*ret = &file->device;
	return 0;
}

uint64_t medium_file_resized(struct dpu_block_device *device)
{
	struct medium_file *file = (struct medium_file *)device;
	uint64_t bytes;

	if (medium_file_size(file->fd, &bytes) == 0 && bytes != device->bytes && bytes % DPU_BLOCK_BYTES == 0) {
		device->bytes = bytes;
		if (device->changed)
			device->changed(device->changed_ctx);
	}
	return device->bytes;
}

void medium_file_stats(const struct dpu_block_device *device, struct medium_file_stats *ret)
{
	*ret = ((const struct medium_file *)device)->stats;
}

bool medium_file_direct(const struct dpu_block_device *device)
{
	return ((const struct medium_file *)device)->direct;
}
