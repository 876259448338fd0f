// QConv, QLinear: products of codes with constant weights. Images lie channels last, so that a
// convolution is a product of rows: of the image itself where the window is one position, else of
// patches that are gathered block by block into a buffer that fits the second-level cache.

#include "engine/kernels/qgemm/qgemm.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/aligned.h"
#include "engine/backends/x86/run/activation.h"
#include "engine/backends/x86/run/backend.h"
#include "engine/backends/x86/run/step.h"
#include "model/ops/quantized.h"
#include "model/ops/window.h"

namespace slipway::backends::x86 {
namespace {

using kernels::kQGemmBlock;

constexpr int64_t kBlockBytes = 192 * 1024;  // of x that a block of rows may take

bool IsCode(DType t) { return t == DType::kUInt8 || t == DType::kInt8; }
kernels::CodeType TypeOf(DType t) {
  return t == DType::kFloat32 ? kernels::CodeType::kF32
         : t == DType::kInt8  ? kernels::CodeType::kS8
                              : kernels::CodeType::kU8;
}

// Weights, bias and multipliers as the kernels want them, shared by the sessions of a package.
struct Packed {
  int64_t groups = 1, k = 0, n = 0;  // of one group
  int64_t weight_stride = 0, column_stride = 0;
  AlignedBuffer weights;
  std::vector<int32_t> bias;
  std::vector<float> multiplier;
};

// What the product is made of beside the rows; the same for convolutions and linear layers.
struct Product {
  std::shared_ptr<const Packed> packed;  // null in a probe
  kernels::QGemmCall call;               // pointers of a run left out
  bool residual = false;
};

// Reads multiplier, bias, residual, activation and output of the node; `channels` columns in all.
Result<Product> ReadProduct(Builder& b, int64_t channels) {
  const ops::Attributes& a = b.attributes();
  Product p;
  if (!IsCode(b.in_type())) return Unsupported(std::string(DTypeName(b.in_type())) + " input");
  SLIPWAY_RETURN_IF_ERROR(b.NeedType(1, DType::kInt8));
  SLIPWAY_RETURN_IF_ERROR(b.NeedType(2, DType::kFloat32));
  if (!b.ConstantData(1) || !b.ConstantData(2))
    return Unsupported("weights or a multiplier that are no constants");
  const int64_t multipliers = b.in_dims(2).count();
  if (multipliers != 1 && multipliers != channels)
    return InvalidArgument("a multiplier with " + std::to_string(multipliers) + " elements for " +
                           std::to_string(channels) + " channels");
  if (b.Has(3)) {
    SLIPWAY_RETURN_IF_ERROR(b.NeedType(3, DType::kInt32));
    if (!b.ConstantData(3)) return Unsupported("a bias that is no constant");
    if (b.in_dims(3).count() != channels) return InvalidArgument("a bias of another extent");
  }
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Requantizer to, ops::MakeRequantizer(a, b.out_type()));
  p.call.to = {to.zero_point, to.lo, to.hi};
  p.call.y_type = TypeOf(b.out_type());
  p.call.flip = b.in_type() == DType::kInt8;
  if (b.Has(4)) {
    if (!IsCode(b.in_type(4))) return Unsupported("a residual that is not 8 bit");
    SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(4));
    SLIPWAY_ASSIGN_OR_RETURN(p.call.z_zero, ops::ReadZeroPoint(a, "z_zero_point", b.in_type(4)));
    p.residual = true;
    p.call.z_type = TypeOf(b.in_type(4));
    p.call.z_multiplier = a.Float("z_multiplier", 0);
  }
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Activation activation, ops::ParseActivation(a));
  const auto fused = FusedActivation::Of(activation, b.isa());
  p.call.activation = fused.function;
  p.call.swish = activation.kind == ops::ActivationKind::kSwish;
  p.call.a = fused.a;
  p.call.b = fused.b;
  p.call.y_multiplier = a.Float("y_multiplier", 1);
  // |sum| <= 2^31.
  const auto* m = static_cast<const float*>(b.ConstantData(2));
  const float most = 0.9f / std::max(1.0f, std::fabs(p.call.y_multiplier));
  p.call.bounded = !p.residual && (!fused.function || p.call.swish) &&
                   std::all_of(m, m + multipliers, [&](float v) { return std::fabs(v) < most; });
  return p;
}

