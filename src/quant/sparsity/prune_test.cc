#include "quant/sparsity/prune.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>

#include "base/thread_pool.h"
#include "model/interp/interpreter.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"
#include "model/ir/verify.h"
#include "model/passes/pass.h"
#include "quant/reconstruct/reconstruct.h"
#include "quant/schemes/quantize.h"
#include "quant/weight_only/weight_only.h"

namespace slipway::quant {
namespace {

using ir::Graph;
using ir::Tensor;

// Strides, padding, groups, a depthwise layer, one of six channels, products both ways around.
constexpr char kNet[] = R"(graph "net" {
  input %x: float32[N, 3, 9, 9]
  const %w1: float32[8, 3, 3, 3] = random(1)
  const %b1: float32[8] = random(2)
  const %w2: float32[8, 8, 3, 2] = random(3)
  const %b2: float32[8] = random(7)
  const %w3: float32[8, 8, 1, 1] = random(4)
  const %wd: float32[8, 1, 3, 3] = random(8)
  const %wg: float32[12, 4, 1, 1] = random(9)
  const %w6: float32[6, 12, 1, 1] = random(10)
  const %w7: float32[8, 6, 1, 1] = random(11)
  const %m1: float32[8, 12] = random(5)
  const %m2: float32[16, 12] = random(12)
  const %fc: float32[16, 5] = random(13)
  const %fb: float32[5] = random(6)
  %a = Conv(%x, %w1, %b1) {pads = [1, 1, 1, 1]} "first"
  %r = Relu(%a)
  %c = Conv(%r, %w2, %b2) {pads = [1, 0, 1, 1], strides = [2, 2], dilations = [1, 1]} "c2"
  %k = Conv(%r, %w3) {strides = [2, 2]} "c3"
  %s = Add(%c, %k)
  %t = Relu(%s)
  %d = Conv(%t, %wd) {group = 8, pads = [1, 1, 1, 1]} "depthwise"
  %g = Conv(%d, %wg) {group = 2} "grouped"
  %h = Conv(%g, %w6) "six"
  %i = Conv(%h, %w7) "of_six"
  %p = GlobalAveragePool(%i)
  %f = Flatten(%p)
  %u = MatMul(%f, %m1) "m1"
  %v = Relu(%u)
  %z = Gemm(%v, %m2) {transB = 1} "m2"
  %q = Tanh(%z)
  %y = Gemm(%q, %fc, %fb) "last"
  output %y
})";

std::unique_ptr<Graph> Net() {
  auto graph = ir::ParseText(kNet);
  EXPECT_TRUE(graph.ok()) << graph.status().message();
  EXPECT_TRUE(ir::InferShapes(**graph).ok());
  return std::move(*graph);
}
Result<GraphRunner> Make(const Graph& part) {
  std::shared_ptr<Graph> copy(part.Clone());
  return GraphRunner([copy](const std::vector<Tensor>& in) { return interp::Evaluate(*copy, in); });
}
Tensor Batch(int64_t index, int64_t samples = 16) {
  Tensor x = *Tensor::Allocate(DType::kFloat32, {samples, 3, 9, 9});
  std::mt19937 random(static_cast<unsigned>(index) + 3);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < x.count(); ++i)
    reinterpret_cast<float*>(x.mutable_data())[i] = normal(random);
  return x;
}
const BatchSource kData = [](int64_t i) -> Result<std::vector<Tensor>> {
  return i < 4 ? std::vector<Tensor>{Batch(i)} : std::vector<Tensor>{};
};
PruneOptions Options(const char* pattern, PruneMethod method = PruneMethod::kObs) {
  PruneOptions o;
  o.pattern = *compiler::ParseSparsity(pattern);
  o.method = method;
  return o;
}
std::vector<std::string> Names(const PruneReport& report) {
  std::vector<std::string> names;
  for (const auto& l : report.layers) names.push_back(l.name);
  return names;
}
double Difference(const Graph& a, const Graph& b) {
  const auto x = interp::Evaluate(a, std::vector<Tensor>{Batch(100, 64)}),
             y = interp::Evaluate(b, std::vector<Tensor>{Batch(100, 64)});
  EXPECT_TRUE(x.ok() && y.ok());
  const auto u = (*x)[0].ToDoubles(), v = (*y)[0].ToDoubles();
  double sum = 0, all = 0;
  for (size_t i = 0; i < u.size(); ++i) sum += (u[i] - v[i]) * (u[i] - v[i]), all += u[i] * u[i];
  return sum / all;
}

