#include "model/passes/qdq.h"

#include <algorithm>
#include <cmath>

#include "model/ops/quantize.h"
#include "model/passes/evaluate.h"

namespace slipway::passes {
namespace {

bool IsQuantization(const Node* node) {
  return node && (node->IsSlipway("Quantize") || node->IsSlipway("Dequantize"));
}

// The attributes when the codes are affine, not blocked and of at most `max_bits`.
std::optional<ops::QuantParams> Affine(const Node* node, int max_bits) {
  if (!IsQuantization(node)) return std::nullopt;
  auto q = ops::ParseQuant(node->attributes, 32);
  if (!q.ok() || q->group != 0 || q->bits > max_bits || q->precision != DType::kUndefined ||
      (q->kind != ops::QuantKind::kAffine && q->kind != ops::QuantKind::kPowerOfTwo &&
       // Its codes are as affine ones; making them is no rounding.
       !(q->kind == ops::QuantKind::kBipolar && node->IsSlipway("Dequantize"))))
    return std::nullopt;
  return *q;
}

bool IsScale(float s) { return std::isfinite(s) && s > 0; }

}  // namespace

int32_t QParams::CodeOf(double value) const {
  double code = std::nearbyint(static_cast<double>(static_cast<float>(value) / scale)) + zero;
  return static_cast<int32_t>(std::clamp<double>(code, q_min, q_max));
}

std::optional<QParams> PerTensorParams(const Node* node, int max_bits) {
  auto q = Affine(node, max_bits);
  if (!q || (node->IsSlipway("Quantize") && q->rounding != ops::QuantRounding::kHalfEven))
    return std::nullopt;
  auto scale = FloatsOf(node->input(1));
  if (!scale || scale->size() != 1 || !IsScale((*scale)[0])) return std::nullopt;
  QParams p;
  p.scale = (*scale)[0];
  p.q_min = q->range.lo;
  p.q_max = q->range.hi;
  p.codes = q->bits > 8 ? (q->is_signed ? DType::kInt16 : DType::kUInt16)
                        : (q->is_signed ? DType::kInt8 : DType::kUInt8);
  if (node->input(2)) {
    auto zero = ScalarOf(node->input(2));
    if (!zero) return std::nullopt;
    p.zero = static_cast<int32_t>(*zero);
  }
  return p;
}

Dequantized DequantizedValue(const Value* value, int max_bits) {
  Node* node = SlipwayProducerOf(value, "Dequantize");
  auto params = PerTensorParams(node, max_bits);
  if (!params || node->input(0)->dtype() != params->codes) return {};
  return {node->input(0), *params};
}

std::optional<QWeights> WeightsOf(const Value* value, int64_t channel_axis, bool wide) {
  Node* node = SlipwayProducerOf(value, "Dequantize");
  auto q = Affine(node, 8);
  const Tensor* codes = node ? node->constant_input(0) : nullptr;
  auto scales = node ? FloatsOf(node->input(1)) : std::nullopt;
  if (!q || !codes || !scales || scales->empty() ||
      !std::all_of(scales->begin(), scales->end(), IsScale))
    return std::nullopt;
  if (scales->size() > 1 || node->constant_input(1)->dims().rank() > 0) {
    int64_t axis = NormalAxis(q->axis, codes->dims().rank());
    bool one = scales->size() == 1;
    if (!one && (axis != channel_axis || static_cast<int64_t>(scales->size()) !=
                                             codes->dims()[static_cast<size_t>(axis)])) {
      return std::nullopt;
    }
  }
  const DType type = codes->dtype();
  if (type != DType::kInt8 && type != DType::kUInt8) return std::nullopt;
  std::vector<int64_t> zeros{0};
  if (node->input(2)) {
    auto given = IntsOf(node->input(2));
    if (!given || (given->size() != 1 && given->size() != scales->size())) return std::nullopt;
    zeros = *given;
  }
  const bool symmetric = std::all_of(zeros.begin(), zeros.end(), [](int64_t z) { return z == 0; });
  if (type == DType::kInt8 && symmetric) return QWeights{*codes, *scales};
  // Codes around another point: around 0, as int8 where they still fit (as uint8 around 128 does).
  const Dims& dims = codes->dims();
  const auto axis = static_cast<int>(zeros.size() == 1 ? 0 : NormalAxis(q->axis, dims.rank()));
  const int64_t inner = zeros.size() == 1 ? 1 : dims.count(axis + 1, dims.rank());
  const auto channels = static_cast<int64_t>(zeros.size());
  const auto centred = [&](int64_t i) {
    const int64_t code = type == DType::kInt8 ? int64_t{codes->data<int8_t>()[i]}
                                              : int64_t{codes->data<uint8_t>()[i]};
    return code - zeros[static_cast<size_t>(i / inner % channels)];
  };
  bool narrow = true;
  for (int64_t i = 0; i < codes->count(); ++i) narrow &= centred(i) >= -128 && centred(i) <= 127;
  if (!narrow && !wide) return std::nullopt;
  auto moved = Tensor::Allocate(narrow ? DType::kInt8 : DType::kInt16, dims);
  if (!moved.ok()) return std::nullopt;
  for (int64_t i = 0; i < codes->count(); ++i) {
    if (narrow) {
      reinterpret_cast<int8_t*>(moved->mutable_data())[i] = static_cast<int8_t>(centred(i));
    } else {
      reinterpret_cast<int16_t*>(moved->mutable_data())[i] = static_cast<int16_t>(centred(i));
    }
  }
  return QWeights{std::move(*moved), *scales};
}

std::optional<QBias> BiasOf(const Value* value) {
  if (auto v = FloatsOf(value)) return QBias{{v->begin(), v->end()}, {}, {}};
  Node* node = SlipwayProducerOf(value, "Dequantize");
  auto q = Affine(node, 32);
  auto codes = node ? IntsOf(node->input(0)) : std::nullopt;
  auto scales = node ? FloatsOf(node->input(1)) : std::nullopt;
  if (!q || !codes || !scales || scales->empty()) return std::nullopt;
  if (scales->size() == 1) scales->assign(codes->size(), (*scales)[0]);
  if (scales->size() != codes->size()) return std::nullopt;
  if (node->input(2)) {
    auto zeros = IntsOf(node->input(2));
    if (!zeros || !std::all_of(zeros->begin(), zeros->end(), [](int64_t z) { return z == 0; }))
      return std::nullopt;
  }
  QBias bias;
  for (size_t i = 0; i < codes->size(); ++i) {
    bias.values.push_back(static_cast<double>((*codes)[i]) * (*scales)[i]);
  }
  bias.codes = std::move(*codes);
  bias.scales = std::move(*scales);
  return bias;
}

}  // namespace slipway::passes
