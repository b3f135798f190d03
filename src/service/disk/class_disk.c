// SPDX-License-Identifier: BSD-3-Clause
/* The class "disk": a virtio-blk disk of a VM. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "service/disk/disk_priv.h"

static const char *const backends[] = {
	[DISK_CLIENT] = "vhost_user_client", [DISK_SERVER] = "vhost_user_server", NULL
};
const char *const disk_state_names[] = {
	[DISK_WAITING] = "waiting", [DISK_READY] = "ready", [DISK_FAILING] = "failing", [DISK_ERROR] = "error", NULL
};
static const char *const status_names[DPU_BLOCK_STATUSES] = {
	[DPU_BLOCK_IO_ERROR] = "io-error",
	[DPU_BLOCK_INTEGRITY] = "integrity",
	[DPU_BLOCK_NO_SPACE] = "no-space",
	[DPU_BLOCK_RANGE] = "range",
	[DPU_BLOCK_READ_ONLY] = "read-only",
	[DPU_BLOCK_UNSUPPORTED] = "unsupported",
	[DPU_BLOCK_MISCOMPARE] = "miscompare",
	[DPU_BLOCK_CONFLICT] = "conflict",
	[DPU_BLOCK_GONE] = "gone",
};

static bool is_printable(const char *text)
{
	for (; *text; text++)
		if (*text <= ' ' || *text > '~')
			return false;
	return true;
}

static const struct field disk_fields[] = {
	FIELD(struct disk_object, volume, .flags = FIELD_F_IMMUTABLE | FIELD_F_PARENT, .target = "volume",
	      .doc = "The volume that the guest sees; or snapshot, medium or remote."),
	FIELD(struct disk_object, snapshot, .flags = FIELD_F_IMMUTABLE | FIELD_F_PARENT, .target = "snapshot",
	      .doc = "The snapshot that the guest sees; the disk is read-only then."),
	FIELD(struct disk_object, medium, .flags = FIELD_F_IMMUTABLE, .target = "medium",
	      .doc = "The whole medium that the guest sees, without a pool between."),
	FIELD(struct disk_object, remote, .flags = FIELD_F_IMMUTABLE, .target = "nvmf_remote",
	      .doc = "The namespace of another machine that the guest sees, without a pool between."),
	FIELD(struct disk_object, qos, .target = "qos_policy",
	      .doc = "On a medium or remote: what the disk is guaranteed and may use, beside what its tenant is and "
		     "may. "
		     "Volumes and snapshots have their own."),
	FIELD_ENUM_ROW(struct disk_object, backend, backends, .flags = FIELD_F_IMMUTABLE, .def = "vhost_user_client",
		       .doc = "Which side of the vhost-user socket the DPU is; QEMU is the other."),
	FIELD(struct disk_object, socket, .flags = FIELD_F_IMMUTABLE | FIELD_F_UNIQUE, .max = 100,
	      .doc = "Path of the socket; a relative one is in the DPU's run directory; by default "
		     "TENANT-NAME.disk.sock there."),
	FIELD(struct disk_object, queues, .flags = FIELD_F_IMMUTABLE, .unit = "queues", .min = 1,
	      .max = DISK_MAX_QUEUES, .def = "4", .doc = "Queues offered to the guest; it uses as many as it wants."),
	FIELD(struct disk_object, queue_size, .flags = FIELD_F_IMMUTABLE, .unit = "entries", .min = 2, .max = 1024,
	      .def = "1024", .doc = "Largest size of a queue that QEMU may ask for."),
	FIELD(struct disk_object, serial, .flags = FIELD_F_IMMUTABLE, .max = VIRTIO_BLK_ID_BYTES, .check = is_printable,
	      .check_doc = "must be printable characters without blanks",
	      .doc = "Serial number that the guest reads; by default the beginning of the disk's UUID."),
	FIELD(struct disk_object, read_only, .flags = FIELD_F_IMMUTABLE, .def = "false",
	      .doc = "Whether the guest may only read."),
	FIELD(struct disk_object, wait_seconds, .unit = "seconds", .max = 3600, .def = "10",
	      .doc = "How long the guest's requests wait for a backing that is away; after that they fail until it is "
		     "back. They wait without limit while it is being opened or recovered."),
	FIELD_ENUM_ROW(
		struct disk_object, state, disk_state_names, .flags = FIELD_F_STATE,
		.doc = "Whether requests are carried out (ready), wait for the backing (waiting) or fail because "
		       "it is away for too long (failing); error: the socket cannot be had."),
	FIELD(struct disk_object, why, .flags = FIELD_F_STATE,
	      .doc = "Why it is not ready, or QEMU cannot be reached."),
	FIELD(struct disk_object, socket_path, .flags = FIELD_F_STATE | FIELD_F_DETAIL,
	      .doc = "Where the socket is, also by default."),
	FIELD(struct disk_object, connected, .flags = FIELD_F_STATE, .doc = "Whether QEMU is connected."),
	FIELD(struct disk_object, features, .flags = FIELD_F_STATE,
	      .doc = "Virtio features that were negotiated with the guest."),
	FIELD(struct disk_object, ring, .flags = FIELD_F_STATE, .doc = "Kind of the guest's rings, split or packed."),
	FIELD(struct disk_object, write_back, .flags = FIELD_F_STATE,
	      .doc = "Whether writes may be volatile until a flush, as the guest has set it."),
	FIELD(struct disk_object, queue_states, .flags = FIELD_F_STATE,
	      .doc = "For each queue in use the worker that serves it, its size, why it is broken if it is, and what "
		     "was "
		     "wrong with the guest's last bad descriptors."),
	FIELD(struct disk_object, statuses, .flags = FIELD_F_STATE,
	      .doc = "Failed requests by status, as "
		     "STATUS=REQUESTS."),
	FIELD(struct disk_object, size, .flags = FIELD_F_GAUGE, .unit = "bytes", .doc = "Size that the guest sees."),
	FIELD(struct disk_object, inflight, .flags = FIELD_F_GAUGE, .unit = "requests",
	      .doc = "Requests under way, as of an instant."),
	FIELD(struct disk_object, reads, .flags = FIELD_F_COUNTER, .unit = "requests", .doc = "Reads of the guest."),
	FIELD(struct disk_object, writes, .flags = FIELD_F_COUNTER, .unit = "requests", .doc = "Writes of the guest."),
	FIELD(struct disk_object, flushes, .flags = FIELD_F_COUNTER, .unit = "requests",
	      .doc = "Flushes of the guest."),
	FIELD(struct disk_object, discards, .flags = FIELD_F_COUNTER, .unit = "requests",
	      .doc = "Discards of the guest."),
	FIELD(struct disk_object, write_zeroes, .flags = FIELD_F_COUNTER, .unit = "requests",
	      .doc = "Requests of the guest to write zeroes."),
	FIELD(struct disk_object, read_bytes, .flags = FIELD_F_COUNTER, .unit = "bytes", .doc = "Bytes of the reads."),
	FIELD(struct disk_object, write_bytes, .flags = FIELD_F_COUNTER, .unit = "bytes",
	      .doc = "Bytes of the writes."),
	FIELD(struct disk_object, errors, .flags = FIELD_F_COUNTER, .unit = "requests",
	      .doc = "Requests that failed, whatever the status."),
	FIELD(struct disk_object, bad_requests, .flags = FIELD_F_COUNTER, .unit = "requests",
	      .doc = "Requests that make no sense: beyond the end, misaligned, without room for an answer."),
	FIELD(struct disk_object, bad_descriptors, .flags = FIELD_F_COUNTER, .unit = "requests",
	      .doc = "Requests whose descriptors make no sense: loops, addresses outside the guest's memory, tables "
		     "that "
		     "cannot be. They fail, and the queue goes on."),
	FIELD(struct disk_object, unsupported, .flags = FIELD_F_COUNTER, .unit = "requests",
	      .doc = "Requests of a kind that is not known or not offered."),
	{ 0 },
};

static int disk_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	const struct disks *disks = ctx;
	const struct disk_object *disk = (const struct disk_object *)new;
	const struct object *volume = disk->volume.object, *snapshot = disk->snapshot.object;
	const struct object *medium = disk->medium.object, *remote = disk->remote.object;
	const struct object *owned = volume ? volume : snapshot;

	if (old)
		return block_check_policy(new, &disk->qos, disk_backing_of(disk), err);
	if (!!volume + !!snapshot + !!medium + !!remote != 1)
		return error_set(err, DPU_E_INVALID, "volume",
				 "exactly one of volume, snapshot, medium and remote must be given");
	if (block_check_policy(new, &disk->qos, disk_backing_of(disk), err) < 0)
		return error_errno(err->code);
	if (owned && !uuid_equal(&owned->tenant->uuid, &new->tenant->uuid))
		return error_set(err, DPU_E_INVALID, volume ? "volume" : "snapshot", "belongs to another tenant");
	if (volume)
		return block_check_attach(volume, "volume", err);
	if (remote)
		return block_check_exclusive(disks->block, remote, new, "remote", err);
	if (!medium)
		return 0;
	if (block_medium_read_only(medium) && !disk->read_only)
		return error_set(err, DPU_E_INVALID, "read_only", "must be true: medium %s is only read", medium->name);
	return block_check_exclusive(disks->block, medium, new, "medium", err);
}

/* ---- what is observed ---- */

