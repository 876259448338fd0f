// What If, Loop and Scan do, and what they refuse.

#include <gtest/gtest.h>

#include <array>

#include "model/interp/interpreter.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"

namespace slipway::interp {
namespace {

using ir::Tensor;

std::string Show(const Tensor& t) {
  std::string s = t.dims().ToString() + ":";
  for (double d : t.ToDoubles()) s += " " + std::to_string(static_cast<int64_t>(d));
  return s;
}

// All outputs, or the error; the same with and without inferred types.
std::string Outcome(const std::string& body, const std::vector<Tensor>& inputs = {},
                    const RunOptions& options = {}) {
  auto g = ir::ParseText("graph \"t\" {\n" + body + "\n}");
  if (!g.ok()) return "no graph: " + g.status().message();
  const auto show = [&](const ir::Graph& graph) {
    auto out = Evaluate(graph, inputs, options);
    if (!out.ok()) return "error: " + out.status().message();
    std::string s;
    for (const Tensor& t : *out) s += (s.empty() ? "" : " | ") + Show(t);
    return s;
  };
  const std::string plain = show(**g);
  if (ir::InferShapes(**g).ok()) {
    EXPECT_EQ(show(**g), plain) << body;
    // The text form keeps bodies.
    auto again = ir::ParseText(ir::ToText(**g));
    EXPECT_TRUE(again.ok()) << again.status().message();
    if (again.ok()) {
      EXPECT_EQ(ir::ToText(**again), ir::ToText(**g));
      EXPECT_EQ(show(**again), plain);
    }
    EXPECT_EQ(ir::ToText(*(*g)->Clone()), ir::ToText(**g));
  }
  return plain;
}

void ExpectError(const std::string& got, const std::string& part) {
  EXPECT_EQ(got.substr(0, 7), "error: ") << got;
  EXPECT_NE(got.find(part), std::string::npos) << got << "\nshould hold: " << part;
}

Tensor Int(int64_t v) { return Tensor::Scalar<int64_t>(v); }
Tensor Bool(bool v) { return Tensor::Scalar<bool>(v); }

// Doubles %v and stacks it until `until` iterations are done.
const std::string kDoubles =
    "input %n: int64[]\ninput %c: bool[]\nconst %x: float32[1] = [1]\nconst %most: int64[] = [3]\n"
    "%y, %all = Loop(%n, %c, %x, %most) {carried = 1} \"loop\" body \"body\" graph \"b\" {\n"
    "input %i: int64[]\ninput %go: bool[]\ninput %v: float32[1]\ninput %most: int64[]\n"
    "%w = Add(%v, %v)\n%more = Less(%i, %most)\noutput %more\noutput %w\noutput %v\n}\n"
    "output %y\noutput %all";

TEST(Control, LoopEndsByCountOrCondition) {
  EXPECT_EQ(Outcome(kDoubles, {Int(2), Bool(true)}), "[1]: 4 | [2, 1]: 1 2");
  EXPECT_EQ(Outcome(kDoubles, {Int(100), Bool(true)}), "[1]: 16 | [4, 1]: 1 2 4 8");
  EXPECT_EQ(Outcome(kDoubles, {Int(100), Bool(false)}), "[1]: 1 | [0, 1]:");
  EXPECT_EQ(Outcome(kDoubles, {Int(0), Bool(true)}), "[1]: 1 | [0, 1]:");
  EXPECT_EQ(Outcome(kDoubles, {Int(-5), Bool(true)}), "[1]: 1 | [0, 1]:");
}

TEST(Control, LoopWithoutEnd) {
  const std::string forever =
      "const %t: bool[] = [1]\nconst %x: float32[1000] = zeros\n%y, %s = Loop(_, %t, %x) {carried "
      "= "
      "1} \"loop\" body \"body\" graph \"b\" {\ninput %i: int64[]\ninput %go: bool[]\n"
      "input %v: float32[1000]\n%w = Add(%v, %v)\noutput %go\noutput %w\noutput %w\n}\noutput %y";
  ExpectError(Outcome(forever, {}, {.max_iterations = 1000}),
              "Loop node 'loop': loops ran more than 1000 iterations");
  ExpectError(Outcome(forever, {}, {.max_bytes = 100'000}), "memory limit of 100000 bytes");
  // Nested iterations count together.
  const std::string nested =
      "input %n: int64[]\nconst %x: float32[1] = [1]\n%y = Loop(%n, _, %x, %n) {carried = 1} body "
      "\"body\" graph \"b\" {\ninput %i: int64[]\ninput %go: bool[]\ninput %v: float32[1]\n"
      "input %n: int64[]\n%w = Loop(%n, _, %v) {carried = 1} \"inner\" body \"body\" graph \"c\" "
      "{\n"
      "input %j: int64[]\ninput %go: bool[]\ninput %u: float32[1]\nconst %k: float32[1] = [1]\n"
      "%t = Add(%u, %k)\noutput %go\noutput %t\n}\noutput %go\noutput %w\n}\noutput %y";
  EXPECT_EQ(Outcome(nested, {Int(7)}), "[1]: 50");
  ExpectError(Outcome(nested, {Int(7)}, {.max_iterations = 30}), "more than 30 iterations");
}

TEST(Control, LoopRefuses) {
  const auto loop = [](const std::string& head, const std::string& body) {
    return "input %x\n" + head +
           " \"loop\" body \"body\" graph \"b\" {\ninput %i\ninput %go\n"
           "input %v\n" +
           body + "\n}\noutput %y";
  };
  const std::string head = "const %n: int64[] = [3]\n%y = Loop(%n, _, %x) {carried = 1}";
  const Tensor x = Tensor::Vector<float>({1, 2});
  ExpectError(Outcome(loop(head, "%w = Cast(%v) {to = 7}\noutput %go\noutput %w"), {x}),
              "Loop node 'loop': carried value 0 goes in as float32[2] but the body returned "
              "int64[2]");
  ExpectError(Outcome(loop(head, "output %v\noutput %v"), {x}),
              "the condition of its body must be one bool, is float32[2]");
  ExpectError(Outcome(loop("%y = Loop(%x, _, %x) {carried = 1}", "output %go\noutput %v"), {x}),
              "its trip count must be one int64, is float32[2]");
  // Stacked slices must be alike.
  ExpectError(Outcome(loop("const %n: int64[] = [3]\n%a, %y = Loop(%n, _, %x) {carried = 1}",
                           "%w = Concat(%v, %v) {axis = 0}\noutput %go\noutput %w\noutput %v"),
                      {x}),
              "stacked output 1 is float32[4] in iteration 1 but was float32[2]");
  // Carried values may grow.
  EXPECT_EQ(Outcome(loop(head, "%w = Concat(%v, %v) {axis = 0}\noutput %go\noutput %w"), {x})
                .substr(0, 5),
            "[16]:");
  // A body that does not fit its node.
  ExpectError(Outcome(loop(head, "output %go"), {x}), "body 'body' has 1 outputs but needs 2");
  ExpectError(
      Outcome(loop("const %n: int64[] = [3]\n%y = Loop(%n) {carried = 1}", "output %go\noutput %v"),
              {x}),
      "has 1 inputs but needs 3");
  // An error inside says where.
  ExpectError(Outcome(loop(head,
                           "const %k: int64[1] = [9]\n%w = Gather(%v, %k) \"take\"\noutput "
                           "%go\noutput %w"),
                      {x}),
              "Loop node 'loop': Gather node 'take'");
}

TEST(Control, If) {
  const std::string branches =
      "input %c\ninput %x\n%y = If(%c, %x) \"if\" body \"then_branch\" graph \"t\" {\ninput %x\n"
      "%a = Add(%x, %x)\noutput %a\n}\nbody \"else_branch\" graph \"e\" {\ninput %x\n"
      "const %k: int64[1] = [0]\n%a = Unsqueeze(%x, %k)\noutput %a\n}\noutput %y";
  const Tensor x = Tensor::Vector<float>({1, 2});
  EXPECT_EQ(Outcome(branches, {Bool(true), x}), "[2]: 2 4");
  EXPECT_EQ(Outcome(branches, {Bool(false), x}), "[1, 2]: 1 2");
  EXPECT_EQ(Outcome(branches, {Tensor::Of<bool>({1}, std::array<bool, 1>{true}), x}), "[2]: 2 4");
  ExpectError(Outcome(branches, {Int(1), x}), "If node 'if': its condition must be one bool");
  ExpectError(Outcome(branches, {Tensor::Of<bool>({2}, std::array<bool, 2>{true, true}), x}),
              "its condition must be one bool, is bool[2]");
}

std::string ScanOf(const std::string& attributes) {
  return "input %x\ninput %z\nconst %s: float32[] = [0]\n%t, %y = Scan(%s, %x, %z) {carried = 1, "
         "num_scan_inputs = 2" +
         attributes +
         "} \"scan\" body \"body\" graph \"b\" {\ninput %a\n"
         "input %e\ninput %f\n%u = Sub(%e, %f)\n%m = ReduceSum(%u) {keepdims = 0}\n"
         "%n = Add(%a, %m)\noutput %n\noutput %e\n}\noutput %t\noutput %y";
}

TEST(Control, Scan) {
  const Tensor x = Tensor::Of<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6});
  const Tensor z = Tensor::Of<float>({2, 3}, std::vector<float>{0, 0, 0, 1, 1, 1});
  EXPECT_EQ(Outcome(ScanOf(""), {x, z}), "[]: 18 | [2, 3]: 1 2 3 4 5 6");
  EXPECT_EQ(Outcome(ScanOf(", scan_output_directions = [1]"), {x, z}),
            "[]: 18 | [2, 3]: 4 5 6 1 2 3");
  EXPECT_EQ(Outcome(ScanOf(", scan_input_directions = [1, 0]"), {x, z}),
            "[]: 18 | [2, 3]: 4 5 6 1 2 3");
  EXPECT_EQ(Outcome(ScanOf(", scan_input_axes = [1, -1]"), {x, z}), "[]: 18 | [3, 2]: 1 4 2 5 3 6");
  EXPECT_EQ(Outcome(ScanOf(", scan_input_axes = [1, 1], scan_output_axes = [-1]"), {x, z}),
            "[]: 18 | [2, 3]: 1 2 3 4 5 6");
  ExpectError(Outcome(ScanOf(", scan_input_axes = [0, 1]"), {x, z}),
              "Scan node 'scan': its scanned inputs have 2 and 3 slices");
  ExpectError(Outcome(ScanOf(", scan_input_axes = [0, 2]"), {x, z}), "has no axis 2");
  ExpectError(Outcome(ScanOf(", scan_input_axes = [0]"), {x, z}),
              "attribute 'scan_input_axes' has 1 elements but needs 2");
  ExpectError(Outcome(ScanOf(", scan_output_axes = [2]"), {x, z}), "along axis 2");
}

}  // namespace
}  // namespace slipway::interp
