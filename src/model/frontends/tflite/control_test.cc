// IF and WHILE.

#include <gtest/gtest.h>

#include "model/frontends/tflite/writer_test_util.h"
#include "model/passes/pass.h"

namespace slipway::tflite {
namespace {

std::vector<std::vector<double>> Run(const ir::Graph& graph,
                                     const std::vector<ir::Tensor>& inputs) {
  auto out = interp::Evaluate(graph, inputs);
  EXPECT_TRUE(out.ok()) << out.status().ToString();
  std::vector<std::vector<double>> values;
  for (size_t i = 0; out.ok() && i < out->size(); ++i) values.push_back((*out)[i].ToDoubles());
  return values;
}

// The results as they are, and behind all passes.
std::vector<std::vector<double>> Results(const Writer& w, const std::vector<ir::Tensor>& inputs) {
  auto graph = w.Import();
  EXPECT_TRUE(graph.ok()) << graph.status().ToString();
  if (!graph.ok()) return {};
  auto values = Run(**graph, inputs);
  auto reports = passes::RunPasses(**graph, {.verify_each = true});
  EXPECT_TRUE(reports.ok()) << reports.status().ToString();
  EXPECT_EQ(Run(**graph, inputs), values);
  return values;
}

void Refused(const Writer& w, const std::string& part) {
  auto graph = w.Import();
  ASSERT_FALSE(graph.ok()) << part;
  EXPECT_NE(graph.status().message().find(part), std::string::npos) << graph.status().ToString();
}

void IfOp(Writer& w, const std::vector<int32_t>& inputs, const std::vector<int32_t>& outputs,
          int then_graph, int else_graph) {
  fb::IfOptionsT o;
  o.then_subgraph_index = then_graph;
  o.else_subgraph_index = else_graph;
  w.Op(B::IF, inputs, outputs, std::move(o));
}

void WhileOp(Writer& w, const std::vector<int32_t>& inputs, const std::vector<int32_t>& outputs,
             int condition, int body) {
  fb::WhileOptionsT o;
  o.cond_subgraph_index = condition;
  o.body_subgraph_index = body;
  w.Op(B::WHILE, inputs, outputs, std::move(o));
}

// An image that a convolution left in another layout goes into both branches.
TEST(Control, IfBehindAConvolution) {
  Writer w;
  const int c = w.Input("c", {}, T::BOOL), x = w.Input("x", {1, 2, 2, 2});
  const int k = w.Constant<float>("k", {2, 1, 1, 2}, {1, 0, 1, 1}),
            b = w.Constant<float>("b", {2}, {0, 0});
  const int y = w.Value("y", {1, 2, 2, 2});
  w.Op(B::CONV_2D, {x, k, b}, {y}, ConvOptions(fb::Padding::VALID, 1));
  const int z = w.Output(w.Value("z", {1, 2, 2, 2})), s = w.Output(w.Value("s", {1, 2, 2, 2}));
  IfOp(w, {c, y}, {z, s}, 1, 2);
  w.SubGraph();  // negates and hands on
  const int a = w.Input("a", {1, 2, 2, 2}), n = w.Value("n", {1, 2, 2, 2});
  w.Op(B::NEG, {a}, {n});
  w.Output(n), w.Output(a);
  w.SubGraph();  // another convolution, and a constant
  const int d = w.Input("d", {1, 2, 2, 2}), m = w.Value("m", {1, 2, 2, 2});
  w.Op(B::CONV_2D,
       {d, w.Constant<float>("k", {2, 1, 1, 2}, {2, 0, 0, 2}), w.Constant<float>("b", {2}, {1, 1})},
       {m}, ConvOptions(fb::Padding::VALID, 1));
  w.Output(m), w.Output(w.Constant<float>("one", {1, 2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}));
  const ir::Tensor image =
      ir::Tensor::Of<float>({1, 2, 2, 2}, std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8});
  auto r = Results(w, {ir::Tensor::Scalar<bool>(true), image});
  ASSERT_EQ(r.size(), 2u);
  EXPECT_EQ(r[0], (std::vector<double>{-1, -3, -3, -7, -5, -11, -7, -15}));
  EXPECT_EQ(r[1], (std::vector<double>{1, 3, 3, 7, 5, 11, 7, 15}));
  r = Results(w, {ir::Tensor::Scalar<bool>(false), image});
  ASSERT_EQ(r.size(), 2u);
  EXPECT_EQ(r[0], (std::vector<double>{3, 7, 7, 15, 11, 23, 15, 31}));
  EXPECT_EQ(r[1], (std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8}));
}

