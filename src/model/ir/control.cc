#include "model/ir/control.h"

#include <algorithm>
#include <array>

namespace slipway::ir {
namespace {

constexpr std::array<std::string_view, 2> kBranches = {"then_branch", "else_branch"};
constexpr std::array<std::string_view, 1> kBody = {"body"};

Status Wrong(const Node& node, const std::string& what) {
  return InvalidArgument(node.Describe() + ": " + what);
}

Status CheckCount(const Node& node, std::string_view body, const char* what, size_t has,
                  size_t needs) {
  if (has == needs) return OkStatus();
  return Wrong(node, "body '" + std::string(body) + "' has " + std::to_string(has) + " " + what +
                         " but needs " + std::to_string(needs));
}

}  // namespace

bool IsControlFlow(const Node& node) {
  return node.domain().empty() && (node.op() == "If" || node.op() == "Loop" || node.op() == "Scan");
}

std::span<const std::string_view> BodyNames(std::string_view domain, std::string_view op) {
  if (!domain.empty()) return {};
  if (op == "If") return kBranches;
  if (op == "Loop" || op == "Scan") return kBody;
  return {};
}

Result<ControlForm> FormOf(const Node& node) {
  const auto names = BodyNames(node.domain(), node.op());
  if (names.empty()) return Wrong(node, "is no control flow");
  for (std::string_view name : names) {
    const auto it = node.subgraphs.find(std::string(name));
    if (it == node.subgraphs.end() || !it->second)
      return Wrong(node, "its body '" + std::string(name) + "' is missing");
  }
  if (node.subgraphs.size() != names.size()) return Wrong(node, "has a body that it does not need");

  const size_t inputs = node.inputs().size(), outputs = node.outputs().size();
  ControlForm form;
  size_t body_outputs = outputs;
  const int64_t carried = node.attributes.Int("carried", 0);
  if (carried < 0 || static_cast<uint64_t>(carried) > outputs)
    return Wrong(node, "carries " + std::to_string(carried) + " values but has " +
                           std::to_string(outputs) + " outputs");
  if (node.op() == "If") {
    form.formal = form.unseen = 1;
    if (inputs < 1 || !node.input(0)) return Wrong(node, "has no condition");
  } else if (node.op() == "Loop") {
    form.carried = static_cast<size_t>(carried);
    form.formal = 2 + form.carried;
    form.first_result = 1;
    ++body_outputs;
  } else {
    const int64_t scanned = node.attributes.Int("num_scan_inputs", 0);
    if (scanned < 1 || static_cast<uint64_t>(scanned) > inputs)
      return Wrong(node, "num_scan_inputs is " + std::to_string(scanned) + ", of " +
                             std::to_string(inputs) + " inputs; at least one must be scanned");
    form.carried = static_cast<size_t>(carried);
    form.scanned = static_cast<size_t>(scanned);
    form.formal = form.carried + form.scanned;
    const struct {
      const char* name;
      size_t count;
    } lists[] = {{"scan_input_axes", form.scanned},
                 {"scan_input_directions", form.scanned},
                 {"scan_output_axes", outputs - form.carried},
                 {"scan_output_directions", outputs - form.carried}};
    for (const auto& list : lists) {
      const auto values = node.attributes.Ints(list.name);
      // Trailing outputs that nobody reads may be absent here and still have their axis.
      if (!values.empty() && values.size() < list.count)
        return Wrong(node, std::string("attribute '") + list.name + "' has " +
                               std::to_string(values.size()) + " elements but needs " +
                               std::to_string(list.count));
    }
  }
  if (inputs < form.formal)
    return Wrong(node, "has " + std::to_string(inputs) + " inputs but needs " +
                           std::to_string(form.formal));
  for (size_t i = node.op() == "Loop" ? 2 : 0; i < inputs; ++i) {
    if (!node.input(i)) return Wrong(node, "its input " + std::to_string(i) + " is absent");
  }
  for (std::string_view name : names) {
    const Graph& body = *node.subgraphs.find(std::string(name))->second;
    SLIPWAY_RETURN_IF_ERROR(
        CheckCount(node, name, "inputs", body.inputs().size(), inputs - form.unseen));
    SLIPWAY_RETURN_IF_ERROR(CheckCount(node, name, "outputs", body.outputs().size(), body_outputs));
  }
  return form;
}

int64_t ScanAxis(const Node& node, std::string_view name, size_t i) {
  const auto values = node.attributes.Ints(name);
  return i < values.size() ? values[i] : 0;
}

bool RunsToTripCount(const Node& loop) {
  const auto it = loop.subgraphs.find("body");
  if (it == loop.subgraphs.end() || it->second->outputs().empty()) return false;
  const Value* v = it->second->outputs()[0];
  while (v->producer() && v->producer()->Is("Identity") && v->producer()->input(0))
    v = v->producer()->input(0);
  if (it->second->inputs().size() > 1 && v == it->second->inputs()[1]) return true;
  return v->constant() && v->constant()->ToInts() == std::vector<int64_t>{1};
}

std::vector<Value*> AddCapture(Node* node, Value* value) {
  Graph* graph = node->graph();
  graph->SetInput(node, node->inputs().size(), value);
  std::vector<Value*> made;
  for (std::string_view name : BodyNames(node->domain(), node->op())) {
    made.push_back(
        node->subgraphs.at(std::string(name))->AddInput(value->name(), value->type()));
  }
  return made;
}

void RemoveCapture(Node* node, size_t index) {
  const size_t unseen = node->op() == "If" ? 1 : 0;
  node->graph()->RemoveInput(node, index);
  for (auto& [name, body] : node->subgraphs) body->RemoveValue(body->inputs()[index - unseen]);
}

}  // namespace slipway::ir
