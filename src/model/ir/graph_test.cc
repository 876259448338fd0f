#include "model/ir/graph.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "model/ir/schema.h"

namespace slipway::ir {
namespace {

Type F32(SymShape shape) { return {DType::kFloat32, std::move(shape)}; }

TEST(Graph, KeepsUseListsThroughEdits) {
  Graph g;
  Value* x = g.AddInput("x", F32({Dim::Symbol("N"), 4}));
  Node* a = g.AddNode({.op = "Relu", .inputs = {x}});
  Node* b = g.AddNode({.op = "Add", .inputs = {a->output(), a->output()}, .outputs = {"y"}});
  g.AddOutput(b->output());
  EXPECT_EQ(a->output()->uses().size(), 2u);
  EXPECT_EQ(a->output()->OnlyUser(), nullptr);
  g.ReplaceAllUses(a->output(), x);
  EXPECT_EQ(x->uses().size(), 3u);
  EXPECT_EQ(g.RemoveUnused(), 1);
  EXPECT_EQ(g.nodes().size(), 1u);
  EXPECT_TRUE(b->output()->is_output());
  g.RemoveInput(b, 0);
  EXPECT_EQ(b->inputs().size(), 1u);
  EXPECT_EQ(x->uses().size(), 1u);
  EXPECT_EQ(x->uses()[0].index, 0);
}

// Random edits, against use lists made anew.
TEST(Graph, UseListsAreExact) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  Graph g;
  std::vector<Value*> values;
  for (int i = 0; i < 4; ++i) values.push_back(g.AddInput("x", F32({4})));
  std::vector<Node*> nodes;
  for (int step = 0; step < 3000; ++step) {
    Value* value = values[rng() % values.size()];
    const unsigned what = rng() % 8;
    if (what < 3 || nodes.empty()) {
      nodes.push_back(g.AddNode({.op = "Add", .inputs = {value, values[rng() % values.size()]}}));
      continue;
    }
    const size_t at = rng() % nodes.size();
    Node* node = nodes[at];
    if (what < 5) {
      g.SetInput(node, rng() % (node->inputs().size() + 1), rng() % 5 ? value : nullptr);
    } else if (what == 5) {
      if (!node->inputs().empty()) g.RemoveInput(node, rng() % node->inputs().size());
    } else if (what == 6) {
      g.ReplaceAllUses(value, values[rng() % values.size()]);
    } else {
      g.RemoveNode(node);
      nodes.erase(nodes.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }
  std::map<const Value*, std::set<std::pair<const Node*, int>>> want;
  for (const auto& node : g.nodes()) {
    for (size_t i = 0; i < node->inputs().size(); ++i) {
      if (node->input(i)) want[node->input(i)].insert({node.get(), static_cast<int>(i)});
    }
  }
  for (const Value* v : values) {
    std::set<std::pair<const Node*, int>> got;
    for (const Use& use : v->uses()) EXPECT_TRUE(got.insert({use.node, use.index}).second);
    EXPECT_EQ(got, want[v]);
  }
}

// One value that a hundred thousand nodes read: edits of its uses take constant time each.
TEST(Graph, ManyUsesOfOneValue) {
  constexpr int kNodes = 100000;
  Graph g;
  Value* x = g.AddInput("x", F32({4}));
  Value* y = g.AddInput("y", F32({4}));
  std::vector<Node*> nodes;
  for (int i = 0; i < kNodes; ++i) nodes.push_back(g.AddNode({.op = "Identity", .inputs = {x}}));
  for (Node* node : nodes) g.ReplaceAllUses(node->output(), x);
  for (int i = 0; i < kNodes; i += 2) g.SetInput(nodes[static_cast<size_t>(i)], 0, y);
  EXPECT_EQ(x->uses().size(), size_t{kNodes / 2});
  g.ReplaceAllUses(x, y);
  EXPECT_EQ(y->uses().size(), size_t{kNodes});
  for (int i = 0; i < kNodes / 2; ++i) g.RemoveNode(nodes[static_cast<size_t>(i)]);
  EXPECT_EQ(g.RemoveUnused(), kNodes / 2);
  EXPECT_FALSE(y->IsUsed());
}

TEST(Graph, MakesNamesUnique) {
  Graph g;
  EXPECT_EQ(g.AddInput("x", F32({1}))->name(), "x");
  EXPECT_EQ(g.AddInput("x", F32({1}))->name(), "x_0");
  EXPECT_EQ(g.AddNode({.op = "Relu", .inputs = {g.inputs()[0]}, .name = "n"})->name(), "n");
  EXPECT_EQ(g.AddNode({.op = "Relu", .inputs = {g.inputs()[0]}, .name = "n"})->name(), "n_0");
}

TEST(Graph, SortsAndNamesACycle) {
  Graph g;
  Value* x = g.AddInput("x", F32({1}));
  Node* a = g.AddNode({.op = "Relu", .inputs = {x}, .name = "a"});
  Node* b = g.AddNode({.op = "Relu", .inputs = {x}, .name = "b"});
  g.SetInput(a, 0, b->output());
  ASSERT_TRUE(g.SortTopologically().ok());
  EXPECT_EQ(g.nodes().front().get(), b);
  g.SetInput(b, 0, a->output());
  Status s = g.SortTopologically();
  EXPECT_EQ(s.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(s.message().find("cycle"), std::string::npos);
  EXPECT_EQ(g.nodes().size(), 2u);
}

TEST(Graph, CloneIsDeepAndSharesWeights) {
  Graph g;
  Value* x = g.AddInput("x", F32({2}));
  Value* w = g.AddConstant("w", Tensor::Vector<float>({1, 2}));
  g.AddOutput(
      g.AddNode({.op = "Add", .inputs = {x, w}, .attributes = {{"k", int64_t{3}}}})->output());
  auto copy = g.Clone();
  EXPECT_EQ(copy->FindValue("w")->constant()->bytes().data(), w->constant()->bytes().data());
  copy->nodes().front()->attributes.Set("k", int64_t{4});
  EXPECT_EQ(g.nodes().front()->attributes.Int("k", 0), 3);
  EXPECT_NE(copy->FindValue("x"), x);
  EXPECT_EQ(copy->outputs().size(), 1u);
}

TEST(Tensor, RefusesWrongSizes) {
  uint8_t bytes[8] = {};
  EXPECT_TRUE(Tensor::Wrap(DType::kFloat32, {2}, bytes, nullptr).ok());
  EXPECT_FALSE(Tensor::Wrap(DType::kFloat32, {3}, bytes, nullptr).ok());
  EXPECT_FALSE(Tensor::Wrap(DType::kFloat32, {-1}, bytes, nullptr).ok());
  EXPECT_FALSE(Tensor::Allocate(DType::kFloat32, {int64_t{1} << 40, int64_t{1} << 40}).ok());
  EXPECT_EQ(Tensor::Vector<int32_t>({3, 4}).ToInts(), (std::vector<int64_t>{3, 4}));
}

TEST(Schema, EveryOperatorParses) {
  EXPECT_GT(AllOps().size(), 100u);
  const OpSchema* conv = FindOp("", "Conv");
  ASSERT_NE(conv, nullptr);
  EXPECT_EQ(conv->max_inputs, 3);
  EXPECT_EQ(std::get<int64_t>(*conv->FindAttribute("group")->default_value), 1);
  EXPECT_TRUE(FindOp("", "Concat")->FindAttribute("axis")->required);
  EXPECT_EQ(FindOp("", "NoSuch"), nullptr);
}

}  // namespace
}  // namespace slipway::ir
