// Integer operators beside convolution: quantize, dequantize, rescale, lookup, average pooling.
// Bit-exact with model/ops.

#include "model/ops/quantized.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <tuple>

#include "engine/backends/x86/run/broadcast.h"
#include "engine/kernels/bits/bits.h"
#include "engine/kernels/quant/quant.h"
#include "model/ops/quantize.h"
#include "model/ops/window.h"

namespace slipway::backends::x86 {
namespace {

constexpr int64_t kGrain = 32768;

bool IsCode(DType t) { return t == DType::kUInt8 || t == DType::kInt8; }
int CodeIndex(DType t) { return t == DType::kFloat32 ? 2 : t == DType::kInt8 ? 1 : 0; }

struct Scales {
  bool per_channel = false;
  int64_t count = 1;
};

// Scales and zero points of Quantize and Dequantize as constants: one, or one a channel (dimension
// 1).
Status ReadScales(Builder& b, const ops::QuantParams& q, std::vector<float>& scales,
                  std::vector<int32_t>& zeros) {
  if (q.kind != ops::QuantKind::kAffine) return Unsupported("a kind other than affine");
  if (q.group != 0) return Unsupported("groups");
  const float* s = static_cast<const float*>(b.ConstantData(1));
  if (!s || b.in_type(1) != DType::kFloat32)
    return Unsupported("scales that are no float32 constants");
  const int64_t n = b.in_dims(1).count();
  const Dims x = b.in_dims();
  if (n != 1) {
    SLIPWAY_ASSIGN_OR_RETURN(const int axis, Builder::Axis(q.axis, x.rank()));
    if (axis != 1) return Unsupported("scales along axis " + std::to_string(axis));
    if (n != x[1]) return InvalidArgument("the scales do not fit the channels");
  }
  scales.assign(s, s + n);
  for (float v : scales) {
    if (!(v > 0) || std::isinf(v)) return InvalidArgument("scales must be positive and finite");
  }
  zeros.assign(static_cast<size_t>(n), 0);
  if (b.Has(2)) {
    const void* z = b.ConstantData(2);
    if (!z || !IsCode(b.in_type(2))) return Unsupported("zero points that are no 8-bit constants");
    if (b.in_dims(2).count() != n)
      return InvalidArgument("scales and zero points differ in number");
    for (size_t i = 0; i < zeros.size(); ++i) {
      zeros[i] = b.in_type(2) == DType::kInt8 ? static_cast<const int8_t*>(z)[i]
                                              : static_cast<const uint8_t*>(z)[i];
    }
  }
  return OkStatus();
}

// Calls f(offset, count, scale index) for runs that share a scale.
template <typename F>
void ForRuns(Parallel& parallel, int64_t total, int64_t channels, int64_t plane, const F& f) {
  if (channels == 1) {
    parallel.ParallelFor(total, kGrain,
                         [&](int64_t begin, int64_t end) { f(begin, end - begin, 0); });
    return;
  }
  parallel.ParallelFor(total / std::max<int64_t>(plane, 1),
                       std::max<int64_t>(1, kGrain / std::max<int64_t>(plane, 1)),
                       [&](int64_t begin, int64_t end) {
                         for (int64_t i = begin; i < end; ++i) f(i * plane, plane, i % channels);
                       });
}

Status CheckPerChannel(const Builder& b, bool per_channel) {
  if (per_channel && b.out_layout() != Layout::kPlain)
    return Unsupported("scales a channel in a layout other than plain");
  return OkStatus();
}

}  // namespace

// Kind bipolar: the scale is none of its business.
static Status BuildSigns(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(0));
  if (b.out_type() != DType::kInt8) return InvalidArgument("bipolar codes that are not int8");
  if (format::ChannelBlock(b.out_layout()) != 1)
    return Unsupported("bipolar codes in blocks, whose padding has no code");
  const auto signs = kernels::GetBits(b.isa()).signs;
  b.Run([signs, total = b.Physical(b.output())](const RunContext& c) {
    c.parallel.ParallelFor(total, kGrain, [&](int64_t begin, int64_t end) {
      signs(c.in<float>(0) + begin, c.out<int8_t>() + begin, end - begin);
    });
    return OkStatus();
  });
  return OkStatus();
}

