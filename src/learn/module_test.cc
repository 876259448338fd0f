// Every operator and every model: forward against the interpreter, derivatives against differences
// in double precision.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <set>

#include "learn/learn.h"
#include "model/frontends/onnx/import.h"
#include "model/interp/interpreter.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"
#include "model/passes/pass.h"

namespace slipway::learn {
namespace {

using ir::Graph;
using ir::Tensor;

Engine& TheEngine() {
  auto engine = GetEngine();
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  return **engine;
}

std::unique_ptr<Graph> Parse(const std::string& text) {
  auto graph = ir::ParseText(text);
  EXPECT_TRUE(graph.ok()) << graph.status().message() << "\n" << text;
  if (!graph.ok()) return std::make_unique<Graph>();
  const Status inferred = ir::InferShapes(**graph);
  EXPECT_TRUE(inferred.ok()) << inferred.message() << "\n" << text;
  return std::move(*graph);
}

std::span<float> Floats(Tensor& t) {
  return {reinterpret_cast<float*>(t.mutable_data()), static_cast<size_t>(t.count())};
}
Tensor Random(DType dtype, const Dims& dims, std::mt19937& random, float low = -2, float high = 2) {
  Tensor t = *Tensor::Allocate(dtype, dims);
  if (dtype == DType::kFloat32) {
    std::uniform_real_distribution<float> real(low, high);
    for (float& v : Floats(t)) v = real(random);
  } else {
    std::memset(t.mutable_data(), 0, t.bytes().size());
  }
  return t;
}
std::vector<Tensor> RandomInputs(const Graph& graph, std::mt19937& random, float low, float high) {
  std::vector<Tensor> inputs;
  for (const ir::Value* value : graph.inputs()) {
    Dims dims;
    for (const Dim& d : *value->type().shape) dims.push_back(d.known() ? d.value() : 2);
    inputs.push_back(Random(value->dtype(), dims, random, low, high));
  }
  return inputs;
}

void ExpectClose(const Tensor& got, const Tensor& want, double tolerance, const std::string& what) {
  ASSERT_EQ(got.dims(), want.dims()) << what;
  ASSERT_EQ(got.dtype(), want.dtype()) << what;
  const auto a = got.ToDoubles(), b = want.ToDoubles();
  double range = 1e-30;
  for (const double v : b) range = std::max(range, std::fabs(v));
  for (size_t i = 0; i < a.size(); ++i)
    ASSERT_NEAR(a[i], b[i], tolerance * range) << what << ", element " << i;
}

void CheckForward(const Graph& graph, std::span<const Tensor> inputs, double tolerance,
                  const std::string& what) {
  auto want = interp::Evaluate(graph, inputs);
  ASSERT_TRUE(want.ok()) << what << ": " << want.status().message();
  auto module = TheEngine().MakeModule(graph);
  ASSERT_TRUE(module.ok()) << what << ": " << module.status().message();
  auto got = (*module)->Forward(inputs);
  ASSERT_TRUE(got.ok()) << what << ": " << got.status().message();
  ASSERT_EQ(got->size(), want->size());
  for (size_t i = 0; i < got->size(); ++i) ExpectClose((*got)[i], (*want)[i], tolerance, what);
}

// sum of outputs times weights, in double.
double Loss(const std::vector<Tensor>& outputs, const std::vector<Tensor>& weights) {
  double loss = 0;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!weights[i].present()) continue;
    const auto y = outputs[i].ToDoubles(), w = weights[i].ToDoubles();
    for (size_t j = 0; j < y.size(); ++j) loss += y[j] * w[j];
  }
  return loss;
}

