#include "quant/schemes/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/checked.h"
#include "model/ops/quantize.h"
#include "quant/schemes/quantize.h"

namespace slipway::quant {
namespace {

using compiler::Granularity;
using compiler::ScaleKind;
using ir::Tensor;

// Which scale an element has.
struct Cells {
  Dims dims;  // of the scales
  int64_t inner = 1, extent = 1, size = 1, blocks = 1;
  bool blocked = false;

  int64_t Of(int64_t i) const {
    const int64_t block = i / inner % extent / size;
    return blocked ? (i / inner / extent * blocks + block) * inner + i % inner : block;
  }
};

Cells CellsOf(const Dims& dims, Granularity per, int group, int axis, int group_axis) {
  Cells cells;
  const bool blocked = per == Granularity::kGroup && group_axis >= 0;
  if (!blocked && (per == Granularity::kTensor || axis < 0)) {
    cells.size = std::max<int64_t>(1, dims.count(0, dims.rank()));
    cells.extent = cells.size;
    return cells;
  }
  const int at = blocked ? group_axis : axis;
  cells.inner = dims.count(at + 1, dims.rank());
  cells.extent = dims[static_cast<size_t>(at)];
  if (blocked) {
    cells.blocked = true;
    cells.size = group;
    cells.blocks = CeilDiv(cells.extent, int64_t{group});
    cells.dims = dims;
    cells.dims[static_cast<size_t>(at)] = cells.blocks;
  } else {
    cells.dims = Dims({cells.extent});
  }
  return cells;
}

void Store(Tensor& t, int64_t i, int64_t code) {
  if (DTypeBits(t.dtype()) == 8) {
    t.mutable_data()[i] = static_cast<uint8_t>(code);
  } else {
    const auto v = static_cast<uint16_t>(code);
    std::memcpy(t.mutable_data() + 2 * i, &v, 2);
  }
}

}  // namespace

DType CodeType(int bits, bool is_signed) {
  if (bits <= 8) return is_signed ? DType::kInt8 : DType::kUInt8;
  return is_signed ? DType::kInt16 : DType::kUInt16;
}

Result<Tensor> CodeScalar(DType type, int64_t value) {
  SLIPWAY_ASSIGN_OR_RETURN(Tensor t, Tensor::Allocate(type, {}));
  Store(t, 0, value);
  return t;
}

ir::Attributes QuantAttributes(const TensorScheme& scheme, const std::string& rounding,
                               bool is_signed, int64_t axis) {
  ir::Attributes a;
  a.Set("bits", int64_t{scheme.bits});
  a.Set("signed", int64_t{is_signed});
  a.Set("narrow", int64_t{scheme.narrow});
  a.Set("axis", axis);
  a.Set("rounding", rounding);
  if (scheme.kind == ScaleKind::kPowerOfTwo) a.Set("kind", std::string("power_of_two"));
  if (scheme.kind == ScaleKind::kLogarithmic) a.Set("kind", std::string("logarithmic"));
  return a;
}

Result<WeightCodes> CodesForWeights(const Tensor& weights, const TensorScheme& scheme,
                                    const std::string& rounding, int axis, int group_axis) {
  const Tensor w = weights.Aligned();
  const Dims& dims = w.dims();
  const float* data = w.data<float>();
  const int64_t count = w.count();
  const bool is_signed = scheme.sign != compiler::Sign::kUnsigned;
  const bool bipolar = scheme.bits == 1 && is_signed;
  // Signs have no blocks in the IR: they are scaled by channels.
  const Granularity per =
      bipolar && scheme.per == Granularity::kGroup ? Granularity::kChannel : scheme.per;
  const Cells cells = CellsOf(dims, per, scheme.group, axis, group_axis);
  const auto scales = static_cast<size_t>(cells.dims.count(0, cells.dims.rank()));

  // Elements in the order of their scales.
  std::vector<size_t> begin(scales + 1, 0);
  for (int64_t i = 0; i < count; ++i) ++begin[static_cast<size_t>(cells.Of(i)) + 1];
  for (size_t c = 0; c < scales; ++c) begin[c + 1] += begin[c];
  std::vector<float> ordered(static_cast<size_t>(count));
  std::vector<size_t> next(begin.begin(), begin.end() - 1);
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(data[i]))
      return InvalidArgument("weights that are not finite; retrain or repair them");
    ordered[next[static_cast<size_t>(cells.Of(i))]++] = data[i];
  }

  const CodeRange codes = CodesOf(scheme, !is_signed);
  std::vector<QuantParams> params(scales);
  for (size_t c = 0; c < scales; ++c) {
    const std::span<const float> values(ordered.data() + begin[c], begin[c + 1] - begin[c]);
    if (bipolar) {
      double sum = 0;
      for (const float v : values) sum += std::fabs(v);
      const double mean = values.empty() ? 0 : sum / static_cast<double>(values.size());
      params[c].scale = mean > 1e-30 ? static_cast<float>(mean) : 1;
      continue;
    }
    SLIPWAY_ASSIGN_OR_RETURN(const Range range, ChooseWeightRange(values, scheme.observer, codes));
    params[c] = SchemeParams(range, codes, scheme.kind);
  }

  WeightCodes out;
  out.attributes = QuantAttributes(scheme, rounding, is_signed, 0);
  if (bipolar) {
    out.attributes.Set("kind", std::string("bipolar"));
    out.attributes.Set("narrow", int64_t{0});
  }
  if (cells.blocked) {
    out.attributes.Set("axis", int64_t{group_axis});
    out.attributes.Set("group", int64_t{scheme.group});
  } else if (cells.dims.rank() > 0) {
    out.attributes.Set("axis", int64_t{axis});
  }
  const DType type = CodeType(scheme.bits, is_signed);
  SLIPWAY_ASSIGN_OR_RETURN(out.codes, Tensor::Allocate(type, dims));
  SLIPWAY_ASSIGN_OR_RETURN(out.scales, Tensor::Allocate(DType::kFloat32, cells.dims));
  SLIPWAY_ASSIGN_OR_RETURN(out.zero_points, Tensor::Allocate(type, cells.dims));
  for (size_t c = 0; c < scales; ++c) {
    std::memcpy(out.scales.mutable_data() + 4 * c, &params[c].scale, 4);
    Store(out.zero_points, static_cast<int64_t>(c), params[c].zero_point);
    out.has_zero_points |= params[c].zero_point != 0;
  }
  const auto round = ops::RoundingFromName(rounding).value_or(ops::QuantRounding::kHalfEven);
  for (int64_t i = 0; i < count; ++i) {
    const QuantParams& q = params[static_cast<size_t>(cells.Of(i))];
    if (bipolar) {
      Store(out.codes, i, data[i] >= 0 ? 1 : -1);
    } else if (scheme.kind == ScaleKind::kLogarithmic) {
      Store(out.codes, i, ops::LogLevels(scheme.bits, q.scale).Encode(data[i]));
    } else {
      const double code =
          ops::RoundBy(double{data[i]} / q.scale, round) + static_cast<double>(q.zero_point);
      Store(out.codes, i,
            static_cast<int64_t>(
                std::clamp(code, static_cast<double>(codes.lo), static_cast<double>(codes.hi))));
    }
  }
  return out;
}

}  // namespace slipway::quant
