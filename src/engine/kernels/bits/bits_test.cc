#include "engine/kernels/bits/bits.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <random>

#include "base/aligned.h"
#include "base/cpu.h"

namespace slipway::kernels {
namespace {

struct Table {
  const char* name;
  const BitsKernels* kernels;
};
std::vector<Table> Tables() {
  std::vector<Table> out = {{"baseline", &baseline::kBits}};
#if defined(__x86_64__)
  if (HasFeature(CpuFeature::kAvx2)) out.push_back({"avx2", &avx2::kBits});
  if (HasFeature(CpuFeature::kAvx512Vpopcntdq) && HasFeature(CpuFeature::kAvx512))
    out.push_back({"avx512popcnt", &avx512popcnt::kBits});
#endif
  return out;
}

// The definition, modulo 2^32.
int32_t Accumulator(const BitsConv& c, const std::vector<uint8_t>& x, bool x_signed,
                    const std::vector<int8_t>& w, int64_t g, int64_t n, int64_t oy, int64_t ox) {
  uint32_t sum = 0;
  const BitsWeights& s = c.weights;
  for (int64_t ky = 0; ky < c.kernel_height; ++ky) {
    for (int64_t kx = 0; kx < c.kernel_width; ++kx) {
      const int64_t iy = oy * c.stride_height - c.pad_top + ky * c.dilation_height,
                    ix = ox * c.stride_width - c.pad_left + kx * c.dilation_width;
      if (iy < 0 || iy >= c.in_height || ix < 0 || ix >= c.in_width) continue;
      for (int64_t k = 0; k < s.channels; ++k) {
        const uint8_t byte = x[static_cast<size_t>((iy * c.in_width + ix) * s.groups * s.channels +
                                                   g * s.channels + k)];
        const int a = (x_signed ? static_cast<int8_t>(byte) : byte) - c.a_zero;
        const int b = w[static_cast<size_t>(((g * s.outputs + n) * s.channels + k) * s.taps +
                                            ky * c.kernel_width + kx)];
        sum += static_cast<uint32_t>(a * b);
      }
    }
  }
  return static_cast<int32_t>(sum);
}

void CheckRandom(uint64_t seed) {
  SCOPED_TRACE("SLIPWAY_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto below = [&](int64_t n) {
    return static_cast<int64_t>(random() % static_cast<uint64_t>(n));
  };
  BitsConv c;
  BitsWeights& s = c.weights;
  s.groups = below(4) == 0 ? 1 + below(3) : 1;
  s.outputs = 1 + below(70);
  s.channels = below(3) == 0 ? 64 * (1 + below(3)) : 1 + below(150);
  c.kernel_height = 1 + below(3);
  c.kernel_width = 1 + below(4);
  s.taps = c.kernel_height * c.kernel_width;
  c.stride_height = 1 + below(2);
  c.stride_width = 1 + below(3);
  c.dilation_height = 1 + below(2);
  c.dilation_width = 1 + below(2);
  c.pad_top = below(3);
  c.pad_left = below(3);
  c.in_height = 1 + below(7);
  c.in_width = 1 + below(9);
  c.out_height = 1 + below(4);
  c.out_width = 1 + below(9);
  const auto reach = [](int64_t out, int64_t stride, int64_t kernel, int64_t dilation) {
    return (out - 1) * stride + (kernel - 1) * dilation + 1;
  };
  c.height = std::max(reach(c.out_height, c.stride_height, c.kernel_height, c.dilation_height),
                      c.pad_top + c.in_height);
  c.width = std::max(reach(c.out_width, c.stride_width, c.kernel_width, c.dilation_width),
                     c.pad_left + c.in_width);
  // Codes of the input.
  c.a_planes = 1 + static_cast<int>(below(2));
  c.a_shift = static_cast<int>(below(2));
  const bool x_signed = below(2) != 0;
  c.a_low = static_cast<int32_t>(x_signed ? below(100) - 50 : below(100));
  c.a_zero = static_cast<int32_t>(c.a_low + below(3));
  std::vector<uint8_t> x(static_cast<size_t>(c.in_height * c.in_width * s.groups * s.channels));
  for (uint8_t& v : x)
    v = static_cast<uint8_t>(c.a_low + (below(int64_t{1} << c.a_planes) << c.a_shift));
  // Weights: levels of each output are its own.
  const int levels = below(2) ? 2 : 4;
  std::vector<int8_t> w(static_cast<size_t>(s.groups * s.outputs * s.channels * s.taps));
  const int64_t size = s.channels * s.taps;
  for (int64_t n = 0; n < s.groups * s.outputs; ++n) {
    const int base = static_cast<int>(below(60)) - 50, step = 1 + static_cast<int>(below(15));
    for (int64_t i = 0; i < size; ++i)
      w[static_cast<size_t>(n * size + i)] = static_cast<int8_t>(base + step * below(levels));
  }
  const auto planes = BitsPlanes(w.data(), s.groups * s.outputs, size);
  ASSERT_TRUE(planes.has_value());
  ASSERT_LE(*planes, levels / 2);
  s.planes = *planes;
  ASSERT_TRUE(s.Valid());
  const std::vector<uint8_t> made = PackBits(s, w.data());
  AlignedBuffer packed(made.size());
  std::memcpy(packed.data(), made.data(), made.size());
  // From accumulators to outputs.
  const int64_t outputs = s.groups * s.outputs, count = c.out_height * c.out_width * outputs;
  std::vector<float> multiplier(static_cast<size_t>(below(2) ? outputs : 1));
  for (float& m : multiplier) m = 0.001f * static_cast<float>(1 + below(50));
  std::vector<int32_t> bias(static_cast<size_t>(outputs));
  for (int32_t& b : bias) b = static_cast<int32_t>(below(2000)) - 1000;
  std::vector<uint8_t> residual(static_cast<size_t>(count));
  for (uint8_t& r : residual) r = static_cast<uint8_t>(random());
  BitsFinish f;
  f.multiplier = multiplier.data();
  f.per_output = multiplier.size() > 1;
  f.bias = below(2) ? bias.data() : nullptr;
  f.residual = below(2) ? residual.data() : nullptr;
  f.residual_signed = below(2) != 0;
  f.z_multiplier = 0.25f;
  f.z_zero = static_cast<int32_t>(below(5));
  f.clamps = below(2) != 0;
  f.lowest = below(2) ? 0 : -0.5f;
  f.highest = below(2) ? INFINITY : 3.25f;
  f.y_multiplier = 1.5f;
  f.to = static_cast<int>(below(3));
  f.zero_point = f.to == 0 ? static_cast<int32_t>(below(200)) : static_cast<int32_t>(below(9)) - 4;
  f.low = f.to == 0 ? 3 : -100;
  f.high = f.to == 0 ? 250 : 101;

  for (const Table& t : Tables()) {
    SCOPED_TRACE(t.name);
    AlignedBuffer bits(static_cast<size_t>(c.planes_bytes())),
        sums(static_cast<size_t>(c.sums_bytes())), windows(static_cast<size_t>(c.windows_bytes())),
        y(static_cast<size_t>(count * 4));
    std::memset(bits.data(), 0xff, bits.size());
    auto* p = reinterpret_cast<uint64_t*>(bits.data());
    auto* q = reinterpret_cast<int32_t*>(sums.data());
    const int64_t half = c.height / 2, middle = c.out_height * c.out_width / 3;
    t.kernels->pack(c, x.data(), p, q, half, c.height);
    t.kernels->pack(c, x.data(), p, q, 0, half);
    auto* r = reinterpret_cast<uint32_t*>(windows.data());
    t.kernels->windows(c, q, r, c.out_height / 2, c.out_height);
    t.kernels->windows(c, q, r, 0, c.out_height / 2);
    t.kernels->convolve(c, p, r, packed.data(), f, y.data(), middle, c.out_height * c.out_width);
    t.kernels->convolve(c, p, r, packed.data(), f, y.data(), 0, middle);
    for (int64_t pixel = 0; pixel < c.out_height * c.out_width; ++pixel) {
      for (int64_t o = 0; o < outputs; ++o) {
        const int32_t acc = static_cast<int32_t>(
            static_cast<uint32_t>(Accumulator(c, x, x_signed, w, o / s.outputs, o % s.outputs,
                                              pixel / c.out_width, pixel % c.out_width)) +
            static_cast<uint32_t>(f.bias ? bias[static_cast<size_t>(o)] : 0));
        float v = static_cast<float>(acc) * multiplier[f.per_output ? static_cast<size_t>(o) : 0];
        const auto at = static_cast<size_t>(pixel * outputs + o);
        if (f.residual) {
          const int z = f.residual_signed ? static_cast<int8_t>(residual[at]) : int{residual[at]};
          v = std::fma(static_cast<float>(z - f.z_zero), f.z_multiplier, v);
        }
        if (f.clamps) v = std::min(std::max(v, f.lowest), f.highest) * f.y_multiplier;
        if (f.to == 2) {
          ASSERT_EQ(reinterpret_cast<const float*>(y.data())[at], v) << pixel << ", " << o;
          continue;
        }
        const double code = std::clamp(std::nearbyint(static_cast<double>(v)) + f.zero_point,
                                       static_cast<double>(f.low), static_cast<double>(f.high));
        const int got = f.to == 0 ? int{y.data()[at]} : int{static_cast<int8_t>(y.data()[at])};
        ASSERT_EQ(got, static_cast<int>(code)) << pixel << ", " << o;
      }
    }
  }
}

TEST(Bits, AgreesWithTheDefinition) {
  const char* fixed = std::getenv("SLIPWAY_TEST_SEED");
  uint64_t seed = fixed ? std::strtoull(fixed, nullptr, 10) : std::random_device{}();
  const char* limit = std::getenv("SLIPWAY_TEST_SECONDS");
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::duration<double>(limit ? std::atof(limit) : 2);
  int cases = 0;
  do {
    CheckRandom(seed++);
    ++cases;
  } while (!fixed && !HasFailure() && std::chrono::steady_clock::now() < end);
  std::printf("%d cases\n", cases);
}

TEST(Bits, Signs) {
  std::vector<float> x;
  for (int i = 0; i < 150; ++i) x.push_back(static_cast<float>(i % 7) - 3);
  x[20] = -0.0f;
  x[21] = NAN;
  x[22] = -1e-42f;
  for (const Table& t : Tables()) {
    for (int64_t n : {0, 1, 23, 64, 150}) {
      std::vector<int8_t> y(151, 99);
      t.kernels->signs(x.data(), y.data(), n);
      for (int64_t i = 0; i < n; ++i)
        ASSERT_EQ(y[static_cast<size_t>(i)], x[static_cast<size_t>(i)] >= 0 ? 1 : -1)
            << t.name << i;
      ASSERT_EQ(y[static_cast<size_t>(n)], 99);
    }
  }
}

TEST(Bits, PlanesThatAreNeeded) {
  const int8_t codes[] = {-1, 1, 1, -1, /**/ 3, 3, 3, 3, /**/ -5, 2, 2, -5};
  EXPECT_EQ(BitsPlanes(codes, 3, 4), 1);
  const int8_t ternary[] = {-7, 0, 7, 0};
  EXPECT_EQ(BitsPlanes(ternary, 1, 4), 2);
  EXPECT_EQ(BitsPlanes(ternary, 2, 2), 1);
  const int8_t uneven[] = {0, 1, 5};
  EXPECT_EQ(BitsPlanes(uneven, 1, 3), std::nullopt);
  const int8_t five[] = {-2, -1, 0, 1, 2};
  EXPECT_EQ(BitsPlanes(five, 1, 5), std::nullopt);
}

TEST(Bits, ExtentsThatCannotBe) {
  EXPECT_TRUE((BitsWeights{.outputs = 1, .channels = 1}).Valid());
  EXPECT_FALSE((BitsWeights{.outputs = 0, .channels = 1}).Valid());
  EXPECT_FALSE((BitsWeights{.outputs = 1, .channels = 1, .planes = 3}).Valid());
  EXPECT_FALSE((BitsWeights{.outputs = int64_t{1} << 31, .channels = int64_t{1} << 31}).Valid());
}

}  // namespace
}  // namespace slipway::kernels
