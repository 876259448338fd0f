#include "engine/compiler/control.h"

#include <algorithm>
#include <map>
#include <set>

#include "model/ir/control.h"
#include "model/ir/infer.h"

namespace slipway::compiler {
namespace {

bool IsPlainSymbol(const Dim& d) {
  if (d.known()) return false;
  const auto symbols = d.Symbols();
  return symbols.size() == 1 && symbols[0] == d.ToString();
}

}  // namespace

Result<std::unique_ptr<ir::Graph>> BodyToCompile(const ir::Node& node, std::string_view name) {
  const ir::Graph& original = *node.subgraphs.at(std::string(name));
  std::unique_ptr<ir::Graph> body = original.Clone();
  body->name = std::string(name);
  std::set<std::string> taken;
  for (const ir::Value* v : body->inputs()) {
    if (v->type().is_container()) continue;
    if (!v->type().shape) {
      return Unsupported(node.Describe() + ", body '" + std::string(name) + "': input '" +
                         v->name() +
                         "' has a number of dimensions that changes or that only the data decide; "
                         "run the model in the interpreter");
    }
    for (const Dim& d : *v->type().shape) {
      if (IsPlainSymbol(d)) taken.insert(d.ToString());
    }
  }
  std::map<std::string, Dim> symbols;
  int next = 0;
  std::map<std::string, std::pair<int64_t, int64_t>> ranges;
  // Those in sequences last: an extent that no tensor has is nobody's symbol.
  std::vector<ir::Value*> inputs(body->inputs().begin(), body->inputs().end());
  std::stable_partition(inputs.begin(), inputs.end(),
                        [](const ir::Value* v) { return !v->type().is_container(); });
  for (ir::Value* v : inputs) {
    if (!v->type().shape) continue;
    SymShape shape = *v->type().shape;
    for (Dim& d : shape) {
      if (d.known()) continue;
      const std::string text = d.ToString();
      auto [it, is_new] = symbols.try_emplace(text, d);
      if (is_new) {
        std::string symbol = text;
        if (!IsPlainSymbol(d)) {
          while (!taken.insert(symbol = "_b" + std::to_string(next++)).second) {
          }
        }
        it->second = Dim::Symbol(symbol);
        const auto& outer = node.graph()->symbol_ranges;
        const auto range = outer.find(text);
        if (!v->type().is_container())
          ranges[symbol] =
            range != outer.end() ? range->second : std::pair<int64_t, int64_t>{0, INT32_MAX};
      }
      d = it->second;
    }
    v->set_type({v->dtype(), std::move(shape), v->type().container});
  }
  body->symbol_ranges = std::move(ranges);
  ir::InferOptions options;
  options.forget_declared = true;
  const Status status = ir::InferShapes(*body, options);
  if (!status.ok()) return status.With(node.Describe() + ", body '" + std::string(name) + "'");
  return body;
}

Result<format::PackageControl> DescribeControl(const ir::Node& node) {
  SLIPWAY_ASSIGN_OR_RETURN(const ir::ControlForm form, ir::FormOf(node));
  format::PackageControl c;
  c.kind = node.op() == "If"     ? format::ControlKind::kIf
           : node.op() == "Loop" ? format::ControlKind::kLoop
                                 : format::ControlKind::kScan;
  for (size_t k = 0; k < form.carried; ++k) {
    const ir::Value* in = node.input(form.formal - form.carried - form.scanned + k);
    const ir::Value* out = node.subgraphs.at("body")->outputs()[form.first_result + k];
    if (in && in->type().container == ir::Container::kOptional && !out->type().is_container()) {
      return Unsupported(node.Describe() + ": carried value " + std::to_string(k) +
                         " is an optional that comes back as a tensor; wrap it in Optional, or run "
                         "the model in the interpreter");
    }
  }
  c.carried = static_cast<uint32_t>(form.carried);
  c.scanned = static_cast<uint32_t>(form.scanned);
  if (c.kind != format::ControlKind::kScan) return c;
  auto axis = [&](const char* list, size_t i, const ir::Value* v) -> Result<int> {
    if (!v) return 0;  // an output that nobody reads
    if (!v->type().shape)
      return Unsupported(node.Describe() + ": value '" + v->name() + "' has no known rank");
    const auto rank = static_cast<int64_t>(v->type().shape->size());
    int64_t a = ir::ScanAxis(node, list, i);
    if (a < 0) a += rank;
    if (a < 0 || a >= rank)
      return InvalidArgument(node.Describe() + ": " + list + " has no axis for value '" +
                             v->name() + "'");
    return static_cast<int>(a);
  };
  for (size_t i = 0; i < form.scanned; ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(int a, axis("scan_input_axes", i, node.input(form.carried + i)));
    c.input_axes.push_back(a);
    c.input_backward.push_back(ir::ScanAxis(node, "scan_input_directions", i) != 0);
  }
  for (size_t i = 0; form.carried + i < node.outputs().size(); ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(int a, axis("scan_output_axes", i, node.output(form.carried + i)));
    c.output_axes.push_back(a);
    c.output_backward.push_back(ir::ScanAxis(node, "scan_output_directions", i) != 0);
  }
  return c;
}

int64_t KnownIterations(const ir::Node& node) {
  if (node.Is("Loop")) {
    const ir::Tensor* count = node.constant_input(0);
    if (!count || !ir::RunsToTripCount(node)) return 1;
    const auto ints = count->ToInts();
    return ints.size() == 1 ? std::max<int64_t>(ints[0], 0) : 1;
  }
  if (!node.Is("Scan")) return 1;
  const auto form = ir::FormOf(node);
  if (!form.ok()) return 1;
  const auto& shape = node.input(form->carried)->type().shape;
  if (!shape) return 1;
  int64_t axis = ir::ScanAxis(node, "scan_input_axes", 0);
  if (axis < 0) axis += static_cast<int64_t>(shape->size());
  if (axis < 0 || axis >= static_cast<int64_t>(shape->size())) return 1;
  const Dim& d = (*shape)[static_cast<size_t>(axis)];
  return d.known() ? d.value() : 1;
}

}  // namespace slipway::compiler
