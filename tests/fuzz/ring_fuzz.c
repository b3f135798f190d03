/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes virtqueues, split and packed: a guest (and its front end, in the in-flight region) that writes anything into
 * rings, tables and buffers while the device pops, puts back, pushes, sleeps, and is set up again. What comes out of a
 * queue lies in the guest's memory and adds up; what makes no sense spoils its element alone, so that a good one behind
 * it is carried out; memory that is taken away breaks the queue and nothing else. */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include "device/virtio/virtqueue_priv.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	REGION_BYTES = 1 << 16,
	REGIONS = 2, /* with a hole between them */
	MEMORY_BYTES = REGIONS * REGION_BYTES,
	DESC_AT = 0,
	DRIVER_AT = 0x4000,
	DEVICE_AT = 0x8000,
	TABLE_AT = 0xc000,
	MAX_SIZE = 256,
	MAX_HELD = 64,
	LOG_BYTES = 64,
	MAX_OPERATIONS = 400,
};
#define GPA(region)  (UINT64_C(0x40000000) + (uint64_t)(region)*4 * REGION_BYTES)
#define USER(region) (UINT64_C(0x7f0000000000) + (uint64_t)(region)*4 * REGION_BYTES)

/* What is shared with the hostile side: the guest's memory, the dirty log, the in-flight region. */
static struct rig {
	int memory_fd, log_fd;
	uint8_t *memory; /* the guest's view */
	struct guest_memory *guest;
	struct dirty_log *log;
	struct inflight_region *inflight[2]; /* split, packed */
	struct queue_records *records;
	struct virtqueue *queue;
	struct virtqueue_config config;
	bool truncated;
	unsigned held;
	struct virtq_element elements[MAX_HELD];
	struct iovec iov[VIRTQ_MAX_SEGMENTS];
	unsigned iov_used;
} rig;

static void share_memory(void)
{
	const char *why;

	guest_memory_clear(rig.guest);
	for (unsigned i = 0; i < REGIONS; i++) {
		struct guest_range range = {
			.gpa = GPA(i), .size = REGION_BYTES, .user = USER(i), .file_offset = i * (uint64_t)REGION_BYTES
		};
		input_require(guest_memory_add(rig.guest, &range, rig.memory_fd, &why) == 0);
	}
	rig.truncated = false;
}

static void rig_once(void)
{
	const char *why;

	if (rig.memory)
		return;
	rig.memory_fd = memfd_create("guest", MFD_CLOEXEC);
	rig.log_fd = memfd_create("log", MFD_CLOEXEC);
	input_require(ftruncate(rig.memory_fd, MEMORY_BYTES) == 0 && ftruncate(rig.log_fd, 4096) == 0);
	rig.memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, rig.memory_fd, 0);
	input_require(rig.memory != MAP_FAILED && guest_memory_new(&rig.guest) == 0 && virtqueue_new(&rig.queue) == 0);
	share_memory();
	input_require(dirty_log_open(rig.log_fd, 0, LOG_BYTES, &rig.guest->faulted, &rig.log, &why) == 0);
	for (unsigned packed = 0; packed < 2; packed++)
		input_require(inflight_region_create(1, MAX_SIZE, packed, &rig.guest->faulted, &rig.inflight[packed],
						     &why) == 0);
	input_require(queue_records_open(NULL, 1, MAX_SIZE, &rig.records) == 0);
}

/* Elements that were popped before a queue is set up again are nobody's any more. */
static bool set_up(uint32_t base)
{
	const char *why = NULL;

	rig.held = rig.iov_used = 0;
	rig.config.base = base;
	int r = virtqueue_setup(rig.queue, &rig.config, &why);
	input_require(r == 0 || (r == -EINVAL && why));
	return r == 0;
}

