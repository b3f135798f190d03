/* SPDX-License-Identifier: BSD-3-Clause */
/* Pools of packet buffers. */
#include "operating/port.h"

#include <rte_errno.h>
#include <rte_mbuf.h>

enum { CACHE_BUFFERS = 256, MIN_DATA_ROOM = RTE_PKTMBUF_HEADROOM + 256, MAX_DATA_ROOM = UINT16_MAX };

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
	struct rte_mempool *pool =
		rte_pktmbuf_pool_create(name, count, CACHE_BUFFERS, 0, (uint16_t)data_room, SOCKET_ID_ANY);
	if (!pool)
		error_set(err, rte_errno == EEXIST ? DPU_E_EXISTS : DPU_E_LIMIT, "count",
			  "%u packet buffers of %u bytes (%u MiB) cannot be had: %s.", count, data_room,
			  (unsigned)(((uint64_t)count * (data_room + 256)) >> 20), rte_strerror(rte_errno));
	return pool;
}
