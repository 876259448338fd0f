#include "deploy/package_clock.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>

#include "base/cpu.h"
#include "base/mapped_file.h"
#include "deploy/emulated.h"
#include "device/host_facts.h"
#include "perfdb/cost_model.h"

namespace slipway::deploy {
namespace {

using Times = std::map<std::string, double>;

double Seconds(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

class Here final : public PackageClock {
 public:
  static Result<std::unique_ptr<PackageClock>> Make(const std::vector<uint8_t>& package,
                                                    std::vector<ir::Tensor> inputs, int threads) {
    SLIPWAY_ASSIGN_OR_RETURN(Session session, Session::FromBytes(package, {.threads = threads}));
    SLIPWAY_RETURN_IF_ERROR(session.SetInputs(inputs));
    return std::unique_ptr<PackageClock>(new Here(std::move(session), std::move(inputs), threads));
  }

  Result<Times> Steps(double seconds, bool each_run) override {
    if (!profiled_) {
      SLIPWAY_ASSIGN_OR_RETURN(Session session,
                               session_.Another({.threads = threads_, .profile = true}));
      SLIPWAY_RETURN_IF_ERROR(session.SetInputs(inputs_));
      SLIPWAY_RETURN_IF_ERROR(session.RunOnly());
      profiled_ = std::make_unique<Session>(std::move(session));
    }
    std::map<std::string, std::vector<double>> all;
    const auto take = [&] {
      for (const slipway_step_profile& p : profiled_->Profile()) {
        if (p.runs > 0) all[p.name].push_back(p.total_ms / static_cast<double>(p.runs));
      }
    };
    profiled_->ResetProfile();
    int runs = 0;
    const auto begin = std::chrono::steady_clock::now();
    do {
      if (each_run) profiled_->ResetProfile();
      SLIPWAY_RETURN_IF_ERROR(profiled_->RunOnly());
      if (each_run) take();
      ++runs;
      // A slow step is run less often, but more than once.
    } while (Seconds(begin) < seconds ||
             (each_run && (runs < 2 || (runs < kRuns && Seconds(begin) < 20 * seconds))));
    if (!each_run) take();
    Times times;
    for (auto& [name, list] : all) {
      const auto middle = list.begin() + static_cast<std::ptrdiff_t>(list.size() / 2);
      std::nth_element(list.begin(), middle, list.end());
      times[name] = *middle;
    }
    return times;
  }

  Result<double> Whole(double seconds) override {
    int runs = 0;
    const auto begin = std::chrono::steady_clock::now();
    do {
      SLIPWAY_RETURN_IF_ERROR(session_.RunOnly());
      ++runs;
    } while (Seconds(begin) < seconds);
    return Seconds(begin) * 1e3 / runs;
  }

 private:
  static constexpr int kRuns = 5;
  Here(Session session, std::vector<ir::Tensor> inputs, int threads)
      : session_(std::move(session)), inputs_(std::move(inputs)), threads_(threads) {}

  Session session_;
  std::unique_ptr<Session> profiled_;
  const std::vector<ir::Tensor> inputs_;
  const int threads_;
};

class There final : public PackageClock {
 public:
  static Result<std::unique_ptr<PackageClock>> Make(const std::vector<uint8_t>& package,
                                                    std::vector<ir::Tensor> inputs,
                                                    std::vector<std::string> names,
                                                    const compiler::Platform& platform,
                                                    int threads) {
    static std::atomic<int> number{0};
    std::string path =
        (std::filesystem::temp_directory_path() /
         ("slipway-clock-" + std::to_string(::getpid()) + "-" + std::to_string(number++) + ".slip"))
            .string();
    std::unique_ptr<There> clock(
        new There(std::move(path), std::move(inputs), std::move(names), platform, threads));
    SLIPWAY_RETURN_IF_ERROR(WriteFile(clock->path_, package));
    return std::unique_ptr<PackageClock>(std::move(clock));
  }
  ~There() override { ::unlink(path_.c_str()); }

  Result<Times> Steps(double, bool) override {
    SLIPWAY_ASSIGN_OR_RETURN(const BenchResult result, Bench(true));
    Times times;
    for (const NodeTime& n : result.nodes) {
      if (n.calls > 0) times[n.name] = n.ms;
    }
    return times;
  }
  Result<double> Whole(double) override {
    SLIPWAY_ASSIGN_OR_RETURN(const BenchResult result, Bench(false));
    return result.measurement.stats.p50;
  }

 private:
  There(std::string path, std::vector<ir::Tensor> inputs, std::vector<std::string> names,
        const compiler::Platform& platform, int threads)
      : path_(std::move(path)),
        inputs_(std::move(inputs)),
        names_(std::move(names)),
        platform_(platform),
        threads_(threads) {}
  Result<BenchResult> Bench(bool profile) {
    BenchOptions options;
    options.session.threads = threads_;
    options.profile = profile;
    return BenchOnDevice(path_, platform_, inputs_, names_, options);
  }

  const std::string path_;
  const std::vector<ir::Tensor> inputs_;
  const std::vector<std::string> names_;
  const compiler::Platform platform_;
  const int threads_;
};

}  // namespace

Result<std::unique_ptr<PackageClock>> MakeClock(const std::vector<uint8_t>& package,
                                                const std::vector<Port>& ports,
                                                const compiler::Platform& platform, int threads) {
  SLIPWAY_ASSIGN_OR_RETURN(auto inputs, MakeInputs(ports, {}, {}, true));
  if (platform.device == "local") return Here::Make(package, std::move(inputs), threads);
  std::vector<std::string> names;
  for (const Port& p : ports) names.push_back(p.name);
  return There::Make(package, std::move(inputs), std::move(names), platform, threads);
}

Status CanTime(const compiler::Platform& platform) {
  if (TimedHere(platform)) return OkStatus();
  if (!platform.simulated && platform.device != "local") return OkStatus();
  return Unsupported("platform '" + platform.name +
                     "' does not run on this machine, where tuning measures; leave --tune out");
}

perfdb::PlatformKey StepKey(const compiler::Platform& platform, int threads) {
  perfdb::PlatformKey key = perfdb::KernelKey(device::ReadHostFacts(), threads);
  // A plugin has versions of its own.
  const compiler::BackendSet& set = Backends();
  for (const auto* names : {&platform.backends, &platform.fallback}) {
    for (const std::string& name : *names) {
      const backends::CompileBackend* backend = set.Find(name);
      if (backend && !backend->plugin().empty())
        key.runtime_version += "+" + name + "-" + backend->version();
    }
  }
  if (platform.device == "local") return key;
  key.emulated = platform.emulated;
  key.hardware = platform.device;
  // Of a board we know the name, and of this machine nothing matters to it.
  if (!platform.emulated)
    key.hardware_id = key.cpu_model = key.cpu_features = key.affinity = key.clock_policy =
        key.power_mode = "";
  return key;
}

}  // namespace slipway::deploy