static bool start(struct input *in)
{
	static const uint16_t sizes[] = { 8, 1, 2, 16, 256, 64, 5, 255 };
	uint8_t options = input_byte(in), more = input_byte(in);
	uint16_t size = sizes[more & 7];
	bool packed = options & 1;

	memset(rig.memory, 0, MEMORY_BYTES);
	memset(rig.inflight[packed]->mapping.data, 0, rig.inflight[packed]->bytes);
	queue_record_end(queue_records_get(rig.records, 0));
	rig.config = (struct virtqueue_config){
		.features = UINT64_C(1) << VIRTIO_F_VERSION_1 | (packed ? UINT64_C(1) << VIRTIO_F_RING_PACKED : 0) |
			    (options & 2 ? UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC : 0) |
			    (options & 4 ? UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX : 0),
		.size = size,
		.in_order = options & 8,
		.log_used = options & 16,
		.desc = USER(0) + DESC_AT,
		.driver = USER(0) + DRIVER_AT,
		.device = USER(more & 8 ? 1 : 0) + DEVICE_AT,
		.memory = rig.guest,
		.log = options & 16 ? rig.log : NULL,
		.inflight_region = options & 32 && size == MAX_SIZE ? rig.inflight[packed]->mapping.data : NULL,
		.record = options & 64 ? queue_records_get(rig.records, 0) : NULL,
		.kick_fd = -1,
		.call_fd = -1,
		.alarm_fd = -1,
	};
	if (options & 128) { /* where the rings are is the front end's word, too */
		rig.config.desc += (int8_t)input_byte(in) * 8;
		rig.config.driver += input_word(in);
		rig.config.device = USER(0) + input_word(in);
	}
	/* Some region that the front end has kept, or made up. */
	if (rig.config.inflight_region && more & 16)
		input_bytes(in, rig.config.inflight_region, 256);
	return set_up(more & 32 ? input_long(in) : packed ? VIRTQ_WRAP_BIT : 0);
}

/* ---- what the guest does ---- */

static uint64_t some_address(struct input *in)
{
	uint8_t kind = input_byte(in);
	uint64_t offset = input_word(in);

	switch (kind & 7) {
	case 0:
		return GPA(0) + TABLE_AT + (offset & 0xff0);
	case 1: /* across the end of a region */
		return GPA(kind >> 7) + REGION_BYTES - (offset & 0x3f);
	case 2:
		return UINT64_MAX - offset;
	case 3:
		return offset;
	default:
		return GPA(kind >> 7) + offset;
	}
}

static uint32_t some_length(struct input *in)
{
	static const uint32_t lengths[] = { 16, 0, 1, 60, 1500, 32, 1 << 16, UINT32_MAX, 48, 256 };
	uint8_t kind = input_byte(in);

	return kind < 250 ? lengths[kind % 10] : input_long(in);
}

/* Where a descriptor may stand: in the ring, or in an indirect table. */
static uint8_t *descriptor_at(uint8_t place)
{
	return rig.memory + (place & 0x80 ? TABLE_AT + (place & 0x7f) * 16u : DESC_AT + place * 16u);
}

static void guest_writes_descriptor(struct input *in)
{
	uint8_t *at = descriptor_at(input_byte(in));
	uint64_t address = some_address(in);
	uint32_t length = some_length(in);
	uint16_t a = input_byte(in), b = input_byte(in);

	memcpy(at, &address, 8);
	memcpy(at + 8, &length, 4);
	if (rig.queue->packed) {
		/* id, flags: available as of the queue's round */
		uint16_t flags = (b & 7) | (b & 8 ? 0 : rig.queue->avail_wrap ? VIRTQ_PACKED_AVAIL : VIRTQ_PACKED_USED);
		memcpy(at + 12, &a, 2);
		memcpy(at + 14, &flags, 2);
	} else {
		b &= 7;
		memcpy(at + 12, &b, 2);
		memcpy(at + 14, &a, 2);
	}
}

/* Split: heads and the index. Packed: nothing more than descriptors is needed. */
static void guest_makes_available(struct input *in)
{
	uint16_t *avail = (uint16_t *)(rig.memory + DRIVER_AT);
	uint8_t count = input_byte(in);

	for (unsigned i = 0; i < (count & 15u); i++) {
		avail[2 + avail[1] % rig.config.size] = input_byte(in);
		avail[1]++;
	}
	if (count & 0x40)
		avail[1] = input_word(in);
	if (count & 0x80)
		avail[0] = input_byte(in);
}

static void guest_writes(struct input *in)
{
	uint32_t offset = (uint32_t)input_word(in) | (uint32_t)(input_byte(in) & 1) << 16;
	uint32_t length = input_byte(in) & 63;

	input_bytes(in, rig.memory + offset, offset + length <= MEMORY_BYTES ? length : MEMORY_BYTES - offset);
}

/* ---- what the device does ---- */

/* A segment is within one region, as the device maps it. */
static bool is_inside(const struct iovec *segment)
{
	for (unsigned i = 0; i < rig.guest->count; i++) {
		const struct guest_region *region = &rig.guest->regions[i];
		uint64_t offset = (uint64_t)((uint8_t *)segment->iov_base - region->host);
		if (offset < region->size && segment->iov_len <= region->size - offset)
			return true;
	}
	return false;
}

