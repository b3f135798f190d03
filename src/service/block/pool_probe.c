// SPDX-License-Identifier: BSD-3-Clause
/* Looks on media that are to become a pool's for what others have there, or takes the marks of that away: their first
 * and last MiBs come through their devices into a file without a name, on which control probes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "service/block/block_priv.h"
#include "service/block/stranger.h"

enum { CHUNK = 1 << 20, WIPES = 1024 };

struct probe {
	struct pool *pool;
	void (*then)(struct pool *pool, const struct dpu_error *err);
	struct pool_medium *media[STORE_MAX_MEDIA];
	unsigned count, at;
	bool wipe;
	int fd;
	uint64_t offset; /* of the next read */
	unsigned wiped, written;
	uint64_t wipes[WIPES]; /* offsets of marks that are taken away */
	struct dpu_block_request request;
	struct iovec iov;
	struct note note;
	void (*moved)(struct probe *probe);
	uint8_t *buffer;
};

static void medium_next(struct probe *probe);

static struct pool_medium *medium_of_probe(const struct probe *probe)
{
	return probe->media[probe->at];
}

static void probe_end(struct probe *probe, const struct dpu_error *err)
{
	struct pool *pool = probe->pool;
	void (*then)(struct pool * pool, const struct dpu_error *err) = probe->then;

	if (probe->fd >= 0)
		close(probe->fd);
	free(probe->buffer);
	free(probe);
	pool->busy = false;
	then(pool, err);
}

/* ---- one request after the other ---- */

static void fails(struct probe *probe, const char *what)
{
	struct dpu_error err = { 0 };

	error_set(&err, DPU_E_IO, NULL, "medium %s cannot be %s at offset %llu", medium_of_probe(probe)->backing->name,
		  what, (unsigned long long)probe->request.offset);
	probe_end(probe, &err);
}

/* There is no file to probe on: no descriptor, no memory, or the medium is larger than any file. */
static void file_fails(struct probe *probe)
{
	struct dpu_error err = { 0 };

	error_set(&err, DPU_E_LIMIT, NULL, "what medium %s holds cannot be found out: %s",
		  medium_of_probe(probe)->backing->name, strerror(errno));
	probe_end(probe, &err);
}

static void over(struct note *note)
{
	struct probe *probe = (struct probe *)((uint8_t *)note - offsetof(struct probe, note));

	if (probe->request.status != DPU_BLOCK_OK)
		fails(probe, probe->request.op == DPU_BLOCK_READ ? "read" : "written");
	else
		probe->moved(probe);
}

static void request_done(struct dpu_block_request *request)
{
	struct probe *probe = (struct probe *)((uint8_t *)request - offsetof(struct probe, request));

	note_send(probe->pool->subject.block, &probe->note);
}

static void request_submit(void *arg, struct worker *worker)
{
	struct probe *probe = arg;
	struct dpu_block_device *device = medium_of_probe(probe)->device;
	enum dpu_block_status status = dpu_block_check(device, &probe->request);

	(void)worker;
	if (status == DPU_BLOCK_OK)
		device->ops->submit(device, &probe->request);
	else
		dpu_block_complete(&probe->request, status);
}

static void move(struct probe *probe, enum dpu_block_op op, uint64_t offset, uint64_t length,
		 void (*moved)(struct probe *probe))
{
	probe->moved = moved;
	probe->note.fn = over;
	probe->iov = (struct iovec){ probe->buffer, length };
	probe->request = (struct dpu_block_request){ .op = (uint8_t)op,
						     .segments = 1,
						     .offset = offset,
						     .length = length,
						     .iov = &probe->iov,
						     .done = request_done };
	block_call(probe->pool->worker, request_submit, probe, NULL);
}

/* ---- what is there ---- */

static uint64_t sectors(const struct dpu_block_device *device)
{
	return device->bytes / device->sector * device->sector;
}

static void wipe_next(struct probe *probe)
{
	const struct dpu_block_device *device = medium_of_probe(probe)->device;
	uint64_t block, length, bytes = sectors(device);

	if (probe->written == probe->wiped) {
		probe->at++;
		medium_next(probe);
		return;
	}
	block = probe->wipes[probe->written++] / STORE_BLOCK * STORE_BLOCK;
	while (probe->written < probe->wiped && probe->wipes[probe->written] / STORE_BLOCK * STORE_BLOCK == block)
		probe->written++;
	length = bytes - block < STORE_BLOCK ? bytes - block : STORE_BLOCK;
	if (pread(probe->fd, probe->buffer, length, (off_t)block) != (ssize_t)length) {
		file_fails(probe);
		return;
	}
	move(probe, DPU_BLOCK_WRITE, block, length, wipe_next);
}

static void examine(struct probe *probe)
{
	const struct pool_medium *medium = medium_of_probe(probe);
	struct dpu_error err = { 0 };
	struct stranger stranger;

	if (probe->wipe) {
		probe->written = 0;
		probe->wiped = stranger_wipe(probe->fd, medium->device->sector, probe->wipes, WIPES);
		wipe_next(probe);
	} else if (stranger_find(probe->fd, medium->device->sector, &stranger)) {
		error_set(&err, DPU_E_EXISTS, NULL, "medium %s holds %s at offset %llu", medium->backing->name,
			  stranger.what, (unsigned long long)stranger.offset);
		probe_end(probe, &err);
	} else {
		probe->at++;
		medium_next(probe);
	}
}

static void read_next(struct probe *probe);

static void was_read(struct probe *probe)
{
	uint64_t length = probe->request.length;

	if (pwrite(probe->fd, probe->buffer, length, (off_t)probe->offset) != (ssize_t)length) {
		file_fails(probe);
		return;
	}
	probe->offset += length;
	read_next(probe);
}

static void read_next(struct probe *probe)
{
	const struct dpu_block_device *device = medium_of_probe(probe)->device;
	uint64_t end = sectors(device);
	uint64_t tail = end > STRANGER_TAIL_BYTES ? (end - STRANGER_TAIL_BYTES) / STORE_BLOCK * STORE_BLOCK : 0;

	if (probe->offset >= STRANGER_HEAD_BYTES && probe->offset < tail)
		probe->offset = tail;
	if (probe->offset == end) {
		examine(probe);
		return;
	}
	uint64_t most = device->max_bytes < CHUNK ? device->max_bytes : CHUNK;
	move(probe, DPU_BLOCK_READ, probe->offset, end - probe->offset < most ? end - probe->offset : most, was_read);
}

static void medium_next(struct probe *probe)
{
	if (probe->fd >= 0)
		close(probe->fd);
	probe->fd = -1;
	if (probe->at == probe->count) {
		probe_end(probe, NULL);
		return;
	}
	probe->fd = memfd_create("probe", MFD_CLOEXEC);
	if (probe->fd < 0 || ftruncate(probe->fd, (off_t)sectors(medium_of_probe(probe)->device)) < 0) {
		file_fails(probe);
		return;
	}
	probe->offset = 0;
	read_next(probe);
}

void pool_probe(struct pool *pool, struct pool_medium *const *media, unsigned count, bool wipe,
		void (*then)(struct pool *pool, const struct dpu_error *err))
{
	struct probe *probe = block_alloc(sizeof(*probe));

	probe->pool = pool;
	probe->then = then;
	probe->wipe = wipe;
	probe->fd = -1;
	probe->count = count;
	memcpy(probe->media, media, count * sizeof(*media));
	probe->buffer = aligned_alloc(STORE_BLOCK, CHUNK);
	if (!probe->buffer)
		abort(); /* out of memory */
	pool->busy = true;
	medium_next(probe);
}