// while (i < n) { i = i + 1; x = x + x; }, with n from outside carried along.
Writer Doubling() {
  Writer w;
  const int n = w.Input("n", {}, T::INT32), x = w.Input("x", {2});
  const int zero = w.Scalar("zero", 0);
  const int i1 = w.Value("i1", {}, T::INT32), n1 = w.Value("n1", {}, T::INT32),
            x1 = w.Value("x1", {2});
  WhileOp(w, {zero, n, x}, {i1, n1, x1}, 1, 2);
  w.Output(x1), w.Output(i1);
  for (const bool body : {false, true}) {
    w.SubGraph();
    const int i = w.Input("i", {}, T::INT32), m = w.Input("m", {}, T::INT32), v = w.Input("v", {2});
    if (!body) {
      const int less = w.Output(w.Value("less", {}, T::BOOL));
      w.Op(B::LESS, {i, m}, {less});
      continue;
    }
    const int next = w.Output(w.Value("next", {}, T::INT32));
    w.Op(B::ADD, {i, w.Scalar("one", 1)}, {next});
    w.Output(m);
    const int doubled = w.Output(w.Value("doubled", {2}));
    w.Op(B::ADD, {v, v}, {doubled});
  }
  return w;
}

TEST(Control, While) {
  const Writer w = Doubling();
  const ir::Tensor x = ir::Tensor::Of<float>({2}, std::vector<float>{1, 3});
  using Values = std::vector<std::vector<double>>;
  EXPECT_EQ(Results(w, {ir::Tensor::Scalar<int32_t>(5), x}), (Values{{32, 96}, {5}}));
  EXPECT_EQ(Results(w, {ir::Tensor::Scalar<int32_t>(0), x}), (Values{{1, 3}, {0}}));
}

// What goes around is quantized; the body has a branch of its own.
TEST(Control, QuantizedWhileWithIf) {
  const Quant q{{0.5f}, {0}};
  Writer w;
  const int x = w.Input("x", {3}, T::INT8, q);
  const int i1 = w.Value("i1", {}, T::INT32), y = w.Output(w.Value("y", {3}, T::INT8, q));
  WhileOp(w, {w.Scalar("zero", 0), x}, {i1, y}, 1, 2);
  w.SubGraph();
  int i = w.Input("i", {}, T::INT32);
  w.Input("v", {3}, T::INT8, q);
  w.Op(B::LESS, {i, w.Scalar("three", 3)}, {w.Output(w.Value("less", {}, T::BOOL))});
  w.SubGraph();
  i = w.Input("i", {}, T::INT32);
  const int v = w.Input("v", {3}, T::INT8, q);
  const int next = w.Output(w.Value("next", {}, T::INT32)), first = w.Value("first", {}, T::BOOL);
  w.Op(B::ADD, {i, w.Scalar("one", 1)}, {next});
  w.Op(B::EQUAL, {i, w.Scalar("zero", 0)}, {first});
  IfOp(w, {first, v}, {w.Output(w.Value("chosen", {3}, T::INT8, q))}, 3, 4);
  for (const bool add : {true, false}) {
    w.SubGraph();
    const int a = w.Input("a", {3}, T::INT8, q);
    const int r = w.Output(w.Value("r", {3}, T::INT8, q));
    if (add)
      w.Op(B::ADD, {a, w.Bytes("k", {1}, T::INT8, {4}, q)}, {r});
    else
      w.Op(B::ADD, {a, a}, {r});
  }
  // ((x + 2) * 2) * 2 in steps of 0.5, saturated at 127.
  const std::vector<int8_t> codes = {1, -7, 30};
  const auto r = Results(w, {ir::Tensor::Of<int8_t>({3}, codes)});
  ASSERT_EQ(r.size(), 1u);
  EXPECT_EQ(r[0], (std::vector<double>{20, -12, 127}));
}

