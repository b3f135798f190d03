#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Declared state: a document is applied, shown before, applied again without effect, pruned, exported and refused by line.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin documents

lab_netns a
lab_dpud m a "${small[@]}"
net=$LAB_DIR/net.yaml
cat >"$net" <<'YAML'
version: 1
tenants:
  - name: 7 # a name, whatever it looks like
vpcs:
  - {tenant: 7, name: main, vni: 100}
subnets:
  - {tenant: 7, name: front, vpc: main, prefix_v4: 10.0.0.0/24}
security_groups:
  - {tenant: 7, name: web, labels: {site: 1, row: b}}
vnics:
  - tenant: 7
    name: web1
    subnet: front
    security_groups: [web]
    mac: 02:00:00:00:00:01
    addresses: [10.0.0.5]
YAML
has 0 "+ vnic 7/web1" ctl apply -f "$net" --dry-run
has 0 "would be: 5 created, 0 changed, 0 deleted" ctl apply -f "$net" -n
[ "$(ctl tenant list -o json)" = "[]" ] || lab_fail "a dry run made something"
has 0 "5 created, 0 changed, 0 deleted" ctl apply -f "$net"
check 0 "nothing to change" ctl apply -f "$net"
check 0 "nothing to change" ctl apply -f "$net" --prune
[ "$(ctl security_group show 7/web -o json | json "sorted(d['labels'])")" = "['row=b', 'site=1']" ] || lab_fail "labels as a map"

# What export writes is what apply reads, as YAML and as JSON; a second export is the same.
ctl export >"$LAB_DIR/export.yaml"
check 0 "nothing to change" ctl apply -f "$LAB_DIR/export.yaml" --prune
ctl export -o json >"$LAB_DIR/export.json"
check 0 "nothing to change" ctl apply -f "$LAB_DIR/export.json" --prune
ctl apply "$LAB_DIR/export.yaml" >/dev/null
[ "$(ctl export)" = "$(cat "$LAB_DIR/export.yaml")" ] || lab_fail "two exports differ"
/usr/bin/python3 -c 'import json,sys,yaml; sys.exit(yaml.safe_load(open(sys.argv[1])) != json.load(open(sys.argv[2])))' \
	"$LAB_DIR/export.yaml" "$LAB_DIR/export.json" || lab_fail "another reader of YAML understands the export differently"

# The difference, with and without prune.
sed -i 's/name: web1/name: web2/; s/10.0.0.5/10.0.0.6/; s/:01$/:02/; s/site: 1/site: 2/' "$net"
has 0 "~ security_group 7/web
    - labels: site=1,row=b
    + labels: site=2,row=b" ctl apply -f "$net" -n
has 0 "would be: 1 created, 1 changed, 0 deleted" ctl apply -f "$net" -n
has 0 "- vnic 7/web1" ctl apply -f "$net" -n --prune
has 0 $'\033[32m+ vnic 7/web2' ctl apply -f "$net" -n --color always
has 0 "1 created, 1 changed, 1 deleted" ctl apply -f "$net" --prune
check 0 "nothing to change" ctl apply -f "$net" --prune

# Refused as a whole, by line.
before=$(ctl export)
refused() { # LINE WORDS: of the document on standard input
	cat >"$LAB_DIR/wrong.yaml"
	has 1 "dpuctl: $LAB_DIR/wrong.yaml$1: $2" ctl apply -f "$LAB_DIR/wrong.yaml"
	[ "$before" = "$(ctl export)" ] || lab_fail "a refused document changed something"
}
refused :4 "vpc/7/other.vni: 99999999 is out of range" <<'YAML'
version: 1
vpcs:
  - {tenant: 7, name: fine, vni: 5}
  - {tenant: 7, name: other, vni: 99999999}
YAML
refused :5 "vnic/7/x.mtuu" <<'YAML'
version: 1
vnics:
  - tenant: 7
    name: x
    mtuu: 5
    subnet: front
YAML
refused :3 "'a' was already given in line 2" <<'YAML'
version: 1
a: 1
a: 2
YAML
refused :3 "did not find expected" <<'YAML'
version: 1
vnics: [
YAML
refused :2 "" <<'YAML'
version: 1
vnicks: []
YAML
refused :1 "version: the document must say version 1, the one known here" <<'YAML'
version: 2
YAML
refused "" "" <<'YAML'
just words
YAML
: >"$LAB_DIR/empty.yaml"
has 1 "version" ctl apply -f "$LAB_DIR/empty.yaml"
check 2 "dpuctl: apply takes one document: dpuctl apply -f FILE" ctl apply
check 1 "dpuctl: /nonexistent: cannot be opened: No such file or directory" ctl apply -f /nonexistent
