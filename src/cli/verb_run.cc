#include "cli/cli.h"
#include "data/npy.h"
#include "deploy/model_io.h"
#include "deploy/runner.h"

namespace slipway::cli {
namespace {

struct Options {
  std::string model, platform, folder;
  std::vector<std::string> inputs, shapes;
  ModelFlags read;
  int threads = 1;
  bool random = false;
};

std::string FileName(std::string name) {
  for (char& c : name) {
    if (c == '/' || c == '\\' || c == '\0') c = '_';
  }
  return name == "." || name == ".." || name.empty() ? "_" + name : name;
}

Status Execute(const Options& o, Context& context) {
  SLIPWAY_ASSIGN_OR_RETURN(auto files, ParseAssignments(o.inputs, "--input"));
  SLIPWAY_ASSIGN_OR_RETURN(auto shapes, ParseShapes(o.shapes));
  SLIPWAY_ASSIGN_OR_RETURN(deploy::Runner runner, [&]() -> Result<deploy::Runner> {
    deploy::SessionOptions session{.threads = o.threads};
    SLIPWAY_ASSIGN_OR_RETURN(const auto read, o.read.OptionsFor(o.model, shapes));
    if (deploy::IsPackage(o.model)) {
      SLIPWAY_RETURN_IF_ERROR(deploy::CheckPackageOptions(o.model, read));
      return deploy::Runner::OnDevice(o.model, o.platform, session);
    }
    SLIPWAY_ASSIGN_OR_RETURN(auto graph, deploy::LoadModel(o.model, read));
    return deploy::Runner::OnDevice(std::shared_ptr<const ir::Graph>(std::move(graph)),
                                    o.platform.empty() ? deploy::HostPlatform() : o.platform,
                                    session);
  }());
  std::map<std::string, ir::Tensor> given;
  for (const auto& [name, file] : files) {
    SLIPWAY_ASSIGN_OR_RETURN(data::NpyArray array, data::ReadNpy(file));
    if (array.dims.size() > kMaxRank)
      return InvalidArgument(file + " has more than " + std::to_string(kMaxRank) + " dimensions");
    SLIPWAY_ASSIGN_OR_RETURN(
        given[name], ir::Tensor::Wrap(array.dtype, Dims(std::span<const int64_t>(array.dims)),
                                      array.bytes, array.owner));
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto inputs,
                           deploy::MakeInputs(runner.inputs(), given, shapes, o.random));
  auto ran = runner.Run(inputs);
  if (!ran.ok()) return deploy::WithAssumedSizes(ran.status(), runner.inputs(), given, shapes);
  const auto& outputs = *ran;
  SLIPWAY_RETURN_IF_ERROR(MakeFolder(o.folder));
  nlohmann::json rows = nlohmann::json::array();
  std::string text;
  // What a sequence or an optional holds is written one by one: NAME.0, NAME.1, ...
  std::vector<std::pair<std::string, ir::Tensor>> written;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string& name = runner.outputs()[i].name;
    if (!outputs[i].is_container()) {
      written.emplace_back(name, outputs[i]);
      continue;
    }
    text += name + ": " + outputs[i].Describe() + "\n";
    ir::Tensor list = outputs[i];
    if (list.items().size() == 1 && list.items()[0].is_container())
      list = ir::Tensor(list.items()[0]);
    for (size_t k = 0; k < list.items().size(); ++k)
      written.emplace_back(name + "." + std::to_string(k), list.items()[k]);
  }
  for (const auto& [name, t] : written) {
    std::string path;
    if (!o.folder.empty()) {
      path = o.folder + "/" + FileName(name) + ".npy";
      SLIPWAY_RETURN_IF_ERROR(data::WriteNpy(path, t.dtype(), t.dims(), t.bytes()));
    }
    rows.push_back({{"name", name},
                    {"dtype", DTypeName(t.dtype())},
                    {"dims", std::vector<int64_t>(t.dims().begin(), t.dims().end())},
                    {"file", path}});
    text += name + ": " + DTypeName(t.dtype()) + t.dims().ToString() +
            (path.empty() ? "" : " -> " + path) + "\n";
  }
  context.Print(text, {{"platform", runner.platform()}, {"outputs", rows}});
  return OkStatus();
}

}  // namespace

Action SetupRun(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("MODEL", o->model, "a .slip package or a model file")->required();
  app.add_option("--input", o->inputs, "name=file.npy, once per input; name.0=file.npy, name.1=... for a sequence");
  app.add_option("--shape", o->shapes, "name=1,3,224,224: the extent of a random input");
  o->read.Declare(app);
  app.add_flag("--random", o->random, "fill inputs that are not given with random values");
  app.add_option("-o,--output", o->folder, "folder for the outputs, one .npy each");
  app.add_option("--platform", o->platform,
                 "a platform, whose device runs it, or `interpreter` (default: the best here); for "
                 "a package the "
                 "one that it was compiled for");
  app.add_option("--threads", o->threads, "threads")->check(CLI::Range(0, 1024));
  return [o](Context& c) { return Execute(*o, c); };
}

}  // namespace slipway::cli
