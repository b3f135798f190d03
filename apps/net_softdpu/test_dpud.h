/* SPDX-License-Identifier: BSD-3-Clause */
/* A dpud of the tests' own, in a thread of theirs, which says what a test wants: true things, nonsense, or nothing. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <pthread.h>
#include <cmocka.h>
#include <unistd.h>
#include "dpu/eswitch_ring.h"

enum { PORT_NUMBER = 7, RULES = 1024, WORKERS = 2, RINGS = 4, COMMANDS = 64 };

enum fault {
	FAULT_NONE,
	FAULT_MAGIC,
	FAULT_STATES,   /* beyond the end */
	FAULT_COUNTERS, /* likewise */
	FAULT_COMMANDS, /* no power of two */
	FAULT_SMALL,    /* the memory is less than it says */
	FAULT_NO_FDS,
	FAULT_SHORT, /* half a message */
	FAULT_REFUSE,
	FAULT_PORT_SLOTS,
	FAULT_PORT_FDS,
	FAULT_HANG_UP,     /* instead of an answer */
	FAULT_DIE_AT_OPEN, /* instead of an answer to OPEN_PORT */
	FAULT_REFUSE_OPEN,
	FAULT_OTHER_NUMBER, /* of the representor */
};

extern struct test_dpud {
	char path[64];
	int listener;
	pthread_t thread;
	atomic_int fault, connection; /* the fd of the present one */
	atomic_uint greeted, opened, closed;
} dpud;

void dpud_name(void); /* gives it its path, before anybody looks for it there */
int dpud_listen(void);

/* For cmocka; start is both of the above. */
int dpud_start(void **state);
int dpud_stop(void **state);
void dpud_die(void); /* its successor is there at once */
void dpud_say(const struct eswitch_message *event);

#define WAIT_FOR(condition_)                                                                                           \
	do {                                                                                                           \
		for (unsigned i_ = 0; !(condition_); i_++) {                                                           \
			if (i_ > 20000)                                                                                \
				fail_msg("never: %s", #condition_);                                                    \
			usleep(1000);                                                                                  \
		}                                                                                                      \
	} while (0)
