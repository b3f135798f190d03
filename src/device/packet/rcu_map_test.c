/* SPDX-License-Identifier: BSD-3-Clause */
/* The RCU map against a plain array as model, and with readers at work while the writer changes it (run it under
 * ThreadSanitizer, too). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "device/packet/rcu_map.h"

enum { KEYS = 3000 };

static uint64_t random_state = 88172645463325252;

static uint64_t random64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Retired memory, given back at the end or by the tests' own grace periods. */
struct graveyard {
	void **memory;
	size_t count, room;
};

static void bury(void *ctx, void (*free_fn)(void *), void *memory)
{
	struct graveyard *graves = ctx;

	assert_ptr_equal(free_fn, free);
	if (graves->count == graves->room) {
		graves->room = graves->room ? graves->room * 2 : 64;
		graves->memory = realloc(graves->memory, graves->room * sizeof(void *));
	}
	graves->memory[graves->count++] = memory;
}

static void graves_empty(struct graveyard *graves)
{
	for (size_t i = 0; i < graves->count; i++)
		free(graves->memory[i]);
	graves->count = 0;
}

static void graves_fini(struct graveyard *graves)
{
	graves_empty(graves);
	free(graves->memory);
}

static void make_key(uint32_t number, uint8_t key[17])
{
	memset(key, 0x5a, 17);
	memcpy(key + 13, &number, 4);
}

static void *value_of(uint64_t number)
{
	return (void *)(uintptr_t)(number * 16 + 16);
}

static int sum_values(void *arg, const void *key, void *value)
{
	*(uint64_t *)arg += (uintptr_t)value;
	return 0;
}

static void behaves_like_the_model(void **state)
{
	struct graveyard graves = { 0 };
	struct rcu_map *map;
	void *model[KEYS] = { 0 };
	size_t count = 0;
	uint8_t key[17];

	assert_int_equal(rcu_map_new(sizeof(key), bury, &graves, &map), 0);
	for (unsigned step = 0; step < 200000; step++) {
		uint32_t number = random64() % KEYS;
		/* Growing, then shrinking, then growing periods. */
		bool growing = step / 20000 % 2 == 0;
		void *old = (void *)1;

		make_key(number, key);
		assert_ptr_equal(rcu_map_find(map, key), model[number]);
		if (random64() % 4 < (growing ? 3 : 1)) {
			void *value = value_of(random64() % 1000000);
			assert_int_equal(rcu_map_set(map, key, value, step & 1 ? &old : NULL), 0);
			if (step & 1)
				assert_ptr_equal(old, model[number]);
			count += !model[number];
			model[number] = value;
		} else {
			assert_ptr_equal(rcu_map_remove(map, key), model[number]);
			count -= !!model[number];
			model[number] = NULL;
		}
		assert_int_equal(rcu_map_count(map), count);
	}
	uint64_t sum = 0, expected = 0;
	for (unsigned i = 0; i < KEYS; i++) {
		make_key(i, key);
		assert_ptr_equal(rcu_map_find(map, key), model[i]);
		expected += (uintptr_t)model[i];
	}
	assert_int_equal(rcu_map_each(map, sum_values, &sum), 0);
	assert_int_equal(sum, expected);
	rcu_map_free(map);
	graves_fini(&graves);
}

static int remove_odd(void *arg, const void *key, void *value)
{
	if ((uintptr_t)value / 16 % 2)
		assert_ptr_equal(rcu_map_remove(arg, key), value);
	return 0;
}

static int stop_at_third(void *arg, const void *key, void *value)
{
	return ++*(int *)arg == 3 ? -7 : 0;
}

