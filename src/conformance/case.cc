#include "conformance/case.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>

#include "base/float16.h"
#include "deploy/c_program.h"
#include "deploy/emulated.h"
#include "deploy/model_io.h"
#include "deploy/runner.h"
#include "deploy/toolchain.h"
#include "model/frontends/onnx/import.h"
#include "model/frontends/onnx/value_proto.h"
#include "model/ir/infer.h"
#include "model/ir/schema.h"

namespace slipway::conformance {

namespace fs = std::filesystem;

// Every folder under `root` (itself included) with a model and at least one data set, sorted by
// name.
Result<std::vector<Case>> FindCases(const std::string& root, const std::string& filter) {
  std::error_code error;
  if (!fs::is_directory(root, error))
    return NotFound("there is no folder '" + root + "'; give one with ONNX backend test cases");
  std::vector<Case> cases;
  auto consider = [&](const fs::path& folder) {
    if (!fs::exists(folder / "model.onnx", error)) return;
    bool data = false;
    for (const auto& entry : fs::directory_iterator(folder, error))
      data |= entry.path().filename().string().starts_with("test_data_set_");
    if (!data) return;
    std::string name = fs::relative(folder, root, error).generic_string();
    if (name == "." || name.empty())
      name = fs::absolute(folder).lexically_normal().parent_path().filename().string();
    if (name.find(filter) != std::string::npos) cases.push_back({name, folder.string(), ""});
  };
  consider(fs::path(root) / "");
  for (auto it = fs::recursive_directory_iterator(
           root, fs::directory_options::skip_permission_denied, error);
       it != fs::recursive_directory_iterator(); it.increment(error)) {
    if (error) break;
    if (it->is_directory(error)) consider(it->path());
  }
  if (cases.empty()) {
    return NotFound("no folder under '" + root + "' holds model.onnx and test_data_set_*" +
                    (filter.empty() ? "" : " and has '" + filter + "' in its name") +
                    "; Debian's libonnx-testdata puts some in /usr/share/libonnx-testdata/data");
  }
  std::sort(cases.begin(), cases.end(),
            [](const Case& a, const Case& b) { return a.name < b.name; });
  return cases;
}

namespace {

// NumPy had no bfloat16 when ONNX wrote its cases: the files hold the bits as uint16.
Result<ir::Tensor> AsDeclared(const ir::Tensor& tensor, DType declared) {
  if (tensor.is_container()) return tensor;
  if (declared != DType::kBFloat16 || tensor.dtype() != DType::kUInt16) return tensor;
  auto owner = std::make_shared<ir::Tensor>(tensor);
  return ir::Tensor::Wrap(declared, tensor.dims(), owner->bytes(), owner);
}

// prefix0.pb, prefix1.pb, ... as far as they go: tensors, or what `ports` in this order say.
Result<std::vector<ir::Tensor>> ReadTensors(const fs::path& folder, const std::string& prefix,
                                            const std::vector<ir::Value*>& ports,
                                            std::vector<std::string>* names) {
  std::vector<ir::Tensor> out;
  for (size_t i = 0;; ++i) {
    fs::path path = folder / (prefix + std::to_string(i) + ".pb");
    std::error_code error;
    if (!fs::exists(path, error)) return out;
    std::string name;
    SLIPWAY_ASSIGN_OR_RETURN(
        ir::Tensor t, onnx::ReadValueProtoFile(
                          path.string(), i < ports.size() ? ports[i]->type() : ir::Type{}, &name));
    out.push_back(std::move(t));
    names->push_back(std::move(name));
  }
}

// Element `i` of a real type as a double; integers go through ElementInt.
double ElementReal(const ir::Tensor& t, int64_t i) {
  const uint8_t* p = t.bytes().data();
  auto load = [&](auto value) {
    std::memcpy(&value, p + static_cast<size_t>(i) * sizeof(value), sizeof(value));
    return value;
  };
  switch (t.dtype()) {
    case DType::kFloat32:
      return load(0.0f);
    case DType::kFloat64:
      return load(0.0);
    case DType::kFloat16:
      return Float16::FromBits(load(uint16_t{}));
    case DType::kBFloat16:
      return BFloat16::FromBits(load(uint16_t{}));
    case DType::kFloat4E2M1:
      return DecodeFloat8(t.dtype(), (p[i / 2] >> (i % 2 * 4)) & 15);
    default:
      return DecodeFloat8(t.dtype(), p[i]);
  }
}

// ONNX's own rule (onnx/backend/test/runner): types and extents equal, integers equal, |got - want|
// <= 1e-7 + 1e-3 |want|, NaN equals NaN.
// With `any_values` only types and extents count: the outputs hold random numbers. `share`: a
// platform of lower precision may be off by this share of the largest magnitude.
std::string Difference(const ir::Tensor& got, const ir::Tensor& want, bool any_values,
                       double share) {
  if (got.container() != want.container() || got.items().size() != want.items().size())
    return "is " + got.Describe() + ", expected " + want.Describe();
  for (size_t i = 0; i < got.items().size(); ++i) {
    const std::string inside = Difference(got.items()[i], want.items()[i], any_values, share);
    if (!inside.empty()) return "item " + std::to_string(i) + " " + inside;
  }
  if (got.dtype() != want.dtype())
    return std::string("is ") + DTypeName(got.dtype()) + ", expected " + DTypeName(want.dtype());
  if (!(got.dims() == want.dims()))
    return "is " + got.dims().ToString() + ", expected " + want.dims().ToString();
  if (any_values) return "";
  if (!IsFloating(got.dtype())) {
    const auto a = got.bytes(), b = want.bytes();
    if (std::equal(a.begin(), a.end(), b.begin(), b.end())) return "";
    const size_t bytes = std::max<size_t>(1, static_cast<size_t>(DTypeBits(got.dtype())) / 8);
    size_t different = 0;
    for (size_t at = 0; at < got.bytes().size(); at += bytes)
      different += std::memcmp(got.bytes().data() + at, want.bytes().data() + at, bytes) != 0;
    return std::to_string(different) + " of " + std::to_string(got.count()) + " elements differ";
  }
  int64_t different = 0, first = -1;
  double slack = 0;
  for (int64_t i = 0; share > 0 && i < want.count(); ++i) {
    const double w = std::fabs(ElementReal(want, i));
    if (std::isfinite(w)) slack = std::max(slack, share * w);
  }
  for (int64_t i = 0; i < got.count(); ++i) {
    const double g = ElementReal(got, i), w = ElementReal(want, i);
    const bool same = std::isnan(w) ? std::isnan(g)
                      : std::isinf(w) || std::isinf(g)
                          ? g == w
                          : std::fabs(g - w) <= slack + 1e-7 + 1e-3 * std::fabs(w);
    if (same) continue;
    if (different++ == 0) first = i;
  }
  if (different == 0) return "";
  char values[96];
  std::snprintf(values, sizeof(values), "%.9g, expected %.9g", ElementReal(got, first),
                ElementReal(want, first));
  return std::to_string(different) + " of " + std::to_string(got.count()) +
         " elements differ; element " + std::to_string(first) + " is " + values;
}

// The files as the graph's inputs: in order, as ONNX feeds them; by name when the model has fewer
// inputs than files (some were initialisers).
Result<std::vector<ir::Tensor>> ReadInputs(const fs::path& set, const ir::Graph& graph) {
  std::vector<std::string> names;
  SLIPWAY_ASSIGN_OR_RETURN(auto files, ReadTensors(set, "input_", graph.inputs(), &names));
  std::vector<ir::Tensor> inputs;
  for (size_t i = 0; i < graph.inputs().size(); ++i) {
    const ir::Value& value = *graph.inputs()[i];
    size_t at = i;
    if (files.size() != graph.inputs().size())
      at = static_cast<size_t>(std::find(names.begin(), names.end(), value.name()) - names.begin());
    if (at >= files.size())
      return InvalidArgument(set.filename().string() + ": no file for input '" + value.name() +
                             "'");
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor input, AsDeclared(files[at], value.dtype()));
    inputs.push_back(std::move(input));
  }
  return inputs;
}

// Some of ONNX's cases declare a shape that their own data contradict (CastLike of bfloat16: its
// second input is declared as large as the first and given with one element). What is tested is the
// answer for the data, so the data decide; nullptr when they agree with the model.
// `fix`: extents that the model leaves open become those of the data too.
Result<std::shared_ptr<const ir::Graph>> FollowData(const Case& c, const fs::path& set,
                                                    const ir::Graph& graph, bool fix,
                                                    std::string* note) {
  SLIPWAY_ASSIGN_OR_RETURN(auto inputs, ReadInputs(set, graph));
  onnx::ImportOptions options;
  options.any_rank = true;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ir::Type& type = graph.inputs()[i]->type();
    if ((!type.shape && !fix) || type.is_container()) continue;
    const Dims& dims = inputs[i].dims();
    const std::string& name = graph.inputs()[i]->name();
    if (fix && (!type.shape || std::any_of(type.shape->begin(), type.shape->end(),
                                           [](const Dim& d) { return !d.known(); })))
      options.input_shapes[name].assign(dims.begin(), dims.end());
    if (!type.shape) continue;
    bool agrees = type.shape->size() == dims.size();
    for (size_t k = 0; agrees && k < dims.size(); ++k)
      agrees = (*type.shape)[k].known() ? (*type.shape)[k].value() == dims[k]
                                        : dims[k] > 0;  // a symbol stands for at least 1
    if (agrees) continue;
    options.input_shapes[name].assign(dims.begin(), dims.end());
    *note += (note->empty() ? "" : "; ") +
             ("input '" + name + "' is declared " + slipway::ToString(*type.shape) + " and given " +
              dims.ToString());
  }
  if (options.input_shapes.empty()) return std::shared_ptr<const ir::Graph>();
  SLIPWAY_ASSIGN_OR_RETURN(auto made, onnx::ImportOnnx(c.folder + "/model.onnx", options));
  return std::shared_ptr<const ir::Graph>(std::move(made));
}

