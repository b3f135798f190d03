/* SPDX-License-Identifier: BSD-3-Clause */
/* Control's side of workers: starting and stopping them, closures and sources on their way there and back. */
#include "operating/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <rte_cycles.h>
#include "base/clock.h"
#include "operating/cpu_list.h"
#include "operating/fence.h"
#include "operating/worker_priv.h"

unsigned workers_count(const struct workers *workers)
{
	return workers->count;
}

struct worker *workers_get(struct workers *workers, unsigned index)
{
	return &workers->worker[index];
}

unsigned worker_index(const struct worker *worker)
{
	return worker->index;
}

uint64_t worker_now_ns(const struct worker *worker)
{
	return worker->now_ns;
}

const uint32_t *worker_turn(const struct worker *worker)
{
	return &worker->turn;
}

/* See DESIGN.md, "Falling asleep", for why no wake-up is lost. */
void worker_wake(struct worker *worker)
{
	int sleeping = WORKER_SLEEPING;

	full_fence();
	if (atomic_load_explicit(&worker->state, memory_order_relaxed) != WORKER_SLEEPING)
		return;
	if (atomic_compare_exchange_strong(&worker->state, &sleeping, WORKER_WOKEN))
		eventfd_write(worker->wake_fd, 1); /* cannot fail: the counter is at most a few */
}

/* ---- messages ---- */

static void message_finish(struct message *message)
{
	void (*done)(void *) = message->done;
	void *arg = message->done_arg;

	free(message->polled);
	free(message->ticked);
	free(message->removed);
	free(message);
	if (done)
		done(arg);
}

/* Any of the callbacks may free the workers. */
static void outbox_readable(void *ctx, uint32_t events)
{
	struct workers *workers = ctx;
	eventfd_t count;
	bool freed = false;

	eventfd_read(workers->outbox_fd, &count);
	struct message **tail = &workers->returned;
	while (*tail)
		tail = &(*tail)->next;
	*tail = message_take(&workers->outbox);

	bool *outer = workers->freed;
	workers->freed = &freed;
	while (!freed && workers->returned) {
		struct message *message = workers->returned;
		workers->returned = message->next;
		message_finish(message);
	}
	if (!freed)
		workers->freed = outer;
	else if (outer)
		*outer = true;
}

static void message_send(struct worker *worker, struct message *message)
{
	if (!worker->thread) { /* workers_free() is running: back at once */
		message_push(&worker->workers->outbox, message);
		return;
	}
	message_push(&worker->inbox, message);
	worker_wake(worker);
}

int worker_call(struct worker *worker, void (*fn)(void *arg, struct worker *worker), void *arg, void (*done)(void *arg))
{
	struct message *message = calloc(1, sizeof(*message));

	if (!message)
		return -ENOMEM;
	message->fn = fn;
	message->arg = arg;
	message->done = done;
	message->done_arg = arg;
	message_send(worker, message);
	return 0;
}

/* Gives the message larger arrays when the worker's cannot hold one more source. */
static int reserve(struct worker *worker, struct message *message)
{
	if (worker->sources < worker->capacity)
		return 0;
	uint32_t capacity = worker->capacity ? worker->capacity * 2 : 16;
	message->polled = calloc(capacity, sizeof(*message->polled));
	message->ticked = calloc(capacity, sizeof(*message->ticked));
	if (!message->polled || !message->ticked)
		return -ENOMEM;
	message->capacity = capacity;
	return 0;
}

static void addition_free(struct message *message)
{
	if (!message)
		return;
	free(message->polled);
	free(message->ticked);
	if (message->added)
		free(message->added->removal);
	free(message->added);
	free(message);
}

static struct message *addition_new(struct worker *worker, struct worker_source *source)
{
	struct message *message = calloc(1, sizeof(*message));

