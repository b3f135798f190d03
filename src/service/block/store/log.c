// SPDX-License-Identifier: BSD-3-Clause
/* The log: records gather in an open section, which lies in the tail file. What is there outlives the process. A full
 * section, or one that a flush waits for, is sealed and written to the ring. */
#include "service/block/store/store_priv.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "engine/crc32c/crc32c.h"

enum { SECTION_BLOCKS = SECTION_BYTES / STORE_BLOCK };

uint64_t tail_offset(uint64_t sequence)
{
	return STORE_BLOCK + sequence % TAIL_SECTIONS * SECTION_BYTES;
}

static struct section_header *slot(const struct store *store, uint64_t sequence)
{
	return (struct section_header *)((uint8_t *)store->log.tail + tail_offset(sequence));
}

static uint64_t ring_blocks(const struct store *store)
{
	return store->medium[0].super.log_blocks;
}

uint64_t log_next_block(const struct store *store, uint64_t block, uint32_t bytes)
{
	block += (bytes + STORE_BLOCK - 1) / STORE_BLOCK;
	return ring_blocks(store) - block < SECTION_BLOCKS ? 0 : block;
}

uint64_t log_used(const struct store *store)
{
	uint64_t ring = ring_blocks(store);

	return (store->log.block + ring - store->log.start) % ring;
}

/* ---- the tail file ---- */

static int map_tail(struct store *store)
{
	int flags = store->log.fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	void *memory = mmap(NULL, store->log.tail_bytes, PROT_READ | PROT_WRITE, flags, store->log.fd, 0);

	if (memory == MAP_FAILED)
		return -errno;
	store->log.tail = memory;
	return 0;
}

