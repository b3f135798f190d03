/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests in line, linked by their `next`. */
#pragma once

#include <stddef.h>
#include <dpu/block.h>

struct block_queue {
	struct dpu_block_request *first, **tail;
};

static inline void block_queue_init(struct block_queue *queue)
{
	queue->first = NULL;
	queue->tail = &queue->first;
}

static inline void block_queue_add(struct block_queue *queue, struct dpu_block_request *request)
{
	request->next = NULL;
	*queue->tail = request;
	queue->tail = &request->next;
}

/* NULL when it is empty. */
static inline struct dpu_block_request *block_queue_take(struct block_queue *queue)
{
	struct dpu_block_request *request = queue->first;

	if (!request)
		return NULL;
	queue->first = request->next;
	if (!queue->first)
		queue->tail = &queue->first;
	return request;
}
