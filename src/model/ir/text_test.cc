#include "model/ir/text.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <limits>
#include <random>

#include "model/ir/infer.h"
#include "model/ir/stats.h"
#include "model/ir/verify.h"

namespace slipway::ir {
namespace {

const char kExample[] = R"(graph "example" {
  meta "producer" = "pytorch \"2.1\"\n"
  range N = [1, 64]
  input %x: float32[N, 3, 8, 8]     // an image
  const %w: float32[4, 3, 3, 3] = random(7)
  const %b: float32[4] = [1, 2.5, -3, 1e-7]
  const %half: float16[3] = fill(0.5)
  const %odd: int4[5] = [1, -2, 7, -8, 0]
  const %big: uint64[2] = [18446744073709551615, 0]
  const %none: float32[0] = []
  const %"strange name": int64[3] = iota
  %y: float32[N, 4, 8, 8] = Conv(%x, %w, %b) {pads = [1, 1, 1, 1], auto_pad = "NOTSET"} "conv1"
  %z = slipway.Add(%y, %y) {activation = "Clip", activation_params = [0, 6]} from ["add", "clip"]
  %d, _ = Dropout(%z)
  %v, %i: int64[?] = TopK(%d, %"strange name") {axis = -1}
  %c = Clip(%v, _, %b)
  %if = vendor.x.If(%c) {empty = floats[], list = ["a", "b"], f = 1.0} "if1" body "then" graph "inner" {
    input %x: bool
    %q = Not(%x)
    output %q
  }
  output %c
  output %x
}
)";

std::string ErrorOf(const std::string& text) {
  auto g = ParseText(text);
  return g.ok() ? "no error" : g.status().message();
}

TEST(Text, RoundTrip) {
  auto g = ParseText(kExample);
  ASSERT_TRUE(g.ok()) << g.status().message();
  const std::string text = ToText(**g);
  auto again = ParseText(text);
  ASSERT_TRUE(again.ok()) << again.status().message() << "\n" << text;
  EXPECT_EQ(ToText(**again), text);
  EXPECT_EQ((*again)->metadata.at("producer"), "pytorch \"2.1\"\n");
  EXPECT_EQ((*again)->symbol_ranges.at("N"), (std::pair<int64_t, int64_t>{1, 64}));
  const Node* conv = (*again)->FindNode("conv1");
  ASSERT_NE(conv, nullptr);
  EXPECT_EQ(conv->attributes.Ints("pads").size(), 4u);
  EXPECT_EQ(conv->output()->type().ToString(), "float32[N, 4, 8, 8]");
  const Node* add = (*again)->FindValue("z")->producer();
  EXPECT_TRUE(add->IsSlipway("Add"));
  EXPECT_EQ(add->attributes.Floats("activation_params").size(),
            2u);  // integers in the text, floats by the operator table
  EXPECT_EQ(add->sources, (std::vector<std::string>{"add", "clip"}));
  const Node* vendor = (*again)->FindNode("if1");
  EXPECT_EQ(vendor->domain(), "vendor.x");
  EXPECT_EQ(vendor->subgraphs.at("then")->outputs().size(), 1u);
  EXPECT_EQ((*again)->FindValue("c")->producer()->inputs()[1], nullptr);
  EXPECT_EQ((*again)->FindValue("d")->producer()->outputs()[1], nullptr);
  for (const auto& v : (*g)->values()) {
    if (!v->is_constant()) continue;
    const Value* other = (*again)->FindValue(v->name());
    ASSERT_NE(other, nullptr);
    const auto a = v->constant()->bytes(), b = other->constant()->bytes();
    EXPECT_TRUE(a.size() == b.size() &&
                (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0))
        << v->name();
  }
  EXPECT_EQ((*g)->FindValue("half")->constant()->bytes()[1], 0x38);  // 0.5 is 0x3800
  EXPECT_EQ((*g)->FindValue("odd")->constant()->bytes()[0], 0xe1);
  EXPECT_EQ(ToText(*(*g)->Clone()), text);
}

