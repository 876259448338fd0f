#include "engine/compiler/assign.h"

#include <algorithm>
#include <limits>
#include <set>
#include <tuple>

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
  // Appends what `backend` offers for `node`; remembers why it declines. An error: a plugin is
  // wrong.
  Status Offer(const ir::Node& node, const CompileBackend& backend, NodeVariable& to,
               std::vector<std::string>& reasons);
  void ConnectValue(const ir::Value& value);
  Layout Produced(const ir::Value& value, const Choice& choice) const {
    return choice.candidate.outputs[static_cast<size_t>(value.producer_index())];
  }
  // Prices of the value's crossing into and out of network-level backends, between its producer and
  // each of its readers.
  void AddHandOvers(const ir::Value& value, const std::vector<Reader>& readers);
  // Asked once for each pair of layouts of a value.
  Price ConvertPrice(const ir::Value& value, Layout from, Layout to);
  double Convert(const ir::Value& value, Layout from, Layout to) {
    return ConvertPrice(value, from, to).ms;
  }
  Price HandOver(const ir::Value& value, const CompileBackend& backend, Crossing crossing);
  // What the nodes at both ends of the value might have paid for it, and what they pay.
  void Tell(const ir::Value& value);

  const ir::Graph& graph_;
  const backends::Target& target_;
  const CostModel& cost_;
  std::vector<NodeVariable> nodes_;
  std::map<const ir::Node*, int> index_;
  PairwiseProblem problem_;
  Assignment result_;
  std::map<std::tuple<const ir::Value*, Layout, Layout>, Price> conversions_;
  std::map<std::tuple<const ir::Value*, const CompileBackend*, Crossing>, Price> hand_overs_;
};

Price Assigner::ConvertPrice(const ir::Value& value, Layout from, Layout to) {
  if (from == to) return {0, Source::kMeasured};
  const auto [it, added] = conversions_.try_emplace({&value, from, to});
  if (added) it->second = cost_.Convert(value.type(), from, to, target_);
  return it->second;
}

