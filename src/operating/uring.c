// SPDX-License-Identifier: BSD-3-Clause
/* A worker's io_uring. */
#include "operating/uring.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/stage.h"
#include "operating/fence.h"
#include "operating/uring_fixed.h"

enum { BURST = 64 };

struct uring {
	struct worker_source source; /* first */
	struct io_uring ring;
	struct io_uring_probe *probe;
	struct uring_op *later, **later_tail;
	struct uring_hook *hooks, **hooks_tail;
	unsigned under_way;
	uint16_t buffer_groups;
	int event_fd;
	unsigned has; /* enum uring_feature */
	struct uring_fixed fixed;
	bool enabled;
};

/* The best that the kernel has: completions in the submitter's time (6.1), else when it enters the kernel anyway.
 * Disabled until the first poll, which says which thread submits. */
static int ring_make(struct uring *uring, unsigned entries, unsigned without)
{
	static const struct {
		unsigned feature, flags;
	} ways[] = {
		{ URING_DEFERRED, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG },
		{ URING_COOPERATIVE, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG },
		{ 0, 0 },
	};
	int r = -EINVAL;

	for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]) && r == -EINVAL; i++) {
		struct io_uring_params params = { .flags = ways[i].flags | IORING_SETUP_R_DISABLED |
							   IORING_SETUP_CLAMP };

		if (ways[i].feature & without)
			continue;
		r = io_uring_queue_init_params(entries, &uring->ring, &params);
		uring->has = ways[i].feature;
	}
	return r;
}

