#include "engine/compiler/compile.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/aligned.h"
#include "engine/backends/all/compilers.h"
#include "model/interp/interpreter.h"
#include "model/ir/text.h"
#include "slipway.h"

namespace slipway::compiler {
namespace {

const BackendSet& Backends() {
  static const BackendSet* set = [] {
    auto* s = new BackendSet;
    for (auto& b : backends::MakeCompilers()) s->Add(std::move(b));
    return s;
  }();
  return *set;
}

// The backends that can run here: the libraries of ONNX Runtime, OpenVINO and TensorRT are not part
// of a build.
std::vector<std::string> BackendsHere() {
  std::vector<std::string> names = Backends().Names();
  std::erase_if(names, [](const std::string& name) {
    return name == "null" || (name == "onnxruntime" && !std::getenv("SLIPWAY_ONNXRUNTIME")) ||
           (name == "openvino" && !std::getenv("SLIPWAY_OPENVINO")) ||
           (name == "tensorrt" && !std::getenv("SLIPWAY_TEST_TENSORRT"));
  });
  return names;
}

Platform PlatformOf(std::vector<std::string> own, std::vector<std::string> fallback = {}) {
  Platform p;
  p.name = "test";
  p.backends = std::move(own);
  p.fallback = std::move(fallback);
  p.features = {"native"};
  return p;
}

std::unique_ptr<ir::Graph> Parse(const char* text) {
  auto g = ir::ParseText(text);
  EXPECT_TRUE(g.ok()) << g.status().ToString();
  return g.ok() ? std::move(*g) : nullptr;
}

ir::Tensor Random(const Dims& dims, unsigned seed) {
  std::mt19937 rng(seed);
  auto t = ir::Tensor::Allocate(DType::kFloat32, dims);
  for (int64_t i = 0; i < t->count(); ++i) {
    reinterpret_cast<float*>(t->mutable_data())[i] =
        std::uniform_real_distribution<float>(-1, 1)(rng);
  }
  return std::move(*t);
}

// Compiles, serializes, loads through the C API and runs.
std::vector<std::vector<float>> RunCompiled(const CompileResult& result,
                                            const std::vector<ir::Tensor>& inputs) {
  auto bytes = format::SerializePackage(result.package);
  EXPECT_TRUE(bytes.ok()) << bytes.status().ToString();
  AlignedBuffer aligned(bytes->size());
  std::copy(bytes->begin(), bytes->end(), aligned.data());
  slipway_error error{};
  slipway_package* package = nullptr;
  slipway_session* session = nullptr;
  std::vector<std::vector<float>> out;
  EXPECT_EQ(slipway_package_load_memory(aligned.data(), aligned.size(), &package, &error), 0)
      << error.message;
  if (!package) return out;
  EXPECT_EQ(slipway_session_create(package, nullptr, &session, &error), 0) << error.message;
  for (size_t i = 0; i < inputs.size(); ++i) {
    slipway_tensor_info info;
    slipway_package_input(package, static_cast<uint32_t>(i), &info);
    EXPECT_EQ(slipway_session_set_shape(session, info.name, inputs[i].dims().begin(),
                                        inputs[i].dims().rank(), &error),
              0)
        << error.message;
    slipway_tensor t;
    EXPECT_EQ(slipway_session_input(session, info.name, &t, &error), 0) << error.message;
    EXPECT_EQ(t.bytes, inputs[i].bytes().size());
    std::copy(inputs[i].bytes().begin(), inputs[i].bytes().end(), static_cast<uint8_t*>(t.data));
  }
  EXPECT_EQ(slipway_session_run(session, &error), 0) << error.message;
  for (uint32_t i = 0; i < slipway_package_num_outputs(package); ++i) {
    slipway_tensor_info info;
    slipway_package_output(package, i, &info);
    slipway_tensor t;
    EXPECT_EQ(slipway_session_output(session, info.name, &t, &error), 0) << error.message;
    const auto* f = static_cast<const float*>(t.data);
    out.emplace_back(f, f + t.bytes / 4);
  }
  slipway_session_free(session);
  slipway_package_free(package);
  return out;
}

void ExpectAgrees(const ir::Graph& graph, const Platform& platform,
                  const std::vector<ir::Tensor>& inputs, const CompileOptions& options = {}) {
  auto result = Compile(graph, platform, Backends(), options);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  auto expected = interp::Evaluate(graph, inputs);
  ASSERT_TRUE(expected.ok()) << expected.status().ToString();
  auto got = RunCompiled(*result, inputs);
  ASSERT_EQ(got.size(), expected->size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(static_cast<int64_t>(got[i].size()), (*expected)[i].count());
    for (size_t k = 0; k < got[i].size(); ++k)
      ASSERT_NEAR(got[i][k], (*expected)[i].data<float>()[k], 1e-4)
          << "output " << i << " element " << k;
  }
}

constexpr char kResidual[] = R"(graph "residual" {
  input %x: float32[N, 16, 9, 7]
  const %w1: float32[32, 16, 3, 3] = random(1)
  const %b1: float32[32] = random(2)
  const %w2: float32[32, 32, 1, 1] = random(3)
  const %w3: float32[16, 48, 1, 1] = random(4)
  const %fc: float32[16, 5] = random(5)
  %a = Conv(%x, %w1, %b1) {pads = [1, 1, 1, 1], strides = [2, 2]} "c1"
  %r = Relu(%a)
  %c = Conv(%r, %w2) "c2"
  %s = Add(%c, %r)
  %t = Relu(%s)
  %m = MaxPool(%t) {kernel_shape = [3, 3], pads = [1, 1, 1, 1]}
  %q = Sigmoid(%x)
  %p = AveragePool(%q) {kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1}
  %k = Concat(%m, %p) {axis = 1}
  %d = Conv(%k, %w3) "c3"
  %g = GlobalAveragePool(%d)
  %f = Flatten(%g)
  %y = MatMul(%f, %fc)
  %z = Softmax(%y)
  output %z
  output %t
})";

