// QConv: convolutions of codes that lie channels last. Where no window leaves the image, rows of
// the product are the image's own bytes; else strips of it are copied with the padding around them,
// in pieces that stay in the second-level cache. Windows are not copied: a position of a strip is a
// row, and the rows of its window are the runs of kernels/qgemm.

#include <algorithm>
#include <cstring>
#include <optional>

#include "engine/backends/x86/run/backend.h"
#include "engine/backends/x86/run/qproduct.h"
#include "engine/backends/x86/run/step.h"
#include "model/ops/quantized.h"
#include "model/ops/window.h"

namespace slipway::backends::x86 {
namespace {

using kernels::kQGemmBlock;

constexpr int64_t kStripBytes = 192 * 1024;         // that a strip should have at most
constexpr int64_t kMostScratch = int64_t{1} << 30;  // and must
constexpr int64_t kRowsTogether = 24;               // a multiple of all tiles' rows

// Positions of the output: lines [h0, h1) of one depth, of each columns [c0, c1).
struct Strip {
  int64_t image, depth, h0, h1, c0, c1;
};

struct Geometry {
  ops::Window w;
  int64_t images = 0, channels = 0;
  uint8_t fill = 0;             // the code of 0
  bool flat = false;            // every pixel is a row, and one line has them all
  bool copied = false;          // strips are copied
  int64_t line = 0, plane = 0;  // bytes from one to the next in the image or the copy of a strip

  // How many positions of the image a number of outputs covers in dimension d.
  int64_t Extent(int d, int64_t outputs) const {
    return (outputs - 1) * w.stride[d] + (w.kernel[d] - 1) * w.dilation[d] + 1;
  }
  bool Leaves(int d) const {  // whether a window leaves the image
    return w.pad_begin[d] > 0 || Extent(d, w.out[d]) - w.pad_begin[d] > w.in[d];
  }
  // Bytes of the copy of a strip, or nothing when there are too many.
  std::optional<int64_t> CopyBytes(int64_t lines, int64_t columns) const {
    const auto pixels = CheckedMul(Extent(1, lines), Extent(2, columns));
    const auto planes = pixels ? CheckedMul(*pixels, w.kernel[0]) : std::nullopt;
    const auto bytes = planes ? CheckedMul(*planes, channels) : std::nullopt;
    if (!bytes || *bytes > kMostScratch) return std::nullopt;
    return *bytes + kernels::kQGemmDepth;  // which is read beyond the last run
  }
  // Where the first window of a strip begins in the image.
  int64_t Start(int d, const Strip& s) const {
    const int64_t at[3] = {s.depth, s.h0, s.c0};
    return at[d] * w.stride[d] - w.pad_begin[d];
  }
  // Copies what the windows of a strip see, [kernel depth][lines][columns][channels].
  void Copy(const uint8_t* x, const Strip& s, uint8_t* to) const {
    const int64_t lines = Extent(1, s.h1 - s.h0), bytes = Extent(2, s.c1 - s.c0) * channels,
                  first = Start(2, s) * channels;
    const int64_t lo = std::clamp<int64_t>(-first, 0, bytes),
                  hi = std::clamp<int64_t>(w.in[2] * channels - first, lo, bytes);
    for (int64_t d = 0; d < w.kernel[0]; ++d) {
      const int64_t p0 = Start(0, s) + d * w.dilation[0];
      for (int64_t h = 0; h < lines; ++h) {
        const int64_t p1 = Start(1, s) + h;
        uint8_t* out = to + d * plane + h * line;
        if (p0 < 0 || p0 >= w.in[0] || p1 < 0 || p1 >= w.in[1] || hi == lo) {
          std::memset(out, fill, static_cast<size_t>(bytes));
          continue;
        }
        const uint8_t* from =
            x + ((s.image * w.in[0] + p0) * w.in[1] + p1) * w.in[2] * channels + first;
        std::memset(out, fill, static_cast<size_t>(lo));
        std::memcpy(out + lo, from + lo, static_cast<size_t>(hi - lo));
        std::memset(out + hi, fill, static_cast<size_t>(bytes - hi));
      }
    }
  }
};

// How strips and blocks of columns are shared out among the threads.
struct Units {
  int64_t planes = 1, depths = 1, lines = 1, columns = 1;  // of the output
  int64_t grain = 1;   // positions that stay together in the dimension that is split
  int64_t strips = 1;  // of a plane
  int64_t parts = 1;   // of the blocks of columns

