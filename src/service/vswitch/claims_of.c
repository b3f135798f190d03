/* SPDX-License-Identifier: BSD-3-Clause */
/* What each object claims for itself alone (claims.h), and what is said to another one that wants the same. */
#include <string.h>
#include "service/vswitch/vswitch_priv.h"

static unsigned vnic_claims(const struct vnic *vnic, struct claim *claims, unsigned room)
{
	const struct subnet *subnet = (const struct subnet *)vnic->subnet.object;
	const struct uuid vpc = subnet ? subnet->vpc.object->uuid : (struct uuid){ 0 };
	unsigned count = 0;

	if (subnet) {
		claims[count] = (struct claim){ .kind = CLAIM_VPC_MAC, .scope = vpc };
		memcpy(claims[count++].value, vnic->mac.bytes, sizeof(vnic->mac.bytes));
	}
	if (vnic->backend == BACKEND_TAP) {
		claims[count] = (struct claim){ .kind = CLAIM_TAP };
		claim_text(&claims[count++], vnic_tap_name(vnic), vnic->netns);
	} else if (vnic->socket) {
		claims[count] = (struct claim){ .kind = CLAIM_SOCKET };
		claim_text(&claims[count++], vnic->socket, NULL);
	} else if (vnic->device) {
		claims[count] = (struct claim){ .kind = CLAIM_DEVICE };
		claim_text(&claims[count++], vnic->device, NULL);
	}
	struct ip_addr link_local = ip_link_local(&vnic->mac);
	claims[count] = (struct claim){ .kind = CLAIM_VPC_ADDRESS, .scope = vpc };
	claim_ip(&claims[count++], &link_local);
	for (size_t i = 0; i < vnic->addresses.count && count < room; i++) {
		claims[count] = (struct claim){ .kind = CLAIM_VPC_ADDRESS, .scope = vpc };
		claim_ip(&claims[count++], &vnic->addresses.items[i]);
	}
	return count;
}

static void claim_number(struct claim *claim, uint8_t kind, uint32_t number)
{
	claim->value[0] = kind;
	memcpy(claim->value + 4, &number, sizeof(number));
}

unsigned claims_of_object(const struct object *object, struct claim *claims, unsigned room)
{
	struct claim claim = { 0 };

	if (object->class == &vnic_class)
		return vnic_claims((const struct vnic *)object, claims, room);
	if (object->class == &mapping_class) {
		const struct mapping *mapping = (const struct mapping *)object;
		claim = (struct claim){ .kind = CLAIM_VPC_ADDRESS, .scope = mapping->vpc.object->uuid };
		claim_ip(&claim, &mapping->address);
	} else if (object->class == &route_class) {
		const struct route *route = (const struct route *)object;
		claim = (struct claim){ .kind = CLAIM_ROUTE, .scope = route->vpc.object->uuid };
		claim_ip(&claim, &route->prefix.addr);
		claim.value[17] = route->prefix.length;
	} else if (object->class == &vpc_class) {
		const struct vpc *vpc = (const struct vpc *)object;
		claim.kind = CLAIM_VNI;
		claim_number(&claim, vpc->encapsulation, vpc->vni);
	} else if (object->class == &port_class) {
		claim.kind = CLAIM_DEVICE;
		claim_text(&claim, ((const struct port_object *)object)->device, NULL);
	} else {
		return 0;
	}
	claims[0] = claim;
	return 1;
}

static const char *address_text(const struct object *object, const struct claim *claim, char *buf)
{
	struct ip_addr address = { .family = claim->value[0] };

	(void)object;
	memcpy(address.bytes, claim->value + 1, sizeof(address.bytes));
	return ip_format(&address, buf);
}

static int refuse(const struct object *object, const struct claim *claim, const char *who, struct dpu_error *err)
{
	char text[IP_TEXT];

	switch (claim->kind) {
	case CLAIM_VPC_ADDRESS:
		return error_set(err, DPU_E_EXISTS, object->class == &mapping_class ? "address" : "addresses",
				 "%s belongs to %s", address_text(object, claim, text), who);
	case CLAIM_VPC_MAC:
		return error_set(err, DPU_E_EXISTS, "mac", "is that of %s; each vNIC of a VPC needs its own", who);
	case CLAIM_ROUTE:
		return error_set(err, DPU_E_EXISTS, "prefix", "has a route already: %s", who);
	case CLAIM_VNI:
		return error_set(err, DPU_E_EXISTS, "vni", "%u is used by %s with the same encapsulation",
				 ((const struct vpc *)object)->vni, who);
	case CLAIM_SOCKET:
		return error_set(err, DPU_E_EXISTS, "socket", "is used by %s", who);
	case CLAIM_TAP:
		return error_set(err, DPU_E_EXISTS, "tap_name", "is used by %s in the same namespace", who);
	default:
		return error_set(err, DPU_E_EXISTS, "device", "is used by %s", who);
	}
}

int control_check_claims(void *ctx, const struct object *object, struct dpu_error *err)
{
	struct vswitch *vswitch = ctx;
	struct claim claims[CLAIMS_PER_OBJECT];
	char path[OBJECT_PATH_TEXT];
	unsigned index;
	const struct object *other = claims_conflict(vswitch->claims, vswitch->dpu->model, object, &index);

	if (!other)
		return 0;
	claims_of_object(object, claims, CLAIMS_PER_OBJECT);
	/* Other tenants' names are nobody's business. */
	bool theirs = other->tenant && object->tenant && !uuid_equal(&other->tenant->uuid, &object->tenant->uuid);
	return refuse(object, &claims[index], theirs ? "another tenant" : object_path(other, path, sizeof(path)), err);
}
