/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes virtio-blk queues: requests right and wrong, cut into descriptors anywhere, against an array that does what
 * the right ones say. Each comes back once; a wrong one changes nothing, and neither does one whose descriptors make no
 * sense, wherever its status is; what is read is what was written. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "device/block/ram.h"
#include "device/virtio/virtio_blk.h"
#include "device/virtio/virtqueue_priv.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	MEMORY_BYTES = 1 << 20,
	SIZE = 64,
	AVAIL = 0x1000,
	USED = 0x2000,
	OUT_AT = 0x10000, /* what the device reads: header and data */
	IN_AT = 0x40000,  /* what it writes: data and status */
	DISK_BYTES = 64 << 10,
	DATA_MAX = 12 << 10,
};
#define GPA  UINT64_C(0x40000000)
#define USER UINT64_C(0x7f0000000000)

static struct guest_memory *memory;
static uint8_t *guest; /* the guest's view of it */
static struct virtqueue *queue;
static struct dpu_block_device *disk;
static uint8_t expected[DISK_BYTES];

static void rig_once(void)
{
	const struct guest_range range = { .gpa = GPA, .size = MEMORY_BYTES, .user = USER };
	const char *why;

	if (memory)
		return;
	int fd = memfd_create("guest", MFD_CLOEXEC);
	input_require(fd >= 0 && ftruncate(fd, MEMORY_BYTES) == 0 && guest_memory_new(&memory) == 0);
	input_require(guest_memory_add(memory, &range, fd, &why) == 0);
	guest = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	input_require(guest != MAP_FAILED && virtqueue_new(&queue) == 0);
	input_require(block_ram_new("ram", DISK_BYTES, DPU_BLOCK_SECTOR, &disk) == 0);
}

static void queue_start(uint64_t features)
{
	const struct virtqueue_config config = {
		.features = features,
		.size = SIZE,
		.desc = USER,
		.driver = USER + AVAIL,
		.device = USER + USED,
		.memory = memory,
		.kick_fd = -1,
		.call_fd = -1,
		.alarm_fd = -1,
	};
	const char *why;

	memset(guest, 0, 0x4000);
	input_require(virtqueue_setup(queue, &config, &why) == 0);
}

/* ---- a request of the guest ---- */

struct blk_request {
	struct virtio_blk_outhdr header;
	uint32_t out, in; /* bytes that the device may read and write */
	unsigned descriptors, readable;
	bool told; /* there is a place for a status */
};

static struct virtio_blk_stats stats;

static uint32_t some_bytes(struct input *in)
{
	static const uint32_t usual[] = { 0, 512, 4096, 1024, 16, 20, 8192, 32 };
	uint8_t kind = input_byte(in);

	return kind < 200 ? usual[kind % 8] : input_word(in) % DATA_MAX;
}

static uint64_t some_sector(struct input *in)
{
	uint8_t kind = input_byte(in);

	if (kind < 240)
		return kind % (DISK_BYTES / DPU_BLOCK_SECTOR + 2);
	return kind < 248 ? UINT64_MAX >> (kind - 240) : (uint64_t)input_word(in) << 48;
}

static void some_request(struct input *in, struct blk_request *ret)
{
	static const uint8_t types[] = { VIRTIO_BLK_T_IN,    VIRTIO_BLK_T_OUT,         VIRTIO_BLK_T_OUT,
					 VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID,      VIRTIO_BLK_T_DISCARD,
					 VIRTIO_BLK_T_IN,    VIRTIO_BLK_T_WRITE_ZEROES };
	uint8_t kind = input_byte(in);
	uint32_t bytes = some_bytes(in);
	bool odd = kind & 0x40;

	ret->header = (struct virtio_blk_outhdr){ .type = kind & 0x80 ? input_word(in) : types[kind & 7],
						  .sector = some_sector(in) };
	bool reads = ret->header.type == VIRTIO_BLK_T_IN || ret->header.type == VIRTIO_BLK_T_GET_ID;
	ret->out = sizeof(ret->header) + (reads ? 0 : bytes);
	ret->in = 1 + (reads ? bytes : 0);
	if (odd) {
		ret->out = some_bytes(in);
		ret->in = some_bytes(in);
	}
	for (uint32_t i = 0; i < ret->out; i++)
		guest[OUT_AT + i] = (uint8_t)(i * 13 + kind);
	if (ret->out >= sizeof(ret->header))
		memcpy(guest + OUT_AT, &ret->header, sizeof(ret->header));
	memset(guest + IN_AT, 0xc3, ret->in + 1);
	uint32_t ranges = (ret->out - (uint32_t)sizeof(ret->header)) / 16;
	if (ret->header.type != VIRTIO_BLK_T_DISCARD && ret->header.type != VIRTIO_BLK_T_WRITE_ZEROES)
		ranges = 0;
	for (uint32_t i = 0; i < ranges && ret->out > sizeof(ret->header); i++) {
		struct virtio_blk_discard_write_zeroes range = { .sector = some_sector(in),
								 .num_sectors = input_byte(in) % 32u,
								 .flags = input_byte(in) % 8 == 0 ? 1 : 0 };

		memcpy(guest + OUT_AT + 16 + i * 16, &range, sizeof(range));
	}
}