namespace {

// The planes of a few channels to pixels of codes: an image on its way to its first convolution.
Status BuildQuantizePlanes(Builder& b, const std::vector<float>& scales,
                           const std::vector<int32_t>& zeros, const ops::QuantParams& q) {
  constexpr int64_t kMostChannels = 4, kPixels = 2048;
  const Dims x = b.in_dims(), y = b.out_dims();
  if (x.rank() < 3 || x != y)
    return InvalidArgument("X " + x.ToString() + " and Y " + y.ToString() + " differ");
  const int64_t channels = x[1], plane = x.count(2, x.rank()), images = x[0];
  if (channels > kMostChannels || scales.size() > 1)
    return Unsupported("more than " + std::to_string(kMostChannels) +
                       " channels, or scales of each");
  const auto& k = kernels::GetQuant(b.isa());
  const auto f = k.quantize[CodeIndex(b.out_type())];
  const int64_t pieces = CeilDiv(plane, kPixels);
  b.Run([=, interleave = k.interleave, scale = scales[0],
         to = kernels::Requant{zeros[0], q.range.lo, q.range.hi}](const RunContext& c) {
    c.parallel.ParallelFor(images * pieces, 8, [&](int64_t begin, int64_t end) {
      uint8_t codes[kMostChannels * kPixels];
      for (int64_t i = begin; i < end; ++i) {
        const int64_t image = i / pieces, first = i % pieces * kPixels,
                      n = std::min(kPixels, plane - first);
        for (int64_t ch = 0; ch < channels; ++ch)
          f(c.in<float>(0) + (image * channels + ch) * plane + first, codes + ch * kPixels, n,
            scale, to);
        interleave(codes, kPixels, channels, c.out<uint8_t>() + (image * plane + first) * channels,
                   n);
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace

Status BuildQuantize(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2));
  SLIPWAY_RETURN_IF_ERROR(b.NeedType(0, DType::kFloat32));
  if (!IsCode(b.out_type())) return Unsupported(std::string(DTypeName(b.out_type())) + " output");
  SLIPWAY_ASSIGN_OR_RETURN(const ops::QuantParams q, ops::ParseQuant(b.attributes(), 16));
  if (q.kind == ops::QuantKind::kBipolar) return BuildSigns(b);
  if (q.rounding != ops::QuantRounding::kHalfEven)
    return Unsupported("a rounding other than half_even");
  if (q.zero_first || q.precision != DType::kUndefined)
    return Unsupported("zero_first and precision");
  if (q.bits > 8 || q.is_signed != (b.out_type() == DType::kInt8))
    return InvalidArgument("the output type does not fit the codes");
  const bool planes = b.in_layout() == Layout::kPlain && b.out_layout() == Layout::kChannelsLast;
  if (!planes) SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(0));
  std::vector<float> scales;
  std::vector<int32_t> zeros;
  SLIPWAY_RETURN_IF_ERROR(ReadScales(b, q, scales, zeros));
  for (int32_t z : zeros) {
    if (z < q.range.lo || z > q.range.hi) return InvalidArgument("a zero point outside the codes");
  }
  if (planes) return BuildQuantizePlanes(b, scales, zeros, q);
  SLIPWAY_RETURN_IF_ERROR(CheckPerChannel(b, scales.size() > 1));
  const int64_t total = b.Physical(b.output()), channels = static_cast<int64_t>(scales.size());
  const int64_t plane = channels > 1 ? b.in_dims().count(2, b.in_dims().rank()) : 0;
  const auto f = kernels::GetQuant(b.isa()).quantize[CodeIndex(b.out_type())];
  b.Run([=, scales = std::move(scales), zeros = std::move(zeros),
         range = q.range](const RunContext& c) {
    ForRuns(c.parallel, total, channels, plane, [&](int64_t at, int64_t n, int64_t s) {
      f(c.in<float>(0) + at, c.out<uint8_t>() + at, n, scales[static_cast<size_t>(s)],
        {zeros[static_cast<size_t>(s)], range.lo, range.hi});
    });
    return OkStatus();
  });
  return OkStatus();
}

Status BuildDequantize(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2));
  if (!IsCode(b.in_type())) return Unsupported(std::string(DTypeName(b.in_type())) + " input");
  if (b.out_type() != DType::kFloat32)
    return Unsupported(std::string(DTypeName(b.out_type())) + " output");
  SLIPWAY_ASSIGN_OR_RETURN(const ops::QuantParams q, ops::ParseQuant(b.attributes(), 32));
  SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(0));
  std::vector<float> scales;
  std::vector<int32_t> zeros;
  SLIPWAY_RETURN_IF_ERROR(ReadScales(b, q, scales, zeros));
  SLIPWAY_RETURN_IF_ERROR(CheckPerChannel(b, scales.size() > 1));
  const int64_t total = b.Physical(b.output()), channels = static_cast<int64_t>(scales.size());
  const int64_t plane = channels > 1 ? b.in_dims().count(2, b.in_dims().rank()) : 0;
  const auto f = kernels::GetQuant(b.isa()).dequantize[CodeIndex(b.in_type())];
  b.Run([=, scales = std::move(scales), zeros = std::move(zeros)](const RunContext& c) {
    ForRuns(c.parallel, total, channels, plane, [&](int64_t at, int64_t n, int64_t s) {
      f(c.in<uint8_t>(0) + at, c.out<float>() + at, n, zeros[static_cast<size_t>(s)],
        scales[static_cast<size_t>(s)]);
    });
    return OkStatus();
  });
  return OkStatus();
}

Status BuildQRescale(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Requantizer to,
                           ops::MakeRequantizer(b.attributes(), b.out_type()));
  SLIPWAY_ASSIGN_OR_RETURN(const int32_t zero,
                           ops::ReadZeroPoint(b.attributes(), "x_zero_point", b.in_type()));
  SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(0));
  const float multiplier = b.attributes().Float("multiplier", 1);
  if (b.out_type() != DType::kFloat32) {  // a table of all codes, which is looked up faster
    std::array<uint8_t, 256> codes, table;
    for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(i);
    kernels::GetQuant(b.isa()).rescale[CodeIndex(b.in_type())][CodeIndex(b.out_type())](
        codes.data(), table.data(), 256, zero, multiplier, {to.zero_point, to.lo, to.hi});
    const int64_t count = b.Physical(b.output());
    b.Run([=, lookup = kernels::GetLookup(b.isa())](const RunContext& c) {
      c.parallel.ParallelFor(count, kGrain, [&](int64_t begin, int64_t end) {
        lookup(c.in<uint8_t>(0) + begin, table.data(), c.out<uint8_t>() + begin, end - begin);
      });
      return OkStatus();
    });
    return OkStatus();
  }
  const int64_t n = b.Physical(b.output()), size = b.out_type() == DType::kFloat32 ? 4 : 1;
  const auto f =
      kernels::GetQuant(b.isa()).rescale[CodeIndex(b.in_type())][CodeIndex(b.out_type())];
  b.Run([=](const RunContext& c) {
    c.parallel.ParallelFor(n, kGrain, [&](int64_t begin, int64_t end) {
      f(c.in<uint8_t>(0) + begin, c.out<uint8_t>() + begin * size, end - begin, zero, multiplier,
        {to.zero_point, to.lo, to.hi});
    });
    return OkStatus();
  });
  return OkStatus();
}

