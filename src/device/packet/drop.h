/* SPDX-License-Identifier: BSD-3-Clause */
/* Every way in which a packet can end without being delivered. A reason has a name for counters and `why`, and a
 * sentence for people. Names are stable. */
#pragma once

#include <stdint.h>

/* X(ENUM, "name", "What happened and what to look at.") */
#define DROP_REASONS(X)                                                                                                \
	X(NONE, "none", "Not dropped.")                                                                                \
	X(TRUNCATED, "truncated", "The frame ends before the header that its predecessor announces.")                  \
	X(BAD_IP_HEADER, "bad-ip-header", "IP version, header length or total length is impossible.")                  \
	X(BAD_IP_CHECKSUM, "bad-ip-checksum", "The IPv4 header checksum is wrong.")                                    \
	X(BAD_L4_HEADER, "bad-l4-header", "TCP data offset or UDP length is impossible.")                              \
	X(BAD_TUNNEL_HEADER, "bad-tunnel-header",                                                                      \
	  "VXLAN or Geneve header with reserved or critical bits that are not understood.")                            \
	X(BAD_TUNNEL_CHECKSUM, "bad-tunnel-checksum", "The UDP checksum of a tunnel packet is wrong.")                 \
	X(CONGESTION, "congestion", "Marked by the underlay, but its sender does not understand ECN (RFC 6040).")      \
	X(BAD_VIRTIO_HEADER, "bad-virtio-header", "The guest's virtio-net header contradicts the frame.")              \
	X(TOO_MANY_HEADERS, "too-many-headers", "More VLAN tags or IPv6 extension headers than are parsed.")           \
	X(TUNNEL_IN_TUNNEL, "tunnel-in-tunnel",                                                                        \
	  "An underlay packet whose inner packet is addressed to the tunnel endpoint again.")                          \
	X(NOT_IP, "not-ip", "Neither IP, ARP nor ND: the VPC carries no other protocols.")                             \
	X(VLAN_TAGGED, "vlan-tagged",                                                                                  \
	  "A guest's frame has a VLAN tag, one out of a tunnel has, or one of the underlay has two.")                  \
	X(SPOOFED_MAC, "spoofed-mac", "The source MAC is not the vNIC's.")                                             \
	X(SPOOFED_ADDRESS, "spoofed-address", "The source address is not one of the vNIC's.")                          \
	X(SPOOFED_TUNNEL, "spoofed-tunnel",                                                                            \
	  "The inner source address does not live behind the sending tunnel endpoint.")                                \
	X(BAD_SOURCE, "bad-source",                                                                                    \
	  "Multicast, loopback or unspecified source address, or a link-local one beyond its subnet.")                 \
	X(DHCP_SERVER, "dhcp-server",                                                                                  \
	  "A guest's DHCP answer, from a server's port to a client's: only the DPU serves DHCP.")                      \
	X(MULTICAST, "multicast", "Multicast or broadcast that no first-hop service answers.")                         \
	X(NOT_FOR_US, "not-for-us", "Underlay frame to a MAC or address that is not ours.")                            \
	X(UNKNOWN_VNI, "unknown-vni", "No VPC has this VNI and encapsulation.")                                        \
	X(UNKNOWN_INTERFACE, "unknown-interface", "The packet's vNIC or port has gone.")                               \
	X(UNBOUND_INTERFACE, "unbound-interface", "The vNIC has neither a subnet nor a representor.")                  \
	X(NO_ROUTE, "no-route", "No route covers the destination.")                                                    \
	X(ROUTE_DROP, "route-drop", "The route that covers the destination says drop.")                                \
	X(NO_MAPPING, "no-mapping", "The destination is in a subnet, but nobody has the address.")                     \
	X(HAIRPIN, "hairpin", "An underlay packet whose destination is on the underlay again.")                        \
	X(TTL_EXPIRED, "ttl-expired", "TTL or hop limit reached zero; an ICMP error was sent.")                        \
	X(TOO_BIG, "too-big", "Larger than the MTU ahead and not to be fragmented; an ICMP error was sent.")           \
	X(EGRESS_DENIED, "egress-denied", "No egress rule of the source's security groups allows it.")                 \
	X(INGRESS_DENIED, "ingress-denied", "No ingress rule of the destination's security groups allows it.")         \
	X(TCP_INVALID, "tcp-invalid",                                                                                  \
	  "A TCP segment that opens no connection and belongs to none, or impossible flags.")                          \
	X(FRAGMENT_NO_FIRST, "fragment-no-first", "A later fragment whose first fragment was not seen.")               \
	X(FRAGMENT_INVALID, "fragment-invalid", "A fragment that overlaps the header, is tiny or exceeds 64 KiB.")     \
	X(ICMP_UNRELATED, "icmp-unrelated", "An ICMP error about no known session.")                                   \
	X(SESSION_QUOTA_VNIC, "session-quota-vnic", "The vNIC has all the sessions that it may have.")                 \
	X(SESSION_QUOTA_TENANT, "session-quota-tenant", "The tenant has all the sessions that it may have.")           \
	X(SESSION_RATE, "session-rate", "The tenant or the vNIC opens more new sessions per second than it may.")      \
	X(SESSION_TABLE_FULL, "session-table-full", "No room or memory for another session.")                          \
	X(NEIGHBOUR_UNRESOLVED, "neighbour-unresolved", "The underlay next hop has not answered ARP or ND.")           \
	X(SERVICE_HANDLED, "service-handled", "Consumed by a first-hop service that answers nothing to it.")           \
	X(SERVICE_MALFORMED, "service-malformed", "An ARP, ND, DHCP or ICMP message that its protocol forbids.")       \
	X(SERVICE_RATE, "service-rate", "More first-hop requests per second than one vNIC is served.")                 \
	X(NO_UPCALL, "no-upcall", "No rule decides about the frame, and nobody has its representor open.")             \
	X(RULE_DROP, "rule-drop", "A rule of the eswitch says drop.")                                                  \
	X(OUTPUT_GONE, "output-gone", "A rule, or the sender on a representor, names a port that is no more.")         \
	X(OUTPUT_MTU, "output-mtu", "Longer than the MTU of the port that a rule sends it to.")                        \
	X(NO_BUFFER, "no-buffer", "No packet buffer was free.")                                                        \
	X(HANDOFF_FULL, "handoff-full", "The ring to the owning worker is full.")                                      \
	X(TX_FULL, "tx-full", "The receiver's queue is full.")                                                         \
	X(TX_DOWN, "tx-down", "The receiving vNIC or port is not connected or its link is down.")                      \
	X(TX_TOO_LONG, "tx-too-long", "The receiver gave no buffers large enough.")                                    \
	X(SEGMENTATION, "segmentation", "A TSO or USO frame that cannot be segmented.")

enum drop_reason {
#define X(name, text, doc) DROP_##name,
	DROP_REASONS(X)
#undef X
		DROP_REASON_COUNT
};

const char *drop_reason_name(enum drop_reason reason);
const char *drop_reason_doc(enum drop_reason reason);