using RunFunction = std::function<Result<std::vector<ir::Tensor>>(const std::vector<ir::Tensor>&)>;

// What the model's C file computes. Parameters that ONNX's cases give at run time and models as
// constants (axes, pads, scales: all inputs of rank 0 or 1 but the first) are constants where the
// file cannot have them otherwise, which the note says.
Result<RunFunction> PrepareC(const std::shared_ptr<const ir::Graph>& graph,
                             const std::vector<ir::Tensor>& inputs, const CaseOptions& o,
                             CaseOutcome* outcome) {
  std::vector<size_t> bound;
  auto built = deploy::CProgram::Build(*graph);
  if (!built.ok() && built.status().code() == StatusCode::kUnsupported) {
    auto fixed = graph->Clone();
    const auto values = fixed->inputs();
    std::string names;
    for (size_t i = 1; i < values.size(); ++i) {
      if (inputs[i].is_container() || inputs[i].dims().rank() > 1) continue;
      names += (names.empty() ? "'" : ", '") + values[i]->name() + "'";
      fixed->SetConstant(values[i], inputs[i]);
      bound.push_back(i);
    }
    if (bound.empty() || !ir::InferShapes(*fixed).ok()) return built.status();
    auto again = deploy::CProgram::Build(*fixed);
    if (!again.ok() && again.status().code() == StatusCode::kUnsupported) return built.status();
    built = std::move(again);
    outcome->note += (outcome->note.empty() ? "" : "; ") + ("constants: " + names);
  }
  if (!built.ok()) return built.status();
  auto program = std::make_shared<deploy::CProgram>(std::move(*built));
  const double limit = o.timeout;
  return RunFunction([program, bound, limit](const std::vector<ir::Tensor>& all) {
    std::vector<ir::Tensor> inputs;
    for (size_t i = 0; i < all.size(); ++i) {
      if (std::find(bound.begin(), bound.end(), i) == bound.end()) inputs.push_back(all[i]);
    }
    return program->Run(inputs, limit);
  });
}