TEST(Prune, EveryLayerThatFits) {
  for (const char* pattern : {"2:4", "block:4x4@0.5"}) {
    for (const PruneMethod method : {PruneMethod::kMagnitude, PruneMethod::kObs}) {
      SCOPED_TRACE(pattern);
      const auto given = Net();
      auto graph = given->Clone();
      const auto report = Prune(*graph, Make, &kData, Options(pattern, method));
      ASSERT_TRUE(report.ok()) << report.status().message();
      ASSERT_TRUE(ir::Verify(*graph).ok());
      std::vector<std::string> want = {"c2", "c3", "grouped", "six", "m1", "m2"};
      const bool blocks = pattern[0] == 'b';
      if (blocks) want.insert(want.begin() + 4, "of_six");
      EXPECT_EQ(Names(*report), want);
      for (const auto& l : report->layers) {
        EXPECT_GE(l.magnitude, 0) << l.name;
        // (A group of "grouped" has two blocks, of which one stays.)
        const int64_t least = blocks && l.name == "grouped" ? l.weights / 3 : l.weights / 2;
        EXPECT_GE(l.zeros, least) << l.name;
        EXPECT_LE(l.chosen, l.magnitude * 1.0001) << l.name;
        const int64_t stored = blocks ? l.weights - l.zeros : l.weights / 2;
        EXPECT_GT(l.Bytes(Options(pattern).pattern, 8), stored) << l.name;
        EXPECT_LT(l.Bytes(Options(pattern).pattern, 8), l.weights) << l.name;
      }
      for (const auto& d : report->dense) {
        if (d.name == "first" || d.name == "last")
          EXPECT_EQ(d.reason, "at an end of the network");
        else if (d.name == "depthwise")
          EXPECT_EQ(d.reason, "depthwise: one input channel");
        else if (d.name == "of_six")
          EXPECT_EQ(d.reason, "6 input channels, no multiple of 4");
        else
          ADD_FAILURE() << d.name << " " << d.reason;
      }
      const auto broken = BrokenLayers(*graph, Options(pattern).pattern, Names(*report));
      ASSERT_TRUE(broken.ok());
      EXPECT_TRUE(broken->empty());
      const auto before = BrokenLayers(*given, Options(pattern).pattern, Names(*report));
      ASSERT_TRUE(before.ok());
      EXPECT_EQ(before->size(), want.size());
    }
  }
}

// The rows that a convolution multiplies give its outputs: pruned weights are better on them.
TEST(Prune, ByOutputsLosesLess) {
  const auto given = Net();
  auto magnitude = given->Clone(), obs = given->Clone();
  ASSERT_TRUE(Prune(*magnitude, Make, &kData, Options("2:4", PruneMethod::kMagnitude)).ok());
  const auto report = Prune(*obs, Make, &kData, Options("2:4"));
  ASSERT_TRUE(report.ok());
  EXPECT_LT(Difference(*given, *obs), 0.9 * Difference(*given, *magnitude));
}

