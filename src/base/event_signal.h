/* SPDX-License-Identifier: BSD-3-Clause */
/* Event descriptors that a front end shares with us: it may fill their counter and clear O_NONBLOCK, which is a flag of
 * the open file and not of our descriptor, at any instant. write() and read() could then wait for ever, and with them a
 * worker that serves other tenants, too. These two never wait, whatever the flag says. Any thread. */
#pragma once

#include <stdbool.h>

/* Adds one to the counter of an eventfd, or leaves it at its maximum. */
void event_signal(int fd);
/* Sets the counter back to zero. */
void event_clear(int fd);
/* Only event counters can be used with these two; any other descriptor is refused before it comes so far. */
bool event_is_eventfd(int fd);
