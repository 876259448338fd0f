#include "engine/kernels/layout/reorder.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "engine/kernels/layout/transpose.h"

namespace slipway::kernels {
namespace {

using format::Layout;

constexpr int64_t kTile = 64;             // spatial positions a task handles at a time
constexpr int64_t kGrainBytes = 1 << 15;  // work that is worth a thread

// Every layout is [N, ceil(C / block), S, block] with S the product of the spatial extents: block 1 is plain, block C is channels last.
struct Shape {
  int64_t n, c, s;
  int64_t from, to;  // blocks
};

template <typename F>
void ForEach(Parallel* parallel, int64_t count, int64_t grain, F&& body) {
  if (parallel) {
    parallel->ParallelFor(count, std::max<int64_t>(grain, 1), body);
  } else if (count > 0) {
    body(int64_t{0}, count);
  }
}

// Three planes of bytes to pixels: an image from a camera or a file. Four pixels at a time in words.
void Interleave3(const uint8_t* in, int64_t plane, int64_t n, uint8_t* out) {
  const uint8_t *a = in, *b = in + plane, *c = in + 2 * plane;
  int64_t i = 0;
  if constexpr (std::endian::native == std::endian::little) {
    for (; i + 4 <= n; i += 4, out += 12) {
      uint32_t x, y, z;
      std::memcpy(&x, a + i, 4);
      std::memcpy(&y, b + i, 4);
      std::memcpy(&z, c + i, 4);
      const uint32_t words[3] = {
          (x & 0xff) | (y & 0xff) << 8 | (z & 0xff) << 16 | (x & 0xff00) << 16,
          (y >> 8 & 0xff) | (z & 0xff00) | (x & 0xff0000) | (y & 0xff0000) << 8,
          (z >> 16 & 0xff) | (x >> 24) << 8 | (y >> 24) << 16 | (z & 0xff000000)};
      std::memcpy(out, words, 12);
    }
  }
  for (; i < n; ++i, out += 3) out[0] = a[i], out[1] = b[i], out[2] = c[i];
}

// plain -> block B: for each group of channels, the matrix [channels, S] becomes [S, B].
template <typename T>
void FromPlain(const Shape& x, const T* src, T* dst, Parallel* parallel) {
  const int64_t groups = CeilDiv(x.c, x.to), tiles = CeilDiv(x.s, kTile);
  const int64_t task_bytes = std::min(x.s, kTile) * x.to * static_cast<int64_t>(sizeof(T));
  ForEach(parallel, x.n * groups * tiles, kGrainBytes / std::max<int64_t>(task_bytes, 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t tile = i % tiles, group = i / tiles % groups, n = i / tiles / groups;
      const int64_t s0 = tile * kTile, rows = std::min(kTile, x.s - s0);
      const int64_t c0 = group * x.to, channels = std::min(x.to, x.c - c0);
      const T* in = src + (n * x.c + c0) * x.s + s0;
      T* out = dst + ((n * groups + group) * x.s + s0) * x.to;
      if constexpr (sizeof(T) == 1) {
        if (x.to == 3 && channels == 3) {
          Interleave3(in, x.s, rows, out);
          continue;
        }
      }
      Transpose(in, x.s, channels, rows, out, x.to);
      if (channels < x.to) {
        for (int64_t r = 0; r < rows; ++r) std::fill(out + r * x.to + channels, out + (r + 1) * x.to, T{0});
      }
    }
  });
}

// block B -> plain.
template <typename T>
void ToPlain(const Shape& x, const T* src, T* dst, Parallel* parallel) {
  const int64_t groups = CeilDiv(x.c, x.from), tiles = CeilDiv(x.s, kTile);
  const int64_t task_bytes = std::min(x.s, kTile) * x.from * static_cast<int64_t>(sizeof(T));
  ForEach(parallel, x.n * groups * tiles, kGrainBytes / std::max<int64_t>(task_bytes, 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t tile = i % tiles, group = i / tiles % groups, n = i / tiles / groups;
      const int64_t s0 = tile * kTile, rows = std::min(kTile, x.s - s0);
      const int64_t c0 = group * x.from, channels = std::min(x.from, x.c - c0);
      const T* in = src + ((n * groups + group) * x.s + s0) * x.from;
      Transpose(in, x.from, rows, channels, dst + (n * x.c + c0) * x.s + s0, x.s);
    }
  });
}

template <int kRun, typename T>
void CopyRowsOf(const T* src, int64_t src_stride, int64_t rows, T* dst, int64_t dst_stride) {
  for (int64_t r = 0; r < rows; ++r) std::memcpy(dst + r * dst_stride, src + r * src_stride, kRun * sizeof(T));
}

