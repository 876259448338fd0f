#include "engine/kernels/gemm/gemm.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/aligned.h"
#include "base/float16.h"

namespace slipway::kernels {
namespace {

std::vector<const GemmKernels*> Kernels() {
  std::vector<const GemmKernels*> out = {&GetGemm(Isa::kBaseline)};
  if (HasFeature(CpuFeature::kAvx2)) out.push_back(&GetGemm(Isa::kAvx2));
  if (HasFeature(CpuFeature::kAvx512)) out.push_back(&GetGemm(Isa::kAvx512));
  if (const GemmKernels* half = GetGemmBf16(BestBfloat16Isa())) out.push_back(half);
  return out;
}

// Rows of numbers of one type, some elements behind each.
class Matrix {
 public:
  Matrix(int64_t rows, int64_t columns, int64_t stride, GemmType type, std::mt19937& random)
      : stride_(stride), type_(type), bytes_(static_cast<size_t>(rows * stride * Size() + 1)) {
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < rows * stride; ++i) Set(i, normal(random));
    bytes_.back() = 77;  // nobody may write behind the end
    (void)columns;
  }
  int64_t Size() const { return type_ == GemmType::kFloat32 ? 4 : 2; }
  void Set(int64_t i, float v) {
    if (type_ == GemmType::kFloat32) {
      std::memcpy(bytes_.data() + i * 4, &v, 4);
    } else {
      const BFloat16 h(v);
      std::memcpy(bytes_.data() + i * 2, &h, 2);
    }
  }
  double At(int64_t row, int64_t column) const {
    const int64_t i = row * stride_ + column;
    if (type_ == GemmType::kFloat32) {
      float v;
      std::memcpy(&v, bytes_.data() + i * 4, 4);
      return v;
    }
    BFloat16 h;
    std::memcpy(static_cast<void*>(&h), bytes_.data() + i * 2, 2);
    return static_cast<float>(h);
  }
  void* data() { return bytes_.data(); }
  const std::vector<uint8_t>& bytes() const { return bytes_; }
  GemmType type() const { return type_; }
  int64_t stride() const { return stride_; }

