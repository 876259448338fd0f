#include "engine/compiler/assign.h"

#include <gtest/gtest.h>

#include <random>

#include "model/ir/infer.h"

namespace slipway::compiler {
namespace {

using backends::Candidate;
using format::Layout;

constexpr double kNever = 1e9;

// A backend that offers, for every node, kernels drawn at random.
class Drawn final : public backends::CompileBackend {
 public:
  Drawn(std::string name, backends::Level level, std::mt19937& rng)
      : name_(std::move(name)), level_(level), rng_(rng) {}
  std::string name() const override { return name_; }
  std::string version() const override { return "1"; }
  backends::Level level() const override { return level_; }
  Status Supports(const ir::Node& node, const backends::Target&) const override {
    return offers.at(&node).empty() ? Unsupported("not drawn") : OkStatus();
  }
  std::vector<Candidate> Candidates(const ir::Node& node, const backends::Target&) const override {
    return offers.at(&node);
  }
  Result<std::vector<backends::StepSpec>> Compile(std::span<const backends::PartitionNode>,
                                                  const backends::Target&) const override {
    return Internal("not compiled here");
  }

  void Draw(const ir::Graph& graph, bool always) {
    for (const auto& node : graph.nodes()) {
      auto& list = offers[node.get()];
      list.clear();
      const int count = always ? 1 + static_cast<int>(rng_() % 2) : static_cast<int>(rng_() % 3);
      for (int i = 0; i < count; ++i) {
        Candidate c;
        c.kernel = "k" + std::to_string(i);
        const auto layout = [&] {
          return level_ == backends::Level::kNetwork || rng_() % 2 ? Layout::kPlain
                                                                   : Layout::kBlocked16;
        };
        for (size_t k = 0; k < node->inputs().size(); ++k) c.inputs.push_back(layout());
        c.outputs.push_back(layout());
        list.push_back(std::move(c));
      }
    }
  }
  std::map<const ir::Node*, std::vector<Candidate>> offers;

 private:
  std::string name_;
  backends::Level level_;
  std::mt19937& rng_;
};

// Prices drawn once per kernel, conversion of a type, and crossing of a type's tensor at a
// backend's border, as measurements are; whole numbers of 1/8, so that sums are exact.
class DrawnCost final : public CostModel {
 public:
  explicit DrawnCost(std::mt19937& rng) : rng_(rng) {}
  Price Step(const ir::Node& node, const std::string& backend, const Candidate& c,
             const backends::Target&) const override {
    return Once(node.name() + backend + c.kernel, 2);
  }
  Price Convert(const ir::Type& type, Layout from, Layout to,
                const backends::Target&) const override {
    return from == to ? Price{} : Once(ConvertSignature(type, from, to), 1);
  }
  Price HandOver(const ir::Type& type, const std::string& backend, Crossing crossing,
                 const backends::Target&) const override {
    return Once(HandOverSignature(type, backend, crossing), 1);
  }

