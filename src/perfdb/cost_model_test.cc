#include "perfdb/cost_model.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <random>
#include <set>

#include "engine/compiler/assign.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"

namespace slipway::perfdb {
namespace {

using compiler::Crossing;
using compiler::Source;
using format::Layout;

TEST(MeasuredCost, AnswersFromTheStoreAndElseAnalytically) {
  std::string path = testing::TempDir() + "slipway_cost_test.db";
  for (const char* end : {"", "-wal", "-shm"}) std::remove((path + end).c_str());
  auto store = Store::Open(path);
  ASSERT_TRUE(store.ok()) << store.status().ToString();
  auto graph =
      ir::ParseText("graph \"g\" {\n input %x: float32[1, 1000]\n %y = Relu(%x)\n output %y\n}");
  ASSERT_TRUE(graph.ok());
  ASSERT_TRUE(ir::InferShapes(**graph).ok());
  const ir::Node& node = *(*graph)->nodes().front();
  PlatformKey key = KernelKey(device::HostFacts{}, 1);
  KernelRow row{"y",  "Relu", "x86", "relu", compiler::KernelSignature(node, "x86", "relu"),
                12.5, 0};
  ASSERT_TRUE((*store)->InsertKernels(key, {row}).ok());

  MeasuredCost cost(**store, key);
  backends::Candidate candidate;
  candidate.kernel = "relu";
  backends::Target target;
  EXPECT_DOUBLE_EQ(cost.Step(node, "x86", candidate, target).ms, 12.5);
  EXPECT_EQ(cost.Step(node, "x86", candidate, target).source, Source::kMeasured);
  compiler::AnalyticCost analytic;
  EXPECT_DOUBLE_EQ(cost.Step(node, "onednn", candidate, target).ms,
                   analytic.Step(node, "onednn", candidate, target).ms);
  EXPECT_EQ(cost.Step(node, "onednn", candidate, target).source, Source::kEstimated);
  // Another number of threads is another machine.
  MeasuredCost other(**store, KernelKey(device::HostFacts{}, 2));
  EXPECT_LT(other.Step(node, "x86", candidate, target).ms, 1);
  // And so is an emulated one.
  PlatformKey emulated = key;
  emulated.emulated = true;
  EXPECT_LT(MeasuredCost(**store, emulated).Step(node, "x86", candidate, target).ms, 1);
}

// A backend with one kernel for every node, of one layout.
class Fixed final : public backends::CompileBackend {
 public:
  Fixed(std::string name, backends::Level level, Layout layout)
      : name_(std::move(name)), level_(level), layout_(layout) {}
  std::string name() const override { return name_; }
  std::string version() const override { return "1"; }
  backends::Level level() const override { return level_; }
  Status Supports(const ir::Node&, const backends::Target&) const override { return OkStatus(); }
  std::vector<backends::Candidate> Candidates(const ir::Node& node,
                                              const backends::Target&) const override {
    backends::Candidate c;
    c.kernel = "k";
    c.inputs.assign(node.inputs().size(), layout_);
    c.outputs = {layout_};
    return {c};
  }
  Result<std::vector<backends::StepSpec>> Compile(std::span<const backends::PartitionNode>,
                                                  const backends::Target&) const override {
    return Internal("not compiled here");
  }
  Layout layout() const { return layout_; }