 private:
  int64_t stride_;
  GemmType type_;
  std::vector<uint8_t> bytes_;
};

void Tripled(const float* x, float* y, int64_t n, float a, float b) {
  for (int64_t i = 0; i < n; ++i) y[i] = a * x[i] + b;
}

struct Options {
  int64_t m, k, n;
  bool transposed, bias, z, in_place, activation;
};

void RunPlan(const GemmKernels& kernels, const GemmCall& call, int threads) {
  const GemmPlan plan = PlanGemm(kernels, call.m, call.k, call.n, threads);
  AlignedBuffer buffer(static_cast<size_t>(plan.buffer_bytes));
  // From the last part on: none may lean on another.
  for (int64_t i = plan.parts(); i-- > 0;) {
    const GemmPart part = plan.Part(i);
    ASSERT_EQ(part.column % kernels.panel(), 0);
    kernels.run(call, part, plan.step, buffer.data());
  }
}

void Check(const GemmKernels& kernels, const Options& o, std::mt19937& random) {
  SCOPED_TRACE("lanes " + std::to_string(kernels.lanes) +
               (kernels.type == GemmType::kFloat32 ? " float32" : " bfloat16") + " m " +
               std::to_string(o.m) + " k " + std::to_string(o.k) + " n " + std::to_string(o.n) +
               (o.transposed ? " transposed" : "") + (o.bias ? " bias" : "") + (o.z ? " z" : "") +
               (o.in_place ? " in place" : "") + (o.activation ? " activation" : ""));
  const auto any = [&] {
    return kernels.type == GemmType::kFloat32 || random() % 2 ? GemmType::kFloat32
                                                              : GemmType::kBFloat16;
  };
  const auto more = [&] { return static_cast<int64_t>(random() % 3); };
  Matrix x(o.m, o.k, o.k + more(), any(), random);
  Matrix w(o.transposed ? o.n : o.k, o.transposed ? o.k : o.n, o.transposed ? o.k : o.n,
           kernels.type, random);
  Matrix bias(1, o.n, o.n, any(), random);
  Matrix z(o.m, o.n, o.n + more(), any(), random);
  Matrix y = o.in_place ? z : Matrix(o.m, o.n, o.n + more(), any(), random);

  AlignedBuffer packed(static_cast<size_t>(kernels.packed_bytes(o.k, o.n)));
  const int64_t panels = kernels.panels(o.n), middle = panels / 2;
  kernels.pack(w.data(), o.k, o.n, o.transposed, packed.data(), middle, panels);
  kernels.pack(w.data(), o.k, o.n, o.transposed, packed.data(), 0, middle);
  GemmCall call{.x = x.data(),
                .x_stride = x.stride(),
                .x_type = x.type(),
                .w = packed.data(),
                .bias = o.bias ? bias.data() : nullptr,
                .bias_type = bias.type(),
                .z = !o.z         ? nullptr
                     : o.in_place ? y.data()
                                  : z.data(),
                .z_stride = z.stride(),
                .z_type = z.type(),
                .y = y.data(),
                .y_stride = y.stride(),
                .y_type = y.type(),
                .m = o.m,
                .k = o.k,
                .n = o.n,
                .activation = o.activation ? Tripled : nullptr,
                .a = 3,
                .b = 0.5f};
  const Matrix before = y;
  RunPlan(kernels, call, 1);
  // The same numbers, however they are shared out.
  for (int threads : {2, 5}) {
    Matrix again = before;
    GemmCall other = call;
    other.y = again.data();
    if (o.in_place && o.z) other.z = again.data();
    RunPlan(kernels, other, threads);
    ASSERT_EQ(again.bytes(), y.bytes()) << threads << " threads";
  }
  ASSERT_EQ(y.bytes().back(), 77);
  for (int64_t r = 0; r < o.m; ++r) {
    for (int64_t j = o.n; j < y.stride(); ++j) ASSERT_EQ(y.At(r, j), before.At(r, j));
    for (int64_t j = 0; j < o.n; ++j) {
      double sum = o.bias ? bias.At(0, j) : 0;
      if (o.z) sum += o.in_place ? before.At(r, j) : z.At(r, j);
      double size = std::fabs(sum) + 1;
      for (int64_t i = 0; i < o.k; ++i) {
        double a = x.At(r, i);
        if (kernels.type == GemmType::kBFloat16)
          a = static_cast<float>(BFloat16(static_cast<float>(a)));
        const double p = a * (o.transposed ? w.At(j, i) : w.At(i, j));
        sum += p;
        size += std::fabs(p);
      }
      if (o.activation) sum = 3 * sum + 0.5, size = 3 * size + 1;
      const double rounding = y.type() == GemmType::kBFloat16 ? std::fabs(sum) / 256 : 0;
      ASSERT_NEAR(y.At(r, j), sum, 1e-6 * size + rounding) << "at " << r << ", " << j;
    }
  }
}

TEST(Gemm, RandomShapes) {
  const uint32_t seed = std::random_device{}();
  std::mt19937 random(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  const auto below = [&](int n) {
    return static_cast<int64_t>(random() % static_cast<unsigned>(n));
  };
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
  for (int round = 0; round < 20 || std::chrono::steady_clock::now() < end; ++round) {
    for (const GemmKernels* kernels : Kernels()) {
      const bool z = below(3) == 0;
      Check(*kernels,
            {.m = 1 + below(round % 3 ? 20 : 140),
             .k = round % 7 ? below(90) : below(900),
             .n = 1 + below(round % 2 ? 40 : 150),
             .transposed = below(2) == 0,
             .bias = below(3) > 0,
             .z = z,
             .in_place = z && below(2) == 0,
             .activation = below(3) == 0},
            random);
      if (HasFatalFailure()) return;
    }
  }
}

// Every way to cut: few weights that stay, panels over blocks of rows, columns for few rows.
TEST(Gemm, Plans) {
  std::mt19937 random(1);
  for (const GemmKernels* kernels : Kernels()) {
    for (const auto& [m, k, n] : {std::tuple{300, 40, 64}, {230, 1030, 96}, {19, 300, 600}}) {
      for (int threads : {1, 2, 3, 8}) {
        const GemmPlan plan = PlanGemm(*kernels, m, k, n, threads);
        int64_t area = 0;
        for (int64_t i = 0; i < plan.parts(); ++i) {
          const GemmPart p = plan.Part(i);
          area += (p.row_end - p.row) * (p.column_end - p.column);
          EXPECT_LE(plan.step * kernels->depth_bytes(k), plan.buffer_bytes);
        }
        EXPECT_EQ(area, int64_t{m} * n);
      }
      Check(*kernels, {m, k, n, false, true, false, false, false}, random);
      if (HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace slipway::kernels
