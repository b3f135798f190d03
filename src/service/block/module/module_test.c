// SPDX-License-Identifier: BSD-3-Clause
/* Modules that behave (the examples), modules that do not, and files that are none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "device/block/ram.h"
#include "service/block/crc_keeper.h"
#include "service/block/module/module.h"

static char folder[4096]; /* of this program: the modules lie beside it */
static char complaint[512];
static unsigned complaints, finished;
static atomic_uint woken;

static void complain(void *ctx, const char *sentence)
{
	(void)ctx;
	snprintf(complaint, sizeof(complaint), "%s", sentence);
	complaints++;
}

static void wake(void *ctx)
{
	(void)ctx;
	atomic_fetch_add(&woken, 1);
}

static int open_as(const char *module, const char *arguments, struct dpu_block_device *below,
		   struct dpu_block_device **ret, struct dpu_error *err)
{
	struct block_module_options options = {
		.folder = folder,
		.module = module,
		.name = "m",
		.arguments = arguments,
		.below = below,
		.below_seen = below,
		.wake = wake,
		.complain = complain,
	};

	complaints = finished = 0;
	atomic_store(&woken, 0);
	memset(err, 0, sizeof(*err));
	return block_module_open(&options, ret, err);
}

static void done(struct dpu_block_request *request)
{
	(void)request;
	finished++;
}

static void count(void *arg)
{
	++*(unsigned *)arg;
}

static void go(struct dpu_block_device *device, struct dpu_block_device *below, struct dpu_block_request *request)
{
	unsigned before = finished;

	request->done = done;
	device->ops->submit(device, request);
	assert_int_equal(finished, before);
	uint64_t end = clock_ns() + 10 * CLOCK_NS_PER_S;
	while (finished == before && clock_ns() < end) {
		device->ops->poll(device);
		if (below)
			below->ops->poll(below);
	}
	assert_int_equal(finished, before + 1);
}

static enum dpu_block_status io(struct dpu_block_device *device, struct dpu_block_device *below, enum dpu_block_op op,
				uint64_t offset, void *data, size_t bytes)
{
	struct iovec iov = { data, bytes };
	struct dpu_block_request request = {
		.op = (uint8_t)op, .segments = 1, .offset = offset, .length = bytes, .iov = &iov
	};

	go(device, below, &request);
	return request.status;
}

static void test_back_end(void **state)
{
	struct dpu_block_device *device;
	struct dpu_error err;
	uint8_t data[8192], back[8192];
	char path[] = "/tmp/softdpu-module.XXXXXX";
	unsigned closed = 0;
	int fd = mkstemp(path);

	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	if (open_as("threadfile", path, NULL, &device, &err) != 0)
		fail_msg("%s", err.message);
	assert_int_equal(device->bytes, 1 << 20);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	assert_int_equal(io(device, NULL, DPU_BLOCK_WRITE, 4096, data, sizeof(data)), DPU_BLOCK_OK);
	assert_int_equal(io(device, NULL, DPU_BLOCK_FLUSH, 0, NULL, 0), DPU_BLOCK_OK);
	assert_int_equal(io(device, NULL, DPU_BLOCK_READ, 4096, back, sizeof(back)), DPU_BLOCK_OK);
	assert_memory_equal(data, back, sizeof(data));
	assert_int_equal(pread(fd, back, sizeof(back), 4096), sizeof(back));
	assert_memory_equal(data, back, sizeof(data));
	assert_true(atomic_load(&woken) >= 3);
	assert_false(block_module_busy(device));
	assert_int_equal(complaints, 0);
	device->ops->close(device, count, &closed);
	assert_int_equal(closed, 1);
	close(fd);
	unlink(path);
}

