/* SPDX-License-Identifier: BSD-3-Clause */
/* The worker's thread: rounds of polling, parking of idle sources, ticks, sleep. */
#include "operating/worker.h"

#include <errno.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include "base/clock.h"
#include "operating/fence.h"
#include "operating/port.h"
#include "operating/worker_priv.h"

static const uint64_t CLOCK_NS = 5 * CLOCK_NS_PER_US;        /* resolution of worker_now_ns() */
static const uint64_t TICK_NS = CLOCK_NS_PER_MS;             /* between ticks when there is work */
static const uint64_t TICK_MIN_NS = 50 * CLOCK_NS_PER_US;    /* however soon a source wants the next */
static const uint64_t WATCH_NS = 20 * CLOCK_NS_PER_US;       /* between looks at parked sources when awake */
static const uint64_t PARK_CHECK_NS = 250 * CLOCK_NS_PER_US; /* between searches for sources to park */
static const uint64_t FAULTY_NS = CLOCK_NS_PER_S;            /* a descriptor that cries wolf is not watched so long */
enum { EVENTS_PER_LOOK = 64, EMPTY_WAKES_MAX = 16 };

/* What a policy means. */
static const struct {
	bool sleeps;
	uint64_t patience_ns; /* of nothing to do before sleep */
	uint64_t park_ns;     /* of nothing from one source before it is parked */
	uint64_t back_off_first_ns, back_off_last_ns;
} policies[] = {
	[WORKER_LATENCY] = { .sleeps = false },
	[WORKER_BALANCED] = { true, 50 * CLOCK_NS_PER_US, CLOCK_NS_PER_MS, 50 * CLOCK_NS_PER_US, 2 * CLOCK_NS_PER_MS },
	[WORKER_POWER_SAVE] = { true, 0, 50 * CLOCK_NS_PER_US, 250 * CLOCK_NS_PER_US, 8 * CLOCK_NS_PER_MS },
};

static void count(_Atomic uint64_t *counter, uint64_t more)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more,
			      memory_order_relaxed);
}

/* ---- the sets: polled, parked (watched by epoll, in no array), ticked ---- */

static uint32_t set_add(struct slot_array *set, struct slot *slot)
{
	set->slots[set->count] = slot;
	return set->count++;
}

static void poll_add(struct worker *worker, struct slot *slot)
{
	slot->position = set_add(&worker->polled, slot);
	slot->worked_ns = worker->now_ns;
}

static void poll_remove(struct worker *worker, struct slot *slot)
{
	struct slot *last = worker->polled.slots[--worker->polled.count];

	worker->polled.slots[slot->position] = last;
	last->position = slot->position;
	slot->position = NOT_POLLED;
}

static void tick_remove(struct worker *worker, struct slot *slot)
{
	struct slot *last = worker->ticked.slots[--worker->ticked.count];

	worker->ticked.slots[slot->tick_place] = last;
	last->tick_place = slot->tick_place;
	slot->tick_place = NOT_POLLED;
}

static void slot_disarm(struct slot *slot)
{
	if (!slot->armed)
		return;
	slot->armed = false;
	if (slot->source->disarm)
		slot->source->disarm(slot->source);
}

/* 0 = armed, 1 = has work, negative: must be polled by timer. */
static int slot_arm(struct worker *worker, struct slot *slot)
{
	struct worker_source *source = slot->source;

	if (worker->now_ns < slot->faulty_until_ns)
		return -EIO;
	int status = source->arm ? source->arm(source) : 0;
	slot->timed = status < 0;
	if (status != 0)
		return status;
	slot->armed = true;
	if (source->fd < 0)
		return 0;
	struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT, .data.ptr = slot };
	if (epoll_ctl(worker->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0) {
		slot_disarm(slot);
		slot->timed = true;
		return -EIO;
	}
	poll_remove(worker, slot);
	worker->parked++;
	return 0;
}

static void unwatch(struct worker *worker, struct slot *slot)
{
	slot_disarm(slot);
	worker->parked--;
	poll_add(worker, slot);
}

/* An event of its descriptor that comes later finds it in the round and is of no account. */
void worker_source_ready(struct worker_source *source)
{
	struct slot *slot = source->live;

	if (slot && slot->position == NOT_POLLED && source->poll)
		unwatch(slot->worker, slot);
}

