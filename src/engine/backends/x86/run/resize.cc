// Resize of floats, and to the nearest of anything, and QResize of codes: tables of what each row
// and each column reads, made here once.

#include "engine/kernels/resize/resize.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "engine/backends/x86/run/step.h"
#include "engine/kernels/resize/table.h"
#include "model/ops/quantized.h"
#include "model/ops/resize.h"

namespace slipway::backends::x86 {
namespace {

using kernels::ResizeColumnTable;
using kernels::ResizeType;

constexpr int64_t kMostEntries = int64_t{1} << 20;  // of a table
constexpr int64_t kGrain = 16384;  // elements of the output that are worth a thread
constexpr int64_t kSums = 8192;    // sums of a row that stay near

// Rows of a plane's output: the inputs' rows [begin[r], begin[r + 1]) with their weights.
struct Rows {
  std::vector<int64_t> begin{0}, offset;  // where they start in the plane, in elements
  std::vector<float> weight;
  int64_t most = 0;
};

// Columns [begin, end) of the output, which read columns [from, to): some whose sums stay near.
struct Segment {
  int64_t begin, end, from, to;
};

struct Plan {
  int64_t planes = 1, plane = 1;  // elements of one of the input
  int64_t rows = 1, pixel = 1;
  bool nearest = false;
  Rows table;
  ResizeColumnTable columns;
  std::vector<Segment> segments;
  int64_t size = 4, out_size = 4;  // of elements, bytes

  int64_t OutWidth() const { return columns.out * pixel; }
};

Result<ops::ResizeTables> Tabulate(const Builder& b) {
  std::vector<ops::TensorView> in(4);
  in[0] = {b.in_type(), b.in_dims(), nullptr};
  for (size_t i = 1; i < 4; ++i) {
    if (!b.Has(i) || b.in_dims(i).count() == 0) continue;
    const void* data = b.ConstantData(i);
    // Sizes are those of the output unless they only bound it.
    if (!data && i == 3 &&
        b.attributes().String("keep_aspect_ratio_policy", "stretch") == "stretch")
      continue;
    if (!data && i > 1) return Unsupported("scales or sizes that are no constants");
    if (data) in[i] = {b.in_type(i), b.in_dims(i), const_cast<void*>(data)};
  }
  const ops::TensorView out{b.out_type(), b.out_dims(), nullptr};
  ops::OpContext c;
  c.inputs = in;
  c.outputs = {&out, 1};
  c.attributes = &b.attributes();
  return ops::TabulateResize(c, kMostEntries);
}

// The dimensions in the order in which they lie, but those within a pixel that is all `pixel`.
Result<std::vector<ops::ResizeAxis>> InMemory(const Builder& b, ops::ResizeTables& tables,
                                              int64_t& pixel) {
  const Layout layout = b.in_layout();
  if (b.out_layout() != layout) return Unsupported("a resizing to another layout");
  if (layout == Layout::kPlain) return std::move(tables.axes);
  if (tables.axes.size() < 3 || !tables.axes[1].identity)
    return Unsupported("resized channels in a layout other than plain");
  std::vector<ops::ResizeAxis> axes = std::move(tables.axes);
  const int64_t channels = axes[1].in, block = format::ChannelBlock(layout);
  if (channels % block != 0) return Unsupported("channels that do not fill the blocks");
  if (layout == Layout::kChannelsLast) {
    pixel = channels;
    axes[1].in = axes[1].out = 1;
  } else {
    pixel = block;
    axes[1].in = axes[1].out = channels / block;
  }
  return axes;
}

// The rows' table over axes [first, last), whose elements lie `stride` apart.
Result<Rows> TableOf(const std::vector<ops::ResizeAxis>& axes, size_t first, size_t last,
                     int64_t stride, bool nearest) {
  std::vector<int64_t> strides(axes.size());
  int64_t rows = 1, taps = 1;
  for (size_t d = last; d-- > first;) {
    strides[d] = stride;
    stride *= axes[d].in;
    rows *= axes[d].out;
    taps *= axes[d].taps;
    if (rows > kMostEntries / taps) return Unsupported("too many rows to tabulate");
  }
  Rows t;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < taps; ++k) {
      // Digits of r and k, the last axis the fastest; weights multiply from the first axis on.
      int64_t at = 0, row = rows, tap = taps, rest_r = r, rest_k = k;
      float w = 1;
      for (size_t d = first; d < last; ++d) {
        const ops::ResizeAxis& a = axes[d];
        row /= a.out;
        tap /= a.taps;
        const int64_t o = rest_r / row, i = rest_k / tap;
        rest_r %= row;
        rest_k %= tap;
        const auto entry = static_cast<size_t>(o * a.taps + i);
        at += (a.identity ? o : a.index[entry]) * strides[d];
        if (!a.identity && !nearest) w *= a.weight[entry];
      }
      if (w == 0) continue;
      t.offset.push_back(at);
      t.weight.push_back(w);
    }
    t.begin.push_back(static_cast<int64_t>(t.offset.size()));
    t.most = std::max(t.most, t.begin.end()[-1] - t.begin.end()[-2]);
  }
  return t;
}

