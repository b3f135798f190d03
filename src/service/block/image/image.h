/* SPDX-License-Identifier: BSD-3-Clause */
/* Import of images into volumes, and export: raw by itself, qcow2 by way of qemu-img. Files lie in the DPU's image
 * directory and nowhere else. One at a time for a volume; it is a user of the volume like any other. */
#pragma once

#include "service/block/block_priv.h"

enum image_format { IMAGE_AUTO, IMAGE_RAW, IMAGE_QCOW2 };

struct image_args {
	char *file;
	uint8_t format; /* enum image_format */
	bool wait, overwrite;
};
extern const struct field image_import_fields[], image_export_fields[];

#define IMAGE_IMPORT_ACTION                                                                                            \
	{                                                                                                              \
		.name = "import-image",                                                                                \
		.doc = "Fills the volume with an image from the DPU's image directory, raw or qcow2; what was in it "  \
		       "is gone. "                                                                                     \
		       "The field image says how far it is.",                                                          \
		.example = "dpuctl volume import-image blue/root file=debian.qcow2 wait=true",                         \
		.progress = "image-progress", .cancel = "cancel-image", .args = image_import_fields,                   \
		.args_size = sizeof(struct image_args), .per_object = true, .start = image_import_start                \
	}
#define IMAGE_EXPORT_ACTION(class_)                                                                                    \
	{                                                                                                              \
		.name = "export-image",                                                                                \
		.doc = "Writes an image into the DPU's image directory, raw (with holes) or qcow2. A volume that is "  \
		       "in use "                                                                                       \
		       "changes meanwhile: export a snapshot of it.",                                                  \
		.example = "dpuctl " class_ " export-image blue/root file=root.qcow2 wait=true",                       \
		.progress = "image-progress", .cancel = "cancel-image", .args = image_export_fields,                   \
		.args_size = sizeof(struct image_args), .per_object = true, .start = image_export_start                \
	}
#define IMAGE_CANCEL_ACTION(class_)                                                                                    \
	{                                                                                                              \
		.name = "cancel-image", .doc = "Ends an import or export that is under way.",                          \
		.example = "dpuctl " class_ " cancel-image blue/root", .per_object = true, .run = image_cancel         \
	}

#define IMAGE_PROGRESS_ACTION(class_)                                                                                  \
	{                                                                                                              \
		.name = "image-progress", .doc = "Says how far an import or export is, or how the last one ended.",    \
		.example = "dpuctl " class_ " image-progress blue/root", .read_only = true, .per_object = true,        \
		.run = image_progress                                                                                  \
	}

int image_progress(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err);
int image_import_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		       struct dpu_error *err);
int image_export_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		       struct dpu_error *err);
int image_cancel(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err);
/* "importing disk.qcow2, 45 %": malloc'd, NULL when nothing is going on and nothing was. */
char *image_text(const struct volume *volume);
/* An import overwrites it at the moment. */
bool image_imports(const struct volume *volume);
/* The volume is being deleted: what is under way is ended. */
void image_abort(struct volume *volume);
/* … and nobody is to know that an import of it was cut short. */
void image_forget(struct volume *volume);
/* The DPU stops: all end soon, and then block_stop_check() is called. */
void images_stop(struct block *block);
/* The DPU starts: what a killed one has left in the image directory goes. */
void images_start(struct block *block);
