/* SPDX-License-Identifier: BSD-3-Clause */
/* DHCPv4 (RFC 2131, RFC 2132) for addresses that configuration has fixed: there are no leases to keep, so every answer
 * follows from the vNIC and its subnet. */
#include "service/vswitch/datapath_priv.h"

#include <netinet/in.h>
#include "service/vswitch/frame.h"

enum {
	FIXED_BYTES = 236,
	COOKIE = 0x63825363,
	REPLY_MIN_BYTES = 300, /* RFC 1542 2.1 */
	OPTIONS_MAX_BYTES = 1400,
	ANSWER_MIN_BYTES = 576, /* what every client takes (RFC 2131 2), IP header included */
	MESSAGE_MAX_BYTES = 1500,
	BROADCAST_FLAG = 0x8000,
	CLIENT_PORT = 68,
	SERVER_PORT = 67,
};
enum dhcp4_type { DISCOVER = 1, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM };
enum dhcp4_option {
	OPT_PAD = 0,
	OPT_MASK = 1,
	OPT_ROUTER = 3,
	OPT_DNS = 6,
	OPT_HOSTNAME = 12,
	OPT_DOMAIN = 15,
	OPT_MTU = 26,
	OPT_NTP = 42,
	OPT_REQUESTED_ADDRESS = 50,
	OPT_LEASE = 51,
	OPT_OVERLOAD = 52,
	OPT_TYPE = 53,
	OPT_SERVER = 54,
	OPT_PARAMETERS = 55,
	OPT_MAX_SIZE = 57,
	OPT_T1 = 58,
	OPT_T2 = 59,
	OPT_CLIENT_ID = 61,
	OPT_ROUTES = 121,
	OPT_ROUTES_MICROSOFT = 249,
	OPT_END = 255,
};

/* What a client's message says. */
struct message {
	uint8_t type; /* 0: BOOTP */
	uint32_t xid;
	uint16_t flags;
	uint8_t ciaddr[4], giaddr[4], chaddr[16];
	bool has_requested, has_server, has_parameters;
	uint8_t requested[4], server[4];
	uint8_t parameters[32]; /* bit per option */
	uint16_t max_size;
	uint8_t client_id_length;
	uint8_t client_id[255];
};

static uint16_t load16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t load32(const uint8_t *at)
{
	return (uint32_t)load16(at) << 16 | load16(at + 2);
}

static bool take_option(struct message *message, uint8_t code, const uint8_t *value, uint8_t length, uint8_t *overload)
{
	switch (code) {
	case OPT_TYPE:
		if (length != 1)
			return false;
		message->type = value[0];
		return true;
	case OPT_REQUESTED_ADDRESS:
	case OPT_SERVER:
		if (length != 4)
			return false;
		memcpy(code == OPT_SERVER ? message->server : message->requested, value, 4);
		*(code == OPT_SERVER ? &message->has_server : &message->has_requested) = true;
		return true;
	case OPT_PARAMETERS:
		message->has_parameters = length > 0;
		for (unsigned i = 0; i < length; i++)
			message->parameters[value[i] / 8] |= (uint8_t)(1 << value[i] % 8);
		return true;
	case OPT_MAX_SIZE:
		if (length != 2)
			return false;
		message->max_size = load16(value);
		return true;
	case OPT_CLIENT_ID:
		message->client_id_length = length;
		memcpy(message->client_id, value, length);
		return true;
	case OPT_OVERLOAD:
		if (length != 1)
			return false;
		*overload = value[0];
		return true;
	default:
		return true;
	}
}

/* One options area; false when it is malformed. An END may be missing. */
static bool parse_options(struct message *message, const uint8_t *at, const uint8_t *end, uint8_t *overload)
{
	while (at < end && *at != OPT_END) {
		if (*at == OPT_PAD) {
			at++;
			continue;
		}
		if (end - at < 2 || end - at - 2 < at[1] || !take_option(message, at[0], at + 2, at[1], overload))
			return false;
		at += 2 + at[1];
	}
	return true;
}

