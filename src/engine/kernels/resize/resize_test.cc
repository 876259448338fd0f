// Every function of every instruction set against plain loops in float32, bit for bit.

#include "engine/kernels/resize/resize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/float16.h"
#include "engine/kernels/resize/table.h"
#include "engine/kernels/simd/random_test_util.h"

namespace slipway::kernels {
namespace {

template <typename T>
constexpr ResizeType kTypeOf = std::is_same_v<T, float>     ? ResizeType::kFloat32
                               : std::is_same_v<T, uint8_t> ? ResizeType::kUInt8
                               : std::is_same_v<T, int8_t>  ? ResizeType::kInt8
                                                            : ResizeType::kBFloat16;

template <typename T>
T Value(Random& r) {
  if constexpr (sizeof(T) == 1) {
    return static_cast<T>(r.Int(0, 255));
  } else {
    return static_cast<T>(r.Real(-4, 4));
  }
}
template <typename T>
std::vector<T> Values(int64_t n, Random& r) {
  std::vector<T> v(static_cast<size_t>(n));
  for (T& x : v) x = Value<T>(r);
  return v;
}
template <typename T>
float Real(T x, int32_t zero) {
  if constexpr (sizeof(T) == 1) return static_cast<float>(static_cast<int32_t>(x) - zero);
  return static_cast<float>(x);
}
template <typename T>
T Finished(float v, const ResizeFinish& f) {
  if constexpr (sizeof(T) == 1) {
    v *= f.multiplier;
    if (std::isnan(v)) return static_cast<T>(f.lo);
    return static_cast<T>(std::clamp(std::nearbyint(static_cast<double>(v)) + f.zero_point,
                                     static_cast<double>(f.lo), static_cast<double>(f.hi)));
  } else {
    return static_cast<T>(v);
  }
}
template <typename T>
bool Same(T a, T b) {
  const float x = static_cast<float>(a), y = static_cast<float>(b);
  return x == y || (std::isnan(x) && std::isnan(y));
}

// f(kernels, isa, name) for all that this CPU has.
template <typename F>
void ForAll(const F& f) {
  for (int i = 0; i <= static_cast<int>(BestIsa()); ++i) {
    const Isa isa = static_cast<Isa>(i);
    SCOPED_TRACE(IsaName(isa));
    f(GetResize(isa), isa);
  }
}
template <typename F>
void ForSeconds(double seconds, const F& f) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random r{std::mt19937(seed)};
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  for (int cases = 0;
       (cases <= 20 || std::chrono::steady_clock::now() < end) && !testing::Test::HasFatalFailure();
       ++cases)
    f(r);
}

template <typename T>
void CheckRows(const ResizeKernels& k, Random& r) {
  const auto run = k.rows[static_cast<int>(kTypeOf<T>)];
  if (!run) return;
  const int64_t taps = r.Chance(0.6) ? 2 : r.Int(0, 6), n = r.Int(1, 150);
  SCOPED_TRACE(std::to_string(taps) + " taps " + std::to_string(n));
  const int32_t zero = sizeof(T) == 1 ? static_cast<int32_t>(r.Int(-100, 200)) : 0;
  std::vector<std::vector<T>> x;
  std::vector<const void*> pointers;
  std::vector<float> weight;
  for (int64_t t = 0; t < taps; ++t) {
    x.push_back(Values<T>(n, r));
    weight.push_back(r.Real(-1, 2));
  }
  for (const auto& row : x) pointers.push_back(row.data());
  std::vector<float> s(static_cast<size_t>(n) + 1, 77);
  run(pointers.data(), weight.data(), taps, n, zero, s.data());
  for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
    float want = 0;
    for (size_t t = 0; t < x.size(); ++t) want += weight[t] * Real(x[t][i], zero);
    ASSERT_EQ(s[i], want) << i;
  }
  ASSERT_EQ(s.back(), 77);
}

TEST(Resize, RowsAreSums) {
  ForSeconds(1, [](Random& r) {
    ForAll([&](const ResizeKernels& k, Isa) {
      CheckRows<float>(k, r);
      CheckRows<uint8_t>(k, r);
      CheckRows<int8_t>(k, r);
      CheckRows<BFloat16>(k, r);
    });
  });
}

