// SPDX-License-Identifier: BSD-3-Clause
/* What a discovery controller tells: the action `discover`, and paths that come and go with its log. What there is to
 * say where no path leads to the namespace, and names that are in the store. */
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "operating/uring_needed.h"
#include "service/nvmf/remote/nvmf_remote_priv.h"
#include "service/nvmf/remote/nvmf_remote_rig.h"

static void entries_set(struct fake_target *target)
{
	static const char spaces[] = "                                ";

	target->entry_count = 2;
	for (unsigned i = 0; i < 2; i++) {
		struct nvme_discovery_entry *entry = &target->entries[i];

		entry->trtype = NVME_TRTYPE_TCP;
		entry->subtype = i ? NVME_SUBTYPE_REFERRAL : NVME_SUBTYPE_NVM;
		memcpy(entry->trsvcid, spaces, sizeof(entry->trsvcid));
		memcpy(entry->trsvcid, "4420", 4);
		memcpy(entry->traddr, "192.0.2.1 ", 10);
		strcpy(entry->subnqn, "nqn.2026-01.test:s");
	}
	memset(target->entries[1].subnqn, 0xff, sizeof(target->entries[1].subnqn)); /* no text at all */
}

static void test_discover(void **state)
{
	struct block_rig rig;
	struct dpu_error err = { 0 };
	char address[64];

	remote_rig_open(&rig);
	house_ask(entries_set);
	snprintf(address, sizeof(address), "127.0.0.1:%u", house_port(0));
	json_t *result =
		block_rig_action(&rig, "nvmf_remote", "discover", NULL, json_pack("{s:s}", "address", address), NULL);
	assert_int_equal(json_array_size(result), 2);
	const json_t *first = json_array_get(result, 0);
	assert_string_equal(json_string_value(json_object_get(first, "kind")), "subsystem");
	assert_string_equal(json_string_value(json_object_get(first, "port")), "4420");
	assert_string_equal(json_string_value(json_object_get(first, "nqn")), "nqn.2026-01.test:s");
	assert_string_equal(json_string_value(json_object_get(json_array_get(result, 1), "kind")), "referral");
	json_decref(result);
	assert_null(block_rig_action(&rig, "nvmf_remote", "discover", NULL,
				     json_pack("{s:s}", "address", "127.0.0.1:1"), &err));
	assert_non_null(strstr(err.message, "refused"));
	assert_null(block_rig_action(&rig, "nvmf_remote", "discover", NULL, json_pack("{s:s}", "address", "x"), &err));
	assert_string_equal(err.path, "discover.address");
	assert_null(block_rig_action(&rig, "nvmf_remote", "discover", NULL, json_pack("{s:s}", "address", ""), &err));
	assert_string_equal(err.path, "discover.address");
	remote_rig_close(&rig);
}

static void refused(void *arg, int status, json_t *result, const struct dpu_error *err)
{
	assert_string_equal(err->message, "Discovery failed: the DPU stops.");
	*(bool *)arg = true;
}

/* Who accepts a connection and says nothing does not hold up a DPU that stops. */
static void test_stop_while_discovering(void **state)
{
	struct sockaddr_in listener = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t bytes = sizeof(listener);
	struct block_rig rig;
	bool told = false;
	char address[32];
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&listener, sizeof(listener)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&listener, &bytes), 0);
	snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(listener.sin_port));
	block_rig_new(&rig, 1, remote_rig_services);
	json_t *args = json_pack("{s:s}", "address", address);
	model_action(rig.dpu.model, "nvmf_remote", "discover", NULL, NULL, args, refused, &told);
	json_decref(args);
	run_for(&rig.base, 100 * CLOCK_NS_PER_MS);
	assert_false(told);
	uint64_t start = clock_ns();
	block_rig_down(&rig);
	assert_true(told);
	assert_in_range((clock_ns() - start) / CLOCK_NS_PER_MS, 0, 3000);
	block_rig_up(&rig);
	block_rig_free(&rig);
	close(fd);
}

static void entry_set(struct fake_target *target, unsigned index, unsigned port, const char *nqn)
{
	struct nvme_discovery_entry *entry = &target->entries[index];

	memset(entry, 0, sizeof(*entry));
	entry->trtype = NVME_TRTYPE_TCP;
	entry->adrfam = NVME_ADRFAM_IPV4;
	entry->subtype = NVME_SUBTYPE_NVM;
	memset(entry->trsvcid, ' ', sizeof(entry->trsvcid));
	snprintf(entry->trsvcid, sizeof(entry->trsvcid), "%u", ntohs(target->ports[port].address.sin_port));
	memset(entry->traddr, ' ', sizeof(entry->traddr));
	memcpy(entry->traddr, "127.0.0.1", 9);
	strcpy(entry->subnqn, nqn);
}

