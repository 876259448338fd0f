#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "model/ir/infer.h"
#include "model/ir/schema.h"
#include "model/ir/text.h"
#include "model/ops/kernel.h"

namespace slipway::ir {
namespace {

// Wherever inference knows the extents of an operator of ops::ShapeFunctions, the shape function says the same.
TEST(ShapeFunctions, AgreeWithInference) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 rng(seed);
  const auto entries = ops::ShapeFunctions();
  std::map<std::string, int> agreed;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (std::chrono::steady_clock::now() < end) {
    const ops::ShapeEntry& e = entries[rng() % entries.size()];
    const OpSchema* op = FindOp(e.domain, e.name);
    ASSERT_NE(op, nullptr) << e.name;
    Graph g;
    Graph::NodeSpec spec{e.name, {}, {}, e.domain, "n", {}};
    const int inputs = op->min_inputs + static_cast<int>(rng() % static_cast<uint64_t>(std::max(1, op->max_inputs - op->min_inputs + 1)));
    const size_t rank = rng() % 5;
    SymShape shape;
    for (size_t i = 0; i < rank; ++i) shape.push_back(Dim(static_cast<int64_t>(rng() % 5 + (rng() % 8 ? 1 : 0))));
    for (int i = 0; i < inputs; ++i) {
      if (!e.ReadsData(static_cast<size_t>(i))) {
        spec.inputs.push_back(g.AddInput("", {DType::kFloat32, i == 0 ? shape : SymShape{Dim(2)}}));
        continue;
      }
      const size_t n = rng() % 3 ? rank : rng() % 2 ? 1 : rng() % 9;
      std::vector<int64_t> values(n);
      for (int64_t& v : values) v = static_cast<int64_t>(rng() % 8) - static_cast<int64_t>(rng() % 4);
      const std::string name = e.name;
      if (name == "Resize" && i < 3) {
        std::vector<float> scales;
        for (int64_t v : values) scales.push_back(static_cast<float>(v) / 2 + 0.25f);
        spec.inputs.push_back(i == 1 ? nullptr : g.AddConstant("", Tensor::Vector(scales)));
      } else if (name == "Range" || ((name == "OneHot" || name == "TopK") && rng() % 4)) {
        spec.inputs.push_back(g.AddConstant("", Tensor::Scalar<int64_t>(static_cast<int64_t>(rng() % 12) - 4)));
      } else {
        spec.inputs.push_back(g.AddConstant("", Tensor::Vector(values)));
      }
    }
    for (const AttributeSchema& a : op->attributes) {
      if (a.kind == AttributeKind::kInt && rng() % 2) spec.attributes.Set(a.name, static_cast<int64_t>(rng() % 4) - 1);
    }
    spec.attributes.Erase("num_outputs");
    spec.attributes.Erase("dtype");
    const std::string policies[] = {"stretch", "not_larger", "not_smaller"};
    if (std::string(e.name) == "Resize" && rng() % 2) spec.attributes.Set("keep_aspect_ratio_policy", policies[rng() % 3]);
    spec.outputs.assign(std::string(e.name) == "Split" ? 1 + rng() % 3 : static_cast<size_t>(op->min_outputs), "");
    Node* node = g.AddNode(std::move(spec));
    if (!InferShapes(g).ok()) continue;
    std::vector<ops::TensorView> in(node->inputs().size()), out(node->outputs().size());
    for (size_t i = 0; i < in.size(); ++i) {
      const Value* v = node->inputs()[i];
      if (!v) continue;
      in[i] = v->is_constant() ? v->constant()->view() : ops::TensorView{v->dtype(), *v->type().StaticDims(), nullptr};
    }
    for (ops::TensorView& o : out) o.dtype = DType::kFloat32;
    std::vector<Dims> dims(out.size());
    const Status status = e.function({in, out, &node->attributes, nullptr}, dims);
    ASSERT_TRUE(status.ok()) << status.message() << "\n" << ToText(g);
    for (size_t i = 0; i < out.size(); ++i) {
      const auto want = node->outputs()[i]->type().StaticDims();
      ASSERT_TRUE(want) << ToText(g);
      ASSERT_EQ(dims[i].ToString(), want->ToString()) << ToText(g);
    }
    ++agreed[e.name];
  }
  for (const char* name : {"Reshape", "Squeeze", "Unsqueeze", "Expand", "Tile", "Slice", "Pad", "Resize", "ConstantOfShape", "Range", "OneHot",
                           "TopK", "Split", "ReduceSum"})
    EXPECT_GT(agreed[name], 5) << name;
}

}  // namespace
}  // namespace slipway::ir
