# SPDX-License-Identifier: BSD-3-Clause
"""Random OpenFlow rules, in ovs-ofctl's syntax, each with a hint of a frame that it matches."""
import dataclasses

from frames import FAMILIES, ICMP, ICMPV6, PORTS, SCTP, TCP, UDP

TABLES = 4
STATEFUL_TABLE = 10  # and the one behind it: conntrack
GROUPS = (
    "group_id=1,type=all,bucket=actions=output:2,bucket=actions=set_field:02:00:00:00:aa:01->eth_src,output:3",
    "group_id=2,type=indirect,bucket=actions=output:4,output:5",
    "group_id=3,type=select,selection_method=hash,fields(eth_src),bucket=weight=1,actions=output:1,bucket=weight=1,actions=output:6",
    "group_id=4,type=ff,bucket=watch_port:3,actions=output:3,bucket=watch_port:2,actions=output:2",
)
METERS = ("meter=1,kbps,band=type=drop,rate=4000000",)


@dataclasses.dataclass
class Rule:
    table: int
    priority: int
    match: list
    actions: list
    hint: dict

    def __str__(self):
        return ",".join([f"table={self.table}", f"priority={self.priority}", *self.match]) + \
            ",actions=" + (",".join(self.actions) or "drop")


class Maker:
    def __init__(self, rng, world, odd):
        self.rng, self.world, self.odd = rng, world, odd

    # ---- match

    def prefix(self, addresses):
        text = self.rng.choice(addresses)
        bits = self.rng.choice([128, 128, 64, 48, 32] if ":" in text else [32, 32, 31, 24, 16, 8])
        if self.rng.random() < 0.15:
            return text, text + ("/ffff::ffff" if ":" in text else "/255.0.0.255")
        return text, f"{text}/{bits}"

    def ethernet(self, match, hint):
        rng = self.rng
        for field, values in (("dl_src", self.world.macs), ("dl_dst", self.world.macs + self.world.groups)):
            if rng.random() < 0.25:
                hint[field] = rng.choice(values)
                mask = rng.choice(["", "", "/ff:ff:ff:00:00:00", "/00:00:00:00:00:05", "/01:00:00:00:00:00"])
                match.append(f"{field}={hint[field]}{mask}")

    def vlan(self, match, hint):
        """Whether a tag is certain."""
        rng = self.rng
        draw, vid, pcp = rng.random(), rng.choice(self.world.vids), rng.choice([0, 3, 7])
        if draw < 0.5:
            return False
        hint["tci"] = vid | pcp << 13
        if draw < 0.6:
            hint["tci"] = False
            match.append("vlan_tci=0x0000/0x1fff")
            return False
        match.append(rng.choice([
            f"dl_vlan={vid}", f"dl_vlan={vid},dl_vlan_pcp={pcp}", f"dl_vlan_pcp={pcp}", "vlan_tci=0x1000/0x1000",
            f"vlan_tci={0x1000 | vid & 0xf:#x}/0x100f", f"vlan_tci={0x1000 | hint['tci']:#x}/0xffff"]))
        return True

    def network(self, match, hint, version):
        rng, world = self.rng, self.world
        names = ("ipv6_src", "ipv6_dst") if version == 6 else ("nw_src", "nw_dst")
        for field, name in zip(("src", "dst"), names):
            if rng.random() < 0.35:
                hint[field], text = self.prefix(world.ip6 if version == 6 else world.ip4)
                match.append(f"{name}={text}")
        if rng.random() < 0.2:
            hint["tos"] = rng.choice(world.toses)
            match.append(rng.choice([f"nw_tos={hint['tos'] & 0xfc}", f"nw_ecn={hint['tos'] & 3}", f"ip_dscp={hint['tos'] >> 2}"]))
        if rng.random() < 0.2:
            hint["ttl"] = rng.choice(world.ttls)
            match.append(f"nw_ttl={hint['ttl']}")
        if version == 6 and rng.random() < 0.05:
            match.append("ipv6_label=0x00000")
        if rng.random() < 0.25:
            kind = rng.choice(["no", "yes", "first", "later", "not_later"])
            hint["fragment"] = {"yes": "later", "not_later": "first"}.get(kind, kind)
            match.append(f"ip_frag={kind}")

    def transport(self, match, hint, proto):
        rng, world = self.rng, self.world
        if hint.get("fragment") == "later":
            return
        if proto in (ICMP, ICMPV6):
            if rng.random() < 0.5:
                hint["sport"] = rng.choice(world.icmp if proto == ICMP else world.icmp6)
                match.append(f"icmp_type={hint['sport']}")
                if rng.random() < 0.5:
                    hint["dport"] = rng.choice([0, 1, 4])
                    match.append(f"icmp_code={hint['dport']}")
            return
        for field, name in (("sport", "tp_src"), ("dport", "tp_dst")):
            if rng.random() < 0.35:
                hint[field] = rng.choice(world.l4)
                mask = rng.choice(["", "", "/0xfff0", "/0x0400", "/0x8001"])
                match.append(f"{name}={hint[field]}{mask}")
        if proto == TCP and rng.random() < 0.25:
            hint["flags"] = rng.choice(world.tcp_flags)
            match.append(rng.choice([f"tcp_flags={hint['flags']:#x}/0xfff", f"tcp_flags={hint['flags'] & 0x12:#x}/0x12"]))

    def match(self):
        rng, match, hint = self.rng, [], {}
        if rng.random() < 0.5:
            hint["in_port"] = rng.choice(PORTS)
            match.append(f"in_port={hint['in_port']}")
        self.ethernet(match, hint)
        hint["tagged"] = self.vlan(match, hint)
        family = rng.choice(list(FAMILIES) * 3 + ["arp", None, None, None, "type"])
        if family == "type":
            hint["family"], hint["eth_type"] = "other", rng.choice(self.world.types)
            match.append(f"dl_type={hint['eth_type']:#x}")
        elif family:
            hint["family"] = family
            match.append(family)
        if family == "arp" and rng.random() < 0.5:
            hint["src"], text = self.prefix(self.world.ip4)
            match.append(f"arp_spa={text}")
        if family not in FAMILIES:
            return match, hint
        version, proto = FAMILIES[family]
        self.network(match, hint, version)
        if proto is None and rng.random() < 0.3:
            hint["proto"] = rng.choice(self.world.protos)
            match.append(f"nw_proto={hint['proto']}")
        elif proto is not None:
            self.transport(match, hint, proto)
        return match, hint

    # ---- actions

    def sets(self, hint, tags):
        """One set-field of those that are right behind the match, and how many tags there are then."""
        rng, world = self.rng, self.world
        version, proto = FAMILIES.get(hint.get("family"), (0, None))
        choices = [f"mod_dl_src:{rng.choice(world.macs)}", f"mod_dl_dst:{rng.choice(world.macs)}",
                   "set_field:00:00:00:00:77:00/00:00:00:00:ff:00->eth_src", "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]"]
        if version:
            address = rng.choice(world.ip6 if version == 6 else world.ip4)
            field = "ipv6" if version == 6 else "ip"
            choices += [f"set_field:{address}->{field}_{rng.choice(['src', 'dst'])}", "dec_ttl", "dec_ttl",
                        f"mod_nw_ttl:{rng.choice([1, 2, 64, 255])}", f"mod_nw_tos:{rng.choice([0, 40, 184, 252])}",
                        f"set_field:{rng.choice([0, 10, 46, 63])}->ip_dscp", f"mod_nw_ecn:{rng.choice([0, 1, 3])}"]
            choices += [f"set_field:{address}->{field}_{rng.choice(['src', 'dst'])}"] * 2
        if proto in (TCP, UDP, SCTP) and hint.get("fragment") != "later":
            choices += [f"mod_tp_src:{rng.choice(world.l4)}", f"mod_tp_dst:{rng.choice(world.l4)}"] * 2
        choices += self.tagging(tags)
        action = rng.choice(choices)
        if action.startswith("push"):
            return action, tags + 1
        if action == "strip_vlan":
            return action, tags - 1
        return action, max(tags, 1) if action.startswith("mod_vlan") else tags

    def tagging(self, tags):
        rng = self.rng
        vid = rng.choice([10, 20, 100])
        choices = [f"mod_vlan_vid:{vid}", f"mod_vlan_pcp:{rng.choice([0, 5])}"]
        if tags < 2:
            choices += [f"push_vlan:{rng.choice(['0x8100', '0x88a8'])},set_field:{0x1000 | vid}->vlan_vid"]
        return choices + ["strip_vlan"] * 2 if tags > 0 else choices

    def output(self):
        rng = self.rng
        return rng.choice([f"output:{rng.randrange(1, 7)}"] * 8 + ["in_port", "flood", "all"])

    def oddity(self, hint, actions):
        """What OVS cannot offload, or not always."""
        rng = self.rng
        choice = rng.choice(["local", "controller", "group", "meter", "clone", "load", "normal_flood"])
        if choice == "group":
            actions.append(f"group:{rng.randrange(1, 5)}")
        elif choice == "meter":
            actions.insert(0, "meter:1")
        elif choice == "clone":
            actions.append(f"clone(mod_dl_src:{rng.choice(self.world.macs)},output:{rng.randrange(1, 7)}),output:{rng.randrange(1, 7)}")
        elif choice == "load":
            actions += ["load:0x5->NXM_NX_REG0[0..3]", "move:NXM_NX_REG0[0..3]->NXM_OF_ETH_DST[8..11]", "output:1"]
        elif choice == "normal_flood":
            actions.append("flood")
        else:
            actions.append(choice)

    def actions(self, hint, table):
        rng, actions = self.rng, []
        tags = 1 if hint.get("tagged") else 0
        if rng.random() < 0.08:
            return actions
        for _ in range(rng.choice([1, 1, 2, 2, 3])):
            for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
                action, tags = self.sets(hint, tags)
                actions.append(action)
            actions.append(self.output())
        if self.odd and rng.random() < 0.15:
            self.oddity(hint, actions)
        if table < TABLES - 1 and rng.random() < 0.3:
            if rng.random() < 0.5:
                first = actions[:1] == ["meter:1"]  # which stays in front
                actions.insert(rng.randrange(first, len(actions) + 1), f"resubmit(,{rng.randrange(table + 1, TABLES)})")
            else:
                actions.append(f"goto_table:{rng.randrange(table + 1, TABLES)}")
        return actions

    def rule(self):
        match, hint = self.match()
        table = self.rng.choice([0, 0, 0, 1, 2, 3])
        return Rule(table, self.rng.randrange(1, 100), match, self.actions(hint, table), hint)

    def rules(self, count):
        """Rules of different (table, priority): which of two that both match wins is then certain."""
        rules = {}
        while len(rules) < count:
            rule = self.rule()
            rules[rule.table, rule.priority] = rule
        rules = list(rules.values())
        for table in range(TABLES):
            last = "flood" if self.rng.random() < 0.5 else f"output:{self.rng.randrange(1, 7)}"
            rules.append(Rule(table, 0, [], [last], {}))
        return rules

    def learning(self):
        """NORMAL, behind a few rules that look at more."""
        rules = [rule for rule in self.rules(6) if rule.priority]
        for rule in rules:
            rule.table = 0
            rule.actions = [] if self.rng.random() < 0.2 else ["normal"]
        return rules + [Rule(0, 0, [], ["normal"], {})]

    def stateful(self):
        """Conntrack in front, with addresses translated now and then."""
        rng, rules = self.rng, []
        for family in ("tcp", "udp", "icmp", "tcp6", "udp6"):
            hint = {"family": family, "fragment": "no"}
            match = [family, "ip_frag=no"]
            nat = rng.choice(["", "", "nat(src=10.0.9.9),"]) if "6" not in family else ""
            rules.append(Rule(0, 50, match, [f"ct(table={STATEFUL_TABLE},zone=1)"], hint))
            rules.append(Rule(STATEFUL_TABLE, 50, [family, "ct_state=+new+trk"],
                              [f"ct(commit,{nat}zone=1,table={STATEFUL_TABLE + 1})"], hint))
            rules.append(Rule(STATEFUL_TABLE, 49, [family, "ct_state=+est+trk"], [f"ct(nat,zone=1,table={STATEFUL_TABLE + 1})"], hint))
            rules.append(Rule(STATEFUL_TABLE, 48, [family, "ct_state=+inv+trk"], [f"output:{rng.randrange(1, 7)}"], hint))
            rules.append(Rule(STATEFUL_TABLE + 1, 48, [family], ["dec_ttl", f"output:{rng.randrange(1, 7)}"], hint))
        return rules + [Rule(0, 0, [], [f"output:{rng.randrange(1, 7)}"], {})]
