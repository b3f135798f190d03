#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Every verb of dpuctl against a running dpud, with the exact words for what is wrong.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin verbs
lab_netns a
lab_dpud m a "${small[@]}"

# ---- create, list, show, set, delete
ok ctl tenant create blue
ok ctl tenant create red
ok ctl vpc create blue/main vni=100
ok ctl subnet create front tenant=blue vpc=main prefix_v4=10.0.0.0/24
ok ctl -t blue vnic create web1 subnet=front addresses=10.0.0.5 mac=02:00:00:00:00:01 labels=rack=7,row=2
ok ctl vnic create blue/web2 subnet=front addresses=10.0.0.6 mac=02:00:00:00:00:02
ok ctl security_group create blue/ssh
check 0 "NAME  MAC
web1  02:00:00:00:00:01
web2  02:00:00:00:00:02" ctl vnic list tenant=blue -c name,mac
check 0 "NAME
web1" ctl vnic list labels=rack=7 -c name
check 0 "NAME
web2" ctl vnic list mac=02:00:00:00:00:02 -c name
has 0 "02:00:00:00:00:01" ctl vnics list
has 0 "addresses         10.0.0.5" ctl vnic show blue/web1
[ "$(ctl vnic show blue/web1 -o json | json "d['mtu']")" = 1500 ] || lab_fail "show -o json"
uuid=$(ctl vnic show blue/web1 -o json | json "d['uuid']")
has 0 "name              web1" ctl vnic show "$uuid"
has 0 "rack=7" ctl vnic show blue/web1 -o yaml

# ---- lists, defaults, names
ok ctl vnic set blue/web1 security_groups+=ssh
ok ctl vnic set blue/web1 security_groups+=ssh
[ "$(ctl vnic show blue/web1 -o json | json "d['security_groups']")" = "['ssh']" ] || lab_fail "+= is not there once"
ok ctl vnic set blue/web1 security_groups-=ssh
check 1 "dpuctl: security_groups: there is no 'ssh' in it" ctl vnic set blue/web1 security_groups-=ssh
ok ctl vnic set blue/web1 hostname=web
ok ctl vnic set blue/web1 hostname=
[ "$(ctl vnic show blue/web1 -o json | json "d['hostname']")" = None ] || lab_fail "an empty value is not the default"
ok ctl tenant set red name=crimson
has 1 "there is no" ctl tenant show red
ok ctl tenant delete crimson

# ---- what is wrong, in exact words, and nothing has changed
before=$(ctl export)
wrong() { # PATH SENTENCE COMMAND...
	local path=$1 sentence=$2
	shift 2
	check 1 "dpuctl: $path: $sentence" ctl "$@"
}
misused() { # OUTPUT COMMAND...
	local output=$1
	shift
	check 2 "dpuctl: $output" ctl "$@"
}
wrong vnic/blue/web1.name "a vnic of this name exists: choose another name or update it" vnic create blue/web1 subnet=front
wrong vnic/blue/web3.mtu "5 is out of range: give 576 to 9216 bytes" vnic create blue/web3 subnet=front mtu=5
wrong vnic/blue/web3.mtu '"many" is not a whole number: give 576 to 9216 bytes' vnic create blue/web3 subnet=front mtu=many
wrong vnic/blue/web3.subnet 'there is no subnet "back" in tenant "blue"' vnic create blue/web3 subnet=back
wrong subnet/blue/back.vpc "this is required: The VPC that the subnet is in." subnet create back tenant=blue prefix_v4=10.0.1.0/24
wrong vnic/blue/web3.addresses "needs a subnet; without one the vNIC's representor decides about its packets" vnic create blue/web3 addresses=10.0.0.9
wrong vnic/green/web3.tenant 'there is no tenant "green"' vnic create green/web3 subnet=front
wrong vnic/web3.tenant "say whose vnic it is: the tenant is missing" vnic create web3 subnet=front
wrong vnic/blue/web3.mac '"zz" is not a MAC address: write six pairs like 02:00:00:00:00:01' vnic create blue/web3 subnet=front mac=zz
wrong vnic/blue/web3.addresses "10.9.9.9 is not in subnet front" vnic create blue/web3 subnet=front addresses=10.9.9.9
wrong vnic/blue/web3.addresses "10.0.0.5 belongs to vnic/blue/web1" vnic create blue/web3 subnet=front addresses=10.0.0.5
wrong vnic/blue/web3.port_security "expected true or false, got a string" vnic create blue/web3 subnet=front port_security=maybe
wrong vnic/blue/web1.rx_packets "this is read-only: leave it out" vnic set blue/web1 rx_packets=5
wrong vnic/blue/nope "there is no such vnic" vnic delete blue/nope
wrong subnet/blue/front "it is used by vnic/blue/web1, vnic/blue/web2: delete these first, or all at once with --cascade" subnet delete blue/front
wrong tenant "a port belongs to no tenant" port list tenant=blue
wrong tenant "an underlay belongs to no tenant" underlay list tenant=blue
wrong level "must be error, warn, info or debug" log-level loud
wrong 'classes[0]' "there is no class \"nothing\"; dpu.schema tells what there is" watch nothing
generation=$(ctl vnic show blue/web1 -o json | json "d['generation']")
wrong vnic/blue/web1.generation "the object is at generation $generation, not 1: read it again and repeat the change" \
	vnic set blue/web1 hostname=new generation=1
