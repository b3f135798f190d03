// SPDX-License-Identifier: BSD-3-Clause
/* Commands: volumes are made, copied, resized and deleted; what else there is has files of its own. */
#include "service/block/store/store_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

int command_error(struct store_command *command, enum dpu_error_code code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	int rc = error_vset(&command->error, code, NULL, fmt, args);
	va_end(args);
	return rc;
}

int command_then(struct store_command *command, command_step step)
{
	command->step = step;
	return -EAGAIN;
}

bool command_is_cut_short(const struct store *store, const struct store_command *command)
{
	return command->cancel || store->closing;
}

int command_cut_short(const struct store *store, struct store_command *command)
{
	return command_error(command, DPU_E_CONFLICT, store->closing ? "the pool is being closed" : "cancelled");
}

/* ---- waiting for what was logged to be durable ---- */

enum { WAITING = 1, WAITED, FAILED };

static void waited(struct waiter *waiter, int rc)
{
	struct store_command *command =
		(struct store_command *)((uint8_t *)waiter - offsetof(struct store_command, scratch));

	command->scratch[2] = rc < 0 ? FAILED : WAITED;
}

int command_failed(struct store *store, struct store_command *command)
{
	const struct failure *failure = &store->failure;

	return command_error(command, DPU_E_IO, "the pool is read-only since medium '%s' failed at offset %llu: %s",
			     failure->medium, (unsigned long long)failure->offset, failure->why);
}

int command_waited(struct store *store, struct store_command *command)
{
	if (command->scratch[2] == FAILED)
		return command_failed(store, command);
	return command->scratch[2] == WAITED ? 0 : -EAGAIN;
}

static int wait_end(struct store *store, struct store_command *command)
{
	return command_waited(store, command);
}

static int flush(struct store *store, struct store_command *command, bool force, command_step then)
{
	struct waiter *waiter = (struct waiter *)command->scratch;

	waiter->done = waited;
	command->scratch[2] = WAITING;
	flush_wait(store, waiter, force);
	return command_then(command, then);
}

int command_flush(struct store *store, struct store_command *command)
{
	return flush(store, command, false, wait_end);
}

int command_flush_media(struct store *store, struct store_command *command, command_step then)
{
	return flush(store, command, true, then);
}

int command_checkpoint(struct store *store, struct store_command *command, command_step then)
{
	struct waiter *waiter = (struct waiter *)command->scratch;

	waiter->done = waited;
	command->scratch[2] = WAITING;
	checkpoint_wait(store, waiter);
	return command_then(command, then);
}

int checkpoint_step(struct store *store, struct store_command *command)
{
	return command_checkpoint(store, command, wait_end);
}

/* ---- volumes ---- */

/* Room in memory and in the log, or why not. */
static int room(struct store *store, struct store_command *command, size_t bytes, struct record **ret)
{
	if (store->failed)
		return command_failed(store, command);
	int rc = pages_room(store);
	if (rc < 0)
		return rc;
	pages_begin(store);
	rc = log_room(store, record_bytes(bytes), ret);
	if (rc < 0)
		return rc;
	memset(*ret, 0, record_bytes(bytes));
	(*ret)->bytes = (uint16_t)record_bytes(bytes);
	return 0;
}

struct store_volume *command_target(struct store *store, struct store_command *command)
{
	for (uint32_t slot = 0; slot < store->slots; slot++) {
		struct store_volume *volume = store->volume[slot];
		if (!volume || volume->entry->id != command->volume)
			continue;
		uint8_t flags = volume->entry->flags & (ENTRY_DELETING | ENTRY_QUARANTINED);
		/* A deletion that has met a damaged page goes on by its name alone. */
		if (!(flags & ENTRY_DELETING) || (command->op == STORE_DELETE && flags & ENTRY_QUARANTINED))
			return volume;
	}
	command_error(command, DPU_E_NOT_FOUND, "the pool has no volume %llu", (unsigned long long)command->volume);
	return NULL;
}

