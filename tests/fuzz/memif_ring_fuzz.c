/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes memif's rings, both ends of both directions: the other end writes any descriptor and any index at any time,
 * and takes memory away, while we receive, send, sleep and wake. What is received is whole, what is sent lies in the
 * shared memory, and no buffer is lost. */
#include <sys/mman.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "operating/memif_ring.h"
#include "packet_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LOG2_RING = 3, RING = 1 << LOG2_RING, BUFFER = 512, BURST = 8, MAX_OPERATIONS = 300, REGION_BYTES = 1 << 14 };

/* A link as the greeting leaves it. As server, the memory is the other end's. */
static struct memif_link agreed;
static struct memif_ring rx, tx;
static struct memif_shared_ring *rings[2]; /* received from, sent to */
static int other_fd;                       /* memory that the other end may truncate */

static void answer_all(struct memif_link *client)
{
	struct memif_message message = { .type = MEMIF_HELLO };
	struct memif_answer answer;

	message.hello =
		(struct memif_hello){ .min_version = MEMIF_VERSION, .max_version = MEMIF_VERSION, .max_log2_ring = 14 };
	input_require(memif_link_input(client, &message, -1, &answer) == 0);
	message = (struct memif_message){ .type = MEMIF_ACK };
	for (unsigned i = 0; i < 4; i++)
		input_require(memif_link_input(client, &message, -1, &answer) == 0);
	message.type = MEMIF_CONNECTED;
	input_require(memif_link_input(client, &message, -1, &answer) == 0 && client->stage == MEMIF_UP);
}

static void add_ring(unsigned direction, uint32_t offset)
{
	struct memif_shared_ring *ring = (struct memif_shared_ring *)(agreed.regions[0].data + offset);

	ring->cookie = MEMIF_COOKIE;
	agreed.rings[direction][0] = (struct memif_ring_place){
		.shared = ring, .log2_size = LOG2_RING, .event_fd = eventfd(0, EFD_NONBLOCK), .offset = offset
	};
	agreed.ring_count[direction] = 1;
}

static void be_server(void)
{
	const char *why;

	other_fd = memfd_create("other", MFD_CLOEXEC);
	input_require(other_fd >= 0 && ftruncate(other_fd, 2 * REGION_BYTES) == 0);
	for (unsigned i = 0; i < 2; i++) {
		struct memif_region *region = &agreed.regions[i];
		input_require(shared_mapping_open(other_fd, i * REGION_BYTES, REGION_BYTES, &agreed.faulted,
						  &region->mapping, &why) == 0);
		region->data = region->mapping.data;
		region->bytes = REGION_BYTES - 100; /* what lies behind is not shared */
		agreed.region_count++;
	}
	add_ring(MEMIF_TO_SERVER, 0);
	add_ring(MEMIF_TO_CLIENT, 1024);
	agreed.stage = MEMIF_UP;
}

static void start(bool server)
{
	const struct memif_link_options options = {
		.server = server, .name = "fuzz", .queues = 1, .log2_ring = LOG2_RING, .buffer_bytes = BUFFER
	};

	other_fd = -1;
	input_require(memif_link_init(&agreed, &options) == 0);
	if (server)
		be_server();
	else
		answer_all(&agreed);
	enum memif_direction in = server ? MEMIF_TO_SERVER : MEMIF_TO_CLIENT, out = !in;
	memif_ring_init(&rx, &agreed, in, 0);
	memif_ring_init(&tx, &agreed, out, 0);
	rings[0] = agreed.rings[in][0].shared;
	rings[1] = agreed.rings[out][0].shared;
}

/* ---- what the other end does ---- */

static void other_writes_desc(struct input *in)
{
	static const uint32_t lengths[] = { 60, BUFFER, 0, 13, 14, 2048, REGION_BYTES, UINT32_MAX };
	uint8_t where = input_byte(in), what = input_byte(in);
	struct memif_desc *desc = &rings[where & 1]->descs[where >> 1 & (RING - 1)];

	desc->flags = what >> 7;
	desc->region = what & 0x40 ? input_byte(in) : what >> 5 & 1;
	desc->length = what & 0x10 ? input_long(in) : lengths[what & 7];
	desc->offset = what & 8 ? input_long(in) : 4096u + (where >> 1 & (RING - 1)) * BUFFER;
}

static void other_moves(struct input *in)
{
	uint8_t where = input_byte(in), by = input_byte(in);
	struct memif_shared_ring *ring = rings[where & 1];
	_Atomic uint16_t *index = where & 2 ? (where & 4 ? &ring->head : &ring->tail) /* not its own, either */
				  : agreed.options.server ? &ring->head
							  : &ring->tail;

	if (where & 8)
		atomic_store(index, (uint16_t)(by * 257));
	else
		atomic_fetch_add(index, by % (RING + 2));
	if (where & 16)
		atomic_store(&ring->flags, by);
}

/* ---- what we do ---- */

static void receive(struct input *in)
{
	struct rte_mbuf *packets[BURST];
	struct memif_rx_drops drops = { 0 };
	unsigned count = memif_ring_rx(&rx, test_pool(), packets, 1 + input_byte(in) % BURST, &drops);

	input_require(count <= BURST);
	for (unsigned i = 0; i < count; i++) {
		const char *why;
		input_require(rte_mbuf_check(packets[i], 1, &why) == 0);
		input_require(packets[i]->pkt_len >= 14 && packets[i]->pkt_len <= MEMIF_FRAME_MAX);
	}
	rte_pktmbuf_free_bulk(packets, count);
}

static void transmit(struct input *in)
{
	unsigned count = 1 + input_byte(in) % BURST, taken;
	struct rte_mbuf *packets[BURST];
	struct memif_tx_result result = { 0 };

	for (unsigned i = 0; i < count; i++)
		packets[i] = input_packet(14 + input_word(in) % (i == 0 ? 66000 : 600));
	taken = memif_ring_tx(&tx, packets, count, &result);
	input_require(taken <= count && result.too_long <= taken);
	rte_pktmbuf_free_bulk(packets + taken, count - taken);
}

static void sleep_and_wake(void)
{
	if (memif_ring_arm(&rx) == 0)
		memif_ring_disarm(&rx);
	(void)memif_ring_overlooked(&rx);
}

static void truncate_memory(struct input *in)
{
	if (other_fd >= 0 && input_byte(in) > 200)
		input_require(ftruncate(other_fd, input_byte(in) * 128) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };

	test_pool();
	start(input_byte(&in) & 1);
	for (unsigned i = 0; i < MAX_OPERATIONS && input_left(&in); i++) {
		uint8_t operation = input_byte(&in) % 8;
		if (operation <= 1)
			other_writes_desc(&in);
		else if (operation <= 3)
			other_moves(&in);
		else if (operation == 4)
			receive(&in);
		else if (operation == 5)
			transmit(&in);
		else if (operation == 6)
			truncate_memory(&in);
		else
			sleep_and_wake();
	}
	memif_link_fini(&agreed);
	if (other_fd >= 0)
		close(other_fd);
	input_require(test_pool_used() == 0);
	return 0;
}
