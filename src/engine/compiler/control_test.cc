// Models with If, Loop and Scan, compiled and run by a session, against the interpreter: by hand,
// and at random (the seed is printed, the time is bounded).

#include "engine/compiler/control.h"

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <random>

#include "engine/compiler/compiled_test_util.h"
#include "model/ir/control.h"
#include "model/ir/verify.h"

namespace slipway::compiler {
namespace {

using ir::Value;

// Greedy decoding: the tokens so far grow by one in every iteration until one is the end.
constexpr char kDecode[] = R"(graph "decode" {
  input %prompt: int64[P]
  input %most: int64[]
  const %table: float32[7, 7] = random(3)
  %tokens, %scores = Loop(%most, _, %prompt, %table) {carried = 1} "decode" body "body" graph "body" {
    input %i: int64[]
    input %go: bool[]
    input %tokens: int64[T]
    input %table: float32[7, 7]
    const %last: int64[1] = [-1]
    const %end: int64[1] = [6]
    %at = Gather(%tokens, %last)
    %row = Gather(%table, %at)
    %best = ArgMax(%row) {axis = -1, keepdims = 0}
    %score = ReduceMax(%row) {keepdims = 0}
    %more = Concat(%tokens, %best) {axis = 0}
    %is_end = Equal(%best, %end)
    %on = Not(%is_end)
    %scalar_shape = Shape(%i)
    %next = Reshape(%on, %scalar_shape)
    output %next
    output %more
    output %score
  }
  output %tokens
  output %scores
})";

TEST(CompileControl, DecodingLoop) {
  auto graph = Parse(kDecode);
  ASSERT_TRUE(graph);
  std::vector<std::vector<Tensor>> sets;
  for (int64_t most : {5, 9, 0, 1, 9}) {
    Tensor prompt = *Tensor::Allocate(DType::kInt64, {most == 1 ? 1 : 3});
    for (int64_t i = 0; i < prompt.count(); ++i)
      reinterpret_cast<int64_t*>(prompt.mutable_data())[i] = (i + most) % 6;
    sets.push_back({prompt, Tensor::Scalar<int64_t>(most)});
  }
  Check(*graph, sets);
}

// Outputs of a body that are its inputs, its constants, or the same value twice; a condition that
// is a constant.
TEST(CompileControl, BodiesHandOnWhatTheyGet) {
  auto graph = Parse(R"(graph "g" {
  input %x: float32[N, 2]
  input %n: int64[]
  input %flag: bool[]
  const %start: bool[] = [1]
  %a, %b, %s, %t, %u = Loop(%n, %start, %x, %x, %x) {carried = 2} "loop" body "body" graph "body" {
    input %i: int64[]
    input %go: bool[]
    input %a: float32[N, 2]
    input %b: float32[N, 2]
    input %x: float32[N, 2]
    const %true: bool[] = [1]
    const %c: float32[2] = [1, 2]
    %y = Add(%a, %x)
    output %true
    output %b
    output %y
    output %y
    output %c
    output %i
  }
  %p, %q = If(%flag, %x, %a) "if" body "then_branch" graph "then" {
    input %x: float32[N, 2]
    input %a: float32[N, 2]
    output %x
    output %x
  } body "else_branch" graph "else" {
    input %x: float32[N, 2]
    input %a: float32[N, 2]
    output %a
    output %x
  }
  output %a
  output %b
  output %s
  output %t
  output %u
  output %p
  output %q
})");
  ASSERT_TRUE(graph);
  std::vector<std::vector<Tensor>> sets;
  for (int64_t n : {0, 1, 2, 7})
    sets.push_back(
        {Floats({n + 1, 2}, 0.5f), Tensor::Scalar<int64_t>(n), Tensor::Scalar<bool>(n % 2 == 0)});
  Check(*graph, sets);
}

