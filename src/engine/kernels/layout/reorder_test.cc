#include "engine/kernels/layout/reorder.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "base/thread_pool.h"

namespace slipway::kernels {
namespace {

using format::Layout;

// The definition: element (n, c, s) of each layout, one at a time.
int64_t Index(Layout layout, int64_t n, int64_t c, int64_t s, int64_t channels, int64_t spatial) {
  switch (layout) {
    case Layout::kPlain: return (n * channels + c) * spatial + s;
    case Layout::kChannelsLast: return (n * spatial + s) * channels + c;
    default: {
      const int64_t b = format::ChannelBlock(layout);
      return ((n * CeilDiv(channels, b) + c / b) * spatial + s) * b + c % b;
    }
  }
}

std::vector<uint8_t> Expected(const std::vector<uint8_t>& src, DType dtype, const Dims& dims, Layout from, Layout to) {
  const size_t size = DTypeBytes(dtype, 1);
  std::vector<uint8_t> dst(static_cast<size_t>(*format::LayoutBytes(dtype, dims, to)), 0);
  const int64_t spatial = dims.count(2, dims.rank());
  for (int64_t n = 0; n < dims[0]; ++n) {
    for (int64_t c = 0; c < dims[1]; ++c) {
      for (int64_t s = 0; s < spatial; ++s) {
        std::memcpy(&dst[static_cast<size_t>(Index(to, n, c, s, dims[1], spatial)) * size],
                    &src[static_cast<size_t>(Index(from, n, c, s, dims[1], spatial)) * size], size);
      }
    }
  }
  return dst;
}

TEST(Reorder, EveryPairOfLayoutsAndElementSize) {
  ThreadPool pool({.threads = 3});
  std::mt19937 random(7);
  const Dims shapes[] = {{1, 3, 5, 7},   {2, 16, 4, 4},  {1, 17, 1, 1}, {3, 8, 9},     {1, 64, 14, 14},
                         {2, 1, 65},     {1, 33, 13, 2}, {1, 7, 1, 3, 11}, {0, 4, 4, 4}, {2, 0, 3, 3},
                         {1, 4, 0, 2},   {1, 100, 129}};
  for (const Dims& dims : shapes) {
    for (DType dtype : {DType::kUInt8, DType::kFloat16, DType::kFloat32, DType::kInt64}) {
      for (int from = 0; from < format::kLayoutCount; ++from) {
        for (int to = 0; to < format::kLayoutCount; ++to) {
          const auto f = static_cast<Layout>(from), t = static_cast<Layout>(to);
          ASSERT_TRUE(CheckReorder(dtype, dims, f, t).ok());
          // Padding of the source is garbage on purpose, except where layouts are equal and it is copied.
          std::vector<uint8_t> src(static_cast<size_t>(*format::LayoutBytes(dtype, dims, f)));
          for (uint8_t& b : src) b = static_cast<uint8_t>(random());
          const std::vector<uint8_t> expected = f == t ? src : Expected(src, dtype, dims, f, t);
          for (Parallel* parallel : {static_cast<Parallel*>(nullptr), static_cast<Parallel*>(&pool)}) {
            std::vector<uint8_t> dst(expected.size() + 64, 0xEE);
            Reorder(dtype, dims, f, src.data(), t, dst.data(), parallel);
            for (size_t i = expected.size(); i < dst.size(); ++i) ASSERT_EQ(dst[i], 0xEE) << "writes behind the end";
            dst.resize(expected.size());
            ASSERT_EQ(dst, expected) << dims.ToString() << " " << DTypeName(dtype) << " " << format::LayoutName(f) << " to "
                                     << format::LayoutName(t);
          }
        }
      }
    }
  }
}

TEST(Reorder, RefusesWhatHasNoLayout) {
  EXPECT_EQ(CheckReorder(DType::kFloat32, {3, 4}, Layout::kPlain, Layout::kBlocked8).code(), StatusCode::kUnsupported);
  EXPECT_EQ(CheckReorder(DType::kInt4, {1, 4, 4, 4}, Layout::kPlain, Layout::kChannelsLast).code(), StatusCode::kUnsupported);
  EXPECT_TRUE(CheckReorder(DType::kInt4, {1, 4, 4, 4}, Layout::kPlain, Layout::kPlain).ok());
  EXPECT_TRUE(CheckReorder(DType::kFloat32, {3, 4}, Layout::kPlain, Layout::kPlain).ok());
}

}  // namespace
}  // namespace slipway::kernels