// The derivative along a random direction of all floating-point inputs and constants, against a
// central difference. (Inputs and constants are float32: the differences are those that arise.)
void CheckGradients(const Graph& graph, const std::vector<Tensor>& inputs, std::mt19937& random,
                    double tolerance, const std::string& what, double step = 1e-4) {
  auto module = TheEngine().MakeModule(graph, {.float64 = true});
  ASSERT_TRUE(module.ok()) << what << ": " << module.status().message();
  std::vector<std::string> names;
  for (const auto& value : graph.values()) {
    if ((!value->is_constant() && !value->is_input()) || !value->IsUsed() ||
        value->dtype() != DType::kFloat32)
      continue;
    // There is no derivative for the exponent of a negative number.
    const ir::Use use = value->uses().empty() ? ir::Use{} : value->uses()[0];
    if (use.node && use.node->Is("Pow") && use.index == 1 && value->is_constant()) continue;
    names.push_back(value->name());
  }
  auto outputs = (*module)->Forward(inputs);
  ASSERT_TRUE(outputs.ok()) << what << ": " << outputs.status().message();
  std::vector<Tensor> weights;
  for (const Tensor& y : *outputs)
    weights.push_back(y.dtype() == DType::kFloat64 ? Random(DType::kFloat32, y.dims(), random)
                                                   : Tensor());
  auto found = (*module)->Backward(inputs, weights, names);
  ASSERT_TRUE(found.ok()) << what << ": " << found.status().message();
  ASSERT_EQ(found->values.size(), names.size());

  double want = 0, squares = 0;
  std::vector<Tensor> up = inputs, down = inputs;
  const std::unique_ptr<Graph> high = graph.Clone(), low = graph.Clone();
  for (size_t i = 0; i < names.size(); ++i) {
    const ir::Value* value = graph.FindValue(names[i]);
    size_t at = 0;
    while (at < graph.inputs().size() && graph.inputs()[at] != value) ++at;
    const Tensor given = value->is_constant() ? value->constant()->Aligned() : inputs[at];
    Tensor plus = *Tensor::Allocate(DType::kFloat32, given.dims()), minus = plus;
    minus = *Tensor::Allocate(DType::kFloat32, given.dims());
    std::normal_distribution<double> normal;
    const auto g = found->values[i].ToDoubles();
    ASSERT_EQ(static_cast<int64_t>(g.size()), given.count());
    for (int64_t j = 0; j < given.count(); ++j) {
      const double x = given.data<float>()[j],
                   d = normal(random) * step * std::max(0.1, std::fabs(x));
      Floats(plus)[static_cast<size_t>(j)] = static_cast<float>(x + d);
      Floats(minus)[static_cast<size_t>(j)] = static_cast<float>(x - d);
      const double part = g[static_cast<size_t>(j)] * (static_cast<double>(plus.data<float>()[j]) -
                                                       static_cast<double>(minus.data<float>()[j]));
      want += part;
      squares += part * part;
    }
    if (value->is_constant()) {
      high->SetConstant(high->FindValue(names[i]), plus);
      low->SetConstant(low->FindValue(names[i]), minus);
    } else {
      up[at] = plus, down[at] = minus;
    }
  }
  const auto loss = [&](const Graph& g, const std::vector<Tensor>& in) {
    auto moved = TheEngine().MakeModule(g, {.float64 = true});
    EXPECT_TRUE(moved.ok());
    auto y = (*moved)->Forward(in);
    EXPECT_TRUE(y.ok()) << y.status().message();
    return Loss(*y, weights);
  };
  const double got = loss(*high, up) - loss(*low, down);
  EXPECT_NEAR(got, want, tolerance * std::max(std::sqrt(squares), std::fabs(want)) + 1e-12) << what;
}

struct Case {
  const char* op;
  const char* body;  // of a graph with inputs x, y [2, 4, 6, 5], v [4], m [3, 8], n [8, 6]
  float low = -2, high = 2;
};

std::string Text(const Case& c) {
  return std::string(
             "graph \"g\" {\n  input %x: float32[2, 4, 6, 5]\n  input %y: float32[2, 4, 6, 5]\n"
             "  input %v: float32[4]\n  input %m: float32[3, 8]\n  input %n: float32[8, 6]\n") +
         c.body + "\n}";
}

