"""What tests of `slipway export --to c` share: exports a model and runs its program."""
import array
import os
import shutil

from harness import Case
import npy

FLAGS = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic"]
TARGETS = {"host": (["cc", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"], []),
           "aarch64": (["aarch64-linux-gnu-gcc", "-static"], ["qemu-aarch64"]),
           "riscv64": (["riscv64-linux-gnu-gcc", "-static"], ["qemu-riscv64"])}


class CCase(Case):
    def export(self, model, *arguments, name="net"):
        """(folder, identifier) of the C file."""
        folder = self.path(name)
        files = self.slipway("export", model, "--to", "c", "-o", folder, *arguments, "--json").json["files"]
        self.assertEqual([os.path.splitext(f)[1] for f in files], [".h", ".c"])
        return os.path.splitext(files[1])[0]

    def run_c(self, stem, inputs, target="host"):
        """Outputs as bytes; None when the target's tools are not here."""
        compiler, emulator = TARGETS[target]
        if not shutil.which(compiler[0]) or (emulator and not shutil.which(emulator[0])):
            return None
        program = f"{stem}-{target}"
        macro = os.path.basename(stem).upper() + "_MAIN"
        built = self.call(*compiler, *FLAGS, f"-D{macro}", stem + ".c", "-o", program, "-lm")
        self.assertEqual(built.code, 0, str(built))
        with open(self.path("in.bin"), "wb") as file:
            file.write(b"".join(array.array(npy.CODES[d], v).tobytes() for v, d in inputs))
        done = self.call("sh", "-c", " ".join(emulator + [program]) + f" < {self.path('in.bin')} > {self.path('out.bin')}")
        self.assertEqual(done.code, 0, str(done))
        with open(self.path("out.bin"), "rb") as file:
            return file.read()
