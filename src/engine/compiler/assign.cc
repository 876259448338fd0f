#include "engine/compiler/assign.h"

#include <algorithm>
#include <limits>
#include <set>

#include "engine/compiler/data_shapes.h"
#include "engine/compiler/eliminate.h"
#include "model/ir/control.h"

namespace slipway::compiler {
namespace {

using backends::Candidate;
using backends::CompileBackend;
using format::Layout;

constexpr double kNever = std::numeric_limits<double>::infinity();

// Layouts as bits; plain first.
uint32_t Bit(Layout layout) { return 1u << static_cast<int>(layout); }

struct NodeVariable {
  const ir::Node* node;
  std::vector<Choice> states;
  int variable = -1;
};

// Steps of a network-level backend take whole partitions: a tensor that enters or leaves one has a
// price, and its neighbours' backend matters. Null for all other backends.
const CompileBackend* Island(const Choice& c) {
  return c.backend && c.backend->level() == backends::Level::kNetwork ? c.backend : nullptr;
}

// Whether all their neighbours see is the same.
bool LookAlike(const Choice& a, const Choice& b) {
  return a.candidate.inputs == b.candidate.inputs && a.candidate.outputs == b.candidate.outputs &&
         Island(a) == Island(b);
}

struct Reader {
  int node;  // index into the node variables; -1 = graph output
  int input;
};

class Assigner {
 public:
  Assigner(const ir::Graph& graph, const backends::Target& target, const CostModel& cost)
      : graph_(graph), target_(target), cost_(cost) {}

  Status FindDataShapes() {
    SLIPWAY_ASSIGN_OR_RETURN(result_.data_shapes, NodesWithDataShapes(graph_));
    return OkStatus();
  }
  Status AddNodes(const std::vector<const CompileBackend*>& own,
                  const std::vector<const CompileBackend*>& fallback,
                  const std::map<const ir::Node*, double>& session_ms);
  Result<Assignment> Solve(const AssignOptions& options);

 private:
  // Appends what `backend` offers for `node`; remembers why it declines. An error: a plugin is wrong.
  Status Offer(const ir::Node& node, const CompileBackend& backend, NodeVariable& to,
               std::vector<std::string>& reasons);
  void ConnectValue(const ir::Value& value);
  Layout Produced(const ir::Value& value, const Choice& choice) const {
    return choice.candidate.outputs[static_cast<size_t>(value.producer_index())];
  }
  // Prices of the value's crossing into and out of network-level backends, between its producer and
  // each of its readers.
  void AddHandOvers(const ir::Value& value, const std::vector<Reader>& readers);
  double Convert(const ir::Value& value, Layout from, Layout to) const {
    return from == to ? 0 : cost_.ConvertMs(ValueBytes(value), from, to, target_);
  }

