// Softmax, normalisations and reductions.

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "engine/backends/x86/run/activation.h"
#include "engine/backends/x86/run/broadcast.h"
#include "engine/kernels/eltwise/eltwise.h"
#include "engine/kernels/quant/quant.h"
#include "engine/kernels/rows/rows.h"
#include "model/ops/quantized.h"

namespace slipway::backends::x86 {
namespace {

using kernels::ReduceKind;
using kernels::UnaryKind;

Status CheckFloats(const Builder& b, size_t inputs) {
  for (size_t i = 0; i < inputs; ++i) SLIPWAY_RETURN_IF_ERROR(b.NeedType(i, DType::kFloat32));
  return b.out_type() == DType::kFloat32
             ? OkStatus()
             : Unsupported(std::string(DTypeName(b.out_type())) + " output");
}

int64_t RowGrain(int64_t n) { return std::max<int64_t>(1, 32768 / std::max<int64_t>(n, 1)); }

// Element n of [outer, n, inner].
struct Split3 {
  int64_t outer, n, inner;
};

// One element a channel in inputs [first, last].
Status CheckVectors(const Builder& b, size_t first, size_t last, int64_t count) {
  for (size_t i = first; i <= last; ++i) {
    if (b.in_dims(i).count() != count)
      return InvalidArgument(b.op() + ": input " + std::to_string(i) + " must have " +
                             std::to_string(count) + " elements");
  }
  return OkStatus();
}

struct ReduceRow {
  const char* op;
  ReduceKind kind;
  UnaryKind finish;
};
constexpr ReduceRow kReduce[] = {
    {"ReduceMean", ReduceKind::kSum, UnaryKind::kAffine},
    {"ReduceSum", ReduceKind::kSum, UnaryKind::kIdentity},
    {"ReduceMax", ReduceKind::kMax, UnaryKind::kIdentity},
    {"ReduceMin", ReduceKind::kMin, UnaryKind::kIdentity},
    {"ReduceProd", ReduceKind::kProd, UnaryKind::kIdentity},
    {"ReduceL1", ReduceKind::kAbsSum, UnaryKind::kIdentity},
    {"ReduceL2", ReduceKind::kSquareSum, UnaryKind::kSqrt},
    {"ReduceSumSquare", ReduceKind::kSquareSum, UnaryKind::kIdentity},
    {"GlobalAveragePool", ReduceKind::kSum, UnaryKind::kAffine},
    {"GlobalMaxPool", ReduceKind::kMax, UnaryKind::kIdentity},
};

// Reduces the middle of [outer, n, inner].
Status AddReduce(Builder& b, const Split3& s) {
  const ReduceRow* row = nullptr;
  for (const ReduceRow& r : kReduce) {
    if (b.op() == r.op) row = &r;
  }
  if (!row) return Unsupported("no " + b.op());
  if (b.Physical(b.output()) != s.outer * s.inner)
    return InvalidArgument(b.op() + ": the output does not fit the input");
  if (s.outer * s.inner == 0) return OkStatus();
  if (s.n == 0) {  // what the reduction starts with; padded channels would have to stay zero
    if (!b.NeedPlain().ok()) return Unsupported("a reduction over nothing in blocks of channels");
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const float value = row->kind == ReduceKind::kProd  ? 1
                        : row->kind == ReduceKind::kMax ? -kInfinity
                        : row->kind == ReduceKind::kMin ? kInfinity
                        : row->finish == UnaryKind::kAffine
                            ? std::numeric_limits<float>::quiet_NaN()
                            : 0;
    b.Run([=, count = s.outer * s.inner](const RunContext& c) {
      std::fill_n(c.out<float>(), count, value);
      return OkStatus();
    });
    return OkStatus();
  }
  const kernels::RowKernels& k = kernels::GetRows(b.isa());
  const auto along = k.reduce[static_cast<int>(row->kind)];
  const auto columns = k.reduce_columns[static_cast<int>(row->kind)];
  const auto finish = row->finish == UnaryKind::kIdentity
                          ? nullptr
                          : kernels::GetEltwise(b.isa()).unary[static_cast<int>(row->finish)];
  const float scale = 1.0f / static_cast<float>(s.n);
  if (s.inner == 1) {
    b.Run([=](const RunContext& c) {
      c.parallel.ParallelFor(s.outer, RowGrain(s.n), [&](int64_t begin, int64_t end) {
        float* y = c.out<float>();
        for (int64_t i = begin; i < end; ++i) y[i] = along(c.in<float>(0) + i * s.n, s.n);
        if (finish) finish(y + begin, y + begin, end - begin, scale, 0);
      });
      return OkStatus();
    });
    return OkStatus();
  }
  // Columns in pieces, so that one image still has work for several threads.
  const int64_t piece =
                    s.outer >= b.threads() ? s.inner : RoundUp(CeilDiv(s.inner, b.threads()), 16),
                pieces = CeilDiv(s.inner, piece);
  b.Run([=](const RunContext& c) {
    c.parallel.ParallelFor(
        s.outer * pieces, RowGrain(s.n * piece), [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            const int64_t o = i / pieces, j = i % pieces * piece, m = std::min(piece, s.inner - j);
            float* y = c.out<float>() + o * s.inner + j;
            columns(c.in<float>(0) + o * s.n * s.inner + j, s.n, s.inner, y, m);
            if (finish) finish(y, y, m, scale, 0);
          }
        });
    return OkStatus();
  });
  return OkStatus();
}

// The spatial positions of an image as the middle of [outer, n, inner] in its layout.
Split3 Spatial(const Dims& x, Layout layout) {
  const int64_t n = x.count(2, x.rank()), block = format::ChannelBlock(layout);
  if (layout == Layout::kPlain) return {x[0] * x[1], n, 1};
  if (layout == Layout::kChannelsLast) return {x[0], n, x[1]};
  return {x[0] * CeilDiv(x[1], block), n, block};
}

}  // namespace

