/* SPDX-License-Identifier: BSD-3-Clause */
/* The file of queue records: layout, adoption, and deciding whose position in a packed ring to believe. */
#include "device/virtio/queue_record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "device/virtio/virtqueue_priv.h"

#define RECORDS_MAGIC   UINT64_C(0x3164726f63657271) /* "qrecord1" */
#define RECORDS_VERSION 1

struct file_header {
	uint64_t magic;
	uint32_t version;
	uint16_t queues, ring_size;
	struct uuid boot;
	uint8_t padding[32];
};

/* Positions: index below the ring size, and the wrap counter as bit 15. */
struct queue_record {
	_Atomic uint32_t live;
	uint32_t given_base;
	struct queue_record_key key;
	_Atomic uint16_t used;       /* behind the last used element, when no batch is pending */
	_Atomic uint16_t redo_from;  /* where the batch starts; the last one when none is pending */
	_Atomic uint16_t redo_count; /* 0: none pending */
	uint16_t last_count;
	struct queue_redo redo[] __attribute__((aligned(64)));
};

struct queue_records {
	struct file_header *header;
	size_t bytes, stride;
	uint16_t queues;
};

static size_t record_stride(uint16_t ring_size)
{
	return (sizeof(struct queue_record) + ring_size * sizeof(struct queue_redo) + 63) & ~(size_t)63;
}

static bool file_ours(const struct file_header *header, const struct file_header *expected)
{
	return memcmp(header, expected, sizeof(*header)) == 0;
}

/* A file that is not ours in every respect is replaced, not rewritten: somebody may have it mapped. */
static int file_open(const char *path, const struct file_header *expected, size_t bytes)
{
	struct file_header header;
	struct stat st;

	if (!path)
		return memfd_create("queue-records", MFD_CLOEXEC);
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0) {
		if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (size_t)st.st_size == bytes &&
		    pread(fd, &header, sizeof(header), 0) == sizeof(header) && file_ours(&header, expected))
			return fd;
		close(fd);
		unlink(path);
	}
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

int queue_records_open(const char *path, uint16_t queues, uint16_t ring_size, struct queue_records **ret)
{
	struct queue_records *records = calloc(1, sizeof(*records));
	struct file_header expected = {
		.magic = RECORDS_MAGIC, .version = RECORDS_VERSION, .queues = queues, .ring_size = ring_size
	};
	int r = records ? clock_boot_id(&expected.boot) : -ENOMEM;

	if (r == 0) {
		records->queues = queues;
		records->stride = record_stride(ring_size);
		records->bytes = sizeof(expected) + queues * records->stride;
		r = file_open(path, &expected, records->bytes);
	}
	if (r < 0) {
		free(records);
		return r;
	}
	int fd = r;
	r = ftruncate(fd, (off_t)records->bytes) < 0 ? -errno : 0;
	void *memory = r < 0 ? MAP_FAILED : mmap(NULL, records->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED) {
		r = r < 0 ? r : -errno;
		close(fd);
		free(records);
		return r;
	}
	close(fd);
	records->header = memory;
	*records->header = expected;
	*ret = records;
	return 0;
}

void queue_records_close(struct queue_records *records)
{
	if (!records)
		return;
	munmap(records->header, records->bytes);
	free(records);
}

struct queue_record *queue_records_get(struct queue_records *records, unsigned index)
{
	if (!records || index >= records->queues)
		return NULL;
	return (struct queue_record *)((uint8_t *)(records->header + 1) + index * records->stride);
}

static bool key_equal(const struct queue_record_key *a, const struct queue_record_key *b)
{
	return a->gpa == b->gpa && a->device == b->device && a->inode == b->inode && a->size == b->size;
}

/* Whether a device has worked on this ring since the driver made it. In a new ring both wrap counters are 1, so no
 * descriptor has its used bit set until one is used or the driver has gone round once. When a whole round has cleared
 * every used bit again, what we wrote last must still be there. */
