/* SPDX-License-Identifier: BSD-3-Clause */
/* Telling the service manager how we are: the protocol of sd_notify(3). */
#pragma once

/* Sends state ("READY=1", "STOPPING=1", "STATUS=…") to $NOTIFY_SOCKET. Returns 0, also when nobody wants to know, or a
 * negative errno. */
int notify_manager(const char *state);
