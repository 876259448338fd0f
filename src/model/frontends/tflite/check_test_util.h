#pragma once
// Models written by a test, run and compared with numbers.

#include <gtest/gtest.h>

#include <cmath>

#include "model/frontends/tflite/writer_test_util.h"
#include "model/passes/pass.h"

namespace slipway::tflite {

using Doubles = std::vector<double>;
using Shape = std::vector<int32_t>;

inline ir::Tensor Feed(const ir::Value& input, const Doubles& values) {
  auto t = ir::Tensor::Allocate(input.dtype(), *input.type().StaticDims());
  EXPECT_EQ(t->count(), static_cast<int64_t>(values.size())) << input.name();
  for (size_t i = 0; i < values.size(); ++i) {
    uint8_t* at = t->mutable_data() + i * DTypeBytes(input.dtype(), 1);
    switch (input.dtype()) {
      case DType::kFloat32: {
        const auto v = static_cast<float>(values[i]);
        std::memcpy(at, &v, 4);
        break;
      }
      case DType::kInt32: {
        const auto v = static_cast<int32_t>(values[i]);
        std::memcpy(at, &v, 4);
        break;
      }
      case DType::kInt64: {
        const auto v = static_cast<int64_t>(values[i]);
        std::memcpy(at, &v, 8);
        break;
      }
      case DType::kInt16: {
        const auto v = static_cast<int16_t>(values[i]);
        std::memcpy(at, &v, 2);
        break;
      }
      default:
        *at = static_cast<uint8_t>(static_cast<int>(values[i]));
    }
  }
  return std::move(*t);
}

inline std::vector<ir::Tensor> RunGraph(const ir::Graph& g, const std::vector<Doubles>& inputs) {
  std::vector<ir::Tensor> feeds;
  for (size_t i = 0; i < inputs.size(); ++i) feeds.push_back(Feed(*g.inputs()[i], inputs[i]));
  auto out = interp::Evaluate(g, feeds);
  EXPECT_TRUE(out.ok()) << out.status().ToString();
  return out.ok() ? std::move(*out) : std::vector<ir::Tensor>{};
}

inline std::unique_ptr<ir::Graph> Must(const Writer& w, const ImportOptions& options = {}) {
  auto g = w.Import(options);
  EXPECT_TRUE(g.ok()) << g.status().ToString();
  return g.ok() ? std::move(*g) : nullptr;
}

inline void Expect(const ir::Tensor& t, const Doubles& want, double tolerance, const char* when) {
  const Doubles got = t.ToDoubles();
  ASSERT_EQ(got.size(), want.size()) << when;
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_NEAR(got[i], want[i], tolerance) << when << ", element " << i;
}

// The first outputs, as imported and after the passes.
inline void Check(const Writer& w, const std::vector<Doubles>& inputs,
                  const std::vector<Doubles>& want, double tolerance = 1e-5) {
  auto g = Must(w);
  if (!g) return;
  for (const char* when : {"as imported", "optimised"}) {
    const auto out = RunGraph(*g, inputs);
    ASSERT_GE(out.size(), want.size()) << when;
    for (size_t i = 0; i < want.size(); ++i) Expect(out[i], want[i], tolerance, when);
    auto passes = passes::RunPasses(*g, {.level = passes::Level::kInteger});
    ASSERT_TRUE(passes.ok()) << passes.status().ToString();
  }
}

}  // namespace slipway::tflite
