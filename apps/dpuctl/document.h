/* SPDX-License-Identifier: BSD-3-Clause */
/* net.yaml: from YAML to the document that dpu.apply takes, and from dpud's error paths back to lines. */
#pragma once

#include <jansson.h>
#include "yaml_tree.h"

/* Scalars get the type of the field that they are for. NULL when memory is short. */
json_t *document_json(const json_t *schema, const struct yaml_document *document);
/* The line that a path of dpud ("vnics[3].mtu", "vnic/blue/web1.mtu") is about; 0 when it is not known. */
unsigned document_line(const json_t *schema, const struct yaml_document *document, const char *path);
