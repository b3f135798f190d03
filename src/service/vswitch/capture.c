/* SPDX-License-Identifier: BSD-3-Clause */
/* Captures: workers copy what matches into rings of their own, control writes it to pcapng files. A full ring loses
 * packets of the capture, counted, and never delays traffic. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <rte_ether.h>
#include "base/clock.h"
#include "base/log.h"
#include "service/vswitch/actions.h"
#include "service/vswitch/pcapng.h"
#include "service/vswitch/vswitch_priv.h"

enum { RING_SLOTS = 1024, CAPTURES_MAX = 8 };

static const char *const stage_names[CAPTURE_STAGES] = { "rx", "decap", "miss", "drop", "tx" };

static bool stage_valid(const char *text)
{
	for (unsigned i = 0; i < CAPTURE_STAGES; i++)
		if (strcmp(text, stage_names[i]) == 0)
			return true;
	return false;
}

static bool file_valid(const char *text)
{
	return *text && *text != '.' && !strchr(text, '/');
}

const struct field capture_start_fields[] = {
	FIELD(struct capture_args, file, .flags = FIELD_F_REQUIRED, .max = 128, .check = file_valid,
	      .check_doc = "must be a file name without '/'",
	      .doc = "Name of the pcapng file in the DPU's capture directory."),
	FIELD(struct capture_args, vnic, .target = "vnic", .doc = "Only at this vNIC, as TENANT/NAME."),
	FIELD(struct capture_args, port, .target = "port", .doc = "Only at this uplink."),
	FIELD(struct capture_args, vpc, .target = "vpc", .doc = "Only at the vNICs of this VPC, as TENANT/NAME."),
	FIELD(struct capture_args, stages, .max = CAPTURE_STAGES, .check = stage_valid,
	      .check_doc = "must be rx, decap, miss, drop or tx",
	      .doc = "Where in the path: rx, decap, miss, drop, tx; by default rx and tx."),
	FIELD(struct capture_args, address,
	      .doc = "Only packets from or to this address, in the frame's first IP header: on an uplink, rx and tx "
		     "show "
		     "tunnel endpoints there, and decap the tenant's packets."),
	FIELD(struct capture_args, protocol, .max = 16, .doc = "Only packets of this IP protocol, by name or number."),
	FIELD(struct capture_args, transport_port, .max = 65535, .def = "0",
	      .doc = "Only packets with this TCP, UDP, SCTP or DCCP port at either end; 0 means any."),
	FIELD(struct capture_args, packets, .min = 1, .max = 10000000, .def = "10000", .unit = "packets",
	      .doc = "Ends after so many packets."),
	FIELD(struct capture_args, seconds, .min = 1, .max = 86400, .def = "60", .unit = "seconds",
	      .doc = "Ends after so long."),
	FIELD(struct capture_args, max_bytes, .min = 4096, .max = UINT64_C(1) << 40, .def = "268435456",
	      .unit = "bytes", .doc = "Ends when the file is so large."),
	FIELD(struct capture_args, snaplen, .min = 64, .max = 9300, .def = "1600", .unit = "bytes",
	      .doc = "Keeps so much of each packet."),
	{ 0 },
};

const struct field capture_stop_fields[] = {
	FIELD(struct capture_stop_args, id, .min = 1, .max = UINT32_MAX, .flags = FIELD_F_REQUIRED,
	      .doc = "Number that capture-start gave."),
	{ 0 },
};

struct slot {
	uint64_t time_ns;
	uint32_t captured, original;
	uint16_t iface;
	uint8_t stage, reason;
	uint8_t data[];
};

/* One producer (the worker), one consumer (control). */
struct capture_ring {
	_Atomic uint32_t head, tail;
	_Atomic uint64_t missed;
	uint8_t *slots;
};

struct capture {
	uint32_t id;
	struct vswitch *vswitch;
	uint32_t stages; /* bit per stage */
	uint16_t iface, vpc, port;
	uint8_t proto;
	struct ip_addr address;
	uint32_t snaplen, packets_max;
	uint64_t bytes_max, end_ns;
	uint64_t packets, bytes;
	char *path;
	dev_t device; /* with inode: which file that is */
	ino_t inode;
	FILE *file;
	const char *ended; /* why; NULL while it runs */
	size_t slot_bytes;
	struct capture_ring rings[DP_MAX_WORKERS];
};