static void check_element(const struct virtq_element *element)
{
	uint64_t bytes[2] = { 0, 0 };
	unsigned segments = element->readable + element->writable;

	input_require(segments <= VIRTQ_MAX_SEGMENTS && element->descriptors >= 1 &&
		      element->descriptors <= rig.config.size);
	for (unsigned i = 0; i < segments; i++) {
		input_require(is_inside(&element->segments[i]));
		bytes[i >= element->readable] += element->segments[i].iov_len;
	}
	input_require(bytes[0] == element->readable_bytes && bytes[1] == element->writable_bytes);
	input_require(element->fault < VIRTQ_FAULTS && virtq_fault_sentence(element->fault));
	/* Nothing but the place of a status comes of a bad one. */
	input_require(!element->fault || (segments <= 1 && bytes[0] == 0 && bytes[1] <= 1));
	input_require(rig.queue->packed || element->id < rig.config.size);
}

/* Reads what is readable, writes what is writable, up to what a device of ours would; returns bytes written. */
static uint32_t use_element(const struct virtq_element *element, unsigned limit)
{
	uint32_t written = 0;

	for (unsigned i = 0; i < element->readable; i++)
		for (size_t at = 0; at < element->segments[i].iov_len && at < limit; at += 64)
			(void)((const volatile uint8_t *)element->segments[i].iov_base)[at];
	for (unsigned i = element->readable; i < element->readable + element->writable && written < limit; i++) {
		size_t here =
			element->segments[i].iov_len < limit - written ? element->segments[i].iov_len : limit - written;
		memset(element->segments[i].iov_base, 0xd5, here);
		written += (uint32_t)here;
	}
	return written;
}

static void device_pops(uint8_t how)
{
	unsigned room = how & 0x80 ? VIRTQ_MAX_SEGMENTS - rig.iov_used : how & 31u, max = 1 + (how >> 2 & 15);

	if (rig.held + max > MAX_HELD || (!(how & 0x80) && rig.iov_used + room > VIRTQ_MAX_SEGMENTS))
		return;
	int n = virtqueue_pop(rig.queue, rig.elements + rig.held, max, rig.iov + rig.iov_used, room);
	input_require(n <= (int)max);
	if (n < 0) {
		input_require(n == -EPIPE ? virtqueue_broken(rig.queue) : n == -ENOSPC);
		return;
	}
	for (int i = 0; i < n; i++) {
		check_element(&rig.elements[rig.held]);
		rig.iov_used += rig.elements[rig.held].readable + rig.elements[rig.held].writable;
		rig.held++;
	}
	input_require(rig.iov_used <= VIRTQ_MAX_SEGMENTS);
}

static void device_puts_back(uint8_t how)
{
	unsigned n = how % (rig.held + 1);

	for (unsigned i = 0; i < n; i++) {
		const struct virtq_element *element = &rig.elements[--rig.held];
		rig.iov_used -= element->readable + element->writable;
	}
	virtqueue_unpop(rig.queue, rig.elements + rig.held, n);
}

/* The first of those held, or, where order does not matter, all in reverse order. */
static void device_pushes(uint8_t how)
{
	struct virtq_element reversed[MAX_HELD];
	uint32_t written[MAX_HELD];
	unsigned n = how & 0x40 ? rig.held : how % (rig.held + 1);

	for (unsigned i = 0; i < rig.held; i++)
		reversed[i] = rig.elements[rig.held - 1 - i];
	if (!rig.config.in_order && how & 0x80) {
		memcpy(rig.elements, reversed, rig.held * sizeof(reversed[0]));
		n = rig.held;
	}
	for (unsigned i = 0; i < n; i++)
		written[i] = use_element(&rig.elements[i], 2000);
	virtqueue_push(rig.queue, rig.elements, written, n);
	rig.held -= n;
	memmove(rig.elements, rig.elements + n, rig.held * sizeof(rig.elements[0]));
	if (!rig.held)
		rig.iov_used = 0;
	virtqueue_notify(rig.queue);
}

static void device_sleeps(uint8_t how)
{
	if (virtqueue_arm(rig.queue) && how & 1)
		virtqueue_disarm(rig.queue);
}

