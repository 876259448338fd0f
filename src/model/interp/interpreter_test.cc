#include "model/interp/interpreter.h"

#include <gtest/gtest.h>

#include "base/thread_pool.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"

namespace slipway::interp {
namespace {

using ir::Tensor;

std::unique_ptr<ir::Graph> Parse(std::string_view text) {
  auto g = ir::ParseText(text);
  EXPECT_TRUE(g.ok()) << g.status().ToString();
  return std::move(*g);
}

Tensor F(const Dims& dims, const std::vector<float>& v) { return Tensor::Of<float>(dims, v); }

std::vector<float> Floats(const Tensor& t) {
  return {t.data<float>(), t.data<float>() + t.count()};
}

constexpr char kSmall[] = R"(graph "small" {
  input %x: float32[N, 2]
  const %w: float32[2, 3] = [1, 0, 2, 0, 1, 3]
  const %b: float32[3] = [0.5, -10, 0]
  %h = MatMul(%x, %w) "matmul"
  %a = Add(%h, %b) "add"
  %y = Relu(%a) "relu"
  output %y
})";

TEST(Interpreter, RunsASmallGraph) {
  auto g = Parse(kSmall);
  auto y = Evaluate(*g, std::vector<Tensor>{F({2, 2}, {1, 2, 3, 4})});
  ASSERT_TRUE(y.ok()) << y.status().ToString();
  ASSERT_EQ(y->size(), 1u);
  EXPECT_EQ((*y)[0].dims(), (Dims{2, 3}));
  EXPECT_EQ(Floats((*y)[0]), (std::vector<float>{1.5, 0, 8, 3.5, 0, 18}));
}

TEST(Interpreter, ObserverSeesInputsAndEveryOutput) {
  auto g = Parse(kSmall);
  std::vector<std::string> names;
  std::vector<Tensor> kept;
  RunOptions options;
  options.observer = [&](const ir::Value& v, const Tensor& t) {
    names.push_back(v.name());
    kept.push_back(t);
  };
  ASSERT_TRUE(Evaluate(*g, std::vector<Tensor>{F({1, 2}, {1, 1})}, options).ok());
  EXPECT_EQ(names, (std::vector<std::string>{"x", "h", "a", "y"}));
  EXPECT_EQ(Floats(kept[1]), (std::vector<float>{1, 1, 5}));  // a kept tensor stays valid
}

TEST(Interpreter, ThreadsDoNotChangeTheResult) {
  auto g = Parse(R"(graph "conv" {
    input %x: float32[1, 3, 20, 20]
    const %w: float32[70, 3, 3, 3] = random(5)
    %y = Conv(%x, %w, _) {pads = [1, 1, 1, 1]} "conv"
    %z = Softmax(%y) {axis = 1} "softmax"
    output %z
  })");
  std::vector<float> v(1200);
  for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i % 17) - 8;
  const std::vector<Tensor> in{F({1, 3, 20, 20}, v)};
  ThreadPool pool({.threads = 4});
  auto one = Evaluate(*g, in), four = Evaluate(*g, in, {.pool = &pool});
  ASSERT_TRUE(one.ok() && four.ok());
  EXPECT_EQ(Floats((*one)[0]), Floats((*four)[0]));
}

TEST(Interpreter, ShapeArithmeticFromData) {
  auto g = Parse(R"(graph "reshape" {
    input %x: float32[N, 2, 3]
    const %i: int64[1] = [0]
    const %m: int64[1] = [-1]
    %s = Shape(%x) "shape"
    %n = Gather(%s, %i) "gather"
    %t = Concat(%n, %m) {axis = 0} "concat"
    %y = Reshape(%x, %t) "reshape"
    output %y
    output %s
  })");
  auto y = Evaluate(*g, std::vector<Tensor>{F({2, 2, 3}, std::vector<float>(12, 1))});
  ASSERT_TRUE(y.ok()) << y.status().ToString();
  EXPECT_EQ((*y)[0].dims(), (Dims{2, 6}));
  EXPECT_EQ((*y)[1].ToInts(), (std::vector<int64_t>{2, 2, 3}));
}

TEST(Interpreter, OptionalInputsAndUnusedOutputs) {
  auto g = Parse(R"(graph "optional" {
    input %x: float32[4]
    const %hi: float32[] = [2]
    %y = Clip(%x, _, %hi) "clip"
    %unused = Neg(%x) "neg"
    output %y
    output %x
  })");
  auto y = Evaluate(*g, std::vector<Tensor>{F({4}, {-5, 1, 3, 2})});
  ASSERT_TRUE(y.ok()) << y.status().ToString();
  EXPECT_EQ(Floats((*y)[0]), (std::vector<float>{-5, 1, 2, 2}));
  EXPECT_EQ(Floats((*y)[1]), (std::vector<float>{-5, 1, 3, 2}));
}

