// The network level, which the plugin of tests/plugins does not have: parts of several nodes.
#include "engine/backends/plugin/compiler.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>

namespace slipway::backends {
namespace {

struct Steps {
  std::vector<uint32_t> nodes;
  std::vector<int32_t> inputs, outputs;
};
std::function<std::vector<Steps>(const slipway_graph&)> answer;
std::string seen;

int Supports(void*, const slipway_graph*, const slipway_target*, slipway_error*) { return 0; }
int Candidates(void*, const slipway_graph*, const slipway_target*,
               const slipway_candidate_sink* sink, slipway_error*) {
  slipway_candidate c{};
  c.struct_size = sizeof c;
  c.kernel = "net";
  c.cost_us = 3;
  c.in_place = -1;
  return sink->add(sink->host, &c);
}
int Compile(void*, const slipway_graph* graph, const char* const* chosen, const slipway_target*,
            const slipway_step_sink* sink, slipway_error*) {
  seen = chosen[0];
  for (const Steps& s : answer(*graph)) {
    slipway_compiled_step step{};
    step.struct_size = sizeof step;
    step.nodes = s.nodes.data();
    step.num_nodes = static_cast<uint32_t>(s.nodes.size());
    step.inputs = s.inputs.data();
    step.num_inputs = static_cast<uint32_t>(s.inputs.size());
    step.outputs = s.outputs.data();
    step.num_outputs = static_cast<uint32_t>(s.outputs.size());
    step.blob = "b";
    step.blob_size = 1;
    step.in_place = -1;
    if (const int code = sink->add(sink->host, &step)) return code;
  }
  return 0;
}

slipway_compiler Compiler() {
  slipway_compiler c{};
  c.struct_size = sizeof c;
  c.abi_version = SLIPWAY_COMPILER_ABI_VERSION;
  c.name = "net";
  c.version = "4";
  c.level = SLIPWAY_LEVEL_NETWORK;
  c.supports = Supports;
  c.candidates = Candidates;
  c.compile = Compile;
  return c;
}

// x -> Relu a -> Neg b -> Abs c; b is read outside too.
class PluginCompiler : public testing::Test {
 protected:
  PluginCompiler() {
    const ir::Type type{DType::kFloat32, SymShape{Dim::Symbol("N"), Dim(3)}};
    ir::Value* v = graph_.AddInput("x", type);
    for (const char* op : {"Relu", "Neg", "Abs"}) {
      ir::Node* node = graph_.AddNode({.op = op, .inputs = {v}, .name = op});
      v = node->output();
      v->set_type(type);
      values_.push_back(v);
    }
    graph_.AddOutput(values_[1]);
    graph_.AddOutput(values_[2]);
    for (const auto& n : graph_.nodes()) nodes_.push_back({n.get(), &candidate_});
    candidate_.kernel = "net";
  }
  Result<std::vector<StepSpec>> Run(std::vector<Steps> steps) {
    answer = [&](const slipway_graph&) { return steps; };
    made_ = *MakePluginCompiler(&compiler_, "libnet.so", "net");
    return made_->Compile(nodes_, {});
  }
  void Refused(std::vector<Steps> steps, const std::string& says) {
    const auto r = Run(std::move(steps));
    ASSERT_FALSE(r.ok()) << says;
    for (const std::string& word : {says, std::string("libnet.so")})
      EXPECT_NE(r.status().message().find(word), std::string::npos) << r.status().message();
    EXPECT_FALSE(made_->Fault().ok());
  }

  ir::Graph graph_;
  std::vector<ir::Value*> values_;
  Candidate candidate_;
  std::vector<PartitionNode> nodes_;
  slipway_compiler compiler_ = Compiler();
  std::unique_ptr<CompileBackend> made_;
};

// Values are numbered as they are met: x 0, Relu 1, Neg 2, Abs 3.
TEST_F(PluginCompiler, OneStepForAll) {
  const auto r = Run({{{0, 1, 2}, {0}, {2, 3}}});
  ASSERT_TRUE(r.ok()) << r.status().message();
  ASSERT_EQ(r->size(), 1u);
  EXPECT_EQ((*r)[0].node->name(), "Relu");
  EXPECT_EQ((*r)[0].others.size(), 2u);
  EXPECT_EQ((*r)[0].outputs, (std::vector<const ir::Value*>{values_[1], values_[2]}));
  EXPECT_EQ((*r)[0].kernel, "net");
  EXPECT_EQ(seen, "net");
  EXPECT_EQ(made_->level(), Level::kNetwork);
  EXPECT_TRUE(Run({{{0, 1}, {0}, {2}}, {{2}, {2}, {3}}}).ok());
}

TEST_F(PluginCompiler, TheViewSaysWhoReadsWhat) {
  answer = [](const slipway_graph& g) -> std::vector<Steps> {
    EXPECT_EQ(g.num_nodes, 3u);
    EXPECT_EQ(g.num_values, 4u);
    EXPECT_EQ(g.values[0].producer, -1);
    EXPECT_EQ(g.values[0].dims[0], -1);
    EXPECT_EQ(g.values[0].dims[1], 3);
    EXPECT_EQ(g.values[1].producer, 0);
    EXPECT_FALSE(g.values[1].read_outside);
    EXPECT_EQ(g.values[1].num_consumers, 1u);
    EXPECT_EQ(g.values[1].consumers[0], 1u);
    EXPECT_TRUE(g.values[2].read_outside);
    EXPECT_STREQ(g.nodes[1].op, "Neg");
    return {{{0, 1, 2}, {0}, {2, 3}}};
  };
  made_ = *MakePluginCompiler(&compiler_, "libnet.so", "");
  EXPECT_TRUE(made_->Compile(nodes_, {}).ok());
}

TEST_F(PluginCompiler, WhatDoesNotAddUp) {
  Refused({{{0, 1}, {0}, {2}}}, "no step stands for the node 'Abs'");
  Refused({{{0, 1, 2}, {0}, {3}}}, "which is read outside");
  Refused({{{0, 1, 1}, {0}, {2}}}, "two steps stand for the node 'Neg'");
  Refused({{{0, 1, 2}, {0}, {2, 3}}, {{2}, {2}, {3}}}, "two steps stand for the node 'Abs'");
  Refused({{{2}, {2}, {3}}, {{0, 1}, {0}, {2}}}, "before a step has made it");
  Refused({{{0, 1}, {0}, {3}}, {{2}, {2}, {3}}}, "which none of its nodes makes");
  Refused({{{0, 1, 2}, {0}, {2, 3, 3}}}, "a second time");
  Refused({{{0, 1, 2}, {0}, {0}}}, "which none of its nodes makes");
  Refused({{{0, 1, 2}, {0}, {}}}, "no outputs");
  Refused({{{0, 1, 2}, {4}, {2, 3}}}, "name value 4");
  Refused({{{0, 1, 3}, {0}, {2, 3}}}, "node 3");
  Refused({}, "no step stands for");
}

TEST_F(PluginCompiler, ForOneProcessorOnly) {
  compiler_.arch = "aarch64";
  made_ = *MakePluginCompiler(&compiler_, "libnet.so", "net");
  EXPECT_EQ(made_->Supports(*nodes_[0].node, {}).code(), StatusCode::kUnsupported);
  Target arm;
  arm.arch = "aarch64";
  EXPECT_TRUE(made_->Supports(*nodes_[0].node, arm).ok());
  EXPECT_EQ(made_->Candidates(*nodes_[0].node, arm)[0].cost_us, 3);
}

}  // namespace
}  // namespace slipway::backends
