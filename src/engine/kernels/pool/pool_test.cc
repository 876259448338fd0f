// Against plain loops in double, in every layout and for every instruction set.

#include "engine/kernels/pool/pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/float16.h"
#include "engine/kernels/simd/random_test_util.h"

namespace slipway::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Calls f(kernels, T{}, name of the instruction set) for all that this CPU has.
template <typename F>
void ForAll(F&& f) {
  for (int i = 0; i <= static_cast<int>(BestIsa()); ++i) {
    const Isa isa = static_cast<Isa>(i);
    f(*GetPool(isa, false), float{}, IsaName(isa));
    if (const PoolKernels* half = GetPool(isa, true))
      f(*half, BFloat16{}, std::string(IsaName(isa)) + " bfloat16");
  }
  if (GetPoolF16()->windows) f(*GetPoolF16(), Float16{}, "float16");
}
template <typename T>
std::vector<T> Numbers(int64_t n, Random& r) {
  std::vector<T> v(static_cast<size_t>(n));
  for (T& x : v) x = static_cast<T>(r.Real(-4, 4));
  return v;
}
// Rounding once more, to the bits of T.
template <typename T>
double Error(double v) {
  return sizeof(T) == 4 ? 1e-5 : 1e-5 + std::fabs(v) / 256;
}

struct Truth {
  double value = 0;
  int64_t taps = 0, padded = 0;
};
template <typename T>
Truth At(const PoolShape& s, bool max, const T* plane, const int64_t (&o)[3], int64_t c) {
  Truth t;
  int64_t i[3], k[3];
  for (k[0] = 0; k[0] < s.kernel[0]; ++k[0]) {
    for (k[1] = 0; k[1] < s.kernel[1]; ++k[1]) {
      for (k[2] = 0; k[2] < s.kernel[2]; ++k[2]) {
        bool inside = true, padded = true;
        for (int d = 0; d < 3; ++d) {
          i[d] = o[d] * s.stride[d] - s.pad_begin[d] + k[d] * s.dilation[d];
          inside &= i[d] >= 0 && i[d] < s.in[d];
          padded &= i[d] < s.in[d] + s.pad_end[d];
        }
        t.padded += padded;
        if (!inside) continue;
        const double v = static_cast<double>(
            static_cast<float>(plane[((i[0] * s.in[1] + i[1]) * s.in[2] + i[2]) * s.pixel + c]));
        t.value = t.taps++ == 0 ? v : max ? std::max(t.value, v) : t.value + v;
      }
    }
  }
  return t;
}

template <typename T>
void CheckWindows(const PoolKernels& kernels, const PoolShape& s, PoolKind kind, Random& r) {
  const int64_t in = s.in[0] * s.in[1] * s.in[2], out = s.out[0] * s.out[1] * s.out[2];
  const std::vector<T> x = Numbers<T>(s.planes * in * s.pixel, r);
  std::vector<T> y(static_cast<size_t>(s.planes * out * s.pixel) + 16, static_cast<T>(77.0f));
  const int64_t rows = s.Rows(), step = r.Int(1, rows);
  for (int64_t end = rows; end > 0; end -= step)
    kernels.windows(s, kind, x.data(), y.data(), std::max<int64_t>(0, end - step), end);
  int64_t o[3], at = 0;
  for (int64_t p = 0; p < s.planes; ++p) {
    for (o[0] = 0; o[0] < s.out[0]; ++o[0]) {
      for (o[1] = 0; o[1] < s.out[1]; ++o[1]) {
        for (o[2] = 0; o[2] < s.out[2]; ++o[2]) {
          for (int64_t c = 0; c < s.pixel; ++c, ++at) {
            const Truth t = At(s, kind == PoolKind::kMax, x.data() + p * in * s.pixel, o, c);
            const float got = static_cast<float>(y[static_cast<size_t>(at)]);
            if (kind == PoolKind::kMax) {
              ASSERT_EQ(got, t.taps ? static_cast<float>(t.value) : -kInfinity) << at;
              continue;
            }
            const int64_t count = kind == PoolKind::kAveragePadded ? t.padded : t.taps;
            const double want = t.taps ? t.value / static_cast<double>(count) : 0;
            ASSERT_NEAR(got, want, Error<T>(want)) << at;
          }
        }
      }
    }
  }
  for (size_t i = static_cast<size_t>(at); i < y.size(); ++i)
    ASSERT_EQ(static_cast<float>(y[i]), 77.0f);
}

