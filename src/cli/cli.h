#pragma once
// The command line: one file a verb, each a thin call of deploy/. Exit codes: 0 ok, 2 user error, 3
// infrastructure, 4 a gate failed.

#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/folder.h"
#include "base/status.h"
#include "deploy/model_io.h"
#include "model/ir/tensor.h"
#include "report/progress.h"
#include "report/table.h"

namespace slipway::cli {

struct Context {
  bool json = false;  // machine-readable output on standard output, nothing else there
  bool quiet = false;
  std::vector<std::string> plugins;         // --plugin
  std::vector<std::string> device_plugins;  // --device-plugin
  // Prints `text` for people, or `value` with --json.
  void Print(const std::string& text, const nlohmann::json& value) const;
};

using Action = std::function<Status(Context&)>;
// Declares the verb's options on `app` and returns what it does. The returned action may refer to
// state that setup made.
using Setup = Action (*)(CLI::App& app);

struct Verb {
  const char* name;
  const char* help;
  Setup setup;
  bool on_devices = false;  // runs packages where a platform says
};
const std::vector<Verb>& Verbs();

#define SLIPWAY_VERB(name) Action Setup##name(CLI::App& app)
SLIPWAY_VERB(Platforms);
SLIPWAY_VERB(Inspect);
SLIPWAY_VERB(Diff);
SLIPWAY_VERB(Optimize);
SLIPWAY_VERB(Quantize);
SLIPWAY_VERB(Export);
SLIPWAY_VERB(Compile);
SLIPWAY_VERB(Verify);
SLIPWAY_VERB(Run);
SLIPWAY_VERB(Bench);
SLIPWAY_VERB(Eval);
SLIPWAY_VERB(Deploy);
SLIPWAY_VERB(Conformance);
SLIPWAY_VERB(Perfdb);
#undef SLIPWAY_VERB

int ExitCode(const Status& status);
int Main(int argc, const char* const* argv);

// "name=1,3,224,224" options as a map; InvalidArgument names the wrong one.
Result<std::map<std::string, std::vector<int64_t>>> ParseShapes(
    const std::vector<std::string>& texts);
// How a verb's model file is to be read, as options of every verb that takes one.
struct ModelFlags {
  std::string weights;
  bool random_weights = false;
  std::vector<std::string> shapes;

  // --weights and --random-weights; `which` names the model in the help.
  void Declare(CLI::App& app, const std::string& which = "the model");
  // --shape too, where the verb has it.
  void DeclareShape(CLI::App& app);
  Result<deploy::ModelOptions> Options() const;
  // For verbs whose --shape gives the extents of inputs at work: those of a Caffe net decide its
  // shapes.
  Result<deploy::ModelOptions> OptionsFor(
      const std::string& path, const std::map<std::string, std::vector<int64_t>>& shapes) const;
};
// "N=1..8" or "N=4": smallest and largest value per symbol.
Result<std::map<std::string, std::pair<int64_t, int64_t>>> ParseRanges(
    const std::vector<std::string>& texts);
// "name=file.npy" options.
Result<std::map<std::string, std::string>> ParseAssignments(const std::vector<std::string>& texts,
                                                            const char* option);
std::string Bytes(uint64_t bytes);  // "4.2 MiB"
std::string Fixed(double value, int digits);

// Columns whose title starts with '>' are aligned to the right (the mark is dropped).
report::Table MakeTable(std::initializer_list<const char*> titles);
// For this terminal's width.
std::string Show(const report::Table& table);

// A progress bar whose length is known only when the work reports for the first time; a new label
// or total starts a new bar.
class StageProgress {
 public:
  StageProgress(std::string label, const Context& context)
      : label_(std::move(label)), quiet_(context.json || context.quiet) {}
  void Update(int64_t done, int64_t total) { Update(label_, done, total); }
  void Update(const std::string& label, int64_t done, int64_t total);
  void Done();

 private:
  std::string label_, shown_;
  int64_t total_ = -1;
  bool quiet_;
  std::unique_ptr<report::Progress> bar_;
};

}  // namespace slipway::cli