/* Its descriptor has an event (which has also ended the watch: EPOLLONESHOT). */
static void unpark(struct worker *worker, struct slot *slot, uint32_t events)
{
	if (slot->position != NOT_POLLED || !slot->source->poll)
		return;
	/* A dead interface or an owner that does not read its eventfd must not keep the worker from sleeping. */
	if (slot->empty_wakes < EMPTY_WAKES_MAX)
		slot->empty_wakes++;
	if (!(events & EPOLLIN) || slot->empty_wakes == EMPTY_WAKES_MAX)
		slot->faulty_until_ns = worker->now_ns + FAULTY_NS;
	unwatch(worker, slot);
}

static struct slot **swap_array(struct slot_array *set, struct slot **larger, uint32_t capacity)
{
	struct slot **old = set->slots;

	for (uint32_t i = 0; i < set->count; i++)
		larger[i] = old[i];
	set->slots = larger;
	set->capacity = capacity;
	return old;
}

void worker_slot_add(void *arg, struct worker *worker)
{
	struct message *message = arg;
	struct slot *slot = message->added;

	if (message->capacity) {
		message->polled = swap_array(&worker->polled, message->polled, message->capacity);
		message->ticked = swap_array(&worker->ticked, message->ticked, message->capacity);
	}
	slot->worker = worker;
	slot->source->live = slot;
	if (slot->source->poll)
		poll_add(worker, slot);
	if (slot->source->tick) {
		slot->tick_place = set_add(&worker->ticked, slot);
		worker->tick_owed = true;
	}
}

void worker_slot_remove(void *arg, struct worker *worker)
{
	struct message *message = arg;
	struct slot *slot = message->removed;

	slot->source->live = NULL;
	if (slot->source->fd >= 0)
		epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, slot->source->fd, NULL);
	if (slot->position != NOT_POLLED)
		poll_remove(worker, slot);
	else if (slot->source->poll)
		worker->parked--;
	slot_disarm(slot);
	if (slot->tick_place != NOT_POLLED)
		tick_remove(worker, slot);
}

/* ---- a round ---- */

static unsigned run_messages(struct worker *worker)
{
	struct workers *workers = worker->workers;
	unsigned ran = 0;

	if (!atomic_load_explicit(&worker->inbox, memory_order_relaxed))
		return 0;
	for (struct message *message = message_take(&worker->inbox), *next; message; message = next, ran++) {
		next = message->next;
		worker->turn++;
		message->fn(message->arg, worker);
		if (message_push(&workers->outbox, message))
			eventfd_write(workers->outbox_fd, 1);
	}
	return ran;
}

static unsigned poll_sources(struct worker *worker)
{
	unsigned work = 0;

	for (uint32_t i = 0; i < worker->polled.count; i++) {
		struct slot *slot = worker->polled.slots[i];
		worker->turn++;
		unsigned found = slot->source->poll(slot->source, worker);
		if (found == 0)
			continue;
		work += found;
		slot->worked_ns = worker->now_ns;
		slot->empty_wakes = 0;
		slot->faulty_until_ns = 0;
		if (slot->timed)
			worker->back_off_ns = policies[worker->workers->policy].back_off_first_ns;
	}
	return work;
}

static void read_clock(struct worker *worker, uint64_t cycles)
{
	if (cycles - worker->clock_cycles < worker->clock_period)
		return;
	worker->clock_cycles = cycles;
	worker->now_ns = clock_ns();
}

/* As poll_sources(), with a look at where the cycles go: not in every round, since looking costs some, too. */
static unsigned poll_measured(struct worker *worker)
{
	worker->unmeasured = WORKER_STAGE_ROUNDS;
	stage_clock_begin(&worker->stages);
	unsigned work = poll_sources(worker);
	stage_clock_end();

	for (unsigned i = 0; work > 0 && i < STAGES; i++)
		count(&worker->counters.stage_cycles[i], worker->stages.cycles[i]);
	return work;
}

