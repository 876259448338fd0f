// Models on the platforms of 16 bits: bfloat16 against the interpreter of the float32 model within
// what eight bits allow, at random (the seed is printed, the time is bounded); what becomes
// float16.

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <random>

#include "engine/compiler/compiled_test_util.h"

namespace slipway::compiler {
namespace {

class Random {
 public:
  explicit Random(uint64_t seed) : random_(seed) {}
  int64_t Below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }

  std::string Model() {
    std::string out = "graph \"g\" {\n";
    int64_t c = 1 + Below(40), size = 5 + Below(12);
    const auto dims = [](std::initializer_list<int64_t> d) {
      std::string s;
      for (int64_t v : d) s += (s.empty() ? "" : ", ") + std::to_string(v);
      return "[" + s + "]";
    };
    out += "input %x: float32" + dims({1, c, size, size}) + "\n";
    std::string last = "%x";
    int next = 0;
    const auto name = [&] { return "%v" + std::to_string(next++); };
    const auto constant = [&](std::initializer_list<int64_t> d) {
      const std::string n = name();
      out +=
          "const " + n + ": float32" + dims(d) + " = random(" + std::to_string(Below(9999)) + ")\n";
      return n;
    };
    const auto unary = [&](const std::string& op, const std::string& attributes) {
      const std::string y = name();
      out += y + " = " + op + "(" + last + ")" + attributes + "\n";
      last = y;
    };
    for (int64_t layers = 2 + Below(3); layers > 0; --layers) {
      const bool depthwise = Below(4) == 0;
      const int64_t o = depthwise ? c : Below(2) ? 16 * (1 + Below(3)) : 1 + Below(40);
      const int64_t k = Below(2) ? 1 : 3;
      const std::string w = constant({o, depthwise ? 1 : c, k, k}), b = constant({o}), y = name();
      out += y + " = Conv(" + last + ", " + w + ", " + b +
             ") {pads = " + dims({k / 2, k / 2, k / 2, k / 2}) +
             ", group = " + std::to_string(depthwise ? c : 1) + "}\n";
      const std::string before = last;
      last = y;
      const char* activations[] = {"Relu", "HardSwish", "Sigmoid", "", "Swish"};
      const std::string a = activations[Below(5)];
      if (!a.empty()) unary(a, "");
      if (o == c && Below(2)) {
        const std::string sum = name();
        out += sum + " = Add(" + last + ", " + before + ")\n";
        last = sum;
      }
      // Weights are random in [-1, 1]: kept in range.
      const std::string scale = name(), scaled = name();
      out += "const " + scale + ": float32[] = [" + std::to_string(1.0 / static_cast<double>(c)) +
             "]\n" + scaled + " = Mul(" + last + ", " + scale + ")\n";
      last = scaled;
      c = o;
      if (size >= 8 && Below(3) == 0) {
        unary(Below(2) ? "MaxPool" : "AveragePool", " {kernel_shape = [2, 2], strides = [2, 2]}");
        size /= 2;
      }
    }
    if (Below(2)) {
      unary("GlobalAveragePool", "");
      unary("Flatten", "");
      const int64_t o = 1 + Below(20);
      const std::string w = constant({c, o}), y = name();
      out += y + " = MatMul(" + last + ", " + w + ")\n";
      last = y;
    }
    return out + "output " + last + "\n}\n";
  }