// Rows of n numbers of float16 by a function of rows of float32 in place, some at a time in memory
// of each thread. f(rows of float32, how many).
template <typename F>
void RunHalfRows(Builder& b, int64_t rows, int64_t n, const F& f) {
  if constexpr (!kRunsFloat16) return;
  const int64_t some = std::clamp<int64_t>(4096 / n, 1, rows);
  const int64_t threads = std::min<int64_t>(b.threads(), CeilDiv(rows, some));
  b.Workspace(static_cast<uint64_t>(threads * some * n) * 4);
  const Conversions to = Conversions::Of(DType::kFloat16, b.isa());
  b.Run([=](const RunContext& c) {
    c.parallel.ParallelFor(threads, 1, [&](int64_t slot, int64_t end) {
      for (; slot < end; ++slot) {
        float* all = static_cast<float*>(c.workspace) + slot * some * n;
        const int64_t last = rows * (slot + 1) / threads;
        for (int64_t row = rows * slot / threads; row < last; row += some) {
          const int64_t now = std::min(some, last - row);
          to.widen(c.in<uint16_t>(0) + row * n, all, now * n);
          f(all, now);
          to.narrow(all, c.out<uint16_t>() + row * n, now * n);
        }
      }
    });
    return OkStatus();
  });
}

Status BuildSoftmax(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  const bool half = b.in_type() == DType::kFloat16;
  if (!half) SLIPWAY_RETURN_IF_ERROR(CheckFloats(b, 1));
  SLIPWAY_RETURN_IF_ERROR(b.NeedHalf(b.in_type()));
  if (b.out_type() != b.in_type()) return Unsupported("softmax to another type");
  SLIPWAY_RETURN_IF_ERROR(b.NeedPlain());
  SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(0));
  const Dims x = b.in_dims();
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, Builder::Axis(b.attributes().Int("axis", -1), x.rank()));
  if (x.count() == 0) return OkStatus();
  const Split3 s{x.count(0, axis), x[static_cast<size_t>(axis)], x.count(axis + 1, x.rank())};
  const bool log = b.op() == "LogSoftmax";
  const kernels::RowKernels& k = kernels::GetRows(b.isa());
  if (half) {
    if (s.inner != 1) return Unsupported("softmax of float16 over another axis than the last");
    RunHalfRows(b, s.outer, s.n, [f = k.softmax, n = s.n, log](float* all, int64_t rows) {
      f(all, all, rows, n, log);
    });
    return OkStatus();
  }
  if (s.inner == 1) {
    b.Run([=, f = k.softmax](const RunContext& c) {
      c.parallel.ParallelFor(s.outer, std::max<int64_t>(1, 8192 / s.n),
                             [&](int64_t begin, int64_t end) {
                               f(c.in<float>(0) + begin * s.n, c.out<float>() + begin * s.n,
                                 end - begin, s.n, log);
                             });
      return OkStatus();
    });
    return OkStatus();
  }
  const int64_t piece = 64, pieces = CeilDiv(s.inner, piece);
  b.Run([=, f = k.softmax_columns](const RunContext& c) {
    c.parallel.ParallelFor(s.outer * pieces, std::max<int64_t>(1, 8192 / (s.n * piece)),
                           [&](int64_t begin, int64_t end) {
                             for (int64_t i = begin; i < end; ++i) {
                               const int64_t j = i % pieces * piece,
                                             at = i / pieces * s.n * s.inner + j;
                               f(c.in<float>(0) + at, c.out<float>() + at, s.n, s.inner,
                                 std::min(piece, s.inner - j), log);
                             }
                           });
    return OkStatus();
  });
  return OkStatus();
}

