// SPDX-License-Identifier: BSD-3-Clause
/* The class "medium": a file, a block device or memory that pools and disks are put on. */
#include <stdlib.h>
#include "service/block/block_priv.h"
#include "service/block/module/module.h"

static const char *const kinds[] = {
	[MEDIUM_FILE] = "file", [MEDIUM_RAM] = "ram", [MEDIUM_NULL] = "null", [MEDIUM_MODULE] = "module", NULL,
};

static bool is_absolute(const char *text)
{
	return text[0] == '/';
}

/* Media that older versions took, and that never opened, stay as they are. */
static bool is_any(const char *text)
{
	(void)text;
	return true;
}

static const struct field medium_fields[] = {
	FIELD_ENUM_ROW(
		struct medium_object, kind, kinds, .flags = FIELD_F_IMMUTABLE, .def = "file",
		.doc = "A file or block device, memory that is empty after each start, null, which reads as zeroes and "
		       "forgets what is written (to measure what is around a medium), or what an out-of-tree module "
		       "brings."),
	FIELD(struct medium_object, path, .flags = FIELD_F_IMMUTABLE | FIELD_F_UNIQUE, .max = 4000,
	      .check = is_absolute, .check_doc = "must be an absolute path",
	      .doc = "Of kind file: the file or block device."),
	FIELD(struct medium_object, size, .unit = "bytes", .flags = FIELD_F_IMMUTABLE, .max = FIELD_U64_MAX,
	      .doc = "Of kind ram or null: how much, a multiple of 4096; of kind file: a file that is not there is "
		     "made with so many."),
	FIELD(struct medium_object, module, .flags = FIELD_F_IMMUTABLE, .max = 64, .check = block_module_name_check,
	      .check_doc = BLOCK_MODULE_NAME_DOC, .check_stored = is_any,
	      .doc = "Of kind module: its name, a file NAME.so in the folder that dpud's option --module-dir names."),
	FIELD(struct medium_object, arguments, .flags = FIELD_F_IMMUTABLE, .max = 4000,
	      .doc = "Of kind module: what the module is told; what it means is the module's choice."),
	FIELD(struct medium_object, below, .flags = FIELD_F_IMMUTABLE, .target = "medium",
	      .doc = "Of kind module, if the module is a filter: the medium that it sits on, which may be a filter "
		     "itself."),
	FIELD(struct medium_object, below_remote, .flags = FIELD_F_IMMUTABLE, .target = "nvmf_remote",
	      .doc = "The same, if it sits on a namespace of another machine."),
	FIELD(struct medium_object, read_only, .flags = FIELD_F_IMMUTABLE, .def = "false",
	      .doc = "Whether it is only read; pools need to write."),
	FIELD(struct medium_object, cached, .flags = FIELD_F_IMMUTABLE, .def = "false",
	      .doc = "Of kind file: whether it is read and written through the kernel's page cache."),
	FIELD_ENUM_ROW(struct medium_object, state, block_state_names, .flags = FIELD_F_STATE,
		       .doc = "Whether it is open; one that failed is tried again every second."),
	FIELD(struct medium_object, why, .flags = FIELD_F_STATE, .doc = "Why it is not open."),
	FIELD(struct medium_object, used_by, .flags = FIELD_F_STATE, .doc = "The object that uses it."),
	FIELD(struct medium_object, served_by, .flags = FIELD_F_DETAIL | FIELD_F_STATE,
	      .doc = "Number of the worker that serves it."),
	FIELD(struct medium_object, direct, .flags = FIELD_F_DETAIL | FIELD_F_STATE,
	      .doc = "Whether it goes past the page cache (O_DIRECT)."),
	FIELD(struct medium_object, bytes, .unit = "bytes", .flags = FIELD_F_GAUGE, .doc = "How large it is."),
	FIELD(struct medium_object, errors, .unit = "requests", .flags = FIELD_F_COUNTER,
	      .doc = "Requests that it has failed."),
	{ 0 },
};