	if (!message)
		return NULL;
	message->fn = worker_slot_add;
	message->arg = message;
	message->added = calloc(1, sizeof(*message->added));
	if (message->added) {
		*message->added = (struct slot){ .source = source, .position = NOT_POLLED, .tick_place = NOT_POLLED };
		message->added->removal = calloc(1, sizeof(*message->added->removal));
	}
	if (message->added && message->added->removal && reserve(worker, message) == 0)
		return message;
	addition_free(message);
	return NULL;
}

int worker_add_source(struct worker *worker, struct worker_source *source)
{
	struct message *message = addition_new(worker, source);

	if (!message)
		return -ENOMEM;
	if (source->fd >= 0) { /* watched for nothing until the worker parks it */
		struct epoll_event event = { .events = EPOLLONESHOT, .data.ptr = message->added };
		if (epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) < 0) {
			int error = errno;
			addition_free(message);
			return -error;
		}
	}
	if (message->capacity)
		worker->capacity = message->capacity;
	worker->sources++;
	source->slot = message->added;
	message_send(worker, message);
	return 0;
}

int worker_remove_source(struct worker *worker, struct worker_source *source, void (*done)(void *arg), void *arg)
{
	struct slot *slot = source->slot;
	struct message *message = slot->removal;

	worker->sources--;
	source->slot = NULL;
	message->fn = worker_slot_remove;
	message->arg = message;
	message->removed = slot;
	message->done = done;
	message->done_arg = arg;
	message_send(worker, message);
	return 0;
}

void worker_stats(const struct worker *worker, struct worker_stats *ret)
{
	const struct counters *counters = &worker->counters;
	uint64_t ns = clock_ns() - worker->start_ns, cycles = rte_rdtsc() - worker->start_cycles;

	*ret = (struct worker_stats){
		.busy_cycles = atomic_load_explicit(&counters->busy_cycles, memory_order_relaxed),
		.idle_cycles = atomic_load_explicit(&counters->idle_cycles, memory_order_relaxed),
		.rounds = atomic_load_explicit(&counters->rounds, memory_order_relaxed),
		.sleeps = atomic_load_explicit(&counters->sleeps, memory_order_relaxed),
		.wakeups = atomic_load_explicit(&counters->wakeups, memory_order_relaxed),
		.work = atomic_load_explicit(&counters->work, memory_order_relaxed),
	};
	uint64_t longest = atomic_load_explicit(&counters->longest_round, memory_order_relaxed);
	if (cycles > 0)
		ret->longest_round_ns = (uint64_t)((double)longest * (double)ns / (double)cycles);
}

void worker_stages(const struct worker *worker, uint64_t ret_cycles[STAGES])
{
	for (unsigned i = 0; i < STAGES; i++)
		ret_cycles[i] = atomic_load_explicit(&worker->counters.stage_cycles[i], memory_order_relaxed);
}

/* ---- start and stop ---- */

static int worker_init(struct worker *worker, struct workers *workers, unsigned index, int cpu)
{
	worker->workers = workers;
	worker->index = index;
	worker->cpu = cpu;
	worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	worker->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (worker->epoll_fd < 0 || worker->wake_fd < 0)
		return -errno;
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
	return epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, worker->wake_fd, &event) < 0 ? -errno : 0;
}

/* The thread inherits a mask that leaves signals to the control thread, but for those of a fault of its own. */
static int worker_start(struct worker *worker)
{
	sigset_t blocked, old;
	char name[16];

	sigfillset(&blocked);
	sigdelset(&blocked, SIGBUS);
	sigdelset(&blocked, SIGSEGV);
	sigdelset(&blocked, SIGFPE);
	sigdelset(&blocked, SIGILL);
	sigdelset(&blocked, SIGTRAP);
	sigdelset(&blocked, SIGABRT);
	pthread_sigmask(SIG_SETMASK, &blocked, &old);
	int status = -pthread_create(&worker->thread, NULL, worker_thread, worker);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (status < 0) {
		worker->thread = 0;
		return status;
	}
	snprintf(name, sizeof(name), "worker-%u", worker->index);
	pthread_setname_np(worker->thread, name);
	while (sem_wait(&worker->started) < 0)
		;
	return worker->start_status;
}

