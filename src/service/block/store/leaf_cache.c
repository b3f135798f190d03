// SPDX-License-Identifier: BSD-3-Clause
/* Leaves that a volume's requests found a short while ago, so that most of them walk no tree.
 *
 * A cached leaf is right as long as its frame holds the same page: records that change which page a leaf is, or whether
 * it is the volume's own, forget it. Nobody else's page comes to be shared but by a copy of the volume itself, because
 * only its own root leads there. */
#include "service/block/store/store_priv.h"

#include <stdlib.h>

enum { MIN_WAYS = 16, MAX_WAYS = 2048 };

void leaf_cache_note(struct store_volume *volume, uint64_t block, struct frame *frame, bool exclusive)
{
	*leaf_way(volume, block) = (struct leaf_way){
		.leaf = (block >> LEAF_SHIFT) + 1,
		.frame = frame,
		.data = (struct page_leaf *)frame->data,
		.lives = frame->lives,
		.exclusive = exclusive,
	};
}

int leaf_find(struct store *store, struct store_volume *volume, uint64_t block, struct page_leaf **ret)
{
	struct leaf_way *way = leaf_way(volume, block);
	struct frame *frame;
	bool exclusive;

	if (leaf_way_holds(way, block)) {
		way->frame->referenced = true;
		way->frame->stamp = store->stamp;
		*ret = way->data;
		return 0;
	}
	int rc = tree_find(store, volume->entry, block, &frame, &exclusive);
	if (rc < 0)
		return rc;
	*ret = frame ? (struct page_leaf *)frame->data : NULL;
	if (!frame)
		return 0;
	leaf_cache_note(volume, block, frame, exclusive);
	return 0;
}

struct frame *leaf_own(struct store *store, struct store_volume *volume, uint64_t block)
{
	struct leaf_way *way = leaf_way(volume, block);

	if (!leaf_way_holds(way, block) || !way->exclusive)
		return NULL;
	way->frame->referenced = true;
	way->frame->stamp = store->stamp;
	return way->frame;
}

void leaf_cache_forget(struct store_volume *volume, uint64_t first, uint64_t blocks)
{
	if (blocks > LEAF_BLOCKS)
		memset(volume->ways, 0, (volume->way_mask + 1) * sizeof(*volume->ways));
	else
		leaf_way(volume, first)->leaf = 0;
}

/* One for each leaf, if they are not too many. Without memory it stays as it is. */
void leaf_cache_resize(struct store_volume *volume)
{
	uint64_t leaves = (volume->entry->bytes / STORE_BLOCK >> LEAF_SHIFT) + 1;
	uint32_t count = MIN_WAYS;

	while (count < MAX_WAYS && count < leaves)
		count *= 2;
	struct leaf_way *ways = calloc(count, sizeof(*ways));
	if (!ways && volume->ways)
		leaf_cache_forget(volume, 0, UINT64_MAX);
	if (!ways)
		return;
	free(volume->ways);
	volume->ways = ways;
	volume->way_mask = count - 1;
}