TEST(CompileControl, BranchesOfDifferentExtents) {
  auto graph = Parse(R"(graph "g" {
  range N = [0, 64]
  input %x: float32[N]
  input %flag: bool[]
  %y = If(%flag, %x) "if" body "then_branch" graph "then" {
    input %x: float32[N]
    %y = Concat(%x, %x) {axis = 0}
    output %y
  } body "else_branch" graph "else" {
    input %x: float32[N]
    %at = NonZero(%x)
    const %axes: int64[1] = [0]
    %flat = Squeeze(%at, %axes)
    %y = Gather(%x, %flat)
    output %y
  }
  %z = Mul(%y, %y)
  output %z
})");
  ASSERT_TRUE(graph);
  std::vector<std::vector<Tensor>> sets;
  for (int64_t n : {3, 4, 3, 0, 2})
    sets.push_back({Floats({n}, -0.5f), Tensor::Scalar<bool>(n != 4 && n != 2)});
  Check(*graph, sets);
}

// A Scan in a Loop in an If, over axes other than the first and from behind.
TEST(CompileControl, Nested) {
  auto graph = Parse(R"(graph "g" {
  range L = [0, 64]
  input %x: float32[N, L, 3]
  input %h: float32[N, 3]
  input %n: int64[]
  const %w: float32[3, 3] = random(5)
  const %one: int64[] = [1]
  %many = Greater(%n, %one)
  %y, %all = If(%many, %x, %h, %n, %w) "if" body "then_branch" graph "then" {
    input %x: float32[N, L, 3]
    input %h: float32[N, 3]
    input %n: int64[]
    input %w: float32[3, 3]
    %y, %all = Loop(%n, _, %h, %x, %w) {carried = 1} "layers" body "body" graph "layer" {
      input %i: int64[]
      input %go: bool[]
      input %h: float32[N, 3]
      input %x: float32[N, L, 3]
      input %w: float32[3, 3]
      %end, %hs = Scan(%h, %x, %w) {carried = 1, num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [-1], scan_input_directions = [1], scan_output_directions = [1]} "cells" body "body" graph "cell" {
        input %h: float32[N, 3]
        input %x: float32[N, 3]
        input %w: float32[3, 3]
        %p = MatMul(%h, %w)
        %s = Add(%p, %x)
        %next = Tanh(%s)
        %out = Neg(%next)
        output %next
        output %out
      }
      %sum = ReduceSum(%hs) {keepdims = 0}
      output %go
      output %end
      output %sum
    }
    output %y
    output %all
  } body "else_branch" graph "else" {
    input %x: float32[N, L, 3]
    input %h: float32[N, 3]
    input %n: int64[]
    input %w: float32[3, 3]
    const %none: float32[1] = [-1]
    output %h
    output %none
  }
  output %y
  output %all
})");
  ASSERT_TRUE(graph);
  std::vector<std::vector<Tensor>> sets;
  for (int64_t n : {2, 4, 0, 3})
    sets.push_back({Floats({2, n + 3, 3}, -1), Floats({2, 3}, 0), Tensor::Scalar<int64_t>(n)});
  sets.push_back({Floats({1, 0, 3}, -1), Floats({1, 3}, 0), Tensor::Scalar<int64_t>(2)});
  Check(*graph, sets);
}

// Two nodes that decide one extent become one; what came of the other one's symbol follows.
TEST(CompileControl, MergedNodesThatDecideExtents) {
  auto graph = Parse(R"(graph "g" {
  input %x: float32[4]
  %a = NonZero(%x)
  %b = NonZero(%x)
  %y = Neg(%a)
  %z = Abs(%b)
  output %y
  output %z
})");
  ASSERT_TRUE(graph);
  Check(*graph, {{Floats({4}, -0.5f)}, {Floats({4}, 1)}});
}

