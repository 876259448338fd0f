// Whole models: optimised and unoptimised graphs must agree in the interpreter, and operators must
// be recovered. All models that are present are optimised and the small ones run; SLIPWAY_FULL=1
// runs all.

#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "model/frontends/onnx/import.h"
#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

struct Model {
  const char* path;  // from the root of the checkout
  bool small;        // runs within two seconds
  std::map<std::string, int> recovered;
};

std::ostream& operator<<(std::ostream& out, const Model& model) { return out << model.path; }

const Model kModels[] = {
    {"../shared/data/models/resnet20_cifar10.onnx",
     true,
     {{"Relu", 0}, {"slipway.Conv", 19}, {"slipway.Linear", 1}}},
    {"../shared/data/models/mobilenetv2_small_cifar10.onnx", true, {{"Clip", 0}, {"Add", 0}}},
    {"../shared/data/models/vit_small_cifar10.onnx",
     true,
     {{"LayerNormalization", 9}, {"Attention", 4}, {"Erf", 0}, {"Softmax", 0}}},
    {"../shared/data/models/mobilenet_v1_025_imagenet.onnx", true, {{"LeakyRelu", 0}}},
    {"../shared/data/models/ultraface/version-RFB-320.onnx", true, {{"BatchNormalization", 0}}},
    {"../shared/data/models/ultraface/version-RFB-320_simplified.onnx", true, {}},
    {".cache/models/mobilenet_v3_small.onnx",
     true,
     {{"Relu", 0}, {"HardSwish", 0}, {"HardSigmoid", 0}}},
    {".cache/models/shufflenet_v2_x1_0.onnx", true, {{"Slice", 0}, {"Split", 13}, {"Shape", 0}}},
    {".cache/models/squeezenet1_1.onnx", true, {}},
    {".cache/models/mobilenet_v2.onnx", true, {{"Clip", 0}}},
    {".cache/models/efficientnet_b0.onnx", true, {{"Sigmoid", 0}, {"Swish", 0}}},
    {".cache/models/regnet_x_400mf.onnx", true, {}},
    {".cache/models/resnet18.onnx", true, {{"Relu", 0}, {"Add", 0}}},
    {".cache/models/resnet50.onnx", true, {{"Relu", 0}, {"Add", 0}}},
    {".cache/models/densenet121.onnx", true, {{"BatchNormalization", 0}}},
    {".cache/models/vit_b_16.onnx",
     false,
     {{"LayerNormalization", 25}, {"Attention", 12}, {"Erf", 0}, {"Softmax", 0}}},
    {".cache/models/swin_t.onnx",
     true,
     {{"LayerNormalization", 29}, {"Attention", 12}, {"Erf", 0}, {"Softmax", 0}}},
};

// The operators at level onnx, before fusion hides the activations.
const std::map<std::string, std::map<std::string, int>> kOnnxLevel = {
    {".cache/models/vit_b_16.onnx", {{"LayerNormalization", 25}, {"Gelu", 12}, {"Attention", 12}}},
    {".cache/models/swin_t.onnx", {{"LayerNormalization", 29}, {"Gelu", 12}, {"Attention", 12}}},
    {"../shared/data/models/vit_small_cifar10.onnx",
     {{"LayerNormalization", 9}, {"Gelu", 4}, {"Attention", 4}}},
    {".cache/models/efficientnet_b0.onnx", {{"Swish", 49}, {"Sigmoid", 16}}},
    {".cache/models/mobilenet_v3_small.onnx", {{"HardSwish", 19}, {"HardSigmoid", 9}}},
};

class Models : public testing::TestWithParam<Model> {};

bool Full() {
  const char* full = std::getenv("SLIPWAY_FULL");
  return full && std::string(full) != "0";
}

std::string OpsText(const Graph& graph) {
  std::string text;
  for (const auto& [op, n] : CountOps(graph)) text += " " + op + ":" + std::to_string(n);
  return text;
}

