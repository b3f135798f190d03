/* SPDX-License-Identifier: BSD-3-Clause */
/* Neighbours of the DPU in the underlay: who has which MAC, asked by ARP (RFC 826) and ND (RFC 4861 7.2, 7.3) before
 * traffic needs it.
 *
 * A neighbour lives while a tunnel uses it. It is asked at once, again after 100 ms, 200 ms and so on up to every
 * second until it answers, then confirmed by a unicast request every 30 s; after three that stay unanswered it is
 * unresolved again, and packets behind it are dropped by that name. Thousands that do not answer are asked in turns.
 *
 * When the link has come back, or has another MAC, those behind it are doubted: they keep their MAC, but are asked like
 * unresolved ones, by broadcast, since they may have changed with it and their announcement was not heard. */
#include <stdlib.h>
#include <string.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include "base/clock.h"
#include "base/log.h"
#include "service/vswitch/vswitch_priv.h"

enum { PUNT_RING = 1024, PUNT_BURST = 32, PUNT_TURNS = 8, CONFIRM_SECONDS = 30, TRIES = 3, ASK_MOST = 256 };

#define ASK_FIRST_NS (100 * CLOCK_NS_PER_MS)

struct neighbour_key {
	uint32_t underlay; /* slot */
	struct ip_addr address;
	uint8_t zero[3];
};

struct neighbour {
	struct neighbour_key key;
	struct control_underlay *underlay;
	struct mac_addr mac;
	bool resolved, doubted;
	unsigned users, unanswered;
	uint64_t next_request_ns;
	struct tunnel_list tunnels; /* behind it */
};

/* Until the next request, after this one. */
static uint64_t patience_ns(const struct neighbour *neighbour)
{
	if ((neighbour->resolved && !neighbour->doubted) || neighbour->unanswered > 3)
		return CLOCK_NS_PER_S;
	return ASK_FIRST_NS << neighbour->unanswered;
}

static void neighbour_ask(struct vswitch *vswitch, struct neighbour *neighbour, uint64_t now)
{
	struct rte_mbuf *m = underlay_request(vswitch, neighbour->underlay, &neighbour->key.address,
					      neighbour->resolved && !neighbour->doubted ? &neighbour->mac : NULL);

	neighbour->next_request_ns = now + patience_ns(neighbour);
	neighbour->unanswered++;
	if (m)
		control_send(vswitch, neighbour->underlay->record->iface, m);
}

struct neighbour *neighbour_get(struct vswitch *vswitch, struct control_underlay *underlay,
				const struct ip_addr *address)
{
	struct neighbour_key key = { .underlay = underlay->object->base.slot, .address = *address };
	struct neighbour *neighbour = rcu_map_find(vswitch->neighbours, &key);

	if (!neighbour) {
		neighbour = control_alloc(sizeof(*neighbour));
		*neighbour = (struct neighbour){ .key = key, .underlay = underlay };
		LIST_INIT(&neighbour->tunnels);
		if (rcu_map_set(vswitch->neighbours, &key, neighbour, NULL) != 0)
			abort();
		neighbour_ask(vswitch, neighbour, clock_ns());
		if (vswitch->neighbour_timer)
			loop_timer_rearm(vswitch->neighbour_timer, ASK_FIRST_NS);
	}
	neighbour->users++;
	return neighbour;
}

void neighbour_put(struct vswitch *vswitch, struct neighbour *neighbour)
{
	if (--neighbour->users > 0)
		return;
	rcu_map_remove(vswitch->neighbours, &neighbour->key);
	free(neighbour);
}

struct tunnel_list *neighbour_tunnels(struct neighbour *neighbour)
{
	return &neighbour->tunnels;
}

const struct mac_addr *neighbour_mac(const struct neighbour *neighbour)
{
	return neighbour->resolved ? &neighbour->mac : NULL;
}

void neighbour_learn(struct vswitch *vswitch, struct control_underlay *underlay, const struct ip_addr *address,
		     const struct mac_addr *mac)
{
	struct neighbour_key key = { .underlay = underlay->object->base.slot, .address = *address };
	struct neighbour *neighbour = rcu_map_find(vswitch->neighbours, &key);

	if (!neighbour || mac_is_zero(mac) || mac_is_multicast(mac))
		return;
	neighbour->doubted = false;
	neighbour->unanswered = 0;
	neighbour->next_request_ns = clock_ns() + CONFIRM_SECONDS * CLOCK_NS_PER_S;
	if (neighbour->resolved && mac_equal(&neighbour->mac, mac))
		return;
	neighbour->resolved = true;
	neighbour->mac = *mac;
	tunnels_of_neighbour(vswitch, neighbour);
}

