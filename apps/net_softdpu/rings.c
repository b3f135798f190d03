/* SPDX-License-Identifier: BSD-3-Clause */
/* Which rings are the present ones, and who holds which. */
#include "rings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "link_region.h"

struct rings_open {
	struct link_port port;
	unsigned refs;
};

void rings_init(struct rings *rings, struct link *link, void (*opened)(void *ctx, const struct eswitch_port_info *info),
		void *ctx)
{
	*rings = (struct rings){ .turn = 1, .link = link, .opened = opened, .ctx = ctx };
	pthread_mutex_init(&rings->life, NULL);
	pthread_mutex_init(&rings->lock, NULL);
}

void rings_fini(struct rings *rings)
{
	pthread_mutex_destroy(&rings->life);
	pthread_mutex_destroy(&rings->lock);
}

/* Locked. */
static void unref(struct rings_open *open)
{
	if (!open || --open->refs > 0)
		return;
	link_port_unmap(&open->port);
	free(open);
}

static void replace(struct rings *rings, struct rings_open *open)
{
	pthread_mutex_lock(&rings->lock);
	unref(rings->present);
	rings->present = open;
	unsigned turn = rings->turn + 1;
	atomic_store_explicit(&rings->turn, turn ? turn : 1, memory_order_release);
	pthread_mutex_unlock(&rings->lock);
}

/* ---- opening; life is held ---- */

static int check_number(struct rings *rings, struct link_port *port, char *sentence)
{
	if (port->info.number == rings->wanted.number)
		return 0;
	snprintf(sentence, LINK_SENTENCE_BYTES,
		 "%s has number %u now and had %u, which its flows name: detach and attach the device",
		 rings->wanted.representor, port->info.number, rings->wanted.number);
	link_close_port(rings->link, port);
	return -ESTALE;
}

static int open_now(struct rings *rings, char *sentence)
{
	const struct rings_wanted *wanted = &rings->wanted;
	struct rings_open *open = calloc(1, sizeof(*open));
	int status = -ENOMEM;

	if (open)
		status = link_open_port(rings->link, wanted->representor, wanted->queue_pairs, wanted->to_host,
					wanted->slots, wanted->offloads, &open->port, sentence);
	else
		snprintf(sentence, LINK_SENTENCE_BYTES, "out of memory");
	if (status == 0)
		status = check_number(rings, &open->port, sentence);
	if (status < 0) {
		free(open);
		return status;
	}
	open->refs = 1;
	replace(rings, open);
	rings->opened(rings->ctx, &open->port.info);
	return 0;
}

int rings_start(struct rings *rings, const struct rings_wanted *wanted, char sentence[LINK_SENTENCE_BYTES])
{
	pthread_mutex_lock(&rings->life);
	rings->wanted = *wanted;
	int status = open_now(rings, sentence);
	/* That it died is seen by the connection's thread, which will call rings_reopen(). */
	if (status == -ENOTCONN || status == -ECONNRESET || status == -EPIPE)
		status = 0;
	rings->started = status == 0;
	pthread_mutex_unlock(&rings->life);
	return status;
}

int rings_reopen(struct rings *rings, char sentence[LINK_SENTENCE_BYTES])
{
	int status = 0;

	pthread_mutex_lock(&rings->life);
	/* Opened at a dpud that died before it was seen that it did: as good as lost. */
	if (rings->present && !link_is_current(rings->link, &rings->present->port))
		replace(rings, NULL);
	if (rings->started && !rings->present) {
		status = open_now(rings, sentence);
		if (status == 0)
			status = 1;
	}
	pthread_mutex_unlock(&rings->life);
	return status;
}

void rings_stop(struct rings *rings)
{
	pthread_mutex_lock(&rings->life);
	rings->started = false;
	pthread_mutex_lock(&rings->lock);
	struct rings_open *open = rings->present;
	rings->present = NULL;
	pthread_mutex_unlock(&rings->lock);
	if (open) {
		link_close_port(rings->link, &open->port);
		free(open);
	}
	replace(rings, NULL);
	pthread_mutex_unlock(&rings->life);
}

void rings_lost(struct rings *rings)
{
	replace(rings, NULL);
}

/* ---- queues ---- */

/* A ring that is never more than empty, or full. */
static void end_init_none(struct eswitch_ring_end *end, bool producer)
{
	static struct eswitch_ring none;

	*end = (struct eswitch_ring_end){ .ring = &none, .mask = UINT16_MAX, .producer = producer, .broken = true };
	end->own = end->published = producer ? end->mask + 1 : 0;
}

int rings_move(struct rings *rings, struct rings_place *place, struct eswitch_ring_end *end, unsigned queue,
	       bool producer)
{
	struct eswitch_ring_end fresh;
	int wake_fd = -1;

	pthread_mutex_lock(&rings->lock);
	unref(place->open);
	*place = (struct rings_place){ rings->present, rings->turn };
	if (place->open) {
		const struct link_port *port = &place->open->port;
		unsigned ring = producer ? port->queue_pairs + queue : queue;
		place->open->refs++;
		eswitch_ring_end_init(&fresh, port->region, 2 * port->queue_pairs, ring, port->slots, producer);
		wake_fd = port->wake_fds[ring];
	} else {
		end_init_none(&fresh, producer);
	}
	pthread_mutex_unlock(&rings->lock);
	fresh.faults = end->faults; /* which others read meanwhile */
	fresh.no_buffer = end->no_buffer;
	*end = fresh;
	return wake_fd;
}

void rings_leave(struct rings *rings, struct rings_place *place)
{
	pthread_mutex_lock(&rings->lock);
	unref(place->open);
	*place = (struct rings_place){ 0 };
	pthread_mutex_unlock(&rings->lock);
}