ResizeColumnTable RandomColumns(Random& r) {
  ResizeColumnTable c;
  c.in = r.Int(1, 50);
  c.out = r.Int(1, 80);
  c.taps = r.Chance(0.6) ? 2 : r.Int(1, 5);
  const bool sorted = r.Chance(0.7), zeros = r.Chance(0.5);
  for (int64_t o = 0; o < c.out; ++o) {
    const int64_t first = sorted ? o * c.in / c.out : r.Int(0, c.in - 1);
    for (int64_t t = 0; t < c.taps; ++t) {
      c.index.push_back(static_cast<int32_t>(std::min(first + t, c.in - 1)));
      c.weight.push_back(zeros && r.Chance(0.2) ? 0.0f : r.Real(-1, 2));
    }
  }
  c.pairs = c.taps == 2 && !zeros;
  return c;
}

template <typename T>
void CheckColumns(const ResizeKernels& k, ResizeColumnTable c, Isa isa, Random& r) {
  const auto run = k.columns[static_cast<int>(kTypeOf<T>)];
  if (!run) return;
  const int64_t channels = r.Chance(0.3) ? 1 : r.Chance(0.3) ? 16 : r.Int(2, 70);
  if (channels == 1) c.MakeLine(isa);
  SCOPED_TRACE(std::to_string(c.in) + " to " + std::to_string(c.out) + ", " +
               std::to_string(c.taps) + " taps, " + std::to_string(channels) + " channels");
  ResizeFinish f;
  if constexpr (sizeof(T) == 1) {
    const int low = std::is_signed_v<T> ? -128 : 0;
    f.zero_point = static_cast<int32_t>(r.Int(low, low + 255));
    f.lo = low + static_cast<int32_t>(r.Int(0, 20));
    f.hi = low + static_cast<int32_t>(r.Int(150, 255));
    f.multiplier = r.Real(0.1f, 60);
  }
  std::vector<float> s = Values<float>(c.in * channels + kResizePadding, r);
  for (float& v : s) {
    if (r.Chance(0.02)) v = std::numeric_limits<float>::infinity();
    if (r.Chance(0.02)) v = std::numeric_limits<float>::quiet_NaN();
    if (r.Chance(0.2)) v = std::round(v * 2) / 2;
  }
  const T guard = static_cast<T>(77);
  std::vector<T> y(static_cast<size_t>(c.out * channels) + 1, guard);
  run(c.View(), s.data(), channels, y.data(), f);
  for (int64_t o = 0; o < c.out; ++o) {
    for (int64_t i = 0; i < channels; ++i) {
      const T got = y[static_cast<size_t>(o * channels + i)];
      float want = 0;
      for (int64_t t = 0; t < c.taps; ++t) {
        const auto at = static_cast<size_t>(o * c.taps + t);
        if (c.weight[at] != 0)
          want += c.weight[at] * s[static_cast<size_t>(c.index[at] * channels + i)];
      }
      ASSERT_TRUE(Same(got, Finished<T>(want, f)))
          << o << ", " << i << ": " << static_cast<float>(got) << " of " << want;
    }
  }
  ASSERT_TRUE(Same(y.back(), guard));
}

TEST(Resize, ColumnsAreFinishedSums) {
  ForSeconds(2, [](Random& r) {
    ForAll([&](const ResizeKernels& k, Isa isa) {
      const ResizeColumnTable c = RandomColumns(r);
      CheckColumns<float>(k, c, isa, r);
      CheckColumns<uint8_t>(k, c, isa, r);
      CheckColumns<int8_t>(k, c, isa, r);
      CheckColumns<BFloat16>(k, c, isa, r);
    });
  });
}

