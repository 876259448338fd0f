#include "deploy/tune.h"

#include <map>
#include <memory>
#include <set>
#include <tuple>

#include "deploy/micro.h"
#include "deploy/package_clock.h"
#include "engine/compiler/control.h"
#include "engine/compiler/sequence.h"
#include "model/ir/control.h"

namespace slipway::deploy {
namespace {

using compiler::Crossing;
using compiler::Price;
using format::Layout;

// Where the graph that asked is, with what its inputs leave open.
struct Place {
  const compiler::Platform* platform;
  std::shared_ptr<const std::set<std::string>> dynamic;
};
struct Kernel {
  KernelTask task;
  Place place;
};
struct Conversion {
  ir::Type type;
  Layout from, to;
  Place place;
};
struct Border {
  ir::Type type;
  std::string backend;
  Place place;
};

// Notes every price that an assignment asks for, by signature; borders by backend and type.
class Noting final : public compiler::CostModel {
 public:
  Price Step(const ir::Node& node, const std::string& backend, const backends::Candidate& candidate,
             const backends::Target& target) const override {
    if (!candidate.view)
      kernels.try_emplace(compiler::KernelSignature(node, backend, candidate.kernel),
                          Kernel{{&node, backend, candidate.kernel}, place});
    return analytic_.Step(node, backend, candidate, target);
  }
  Price Convert(const ir::Type& type, Layout from, Layout to,
                const backends::Target& target) const override {
    if (from != to)
      conversions.try_emplace(compiler::ConvertSignature(type, from, to),
                              Conversion{type, from, to, place});
    return analytic_.Convert(type, from, to, target);
  }
  Price HandOver(const ir::Type& type, const std::string& backend, Crossing crossing,
                 const backends::Target& target) const override {
    borders.try_emplace({backend, type.ToString()}, Border{type, backend, place});
    return analytic_.HandOver(type, backend, crossing, target);
  }

  Place place{};
  mutable std::map<std::string, Kernel> kernels;
  mutable std::map<std::string, Conversion> conversions;
  mutable std::map<std::pair<std::string, std::string>, Border> borders;

 private:
  const compiler::AnalyticCost analytic_;
};

std::vector<const backends::CompileBackend*> Find(const std::vector<std::string>& names) {
  std::vector<const backends::CompileBackend*> found;
  const compiler::BackendSet& set = Backends();
  for (const std::string& name : names) {
    if (const auto* b = set.Find(name)) found.push_back(b);
  }
  return found;
}

class Tuner {
 public:
  Tuner(const compiler::Platform& platform, const compiler::CompileOptions& options,
        perfdb::Store& store, const std::function<void(int64_t, int64_t)>& progress)
      : options_(options),
        store_(store),
        progress_(progress),
        key_(StepKey(platform, options.threads)),
        hash_(key_.Hash()) {
    platforms_.push_back(platform);
    if (platform.backends.size() > 1) {
      for (const std::string& name : platform.backends)
        platforms_.push_back(AlonePlatform(platform, name));
    }
  }

  Result<TuneReport> Run(const ir::Graph& graph);

 private:
  // Everything that the graph's assignment, and those of its bodies, will ask for.
  Status Note(std::unique_ptr<ir::Graph> graph, const compiler::Platform& platform);
  Status Keep(const std::string& op, const std::string& backend, const std::string& kernel,
              const std::string& signature, double ms);
  bool Known(const std::string& signature) { return store_.KernelMs(hash_, signature).has_value(); }
  void Step() {
    if (progress_) progress_(++done_, all_);
  }