// Extents that have been compared with the tensors' memory, so that products fit.
Result<Plan> MakePlan(const Builder& b) {
  SLIPWAY_ASSIGN_OR_RETURN(ops::ResizeTables tables, Tabulate(b));
  Plan p;
  p.nearest = tables.nearest;
  p.size = DTypeBits(b.in_type()) / 8;
  p.out_size = DTypeBits(b.out_type()) / 8;
  SLIPWAY_ASSIGN_OR_RETURN(const std::vector<ops::ResizeAxis> axes, InMemory(b, tables, p.pixel));
  size_t first = 0, last = axes.size() - 1;
  while (first < last && axes[first].identity) p.planes *= axes[first++].in;
  while (last > first && axes[last].identity) p.pixel *= axes[last--].in;
  const ops::ResizeAxis& line = axes[last];
  if (line.in > (int64_t{1} << 31) - 1) return Unsupported("rows of that many columns");
  ResizeColumnTable& c = p.columns;
  if (line.identity) {  // nothing to do at all
    p.pixel *= line.in;
    c.in = c.out = 1;
    c.index = {0};
    c.weight = {1};
  } else {
    c.in = line.in;
    c.out = line.out;
    c.taps = line.taps;
    c.index.assign(line.index.begin(), line.index.end());
    c.weight = line.weight;
    c.pairs = c.taps == 2 && std::find(c.weight.begin(), c.weight.end(), 0.0f) == c.weight.end();
    c.doubled = p.nearest;
    for (int64_t o = 0; o < c.out && c.doubled; ++o)
      c.doubled = c.index[static_cast<size_t>(o)] == o / 2;
  }
  SLIPWAY_ASSIGN_OR_RETURN(p.table, TableOf(axes, first, last, c.in * p.pixel, p.nearest));
  p.rows = static_cast<int64_t>(p.table.begin.size()) - 1;
  p.plane = c.in * p.pixel;
  for (size_t d = first; d < last; ++d) p.plane *= axes[d].in;
  return p;
}

