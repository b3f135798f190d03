/* SPDX-License-Identifier: BSD-3-Clause */
/* Pools of packet buffers. */
#include "operating/port.h"

#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>

enum { CACHE_BUFFERS = 256, MIN_DATA_ROOM = RTE_PKTMBUF_HEADROOM + 256, MAX_DATA_ROOM = UINT16_MAX };

/* As rte_pktmbuf_pool_create(), but for the flag. With small pages, DPDK else lets no buffer cross a page, for the sake
 * of physical addresses that nobody can use then: a page a buffer. */
static struct rte_mempool *create(const char *name, unsigned count, uint16_t data_room)
{
	struct rte_pktmbuf_pool_private private = { .mbuf_data_room_size = data_room };
	unsigned element = sizeof(struct rte_mbuf) + data_room;
	unsigned flags = eal_huge_pages() ? 0 : RTE_MEMPOOL_F_NO_IOVA_CONTIG;
	struct rte_mempool *pool =
		rte_mempool_create_empty(name, count, element, CACHE_BUFFERS, sizeof(private), SOCKET_ID_ANY, flags);

	if (!pool)
		return NULL;
	int status = rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), NULL);
	if (status == 0) {
		rte_pktmbuf_pool_init(pool, &private);
		status = rte_mempool_populate_default(pool);
	}
	if (status < 0) {
		rte_mempool_free(pool);
		rte_errno = -status;
		return NULL;
	}
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
}

struct rte_mempool *packet_pool_new(const char *name, unsigned count, unsigned data_room, struct dpu_error *err)
{
	if (data_room == 0)
		data_room = RTE_MBUF_DEFAULT_BUF_SIZE;
	if (data_room < MIN_DATA_ROOM || data_room > MAX_DATA_ROOM) {
		error_set(err, DPU_E_INVALID, "data_room", "%u bytes a buffer: there must be %d to %d.", data_room,
			  MIN_DATA_ROOM, MAX_DATA_ROOM);
		return NULL;
	}
	if (count < 2 * CACHE_BUFFERS) {
		error_set(err, DPU_E_INVALID, "count", "%u buffers: there must be %d at least.", count,
			  2 * CACHE_BUFFERS);
		return NULL;
	}
	struct rte_mempool *pool = create(name, count, (uint16_t)data_room);
	if (!pool)
		error_set(err, rte_errno == EEXIST ? DPU_E_EXISTS : DPU_E_LIMIT, "count",
			  "%u packet buffers of %u bytes (%u MiB) cannot be had: %s.", count, data_room,
			  (unsigned)(((uint64_t)count * (data_room + 256)) >> 20), rte_strerror(rte_errno));
	return pool;
}