TEST_P(Models, AgreeWithTheirOptimisedForm) {
  const Model& model = GetParam();
  std::filesystem::path path = std::filesystem::path(SLIPWAY_SOURCE_DIR) / model.path;
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  auto graph = onnx::ImportOnnx(path.string());
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();

  auto onnx_level = (*graph)->Clone();
  auto reports = RunPasses(*onnx_level, {.level = Level::kOnnx, .verify_each = true});
  ASSERT_TRUE(reports.ok()) << reports.status().ToString();
  if (auto wanted = kOnnxLevel.find(model.path); wanted != kOnnxLevel.end()) {
    auto ops = CountOps(*onnx_level);
    for (const auto& [op, n] : wanted->second) EXPECT_EQ(ops[op], n) << op;
  }

  auto fused = (*graph)->Clone();
  reports = RunPasses(*fused, {.level = Level::kFused, .verify_each = true});
  ASSERT_TRUE(reports.ok()) << reports.status().ToString();
  std::printf("%s: %zu -> %zu -> %zu nodes\n  onnx: %s\n  fused:%s\n%s", path.filename().c_str(),
              (*graph)->nodes().size(), onnx_level->nodes().size(), fused->nodes().size(),
              OpsText(*onnx_level).c_str(), OpsText(*fused).c_str(), ReportText(*reports).c_str());
  auto ops = CountOps(*fused);
  for (const auto& [op, n] : model.recovered) EXPECT_EQ(ops[op], n) << op;
  if (!model.small && !Full()) return;

  uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  auto timed = [&](const Graph& g, const Tensors& inputs, double* seconds) {
    auto start = std::chrono::steady_clock::now();
    auto result = passes::Run(g, inputs);
    *seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return result;
  };
  Tensors inputs = RandomInputs(**graph, seed, 1);
  double before_s = 0, after_s = 0;
  auto before = timed(**graph, inputs, &before_s), after = timed(*fused, inputs, &after_s);
  ASSERT_TRUE(before.ok()) << before.status().ToString();
  ASSERT_TRUE(after.ok()) << after.status().ToString();
  double error = MaxRelativeError(*before, *after);
  std::printf("  relative error %.2g; interpreter %.2f s before, %.2f s after\n", error, before_s,
              after_s);
  EXPECT_LE(error, 1e-5);
}

// Models in QDQ form at the integer level: every convolution and linear layer computes with
// integers, and the results are those of the float graph but for roundings that fell the other way.
struct QdqModel {
  const char* path;
  bool small;
  int float_convs;  // that stay float: their inputs are not quantized
};

std::ostream& operator<<(std::ostream& out, const QdqModel& model) { return out << model.path; }

const QdqModel kQdqModels[] = {
    {".cache/models/squeezenet1_1_int8.onnx", true, 0},
    {".cache/models/mobilenet_v2_int8.onnx", true, 0},
    {".cache/models/mobilenet_v3_small_int8.onnx", true, 0},
    {".cache/models/shufflenet_v2_x1_0_int8.onnx", true, 0},
    {".cache/models/resnet18_int8.onnx", true, 0},
    {".cache/models/resnet50_int8.onnx", true, 0},
    {".cache/models/efficientnet_b0_int8.onnx", true, 0},
    {".cache/models/regnet_x_400mf_int8.onnx", true, 0},
    {".cache/models/densenet121_int8.onnx", true, 0},
    {".cache/models/swin_t_int8.onnx", false, 0},
    {".cache/models/vit_b_16_int8.onnx", false, 0},
};

class QdqModels : public testing::TestWithParam<QdqModel> {};

struct LayerCheck {
  int nodes = 0, compared = 0, worst = 0;
  double codes = 0, different = 0;
};