static int workers_start(struct workers *workers, const int *cpus, struct dpu_error *err)
{
	for (unsigned i = 0; i < workers->count; i++) {
		struct worker *worker = &workers->worker[i];
		int status = worker_init(worker, workers, i, cpus ? cpus[i] : -1);
		if (status == 0)
			status = worker_start(worker);
		if (status < 0)
			return error_set(err, DPU_E_LIMIT, "count", "Worker %u of %u cannot be started: %s.", i + 1,
					 workers->count, strerror(-status));
	}
	return 0;
}

static struct workers *workers_alloc(const struct workers_options *options)
{
	size_t bytes = sizeof(struct workers) + options->count * sizeof(struct worker);
	struct workers *workers = aligned_alloc(CACHE_LINE, (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);

	if (!workers)
		return NULL;
	memset(workers, 0, bytes);
	workers->count = options->count;
	workers->policy = options->policy;
	workers->loop = options->loop;
	workers->outbox_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	for (unsigned i = 0; i < options->count; i++) {
		workers->worker[i].epoll_fd = workers->worker[i].wake_fd = -1;
		sem_init(&workers->worker[i].started, 0, 0);
	}
	return workers;
}

int workers_new(const struct workers_options *options, struct workers **ret, struct dpu_error *err)
{
	int cpus[WORKERS_MAX], status;

	if (options->count < 1 || options->count > WORKERS_MAX)
		return error_set(err, DPU_E_INVALID, "count", "%u workers: there must be 1 to %d.", options->count,
				 WORKERS_MAX);
	if (options->cpus) {
		int found = cpu_list_parse(options->cpus, cpus, WORKERS_MAX, err);
		if (found < 0)
			return found;
		if ((unsigned)found < options->count)
			return error_set(err, DPU_E_INVALID, "cpus", "\"%s\" names %d CPUs, but there are %u workers.",
					 options->cpus, found, options->count);
	}
	struct workers *workers = workers_alloc(options);
	if (!workers || workers->outbox_fd < 0 || grace_init(workers) < 0 ||
	    loop_fd_add(options->loop, workers->outbox_fd, EPOLLIN, outbox_readable, workers, &workers->outbox_watch) <
		    0) {
		workers_free(workers);
		return error_set(err, DPU_E_LIMIT, NULL, "No memory or no descriptor for %u workers.", options->count);
	}
	status = workers_start(workers, options->cpus ? cpus : NULL, err);
	if (status < 0) {
		workers_free(workers);
		return status;
	}
	*ret = workers;
	return 0;
}

static void worker_fini(struct worker *worker)
{
	if (worker->thread) {
		atomic_store(&worker->stop, true);
		worker_wake(worker);
		pthread_join(worker->thread, NULL);
		worker->thread = 0;
	}
	free(worker->polled.slots);
	free(worker->ticked.slots);
	if (worker->epoll_fd >= 0)
		close(worker->epoll_fd);
	if (worker->wake_fd >= 0)
		close(worker->wake_fd);
	worker->epoll_fd = worker->wake_fd = -1;
	sem_destroy(&worker->started);
}

/* Finishes what has come back. Callbacks may still send closures: those are finished without being run. */
static void drain(struct workers *workers)
{
	for (;;) {
		struct message *message = workers->returned;
		if (message)
			workers->returned = message->next;
		else if (!(workers->returned = message_take(&workers->outbox)))
			break;
		if (message)
			message_finish(message);
	}
}

void workers_free(struct workers *workers)
{
	if (!workers)
		return;
	if (workers->freed)
		*workers->freed = true;
	for (unsigned i = 0; i < workers->count; i++)
		worker_fini(&workers->worker[i]);
	loop_fd_remove(workers->outbox_watch);
	drain(workers);
	grace_fini(workers);
	if (workers->outbox_fd >= 0)
		close(workers->outbox_fd);
	free(workers);
}
