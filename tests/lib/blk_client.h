/* SPDX-License-Identifier: BSD-3-Clause */
/* A vhost-user-blk front end and driver without a guest, for any back end: tests with what no guest does, and load. A
 * fixed number of requests of one size is under way; each is built once and offered again and again.
 *
 * Single thread. What the back end does wrong on the socket ends the process with a sentence. */
#pragma once

#include "vhost_frontend.h"

enum blk_client_op { BLK_READ = 0, BLK_WRITE = 1, BLK_FLUSH = 4, BLK_DISCARD = 11, BLK_ZEROES = 13 };

enum { BLK_STATUS_NONE = 0xff };

struct blk_client_options {
	const char *path;
	bool listen;            /* the back end connects to us, as it does to QEMU */
	bool packed, chained;   /* chained: no indirect descriptors */
	bool event_index;       /* … if it is offered */
	bool inflight;          /* share an in-flight region: then blk_client_reconnect() works */
	unsigned queues, depth; /* requests of each queue */
	unsigned bytes;         /* of each request */
};

struct blk_request {
	struct frontend_queue *queue;
	uint64_t header, data, status, table; /* in guest memory */
	uint64_t from_guest;                  /* table of those that write */
	uint64_t began;                       /* cycles */
	uint64_t offset;
	uint8_t op; /* enum blk_client_op */
	bool busy;
	uint64_t user[2];
};

struct blk_client {
	struct frontend frontend;
	struct blk_client_options options;
	struct blk_request *requests; /* queues times depth */
	uint16_t *of_id[FRONTEND_MAX_QUEUES];
	unsigned offered[FRONTEND_MAX_QUEUES]; /* since the last kick; slots of a packed ring */
	uint64_t capacity;                     /* bytes */
	uint64_t blk_features;
	int inflight_fd;
	uint64_t inflight[3];
	unsigned connections;
};

void blk_client_open(struct blk_client *client, const struct blk_client_options *options);
void blk_client_close(struct blk_client *client);

/* Offers a request that is not busy; blk_client_kick() tells the back end of all of a queue. */
void blk_client_offer(struct blk_client *client, struct blk_request *request, uint8_t op, uint64_t offset);
void blk_client_kick(struct blk_client *client, unsigned queue);
/* Offers a request whose descriptors make no sense, in a way for each kind; returns whether it has a place for a status
 * nevertheless. Tables are made for it: the caller takes frontend.allocated back when it has completed. */
enum { BLK_BAD_KINDS = 6 };
bool blk_client_offer_bad(struct blk_client *client, struct blk_request *request, unsigned kind);
/* A request that has completed, or NULL. */
struct blk_request *blk_client_take(struct blk_client *client, unsigned queue);
uint8_t blk_client_status(struct blk_client *client, const struct blk_request *request);
void *blk_client_data(struct blk_client *client, const struct blk_request *request);

/* Whether the back end has hung up; cheap enough for now and then. */
bool blk_client_lost(struct blk_client *client);
/* Waits for its successor, and hands it the rings as they are. */
void blk_client_reconnect(struct blk_client *client);
uint64_t blk_client_read_capacity(struct blk_client *client); /* from the configuration space */
