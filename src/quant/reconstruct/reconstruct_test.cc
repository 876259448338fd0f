#include "quant/reconstruct/reconstruct.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>

#include "base/log.h"
#include "model/frontends/onnx/import.h"
#include "model/interp/interpreter.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"
#include "model/ir/verify.h"
#include "model/passes/pass.h"
#include "quant/schemes/quantize.h"

namespace slipway::quant {
namespace {

using ir::Graph;
using ir::Tensor;

constexpr char kNet[] = R"(graph "net" {
  input %x: float32[N, 3, 8, 8]
  const %w1: float32[8, 3, 3, 3] = random(1)
  const %b1: float32[8] = random(2)
  const %w2: float32[8, 8, 3, 3] = random(3)
  const %b2: float32[8] = random(7)
  const %w3: float32[8, 8, 1, 1] = random(4)
  const %fc: float32[8, 5] = random(5)
  const %fb: float32[5] = random(6)
  %a = Conv(%x, %w1, %b1) {pads = [1, 1, 1, 1]} "c1"
  %r = Relu(%a)
  %c = Conv(%r, %w2, %b2) {pads = [1, 1, 1, 1]} "c2"
  %k = Conv(%r, %w3) "c3"
  %s = Add(%c, %k)
  %t = Relu(%s)
  %p = GlobalAveragePool(%t)
  %f = Flatten(%p)
  %y = Gemm(%f, %fc, %fb) "fc"
  output %y
})";

std::unique_ptr<Graph> Net(bool fused = true) {
  auto graph = ir::ParseText(kNet);
  EXPECT_TRUE(graph.ok()) << graph.status().message();
  EXPECT_TRUE(ir::InferShapes(**graph).ok());
  if (fused) {
    EXPECT_TRUE(passes::RunPasses(**graph, {.level = passes::Level::kFused}).ok());
  }
  return std::move(*graph);
}

using Names = std::vector<std::string>;

TEST(Blocks, RegionsOfOneEntryAndOneExit) {
  const auto graph = Net(false);
  const auto blocks = FindBlocks(*graph);
  ASSERT_EQ(blocks.size(), 3u);
  EXPECT_EQ(blocks[0].layers, (Names{"c1"}));
  EXPECT_EQ(blocks[0].inputs, (Names{"x"}));
  EXPECT_EQ(blocks[0].outputs, (Names{"r"}));  // with its rectifier
  EXPECT_EQ(blocks[1].layers, (Names{"c2", "c3"}));
  EXPECT_EQ(blocks[1].inputs, (Names{"r"}));
  EXPECT_EQ(blocks[1].outputs, (Names{"f"}));
  EXPECT_EQ(blocks[2].layers, (Names{"fc"}));
  EXPECT_EQ(blocks[2].outputs, (Names{"y"}));
}

TEST(Blocks, Layers) {
  const auto graph = Net(false);
  for (const BlockOptions& options :
       {BlockOptions{.by_layer = true}, BlockOptions{.most_layers = 1}}) {
    const auto blocks = FindBlocks(*graph, options);
    ASSERT_EQ(blocks.size(), 4u);
    EXPECT_EQ(blocks[1].layers, (Names{"c2"}));
    EXPECT_EQ(blocks[1].inputs, (Names{"r"}));
    EXPECT_EQ(blocks[1].outputs, (Names{"c"}));
    EXPECT_EQ(blocks[2].layers, (Names{"c3"}));
    EXPECT_EQ(blocks[2].inputs, (Names{"r", "c"}));
    EXPECT_EQ(blocks[2].outputs, (Names{"f"}));
  }
}

std::vector<Tensor> Samples(const Dims& dims, float low, float high) {
  Tensor x = *Tensor::Allocate(DType::kFloat32, dims);
  std::mt19937 random(3);
  std::uniform_real_distribution<float> real(low, high);
  for (int64_t i = 0; i < x.count(); ++i)
    reinterpret_cast<float*>(x.mutable_data())[i] = real(random);
  return {x};
}

