#include "cli/cli.h"

#include <cmath>
#include <cstdio>
#include <iostream>

#include "deploy/toolchain.h"
#include "report/format.h"

namespace slipway::cli {

void Context::Print(const std::string& text, const nlohmann::json& value) const {
  if (json) {
    // Names in a model may be any bytes: what is not UTF-8 is replaced, not refused.
    std::cout << value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
  } else {
    std::cout << text;
    if (!text.empty() && text.back() != '\n') std::cout << "\n";
  }
}

const std::vector<Verb>& Verbs() {
  static const std::vector<Verb> verbs = {
      {"platforms", "what can be targeted; `platforms show NAME` for one", SetupPlatforms},
      {"inspect", "layers, parameters, MACs, memory, support per platform; a page with the graph",
       SetupInspect},
      {"diff", "what differs between two models: structure and weights", SetupDiff},
      {"optimize", "run the graph passes and write the model back as ONNX", SetupOptimize},
      {"quantize",
       "static post-training quantization for a platform's integers, written as ONNX QDQ",
       SetupQuantize},
      {"export", "write the model as ONNX of another opset, or in another format", SetupExport},
      {"compile", "compile a model for a platform into a .slip package", SetupCompile},
      {"verify", "check a package's hashes and its agreement with the model", SetupVerify},
      {"run", "run a model or package on .npy inputs", SetupRun, true},
      {"bench", "measure latency: percentiles, spread and a table per node", SetupBench, true},
      {"eval", "top-1 and top-5 on labelled data", SetupEval, true},
      {"deploy",
       "the whole road: quantize, compile, verify, evaluate and measure on several platforms",
       SetupDeploy, true},
      {"conformance", "run ONNX backend test cases", SetupConformance, true},
      {"perfdb", "the performance database: query, export, import", SetupPerfdb},
  };
  return verbs;
}

int ExitCode(const Status& status) {
  switch (status.code()) {
    case StatusCode::kOk:
      return 0;
    case StatusCode::kInvalidArgument:
    case StatusCode::kNotFound:
    case StatusCode::kUnsupported:
    case StatusCode::kDataLoss:
      return 2;
    case StatusCode::kGateFailed:
      return 4;
    default:
      return 3;
  }
}

namespace {

// What the user names by --plugin and by the platforms, before any model is read: it may have
// operators of theirs.
Status LoadPlugins(const CLI::App& verb, const Context& context) {
  for (const std::string& path : context.plugins) SLIPWAY_RETURN_IF_ERROR(deploy::LoadPlugin(path));
  for (const std::string& path : context.device_plugins)
    SLIPWAY_RETURN_IF_ERROR(deploy::AddDevicePlugin(path));
  for (const char* name : {"--platform", "--platforms"}) {
    const CLI::Option* option = verb.get_option_no_throw(name);
    if (!option) continue;
    for (const std::string& list : option->results()) {
      for (const std::string& platform : deploy::SplitList(list)) {
        const auto found = compiler::FindPlatform(platform, compiler::DefaultPlatformFolders());
        // That there is none, the verb says.
        if (found.ok()) SLIPWAY_RETURN_IF_ERROR(deploy::LoadPlugins(*found));
      }
    }
  }
  return OkStatus();
}

}  // namespace

int Main(int argc, const char* const* argv) {
  CLI::App app{"Slipway: launch a trained neural network on every device a team has", "slipway"};
  app.require_subcommand(1);
  app.fallthrough(false);
  app.set_version_flag("--version", "slipway 0.1.0");
  Context context;
  std::map<CLI::App*, Action> actions;
  for (const Verb& verb : Verbs()) {
    CLI::App* sub = app.add_subcommand(verb.name, verb.help);
    sub->add_flag("--json", context.json, "machine-readable output");
    sub->add_flag("-q,--quiet", context.quiet, "no progress");
    sub->add_option("--plugin", context.plugins,
                    "load this shared library with backends and operators first; may be repeated");
    if (verb.on_devices)
      sub->add_option("--device-plugin", context.device_plugins,
                      "a plugin's library for the device that runs the package; may be repeated, "
                      "once per architecture too");
    actions[sub] = verb.setup(*sub);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    int code = app.exit(e, std::cout, std::cerr);
    return code == 0 ? 0 : 2;
  }
  Status status;
  try {
    CLI::App* verb = app.get_subcommands().front();
    status = LoadPlugins(*verb, context);
    if (status.ok()) status = actions[verb](context);
  } catch (const std::bad_alloc&) {
    status = ResourceExhausted("out of memory");
  } catch (const std::exception& e) {
    status = Internal(e.what());
  }
  if (!status.ok()) {
    // A name in a hostile file may be as long as the file.
    constexpr size_t kLongest = 8000;
    std::string message = status.ToString();
    if (message.size() > kLongest)
      message =
          message.substr(0, kLongest / 2) + " ... " + message.substr(message.size() - kLongest / 2);
    std::cerr << "slipway: " << message << "\n";
  }
  return ExitCode(status);
}

namespace {

Result<std::pair<std::string, std::string>> Split(const std::string& text, const char* option) {
  auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    return InvalidArgument(std::string(option) + " '" + text + "' is not name=value");
  }
  return std::pair{text.substr(0, equals), text.substr(equals + 1)};
}

}  // namespace

Result<std::map<std::string, std::string>> ParseAssignments(const std::vector<std::string>& texts,
                                                            const char* option) {
  std::map<std::string, std::string> out;
  for (const std::string& text : texts) {
    SLIPWAY_ASSIGN_OR_RETURN(auto pair, Split(text, option));
    out[pair.first] = pair.second;
  }
  return out;
}