 private:
  Price Once(const std::string& what, double times) const {
    auto [it, added] = drawn_.emplace(what, 0);
    if (added) it->second = times * static_cast<double>(rng_() % 33) / 8;
    return {it->second, Source::kMeasured};
  }
  std::mt19937& rng_;
  mutable std::map<std::string, double> drawn_;
};

// A random graph of binary and unary nodes on one input; what nobody reads is an output.
std::unique_ptr<ir::Graph> RandomGraph(std::mt19937& rng, int nodes) {
  auto graph = std::make_unique<ir::Graph>();
  // Two types, so that a price belongs to one of them; a unary node may change it.
  const ir::Type types[] = {{DType::kFloat32, SymShape{Dim(1), Dim(16), Dim(2), Dim(2)}},
                            {DType::kFloat32, SymShape{Dim(1), Dim(16), Dim(4), Dim(4)}}};
  std::vector<ir::Value*> values{graph->AddInput("x", types[0])};
  for (int i = 0; i < nodes; ++i) {
    const bool binary = rng() % 2;
    std::vector<ir::Value*> inputs{
        values[values.size() - 1 - rng() % std::min<size_t>(3, values.size())]};
    if (binary) inputs.push_back(values[rng() % values.size()]);
    ir::Node* node = graph->AddNode({.op = binary ? "Add" : "Relu",
                                     .inputs = inputs,
                                     .attributes = {},
                                     .name = "n" + std::to_string(i)});
    node->output()->set_type(types[rng() % 2]);
    values.push_back(node->output());
  }
  for (ir::Value* v : values) {
    if (v->producer() && v->uses().empty()) graph->AddOutput(v);
  }
  if (rng() % 2 && !values[1]->is_output()) graph->AddOutput(values[1]);
  return graph;
}

struct Pick {
  const backends::CompileBackend* backend;
  const Candidate* candidate;
};

// What a plan costs, said independently of the search: every step; of each value one conversion for
// each layout that its readers want and it is not in; that it leaves the network-level backend that
// makes it, and that it enters each of those that read it: once, the graph's border included.
double PriceOf(const ir::Graph& graph, const std::map<const ir::Node*, Pick>& plan,
               const CostModel& cost, const backends::Target& target) {
  double total = 0;
  const auto island = [&](const ir::Node* node) -> const backends::CompileBackend* {
    const auto* b = plan.at(node).backend;
    return b->level() == backends::Level::kNetwork ? b : nullptr;
  };
  for (const auto& [node, pick] : plan)
    total += cost.Step(*node, pick.backend->name(), *pick.candidate, target).ms;
  for (const auto& value : graph.values()) {
    const ir::Node* producer = value->producer();
    const Layout in = producer ? plan.at(producer).candidate->outputs[0] : Layout::kPlain;
    std::set<Layout> wanted;
    std::set<const ir::Node*> readers;
    for (const ir::Use& use : value->uses()) {
      wanted.insert(plan.at(use.node).candidate->inputs[static_cast<size_t>(use.index)]);
      readers.insert(use.node);
    }
    if (value->is_output()) wanted.insert(Layout::kPlain);
    for (Layout l : wanted) total += cost.Convert(value->type(), in, l, target).ms;
    const auto hand_over = [&](const backends::CompileBackend* b, Crossing crossing) {
      return b ? cost.HandOver(value->type(), b->name(), crossing, target).ms : 0;
    };
    const auto* from = producer ? island(producer) : nullptr;
    std::set<const backends::CompileBackend*> others;
    for (const ir::Node* reader : readers) others.insert(island(reader));
    if (value->is_output()) others.insert(nullptr);
    others.erase(from);
    if (!others.empty()) total += hand_over(from, Crossing::kLeaves);
    for (const auto* to : others) total += hand_over(to, Crossing::kEnters);
  }
  return total;
}

TEST(Assign, EqualsBruteForceOverAllPlans) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  const backends::Target target;
  int hybrids = 0, greedy_dearer = 0;
  for (int round = 0; round < 150; ++round) {
    auto graph = RandomGraph(rng, 2 + static_cast<int>(rng() % 5));
    Drawn code("code", backends::Level::kCode, rng), op("op", backends::Level::kOperator, rng);
    Drawn network("net", backends::Level::kNetwork, rng),
        other("net2", backends::Level::kNetwork, rng);
    code.Draw(*graph, true);
    op.Draw(*graph, false);
    network.Draw(*graph, false);
    other.Draw(*graph, false);
    const DrawnCost cost(rng);
    const std::vector<const backends::CompileBackend*> own{&code, &op, &network, &other};
    auto found = Assign(*graph, own, {}, target, cost);
    ASSERT_TRUE(found.ok()) << found.status().ToString();
    ASSERT_TRUE(found->exact);

    std::vector<const ir::Node*> nodes;
    std::vector<std::vector<Pick>> picks;
    for (const auto& node : graph->nodes()) {
      nodes.push_back(node.get());
      picks.emplace_back();
      for (const auto* b : own) {
        for (const Candidate& c : static_cast<const Drawn*>(b)->offers.at(node.get()))
          picks.back().push_back({b, &c});
      }
    }
    std::map<const ir::Node*, Pick> plan;
    double least = kNever;
    const std::function<void(size_t)> walk = [&](size_t i) {
      if (i == nodes.size()) {
        least = std::min(least, PriceOf(*graph, plan, cost, target));
        return;
      }
      for (const Pick& p : picks[i]) {
        plan[nodes[i]] = p;
        walk(i + 1);
      }
    };
    walk(0);
    EXPECT_EQ(found->cost_ms, least) << "round " << round;

    // The plan that is returned has the price that is told.
    const auto priced = [&](const Assignment& a) {
      std::map<const ir::Node*, Pick> chosen;
      for (const auto& [node, choice] : a.nodes) chosen[node] = {choice.backend, &choice.candidate};
      return PriceOf(*graph, chosen, cost, target);
    };
    EXPECT_EQ(priced(*found), least) << "round " << round;
    // So do the moves that are told to be paid: with the kernels they are the whole price.
    double told = 0;
    std::set<std::string> once;  // one conversion or crossing serves all readers
    for (const auto& [node, choice] : found->nodes) told += choice.cost_ms;
    for (const auto& [node, moves] : found->moves) {
      for (const Move& m : moves) {
        if (!m.paid || !once.insert(m.value + m.backend + m.what).second) continue;
        told += m.price.ms;
        EXPECT_EQ(m.price.source, Source::kMeasured);
      }
    }
    EXPECT_EQ(told, least) << "round " << round;
    AssignOptions greedy;
    greedy.greedy = true;
    auto cheapest = Assign(*graph, own, {}, target, cost, greedy);
    ASSERT_TRUE(cheapest.ok());
    EXPECT_GE(priced(*cheapest), least);
    greedy_dearer += priced(*cheapest) > least;
    std::set<const backends::CompileBackend*> used;
    for (const auto& [node, choice] : found->nodes) used.insert(choice.backend);
    hybrids += used.size() > 1;
  }
  EXPECT_GT(hybrids, 50);
  EXPECT_GT(greedy_dearer, 50);
}

}  // namespace
}  // namespace slipway::compiler
