// SPDX-License-Identifier: BSD-3-Clause
/* The recording medium. */
#include "service/block/store/recorder.h"

#include <stdlib.h>
#include <string.h>

/* Some take so long that much happens meanwhile. */
enum { PENDING = 1024, SLOW_ONE_IN = 24, SLOW_POLLS = 400 };

struct event {
	uint64_t submitted, completed; /* 0: not yet */
	uint64_t offset, length;
	uint8_t *data; /* NULL: a flush */
	uint64_t lost; /* sectors that can never be there, bit for bit as apply() has them */
	bool folded;
};

struct recorder {
	struct dpu_block_device device; /* first */
	struct recorder_clock *clock;
	uint8_t *data, *flushed;
	struct event *events;
	size_t count, room, folded; /* folded: all before are in `flushed` */
	struct {
		struct dpu_block_request *request;
		size_t event;
		uint64_t until; /* poll before which it does not end */
		bool gone;      /* it was cancelled, and ends for that */
	} pending[PENDING];
	uint64_t polls;
	unsigned pendings;
	uint64_t cancelled;
	bool stopped, forgetful;
};

uint64_t random_next(uint64_t *seed)
{
	uint64_t mix = *seed += UINT64_C(0x9e3779b97f4a7c15);

	mix = (mix ^ mix >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	mix = (mix ^ mix >> 27) * UINT64_C(0x94d049bb133111eb);
	return mix ^ mix >> 31;
}

/* to_data: what the request writes. */
static void copy_segments(const struct dpu_block_request *request, uint8_t *data, bool to_data)
{
	for (unsigned i = 0; i < request->segments; i++) {
		const struct iovec *segment = &request->iov[i];
		if (to_data)
			memcpy(data, segment->iov_base, segment->iov_len);
		else
			memcpy(segment->iov_base, data, segment->iov_len);
		data += segment->iov_len;
	}
}

static void apply(const struct event *event, uint8_t *image, uint64_t mask)
{
	mask &= ~event->lost;
	for (uint64_t at = 0; at < event->length; at += DPU_BLOCK_SECTOR)
		if (mask >> at / DPU_BLOCK_SECTOR % 64 & 1)
			memcpy(image + event->offset + at, event->data + at, DPU_BLOCK_SECTOR);
}

static size_t remember(struct recorder *recorder, const struct dpu_block_request *request)
{
	if (recorder->count == recorder->room) {
		recorder->room = recorder->room ? recorder->room * 2 : 256;
		recorder->events = realloc(recorder->events, recorder->room * sizeof(*recorder->events));
		if (!recorder->events)
			abort();
	}
	struct event *event = &recorder->events[recorder->count];
	*event = (struct event){ .submitted = ++recorder->clock->now, .offset = request->offset };
	if (request->op == DPU_BLOCK_WRITE) {
		event->length = request->length;
		event->data = malloc(request->length);
		if (!event->data)
			abort();
		copy_segments(request, event->data, true);
	}
	return recorder->count++;
}

static void recorder_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct recorder *recorder = (struct recorder *)device;

	if (recorder->pendings == PENDING || dpu_block_check(device, request) != DPU_BLOCK_OK)
		abort();
	bool changes = request->op != DPU_BLOCK_READ, slow = random_below(&recorder->clock->seed, SLOW_ONE_IN) == 0;
	recorder->pending[recorder->pendings].until =
		recorder->polls + (slow ? random_below(&recorder->clock->seed, SLOW_POLLS) : 0);
	recorder->pending[recorder->pendings].gone = false;
	recorder->pending[recorder->pendings].request = request;
	recorder->pending[recorder->pendings++].event =
		changes && !recorder->stopped && !recorder->forgetful ? remember(recorder, request) : SIZE_MAX;
}

/* Nothing of it, all of it, or anything between the two. */
static void carry_out_partly(struct recorder *recorder, struct dpu_block_request *request, size_t at)
{
	uint64_t kind = random_below(&recorder->clock->seed, 3);
	uint64_t mask = kind == 0 ? 0 : kind == 1 ? UINT64_MAX : random_next(&recorder->clock->seed);
	struct event event = { .offset = request->offset, .length = request->length, .data = malloc(request->length) };

	if (request->op == DPU_BLOCK_WRITE && event.data) {
		copy_segments(request, event.data, true);
		apply(&event, recorder->data, mask);
	}
	free(event.data);
	if (at != SIZE_MAX)
		recorder->events[at].lost |= ~mask;
}

