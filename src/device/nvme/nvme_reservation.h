/* SPDX-License-Identifier: BSD-3-Clause */
/* The reservations of a namespace as a state machine (NVM Express Base 2.0, 8.19 and 7.2, 7.3, 7.5, 7.6): who is
 * registered, who holds what, who may do what. No I/O: the caller makes the state durable and tells hosts. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "device/nvme/nvme_spec.h"

enum { RESERVATION_REGISTRANTS_MAX = 64, RESERVATION_HOST_BYTES = 16 };

struct reservation_registrant {
	uint8_t host[RESERVATION_HOST_BYTES];
	uint64_t key;
	bool holder;
};

struct nvme_reservations {
	uint32_t generation;
	uint8_t type; /* enum nvme_reservation_type; of the reservation that is held */
	bool persist; /* through power loss */
	unsigned count;
	struct reservation_registrant registrant[RESERVATION_REGISTRANTS_MAX];
};

/* What a command did to other hosts: a notice for each. */
struct reservation_effects {
	unsigned count;
	struct {
		uint8_t host[RESERVATION_HOST_BYTES];
		uint8_t notice; /* enum nvme_reservation_notice */
	} told[RESERVATION_REGISTRANTS_MAX];
};

/* Each gives the status (enum nvme_status) and leaves the state alone unless it is NVME_OK. cdw10: as in the command.
 */
uint16_t reservation_register(struct nvme_reservations *state, const uint8_t *host, uint32_t cdw10, uint64_t current,
			      uint64_t other, struct reservation_effects *ret);
uint16_t reservation_acquire(struct nvme_reservations *state, const uint8_t *host, uint32_t cdw10, uint64_t current,
			     uint64_t other, struct reservation_effects *ret);
uint16_t reservation_release(struct nvme_reservations *state, const uint8_t *host, uint32_t cdw10, uint64_t current,
			     struct reservation_effects *ret);

/* Figure "Command Behavior in the Presence of a Reservation": whether a host may read or change blocks. */
bool reservation_allows(const struct nvme_reservations *state, const uint8_t *host, bool change);

/* As bytes that outlive a power loss, with a check sum; 0 bytes when nothing has to. */
enum { RESERVATION_IMAGE_BYTES_MAX = 32 + RESERVATION_REGISTRANTS_MAX * 32 };
size_t reservation_save(const struct nvme_reservations *state, uint8_t ret[RESERVATION_IMAGE_BYTES_MAX]);
/* NULL: an image of ours and whole. Else what is wrong with it, and at which byte. No bytes are an image, too. */
const char *reservation_image_error(const void *image, size_t bytes, size_t *ret_at);
/* False: there is an error in it. */
bool reservation_load(struct nvme_reservations *state, const void *image, size_t bytes);
