// SPDX-License-Identifier: BSD-3-Clause
/* The device that others see in place of a module's: hands requests on as its own, and believes nothing that comes
 * back. */
#include "service/block/module/module_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/clock.h"
#include "base/log.h"
#include "device/block/block_queue.h"

enum { IOS = 1024, BURST = 256 };
static const uint64_t PATIENCE_NS = 60 * CLOCK_NS_PER_S;

struct guard_io {
	struct dpu_block_request below;  /* first */
	struct dpu_block_request *above; /* NULL: not under way */
	struct guard *guard;
	struct guard_io *next;
	uint64_t since_ns; /* as of the last tick */
};

struct guard {
	struct dpu_block_device device; /* first */
	struct dpu_block_host host;
	struct dpu_block_open open;
	struct block_module module;
	struct dpu_block_device *below; /* the module's */
	struct lower lower;             /* what it sits on, if it is a filter */
	struct guard_io *io, *free_io;
	struct block_queue waiting; /* for an io, or to be failed */
	unsigned under_way;
	bool calling, failed; /* calling: submit or cancel, in which nothing may end */
	uint64_t now_ns, complained_ns, errors;
	void (*wake)(void *ctx);
	void (*complain)(void *ctx, const char *sentence);
	void *ctx;
	void (*close_done)(void *arg);
	void *close_arg;
	char *name, *arguments;
};

static void complain(void *ctx, const char *what)
{
	struct guard *guard = ctx;
	char sentence[512];

	snprintf(sentence, sizeof(sentence), "module %.64s (%.300s) %.100s", guard->module.table->name,
		 guard->module.path, what);
	if (guard->complain)
		guard->complain(guard->ctx, sentence);
}

/* It gets no more requests. Those that it has are still its own, with their buffers: it may complete them. */
static void misbehaved(struct guard *guard, const char *what)
{
	if (!guard->failed)
		complain(guard, what);
	guard->failed = true;
}

/* ---- requests ---- */

static void below_done(struct dpu_block_request *below)
{
	struct guard_io *io = (struct guard_io *)below;
	struct guard *guard = io->guard;
	struct dpu_block_request *above = io->above;

	if (!above) {
		misbehaved(guard, "has completed a request twice: the device fails from now on");
		return;
	}
	if (guard->calling)
		misbehaved(guard, "completes requests from within submit or cancel: the device fails from now on");
	if (below->status >= DPU_BLOCK_STATUSES) {
		misbehaved(guard, "has completed a request with a status that does not exist: the device fails from "
				  "now on");
		below->status = DPU_BLOCK_IO_ERROR;
	}
	io->above = NULL;
	guard->errors += below->status != DPU_BLOCK_OK && below->status != DPU_BLOCK_MISCOMPARE;
	guard->under_way--;
	io->next = guard->free_io;
	guard->free_io = io;
	if (guard->calling) {
		above->scratch[0] = 1;
		block_queue_add(&guard->waiting, above);
	} else {
		dpu_block_complete(above, below->status);
	}
}

static void send(struct guard *guard, struct dpu_block_request *request)
{
	struct guard_io *io = guard->free_io;

	guard->free_io = io->next;
	io->above = request;
	request->scratch[1] = (uintptr_t)io;
	io->since_ns = guard->now_ns;
	io->below = dpu_block_request_below(request, below_done);
	guard->under_way++;
	guard->calling = true;
	guard->below->ops->submit(guard->below, &io->below);
	guard->calling = false;
}

static void guard_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct guard *guard = (struct guard *)device;

	request->scratch[0] = guard->failed;
	request->scratch[1] = 0;
	if (guard->failed || guard->waiting.first || !guard->free_io)
		block_queue_add(&guard->waiting, request);
	else
		send(guard, request);
}

/* What waits for an io goes on waiting: those that have one are mostly cancelled with it. */
static void guard_cancel(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct guard *guard = (struct guard *)device;
	struct guard_io *io = (struct guard_io *)(uintptr_t)request->scratch[1];

	if (!io || guard->failed || !guard->below->ops->cancel)
		return;
	guard->calling = true;
	guard->below->ops->cancel(guard->below, &io->below);
	guard->calling = false;
}