Status BuildQAffine(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(3));
  SLIPWAY_RETURN_IF_ERROR(b.NeedType(0, DType::kFloat32));
  SLIPWAY_RETURN_IF_ERROR(b.NeedType(1, DType::kFloat32));
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Requantizer to,
                           ops::MakeRequantizer(b.attributes(), b.out_type()));
  const Dims y = b.out_dims();
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, Builder::Axis(b.attributes().Int("axis", 1), y.rank()));
  const int64_t channels = y[static_cast<size_t>(axis)];
  const auto *m = static_cast<const float*>(b.ConstantData(0)),
             *o = static_cast<const float*>(b.ConstantData(1));
  if (!m || !o) return Unsupported("a multiplier or offset that is no constant");
  // The channels must be what lies together: last in plain layout or in nhwc.
  const Layout layout = b.out_layout();
  if (layout == Layout::kPlain ? axis != y.rank() - 1
                               : layout != Layout::kChannelsLast || axis != 1)
    return Unsupported("channels that do not lie together");
  struct Piece {
    size_t input;
    int64_t first, count;
    int type;
  };
  std::vector<Piece> pieces;
  int64_t sum = 0;
  for (size_t i = 2; i < b.num_inputs(); ++i) {
    const Dims x = b.in_dims(i);
    if (!b.Has(i) || !IsCode(b.in_type(i))) return Unsupported("a piece that is not 8 bit");
    bool fits = b.in_layout(i) == layout && x.rank() == y.rank();
    for (int d = 0; fits && d < y.rank(); ++d)
      fits = d == axis || x[static_cast<size_t>(d)] == y[static_cast<size_t>(d)];
    if (!fits || x[static_cast<size_t>(axis)] > channels - sum)
      return InvalidArgument("a piece " + x.ToString() + " that does not fit " + y.ToString());
    const int64_t own = x[static_cast<size_t>(axis)];
    pieces.push_back({i, sum, own, CodeIndex(b.in_type(i))});
    sum += own;
  }
  if (sum != channels) return InvalidArgument("pieces that do not fill the output");
  std::vector<float> multiplier, offset;
  for (auto [from, at, all] : {std::tuple(m, size_t{0}, &multiplier), {o, size_t{1}, &offset}}) {
    const int64_t n = b.in_dims(at).count();
    if (n != 1 && n != channels) return InvalidArgument("a multiplier or offset of another extent");
    for (int64_t c = 0; c < channels; ++c) all->push_back(from[n == 1 ? 0 : c]);
  }
  if (y.count() == 0) return OkStatus();
  const int64_t rows = y.count() / channels, size = b.out_type() == DType::kFloat32 ? 4 : 1;
  const int y_type = CodeIndex(b.out_type());
  const auto* k = &kernels::GetQuant(b.isa());
  // Rows that stay in the first-level cache while the pieces are gone through.
  const int64_t grain = std::max<int64_t>(1, kGrain / channels);
  b.Run([=, pieces = std::move(pieces), multiplier = std::move(multiplier),
         offset = std::move(offset)](const RunContext& c) {
    c.parallel.ParallelFor(rows, grain, [&](int64_t begin, int64_t end) {
      for (const Piece& p : pieces) {
        k->affine[p.type][y_type](c.in<uint8_t>(p.input) + begin * p.count, p.count,
                                  c.out<uint8_t>() + (begin * channels + p.first) * size, channels,
                                  end - begin, p.count, multiplier.data() + p.first,
                                  offset.data() + p.first, {to.zero_point, to.lo, to.hi});
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

// A table for each channel.
static Status BuildChannelLookup(Builder& b) {
  const Dims x = b.in_dims(), table = b.in_dims(1);
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, Builder::Axis(b.attributes().Int("axis", -1), x.rank()));
  const int64_t channels = x[static_cast<size_t>(axis)], total = x.count();
  if (table[0] != channels || table[1] != 256)
    return InvalidArgument("tables " + table.ToString() + " for " + std::to_string(channels) +
                           " channels");
  const bool plain = b.in_layout() == Layout::kPlain;
  const bool last =
      plain ? axis == x.rank() - 1 : b.in_layout() == Layout::kChannelsLast && axis == 1;
  if (!last && !plain) return Unsupported("tables of channels that do not lie together");
  if (total == 0) return OkStatus();
  if (!last) {  // runs that share a table
    const int64_t run = x.count(axis + 1, x.rank());
    const auto f = kernels::GetLookup(b.isa());
    b.Run([=](const RunContext& c) {
      c.parallel.ParallelFor(
          total / run, std::max<int64_t>(1, kGrain / run), [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i)
              f(c.in<uint8_t>(0) + i * run, c.in<uint8_t>(1) + i % channels * 256,
                c.out<uint8_t>() + i * run, run);
          });
      return OkStatus();
    });
    return OkStatus();
  }
  // Blocks of channels, whose tables are then read once; of few, bands of rows too.
  constexpr int64_t kBlock = 64, kRows = 64;
  const int64_t rows = total / channels, blocks = CeilDiv(channels, kBlock),
                bands = blocks >= 2 * b.threads() ? 1 : CeilDiv(rows, kRows),
                height = CeilDiv(CeilDiv(rows, bands), kRows) * kRows;
  const auto f = kernels::GetChannelLookup(b.isa());
  b.Run([=](const RunContext& c) {
    c.parallel.ParallelFor(blocks * bands, std::max<int64_t>(1, kGrain / (kBlock * height)),
                           [&](int64_t begin, int64_t end) {
                             for (int64_t i = begin; i < end; ++i) {
                               const int64_t first = i % blocks * kBlock, row = i / blocks * height,
                                             at = row * channels + first;
                               f(c.in<uint8_t>(0) + at, c.in<uint8_t>(1) + first * 256,
                                 c.out<uint8_t>() + at, std::min(height, rows - row), channels,
                                 std::min(kBlock, channels - first));
                             }
                           });
    return OkStatus();
  });
  return OkStatus();
}

Status BuildQLookup(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2));
  if (!IsCode(b.in_type())) return Unsupported(std::string(DTypeName(b.in_type())) + " input");
  if (!IsCode(b.out_type()) || b.in_type(1) != b.out_type())
    return Unsupported("a table that is not of 8-bit codes");
  SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(0));
  if (b.in_dims(1).rank() == 2) return BuildChannelLookup(b);
  if (b.in_dims(1).count() != 256) return InvalidArgument("the table must have 256 elements");
  const int64_t n = b.Physical(b.output());
  const auto f = kernels::GetLookup(b.isa());
  b.Run([=](const RunContext& c) {
    c.parallel.ParallelFor(n, kGrain, [&](int64_t begin, int64_t end) {
      f(c.in<uint8_t>(0) + begin, c.in<uint8_t>(1), c.out<uint8_t>() + begin, end - begin);
    });
    return OkStatus();
  });
  return OkStatus();
}

