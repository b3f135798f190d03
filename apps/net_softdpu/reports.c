/* SPDX-License-Identifier: BSD-3-Clause */
/* Refusals, kept until dpud has been told. */
#include "reports.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "link.h"

enum { KEPT = 64 };
static const uint64_t PAUSE_NS = 200000000;

struct reports {
	pthread_mutex_t lock;
	_Atomic uint64_t pending; /* flows that dpud has not been told of */
	uint64_t told_ns;
	unsigned count;
	struct eswitch_message messages[KEPT]; /* report.count: not told yet */
};

int reports_new(struct reports **ret)
{
	struct reports *reports = calloc(1, sizeof(*reports));

	if (!reports)
		return -ENOMEM;
	pthread_mutex_init(&reports->lock, NULL);
	*ret = reports;
	return 0;
}

void reports_free(struct reports *reports)
{
	if (!reports)
		return;
	pthread_mutex_destroy(&reports->lock);
	free(reports);
}

/* Locked. The sentence's own, a free one, or one that was told. NULL: all wait to be told. */
static struct eswitch_message *place_of(struct reports *reports, enum eswitch_report what, const char *sentence)
{
	struct eswitch_message *vacant = NULL;

	for (unsigned i = 0; i < reports->count; i++) {
		struct eswitch_message *message = &reports->messages[i];
		if (message->report.what == what &&
		    strncmp(message->sentence, sentence, sizeof(message->sentence) - 1) == 0)
			return message;
		if (message->report.count == 0)
			vacant = message;
	}
	if (reports->count < KEPT)
		vacant = &reports->messages[reports->count++];
	if (!vacant)
		return NULL;
	memset(vacant, 0, sizeof(*vacant));
	vacant->type = ESWITCH_REPORT;
	vacant->report.what = what;
	snprintf(vacant->sentence, sizeof(vacant->sentence), "%s", sentence);
	return vacant;
}

void reports_add(struct reports *reports, enum eswitch_report what, const char *sentence,
		 const struct eswitch_fields *match, const struct eswitch_fields *mask)
{
	pthread_mutex_lock(&reports->lock);
	struct eswitch_message *message = place_of(reports, what, sentence && *sentence ? sentence : "for no reason");
	if (message) {
		message->report.count++;
		memcpy(message->report.match, match, sizeof(message->report.match));
		memcpy(message->report.mask, mask, sizeof(message->report.mask));
		atomic_fetch_add_explicit(&reports->pending, 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&reports->lock);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void reports_flush(struct reports *reports, struct link *link)
{
	if (!atomic_load_explicit(&reports->pending, memory_order_relaxed) || pthread_mutex_trylock(&reports->lock))
		return;
	uint64_t now = now_ns();
	bool told = now - reports->told_ns >= PAUSE_NS;
	for (unsigned i = 0; i < reports->count && told; i++) {
		struct eswitch_message *message = &reports->messages[i];
		if (message->report.count == 0)
			continue;
		told = link_tell(link, message);
		if (!told)
			break;
		atomic_fetch_sub_explicit(&reports->pending, message->report.count, memory_order_relaxed);
		message->report.count = 0;
		reports->told_ns = now;
	}
	pthread_mutex_unlock(&reports->lock);
}
