#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(FoldDequantize, MakesFloatConstants) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 3]
      const %w: int8[3, 2] = [1, 2, 3, 4, 5, 6]
      const %s: float32[2] = [0.5, 0.25]
      %d = slipway.Dequantize(%w, %s) {axis = 1}
      %y = MatMul(%x, %d)
      output %y
    })",
                {"fold-dequantize"}, R"(graph "g" {
      input %x: float32[2, 3]
      const %d: float32[3, 2] = [0.5, 0.5, 1.5, 1, 2.5, 1.5]
      %y = MatMul(%x, %d)
      output %y
    })");
}

// Packages hold these codes: compiler/coded_constants.h.
TEST(FoldDequantize, LeavesWeightsOfRecurrentLayers) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[4, 1, 2]
      const %w: int8[2, 2] = [1, 2, 3, 4]
      const %r: int8[1, 2, 2] = [5, 6, 7, 8]
      const %s: float32[2] = [0.5, 0.25]
      const %shape: int64[3] = [1, 2, 2]
      %rows = slipway.Dequantize(%w, %s) {axis = 0}
      %wf = Reshape(%rows, %shape)
      %rf = slipway.Dequantize(%r, %s) {axis = 1}
      %b = slipway.Dequantize(%w, %s) {axis = 0}
      %y = RNN(%x, %wf, %rf) {hidden_size = 2}
      %z = MatMul(%y, %b)
      output %z
    })",
                {"fold-dequantize"}, R"(graph "g" {
      input %x: float32[4, 1, 2]
      const %w: int8[2, 2] = [1, 2, 3, 4]
      const %r: int8[1, 2, 2] = [5, 6, 7, 8]
      const %s: float32[2] = [0.5, 0.25]
      const %shape: int64[3] = [1, 2, 2]
      const %b: float32[2, 2] = [0.5, 1, 0.75, 1]
      %rows = slipway.Dequantize(%w, %s) {axis = 0}
      %wf = Reshape(%rows, %shape)
      %rf = slipway.Dequantize(%r, %s) {axis = 1}
      %y = RNN(%x, %wf, %rf) {hidden_size = 2}
      %z = MatMul(%y, %b)
      output %z
    })");
}

// However long the chain behind it is.
TEST(FoldDequantize, FoldsBehindALongChain) {
  for (const int moves : {8, 9, 100000}) {
    ir::Graph graph;
    ir::Value* v = graph
                       .AddNode({"Dequantize",
                                 {graph.AddConstant("w", Tensor::Vector<int8_t>({1})),
                                  graph.AddConstant("s", Tensor::Vector<float>({0.5f}))},
                                 {},
                                 ir::kSlipwayDomain})
                       ->output();
    ir::Value* shape = graph.AddConstant("shape", Tensor::Vector<int64_t>({1, 1, 1}));
    for (int i = 0; i < moves; ++i) v = graph.AddNode({"Reshape", {v, shape}})->output();
    ir::Value* x = graph.AddInput("x", {DType::kFloat32, SymShape{4, 1, 1}});
    ir::Value* y = graph.AddNode({"RNN", {x, v, v}})->output();
    graph.AddOutput(y);
    const Result<int> changes = FindPass("fold-dequantize")->run(graph, {});
    ASSERT_TRUE(changes.ok()) << changes.status().ToString();
    EXPECT_EQ(*changes, moves > 8 ? 1 : 0) << moves;
  }
}

}  // namespace
}  // namespace slipway::passes