static void each_may_remove_and_stop(void **state)
{
	struct rcu_map *map;
	int calls = 0;

	assert_int_equal(rcu_map_new(sizeof(uint32_t), NULL, NULL, &map), 0);
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(rcu_map_set(map, &i, value_of(i), NULL), 0);
	assert_int_equal(rcu_map_each(map, stop_at_third, &calls), -7);
	assert_int_equal(calls, 3);
	assert_int_equal(rcu_map_each(map, remove_odd, map), 0);
	assert_int_equal(rcu_map_count(map), 500);
	for (uint32_t i = 0; i < 1000; i++)
		assert_ptr_equal(rcu_map_find(map, &i), i % 2 ? value_of(i) : NULL);
	rcu_map_free(map);
}

static void refuses_impossible_keys(void **state)
{
	struct rcu_map *map = NULL;

	assert_int_equal(rcu_map_new(0, NULL, NULL, &map), -EINVAL);
	assert_int_equal(rcu_map_new(257, NULL, NULL, &map), -EINVAL);
	assert_null(map);
}

/* ---- readers beside the writer ---- */

enum { STABLE = 500, CHANGING = 3000, READERS = 2 };

struct readers {
	struct rcu_map *map;
	_Atomic bool stop;
	_Atomic uint64_t rounds[READERS]; /* a quiescent state each */
	_Atomic uint64_t errors;
	_Atomic unsigned next;
};

static void *reader(void *arg)
{
	struct readers *readers = arg;
	unsigned self = atomic_fetch_add(&readers->next, 1);

	while (!atomic_load(&readers->stop)) {
		for (uint32_t i = 0; i < STABLE + CHANGING; i++) {
			const uint64_t *value = rcu_map_find(readers->map, &i);

			/* Stable keys are always there, with a value that belongs to the key. */
			if ((i < STABLE && !value) || (value && *value != i))
				atomic_fetch_add(&readers->errors, 1);
			if (i % 64 == 0)
				atomic_fetch_add(&readers->rounds[self], 1);
		}
	}
	atomic_store(&readers->rounds[self], UINT64_MAX);
	return NULL;
}

/* Waits until both readers have passed a quiescent state. */
static void grace_period(struct readers *readers)
{
	for (unsigned i = 0; i < READERS; i++) {
		uint64_t seen = atomic_load(&readers->rounds[i]);

		while (atomic_load(&readers->rounds[i]) == seen && seen != UINT64_MAX)
			;
	}
}

static uint64_t *boxed(uint64_t number)
{
	uint64_t *box = malloc(sizeof(*box));

	*box = number;
	return box;
}

static void change(struct readers *readers, struct graveyard *graves, uint32_t key)
{
	void *old = NULL;

	if (random64() % 3)
		assert_int_equal(rcu_map_set(readers->map, &key, boxed(key), &old), 0);
	else if (key >= STABLE)
		old = rcu_map_remove(readers->map, &key);
	if (old)
		bury(graves, free, old);
}

static int free_value(void *arg, const void *key, void *value)
{
	free(value);
	return 0;
}

static void readers_never_miss_what_stays(void **state)
{
	struct graveyard graves = { 0 };
	struct readers readers = { 0 };
	pthread_t threads[READERS];

	assert_int_equal(rcu_map_new(sizeof(uint32_t), bury, &graves, &readers.map), 0);
	for (uint32_t i = 0; i < STABLE; i++)
		assert_int_equal(rcu_map_set(readers.map, &i, boxed(i), NULL), 0);
	for (unsigned i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reader, &readers), 0);
	for (unsigned step = 0; step < 60000; step++) {
		change(&readers, &graves, random64() % (STABLE + CHANGING));
		if (graves.count > 5000) {
			grace_period(&readers);
			graves_empty(&graves);
		}
	}
	atomic_store(&readers.stop, true);
	for (unsigned i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&readers.errors), 0);
	rcu_map_each(readers.map, free_value, NULL);
	rcu_map_free(readers.map);
	graves_fini(&graves);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(behaves_like_the_model),
		cmocka_unit_test(each_may_remove_and_stop),
		cmocka_unit_test(refuses_impossible_keys),
		cmocka_unit_test(readers_never_miss_what_stays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
