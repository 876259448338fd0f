// The integer contract end to end: a quantized network compiled for our own backends gives the very
// bits that the interpreter gives on the lowered graph; oneDNN may be one step off at ties, which
// the last layers' outputs show as a small difference.

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/cpu.h"
#include "deploy/model_io.h"
#include "deploy/runner.h"
#include "model/interp/interpreter.h"
#include "model/ir/text.h"
#include "quant/schemes/quantize.h"

namespace slipway::deploy {
namespace {

constexpr char kNet[] = R"(graph "net" {
  input %x: float32[N, 3, 16, 16]
  const %w1: float32[24, 3, 3, 3] = random(1)
  const %b1: float32[24] = random(2)
  const %w2: float32[24, 1, 3, 3] = random(3)
  const %w3: float32[24, 24, 1, 1] = random(4)
  const %w4: float32[24, 24, 1, 1] = random(7)
  const %fc: float32[24, 10] = random(5)
  const %fb: float32[10] = random(6)
  %a = Conv(%x, %w1, %b1) {pads = [0, 1, 1, 0], strides = [2, 2]} "c1"
  %r = Relu(%a)
  %d = Conv(%r, %w2) {pads = [1, 1, 1, 1], group = 24} "c2"
  %h = HardSwish(%d)
  %c = Conv(%h, %w3) "c3"
  %s = Add(%c, %r)
  %m = MaxPool(%s) {kernel_shape = [2, 2], strides = [2, 2]}
  %e = Conv(%m, %w4) "c4"
  %g = Sigmoid(%e)
  %k = Mul(%m, %g)
  %p = GlobalAveragePool(%k)
  %f = Flatten(%p)
  %y = Gemm(%f, %fc, %fb) "fc"
  output %y
})";

// Operators that every scheme has.
constexpr char kPlain[] = R"(graph "plain" {
  input %x: float32[N, 3, 12, 12]
  const %w1: float32[20, 3, 3, 3] = random(1)
  const %b1: float32[20] = random(2)
  const %w2: float32[20, 1, 3, 3] = random(3)
  const %w3: float32[20, 20, 1, 1] = random(4)
  const %fc: float32[20, 10] = random(5)
  const %fb: float32[10] = random(6)
  %a = Conv(%x, %w1, %b1) {pads = [0, 1, 1, 0], strides = [2, 2]} "c1"
  %r = Relu(%a)
  %d = Conv(%r, %w2) {pads = [1, 1, 1, 1], group = 20} "c2"
  %c = Conv(%d, %w3) "c3"
  %s = Add(%c, %r)
  %t = Relu(%s)
  %m = MaxPool(%t) {kernel_shape = [6, 6]}
  %f = Flatten(%m)
  %y = Gemm(%f, %fc, %fb) "fc"
  output %y
})";

ir::Tensor Waves(const Dims& dims, int phase) {
  auto t = ir::Tensor::Allocate(DType::kFloat32, dims);
  for (int64_t i = 0; i < t->count(); ++i) {
    reinterpret_cast<float*>(t->mutable_data())[i] =
        std::sin(0.37f * static_cast<float>(i + 11 * phase));
  }
  return std::move(*t);
}