// Weight (group, k, n) at group * group_stride + n * n_stride + order[k].
Result<std::shared_ptr<const Packed>> Pack(Builder& b, int64_t groups, int64_t n, int64_t n_stride,
                                           const std::vector<int64_t>& order, int32_t x_zero) {
  auto made = std::make_shared<Packed>();
  Packed& p = *made;
  p.groups = groups;
  p.n = n;
  p.k = static_cast<int64_t>(order.size());
  p.weight_stride = RoundUp(kernels::QGemmPackedBytes(p.k, n), int64_t{64});
  p.column_stride = RoundUp(n, int64_t{kQGemmBlock});
  const auto bytes = CheckedMul(p.weight_stride, groups);
  if (!bytes) return ResourceExhausted("too many weights");
  p.weights = AlignedBuffer(static_cast<size_t>(*bytes));
  if (!p.weights.data()) return ResourceExhausted("no memory for packed weights");
  p.bias.assign(static_cast<size_t>(p.column_stride * groups), 0);
  p.multiplier.assign(static_cast<size_t>(p.column_stride * groups), 0);
  const auto* w = static_cast<const int8_t*>(b.ConstantData(1));
  const auto* m = static_cast<const float*>(b.ConstantData(2));
  const auto* bias = static_cast<const int32_t*>(b.ConstantData(3));
  const bool one = b.in_dims(2).count() == 1;
  // Signed codes are taken as unsigned ones 128 higher.
  const uint32_t zero = static_cast<uint32_t>(x_zero + (b.in_type() == DType::kInt8 ? 128 : 0));
  std::vector<int8_t> ordered(static_cast<size_t>(p.k * n));
  std::vector<int32_t> sums(static_cast<size_t>(n));
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t j = 0; j < n; ++j) {
      const int8_t* from = w + (g * n + j) * n_stride;
      for (size_t k = 0; k < order.size(); ++k)
        ordered[static_cast<size_t>(j) * order.size() + k] = from[order[k]];
    }
    kernels::QGemmPack(ordered.data(), p.k, n, 1, p.k,
                       reinterpret_cast<int8_t*>(p.weights.data()) + g * p.weight_stride,
                       sums.data());
    for (int64_t j = 0; j < n; ++j) {
      const size_t to = static_cast<size_t>(g * p.column_stride + j);
      const int64_t channel = g * n + j;
      const uint32_t given = bias ? static_cast<uint32_t>(bias[channel]) : 0;
      p.bias[to] =
          static_cast<int32_t>(given - zero * static_cast<uint32_t>(sums[static_cast<size_t>(j)]));
      p.multiplier[to] = m[one ? 0 : channel];
    }
  }
  return std::shared_ptr<const Packed>(std::move(made));
}

// Sets what group g adds to a call; y and z point to the first row.
void SetGroup(const Product& p, int64_t g, kernels::QGemmCall& call) {
  const Packed& packed = *p.packed;
  call.weights = reinterpret_cast<const int8_t*>(packed.weights.data()) + g * packed.weight_stride;
  call.bias = packed.bias.data() + g * packed.column_stride;
  call.multiplier = packed.multiplier.data() + g * packed.column_stride;
}

// The columns [begin, end) of a call.
void RunColumns(const kernels::QGemmKernels& k, kernels::QGemmCall call, int64_t begin,
                int64_t end) {
  const int64_t depth = RoundUp(call.k, int64_t{kernels::kQGemmDepth});
  call.weights += begin * depth;  // begin is a multiple of a block's columns
  call.bias += begin;
  call.multiplier += begin;
  const int64_t size = call.y_type == kernels::CodeType::kF32 ? 4 : 1;
  call.y = static_cast<uint8_t*>(call.y) + begin * size;
  if (call.z) call.z = static_cast<const uint8_t*>(call.z) + begin;
  call.columns = end - begin;
  k.run(call);
}

