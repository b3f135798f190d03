# SPDX-License-Identifier: BSD-3-Clause
"""Five-tuples and the OpenFlow rules that cut them into megaflows of twenty masks.

Table 0 sends each destination network 172.16.K.0/24 to table K + 1, all of whose rules have mask K: so a packet meets one mask, and its megaflow
has that one and /24 of the destination. Mask K is a length of the source's prefix and, in four kinds, a port or the whole destination."""
MASKS, RULES_PER_MASK = 20, 500
MEGAFLOWS = MASKS * RULES_PER_MASK
PREFIXES = (20, 22, 24, 28, 32)
KINDS = ("source", "destination port", "source port", "destination")


def rule_of(flow):
    """(mask, rule of that mask, which of its five-tuples) of a flow."""
    return flow % MASKS, flow // MASKS % RULES_PER_MASK, flow // MEGAFLOWS


def address(number):
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def source(mask, rule):
    prefix = PREFIXES[mask % len(PREFIXES)]
    return address(10 << 24 | rule << (32 - prefix)), prefix


def destination(mask, rule):
    return f"172.16.{mask}.{1 + rule % 200 if KINDS[mask // len(PREFIXES)] == 'destination' else 1}"


def five_tuple(flow):
    """A line of the generator's file. What a mask leaves open differs among the five-tuples of a rule."""
    mask, rule, instance = rule_of(flow)
    kind = KINDS[mask // len(PREFIXES)]
    source_port = 1000 + rule if kind == "source port" else 1024 + instance
    destination_port = {"destination port": 1000 + rule, "source port": 5000 + instance}.get(kind, 5000)
    return f"{source(mask, rule)[0]} {destination(mask, rule)} {source_port} {destination_port}"


def open_flow(mask, rule, actions):
    kind = KINDS[mask // len(PREFIXES)]
    network, prefix = source(mask, rule)
    more = {"destination port": f",tp_dst={1000 + rule}", "source port": f",tp_src={1000 + rule}",
            "destination": f",nw_dst={destination(mask, rule)}"}.get(kind, "")
    return f"table={mask + 1},udp,nw_src={network}/{prefix}{more},actions={actions}"


def write_tuples(path, flows):
    with open(path, "w") as file:
        file.writelines(five_tuple(flow) + "\n" for flow in range(flows))


def write_open_flow(path, actions):
    with open(path, "w") as file:
        for mask in range(MASKS):
            file.write(f"table=0,udp,nw_dst=172.16.{mask}.0/24,actions=goto_table:{mask + 1}\n")
            file.writelines(open_flow(mask, rule, actions) + "\n" for rule in range(RULES_PER_MASK))
