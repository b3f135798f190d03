// SPDX-License-Identifier: BSD-3-Clause
/* Who is registered with a namespace, who holds it, and who may do what. */
#include "device/nvme/nvme_reservation.h"

#include <string.h>
#include "device/nvme/nvme_data.h"
#include "engine/crc32c/crc32c.h"

enum { IMAGE_MAGIC = 0x5352564e, IMAGE_VERSION = 1 };

struct image_header {
	uint32_t magic, version, crc, generation;
	uint32_t count;
	uint8_t type, persist, reserved[10];
};
struct image_registrant {
	uint8_t host[RESERVATION_HOST_BYTES];
	uint64_t key;
	uint8_t holder, reserved[7];
};
_Static_assert(sizeof(struct image_header) == 32 && sizeof(struct image_registrant) == 32, "the image's layout");

static struct reservation_registrant *registrant_find(struct nvme_reservations *state, const uint8_t *host)
{
	for (unsigned i = 0; i < state->count; i++)
		if (memcmp(state->registrant[i].host, host, RESERVATION_HOST_BYTES) == 0)
			return &state->registrant[i];
	return NULL;
}

static bool all_registrants(uint8_t type)
{
	return type == NVME_RESERVE_WRITE_EXCLUSIVE_ALL || type == NVME_RESERVE_EXCLUSIVE_ACCESS_ALL;
}

/* Others than the holder have rights that end with the reservation. */
static bool registrants_matter(uint8_t type)
{
	return type >= NVME_RESERVE_WRITE_EXCLUSIVE_REGISTRANTS;
}

static void tell(struct reservation_effects *effects, const uint8_t *host, uint8_t notice)
{
	for (unsigned i = 0; i < effects->count; i++)
		if (memcmp(effects->told[i].host, host, RESERVATION_HOST_BYTES) == 0)
			return;
	memcpy(effects->told[effects->count].host, host, RESERVATION_HOST_BYTES);
	effects->told[effects->count++].notice = notice;
}

static void tell_others(const struct nvme_reservations *state, const uint8_t *host, uint8_t notice,
			struct reservation_effects *effects)
{
	for (unsigned i = 0; i < state->count; i++)
		if (memcmp(state->registrant[i].host, host, RESERVATION_HOST_BYTES) != 0)
			tell(effects, state->registrant[i].host, notice);
}

static void reservation_end(struct nvme_reservations *state)
{
	state->type = NVME_RESERVE_NONE;
	for (unsigned i = 0; i < state->count; i++)
		state->registrant[i].holder = false;
}

static void reservation_take(struct nvme_reservations *state, struct reservation_registrant *holder, uint8_t type)
{
	reservation_end(state);
	state->type = type;
	if (!all_registrants(type)) {
		holder->holder = true;
		return;
	}
	for (unsigned i = 0; i < state->count; i++)
		state->registrant[i].holder = true;
}

/* The registrant goes, and with it a reservation that it was the last to hold. */
static void registrant_remove(struct nvme_reservations *state, struct reservation_registrant *registrant,
			      struct reservation_effects *effects)
{
	bool last = registrant->holder && (!all_registrants(state->type) || state->count == 1);
	uint8_t host[RESERVATION_HOST_BYTES];

	memcpy(host, registrant->host, sizeof(host));
	*registrant = state->registrant[--state->count];
	if (!last)
		return;
	if (registrants_matter(state->type))
		tell_others(state, host, NVME_RESERVATION_RELEASED, effects);
	reservation_end(state);
}

/* ---- register ---- */

static uint16_t registrant_add(struct nvme_reservations *state, const uint8_t *host, uint64_t key)
{
	struct reservation_registrant *registrant = registrant_find(state, host);

	if (key == 0)
		return NVME_INVALID_FIELD;
	if (registrant)
		return registrant->key == key ? NVME_OK : NVME_RESERVATION_CONFLICT;
	if (state->count == RESERVATION_REGISTRANTS_MAX)
		return NVME_INTERNAL_ERROR;
	registrant = &state->registrant[state->count++];
	memcpy(registrant->host, host, RESERVATION_HOST_BYTES);
	registrant->key = key;
	registrant->holder = all_registrants(state->type);
	return NVME_OK;
}

