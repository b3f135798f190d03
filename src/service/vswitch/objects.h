/* SPDX-License-Identifier: BSD-3-Clause */
/* The objects of the virtual switch as users declare them: one struct per class, whose field table is in class_*.c.
 * Read-only fields (state and counters) are filled in by the class's observe function only. */
#pragma once

#include "model/model.h"

struct vswitch;

/* What classes count alike. */
struct traffic_counters {
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;
};

struct tenant {
	struct object base;
	uint32_t max_sessions, max_session_rate, max_memory_mb, max_objects;
	uint64_t max_volume_bytes;
	/* observed */
	uint64_t sessions, vnics;
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes, drops, memory_bytes;
};

struct port_object {
	struct object base;
	char *device;
	uint16_t mtu, queues;
	bool admin_up;
	/* observed */
	bool up;
	char *driver, *error;
	struct mac_addr mac;
	struct string_list queue_states, drop_reasons;
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes, rx_drops, tx_drops;
};

struct underlay {
	struct object base;
	struct ref port;
	struct ip_addr address, next_hop;
	uint8_t prefix_length;
	uint16_t vlan;
	/* observed */
	struct mac_addr mac, next_hop_mac;
	bool resolved;
	uint32_t tunnels, tunnels_resolved;
};

enum encapsulation { ENCAPSULATION_VXLAN, ENCAPSULATION_GENEVE };
extern const char *const encapsulation_names[];

struct vpc {
	struct object base;
	uint32_t vni;
	uint8_t encapsulation; /* enum encapsulation */
	struct ref underlay;
	bool validate_vtep;
	/* observed */
	uint64_t packets, bytes, encapsulated, decapsulated, drops, sessions_created;
	uint32_t addresses;
};

struct subnet {
	struct object base;
	struct ref vpc;
	struct ip_prefix prefix_v4, prefix_v6;
	struct ip_addr gateway_v4, gateway_v6;
	bool dhcp;
	uint32_t lease_seconds;
	struct ip_list dns, ntp;
	char *domain;
	struct string_list host_routes; /* "prefix via address" */
	/* observed */
	struct mac_addr gateway_mac;
};

enum vnic_backend { BACKEND_VHOST_USER_CLIENT, BACKEND_VHOST_USER_SERVER, BACKEND_TAP, BACKEND_DEVICE };
extern const char *const vnic_backend_names[];

struct vnic {
	struct object base;
	struct ref subnet;
	struct mac_addr mac;
	struct ip_list addresses;
	uint8_t backend; /* enum vnic_backend */
	char *socket, *tap_name, *netns, *device;
	uint16_t queues, mtu;
	bool admin_up, port_security;
	struct ref_list security_groups;
	uint32_t max_sessions, max_session_rate;
	char *hostname;
	/* observed */
	bool up;
	char *driver, *error;
	bool connected;
	char *ring;
	struct string_list virtio_features, queue_states, drop_reasons;
	uint16_t rx_queues_active;
	uint64_t sessions;
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes, rx_drops, tx_drops, misses;
};

/* The interface's name, given or by default. */
const char *vnic_tap_name(const struct vnic *vnic);

enum route_kind { ROUTE_DROP, ROUTE_ADDRESS, ROUTE_VTEP };
extern const char *const route_kind_names[];

struct route {
	struct object base;
	struct ref vpc;
	struct ip_prefix prefix;
	uint8_t kind; /* enum route_kind */
	struct ip_addr next_hop, vtep;
	struct mac_addr mac;
};

struct mapping {
	struct object base;
	struct ref vpc;
	struct ip_addr address, vtep;
	struct mac_addr mac;
	struct ref_list security_groups;
};

struct security_group {
	struct object base;
	char *description;
};

enum rule_direction { RULE_INGRESS, RULE_EGRESS };
enum rule_ethertype { RULE_IPV4, RULE_IPV6 };

struct security_group_rule {
	struct object base;
	struct ref group;
	uint8_t direction, ethertype;
	char *protocol;
	uint16_t port_range_min, port_range_max;
	uint16_t icmp_type, icmp_code; /* ICMP_ANY: not matched */
	struct ip_prefix remote_ip_prefix;
	struct ref remote_group;
};
enum { ICMP_ANY = 256 };

/* Protocol of a rule by its text ("any", a name, or a number): 0..255, or -EINVAL. "icmp" is ICMPv6 for IPv6 rules. */
int rule_protocol(const char *text, uint8_t ethertype);

extern const struct object_class tenant_class, port_class, underlay_class, vpc_class, subnet_class, vnic_class,
	route_class, mapping_class, security_group_class, security_group_rule_class, dpu_class;

/* A network interface name as Linux accepts it (1..15 bytes, no '/', blank or ':'). */
bool interface_name_valid(const char *text);

/* object_same_tenant() of all in a list. */
int same_tenants(const struct object *object, const struct ref_list *targets, const char *field, struct dpu_error *err);

/* Shared by the classes: address and its families against the subnet (validate.c). */
bool subnet_holds(const struct subnet *subnet, const struct ip_addr *address);
bool address_is_host(const struct ip_addr *address); /* unicast, not loopback, not unspecified */
/* prefix's address + number. */
bool address_is_reserved(const struct ip_prefix *prefix, const struct ip_addr *address); /* no host can have it */
struct ip_addr prefix_address(const struct ip_prefix *prefix, uint32_t number);
/* "10.9.0.0/16 via 10.0.0.5" of a subnet's host_routes; 0 or -EINVAL. */
int host_route_parse(const char *text, struct ip_prefix *ret_prefix, struct ip_addr *ret_next_hop);
