// SPDX-License-Identifier: BSD-3-Clause
/* Who gets memory, who waits, and for whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include "base/clock.h"
#include "device/nvme/nvme_buffer.h"

enum { KIB = 1 << 10, MIB = 1 << 20 };

static bool no_memory;

void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
	return no_memory ? NULL : __real_aligned_alloc(alignment, bytes);
}

struct wait {
	struct nvme_waiter waiter;
	struct nvme_buffer *buffer;
};

static void ready(struct nvme_waiter *waiter, struct nvme_buffer *buffer)
{
	((struct wait *)waiter)->buffer = buffer;
}

static void wait_for(struct nvme_account *account, struct wait *wait, size_t bytes, enum nvme_buffer_use use)
{
	assert_null(nvme_buffer_get(account, bytes, use));
	*wait = (struct wait){ .waiter = { .ready = ready } };
	nvme_buffer_wait(account, &wait->waiter, bytes, use);
}

static struct nvme_pool *pool_new(uint64_t bytes, uint64_t floor_bytes)
{
	return nvme_pool_new(&(struct nvme_pool_options){ .bytes = bytes, .floor_bytes = floor_bytes });
}

/* One that is long is not passed for ever by short ones that fit. */
static void test_long_is_served(void **state)
{
	struct nvme_pool *pool = pool_new(64 * MIB, 0);
	struct nvme_buffer *buffers[256], *more[256];
	struct nvme_account account;
	struct nvme_tenant tenant;
	struct wait large, small;

	nvme_tenant_init(&tenant, pool);
	nvme_account_init(&account, pool, &tenant, MIB);
	for (unsigned i = 0; i < 256; i++)
		assert_non_null(buffers[i] = nvme_buffer_get(&account, 4 * KIB, NVME_BUFFER_DIRECT));
	wait_for(&account, &large, 512 * KIB, NVME_BUFFER_DIRECT);
	for (unsigned i = 0; i < 128; i++) {
		assert_null(large.buffer);
		nvme_buffer_put(buffers[i]);
		if (i < 127) /* a newcomer, where there is room for it */
			assert_null(nvme_buffer_get(&account, 4 * KIB, NVME_BUFFER_DIRECT));
	}
	assert_non_null(large.buffer);
	wait_for(&account, &small, 4 * KIB, NVME_BUFFER_DIRECT);
	nvme_buffer_put(large.buffer);
	assert_non_null(small.buffer);
	assert_non_null(more[0] = nvme_buffer_get(&account, 4 * KIB, NVME_BUFFER_DIRECT));
	nvme_buffer_put(more[0]);
	nvme_buffer_put(small.buffer);
	for (unsigned i = 128; i < 256; i++)
		nvme_buffer_put(buffers[i]);
	assert_int_equal(nvme_pool_used(pool), 0);
	nvme_pool_free(pool);
}

/* Asked ones leave a quarter; those who wait for more hold up nobody who needs nothing from a host. */
static void test_asked(void **state)
{
	struct nvme_pool *pool = pool_new(64 * MIB, 0);
	struct nvme_buffer *asked[3], *direct;
	struct nvme_account account;
	struct nvme_tenant tenant;
	struct wait fourth;

	nvme_tenant_init(&tenant, pool);
	nvme_account_init(&account, pool, &tenant, 4 * MIB);
	for (unsigned i = 0; i < 3; i++)
		assert_non_null(asked[i] = nvme_buffer_get(&account, MIB, NVME_BUFFER_ASKED));
	wait_for(&account, &fourth, MIB, NVME_BUFFER_ASKED);
	assert_non_null(direct = nvme_buffer_get(&account, 8 * KIB, NVME_BUFFER_DIRECT));
	nvme_buffer_landed(asked[0]); /* now it is the memory that is short */
	assert_null(fourth.buffer);
	assert_null(nvme_buffer_get(&account, 8 * KIB, NVME_BUFFER_DIRECT));
	nvme_buffer_put(direct);
	assert_non_null(fourth.buffer);
	for (unsigned i = 0; i < 3; i++)
		nvme_buffer_put(asked[i]);
	nvme_buffer_put(fourth.buffer);
	nvme_pool_free(pool);
}