TEST(Text, FloatsReadBackExactly) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 rng(seed);
  for (int round = 0; round < 200; ++round) {
    Graph g;
    std::vector<float> f;
    std::vector<double> d;
    for (int i = 0; i < 16; ++i) {
      const uint64_t r = rng();
      float x;
      double y;
      std::memcpy(&x, &r, 4);
      std::memcpy(&y, &r, 8);
      f.push_back(x);
      d.push_back(y);
    }
    g.AddConstant("f", Tensor::Vector(f));
    g.AddConstant("d", Tensor::Vector(d));
    auto back = ParseText(ToText(g));
    ASSERT_TRUE(back.ok()) << back.status().message();
    ASSERT_EQ(std::memcmp((*back)->FindValue("f")->constant()->bytes().data(), f.data(), 64), 0);
    ASSERT_EQ(std::memcmp((*back)->FindValue("d")->constant()->bytes().data(), d.data(), 128), 0);
  }
  Graph g;
  Value* x = g.AddInput("x", {DType::kFloat32, SymShape{}});
  for (float v : {0.1f, 1.0f, -0.0f, 1e30f, std::numeric_limits<float>::infinity(), 16777216.0f}) {
    Node* n = g.AddNode({"Elu", {x}, {{"alpha", v}}});
    auto back = ParseText(ToText(g));
    ASSERT_TRUE(back.ok()) << back.status().message();
    EXPECT_EQ((*back)->FindNode(n->name())->attributes, n->attributes) << v;
  }
}

TEST(Text, ElidedConstantsAndOptions) {
  auto g = ParseText(
      "graph \"g\" { const %w: float32[100] = zeros const %s: int64[1] = [3] input %x: float32[3] "
      "%y: float32[3] = Relu(%x) }");
  ASSERT_TRUE(g.ok());
  TextOptions options;
  options.max_constant_elements = 16;
  options.types = false;
  const std::string text = ToText(**g, options);
  EXPECT_NE(text.find("%w: float32[100] = elided("), std::string::npos);
  EXPECT_NE(text.find("%s: int64[1] = [3]"), std::string::npos);
  EXPECT_NE(text.find("%y = Relu(%x)"), std::string::npos);
  EXPECT_NE(ErrorOf(text).find("without this constant's data"), std::string::npos);
}

TEST(Text, ErrorsGiveThePlace) {
  EXPECT_EQ(ErrorOf("graph \"g\" {\n  input %x: float32[3]\n  %y = Relu(%q)\n}"),
            "line 3, column 13: '%q' is not defined above");
  EXPECT_EQ(ErrorOf("graph \"g\" {\n  input %x: float99[3]\n}").substr(0, 40),
            "line 2, column 13: 'float99' is no eleme");
  EXPECT_NE(ErrorOf("graph \"g\" {").find("'}' is missing"), std::string::npos);
  EXPECT_NE(ErrorOf("graph \"g\" { } x").find("after the end"), std::string::npos);
  EXPECT_NE(ErrorOf("graph \"g").find("does not end"), std::string::npos);
  EXPECT_NE(ErrorOf("").find("expected 'graph"), std::string::npos);
  EXPECT_NE(ErrorOf("graph { input %x: float32[3 }").find("line 1"), std::string::npos);
  EXPECT_NE(ErrorOf("graph { input %x: float32[2*] }").find("unexpected end"), std::string::npos);
  EXPECT_NE(ErrorOf("graph { input %x: float32 input %x: float32 }").find("defined twice"),
            std::string::npos);
  EXPECT_NE(ErrorOf("graph { input %x: float32 %y, %y = Split(%x) }").find("defined twice"),
            std::string::npos);
  EXPECT_NE(ErrorOf("graph { input %x: float32 %a = Relu(%x) \"n\" %b = Relu(%x) \"n\" }")
                .find("two nodes"),
            std::string::npos);
  EXPECT_NE(ErrorOf("graph { input %x: float32 %a = Elu(%x) {alpha = 1, alpha = 2} }")
                .find("given twice"),
            std::string::npos);
  EXPECT_NE(ErrorOf("graph { const %w: float32[2] = [1, 2, 3] }").find("more elements"),
            std::string::npos);
  EXPECT_NE(ErrorOf("graph { const %w: float32[2] = [1] }")
                .find("1 elements are given but the type has 2"),
            std::string::npos);
  EXPECT_NE(ErrorOf("graph { const %w: int8[1] = [200] }").find("200 does not fit into int8"),
            std::string::npos);
  EXPECT_NE(ErrorOf("graph { const %w: int8[1] = [1.5] }").find("no valid number"),
            std::string::npos);
  EXPECT_NE(ErrorOf("graph { const %w: float32[N] = zeros }").find("fixed dimensions"),
            std::string::npos);
  EXPECT_NE(ErrorOf("graph { const %w: float32[-1] = zeros }").find("negative extent"),
            std::string::npos);
  EXPECT_NE(ErrorOf("graph { const %w: int8[10000001] = zeros }").find("more than 10000000"),
            std::string::npos);
  EXPECT_NE(ErrorOf("graph { const %w: int8[4611686018427387904, 4] = zeros }")
                .find("more than 10000000"),
            std::string::npos);
  EXPECT_NE(ErrorOf("graph { const %w: float32[1] = base64\"AAA=\" }")
                .find("2 bytes but the type needs 4"),
            std::string::npos);
  EXPECT_NE(ErrorOf("graph { const %w: string[1] = zeros }").find("element type"),
            std::string::npos);
  EXPECT_NE(ErrorOf("graph { range N = [5, 2] }").find("is empty"), std::string::npos);
  EXPECT_NE(ErrorOf("graph { input %x: float32[1,1,1,1,1,1,1,1,1,1,1,1,1] }").find("more than 12"),
            std::string::npos);
  EXPECT_NE(ErrorOf("graph { meta \"a\" = \"\\q\" }").find("unknown escape"), std::string::npos);
  std::string nested = "graph {";
  for (int i = 0; i < 20; ++i) nested += " = A() body \"b\" graph {";
  EXPECT_NE(ErrorOf(nested).find("nested too deeply"), std::string::npos);
}