TEST(Blocks, PartsMakeTheWhole) {
  const auto graph = Net();
  const auto inputs = Samples({2, 3, 8, 8}, -1, 1);
  auto want = interp::Evaluate(*graph, inputs);
  ASSERT_TRUE(want.ok());
  std::vector<Tensor> at = inputs;
  for (const Block& block : FindBlocks(*graph)) {
    auto part = Extract(*graph, block.inputs, block.outputs);
    ASSERT_TRUE(part.ok()) << part.status().message();
    ASSERT_TRUE(ir::Verify(**part).ok());
    auto out = interp::Evaluate(**part, at);
    ASSERT_TRUE(out.ok()) << out.status().message();
    at = *out;
  }
  EXPECT_EQ(at[0].ToDoubles(), (*want)[0].ToDoubles());
  auto missing = Extract(*graph, {"t"}, {"y", "nothing"});
  EXPECT_NE(missing.status().message().find("nothing"), std::string::npos);
  auto more = Extract(*graph, {}, {"y"});
  EXPECT_NE(more.status().message().find("'x'"), std::string::npos) << more.status().message();
}

// Where samples lie along another dimension, or are folded with one, nothing is cut; indices that
// the graph is given come along.
TEST(Blocks, KeepWhatIsNoSampleAndTakeIndicesAlong) {
  auto graph = ir::ParseText(R"(graph "sequence" {
    input %ids: int64[N, 6]
    const %table: float32[9, 4] = random(1)
    const %w1: float32[4, 4] = random(2)
    const %w2: float32[4, 4] = random(3)
    const %w3: float32[4, 4] = random(4)
    %e = Gather(%table, %ids)
    %a = MatMul(%e, %w1) "first"
    %t = Transpose(%a) {perm = [1, 0, 2]}
    %b = MatMul(%t, %w2) "second"
    %u = Transpose(%b) {perm = [1, 0, 2]}
    %y = MatMul(%u, %w3) "third"
    output %y
  })");
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  ASSERT_TRUE(ir::InferShapes(**graph).ok());
  const auto plain = FindBlocks(**graph, {.by_layer = true});
  ASSERT_EQ(plain.size(), 3u);
  EXPECT_EQ(plain[0].inputs, (Names{"ids"}));
  EXPECT_EQ(plain[0].outputs, (Names{"t"}));
  const auto whole = FindBlocks(**graph, {.by_layer = true, .uncut = {"t", "b"}});
  ASSERT_EQ(whole.size(), 3u);
  EXPECT_EQ(whole[0].outputs, (Names{"a"}));
  EXPECT_EQ(whole[1].layers, (Names{"second"}));
  EXPECT_EQ(whole[1].inputs, (Names{"a"}));
  EXPECT_EQ(whole[1].outputs, (Names{"u"}));
  EXPECT_EQ(whole[2].layers, (Names{"third"}));
}

TEST(Blocks, OfRealModels) {
  const std::string folder = std::string(SLIPWAY_SOURCE_DIR) + "/../shared/data/models/";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no models under " << folder;
  const auto blocks = [&](const char* name) {
    auto graph = onnx::ImportOnnx(folder + name);
    EXPECT_TRUE(graph.ok()) << graph.status().message();
    EXPECT_TRUE(passes::RunPasses(**graph, {.level = passes::Level::kFused}).ok());
    const auto found = FindBlocks(**graph);
    size_t layers = 0, all = 0;
    for (const Block& b : found) layers += b.layers.size();
    for (const auto& node : (*graph)->nodes()) all += HasConstantWeights(*node);
    EXPECT_EQ(layers, all) << name;
    return found;
  };
  // Stem, nine residual blocks, classifier.
  const auto resnet = blocks("resnet20_cifar10.onnx");
  ASSERT_EQ(resnet.size(), 11u);
  for (size_t i = 1; i < 10; ++i) EXPECT_EQ(resnet[i].layers.size(), 2u) << i;
  // Patches, an attention and an MLP a layer, classifier.
  const auto vit = blocks("vit_small_cifar10.onnx");
  ASSERT_EQ(vit.size(), 10u);
  for (size_t i = 1; i < 9; ++i) EXPECT_EQ(vit[i].layers.size(), 2u) << i;
  const auto mobilenet = blocks("mobilenetv2_small_cifar10.onnx");
  EXPECT_GT(mobilenet.size(), 10u);
}