struct capture_set {
	struct capture *_Atomic running[CAPTURES_MAX];
	struct capture *all[CAPTURES_MAX]; /* ended ones stay listed until their place is needed */
	uint32_t next_id;
	struct loop_timer *timer;
};

/* ---- in the worker ---- */

static bool has_address(const uint8_t *l3, bool v6, const struct ip_addr *address)
{
	if (v6 != (address->family == IP_V6))
		return false;
	if (v6)
		return memcmp(l3 + 8, address->bytes, 16) == 0 || memcmp(l3 + 24, address->bytes, 16) == 0;
	return memcmp(l3 + 12, address->bytes, 4) == 0 || memcmp(l3 + 16, address->bytes, 4) == 0;
}

/* Begins with ports what is behind the IP header? Not in a later fragment. */
static bool has_ports(const uint8_t *l3, bool v6)
{
	uint8_t proto = v6 ? l3[6] : l3[9];

	return (proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP || proto == IPPROTO_DCCP) &&
	       (v6 || (!(l3[6] & 0x1f) && !l3[7]));
}

/* The frame's first IP header, behind a VLAN tag perhaps, or NULL. */
static const uint8_t *ip_header(const uint8_t *data, uint32_t bytes, bool *ret_v6)
{
	uint32_t offset = bytes >= 18 && data[12] == 0x81 && data[13] == 0 ? 18 : 14;
	uint16_t type = bytes >= offset ? (uint16_t)(data[offset - 2] << 8 | data[offset - 1]) : 0;

	*ret_v6 = type == RTE_ETHER_TYPE_IPV6;
	if (bytes < offset + (*ret_v6 ? 40 : 20) || (!*ret_v6 && type != RTE_ETHER_TYPE_IPV4))
		return NULL;
	return data + offset;
}

/* A frame too short for what is asked does not match. */
static bool frame_matches(const struct capture *capture, const struct rte_mbuf *m)
{
	const uint8_t *data = rte_pktmbuf_mtod(m, const uint8_t *), *l3, *l4;
	uint32_t bytes = rte_pktmbuf_data_len(m);
	bool v6;

	if (!capture->proto && !capture->port && capture->address.family == IP_NONE)
		return true;
	l3 = ip_header(data, bytes, &v6);
	if (!l3 || (capture->proto && capture->proto != (v6 ? l3[6] : l3[9])))
		return false;
	if (capture->address.family != IP_NONE && !has_address(l3, v6, &capture->address))
		return false;
	if (!capture->port)
		return true;
	l4 = l3 + (v6 ? 40 : (l3[0] & 15) * 4);
	if (!has_ports(l3, v6) || l4 + 4 > data + bytes)
		return false;
	return (l4[0] << 8 | l4[1]) == capture->port || (l4[2] << 8 | l4[3]) == capture->port;
}

static uint64_t wall_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * CLOCK_NS_PER_S + now.tv_nsec;
}

static void keep(struct capture *capture, struct capture_ring *ring, enum capture_stage stage, enum drop_reason reason,
		 uint16_t iface, const struct rte_mbuf *m)
{
	uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	uint32_t length = rte_pktmbuf_pkt_len(m) < capture->snaplen ? rte_pktmbuf_pkt_len(m) : capture->snaplen;
	struct slot *slot = (struct slot *)(ring->slots + (head % RING_SLOTS) * capture->slot_bytes);
	const void *data;

	if (head - atomic_load_explicit(&ring->tail, memory_order_acquire) == RING_SLOTS) {
		atomic_fetch_add_explicit(&ring->missed, 1, memory_order_relaxed);
		return;
	}
	*slot = (struct slot){ .time_ns = wall_ns(),
			       .captured = length,
			       .original = rte_pktmbuf_pkt_len(m),
			       .iface = iface,
			       .stage = stage,
			       .reason = reason };
	data = rte_pktmbuf_read(m, 0, length, slot->data);
	if (data && data != slot->data)
		memcpy(slot->data, data, length);
	atomic_store_explicit(&ring->head, head + 1, memory_order_release);
}

static void capture_packet(void *ctx, unsigned worker, enum capture_stage stage, enum drop_reason reason,
			   uint16_t iface, const struct rte_mbuf *m)
{
	struct vswitch *vswitch = ctx;
	const struct path_iface *record =
		atomic_load_explicit(&vswitch->dp.config->ifaces[iface], memory_order_acquire);

	for (unsigned i = 0; i < CAPTURES_MAX; i++) {
		struct capture *capture = atomic_load_explicit(&vswitch->captures->running[i], memory_order_acquire);

		if (!capture || !(capture->stages & 1u << stage))
			continue;
		if (capture->iface && capture->iface != iface)
			continue;
		if (capture->vpc && (!record || record->vpc != capture->vpc))
			continue;
		if (frame_matches(capture, m))
			keep(capture, &capture->rings[worker], stage, reason, iface, m);
	}
}

