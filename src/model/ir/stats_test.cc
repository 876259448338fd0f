#include "model/ir/stats.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "model/ir/infer.h"
#include "model/ir/text.h"

namespace slipway::ir {
namespace {

std::unique_ptr<Graph> Parse(const std::string& body) {
  auto g = ParseText("graph \"t\" {\n" + body + "\n}");
  EXPECT_TRUE(g.ok()) << g.status().message();
  const Status s = InferShapes(**g);
  EXPECT_TRUE(s.ok()) << s.message();
  return std::move(*g);
}

std::string Macs(const std::string& body) { return Stats(*Parse(body)).macs.ToString(); }

TEST(Stats, Sparsity) {
  // Input channels 0 and 3 of every 4 are there, the second half of the outputs is not.
  std::string w;
  for (int o = 0; o < 32; ++o) {
    for (int i = 0; i < 8; ++i)
      for (int t = 0; t < 2; ++t) w += (w.empty() ? "" : ", ") + std::string(o < 16 && (i % 4 == 0 || i % 4 == 3) ? "1" : "0");
  }
  const auto sparsity = [](const std::string& body) { return SparsityOf(*Parse(body)->nodes().front()); };
  auto s = sparsity("input %x: float32[1, 8, 4]\nconst %w: float32[32, 8, 2] = [" + w + "]\n%y = Conv(%x, %w)");
  ASSERT_TRUE(s);
  EXPECT_EQ(s->zeros, 0.75);
  EXPECT_TRUE(s->two_of_four);
  EXPECT_EQ(s->zero_blocks, 0.5);
  // The same numbers, summed along the other dimension.
  s = sparsity("input %x: float32[2, 32]\nconst %w: float32[32, 16] = [" + w + "]\n%y = MatMul(%x, %w)");
  ASSERT_TRUE(s);
  EXPECT_FALSE(s->two_of_four);
  EXPECT_EQ(s->zero_blocks, 0.5);
  s = sparsity("input %x: float32[2, 16]\nconst %w: float32[32, 16] = [" + w + "]\n%y = Gemm(%x, %w) {transB = 1}");
  ASSERT_TRUE(s);
  EXPECT_TRUE(s->two_of_four);  // pairs of taps are neighbours here: 1 1 0 0 and 0 0 1 1
  s = sparsity("input %x: float32[2, 16]\nconst %w: float32[16, 4] = random(1)\n%y = MatMul(%x, %w)");
  ASSERT_TRUE(s);
  EXPECT_EQ(s->zeros, 0);
  EXPECT_FALSE(s->two_of_four);
  EXPECT_FALSE(sparsity("input %x: float32[2, 16]\ninput %w: float32[16, 4]\n%y = MatMul(%x, %w)"));
  EXPECT_FALSE(sparsity("input %x: float32[2]\n%y = Relu(%x)"));
}

TEST(Stats, Macs) {
  EXPECT_EQ(Macs("input %x: float32[T, 2, 8]\nconst %w: float32[1, 20, 8] = zeros\n"
                 "const %r: float32[1, 20, 5] = zeros\n%y = LSTM(%x, %w, %r)"),
            "520*T");
  EXPECT_EQ(Macs("input %x: float32[2, 3, 4]\ninput %w: float32[2, 4, 5]\n%y = Einsum(%x, %w) "
                 "{equation = \"bij,bjk->bik\"}"),
            "120");
  EXPECT_EQ(Macs("input %x: float32[1, 3, 224, 224]\nconst %w: float32[64, 3, 7, 7] = zeros\n%y = "
                 "Conv(%x, %w) {strides = [2, 2], pads = [3, 3, 3, 3]}"),
            std::to_string(64 * 112 * 112 * 3 * 49));
  EXPECT_EQ(Macs("input %x: float32[N, 8, 10, 10]\nconst %w: float32[8, 1, 3, 3] = zeros\n%y = "
                 "Conv(%x, %w) {group = 8}"),
            "4608*N");
  EXPECT_EQ(Macs("input %x: float32[1, 4, 5, 5]\nconst %w: float32[4, 2, 3, 3] = zeros\n%y = "
                 "ConvTranspose(%x, %w)"),
            std::to_string(4 * 25 * 2 * 9));
  EXPECT_EQ(Macs("input %x: float32[N, 10]\nconst %w: float32[7, 10] = zeros\n%y = Gemm(%x, %w) "
                 "{transB = 1}"),
            "70*N");
  EXPECT_EQ(Macs("input %x: float32[6, 10]\nconst %w: float32[6, 7] = zeros\n%y = Gemm(%x, %w) "
                 "{transA = 1}"),
            "420");
  EXPECT_EQ(Macs("input %x: float32[2, 3, 4]\ninput %w: float32[2, 4, 5]\n%y = MatMul(%x, %w)"),
            "120");
  EXPECT_EQ(Macs("input %x: float32[2, 3, 4]\nconst %w: float32[4, 5] = zeros\n%y = "
                 "slipway.Linear(%x, %w)"),
            "120");
  EXPECT_EQ(Macs("input %x: uint8[2, 4]\nconst %w: int8[4, 5] = zeros\nconst %m: float32[1] = "
                 "zeros\n%y = slipway.QLinear(%x, %w, %m)"),
            "40");
  EXPECT_EQ(Macs("input %q: float32[1, 3, 49, 32]\n%y = Attention(%q, %q, %q)"),
            std::to_string(2 * 3 * 49 * 49 * 32));
  EXPECT_EQ(Macs("input %q: float32[1, 49, 96]\n%y = Attention(%q, %q, %q) {q_num_heads = 3, "
                 "kv_num_heads = 3}"),
            std::to_string(2 * 3 * 49 * 49 * 32));
  EXPECT_EQ(Macs("input %x: float32[2, 3]\n%y = Relu(%x)"), "0");
}

TEST(Stats, ParametersAndBytes) {
  auto g = Parse(
      "input %x: float32[1, 12]\nconst %w: float32[4, 3] = zeros\nconst %h: float16[5] = "
      "zeros\nconst %s: int64[2] = [4, 3]\nconst %dead: float32[9] = zeros\n"
      "%r = Reshape(%x, %s)\n%y = Mul(%r, %w)\n%z = Relu(%h)\n%n = Relu(%y)");
  const GraphStats s = Stats(*g);
  EXPECT_EQ(s.parameters, 17);
  EXPECT_EQ(s.parameter_bytes, 58);
  EXPECT_EQ(s.ops, (std::map<std::string, int>{{"Mul", 1}, {"Relu", 2}, {"Reshape", 1}}));
  EXPECT_EQ(NodeBytes(*g->FindNode("Mul")), 3 * 48);
  auto dynamic = Parse("input %x: float32[N]\n%y = Relu(%x)");
  EXPECT_EQ(NodeBytes(*dynamic->FindNode("Relu")), std::nullopt);
}

const char kBlock[] =
    "input %x: float32[N, 8, 6, 6]\nconst %w1: float32[8, 8, 3, 3] = random(1)\nconst %w2: "
    "float32[8, 8, 1, 1] = random(2)\n"
    "%a = Conv(%x, %w1) {pads = [1, 1, 1, 1]}\n%b = Conv(%x, %w2)\n%s = Add(%a, %b)\n%y = "
    "Relu(%s)\noutput %y";

uint64_t HashOf(const std::string& body, bool with_shapes = true) {
  return StructureHash(*Parse(body), with_shapes);
}

TEST(StructureHash, IgnoresNamesOrderWeightsAndDefaults) {
  const uint64_t h = HashOf(kBlock);
  EXPECT_EQ(h, HashOf("input %in: float32[batch, 8, 6, 6]\nconst %q: float32[8, 8, 1, 1] = "
                      "zeros\nconst %p: float32[8, 8, 3, 3] = zeros\n"
                      "%two = Conv(%in, %q) {group = 1} \"n2\"\n%one = Conv(%in, %p) {pads = [1, "
                      "1, 1, 1]} \"n1\"\n%sum = Add(%one, %two)\n%out = Relu(%sum)\noutput %out"));
}

TEST(StructureHash, SeesWhatMatters) {
  const std::string base = kBlock;
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string s = base;
    const size_t at = s.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return s.replace(at, from.size(), to);
  };
  const uint64_t h = HashOf(base);
  EXPECT_NE(h, HashOf(changed("Relu", "Sigmoid")));
  EXPECT_NE(h, HashOf(changed("Add(%a, %b)", "Add(%b, %a)")));
  EXPECT_NE(h, HashOf(changed("Add(%a, %b)", "Add(%a, %a)")));
  EXPECT_NE(h, HashOf(changed("output %y", "output %y\noutput %s")));
  EXPECT_NE(h, HashOf(changed("float32[N", "float32[2")));
  EXPECT_EQ(HashOf(base, false), HashOf(changed("float32[N", "float32[2"), false));
  EXPECT_NE(HashOf(base, false), HashOf(base, true));
  // One node read twice is not two equal nodes.
  EXPECT_NE(
      HashOf("input %x: float32[4]\n%a = Relu(%x)\n%y = Add(%a, %a)\noutput %y"),
      HashOf("input %x: float32[4]\n%a = Relu(%x)\n%b = Relu(%x)\n%y = Add(%a, %b)\noutput %y"));
  // A constant that steers a shape counts, a weight does not.
  EXPECT_NE(
      HashOf("input %x: float32[4]\nconst %s: int64[2] = [2, 2]\n%y = Reshape(%x, %s)\noutput %y",
             false),
      HashOf("input %x: float32[4]\nconst %s: int64[2] = [1, 4]\n%y = Reshape(%x, %s)\noutput %y",
             false));
}

// Any topological order of a random graph, renamed, hashes the same.
TEST(StructureHash, RandomOrders) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 rng(seed);
  const char* ops[] = {"Add", "Mul", "Sub"};
  for (int round = 0; round < 20; ++round) {
    struct Row {
      int a, b;
      const char* op;
    };
    std::vector<Row> rows;
    const int n = 12;
    for (int i = 0; i < n; ++i) {
      rows.push_back({static_cast<int>(rng() % static_cast<uint64_t>(i + 1)),
                      static_cast<int>(rng() % static_cast<uint64_t>(i + 1)), ops[rng() % 3]});
    }
    const auto build = [&](bool shuffle) {  // value 0 is the input, value i + 1 the output of row i
      Graph g;
      std::vector<Value*> values(n + 1, nullptr);
      values[0] = g.AddInput("", {DType::kFloat32, SymShape{Dim(3)}});
      for (int made = 0; made < n;) {
        std::vector<int> ready;
        for (int i = 0; i < n; ++i) {
          if (!values[static_cast<size_t>(i) + 1] &&
              values[static_cast<size_t>(rows[static_cast<size_t>(i)].a)] &&
              values[static_cast<size_t>(rows[static_cast<size_t>(i)].b)])
            ready.push_back(i);
        }
        const int i = ready[shuffle ? rng() % ready.size() : 0];
        const Row& r = rows[static_cast<size_t>(i)];
        values[static_cast<size_t>(i) + 1] =
            g.AddNode({r.op, {values[static_cast<size_t>(r.a)], values[static_cast<size_t>(r.b)]}})
                ->output();
        ++made;
      }
      g.AddOutput(values[n]);
      EXPECT_TRUE(InferShapes(g).ok());
      return StructureHash(g, true);
    };
    const uint64_t h = build(false);
    ASSERT_EQ(h, build(true));
    ASSERT_EQ(h, build(true));
  }
}

}  // namespace
}  // namespace slipway::ir