/* One pass over all neighbours. */
struct pass {
	struct vswitch *vswitch;
	uint64_t now, next_ns; /* the earliest that is due after it */
	unsigned asked;
};

static int neighbour_tick(void *arg, const void *key, void *value)
{
	struct pass *pass = arg;
	struct neighbour *neighbour = value;

	(void)key;
	if (pass->now >= neighbour->next_request_ns && pass->asked < ASK_MOST) {
		if (neighbour->resolved && neighbour->unanswered >= TRIES) {
			char text[IP_TEXT];

			neighbour->resolved = false;
			log_warn("underlay", "neighbour does not answer any more", "address=%s",
				 ip_format(&neighbour->key.address, text));
			tunnels_of_neighbour(pass->vswitch, neighbour);
		}
		neighbour_ask(pass->vswitch, neighbour, pass->now);
		pass->asked++;
	}
	pass->next_ns = RTE_MIN(pass->next_ns, neighbour->next_request_ns);
	return 0;
}

static void neighbours_tick(void *arg)
{
	struct vswitch *vswitch = arg;
	uint64_t now = clock_ns();
	struct pass pass = { .vswitch = vswitch, .now = now, .next_ns = now + CLOCK_NS_PER_S };

	rcu_map_each(vswitch->neighbours, neighbour_tick, &pass);
	loop_timer_rearm(vswitch->neighbour_timer, RTE_MAX(pass.next_ns, now + ASK_FIRST_NS) - now);
}

static int neighbour_doubt(void *arg, const void *key, void *value)
{
	struct neighbour *neighbour = value;

	if (neighbour->underlay != arg)
		return 0;
	neighbour->doubted = true;
	neighbour->unanswered = 0;
	neighbour->next_request_ns = 0;
	return 0;
}

void neighbours_doubt(struct control_underlay *underlay)
{
	struct vswitch *vswitch = underlay->vswitch;

	rcu_map_each(vswitch->neighbours, neighbour_doubt, underlay);
	if (vswitch->neighbour_timer)
		loop_timer_rearm(vswitch->neighbour_timer, 1);
}

static void punt_drain(void *arg)
{
	struct vswitch *vswitch = arg;
	void *packets[PUNT_BURST];
	unsigned count;

	/* A bounded number: a flood of ARP must not keep control from its other work. */
	for (unsigned turn = 0; turn < PUNT_TURNS; turn++) {
		count = rte_ring_dequeue_burst(vswitch->dp.punt, packets, PUNT_BURST, NULL);
		for (unsigned i = 0; i < count; i++) {
			struct rte_mbuf *answer = underlay_receive(vswitch, packets[i]);

			if (answer)
				control_send(vswitch, answer->port, answer);
		}
		if (count < PUNT_BURST)
			break;
	}
}

int neighbours_start(struct vswitch *vswitch, struct dpu_error *err)
{
	static unsigned serial; /* names of rings are process-wide */
	char name[RTE_RING_NAMESIZE];

	snprintf(name, sizeof(name), "punt%u", serial++);
	vswitch->dp.punt = rte_ring_create(name, PUNT_RING, SOCKET_ID_ANY, RING_F_SC_DEQ);
	if (!vswitch->dp.punt ||
	    loop_timer_add(vswitch->dpu->loop, ASK_FIRST_NS, 0, neighbours_tick, vswitch, &vswitch->neighbour_timer) !=
		    0 ||
	    loop_timer_add(vswitch->dpu->loop, 0, 20 * CLOCK_NS_PER_MS, punt_drain, vswitch, &vswitch->punt_timer) != 0)
		return error_set(err, DPU_E_INTERNAL, NULL, "no memory for the underlay's ring and timers");
	return 0;
}

void neighbours_stop(struct vswitch *vswitch)
{
	loop_timer_remove(vswitch->neighbour_timer);
	loop_timer_remove(vswitch->punt_timer);
	vswitch->neighbour_timer = vswitch->punt_timer = NULL;
}

void neighbours_free(struct vswitch *vswitch)
{
	void *m;

	while (vswitch->dp.punt && rte_ring_dequeue(vswitch->dp.punt, &m) == 0)
		rte_pktmbuf_free(m);
	rte_ring_free(vswitch->dp.punt);
	vswitch->dp.punt = NULL;
}

void neighbours_announce(struct control_underlay *underlay)
{
	struct rte_mbuf *m = underlay_announcement(underlay->vswitch, underlay);

	if (m)
		control_send(underlay->vswitch, underlay->record->iface, m);
}