const Case kCases[] = {
    {"Relu", "%z = Relu(%x) output %z"},
    {"Sigmoid", "%z = Sigmoid(%x) output %z"},
    {"HardSwish", "%z = HardSwish(%x) output %z", -5, 5},
    {"Mish", "%z = Mish(%x) output %z"},
    {"Softsign", "%z = Softsign(%x) output %z"},
    {"Tanh", "%z = Tanh(%x) output %z"},
    {"Erf", "%z = Erf(%x) output %z"},
    {"Exp", "%z = Exp(%x) output %z"},
    {"Log", "%z = Log(%x) output %z", 0.2f, 3},
    {"Sqrt", "%z = Sqrt(%x) output %z", 0.2f, 3},
    {"Abs", "%z = Abs(%x) output %z"},
    {"Neg", "%z = Neg(%x) output %z"},
    {"Reciprocal", "%z = Reciprocal(%x) output %z", 0.3f, 3},
    {"Sin", "%z = Sin(%x) output %z"},
    {"Cos", "%z = Cos(%x) output %z"},
    {"Floor", "%f = Floor(%x) %z = Mul(%f, %y) output %z"},
    {"Ceil", "%f = Ceil(%x) %z = Mul(%f, %y) output %z"},
    {"Round", "%f = Round(%x) %z = Mul(%f, %y) output %z"},
    {"Sign", "%f = Sign(%x) %z = Mul(%f, %y) output %z"},
    {"Identity", "%z = Identity(%x) output %z"},
    {"Softplus", "%z = Softplus(%x) output %z"},
    {"LeakyRelu", "%z = LeakyRelu(%x) {alpha = 0.1} output %z"},
    {"HardSigmoid", "%z = HardSigmoid(%x) {alpha = 0.4, beta = 0.3} output %z"},
    {"Elu", "%z = Elu(%x) {alpha = 0.7} output %z"},
    {"Selu", "%z = Selu(%x) output %z"},
    {"Celu", "%z = Celu(%x) {alpha = 0.6} output %z"},
    {"Gelu", "%z = Gelu(%x) output %z"},
    {"Gelu", "%z = Gelu(%x) {approximate = \"tanh\"} output %z"},
    {"Swish", "%z = Swish(%x) {alpha = 1.5} output %z"},
    {"Clip",
     "const %a: float32[] = [-1] const %b: float32[] = [0.5] %z = Clip(%x, %a, %b) output %z"},
    {"ThresholdedRelu", "%z = ThresholdedRelu(%x) {alpha = 0.5} output %z"},
    {"PRelu",
     "const %i: int64[1] = [0] const %j: int64[1] = [1] %s = Slice(%n, %i, %j, %i) "
     "%z = PRelu(%n, %s) output %z"},
    {"Add", "const %a: int64[2] = [1, 2] %u = Unsqueeze(%v, %a) %z = Add(%x, %u) output %z"},
    {"Sub", "%z = Sub(%x, %y) output %z"},
    {"Mul", "%z = Mul(%x, %y) output %z"},
    {"Div", "%z = Div(%x, %y) output %z", 0.5f, 2},
    {"Pow", "const %e: float32[] = [2] %z = Pow(%x, %e) output %z"},
    {"Pow", "%z = Pow(%x, %y) output %z", 0.5f, 2},
    {"Sum", "%z = Sum(%x, %y, %x) output %z"},
    {"Mean", "%z = Mean(%x, %y, %x) output %z"},
    {"Max", "%z = Max(%x, %y) output %z"},
    {"Min", "%z = Min(%x, %y) output %z"},
    {"Where", "const %t: float32[] = [0.3] %b = Greater(%x, %t) %z = Where(%b, %x, %y) output %z"},
    {"Cast", "%c = Cast(%x) {to = 11} %z = Cast(%c) {to = 1} output %z"},
    {"slipway.Add", "%z = slipway.Add(%x, %y) {activation = \"Relu\"} output %z"},
    {"Reshape", "const %s: int64[3] = [0, -1, 10] %z = Reshape(%x, %s) output %z"},
    {"Flatten", "%z = Flatten(%x) {axis = 2} output %z"},
    {"Transpose", "%z = Transpose(%x) {perm = [2, 0, 3, 1]} output %z"},
    {"Concat", "%z = Concat(%x, %y) {axis = -3} output %z"},
    {"Split", "const %s: int64[2] = [1, 3] %a, %b = Split(%x, %s) {axis = 1} output %a output %b"},
    {"Split", "%a, %b, %c, %d = Split(%x) {axis = 2, num_outputs = 4} output %b output %d"},
    {"Slice",
     "const %s: int64[2] = [-2, 4] const %e: int64[2] = [-100, 1] const %a: int64[2] = [2, 3] "
     "const %t: int64[2] = [-2, -1] %z = Slice(%x, %s, %e, %a, %t) output %z"},
    {"Slice",
     "const %s: int64[1] = [1] const %e: int64[1] = [9223372036854775807] const %a: int64[1] = "
     "[-1] "
     "const %t: int64[1] = [2] %z = Slice(%x, %s, %e, %a, %t) output %z"},
    {"Gather", "const %i: int64[2, 2] = [0, -1, 2, 2] %z = Gather(%x, %i) {axis = 1} output %z"},
    {"GatherElements",
     "const %i: int64[2, 2] = [0, -1, 2, 2] %z = GatherElements(%m, %i) {axis = 1} output %z"},
    {"Squeeze", "const %a: int64[1] = [0] %u = Unsqueeze(%x, %a) %z = Squeeze(%u) output %z"},
    {"Unsqueeze", "const %a: int64[2] = [-1, 1] %z = Unsqueeze(%x, %a) output %z"},
    {"Expand",
     "const %a: int64[1] = [1] const %s: int64[3] = [3, 4, 5] %u = Unsqueeze(%v, %a) "
     "%z = Expand(%u, %s) output %z"},
    {"Tile", "const %s: int64[2] = [2, 3] %z = Tile(%m, %s) output %z"},
    {"Pad",
     "const %p: int64[4] = [1, 0, 2, 3] const %w: float32[] = [0.5] const %a: int64[2] = [2, 3] "
     "%z = Pad(%x, %p, %w, %a) output %z"},
    {"DepthToSpace", "%z = DepthToSpace(%x) {blocksize = 2} output %z"},
    {"DepthToSpace", "%z = DepthToSpace(%x) {blocksize = 2, mode = \"CRD\"} output %z"},
    {"SpaceToDepth", "%z = SpaceToDepth(%x) {blocksize = 1} output %z"},
    {"ReduceMean", "const %a: int64[2] = [-1, 2] %z = ReduceMean(%x, %a) output %z"},
    {"ReduceSum", "%z = ReduceSum(%x) {keepdims = 0} output %z"},
    {"ReduceMax", "const %a: int64[1] = [1] %z = ReduceMax(%x, %a) {keepdims = 0} output %z"},
    {"ReduceMin", "const %a: int64[1] = [1] %z = ReduceMin(%x, %a) output %z"},
    {"ReduceL1", "const %a: int64[1] = [1] %z = ReduceL1(%x, %a) output %z"},
    {"ReduceL2", "const %a: int64[1] = [1] %z = ReduceL2(%x, %a) output %z"},
    {"ReduceSumSquare", "const %a: int64[1] = [1] %z = ReduceSumSquare(%x, %a) output %z"},
    {"Softmax", "%z = Softmax(%x) {axis = 1} output %z"},
    {"LogSoftmax", "%z = LogSoftmax(%x) output %z"},
    {"MatMul", "%z = MatMul(%m, %n) output %z"},
    {"Gemm",
     "const %c: float32[6] = [1, 2, 3, 4, 5, 6] %z = Gemm(%m, %n, %c) {alpha = 0.5, beta = 2} "
     "output %z"},
    {"Gemm", "%z = Gemm(%n, %m) {transA = 1, transB = 1} output %z"},
    {"slipway.Linear", "%z = slipway.Linear(%m, %n) {activation = \"Gelu\"} output %z"},
    {"Conv",
     "%w = Transpose(%x) {perm = [1, 0, 2, 3]} const %s: int64[4] = [4, 4, 3, 5] %k = Reshape(%y, "
     "%s) "
     "%z = Conv(%x, %k, %v) {pads = [1, 2, 0, 2], strides = [2, 1]} output %z"},
    {"Conv",
     "const %s: int64[4] = [12, 2, 2, 5] %k = Reshape(%y, %s) "
     "%z = Conv(%x, %k) {group = 2, dilations = [2, 1], auto_pad = \"SAME_LOWER\"} output %z"},
    {"slipway.Conv",
     "const %s: int64[4] = [4, 4, 3, 5] %k = Reshape(%y, %s) %z = slipway.Conv(%x, %k, %v, %x) "
     "{pads = [1, 2, 1, 2], activation = \"Clip\", activation_params = [0, 6]} output %z"},
    {"ConvTranspose",
     "const %s: int64[4] = [4, 4, 3, 5] %k = Reshape(%y, %s) %z = ConvTranspose(%x, %k, %v) "
     "{strides = [2, 2], pads = [1, 1, 1, 2], output_padding = [1, 0]} output %z"},
    {"MaxPool",
     "%z = MaxPool(%x) {kernel_shape = [3, 2], strides = [2, 2], pads = [1, 0, 0, 1], ceil_mode = "
     "1} output %z"},
    {"AveragePool",
     "%z = AveragePool(%x) {kernel_shape = [3, 2], strides = [2, 2], pads = [1, 0, 0, 1]} output "
     "%z"},
    {"AveragePool",
     "%z = AveragePool(%x) {kernel_shape = [3, 3], strides = [2, 3], pads = [1, 0, 0, 1], "
     "ceil_mode = 1, "
     "count_include_pad = 1} output %z"},
    {"GlobalAveragePool", "%z = GlobalAveragePool(%x) output %z"},
    {"GlobalMaxPool", "%z = GlobalMaxPool(%x) output %z"},
    {"BatchNormalization",
     "const %s: float32[4] = [1, 2, 0.5, 1] const %q: float32[4] = [1, 2, 3, 0.5] "
     "%z = BatchNormalization(%x, %s, %v, %v, %q) output %z"},
    {"LayerNormalization",
     "const %s: float32[5] = [1, 2, 0.5, 1, 3] %z = LayerNormalization(%x, %s, %s) output %z"},
    {"LayerNormalization",
     "const %i: int64[1] = [0] const %j: int64[1] = [5] const %a: int64[1] = [1] "
     "%s = Slice(%m, %i, %j, %a) const %r: int64[3] = [8, 3, 5] %t = Flatten(%x) "
     "const %q: int64[4] = [8, 2, 3, 5] %u = Reshape(%x, %q) %z = LayerNormalization(%u, %s) "
     "{axis = 2} output %z"},
    {"RMSNormalization",
     "const %s: float32[5] = [1, 2, 0.5, 1, 3] %z = RMSNormalization(%x, %s) output %z"},
    {"InstanceNormalization", "%z = InstanceNormalization(%x, %v, %v) output %z"},
    {"GroupNormalization", "%z = GroupNormalization(%x, %v, %v) {num_groups = 2} output %z"},
    {"Attention", "%z = Attention(%x, %y, %x) {is_causal = 1} output %z"},
    {"Attention",
     "const %i: int64[1] = [0] const %j: int64[1] = [6] %k = Slice(%n, %i, %j, %i) %z = "
     "Attention(%x, %y, %y, %k) {scale = 0.3, softcap = 2} "
     "output %z"},
    {"Attention",
     "const %s: int64[3] = [2, 6, 20] %a = Reshape(%x, %s) %b = Reshape(%y, %s) %z = Attention(%a, "
     "%b, %b) "
     "{q_num_heads = 4, kv_num_heads = 4} output %z"},
    {"Pad",
     "const %p: int64[8] = [0, 1, 2, 3, 0, 2, -1, 4] %z = Pad(%x, %p) {mode = \"reflect\"} "
     "output %z"},
    {"Pad",
     "const %p: int64[4] = [1, 7, 2, 0] const %a: int64[2] = [2, -1] %z = Pad(%x, %p, _, %a) "
     "{mode = \"edge\"} output %z"},
    {"Pad", "const %p: int64[4] = [1, 9, 2, 0] %z = Pad(%m, %p) {mode = \"wrap\"} output %z"},
    {"Resize",
     "const %s: int64[4] = [2, 4, 12, 7] %z = Resize(%x, _, _, %s) {mode = \"nearest\"} output %z"},
    {"Resize",
     "const %s: int64[4] = [2, 4, 11, 3] %z = Resize(%x, _, _, %s) {mode = \"linear\"} output %z"},
    {"Resize",
     "const %s: int64[4] = [2, 4, 12, 10] %z = Resize(%x, _, _, %s) {mode = \"linear\", "
     "coordinate_transformation_mode = \"align_corners\"} output %z"},
    {"Resize",
     "const %s: int64[2] = [10, 2] %z = Resize(%x, _, _, %s) {mode = \"cubic\", axes = [2, 3], "
     "antialias = 1} output %z"},
    {"LRN", "%z = LRN(%x) {size = 3, alpha = 0.3, beta = 0.6, bias = 1.5} output %z"},
    {"LRN", "%z = LRN(%x) {size = 2, alpha = 0.3} output %z"},
    {"Einsum", "%z = Einsum(%x, %y) {equation = \"nchw,nkhw->nck\"} output %z"},
};