/* ---- in control ---- */

/* Why a write has just failed. */
static const char *write_fault(void)
{
	return errno == ENOSPC || errno == EDQUOT ? "the disk is full" : "the file cannot be written";
}

static void write_slot(struct capture *capture, const struct slot *slot)
{
	char name[600], comment[700];

	iface_name(capture->vswitch, slot->iface, name, sizeof(name));
	if (slot->stage == CAPTURE_DROP)
		snprintf(comment, sizeof(comment), "interface %s, dropped: %s", name, drop_reason_name(slot->reason));
	else
		snprintf(comment, sizeof(comment), "interface %s", name);
	if (pcapng_packet(capture->file, slot->stage, slot->time_ns, slot->data, slot->captured, slot->original,
			  comment) != 0)
		capture->ended = write_fault();
	capture->packets++;
	capture->bytes += slot->captured;
}

static void capture_drain(struct capture *capture)
{
	for (unsigned i = 0; i < capture->vswitch->dp.worker_count; i++) {
		struct capture_ring *ring = &capture->rings[i];
		uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

		while (!capture->ended && tail != atomic_load_explicit(&ring->head, memory_order_acquire)) {
			write_slot(capture, (struct slot *)(ring->slots + (tail % RING_SLOTS) * capture->slot_bytes));
			atomic_store_explicit(&ring->tail, ++tail, memory_order_release);
			if (capture->packets >= capture->packets_max)
				capture->ended = "as many packets as asked for";
			else if (capture->bytes >= capture->bytes_max)
				capture->ended = "the file is as large as allowed";
		}
	}
	/* So that a reader finds whole packets, however dpud ends. */
	if (fflush(capture->file) != 0 && !capture->ended)
		capture->ended = write_fault();
	if (!capture->ended && clock_ns() >= capture->end_ns)
		capture->ended = "as long as asked for";
}

static void switch_capturing(struct vswitch *vswitch, bool on);

static void rings_free(void *memory)
{
	struct capture_ring *rings = memory;

	for (unsigned i = 0; i < DP_MAX_WORKERS; i++)
		free(rings[i].slots);
	free(rings);
}

/* Out of the workers' sight, a grace period, freed; the file is complete at once. */
static void capture_end(struct capture *capture, const char *why)
{
	struct vswitch *vswitch = capture->vswitch;
	struct capture_ring *rings = control_alloc(sizeof(capture->rings));
	bool others = false;

	if (why)
		capture->ended = why;
	for (unsigned i = 0; i < CAPTURES_MAX; i++) {
		if (atomic_load(&vswitch->captures->running[i]) == capture)
			atomic_store_explicit(&vswitch->captures->running[i], NULL, memory_order_release);
		others |= atomic_load(&vswitch->captures->running[i]) != NULL;
	}
	fclose(capture->file);
	capture->file = NULL;
	for (unsigned i = 0; i < DP_MAX_WORKERS; i++)
		rings[i].slots = capture->rings[i].slots;
	retire_with(vswitch, rings_free, rings);
	if (!others)
		switch_capturing(vswitch, false);
	log_info("capture", "ended", "id=%u packets=%lu reason=\"%s\"", capture->id, (unsigned long)capture->packets,
		 capture->ended);
}

static void captures_tick(void *arg)
{
	struct vswitch *vswitch = arg;

	for (unsigned i = 0; i < CAPTURES_MAX; i++) {
		struct capture *capture = vswitch->captures->all[i];

		if (!capture || !capture->file)
			continue;
		capture_drain(capture);
		if (capture->ended)
			capture_end(capture, NULL);
	}
}

static void capturing_on(void *arg, struct worker *worker)
{
	(void)worker;
	path_set_capture(arg, true);
}

static void capturing_off(void *arg, struct worker *worker)
{
	(void)worker;
	path_set_capture(arg, false);
}

