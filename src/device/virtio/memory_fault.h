/* SPDX-License-Identifier: BSD-3-Clause */
/* SIGBUS on memory that somebody else may truncate: a watched mapping that faults is replaced by anonymous memory and
 * its flag is set, so that only what uses this mapping stops.
 *
 * The handler is the process's: installed when a mapping is watched, if it is not in place; faults elsewhere go to the
 * handler that was there before. Threads that touch watched memory must not block SIGBUS. Watching and unwatching may
 * be done from any thread; looking up, in the handler, takes no lock. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum { MEMORY_FAULT_MAX_WATCHES = 65536 };

/* [address, address + length) is a whole mapping of ours. *faulted is set when it has faulted and must outlive the
 * watch. Returns a handle ≥ 0, or -ENOSPC, -ENOMEM or what sigaction() says. */
int memory_fault_watch(void *address, size_t length, _Atomic bool *faulted);
/* Before munmap(). */
void memory_fault_unwatch(int handle);