TEST(Operators, ForwardAndDerivative) {
  // Always the same numbers: others may lie at an edge, where differences are no derivatives.
  std::mt19937 random(11);
  std::set<std::string> covered;
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.body);
    const auto graph = Parse(Text(c));
    const auto inputs = RandomInputs(*graph, random, c.low, c.high);
    CheckForward(*graph, inputs, 2e-6, c.op);
    CheckGradients(*graph, inputs, random, 2e-3, c.op);
    covered.insert(c.op);
  }
  for (const std::string& op : TheEngine().Operators()) {
    if (op != "slipway.Quantize" && op != "slipway.Dequantize") {
      EXPECT_TRUE(covered.contains(op)) << "no case for " << op;
    }
  }
}

// Codes and their derivatives: straight through inside of the range, those of LSQ for the scale.
TEST(Quantization, CodesAndScales) {
  const auto graph = Parse(
      "graph \"g\" {\n  input %x: float32[5]\n  const %s: float32[] = [0.5]\n"
      "  const %z: int8[] = [1]\n  %q = slipway.Quantize(%x, %s, %z) {bits = 4}\n"
      "  %t = Identity(%q)\n  %y = slipway.Dequantize(%t, %s, %z) {bits = 4}\n  output %y\n}");
  const float x[] = {0.3f, -0.9f, 2.8f, 100, -100};
  const std::vector<Tensor> inputs = {Tensor::Of<float>({5}, std::span<const float>(x))};
  CheckForward(*graph, inputs, 0, "quantized");
  auto module = TheEngine().MakeModule(*graph);
  ASSERT_TRUE(module.ok());
  const float ones[] = {1, 1, 1, 1, 1};
  const std::vector<Tensor> weights = {Tensor::Of<float>({5}, std::span<const float>(ones))};
  const std::vector<std::string> names = {"x", "s"};
  auto found = (*module)->Backward(inputs, weights, names);
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->values[0].ToDoubles(), (std::vector<double>{1, 1, 1, 0, 0}));
  // Inside round(v) - v, outside the bound less the zero point.
  const double want = (1 - 0.6) + (-2 + 1.8) + (6 - 5.6) + 6 + -9;
  EXPECT_NEAR(found->values[1].ToDoubles()[0], want, 1e-5);
}