TEST(CompileControl, ReportsCountBodies) {
  auto graph = Parse(R"(graph "g" {
  input %x: float32[8, 16]
  const %w: float32[16, 16] = random(5)
  const %n: int64[] = [10]
  %y = Loop(%n, _, %x, %w) {carried = 1} "loop" body "body" graph "body" {
    input %i: int64[]
    input %go: bool[]
    input %h: float32[8, 16]
    input %w: float32[16, 16]
    %p = MatMul(%h, %w) "product"
    %c = CumSum(%p, %i) "sums"
    output %go
    output %c
  }
  output %y
})");
  ASSERT_TRUE(graph);
  const Platform platform = Platforms()[1];
  if (platform.name != "x86") GTEST_SKIP() << "no x86";
  auto compiled = Compiled::Make(*graph, platform, false);
  ASSERT_TRUE(compiled.ok()) << compiled.status().ToString();
  const CompileResult& r = (*compiled)->result();
  ASSERT_EQ(r.placement.size(), 3u);
  EXPECT_EQ(r.placement[0].node, "loop");
  EXPECT_EQ(r.placement[0].backend, "session");
  EXPECT_FALSE(r.placement[0].fallback);
  EXPECT_EQ(r.placement[1].node, "loop/body/product");
  EXPECT_FALSE(r.placement[1].fallback);
  EXPECT_EQ(r.placement[1].macs, 8 * 16 * 16);
  EXPECT_EQ(r.placement[2].node, "loop/body/sums");
  EXPECT_TRUE(r.placement[2].fallback);
  EXPECT_FALSE(r.placement[2].reasons.empty());
  EXPECT_EQ(r.own_node_share, 0.5);
  EXPECT_EQ(r.own_mac_share, 1);
  EXPECT_GT(r.expected_ms, 10 * r.placement[1].cost_ms);
  EXPECT_GE(r.peak_bytes, 2u * 512 + 2 * 512);
  EXPECT_TRUE(r.package.static_plan);
  EXPECT_EQ(KnownIterations(*graph->nodes().front()), 10);
}

TEST(CompileControl, RanksThatChangeAreRefusedByName) {
  auto graph = Parse(R"(graph "g" {
  input %x: float32[2]
  input %n: int64[]
  %y = Loop(%n, _, %x) {carried = 1} "grower" body "body" graph "body" {
    input %i: int64[]
    input %go: bool[]
    input %h
    const %axes: int64[1] = [0]
    %more = Unsqueeze(%h, %axes)
    output %go
    output %more
  }
  output %y
})");
  ASSERT_TRUE(graph);
  auto compiled = Compiled::Make(*graph, Platforms()[0], true);
  ASSERT_FALSE(compiled.ok());
  EXPECT_EQ(compiled.status().code(), StatusCode::kUnsupported);
  EXPECT_NE(
      compiled.status().message().find(
          "Loop node 'grower', body 'body': input 'h' has a number of dimensions that changes"),
      std::string::npos)
      << compiled.status().ToString();
}

// --- at random ---

class Builder {
 public:
  explicit Builder(uint64_t seed) : random_(seed) {}

  std::unique_ptr<ir::Graph> Build() {
    auto graph = std::make_unique<ir::Graph>();
    std::vector<Value*> floats, ints, bools;
    const Dim rows = Chance(50) ? Dim(3) : Dim::Symbol("N");
    floats.push_back(graph->AddInput("x", {DType::kFloat32, SymShape{rows, 4}}));
    floats.push_back(graph->AddInput("z", {DType::kFloat32, SymShape{rows, 4}}));
    ints.push_back(graph->AddInput("n", {DType::kInt64, SymShape{}}));
    bools.push_back(graph->AddInput("flag", {DType::kBool, SymShape{}}));
    Fill(*graph, floats, ints, bools, 0);
    for (Value* v : floats) {
      if (v->producer() && (v->uses().empty() || Chance(20)) && !v->is_output())
        graph->AddOutput(v);
    }
    if (graph->outputs().empty()) graph->AddOutput(Node(*graph, "Neg", {floats[0]}));
    return graph;
  }

 private:
  size_t Below(size_t n) { return random_() % n; }
  bool Chance(int percent) { return static_cast<int>(Below(100)) < percent; }
  template <typename T>
  T Pick(const std::vector<T>& list) {
    return list[Below(list.size())];
  }
  static Value* Node(ir::Graph& g, const char* op, std::vector<Value*> inputs,
                     ir::Attributes attributes = {}) {
    return g.AddNode({.op = op, .inputs = std::move(inputs), .attributes = std::move(attributes)})
        ->output();
  }
  static std::string Name(const Value* v) { return v->name(); }

