#!/usr/bin/python3
"""The pages agree with the tree: links lead somewhere, named files exist, and every verb, option, platform key, preprocessing key and
fuzz target that the sources know is explained."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "e2e"))
from harness import Case, ROOT, main  # noqa: E402


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


PAGES = ["README.md", "CONTRIBUTING.md"] + sorted("docs/" + n for n in os.listdir(os.path.join(ROOT, "docs")) if n.endswith(".md"))


class Docs(Case):
    def test_links(self):
        for page in PAGES:
            text = re.sub(r"^```.*?^```", "", read(page), flags=re.M | re.S)  # lambdas look like links
            for target in re.findall(r"\]\(([^)#]+)\)", text):
                if "://" not in target:
                    path = os.path.join(ROOT, os.path.dirname(page), target)
                    self.assertTrue(os.path.exists(path), f"{page} links to {target}, which is not there")

    def test_named_files(self):
        for page in PAGES:
            for name in re.findall(r"`((?:src|tests|scripts|fuzz|bench|examples|include|platforms)/[\w./-]+)`", read(page)):
                if not re.search(r"\b[A-Z]{4,}\b", name):  # NAME, TARGET: to be filled in
                    self.assertTrue(os.path.exists(os.path.join(ROOT, name)), f"{page} names {name}, which is not there")

    def test_verbs(self):
        page = read("docs", "cli.md")
        for verb in re.findall(r'^\s*\{"(\w+)",', read("src", "cli", "cli.cc"), re.M):
            self.assertIn(f"## {verb}\n", page)

    def test_options_that_pages_use_exist(self):
        sources = "".join(read("src", "cli", n) for n in os.listdir(os.path.join(ROOT, "src", "cli")) if n.endswith(".cc"))
        known = set(re.findall(r'"(?:-\w,)?(--[\w-]+)"', sources)) | {"--help", "--version"}
        for page in PAGES:
            for line in read(page).split("\n"):
                if re.search(r"\bslipway (\w+ )", line) and "slipway-run" not in line:
                    for option in re.findall(r"(?<![\w`])(--[a-z][\w-]*)", line):
                        self.assertIn(option, known, f"{page}: {line}")

    def test_platform_keys(self):
        page, source = read("docs", "add-a-platform.md"), read("src", "engine", "compiler", "platform.cc")
        keys = re.findall(r'\b(?:r|m)\.(?:Get|GetText|GetList|Child)\("(\w+)"', source) + ["weights", "activations"]
        self.assertGreater(len(keys), 20)
        for key in keys:
            self.assertIn(f"`{key}`", page)

    def test_preprocess_keys(self):
        page, source = read("docs", "data.md"), read("src", "data", "preprocess.cc")
        keys = set(re.findall(r'key == "(\w+)"', source))
        self.assertGreater(len(keys), 7)
        for key in keys:
            self.assertIn(f"`{key}`", page)

    def test_passes(self):
        page, table = read("docs", "add-a-pass.md"), read("src", "model", "passes", "passes.inc")
        rows = [(name, level.lower(), what) for name, level, what in
                re.findall(r'^SLIPWAY_PASS\(\w+, "([\w-]+)", k(\w+), "([^"]*)"\)', table, re.M)]
        self.assertGreater(len(rows), 40)
        self.assertEqual(re.findall(r"^\| `([\w-]+)` \| (\w+) \| (.*) \|$", page.split("## All passes")[1], re.M), rows)

    def test_fuzz_targets(self):
        page = read("docs", "fuzzing.md")
        for target in re.findall(r"slipway_fuzzer\(([a-z]\w+) \w", read("fuzz", "CMakeLists.txt")):
            self.assertIn(f"`{target}`", page)


if __name__ == "__main__":
    main()
