// SPDX-License-Identifier: BSD-3-Clause
/* The stage of the tests of remote namespaces as objects. */
#include "service/nvmf/remote/nvmf_remote_rig.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include "service/nvmf/remote/nvmf_remote_priv.h"

/* ---- the house ---- */

static struct {
	pthread_t thread;
	struct uring *uring;
	struct stream_group *streams;
	struct fake_target target;
	void (*_Atomic ask)(struct fake_target *target);
	_Atomic bool stop;
} house;

static void *house_run(void *arg)
{
	while (!house.stop || house.target.open > 0 || uring_under_way(house.uring) > 0) {
		void (*ask)(struct fake_target * target) = house.ask;

		if (ask) {
			ask(&house.target);
			house.ask = NULL;
		}
		if (uring_poll(house.uring) == 0)
			usleep(200);
	}
	return NULL;
}

void house_ask(void (*what)(struct fake_target *target))
{
	house.ask = what;
	while (house.ask)
		usleep(100);
}

void house_open(void)
{
	memset(&house, 0, sizeof(house));
	assert_int_equal(uring_new(256, &house.uring, NULL), 0);
	assert_int_equal(stream_group_new(&(struct stream_group_options){ .uring = house.uring }, &house.streams, NULL),
			 0);
	fake_open(&house.target, house.streams, HOUSE_BYTES, 12);
	pthread_create(&house.thread, NULL, house_run, NULL);
}

void house_close(void)
{
	house_ask(fake_close);
	house.stop = true;
	pthread_join(house.thread, NULL);
	fake_free(&house.target);
	stream_group_free(house.streams);
	uring_free(house.uring);
}

void house_drop(struct fake_target *target)
{
	fake_drop(target, 0);
	fake_drop(target, 1);
}

unsigned house_port(unsigned index)
{
	return ntohs(house.target.ports[index].address.sin_port);
}

/* ---- the DPU ---- */

const struct service *const remote_rig_services[] = { &block_service, &nvmf_service, &nvmf_remote_service, NULL };

void remote_rig_open(struct block_rig *rig)
{
	house_open();
	block_rig_new(rig, 2, remote_rig_services);
	block_rig_apply(rig,
			"{'tenants': [{'name': 'blue'}], 'nvmf_remotes': [{'name': 'r', 'addresses': ['127.0.0.1:%u', "
			"'127.0.0.1:%u'], 'nqn': 'nqn.2026-01.test:s', 'keep_alive': 1000, 'quiesce': 100}]}",
			house_port(0), house_port(1));
}

void remote_rig_close(struct block_rig *rig)
{
	block_rig_free(rig);
	house_close();
}

bool field_is(struct block_rig *rig, const char *class_name, const char *name, const char *field, const char *value)
{
	return strcmp(block_rig_field(rig, class_name, name, field), value) == 0;
}

void io_check(struct block_rig_user *user, uint8_t value)
{
	static uint8_t data[65536], back[65536];

	memset(data, value, sizeof(data));
	assert_int_equal(block_rig_io(user, DPU_BLOCK_WRITE, 8192, data, sizeof(data), 0), DPU_BLOCK_OK);
	assert_int_equal(block_rig_io(user, DPU_BLOCK_READ, 8192, back, sizeof(back), 0), DPU_BLOCK_OK);
	assert_memory_equal(data, back, sizeof(data));
}