  // Every float is [rows, columns]; what a body makes of several rows is brought back to that form.
  void Fill(ir::Graph& g, std::vector<Value*>& floats, std::vector<Value*>& ints,
            std::vector<Value*>& bools, int depth) {
    const size_t count = 2 + Below(4);
    for (size_t i = 0; i < count; ++i) {
      const size_t kind = Below(depth < 3 ? 13 : 8);
      Value* x = Pick(floats);
      if (kind < 3) {
        const char* ops[] = {"Tanh", "Neg", "Relu", "Sigmoid"};
        floats.push_back(Node(g, ops[Below(4)], {x}));
      } else if (kind < 5) {
        // Of equal extents, or none: rows may be fewer in a body.
        Value* y = Pick(floats);
        if (x->type().shape && x->type().shape == y->type().shape)
          floats.push_back(Node(g, Chance(50) ? "Add" : "Mul", {x, y}));
      } else if (kind == 5) {
        std::vector<float> w(16);
        for (float& v : w) v = static_cast<float>(Below(100)) / 100.f - 0.5f;
        floats.push_back(Node(g, "MatMul", {x, g.AddConstant("w", Tensor::Of<float>({4, 4}, w))}));
      } else if (kind == 6) {  // grows
        floats.push_back(Node(g, "Concat", {x, x}, {{"axis", int64_t{0}}}));
      } else if (kind ==
                 7) {  // shrinks as the data say; to one row at least, as symbols are taken to be
        Value* zero = g.AddConstant("zero", Tensor::Vector<int64_t>({0}));
        Value* one = g.AddConstant("one", Tensor::Vector<int64_t>({1}));
        floats.push_back(Node(g, "Slice", {x, zero, Node(g, "Max", {Pick(ints), one})}));
      } else if (kind == 8) {
        If(g, floats, ints, bools, depth);
      } else if (kind < 11) {
        Loop(g, floats, ints, bools, depth);
      } else {
        Scan(g, floats, ints, bools, depth);
      }
      // Types tell which operands fit.
      if (!ir::InferShapes(g).ok()) break;
    }
  }

  // A body with inputs for some of the outer values; `inputs` are the node's so far.
  struct Inner {
    std::unique_ptr<ir::Graph> graph = std::make_unique<ir::Graph>();
    std::vector<Value*> floats, ints, bools;
  };
  void Capture(Inner& body, const std::vector<Value*>& captured) {
    for (Value* v : captured) {
      Value* in = body.graph->AddInput(Name(v), v->type());
      (v->dtype() == DType::kFloat32 ? body.floats
       : v->dtype() == DType::kInt64 ? body.ints
                                     : body.bools)
          .push_back(in);
    }
  }
  std::vector<Value*> Captured(const std::vector<Value*>& floats, const std::vector<Value*>& ints,
                               const std::vector<Value*>& bools) {
    std::vector<Value*> out{Pick(ints), Pick(bools), Pick(floats)};
    if (Chance(50)) out.push_back(Pick(floats));
    return out;
  }

  void If(ir::Graph& g, std::vector<Value*>& floats, std::vector<Value*>& ints,
          std::vector<Value*>& bools, int depth) {
    const auto captured = Captured(floats, ints, bools);
    std::vector<Value*> inputs{Pick(bools)};
    inputs.insert(inputs.end(), captured.begin(), captured.end());
    ir::Node* node = g.AddNode({.op = "If", .inputs = inputs, .outputs = {"", ""}});
    for (const char* name : {"then_branch", "else_branch"}) {
      Inner body;
      Capture(body, captured);
      Fill(*body.graph, body.floats, body.ints, body.bools, depth + 1);
      body.graph->AddOutput(body.floats.back());
      body.graph->AddOutput(Pick(body.floats));
      node->subgraphs[name] = std::move(body.graph);
    }
    floats.push_back(node->output(0));
    floats.push_back(node->output(1));
  }

