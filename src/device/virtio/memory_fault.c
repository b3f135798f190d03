/* SPDX-License-Identifier: BSD-3-Clause */
/* The registry of mappings whose SIGBUS is caught, and the handler. */
#include "device/virtio/memory_fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { CHUNK_WATCHES = 256, CHUNKS = MEMORY_FAULT_MAX_WATCHES / CHUNK_WATCHES };

/* length is published last and cleared first: the handler believes an entry only while it is not 0. */
struct watch {
	_Atomic(uintptr_t) start;
	_Atomic(_Atomic bool *) faulted;
	_Atomic size_t length;
	bool taken; /* under the lock */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct watch *) chunks[CHUNKS]; /* grow only: the handler may look at any time */
static struct sigaction previous;

static struct watch *watch_find(uintptr_t address)
{
	for (unsigned c = 0; c < CHUNKS; c++) {
		struct watch *chunk = atomic_load_explicit(&chunks[c], memory_order_acquire);
		if (!chunk)
			return NULL;
		for (unsigned i = 0; i < CHUNK_WATCHES; i++) {
			size_t length = atomic_load_explicit(&chunk[i].length, memory_order_acquire);
			uintptr_t start = atomic_load_explicit(&chunk[i].start, memory_order_relaxed);
			if (address - start < length)
				return &chunk[i];
		}
	}
	return NULL;
}

static void chain(int signal_number, siginfo_t *info, void *context)
{
	if (previous.sa_flags & SA_SIGINFO) {
		previous.sa_sigaction(signal_number, info, context);
	} else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
		previous.sa_handler(signal_number);
	} else {
		/* The instruction faults again after return and takes the default action. */
		struct sigaction standard = { .sa_handler = SIG_DFL };
		sigaction(SIGBUS, &standard, NULL);
	}
}

/* The whole mapping is replaced, not one page: one fault per mapping, and right for huge pages, too. */
static void on_sigbus(int signal_number, siginfo_t *info, void *context)
{
	int saved_errno = errno;
	struct watch *watch = info->si_code == BUS_ADRERR ? watch_find((uintptr_t)info->si_addr) : NULL;

	if (watch) {
		void *start = (void *)atomic_load(&watch->start);
		void *memory = mmap(start, atomic_load(&watch->length), PROT_READ | PROT_WRITE,
				    MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (memory != MAP_FAILED) {
			atomic_store(atomic_load(&watch->faulted), true);
			errno = saved_errno;
			return;
		}
	}
	chain(signal_number, info, context);
	errno = saved_errno;
}

/* Also when somebody else has put a handler in our place meanwhile. */
static int install(void)
{
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER };
	struct sigaction current;

	if (sigaction(SIGBUS, NULL, &current) < 0)
		return -errno;
	if (current.sa_flags & SA_SIGINFO && current.sa_sigaction == on_sigbus)
		return 0;
	previous = current;
	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
}

static int slot_take(struct watch **ret)
{
	for (unsigned c = 0; c < CHUNKS; c++) {
		struct watch *chunk = atomic_load(&chunks[c]);
		if (!chunk) {
			chunk = calloc(CHUNK_WATCHES, sizeof(*chunk));
			if (!chunk)
				return -ENOMEM;
			atomic_store_explicit(&chunks[c], chunk, memory_order_release);
		}
		for (unsigned i = 0; i < CHUNK_WATCHES; i++) {
			if (!chunk[i].taken) {
				*ret = &chunk[i];
				return c * CHUNK_WATCHES + i;
			}
		}
	}
	return -ENOSPC;
}

int memory_fault_watch(void *address, size_t length, _Atomic bool *faulted)
{
	struct watch *watch;

	pthread_mutex_lock(&lock);
	int handle = install();
	if (handle == 0)
		handle = slot_take(&watch);
	if (handle >= 0) {
		watch->taken = true;
		atomic_store(&watch->start, (uintptr_t)address);
		atomic_store(&watch->faulted, faulted);
		atomic_store_explicit(&watch->length, length, memory_order_release);
	}
	pthread_mutex_unlock(&lock);
	return handle;
}

void memory_fault_unwatch(int handle)
{
	if (handle < 0)
		return;
	pthread_mutex_lock(&lock);
	struct watch *watch = &atomic_load(&chunks[handle / CHUNK_WATCHES])[handle % CHUNK_WATCHES];
	atomic_store(&watch->length, 0);
	watch->taken = false;
	pthread_mutex_unlock(&lock);
}