TEST(Compile, AgreesWithTheInterpreterOnEveryBackendAndBatch) {
  auto graph = Parse(kResidual);
  ASSERT_NE(graph, nullptr);
  for (const std::string& name : BackendsHere()) {
    SCOPED_TRACE(name);
    for (int64_t batch : {1, 3})
      ExpectAgrees(*graph, PlatformOf({name}, {"reference"}), {Random({batch, 16, 9, 7}, 5)});
    CompileOptions plain;
    plain.optimize = false;
    ExpectAgrees(*graph, PlatformOf({name}, {"reference"}), {Random({2, 16, 9, 7}, 6)}, plain);
  }
}

// Older runtimes would leave the activation of an integer product out: they must not load it.
TEST(Compile, ActivationsOfIntegerProductsNeedFormatVersion4) {
  for (const char* activation : {"Relu", "HardSwish"}) {
    auto graph = Parse((R"(graph "g" {
    input %x: float32[1, 8, 6, 6]
    const %s: float32[] = [0.05]
    const %w: float32[8, 8, 1, 1] = random(1)
    %q = slipway.Quantize(%x, %s)
    %d = slipway.Dequantize(%q, %s)
    %v = slipway.Quantize(%w, %s)
    %u = slipway.Dequantize(%v, %s)
    %c = Conv(%d, %u)
    %a = )" + std::string(activation) +
                        R"((%c)
    %e = slipway.Quantize(%a, %s)
    %y = slipway.Dequantize(%e, %s)
    output %y
  })")
                           .c_str());
    ASSERT_NE(graph, nullptr);
    Platform platform = PlatformOf({"reference"});
    platform.precision = "int8";
    auto result = Compile(*graph, platform, Backends());
    ASSERT_TRUE(result.ok()) << result.status().ToString();
    bool active = false;
    for (const auto& row : result->placement) active |= row.op == "slipway.QConv";
    ASSERT_TRUE(active);
    auto bytes = format::SerializePackage(result->package);
    ASSERT_TRUE(bytes.ok());
    // Relu is the codes' range.
    EXPECT_EQ((*bytes)[8], std::string(activation) == "Relu" ? 1 : 4) << activation;
  }
}

// A convolution must not write its sum over the input that it still reads.
TEST(Compile, ResidualThatIsTheInputToo) {
  auto graph = Parse(R"(graph "self" {
    input %x: float32[1, 16, 12, 12]
    const %w: float32[16, 16, 3, 3] = random(1)
    const %d: float32[16, 1, 3, 3] = random(2)
    const %m: float32[16, 16] = random(3)
    %r = Sigmoid(%x)
    %c = Conv(%r, %w) {pads = [1, 1, 1, 1]}
    %s = Add(%c, %r)
    %t = Tanh(%s)
    %e = Conv(%t, %d) {pads = [1, 1, 1, 1], group = 16}
    %u = Add(%e, %t)
    %g = GlobalAveragePool(%u)
    %f = Flatten(%g)
    %h = Tanh(%f)
    %l = MatMul(%h, %m)
    %y = Add(%l, %h)
    output %y
  })");
  ASSERT_NE(graph, nullptr);
  for (const auto& names : {std::vector<std::string>{"reference"}, {"x86"}, {"onednn"}, {"x86", "onednn"}})
    ExpectAgrees(*graph, PlatformOf(names, {"reference"}), {Random({1, 16, 12, 12}, 5)});
}

