// SPDX-License-Identifier: BSD-3-Clause
/* Requests, and the pieces that they are done in: a piece is a run of blocks of one leaf, or a part of a block. */
#include "service/block/store/store_priv.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "base/cycles.h"
#include "engine/crc32c/crc32c.h"

enum { STEPS = 512, BURST = 16 }; /* of pieces, in one poll, and in one look ahead */

const uint8_t store_zero_block[STORE_BLOCK];
uint32_t store_zero_crc;

/* ---- pieces ---- */

struct store_volume *io_volume(const struct store_io *io)
{
	return ((struct request_state *)io->request->scratch)->volume;
}

struct store_io *io_take(struct store *store)
{
	struct store_io *io = store->free_io;

	if (!io)
		return NULL;
	store->free_io = io->next;
	store->busy_ios++;
	io->request = NULL;
	io->old = io->place = NO_PLACE;
	io->reader = io->placed = io->cancelled = false;
	return io;
}

void io_give(struct store_io *io)
{
	io->store->busy_ios--;
	io->next = io->store->free_io;
	io->store->free_io = io;
	io->store->wake = true;
}

void io_run(struct store_io *io, void (*step)(struct store_io *io))
{
	io->step = step;
	io->next = NULL;
	*io->store->ready_tail = io;
	io->store->ready_tail = &io->next;
}

void io_wait(struct store_io *io, void (*step)(struct store_io *io))
{
	io->step = step;
	io->next = NULL;
	*io->store->waiting_tail = io;
	io->store->waiting_tail = &io->next;
}

/* What it holds while it is under way. */
static void io_release(struct store_io *io)
{
	if (io->reader)
		reader_end(io->store, io->epoch);
	if (io->placed)
		space_release(io->store, (uint64_t)io->target);
	io->reader = io->placed = false;
	io->old = io->place = NO_PLACE;
}

void io_finish(struct store_io *io, enum dpu_block_status status)
{
	struct dpu_block_request *request = io->request;

	io_release(io);
	io_give(io);
	request_piece_done(request, status);
}

void io_restart(struct store_io *io, void (*step)(struct store_io *io))
{
	io_release(io);
	io_run(io, step);
}

void io_next(struct store_io *io, void (*step)(struct store_io *io))
{
	io_release(io);
	if (io->position == io->end || ((struct request_state *)io->request->scratch)->status != DPU_BLOCK_OK)
		io_finish(io, DPU_BLOCK_OK);
	else
		io_run(io, step);
}

void io_split(struct store_io *io, void (*step)(struct store_io *io))
{
	struct store_io *rest = io->position + io->bytes < io->end ? io_take(io->store) : NULL;

	if (!rest)
		return;
	rest->request = io->request;
	rest->position = io->position + io->bytes;
	rest->end = io->end;
	io->end = rest->position;
	((struct request_state *)io->request->scratch)->pieces++;
	io_run(rest, step);
}

void io_error(struct store_io *io, int rc)
{
	if (rc == -EBADMSG)
		volume_quarantine(io_volume(io), 0);
	bool gone = rc == -EBADMSG || rc == -ESTALE;
	io_finish(io, gone ? DPU_BLOCK_GONE : rc == -ENOSPC ? DPU_BLOCK_NO_SPACE : DPU_BLOCK_IO_ERROR);
}

bool io_partial(const struct store_io *io)
{
	uint64_t offset = io->request->offset + io->position;

	return offset % STORE_BLOCK != 0 || io->end - io->position < STORE_BLOCK;
}

uint32_t *io_crc(const struct store_io *io)
{
	return io->request->flags & DPU_BLOCK_CRC ? io->request->crc + io->position / STORE_BLOCK : NULL;
}

/* The segments of `bytes` of the request from `position` on; 0: they are more than there is room for. */
unsigned io_slice(const struct store_io *io, uint64_t position, uint32_t bytes, struct iovec *iov, unsigned room)
{
	const struct iovec *segment = io->request->iov;
	unsigned count = 0;

	while (position >= segment->iov_len)
		position -= segment++->iov_len;
	while (bytes && count < room) {
		size_t here = segment->iov_len - position;
		if (here > bytes)
			here = bytes;
		iov[count].iov_base = (uint8_t *)segment->iov_base + position;
		iov[count].iov_len = here;
		count += here > 0;
		bytes -= (uint32_t)here;
		position = 0;
		segment++;
	}
	return bytes ? 0 : count;
}

/* Between the request's bytes of one block and a whole block. */
void io_copy(const struct store_io *io, uint8_t *block, bool to_request)
{
	uint64_t position = io->position;
	uint32_t left = io->bytes;
	const struct iovec *segment = io->request->iov;

	block += (io->request->offset + position) % STORE_BLOCK;
	while (position >= segment->iov_len)
		position -= segment++->iov_len;
	while (left) {
		size_t here = segment->iov_len - position;
		uint8_t *data = (uint8_t *)segment->iov_base + position;
		if (here > left)
			here = left;
		if (to_request)
			memcpy(data, block, here);
		else
			memcpy(block, data, here);
		block += here;
		left -= (uint32_t)here;
		position = 0;
		segment++;
	}
}