  bool by_lines() const { return lines > 1; }
  int64_t splits() const { return CeilDiv(by_lines() ? lines : columns, grain); }
  int64_t count() const { return planes * strips * parts; }
  Strip At(int64_t i) const {
    const int64_t at = i % strips, plane = i / strips, all = by_lines() ? lines : columns;
    const int64_t begin = std::min(all, splits() * at / strips * grain),
                  end = std::min(all, splits() * (at + 1) / strips * grain);
    Strip s{plane / depths, plane % depths, 0, lines, 0, columns};
    (by_lines() ? s.h0 : s.c0) = begin;
    (by_lines() ? s.h1 : s.c1) = end;
    return s;
  }
};

Result<Units> Share(const Geometry& g, int64_t blocks, int64_t weight_bytes, int64_t threads) {
  Units u;
  if (g.flat) {
    u.columns = g.images * g.w.OutCount();
    u.grain = kRowsTogether;
  } else {
    u.planes = g.images * g.w.out[0], u.depths = g.w.out[0];
    u.lines = g.w.out[1], u.columns = g.w.out[2];
  }
  const int64_t splits = u.splits();
  auto bytes = [&](int64_t strips) -> std::optional<int64_t> {
    const int64_t most = CeilDiv(splits, strips) * u.grain;
    if (g.copied) return u.by_lines() ? g.CopyBytes(most, u.columns) : g.CopyBytes(1, most);
    return CheckedMul(most, g.w.stride[1] * g.channels * (u.by_lines() ? g.w.in[2] : 1));
  };
  while (u.strips < splits && bytes(u.strips).value_or(kMostScratch) > kStripBytes)
    u.strips = std::min(splits, u.strips + std::max<int64_t>(1, u.strips / 4));
  if (!bytes(u.strips)) return Unsupported("a window that spreads too far");
  if (threads == 1) return u;
  // How evenly the threads are loaded by strips, and by columns; those read only their own weights.
  const int64_t strips = std::min(splits, RoundUp(u.strips * u.planes, threads) / u.planes);
  const double all = static_cast<double>(u.planes * splits),
               longest = static_cast<double>(CeilDiv(u.planes * strips, threads) *
                                             CeilDiv(splits, strips) * threads),
               by_strips = all / longest;
  double by_columns =
      static_cast<double>(blocks) / static_cast<double>(CeilDiv(blocks, threads) * threads);
  if (blocks < 2 * threads) by_columns *= 0.7;  // tiles of one block
  if (by_columns > by_strips + 0.03 ||
      (by_columns > by_strips - 0.03 && weight_bytes > 256 * 1024)) {
    u.parts = threads;
  } else {
    u.strips = std::max(u.strips, strips);
  }
  return u;
}

}  // namespace

Status BuildQConv(Builder& b) {
  const std::string name(b.attributes().String("kernel", ""));
  if (name.ends_with(kDepthwise)) return BuildQDepthwise(b);
  if (!name.empty() && !name.ends_with(":gemm"))
    return Unsupported("a convolution by the kernel '" + name + "'");
  SLIPWAY_RETURN_IF_ERROR(b.Need(3));
  const ops::Attributes& a = b.attributes();
  const Dims x = b.in_dims(), w = b.in_dims(1), y = b.out_dims();
  if (x.rank() < 3 || w.rank() != x.rank() || y.rank() != x.rank())
    return InvalidArgument("X " + x.ToString() + ", W " + w.ToString() + " and Y " + y.ToString() +
                           " make no convolution");
  if (b.in_layout() != Layout::kChannelsLast || b.out_layout() != Layout::kChannelsLast)
    return Unsupported("a layout other than nhwc");
  const int64_t groups = a.Int("group", 1);
  if (groups < 1 || x[1] % groups != 0 || x[1] / groups != w[1] || w[0] % groups != 0 ||
      y[1] != w[0] || x[0] != y[0])
    return InvalidArgument("group " + std::to_string(groups) + " does not fit X " + x.ToString() +
                           ", W " + w.ToString() + " and Y " + y.ToString());
  Geometry g;
  SLIPWAY_ASSIGN_OR_RETURN(g.w, ops::ResolveWindow(a, x, y, std::span(w).subspan(2)));
  SLIPWAY_ASSIGN_OR_RETURN(const int32_t x_zero,
                           ops::ReadZeroPoint(a, "x_zero_point", b.in_type()));
  SLIPWAY_ASSIGN_OR_RETURN(QProduct p, ReadQProduct(b, w[0]));
  if (y.count() == 0) return OkStatus();
  if (x.count() == 0 || w.count() == 0) return Unsupported("a convolution of nothing");
  const ops::Window& win = g.w;
  for (int d = 0; d < 3; ++d) {
    if (win.out[d] > (int64_t{1} << 40) / win.stride[d])
      return InvalidArgument("strides that leave every image");
  }
  g.images = x[0];
  g.channels = x[1];
  g.fill = static_cast<uint8_t>(x_zero);

  // A run of codes is a line of the window where all of its channels belong to the group, else a
  // position.
  const bool whole_lines = win.kernel[2] == 1 || (groups == 1 && win.dilation[2] == 1);
  const int64_t taps = win.KernelCount(), k = whole_lines ? win.kernel[2] * w[1] : w[1],
                n = w[0] / groups, depth = RoundUp(k, int64_t{kernels::kQGemmDepth});
  g.flat = win.IsPointwise() && k == depth;
  g.copied = !g.flat && (g.Leaves(0) || g.Leaves(1) || g.Leaves(2) || k != depth);
  const auto order = [&] {
    std::vector<int64_t> places;
    for (int64_t t = 0; t < taps; ++t) {
      for (int64_t c = 0; c < w[1]; ++c) places.push_back(c * taps + t);
      if (!whole_lines || (t + 1) % win.kernel[2] == 0)
        places.insert(places.end(), static_cast<size_t>(depth - k), -1);
    }
    return places;
  };
  const int64_t num_runs = whole_lines ? win.kernel[0] * win.kernel[1] : taps;
  SLIPWAY_ASSIGN_OR_RETURN(
      p.packed, PackQWeights(b, whole_lines ? "qgemm:16x4-lines" : "qgemm:16x4-points", groups, n,
                             w[1] * taps, num_runs * depth, order, x_zero, p));
  const int64_t blocks = CeilDiv(n, int64_t{kQGemmBlock}) * groups;
  const int threads = b.threads();
  SLIPWAY_ASSIGN_OR_RETURN(const Units units,
                           Share(g, blocks, blocks * kQGemmBlock * w[1] * taps, threads));
  int64_t scratch = 0;
  if (g.copied) {
    int64_t most_lines = 1, most_columns = 1;
    for (int64_t i = 0; i < units.strips; ++i) {
      const Strip s = units.At(i);
      most_lines = std::max(most_lines, s.h1 - s.h0);
      most_columns = std::max(most_columns, s.c1 - s.c0);
    }
    const auto bytes = g.CopyBytes(most_lines, most_columns);
    if (!bytes) return Unsupported("a window that spreads too far");
    scratch = RoundUp(*bytes, int64_t{64});
    g.line = g.Extent(2, most_columns) * g.channels;
    g.plane = g.Extent(1, most_lines) * g.line;
  } else {
    g.line = win.in[2] * g.channels;
    g.plane = win.in[1] * g.line;
  }
  std::vector<int64_t> runs;
  for (int64_t d = 0; d < win.kernel[0]; ++d) {
    for (int64_t h = 0; h < win.kernel[1]; ++h) {
      for (int64_t v = 0; v < (whole_lines ? 1 : win.kernel[2]); ++v)
        runs.push_back(d * (g.copied ? 1 : win.dilation[0]) * g.plane +
                       h * win.dilation[1] * g.line + v * win.dilation[2] * g.channels);
    }
  }
  const int64_t slots = std::min<int64_t>(threads, units.count());
  b.Workspace(static_cast<uint64_t>(slots * scratch));
  kernels::QGemmCall call = p.call;
  call.k = k;
  call.num_runs = static_cast<int64_t>(runs.size());
  call.groups = groups;
  call.x_group = w[1];
  call.columns = n;
  call.y_stride = call.z_stride = w[0];
  call.x_stride = win.stride[2] * g.channels;
  call.line_stride = win.stride[1] * g.line;
  if (p.packed) {
    call.weights = p.packed.weights();
    call.bias = p.packed.bias();
    call.multiplier = p.packed.multiplier();
  }
  const auto& kernel = kernels::GetQGemm(kernels::BestIntegerIsa());
  const int64_t size = call.y_type == kernels::CodeType::kF32 ? 4 : 1;
  b.Run([=, runs = std::move(runs)](const RunContext& c) {
    c.parallel.ParallelFor(slots, 1, [&](int64_t slot, int64_t slot_end) {
      for (; slot < slot_end; ++slot) {
        uint8_t* copy = static_cast<uint8_t*>(c.workspace) + slot * scratch;
        const int64_t end = units.count() * (slot + 1) / slots;
        int64_t copied = -1;
        for (int64_t u = units.count() * slot / slots; u < end; ++u) {
          // Parts outside, strips inside: few strips are copied twice.
          const int64_t part = u / (units.planes * units.strips),
                        strip = u % (units.planes * units.strips);
          const Strip s = units.At(strip);
          kernels::QGemmCall now = call;
          now.runs = runs.data();
          now.first_block = blocks * part / units.parts;
          now.end_block = blocks * (part + 1) / units.parts;
          now.line = s.c1 - s.c0;
          now.rows = (s.h1 - s.h0) * now.line;
          if (g.copied) {
            if (copied != strip) g.Copy(c.in<uint8_t>(0), s, copy);
            copied = strip;
            now.x = copy;
          } else {
            now.x = c.in<uint8_t>(0) + s.image * win.in[0] * g.plane + g.Start(0, s) * g.plane +
                    g.Start(1, s) * g.line + g.Start(2, s) * g.channels;
          }
          const int64_t row =
              ((s.image * units.depths + s.depth) * units.lines + s.h0) * units.columns + s.c0;
          now.y = c.out<uint8_t>() + row * w[0] * size;
          now.z = p.residual ? c.in<uint8_t>(4) + row * w[0] : nullptr;
          kernel.run(now);
        }
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace slipway::backends::x86
