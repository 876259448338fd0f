#pragma once
// One use of a package by one thread: its shapes, its memory, its prepared steps.

#include <atomic>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dims.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "engine/runtime/block.h"
#include "engine/runtime/package.h"
#include "engine/runtime/sequence.h"

namespace slipway::runtime {

class ControlRun;

struct SessionOptions {
  int threads = 1;  // 0 = all CPUs this process may use
  bool pin = false;
  bool profile = false;
  int spin = -1, yield = -1;  // -1 = the thread pool's default
  MemoryHooks memory;
  // Loops and scans may run this many iterations together in one run, nested ones counted each time: a loop that never ends is an error.
  int64_t max_iterations = 10'000'000;
};

class Session {
 public:
  // A package with static shapes is prepared here, one with dynamic shapes at its first run. Errors: InvalidArgument (options), those of Prepare.
  static Result<std::unique_ptr<Session>> Create(std::shared_ptr<const Package> package, const SessionOptions& options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // InvalidArgument names the input, the dimension, the expected and the given extent; the old shape stays then. Bindings end.
  Status SetShape(std::string_view input, std::span<const int64_t> dims);
  Result<slipway_tensor> Input(std::string_view name);
  Result<slipway_tensor> Output(std::string_view name);
  // An input or an output (an input where both have the name).
  Status Bind(std::string_view name, void* data, size_t bytes);
  // Sequences and optionals. -1: an optional that holds nothing. An output has what the last run gave.
  Result<int64_t> Length(std::string_view name);
  // Input `name` holds that many tensors from now on, those that were there unchanged; -1 (an optional only): nothing. An optional of one tensor takes -1 and 1.
  Status SetLength(std::string_view input, int64_t length);
  // Gives tensor `index` of an input its extent; its memory is to be written before the next run and valid until the item's next SetItem or the input's next SetLength.
  Result<slipway_tensor> SetItem(std::string_view input, int64_t index, std::span<const int64_t> dims);
  // Tensor `index` of an input (as it was set) or an output; valid until the next run.
  Result<slipway_tensor> Item(std::string_view name, int64_t index);
  Status Run();

  struct StepProfile {
    uint64_t runs = 0;
    double total_ms = 0, min_ms = 0;
  };
  // Steps in the order of execution; those of bodies follow the step they belong to and are called "loop/body/step". The time of a control step is without that
  // of its bodies' steps.
  struct StepRow {
    std::string name;
    const format::PackageStep* step;
    const char* backend;  // "session" for control steps
    const StepProfile* profile;
    const int64_t* macs;  // at the current shapes; 0 before they are known
    const std::vector<slipway_tensor>*inputs, *outputs;  // at the current shapes
  };
  const std::vector<StepRow>& rows() const { return rows_; }
  void ResetProfile();
  // Bytes of the arena, the inputs and the outputs at the current shapes, and of what the bodies hold; 0 before they are known.
  uint64_t memory_bytes() const;
  int threads() const { return shared_->pool.threads(); }
  const Package& package() const { return *package_; }

 private:
  friend class ControlRun;
  // What a session and those of its bodies have in common.
  struct Shared {
    explicit Shared(const ThreadPoolOptions& options) : pool(options) {}
    ThreadPool pool;
    int64_t iterations = 0;  // left in this run
    double steps_ms = 0;     // of all steps so far, with profile
  };
  struct Io {
    int tensor;
    Dims dims;
    bool given = false;  // dims are concrete
    Block memory;
    void* bound = nullptr;
    size_t bound_bytes = 0;
  };
  // A piece of the program that runs with extents known when it begins: see format/phases.h.
  struct Phase {
    size_t begin = 0, end = 0;  // steps
    bool prepared = false;      // for the extents that the phases before it have now
    uint64_t arena_size = 0;    // of this phase and those before it
  };
  struct Binding {
    int64_t value;
    std::string source;  // "input 'x'"
    size_t phase;
  };
  struct BoundStep {
    void* bound = nullptr;
    bool prepared = false;
    std::vector<slipway_tensor> inputs, outputs;
    uint64_t workspace = 0, workspace_offset = 0;
    int64_t macs = 0;
    std::unique_ptr<ControlRun> control;
    double entered_ms = 0;  // what telling its extents took, when a phase begins with it
  };

  // `shared`: that of the session whose body this one runs.
  Session(std::shared_ptr<const Package> package, const SessionOptions& options, std::shared_ptr<Shared> shared);
  void ListSteps(const std::string& prefix, std::vector<StepRow>& rows) const;
  // SetShape of an input that is there; memory stays bound.
  Status SetDims(Io& io, std::span<const int64_t> dims);
  const format::PackageTensor& Tensor(int index) const { return package_->data().tensors[static_cast<size_t>(index)]; }
  static Io* FindIo(std::vector<Io>& list, const format::PackageData& data, std::string_view name);
  uint64_t BytesOf(const Io& io) const;
  Result<slipway_tensor> View(Io& io);
  Status NotGiven(const Io& io) const;

  Status NotRun(const Io& io) const;
  // Errors for functions of one kind of values and names of the other.
  Status NotTensor(const Io& io) const;
  Result<Io*> FindContainer(std::string_view name, bool outputs_too);
  bool IsContainer(int tensor) const { return Tensor(tensor).is_container(); }
  // All that the caller's sequences hold has been set.
  Status CheckLists() const;
  // The caller may write to what it gave, or to what an output shares: apart from now on.
  Status OwnOutputs();

  // Brings everything that the inputs' shapes decide up to them: extents of tensors, prepared steps, the plan and the arena.
  Status Prepare();
  Status BindInputs();
  Result<int64_t> Evaluate(const Dim& dim) const;
  // Extents, steps, plan and memory of one phase, whose symbols are bound. Phases before it are prepared.
  Status PreparePhase(size_t phase);
  Status ResolveTensors(size_t phase);
  Status PrepareSteps(const Phase& phase);
  Status PlanArena(size_t phase);
  // Forgets what phase `from` and those behind it know.
  void Invalidate(size_t from);
  // Asks the first step of a phase for its outputs' extents; when they are not those of the last run, prepares the phase anew.
  Status EnterPhase(size_t phase);
  Status BindOutputs(size_t phase, std::span<const slipway_tensor> answer);
  // Memory of the inputs, and of outputs up to those of phase `last`.
  Status FillPointers(size_t last);
  int PhaseOf(const Io& io) const { return package_->phases().tensor[static_cast<size_t>(io.tensor)]; }
  uint8_t* PointerOf(int tensor);
  bool HaveDims(const std::vector<int>& tensors, const std::vector<slipway_tensor>& in) const;
  void FillDims(const std::vector<int>& tensors, std::vector<slipway_tensor>& to) const;
  void FillData(const std::vector<int>& tensors, std::vector<slipway_tensor>& to);
  void ReleaseSteps(size_t begin, size_t end);
  Status SyncBackend(const slipway_backend* backend);
  Status RunSteps(const Phase& phase);
  Status RunControl(size_t step);
  Status RunSequence(size_t step);
  // What a control step that begins a phase answers: runs its bodies.
  Status AskControl(size_t phase, std::span<slipway_tensor> answer);
  void Count(size_t step, double ms);
  // A run with everything set; Run guards it.
  Status RunPhases();

  std::shared_ptr<const Package> package_;
  SessionOptions options_;
  std::shared_ptr<Shared> shared_;
  bool is_body_;
  std::vector<Io> inputs_, outputs_;
  std::vector<Dims> dims_;          // per tensor
  std::vector<uint64_t> bytes_;     // per tensor
  format::MemoryPlan plan_;
  std::vector<Phase> phases_;
  std::map<std::string, Binding, std::less<>> symbols_;
  std::vector<slipway_tensor> asked_;  // what a backend answers to output_dims
  std::vector<BoundStep> steps_;
  std::vector<StepProfile> profile_;
  std::vector<StepRow> rows_;  // of the root
  std::vector<ListPtr> lists_;  // per tensor, when the program has sequences or optionals
  std::vector<std::vector<int>> dead_lists_;  // per step: what it reads last
  std::vector<Io*> io_;        // per tensor: the input or output that it is, else null
  Block arena_;
  bool prepared_ = false;         // for the inputs' current shapes
  bool pointers_valid_ = false;   // the steps' tensors point to the current memory
  std::atomic<int> running_{0};  // not bool: RISC-V has no atomic exchange of bytes
};

}  // namespace slipway::runtime
