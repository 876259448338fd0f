// Whole models: optimised and unoptimised graphs must agree in the interpreter, and operators must be recovered. The small models always
// run; SLIPWAY_FULL=1 runs all that are present.

#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "model/frontends/onnx/import.h"
#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

struct Model {
  const char* path;  // from the root of the checkout
  bool small;        // runs within seconds
  std::map<std::string, int> recovered;
};

std::ostream& operator<<(std::ostream& out, const Model& model) { return out << model.path; }

const Model kModels[] = {
    {"../shared/data/models/resnet20_cifar10.onnx", true, {{"Relu", 0}, {"slipway.Conv", 19}, {"slipway.Linear", 1}}},
    {"../shared/data/models/mobilenetv2_small_cifar10.onnx", true, {{"Clip", 0}, {"Add", 0}}},
    {"../shared/data/models/vit_small_cifar10.onnx", true, {{"LayerNormalization", 9}, {"Attention", 4}, {"Erf", 0}, {"Softmax", 0}}},
    {"../shared/data/models/mobilenet_v1_025_imagenet.onnx", true, {{"LeakyRelu", 0}}},
    {"../shared/data/models/ultraface/version-RFB-320.onnx", true, {{"BatchNormalization", 0}}},
    {"../shared/data/models/ultraface/version-RFB-320_simplified.onnx", true, {}},
    {".cache/models/mobilenet_v3_small.onnx", true, {{"Relu", 0}, {"HardSwish", 0}, {"HardSigmoid", 0}}},
    {".cache/models/shufflenet_v2_x1_0.onnx", true, {{"Slice", 0}, {"Split", 13}, {"Shape", 0}}},
    {".cache/models/squeezenet1_1.onnx", false, {}},
    {".cache/models/mobilenet_v2.onnx", false, {{"Clip", 0}}},
    {".cache/models/efficientnet_b0.onnx", false, {{"Sigmoid", 0}, {"Swish", 0}}},
    {".cache/models/regnet_x_400mf.onnx", false, {}},
    {".cache/models/resnet18.onnx", false, {{"Relu", 0}, {"Add", 0}}},
    {".cache/models/resnet50.onnx", false, {{"Relu", 0}, {"Add", 0}}},
    {".cache/models/densenet121.onnx", false, {{"BatchNormalization", 0}}},
    {".cache/models/vit_b_16.onnx", false, {{"LayerNormalization", 25}, {"Attention", 12}, {"Erf", 0}, {"Softmax", 0}}},
    {".cache/models/swin_t.onnx", false, {{"LayerNormalization", 29}, {"Attention", 12}, {"Erf", 0}, {"Softmax", 0}}},
};

// The operators at level onnx, before fusion hides the activations.
const std::map<std::string, std::map<std::string, int>> kOnnxLevel = {
    {".cache/models/vit_b_16.onnx", {{"LayerNormalization", 25}, {"Gelu", 12}, {"Attention", 12}}},
    {".cache/models/swin_t.onnx", {{"LayerNormalization", 29}, {"Gelu", 12}, {"Attention", 12}}},
    {"../shared/data/models/vit_small_cifar10.onnx", {{"LayerNormalization", 9}, {"Gelu", 4}, {"Attention", 4}}},
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
  if (!model.small && !Full()) GTEST_SKIP() << "set SLIPWAY_FULL=1 to run the large models";
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
  std::printf("%s: %zu -> %zu -> %zu nodes\n  onnx: %s\n  fused:%s\n%s", path.filename().c_str(), (*graph)->nodes().size(),
              onnx_level->nodes().size(), fused->nodes().size(), OpsText(*onnx_level).c_str(), OpsText(*fused).c_str(),
              ReportText(*reports).c_str());
  auto ops = CountOps(*fused);
  for (const auto& [op, n] : model.recovered) EXPECT_EQ(ops[op], n) << op;

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
  std::printf("  relative error %.2g; interpreter %.2f s before, %.2f s after\n", error, before_s, after_s);
  EXPECT_LE(error, 1e-5);
}

INSTANTIATE_TEST_SUITE_P(All, Models, testing::ValuesIn(kModels), [](const testing::TestParamInfo<Model>& info) {
  std::string name = std::filesystem::path(info.param.path).stem().string();
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
});

}  // namespace
}  // namespace slipway::passes
