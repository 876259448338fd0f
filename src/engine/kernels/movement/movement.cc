#include "engine/kernels/movement/movement.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "engine/kernels/layout/transpose.h"

namespace slipway::kernels {

namespace {

template <size_t kBytes>
void CopyBlock(uint8_t* d, const uint8_t* s) {
  std::memcpy(d, s, kBytes);
}

// Rows of a pixel's channels are often shorter than what a call of memcpy costs.
void CopyRow(uint8_t* d, const uint8_t* s, size_t bytes) {
  if (bytes > 128) {
    std::memcpy(d, s, bytes);
  } else if (bytes >= 16) {
    for (size_t i = 0; i + 16 <= bytes; i += 16) CopyBlock<16>(d + i, s + i);
    CopyBlock<16>(d + bytes - 16, s + bytes - 16);  // the tail overlaps
  } else if (bytes >= 8) {
    CopyBlock<8>(d, s);
    CopyBlock<8>(d + bytes - 8, s + bytes - 8);
  } else if (bytes >= 4) {
    CopyBlock<4>(d, s);
    CopyBlock<4>(d + bytes - 4, s + bytes - 4);
  } else {
    for (size_t i = 0; i < bytes; ++i) d[i] = s[i];
  }
}

}  // namespace

CopyPlan::CopyPlan(int element, std::span<const Axis> axes) : element_(element) {
  // In the destination's order; an axis joins its outer neighbour when both walk the same way in
  // one step.
  Axis sorted[kMax];
  int n = 0;
  for (const Axis& a : axes) {
    count_ *= a.size;
    if (a.size == 1) continue;
    int at = n++;
    for (; at > 0 && std::abs(sorted[at - 1].dst) < std::abs(a.dst); --at)
      sorted[at] = sorted[at - 1];
    sorted[at] = a;
  }
  for (int i = 0; i < n; ++i) {
    const Axis& a = sorted[i];
    if (rank_ > 0) {
      Axis& outer = axes_[rank_ - 1];
      if (outer.src == a.src * a.size && outer.dst == a.dst * a.size) {
        outer = {outer.size * a.size, a.src, a.dst};
        continue;
      }
    }
    axes_[rank_++] = a;
  }
  if (rank_ == 0) axes_[rank_++] = {1, 1, 1};
  // The destination's contiguous axis goes last; the source's, when it is another one, next to it:
  // together they are a transpose.
  auto move_last = [&](int from, int to) {
    std::rotate(axes_ + from, axes_ + from + 1, axes_ + to + 1);
  };
  int inner = rank_ - 1;
  for (int i = 0; i < rank_; ++i) {
    if (axes_[i].dst == 1) inner = i;
  }
  move_last(inner, rank_ - 1);
  if (rank_ > 1 && axes_[rank_ - 1].src != 1) {
    for (int i = 0; i + 1 < rank_; ++i) {
      if (axes_[i].src == 1) {
        move_last(i, rank_ - 2);
        break;
      }
    }
  }
}

template <typename T>
void CopyPlan::RunAs(const T* src, T* dst, Parallel* parallel) const {
  const Axis& x = axes_[rank_ - 1];
  const bool transpose = rank_ > 1 && x.dst == 1 && x.src != 1 && axes_[rank_ - 2].src == 1;
  const int outer_rank = rank_ - (transpose ? 2 : 1);
  // A transpose is cut into tiles of its longer side so that threads have something to share.
  const Axis y = transpose ? axes_[rank_ - 2] : Axis{1, 0, 0};
  const int64_t tile =
      transpose ? std::max<int64_t>(16, 4096 / std::max<int64_t>(x.size, 1) / 16 * 16) : 1;
  const int64_t tiles = transpose ? (y.size + tile - 1) / tile : 1;
  int64_t outer = tiles;
  for (int i = 0; i < outer_rank; ++i) outer *= axes_[i].size;
  const int64_t elements =
      std::max<int64_t>(1, transpose ? std::min(tile, y.size) * x.size : x.size);

  auto body = [&](int64_t begin, int64_t end) {
    // The position of `begin`, then counting up.
    int64_t index[kMax];
    int64_t rest = begin / tiles, part = begin % tiles;
    const T* s = src;
    T* d = dst;
    for (int i = outer_rank - 1; i >= 0; --i) {
      index[i] = rest % axes_[i].size;
      rest /= axes_[i].size;
      s += index[i] * axes_[i].src;
      d += index[i] * axes_[i].dst;
    }
    for (int64_t at = begin; at < end; ++at) {
      if (transpose) {
        const int64_t from = part * tile, rows = std::min(tile, y.size - from);
        // dst[r * y.dst + c] = src[c * x.src + r]
        Transpose(s + from, x.src, x.size, rows, d + from * y.dst, y.dst);
        if (++part < tiles) continue;
        part = 0;
      } else if (x.dst == 1 && x.src == 1) {
        CopyRow(reinterpret_cast<uint8_t*>(d), reinterpret_cast<const uint8_t*>(s),
                static_cast<size_t>(x.size) * sizeof(T));
      } else if (x.dst == 1 && x.src == 0) {
        std::fill(d, d + x.size, *s);
      } else {
        for (int64_t i = 0; i < x.size; ++i) d[i * x.dst] = s[i * x.src];
      }
      for (int i = outer_rank - 1; i >= 0; --i) {
        s += axes_[i].src;
        d += axes_[i].dst;
        if (++index[i] < axes_[i].size) break;
        s -= axes_[i].size * axes_[i].src;
        d -= axes_[i].size * axes_[i].dst;
        index[i] = 0;
      }
    }
  };
  const int64_t grain = std::max<int64_t>(1, 32768 / elements);
  // One long row has no outer dimension to share.
  if (outer == 1 && !transpose && x.dst == 1 && x.src == 1 && parallel) {
    parallel->ParallelFor(x.size, 1 << 16, [&](int64_t begin, int64_t end) {
      std::memcpy(dst + begin, src + begin, static_cast<size_t>(end - begin) * sizeof(T));
    });
  } else if (parallel && outer > grain) {
    parallel->ParallelFor(outer, grain, body);
  } else {
    body(0, outer);
  }
}

void CopyPlan::Run(const void* src, void* dst, Parallel* parallel) const {
  if (count_ == 0) return;
  switch (element_) {
    case 1:
      RunAs(static_cast<const uint8_t*>(src), static_cast<uint8_t*>(dst), parallel);
      return;
    case 2:
      RunAs(static_cast<const uint16_t*>(src), static_cast<uint16_t*>(dst), parallel);
      return;
    case 4:
      RunAs(static_cast<const uint32_t*>(src), static_cast<uint32_t*>(dst), parallel);
      return;
    default:
      RunAs(static_cast<const uint64_t*>(src), static_cast<uint64_t*>(dst), parallel);
      return;
  }
}

void Fill(void* dst, int64_t count, const void* value, int element, Parallel* parallel) {
  auto fill = [&]<typename T>(T* to) {
    T v;
    std::memcpy(&v, value, sizeof v);
    auto body = [&](int64_t begin, int64_t end) { std::fill(to + begin, to + end, v); };
    if (parallel) {
      parallel->ParallelFor(count, 1 << 16, body);
    } else {
      body(0, count);
    }
  };
  switch (element) {
    case 1:
      fill(static_cast<uint8_t*>(dst));
      return;
    case 2:
      fill(static_cast<uint16_t*>(dst));
      return;
    case 4:
      fill(static_cast<uint32_t*>(dst));
      return;
    default:
      fill(static_cast<uint64_t*>(dst));
      return;
  }
}

bool GatherPlan::Pairs(const int32_t* index, int64_t count) {
  if (count < 4) return false;
  for (int64_t i = 2; i < count; ++i) {
    if (index[i] != index[i - 2] + 1) return false;
  }
  return true;
}

namespace {

template <typename T>
void GatherRows(const GatherPlan& g, const T* src, T* dst, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const T* s = src + row * g.from;
    T* __restrict d = dst + row * g.to;
    int64_t i = 0;
    if (g.pairs) {
      const T *a = s + g.index[0], *b = s + g.index[1];
      const int64_t pairs = g.to / 2;
      for (int64_t k = 0; k < pairs; ++k) {
        d[2 * k] = a[k];
        d[2 * k + 1] = b[k];
      }
      i = pairs * 2;
    }
    for (; i < g.to; ++i) d[i] = s[g.index[i]];
  }
}

}  // namespace

void GatherPlan::Run(const void* src, void* dst, Parallel* parallel) const {
  const auto body = [&](int64_t begin, int64_t end) {
    switch (element) {
      case 1:
        return GatherRows(*this, static_cast<const uint8_t*>(src), static_cast<uint8_t*>(dst),
                          begin, end);
      case 2:
        return GatherRows(*this, static_cast<const uint16_t*>(src), static_cast<uint16_t*>(dst),
                          begin, end);
      case 4:
        return GatherRows(*this, static_cast<const uint32_t*>(src), static_cast<uint32_t*>(dst),
                          begin, end);
      default:
        return GatherRows(*this, static_cast<const uint64_t*>(src), static_cast<uint64_t*>(dst),
                          begin, end);
    }
  };
  const int64_t grain = std::max<int64_t>(1, 32768 / std::max<int64_t>(1, to));
  if (parallel)
    parallel->ParallelFor(rows, grain, body);
  else
    body(0, rows);
}

}  // namespace slipway::kernels
