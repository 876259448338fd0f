#include "engine/kernels/movement/movement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "base/thread_pool.h"

namespace slipway::kernels {
namespace {

// Random boxes against the definition: every element goes where its strides say.
template <typename T>
void RandomBoxes(uint32_t seed) {
  std::mt19937 random(seed);
  ThreadPool pool({.threads = 2});
  for (int round = 0; round < 60; ++round) {
    const int rank = static_cast<int>(random() % 6);
    std::vector<CopyPlan::Axis> axes;
    std::vector<int> order;
    for (int i = 0; i < rank; ++i) {
      axes.push_back(
          {static_cast<int64_t>(random() % 4 == 0 ? random() % 60 : random() % 7 + 1), 0, 0});
      order.push_back(i);
    }
    // A dense destination in one order, a source in another, with a repeated, reversed or padded
    // axis now and then.
    auto assign = [&](int64_t CopyPlan::Axis::*stride, bool source) {
      std::shuffle(order.begin(), order.end(), random);
      int64_t step = 1, low = 0, high = 0;
      for (int i : order) {
        CopyPlan::Axis& a = axes[static_cast<size_t>(i)];
        const bool repeat = source && random() % 6 == 0, reverse = source && random() % 6 == 0;
        a.*stride = repeat ? 0 : reverse ? -step : step;
        const int64_t reach = a.*stride * std::max<int64_t>(a.size - 1, 0);
        (reach < 0 ? low : high) += reach;
        if (!repeat) step *= std::max<int64_t>(a.size, 1) + static_cast<int64_t>(random() % 3 == 0);
      }
      return std::pair(-low, high - low + 1);  // where (0, ...) lies, elements in all
    };
    const auto [src_at, src_count] = assign(&CopyPlan::Axis::src, true);
    const auto [dst_at, dst_count] = assign(&CopyPlan::Axis::dst, false);
    std::vector<T> src(static_cast<size_t>(src_count)), got(static_cast<size_t>(dst_count), T{99}),
        want = got;
    for (T& v : src) v = static_cast<T>(random());
    int64_t total = 1;
    for (const auto& a : axes) total *= a.size;
    for (int64_t i = 0; i < total; ++i) {
      int64_t rest = i, s = src_at, d = dst_at;
      for (const auto& a : axes) {
        s += rest % a.size * a.src;
        d += rest % a.size * a.dst;
        rest /= a.size;
      }
      want[static_cast<size_t>(d)] = src[static_cast<size_t>(s)];
    }
    CopyPlan plan(sizeof(T), axes);
    EXPECT_EQ(plan.count(), total);
    plan.Run(src.data() + src_at, got.data() + dst_at, round % 2 ? &pool : nullptr);
    ASSERT_EQ(got, want) << "seed " << seed << " round " << round;
  }
}

TEST(Movement, RandomBoxes) {
  const uint32_t seed = std::random_device{}();
  RandomBoxes<uint8_t>(seed);
  RandomBoxes<uint16_t>(seed + 1);
  RandomBoxes<uint32_t>(seed + 2);
  RandomBoxes<uint64_t>(seed + 3);
}

TEST(Movement, LargeTransposeOnThreads) {
  ThreadPool pool({.threads = 2});
  const int64_t rows = 301, columns = 517;
  std::vector<float> x(static_cast<size_t>(rows * columns)), y(x.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  const CopyPlan::Axis axes[] = {{columns, 1, rows}, {rows, columns, 1}};
  CopyPlan(4, axes).Run(x.data(), y.data(), &pool);
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t r = 0; r < rows; ++r)
      ASSERT_EQ(y[static_cast<size_t>(c * rows + r)], x[static_cast<size_t>(r * columns + c)]);
  }
}

TEST(Movement, Fill) {
  std::vector<uint16_t> x(1000, 1);
  const uint16_t value = 0xABCD;
  Fill(x.data(), 999, &value, 2, nullptr);
  EXPECT_EQ(x[998], value);
  EXPECT_EQ(x[999], 1);
}

}  // namespace
}  // namespace slipway::kernels