static void enable(struct uring *uring)
{
	if (uring->enabled)
		return;
	/* liburing 2.3 declares a function for this and does not export it. */
	syscall(__NR_io_uring_register, uring->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	uring->enabled = true;
}

/* Whether the kernel has something for us that it shows only when asked. */
static bool must_ask(const struct uring *uring)
{
	return *uring->ring.sq.kflags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

static void entries_send(struct uring *uring)
{
	enum cycle_stage before = stage_enter(STAGE_KERNEL);

	if (io_uring_sq_ready(&uring->ring) > 0)
		io_uring_submit_and_get_events(&uring->ring);
	else if (must_ask(uring))
		io_uring_get_events(&uring->ring);
	stage_enter(before);
}

void uring_before_send(struct uring *uring, struct uring_hook *hook)
{
	if (hook->queued)
		return;
	hook->queued = true;
	hook->next = NULL;
	*uring->hooks_tail = hook;
	uring->hooks_tail = &hook->next;
	worker_source_ready(&uring->source);
}

/* Those that are there now. Each may be gone once it has run. What they give other sources to do counts as work. */
static unsigned hooks_run(struct uring *uring)
{
	struct uring_hook *hook = uring->hooks, *next;
	unsigned count = 0;
	enum cycle_stage before = stage_enter(STAGE_SEND);

	uring->hooks = NULL;
	uring->hooks_tail = &uring->hooks;
	for (; hook; hook = next, count++) {
		next = hook->next;
		hook->queued = false;
		hook->run(hook);
	}
	stage_enter(before);
	return count;
}

void uring_later(struct uring *uring, struct uring_op *op, int32_t result)
{
	op->flags = 0;
	op->result = result;
	op->next = NULL;
	*uring->later_tail = op;
	uring->later_tail = &op->next;
	uring->under_way++;
	worker_source_ready(&uring->source);
}

/* Those that are there now: what is added meanwhile waits for the next round. */
static unsigned later_done(struct uring *uring)
{
	struct uring_op *op = uring->later, *next;
	unsigned count = 0;

	uring->later = NULL;
	uring->later_tail = &uring->later;
	for (; op; op = next, count++) {
		next = op->next;
		uring->under_way--;
		op->done(op, op->result);
	}
	return count;
}

unsigned uring_poll(struct uring *uring)
{
	struct io_uring_cqe *cqes[BURST];

	if (uring->under_way == 0 && !uring->hooks)
		return 0;
	unsigned more = uring->later ? later_done(uring) : 0;
	enable(uring);
	if (uring->hooks)
		more += hooks_run(uring);
	entries_send(uring);
	unsigned count = io_uring_peek_batch_cqe(&uring->ring, cqes, BURST);
	enum cycle_stage before = stage_enter(STAGE_RECEIVE);

	for (unsigned i = 0; i < count; i++) {
		struct uring_op *op = io_uring_cqe_get_data(cqes[i]);
		int32_t result = cqes[i]->res;

		op->flags = cqes[i]->flags;
		if (!(op->flags & IORING_CQE_F_MORE))
			uring->under_way--;
		op->done(op, result);
	}
	io_uring_cq_advance(&uring->ring, count);
	stage_enter(before);
	/* What these completions have led to does not wait for a round. */
	if (count > 0 && uring->hooks)
		more += hooks_run(uring);
	if (count > 0 && io_uring_sq_ready(&uring->ring) > 0) {
		before = stage_enter(STAGE_KERNEL);
		io_uring_submit(&uring->ring);
		stage_enter(before);
	}
	return count + more;
}

struct io_uring_sqe *uring_entry(struct uring *uring, struct uring_op *op)
{
	struct io_uring_sqe *entry = io_uring_get_sqe(&uring->ring);

	if (!entry) {
		enable(uring);
		io_uring_submit(&uring->ring);
		entry = io_uring_get_sqe(&uring->ring);
		if (!entry)
			return NULL;
	}
	io_uring_sqe_set_data(entry, op);
	uring->under_way++;
	worker_source_ready(&uring->source);
	return entry;
}

bool uring_reserve(struct uring *uring, unsigned count)
{
	if (io_uring_sq_space_left(&uring->ring) < count) {
		enable(uring);
		io_uring_submit(&uring->ring);
	}
	return io_uring_sq_space_left(&uring->ring) >= count;
}

uint16_t uring_buffer_group(struct uring *uring)
{
	return uring->buffer_groups++;
}

struct uring_fixed *uring_fixed(struct uring *uring)
{
	return &uring->fixed;
}

struct io_uring *uring_ring(struct uring *uring)
{
	return &uring->ring;
}

bool uring_can(const struct uring *uring, unsigned opcode)
{
	return io_uring_opcode_supported(uring->probe, (int)opcode);
}

unsigned uring_has(const struct uring *uring)
{
	return uring->has;
}

unsigned uring_under_way(const struct uring *uring)
{
	return uring->under_way;
}

/* ---- as a source of a worker ---- */

static unsigned source_poll(struct worker_source *source, struct worker *worker)
{
	return uring_poll((struct uring *)source);
}

static int source_arm(struct worker_source *source)
{
	struct uring *uring = (struct uring *)source;

	if (uring->later || uring->hooks)
		return 1;
	if (uring->under_way == 0)
		return 0;
	enable(uring);
	entries_send(uring);
	io_uring_cq_eventfd_toggle(&uring->ring, true);
	full_fence();
	/* What the kernel has no memory for now stays with us: nothing would wake us for it. */
	if (io_uring_cq_ready(&uring->ring) == 0 && io_uring_sq_ready(&uring->ring) == 0 && !must_ask(uring))
		return 0;
	io_uring_cq_eventfd_toggle(&uring->ring, false);
	return 1;
}

static void source_disarm(struct worker_source *source)
{
	struct uring *uring = (struct uring *)source;
	eventfd_t signals;

	io_uring_cq_eventfd_toggle(&uring->ring, false);
	eventfd_read(source->fd, &signals); /* none, perhaps */
}

struct worker_source *uring_source(struct uring *uring)
{
	return &uring->source;
}

/* ---- life ---- */

/* The ring's own descriptor does not become readable while completions wait for us to ask; a registered one does. */
static int event_attach(struct uring *uring)
{
	uring->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (uring->event_fd < 0)
		return -errno;
	int r = io_uring_register_eventfd(&uring->ring, uring->event_fd);
	io_uring_cq_eventfd_toggle(&uring->ring, false);
	return r;
}

void uring_free(struct uring *uring)
{
	if (!uring)
		return;
	if (uring->probe)
		io_uring_free_probe(uring->probe);
	io_uring_queue_exit(&uring->ring);
	if (uring->event_fd >= 0)
		close(uring->event_fd);
	free(uring);
}

int uring_new_without(unsigned entries, unsigned without, struct uring **ret, struct dpu_error *err)
{
	struct uring *uring = calloc(1, sizeof(*uring));

	if (!uring)
		return error_set(err, DPU_E_LIMIT, NULL, "no memory for an io_uring");
	int r = ring_make(uring, entries, without);
	if (r < 0) {
		free(uring);
		if (r == -ENOSYS || r == -EPERM)
			return error_set(err, DPU_E_UNSUPPORTED, NULL,
					 "the kernel has no io_uring or forbids it (%s): see the sysctl "
					 "kernel.io_uring_disabled",
					 strerror(-r));
		return error_set(err, DPU_E_LIMIT, NULL, "no io_uring with %u entries: %s", entries, strerror(-r));
	}
	uring->has |= fixed_init(&uring->fixed, &uring->ring, URING_ALL & ~without);
	uring->event_fd = -1;
	uring->probe = io_uring_get_probe_ring(&uring->ring);
	r = event_attach(uring);
	if (r < 0 || !uring->probe) {
		uring_free(uring);
		return r < 0 ? error_set(err, DPU_E_LIMIT, NULL, "no event descriptor for an io_uring: %s",
					 strerror(-r))
			     : error_set(err, DPU_E_UNSUPPORTED, NULL,
					 "the kernel does not say what its io_uring can do (5.6 does)");
	}
	uring->later_tail = &uring->later;
	uring->hooks_tail = &uring->hooks;
	uring->source = (struct worker_source){
		.poll = source_poll,
		.arm = source_arm,
		.disarm = source_disarm,
		.fd = uring->event_fd,
		.name = "io_uring",
	};
	*ret = uring;
	return 0;
}

int uring_new(unsigned entries, struct uring **ret, struct dpu_error *err)
{
	return uring_new_without(entries, 0, ret, err);
}