static bool parse(const uint8_t *bytes, uint32_t length, struct message *ret)
{
	memset(ret, 0, sizeof(*ret));
	/* op, htype, hlen */
	if (length < FIXED_BYTES + 4 || bytes[0] != 1 || bytes[1] != 1 || bytes[2] != 6 ||
	    load32(bytes + FIXED_BYTES) != COOKIE)
		return false;
	ret->xid = load32(bytes + 4);
	ret->flags = load16(bytes + 10);
	memcpy(ret->ciaddr, bytes + 12, 4);
	memcpy(ret->giaddr, bytes + 24, 4);
	memcpy(ret->chaddr, bytes + 28, 16);
	uint8_t overload = 0, nested = 0;
	if (!parse_options(ret, bytes + FIXED_BYTES + 4, bytes + length, &overload))
		return false;
	/* RFC 2132 9.3: 1 = file holds options, 2 = sname, 3 = both; file is read first. */
	if (overload & 1 && !parse_options(ret, bytes + 108, bytes + 236, &nested))
		return false;
	return !(overload & 2) || parse_options(ret, bytes + 44, bytes + 108, &nested);
}

/* ---- the answer ---- */

/* Options of an answer: what does not fit is left out, so the important ones come first. */
struct options {
	uint8_t bytes[OPTIONS_MAX_BYTES];
	uint32_t length, room;
	const struct message *message;
};

static void put(struct options *options, uint8_t code, const void *value, unsigned length)
{
	if (!length || length > 255 || options->length + 2 + length + 1 > options->room)
		return;
	uint8_t *at = options->bytes + options->length;
	at[0] = code;
	at[1] = (uint8_t)length;
	memcpy(at + 2, value, length);
	options->length += 2 + length;
}

static void put32(struct options *options, uint8_t code, uint32_t value)
{
	rte_be32_t word = rte_cpu_to_be_32(value);
	put(options, code, &word, 4);
}

/* Only if the client asks for it, or does not say what it wants. */
static bool is_wanted(const struct options *options, uint8_t code)
{
	const struct message *message = options->message;
	return !message->has_parameters || message->parameters[code / 8] & 1 << code % 8;
}

static void put_wanted(struct options *options, uint8_t code, const void *value, unsigned length)
{
	if (is_wanted(options, code))
		put(options, code, value, length);
}

static void put_addresses(struct options *options, uint8_t code, const struct ip_addr *addresses, unsigned count)
{
	uint8_t value[16];
	unsigned length = 0;
	for (unsigned i = 0; i < count && length < sizeof(value); i++) {
		if (addresses[i].family != IP_V4)
			continue;
		memcpy(value + length, addresses[i].bytes, 4);
		length += 4;
	}
	put_wanted(options, code, value, length);
}

static unsigned put_route(uint8_t *at, const struct ip_prefix *prefix, const struct ip_addr *next_hop)
{
	unsigned significant = (prefix->length + 7u) / 8;
	at[0] = prefix->length;
	memcpy(at + 1, prefix->addr.bytes, significant);
	memcpy(at + 1 + significant, next_hop->bytes, 4);
	return 1 + significant + 4;
}

/* RFC 3442: a client that understands this option ignores the router option, so that the default route is here, too. */
static void put_routes(struct options *options, const struct dp_subnet *subnet)
{
	uint8_t value[17 * 9];
	unsigned length = 0;
	bool has_default = false;
	for (unsigned i = 0; i < subnet->classless_route_count; i++) {
		const struct ip_prefix *prefix = &subnet->classless_routes[i].prefix;
		if (subnet->classless_routes[i].next_hop.family != IP_V4 || prefix->length > 32)
			continue;
		has_default |= prefix->length == 0;
		length += put_route(value + length, prefix, &subnet->classless_routes[i].next_hop);
	}
	if (!length)
		return;
	if (!has_default && subnet->gateway_v4.family == IP_V4)
		length += put_route(value + length, &(struct ip_prefix){ .addr.family = IP_V4 }, &subnet->gateway_v4);
	put_wanted(options, OPT_ROUTES, value, length);
	/* Windows before Vista asks for this one; nobody gets it unasked. */
	if (options->message->has_parameters)
		put_wanted(options, OPT_ROUTES_MICROSOFT, value, length);
}