/* Cut into descriptors as the input says; the last one takes what is left. */
static unsigned chain_make(struct input *in, uint32_t at, uint32_t bytes, uint16_t flags, unsigned first, unsigned room)
{
	struct vring_desc *desc = (struct vring_desc *)guest;
	unsigned count = 0;

	for (uint32_t done = 0; done < bytes; count++) {
		uint32_t part = (input_byte(in) & 7) * 171u;

		if (part == 0 || part > bytes - done || count == room - 1)
			part = bytes - done;
		desc[first + count] = (struct vring_desc){ .addr = GPA + at + done,
							   .len = part,
							   .flags = flags | VRING_DESC_F_NEXT,
							   .next = (uint16_t)(first + count + 1) };
		done += part;
	}
	return count;
}

/* ---- what it means ---- */

static uint8_t ranges_expect(const struct blk_request *request, bool flushes)
{
	static uint8_t zeroed[DISK_BYTES];
	uint32_t bytes = request->out - 16;
	bool zeroes = request->header.type == VIRTIO_BLK_T_WRITE_ZEROES;

	if (bytes == 0 || bytes % 16 || bytes / 16 > VIRTIO_BLK_MAX_RANGES)
		return VIRTIO_BLK_S_IOERR;
	memcpy(zeroed, expected, sizeof(zeroed));
	for (uint32_t i = 0; i < bytes / 16; i++) {
		struct virtio_blk_discard_write_zeroes range;

		memcpy(&range, guest + OUT_AT + 16 + i * 16, sizeof(range));
		if (range.flags & ~(zeroes ? 1u : 0u))
			return VIRTIO_BLK_S_UNSUPP;
		if (range.sector > DISK_BYTES / 512 || range.num_sectors > DISK_BYTES / 512 - range.sector)
			return VIRTIO_BLK_S_IOERR;
		memset(zeroed + range.sector * 512, 0, range.num_sectors * 512u);
	}
	memcpy(expected, zeroed, sizeof(zeroed));
	return VIRTIO_BLK_S_OK;
}

