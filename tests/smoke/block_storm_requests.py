# SPDX-License-Identifier: BSD-3-Clause
"""What a user of block storage may ask for, at random: transactions of few changes, and actions. Names are few, so that most of it meets what is there."""
MIB = 1 << 20
PORT = 4420
GLOBAL = {"medium": ("m", 5), "pool": ("p", 3), "nvmf_listener": ("l", 2), "nvmf_remote": ("r", 3)}
TENANT = {"volume": ("v", 5), "snapshot": ("s", 3), "nvmf_subsystem": ("s", 2), "nvmf_host": ("h", 2), "nvmf_namespace": ("n", 4), "disk": ("d", 4), "qos_policy": ("q", 3)}
CLASSES = {**GLOBAL, **TENANT}


def nqn(number):
    return f"nqn.2025-01.org.example:s{number}"


def host_nqn(number):
    return f"nqn.2025-01.org.example:h{number}"


class Requests:
    def __init__(self, random, folder):
        self.random, self.folder = random, folder

    def pick(self, *choices):
        return self.random.choice(choices)

    def name(self, cls):
        prefix, count = CLASSES[cls]
        return f"{prefix}{self.random.randrange(count)}"

    def target(self, cls):
        return {"name": self.name(cls), **({"tenant": "blue"} if cls in TENANT else {})}

    def change(self, op, cls, fields=None, **more):
        return {"op": op, "class": cls, **self.target(cls), **({} if fields is None else {"fields": fields}), **more}

    # ---- fields

    def backing(self, remote=False):
        cls = self.pick("volume", "volume", "volume", "snapshot", "medium", *(["nvmf_remote"] if remote else []))
        return {cls.removeprefix("nvmf_"): self.name(cls)}

    def addresses(self, least):
        return [f"127.0.0.1:{PORT + i}" for i in range(self.random.randrange(least, 4))]

    def new_medium(self):
        number = self.random.randrange(5)
        fields = {"kind": "ram"} if number == 0 else {"path": f"{self.folder}/m{number}"}
        return {"name": f"m{number}"}, {**fields, "size": 48 * MIB}

    def new_pool(self):
        on = self.pick({"media": [self.name("medium")]}, {"media": ["m0", "m1"]}, {"remotes": [self.name("nvmf_remote")]})
        return {}, {**on, "worker": self.random.randrange(2)}

    def new_volume(self):
        content = self.pick({"size": self.pick(1, 4, 16) * MIB}, {"size": MIB + 512}, {"from_snapshot": self.name("snapshot")})
        return {}, {"pool": self.name("pool"), **content}

    def new_snapshot(self):
        return {}, {"volume": self.name("volume")}

    def new_nvmf_subsystem(self):
        number = self.random.randrange(2)
        return {"name": f"s{number}"}, {"nqn": nqn(number), "allow_any_host": self.random.random() < 0.7}

    def new_nvmf_host(self):
        number = self.random.randrange(2)
        return {"name": f"h{number}"}, {"nqn": host_nqn(number), "subsystems": [self.name("nvmf_subsystem")]}

    def new_nvmf_namespace(self):
        return {}, {"subsystem": self.name("nvmf_subsystem"), **self.backing()}

    def new_nvmf_listener(self):
        number = self.random.randrange(2)
        return {"name": f"l{number}"}, {"address": "127.0.0.1", "port": PORT + number}

    def new_nvmf_remote(self):
        found = {"discovery": f"127.0.0.1:{PORT}", "addresses": self.addresses(0)} if self.random.random() < 0.3 else {"addresses": self.addresses(1)}
        return {}, {"nqn": nqn(self.random.randrange(2)), "keep_alive": 1000, "quiesce": 50, "loss_timeout": self.pick(1, 2, 600), "data_digest": self.pick(False, True), **found}

    def new_disk(self):
        return {}, {"backend": "vhost_user_server", "wait_seconds": 1, **self.backing(remote=True)}

    def new_qos_policy(self):
        return {}, self.pick({"cap_iops": 10}, {"cap_bandwidth": 4 * MIB, "guarantee_iops": 50}, {"scope": "tenant", "cap_iops": 1000}, {"guarantee_iops": 5, "cap_iops": 4})

    def new_values(self, cls):
        policy = {"qos": self.pick("q0", "q1", "q2", None)}
        return self.pick(*{
            "medium": [{"size": 96 * MIB}],
            "pool": [{"media": [self.name("medium"), self.name("medium")]}, {"cache_mb": self.pick(0, 8)}],
            "volume": [{"size": self.pick(1, 8, 64, 1 << 20) * MIB, "shrinkable": self.pick(True, False)}, policy, {"pool": self.name("pool")}],
            "snapshot": [policy],
            "nvmf_subsystem": [{"allow_any_host": self.pick(True, False)}],
            "nvmf_host": [{"subsystems": self.pick([], ["s0"], ["s1", "s0"])}],
            "nvmf_namespace": [policy, {"labels": [f"a={self.random.randrange(9)}"]}],
            "nvmf_listener": [{"ana_state": self.pick("optimized", "inaccessible", "non-optimized")}],
            "nvmf_remote": [{"addresses": self.addresses(1)}, {"io_timeout": self.pick(0, 1)}],
            "disk": [policy, {"wait_seconds": self.random.randrange(3)}],
            "qos_policy": [{"cap_iops": self.pick(0, 5, 100000)}, {"weight": self.pick(1, 10000, 0)}],
        }[cls])

    # ---- requests

    def create(self):
        cls = self.pick(*CLASSES, "pool", "volume", "volume", "nvmf_namespace", "nvmf_remote", "disk")
        fixed, fields = getattr(self, f"new_{cls}")()
        return {**self.change("create", cls, fields), **fixed}

    def delete(self):
        return self.change("delete", self.pick(*CLASSES, "volume"), cascade=self.random.random() < 0.6)

    def update(self):
        cls = self.pick(*CLASSES, "volume", "qos_policy")
        return self.change("update", cls, self.new_values(cls))

    def transaction(self):
        several = self.random.random() < 0.15
        if several:
            changes = [self.delete() for _ in range(self.random.randrange(2, 5))]
        else:
            changes = [self.pick(*[self.create] * 5, *[self.delete] * 2, *[self.update] * 3)()]
        return "dpu.transaction", {"changes": changes}

    def action(self):
        cls, verb, args = self.pick(
            ("pool", "format", None), ("pool", "scrub", None), ("pool", "scrub-cancel", None), ("pool", "measure", None), ("pool", "purge", None), ("pool", "repair", None),
            ("nvmf_remote", "reconnect", None), ("nvmf_namespace", "retry", None),
            (self.pick("volume", "disk", "nvmf_namespace", "snapshot"), self.pick("why", "latency", "slowest"), None),
        )
        return f"{cls}.{verb}", {**self.target(cls), **({"args": args} if args else {})}

    def image(self):
        file = self.pick("x", "y.qcow2", "hole", "none")
        verb, args = self.pick(
            ("export-image", {"file": file, "overwrite": self.pick(True, True, False)}), ("export-image", {"file": file, "overwrite": True, "wait": True}),
            ("import-image", {"file": file, "wait": self.pick(True, False)}), ("cancel-image", None), ("image-progress", None),
        )
        cls = self.pick("volume", "volume", "snapshot") if verb != "import-image" else "volume"
        return f"{cls}.{verb}", {**self.target(cls), **({"args": args} if args else {})}

    def next(self):
        draw = self.random.random()
        if draw < 0.8:
            return self.transaction()
        if draw < 0.9:
            return self.image()
        return self.action() if draw < 0.98 else (f"{self.pick(*CLASSES)}.list", {})
