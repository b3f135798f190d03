/* SPDX-License-Identifier: BSD-3-Clause */
/* A packet path with a service that a test scripts. */
#include "device/packet/path_harness.h"
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

static void miss(void *ctx, struct path *path, struct rte_mbuf *m, struct packet_info *info)
{
	struct harness *h = ctx;
	struct session_table *table = path_table(path, &info->key, info->hash);
	unsigned direction;

	h->misses++;
	if (!h->open_sessions || info->flags & (PACKET_F_SERVICE | PACKET_F_MULTICAST)) {
		path_drop(path, m, DROP_NO_ROUTE, info->in_iface, info->key.vpc);
		return;
	}
	struct session *session = session_find(table, &info->key, info->hash, &direction);
	if (!session) {
		session = session_new(table, &info->key, info->hash, path_now(path));
		if (!session) {
			path_drop(path, m, DROP_SESSION_TABLE_FULL, info->in_iface, info->key.vpc);
			return;
		}
		direction = session->initiator;
		if (info->proto == IPPROTO_TCP && !(info->tcp_flags & RTE_TCP_SYN_FLAG))
			session->tcp_state = TCP_ESTABLISHED;
		session_publish(table, session, h->timeout_ticks);
		path_count_session(path, info->key.vpc);
	}
	uint32_t epoch = atomic_load(&h->vpc.epoch);
	h->forward.epoch = h->reverse.epoch = epoch;
	session_set_action(session, session->initiator, &h->forward);
	session_set_action(session, !session->initiator, &h->reverse);
	path_forward(path, m, info, session, direction);
}

/* An eswitch whose only rule is: what comes from a member leaves by its representor, and the reverse. */
static void member(void *ctx, struct path *path, const struct path_iface *iface, struct rte_mbuf **packets,
		   unsigned count)
{
	uint16_t to = iface->kind == PATH_IFACE_MEMBER ? PATH_FIRST_REPRESENTOR + iface->representor : HARNESS_A;

	for (unsigned i = 0; i < count; i++)
		path_send(path, to, packets[i]);
}

static void tunnel_member(void *ctx, struct path *path, uint16_t in_iface, struct rte_mbuf **packets,
			  const uint16_t *slots, const uint32_t *tags, unsigned count)
{
	struct harness *h = ctx;

	for (unsigned i = 0; i < count; i++) {
		h->tunnelled++;
		h->tunnelled_slot = slots[i];
		h->tunnelled_tag = tags[i];
		path_send(path, slots[i], packets[i]);
	}
}

static void underlay(void *ctx, struct path *path, struct rte_mbuf *m, uint16_t in_iface)
{
	struct harness *h = ctx;

	h->underlay++;
	path_drop(path, m, DROP_SERVICE_HANDLED, in_iface, 0);
}

static void too_big(void *ctx, struct path *path, struct rte_mbuf *m, struct packet_info *info, uint16_t mtu)
{
	struct harness *h = ctx;

	h->too_big++;
	h->too_big_mtu = mtu;
	path_drop(path, m, DROP_TOO_BIG, info->in_iface, info->key.vpc);
}

static void ttl_expired(void *ctx, struct path *path, struct rte_mbuf *m, struct packet_info *info)
{
	struct harness *h = ctx;

	h->ttl_expired++;
	path_drop(path, m, DROP_TTL_EXPIRED, info->in_iface, info->key.vpc);
}

static void output(void *ctx, struct path *path, uint16_t iface, struct rte_mbuf **packets, unsigned count)
{
	struct harness *h = ctx;

	for (unsigned i = 0; i < count; i++) {
		if (h->out_count == HARNESS_KEEP) {
			path_drop(path, packets[i], DROP_TX_FULL, iface, 0);
			continue;
		}
		path_count_sent(path, iface, 1, packets[i]->pkt_len);
		h->out_iface[h->out_count] = iface;
		h->out[h->out_count++] = packets[i];
	}
}