// The error that is reported is that of the node's output.
TEST(Prune, ErrorsAreOfTheOutputs) {
  const auto given = Net();
  for (const char* name : {"c2", "grouped", "m2"}) {
    PruneOptions options = Options("2:4", PruneMethod::kMagnitude);
    for (const auto& node : given->nodes()) {
      if (HasConstantWeights(*node) && node->name() != name)
        options.keep_dense.insert(node->name());
    }
    auto graph = given->Clone();
    const auto report = Prune(*graph, Make, &kData, options);
    ASSERT_TRUE(report.ok()) << report.status().message();
    ASSERT_EQ(report->layers.size(), 1u);
    double sum = 0, all = 0;
    for (int64_t i = 0; i < 4; ++i) {
      const auto part = [&](Graph& g) {
        ir::Node* node = g.FindNode(name);
        if (node->input(2)) g.RemoveInput(node, 2);
        return *Extract(g, {"x"}, {node->output()->name()});
      };
      const auto x = *interp::Evaluate(*part(*given->Clone()), std::vector<Tensor>{Batch(i)}),
                 y = *interp::Evaluate(*part(*graph), std::vector<Tensor>{Batch(i)});
      const auto u = x[0].ToDoubles(), v = y[0].ToDoubles();
      for (size_t j = 0; j < u.size(); ++j)
        sum += (u[j] - v[j]) * (u[j] - v[j]), all += u[j] * u[j];
    }
    EXPECT_NEAR(report->layers[0].magnitude, sum / all, 1e-4 * sum / all) << name;
  }
}

TEST(Prune, DoesNotDependOnThreads) {
  ThreadPool pool({.threads = 3});
  std::vector<std::string> bytes;
  for (Parallel* p : {static_cast<Parallel*>(nullptr), static_cast<Parallel*>(&pool)}) {
    auto graph = Net();
    PruneOptions options = Options("2:4");
    options.pool = p;
    ASSERT_TRUE(Prune(*graph, Make, &kData, options).ok());
    std::string all;
    for (const auto& v : graph->values()) {
      if (v->is_constant())
        all.append(reinterpret_cast<const char*>(v->constant()->bytes().data()),
                   v->constant()->bytes().size());
    }
    bytes.push_back(all);
  }
  EXPECT_EQ(bytes[0], bytes[1]);
}

TEST(Prune, WithoutData) {
  auto graph = Net();
  const auto report = Prune(*graph, Make, nullptr, Options("2:4", PruneMethod::kMagnitude));
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->layers.size(), 6u);
  EXPECT_LT(report->layers[0].magnitude, 0);
  EXPECT_EQ(2 * report->zeros(), report->weights());
  auto other = Net();
  const auto refused = Prune(*other, Make, nullptr, Options("2:4"));
  EXPECT_NE(refused.status().message().find("calibration samples"), std::string::npos);
}

TEST(Prune, EndsAndChosenLayers) {
  auto graph = Net();
  PruneOptions options = Options("2:4");
  options.ends = true;
  options.keep_dense = {"c2", "m1"};
  const auto report = Prune(*graph, Make, &kData, options);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(Names(*report), (std::vector<std::string>{"c3", "grouped", "six", "m2", "last"}));
  bool first = false, asked = false;
  for (const auto& d : report->dense) {
    first |= d.name == "first" && d.reason == "3 input channels, fewer than 4";
    asked |= d.name == "c2" && d.reason == "as asked for";
  }
  EXPECT_TRUE(first && asked);
}

TEST(Prune, ErrorsNameWhatIsWrong) {
  const auto message = [](std::unique_ptr<Graph> graph, const PruneOptions& options,
                          const BatchSource& data = kData) {
    const auto report = Prune(*graph, Make, &data, options);
    return report.ok() ? std::string("none") : report.status().message();
  };
  PruneOptions options = Options("2:4");
  options.keep_dense = {"nobody"};
  EXPECT_NE(message(Net(), options).find("'nobody'"), std::string::npos);
  EXPECT_NE(message(Net(), Options("block:64x4@0.5")).find("fewer than 64"), std::string::npos);
  auto graph = Net();
  Tensor w = graph->FindNode("c2")->constant_input(1)->Aligned();
  Tensor bad = *Tensor::Allocate(DType::kFloat32, w.dims());
  std::memcpy(bad.mutable_data(), w.bytes().data(), w.bytes().size());
  reinterpret_cast<float*>(bad.mutable_data())[7] = std::nanf("");
  graph->SetConstant(graph->FindNode("c2")->input(1), bad);
  const std::string weights = message(std::move(graph), Options("2:4"));
  EXPECT_NE(weights.find("c2"), std::string::npos) << weights;
  EXPECT_NE(weights.find("not finite"), std::string::npos) << weights;
  const std::string values = message(Net(), Options("2:4"), [](int64_t i) {
    Tensor x = Batch(i);
    reinterpret_cast<float*>(x.mutable_data())[3] = std::numeric_limits<float>::infinity();
    return Result<std::vector<Tensor>>(i < 1 ? std::vector<Tensor>{x} : std::vector<Tensor>{});
  });
  EXPECT_NE(values.find("'r'"), std::string::npos) << values;
  PruneOptions stopped = Options("2:4");
  stopped.progress = [](const std::string& layer, size_t, size_t count) {
    EXPECT_EQ(count, 6u);
    return layer != "c3";
  };
  EXPECT_NE(message(Net(), stopped).find("stopped"), std::string::npos);
}