Scheme LowBits(int bits) {
  Scheme s;
  s.weights = {.bits = bits, .per = compiler::Granularity::kChannel, .observer = "mse"};
  s.activations = {.bits = 4, .sign = compiler::Sign::kAuto, .symmetric = false, .observer = "mse"};
  s.operators = {"Conv", "Linear"};
  return s;
}

TEST(Schemes, EndsKeepTheirBits) {
  const auto graph = Net();
  QuantizeOptions options;
  KeepEnds(*graph, 8, &options);
  EXPECT_EQ(options.weight_bits, (std::map<std::string, int>{{"c1", 8}, {"fc", 8}}));
  EXPECT_EQ(options.activation_bits.count("x"), 1u);
  EXPECT_EQ(options.activation_bits.count("f"), 1u);
  EXPECT_EQ(options.activation_bits.count("r"), 0u);
}

struct Quantized {
  std::unique_ptr<Graph> original, quantized;
  std::vector<Tensor> samples;
};
Quantized Make(int bits) {
  Quantized q{Net(), nullptr, Samples({64, 3, 8, 8}, -1, 1)};
  q.quantized = q.original->Clone();
  QuantizeOptions options;
  KeepEnds(*q.original, 8, &options);
  const auto make = [](const Graph& g) { return InterpreterEvaluator(g, nullptr); };
  const BatchSource data = [&](int64_t i) -> Result<std::vector<Tensor>> {
    return i == 0 ? q.samples : std::vector<Tensor>();
  };
  const Status status = Quantize(*q.quantized, LowBits(bits), make, data, options);
  EXPECT_TRUE(status.ok()) << status.message();
  return q;
}
double ErrorOf(const Graph& graph, const Quantized& q) {
  auto got = interp::Evaluate(graph, q.samples), want = interp::Evaluate(*q.original, q.samples);
  EXPECT_TRUE(got.ok()) << got.status().message();
  const auto a = (*got)[0].ToDoubles(), b = (*want)[0].ToDoubles();
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum / static_cast<double>(a.size());
}

learn::Engine* EngineOrNull() {
  auto engine = learn::GetEngine();
  return engine.ok() ? *engine : nullptr;
}

TEST(Reconstruct, EveryMethodBeatsTheNearest) {
  learn::Engine* engine = EngineOrNull();
  if (!engine) GTEST_SKIP() << learn::GetEngine().status().message();
  for (const char* method : {"adaround", "brecq", "qdrop"}) {
    SCOPED_TRACE(method);
    Quantized q = Make(2);
    const double before = ErrorOf(*q.quantized, q);
    auto options = MethodOptions(method);
    ASSERT_TRUE(options.ok());
    options->learn.iterations = 400;
    options->learn.batch = 16;
    options->learn.rounding_rate = 4e-3;
    options->scale_iterations = 100;
    int64_t told = 0;
    options->progress = [&](const Block&, size_t, size_t, int64_t iteration) {
      told += iteration > 0;
      return true;
    };
    auto reports = Reconstruct(*q.original, *q.quantized, *engine, q.samples, *options);
    ASSERT_TRUE(reports.ok()) << reports.status().message();
    ASSERT_TRUE(ir::Verify(*q.quantized).ok());
    ASSERT_EQ(reports->size(), std::string(method) == "adaround" ? 4u : 3u);
    int64_t iterations = 0;
    for (const BlockReport& r : *reports) {
      iterations += r.iterations;
      EXPECT_LE(r.loss_after, r.loss_before * 1.05);
      EXPECT_EQ(r.scales_apart, std::string(method) == "brecq");
      EXPECT_LE(r.scales_after, r.scales_before * 1.05);
    }
    EXPECT_EQ(told, iterations);
    EXPECT_LT(ErrorOf(*q.quantized, q), 0.7 * before);
    // It still becomes integers, which give the same.
    const auto integers = q.quantized->Clone();
    ASSERT_TRUE(passes::RunPasses(*integers, {.level = passes::Level::kInteger}).ok());
    int products = 0;
    for (const auto& node : integers->nodes())
      products += node->IsSlipway("QConv") || node->IsSlipway("QLinear");
    EXPECT_EQ(products, 4);
    EXPECT_NEAR(ErrorOf(*integers, q), ErrorOf(*q.quantized, q), 0.02 * before);
  }
}