  const ir::Graph& graph_;
  const backends::Target& target_;
  const CostModel& cost_;
  std::vector<NodeVariable> nodes_;
  std::map<const ir::Node*, int> index_;
  PairwiseProblem problem_;
  Assignment result_;
};

Status Assigner::Offer(const ir::Node& node, const CompileBackend& backend, NodeVariable& to,
                       std::vector<std::string>& reasons) {
  Status s = backend.Supports(node, target_);
  SLIPWAY_RETURN_IF_ERROR(backend.Fault());
  if (!s.ok()) {
    reasons.push_back(backend.name() + ": " + s.message());
    return OkStatus();
  }
  const bool data_shape = result_.data_shapes.count(&node) != 0;
  if (data_shape && !backend.GivesDataDims(node)) {
    reasons.push_back(backend.name() + ": an output's extent depends on data");
    return OkStatus();
  }
  for (Candidate& c : backend.Candidates(node, target_)) {
    if (data_shape) {  // asked for its extents, so it is a step, with memory of its own
      c.view = false;
      c.in_place = -1;
    }
    c.inputs.resize(node.inputs().size(), Layout::kPlain);
    c.outputs.resize(node.outputs().size(), Layout::kPlain);
    double ms = cost_.StepMs(node, backend.name(), c, target_);
    to.states.push_back({&backend, std::move(c), ms});
  }
  return backend.Fault();
}

Status Assigner::AddNodes(const std::vector<const CompileBackend*>& own,
                          const std::vector<const CompileBackend*>& fallback,
                          const std::map<const ir::Node*, double>& session_ms) {
  for (const auto& node : graph_.nodes()) {
    NodeVariable v{node.get(), {}, -1};
    std::vector<std::string> reasons;
    // No backend's, whatever it says.
    if (const auto ms = session_ms.find(node.get()); ms != session_ms.end()) {
      v.states.push_back({nullptr, backends::PlainCandidate(*node, node->op()), ms->second});
    } else {
      for (const CompileBackend* b : own)
        SLIPWAY_RETURN_IF_ERROR(Offer(*node, *b, v, reasons));
    }
    if (v.states.empty()) {
      for (const CompileBackend* b : fallback)
        SLIPWAY_RETURN_IF_ERROR(Offer(*node, *b, v, reasons));
    }
    if (v.states.empty()) {
      std::string list;
      for (const auto& r : reasons) list += (list.empty() ? "" : "; ") + r;
      return Unsupported(node->Describe() + " runs on no backend of this platform (" + list +
                         "); choose a platform with another fallback, or change the model");
    }
    auto& alternatives = result_.alternatives[node.get()];
    for (const Choice& c : v.states)
      alternatives.push_back({NameOf(c), c.candidate.kernel, c.cost_ms, false});
    if (!reasons.empty()) result_.declined[node.get()] = std::move(reasons);
    // Of candidates with the same layouts only the cheapest can be part of a best plan; earlier
    // backends win ties.
    std::vector<Choice> kept;
    for (Choice& c : v.states) {
      auto same = std::find_if(kept.begin(), kept.end(), [&](const Choice& k) {
        return LookAlike(k, c);
      });
      if (same == kept.end()) {
        kept.push_back(std::move(c));
      } else if (c.cost_ms < same->cost_ms) {
        *same = std::move(c);
      }
    }
    v.states = std::move(kept);
    std::vector<double> unary;
    for (const Choice& c : v.states) unary.push_back(c.cost_ms);
    v.variable = problem_.AddVariable(std::move(unary));
    index_[node.get()] = static_cast<int>(nodes_.size());
    nodes_.push_back(std::move(v));
  }
  return OkStatus();
}

void Assigner::AddHandOvers(const ir::Value& value, const std::vector<Reader>& readers) {
  const auto has_island = [](const NodeVariable& v) {
    return std::any_of(v.states.begin(), v.states.end(),
                       [](const Choice& c) { return Island(c) != nullptr; });
  };
  const double ms = cost_.HandOverMs(ValueBytes(value), target_);
  const NodeVariable* producer =
      value.producer() ? &nodes_[static_cast<size_t>(index_.at(value.producer()))] : nullptr;
  std::set<int> seen;  // a node that reads it twice gets it once
  for (const Reader& r : readers) {
    if (!seen.insert(r.node).second) continue;
    const NodeVariable* reader = r.node < 0 ? nullptr : &nodes_[static_cast<size_t>(r.node)];
    const bool leaves = producer && has_island(*producer), enters = reader && has_island(*reader);
    if (!leaves && !enters) continue;
    if (!producer || !reader) {  // the graph's own border
      const NodeVariable& only = producer ? *producer : *reader;
      std::vector<double> cost;
      for (const Choice& c : only.states) cost.push_back(Island(c) ? ms : 0);
      problem_.AddPair(only.variable, problem_.AddVariable({0.0}), std::move(cost));
      continue;
    }
    std::vector<double> cost;
    for (const Choice& p : producer->states) {
      for (const Choice& c : reader->states) {
        const CompileBackend *from = Island(p), *to = Island(c);
        cost.push_back(from == to ? 0 : ms * ((from ? 1 : 0) + (to ? 1 : 0)));
      }
    }
    problem_.AddPair(producer->variable, reader->variable, std::move(cost));
  }
}

void Assigner::ConnectValue(const ir::Value& value) {
  std::vector<Reader> readers;
  for (const ir::Use& use : value.uses()) readers.push_back({index_.at(use.node), use.index});
  if (value.is_output()) readers.push_back({-1, 0});
  if (readers.empty()) return;
  AddHandOvers(value, readers);
  const NodeVariable* producer =
      value.producer() ? &nodes_[static_cast<size_t>(index_.at(value.producer()))] : nullptr;
  auto wanted = [&](const Reader& r, const Choice& c) {
    return c.candidate.inputs[static_cast<size_t>(r.input)];
  };

  if (readers.size() == 1) {
    const Reader& r = readers[0];
    if (!producer && r.node < 0) return;
    if (!producer || r.node < 0) {  // one end is fixed to plain
      const NodeVariable& v = r.node < 0 ? *producer : nodes_[static_cast<size_t>(r.node)];
      std::vector<double> other(1, 0.0);
      int plain = problem_.AddVariable(other);
      std::vector<double> cost;
      for (const Choice& c : v.states) {
        cost.push_back(r.node < 0 ? Convert(value, Produced(value, c), Layout::kPlain)
                                  : Convert(value, Layout::kPlain, wanted(r, c)));
      }
      problem_.AddPair(v.variable, plain, std::move(cost));
      return;
    }
    const NodeVariable& reader = nodes_[static_cast<size_t>(r.node)];
    std::vector<double> cost;
    for (const Choice& p : producer->states) {
      for (const Choice& c : reader.states)
        cost.push_back(Convert(value, Produced(value, p), wanted(r, c)));
    }
    problem_.AddPair(producer->variable, reader.variable, std::move(cost));
    return;
  }

  // Several readers: a variable over the sets of layouts that the value is kept in; a conversion is
  // paid once per set member.
  uint32_t possible = 0, produced = 0;
  if (producer) {
    for (const Choice& c : producer->states) produced |= Bit(Produced(value, c));
  } else {
    produced = Bit(Layout::kPlain);
  }
  possible = produced;
  for (const Reader& r : readers) {
    if (r.node < 0) {
      possible |= Bit(Layout::kPlain);
      continue;
    }
    for (const Choice& c : nodes_[static_cast<size_t>(r.node)].states)
      possible |= Bit(wanted(r, c));
  }
  std::vector<uint32_t> sets;
  for (uint32_t s = 1; s < 1u << format::kLayoutCount; ++s) {
    if ((s & ~possible) == 0) sets.push_back(s);
  }
  std::vector<double> unary(sets.size(), 0.0);
  auto conversions = [&](Layout from, uint32_t set) {
    if (!(set & Bit(from))) return kNever;
    double cost = 0;
    for (int l = 0; l < format::kLayoutCount; ++l) {
      if (set & (1u << l)) cost += Convert(value, from, static_cast<Layout>(l));
    }
    return cost;
  };
  for (size_t s = 0; s < sets.size(); ++s) {
    if (!producer) unary[s] += conversions(Layout::kPlain, sets[s]);
    if (value.is_output() && !(sets[s] & Bit(Layout::kPlain))) unary[s] = kNever;
  }
  int variable = problem_.AddVariable(std::move(unary));
  if (producer) {
    std::vector<double> cost;
    for (const Choice& p : producer->states) {
      for (uint32_t s : sets) cost.push_back(conversions(Produced(value, p), s));
    }
    problem_.AddPair(producer->variable, variable, std::move(cost));
  }
  for (const Reader& r : readers) {
    if (r.node < 0) continue;
    const NodeVariable& reader = nodes_[static_cast<size_t>(r.node)];
    std::vector<double> cost;
    bool binding = false;
    for (const Choice& c : reader.states) {
      for (uint32_t s : sets) {
        bool has = (s & Bit(wanted(r, c))) != 0;
        binding |= !has;
        cost.push_back(has ? 0 : kNever);
      }
    }
    if (binding) problem_.AddPair(reader.variable, variable, std::move(cost));
  }
}

Result<Assignment> Assigner::Solve(const AssignOptions& options) {
  if (!options.greedy) {
    for (const auto& value : graph_.values()) {
      if (!value->is_constant()) ConnectValue(*value);
    }
  }
  auto solution = problem_.Solve(options.max_table);
  result_.cost_ms = solution.cost;
  result_.exact = solution.exact;
  for (NodeVariable& v : nodes_) {
    Choice& choice =
        v.states[static_cast<size_t>(solution.states[static_cast<size_t>(v.variable)])];
    for (Alternative& a : result_.alternatives[v.node]) {
      a.chosen = a.backend == NameOf(choice) && a.kernel == choice.candidate.kernel &&
                 a.cost_ms == choice.cost_ms;
    }
    result_.nodes[v.node] = std::move(choice);
  }
  return std::move(result_);
}

}  // namespace

std::string NameOf(const Choice& choice) {
  return choice.backend ? choice.backend->name() : "session";
}

Result<Assignment> Assign(const ir::Graph& graph, const std::vector<const CompileBackend*>& own,
                          const std::vector<const CompileBackend*>& fallback,
                          const backends::Target& target, const CostModel& cost,
                          const AssignOptions& options) {
  Assigner assigner(graph, target, cost);
  SLIPWAY_RETURN_IF_ERROR(assigner.FindDataShapes());
  SLIPWAY_RETURN_IF_ERROR(assigner.AddNodes(own, fallback, options.session_ms));
  return assigner.Solve(options);
}

}  // namespace slipway::compiler
