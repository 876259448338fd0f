// What the operators on sequences and optionals do, and what they refuse.

#include <gtest/gtest.h>

#include "model/interp/interpreter.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"

namespace slipway::interp {
namespace {

using ir::Container;
using ir::Tensor;

// "[1, 2] [3]" for a sequence, "none" for an empty optional.
std::string Show(const Tensor& t) {
  if (t.container() == Container::kSequence) {
    std::string s = "{";
    for (const Tensor& i : t.items()) s += (s.size() > 1 ? " " : "") + Show(i);
    return s + "}";
  }
  if (t.is_container()) return t.items().empty() ? "none" : "some " + Show(t.items()[0]);
  std::string s = t.dims().ToString() + ":";
  for (double d : t.ToDoubles()) s += " " + std::to_string(static_cast<int64_t>(d));
  return s;
}

// What %y is, or the error.
std::string Outcome(const std::string& body, const std::vector<Tensor>& inputs = {},
                    const RunOptions& options = {}) {
  auto g = ir::ParseText("graph \"t\" {\n" + body + "\noutput %y\n}");
  if (!g.ok()) return "no graph: " + g.status().message();
  auto plain = Evaluate(**g, inputs, options);  // without types
  if (Status s = ir::InferShapes(**g); s.ok()) {
    auto typed = Evaluate(**g, inputs, options);
    EXPECT_EQ(plain.ok(), typed.ok()) << body;
    if (plain.ok() && typed.ok()) {
      EXPECT_EQ(Show((*plain)[0]), Show((*typed)[0]));
      const ir::Type& type = (*g)->FindValue("y")->type();
      EXPECT_EQ(type.container, (*typed)[0].container()) << type.ToString();
      EXPECT_EQ(type.dtype, (*typed)[0].dtype());
    }
  }
  return plain.ok() ? Show((*plain)[0]) : "error: " + plain.status().message();
}

void ExpectError(const std::string& got, const std::string& part) {
  EXPECT_EQ(got.substr(0, 7), "error: ") << got;
  EXPECT_NE(got.find(part), std::string::npos) << got << "\nshould hold: " << part;
}

const std::string kThree =
    "const %a: float32[1] = [1]\nconst %b: float32[2] = [2, 3]\nconst %c: float32[1] = [4]\n"
    "input %i: int64[]\n%s = SequenceConstruct(%a, %b, %c)\n";
std::vector<Tensor> At(int64_t i) { return {Tensor::Scalar<int64_t>(i)}; }

TEST(Sequence, Edits) {
  EXPECT_EQ(Outcome(kThree + "%y = Identity(%s)", At(0)), "{[1]: 1 [2]: 2 3 [1]: 4}");
  EXPECT_EQ(Outcome(kThree + "%y = SequenceAt(%s, %i)", At(1)), "[2]: 2 3");
  EXPECT_EQ(Outcome(kThree + "%y = SequenceAt(%s, %i)", At(-3)), "[1]: 1");
  ExpectError(Outcome(kThree + "%y = SequenceAt(%s, %i) \"at\"", At(3)),
              "SequenceAt node 'at': position 3 is outside of a sequence of 3 tensors");
  ExpectError(Outcome(kThree + "%y = SequenceAt(%s, %i)", At(INT64_MIN)), "is outside");
  EXPECT_EQ(Outcome(kThree + "%y = SequenceErase(%s, %i)", At(1)), "{[1]: 1 [1]: 4}");
  EXPECT_EQ(Outcome(kThree + "%y = SequenceErase(%s)", At(0)), "{[1]: 1 [2]: 2 3}");
  ExpectError(Outcome(kThree + "%y = SequenceErase(%s, %i)", At(-4)), "position -4");
  EXPECT_EQ(Outcome(kThree + "%y = SequenceInsert(%s, %a, %i)", At(0)),
            "{[1]: 1 [1]: 1 [2]: 2 3 [1]: 4}");
  EXPECT_EQ(Outcome(kThree + "%y = SequenceInsert(%s, %a, %i)", At(3)),
            "{[1]: 1 [2]: 2 3 [1]: 4 [1]: 1}");
  EXPECT_EQ(Outcome(kThree + "%y = SequenceInsert(%s, %a, %i)", At(-1)),
            "{[1]: 1 [2]: 2 3 [1]: 1 [1]: 4}");
  ExpectError(Outcome(kThree + "%y = SequenceInsert(%s, %a, %i)", At(4)), "position 4");
  EXPECT_EQ(Outcome(kThree + "%y = SequenceLength(%s)", At(0)), "[]: 3");
  EXPECT_EQ(Outcome("%e = SequenceEmpty() {dtype = 7}\n%y = SequenceLength(%e)"), "[]: 0");
  ExpectError(Outcome("%e = SequenceEmpty()\n%y = SequenceErase(%e)"), "holds no tensor");
  // The positions may be int32.
  EXPECT_EQ(Outcome(kThree + "const %k: int32[1] = [2]\n%y = SequenceAt(%s, %k)", At(0)), "[1]: 4");
  ExpectError(Outcome(kThree + "const %k: int64[2] = [2, 2]\n%y = SequenceAt(%s, %k)", At(0)),
              "position must be one integer");
}

TEST(Sequence, WrongKinds) {
  ExpectError(Outcome(kThree + "%y = SequenceInsert(%s, %i)", At(0)), "cannot hold int64");
  ExpectError(Outcome(kThree + "%y = SequenceInsert(%s, %s)", At(0)), "must be a tensor");
  ExpectError(Outcome(kThree + "%y = SequenceAt(%a, %i)", At(0)), "must be a sequence");
  ExpectError(Outcome(kThree + "%y = Relu(%s) \"r\"", At(0)),
              "Relu node 'r': input 0 is seq(float32[?]); the operator takes tensors only");
  ExpectError(Outcome(kThree + "%y = SequenceConstruct(%a, %i)", At(0)), "cannot hold int64");
}

TEST(Sequence, Split) {
  const std::string x = "const %x: float32[2, 5] = iota\ninput %k\n";
  const auto by = [&](const Tensor& k, const std::string& more) {
    return Outcome(x + "%y = SplitToSequence(%x, %k) {axis = 1" + more + "}", {k});
  };
  EXPECT_EQ(by(Tensor::Scalar<int64_t>(2), ""), "{[2, 2]: 0 1 5 6 [2, 2]: 2 3 7 8 [2, 1]: 4 9}");
  EXPECT_EQ(by(Tensor::Scalar<int32_t>(9), ""), "{[2, 5]: 0 1 2 3 4 5 6 7 8 9}");
  EXPECT_EQ(by(Tensor::Vector<int64_t>({1, 0, 4}), ", keepdims = 0"),
            "{[2, 1]: 0 5 [2, 0]: [2, 4]: 1 2 3 4 6 7 8 9}");
  ExpectError(by(Tensor::Vector<int64_t>({1, 3}), ""), "add up to 4 but the axis has 5");
  ExpectError(by(Tensor::Vector<int64_t>({-1, 6}), ""), "size -1");
  ExpectError(by(Tensor::Vector<int64_t>({INT64_MAX, INT64_MAX}), ""), "impossible");
  ExpectError(by(Tensor::Scalar<int64_t>(0), ""), "size 0");
  ExpectError(by(Tensor::Scalar<float>(1), ""), "integers");
  EXPECT_EQ(Outcome("const %x: float32[2, 3] = iota\n%y = SplitToSequence(%x) {keepdims = 0}"),
            "{[3]: 0 1 2 [3]: 3 4 5}");
  EXPECT_EQ(Outcome("const %x: float32[2, 3] = iota\n%y = SplitToSequence(%x) {axis = -1}"),
            "{[2, 1]: 0 3 [2, 1]: 1 4 [2, 1]: 2 5}");
  ExpectError(Outcome("const %x: float32[2, 3] = iota\n%y = SplitToSequence(%x) {axis = 2}"),
              "axis 2");
  // Extents without bytes make no endless sequence.
  ExpectError(Outcome("const %x: float32[2000000, 0] = zeros\n%y = SplitToSequence(%x)"),
              "a sequence holds at most");
}

TEST(Sequence, Concat) {
  EXPECT_EQ(Outcome(kThree + "%y = ConcatFromSequence(%s) {axis = 0}", At(0)), "[4]: 1 2 3 4");
  const std::string two =
      "const %a: float32[1, 2] = [1, 2]\nconst %b: float32[1, 2] = [3, 4]\n"
      "%s = SequenceConstruct(%a, %b)\n";
  EXPECT_EQ(Outcome(two + "%y = ConcatFromSequence(%s) {axis = -1}"), "[1, 4]: 1 2 3 4");
  EXPECT_EQ(Outcome(two + "%y = ConcatFromSequence(%s) {axis = 0, new_axis = 1}"),
            "[2, 1, 2]: 1 2 3 4");
  EXPECT_EQ(Outcome(two + "%y = ConcatFromSequence(%s) {axis = -1, new_axis = 1}"),
            "[1, 2, 2]: 1 3 2 4");
  ExpectError(
      Outcome(kThree + "%y = ConcatFromSequence(%s) {axis = 0, new_axis = 1} \"cat\"", At(0)),
      "'cat': tensor 1 of the sequence is float32[2], which does not fit the first");
  ExpectError(Outcome(two + "%y = ConcatFromSequence(%s) {axis = 3, new_axis = 1}"), "axis");
  ExpectError(Outcome("%e = SequenceEmpty()\n%y = ConcatFromSequence(%e) {axis = 0}"),
              "holds no tensor");
}

TEST(Sequence, Optionals) {
  const std::string x = "const %x: float32[2] = [1, 2]\n%s = SequenceConstruct(%x)\n";
  EXPECT_EQ(Outcome(x + "%y = Optional(%x)"), "some [2]: 1 2");
  EXPECT_EQ(Outcome(x + "%o = Optional(%s)\n%y = OptionalGetElement(%o)"), "{[2]: 1 2}");
  EXPECT_EQ(Outcome("%y = Optional() {type = \"seq(float32[?])\"}"), "none");
  EXPECT_EQ(Outcome("%o = Optional() {type = \"float32[?]\"}\n%y = OptionalHasElement(%o)"),
            "[]: 0");
  EXPECT_EQ(Outcome(x + "%o = Optional(%x)\n%y = OptionalHasElement(%o)"), "[]: 1");
  EXPECT_EQ(Outcome(x + "%y = OptionalHasElement(%s)"), "[]: 1");
  EXPECT_EQ(Outcome("%y = OptionalHasElement()"), "[]: 0");
  EXPECT_EQ(Outcome(x + "%y = OptionalGetElement(%x)"), "[2]: 1 2");
  ExpectError(
      Outcome("%o = Optional() {type = \"float32[?]\"}\n%y = OptionalGetElement(%o) \"get\""),
      "'get': its input is an empty optional of float32");
  ExpectError(Outcome("%y = Optional() {type = \"nonsense\"}"), "attribute 'type'");
}

const char kAppend[] =
    "input %n: int64[]\nconst %x: float32[1] = [7]\n%s = SequenceEmpty()\n"
    "%y = Loop(%n, _, %s, %x) {carried = 1} body \"body\" graph \"b\" {\n"
    "input %i: int64[]\ninput %c: bool[]\ninput %q\ninput %z\n%f = Cast(%i) {to = 1}\n"
    "%w = Add(%z, %f)\n%r = SequenceInsert(%q, %w)\noutput %c\noutput %r\n}";

TEST(Sequence, InLoops) {
  EXPECT_EQ(Outcome(kAppend, At(3)), "{[1]: 7 [1]: 8 [1]: 9}");
  EXPECT_EQ(Outcome(kAppend, At(0)), "{}");
  // Time is bounded though each iteration is cheap.
  RunOptions options;
  options.max_iterations = 100'000;
  ExpectError(Outcome(kAppend, At(50'000), options), "too many tensors were moved");
  options.max_bytes = 1000;
  ExpectError(Outcome(kAppend, At(500), options), "exceeds the memory limit of 1000 bytes");
}

TEST(Sequence, OptionalComesBackAsItsElement) {
  const std::string loop =
      "input %o: optional(float32[1])\ninput %n: int64[]\n"
      "%y = Loop(%n, _, %o) {carried = 1} body \"body\" graph \"b\" {\n"
      "input %i: int64[]\ninput %c: bool[]\ninput %q\n%h = OptionalHasElement(%q)\n"
      "%r = If(%h, %q) body \"then_branch\" graph \"t\" {\ninput %u\n%e = OptionalGetElement(%u)\n"
      "%d = Add(%e, %e)\noutput %d\n}\nbody \"else_branch\" graph \"e\" {\ninput %u\n"
      "const %k: float32[1] = [3]\noutput %k\n}\noutput %c\noutput %r\n}";
  const Tensor none = Tensor::NoOptional(DType::kFloat32, Container::kOptional);
  const Tensor some = Tensor::Optional(Tensor::Vector<float>({1}));
  EXPECT_EQ(Outcome(loop, {none, Tensor::Scalar<int64_t>(3)}), "[1]: 12");
  EXPECT_EQ(Outcome(loop, {some, Tensor::Scalar<int64_t>(3)}), "[1]: 8");
}

TEST(Sequence, Inputs) {
  const std::string g = "input %s: seq(float32[N, 2])\ninput %x: float32[N]\n%y = Identity(%s)";
  const auto pair = [](int64_t rows) {
    return Tensor::Of<float>({rows, 2}, std::vector<float>(static_cast<size_t>(rows) * 2, 1.0f));
  };
  auto sequence = Tensor::Sequence(DType::kFloat32, {pair(1), pair(1)});
  auto other = Tensor::Sequence(DType::kFloat32, {pair(1), pair(2)});
  const Tensor x = Tensor::Vector<float>({1});
  EXPECT_EQ(Outcome(g, {*sequence, x}), "{[1, 2]: 1 1 [1, 2]: 1 1}");
  ExpectError(
      Outcome(g, {*other, x}),
      "input 's' expects seq(float32[N, 2]), given a sequence of 2 float32 tensors: a tensor "
      "in it is float32[2, 2]");
  ExpectError(Outcome(g, {pair(1), x}), "one is a sequence");
  ExpectError(Outcome(g, {*sequence, *sequence}), "one is a sequence");
  // A symbol that no tensor has may differ from tensor to tensor.
  EXPECT_EQ(Outcome("input %s: seq(float32[N, 2])\n%y = Identity(%s)", {*other}),
            "{[1, 2]: 1 1 [2, 2]: 1 1 1 1}");
}

TEST(Sequence, ControlFlowRefuses) {
  auto s = Tensor::Sequence(DType::kFloat32, {Tensor::Scalar(1.0f)});
  const std::string scan =
      "input %s\n%y = Scan(%s) {carried = 0, num_scan_inputs = 1} body \"body\" graph \"b\" {\n"
      "input %x\noutput %x\n}";
  ExpectError(Outcome(scan, {*s}), "must be a tensor");
  const std::string branch =
      "input %s\n%y = If(%s) body \"then_branch\" graph \"t\" {\nconst %k: float32[] = [1]\n"
      "output %k\n}\nbody \"else_branch\" graph \"e\" {\nconst %k: float32[] = [2]\noutput %k\n}";
  ExpectError(Outcome(branch, {*s}), "condition must be one bool");
  const std::string stacked =
      "input %s\nconst %n: int64[] = [2]\n%y = Loop(%n, _, %s) {carried = 0} body \"body\" graph "
      "\"b\" {\ninput %i\ninput %c\ninput %q\noutput %c\noutput %q\n}";
  ExpectError(Outcome(stacked, {*s}), "only tensors can be stacked");
}

}  // namespace
}  // namespace slipway::interp
