// SPDX-License-Identifier: BSD-3-Clause
/* A vhost-user-blk front end without a guest. */
#include "blk_client.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/cycles.h"

enum { GET_CONFIG = 24, GET_FEATURES = 1, GET_PROTOCOL_FEATURES = 15, GET_INFLIGHT_FD = 31, SET_INFLIGHT_FD = 32 };
enum { CONFIG_BYTES = 60, HEADER_BYTES = 16 };

#define BIT(n)             (UINT64_C(1) << (n))
#define F_BLK              (BIT(5) | BIT(9) | BIT(12) | BIT(13) | BIT(14)) /* read-only, flush, MQ, discard, write zeroes */
#define F_RING             (BIT(28) | BIT(29) | BIT(32))                   /* indirect, event index, VERSION_1 */
#define F_PACKED           BIT(34)
#define F_PROTOCOL         BIT(30)
#define PROTOCOL_MQ        BIT(0)
#define PROTOCOL_REPLY_ACK BIT(3)
#define PROTOCOL_CONFIG    BIT(9)
#define PROTOCOL_INFLIGHT  BIT(12)

static void die(const char *text)
{
	fprintf(stderr, "vhost-user-blk client: %s\n", text);
	exit(1);
}

/* ---- connection ---- */

static void connect_to(struct blk_client *client)
{
	if (client->options.listen)
		frontend_accept(&client->frontend);
	else
		frontend_connect(&client->frontend, client->options.path);
	client->connections++;
}

static void negotiate(struct blk_client *client)
{
	const struct blk_client_options *options = &client->options;
	struct frontend *frontend = &client->frontend;
	uint64_t offered = frontend_get_u64(frontend, GET_FEATURES);
	uint64_t wanted = (F_BLK | F_RING | F_PROTOCOL | (options->packed ? F_PACKED : 0)) & offered;
	uint64_t protocol = PROTOCOL_CONFIG | PROTOCOL_MQ | PROTOCOL_REPLY_ACK;

	if (options->packed && !(wanted & F_PACKED))
		die("the back end does not offer packed rings");
	if (!options->event_index)
		wanted &= ~BIT(29);
	if (options->inflight)
		protocol |= PROTOCOL_INFLIGHT;
	protocol &= frontend_get_u64(frontend, GET_PROTOCOL_FEATURES);
	if (options->inflight && !(protocol & PROTOCOL_INFLIGHT))
		die("the back end offers no in-flight region");
	frontend_negotiate(frontend, wanted, protocol);
	client->blk_features = wanted;
}

static void inflight_share(struct blk_client *client)
{
	struct frontend *frontend = &client->frontend;
	struct {
		uint64_t size, offset;
		uint16_t queues, queue_size, padding[2];
	} region = { .queues = (uint16_t)client->options.queues, .queue_size = (uint16_t)frontend->queues[0].size };
	enum { WIRE_BYTES = 20 };

	if (!client->options.inflight)
		return;
	if (client->inflight_fd < 0) {
		frontend_send(frontend, GET_INFLIGHT_FD, 1, &region, WIRE_BYTES, NULL, 0);
		frontend_reply(frontend, GET_INFLIGHT_FD, &region, sizeof(region), &client->inflight_fd);
		memcpy(client->inflight, &region, sizeof(client->inflight));
	}
	memcpy(&region, client->inflight, sizeof(client->inflight));
	frontend_send(frontend, SET_INFLIGHT_FD, 1, &region, WIRE_BYTES, &client->inflight_fd, 1);
}

uint64_t blk_client_read_capacity(struct blk_client *client)
{
	struct {
		uint32_t offset, size, flags;
		uint8_t bytes[CONFIG_BYTES];
	} config = { .size = CONFIG_BYTES };
	uint64_t sectors;

	frontend_send(&client->frontend, GET_CONFIG, 1, &config, 12 + CONFIG_BYTES, NULL, 0);
	if (frontend_reply(&client->frontend, GET_CONFIG, &config, sizeof(config), NULL) != 12 + CONFIG_BYTES)
		die("no configuration space");
	memcpy(&sectors, config.bytes, sizeof(sectors));
	return sectors * 512;
}

/* ---- requests ---- */

