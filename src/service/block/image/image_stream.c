// SPDX-License-Identifier: BSD-3-Clause
/* Data between a raw file and a volume, a chunk at a time: a helper thread has to do with the file, the worker with the
 * device. Holes stay holes on both sides, and large ones are not read. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "service/block/image/image_priv.h"

enum { HOLE = 64 << 10 }; /* least piece that is left out of an export */
static const uint64_t ERASE = UINT64_C(1) << 30;

/* ---- the device ---- */

static void request_over(struct note *note)
{
	struct image_job *job = (struct image_job *)((uint8_t *)note - offsetof(struct image_job, note));

	job->moving = false;
	if (job->request.status != DPU_BLOCK_OK)
		image_fail(job, job->request.status == DPU_BLOCK_NO_SPACE ? DPU_E_LIMIT : DPU_E_IO,
			   job->request.status == DPU_BLOCK_NO_SPACE    ? "the pool is full"
			   : job->request.status == DPU_BLOCK_INTEGRITY ? "a block at offset %llu contradicts its CRC"
									: "the volume fails at offset %llu",
			   (unsigned long long)job->at);
	job->then(job);
}

static void request_done(struct dpu_block_request *request)
{
	struct image_job *job = (struct image_job *)((uint8_t *)request - offsetof(struct image_job, request));

	job->at_device = false;
	note_send(job->block, &job->note);
}

static void request_submit(void *arg, struct worker *worker)
{
	struct image_job *job = arg;
	enum dpu_block_status status = dpu_block_check(job->device, &job->request);

	(void)worker;
	job->at_device = true;
	if (status == DPU_BLOCK_OK)
		job->device->ops->submit(job->device, &job->request);
	else
		dpu_block_complete(&job->request, status);
}

static void request_cancel(void *arg, struct worker *worker)
{
	struct image_job *job = arg;

	(void)worker;
	if (job->at_device && job->device->ops->cancel)
		job->device->ops->cancel(job->device, &job->request);
}

/* The device is taken back by way of its worker, so the job is there when the call is. */
void image_stream_cancel(struct image_job *job)
{
	if (job->device)
		block_call(job->worker, request_cancel, job, NULL);
}

static void request(struct image_job *job, enum dpu_block_op op, uint64_t length, void (*then)(struct image_job *job))
{
	bool data = op == DPU_BLOCK_READ || op == DPU_BLOCK_WRITE;

	job->moving = true;
	job->then = then;
	job->note.fn = request_over;
	job->iov = (struct iovec){ job->buffer, length };
	job->request = (struct dpu_block_request){ .op = (uint8_t)op,
						   .segments = data,
						   .offset = op == DPU_BLOCK_FLUSH ? 0 : job->at,
						   .length = length,
						   .iov = &job->iov,
						   .done = request_done };
	block_call(job->worker, request_submit, job, NULL);
}

/* ---- the file ---- */

static void helped(void *arg)
{
	struct image_job *job = arg;

	job->moving = false;
	if (job->helper_rc < 0)
		image_fail(job, DPU_E_IO, "the file fails at offset %llu: %s", (unsigned long long)job->at,
			   strerror(-job->helper_rc));
	job->then(job);
}

static void help(struct image_job *job, void (*fn)(void *arg), void (*then)(struct image_job *job))
{
	job->moving = true;
	job->then = then;
	if (helpers_run(job->block->helpers, fn, helped, job) != 0)
		abort(); /* out of memory */
}

static void step(struct image_job *job);

/* Who renames a raw image or changes its rights does no harm. A qcow2 image is read twice, and must be what was looked
 * at: nobody can set its st_ctim. */
