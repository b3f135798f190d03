/* SPDX-License-Identifier: BSD-3-Clause */
/* DHCPv6 (RFC 8415) for addresses that configuration has fixed: no leases to keep; the first IA_NA of a client holds
 * its vNIC's address, every other association is answered with "none available". */
#include "service/vswitch/datapath_priv.h"

#include <netinet/in.h>
#include "service/vswitch/frame.h"

enum {
	CLIENT_PORT = 546,
	SERVER_PORT = 547,
	MESSAGE_MAX_BYTES = 1500,
	DUID_MAX = 130, /* RFC 8415 11.1 */
	MAX_ASSOCIATIONS = 16,
};
enum dhcp6_type {
	SOLICIT = 1,
	ADVERTISE = 2,
	REQUEST = 3,
	CONFIRM = 4,
	RENEW = 5,
	REBIND = 6,
	REPLY = 7,
	RELEASE = 8,
	DECLINE = 9,
	INFORMATION_REQUEST = 11,
};
enum dhcp6_option {
	OPT_CLIENT_ID = 1,
	OPT_SERVER_ID = 2,
	OPT_IA_NA = 3,
	OPT_IA_TA = 4,
	OPT_IA_ADDRESS = 5,
	OPT_REQUESTED = 6,
	OPT_STATUS = 13,
	OPT_RAPID_COMMIT = 14,
	OPT_DNS = 23,
	OPT_DOMAINS = 24,
	OPT_IA_PD = 25,
	OPT_NTP = 56,
};
enum dhcp6_status { SUCCESS = 0, NO_ADDRESSES = 2, NOT_ON_LINK = 4, USE_MULTICAST = 5, NO_PREFIXES = 6 };

struct association {
	uint16_t option; /* IA_NA, IA_TA, IA_PD */
	uint32_t iaid;
	const uint8_t *options; /* inside */
	uint16_t length;
};

/* What a client's message says; points into it. */
struct message {
	uint8_t type;
	uint8_t transaction[3];
	const uint8_t *client_id, *server_id;
	uint16_t client_id_length, server_id_length;
	bool rapid_commit, has_requested;
	bool wants_dns, wants_domains, wants_ntp;
	unsigned association_count;
	struct association associations[MAX_ASSOCIATIONS];
};

static uint16_t load16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t load32(const uint8_t *at)
{
	return (uint32_t)load16(at) << 16 | load16(at + 2);
}

/* The option at *at, moving it on; false at the end (*at == end) or when it is malformed (*at is NULL then). */
static bool next_option(const uint8_t **at, const uint8_t *end, uint16_t *ret_code, const uint8_t **ret_value,
			uint16_t *ret_length)
{
	if (*at == end)
		return false;
	if (end - *at < 4 || end - *at - 4 < load16(*at + 2)) {
		*at = NULL;
		return false;
	}
	*ret_code = load16(*at);
	*ret_length = load16(*at + 2);
	*ret_value = *at + 4;
	*at += 4 + *ret_length;
	return true;
}

static void take_requested(struct message *message, const uint8_t *value, uint16_t length)
{
	message->has_requested = true;
	for (unsigned i = 0; i + 1 < length; i += 2) {
		uint16_t code = load16(value + i);
		message->wants_dns |= code == OPT_DNS;
		message->wants_domains |= code == OPT_DOMAINS;
		message->wants_ntp |= code == OPT_NTP;
	}
}

static bool take_association(struct message *message, uint16_t code, const uint8_t *value, uint16_t length)
{
	uint16_t fixed = code == OPT_IA_TA ? 4 : 12;
	if (length < fixed)
		return false;
	/* More than anyone has: the rest is not answered. */
	if (message->association_count == MAX_ASSOCIATIONS)
		return true;
	message->associations[message->association_count++] = (struct association){
		.option = code,
		.iaid = load32(value),
		.options = value + fixed,
		.length = length - fixed,
	};
	return true;
}