TEST(Compile, OutputsThatAreInputsConstantsOrViews) {
  auto graph = Parse(R"(graph "odd" {
    input %x: float32[2, 3]
    const %c: float32[2] = [1, 2]
    const %s: int64[1] = [6]
    %v = Reshape(%x, %s)
    %w = Relu(%v)
    output %x
    output %c
    output %v
    output %w
  })");
  ASSERT_NE(graph, nullptr);
  ExpectAgrees(*graph, PlatformOf({"reference"}), {Random({2, 3}, 1)});
}

TEST(Compile, ReusesMemoryInPlaceAndByLiveness) {
  auto graph = Parse(R"(graph "chain" {
    input %x: float32[1, 1024]
    %a = Sigmoid(%x)
    %b = Tanh(%a)
    %c = Sigmoid(%b)
    %d = Tanh(%c)
    %e = Sigmoid(%d)
    output %e
  })");
  auto result = Compile(*graph, PlatformOf({"reference"}), Backends());
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_TRUE(result->package.static_plan);
  EXPECT_LE(result->package.arena_size, 2u * 4096);
}

TEST(Compile, NamesNodesThatNobodyTakesAndBackendsThatAreMissing) {
  auto graph = Parse(kResidual);
  auto none = Compile(*graph, PlatformOf({"null"}), Backends());
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.status().code(), StatusCode::kUnsupported);
  EXPECT_NE(none.status().message().find("null:"), std::string::npos) << none.status().message();
  auto missing = Compile(*graph, PlatformOf({"tpu"}), Backends());
  EXPECT_EQ(missing.status().code(), StatusCode::kInvalidArgument);
}

// One package and one session for all: only the data and the shapes change.
constexpr char kDataShapes[] = R"(graph "data" {
  input %x: float32[N, 4]
  input %k: int64[1]
  input %shape: int64[3]
  const %w: float32[4, 4] = random(1)
  const %last: int64[1] = [1]
  const %limit: float32[] = [0.3]
  %r = MatMul(%x, %w)
  %c = Greater(%r, %limit)
  %i = NonZero(%c)
  %t = Transpose(%i) {perm = [1, 0]}
  %p = GatherND(%r, %t)
  %e = Sigmoid(%p)
  %s = Mul(%e, %p)
  %m, %n = TopK(%r, %k) {axis = 1}
  %q = Relu(%m)
  %v = Reshape(%x, %shape)
  %o = Tanh(%v)
  output %s
  output %q
  output %o
})";

TEST(Compile, ExtentsThatDataDecideAgreeWithTheInterpreter) {
  auto graph = Parse(kDataShapes);
  ASSERT_NE(graph, nullptr);
  for (const std::string& name : BackendsHere()) {
    SCOPED_TRACE(name);
    for (int64_t n : {1, 6, 33}) {
      ExpectAgrees(*graph, PlatformOf({name}, {"reference"}),
                   {Random({n, 4}, static_cast<unsigned>(n)), ir::Tensor::Vector<int64_t>({n % 4}),
                    ir::Tensor::Vector<int64_t>({2, -1, n})});
    }
  }
  auto result = Compile(*graph, PlatformOf({"reference"}), Backends());
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_FALSE(result->package.static_plan);
  int asked = 0;
  for (const auto& step : result->package.steps) asked += step.data_dims;
  EXPECT_EQ(asked, 3);
}