  void Loop(ir::Graph& g, std::vector<Value*>& floats, std::vector<Value*>& ints,
            std::vector<Value*>& bools, int depth) {
    Value* trips =
        Chance(60) ? g.AddConstant("trips", Tensor::Scalar<int64_t>(static_cast<int64_t>(Below(4))))
                   : Pick(ints);
    const auto captured = Captured(floats, ints, bools);
    std::vector<Value*> inputs{trips, Chance(70) ? nullptr : Pick(bools), Pick(floats),
                               Pick(floats)};
    inputs.insert(inputs.end(), captured.begin(), captured.end());
    Inner body;
    body.ints.push_back(body.graph->AddInput("i", {DType::kInt64, SymShape{}}));
    body.bools.push_back(body.graph->AddInput("go", {DType::kBool, SymShape{}}));
    for (size_t k = 2; k < 4; ++k)
      body.floats.push_back(body.graph->AddInput("carried", inputs[k]->type()));
    Capture(body, captured);
    Fill(*body.graph, body.floats, body.ints, body.bools, depth + 1);
    Value* go = body.bools[0];
    if (Chance(30))
      go = Node(
          *body.graph, "Less",
          {body.ints[0], body.graph->AddConstant(
                             "most", Tensor::Scalar<int64_t>(static_cast<int64_t>(Below(3))))});
    body.graph->AddOutput(go);
    const bool steady = Chance(50);  // carried values keep their extent
    body.graph->AddOutput(steady ? Node(*body.graph, "Tanh", {body.floats[0]}) : Pick(body.floats));
    body.graph->AddOutput(steady ? body.floats[0] : Pick(body.floats));
    const bool stacks = steady;
    if (stacks)
      body.graph->AddOutput(
          Node(*body.graph, "ReduceSum", {body.floats[0]}, {{"keepdims", int64_t{0}}}));
    std::vector<std::string> outputs(stacks ? 3 : 2);
    ir::Node* node = g.AddNode({.op = "Loop",
                                .inputs = inputs,
                                .attributes = {{"carried", int64_t{2}}},
                                .outputs = outputs});
    node->subgraphs["body"] = std::move(body.graph);
    floats.push_back(node->output(0));
    floats.push_back(node->output(1));
    if (stacks && Chance(50)) g.AddOutput(node->output(2));
  }

  void Scan(ir::Graph& g, std::vector<Value*>& floats, std::vector<Value*>& ints,
            std::vector<Value*>& bools, int depth) {
    const auto captured = Captured(floats, ints, bools);
    Value* scanned = Pick(floats);
    const int64_t axis = static_cast<int64_t>(Below(2));
    std::vector<Value*> inputs{Pick(floats), scanned};
    inputs.insert(inputs.end(), captured.begin(), captured.end());
    Inner body;
    body.floats.push_back(body.graph->AddInput("carried", inputs[0]->type()));
    Value* slice = body.graph->AddInput("slice", {DType::kFloat32, std::nullopt});
    Capture(body, captured);
    Fill(*body.graph, body.floats, body.ints, body.bools, depth + 1);
    // Nothing that makes much of little: other platforms round in other ways.
    Value* out = Node(*body.graph, "Sigmoid", {slice});
    body.graph->AddOutput(Node(*body.graph, "Tanh", {body.floats[0]}));
    body.graph->AddOutput(out);
    ir::Node* node = g.AddNode(
        {.op = "Scan",
         .inputs = inputs,
         .attributes =
             {{"carried", int64_t{1}},
              {"num_scan_inputs", int64_t{1}},
              {"scan_input_axes", std::vector<int64_t>{axis}},
              {"scan_output_axes", std::vector<int64_t>{axis == 0 && Chance(50) ? 0 : axis - 2}},
              {"scan_input_directions", std::vector<int64_t>{static_cast<int64_t>(Below(2))}},
              {"scan_output_directions", std::vector<int64_t>{static_cast<int64_t>(Below(2))}}},
         .outputs = {"", ""}});
    node->subgraphs["body"] = std::move(body.graph);
    floats.push_back(node->output(0));
    floats.push_back(node->output(1));
  }

