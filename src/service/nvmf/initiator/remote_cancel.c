// SPDX-License-Identifier: BSD-3-Clause
/* Requests that nobody waits for any more: they are not sent (again), and end when nothing of them can be carried out
 * any more. */
#include "service/nvmf/initiator/initiator_priv.h"

#include "service/nvmf/initiator/remote_request.h"

/* Looked for by the next tick, and for all of them in one go: who breaks off has many. */
void remote_cancel(struct dpu_block_device *device, struct dpu_block_request *request)
{
	request->scratch[1] |= REQUEST_CANCELLED;
	((struct remote *)device)->cancels = true;
}

bool remote_request_over(const struct remote *remote, const struct dpu_block_request *request)
{
	return (request->scratch[1] & REQUEST_CANCELLED) &&
	       !((request->scratch[1] & REQUEST_DOUBTED) && remote_fenced(remote, request));
}

/* What may not end yet waits with those that are held for when its fence goes. */
static void sweep(struct remote *remote, struct block_queue *queue)
{
	struct dpu_block_request *request = queue->first, *next;

	block_queue_init(queue);
	for (; request; request = next) {
		next = request->next;
		if (remote_request_over(remote, request))
			remote_request_fail(remote, request, DPU_BLOCK_GONE);
		else
			block_queue_add(request->scratch[1] & REQUEST_CANCELLED ? &remote->held : queue, request);
	}
}

void remote_cancels_tick(struct remote *remote)
{
	if (!remote->cancels)
		return;
	remote->cancels = false;
	sweep(remote, &remote->waiting);
	sweep(remote, &remote->held);
}
