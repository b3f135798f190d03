/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of session tables share: random numbers, keys, a file name that is nobody else's. */
#pragma once

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>
#include "device/packet/session.h"

enum { TEST_SEED = 0x1234567 };

struct random {
	uint64_t state;
};

static inline uint64_t random64(struct random *random)
{
	random->state ^= random->state << 13;
	random->state ^= random->state >> 7;
	random->state ^= random->state << 17;
	return random->state * UINT64_C(0x2545f4914f6cdd1d);
}

/* Flow number n, from client to server. */
static inline struct flow_key test_key(uint32_t n, bool v6, uint8_t proto)
{
	struct flow_key key = { 0 };

	if (v6) {
		key.v6.src[0] = key.v6.dst[0] = 0xfd;
		key.v6.dst[15] = 1;
		memcpy(&key.v6.src[8], &n, sizeof(n));
	} else {
		key.v4.src = rte_cpu_to_be_32(0x0a000000 + (n & 0xffffff));
		key.v4.dst = rte_cpu_to_be_32(0x0a800001);
	}
	key.src_port = rte_cpu_to_be_16(1024 + (n >> 24));
	key.dst_port = rte_cpu_to_be_16(443);
	key.vpc = 3;
	key.flags = v6 ? FLOW_KEY_F_V6 : 0;
	key.proto = proto;
	return key;
}

/* Emulators of Linux may take the advice and do nothing, where the kernel populates or refuses: it cannot write to this
 * page. */
static inline bool test_populate_works(void)
{
	void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool taken = madvise(page, 4096, MADV_POPULATE_WRITE) == 0;

	munmap(page, 4096);
	if (taken)
		printf("skipped: madvise(MADV_POPULATE_WRITE) does nothing here\n");
	return !taken;
}

static inline void test_path(char *buf, size_t size, const char *name)
{
	const char *folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(buf, size, "%s/softdpu-test-%d-%s", folder, (int)getpid(), name);
}

/* An action whose fields all follow from n, so that a torn record shows. */
static inline struct session_dir test_action(uint32_t n)
{
	struct session_dir action = { 0 };

	action.in_iface = n;
	action.out_iface = n * 3;
	action.epoch = 1;
	action.ops = SESSION_OP_SET_MACS;
	action.mtu = n * 5;
	action.tunnel = n * 7;
	memcpy(action.dst_mac, &n, sizeof(n));
	memcpy(action.src_mac, &n, sizeof(n));
	return action;
}

static inline bool test_action_is(const struct session_dir *dir, uint32_t n)
{
	return dir->in_iface == (uint16_t)n && dir->out_iface == (uint16_t)(n * 3) && dir->ops == SESSION_OP_SET_MACS &&
	       dir->mtu == (uint16_t)(n * 5) && dir->tunnel == n * 7 && memcmp(dir->dst_mac, &n, sizeof(n)) == 0 &&
	       memcmp(dir->src_mac, &n, sizeof(n)) == 0;
}

/* Inserts flow n, live, with its actions; NULL when the table is full. */
static inline struct session *test_insert(struct session_table *table, uint32_t n, bool v6, session_tick_t now,
					  uint32_t timeout)
{
	struct flow_key key = test_key(n, v6, IPPROTO_UDP);
	struct session_dir action = test_action(n);
	struct session *session = session_new(table, &key, flow_key_hash(&key, session_table_seed(table)), now);

	if (!session)
		return NULL;
	session_set_action(session, 0, &action);
	session_set_action(session, 1, &action);
	session->spare[0] = n;
	session_publish(table, session, timeout);
	return session;
}

static inline struct session *test_find(struct session_table *table, uint32_t n, bool v6, unsigned *ret_direction)
{
	struct flow_key key = test_key(n, v6, IPPROTO_UDP);

	return session_find(table, &key, flow_key_hash(&key, session_table_seed(table)), ret_direction);
}
