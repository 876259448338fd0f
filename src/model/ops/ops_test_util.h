#pragma once
// Small tensors and one-line calls of kernels, for the tests of this folder.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "base/float16.h"
#include "base/thread_pool.h"
#include "model/ops/kernel.h"

namespace slipway::ops {

// A tensor that owns its memory.
struct T {
  DType dtype = DType::kUndefined;
  Dims dims;
  std::vector<uint8_t> bytes;

  T() = default;  // absent
  T(DType t, Dims d) : dtype(t), dims(d), bytes(DTypeBytes(t, d.count()), 0xcd) {}
  TensorView view() { return {dtype, dims, bytes.data()}; }

  template <typename V>
  std::vector<V> As() const {
    std::vector<V> v(bytes.size() / sizeof(V));
    if (!bytes.empty()) std::memcpy(v.data(), bytes.data(), bytes.size());
    return v;
  }
};

template <typename V>
T Make(Dims dims, const std::vector<V>& values) {
  T t(DTypeOf<V>::value, dims);
  EXPECT_EQ(static_cast<int64_t>(values.size()), dims.count());
  if (!values.empty()) std::memcpy(t.bytes.data(), values.data(), t.bytes.size());
  return t;
}
inline T F(Dims dims, std::vector<float> v) { return Make<float>(dims, v); }
inline T I(Dims dims, std::vector<int64_t> v) { return Make<int64_t>(dims, v); }
inline T I32(Dims dims, std::vector<int32_t> v) { return Make<int32_t>(dims, v); }
inline T S8(Dims dims, std::vector<int8_t> v) { return Make<int8_t>(dims, v); }
inline T U8(Dims dims, std::vector<uint8_t> v) { return Make<uint8_t>(dims, v); }
inline T B(Dims dims, std::vector<uint8_t> v) {
  T t = U8(dims, v);
  t.dtype = DType::kBool;
  return t;
}
// 0, 1, 2, ... of the given extent.
inline T Iota(Dims dims, float first = 0) {
  std::vector<float> v(static_cast<size_t>(dims.count()));
  for (size_t i = 0; i < v.size(); ++i) v[i] = first + static_cast<float>(i);
  return F(dims, v);
}

// Runs domain.name; outputs have the given types and extents on entry.
inline Status Call(std::string_view name, std::vector<T> inputs, std::vector<T>& outputs,
                   const Attributes& attributes = {}, std::string_view domain = "",
                   Parallel* pool = nullptr) {
  std::vector<TensorView> in, out;
  for (T& t : inputs) in.push_back(t.view());
  for (T& t : outputs) out.push_back(t.view());
  const Kernel kernel = FindKernel(domain, name);
  if (!kernel) return Internal("no kernel " + std::string(name));
  return kernel({in, out, &attributes, pool});
}

// The single output, of x's type unless said otherwise; a failure of the kernel fails the test.
inline T Run1(std::string_view name, std::vector<T> inputs, Dims out,
              const Attributes& attributes = {}, DType type = DType::kUndefined,
              std::string_view domain = "") {
  std::vector<T> outputs{T(type == DType::kUndefined ? inputs[0].dtype : type, out)};
  const Status status = Call(name, std::move(inputs), outputs, attributes, domain);
  EXPECT_TRUE(status.ok()) << name << ": " << status.ToString();
  return outputs[0];
}

// The extents that the shape function gives, "[2, 3]"; several outputs joined by "; "; the message when it fails. Inputs
// whose data it does not read get none.
inline std::string ShapeFromData(std::string_view name, std::vector<T> inputs,
                                 const Attributes& attributes = {}, size_t outputs = 1,
                                 std::string_view domain = "") {
  const ShapeEntry* entry = FindShapeFunction(domain, name);
  if (!entry) return "no shape function";
  std::vector<TensorView> in, out(outputs, TensorView{DType::kFloat32, {}, nullptr});
  for (size_t i = 0; i < inputs.size(); ++i) {
    in.push_back(inputs[i].view());
    if (!entry->ReadsData(i)) in.back().data = nullptr;
  }
  std::vector<Dims> dims(outputs);
  const Status status = entry->function({in, out, &attributes, nullptr}, dims);
  if (!status.ok()) return status.message();
  std::string text;
  for (const Dims& d : dims) text += (text.empty() ? "" : "; ") + d.ToString();
  return text;
}

// The failure message of a call that must fail.
inline std::string RunError(std::string_view name, std::vector<T> inputs, Dims out,
                            const Attributes& attributes = {}, DType type = DType::kUndefined,
                            std::string_view domain = "") {
  std::vector<T> outputs{T(type == DType::kUndefined ? inputs[0].dtype : type, out)};
  const Status status = Call(name, std::move(inputs), outputs, attributes, domain);
  EXPECT_FALSE(status.ok()) << name << " should have failed";
  return status.message();
}

inline void ExpectNear(const T& t, const std::vector<float>& want, float tolerance = 1e-5f) {
  const auto got = t.As<float>();
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    if (std::isnan(want[i])) {
      EXPECT_TRUE(std::isnan(got[i])) << "element " << i;
    } else if (std::isinf(want[i])) {
      EXPECT_EQ(got[i], want[i]) << "element " << i;
    } else {
      EXPECT_NEAR(got[i], want[i], tolerance * std::max(1.0f, std::fabs(want[i])))
          << "element " << i;
    }
  }
}

using Ints = std::vector<int64_t>;

}  // namespace slipway::ops