static bool take_option(struct message *message, uint16_t code, const uint8_t *value, uint16_t length)
{
	switch (code) {
	case OPT_CLIENT_ID:
		message->client_id = value;
		message->client_id_length = length;
		return length >= 3 && length <= DUID_MAX;
	case OPT_SERVER_ID:
		message->server_id = value;
		message->server_id_length = length;
		return length >= 3 && length <= DUID_MAX;
	case OPT_RAPID_COMMIT:
		message->rapid_commit = true;
		return true;
	case OPT_REQUESTED:
		take_requested(message, value, length);
		return length % 2 == 0;
	case OPT_IA_NA:
	case OPT_IA_TA:
	case OPT_IA_PD:
		return take_association(message, code, value, length);
	default:
		return true;
	}
}

static bool parse(const uint8_t *bytes, uint32_t length, struct message *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (length < 4)
		return false;
	ret->type = bytes[0];
	memcpy(ret->transaction, bytes + 1, 3);
	const uint8_t *at = bytes + 4, *end = bytes + length, *value;
	uint16_t code, option_length;
	while (next_option(&at, end, &code, &value, &option_length))
		if (!take_option(ret, code, value, option_length))
			return false;
	return at != NULL;
}

/* ---- who we are ---- */

/* DUID-LL, RFC 8415 11.4 */
enum { OUR_DUID = 10 };

static void our_duid(const struct request *request, uint8_t *ret)
{
	static const uint8_t type[4] = { 0, 3, 0, 1 };
	memcpy(ret, type, 4);
	memcpy(ret + 4, request->vpc->router_mac.bytes, 6);
}

static bool is_for_us(const struct request *request, const struct message *message)
{
	uint8_t duid[OUR_DUID];
	our_duid(request, duid);
	return message->server_id_length == OUR_DUID && !memcmp(message->server_id, duid, OUR_DUID);
}

/* RFC 8415 16: which identifiers a message must and must not carry. */
static enum drop_reason check(const struct request *request, const struct message *message)
{
	bool client = message->client_id, server = message->server_id, valid = false;
	switch (message->type) {
	case SOLICIT:
	case CONFIRM:
	case REBIND:
		valid = client && !server;
		break;
	case REQUEST:
	case RENEW:
	case RELEASE:
	case DECLINE:
		valid = client && server;
		break;
	case INFORMATION_REQUEST:
		valid = message->association_count == 0;
		break;
	default:
		break;
	}
	if (!valid)
		return DROP_SERVICE_MALFORMED;
	return server && !is_for_us(request, message) ? DROP_SERVICE_HANDLED : DROP_NONE;
}

/* ---- the answer ---- */

static void put_option(struct frame_out *frame, uint16_t code, const void *value, uint16_t length)
{
	frame_put16(frame, code);
	frame_put16(frame, length);
	if (length)
		frame_put(frame, value, length);
}

static void put_status(struct frame_out *frame, enum dhcp6_status status)
{
	frame_put16(frame, OPT_STATUS);
	frame_put16(frame, 2);
	frame_put16(frame, (uint16_t)status);
}

static const struct ip_addr *address_of(const struct dp_vnic *vnic)
{
	for (unsigned i = 0; i < vnic->address_count; i++)
		if (vnic->addresses[i].family == IP_V6 && !ip_is_link_local(&vnic->addresses[i]))
			return &vnic->addresses[i];
	return NULL;
}

static void put_address(struct frame_out *frame, const uint8_t *address, uint32_t seconds)
{
	frame_put16(frame, OPT_IA_ADDRESS);
	frame_put16(frame, 24);
	frame_put(frame, address, 16);
	frame_put32(frame, seconds); /* preferred */
	frame_put32(frame, seconds); /* valid */
}

static uint32_t lease_of(const struct request *request)
{
	return request->subnet->lease_seconds ? request->subnet->lease_seconds : UINT32_MAX;
}

/* Addresses that the client thinks it has and has not, with lifetime 0 (RFC 8415 18.3.4); as many as fit in `limit`. */
static unsigned foreign_addresses(const struct association *association, const struct ip_addr *ours, unsigned limit,
				  const uint8_t **ret)
{
	const uint8_t *at = association->options, *end = at + association->length, *value;
	uint16_t code, length;
	unsigned count = 0;
	while (count < limit && next_option(&at, end, &code, &value, &length))
		if (code == OPT_IA_ADDRESS && length >= 24 && (!ours || memcmp(value, ours->bytes, 16) != 0))
			ret[count++] = value;
	return count;
}