/* IEKEY (Base 2.1, 7.6): that there is no key is no error. */
static uint16_t registrant_missing(struct nvme_reservations *state, const uint8_t *host, uint32_t cdw10, uint64_t other)
{
	if (!(cdw10 & NVME_IEKEY))
		return NVME_RESERVATION_CONFLICT;
	return (cdw10 & 7) == NVME_UNREGISTER ? NVME_OK : registrant_add(state, host, other);
}

static uint16_t registrant_change(struct nvme_reservations *state, const uint8_t *host, uint32_t cdw10,
				  uint64_t current, uint64_t other, struct reservation_effects *effects)
{
	struct reservation_registrant *registrant = registrant_find(state, host);

	if (!registrant)
		return registrant_missing(state, host, cdw10, other);
	if (!(cdw10 & NVME_IEKEY) && registrant->key != current)
		return NVME_RESERVATION_CONFLICT;
	if ((cdw10 & 7) == NVME_UNREGISTER) {
		registrant_remove(state, registrant, effects);
		return NVME_OK;
	}
	if (other == 0)
		return NVME_INVALID_FIELD;
	registrant->key = other;
	return NVME_OK;
}

uint16_t reservation_register(struct nvme_reservations *state, const uint8_t *host, uint32_t cdw10, uint64_t current,
			      uint64_t other, struct reservation_effects *ret)
{
	uint32_t cptpl = cdw10 >> 30;
	uint16_t status;

	ret->count = 0;
	if (cptpl == NVME_CPTPL_RESERVED)
		return NVME_INVALID_FIELD;
	switch (cdw10 & 7) {
	case NVME_REGISTER:
		status = registrant_add(state, host, other);
		break;
	case NVME_UNREGISTER:
	case NVME_REGISTER_REPLACE:
		status = registrant_change(state, host, cdw10, current, other, ret);
		break;
	default:
		return NVME_INVALID_FIELD;
	}
	if (status != NVME_OK)
		return status;
	state->generation++;
	if (cptpl != NVME_CPTPL_KEEP)
		state->persist = cptpl == NVME_CPTPL_ON;
	return NVME_OK;
}

/* ---- acquire ---- */

static uint16_t acquire(struct nvme_reservations *state, struct reservation_registrant *registrant, uint8_t type)
{
	if (state->type == NVME_RESERVE_NONE) {
		reservation_take(state, registrant, type);
		return NVME_OK;
	}
	return registrant->holder && state->type == type ? NVME_OK : NVME_RESERVATION_CONFLICT;
}

static unsigned unregister_key(struct nvme_reservations *state, const uint8_t *host, uint64_t key, bool others_all,
			       struct reservation_effects *effects)
{
	unsigned removed = 0;

	for (unsigned i = 0; i < state->count;) {
		struct reservation_registrant *victim = &state->registrant[i];
		bool own = memcmp(victim->host, host, RESERVATION_HOST_BYTES) == 0;

		if (own || (!others_all && victim->key != key)) {
			removed += own && !others_all && victim->key == key;
			i++;
			continue;
		}
		tell(effects, victim->host, NVME_REGISTRATION_PREEMPTED);
		*victim = state->registrant[--state->count];
		removed++;
	}
	return removed;
}

/* 8.19.7: preempts a registration, and a reservation when it is its holder's. */
static uint16_t preempt(struct nvme_reservations *state, const uint8_t *host, uint64_t key, uint8_t type,
			struct reservation_effects *effects)
{
	bool all = all_registrants(state->type);
	bool takes = all && key == 0;

	if (key == 0 && !all)
		return NVME_INVALID_FIELD;
	for (unsigned i = 0; i < state->count && !all; i++)
		takes |= state->registrant[i].holder && state->registrant[i].key == key;
	uint8_t before = state->type;