  std::vector<compiler::Platform> platforms_;
  const compiler::CompileOptions& options_;
  perfdb::Store& store_;
  const std::function<void(int64_t, int64_t)>& progress_;
  const perfdb::PlatformKey key_;
  const std::string hash_;
  Noting noting_;
  std::vector<std::unique_ptr<ir::Graph>> graphs_;  // whose nodes are noted
  int64_t done_ = 0, all_ = 0;
};

Status Tuner::Note(std::unique_ptr<ir::Graph> owned, const compiler::Platform& platform) {
  const ir::Graph& graph = *owned;
  graphs_.push_back(std::move(owned));
  compiler::AssignOptions assign;
  for (const auto& node : graph.nodes()) {
    if (compiler::IsSequenceNode(*node)) assign.session_ms[node.get()] = 0;
    if (!ir::IsControlFlow(*node)) continue;
    assign.session_ms[node.get()] = 0;
    for (std::string_view name : ir::BodyNames(node->domain(), node->op())) {
      SLIPWAY_ASSIGN_OR_RETURN(auto body, compiler::BodyToCompile(*node, name));
      SLIPWAY_RETURN_IF_ERROR(Note(std::move(body), platform));
    }
  }
  auto dynamic = std::make_shared<std::set<std::string>>();
  for (const ir::Value* v : graph.inputs()) {
    for (const Dim& d : v->type().shape.value_or(SymShape{})) {
      for (std::string& s : d.Symbols()) dynamic->insert(std::move(s));
    }
  }
  noting_.place = {&platform, std::move(dynamic)};
  backends::Target target = compiler::TargetOf(platform, options_.threads);
  target.exact = options_.exact;
  return compiler::Assign(graph, Find(platform.backends), Find(platform.fallback), target, noting_,
                          assign)
      .status();
}

Status Tuner::Keep(const std::string& op, const std::string& backend, const std::string& kernel,
                   const std::string& signature, double ms) {
  perfdb::KernelRow row;
  row.op = op;
  row.backend = backend;
  row.kernel = kernel;
  row.signature = signature;
  row.ms = ms;
  return store_.InsertKernels(key_, {row});
}

Result<TuneReport> Tuner::Run(const ir::Graph& graph) {
  for (const compiler::Platform& platform : platforms_) {
    auto prepared = compiler::PreparedGraph(graph, platform, Backends(), options_, nullptr);
    const Status noted = prepared.ok() ? Note(std::move(*prepared), platform) : prepared.status();
    // A backend that cannot take part alone is left out (deploy/place.h).
    if (&platform == &platforms_[0]) SLIPWAY_RETURN_IF_ERROR(noted);
  }
  TuneReport report;
  std::vector<std::pair<std::string, const Kernel*>> kernels;
  std::vector<std::pair<std::string, const Conversion*>> conversions;
  std::vector<const Border*> borders;
  for (const auto& [signature, kernel] : noting_.kernels) {
    ++report.kernels.all;
    if (Known(signature))
      ++report.kernels.known;
    else
      kernels.emplace_back(signature, &kernel);
  }
  for (const auto& [signature, conversion] : noting_.conversions) {
    ++report.conversions.all;
    if (Known(signature))
      ++report.conversions.known;
    else
      conversions.emplace_back(signature, &conversion);
  }
  for (const auto& [key, border] : noting_.borders) {
    ++report.hand_overs.all;
    if (Known(compiler::HandOverSignature(border.type, border.backend, Crossing::kEnters)) &&
        Known(compiler::HandOverSignature(border.type, border.backend, Crossing::kLeaves)))
      ++report.hand_overs.known;
    else
      borders.push_back(&border);
  }
  all_ = static_cast<int64_t>(kernels.size() + conversions.size() + borders.size());
  const auto skip = [&](TuneCounts& counts, const std::string& what, const Status& why) {
    ++counts.skipped;
    report.skipped.push_back(what + ": " + why.message());
  };
  for (const auto& [signature, k] : kernels) {
    const auto ms = MeasureKernel(k->task, *k->place.dynamic, *k->place.platform, options_);
    if (ms.ok()) {
      ++report.kernels.measured;
      SLIPWAY_RETURN_IF_ERROR(
          Keep(k->task.node->FullOp(), k->task.backend, k->task.kernel, signature, *ms));
    } else {
      skip(report.kernels,
           k->task.backend + " " + k->task.kernel + " of " + k->task.node->Describe(), ms.status());
    }
    Step();
  }
  const auto at_one = [](const ir::Type& type, const Place& place) -> Result<ir::Type> {
    auto found = TypeAtOne(type, *place.dynamic);
    if (!found) return Unsupported("data decide an extent");
    return *found;
  };
  for (const auto& [signature, c] : conversions) {
    const auto type = at_one(c->type, c->place);
    const auto ms =
        type.ok() ? MeasureConversion(*type, c->from, c->to, *c->place.platform, options_.threads)
                  : Result<double>(type.status());
    if (ms.ok()) {
      ++report.conversions.measured;
      SLIPWAY_RETURN_IF_ERROR(Keep(compiler::kConvertOp, "reference",
                                   compiler::ConvertKernel(c->from, c->to), signature, *ms));
    } else {
      skip(report.conversions,
           compiler::ConvertKernel(c->from, c->to) + " of " + c->type.ToString(), ms.status());
    }
    Step();
  }
  for (const Border* b : borders) {
    const auto type = at_one(b->type, b->place);
    const auto ms = type.ok() ? MeasureHandOver(*type, b->backend, *b->place.platform, options_)
                              : Result<HandOver>(type.status());
    if (ms.ok()) {
      ++report.hand_overs.measured;
      for (const auto& [crossing, value] :
           {std::pair(Crossing::kEnters, ms->in), std::pair(Crossing::kLeaves, ms->out)})
        SLIPWAY_RETURN_IF_ERROR(
            Keep(compiler::kHandOverOp, b->backend, compiler::HandOverKernel(crossing),
                 compiler::HandOverSignature(b->type, b->backend, crossing), value));
    } else {
      skip(report.hand_overs, "in and out of " + b->backend + " of " + b->type.ToString(),
           ms.status());
    }
    Step();
  }
  return report;
}

}  // namespace

compiler::Platform AlonePlatform(const compiler::Platform& platform, const std::string& backend) {
  compiler::Platform alone = platform;
  alone.backends = {backend};
  alone.fallback.clear();
  for (const std::string& other : platform.backends) {
    if (other != backend) alone.fallback.push_back(other);
  }
  alone.fallback.insert(alone.fallback.end(), platform.fallback.begin(), platform.fallback.end());
  return alone;
}

Result<TuneReport> Tune(const ir::Graph& graph, const compiler::Platform& platform,
                        const compiler::CompileOptions& options, perfdb::Store& store,
                        const std::function<void(int64_t, int64_t)>& progress) {
  SLIPWAY_RETURN_IF_ERROR(CanTime(platform));
  return Tuner(platform, options, store, progress).Run(graph);
}

}  // namespace slipway::deploy