Status BuildQLayerNorm(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  SLIPWAY_RETURN_IF_ERROR(b.NeedPlain());
  SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(0));
  const bool sums = b.Has(2);  // of codes
  kernels::QBinaryParams params;
  kernels::QBinaryFunction add = nullptr;
  if (sums) {
    if (b.in_dims(2) != b.in_dims()) return InvalidArgument("codes of two shapes");
    SLIPWAY_ASSIGN_OR_RETURN(params.a_zero,
                             ops::ReadZeroPoint(b.attributes(), "a_zero_point", b.in_type(0)));
    SLIPWAY_ASSIGN_OR_RETURN(params.b_zero,
                             ops::ReadZeroPoint(b.attributes(), "b_zero_point", b.in_type(2)));
    params.a_multiplier = b.attributes().Float("a_multiplier", 1);
    params.b_multiplier = b.attributes().Float("b_multiplier", 1);
    add = kernels::GetQuant(b.isa())
              .binary[static_cast<int>(kernels::QBinaryKind::kAdd)][b.in_type(0) == DType::kInt8]
                     [b.in_type(2) == DType::kInt8][2][static_cast<int>(kernels::Walk::kRows)];
  } else {
    SLIPWAY_RETURN_IF_ERROR(b.NeedType(0, DType::kFloat32));
  }
  SLIPWAY_ASSIGN_OR_RETURN(const ops::NormRounding r,
                           ops::ReadNormRounding(b.attributes(), b.out_type()));
  const Dims x = b.in_dims();
  if (x.rank() < 1) return InvalidArgument("a normalisation of a scalar");
  if (x.count() == 0) return OkStatus();
  const int64_t n = x.back(), rows = x.count() / n;
  if (b.Has(1) && (b.in_type(1) != DType::kFloat32 || b.in_dims(1).count() != n))
    return InvalidArgument("the weight " + b.in_dims(1).ToString() + " does not fit rows of " +
                           std::to_string(n));
  const auto rounding = [](const ops::Requantizer& to, float scale) {
    return kernels::Rounding{scale, static_cast<float>(to.lo - to.zero_point),
                             static_cast<float>(to.hi - to.zero_point)};
  };
  kernels::LayerNormCodesCall call;
  call.n = n;
  call.epsilon = r.epsilon;
  call.variance = rounding(r.v_to, r.v_scale);
  call.code = rounding(r.to, r.scale);
  call.zero = r.to.zero_point;
  const bool weighted = b.Has(1);
  const auto f = kernels::GetRows(b.isa()).layer_norm_codes;
  if (sums) {  // a few rows of them at a time, which stay in the first-level cache
    constexpr int64_t kTogether = 4;
    const int threads = b.threads();
    b.Workspace(static_cast<uint64_t>(threads * kTogether * RoundUp(n, 16) * 4));
    b.Run([=](const RunContext& c) {
      c.parallel.ParallelFor(threads, 1, [&](int64_t slot, int64_t slot_end) {
        for (; slot < slot_end; ++slot) {
          kernels::LayerNormCodesCall now = call;
          float* x = static_cast<float*>(c.workspace) + slot * kTogether * RoundUp(n, 16);
          now.x = x;
          if (weighted) now.weight = c.in<float>(1);
          const int64_t end = rows * (slot + 1) / threads;
          for (int64_t row = rows * slot / threads; row < end; row += kTogether) {
            const int64_t count = std::min(kTogether, end - row);
            add(c.in<uint8_t>(0) + row * n, c.in<uint8_t>(2) + row * n, x, count * n, 1, params);
            now.y = c.out<uint8_t>() + row * n;
            f(now, 0, count);
          }
        }
      });
      return OkStatus();
    });
    return OkStatus();
  }
  b.Run([=](const RunContext& c) {
    kernels::LayerNormCodesCall now = call;
    now.x = c.in<float>(0);
    now.y = c.out<uint8_t>();
    if (weighted) now.weight = c.in<float>(1);
    c.parallel.ParallelFor(rows, RowGrain(n),
                           [&](int64_t begin, int64_t end) { f(now, begin, end); });
    return OkStatus();
  });
  return OkStatus();
}

