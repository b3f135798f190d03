/* SPDX-License-Identifier: BSD-3-Clause */
/* Copying parts of an mbuf chain into frames of our own. */
#pragma once

#include "device/packet/packet_priv.h"

/* A place in a chain that copying goes on from. */
struct chain_reader {
	const struct rte_mbuf *m;
	uint32_t offset;
};

static inline struct chain_reader chain_at(const struct rte_mbuf *m, uint32_t offset)
{
	while (m && offset >= m->data_len) {
		offset -= m->data_len;
		m = m->next;
	}
	return (struct chain_reader){ m, offset };
}

/* An empty frame that carries m's metadata but for its offload requests; NULL if there is no buffer. */
struct rte_mbuf *chain_new(const struct rte_mbuf *m, struct rte_mempool *pool);

/* Appends length bytes from reader to the frame `to`, whose chain grows from pool as needed. If sum is not NULL, their
 * one's complement sum, as of bytes that start at an even place, is added to it. */
enum drop_reason chain_append(struct rte_mbuf *to, struct rte_mempool *pool, struct chain_reader *reader,
			      uint32_t length, uint64_t *sum);
