// SPDX-License-Identifier: BSD-3-Clause
/* Notes from workers to control: a list that many push to, and a descriptor that wakes the loop. */
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include "service/block/block_priv.h"

void note_send(struct block *block, struct note *note)
{
	struct note *head = atomic_load_explicit(&block->notes, memory_order_relaxed);

	do {
		note->next = head;
	} while (!atomic_compare_exchange_weak_explicit(&block->notes, &head, note, memory_order_release,
							memory_order_relaxed));
	eventfd_write(block->note_fd, 1); /* cannot fail: the counter is at most a few */
}

/* Oldest first. A note may be sent again as soon as its fn is called. */
static void notes_readable(void *ctx, uint32_t events)
{
	struct block *block = ctx;
	struct note *newest, *oldest = NULL;
	eventfd_t count;

	(void)events;
	eventfd_read(block->note_fd, &count);
	newest = atomic_exchange_explicit(&block->notes, NULL, memory_order_acquire);
	while (newest) {
		struct note *next = newest->next;
		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	while (oldest) {
		struct note *next = oldest->next;
		oldest->fn(oldest);
		oldest = next;
	}
}

int notes_init(struct block *block)
{
	block->note_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (block->note_fd < 0)
		return -1;
	return loop_fd_add(block->dpu->loop, block->note_fd, EPOLLIN, notes_readable, block, &block->note_watch);
}

void notes_fini(struct block *block)
{
	loop_fd_remove(block->note_watch);
	if (block->note_fd >= 0)
		close(block->note_fd);
}