static void carry_out(struct recorder *recorder, unsigned index)
{
	struct dpu_block_request *request = recorder->pending[index].request;
	size_t event = recorder->pending[index].event;
	bool gone = recorder->pending[index].gone;

	recorder->pendings--;
	if (recorder->stopped)
		memmove(&recorder->pending[index], &recorder->pending[index + 1],
			(recorder->pendings - index) * sizeof(recorder->pending[0]));
	else
		recorder->pending[index] = recorder->pending[recorder->pendings];
	if (gone)
		carry_out_partly(recorder, request, event);
	else if (request->op == DPU_BLOCK_WRITE || request->op == DPU_BLOCK_READ)
		copy_segments(request, recorder->data + request->offset, request->op == DPU_BLOCK_WRITE);
	if (event != SIZE_MAX)
		recorder->events[event].completed = ++recorder->clock->now;
	dpu_block_complete(request, gone ? DPU_BLOCK_GONE : DPU_BLOCK_OK);
}

static unsigned recorder_poll(struct dpu_block_device *device)
{
	struct recorder *recorder = (struct recorder *)device;
	unsigned count = recorder->pendings;

	if (!recorder->stopped && count)
		count = (unsigned)random_below(&recorder->clock->seed, count + 1);
	recorder->polls++;
	for (unsigned i = 0; i < count && recorder->pendings; i++) {
		unsigned which =
			recorder->stopped ? 0 : (unsigned)random_below(&recorder->clock->seed, recorder->pendings);
		if (recorder->stopped || recorder->pending[which].until <= recorder->polls)
			carry_out(recorder, which);
	}
	return count + (recorder->pendings > 0);
}

/* Every other time it is carried out nevertheless. */
static void recorder_cancel(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct recorder *recorder = (struct recorder *)device;
	unsigned i = 0;

	while (recorder->pending[i].request != request)
		if (++i == recorder->pendings)
			abort(); /* it is not here */
	recorder->pending[i].gone = random_below(&recorder->clock->seed, 2);
	recorder->cancelled++;
}

static const struct dpu_block_ops recorder_ops = { .submit = recorder_submit,
						   .poll = recorder_poll,
						   .cancel = recorder_cancel };

/* The memory of media that are no more, for the next: a test has thousands of them, and new memory is zeroed by the
 * kernel page for page. */
static struct buffer {
	struct buffer *next;
	uint64_t bytes;
} * buffers;

static uint8_t *buffer_take(uint64_t bytes, const uint8_t *initial)
{
	struct buffer **link = &buffers, *buffer;

	while (*link && (*link)->bytes != bytes)
		link = &(*link)->next;
	buffer = *link;
	if (buffer)
		*link = buffer->next;
	else
		buffer = malloc(bytes);
	if (!buffer)
		abort();
	if (initial)
		memcpy(buffer, initial, bytes);
	else
		memset(buffer, 0, bytes);
	return (uint8_t *)buffer;
}

static void buffer_give(uint8_t *data, uint64_t bytes)
{
	struct buffer *buffer = (struct buffer *)data;

	*buffer = (struct buffer){ .next = buffers, .bytes = bytes };
	buffers = buffer;
}

struct recorder *recorder_new(uint64_t bytes, const uint8_t *initial, struct recorder_clock *clock)
{
	struct recorder *recorder = calloc(1, sizeof(*recorder));

	if (!recorder)
		abort();
	recorder->data = buffer_take(bytes, initial);
	recorder->flushed = buffer_take(bytes, initial);
	recorder->clock = clock;
	recorder->device = (struct dpu_block_device){
		.ops = &recorder_ops,
		.name = "recorder",
		.bytes = bytes,
		.sector = DPU_BLOCK_SECTOR,
		.features = DPU_BLOCK_F_FLUSH,
		.max_bytes = DPU_BLOCK_MAX_BYTES,
		.alignment = 1,
	};
	return recorder;
}

void recorder_free(struct recorder *recorder)
{
	for (size_t i = 0; i < recorder->count; i++)
		free(recorder->events[i].data);
	free(recorder->events);
	buffer_give(recorder->data, recorder->device.bytes);
	buffer_give(recorder->flushed, recorder->device.bytes);
	free(recorder);
}

