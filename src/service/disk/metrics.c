// SPDX-License-Identifier: BSD-3-Clause
/* Prometheus: the memory of what is under way, by tenant and worker. */
#include <stdio.h>
#include <stdlib.h>
#include "service/disk/disk_priv.h"

struct family {
	const char *name, *type, *help;
	enum { OF_WRITES, OF_REQUESTS } of;
	size_t offset; /* in struct ingress_stats, struct virtio_blk_account */
};

static const struct family families[] = {
	{ "dpu_disk_buffer_bytes", "gauge", "Memory of writes of a tenant's disks that are under way, by worker.",
	  OF_WRITES, offsetof(struct ingress_stats, used_bytes) },
	{ "dpu_disk_buffer_most_bytes", "gauge", "The most that it has been.", OF_WRITES,
	  offsetof(struct ingress_stats, most_bytes) },
	{ "dpu_disk_copied_bytes_total", "counter", "Bytes of writes that were copied where they enter.", OF_WRITES,
	  offsetof(struct ingress_stats, copied_bytes) },
	{ "dpu_disk_buffer_waits_total", "counter", "Writes that waited for memory.", OF_WRITES,
	  offsetof(struct ingress_stats, waited) },
	{ "dpu_disk_request_bytes", "gauge",
	  "Memory of requests of many segments or ranges of a tenant's disks that are under way, by worker.",
	  OF_REQUESTS, offsetof(struct virtio_blk_account, used) },
	{ "dpu_disk_request_most_bytes", "gauge", "The most that it has been.", OF_REQUESTS,
	  offsetof(struct virtio_blk_account, most) },
	{ "dpu_disk_request_waits_total", "counter", "How often a queue had to wait for it.", OF_REQUESTS,
	  offsetof(struct virtio_blk_account, waits) },
};

static void sample(FILE *out, const struct disks *disks, const struct family *family, unsigned worker,
		   const struct disk_account *account)
{
	const struct object *tenant = model_find_uuid(disks->dpu->model, &account->tenant);
	const char *stats = family->of == OF_WRITES ? (const char *)ingress_account_stats(account->account)
						    : (const char *)&account->requests;
	const _Atomic uint64_t *value = (const _Atomic uint64_t *)(const void *)(stats + family->offset);
	char *whose = tenant ? model_prometheus_labels(tenant) : NULL;

	if (whose)
		fprintf(out, "%s{%s,worker=\"%u\"} %llu\n", family->name, whose, worker,
			(unsigned long long)atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)value,
								 memory_order_relaxed));
	free(whose);
}

char *disk_metrics(void *state)
{
	const struct disks *disks = state;
	const struct disk_account *account;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	for (unsigned i = 0; out && i < sizeof(families) / sizeof(families[0]); i++) {
		fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", families[i].name, families[i].help, families[i].name,
			families[i].type);
		for (unsigned worker = 0; worker < workers_count(disks->dpu->workers); worker++)
			LIST_FOREACH(account, &disks->arenas[worker].accounts, link)
		sample(out, disks, &families[i], worker, account);
	}
	if (out)
		fclose(out);
	return text;
}