static uint64_t load(const _Atomic uint64_t *value)
{
	return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)value, memory_order_relaxed);
}

static void queue_count(const struct virtio_blk_stats *stats, struct disk_object *out,
			uint64_t statuses[DPU_BLOCK_STATUSES])
{
	uint64_t begun = 0, ended = 0;

	for (unsigned op = 0; op < DPU_BLOCK_OPS; op++)
		begun += load(&stats->requests[op]);
	for (unsigned status = 0; status < DPU_BLOCK_STATUSES; status++) {
		ended += load(&stats->statuses[status]);
		statuses[status] += load(&stats->statuses[status]);
	}
	out->reads += load(&stats->requests[DPU_BLOCK_READ]);
	out->writes += load(&stats->requests[DPU_BLOCK_WRITE]);
	out->flushes += load(&stats->requests[DPU_BLOCK_FLUSH]);
	out->discards += load(&stats->requests[DPU_BLOCK_DISCARD]);
	out->write_zeroes += load(&stats->requests[DPU_BLOCK_WRITE_ZEROES]);
	out->read_bytes += load(&stats->bytes[DPU_BLOCK_READ]);
	out->write_bytes += load(&stats->bytes[DPU_BLOCK_WRITE]);
	out->bad_requests += load(&stats->bad);
	out->bad_descriptors += load(&stats->bad_chains);
	out->unsupported += load(&stats->unsupported);
	if (begun > ended)
		out->inflight += begun - ended;
}