	if (unregister_key(state, host, key, all && key == 0, effects) == 0 && !takes)
		return NVME_RESERVATION_CONFLICT;
	if (takes) {
		if (before != type && registrants_matter(before))
			tell_others(state, host, NVME_RESERVATION_RELEASED, effects);
		reservation_take(state, registrant_find(state, host), type);
	}
	state->generation++;
	return NVME_OK;
}

uint16_t reservation_acquire(struct nvme_reservations *state, const uint8_t *host, uint32_t cdw10, uint64_t current,
			     uint64_t other, struct reservation_effects *ret)
{
	struct reservation_registrant *registrant = registrant_find(state, host);
	uint8_t type = (uint8_t)(cdw10 >> 8);

	ret->count = 0;
	if ((cdw10 & NVME_IEKEY) || type == NVME_RESERVE_NONE || type >= NVME_RESERVE_TYPES)
		return NVME_INVALID_FIELD;
	if (!registrant || registrant->key != current)
		return NVME_RESERVATION_CONFLICT;
	switch (cdw10 & 7) {
	case NVME_ACQUIRE:
		return acquire(state, registrant, type);
	case NVME_PREEMPT:
	case NVME_PREEMPT_ABORT:
		return preempt(state, host, other, type, ret);
	default:
		return NVME_INVALID_FIELD;
	}
}

/* ---- release ---- */

uint16_t reservation_release(struct nvme_reservations *state, const uint8_t *host, uint32_t cdw10, uint64_t current,
			     struct reservation_effects *ret)
{
	struct reservation_registrant *registrant = registrant_find(state, host);

	ret->count = 0;
	if (cdw10 & NVME_IEKEY)
		return NVME_INVALID_FIELD;
	if (!registrant || registrant->key != current)
		return NVME_RESERVATION_CONFLICT;
	switch (cdw10 & 7) {
	case NVME_RELEASE:
		if (!registrant->holder)
			return NVME_OK;
		if ((uint8_t)(cdw10 >> 8) != state->type)
			return NVME_INVALID_FIELD;
		if (registrants_matter(state->type))
			tell_others(state, host, NVME_RESERVATION_RELEASED, ret);
		reservation_end(state);
		return NVME_OK;
	case NVME_CLEAR:
		tell_others(state, host, NVME_RESERVATION_PREEMPTED, ret);
		reservation_end(state);
		state->count = 0;
		state->generation++;
		return NVME_OK;
	default:
		return NVME_INVALID_FIELD;
	}
}

/* ---- rights ---- */

bool reservation_allows(const struct nvme_reservations *state, const uint8_t *host, bool change)
{
	const struct reservation_registrant *registrant;

	if (state->type == NVME_RESERVE_NONE)
		return true;
	registrant = registrant_find((struct nvme_reservations *)state, host);
	switch (state->type) {
	case NVME_RESERVE_WRITE_EXCLUSIVE:
		return !change || (registrant && registrant->holder);
	case NVME_RESERVE_EXCLUSIVE_ACCESS:
		return registrant && registrant->holder;
	case NVME_RESERVE_WRITE_EXCLUSIVE_REGISTRANTS:
	case NVME_RESERVE_WRITE_EXCLUSIVE_ALL:
		return !change || registrant;
	default:
		return registrant;
	}
}

/* ---- through a power loss ---- */

static uint32_t image_crc(const uint8_t *image, size_t bytes)
{
	struct image_header header;

	memcpy(&header, image, sizeof(header));
	header.crc = 0;
	return crc32c(crc32c(0, &header, sizeof(header)), image + sizeof(header), bytes - sizeof(header));
}

