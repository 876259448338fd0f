// QAttention in plain loops: QMatMul, Softmax, Quantize and QMatMul row by row.

#include "model/ops/qattention.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "model/ops/dispatch.h"

namespace slipway::ops {
namespace {

bool IsCode(DType t) { return t == DType::kInt8 || t == DType::kUInt8; }

struct View {
  Dims dims;                               // permuted
  std::array<int64_t, kMaxRank> stride{};  // of them
};

Result<View> Permute(const Dims& x, std::span<const int64_t> perm, bool inverse) {
  SLIPWAY_ASSIGN_OR_RETURN(const auto order, ReadPermutation(perm, x.rank()));
  View v;
  v.dims = x;
  for (int i = 0; i < x.rank(); ++i) {
    const int from = inverse ? i : order[static_cast<size_t>(i)],
              to = inverse ? order[static_cast<size_t>(i)] : i;
    v.dims[static_cast<size_t>(to)] = x[static_cast<size_t>(from)];
    v.stride[static_cast<size_t>(to)] = x.count(from + 1, x.rank());
  }
  return v;
}

// Codes of a type around `zero`, written as attributes with the prefix.
Result<Requantizer> ReadRange(const Attributes& a, const std::string& prefix, DType type) {
  const int64_t lowest = type == DType::kInt8 ? -128 : 0,
                highest = type == DType::kInt8 ? 127 : 255;
  const int64_t zero = a.Int(prefix + "_zero_point", 0), lo = a.Int(prefix + "_q_min", -128),
                hi = a.Int(prefix + "_q_max", 127);
  if (lo < lowest || hi > highest || lo > hi || zero < lowest || zero > highest)
    return InvalidArgument("codes " + prefix + " from " + std::to_string(lo) + " to " +
                           std::to_string(hi) + " around " + std::to_string(zero) + " do not fit " +
                           DTypeName(type));
  return Requantizer{static_cast<int32_t>(zero), static_cast<int32_t>(lo),
                     static_cast<int32_t>(hi)};
}

Result<float> ReadScale(const Attributes& a, std::string_view name) {
  const float s = a.Float(name, 1);
  if (!(s > 0) || std::isinf(s))
    return InvalidArgument(std::string(name) + " is " + std::to_string(s) +
                           " but must be positive and finite");
  return s;
}

}  // namespace

Result<std::array<int, kMaxRank>> ReadPermutation(std::span<const int64_t> perm, int rank) {
  std::array<int, kMaxRank> order{};
  uint32_t seen = 0;
  if (!perm.empty() && perm.size() != static_cast<size_t>(rank))
    return InvalidArgument("a permutation of " + std::to_string(perm.size()) +
                           " dimensions for rank " + std::to_string(rank));
  for (int i = 0; i < rank; ++i) {
    const int64_t from = perm.empty() ? i : perm[static_cast<size_t>(i)];
    if (from < 0 || from >= rank || (seen >> from & 1) != 0)
      return InvalidArgument("dimensions in an order that is no permutation");
    seen |= 1u << from;
    order[static_cast<size_t>(i)] = static_cast<int>(from);
  }
  return order;
}

Result<QAttention> ReadQAttention(const Attributes& attributes,
                                  std::span<const QAttention::Operand> inputs,
                                  const QAttention::Operand& output) {
  QAttention a;
  const auto has = [&](size_t i) {
    return i < inputs.size() && inputs[i].dtype != DType::kUndefined;
  };
  if (!has(0) || !has(1) || !has(2)) return InvalidArgument("queries, keys or values are absent");
  for (size_t i = 0; i < 3; ++i) {
    if (!IsCode(inputs[i].dtype))
      return InvalidArgument("operand " + std::to_string(i) + " is " + DTypeName(inputs[i].dtype) +
                             " and not int8 or uint8");
  }
  SLIPWAY_ASSIGN_OR_RETURN(a.to, MakeRequantizer(attributes, output.dtype));
  SLIPWAY_ASSIGN_OR_RETURN(a.q_zero, ReadZeroPoint(attributes, "q_zero_point", inputs[0].dtype));
  SLIPWAY_ASSIGN_OR_RETURN(a.k_zero, ReadZeroPoint(attributes, "k_zero_point", inputs[1].dtype));
  SLIPWAY_ASSIGN_OR_RETURN(a.v_zero, ReadZeroPoint(attributes, "v_zero_point", inputs[2].dtype));
  const int64_t p_to = attributes.Int("p_to", 3);
  if (p_to != 2 && p_to != 3)
    return InvalidArgument("p_to = " + std::to_string(p_to) + " must be uint8 (2) or int8 (3)");
  a.p_type = static_cast<DType>(p_to);
  SLIPWAY_ASSIGN_OR_RETURN(a.p_to, ReadRange(attributes, "p", a.p_type));
  SLIPWAY_ASSIGN_OR_RETURN(a.p_scale, ReadScale(attributes, "p_scale"));
  a.s_multiplier = attributes.Float("s_multiplier", 1);
  a.multiplier = attributes.Float("multiplier", 1);
  a.s_scale = attributes.Float("s_scale", 0);
  const auto small = [&](const char* prefix) -> Result<Requantizer> {
    const bool is_signed = attributes.Int(std::string(prefix) + "_q_min", -128) < 0;
    return ReadRange(attributes, prefix, is_signed ? DType::kInt8 : DType::kUInt8);
  };
  if (a.s_scale != 0) {
    SLIPWAY_RETURN_IF_ERROR(ReadScale(attributes, "s_scale").status());
    SLIPWAY_ASSIGN_OR_RETURN(a.s_to, small("s"));
  }
  if (has(4)) {
    SLIPWAY_ASSIGN_OR_RETURN(a.t_scale, ReadScale(attributes, "t_scale"));
    SLIPWAY_ASSIGN_OR_RETURN(a.t_to, small("t"));
    a.t_multiplier = attributes.Float("t_multiplier", 1);
  }

  const char* const names[3] = {"q_perm", "k_perm", "v_perm"};
  View views[4];
  for (size_t i = 0; i < 3; ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(views[i], Permute(inputs[i].dims, attributes.Ints(names[i]), false));
  }
  SLIPWAY_ASSIGN_OR_RETURN(views[3], Permute(output.dims, attributes.Ints("y_perm"), true));
  const int rank = views[0].dims.rank();
  if (rank < 2) return InvalidArgument("operands that are no matrices");
  const auto misfit = [&] {
    return InvalidArgument("Q " + views[0].dims.ToString() + ", K " + views[1].dims.ToString() +
                           ", V " + views[2].dims.ToString() + " and Y " +
                           views[3].dims.ToString() + " do not fit each other");
  };
  const auto row = static_cast<size_t>(rank - 2), column = row + 1;
  for (const View& v : views) {
    if (v.dims.rank() != rank) return misfit();
    for (size_t i = 0; i < row; ++i) {
      if (v.dims[i] != views[0].dims[i]) return misfit();
    }
  }
  a.m = views[0].dims[row], a.k = views[0].dims[column];
  a.n = views[1].dims[column], a.d = views[2].dims[column];
  if (views[1].dims[row] != a.k || views[2].dims[row] != a.n || views[3].dims[row] != a.m ||
      views[3].dims[column] != a.d)
    return misfit();
  a.batch_rank = rank - 2;
  a.batches = 1;
  for (size_t i = 0; i < row; ++i) {
    a.batch[i] = views[0].dims[row - 1 - i];
    a.batches *= a.batch[i];
  }
  QAttention::Matrix* const all[4] = {&a.q, &a.keys, &a.v, &a.y};
  for (size_t which = 0; which < 4; ++which) {
    for (size_t i = 0; i < row; ++i) all[which]->batch[i] = views[which].stride[row - 1 - i];
    all[which]->row = views[which].stride[row];
    all[which]->column = views[which].stride[column];
  }
  for (size_t which : {size_t{3}, size_t{4}}) {
    if (!has(which)) continue;
    const Dims& b = inputs[which].dims;
    QAttention::Matrix& x = which == 3 ? a.bias : a.mask;
    if (inputs[which].dtype != DType::kFloat32)
      return InvalidArgument("a bias or mask that is not float32");
    if (b.rank() > rank) return InvalidArgument("a bias or mask of a higher rank than the scores");
    for (int i = 0; i < b.rank(); ++i) {
      const int at = b.rank() - 1 - i;  // from the end
      const int64_t extent = b[static_cast<size_t>(i)],
                    want = at == 0   ? a.n
                           : at == 1 ? a.m
                                     : a.batch[static_cast<size_t>(at - 2)];
      if (extent != 1 && extent != want)
        return InvalidArgument("a bias or mask " + b.ToString() + " that does not fit the scores");
      const int64_t stride = extent == 1 ? 0 : b.count(i + 1, b.rank());
      (at == 0 ? x.column : at == 1 ? x.row : x.batch[static_cast<size_t>(at - 2)]) = stride;
    }
  }
  if (output.dims.count() != 0 && a.n == 0) return InvalidArgument("attention over no keys");
  return a;
}

Status SlipwayQAttention(const OpContext& c) {
  std::array<QAttention::Operand, 5> operands;
  for (size_t i = 0; i < operands.size(); ++i) {
    if (c.Has(i)) operands[i] = {c.inputs[i].dims, c.inputs[i].dtype};
  }
  const TensorView& y = c.outputs[0];
  SLIPWAY_ASSIGN_OR_RETURN(const QAttention a,
                           ReadQAttention(*c.attributes, operands, {y.dims, y.dtype}));
  const auto code = [&](size_t i, int64_t at, int32_t zero) {
    const uint8_t v = c.inputs[i].as<const uint8_t>()[at];
    return (c.inputs[i].dtype == DType::kInt8 ? static_cast<int8_t>(v) : v) - zero;
  };
  For(c, a.batches * a.m, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> s(static_cast<size_t>(a.n));
    std::vector<int32_t> p(s.size());
    for (int64_t r = begin; r < end; ++r) {
      const int64_t batch = r / a.m, i = r % a.m;
      const int64_t q = a.At(a.q, batch) + i * a.q.row, keys = a.At(a.keys, batch),
                    values = a.At(a.v, batch), out = a.At(a.y, batch) + i * a.y.row;
      float top = -INFINITY;
      for (int64_t j = 0; j < a.n; ++j) {
        uint32_t sum = 0;
        for (int64_t k = 0; k < a.k; ++k)
          sum +=
              static_cast<uint32_t>(code(0, q + k * a.q.column, a.q_zero) *
                                    code(1, keys + k * a.keys.row + j * a.keys.column, a.k_zero));
        float f = static_cast<float>(static_cast<int32_t>(sum)) * a.s_multiplier;
        if (a.s_scale != 0)
          f = static_cast<float>(a.s_to.Convert<int32_t>(f) - a.s_to.zero_point) * a.s_scale;
        if (c.Has(3))
          f += c.inputs[3]
                   .as<const float>()[a.At(a.bias, batch) + i * a.bias.row + j * a.bias.column];
        if (c.Has(4)) {
          const int32_t rounded = a.t_to.Convert<int32_t>(f / a.t_scale) - a.t_to.zero_point;
          f = std::fma(
              static_cast<float>(rounded), a.t_multiplier,
              c.inputs[4]
                  .as<const float>()[a.At(a.mask, batch) + i * a.mask.row + j * a.mask.column]);
        }
        s[static_cast<size_t>(j)] = f;
        top = std::max(top, f);
      }
      double sum = 0;
      for (float f : s) sum += std::exp(f - top);
      const float scale = static_cast<float>(1 / sum);
      for (size_t j = 0; j < s.size(); ++j)
        p[j] =
            a.p_to.Convert<int32_t>(std::exp(s[j] - top) * scale / a.p_scale) - a.p_to.zero_point;
      for (int64_t k = 0; k < a.d; ++k) {
        uint32_t acc = 0;
        for (int64_t j = 0; j < a.n; ++j)
          acc += static_cast<uint32_t>(p[static_cast<size_t>(j)] *
                                       code(2, values + j * a.v.row + k * a.v.column, a.v_zero));
        const float f = static_cast<float>(static_cast<int32_t>(acc)) * a.multiplier;
        const int64_t at = out + k * a.y.column;
        if (y.dtype == DType::kFloat32) {
          y.as<float>()[at] = f;
        } else {
          y.as<uint8_t>()[at] = static_cast<uint8_t>(a.to.Convert<int32_t>(f));
        }
      }
    }
  });
  return OkStatus();
}

}  // namespace slipway::ops
