#include "quant/schemes/recurrent.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <random>

#include "model/frontends/onnx/export.h"
#include "model/frontends/onnx/import.h"
#include "model/interp/interpreter.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"
#include "model/ir/verify.h"
#include "model/passes/pass.h"
#include "quant/sensitivity/diagnose.h"

namespace slipway::quant {
namespace {

using ir::Tensor;

Scheme TestScheme(int bits = 8) {
  Scheme s;
  s.weights = {.bits = bits, .narrow = true, .per = compiler::Granularity::kChannel};
  s.activations.sign = compiler::Sign::kAuto;
  s.operators = {"Conv", "Linear", "RNN", "GRU", "LSTM"};
  return s;
}

std::unique_ptr<ir::Graph> Parse(const std::string& text) {
  auto graph = ir::ParseText(text);
  EXPECT_TRUE(graph.ok()) << graph.status().ToString();
  EXPECT_TRUE(ir::InferShapes(**graph).ok());
  return std::move(*graph);
}

std::unique_ptr<ir::Graph> Quantized(const ir::Graph& graph, const Scheme& scheme,
                                     const QuantizeOptions& options = {}) {
  auto copy = graph.Clone();
  Status s = InsertQuantization(*copy, scheme, {}, options);
  EXPECT_TRUE(s.ok()) << s.ToString();
  s = ir::Verify(*copy);
  EXPECT_TRUE(s.ok()) << s.ToString();
  return copy;
}

std::vector<Tensor> Outputs(const ir::Graph& graph, const std::vector<Tensor>& inputs) {
  auto evaluator = InterpreterEvaluator(graph, nullptr);
  auto out = (*evaluator)(inputs, {});
  EXPECT_TRUE(out.ok()) << out.status().ToString();
  return out.ok() ? *out : std::vector<Tensor>{};
}

Tensor Filled(const Dims& dims, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  auto t = Tensor::Allocate(DType::kFloat32, dims);
  for (int64_t i = 0; i < t->count(); ++i)
    reinterpret_cast<float*>(t->mutable_data())[i] = uniform(random);
  return std::move(*t);
}

void ExpectEqual(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].dims(), b[i].dims());
    EXPECT_TRUE(std::equal(a[i].bytes().begin(), a[i].bytes().end(), b[i].bytes().begin())) << i;
  }
}

// The Dequantize that makes input `i`, past a Reshape.
const ir::Node* WeightsOf(const ir::Node& node, size_t i) {
  const ir::Node* p = node.input(i)->producer();
  if (p && p->Is("Reshape")) p = p->input(0)->producer();
  return p && p->IsSlipway("Dequantize") ? p : nullptr;
}

constexpr char kGru[] = R"(graph "g" {
  input %x: float32[5, 2, 3]
  const %w: float32[1, 12, 3] = random(1)
  const %r: float32[1, 12, 4] = random(2)
  const %b: float32[1, 24] = random(3)
  %y, %h = GRU(%x, %w, %r, %b) {hidden_size = 4, linear_before_reset = 1} "gru"
  output %y
  output %h
})";

TEST(Recurrent, OneScaleForEachRowOfEachGate) {
  auto graph = Parse(kGru);
  const Tensor w = graph->FindNode("gru")->constant_input(1)->Aligned();
  for (const int bits : {8, 4}) {
    const auto q = Quantized(*graph, TestScheme(bits));
    const ir::Node* node = q->FindNode("gru");
    const ir::Node* dq = node->input(1)->producer();
    ASSERT_TRUE(dq && dq->IsSlipway("Dequantize"));  // one direction: no Reshape
    EXPECT_EQ(dq->attributes.Int("axis", -1), 1);
    EXPECT_EQ(dq->attributes.Int("bits", -1), bits);
    EXPECT_EQ(dq->input(2), nullptr);
    EXPECT_TRUE(node->constant_input(3));  // the bias stays float
    const Tensor *codes = dq->constant_input(0), *scales = dq->constant_input(1);
    ASSERT_EQ(codes->dims(), (Dims{1, 12, 3}));
    ASSERT_EQ(scales->dims(), (Dims{12}));
    const int top = (1 << (bits - 1)) - 1;
    for (int64_t row = 0; row < 12; ++row) {
      float most = 0;
      for (int64_t i = 0; i < 3; ++i)
        most = std::max(most, std::fabs(w.data<float>()[row * 3 + i]));
      EXPECT_FLOAT_EQ(scales->data<float>()[row], most / static_cast<float>(top)) << row;
      int largest = 0;
      for (int64_t i = 0; i < 3; ++i)
        largest = std::max(largest, std::abs(codes->data<int8_t>()[row * 3 + i]));
      EXPECT_EQ(largest, top) << row;
    }
  }
}