static int check_name(struct store *store, struct store_command *command)
{
	if (!command->name || !command->name[0] || strlen(command->name) >= STORE_NAME_BYTES)
		return command_error(command, DPU_E_INVALID, "a name has 1 to %d bytes", STORE_NAME_BYTES - 1);
	for (uint32_t slot = 0; slot < store->slots; slot++) {
		struct store_volume *volume = store->volume[slot];
		if (volume && !(volume->entry->flags & ENTRY_DELETING) &&
		    strcmp(volume->entry->name, command->name) == 0)
			return command_error(command, DPU_E_EXISTS, "the pool has a volume '%s' already",
					     command->name);
	}
	return 0;
}

static int check_bytes(struct store_command *command)
{
	uint64_t most = tree_capacity(TREE_MAX_HEIGHT) * STORE_BLOCK;

	if (command->bytes % DPU_BLOCK_SECTOR || command->bytes > most)
		return command_error(command, DPU_E_INVALID, "%llu bytes are no size: a multiple of %d up to %llu",
				     (unsigned long long)command->bytes, DPU_BLOCK_SECTOR, (unsigned long long)most);
	return 0;
}

static int free_slot(struct store *store, struct store_command *command, uint32_t *ret)
{
	bool later = false;

	for (uint32_t slot = 0; slot < store->slots; slot++) {
		const struct store_volume *volume = store->volume[slot];
		/* One that is going makes room soon. */
		later |= volume && (volume->entry->flags & (ENTRY_DELETING | ENTRY_QUARANTINED)) == ENTRY_DELETING;
		if (volume || entry_frame(store, slot)->state == FRAME_BAD || entry_at(store, slot)->id)
			continue;
		*ret = slot;
		return 0;
	}
	if (later && !store->failed)
		return -EAGAIN;
	return command_error(command, DPU_E_LIMIT, "the pool has %u volumes and snapshots, which is all it can have",
			     store->slots);
}

/* A new entry of the directory, like `entry`. */
static int add_volume(struct store *store, struct store_command *command, struct volume_entry *entry, uint32_t source)
{
	struct record *record;
	uint32_t slot = 0;
	int rc = check_name(store, command);

	if (rc == 0)
		rc = free_slot(store, command, &slot);
	if (rc == 0)
		rc = room(store, command, offsetof(struct record, volume) + sizeof(record->volume), &record);
	if (rc == 0 && !number_is_possible(store->next_volume))
		rc = command_error(command, DPU_E_LIMIT, "the pool has no further id for a volume");
	if (rc < 0)
		return rc;
	entry->id = store->next_volume;
	entry->created_s = (uint64_t)time(NULL);
	memset(entry->name, 0, sizeof(entry->name));
	memcpy(entry->name, command->name, strlen(command->name));
	record->type = RECORD_VOLUME;
	record->slot = slot;
	record->volume.entry = *entry;
	record->volume.source = source;
	record_apply(store, record, 0);
	log_add(store, record);
	if (volume_attach(store, slot) < 0)
		return command_error(command, DPU_E_LIMIT, "no memory; the volume is there after the next start");
	command->ret_volume = entry->id;
	return command_flush(store, command);
}

int create_step(struct store *store, struct store_command *command)
{
	int rc = check_bytes(command);

	if (rc < 0)
		return rc;
	struct volume_entry entry = {
		.bytes = command->bytes,
		.height = (uint8_t)tree_height((command->bytes + STORE_BLOCK - 1) / STORE_BLOCK),
	};
	return add_volume(store, command, &entry, UINT32_MAX);
}

/* Snapshot or clone: a new root of the same tree. */
int copy_step(struct store *store, struct store_command *command)
{
	struct store_volume *source = command_target(store, command);

	if (!source)
		return -ENOENT;
	if (source->entry->flags & ENTRY_QUARANTINED)
		return command_error(command, DPU_E_IO, "the volume is quarantined");
	if (source->entry->root && pageref_get(store, source->entry->root) >= COUNT_LOST - 1)
		return command_error(command, DPU_E_LIMIT, "the volume cannot have more copies");
	struct volume_entry entry = *source->entry;
	entry.origin = source->entry->id;
	entry.flags = command->op == STORE_SNAPSHOT ? ENTRY_SNAPSHOT : 0;
	return add_volume(store, command, &entry, source->slot);
}