/* One path, and what is none of ours or no address at all. */
static void one_known(struct fake_target *target)
{
	entry_set(target, 0, 1, "nqn.2026-01.test:s");
	entry_set(target, 1, 0, "nqn.2026-01.test:other");
	entry_set(target, 2, 0, "nqn.2026-01.test:s");
	memset(target->entries[2].traddr, 0xff, sizeof(target->entries[2].traddr));
	entry_set(target, 3, 0, "nqn.2026-01.test:s");
	memset(target->entries[3].subnqn, 'n', sizeof(target->entries[3].subnqn));
	target->entry_count = 4;
}

static void both_known(struct fake_target *target)
{
	entry_set(target, 1, 0, "nqn.2026-01.test:s");
	target->entry_count = 2;
	target->genctr++;
	fake_event(target, nvme_event(NVME_EVENT_NOTICE, NVME_NOTICE_DISCOVERY, NVME_LOG_DISCOVERY));
}

static void other_known(struct fake_target *target)
{
	entry_set(target, 0, 0, "nqn.2026-01.test:s");
	target->entry_count = 1;
	target->genctr++;
	fake_event(target, nvme_event(NVME_EVENT_NOTICE, NVME_NOTICE_DISCOVERY, NVME_LOG_DISCOVERY));
}

static void none_known(struct fake_target *target)
{
	target->entry_count = 0;
	target->genctr++;
	fake_event(target, nvme_event(NVME_EVENT_NOTICE, NVME_NOTICE_DISCOVERY, NVME_LOG_DISCOVERY));
}

/* A remote whose target is as it was asked to be, and a pool on it: who makes that is answered. before, after: the
 * field around the address. */
static void unreachable_open(struct block_rig *rig, void (*how)(struct fake_target *target), const char *before,
			     const char *after)
{
	house_open();
	house_ask(how);
	block_rig_new(rig, 1, remote_rig_services);
	block_rig_apply(rig, "{'nvmf_remotes': [{'name': 'r', %s127.0.0.1:%u%s, 'nqn': 'nqn.2026-01.test:s'}]}", before,
			house_port(0), after);
	block_rig_change(rig, CHANGE_CREATE, "pool", "p", "{'remotes': ['r']}", NULL);
}

/* A controller that knows no path is why there is none. */
static void test_watch_none(void **state)
{
	struct block_rig rig;

	unreachable_open(&rig, none_known, "'discovery': '", "'");
	assert_non_null(strstr(block_rig_field(&rig, "pool", "p", "why"), "knows no path of the subsystem"));
	WAIT_FOR(&rig.base, strstr(block_rig_field(&rig, "nvmf_remote", "r", "why"), "knows no path of the subsystem"));
	remote_rig_close(&rig);
}

static void be_inaccessible(struct fake_target *target)
{
	target->ports[0].ana = target->ports[1].ana = NVME_ANA_STATE_INACCESSIBLE;
}

static void test_inaccessible(void **state)
{
	struct block_rig rig;

	unreachable_open(&rig, be_inaccessible, "'addresses': ['", "']");
	assert_non_null(strstr(block_rig_field(&rig, "pool", "p", "why"), "inaccessible"));
	remote_rig_close(&rig);
}

/* Paths are those that a discovery controller knows. */
static void test_watch(void **state)
{
	struct block_rig rig;
	struct block_rig_user user;

	house_open();
	house_ask(one_known);
	block_rig_new(&rig, 1, remote_rig_services);
	block_rig_apply(&rig,
			"{'nvmf_remotes': [{'name': 'r', 'discovery': '127.0.0.1:%u', 'nqn': 'nqn.2026-01.test:s', "
			"'keep_alive': 1000, 'quiesce': 100}]}",
			house_port(0));
	block_rig_attach(&user, &rig, "nvmf_remote", "r", NULL);
	WAIT_FOR(&rig.base, user.device != NULL && field_is(&rig, "nvmf_remote", "r", "live_paths", "1"));
	assert_true(field_is(&rig, "nvmf_remote", "r", "discovered", "connected, knows 1 path"));
	io_check(&user, 1);
	house_ask(both_known);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "2"));
	io_check(&user, 2);
	house_ask(other_known);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "1"));
	io_check(&user, 3);
	assert_true(field_is(&rig, "nvmf_remote", "r", "path_losses", "0"));
	house_ask(house_drop); /* what is known stays while the controller is away */
	io_check(&user, 4);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "1"));
	block_rig_detach(&user);
	remote_rig_close(&rig);
}