static void test_filter(void **state)
{
	struct dpu_block_device *device, *ram;
	struct dpu_error err;
	uint8_t data[4096], back[4096];

	assert_int_equal(block_ram_new("ram", 1 << 20, 512, &ram), 0);
	if (open_as("invert", "", ram, &device, &err) != 0)
		fail_msg("%s", err.message);
	block_module_start(device);
	memset(data, 0x5a, sizeof(data));
	assert_int_equal(io(device, ram, DPU_BLOCK_WRITE, 8192, data, sizeof(data)), DPU_BLOCK_OK);
	assert_int_equal(((uint8_t *)block_ram_data(ram))[8192], 0xa5);
	assert_int_equal(data[0], 0x5a);
	assert_int_equal(io(device, ram, DPU_BLOCK_READ, 8192, back, sizeof(back)), DPU_BLOCK_OK);
	assert_memory_equal(data, back, sizeof(data));
	device->ops->close(device, NULL, NULL);
	ram->ops->close(ram, NULL, NULL);
}

struct filter {
	struct dpu_block_device *device, *below;
};

static void filter_go(void *ctx, struct dpu_block_request *request)
{
	const struct filter *filter = ctx;

	go(filter->device, filter->below, request);
}

/* Through both sides of a filter that leaves the data alone. */
static void test_crcs(void **state)
{
	struct crc_keeper keeper;
	struct filter filter = { .below = &keeper.device };
	struct dpu_error err;

	crc_keeper_init(&keeper);
	if (open_as("flaky", "every=0", &keeper.device, &filter.device, &err) != 0)
		fail_msg("%s", err.message);
	block_module_start(filter.device);
	crc_keeper_check(&keeper, filter.device, filter_go, &filter);
	assert_int_equal(complaints, 0);
	filter.device->ops->close(filter.device, NULL, NULL);
}

/* A change of size goes through a stack, also one that was missed while it was made; what is beyond the end does not go
 * down. */
static void test_resize(void **state)
{
	struct dpu_block_device *top, *middle, *ram;
	struct dpu_error err;
	uint8_t data[4096];
	unsigned changes = 0;

	assert_int_equal(block_ram_new("ram", 1 << 20, 512, &ram), 0);
	assert_int_equal(open_as("flaky", "every=0", ram, &middle, &err), 0);
	ram->bytes = 1 << 19;
	block_module_start(middle);
	assert_int_equal(middle->bytes, 1 << 19);
	assert_int_equal(open_as("invert", "", middle, &top, &err), 0);
	block_module_start(top);
	top->changed = count;
	top->changed_ctx = &changes;
	ram->bytes = 1 << 18;
	ram->changed(ram->changed_ctx);
	assert_int_equal(top->bytes, 1 << 18);
	assert_int_equal(changes, 1);
	assert_int_equal(io(top, ram, DPU_BLOCK_WRITE, (1 << 18) - 4096, data, sizeof(data)), DPU_BLOCK_OK);
	assert_int_equal(complaints, 0);
	assert_int_equal(io(top, middle, DPU_BLOCK_WRITE, 1 << 18, data, sizeof(data)), DPU_BLOCK_RANGE);
	assert_int_equal(complaints, 1);
	assert_non_null(strstr(complaint, "module invert"));
	assert_non_null(strstr(complaint, "that the device below cannot take"));
	ram->bytes = 1 << 20;
	top->ops->close(top, NULL, NULL);
	middle->ops->close(middle, NULL, NULL);
	assert_null(ram->changed);
	ram->ops->close(ram, NULL, NULL);
}

/* What a filter sits on: keeps what it gets. */
struct keeping {
	struct dpu_block_device device; /* first */
	struct dpu_block_request *kept, *cancelled;
};

static void keeping_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	((struct keeping *)device)->kept = request;
}

static void keeping_cancel(struct dpu_block_device *device, struct dpu_block_request *request)
{
	((struct keeping *)device)->cancelled = request;
}