TEST(Interpreter, InputErrorsNameInputExpectedAndGiven) {
  auto g = Parse(R"(graph "inputs" {
    input %a: float32[N, 3]
    input %b: float32[N, 2*N]
    %y = Relu(%a) "relu"
    %z = Relu(%b) "relu2"
    output %y
    output %z
  })");
  auto message = [&](std::vector<Tensor> in) {
    const auto r = Evaluate(*g, in);
    EXPECT_FALSE(r.ok());
    EXPECT_EQ(r.status().code(), StatusCode::kInvalidArgument);
    return r.ok() ? "" : r.status().message();
  };
  auto has = [](const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
  };
  const Tensor a = F({1, 3}, {1, 2, 3}), b = F({1, 2}, {1, 2});
  ASSERT_TRUE(Evaluate(*g, std::vector<Tensor>{a, b}).ok());
  std::string m = message({a});
  EXPECT_TRUE(has(m, "2 inputs") && has(m, "a, b")) << m;
  m = message({F({1, 4}, {1, 2, 3, 4}), b});
  EXPECT_TRUE(has(m, "'a'") && has(m, "float32[N, 3]") && has(m, "float32[1, 4]") &&
              has(m, "dimension 1"))
      << m;
  m = message({a, F({2, 2}, {1, 2, 3, 4})});
  EXPECT_TRUE(has(m, "'b'") && has(m, "input 'a' has set to 1")) << m;
  m = message({a, F({1, 3}, {1, 2, 3})});
  EXPECT_TRUE(has(m, "'b'") && has(m, "= 2")) << m;
  m = message({Tensor::Of<int32_t>({1, 3}, std::vector<int32_t>{1, 2, 3}), b});
  EXPECT_TRUE(has(m, "element types") && has(m, "int32[1, 3]")) << m;
  m = message({F({3}, {1, 2, 3}), b});
  EXPECT_TRUE(has(m, "ranks")) << m;
  message({a, Tensor()});
  g->symbol_ranges["N"] = {2, 8};
  m = message({a, b});
  EXPECT_TRUE(has(m, "[2, 8]")) << m;
}

TEST(Interpreter, NodeErrorsNameTheNode) {
  auto g = Parse(R"(graph "bad" {
    input %x: float32[3]
    input %i: int64[1]
    %y = Gather(%x, %i) "pick"
    output %y
  })");
  const auto r = Evaluate(*g, std::vector<Tensor>{F({3}, {1, 2, 3}), Tensor::Vector<int64_t>({7})});
  ASSERT_FALSE(r.ok());
  EXPECT_NE(r.status().message().find("'pick'"), std::string::npos) << r.status().message();
  EXPECT_NE(r.status().message().find("7"), std::string::npos);
}

TEST(Interpreter, UnknownOperatorsAreAllNamed) {
  ir::Graph g;
  ir::Value* x = g.AddInput("x", {DType::kFloat32, SymShape{Dim(2)}});
  ir::Node* a = g.AddNode({.op = "Frobnicate", .inputs = {x}});
  ir::Node* b = g.AddNode({.op = "Mystery", .inputs = {a->output()}, .domain = "acme"});
  g.AddOutput(b->output());
  const auto r = Interpreter::Create(g);
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.status().code(), StatusCode::kUnsupported);
  EXPECT_NE(r.status().message().find("Frobnicate"), std::string::npos);
  EXPECT_NE(r.status().message().find("acme.Mystery"), std::string::npos);
}

TEST(Interpreter, MemoryLimit) {
  auto g = Parse(R"(graph "large" {
    input %n: int64[2]
    %y = ConstantOfShape(%n) "fill"
    output %y
  })");
  const auto r = Evaluate(*g, std::vector<Tensor>{Tensor::Vector<int64_t>({1 << 20, 1 << 20})});
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.status().code(), StatusCode::kResourceExhausted) << r.status().ToString();
  EXPECT_NE(r.status().message().find("'fill'"), std::string::npos);
  // Values that died do not count: 3 x 4 MiB in sequence under a limit of 9 MiB.
  auto chain = Parse(R"(graph "chain" {
    input %x: float32[1048576]
    %a = Relu(%x) "a"
    %b = Relu(%a) "b"
    %c = Relu(%b) "c"
    output %c
  })");
  const std::vector<Tensor> in{F({1048576}, std::vector<float>(1048576, 1))};
  EXPECT_TRUE(Evaluate(*chain, in, {.max_bytes = 9 << 20}).ok());
  EXPECT_FALSE(Evaluate(*chain, in, {.max_bytes = 7 << 20}).ok());
}

TEST(Interpreter, ConstantGraphWithoutInputs) {
  auto g = Parse(R"(graph "constant" {
    const %a: float32[2] = [1, 2]
    %y = Add(%a, %a) "twice"
    output %y
    output %a
  })");
  auto y = Evaluate(*g, {});
  ASSERT_TRUE(y.ok()) << y.status().ToString();
  EXPECT_EQ(Floats((*y)[0]), (std::vector<float>{2, 4}));
  EXPECT_EQ(Floats((*y)[1]), (std::vector<float>{1, 2}));
}

TEST(Interpreter, QuantizedGraph) {
  auto g = Parse(R"(graph "quantized" {
    input %x: float32[4]
    const %s: float32[] = [0.5]
    const %z: uint8[] = [3]
    %q = slipway.Quantize(%x, %s, %z) {signed = 0} "q"
    %y = slipway.Dequantize(%q, %s, %z) {signed = 0} "dq"
    output %y
  })");
  auto y = Evaluate(*g, std::vector<Tensor>{F({4}, {0.24f, -10, 1.25f, 1000})});
  ASSERT_TRUE(y.ok()) << y.status().ToString();
  EXPECT_EQ(Floats((*y)[0]), (std::vector<float>{0, -1.5, 1, 126}));
}

}  // namespace
}  // namespace slipway::interp