 private:
  std::mt19937_64 random_;
};

TEST(CompileBFloat16, RandomModelsStayNear) {
  if (!HasFeature(CpuFeature::kAvx512Bf16)) GTEST_SKIP() << "no AVX512-BF16";
  auto platform = LoadPlatform(std::string(SLIPWAY_SOURCE_DIR) + "/platforms/x86-bf16.yaml");
  ASSERT_TRUE(platform.ok()) << platform.status().ToString();
  const char* fixed = std::getenv("SLIPWAY_TEST_SEED");
  const uint64_t base = fixed ? std::strtoull(fixed, nullptr, 10) : std::random_device{}();
  const char* limit = std::getenv("SLIPWAY_TEST_SECONDS");
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::duration<double>(limit ? std::atof(limit) : 3);
  int64_t models = 0, half = 0, rounded = 0;
  for (uint64_t seed = base;
       std::chrono::steady_clock::now() < end || ((half <= 10 || rounded <= 5) && models < 300);
       ++seed) {
    SCOPED_TRACE("SLIPWAY_TEST_SEED=" + std::to_string(seed));
    const std::string text = Random(seed).Model();
    auto graph = Parse(text);
    ASSERT_TRUE(graph) << text;
    auto compiled = Compiled::Make(*graph, *platform, true);
    ASSERT_TRUE(compiled.ok()) << compiled.status().ToString() << "\n" << text;
    EXPECT_EQ((*compiled)->result().package.required_features &
                  static_cast<uint64_t>(CpuFeature::kAvx512Bf16),
              static_cast<uint64_t>(CpuFeature::kAvx512Bf16));
    ++models;
    for (const PlacementRow& row : (*compiled)->result().placement)
      half += row.op.find("Conv") != std::string::npos && row.dtype == "bfloat16";
    const Dims extent = *graph->inputs()[0]->type().StaticDims();
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<float> uniform(-1, 1);
    auto x = Tensor::Allocate(DType::kFloat32, extent);
    for (int64_t i = 0; i < x->count(); ++i)
      reinterpret_cast<float*>(x->mutable_data())[i] = uniform(random);
    const std::vector<Tensor> inputs{*x};
    auto want = interp::Evaluate(*graph, inputs);
    ASSERT_TRUE(want.ok()) << want.status().ToString();
    auto got = (*compiled)->Run(inputs);
    ASSERT_TRUE(got.ok()) << got.status().ToString() << "\n" << text;
    ASSERT_EQ((*got)[0].dims(), (*want)[0].dims());
    double range = 0, off = 0;
    for (int64_t i = 0; i < (*want)[0].count(); ++i) {
      const double g = (*got)[0].data<float>()[i], w = (*want)[0].data<float>()[i];
      ASSERT_TRUE(std::isfinite(g)) << text;
      range = std::max(range, std::fabs(w));
      off = std::max(off, std::fabs(g - w));
    }
    rounded += off > 0;
    ASSERT_LE(off, 0.05 * range + 0.02) << text;  // 0.02: of what sums take away
    if (fixed) break;
  }
  std::cout << "  seed " << base << ": " << models << " models, " << half
            << " convolutions in bfloat16, " << rounded << " results rounded\n";
  EXPECT_TRUE(fixed || (half > 10 && rounded > 5));
}

// Compiled anywhere for 64-bit ARM (tests/e2e/arm_fp16_test.py runs it): all that there are kernels
// for is in float16, and nothing is asked of the CPU, since those without FEAT_FP16 compute it too.
TEST(CompileFloat16, ModelsGoToTheirKernels) {
  auto platform = LoadPlatform(std::string(SLIPWAY_SOURCE_DIR) + "/platforms/arm64-fp16.yaml");
  ASSERT_TRUE(platform.ok()) << platform.status().ToString();
  const char* fixed = std::getenv("SLIPWAY_TEST_SEED");
  const uint64_t base = fixed ? std::strtoull(fixed, nullptr, 10) : std::random_device{}();
  int64_t half = 0;
  for (uint64_t seed = base; seed < base + (fixed ? 1 : 20); ++seed) {
    SCOPED_TRACE("SLIPWAY_TEST_SEED=" + std::to_string(seed));
    const std::string text = Random(seed).Model();
    auto graph = Parse(text);
    ASSERT_TRUE(graph) << text;
    auto compiled = Compile(*graph, *platform, Backends(), {});
    ASSERT_TRUE(compiled.ok()) << compiled.status().ToString() << "\n" << text;
    EXPECT_EQ(compiled->package.required_features, 0u);
    for (const PlacementRow& row : compiled->placement) {
      if (row.op.find("Conv") == std::string::npos) continue;
      EXPECT_EQ(row.dtype, "float16") << text;
      EXPECT_EQ(row.backend, "arm") << text;
      ++half;
    }
  }
  EXPECT_GT(half, 0);
}

}  // namespace
}  // namespace slipway::compiler
