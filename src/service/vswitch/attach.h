/* SPDX-License-Identifier: BSD-3-Clause */
/* Ports in service: opened, tried again when that fails, served by the switch's workers as their queues come and go,
 * closed without a packet going astray. For uplinks and vNICs, and for other services whose ports the switch serves.
 *
 * Control thread only. Embedded by its owner, as first member; attachment_init() registers it, and it lives until
 * attachment_close() has called done(), or attachment_forget(). */
#pragma once

#include <sys/queue.h>
#include "operating/port.h"

struct dp_rx;
struct vswitch;

struct attachment;
struct attachment_queue {
	struct attachment *attachment;
	unsigned queue, worker;
	bool ready;       /* announced by the port, and not taken back */
	bool withdrawing; /* on its way out of the worker */
	struct dp_rx *rx; /* served by the worker */
	/* Who waits until no worker uses it: the port, the end of the switch. */
	void (*released)(void *arg);
	void *released_arg;
	void (*quiesced)(void *arg);
	void *quiesced_arg;
};
struct attachment_ops {
	int (*open)(struct attachment *attachment, const struct port_callbacks *callbacks, struct port **ret,
		    struct dpu_error *err);
	/* Link or guest came or went, or the device could be opened at last. */
	void (*changed)(struct attachment *attachment);
};
struct attachment {
	struct vswitch *vswitch;
	struct port *port; /* NULL while it cannot be opened */
	uint16_t iface;
	uint16_t representor;     /* of a vNIC or uplink that is a member of an eswitch: its representor's number */
	char *error;              /* why not */
	struct loop_timer *retry; /* meanwhile */
	struct uuid object;       /* whom notices are about */
	int (*open)(struct attachment *attachment, const struct port_callbacks *callbacks, struct port **ret,
		    struct dpu_error *err);
	void (*changed)(struct attachment *attachment);
	struct attachment_queue queues[PORT_MAX_QUEUES];
	LIST_ENTRY(attachment) link; /* vswitch.attachments */
};

void attachment_init(struct attachment *attachment, struct vswitch *vswitch, uint16_t iface, const struct uuid *object,
		     const struct attachment_ops *ops);
/* Opens the port. A failure is the caller's to report, but not while the daemon starts, nor when what it wants is taken
 * while something is being taken away that may have it: then it is noted and tried again, and 0 is returned. */
int attachment_open(struct attachment *attachment, struct dpu_error *err);
void attachment_forget(struct attachment *attachment); /* undoes attachment_init() where no port was opened */
unsigned attachment_active(const struct attachment *attachment);
bool attachment_is_up(const struct attachment *attachment);
/* False while traces of the number's former holder remain: workers must not see the new one. changed() is called when
 * that is over. */
bool attachment_may_publish(const struct attachment *attachment);
void attachment_notice(struct attachment *attachment, const char *name, const char *sentence);
/* Takes the port out of service and closes it, then done(attachment), which may free it. */
void attachment_close(struct attachment *attachment, void (*done)(struct attachment *attachment));