/* What a filter sits on is its alone. The model refuses what refers to itself, this what is stacked too high. */
static int below_validate(struct block *block, const struct medium_object *medium, struct dpu_error *err)
{
	const struct object *below = medium_below(&medium->base);
	const char *field = medium->below.object ? "below" : "below_remote";
	unsigned height = 0;

	if (!below)
		return 0;
	if (medium->kind != MEDIUM_MODULE)
		return error_set(err, DPU_E_INVALID, field,
				 "goes with kind module only: a filter sits on another medium");
	if (medium->below.object && medium->below_remote.object)
		return error_set(err, DPU_E_INVALID, "below_remote", "goes without below: a filter sits on one medium");
	for (const struct object *at = below; at && at->class == &medium_class; at = medium_below(at))
		if (++height > MEDIUM_MAX_STACK)
			return error_set(err, DPU_E_LIMIT, field, "there would be more than %d filters on one another",
					 MEDIUM_MAX_STACK);
	return block_check_exclusive(block, below, &medium->base, field, err);
}

static int medium_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	const struct medium_object *medium = (const struct medium_object *)new;
	int rc = old ? 0 : below_validate(ctx, medium, err);

	if (rc < 0)
		return rc;
	if (medium->size % DPU_BLOCK_BYTES)
		return error_set(err, DPU_E_INVALID, "size", "must be a multiple of %d", DPU_BLOCK_BYTES);
	if (medium->kind == MEDIUM_MODULE && !medium->module)
		return error_set(err, DPU_E_INVALID, "module", "must be given for a module");
	if (medium->kind != MEDIUM_MODULE && (medium->module || medium->arguments))
		return error_set(err, DPU_E_INVALID, medium->module ? "module" : "arguments",
				 "goes with kind module only");
	if (medium->kind == MEDIUM_FILE)
		return medium->path ? 0 : error_set(err, DPU_E_INVALID, "path", "must be given for a file");
	if (medium->path)
		return error_set(err, DPU_E_INVALID, "path", "goes with kind file only");
	if (medium->cached || medium->read_only)
		return error_set(err, DPU_E_INVALID, medium->cached ? "cached" : "read_only",
				 "goes with kind file only");
	if (medium->kind == MEDIUM_MODULE)
		return medium->size ? error_set(err, DPU_E_INVALID, "size", "is the module's to say") : 0;
	return medium->size ? 0 : error_set(err, DPU_E_INVALID, "size", "must be given for ram and null");
}

static int first_referrer(void *arg, struct object *object)
{
	char path[OBJECT_PATH_TEXT];

	*(char **)arg = block_text(object_path(object, path, sizeof(path)));
	return 1;
}

static void medium_observe(void *ctx, const struct object *object, struct object *copy)
{
	const struct block *block = ctx;
	const struct medium *medium = medium_of(object);
	struct medium_object *out = (struct medium_object *)copy;

	out->state = medium->state;
	if (!medium->backing.device)
		out->why = block_text(medium->backing.why_not);
	model_each_referrer(block->dpu->model, object, NULL, first_referrer, &out->used_by);
	out->served_by = (uint16_t)worker_index(medium->worker);
	out->direct = medium->direct;
	out->bytes = atomic_load_explicit(&medium->bytes, memory_order_relaxed);
	out->errors = atomic_load_explicit(&((struct medium *)medium)->errors, memory_order_relaxed);
}

const struct object_class medium_class = {
	.name = "medium",
	.plural = "media",
	.doc = "A file, a block device or memory that a pool or a disk is put on.",
	.example = "dpuctl medium create disk0 path=/srv/disk0 size=256M",
	.flags = CLASS_F_GLOBAL,
	.size = sizeof(struct medium_object),
	.fields = medium_fields,
	.max_objects = 4096,
	.validate = medium_validate,
	.apply = medium_apply,
	.remove = medium_remove,
	.observe = medium_observe,
};
