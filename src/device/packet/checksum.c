/* SPDX-License-Identifier: BSD-3-Clause */
/* Internet checksums: sums over bytes and mbuf chains, pseudo headers, incremental updates. */
#include "device/packet/segment.h"
#include "base/multiversion.h"
#include "device/packet/packet_priv.h"

/* 32-bit words into 64-bit sums: no carries to chase, so compilers turn the loop into wide adds. */
MULTIVERSION
uint64_t checksum_bytes(const void *data, size_t length)
{
	const uint8_t *p = data;
	uint64_t sum = 0;
	size_t words = length / 4;

	for (size_t i = 0; i < words; i++)
		sum += load32(p + 4 * i);
	p += 4 * words;
	if (length & 2) {
		sum += load16(p);
		p += 2;
	}
	if (length & 1)
		sum += rte_cpu_to_be_16((uint16_t)(*p << 8));
	return (sum & 0xffffffff) + (sum >> 32);
}

uint64_t checksum_pseudo(const uint8_t *ip, bool v6, uint8_t proto, uint32_t length)
{
	uint64_t sum = v6 ? checksum_bytes(ip + 8, 32) : (uint64_t)load32(ip + 12) + load32(ip + 16);

	return sum + rte_cpu_to_be_32(length) + rte_cpu_to_be_16(proto);
}

static uint16_t swap16(uint16_t v)
{
	return (uint16_t)(v << 8 | v >> 8);
}

bool packet_sum(const struct rte_mbuf *m, uint32_t offset, uint32_t length, uint32_t *sum)
{
	uint64_t total = *sum;
	bool odd = false;

	if (offset > m->pkt_len || length > m->pkt_len - offset)
		return false;
	while (m && offset >= m->data_len) {
		offset -= m->data_len;
		m = m->next;
	}
	for (; m && length > 0; m = m->next, offset = 0) {
		uint32_t part = RTE_MIN(length, m->data_len - offset);
		uint16_t value = fold16(checksum_bytes(packet_at(m, offset), part));
		total += odd ? swap16(value) : value; /* RFC 1071 2(B) */
		odd ^= part & 1;
		length -= part;
	}
	if (length > 0)
		return false;
	*sum = fold16(total);
	return true;
}

uint16_t checksum_update16(uint16_t checksum, uint16_t old_word, uint16_t new_word)
{
	return (uint16_t)~fold16((uint64_t)(uint16_t)~checksum + (uint16_t)~old_word + new_word);
}

uint16_t checksum_update32(uint16_t checksum, uint32_t old_word, uint32_t new_word)
{
	return (uint16_t)~fold16((uint64_t)(uint16_t)~checksum + (uint32_t)~old_word + new_word);
}