misused "vnic: say which one: dpuctl vnic create NAME" vnic create
misused "vnic: say which one: dpuctl vnic show NAME" vnic show
misused "'extra' is one word too many here; fields are written name=value" vnic show blue/web1 extra
misused "vnic: say what to set: name=value" vnic set blue/web1
misused "hostname: is given twice" vnic set blue/web1 hostname=a hostname=b
misused "hostname: is no list, and += and -= are for lists" vnic set blue/web1 hostname+=a
misused "security_groups: += and -= change an object: they go with set" vnic create blue/x security_groups+=a
misused "generation: 'x' is no whole number" vnic set blue/web1 generation=x hostname=q
misused "mtu: delete takes a name and no fields" vnic delete blue/web1 mtu=1
misused "dpu: there is always one, and only one: it can be shown and set" dpu create x
misused "there is no command or class 'vnci'; did you mean 'vnic'?" vnci list
misused "vnic: there is no verb 'lst'; did you mean 'list'?" vnic lst
misused "vnic: there is no field 'mtuu'; did you mean 'mtu'?" vnic set blue/web1 mtuu=5
misused "vnic: there is no field 'colour'; see dpuctl help vnic" vnic list colour=red
misused "--output: 'xml' is not one of table, json or yaml" -o xml vnic list
misused "there is no option --frob; see dpuctl help" --frob
misused "there is no option --cascad; did you mean --cascade?" vnic delete blue/web1 --cascad
misused "--columns: needs a value: LIST" vnic list -c
misused "word 3 is not UTF-8 text" vnic list $'\xff'
misused "completion: say for which shell: bash" completion zsh
check 3 "dpuctl: /nonexistent/sock: no dpud is there: start it, or name another one with -i INSTANCE or -s SOCKET" ctl -s /nonexistent/sock vnic list
[ "$before" = "$(ctl export)" ] || lab_fail "something that was refused changed something"


# ---- looking before changing
check 0 "~ vnic blue/web2
    + hostname: two
would be: 0 created, 1 changed, 0 deleted" ctl vnic set blue/web2 hostname=two --dry-run
has 0 "would be: 0 created, 0 changed, 6 deleted" ctl tenant delete blue --cascade -n
[ "$before" = "$(ctl export)" ] || lab_fail "a dry run changed something"

# ---- actions, with and without their class
has 0 "verdict" ctl why vnic=blue/web1 dst=10.0.0.6
[ "$(ctl why blue/web1 dst=10.0.0.99 -o json | json "d['verdict']")" = drop ] || lab_fail "why in JSON, its first argument without a name"
has 0 "matched" ctl session list
has 0 "matched" ctl dpu session-list limit=5
has 0 "truncated" ctl drops
has 2 "there is no argument 'colour'" ctl why colour=red

# ---- columns and instances that cannot be
misused "--columns: there is no column 'mut'; did you mean 'mtu'?" vnic list -c name,mut
misused "--columns: there is no column 'nosuch'; -c all shows all" drops -c nosuch
has 2 "--instance: '../x' is no instance name" ctl tenant list -i ../x
DPUCTL_INSTANCE=../x has 2 "DPUCTL_INSTANCE: '../x' is no instance name" "$dpuctl" version

# ---- the read-only socket
has 0 "web1" ctl -r vnic list
has 1 "nothing can be changed on this socket" ctl -r vnic set blue/web1 hostname=x

# ---- a batch: by itself, with a fault, all at once, from standard input
cat >"$LAB_DIR/batch" <<'LINES'
# a comment, then a line with the program's name
dpuctl tenant create green

vpc create green/one vni=201
vpc create green/two vni=many
tenant create never
LINES
check 1 "$LAB_DIR/batch:5: vpc/green/two.vni: \"many\" is not a whole number: give 1 to 16777215" ctl -f "$LAB_DIR/batch"
has 0 "201" ctl vpc show green/one
check 1 "dpuctl: tenant: there is no tenant \"never\"" ctl tenant show never
ok_quietly() { "$@" >/dev/null || lab_fail "'$*' failed"; }
ok_quietly ctl tenant delete green --cascade
check 1 "$LAB_DIR/batch:5: vpc/green/two.vni: \"many\" is not a whole number: give 1 to 16777215" ctl -f "$LAB_DIR/batch" --transaction
has 1 'there is no tenant "green"' ctl tenant show green
sed -i 's/vni=many/vni=202/' "$LAB_DIR/batch"
has 0 "would be: 4 created" ctl -f "$LAB_DIR/batch" --transaction --dry-run
has 0 "4 created, 0 changed, 0 deleted" ctl -f "$LAB_DIR/batch" --transaction
has 2 "standard input:2: a quote (') is not closed" ctl <<<$'tenant list\nvnic \'list'
has 2 "standard input:1: tenant: there is no verb 'lisst'" ctl <<<'tenant lisst'
has 2 "only changes can be part of a transaction" ctl --transaction <<<'tenant list'
check 1 "dpuctl: /nonexistent: cannot be opened: No such file or directory" ctl -f /nonexistent
has 0 "web1" ctl <<<"vnic list -c name"
