#!/usr/bin/python3
"""What `slipway export --to onnx --opset N` writes means the same to others: ONNX Runtime, OpenCV DNN and Slipway itself.

Models: those of tests/agreement.py (.cache/models, examples, ../shared/data/models). Each is exported at every opset of
--opsets; ONNX Runtime runs the original and the exported file on the same seeded inputs, OpenCV (python3-opencv, where
it is installed and reads the file) and `slipway run` the exported one. Outputs agree when they differ by at most
--tolerance of the range of the original's output.

Operators: the ONNX backend cases of libonnx-testdata, exported at every opset; ONNX Runtime must accept the file and
give the case's outputs. A case that the opset cannot hold must be refused by a message that names a node and says
what to do.

--short takes the small models and operators in random order for --seconds (scripts/test runs it).

usage: export_agreement.py [--short] [--opsets 11,13] [--tolerance 1e-4] [--no-models] [--no-operators] [--json] [MODEL.onnx ...]

Exit code: 0 all agree, 1 something disagrees or fails, 2 wrong usage, 3 ONNX Runtime or Slipway is not there.
"""
import argparse
import collections
import glob
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import agreement as base  # noqa: E402

ROOT = base.ROOT
CASES = "/usr/share/libonnx-testdata/data"
NO_KERNEL = ("Unsupported data type", "NOT_IMPLEMENTED", "Could not find an implementation")
SMALL = 12 * 1000 * 1000  # bytes of a model that --short takes

os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
try:
    import cv2
except ImportError:
    cv2 = None