TEST(Quantization, Schemes) {
  std::mt19937 random(7);
  for (const char* body :
       {"const %s: float32[4] = [0.1, 0.2, 0.05, 0.3] %q = slipway.Quantize(%x, %s) {bits = 3, "
        "narrow = 1} "
        "%z = slipway.Dequantize(%q, %s) {bits = 3, narrow = 1} output %z",
        "const %s: float32[] = [0.25] const %o: uint8[] = [3] %q = slipway.Quantize(%x, %s, %o) "
        "{bits = 4, signed = 0, "
        "kind = \"power_of_two\"} %z = slipway.Dequantize(%q, %s, %o) {bits = 4, signed = 0, kind "
        "= \"power_of_two\"} output %z",
        "const %s: float32[] = [0.25] %q = slipway.Quantize(%x, %s) {bits = 1, kind = \"bipolar\"} "
        "%z = slipway.Dequantize(%q, %s) {bits = 1, kind = \"bipolar\"} output %z",
        "const %s: float32[3, 4] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3] %q = slipway.Quantize(%m, "
        "%s) {bits = 4, group = 2} "
        "%z = slipway.Dequantize(%q, %s) {bits = 4, group = 2} output %z",
        // The interpreter has these.
        "const %s: float32[] = [2] %q = slipway.Quantize(%x, %s) {kind = \"logarithmic\"} "
        "%z = slipway.Dequantize(%q, %s) {kind = \"logarithmic\"} output %z",
        "const %s: float32[] = [0.1] %q = slipway.Quantize(%x, %s) {rounding = \"floor\"} "
        "%z = slipway.Dequantize(%q, %s) {rounding = \"floor\"} output %z"}) {
    SCOPED_TRACE(body);
    const auto graph = Parse(Text({"", body}));
    CheckForward(*graph, RandomInputs(*graph, random, -2, 2), 1e-7, body);
  }
}