// Mutations of valid texts: an error or a graph that prints and reads back, never a crash.
TEST(Text, MutatedTextsNeverCrash) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 rng(seed);
  const std::string base = kExample;
  const char* pieces[] = {"%",
                          "\"",
                          "[",
                          "]",
                          "{",
                          "}",
                          "(",
                          ")",
                          ",",
                          "=",
                          ":",
                          "_",
                          "-1",
                          "9223372036854775807",
                          "0",
                          "N",
                          "floordiv(N, 2)",
                          "float32",
                          "int64",
                          "graph",
                          "input",
                          "output",
                          "const",
                          "body",
                          "from",
                          "random(1)",
                          "zeros",
                          "base64\"AA==\"",
                          "nan",
                          "inf",
                          "//",
                          "\\",
                          "\n",
                          "\x80"};
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  int parsed = 0;
  for (int tried = 0; std::chrono::steady_clock::now() < end || (parsed <= 10 && tried < 100000);
       ++tried) {
    std::string text = base;
    for (uint64_t n = rng() % 4 + 1; n > 0; --n) {
      const size_t at = rng() % (text.size() + 1);
      const size_t span = std::min<size_t>(rng() % 12, text.size() - at);
      switch (rng() % 5) {
        case 0:
          text.erase(at, span);
          break;
        case 1:
          text.insert(at, pieces[rng() % std::size(pieces)]);
          break;
        case 2:
          text.replace(at, span, pieces[rng() % std::size(pieces)]);
          break;
        case 3:
          text.insert(at, text.substr(rng() % text.size(), rng() % 60));
          break;
        default:
          if (at < text.size()) text[at] = static_cast<char>(rng());
      }
    }
    auto g = ParseText(text);
    if (!g.ok()) continue;
    ++parsed;
    (void)Verify(**g);
    const std::string printed = ToText(**g);
    auto again = ParseText(printed);
    ASSERT_TRUE(again.ok()) << again.status().message() << "\n" << printed;
    ASSERT_EQ(ToText(**again), printed);
    if (InferShapes(**g).ok()) {
      (void)Stats(**g);
      (void)StructureHash(**g, true);
    }
  }
  EXPECT_GT(parsed, 10);
}

}  // namespace
}  // namespace slipway::ir
