#include "model/frontends/onnx/export.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "model/frontends/onnx/import.h"
#include "model/frontends/onnx/proto.h"
#include "model/frontends/onnx/test_case.h"
#include "model/frontends/onnx/test_model.h"
#include "model/interp/interpreter.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"

namespace slipway::onnx {
namespace {

using ir::Attributes;
using ir::Graph;
using ir::Node;
using ir::Tensor;
using ir::Type;
using ir::Value;
namespace fs = std::filesystem;

Type Float(SymShape shape) { return {DType::kFloat32, std::move(shape)}; }

Result<std::unique_ptr<Graph>> RoundTrip(const Graph& g, int opset) {
  auto bytes = ExportOnnxBytes(g, {.opset = opset});
  if (!bytes.ok()) return bytes.status();
  auto owner = std::make_shared<std::vector<uint8_t>>(std::move(*bytes));
  return ImportOnnxBytes(*owner, owner);
}

std::vector<std::string> Ops(const Graph& g) {
  std::vector<std::string> ops;
  for (const auto& n : g.nodes()) ops.push_back(n->FullOp());
  return ops;
}

// Everything but metadata: names, order, attributes, types, constants.
std::string Difference(const Graph& a, const Graph& b) {
  if (a.nodes().size() != b.nodes().size()) return "node counts differ";
  for (auto i = a.nodes().begin(), j = b.nodes().begin(); i != a.nodes().end(); ++i, ++j) {
    const Node &m = **i, &n = **j;
    if (m.FullOp() != n.FullOp() || m.name() != n.name())
      return m.Describe() + " became " + n.Describe();
    if (!(m.attributes == n.attributes)) return m.Describe() + ": attributes differ";
    if (m.inputs().size() != n.inputs().size() || m.outputs().size() != n.outputs().size())
      return m.Describe() + ": operand counts differ";
    for (size_t k = 0; k < m.inputs().size(); ++k) {
      const Value *u = m.inputs()[k], *v = n.inputs()[k];
      if (!u != !v) return m.Describe() + ": an input vanished";
      if (!u) continue;
      if (u->name() != v->name()) return m.Describe() + " reads " + u->name() + " and " + v->name();
      if (u->is_constant() != v->is_constant()) return u->name() + " is a constant only once";
      if (u->is_constant() &&
          !std::equal(u->constant()->bytes().begin(), u->constant()->bytes().end(),
                      v->constant()->bytes().begin(), v->constant()->bytes().end())) {
        return "constant " + u->name() + " differs";
      }
    }
    for (size_t k = 0; k < m.outputs().size(); ++k) {
      const Value *u = m.outputs()[k], *v = n.outputs()[k];
      if (u && v && !(u->type() == v->type()))
        return u->name() + ": " + u->type().ToString() + " became " + v->type().ToString();
    }
  }
  return "";
}

TEST(Export, KeepsAPlainGraph) {
  TestModel m(17);
  m.Input("x", {"N", "3", "8", "8"})
      .Output("y")
      .Output("idx")
      .Floats("w", {4, 3, 1, 1}, std::vector<float>(12, 0.5f))
      .Ints("k", {2});
  m.Node("Conv", {"x", "w"}, {"c"},
         {TestModel::IntList("kernel_shape", {1, 1}), TestModel::Int("group", 1)}, "conv");
  m.Node("Resize", {"c", "", "s"}, {"r"}, {TestModel::Text("mode", "nearest")})
      .Floats("s", {4}, {1, 1, 2, 2});
  m.Node("TopK", {"r", "k"}, {"y", "idx"}, {TestModel::Int("axis", 1)});
  auto g = m.Import();
  ASSERT_TRUE(g.ok()) << g.status().ToString();
  (*g)->metadata["metadata.key"] = "value";
  (*g)->metadata["doc"] = "about";
  for (int opset : {11, 12, 13, 17, 18, 21, 25, 26}) {
    auto back = RoundTrip(**g, opset);
    ASSERT_TRUE(back.ok()) << opset << ": " << back.status().ToString();
    EXPECT_EQ(Difference(**g, **back), "") << opset;
    EXPECT_EQ((*back)->metadata["opset"], std::to_string(opset));
    EXPECT_EQ((*back)->metadata["producer"], "slipway");
    EXPECT_EQ((*back)->metadata["metadata.key"], "value");
    EXPECT_EQ((*back)->metadata["doc"], "about");
    EXPECT_EQ((*back)->inputs()[0]->type().ToString(), "float32[N, 3, 8, 8]");
  }
  EXPECT_EQ(RoundTrip(**g, 10).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(RoundTrip(**g, 27).status().code(), StatusCode::kInvalidArgument);
}

TEST(Export, AxesGoBackIntoAttributes) {
  Graph g;
  Value* x = g.AddInput("x", Float({2, 3, 1}));
  auto ints = [&](std::vector<int64_t> v) { return g.AddConstant("", Tensor::Vector<int64_t>(v)); };
  Value* a = g.AddNode({.op = "Squeeze", .inputs = {x, ints({2})}})->output();
  Value* b = g.AddNode({.op = "Unsqueeze", .inputs = {a, ints({0})}})->output();
  Value* c = g.AddNode({.op = "ReduceSum", .inputs = {b, ints({1})}})->output();
  Value* d = g.AddNode({.op = "ReduceMax", .inputs = {c, ints({2})}})->output();
  Node* s = g.AddNode({.op = "Split",
                       .inputs = {x, ints({1, 2})},
                       .attributes = {{"axis", int64_t{1}}},
                       .outputs = {"", ""}});
  g.AddOutput(d);
  g.AddOutput(s->output(0));
  g.AddOutput(s->output(1));
  for (Value* v : g.outputs()) v->set_type({DType::kFloat32, std::nullopt});
  for (int opset : {11, 13, 18, 25}) {
    auto bytes = ExportOnnxBytes(g, {.opset = opset});
    ASSERT_TRUE(bytes.ok()) << bytes.status().ToString();
    auto model = ParseModel(*bytes, {});
    ASSERT_TRUE(model.ok());
    for (const NodeProto& n : model->graph.nodes) {
      const bool as_input = n.inputs.size() == 2;
      const int since = n.op_type == "ReduceMax" ? 18 : 13;
      EXPECT_EQ(as_input, opset >= since) << n.op_type << " at " << opset;
    }
    auto back = RoundTrip(g, opset);
    ASSERT_TRUE(back.ok()) << back.status().ToString();
    EXPECT_EQ((*back)->outputs()[0]->type().ToString(), "float32[1, 1, 1]");
    EXPECT_EQ((*back)->outputs()[2]->type().ToString(), "float32[2, 2, 1]");
  }
}

TEST(Export, FusedOperatorsComeApart) {
  Graph g;
  Value* x = g.AddInput("x", Float({1, 2, 4, 4}));
  Value* w = g.AddConstant("w", Tensor::Of<float>({2, 2, 1, 1}, std::vector<float>{1, 2, 3, 4}));
  Value* b = g.AddConstant("b", Tensor::Vector<float>({1, 2}));
  Node* conv = g.AddNode({.op = "Conv",
                          .inputs = {x, w, b, x},
                          .attributes = {{"activation", std::string("Clip")},
                                         {"activation_params", std::vector<float>{0, 6}}},
                          .domain = ir::kSlipwayDomain,
                          .name = "c",
                          .outputs = {"conv_out"}});
  conv->output()->set_type(Float({1, 2, 4, 4}));
  Value* lw = g.AddConstant("lw", Tensor::Of<float>({3, 4}, std::vector<float>(12, 1)));
  Value* lb = g.AddConstant("lb", Tensor::Vector<float>({1, 2, 3}));
  Node* linear =
      g.AddNode({.op = "Linear",
                 .inputs = {conv->output(), lw, lb},
                 .attributes = {{"transW", int64_t{1}}, {"activation", std::string("Gelu")}},
                 .domain = ir::kSlipwayDomain,
                 .outputs = {"linear_out"}});
  linear->output()->set_type(Float({1, 2, 4, 3}));
  Node* add = g.AddNode({.op = "Add",
                         .inputs = {linear->output(), lb},
                         .attributes = {{"activation", std::string("HardSwish")}},
                         .domain = ir::kSlipwayDomain,
                         .outputs = {"y"}});
  add->output()->set_type(Float({1, 2, 4, 3}));
  g.AddOutput(add->output());
  auto modern = RoundTrip(g, 20);
  ASSERT_TRUE(modern.ok()) << modern.status().ToString();
  EXPECT_EQ(Ops(**modern), (std::vector<std::string>{"Conv", "Add", "Clip", "Transpose", "MatMul",
                                                     "Add", "Gelu", "Add", "HardSwish"}));
  EXPECT_EQ((*modern)->outputs()[0]->name(), "y");
  EXPECT_TRUE((*modern)->FindValue("conv_out"));
  auto old = RoundTrip(g, 11);
  ASSERT_TRUE(old.ok()) << old.status().ToString();
  for (const std::string& op : Ops(**old)) EXPECT_TRUE(op != "Gelu" && op != "HardSwish") << op;
  EXPECT_EQ((*old)->outputs()[0]->type().ToString(), "float32[1, 2, 4, 3]");
}

TEST(Export, OperatorsThatOldOpsetsLackAreTakenApart) {
  Graph g;
  Value* x = g.AddInput("x", Float({1, 4, 8}));
  Value* scale = g.AddConstant("scale", Tensor::Vector<float>(std::vector<float>(8, 1)));
  Value* channel = g.AddConstant("channel", Tensor::Vector<float>(std::vector<float>(4, 1)));
  auto unary = [&](const char* op, std::vector<Value*> in, Attributes a = {}) {
    Node* n = g.AddNode({.op = op, .inputs = std::move(in), .attributes = std::move(a)});
    n->output()->set_type(Float({1, 4, 8}));
    return n->output();
  };
  Value* v = unary("Gelu", {x}, {{"approximate", std::string("tanh")}});
  v = unary("Mish", {v});
  v = unary("Swish", {v}, {{"alpha", 1.5f}});
  v = unary("Celu", {v}, {{"alpha", 2.0f}});
  v = unary("LayerNormalization", {v, scale, scale}, {{"axis", int64_t{2}}});
  v = unary("RMSNormalization", {v, scale});
  v = unary("GroupNormalization", {v, channel, channel}, {{"num_groups", int64_t{2}}});
  v = unary("Softmax", {v}, {{"axis", int64_t{1}}});
  v = unary("Attention", {v, v, v},
            {{"q_num_heads", int64_t{2}}, {"kv_num_heads", int64_t{2}}, {"is_causal", int64_t{1}}});
  g.AddOutput(v);
  for (int opset : {11, 12, 13, 14, 17, 18, 20, 21, 23, 24, 25}) {
    auto back = RoundTrip(g, opset);
    ASSERT_TRUE(back.ok()) << opset << ": " << back.status().ToString();
    EXPECT_EQ((*back)->outputs()[0]->type().ToString(), "float32[1, 4, 8]") << opset;
    if (opset == 25) {
      EXPECT_EQ(Ops(**back), Ops(g));
    }
  }
}

// A graph x -> Quantize -> Dequantize with these attributes on both.
std::unique_ptr<Graph> Qdq(Attributes a, bool zero_point = false) {
  auto g = std::make_unique<Graph>();
  Value* x = g->AddInput("x", Float({2, 8}));
  Value* s = g->AddConstant("s", Tensor::Scalar<float>(0.5f));
  const bool is_signed = a.Int("signed", 1) != 0;
  const bool wide = a.Int("bits", 8) > 8;
  std::vector<Value*> q_in = {x, s};
  if (zero_point)
    q_in.push_back(is_signed ? g->AddConstant("z", Tensor::Scalar<int8_t>(1))
                             : g->AddConstant("z", Tensor::Scalar<uint8_t>(1)));
  Node* q = g->AddNode({.op = "Quantize",
                        .inputs = q_in,
                        .attributes = a,
                        .domain = ir::kSlipwayDomain,
                        .name = "q",
                        .outputs = {"codes"}});
  q->output()->set_type({wide        ? (is_signed ? DType::kInt16 : DType::kUInt16)
                         : is_signed ? DType::kInt8
                                     : DType::kUInt8,
                         SymShape{2, 8}});
  q_in[0] = q->output();
  Node* d = g->AddNode({.op = "Dequantize",
                        .inputs = q_in,
                        .attributes = a,
                        .domain = ir::kSlipwayDomain,
                        .name = "d",
                        .outputs = {"y"}});
  d->output()->set_type(Float({2, 8}));
  g->AddOutput(d->output());
  return g;
}

TEST(Export, QuantizationOfEveryWidth) {
  for (int64_t bits : {2, 3, 4, 5, 7, 8}) {
    for (int64_t is_signed : {0, 1}) {
      for (bool zero : {false, true}) {
        auto g = Qdq({{"bits", bits}, {"signed", is_signed}}, zero);
        for (int opset : {13, 21, 25}) {
          auto back = RoundTrip(*g, opset);
          ASSERT_TRUE(back.ok()) << bits << " bits at " << opset << ": "
                                 << back.status().ToString();
          const Node* q = (*back)->nodes().front().get();
          ASSERT_TRUE(q->IsSlipway("Quantize"));
          EXPECT_EQ(q->attributes.Int("bits", 0), bits) << opset;
          EXPECT_EQ(q->attributes.Int("signed", 9), is_signed);
          EXPECT_EQ((*back)->nodes().size(), 2u);
        }
      }
    }
  }
  auto narrow = RoundTrip(*Qdq({{"narrow", int64_t{1}}}), 13);
  ASSERT_TRUE(narrow.ok()) << narrow.status().ToString();
  EXPECT_EQ((*narrow)->nodes().front()->attributes.Int("narrow", 0), 1);
  EXPECT_TRUE(RoundTrip(*Qdq({{"bits", int64_t{16}}}), 21).ok());
  EXPECT_TRUE(RoundTrip(*Qdq({{"bits", int64_t{12}}}), 21).ok());
}

TEST(Export, WhatOnnxCannotHoldComesBackFromOurOwnDomain) {
  for (const Attributes& a :
       {Attributes{{"kind", std::string("logarithmic")}},
        Attributes{{"rounding", std::string("half_up")}, {"bits", int64_t{6}}}}) {
    auto bytes = ExportOnnxBytes(*Qdq(a), {.opset = 21, .own_quantization = true});
    ASSERT_TRUE(bytes.ok()) << bytes.status().ToString();
    auto owner = std::make_shared<std::vector<uint8_t>>(std::move(*bytes));
    auto back = ImportOnnxBytes(*owner, owner);
    ASSERT_TRUE(back.ok()) << back.status().ToString();
    ASSERT_EQ((*back)->nodes().size(), 2u);
    const Node& q = *(*back)->nodes().front();
    ASSERT_TRUE(q.IsSlipway("Quantize"));
    for (const char* name : {"kind", "rounding"}) {
      const std::string fallback = name == std::string("kind") ? "affine" : "half_even";
      EXPECT_EQ(q.attributes.String(name, fallback), a.String(name, fallback));
    }
    EXPECT_EQ(q.attributes.Int("bits", 8), a.Int("bits", 8));
    EXPECT_TRUE((*back)->nodes().back()->IsSlipway("Dequantize"));
  }
}

TEST(Export, WhatOnnxCannotHoldIsNamed) {
  auto refused = [](const Graph& g, int opset, std::vector<std::string> parts) {
    auto r = ExportOnnxBytes(g, {.opset = opset});
    ASSERT_FALSE(r.ok());
    EXPECT_EQ(r.status().code(), StatusCode::kUnsupported);
    for (const auto& p : parts)
      EXPECT_NE(r.status().message().find(p), std::string::npos) << r.status().message();
  };
  refused(*Qdq({{"bits", int64_t{16}}}), 17, {"'q'", "opset 21"});
  refused(*Qdq({{"kind", std::string("logarithmic")}}), 25, {"'q'", "logarithmic"});
  refused(*Qdq({{"rounding", std::string("half_away")}}), 25, {"'q'", "half_away"});
  refused(*Qdq({{"bits", int64_t{5}}}), 11, {"'q'", "opset 12"});
  Graph g;
  Value* x = g.AddInput("x", {DType::kUInt8, SymShape{4}});
  Node* n = g.AddNode({.op = "QRescale",
                       .inputs = {x},
                       .attributes = {{"multiplier", 1.0f}},
                       .domain = ir::kSlipwayDomain,
                       .name = "rescale"});
  n->output()->set_type({DType::kInt8, SymShape{4}});
  g.AddOutput(n->output());
  refused(g, 25, {"'rescale'", "before lowering"});
  Graph h;
  Value* y = h.AddInput("x", Float({4, 4}));
  y->set_type({DType::kInt64, SymShape{4, 4}});
  Node* t = h.AddNode({.op = "Pow", .inputs = {y, y}, .name = "wide"});
  t->output()->set_type(y->type());
  h.AddOutput(t->output());
  refused(h, 11, {"'wide'", "int64", "opset 12"});
  EXPECT_TRUE(RoundTrip(h, 12).ok());
}

// The graph in text form, its inputs, the oldest opset that holds it.
struct Older {
  const char* what;
  const char* text;
  int since = 11;
};
const Older kOlder[] = {
    {"causal and capped attention of any length",
     "input %q: float32[B, 2, S, 4]\ninput %k: float32[B, 2, T, 4]\ninput %v: float32[B, 2, T, 4]\n"
     "%y = Attention(%q, %k, %v) {is_causal = 1, softcap = 3.0}\noutput %y"},
    {"a triangle", "input %x: float32[N, 4, 5]\n%y = Trilu(%x) {upper = 0}\noutput %y"},
    {"a triangle of integers", "input %x: int32[4, M]\n%y = Trilu(%x)\noutput %y"},
    {"some axes resized",
     "input %x: float32[1, 2, 4, 4]\nconst %s: float32[2] = [2, 1.5]\n"
     "%y = Resize(%x, _, %s) {axes = [3, 2], mode = \"linear\"}\noutput %y"},
    {"some axes resized to sizes",
     "input %x: float32[1, 2, 4, 4]\nconst %s: int64[1] = [7]\n"
     "%y = Resize(%x, _, _, %s) {axes = [-1], mode = \"nearest\"}\noutput %y"},
    {"a reduction of nothing",
     "input %x: float32[2, 3]\nconst %a: int64[0] = []\n"
     "%y = ReduceL2(%x, %a) {noop_with_empty_axes = 1}\noutput %y"},
    {"squares summed over nothing",
     "input %x: float32[2, 3]\n%y = ReduceSumSquare(%x) {noop_with_empty_axes = 1}\noutput %y"},
    {"a sum over nothing",
     "input %x: float32[2, 3]\n%y = ReduceSum(%x) {noop_with_empty_axes = 1}\noutput %y"},
    {"a reduction that could have been of nothing",
     "input %x: float32[2, 3]\nconst %a: int64[1] = [1]\n"
     "%y = ReduceMean(%x, %a) {noop_with_empty_axes = 1}\noutput %y"},
    {"large integers compared",
     "input %x: int64[4]\ninput %a: int64[1]\ninput %b: int64[4]\nconst %s: int64[] = [1]\n"
     "%m = Max(%x, %a, %b)\n%n = Min(%m, %x)\n%c = Clip(%n, _, %s)\n%y = Relu(%c)\noutput %y"},
    {"small integers added", "input %x: int8[4]\n%y = Add(%x, %x)\noutput %y"},
    {"integers clamped",
     "input %x: int32[4]\nconst %a: int32[] = [0]\nconst %b: int32[] = [1]\n%y = Clip(%x, %a, "
     "%b)\noutput %y"},
    {"integers' Relu", "input %x: int32[4]\n%y = Relu(%x)\noutput %y"},
    {"half precision summed",
     "input %x: float16[4]\nconst %a: int64[] = [0]\n%y = CumSum(%x, %a)\noutput %y"},
    {"Celu in double precision", "input %x: float64[4]\n%y = Celu(%x) {alpha = 2.0}\noutput %y"},
    {"bfloat16", "input %x: bfloat16[1, 2, 4, 4]\n%y = GlobalAveragePool(%x)\noutput %y", 13},
    {"bfloat16 chosen",
     "input %c: bool[4]\ninput %x: bfloat16[4]\n%y = Where(%c, %x, %x)\noutput %y", 13},
    {"swish, mish, gelu",
     "input %x: float32[4]\n%a = Swish(%x) {alpha = 1.5}\n%b = Mish(%a)\n"
     "%y = Gelu(%b) {approximate = \"tanh\"}\noutput %y"},
};

TEST(Export, OlderFormsMeanTheSame) {
  for (const Older& row : kOlder) {
    auto g = ir::ParseText("graph \"g\" {\n" + std::string(row.text) + "\n}");
    ASSERT_TRUE(g.ok()) << row.what << ": " << g.status().ToString();
    ASSERT_TRUE(ir::InferShapes(**g).ok()) << row.what;
    std::vector<Tensor> inputs;
    for (const Value* v : (*g)->inputs()) {
      Dims dims;
      for (const Dim& d : *v->type().shape) dims.push_back(d.known() ? d.value() : 3);
      auto t = Tensor::Allocate(v->dtype(), dims);
      ASSERT_TRUE(t.ok());
      auto wide = Tensor::Allocate(DType::kFloat32, dims);
      ASSERT_TRUE(wide.ok());
      for (int64_t i = 0; i < t->count(); ++i)
        reinterpret_cast<float*>(wide->mutable_data())[i] = static_cast<float>(i * 7 % 11 - 4) / 2;
      Graph cast;
      Value* x = cast.AddInput("x", {DType::kFloat32, v->type().shape});
      cast.AddOutput(cast.AddNode({.op = "Cast",
                                   .inputs = {x},
                                   .attributes = {{"to", static_cast<int64_t>(v->dtype())}}})
                         ->output());
      auto made = interp::Evaluate(cast, std::vector<Tensor>{*wide});
      ASSERT_TRUE(made.ok()) << row.what << ": " << made.status().ToString();
      inputs.push_back((*made)[0]);
    }
    auto want = interp::Evaluate(**g, inputs);
    ASSERT_TRUE(want.ok()) << row.what << ": " << want.status().ToString();
    for (int opset = 11; opset <= ir::kOpset; ++opset) {
      auto back = RoundTrip(**g, opset);
      ASSERT_EQ(back.ok(), opset >= row.since)
          << row.what << " at " << opset << ": " << back.status().ToString();
      if (!back.ok()) continue;
      auto got = interp::Evaluate(**back, inputs);
      ASSERT_TRUE(got.ok()) << row.what << " at " << opset << ": " << got.status().ToString();
      EXPECT_EQ(CompareTensors((*got)[0], (*want)[0], 1e-2, 1e-3), "")
          << row.what << " at " << opset;
    }
  }
}

class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "slipway_export_XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

TEST(Export, LargeModelsUseExternalData) {
  Graph g;
  Value* x = g.AddInput("x", Float({1, 1000}));
  std::vector<float> values(1000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  Value* a =
      g.AddNode({.op = "Add", .inputs = {x, g.AddConstant("big", Tensor::Vector<float>(values))}})
          ->output();
  Value* b =
      g.AddNode({.op = "Mul", .inputs = {a, g.AddConstant("small", Tensor::Vector<float>({2}))}})
          ->output();
  b = g.AddNode({.op = "Sub",
                 .inputs = {b, g.AddConstant("big2", Tensor::Vector<float>(values))},
                 .outputs = {"y"}})
          ->output();
  b->set_type(Float({1, 1000}));
  g.AddOutput(b);
  Folder f;
  ASSERT_TRUE(ExportOnnx(g, f / "m.onnx", {.external_data_threshold = 5000}).ok());
  EXPECT_EQ(fs::file_size(f / "m.onnx.data"), 4032u + 4000u);
  EXPECT_LT(fs::file_size(f / "m.onnx"), 1500u);
  auto back = ImportOnnx(f / "m.onnx");
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_EQ((*back)->FindValue("big2")->constant()->data<float>()[999], 999);
  EXPECT_EQ(ExportOnnxBytes(g, {.external_data_threshold = 5000}).status().code(),
            StatusCode::kResourceExhausted);
  const Status lost = ExportOnnx(g, f / "no/such/folder/m.onnx");
  ASSERT_FALSE(lost.ok());
  EXPECT_NE(lost.message().find("no/such/folder"), std::string::npos) << lost.message();
}

std::vector<std::string> RealModels() {
  const char* root = std::getenv("SLIPWAY_SOURCE_DIR");
  fs::path at = root ? root : SLIPWAY_SOURCE_DIR;
  std::vector<std::string> out;
  for (const fs::path& folder :
       {at / ".." / "shared" / "data" / "models", at / ".cache" / "models"}) {
    std::error_code error;
    for (fs::recursive_directory_iterator i(folder, error), end; !error && i != end;
         i.increment(error)) {
      if (i->path().extension() == ".onnx") out.push_back(i->path().string());
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

TEST(RealModels, ImportAndSurviveARoundTrip) {
  const auto models = RealModels();
  if (models.empty()) GTEST_SKIP() << "no models under ../shared/data/models or .cache/models";
  for (const std::string& path : models) {
    SCOPED_TRACE(path);
    auto g = ImportOnnx(path);
    ASSERT_TRUE(g.ok()) << g.status().ToString();
    for (const auto& v : (*g)->outputs())
      EXPECT_TRUE(v->type().known()) << v->name() << ": " << v->type().ToString();
    const bool large = fs::file_size(path) > (100u << 20);
    for (int opset : {13, 25}) {
      if (large && opset == 13) continue;
      auto back = RoundTrip(**g, opset);
      ASSERT_TRUE(back.ok()) << back.status().ToString();
      EXPECT_EQ(Difference(**g, **back), "");
    }
  }
}

}  // namespace
}  // namespace slipway::onnx