TEST(Errors, NameWhatIsWrong) {
  std::mt19937 random(3);
  const auto graph = Parse(Text(
      {"", "const %k: int64[] = [2] %t, %i = TopK(%v, %k) {axis = 0} %z = Neg(%t) output %z"}));
  const auto inputs = RandomInputs(*graph, random, -1, 1);
  auto module = TheEngine().MakeModule(*graph);
  ASSERT_FALSE(module.ok() && (*module)->Forward({}).ok());
  const std::vector<Tensor> one = {Random(DType::kFloat32, {2}, random)};
  const auto error = [&](std::span<const Tensor> weights, const std::string& name) {
    const std::vector<std::string> names = {name};
    auto found = (*module)->Backward(inputs, weights, names);
    return found.ok() ? std::string() : std::string(found.status().message());
  };
  if (module.ok()) {
    EXPECT_NE(error(one, "v").find("TopK"), std::string::npos) << error(one, "v");
    EXPECT_NE(error(one, "nobody").find("nobody"), std::string::npos);
    EXPECT_NE(error(one, "i").find("int64"), std::string::npos);
    EXPECT_NE(error({}, "v").find("1 outputs and 0"), std::string::npos);
    const std::vector<Tensor> wide = {Random(DType::kFloat32, {3}, random)};
    EXPECT_NE(error(wide, "t").find("[3]"), std::string::npos);
    EXPECT_EQ(error(one, "t"), "");  // behind the operator without a derivative
  }
}