TEST(Recurrent, DirectionsHaveScalesOfTheirOwn) {
  auto graph = Parse(R"(graph "g" {
    input %x: float32[5, 2, 3]
    input %n: int32[2]
    const %w: float32[2, 16, 3] = random(1)
    const %r: float32[2, 16, 4] = random(2)
    %y, %h, %c = LSTM(%x, %w, %r, _, %n) {hidden_size = 4, direction = "bidirectional"} "lstm"
    output %y
    output %c
  })");
  const auto q = Quantized(*graph, TestScheme());
  const ir::Node* node = q->FindNode("lstm");
  for (const size_t i : {1, 2}) {
    const ir::Node* reshape = node->input(i)->producer();
    ASSERT_TRUE(reshape && reshape->Is("Reshape"));
    const ir::Node* dq = WeightsOf(*node, i);
    ASSERT_NE(dq, nullptr);
    EXPECT_EQ(dq->attributes.Int("axis", -1), 0);
    EXPECT_EQ(dq->constant_input(1)->dims(), (Dims{32}));
    EXPECT_EQ(*node->input(i)->type().StaticDims(), (Dims{2, 16, i == 1 ? 3 : 4}));
  }
  // Against float: as near as 8 bits of the weights.
  const std::vector<Tensor> in = {Filled({5, 2, 3}, 4), Tensor::Vector<int32_t>({5, 3})};
  const auto want = Outputs(*graph, in), got = Outputs(*q, in);
  double worst = 0;
  for (int64_t i = 0; i < want[0].count(); ++i)
    worst = std::max(worst, std::fabs(double{want[0].data<float>()[i]} - got[0].data<float>()[i]));
  EXPECT_GT(worst, 0);
  EXPECT_LT(worst, 0.02);
}

TEST(Recurrent, SharedConstantsGetOneDequantize) {
  auto graph = Parse(R"(graph "g" {
    input %x: float32[5, 2, 4]
    const %w: float32[1, 4, 4] = random(1)
    const %r: float32[1, 4, 4] = random(2)
    const %axes: int64[1] = [1]
    %a = RNN(%x, %w, %r) {hidden_size = 4} "a"
    %s = Squeeze(%a, %axes)
    %b = RNN(%s, %w, %r) {hidden_size = 4} "b"
    output %b
  })");
  auto q = Quantized(*graph, TestScheme());
  EXPECT_EQ(q->FindNode("a")->input(1), q->FindNode("b")->input(1));
  EXPECT_EQ(q->FindNode("a")->input(2), q->FindNode("b")->input(2));
  // At other bits they are others.
  q = Quantized(*graph, TestScheme(), {.weight_bits = {{"b", 4}}});
  EXPECT_EQ(WeightsOf(*q->FindNode("a"), 1)->attributes.Int("bits", 0), 8);
  EXPECT_EQ(WeightsOf(*q->FindNode("b"), 1)->attributes.Int("bits", 0), 4);
  // One stays float: the constant is still there for it.
  q = Quantized(*graph, TestScheme(), {.keep_float = {"a"}});
  EXPECT_NE(q->FindNode("a")->constant_input(1), nullptr);
  EXPECT_NE(WeightsOf(*q->FindNode("b"), 1), nullptr);
}