// `islands`: the network keeps float operators between integer ones (softmax, normalisation), whose
// last bits may tip a rounding.
void ExpectSameBits(const ir::Graph& graph, const Dims& sample, bool islands = false,
                    const std::string& name = "x86-int8",
                    const std::vector<std::string>& backends = {"reference", "x86", "onednn"}) {
  auto found = GetPlatform(name);
  ASSERT_TRUE(found.ok()) << found.status().ToString();
  found->arch = ThisCpu().arch;  // integers are the same on all
  auto fused = graph.Clone();
  ASSERT_TRUE(passes::RunPasses(*fused, {.level = passes::Level::kFused}).ok());
  quant::BatchSource data = [&](int64_t i) -> Result<std::vector<ir::Tensor>> {
    if (i >= 2) return std::vector<ir::Tensor>{};
    return std::vector<ir::Tensor>{Waves(sample, static_cast<int>(i))};
  };
  auto make = [](const ir::Graph& g) { return quant::InterpreterEvaluator(g, nullptr); };
  Status quantized = quant::Quantize(*fused, found->scheme, make, data);
  ASSERT_TRUE(quantized.ok()) << quantized.ToString();

  auto lowered = fused->Clone();
  ASSERT_TRUE(compiler::Prepare(*lowered, *found, {}).ok());
  int integer = 0;
  for (const auto& n : lowered->nodes())
    integer += n->IsSlipway("QConv") || n->IsSlipway("QLinear") ? 1 : 0;
  EXPECT_GE(integer, 4) << ir::ToText(*lowered, {.max_constant_elements = 4});

  for (const std::string& backend : backends) {
    if (Backends().Find(backend) == nullptr) continue;
    const std::vector<std::string> own = {backend};
    SCOPED_TRACE(own[0]);
    compiler::Platform platform = *found;
    platform.backends = own;
    platform.fallback = {"reference"};
    auto compiled = CompileModel(*fused, platform, {});
    ASSERT_TRUE(compiled.ok()) << compiled.status().ToString();
    auto session = Session::FromBytes(compiled->bytes);
    ASSERT_TRUE(session.ok()) << session.status().ToString();
    for (int phase = 2; phase < 5; ++phase) {
      ir::Tensor input = Waves(sample, phase);
      auto expected = interp::Evaluate(*lowered, std::span(&input, 1));
      auto got = session->Run({input});
      ASSERT_TRUE(expected.ok()) << expected.status().ToString();
      ASSERT_TRUE(got.ok()) << got.status().ToString();
      const float* a = (*expected)[0].data<float>();
      const float* b = (*got)[0].data<float>();
      float largest = 0;
      for (int64_t i = 0; i < (*expected)[0].count(); ++i)
        largest = std::max(largest, std::fabs(a[i]));
      for (int64_t i = 0; i < (*expected)[0].count(); ++i) {
        if (own[0] == "onednn" || (islands && own[0] == "x86")) {
          EXPECT_NEAR(a[i], b[i], 0.05f * largest) << i;
        } else {
          EXPECT_EQ(a[i], b[i]) << i;
        }
      }
    }
  }
}

TEST(IntegerExact, SmallNetworkOfEveryIntegerOperator) {
  auto graph = ir::ParseText(kNet);
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  ExpectSameBits(**graph, {2, 3, 16, 16});
}

TEST(IntegerExact, EveryPlatformsSchemeIsSimulatedExactly) {
  auto platforms = GetPlatforms();
  ASSERT_TRUE(platforms.ok()) << platforms.status().ToString();
  auto graph = ir::ParseText(kPlain);
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  int tried = 0;
  for (const compiler::Platform& p : *platforms) {
    // Logarithms have no integer form here.
    if (!p.has_scheme || p.scheme.weight_only ||
        p.scheme.weights.kind == compiler::ScaleKind::kLogarithmic)
      continue;
    SCOPED_TRACE(p.name);
    ExpectSameBits(**graph, {2, 3, 12, 12}, false, p.name, {"reference", "x86"});
    ++tried;
  }
  EXPECT_GE(tried, 26);
}

TEST(IntegerExact, RealModels) {
  const std::string folder = SLIPWAY_SOURCE_DIR "/../shared/data/models/";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "../shared/data is not there";
  for (const char* name :
       {"resnet20_cifar10.onnx", "mobilenetv2_small_cifar10.onnx", "vit_small_cifar10.onnx"}) {
    SCOPED_TRACE(name);
    auto graph = LoadModel(folder + name);
    ASSERT_TRUE(graph.ok()) << graph.status().ToString();
    ExpectSameBits(**graph, {1, 3, 32, 32}, std::string_view(name).starts_with("vit"));
  }
}

}  // namespace
}  // namespace slipway::deploy