static void switch_capturing(struct vswitch *vswitch, bool on)
{
	for (unsigned i = 0; i < vswitch->dp.worker_count; i++)
		worker_call(workers_get(vswitch->dp.workers, i), on ? capturing_on : capturing_off,
			    vswitch->dp.paths[i], NULL);
	if (on && !vswitch->captures->timer) {
		loop_timer_add(vswitch->dpu->loop, 0, 20 * CLOCK_NS_PER_MS, captures_tick, vswitch,
			       &vswitch->captures->timer);
	} else if (!on) {
		loop_timer_remove(vswitch->captures->timer);
		vswitch->captures->timer = NULL;
	}
}

/* Nothing else than a file of this capture's alone: a pipe would have control wait for its reader, and two captures
 * would write over each other. */
static int file_check(struct capture *capture, int fd, struct dpu_error *err)
{
	const struct capture_set *set = capture->vswitch->captures;
	struct stat stat;

	if (fstat(fd, &stat) != 0 || !S_ISREG(stat.st_mode))
		return error_set(err, DPU_E_INVALID, "file",
				 "names something in the capture directory that is no file");
	for (unsigned i = 0; i < CAPTURES_MAX; i++) {
		const struct capture *other = set->all[i];

		if (other && other->file && other->device == stat.st_dev && other->inode == stat.st_ino)
			return error_set(err, DPU_E_EXISTS, "file", "is being written by capture %u", other->id);
	}
	capture->device = stat.st_dev;
	capture->inode = stat.st_ino;
	return 0;
}

static int file_begin(struct capture *capture, const char *path, int fd, struct dpu_error *err)
{
	int rc = file_check(capture, fd, err);

	if (rc != 0) {
		close(fd);
		return rc;
	}
	if (ftruncate(fd, 0) == 0)
		capture->file = fdopen(fd, "w");
	if (!capture->file)
		close(fd);
	else if (pcapng_begin(capture->file, stage_names, CAPTURE_STAGES, capture->snaplen) == 0 &&
		 fflush(capture->file) == 0)
		return 0;
	rc = error_set(err, DPU_E_IO, "file", "%s cannot be written: %s", path, strerror(errno));
	if (capture->file)
		fclose(capture->file);
	return rc;
}

static int file_open(struct capture *capture, const char *name, struct dpu_error *err)
{
	const char *folder = capture->vswitch->dpu->capture_dir;
	char path[4096];
	int fd, rc;

	if (!folder)
		return error_set(err, DPU_E_DENIED, "file",
				 "cannot be written: dpud was started without --capture-dir");
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_CREAT | O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0640);
	if (fd < 0)
		return error_set(err, DPU_E_IO, "file", "%s cannot be made: %s", path, strerror(errno));
	rc = file_begin(capture, path, fd, err);
	if (rc == 0)
		capture->path = control_text(path);
	return rc;
}

static uint32_t stage_bits(const struct string_list *stages)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < stages->count; i++)
		for (unsigned j = 0; j < CAPTURE_STAGES; j++)
			if (strcmp(stages->items[i], stage_names[j]) == 0)
				bits |= 1u << j;
	return bits ? bits : 1u << CAPTURE_RX | 1u << CAPTURE_TX;
}

static void capture_free(void *memory)
{
	struct capture *capture = memory;

	free(capture->path);
	free(capture);
}

/* A worker may still be looking at it. */
static void capture_retire(struct capture *capture)
{
	if (capture)
		retire_with(capture->vswitch, capture_free, capture);
}

/* A place whose capture has ended, if need be. */
static struct capture **free_place(struct capture_set *set)
{
	for (unsigned i = 0; i < CAPTURES_MAX; i++)
		if (!set->all[i])
			return &set->all[i];
	for (unsigned i = 0; i < CAPTURES_MAX; i++)
		if (!set->all[i]->file)
			return &set->all[i];
	return NULL;
}

static struct capture *capture_new(struct vswitch *vswitch, const struct capture_args *args)
{
	struct capture *capture = control_alloc(sizeof(*capture));

	*capture = (struct capture){ .id = ++vswitch->captures->next_id,
				     .vswitch = vswitch,
				     .stages = stage_bits(&args->stages),
				     .vpc = args->vpc.object ? args->vpc.object->slot : 0,
				     .port = args->transport_port,
				     .proto = rule_protocol(args->protocol,
							    args->address.family == IP_V6 ? RULE_IPV6 : RULE_IPV4),
				     .address = args->address,
				     .snaplen = args->snaplen,
				     .packets_max = args->packets,
				     .bytes_max = args->max_bytes,
				     .end_ns = clock_ns() + args->seconds * CLOCK_NS_PER_S,
				     .slot_bytes = (sizeof(struct slot) + args->snaplen + 7) & ~7ul };
	if (args->vnic.object)
		capture->iface = PATH_FIRST_VNIC + args->vnic.object->slot;
	else if (args->port.object)
		capture->iface = args->port.object->slot;
	for (unsigned i = 0; i < vswitch->dp.worker_count; i++)
		capture->rings[i].slots = control_alloc(RING_SLOTS * capture->slot_bytes);
	return capture;
}

