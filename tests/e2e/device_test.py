#!/usr/bin/python3
"""Boards that are reached by commands: a real sshd on loopback, and adb's command line by a stand-in. Packages are pushed,
run there, measured, and their outputs fetched; what is measured there is kept apart."""
import json
import os
import shutil
import socket
import subprocess
import time

from harness import BINARY, Case, ROOT, main
import npy
import onnx_writer as ox

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"

PLATFORM = """name: {name}
description: a board
openness: L2
arch: x86_64
backends: [x86]
fallback: [reference]
device: {device}
"""


class Boards(Case):
    def setUp(self):
        super().setUp()
        if os.uname().machine != "x86_64":
            self.skipTest("skipped: the boards here are this machine, and its platforms are for x86_64")
        os.makedirs(self.path("platforms"))
        self.environment["SLIPWAY_PLATFORMS"] = self.path("platforms") + ":" + os.path.join(ROOT, "platforms")
        self.model = self.write("t.onnx", ox.tiny_cnn())

    def platform(self, name, device):
        self.write(os.path.join("platforms", name + ".yaml"), PLATFORM.format(name=name, device=device))

    def start_sshd(self):
        """The port of a server that takes one key, with an ssh configuration that has it as the host `board`."""
        if not os.path.exists(SSHD) or not shutil.which("ssh-keygen"):
            self.skipTest("skipped: no sshd; scripts/setup dev")
        for key in ("host", "user"):
            self.assertEqual(self.call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.path(key)).code, 0)
        shutil.copy(self.path("user.pub"), self.path("authorized"))
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        self.write("sshd_config", f"Port {port}\nListenAddress 127.0.0.1\nHostKey {self.path('host')}\nAuthorizedKeysFile {self.path('authorized')}\n"
                   "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nSubsystem sftp internal-sftp\n")
        server = subprocess.Popen([SSHD, "-D", "-e", "-f", self.path("sshd_config")], stderr=subprocess.PIPE)
        self.addCleanup(server.stderr.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        for _ in range(100):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            self.skipTest("skipped: sshd does not start here")
        self.environment["SLIPWAY_SSH_CONFIG"] = self.write(
            "ssh_config", f"Host board\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {self.path('user')}\n  IdentitiesOnly yes\n"
            "  UserKnownHostsFile /dev/null\n  StrictHostKeyChecking no\n  LogLevel ERROR\n")
        # An account may be locked, or logging in forbidden otherwise: that is no fault of what is tested here.
        login = self.call("ssh", "-F", self.environment["SLIPWAY_SSH_CONFIG"], "-n", "-o", "BatchMode=yes", "board", "true")
        if login.code != 0:
            server.terminate()
            self.skipTest("skipped: ssh lets nobody in here: " + (login.err + server.stderr.read().decode())[-300:].replace("\n", "; "))
        return port

    def check(self, platform):
        """Latency, outputs and accuracy of what runs there."""
        bench = self.slipway("bench", self.model, "--platform", platform, "--batch", "2", "--json").json
        self.assertGreater(bench["p50_ms"], 0)
        self.assertFalse(bench["emulated"])
        npy.save(self.path("x.npy"), [((i * 7919) % 2003) / 1000 - 1 for i in range(64 * 40)], [40, 1, 8, 8])
        scores = self.run_model(self.model, "--input", "x=" + self.path("x.npy"), "--platform", "interpreter")["y"][0]
        labels = [max(range(4), key=scores[i * 4:i * 4 + 4].__getitem__) for i in range(40)]
        data = self.path("data.npz")
        npy.save_npz(data, inputs=([((i * 7919) % 2003) / 1000 - 1 for i in range(64 * 40)], [40, 1, 8, 8], "<f4"), labels=(labels, [40], "<i8"))
        deployed = self.slipway("deploy", self.model, "--platforms", platform, "--eval", data, "-o", self.path("d-" + platform), "--json").json
        row = deployed["platforms"][0]
        self.assertEqual(row["accuracy"], 1.0, row)
        self.assertGreater(row["p50_ms"], 0, row)
        self.slipway("compile", self.model, "--platform", platform, "-o", self.path("v.slip"))
        verified = self.slipway("verify", self.path("v.slip"), "--against", self.model, "--platform", platform, "--json").json
        self.assertEqual(verified["platform"], platform)
        self.assertLess(verified["max_error"], 1e-4)
        self.fails("verify", self.path("v.slip"), "--against", self.model, "--platform", "x86", says=["compiled for '" + platform], code=None)

    def test_ssh(self):
        self.start_sshd()
        self.platform("board-ssh", "ssh:board")
        pushed = lambda: {f for f in os.listdir("/tmp") if f.startswith("slipway-") and os.path.isfile(f"/tmp/{f}/0_slipway-run")}
        others = pushed()  # of other tests, at the same time
        self.check("board-ssh")
        self.slipway("perfdb", "export", self.path("rows.jsonl"))
        with open(self.path("rows.jsonl"), encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        self.assertTrue(rows)
        for row in rows:  # nothing was measured on this machine
            if "key" in row:
                self.assertEqual(row["key"]["hardware"], "ssh:board", row["key"])
                for field in ("hardware_id", "cpu_model", "cpu_features", "affinity", "clock_policy", "power_mode"):
                    self.assertEqual(row["key"][field], "", row["key"])
        self.assertEqual(pushed() - others, set())

    def test_ssh_that_does_not_answer(self):
        self.platform("board-ssh", "ssh:127.0.0.1:1")
        self.fails("bench", self.model, "--platform", "board-ssh", says=["ssh:127.0.0.1:1", "does not answer"], code=None)

    def test_adb(self):
        os.makedirs(self.path("bin"))
        self.write("bin/adb", '#!/bin/sh\n[ "$1" = -s ] && { [ "$2" = emulator-5554 ] || exit 9; shift 2; }\ncase $1 in\n'
                   'shell) shift; exec sh -c "$*" ;;\npush) cp "$2" "$3" ;;\npull) cp "$2" "$3" ;;\nesac\n')
        os.chmod(self.path("bin/adb"), 0o755)
        self.environment["PATH"] = self.path("bin") + ":" + self.environment["PATH"]
        if not os.access("/data", os.W_OK) and os.geteuid() != 0:
            self.skipTest("skipped: /data/local/tmp cannot be made here")
        made = [d for d in ("/data", "/data/local", "/data/local/tmp") if not os.path.exists(d)]
        self.addCleanup(lambda: [os.rmdir(d) for d in reversed(made) if os.path.isdir(d) and not os.listdir(d)])
        self.platform("board-adb", "adb:emulator-5554")
        self.check("board-adb")

    def test_commands_of_a_file(self):
        self.write("platforms/board.device", "run: sh -c {command}\npush: cp {local} {remote}\npull: cp {remote} {local}\n"
                   f"folder: {self.path('board')}\nname: board7\n")
        self.platform("board-file", "command:board.device")
        self.check("board-file")
        self.assertEqual(os.listdir(self.path("board")), [])
        self.platform("board-none", "command:none.device")
        self.fails("bench", self.model, "--platform", "board-none", says=["none.device", "cannot be read"], code=None)

    def test_tuned_where_it_runs(self):
        """Kernels, conversions and whole plans are timed on the board and kept under its name; emulated ones under one more."""
        self.write("platforms/board.device", "run: sh -c {command}\npush: cp {local} {remote}\npull: cp {remote} {local}\n"
                   f"folder: {self.path('board')}\nname: board7\n")
        self.platform("board-file", "command:board.device")
        tune = lambda platform: self.slipway("compile", self.model, "--platform", platform, "--tune", "--tune-rounds", "3", "-o", self.path("t.slip"), "--json").json
        first = tune("board-file")["tuned"]
        for what in ("kernels", "conversions"):
            self.assertEqual(first[what]["measured"], first[what]["all"], first)
            self.assertGreater(first[what]["all"], 0, first)
        self.assertFalse(first["emulated"])
        again = tune("board-file")["tuned"]
        self.assertEqual([again[what]["measured"] for what in ("kernels", "conversions", "hand_overs")], [0, 0, 0], again)
        steps = self.slipway("perfdb", "steps", "--limit", "0", "--json").json["steps"]
        self.assertEqual({os.path.basename(s["hardware"]) for s in steps}, {"board.device"})
        self.assertTrue({"engine.Reorder"} < {s["op"] for s in steps}, steps)
        explain = lambda platform: self.slipway("compile", self.model, "--platform", platform, "--costs", "measured", "--explain", conv, "--json").json
        nodes = self.slipway("compile", self.model, "--platform", "board-file", "--json").json["nodes"]
        conv = [n["name"] for n in nodes if "Conv" in n["op"]][1]
        explained = explain("board-file")
        self.assertEqual({a["source"] for a in explained["alternatives"]}, {"measured"}, explained)
        self.assertTrue(explained["moves"])
        self.assertEqual({m["source"] for m in explained["moves"]}, {"measured"}, explained)
        # Of another device nothing of this is known: all of it is measured there.
        text = PLATFORM.format(name="board-emulated", device="command:board.device") + "emulated: true\n"
        self.write("platforms/board-emulated.yaml", text)
        unknown = explain("board-emulated")
        self.assertEqual({a["source"] for a in unknown["alternatives"] + unknown["moves"]}, {"estimated"}, unknown)
        emulated = tune("board-emulated")["tuned"]
        self.assertTrue(emulated["emulated"])
        self.assertEqual(emulated["kernels"]["known"], 0, emulated)
        said = self.slipway("perfdb", "steps", "--op", "engine.Reorder")
        self.assertIn("emulated", said.out)


if __name__ == "__main__":
    if not os.path.exists(BINARY):
        raise SystemExit(f"{BINARY} is not there; run scripts/build")
    main()
