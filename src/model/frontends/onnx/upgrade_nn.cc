// Upgrades of layers.

#include <algorithm>
#include <array>

#include "model/frontends/onnx/tensor_proto.h"
#include "model/frontends/onnx/upgrade_ops.h"

namespace slipway::onnx {

using ir::Attributes;
using ir::Tensor;
using ir::Value;

Status Gemm(OldNode& n, Upgrader&) {
  if (n.opset < 7) n.attributes.Erase("broadcast");
  return OkStatus();
}

// The axis became an input with opset 20, and its default another.
Status Dft(OldNode& n, Upgrader& u) {
  if (n.opset >= 20) return OkStatus();
  n.inputs.resize(3, nullptr);
  n.inputs[2] = u.Constant(n, "axis", Tensor::Scalar<int64_t>(n.attributes.Int("axis", 1)));
  n.attributes.Erase("axis");
  return OkStatus();
}

Status GridSample(OldNode& n, Upgrader&) {
  const std::string mode(n.attributes.String("mode", "linear"));
  if (mode == "bilinear") n.attributes.Set("mode", std::string("linear"));
  if (mode == "bicubic") n.attributes.Set("mode", std::string("cubic"));
  return OkStatus();
}

Status RoiAlign(OldNode& n, Upgrader&) {
  if (n.opset < 16)
    n.attributes.Set("coordinate_transformation_mode", std::string("output_half_pixel"));
  return OkStatus();
}

// Opset 1 writes p as a float.
Status LpPool(OldNode& n, Upgrader&) {
  const auto* p = n.attributes.Find("p");
  if (!p || !std::holds_alternative<float>(*p)) return OkStatus();
  const float value = std::get<float>(*p);
  if (!(value >= 1 && value < 1e6f && value == static_cast<float>(static_cast<int64_t>(value))))
    return Unsupported(n.Describe() + ": p must be a positive whole number");
  n.attributes.Set("p", static_cast<int64_t>(value));
  return OkStatus();
}

// output_sequence only told which outputs to make.
Status Recurrent(OldNode& n, Upgrader&) {
  if (n.opset < 7) n.attributes.Erase("output_sequence");
  return OkStatus();
}

Status TfIdfVectorizer(OldNode& n, Upgrader&) {
  if (!n.attributes.Has("pool_strings")) return OkStatus();
  return Unsupported(n.Describe() +
                     " counts strings, which Slipway does not compute with; do text processing "
                     "outside the model");
}

namespace {

bool Contains(std::string_view text, char ch) { return text.find(ch) != std::string_view::npos; }

// The output that an equation without "->" means: "..." and the letters that occur once, in order.
std::string ImplicitOutput(std::string_view left) {
  std::string out = Contains(left, '.') ? "..." : "";
  for (char ch = 'A'; ch <= 'z'; ++ch) {
    const bool letter = (ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z');
    if (letter && std::count(left.begin(), left.end(), ch) == 1) out += ch;
  }
  return out;
}

}  // namespace

// Three and more operands are contracted from the left, two at a time: a product over all of them
// at once takes a factor of time for each further operand.
Status Einsum(OldNode& n, Upgrader& u) {
  if (n.inputs.size() <= 2) return OkStatus();
  std::string equation(n.attributes.String("equation", ""));
  std::erase(equation, ' ');
  const size_t arrow = equation.find("->");
  const std::string left = equation.substr(0, arrow);
  const std::string output =
      arrow == std::string::npos ? ImplicitOutput(left) : equation.substr(arrow + 2);
  std::vector<std::string> terms;
  for (size_t from = 0;;) {
    const size_t comma = left.find(',', from);
    terms.push_back(left.substr(from, comma == std::string::npos ? comma : comma - from));
    if (comma == std::string::npos) break;
    from = comma + 1;
  }
  if (terms.size() != n.inputs.size()) {
    return InvalidArgument(n.Describe() + ": the equation has " + std::to_string(terms.size()) +
                           " terms for " + std::to_string(n.inputs.size()) + " inputs");
  }
  std::string have = terms[0];
  Value* value = n.inputs[0];
  for (size_t i = 1; i + 1 < terms.size(); ++i) {
    std::string later = output;
    for (size_t k = i + 1; k < terms.size(); ++k) later += terms[k];
    const std::string both = have + terms[i];
    std::string kept = Contains(both, '.') ? "..." : "";
    for (char ch : both) {
      if (ch != '.' && Contains(later, ch) && !Contains(kept, ch)) kept += ch;
    }
    value = u.Emit(n, "Einsum", {value, n.inputs[i]},
                   {{"equation", have + "," + terms[i] + "->" + kept}});
    have = kept;
  }
  n.inputs = {value, n.inputs.back()};
  n.attributes.Set("equation", have + "," + terms.back() + "->" + output);
  return OkStatus();
}

}  // namespace slipway::onnx