TEST(Recurrent, BitsAreTheSchemesButNotFewerThanFourUnasked) {
  auto graph = Parse(kGru);
  const auto bits = [&](int scheme, const QuantizeOptions& options) {
    return RecurrentLayers(*graph, TestScheme(scheme), options).at(0).bits;
  };
  EXPECT_EQ(bits(8, {}), 8);
  EXPECT_EQ(bits(16, {}), 8);
  EXPECT_EQ(bits(4, {}), 4);
  EXPECT_EQ(bits(3, {}), 8);
  EXPECT_EQ(bits(2, {}), 8);
  EXPECT_EQ(bits(8, {.weight_bits = {{"gru", 2}}}), 2);
  EXPECT_EQ(bits(2, {.weight_bits = {{"gru", 16}}}), 8);
}

TEST(Recurrent, WhatCannotBeCodesStaysFloatAndSaysWhy) {
  auto graph = Parse(R"(graph "g" {
    input %x: float32[5, 2, 3]
    input %w: float32[1, 12, 3]
    const %k: float32[1, 12, 3] = random(1)
    const %r: float32[1, 12, 4] = random(2)
    %y = GRU(%x, %w, %r) {hidden_size = 4} "computed"
    %z = GRU(%x, %k, %r) {hidden_size = 4} "constant"
    output %y
    output %z
  })");
  const auto layers = RecurrentLayers(*graph, TestScheme(), {});
  ASSERT_EQ(layers.size(), 2u);
  EXPECT_EQ(layers[0].kept, "its weights W ('w') are no constant");
  EXPECT_EQ(layers[1].kept, "");
  const auto q = Quantized(*graph, TestScheme());
  EXPECT_TRUE(q->FindNode("computed")->input(1)->is_input());
  EXPECT_NE(q->FindNode("computed")->constant_input(2), nullptr);
  EXPECT_NE(WeightsOf(*q->FindNode("constant"), 1), nullptr);
  // A scheme that does not name the operator says nothing about it.
  Scheme without = TestScheme();
  without.operators = {"Linear"};
  EXPECT_TRUE(RecurrentLayers(*graph, without, {}).empty());
}

TEST(Recurrent, NamesWeightsThatAreNotFinite) {
  auto graph = Parse(R"(graph "g" {
    input %x: float32[5, 2, 1]
    const %w: float32[1, 2, 1] = [1, nan]
    const %r: float32[1, 2, 2] = random(2)
    %y = RNN(%x, %w, %r) {hidden_size = 2} "rnn"
    output %y
  })");
  const Status s = InsertQuantization(*graph, TestScheme(), {}, {});
  ASSERT_EQ(s.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(s.message().find("rnn"), std::string::npos) << s.ToString();
}

TEST(Recurrent, AModelOfRecurrentLayersAloneIsQuantized) {
  auto graph = Parse(kGru);
  const auto none = [](const ir::Graph&) -> Result<Evaluator> { return Internal("not needed"); };
  ASSERT_TRUE(Quantize(*graph, TestScheme(), none, {}).ok());
  EXPECT_NE(WeightsOf(*graph->FindNode("gru"), 2), nullptr);
  auto kept = Parse(kGru);
  EXPECT_EQ(Quantize(*kept, TestScheme(), none, {}, {.keep_float = {"gru"}}).code(),
            StatusCode::kInvalidArgument);
}

TEST(Recurrent, LayersAreDiagnosedByTheirFirstOutput) {
  auto graph = Parse(R"(graph "g" {
    input %x: float32[5, 2, 3]
    const %w: float32[2, 12, 3] = random(1)
    const %r: float32[2, 12, 4] = random(2)
    %y, %h = GRU(%x, %w, %r) {hidden_size = 4, direction = "bidirectional"} "gru"
    output %h
  })");
  const auto q = Quantized(*graph, TestScheme(4));
  const BatchSource data = [](int64_t i) -> Result<std::vector<Tensor>> {
    if (i > 0) return std::vector<Tensor>{};
    return std::vector<Tensor>{Filled({5, 2, 3}, 7)};
  };
  const auto rows = Diagnose(*graph, *q, data, {}, nullptr);
  ASSERT_TRUE(rows.ok()) << rows.status().ToString();
  ASSERT_EQ(rows->size(), 1u);
  EXPECT_EQ((*rows)[0].error.node, "gru");
  EXPECT_GT((*rows)[0].error.alone_db, 10);
  EXPECT_LT((*rows)[0].error.alone_db, 60);
  EXPECT_NEAR((*rows)[0].weights_db, (*rows)[0].error.alone_db, 1e-6);  // nothing else is rounded
  const auto& tried = (*rows)[0].tried;
  const auto wide = std::find_if(tried.begin(), tried.end(),
                                 [](const Remedy& r) { return r.what == "weights of 8 bits"; });
  ASSERT_NE(wide, tried.end());
  EXPECT_EQ(wide->option, "--config with layers: gru: 8");
  EXPECT_GT(wide->db, (*rows)[0].error.alone_db + 15);
}