// Every integer node alone, on the values that the float graph has at its inputs, against the codes
// that it has at its output: values keep their names.
LayerCheck CompareLayers(const Graph& graph, const Tensors& inputs) {
  LayerCheck check;
  auto lowered = graph.Clone();
  // Without center-codes, which gives the same codes other numbers.
  auto reports = RunPasses(*lowered, {.level = Level::kInteger, .disabled = {"center-codes"}});
  EXPECT_TRUE(reports.ok());
  Tensors seen;
  std::vector<Tensor> ordered;
  for (const Value* v : graph.inputs()) ordered.push_back(inputs.at(v->name()));
  auto ran = interp::Evaluate(graph, ordered, {.observer = [&](const Value& v, const Tensor& t) {
                                if (t.dtype() == DType::kUInt8 || t.dtype() == DType::kInt8)
                                  seen[v.name()] = t;
                              }});
  EXPECT_TRUE(ran.ok());
  for (const auto& node : lowered->nodes()) {
    if (node->domain() != ir::kSlipwayDomain || node->op()[0] != 'Q' || node->op() == "Quantize")
      continue;
    if (node->output()->dtype() == DType::kFloat32) continue;
    ++check.nodes;
    std::vector<Tensor> in;
    bool known = seen.count(node->output()->name()) > 0;
    for (const Value* v : node->inputs()) {
      if (!v) {
        in.emplace_back();
      } else if (v->is_constant()) {
        in.push_back(*v->constant());
      } else if (seen.count(v->name()) && seen[v->name()].dtype() == v->dtype()) {
        in.push_back(seen[v->name()]);
      } else {
        known = false;
      }
    }
    if (!known) continue;
    auto made = EvaluateNode(*node, in);
    EXPECT_TRUE(made.ok()) << made.status().ToString();
    const Tensor& wanted = seen[node->output()->name()];
    if (!made.ok() || (*made)[0].dtype() != wanted.dtype() || (*made)[0].dims() != wanted.dims())
      continue;
    ++check.compared;
    std::vector<int64_t> a = wanted.ToInts(), b = (*made)[0].ToInts();
    for (size_t i = 0; i < a.size(); ++i) {
      int difference = static_cast<int>(std::abs(a[i] - b[i]));
      check.worst = std::max(check.worst, difference);
      check.different += difference > 0;
    }
    check.codes += static_cast<double>(a.size());
  }
  return check;
}

TEST_P(QdqModels, ComputeWithIntegers) {
  const QdqModel& model = GetParam();
  std::filesystem::path path = std::filesystem::path(SLIPWAY_SOURCE_DIR) / model.path;
  if (!std::filesystem::exists(path))
    GTEST_SKIP() << path << " is not there; bench/peers/make_qdq.py writes it";
  auto graph = onnx::ImportOnnx(path.string());
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  auto lowered = (*graph)->Clone();
  auto reports = RunPasses(*lowered, {.level = Level::kInteger, .verify_each = true});
  ASSERT_TRUE(reports.ok()) << reports.status().ToString();
  std::printf("%s: %zu -> %zu nodes\n %s\n%s", path.filename().c_str(), (*graph)->nodes().size(),
              lowered->nodes().size(), OpsText(*lowered).c_str(), ReportText(*reports).c_str());
  auto ops = CountOps(*lowered);
  EXPECT_EQ(ops["slipway.Conv"], model.float_convs);
  EXPECT_EQ(ops["slipway.Linear"], 0);
  if (!model.small && !Full()) return;
  uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Tensors inputs = RandomInputs(**graph, seed, 1);
  auto before = passes::Run(**graph, inputs), after = passes::Run(*lowered, inputs);
  ASSERT_TRUE(before.ok()) << before.status().ToString();
  ASSERT_TRUE(after.ok()) << after.status().ToString();
  // The scales of these files are not calibrated and the weights random: differences of one step
  // grow with depth. What counts is below.
  double error = MaxRelativeError(*before, *after);
  LayerCheck check = CompareLayers(**graph, inputs);
  std::printf(
      "  relative error at the end %.2g; of %d integer nodes %d compared alone: %.3g %% of the "
      "codes differ, by %d at most\n",
      error, check.nodes, check.compared, 100 * check.different / std::max(1.0, check.codes),
      check.worst);
  EXPECT_LE(error, 0.5);
  EXPECT_LE(check.worst, 1);
  EXPECT_LE(check.different, 0.005 * check.codes);
  EXPECT_GE(check.compared, check.nodes / 3);
}

std::string ModelName(std::string_view path) {
  std::string name = std::filesystem::path(path).stem().string();
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, QdqModels, testing::ValuesIn(kQdqModels),
                         [](const testing::TestParamInfo<QdqModel>& info) {
                           return ModelName(info.param.path);
                         });

INSTANTIATE_TEST_SUITE_P(All, Models, testing::ValuesIn(kModels),
                         [](const testing::TestParamInfo<Model>& info) {
                           return ModelName(info.param.path);
                         });

}  // namespace
}  // namespace slipway::passes