/* Through both sides of a filter, for what is below it and for nothing else. */
static void test_cancel(void **state)
{
	static const struct dpu_block_ops ops = { .submit = keeping_submit, .cancel = keeping_cancel };
	struct keeping keeping = { .device = { .ops = &ops,
					       .name = "keeping",
					       .bytes = 1 << 20,
					       .sector = 512,
					       .max_bytes = DPU_BLOCK_MAX_BYTES,
					       .alignment = 1 } };
	struct dpu_block_request request = { .op = DPU_BLOCK_FLUSH, .done = done },
				 beyond = { .op = DPU_BLOCK_READ, .offset = 2 << 20, .length = 512, .done = done };
	struct dpu_block_device *device;
	struct dpu_error err;

	assert_int_equal(open_as("flaky", "every=3", &keeping.device, &device, &err), 0);
	block_module_start(device);
	device->ops->submit(device, &beyond);
	device->ops->cancel(device, &beyond);
	assert_null(keeping.cancelled);
	device->ops->submit(device, &request);
	device->ops->cancel(device, &request);
	assert_non_null(keeping.kept);
	assert_ptr_equal(keeping.cancelled, keeping.kept);
	assert_int_equal(finished, 0);
	dpu_block_complete(keeping.kept, DPU_BLOCK_GONE);
	assert_int_equal(request.status, DPU_BLOCK_GONE);
	keeping.cancelled = NULL;
	device->ops->submit(device, &request); /* one that the module itself fails */
	device->ops->cancel(device, &request);
	assert_null(keeping.cancelled);
	device->ops->poll(device);
	assert_int_equal(finished, 3);
	device->ops->close(device, NULL, NULL);
}

/* One that it has ended from within is ended with the next poll, once. */
static void test_cancel_within(void **state)
{
	struct dpu_block_request request = { .op = DPU_BLOCK_FLUSH, .done = done };
	struct dpu_block_device *device;
	struct dpu_error err;

	assert_int_equal(open_as("bad_within_cancel", "", NULL, &device, &err), 0);
	device->ops->submit(device, &request);
	device->ops->cancel(device, &request);
	device->ops->cancel(device, &request);
	assert_int_equal(finished, 0);
	assert_int_equal(complaints, 1);
	assert_non_null(strstr(complaint, "from within submit or cancel"));
	device->ops->poll(device);
	assert_int_equal(finished, 1);
	assert_int_equal(request.status, DPU_BLOCK_IO_ERROR);
	device->ops->close(device, NULL, NULL);
}

static void test_misbehaving(void **state)
{
	static const struct {
		const char *module, *says;
		enum dpu_block_status first;
	} cases[] = {
		{ "bad_nothing", NULL, DPU_BLOCK_OK },
		{ "bad_twice", "has completed a request twice", DPU_BLOCK_OK },
		{ "bad_within", "completes requests from within submit", DPU_BLOCK_IO_ERROR },
		{ "bad_status", "with a status that does not exist", DPU_BLOCK_IO_ERROR },
	};
	struct dpu_block_device *device;
	struct dpu_error err;
	uint8_t data[4096];

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (open_as(cases[i].module, "", NULL, &device, &err) != 0)
			fail_msg("%s", err.message);
		assert_int_equal(io(device, NULL, DPU_BLOCK_READ, 0, data, sizeof(data)), cases[i].first);
		/* From then on it is not asked any more. */
		assert_int_equal(io(device, NULL, DPU_BLOCK_READ, 0, data, sizeof(data)),
				 cases[i].says ? DPU_BLOCK_IO_ERROR : DPU_BLOCK_OK);
		assert_int_equal(complaints, cases[i].says ? 1 : 0);
		if (cases[i].says) {
			assert_non_null(strstr(complaint, cases[i].says));
			assert_non_null(strstr(complaint, cases[i].module));
		}
		device->ops->close(device, NULL, NULL);
	}
}

/* It keeps a request: said after a minute, again after another, and answered when the device closes. */
static void test_never(void **state)
{
	struct dpu_block_device *device;
	struct dpu_error err;
	struct dpu_block_request request = { .op = DPU_BLOCK_FLUSH, .done = done };
	uint64_t now = clock_ns();

	assert_int_equal(open_as("bad_never", "", NULL, &device, &err), 0);
	block_module_tick(device, now);
	device->ops->submit(device, &request);
	assert_true(block_module_busy(device));
	block_module_tick(device, now + 50 * CLOCK_NS_PER_S);
	assert_int_equal(complaints, 0);
	block_module_tick(device, now + 61 * CLOCK_NS_PER_S);
	assert_int_equal(complaints, 1);
	assert_non_null(strstr(complaint, "has not completed 1 request for a minute"));
	block_module_tick(device, now + 90 * CLOCK_NS_PER_S);
	assert_int_equal(complaints, 1);
	block_module_tick(device, now + 122 * CLOCK_NS_PER_S);
	assert_int_equal(complaints, 2);
	device->ops->close(device, NULL, NULL);
	assert_int_equal(finished, 1);
	assert_int_equal(request.status, DPU_BLOCK_GONE);
	assert_non_null(strstr(complaint, "has closed without completing its requests"));
}

