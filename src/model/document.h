/* SPDX-License-Identifier: BSD-3-Clause */
/* Declared state: a document that says what the DPU should be (net.yaml, in the layout that model_export() writes), and
 * the transaction that brings the DPU there. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include "base/error.h"
#include "model/model.h"

/* Builds the transaction; txn_check() on it is the dry run, txn_commit() applies it. Objects of the document are
 * created or brought to what it says: a field that it leaves out gets its default, but for secrets, immutable and
 * generated fields, which keep what they have. What is so already is not changed. prune: objects that the document
 * does not name are deleted; without it they stay. Errors in the document's own layout have paths like "vnics[3].name".
 * The document must not be changed before txn_free(). */
int document_plan(struct model *model, const json_t *document, bool prune, struct txn **ret, struct dpu_error *err);
