// SPDX-License-Identifier: BSD-3-Clause
/* Tests of attachments: users that come and go while what is below them changes. */
#include <stdlib.h>
#include "service/block/block_rig.h"

enum { ROUNDS = 50 };

static struct block_backing *backing_of(struct block_rig *rig, const char *class_name, const char *name)
{
	return block_rig_find(rig, class_name, name)->runtime;
}

/* Tells of a change in every round of the worker, as a volume does that is resized for ever. */
struct restless {
	struct worker_source source; /* first */
	struct dpu_block_device *device;
};

static unsigned restless_poll(struct worker_source *source, struct worker *worker)
{
	struct dpu_block_device *device = ((struct restless *)source)->device;

	(void)worker;
	device->changed(device->changed_ctx);
	return 1;
}

static void changes_while_users_go(void **state)
{
	struct block_rig *rig = *state;
	struct block_backing *backing = backing_of(rig, "volume", "v");
	struct restless restless = { .source = { .poll = restless_poll, .fd = -1, .name = "restless" },
				     .device = backing->device };
	unsigned home = worker_index(backing->worker);

	assert_int_equal(worker_add_source(backing->worker, &restless.source), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct block_rig_user here, away;
		block_rig_attach(&here, rig, "volume", "v", NULL);
		block_rig_attach(&away, rig, "volume", "v", workers_get(rig->base.workers, !home));
		WAIT_FOR(&rig->base, here.device && away.device && atomic_load(&away.changes) > 0);
		block_rig_detach(&away);
		block_rig_detach(&here);
	}
	remove_and_wait(&rig->base, home, &restless.source);
}

static int setup(void **state)
{
	struct block_rig *rig = malloc(sizeof(*rig));

	block_rig_new(rig, 2, NULL);
	block_rig_apply(rig,
			"{'tenants': [{'name': 'blue'}], 'media': [{'name': 'r', 'kind': 'ram', 'size': 67108864}],"
			" 'pools': [{'name': 'p', 'media': ['r']}],"
			" 'volumes': [{'name': 'v', 'tenant': 'blue', 'pool': 'p', 'size': 16777216}]}");
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	block_rig_free(*state);
	free(*state);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(changes_while_users_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
