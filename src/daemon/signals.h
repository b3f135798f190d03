/* SPDX-License-Identifier: BSD-3-Clause */
/* Signals as events of the control thread's loop. */
#pragma once

#include "base/loop.h"

struct signals;

/* Blocks the signals that signals_start() will read. Called before the first thread is made, so that none gets them. */
void signals_block(void);
/* fn runs in the loop for SIGTERM, SIGINT and SIGHUP. */
int signals_start(struct loop *loop, void (*fn)(void *ctx, int number), void *ctx, struct signals **ret);
void signals_stop(struct signals *signals); /* NULL is fine */