// Behind what only moves elements the scale stays that of the codes before, so that codes move.
TEST(Reconstruct, MovedCodesKeepOneScale) {
  learn::Engine* engine = EngineOrNull();
  if (!engine) GTEST_SKIP() << learn::GetEngine().status().message();
  std::string text = kNet;
  const std::string old = "  %k = Conv(%r, %w3) \"c3\"\n";
  text.replace(text.find(old), old.size(),
               "  %m = MaxPool(%r) {kernel_shape = [3, 3], pads = [1, 1, 1, 1]}\n"
               "  %pad = Pad(%m, %pads)\n  %k = Conv(%pad, %w3) \"c3\"\n");
  text.insert(text.find("  %a ="), "  const %pads: int64[8] = [0, 0, 0, 0, 0, 0, 0, 0]\n");
  Quantized q{nullptr, nullptr, Samples({64, 3, 8, 8}, -1, 1)};
  auto graph = ir::ParseText(text);
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  q.original = std::move(*graph);
  ASSERT_TRUE(ir::InferShapes(*q.original).ok());
  q.quantized = q.original->Clone();
  const auto make = [](const Graph& g) { return InterpreterEvaluator(g, nullptr); };
  const BatchSource data = [&](int64_t i) -> Result<std::vector<Tensor>> {
    return i == 0 ? q.samples : std::vector<Tensor>();
  };
  const Status status = Quantize(*q.quantized, LowBits(4), make, data, {});
  ASSERT_TRUE(status.ok()) << status.message();
  auto options = *MethodOptions("qdrop");
  options.learn.iterations = 30;
  options.learn.batch = 16;
  options.learn.scale_rate = 1e-2;
  const auto scale = [&](const char* name) {
    const ir::Node* node = q.quantized->FindNode(std::string(name) + "/quantize");
    EXPECT_NE(node, nullptr) << name;
    return node ? node->constant_input(1)->ToDoubles()[0] : 0.0;
  };
  const double before = scale("r");
  EXPECT_EQ(scale("pad"), before);
  auto reports = Reconstruct(*q.original, *q.quantized, *engine, q.samples, options);
  ASSERT_TRUE(reports.ok()) << reports.status().message();
  EXPECT_NE(scale("r"), before);
  EXPECT_EQ(scale("m"), scale("r"));
  EXPECT_EQ(scale("pad"), scale("r"));
}