static void put_address_association(struct frame_out *frame, const struct request *request,
				    const struct association *association, const struct ip_addr *ours)
{
	enum { FOREIGN_MAX = 4 };
	const uint8_t *foreign[FOREIGN_MAX];
	unsigned foreign_count = foreign_addresses(association, ours, FOREIGN_MAX, foreign);
	uint32_t lease = lease_of(request);
	bool forever = lease == UINT32_MAX;
	frame_put16(frame, OPT_IA_NA);
	frame_put16(frame, (uint16_t)(12 + 28 * (1 + foreign_count)));
	frame_put32(frame, association->iaid);
	frame_put32(frame, forever ? lease : lease / 2);
	frame_put32(frame, forever ? lease : (uint32_t)((uint64_t)lease * 4 / 5));
	put_address(frame, ours->bytes, lease);
	for (unsigned i = 0; i < foreign_count; i++)
		put_address(frame, foreign[i], 0);
}

static void put_nothing_association(struct frame_out *frame, const struct association *association)
{
	uint16_t fixed = association->option == OPT_IA_TA ? 4 : 12;
	frame_put16(frame, association->option);
	frame_put16(frame, fixed + 6);
	frame_put32(frame, association->iaid);
	if (fixed == 12) {
		frame_put32(frame, 0);
		frame_put32(frame, 0);
	}
	put_status(frame, association->option == OPT_IA_PD ? NO_PREFIXES : NO_ADDRESSES);
}

static void put_associations(struct frame_out *frame, const struct request *request, const struct message *message)
{
	const struct ip_addr *ours = address_of(request->vnic);
	bool given = false;
	for (unsigned i = 0; i < message->association_count; i++) {
		const struct association *association = &message->associations[i];
		if (association->option == OPT_IA_NA && ours && !given) {
			put_address_association(frame, request, association, ours);
			given = true;
		} else {
			put_nothing_association(frame, association);
		}
	}
}

static void put_configuration(struct frame_out *frame, const struct request *request, const struct message *message)
{
	const struct dp_subnet *subnet = request->subnet;
	uint8_t dns[4 * 16], ntp[4 * 20], domain[256];
	uint16_t dns_length = 0, ntp_length = 0;
	for (unsigned i = 0; i < subnet->dns_count && i < 4; i++) {
		if (subnet->dns[i].family != IP_V6)
			continue;
		memcpy(dns + dns_length, subnet->dns[i].bytes, 16);
		dns_length += 16;
	}
	for (unsigned i = 0; i < subnet->ntp_count && i < 4; i++) {
		if (subnet->ntp[i].family != IP_V6)
			continue;
		static const uint8_t server_address[4] = { 0, 1, 0, 16 }; /* RFC 5908 4.1 */
		memcpy(ntp + ntp_length, server_address, 4);
		memcpy(ntp + ntp_length + 4, subnet->ntp[i].bytes, 16);
		ntp_length += 20;
	}
	uint16_t domain_length = (uint16_t)domain_wire(subnet->domain, domain, sizeof(domain));
	bool all = !message->has_requested;
	if (dns_length && (all || message->wants_dns))
		put_option(frame, OPT_DNS, dns, dns_length);
	if (domain_length && (all || message->wants_domains))
		put_option(frame, OPT_DOMAINS, domain, domain_length);
	if (ntp_length && message->wants_ntp)
		put_option(frame, OPT_NTP, ntp, ntp_length);
}

/* RFC 8415 18.3.3: whether all addresses that the client has suit its link; false with *ret_any unset if it names none.
 */
static bool on_link(const struct request *request, const struct message *message, bool *ret_any)
{
	bool right = true;
	*ret_any = false;
	for (unsigned i = 0; i < message->association_count; i++) {
		const uint8_t *addresses[8];
		unsigned count = message->associations[i].option == OPT_IA_PD
					 ? 0
					 : foreign_addresses(&message->associations[i], NULL, 8, addresses);
		for (unsigned j = 0; j < count; j++) {
			struct ip_addr address = { .family = IP_V6 };
			memcpy(address.bytes, addresses[j], 16);
			right &= ip_prefix_contains(&request->subnet->v6, &address);
			*ret_any = true;
		}
	}
	return right;
}

