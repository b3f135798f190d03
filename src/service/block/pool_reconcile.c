// SPDX-License-Identifier: BSD-3-Clause
/* What an opened pool has against what the model wants of it. What the model wants and the pool has not is made if that
 * was never done, else it is lost. What the pool has and the model does not know is unclaimed: shown, and left alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "service/block/block_priv.h"

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct found *)a)->name, ((const struct found *)b)->name);
}

static void adopt(struct volume *volume, const struct found *found)
{
	volume->id = found->id;
	volume->bytes = found->bytes;
	volume->created_s = found->created_s;
	volume->device = found->device;
	atomic_store(&volume->damaged, found->quarantined);
	intent_made(volume);
	if (found->quarantined)
		volume_quarantined(volume, "its map is damaged");
	else if (volume->state == BLOCK_QUARANTINED)
		volume->state = BLOCK_WAITING;
}

static struct found *look_up(struct pool *pool, const struct volume *volume)
{
	struct found key = { 0 }, *found;

	snprintf(key.name, sizeof(key.name), "%s", volume->key);
	found = pool->found_count ? bsearch(&key, pool->found, pool->found_count, sizeof(*found), compare) : NULL;
	return found && found->snapshot == volume->snapshot ? found : NULL;
}

void pool_reconcile(struct pool *pool)
{
	struct volume *volume;
	unsigned missing = 0;

	if (pool->found_count)
		qsort(pool->found, pool->found_count, sizeof(*pool->found), compare);
	TAILQ_FOREACH(volume, &pool->volumes, link)
	{
		struct found *found = look_up(pool, volume);
		if (found) {
			adopt(volume, found);
			found->id = 0; /* claimed */
		} else if (!volume->intent) {
			missing++;
		}
		volume_todo(volume);
	}
	if (missing > 0)
		log_warn("block", "a pool does not have all of its volumes", "object=%s volumes=%u", pool->subject.name,
			 missing);
	pool_keep_unclaimed(pool);
}
