/* SPDX-License-Identifier: BSD-3-Clause */
/* The stage of the initiator's tests: a remote namespace and its target in one thread, and requests that are checked
 * against a model of what it holds. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/clock.h"
#include "service/nvmf/initiator/fake_target.h"
#include "service/nvmf/initiator/initiator.h"

enum { BYTES = 4 << 20, SLOTS = 24, SLOT_BYTES = 192 << 10 };

extern struct uring *uring;
extern struct stream_group *streams;
extern struct fake_target target;
extern struct remote *remote; /* NULL: not open */
extern struct dpu_block_device *device;
extern struct remote_options options; /* stage() fills them in */
extern const struct remote_events events;
extern unsigned ups, gones, losses, changes; /* since stage() */
extern unsigned failures;                    /* of load() */
extern uint64_t ahead_ns;                    /* the remote's clock goes ahead of ours; its own time-outs come at once */
extern unsigned expected_digest_errors;      /* that the target has found when unstage() looks */
extern char last_why[REMOTE_WHY_BYTES];      /* a path was lost */

/* shift: of the target's blocks. */
void stage(unsigned shift);
void remote_open(void);
void unstage(void);
void step(void);
void run_ms(unsigned ms);
/* For 20 ms the remote's clock stands so much after a time. */
void clock_stands(uint64_t since_ns, unsigned ms);
unsigned live_paths(void);
void on_flag(void *arg); /* sets a bool */
unsigned roll(unsigned below);

#define wait_for(condition)                                                                                            \
	do {                                                                                                           \
		for (uint64_t end_ = clock_ns() + 5 * CLOCK_NS_PER_S; !(condition) && clock_ns() < end_;)              \
			step();                                                                                        \
		if (!(condition))                                                                                      \
			print_error("paths: %s\n", last_why);                                                          \
		assert_true(condition);                                                                                \
	} while (0)

struct slot {
	struct dpu_block_request request; /* first */
	struct iovec iov[3];
	uint8_t *memory;
	uint32_t crc[SLOT_BYTES / DPU_BLOCK_BYTES];
	bool busy;
	unsigned done;
};

void fill(struct slot *slot, uint64_t length, uint8_t value);
void submit(struct slot *slot, enum dpu_block_op op, uint64_t offset, uint64_t length, uint8_t flags);
/* Of what is in its memory. */
void crcs_make(struct slot *slot, uint64_t length);
/* … and waits for it; returns its status. */
uint8_t run(struct slot *slot, enum dpu_block_op op, uint64_t offset, uint64_t length, uint8_t flags);
/* Load until `count` requests are done; `disturb` is called now and then. */
void load(unsigned count, void (*disturb)(unsigned at));