static void set_size(struct store *store, struct store_volume *volume, struct record *record, uint64_t bytes,
		     unsigned height, unsigned flags)
{
	record->type = RECORD_RESIZE;
	record->slot = volume->slot;
	record->resize.bytes = bytes;
	record->resize.mapped = volume->entry->mapped;
	record->resize.height = height;
	record->resize.flags = flags;
	record_apply(store, record, 0);
	log_add(store, record);
	volume->rest.status = DPU_BLOCK_RANGE;
	volume_resized(volume);
}

static int resize_trimmed(struct store *store, struct store_command *command)
{
	struct store_volume *volume = command_target(store, command);

	if (!volume)
		return -ENOENT;
	if (store->failed)
		return command_failed(store, command);
	if (volume->entry->flags & ENTRY_QUARANTINED)
		return command_error(command, DPU_E_IO, "the map of the volume is damaged: it is quarantined");
	store->trims = 1;
	return volume->entry->mapped * STORE_BLOCK > volume->entry->bytes + STORE_BLOCK - 1
		       ? -EAGAIN
		       : command_flush(store, command);
}

static void rest_zeroed(struct dpu_block_request *request)
{
	struct store_volume *volume = (struct store_volume *)((uint8_t *)request - offsetof(struct store_volume, rest));

	volume->rest_busy = false;
}

/* What is behind the end of a volume in its last block, which an earlier resize may have cut off, is zeroes before it
 * becomes a part of it: durably, since a record of a resize is believed even if the data before it was lost. */
static int zero_rest(struct store *store, struct store_command *command, struct store_volume *volume)
{
	uint64_t bytes = volume->entry->bytes, over = bytes % STORE_BLOCK;

	if (volume->rest_busy)
		return -EAGAIN;
	if (over == 0 || command->bytes <= bytes)
		return 0;
	if (command->scratch[3] == bytes) { /* that has been done; RANGE: another resize came between */
		enum dpu_block_status status = (enum dpu_block_status)volume->rest.status;
		if (status == DPU_BLOCK_OK)
			return 0;
		if (status != DPU_BLOCK_RANGE && status != DPU_BLOCK_GONE)
			return command_error(command, status == DPU_BLOCK_NO_SPACE ? DPU_E_LIMIT : DPU_E_IO,
					     status == DPU_BLOCK_NO_SPACE
						     ? "the pool has no room for the block at the volume's end"
						     : "the block at the volume's end cannot be read or written");
	}
	volume->rest = (struct dpu_block_request){
		.op = DPU_BLOCK_WRITE_ZEROES,
		.flags = DPU_BLOCK_FUA,
		.offset = bytes,
		.length = STORE_BLOCK - over,
		.done = rest_zeroed,
	};
	volume->rest_busy = request_start(volume, &volume->rest);
	command->scratch[3] = volume->rest_busy ? bytes : 0;
	return -EAGAIN;
}

int resize_step(struct store *store, struct store_command *command)
{
	struct store_volume *volume = command_target(store, command);
	uint32_t list[RECORD_PAGES];
	struct record *record;

	if (!volume)
		return -ENOENT;
	int rc = check_bytes(command);
	if (rc < 0)
		return rc;
	struct volume_entry *entry = volume->entry;
	if (entry->flags & (ENTRY_SNAPSHOT | ENTRY_QUARANTINED))
		return command_error(command, DPU_E_DENIED, "%s cannot be resized",
				     entry->flags & ENTRY_SNAPSHOT ? "a snapshot" : "a quarantined volume");
	if (store->failed)
		return command_failed(store, command);
	/* What an earlier resize cut off must not come back. */
	if (entry->mapped * STORE_BLOCK > entry->bytes + STORE_BLOCK - 1)
		return -EAGAIN;
	rc = zero_rest(store, command, volume);
	if (rc < 0)
		return rc;
	unsigned height = tree_height((command->bytes + STORE_BLOCK - 1) / STORE_BLOCK);
	if (height < entry->height)
		height = entry->height;
	unsigned pages = entry->root ? height - entry->height : 0;
	rc = room(store, command, offsetof(struct record, resize.list) + 4 * pages, &record);
	if (rc < 0)
		return rc;
	if (page_pick(store, pages, false, list) < 0)
		return command_error(command, DPU_E_LIMIT, "the pool has no room for a larger map");
	record->pages = (uint8_t)pages;
	memcpy(record->resize.list, list, pages * sizeof(*list));
	set_size(store, volume, record, command->bytes, height, entry->flags);
	return command_then(command, resize_trimmed);
}

