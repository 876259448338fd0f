// What PyTorch's exporter makes of common networks (bench/peers/export_patterns.py writes them to
// .cache/patterns): the operators that it took apart are whole again, nothing computes with shapes
// any more, and results are the same.

#include <filesystem>

#include "model/frontends/onnx/import.h"
#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

struct Network {
  const char* name;
  std::map<std::string, int> ops;          // how many there are at level onnx
  std::map<std::string, int> dynamic_ops;  // where these differ with dynamic axes
};

std::ostream& operator<<(std::ostream& out, const Network& n) { return out << n.name; }

const Network kNetworks[] = {
    {"bert", {{"Attention", 2}, {"LayerNormalization", 5}, {"Gelu", 2}}, {}},
    {"gpt2", {{"Attention", 2}, {"LayerNormalization", 5}, {"Gelu", 2}, {"Where", 0}}, {}},
    {"llama", {{"Attention", 1}, {"RMSNormalization", 2}, {"Swish", 1}, {"Expand", 0}}, {}},
    {"timm", {{"Attention", 2}, {"LayerNormalization", 2}}, {}},
    {"detector", {{"BatchNormalization", 0}, {"Split", 1}, {"Slice", 0}}, {}},
    {"unet", {{"BatchNormalization", 0}, {"Pad", 0}}, {{"Pad", 2}}},
    {"convnext", {{"LayerNormalization", 4}, {"Gelu", 2}, {"Mul", 0}}, {}},
    {"mobilevit",
     {{"Attention", 2}, {"LayerNormalization", 2}, {"Swish", 2}, {"HardSwish", 1}},
     {}},
    {"superres", {{"DepthToSpace", 2}, {"SpaceToDepth", 1}, {"Transpose", 0}, {"Reshape", 0}}, {}},
    {"lstm", {{"LSTM", 1}, {"LogSoftmax", 1}}, {}},
    {"byhand",
     {{"GroupNormalization", 1},
      {"InstanceNormalization", 2},
      {"Swish", 1},
      {"Mish", 1},
      {"HardSwish", 1},
      {"LeakyRelu", 2},
      {"PRelu", 1},
      {"Resize", 1},
      {"Softmax", 1},
      {"Div", 0},
      {"Exp", 0},
      {"ReduceMean", 0}},
     {}},
};

// Nothing of what these operators stand for is left in pieces.
const char* kGone[] = {"Erf",  "Pow",      "Sqrt",      "ReduceSum", "Identity", "Dropout",
                       "Cast", "Constant", "Unsqueeze", "Squeeze",   "Flatten"};

// The third parameter: how the file's name goes on. "_functions": every module is a function of the
// model.
class Patterns : public testing::TestWithParam<std::tuple<Network, int, std::string>> {};

TEST_P(Patterns, AreWholeAgain) {
  const auto& [network, opset, form] = GetParam();
  const bool dynamic = form == "_dynamic";
  std::string file = std::string(network.name) + "_" + std::to_string(opset) + form + ".onnx";
  std::filesystem::path path =
      std::filesystem::path(SLIPWAY_SOURCE_DIR) / ".cache" / "patterns" / file;
  if (!std::filesystem::exists(path))
    GTEST_SKIP() << path << " is not there; bench/peers/export_patterns.py writes it";
  auto graph = onnx::ImportOnnx(path.string());
  if (!graph.ok() && graph.status().code() == StatusCode::kUnsupported)
    GTEST_SKIP() << graph.status().ToString();
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  auto after = (*graph)->Clone();
  auto reports = RunPasses(*after, {.level = Level::kOnnx, .verify_each = true});
  ASSERT_TRUE(reports.ok()) << reports.status().ToString();

  auto ops = CountOps(*after);
  std::string text;
  for (const auto& [op, n] : ops) text += " " + op + ":" + std::to_string(n);
  std::printf("%s: %zu -> %zu nodes\n %s\n", file.c_str(), (*graph)->nodes().size(),
              after->nodes().size(), text.c_str());
  std::map<std::string, int> wanted = network.ops;
  if (dynamic) {
    for (const auto& [op, n] : network.dynamic_ops) wanted[op] = n;
  }
  for (const auto& [op, n] : wanted) EXPECT_EQ(ops[op], n) << op;
  for (const char* op : kGone) {
    // BERT's mask comes as integers.
    if (std::string(network.name) == "bert" && std::string(op) == "Cast") continue;
    EXPECT_EQ(ops[op], 0) << op;
  }
  if (!dynamic) {
    EXPECT_EQ(ops["Shape"], 0);
  }
  // Scores of attention are not left outside it.
  if (ops["Attention"]) {
    EXPECT_EQ(ops["Softmax"], 0);
  }

  for (int64_t size : {2, 3}) {
    uint32_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    // U-Net's image must be a multiple of four less two at most: any size serves.
    int64_t symbol = std::string(network.name) == "unet" ? 10 + size : size;
    Tensors inputs = RandomInputs(**graph, seed, symbol);
    auto before = passes::Run(**graph, inputs), now = passes::Run(*after, inputs);
    ASSERT_TRUE(before.ok()) << before.status().ToString();
    ASSERT_TRUE(now.ok()) << now.status().ToString();
    EXPECT_LE(MaxRelativeError(*before, *now), 1e-5);
    if (!dynamic) break;
  }
}

std::string NameOf(const testing::TestParamInfo<std::tuple<Network, int, std::string>>& info) {
  return std::string(std::get<0>(info.param).name) + "_" + std::to_string(std::get<1>(info.param)) +
         std::get<2>(info.param);
}

INSTANTIATE_TEST_SUITE_P(All, Patterns,
                         testing::Combine(testing::ValuesIn(kNetworks), testing::Values(11, 17),
                                          testing::Values("", "_dynamic")),
                         NameOf);

std::vector<Network> WithFunctions() {
  std::vector<Network> out;
  for (const Network& n : kNetworks) {
    const std::string name = n.name;
    if (name == "timm" || name == "convnext" || name == "byhand") out.push_back(n);
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Functions, Patterns,
                         testing::Combine(testing::ValuesIn(WithFunctions()), testing::Values(17),
                                          testing::Values("_functions")),
                         NameOf);

}  // namespace
}  // namespace slipway::passes
