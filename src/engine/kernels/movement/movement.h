#pragma once
// Moving elements between two strided N-dimensional boxes: transposes, concatenation, slices,
// padding, repetition are all this.

#include <cstdint>
#include <span>

#include "base/dims.h"
#include "base/parallel.h"

namespace slipway::kernels {

// A copy of a box of `dims` elements: element (i0, i1, ...) goes from sum(ik * src_stride[k]) to
// sum(ik * dst_stride[k]); strides in elements, of any sign, 0 in the source repeats. Rank at most
// 2 * kMaxRank. Neighbouring dimensions are merged, and the innermost is the destination's (or the
// source's) contiguous one.
class CopyPlan {
 public:
  static constexpr int kMax = 2 * kMaxRank;
  struct Axis {
    int64_t size, src, dst;
  };
  CopyPlan() = default;
  // element: 1, 2, 4 or 8 bytes. Dimensions in any order.
  CopyPlan(int element, std::span<const Axis> axes);

  // `src` and `dst` are where element (0, 0, ...) lies. The destination's elements must be
  // distinct.
  void Run(const void* src, void* dst, Parallel* parallel) const;
  int64_t count() const { return count_; }

 private:
  template <typename T>
  void RunAs(const T* src, T* dst, Parallel* parallel) const;

  int element_ = 1;
  int rank_ = 0;
  Axis axes_[kMax];  // outermost first; the last one or two are copied by the inner loops
  int64_t count_ = 1;
};

// dst[p, c] = src[p, index[c]] for rows of `from` elements and `to` of them; `element` as above.
struct GatherPlan {
  int element = 1;
  int64_t rows = 0, from = 0, to = 0;
  const int32_t* index = nullptr;  // [to], each in [0, from)
  bool pairs = false;  // from Pairs()

  // Whether elements alternate between two runs of neighbours, as a shuffle of two groups has it.
  static bool Pairs(const int32_t* index, int64_t count);
  void Run(const void* src, void* dst, Parallel* parallel) const;
};

// dst[i] = value for `count` elements of `element` bytes.
void Fill(void* dst, int64_t count, const void* value, int element, Parallel* parallel);

}  // namespace slipway::kernels