 private:
  const std::string name_;
  const backends::Level level_;
  const Layout layout_;
};

// Over all plans of random chains, priced from the list of what was put into the store and not by
// the model under test: whoever leaves measured conversions or crossings out finds another price,
// and mostly another plan.
TEST(MeasuredCost, PlansOfLeastMeasuredCost) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  const Fixed plain("plain", backends::Level::kCode, Layout::kPlain),
      blocked("blocked", backends::Level::kOperator, Layout::kBlocked16),
      network("network", backends::Level::kNetwork, Layout::kPlain);
  const std::vector<const Fixed*> all{&plain, &blocked, &network};
  const std::vector<const backends::CompileBackend*> own(all.begin(), all.end());
  const backends::Target target;
  const PlatformKey key = KernelKey(device::HostFacts{}, 1);
  int used = 0;
  for (int round = 0; round < 40; ++round) {
    const std::string path = testing::TempDir() + "slipway_least_test.db";
    for (const char* end : {"", "-wal", "-shm"}) std::remove((path + end).c_str());
    auto store = Store::Open(path);
    ASSERT_TRUE(store.ok());
    ir::Graph graph;
    std::vector<ir::Value*> values{
        graph.AddInput("x", {DType::kFloat32, SymShape{Dim(1), Dim(16), Dim(4), Dim(4)}})};
    std::vector<const ir::Node*> nodes;
    for (int i = 0; i < 4; ++i) {
      ir::Node* node = graph.AddNode({.op = "Relu",
                                      .inputs = {values.back()},
                                      .attributes = {},
                                      .name = "n" + std::to_string(i)});
      node->output()->set_type({DType::kFloat32, SymShape{Dim(1), Dim(16), Dim(4), Dim(5 + i)}});
      nodes.push_back(node);
      values.push_back(node->output());
    }
    graph.AddOutput(values.back());
    std::map<std::string, double> put;
    std::vector<KernelRow> rows;
    const auto draw = [&](const std::string& signature, double least) {
      const double ms = least + static_cast<double>(rng() % 32) / 8;
      put[signature] = ms;
      rows.push_back({"", "", "", "", signature, ms, 0});
    };
    for (const ir::Value* v : values) {
      draw(compiler::ConvertSignature(v->type(), Layout::kPlain, Layout::kBlocked16), 0);
      draw(compiler::ConvertSignature(v->type(), Layout::kBlocked16, Layout::kPlain), 0);
      draw(compiler::HandOverSignature(v->type(), "network", Crossing::kEnters), 0);
      draw(compiler::HandOverSignature(v->type(), "network", Crossing::kLeaves), 0);
    }
    // Kernels of the network-level backend are measured with their borders.
    for (size_t i = 0; i < nodes.size(); ++i) {
      draw(compiler::KernelSignature(*nodes[i], "plain", "k"), 2);
      draw(compiler::KernelSignature(*nodes[i], "blocked", "k"), 2);
      const auto in = compiler::HandOverSignature(values[i]->type(), "network", Crossing::kEnters);
      const auto out =
          compiler::HandOverSignature(values[i + 1]->type(), "network", Crossing::kLeaves);
      draw(compiler::KernelSignature(*nodes[i], "network", "k"), 2 + put.at(in) + put.at(out));
    }
    ASSERT_TRUE((*store)->InsertKernels(key, rows).ok());
    const MeasuredCost cost(**store, key);
    auto found = compiler::Assign(graph, own, {}, target, cost);
    ASSERT_TRUE(found.ok() && found->exact);

    double least = 1e9;
    for (int plan = 0; plan < 81; ++plan) {
      double ms = 0;
      const Fixed* before = nullptr;  // of the graph's input: plain, no island
      int rest = plan;
      const auto border = [&](const ir::Type& type, const Fixed* from, const Fixed* to) {
        const Layout a = from ? from->layout() : Layout::kPlain,
                     b = to ? to->layout() : Layout::kPlain;
        if (a != b) ms += put.at(compiler::ConvertSignature(type, a, b));
        if (from == to) return;
        if (from == &network)
          ms += put.at(compiler::HandOverSignature(type, "network", Crossing::kLeaves));
        if (to == &network)
          ms += put.at(compiler::HandOverSignature(type, "network", Crossing::kEnters));
      };
      for (size_t i = 0; i < nodes.size(); ++i, rest /= 3) {
        const Fixed* b = all[static_cast<size_t>(rest % 3)];
        border(values[i]->type(), before, b);
        ms += put.at(compiler::KernelSignature(*nodes[i], b->name(), "k"));
        if (b == &network)
          ms -=
              put.at(compiler::HandOverSignature(values[i]->type(), "network", Crossing::kEnters)) +
              put.at(
                  compiler::HandOverSignature(values[i + 1]->type(), "network", Crossing::kLeaves));
        before = b;
      }
      border(values.back()->type(), before, nullptr);
      least = std::min(least, ms);
    }
    EXPECT_EQ(found->cost_ms, least) << "round " << round;
    std::set<const backends::CompileBackend*> chosen;
    for (const auto& [node, choice] : found->nodes) {
      EXPECT_EQ(choice.source, Source::kMeasured);
      chosen.insert(choice.backend);
    }
    for (const auto& [node, moves] : found->moves) {
      for (const compiler::Move& m : moves)
        EXPECT_EQ(m.price.source, Source::kMeasured) << m.value << " " << m.what;
    }
    used += chosen.size() > 1;
  }
  EXPECT_GT(used, 5);
}

TEST(MeasuredCost, MeasuredConversionsAndCrossingsDecide) {
  const std::string path = testing::TempDir() + "slipway_decide_test.db";
  for (const char* end : {"", "-wal", "-shm"}) std::remove((path + end).c_str());
  auto store = Store::Open(path);
  ASSERT_TRUE(store.ok());
  const PlatformKey key = KernelKey(device::HostFacts{}, 1);
  const Fixed plain("plain", backends::Level::kCode, Layout::kPlain),
      blocked("blocked", backends::Level::kOperator, Layout::kBlocked16),
      network("network", backends::Level::kNetwork, Layout::kPlain);
  ir::Graph graph;
  const ir::Type type{DType::kFloat32, SymShape{Dim(1), Dim(16), Dim(4), Dim(4)}};
  ir::Node* node = graph.AddNode(
      {.op = "Relu", .inputs = {graph.AddInput("x", type)}, .attributes = {}, .name = "n"});
  node->output()->set_type(type);
  graph.AddOutput(node->output());
  const auto row = [](const std::string& signature, double ms) {
    return KernelRow{"", "", "", "", signature, ms, 0};
  };
  ASSERT_TRUE((*store)
                  ->InsertKernels(key, {row(compiler::KernelSignature(*node, "plain", "k"), 1.0),
                                        row(compiler::KernelSignature(*node, "blocked", "k"), 0.8),
                                        row(compiler::KernelSignature(*node, "network", "k"), 0.8)})
                  .ok());
  const auto chosen = [&](const Fixed& other, bool moves) {
    auto found =
        compiler::Assign(graph, {&plain, &other}, {}, {}, MeasuredCost(**store, key, moves));
    EXPECT_TRUE(found.ok());
    return found->nodes.at(node).backend->name();
  };
  // By estimates the tensor of a kilobyte costs some microseconds.
  EXPECT_EQ(chosen(blocked, true), "blocked");
  ASSERT_TRUE(
      (*store)
          ->InsertKernels(
              key,
              {row(compiler::ConvertSignature(type, Layout::kPlain, Layout::kBlocked16), 0.15),
               row(compiler::ConvertSignature(type, Layout::kBlocked16, Layout::kPlain), 0.15)})
          .ok());
  EXPECT_EQ(chosen(blocked, true), "plain");
  EXPECT_EQ(chosen(blocked, false), "blocked");
  // A step of a network-level backend was timed with its borders: measuring them changes no sum.
  EXPECT_EQ(chosen(network, true), "network");
  ASSERT_TRUE(
      (*store)
          ->InsertKernels(
              key, {row(compiler::HandOverSignature(type, "network", Crossing::kEnters), 0.15),
                    row(compiler::HandOverSignature(type, "network", Crossing::kLeaves), 0.15)})
          .ok());
  EXPECT_EQ(chosen(network, true), "network");
  const MeasuredCost cost(**store, key);
  backends::Candidate k;
  k.kernel = "k";
  EXPECT_NEAR(cost.Step(*node, "network", k, {}).ms, 0.5, 1e-9);
  EXPECT_EQ(cost.HandOver(type, "network", Crossing::kLeaves, {}).ms, 0.15);
  // Borders that are said to take more than the whole leave it a tenth.
  ASSERT_TRUE(
      (*store)
          ->InsertKernels(key, {row(compiler::KernelSignature(*node, "network", "small"), 0.2)})
          .ok());
  k.kernel = "small";
  EXPECT_NEAR(cost.Step(*node, "network", k, {}).ms, 0.02, 1e-9);
}

}  // namespace
}  // namespace slipway::perfdb
