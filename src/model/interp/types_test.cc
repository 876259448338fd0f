// Every element type that ONNX's specification lists for an operator runs, and gives what float32
// gives: the inputs are small whole numbers, so that all types hold them and the results.

#include <gtest/gtest.h>

#include <cmath>

#include "model/interp/interpreter.h"
#include "model/ir/text.h"

namespace slipway::interp {
namespace {

using Types = std::vector<std::string>;

Types operator+(Types a, const Types& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

const Types kFloats{"float32", "float16", "bfloat16", "float64"};
const Types kWideSigned{"int32", "int64"}, kWideUnsigned{"uint32", "uint64"};
const Types kWide = kWideSigned + kWideUnsigned;
const Types kSmallSigned{"int8", "int16"}, kSmallUnsigned{"uint8", "uint16"};
const Types kSigned = kFloats + kWideSigned + kSmallSigned;
const Types kAll = kFloats + kWide + kSmallSigned + kSmallUnsigned;
const Types kIntegers = kWide + kSmallSigned + kSmallUnsigned;
const Types kAny = kAll + Types{"bool"};
const Types kFloat8{"float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz"};
const Types kPacked{"int4", "uint4", "int2", "uint2", "float4e2m1"};
const Types kStored = kAny + kFloat8 + kPacked;

struct Row {
  const char* body;  // makes %y of %x and %z, both T[2, 3], or of %p: T[1, 2, 3, 3]
  Types types;
};

const Row kRows[] = {
    // Elementwise
    {"%y = Abs(%x)", kAll},
    {"%y = Neg(%x)", kSigned},
    {"%y = Sign(%x)", kAll},
    {"%y = Relu(%x)", kSigned},
    {"%y = Floor(%x)", kFloats},
    {"%y = Ceil(%x)", kFloats},
    {"%y = Round(%x)", kFloats},
    {"%y = Identity(%x)", kStored},
    {"%y = Add(%x, %z)", kAll},
    {"%y = Mul(%x, %z)", kAll},
    {"%d = Add(%x, %z)\n%y = Sub(%d, %z)", kAll},
    {"%d = Mul(%x, %z)\n%y = Div(%d, %z)", kAll},
    {"%y = Mod(%x, %z)", kIntegers},
    {"%y = Mod(%x, %z) {fmod = 1}", kAll},
    {"%y = Min(%x, %z)", kAll},
    {"%y = Max(%x, %z)", kAll},
    {"%y = Sum(%x, %z, %x)", kFloats},
    {"%y = Mean(%x, %x)", kFloats},
    {"%y = Pow(%x, %z)", kFloats + kWideSigned},
    {"%y = PRelu(%x, %z)", kFloats + kWide},
    {"%y = Clip(%x)", kAll},
    {"%y = Equal(%x, %z)", kAny},
    {"%y = Less(%x, %z)", kAll},
    {"%y = LessOrEqual(%x, %z)", kAll},
    {"%y = Greater(%x, %z)", kAll},
    {"%y = GreaterOrEqual(%x, %z)", kAll},
    {"const %c: bool[3] = [1, 0, 1]\n%y = Where(%c, %x, %z)", kAny},
    {"%y = BitwiseAnd(%x, %z)", kIntegers},
    {"%y = BitwiseOr(%x, %z)", kIntegers},
    {"%y = BitwiseXor(%x, %z)", kIntegers},
    {"%y = BitShift(%x, %z) {direction = \"LEFT\"}", kWideUnsigned + kSmallUnsigned},
    // Products, pooling, reductions
    {"%t = Transpose(%z)\n%y = MatMul(%x, %t)", kFloats + kWide},
    {"%y = Gemm(%x, %z) {transB = 1}", kFloats + kWide},
    {"const %w: T[1, 2, 2, 2] = fill(1)\n%y = Conv(%p, %w)", kFloats},
    {"const %w: T[2, 1, 2, 2] = fill(1)\n%y = ConvTranspose(%p, %w) {strides = [2, 2]}", kFloats},
    {"%y = MaxPool(%p) {kernel_shape = [2, 2]}", kFloats + Types{"int8", "uint8"}},
    {"%y = AveragePool(%p) {kernel_shape = [1, 1]}", kFloats},
    {"%y = GlobalMaxPool(%p)", kFloats},
    {"%y = ReduceSum(%x)", kFloats + kWide},
    {"%y = ReduceProd(%z)", kFloats + kWide},
    {"%y = ReduceL1(%x)", kFloats + kWide},
    {"%y = ReduceSumSquare(%z)", kFloats + kWide},
    {"%y = ReduceMax(%x)", kFloats + kWide + Types{"int8", "uint8", "bool"}},
    {"%y = ReduceMin(%x)", kFloats + kWide + Types{"int8", "uint8", "bool"}},
    {"%y = ArgMax(%x) {axis = 1}", kAll},
    {"%y = ArgMin(%x) {axis = 1}", kAll},
    {"const %a: int64[] = fill(1)\n%y = CumSum(%x, %a)", kFloats + kWide},
    {"const %k: int64[1] = [2]\n%y, %i = TopK(%x, %k)", kAll},
    // Movement
    {"%y = Transpose(%x)", kStored},
    {"const %s: int64[2] = [3, 2]\n%y = Reshape(%x, %s)", kStored},
    {"%y = Flatten(%x)", kStored},
    {"const %a: int64[1] = [0]\n%y = Unsqueeze(%x, %a)", kStored},
    {"const %s: int64[4] = [1, 0, 0, 1]\n%y = Pad(%x, %s)", kStored},
    {"%y = Concat(%x, %z) {axis = 1}", kAny},
    {"%y, %r = Split(%x) {num_outputs = 2}", kAny},
    {"const %b: int64[1] = [1]\nconst %e: int64[1] = [2]\n%y = Slice(%x, %b, %e)", kAny},
    {"const %s: int64[3] = [2, 2, 3]\n%y = Expand(%x, %s)", kAny},
    {"const %s: int64[2] = [2, 1]\n%y = Tile(%x, %s)", kAny},
    {"const %i: int64[2] = [1, 0]\n%y = Gather(%x, %i)", kAny},
    {"const %i: int64[2, 1] = [1, 0]\n%y = GatherElements(%x, %i) {axis = 1}", kAny},
    {"const %i: int64[1, 2] = [1, 0]\n%y = GatherND(%x, %i)", kAny},
    {"%y = Trilu(%x)", kAny},
    {"const %a: T[] = fill(1)\nconst %b: T[] = fill(5)\n%y = Range(%a, %b, %a)",
     Types{"float32", "float64", "int16", "int32", "int64"}},
    {"%y = Shape(%x)", kStored},
};

std::string Replace(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

// The result as numbers; the failure otherwise. Types that hold only few values get zeros and ones.
Result<std::vector<double>> Evaluate(const Row& row, const std::string& type, bool tiny) {
  std::string text =
      std::string("const %x: T[2, 3] = ") + (tiny ? "[1, 0, 1, 1, 0, 1]" : "[1, 2, 3, 4, 5, 6]") +
      "\nconst %z: T[2, 3] = " + (tiny ? "[1, 1, 0, 1, 0, 0]" : "[1, 2, 1, 3, 2, 1]") +
      "\nconst %p: T[1, 2, 3, 3] = "
      "[1, 2, 3, 4, 3, 2, 1, 2, 3, 4, 5, 4, 3, 2, 1, 1, 2, 3]\n" +
      row.body;
  if (tiny) text = Replace(text, "[1, 2, 3, 4, 3, 2, 1, 2, 3, 4, 5, 4, 3, 2, 1, 1, 2, 3]", "zeros");
  text = "graph \"g\" {\n" + Replace(text, ": T", ": " + type) + "\noutput %y\n}\n";
  SLIPWAY_ASSIGN_OR_RETURN(auto graph, ir::ParseText(text));
  SLIPWAY_ASSIGN_OR_RETURN(auto out, interp::Evaluate(*graph, {}));
  return out[0].ToDoubles();
}

TEST(ElementTypes, EveryListedTypeRunsAndAgreesWithTheFirst) {
  for (const Row& row : kRows) {
    for (const std::string& type : row.types) {
      SCOPED_TRACE(std::string(row.body) + " on " + type);
      const DType t = DTypeFromName(type);
      const bool tiny =
          t == DType::kBool || DTypeBits(t) < 8 || (IsFloating(t) && DTypeBits(t) == 8);
      auto want = Evaluate(row, tiny ? "int32" : row.types.front(), tiny);
      auto got = Evaluate(row, type, tiny);
      ASSERT_TRUE(want.ok()) << want.status().ToString();
      ASSERT_TRUE(got.ok()) << got.status().ToString();
      EXPECT_FALSE(got->empty());
      EXPECT_EQ(*got, *want);
    }
  }
}

// Between any two types; 0 and 1 exist in all of them (float8e8m0 has no 0).
TEST(ElementTypes, CastBetweenAllTypes) {
  for (const std::string& from : kStored) {
    for (const std::string& to : kStored) {
      SCOPED_TRACE(from + " to " + to);
      // A signed integer of two bits holds 1 as well.
      const std::string text =
          "graph \"g\" {\nconst %x: " + from + "[5] = [1, 0, 0, 1, 1]\n%y = Cast(%x) {to = " +
          std::to_string(static_cast<int>(DTypeFromName(to))) + "}\noutput %y\n}\n";
      auto graph = ir::ParseText(text);
      ASSERT_TRUE(graph.ok()) << graph.status().ToString();
      auto out = interp::Evaluate(**graph, {});
      ASSERT_TRUE(out.ok()) << out.status().ToString();
      EXPECT_EQ((*out)[0].ToDoubles(), (std::vector<double>{1, 0, 0, 1, 1}));
    }
  }
}

// The exponent's type is its own.
TEST(ElementTypes, PowOfTwoTypes) {
  for (const std::string& base : kFloats + kWideSigned) {
    for (const std::string& exponent : kAll) {
      SCOPED_TRACE(base + " to the " + exponent);
      auto graph = ir::ParseText("graph \"g\" {\nconst %x: " + base +
                                 "[3] = [1, 2, 3]\nconst %e: " + exponent +
                                 "[3] = [3, 2, 1]\n%y = Pow(%x, %e)\noutput %y\n}\n");
      ASSERT_TRUE(graph.ok()) << graph.status().ToString();
      auto out = interp::Evaluate(**graph, {});
      ASSERT_TRUE(out.ok()) << out.status().ToString();
      EXPECT_EQ((*out)[0].ToDoubles(), (std::vector<double>{1, 4, 3}));
    }
  }
}

}  // namespace
}  // namespace slipway::interp