TEST(Prune, AllZeroWeightsStay) {
  auto graph = Net();
  ir::Node* node = graph->FindNode("c2");
  Tensor zero = *Tensor::Allocate(DType::kFloat32, node->constant_input(1)->dims());
  std::memset(zero.mutable_data(), 0, zero.bytes().size());
  graph->SetConstant(node->input(1), zero);
  const auto report = Prune(*graph, Make, &kData, Options("2:4"));
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->layers[0].zeros, report->layers[0].weights);
  EXPECT_EQ(report->layers[0].chosen, 0);
}

// ---- reconstruction, and quantization behind it ----

class Trained : public testing::Test {
 protected:
  void SetUp() override {
    auto engine = learn::GetEngine();
    if (!engine.ok()) GTEST_SKIP() << engine.status().message();
    engine_ = *engine;
    original_ = Net();
    sparse_ = original_->Clone();
    auto report = Prune(*sparse_, Make, &kData, Options("2:4"));
    ASSERT_TRUE(report.ok()) << report.status().message();
    layers_ = Names(*report);
    options_.weights = true;
    options_.learn.batch = 16;
    options_.learn.iterations = 60;
  }
  std::vector<Tensor> Inputs() const { return {Batch(7, 64)}; }
  std::string Bytes(const Graph& graph) const {
    std::string all;
    for (const auto& node : graph.nodes()) {
      for (const size_t i : {1, 2}) {
        if (const Tensor* t = node->constant_input(i))
          all.append(reinterpret_cast<const char*>(t->bytes().data()), t->bytes().size());
      }
    }
    return all;
  }

  learn::Engine* engine_ = nullptr;
  std::unique_ptr<Graph> original_, sparse_;
  std::vector<std::string> layers_;
  ReconstructionOptions options_;
};

TEST_F(Trained, LowersTheErrorAndKeepsThePattern) {
  const double before = Difference(*original_, *sparse_);
  const auto reports = Reconstruct(*original_, *sparse_, *engine_, Inputs(), options_);
  ASSERT_TRUE(reports.ok()) << reports.status().message();
  int lower = 0;
  for (const BlockReport& b : *reports) {
    EXPECT_LE(b.loss_after, b.loss_before) << b.block.name;
    lower += b.loss_after < 0.9 * b.loss_before;
    if (b.block.name == "first") {  // nothing before it is pruned
      EXPECT_EQ(b.iterations, 0);
      EXPECT_EQ(b.loss_before, 0);
    }
  }
  EXPECT_GE(lower, 2);
  EXPECT_LT(Difference(*original_, *sparse_), before);
  EXPECT_TRUE(BrokenLayers(*sparse_, Options("2:4").pattern, layers_)->empty());
}