static void put_body(struct frame_out *frame, const struct request *request, const struct message *message, bool right)
{
	switch (message->type) {
	case CONFIRM:
		put_status(frame, right ? SUCCESS : NOT_ON_LINK);
		break;
	case RELEASE:
	case DECLINE:
		put_status(frame, SUCCESS);
		break;
	case SOLICIT:
		if (message->rapid_commit)
			put_option(frame, OPT_RAPID_COMMIT, NULL, 0);
		/* fallthrough */
	default:
		put_associations(frame, request, message);
		put_configuration(frame, request, message);
	}
}

/* body: whether more than the identifiers and `status` is answered. */
static int answer(const struct request *request, const struct message *message, bool unicast, bool right)
{
	uint8_t duid[OUR_DUID];
	our_duid(request, duid);
	struct ip_addr from = gateway_link_local(request->vpc, request->subnet);
	if (unicast)
		from = request->dst;
	struct frame_out frame;
	frame_start(&frame, request->worker->pool, &request->src_mac, &request->vpc->router_mac, RTE_ETHER_TYPE_IPV6);
	frame_ip(&frame, &from, &request->src, IPPROTO_UDP, 64);
	frame_udp(&frame, SERVER_PORT, CLIENT_PORT);
	frame_put8(&frame, message->type == SOLICIT && !message->rapid_commit ? ADVERTISE : REPLY);
	frame_put(&frame, message->transaction, 3);
	if (message->client_id)
		put_option(&frame, OPT_CLIENT_ID, message->client_id, message->client_id_length);
	put_option(&frame, OPT_SERVER_ID, duid, OUR_DUID);
	if (unicast)
		put_status(&frame, USE_MULTICAST);
	else
		put_body(&frame, request, message, right);
	struct rte_mbuf *reply = frame_finish(&frame);
	if (!reply)
		return request_drop(DROP_NO_BUFFER);
	request_reply(request, reply);
	return REQUEST_ANSWERED;
}

static int serve(const struct request *request, const struct message *message)
{
	enum drop_reason reason = check(request, message);
	if (reason)
		return request_drop(reason);
	/* Nobody was given the Server Unicast option: RFC 8415 18.3.2 and on. */
	bool unicast = !ip_is_multicast(&request->dst);
	if (unicast) {
		bool told = message->type == REQUEST || message->type == RENEW || message->type == RELEASE ||
			    message->type == DECLINE;
		return told ? answer(request, message, true, true) : request_drop(DROP_SERVICE_MALFORMED);
	}
	bool any, right = on_link(request, message, &any);
	if (message->type == CONFIRM && !any)
		return request_drop(DROP_SERVICE_HANDLED);
	return answer(request, message, false, right);
}

int dhcp6_request(const struct request *request)
{
	const struct packet_info *info = request->info;
	if (!request->vnic || !request->subnet || !request->subnet->dhcp || request->subnet->v6.addr.family != IP_V6)
		return request_drop(DROP_SERVICE_HANDLED);
	uint8_t udp_buffer[8], buffer[MESSAGE_MAX_BYTES];
	const uint8_t *udp = rte_pktmbuf_read(request->m, info->l4_offset, sizeof(udp_buffer), udp_buffer);
	uint32_t length = udp ? load16(udp + 4) : 0;
	if (length < 8 || length - 8 > sizeof(buffer) ||
	    info->l4_offset + length > (uint32_t)info->l3_offset + info->l3_length)
		return request_drop(DROP_SERVICE_MALFORMED);
	if (!l4_checksum_ok(request->m, &request->src, &request->dst, IPPROTO_UDP, info->l4_offset, length))
		return request_drop(DROP_SERVICE_MALFORMED);
	const uint8_t *bytes = rte_pktmbuf_read(request->m, info->l4_offset + 8u, length - 8, buffer);
	struct message message;
	if (!bytes || !parse(bytes, length - 8, &message))
		return request_drop(DROP_SERVICE_MALFORMED);
	return serve(request, &message);
}
