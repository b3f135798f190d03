/* SPDX-License-Identifier: BSD-3-Clause */
/* The security-group classifier: the allow rules of one vNIC, direction and family, scanned sixteen at a time.
 *
 * Rules lie in blocks, one array a field, so that the compiler turns the scan into a few vector instructions a block.
 * A hundred rules are seven blocks: cheaper than walking any tree, and it needs no memory to be built. */
#include "service/vswitch/dp.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

enum { BLOCK = 16 };

/* The hot scans are compiled for wider vectors, too, and picked at load time. Sanitizers and clang's fuzzer run before
 * such resolvers may. */
#if defined(__x86_64__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define WIDE_VECTORS __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WIDE_VECTORS
#endif

/* A rule matches when every masked difference is zero and port - port_min ≤ port_span. */
struct head {
	uint32_t proto[BLOCK], proto_mask[BLOCK];
	uint32_t port_min[BLOCK], port_span[BLOCK];
};
struct block_v4 {
	struct head head;
	uint32_t address[BLOCK], mask[BLOCK];
};
struct block_v6 {
	struct head head;
	uint32_t address[4][BLOCK], mask[4][BLOCK];
};

struct dp_rules {
	unsigned count, blocks;
	bool v6;
	uint32_t *slot, *remote_group; /* by rule */
	union {
		struct block_v4 *v4;
		struct block_v6 *v6_blocks;
		void *memory;
	};
};

void dp_rules_free(void *memory)
{
	struct dp_rules *rules = memory;
	if (!rules)
		return;
	free(rules->slot);
	free(rules->remote_group);
	free(rules->memory);
	free(rules);
}

static bool has_ports(uint8_t proto)
{
	switch (proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
	case IPPROTO_UDPLITE:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return true;
	default:
		return false;
	}
}

static int input_check(const struct dp_rule_input *input, uint8_t family)
{
	if (!input->rule_slot || input->family != family || (family != IP_V4 && family != IP_V6))
		return -EINVAL;
	if (has_ports(input->proto) && input->port_min > input->port_max)
		return -EINVAL;
	if (!input->remote.length)
		return 0;
	if (input->remote.addr.family != family || input->remote.length > (family == IP_V4 ? 32 : 128))
		return -EINVAL;
	return 0;
}

static void head_set(struct head *head, unsigned at, const struct dp_rule_input *input)
{
	bool any_port = !has_ports(input->proto);
	uint8_t proto = input->proto;
	/* "icmp" of an IPv6 rule means ICMPv6. */
	if (proto == IPPROTO_ICMP && input->family == IP_V6)
		proto = IPPROTO_ICMPV6;
	head->proto[at] = proto;
	head->proto_mask[at] = proto ? UINT32_MAX : 0;
	head->port_min[at] = any_port ? 0 : input->port_min;
	head->port_span[at] = any_port ? UINT16_MAX : input->port_max - input->port_min;
}

/* Word `index` of the prefix's mask, in the byte order of the packet. */
static uint32_t mask_word(unsigned length, unsigned index)
{
	unsigned bits = length > 32 * index ? length - 32 * index : 0;
	if (!bits)
		return 0;
	return rte_cpu_to_be_32(bits >= 32 ? UINT32_MAX : ~(UINT32_MAX >> bits));
}

static uint32_t address_word(const struct ip_addr *address, unsigned index)
{
	uint32_t word;
	memcpy(&word, address->bytes + 4 * index, sizeof(word));
	return word;
}

static void rule_set(struct dp_rules *rules, unsigned index, const struct dp_rule_input *input)
{
	unsigned block = index / BLOCK, at = index % BLOCK;
	unsigned words = rules->v6 ? 4 : 1;
	head_set(rules->v6 ? &rules->v6_blocks[block].head : &rules->v4[block].head, at, input);
	for (unsigned i = 0; i < words; i++) {
		uint32_t mask = mask_word(input->remote.length, i);
		uint32_t word = address_word(&input->remote.addr, i) & mask;
		if (rules->v6) {
			rules->v6_blocks[block].address[i][at] = word;
			rules->v6_blocks[block].mask[i][at] = mask;
		} else {
			rules->v4[block].address[at] = word;
			rules->v4[block].mask[at] = mask;
		}
	}
	rules->slot[index] = input->rule_slot;
	rules->remote_group[index] = input->remote_group;
}

/* No protocol is 256: what fills up the last block matches nothing. */
static void rule_pad(struct dp_rules *rules, unsigned index)
{
	unsigned block = index / BLOCK, at = index % BLOCK;
	struct head *head = rules->v6 ? &rules->v6_blocks[block].head : &rules->v4[block].head;
	head->proto[at] = 256;
	head->proto_mask[at] = UINT32_MAX;
}