// How rows and columns are shared out. Columns are split only where there are too few rows for the
// threads.
struct Split {
  int64_t rows = 0, block = 1, blocks = 0, columns = 0, parts = 1;

  static Split Of(int64_t rows, int64_t depth, int64_t columns, bool split_columns, int threads) {
    Split s;
    s.rows = rows;
    s.columns = columns;
    s.block = std::clamp<int64_t>(kBlockBytes / std::max<int64_t>(depth, 1) / 24 * 24, 24, 1536);
    if (threads > 1) s.block = std::min(s.block, RoundUp(CeilDiv(rows, 2 * threads), int64_t{24}));
    s.blocks = CeilDiv(rows, s.block);
    if (threads > 1 && split_columns && s.blocks < 2 * threads)
      s.parts = std::clamp<int64_t>(2 * threads / s.blocks, 1, CeilDiv(columns, int64_t{64}));
    return s;
  }
  int64_t units() const { return blocks * parts; }
  int64_t Column(int64_t part) const {  // where a part begins
    return std::min(columns, CeilDiv(columns, int64_t{kQGemmBlock}) * part / parts * kQGemmBlock);
  }
};

void Copy(uint8_t* to, const uint8_t* from, int64_t n) {  // mostly short
  if (n >= 16) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) std::memcpy(to + i, from + i, 16);
    if (i < n) std::memcpy(to + n - 16, from + n - 16, 16);
  } else if (n >= 8) {
    std::memcpy(to, from, 8);
    std::memcpy(to + n - 8, from + n - 8, 8);
  } else if (n >= 4) {
    std::memcpy(to, from, 4);
    std::memcpy(to + n - 4, from + n - 4, 4);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i];
  }
}

struct Patches {
  ops::Window w;
  int64_t channels = 0, group_channels = 0, depth = 0;
  uint8_t fill = 0;  // the code of 0

