// Types of sequences and optionals: text form, inference, what is refused.

#include <gtest/gtest.h>

#include "model/ir/infer.h"
#include "model/ir/stats.h"
#include "model/ir/text.h"
#include "model/ir/verify.h"

namespace slipway::ir {
namespace {

std::unique_ptr<Graph> Parse(const std::string& body) {
  auto g = ParseText("graph \"t\" {\n" + body + "\n}");
  EXPECT_TRUE(g.ok()) << g.status().message() << "\n" << body;
  return g.ok() ? std::move(*g) : nullptr;
}

// The type of %y after inference, or the error.
std::string Infer(const std::string& body) {
  auto g = Parse(body);
  if (!g) return "no graph";
  Status s = InferShapes(*g);
  if (!s.ok()) return "error: " + s.message();
  s = Verify(*g);
  if (!s.ok()) return "error: " + s.message();
  const Value* y = g->FindValue("y");
  return y ? y->type().ToString() : "no y";
}

void ExpectError(const std::string& body, const std::string& part) {
  const std::string got = Infer(body);
  EXPECT_EQ(got.substr(0, 7), "error: ") << got << "\n" << body;
  EXPECT_NE(got.find(part), std::string::npos) << got << "\nshould hold: " << part;
}

TEST(ContainerType, TextForm) {
  for (const char* text : {"float32[N, 3]", "float32[]", "seq(float32[N, 3])", "seq(int64[?])",
                           "optional(float16[2])", "optional(seq(bool[]))"}) {
    auto type = ParseTypeText(text);
    ASSERT_TRUE(type.ok()) << text << ": " << type.status().message();
    EXPECT_EQ(type->ToString(), text);
  }
  for (const char* text :
       {"seq(seq(float32[?]))", "seq(optional(float32[?]))", "optional(optional(float32[]))",
        "seq(float32[?]", "seq()", "seq(undefined[?])", "optional(float32[?]))", "seq float32[]"}) {
    EXPECT_FALSE(ParseTypeText(text).ok()) << text;
  }
  const std::string graph =
      "graph \"t\" {\n"
      "  input %s: seq(float32[N, 3])\n"
      "  input %o: optional(seq(float32[?]))\n"
      "  %n: int64[] = SequenceLength(%s) \"n\"\n"
      "  %q: optional(int64[2]) = Optional() {type = \"int64[2]\"} \"q\"\n"
      "  output %n\n"
      "  output %q\n"
      "}\n";
  auto g = ParseText(graph);
  ASSERT_TRUE(g.ok()) << g.status().message();
  EXPECT_EQ(ToText(**g), graph);
  EXPECT_EQ(ToText(*(*g)->Clone()), graph);
}

TEST(ContainerType, ConstantsAreTensors) {
  EXPECT_FALSE(ParseText("graph \"t\" {\n const %c: seq(float32[2]) = zeros\n}").ok());
  Graph g;
  auto sequence = Tensor::Sequence(DType::kFloat32, {Tensor::Scalar(1.0f)});
  ASSERT_TRUE(sequence.ok());
  g.AddOutput(g.AddConstant("c", *sequence));
  const Status s = Verify(g);
  EXPECT_NE(s.message().find("a sequence of 1 float32 tensors; constants are tensors"),
            std::string::npos)
      << s.message();
}

TEST(ContainerType, IsNeverTakenForATensor) {
  const Type sequence{DType::kFloat32, SymShape{2, 3}, Container::kSequence};
  EXPECT_FALSE(sequence.known());
  EXPECT_FALSE(sequence.IsStatic());
  EXPECT_FALSE(sequence.StaticDims().has_value());
  EXPECT_TRUE(sequence.Element().known());
  const Type optional{DType::kFloat32, SymShape{}, Container::kOptionalSequence};
  EXPECT_EQ(optional.Element().ToString(), "seq(float32[])");
  // The structure tells them apart.
  auto a = Parse("input %x: float32[2]\n%y = Identity(%x)\noutput %y");
  auto b = Parse("input %x: seq(float32[2])\n%y = Identity(%x)\noutput %y");
  ASSERT_TRUE(InferShapes(*a).ok() && InferShapes(*b).ok());
  EXPECT_NE(StructureHash(*a, true), StructureHash(*b, true));
  EXPECT_NE(StructureHash(*a, false), StructureHash(*b, false));
}

TEST(ContainerTensor, HoldsTensors) {
  const Tensor one = Tensor::Vector<float>({1, 2}), two = Tensor::Vector<float>({3});
  auto s = Tensor::Sequence(DType::kFloat32, {one, two});
  ASSERT_TRUE(s.ok());
  EXPECT_TRUE(s->present() && s->is_container());
  EXPECT_EQ(s->items().size(), 2u);
  EXPECT_EQ(s->count(), 0);
  EXPECT_TRUE(s->bytes().empty() && s->ToDoubles().empty());
  EXPECT_EQ(s->TotalBytes(), 12);
  EXPECT_EQ(s->Describe(), "a sequence of 2 float32 tensors");
  EXPECT_FALSE(Tensor::Sequence(DType::kInt64, {one}).ok());
  EXPECT_FALSE(Tensor::Sequence(DType::kFloat32, {*s}).ok());
  EXPECT_FALSE(Tensor::Sequence(DType::kFloat32, {Tensor()}).ok());
  EXPECT_FALSE(Tensor::Sequence(DType::kString, {}).ok());
  const Tensor o = Tensor::Optional(*s);
  EXPECT_EQ(o.container(), Container::kOptionalSequence);
  EXPECT_EQ(o.items()[0].items().size(), 2u);
  EXPECT_EQ(o.TotalBytes(), 12);
  EXPECT_FALSE(Tensor::Optional(o).present());
  const Tensor none = Tensor::NoOptional(DType::kFloat32, Container::kOptional);
  EXPECT_TRUE(none.present() && none.items().empty());
  EXPECT_EQ(none.Describe(), "an empty optional of float32");
  std::vector<Tensor> many(kMaxSequence + 1, Tensor::Scalar(1.0f));
  EXPECT_EQ(Tensor::Sequence(DType::kFloat32, std::move(many)).status().code(),
            StatusCode::kResourceExhausted);
}

TEST(InferSequence, Make) {
  EXPECT_EQ(Infer("%y = SequenceEmpty()"), "seq(float32[?])");
  EXPECT_EQ(Infer("%y = SequenceEmpty() {dtype = 7}"), "seq(int64[?])");
  ExpectError("%y = SequenceEmpty() {dtype = 8}", "strings");
  ExpectError("%y = SequenceEmpty() {dtype = 99}", "dtype = 99");
  const std::string xs = "input %a: float32[N, 3]\ninput %b: float32[N, 4]\ninput %i: int64[]\n";
  EXPECT_EQ(Infer(xs + "%y = SequenceConstruct(%a, %a)"), "seq(float32[N, 3])");
  EXPECT_EQ(Infer(xs + "%y = SequenceConstruct(%a, %b)"), "seq(float32[N, _u0])");
  EXPECT_EQ(Infer(xs + "input %c: float32[]\n%y = SequenceConstruct(%a, %c)"), "seq(float32[?])");
  ExpectError(xs + "%y = SequenceConstruct(%a, %i)",
              "input 1 is int64 but the sequence is of float32");
  ExpectError(xs + "%s = SequenceConstruct(%a)\n%y = SequenceConstruct(%s)", "must be a tensor");
}

TEST(InferSequence, Change) {
  const std::string s =
      "input %a: float32[N, 3]\ninput %b: float32[N, 4]\ninput %i: int64[]\n"
      "%e = SequenceEmpty()\n%s = SequenceInsert(%e, %a)\n";
  EXPECT_EQ(Infer(s + "%y = Identity(%s)"), "seq(float32[N, 3])");
  EXPECT_EQ(Infer(s + "%y = SequenceInsert(%s, %b, %i)"), "seq(float32[N, _u0])");
  EXPECT_EQ(Infer(s + "%y = SequenceErase(%s)"), "seq(float32[N, 3])");
  EXPECT_EQ(Infer(s + "%y = SequenceAt(%s, %i)"), "float32[N, 3]");
  // What differs gets a new size each time.
  EXPECT_EQ(Infer(s + "%t = SequenceInsert(%s, %b)\n%p = SequenceAt(%t, %i)\n"
                      "%q = SequenceAt(%t, %i)\n%y = Concat(%p, %q) {axis = 1}"),
            "float32[N, _u1 + _u2]");
  ExpectError(s + "%y = SequenceErase(%e)", "holds no tensor");
  ExpectError(s + "const %k: int64[] = [1]\n%y = SequenceAt(%s, %k)",
              "position 1 is outside of a sequence of 1 tensors");
  ExpectError(s + "const %k: int64[] = [-2]\n%y = SequenceErase(%s, %k)", "position -2");
  ExpectError(s + "const %k: int64[] = [3]\n%y = SequenceInsert(%s, %a, %k)", "position 3");
  ExpectError(s + "const %k: float32[] = [0]\n%y = SequenceAt(%s, %k)", "position");
  ExpectError(s + "%y = SequenceInsert(%s, %i)", "float32");
  ExpectError(s + "%y = SequenceInsert(%a, %b)", "input 0 is float32[N, 3] but must be a sequence");
  ExpectError(s + "%y = SequenceInsert(%s, %s)", "must be a tensor");
}

TEST(InferSequence, Length) {
  const std::string s = "input %a: float32[2, 3]\n%s = SequenceConstruct(%a, %a, %a)\n";
  // The length is followed into shapes.
  EXPECT_EQ(Infer(s + "%t = SequenceErase(%s)\n%n = SequenceLength(%t)\n"
                      "const %z: int64[1] = [0]\n%m = Unsqueeze(%n, %z)\n"
                      "%y = ConstantOfShape(%m)"),
            "float32[2]");
  EXPECT_EQ(Infer("input %x: float32[N, 3]\n%s = SplitToSequence(%x)\n%n = SequenceLength(%s)\n"
                  "const %z: int64[1] = [0]\n%m = Unsqueeze(%n, %z)\n%y = ConstantOfShape(%m)"),
            "float32[N]");
  ExpectError("input %x: float32[N, 3]\n%y = SequenceLength(%x)", "must be a sequence");
}

TEST(InferSequence, Split) {
  const std::string x = "input %x: float32[N, 7]\n";
  EXPECT_EQ(Infer(x + "%y = SplitToSequence(%x) {axis = 1}"), "seq(float32[N, 1])");
  EXPECT_EQ(Infer(x + "%y = SplitToSequence(%x) {axis = -1, keepdims = 0}"), "seq(float32[N])");
  const auto with = [&](const std::string& split, const std::string& axis) {
    return x + "const %k: int64" + split + "\n%y = SplitToSequence(%x, %k) {axis = " + axis + "}";
  };
  EXPECT_EQ(Infer(with("[] = [7]", "1")), "seq(float32[N, 7])");
  EXPECT_EQ(Infer(with("[] = [3]", "1")), "seq(float32[N, _u0])");
  EXPECT_EQ(Infer(with("[] = [1]", "0")), "seq(float32[1, 7])");
  EXPECT_EQ(Infer(with("[2] = [3, 4]", "1")), "seq(float32[N, _u0])");
  EXPECT_EQ(Infer(with("[1] = [7]", "1")), "seq(float32[N, 7])");
  ExpectError(with("[2] = [3, 5]", "1"), "add up to 8 but the axis has 7");
  ExpectError(with("[2] = [-1, 8]", "1"), "split = -1");
  ExpectError(with("[] = [0]", "1"), "split = 0");
  ExpectError(with("[1] = [7]", "2"), "axis");
  ExpectError(x + "%y = SplitToSequence(%x) {keepdims = 2}", "keepdims = 2");
}

TEST(InferSequence, Concat) {
  const std::string s =
      "input %a: float32[N, 3]\ninput %b: float32[M, 3]\n%s = SequenceConstruct(%a, %a)\n"
      "%t = SequenceConstruct(%a, %b)\ninput %u: seq(float32[K, 3])\n";
  EXPECT_EQ(Infer(s + "%y = ConcatFromSequence(%s) {axis = 0}"), "float32[2*N, 3]");
  EXPECT_EQ(Infer(s + "%y = ConcatFromSequence(%s) {axis = -1, new_axis = 1}"), "float32[N, 3, 2]");
  EXPECT_EQ(Infer(s + "%y = ConcatFromSequence(%t) {axis = 1}"), "float32[_u1, 6]");
  EXPECT_EQ(Infer(s + "%y = ConcatFromSequence(%u) {axis = 0}"), "float32[_u2, 3]");
  ExpectError(s + "%y = ConcatFromSequence(%s) {axis = 2}", "axis");
  ExpectError(s + "%y = ConcatFromSequence(%s) {axis = 0, new_axis = 2}", "new_axis = 2");
  ExpectError("%e = SequenceEmpty()\n%y = ConcatFromSequence(%e) {axis = 0}", "holds no tensor");
}

TEST(InferSequence, Optionals) {
  const std::string x = "input %x: float32[N]\ninput %s: seq(float32[K])\n";
  EXPECT_EQ(Infer(x + "%y = Optional(%x)"), "optional(float32[N])");
  EXPECT_EQ(Infer(x + "%y = Optional(%s)"), "optional(seq(float32[K]))");
  EXPECT_EQ(Infer("%y = Optional() {type = \"seq(int64[?])\"}"), "optional(seq(int64[?]))");
  EXPECT_EQ(Infer(x + "%o = Optional(%x)\n%y = OptionalGetElement(%o)"), "float32[N]");
  EXPECT_EQ(Infer(x + "%o = Optional(%s)\n%y = OptionalGetElement(%o)"), "seq(float32[K])");
  EXPECT_EQ(Infer(x + "%y = OptionalGetElement(%x)"), "float32[N]");
  EXPECT_EQ(Infer(x + "%y = OptionalGetElement(%s)"), "seq(float32[K])");
  EXPECT_EQ(Infer(x + "%o = Optional(%s)\n%y = OptionalHasElement(%o)"), "bool[]");
  EXPECT_EQ(Infer("%y = OptionalHasElement()"), "bool[]");
  ExpectError(x + "%o = Optional(%x)\n%y = Optional(%o)", "cannot hold optional(float32[N])");
  ExpectError("%y = Optional()", "neither an input nor a type");
  ExpectError("%y = Optional() {type = \"seq(seq(int64[?]))\"}", "attribute 'type'");
}

TEST(InferSequence, OtherOperatorsRefuse) {
  ExpectError("input %s: seq(float32[2])\n%y = Relu(%s) \"r\"",
              "Relu node 'r': input 0 is seq(float32[2]); the operator takes tensors only");
  ExpectError("input %x: float32[2]\ninput %o: optional(float32[2])\n%y = Add(%x, %o) \"a\"",
              "Add node 'a': input 1 is optional(float32[2])");
  ExpectError("input %s: seq(float32[2])\n%y: float32[2] = Identity(%s)", "is declared as");
}

const std::string kBodies =
    "body \"then_branch\" graph \"t\" { input %a: float32[N, 3] %t = SequenceConstruct(%a) "
    "output %t }\n";

TEST(InferSequence, Branches) {
  const std::string x = "input %c: bool[]\ninput %x: float32[N, 3]\n";
  EXPECT_EQ(Infer(x + "%y = If(%c, %x) " + kBodies +
                  "body \"else_branch\" graph \"e\" { input %b: float32[N, 3] %e = "
                  "SequenceConstruct(%b, %b) output %e }"),
            "seq(float32[N, 3])");
  EXPECT_EQ(
      Infer(x + "%y = If(%c, %x) " + kBodies +
            "body \"else_branch\" graph \"e\" { input %b: float32[N, 3] %f = Flatten(%b) {axis "
            "= 0} %e = SequenceConstruct(%f) output %e }"),
      "seq(float32[_u2, _u3])");
  ExpectError(x + "%y = If(%c, %x) " + kBodies +
                  "body \"else_branch\" graph \"e\" { input %b: float32[N, 3] %e = Identity(%b) "
                  "output %e }",
              "is seq(float32[N, 3]) from one branch and float32[N, 3] from the other");
  // A rank that differs leaves none.
  EXPECT_EQ(
      Infer(x + "%y = If(%c, %x) body \"then_branch\" graph \"t\" { input %a: float32[N, 3] "
                "%t = Identity(%a) output %t }\n"
                "body \"else_branch\" graph \"e\" { input %b: float32[N, 3] const %k: int64[1] "
                "= [0] %e = Unsqueeze(%b, %k) output %e }"),
      "float32[?]");
}

std::string LoopOf(const std::string& init, const std::string& body) {
  return "input %x: float32[N, 3]\nconst %n: int64[] = [4]\n" + init +
         "\n%y = Loop(%n, _, %s, %x) {carried = 1} body \"body\" graph \"b\" {\n"
         "input %i: int64[]\ninput %c: bool[]\ninput %q\ninput %z\n" +
         body + "\noutput %c\noutput %r\n}";
}

TEST(InferSequence, Loops) {
  const std::string append = "%r = SequenceInsert(%q, %z)";
  EXPECT_EQ(Infer(LoopOf("%s = SequenceEmpty()", append)), "seq(float32[N, 3])");
  EXPECT_EQ(Infer(LoopOf("%s = SequenceConstruct(%x)", append)), "seq(float32[N, 3])");
  // The tensors grow from iteration to iteration.
  EXPECT_EQ(Infer(LoopOf("%s = SequenceConstruct(%x)",
                         "const %m: int64[] = [-1]\n%l = SequenceAt(%q, %m)\n"
                         "%w = Concat(%l, %z) {axis = 0}\n%r = SequenceInsert(%q, %w)")),
            "seq(float32[_u4, 3])");
  // The length of the first iteration is not that of the second.
  EXPECT_EQ(Infer(LoopOf("%s = SequenceEmpty()",
                         "const %k: int64[1] = [0]\n%l = SequenceLength(%q)\n"
                         "%m = Unsqueeze(%l, %k)\n%w = ConstantOfShape(%m)\n"
                         "%r = SequenceInsert(%q, %w)"))
                .substr(0, 13),
            "seq(float32[_");
  // One that never gets a tensor is still empty behind the loop.
  EXPECT_EQ(Infer(LoopOf("%s = SequenceEmpty()",
                         "%t = SequenceInsert(%q, %z)\n%u = SequenceErase(%t)\n%r = Identity(%q)") +
                  "\n%p = SequenceInsert(%y, %x)")
                .substr(0, 4),
            "seq(");
  auto never =
      Parse(LoopOf("%s = SequenceEmpty()", "%r = Identity(%q)") + "\n%p = SequenceInsert(%y, %x)");
  ASSERT_TRUE(InferShapes(*never).ok());
  EXPECT_EQ(never->FindValue("p")->type().ToString(), "seq(float32[N, 3])");
  ExpectError(LoopOf("%s = SequenceEmpty()", "%r = Identity(%z)"),
              "goes in as seq(float32[?]) but the body returns float32[N, 3]");
  ExpectError(
      "input %s: seq(float32[2])\n%a, %y = Loop(_, _, %s) {carried = 1} body \"body\" graph "
      "\"b\" { input %i: int64[] input %c: bool[] input %q output %c output %q output %q }",
      "only tensors can be stacked");
  // An optional may come back as its element.
  EXPECT_EQ(
      Infer("input %s: optional(float32[2])\n%y = Loop(_, _, %s) {carried = 1} body \"body\" "
            "graph \"b\" { input %i: int64[] input %c: bool[] input %q const %k: float32[2] = "
            "[1, 2] %h = OptionalHasElement(%q) output %c output %k }"),
      "float32[2]");
}

TEST(InferControl, CarriedShapeGrows) {
  EXPECT_EQ(Infer(LoopOf("%s = Identity(%x)", "%r = Concat(%q, %z) {axis = 1}")).substr(0, 11),
            "float32[N, ");
  EXPECT_EQ(Infer(LoopOf("%s = Identity(%x)", "const %k: int64[1] = [0]\n%r = Unsqueeze(%q, %k)")),
            "float32[?]");
  // A trip count that is a constant gives the extent of a stacked output.
  EXPECT_EQ(
      Infer("input %x: float32[N, 3]\nconst %n: int64[] = [4]\n"
            "%a, %y = Loop(%n, _, %x) {carried = 1} body \"body\" graph \"b\" {\n"
            "input %i: int64[]\ninput %c: bool[]\ninput %q\noutput %c\noutput %q\noutput %q\n}"),
      "float32[4, N, 3]");
}

}  // namespace
}  // namespace slipway::ir