static bool round_run(struct worker *worker)
{
	struct counters *counters = &worker->counters;
	unsigned closures = run_messages(worker);
	unsigned work = worker->unmeasured-- > 0 ? poll_sources(worker) : poll_measured(worker);

	rte_rcu_qsbr_quiescent(worker->workers->qsbr, worker->index);
	uint64_t cycles = rte_rdtsc(), spent = cycles - worker->round_cycles;
	worker->round_cycles = cycles;
	read_clock(worker, cycles);
	count(&counters->rounds, 1);
	if (work + closures == 0) {
		count(&counters->idle_cycles, spent);
		return false;
	}
	count(&counters->busy_cycles, spent);
	count(&counters->work, work);
	if (spent > atomic_load_explicit(&counters->longest_round, memory_order_relaxed))
		atomic_store_explicit(&counters->longest_round, spent, memory_order_relaxed);
	worker->tick_owed = worker->ticked.count > 0;
	if (work)
		worker->worked_ns = worker->now_ns;
	return true;
}

static void run_ticks(struct worker *worker)
{
	uint64_t now = worker->now_ns, soonest = UINT64_MAX;

	for (uint32_t i = 0; i < worker->ticked.count; i++) {
		struct worker_source *source = worker->ticked.slots[i]->source;
		worker->turn++;
		uint64_t wanted = source->tick(source, worker, now);
		if (wanted < soonest)
			soonest = wanted;
	}
	if (soonest < TICK_MIN_NS)
		soonest = TICK_MIN_NS;
	worker->ticked_ns = now;
	worker->tick_due_ns = soonest > UINT64_MAX - now ? UINT64_MAX : now + soonest;
	worker->tick_owed = false;
}

/* ---- idle sources and sleep ---- */

/* Looks at the parked sources and the wake-up descriptor, waiting at most so long; returns the number of events. */
static int look(struct worker *worker, struct epoll_event *events, uint64_t wait_ns)
{
	static const uint64_t FOREVER_NS = 3600 * CLOCK_NS_PER_S;

	if (wait_ns == 0)
		return epoll_wait(worker->epoll_fd, events, EVENTS_PER_LOOK, 0);
	if (wait_ns > FOREVER_NS)
		wait_ns = FOREVER_NS;
	struct timespec timeout = { (time_t)(wait_ns / CLOCK_NS_PER_S), (long)(wait_ns % CLOCK_NS_PER_S) };
	int found = epoll_pwait2(worker->epoll_fd, events, EVENTS_PER_LOOK, &timeout, NULL);
	if (found < 0 && errno == ENOSYS) /* Linux before 5.11, user-mode emulation */
		found = epoll_wait(worker->epoll_fd, events, EVENTS_PER_LOOK,
				   (int)((wait_ns + CLOCK_NS_PER_MS - 1) / CLOCK_NS_PER_MS));
	return found;
}

static void handle(struct worker *worker, const struct epoll_event *events, int found)
{
	eventfd_t value;

	for (int i = 0; i < found; i++) {
		if (events[i].data.ptr)
			unpark(worker, events[i].data.ptr, events[i].events);
		else
			eventfd_read(worker->wake_fd, &value);
	}
	worker->watched_ns = worker->now_ns;
}

/* Sources without a descriptor stay: nobody wakes us for them while we are awake. */
static void park_idle(struct worker *worker)
{
	uint64_t limit = policies[worker->workers->policy].park_ns;

	worker->parked_check_ns = worker->now_ns;
	for (uint32_t i = worker->polled.count; i-- > 0;) {
		struct slot *slot = worker->polled.slots[i];
		if (slot->source->fd >= 0 && !slot->timed && worker->now_ns - slot->worked_ns >= limit)
			slot_arm(worker, slot);
	}
}

/* False if one of them has work. *ret_timed: some must be polled by timer. */
static bool arm_all(struct worker *worker, bool *ret_timed)
{
	for (uint32_t i = worker->polled.count; i-- > 0;) { /* downward: arming may take the i-th out */
		int status = slot_arm(worker, worker->polled.slots[i]);
		if (status > 0)
			return false;
		if (status < 0)
			*ret_timed = true;
	}
	return true;
}

/* How long nothing is due; 0 = something is. */
static uint64_t spare_time(struct worker *worker, bool timed)
{
	uint64_t due = worker->tick_due_ns;

	if (worker->tick_owed && due > worker->ticked_ns + TICK_NS)
		due = worker->ticked_ns + TICK_NS;
	if (timed) {
		uint64_t last = policies[worker->workers->policy].back_off_last_ns;
		if (due > worker->now_ns + worker->back_off_ns)
			due = worker->now_ns + worker->back_off_ns;
		worker->back_off_ns = worker->back_off_ns * 2 < last ? worker->back_off_ns * 2 : last;
	}
	return due > worker->now_ns ? due - worker->now_ns : 0;
}

