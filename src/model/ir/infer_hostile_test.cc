#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <random>

#include "model/ir/infer.h"
#include "model/ir/schema.h"
#include "model/ir/text.h"

namespace slipway::ir {
namespace {

// Every operator of the table with random inputs and hostile attributes: an answer or an error,
// never a crash.
TEST(Infer, HostileNodesNeverCrash) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 rng(seed);
  const int64_t numbers[] = {0,
                             1,
                             2,
                             3,
                             4,
                             7,
                             8,
                             -1,
                             -2,
                             -7,
                             16,
                             1 << 20,
                             int64_t{1} << 31,
                             int64_t{1} << 62,
                             std::numeric_limits<int64_t>::max(),
                             std::numeric_limits<int64_t>::min()};
  const char* strings[] = {
      "NOTSET",  "SAME_UPPER", "VALID",         "none",       "Relu",
      "Clip",    "",           "reflect",       "edge",       "linear",
      "DCR",     "affine",     "half_even",     "not_larger", "tf_crop_and_resize",
      "stretch", "constant",   "bidirectional", "ij,jk->ik",  "...ij,...->ji...",
      "TF"};
  const DType types[] = {DType::kFloat32, DType::kInt64, DType::kInt64,     DType::kBool,
                         DType::kInt8,    DType::kUInt8, DType::kUndefined, DType::kInt4};
  const auto number = [&] {
    return rng() % 3 ? static_cast<int64_t>(rng() % 6) : numbers[rng() % std::size(numbers)];
  };
  const auto dim = [&]() -> Dim {
    const Dim symbols[] = {Dim::Symbol("N"), Dim::Symbol("H"), FloorDiv(Dim::Symbol("H"), Dim(2)),
                           Dim::Symbol("N") * Dim::Symbol("H")};
    if (rng() % 4 == 0) return symbols[rng() % 4];
    const int64_t v = number();
    return Dim(rng() % 8 ? (v < 0 ? 1 : v) : v);
  };
  const auto ops = AllOps();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  int good = 0;
  for (int tried = 0; std::chrono::steady_clock::now() < end || (good <= 100 && tried < 100000);
       ++tried) {
    const OpSchema& op = ops[rng() % ops.size()];
    Graph g;
    Graph::NodeSpec spec{op.name, {}, {}, op.domain, "n", {}};
    const int most = op.max_inputs < 0 ? 4 : op.max_inputs;
    const int inputs = static_cast<int>(rng() % static_cast<uint64_t>(most + 1));
    for (int i = 0; i < std::max(inputs, rng() % 8 ? op.min_inputs : 0); ++i) {
      if (rng() % 12 == 0) {
        spec.inputs.push_back(nullptr);
      } else if (rng() % 2) {
        std::vector<int64_t> values;
        for (uint64_t n = rng() % 6; n > 0; --n) values.push_back(number());
        if (rng() % 4 == 0) {
          spec.inputs.push_back(g.AddConstant("", Tensor::Scalar<int64_t>(number())));
        } else {
          spec.inputs.push_back(g.AddConstant("", Tensor::Vector(values)));
        }
      } else {
        Type t{types[rng() % std::size(types)], SymShape()};
        for (uint64_t n = rng() % 6; n > 0; --n) t.shape->push_back(dim());
        if (rng() % 10 == 0) t.shape.reset();
        spec.inputs.push_back(g.AddInput("", t));
      }
    }
    for (const AttributeSchema& a : op.attributes) {
      if (rng() % 2) continue;
      const auto kind = rng() % 20 ? a.kind : static_cast<AttributeKind>(rng() % 6);
      std::vector<int64_t> ints;
      std::vector<float> floats;
      for (uint64_t n = rng() % 6; n > 0; --n)
        ints.push_back(number()), floats.push_back(static_cast<float>(number()));
      switch (kind) {
        case AttributeKind::kInt:
          spec.attributes.Set(a.name, number());
          break;
        case AttributeKind::kFloat:
          spec.attributes.Set(a.name, static_cast<float>(number()));
          break;
        case AttributeKind::kString:
          spec.attributes.Set(a.name, std::string(strings[rng() % std::size(strings)]));
          break;
        case AttributeKind::kInts:
          spec.attributes.Set(a.name, ints);
          break;
        case AttributeKind::kFloats:
          spec.attributes.Set(a.name, floats);
          break;
        case AttributeKind::kStrings:
          spec.attributes.Set(a.name, std::vector<std::string>{"a"});
          break;
      }
    }
    spec.outputs.assign(std::max<size_t>(1, rng() % 4), "");
    Node* node = g.AddNode(std::move(spec));
    const Status s = InferShapes(g);
    if (!s.ok()) {
      ASSERT_TRUE(s.code() == StatusCode::kInvalidArgument || s.code() == StatusCode::kUnsupported)
          << s.ToString();
      continue;
    }
    ++good;
    for (const Value* v : node->outputs()) {
      if (!v->type().shape) continue;
      for (const Dim& d : *v->type().shape) {
        ASSERT_FALSE(d.overflowed());
        ASSERT_TRUE(!d.known() || d.value() >= 0) << ToText(g);
      }
    }
  }
  EXPECT_GT(good, 100);
}

}  // namespace
}  // namespace slipway::ir
