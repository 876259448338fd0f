#pragma once
// Packages made by hand for the tests of the runtime and for fuzz/package.cc.

#include <string>
#include <utility>
#include <vector>

#include "engine/format/package_test_util.h"

namespace slipway {

using format::PackageMaker;

// y = relu(x) + c, with the relu in place.
inline PackageMaker SmallPackage(SymShape shape) {
  PackageMaker m;
  int x = m.Input("x", DType::kFloat32, shape);
  int c = m.Constant<float>("c", {4}, {1, 2, 3, 4});
  int a = m.Arena("a", DType::kFloat32, shape);
  int r = m.Arena("r", DType::kFloat32, shape, a);
  int y = m.Output("y", DType::kFloat32, shape);
  m.Step("copy", "engine", "Copy", {x}, {a});
  m.Step("relu", "", "Relu", {a}, {r});
  m.Step("add", "", "Add", {r, c}, {y}).macs = 12;
  return m;
}

// A small network: convolution, reorders, elementwise in place, pooling, a view, matmul, softmax.
inline PackageMaker NetworkPackage(Dim n) {
  PackageMaker m;
  int x = m.Input("x", DType::kFloat32, {n, 3, 8, 8});
  int w = m.Constant<float>("w", {16, 3, 3, 3}, std::vector<float>(432, 0.01f));
  int c = m.Arena("c", DType::kFloat32, {n, 16, 8, 8});
  int b = m.Arena("b", DType::kFloat32, {n, 16, 8, 8}, -1, format::Layout::kBlocked16);
  int d = m.Arena("d", DType::kFloat32, {n, 16, 8, 8});
  int r = m.Arena("r", DType::kFloat32, {n, 16, 8, 8}, d);
  int p = m.Arena("p", DType::kFloat32, {n, 16, 1, 1});
  int v = m.Arena("v", DType::kFloat32, {n, 16}, p);
  int k = m.Constant<float>("k", {16, 10}, std::vector<float>(160, 0.1f));
  int l = m.Arena("l", DType::kFloat32, {n, 10});
  int y = m.Output("y", DType::kFloat32, {n, 10});
  m.Step("conv", "", "Conv", {x, w}, {c}, {{"pads", std::vector<int64_t>{1, 1, 1, 1}}});
  m.Step("to_blocked", "engine", "Reorder", {c}, {b});
  m.Step("to_plain", "engine", "Reorder", {b}, {d});
  m.Step("relu", "", "Relu", {d}, {r});
  m.Step("pool", "", "GlobalAveragePool", {r}, {p});
  m.Step("matmul", "", "MatMul", {v, k}, {l});
  m.Step("softmax", "", "Softmax", {l}, {y});
  return m;
}

// Extents that data decide, twice, with memory that must survive the growth of the arena between: the elements of relu(x) that are not 0 as `picked`, the
// first of them up to the largest as `few` (their number is the last of `picked`), and relu(x) itself as `all`.
inline PackageMaker SelectionPackage(int64_t most = INT32_MAX) {
  PackageMaker m;
  const Dim n = PackageMaker::Sym("N"), u = PackageMaker::Sym("u"), k = PackageMaker::Sym("k");
  m.data.symbols["N"] = {0, INT32_MAX};
  m.data.symbols["u"] = {0, most};
  m.data.symbols["k"] = {0, INT32_MAX};
  int x = m.Input("x", DType::kFloat32, {n});
  int count = m.Input("count", DType::kInt64, {1});
  int r = m.Arena("r", DType::kFloat32, {n});
  int at = m.Arena("at", DType::kInt64, {1, u});
  int rows = m.Arena("rows", DType::kInt64, {u, 1}, at);
  int picked = m.Output("picked", DType::kFloat32, {u});
  int column = m.Arena("column", DType::kFloat32, {u, 1});
  int table = m.Arena("table", DType::kFloat32, {u, u});
  int largest = m.Output("largest", DType::kFloat32, {});
  int zero = m.Constant<int64_t>("zero", {1}, {0});
  int few = m.Output("few", DType::kFloat32, {k});
  int all = m.Output("all", DType::kFloat32, {n});
  m.Step("relu", "", "Relu", {x}, {r});
  m.Step("nonzero", "", "NonZero", {r}, {at}).data_dims = true;
  m.Step("gather", "", "GatherND", {r, rows}, {picked});
  m.Step("column", "", "Unsqueeze", {picked, m.Constant<int64_t>("one", {1}, {1})}, {column});
  m.Step("table", "", "Mul", {column, picked}, {table});
  m.Step("largest", "", "ReduceSum", {table}, {largest}, {{"keepdims", int64_t{0}}});
  m.Step("slice", "", "Slice", {picked, zero, count}, {few}).data_dims = true;
  m.Step("copy", "engine", "Copy", {r}, {all});
  return m;
}

// One of everything that reads addresses out of data or attributes.
inline PackageMaker IndexingPackage() {
  PackageMaker m;
  auto ints = [&](const char* name, std::vector<int64_t> v) {
    return m.Constant<int64_t>(name, {static_cast<int64_t>(v.size())}, v);
  };
  int x = m.Input("x", DType::kFloat32, {2, 3, 6, 6});
  int t = m.Arena("sliced", DType::kFloat32, {2, 3, 4, 3});
  m.Step("slice", "", "Slice", {x, ints("starts", {1, 5}), ints("ends", {5, -7}), ints("axes", {2, 3}), ints("steps", {1, -2})}, {t});
  int p = m.Arena("padded", DType::kFloat32, {2, 3, 6, 5});
  m.Step("pad", "", "Pad", {t, ints("pads", {0, 0, 1, 1, 0, 0, 1, 1})}, {p}, {{"mode", std::string("reflect")}});
  int g = m.Arena("gathered", DType::kFloat32, {2, 2, 6, 5});
  m.Step("gather", "", "Gather", {p, ints("indices", {2, -3})}, {g}, {{"axis", int64_t{1}}});
  int tr = m.Arena("transposed", DType::kFloat32, {2, 6, 5, 2});
  m.Step("transpose", "", "Transpose", {g}, {tr}, {{"perm", std::vector<int64_t>{0, 2, 3, 1}}});
  int pool = m.Arena("pooled", DType::kFloat32, {2, 6, 3, 1});
  m.Step("pool", "", "MaxPool", {tr}, {pool}, {{"kernel_shape", std::vector<int64_t>{2, 2}}, {"strides", std::vector<int64_t>{2, 2}},
                                              {"pads", std::vector<int64_t>{1, 0, 0, 0}}});
  int r = m.Arena("resized", DType::kFloat32, {2, 6, 6, 3});
  m.Step("resize", "", "Resize", {pool, -1, m.Constant<float>("scales", {4}, {1, 1, 2, 3})}, {r}, {{"mode", std::string("linear")}});
  int red = m.Arena("reduced", DType::kFloat32, {2, 1, 6, 3});
  m.Step("reduce", "", "ReduceMean", {r, ints("reduce_axes", {1})}, {red});
  int cat = m.Arena("concat", DType::kFloat32, {2, 7, 6, 3});
  m.Step("concat", "", "Concat", {r, red}, {cat}, {{"axis", int64_t{1}}});
  int q = m.Arena("codes", DType::kInt8, {2, 7, 6, 3});
  int s = m.Constant<float>("scale", {7}, std::vector<float>(7, 0.05f));
  m.Step("quantize", "slipway", "Quantize", {cat, s}, {q}, {{"axis", int64_t{1}}});
  int qc = m.Arena("conv", DType::kInt8, {2, 4, 4, 3});
  m.Step("qconv", "slipway", "QConv",
         {q, m.Constant<int8_t>("w", {4, 7, 3, 1}, std::vector<int8_t>(84, 3)), m.Constant<float>("mul", {4}, {.1f, .2f, .3f, .4f}),
          m.Constant<int32_t>("bias", {4}, {1, 2, 3, 4})},
         {qc});
  int values = m.Output("values", DType::kInt8, {2, 4, 4, 2});
  int indices = m.Output("indices", DType::kInt64, {2, 4, 4, 2});
  m.Step("topk", "", "TopK", {qc, ints("k", {2})}, {values, indices});
  m.Plan();
  return m;
}

struct GoodPackage {
  const char* name;
  std::vector<uint8_t> bytes;
};

// One of each kind, as files; empty when one cannot be written, which is a fault.
inline std::vector<GoodPackage> GoodPackages() {
  PackageMaker fixed = SmallPackage({3, 4});
  fixed.Plan();
  const std::pair<const char*, PackageMaker> makers[] = {{"static", fixed},
                                                         {"dynamic", SmallPackage({PackageMaker::Sym("N"), 4})},
                                                         {"network", NetworkPackage(PackageMaker::Sym("N"))},
                                                         {"indexing", IndexingPackage()},
                                                         {"selection", SelectionPackage()},
                                                         {"control", format::ControlPackage()},
                                                         {"sequence", format::SequencePackage()},
                                                         {"coded", format::CodedPackage()}};
  std::vector<GoodPackage> list;
  for (const auto& [name, maker] : makers) {
    auto bytes = format::SerializePackage(maker.data);
    if (!bytes.ok()) return {};
    list.push_back({name, std::move(*bytes)});
  }
  return list;
}

}  // namespace slipway