/* More than there may be: those of the object come first, one that is in the log, too, counts once, and what was left
 * out comes when there is room. */
static void test_watch_many(void **state)
{
	unsigned port;
	struct block_rig rig;
	char fields[128];

	house_open();
	house_ask(one_known);
	port = house_port(0);
	block_rig_new(&rig, 1, remote_rig_services);
	block_rig_apply(&rig,
			"{'nvmf_remotes': [{'name': 'r', 'discovery': '127.0.0.1:%u', 'nqn': 'nqn.2026-01.test:s',"
			" 'addresses': ['127.0.0.1:%u', '127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3', '127.0.0.1:4',"
			" '127.0.0.1:5', '127.0.0.1:6', '127.0.0.1:7']}]}",
			port, port);
	WAIT_FOR(&rig.base, strncmp(block_rig_field(&rig, "nvmf_remote", "r", "discovered"), "connected", 9) == 0);
	FIELD_IS(&rig, "nvmf_remote", "r", "discovered", "connected, knows 1 path, of which 1 is too many");
	house_ask(both_known);
	WAIT_FOR(&rig.base, strstr(block_rig_field(&rig, "nvmf_remote", "r", "discovered"), "2 paths"));
	FIELD_IS(&rig, "nvmf_remote", "r", "discovered", "connected, knows 2 paths, of which 1 is too many");
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "1"));
	snprintf(fields, sizeof(fields), "{'addresses': ['127.0.0.1:%u']}", port);
	block_rig_change(&rig, CHANGE_UPDATE, "nvmf_remote", "r", fields, NULL);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "2"));
	FIELD_IS(&rig, "nvmf_remote", "r", "discovered", "connected, knows 2 paths");
	remote_rig_close(&rig);
}

/* Names that older versions took, and that of another's target. */
static void test_stored_names(void **state)
{
	static const char rename[] = "UPDATE object SET fields = replace(fields, '2026-12', '2026-13')";
	struct block_rig rig;
	sqlite3 *store;

	block_rig_new(&rig, 1, remote_rig_services);
	block_rig_apply(&rig,
			"{'tenants': [{'name': 'blue'}], 'nvmf_remotes': [{'name': 'r', 'addresses': ['127.0.0.1:1'],"
			" 'nqn': 'nqn.2026-12.test:s', 'host_nqn': 'nqn.2026-12.test:us'},"
			" {'name': 'other', 'addresses': ['127.0.0.1:1'], 'nqn': 'nvmet-test'}],"
			" 'nvmf_subsystems': [{'tenant': 'blue', 'name': 's', 'nqn': 'nqn.2026-12.test:s'}],"
			" 'nvmf_hosts': [{'tenant': 'blue', 'name': 'h', 'nqn': 'nqn.2026-12.test:h'}]}");
	block_rig_down(&rig);
	assert_int_equal(sqlite3_open(rig.store, &store), SQLITE_OK);
	assert_int_equal(sqlite3_exec(store, rename, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(store);
	block_rig_up(&rig);
	FIELD_IS(&rig, "nvmf_remote", "r", "nqn", "nqn.2026-13.test:s");
	FIELD_IS(&rig, "nvmf_remote", "other", "nqn", "nvmet-test");
	FIELD_IS(&rig, "nvmf_remote", "r", "connects_as", "nqn.2026-13.test:us");
	FIELD_IS(&rig, "nvmf_subsystem", "s", "nqn", "nqn.2026-13.test:s");
	FIELD_IS(&rig, "nvmf_host", "h", "nqn", "nqn.2026-13.test:h");
	block_rig_free(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_discover),     cmocka_unit_test(test_stop_while_discovering),
		cmocka_unit_test(test_inaccessible), cmocka_unit_test(test_watch),
		cmocka_unit_test(test_watch_none),   cmocka_unit_test(test_watch_many),
		cmocka_unit_test(test_stored_names),
	};

	uring_needed();
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