TEST(Pool, RandomWindows) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random r{std::mt19937(seed)};
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  for (int cases = 0; (cases <= 30 || std::chrono::steady_clock::now() < end) && !HasFatalFailure();
       ++cases) {
    PoolShape s;
    s.planes = r.Int(1, 3);
    s.pixel = r.Chance(0.4) ? 16 : r.Int(1, 100);
    std::string name = std::to_string(s.planes) + " x " + std::to_string(s.pixel);
    for (int d = r.Chance(0.2) ? 0 : 1; d < 3; ++d) {
      s.kernel[d] = r.Int(1, 5);
      s.stride[d] = r.Int(1, 3);
      s.dilation[d] = r.Chance(0.2) ? r.Int(1, 3) : 1;
      s.in[d] = r.Int(1, d == 0 ? 5 : 14);
      // Sometimes more padding than the window is wide, a cut, or a window beyond the padding.
      s.pad_begin[d] = r.Int(-1, s.kernel[d]);
      s.pad_end[d] = r.Int(0, s.kernel[d]);
      const int64_t left =
          s.in[d] + s.pad_begin[d] + s.pad_end[d] - ((s.kernel[d] - 1) * s.dilation[d] + 1);
      s.out[d] = std::max<int64_t>(1, left / s.stride[d] + 1 + r.Int(0, 1));
      for (const int64_t v : {s.in[d], s.out[d], s.kernel[d], s.stride[d], s.dilation[d],
                              s.pad_begin[d], s.pad_end[d]})
        name += " " + std::to_string(v);
    }
    SCOPED_TRACE(name);
    const auto kind = static_cast<PoolKind>(r.Int(0, 2));
    ForAll([&](const PoolKernels& k, auto t, const std::string& isa) {
      SCOPED_TRACE(isa);
      CheckWindows<decltype(t)>(k, s, kind, r);
    });
  }
}

// As the plain loops have it: the first tap stays when it is NaN, others are never greater.
TEST(Pool, NotANumber) {
  PoolShape s;
  s.planes = 1, s.pixel = 16, s.in[2] = 9, s.kernel[2] = 3, s.out[2] = 7;
  ForAll([&](const PoolKernels& k, auto t, const std::string& isa) {
    using T = decltype(t);
    SCOPED_TRACE(isa);
    std::vector<T> x(16 * 9, static_cast<T>(1.0f)), y(16 * 7);
    x[16 * 4 + 5] = static_cast<T>(std::numeric_limits<float>::quiet_NaN());
    k.windows(s, PoolKind::kMax, x.data(), y.data(), 0, 1);
    for (size_t i = 0; i < y.size(); ++i) {
      const float v = static_cast<float>(y[i]);
      EXPECT_TRUE(i == 16 * 4 + 5 ? std::isnan(v) : v == 1.0f) << i << ": " << v;
    }
    k.windows(s, PoolKind::kAverage, x.data(), y.data(), 0, 1);
    for (size_t i = 0; i < y.size(); ++i) {
      const bool reached = i % 16 == 5 && i / 16 >= 2 && i / 16 <= 4;
      EXPECT_EQ(std::isnan(static_cast<float>(y[i])), reached) << i;
    }
  });
}

TEST(Pool, SumsAndScale) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random r{std::mt19937(seed)};
  for (int i = 0; i < 60 && !HasFatalFailure(); ++i) {
    const int64_t channels = r.Chance(0.3) ? 16 : r.Int(1, 150), pixels = r.Int(1, 40),
                  stride = channels + (r.Chance(0.5) ? r.Int(0, 20) : 0);
    SCOPED_TRACE(std::to_string(channels) + " channels " + std::to_string(pixels) + " pixels");
    ForAll([&](const PoolKernels& k, auto t, const std::string& isa) {
      using T = decltype(t);
      SCOPED_TRACE(isa);
      const std::vector<T> x = Numbers<T>(pixels * stride, r);
      const std::vector<float> factors = Numbers<float>(channels, r);
      std::vector<float> sums(static_cast<size_t>(channels) + 1, 77);
      k.sums(x.data(), pixels, stride, sums.data(), channels);
      ASSERT_EQ(sums.back(), 77);
      for (int64_t c = 0; c < channels; ++c) {
        double want = 0;
        for (int64_t p = 0; p < pixels; ++p)
          want += static_cast<double>(static_cast<float>(x[static_cast<size_t>(p * stride + c)]));
        ASSERT_NEAR(sums[static_cast<size_t>(c)], want, 1e-4);
      }
      std::vector<T> y = x;
      k.scale(y.data(), pixels, stride, factors.data(), y.data(), channels);
      for (int64_t p = 0; p < pixels; ++p) {
        for (int64_t c = 0; c < stride; ++c) {
          const auto at = static_cast<size_t>(p * stride + c);
          const float f = c < channels ? factors[static_cast<size_t>(c)] : 1.0f;
          ASSERT_EQ(static_cast<float>(y[at]),
                    static_cast<float>(static_cast<T>(static_cast<float>(x[at]) * f)))
              << p << ", " << c;
        }
      }
    });
  }
}

}  // namespace
}  // namespace slipway::kernels