// A loop whose variable grows: its extent is dynamic in the file.
TEST(Control, GrowingVariable) {
  Writer w;
  const int x = w.Input("x", {1});
  const int y = w.Output(w.Value("y", {-1}));
  WhileOp(w, {x}, {y}, 1, 2);
  w.SubGraph();
  int v = w.Input("v", {-1});
  const int s = w.Value("s", {1}, T::INT32);
  w.Op(B::SHAPE, {v}, {s});
  w.Op(B::LESS, {s, w.Ints("most", {5})}, {w.Output(w.Value("less", {1}, T::BOOL))});
  w.SubGraph();
  v = w.Input("v", {-1});
  w.Op(B::CONCATENATION, {v, v}, {w.Output(w.Value("both", {-1}))}, fb::ConcatenationOptionsT());
  const auto r = Results(w, {ir::Tensor::Of<float>({1}, std::vector<float>{3})});
  ASSERT_EQ(r.size(), 1u);
  EXPECT_EQ(r[0], std::vector<double>(8, 3));
}

TEST(Control, WrongOnesAreNamed) {
  const auto changed = [](const auto& change) {
    Writer w = Doubling();
    change(w);
    return w;
  };
  const auto options = [](Writer& w) {
    return w.model.subgraphs[0]->operators[0]->builtin_options.AsWhileOptions();
  };
  Refused(changed([&](Writer& w) { options(w)->body_subgraph_index = 3; }),
          "sub-graph 3: there is none, of 3");
  Refused(changed([&](Writer& w) { options(w)->body_subgraph_index = -1; }),
          "sub-graph -1: there is none");
  Refused(changed([&](Writer& w) { options(w)->body_subgraph_index = 0; }),
          "sub-graph 0: it contains itself");
  Refused(changed([&](Writer& w) { options(w)->body_subgraph_index = 1; }),
          "its body has 1 outputs but needs 3");
  Refused(changed([&](Writer& w) { options(w)->cond_subgraph_index = 2; }),
          "its condition has 3 outputs but needs 1");
  Refused(changed([](Writer& w) { w.model.subgraphs[2]->inputs.pop_back(); }),
          "it has 2 inputs but is given 3");
  Refused(changed([](Writer& w) { w.model.subgraphs[2]->tensors[2]->type = T::INT32; }),
          "input 'v' is int32 but is given 'x'");
  Refused(changed([](Writer& w) { w.model.subgraphs[2]->inputs[1] = 0; }), "listed twice");
  Refused(changed([](Writer& w) { w.model.subgraphs[0]->operators[0]->inputs[2] = -1; }),
          "input 2 is missing");
  Refused(changed([](Writer& w) { w.model.subgraphs[0]->operators[0]->outputs.pop_back(); }),
          "3 inputs but 2 outputs");
  // A condition that is no boolean.
  Refused(changed([](Writer& w) { w.model.subgraphs[1]->outputs[0] = 0; }), "condition");
}

// Sixteen levels of two branches each: 2^16 copies of the innermost.
TEST(Control, BombsHitTheLimit) {
  Writer w;
  for (int level = 0; level < 15; ++level) {
    if (level > 0) w.SubGraph();
    const int c = w.Input("c", {}, T::BOOL);
    const int y = w.Output(w.Value("y", {}, T::BOOL));
    IfOp(w, {c, c}, {y}, level + 1, level + 1);
  }
  w.SubGraph();
  const int c = w.Input("c", {}, T::BOOL);
  w.Op(B::LOGICAL_NOT, {c}, {w.Output(w.Value("y", {}, T::BOOL))});
  ImportOptions options;
  options.limits.operators = 10'000;
  auto graph = w.Import(options);
  ASSERT_FALSE(graph.ok());
  EXPECT_EQ(graph.status().code(), StatusCode::kResourceExhausted) << graph.status().ToString();
}

}  // namespace
}  // namespace slipway::tflite