static void put_configuration(struct options *options, const struct dp_vnic *vnic)
{
	const struct dp_subnet *subnet = vnic->subnet;
	uint32_t mask = subnet->v4.length ? UINT32_MAX << (32 - subnet->v4.length) : 0;
	rte_be32_t mask_be = rte_cpu_to_be_32(mask);
	rte_be16_t mtu = rte_cpu_to_be_16(vnic->iface.mtu);
	put_wanted(options, OPT_MASK, &mask_be, 4);
	put_routes(options, subnet);
	put_addresses(options, OPT_ROUTER, &subnet->gateway_v4, 1);
	put_addresses(options, OPT_DNS, subnet->dns, subnet->dns_count);
	put_wanted(options, OPT_MTU, &mtu, 2);
	put_wanted(options, OPT_HOSTNAME, vnic->hostname, (unsigned)strnlen(vnic->hostname, sizeof(vnic->hostname)));
	put_wanted(options, OPT_DOMAIN, subnet->domain, (unsigned)strnlen(subnet->domain, 255));
	put_addresses(options, OPT_NTP, subnet->ntp, subnet->ntp_count);
}

static void put_lease(struct options *options, uint32_t seconds)
{
	put32(options, OPT_LEASE, seconds);
	if (seconds == UINT32_MAX)
		return;
	put32(options, OPT_T1, seconds / 2);
	put32(options, OPT_T2, (uint32_t)((uint64_t)seconds * 7 / 8));
}

static void options_build(struct options *options, const struct message *message, const struct dp_vnic *vnic,
			  enum dhcp4_type type)
{
	uint32_t size = message->max_size > ANSWER_MIN_BYTES ? message->max_size : ANSWER_MIN_BYTES;
	size = RTE_MIN(size, (uint32_t)vnic->iface.mtu);
	uint32_t headers = 20 + 8 + FIXED_BYTES + 4;
	options->length = 0;
	options->room = size > headers ? RTE_MIN(size - headers, (uint32_t)OPTIONS_MAX_BYTES) : 0;
	options->message = message;
	uint8_t code = (uint8_t)type;
	put(options, OPT_TYPE, &code, 1);
	put(options, OPT_SERVER, vnic->subnet->gateway_v4.bytes, 4);
	put(options, OPT_CLIENT_ID, message->client_id, message->client_id_length); /* RFC 6842 */
	if (type == NAK)
		return;
	if (message->type != INFORM)
		put_lease(options, vnic->subnet->lease_seconds ? vnic->subnet->lease_seconds : UINT32_MAX);
	put_configuration(options, vnic);
}

/* Where the answer goes: RFC 2131 4.1. */
static void destination(const struct request *request, const struct message *message, enum dhcp4_type type,
			const struct ip_addr *yiaddr, struct ip_addr *ret_ip, struct mac_addr *ret_mac)
{
	static const uint8_t zero[4];
	*ret_ip = (struct ip_addr){ .family = IP_V4, .bytes = { 255, 255, 255, 255 } };
	memset(ret_mac->bytes, 0xff, 6);
	if (type == NAK)
		return;
	if (memcmp(message->ciaddr, zero, 4) != 0)
		memcpy(ret_ip->bytes, message->ciaddr, 4);
	else if (!(message->flags & BROADCAST_FLAG))
		*ret_ip = *yiaddr;
	else
		return;
	*ret_mac = request->src_mac;
}

static int answer(const struct request *request, const struct message *message, enum dhcp4_type type,
		  const struct ip_addr *address)
{
	const struct dp_vnic *vnic = request->vnic;
	struct options options;
	options_build(&options, message, vnic, type);
	struct ip_addr to;
	struct mac_addr to_mac;
	destination(request, message, type, address, &to, &to_mac);

	struct frame_out frame;
	frame_start(&frame, request->worker->pool, &to_mac, &request->vpc->router_mac, RTE_ETHER_TYPE_IPV4);
	frame_ip(&frame, &vnic->subnet->gateway_v4, &to, IPPROTO_UDP, 64);
	frame_udp(&frame, SERVER_PORT, CLIENT_PORT);
	uint8_t *fixed = frame_room(&frame, FIXED_BYTES);
	if (fixed) {
		fixed[0] = 2;
		fixed[1] = 1;
		fixed[2] = 6;
		memcpy(fixed + 4, &(rte_be32_t){ rte_cpu_to_be_32(message->xid) }, 4);
		memcpy(fixed + 10, &(rte_be16_t){ rte_cpu_to_be_16(message->flags) }, 2);
		if (type == ACK)
			memcpy(fixed + 12, message->ciaddr, 4);
		if (type != NAK && message->type != INFORM)
			memcpy(fixed + 16, address->bytes, 4);
		memcpy(fixed + 28, message->chaddr, 16);
	}
	frame_put32(&frame, COOKIE);
	frame_put(&frame, options.bytes, options.length);
	frame_put8(&frame, OPT_END);
	uint32_t length = FIXED_BYTES + 4 + options.length + 1;
	if (length < REPLY_MIN_BYTES)
		frame_room(&frame, REPLY_MIN_BYTES - length);
	struct rte_mbuf *reply = frame_finish(&frame);
	if (!reply)
		return request_drop(DROP_NO_BUFFER);
	request_reply(request, reply);
	return REQUEST_ANSWERED;
}