// Layers in front of an operator without a derivative stay rounded to the nearest, the others are
// learned; a sequence whose samples lie along its second dimension is learned in one block.
TEST(Reconstruct, WhatCannotBeLearnedStaysAndSaysSo) {
  learn::Engine* engine = EngineOrNull();
  if (!engine) GTEST_SKIP() << learn::GetEngine().status().message();
  const auto run = [&](const std::string& text, const char* method, Quantized& q) {
    auto graph = ir::ParseText(text);
    EXPECT_TRUE(graph.ok()) << graph.status().message();
    q.original = std::move(*graph);
    EXPECT_TRUE(ir::InferShapes(*q.original).ok());
    q.quantized = q.original->Clone();
    const auto make = [](const Graph& g) { return InterpreterEvaluator(g, nullptr); };
    const BatchSource data = [&](int64_t i) -> Result<std::vector<Tensor>> {
      return i == 0 ? q.samples : std::vector<Tensor>();
    };
    const Status status = Quantize(*q.quantized, LowBits(4), make, data, {});
    EXPECT_TRUE(status.ok()) << status.message();
    auto options = *MethodOptions(method);
    options.learn.iterations = 30;
    options.learn.batch = 6;  // as long as the sequence
    return Reconstruct(*q.original, *q.quantized, *engine, q.samples, options);
  };
  const std::string start = R"(graph "sequence" {
    input %x: float32[N, 6, 4]
    const %w1: float32[4, 8] = random(2)
    const %w2: float32[8, 4] = random(3)
    const %w3: float32[4, 5] = random(4)
    const %axis: int64[] = [1]
    %a = MatMul(%x, %w1) "first"
    %t = Transpose(%a) {perm = [1, 0, 2]}
    %b = MatMul(%t, %w2) "second"
    %u = Transpose(%b) {perm = [1, 0, 2]}
)";
  for (const char* method : {"adaround", "brecq", "qdrop"}) {
    SCOPED_TRACE(method);
    Quantized q{nullptr, nullptr, Samples({36, 6, 4}, -1, 1)};
    auto reports =
        run(start + "    %s = CumSum(%u, %axis)\n    %y = MatMul(%s, %w3) \"third\"\n output %y }",
            method, q);
    ASSERT_TRUE(reports.ok()) << reports.status().message();
    ASSERT_EQ(reports->size(), 3u);
    EXPECT_EQ((*reports)[0].kept, "");
    EXPECT_NE((*reports)[1].kept.find("CumSum"), std::string::npos) << (*reports)[1].kept;
    EXPECT_EQ((*reports)[1].block.layers, (Names{"second"}));
    EXPECT_EQ((*reports)[1].iterations, 0);
    EXPECT_EQ((*reports)[1].loss_before, (*reports)[1].loss_after);
    EXPECT_EQ((*reports)[2].kept, "");
    EXPECT_GT((*reports)[2].iterations, 0);
    Quantized whole{nullptr, nullptr, Samples({36, 6, 4}, -1, 1)};
    reports = run(start + "    %y = MatMul(%u, %w3) \"third\"\n output %y }", method, whole);
    ASSERT_TRUE(reports.ok()) << reports.status().message();
    EXPECT_EQ((*reports)[1].kept, "");
    EXPECT_LT((*reports)[1].loss_after, (*reports)[1].loss_before);
    Quantized none{nullptr, nullptr, Samples({36, 6, 4}, -1, 1)};
    reports =
        run("graph \"g\" { input %x: float32[N, 6, 4] const %w1: float32[4, 8] = random(2) const "
            "%axis: "
            "int64[] = [1] %a = MatMul(%x, %w1) \"first\" %y = CumSum(%a, %axis) output %y }",
            method, none);
    ASSERT_FALSE(reports.ok());
    EXPECT_NE(reports.status().message().find("CumSum"), std::string::npos);
  }
}