// Weights of 2^-n: the same codes as by float32.
TEST(Resize, ShortSumsAreExact) {
  ForSeconds(1, [](Random& r) {
    ForAll([&](const ResizeKernels& k, Isa) {
      const int row_bits = static_cast<int>(r.Int(0, 4)), bits = static_cast<int>(r.Int(0, 4));
      const auto split = [&](int64_t taps, int n, std::vector<uint16_t>& whole,
                             std::vector<float>& real) {
        int64_t left = int64_t{1} << n;
        for (int64_t t = 0; t < taps; ++t) {
          const int64_t w = t + 1 == taps ? left : r.Int(0, left);
          left -= w;
          whole.push_back(static_cast<uint16_t>(w));
          real.push_back(static_cast<float>(w) / static_cast<float>(1 << n));
        }
      };
      const int64_t row_taps = r.Chance(0.6) ? 2 : r.Int(1, 4), channels = r.Int(2, 150);
      ResizeColumnTable c = RandomColumns(r);
      c.weight.clear();
      c.pairs = false;
      std::vector<uint16_t> row_weight, weight;
      std::vector<float> row_real;
      split(row_taps, row_bits, row_weight, row_real);
      for (int64_t o = 0; o < c.out; ++o) split(c.taps, bits, weight, c.weight);
      const bool is_signed = r.Chance(0.5);
      const int32_t flip = is_signed ? 128 : 0, zero = static_cast<int32_t>(r.Int(0, 255)) - flip,
                    lo = static_cast<int32_t>(r.Int(0, 60)) - flip,
                    hi = static_cast<int32_t>(r.Int(180, 255)) - flip;
      std::vector<std::vector<uint8_t>> x;
      std::vector<const void*> from;
      for (int64_t t = 0; t < row_taps; ++t) x.push_back(Values<uint8_t>(c.in * channels, r));
      for (const auto& row : x) from.push_back(row.data());
      std::vector<float> sums(static_cast<size_t>(c.in * channels + kResizePadding));
      std::vector<uint16_t> shorts(static_cast<size_t>(c.in * channels + 2 * kResizePadding));
      std::vector<uint8_t> want(static_cast<size_t>(c.out * channels) + 1, 77), got = want;
      const int type = static_cast<int>(is_signed ? ResizeType::kInt8 : ResizeType::kUInt8);
      k.rows[type](from.data(), row_real.data(), row_taps, c.in * channels, zero, sums.data());
      k.columns[type](c.View(), sums.data(), channels, want.data(), {1, zero, lo, hi});
      k.short_rows(from.data(), row_weight.data(), row_taps, c.in * channels,
                   static_cast<uint8_t>(flip), shorts.data());
      k.short_columns(
          c.View(), weight.data(), shorts.data(), channels, got.data(),
          {row_bits + bits, zero + flip, lo + flip, hi + flip, static_cast<uint8_t>(flip)});
      ASSERT_EQ(want, got) << row_bits << " and " << bits << " bits, " << channels << " channels";
    });
  });
}

// Enlarging takes vectors of outputs from one vector of inputs; the nearest of them all the same.
TEST(Resize, LinesAreMadeWhereTheyFit) {
  ResizeColumnTable c;
  c.in = 20, c.out = 40, c.taps = 2;
  for (int32_t o = 0; o < 40; ++o) {
    c.index.insert(c.index.end(), {o / 2, std::min(o / 2 + 1, 19)});
    c.weight.insert(c.weight.end(), {0.75f, 0.25f});
  }
  ResizeColumnTable wide = c;
  wide.MakeLine(Isa::kAvx512);
  EXPECT_EQ(wide.lanes, 16);
  EXPECT_EQ(wide.start, (std::vector<int32_t>{0, 4, 4}));
  c.in = 40, c.out = 20;
  for (size_t o = 0; o < 20; ++o) {
    c.index[2 * o] = static_cast<int32_t>(2 * o);
    c.index[2 * o + 1] = static_cast<int32_t>(2 * o + 1);
  }
  c.index.resize(40);
  c.weight.resize(40);
  c.MakeLine(Isa::kAvx512);
  EXPECT_EQ(c.lanes, 0);
  c.MakeLine(Isa::kBaseline);
  EXPECT_EQ(c.lanes, 0);
}

TEST(Resize, CopiesPixels) {
  ForSeconds(1, [](Random& r) {
    ResizeColumnTable c;
    c.doubled = r.Chance(0.4);
    c.out = r.Int(1, 90);
    c.in = c.doubled ? (c.out + 1) / 2 : r.Int(1, 40);
    for (int64_t o = 0; o < c.out; ++o)
      c.index.push_back(static_cast<int32_t>(c.doubled ? o / 2 : r.Int(0, c.in - 1)));
    const int64_t bytes = r.Chance(0.5)   ? int64_t{1} << r.Int(0, 3)
                          : r.Chance(0.5) ? 64
                                          : r.Int(1, 300);
    SCOPED_TRACE(std::to_string(bytes) + " bytes");
    const std::vector<uint8_t> x = Values<uint8_t>(c.in * bytes, r);
    ForAll([&](const ResizeKernels& k, Isa) {
      const int64_t times = r.Int(1, 3);
      std::vector<uint8_t> y(static_cast<size_t>(times * c.out * bytes) + 1, 77);
      k.copy(c.View(), x.data(), bytes, times, y.data());
      for (int64_t o = 0; o < times * c.out; ++o) {
        ASSERT_EQ(0, std::memcmp(y.data() + o * bytes,
                                 x.data() + c.index[static_cast<size_t>(o % c.out)] * bytes,
                                 static_cast<size_t>(bytes)))
            << o;
      }
      ASSERT_EQ(y.back(), 77);
    });
  });
}

}  // namespace
}  // namespace slipway::kernels
