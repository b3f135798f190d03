/* SPDX-License-Identifier: BSD-3-Clause */
/* The class "vnic": a virtual NIC of a VM, a container or a network function. */
#include <stdlib.h>
#include <string.h>
#include "service/vswitch/objects.h"
#include "service/vswitch/control.h"

enum { IPV6_MTU_MIN = 1280 };

const char *const vnic_backend_names[] = { "vhost_user_client", "vhost_user_server", "tap", "device", NULL };

static bool hostname_valid(const char *text)
{
	return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == strlen(text);
}

static const struct field vnic_fields[] = {
	FIELD(struct vnic, subnet, .flags = FIELD_F_IMMUTABLE | FIELD_F_PARENT, .target = "subnet",
	      .doc = "The subnet that the vNIC is in; one without is forwarded by an eswitch, through a representor."),
	FIELD(struct vnic, mac, .flags = FIELD_F_IMMUTABLE | FIELD_F_GENERATED,
	      .doc = "MAC address; by default a locally administered one that is made up."),
	FIELD(struct vnic, addresses, .flags = FIELD_F_GENERATED, .max = DP_MAX_ADDRESSES,
	      .doc = "Addresses of the vNIC; the first of each family is what DHCP gives; by default the lowest free "
		     "one of each of the subnet's families. The link-local address of its MAC (EUI-64) is the vNIC's "
		     "without being named; others in fe80::/64 are to be named here."),
	FIELD_ENUM_ROW(struct vnic, backend, vnic_backend_names, .flags = FIELD_F_IMMUTABLE, .def = "vhost_user_client",
		       .doc = "How the guest is attached: vhost-user as client or server of the socket, a TAP "
			      "interface in a network namespace, or a device."),
	FIELD(struct vnic, socket, .flags = FIELD_F_IMMUTABLE, .max = 100,
	      .doc = "With vhost-user: path of the socket; a relative one is in the DPU's run directory; by default "
		     "TENANT-NAME.sock there."),
	FIELD(struct vnic, tap_name, .flags = FIELD_F_IMMUTABLE, .max = 15, .check = interface_name_valid,
	      .check_doc = "must be an interface name of at most 15 characters without '/', ':' and blanks",
	      .doc = "With backend=tap: name of the interface in the namespace; by default eth0."),
	FIELD(struct vnic, netns, .flags = FIELD_F_IMMUTABLE, .max = 255,
	      .doc = "With backend=tap: network namespace, by its name under /run/netns or by path; by default the "
		     "daemon's own."),
	FIELD(struct vnic, device, .flags = FIELD_F_IMMUTABLE, .max = 1024,
	      .doc = "With backend=device: what drives it, as a port's device; for instance memif:PATH,server for a "
		     "network function."),
	FIELD(struct vnic, queues, .flags = FIELD_F_IMMUTABLE, .unit = "queue_pairs", .min = 1, .max = 16, .def = "1",
	      .doc = "Queue pairs offered to the guest, spread over the workers."),
	FIELD(struct vnic, mtu, .unit = "bytes", .min = 576, .max = 9216, .def = "1500",
	      .doc = "Largest layer-3 packet; told to the guest. It can be changed but with backend=device; a guest "
		     "learns of that by a router advertisement at once, by DHCP when it renews."),
	FIELD(struct vnic, admin_up, .def = "true", .doc = "Whether the vNIC is to carry traffic."),
	FIELD(struct vnic, port_security, .def = "true",
	      .doc = "Whether only the vNIC's own MAC and addresses may be used as source; off for appliances that "
		     "forward."),
	FIELD(struct vnic, security_groups, .target = "security_group", .max = DP_MAX_GROUPS,
	      .doc = "Security groups; their rules together say what is allowed; without any everything is."),
	FIELD(struct vnic, max_sessions, .unit = "sessions", .max = UINT32_MAX, .def = "100000",
	      .doc = "Sessions that the vNIC may hold; 0 means no limit."),
	FIELD(struct vnic, max_session_rate, .unit = "packets_per_second", .max = UINT32_MAX, .def = "200000",
	      .doc = "Packets without a session that policy looks at per second, refused ones included; the rest is "
		     "dropped, so that no guest takes a worker's time from others; 0 means no limit."),
	FIELD(struct vnic, hostname, .max = 63, .check = hostname_valid,
	      .check_doc = "must be a host name of letters, digits and dashes",
	      .doc = "Host name that DHCP tells; by default none."),
	FIELD(struct vnic, up, .flags = FIELD_F_STATE, .doc = "Whether the guest is connected and its driver ready."),
	FIELD(struct vnic, driver, .flags = FIELD_F_STATE, .doc = "Kind of port behind the vNIC, once it is open."),
	FIELD(struct vnic, error, .flags = FIELD_F_STATE, .doc = "Why the vNIC does not work, when it does not."),
	FIELD(struct vnic, rx_queues_active, .flags = FIELD_F_STATE, .unit = "queues",
	      .doc = "Queues that workers serve now."),
	FIELD(struct vnic, connected, .flags = FIELD_F_STATE,
	      .doc = "With vhost-user: whether the other side of the socket is there, its driver ready or not."),
	FIELD(struct vnic, virtio_features, .flags = FIELD_F_STATE,
	      .doc = "With vhost-user: virtio features that were negotiated with the guest."),
	FIELD(struct vnic, ring, .flags = FIELD_F_STATE,
	      .doc = "With vhost-user: kind of the guest's rings, split or packed."),
	FIELD(struct vnic, queue_states, .flags = FIELD_F_STATE,
	      .doc = "For each queue pair the worker that serves it, its sizes, why it is broken if it is, and "
		     "what was wrong with the last bad descriptors of the guest."),
	FIELD(struct vnic, drop_reasons, .flags = FIELD_F_STATE,
	      .doc = "Drops by reason, as REASON=PACKETS; port-REASON are frames that the port could not "
		     "receive, and port-bad-receive-buffer the guest's useless receive buffers."),
	FIELD(struct vnic, sessions, .flags = FIELD_F_GAUGE, .unit = "sessions",
	      .doc = "Sessions that the vNIC holds now."),
	FIELD(struct vnic, rx_packets, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets that the guest has sent."),
	FIELD(struct vnic, rx_bytes, .flags = FIELD_F_COUNTER, .unit = "bytes",
	      .doc = "Bytes that the guest has sent."),
	FIELD(struct vnic, tx_packets, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets handed to the guest."),
	FIELD(struct vnic, tx_bytes, .flags = FIELD_F_COUNTER, .unit = "bytes", .doc = "Bytes handed to the guest."),
	FIELD(struct vnic, rx_drops, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets of the guest that were dropped."),
	FIELD(struct vnic, tx_drops, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets for the guest that it did not take."),
	FIELD(struct vnic, misses, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets of the guest that took the policy path; the rest hit a session."),
	{ 0 },
};

/* fe80::/64 has an interface identifier behind it (RFC 4291 2.5.6). */
static int link_local_validate(const struct ip_addr *address, const struct subnet *subnet, struct dpu_error *err)
{
	static const uint8_t zero[8];
	struct mac_addr router = vpc_router_mac((const struct vpc *)subnet->vpc.object);
	struct ip_addr gateway = ip_link_local(&router);
	char text[IP_TEXT];

	if (address->bytes[1] != 0x80 || memcmp(address->bytes + 2, zero, 6) != 0 ||
	    memcmp(address->bytes + 8, zero, 8) == 0)
		return error_set(
			err, DPU_E_INVALID, "addresses",
			"%s is no host's link-local address, which begins with fe80::", ip_format(address, text));
	if (ip_equal(address, &gateway))
		return error_set(err, DPU_E_INVALID, "addresses", "%s is the link-local address of the gateway",
				 ip_format(address, text));
	return 0;
}

static int addresses_validate(const struct vnic *vnic, struct dpu_error *err)
{
	const struct subnet *subnet = (const struct subnet *)vnic->subnet.object;

	for (size_t i = 0; i < vnic->addresses.count; i++) {
		const struct ip_addr *address = &vnic->addresses.items[i];
		const struct ip_prefix *prefix = address->family == IP_V4 ? &subnet->prefix_v4 : &subnet->prefix_v6;
		char text[IP_TEXT];

		if (!address_is_host(address))
			return error_set(err, DPU_E_INVALID, "addresses", "%s is not a unicast address",
					 ip_format(address, text));
		if (ip_is_link_local(address)) {
			int rc = link_local_validate(address, subnet, err);
			if (rc != 0)
				return rc;
			continue;
		}
		if (!subnet_holds(subnet, address))
			return error_set(err, DPU_E_INVALID, "addresses", "%s is not in subnet %s",
					 ip_format(address, text), subnet->base.name);
		if (ip_equal(address, &subnet->gateway_v4) || ip_equal(address, &subnet->gateway_v6))
			return error_set(err, DPU_E_INVALID, "addresses", "%s is the gateway of subnet %s",
					 ip_format(address, text), subnet->base.name);
		if (address_is_reserved(prefix, address))
			return error_set(err, DPU_E_INVALID, "addresses",
					 "%s is the first or last of subnet %s, which no host can have",
					 ip_format(address, text), subnet->base.name);
	}
	return 0;
}

/* A field that only one kind of attachment uses. */
static int belongs(const char *value, bool fits, const char *field, const char *backends, struct dpu_error *err)
{
	return value && !fits ? error_set(err, DPU_E_INVALID, field, "goes with backend=%s only", backends) : 0;
}

static int backend_validate(const struct vnic *vnic, struct dpu_error *err)
{
	bool vhost = vnic->backend == BACKEND_VHOST_USER_CLIENT || vnic->backend == BACKEND_VHOST_USER_SERVER;
	int rc = belongs(vnic->socket, vhost, "socket", "vhost_user_client or vhost_user_server", err);

	if (rc == 0)
		rc = belongs(vnic->tap_name, vnic->backend == BACKEND_TAP, "tap_name", "tap", err);
	if (rc == 0)
		rc = belongs(vnic->netns, vnic->backend == BACKEND_TAP, "netns", "tap", err);
	if (rc == 0)
		rc = belongs(vnic->device, vnic->backend == BACKEND_DEVICE, "device", "device", err);
	if (rc == 0 && vnic->backend == BACKEND_DEVICE && !vnic->device)
		rc = error_set(err, DPU_E_INVALID, "device", "must be given with backend=device");
	return rc;
}

/* One that is not the native switch's: what only that does is not for it. */
static int foreign_validate(void *ctx, const struct vnic *vnic, struct dpu_error *err)
{
	static const char reason[] = "needs a subnet; without one the vNIC's representor decides about its packets";
	int rc;

	if (vnic->addresses.count > 0)
		return error_set(err, DPU_E_INVALID, "addresses", reason);
	if (vnic->security_groups.count > 0)
		return error_set(err, DPU_E_INVALID, "security_groups", reason);
	if (vnic->hostname)
		return error_set(err, DPU_E_INVALID, "hostname", reason);
	rc = backend_validate(vnic, err);
	if (rc == 0)
		rc = control_check_claims(ctx, &vnic->base, err);
	return rc ? rc : control_check_memory(ctx, &vnic->base, "queues", err);
}

static int vnic_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	const struct vnic *vnic = (const struct vnic *)new;
	const struct subnet *subnet = (const struct subnet *)vnic->subnet.object;
	int rc;

	(void)old;
	if (mac_is_zero(&vnic->mac) || mac_is_multicast(&vnic->mac))
		return error_set(err, DPU_E_INVALID, "mac", "must be a unicast MAC address");
	if (!subnet)
		return foreign_validate(ctx, vnic, err);
	if (vnic->mtu < IPV6_MTU_MIN && subnet->prefix_v6.addr.family != IP_NONE)
		return error_set(err, DPU_E_INVALID, "mtu", "must be at least %d in a subnet with IPv6", IPV6_MTU_MIN);
	rc = object_same_tenant(new, vnic->subnet.object, "subnet", err);
	if (rc == 0)
		rc = same_tenants(new, &vnic->security_groups, "security_groups", err);
	if (rc == 0)
		rc = backend_validate(vnic, err);
	if (rc == 0)
		rc = addresses_validate(vnic, err);
	if (rc == 0)
		rc = control_check_claims(ctx, new, err);
	return rc ? rc : control_check_memory(ctx, new, "queues", err);
}

const struct object_class vnic_class = {
	.name = "vnic",
	.plural = "vnics",
	.doc = "A virtual NIC: where a VM, a container or a network function meets its VPC.",
	.size = sizeof(struct vnic),
	.fields = vnic_fields,
	.max_objects = 60000,
	.complete = control_vnic_complete,
	.validate = vnic_validate,
	.apply = control_vnic_apply,
	.remove = control_vnic_remove,
	.commit = control_commit,
	.forget = control_forget,
	.observe = control_vnic_observe,
};