// What the definitions of the operators give. Of a platform: of those that its backends are
// offered, where codes are requantized as integers are, and not as floats between them are rounded.
Result<RunFunction> Interpreter(std::shared_ptr<const ir::Graph> graph, const CaseOptions& o) {
  if (o.IsPlatform()) {
    SLIPWAY_ASSIGN_OR_RETURN(const auto platform, deploy::GetPlatform(o.platform));
    SLIPWAY_ASSIGN_OR_RETURN(
        auto prepared, compiler::PreparedGraph(*graph, platform, deploy::Backends(), {}, nullptr));
    graph = std::move(prepared);
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto runner, deploy::Runner::ForGraph(graph, "interpreter", {}));
  auto shared = std::make_shared<deploy::Runner>(std::move(runner));
  return RunFunction([shared](const auto& inputs) { return shared->Run(inputs); });
}

// Compiled here and not by Runner, to know where the nodes went.
Result<RunFunction> Prepare(const std::shared_ptr<const ir::Graph>& graph, const CaseOptions& o,
                            CaseOutcome* outcome) {
  if (o.platform == "interpreter") return Interpreter(graph, o);
  SLIPWAY_ASSIGN_OR_RETURN(auto platform, deploy::GetPlatform(o.platform));
  SLIPWAY_ASSIGN_OR_RETURN(auto compiled, deploy::CompileModel(*graph, platform, {}));
  outcome->own_node_share = compiled.result.own_node_share;
  for (const auto& row : compiled.result.placement) {
    outcome->macs += static_cast<double>(row.macs);
    outcome->own_macs += row.fallback ? 0 : static_cast<double>(row.macs);
    outcome->nodes.push_back({row.op, row.backend, row.kernel,
                              row.reasons.empty() ? "" : row.reasons.front(),
                              static_cast<double>(row.macs)});
  }
  if (platform.device != "local") {
    auto bytes = std::make_shared<std::vector<uint8_t>>(std::move(compiled.bytes));
    const double limit = o.timeout;
    return RunFunction([bytes, platform, limit](const auto& inputs) {
      return deploy::RunOnDevice(*bytes, platform, inputs, limit);
    });
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto made, deploy::Session::FromBytes(compiled.bytes));
  auto session = std::make_shared<deploy::Session>(std::move(made));
  return RunFunction([session](const auto& inputs) { return session->Run(inputs); });
}

