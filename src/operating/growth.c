/* SPDX-License-Identifier: BSD-3-Clause */
/* A helper thread with one job as long as something can grow. */
#include "operating/growth.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include "base/clock.h"
#include "operating/helpers.h"

static const uint64_t BUSY_NS = 1 * CLOCK_NS_PER_MS;
static const uint64_t IDLE_NS = 100 * CLOCK_NS_PER_MS;

struct growth {
	struct helpers *helpers;
	bool (*grow)(void *ctx);
	void *ctx;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop; /* under lock */
};

/* Returns whether to go on. */
static bool pause_for(struct growth *growth, uint64_t ns)
{
	uint64_t until = clock_ns() + ns;
	struct timespec time = { .tv_sec = until / CLOCK_NS_PER_S, .tv_nsec = until % CLOCK_NS_PER_S };

	pthread_mutex_lock(&growth->lock);
	while (!growth->stop && pthread_cond_timedwait(&growth->wake, &growth->lock, &time) == 0)
		;
	bool go_on = !growth->stop;
	pthread_mutex_unlock(&growth->lock);
	return go_on;
}

static void run(void *arg)
{
	struct growth *growth = arg;

	while (pause_for(growth, growth->grow(growth->ctx) ? BUSY_NS : IDLE_NS))
		;
}

int growth_start(struct loop *loop, bool (*grow)(void *ctx), void *ctx, struct growth **ret)
{
	struct growth *growth = calloc(1, sizeof(*growth));
	pthread_condattr_t clock;

	if (!growth)
		return -ENOMEM;
	growth->grow = grow;
	growth->ctx = ctx;
	pthread_mutex_init(&growth->lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&growth->wake, &clock);
	pthread_condattr_destroy(&clock);
	int rc = helpers_new(loop, 1, &growth->helpers);
	if (rc == 0)
		rc = helpers_run(growth->helpers, run, NULL, growth);
	if (rc != 0) {
		growth_stop(growth);
		return rc;
	}
	*ret = growth;
	return 0;
}

void growth_stop(struct growth *growth)
{
	if (!growth)
		return;
	pthread_mutex_lock(&growth->lock);
	growth->stop = true;
	pthread_cond_signal(&growth->wake);
	pthread_mutex_unlock(&growth->lock);
	if (growth->helpers)
		helpers_free(growth->helpers);
	pthread_cond_destroy(&growth->wake);
	pthread_mutex_destroy(&growth->lock);
	free(growth);
}
