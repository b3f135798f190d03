/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the rings between workers. Packets are numbers here: the rings never look at them. */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include "operating/handoff.h"
#include "operating/test_rig.h"

enum { WORKERS = 3, ITEMS = 20000 };

struct sender {
	struct worker_source source;
	struct mesh *mesh;
	unsigned index;
	uint64_t next[WORKERS]; /* number of the next item for each */
	_Atomic uint64_t refused;
};

struct mesh {
	struct handoff *handoff;
	struct sender senders[WORKERS];
	uint64_t expected[WORKERS][WORKERS]; /* [to][from], touched by `to` alone */
	_Atomic uint64_t received[WORKERS], wrong;
	_Atomic uint64_t goal; /* items for each pair so far */
};

/* Sends in little bursts, then rests, so that everybody falls asleep all the time. */
static unsigned send_some(struct worker_source *source, struct worker *worker)
{
	struct sender *sender = (struct sender *)source;
	struct mesh *mesh = sender->mesh;
	uint64_t goal = atomic_load_explicit(&mesh->goal, memory_order_relaxed);
	unsigned sent = 0;

	for (unsigned to = 0; to < WORKERS; to++) {
		for (unsigned i = 0; i < 5 && to != sender->index && sender->next[to] < goal; i++) {
			uint64_t *packet = malloc(sizeof(*packet));
			*packet = sender->next[to] ^ (uint64_t)sender->index << 32;
			if (!handoff_send(mesh->handoff, sender->index, to, (struct rte_mbuf *)packet, sender->index)) {
				atomic_fetch_add(&sender->refused, 1);
				free(packet);
				break;
			}
			sender->next[to]++;
			sent++;
		}
	}
	return sent;
}

static int send_arm(struct worker_source *source)
{
	struct sender *sender = (struct sender *)source;

	for (unsigned to = 0; to < WORKERS; to++)
		if (to != sender->index && sender->next[to] < atomic_load(&sender->mesh->goal))
			return 1;
	return 0;
}

static void receive(void *ctx, struct worker *worker, const struct handoff_item *items, unsigned count)
{
	struct mesh *mesh = ctx;
	unsigned to = worker_index(worker);

	for (unsigned i = 0; i < count; i++) {
		uint64_t *packet = (uint64_t *)items[i].m;
		uint64_t from = items[i].tag;
		if (from >= WORKERS || *packet != (mesh->expected[to][from]++ ^ from << 32))
			atomic_fetch_add(&mesh->wrong, 1);
		free(packet);
	}
	atomic_fetch_add(&mesh->received[to], count);
}

static unsigned discarded;

static void discard(struct rte_mbuf *m)
{
	discarded++;
	free(m);
}

static void mesh_up(struct rig *rig, struct mesh *mesh, unsigned size)
{
	struct dpu_error err;

	memset(mesh, 0, sizeof(*mesh));
	rig_up(rig, WORKERS, WORKER_POWER_SAVE);
	struct handoff_options options = {
		.workers = rig->workers, .size = size, .receive = receive, .discard = discard, .ctx = mesh
	};
	assert_int_equal(handoff_new(&options, &mesh->handoff, &err), 0);
}

static void add_senders(struct rig *rig, struct mesh *mesh)
{
	for (unsigned i = 0; i < WORKERS; i++) {
		mesh->senders[i].source =
			(struct worker_source){ .poll = send_some, .arm = send_arm, .fd = -1, .name = "sender" };
		mesh->senders[i].mesh = mesh;
		mesh->senders[i].index = i;
		assert_int_equal(worker_add_source(workers_get(rig->workers, i), &mesh->senders[i].source), 0);
	}
}

static bool all_received(struct mesh *mesh, uint64_t each)
{
	for (unsigned i = 0; i < WORKERS; i++)
		if (atomic_load(&mesh->received[i]) != each)
			return false;
	return true;
}

static void mesh_down(struct rig *rig, struct mesh *mesh)
{
	atomic_bool freed = false;

	handoff_free(mesh->handoff, set_flag, &freed);
	WAIT_FOR(rig, atomic_load(&freed));
	rig_down(rig);
}

/* Every worker sends to every other in many short bursts with sleep in between; nothing is lost, doubled or reordered.
 */
