/* SPDX-License-Identifier: BSD-3-Clause */
/* TAP interfaces: made, or taken over, in a given network namespace. */
#pragma once

#include <sys/types.h>
#include "operating/port.h"

struct tap_device {
	int fds[PORT_MAX_QUEUES]; /* non-blocking, with virtio-net headers */
	struct mac_addr mac;
	ino_t netns; /* identity of the namespace; 0 = our own */
};

/* Opens queue_pairs descriptors on the interface of options->name, which then has the MTU and MAC address of options
 * (address zero: leaves the one that it has) and is up. It is created unless it exists, belongs to us and nobody has it
 * open. Enters the namespace in a thread of its own, so that the caller's stays. 0 or a negative errno with err. */
int tap_device_open(const struct port_tap_options *options, struct tap_device *ret, struct dpu_error *err);
/* Gives the interface another MTU, in its namespace. 0 or a negative errno with err (path "mtu" or "netns"). */
int tap_device_set_mtu(const struct port_tap_options *options, uint16_t mtu, struct dpu_error *err);
/* Whether the name still means the namespace that the device was opened in. Open descriptors keep a namespace alive
 * whose name and processes have gone. */
bool tap_netns_is(const char *netns, ino_t inode);
/* Closes the descriptors, and then calls done(arg) in the loop's thread; remove: a persistent interface goes, too. That
 * takes the kernel some milliseconds, so another thread does it. Returns 0 when it is done already (done is not
 * called), or -EINPROGRESS. */
int tap_device_close(const int *fds, unsigned count, bool remove, struct loop *loop, void (*done)(void *arg),
		     void *arg);
