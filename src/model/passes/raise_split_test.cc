#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

constexpr char kHead[] = R"(graph "g" {
  input %q: int8[4, 5, 18]
  const %s: float32[] = [0.05]
  const %z: uint8[] = [128]
  const %bq: uint8[18] = random(1)
  const %three: int64[3] = [1, 1, 1]
  const %heads: int64[5] = [4, 5, 3, 2, 3]
  const %own: int64[4] = [4, 2, 5, 3]
  const %half: float32[] = [0.5]
  %x = slipway.Dequantize(%q, %s)
  %b = slipway.Dequantize(%bq, %s, %z) {signed = 0}
  %a = Add(%b, %x)
)";

std::unique_ptr<Graph> Passed(const std::string& body, const std::vector<std::string>& passes) {
  auto before = Parse(kHead + body + "}"), after = Parse(kHead + body + "}");
  PassOptions options = Only(passes);
  options.verify_each = true;
  auto reports = RunPasses(*after, options);
  EXPECT_TRUE(reports.ok()) << reports.status().ToString();
  ExpectSameResults(*before, *after, 0);
  return after;
}
std::string Ops(const Graph& graph) {
  std::string ops;
  for (const auto& n : graph.nodes()) ops += (ops.empty() ? "" : " ") + n->op();
  return ops;
}

// Queries, keys and values as Swin takes them apart.
const std::string kSwin = R"(  %r = Reshape(%a, %heads)
  %t = Transpose(%r) {perm = [2, 0, 3, 1, 4]}
  %f, %g, %h = Split(%t, %three) {axis = 0}
  %fr = Reshape(%f, %own)
  %fm = Mul(%fr, %half)
  %fq = slipway.Quantize(%fm, %s)
  %gr = Reshape(%g, %own)
  %gq = slipway.Quantize(%gr, %s)
  %hr = Reshape(%h, %own)
  %hq = slipway.Quantize(%hr, %s, %z) {signed = 0}
  output %fq
  output %gq
  output %hq
)";

TEST(RaiseSplit, ToTheCodes) {
  const auto made = Passed(kSwin, {"raise-split", "move-quantize", "cleanup-reshape",
                                   "cleanup-transpose", "remove-dead"});
  auto counts = CountOps(*made);
  EXPECT_EQ(counts["Split"], 1);
  EXPECT_EQ(counts["Transpose"], 3);
  for (const auto& n : made->nodes()) {
    if (n->Is("Split")) {
      EXPECT_EQ(n->input(0)->name(), "q");
    }
    if (!n->Is("Transpose")) continue;
    EXPECT_EQ(n->output()->type().shape->size(), 4u);
    EXPECT_NE(n->output()->dtype(), DType::kFloat32);
  }
}

TEST(RaiseSplit, ThroughConstantsOfEachPartAndOfAll) {
  EXPECT_EQ(Ops(*Passed("  const %c: float32[4, 1, 1] = [1, 2, 3, 4]\n  %m = Mul(%a, %c)\n"
                        "  const %n: int64[2] = [7, 11]\n  %f, %g = Split(%m, %n) {axis = 2}\n"
                        "  %fq = slipway.Quantize(%f, %s)\n  %gq = Relu(%g)\n  output %fq\n"
                        "  output %gq\n",
                        {"raise-split", "remove-dead"})),
            "Dequantize Split Dequantize Add Dequantize Add Mul Mul Quantize Relu");
}

TEST(RaiseSplit, TablesBeforeTransposes) {
  EXPECT_EQ(Ops(*Passed("  const %t: int8[256] = random(3)\n  const %c: int8[4, 256] = random(4)\n"
                        "  %r = Transpose(%q) {perm = [1, 0, 2]}\n  %o = slipway.QLookup(%r, %t)\n"
                        "  output %o\n  %u = Transpose(%q) {perm = [1, 0, 2]}\n"
                        "  %v = slipway.QLookup(%u, %c) {axis = 1}\n  output %v\n",
                        {"raise-split", "remove-dead"})),
            "QLookup Transpose Transpose QLookup");
}

TEST(RaiseSplit, LeavesOtherThings) {
  const std::vector<std::string> passes = {"raise-split", "remove-dead"};
  // Somebody else reads the whole; parts across what a reshape joined; no codes above.
  EXPECT_EQ(Ops(*Passed("  const %n: int64[2] = [7, 11]\n  %f, %g = Split(%a, %n) {axis = 2}\n"
                        "  output %f\n  output %g\n  output %a\n",
                        passes)),
            "Dequantize Dequantize Add Split");
  EXPECT_EQ(Ops(*Passed("  const %n: int64[2] = [7, 11]\n  %f, %g = Split(%a, %n) {axis = 2}\n"
                        "  %o = Concat(%g, %f) {axis = 2}\n  output %o\n",
                        passes)),
            "Dequantize Dequantize Add Split Concat");
  EXPECT_EQ(Ops(*Passed("  const %j: int64[2] = [20, 18]\n  %r = Reshape(%a, %j)\n"
                        "  const %n: int64[2] = [7, 13]\n  %u, %v = Split(%r, %n) {axis = 0}\n"
                        "  %f = Neg(%u)\n  %g = Neg(%v)\n  output %f\n  output %g\n",
                        passes)),
            "Dequantize Dequantize Add Reshape Split Neg Neg");
  EXPECT_EQ(Ops(*Passed("  input %w: float32[4, 6]\n  %t = Transpose(%w)\n"
                        "  %u, %v = Split(%t) {axis = 0, num_outputs = 2}\n  %f = Neg(%u)\n"
                        "  %g = Neg(%v)\n  output %f\n  output %g\n",
                        passes)),
            "Transpose Split Neg Neg");
}

}  // namespace
}  // namespace slipway::passes