namespace {

struct PoolRun {
  ops::Window w;
  int64_t batch, channels, plane, out_plane;
  int32_t zero;
  float multiplier;
  bool include_pad;
  kernels::Requant to;
  int x_type, y_type;
  const kernels::QuantKernels* k;

  // Taps [lo, hi) of dimension d at output position o inside the input; `padded` inside input plus
  // padding.
  struct Taps {
    int64_t start, lo, hi, padded;
  };
  Taps TapsAt(int d, int64_t o) const {
    Taps t;
    t.start = o * w.stride[d] - w.pad_begin[d];
    auto below = [&](int64_t limit) {
      const int64_t n =
          t.start >= limit ? 0 : (limit - t.start + w.dilation[d] - 1) / w.dilation[d];
      return std::min(n, w.kernel[d]);
    };
    t.lo = below(0);
    t.hi = std::max(t.lo, below(w.in[d]));
    t.padded = below(w.in[d] + w.pad_end[d]);
    return t;
  }
};

// Output rows [begin, end) of all images, channels last: sums of whole pixels.
void PoolRows(const PoolRun& p, const uint8_t* x, uint8_t* y, int32_t* sums, int64_t begin,
              int64_t end) {
  const int64_t size = p.y_type == 2 ? 4 : 1;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t n = i / p.out_plane, o = i % p.out_plane;
    const PoolRun::Taps a = p.TapsAt(0, o / p.w.out[2] / p.w.out[1]),
                        b = p.TapsAt(1, o / p.w.out[2] % p.w.out[1]),
                        c = p.TapsAt(2, o % p.w.out[2]);
    std::memset(sums, 0, static_cast<size_t>(p.channels) * 4);
    const int64_t taps = (a.hi - a.lo) * (b.hi - b.lo) * (c.hi - c.lo);
    for (int64_t d = a.lo; d < a.hi; ++d) {
      for (int64_t h = b.lo; h < b.hi; ++h) {
        const int64_t row =
            ((a.start + d * p.w.dilation[0]) * p.w.in[1] + b.start + h * p.w.dilation[1]) *
            p.w.in[2];
        for (int64_t v = c.lo; v < c.hi; ++v) {
          p.k->accumulate[p.x_type](
              x + ((n * p.plane) + row + c.start + v * p.w.dilation[2]) * p.channels, sums,
              p.channels);
        }
      }
    }
    const int64_t count = p.include_pad ? a.padded * b.padded * c.padded : taps;
    const int32_t correction =
        static_cast<int32_t>(static_cast<uint32_t>(taps) * static_cast<uint32_t>(p.zero));
    if (count == 0 || correction != 0) {
      for (int64_t ch = 0; ch < p.channels; ++ch) sums[ch] = count == 0 ? 0 : sums[ch] - correction;
    }
    p.k->from_sums[p.y_type](sums, y + i * p.channels * size, p.channels,
                             count == 0 ? 0.0f : p.multiplier / static_cast<float>(count), p.to);
  }
}