bool image_unchanged(const struct image_job *job, const struct stat *now)
{
	const struct stat *then = &job->source;
	const struct timespec *a = job->qcow2 ? &then->st_ctim : &then->st_mtim;
	const struct timespec *b = job->qcow2 ? &now->st_ctim : &now->st_mtim;

	return now->st_dev == then->st_dev && now->st_ino == then->st_ino && now->st_size == then->st_size &&
	       a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* The next data at or behind job->at. What is no whole sector at the end is filled up with zeroes. */
static void next_read(struct image_job *job)
{
	off_t data = lseek(job->fd, (off_t)job->at, SEEK_DATA);
	uint64_t got = 0;

	job->helper_rc = 0;
	job->ended = data < 0 && errno == ENXIO;
	if (data < 0) {
		job->helper_rc = job->ended ? 0 : -errno;
		return;
	}
	job->found = (uint64_t)data / DPU_BLOCK_SECTOR * DPU_BLOCK_SECTOR;
	while (got < IMAGE_CHUNK) {
		ssize_t more = pread(job->fd, job->buffer + got, IMAGE_CHUNK - got, (off_t)(job->found + got));
		if (more < 0)
			job->helper_rc = -errno;
		if (more <= 0)
			break;
		got += (uint64_t)more;
	}
	job->length = (got + DPU_BLOCK_SECTOR - 1) / DPU_BLOCK_SECTOR * DPU_BLOCK_SECTOR;
	memset(job->buffer + got, 0, job->length - got);
	job->ended = got == 0;
}

/* In a helper. What qemu-img has made is ours alone. */
static void file_read(void *arg)
{
	struct image_job *job = arg;
	struct stat now;

	next_read(job);
	job->altered = !job->qcow2 && (fstat(job->fd, &now) < 0 || !image_unchanged(job, &now));
}

static bool is_zero(const uint8_t *data, uint64_t length)
{
	return data[0] == 0 && memcmp(data, data + 1, length - 1) == 0;
}

static void file_write(void *arg)
{
	struct image_job *job = arg;

	job->helper_rc = 0;
	job->hole = true;
	for (uint64_t at = 0; at < job->length && job->helper_rc == 0; at += HOLE) {
		uint64_t length = job->length - at < HOLE ? job->length - at : HOLE;
		bool zero = is_zero(job->buffer + at, length);
		ssize_t put = zero ? (ssize_t)length : pwrite(job->fd, job->buffer + at, length, (off_t)(job->at + at));
		job->hole &= zero;
		if (put < 0)
			job->helper_rc = -errno;
		else if ((uint64_t)put < length)
			job->helper_rc = -ENOSPC;
	}
}

static void file_sync(void *arg)
{
	struct image_job *job = arg;

	job->helper_rc = ftruncate(job->fd, (off_t)job->total) < 0 || fsync(job->fd) < 0 ? -errno : 0;
}

/* ---- import ---- */

static void end(struct image_job *job)
{
	free(job->buffer);
	job->buffer = NULL;
	image_streamed(job);
}

static void erased(struct image_job *job)
{
	job->at += job->length;
	step(job);
}

static void written(struct image_job *job)
{
	job->at += job->length;
	step(job);
}

static void file_was_read(struct image_job *job)
{
	if (job->altered)
		image_fail(job, DPU_E_CONFLICT, "%s was changed while it was read", job->name);
	if (job->failed) {
		end(job);
	} else if (job->ended) {
		request(job, DPU_BLOCK_FLUSH, 0, end);
	} else {
		job->at = job->found;
		request(job, DPU_BLOCK_WRITE, job->length, written);
	}
}

/* What is a hole in the image is one in the volume, so all of it goes first. */
static void import_step(struct image_job *job)
{
	uint64_t bytes = job->device->bytes;

	job->changed = true;
	if (!job->erased && job->at < bytes) {
		job->length = bytes - job->at < ERASE ? bytes - job->at : ERASE;
		request(job, DPU_BLOCK_DISCARD, job->length, erased);
		return;
	}
	if (!job->erased)
		job->at = 0;
	job->erased = true;
	help(job, file_read, file_was_read);
}

/* ---- export ---- */

static void sought(struct note *note)
{
	struct image_job *job = (struct image_job *)((uint8_t *)note - offsetof(struct image_job, note));
	const struct dpu_error *error = &job->seek.error;
	uint64_t data = job->seek.ret_offset;

	job->moving = job->hole = false;
	if (error->code != DPU_OK)
		image_fail(job, error->code, "%s", error->message);
	else if (data >= job->total)
		job->at = job->total;
	else if (data > job->at)
		job->at = data / IMAGE_CHUNK * IMAGE_CHUNK;
	step(job);
}

static void seek_done(struct store_command *command)
{
	struct image_job *job = command->ctx;

	note_send(job->block, &job->note);
}

static void seek_submit(void *arg, struct worker *worker)
{
	struct image_job *job = arg;

	(void)worker;
	store_submit(job->volume->pool->store, &job->seek);
}

/* The pool is open as long as the device has not been given back. */
static void seek(struct image_job *job)
{
	job->moving = true;
	job->note.fn = sought;
	job->seek = (struct store_command){
		.op = STORE_SEEK,
		.volume = job->volume->id,
		.bytes = job->at,
		.done = seek_done,
		.ctx = job,
	};
	block_call(job->volume->pool->worker, seek_submit, job, NULL);
}

static void volume_was_read(struct image_job *job)
{
	if (job->failed)
		end(job);
	else
		help(job, file_write, written);
}

static void export_step(struct image_job *job)
{
	if (job->at >= job->total) {
		help(job, file_sync, end);
		return;
	}
	if (job->hole) {
		seek(job);
		return;
	}
	job->length = job->total - job->at < IMAGE_CHUNK ? job->total - job->at : IMAGE_CHUNK;
	request(job, DPU_BLOCK_READ, job->length, volume_was_read);
}

static void step(struct image_job *job)
{
	if (job->failed)
		end(job);
	else if (job->import)
		import_step(job);
	else
		export_step(job);
}

static void marked(void *arg)
{
	struct image_job *job = arg;

	job->helper_rc = 0;
	job->mark_rc = image_mark_set(job);
}

static void mark_was_set(struct image_job *job)
{
	if (job->mark_rc < 0)
		image_fail(job, DPU_E_IO, "%s cannot be written, which says that the import has begun: %s", job->mark,
			   strerror(-job->mark_rc));
	step(job);
}

void image_stream(struct image_job *job)
{
	job->buffer = aligned_alloc(DPU_BLOCK_BYTES, IMAGE_CHUNK);
	if (!job->buffer)
		abort();
	job->at = 0;
	if (!job->import)
		job->total = job->device->bytes;
	job->hole = !job->import;
	job->phase = job->import ? "importing" : "exporting";
	if (job->import)
		help(job, marked, mark_was_set);
	else
		step(job);
}