static unsigned guard_poll(struct dpu_block_device *device)
{
	struct guard *guard = (struct guard *)device;
	unsigned work = guard->below->ops->poll ? guard->below->ops->poll(guard->below) : 0;

	if (guard->lower.real)
		work += lower_poll(&guard->lower);

	for (unsigned i = 0; i < BURST && guard->waiting.first; i++, work++) {
		bool fail = guard->failed || guard->waiting.first->scratch[0];
		if (!fail && !guard->free_io)
			break;
		struct dpu_block_request *request = block_queue_take(&guard->waiting);
		if (!fail) {
			send(guard, request);
			continue;
		}
		guard->errors++;
		dpu_block_complete(request, DPU_BLOCK_IO_ERROR);
	}
	return work;
}

bool block_module_busy(const struct dpu_block_device *device)
{
	const struct guard *guard = (const struct guard *)device;

	return guard->waiting.first || guard->lower.refused.first || (guard->under_way > 0 && guard->below->ops->poll);
}

void block_module_start(struct dpu_block_device *device)
{
	struct guard *guard = (struct guard *)device;

	if (guard->lower.real)
		lower_start(&guard->lower);
}

bool block_module_tick(struct dpu_block_device *device, uint64_t now_ns)
{
	struct guard *guard = (struct guard *)device;
	unsigned stuck = 0;

	guard->now_ns = now_ns;
	if (guard->under_way == 0 || now_ns - guard->complained_ns < PATIENCE_NS)
		return guard->under_way > 0;
	for (unsigned i = 0; i < IOS; i++)
		stuck += guard->io[i].above && now_ns - guard->io[i].since_ns >= PATIENCE_NS;
	if (stuck == 0)
		return true;
	char what[96];
	snprintf(what, sizeof(what), "has not completed %u request%s for a minute", stuck, stuck > 1 ? "s" : "");
	guard->complained_ns = now_ns;
	complain(guard, what);
	return true;
}

uint64_t block_module_errors(const struct dpu_block_device *device)
{
	return ((const struct guard *)device)->errors;
}

/* ---- closing ---- */

static void guard_free(struct guard *guard)
{
	free(guard->name);
	free(guard->arguments);
	free(guard->io);
	free(guard);
}

/* The code that called us belongs to the module: it is not unloaded under its feet, but stays for good. */
static void below_closed(void *arg)
{
	struct guard *guard = arg;
	void (*done)(void *arg) = guard->close_done;
	void *done_arg = guard->close_arg;

	if (guard->under_way > 0 && !guard->failed)
		misbehaved(guard, "has closed without completing its requests");
	for (unsigned i = 0; i < IOS; i++)
		if (guard->io[i].above)
			dpu_block_complete(guard->io[i].above, DPU_BLOCK_GONE);
	if (guard->lower.real)
		lower_end(&guard->lower);
	guard_free(guard);
	if (done)
		done(done_arg);
}

static void guard_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	struct guard *guard = (struct guard *)device;
	struct dpu_block_request *request;

	guard->close_done = done;
	guard->close_arg = arg;
	while ((request = block_queue_take(&guard->waiting)) != NULL)
		dpu_block_complete(request, DPU_BLOCK_GONE);
	if (guard->lower.real)
		while (lower_poll(&guard->lower) > 0)
			; /* what it waits for must not need another round */
	guard->below->changed = NULL;
	guard->below->ops->close(guard->below, below_closed, guard);
}

static const struct dpu_block_ops guard_ops = {
	.submit = guard_submit, .poll = guard_poll, .close = guard_close, .cancel = guard_cancel
};

/* ---- opening ---- */

/* NULL, or what is wrong with the device. */
static const char *check_device(const struct dpu_block_device *device)
{
	if (!device)
		return "no device";
	if (!device->ops || !device->ops->submit || !device->ops->close)
		return "a device without submit and close";
	if (device->sector != DPU_BLOCK_SECTOR && device->sector != DPU_BLOCK_BYTES)
		return "a device whose sector is neither 512 nor 4096";
	if (device->bytes == 0 || device->bytes % device->sector)
		return "a device whose size is no multiple of its sector, or nothing";
	if (device->max_bytes < DPU_BLOCK_BYTES || device->max_bytes > DPU_BLOCK_MAX_BYTES)
		return "a device whose max_bytes is not within 4096 and DPU_BLOCK_MAX_BYTES";
	if (device->alignment == 0 || device->alignment > DPU_BLOCK_BYTES ||
	    (device->alignment & (device->alignment - 1)))
		return "a device whose alignment is no power of two up to 4096";
	return NULL;
}