struct dpu_block_device *recorder_device(struct recorder *recorder)
{
	return &recorder->device;
}

uint8_t *recorder_data(struct recorder *recorder)
{
	return recorder->data;
}

void recorder_stop(struct recorder *recorder)
{
	recorder->stopped = true;
}

void recorder_forget(struct recorder *recorder)
{
	recorder->forgetful = true;
}

uint64_t recorder_cancelled(const struct recorder *recorder)
{
	return recorder->cancelled;
}

/* ---- crashes ---- */

/* When the last flush that had ended by then had begun. */
static uint64_t flush_begin(const struct recorder *recorder, uint64_t time)
{
	uint64_t last = 0;

	for (size_t i = 0; i < recorder->count; i++) {
		const struct event *event = &recorder->events[i];
		if (!event->data && event->completed && event->completed <= time && event->submitted > last)
			last = event->submitted;
	}
	return last;
}

static void fold(struct recorder *recorder, uint64_t begin)
{
	for (size_t i = recorder->folded; i < recorder->count && recorder->events[i].submitted < begin; i++) {
		struct event *event = &recorder->events[i];
		if (event->folded || !event->data || !event->completed || event->completed > begin)
			continue;
		apply(event, recorder->flushed, UINT64_MAX);
		event->folded = true;
	}
	while (recorder->folded < recorder->count &&
	       (recorder->events[recorder->folded].folded || !recorder->events[recorder->folded].data))
		recorder->folded++;
}

void recorder_crash(struct recorder *recorder, uint64_t time, enum recorder_loss loss, uint64_t *seed, uint8_t *image)
{
	size_t loose = 0, victim;

	fold(recorder, flush_begin(recorder, time));
	memcpy(image, recorder->flushed, recorder->device.bytes);
	for (size_t i = recorder->folded; i < recorder->count && recorder->events[i].submitted <= time; i++)
		loose += recorder->events[i].data && !recorder->events[i].folded;
	victim = loose ? random_below(seed, loose) : 0;
	loose = 0;
	for (size_t i = recorder->folded; i < recorder->count && recorder->events[i].submitted <= time; i++) {
		const struct event *event = &recorder->events[i];
		uint64_t mask = UINT64_MAX, bits = random_next(seed);
		if (!event->data || event->folded)
			continue;
		if (loss == LOSE_ALL || (loss == LOSE_WRITES && bits & 1))
			mask = 0;
		else if (loss == LOSE_SECTORS)
			mask = bits & 3 ? random_next(seed) : bits & 4 ? UINT64_MAX : 0;
		else if (loss == LOSE_ONE && loose == victim)
			mask = bits & 1 ? 0 : random_next(seed);
		apply(event, image, mask);
		loose++;
	}
}

/* A completed write of another life. */
static struct event inherited(const struct event *event, uint64_t lost)
{
	struct event copy = *event;

	copy.submitted = copy.completed = 1;
	copy.lost |= lost;
	copy.data = malloc(event->length);
	if (!copy.data)
		abort();
	memcpy(copy.data, event->data, event->length);
	return copy;
}

struct recorder *recorder_survivor(struct recorder *recorder, uint64_t *seed, struct recorder_clock *clock)
{
	fold(recorder, flush_begin(recorder, recorder->clock->now));
	struct recorder *survivor = recorder_new(recorder->device.bytes, recorder->flushed, clock);
	survivor->events = calloc(recorder->count + 1, sizeof(*survivor->events));
	if (!survivor->events)
		abort();
	survivor->room = recorder->count + 1;
	for (size_t i = recorder->folded; i < recorder->count; i++) {
		const struct event *event = &recorder->events[i];
		if (!event->data || event->folded)
			continue;
		struct event *copy = &survivor->events[survivor->count++];
		*copy = inherited(event, event->completed ? 0 : random_next(seed));
		apply(copy, survivor->data, UINT64_MAX);
	}
	clock->now = clock->now > 1 ? clock->now : 1;
	return survivor;
}

void recorder_kill(struct recorder *recorder, uint64_t *seed, uint8_t *image)
{
	memcpy(image, recorder->data, recorder->device.bytes);
	for (unsigned i = 0; i < recorder->pendings; i++) {
		size_t event = recorder->pending[i].event;
		if (event != SIZE_MAX && recorder->events[event].data)
			apply(&recorder->events[event], image, random_next(seed));
	}
}
