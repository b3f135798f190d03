// SPDX-License-Identifier: BSD-3-Clause
/* The slowest requests of this half minute and of the one before. */
#include "service/block/qos/qos_priv.h"

#include <stdlib.h>
#include <string.h>

static unsigned fastest(const struct qos_slow *slow, unsigned count)
{
	unsigned found = 0;

	for (unsigned i = 1; i < count; i++)
		if (slow[i].ns[QOS_STAGE_WHOLE] < slow[found].ns[QOS_STAGE_WHOLE])
			found = i;
	return found;
}

void slow_note(struct qos_volume *volume, const struct qos_slow *slow)
{
	struct qos_slow *now = volume->slow[0];

	if (slow->ended_ns - volume->slow_since_ns >= SLOW_PERIOD_NS) {
		bool adjacent = slow->ended_ns - volume->slow_since_ns < 2 * SLOW_PERIOD_NS;
		volume->slow_count[1] = adjacent ? volume->slow_count[0] : 0;
		memcpy(volume->slow[1], now, sizeof(volume->slow[1]));
		volume->slow_count[0] = 0;
		volume->slow_since_ns = slow->ended_ns;
	}
	if (volume->slow_count[0] < QOS_SLOWEST)
		now[volume->slow_count[0]++] = *slow;
	else
		now[fastest(now, QOS_SLOWEST)] = *slow;
	volume->slow_floor_ns =
		volume->slow_count[0] < QOS_SLOWEST ? 0 : now[fastest(now, QOS_SLOWEST)].ns[QOS_STAGE_WHOLE];
}

static int slower_first(const void *a, const void *b)
{
	uint64_t left = ((const struct qos_slow *)a)->ns[QOS_STAGE_WHOLE];
	uint64_t right = ((const struct qos_slow *)b)->ns[QOS_STAGE_WHOLE];

	return left < right ? 1 : left > right ? -1 : 0;
}

unsigned qos_slowest(const struct dpu_block_device *device, struct qos_slow ret[QOS_SLOWEST])
{
	const struct qos_volume *volume = (const struct qos_volume *)device;
	struct qos_slow all[2 * QOS_SLOWEST];
	unsigned count = 0;

	for (unsigned i = 0; i < 2; i++)
		for (unsigned j = 0; j < volume->slow_count[i]; j++)
			all[count++] = volume->slow[i][j];
	qsort(all, count, sizeof(all[0]), slower_first);
	count = count < QOS_SLOWEST ? count : QOS_SLOWEST;
	memcpy(ret, all, count * sizeof(all[0]));
	return count;
}