// Means of planes of floats that are rounded to codes on the way, channels last.
Status BuildRoundedMeans(Builder& b, const PoolRun& p, bool global) {
  SLIPWAY_ASSIGN_OR_RETURN(const ops::InputRounding from, ops::ReadInputRounding(b.attributes()));
  if (!global) return InvalidArgument("a float32 input without global = 1");
  if (b.in_layout() != Layout::kChannelsLast) return Unsupported("floats in another layout");
  constexpr int64_t kBlock = 64;  // channels that one thread sums
  const int64_t size = p.y_type == 2 ? 4 : 1, blocks = CeilDiv(p.channels, kBlock);
  const kernels::Requant rounding = {from.to.zero_point, from.to.lo, from.to.hi};
  b.Run([=](const RunContext& c) {
    c.parallel.ParallelFor(
        p.batch * blocks, std::max<int64_t>(1, kGrain / (kBlock * p.plane)),
        [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            const int64_t image = i / blocks, first = i % blocks * kBlock,
                          count = std::min(kBlock, p.channels - first);
            int32_t sums[kBlock] = {};
            p.k->accumulate_rounded(c.in<float>(0) + image * p.plane * p.channels + first,
                                    p.channels, p.plane, count, from.scale, rounding, sums);
            p.k->from_sums[p.y_type](sums, c.out<uint8_t>() + (image * p.channels + first) * size,
                                     count, p.multiplier / static_cast<float>(p.plane), p.to);
          }
        });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace

Status BuildQAveragePool(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  const ops::Attributes& a = b.attributes();
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Requantizer to, ops::MakeRequantizer(a, b.out_type()));
  PoolRun p;
  const bool floats = b.in_type() == DType::kFloat32;
  if (!floats) {
    SLIPWAY_ASSIGN_OR_RETURN(p.zero, ops::ReadZeroPoint(a, "x_zero_point", b.in_type()));
  }
  const Dims x = b.in_dims(), y = b.out_dims();
  if (x.rank() < 3 || y.rank() != x.rank() || x[0] != y[0] || x[1] != y[1] ||
      b.in_layout() != b.out_layout()) {
    return InvalidArgument("X " + x.ToString() + " and Y " + y.ToString() + " make no pooling");
  }
  if (y.count() == 0) return OkStatus();
  if (x.count() == 0) return Unsupported("a pooling over nothing");
  const bool global = a.Int("global", 0) != 0;
  if (global) {
    if (y.count(2, y.rank()) != 1)
      return InvalidArgument("a global pooling with more than one position");
    p.w.in[2] = p.w.kernel[2] = x.count(2, x.rank());
  } else {
    SLIPWAY_ASSIGN_OR_RETURN(p.w, ops::ResolveWindow(a, x, y));
  }
  p.batch = x[0];
  p.channels = x[1];
  p.plane = x.count(2, x.rank());
  p.out_plane = y.count(2, y.rank());
  p.multiplier = a.Float("multiplier", 1);
  p.include_pad = a.Int("count_include_pad", 0) != 0;
  p.to = {to.zero_point, to.lo, to.hi};
  p.x_type = CodeIndex(b.in_type());
  p.y_type = CodeIndex(b.out_type());
  p.k = &kernels::GetQuant(b.isa());
  const int64_t size = p.y_type == 2 ? 4 : 1;
  if (floats) return BuildRoundedMeans(b, p, global);
  if (b.in_layout() == Layout::kPlain) {
    if (!global) return Unsupported("windows in plain layout");
    b.Run([=](const RunContext& c) {
      c.parallel.ParallelFor(
          p.batch * p.channels, std::max<int64_t>(1, kGrain / p.plane),
          [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
              const uint32_t sum = static_cast<uint32_t>(
                  p.k->sum[p.x_type](c.in<uint8_t>(0) + i * p.plane, p.plane));
              const int32_t total = static_cast<int32_t>(sum - static_cast<uint32_t>(p.plane) *
                                                                   static_cast<uint32_t>(p.zero));
              p.k->from_sums[p.y_type](&total, c.out<uint8_t>() + i * size, 1,
                                       p.multiplier / static_cast<float>(p.plane), p.to);
            }
          });
      return OkStatus();
    });
    return OkStatus();
  }
  if (b.in_layout() != Layout::kChannelsLast) return Unsupported("a blocked layout");
  // Sums of one pixel for each chunk of work; a global pooling of few images has little to share,
  // so it stays on one thread.
  const int64_t pixels = p.batch * p.out_plane,
                chunks = std::min<int64_t>(pixels, global ? p.batch : 8 * b.threads());
  const int64_t stride = RoundUp(p.channels, 16);
  b.Workspace(static_cast<uint64_t>(chunks * stride * 4));
  b.Run([=](const RunContext& c) {
    c.parallel.ParallelFor(chunks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        PoolRows(p, c.in<uint8_t>(0), c.out<uint8_t>(),
                 static_cast<int32_t*>(c.workspace) + i * stride, pixels * i / chunks,
                 pixels * (i + 1) / chunks);
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace slipway::backends::x86