static void handoff(void *ctx, struct path *path, unsigned worker, struct rte_mbuf *m, uint16_t in_iface)
{
	struct harness *h = ctx;

	h->handed_worker = worker;
	if (h->handed_count == HARNESS_KEEP) {
		path_drop(path, m, DROP_HANDOFF_FULL, in_iface, 0);
		return;
	}
	h->handed_iface[h->handed_count] = in_iface;
	h->handed[h->handed_count++] = m;
}

static void capture(void *ctx, struct path *path, enum capture_stage stage, enum drop_reason reason, uint16_t iface,
		    const struct rte_mbuf *m)
{
	struct harness *h = ctx;

	h->captured[stage]++;
	if (reason)
		h->captured_reason = reason;
}

static void session_removed(void *ctx, struct path *path, struct session *session)
{
	struct harness *h = ctx;

	h->removed++;
}

static void set_tunnel(struct harness *h, uint32_t index, bool geneve, bool v6)
{
	static struct frame outer, inner;
	struct path_tunnel *t = &h->tunnels[index];
	struct tunnel_spec spec = { .geneve = geneve,
				    .src = v6 ? "2001:db8::2" : "192.0.2.2",
				    .dst = v6 ? "2001:db8::1" : "192.0.2.1",
				    .src_mac = "02:00:00:00:01:02",
				    .dst_mac = "02:00:00:00:01:01" };

	inner.length = 0;
	frame_tunnel(&outer, &spec, &inner);
	*t = (struct path_tunnel){
		.index = index,
		.kind = geneve ? TUNNEL_GENEVE : TUNNEL_VXLAN,
		.v6 = v6,
		.udp_checksum = v6,
		.resolved = index != HARNESS_UNRESOLVED,
		.length = (uint8_t)outer.length,
		.l3_offset = 14,
		.out_iface = HARNESS_UPLINK,
	};
	/* Lengths, and the checksum over them, are the path's. */
	memset(outer.bytes + (v6 ? 18 : 16), 0, 2);
	memset(outer.bytes + (v6 ? 58 : 38), 0, 2);
	if (!v6) {
		memset(outer.bytes + 24, 0, 2);
		uint16_t sum = reference_checksum(outer.bytes + 14, 20, 0);
		outer.bytes[24] = (uint8_t)(sum >> 8);
		outer.bytes[25] = (uint8_t)sum;
	}
	memcpy(t->header, outer.bytes, outer.length);
	atomic_store(&h->config->tunnels[index], t);
}

struct session_dir harness_local(uint16_t in_iface, uint16_t out_iface)
{
	struct mac_addr router = test_mac("02:00:00:00:00:fe"), guest = test_mac("02:00:00:00:00:00");
	struct session_dir dir = { .in_iface = in_iface,
				   .out_iface = out_iface,
				   .ops = SESSION_OP_SET_MACS | SESSION_OP_DEC_TTL,
				   .mtu = 1500 };

	guest.bytes[5] = (uint8_t)(out_iface - PATH_FIRST_VNIC + 1);
	memcpy(dir.dst_mac, guest.bytes, sizeof(dir.dst_mac));
	memcpy(dir.src_mac, router.bytes, sizeof(dir.src_mac));
	return dir;
}

struct session_dir harness_encap(uint16_t in_iface, uint32_t tunnel)
{
	struct session_dir dir = harness_local(in_iface, HARNESS_UPLINK);

	dir.dst_mac[5] = 0x99;
	dir.ops |= SESSION_OP_ENCAP;
	dir.tunnel = tunnel;
	return dir;
}

void harness_set_actions(struct harness *h, struct session_dir forward, struct session_dir reverse)
{
	h->open_sessions = true;
	h->forward = forward;
	h->reverse = reverse;
}

static void set_iface(struct harness *h, unsigned i, uint16_t id, const char *mac)
{
	h->ifaces[i] = (struct path_iface){ .id = id,
					    .kind = id < PATH_FIRST_VNIC ? PATH_IFACE_UPLINK : PATH_IFACE_VNIC,
					    .check_mac = true,
					    .vpc = id < PATH_FIRST_VNIC ? 0 : HARNESS_VPC,
					    .mtu = 1500,
					    .mac = test_mac(mac) };
	atomic_store(&h->config->ifaces[id], &h->ifaces[i]);
}