// What is between may be asked for too.
TEST(Module, ValuesBetween) {
  std::mt19937 random(4);
  const auto graph = Parse(Text({"", "%a = Mul(%x, %y) %b = Tanh(%a) %c = Mul(%b, %y) output %c"}));
  const auto inputs = RandomInputs(*graph, random, -1, 1);
  auto module = TheEngine().MakeModule(*graph, {.float64 = true});
  ASSERT_TRUE(module.ok());
  const std::vector<Tensor> weights = {Random(DType::kFloat32, inputs[0].dims(), random)};
  const std::vector<std::string> names = {"b", "a", "m", "x"};
  auto found = (*module)->Backward(inputs, weights, names);
  ASSERT_TRUE(found.ok()) << found.status().message();
  const auto w = weights[0].ToDoubles(), x = inputs[0].ToDoubles(), y = inputs[1].ToDoubles();
  const auto b = found->values[0].ToDoubles(), a = found->values[1].ToDoubles(),
             dx = found->values[3].ToDoubles();
  for (size_t i = 0; i < w.size(); ++i) {
    EXPECT_NEAR(b[i], w[i] * y[i], 1e-12);
    const double t = std::tanh(x[i] * y[i]);
    EXPECT_NEAR(a[i], b[i] * (1 - t * t), 1e-12);
    EXPECT_NEAR(dx[i], a[i] * y[i], 1e-12);
  }
  for (const double v : found->values[2].ToDoubles()) EXPECT_EQ(v, 0);  // no influence
}