// Random ones; the batch, where the model leaves it open, is 1, 2, 3, ...
Result<std::vector<ir::Tensor>> RandomInputs(const ir::Graph& graph, int set, uint64_t seed) {
  std::vector<deploy::Port> ports;
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const ir::Value* v : graph.inputs()) {
    ports.push_back({v->name(), v->type()});
    const ir::Type& type = v->type();
    if (type.is_container() || !type.shape || type.shape->empty() || (*type.shape)[0].known())
      continue;
    std::vector<int64_t>& dims = shapes[v->name()];
    for (const Dim& d : *type.shape) dims.push_back(d.known() ? d.value() : 1);
    dims[0] = set + 1;
  }
  return deploy::MakeInputs(ports, {}, shapes, true, seed + static_cast<uint64_t>(set));
}

// What goes in and what must come out.
struct Vectors {
  std::string where;
  std::vector<ir::Tensor> inputs, wanted;
};

Result<std::vector<Vectors>> ReadVectors(const Case& c, const CaseOptions& o,
                                         std::shared_ptr<const ir::Graph>& graph,
                                         CaseOutcome* outcome) {
  std::vector<Vectors> all;
  if (c.folder.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(const RunFunction truth, Interpreter(graph, o));
    for (int set = 0; set < o.inputs; ++set) {
      Vectors v{
          "random inputs " + std::to_string(set) + " of seed " + std::to_string(o.seed) + ": ",
          {},
          {}};
      SLIPWAY_ASSIGN_OR_RETURN(v.inputs, RandomInputs(*graph, set, o.seed));
      auto wanted = truth(v.inputs);
      if (!wanted.ok()) return wanted.status().With("interpreter");
      v.wanted = std::move(*wanted);
      all.push_back(std::move(v));
    }
    return all;
  }
  std::vector<fs::path> sets;
  for (const auto& entry : fs::directory_iterator(c.folder)) {
    if (entry.path().filename().string().starts_with("test_data_set_"))
      sets.push_back(entry.path());
  }
  std::sort(sets.begin(), sets.end());
  SLIPWAY_ASSIGN_OR_RETURN(auto other,
                           FollowData(c, sets.front(), *graph, o.platform == kC, &outcome->note));
  if (other) graph = other;
  for (const fs::path& set : sets) {
    Vectors v{set.filename().string() + ": ", {}, {}};
    std::vector<std::string> names;
    SLIPWAY_ASSIGN_OR_RETURN(v.inputs, ReadInputs(set, *graph));
    SLIPWAY_ASSIGN_OR_RETURN(v.wanted, ReadTensors(set, "output_", graph->outputs(), &names));
    all.push_back(std::move(v));
  }
  return all;
}

// Whether the interpreter does the same with a case that went wrong: the fault is then not the
// platform's. `outputs`: of the platform, or null where it refused.
bool AsInterpreter(const std::shared_ptr<const ir::Graph>& graph, const CaseOptions& o,
                   const std::vector<ir::Tensor>& inputs, const std::vector<ir::Tensor>* outputs,
                   bool random, double share) {
  const auto truth = Interpreter(graph, o);
  if (!truth.ok()) return true;
  const auto wanted = (*truth)(inputs);
  if (!wanted.ok() || !outputs) return wanted.ok() == (outputs != nullptr);
  if (wanted->size() != outputs->size()) return false;
  for (size_t i = 0; i < wanted->size(); ++i) {
    if (!Difference((*outputs)[i], (*wanted)[i], random, share).empty()) return false;
  }
  return true;
}

