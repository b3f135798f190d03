// SPDX-License-Identifier: BSD-3-Clause
/* A disk's load in the generator's thread. */
#include "generator_disk.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/cycles.h"
#include "base/histogram.h"
#include "tests/lib/blk_client.h"

enum { FEW = 8, BLOCK_BYTES = 4096 };

static struct blk_client client;
static struct histogram latency;
static uint64_t done, blocks, scale, random_state = 88172645463325252;

static void ask(struct blk_request *request)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	blk_client_offer(&client, request, BLK_READ, random_state % blocks * BLOCK_BYTES);
}

void disk_load_open(const char *socket, unsigned depth)
{
	const struct blk_client_options options = {
		.path = socket, .event_index = true, .queues = 1, .depth = depth, .bytes = BLOCK_BYTES
	};

	scale = cycles_scale();
	blk_client_open(&client, &options);
	blocks = client.capacity / BLOCK_BYTES;
	for (unsigned i = 0; i < depth; i++)
		ask(&client.requests[i]);
	blk_client_kick(&client, 0);
}

void disk_load_turn(void)
{
	struct blk_request *request;

	for (unsigned i = 0; i < FEW && (request = blk_client_take(&client, 0)); i++) {
		if (blk_client_status(&client, request) != 0) {
			fprintf(stderr, "generator: a request of the disk failed\n");
			exit(1);
		}
		histogram_add(&latency, cycles_ns(cycles_now() - request->began, scale));
		done++;
		ask(request);
	}
	blk_client_kick(&client, 0);
}

void disk_load_begin(void)
{
	memset(&latency, 0, sizeof(latency));
	done = 0;
}

void disk_load_report(FILE *out, double seconds)
{
	fprintf(out, ", \"disk\": {\"iops\": %.0f, \"p50_ns\": %" PRIu64 ", \"p99_ns\": %" PRIu64 "}",
		(double)done / seconds, histogram_quantile(&latency, 500000), histogram_quantile(&latency, 990000));
}