TEST(Compile, RangesBoundTheSizesAndThePeak) {
  auto graph = Parse(kResidual);
  auto open = Compile(*graph, PlatformOf({"reference"}), Backends());
  ASSERT_TRUE(open.ok());
  graph->symbol_ranges["N"] = {1, 8};
  auto result = Compile(*graph, PlatformOf({"reference"}), Backends());
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(result->peak_at, (std::map<std::string, int64_t>{{"N", 8}}));
  EXPECT_GT(result->peak_bytes, 7 * open->peak_bytes);
  auto bytes = format::SerializePackage(result->package);
  AlignedBuffer aligned(bytes->size());
  std::copy(bytes->begin(), bytes->end(), aligned.data());
  slipway_error error{};
  slipway_package* package = nullptr;
  slipway_session* session = nullptr;
  ASSERT_EQ(slipway_package_load_memory(aligned.data(), aligned.size(), &package, &error), 0);
  ASSERT_EQ(slipway_session_create(package, nullptr, &session, &error), 0);
  const int64_t large[] = {9, 16, 9, 7}, good[] = {8, 16, 9, 7};
  EXPECT_EQ(slipway_session_set_shape(session, "x", large, 4, &error), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_STREQ(error.message, "input 'x', dimension 0: expected N from 1 to 8, given 9");
  EXPECT_EQ(slipway_session_set_shape(session, "x", good, 4, &error), 0) << error.message;
  EXPECT_EQ(slipway_session_run(session, &error), 0) << error.message;
  EXPECT_LE(slipway_session_memory(session), result->peak_bytes);
  slipway_session_free(session);
  slipway_package_free(package);
}

TEST(Compile, ExactForbidsWinograd) {
  auto g = Parse(R"(graph "g" {
  input %x: float32[1, 64, 30, 30]
  const %w: float32[64, 64, 3, 3] = random(1)
  %y = Conv(%x, %w) {pads = [1, 1, 1, 1]}
  output %y
})");
  for (const char* backend : {"x86", "onednn"}) {
    if (!Backends().Find(backend)) continue;
    auto plain = Compile(*g, PlatformOf({backend}, {"reference"}), Backends());
    CompileOptions options;
    options.exact = true;
    auto exact = Compile(*g, PlatformOf({backend}, {"reference"}), Backends(), options);
    ASSERT_TRUE(plain.ok() && exact.ok()) << plain.status().ToString() << exact.status().ToString();
    const auto winograd = [](const CompileResult& r) {
      for (const PlacementRow& row : r.placement) {
        for (const Alternative& a : row.alternatives) {
          if (a.kernel.find("winograd") != std::string::npos) return true;
        }
      }
      return false;
    };
    EXPECT_TRUE(winograd(*plain) || std::string(backend) != "x86");
    EXPECT_FALSE(winograd(*exact)) << backend;
  }
}

TEST(Compile, TransposedConvolutionsStayWhereTheBackendsHaveThem) {
  const auto ops = [](const char* window, const Platform& platform) {
    const auto graph = Parse((std::string(R"(graph "g" {
      input %x: float32[1, 16, 8, 8]
      const %w: float32[16, 16, 2, 2] = random(1)
      %y = ConvTranspose(%x, %w) {strides = )") +
                              window + "}\n output %y\n}")
                                 .c_str());
    const auto result = Compile(*graph, platform, Backends(), {});
    EXPECT_TRUE(result.ok()) << result.status().ToString();
    std::string all;
    for (const PlacementRow& row : result->placement) all += row.backend + ":" + row.op + " ";
    return all;
  };
  const Platform x86 = PlatformOf({"x86"}, {"reference"});
  EXPECT_NE(ops("[2, 2]", x86).find("x86:ConvTranspose"), std::string::npos);
  // Outputs that no tap reaches.
  EXPECT_EQ(ops("[3, 3]", x86).find("ConvTranspose"), std::string::npos);
  EXPECT_EQ(ops("[2, 2]", PlatformOf({"onednn"}, {"reference"})).find("ConvTranspose"),
            std::string::npos);
}

TEST(Compile, FallbackIsReportedWithItsReason) {
  auto graph = Parse(kResidual);
  auto result = Compile(*graph, PlatformOf({"null"}, {"reference"}), Backends());
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_LT(result->own_mac_share, 0.01);
  for (const auto& row : result->placement) {
    if (row.fallback) {
      EXPECT_FALSE(row.reasons.empty()) << row.node;
    }
  }
}

// Packed weights are whole or refused, never cut to their width.
TEST(Compile, CodesWiderThanTheyClaimAreRefused) {
  if (!Backends().Find("x86")) GTEST_SKIP() << "no x86 backend in this build";
  for (const int code : {-8, 7, 8}) {
    const std::string text = "graph \"g\" {\n  input %x: float32[1, 2]\n  const %c: int8[2, 2] = [1, " +
                             std::to_string(code) +
                             ", 3, 4]\n  const %s: float32[2, 1] = [0.5, 0.25]\n"
                             "  %y = slipway.LinearNBits(%x, %c, %s) {bits = 4, group = 2} \"product\"\n"
                             "  output %y\n}\n";
    auto result = Compile(*Parse(text.c_str()), PlatformOf({"x86"}, {"reference"}), Backends());
    EXPECT_EQ(result.ok(), code < 8) << result.status().ToString();
    if (result.ok()) continue;
    EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
    for (const char* part : {"'product'", "its codes hold 8"})
      EXPECT_NE(result.status().message().find(part), std::string::npos) << result.status().ToString();
  }
}

}  // namespace
}  // namespace slipway::compiler
