/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes memif's greeting in both roles: messages in any order, with any fields and any kind of descriptor. What comes
 * to a connection has its rings inside its regions; what is refused has a reason; no descriptor is left open. */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include "input.h"
#include "operating/memif_link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MEMORY = 1 << 16, MAX_MESSAGES = 200 };

static int memory_fd = -1;
static uint8_t *memory;

static void rig_once(void)
{
	if (memory)
		return;
	memory_fd = memfd_create("fuzz", MFD_CLOEXEC);
	input_require(memory_fd >= 0 && ftruncate(memory_fd, MEMORY) == 0);
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
	input_require(memory != MAP_FAILED);
	for (unsigned at = 0; at < MEMORY; at += 64) /* rings may be anywhere */
		memcpy(memory + at, &(uint32_t){ MEMIF_COOKIE }, 4);
}

static int some_fd(uint8_t kind)
{
	switch (kind % 5) {
	case 0:
		return fcntl(memory_fd, F_DUPFD_CLOEXEC, 0);
	case 1:
		return eventfd(0, EFD_CLOEXEC);
	case 2:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	case 3:
		return memfd_create("empty", MFD_CLOEXEC);
	default:
		return -1;
	}
}

/* Messages are given by their first bytes; a client's usual ones come from one byte. */
static struct memif_message some_message(struct input *in)
{
	uint8_t kind = input_byte(in);
	struct memif_message message = { .type = kind & 15 };

	if (kind & 0x80) {
		input_bytes(in, message.bytes, input_byte(in) % (sizeof(message.bytes) + 1));
		return message;
	}
	if (message.type == MEMIF_HELLO)
		message.hello = (struct memif_hello){
			.name = "fuzz",
			.min_version = MEMIF_VERSION,
			.max_version = MEMIF_VERSION,
			.max_ring_to_client = input_byte(in),
			.max_ring_to_server = input_byte(in),
			.max_log2_ring = input_byte(in),
		};
	else if (message.type == MEMIF_INIT)
		message.init.version = MEMIF_VERSION;
	else if (message.type == MEMIF_ADD_REGION)
		message.add_region = (struct memif_add_region){ .index = input_byte(in), .bytes = input_long(in) };
	else if (message.type == MEMIF_ADD_RING)
		message.add_ring = (struct memif_add_ring){
			.flags = kind >> 4 & 1,
			.index = input_byte(in),
			.region = input_byte(in),
			.offset = input_long(in),
			.log2_ring = input_byte(in),
		};
	return message;
}

static void check_rings(const struct memif_link *link)
{
	for (unsigned direction = 0; direction < 2; direction++) {
		input_require(link->ring_count[direction] >= 1);
		for (unsigned i = 0; i < link->ring_count[direction]; i++) {
			const struct memif_ring_place *ring = &link->rings[direction][i];
			const struct memif_region *region = &link->regions[ring->region];
			uint64_t end = ring->offset + sizeof(struct memif_shared_ring) +
				       (sizeof(struct memif_desc) << ring->log2_size);
			input_require(ring->region < link->region_count && end <= region->bytes);
			input_require((uint8_t *)ring->shared == region->data + ring->offset);
			input_require(ring->shared->cookie == MEMIF_COOKIE && fcntl(ring->event_fd, F_GETFD) >= 0);
		}
	}
}

static void converse(struct memif_link *link, struct input *in)
{
	struct memif_answer answer;

	memif_link_begin(link, &answer);
	input_require(answer.send == link->options.server);
	for (unsigned i = 0; i < MAX_MESSAGES && input_left(in); i++) {
		struct memif_message message = some_message(in);
		int fd = some_fd(input_byte(in));
		int status = memif_link_input(link, &message, fd, &answer);
		input_require(status <= 0 && (status == 0 || link->stage == MEMIF_OVER));
		if (status < 0) {
			input_require(link->why[0] != '\0');
			input_require(answer.send == (message.type != MEMIF_DISCONNECT));
			return;
		}
		if (link->stage == MEMIF_UP)
			check_rings(link);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	struct memif_link link;

	rig_once();
	uint8_t kind = input_byte(&in);
	struct memif_link_options options = {
		.server = kind & 1,
		.name = "fuzz",
		.queues = 1 + (kind >> 1) % 4,
		.log2_ring = 3,
		.buffer_bytes = 2048,
	};
	int first_free = eventfd(0, 0);
	close(first_free);
	input_require(memif_link_init(&link, &options) == 0);
	converse(&link, &in);
	memif_link_fini(&link);
	int still_free = eventfd(0, 0);
	close(still_free);
	input_require(first_free == still_free);
	return 0;
}