Result<std::map<std::string, std::vector<int64_t>>> ParseShapes(
    const std::vector<std::string>& texts) {
  std::map<std::string, std::vector<int64_t>> out;
  for (const std::string& text : texts) {
    SLIPWAY_ASSIGN_OR_RETURN(auto pair, Split(text, "--shape"));
    std::vector<int64_t> dims;
    for (size_t start = 0; start <= pair.second.size();) {
      size_t comma = std::min(pair.second.find(',', start), pair.second.size());
      std::string part = pair.second.substr(start, comma - start);
      char* end = nullptr;
      long long d = std::strtoll(part.c_str(), &end, 10);
      if (part.empty() || *end != '\0' || d < 0 || d > INT32_MAX) {
        return InvalidArgument("--shape '" + text + "' has '" + part +
                               "' for a dimension; write name=1,3,224,224");
      }
      dims.push_back(d);
      start = comma + 1;
    }
    out[pair.first] = std::move(dims);
  }
  return out;
}

void ModelFlags::Declare(CLI::App& app, const std::string& which) {
  app.add_option(
      "--weights", weights,
      "the .caffemodel of " + which + ", a .prototxt (default: of the same stem beside it)");
  app.add_flag("--random-weights", random_weights,
               "read a .prototxt without its .caffemodel: for shapes and speed");
}

void ModelFlags::DeclareShape(CLI::App& app) {
  app.add_option(
      "--shape", shapes,
      "name=1,3,224,224: fixes a dynamic input; any input of a .prototxt takes a new extent, "
      "name=N,3,H,W too");
}

Result<deploy::ModelOptions> ModelFlags::Options() const {
  deploy::ModelOptions out;
  out.weights = weights;
  out.random_weights = random_weights;
  for (const std::string& text : shapes) {
    SLIPWAY_ASSIGN_OR_RETURN(auto pair, Split(text, "--shape"));
    SymShape shape;
    for (size_t start = 0; start <= pair.second.size();) {
      const size_t comma = std::min(pair.second.find(',', start), pair.second.size());
      const std::string part = pair.second.substr(start, comma - start);
      auto dim = Dim::Parse(part);
      if (!dim.ok() || (dim->known() && (dim->value() < 0 || dim->value() > INT32_MAX)) ||
          (!dim->known() && dim->ToString() != part)) {
        return InvalidArgument("--shape '" + text + "' has '" + part +
                               "' for a dimension; write name=1,3,224,224 or name=N,3,H,W");
      }
      shape.push_back(*std::move(dim));
      start = comma + 1;
    }
    out.input_shapes[pair.first] = std::move(shape);
  }
  return out;
}

Result<deploy::ModelOptions> ModelFlags::OptionsFor(
    const std::string& path, const std::map<std::string, std::vector<int64_t>>& extents) const {
  SLIPWAY_ASSIGN_OR_RETURN(deploy::ModelOptions out, Options());
  if (!path.ends_with(".prototxt")) return out;
  for (const auto& [name, dims] : extents)
    out.input_shapes[name] = SymShape(dims.begin(), dims.end());
  return out;
}

Result<std::map<std::string, std::pair<int64_t, int64_t>>> ParseRanges(
    const std::vector<std::string>& texts) {
  std::map<std::string, std::pair<int64_t, int64_t>> out;
  for (const std::string& text : texts) {
    SLIPWAY_ASSIGN_OR_RETURN(auto pair, Split(text, "--range"));
    const std::string& value = pair.second;
    const size_t dots = value.find("..");
    const std::string parts[2] = {value.substr(0, dots),
                                  dots == std::string::npos ? value : value.substr(dots + 2)};
    int64_t bounds[2];
    for (int i = 0; i < 2; ++i) {
      char* end = nullptr;
      bounds[i] = std::strtoll(parts[i].c_str(), &end, 10);
      if (parts[i].empty() || *end != '\0' || bounds[i] < 0 || bounds[i] > INT32_MAX ||
          bounds[i] < bounds[0]) {
        return InvalidArgument("--range '" + text +
                               "' is no range; write N=1..8, or N=4 for one value");
      }
    }
    if (!out.emplace(pair.first, std::pair(bounds[0], bounds[1])).second)
      return InvalidArgument("--range names '" + pair.first + "' twice");
  }
  return out;
}

std::string Bytes(uint64_t bytes) { return report::FormatBytes(static_cast<int64_t>(bytes)); }

report::Table MakeTable(std::initializer_list<const char*> titles) {
  std::vector<report::TableColumn> columns;
  for (const char* title : titles) {
    if (*title == '>') {
      columns.push_back({title + 1, report::Align::kRight});
    } else {
      columns.push_back({title});
    }
  }
  return report::Table(std::move(columns));
}

std::string Show(const report::Table& table) { return table.Render(report::TerminalWidth(1)); }

void StageProgress::Update(const std::string& label, int64_t done, int64_t total) {
  if (quiet_) return;
  if (!bar_ || label != shown_ || total != total_) {
    Done();
    shown_ = label;
    total_ = total;
    bar_ = std::make_unique<report::Progress>(label, total, report::ProgressModeFor(quiet_));
  }
  bar_->Update(done);
}

void StageProgress::Done() {
  if (bar_) bar_->Finish();
  bar_.reset();
}

std::string Fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

}  // namespace slipway::cli
