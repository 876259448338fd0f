#pragma once
// Packages and sessions of the C interface that free themselves.

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "base/aligned.h"
#include "engine/format/package_test_util.h"
#include "slipway.h"

namespace slipway {

using format::PackageMaker;

// Bytes at an aligned address, as slipway_package_load_memory wants them.
inline AlignedBuffer Aligned(const std::vector<uint8_t>& bytes) {
  AlignedBuffer out(bytes.size());
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

struct Loaded {
  AlignedBuffer bytes;
  slipway_package* package = nullptr;
  slipway_error error{};
  explicit Loaded(const PackageMaker& maker) {
    auto file = format::SerializePackage(maker.data);
    EXPECT_TRUE(file.ok()) << file.status().ToString();
    if (!file.ok()) return;
    bytes = Aligned(*file);
    slipway_package_load_memory(bytes.data(), bytes.size(), &package, &error);
  }
  ~Loaded() { slipway_package_free(package); }
};

struct Sess {
  slipway_session* s = nullptr;
  slipway_error error{};
  explicit Sess(slipway_package* package, int threads = 1, bool profile = false) {
    slipway_session_options options;
    slipway_session_options_init(&options);
    options.threads = threads;
    options.profile = profile;
    slipway_session_create(package, &options, &s, &error);
  }
  ~Sess() { slipway_session_free(s); }
  float* In(const char* name) {
    slipway_tensor t{};
    EXPECT_EQ(slipway_session_input(s, name, &t, &error), 0) << error.message;
    return static_cast<float*>(t.data);
  }
  float* Out(const char* name) {
    slipway_tensor t{};
    EXPECT_EQ(slipway_session_output(s, name, &t, &error), 0) << error.message;
    return static_cast<float*>(t.data);
  }
  int Run() { return slipway_session_run(s, &error); }
  int SetShape(const char* name, std::vector<int64_t> dims) {
    return slipway_session_set_shape(s, name, dims.data(), static_cast<int32_t>(dims.size()), &error);
  }
};

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

}  // namespace slipway