/* False: it has become what it must not be. */
static bool adopt(struct guard *guard)
{
	const struct dpu_block_device *below = guard->below;

	if (check_device(below))
		return false;
	guard->device.bytes = below->bytes;
	guard->device.sector = below->sector;
	guard->device.features = below->features;
	guard->device.max_bytes = below->max_bytes;
	guard->device.alignment = below->alignment;
	return true;
}

static void below_changed(void *ctx)
{
	struct guard *guard = ctx;

	if (!adopt(guard))
		misbehaved(guard, "has changed its device to one that cannot be: it fails from now on");
	if (guard->device.changed)
		guard->device.changed(guard->device.changed_ctx);
}

static void host_wake(const struct dpu_block_host *host)
{
	const struct guard *guard = (const struct guard *)((const char *)host - offsetof(struct guard, host));

	if (guard->wake)
		guard->wake(guard->ctx);
}

static void host_log(const struct dpu_block_host *host, const char *text)
{
	const struct guard *guard = (const struct guard *)((const char *)host - offsetof(struct guard, host));

	log_info("block", "a module says", "module=%s medium=\"%s\" text=\"%.400s\"", guard->module.table->name,
		 guard->name, text);
}

static int open_device(struct guard *guard, struct dpu_error *err)
{
	const struct dpu_block_module *table = guard->module.table;
	char why[256] = "";
	const char *wrong;

	if (table->filter && !guard->open.below)
		return error_set(err, DPU_E_INVALID, "module", "%s is a filter: it needs a medium to sit on",
				 table->name);
	if (!table->filter && guard->open.below)
		return error_set(err, DPU_E_INVALID, "module", "%s is no filter: it sits on no other medium",
				 table->name);
	int rc = table->open(&guard->open, &guard->below, why, sizeof(why));
	why[sizeof(why) - 1] = '\0';
	if (rc != 0)
		return error_set(err, DPU_E_IO, "arguments", "module %s: %s", table->name,
				 why[0]   ? why
				 : rc < 0 ? strerror(-rc)
					  : "open returned a number above 0");
	wrong = check_device(guard->below);
	if (wrong)
		return error_set(err, DPU_E_INVALID, "module", "module %s has opened %s", table->name, wrong);
	return 0;
}

static struct guard *guard_new(const struct block_module_options *options)
{
	struct guard *guard = calloc(1, sizeof(*guard));

	if (!guard)
		return NULL;
	guard->io = calloc(IOS, sizeof(*guard->io));
	guard->name = strdup(options->name);
	guard->arguments = strdup(options->arguments ? options->arguments : "");
	if (!guard->io || !guard->name || !guard->arguments) {
		guard_free(guard);
		return NULL;
	}
	for (unsigned i = 0; i < IOS; i++) {
		guard->io[i].guard = guard;
		guard->io[i].next = guard->free_io;
		guard->free_io = &guard->io[i];
	}
	guard->device = (struct dpu_block_device){ .ops = &guard_ops, .name = guard->name };
	guard->host = (struct dpu_block_host){ .wake = host_wake, .log = host_log };
	guard->open = (struct dpu_block_open){
		.name = guard->name,
		.arguments = guard->arguments,
		.below = options->below ? &guard->lower.device : NULL,
		.host = &guard->host,
	};
	if (options->below)
		lower_init(&guard->lower, options->below, options->below_seen, complain, guard);
	guard->wake = options->wake;
	guard->complain = options->complain;
	guard->ctx = options->ctx;
	guard->now_ns = clock_ns();
	block_queue_init(&guard->waiting);
	return guard;
}

int block_module_open(const struct block_module_options *options, struct dpu_block_device **ret, struct dpu_error *err)
{
	struct guard *guard = guard_new(options);

	if (!guard)
		return error_set(err, DPU_E_LIMIT, "", "out of memory");
	int rc = module_load(options->folder, options->module, &guard->module, err);
	if (rc < 0) {
		guard_free(guard);
		return rc;
	}
	/* From here on its code has run, and may have threads: it stays loaded. */
	rc = open_device(guard, err);
	if (rc < 0) {
		guard_free(guard);
		return rc;
	}
	guard->below->changed = below_changed;
	guard->below->changed_ctx = guard;
	adopt(guard);
	*ret = &guard->device;
	return 0;
}