Status BuildLayerNorm(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2));
  const bool half = IsHalf(b.in_type()), bias = b.Has(2);
  const bool float16 = b.in_type() == DType::kFloat16;
  const kernels::RowKernels* k = &kernels::GetRows(b.isa());
  SLIPWAY_RETURN_IF_ERROR(b.NeedHalf(b.in_type()));
  if (!half) {
    SLIPWAY_RETURN_IF_ERROR(CheckFloats(b, bias ? 3 : 2));
  } else if (float16) {
    if (b.out_type() != DType::kFloat16) return Unsupported("float16 normalised to another type");
  } else if (!k->half_rows || b.out_type() != DType::kBFloat16) {
    return Unsupported("bfloat16 normalised to another type, or without AVX-512");
  }
  for (size_t i = 1; i < b.num_outputs(); ++i) {
    if (b.output(i).dtype != 0) return Unsupported("mean and deviation outputs");
  }
  SLIPWAY_RETURN_IF_ERROR(b.NeedPlain());
  SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(0));
  const Dims x = b.in_dims();
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, Builder::Axis(b.attributes().Int("axis", -1), x.rank()));
  if (x.count() == 0) return OkStatus();
  const int64_t rows = x.count(0, axis), n = x.count(axis, x.rank());
  for (size_t i = 1; i < 3; ++i) {
    if (b.Has(i) && b.in_dims(i).count() != n)
      return Unsupported("a scale or bias that broadcasts");
  }
  // Parameters in 16 bits are widened once.
  auto wide = std::make_shared<std::vector<float>>();
  if (half) {
    wide->resize(static_cast<size_t>(bias ? 2 * n : n));
    for (size_t i = 1; i < (bias ? 3 : 2); ++i) {
      const auto* from = static_cast<const uint16_t*>(b.ConstantData(i));
      if (!from || b.in_type(i) != b.in_type())
        return Unsupported("parameters that are no constants of the input's type");
      const auto widen = Conversions::Of(b.in_type(), b.isa()).widen;
      if (widen) widen(from, wide->data() + (i == 2 ? n : 0), n);
    }
  }
  kernels::LayerNormCall call{.x = nullptr,
                              .y = nullptr,
                              .half = half,
                              .root_mean = b.op() == "RMSNormalization",
                              .n = n,
                              .scale = nullptr,
                              .bias = nullptr,
                              .epsilon = b.attributes().Float("epsilon", 1e-5f)};
  if (float16) {
    call.half = false;
    RunHalfRows(b, rows, n, [=, layer_norm = k->layer_norm](float* all, int64_t count) {
      kernels::LayerNormCall now = call;
      now.x = now.y = all;
      now.scale = wide->data();
      if (bias) now.bias = wide->data() + n;
      layer_norm(now, 0, count);
    });
    return OkStatus();
  }
  b.Run([=, layer_norm = k->layer_norm](const RunContext& c) {
    kernels::LayerNormCall now = call;
    now.x = c.inputs[0].data;
    now.y = c.outputs[0].data;
    now.scale = half ? wide->data() : c.in<float>(1);
    if (bias) now.bias = half ? wide->data() + n : c.in<float>(2);
    c.parallel.ParallelFor(rows, RowGrain(n),
                           [&](int64_t begin, int64_t end) { layer_norm(now, begin, end); });
    return OkStatus();
  });
  return OkStatus();
}