/* A trace goes from the first medium that was asked to the last that was done. */
static void answered(struct dpu_block_request *medium)
{
	struct store_io *io = (struct store_io *)medium;
	void (*done)(struct dpu_block_request * medium) = io->medium_done;

	medium_answered(io->store);
	io->medium_done = NULL;
	if (io->request && io->request->trace)
		io->request->trace->end = cycles_now();
	if (io->cancelled)
		io_finish(io, DPU_BLOCK_GONE);
	else
		done(medium);
}

/* To a medium that looks at CRCs on its way to the blocks: it need not make its own, and what it has found when it has
 * read is not made again here. What it does not fill in holds nowhere. */
static void crcs_hand_on(struct store_io *io)
{
	io->medium.flags |= DPU_BLOCK_CRC;
	io->medium.crc = io->medium.op == DPU_BLOCK_READ ? io->found : io->crc;
	for (unsigned i = 0; io->medium.op == DPU_BLOCK_READ && i < io->count; i++)
		io->found[i] = ~io->crc[i];
}

bool io_bounce_holds(const struct store_io *io)
{
	uint32_t crc = io->medium.flags & DPU_BLOCK_CRC ? io->found[0] : crc32c(0, io->bounce, STORE_BLOCK);

	return crc == io->crc[0];
}

bool io_bounce_is_good(struct store_io *io, const struct dpu_block_request *request)
{
	if (request->status != DPU_BLOCK_OK) {
		io_finish(io, medium_status(io->store, request));
		return false;
	}
	if (!io_bounce_holds(io)) {
		io_integrity(io, io->block, (uint64_t)io->place);
		io_finish(io, DPU_BLOCK_INTEGRITY);
		return false;
	}
	return true;
}

void io_submit(struct store_io *io, enum dpu_block_op op, const struct iovec *iov, unsigned segments,
	       void (*done)(struct dpu_block_request *request))
{
	uint64_t offset;
	struct medium *medium = medium_of_place(io->store, (uint64_t)io->place, &offset);

	io->medium = (struct dpu_block_request){
		.op = (uint8_t)op,
		.segments = (uint16_t)segments,
		.offset = offset,
		.length = (uint64_t)io->count * STORE_BLOCK,
		.iov = iov,
		.done = answered,
	};
	io->medium_done = done;
	if (medium->device->features & DPU_BLOCK_F_CRC)
		crcs_hand_on(io);
	if (io->request && io->request->trace) {
		struct dpu_block_trace *trace = io->request->trace;
		trace->begin = trace->begin ? trace->begin : cycles_now();
	}
	medium_ask(io->store, medium, &io->medium);
}

void io_integrity(struct store_io *io, uint64_t block, uint64_t place)
{
	struct store *store = io->store;
	struct store_volume *volume = io_volume(io);
	uint64_t offset;
	struct medium *medium = medium_of_place(store, place, &offset);

	volume->integrity_errors++;
	store->stats.integrity_errors++;
	store_report_damage(store, STORE_DAMAGE_DATA, volume->entry->id, block, medium->device->name, offset,
			    "the block contradicts its CRC");
}

/* ---- requests ---- */

void request_piece_done(struct dpu_block_request *request, enum dpu_block_status status)
{
	struct request_state *state = (struct request_state *)request->scratch;
	struct store_volume *volume = state->volume;
	bool writes = request->op == DPU_BLOCK_WRITE || request->op == DPU_BLOCK_DISCARD ||
		      request->op == DPU_BLOCK_WRITE_ZEROES;

	if (state->status == DPU_BLOCK_OK)
		state->status = status;
	if (--state->pieces > 0)
		return;
	if (writes && request->flags & DPU_BLOCK_FUA && !state->flushed && state->status == DPU_BLOCK_OK) {
		state->flushed = true;
		state->pieces = 1;
		flush_request(volume->store, request);
		return;
	}
	if (--volume->active == 0 && volume->gone)
		volume->store->trims = 1; /* its deletion has waited for this */
	volume->store->wake = true;
	dpu_block_complete(request, (enum dpu_block_status)state->status);
}

static enum dpu_block_status refuse(struct store *store, struct store_volume *volume,
				    const struct dpu_block_request *request)
{
	bool reads = request->op == DPU_BLOCK_READ || request->op == DPU_BLOCK_COMPARE;

	if (volume->gone)
		return DPU_BLOCK_GONE;
	if (store->failed && !reads)
		return DPU_BLOCK_IO_ERROR;
	/* It may have shrunk since. */
	enum dpu_block_status status = dpu_block_check(&volume->device, request);
	if (status != DPU_BLOCK_OK)
		return status;
	bool checked = request->op == DPU_BLOCK_WRITE || request->op == DPU_BLOCK_COMPARE;
	/* All of it first: if a CRC is wrong nothing is changed. */
	if (checked && request->flags & DPU_BLOCK_CRC &&
	    !crc32c_blocks_hold(request->crc, request->iov, request->length))
		return DPU_BLOCK_INTEGRITY;
	return DPU_BLOCK_OK;
}

