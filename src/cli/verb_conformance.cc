#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>
#include <thread>

#include "base/cpu.h"
#include "base/float16.h"
#include "cli/cli.h"
#include "deploy/c_program.h"
#include "deploy/emulated.h"
#include "deploy/model_io.h"
#include "deploy/runner.h"
#include "device/device.h"
#include "model/frontends/onnx/import.h"
#include "model/frontends/onnx/value_proto.h"
#include "model/ir/infer.h"
#include "model/ir/schema.h"

namespace slipway::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string folder, platform = "reference", filter;
  int jobs = 0, timeout = 60, sample = 0;
  unsigned seed = 0;
  bool in_process = false;
};

constexpr char kC[] = "c";  // the model's C file, compiled here

bool IsPlatform(const Options& o) { return o.platform != "interpreter" && o.platform != kC; }

struct Case {
  std::string name, folder;
};

struct Outcome {
  std::string status = "failed", reason;
  std::string note;            // what of the model was not believed
  double own_node_share = -1;  // < 0: not compiled
  double macs = 0, own_macs = 0;
};

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
    if (name.find(filter) != std::string::npos) cases.push_back({name, folder.string()});
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

// NumPy had no bfloat16 when ONNX wrote its cases: the files hold the bits as uint16.
Result<ir::Tensor> AsDeclared(const ir::Tensor& tensor, DType declared) {
  if (tensor.is_container()) return tensor;
  if (declared != DType::kBFloat16 || tensor.dtype() != DType::kUInt16) return tensor;
  auto owner = std::make_shared<ir::Tensor>(tensor);
  return ir::Tensor::Wrap(declared, tensor.dims(), owner->bytes(), owner);
}

