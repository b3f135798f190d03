// SPDX-License-Identifier: BSD-3-Clause
/* How fast the cycle counter goes. */
#include "base/cycles.h"

#include <pthread.h>
#include "base/clock.h"

static uint64_t scale;

static void look(void)
{
	uint64_t ns = clock_ns(), cycles = cycles_now(), passed;

	do
		passed = clock_ns() - ns;
	while (passed < 2 * CLOCK_NS_PER_MS);
	scale = (uint64_t)(((unsigned __int128)passed << 32) / (cycles_now() - cycles));
}

uint64_t cycles_scale(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, look);
	return scale;
}