static void request_build(struct blk_client *client, struct blk_request *request, struct frontend_queue *queue)
{
	struct frontend *frontend = &client->frontend;
	unsigned bytes = client->options.bytes;

	request->queue = queue;
	request->header = frontend_alloc(frontend, HEADER_BYTES, 16);
	request->status = frontend_alloc(frontend, 1, 1);
	request->data = frontend_alloc(frontend, bytes, 4096);
	for (unsigned write = 0; write < 2; write++) {
		struct frontend_buffer buffers[3] = { { request->header, HEADER_BYTES, false },
						      { request->data, bytes, !write },
						      { request->status, 1, true } };
		uint64_t table = frontend_table(queue, buffers, 3);
		if (write)
			request->from_guest = table;
		else
			request->table = table;
	}
}

static void queues_build(struct blk_client *client)
{
	const struct blk_client_options *options = &client->options;
	unsigned slots = options->depth * (options->chained ? 3 : 1), size = 128;

	while (size < slots)
		size *= 2;
	client->requests = calloc((size_t)options->queues * options->depth, sizeof(*client->requests));
	if (!client->requests)
		die("no memory");
	for (unsigned i = 0; i < options->queues; i++) {
		struct frontend_queue *queue = frontend_queue_new(&client->frontend, i, size);
		client->of_id[i] = calloc(size, sizeof(*client->of_id[i]));
		if (!client->of_id[i])
			die("no memory");
		for (unsigned j = 0; j < options->depth; j++)
			request_build(client, &client->requests[i * options->depth + j], queue);
	}
}

/* What QEMU says of a ring whose back end is gone: where it had come with using. */
static uint32_t queue_base(const struct frontend_queue *queue)
{
	uint32_t half = queue->used_at | (queue->used_wrap ? 0x8000U : 0);

	return queue->packed ? half << 16 | half : queue->used_seen;
}

static void queues_start(struct blk_client *client)
{
	inflight_share(client);
	for (unsigned i = 0; i < client->options.queues; i++) {
		struct frontend_queue *queue = &client->frontend.queues[i];
		frontend_want_interrupt(queue, false, 0);
		frontend_queue_start(queue, queue_base(queue));
		frontend_kick(queue);
	}
}

void blk_client_open(struct blk_client *client, const struct blk_client_options *options)
{
	uint64_t requests = (uint64_t)options->queues * options->depth;

	if (options->queues == 0 || options->queues > FRONTEND_MAX_QUEUES || options->depth == 0 ||
	    options->depth > FRONTEND_MAX_SIZE / 3)
		die("1 to 8 queues with 1 to 341 requests each");
	memset(client, 0, sizeof(*client));
	client->options = *options;
	client->inflight_fd = -1;
	frontend_init(&client->frontend, requests * (options->bytes + 8192) + (4 << 20), NULL, NULL);
	if (options->listen)
		frontend_listen(&client->frontend, options->path);
	connect_to(client);
	negotiate(client);
	client->capacity = blk_client_read_capacity(client);
	frontend_share_memory(&client->frontend);
	queues_build(client);
	queues_start(client);
}

void blk_client_close(struct blk_client *client)
{
	for (unsigned i = 0; i < client->options.queues; i++)
		free(client->of_id[i]);
	free(client->requests);
	if (client->inflight_fd >= 0)
		close(client->inflight_fd);
	frontend_fini(&client->frontend);
}

static int offer_chain(struct blk_client *client, const struct blk_request *request, bool write)
{
	struct frontend_buffer buffers[3] = { { request->header, HEADER_BYTES, false },
					      { request->data, client->options.bytes, !write },
					      { request->status, 1, true } };

	if (request->op == BLK_FLUSH)
		buffers[1] = buffers[2];
	return frontend_offer(request->queue, buffers, request->op == BLK_FLUSH ? 2 : 3, false);
}

/* A packed ring counts slots, where the back end says from which on it wants to be kicked. */
static void offered(struct blk_client *client, struct blk_request *request, int id)
{
	const struct frontend_queue *queue = request->queue;

	if (id < 0)
		die("a ring is full");
	client->of_id[queue->index][id] = (uint16_t)(request - client->requests);
	client->offered[queue->index] += queue->packed ? queue->slots[id] : 1;
}