Status RunCase(const Case& c, const CaseOptions& o, CaseOutcome* outcome) {
  SLIPWAY_ASSIGN_OR_RETURN(
      auto loaded, deploy::LoadModel(c.folder.empty() ? c.model : c.folder + "/model.onnx"));
  std::shared_ptr<const ir::Graph> graph(std::move(loaded));
  SLIPWAY_ASSIGN_OR_RETURN(const auto sets, ReadVectors(c, o, graph, outcome));
  double share = o.tolerance;
  if (o.IsPlatform()) {
    SLIPWAY_ASSIGN_OR_RETURN(const auto platform, deploy::GetPlatform(o.platform));
    if (platform.precision == "bfloat16")
      share = std::max(share, 0.02);  // eight bits, and sums of them
    if (platform.precision == "float16") share = std::max(share, 0.01);  // eleven, and sums in them
  }
  const bool random = std::any_of(graph->nodes().begin(), graph->nodes().end(),
                                  [](const auto& n) { return ir::DrawsRandom(*n); });
  const auto blame = [&](const Vectors& v, const std::vector<ir::Tensor>* outputs) {
    if (!o.plugins.empty())
      outcome->as_interpreter = AsInterpreter(graph, o, v.inputs, outputs, random, share);
  };
  auto run = o.platform == kC ? PrepareC(graph, sets.front().inputs, o, outcome)
                              : Prepare(graph, o, outcome);
  if (!run.ok()) {
    if (!sets.empty()) blame(sets.front(), nullptr);
    return run.status();
  }
  for (const Vectors& v : sets) {
    auto outputs = (*run)(v.inputs);
    if (!outputs.ok()) {
      blame(v, nullptr);
      return outputs.status();
    }
    if (outputs->size() != v.wanted.size()) {
      return InvalidArgument(v.where + std::to_string(outputs->size()) + " outputs, expected " +
                             std::to_string(v.wanted.size()));
    }
    for (size_t i = 0; i < outputs->size(); ++i) {
      SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor want, AsDeclared(v.wanted[i], (*outputs)[i].dtype()));
      const std::string difference = Difference((*outputs)[i], want, random, share);
      if (difference.empty()) continue;
      blame(v, &*outputs);
      return InvalidArgument(v.where + "output '" + graph->outputs()[i]->name() + "' " +
                             difference);
    }
  }
  return OkStatus();
}

}  // namespace

bool CaseOutcome::RanOn(const std::set<std::string>& backends) const {
  return std::any_of(nodes.begin(), nodes.end(),
                     [&](const CaseNode& n) { return backends.contains(n.backend); });
}

CaseOutcome JudgeCase(const Case& c, const CaseOptions& o) {
  CaseOutcome outcome;
  Status status;
  try {
    status = RunCase(c, o, &outcome);
  } catch (const std::exception& e) {
    status = Internal(e.what());
  }
  // A plugin that took a node when it was compiled must run it.
  const bool refused = status.code() == StatusCode::kUnsupported &&
                       (outcome.as_interpreter || !outcome.RanOn(o.plugins));
  outcome.status = status.ok() ? "passed" : refused ? "unsupported" : "failed";
  outcome.reason = status.message();
  // The case's name says which file; the path before it is noise in a table.
  for (size_t at;
       !c.folder.empty() && (at = outcome.reason.find(c.folder + "/")) != std::string::npos;)
    outcome.reason.erase(at, c.folder.size() + 1);
  if (outcome.reason.size() > 2000) outcome.reason.resize(2000);
  return outcome;
}

std::string ToText(const CaseOutcome& o) {
  nlohmann::json row = {{"status", o.status},       {"reason", o.reason},
                        {"note", o.note},           {"own", o.own_node_share},
                        {"macs", o.macs},           {"own_macs", o.own_macs},
                        {"same", o.as_interpreter}, {"nodes", nlohmann::json::array()}};
  for (const CaseNode& n : o.nodes)
    row["nodes"].push_back({n.op, n.backend, n.kernel, n.reason, n.macs});
  return row.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

bool FromText(const std::string& text, CaseOutcome* o) {
  const auto row = nlohmann::json::parse(text, nullptr, false);
  if (!row.is_object()) return false;
  *o = {row.value("status", "failed"), row.value("reason", ""),
        row.value("note", ""),         row.value("own", -1.0),
        row.value("macs", 0.0),        row.value("own_macs", 0.0),
        row.value("same", false),      {}};
  for (const auto& n : row.value("nodes", nlohmann::json::array()))
    o->nodes.push_back({n.at(0), n.at(1), n.at(2), n.at(3), n.at(4)});
  return true;
}

}  // namespace slipway::conformance