  std::mt19937_64 random_;
};

// Operands that had equal extents when a body was built may differ in later iterations. One that is
// then broadcast is more than symbols can say: the package refuses in the run what the interpreter
// does.
bool EqualOperands(const ir::Graph& graph) {
  for (const auto& node : graph.nodes()) {
    if ((node->Is("Add") || node->Is("Mul")) &&
        !(node->input(0)->type().shape == node->input(1)->type().shape))
      return false;
    for (const auto& [name, body] : node->subgraphs) {
      if (!EqualOperands(*body)) return false;
    }
  }
  return true;
}

TEST(CompileControl, RandomModelsAgreeWithTheInterpreter) {
  const char* fixed = std::getenv("SLIPWAY_TEST_SEED");
  const uint64_t base = fixed ? std::strtoull(fixed, nullptr, 10) : std::random_device{}();
  const char* limit = std::getenv("SLIPWAY_TEST_SECONDS");
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::duration<double>(limit ? std::atof(limit) : 5);
  const std::vector<Platform> platforms = Platforms();
  int64_t models = 0, refused = 0, runs = 0, empty = 0;
  std::map<std::string, int64_t> why;
  for (uint64_t seed = base; std::chrono::steady_clock::now() < end || (runs <= 20 && models < 300);
       ++seed) {
    SCOPED_TRACE("SLIPWAY_TEST_SEED=" + std::to_string(seed));
    auto graph = Builder(seed).Build();
    if (!ir::InferShapes(*graph).ok() || !ir::Verify(*graph).ok() || !EqualOperands(*graph))
      continue;
    std::mt19937_64 random(seed);
    const Platform& platform = platforms[random() % platforms.size()];
    const bool optimize = random() % 2 == 0;
    SCOPED_TRACE(platform.name + (optimize ? ", optimized" : ""));
    auto compiled = Compiled::Make(*graph, platform, optimize);
    if (!compiled.ok()) {
      ASSERT_EQ(compiled.status().code(), StatusCode::kUnsupported)
          << compiled.status().ToString() << "\n"
          << ir::ToText(*graph);
      ++refused;
      ++why[compiled.status().message().substr(0, 400) + ", seed " + std::to_string(seed)];
      if (fixed) std::cout << compiled.status().ToString() << "\n" << ir::ToText(*graph) << "\n";
      continue;
    }
    ++models;
    for (int run = 0; run < 3; ++run) {
      const int64_t rows =
          graph->inputs()[0]->type().IsStatic() ? 3 : static_cast<int64_t>(1 + random() % 5);
      const std::vector<Tensor> inputs{Floats({rows, 4}, -1.25f + static_cast<float>(run)),
                                       Floats({rows, 4}, 0.5f),
                                       Tensor::Scalar<int64_t>(static_cast<int64_t>(random() % 4)),
                                       Tensor::Scalar<bool>(random() % 2)};
      interp::RunOptions options;
      options.max_bytes = 1 << 24;
      auto want = interp::Evaluate(*graph, inputs, options);
      if (!want.ok()) continue;
      auto got = (*compiled)->Run(inputs);
      ASSERT_TRUE(got.ok()) << platform.name << ": " << got.status().ToString() << "\n"
                            << ir::ToText(*graph);
      ++runs;
      for (size_t k = 0; k < want->size(); ++k) {
        if ((*want)[k].count() == 0) ++empty;
        ASSERT_EQ(Different((*got)[k], (*want)[k], platform.name == "reference"), "")
            << platform.name << ", run " << run << ", output " << k << "\n"
            << ir::ToText(*graph);
      }
    }
    if (fixed) break;
  }
  std::cout << "  seed " << base << ": " << models << " models, " << runs << " runs, " << empty
            << " empty results, " << refused << " refused\n";
  for (const auto& [reason, count] : why) {
    if (limit) std::cout << "  " << count << " x " << reason << "\n";
  }
  EXPECT_TRUE(fixed || runs > 20);
}

}  // namespace
}  // namespace slipway::compiler