static void all_to_all(void **state)
{
	static struct mesh mesh;
	struct rig rig;

	mesh_up(&rig, &mesh, 32); /* small, so that it is full now and then */
	add_senders(&rig, &mesh);
	for (uint64_t goal = 0; goal < ITEMS;) {
		goal += goal % 3 == 0 ? 1 : 97;
		atomic_store(&mesh.goal, goal);
		for (unsigned i = 0; i < WORKERS; i++)
			worker_wake(workers_get(rig.workers, i));
		if (goal % 5 == 0) /* now and then until all sleep */
			WAIT_FOR(&rig, all_received(&mesh, goal * (WORKERS - 1)));
	}
	WAIT_FOR(&rig, all_received(&mesh, atomic_load(&mesh.goal) * (WORKERS - 1)));
	assert_int_equal(atomic_load(&mesh.wrong), 0);
	for (unsigned i = 0; i < WORKERS; i++)
		remove_and_wait(&rig, i, &mesh.senders[i].source);
	discarded = 0;
	mesh_down(&rig, &mesh);
	assert_int_equal(discarded, 0);
}

struct single {
	struct mesh *mesh;
	unsigned count, accepted;
};

static void send_single(void *arg, struct worker *worker)
{
	struct single *single = arg;

	for (unsigned i = 0; i < single->count; i++) {
		uint64_t *packet = malloc(sizeof(*packet));
		*packet = single->accepted;
		if (handoff_send(single->mesh->handoff, 0, 1, (struct rte_mbuf *)packet, 0))
			single->accepted++;
		else
			free(packet);
	}
}

static void nothing(void *arg, struct worker *worker)
{
}

struct gate {
	atomic_bool entered, open;
};

static void wait_at_gate(void *arg, struct worker *worker)
{
	struct gate *gate = arg;

	atomic_store(&gate->entered, true);
	while (!atomic_load(&gate->open))
		sched_yield();
}

/* A ring takes exactly its size while the receiver is held up, and works on afterwards. */
static void full_ring(void **state)
{
	static struct mesh mesh;
	struct rig rig;
	struct gate gate = { 0 };
	struct single single = { .mesh = &mesh, .count = 100 };

	mesh_up(&rig, &mesh, 64);
	assert_int_equal(worker_call(workers_get(rig.workers, 1), wait_at_gate, &gate, NULL), 0);
	WAIT_FOR(&rig, atomic_load(&gate.entered));
	assert_int_equal(worker_call(workers_get(rig.workers, 0), send_single, &single, NULL), 0);
	atomic_bool passed = false;
	assert_int_equal(worker_call(workers_get(rig.workers, 0), nothing, &passed, set_flag), 0);
	WAIT_FOR(&rig, atomic_load(&passed));
	assert_int_equal(single.accepted, 64);
	atomic_store(&gate.open, true);
	WAIT_FOR(&rig, atomic_load(&mesh.received[1]) == 64);
	assert_int_equal(atomic_load(&mesh.wrong), 0);
	mesh_down(&rig, &mesh);
}

/* What is still in a ring when it is freed is discarded, not leaked. */
static void freed_with_packets(void **state)
{
	static struct mesh mesh;
	struct rig rig;
	struct gate gate = { 0 };
	struct single single = { .mesh = &mesh, .count = 40 };
	atomic_bool passed = false, freed = false;

	discarded = 0;
	mesh_up(&rig, &mesh, 64);
	assert_int_equal(worker_call(workers_get(rig.workers, 1), wait_at_gate, &gate, NULL), 0);
	WAIT_FOR(&rig, atomic_load(&gate.entered));
	assert_int_equal(worker_call(workers_get(rig.workers, 0), send_single, &single, NULL), 0);
	assert_int_equal(worker_call(workers_get(rig.workers, 0), nothing, &passed, set_flag), 0);
	WAIT_FOR(&rig, atomic_load(&passed));
	handoff_free(mesh.handoff, set_flag, &freed); /* the source leaves before it polls again */
	atomic_store(&gate.open, true);
	WAIT_FOR(&rig, atomic_load(&freed));
	rig_down(&rig);
	assert_int_equal(discarded + atomic_load(&mesh.received[1]), 40);
	assert_true(discarded > 0);
}

static void wrong_sizes(void **state)
{
	static const unsigned sizes[] = { 1, 31, 33, 100, 1u << 21, UINT32_MAX };
	struct rig rig;

	rig_up(&rig, 1, WORKER_BALANCED);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct handoff_options options = { .workers = rig.workers, .size = sizes[i], .receive = receive };
		struct handoff *handoff = NULL;
		struct dpu_error err = { 0 };
		assert_true(handoff_new(&options, &handoff, &err) < 0);
		assert_null(handoff);
		assert_string_equal(err.path, "size");
	}
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_to_all),
		cmocka_unit_test(full_ring),
		cmocka_unit_test(freed_with_packets),
		cmocka_unit_test(wrong_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