/* A tenant that holds all it can get takes nothing of another's floor, and what they share is shared in turn. */
static void test_two_tenants(void **state)
{
	struct nvme_pool *pool = pool_new(8 * MIB, 2 * MIB);
	struct nvme_account account[2];
	struct nvme_tenant tenant[2];
	struct nvme_buffer *greedy[16], *poor[2], *none;
	struct wait large, other;
	unsigned got = 0;

	for (unsigned i = 0; i < 2; i++) {
		nvme_tenant_init(&tenant[i], pool);
		nvme_account_init(&account[i], pool, &tenant[i], 256 * MIB);
	}
	while ((none = nvme_buffer_get(&account[0], MIB, NVME_BUFFER_DIRECT)) != NULL)
		greedy[got++] = none;
	assert_int_equal(got, 10);
	for (unsigned i = 0; i < 2; i++)
		assert_non_null(poor[i] = nvme_buffer_get(&account[1], MIB, NVME_BUFFER_DIRECT));
	/* What is free next is that of who waits first, though another would need less. */
	wait_for(&account[1], &large, MIB, NVME_BUFFER_DIRECT);
	wait_for(&account[0], &other, 512 * KIB, NVME_BUFFER_DIRECT);
	nvme_buffer_put(greedy[--got]);
	assert_non_null(large.buffer);
	assert_null(other.buffer);
	nvme_buffer_put(large.buffer);
	assert_non_null(other.buffer);
	nvme_buffer_put(other.buffer);
	while (got > 0)
		nvme_buffer_put(greedy[--got]);
	/* Asked ones: three quarters of both. */
	while ((none = nvme_buffer_get(&account[0], 512 * KIB, NVME_BUFFER_ASKED)) != NULL)
		greedy[got++] = none;
	assert_int_equal(got, 15);
	assert_non_null(none = nvme_buffer_get(&account[0], MIB, NVME_BUFFER_DIRECT));
	nvme_buffer_put(none);
	while (got > 0)
		nvme_buffer_put(greedy[--got]);
	nvme_buffer_put(poor[0]);
	nvme_buffer_put(poor[1]);
	nvme_pool_free(pool);
}

/* Without a tenant there is the account's limit alone: of an admin queue. */
static void test_own(void **state)
{
	struct nvme_pool *pool = pool_new(MIB, MIB);
	struct nvme_account greedy, own;
	struct nvme_tenant tenant;
	struct nvme_buffer *all[2], *mine;

	nvme_tenant_init(&tenant, pool);
	nvme_account_init(&greedy, pool, &tenant, 256 * MIB);
	nvme_account_init(&own, pool, NULL, 16 * KIB);
	for (unsigned i = 0; i < 2; i++)
		assert_non_null(all[i] = nvme_buffer_get(&greedy, MIB, NVME_BUFFER_DIRECT));
	assert_null(nvme_buffer_get(&greedy, 4 * KIB, NVME_BUFFER_DIRECT));
	assert_non_null(mine = nvme_buffer_get(&own, 16 * KIB, NVME_BUFFER_DIRECT));
	assert_null(nvme_buffer_get(&own, 4 * KIB, NVME_BUFFER_DIRECT));
	nvme_buffer_put(mine);
	nvme_buffer_put(all[0]);
	nvme_buffer_put(all[1]);
	nvme_pool_free(pool);
}

/* The system has no memory: what is kept in other sizes is given back, and who waits all the same is tried again. */
static void test_no_memory(void **state)
{
	struct nvme_pool *pool = pool_new(4 * MIB, 0);
	struct nvme_account account;
	struct nvme_tenant tenant;
	struct nvme_buffer *kept;
	struct wait wait;

	nvme_tenant_init(&tenant, pool);
	nvme_account_init(&account, pool, &tenant, 4 * MIB);
	assert_non_null(kept = nvme_buffer_get(&account, MIB, NVME_BUFFER_DIRECT));
	nvme_buffer_put(kept);
	no_memory = true;
	wait_for(&account, &wait, 4 * KIB, NVME_BUFFER_DIRECT);
	assert_int_equal(nvme_pool_kept(pool), 0);
	assert_true(nvme_pool_tick(pool, 1) < CLOCK_NS_PER_S);
	assert_null(wait.buffer);
	no_memory = false;
	nvme_pool_tick(pool, 2);
	assert_non_null(wait.buffer);
	nvme_buffer_put(wait.buffer);
	nvme_pool_free(pool);
}

/* What nobody has needed for a while goes back to the system. */
static void test_trim(void **state)
{
	struct nvme_pool *pool = pool_new(4 * MIB, 0);
	struct nvme_account account;
	struct nvme_tenant tenant;
	struct nvme_buffer *two[2];

	nvme_tenant_init(&tenant, pool);
	nvme_account_init(&account, pool, &tenant, 4 * MIB);
	for (unsigned i = 0; i < 2; i++)
		two[i] = nvme_buffer_get(&account, MIB, NVME_BUFFER_DIRECT);
	nvme_buffer_put(two[0]);
	nvme_buffer_put(two[1]);
	assert_true(nvme_pool_tick(pool, CLOCK_NS_PER_S) <= CLOCK_NS_PER_S);
	nvme_buffer_put(nvme_buffer_get(&account, MIB, NVME_BUFFER_DIRECT)); /* one of two is in use */
	nvme_pool_tick(pool, 2 * CLOCK_NS_PER_S);
	assert_int_equal(nvme_pool_kept(pool), MIB);
	nvme_pool_tick(pool, 3 * CLOCK_NS_PER_S);
	assert_int_equal(nvme_pool_kept(pool), 0);
	assert_true(nvme_pool_tick(pool, 3 * CLOCK_NS_PER_S) == UINT64_MAX);
	nvme_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_long_is_served), cmocka_unit_test(test_asked),
		cmocka_unit_test(test_two_tenants),    cmocka_unit_test(test_own),
		cmocka_unit_test(test_no_memory),      cmocka_unit_test(test_trim),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