Status BuildGroupNorm(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(3));
  SLIPWAY_RETURN_IF_ERROR(CheckFloats(b, 3));
  SLIPWAY_RETURN_IF_ERROR(b.NeedPlain());
  SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(0));
  const Dims x = b.in_dims();
  if (x.rank() < 2) return InvalidArgument(b.op() + " needs rank 2 or more");
  if (x.count() == 0) return OkStatus();
  const int64_t channels = x[1], groups = b.op() == "InstanceNormalization"
                                              ? channels
                                              : b.attributes().Int("num_groups", 1);
  if (groups < 1 || channels % groups != 0)
    return InvalidArgument("num_groups does not divide the channels");
  SLIPWAY_RETURN_IF_ERROR(CheckVectors(b, 1, 2, channels));
  const int64_t plane = x.count(2, x.rank()), per = channels / groups, n = per * plane;
  const float epsilon = b.attributes().Float("epsilon", 1e-5f);
  const kernels::RowKernels* k = &kernels::GetRows(b.isa());
  b.Run([=, count = x[0] * groups](const RunContext& c) {
    c.parallel.ParallelFor(count, RowGrain(n), [&](int64_t begin, int64_t end) {
      for (int64_t g = begin; g < end; ++g) {
        const float* px = c.in<float>(0) + g * n;
        const kernels::Moments m = k->moments(px, n);
        const float inverse = 1.0f / std::sqrt(m.variance + epsilon);
        for (int64_t i = 0; i < per; ++i) {
          const int64_t channel = g % groups * per + i;
          k->normalize_by(px + i * plane, c.out<float>() + g * n + i * plane, plane, m.mean,
                          c.in<float>(1)[channel] * inverse, c.in<float>(2)[channel]);
        }
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

// y = x * scale' + bias' with one scale' and bias' a channel, computed into the workspace in every
// run (the inputs may not be constant).
Status BuildBatchNorm(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(5));
  SLIPWAY_RETURN_IF_ERROR(CheckFloats(b, 5));
  SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(0));
  const Dims x = b.in_dims();
  if (x.rank() < 2) return InvalidArgument("BatchNormalization needs rank 2 or more");
  if (x.count() == 0) return OkStatus();
  SLIPWAY_RETURN_IF_ERROR(CheckVectors(b, 1, 4, x[1]));
  if (x[1] % format::ChannelBlock(b.out_layout()) != 0)
    return Unsupported("channels that do not fill the blocks");
  Dims vector{1, x[1]};
  for (int i = 2; i < x.rank(); ++i) vector.push_back(1);
  const Dims out = PhysicalDims(x, b.out_layout()), v = PhysicalDims(vector, b.out_layout());
  const Dims* const operands[2] = {&out, &v};
  RowPlan<2> plan;
  plan.Make(out, operands, true);
  const kernels::EltwiseKernels& k = kernels::GetEltwise(b.isa());
  auto pick = [&](const kernels::BinaryFunctions& f) {
    return plan.period() ? f.periodic : plan.walk(1) ? f.rows : f.scalar_y;
  };
  const auto mul = pick(k.binary[static_cast<int>(kernels::BinaryKind::kMul)]),
             add = pick(k.binary[static_cast<int>(kernels::BinaryKind::kAdd)]);
  const int64_t channels = x[1];
  const float epsilon = b.attributes().Float("epsilon", 1e-5f);
  b.Workspace(static_cast<uint64_t>(channels) * 8);
  b.Run([=](const RunContext& c) {
    float* scale = static_cast<float*>(c.workspace);
    float* bias = scale + channels;
    for (int64_t i = 0; i < channels; ++i) {
      scale[i] = c.in<float>(1)[i] / std::sqrt(c.in<float>(4)[i] + epsilon);
      bias[i] = c.in<float>(2)[i] - c.in<float>(3)[i] * scale[i];
    }
    plan.Run(c.parallel, [&](int64_t at, int64_t n, const int64_t* o) {
      float* y = c.out<float>() + at;
      mul(c.in<float>(0) + o[0], scale + o[1], y, n, plan.period());
      add(y, bias + o[1], y, n, plan.period());
    });
    return OkStatus();
  });
  return OkStatus();
}

Status BuildReduce(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  SLIPWAY_RETURN_IF_ERROR(CheckFloats(b, 1));
  const Dims x = b.in_dims();
  bool reduced[kMaxRank] = {};
  std::vector<int64_t> axes;
  if (b.Has(1)) {
    SLIPWAY_ASSIGN_OR_RETURN(axes, b.Ints(1));
  }
  if (axes.empty() && b.attributes().Int("noop_with_empty_axes", 0) != 0)
    return Unsupported("noop_with_empty_axes");
  for (int i = 0; i < x.rank() && axes.empty(); ++i) reduced[i] = true;
  for (int64_t axis : axes) {
    SLIPWAY_ASSIGN_OR_RETURN(const int a, Builder::Axis(axis, x.rank()));
    reduced[a] = true;
  }
  // Images in other layouts: all spatial dimensions and nothing else.
  const Layout layout = b.in_layout();
  if (layout != Layout::kPlain) {
    bool spatial = x.rank() > 2 && !reduced[0] && !reduced[1];
    for (int i = 2; i < x.rank(); ++i) spatial &= reduced[i];
    const bool kept = b.out_dims().rank() == x.rank() && b.out_layout() == layout;
    const bool flat = b.out_dims().rank() == 2 && b.out_layout() == Layout::kPlain &&
                      x[1] % format::ChannelBlock(layout) == 0;
    if (!spatial || (!kept && !flat))
      return Unsupported("a reduction over other than the positions in this layout");
    return AddReduce(b, Spatial(x, layout));
  }
  if (b.out_layout() != Layout::kPlain) return Unsupported("a change of layout");
  Split3 s{1, 1, 1};
  int stage = 0;  // 0: before the reduced run, 1: in it, 2: behind it
  for (int i = 0; i < x.rank(); ++i) {
    const int64_t d = x[static_cast<size_t>(i)];
    if (d == 1) continue;
    if (reduced[i]) {
      if (stage == 2) return Unsupported("axes that are not neighbours");
      stage = 1;
      s.n *= d;
    } else if (stage == 0) {
      s.outer *= d;
    } else {
      stage = 2;
      s.inner *= d;
    }
  }
  return AddReduce(b, s);
}

Status BuildGlobalPool(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  if (b.op() == "GlobalAveragePool" && b.out_layout() != Layout::kPlain) return BuildPool(b);
  SLIPWAY_RETURN_IF_ERROR(CheckFloats(b, 1));
  const Dims x = b.in_dims(), y = b.out_dims();
  if (x.rank() < 3 || y.rank() != x.rank() || x[0] != y[0] || x[1] != y[1] ||
      y.count(2, y.rank()) != 1 || b.in_layout() != b.out_layout()) {
    return InvalidArgument("X " + x.ToString() + " and Y " + y.ToString() +
                           " make no global pooling");
  }
  return AddReduce(b, Spatial(x, b.in_layout()));
}

}  // namespace slipway::backends::x86