static bool ring_in_use(const struct queue_record *record, const struct vring_packed_desc *ring)
{
	for (unsigned i = 0; i < record->key.size; i++)
		if (__atomic_load_n(&ring[i].flags, __ATOMIC_RELAXED) & VIRTQ_PACKED_USED)
			return true;
	const struct vring_packed_desc *last = &ring[record->redo_from & ~VIRTQ_WRAP_BIT];
	return record->last_count && last->id == record->redo[0].id && last->len == record->redo[0].length &&
	       last->len != 0;
}

/* The batch that was pending when we died: its end, if it makes sense. */
static bool batch_end(const struct queue_record *record, uint16_t count, uint16_t *ret)
{
	uint32_t slots = 0;

	for (unsigned i = 0; i < count; i++) {
		if (record->redo[i].slots == 0 || record->redo[i].slots > record->key.size)
			return false;
		slots += record->redo[i].slots;
	}
	if (slots > record->key.size)
		return false;
	uint32_t at = (record->redo_from & ~VIRTQ_WRAP_BIT) + slots;
	uint16_t wrap = record->redo_from & VIRTQ_WRAP_BIT;
	if (at >= record->key.size) {
		at -= record->key.size;
		wrap ^= VIRTQ_WRAP_BIT;
	}
	*ret = (uint16_t)at | wrap;
	return true;
}

static bool recover(struct queue_record *record, struct vring_packed_desc *ring, uint16_t *ret_used)
{
	uint16_t count = record->redo_count, from = record->redo_from, at = from & ~VIRTQ_WRAP_BIT;
	uint16_t size = record->key.size;
	bool wrap = from & VIRTQ_WRAP_BIT;

	if (at >= size || (record->used & ~VIRTQ_WRAP_BIT) >= size || count > size || !ring_in_use(record, ring))
		return false;
	*ret_used = record->used;
	if (count == 0)
		return true;
	if (!batch_end(record, count, ret_used))
		return false;
	/* If the head is still available in its round, the driver has seen nothing of the batch. */
	uint16_t flags = __atomic_load_n(&ring[at].flags, __ATOMIC_ACQUIRE);
	if (!!(flags & VIRTQ_PACKED_AVAIL) == wrap && !!(flags & VIRTQ_PACKED_USED) != wrap)
		virtq_packed_ring_used(ring, size, at, wrap, record->redo, count);
	return true;
}

bool queue_record_begin(struct queue_record *record, const struct queue_record_key *key, uint32_t given_base,
			struct vring_packed_desc *ring, uint16_t *used, bool *used_wrap)
{
	uint16_t position;
	/* A front end that tells another position than last time knows better. */
	bool ours = record->live == 1 && key_equal(&record->key, key) && record->given_base == given_base &&
		    recover(record, ring, &position);

	atomic_store_explicit(&record->live, 0, memory_order_release);
	if (ours) {
		*used = position & ~VIRTQ_WRAP_BIT;
		*used_wrap = position & VIRTQ_WRAP_BIT;
	} else {
		record->last_count = 0;
		record->redo_from = 0;
		position = *used | (*used_wrap ? VIRTQ_WRAP_BIT : 0);
	}
	record->key = *key;
	record->given_base = given_base;
	record->used = position;
	record->redo_count = 0;
	atomic_store_explicit(&record->live, 1, memory_order_release);
	return ours;
}

void queue_record_end(struct queue_record *record)
{
	if (record)
		atomic_store_explicit(&record->live, 0, memory_order_release);
}

struct queue_redo *queue_record_redo(struct queue_record *record)
{
	return record->redo;
}

void queue_record_commit(struct queue_record *record, uint16_t used, bool wrap, uint16_t count)
{
	atomic_store_explicit(&record->redo_from, used | (wrap ? VIRTQ_WRAP_BIT : 0), memory_order_relaxed);
	record->last_count = count;
	atomic_store_explicit(&record->redo_count, count, memory_order_release);
}

void queue_record_done(struct queue_record *record, uint16_t used, bool wrap)
{
	atomic_store_explicit(&record->used, used | (wrap ? VIRTQ_WRAP_BIT : 0), memory_order_release);
	atomic_store_explicit(&record->redo_count, 0, memory_order_release);
}
