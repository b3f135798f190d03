// SPDX-License-Identifier: BSD-3-Clause
/* Hosts that do not do their part: a connection whose host does not take what is sent to it, or does not send what it
 * owes, holds memory that others wait for. It ends when nothing moves for a while, and also when what moves is too
 * little: all that is owed must come, or be taken, at a least pace. */
#include "base/clock.h"
#include "device/nvme/nvme_target_priv.h"

enum {
	STALL_LOOKS = 4,      /* at least: it may be us who stood still */
	PACE = 256 << 10,     /* bytes a second, over the time in which something is owed, … */
	GRACE_MS = 60 * 1000, /* … and so much longer */
};

static uint64_t pace_ns(uint64_t bytes)
{
	return bytes * (CLOCK_NS_PER_S / PACE);
}

/* Whether the time is up in which `owed` bytes should have moved. `made`: bytes that were ever owed. Who was fast has
 * no more time for what is left than who begins now; who has moved as much as he owed at the last look does begin now.
 */
static bool is_late(struct nvme_debt *debt, uint64_t owed, uint64_t made, uint64_t passed_ns)
{
	uint64_t most = GRACE_MS * CLOCK_NS_PER_MS + pace_ns(owed);
	uint64_t left = debt->left_ns + pace_ns(made - debt->made);

	left -= passed_ns < left ? passed_ns : left;
	if (made - owed >= debt->made || left > most)
		left = most;
	debt->made = made;
	debt->left_ns = left;
	return left == 0;
}

/* ---- what it owes ---- */

static uint64_t data_owed(const struct nvme_queue *queue)
{
	const struct nvme_command *command;
	uint64_t bytes = 0;

	TAILQ_FOREACH(command, &queue->active, link)
	{
		if (command->state == COMMAND_RECEIVING && command->in_capsule == 0)
			bytes += command->length - command->received;
	}
	return bytes;
}

/* Data that it was asked for, the rest of a PDU, the second of a pair: what is held meanwhile others wait for. Whatever
 * else it sends pays nothing of it. */
static bool comes_too_late(struct nvme_queue *queue, uint64_t now_ns, uint64_t passed_ns)
{
	uint64_t owed = data_owed(queue);
	unsigned came = owed ? queue->asked_came : queue->came;
	/* While nothing is read the host can do nothing. */
	bool owes = queue->state == QUEUE_CONNECTED && queue->receive.state != RECEIVE_BLOCKED &&
		    (owed || queue->receive.state >= RECEIVE_PAD || queue->fused_first);

	bool late = owes && is_late(&queue->to_come, owed, queue->asked_bytes, passed_ns);

	if (!owes || came != queue->seen_came) {
		queue->seen_came = came;
		queue->came_ns = now_ns;
		queue->looks = 0;
		return late;
	}
	return late || (++queue->looks >= STALL_LOOKS && now_ns - queue->came_ns > STALL_MS * CLOCK_NS_PER_MS);
}

/* ---- what it takes ---- */

static bool is_taken_too_late(struct nvme_queue *queue, uint64_t now_ns, uint64_t passed_ns)
{
	if (queue->sends == 0 || queue->sent != queue->seen_sent) {
		if (queue->sent == queue->seen_sent)
			nvme_queue_trim(queue);
		queue->seen_sent = queue->sent;
		queue->progress_ns = now_ns;
	}
	return is_late(&queue->to_take, queue->send_bytes - queue->sent_bytes, queue->send_bytes, passed_ns) ||
	       now_ns - queue->progress_ns > STALL_MS * CLOCK_NS_PER_MS;
}

static void queue_watch(struct nvme_queue *queue, uint64_t now_ns)
{
	uint64_t passed_ns = now_ns - queue->looked_ns, most_ns = STALL_MS / STALL_LOOKS * 2 * CLOCK_NS_PER_MS;

	if (queue->looked_ns == 0) { /* it is new */
		queue->progress_ns = queue->came_ns = now_ns;
		queue->to_take.left_ns = queue->to_come.left_ns = GRACE_MS * CLOCK_NS_PER_MS;
		passed_ns = 0;
	}
	queue->looked_ns = now_ns;
	if (passed_ns > most_ns)
		passed_ns = most_ns; /* for the rest of it we stood still */
	bool late = is_taken_too_late(queue, now_ns, passed_ns);
	if (comes_too_late(queue, now_ns, passed_ns) || late)
		nvme_queue_close(queue, false, NVME_REASON_STALLED);
}

void nvme_controller_watch(struct nvme_controller *controller)
{
	struct nvme_queue *queue, *next;

	for (queue = TAILQ_FIRST(&controller->list); queue; queue = next) {
		next = TAILQ_NEXT(queue, link);
		queue_watch(queue, controller->subsystem->now_ns);
	}
}