// Any form: the file holds it, passes of all levels keep what it computes.
TEST(Recurrent, RandomFormsGoThroughFilesAndPasses) {
  const auto seed =
      static_cast<uint32_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  for (int trial = 0; trial < 60 && std::chrono::steady_clock::now() < end; ++trial) {
    const int kind = pick(0, 2), both = pick(0, 1), inputs = pick(1, 9), hidden = pick(1, 9),
              steps = pick(1, 6), batch = pick(1, 3), bits = pick(0, 1) ? 8 : pick(2, 7);
    const int width = hidden * (kind == 0 ? 1 : kind == 1 ? 3 : 4), d = both + 1;
    const std::string op = kind == 0 ? "RNN" : kind == 1 ? "GRU" : "LSTM";
    const auto number = [](int v) { return std::to_string(v); };
    const bool lengths = pick(0, 1), bias = pick(0, 1);
    std::string text =
        "graph \"g\" {\n  input %x: float32[" + number(steps) + ", " + number(batch) + ", " +
        number(inputs) + "]\n  input %n: int32[" + number(batch) + "]\n  const %w: float32[" +
        number(d) + ", " + number(width) + ", " + number(inputs) + "] = random(" + number(trial) +
        ")\n  const %r: float32[" + number(d) + ", " + number(width) + ", " + number(hidden) +
        "] = random(" + number(trial + 1) + ")\n  const %b: float32[" + number(d) + ", " +
        number(2 * width) + "] = random(3)\n  %y, %h = " + op + "(%x, %w, %r, " +
        (bias ? "%b" : "_") + ", " + (lengths ? "%n" : "_") + ") {hidden_size = " + number(hidden) +
        (both ? ", direction = \"bidirectional\"" : "") +
        (kind == 1 && pick(0, 1) ? ", linear_before_reset = 1" : "") +
        "} \"cell\"\n  output %y\n  output %h\n}";
    SCOPED_TRACE(text);
    auto graph = Parse(text);
    const auto q = Quantized(*graph, TestScheme(), {.weight_bits = {{"cell", bits}}});
    std::vector<int32_t> n;
    for (int i = 0; i < batch; ++i) n.push_back(pick(0, steps));
    const std::vector<Tensor> in = {Filled({steps, batch, inputs}, seed + 1),
                                    Tensor::Vector<int32_t>(n)};
    const auto want = Outputs(*q, in);
    for (const int opset : {13, 21}) {
      auto bytes = onnx::ExportOnnxBytes(*q, {.opset = opset});
      ASSERT_TRUE(bytes.ok()) << bytes.status().ToString();
      auto back = onnx::ImportOnnxBytes(*bytes, nullptr, {});
      ASSERT_TRUE(back.ok()) << back.status().ToString();
      ExpectEqual(Outputs(**back, in), want);
      for (const auto level : {passes::Level::kFused, passes::Level::kInteger}) {
        auto passed = (*back)->Clone();
        const auto ran = passes::RunPasses(*passed, {.level = level});
        ASSERT_TRUE(ran.ok()) << ran.status().ToString();
        EXPECT_NE(WeightsOf(*passed->FindNode("cell"), 1), nullptr) << ir::ToText(*passed, {});
        ExpectEqual(Outputs(*passed, in), want);
      }
    }
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace slipway::quant
