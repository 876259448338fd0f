// Convolutions and products of few levels, from float models with fake quantization to packages,
// bit for bit as the interpreter has them: at random (the seed is printed, the time is bounded).

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <random>

#include "engine/compiler/compiled_test_util.h"
#include "model/passes/pass.h"

namespace slipway::compiler {
namespace {

class Random {
 public:
  explicit Random(uint64_t seed) : random_(seed) {}
  int64_t Below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }
  bool Chance(int percent) { return Below(100) < percent; }
  std::string Seed() { return std::to_string(Below(100000)); }

  // Quantize and Dequantize of few levels around a value.
  std::string Levels(std::string& out, const std::string& x, int kind, const std::string& scale) {
    const std::string name = "%q" + std::to_string(next_++);
    const char* attributes[] = {"bits = 1, kind = \"bipolar\"", "bits = 1, signed = 0",
                                "bits = 2, signed = 0", "bits = 2, signed = 1",
                                "bits = 2, signed = 1, narrow = 1"};
    const std::string a = std::string("{") + attributes[kind] + "}";
    out += "const " + name + "s: float32[] = [" + scale + "]\n" + name + "c = slipway.Quantize(" +
           x + ", " + name + "s) " + a + "\n" + name + " = slipway.Dequantize(" + name + "c, " +
           name + "s) " + a + "\n";
    return name;
  }

  std::string Model(bool* conv, std::vector<int64_t>* x_dims) {
    *conv = Chance(70);
    const int x_kind = static_cast<int>(Below(5)), w_kind = static_cast<int>(Below(5));
    const int64_t group = *conv && Chance(20) ? 2 : 1;
    const int64_t c = (Chance(40) ? 64 : 1 + Below(80)) * group, o = (1 + Below(40)) * group;
    std::string out, w_dims, attributes;
    const auto dims = [](const std::vector<int64_t>& d) {
      std::string s;
      for (int64_t v : d) s += (s.empty() ? "" : ", ") + std::to_string(v);
      return "[" + s + "]";
    };
    if (*conv) {
      const int64_t k = 1 + Below(3), pad = k > 1 ? Below(2) : 0, rank = Chance(20) ? 1 : 2;
      *x_dims = {1 + Below(2), c};
      std::vector<int64_t> w = {o, c / group}, pads, strides;
      for (int64_t i = 0; i < rank; ++i) {
        x_dims->push_back(k + Below(8));
        w.push_back(k);
        pads.push_back(pad);
        strides.push_back(1 + Below(2));
      }
      pads.insert(pads.end(), pads.begin(), pads.end());
      w_dims = dims(w);
      attributes = " {group = " + std::to_string(group) + ", pads = " + dims(pads) +
                   ", strides = " + dims(strides) + "}";
    } else {
      *x_dims = {1 + Below(5), c};
      w_dims = dims({c, o});
    }
    const std::string count = std::to_string(o);
    out = "input %x: float32" + dims(*x_dims) + "\nconst %w: float32" + w_dims + " = random(" +
          Seed() + ")\nconst %b: float32[" + count + "] = random(" + Seed() + ")\n";
    const std::string a = Levels(out, "%x", x_kind, "0.25"), w = Levels(out, "%w", w_kind, "0.5");
    std::string y = *conv ? "Conv(" + a + ", " + w + (Chance(50) ? ", %b)" : ")")
                          : "MatMul(" + a + ", " + w + ")";
    out += "%y = " + y + attributes + "\n";
    std::string last = "%y";
    if (Chance(40)) {
      out += "%r = Relu(%y)\n";
      last = "%r";
    }
    // Out as float, as codes of few levels or of eight bits.
    const int64_t to = Below(3);
    if (to == 1) last = Levels(out, last, static_cast<int>(Below(5)), "1");
    if (to == 2) {
      out += "const %e: float32[] = [0.125]\n%ec = slipway.Quantize(" + last +
             ", %e)\n%ed = slipway.Dequantize(%ec, %e)\n";
      last = "%ed";
    }
    return "graph \"g\" {\n" + out + "output " + last + "\n}\n";
  }

 private:
  std::mt19937_64 random_;
  int next_ = 0;
};

TEST(CompileBits, RandomModelsAgreeBitForBit) {
  if (ThisCpu().arch != "x86_64") GTEST_SKIP() << "no x86";
  auto platform = LoadPlatform(std::string(SLIPWAY_SOURCE_DIR) + "/platforms/x86-int8.yaml");
  ASSERT_TRUE(platform.ok()) << platform.status().ToString();
  const char* fixed = std::getenv("SLIPWAY_TEST_SEED");
  const uint64_t base = fixed ? std::strtoull(fixed, nullptr, 10) : std::random_device{}();
  const char* limit = std::getenv("SLIPWAY_TEST_SECONDS");
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::duration<double>(limit ? std::atof(limit) : 3);
  int64_t models = 0, bits = 0;
  // On a busy machine as long as it takes.
  for (uint64_t seed = base; std::chrono::steady_clock::now() < end || (bits <= 10 && models < 300);
       ++seed) {
    SCOPED_TRACE("SLIPWAY_TEST_SEED=" + std::to_string(seed));
    Random random(seed);
    bool conv = false;
    std::vector<int64_t> dims;
    const std::string text = random.Model(&conv, &dims);
    auto graph = Parse(text);
    ASSERT_TRUE(graph) << text;
    auto compiled = Compiled::Make(*graph, *platform, true);
    ASSERT_TRUE(compiled.ok()) << compiled.status().ToString() << "\n" << text;
    ++models;
    for (const PlacementRow& row : (*compiled)->result().placement)
      bits += row.kernel.rfind("bits:", 0) == 0;
    Dims extent{std::span<const int64_t>(dims)};
    const Tensor x = Floats(extent, -0.03f * static_cast<float>(extent.count()));
    // The integer contract is that of the lowered graph.
    auto lowered = graph->Clone();
    ASSERT_TRUE(passes::RunPasses(*lowered, {.level = passes::Level::kInteger}).ok());
    auto want = interp::Evaluate(*lowered, std::vector<Tensor>{x});
    ASSERT_TRUE(want.ok()) << want.status().ToString();
    for (int run = 0; run < 2; ++run) {
      auto got = (*compiled)->Run({x});
      ASSERT_TRUE(got.ok()) << got.status().ToString() << "\n" << text;
      ASSERT_EQ(Different((*got)[0], (*want)[0], true), "") << text;
    }
    if (fixed) break;
  }
  std::cout << "  seed " << base << ": " << models << " models, " << bits << " bit-serial steps\n";
  EXPECT_TRUE(fixed || bits > 10);
}

}  // namespace
}  // namespace slipway::compiler