std::vector<std::string> Models() {
  std::vector<std::string> found;
  const std::string root = SLIPWAY_SOURCE_DIR;
  for (const char* name : {"resnet20_cifar10", "mobilenetv2_small_cifar10", "vit_small_cifar10",
                           "mobilenet_v1_025_imagenet", "ultraface/version-RFB-320"}) {
    const std::string path = root + "/../shared/data/models/" + name + ".onnx";
    if (std::filesystem::exists(path)) found.push_back(path);
  }
  found.push_back(root + "/examples/fashion_mnist/resnet_fashion.onnx");
  return found;
}

class Networks : public testing::TestWithParam<std::string> {};

// As they are imported and as the compiler's fusing passes leave them.
TEST_P(Networks, ForwardAndDerivative) {
  auto graph = onnx::ImportOnnx(GetParam());
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  std::mt19937 random(9);
  const auto inputs = RandomInputs(**graph, random, -1, 1);
  for (const bool fused : {false, true}) {
    SCOPED_TRACE(fused ? "fused" : "as imported");
    if (fused) {
      auto reports = passes::RunPasses(**graph, {.level = passes::Level::kFused});
      ASSERT_TRUE(reports.ok()) << reports.status().message();
    }
    CheckForward(**graph, inputs, 2e-5, GetParam());
    // A small step: rectifiers have edges.
    CheckGradients(**graph, inputs, random, 2e-2, GetParam(), 2e-6);
  }
}
INSTANTIATE_TEST_SUITE_P(Models, Networks, testing::ValuesIn(Models()), [](const auto& info) {
  std::string name = std::filesystem::path(info.param).stem().string();
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
});

TEST(Library, SaysWhereItLooked) {
  // The engine of a process is chosen once: another process looks.
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  EXPECT_EQ(
      std::system(
          ("SLIPWAY_LEARN_LIBRARY=/nowhere/none.so " + program +
           " --gtest_also_run_disabled_tests --gtest_filter=Library.DISABLED_Missing >/dev/null")
              .c_str()),
      0);
}
TEST(Library, DISABLED_Missing) {
  auto engine = GetEngine();
  ASSERT_FALSE(engine.ok());
  EXPECT_NE(engine.status().message().find("/nowhere/none.so"), std::string::npos);
  EXPECT_NE(engine.status().message().find("libtorch-dev"), std::string::npos);
}

}  // namespace
}  // namespace slipway::learn
