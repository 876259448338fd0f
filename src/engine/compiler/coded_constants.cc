#include "engine/compiler/coded_constants.h"

#include <algorithm>
#include <cstring>

#include "engine/format/codes.h"
#include "model/passes/evaluate.h"

namespace slipway::compiler {
namespace {

using ir::Graph;
using ir::Node;
using ir::Tensor;
using ir::Value;

struct Folded {
  Tensor floats;
  const Node* dequantize = nullptr;
  bool moved = false;  // rows are no rows any more
};

// The value of `v` from constants alone, with no more than so many nodes behind the Dequantize.
Result<Folded> Evaluate(const Value* v, int moves = 8) {
  const Node* node = v->producer();
  if (!node) return Unsupported("an input");
  Folded out;
  std::vector<Tensor> inputs;
  const bool dequantize = node->IsSlipway("Dequantize");
  const bool moved = node->Is("Reshape") || node->Is("Transpose");
  if (!dequantize && !(moved && moves > 0)) return Unsupported(node->Describe());
  for (size_t i = 0; i < node->inputs().size(); ++i) {
    const Value* in = node->input(i);
    if (in && !in->constant() && (dequantize || i > 0)) return Unsupported(node->Describe());
    if (in && !in->constant()) {
      SLIPWAY_ASSIGN_OR_RETURN(out, Evaluate(in, moves - 1));
      inputs.push_back(out.floats);
    } else {
      inputs.push_back(in ? *in->constant() : Tensor());
    }
  }
  if (dequantize) out.dequantize = node;
  if (!out.dequantize) return Unsupported(node->Describe());
  out.moved |= node->Is("Transpose");
  SLIPWAY_ASSIGN_OR_RETURN(auto made, passes::EvaluateNode(*node, inputs));
  out.floats = std::move(made[0]);
  return out;
}

// Codes of 8 bits less their zero points, which are one for each scale; nothing where that does not
// fit the rows that scales have in packages.
bool CentredCodes(const Node& dq, std::vector<int8_t>* out) {
  const Tensor &codes = *dq.constant_input(0), &scales = *dq.constant_input(1);
  const bool is_signed = codes.dtype() == DType::kInt8;
  if (!is_signed && codes.dtype() != DType::kUInt8) return false;
  const Tensor zeros = dq.input(2) ? *dq.constant_input(2) : Tensor();
  if (zeros.present() && (zeros.dtype() != codes.dtype() || zeros.count() != scales.count()))
    return false;
  const auto value = [&](const Tensor& t, size_t i) {
    const uint8_t byte = t.bytes()[i];
    return is_signed ? static_cast<int8_t>(byte) : static_cast<int>(byte);
  };
  const auto count = static_cast<size_t>(codes.count()),
             row = count / static_cast<size_t>(scales.count());
  out->resize(count);
  for (size_t i = 0; i < count; ++i) {
    const int code = value(codes, i) - (zeros.present() ? value(zeros, i / row) : 0);
    if (code < -128 || code > 127) return false;
    (*out)[i] = static_cast<int8_t>(code);
  }
  return true;
}

// Nothing where the codes are not of the form that packages have; checked by decoding them.
bool Encode(const Folded& folded, CodedConstant* out) {
  const Node& dq = *folded.dequantize;
  const Tensor *codes = dq.constant_input(0), *scales = dq.constant_input(1);
  if (folded.moved || folded.floats.dtype() != DType::kFloat32 || folded.floats.count() == 0 ||
      scales->dtype() != DType::kFloat32 || scales->count() == 0 ||
      codes->count() % scales->count() != 0)
    return false;
  std::vector<int8_t> all;
  if (!CentredCodes(dq, &all)) return false;
  const Tensor s = scales->Aligned();
  const bool few = std::all_of(all.begin(), all.end(), [](int8_t c) { return c >= -8 && c <= 7; });
  out->bits = few ? 4 : 8;
  out->rows = s.count();
  auto bytes = std::make_shared<std::vector<uint8_t>>(
      format::EncodeRows({s.data<float>(), static_cast<size_t>(s.count())}, all, out->bits));
  std::vector<float> decoded(all.size());
  format::DecodeRows(*bytes, static_cast<uint64_t>(out->rows), all.size(), out->bits,
                     decoded.data());
  out->bytes = std::move(bytes);
  return std::memcmp(decoded.data(), folded.floats.bytes().data(), all.size() * sizeof(float)) == 0;
}

}  // namespace

Status FoldRecurrentWeights(Graph& graph, CodedConstants* coded) {
  std::map<const Value*, Value*> done;
  bool any = false;
  for (Node* node : graph.NodeList()) {
    for (auto& [name, body] : node->subgraphs)
      SLIPWAY_RETURN_IF_ERROR(FoldRecurrentWeights(*body, coded));
    if (!node->Is("RNN") && !node->Is("GRU") && !node->Is("LSTM")) continue;
    for (const size_t i : {1, 2}) {
      Value* v = node->input(i);
      if (!v || v->constant()) continue;
      Value*& made = done[v];
      if (!made) {
        auto folded = Evaluate(v);
        if (!folded.ok()) continue;  // computed weights: whoever runs the node says what it can do
        CodedConstant form;
        const bool has_form = coded && Encode(*folded, &form);
        made = graph.AddConstant(v->name(), std::move(folded->floats));
        if (has_form) {
          form.floats = *made->constant();
          (*coded)[form.floats.bytes().data()] = std::move(form);
        }
      }
      graph.SetInput(node, i, made);
      any = true;
    }
  }
  if (any) graph.RemoveUnused();
  return OkStatus();
}

}  // namespace slipway::compiler
