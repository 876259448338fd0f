#include "model/frontends/onnx/import.h"

#include <gtest/gtest.h>

#include <limits>

#include "model/frontends/onnx/test_model.h"

namespace slipway::onnx {
namespace {

using ir::Graph;
using ir::Node;
using ir::Tensor;

std::unique_ptr<Graph> Must(const TestModel& model, const ImportOptions& options = {}) {
  auto graph = model.Import(options);
  EXPECT_TRUE(graph.ok()) << graph.status().ToString();
  return graph.ok() ? std::move(*graph) : nullptr;
}

const Node* FirstOf(const Graph& g, std::string_view op, std::string_view domain = "") {
  for (const auto& n : g.nodes()) {
    if (n->Is(op, domain)) return n.get();
  }
  return nullptr;
}

std::vector<int64_t> IntsOf(const Node* n, size_t i) {
  const Tensor* t = n ? n->constant_input(i) : nullptr;
  return t ? t->ToInts() : std::vector<int64_t>{-999};
}

TEST(Import, KeepsNamesTypesAndMetadata) {
  TestModel m(17);
  m.Input("x", {"N", "3", "?"}).Output("y").Floats("w", {3, 1}, {1, 2, 3});
  m.Node("Mul", {"x", "w"}, {"t"}, {}, "first").Node("Relu", {"t"}, {"y"});
  m.graph.Text(2, "my graph");
  auto g = Must(m);
  ASSERT_TRUE(g);
  EXPECT_EQ(g->name, "my graph");
  EXPECT_EQ(g->metadata["producer"], "test");
  EXPECT_EQ(g->metadata["opset"], "17");
  ASSERT_EQ(g->inputs().size(), 1u);
  EXPECT_EQ(g->inputs()[0]->type().ToString(), "float32[N, 3, x_dim2]");
  ASSERT_EQ(g->outputs().size(), 1u);
  EXPECT_EQ(g->outputs()[0]->name(), "y");
  EXPECT_EQ(g->outputs()[0]->type().ToString(), "float32[N, 3, x_dim2]");
  const Node* mul = FirstOf(*g, "Mul");
  ASSERT_TRUE(mul);
  EXPECT_EQ(mul->name(), "first");
  EXPECT_EQ(mul->sources, std::vector<std::string>{"first"});
  EXPECT_FALSE(FirstOf(*g, "Relu")->name().empty());
}

TEST(Import, WeightsAreNotCopied) {
  TestModel m;
  m.Input("x", {"4", "64"})
      .Output("y")
      .Init("w", Tensor::Of<float>({64}, std::vector<float>(64, 2.0f)))
      .Node("Add", {"x", "w"}, {"y"});
  auto bytes = std::make_shared<std::vector<uint8_t>>(m.Bytes());
  auto g = ImportOnnxBytes(*bytes, bytes);
  ASSERT_TRUE(g.ok()) << g.status().ToString();
  const uint8_t* w = (*g)->FindValue("w")->constant()->bytes().data();
  EXPECT_GE(w, bytes->data());
  EXPECT_LT(w, bytes->data() + bytes->size());
  const std::weak_ptr<std::vector<uint8_t>> alive = bytes;
  bytes.reset();
  EXPECT_FALSE(alive.expired());  // the constant keeps the file
  g->reset();
  EXPECT_TRUE(alive.expired());
}

TEST(Import, InitialisersThatAreInputsAreConstants) {
  TestModel m;
  m.Input("x", {"2"})
      .Input("w", {"2"})
      .Output("y")
      .Floats("w", {2}, {1, 2})
      .Node("Add", {"x", "w"}, {"y"});
  auto g = Must(m);
  ASSERT_TRUE(g);
  EXPECT_EQ(g->inputs().size(), 1u);
  EXPECT_TRUE(g->FindValue("w")->is_constant());
}

TEST(Import, InputShapesCanBeFixed) {
  TestModel m;
  m.Input("a", {"N", "C"}).Input("b", {"N", "1"}).Output("y").Node("Add", {"a", "b"}, {"y"});
  ImportOptions o;
  o.input_shapes["a"] = {4, 8};
  auto g = Must(m, o);
  ASSERT_TRUE(g);
  EXPECT_EQ(g->FindValue("b")->type().ToString(), "float32[4, 1]");
  EXPECT_EQ(g->outputs()[0]->type().ToString(), "float32[4, 8]");
  o.input_shapes["a"] = {8};
  EXPECT_EQ(m.Import(o).status().code(), StatusCode::kInvalidArgument);
  o.any_rank = true;
  g = Must(m, o);
  ASSERT_TRUE(g);
  EXPECT_EQ(g->FindValue("a")->type().ToString(), "float32[8]");
  EXPECT_EQ(g->outputs()[0]->type().ToString(), "float32[N, 8]");
  o.input_shapes = {{"nobody", {1}}};
  auto r = m.Import(o);
  ASSERT_FALSE(r.ok());
  EXPECT_NE(r.status().message().find("'nobody'"), std::string::npos);
}

TEST(Import, ConstantNodesAreLifted) {
  TestModel m;
  m.Input("x", {"2"}).Output("y");
  m.Node("Constant", {}, {"a"}, {TestModel::Float("value_float", 2)});
  m.Node("Constant", {}, {"b"}, {TestModel::FloatList("value_floats", {1, 2})});
  m.Node("Constant", {}, {"c"}, {m.TensorAttribute("value", Tensor::Vector<float>({3, 4}))});
  m.Node("Constant", {}, {"i"}, {TestModel::IntList("value_ints", {-1})});
  m.Node("Constant", {}, {"j"}, {TestModel::Int("value_int", 5)});
  m.Node("Sum", {"x", "a", "b", "c"}, {"s"}).Node("Reshape", {"s", "i"}, {"y"});
  m.Output("j");
  auto g = Must(m);
  ASSERT_TRUE(g);
  EXPECT_FALSE(FirstOf(*g, "Constant"));
  EXPECT_EQ(IntsOf(FirstOf(*g, "Reshape"), 1), std::vector<int64_t>{-1});
  EXPECT_EQ(g->FindValue("c")->constant()->ToDoubles(), (std::vector<double>{3, 4}));
  EXPECT_TRUE(g->outputs()[1]->is_constant());
}

TEST(Import, NodesOutOfOrderAreSorted) {
  TestModel m;
  m.Input("x", {"2"}).Output("y").Node("Relu", {"t"}, {"y"}).Node("Neg", {"x"}, {"t"});
  auto g = Must(m);
  ASSERT_TRUE(g);
  EXPECT_EQ(g->nodes().front()->op(), "Neg");
}

TEST(Upgrade, AttributesBecomeInputs) {
  TestModel m(9);
  m.Input("x", {"1", "4", "8"}).Output("y");
  m.Node("Clip", {"x"}, {"a"}, {TestModel::Float("min", 0), TestModel::Float("max", 6)});
  m.Node("Slice", {"a"}, {"b"},
         {TestModel::IntList("starts", {1}), TestModel::IntList("ends", {3}),
          TestModel::IntList("axes", {1})});
  m.Node("Pad", {"b"}, {"c"},
         {TestModel::IntList("pads", {0, 0, 1, 0, 0, 1}), TestModel::Float("value", 2)});
  m.Node("Unsqueeze", {"c"}, {"d"}, {TestModel::IntList("axes", {0})});
  m.Node("Squeeze", {"d"}, {"e"}, {TestModel::IntList("axes", {0})});
  m.Node("ReduceMean", {"e"}, {"f"},
         {TestModel::IntList("axes", {2}), TestModel::Int("keepdims", 1)});
  m.Node("ReduceSum", {"f"}, {"g"}, {TestModel::IntList("axes", {1})});
  m.Node("Split", {"e"}, {"h", "i"},
         {TestModel::Int("axis", 2), TestModel::IntList("split", {4, 6})});
  m.Node("TopK", {"h"}, {"j", "k"}, {TestModel::Int("k", 2)});
  m.Node("Dropout", {"g"}, {"y"}, {TestModel::Float("ratio", 0.5f)});
  m.Output("i").Output("k");
  auto g = Must(m);
  ASSERT_TRUE(g);
  const Node* clip = FirstOf(*g, "Clip");
  EXPECT_EQ(clip->constant_input(1)->ToDoubles(), std::vector<double>{0});
  EXPECT_EQ(clip->constant_input(2)->ToDoubles(), std::vector<double>{6});
  EXPECT_EQ(clip->constant_input(2)->dims().rank(), 0);
  EXPECT_EQ(IntsOf(FirstOf(*g, "Slice"), 2), std::vector<int64_t>{3});
  EXPECT_EQ(IntsOf(FirstOf(*g, "Slice"), 3), std::vector<int64_t>{1});
  EXPECT_EQ(IntsOf(FirstOf(*g, "Pad"), 1), (std::vector<int64_t>{0, 0, 1, 0, 0, 1}));
  EXPECT_EQ(FirstOf(*g, "Pad")->constant_input(2)->ToDoubles(), std::vector<double>{2});
  EXPECT_EQ(IntsOf(FirstOf(*g, "Unsqueeze"), 1), std::vector<int64_t>{0});
  EXPECT_EQ(IntsOf(FirstOf(*g, "ReduceMean"), 1), std::vector<int64_t>{2});
  EXPECT_EQ(IntsOf(FirstOf(*g, "ReduceSum"), 1), std::vector<int64_t>{1});
  EXPECT_EQ(IntsOf(FirstOf(*g, "Split"), 1), (std::vector<int64_t>{4, 6}));
  EXPECT_EQ(IntsOf(FirstOf(*g, "TopK"), 1), std::vector<int64_t>{2});
  EXPECT_TRUE(FirstOf(*g, "Dropout")->attributes.empty());
  EXPECT_EQ(g->outputs()[0]->type().ToString(), "float32[1, 1, 1]");
  EXPECT_EQ(g->outputs()[1]->type().ToString(), "float32[1, 2, 6]");
}

TEST(Upgrade, ReduceAxesMoveAtTheirOwnOpset) {
  TestModel m(13);
  m.Input("x", {"2", "3"}).Output("y").Ints("axes", {1});
  m.Node("ReduceSum", {"x", "axes"}, {"s"})
      .Node("ReduceMax", {"x"}, {"t"}, {TestModel::IntList("axes", {1})});
  m.Node("Add", {"s", "t"}, {"y"});
  auto g = Must(m);
  ASSERT_TRUE(g);
  EXPECT_EQ(IntsOf(FirstOf(*g, "ReduceSum"), 1), std::vector<int64_t>{1});
  EXPECT_EQ(IntsOf(FirstOf(*g, "ReduceMax"), 1), std::vector<int64_t>{1});
}

TEST(Upgrade, OldSoftmaxSeesAMatrix) {
  auto softmax = [](const std::vector<std::string>& shape, int64_t axis) {
    TestModel m(11);
    m.Input("x", shape).Output("y").Node("Softmax", {"x"}, {"y"}, {TestModel::Int("axis", axis)});
    return Must(m);
  };
  auto last = softmax({"2", "3", "4"}, 2);
  ASSERT_TRUE(last);
  EXPECT_EQ(last->nodes().size(), 1u);
  auto ones = softmax({"2", "10", "1", "1"}, 1);  // only one wide dimension behind the axis
  ASSERT_TRUE(ones);
  EXPECT_EQ(ones->nodes().size(), 1u);
  EXPECT_EQ(FirstOf(*ones, "Softmax")->attributes.Int("axis", 0), 1);
  auto wide = softmax({"2", "3", "4"}, 1);
  ASSERT_TRUE(wide);
  EXPECT_TRUE(FirstOf(*wide, "Flatten"));
  EXPECT_TRUE(FirstOf(*wide, "Reshape"));
  EXPECT_EQ(wide->outputs()[0]->name(), "y");
  EXPECT_EQ(wide->outputs()[0]->type().ToString(), "float32[2, 3, 4]");
  TestModel m(13);  // from 13 on, the axis is the axis, and the default is the last
  m.Input("x", {"2", "3", "4"}).Output("y").Node("Softmax", {"x"}, {"y"});
  auto now = Must(m);
  ASSERT_TRUE(now);
  EXPECT_EQ(now->nodes().size(), 1u);
}

TEST(Upgrade, OldResizes) {
  TestModel m(9);
  m.Input("x", {"1", "1", "2", "2"}).Output("y").Floats("s", {4}, {1, 1, 2, 2});
  m.Node("Upsample", {"x", "s"}, {"y"}, {TestModel::Text("mode", "linear")});
  auto g = Must(m);
  ASSERT_TRUE(g);
  const Node* resize = FirstOf(*g, "Resize");
  ASSERT_TRUE(resize);
  EXPECT_EQ(resize->attributes.String("coordinate_transformation_mode", ""), "asymmetric");
  EXPECT_EQ(g->outputs()[0]->type().ToString(), "float32[1, 1, 4, 4]");
  TestModel n(11);
  n.Input("x", {"1", "1", "2", "2"})
      .Output("y")
      .Floats("none", {0}, {})
      .Ints("sizes", {1, 1, 6, 6});
  n.Node("Resize", {"x", "none", "none", "sizes"}, {"y"}, {TestModel::Text("mode", "nearest")});
  g = Must(n);
  ASSERT_TRUE(g);
  EXPECT_EQ(FirstOf(*g, "Resize")->input(2), nullptr);
  EXPECT_EQ(g->outputs()[0]->type().ToString(), "float32[1, 1, 6, 6]");
}

TEST(Upgrade, BatchNormalizationInTrainingIsRefused) {
  auto model = [](int opset, std::vector<WireWriter> attributes, std::vector<std::string> outputs) {
    TestModel m(opset);
    m.Input("x", {"1", "2", "3"}).Output("y");
    for (const char* n : {"s", "b", "m", "v"}) m.Floats(n, {2}, {1, 2});
    m.Node("BatchNormalization", {"x", "s", "b", "m", "v"}, outputs, attributes, "bn");
    if (outputs.size() > 1) m.Output(outputs[1]);
    return m;
  };
  EXPECT_TRUE(model(9, {TestModel::Float("momentum", 0.9f)}, {"y"}).Import().ok());
  EXPECT_TRUE(model(7, {TestModel::Int("spatial", 1)}, {"y"}).Import().ok());
  EXPECT_TRUE(model(15, {TestModel::Int("training_mode", 1)}, {"y"}).Import().ok());
  auto used = model(9, {}, {"y", "mean"}).Import();
  EXPECT_EQ(used.status().code(), StatusCode::kUnsupported);
  EXPECT_NE(used.status().message().find("'bn'"), std::string::npos);
}

TEST(Upgrade, GroupNormalizationScalesPerChannel) {
  TestModel m(18);
  m.Input("x", {"1", "4", "5"}).Output("y").Floats("s", {2}, {1, 2}).Floats("b", {2}, {0, 1});
  m.Node("GroupNormalization", {"x", "s", "b"}, {"y"}, {TestModel::Int("num_groups", 2)});
  auto g = Must(m);
  ASSERT_TRUE(g);
  const Node* n = FirstOf(*g, "GroupNormalization");
  ASSERT_TRUE(n && n->input(1)->type().shape);
  EXPECT_EQ(n->input(1)->type().ToString(), "float32[4]");
}

TEST(Upgrade, ConstantOfShape) {
  TestModel m(9);
  m.Ints("shape", {2, 3}).Output("y");
  m.Node("ConstantOfShape", {"shape"}, {"y"},
         {m.TensorAttribute("value", Tensor::Vector<int32_t>({7}))});
  auto g = Must(m);
  ASSERT_TRUE(g);
  EXPECT_EQ(FirstOf(*g, "ConstantOfShape")->attributes.Int("value_int", 0), 7);
  EXPECT_EQ(g->outputs()[0]->type().ToString(), "int32[2, 3]");
}

TEST(Quantize, LinearBecomesTheIrs) {
  TestModel m(13);
  m.Input("x", {"1", "2", "4"})
      .Output("y")
      .Floats("s", {2}, {0.5f, 0.25f})
      .Init("z", Tensor::Vector<int8_t>({0, 1}));
  m.Node("QuantizeLinear", {"x", "s", "z"}, {"q"}, {TestModel::Int("axis", 1)}, "quant");
  m.Node("DequantizeLinear", {"q", "s", "z"}, {"y"}, {TestModel::Int("axis", 1)});
  auto g = Must(m);
  ASSERT_TRUE(g);
  const Node* q = FirstOf(*g, "Quantize", ir::kSlipwayDomain);
  ASSERT_TRUE(q);
  EXPECT_EQ(q->attributes.Int("bits", 0), 8);
  EXPECT_EQ(q->attributes.Int("signed", 0), 1);
  EXPECT_EQ(q->attributes.Int("axis", 9), 1);
  EXPECT_EQ(q->output()->dtype(), DType::kInt8);
  const Node* d = FirstOf(*g, "Dequantize", ir::kSlipwayDomain);
  ASSERT_TRUE(d);
  EXPECT_EQ(d->attributes.Int("signed", 0), 1);
  EXPECT_EQ(g->outputs()[0]->type().ToString(), "float32[1, 2, 4]");
}

TEST(Quantize, WithoutZeroPointIsUnsignedAndPackedCodesAreUnpacked) {
  TestModel m(21);
  auto packed = Tensor::Allocate(DType::kInt4, {4});
  packed->mutable_data()[0] = 0x7f;  // -1, 7
  packed->mutable_data()[1] = 0x80;  // 0, -8
  m.Input("x", {"4"}).Output("y").Output("w").Floats("s", {}, {0.5f}).Init("c", std::move(*packed));
  m.Node("QuantizeLinear", {"x", "s"}, {"q"}).Node("DequantizeLinear", {"q", "s"}, {"y"});
  m.Node("DequantizeLinear", {"c", "s"}, {"w"});
  auto g = Must(m);
  ASSERT_TRUE(g);
  const Node* q = FirstOf(*g, "Quantize", ir::kSlipwayDomain);
  EXPECT_EQ(q->attributes.Int("signed", 1), 0);
  const Node* d = g->FindValue("w")->producer();
  EXPECT_EQ(d->attributes.Int("bits", 0), 4);
  EXPECT_EQ(d->input(0)->dtype(), DType::kInt8);
  EXPECT_EQ(IntsOf(d, 0), (std::vector<int64_t>{-1, 7, 0, -8}));
}

TEST(Types, TypedDataFieldsAndShortTypes) {
  TestModel m;
  auto tensor = [&](const std::string& name, DType type, std::vector<int64_t> dims, auto&& fill) {
    WireWriter t;
    for (int64_t d : dims) t.Int(1, d);
    t.Int(2, static_cast<int64_t>(type));
    t.Text(8, name);
    fill(t);
    m.graph.Message(5, t);
    m.Output(name);
  };
  tensor("f", DType::kFloat32, {2}, [](WireWriter& t) {
    t.PackedFloats(4, std::vector<float>{1, 2});
  });
  tensor("i8", DType::kInt8, {2}, [](WireWriter& t) {
    t.PackedInts(5, std::vector<int64_t>{-3, 4});
  });
  tensor("i64", DType::kInt64, {2}, [](WireWriter& t) {
    t.Int(7, -9);
    t.Int(7, 10);
  });
  tensor("b", DType::kBool, {2}, [](WireWriter& t) {
    t.PackedInts(5, std::vector<int64_t>{0, 5});
  });
  tensor("h", DType::kFloat16, {1},
         [](WireWriter& t) { t.PackedInts(5, std::vector<int64_t>{0x3c00}); });
  tensor("u32", DType::kUInt32, {1},
         [](WireWriter& t) { t.PackedInts(11, std::vector<int64_t>{4000000000}); });
  tensor("i4", DType::kInt4, {3}, [](WireWriter& t) {
    t.PackedInts(5, std::vector<int64_t>{0x21, 0x03});
  });
  tensor("f8", DType::kFloat8E4M3FN, {2}, [](WireWriter& t) {
    t.PackedInts(5, std::vector<int64_t>{0x38, 0x40});
  });
  tensor("none", DType::kFloat32, {0, 3}, [](WireWriter&) {});
  auto g = Must(m);
  ASSERT_TRUE(g);
  auto of = [&](const char* name) { return g->FindValue(name)->constant(); };
  EXPECT_EQ(of("f")->ToDoubles(), (std::vector<double>{1, 2}));
  EXPECT_EQ(of("i8")->ToInts(), (std::vector<int64_t>{-3, 4}));
  EXPECT_EQ(of("i64")->ToInts(), (std::vector<int64_t>{-9, 10}));
  EXPECT_EQ(of("b")->bytes()[1], 1);
  EXPECT_EQ(of("u32")->ToInts(), std::vector<int64_t>{4000000000});
  EXPECT_EQ(of("i4")->bytes().size(), 2u);
  EXPECT_EQ(of("none")->count(), 0);
}

}  // namespace
}  // namespace slipway::onnx