def slipway(options, *words, timeout=600):
    result = subprocess.run([options.slipway, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            cwd=ROOT, timeout=timeout)
    return result.returncode, (result.stderr.strip() or result.stdout.strip())


def by_opencv(model, inputs, names):
    """Outputs by name, or a text that says why OpenCV cannot."""
    if cv2 is None:
        return "python3-opencv is not installed"
    if len(inputs) != 1:
        return "several inputs"
    (value,) = inputs.values()
    if value.dtype != np.float32:
        return f"input of type {value.dtype}"
    try:
        net = cv2.dnn.readNetFromONNX(model)
        net.setInput(value)
        outputs = net.forward(names)
    except cv2.error as error:
        line = [part for part in str(error).split("\n") if part.strip()][0]
        return line[:160]
    return dict(zip(names, outputs))


def largest(expected, actual, tolerance):
    """(worst difference, fault) over outputs by name."""
    worst = 0.0
    for name, want in expected.items():
        if name not in actual:
            return float("inf"), f"no output {name}"
        got = np.asarray(actual[name])
        if got.size == want.size and got.shape != want.shape:
            got = got.reshape(want.shape)  # OpenCV drops or adds dimensions of 1
        difference, fault = base.compare(want, got, tolerance)
        worst = max(worst, difference)
        if fault:
            return worst, f"output {name}: {fault}"
    return worst, None


def check_model(options, runtime, model):
    """One row an opset."""
    rows = []
    folder, signature = base.reference(runtime, model, base.sha256(model), options.seed, "all")
    place = os.path.join(folder, "1")
    inputs = {e["name"]: os.path.join(place, "in", base.file_name(e["name"])) for e in signature["inputs"]}
    names = signature["outputs"]
    expected = {n: np.load(os.path.join(place, "out", base.file_name(n))) for n in names}
    values = {n: np.load(p) for n, p in inputs.items()}
    original_in_opencv = None
    for opset in options.opsets:
        row = {"model": os.path.relpath(model, ROOT), "opset": opset, "status": "agrees", "reason": "", "ort": None,
               "slipway": None, "opencv": None}
        rows.append(row)
        with tempfile.TemporaryDirectory() as work:
            exported = os.path.join(work, "exported.onnx")
            code, text = slipway(options, "export", model, "--to", "onnx", "--opset", str(opset), "-o", exported)
            if code:
                row["status"] = "refused" if "opset" in text and "'" in text and code == 2 else "fails"
                row["reason"] = text.split("\n")[-1][:300]
                continue
            try:
                runtime.ask(op="load", id="exported", model=exported, threads=2, optimize="all")
                try:
                    runtime.ask(op="run", id="exported", inputs=inputs, output_dir=os.path.join(work, "ort"))
                finally:
                    runtime.ask(op="unload", id="exported")
                got = {n: np.load(os.path.join(work, "ort", base.file_name(n))) for n in names}
                row["ort"], fault = largest(expected, got, options.tolerance)
                if fault:
                    raise base.Failure("ONNX Runtime " + fault)
                base.run_slipway(options, exported, inputs, os.path.join(work, "slipway"))
                got = {n: np.load(os.path.join(work, "slipway", base.file_name(n))) for n in names}
                row["slipway"], fault = largest(expected, got, options.tolerance)
                if fault:
                    raise base.Failure("imported again " + fault)
                if options.opencv:
                    got = by_opencv(exported, values, names)
                    if isinstance(got, str):
                        row["reason"] = "OpenCV: " + got
                    else:
                        row["opencv"], fault = largest(expected, got, options.opencv_tolerance)
                        if fault:
                            # Where OpenCV differs on the original too, that is a remark and no failure.
                            if original_in_opencv is None:
                                own = by_opencv(model, values, names)
                                original_in_opencv = own if isinstance(own, str) else (
                                    largest(expected, own, options.opencv_tolerance)[1] or "")
                            if not original_in_opencv:
                                raise base.Failure("OpenCV " + fault)
                            row["reason"] = f"OpenCV: {fault}; of the original: {original_in_opencv}"
            except base.Failure as failure:
                row["status"], row["reason"] = "fails", str(failure)
    return rows


def read_case(folder):
    """(inputs by name, expected outputs by name) of data set 0, or None when it holds other than tensors."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(os.path.join(folder, "model.onnx"))

    def read(kind, infos):
        found = {}
        for i, info in enumerate(infos):
            path = os.path.join(folder, "test_data_set_0", f"{kind}_{i}.pb")
            if not info.type.HasField("tensor_type") or not os.path.exists(path):
                return None
            tensor = onnx.TensorProto()
            with open(path, "rb") as file:
                tensor.ParseFromString(file.read())
            if tensor.data_type in (onnx.TensorProto.STRING, onnx.TensorProto.BFLOAT16):
                return None
            found[info.name] = numpy_helper.to_array(tensor)
        return found

    initial = {t.name for t in model.graph.initializer}
    return (read("input", [i for i in model.graph.input if i.name not in initial]), read("output", model.graph.output))


def check_case(options, runtime, folder, opset, work):
    """(status, reason): agrees, refused, skipped or fails."""
    name = os.path.basename(folder)
    exported = os.path.join(work, "case.onnx")
    code, text = slipway(options, "export", os.path.join(folder, "model.onnx"), "--to", "onnx", "--opset", str(opset),
                         "-o", exported)
    if code:
        line = text.split("\n")[-1]
        if folder in line:  # the file itself is beyond the importer
            return "skipped", line
        return ("refused" if code == 2 and "node '" in line and ("needs opset" in line or "export" in line)
                else "fails"), line
    try:
        inputs, expected = read_case(folder)
    except Exception as error:  # the data of a few cases is beyond onnx 1.12
        return "skipped", str(error)
    if inputs is None or expected is None:
        # ONNX Runtime's JavaScript takes no sequences: that it accepts the file is all that can be asked.
        try:
            runtime.ask(op="load", id="case", model=exported, threads=1, optimize="disabled")
            runtime.ask(op="unload", id="case")
        except base.Failure as failure:
            if any(part in str(failure) for part in NO_KERNEL) or not loads(runtime, folder):
                return "skipped", "ONNX Runtime has no kernel"
            return "fails", "not accepted: " + str(failure)
        return "skipped", "accepted; values that are no tensors cannot be given"
    files = {}
    for key, value in inputs.items():
        files[key] = os.path.join(work, base.file_name(key))
        np.save(files[key], value)
    out = os.path.join(work, "out")
    shutil.rmtree(out, ignore_errors=True)
    try:
        runtime.ask(op="load", id="case", model=exported, threads=1, optimize="disabled")
    except base.Failure as failure:
        text = str(failure)
        if any(part in text for part in NO_KERNEL):
            return "skipped", "ONNX Runtime has no kernel"
        if original_fails(runtime, folder, files, out):
            return "skipped", "ONNX Runtime does not load the original: " + text
        return "fails", text
    try:
        runtime.ask(op="run", id="case", inputs=files, output_dir=out)
    except base.Failure as failure:
        text = str(failure)
        if "is not supported" in text and "element type" in text:
            return "skipped", text
        if original_fails(runtime, folder, files, out):
            return "skipped", "ONNX Runtime does not run the original: " + text
        return "fails", text
    finally:
        runtime.ask(op="unload", id="case")
    for key, want in expected.items():
        path = os.path.join(out, base.file_name(key))
        if not os.path.exists(path):
            return "fails", f"no output {key}"
        got = np.load(path)
        if got.shape != want.shape or got.dtype != want.dtype:
            return "fails", f"output {key}: {got.dtype}{list(got.shape)}, expected {want.dtype}{list(want.shape)}"
        loose = 4e-3 if want.dtype == np.float16 else 1e-3
        if not np.allclose(got.astype(np.float64), want.astype(np.float64), rtol=loose, atol=loose * 0.02,
                           equal_nan=True):
            if original_differs(runtime, folder, files, expected, out):
                return "skipped", "ONNX Runtime differs from the case's data on the original too"
            gap = np.abs(got.astype(np.float64) - want.astype(np.float64)).max()
            return "fails", f"output {key} is off by {gap:.2e} ({name})"
    return "agrees", ""


def loads(runtime, folder):
    """Whether ONNX Runtime takes the case's own model."""
    try:
        runtime.ask(op="load", id="original", model=os.path.join(folder, "model.onnx"), threads=1, optimize="disabled")
        runtime.ask(op="unload", id="original")
    except base.Failure:
        return False
    return True


def original_fails(runtime, folder, files, out):
    try:
        run_original(runtime, folder, files, out)
    except base.Failure:
        return True
    return False


def run_original(runtime, folder, files, out):
    runtime.ask(op="load", id="original", model=os.path.join(folder, "model.onnx"), threads=1, optimize="disabled")
    try:
        runtime.ask(op="run", id="original", inputs=files, output_dir=out)
    finally:
        runtime.ask(op="unload", id="original")


def original_differs(runtime, folder, files, expected, out):
    try:
        run_original(runtime, folder, files, out)
    except base.Failure:
        return True
    for key, want in expected.items():
        got = np.load(os.path.join(out, base.file_name(key)))
        if got.shape != want.shape or not np.allclose(got.astype(np.float64), want.astype(np.float64), rtol=1e-3,
                                                      atol=2e-5, equal_nan=True):
            return True
    return False


def check_operators(options, runtime):
    folders = sorted(os.path.dirname(p) for p in glob.glob(os.path.join(CASES, "**", "model.onnx"), recursive=True))
    # One model file for several cases: the name of an expansion says what its case does.
    pairs = [(folder, opset) for folder in folders for opset in options.opsets
             if "cntk" not in folder and os.path.exists(os.path.join(folder, "test_data_set_0"))]
    if options.filter:
        pairs = [p for p in pairs if options.filter in p[0]]
    if options.short:
        random.Random(options.seed).shuffle(pairs)
    counts, faults = collections.defaultdict(collections.Counter), []
    end = time.time() + options.seconds if options.short else float("inf")
    with tempfile.TemporaryDirectory() as work:
        for folder, opset in pairs:
            if time.time() > end:
                break
            status, reason = check_case(options, runtime, folder, opset, work)
            counts[opset][status] += 1
            if status == "fails":
                faults.append(f"{os.path.basename(folder)} at opset {opset}: {reason[:300]}")
            elif options.verbose and status != "agrees":
                print(f"{status} {os.path.basename(folder)} at opset {opset}: {reason[:200]}")
    return counts, faults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--opsets", default="11,13,15,17,18,21,25", help="comma-separated")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="share of the output's range (default 1e-4)")
    parser.add_argument("--opencv-tolerance", type=float, default=1e-4)
    parser.add_argument("--short", action="store_true", help="small models, then operators for --seconds")
    parser.add_argument("--seconds", type=float, default=25, help="of operators with --short (default 25)")
    parser.add_argument("--filter", help="only the operator cases whose folder holds this text")
    parser.add_argument("--seed", type=int, help="default: 1, and random for the operators of --short")
    parser.add_argument("--slipway", default=os.environ.get(
        "SLIPWAY_BINARY", os.path.join(ROOT, "build", "release", "slipway")))
    parser.add_argument("--platform")
    parser.add_argument("--timeout", type=float, default=600)
    parser.add_argument("--no-models", action="store_true")
    parser.add_argument("--no-operators", action="store_true")
    parser.add_argument("--no-opencv", dest="opencv", action="store_false")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.slipway = os.path.abspath(options.slipway)
    try:
        options.opsets = [int(word) for word in options.opsets.split(",")]
    except ValueError:
        parser.error("--opsets takes numbers: 11,13,25")
    if shutil.which("node") is None or not os.path.isdir(os.path.join(ROOT, ".cache", "ort", "node_modules")):
        print("export_agreement.py: ONNX Runtime is not installed; run scripts/setup dev", file=sys.stderr)
        return 3
    if not os.access(options.slipway, os.X_OK):
        print(f"export_agreement.py: {options.slipway} is not there; run scripts/build", file=sys.stderr)
        return 3
    models = [os.path.abspath(path) for path in options.models]
    if not models and not options.no_models:
        models = base.default_models()
        if options.short:
            models = [m for m in models if os.path.getsize(m) < SMALL]
    operator_seed = options.seed if options.seed is not None else random.randrange(1 << 30)
    options.seed = options.seed if options.seed is not None else 1
    rows, runtime = [], base.OnnxRuntime()
    counts, faults = {}, []
    if options.opencv and cv2 is None:
        print("export_agreement.py: python3-opencv is not installed, its part is skipped", file=sys.stderr)
        options.opencv = False
    try:
        for model in models:
            fresh = check_model(options, runtime, model)
            rows += fresh
            for row in fresh if not options.json else []:
                shown = " ".join(f"{who} {row[who]:.1e}" if row[who] is not None else f"{who} -"
                                 for who in ("ort", "slipway", "opencv"))
                print(f"{row['status']:7} opset {row['opset']:2} {shown}  {row['model']}"
                      + (f": {row['reason']}" if row["reason"] else ""), flush=True)
        if not options.no_operators and not options.models:
            if os.path.isdir(CASES):
                options.seed = operator_seed
                counts, faults = check_operators(options, runtime)
            else:
                print("export_agreement.py: libonnx-testdata is not installed, the operators are skipped",
                      file=sys.stderr)
    except base.Failure as failure:
        print(f"export_agreement.py: {failure}", file=sys.stderr)
        return 3
    finally:
        runtime.close()
    failed = [r for r in rows if r["status"] == "fails"]
    if options.json:
        print(json.dumps({"tolerance": options.tolerance, "seed": operator_seed, "models": rows,
                          "operators": {str(k): dict(v) for k, v in counts.items()}, "faults": faults}, indent=1))
    else:
        for opset in sorted(counts):
            c = counts[opset]
            print(f"operators at opset {opset}: {c['agrees']} agree, {c['refused']} refused by name, {c['skipped']} "
                  f"skipped, {c['fails']} fail")
        for fault in faults:
            print("fails   " + fault)
        agrees = sum(r["status"] == "agrees" for r in rows)
        refused = sum(r["status"] == "refused" for r in rows)
        print(f"export: {agrees} of {len(rows)} exported models agree, {refused} refused by name, {len(failed)} fail; "
              f"{sum(c['agrees'] for c in counts.values())} operator cases agree, {len(faults)} fail "
              f"(seed {operator_seed})")
    return 1 if failed or faults else 0


if __name__ == "__main__":
    sys.exit(main())
