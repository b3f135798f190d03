// SPDX-License-Identifier: BSD-3-Clause
/* The action `nvmf_remote discover`: a discovery controller's log as JSON. */
#include <stdlib.h>
#include <string.h>
#include "device/nvme/nvme_data.h"
#include "service/nvmf/nqn.h"
#include "service/nvmf/remote/nvmf_remote_priv.h"

const struct field discover_args[] = {
	FIELD(struct discover_args, address, .flags = FIELD_F_REQUIRED,
	      .doc = "Where the discovery controller listens; the port is 4420 where none is given."),
	FIELD(struct discover_args, host_nqn, .check = nqn_check, .check_doc = NQN_CHECK_DOC,
	      .doc = "Our name, as the controller is to know it."),
	{ 0 },
};

struct discover {
	struct remotes *remotes;
	struct action_reply *reply;
	struct worker *worker;
	struct discovery_options options;
	struct remote_discovery *discovery;
	struct worker_source source;
	struct dpu_error err;
	int status;
	json_t *result;
	bool over; /* the worker's: it has an answer, or has none to wait for */
	TAILQ_ENTRY(discover) link;
};

/* ---- answers, in control ---- */

static void answer(void *arg)
{
	struct discover *discover = arg;
	struct remotes *remotes = discover->remotes;

	remote_discovery_free(discover->discovery);
	action_answer(discover->reply, discover->status, discover->result, &discover->err);
	remotes->discoveries--;
	free(discover);
	remotes_stop_check(remotes);
}

static void closed(void *arg)
{
	struct discover *discover = arg;

	TAILQ_REMOVE(&discover->remotes->asking, discover, link);
	worker_remove_source(discover->worker, &discover->source, answer, discover);
}

/* ---- in the worker ---- */

static void on_closed(void *arg)
{
	struct discover *discover = arg;

	remotes_post(discover->remotes, closed, discover);
}

/* ASCII, padded with spaces. */
static json_t *padded(const char *text, size_t bytes)
{
	while (bytes > 0 && (text[bytes - 1] == ' ' || text[bytes - 1] == 0))
		bytes--;
	json_t *string = json_stringn(text, bytes);
	return string ? string : json_string("?"); /* what a controller says need not be text */
}

static json_t *entry_json(const struct nvme_discovery_entry *entry)
{
	static const char *const subtypes[] = {
		[NVME_SUBTYPE_REFERRAL] = "referral",
		[NVME_SUBTYPE_NVM] = "subsystem",
		[NVME_SUBTYPE_DISCOVERY] = "discovery",
	};
	const char *subtype = entry->subtype < 4 && subtypes[entry->subtype] ? subtypes[entry->subtype] : "unknown";

	return json_pack("{s:s,s:s,s:o,s:o,s:o,s:i,s:b}", "kind", subtype, "transport",
			 entry->trtype == NVME_TRTYPE_TCP ? "tcp" : "other", "address",
			 padded(entry->traddr, sizeof(entry->traddr)), "port",
			 padded(entry->trsvcid, sizeof(entry->trsvcid)), "nqn",
			 padded(entry->subnqn, strnlen(entry->subnqn, sizeof(entry->subnqn))), "portid", entry->portid,
			 "secure", (entry->treq & 3) == NVME_TREQ_REQUIRED);
}

static void on_done(void *ctx, const struct nvme_discovery_entry *entries, unsigned count, const char *error)
{
	struct discover *discover = ctx;

	discover->over = true;
	if (error) {
		discover->status = error_set(&discover->err, DPU_E_IO, "address", "Discovery failed: %s.", error);
	} else {
		discover->result = json_array();
		for (unsigned i = 0; i < count; i++)
			json_array_append_new(discover->result, entry_json(&entries[i]));
	}
	remote_discovery_close(discover->discovery, on_closed, discover);
}

static uint64_t on_tick(struct worker_source *source, struct worker *worker, uint64_t now_ns)
{
	struct discover *discover = (struct discover *)((uint8_t *)source - offsetof(struct discover, source));

	return discover->discovery ? remote_discovery_source(discover->discovery)
					     ->tick(remote_discovery_source(discover->discovery), worker, now_ns)
				   : UINT64_MAX;
}

static void start(void *arg, struct worker *worker)
{
	struct discover *discover = arg;
	int r = remote_discovery_start(&discover->options, on_done, discover, &discover->discovery, &discover->err);

	if (r == 0)
		return;
	discover->over = true;
	discover->status = r;
	remotes_post(discover->remotes, closed, discover);
}

static void give_up(void *arg, struct worker *worker)
{
	struct discover *discover = arg;

	if (!discover->over)
		on_done(discover, NULL, 0, "the DPU stops");
}

void discoveries_end(struct remotes *remotes)
{
	struct discover *discover;

	TAILQ_FOREACH(discover, &remotes->asking, link)
	remotes_call(discover->worker, give_up, discover);
}

int discover_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		   struct dpu_error *err)
{
	const struct discover_args *given = args;
	struct remotes *remotes = ctx;
	struct nvmf_remote_object host = { .host_nqn = given->host_nqn };
	struct remote_options options = { 0 };
	struct remote_address address;

	if (remote_address_parse(given->address, &address) < 0)
		return error_set(err, DPU_E_INVALID, "address",
				 "must be an IP address with an optional port: 192.0.2.1:8009");
	if (!remotes->started || remotes->stopping)
		return error_set(err, DPU_E_DENIED, NULL, "The DPU is starting or stopping.");
	struct worker *worker = workers_get(remotes->dpu->workers, 0);
	struct stream_group *streams = nvmf_streams(nvmf_of(remotes->dpu), worker, err);
	if (!streams)
		return err->code ? error_errno(err->code) : -1;
	uuid_generate(&host.base.uuid, 1);
	nvmf_remote_host(&host, &options);
	struct discover *discover = remotes_alloc(sizeof(*discover));
	*discover = (struct discover){ .remotes = remotes, .reply = reply, .worker = worker };
	discover->options.streams = streams;
	discover->options.address = address;
	memcpy(discover->options.hostnqn, options.hostnqn, sizeof(options.hostnqn));
	memcpy(discover->options.hostid, options.hostid, sizeof(options.hostid));
	discover->source = (struct worker_source){ .tick = on_tick, .fd = -1, .name = "discovery" };
	remotes->discoveries++;
	TAILQ_INSERT_TAIL(&remotes->asking, discover, link);
	if (worker_add_source(worker, &discover->source) != 0)
		abort(); /* out of memory */
	remotes_call(worker, start, discover);
	return 0;
}