Status BuildNearest(Builder& b, Plan plan) {
  const int bits = DTypeBits(b.in_type());
  if (bits != 8 && bits != 16 && bits != 32 && bits != 64)
    return Unsupported(std::string(DTypeName(b.in_type())) + " elements");
  if (b.out_type() != b.in_type())
    return InvalidArgument("Resize: the output has another type than the input");
  const auto copy = kernels::GetResize(b.isa()).copy;
  const int64_t grain = std::max<int64_t>(1, kGrain / plan.OutWidth());
  b.Run([p = std::move(plan), copy, grain](const RunContext& c) {
    c.parallel.ParallelFor(p.planes * p.rows, grain, [&](int64_t begin, int64_t end) {
      const kernels::ResizeColumns table = p.columns.View();
      const int64_t bytes = p.OutWidth() * p.size;
      int64_t row = begin % p.rows, plane = begin / p.rows * p.plane;
      for (int64_t r = begin; r < end;) {
        const int64_t from = p.table.offset[static_cast<size_t>(row)],
                      most = std::min(end - r, p.rows - row);
        int64_t times = 1;
        while (times < most && p.table.offset[static_cast<size_t>(row + times)] == from) ++times;
        copy(table, c.in<uint8_t>(0) + (plane + from) * p.size, p.pixel * p.size, times,
             c.out<uint8_t>() + r * bytes);
        r += times;
        row += times;
        if (row == p.rows) {
          row = 0;
          plane += p.plane;
        }
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

std::vector<Segment> SegmentsOf(const ResizeColumnTable& c, int64_t pixel, bool whole) {
  std::vector<Segment> all;
  for (int64_t o = 0; o < c.out; ++o) {
    const auto [lo, hi] =
        std::minmax_element(c.index.begin() + o * c.taps, c.index.begin() + (o + 1) * c.taps);
    if (!all.empty()) {
      Segment& s = all.back();
      const int64_t from = std::min<int64_t>(s.from, *lo), to = std::max<int64_t>(s.to, *hi + 1);
      if (whole || (to - from) * pixel <= kSums) {
        s = {s.begin, o + 1, from, to};
        continue;
      }
    }
    all.push_back({o, o + 1, *lo, *hi + 1});
  }
  return all;
}

// To run: one(context, r, sums, pointers) for every row r of the output, with room for a segment's
// sums, `size` bytes each, and for pointers to the inputs of a row.
template <typename F>
Status RunRows(Builder& b, const Plan& p, int64_t size, F one) {
  int64_t width = 0;
  for (const Segment& s : p.segments) width = std::max(width, s.to - s.from);
  const int64_t all = p.planes * p.rows, work = all * p.OutWidth(),
                slots =
                    std::clamp<int64_t>(work / kGrain, 1, std::min<int64_t>(all, 4 * b.threads()));
  const auto sums = CheckedMul(width, p.pixel);
  if (!sums || *sums > int64_t{1} << 26) return Unsupported("rows of that many columns");
  const int64_t pointers = RoundUp(p.table.most * int64_t{sizeof(void*)}, int64_t{64}),
                bytes = pointers + RoundUp(*sums * size + kernels::kResizePadding * 4, int64_t{64});
  b.Workspace(static_cast<uint64_t>(slots * bytes));
  b.Run([=, one = std::move(one)](const RunContext& c) {
    c.parallel.ParallelFor(slots, 1, [&](int64_t slot, int64_t slot_end) {
      for (; slot < slot_end; ++slot) {
        uint8_t* own = static_cast<uint8_t*>(c.workspace) + slot * bytes;
        for (int64_t r = all * slot / slots; r < all * (slot + 1) / slots; ++r)
          one(c, r, own + pointers, reinterpret_cast<const void**>(own));
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

// Weights as multiples of 2^-bits; nullopt when they are not.
std::optional<std::vector<uint16_t>> Whole(const std::vector<float>& weights, int bits) {
  std::vector<uint16_t> whole;
  for (const float w : weights) {
    const float v = w * static_cast<float>(1 << bits);
    if (!(v >= 0 && v <= 256) || v != std::floor(v)) return std::nullopt;
    whole.push_back(static_cast<uint16_t>(v));
  }
  return whole;
}
// The fewest bits, at most 8.
int BitsOf(const std::vector<float>& weights) {
  int bits = 0;
  while (bits <= 8 && !Whole(weights, bits)) ++bits;
  return bits;
}

// Codes that keep their scale, with weights of few bits. False when they are not like that.
Result<bool> BuildShorts(Builder& b, Plan& plan, const ops::Requantizer& to, int32_t zero) {
  if (b.attributes().Float("multiplier", 1) != 1 || b.out_type() != b.in_type() ||
      to.zero_point != zero || plan.pixel == 1)
    return false;
  const int row_bits = BitsOf(plan.table.weight), bits = BitsOf(plan.columns.weight);
  if (row_bits + bits > 8) return false;
  std::vector<uint16_t> rows = *Whole(plan.table.weight, row_bits),
                        columns = *Whole(plan.columns.weight, bits);
  for (size_t r = 0; r + 1 < plan.table.begin.size(); ++r) {
    if (std::accumulate(rows.begin() + plan.table.begin[r], rows.begin() + plan.table.begin[r + 1],
                        0) != 1 << row_bits)
      return false;
  }
  for (auto i = columns.begin(); i != columns.end(); i += plan.columns.taps) {
    if (std::accumulate(i, i + plan.columns.taps, 0) != 1 << bits) return false;
  }
  const int32_t flip = b.in_type() == DType::kInt8 ? 128 : 0;
  const kernels::ResizeShorts finish{row_bits + bits, to.zero_point + flip, to.lo + flip,
                                     to.hi + flip, static_cast<uint8_t>(flip)};
  const kernels::ResizeKernels* k = &kernels::GetResize(b.isa());
  plan.segments = SegmentsOf(plan.columns, plan.pixel, false);
  SLIPWAY_RETURN_IF_ERROR(RunRows(
      b, plan, 2,
      [=, p = plan, rows = std::move(rows), columns = std::move(columns)](
          const RunContext& c, int64_t r, void* sums, const void** from) {
        const auto row = static_cast<size_t>(r % p.rows);
        const int64_t first = p.table.begin[row], taps = p.table.begin[row + 1] - first;
        const uint8_t* x = c.in<uint8_t>(0) + r / p.rows * p.plane;
        uint8_t* y = c.out<uint8_t>() + r * p.OutWidth();
        auto* s = static_cast<uint16_t*>(sums);
        for (const Segment& g : p.segments) {
          for (int64_t t = 0; t < taps; ++t)
            from[t] = x + p.table.offset[static_cast<size_t>(first + t)] + g.from * p.pixel;
          k->short_rows(from, rows.data() + first, taps, (g.to - g.from) * p.pixel, finish.flip, s);
          k->short_columns(p.columns.View(g.begin, g.end),
                           columns.data() + g.begin * p.columns.taps, s - g.from * p.pixel, p.pixel,
                           y + g.begin * p.pixel, finish);
        }
      }));
  return true;
}

Status BuildSums(Builder& b, Plan p, ResizeType in, ResizeType out, int32_t zero,
                 const kernels::ResizeFinish& finish) {
  const kernels::ResizeKernels& k = kernels::GetResize(b.isa());
  const auto rows = k.rows[static_cast<int>(in)];
  const auto columns = k.columns[static_cast<int>(out)];
  if (!rows || !columns) return Unsupported("bfloat16 without AVX-512");
  if (p.pixel == 1) p.columns.MakeLine(b.isa());
  p.segments = SegmentsOf(p.columns, p.pixel, p.columns.lanes > 0);
  // Rows of floats that are one row of the input need no sums.
  const bool may_skip =
                 in == ResizeType::kFloat32 && (p.pixel == 1 ? p.columns.in >= p.columns.lanes
                                                             : p.pixel >= kernels::kResizePadding),
             scaled = in != ResizeType::kFloat32 && out == ResizeType::kFloat32;
  return RunRows(b, p, 4, [=](const RunContext& c, int64_t r, void* sums, const void** from) {
    const auto row = static_cast<size_t>(r % p.rows);
    const int64_t first = p.table.begin[row], taps = p.table.begin[row + 1] - first,
                  plane = r / p.rows * p.plane;
    const int64_t* offset = p.table.offset.data() + first;
    const float* weight = p.table.weight.data() + first;
    uint8_t* y = c.out<uint8_t>() + r * p.OutWidth() * p.out_size;
    if (may_skip && taps == 1 && *weight == 1) {
      columns(p.columns.View(), c.in<float>(0) + plane + *offset, p.pixel, y, finish);
      return;
    }
    auto* s = static_cast<float*>(sums);
    for (const Segment& g : p.segments) {
      for (int64_t t = 0; t < taps; ++t)
        from[t] = c.in<uint8_t>(0) + (plane + offset[t] + g.from * p.pixel) * p.size;
      rows(from, weight, taps, (g.to - g.from) * p.pixel, zero, s);
      columns(p.columns.View(g.begin, g.end), s - g.from * p.pixel, p.pixel,
              y + g.begin * p.pixel * p.out_size, finish);
    }
    for (int64_t i = 0; i < p.OutWidth() && scaled; ++i)
      reinterpret_cast<float*>(y)[i] *= finish.multiplier;
  });
}

std::optional<ResizeType> TypeOf(DType t) {
  switch (t) {
    case DType::kFloat32:
      return ResizeType::kFloat32;
    case DType::kBFloat16:
      return ResizeType::kBFloat16;
    case DType::kUInt8:
      return ResizeType::kUInt8;
    case DType::kInt8:
      return ResizeType::kInt8;
    default:
      return std::nullopt;
  }
}

}  // namespace

Status BuildResize(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  const bool codes = b.IsSlipway();
  if (b.in_dims().rank() < 1 || b.out_dims().rank() != b.in_dims().rank())
    return InvalidArgument("X " + b.in_dims().ToString() + " cannot become Y " +
                           b.out_dims().ToString());
  if (b.out_dims().count() == 0) return OkStatus();
  if (b.in_dims().count() == 0) return Unsupported("a resizing of nothing");
  SLIPWAY_ASSIGN_OR_RETURN(Plan p, MakePlan(b));
  if (p.nearest && !codes) return BuildNearest(b, std::move(p));
  if (p.nearest) return Unsupported("codes to the nearest on another scale");
  const auto in = TypeOf(b.in_type()), out = TypeOf(b.out_type());
  if (!in || !out) return Unsupported(std::string(DTypeName(b.in_type())) + " elements");
  if (!codes) {
    if (DTypeBits(b.in_type()) == 8) return Unsupported("codes that are cut instead of rounded");
    if (*in != *out) return InvalidArgument("Resize: the output has another type than the input");
    return BuildSums(b, std::move(p), *in, *out, 0, {});
  }
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Requantizer to,
                           ops::MakeRequantizer(b.attributes(), b.out_type()));
  SLIPWAY_ASSIGN_OR_RETURN(const int32_t zero,
                           ops::ReadZeroPoint(b.attributes(), "x_zero_point", b.in_type()));
  SLIPWAY_ASSIGN_OR_RETURN(const bool done, BuildShorts(b, p, to, zero));
  if (done) return OkStatus();
  return BuildSums(b, std::move(p), *in, *out, zero,
                   {b.attributes().Float("multiplier", 1), to.zero_point, to.lo, to.hi});
}

}  // namespace slipway::backends::x86