int log_init(struct store *store)
{
	struct log *log = &store->log;
	struct stat st;

	log->tail_bytes = STORE_BLOCK + TAIL_SECTIONS * SECTION_BYTES;
	log->fd = -1;
	if (store->tail_path) {
		log->fd = open(store->tail_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (log->fd < 0)
			return -errno;
		/* Whole, so that no store to it can fail later. */
		if (fstat(log->fd, &st) < 0 || !S_ISREG(st.st_mode) ||
		    (st.st_size != (off_t)log->tail_bytes && ftruncate(log->fd, 0) < 0))
			return -EINVAL;
		int rc = posix_fallocate(log->fd, 0, (off_t)log->tail_bytes);
		if (rc)
			return -rc;
	}
	for (unsigned i = 0; i < TAIL_SECTIONS; i++)
		log->section[i].store = store;
	return map_tail(store);
}

void log_fini(struct store *store)
{
	if (store->log.tail)
		munmap(store->log.tail, store->log.tail_bytes);
	if (store->log.fd >= 0)
		close(store->log.fd);
}

static bool tail_is_ours(const struct store *store)
{
	const struct tail_header *tail = store->log.tail;
	struct uuid boot;

	return tail->magic == STORE_TAIL_MAGIC && tail->version == STORE_VERSION && clock_boot_id(&boot) == 0 &&
	       memcmp(tail->boot, &boot, sizeof(tail->boot)) == 0 &&
	       memcmp(tail->pool, store->root.pool, sizeof(tail->pool)) == 0;
}

const struct section_header *tail_section(struct store *store, uint64_t sequence)
{
	const struct section_header *section = slot(store, sequence);

	if (!tail_is_ours(store) || section->sequence != sequence || section->session != store->root.session ||
	    section->bytes < sizeof(*section) || section->bytes > SECTION_BYTES)
		return NULL;
	return section;
}

/* ---- adding ---- */

static void open_section(struct store *store)
{
	struct log *log = &store->log;
	struct section_header *section = slot(store, log->sequence);

	__atomic_store_n(&section->sequence, 0, __ATOMIC_RELEASE);
	section->magic = STORE_SECTION_MAGIC;
	memcpy(section->pool, store->root.pool, sizeof(section->pool));
	section->session = store->root.session;
	section->durable = log->durable;
	section->generation = store->root.generation;
	section->bytes = sizeof(*section);
	section->records = 0;
	__atomic_store_n(&section->sequence, log->sequence, __ATOMIC_RELEASE);
	log->open = section;
	log->bytes = sizeof(*section);
}

void log_start(struct store *store, uint64_t sequence, uint64_t block)
{
	struct log *log = &store->log;

	log->open = NULL;
	log->sequence = sequence;
	log->block = block;
	log->start = block;
	log->written = log->durable = sequence - 1;
}

/* What a former process left is in the root that is durable now. */
void tail_reset(struct store *store)
{
	struct log *log = &store->log;
	struct uuid boot = { 0 };

	for (unsigned i = 0; i < TAIL_SECTIONS; i++)
		slot(store, i)->sequence = 0;
	clock_boot_id(&boot);
	*log->tail = (struct tail_header){ .magic = STORE_TAIL_MAGIC, .version = STORE_VERSION };
	memcpy(log->tail->pool, store->root.pool, sizeof(log->tail->pool));
	memcpy(log->tail->boot, &boot, sizeof(log->tail->boot));
}

static int ring_room(struct store *store)
{
	uint64_t used = log_used(store), ring = ring_blocks(store);

	if (used > ring / 2)
		checkpoint_want(store);
	/* What is open, what may be skipped at the ring's end, and never quite full. */
	return used + 4 * SECTION_BLOCKS > ring ? -EAGAIN : 0;
}

int log_room(struct store *store, unsigned bytes, struct record **ret)
{
	struct log *log = &store->log;

	if (log->open && log->bytes + bytes > SECTION_BYTES)
		log_seal(store);
	if (store->failed)
		return -EIO;
	if (!log->open) {
		if (log->sequence > log->written + TAIL_SECTIONS || ring_room(store) < 0)
			return -EAGAIN;
		open_section(store);
	}
	*ret = (struct record *)((uint8_t *)log->open + log->bytes);
	return 0;
}

void log_add(struct store *store, const struct record *record)
{
	struct log *log = &store->log;

	log->open->records++;
	log->bytes += record->bytes;
	__atomic_store_n(&log->open->bytes, log->bytes, __ATOMIC_RELEASE);
}

/* ---- writing ---- */

static void section_written(struct dpu_block_request *request)
{
	struct section_io *io = (struct section_io *)request;
	struct store *store = io->store;
	struct log *log = &store->log;

	medium_answered(store);
	io->busy = false;
	store->wake = true;
	if (request->status != DPU_BLOCK_OK) {
		store_fail(store, &store->medium[0], request->offset, "a section of the log cannot be written");
		return;
	}
	while (log->written + 1 < log->sequence && !log->section[(log->written + 1) % TAIL_SECTIONS].busy)
		log->written++;
}

void log_seal(struct store *store)
{
	struct log *log = &store->log;
	struct section_header *section = log->open;
	struct medium *medium = &store->medium[0];

	if (!section || section->records == 0 || store->failed)
		return;
	if (!number_is_possible(log->sequence)) {
		store_fail(store, medium, 0, "the log has no further sequence");
		return;
	}
	struct section_io *io = &log->section[log->sequence % TAIL_SECTIONS];
	uint32_t whole = (log->bytes + STORE_BLOCK - 1) / STORE_BLOCK * STORE_BLOCK;
	section->durable = log->durable;
	section->generation = store->root.generation;
	memset((uint8_t *)section + log->bytes, 0, whole - log->bytes);
	section->crc = crc32c(0, &section->magic, log->bytes - sizeof(section->crc));
	io->busy = true;
	io->sequence = log->sequence;
	io->iov = (struct iovec){ section, whole };
	io->medium = (struct dpu_block_request){
		.op = DPU_BLOCK_WRITE,
		.segments = 1,
		.offset = (medium->super.log_block + log->block) * STORE_BLOCK,
		.length = whole,
		.iov = &io->iov,
		.done = section_written,
	};
	log->block = log_next_block(store, log->block, log->bytes);
	log->open = NULL;
	log->sequence++;
	store->stats.sections++;
	medium_ask(store, medium, &io->medium);
}