Price Assigner::HandOver(const ir::Value& value, const CompileBackend& backend, Crossing crossing) {
  const auto [it, added] = hand_overs_.try_emplace({&value, &backend, crossing});
  if (added) it->second = cost_.HandOver(value.type(), backend.name(), crossing, target_);
  return it->second;
}

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
    const Price price = cost_.Step(node, backend.name(), c, target_);
    to.states.push_back({&backend, std::move(c), price.ms, price.source});
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
      v.states.push_back(
          {nullptr, backends::PlainCandidate(*node, node->op()), ms->second, Source::kEstimated});
    } else {
      for (const CompileBackend* b : own) SLIPWAY_RETURN_IF_ERROR(Offer(*node, *b, v, reasons));
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
      alternatives.push_back({NameOf(c), c.candidate.kernel, c.cost_ms, false, c.source});
    if (!reasons.empty()) result_.declined[node.get()] = std::move(reasons);
    // Of candidates with the same layouts only the cheapest can be part of a best plan; earlier
    // backends win ties.
    std::vector<Choice> kept;
    for (Choice& c : v.states) {
      auto same =
          std::find_if(kept.begin(), kept.end(), [&](const Choice& k) { return LookAlike(k, c); });
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
  const auto leave = [&](const CompileBackend* b) {
    return b ? HandOver(value, *b, Crossing::kLeaves).ms : 0;
  };
  const auto enter = [&](const CompileBackend* b) {
    return b ? HandOver(value, *b, Crossing::kEnters).ms : 0;
  };
  const NodeVariable* producer =
      value.producer() ? &nodes_[static_cast<size_t>(index_.at(value.producer()))] : nullptr;
  std::set<int> ends;  // a node that reads it twice gets it once
  bool enters = false;
  for (const Reader& r : readers) {
    ends.insert(r.node);
    enters |= r.node >= 0 && has_island(nodes_[static_cast<size_t>(r.node)]);
  }
  if (!enters && !(producer && has_island(*producer))) return;
  if (ends.size() == 1) {
    const NodeVariable* reader =
        *ends.begin() < 0 ? nullptr : &nodes_[static_cast<size_t>(*ends.begin())];
    std::vector<double> cost;
    if (!producer || !reader) {  // the graph's own border
      const NodeVariable& only = producer ? *producer : *reader;
      for (const Choice& c : only.states)
        cost.push_back(producer ? leave(Island(c)) : enter(Island(c)));
      problem_.AddPair(only.variable, problem_.AddVariable({0.0}), std::move(cost));
      return;
    }
    for (const Choice& p : producer->states) {
      for (const Choice& c : reader->states) {
        const CompileBackend *from = Island(p), *to = Island(c);
        cost.push_back(from == to ? 0 : leave(from) + enter(to));
      }
    }
    problem_.AddPair(producer->variable, reader->variable, std::move(cost));
    return;
  }
  // Several readers: a variable over where the value is made, whether it leaves, and which backends
  // it enters, each of which is paid once.
  std::vector<const CompileBackend*> islands;
  const auto add_islands = [&](const NodeVariable& v) {
    for (const Choice& c : v.states) {
      if (Island(c) && std::find(islands.begin(), islands.end(), Island(c)) == islands.end())
        islands.push_back(Island(c));
    }
  };
  if (producer) add_islands(*producer);
  for (int r : ends) {
    if (r >= 0) add_islands(nodes_[static_cast<size_t>(r)]);
  }
  struct State {
    const CompileBackend* from;
    bool left;
    uint32_t entered;
  };
  std::vector<State> states;
  std::vector<double> unary;
  for (size_t k = 0; k <= islands.size(); ++k) {
    const CompileBackend* from = k == islands.size() ? nullptr : islands[k];
    if (from && !producer) continue;
    for (const bool left : {false, true}) {
      if (from ? !left && value.is_output() : left) continue;
      for (uint32_t entered = 0; entered < 1u << islands.size(); ++entered) {
        if (from && (entered >> k & 1)) continue;
        double cost = left ? leave(from) : 0;
        for (size_t i = 0; i < islands.size(); ++i)
          cost += entered >> i & 1 ? enter(islands[i]) : 0;
        states.push_back({from, left, entered});
        unary.push_back(cost);
      }
    }
  }
  const int variable = problem_.AddVariable(std::move(unary));
  const auto bit = [&](const CompileBackend* b) {
    return 1u << (std::find(islands.begin(), islands.end(), b) - islands.begin());
  };
  if (producer) {
    std::vector<double> cost;
    for (const Choice& p : producer->states) {
      for (const State& s : states) cost.push_back(Island(p) == s.from ? 0 : kNever);
    }
    problem_.AddPair(producer->variable, variable, std::move(cost));
  }
  for (int r : ends) {
    if (r < 0) continue;
    const NodeVariable& reader = nodes_[static_cast<size_t>(r)];
    std::vector<double> cost;
    for (const Choice& c : reader.states) {
      const CompileBackend* to = Island(c);
      for (const State& s : states) {
        const bool fits = to == s.from || ((!s.from || s.left) && (!to || (s.entered & bit(to))));
        cost.push_back(fits ? 0 : kNever);
      }
    }
    problem_.AddPair(reader.variable, variable, std::move(cost));
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
    const Choice& choice =
        v.states[static_cast<size_t>(solution.states[static_cast<size_t>(v.variable)])];
    for (Alternative& a : result_.alternatives[v.node]) {
      a.chosen = a.backend == NameOf(choice) && a.kernel == choice.candidate.kernel &&
                 a.cost_ms == choice.cost_ms;
    }
    result_.nodes[v.node] = choice;
  }
  for (const auto& value : graph_.values()) {
    if (!value->is_constant()) Tell(*value);
  }
  return std::move(result_);
}

void Assigner::Tell(const ir::Value& value) {
  const auto chosen = [&](const ir::Node* node) -> const Choice& { return result_.nodes.at(node); };
  const ir::Node* producer = value.producer();
  const Layout is = producer ? Produced(value, chosen(producer)) : Layout::kPlain;
  const CompileBackend* from = producer ? Island(chosen(producer)) : nullptr;
  std::set<Layout> wanted;  // by the plan
  bool leaves = from && value.is_output();
  for (const ir::Use& use : value.uses()) {
    const Choice& reader = chosen(use.node);
    wanted.insert(reader.candidate.inputs[static_cast<size_t>(use.index)]);
    leaves |= from != nullptr && Island(reader) != from;
  }
  if (value.is_output()) wanted.insert(Layout::kPlain);
  const auto readers_of = [&](Layout to) {
    std::set<const ir::Node*> nodes;
    for (const ir::Use& use : value.uses()) {
      for (const Choice& c : nodes_[static_cast<size_t>(index_.at(use.node))].states) {
        if (c.candidate.inputs[static_cast<size_t>(use.index)] == to) nodes.insert(use.node);
      }
    }
    if (value.is_output() && to == Layout::kPlain && producer) nodes.insert(producer);
    return nodes;
  };
  for (auto it = conversions_.lower_bound({&value, Layout::kPlain, Layout::kPlain});
       it != conversions_.end() && std::get<0>(it->first) == &value; ++it) {
    const auto& [of, a, b] = it->first;
    const Move move{value.name(),
                    "reference",
                    ConvertKernel(a, b),
                    it->second,
                    a == is && wanted.count(b) != 0,
                    ConvertSignature(value.type(), a, b)};
    for (const ir::Node* node : readers_of(b)) result_.moves[node].push_back(move);
  }
  for (auto it = hand_overs_.lower_bound({&value, nullptr, Crossing::kEnters});
       it != hand_overs_.end() && std::get<0>(it->first) == &value; ++it) {
    const auto& [of, backend, crossing] = it->first;
    const Move move{
        value.name(), backend->name(), HandOverKernel(crossing),
        it->second,   false,           HandOverSignature(value.type(), backend->name(), crossing)};
    if (crossing == Crossing::kLeaves) {
      auto& list = result_.moves[producer];
      list.push_back(move);
      list.back().paid = leaves && backend == from;
      continue;
    }
    std::set<const ir::Node*> nodes;
    for (const ir::Use& use : value.uses()) nodes.insert(use.node);
    for (const ir::Node* node : nodes) {
      auto& list = result_.moves[node];
      list.push_back(move);
      list.back().paid = Island(chosen(node)) == backend && backend != from;
    }
  }
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
