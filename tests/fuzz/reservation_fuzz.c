/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes reservations: the file that brings them through a power loss, with a check sum made right, and the commands of
 * hosts. What is loaded, and what any command leads to, does not contradict itself and is saved and loaded as it is. */
#include "device/nvme/nvme_reservation.h"
#include "engine/crc32c/crc32c.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CRC_AT = 8, COMMANDS = 200, HOSTS = 8 };

/* The check sum as the image's maker has it: over all, itself being zero. */
static void seal(uint8_t *image, size_t bytes)
{
	uint32_t crc = 0;

	if (bytes < CRC_AT + sizeof(crc))
		return;
	memset(image + CRC_AT, 0, sizeof(crc));
	crc = crc32c(0, image, bytes);
	memcpy(image + CRC_AT, &crc, sizeof(crc));
}

static bool all_hold(uint8_t type)
{
	return type == NVME_RESERVE_WRITE_EXCLUSIVE_ALL || type == NVME_RESERVE_EXCLUSIVE_ACCESS_ALL;
}

static void require_sound(const struct nvme_reservations *state)
{
	unsigned holders = 0;

	input_require(state->count <= RESERVATION_REGISTRANTS_MAX && state->type < NVME_RESERVE_TYPES);
	for (unsigned i = 0; i < state->count; i++) {
		holders += state->registrant[i].holder;
		input_require(state->registrant[i].key != 0);
		for (unsigned j = 0; j < i; j++)
			input_require(memcmp(state->registrant[i].host, state->registrant[j].host,
					     RESERVATION_HOST_BYTES) != 0);
	}
	if (state->type == NVME_RESERVE_NONE)
		input_require(holders == 0);
	else if (all_hold(state->type))
		input_require(holders == state->count && holders > 0);
	else
		input_require(holders == 1);
}

static void require_kept(const struct nvme_reservations *state)
{
	uint8_t image[RESERVATION_IMAGE_BYTES_MAX], again[RESERVATION_IMAGE_BYTES_MAX];
	struct nvme_reservations back;
	size_t bytes = reservation_save(state, image);

	input_require(!state->persist == (bytes == 0));
	input_require(reservation_load(&back, image, bytes));
	if (bytes == 0)
		return;
	require_sound(&back);
	input_require(back.count == state->count && back.type == state->type && back.generation == state->generation);
	input_require(reservation_save(&back, again) == bytes && memcmp(image, again, bytes) == 0);
}

static void command(struct input *in, struct nvme_reservations *state)
{
	struct nvme_reservations before = *state;
	struct reservation_effects effects;
	uint8_t host[RESERVATION_HOST_BYTES] = { 0 }, what = input_byte(in);
	uint32_t cdw10 = (uint32_t)input_byte(in) << 8 | (input_byte(in) & 15);
	uint16_t status;

	host[0] = what % HOSTS;
	cdw10 |= (uint32_t)(what & 0xc0) << 24;
	uint64_t current = input_byte(in) & 3, other = input_byte(in) & 3;
	if (what & 8 && state->count) { /* a host of the file, with its key */
		const struct reservation_registrant *of = &state->registrant[what % state->count];
		memcpy(host, of->host, sizeof(host));
		current = of->key;
	}
	switch (what >> 4 & 3) {
	case 0:
		status = reservation_acquire(state, host, cdw10, current, other, &effects);
		break;
	case 1:
		status = reservation_release(state, host, cdw10, current, &effects);
		break;
	default:
		status = reservation_register(state, host, cdw10, current, other, &effects);
	}
	input_require(effects.count <= RESERVATION_REGISTRANTS_MAX);
	input_require(status == NVME_OK || memcmp(&before, state, sizeof(before)) == 0);
	for (unsigned i = 0; i < effects.count; i++) /* nobody is told what he did himself */
		input_require(memcmp(effects.told[i].host, host, sizeof(host)) != 0);
	reservation_allows(state, host, what & 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t image[RESERVATION_IMAGE_BYTES_MAX + 1];
	struct input in = { data, data + size };
	struct nvme_reservations state;
	uint8_t form = input_byte(&in);
	size_t bytes = input_bytes(&in, image, form & 1 ? input_word(&in) % sizeof(image) : 0);

	if (form & 2)
		seal(image, bytes);
	if (!reservation_load(&state, image, bytes))
		return 0;
	require_sound(&state);
	require_kept(&state);
	for (unsigned i = 0; i < COMMANDS && input_left(&in); i++) {
		command(&in, &state);
		require_sound(&state);
	}
	require_kept(&state);
	return 0;
}