TEST_F(Trained, GoesOnWhereItWasKilled) {
  auto whole = sparse_->Clone();
  ASSERT_TRUE(Reconstruct(*original_, *whole, *engine_, Inputs(), options_).ok());
  const std::string folder = testing::TempDir() + "/slipway_prune_" + std::to_string(::getpid());
  std::filesystem::remove_all(folder);
  {
    auto work = WorkFolder::Open(folder);
    ASSERT_TRUE(work.ok());
    auto options = options_;
    options.work = work->get();
    options.progress = [](const Block&, size_t index, size_t, int64_t iteration) {
      return index < 3 || iteration < 5;
    };
    auto killed = sparse_->Clone();
    EXPECT_FALSE(Reconstruct(*original_, *killed, *engine_, Inputs(), options).ok());
  }
  auto work = WorkFolder::Open(folder);
  ASSERT_TRUE(work.ok());
  auto options = options_;
  options.work = work->get();
  size_t first = 99;
  options.progress = [&](const Block&, size_t index, size_t, int64_t) {
    first = std::min(first, index);
    return true;
  };
  auto rest = sparse_->Clone();
  const auto reports = Reconstruct(*original_, *rest, *engine_, Inputs(), options);
  ASSERT_TRUE(reports.ok()) << reports.status().message();
  EXPECT_EQ(first, 3u);
  EXPECT_EQ(Bytes(*rest), Bytes(*whole));
  // Other options, another folder.
  options.learn.weight_rate = 1e-3;
  auto other = sparse_->Clone();
  EXPECT_NE(Reconstruct(*original_, *other, *engine_, Inputs(), options)
                .status()
                .message()
                .find("options"),
            std::string::npos);
  std::filesystem::remove_all(folder);
}

compiler::Scheme TheScheme(bool symmetric) {
  compiler::Scheme s;
  s.weights = {.bits = 8,
               .symmetric = symmetric,
               .narrow = symmetric,
               .per = compiler::Granularity::kChannel};
  s.operators = {"Conv", "Linear"};
  return s;
}
// Codes keep the zeros: rounded to nearest with and without zero points, at few bits, and learned.
TEST_F(Trained, CodesKeepThePattern) {
  ASSERT_TRUE(passes::RunPasses(*sparse_, {.level = passes::Level::kFused}).ok());
  for (const bool symmetric : {true, false}) {
    for (const int bits : {8, 3}) {
      SCOPED_TRACE(std::to_string(bits) + (symmetric ? " symmetric" : " with zero points"));
      compiler::Scheme scheme = TheScheme(symmetric);
      QuantizeOptions options;
      for (const auto& node : sparse_->nodes()) {
        if (bits < 8 && HasConstantWeights(*node)) options.weight_bits[node->name()] = bits;
      }
      auto quantized = sparse_->Clone();
      const auto make = [](const Graph& g) -> Result<Evaluator> {
        return InterpreterEvaluator(g, nullptr);
      };
      ASSERT_TRUE(Quantize(*quantized, scheme, make, kData, options).ok());
      auto broken = BrokenLayers(*quantized, Options("2:4").pattern, layers_);
      ASSERT_TRUE(broken.ok()) << broken.status().message();
      EXPECT_TRUE(broken->empty());
      auto learn = *MethodOptions("adaround");
      learn.learn.iterations = 40;
      learn.learn.rounding_rate = 0.05;
      learn.learn.batch = 16;
      learn.learn.keep_zeros = true;
      ASSERT_TRUE(Reconstruct(*sparse_, *quantized, *engine_, Inputs(), learn).ok());
      broken = BrokenLayers(*quantized, Options("2:4").pattern, layers_);
      EXPECT_TRUE(broken.ok() && broken->empty());
    }
  }
}

TEST(Prune, GptqKeepsTheZeros) {
  auto graph = Net();
  const auto report = Prune(*graph, Make, &kData, Options("2:4"));
  ASSERT_TRUE(report.ok());
  for (const bool keep : {true, false}) {
    auto quantized = graph->Clone();
    WeightOnlyOptions options{.bits = 4, .group = 0};
    options.keep_zeros = keep;
    const auto layers = QuantizeWeightsOnly(*quantized, Make, kData, options);
    ASSERT_TRUE(layers.ok()) << layers.status().message();
    const auto broken = BrokenLayers(*quantized, Options("2:4").pattern, {"m1", "m2"});
    ASSERT_TRUE(broken.ok()) << broken.status().message();
    EXPECT_EQ(broken->empty(), keep);
  }
}

TEST(Prune, SparseLayersAreFound) {
  auto graph = Net();
  EXPECT_TRUE(SparseLayers(*graph, Options("2:4").pattern).empty());
  const auto report = Prune(*graph, Make, nullptr, Options("2:4", PruneMethod::kMagnitude));
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(SparseLayers(*graph, Options("2:4").pattern), Names(*report));
}

}  // namespace
}  // namespace slipway::quant