/* See DESIGN.md, "Falling asleep", for the order of these steps. */
static void worker_sleep(struct worker *worker)
{
	struct rte_rcu_qsbr *qsbr = worker->workers->qsbr;
	struct epoll_event events[EVENTS_PER_LOOK];
	bool timed = false;
	int found = 0;

	atomic_store_explicit(&worker->state, WORKER_SLEEPING, memory_order_relaxed);
	full_fence();
	if (arm_all(worker, &timed) && !atomic_load_explicit(&worker->inbox, memory_order_relaxed) &&
	    !atomic_load_explicit(&worker->stop, memory_order_relaxed)) {
		uint64_t spare = spare_time(worker, timed);
		if (spare > 0) {
			count(&worker->counters.sleeps, 1);
			rte_rcu_qsbr_thread_offline(qsbr, worker->index);
			found = look(worker, events, spare);
			rte_rcu_qsbr_thread_online(qsbr, worker->index);
			if (found > 0)
				count(&worker->counters.wakeups, 1);
		}
	}
	atomic_store_explicit(&worker->state, WORKER_AWAKE, memory_order_relaxed);
	worker->round_cycles = worker->clock_cycles = rte_rdtsc();
	worker->now_ns = clock_ns();
	handle(worker, events, found);
	for (uint32_t i = 0; i < worker->polled.count; i++)
		slot_disarm(worker->polled.slots[i]);
}

/* Whether sources have ticked: what they have given others to do wants a round. */
static bool housekeeping(struct worker *worker)
{
	struct epoll_event events[EVENTS_PER_LOOK];
	uint64_t now = worker->now_ns;
	bool ticked = now >= worker->tick_due_ns || (worker->tick_owed && now - worker->ticked_ns >= TICK_NS);

	if (ticked)
		run_ticks(worker);
	if (worker->parked > 0 && now - worker->watched_ns >= WATCH_NS)
		handle(worker, events, look(worker, events, 0));
	if (policies[worker->workers->policy].sleeps && now - worker->parked_check_ns >= PARK_CHECK_NS)
		park_idle(worker);
	return ticked;
}

static void worker_run(struct worker *worker)
{
	bool sleeps = policies[worker->workers->policy].sleeps;
	uint64_t patience = policies[worker->workers->policy].patience_ns;

	while (!atomic_load_explicit(&worker->stop, memory_order_relaxed)) {
		bool worked = round_run(worker), ticked = housekeeping(worker);
		if (!worked && !ticked && sleeps && worker->now_ns - worker->worked_ns >= patience)
			worker_sleep(worker);
	}
	run_messages(worker);
}

/* ---- the thread ---- */

static void calibrate(struct worker *worker)
{
	uint64_t cycles = rte_rdtsc(), start = clock_ns(), now;

	do
		now = clock_ns();
	while (now - start < 20 * CLOCK_NS_PER_US);
	worker->start_ns = start;
	worker->start_cycles = cycles;
	worker->clock_period = (rte_rdtsc() - cycles) * CLOCK_NS / (now - start);
	worker->now_ns = worker->worked_ns = worker->ticked_ns = now;
	worker->round_cycles = worker->clock_cycles = rte_rdtsc();
}

static int thread_prepare(struct worker *worker)
{
	if (worker->cpu >= 0) {
		cpu_set_t set;
		CPU_ZERO(&set);
		CPU_SET(worker->cpu, &set);
		int status = -pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
		if (status < 0)
			return status;
	}
	prctl(PR_SET_TIMERSLACK, 1000UL); /* sleeps are as short as 50 µs; the default slack is as much again */
	if (eal_started()) {
		if (rte_thread_register() < 0)
			return -rte_errno;
		worker->registered = true;
	}
	worker->back_off_ns = policies[worker->workers->policy].back_off_first_ns;
	calibrate(worker);
	return 0;
}

void *worker_thread(void *arg)
{
	struct worker *worker = arg;

	worker->start_status = thread_prepare(worker);
	int status = worker->start_status;
	if (status == 0)
		rte_rcu_qsbr_thread_online(worker->workers->qsbr, worker->index);
	sem_post(&worker->started);
	if (status < 0)
		return NULL;
	worker_run(worker);
	rte_rcu_qsbr_thread_offline(worker->workers->qsbr, worker->index);
	if (worker->registered)
		rte_thread_unregister();
	return NULL;
}