int dp_rules_new(const struct dp_rule_input *input, unsigned count, struct dp_rules **ret)
{
	if (count > DP_MAX_RULES)
		return -E2BIG;
	uint8_t family = count ? input[0].family : (uint8_t)IP_V4;
	for (unsigned i = 0; i < count; i++)
		if (input_check(&input[i], family) < 0)
			return -EINVAL;

	struct dp_rules *rules = calloc(1, sizeof(*rules));
	if (!rules)
		return -ENOMEM;
	rules->count = count;
	rules->blocks = (count + BLOCK - 1) / BLOCK;
	rules->v6 = family == IP_V6;
	size_t bytes =
		(rules->v6 ? sizeof(struct block_v6) : sizeof(struct block_v4)) * (rules->blocks ? rules->blocks : 1);
	rules->slot = calloc(rules->blocks * BLOCK + 1, sizeof(*rules->slot));
	rules->remote_group = calloc(rules->blocks * BLOCK + 1, sizeof(*rules->remote_group));
	rules->memory = aligned_alloc(64, bytes);
	if (!rules->slot || !rules->remote_group || !rules->memory) {
		dp_rules_free(rules);
		return -ENOMEM;
	}
	memset(rules->memory, 0, bytes);
	for (unsigned i = 0; i < count; i++)
		rule_set(rules, i, &input[i]);
	for (unsigned i = count; i < rules->blocks * BLOCK; i++)
		rule_pad(rules, i);
	*ret = rules;
	return 0;
}

/* Fills hit[] for one block from `first` on that has a match, and returns its number; blocks if there is none. */
WIDE_VECTORS
static unsigned scan_v4(const struct block_v4 *block, unsigned first, unsigned blocks, uint32_t proto, uint32_t port,
			uint32_t remote, uint32_t *restrict hit)
{
	for (unsigned b = first; b < blocks; b++) {
		const struct block_v4 *at = &block[b];
		uint32_t any = 0;
		for (unsigned i = 0; i < BLOCK; i++) {
			uint32_t miss = (proto ^ at->head.proto[i]) & at->head.proto_mask[i];
			miss |= (remote ^ at->address[i]) & at->mask[i];
			uint32_t in_range = port - at->head.port_min[i] <= at->head.port_span[i];
			hit[i] = (miss == 0) & in_range;
			any |= hit[i];
		}
		if (any)
			return b;
	}
	return blocks;
}

WIDE_VECTORS
static unsigned scan_v6(const struct block_v6 *block, unsigned first, unsigned blocks, uint32_t proto, uint32_t port,
			const uint32_t *remote, uint32_t *restrict hit)
{
	uint32_t r0 = remote[0], r1 = remote[1], r2 = remote[2], r3 = remote[3];
	for (unsigned b = first; b < blocks; b++) {
		const struct block_v6 *at = &block[b];
		uint32_t any = 0;
		for (unsigned i = 0; i < BLOCK; i++) {
			uint32_t miss = (proto ^ at->head.proto[i]) & at->head.proto_mask[i];
			miss |= (r0 ^ at->address[0][i]) & at->mask[0][i];
			miss |= (r1 ^ at->address[1][i]) & at->mask[1][i];
			miss |= (r2 ^ at->address[2][i]) & at->mask[2][i];
			miss |= (r3 ^ at->address[3][i]) & at->mask[3][i];
			uint32_t in_range = port - at->head.port_min[i] <= at->head.port_span[i];
			hit[i] = (miss == 0) & in_range;
			any |= hit[i];
		}
		if (any)
			return b;
	}
	return blocks;
}

static bool is_member(uint32_t group, const uint32_t *groups, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (groups[i] == group)
			return true;
	return false;
}

uint32_t dp_rules_match(const struct dp_rules *rules, uint8_t proto, uint16_t dst_port, const struct ip_addr *remote,
			const uint32_t *remote_groups, unsigned remote_group_count)
{
	if (!rules || !rules->count || remote->family != (rules->v6 ? IP_V6 : IP_V4))
		return 0;
	uint32_t hit[BLOCK], words[4];
	memcpy(words, remote->bytes, sizeof(words));
	for (unsigned block = 0; block < rules->blocks; block++) {
		if (rules->v6)
			block = scan_v6(rules->v6_blocks, block, rules->blocks, proto, dst_port, words, hit);
		else
			block = scan_v4(rules->v4, block, rules->blocks, proto, dst_port, words[0], hit);
		if (block == rules->blocks)
			return 0;
		for (unsigned i = 0; i < BLOCK; i++) {
			unsigned index = block * BLOCK + i;
			uint32_t group = hit[i] ? rules->remote_group[index] : 0;
			if (hit[i] && (!group || is_member(group, remote_groups, remote_group_count)))
				return rules->slot[index];
		}
	}
	return 0;
}