static void configure(struct harness *h)
{
	struct ip_addr v4 = test_ip("192.0.2.2"), v6 = test_ip("2001:db8::2"), tagged = test_ip(HARNESS_TAGGED);

	set_iface(h, 0, HARNESS_UPLINK, "02:00:00:00:01:02");
	set_iface(h, 1, HARNESS_A, "02:00:00:00:00:01");
	set_iface(h, 2, HARNESS_B, "02:00:00:00:00:02");
	h->vpc.slot = HARNESS_VPC;
	h->vpc.tunnel = TUNNEL_VXLAN;
	h->vpc.vni = HARNESS_VNI;
	atomic_store(&h->vpc.epoch, 1);
	atomic_store(&h->config->vpcs[HARNESS_VPC], &h->vpc);
	set_tunnel(h, HARNESS_VXLAN_V4, false, false);
	set_tunnel(h, HARNESS_VXLAN_V6, false, true);
	set_tunnel(h, HARNESS_GENEVE_V4, true, false);
	set_tunnel(h, HARNESS_GENEVE_V6, true, true);
	set_tunnel(h, HARNESS_UNRESOLVED, false, false);
	if (path_local_set(h->config, &v4, 0, NULL, NULL) || path_local_set(h->config, &v6, 0, NULL, NULL) ||
	    path_local_set(h->config, &tagged, HARNESS_VLAN, NULL, NULL) ||
	    path_vni_set(h->config, TUNNEL_VXLAN, HARNESS_VNI, HARNESS_VPC, NULL, NULL) ||
	    path_vni_set(h->config, TUNNEL_GENEVE, HARNESS_VNI, HARNESS_VPC, NULL, NULL))
		abort();
}

struct harness *harness_new_worker(unsigned worker)
{
	struct harness *h = calloc(1, sizeof(*h));
	struct dpu_error err;

	test_pool();
	if (!h || path_config_new(&h->config))
		abort();
	configure(h);
	h->timeout_ticks = 100 * SESSION_TICKS_PER_SECOND;
	struct path_service service = {
		.miss = miss,
		.member = member,
		.tunnel_member = tunnel_member,
		.underlay = underlay,
		.too_big = too_big,
		.ttl_expired = ttl_expired,
		.output = output,
		.handoff = handoff,
		.capture = capture,
		.session_removed = session_removed,
		.ctx = h,
	};
	struct path_options options = {
		.config = h->config,
		.service = &service,
		.max_sessions = 4096,
		.seed = 42,
		.worker = worker,
	};
	if (path_new(&options, &h->path, &err)) {
		fprintf(stderr, "path_new: %s: %s\n", err.path, err.message);
		abort();
	}
	harness_set_actions(h, harness_local(HARNESS_A, HARNESS_B), harness_local(HARNESS_B, HARNESS_A));
	return h;
}

struct harness *harness_new(void)
{
	return harness_new_worker(0);
}

void harness_clear(struct harness *h)
{
	rte_pktmbuf_free_bulk(h->out, h->out_count);
	rte_pktmbuf_free_bulk(h->handed, h->handed_count);
	h->out_count = h->handed_count = 0;
	h->misses = h->underlay = h->too_big = h->ttl_expired = h->removed = 0;
	memset(h->captured, 0, sizeof(h->captured));
	h->captured_reason = DROP_NONE;
}

void harness_free(struct harness *h)
{
	harness_clear(h);
	path_free(h->path);
	path_config_free(h->config);
	free(h);
}

void harness_input_mbuf(struct harness *h, uint16_t iface, struct rte_mbuf *m)
{
	path_input(h->path, iface, &m, 1);
}

void harness_input(struct harness *h, uint16_t iface, const struct frame *frame)
{
	harness_input_mbuf(h, iface, frame_mbuf(frame));
}
