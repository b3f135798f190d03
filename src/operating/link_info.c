/* SPDX-License-Identifier: BSD-3-Clause */
/* Asking rtnetlink(7) about an interface: sysfs would answer for the namespace that it was mounted in. */
#include "operating/link_info.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include "base/str.h"

/* Calls fn for each well-formed attribute. */
static void each_attribute(const void *data, size_t length, void (*fn)(void *ctx, const struct rtattr *attribute),
			   void *ctx)
{
	const struct rtattr *attribute = data;

	while (length >= sizeof(*attribute) && attribute->rta_len >= sizeof(*attribute) &&
	       attribute->rta_len <= length) {
		fn(ctx, attribute);
		size_t step = RTA_ALIGN(attribute->rta_len);
		if (step > length)
			break;
		length -= step;
		attribute = (const struct rtattr *)((const char *)attribute + step);
	}
}

static uint32_t number(const struct rtattr *attribute)
{
	uint32_t value = 0;
	size_t length = RTA_PAYLOAD(attribute);

	memcpy(&value, RTA_DATA(attribute), length < sizeof(value) ? length : sizeof(value)); /* u8 or u32 */
	return value;
}

static void tun_attribute(void *ctx, const struct rtattr *attribute)
{
	struct link_info *info = ctx;

	switch (attribute->rta_type) {
	case IFLA_TUN_TYPE:
		info->tap = number(attribute) == IFF_TAP;
		break;
	case IFLA_TUN_OWNER:
		info->owner = number(attribute);
		break;
	case IFLA_TUN_MULTI_QUEUE:
		info->multi_queue = number(attribute) != 0;
		break;
	case IFLA_TUN_NUM_QUEUES:
	case IFLA_TUN_NUM_DISABLED_QUEUES:
		info->queues += number(attribute);
		break;
	default:
		break;
	}
}

struct kind {
	bool tun;
	struct link_info *info;
};

static void kind_attribute(void *ctx, const struct rtattr *attribute)
{
	struct kind *kind = ctx;

	if (attribute->rta_type == IFLA_INFO_KIND)
		kind->tun = RTA_PAYLOAD(attribute) >= 3 && memcmp(RTA_DATA(attribute), "tun", 3) == 0;
	else if (attribute->rta_type == IFLA_INFO_DATA && kind->tun)
		each_attribute(RTA_DATA(attribute), RTA_PAYLOAD(attribute), tun_attribute, kind->info);
}

static void link_attribute(void *ctx, const struct rtattr *attribute)
{
	struct kind kind = { .info = ctx };

	if ((attribute->rta_type & NLA_TYPE_MASK) == IFLA_LINKINFO)
		each_attribute(RTA_DATA(attribute), RTA_PAYLOAD(attribute), kind_attribute, &kind);
}

static int ask(int fd, const char *name)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
		struct rtattr attribute;
		char name[16];
	} request = {
		.header = { .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST },
		.attribute = { .rta_type = IFLA_IFNAME },
	};
	size_t length = strlen(name) + 1;

	if (length > sizeof(request.name))
		return -ENODEV;
	memcpy(request.name, name, length);
	request.attribute.rta_len = (unsigned short)RTA_LENGTH(length);
	request.header.nlmsg_len = NLMSG_LENGTH(sizeof(request.link)) + RTA_SPACE(length);
	return send(fd, &request, request.header.nlmsg_len, 0) < 0 ? -errno : 0;
}

int link_info_read(const char *name, struct link_info *ret)
{
	CLEANUP(close_fd) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	_Alignas(struct nlmsghdr) char buffer[16384];
	const struct nlmsghdr *header = (const struct nlmsghdr *)buffer;

	int status = fd < 0 ? -errno : ask(fd, name);
	if (status < 0)
		return status;
	ssize_t length = recv(fd, buffer, sizeof(buffer), 0);
	if (length < 0)
		return -errno;
	if ((size_t)length < NLMSG_LENGTH(sizeof(struct nlmsgerr)) || header->nlmsg_len > (size_t)length)
		return -EBADMSG;
	if (header->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *error = NLMSG_DATA(header);
		return error->error ? error->error : -EBADMSG;
	}
	if (header->nlmsg_type != RTM_NEWLINK || header->nlmsg_len < NLMSG_LENGTH(sizeof(struct ifinfomsg)))
		return -EBADMSG;
	*ret = (struct link_info){ .owner = -1 };
	each_attribute(IFLA_RTA(NLMSG_DATA(header)), IFLA_PAYLOAD(header), link_attribute, ret);
	return 0;
}