/* RFC 2131 4.3.2, by what the client fills in: it selects an offer, verifies an address that it had, or renews. */
static int answer_request(const struct request *request, const struct message *message, const struct ip_addr *address)
{
	static const uint8_t zero[4];
	bool has_ciaddr = memcmp(message->ciaddr, zero, 4) != 0;
	if (message->has_server && memcmp(message->server, request->subnet->gateway_v4.bytes, 4) != 0)
		return request_drop(DROP_SERVICE_HANDLED); /* it has chosen another server */
	const uint8_t *claimed = message->has_requested ? message->requested : message->ciaddr;
	if (!message->has_requested && !has_ciaddr)
		return request_drop(DROP_SERVICE_MALFORMED);
	bool right = !memcmp(claimed, address->bytes, 4);
	return answer(request, message, right ? ACK : NAK, address);
}

static const struct ip_addr *address_of(const struct dp_vnic *vnic)
{
	for (unsigned i = 0; i < vnic->address_count; i++)
		if (vnic->addresses[i].family == IP_V4)
			return &vnic->addresses[i];
	return NULL;
}

static int serve(const struct request *request, const struct message *message)
{
	static const uint8_t zero[4];
	const struct dp_vnic *vnic = request->vnic;
	const struct ip_addr *address = address_of(vnic);
	if (vnic->port_security && memcmp(message->chaddr, vnic->iface.mac.bytes, 6) != 0)
		return request_drop(DROP_SPOOFED_MAC);
	/* No relay is between a vNIC and its first hop. */
	if (memcmp(message->giaddr, zero, 4) != 0 || !address)
		return request_drop(DROP_SERVICE_HANDLED);
	switch (message->type) {
	case DISCOVER:
		return answer(request, message, OFFER, address);
	case REQUEST:
		return answer_request(request, message, address);
	case INFORM:
		return memcmp(message->ciaddr, address->bytes, 4) == 0 ? answer(request, message, ACK, address)
								       : request_drop(DROP_SERVICE_HANDLED);
	case DECLINE:
	case RELEASE:
		return request_drop(DROP_SERVICE_HANDLED); /* the address stays the vNIC's */
	default:
		return request_drop(DROP_SERVICE_MALFORMED);
	}
}

int dhcp4_request(const struct request *request)
{
	const struct packet_info *info = request->info;
	const struct dp_subnet *subnet = request->subnet;
	if (!request->vnic || !subnet || !subnet->dhcp || subnet->gateway_v4.family != IP_V4)
		return request_drop(DROP_SERVICE_HANDLED);
	uint8_t udp_buffer[8], buffer[MESSAGE_MAX_BYTES];
	const uint8_t *udp = rte_pktmbuf_read(request->m, info->l4_offset, sizeof(udp_buffer), udp_buffer);
	uint32_t length = udp ? load16(udp + 4) : 0;
	if (length < 8 || length - 8 > sizeof(buffer) ||
	    info->l4_offset + length > (uint32_t)info->l3_offset + info->l3_length)
		return request_drop(DROP_SERVICE_MALFORMED);
	bool has_checksum = udp[6] || udp[7];
	if (has_checksum &&
	    !l4_checksum_ok(request->m, &request->src, &request->dst, IPPROTO_UDP, info->l4_offset, length))
		return request_drop(DROP_SERVICE_MALFORMED);
	const uint8_t *bytes = rte_pktmbuf_read(request->m, info->l4_offset + 8u, length - 8, buffer);
	struct message message;
	if (!bytes || !parse(bytes, length - 8, &message))
		return request_drop(DROP_SERVICE_MALFORMED);
	return serve(request, &message);
}