static void start_pieces(struct store_io *io)
{
	switch ((enum dpu_block_op)io->request->op) {
	case DPU_BLOCK_READ:
		io_run(io, read_step);
		break;
	case DPU_BLOCK_COMPARE:
		io_run(io, compare_step);
		break;
	case DPU_BLOCK_WRITE:
		io_run(io, write_start);
		break;
	default:
		io_run(io, unmap_start);
		break;
	}
}

static void first_piece(struct store *store, struct dpu_block_request *request)
{
	struct store_io *io = io_take(store);

	io->request = request;
	io->position = 0;
	io->end = request->length;
	start_pieces(io);
}

/* There is a free piece. */
static void start_request(struct store *store, struct dpu_block_request *request)
{
	struct request_state *state = (struct request_state *)request->scratch;
	struct store_volume *volume = state->volume;
	enum dpu_block_status status = refuse(store, volume, request);

	state->pieces = 1;
	state->status = status;
	state->flushed = false;
	if (status != DPU_BLOCK_OK || (request->op != DPU_BLOCK_FLUSH && request->length == 0)) {
		request_piece_done(request, status);
		return;
	}
	volume->reads += request->op == DPU_BLOCK_READ;
	volume->writes += request->op == DPU_BLOCK_WRITE;
	if (request->op == DPU_BLOCK_FLUSH) {
		flush_request(store, request);
		return;
	}
	if ((request->op == DPU_BLOCK_READ && fast_read(store, request)) ||
	    (request->op == DPU_BLOCK_WRITE && fast_write(store, request)))
		return;
	first_piece(store, request);
}

bool request_start(struct store_volume *volume, struct dpu_block_request *request)
{
	if (!volume->store->free_io)
		return false;
	*(struct request_state *)request->scratch = (struct request_state){ .volume = volume, .pieces = 1 };
	volume->active++;
	first_piece(volume->store, request);
	return true;
}

static void wake_waiting(struct store *store)
{
	store->wake = false;
	if (!store->waiting_io)
		return;
	*store->ready_tail = store->waiting_io;
	store->ready_tail = store->waiting_tail;
	store->waiting_io = NULL;
	store->waiting_tail = &store->waiting_io;
}

static unsigned run_steps(struct store *store)
{
	unsigned count = 0;

	fast_look_ahead_commits(store);
	for (; count < BURST && store->ready_io; count++) {
		struct store_io *io = store->ready_io;
		store->ready_io = io->next;
		if (!store->ready_io)
			store->ready_tail = &store->ready_io;
		io->step(io);
	}
	return count;
}

static unsigned start_requests(struct store *store)
{
	unsigned count = 0;

	if (!store->ready || store->held)
		return 0;
	fast_look_ahead(store);
	for (; count < BURST && store->incoming.first && store->free_io; count++)
		start_request(store, block_queue_take(&store->incoming));
	return count;
}

unsigned ios_go(struct store *store)
{
	unsigned count = 0;

	if (store->wake)
		wake_waiting(store);
	while (count < STEPS) {
		unsigned done = run_steps(store);
		if (!done)
			done = start_requests(store);
		if (!done)
			break;
		count += done;
	}
	return count;
}

static pthread_once_t zero_crc_once = PTHREAD_ONCE_INIT;

static void zero_crc_make(void)
{
	store_zero_crc = crc32c(0, store_zero_block, STORE_BLOCK);
}

int ios_init(struct store *store)
{
	store->io = calloc(STORE_IOS, sizeof(*store->io));
	void *memory = mmap(NULL, (size_t)STORE_IOS * STORE_BLOCK, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory != MAP_FAILED)
		store->bounce_memory = memory;
	if (!store->io || !store->bounce_memory)
		return -ENOMEM;
	store->ready_tail = &store->ready_io;
	store->waiting_tail = &store->waiting_io;
	block_queue_init(&store->incoming);
	for (unsigned i = 0; i < STORE_IOS; i++) {
		store->io[i].store = store;
		store->io[i].bounce = store->bounce_memory + (size_t)i * STORE_BLOCK;
		store->busy_ios++;
		io_give(&store->io[i]);
	}
	pthread_once(&zero_crc_once, zero_crc_make); /* the workers of other pools read it */
	return 0;
}

void ios_fini(struct store *store)
{
	if (store->bounce_memory)
		munmap(store->bounce_memory, (size_t)STORE_IOS * STORE_BLOCK);
	free(store->io);
}