static void list_add(struct string_list *list, const char *text)
{
	list->items = realloc(list->items, (list->count + 1) * sizeof(*list->items));
	if (!list->items || !(list->items[list->count++] = strdup(text)))
		abort(); /* out of memory */
}

static void queues_observe(const struct disk *disk, struct disk_object *out)
{
	char text[256];

	for (unsigned i = 0; i < DISK_MAX_QUEUES; i++) {
		const struct disk_queue *queue = &disk->queues[i];
		if (!queue->started)
			continue;
		int at = snprintf(text, sizeof(text), "queue %u: %u entries", i, virtqueue_size(queue->started));
		if (queue->blk)
			at += snprintf(text + at, sizeof(text) - (size_t)at, ", worker %u",
				       worker_index(queue->worker));
		if (virtqueue_broken(queue->started))
			snprintf(text + at, sizeof(text) - (size_t)at, ", broken: %s",
				 virtqueue_broken_reason(queue->started));
		else if (virtqueue_last_fault(queue->started) != VIRTQ_FAULT_NONE)
			snprintf(text + at, sizeof(text) - (size_t)at, ", last bad descriptors: %s",
				 virtq_fault_sentence(virtqueue_last_fault(queue->started)));
		list_add(&out->queue_states, text);
	}
}

static char *why_not_ready(const struct disk *disk)
{
	const char *why = disk->error ? disk->error : block_why_not(disk_backing(disk));

	return strdup(why ? why : "the device is on its way");
}