  // Rows [begin, end) of the matrix of patches, with positions outside of the image filled in.
  void Gather(const uint8_t* x, int64_t group, int64_t begin, int64_t end, uint8_t* to) const {
    const int64_t plane = w.OutCount();
    const bool whole = group_channels == channels && w.dilation[2] == 1;
    int64_t o2 = begin % w.out[2], o1 = begin / w.out[2] % w.out[1],
            o0 = begin % plane / (w.out[1] * w.out[2]), image = begin / plane;
    for (int64_t row = begin; row < end; ++row, to += depth) {
      const uint8_t* from = x + image * w.InCount() * channels + group * group_channels;
      const int64_t s0 = o0 * w.stride[0] - w.pad_begin[0], s1 = o1 * w.stride[1] - w.pad_begin[1],
                    s2 = o2 * w.stride[2] - w.pad_begin[2];
      uint8_t* at = to;
      const int64_t line = w.kernel[2] * group_channels;
      for (int64_t d = 0; d < w.kernel[0]; ++d) {
        const int64_t p0 = s0 + d * w.dilation[0];
        for (int64_t h = 0; h < w.kernel[1]; ++h, at += line) {
          const int64_t p1 = s1 + h * w.dilation[1];
          if (p0 < 0 || p0 >= w.in[0] || p1 < 0 || p1 >= w.in[1]) {
            std::memset(at, fill, static_cast<size_t>(line));
            continue;
          }
          const uint8_t* source = from + (p0 * w.in[1] + p1) * w.in[2] * channels;
          if (whole) {
            const int64_t lo = std::clamp<int64_t>(-s2, 0, w.kernel[2]),
                          hi = std::clamp<int64_t>(w.in[2] - s2, lo, w.kernel[2]);
            if (lo > 0) std::memset(at, fill, static_cast<size_t>(lo * channels));
            if (hi > lo)
              Copy(at + lo * channels, source + (s2 + lo) * channels, (hi - lo) * channels);
            if (hi < w.kernel[2])
              std::memset(at + hi * channels, fill, static_cast<size_t>(line - hi * channels));
            continue;
          }
          for (int64_t v = 0; v < w.kernel[2]; ++v) {
            const int64_t p2 = s2 + v * w.dilation[2];
            if (p2 < 0 || p2 >= w.in[2]) {
              std::memset(at + v * group_channels, fill, static_cast<size_t>(group_channels));
            } else {
              Copy(at + v * group_channels, source + p2 * channels, group_channels);
            }
          }
        }
      }
      for (uint8_t* rest = at; rest < to + depth; ++rest) *rest = 0;  // meets zero weights
      if (++o2 < w.out[2]) continue;
      o2 = 0;
      if (++o1 < w.out[1]) continue;
      o1 = 0;
      if (++o0 < w.out[0]) continue;
      o0 = 0;
      ++image;
    }
  }
};

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
  Patches patches;
  SLIPWAY_ASSIGN_OR_RETURN(patches.w, ops::ResolveWindow(a, x, y, std::span(w).subspan(2)));
  SLIPWAY_ASSIGN_OR_RETURN(const int32_t x_zero,
                           ops::ReadZeroPoint(a, "x_zero_point", b.in_type()));
  SLIPWAY_ASSIGN_OR_RETURN(Product p, ReadProduct(b, w[0]));
  if (y.count() == 0) return OkStatus();
  if (x.count() == 0 || w.count() == 0) return Unsupported("a convolution of nothing");
  const ops::Window& win = patches.w;
  for (int d = 0; d < 3; ++d) {
    if (win.out[d] > (int64_t{1} << 40) / win.stride[d])
      return InvalidArgument("strides that leave every image");
  }
  patches.channels = x[1];
  patches.group_channels = w[1];
  patches.fill = static_cast<uint8_t>(x_zero);
  const int64_t taps = win.KernelCount(), k = w[1] * taps, n = w[0] / groups;
  patches.depth = RoundUp(k, int64_t{kernels::kQGemmDepth});
  SLIPWAY_ASSIGN_OR_RETURN(p.packed,
                           b.Shared<Packed>([&]() -> Result<std::shared_ptr<const Packed>> {
                             // Patches have the channels last, weights first.
                             std::vector<int64_t> order;
                             for (int64_t t = 0; t < taps; ++t) {
                               for (int64_t c = 0; c < w[1]; ++c) order.push_back(c * taps + t);
                             }
                             return Pack(b, groups, n, k, order, x_zero);
                           }));
  const bool direct = win.IsPointwise() && w[1] % kernels::kQGemmDepth == 0;
  const int threads = b.threads();
  const Split split = Split::Of(x[0] * win.OutCount(), patches.depth, n, groups == 1, threads);
  const int64_t slots = std::min<int64_t>(threads, split.units());
  const int64_t scratch = RoundUp(std::min(split.block, split.rows) * patches.depth, int64_t{64});
  if (!direct) b.Workspace(static_cast<uint64_t>(slots * scratch));
  kernels::QGemmCall call = p.call;
  call.k = k;
  call.x_stride = direct ? x[1] : patches.depth;
  call.y_stride = call.z_stride = w[0];
  const auto& kernel = kernels::GetQGemm(kernels::BestIntegerIsa());
  const int64_t size = call.y_type == kernels::CodeType::kF32 ? 4 : 1;
  b.Run([=](const RunContext& c) {
    c.parallel.ParallelFor(slots, 1, [&](int64_t slot, int64_t slot_end) {
      for (; slot < slot_end; ++slot) {
        uint8_t* buffer = static_cast<uint8_t*>(c.workspace) + (direct ? 0 : slot * scratch);
        for (int64_t u = split.units() * slot / slots; u < split.units() * (slot + 1) / slots;
             ++u) {
          const int64_t part = u % split.parts, row = u / split.parts * split.block,
                        end = std::min(split.rows, row + split.block);
          kernels::QGemmCall now = call;
          now.rows = end - row;
          for (int64_t g = 0; g < groups; ++g) {
            if (direct) {
              now.x = c.in<uint8_t>(0) + row * x[1] + g * w[1];
            } else {
              patches.Gather(c.in<uint8_t>(0), g, row, end, buffer);
              now.x = buffer;
            }
            SetGroup(p, g, now);
            now.y = c.out<uint8_t>() + (row * w[0] + g * n) * size;
            now.z = p.residual ? c.in<uint8_t>(4) + row * w[0] + g * n : nullptr;
            RunColumns(kernel, now, split.Column(part), split.Column(part + 1));
          }
        }
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

Status BuildQLinear(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(3));
  SLIPWAY_RETURN_IF_ERROR(b.NeedPlain());
  const ops::Attributes& a = b.attributes();
  const Dims x = b.in_dims(), w = b.in_dims(1), y = b.out_dims();
  if (x.rank() < 1 || w.rank() != 2 || y.rank() != x.rank())
    return InvalidArgument("X " + x.ToString() + ", W " + w.ToString() + " and Y " + y.ToString() +
                           " make no product");
  const bool trans = a.Int("transW", 0) != 0;
  const int64_t k = w[trans ? 1 : 0], n = w[trans ? 0 : 1], rows = x.count(0, x.rank() - 1);
  if (x.back() != k || y.back() != n || y.count(0, y.rank() - 1) != rows)
    return InvalidArgument("W " + w.ToString() + " does not fit X " + x.ToString() + " and Y " +
                           y.ToString());
  SLIPWAY_ASSIGN_OR_RETURN(const int32_t x_zero,
                           ops::ReadZeroPoint(a, "x_zero_point", b.in_type()));
  SLIPWAY_ASSIGN_OR_RETURN(Product p, ReadProduct(b, n));
  if (y.count() == 0) return OkStatus();
  if (k == 0) return Unsupported("a product of nothing");
  SLIPWAY_ASSIGN_OR_RETURN(p.packed,
                           b.Shared<Packed>([&]() -> Result<std::shared_ptr<const Packed>> {
                             std::vector<int64_t> order(static_cast<size_t>(k));
                             for (int64_t i = 0; i < k; ++i)
                               order[static_cast<size_t>(i)] = trans ? i : i * n;
                             return Pack(b, 1, n, trans ? k : 1, order, x_zero);
                           }));
  const int64_t depth = RoundUp(k, int64_t{kernels::kQGemmDepth});
  const bool direct = depth == k;
  const int threads = b.threads();
  const Split split = Split::Of(rows, depth, n, true, threads);
  const int64_t slots = std::min<int64_t>(threads, split.units());
  const int64_t scratch = RoundUp(std::min(split.block, rows) * depth, int64_t{64});
  if (!direct) b.Workspace(static_cast<uint64_t>(slots * scratch));
  kernels::QGemmCall call = p.call;
  call.k = k;
  call.x_stride = depth;
  call.y_stride = call.z_stride = n;
  const auto& kernel = kernels::GetQGemm(kernels::BestIntegerIsa());
  const int64_t size = call.y_type == kernels::CodeType::kF32 ? 4 : 1;
  b.Run([=](const RunContext& c) {
    c.parallel.ParallelFor(slots, 1, [&](int64_t slot, int64_t slot_end) {
      for (; slot < slot_end; ++slot) {
        uint8_t* buffer = static_cast<uint8_t*>(c.workspace) + (direct ? 0 : slot * scratch);
        for (int64_t u = split.units() * slot / slots; u < split.units() * (slot + 1) / slots;
             ++u) {
          const int64_t part = u % split.parts, row = u / split.parts * split.block,
                        end = std::min(split.rows, row + split.block);
          kernels::QGemmCall now = call;
          now.rows = end - row;
          now.x = c.in<uint8_t>(0) + row * k;
          if (!direct) {  // rows whose ends may be read
            for (int64_t r = row; r < end; ++r) {
              uint8_t* to = buffer + (r - row) * depth;
              std::memcpy(to, c.in<uint8_t>(0) + r * k, static_cast<size_t>(k));
              std::memset(to + k, 0, static_cast<size_t>(depth - k));
            }
            now.x = buffer;
          }
          SetGroup(p, 0, now);
          now.y = c.out<uint8_t>() + row * n * size;
          now.z = p.residual ? c.in<uint8_t>(4) + row * n : nullptr;
          RunColumns(kernel, now, split.Column(part), split.Column(part + 1));
        }
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace slipway::backends::x86
