#include "model/passes/pass.h"

#include <ctime>

#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

constexpr char kText[] = R"(graph "g" {
      input %x: float32[1, 2, 4, 4]
      const %w: float32[2, 2, 3, 3] = random(1)
      const %b: float32[2, 1, 1] = random(2)
      %i = Identity(%x)
      %c = Conv(%i, %w) {pads = [1, 1, 1, 1]}
      %d = Add(%c, %b)
      %y = Relu(%d)
      output %y
    })";

TEST(Passes, TableIsComplete) {
  std::map<std::string, int> names;
  for (const PassInfo& pass : AllPasses()) {
    EXPECT_EQ(++names[pass.name], 1) << pass.name;
    EXPECT_FALSE(std::string(pass.description).empty());
    EXPECT_EQ(FindPass(pass.name), &pass);
  }
  EXPECT_EQ(FindPass("no-such-pass"), nullptr);
}

TEST(Passes, LevelsDecideWhatRuns) {
  auto graph = Parse(kText);
  auto onnx = RunAndCheck(*graph, {.level = Level::kOnnx}, 1e-5);
  EXPECT_EQ(CountOps(*onnx), (std::map<std::string, int>{{"Conv", 1}, {"Relu", 1}}));
  auto fused = RunAndCheck(*graph, {.level = Level::kFused}, 1e-5);
  EXPECT_EQ(CountOps(*fused), (std::map<std::string, int>{{"slipway.Conv", 1}}));
  for (Level level : {Level::kOnnx, Level::kFused, Level::kInteger})
    EXPECT_EQ(*LevelFromName(LevelName(level)), level);
  EXPECT_FALSE(LevelFromName("full").ok());
}

TEST(Passes, CanBeSwitched) {
  auto graph = Parse(kText);
  auto made = RunAndCheck(
      *graph, {.level = Level::kFused, .disabled = {"fuse-conv", "fuse-batchnorm"}}, 1e-5);
  EXPECT_EQ(CountOps(*made), (std::map<std::string, int>{{"Conv", 1}, {"slipway.Add", 1}}));
  made = RunAndCheck(*graph, Only({"remove-identity"}));
  EXPECT_EQ(made->nodes().size(), 3u);
  Status wrong = RunPasses(*graph, {.disabled = {"fuse-everything"}}).status();
  EXPECT_EQ(wrong.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(wrong.message().find("fuse-everything"), std::string::npos);
  EXPECT_NE(wrong.message().find("fuse-conv"), std::string::npos);
}

TEST(Passes, ReportWhatTheyDid) {
  auto graph = Parse(kText);
  auto reports = RunPasses(*graph);
  ASSERT_TRUE(reports.ok());
  bool found = false;
  for (const PassReport& r : *reports) {
    if (r.name != "remove-identity") continue;
    found = true;
    EXPECT_EQ(r.changes, 1);
    EXPECT_GE(r.runs, 1);
    EXPECT_EQ(r.nodes_before, 4);
  }
  EXPECT_TRUE(found);
  std::string text = ReportText(*reports);
  EXPECT_NE(text.find("fuse-conv"), std::string::npos);
  EXPECT_EQ(text.find("recover-gelu"), std::string::npos);  // it changed nothing
}

TEST(Passes, NameTheSources) {
  auto graph = Parse(kText);
  ASSERT_TRUE(RunPasses(*graph).ok());
  EXPECT_EQ(graph->nodes().front()->sources.size(), 3u);
}

// A graph of `blocks` times ten nodes in which every pass family finds something and all blocks
// share constants.
std::unique_ptr<Graph> Long(int blocks) {
  auto graph = std::make_unique<Graph>();
  Value* x = graph->AddInput("x", {DType::kFloat32, SymShape{Dim::Symbol("N"), 4, 6}});
  Value* two = graph->AddConstant("two", Tensor::Scalar<float>(2));
  Value* row = AddFloats(*graph, "row", {6}, {1, 2, 3, 4, 5, 6});
  Value* shape = AddInts(*graph, "shape", {-1, 24});
  Value* back = AddInts(*graph, "back", {-1, 4, 6});
  auto add = [&](std::string op, std::vector<Value*> inputs, ir::Attributes attributes = {}) {
    return graph
        ->AddNode(
            {.op = std::move(op), .inputs = std::move(inputs), .attributes = std::move(attributes)})
        ->output();
  };
  for (int i = 0; i < blocks; ++i) {
    Value* y = add("Identity", {x});
    y = add("Transpose", {y}, {{"perm", std::vector<int64_t>{0, 2, 1}}});
    y = add("Relu", {y});
    y = add("Transpose", {y}, {{"perm", std::vector<int64_t>{0, 2, 1}}});
    y = add("Mul", {y, two});
    y = add("Add", {y, row});
    y = add("Mul", {add("Sigmoid", {y}), y});
    y = add("Reshape", {y, shape});
    x = add("Reshape", {y, back});
  }
  graph->AddOutput(x);
  return graph;
}

double CpuSeconds() {  // of this process: others run beside it
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

// Seconds alone say little: a graph that leaves the caches costs several times more per node, how
// much depends on the machine and its neighbours. Building the same graph suffers likewise: against
// that, work that grows with the graph nearly keeps its ratio (twice, on the machine where it grew
// most), and quadratic work has ten times the ratio at ten times the nodes.
TEST(RunPasses, TimeGrowsWithTheGraph) {
  auto ratio = [](int blocks) {
    double start = CpuSeconds();
    auto graph = Long(blocks);
    EXPECT_TRUE(ir::InferShapes(*graph).ok());
    const double build = CpuSeconds() - start;
    start = CpuSeconds();
    auto reports = RunPasses(*graph, {.level = Level::kOnnx, .verify_each = false});
    const double run = CpuSeconds() - start;
    EXPECT_TRUE(reports.ok()) << reports.status().ToString();
    EXPECT_EQ(CountOps(*graph)["Transpose"], 0);
    EXPECT_EQ(CountOps(*graph)["Swish"], blocks);
    std::printf("%d nodes: built in %.3f s, passes %.3f s\n", 10 * blocks, build, run);
    return run / build;
  };
  double growth = 0;
  for (int attempt = 0; attempt < 3; ++attempt) {
    growth = ratio(10000) / ratio(1000);
    if (growth < 5) break;
  }
  EXPECT_LT(growth, 5);
}

}  // namespace
}  // namespace slipway::passes