/* NULL: there is one, or none has come yet. */
static char *why_no_guest(const struct disk *disk)
{
	int result = disk->endpoint ? vhost_endpoint_connect_result(disk->endpoint) : 0;
	char *text;

	if (result == 0 || vhost_endpoint_connected(disk->endpoint))
		return NULL;
	if (asprintf(&text, "cannot connect to QEMU at %s: %s", vhost_endpoint_socket_path(disk->endpoint),
		     strerror(-result)) < 0)
		abort(); /* out of memory */
	return text;
}

void disk_observe(void *ctx, const struct object *object, struct object *copy)
{
	const struct disk *disk = object->runtime;
	struct disk_object *out = (struct disk_object *)copy;
	uint64_t statuses[DPU_BLOCK_STATUSES] = { 0 };
	char text[64];

	(void)ctx;
	out->state = (uint8_t)disk_state(disk);
	out->why = out->state != DISK_READY ? why_not_ready(disk) : why_no_guest(disk);
	if (disk->endpoint && !(out->socket_path = strdup(vhost_endpoint_socket_path(disk->endpoint))))
		abort(); /* out of memory */
	out->connected = disk->endpoint && vhost_endpoint_connected(disk->endpoint);
	out->features = disk->endpoint ? vhost_endpoint_features(disk->endpoint) : 0;
	if (out->features)
		out->ring = strdup(out->features & UINT64_C(1) << 34 ? "packed" : "split");
	out->write_back = atomic_load(&((struct disk *)(uintptr_t)disk)->write_back);
	out->size = disk->config.bytes;
	for (unsigned i = 0; i < DISK_MAX_QUEUES; i++)
		queue_count(&disk->queues[i].stats, out, statuses);
	for (unsigned status = DPU_BLOCK_OK + 1; status < DPU_BLOCK_STATUSES; status++) {
		if (statuses[status] == 0)
			continue;
		out->errors += statuses[status];
		snprintf(text, sizeof(text), "%s=%llu", status_names[status], (unsigned long long)statuses[status]);
		list_add(&out->statuses, text);
	}
	out->errors += out->bad_requests + out->bad_descriptors;
	queues_observe(disk, out);
}

/* ---- where the time goes ---- */

static int disk_latency(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	const struct disk *disk = object->runtime;

	(void)ctx;
	(void)args;
	return block_latency(disk->attachment, disk_backing(disk), ret_result, err);
}

static int disk_slowest(void *ctx, struct object *object, const void *args, struct action_reply *reply,
			struct dpu_error *err)
{
	const struct disk *disk = object->runtime;

	(void)ctx;
	(void)args;
	return block_slowest(disk->attachment, disk_backing(disk), reply, err);
}

static int disk_why(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		    struct dpu_error *err)
{
	const struct disk *disk = object->runtime;

	return block_why(((struct disks *)ctx)->block, disk->attachment, object, disk_backing(disk),
			 disk->object->qos.object, args, reply, err);
}

static const struct action disk_actions[] = { BLOCK_LATENCY_ACTION(disk_latency),
					      BLOCK_SLOWEST_ACTION(disk_slowest),
					      BLOCK_WHY_ACTION("disk", disk_why),
					      { 0 } };

const struct object_class disk_class = {
	.name = "disk",
	.plural = "disks",
	.doc = "A virtio-blk disk of a VM, over vhost-user.",
	.example = "dpuctl disk create blue/web volume=web socket=/run/vm/web.sock",
	.size = sizeof(struct disk_object),
	.fields = disk_fields,
	.actions = disk_actions,
	.max_objects = 4096,
	.validate = disk_validate,
	.apply = disk_apply,
	.remove = disk_remove,
	.observe = disk_observe,
};
