/* SPDX-License-Identifier: BSD-3-Clause */
/* A small pool of threads for what may block: files, name resolution, key derivation. Control thread only, but for the
 * jobs themselves. */
#pragma once

#include "base/loop.h"

struct helpers;

int helpers_new(struct loop *loop, unsigned threads, struct helpers **ret);
/* Waits for the jobs that run; those that have not begun are not run. done is called for all. */
void helpers_free(struct helpers *helpers);

/* Runs fn(arg) in one of the threads, then done(arg) in the control thread; never in this call. 0 or -ENOMEM. */
int helpers_run(struct helpers *helpers, void (*fn)(void *arg), void (*done)(void *arg), void *arg);