// A run that stops in a block and one that goes on give the bits of one that was not stopped, also
// when files of the work folder are damaged meanwhile.
TEST(Reconstruct, GoesOnWhereItStopped) {
  learn::Engine* engine = EngineOrNull();
  if (!engine) GTEST_SKIP() << learn::GetEngine().status().message();
  namespace fs = std::filesystem;
  const std::string folder =
      (fs::temp_directory_path() / ("reconstruct_test-" + std::to_string(::getpid()))).string();
  SetLogSink([](LogLevel, std::string_view) {});
  const auto text = [](const Graph& graph) {
    std::string all;
    for (const auto& value : graph.values()) {
      if (!value->is_constant()) continue;
      const auto bytes = value->constant()->bytes();
      all += value->name() + std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    return all;
  };
  for (const char* method : {"brecq", "qdrop"}) {
    auto options = *MethodOptions(method);
    options.learn.iterations = 40;
    options.scale_iterations = 10;
    options.learn.batch = 16;
    options.fisher = true;
    Quantized whole = Make(2);
    auto expected = Reconstruct(*whole.original, *whole.quantized, *engine, whole.samples, options);
    ASSERT_TRUE(expected.ok()) << expected.status().message();
    const std::string want = text(*whole.quantized);
    for (const std::string damage : {"", "codes", "float", "block"}) {
      SCOPED_TRACE(std::string(method) + " " + damage);
      fs::remove_all(folder);
      const auto run = [&](const char* stop, int* blocks) {
        auto work = WorkFolder::Open(folder);
        EXPECT_TRUE(work.ok()) << work.status().message();
        auto these = options;
        these.work = work->get();
        these.progress = [&](const Block& block, size_t, size_t, int64_t iteration) {
          *blocks += iteration == 0;
          return block.name != stop || iteration < 7;
        };
        Quantized q = Make(2);
        auto reports = Reconstruct(*q.original, *q.quantized, *engine, q.samples, these);
        EXPECT_EQ(reports.ok(), !*stop) << reports.status().message();
        if (reports.ok()) {
          EXPECT_EQ(reports->at(1).loss_after, expected->at(1).loss_after);
          EXPECT_EQ(text(*q.quantized), want);
        }
      };
      int first = 0, second = 0, third = 0;
      run("fc", &first);
      EXPECT_EQ(first, 3);
      for (const auto& entry : fs::directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        if (!damage.empty() && name.find(damage) != std::string::npos)
          fs::resize_file(entry.path(), fs::file_size(entry.path()) - 1);
      }
      run("", &second);
      const int passes = std::string(method) == "brecq" ? 2 : 1;
      EXPECT_EQ(second, damage == "block" ? 3 * passes : 3 * passes - 2);
      run("", &third);  // all is there
      EXPECT_EQ(third, 0);
    }
    // Other options: not this folder's.
    auto work = WorkFolder::Open(folder);
    ASSERT_TRUE(work.ok());
    options.work = work->get();
    options.learn.seed = 9;
    Quantized q = Make(2);
    auto other = Reconstruct(*q.original, *q.quantized, *engine, q.samples, options);
    EXPECT_NE(other.status().message().find("differs in: options"), std::string::npos)
        << other.status().message();
  }
  SetLogSink(nullptr);
  fs::remove_all(folder);
}

TEST(Reconstruct, ErrorsNameWhatIsWrong) {
  learn::Engine* engine = EngineOrNull();
  if (!engine) GTEST_SKIP() << learn::GetEngine().status().message();
  EXPECT_NE(MethodOptions("magic").status().message().find("magic"), std::string::npos);
  Quantized q = Make(3);
  auto options = *MethodOptions("qdrop");
  options.learn.iterations = 3;
  const auto error = [&](const std::vector<Tensor>& inputs) {
    auto reports = Reconstruct(*q.original, *q.quantized, *engine, inputs, options);
    return reports.ok() ? std::string("none") : reports.status().message();
  };
  EXPECT_NE(error({}).find("0 inputs"), std::string::npos);
  options.learn.batch = 48;
  EXPECT_NE(error(q.samples).find("64 samples are no multiple of the batch 48"), std::string::npos);
  options.learn.batch = 32;
  options.progress = [](const Block& block, size_t, size_t, int64_t) { return block.name != "fc"; };
  EXPECT_NE(error(q.samples).find("stopped"), std::string::npos);
}

}  // namespace
}  // namespace slipway::quant