int delete_step(struct store *store, struct store_command *command)
{
	struct store_volume *volume = command_target(store, command);
	struct record *record;

	if (!volume)
		return -ENOENT;
	bool quarantined = volume->entry->flags & ENTRY_QUARANTINED;
	size_t bytes = quarantined ? offsetof(struct record, write) : offsetof(struct record, resize.list);
	/* The map of a quarantined volume cannot be walked: what it has is not given back. */
	if (quarantined && volume->active)
		return -EAGAIN;
	int rc = room(store, command, bytes, &record);
	if (rc < 0)
		return rc;
	if (!quarantined) {
		volume_gone(volume);
		set_size(store, volume, record, 0, volume->entry->height, volume->entry->flags | ENTRY_DELETING);
		return command_flush(store, command);
	}
	record->type = RECORD_REMOVE;
	record->slot = volume->slot;
	record_apply(store, record, 0);
	log_add(store, record);
	volume_detach(store, volume->slot);
	return command_flush(store, command);
}

/* ---- the list ---- */

static const command_step steps[STORE_OPS] = {
	[STORE_FORMAT] = format_step, [STORE_OPEN] = open_step,       [STORE_CLOSE] = close_step,
	[STORE_GROW] = grow_step,     [STORE_CREATE] = create_step,   [STORE_SNAPSHOT] = copy_step,
	[STORE_CLONE] = copy_step,    [STORE_RESIZE] = resize_step,   [STORE_DELETE] = delete_step,
	[STORE_SCRUB] = scrub_step,   [STORE_REPAIR] = repair_step,   [STORE_CHECKPOINT] = checkpoint_step,
	[STORE_LOCATE] = locate_step, [STORE_MEASURE] = measure_step, [STORE_SEEK] = seek_step,
};

void store_submit(struct store *store, struct store_command *command)
{
	command->error.code = DPU_OK;
	command->ret_volume = command->ret_offset = command->progress = command->total = command->damaged = 0;
	command->repaired = false;
	memset(command->scratch, 0, sizeof(command->scratch));
	command->step = command->op < STORE_OPS ? steps[command->op] : NULL;
	command->next = NULL;
	*store->commands_tail = command;
	store->commands_tail = &command->next;
}

static int run(struct store *store, struct store_command *command)
{
	bool opens = command->op == STORE_FORMAT || command->op == STORE_OPEN;

	if (!command->step)
		return command_error(command, DPU_E_INVALID, "there is no such command");
	if (!opens && !store->ready)
		return command_error(command, DPU_E_CONFLICT, "the pool is not open");
	/* What has begun goes on: it has changed what it changes. */
	if (store->held && command->step == steps[command->op])
		return -EAGAIN;
	if (command->step == open_step || command->step == format_step)
		if (store->started)
			return command_error(command, DPU_E_CONFLICT, "the pool was opened already");
	return command->step(store, command);
}

/* Each a step; several are under way at once. */
unsigned commands_go(struct store *store)
{
	struct store_command **link = &store->commands;
	unsigned work = 0;

	while (*link) {
		struct store_command *command = *link;
		command_step before = command->step;
		int rc = run(store, command);
		work += rc != -EAGAIN || command->step != before;
		if (rc == -EAGAIN && command->op == STORE_CLOSE)
			break;
		if (rc == -EAGAIN) {
			link = &command->next;
			continue;
		}
		if (rc < 0 && !command->error.code)
			command_error(command, rc == -EIO ? DPU_E_IO : DPU_E_INTERNAL, "%s", strerror(-rc));
		*link = command->next;
		if (!*link)
			store->commands_tail = link;
		command->done(command);
	}
	return work;
}