static void test_refused(void **state)
{
	static const struct {
		const char *module;
		enum dpu_error_code code;
		const char *says;
	} cases[] = {
		{ "../threadfile", DPU_E_INVALID, "must be a word" },
		{ "", DPU_E_INVALID, "must be a word" },
		{ "UPPER", DPU_E_INVALID, "must be a word" },
		{ "there-is-none", DPU_E_NOT_FOUND, "there-is-none.so: No such file or directory" },
		{ "bad_version", DPU_E_UNSUPPORTED, "was made for version 77.2 of the interface" },
		{ "bad_old_headers", DPU_E_UNSUPPORTED, "compile it again" },
		{ "bad_refuses", DPU_E_IO, "the argument is 'x=y', which is wrong" },
		{ "bad_size", DPU_E_INVALID, "whose size is no multiple of its sector" },
		{ "invert", DPU_E_INVALID, "is a filter" },
	};
	struct dpu_block_device *device, *ram;
	struct dpu_error err;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_true(open_as(cases[i].module, "x=y", NULL, &device, &err) < 0);
		assert_int_equal(err.code, cases[i].code);
		if (!strstr(err.message, cases[i].says))
			fail_msg("%s: %s", cases[i].module, err.message);
	}
	assert_int_equal(block_ram_new("ram", 1 << 20, 512, &ram), 0);
	assert_true(open_as("threadfile", "/none", ram, &device, &err) < 0);
	assert_non_null(strstr(err.message, "is no filter"));
	ram->ops->close(ram, NULL, NULL);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(chmod(path, mode), 0);
}

/* Who else can write there, could be who has written. */
static void test_rights(void **state)
{
	struct dpu_block_device *device;
	struct dpu_error err;
	char own[] = "/tmp/softdpu-module.XXXXXX", path[4200], saved[sizeof(folder)];

	assert_non_null(mkdtemp(own));
	memcpy(saved, folder, sizeof(folder));
	snprintf(folder, sizeof(folder), "%s", own);
	snprintf(path, sizeof(path), "%s/text.so", own);
	write_file(path, "text", 0644);
	assert_true(open_as("text", "", NULL, &device, &err) < 0);
	assert_int_equal(err.code, DPU_E_INVALID); /* no shared object, but from a place to be trusted */
	assert_int_equal(chmod(path, 0666), 0);
	assert_true(open_as("text", "", NULL, &device, &err) < 0);
	assert_int_equal(err.code, DPU_E_DENIED);
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(chmod(own, 01777), 0);
	assert_true(open_as("text", "", NULL, &device, &err) < 0);
	assert_int_equal(err.code, DPU_E_DENIED);
	assert_int_equal(chmod(own, 0755), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 65534, 65534), 0);
		assert_true(open_as("text", "", NULL, &device, &err) < 0);
		assert_int_equal(err.code, DPU_E_DENIED);
	}
	unlink(path);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_true(open_as("text", "", NULL, &device, &err) < 0);
	unlink(path);
	rmdir(own);
	memcpy(folder, saved, sizeof(folder));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_back_end),      cmocka_unit_test(test_filter), cmocka_unit_test(test_misbehaving),
		cmocka_unit_test(test_resize),        cmocka_unit_test(test_never),  cmocka_unit_test(test_refused),
		cmocka_unit_test(test_rights),        cmocka_unit_test(test_crcs),   cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_cancel_within),
	};

	(void)argc;
	char *own = realpath(argv[0], NULL);
	snprintf(folder, sizeof(folder), "%s", own);
	*strrchr(folder, '/') = '\0';
	free(own);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