size_t reservation_save(const struct nvme_reservations *state, uint8_t ret[RESERVATION_IMAGE_BYTES_MAX])
{
	struct image_header header = {
		.magic = IMAGE_MAGIC,
		.version = IMAGE_VERSION,
		.generation = state->generation,
		.count = state->count,
		.type = state->type,
		.persist = state->persist,
	};
	size_t bytes = sizeof(header) + state->count * sizeof(struct image_registrant);

	if (!state->persist)
		return 0;
	memcpy(ret, &header, sizeof(header));
	for (unsigned i = 0; i < state->count; i++) {
		struct image_registrant registrant = {
			.key = state->registrant[i].key,
			.holder = state->registrant[i].holder,
		};

		memcpy(registrant.host, state->registrant[i].host, sizeof(registrant.host));
		memcpy(ret + sizeof(header) + i * sizeof(registrant), &registrant, sizeof(registrant));
	}
	header.crc = image_crc(ret, bytes);
	memcpy(ret, &header, sizeof(header));
	return bytes;
}

static const char *header_error(const struct image_header *header, size_t bytes, size_t *ret_at)
{
	size_t whole = sizeof(*header) + header->count * sizeof(struct image_registrant);

	*ret_at = offsetof(struct image_header, magic);
	if (header->magic != IMAGE_MAGIC)
		return "not a file of reservations";
	*ret_at = offsetof(struct image_header, version);
	if (header->version != IMAGE_VERSION)
		return "a version that is not known";
	*ret_at = offsetof(struct image_header, count);
	if (header->count > RESERVATION_REGISTRANTS_MAX)
		return "more registrants than there can be";
	*ret_at = bytes < whole ? bytes : whole;
	return bytes == whole ? NULL : bytes < whole ? "it ends too early" : "it goes on behind its end";
}

/* Who holds fits what is held, and nobody is there twice: what no series of commands can lead to is damage, though the
 * check sum is right. */
static const char *registrants_error(const uint8_t *image, const struct image_header *header, size_t *ret_at)
{
	const struct image_registrant *all = (const struct image_registrant *)(image + sizeof(*header));
	unsigned holders = 0;

	for (unsigned i = 0; i < header->count; i++) {
		*ret_at = sizeof(*header) + i * sizeof(*all);
		if (all[i].key == 0 || all[i].holder > 1)
			return "a registrant that cannot be";
		holders += all[i].holder;
		for (unsigned j = 0; j < i; j++)
			if (memcmp(all[i].host, all[j].host, sizeof(all[i].host)) == 0)
				return "a host that is registered twice";
	}
	unsigned wanted = header->type == NVME_RESERVE_NONE ? 0 : all_registrants(header->type) ? header->count : 1;

	*ret_at = offsetof(struct image_header, type);
	if (header->type >= NVME_RESERVE_TYPES || holders != wanted || (header->type && holders == 0))
		return "holders that do not fit the type of the reservation";
	return NULL;
}

const char *reservation_image_error(const void *image, size_t bytes, size_t *ret_at)
{
	struct image_header header;
	const char *error;

	*ret_at = bytes;
	if (bytes == 0)
		return NULL;
	if (bytes < sizeof(header))
		return "it ends too early";
	memcpy(&header, image, sizeof(header));
	error = header_error(&header, bytes, ret_at);
	if (error)
		return error;
	*ret_at = offsetof(struct image_header, crc);
	if (header.crc != image_crc(image, bytes))
		return "its check sum is wrong";
	return registrants_error(image, &header, ret_at);
}

bool reservation_load(struct nvme_reservations *state, const void *image, size_t bytes)
{
	struct image_header header;
	size_t at;

	*state = (struct nvme_reservations){ 0 };
	if (reservation_image_error(image, bytes, &at))
		return false;
	if (bytes == 0)
		return true;
	memcpy(&header, image, sizeof(header));
	state->generation = header.generation;
	state->type = header.type;
	state->persist = true;
	state->count = header.count;
	for (unsigned i = 0; i < header.count; i++) {
		struct image_registrant registrant;

		memcpy(&registrant, (const uint8_t *)image + sizeof(header) + i * sizeof(registrant),
		       sizeof(registrant));
		memcpy(state->registrant[i].host, registrant.host, sizeof(registrant.host));
		state->registrant[i].key = registrant.key;
		state->registrant[i].holder = registrant.holder;
	}
	return true;
}
