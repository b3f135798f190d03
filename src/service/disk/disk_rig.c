// SPDX-License-Identifier: BSD-3-Clause
/* The guest of a disk, for tests. */
#include "service/disk/disk_rig.h"

#include <linux/virtio_blk.h>
#include <stdio.h>
#include <string.h>
#include "device/virtio/vhost_protocol.h"
#include "service/disk/disk.h"

#define FEATURES                                                                                                       \
	(VHOST_BIT(32) | VHOST_BIT(30) | VHOST_BIT(28) | VHOST_BIT(VIRTIO_BLK_F_FLUSH) |                               \
	 VHOST_BIT(VIRTIO_BLK_F_CONFIG_WCE))
#define PROTOCOL                                                                                                       \
	(VHOST_BIT(VHOST_PROTOCOL_F_MQ) | VHOST_BIT(VHOST_PROTOCOL_F_REPLY_ACK) | VHOST_BIT(VHOST_PROTOCOL_F_CONFIG))

enum { MEMORY = 4 << 20, AREA = 0x4000, DATA = 0x1000, STATUS = 0x3000 };

void disk_rig_new(struct block_rig *rig, unsigned workers)
{
	static const struct service *const services[] = { &block_service, &block_rig_remote_service, &disk_service,
							  NULL };

	block_rig_new(rig, workers, services);
	block_rig_apply(rig,
			"{'tenants': [{'name': 'blue'}], 'media': [{'name': 'm', 'path': '%s/m', 'size': 67108864}],"
			" 'nvmf_remotes': [{'name': 'far'}], 'pools': [{'name': 'p', 'media': ['m']}],"
			" 'volumes': [{'name': 'v', 'tenant': 'blue', 'pool': 'p', 'size': 16777216}]}",
			rig->dir);
}

void disk_rig_disk(struct block_rig *rig, const char *fields)
{
	char text[256];

	snprintf(text, sizeof(text), "{'socket': '%s/guest', %s}", rig->dir, fields);
	block_rig_change(rig, CHANGE_CREATE, "disk", "blue/d", text, NULL);
}

/* ---- connection ---- */

static void pump(void *ctx)
{
	struct block_rig *rig = ctx;

	assert_int_equal(loop_once(rig->base.loop, 1), 0);
}

void guest_listen(struct guest *guest, struct block_rig *rig)
{
	memset(guest, 0, sizeof(*guest));
	guest->rig = rig;
	snprintf(guest->path, sizeof(guest->path), "%s/guest", rig->dir);
	frontend_init(&guest->frontend, MEMORY, pump, rig);
	frontend_listen(&guest->frontend, guest->path);
}

void guest_connect(struct guest *guest)
{
	frontend_accept(&guest->frontend);
	frontend_negotiate(&guest->frontend, FEATURES, PROTOCOL);
	frontend_share_memory(&guest->frontend);
	guest->frontend.allocated = 0;
	guest->queue = frontend_queue_new(&guest->frontend, 0, 4 * GUEST_QUEUE);
	guest->area = frontend_alloc(&guest->frontend, (uint64_t)GUEST_QUEUE * AREA, 4096);
	guest->offered = guest->taken = 0;
	frontend_queue_start(guest->queue, frontend_queue_base(guest->queue));
	frontend_sync(&guest->frontend);
}

void guest_stop(struct guest *guest)
{
	frontend_queue_stop(guest->queue);
}

void guest_free(struct guest *guest)
{
	frontend_fini(&guest->frontend);
}

/* ---- configuration space ---- */

uint64_t guest_config_bytes(struct guest *guest)
{
	struct vhost_config config = { .size = sizeof(uint64_t) };
	uint64_t sectors;

	frontend_send(&guest->frontend, VHOST_GET_CONFIG, VHOST_FLAG_VERSION, &config,
		      offsetof(struct vhost_config, region) + 8, NULL, 0);
	frontend_reply(&guest->frontend, VHOST_GET_CONFIG, &config, sizeof(config), NULL);
	memcpy(&sectors, config.region, sizeof(sectors));
	return sectors * 512;
}

uint64_t guest_set_write_back(struct guest *guest, bool on)
{
	struct vhost_config config = { .offset = offsetof(struct virtio_blk_config, wce), .size = 1 };

	config.region[0] = on;
	return frontend_acked(&guest->frontend, VHOST_SET_CONFIG, &config, offsetof(struct vhost_config, region) + 1,
			      NULL, 0);
}

/* ---- requests ---- */

static uint8_t *at(struct guest *guest, unsigned number, uint64_t offset)
{
	return frontend_at(&guest->frontend, guest->area + (uint64_t)(number % GUEST_QUEUE) * AREA + offset);
}

void *guest_data(struct guest *guest, unsigned number)
{
	return at(guest, number, DATA);
}

uint8_t guest_status(struct guest *guest, unsigned number)
{
	return *at(guest, number, STATUS);
}

unsigned guest_offer(struct guest *guest, uint32_t type, uint64_t sector, const void *data, uint32_t bytes)
{
	unsigned number = guest->offered++;
	struct virtio_blk_outhdr header = { .type = type, .sector = sector };
	uint64_t area = guest->area + (uint64_t)(number % GUEST_QUEUE) * AREA;
	struct frontend_buffer buffers[] = {
		{ area, sizeof(header), false },
		{ area + DATA, bytes, type == VIRTIO_BLK_T_IN },
		{ area + STATUS, 1, true },
	};

	assert_true(bytes <= GUEST_BYTES);
	memcpy(at(guest, number, 0), &header, sizeof(header));
	*at(guest, number, STATUS) = 0xee;
	if (data)
		memcpy(guest_data(guest, number), data, bytes);
	if (bytes == 0)
		buffers[1] = buffers[2];
	assert_true(frontend_offer(guest->queue, buffers, bytes ? 3 : 2, false) >= 0);
	frontend_kick(guest->queue);
	return number;
}

bool guest_take(struct guest *guest)
{
	uint16_t id;
	uint32_t length;

	if (!frontend_take(guest->queue, &id, &length))
		return false;
	guest->taken++;
	return true;
}

uint8_t guest_io(struct guest *guest, uint32_t type, uint64_t sector, void *data, uint32_t bytes)
{
	unsigned number = guest_offer(guest, type, sector, type == VIRTIO_BLK_T_OUT ? data : NULL, bytes);

	WAIT_FOR(&guest->rig->base, guest_take(guest));
	if (type == VIRTIO_BLK_T_IN)
		memcpy(data, guest_data(guest, number), bytes);
	return guest_status(guest, number);
}