static void request_begin(struct blk_client *client, struct blk_request *request, uint8_t op, uint64_t offset)
{
	uint64_t *header = frontend_at(&client->frontend, request->header);
	uint8_t *status = frontend_at(&client->frontend, request->status);

	header[0] = op;
	header[1] = offset / 512;
	*status = BLK_STATUS_NONE;
	request->op = op;
	request->offset = offset;
	request->busy = true;
	request->began = cycles_now();
}

bool blk_client_offer_bad(struct blk_client *client, struct blk_request *request, unsigned kind)
{
	const uint64_t nowhere = UINT64_C(1) << 45;
	const struct frontend_buffer header = { request->header, HEADER_BYTES, false };
	const struct frontend_buffer data = { request->data, client->options.bytes, false };
	const struct frontend_buffer status = { request->status, 1, true };
	const struct frontend_buffer chains[][3] = {
		{ header, { nowhere, client->options.bytes, false }, status },
		{ { nowhere, HEADER_BYTES, false }, data, status },
		{ header, data, { nowhere, 1, true } },
		{ header, status, data },
	};
	struct frontend_queue *queue = request->queue;
	uint64_t table;

	request_begin(client, request, BLK_WRITE, 0);
	if (kind < 4) {
		offered(client, request, frontend_offer(queue, chains[kind], 3, !client->options.chained));
		return kind != 2;
	}
	/* A table that ends where there is no memory any more; one whose first descriptor is its own successor, which
	 * the packed format does not have: there it is one of too many. */
	table = kind == 4 ? client->frontend.bytes - 16 : frontend_table(queue, chains[0], 3);
	uint16_t *words = frontend_at(&client->frontend, table);
	if (kind == 4)
		words[6] = words[7] = 1; /* its first has a successor, beyond the end */
	else if (!queue->packed)
		words[7] = 0;
	offered(client, request, frontend_offer_table(queue, table, kind == 5 && queue->packed ? 60000 : 3));
	return false;
}

void blk_client_offer(struct blk_client *client, struct blk_request *request, uint8_t op, uint64_t offset)
{
	uint64_t table = op != BLK_READ ? request->from_guest : request->table;
	int id;

	request_begin(client, request, op, offset);
	if (client->options.chained || !(client->blk_features & BIT(28)))
		id = offer_chain(client, request, op != BLK_READ);
	else
		id = frontend_offer_table(request->queue, table, 3);
	offered(client, request, id);
}

void blk_client_kick(struct blk_client *client, unsigned index)
{
	struct frontend_queue *queue = &client->frontend.queues[index];
	unsigned offered = client->offered[index];

	client->offered[index] = 0;
	if (offered > 0 && frontend_wants_kick(queue, (uint16_t)offered))
		frontend_kick(queue);
}

struct blk_request *blk_client_take(struct blk_client *client, unsigned index)
{
	struct frontend_queue *queue = &client->frontend.queues[index];
	uint32_t length;
	uint16_t id;

	if (!frontend_take(queue, &id, &length)) /* fails if it was not offered: completed twice */
		return NULL;
	struct blk_request *request = &client->requests[client->of_id[index][id]];
	if (!request->busy || request->queue != queue)
		die("a request was completed twice");
	request->busy = false;
	/* The event index that is never reached moves along. */
	if (queue->event_index && !queue->packed && queue->used_seen % 8192 == 0)
		frontend_want_interrupt(queue, false, 0);
	return request;
}

uint8_t blk_client_status(struct blk_client *client, const struct blk_request *request)
{
	return *(uint8_t *)frontend_at(&client->frontend, request->status);
}

void *blk_client_data(struct blk_client *client, const struct blk_request *request)
{
	return frontend_at(&client->frontend, request->data);
}

/* ---- a successor ---- */

bool blk_client_lost(struct blk_client *client)
{
	struct pollfd p = { .fd = client->frontend.fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

void blk_client_reconnect(struct blk_client *client)
{
	uint64_t features = client->blk_features;

	frontend_disconnect(&client->frontend);
	connect_to(client);
	negotiate(client);
	if (client->blk_features != features)
		die("the successor offers other features");
	frontend_share_memory(&client->frontend);
	queues_start(client);
}