// `run` elements of each row; whole blocks become vector moves.
template <typename T>
void CopyRows(const T* src, int64_t src_stride, int64_t rows, int64_t run, T* dst, int64_t dst_stride) {
  if (run == 16) return CopyRowsOf<16>(src, src_stride, rows, dst, dst_stride);
  if (run == 8) return CopyRowsOf<8>(src, src_stride, rows, dst, dst_stride);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < run; ++i) dst[r * dst_stride + i] = src[r * src_stride + i];
  }
}

// Between two layouts whose innermost dimension is channels: runs of channels that are contiguous in both are copied.
template <typename T>
void Regroup(const Shape& x, const T* src, T* dst, Parallel* parallel) {
  const int64_t from_groups = CeilDiv(x.c, x.from), to_groups = CeilDiv(x.c, x.to), tiles = CeilDiv(x.s, kTile);
  const int64_t task_bytes = std::min(x.s, kTile) * x.to * static_cast<int64_t>(sizeof(T));
  ForEach(parallel, x.n * to_groups * tiles, kGrainBytes / std::max<int64_t>(task_bytes, 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t tile = i % tiles, group = i / tiles % to_groups, n = i / tiles / to_groups;
      const int64_t s0 = tile * kTile, rows = std::min(kTile, x.s - s0);
      const int64_t c0 = group * x.to, c1 = std::min(c0 + x.to, x.c);
      T* out = dst + ((n * to_groups + group) * x.s + s0) * x.to;
      for (int64_t c = c0; c < c1;) {
        const int64_t block = c / x.from, run = std::min(c1, (block + 1) * x.from) - c;
        const T* in = src + ((n * from_groups + block) * x.s + s0) * x.from + c % x.from;
        CopyRows(in, x.from, rows, run, out + (c - c0), x.to);
        c += run;
      }
      if (c1 - c0 < x.to) {
        for (int64_t r = 0; r < rows; ++r) std::fill(out + r * x.to + (c1 - c0), out + (r + 1) * x.to, T{0});
      }
    }
  });
}

template <typename T>
void ReorderAs(const Shape& x, const void* src, void* dst, Parallel* parallel) {
  const T* in = static_cast<const T*>(src);
  T* out = static_cast<T*>(dst);
  if (x.from == x.to) {
    ParallelCopy(src, dst, x.n * RoundUp(x.c, x.from) * x.s * static_cast<int64_t>(sizeof(T)), parallel);
  } else if (x.from == 1) {
    FromPlain(x, in, out, parallel);
  } else if (x.to == 1) {
    ToPlain(x, in, out, parallel);
  } else {
    Regroup(x, in, out, parallel);
  }
}

int64_t BlockOf(Layout layout, int64_t channels) {
  switch (layout) {
    case Layout::kPlain: return 1;
    case Layout::kChannelsLast: return channels;
    case Layout::kBlocked8: return 8;
    case Layout::kBlocked16: return 16;
  }
  return 1;
}

}  // namespace

void ParallelCopy(const void* src, void* dst, int64_t bytes, Parallel* parallel) {
  if (src == dst) return;
  ForEach(parallel, bytes, int64_t{1} << 18, [&](int64_t begin, int64_t end) {
    std::memmove(static_cast<uint8_t*>(dst) + begin, static_cast<const uint8_t*>(src) + begin, static_cast<size_t>(end - begin));
  });
}

Status CheckReorder(DType dtype, const Dims& dims, Layout from, Layout to) {
  if (!format::LayoutBytes(dtype, dims, from) || !format::LayoutBytes(dtype, dims, to)) {
    return Unsupported(std::string("reorder from ") + format::LayoutName(from) + " to " + format::LayoutName(to) + ": shape " +
                       dims.ToString() + " of " + DTypeName(dtype) + " has no such layout");
  }
  const int bits = DTypeBits(dtype);
  if (from != to && bits != 8 && bits != 16 && bits != 32 && bits != 64) {
    return Unsupported(std::string("reorder of ") + DTypeName(dtype) + ": elements must be 1, 2, 4 or 8 bytes");
  }
  return OkStatus();
}

void Reorder(DType dtype, const Dims& dims, Layout from, const void* src, Layout to, void* dst, Parallel* parallel) {
  if (from == to) return ParallelCopy(src, dst, format::LayoutBytes(dtype, dims, from).value_or(0), parallel);
  if (dims.count() == 0) return;
  const Shape x{dims[0], dims[1], dims.count(2, dims.rank()), BlockOf(from, dims[1]), BlockOf(to, dims[1])};
  switch (DTypeBits(dtype)) {
    case 8: return ReorderAs<uint8_t>(x, src, dst, parallel);
    case 16: return ReorderAs<uint16_t>(x, src, dst, parallel);
    case 32: return ReorderAs<uint32_t>(x, src, dst, parallel);
    case 64: return ReorderAs<uint64_t>(x, src, dst, parallel);
    default: return;
  }
}

}  // namespace slipway::kernels