int capture_start(void *ctx, struct object *object, const void *arguments, json_t **ret_result, struct dpu_error *err)
{
	const struct capture_args *args = arguments;
	struct vswitch *vswitch = ctx;
	struct capture **place, *capture;
	int rc;

	(void)object;
	if (rule_protocol(args->protocol, RULE_IPV4) < 0)
		return error_set(err, DPU_E_INVALID, "protocol", "must be a protocol's name or a number up to 255");
	if (!vswitch->running)
		return error_set(err, DPU_E_UNSUPPORTED, NULL, "the switch is not running yet");
	if (!vswitch->captures)
		vswitch->captures = control_alloc(sizeof(*vswitch->captures));
	place = free_place(vswitch->captures);
	if (!place)
		return error_set(err, DPU_E_LIMIT, NULL, "%u captures run already; stop one", CAPTURES_MAX);
	capture = capture_new(vswitch, args);
	rc = file_open(capture, args->file, err);
	if (rc != 0) {
		for (unsigned i = 0; i < vswitch->dp.worker_count; i++)
			free(capture->rings[i].slots);
		capture_free(capture);
		return rc;
	}
	capture_retire(*place);
	*place = capture;
	vswitch->dp.capture = capture_packet;
	vswitch->dp.capture_ctx = vswitch;
	atomic_store_explicit(&vswitch->captures->running[place - vswitch->captures->all], capture,
			      memory_order_release);
	switch_capturing(vswitch, true);
	*ret_result = json_pack("{s:i, s:s}", "id", (int)capture->id, "file", capture->path);
	return 0;
}

static json_t *capture_json(const struct capture *capture)
{
	uint64_t missed = 0;

	for (unsigned i = 0; i < DP_MAX_WORKERS; i++)
		missed += atomic_load(&capture->rings[i].missed);
	return json_pack("{s:i, s:s, s:I, s:I, s:I, s:b, s:s?}", "id", (int)capture->id, "file", capture->path,
			 "packets", (json_int_t)capture->packets, "bytes", (json_int_t)capture->bytes, "missed",
			 (json_int_t)missed, "running", capture->file != NULL, "ended", capture->ended);
}

int capture_stop(void *ctx, struct object *object, const void *arguments, json_t **ret_result, struct dpu_error *err)
{
	const struct capture_stop_args *args = arguments;
	struct vswitch *vswitch = ctx;

	(void)object;
	for (unsigned i = 0; vswitch->captures && i < CAPTURES_MAX; i++) {
		struct capture *capture = vswitch->captures->all[i];

		if (!capture || capture->id != args->id)
			continue;
		if (capture->file) {
			capture_drain(capture);
			capture_end(capture, capture->ended ? NULL : "stopped");
		}
		*ret_result = capture_json(capture);
		return 0;
	}
	return error_set(err, DPU_E_NOT_FOUND, "id", "no capture has number %u; capture-list shows them", args->id);
}

int capture_list(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	const struct vswitch *vswitch = ctx;
	json_t *list = json_array();

	(void)object, (void)args, (void)err;
	for (unsigned i = 0; vswitch->captures && i < CAPTURES_MAX; i++)
		if (vswitch->captures->all[i])
			json_array_append_new(list, capture_json(vswitch->captures->all[i]));
	*ret_result = json_pack("{s:o}", "captures", list);
	return 0;
}

void captures_end(struct vswitch *vswitch)
{
	if (!vswitch->captures)
		return;
	for (unsigned i = 0; i < CAPTURES_MAX; i++) {
		struct capture *capture = vswitch->captures->all[i];

		if (capture && capture->file) {
			capture_drain(capture);
			capture_end(capture, capture->ended ? NULL : "dpud stops");
		}
		capture_retire(capture);
		vswitch->captures->all[i] = NULL;
	}
	loop_timer_remove(vswitch->captures->timer);
	vswitch->captures->timer = NULL;
}

void captures_free(struct vswitch *vswitch)
{
	free(vswitch->captures);
	vswitch->captures = NULL;
}