/* The status; changes `expected` as the request says. */
static uint8_t request_expect(const struct blk_request *request)
{
	bool reads = request->header.type == VIRTIO_BLK_T_IN;
	uint64_t sector = request->header.sector;

	if (request->out < 16)
		return VIRTIO_BLK_S_IOERR;
	switch (request->header.type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT: {
		uint32_t bytes = reads ? request->in - 1 : request->out - 16;

		if (bytes == 0 || bytes % 512 || sector > DISK_BYTES / 512 || bytes / 512 > DISK_BYTES / 512 - sector)
			return VIRTIO_BLK_S_IOERR;
		if (!reads)
			memcpy(expected + sector * 512, guest + OUT_AT + 16, bytes);
		return VIRTIO_BLK_S_OK;
	}
	case VIRTIO_BLK_T_FLUSH:
		return VIRTIO_BLK_S_OK;
	case VIRTIO_BLK_T_GET_ID:
		return request->in < 21 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return ranges_expect(request, false);
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
}

/* Makes nonsense of one of the descriptors, whose chain is whole otherwise. */
static void spoil(struct input *in, struct blk_request *request)
{
	struct vring_desc *desc = (struct vring_desc *)guest;
	unsigned which = input_byte(in) % request->descriptors, kind = input_byte(in) % 4;

	request->told = request->in > 0;
	if (kind == 0) { /* outside the guest's memory */
		desc[which].addr = GPA + MEMORY_BYTES;
		request->told = request->told && which != request->descriptors - 1;
	} else if (kind == 1 && request->readable < request->descriptors) { /* a successor that is readable */
		desc[request->descriptors - 1].next = (uint16_t)request->descriptors;
		desc[request->descriptors - 1].flags |= VRING_DESC_F_NEXT;
		desc[request->descriptors] = (struct vring_desc){ .addr = GPA + OUT_AT, .len = 16 };
	} else if (kind == 2) { /* … none of the ring */
		desc[which].next = SIZE;
		desc[which].flags |= VRING_DESC_F_NEXT;
		request->told = false;
	} else { /* … itself */
		desc[which].next = (uint16_t)which;
		desc[which].flags |= VRING_DESC_F_NEXT;
		request->told = false;
	}
}

static void one_request(struct input *in, struct virtio_blk *blk, uint16_t number, bool spoilt)
{
	uint16_t *avail = (uint16_t *)(guest + AVAIL), used;
	struct vring_desc *desc = (struct vring_desc *)guest;
	struct blk_request request;

	some_request(in, &request);
	request.readable = request.descriptors = chain_make(in, OUT_AT, request.out, 0, 0, SIZE / 2 - 1);
	request.descriptors += chain_make(in, IN_AT, request.in, VRING_DESC_F_WRITE, request.descriptors, SIZE / 2);
	if (request.descriptors == 0)
		return;
	desc[request.descriptors - 1].flags &= (uint16_t)~VRING_DESC_F_NEXT;
	uint64_t bad_before = stats.bad_chains;
	request.told = request.in > 0;
	if (spoilt)
		spoil(in, &request);
	avail[2 + number % SIZE] = 0;
	__atomic_store_n(&avail[1], (uint16_t)(number + 1), __ATOMIC_RELEASE);
	uint8_t status = spoilt ? VIRTIO_BLK_S_IOERR : request.in ? request_expect(&request) : 0;
	for (unsigned i = 0; i < 4 + VIRTIO_BLK_MAX_RANGES; i++) {
		virtio_blk_poll(blk);
		disk->ops->poll(disk);
	}
	virtio_blk_poll(blk);
	input_require(virtio_blk_outstanding(blk) == 0 && !virtqueue_broken(queue));
	memcpy(&used, guest + USED + 2, 2);
	input_require(used == (uint16_t)(number + 1));
	input_require(stats.bad_chains == bad_before + spoilt);
	if (!request.told) { /* no place for a status: nothing is carried out */
		input_require(memcmp(block_ram_data(disk), expected, DISK_BYTES) == 0);
		return;
	}
	input_require(guest[IN_AT + request.in - 1] == status);
	input_require(guest[IN_AT + request.in] == 0xc3);
	if (status == VIRTIO_BLK_S_OK && request.header.type == VIRTIO_BLK_T_IN)
		input_require(memcmp(guest + IN_AT, expected + request.header.sector * 512, request.in - 1) == 0);
	input_require(memcmp(block_ram_data(disk), expected, DISK_BYTES) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	_Atomic bool write_back = true;
	struct virtio_blk_account account;
	struct virtio_blk *blk;

	rig_once();
	virtio_blk_account_init(&account, 1); /* one at a time, then */
	uint8_t options = input_byte(&in);
	queue_start(UINT64_C(1) << VIRTIO_F_VERSION_1 | (options & 1 ? UINT64_C(1) << VIRTIO_BLK_F_FLUSH : 0));
	const struct virtio_blk_options blk_options = { .queue = queue,
							.device = disk,
							.id = "fuzz",
							.write_back = &write_back,
							.stats = &stats,
							.account = &account };
	input_require(virtio_blk_new(&blk_options, &blk) == 0);
	memset(expected, 0x11, sizeof(expected));
	memset(block_ram_data(disk), 0x11, DISK_BYTES);
	for (uint16_t number = 0; in.at < in.end && number < 24; number++) {
		/* Now and then, where the input wants that. */
		one_request(&in, blk, number, options & 0x80 && input_byte(&in) & 1);
		uint16_t index;
		memcpy(&index, guest + AVAIL + 2, 2);
		if (index != number + 1) /* an empty chain was not offered */
			break;
	}
	input_require(account.used == 0 && account.waits == 0);
	virtio_blk_free(blk);
	return 0;
}