/* The front end loses us, or stops the ring, and sets it up again as it remembers it. */
static bool again(struct input *in, uint8_t how)
{
	uint32_t base = how & 1 ? rig.config.given_base : virtqueue_base(rig.queue);

	if (how & 2)
		queue_record_end(queue_records_get(rig.records, 0));
	if (how & 4 && rig.config.inflight_region)
		input_bytes(in, (uint8_t *)rig.config.inflight_region + (how & 0xf0) * 16u, 64);
	if (!(how & 1))
		rig.config.given_base = base;
	return set_up(base);
}

static void take_memory_away(uint8_t how)
{
	if (rig.truncated)
		return;
	input_require(ftruncate(rig.memory_fd, how & 1 ? REGION_BYTES : 0) == 0 &&
		      ftruncate(rig.memory_fd, how & 2 ? MEMORY_BYTES / 2 : 4096) == 0);
	rig.truncated = true;
}

static bool operate(struct input *in)
{
	uint8_t operation = input_byte(in), how = operation >> 4;

	switch (operation & 15) {
	case 0:
	case 1:
		how = input_byte(in);
		device_pops(how);
		break;
	case 2:
		device_pushes(input_byte(in));
		break;
	case 3:
		device_puts_back(how);
		break;
	case 4:
		device_sleeps(how);
		break;
	case 5:
		return again(in, input_byte(in));
	case 6:
		if (how == 15)
			take_memory_away(input_byte(in));
		break;
	case 7:
		device_pops(0xff);
		device_pushes(0x40);
		break;
	default:
		/* The guest's own mapping is of the same file. */
		if (rig.truncated)
			break;
		if (operation & 4)
			guest_writes_descriptor(in);
		else if (operation & 2)
			guest_makes_available(in);
		else
			guest_writes(in);
	}
	return true;
}

/* ---- afterwards ---- */

/* Answers all that the guest has made available; false if the queue breaks, or what there is does not end. */
static bool drain(void)
{
	for (unsigned i = 0; i < 8 * MAX_SIZE && !virtqueue_broken(rig.queue); i++) {
		rig.iov_used = 0;
		device_pushes(0x40);
		int n = virtqueue_pop(rig.queue, rig.elements, 1, rig.iov, VIRTQ_MAX_SEGMENTS);
		if (n <= 0)
			return n == 0;
		check_element(&rig.elements[0]);
		rig.held = 1;
	}
	return false;
}

/* Whatever the guest has offered before: an element that makes sense comes as it is. */
static void good_one(void)
{
	const uint64_t address = GPA(0) + 0xf000;
	uint16_t *avail = (uint16_t *)(rig.memory + DRIVER_AT), at = rig.queue->avail % rig.config.size;
	uint8_t *ring = rig.memory + DESC_AT;
	uint16_t head = 0;

	if (rig.queue->packed) {
		struct vring_packed_desc desc = { .addr = address, .len = 60, .id = 0x1234 };
		desc.flags = rig.queue->avail_wrap ? VIRTQ_PACKED_AVAIL : VIRTQ_PACKED_USED;
		memcpy(ring + at * sizeof(desc), &desc, sizeof(desc));
		head = desc.id;
	} else {
		struct vring_desc desc = { .addr = address, .len = 60 };
		memcpy(ring, &desc, sizeof(desc));
		avail[2 + at] = 0;
		avail[1] = (uint16_t)(rig.queue->avail + 1);
	}
	input_require(virtqueue_pop(rig.queue, rig.elements, 1, rig.iov, VIRTQ_MAX_SEGMENTS) == 1);
	const struct virtq_element *element = &rig.elements[0];
	input_require(!element->fault && element->id == head && element->readable_bytes == 60);
	input_require(element->writable == 0 && element->segments[0].iov_len == 60);
	rig.held = 1;
	device_pushes(0x40);
	input_require(!virtqueue_broken(rig.queue));
}

/* Where the rings are is told by good_one() only if they are where they are by default. */
static bool is_in_place(void)
{
	return rig.config.desc == USER(0) + DESC_AT && rig.config.driver == USER(0) + DRIVER_AT &&
	       rig.config.device >= USER(0) + DEVICE_AT;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };

	rig_once();
	bool running = start(&in);
	for (unsigned i = 0; running && i < MAX_OPERATIONS && input_left(&in); i++)
		running = operate(&in);
	if (running && !rig.truncated && is_in_place() && drain())
		good_one();
	if (rig.truncated || atomic_load(&rig.guest->faulted)) {
		input_require(ftruncate(rig.memory_fd, MEMORY_BYTES) == 0);
		share_memory();
	}
	return 0;
}
