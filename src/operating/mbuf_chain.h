/* SPDX-License-Identifier: BSD-3-Clause */
/* Building a frame in a chain of mbufs, piece by piece. */
#pragma once

#include <string.h>
#include <rte_branch_prediction.h>
#include <rte_mbuf.h>

struct mbuf_chain {
	struct rte_mbuf *head, *last;
};

/* False without a buffer. */
static inline bool mbuf_chain_start(struct mbuf_chain *chain, struct rte_mempool *pool)
{
	chain->head = chain->last = rte_pktmbuf_alloc(pool);
	return chain->head != NULL;
}

/* Copies length bytes to the end; false without a buffer: the caller frees head. */
static inline bool mbuf_chain_append(struct mbuf_chain *chain, const void *bytes, uint32_t length)
{
	const uint8_t *from = bytes;

	while (length > 0) {
		uint16_t room = rte_pktmbuf_tailroom(chain->last);
		if (unlikely(room == 0)) {
			struct rte_mbuf *next = rte_pktmbuf_alloc(chain->head->pool);
			if (!next)
				return false;
			/* Headroom is wanted in the first buffer only. */
			next->data_off = 0;
			chain->last->next = next;
			chain->last = next;
			chain->head->nb_segs++;
			continue;
		}
		uint16_t part = (uint16_t)RTE_MIN(length, room);
		memcpy(rte_pktmbuf_mtod_offset(chain->last, uint8_t *, chain->last->data_len), from, part);
		chain->last->data_len = (uint16_t)(chain->last->data_len + part);
		chain->head->pkt_len += part;
		from += part;
		length -= part;
	}
	return true;
}