// What a table says of a reason: without the node, the versions and the remedy, so that equal ones
// meet.
std::string Brief(std::string reason) {
  const std::string prefix = "'model.onnx': ";
  if (reason.starts_with(prefix)) reason.erase(0, prefix.size());
  for (size_t open; (open = reason.find(" (domain ")) != std::string::npos;) {
    size_t close = reason.find(')', open);
    if (close == std::string::npos) break;
    reason.erase(open, close + 1 - open);
  }
  for (const char* end : {". ", "; "}) reason = reason.substr(0, reason.find(end));
  if (size_t node = reason.find(" node '"); node != std::string::npos) {
    size_t close = reason.find("': ", node);
    if (close != std::string::npos) reason.erase(node, close + 1 - node);
  }
  return reason;
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
    if (std::memcmp(got.bytes().data(), want.bytes().data(), got.bytes().size()) == 0) return "";
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
Result<RunFunction> PrepareC(const std::shared_ptr<const ir::Graph>& graph, const fs::path& set,
                             const Options& o, Outcome* outcome) {
  std::vector<size_t> bound;
  auto built = deploy::CProgram::Build(*graph);
  if (!built.ok() && built.status().code() == StatusCode::kUnsupported) {
    auto fixed = graph->Clone();
    SLIPWAY_ASSIGN_OR_RETURN(const auto inputs, ReadInputs(set, *graph));
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

// Compiled here and not by Runner, to know where the nodes went.
Result<RunFunction> Prepare(const std::shared_ptr<const ir::Graph>& graph, const Options& o,
                            Outcome* outcome) {
  if (o.platform == "interpreter") {
    SLIPWAY_ASSIGN_OR_RETURN(auto runner, deploy::Runner::ForGraph(graph, o.platform, {}));
    auto shared = std::make_shared<deploy::Runner>(std::move(runner));
    return RunFunction([shared](const auto& inputs) { return shared->Run(inputs); });
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto platform, deploy::GetPlatform(o.platform));
  SLIPWAY_ASSIGN_OR_RETURN(auto compiled, deploy::CompileModel(*graph, platform, {}));
  outcome->own_node_share = compiled.result.own_node_share;
  for (const auto& row : compiled.result.placement) {
    outcome->macs += static_cast<double>(row.macs);
    outcome->own_macs += row.fallback ? 0 : static_cast<double>(row.macs);
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

Status RunCase(const Case& c, const Options& o, Outcome* outcome) {
  SLIPWAY_ASSIGN_OR_RETURN(auto loaded, deploy::LoadModel(c.folder + "/model.onnx"));
  std::shared_ptr<const ir::Graph> graph(std::move(loaded));
  std::vector<fs::path> sets;
  for (const auto& entry : fs::directory_iterator(c.folder)) {
    if (entry.path().filename().string().starts_with("test_data_set_"))
      sets.push_back(entry.path());
  }
  std::sort(sets.begin(), sets.end());
  SLIPWAY_ASSIGN_OR_RETURN(auto other,
                           FollowData(c, sets.front(), *graph, o.platform == kC, &outcome->note));
  if (other) graph = other;
  double share = 0;
  if (IsPlatform(o)) {
    SLIPWAY_ASSIGN_OR_RETURN(const auto platform, deploy::GetPlatform(o.platform));
    if (platform.precision == "bfloat16") share = 0.02;  // eight bits, and sums of them
    if (platform.precision == "float16") share = 0.01;   // eleven, and sums in them
  }
  const bool random = std::any_of(graph->nodes().begin(), graph->nodes().end(),
                                  [](const auto& n) { return ir::DrawsRandom(*n); });
  SLIPWAY_ASSIGN_OR_RETURN(RunFunction run, o.platform == kC
                                                ? PrepareC(graph, sets.front(), o, outcome)
                                                : Prepare(graph, o, outcome));
  for (const fs::path& set : sets) {
    const std::string where = set.filename().string() + ": ";
    std::vector<std::string> names;
    SLIPWAY_ASSIGN_OR_RETURN(auto inputs, ReadInputs(set, *graph));
    SLIPWAY_ASSIGN_OR_RETURN(auto wanted, ReadTensors(set, "output_", graph->outputs(), &names));
    SLIPWAY_ASSIGN_OR_RETURN(auto outputs, run(inputs));
    if (outputs.size() != wanted.size()) {
      return InvalidArgument(where + std::to_string(outputs.size()) + " outputs, expected " +
                             std::to_string(wanted.size()));
    }
    for (size_t i = 0; i < outputs.size(); ++i) {
      SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor want, AsDeclared(wanted[i], outputs[i].dtype()));
      std::string difference = Difference(outputs[i], want, random, share);
      if (!difference.empty())
        return InvalidArgument(where + "output '" + graph->outputs()[i]->name() + "' " +
                               difference);
    }
  }
  return OkStatus();
}

Outcome Judge(const Case& c, const Options& o) {
  Outcome outcome;
  Status status;
  try {
    status = RunCase(c, o, &outcome);
  } catch (const std::exception& e) {
    status = Internal(e.what());
  }
  outcome.status = status.ok()                                 ? "passed"
                   : status.code() == StatusCode::kUnsupported ? "unsupported"
                                                               : "failed";
  outcome.reason = status.message();
  // The case's name says which file; the path before it is noise in a table.
  for (size_t at; (at = outcome.reason.find(c.folder + "/")) != std::string::npos;)
    outcome.reason.erase(at, c.folder.size() + 1);
  if (outcome.reason.size() > 2000) outcome.reason.resize(2000);
  return outcome;
}

// One case in a process of its own: whatever happens there, the next one runs.
struct Child {
  size_t index;
  pid_t pid;
  int fd;
  std::string text;
};

Result<Child> Start(size_t index, const Case& c, const Options& o) {
  int ends[2];
  if (::pipe(ends) != 0) return Unavailable(std::string("pipe: ") + std::strerror(errno));
  pid_t pid = ::fork();
  if (pid < 0) {
    ::close(ends[0]);
    ::close(ends[1]);
    return Unavailable(std::string("fork: ") + std::strerror(errno) + "; try --jobs 1");
  }
  if (pid > 0) {
    ::close(ends[1]);
    return Child{index, pid, ends[0], ""};
  }
  ::close(ends[0]);
  ::alarm(static_cast<unsigned>(o.timeout));
  Outcome outcome = Judge(c, o);
  nlohmann::json row = {{"status", outcome.status}, {"reason", outcome.reason},
                        {"note", outcome.note},     {"own", outcome.own_node_share},
                        {"macs", outcome.macs},     {"own_macs", outcome.own_macs}};
  std::string text = row.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  bool whole = ::write(ends[1], text.data(), text.size()) ==
               static_cast<ssize_t>(text.size());  // far below a pipe's 64 KiB
  ::_exit(whole ? 0 : 3);
}

Outcome Finish(Child& child, const Options& o) {
  ::close(child.fd);
  int state = 0;
  while (::waitpid(child.pid, &state, 0) < 0 && errno == EINTR) {
  }
  Outcome outcome;
  auto row = nlohmann::json::parse(child.text, nullptr, false);
  if (row.is_object()) {
    outcome = {row.value("status", "failed"), row.value("reason", ""), row.value("note", ""),
               row.value("own", -1.0),        row.value("macs", 0.0),  row.value("own_macs", 0.0)};
  } else if (WIFSIGNALED(state) && WTERMSIG(state) == SIGALRM) {
    outcome.reason = "did not end within " + std::to_string(o.timeout) + " s; raise --timeout";
  } else if (WIFSIGNALED(state)) {
    outcome.reason = std::string("crashed: ") + ::strsignal(WTERMSIG(state));
  } else {
    outcome.reason = "ended with code " + std::to_string(WEXITSTATUS(state)) + " and no result";
  }
  return outcome;
}

Status RunAll(const std::vector<Case>& cases, const Options& o, StageProgress& progress,
              std::vector<Outcome>* outcomes) {
  const int64_t total = static_cast<int64_t>(cases.size());
  int64_t done = 0;
  if (o.in_process) {
    for (size_t i = 0; i < cases.size(); ++i) {
      (*outcomes)[i] = Judge(cases[i], o);
      progress.Update(++done, total);
    }
    return OkStatus();
  }
  const size_t jobs =
      o.jobs > 0 ? static_cast<size_t>(o.jobs) : std::max(1u, std::thread::hardware_concurrency());
  std::vector<Child> running;
  for (size_t next = 0; next < cases.size() || !running.empty();) {
    while (next < cases.size() && running.size() < jobs) {
      auto child = Start(next, cases[next], o);
      if (!child.ok()) {
        if (running.empty()) return child.status();
        break;
      }
      running.push_back(std::move(*child));
      ++next;
    }
    std::vector<pollfd> fds;
    for (const Child& c : running) fds.push_back({c.fd, POLLIN, 0});
    if (::poll(fds.data(), fds.size(), -1) < 0) continue;
    for (size_t i = running.size(); i-- > 0;) {
      if (!fds[i].revents) continue;
      char buffer[4096];
      ssize_t n = ::read(running[i].fd, buffer, sizeof(buffer));
      if (n > 0) {
        running[i].text.append(buffer, static_cast<size_t>(n));
      } else if (n == 0 || errno != EINTR) {
        (*outcomes)[running[i].index] = Finish(running[i], o);
        running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
        progress.Update(++done, total);
      }
    }
  }
  return OkStatus();
}

Status Execute(const Options& o, Context& context) {
  if (IsPlatform(o)) {
    SLIPWAY_ASSIGN_OR_RETURN(auto platform, deploy::GetPlatform(o.platform));
    if (platform.device != "local") {  // emulated: is all there that running needs?
      SLIPWAY_ASSIGN_OR_RETURN(auto device, device::MakeDevice(platform.device, platform.arch));
      SLIPWAY_RETURN_IF_ERROR(device->Check());
      SLIPWAY_RETURN_IF_ERROR(deploy::DeviceRunner(device->arch()).status());
    } else if (platform.arch != "any" && platform.arch != ThisCpu().arch) {
      return InvalidArgument("platform '" + platform.name + "' is for " + platform.arch +
                             " and cannot run on this " + ThisCpu().arch + " machine");
    }
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto cases, FindCases(o.folder, o.filter));
  if (o.sample > 0 && o.sample < static_cast<int>(cases.size())) {
    std::mt19937 random(o.seed);
    std::shuffle(cases.begin(), cases.end(), random);
    cases.resize(static_cast<size_t>(o.sample));
    std::sort(cases.begin(), cases.end(),
              [](const Case& a, const Case& b) { return a.name < b.name; });
  }
  std::vector<Outcome> outcomes(cases.size());
  StageProgress progress("conformance", context);
  SLIPWAY_RETURN_IF_ERROR(RunAll(cases, o, progress, &outcomes));
  progress.Done();

  int64_t passed = 0, failed = 0, unsupported = 0, compiled = 0;
  double own = 0, macs = 0, own_macs = 0;
  nlohmann::json rows = nlohmann::json::array();
  report::Table failures = MakeTable({"failed case", "reason"});
  std::map<std::string, int64_t> reasons;
  for (size_t i = 0; i < cases.size(); ++i) {
    const Outcome& r = outcomes[i];
    nlohmann::json row = {{"name", cases[i].name}, {"status", r.status}, {"reason", r.reason}};
    if (!r.note.empty()) row["note"] = r.note;
    if (r.own_node_share >= 0) row["own_node_share"] = r.own_node_share;
    if (r.macs > 0) row["own_mac_share"] = r.own_macs / r.macs;
    rows.push_back(std::move(row));
    if (r.status == "passed") {
      ++passed;
      if (r.own_node_share >= 0) {
        own += r.own_node_share;
        macs += r.macs;
        own_macs += r.own_macs;
        ++compiled;
      }
    } else if (r.status == "unsupported") {
      ++unsupported;
      ++reasons[Brief(r.reason)];
    } else {
      ++failed;
      failures.AddRow({cases[i].name, r.reason});
    }
  }
  std::string text;
  if (!reasons.empty()) {
    std::vector<std::pair<int64_t, std::string>> sorted;
    for (const auto& [reason, count] : reasons) sorted.push_back({count, reason});
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    report::Table table = MakeTable({"unsupported because", ">cases"});
    for (const auto& [count, reason] : sorted) table.AddRow({reason, std::to_string(count)});
    text += Show(table);
  }
  if (failed > 0) text += Show(failures);
  text += o.platform + ": " + std::to_string(passed) + " passed, " + std::to_string(failed) +
          " failed, " + std::to_string(unsupported) + " unsupported of " +
          std::to_string(cases.size()) + " cases";
  nlohmann::json json = {{"platform", o.platform},
                         {"passed", passed},
                         {"failed", failed},
                         {"unsupported", unsupported},
                         {"cases", rows}};
  if (compiled > 0) {
    own /= static_cast<double>(compiled);
    text += "; of the passed cases the platform's own backends ran " + Fixed(100 * own, 1) +
            " % of the nodes (mean over cases)";
    json["own_node_share"] = own;
    if (macs > 0) {
      text += " and " + Fixed(100 * own_macs / macs, 1) + " % of all MACs";
      json["own_mac_share"] = own_macs / macs;
    }
  }
  context.Print(text, json);
  if (failed > 0)
    return GateFailed(std::to_string(failed) + " of " + std::to_string(cases.size()) +
                      " cases failed; --filter NAME runs one");
  return OkStatus();
}

}  // namespace

Action SetupConformance(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("DIR", o->folder,
                 "every folder under it with model.onnx and test_data_set_*/ is a case")
      ->required();
  app.add_option(
      "--platform", o->platform,
      "a platform that runs here, emulated ones included, `interpreter`, or `c`: the C file "
      "of `export --to c`, compiled here (default: reference)");
  app.add_option("--filter", o->filter, "only cases with this in their name");
  app.add_option("--sample", o->sample, "only so many of them, drawn at random")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--seed", o->seed, "of the sample");
  app.add_option("--jobs", o->jobs, "cases at the same time (0 = one per CPU)")
      ->check(CLI::Range(0, 1024));
  app.add_option("--timeout", o->timeout, "seconds per case")->check(CLI::Range(1, 86400));
  app.add_flag("--in-process", o->in_process,
               "all cases in this process, for a debugger: a crash then ends everything");
  return [o](Context& c) { return Execute(*o, c); };
}

}  // namespace slipway::cli
